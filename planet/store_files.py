"Decoded chips in a file: built once, gone on with after an interruption, compared with the images at each opening."
# A folder holds `pixels-N` (the chips one after the other) and `index` (what is known of each image file). A build
# writes `part` and `log` and then replaces the index, so a process that was killed leaves the old state, or a log to
# go on from. A file that is in use is never written to: a changed image makes a new `pixels-N`.
import errno
import hashlib
import json
import os
import shutil
import time
import zlib
from contextlib import suppress
from pathlib import Path
import numpy as np
import PIL
from planet.files import cache_folder
from planet.images import ImageInfo, decode_file, hash_file, in_threads
from planet.locks import locked

__all__ = ['store_folder', 'free_disk', 'make_room', 'open_file']

VERSION = 2 # of the format, and of how chips are decoded
DAYS = 60 # what was not used for so long is removed from the cache when something else goes there
JUST_NOW = 2e9 # nanoseconds: a file that changed so shortly before it was read may have changed again unnoticed

def store_folder(paths, size, limits, # as in `planet.store.ChipStore`
                 cache=None, # as in `planet.files.cache_folder`
                ) -> Path:
    "The cache folder of the decoded chips of these paths at this size."
    names = [os.path.abspath(p) for p in paths]
    key = json.dumps([VERSION, PIL.__version__, size, None if limits is None else np.asarray(limits).tolist(), names])
    digest = hashlib.blake2b(key.encode(errors='surrogateescape'), digest_size=10).hexdigest()
    return cache_folder(cache)/'stores'/f'{len(names)}-chips-{size}px-{digest}'

def _last_use(folder):
    with suppress(OSError): return (folder/'index').stat().st_mtime
    with suppress(OSError): return folder.stat().st_mtime
    return 0

def free_disk(folder) -> int:
    "Free bytes on the disk of a folder that may not exist yet."
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free

def make_room(folder, # of the cache, that is to be filled: of decoded chips, or of features
              need:int=0, # bytes
             ) -> bool: # whether there is room now, and a tenth to spare
    "Remove the folders beside one that were not used for 60 days, and older ones first while the disk has no room."
    with suppress(OSError): need -= (folder/'part').stat().st_size # an interrupted build has that already
    others = [f for f in folder.parent.glob('*') if f.is_dir() and f != folder] if folder.parent.is_dir() else []
    for old in sorted(others, key=_last_use):
        if time.time() - _last_use(old) < DAYS*24*3600 and free_disk(folder) > 1.1*need: break
        with suppress(OSError), locked(old/'lock', wait=False) as held:
            if held: shutil.rmtree(old, ignore_errors=True)
    return free_disk(folder) > 1.1*need

# ---- what is known of a file -------------------------------------------------------------------------------------

def _stat(path):
    "What changes when a file is written, and the time now."
    try: s = os.stat(path)
    except OSError: return None, time.time_ns()
    return [s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino], time.time_ns()

class _Row:
    "A decoded file: its `stat` and when that was read, a checksum of its pixels, its `ImageInfo`."
    def __init__(self, stat, seen, crc, info): self.stat, self.seen, self.crc, self.info = stat, seen, crc, info
    def line(self, row):
        info = self.info._replace(file=self.info.file.hex(), picture=self.info.picture.hex())
        return json.dumps([row, self.stat, self.seen, self.crc, *info]) + '\n'
    def untouched(self, path): # sure of it without reading the file
        stat = _stat(path)[0]
        return stat is not None and stat == self.stat and max(stat[1:3]) < self.seen - JUST_NOW
    def reread(self, path): # this row where the file still has the same bytes, else `None`
        stat, seen = _stat(path)
        same = stat is not None and hash_file(path) == self.info.file
        return _Row(stat, seen, self.crc, self.info) if same else None

def _current(rows, paths, decode, workers):
    "The rows that still say what is in their files. What could not be read is read again: the fault may have passed."
    found = {row: known for row, known in rows.items() if not known.info.bad and known.untouched(paths[row])}
    left = [row for row in rows if row not in found and not rows[row].info.bad]
    again = zip(in_threads(lambda row: rows[row].reread(paths[row]), left, workers), left)
    found |= {row: known for known, row in again if known is not None}
    bad = [row for row in rows if rows[row].info.bad]
    again = zip(in_threads(decode, bad, workers), bad)
    return found | {row: _Row(stat, seen, 0, info) for (_, info, stat, seen), row in again if info.bad}

def _lines(path):
    "The header and the rows of an index or a log, but for lines that were cut short."
    try: header, *lines = path.read_text(encoding='utf-8').split('\n')[:-1]
    except (OSError, ValueError): return None, {}
    rows = {}
    for line in lines:
        with suppress(ValueError, TypeError):
            row, stat, seen, crc, *info = json.loads(line)
            info = ImageInfo(*info)
            info = info._replace(file=bytes.fromhex(info.file), picture=bytes.fromhex(info.picture))
            rows[row] = _Row(stat, seen, crc, info)
    return header, rows

def _whole(folder, n, nbytes):
    "The pixels' file and the rows of a finished store; nothing where one of them is not whole."
    header, rows = _lines(folder/'index')
    if header is None or len(rows) != n: return None, {}
    pixels = folder/header
    try: return (pixels, rows) if pixels.stat().st_size == n*nbytes else (None, {})
    except OSError: return None, {}

def _logged(folder, header, nbytes):
    "The rows that an interrupted build had written, and whose pixels are there."
    found, rows = _lines(folder/'log')
    if found != header: return {}
    with suppress(OSError), open(folder/'part', 'rb') as f:
        def written(row):
            f.seek(row*nbytes)
            return zlib.crc32(f.read(nbytes)) == rows[row].crc
        return {row: rows[row] for row in rows if not rows[row].info.bad and written(row)}
    return {}

# ---- building ----------------------------------------------------------------------------------------------------

def _decode_rest(folder, rows, todo, decode, header, base, n, nbytes, workers, progress):
    "Decode the rows that are not known, log each, and make the store whole; returns the file of pixels."
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder/'part').exists() or _lines(folder/'log')[0] != header:
        if base: shutil.copyfile(base, folder/'part')
        else: (folder/'part').write_bytes(b'')
        (folder/'log').write_text(header + '\n', encoding='utf-8')
    # not a memory map: a full disk would end the process by a signal
    with open(folder/'part', 'r+b', buffering=0) as f, open(folder/'log', 'a', encoding='utf-8') as log:
        log.write('\n') # ends a line that was cut short
        found = progress(in_threads(decode, todo, workers), len(todo), 'decoding chips') if todo else ()
        for (pixels, info, stat, seen), row in zip(found, todo):
            if pixels is not None:
                f.seek(row*nbytes)
                if f.write(pixels.data) != nbytes: raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rows[row] = _Row(stat, seen, 0 if pixels is None else zlib.crc32(pixels), info)
            log.write(rows[row].line(row))
            log.flush()
        f.truncate(n*nbytes)
        os.fsync(f.fileno())
    whole = folder/f'pixels-{time.time_ns()}'
    (folder/'part').replace(whole)
    return whole

def _remove_rest(folder, base):
    "Remove all that a build writes, but for the finished file `base`."
    for old in (*folder.glob('pixels-*'), folder/'part', folder/'log', folder/'index.part'):
        if old != base:
            with suppress(OSError): old.unlink() # Windows keeps a file that another process reads

def _write_index(folder, pixels, rows):
    part = folder/'index.part'
    with open(part, 'w', encoding='utf-8') as f:
        f.write(pixels.name + '\n')
        f.writelines(rows[row].line(row) for row in sorted(rows))
    part.replace(folder/'index')

def open_file(folder, # from `store_folder`
              paths, size, bands, limits, workers, progress, # as in `planet.store.ChipStore`
             ) -> tuple: # the file of pixels `(chips, bands, size, size)`, and the `ImageInfo` of each chip
    "Open a store of decoded chips in a file; what is missing or has changed is decoded first. May raise `OSError`."
    n, nbytes = len(paths), bands*size**2
    def decode(row):
        stat, seen = _stat(paths[row]) # before the file is read
        return *decode_file(paths[row], size, limits), stat, seen
    waiting = f'waiting for another process that decodes the same chips into {folder}'
    with locked(folder/'lock', waiting=waiting, must=False):
        base, rows = _whole(folder, n, nbytes)
        header = f'{n} {nbytes} {base.name if base else "new"}'
        logged = _logged(folder, header, nbytes)
        now = _current(rows | logged, paths, decode, workers)
        todo = [row for row in range(n) if row not in now]
        if todo or logged or not base:
            try:
                made = _decode_rest(folder, now, todo, decode, header, base, n, nbytes, workers, progress)
                _write_index(folder, made, now)
            except OSError as e: # of a full disk nothing is gone on with: others need the room
                if e.errno in (errno.ENOSPC, errno.EDQUOT): _remove_rest(folder, base)
                raise
            _remove_rest(folder, base := made)
        else: # a store on a read-only disk is read as it is
            with suppress(OSError):
                if any(now[row] is not rows[row] for row in now): _write_index(folder, base, now)
                else: os.utime(folder/'index')
    return base, [now[row].info for row in range(n)]
