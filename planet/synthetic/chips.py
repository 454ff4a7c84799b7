"Synthetic chips in the competition's own layout, for machines with no network and no Kaggle account."
# Tag sets come with the frequencies of the real table (`tag_sets.csv`: the counts of all 40,479 training chips);
# every picture is painted from its tags and a seed alone: the ground, what water, people and fire did to it (one
# painter a tag), the air in between, the sensor.
import csv
from functools import lru_cache, partial
from pathlib import Path
import numpy as np
from PIL import Image
from planet.amazon import CHIP_SIZE, TAGS, WEATHER, tag_sets
from planet.cli import progress as cli_progress
from planet.synthetic.cache import cached_folder, draw_folder
from planet.synthetic.painters import PAINTERS, WEATHER_PAINTERS
from planet.synthetic.scene import Scene, ground, sensor

__all__ = ['DRAWING', 'draw_tags', 'draw_chip', 'write_chips', 'synthetic_folder']

DRAWING = 5 # part of the cache folder's name: raise it whenever a picture changes

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

def _paint(tags, seed):
    "Each tag has its own random stream: the same seed with one tag more is the same place with that tag"
    def rng(i): return np.random.default_rng((*seed, i))
    s = Scene(tags)
    ground(s, rng(100))
    if 'cloudy' not in tags:
        for tag, paint in PAINTERS.items():
            if tag in tags: paint(s, rng(TAGS.index(tag)))
    WEATHER_PAINTERS[next((w for w in WEATHER if w in tags), 'clear')](s, rng(101))
    return sensor(s, rng(102))

def draw_chip(
    tags, # iterable of `TAGS`; without a weather tag it is clear
    seed=0, # int, or a tuple of them: `write_chips` draws chip i of seed s from `(s, i)`
    size:int=CHIP_SIZE, # pixels a side; drawn at 256 and resized
)->np.ndarray: # (size, size, 3) uint8
    "Draw one chip; the same seed with one tag more is the same place with that tag. `ValueError` names an unknown tag"
    tags = frozenset(tags)
    if bad := sorted(tags - set(TAGS)):
        raise ValueError(f"unknown tag{'s'*(len(bad) > 1)} {', '.join(map(repr, bad))}: the tags are {' '.join(TAGS)}")
    img = _paint(tags, tuple(np.atleast_1d(seed).tolist()))
    return img if size == len(img) else np.asarray(Image.fromarray(img).resize((size, size), Image.LANCZOS))

def write_chips(
    path, # folder to make; must not exist
    n:int=1000, # how many chips
    size:int=CHIP_SIZE, # pixels a side
    seed:int=42,
    progress=cli_progress, # as `planet.cli.progress`: called as `progress(items, total, label)`
)->Path: # `path`
    """Draw `n` chips in the competition's layout: `train_v2.csv`, and `train-jpg/train_0.jpg` on.

    The folder is whole or not there; interrupted or killed, the next call goes on from what is drawn (`draw_folder`).
    Raises `FileExistsError` where `path` exists, `OSError` where it cannot be written."""
    if n < 1 or size < 1: raise ValueError(f"n and size must be at least 1, not {n} and {size}")
    tags = draw_tags(n, seed)
    def draw(folder, i):
        (folder/'train-jpg').mkdir(exist_ok=True)
        name = f'train-jpg/train_{i}.jpg'
        Image.fromarray(draw_chip(tags[i], (seed, i), size)).save(folder/name, quality=90)
        return [name]
    def finish(folder, rows):
        with open(folder/'train_v2.csv', 'w', newline='', encoding='utf-8') as f:
            csv.writer(f, lineterminator='\n').writerows(
                [('image_name', 'tags'), *((f'train_{i}', ' '.join(t)) for i, t in enumerate(tags))])
    return draw_folder(path, ['chips', DRAWING, n, size, seed], n, draw, finish, 'chips', progress)

def synthetic_folder(
    n:int=1000, # how many chips
    size:int=CHIP_SIZE, # pixels a side
    seed:int=42,
    cache=None, # folder of caches; default $PLANET_CACHE, else $XDG_CACHE_HOME/planet, else ~/.cache/planet
    progress=cli_progress, # as for `write_chips`; not called where the chips are there already
)->Path: # folder with `train_v2.csv` and `train-jpg/`
    "The folder of `n` synthetic chips, drawn on first use and kept; `UserError` where the cache cannot be written"
    write = partial(write_chips, n=n, size=size, seed=seed, progress=progress)
    return cached_folder(f'synthetic-v{DRAWING}-n{n}-size{size}-seed{seed}', n, write, 'train_v2.csv', cache)
