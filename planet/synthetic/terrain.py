"""Pictures of the Amazon from above, painted from a set of tags and a seed; `synthetic.chips` makes data sets of them.

A chip is built as the satellite sees it: the ground, what water, people and fire did to it (one painter a tag, in the
order of `_PAINTERS`), the air in between, the sensor. Colours, contrast and power spectra were matched by tag, and by
eye, with real chips of the competition.
"""
import math
from dataclasses import dataclass, field
from functools import lru_cache
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from planet.amazon import TAGS, WEATHER

__all__ = ['DRAWING', 'paint_chip']

DRAWING = 5  # part of the cache folder's name: raise it whenever a picture changes
N = 256      # chips are drawn at the competition's size, 256 px of about 3.7 m, and resized at the end
_Y, _X = np.mgrid[:N, :N].astype(np.float32)

# ---- noise, masks and lines -------------------------------------------------------------------------------------

@lru_cache
def _spectrum(n, power):
    f = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
    f[0, 0] = np.inf
    amp = f**-power
    return np.float32(amp*n*n*math.sqrt(3/(amp*amp).sum()))  # so that the noise below has a standard deviation of 1

def _noise(rng, power, zoom=1.6, size=N):
    "Fractal noise (size, size), mean 0, std 1: amplitude falls as frequency**-power; `zoom` pixels a grid point"
    n = 16*math.ceil((size/16 + 1)/zoom)  # a little more than needed, so that the crop does not wrap around
    z = rng.random((2, n, n//2+1), dtype=np.float32) - .5
    x = np.fft.irfft2((z[0] + 1j*z[1])*_spectrum(n, power), (n, n)).astype(np.float32)
    how = Image.BICUBIC if zoom > 2 else Image.BILINEAR
    return np.asarray(Image.fromarray(x).resize((size, size), how, (0, 0, size/zoom, size/zoom)))

@lru_cache
def _sheet(power, zoom): return _noise(np.random.default_rng(0), power, zoom, 3*N)

def _grain(rng, power, zoom=1.6):
    "As `_noise`, cut at random from a sheet made once: 20 times as fast, and as good where no shape can be recognised"
    y, x = rng.integers(0, 2*N, 2)
    cut = _sheet(power, float(zoom))[y:y+N, x:x+N][::rng.choice([-1, 1]), ::rng.choice([-1, 1])]
    return cut.T if rng.random() < .5 else cut

def _step(x, at=0., width=.1): return np.clip((x-at)/width + .5, 0, 1)
def _rgb(colour): return np.float32(colour)[:, None, None]
def _pick(rng, *colours): return _rgb(colours[rng.integers(len(colours))])*np.float32(rng.uniform(.9, 1.1))

def _blur(mask, radius):
    how = ImageFilter.GaussianBlur(radius) if radius > 6 else ImageFilter.BoxBlur(1.5*radius)
    im = Image.fromarray((mask*255).astype(np.uint8)).filter(how)
    return np.asarray(im, np.float32)/255

def _ragged(mask, rng, radius=3, amount=.15, zoom=1.7):
    "`mask` with the frayed outline that trees, banks and fire give"
    edge = _blur(mask, radius)
    return _step(edge + 4*edge*(1-edge)*amount*_grain(rng, 1., zoom), .5, .2)

def _mask(draw):
    "Antialiased mask of what `draw(pen)` paints, in chip coordinates times 2"
    im = Image.new('L', (2*N, 2*N))
    draw(ImageDraw.Draw(im))
    return np.asarray(im.reduce(2), np.float32)/255

def _stroke(paths, width):
    w = max(1, round(2*width))
    def draw(pen):
        for p in paths:
            pen.line([tuple(q) for q in 2*p], 255, w)
            if w < 8: continue
            for x, y in 2*p[(np.abs(p - N/2) < N/2 + width).all(1)]:  # round joints
                pen.ellipse((x-w/2, y-w/2, x+w/2, y+w/2), 255)
    return _mask(draw)

def _path(rng, bend, wave, through=None, heading=None, length=560):
    """Points (k, 2) of a winding line through a point of the chip, 4 px apart.

    A sine-generated curve (Langbein and Leopold, 1966): the heading swings by `bend` radians over `wave` px."""
    s = np.arange(0, length, 4.)
    if heading is None: heading = rng.uniform(0, 2*math.pi)
    swing = np.sin(2*math.pi*s/wave + rng.uniform(0, 6)) + .6*np.sin(2*math.pi*s/(wave*2.7) + rng.uniform(0, 6))
    a = heading + bend*swing
    p = np.cumsum(np.stack([np.cos(a), np.sin(a)], 1)*4, 0)
    if through is None: through = rng.uniform(40, N-40, 2)
    return p - p[len(p)//2] + through

def _blot(rng, centre, radius, corners=9, jitter=.35):
    "Corners of an irregular polygon around `centre`"
    a = (np.arange(corners) + rng.uniform(-.35, .35, corners))*2*math.pi/corners + rng.uniform(0, 6)
    return centre + np.stack([np.cos(a), np.sin(a)], 1)*(radius*rng.uniform(1-jitter, 1+jitter, (corners, 1)))

def _blots(polygons):
    def draw(pen):
        for p in polygons: pen.polygon([tuple(q) for q in 2*p], fill=255)
    return _mask(draw)

# ---- the scene --------------------------------------------------------------------------------------------------

@dataclass
class _Scene:
    "What painters share: the surface, and where things are, so that roofs find roads and scars find clearings"
    tags: frozenset
    img: np.ndarray = None                      # (3, N, N) float32, surface colours 0 to 255
    cleared: np.ndarray = None                  # (N, N) 0 to 1, where the forest is gone
    water: np.ndarray = 0                       # (N, N) 0 to 1
    roads: list = field(default_factory=list)
    rivers: list = field(default_factory=list)
    spots: list = field(default_factory=list)   # centres of clearings

    def paint(self, colour, mask, texture=None):
        "Lay `colour` over the scene where `mask` is 1, modulated by `texture` (1 is flat)"
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows): return
        box = slice(rows[0], rows[-1]+1), slice(cols[0], cols[-1]+1)  # most features are small
        if isinstance(colour, tuple): colour = _rgb(colour)
        if colour.shape[1] > 1: colour = colour[(slice(None), *box)]
        img = self.img[(slice(None), *box)]
        img += mask[box]*(colour*(1 if texture is None else texture[box]) - img)

    @property
    def forest(self):
        "Where trees stand; everywhere in a chip that has none, so that what grows on them is still seen"
        return 1 - self.cleared*('primary' in self.tags)

    def clear(self, mask, centre=None):
        if 'primary' in self.tags:  # the forest's edge throws a shadow on the clearing
            self.img *= 1 - .3*np.clip(mask - np.roll(mask, (2, 2), (0, 1)), 0, 1)
        np.maximum(self.cleared, mask, out=self.cleared)
        if centre is not None: self.spots.append(np.asarray(centre))

def _canopy(rng):
    "Relief of crowns lit from one side, about 0: lumps of a few sizes, dark gaps between, here and there a bright one"
    zoom = rng.choice([2, 2.6, 3.3])
    height, a = _grain(rng, .8, zoom), rng.uniform(0, 2*math.pi)
    slope = np.roll(height, round(1.6*math.cos(a)), 1) + np.roll(height, round(1.6*math.sin(a)), 0) - 2*height
    crowns = np.sqrt(np.abs(_grain(rng, .4, zoom)))  # rounded tops, sharp seams
    bright = np.maximum(_grain(rng, .6, 2.6) - 2.4, 0)
    relief = slope/slope.std() + .7*height + .5*crowns/crowns.std() + 3*bright
    return (relief - relief.mean())*rng.uniform(.1, .22)

def _ground(s, rng):
    "Forest where `primary` is tagged; else savanna, soil or open water, whatever the other tags call for"
    base = _pick(rng, (31, 45, 33), (27, 43, 37), (37, 46, 30), (34, 43, 38))*np.float32(rng.uniform(.75, 1.2))
    s.img = np.empty((3, N, N), np.float32)
    s.img[:] = base
    if 'primary' in s.tags:
        hue = _grain(rng, .5, 2.6)*_rgb((.05, 0, -.04))  # no two crowns have the same green
        s.img *= 1 + _canopy(rng)*_rgb((1.2, 1, .8)) + hue
        s.cleared = np.zeros((N, N), np.float32)
    else:
        colour = _pick(rng, (118, 104, 76), (96, 96, 66), (128, 106, 84))
        s.img[:] = colour*(1 + .05*_noise(rng, 1.2) + .06*_noise(rng, 1.6, 3.5))
        s.paint(base*1.2, _step(_noise(rng, 1.2), rng.uniform(1.2, 2.5), .8))
        s.cleared = np.ones((N, N), np.float32)

def _water(s, rng):
    "Rivers brown with silt, black-water creeks and lakes, pale sand on the bank; at times only a corner of one"
    colour = _pick(rng, (146, 120, 90), (124, 108, 86), (156, 130, 98), (104, 94, 74), (38, 46, 44), (84, 86, 64))
    land = s.tags & {'primary', 'agriculture', 'habitation', 'bare_ground', 'road'}
    if not land or rng.random() < .2:  # a lake or a wide river: open water, or the shore of one
        shore = _blots([_blot(rng, rng.choice([0, N], 2), rng.uniform(60, 180) if land else rng.uniform(0, 140))])
        mask = _ragged(shore, rng, 6, .2) if land else 1 - _ragged(shore, rng, 6, .2)
        s.paint((166, 144, 112), _ragged(mask, rng, 6, .3)*rng.uniform(0, .9))
    else:
        width = float(np.exp(rng.uniform(math.log(4), math.log(70))))
        p = _path(rng, rng.uniform(.3, 1.1), rng.uniform(80, 260) + 2*width)
        s.rivers.append(p)
        mask = _ragged(_stroke([p], width), rng, min(4, .3+width/8), .08, 2.5)
        if rng.random() < .6:
            sand = _ragged(_stroke([p + rng.normal(0, .3*width+1, 2)], width*1.1), rng, min(5, 1+width/8), .2)
            s.paint((176, 152, 118), sand*.8)
    s.paint(colour, mask, 1 + .03*_noise(rng, 1.6, 2))
    s.water = mask

def _fields(s, rng):
    "Pasture and fields: lighter green or tan, straight borders, trees left standing; patchwork or one big clearing"
    angle = rng.uniform(0, math.pi)
    u = _X*math.cos(angle) + _Y*math.sin(angle)
    v = _Y*math.cos(angle) - _X*math.sin(angle)
    k = rng.integers(1, 4)
    iu = sum((u > c).astype(np.int8) for c in rng.uniform(u.min(), u.max(), k))
    iv = sum((v + 23*(iu % 2) > c).astype(np.int8) for c in rng.uniform(v.min(), v.max(), k+1))
    cell = iu*(k+2) + iv
    n = (k+1)*(k+2)
    palette = np.float32([(88, 90, 64), (106, 97, 72), (80, 92, 62), (66, 78, 54), (118, 102, 82), (94, 88, 72)])
    colours = palette[rng.choice(len(palette), 3)[rng.integers(0, 3, n)]]
    colours = (colours + rng.uniform(.2, 2.)*colours[0])  # some farms are all of a colour, some a patchwork
    colours *= colours[:1].mean()**-1*rng.uniform(68, 104)*rng.uniform(.94, 1.06, (n, 1))
    mask = np.ones((N, N), np.float32)
    if 'primary' in s.tags:
        if rng.random() < .5: mask = (rng.random(n) < rng.uniform(.35, .9))[cell].astype(np.float32)
        else: mask = _step(_noise(rng, 2., 5), rng.uniform(-1.2, .9), .05)
        if mask.mean() < .06: mask = _blots([_blot(rng, rng.uniform(40, 216, 2), 60)])
        mask = _ragged(mask, rng, 2, .1)
    wear = _noise(rng, 1.4, 2.5)  # thin grass, dry grass
    trees = _step(_grain(rng, 1., 2.2) - .3*wear, rng.uniform(1.9, 3.), .6)
    cover = mask*(1 - .85*trees)
    s.paint(np.take(np.float32(colours.T), cell, 1), cover, 1 + .05*_grain(rng, .9) + .03*wear)
    s.paint((134, 112, 86), cover*_step(wear, 1.6, 1.5)*.6)
    if rng.random() < .6:  # a track along the borders of fields
        edge = (cell != np.roll(cell, 1, 0)) | (cell != np.roll(cell, 1, 1))
        edge[0], edge[:, 0] = False, False
        s.paint(_pick(rng, (140, 120, 94), (66, 74, 50)), edge*mask*rng.uniform(.15, .6))
    s.clear(mask)

def _plots(s, rng):
    "Shifting cultivation: a few small plots hewn irregularly into the forest, fresh green to ashen tan"
    for _ in range(rng.integers(1, 4)):  # a generation of plots, all of one colour
        centres = rng.uniform(10, N-10, (rng.integers(1, 4), 2))
        mask = _ragged(_blots([_blot(rng, c, rng.uniform(7, 26), 9, .45) for c in centres]), rng, 2, .15)
        s.paint(_pick(rng, (88, 96, 64), (128, 108, 84), (68, 84, 54), (138, 112, 96), (104, 96, 72)), mask*.9,
                1 + .08*_grain(rng, .8))
        s.clear(mask, centres[0])

def _soil(s, rng):
    "Bare ground: tan or reddish earth without a plan, worn bright in places, its edge soft with sparse growth"
    mask = _step(_noise(rng, 1.8, 2.5), rng.uniform(-.3, 1.6), rng.uniform(.2, 1.))
    if 'primary' not in s.tags: mask = np.maximum(mask, .75)
    wear = _noise(rng, 1.3, 2)
    s.paint(_pick(rng, (148, 120, 90), (140, 106, 82), (158, 136, 106)), mask*.9, 1 + .06*wear)
    s.paint((86, 88, 62), mask*_step(-wear, 1.3, 1.5)*.5)
    s.clear(mask)

def _burn(s, rng):
    "A burn scar: charcoal ground with ashen streaks, beside or inside a clearing"
    c = np.clip(s.spots[0] + rng.normal(0, 15, 2) if s.spots else rng.uniform(50, N-50, 2), 25, N-25)
    mask = _ragged(_blots([_blot(rng, c, rng.uniform(30, 65), 9)]), rng, 2.5, .2)
    s.paint((45, 41, 36), mask*.9, 1 + .10*_grain(rng, .8))
    s.paint((120, 104, 92), mask*_step(_grain(rng, 1.1), 1.4, 1.)*.7)
    s.clear(mask, c)

def _logging(s, rng):
    "Selective logging: thin broken skid tracks in earth colour, and gaps where single trees were taken"
    heading = rng.uniform(0, 2*math.pi)
    paths = [_path(rng, .5, rng.uniform(60, 140), heading=heading+rng.normal(0, .5), length=rng.uniform(80, 260))
             for _ in range(rng.integers(3, 8))]
    gaps = [_blot(rng, p[i]+rng.normal(0, 3, 2), rng.uniform(1, 3.5), 6) for p in paths
            for i in rng.integers(0, len(p), 5)]
    mask = _stroke(paths, .8)*_step(_grain(rng, .8), .1, 1.) + _blots(gaps)
    s.paint((150, 122, 98), np.minimum(mask, 1)*s.forest*rng.uniform(.5, .9))

def _bloom(s, rng):
    "Blooming: single crowns in flower, yellow, white or pink specks strewn over the canopy"
    k = rng.integers(25, 110)
    at = rng.uniform(0, N, (k, 2))
    near = rng.normal(0, 40, (k, 2)) + rng.uniform(60, 200, 2)
    at = np.where(rng.random((k, 1)) < .4, near, at)
    mask = _blots([_blot(rng, c, rng.uniform(.9, 2.4), 6) for c in at])
    s.paint(_pick(rng, (178, 164, 96), (170, 160, 140), (176, 138, 116)), mask*s.forest*rng.uniform(.4, .75))

def _blow_down(s, rng):
    "Trees felled by a gust: a pale patch whose trunks lie as a fan away from where the wind came down"
    c, a = rng.uniform(60, N-60, 2), rng.uniform(0, 2*math.pi)
    at = c + rng.normal(0, 1, (260, 2))*rng.uniform(18, 42, 2)
    d = at - c + np.array([math.cos(a), math.sin(a)])*rng.uniform(70, 200) + rng.normal(0, 25, at.shape)
    d = d/np.hypot(*d.T)[:, None]*rng.uniform(2, 6, (260, 1))
    trunks = _stroke(list(np.stack([at-d, at+d], 1)), .5)
    r = np.exp(-((_X-c[0])**2 + (_Y-c[1])**2)/2/38**2)
    s.paint((88, 88, 64), r*_step(_grain(rng, .9, 1.7), .3, 2.)*.7)
    s.paint((158, 148, 124), trunks*.6)

def _pit(s, rng):
    "A conventional mine: one large bright pit, orange to pale, cut in terraces and crossed by haul tracks"
    c = rng.uniform(40, N-40, 2)
    mask = _ragged(_blots([_blot(rng, c, rng.uniform(50, 100), 11, .4)]), rng, 3, .15)
    rough = _noise(rng, 1.5, 3.5)
    depth = (_blur(mask, 18) + .07*rough)*rng.integers(4, 8)
    bench = _step(np.abs(depth % 1 - .5), .15, .3)
    s.paint(_pick(rng, (166, 98, 72), (184, 158, 124), (160, 120, 92)), mask, .86 + .16*bench + .05*_grain(rng, .9))
    s.paint((96, 76, 62), mask*_step(rough, 1., 1.)*.6)
    s.paint((204, 176, 146), mask*_stroke([_path(rng, 1., 90, c), _path(rng, .8, 140, c)], 1.5)*.6)
    if rng.random() < .3: s.paint((92, 108, 96), mask*_step(-rough, 1.5, .2))
    s.clear(mask, c)

def _diggings(s, rng):
    "Artisanal mines: pale sand heaps and turbid pools, turquoise to ochre, torn open along a watercourse"
    p = s.rivers[0] if s.rivers else _path(rng, .8, 150)
    band = _blur(_stroke([p], rng.uniform(20, 50)), 14)
    heaps = _grain(rng, .9, 2.5)
    mask = _ragged(_step(band + .3*_noise(rng, 1.5, 4), .6, .1), rng, 1.5, .12)
    s.paint(_pick(rng, (190, 158, 112), (176, 152, 120)), mask*.95, 1 + .10*heaps + .05*_grain(rng, .5))
    s.paint((112, 98, 66), mask*_step(heaps, 1.1, .8)*.7)
    pools = _step(_noise(rng, 1.7, 4), rng.uniform(.2, 1.1), .08)*_step(mask, .9, .2)
    s.paint(_pick(rng, (128, 146, 108), (84, 124, 102), (184, 142, 84), (150, 116, 80)), pools)
    s.clear(mask)

def _road(s, rng):
    "Roads: thin tan or reddish lines, straight or gently curved, often with a junction, grass along both sides"
    main = _path(rng, rng.uniform(0, .3), rng.uniform(150, 400))
    paths, width = [main], rng.uniform(1.3, 3.6)
    if rng.random() < .45:
        i = rng.integers(len(main)//3, 2*len(main)//3)
        d = main[i+1] - main[i]
        turn = math.atan2(d[1], d[0]) + rng.choice([-1, 1])*rng.uniform(.8, 1.6)
        side = _path(rng, rng.uniform(0, .3), 300, (0, 0), turn)
        side = side[len(side)//2:]
        paths.append(side - side[0] + main[i])
    s.roads += paths
    verge = _ragged(_stroke(paths, width + rng.uniform(2, 9)), rng, 1.5, .2)
    s.paint((84, 90, 58), verge*.6*(1-s.cleared))
    s.paint(_pick(rng, (182, 150, 118), (186, 128, 98), (196, 172, 144)), _stroke(paths[:1], width)*.9)
    if paths[1:]: s.paint((178, 150, 120), _stroke(paths[1:], width*.7)*.8)

def _roofs(s, rng):
    "Habitation: clusters of small bright roofs on trodden ground, along a road where there is one"
    p = s.roads[0] if s.roads else _path(rng, .3, 200, length=rng.uniform(60, 240))
    inside = p[((p > 8) & (p < N-8)).all(1)]
    if not len(inside): inside = rng.uniform(40, N-40, (12, 2))
    a, k = rng.integers(len(inside)), int(np.exp(rng.uniform(math.log(5), math.log(90))))
    stretch = inside[max(0, a-3-k//6): a+3+k//6]
    at = stretch[rng.integers(len(stretch), size=k)] + rng.choice([-1, 1], (k, 2))*rng.gamma(3, 1.5+k/40, (k, 2))
    turn = rng.uniform(0, math.pi)
    dry = 1 - s.water
    yard = dry*_ragged(np.minimum(_blots([_blot(rng, c, 6, 6) for c in at]), 1), rng, 3, .2)
    s.paint((122, 108, 82), yard*.55)
    colours = [(214, 210, 202), (190, 182, 170), (152, 100, 82), (164, 164, 162), (174, 148, 122)]
    layer = Image.new('RGB', (2*N, 2*N))
    pen = ImageDraw.Draw(layer)
    quads = []
    for c in at:
        w, h = rng.uniform(.7, 1.9, 2)
        e = np.array([(math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))])
        q = c + np.array([(-w, -h), (w, -h), (w, h), (-w, h)])@e
        quads.append(q)
        pen.polygon([tuple(x) for x in 2*q], fill=colours[rng.integers(len(colours))])
    mask = _blots(quads)*dry
    s.img *= 1 - .5*np.roll(mask, (1, 1), (0, 1))*(1-mask)
    roof = np.asarray(layer.reduce(2), np.float32).transpose(2, 0, 1)*dry  # edges carry the colour times the mask
    s.img += roof - mask*s.img
    s.clear(yard)

# Bottom to top: what is painted later lies on top.
_PAINTERS = dict(bare_ground=_soil, agriculture=_fields, blooming=_bloom, cultivation=_plots, slash_burn=_burn,
    selective_logging=_logging, blow_down=_blow_down, conventional_mine=_pit, water=_water, artisinal_mine=_diggings,
    road=_road, habitation=_roofs)

# ---- air and sensor ---------------------------------------------------------------------------------------------

def _air(s, rng, lo=0., hi=.36):
    "The air's own light: little of it on a clear day; uneven, and tinted by the hour"
    if s.cleared.mean() > .3: hi = max(hi, .55)  # farmed land is drier and smokier
    s.img *= _rgb(rng.normal(1, (.045, .02, .055)))
    t = lo + (hi-lo)*rng.beta(1.1, 2.)
    veil = _rgb((158, 165, 160)*rng.uniform(.95, 1.05, 3)*rng.uniform(.9, 1.1))
    s.paint(veil, np.clip(t*(1 + .05*_noise(rng, 2., 8)), 0, .97))

def _haze(s, rng):
    "Haze: a bluish white veil, thick enough to wash the ground out but not to hide it"
    _air(s, rng, .42, .92)

def _clouds(s, rng):
    "Fair-weather clouds: soft white masses, each with its dark shadow thrown to one side; some thin as smoke"
    _air(s, rng, .03, .5)
    puff = _noise(rng, 1.75, rng.choice([1.5, 2.4]))
    top = np.quantile(puff[::3, ::3], 1 - .01 - .3*rng.beta(1, 2.5))  # covers 1 to 31% of the chip
    soft = rng.choice([rng.uniform(.8, 1.6), rng.uniform(1.5, 4)])  # thin ones never grow opaque
    alpha = _step(puff, top + soft/3, soft)
    alpha = alpha*alpha*(2.85 - 1.9*alpha)
    shadow = _blur(np.roll(alpha, rng.integers(-45, 46, 2), (0, 1)), 3)
    s.img *= 1 - rng.uniform(.2, .6)*shadow
    s.paint((222, 220, 212), alpha, 1 + .07*np.roll(puff - top, 3, 0)*alpha)

def _overcast(s, rng):
    "Cloudy: nothing but white or grey, even as paper, or heaped up with dark gaps"
    tone = _rgb((1, 1, .94)*rng.uniform(.975, 1.025, 3))*np.float32(np.clip(rng.normal(158, 36), 95, 225))
    s.img[:] = tone*(1 + rng.choice([.01, .04])*_noise(rng, 1.7) + .006*_grain(rng, .2))
    if rng.random() < .25:
        s.paint(tone*_rgb((.5, .57, .58)), .5 + .45*np.tanh(_noise(rng, 1.4) - rng.uniform(-.5, 1.2)))

_SKY = dict(clear=_air, haze=_haze, partly_cloudy=_clouds, cloudy=_overcast)

def _sensor(s, rng):
    "Colour balance, the lens's blur and a little noise: (N, N, 3) uint8"
    gain = _rgb(rng.normal(1, .05)*rng.normal(1, (.015, .01, .02)))
    img = s.img*gain + (rng.random((N, N), np.float32)*4 - 2)
    w = np.float32(rng.uniform(.2, .45))
    for v in img, img.transpose(0, 2, 1):  # a kernel of about (w/2, 1-w, w/2) each way
        v[:, 1:] += w*(v[:, :-1] - v[:, 1:])
        v[:, :-1] += w*(v[:, 1:] - v[:, :-1])
    out = np.empty((N, N, 3), np.uint8)
    out[:] = np.clip(img, 0, 255, out=img).transpose(1, 2, 0)
    return out

def paint_chip(
    tags:frozenset, # some of `TAGS`
    seed:tuple, # of ints
)->np.ndarray: # (256, 256, 3) uint8
    "Each tag has its own random stream: the same seed with one tag more is the same place with that tag"
    def rng(i): return np.random.default_rng((*seed, i))
    s = _Scene(tags)
    _ground(s, rng(100))
    if 'cloudy' not in tags:
        for tag, paint in _PAINTERS.items():
            if tag in tags: paint(s, rng(TAGS.index(tag)))
    _SKY[next((w for w in WEATHER if w in tags), 'clear')](s, rng(101))
    return _sensor(s, rng(102))
