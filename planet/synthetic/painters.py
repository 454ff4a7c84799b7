"""One painter a tag: what the ground's tags do to a scene, and what the weather does to it.

Colours, contrast and power spectra were matched by tag, and by eye, with real chips of the competition.
"""
import math
import numpy as np
from PIL import Image, ImageDraw
from planet.synthetic.brushes import (
    N,
    X,
    Y,
    blur,
    filled,
    grain,
    irregular_polygon,
    noise,
    pick,
    ragged,
    rgb,
    step,
    stroke,
    winding_path,
)
from planet.synthetic.scene import air

__all__ = ['PAINTERS', 'WEATHER_PAINTERS']

def water(s, rng):
    "Rivers brown with silt, black-water creeks and lakes, pale sand on the bank; at times only a corner of one"
    colour = pick(rng, (146, 120, 90), (124, 108, 86), (156, 130, 98), (104, 94, 74), (38, 46, 44), (84, 86, 64))
    land = s.tags & {'primary', 'agriculture', 'habitation', 'bare_ground', 'road'}
    if not land or rng.random() < .2:  # a lake or a wide river: open water, or the shore of one
        at, radius = rng.choice([0, N], 2), rng.uniform(60, 180) if land else rng.uniform(0, 140)
        shore = filled([irregular_polygon(rng, at, radius)])
        mask = ragged(shore, rng, 6, .2) if land else 1 - ragged(shore, rng, 6, .2)
        s.paint((166, 144, 112), ragged(mask, rng, 6, .3)*rng.uniform(0, .9))
    else:
        width = float(np.exp(rng.uniform(math.log(4), math.log(70))))
        p = winding_path(rng, rng.uniform(.3, 1.1), rng.uniform(80, 260) + 2*width)
        s.rivers.append(p)
        mask = ragged(stroke([p], width), rng, min(4, .3+width/8), .08, 2.5)
        if rng.random() < .6:
            sand = ragged(stroke([p + rng.normal(0, .3*width+1, 2)], width*1.1), rng, min(5, 1+width/8), .2)
            s.paint((176, 152, 118), sand*.8)
    s.paint(colour, mask, 1 + .03*noise(rng, 1.6, 2))
    s.water = mask

def agriculture(s, rng):
    "Pasture and fields: lighter green or tan, straight borders, trees left standing; patchwork or one big clearing"
    angle = rng.uniform(0, math.pi)
    u = X*math.cos(angle) + Y*math.sin(angle)
    v = Y*math.cos(angle) - X*math.sin(angle)
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
        else: mask = step(noise(rng, 2., 5), rng.uniform(-1.2, .9), .05)
        if mask.mean() < .06: mask = filled([irregular_polygon(rng, rng.uniform(40, 216, 2), 60)])
        mask = ragged(mask, rng, 2, .1)
    wear = noise(rng, 1.4, 2.5)  # thin grass, dry grass
    trees = step(grain(rng, 1., 2.2) - .3*wear, rng.uniform(1.9, 3.), .6)
    cover = mask*(1 - .85*trees)
    s.paint(np.take(np.float32(colours.T), cell, 1), cover, 1 + .05*grain(rng, .9) + .03*wear)
    s.paint((134, 112, 86), cover*step(wear, 1.6, 1.5)*.6)
    if rng.random() < .6:  # a track along the borders of fields
        edge = (cell != np.roll(cell, 1, 0)) | (cell != np.roll(cell, 1, 1))
        edge[0], edge[:, 0] = False, False
        s.paint(pick(rng, (140, 120, 94), (66, 74, 50)), edge*mask*rng.uniform(.15, .6))
    s.clear(mask)

def cultivation(s, rng):
    "Shifting cultivation: a few small plots hewn irregularly into the forest, fresh green to ashen tan"
    for _ in range(rng.integers(1, 4)):  # a generation of plots, all of one colour
        centres = rng.uniform(10, N-10, (rng.integers(1, 4), 2))
        mask = ragged(filled([irregular_polygon(rng, c, rng.uniform(7, 26), 9, .45) for c in centres]), rng, 2, .15)
        s.paint(pick(rng, (88, 96, 64), (128, 108, 84), (68, 84, 54), (138, 112, 96), (104, 96, 72)), mask*.9,
                1 + .08*grain(rng, .8))
        s.clear(mask, centres[0])

def bare_ground(s, rng):
    "Bare ground: tan or reddish earth without a plan, worn bright in places, its edge soft with sparse growth"
    mask = step(noise(rng, 1.8, 2.5), rng.uniform(-.3, 1.6), rng.uniform(.2, 1.))
    if 'primary' not in s.tags: mask = np.maximum(mask, .75)
    wear = noise(rng, 1.3, 2)
    s.paint(pick(rng, (148, 120, 90), (140, 106, 82), (158, 136, 106)), mask*.9, 1 + .06*wear)
    s.paint((86, 88, 62), mask*step(-wear, 1.3, 1.5)*.5)
    s.clear(mask)

def slash_burn(s, rng):
    "A burn scar: charcoal ground with ashen streaks, beside or inside a clearing"
    c = np.clip(s.spots[0] + rng.normal(0, 15, 2) if s.spots else rng.uniform(50, N-50, 2), 25, N-25)
    mask = ragged(filled([irregular_polygon(rng, c, rng.uniform(30, 65), 9)]), rng, 2.5, .2)
    s.paint((45, 41, 36), mask*.9, 1 + .10*grain(rng, .8))
    s.paint((120, 104, 92), mask*step(grain(rng, 1.1), 1.4, 1.)*.7)
    s.clear(mask, c)

def selective_logging(s, rng):
    "Selective logging: thin broken skid tracks in earth colour, and gaps where single trees were taken"
    heading = rng.uniform(0, 2*math.pi)
    paths = [winding_path(rng, .5, rng.uniform(60, 140), heading=heading+rng.normal(0, .5), length=rng.uniform(80, 260))
             for _ in range(rng.integers(3, 8))]
    gaps = [irregular_polygon(rng, p[i]+rng.normal(0, 3, 2), rng.uniform(1, 3.5), 6) for p in paths
            for i in rng.integers(0, len(p), 5)]
    mask = stroke(paths, .8)*step(grain(rng, .8), .1, 1.) + filled(gaps)
    s.paint((150, 122, 98), np.minimum(mask, 1)*s.forest*rng.uniform(.5, .9))

def blooming(s, rng):
    "Blooming: single crowns in flower, yellow, white or pink specks strewn over the canopy"
    k = rng.integers(25, 110)
    at = rng.uniform(0, N, (k, 2))
    near = rng.normal(0, 40, (k, 2)) + rng.uniform(60, 200, 2)
    at = np.where(rng.random((k, 1)) < .4, near, at)
    mask = filled([irregular_polygon(rng, c, rng.uniform(.9, 2.4), 6) for c in at])
    s.paint(pick(rng, (178, 164, 96), (170, 160, 140), (176, 138, 116)), mask*s.forest*rng.uniform(.4, .75))

def blow_down(s, rng):
    "Trees felled by a gust: a pale patch whose trunks lie as a fan away from where the wind came down"
    c, a = rng.uniform(60, N-60, 2), rng.uniform(0, 2*math.pi)
    at = c + rng.normal(0, 1, (260, 2))*rng.uniform(18, 42, 2)
    d = at - c + np.array([math.cos(a), math.sin(a)])*rng.uniform(70, 200) + rng.normal(0, 25, at.shape)
    d = d/np.hypot(*d.T)[:, None]*rng.uniform(2, 6, (260, 1))
    trunks = stroke(list(np.stack([at-d, at+d], 1)), .5)
    r = np.exp(-((X-c[0])**2 + (Y-c[1])**2)/2/38**2)
    s.paint((88, 88, 64), r*step(grain(rng, .9, 1.7), .3, 2.)*.7)
    s.paint((158, 148, 124), trunks*.6)

def conventional_mine(s, rng):
    "A conventional mine: one large bright pit, orange to pale, cut in terraces and crossed by haul tracks"
    c = rng.uniform(40, N-40, 2)
    mask = ragged(filled([irregular_polygon(rng, c, rng.uniform(50, 100), 11, .4)]), rng, 3, .15)
    rough = noise(rng, 1.5, 3.5)
    depth = (blur(mask, 18) + .07*rough)*rng.integers(4, 8)
    bench = step(np.abs(depth % 1 - .5), .15, .3)
    s.paint(pick(rng, (166, 98, 72), (184, 158, 124), (160, 120, 92)), mask, .86 + .16*bench + .05*grain(rng, .9))
    s.paint((96, 76, 62), mask*step(rough, 1., 1.)*.6)
    s.paint((204, 176, 146), mask*stroke([winding_path(rng, 1., 90, c), winding_path(rng, .8, 140, c)], 1.5)*.6)
    if rng.random() < .3: s.paint((92, 108, 96), mask*step(-rough, 1.5, .2))
    s.clear(mask, c)

def artisinal_mine(s, rng):
    "Artisanal mines: pale sand heaps and turbid pools, turquoise to ochre, along a watercourse"
    p = s.rivers[0] if s.rivers else winding_path(rng, .8, 150)
    band = blur(stroke([p], rng.uniform(20, 50)), 14)
    heaps = grain(rng, .9, 2.5)
    mask = ragged(step(band + .3*noise(rng, 1.5, 4), .6, .1), rng, 1.5, .12)
    s.paint(pick(rng, (190, 158, 112), (176, 152, 120)), mask*.95, 1 + .10*heaps + .05*grain(rng, .5))
    s.paint((112, 98, 66), mask*step(heaps, 1.1, .8)*.7)
    pools = step(noise(rng, 1.7, 4), rng.uniform(.2, 1.1), .08)*step(mask, .9, .2)
    s.paint(pick(rng, (128, 146, 108), (84, 124, 102), (184, 142, 84), (150, 116, 80)), pools)
    s.clear(mask)

def road(s, rng):
    "Roads: thin tan or reddish lines, straight or gently curved, often with a junction, grass along both sides"
    main = winding_path(rng, rng.uniform(0, .3), rng.uniform(150, 400))
    paths, width = [main], rng.uniform(1.3, 3.6)
    if rng.random() < .45:
        i = rng.integers(len(main)//3, 2*len(main)//3)
        d = main[i+1] - main[i]
        turn = math.atan2(d[1], d[0]) + rng.choice([-1, 1])*rng.uniform(.8, 1.6)
        side = winding_path(rng, rng.uniform(0, .3), 300, (0, 0), turn)
        side = side[len(side)//2:]
        paths.append(side - side[0] + main[i])
    s.roads += paths
    verge = ragged(stroke(paths, width + rng.uniform(2, 9)), rng, 1.5, .2)
    s.paint((84, 90, 58), verge*.6*(1-s.cleared))
    s.paint(pick(rng, (182, 150, 118), (186, 128, 98), (196, 172, 144)), stroke(paths[:1], width)*.9)
    if paths[1:]: s.paint((178, 150, 120), stroke(paths[1:], width*.7)*.8)

def habitation(s, rng):
    "Habitation: clusters of small bright roofs on trodden ground, along a road where there is one"
    p = s.roads[0] if s.roads else winding_path(rng, .3, 200, length=rng.uniform(60, 240))
    inside = p[((p > 8) & (p < N-8)).all(1)]
    if not len(inside): inside = rng.uniform(40, N-40, (12, 2))
    a, k = rng.integers(len(inside)), int(np.exp(rng.uniform(math.log(5), math.log(90))))
    stretch = inside[max(0, a-3-k//6): a+3+k//6]
    at = stretch[rng.integers(len(stretch), size=k)] + rng.choice([-1, 1], (k, 2))*rng.gamma(3, 1.5+k/40, (k, 2))
    turn = rng.uniform(0, math.pi)
    dry = 1 - s.water
    yard = dry*ragged(np.minimum(filled([irregular_polygon(rng, c, 6, 6) for c in at]), 1), rng, 3, .2)
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
    mask = filled(quads)*dry
    s.img *= 1 - .5*np.roll(mask, (1, 1), (0, 1))*(1-mask)
    roof = np.asarray(layer.reduce(2), np.float32).transpose(2, 0, 1)*dry  # edges carry the colour times the mask
    s.img += roof - mask*s.img
    s.clear(yard)

def haze(s, rng):
    "Haze: a bluish white veil, thick enough to wash the ground out but not to hide it"
    air(s, rng, .42, .92)

def partly_cloudy(s, rng):
    "Fair-weather clouds: soft white masses, each with its dark shadow thrown to one side; some thin as smoke"
    air(s, rng, .03, .5)
    puff = noise(rng, 1.75, rng.choice([1.5, 2.4]))
    top = np.quantile(puff[::3, ::3], 1 - .01 - .3*rng.beta(1, 2.5))  # covers 1 to 31% of the chip
    soft = rng.choice([rng.uniform(.8, 1.6), rng.uniform(1.5, 4)])  # thin ones never grow opaque
    alpha = step(puff, top + soft/3, soft)
    alpha = alpha*alpha*(2.85 - 1.9*alpha)
    shadow = blur(np.roll(alpha, rng.integers(-45, 46, 2), (0, 1)), 3)
    s.img *= 1 - rng.uniform(.2, .6)*shadow
    s.paint((222, 220, 212), alpha, 1 + .07*np.roll(puff - top, 3, 0)*alpha)

def cloudy(s, rng):
    "Cloudy: nothing but white or grey, even as paper, or heaped up with dark gaps"
    tone = rgb((1, 1, .94)*rng.uniform(.975, 1.025, 3))*np.float32(np.clip(rng.normal(158, 36), 95, 225))
    s.img[:] = tone*(1 + rng.choice([.01, .04])*noise(rng, 1.7) + .006*grain(rng, .2))
    if rng.random() < .25:
        s.paint(tone*rgb((.5, .57, .58)), .5 + .45*np.tanh(noise(rng, 1.4) - rng.uniform(-.5, 1.2)))

# The ground's tags from the bottom to the top: what is painted later lies on top.
PAINTERS = dict(bare_ground=bare_ground, agriculture=agriculture, blooming=blooming, cultivation=cultivation,
                slash_burn=slash_burn, selective_logging=selective_logging, blow_down=blow_down,
                conventional_mine=conventional_mine, water=water, artisinal_mine=artisinal_mine, road=road,
                habitation=habitation)
WEATHER_PAINTERS = dict(clear=air, haze=haze, partly_cloudy=partly_cloudy, cloudy=cloudy)
