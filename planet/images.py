"Image files, read once each: whether they can be decoded, what they are, and which show the same."
import hashlib, io, os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from PIL import Image
from planet.cli import progress
from planet.chips import SUFFIXES

def groups(items, key):
    "`items` in lists of the same `key`."
    groups = defaultdict(list)
    for item in items: groups[key(item)].append(item)
    return list(groups.values())

class Look(NamedTuple):
    "What one file is."
    bad: str='' # why it cannot be read
    odd: str='' # why it looks damaged, though it can be read
    size: str=''
    mode: str='' # as Pillow names it
    file: bytes=b'' # hash of its bytes
    picture: bytes=b'' # hash of its pixels, of a JPEG's at an eighth of its size

def _hash(data): return hashlib.blake2b(data, digest_size=16).digest()

def _look(path):
    """Read a file to its end and decode it.

    A JPEG is decoded at an eighth of its size, which takes a third of the time: libjpeg skips the inverse transform, but
    still reads all of the compressed data, so that it finds what is cut short just as well.
    """
    try:
        with open(path, 'rb') as f: data = f.read()
        if not data: return Look('empty file')
        im = Image.open(io.BytesIO(data))
        size, mode, im_format = f'{im.width}x{im.height}', im.mode, im.format
        jpeg = im_format == 'JPEG'
        if jpeg: im.draft(None, (1, 1))
        im = im.convert('RGB')
    # Pillow has no one exception for a broken file: OSError, SyntaxError (PNG), ValueError, struct.error
    except Exception as e: return Look(_short(e))
    scan = data.rfind(b'\xff\xda') if jpeg else -1 # start of a JPEG's last scan
    ended = data.rfind(b'\xff\xd9') > scan if jpeg else im_format != 'PNG' or b'IEND' in data
    # Pillow forgives the last bytes; and a block that was never written is full of zeros
    odd = 'no end mark' if not ended else '4,096 zero bytes in a row' if jpeg and data.find(bytes(4096), scan) >= 0 else ''
    return Look('', odd, size, mode, _hash(data), _hash(size.encode() + im.tobytes()))

def _short(e):
    "What is wrong with a file, in a few words."
    said = ' '.join((getattr(e, 'strerror', None) or str(e) or type(e).__name__).split())
    return 'truncated' if 'truncated' in said else 'no image' if 'cannot identify image file' in said else said

def look_at(paths, workers):
    "A `Look` at each path, under a progress bar. Threads: Pillow and hashing let go of the interpreter's lock."
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try: return list(progress(pool.map(_look, paths), len(paths)))
    finally: pool.shutdown(cancel_futures=True) # Ctrl-C should not wait for 40,000 files

def _all_pixels(path):
    with Image.open(path) as im: return _hash(im.convert('RGB').tobytes())

def same(paths, looks):
    "Lists of positions that hold the same picture: the same bytes, or other bytes and the same pixels."
    found = []
    for like in groups([i for i, o in enumerate(looks) if not o.bad], lambda i: looks[i].picture):
        if len(like) < 2: continue
        files = groups(like, lambda i: looks[i].file)
        # the small pictures agree: only the large ones tell
        exact = groups(files, lambda f: _all_pixels(paths[f[0]])) if len(files) > 1 else [files]
        found += [g for g in (sorted(sum(e, [])) for e in exact) if len(g) > 1]
    return sorted(found)

def images_in(folder):
    "The image files that lie in `folder`."
    if not folder.is_dir(): return []
    return sorted(folder/e.name for e in os.scandir(folder) if e.name.lower().endswith(SUFFIXES) and not e.name.startswith('.'))

def stem(name): return name[:name.rindex('.')] if name.lower().endswith(SUFFIXES) else name
