"Folders drawn by code: whole or not there, gone on with after an interruption, and kept in one cache."
# What is drawn of a folder stands in `.NAME.part` beside it, with a log of the files that are whole. A lock keeps two
# processes from drawing the same; the system lets it go when a process dies, and whoever comes next goes on from the
# log.
import errno
import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from planet.cli import UserError, progress as cli_progress
from planet.files import cache_folder
from planet.locks import locked

__all__ = ['cache_folder', 'draw_folder', 'cached_folder', 'remove_stale']

DAY = 24*3600 # seconds after which nobody is expected to go on with what a dead process left
KINDS = 'synthetic', 'clearings', 'pets'

def _part(path): return path.with_name(f'.{path.name}.part')

def _drawn(log, whole, key):
    "Item -> row, of what the log says is drawn for `key`; but for files that are not as long as they were then."
    try: header, *lines = log.read_text(encoding='utf-8').split('\n')[:-1] # behind the last end of a line: cut short
    except (OSError, ValueError): return {}
    rows = {}
    for line in lines if header == key else ():
        try:
            i, size, row = json.loads(line)
            if (whole/row[0]).stat().st_size == size: rows[i] = row
        except (OSError, ValueError): pass
    return rows

def _refuse_full(path):
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(errno.EEXIST, 'it exists already')

def draw_folder(path, # folder to make; must not exist
                key, # all that the images depend on: a part that was drawn with another key is not gone on with
                n:int, # how many items
                draw, # `draw(folder, i)` writes item `i` and returns its row: the file's name, and other strings
                finish=lambda folder, rows: None, # writes the table, from the rows of all items
                what:str='images', # what they are, in messages
                progress=cli_progress, # as `planet.cli.progress`: called as `progress(items, total, label)`
               ) -> Path: # `path`
    """Draw a folder of images, in threads: whole or not there. Interrupted or killed, the next call goes on.

    Raises `FileExistsError` where `path` exists and is not empty, and `OSError` where it cannot be written: what was
    drawn is removed then."""
    path, key = Path(path), json.dumps(key, default=str)
    part, whole, log = _part(path), _part(path)/'whole', _part(path)/'log'
    try:
        _refuse_full(path)
        with locked(part/'lock', waiting=f'waiting for another process that draws {path}'):
            try:
                _refuse_full(path) # that process drew it
                rows = _drawn(log, whole, key)
                if not rows:
                    shutil.rmtree(whole, ignore_errors=True)
                    whole.mkdir(exist_ok=True)
                    log.write_text(key + '\n', encoding='utf-8')
                _draw_rest(whole, log, rows, n, draw, progress, f'drawing {what}')
                finish(whole, [rows[i] for i in range(n)])
                if path.exists(): path.rmdir() # empty; Windows renames onto nothing
                whole.rename(path)
                shutil.rmtree(part, ignore_errors=True)
            except OSError: shutil.rmtree(part, ignore_errors=True); raise
    except OSError as e:
        kind = FileExistsError if e.errno in (errno.EEXIST, errno.ENOTEMPTY) else OSError
        raise kind(f"cannot write synthetic {what} to {path}: {e.strerror or e}") from e
    return path

def _draw_rest(whole, log, rows, n, draw, progress, label):
    "Draw the items that are not in `rows` yet, and log each when its file is whole."
    left = [i for i in range(n) if i not in rows]
    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1)) # numpy and Pillow let go of the interpreter's lock
    try:
        with open(log, 'a', encoding='utf-8') as f:
            f.write('\n') # ends a line that was cut short
            for row, i in zip(progress(pool.map(lambda i: draw(whole, i), left), len(left), label), left):
                rows[i] = row
                f.write(json.dumps((i, (whole/row[0]).stat().st_size, row)) + '\n')
                f.flush() # a killed process writes nothing any more
    finally: pool.shutdown(cancel_futures=True)

def _is_whole(path, n, table):
    "Whether `n` images, none of them empty, and the table are still in a folder of the cache."
    def images(folder):
        with os.scandir(folder) as entries: entries = list(entries)
        return sum(images(e.path) if e.is_dir() else e.name.endswith('.jpg') and e.stat().st_size > 0 for e in entries)
    try: return (not table or (path/table).stat().st_size > 0) and images(path) >= n
    except OSError: return False

def cached_folder(name:str, # of the folder in the cache: says all that its images depend on
                  n:int, # how many images it holds
                  write, # `write(path)` draws it
                  table:str='', # a file that it holds besides
                  cache=None, # as in `cache_folder`
                 ) -> Path:
    "A folder of the cache: there and whole, or drawn now. `UserError` where the cache cannot be written."
    path = cache_folder(cache)/name
    if path.parent.is_dir(): remove_stale(path.parent, path)
    if _is_whole(path, n, table): return path
    try:
        if path.exists(): # files were deleted since
            with locked(path.with_name(f'.{name}.part')/'lock'):
                if not _is_whole(path, n, table): shutil.rmtree(path)
        return write(path)
    except OSError as e:
        if _is_whole(path, n, table): return path # another process drew the same meanwhile
        raise UserError(f"{e}; name another folder in $PLANET_CACHE") from e

def remove_stale(cache, # folder of caches
                 keep=None, # the folder that is wanted now: what is drawn of it stays
                ):
    "Remove what dead processes left half drawn: all but what is wanted now, or less than a day old."
    for part in cache.glob('.*'):
        if not part.name[1:].startswith(KINDS) or not part.is_dir(): continue
        try: age = time.time() - max(e.stat().st_mtime for e in [part, *part.iterdir()])
        except OSError: continue # gone meanwhile
        if re.search('-[0-9a-f]{32}$', part.name): # of an earlier version, which kept no log
            if age > 60: shutil.rmtree(part, ignore_errors=True)
            continue
        done = (cache/part.stem[1:]).exists() # killed just before the end
        if part.suffix == '.part' and (done or age > DAY and part != (keep and _part(keep))):
            with suppress(OSError), locked(part/'lock', wait=False) as held:
                if held: shutil.rmtree(part, ignore_errors=True)
