"Unpack `.zip`, `.tar`, `.tar.gz`, `.7z` and `.tar.7z`: with progress, inside the folder asked for, all or nothing."
# What an archive is, its first bytes say, whatever its name. A tar inside a 7z is unpacked as it is decompressed:
# only the archive and the files are ever on the disk. Links, devices, names that lead out of the folder and
# decompression bombs are refused.
import bz2
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from planet.cli import UserError, say
from planet.download.progress import ByteProgress, need_space, size_text

__all__ = ['SUFFIXES', 'MEND', 'BadArchive', 'UnsupportedArchive', 'kind_of', 'bare_name', 'unpack', 'unpack_file']

SUFFIXES = '.tar.7z', '.tar.gz', '.tar.bz2', '.tar.xz', '.tgz', '.tar', '.zip', '.7z' # longest first
MAGIC = {b'7z\xbc\xaf\x27\x1c': '7z', b'PK\x03\x04': 'zip', b'PK\x05\x06': 'zip', b'\x1f\x8b': 'gz', b'BZh': 'bz2',
         b'\xfd7zXZ': 'xz'}
OPEN = dict(gz=gzip.open, bz2=bz2.open, xz=lzma.open)
CHUNK, MEND = 1 << 20, 'delete it or fetch it again, then run this again'
# A decompression bomb: pictures and tables shrink less, and small archives may shrink as they like
RATIO, HARMLESS, ENTRIES, NESTED = 200, 100_000_000, 2_000_000, 3

class BadArchive(UserError):
    "An archive that is truncated, damaged or meant to harm."

class UnsupportedArchive(BadArchive):
    "An archive that wants a password or a compression method that is not known here: fetching it again does not help."

def bare_name(name:str) -> str: # `train-jpg` of `train-jpg.tar.7z`
    "The name of an archive without its suffix."
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

class _Budget:
    "How many bytes and entries an archive may unpack to, those of the archives in it included."
    def __init__(self, path, limit):
        self.size, self.n, self.entries = path.stat().st_size, 0, 0
        self.limit = min(max(HARMLESS, RATIO*self.size), limit or 1 << 62)
    def check(self, n): # bytes in all
        if n > self.limit:
            raise BadArchive(f'it unpacks to {size_text(n)} or more, from {size_text(self.size)}: a decompression bomb')
    def count(self, n=1):
        self.entries += n
        if self.entries > ENTRIES: raise BadArchive(f'it holds more than {ENTRIES:,} files: a decompression bomb')
    def read(self, n):
        self.n += n
        self.check(self.n)

# ---- one kind after the other

def _zip(path, root, meter, budget):
    with zipfile.ZipFile(path) as z:
        infos = z.infolist()
        budget.count(len(infos))
        for i in infos: # all names first: nothing is written for an archive with one bad entry
            _place(root, i.filename)
            plain = stat.S_IFMT(i.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
            if not plain: _refuse(i.filename, 'a link or a device')
        if any(i.flag_bits & 1 for i in infos): raise UnsupportedArchive('it wants a password')
        meter.total = sum(i.file_size for i in infos)
        budget.read(meter.total) # no entry unpacks to more than it claims
        need_space(root.parent, meter.total, f'unpacking {path.name}')
        for i in infos:
            if i.is_dir(): _place(root, i.filename).mkdir(parents=True, exist_ok=True)
            else:
                with z.open(i) as f: _copy(f, _place(root, i.filename), meter)

class _Watched:
    "A stream that counts what is read of it, and remembers where its last byte that is not 0 was."
    def __init__(self, stream, meter=None, budget=None):
        self.stream, self.meter, self.budget, self.n, self.last = stream, meter, budget, 0, 0
    def read(self, n=-1):
        block = self.stream.read(n)
        if self.budget: self.budget.read(len(block))
        if self.meter: self.meter.add(len(block))
        if filled := len(block.rstrip(b'\0')): self.last = self.n + filled
        self.n += len(block)
        return block
    def __getattr__(self, name): return getattr(self.stream, name)

def _tar(stream, root, budget, meter=None):
    "Unpack a tar as it comes; `meter` counts its bytes (`None`: another one counts already)."
    watched = _Watched(stream, meter, budget)
    with tarfile.open(fileobj=watched, mode='r|') as tar:
        for m in tar:
            budget.count()
            place = _place(root, m.name) if m.name.strip('./') else root # `.` is the folder itself
            if m.isdir(): place.mkdir(parents=True, exist_ok=True)
            elif m.islnk(): # one file under a second name: the first one was written already
                source = _place(root, m.linkname)
                if not source.is_file(): _refuse(m.name, f'a link to {m.linkname!r}')
                place.parent.mkdir(parents=True, exist_ok=True)
                budget.read(source.stat().st_size)
                shutil.copyfile(source, place)
            elif m.isreg(): _copy(tar.extractfile(m), place)
            else: _refuse(m.name, f'a link to {m.linkname!r}' if m.issym() else 'a device')
        while watched.read(CHUNK): pass # to the end: there lie the check sums, and the zeros that say it is whole
        # tarfile takes a damaged header for the end, and a missing end for one
        if watched.last > tar.offset or watched.n < tar.offset + 512:
            raise EOFError('its end is not where it should be')

def _tar_file(path, root, meter, budget, kind):
    meter.total = path.stat().st_size
    need_space(root.parent, meter.total, f'unpacking {path.name}') # at least so much: a packed tar does not say
    with open(path, 'rb') as raw:
        if kind == 'tar': return _tar(raw, root, budget, meter)
        with OPEN[kind](_Watched(raw, meter)) as unpacked: _tar(unpacked, root, budget)

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

def _seven(path, root, meter, budget):
    import py7zr
    from py7zr.io import Py7zIO, WriterFactory
    Py7zIO.register(_Sink)
    with open(path, 'rb') as raw, py7zr.SevenZipFile(raw) as z: # an open file: then it works in one thread
        if z.needs_password(): raise UnsupportedArchive('it wants a password')
        entries = list(z.files)
        budget.count(len(entries))
        for e in entries:
            _place(root, e.filename)
            if e.is_symlink or e.is_junction or e.is_socket: _refuse(e.filename, 'a link or a device')
        meter.total = sum(e.uncompressed for e in entries)
        budget.check(budget.n + meter.total)
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
            budget.read(meter.total)
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
            with os.fdopen(read, 'rb') as pipe: _tar(pipe, root, budget, meter)
        except Exception as e: faults.append(e)
        thread.join()
        # where unpacking stops, decompressing loses its reader; and where that stops, unpacking finds an early end
        if fault := next((e for e in faults if not isinstance(e, BrokenPipeError)), None): raise fault

def _error(e, path, mend):
    "What a library raised of the archive `path`, as one of our errors; the same error where it is the disk's."
    from py7zr import exceptions as seven
    if isinstance(e, UserError) and not isinstance(e, BadArchive): return e
    damage = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, struct.error, OSError,
              seven.ArchiveError, seven.AbsolutePathError, RuntimeError, ValueError, LookupError, AssertionError,
              TypeError, ArithmeticError, MemoryError) # the last ones from headers that make no sense
    if isinstance(e, seven.PasswordRequired): e = UnsupportedArchive('it wants a password')
    if isinstance(e, (UnsupportedArchive, NotImplementedError, seven.UnsupportedCompressionMethodError)):
        return UnsupportedArchive(f"{path} cannot be unpacked here ({_words(e)}): unpack it by hand into a folder of "
                                  "its name, or fetch it again, if it should be a plain archive")
    if isinstance(e, BadArchive):
        return BadArchive(f"{path} is not to be trusted: {e}; nothing of it was unpacked. "
                          "Fetch it from where you trust")
    # an OSError is the disk's fault; EINVAL is a seek to where a damaged index points
    if isinstance(e, OSError) and e.errno not in (None, errno.EINVAL): return e
    if isinstance(e, damage): return BadArchive(f"{path} is truncated or damaged ({_words(e)}): {mend}")
    return e

@contextmanager
def _told(path, mend):
    "What goes wrong with the archive `path`, in one line."
    try: yield
    except Exception as e: raise _error(e, path, mend) from None

def _words(e):
    text = e.args[-1] if e.args and isinstance(e.args[-1], str) else str(e)
    return ' '.join(text.split())[:120].rstrip('.') or type(e).__name__

def _into(path, root, meter, budget):
    "Unpack `path` into `root`, whatever it is."
    kind = kind_of(path)
    if kind is None:
        with open(path, 'rb') as f: head = f.read(64).lstrip()
        page = head.startswith(b'<') and 'it is a web page, as a site sends where one is not logged in'
        raise ValueError(page or ('it is no zip, tar or 7z' if head else 'it is empty'))
    root.mkdir(parents=True, exist_ok=True)
    if kind == 'zip': _zip(path, root, meter, budget)
    elif kind == '7z': _seven(path, root, meter, budget)
    else: _tar_file(path, root, meter, budget, kind)
    shutil.rmtree(root/'__MACOSX', ignore_errors=True)

def unpack(path, # the archive
           folder, # the folder to make of it; must not exist or be empty, and holds everything once it is there
           mend:str=MEND, # what to do about a damaged archive
           limit:int=None, # bytes that it may unpack to; by default some 200 times its own size
          ) -> Path: # `folder`
    """Unpack an archive into `folder`, which appears when it is whole. One folder around everything is taken off.

    Raises `BadArchive` for a truncated or damaged archive, a decompression bomb, and one with links or names that lead
    out of the folder; `UnsupportedArchive` where it wants a password; `DiskTooSmall`; `OSError` of the disk."""
    path, folder = Path(path), Path(folder)
    tmp, inner = folder.with_name(f'.{folder.name}.unpacking'), folder.with_name(f'.{folder.name}.inner')
    shutil.rmtree(tmp, ignore_errors=True) # of a process that was killed
    try:
        with _told(path, mend), ByteProgress(f'unpacking {path.name}') as meter:
            budget, depth = _Budget(path, limit), 0
            _into(path, tmp, meter, budget)
            while len(inside := list(tmp.iterdir())) == 1 and inside[0].is_file() and kind_of(inside[0]):
                if (depth := depth + 1) > NESTED: raise BadArchive('it holds archives in archives without end')
                inside[0].replace(inner)
                _into(inner, tmp, meter, budget)
            if not inside: raise ValueError('it is empty')
        if folder.is_dir(): folder.rmdir() # an empty one, which not every system renames over
        (inside[0] if len(inside) == 1 and inside[0].is_dir() else tmp).rename(folder)
        if meter.seconds > 2:
            say(f'unpacked {path.name} into {folder}: {size_text(meter.done)} in {meter.seconds:.0f} s')
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
        inner.unlink(missing_ok=True)
    return folder

def unpack_file(path, # a zip, or the file itself
                to, # the file to make of it; replaced when whole
                mend:str=MEND, # what to do about a damaged archive
                check=None, # called with the file's path before it gets its name; a word on what is wrong, or nothing
               ) -> Path: # `to`
    "Unpack the one file of a zip (or take the file itself, where it is no zip) to `to`, when it is whole."
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
                    if found[0].flag_bits & 1: raise UnsupportedArchive('it wants a password')
                    _Budget(path, None).check(found[0].file_size)
                    need_space(to.parent, found[0].file_size, f'unpacking {path.name}')
                    with z.open(found[0]) as f: _copy(f, tmp)
            if wrong := check and check(tmp): raise ValueError(wrong)
        os.replace(tmp, to)
    finally: tmp.unlink(missing_ok=True)
    return to
