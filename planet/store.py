"Decode each chip once, then serve it from memory: the fast path under a `DataLoaders`."
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import os
import numpy as np, torch
from PIL import Image, ImageOps

__all__ = ['open_chip', 'ChipStore']

def open_chip(chip, # path of an image file, a PIL image, or a uint8 array `(height, width, 3)`
              size:int, # height and width to return, in pixels; a chip that is not square is cropped around its centre
             ) -> torch.Tensor: # uint8, `(3, size, size)`, RGB
    "Decode a chip and scale it. The competition's JPEGs have four components (CMYK with K = 0): `convert` makes them right."
    im = Image.fromarray(chip) if isinstance(chip, np.ndarray) else chip if isinstance(chip, Image.Image) else Image.open(chip)
    # libjpeg scales by 1/2, 1/4 or 1/8 while it decodes, which spares most of the decoding
    if im.format == 'JPEG': im.draft(None, (size, size))
    im = im.convert('RGB')
    if im.size != (size, size): im = ImageOps.fit(im, (size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(im)).permute(2, 0, 1).contiguous()

def _free_memory():
    "Bytes of memory that can be had, where the system tells; else a cautious 4 GB."
    try: return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (ValueError, OSError, AttributeError): return 4e9

class ChipStore:
    """Chips of one size, decoded once and kept as one uint8 tensor.

    Every file is read to its end, so that a broken one is found now and not in the third epoch: `bad` maps its path to
    what is wrong with it. Chips that would take more than a third of the free memory are checked but not kept, and are
    decoded again whenever they are asked for.
    """
    def __init__(self, paths:list, # image files
                 size:int, # height and width of a chip, in pixels
                 progress=lambda items, total: items, # wraps the iterable of chips, to show progress
                 workers:int=0, # decoding threads; 0: one a core
                ):
        self.size, self.bad, self.rows = size, {}, {}
        paths = [Path(p) for p in paths]
        keep = len(paths)*3*size**2 < _free_memory()/3
        self.pixels = torch.empty((len(paths) if keep else 0, 3, size, size), dtype=torch.uint8)
        def read(i):
            try: return i, open_chip(paths[i], size), None
            # Pillow has no one exception for a broken file: OSError, SyntaxError (PNG), ValueError, struct.error
            except Exception as e: return i, None, e
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            for i, pixels, error in progress(pool.map(read, range(len(paths))), len(paths)):
                if error is not None: self.bad[paths[i]] = f'{type(error).__name__}: {error}'
                elif keep: self.pixels[i], self.rows[paths[i]] = pixels, i

    def __getitem__(self, chip) -> torch.Tensor: # uint8, `(3, size, size)`
        "The pixels of `chip`, from memory where it is known, else decoded."
        row = self.rows.get(chip) if isinstance(chip, Path) else None
        return open_chip(chip, self.size) if row is None else self.pixels[row]

    # A learner that is exported takes the way of decoding with it, not the chips
    def __getstate__(self): return dict(size=self.size, bad={}, rows={}, pixels=torch.empty(0))
