"Georeferenced rasters read window by window: bands by name, nodata, value range, a GDAL handle a thread (extra `geo`)."
import os
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
import numpy as np
from planet.bands import band_name
from planet.cli import UserError, near_names

__all__ = ['GDAL', 'INSTALL', 'RGB', 'EMPTY', 'check_installed', 'Raster', 'open_raster', 'Reader', 'find_bands',
           'overview', 'stretch', 'odd_range', 'unlike_values', 'chip_ground']

INSTALL = "pip install 'planet-chips[geo]' (from a checkout: pip install -e '.[geo]')"
CACHE = 128*2**20
# GDAL caches decoded blocks in 5 % of the memory; windows are read once. rasterio counts in bytes: with 128, meant as
# MB, each line of a picture decoded its blocks again, 30 times slower. GDAL lists the folder of a file that it opens,
# in each thread again: `TRUE` still finds a world file or a mask by its name.
GDAL = dict(GDAL_CACHEMAX=CACHE, GDAL_DISABLE_READDIR_ON_OPEN='TRUE')
RGB = 'red', 'green', 'blue'
EMPTY = 160 # grey of what holds no measurement, in pictures: neither cloud nor water

def check_installed(*names):
    "Raise `UserError` where a package of the extra `geo` is missing."
    missing = [n for n in names or ('rasterio', 'pyproj') if find_spec(n) is None]
    if missing: raise UserError(f"scenes need {' and '.join(missing)}: {INSTALL}")

@contextmanager
def _environment(**more):
    import rasterio
    with rasterio.Env(**{k: v for k, v in (GDAL | more).items() if k not in os.environ}): yield rasterio

@dataclass(frozen=True)
class Raster:
    "What there is to know of a georeferenced raster file: size, bands, type, nodata, geotransform, CRS."
    path:str
    width:int # pixels
    height:int
    names:tuple # of the bands: their descriptions, else their colours; '' where the file says nothing
    dtype:str
    nodata:object # the value that means "nothing was measured", or None
    masked:bool # has an alpha band or a mask
    transform:tuple # (a, b, c, d, e, f): x = a*column + b*row + c, y = d*column + e*row + f
    crs:str # WKT
    block:tuple # (height, width) of the blocks in which the file is stored
    metres:tuple # ground size (height, width) of a pixel at the raster's centre
    stamp:tuple # size and time of the file

    @property
    def north_up(self): # and east to the right
        a, b, _, d, e, _ = self.transform
        return a > 0 > e and not (b or d)
    def xy(self, columns, rows): # in the CRS
        "Coordinates of pixel positions; whole numbers are corners of pixels."
        return placed(self.transform, columns, rows)
    def lonlat(self, columns, rows):
        "Longitudes from -180 to 180 and latitudes (WGS 84) of pixel positions."
        lon, lat = _to_lonlat(self.crs).transform(*self.xy(columns, rows))
        # a raster in degrees goes on beyond 180, where it lies over the antimeridian or counts from 0 to 360
        return np.where(np.abs(lon) > 180, (lon + 180) % 360 - 180, lon), lat

def placed(transform, columns, rows):
    "Coordinates of pixel positions by a geotransform."
    (a, b, c, d, e, f), columns, rows = tuple(transform)[:6], np.asarray(columns, float), np.asarray(rows, float)
    return a*columns + b*rows + c, d*columns + e*rows + f

def _to_lonlat(crs):
    from pyproj import Transformer
    return Transformer.from_crs(crs, 'EPSG:4326', always_xy=True)

def _ground(path, src):
    "The ground size (height, width) in metres of a pixel at the centre, along the raster's rows and columns."
    from pyproj import Geod
    row, column, n = src.height/2, src.width/2, max(1, min(src.height, src.width)//4)
    try: to = _to_lonlat(src.crs.to_wkt())
    except Exception: raise UserError(f'{path} is in a coordinate reference system that has no place on the Earth '
                                      f'({src.crs.to_string()[:60]}): assign it the right one') from None
    lon, lat = to.transform(*placed(src.transform, [column, column+n, column], [row, row, row+n]))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and np.abs(lat).max() <= 90):
        raise UserError(f'{path} lies outside its coordinate reference system: its geotransform or its CRS is wrong')
    _, _, far = Geod(ellps='WGS84').inv(lon[[0, 0]], lat[[0, 0]], lon[[2, 1]], lat[[2, 1]])
    if min(far) <= 0: raise UserError(f'{path} has pixels of no size: its geotransform is wrong')
    return tuple(float(f)/n for f in far)

def _georeference(path, src):
    "Refuse a raster without a place."
    if src.crs is None and src.gcps[0]:
        raise UserError(f'{path} has ground control points and no geotransform: warp it first '
                        f'(gdalwarp {path} OUT.tif)')
    if src.crs is None:
        raise UserError(f'{path} has no coordinate reference system: assign it the one that it was made in '
                        f'(gdal_edit.py -a_srs EPSG:32721 {path})')
    if src.transform.is_identity or src.transform.is_degenerate:
        raise UserError(f'{path} has no geotransform: its pixels have no place (is a world file missing beside it?)')

def open_raster(path) -> Raster: # its facts; no handle stays open
    "Read the facts of a georeferenced raster; `UserError` in one line where it has no place, no picture or odd bands."
    check_installed()
    path = str(path)
    if '://' not in path and not path.startswith('/vsi') and not Path(path).exists():
        there = [p.name for p in Path(path).parent.iterdir()] if Path(path).parent.is_dir() else []
        raise UserError(f'{path}: no such file{near_names(Path(path).name, there, 1)}')
    with _environment() as rasterio, warnings.catch_warnings():
        warnings.simplefilter('ignore') # a file without a place warns; it is refused below
        try: src = rasterio.open(path)
        except rasterio.errors.RasterioIOError as e:
            raise UserError(f"{path} is no raster that GDAL reads ({' '.join(str(e).split())[:200]})") from None
        with src:
            if not src.count: raise UserError(f'{path} holds several rasters: name one of them ({src.subdatasets[:2]})')
            kinds = set(src.dtypes)
            if len(kinds) > 1 or not np.dtype(src.dtypes[0]).kind in 'uif':
                raise UserError(f"{path} has bands of {', '.join(sorted(kinds))}: whole or real numbers of one type "
                                "are read")
            colours = [c.name for c in src.colorinterp]
            if 'palette' in colours: raise UserError(f'{path} has a colour table: make it RGB first '
                                                     f'(gdal_translate -expand rgb {path} OUT.tif)')
            _georeference(path, src)
            names = tuple(band_name(d or ('' if c in ('undefined', 'gray', 'grey') else c))
                          for d, c in zip(src.descriptions, colours))
            flags = {f for flags in src.mask_flag_enums for f in flags}
            at = os.stat(path) if os.path.exists(path) else None
            return Raster(path, src.width, src.height, names, src.dtypes[0], src.nodata,
                          rasterio.enums.MaskFlags.per_dataset in flags or 'alpha' in colours,
                          tuple(src.transform)[:6], src.crs.to_wkt(), src.block_shapes[0], _ground(path, src),
                          (at.st_size, at.st_mtime_ns) if at else ())

# ---- bands

def find_bands(raster:Raster,
               wanted=None, # the model's bands, names in its order; None: red, green, blue
               given=None, # names or numbers from 1 up, in the model's order: a list, or text with commas
               limits=None, # of the model: a third row says where its bands were in the training chips' files
              ) -> tuple: # numbers from 1 up
    "The numbers of the bands that a model needs, by name or number; `UserError` where the file cannot tell."
    wanted = tuple(str(b).lower() for b in wanted or RGB)
    count = len(raster.names)
    there = ', '.join(f'{i} {n}'.strip() for i, n in enumerate(raster.names, 1))
    if given:
        given = [b.strip() for b in given.split(',')] if isinstance(given, str) else list(given)
        if len(given) != len(wanted):
            raise UserError(f"names {len(given)} and the model takes {len(wanted)} ({', '.join(wanted)})", 'bands')
        found = []
        for b in given:
            name = str(b).lower()
            if name.isdigit() and 1 <= int(name) <= count: found.append(int(name))
            elif raster.names.count(name) == 1: found.append(raster.names.index(name) + 1)
            else: raise UserError(f'{b} is no band of {raster.path}, which has {there}'
                                  f'{near_names(name, filter(None, raster.names))}', 'bands')
        return tuple(found)
    if all(raster.names.count(b) == 1 for b in wanted): return tuple(raster.names.index(b) + 1 for b in wanted)
    pictures = [i for i, n in enumerate(raster.names, 1) if n != 'alpha']
    places = [int(p) for p in limits[2]] if limits is not None and len(limits) > 2 else range(len(wanted))
    if len(pictures) == len(wanted) > max(places) and not any(raster.names[i-1] for i in pictures):
        return tuple(pictures[p] for p in places)
    raise UserError(f"{raster.path} has the bands {there}, and the model takes {', '.join(wanted)}: say which they are "
                    f"with `bands`, names or numbers in the model's order", None)

# ---- pixels

class Reader:
    "Reads rectangles of a raster from any thread: handles of GDAL cannot be shared, so each thread opens its own."
    def __init__(self, raster:Raster, bands):
        self.raster, self.bands, self.own, self.opened = raster, list(bands), threading.local(), []

    def _handle(self):
        if not hasattr(self.own, 'src'):
            import rasterio
            self.own.src = rasterio.open(self.raster.path)
            self.opened.append(self.own.src)
        return self.own.src

    def __call__(self, row:int, column:int, height:int, width:int): # pixels and bool
        "Pixels as they are in the file, and which of them were measured; the rectangle lies inside the raster."
        with _environment():
            src, window = self._handle(), ((row, row+height), (column, column+width))
            pixels = src.read(self.bands, window=window)
            valid = measured(pixels, self.raster.nodata)
            return pixels, valid & (src.dataset_mask(window=window) > 0) if self.raster.masked else valid

    def close(self):
        "Close all handles; no thread may be reading."
        while self.opened: self.opened.pop().close()

def measured(pixels, nodata) -> np.ndarray: # bool `(height, width)`
    """Which pixels hold a measurement: not nodata in all bands; where none is declared, not zero in all bands, nor the
    largest value of 16 bits or more; and never NaN."""
    if nodata is None:
        valid = (pixels != 0).any(0)
        many = pixels.dtype.kind in 'iu' and pixels.dtype.itemsize > 1
        if many: valid &= (pixels != np.iinfo(pixels.dtype).max).any(0)
    elif np.isnan(nodata): valid = np.ones(pixels.shape[1:], bool)
    else: valid = (pixels != np.asarray(nodata).astype(pixels.dtype)).any(0)
    return valid & np.isfinite(pixels).all(0) if pixels.dtype.kind == 'f' else valid

def overview(raster:Raster, bands,
             longest:int=1024, # pixels of its longer side
             average:bool=False, # of the pixels that it covers; else one of them, as it is
            ): # `(bands, height, width)` and which were measured
    "A small picture of the whole raster, from its overviews where it has them."
    from rasterio.enums import Resampling
    part = max(1, max(raster.height, raster.width)/longest)
    shape = tuple(max(1, round(n/part)) for n in (raster.height, raster.width))
    # line by line, so a row of blocks has to fit
    line = raster.block[0]*raster.width*len(raster.names)*np.dtype(raster.dtype).itemsize
    with _environment(GDAL_CACHEMAX=min(2**30, max(CACHE, 2*line))) as rasterio, rasterio.open(raster.path) as src:
        how = dict(resampling=Resampling.average if average else Resampling.nearest)
        try:
            pixels = src.read(list(bands), out_shape=(len(bands), *shape), **how)
            mask = src.dataset_mask(out_shape=shape) > 0 if raster.masked else True
        except rasterio.errors.RasterioIOError: # of a damaged block: what can be read, line by line
            pixels, mask = _lines(rasterio, src, bands, shape), True
    return pixels, measured(pixels, raster.nodata) & mask

def _lines(rasterio, src, bands, shape):
    pixels = np.zeros((len(bands), *shape), src.dtypes[0])
    for i in range(shape[0]):
        row = i*src.height//shape[0]
        try: pixels[:, i] = src.read(list(bands), window=((row, row+1), (0, src.width)),
                                     out_shape=(len(bands), 1, shape[1]))[:, 0]
        except rasterio.errors.RasterioIOError: continue
    return pixels

# ---- value range

def stretch(raster:Raster, bands,
            limits, # of the model, values `(2, bands)` that become 0 and 255; None: it takes 8 bits
            scale=None, # percentile, fixed, "LOW:HIGH", or values `(2,)` or `(2, bands)`
            sample=None, # pixels `(bands, n)` of the raster, for percentiles
           ): # values `(2, bands)`, or None for 8 bits as they are
    "Which values of a scene become 0 and 255; `UserError` where they are unlike a model's and `scale` says nothing."
    n, kind = len(bands), np.dtype(raster.dtype)
    if limits is not None: limits = limits[:2] # `bands` are in the model's order already
    if scale is None or scale == '':
        if limits is not None or kind == np.uint8: return limits
        raise UserError(f'{raster.path} has values of {kind}, and the model was trained on 8 bits: give `scale`, '
                        'percentile (its own 2nd and 98th become 0 and 255), fixed (the range of its type) or LOW:HIGH')
    if isinstance(scale, str) and scale == 'percentile':
        if sample is None or not sample.size: raise UserError(f'{raster.path} holds no measured pixel to scale by')
        low, high = np.percentile(sample, (2, 98), axis=1)
        return np.stack([low, np.where(high > low, high, low + 1)])
    if isinstance(scale, str) and scale == 'fixed':
        if limits is not None: return limits
        top = 1. if kind.kind == 'f' else float(np.iinfo(kind).max)
        return np.stack([np.zeros(n), np.full(n, top)])
    try:
        low, high = (scale.split(':') if isinstance(scale, str) else scale)
        found = np.stack([np.broadcast_to(np.asarray(v, float), (n,)) for v in (low, high)])
        if not (np.isfinite(found).all() and (found[1] > found[0]).all()): raise ValueError
    except (ValueError, TypeError):
        raise UserError(f'{scale} is no range: give percentile, fixed, or LOW:HIGH such as 0:3000', 'scale') from None
    return found

def odd_range(sample, # uint8 pixels `(bands, n)`, as the model is to see them
             ) -> str: # a line, or ''
    "What is unlike photographs in a scene's values: nearly black, white, or flat."
    if not sample.size: return ''
    low, middle, high = np.percentile(sample, (2, 50, 98), axis=1)
    clipped = np.isin(sample, (0, 255)).mean()
    said = ('nearly black' if high.max() < 32 else 'nearly white' if low.min() > 200 else
            'nearly flat' if (high - low).max() < 8 else
            f'{clipped:.0%} of the values at an end of the range' if clipped > .25 else '')
    return said and (f"its values are unlike the training chips': {said} (2nd, 50th and 98th percentile of 0 to 255: "
                     f"{', '.join(f'{a:.0f} {b:.0f} {c:.0f}' for a, b, c in zip(low, middle, high))})")

def unlike_values(sample, # as in `odd_range`
                  values:dict, # of the training chips, as a model folder keeps them: `mean`, `p1`, `p99` of each band
                  names, # of the bands
                 ) -> str: # a line, or ''
    "Which bands of a scene have pixel values unlike the training chips': outside of their range, or nearly flat."
    said = []
    for band, name, mean, low, high in zip(sample, names, values['mean'], values['p1'], values['p99']):
        if not band.size: continue
        least, most = np.percentile(band, (1, 99))
        outside = ((band < low - 3) | (band > high + 3)).mean() # of the training chips themselves: under 2 %
        if outside > .25 or most - least < .05*(high - low):
            said.append(f'{name} {least:.0f} to {most:.0f} with a mean of {band.mean():.0f}, in training '
                        f'{low:.0f} to {high:.0f} with {mean:.0f}')
    return said and f"its values are unlike the training chips' (of 0 to 255): {'; '.join(said)}" or ''

def chip_ground(paths, # image files of chips
               ) -> float|None: # metres
    "Ground size of a side of GeoTIFF chips by their georeference; `None` where they have none, or differ."
    found = []
    for path in paths:
        if Path(path).suffix.lower() not in ('.tif', '.tiff'): return None
        try: raster = open_raster(path)
        except UserError: return None # no place, or no rasterio
        found.append(min(raster.height, raster.width)*float(np.sqrt(np.prod(raster.metres))))
    if found and max(found) <= 1.05*min(found): return round(float(np.median(found)), 1)
