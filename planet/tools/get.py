"Get a data set by name: one name, one folder. What is there already is not fetched again, and what is there is whole."
from contextlib import contextmanager
from pathlib import Path
import errno
from planet.cli import UserError, near_names, progress
from planet.download.fastai_sets import FASTAI, fastai_set

__all__ = ['get']

WHAT = 'kaggle', *FASTAI, 'titanic', 'synthetic'

def _synthetic(to):
    from planet.synthetic.chips import synthetic_folder, write_chips
    if not to: return synthetic_folder(progress=progress)
    folder = Path(to).expanduser()
    if (folder/'train_v2.csv').exists(): return folder
    if folder.is_dir() and not any(folder.iterdir()): folder.rmdir()
    return write_chips(folder, progress=progress)

@contextmanager
def _one_line(what, to):
    "What the disk refuses, in one line."
    try: yield
    except OSError as e:
        if e.errno is None: raise UserError(f"{e}{': name another folder with --to' if to else ''}") from None # a sentence already
        ours = what not in FASTAI or to and str(e.filename or to).startswith(str(Path(to).expanduser().parent))
        where = 'with --to' if ours else 'in FASTAI_HOME'
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full{f' at {e.filename}' if e.filename else ''}: free some space and run the same command again, "
                            f"or name a folder on another disk {where}") from None
        raise UserError(f"cannot write {e.filename or to} ({e.strerror}): name a folder that you may write {where}") from None

def get(what:str, # kaggle, sample, tiny, pets, titanic, mnist, biwi or synthetic
        to:str='', # the folder to make; by default data/planet, data/titanic, or fastai's or our own cache
        tif:bool=False, # kaggle: the four-band TIFFs as well
        dataset:str='', # kaggle: take the images from this Kaggle dataset (owner/name)
       ) -> Path: # the folder that holds it
    "Get a set of images or a table: downloaded, checked, unpacked, and whole. Raises `UserError` that says what to do."
    if what not in WHAT: raise UserError(f"there is no {what} to get{near_names(what, WHAT)} (there are {', '.join(WHAT)})")
    for option, given in (('tif', tif), ('dataset', dataset)):
        if given and what != 'kaggle': raise UserError(f"--{option} is for kaggle alone, not for {what}")
    with _one_line(what, to):
        if what in FASTAI: return fastai_set(what, to)
        if what == 'synthetic': return _synthetic(to)
        from planet.download import competition
        if what == 'titanic': return competition.get_titanic(to or None)
        return competition.get_competition(to or None, tif, dataset)
