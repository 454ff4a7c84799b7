"fastai's own data sets (`URLs`), fetched into fastai's cache, checked and unpacked whole."
import os
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from uuid import uuid4
from planet.cli import UserError, say
from planet.download.archives import BadArchive, UnsupportedArchive, unpack
from planet.download.complete import set_fault
from planet.download.http import download, open_url
from planet.locks import locked

__all__ = ['FASTAI', 'fastai_config', 'fastai_set']

# name -> fastai's `URLs`
FASTAI = dict(sample='PLANET_SAMPLE', tiny='PLANET_TINY', pets='PETS', mnist='MNIST', biwi='BIWI_HEAD_POSE')

FOLDERS = dict(data='data', archive='archive', storage='tmp', model='models') # what fastai writes into a new config.ini

def fastai_config(): # fastcore's `Config`, with `.path('data')` and so on
    """fastai's `config.ini`, made whole where it is missing or cut short.

    fastai writes it in place and without a lock, so that of two processes that start at once on a fresh machine one may
    read half of it. Raises `OSError` where its folder cannot be written."""
    from configparser import ConfigParser, Error
    from fastai.data.external import fastai_cfg
    path = Path(os.getenv('FASTAI_HOME', '~/.fastai')).expanduser()/'config.ini' # as fastai looks for it
    def given():
        found = ConfigParser(interpolation=None)
        try: found.read(path, encoding='utf-8')
        except (Error, UnicodeDecodeError): pass # a line that was cut short: what comes before it counts
        return dict(found['DEFAULT'])
    if not set(FOLDERS) <= set(given()):
        with locked(path.with_name('config.lock')):
            if not set(FOLDERS) <= set(now := given()): # another process may have made it meanwhile
                whole, part = ConfigParser(FOLDERS | now, interpolation=None), path.with_name(f'.config-{uuid4().hex}')
                with open(part, 'w', encoding='utf-8') as f: whole.write(f)
                os.replace(part, path)
                fastai_cfg.cache_clear()
    return fastai_cfg()

def _set_aside(folder):
    "Rename a folder that is not whole; it may hold models that fastai saved there, so that it is not deleted."
    aside = next(p for n in range(1, 1000) if not (p := folder.with_name(f'{folder.name}.incomplete-{n}')).exists())
    folder.rename(aside)
    say(f'{folder} was incomplete: it was renamed to {aside.name}')

def fastai_set(what:str, # sample, tiny, pets, mnist or biwi
               to=None, # the folder to make of it; by default where fastai's `untar_data` puts it and finds it
              ) -> Path:
    """One of fastai's sets: fetched into fastai's own cache, checked with its size and md5, and unpacked.

    fastai's `untar_data` does the same without resuming after a cut, and takes any folder that is there for the set.
    Raises `UserError` where the set cannot be had."""
    import fastai.data
    from fastai.data.external import URLs
    from fastdownload import FastDownload
    url = getattr(URLs, FASTAI[what])
    fast = FastDownload(fastai_config(), module=fastai.data, base='~/.fastai')
    archive = fast.arch_path()/Path(urlsplit(url).path).name
    folder = Path(to).expanduser() if to else fast.data_path('data', archive)
    def free(): return not folder.exists() or folder.is_dir() and not any(folder.iterdir())
    if not free():
        if not (fault := set_fault(what, folder)): return folder
        if to: raise UserError(f"{folder} holds something else, or not all of {what} ({fault}): delete it, or name a "
                               f"folder that is not there yet, such as {folder/what}", option='to')
    folder.parent.mkdir(parents=True, exist_ok=True)
    TemporaryDirectory(dir=folder.parent).cleanup() # a folder that cannot be written is told before the download
    def check(part): return '' if fast.check(url, part) else 'its size or md5 is not the one that fastai knows'
    with locked(archive.with_name(archive.name+'.lock')):
        if not free() and not set_fault(what, folder): return folder # another process got it meanwhile
        if archive.exists() and not fast.check(url, archive): archive.unlink() # cut short, or an old version
        if not archive.exists(): download(partial(open_url, url), archive, check=check)
        new = folder.with_name(f'.{folder.name}.new')
        shutil.rmtree(new, ignore_errors=True) # of a process that was killed
        try:
            unpack(archive, new, mend='it was removed, so that the next time fetches it anew')
            if not free():
                if set_fault(what, new): # all of the archive, in a layout that is not known here
                    shutil.rmtree(new)
                    return folder
                _set_aside(folder)
            if folder.exists(): folder.rmdir()
            return new.rename(folder)
        except UnsupportedArchive: raise # the next download would be the same
        except BadArchive: archive.unlink(); raise
