"""Chips of forest with one clearing each, and where its centre is: what a regression of a point can learn from.

Painted as every synthetic chip is (`painting`), with rivers, roads and haze to look past; the centre is measured on the
painted clearing itself, so that the answer is exact.
"""
import csv, os, shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4
import numpy as np
from PIL import Image
from planet.amazon import TAGS
from .terrain import N, _Scene, _PAINTERS, _X, _Y, _air, _blot, _blots, _grain, _ground, _pick, _ragged, _sensor
from .cache import cache_folder

__all__ = ['DRAWING', 'draw_clearing', 'write_clearings', 'clearings_folder']

DRAWING = 1 # part of the cache folder's name: raise it whenever a picture changes

def _clearing(s, rng):
    "Hew one plot into the forest; returns the centre (x, y) of what was painted"
    radius = rng.uniform(14, 40)
    for _ in range(20): # on dry land
        at = rng.uniform(1.5*radius, N - 1.5*radius, 2) # all of it is in the picture
        mask = _ragged(_blots([_blot(rng, at, radius, 9, .45)]), rng, 2, .15)
        if (mask*s.water).sum() < .01*mask.sum(): break
    s.paint(_pick(rng, (128, 108, 84), (138, 112, 96), (104, 96, 72), (98, 104, 66)), mask*.9, 1 + .08*_grain(rng, .8))
    s.clear(mask, at)
    return tuple(float((mask*axis).sum()/mask.sum() + .5) for axis in (_X, _Y)) # pixel i reaches from i to i+1

def draw_clearing(
    seed=0, # int, or a tuple of them
    size:int=N, # pixels a side; drawn at 256 and resized
): # (size, size, 3) uint8, and the centre `(x, y)` of the clearing in pixels from the left and from the top
    "Draw a chip of forest with one clearing; the same seed gives the same chip at any size"
    seed = tuple(np.atleast_1d(seed).tolist())
    def rng(i): return np.random.default_rng((*seed, i))
    water, road, haze = rng(200).random(3) < (.25, .25, .15)
    s = _Scene(frozenset(['primary', *['water']*int(water), *['road']*int(road)]))
    _ground(s, rng(100))
    if water: _PAINTERS['water'](s, rng(TAGS.index('water')))
    centre = _clearing(s, rng(201))
    if road: _PAINTERS['road'](s, rng(TAGS.index('road')))
    _air(s, rng(101), *((.3, .65) if haze else (0., .36))) # never so thick that nothing is left to find
    chip = _sensor(s, rng(102))
    if size != N: chip = np.asarray(Image.fromarray(chip).resize((size, size), Image.LANCZOS))
    return chip, tuple(c*size/N for c in centre)

def write_clearings(
    path, # folder to make; must not exist
    n:int=600, # how many chips
    size:int=N, # pixels a side
    seed:int=42,
    progress=lambda items, total: items, # wraps the iterable of chips, to show progress
)->Path: # `path`
    "Write `points.csv` (`image_name,x,y` in pixels) and its images: all, or on any failure nothing; `OSError` where that is impossible"
    path = Path(path)
    tmp = path.with_name(f'.{path.name}-{uuid4().hex}')
    def write(i):
        chip, centre = draw_clearing((seed, i), size)
        Image.fromarray(chip).save(tmp/f'clearing_{i}.jpg', quality=90)
        return f'clearing_{i}.jpg', *(f'{c:.2f}' for c in centre)
    try:
        tmp.mkdir(parents=True)
        pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1)) # numpy and Pillow let go of the interpreter's lock
        try: rows = list(progress(pool.map(write, range(n)), n))
        finally: pool.shutdown(cancel_futures=True)
        with open(tmp/'points.csv', 'w', newline='', encoding='utf-8') as f:
            csv.writer(f, lineterminator='\n').writerows([('image_name', 'x', 'y'), *rows])
        tmp.rename(path)
    finally: shutil.rmtree(tmp, ignore_errors=True)
    return path

def clearings_folder(
    n:int=600, size:int=N, seed:int=42, # as in `write_clearings`
    cache=None, # folder of caches; default $PLANET_CACHE, else $XDG_CACHE_HOME/planet, else ~/.cache/planet
    progress=lambda items, total: items, # as in `write_clearings`; not called where the chips are there already
)->Path: # folder with `points.csv` and its images
    "The folder of `n` clearings, drawn on first use and kept; `OSError` where the cache cannot be written"
    path = cache_folder(cache)/f'clearings-v{DRAWING}-n{n}-size{size}-seed{seed}'
    try: return path if (path/'points.csv').exists() else write_clearings(path, n, size, seed, progress)
    except OSError:
        if (path/'points.csv').exists(): return path # another process drew the same chips meanwhile
        raise
