"""BigEarthNet: its labels, and its patches (a GeoTIFF a band, in folders or the archive) as one GeoTIFF a chip.

Version 2 (reBEN) has 19 tags and an official split in `metadata.parquet`; version 1 has 43 in a JSON file a patch.
"""
import io
import json
import os
import re
import tarfile
from contextlib import contextmanager
from pathlib import Path
import numpy as np
from planet.cli import UserError, progress, say
from planet.download.one_at_work import need_module

__all__ = ['BANDS', 'DEFAULT_BANDS', 'read_metadata', 'stack_patch', 'bigearthnet_rows']

BANDS = 'B01', 'B02', 'B03', 'B04', 'B05', 'B06', 'B07', 'B08', 'B8A', 'B09', 'B11', 'B12'
DEFAULT_BANDS = 'B04', 'B03', 'B02', 'B08' # red, green, blue and near infrared, all of 10 m
COLOURS = dict(B04='red', B03='green', B02='blue', B08='nir')
PLACE = 33550, 33922, 34735, 34736, 34737 # tags of a GeoTIFF that say where it lies
FILE = re.compile(r'(?:.*/)?([\w-]+)/\1_(B\w\w)\.tif')
JSON = re.compile(r'(?:.*/)?([\w-]+)/\1_labels_metadata\.json')

def read_metadata(path, # `metadata.parquet`
                 ) -> dict: # patch -> dict(tags, split)
    "The 19 tags and the side of the official split of each patch of BigEarthNet v2."
    parquet = need_module('pyarrow.parquet', path)
    try: table = parquet.read_table(path, columns=['patch_id', 'labels', 'split']).to_pylist()
    except Exception as e: # no parquet, or other columns
        raise UserError(f"{path} is not BigEarthNet's table of patches ({' '.join(str(e).split())[:120]})") from None
    return {o['patch_id']: dict(tags=sorted(o['labels']), split=o['split'].replace('validation', 'valid'))
            for o in table}

def _scene(patch): return patch.rsplit('_', 2)[0]

def stack_patch(files:dict, # band -> bytes of its GeoTIFF
                bands, # those to keep, in this order
               ) -> bytes: # of one GeoTIFF
    "Stack the bands of a patch as they are in one GeoTIFF; coarser ones are repeated to the size of the finest."
    import tifffile
    read = {}
    for band in bands:
        with tifffile.TiffFile(io.BytesIO(files[band])) as tif: read[band] = tif.asarray(), tif.pages[0].tags
    side = max(pixels.shape[0] for pixels, _ in read.values())
    if odd := [b for b, (pixels, _) in read.items() if pixels.ndim != 2 or side % pixels.shape[0]]:
        raise ValueError(f'{odd[0]} has the shape {read[odd[0]][0].shape}')
    stacked = np.stack([np.kron(p, np.ones((side//len(p),)*2, p.dtype)) for p, _ in read.values()], 2)
    finest = next(tags for pixels, tags in read.values() if len(pixels) == side)
    place = [(t.code, t.dtype, t.count, t.value, True) for code in PLACE if (t := finest.get(code))]
    named = ''.join(f'<Item name="DESCRIPTION" sample="{i}" role="description">{COLOURS.get(b, b)}</Item>'
                    for i, b in enumerate(bands))
    out = io.BytesIO()
    tifffile.imwrite(out, stacked, photometric='minisblack', planarconfig='contig', metadata=None,
                     extratags=[*place, (42112, 's', 0, f'<GDALMetadata>{named}</GDALMetadata>', True)])
    return out.getvalue()

# ---- where the patches are: in folders, or in the archive as it is published -------------------------------------

def _from_folder(root):
    "Each file below `root`: its path from there, and a function that reads it."
    for here, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = Path(here)/name
            yield path.relative_to(root).as_posix(), path.read_bytes

@contextmanager
def _decompressed(archive):
    zstandard = need_module('zstandard', f'{archive} (unless you unpack it by hand, tar xf {archive.name})')
    with open(archive, 'rb') as raw:
        with zstandard.ZstdDecompressor().stream_reader(raw) as stream: yield stream

def _from_archive(archive):
    "Each file in the archive, as it comes."
    try:
        with _decompressed(archive) as stream, tarfile.open(fileobj=stream, mode='r|') as tar:
            for m in tar:
                if m.isreg(): yield m.name, tar.extractfile(m).read
    except (tarfile.TarError, EOFError, OSError) as e:
        raise UserError(f'{archive} is truncated or damaged ({e}): delete it and run this again') from None
    except Exception as e:
        if type(e).__name__ != 'ZstdError': raise
        raise UserError(f'{archive} is truncated or damaged ({e}): delete it and run this again') from None

def _patches(files, bands):
    "Patches as soon as all their bands and their labels are there: (patch, bytes of each band, labels or `None`)."
    open_patch, found, labels = None, {}, None
    for name, read in files:
        image, words = FILE.fullmatch(name), JSON.fullmatch(name)
        patch = (image or words or [None, None])[1]
        if patch is None: continue
        if patch != open_patch:
            if found: yield open_patch, found, labels
            open_patch, found, labels = patch, {}, None
        if words: labels = json.loads(read()).get('labels')
        elif image[2] in bands: found[image[2]] = read()
    if found: yield open_patch, found, labels

def _wanted(bands):
    named = {v: k for k, v in COLOURS.items()}
    wanted = [named.get(b.strip().lower(), b.strip().upper()) for b in bands.split(',')] if bands else DEFAULT_BANDS
    if wanted == ['ALL']: return BANDS
    if odd := [b for b in wanted if b not in BANDS]:
        raise UserError(f"{odd[0]} is no band of BigEarthNet (there are {', '.join(BANDS)})", option='bands')
    return tuple(wanted)

def bigearthnet_rows(folder, # with `BigEarthNet-S2/` or its archive, and `metadata.parquet` (version 2)
                     bands:str='', # to keep, by comma; by default B04, B03, B02 and B08
                    ): # a dict a chip; `None` where the patches are not there
    """Write each patch of BigEarthNet as `chips/SCENE/PATCH.tif` of several bands; those that are there are kept.

    Patches that the table does not name (with snow or clouds) are left out. """
    folder, wanted = Path(folder), _wanted(bands)
    root = next((p for p in (folder/'BigEarthNet-S2', folder/'BigEarthNet-v1.0') if p.is_dir()), None)
    archive, table = folder/'BigEarthNet-S2.tar.zst', folder/'metadata.parquet'
    if root is None and not archive.is_file() or root is None and not table.is_file(): return None
    known = read_metadata(table) if table.is_file() else None
    sides = {line.split(',')[0].strip(): side for side, file in (('train', 'train'), ('valid', 'val'), ('test', 'test'))
             if known is None and (folder/f'{file}.csv').is_file()
             for line in (folder/f'{file}.csv').read_text().splitlines()}
    rows, left_out, incomplete = [], 0, []
    files = _from_folder(root) if root else _from_archive(archive)
    for patch, found, labels in progress(_patches(files, wanted), len(known or sides) or 590_326, 'stacking bands'):
        facts = known.get(patch) if known is not None else None if labels is None else dict(tags=sorted(labels))
        if facts is None: left_out += 1; continue
        if sides and patch not in sides: left_out += 1; continue
        if sides: facts['split'] = sides[patch]
        if lacking := [b for b in wanted if b not in found]:
            incomplete.append(f"{patch} ({', '.join(lacking)})")
            continue
        path = folder/'chips'/_scene(patch)/f'{patch}.tif'
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix('.part')
            try: part.write_bytes(stack_patch(found, wanted))
            except (ValueError, OSError) as e: raise UserError(f'patch {patch} cannot be stacked ({e})') from None
            part.replace(path)
        rows.append(dict(image_name=path.relative_to(folder).as_posix(), group=_scene(patch), **facts))
    if incomplete:
        raise UserError(f'{len(incomplete):,} patches lack bands, such as {incomplete[0]}: unpack the archive again')
    if not rows: raise UserError(f'{root or archive} holds no patch that a table or a JSON file gives labels to')
    if left_out: say(f'{left_out:,} patches without labels here (snow, clouds, or another split) are left out')
    return rows
