"""What `planet-tag` is given, as a stream of image files: files, nested folders, globs, archives, a table of paths.

Names are kept as one string a folder, so that a million of them take no Python object each."""
import csv
import glob
import os
import tempfile
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from planet.cli import UserError, near_names
from planet.download.archives import SUFFIXES as ARCHIVES, unpack
from planet.files import FOLDERS, SUFFIXES
from planet.tables import NAMES, clean_text

__all__ = ['Inputs', 'opened_inputs', 'georeferenced']

TABLES = '.csv', '.tsv', '.txt'
GEOTIFF = 33550, 34264 # scale or transformation of pixels to the ground

class Names:
    "Sorted strings in one: iterating makes one at a time."
    def __init__(self, names): self.text, self.n = '\0'.join(sorted(names)), len(names)
    def __len__(self): return self.n
    def __iter__(self):
        start = 0
        for _ in range(self.n):
            end = self.text.find('\0', start)
            yield self.text[start:] if end < 0 else self.text[start:end]
            start = end + 1

def _in_folder(root):
    "The image files below a folder, as its paths relative to it; hidden folders are left out, none is visited twice."
    found, seen = [], set()
    for here, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else [f for f in folders if not f.startswith('.')]
        if real in seen: continue
        seen.add(real)
        below = os.path.relpath(here, root)
        found += [f if below == '.' else os.path.join(below, f) for f in files
                  if f.lower().endswith(SUFFIXES) and not f.startswith('.')]
    return Names(found)

class Folder:
    "The images below a folder, named by the path below it; `shown` is what stands before that path in the output."
    def __init__(self, root, shown=None):
        self.root, self.shown, self.names = root, root if shown is None else shown, _in_folder(root)
    def __len__(self): return len(self.names)
    def __iter__(self):
        for name in self.names: yield os.path.join(self.shown, name), os.path.join(self.root, name)

class Files:
    "Image files by their own paths."
    def __init__(self, paths): self.names = Names(paths)
    def __len__(self): return len(self.names)
    def __iter__(self):
        for path in self.names: yield path, path

def _sniffed(path):
    with open(path, newline='', encoding='utf-8-sig') as f: head = f.readline()
    return head, max(',\t;|', key=head.count)

class Table:
    "Image files that a column of a table names: paths, or names with or without their ending, below its folder."
    def __init__(self, path, column=''):
        self.path, self.root = path, os.path.dirname(path)
        try: self._open(path, column)
        except (UnicodeDecodeError, csv.Error) as e:
            why = 'no text in UTF-8' if isinstance(e, UnicodeError) else str(e)
            raise UserError(f'{path} cannot be read as a table ({why}): save it as CSV in UTF-8') from None
    def _open(self, path, column):
        head, self.delim = _sniffed(path)
        columns = next(csv.reader([head], delimiter=self.delim), [])
        plain = [clean_text(c).strip().casefold().replace(' ', '_') for c in columns]
        if column and column not in columns:
            raise UserError(f"{column} is no column of {path}: it has {', '.join(columns[:8])}"
                            f'{near_names(column, columns)}', option='column')
        wanted = column if column else next((columns[plain.index(n)] for n in ('path', *NAMES) if n in plain), None)
        if wanted is None and any(c.lower().endswith(SUFFIXES) for c in columns):
            raise UserError(f'{path} has no header: its first line is to name the columns, such as path')
        if wanted is None:
            raise UserError(f"{path} has no column of paths ({', '.join(columns[:8])}): name it", option='column')
        self.at = columns.index(wanted)
        with open(path, newline='', encoding='utf-8-sig') as f: self.n = sum(1 for _ in self.rows(f))
    def rows(self, f):
        for row in islice(csv.reader(f, delimiter=self.delim), 1, None):
            if len(row) > self.at and row[self.at].strip(): yield row[self.at].strip()
    def __len__(self): return self.n
    def __iter__(self):
        with open(self.path, newline='', encoding='utf-8-sig') as f:
            for name in self.rows(f): yield name, self.find(name)
    def find(self, name):
        "The file of a name; the first place it may be where it is nowhere."
        first = name if os.path.isabs(name) else os.path.join(self.root, name)
        if os.path.isfile(first): return first
        # cameras write .JPG
        endings = [''] if name.lower().endswith(SUFFIXES) else ['.jpg', *SUFFIXES, *(s.upper() for s in SUFFIXES)]
        for folder in ('', *FOLDERS):
            for ending in endings:
                if os.path.isfile(found := os.path.join(self.root, folder, name + ending)): return found
        return name if os.path.isfile(name) else first

def _writable(name):
    "A name that can be written as UTF-8: bytes of a file's name that are none become `\\xff`."
    return name if name.isprintable() else os.fsencode(name).decode('utf-8', 'backslashreplace')

class Inputs:
    "All inputs one after the other: pairs of the name to write and the file to open."
    def __init__(self, parts): self.parts = parts
    def __len__(self): return sum(map(len, self.parts))
    def __iter__(self):
        for part in self.parts:
            for name, file in part: yield _writable(name), file

def georeferenced(path, # a file
                  larger:int=0, # than so many pixels, in height or width
                 ) -> bool|None: # `None` where it is a TIFF by its name, and broken
    "Whether a file is a raster on a map that is larger than a chip: a GeoTIFF, JPEG 2000 or VRT."
    ending = os.path.splitext(path)[1].lower()
    if ending in ('.jp2', '.vrt'): return True
    if ending not in ('.tif', '.tiff'): return False
    import tifffile
    try:
        with tifffile.TiffFile(path) as tif: page = tif.pages[0]
    except Exception: return None # a broken file fails in many ways, and is told of when it is read
    return max(page.imagelength, page.imagewidth) > larger and any(t in page.tags for t in GEOTIFF)

def _matches(pattern):
    found = [p for p in glob.iglob(os.path.expanduser(pattern), recursive=True)
             if os.path.isfile(p) and not os.path.basename(p).startswith('.')]
    if not found: raise UserError(f'{pattern}: no file matches it')
    return found

def _part(given, column, room):
    path = os.path.expanduser(given)
    if os.path.isdir(path): return [Folder(path)]
    lower = path.lower()
    if not os.path.exists(path):
        if glob.has_magic(given):
            found = _matches(given)
            plain = [p for p in found if not p.lower().endswith((*ARCHIVES, *TABLES))]
            return [Files(plain), *(o for p in found if p not in set(plain) for o in _part(p, column, room))]
        parent = os.path.dirname(path) or '.'
        near = near_names(os.path.basename(path), os.listdir(parent), 1) if os.path.isdir(parent) else ''
        raise UserError(f'{given}: no such file or folder{near}')
    if lower.endswith(ARCHIVES):
        return [Folder(unpack(path, Path(room)/str(len(os.listdir(room)))), shown=given)]
    return [Table(path, column)] if lower.endswith(TABLES) else [Files([path])]

@contextmanager
def opened_inputs(given, # files, folders, globs, archives, tables
                  column:str='', # of the tables: the one that names files
                  room=None, # folder for what archives hold; the system's folder for temporary files by default
                 ): # yields `Inputs`
    "Find the images of all inputs; archives are unpacked beside the output for as long as the context lasts."
    with tempfile.TemporaryDirectory(prefix='.planet-tag-', dir=room) as folder:
        inputs = Inputs([part for one in given for part in _part(one, column, folder)])
        if not len(inputs):
            raise UserError(f"{', '.join(map(str, given)) or 'nothing'}: no image is in it "
                            f"(endings {', '.join(SUFFIXES)})")
        yield inputs
