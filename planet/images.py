"""Decode image files, in one way for training and for `verify`; decode each chip once; find equal pixels.

Torch is imported where a tensor is made: `planet-data verify` reads images without it.
"""
import hashlib
import io
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from planet.cli import UserError, progress
from planet.files import open_regular, why_unreadable
from planet.quality import check_duplicates, check_images, notes
from planet.tiffs import check_tiff, read_bands, scale_bands, unknown_format

__all__ = ['ImageInfo', 'read_info', 'read_infos', 'groups', 'same_pixels', 'as_rgb', 'TAKES', 'open_chip', 'ChipStore',
           'check_chips', 'leaving_data_behind']

def groups(items, key) -> list[list]:
    "`items` in lists of the same `key`."
    found = defaultdict(list)
    for item in items: found[key(item)].append(item)
    return list(found.values())

# ---- a file ------------------------------------------------------------------------------------------------------

class ImageInfo(NamedTuple):
    "What one image file is, and hashes to compare it by."
    bad: str='' # why it cannot be read
    odd: str='' # why it may be damaged, though it can be read
    size: str=''
    mode: str='' # as Pillow names it
    format: str='' # as Pillow names it
    file: bytes=b'' # hash of its bytes
    top: int=255 # its highest value, where 16 bits may be half empty
    picture: bytes=b'' # hash of its size and pixels; a JPEG's as they were decoded, at a fraction of its size

def _hash(data): return hashlib.blake2b(data, digest_size=16).digest()

# modes that Pillow converts to RGB correctly
PLAIN = '1', 'L', 'LA', 'La', 'P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'CMYK', 'YCbCr'

TURNS = dict(zip(range(2, 9), map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)))) # EXIF orientation -> what makes it upright

def as_rgb(im):
    """`im` in mode RGB, upright as its EXIF orientation says.

    `ValueError` for modes whose values have no known range or that Pillow converts wrongly.
    """
    rgb = _rgb(im)
    try: turn = TURNS.get(im.getexif().get(0x0112))
    except Exception: turn = None # damaged EXIF data fail in many ways
    return rgb if turn is None else rgb.transpose(turn)

def _rgb(im):
    if im.mode in PLAIN: return im.convert('RGB')
    # Pillow clips such values at 255; 257 divides 65535 into 255. Older versions call a PNG's 16 bits `I`
    if im.mode.startswith('I;16') or im.mode == 'I' and im.format == 'PNG':
        return Image.fromarray(_8_bits(np.asarray(im))).convert('RGB')
    numbers = dict(F='floats', I='integers').get(im.mode)
    raise ValueError(f"mode {im.mode}: {f'32-bit {numbers} without a stated range' if numbers else 'not RGB or grey'}")

def _8_bits(pixels): return ((pixels.astype(np.uint32)+128)//257).astype(np.uint8)

def _decode(data, size=None, limits=None):
    """Decode a file's bytes to `(picture in RGB, size, mode, format)`; many kinds of exceptions where they are broken.

    With `size`, a JPEG is decoded at the smallest fraction (1/2, 1/4 or 1/8) that is at least so large: libjpeg skips
    most of the inverse transform, but still reads all of the compressed data, and finds what is cut short just as well.
    """
    if not data: raise ValueError('empty file')
    if limits is not None:
        bands = read_bands(data)
        height, width, n = bands.shape
        return scale_bands(bands, limits), f'{width}x{height}', f'{n} bands of {bands.dtype}', 'bands'
    try: im = Image.open(io.BytesIO(data))
    except UnidentifiedImageError: raise ValueError(unknown_format(data)) from None
    if im.format == 'TIFF': check_tiff(im)
    whole, mode, form = f'{im.width}x{im.height}', im.mode, im.format
    if size and form == 'JPEG': im.draft(None, (size, size))
    return as_rgb(im), whole, mode, form

def _read(path, size=None, limits=None):
    "Read a file to its end and decode it, as `_decode` does: `(picture or None, info)`."
    try:
        with open_regular(path) as f: data = f.read()
        picture, whole, mode, form = _decode(data, size, limits)
    # Pillow has no one exception for a broken file: OSError, SyntaxError (PNG), ValueError, struct.error
    except Exception as e: return None, ImageInfo(why_unreadable(e))
    jpeg = form == 'JPEG'
    scan = data.rfind(b'\xff\xda') if jpeg else -1 # start of a JPEG's last scan
    ended = data.rfind(b'\xff\xd9') > scan if jpeg else form != 'PNG' or b'IEND' in data
    # Pillow forgives the last bytes; and a block that was never written is full of zeros
    zeros = jpeg and data.find(bytes(4096), scan) >= 0
    odd = 'no end mark' if not ended else '4,096 zero bytes in a row' if zeros else ''
    top = 255 if jpeg or limits is not None else max(high for _, high in picture.getextrema())
    return picture, ImageInfo('', odd, whole, mode, form, _hash(data), top, _hash(whole.encode() + picture.tobytes()))

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

def same_pixels(paths, # image files
                infos=None, # an `ImageInfo` of each, all decoded at one size, where they are known: spares a reading
                workers:int=0, # threads; 0: one a core
               ) -> np.ndarray: # for each path the position of the first one with equal pixels, most often its own
    """Find duplicate images: equal size and pixels, whatever the bytes and the format; an unreadable file has none.

    Only JPEGs whose small decoded pictures agree are decoded in full and compared.
    """
    paths = list(paths)
    infos = read_infos(paths, workers) if infos is None else infos
    first = np.arange(len(paths))
    read = [i for i, o in enumerate(infos) if not o.bad]
    # a JPEG's small picture says nothing of a PNG's: where both have one size, all of them are compared
    sizes = [{infos[i].size for i in read if (infos[i].format == 'JPEG') == jpeg} for jpeg in (True, False)]
    candidates = groups(read, lambda i: infos[i].size if infos[i].size in sizes[0] & sizes[1] else infos[i].picture)
    files = [groups(rows, lambda i: infos[i].file) for rows in candidates if len(rows) > 1]
    jpegs = [same[0] for one in files if len(one) > 1 for same in one if infos[same[0]].format == 'JPEG']
    decoded = _in_threads(lambda i: _read(paths[i])[1].picture or i, jpegs, workers, progress, 'comparing images')
    whole = dict(zip(jpegs, decoded))
    for one in files:
        for same in groups(one, lambda rows: whole.get(rows[0], infos[rows[0]].picture)):
            rows = sorted(sum(same, []))
            first[rows] = rows[0]
    return first

# ---- a chip, and all chips ---------------------------------------------------------------------------------------

TAKES = ("a path, the bytes of an image file, an open file, a PIL image, an array (height, width) or (height, width, "
         "1, 3 or 4), or a tensor (1, 3 or 4, height, width), of whole numbers from 0 to 255, of uint16, or of floats "
         "between 0 and 1")

def _of_array(pixels):
    "An array of grey, RGB or RGBA pixels as a Pillow image in RGB."
    if pixels.ndim == 3 and pixels.shape[2] == 1: pixels = pixels[..., 0]
    if not pixels.size or pixels.ndim not in (2, 3) or pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        raise ValueError(f'an array of the shape {pixels.shape} is no image: a chip is {TAKES}')
    if pixels.dtype.kind not in 'buif': raise ValueError(f'{pixels.dtype} is no image: a chip is {TAKES}')
    low, high, kind = pixels.min(), pixels.max(), pixels.dtype
    if kind == bool: pixels = pixels*np.uint8(255)
    elif kind.newbyteorder('=') == np.uint16: pixels = _8_bits(pixels)
    elif not (0 <= low and high <= (1 if kind.kind == 'f' else 255)): # NaN as well
        raise ValueError(f'values of {kind} from {low} to {high} are no image: a chip is {TAKES}')
    elif kind.kind == 'f': pixels = (pixels.astype(np.float32)*255).round()
    return as_rgb(Image.fromarray(pixels.astype(np.uint8)))

def _bytes_of(file):
    "All bytes of an open file, whose position stays."
    at = file.tell()
    file.seek(0)
    try: return file.read()
    finally: file.seek(at)

def open_chip(chip, # path, bytes, open file, PIL image, array `(height, width, 3)` or tensor `(3, height, width)`
              size:int, # height and width to return, in pixels; a chip that is not square is cropped around its centre
              limits=None, # values `(2, bands)` that become 0 and 255, for images that are not RGB of 8 bits
             ): # uint8 tensor, `(3, size, size)`, RGB; with `limits`, `(bands, size, size)`
    """Decode a chip and scale it; what is given stays as it is. Floats are between 0 and 1.

    The competition's JPEGs have four components (CMYK with K = 0), which Pillow converts correctly. A JPEG file is
    scaled by libjpeg while it is decoded; other pixels are averaged by the same factor, and differ by 0.16 of 255.
    """
    if hasattr(chip, 'is_floating_point'): # a tensor
        if limits is None and chip.ndim == 3 and chip.shape[0] not in (1, 3, 4):
            raise ValueError(f'a tensor of the shape {tuple(chip.shape)} is no image: a chip is {TAKES}')
        chip = chip.detach().cpu()
        chip = (chip.float() if chip.is_floating_point() else chip).numpy()
        if chip.ndim == 3: chip = chip.transpose(1, 2, 0)
    if isinstance(chip, np.ndarray):
        return _tensor(_of_array(chip) if limits is None else scale_bands(chip, limits), size)
    if isinstance(chip, (str, os.PathLike)):
        picture, info = _read(chip, size, limits)
        if info.bad: raise UserError(f'{chip} cannot be read: {info.bad}')
        return _tensor(picture, size)
    if isinstance(chip, Image.Image):
        # a JPEG that was opened and not decoded yet: as its file
        waiting = chip.format == 'JPEG' and getattr(chip, 'tile', None) and getattr(chip, 'fp', None)
        if not waiting: return _tensor(as_rgb(chip), size)
        chip = chip.fp
    if isinstance(chip, (bytes, bytearray, memoryview)): data = bytes(chip)
    elif hasattr(chip, 'seek'): data = _bytes_of(chip)
    else: raise TypeError(f'{type(chip).__name__} is no image: a chip is {TAKES}')
    try: return _tensor(_decode(data, size, limits)[0], size)
    except Exception as e:
        raise UserError(f'the image of {len(data):,} bytes cannot be read: {why_unreadable(e)}') from None

def open_image(path) -> Image.Image: # in mode RGB
    "Decode a photograph in full, upright as its EXIF orientation says. Raises `UserError` where it cannot be read."
    picture, info = _read(path)
    if info.bad: raise UserError(f'{path} cannot be read: {info.bad}')
    return picture

def _scaled(picture, size):
    "A Pillow image as an array of `size`."
    factor = next(f for f in (8, 4, 2, 1) if f == 1 or min(picture.size)//size >= f) # as libjpeg's
    if factor > 1: picture = picture.reduce(factor)
    if picture.size != (size, size): picture = ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR)
    return np.array(picture)

def _tensor(picture, size):
    "A Pillow image, or an array `(height, width, bands)`, as a tensor of `size`."
    import torch
    if isinstance(picture, Image.Image): pixels = _scaled(picture, size)
    else: pixels = np.stack([_scaled(Image.fromarray(b.copy()), size) for b in np.moveaxis(picture, 2, 0)], 2)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

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
                 progress=lambda items, total, label: items, # shows progress over the chips: `planet.cli.progress`
                 workers:int=0, # decoding threads; 0: one a core
                 limits=None, # of images that are not RGB of 8 bits, as in `open_chip`: `chips.limits`
                ):
        import torch
        self.size, self.limits, self.bad, self.rows, self.infos = size, limits, {}, {}, {}
        paths, bands = [Path(p) for p in paths], 3 if limits is None else len(limits[0])
        keep = len(paths)*bands*size**2 < _free_memory()/3
        self.pixels = torch.empty((len(paths) if keep else 0, bands, size, size), dtype=torch.uint8)
        def read(path):
            picture, info = _read(path, size, limits)
            return None if info.bad else _tensor(picture, size), info
        for i, (pixels, info) in enumerate(_in_threads(read, paths, workers, progress, 'decoding chips')):
            self.infos[paths[i]] = info
            if info.bad: self.bad[paths[i]] = info.bad
            elif keep: self.pixels[i], self.rows[paths[i]] = pixels, i

    def __getitem__(self, chip): # uint8 tensor, `(3, size, size)`, or as many bands as `limits` has
        "The pixels of `chip`, from memory where it is known, else decoded."
        row = self.rows.get(Path(chip)) if isinstance(chip, (str, Path)) else None
        return open_chip(chip, self.size, self.limits) if row is None else self.pixels[row]

    # Worker processes that are started afresh need the chips; an exported learner takes the way of decoding alone
    def __getstate__(self):
        if not leaving_data_behind.on: return self.__dict__
        return dict(size=self.size, limits=self.limits, bad={}, rows={}, infos={}, pixels=self.pixels[:0].clone())

def check_chips(chips, # from `from_folder`
                store:ChipStore, # the same chips, decoded
                skip_bad:bool=False, # leave chips out that cannot be read, rather than raise?
               ): # the chips that can be read, a column `same` in their table, and `notes`
    """Check what decoding has found, as `verify` does: unreadable files, damage, sizes, modes, duplicates.

    The column `same` names the first chip with equal pixels. Raises `UserError` for chips that cannot be read.
    """
    left = chips.without(store.bad, skip_bad)
    infos, names = [store.infos[p] for p in left.paths], list(left.table.image_name)
    first = same_pixels(left.paths, infos)
    found = [*check_images(names, infos), check_duplicates(names, list(left.table.tags), first)]
    return replace(left, table=left.table.assign(same=[names[f] for f in first]), notes=left.notes + notes(found))

class LeavingDataBehind:
    "A context in which stores and labels pickle without their data, as an exported learner carries them; `on` within."
    on = False
    def __enter__(self): self.on = True
    def __exit__(self, *error): self.on = False

leaving_data_behind = LeavingDataBehind()
