"A lock between processes: of two that start at once, one does the work and the other waits for it."
import os
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from planet.cli import say

__all__ = ['locked']

def _take(f):
    "Lock the open file `f`, or say that another has it. A disk in the network may have no locks: then all go ahead."
    try:
        import fcntl
    except ImportError: # Windows
        import msvcrt
        f.seek(0)
        try: msvcrt.locking(f.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError: return False
        return True
    try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError: return False
    except OSError: pass
    return True

def _open(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    try: return open(path, 'a')
    except FileNotFoundError: return None # who had the lock deleted its folder just now

def _current(f, path):
    "Whether the file `f` still stands at `path`: who had the lock may have deleted it."
    try: return os.path.samestat(os.fstat(f.fileno()), os.stat(path))
    except OSError: return False

@contextmanager
def locked(path, # a file to make for it; whoever holds the lock may delete it
           wait:bool=True, # wait for another process that has it?
           waiting:str='', # a line to say when that takes more than two seconds
           must:bool=True, # raise where the file cannot be made? else go ahead: on a read-only disk nobody writes
          ): # yields whether we have it
    "Hold a lock that other processes and threads see; the system lets it go when a process dies, however it dies."
    path, start, held = Path(path), time.monotonic(), False
    while True:
        try: f = _open(path)
        except OSError:
            if must: raise
            f = nullcontext()
            break
        if f and (held := _take(f)) and _current(f, path) or f and not held and not wait: break
        if f: f.close()
        if held: continue
        if waiting and time.monotonic() - start > 2:
            say(waiting)
            waiting = ''
        time.sleep(.05)
    with f: yield held
