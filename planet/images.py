"""Decode image files, in one way for training, inference and `verify`; find duplicate images by their pixels.

Torch is imported where a tensor is made: `planet-data verify` and `planet.store` read images without it.
"""
import hashlib
import io
import os
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from planet.cli import UserError, progress
from planet.files import open_regular, why_unreadable
from planet.quality import check_duplicates, check_images, notes
from planet.tiffs import check_tiff, read_bands, scale_bands, unknown_format

__all__ = ['ImageInfo', 'hash_file', 'cores', 'in_threads', 'read_info', 'read_infos', 'groups', 'same_pixels',
           'as_rgb', 'TAKES', 'decode_chip', 'decode_file', 'scale_picture', 'open_chip', 'open_image', 'check_chips',
           'leaving_data_behind']

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

def hash_file(path) -> bytes:
    "The hash of a file's bytes, as `ImageInfo.file` has it; nothing where it cannot be read."
    try:
        with open_regular(path) as f: return _hash(f.read())
    except OSError: return b''

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

def _decode(data, limits=None, small=False):
    """Decode a file's bytes to `(picture in RGB, size, mode, format)`; many kinds of exceptions where they are broken.

    With `small` a JPEG is decoded at an eighth of its size: libjpeg skips most of the inverse transform, but still
    reads all of the compressed data, and finds what is cut short just as well. """
    if not data: raise ValueError('empty file')
    if limits is not None:
        bands = read_bands(data)
        height, width, n = bands.shape
        return scale_bands(bands, limits), f'{width}x{height}', f'{n} bands of {bands.dtype}', 'bands'
    try: im = Image.open(io.BytesIO(data))
    except UnidentifiedImageError: raise ValueError(unknown_format(data)) from None
    if im.format == 'TIFF': check_tiff(im)
    whole, mode, form = f'{im.width}x{im.height}', im.mode, im.format
    if small and form == 'JPEG': im.draft(None, (1, 1))
    return as_rgb(im), whole, mode, form

def _read(path, limits=None, small=False):
    "Read a file to its end and decode it, as `_decode` does: `(picture or None, info)`."
    try:
        with open_regular(path) as f: data = f.read()
        picture, whole, mode, form = _decode(data, limits, small)
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

def cores() -> int:
    "How many cores this process may use: containers and job schedulers give a process fewer than there are."
    try: return len(os.sched_getaffinity(0))
    except AttributeError: return os.cpu_count() or 1 # not on Windows or macOS

def in_threads(read, # called with each item; Pillow and hashing let go of the interpreter's lock
               items, # any iterable: it is not read far ahead of the results
               workers:int=0, # threads; 0: one a core
               ahead:int=256, # results that may wait for their consumer, so that memory stays flat
              ): # yields the results, in order
    "Map a function over items in threads, in order, with bounded memory; Ctrl-C does not wait for what is left."
    pool, waiting, items = ThreadPoolExecutor(workers or cores()), deque(), iter(items)
    try:
        while True:
            waiting.extend(pool.submit(read, item) for item in islice(items, ahead - len(waiting)))
            if not waiting: return
            yield waiting.popleft().result()
    finally: pool.shutdown(cancel_futures=True)

def read_info(path, limits=None) -> ImageInfo: # `limits` as in `open_chip`
    "Read a file to its end, a JPEG at an eighth of its size, and tell what it is."
    return _read(path, limits, small=True)[1]

def read_infos(paths, # image files
               workers:int=0, # threads; 0: one a core
               limits=None, # as in `open_chip`
              ) -> list[ImageInfo]:
    "Read every file to its end, and tell what it is; shows progress."
    read = read_info if limits is None else partial(read_info, limits=limits)
    return list(progress(in_threads(read, paths := list(paths), workers), len(paths), 'reading images'))

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
    decoded = in_threads(lambda i: _read(paths[i])[1].picture or i, jpegs, workers)
    whole = dict(zip(jpegs, progress(decoded, len(jpegs), 'comparing images')))
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

def decode_chip(chip, # as `open_chip` takes it
                size:int, limits=None, # as in `open_chip`
               ) -> np.ndarray: # uint8, `(bands, size, size)`
    "Decode a chip and scale it to a NumPy array, as `open_chip` does; torch is not imported."
    if hasattr(chip, 'is_floating_point'): # a tensor
        if limits is None and chip.ndim == 3 and chip.shape[0] not in (1, 3, 4):
            raise ValueError(f'a tensor of the shape {tuple(chip.shape)} is no image: a chip is {TAKES}')
        chip = chip.detach().cpu()
        chip = (chip.float() if chip.is_floating_point() else chip).numpy()
        if chip.ndim == 3: chip = chip.transpose(1, 2, 0)
    if isinstance(chip, np.ndarray):
        return _planes(_of_array(chip) if limits is None else scale_bands(chip, limits), size)
    if isinstance(chip, (str, os.PathLike)):
        try: # as `decode_file` does, without the hashes of `ImageInfo`, which take a third of its time
            with open_regular(chip) as f: return _planes(_decode(f.read(), limits)[0], size)
        except Exception as e: raise UserError(f'{chip} cannot be read: {why_unreadable(e)}') from None
    if isinstance(chip, Image.Image):
        # a JPEG that was opened and not decoded yet: as its file
        waiting = chip.format == 'JPEG' and getattr(chip, 'tile', None) and getattr(chip, 'fp', None)
        if not waiting: return _planes(as_rgb(chip), size)
        chip = chip.fp
    if isinstance(chip, (bytes, bytearray, memoryview)): data = bytes(chip)
    elif hasattr(chip, 'seek'): data = _bytes_of(chip)
    else: raise TypeError(f'{type(chip).__name__} is no image: a chip is {TAKES}')
    try: return _planes(_decode(data, limits)[0], size)
    except Exception as e:
        raise UserError(f'the image of {len(data):,} bytes cannot be read: {why_unreadable(e)}') from None

def decode_file(path, size:int, limits=None, # as in `open_chip`
               ) -> tuple: # uint8 array `(bands, size, size)` or `None`, and its `ImageInfo`
    "Read an image file to its end and decode it: the pixels at `size`, and what the file is or why it cannot be read."
    picture, info = _read(path, limits)
    return None if info.bad else _planes(picture, size), info

def open_chip(chip, # path, bytes, open file, PIL image, array `(height, width, 3)` or tensor `(3, height, width)`
              size:int, # height and width to return, in pixels; a chip that is not square is cropped around its centre
              limits=None, # values `(2, bands)` that become 0 and 255, for images that are not RGB of 8 bits
             ): # uint8 tensor, `(3, size, size)`, RGB; with `limits`, `(bands, size, size)`
    """Decode a chip and scale it; what is given stays as it is. Floats are between 0 and 1.

    The competition's JPEGs have four components (CMYK with K = 0), which Pillow converts correctly. A JPEG is decoded
    in full and then averaged by 2, 4 or 8: libjpeg could do both at once in 0.6 of the time, but rounds otherwise, and
    then a file and an array of its pixels would be tagged differently (19 of 200 chips at 128 px).
    """
    import torch
    return torch.from_numpy(decode_chip(chip, size, limits))

def open_image(path) -> Image.Image: # in mode RGB
    "Decode a photograph in full, upright as its EXIF orientation says. Raises `UserError` where it cannot be read."
    picture, info = _read(path)
    if info.bad: raise UserError(f'{path} cannot be read: {info.bad}')
    return picture

def scale_picture(picture:Image.Image,
                  size:int, # height and width of what is returned
                  crop:bool=True, # around the centre where the picture is not square; else it is stretched
                 ): # uint8 array `(size, size)` or `(size, size, bands)`
    "Scale a picture as every chip is: averaged by 8, 4 or 2, then bilinear."
    factor = next(f for f in (8, 4, 2, 1) if f == 1 or min(picture.size)//size >= f)
    if factor > 1: picture = picture.reduce(factor)
    resize = ImageOps.fit if crop else Image.Image.resize
    if picture.size != (size, size): picture = resize(picture, (size, size), Image.Resampling.BILINEAR)
    return np.array(picture)

def _planes(picture, size):
    "A Pillow image, or an array `(height, width, bands)`, as a contiguous array `(bands, size, size)`."
    if isinstance(picture, Image.Image): return np.ascontiguousarray(scale_picture(picture, size).transpose(2, 0, 1))
    return np.stack([scale_picture(Image.fromarray(b.copy()), size) for b in np.moveaxis(picture, 2, 0)])

def check_chips(chips, # from `from_folder`
                store, # the same chips, decoded: a `planet.store.ChipStore`
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

def __getattr__(name):
    if name == 'ChipStore': # moved to `planet.store`, which imports this module
        from importlib import import_module
        return import_module('planet.store').ChipStore
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
