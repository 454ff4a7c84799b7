"The scene that the painters of synthetic chips share: its ground first, the air above it and the sensor last."
import math
from dataclasses import dataclass, field
import numpy as np
from planet.synthetic.brushes import N, grain, noise, pick, rgb, step

__all__ = ['Scene', 'ground', 'air', 'blurred', 'sensor']

@dataclass
class Scene:
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
        if isinstance(colour, tuple): colour = rgb(colour)
        if colour.shape[1] > 1: colour = colour[(slice(None), *box)]
        img = self.img[(slice(None), *box)]
        img += mask[box]*(colour*(1 if texture is None else texture[box]) - img)

    @property
    def forest(self):
        "Where trees stand; everywhere in a chip that has none, so that what grows on them is still seen"
        return 1 - self.cleared*('primary' in self.tags)

    def clear(self, mask, centre=None):
        "Take the forest away where `mask` is 1"
        if 'primary' in self.tags:  # the forest's edge throws a shadow on the clearing
            self.img *= 1 - .3*np.clip(mask - np.roll(mask, (2, 2), (0, 1)), 0, 1)
        np.maximum(self.cleared, mask, out=self.cleared)
        if centre is not None: self.spots.append(np.asarray(centre))

def _canopy(rng):
    "Relief of crowns lit from one side, about 0: lumps of a few sizes, dark gaps between, here and there a bright one"
    zoom = rng.choice([2, 2.6, 3.3])
    height, a = grain(rng, .8, zoom), rng.uniform(0, 2*math.pi)
    slope = np.roll(height, round(1.6*math.cos(a)), 1) + np.roll(height, round(1.6*math.sin(a)), 0) - 2*height
    crowns = np.sqrt(np.abs(grain(rng, .4, zoom)))  # rounded tops, sharp seams
    bright = np.maximum(grain(rng, .6, 2.6) - 2.4, 0)
    relief = slope/slope.std() + .7*height + .5*crowns/crowns.std() + 3*bright
    return (relief - relief.mean())*rng.uniform(.1, .22)

def ground(s, rng):
    "Forest where `primary` is tagged; else savanna, soil or open water, whatever the other tags call for"
    base = pick(rng, (31, 45, 33), (27, 43, 37), (37, 46, 30), (34, 43, 38))*np.float32(rng.uniform(.75, 1.2))
    s.img = np.empty((3, N, N), np.float32)
    s.img[:] = base
    if 'primary' in s.tags:
        hue = grain(rng, .5, 2.6)*rgb((.05, 0, -.04))  # no two crowns have the same green
        s.img *= 1 + _canopy(rng)*rgb((1.2, 1, .8)) + hue
        s.cleared = np.zeros((N, N), np.float32)
    else:
        colour = pick(rng, (118, 104, 76), (96, 96, 66), (128, 106, 84))
        s.img[:] = colour*(1 + .05*noise(rng, 1.2) + .06*noise(rng, 1.6, 3.5))
        s.paint(base*1.2, step(noise(rng, 1.2), rng.uniform(1.2, 2.5), .8))
        s.cleared = np.ones((N, N), np.float32)

def air(s, rng, lo=0., hi=.36):
    "Light scattered by the air: little of it on a clear day; uneven, and tinted by the hour"
    if s.cleared.mean() > .3: hi = max(hi, .55)  # farmed land is drier and smokier
    s.img *= rgb(rng.normal(1, (.045, .02, .055)))
    t = lo + (hi-lo)*rng.beta(1.1, 2.)
    veil = rgb((158, 165, 160)*rng.uniform(.95, 1.05, 3)*rng.uniform(.9, 1.1))
    s.paint(veil, np.clip(t*(1 + .05*noise(rng, 2., 8)), 0, .97))

def blurred(img, w):
    "Blur (3, h, w) in place as a lens does: a kernel of about (w/2, 1-w, w/2) each way"
    for v in img, img.transpose(0, 2, 1):
        v[:, 1:] += w*(v[:, :-1] - v[:, 1:])
        v[:, :-1] += w*(v[:, 1:] - v[:, :-1])
    return img

def sensor(s, rng):
    "Colour balance, the lens's blur and a little noise: (N, N, 3) uint8"
    gain = rgb(rng.normal(1, .05)*rng.normal(1, (.015, .01, .02)))
    img = s.img*gain + (rng.random((N, N), np.float32)*4 - 2)
    blurred(img, np.float32(rng.uniform(.2, .45)))
    out = np.empty((N, N, 3), np.uint8)
    out[:] = np.clip(img, 0, 255, out=img).transpose(1, 2, 0)
    return out
