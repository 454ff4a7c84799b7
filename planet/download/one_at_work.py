"A folder that data are fetched into: one process at a time, and no empty folders where nothing came of it."
import shutil
from contextlib import contextmanager
from planet.cli import UserError
from planet.locks import locked

__all__ = ['FETCHED', 'one_at_work']

FETCHED = '.fetched' # in the folder: what is fetched and not unpacked yet

@contextmanager
def one_at_work(folder):
    "Hold a folder to fetch into; `UserError` where another process does: two would write into one file."
    waiting, made = folder/FETCHED, [p for p in (folder, *folder.parents) if not p.exists()]
    with locked(waiting/'lock', wait=False) as held:
        if not held: raise UserError(f"another planet-data get is at work in {folder}: wait until it has finished")
        try: yield
        finally:
            if [p.name for p in waiting.iterdir()] == ['lock']: shutil.rmtree(waiting, ignore_errors=True)
            for p in made: # nothing came of it: then no empty folders either
                if any(p.iterdir()): break
                p.rmdir()
