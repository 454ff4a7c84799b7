"""Synthetic chips in the competition's own layout, for machines with no network and no Kaggle account.

Tag sets come with the frequencies of the real table (`tag_sets.csv`: the counts of all 40,479 training chips); every
picture is drawn by `painting` from its tags and a seed alone.
"""
import csv, errno, os, shutil
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from uuid import uuid4
import numpy as np
from PIL import Image
from planet.amazon import TAGS, WEATHER, tag_sets
from planet.synthetic.cache import cache_folder
from planet.synthetic.terrain import DRAWING, paint_chip

__all__ = ['draw_tags', 'draw_chip', 'write_chips', 'synthetic_folder']

@lru_cache
def _table():
    "Tag sets and their counts, as counted in the competition's training table"
    # One chip of the table (`water` alone) has no weather; weather is exactly one of four here, so it is never drawn.
    rows = [(list(tags), n) for tags, n in tag_sets().items() if set(tags) & set(WEATHER)]
    return [tags for tags, _ in rows], np.array([n for _, n in rows], float)

def draw_tags(
    n:int, # how many chips
    seed:int=42,
)->list: # n tag lists, each sorted
    "Tag lists drawn independently with the frequencies of the competition's training table"
    sets, counts = _table()
    return [list(sets[i]) for i in np.random.default_rng(seed).choice(len(sets), n, p=counts/counts.sum())]

def draw_chip(
    tags, # iterable of `TAGS`; with no weather tag the sky is clear
    seed=0, # int, or a tuple of them: `write_chips` draws chip i of seed s from `(s, i)`
    size:int=256, # pixels a side; drawn at 256 and resized
)->np.ndarray: # (size, size, 3) uint8
    "Draw one chip; the same seed with one tag more is the same place with that tag. `ValueError` names an unknown tag"
    tags = frozenset(tags)
    if bad := sorted(tags - set(TAGS)):
        raise ValueError(f"unknown tag{'s'*(len(bad) > 1)} {', '.join(map(repr, bad))}: the tags are {' '.join(TAGS)}")
    img = paint_chip(tags, tuple(np.atleast_1d(seed).tolist()))
    return img if size == len(img) else np.asarray(Image.fromarray(img).resize((size, size), Image.LANCZOS))

def write_chips(
    path, # folder to make; must not exist
    n:int=1000, # how many chips
    size:int=256, # pixels a side
    seed:int=42,
    progress=None, # e.g. `tqdm` or `fastprogress.progress_bar`: called once as `progress(iterable, total=n)`
)->Path: # `path`
    """Draw `n` chips in the competition's layout: `train_v2.csv`, and `train-jpg/train_0.jpg` on.

    All or nothing: written into a folder beside `path` that is renamed when whole, and removed on any failure.
    Raises `FileExistsError` where `path` exists, `OSError` where it cannot be written."""
    if n < 1 or size < 1: raise ValueError(f"n and size must be at least 1, not {n} and {size}")
    path = Path(path)
    tmp, rows = path.with_name(f'.{path.name}-{uuid4().hex}'), draw_tags(n, seed)
    def write(i): Image.fromarray(draw_chip(rows[i], (seed, i), size)).save(tmp/f'train-jpg/train_{i}.jpg', quality=90)
    try:
        if path.exists(): raise FileExistsError(errno.EEXIST, 'it exists already')
        (tmp/'train-jpg').mkdir(parents=True)
        pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))  # numpy and Pillow let go of the interpreter's lock
        try:
            for _ in (progress or (lambda it, total: it))(pool.map(write, range(n)), total=n): pass
        finally: pool.shutdown(cancel_futures=True)
        with open(tmp/'train_v2.csv', 'w', newline='', encoding='utf-8') as f:
            csv.writer(f, lineterminator='\n').writerows(
                [('image_name', 'tags'), *((f'train_{i}', ' '.join(tags)) for i, tags in enumerate(rows))])
        tmp.rename(path)
    except OSError as e:
        kind = FileExistsError if e.errno in (errno.EEXIST, errno.ENOTEMPTY) else OSError
        raise kind(f"cannot write synthetic chips to {path}: {e.strerror or e}") from e
    finally: shutil.rmtree(tmp, ignore_errors=True)
    return path

def synthetic_folder(
    n:int=1000, # how many chips
    size:int=256, # pixels a side
    seed:int=42,
    cache=None, # folder of caches; default $PLANET_CACHE, else $XDG_CACHE_HOME/planet, else ~/.cache/planet
    progress=None, # as for `write_chips`; not called where the chips are there already
)->Path: # folder with `train_v2.csv` and `train-jpg/`
    "The folder of `n` synthetic chips, drawn on first use and kept; raises `OSError` where the cache cannot be written"
    path = cache_folder(cache)/f'synthetic-v{DRAWING}-n{n}-size{size}-seed{seed}'
    if (path/'train_v2.csv').exists(): return path
    try: return write_chips(path, n, size, seed, progress)
    except FileExistsError:
        if (path/'train_v2.csv').exists(): return path  # another process drew the same chips meanwhile
        raise
    except OSError as e: raise OSError(f"{e}; name another folder in $PLANET_CACHE") from e
