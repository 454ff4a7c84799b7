"""Decode image files: one way for training and for `verify`; a store that decodes each chip once; equal pixels; TIFFs of four bands.

Torch is imported where a tensor is made: `planet-data verify` reads images without it.
"""
import hashlib, io, logging, os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
import numpy as np
from PIL import Image, ImageOps
from planet.cli import UserError, progress
from planet.files import open_regular, why_unreadable

__all__ = ['ImageInfo', 'read_info', 'read_infos', 'groups', 'same_pixels', 'TAKES', 'open_chip', 'ChipStore', 'leaving_data_behind', 'open_tif',
           'tif_rgb', 'tif_false_colour']

def groups(items, key) -> list[list]:
    "`items` in lists of the same `key`."
    found = defaultdict(list)
    for item in items: found[key(item)].append(item)
    return list(found.values())

# ---- a file ------------------------------------------------------------------------------------------------------

class ImageInfo(NamedTuple):
    "What one image file is."
    bad: str='' # why it cannot be read
    odd: str='' # why it may be damaged, though it can be read
    size: str=''
    mode: str='' # as Pillow names it
    format: str='' # as Pillow names it
    file: bytes=b'' # hash of its bytes
    picture: bytes=b'' # hash of its size and of its pixels as they were decoded, a JPEG's at a fraction of its size

def _hash(data): return hashlib.blake2b(data, digest_size=16).digest()

PLAIN = '1', 'L', 'LA', 'La', 'P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'CMYK', 'YCbCr' # modes that Pillow turns into RGB as meant

def _rgb(im):
    "`im` in mode RGB; `ValueError` for modes whose values have no known range or that Pillow converts wrongly."
    if im.mode in PLAIN: return im.convert('RGB')
    # Pillow clips such values at 255; 257 divides 65535 into 255. Older versions call a PNG's 16 bits `I`
    if im.mode.startswith('I;16') or im.mode == 'I' and im.format == 'PNG':
        return Image.fromarray(((np.asarray(im).astype(np.uint32)+128)//257).astype(np.uint8)).convert('RGB')
    what = {'F': '32-bit floats without a stated range', 'I': '32-bit integers without a stated range'}.get(im.mode, 'not RGB or grey')
    raise ValueError(f'mode {im.mode}: {what}')

def _decode(data, size=None):
    """A file's bytes decoded: `(picture in RGB, size, mode, format)`; many kinds of exceptions where they are no whole image.

    With `size`, a JPEG is decoded at the smallest fraction (1/2, 1/4 or 1/8) that is at least so large: libjpeg skips most of
    the inverse transform, but still reads all of the compressed data, so that it finds what is cut short just as well.
    """
    if not data: raise ValueError('empty file')
    im = Image.open(io.BytesIO(data))
    tags = getattr(im, 'tag_v2', {})
    bits, bands = max(np.atleast_1d(tags.get(258, 1)).tolist()), tags.get(277, 1)
    if bands > 3 and bits > 8: raise ValueError(f'mode of {bands} bands of {bits} bits: not RGB or grey')
    whole, mode, form = f'{im.width}x{im.height}', im.mode, im.format
    if size and form == 'JPEG': im.draft(None, (size, size))
    return _rgb(im), whole, mode, form

def _read(path, size=None):
    "Read a file to its end and decode it, as `_decode` does: `(picture in RGB or None, info)`."
    try:
        with open_regular(path) as f: data = f.read()
        rgb, whole, mode, form = _decode(data, size)
    # Pillow has no one exception for a broken file: OSError, SyntaxError (PNG), ValueError, struct.error
    except Exception as e: return None, ImageInfo(why_unreadable(e))
    jpeg = form == 'JPEG'
    scan = data.rfind(b'\xff\xda') if jpeg else -1 # start of a JPEG's last scan
    ended = data.rfind(b'\xff\xd9') > scan if jpeg else form != 'PNG' or b'IEND' in data
    # Pillow forgives the last bytes; and a block that was never written is full of zeros
    odd = 'no end mark' if not ended else '4,096 zero bytes in a row' if jpeg and data.find(bytes(4096), scan) >= 0 else ''
    return rgb, ImageInfo('', odd, whole, mode, form, _hash(data), _hash(whole.encode() + rgb.tobytes()))

def _in_threads(read, items, workers, progress, label):
    "`read` of each item, in order. Threads: Pillow and hashing let go of the interpreter's lock."
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try: yield from progress(pool.map(read, items), len(items), label)
    finally: pool.shutdown(cancel_futures=True) # Ctrl-C should not wait for 40,000 files

def read_info(path) -> ImageInfo:
    "Read a file to its end, a JPEG at an eighth of its size, and tell what it is."
    return _read(path, 1)[1]

def read_infos(paths, # image files
               workers:int=0, # threads; 0: one a core
              ) -> list[ImageInfo]:
    "Read every file to its end, and tell what it is; shows progress."
    return list(_in_threads(read_info, list(paths), workers, progress, 'reading images'))

def _whole_picture(path):
    rgb, info = _read(path)
    return None if info.bad else info.picture

def same_pixels(paths, # image files
                infos=None, # an `ImageInfo` of each, all from one way of decoding, where they are known: spares a reading
                workers:int=0, # threads; 0: one a core
               ) -> np.ndarray: # for each path the position of the first one with equal pixels, which is most often its own
    """Find duplicate images: equal size and equal pixels in RGB, whatever the bytes and the format. An unreadable file has no duplicate.

    Only files whose small decoded pictures agree are decoded in full and compared.
    """
    paths = list(paths)
    infos = read_infos(paths, workers) if infos is None else infos
    first = np.arange(len(paths))
    read = [i for i, o in enumerate(infos) if not o.bad]
    # a JPEG's small picture says nothing of a PNG's: where both have one size, all of them are compared
    mixed = {infos[i].size for i in read if infos[i].format == 'JPEG'} & {infos[i].size for i in read if infos[i].format != 'JPEG'}
    candidates = groups(read, lambda i: infos[i].size if infos[i].size in mixed else infos[i].picture)
    files = [groups(rows, lambda i: infos[i].file) for rows in candidates if len(rows) > 1]
    compared = [same[0] for one in files if len(one) > 1 for same in one]
    whole = dict(zip(compared, _in_threads(_whole_picture, [paths[i] for i in compared], workers, progress, 'comparing images')))
    for one in files:
        for same in groups(one, lambda rows: whole.get(rows[0], rows[0]) or rows[0]):
            rows = sorted(sum(same, []))
            first[rows] = rows[0]
    return first

# ---- a chip, and all chips ---------------------------------------------------------------------------------------

TAKES = ("a path, the bytes of an image file, an open file, a PIL image, an array (height, width) or (height, width, 1, 3 or 4), or a tensor "
         "(1, 3 or 4, height, width), of whole numbers from 0 to 255, of uint16, or of floats between 0 and 1")

def _of_array(pixels):
    "An array of grey, RGB or RGBA pixels as a Pillow image in RGB."
    if pixels.ndim == 3 and pixels.shape[2] == 1: pixels = pixels[..., 0]
    if not pixels.size or pixels.ndim not in (2, 3) or pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        raise ValueError(f'an array of the shape {pixels.shape} is no image: a chip is {TAKES}')
    low, high, kind = pixels.min(), pixels.max(), pixels.dtype
    if kind == bool: pixels = pixels*np.uint8(255)
    elif kind == np.uint16: pixels = (pixels.astype(np.uint32)+128)//257
    elif not (0 <= low and high <= (1 if kind.kind == 'f' else 255)): # NaN as well
        raise ValueError(f'values of {kind} from {low} to {high} are no image: a chip is {TAKES}')
    elif kind.kind == 'f': pixels = (pixels.astype(np.float32)*255).round()
    return _rgb(Image.fromarray(pixels.astype(np.uint8)))

def _bytes_of(file):
    "All bytes of an open file, whose position stays."
    at = file.tell()
    file.seek(0)
    try: return file.read()
    finally: file.seek(at)

def open_chip(chip, # what `TAKES` says: a path, bytes, an open file, a PIL image, an array `(height, width, 3)` or a tensor `(3, height, width)`
              size:int, # height and width to return, in pixels; a chip that is not square is cropped around its centre
             ): # uint8 tensor, `(3, size, size)`, RGB
    """Decode a chip and scale it; what is given stays as it is. Floats are between 0 and 1.

    The competition's JPEGs have four components (CMYK with K = 0), which Pillow converts correctly. A JPEG file is scaled by
    libjpeg while it is decoded; other pixels are averaged by the same factor, which differs by a sixth of a grey level.
    """
    if hasattr(chip, 'is_floating_point'): # a tensor
        if chip.ndim == 3 and chip.shape[0] not in (1, 3, 4): raise ValueError(f'a tensor of the shape {tuple(chip.shape)} is no image: a chip is {TAKES}')
        chip = chip.detach().cpu()
        chip = (chip.float() if chip.is_floating_point() else chip).numpy()
        if chip.ndim == 3: chip = chip.transpose(1, 2, 0)
    if isinstance(chip, np.ndarray): return _tensor(_of_array(chip), size)
    if isinstance(chip, (str, os.PathLike)):
        rgb, info = _read(chip, size)
        if info.bad: raise UserError(f'{chip} cannot be read: {info.bad}')
        return _tensor(rgb, size)
    if isinstance(chip, Image.Image):
        # a JPEG that was opened and not decoded yet: as its file
        waiting = chip.format == 'JPEG' and getattr(chip, 'tile', None) and getattr(chip, 'fp', None)
        if not waiting: return _tensor(_rgb(chip), size)
        chip = chip.fp
    data = bytes(chip) if isinstance(chip, (bytes, bytearray, memoryview)) else _bytes_of(chip) if hasattr(chip, 'seek') else None
    if data is None: raise TypeError(f'{type(chip).__name__} is no image: a chip is {TAKES}')
    try: return _tensor(_decode(data, size)[0], size)
    except Exception as e: raise UserError(f'the image of {len(data):,} bytes cannot be read: {why_unreadable(e)}') from None

def _tensor(rgb, size):
    import torch
    factor = next(f for f in (8, 4, 2, 1) if f == 1 or min(rgb.size)//size >= f) # as libjpeg's
    if factor > 1: rgb = rgb.reduce(factor)
    if rgb.size != (size, size): rgb = ImageOps.fit(rgb, (size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1).contiguous()

def _free_memory():
    "Bytes of memory that can be had, where the system tells; else a cautious 4 GB."
    try: return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (ValueError, OSError, AttributeError): return 4e9

class ChipStore:
    """Chips of one size, decoded once and kept in memory as one uint8 tensor: the input of a `DataLoaders`.

    Every file is read to its end, so that a broken one is found now and not in the third epoch: `bad` maps its path to
    what is wrong with it, and `infos` each path to its `ImageInfo`. Chips that would take more than a third of the free
    memory are checked but not kept, and are decoded again whenever they are asked for.
    """
    def __init__(self, paths:list, # image files
                 size:int, # height and width of a chip, in pixels
                 progress=lambda items, total, label: items, # wraps the iterable of chips, to show progress: `planet.cli.progress`
                 workers:int=0, # decoding threads; 0: one a core
                ):
        import torch
        self.size, self.bad, self.rows, self.infos = size, {}, {}, {}
        paths = [Path(p) for p in paths]
        keep = len(paths)*3*size**2 < _free_memory()/3
        self.pixels = torch.empty((len(paths) if keep else 0, 3, size, size), dtype=torch.uint8)
        def read(path):
            rgb, info = _read(path, size)
            return None if info.bad else _tensor(rgb, size), info
        for i, (pixels, info) in enumerate(_in_threads(read, paths, workers, progress, 'decoding chips')):
            self.infos[paths[i]] = info
            if info.bad: self.bad[paths[i]] = info.bad
            elif keep: self.pixels[i], self.rows[paths[i]] = pixels, i

    def __getitem__(self, chip): # uint8 tensor, `(3, size, size)`
        "The pixels of `chip`, from memory where it is known, else decoded."
        row = self.rows.get(Path(chip)) if isinstance(chip, (str, Path)) else None
        return open_chip(chip, self.size) if row is None else self.pixels[row]

    # Worker processes that are started afresh need the chips; an exported learner takes the way of decoding alone
    def __getstate__(self):
        if not leaving_data_behind.on: return self.__dict__
        return dict(size=self.size, bad={}, rows={}, infos={}, pixels=self.pixels[:0].clone())

class LeavingDataBehind:
    "A context in which stores and labels pickle without their data, as an exported learner carries them. `on`: is it entered?"
    on = False
    def __enter__(self): self.on = True
    def __exit__(self, *error): self.on = False

leaving_data_behind = LeavingDataBehind()

# ---- the competition's TIFFs, for figures ------------------------------------------------------------------------

BLUE, GREEN, RED, NIR = range(4)

# Black and white for each band: 1.25 standard deviations below the mean of the training TIFFs, and 3 above it, rounded.
# Competitors published those means (4953, 4238, 3039, 6387) and deviations (1693, 1528, 1576, 1805).
LIMITS = np.array([[2800, 2300, 1100, 4100], [10000, 8800, 7800, 11800]])

def open_tif(path, # a TIFF of four bands of uint16
            ) -> np.ndarray: # uint16, `(height, width, 4)`: blue, green, red, near infrared
    "Read all four bands as they are. Raises `UserError` for a file that cannot be read, or holds anything else."
    import tifffile
    log = logging.getLogger('tifffile') # it also says in a line of its own what it then raises
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        bands = tifffile.imread(path)
        if not bands.size: raise ValueError('no picture in it')
    # a broken file fails in many ways: TiffFileError, ValueError, struct.error, IndexError
    except Exception as e: raise UserError(f"{path} cannot be read as a TIFF ({' '.join(str(e).split()) or type(e).__name__})") from None
    finally: log.setLevel(level)
    if bands.ndim == 3 and len(bands) == 4 != bands.shape[2]: bands = bands.transpose(1, 2, 0) # a plane a band
    if bands.ndim != 3 or bands.shape[2] != 4 or bands.dtype != np.uint16:
        raise UserError(f"{path} has the shape {bands.shape} in {bands.dtype}: the competition's TIFFs are (height, width, 4) in uint16")
    return bands

def tif_rgb(tif, # path, or what `open_tif` gave
            limits=LIMITS, # the values `(2, 4)` of black and of white in each band; None: this chip's own range
           ) -> np.ndarray: # uint8, `(height, width, 3)`
    """What the eye would see.

    The sensor's range is made for clouds, and a forest fills a small part of it: shown as they are, the numbers are black.
    By default all chips are stretched by the same `limits`, so that two can be compared, haze stays haze and a cloud white.
    A chip's own range shows more of a chip on another scale, but turns clouds grey and the grain of a plain forest harsh.
    """
    return _picture(tif, [RED, GREEN, BLUE], limits)

def tif_false_colour(tif, limits=LIMITS, # as in `tif_rgb`
                    ) -> np.ndarray: # uint8, `(height, width, 3)`
    "Near infrared as red, red as green, green as blue: living leaves reflect the infrared and glow red, water swallows it."
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
    return (255*((chip-low)/(high-low)).clip(0, 1)).round().astype(np.uint8)
