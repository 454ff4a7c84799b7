"""Choose bands of GeoTIFF chips by name or number, and measure their value range, mean and deviation once."""
import hashlib
import io
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4
import numpy as np
from planet import amazon
from planet.chips import Chips
from planet.cli import UserError, near_names, progress
from planet.files import open_regular, why_unreadable
from planet.tiffs import nodata_of, read_bands, scale_bands

__all__ = ['ALIASES', 'band_name', 'file_bands', 'find_bands', 'measure_bands', 'choose_bands', 'in_colour',
           'recorded_bands']

# what bands are called in files and on command lines, and what they are called here
ALIASES = dict(r='red', g='green', b='blue', n='nir', near_infrared='nir', near_ir='nir', nir1='nir', infrared='nir',
               gray='grey', b02='blue', b2='blue', b03='green', b3='green', b04='red', b4='red', b08='nir', b8='nir')

CHIPS, PIXELS = 1000, 2048 # at most so many chips are measured, and so many pixels of each
LOW, HIGH = .5, 99.5 # percentiles that become 0 and 255, where values have more than 8 bits

def band_name(name:str) -> str:
    "A band's name in one spelling: `near-infrared`, `NIR` and Sentinel-2's `B08` are `nir`."
    plain = re.sub(r'[\s-]+', '_', name.strip().casefold())
    return ALIASES.get(plain, plain)

def _read(path):
    try:
        with open_regular(path) as f: data = f.read()
        return data, read_bands(data)
    except Exception as e: # a broken file fails in many ways
        raise UserError(f'{path} cannot be read: {why_unreadable(e)}') from None

def _described(data):
    "Names that GDAL wrote into a TIFF (position -> name), and whether its first three bands are red, green, blue."
    import tifffile
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tif:
            said, photometric = tif.pages[0].tags.get(42112), tif.pages[0].photometric
            items = ElementTree.fromstring(said.value).iter('Item') if said else ()
            named = {int(o.get('sample')): o.text for o in items if o.get('role') == 'description' and o.text}
        return named, photometric == tifffile.PHOTOMETRIC.RGB
    except (tifffile.TiffFileError, ElementTree.ParseError, TypeError, ValueError): return {}, False

def file_bands(path, # an image file
              ) -> tuple: # names (`None` for a band without one), and the type of its values
    "Names of the bands in an image file: as GDAL describes them, or red, green, blue of a picture in colour."
    data, pixels = _read(path)
    named, rgb = _described(data) if data[:2] in (b'II', b'MM') else ({}, True)
    n = pixels.shape[2]
    names = [band_name(named[i]) if i in named else None for i in range(n)]
    # where 16 bits are stored, `RGB` says that there are three bands or more, and not which
    if n >= 3 and rgb and pixels.dtype == np.uint8 and not any(names): names[:3] = 'red', 'green', 'blue'
    return names, pixels.dtype

def find_bands(asked:str, # `red,green,blue,nir`, `3,2,1`, or `all`
               names:list, # of the bands in a file; `None` for one without a name
               where='', # the file, for messages
              ) -> tuple: # names, and positions in the file
    "The bands that `asked` names, by name or by number from 1; raises `UserError` with those that there are."
    words = [o.strip() for o in asked.split(',') if o.strip()]
    if [o.casefold() for o in words] == ['all']: words = [str(i+1) for i in range(len(names))]
    at = []
    for word in words:
        if word.isdigit() and 1 <= int(word) <= len(names): at.append(int(word)-1)
        elif band_name(word) in names: at.append(names.index(band_name(word)))
        else:
            known = [n for n in names if n]
            there = f"it has {len(names)} bands, {', '.join(n or str(i+1) for i, n in enumerate(names))}"
            numbers = ','.join(str(i+1) for i in range(len(names)))
            todo = '' if known else f', without names: give numbers, such as {numbers}'
            raise UserError(f'{word} is no band of {where}: {there}{todo}{near_names(word, known)}', option='bands')
    if not at: raise UserError('no band is named: such as red,green,blue,nir or 3,2,1', option='bands')
    if len(set(at)) < len(at): raise UserError(f'{asked} names a band twice', option='bands')
    return [names[i] or f'band_{i+1}' for i in at], at

# ---- the range of their values -----------------------------------------------------------------------------------

def _sampled(paths):
    "At most `CHIPS` of the paths, always the same ones."
    if len(paths) <= CHIPS: return list(paths)
    return [paths[i] for i in np.sort(np.random.default_rng(42).permutation(len(paths))[:CHIPS])]

def _pixels(path, at, kind, nodata=None):
    "Some pixels of a chip, `(pixels, bands)`; those without data (all 0, NaN, or `nodata`) are left out."
    try: pixels = _read(path)[1]
    except UserError: return None # told with all others when chips are decoded
    if pixels.dtype != kind:
        raise UserError(f'{path} has values of {pixels.dtype}, other chips of {kind}: one type is wanted')
    if pixels.shape[2] <= max(at): return None
    flat = pixels.reshape(-1, pixels.shape[2])[:, at]
    flat = flat[::max(1, len(flat)//PIXELS)].astype(np.float32)
    return flat[np.isfinite(flat).all(1) & flat.any(1) & (flat != np.float32(nodata or 0)).any(1)]

def measure_bands(paths, # image files
                  at, # positions of the bands in each
                 ) -> dict: # `limits`, `mean`, `std`, `clipped` (share of the values outside the limits), `kind`
    """Measure the value range of bands (0.5 and 99.5 percent) and their mean and deviation between 0 and 1.

    Values of 8 bits keep 0 to 255. Labels are not looked at. """
    paths = _sampled(paths)
    data, first = _read(paths[0])
    kind, nodata = first.dtype, nodata_of(data)
    with ThreadPoolExecutor() as pool:
        read = pool.map(lambda p: _pixels(p, at, kind, nodata), paths)
        found = [o for o in progress(read, len(paths), 'measuring bands') if o is not None and len(o)]
    if not found: raise UserError(f'no chip like {paths[0]} has values in the bands asked for', option='bands')
    values = np.concatenate(found)
    if kind == np.uint8: low, high = np.zeros(len(at)), np.full(len(at), 255.)
    else: low, high = np.percentile(values, (LOW, HIGH), axis=0)
    if flat := [i for i, (a, b) in enumerate(zip(low, high)) if not b > a]:
        raise UserError(f'band {at[flat[0]]+1} has the same value ({low[flat[0]]:g}) everywhere: leave it out',
                        option='bands')
    limits = [low.astype(float).round(6).tolist(), high.astype(float).round(6).tolist()]
    scaled = scale_bands(values[None], limits)[0]/255.
    return dict(limits=limits, mean=scaled.mean(0).round(5).tolist(), std=scaled.std(0).clip(1e-3).round(5).tolist(),
                clipped=round(float(((values < low) | (values > high)).mean()), 5), kind=str(kind))

def _measured_once(root, paths, at):
    "`measure_bands`, kept in a cache under a name that depends on the files measured and on the bands."
    env = os.environ.get
    home = Path(env('PLANET_CACHE') or Path(env('XDG_CACHE_HOME') or '~/.cache')/'planet').expanduser()/'bands'
    def facts(path): return f'{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}'
    key = [str(Path(root).resolve()), str(at), f'{LOW} {HIGH} {PIXELS}', *map(facts, _sampled(paths))]
    file = home/(hashlib.blake2b('\n'.join(key).encode(), digest_size=12).hexdigest() + '.json')
    with suppress(OSError, ValueError): return json.loads(file.read_text(encoding='utf-8'))
    found = measure_bands(paths, at)
    with suppress(OSError): # a cache that cannot be written costs time alone
        home.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f'.{file.name}-{uuid4().hex}')
        part.write_text(json.dumps(found), encoding='utf-8')
        part.replace(file)
    return found

# ---- chips -------------------------------------------------------------------------------------------------------

TIFFS = 'train-tif-v2' # where the competition's images of four bands lie, beside the JPEGs

def _with_tiffs(chips):
    "The competition's chips as TIFFs of four bands, where those lie beside their JPEGs; any others as they are."
    folder = Path(chips.root)/TIFFS
    if not folder.is_dir() or any(p.suffix.lower() in ('.tif', '.tiff') for p in chips.paths[:1]): return chips
    paths = [folder/f'{Path(name).stem}.tif' for name in chips.table.image_name]
    if missing := [p.name for p in paths if not p.is_file()]:
        raise UserError(f'{folder} lacks {len(missing):,} of {len(paths):,} chips, such as {missing[0]}: '
                        f'planet-data get kaggle, `tif`', option='bands')
    return replace(chips, table=chips.table.assign(path=paths))

def choose_bands(chips:Chips, # from a source or a folder
                 asked:str, # `red,green,blue,nir`, `3,2,1`, or `all`; '': as they are
                ) -> Chips: # with `bands`, `limits` (and positions in the file) and `stats`
    """Take some bands of all chips, scaled to 8 bits by a range that is measured once and kept in a cache.

    Measured are chips of the training side of the set's own split, else all of them: their labels are not used. """
    if not asked: return chips
    chips = _with_tiffs(chips)
    path = chips.paths[0]
    names, kind = file_bands(path)
    if path.parent.name == TIFFS: names = list(amazon.BANDS)
    if chips.bands and len(chips.bands) == len(names): names = [band_name(b) for b in chips.bands]
    bands, at = find_bands(asked, names, path.name)
    if (bands, str(kind), len(names)) == (['red', 'green', 'blue'], 'uint8', 3): return chips # as pictures are read
    paths = [p for p, side in zip(chips.paths, chips.official or ['train']*len(chips)) if side == 'train']
    found = _measured_once(chips.root, paths, at)
    said = f"bands {', '.join(bands)} of {found['kind']}"
    if found['kind'] != 'uint8':
        low, high = found['limits']
        ranges = ', '.join(f'{a:g} to {b:g}' for a, b in zip(low, high))
        said += f" scaled to 8 bits from {ranges} ({100*found['clipped']:.1f} % of the values lie outside)"
    return replace(chips, bands=bands, limits=[*found['limits'], at], stats=(found['mean'], found['std']),
                   read=[*chips.read, said])

def in_colour(chips:Chips, # from a folder; each has a file
             ) -> Chips: # for figures: with all bands, where the files are GeoTIFFs that no plain picture shows
    "Chips as figures draw them: TIFFs of more than three bands, or of 16 bits, in false colour or in their colours."
    path = next(iter(chips.paths), None)
    if path is None or chips.limits is not None or path.suffix.lower() not in ('.tif', '.tiff'): return chips
    try:
        names, kind = file_bands(path)
        return chips if len(names) in (1, 3) and kind == np.uint8 else choose_bands(chips, 'all')
    except UserError: return chips # a broken file, or files of several kinds: as they are

def recorded_bands(chips:Chips, # from the folder that a record names
                   facts:dict, # the record's `data`
                  ) -> Chips:
    "Chips with the bands and the value range that a run's record has, so that its pictures can be drawn again."
    if not facts.get('limits'): return chips
    with suppress(UserError): chips = _with_tiffs(chips)
    return replace(chips, bands=facts.get('bands'), limits=facts.get('limits'), stats=facts.get('stats'))
