"Synthetic chips of forest with one clearing each, and its centre: a data set for the regression of a point."
# Painted as every synthetic chip is, with rivers, roads and haze that distract; the centre is measured on the painted
# clearing itself, so that the answer is exact.
import csv
from functools import partial
from pathlib import Path
import numpy as np
from PIL import Image
from planet.amazon import TAGS
from planet.cli import progress as cli_progress
from planet.synthetic.brushes import N, X, Y, filled, grain, irregular_polygon, pick, ragged
from planet.synthetic.cache import cached_folder, draw_folder
from planet.synthetic.painters import PAINTERS
from planet.synthetic.scene import Scene, air, ground, sensor

__all__ = ['DRAWING', 'draw_clearing', 'write_clearings', 'clearings_folder']

DRAWING = 1 # part of the cache folder's name: raise it whenever a picture changes

def _clearing(s, rng):
    "Hew one plot into the forest; returns the centre (x, y) of what was painted"
    radius = rng.uniform(14, 40)
    for _ in range(20): # on dry land
        at = rng.uniform(1.5*radius, N - 1.5*radius, 2) # all of it is in the picture
        mask = ragged(filled([irregular_polygon(rng, at, radius, 9, .45)]), rng, 2, .15)
        if (mask*s.water).sum() < .01*mask.sum(): break
    s.paint(pick(rng, (128, 108, 84), (138, 112, 96), (104, 96, 72), (98, 104, 66)), mask*.9, 1 + .08*grain(rng, .8))
    s.clear(mask, at)
    return tuple(float((mask*axis).sum()/mask.sum() + .5) for axis in (X, Y)) # pixel i reaches from i to i+1

def draw_clearing(
    seed=0, # int, or a tuple of them
    size:int=N, # pixels a side; drawn at 256 and resized
): # (size, size, 3) uint8, and the centre `(x, y)` of the clearing in pixels from the left and from the top
    "Draw a chip of forest with one clearing; the same seed gives the same chip at any size"
    seed = tuple(np.atleast_1d(seed).tolist())
    def rng(i): return np.random.default_rng((*seed, i))
    water, road, haze = rng(200).random(3) < (.25, .25, .15)
    s = Scene(frozenset(['primary', *['water']*int(water), *['road']*int(road)]))
    ground(s, rng(100))
    if water: PAINTERS['water'](s, rng(TAGS.index('water')))
    centre = _clearing(s, rng(201))
    if road: PAINTERS['road'](s, rng(TAGS.index('road')))
    air(s, rng(101), *((.3, .65) if haze else (0., .36))) # never so thick that nothing is left to find
    chip = sensor(s, rng(102))
    if size != N: chip = np.asarray(Image.fromarray(chip).resize((size, size), Image.LANCZOS))
    return chip, tuple(c*size/N for c in centre)

def write_clearings(
    path, # folder to make; must not exist
    n:int=600, # how many chips
    size:int=N, # pixels a side
    seed:int=42,
    progress=cli_progress, # as `planet.cli.progress`: called as `progress(items, total, label)`
)->Path: # `path`
    "Draw `points.csv` (`image_name,x,y` in pixels) and its images: whole or not there, as in `draw_folder`"
    if n < 1 or size < 1: raise ValueError(f"n and size must be at least 1, not {n} and {size}")
    def draw(folder, i):
        chip, centre = draw_clearing((seed, i), size)
        Image.fromarray(chip).save(folder/f'clearing_{i}.jpg', quality=90)
        return f'clearing_{i}.jpg', *(f'{c:.2f}' for c in centre)
    def finish(folder, rows):
        with open(folder/'points.csv', 'w', newline='', encoding='utf-8') as f:
            csv.writer(f, lineterminator='\n').writerows([('image_name', 'x', 'y'), *rows])
    return draw_folder(path, ['clearings', DRAWING, n, size, seed], n, draw, finish, 'clearings', progress)

def clearings_folder(
    n:int=600, size:int=N, seed:int=42, # as in `write_clearings`
    cache=None, # folder of caches; default $PLANET_CACHE, else $XDG_CACHE_HOME/planet, else ~/.cache/planet
    progress=cli_progress, # as in `write_clearings`; not called where the chips are there already
)->Path: # folder with `points.csv` and its images
    "The folder of `n` clearings, drawn on first use and kept; `UserError` where the cache cannot be written"
    write = partial(write_clearings, n=n, size=size, seed=seed, progress=progress)
    return cached_folder(f'clearings-v{DRAWING}-n{n}-size{size}-seed{seed}', n, write, 'points.csv', cache)
