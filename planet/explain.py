"""One picture, tagged and explained: probabilities beside thresholds, what the decision rule changed, Grad-CAM.

A picture is a chip, or a small scene that is cut into windows of a chip's size. Uploads are read within limits.
"""
import io
from dataclasses import dataclass
from pathlib import Path
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from planet import page
from planet.cli import UserError
from planet.figures import as_array
from planet.files import why_unreadable
from planet.gradcam import grad_cam
from planet.images import as_rgb, open_chip
from planet.model_card import rule_words
from planet.rasters import EMPTY, measured
from planet.report import overlay
from planet.tiffs import check_tiff, nodata_of, read_bands, scale_bands, unknown_format

__all__ = ['PLAIN', 'Limits', 'UPLOADS', 'Tagged', 'read_picture', 'tag_picture', 'thresholds', 'rule_said',
           'chip_html', 'scene_html', 'attention_html']

PLAIN = .2 # the threshold that pays under F2: what a decision rule of another kind is compared with
SHOWN = 6 # tags of a chip that are shown at once, beside those that it has
SIDE = 320 # of a picture on the page, in pixels

@dataclass(frozen=True)
class Limits:
    "What an upload may be: a server should not decode whatever it is sent."
    megabytes: float = 32.
    megapixels: float = 25.
    files: int = 50
    windows: int = 1000 # of a scene

UPLOADS = Limits()

@dataclass
class Tagged:
    "A picture that was tagged: one window, or those of a scene."
    name: str
    picture: np.ndarray # `(height, width, 3)` uint8, as it is shown
    pixels: torch.Tensor # uint8 `(windows, bands, size, size)`, as the network sees them
    probs: torch.Tensor # `(windows, tags)`
    places: list # `(top, left)` of each window in the picture as it was sent, in pixels
    window: int # height and width of a window there
    empty: np.ndarray # bool `(windows,)`: those of a scene that hold no measurement

    @property
    def is_scene(self): return len(self.probs) > 1

# ---- read --------------------------------------------------------------------------------------------------------

def _size(data, named):
    "Width and height of a picture, from its header alone."
    import tifffile
    try:
        with Image.open(io.BytesIO(data)) as im: return im.size
    except Image.DecompressionBombError: raise UserError(f'{named} has too many pixels') from None
    except Exception: pass # a TIFF of many bands, or no picture
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tif: page = tif.pages[0]; return page.imagewidth, page.imagelength
    except Exception: raise UserError(f'{named} is no picture') from None

def read_picture(path, # of an upload
                 limits:Limits=UPLOADS, # what it may be
                 scaled=None, # the tagger's `limits`, of bands that are not RGB of 8 bits
                ) -> np.ndarray: # `(height, width, bands)`: uint8 of RGB, or as the file has them
    "Read an upload whose bytes and pixels are within limits; `UserError` in words for its sender, without a path."
    path = Path(path)
    if path.stat().st_size > limits.megabytes*1e6:
        raise UserError(f'{path.name} has more than {limits.megabytes:g} MB')
    data = path.read_bytes()
    width, height = _size(data, path.name)
    if width*height > limits.megapixels*1e6:
        raise UserError(f'{path.name} has {width:,} x {height:,} pixels, more than {limits.megapixels:g} million')
    try:
        if scaled is not None: return read_bands(data)
        im = Image.open(io.BytesIO(data))
        if im.format == 'TIFF': check_tiff(im)
        return np.array(as_rgb(im))
    except UnidentifiedImageError: raise UserError(f'{path.name} cannot be read: {unknown_format(data)}') from None
    except Exception as e: # a broken file fails in many ways
        raise UserError(f'{path.name} cannot be read: {why_unreadable(e)}') from None

def _starts(length, window): # windows from edge to edge, the last one moved back so that it ends there
    n = max(1, -(-length//window))
    return [round(i*(length-window)/max(1, n-1)) for i in range(n)]

def tag_picture(tagger, # from `planet.inference.Tagger.load`
                path, # of an upload
                limits:Limits=UPLOADS,
               ) -> Tagged:
    "Tag an upload: a chip, or a scene of twice a chip's width or height at least, in windows of a chip's size."
    whole = read_picture(path, limits, tagger.limits)
    height, width = whole.shape[:2]
    window = min([*(tagger.facts['input'].get('pixels') or [tagger.size]), height, width])
    if max(height, width) < 2*window: places, window = [(0, 0)], max(height, width)
    else: places = [(top, left) for top in _starts(height, window) for left in _starts(width, window)]
    if len(places) > limits.windows:
        raise UserError(f'{Path(path).name} has {len(places):,} windows of {window} pixels, more than '
                        f'{limits.windows:,}')
    def cut(top, left): return np.ascontiguousarray(whole[top:top+window, left:left+window])
    try: pixels = torch.stack([open_chip(cut(*at), tagger.size, tagger.limits) for at in places])
    except ValueError as e: raise UserError(f'{Path(path).name} is not what was trained on: {e}') from None
    valid = measured(np.moveaxis(whole, 2, 0), None if tagger.limits is None else nodata_of(Path(path).read_bytes()))
    shown = as_array(pixels[0], tagger.bands) if len(places) == 1 else _scene_picture(whole, tagger, valid)
    empty = np.array([len(places) > 1 and not valid[y:y+window, x:x+window].any() for y, x in places])
    return Tagged(Path(path).name, shown, pixels, tagger.probabilities(pixels), places, window, empty)

def _scene_picture(whole, tagger, valid):
    "A small picture of a scene, in true or false colour; what holds no measurement is grey."
    step = max(1, max(whole.shape[:2])//1024)
    small, valid = whole[::step, ::step], valid[::step, ::step]
    if tagger.limits is not None: small = scale_bands(small, tagger.limits)
    seen = as_array(np.moveaxis(small, 2, 0), tagger.bands)
    return np.where(valid.reshape(valid.shape + (1,)*(seen.ndim - 2)), seen, np.uint8(EMPTY))

# ---- what the rule did -------------------------------------------------------------------------------------------

def thresholds(tagger) -> list: # of each tag
    "The threshold of each tag; where the rule has none, the plain one that it is compared with."
    thresh = tagger.facts['rule'].get('thresh')
    if thresh is None: return [PLAIN]*len(tagger.vocab)
    return list(thresh) if isinstance(thresh, list) else [thresh]*len(tagger.vocab)

def _named(tags, probs): return ', '.join(f'{t} ({p:.2f})' for t, p in zip(tags, probs))

def rule_said(tagger, probs, # `(tags,)` of one chip
             ) -> list: # of sentences
    "What the decision rule did with a chip: tags that it added or left out against a threshold of 0.2, the weather."
    probs, vocab = torch.as_tensor(probs), tagger.vocab
    chosen, plain = tagger.decide(probs[None])[0], probs > PLAIN
    def these(hot): return [vocab[i] for i in hot.nonzero()[:, 0].tolist()], probs[hot].tolist()
    said = [f'The rule: {rule_words(tagger.facts)}.']
    for hot, words in ((chosen & ~plain, 'It added'), (plain & ~chosen, 'It left out')):
        if hot.any(): said.append(f'{words} {_named(*these(hot))}.')
    if bool((chosen == plain).all()) and tagger.facts['rule'].get('thresh') != PLAIN:
        said.append(f'A threshold of {PLAIN:g} for every tag would choose the same.')
    if group := [t for t in tagger.exclusive if t in vocab]:
        having = [t for t in group if chosen[vocab.index(t)]]
        names = ', '.join(group)
        if len(having) == 1: said.append(f'Of {names} a chip has exactly one: {having[0]}.')
        else:
            why = ('F2 rewards two where it is undecided' if tagger.facts['rule']['kind'] == 'expected' else
                   'thresholds look at each tag alone')
            said.append(f"Of {names} a chip has exactly one; the rule chose {' and '.join(having) or 'none'} ({why}).")
    return said

# ---- HTML --------------------------------------------------------------------------------------------------------

def _bar(tag, prob, thresh, chosen):
    words = 'tagged' if chosen else 'not tagged'
    return (f'<li class="{"yes" if chosen else "no"}"><span class="tag"><b aria-label="{words}">{"✓" if chosen else ""}'
            f'</b>{page.text(tag)}</span><span class="bar" title="threshold {thresh:.2f}">'
            f'<i style="width:{100*prob:.1f}%"></i><u style="left:{100*thresh:.1f}%"></u></span>'
            f'<span class="number">{prob:.2f}</span></li>')

def _bars(tagger, probs, chosen):
    "A bar for each tag, the likeliest first, with a mark where its threshold is; unlikely ones are folded away."
    order = torch.argsort(probs, descending=True).tolist()
    each = [(chosen[i] or k < SHOWN, _bar(tagger.vocab[i], float(probs[i]), t, bool(chosen[i])))
            for k, i in enumerate(order) for t in [thresholds(tagger)[i]]]
    rest = ''.join(html for shown, html in each if not shown)
    more = f'<details><summary>{sum(not s for s, _ in each)} more tags</summary><ul class="bars">{rest}</ul></details>'
    return f'<ul class="bars">{"".join(h for s, h in each if s)}</ul>{more if rest else ""}'

def chip_html(tagger, item:Tagged) -> str:
    "A chip: its picture, its tags with probabilities against their thresholds, and what the rule did."
    probs = item.probs[0]
    chosen = tagger.decide(item.probs)[0]
    said = ''.join(f'<p>{page.text(s)}</p>' for s in rule_said(tagger, probs))
    return (f'<article class="chip"><div class="look">{page.picture(item.picture, item.name, SIDE)}'
            f'<h3>{page.text(item.name)}</h3></div><div>{_bars(tagger, probs, chosen)}<div class="said">{said}</div>'
            '</div></article>')

def scene_html(tagger, item:Tagged) -> str:
    "A scene: its picture, and of each tag how many windows have it."
    counts = tagger.decide(item.probs)[torch.from_numpy(~item.empty)].sum(0).tolist()
    rows = sorted(((n, tag) for n, tag in zip(counts, tagger.vocab) if n), key=lambda o: (-o[0], o[1]))
    n, without = int((~item.empty).sum()), int(item.empty.sum())
    table = page.table(['tag', 'windows', 'share'], [(tag, f'{k:,}', f'{100*k/max(1, n):.0f} %') for k, tag in rows])
    said = f'{n:,} windows of {item.window} x {item.window} pixels'
    if without: said += f', and {without:,} without data'
    return (f'<article class="chip scene"><div class="look">{page.picture(_kept_shape(item.picture), item.name, 640)}'
            f'<h3>{page.text(item.name)}</h3></div><div><p>{said}.</p>{table}</div></article>')

def _kept_shape(picture, longest=640):
    "A picture scaled to a longer side; `planet.page.picture` would make it square."
    im = Image.fromarray(picture)
    im.thumbnail((longest, longest))
    return np.asarray(im)

def attention_html(tagger, item:Tagged, tag:str) -> str:
    "Where the network looked for a tag: Grad-CAM of a chip; of a scene the probability of each window."
    column = tagger.vocab.index(tag)
    if item.is_scene: return _scene_map(item, tag, column)
    network = tagger.networks[0]
    if not hasattr(network, 'model'): return '<p>Where the network looked is known with the engine torch alone.</p>'
    x = (item.pixels.to(network.device).float()/255 - network.mean)/network.std
    try: heat = grad_cam(network.model.float(), x, [column])[0].numpy()
    except ValueError as e: return f'<p>No map: {page.text(e)}.</p>'
    seen = as_array(item.pixels[0], tagger.bands)
    shown = [page.picture(seen, item.name, SIDE), page.picture(overlay(seen, heat), f'Grad-CAM for {tag}', SIDE)]
    words = (f'What the probability of {tag} ({item.probs[0, column]:.2f}) depends on: yellow speaks most for it.'
             if heat.any() else f'Nothing in this chip speaks for {tag} ({item.probs[0, column]:.2f}).')
    return f'<div class="pair">{"".join(shown)}</div><p>{page.text(words)}</p>'

def _scene_map(item, tag, column):
    "A scene with each window's probability of a tag laid over it."
    tops, lefts = (sorted({at[k] for at in item.places}) for k in (0, 1))
    heat = np.where(item.empty, 0, item.probs[:, column]).reshape(len(tops), len(lefts))
    picture = _kept_shape(item.picture)
    shown = page.picture(_kept_shape(overlay(picture, heat)), f'probability of {tag}', 640)
    words = f'The probability of {tag} in each window, {heat.min():.2f} to {heat.max():.2f}: yellow is 1.'
    return f'<div class="pair">{shown}</div><p>{page.text(words)}</p>'
