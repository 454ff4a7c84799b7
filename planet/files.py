"Folders and files: which there are, the file of each image name, and opening regular files alone."
import errno
import os
import re
import stat
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from planet.cli import UserError, near_names

__all__ = ['cache_folder', 'FOLDERS', 'SUFFIXES', 'HELD_OUT', 'existing_folder', 'open_regular', 'why_unreadable',
           'images_in', 'stem', 'other_splits', 'walk_images', 'match_images', 'find_images']

def cache_folder(
    cache=None, # folder of caches; default $PLANET_CACHE, else $XDG_CACHE_HOME/planet, else ~/.cache/planet
) -> Path:
    "The folder of caches: chips drawn by code, decoded chips."
    env = os.environ.get
    return Path(cache or env('PLANET_CACHE') or Path(env('XDG_CACHE_HOME') or '~/.cache')/'planet').expanduser()

FOLDERS = 'train', 'train-jpg', '.' # where a table's images usually lie

SUFFIXES = '.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff', '.bmp' # of image files, in lower case

def existing_folder(folder, option=''):
    "`folder` as a path; `UserError`, which names the `option` it came with and near names, where there is none."
    root = Path(folder).expanduser()
    if root.is_dir(): return root
    if root.exists(): raise UserError(f"{option}{root} is no folder: give the one that it lies in, {root.parent}")
    siblings = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
    raise UserError(f"{option}{root}: no such folder{near_names(root.name, siblings, 1)}")

KINDS = {stat.S_IFDIR: 'a folder', stat.S_IFIFO: 'a FIFO', stat.S_IFSOCK: 'a socket', stat.S_IFCHR: 'a device',
         stat.S_IFBLK: 'a device'}

def open_regular(path):
    "Open a file in binary mode; `OSError` where it is no regular file: a FIFO would block, and a device never end."
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), 'of another kind')
        raise OSError(errno.EINVAL, f'not a regular file, but {kind}', str(path))
    return open(path, 'rb')

def why_unreadable(e:Exception) -> str:
    "What is wrong with a file, in a few words."
    said = ' '.join((getattr(e, 'strerror', None) or str(e) or type(e).__name__).split())
    return 'truncated' if 'truncated' in said else 'no image' if 'cannot identify image file' in said else said

def images_in(folder) -> list[Path]:
    "The image files that lie in `folder`, by their names' endings; hidden ones are left out."
    if not folder.is_dir(): return []
    names = (e.name for e in os.scandir(folder))
    return sorted(folder/n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith('.'))

def stem(name:str) -> str:
    "A file's name without the ending of an image file."
    return name[:name.rindex('.')] if name.lower().endswith(SUFFIXES) else name

# ---- the files of image names ------------------------------------------------------------------------------------

HELD_OUT = re.compile(r'(test|valid|validation|val|dev|holdout|eval)([^a-z]|$)', re.I) # folders of other splits

def other_splits(root:Path, # the folder of a label table
                 home:Path, # the folder that the table's images lie in
                ) -> dict: # name of a folder -> its image files
    "Folders of other splits or of unlabelled chips, below or beside the training images."
    around = [root, root.parent] if home == root and root.name.lower().startswith('train') else [root]
    return {d.name: files for base in around for d in sorted(base.iterdir())
            if d.is_dir() and d != home and HELD_OUT.match(d.name) and (files := images_in(d))}

def walk_images(root) -> list[Path]:
    "All image files under `root`, in sorted order; hidden folders are left out, and none is visited twice."
    found, seen = [], set()
    for here, folders, _ in os.walk(root, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else sorted(f for f in folders if not f.startswith('.'))
        if real not in seen: found += images_in(Path(here))
        seen.add(real)
    return found

def _listed(folder, names):
    "name -> its file among the direct entries of `folder`, by the exact name or with an image's ending."
    if not folder.is_dir(): return {}
    there, found = {entry.name for entry in os.scandir(folder)}, {}
    endings = '', *SUFFIXES, *(s.upper() for s in SUFFIXES) # cameras write .JPG
    for name in names:
        ending = next((s for s in endings if name+s in there and (s or name.lower().endswith(SUFFIXES))), None)
        if ending is not None: found[name] = folder/(name+ending)
    return found

def _folded(text): return unicodedata.normalize('NFC', text).casefold()
def _unpadded(text): return re.sub(r'\d+', lambda m: str(int(m[0])), _folded(stem(text)))

# how a name may be written otherwise than its file: what is said of it, keys of a file, and the key of a name
MATCHES = (('', lambda f: {f, stem(f)}, str),
           ('without regard to case', lambda f: {_folded(f), _folded(stem(f))}, _folded),
           ('with another ending', lambda f: {_folded(stem(f))}, lambda n: _folded(stem(n))),
           ('without leading zeros', lambda f: {_unpadded(f)}, _unpadded))

def match_images(root:Path, # the folder with the images in one of `FOLDERS`, or anywhere below
                 names, # image names as a table writes them: perhaps with folders, no ending, other case, fewer zeros
                ) -> tuple[list, Counter, dict]: # a path or `None` for each; how they matched; name -> files it may be
    """Find the file of each image name. A name that is written as its file in the usual folders is found first.

    Then all folders below `root` are searched: by the folders in the name as far as they agree, without regard to case,
    with another ending, without leading zeros. Folders of other splits (`test`) count only where a name has them.
    """
    names = list(names)
    usual = sorted((_listed(root/f, names) for f in FOLDERS), key=len, reverse=True)
    found = {name: path for folder in reversed(usual) for name, path in folder.items()}
    for name in names:
        whole = os.path.isabs(name) and name.lower().endswith(SUFFIXES)
        if whole and name not in found and os.path.isfile(name): found[name] = Path(name)
    how, unclear = Counter(), {}
    missing = list(dict.fromkeys(name for name in names if name not in found))
    files = walk_images(root) if missing else []
    for said, of_file, of_name in MATCHES:
        index = defaultdict(list)
        for path in files:
            for key in of_file(path.name): index[key].append(path)
        for name in missing:
            *folders, base = [part for part in re.split(r'[/\\]', name) if part not in ('', '.', '..')] or ['']
            if name in found or name in unclear or not (near := index.get(of_name(base))): continue
            ranks = [(_common(folders, p.relative_to(root).parts[:-1]), p) for p in near]
            ranks = [(n, p) for n, p in ranks if n or not any(map(HELD_OUT.match, p.relative_to(root).parts[:-1]))]
            best = [p for n, p in ranks if n == max(ranks)[0]]
            if len(best) > 1: unclear[name] = best
            elif best: found[name] = best[0]; how[said] += 1
    return [found.get(name) for name in names], how, unclear

def _common(ours, theirs):
    "How many folders agree, counted from the file up."
    pairs = enumerate(zip(reversed(ours), reversed(theirs)))
    return next((n for n, (a, b) in pairs if _folded(a) != _folded(b)), min(len(ours), len(theirs)))

def find_images(root, names) -> list: # a path or `None` for each
    "The file of each image name, as `match_images` finds it."
    return match_images(Path(root), names)[0]
