"Decode every chip once and keep the pixels, in memory, in a file or on the GPU; decode ahead of a network."
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
import numpy as np
from planet.cli import UserError, say
from planet.distributed import process_count
from planet.images import cores, decode_chip, decode_file, in_threads, leaving_data_behind, open_chip
from planet.store_files import free_disk, make_room, open_file, store_folder

__all__ = ['PLACES', 'free_memory', 'ChipStore', 'decoded_batches']

PLACES = 'auto', 'memory', 'disk', 'gpu', 'none'
SMALL = 256e6 # bytes that are decoded again in a second or two: they go into memory, not into the cache

def _limit_of_container():
    "Bytes of memory that a container still lets its processes have."
    group = Path('/sys/fs/cgroup')
    try: return int((group/'memory.max').read_text()) - int((group/'memory.current').read_text())
    except (OSError, ValueError): return float('inf')

def free_memory() -> float:
    "Bytes of memory that can be had, where the system tells; else a cautious 4 GB."
    try: # memory that only holds copies of files is free as well
        with open('/proc/meminfo') as f: line = next(o for o in f if o.startswith('MemAvailable'))
        return min(1024*int(line.split()[1]), _limit_of_container())
    except (OSError, StopIteration, ValueError): pass
    try: return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (ValueError, OSError, AttributeError): return 4e9

def _amount(n): return f'{n/1e9:,.1f} GB' if n >= 1e9 else f'{n/1e6:,.0f} MB'

class ChipStore:
    """Chips of one size, each decoded once to uint8: in memory, memory-mapped from a file of the cache, or on the GPU.

    `where` is memory, disk, gpu, none (decode a chip whenever it is asked for), or auto: memory for up to 256 MB; else
    a file, which is there again in the next run; where the disk has no room, memory, if a third of it is enough; else
    none. On a CUDA device auto moves the pixels there once they fit (`to_device`).

    A file is compared with the images whenever it is opened (size, times, and the bytes of what was touched). Several
    processes map one file and share its pages. Every image is read to its end, so that a broken one is found now and
    not in the third epoch: `bad` maps its path to what is wrong with it, and `infos` each path to its `ImageInfo`.
    """
    def __init__(self, paths:list, # image files
                 size:int, # height and width of a chip, in pixels
                 progress=lambda items, total, label: items, # shows progress over the chips: `planet.cli.progress`
                 workers:int=0, # decoding threads; 0: one a core
                 limits=None, # of images that are not RGB of 8 bits, as in `open_chip`: `chips.limits`
                 where:str='auto', # one of `PLACES`
                 cache=None, # folder of caches, as in `planet.files.cache_folder`
                ):
        if where not in PLACES: raise UserError(f"{where} is unknown: one of {', '.join(PLACES)}", option='where')
        self.size, self.limits, self.bad, self.rows, self.infos = size, limits, {}, {}, {}
        self.file, paths, bands = None, [Path(p) for p in paths], 3 if limits is None else len(limits[0])
        self.shape, self.asked, nbytes = (len(paths), bands, size, size), where, len(paths)*bands*size**2
        folder = store_folder(paths, size, limits, cache)
        self.where = self._choose(where, nbytes, folder)
        if self.where == 'disk':
            try: self.file, infos = open_file(folder, paths, size, bands, limits, workers, progress)
            except OSError as e:
                if where == 'disk': raise UserError(f'{folder} cannot be written ({e.strerror or e}): '
                                                    'name another folder in $PLANET_CACHE') from None
                fits = nbytes < free_memory()/3
                say(f"store: {folder} cannot be written ({e.strerror or e}): "
                    f"{'in memory' if fits else 'chips are decoded in every epoch'}")
                self.where = 'memory' if fits else 'none'
        if self.file: self._map()
        else: infos = self._decode(paths, progress, workers)
        for row, (path, info) in enumerate(zip(paths, infos)):
            self.infos[path] = info
            if info.bad: self.bad[path] = info.bad
            elif self.where != 'none': self.rows[path] = row

    def _choose(self, where, nbytes, folder):
        "Where the pixels go; what takes much room is said before it is decoded."
        memory, big = free_memory()/3, nbytes > SMALL
        if not nbytes: return 'memory'
        if where == 'gpu': where = 'disk' if big else 'memory'
        if where == 'auto':
            # processes that train together share one file
            if not big and nbytes < memory and process_count() == 1: return 'memory'
            # another process or an earlier run may have built it already
            where = 'disk' if (folder/'index').exists() or make_room(folder, nbytes) else \
                    'memory' if nbytes < memory else 'none'
        elif where == 'memory' and nbytes > free_memory():
            raise UserError(f'memory: {_amount(nbytes)} of chips, and {_amount(free_memory())} are free: take disk, '
                            'or a smaller `size`', option='where')
        elif where == 'disk' and not (folder/'index').exists() and not make_room(folder, nbytes):
            raise UserError(f'disk: {_amount(nbytes)} of chips, and {_amount(free_disk(folder))} are free in '
                            f'{folder.parent}: name another folder in $PLANET_CACHE, or take a smaller `size`',
                            option='where')
        if big: say(f"store: {_amount(nbytes)} of chips, {_amount(free_memory())} of memory free: "
                    + dict(memory='in memory', disk=f'memory-mapped from {folder}',
                           none=f'no room in {folder.parent}, so chips are decoded in every epoch')[where])
        return where

    def _map(self):
        # copy-on-write: the pages are shared with other processes, and nothing is ever written into the file
        self._pixels = np.memmap(self.file, np.uint8, 'c', shape=self.shape)

    def _decode(self, paths, progress, workers):
        "Decode all chips into memory, if they are to be kept there; returns what was found of each."
        keep, infos = self.where == 'memory', []
        self._pixels = np.empty(self.shape if keep else (0, *self.shape[1:]), np.uint8)
        found = in_threads(lambda path: decode_file(path, self.size, self.limits), paths, workers)
        for row, (pixels, info) in enumerate(progress(found, len(paths), 'decoding chips')):
            infos.append(info)
            if keep and pixels is not None: self._pixels[row] = pixels
        return infos

    # ---- pixels

    @property
    def pixels(self): # uint8 tensor, `(chips, bands, size, size)`
        "The pixels of all chips as one tensor; rows of chips that cannot be read are undefined."
        import torch
        if isinstance(self._pixels, np.ndarray): self._pixels = torch.from_numpy(self._pixels)
        return self._pixels

    def __getitem__(self, chip): # uint8 tensor, `(3, size, size)`, or as many bands as `limits` has
        "The pixels of `chip`, from the store where it is known, else decoded."
        row = self.row(chip)
        return open_chip(chip, self.size, self.limits) if row is None else self.pixels[row].cpu()

    def row(self, chip): # or `None`
        "The row of a chip that was decoded from a path."
        return self.rows.get(Path(chip)) if isinstance(chip, (str, Path)) else None

    def batch(self, rows): # uint8 tensor, `(len(rows), bands, size, size)`, on the device of the pixels
        "The pixels of a batch, gathered by row."
        import torch
        return self.pixels.index_select(0, torch.as_tensor(rows, device=self.pixels.device))

    def gather(self, chips:list): # as `batch`
        "The pixels of any chips as a batch: by row where all are known; else what is not known is decoded, in threads."
        import torch
        rows = [self.row(chip) for chip in chips]
        if None not in rows: return self.batch(rows)
        return torch.stack(list(in_threads(self.__getitem__, chips, len(chips) if len(chips) < cores() else 0)))

    def to_device(self, device, # of the learner
                 ) -> bool: # whether the pixels are on that device
        "Keep the pixels on a CUDA device, where they take less than half of what is free there, or `where` is gpu."
        import torch
        device = torch.device(device)
        if self.pixels.device == device or device.type != 'cuda' or self.asked not in ('auto', 'gpu'):
            return self.pixels.device == device
        if self.asked == 'gpu' or self.pixels.numel() < torch.cuda.mem_get_info(device)[0]/2:
            self._pixels = self.pixels.to(device)
        return self.pixels.device == device

    # Worker processes that are started afresh map the file again, or share the memory
    def __getstate__(self):
        state = self.__dict__ | dict(_pixels=None if self.file else self.pixels.cpu())
        if not leaving_data_behind.on: return state # an exported learner has no pixels
        empty = np.empty((0, *self.shape[1:]), np.uint8)
        return state | dict(bad={}, rows={}, infos={}, file=None, where='none', _pixels=empty)

    def __setstate__(self, state):
        self.__dict__.update(state)
        if self.file: self._map()

def decoded_batches(items, # paths, bytes, arrays ... as `open_chip` takes them; any iterable, also one without an end
                    size:int, limits=None, # as in `open_chip`
                    bs:int=64, # items in a batch
                    ahead:int=2, # batches that are decoded while the consumer has one
                    workers:int=0, # decoding threads; 0: one a core
                    decode=None, # item -> uint8 array `(bands, size, size)`, in place of `open_chip`'s way
                   ): # yields `(items, pixels, bad)`
    """Decode images in threads ahead of inference, in batches and in order, with flat memory.

    Yields the items of a batch that can be read, their pixels (uint8 tensor `(n, bands, size, size)`), and a list of
    `(item, what is wrong with it)` for the others; a batch of which nothing can be read has no pixels, `n` = 0.
    """
    import torch
    def read(item):
        try: return decode(item) if decode else decode_chip(item, size, limits)
        except (UserError, ValueError, TypeError) as e: return str(e)
    pool, waiting, items = ThreadPoolExecutor(workers or cores()), deque(), iter(items)
    bands = 3 if limits is None else len(limits[0])
    try:
        while True:
            while len(waiting) <= ahead and (some := list(islice(items, bs))):
                waiting.append([(item, pool.submit(read, item)) for item in some])
            if not waiting: return
            read_now = [(item, f.result()) for item, f in waiting.popleft()]
            good = [(item, o) for item, o in read_now if not isinstance(o, str)]
            pixels = np.stack([o for _, o in good]) if good else np.empty((0, bands, size, size), np.uint8)
            yield [i for i, _ in good], torch.from_numpy(pixels), [(i, o) for i, o in read_now if isinstance(o, str)]
    finally: pool.shutdown(cancel_futures=True)
