"""Read images of any bands and bits, scaled by a stated range; the competition's TIFFs in colour, for figures.

Pillow has no image of several 16-bit bands: it refuses such a file, or keeps 8 bits of each. `tifffile` reads it whole.
"""
import io
import logging
import numpy as np
from PIL import Image
from planet.cli import UserError
from planet.files import open_regular, why_unreadable

__all__ = ['read_bands', 'nodata_of', 'scale_bands', 'check_tiff', 'unknown_format', 'LIMITS', 'open_tif', 'tif_rgb',
           'tif_false_colour']

MAGIC = b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'

def read_bands(data:bytes, # of an image file
              ) -> np.ndarray: # `(height, width, bands)`, in the file's own type
    """Read all bands of an image file as they are; many kinds of exceptions where it is broken.

    Of a picture that stores its colours otherwise (the competition's JPEGs are CMYK) these are red, green and blue. """
    if not data.startswith(MAGIC):
        if data.startswith(b'\x89PNG') and data[24] == 16 and data[25] in (2, 6): # depth, and colour with three bands
            raise ValueError('mode of 16 bits a band in a PNG, of which 8 are read: a TIFF keeps them')
        im = Image.open(io.BytesIO(data))
        bands = np.asarray(im.convert('RGB') if im.mode in ('CMYK', 'YCbCr', 'P', 'HSV', 'LAB') else im)
    else:
        import tifffile
        log = logging.getLogger('tifffile') # it also says in a line of its own what it then raises
        level = log.level
        log.setLevel(logging.CRITICAL)
        try: bands = tifffile.imread(io.BytesIO(data))
        except ValueError as e:
            if 'imagecodecs' not in str(e): raise
            bands = _by_gdal(data) # compressed in a way that tifffile alone does not read, such as LZW
        finally: log.setLevel(level)
    if not bands.size: raise ValueError('no picture in it')
    if bands.ndim == 2: return bands[..., None]
    if bands.ndim == 3 and bands.shape[0] < min(bands.shape[1:]): return bands.transpose(1, 2, 0) # a plane a band
    return bands

def nodata_of(data:bytes, # of an image file
             ) -> float|None:
    "The value that GDAL's tag says means that nothing was measured; `None` where there is none."
    import tifffile
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tif: return float(tif.pages[0].tags[42113].value)
    except (tifffile.TiffFileError, KeyError, TypeError, ValueError): return None

def _by_gdal(data):
    try:
        from rasterio.io import MemoryFile
    except ImportError:
        raise ValueError("compressed in a way that needs rasterio to read: pip install 'planet-chips[geo]'") from None
    with MemoryFile(data) as file, file.open() as f: return f.read().transpose(1, 2, 0)

def scale_bands(bands:np.ndarray, # `(height, width, bands)`
                limits, # values `(2, bands)` that become 0 and 255; a third row: positions of the bands in the file
               ) -> np.ndarray: # uint8
    """Scale each band linearly from its stated range to 8 bits; what lies outside is clipped, and NaN becomes 0.

    With a third row of `limits` only the bands at those positions (from 0) are taken, in that order. """
    low, high, *at = np.asarray(limits, dtype=np.float32)
    if at and bands.ndim == 3:
        at = at[0].astype(int)
        if at.max() >= bands.shape[2]: raise ValueError(f'{bands.shape[2]} bands, and band {at.max()+1} is asked for')
        bands = bands[..., at]
    if bands.ndim != 3 or bands.shape[2] != len(low):
        raise ValueError(f'shape {bands.shape}, and limits of {len(low)} bands')
    return (255*np.nan_to_num(((bands.astype(np.float32)-low)/(high-low)).clip(0, 1))).round().astype(np.uint8)

def check_tiff(im, # as Pillow has opened it
              ):
    "Raise `ValueError` for a TIFF that Pillow reads in part or wrongly: of many bits and bands, pages, signed values."
    (bits, bands, form, white), pages = (max(np.atleast_1d(im.tag_v2.get(*tag)).tolist()) for tag in
                                         ((258, 1), (277, 1), (339, 1), (262, 1))), im.n_frames
    if bands > 3 and bits > 8: raise ValueError(f'mode of {bands} bands of {bits} bits: not RGB or grey')
    if form == 2 and bits == 8: raise ValueError('mode of signed integers: not RGB or grey')
    if white == 0 and bits > 8: raise ValueError(f'mode of {bits} bits with white as 0: not RGB or grey')
    size = im.size
    for page in range(1, pages):
        im.seek(page)
        # overviews and masks are no pages of their own
        if im.size == size and not im.tag_v2.get(254, 0) & 5:
            raise ValueError(f'mode of {pages} pages, of which one would be read: not RGB or grey')
    im.seek(0)

def unknown_format(data:bytes, # of a file that Pillow does not know
                  ) -> str:
    "What such a file is, in a few words."
    if data.startswith(b'version https://git-lfs'): return 'a pointer of Git LFS, and no image'
    if data.lstrip()[:1] == b'<': return 'a web page or other text, and no image'
    if not data.startswith(MAGIC): return 'no image'
    try: bands = read_bands(data)
    except Exception: return 'no image' # a broken file fails in many ways
    return f'mode of {bands.shape[-1]} bands of {bands.dtype}: not RGB or grey'

# ---- the competition's TIFFs, for figures ------------------------------------------------------------------------

BLUE, GREEN, RED, NIR = range(4)

# Black and white for each band: 1.25 standard deviations below the mean of the training TIFFs, and 3 above it, rounded.
# Competitors published those means (4953, 4238, 3039, 6387) and deviations (1693, 1528, 1576, 1805).
LIMITS = np.array([[2800, 2300, 1100, 4100], [10000, 8800, 7800, 11800]])

def open_tif(path, # a TIFF of four bands of uint16
            ) -> np.ndarray: # uint16, `(height, width, 4)`: blue, green, red, near infrared
    "Read all four bands as they are. Raises `UserError` for a file that cannot be read, or holds anything else."
    try:
        with open_regular(path) as f: bands = read_bands(f.read())
    # a broken file fails in many ways: TiffFileError, ValueError, struct.error, IndexError
    except Exception as e: raise UserError(f"{path} cannot be read as a TIFF ({why_unreadable(e)})") from None
    if bands.ndim != 3 or bands.shape[2] != 4 or bands.dtype != np.uint16:
        raise UserError(f"{path} has the shape {bands.shape} in {bands.dtype}: "
                        "the competition's TIFFs are (height, width, 4) in uint16")
    return bands

def tif_rgb(tif, # path, or what `open_tif` gave
            limits=LIMITS, # the values `(2, 4)` of black and of white in each band; None: this chip's own range
           ) -> np.ndarray: # uint8, `(height, width, 3)`
    """A TIFF of four bands in true colour: red, green, blue.

    The sensor's range is made for clouds, and a forest fills a small part of it: shown as they are, the numbers are
    black. By default all chips are stretched by the same `limits`, so that two can be compared and a cloud stays white.
    A chip's own range shows more of a chip on another scale, but turns clouds grey and amplifies the noise of a forest.
    """
    return _picture(tif, [RED, GREEN, BLUE], limits)

def tif_false_colour(tif, limits=LIMITS, # as in `tif_rgb`
                    ) -> np.ndarray: # uint8, `(height, width, 3)`
    "A TIFF in false colour: near infrared as red, red as green, green as blue. Leaves are red, water is dark."
    return _picture(tif, [NIR, RED, GREEN], limits)

def _picture(tif, bands, limits):
    chip = (tif if isinstance(tif, np.ndarray) else open_tif(tif))[..., bands].astype(np.float32)
    if limits is None:
        seen = chip[chip.any(-1)] if chip.any() else chip.reshape(-1, 3) # a pixel of zeros lies outside the scene
        low, high = np.percentile(seen, (2, 98), axis=0)
        # Each band begins at its own dark, since the air adds light, most of it blue; then all share the widest range,
        # or a plain forest would turn grey and its noise into colour
        high = low + max((high-low).max(), .1*low.max(), 1)
    else: low, high = np.asarray(limits)[:, bands]
    return scale_bands(chip, (low, high))
