"""Layouts of image data sets on the Hugging Face hub: parquet shards, tar shards, images (or archives) with a table.

Each is read as rows (name of the chip, its tags or `None`, a function that reads its image).
"""
import json
import re
import tarfile
import zipfile
from pathlib import Path
import pandas as pd
from planet.cli import UserError
from planet.download.one_at_work import need_module
from planet.files import SUFFIXES
from planet.separators import find_delim, split_tags

__all__ = ['label_words', 'read_layout']

LABELS = 'tags', 'labels', 'label', 'tag', 'classes', 'label_names', 'tag_names', 'caption', 'text' # likeliest first
NAMES = 'image_name', 'file_name', 'filename', 'image_id', 'name', 'image', 'id', 'path', '__key__'

class _Unknown(Exception): "What a layout holds is not understood."

def _stem(name): return re.split(r'[/\\]', str(name))[-1].rsplit('.', 1)[0]

def label_words(cell, # of a table or a shard: a text of tags, a list of tags or of class numbers, zeros and ones
                classes=(), # names of the classes, where numbers stand for them
               ): # a list of tags; `None` where there is no label
    "The tags of a label in any of the usual forms."
    if cell is None or isinstance(cell, float) and cell != cell: return None
    if isinstance(cell, str): return split_tags(cell, find_delim([cell]) or 'space') if cell.strip() else None
    cells = list(cell) if hasattr(cell, '__iter__') else [cell]
    if not cells: return None
    if all(isinstance(o, str) for o in cells): return cells
    numbers = [int(o) for o in cells]
    if not classes: raise _Unknown(f'labels are numbers, {numbers[:5]}, and no list of classes says what they mean')
    if len(numbers) == len(classes) and set(numbers) <= {0, 1}: # one-hot
        return [c for c, n in zip(classes, numbers) if n]
    if min(numbers) < 0: return None # a test set, whose labels are -1
    if max(numbers) >= len(classes): raise _Unknown(f'label {max(numbers)} is beyond the {len(classes)} classes')
    return [classes[n] for n in numbers]

def _column(columns, known, what):
    found = next((c for k in known for c in columns if c.casefold() == k), None)
    if found is None: raise _Unknown(f"no column of {what} (there are {', '.join(columns)})")
    return found

# ---- parquet -----------------------------------------------------------------------------------------------------

def _classes(schema, column):
    "Names of the classes that the `datasets` library writes into the schema of its parquet files."
    found = (schema.metadata or {}).get(b'huggingface')
    feature = json.loads(found)['info']['features'].get(column, {}) if found else {}
    for _ in range(3): # a class, a sequence of them, or a list of one
        if isinstance(feature, list): feature = feature[0]
        if 'names' in feature: return list(feature['names'])
        feature = feature.get('feature', {})
    return []

def _parquet(home, files):
    parquet = need_module('pyarrow.parquet', 'a dataset in parquet')
    for file in files:
        try: shard = parquet.ParquetFile(home/file)
        except Exception as e: raise _Unknown(f'{file} is no parquet file ({e})') from None
        schema = shard.schema_arrow
        pictures = [f.name for f in schema if str(f.type).startswith('struct') and 'bytes' in str(f.type)
                    or str(f.type) in ('binary', 'large_binary')]
        if not pictures: raise _Unknown(f"{file} has no column of images (there are {', '.join(schema.names)})")
        picture, others = pictures[0], [c for c in schema.names if c != pictures[0]]
        label = next((c for k in LABELS for c in others if c.casefold() == k), None)
        named = next((c for k in NAMES for c in others if c.casefold() == k and c != label), None)
        classes = _classes(schema, label) if label else []
        for batch in shard.iter_batches(batch_size=64):
            for row in batch.to_pylist():
                cell = row[picture]
                data, path = (cell['bytes'], cell.get('path')) if isinstance(cell, dict) else (cell, None)
                name = row[named] if named else path
                if name is None or data is None: raise _Unknown(f'{file} has images without a name or without content')
                yield _stem(name), label_words(row[label], classes) if label else None, lambda data=data: data

# ---- tar shards (webdataset) -------------------------------------------------------------------------------------

def _shards(home, files, classes):
    for file in files:
        with tarfile.open(home/file) as tar:
            key, parts = None, {}
            for m in [*tar, None]:
                start, _, ending = m.name.partition('.') if m else (None, '', '')
                if key is not None and start != key:
                    yield from _sample(key, parts, classes, file)
                    parts = {}
                key = start
                if m and m.isreg(): parts[ending.casefold()] = tar.extractfile(m).read()

def _sample(key, parts, classes, file):
    images = [e for e in parts if f'.{e}' in SUFFIXES]
    if not images: raise _Unknown(f"{file} has no image for {key} (but {', '.join(parts)})")
    tags = None
    if 'json' in parts:
        facts = json.loads(parts['json'])
        label = next((c for k in LABELS for c in facts if c.casefold() == k), None)
        tags = label_words(facts[label], classes) if label else None
    elif kind := next((k for k in ('txt', 'cls') if k in parts), None):
        text = parts[kind].decode()
        numbers = re.findall(r'\d+', text) if classes and re.fullmatch(r'[\d,\s]+', text) else []
        tags = label_words(list(map(int, numbers)) or text, classes)
    yield _stem(key), tags, lambda: parts[images[0]]

# ---- images, or archives of them, with a table -------------------------------------------------------------------

def _tables(home, files):
    "Name of a chip -> its tags, from all tables that name both."
    found, odd = {}, []
    for file in files:
        try:
            table = (pd.read_json(home/file, lines=True) if file.endswith('.jsonl') else
                     pd.read_csv(home/file, sep='\t' if file.endswith('.tsv') else ','))
            columns = [str(c) for c in table.columns]
            name, label = _column(columns, NAMES, 'names'), _column(columns, LABELS, 'labels')
        except (_Unknown, ValueError) as e: odd.append(f'{file}: {e}'); continue
        found |= {_stem(n): label_words(cell) for n, cell in zip(table[name], table[label])}
    if not found: raise _Unknown('; '.join(odd) or 'no table')
    return found

def _pictures(home, files):
    "Every image among the files, those in zip and tar archives too: its name, and a function that reads it."
    for file in files:
        if file.lower().endswith(SUFFIXES): yield file, (home/file).read_bytes
        elif file.lower().endswith('.zip'):
            with zipfile.ZipFile(home/file) as z:
                for name in z.namelist():
                    if name.lower().endswith(SUFFIXES): yield name, lambda z=z, name=name: z.read(name)
        elif re.search(r'\.(tar|tgz|tar\.\w+)$', file.lower()):
            with tarfile.open(home/file, 'r|*') as tar:
                for m in tar:
                    if m.isreg() and m.name.lower().endswith(SUFFIXES):
                        yield m.name, lambda tar=tar, m=m: tar.extractfile(m).read()

def _folders(home, files, tables):
    tags = _tables(home, tables)
    for name, read in _pictures(home, files): yield _stem(name), tags.get(_stem(name)), read

# ---- which it is -------------------------------------------------------------------------------------------------

def _card_classes(home):
    "Names of the classes in the front matter of the dataset's card."
    card = home/'README.md'
    text = card.read_text(encoding='utf-8') if card.is_file() else ''
    return re.findall(r"^\s+'?\d+'?: '?([^'\n]+)'?$", text, re.M) if 'class_label' in text else []

def read_layout(home:Path, # folder of the dataset's files
                files:list, # their names
                dataset:str='', # for messages
               ): # yields `(name, tags or None, read)`
    "Read a dataset in whichever of the known layouts it has; `UserError` with what there is where it has none."
    home = Path(home)
    def ending(*ends): return [f for f in files if f.lower().endswith(ends)]
    shards, parquet, tables = ending('.tar'), ending('.parquet'), ending('.csv', '.tsv', '.jsonl')
    pictures = ending(*SUFFIXES, '.zip', '.tar', '.tgz', '.tar.gz')
    try:
        if parquet: yield from _parquet(home, parquet)
        elif tables and pictures: yield from _folders(home, pictures, tables)
        elif shards: yield from _shards(home, shards, _card_classes(home))
        else: raise _Unknown('neither parquet, nor tar shards, nor images with a table')
    except (_Unknown, tarfile.TarError, zipfile.BadZipFile, json.JSONDecodeError, KeyError) as e:
        shown = ', '.join(files[:4]) + (' ...' if len(files) > 4 else '')
        why = ' '.join(str(e).split())[:200]
        raise UserError(f'the layout of dataset {dataset} is not understood ({why}); its files are {shown}. '
                        'planet-data get kaggle has the same chips') from None
