"Download a data set by name into a folder; what is there already, and whole, is not fetched again."
import errno
import os
from contextlib import contextmanager
from pathlib import Path
from planet.cli import UserError, near_names
from planet.download.complete import chips_fault
from planet.download.fastai_sets import FASTAI, fastai_set
from planet.download.progress import DiskTooSmall
from planet.public_sets import PUBLIC

__all__ = ['get']

WHAT = 'kaggle', 'hf', *FASTAI, 'titanic', 'synthetic'

def _synthetic(to):
    from planet.synthetic.chips import synthetic_folder, write_chips
    if not to: return synthetic_folder()
    folder = Path(to).expanduser()
    if not folder.is_dir() or not any(folder.iterdir()): return write_chips(folder)
    if not (fault := chips_fault(folder)): return folder
    raise UserError(f'{folder} holds something else, or not all of its chips ({fault}): delete it, or name a folder '
                    'that is not there yet', option='to')

@contextmanager
def _disk_errors(what, to):
    "What the disk refuses, in one line with a way out."
    try: yield
    except DiskTooSmall as e: raise UserError(f'{e}, or name a folder on another disk with `to`') from None
    except OSError as e:
        if e.errno is None: # a sentence already
            raise UserError(f"{e}{': name another folder with `to`' if to else ''}") from None
        at = e.filename or to
        ours = what not in FASTAI or to and str(at).startswith(str(Path(to).expanduser().parent))
        where = 'with `to`' if ours else 'in FASTAI_HOME'
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full{f' at {at}' if at else ''}: free some space and run the same command "
                            f"again, or name a folder on another disk {where}") from None
        if e.errno in (errno.EACCES, errno.EPERM) and at and Path(at).is_file() and not os.access(at, os.R_OK):
            raise UserError(f'cannot read {at} ({e.strerror}): make it readable (chmod u+r) or be its owner') from None
        raise UserError(f"cannot write {at} ({e.strerror}): name a folder that you may write {where}") from None

def get(what:str, # kaggle, hf, ucmerced, eurosat, bigearthnet, sample, tiny, pets, titanic, mnist, biwi or synthetic
        to:str='', # the folder to make; by default data/planet, data/NAME, or fastai's or our own cache
        tif:bool=False, # kaggle: the four-band TIFFs as well
        dataset:str='', # kaggle: take the images from this Kaggle dataset (owner/name); hf: from this one of the hub
        bands:str='', # bigearthnet: the bands to keep, or all; by default B04,B03,B02,B08
       ) -> Path: # the folder that holds it
    "Download a data set, check and unpack it; `UserError` says what to do where that fails."
    if what not in (known := (*WHAT, *PUBLIC)):
        raise UserError(f"there is no {what} to get{near_names(what, known)} (there are {', '.join(known)})")
    of = dict(tif=(tif, ['kaggle']), dataset=(dataset, ['kaggle', 'hf']), bands=(bands, ['bigearthnet']))
    for option, (given, those) in of.items():
        if given and what not in those:
            raise UserError(f"is for {' and '.join(those)} alone, not for {what}", option=option)
    with _disk_errors(what, to):
        if what in PUBLIC: return PUBLIC[what].get(to, bands)
        if what == 'hf':
            from planet.download import hub
            return hub.get_hub(to or None, dataset or hub.DATASET)
        if what in FASTAI: return fastai_set(what, to)
        if what == 'synthetic': return _synthetic(to)
        from planet.download import competition
        if what == 'titanic': return competition.get_titanic(to or None)
        return competition.get_competition(to or None, tif, dataset)
