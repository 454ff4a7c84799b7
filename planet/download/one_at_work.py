"Before data are fetched: a folder for one process at a time, and the modules that will be needed to read them."
import shutil
from contextlib import contextmanager
from importlib import import_module
from planet.cli import UserError
from planet.locks import locked

__all__ = ['FETCHED', 'one_at_work', 'need_module']

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

def need_module(name:str, # of the extra `data`
                what:str, # that cannot be read without it
               ):
    "Import a module of the extra `data`; `UserError` with how to install it where it is missing."
    try: return import_module(name)
    except ImportError: raise UserError(f"{what} needs {name} to be read: pip install 'planet-chips[data]'") from None
