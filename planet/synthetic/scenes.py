"Large drawn scenes with the true tags of every place, read block by block, and cut into chips with known neighbours."
# A scene is a grid of cells of a chip's size. The ground of each is painted as a chip's is, a little larger than its
# cell; cells meet along ragged lines, and the air, the clouds and the sensor are the scene's own. So every pixel goes
# on in the next one wherever the scene is cut.
import csv
from functools import lru_cache
from pathlib import Path
import numpy as np
from PIL import Image
from planet.amazon import TAGS, WEATHER, tag_sets
from planet.cli import progress as cli_progress
from planet.synthetic.brushes import N, blur, periodic, rgb, step
from planet.synthetic.cache import draw_folder
from planet.synthetic.painters import PAINTERS
from planet.synthetic.scene import Scene, blurred, ground

__all__ = ['DrawnScene', 'draw_scene', 'window_tags', 'cut_chips']

MARGIN = 32 # pixels of a cell's ground that lie in the cells around it
KEPT = .5 # share of cells that take the tags of the ground from a cell beside them

class _Field:
    "Fractal noise over a scene of any size, mean 0, std 1, `zoom` pixels a grid point; repeats after `n*zoom` pixels."
    def __init__(self, rng, power, zoom, n=512):
        self.zoom, self.n = zoom, n
        self.sheet = Image.fromarray(np.pad(periodic(rng, power, n), 300, mode='wrap'))

    def __call__(self, y, x, size, every=1):
        "Its values in a square of `size` pixels whose corner is at (y, x), at one pixel of `every`."
        left, top = ((v/self.zoom) % self.n + 150 for v in (x, y))
        box = left, top, left + size/self.zoom, top + size/self.zoom
        return np.asarray(self.sheet.resize((size//every,)*2, Image.BICUBIC, box))

def _ground_tags(rows, cols, rng):
    "Tags of the ground of each cell, with the competition's frequencies; about half are those of a cell beside it."
    sets = {}
    for tags, n in tag_sets().items():
        if bare := tuple(t for t in tags if t not in WEATHER): sets[bare] = sets.get(bare, 0) + n
    sets, p = list(sets), np.array(list(sets.values()), float)
    drawn, kept, up = rng.choice(len(sets), (rows, cols), p=p/p.sum()), *rng.random((2, rows, cols))
    for r in range(rows):
        for c in range(cols):
            beside = [(r-1, c)]*(r > 0) + [(r, c-1)]*(c > 0)
            if beside and kept[r, c] < KEPT: drawn[r, c] = drawn[beside[int(up[r, c]*len(beside))]]
    return [[sets[i] for i in row] for row in drawn]

class DrawnScene:
    """A large drawn scene, read block by block: `read` gives the pixels of a window, `tags` those of each cell.

    The same seed and size give the same pixels, in whatever order they are read."""
    def __init__(self, height:int, # pixels
                 width:int, # pixels
                 seed:int=42):
        if min(height, width) < 1: raise ValueError(f'a scene of {height} x {width} pixels: give at least 1 x 1')
        self.height, self.width, self.seed = height, width, seed
        rows, cols = -(-height//N), -(-width//N)
        rng = np.random.default_rng((seed, 300))
        self._bend = _Field(rng, 1.3, 3), _Field(rng, 1.3, 3)
        self._puff, self._region, self._haze = _Field(rng, 1.75, 2, 2048), _Field(rng, 1.4, 64), _Field(rng, 1.6, 64)
        self._forest = rng.uniform(.85, 1.1)*np.float32((31, 44, 34))*rng.normal(1, (.05, .03, .05))
        self._veil, self._blur = rgb((158, 165, 160)*rng.uniform(.95, 1.05, 3)), np.float32(rng.uniform(.25, .4))
        self._wind = rng.integers(-30, 31, 2)
        self._soft = rng.uniform(.8, 1.6) # of the clouds' outlines
        self._ground = _ground_tags(rows, cols, rng)
        self.tags = [[self._seen(r, c) for c in range(cols)] for r in range(rows)] # of each cell, sorted
        self._surface = lru_cache(3*cols + 6)(self._paint)
        self._cell = lru_cache(cols + 2)(self._finish)

    def _clouds(self, y, x, size, every=1):
        "Opacity of the clouds: puffs that grow together where the region is cloudy."
        thick = .9*self._puff(y, x, size, every) + 1.9*self._region(y, x, size, every)
        alpha = step(thick, 2.3 + self._soft/3, self._soft)
        return alpha*alpha*(2.85 - 1.9*alpha)

    def _thickness(self, y, x, size, every=1):
        "Share of the light that the haze scatters."
        return .08 + .6*step(self._haze(y, x, size, every), 1.4, .5)

    def _seen(self, r, c):
        "Tags of a cell: its weather from what the air does to it, and the ground's unless clouds hide it."
        cover = self._clouds(r*N, c*N, N, 8).mean()
        if cover > .85: return ('cloudy',)
        hazy = self._thickness(r*N, c*N, N, 8).mean() > .35
        weather = 'partly_cloudy' if cover > .015 else 'haze' if hazy else 'clear'
        return tuple(sorted((*self._ground[r][c], weather)))

    def _paint(self, r, c):
        "The ground of a cell and of `MARGIN` pixels around it, before the air: (3, N+2*MARGIN, N+2*MARGIN) float16"
        tags = frozenset(self._ground[r][c])
        def rng(i): return np.random.default_rng((self.seed, r, c, i))
        s = Scene(tags)
        ground(s, rng(100))
        if 'primary' in tags: # one forest grows in all cells
            s.img *= rgb(self._forest/s.img.mean((1, 2)))*np.float32(rng(301).uniform(.95, 1.05))
        for tag, paint in PAINTERS.items():
            if tag in tags: paint(s, rng(TAGS.index(tag)))
        size = (N + 2*MARGIN,)*2
        return np.stack([np.asarray(Image.fromarray(band).resize(size, Image.BICUBIC)) for band in s.img]
                        ).astype(np.float16)

    def _finish(self, r, c):
        "Pixels of a cell, (N, N, 3) uint8: the ground of nine cells joined, then the air and the sensor."
        edge = 2 # the blur reaches over the border of the cell
        size, y, x = N + 2*edge, r*N - edge, c*N - edge
        at = np.arange(size, dtype=np.float32) - edge
        wy, wx = (v + np.clip(11*f(y, x, size), -27, 27) for v, f in zip((at[:, None], at), self._bend))
        img = np.zeros((3, size, size), np.float32)
        rows, cols = len(self.tags), len(self.tags[0])
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                w = _inside(wy, i*N)*_inside(wx, j*N)
                ys, xs = (slice(v.argmax(), size - v[::-1].argmax()) for v in (w.any(1), w.any(0)))
                if not w.any(): continue
                tile = self._surface(min(max(r+i, 0), rows-1), min(max(c+j, 0), cols-1))
                y0, x0 = ys.start - edge + MARGIN - i*N, xs.start - edge + MARGIN - j*N
                img[:, ys, xs] += w[ys, xs]*tile[:, y0:y0 + ys.stop - ys.start, x0:x0 + xs.stop - xs.start]
        alpha = self._clouds(y, x, size)
        img *= 1 - .4*blur(self._clouds(y + self._wind[0], x + self._wind[1], size), 3)
        for colour, mask in ((self._veil, self._thickness(y, x, size)), (rgb((222, 220, 212)), alpha)):
            img += mask*(colour - img)
        img *= 1 + .03*alpha*self._puff(y+3, x+3, size)
        rng = np.random.default_rng((self.seed, r, c, 102))
        img = blurred(img, self._blur)[:, edge:-edge, edge:-edge] + rng.uniform(-2, 2, (N, N)).astype(np.float32)
        return np.clip(img, 0, 255).astype(np.uint8).transpose(1, 2, 0)

    def read(self, y:int, # row of the window's upper edge
             x:int, # column of its left edge
             height:int, width:int, # pixels; the window must lie in the scene
            ) -> np.ndarray: # (height, width, 3) uint8
        "Pixels of a window, drawn now; the cells of about one row of the scene are kept, so read from the top down."
        if not (0 <= y and 0 <= x and y + height <= self.height and x + width <= self.width):
            raise ValueError(f'window {y}, {x}, {height} x {width} is not in a scene of {self.height} x {self.width}')
        out = np.empty((height, width, 3), np.uint8)
        for r in range(y//N, -(-(y + height)//N)):
            for c in range(x//N, -(-(x + width)//N)):
                ys, xs = (slice(max(a, k*N), min(a + n, k*N + N)) for a, n, k in ((y, height, r), (x, width, c)))
                out[ys.start-y:ys.stop-y, xs.start-x:xs.stop-x] = self._cell(r, c)[
                    ys.start-r*N:ys.stop-r*N, xs.start-c*N:xs.stop-c*N]
        return out

    def blocks(self, rows:int=N, # pixels of a block, from the top
               progress=cli_progress): # as `planet.cli.progress`
        "Yield the scene as (y, pixels of all its columns), from the top to the bottom, in flat memory."
        starts = range(0, self.height, rows)
        for y in progress(starts, len(starts), 'drawing the scene'):
            yield y, self.read(y, 0, min(rows, self.height - y), self.width)

def _inside(v, start):
    "1 where `v` lies in a cell that begins at `start`, 0 outside, a short ramp between"
    return step(v, start, 3) - step(v, start + N, 3)

def draw_scene(
    height:int, # pixels; 20,000 x 20,000 takes 1.2 GB: read a `DrawnScene` by blocks instead
    width:int, # pixels
    seed:int=42,
): # pixels (height, width, 3) uint8, and the tags of each cell of 256 px: a list of rows of tuples
    "Draw a large scene; `window_tags` tells the true tags of any window of it"
    scene = DrawnScene(height, width, seed)
    return scene.read(0, 0, height, width), scene.tags

def window_tags(
    tags, # of each cell, as `draw_scene` returns them
    y:int, x:int, height:int, width:int, # the window, in pixels
    least:float=.25, # share of the window that a cell must fill to lend it its tags
) -> tuple: # sorted, with one weather tag
    "The true tags of a window of a drawn scene: those of the cells that fill enough of it, and the largest weather"
    def shares(start, length, n): # cell -> share of the window's length
        cells = range(start//N, min(-(-(start + length)//N), n))
        return {k: (min(start + length, k*N + N) - max(start, k*N))/length for k in cells}
    down, along = shares(y, height, len(tags)), shares(x, width, len(tags[0]))
    places = {(r, c): a*b for r, a in down.items() for c, b in along.items()}
    weather = {}
    for (r, c), share in places.items():
        sky = next(w for w in WEATHER if w in tags[r][c])
        weather[sky] = weather.get(sky, 0) + share
    sky = max(weather, key=weather.get)
    if sky == 'cloudy': return ('cloudy',)
    least = min(least, max(places.values()))
    seen = {t for (r, c), share in places.items() if share >= least for t in tags[r][c] if t not in WEATHER}
    return tuple(sorted((*seen, sky)))

def cut_chips(
    scenes, # a `DrawnScene`, or a list of them
    out, # folder to make; must not exist
    size:int=N, # pixels of a chip's side; what is left at the right and at the bottom is not cut
    quality:int=90, # of the JPEGs
    brightness:float=0., # standard deviation of the gain that each chip gets, and of a tint of a third of that
    keep:float=1., # share of the chips that are kept, at random: others leave holes
    start=(0, 0), # row and column of the scene at which the first chip begins
    seed:int=42, # of the gains, of which chips are kept, and of the names' order
    progress=cli_progress, # as `planet.cli.progress`
) -> Path: # `out`
    """Cut drawn scenes into a folder of chips: `labels.csv`, `train/train_N.jpg` in no order, and the truth.

    `truth/neighbours.csv` has `image_name,neighbour,side` (the neighbour lies to the right, or below) and
    `truth/groups.csv` has `image_name,group`: the chips that neighbours connect."""
    scenes = [scenes] if isinstance(scenes, DrawnScene) else list(scenes)
    places = [(k, y, x) for k, s in enumerate(scenes) for y in range(start[0], s.height - size + 1, size)
              for x in range(start[1], s.width - size + 1, size)]
    rng = np.random.default_rng((seed, 310))
    places = [p for p, r in zip(places, rng.random(len(places))) if r < keep]
    if not places: raise ValueError(f'no chip of {size} px: the scenes are too small, or `keep` is')
    names = [f'train_{i}' for i in rng.permutation(len(places))]
    gains = 1 + brightness*(rng.normal(0, 1, (len(places), 1)) + rng.normal(0, 1/3, (len(places), 3)))
    def draw(folder, i):
        k, y, x = places[i]
        (folder/'train').mkdir(exist_ok=True)
        pixels = scenes[k].read(y, x, size, size)
        if brightness: pixels = np.clip(pixels*gains[i] + .5, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder/f'train/{names[i]}.jpg', quality=quality)
        return [f'train/{names[i]}.jpg', ' '.join(window_tags(scenes[k].tags, y, x, size, size))]
    def finish(folder, rows):
        name = dict(zip(places, names))
        pairs = [(name[p], name[q], side) for p in places for side, q in (
            ('right', (p[0], p[1], p[2] + size)), ('below', (p[0], p[1] + size, p[2]))) if q in name]
        (folder/'truth').mkdir(exist_ok=True)
        _write(folder/'labels.csv', ('image_name', 'tags'), sorted((Path(f).stem, tags) for f, tags in rows))
        _write(folder/'truth'/'neighbours.csv', ('image_name', 'neighbour', 'side'), pairs)
        _write(folder/'truth'/'groups.csv', ('image_name', 'group'), _joined(names, pairs))
    key = ['scene chips', [(s.height, s.width, s.seed) for s in scenes], size, quality, brightness, keep, start, seed]
    return draw_folder(out, key, len(places), draw, finish, 'chips', progress)

def _write(path, header, rows):
    with open(path, 'w', newline='', encoding='utf-8') as f:
        csv.writer(f, lineterminator='\n').writerows([header, *rows])

def _joined(names, pairs):
    "(name, group) of each: pairs are in one group"
    group = {name: name for name in names}
    def root(name):
        while group[name] != name: name = group[name]
        return name
    for one, other, _ in pairs: group[root(other)] = root(one)
    return [(name, root(name)) for name in names]
