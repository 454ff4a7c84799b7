"Noise, masks and lines: what the painters of synthetic chips paint with."
import math
from functools import lru_cache
import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from planet.amazon import CHIP_SIZE

__all__ = ['N', 'X', 'Y', 'periodic', 'noise', 'grain', 'step', 'rgb', 'pick', 'blur', 'ragged', 'antialiased',
           'stroke', 'winding_path', 'irregular_polygon', 'filled']

N = CHIP_SIZE # chips are drawn at the competition's size, 256 px of about 3.7 m, and resized at the end
Y, X = np.mgrid[:N, :N].astype(np.float32)

@lru_cache
def _spectrum(n, power):
    f = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
    f[0, 0] = np.inf
    amp = f**-power
    return np.float32(amp*n*n*math.sqrt(3/(amp*amp).sum()))  # so that the noise below has a standard deviation of 1

def periodic(rng, power, n):
    "Fractal noise (n, n), mean 0, std 1, whose opposite edges meet: amplitude falls as frequency**-power"
    z = rng.random((2, n, n//2+1), dtype=np.float32) - .5
    return np.fft.irfft2((z[0] + 1j*z[1])*_spectrum(n, power), (n, n)).astype(np.float32)

def noise(rng, power, zoom=1.6, size=N):
    "Fractal noise (size, size), mean 0, std 1: amplitude falls as frequency**-power; `zoom` pixels a grid point"
    x = periodic(rng, power, 16*math.ceil((size/16 + 1)/zoom)) # more than needed, so that the crop does not wrap around
    how = Image.BICUBIC if zoom > 2 else Image.BILINEAR
    return np.asarray(Image.fromarray(x).resize((size, size), how, (0, 0, size/zoom, size/zoom)))

@lru_cache
def _sheet(power, zoom): return noise(np.random.default_rng(0), power, zoom, 3*N)

def grain(rng, power, zoom=1.6):
    "As `noise`, cut at random from a sheet made once: 20 times as fast, and as good where no shape can be recognised"
    y, x = rng.integers(0, 2*N, 2)
    cut = _sheet(power, float(zoom))[y:y+N, x:x+N][::rng.choice([-1, 1]), ::rng.choice([-1, 1])]
    return cut.T if rng.random() < .5 else cut

def step(x, at=0., width=.1):
    "A soft threshold: 0 below `at`, 1 above, a ramp of `width` between"
    return np.clip((x-at)/width + .5, 0, 1)
def rgb(colour):
    "A colour as an array (3, 1, 1)"
    return np.float32(colour)[:, None, None]
def pick(rng, *colours):
    "One of `colours`, a little lighter or darker"
    return rgb(colours[rng.integers(len(colours))])*np.float32(rng.uniform(.9, 1.1))

def blur(mask, radius):
    "`mask` blurred over `radius` pixels"
    how = ImageFilter.GaussianBlur(radius) if radius > 6 else ImageFilter.BoxBlur(1.5*radius)
    im = Image.fromarray((mask*255).astype(np.uint8)).filter(how)
    return np.asarray(im, np.float32)/255

def ragged(mask, rng, radius=3, amount=.15, zoom=1.7):
    "`mask` with the frayed outline of trees, river banks and fires"
    edge = blur(mask, radius)
    return step(edge + 4*edge*(1-edge)*amount*grain(rng, 1., zoom), .5, .2)

def antialiased(draw):
    "Antialiased mask of what `draw(pen)` paints, in chip coordinates times 2"
    im = Image.new('L', (2*N, 2*N))
    draw(ImageDraw.Draw(im))
    return np.asarray(im.reduce(2), np.float32)/255

def stroke(paths, width):
    "Mask of lines, `width` pixels wide"
    w = max(1, round(2*width))
    def draw(pen):
        for p in paths:
            pen.line([tuple(q) for q in 2*p], 255, w)
            if w < 8: continue
            for x, y in 2*p[(np.abs(p - N/2) < N/2 + width).all(1)]:  # round joints
                pen.ellipse((x-w/2, y-w/2, x+w/2, y+w/2), 255)
    return antialiased(draw)

def winding_path(rng, bend, wave, through=None, heading=None, length=560):
    """Points (k, 2) of a winding line through a point of the chip, 4 px apart.

    A sine-generated curve (Langbein and Leopold, 1966): the heading swings by `bend` radians over `wave` px."""
    s = np.arange(0, length, 4.)
    if heading is None: heading = rng.uniform(0, 2*math.pi)
    swing = np.sin(2*math.pi*s/wave + rng.uniform(0, 6)) + .6*np.sin(2*math.pi*s/(wave*2.7) + rng.uniform(0, 6))
    a = heading + bend*swing
    p = np.cumsum(np.stack([np.cos(a), np.sin(a)], 1)*4, 0)
    if through is None: through = rng.uniform(40, N-40, 2)
    return p - p[len(p)//2] + through

def irregular_polygon(rng, centre, radius, corners=9, jitter=.35):
    "Corners of an irregular polygon around `centre`"
    a = (np.arange(corners) + rng.uniform(-.35, .35, corners))*2*math.pi/corners + rng.uniform(0, 6)
    return centre + np.stack([np.cos(a), np.sin(a)], 1)*(radius*rng.uniform(1-jitter, 1+jitter, (corners, 1)))

def filled(polygons):
    "Mask of filled polygons"
    def draw(pen):
        for p in polygons: pen.polygon([tuple(q) for q in 2*p], fill=255)
    return antialiased(draw)
