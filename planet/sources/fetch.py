"`get`: one name, one folder. What is there already is not fetched again, and what is there is whole."
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
import errno
from planet import synthetic
from planet.cli import UserError, near_names, progress
from .archives import BadArchive, unpack
from .download import download, locked, open_url

__all__ = ['get', 'fastai_set']

# name -> fastai's `URLs`, and something that is in the set and in few other folders
FASTAI = dict(sample=('PLANET_SAMPLE', 'labels.csv'), tiny=('PLANET_TINY', 'labels.csv'), pets=('PETS', 'annotations'),
              mnist=('MNIST', 'training'), biwi=('BIWI_HEAD_POSE', 'rgb.cal'))
WHAT = 'kaggle', *FASTAI, 'titanic', 'synthetic'

def fastai_set(what:str, # sample, tiny, pets, mnist or biwi
               to=None, # the folder to make of it; by default where fastai's `untar_data` puts it and finds it
              ) -> Path:
    """One of fastai's sets: fetched into fastai's own cache, checked with its size and md5, and unpacked.

    fastai's `untar_data` does the same without going on after a cut, and takes what arrived of an archive for the whole.
    Raises `UserError` where the set cannot be had."""
    import fastai.data
    from fastai.data.external import URLs, fastai_cfg
    from fastdownload import FastDownload
    url, marker = getattr(URLs, FASTAI[what][0]), FASTAI[what][1]
    fast = FastDownload(fastai_cfg(), module=fastai.data, base='~/.fastai')
    archive = fast.arch_path()/Path(urlsplit(url).path).name
    folder = Path(to).expanduser() if to else fast.data_path('data', archive)
    if folder.is_dir() and (not to or (folder/marker).exists()): return folder
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"--to {folder} holds something else: name a folder that is not there yet, such as {folder/what}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    TemporaryDirectory(dir=folder.parent).cleanup() # a folder that cannot be written is told before the download, not after
    def check(part): return '' if fast.check(url, part) else 'its size or md5 is not the one that fastai knows'
    with locked(archive.with_name(archive.name+'.lock')):
        if folder.is_dir() and any(folder.iterdir()): return folder # another process got it meanwhile
        if archive.exists() and not fast.check(url, archive): archive.unlink() # cut short, or an old version
        if not archive.exists(): download(partial(open_url, url), archive, check=check)
        try: return unpack(archive, folder, mend='it was removed, so that the next time fetches it anew')
        except BadArchive: archive.unlink(); raise

def _synthetic(to):
    if not to: return synthetic.synthetic_folder(progress=progress)
    folder = Path(to).expanduser()
    if (folder/'train_v2.csv').exists(): return folder
    if folder.is_dir() and not any(folder.iterdir()): folder.rmdir()
    return synthetic.write_chips(folder, progress=progress)

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
        from . import competition
        if what == 'titanic': return competition.get_titanic(to or None)
        return competition.get_competition(to or None, tif, dataset)
