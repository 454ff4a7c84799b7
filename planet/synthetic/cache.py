"The folder in which whatever is drawn by code is kept."
from pathlib import Path
import os

__all__ = ['cache_folder']

def cache_folder(
    cache=None, # folder of caches; default $PLANET_CACHE, else $XDG_CACHE_HOME/planet, else ~/.cache/planet
)->Path:
    "The folder in which whatever is drawn by code is kept"
    env = os.environ.get
    return Path(cache or env('PLANET_CACHE') or Path(env('XDG_CACHE_HOME') or '~/.cache')/'planet').expanduser()
