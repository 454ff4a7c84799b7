"fastai's own data sets (`URLs`), fetched into fastai's cache, checked and unpacked whole."
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from uuid import uuid4
import os
from planet.cli import UserError
from planet.download.archives import BadArchive, unpack
from planet.download.http import download, open_url
from planet.locks import locked

__all__ = ['FASTAI', 'fastai_config', 'fastai_set']

# name -> fastai's `URLs`, and something that is in the set and in few other folders
FASTAI = dict(sample=('PLANET_SAMPLE', 'labels.csv'), tiny=('PLANET_TINY', 'labels.csv'), pets=('PETS', 'annotations'),
              mnist=('MNIST', 'training'), biwi=('BIWI_HEAD_POSE', 'rgb.cal'))

FOLDERS = dict(data='data', archive='archive', storage='tmp', model='models') # what fastai writes into a new config.ini

def fastai_config(): # fastcore's `Config`, with `.path('data')` and so on
    """fastai's `config.ini`, made whole where it is missing or cut short.

    fastai writes it in place and without a lock, so that of two processes that start at once on a fresh machine one may
    read half of it. Raises `OSError` where its folder cannot be written."""
    from configparser import ConfigParser
    from fastai.data.external import fastai_cfg
    path = Path(os.getenv('FASTAI_HOME', '~/.fastai')).expanduser()/'config.ini' # as fastai looks for it
    def given():
        found = ConfigParser()
        found.read(path, encoding='utf-8')
        return dict(found['DEFAULT'])
    if not set(FOLDERS) <= set(given()):
        with locked(path.with_name('config.lock')):
            if not set(FOLDERS) <= set(now := given()): # another process may have made it meanwhile
                whole, part = ConfigParser(FOLDERS | now), path.with_name(f'.config-{uuid4().hex}')
                with open(part, 'w', encoding='utf-8') as f: whole.write(f)
                os.replace(part, path)
                fastai_cfg.cache_clear()
    return fastai_cfg()

def fastai_set(what:str, # sample, tiny, pets, mnist or biwi
               to=None, # the folder to make of it; by default where fastai's `untar_data` puts it and finds it
              ) -> Path:
    """One of fastai's sets: fetched into fastai's own cache, checked with its size and md5, and unpacked.

    fastai's `untar_data` does the same without going on after a cut, and takes what arrived of an archive for the whole.
    Raises `UserError` where the set cannot be had."""
    import fastai.data
    from fastai.data.external import URLs
    from fastdownload import FastDownload
    url, marker = getattr(URLs, FASTAI[what][0]), FASTAI[what][1]
    fast = FastDownload(fastai_config(), module=fastai.data, base='~/.fastai')
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
