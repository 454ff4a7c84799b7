"""Unpack `.zip`, `.tar`, `.tar.gz`, `.7z` and `.tar.7z`: with progress, inside the folder asked for, all or nothing.

What an archive is, its first bytes say, whatever its name. A tar inside a 7z is unpacked as it is decompressed: only the
archive and the files are ever on the disk. Links, devices and names that lead out of the folder are refused.
"""
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
import bz2, errno, gzip, lzma, os, re, shutil, stat, struct, tarfile, threading, zipfile, zlib
from planet.cli import UserError, say
from planet.download.progress import Meter, need_space, size_text

__all__ = ['SUFFIXES', 'BadArchive', 'kind_of', 'bare_name', 'unpack', 'unpack_file']

SUFFIXES = '.tar.7z', '.tar.gz', '.tar.bz2', '.tar.xz', '.tgz', '.tar', '.zip', '.7z' # longest first
MAGIC = {b'7z\xbc\xaf\x27\x1c': '7z', b'PK\x03\x04': 'zip', b'PK\x05\x06': 'zip', b'\x1f\x8b': 'gz', b'BZh': 'bz2',
         b'\xfd7zXZ': 'xz'}
OPEN = dict(gz=gzip.open, bz2=bz2.open, xz=lzma.open)
CHUNK = 1 << 20

class BadArchive(UserError):
    "An archive that is truncated, damaged or meant to harm."

def bare_name(name:str) -> str: # `train-jpg` of `train-jpg.tar.7z`
    return next((name[:-len(s)] for s in SUFFIXES if name.lower().endswith(s) and len(name) > len(s)), name)

def kind_of(path) -> 'str | None': # 7z, zip, gz, bz2, xz or tar; `None`: no archive
    "What kind of archive a file is, by its first bytes."
    with open(path, 'rb') as f: head = f.read(512)
    if head[257:262] == b'ustar': return 'tar'
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)

# ---- what an archive may hold

def _place(root, name):
    "Where the entry `name` goes below `root`; raises `BadArchive` for a name that leads out of it, on any system."
    parts = PurePosixPath(name.replace('\\', '/')).parts
    if not parts or parts[0].startswith('/') or '..' in parts or re.match(r'[A-Za-z]:', parts[0]) or '\0' in name:
        raise BadArchive(f'its entry {name!r} leads out of the folder')
    return root.joinpath(*parts)

def _refuse(name, what): raise BadArchive(f'its entry {name!r} is {what}, and only files and folders are unpacked')

def _copy(inp, path, meter=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'wb') as out:
        while block := inp.read(CHUNK):
            out.write(block)
            if meter: meter.add(len(block))

# ---- one kind after the other

def _zip(path, root, meter):
    with zipfile.ZipFile(path) as z:
        infos = z.infolist()
        for i in infos: # all names first: nothing is written for an archive with one bad entry
            _place(root, i.filename)
            if stat.S_IFMT(i.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR): _refuse(i.filename, 'a link or a device')
        meter.total = sum(i.file_size for i in infos)
        need_space(root.parent, meter.total, f'unpacking {path.name}')
        for i in infos:
            if i.is_dir(): _place(root, i.filename).mkdir(parents=True, exist_ok=True)
            else:
                with z.open(i) as f: _copy(f, _place(root, i.filename), meter)

class _Watched:
    "A stream that counts into a meter what is read of it, and remembers where its last byte that is not 0 was."
    def __init__(self, stream, meter): self.stream, self.meter, self.n, self.last = stream, meter, 0, 0
    def read(self, n=-1):
        block = self.stream.read(n)
        if self.meter: self.meter.add(len(block))
        if filled := len(block.rstrip(b'\0')): self.last = self.n + filled
        self.n += len(block)
        return block
    def __getattr__(self, name): return getattr(self.stream, name)

def _tar(stream, root, meter):
    "Unpack a tar as it comes; `meter` counts its bytes (`None`: another one counts already)."
    watched = _Watched(stream, meter)
    with tarfile.open(fileobj=watched, mode='r|') as tar:
        for m in tar:
            place = _place(root, m.name) if m.name.strip('./') else root # `.` is the folder itself
            if m.isdir(): place.mkdir(parents=True, exist_ok=True)
            elif m.islnk(): # one file under a second name: the first one was written already
                source = _place(root, m.linkname)
                if not source.is_file(): _refuse(m.name, f'a link to {m.linkname!r}')
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place)
            elif m.isreg(): _copy(tar.extractfile(m), place)
            else: _refuse(m.name, f'a link to {m.linkname!r}' if m.issym() else 'a device')
        while watched.read(CHUNK): pass # to the end: there lie the check sums, and the zeros that say it is whole
        # tarfile takes a damaged header for the end, and a missing end for one
        if watched.last > tar.offset or watched.n < tar.offset + 512: raise EOFError('its end is not where it should be')

def _tar_file(path, root, meter, kind):
    meter.total = path.stat().st_size
    need_space(root.parent, meter.total, f'unpacking {path.name}') # at the least: what it unpacks to, a packed tar does not say
    with open(path, 'rb') as raw:
        if kind == 'tar': return _tar(raw, root, meter)
        with OPEN[kind](_Watched(raw, meter)) as unpacked: _tar(unpacked, root, None)

class _Sink:
    "Where py7zr writes one file: a file of ours, or a pipe."
    def __init__(self, out, meter=None): self.out, self.meter, self.n = out, meter, 0
    def write(self, block):
        left = memoryview(block)
        while left: left = left[self.out.write(left):] # a pipe need not take all at once
        self.n += len(block)
        if self.meter: self.meter.add(len(block))
        return len(block)
    def read(self, size=None): return b''
    def seek(self, offset, whence=0): return 0
    def seekable(self): return False
    def flush(self): pass
    def size(self): return self.n
    def close(self): self.out.close()

def _seven(path, root, meter):
    import py7zr
    from py7zr.io import Py7zIO, WriterFactory
    Py7zIO.register(_Sink)
    with open(path, 'rb') as raw, py7zr.SevenZipFile(raw) as z: # an open file: then it works in one thread
        entries = list(z.files)
        for e in entries:
            _place(root, e.filename)
            if e.is_symlink or e.is_junction or e.is_socket: _refuse(e.filename, 'a link or a device')
        meter.total = sum(e.uncompressed for e in entries)
        need_space(root.parent, meter.total, f'unpacking {path.name}')
        files = [e for e in entries if not e.is_directory]
        nested = len(files) == 1 and files[0].filename.lower().endswith('.tar')

        class Files(WriterFactory):
            def create(self, filename):
                place = Path(filename)
                place.parent.mkdir(parents=True, exist_ok=True)
                return _Sink(open(place, 'wb'), meter)
        if not nested:
            for e in entries:
                if e.is_directory: _place(root, e.filename).mkdir(parents=True, exist_ok=True)
            return z.extractall(path=root, factory=Files())

        read, write = os.pipe()
        faults = []
        class Pipe(WriterFactory):
            def create(self, filename): return _Sink(os.fdopen(write, 'wb', buffering=0, closefd=False))
        def decompress():
            try: z.extractall(path=root, factory=Pipe())
            except BaseException as e: faults.append(e)
            finally: os.close(write)
        thread = threading.Thread(target=decompress, daemon=True)
        thread.start()
        try:
            with os.fdopen(read, 'rb') as pipe: _tar(pipe, root, meter)
        except Exception as e: faults.append(e)
        thread.join()
        # where unpacking stops, decompressing loses its reader; and where that stops, unpacking finds an early end
        if fault := next((e for e in faults if not isinstance(e, BrokenPipeError)), None): raise fault

def _faults():
    "What the libraries raise for a damaged archive."
    import py7zr
    return (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, struct.error,
            py7zr.exceptions.ArchiveError, py7zr.exceptions.PasswordRequired, NotImplementedError,
            RuntimeError, ValueError, LookupError, AssertionError, TypeError,
            ArithmeticError, MemoryError) # the last ones from headers that make no sense

@contextmanager
def _told(path, mend):
    "What goes wrong with the archive `path`, in one line."
    try: yield
    except BadArchive as e:
        raise BadArchive(f"{path} is not to be trusted: {e}; nothing of it was unpacked. Fetch it from where you trust") from None
    except UserError: raise
    except OSError as e:
        if e.errno not in (None, errno.EINVAL): raise # the disk's fault; EINVAL: a seek to where a damaged index points
        raise BadArchive(f"{path} is damaged ({_words(e)}): {mend}") from None
    except _faults() as e: raise BadArchive(f"{path} is truncated or damaged ({_words(e)}): {mend}") from None

def _words(e):
    text = e.args[-1] if e.args and isinstance(e.args[-1], str) else str(e)
    return ' '.join(text.split())[:120].rstrip('.') or type(e).__name__

MEND = 'delete it or fetch it again, then run this again'

def _into(path, root, meter):
    "Unpack `path` into `root`, whatever it is."
    kind = kind_of(path)
    if kind is None: raise ValueError(_no_archive(path))
    root.mkdir(parents=True, exist_ok=True)
    if kind == 'zip': _zip(path, root, meter)
    elif kind == '7z': _seven(path, root, meter)
    else: _tar_file(path, root, meter, kind)
    shutil.rmtree(root/'__MACOSX', ignore_errors=True)

def unpack(path, # the archive
           folder, # the folder to make of it; must not exist or be empty, and holds everything once it is there
           mend:str=MEND, # what to do about a damaged archive
          ) -> Path: # `folder`
    """Unpack an archive into `folder`, which appears when it is whole. One folder around everything is taken off.

    Raises `BadArchive` for a truncated or damaged archive and for one with links or names that lead out of the folder,
    `UserError` where the disk is too small, `OSError` where it cannot be written."""
    path, folder = Path(path), Path(folder)
    tmp, inner = folder.with_name(f'.{folder.name}.unpacking'), folder.with_name(f'.{folder.name}.inner')
    shutil.rmtree(tmp, ignore_errors=True) # of a process that was killed
    try:
        with _told(path, mend), Meter(f'unpacking {path.name}') as meter:
            _into(path, tmp, meter)
            # an archive in an archive
            while len(inside := list(tmp.iterdir())) == 1 and inside[0].is_file() and kind_of(inside[0]):
                inside[0].replace(inner)
                _into(inner, tmp, meter)
            if not inside: raise ValueError('it is empty')
        if folder.is_dir(): folder.rmdir() # an empty one, which not every system renames over
        (inside[0] if len(inside) == 1 and inside[0].is_dir() else tmp).rename(folder)
        if meter.seconds > 2: say(f'unpacked {path.name} into {folder}: {size_text(meter.done)} in {meter.seconds:.0f} s')
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
        inner.unlink(missing_ok=True)
    return folder

def unpack_file(path, # a zip, or the file itself
                to, # the file to make of it; replaced when whole
                mend:str=MEND, # what to do about a damaged archive
               ) -> Path: # `to`
    "The one file of a zip (or the file itself, where it is no zip), written to `to` when it is whole. The archive stays."
    path, to = Path(path), Path(to)
    tmp = to.with_name(f'.{to.name}.unpacking')
    try:
        with _told(path, mend):
            if kind_of(path) != 'zip': shutil.copyfile(path, tmp)
            else:
                with zipfile.ZipFile(path) as z:
                    names = [i for i in z.infolist() if not i.is_dir() and not i.filename.startswith('__MACOSX/')]
                    found = [i for i in names if i.filename.split('/')[-1] == to.name] or names
                    if len(found) != 1: raise ValueError(f'it holds no {to.name}')
                    with z.open(found[0]) as f: _copy(f, tmp)
        os.replace(tmp, to)
    finally: tmp.unlink(missing_ok=True)
    return to

def _no_archive(path):
    with open(path, 'rb') as f: head = f.read(64).lstrip()
    if head.startswith(b'<'): return 'it is a web page, as a site sends where one is not logged in'
    return 'it is no zip, tar or 7z' if head else 'it is empty'
