"Which pictures a notebook takes: real ones where they can be had, else those that are drawn by code."
import os
from pathlib import Path
from urllib.parse import urlsplit
from planet.cli import UserError, say

__all__ = ['HOSTED', 'is_cached', 'real_or_drawn']

HOSTED = 'COLAB_RELEASE_TAG', 'KAGGLE_KERNEL_RUN_TYPE' # set by Colab, by Kaggle

def is_cached(
    what:str, # one of fastai's sets: `sample`, `pets`, `mnist`, `biwi`
) -> bool:
    "Whether one of fastai's data sets lies in its cache, so that nothing needs to be fetched."
    from fastai.data.external import URLs
    from planet.download.fastai_sets import FASTAI, fastai_config
    return (fastai_config().path('data')/Path(urlsplit(getattr(URLs, FASTAI[what])).path).stem).is_dir()

def _has_gpu():
    import torch
    return torch.cuda.is_available() or torch.backends.mps.is_available()

def real_or_drawn(
    what:str, # as in `is_cached`
    real, drawn, # what the notebook's switch is set to with real pictures, and with those drawn by code
    gpu:bool=True, # take the real ones on a GPU only, since a CPU would be busy with them for too long
):
    """Choose real pictures where they can be had: in fastai's cache, or fetched in a hosted notebook. Says which.

    The environment variable PLANET_PICTURES decides otherwise: `real` fetches them anywhere, `drawn` takes none."""
    wish = os.environ.get('PLANET_PICTURES', '')
    if wish not in ('', 'real', 'drawn'): raise UserError(f"PLANET_PICTURES is {wish!r}: 'real' or 'drawn' is wanted")
    hosted = any(name in os.environ for name in HOSTED)
    if wish == 'drawn' or not wish and not (hosted or is_cached(what)): why = f'{what} is not on this machine'
    elif not wish and gpu and not _has_gpu(): why = 'there is no GPU'
    else:
        from planet.download.fastai_sets import fastai_set
        try:
            fastai_set(what)
            say(f'pictures: real ones ({what}); the text was written beside drawings, so that numbers differ')
            return real
        except UserError as e:
            if wish: raise
            why = str(e)
    say(f'pictures: drawn by code ({why}); PLANET_PICTURES=real takes real ones' if wish != 'drawn' else
        'pictures: drawn by code, as PLANET_PICTURES says')
    return drawn
