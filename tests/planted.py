"Scenes with tags planted at known places, and a stand-in for a trained tagger that sees them without training."
import os
import signal
from pathlib import Path
import numpy as np
import pytest

for name in ('rasterio', 'geopandas', 'pyogrio', 'pyarrow', 'pyproj'):
    pytest.importorskip(name, reason=f"scenes need {name}: pip install -e '.[geo]'")
import math
import rasterio
from rasterio import Affine
from planet.rasters import open_raster
from planet.windows import ground_window

VOCAB = ['ruby', 'moss', 'azure'] # seen in the red, the green and the blue band
UTM = 'EPSG:32720', Affine(10, 0, 500_000, 0, -10, 9_640_000)
DEGREES = 'EPSG:4326', Affine(1e-4, 0, -60.5, 0, -1e-4, -11.25)
COS, SIN = (10*f(math.radians(25)) for f in (math.cos, math.sin))
ROTATED = 'EPSG:32720', Affine(COS, SIN, 500_000, SIN, -COS, 9_640_000)
METRES = 640. # a window of 64 pixels of 10 m

class Colours:
    "A tag is there where its band is bright."
    size, vocab, bands, limits, rule = 32, VOCAB, None, None, '0.5'
    facts = dict(metres=METRES, validation_counts={t: [40, 10, 5, 145] for t in VOCAB})
    def probabilities(self, pixels): return np.asarray(pixels, np.float32).mean((2, 3))/255
    def decide(self, probs): return np.asarray(probs) > .5

class Killed(Colours):
    "Kills the worker it is in, as the system does where memory runs out: `times` times, counted in a file."
    def __init__(self, folder, times=1): self.folder, self.times, self.ours = Path(folder), times, os.getpid()
    def probabilities(self, pixels):
        if os.getpid() != self.ours and len(list(self.folder.glob('killed-*'))) < self.times:
            (self.folder/f'killed-{os.getpid()}').touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().probabilities(pixels)

class Stopped(Colours):
    "Fails once it was asked `after` times."
    def __init__(self, after): self.left = after
    def probabilities(self, pixels):
        self.left -= 1
        if self.left < 0: raise KeyboardInterrupt
        return super().probabilities(pixels)

def write(path, pixels, crs, transform, **how):
    "A raster of `(bands, height, width)`, stored in tiles of 128 pixels unless said otherwise."
    count, height, width = pixels.shape
    how = dict(tiled=True, blockxsize=128, blockysize=128) | how
    colours, names = how.pop('colours', None), how.pop('names', None)
    with rasterio.open(path, 'w', driver='GTiff', height=height, width=width, count=count, dtype=pixels.dtype, crs=crs,
                       transform=transform, **how) as f:
        if colours: f.colorinterp = colours
        f.write(pixels)
        for i, name in enumerate(names or (), 1): f.set_band_description(i, name)
    return Path(path)

def plant(path, place=UTM, rows=5, columns=7, over=(20, 30), seed=0, dtype=np.uint8, **how):
    """A scene whose windows were given tags at random, with `over` pixels beyond the last whole window: (path, truth).

    `truth` is bool, a row and column a window; bright is about 200 of 255, dark about 40."""
    write(path, np.ones((3, 400, 400), np.uint8), *place)
    window = ground_window(open_raster(path), METRES)
    rng = np.random.default_rng(seed)
    truth = rng.random((rows + 1, columns + 1, 3)) < .5
    bright = np.repeat(np.repeat(np.where(truth, 200, 40), window[0], 0), window[1], 1)
    bright = bright[:rows*window[0] + over[0], :columns*window[1] + over[1]]
    noise = rng.integers(-20, 21, bright.shape)
    pixels = (bright + noise).transpose(2, 0, 1).astype(dtype)
    truth = truth[:rows + (over[0] > 0), :columns + (over[1] > 0)]
    return write(path, pixels, *place, **how), truth
