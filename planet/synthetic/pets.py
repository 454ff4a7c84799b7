"Pets drawn by code, named as the Oxford-IIIT Pet photographs are: stand-ins where those are not to be had."
from functools import partial
from pathlib import Path
import numpy as np
from PIL import Image, ImageDraw
from planet.cli import progress as cli_progress
from planet.synthetic.cache import cached_folder, draw_folder

__all__ = ['BREEDS', 'draw_pet', 'write_pets', 'pets_folder']

DRAWING = 1 # part of the cached folder's name: raise it when the pictures change

FINE = 2 # drawn this much larger, then scaled down, for smooth edges

# breed -> coat, second colour (ears' insides, muzzle or mask), eyes, marks. A capital is a cat, as in the real names
BREEDS = {
    'Calico': ('#f6efe4', '#e9b3a6', '#7a9a3a', 'patches'),
    'Siamese': ('#eadcc4', '#5b4436', '#4aa3df', 'mask'),
    'Tabby': ('#d9904a', '#f2d2a9', '#5f8f3f', 'stripes'),
    'Tuxedo': ('#2f3138', '#f7f5f0', '#e2b93b', 'bib'),
    'beagle': ('#c98a4b', '#fbf6ec', '#4a2f1d', 'blaze'),
    'dalmatian': ('#fafafa', '#e3e0dd', '#3a2a20', 'spots'),
    'poodle': ('#cfc6d8', '#b9adc6', '#2b2430', 'curls'),
    'terrier': ('#8a6a55', '#d8b48c', '#2a1c14', 'beard'),
}
DARK, PINK = '#2b2320', '#e58f95'

def _shift(colour, rng, by=14):
    "`colour` as it looks in another light, as an RGB tuple."
    rgb = np.array([int(colour[i:i+2], 16) for i in (1, 3, 5)])
    return tuple(int(c) for c in (rgb + rng.normal(0, by) + rng.normal(0, by/3, 3)).clip(0, 255))

class _Face:
    "A face on a transparent square. Points are `(x, y)` from -1 to 1, y down, whatever the size in pixels."
    def __init__(self, side):
        self.side, self.im = side, Image.new('RGBA', (side, side))
        self.draw = ImageDraw.Draw(self.im)
    def at(self, *points): return [((x+1)*self.side/2, (y+1)*self.side/2) for x, y in points]
    def oval(self, x, y, rx, ry, fill): self.draw.ellipse([*self.at((x-rx, y-ry), (x+rx, y+ry))], fill=fill)
    def shape(self, fill, *points): self.draw.polygon(self.at(*points), fill=fill)
    def line(self, fill, width, *points):
        self.draw.line(self.at(*points), fill=fill, width=max(1, round(width*self.side/2)), joint='curve')

    def within(self, mask, paint):
        "Paint on a layer of its own, and keep what falls on the oval `mask`: `(x, y, rx, ry)`."
        layer, cut = _Face(self.side), Image.new('L', self.im.size)
        paint(layer)
        x, y, rx, ry = mask
        ImageDraw.Draw(cut).ellipse([*self.at((x-rx, y-ry), (x+rx, y+ry))], fill=255)
        empty = Image.new('RGBA', self.im.size)
        self.im.alpha_composite(Image.composite(layer.im, empty, cut))

HEAD = 0, .12, .62, .56

def _cat_ears(f, coat, inner):
    for s in (-1, 1):
        f.shape(coat, (s*.60, -.02), (s*.56, -.74), (s*.10, -.36))
        f.shape(inner, (s*.52, -.14), (s*.51, -.58), (s*.22, -.34))

def _dog_ears(f, colour):
    for s in (-1, 1):
        f.oval(s*.62, .06, .19, .46, colour)
        f.oval(s*.50, -.28, .20, .18, colour)

def _marks(f, kind, coat, second, rng):
    "What makes the breed: painted on the head, under eyes and nose."
    def paint(g):
        if kind == 'stripes':
            for x in (-.22, 0, .22): g.line(_shift('#8a4f1f', rng, 6), .07, (x, -.5), (x*.8, -.16))
            for s in (-1, 1):
                for y in (.12, .28, .44): g.line(_shift('#8a4f1f', rng, 6), .06, (s*.66, y-.04), (s*.40, y))
            g.oval(0, .48, .25, .24, second)
        elif kind == 'mask':
            for r, share in ((.50, .35), (.43, .7), (.36, 1)): # a soft edge
                g.oval(0, .34, r, r*.98, tuple(int(a+(b-a)*share) for a, b in zip(coat, second)))
        elif kind == 'patches':
            places = (-.42, -.16, .34), (.44, -.04, .30), (.10, -.46, .16)
            for (x, y, r), colour in zip(places, ('#d98236', '#3b3330', '#d98236')):
                g.oval(x+rng.normal(0, .05), y+rng.normal(0, .05), r, r*.9, _shift(colour, rng, 6))
        elif kind == 'bib':
            g.shape(second, (0, -.16), (-.34, .80), (.34, .80))
            g.oval(0, .46, .32, .28, second)
        elif kind == 'blaze':
            g.shape(second, (-.06, -.5), (.06, -.5), (.16, .3), (-.16, .3))
            g.oval(0, .46, .36, .34, second)
        elif kind == 'spots':
            for x, y, r in rng.uniform((-.6, -.45, .04), (.6, .7, .10), (40, 3)):
                if min(np.hypot(abs(x)-.26, y-.06), np.hypot(x, y-.46)) > .14+r: # neither on the eyes nor on the mouth
                    g.oval(x, y, r, r*rng.uniform(.7, 1.2), DARK)
        elif kind == 'beard':
            for x in np.linspace(-.36, .36, 9):
                g.shape(second, (x-.10, .36), (x+.10, .36), (x*1.2, .76+.1*rng.random()))
            g.oval(0, .40, .36, .20, second)
            for s in (-1, 1): g.line(second, .09, (s*.12, -.16), (s*.42, -.24))
    f.within(HEAD, paint)

def _face(breed, coat, side, rng):
    second, eyes = (_shift(c, rng) for c in BREEDS[breed][1:3])
    marks, cat, f = BREEDS[breed][3], breed[0].isupper(), _Face(side)
    if cat: _cat_ears(f, second if marks == 'mask' else coat, second if marks != 'bib' else PINK)
    if marks == 'curls':
        for a in np.linspace(0, 2*np.pi, 13)[:-1]: f.oval(.56*np.cos(a), .10+.50*np.sin(a), .20, .20, second)
    f.oval(*HEAD, coat)
    _marks(f, marks, coat, second, rng)
    if marks == 'curls':
        for x, y in ((-.2, -.48), (.2, -.48), (0, -.58), (0, -.40)): f.oval(x, y, .20, .18, second)
        f.oval(0, .42, .26, .22, second)
    if not cat:
        ears = {'spots': DARK, 'blaze': _shift('#8a5426', rng), 'curls': second}
        _dog_ears(f, ears.get(marks, _shift('#5f4636', rng)))
    look = rng.uniform(-.03, .03)
    for s in (-1, 1):
        f.oval(s*.26, .06, .125, .135, '#ffffff' if marks != 'bib' else eyes)
        f.oval(s*.26+look, .07, .095, .115, eyes)
        f.oval(s*.26+look, .07, .035 if cat else .06, .10 if cat else .06, '#0d0b0b')
        f.oval(s*.26+look+.035, .02, .025, .03, '#ffffff')
    if cat: f.shape(PINK, (-.08, .30), (.08, .30), (0, .39))
    else: f.oval(0, .34, .13, .10, DARK)
    mouth = '#8d6f66' if marks in ('mask', 'bib') else DARK
    f.line(mouth, .03, (-.17, .50), (-.09, .55), (0, .50), (0, .40), (0, .50), (.09, .55), (.17, .50))
    if cat:
        for s in (-1, 1):
            whisker = '#ffffff' if marks in ('mask', 'bib') else '#7d736b'
            for dy in (-.06, .02, .10): f.line(whisker, .016, (s*.20, .42+dy*.5), (s*.80, .40+dy*1.8))
    elif rng.random() < .5: f.oval(.05, .61, .08, .11, PINK) # the tongue is out
    return f.im

def draw_pet(breed:str, # one of `BREEDS`
             seed:int=0, # of its light, pose and place
             width:int=200, height:int=None, # of the picture in pixels; square by default
            ) -> Image.Image: # RGB
    "The portrait of a pet: turned, moved, scaled and lit a little differently for each seed."
    rng, height = np.random.default_rng([seed, *breed.encode()]), height or width
    w, h = FINE*width, FINE*height
    wall, floor = (tuple(int(c) for c in (rng.uniform(*span) + rng.normal(0, 22, 3)).clip(0, 255))
                   for span in ((130, 225), (90, 170)))
    im = Image.new('RGB', (w, h), wall)
    draw = ImageDraw.Draw(im)
    draw.rectangle([0, int(h*rng.uniform(.68, .86)), w, h], fill=floor)
    for _ in range(rng.integers(0, 4)): # frames on the wall, balls on the floor
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), min(w, h)*rng.uniform(.04, .10)
        shape = draw.rectangle if rng.random() < .5 else draw.ellipse
        shape([x-r, y-r, x+r, y+r], fill=tuple(int(c) for c in rng.uniform(60, 250, 3)))
    side = int(min(w, h)*rng.uniform(.72, 1.02))
    coat = _shift(BREEDS[breed][0], rng)
    face = _face(breed, coat, side, rng).rotate(rng.normal(0, 12), Image.Resampling.BICUBIC)
    x, y = (w-side)/2 + w*rng.normal(0, .05), (h-side)/2 + h*rng.normal(.02, .04)
    draw.ellipse([x+side*.18, y+side*.66, x+side*.82, y+side*1.7], fill=coat) # shoulders
    im.paste(face, (int(x), int(y)), face)
    return im.resize((width, height), Image.Resampling.LANCZOS)

def write_pets(path, # folder to make; must not exist
               n:int=30, # pictures of each breed
               size:int=128, # the shorter side in pixels; the longer is up to half as long again
               breeds=tuple(BREEDS), # which
               seed:int=42,
               progress=cli_progress, # as `planet.cli.progress`: called as `progress(items, total, label)`
              ) -> Path: # `path`
    """Draw `n` of each breed as `Tabby_1.jpg`, `beagle_1.jpg` and so on, wide ones and tall ones, as photographs come.

    The folder is whole or not there, as in `draw_folder`."""
    pictures = [] # name, breed, seed, width, height
    for breed in breeds:
        rng = np.random.default_rng([seed, *breed.encode()])
        for i in range(1, n+1):
            sides = size, int(size*rng.uniform(1, 1.5))
            sides = sides if rng.random() < .3 else sides[::-1]
            pictures.append((f'{breed}_{i}.jpg', breed, int(rng.integers(2**31)), *sides))
    def draw(folder, i):
        name, *picture = pictures[i]
        draw_pet(*picture).save(folder/name, quality=88)
        return [name]
    key = ['pets', DRAWING, n, size, breeds, seed]
    return draw_folder(path, key, len(pictures), draw, what='pets', progress=progress)

def pets_folder(n:int=30, size:int=128, # as in `write_pets`
                cache=None, # folder of caches; default $PLANET_CACHE, else $XDG_CACHE_HOME/planet, else ~/.cache/planet
                progress=cli_progress, # as in `write_pets`; not called where the pets are there already
               ) -> Path:
    "The folder of `n` pets of each breed, drawn on first use and kept; `UserError` where the cache cannot be written."
    write = partial(write_pets, n=n, size=size, progress=progress)
    return cached_folder(f'pets-v{DRAWING}-n{n}-size{size}', n*len(BREEDS), write, cache=cache)
