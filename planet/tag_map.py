"A self-contained HTML map of a tagged scene: a switch a tag, probabilities under the pointer, area with an interval."
# Nothing is fetched from a network: a policy inside the page forbids it.
import base64
import colorsys
import io
import json
import math
import re
from pathlib import Path
import numpy as np
from PIL import Image
from planet.page import text
from planet.rasters import EMPTY, overview
from planet.tiffs import scale_bands

__all__ = ['map_page']

LONGEST = 1400 # pixels of the picture's longer side
MOST = 6_000_000 # probabilities in a page, a byte each; beyond, cells are averaged
ASSUMES = (
    'An area is that of the windows with a tag, each counted whole: a road of 10 m makes its window of {side} a road. '
    '<b>Given to</b> counts the windows that were given the tag. <b>Estimated</b> corrects for misses and false '
    'alarms: of a true share s, a share s × recall + (1 − s) × false positive rate is tagged (Rogan and Gladen 1978). '
    'The interval holds what is uncertain in recall and false positive rate, which are counted on the validation set, '
    'and in the number of windows. It assumes that both are the same in this scene as on the validation set, that is '
    'the same sensor, season and kind of landscape; where the scene differs, the interval may be wrong. A dash: fewer '
    'than 10 validation chips have the tag, or it is not recognised better than by chance.')

def _picture(scene):
    "The scene as a JPEG in a URL, what holds no measurement grey."
    bands = scene.about['picture']
    pixels, valid = overview(scene.raster, bands, LONGEST, average=True)
    limits = scene.about['limits']
    if limits is not None:
        use = [list(scene.about['bands']).index(b) for b in bands]
        limits = np.asarray(limits)[:, use]
    elif pixels.dtype != np.uint8: raise ValueError(f'values of {pixels.dtype} and no limits')
    pixels = pixels.transpose(1, 2, 0)
    if limits is not None: pixels = scale_bands(pixels, limits)
    pixels = np.where(valid[..., None], pixels, np.uint8(EMPTY))
    part = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else np.repeat(pixels[..., :1], 3, 2)).save(part, 'JPEG', quality=82)
    return 'data:image/jpeg;base64,' + base64.b64encode(part.getvalue()).decode()

def _coarser(cells, given, factor):
    "Cells averaged in squares; a square has a tag where most of its cells have."
    rows, columns, tags = cells.shape
    pad = [(0, -rows % factor), (0, -columns % factor), (0, 0)]
    shape = (rows + pad[0][1])//factor, factor, (columns + pad[1][1])//factor, factor, tags
    there = np.pad(~np.isnan(cells[..., :1]), pad).reshape(*shape[:4], 1).sum((1, 3))
    total, yes = (np.pad(a, pad).reshape(shape).sum((1, 3)) for a in (np.nan_to_num(cells), given.astype(np.float32)))
    with np.errstate(invalid='ignore'): return np.where(there > 0, total/there, np.nan), yes > there/2

def _base64(a): return base64.b64encode(a.tobytes()).decode()

def colours(n:int) -> list: # of (red, green, blue), 0 to 255
    "Colours that are easy to tell apart on a satellite image, the first ones most."
    first = [(255, 90, 60), (70, 200, 255), (255, 210, 40), (255, 110, 220), (120, 255, 120), (170, 140, 255)]
    def more(i): return tuple(round(255*v) for v in colorsys.hls_to_rgb(i*.381966 % 1, .62 + .1*(i % 2), .95))
    return [first[i] if i < len(first) else more(i) for i in range(n)]

def _hectares(v):
    if v != v: return '–'
    return f'{v:,.0f}' if v >= 10 or v == 0 else f'{v:.1f}'

def _round_length(metres):
    "A round length below a number of metres."
    power = 10**math.floor(math.log10(max(metres, 1e-9)))
    return next(f for f in (5, 2, 1) if f*power <= metres)*power

def _row(tag, colour, r, checked):
    recall, precision = ('–' if v != v else f'{v:.2f}' for v in (r.recall, r.precision))
    interval = '' if r.low != r.low else f'<small>{_hectares(r.low)} to {_hectares(r.high)}</small>'
    known = f'{int(r.positives)} validation chips have it' + (': too few, or not recognised' if r.low != r.low else '')
    return (f'<tr><td><label><input type="checkbox"{" checked" if checked else ""}><span class="swatch" '
            f'style="background:rgb{colour}"></span><span>{text(tag).replace("_", "_<wbr>")}</span></label></td>'
            f'<td class="number">{_hectares(r.hectares)}<small>{r.share:.1%}</small></td>'
            f'<td class="number" title="{known}">{_hectares(r.corrected)}{interval}</td>'
            f'<td class="number wide-only">{recall}</td><td class="number wide-only">{precision}</td></tr>')

def _note(line, kind='note'): return f'<p class="{kind}">{line}</p>'

def _lines(scene, factor):
    "What stands above and below the map."
    rule = text(scene.about['rule'])
    rule = re.sub(r'^[\d.]+(?=$|,)', r'every tag with a probability above \g<0>', rule) # of `AboveThreshold`
    a, known = scene.about, scene.areas.positives.max() > 0
    side = f'{scene.grid.window[1]*scene.raster.metres[1]:,.0f} m'
    head = [f"{a['tagged']:,} windows of {side} were tagged"
            + (f", {a['empty']:,} without data left out" if a['empty'] else '')
            + (f", {a['padded']:,} reach over the edge" if a['padded'] else '') + '.']
    notes = [ASSUMES.format(side=side) if known else 'An area is that of the windows with a tag, each counted whole. '
             "Nothing is known of the tagger's errors here, so areas are not corrected and have no interval.",
             f'Decision rule: {rule}. Shares are of {scene.areas.attrs["total"]:,.0f} ha with data.']
    if scene.grid.step != scene.grid.window: notes.append('Windows overlap: a cell is the mean of those that cover it.')
    if a['empty'] or (scene.nodata > 0).any(): notes.append('What is plain grey in the picture holds no data.')
    if factor > 1: notes.append(f'{factor} x {factor} cells are drawn as one.')
    if not scene.raster.north_up:
        notes.append('The picture lies as in its file, turned or mirrored: north is not up, or east not to the right.')
    bad = f"{a['unreadable']:,} windows could not be read and are missing here." if a['unreadable'] else ''
    return ''.join(map(_note, head)) + (_note(bad, 'warning') if bad else ''), ''.join(map(_note, notes))

def map_page(scene, # `planet.scene_files.TaggedScene`
            ) -> str: # HTML
    "One HTML page with the scene's picture, its tags as switches, probabilities on hover, and the area of each tag."
    cells, given, raster = scene.cells, scene.cell_tags, scene.raster
    factor = max(1, math.ceil(math.sqrt(cells.size/MOST)))
    if factor > 1: cells, given = _coarser(cells, given, factor)
    order = list(np.argsort(-scene.areas.hectares.to_numpy(), kind='stable'))
    names, hues = [scene.vocab[i] for i in order], colours(len(order))
    cells, given = np.moveaxis(cells[..., order], 2, 0), np.moveaxis(given[..., order], 2, 0)
    first = next((t for t, name in enumerate(names) if 0 < scene.areas.share[name] < .5), 0)
    lon, lat = raster.lonlat([0, raster.width, raster.width, 0], [0, 0, raster.height, raster.height])
    lon = np.unwrap(lon, period=360) # over the antimeridian: the page goes on beyond 180 between them
    numbers = np.where(np.isnan(cells), 255, np.nan_to_num(cells)*250).round().astype(np.uint8)
    data = dict(rows=cells.shape[1], cols=cells.shape[2], probs=_base64(numbers),
                given=_base64(np.packbits(given.ravel())), corners=np.stack([lon, lat], 1).round(6).tolist(),
                cell=[factor*scene.grid.step[1]/raster.width, factor*scene.grid.step[0]/raster.height],
                tags=[dict(name=str(t), rgb=c) for t, c in zip(names, hues)])
    wide, high = raster.width*raster.metres[1], raster.height*raster.metres[0]
    bar = _round_length(wide/4)
    head, notes = _lines(scene, factor)
    page, style = (Path(__file__).with_name(f).read_text(encoding='utf-8') for f in ('tag_map.html', 'page.css'))
    filled = dict(TITLE=text(Path(raster.path).name), STYLE=style,
                  ASPECT=f'{wide:.3f}/{high:.3f}', RATIO=f'{wide/high:.5f}', HEAD=head, PICTURE=_picture(scene),
                  BAR=f'{bar/1000:g} km' if bar >= 1000 else f'{bar:g} m', NOTES=notes,
                  ROWS='\n'.join(_row(t, hues[i], scene.areas.loc[t], i == first) for i, t in enumerate(names)),
                  DATA=json.dumps(data).replace('<', '\\u003c'))
    filled['STYLE'] += f'#bar {{ width: {100*bar/wide:.3f}% }}\n'
    # in one pass: what a scene or a tag is called may look like a place to fill
    return re.sub('@([A-Z]+)@', lambda m: filled[m[1]], page)
