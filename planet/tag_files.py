"""Write tags and probabilities as CSV, JSON lines or Parquet in flat memory: whole when done, resumable before that.

Rows go to a hidden `.NAME.part` beside the output, and after each batch a line of state; the name comes at the end."""
import csv
import io
import json
import os
from importlib.util import find_spec
from pathlib import Path
from planet.cli import UserError

__all__ = ['FORMATS', 'MAPS', 'TagFile', 'check_output', 'read_rows']

FORMATS = '.csv', '.jsonl', '.parquet'
MAPS = '.gpkg', '.geojson', '.tif', '.tiff', '.html' # of georeferenced scenes
ROWS = 50_000 # of a group in a Parquet file

def _beside(path): # where rows lie until the file is whole, and the state of them
    return (path.with_name(f'.{path.name}.{o}') for o in ('part', 'state'))

def check_output(out, overwrite:bool=False):
    "Raise a `UserError` for an output that exists or was begun, has no folder, or an ending that stands for no format."
    path = Path(out).expanduser()
    if path.suffix.lower() not in (*FORMATS, *MAPS):
        raise UserError(f"{out} has no ending that is known: {', '.join((*FORMATS, *MAPS))}", option='out')
    if path.is_dir(): raise UserError(f'{out} is a folder: name a file in it', option='out')
    if not path.parent.is_dir(): raise UserError(f'{out}: there is no folder {path.parent}', option='out')
    if path.exists() and not overwrite:
        raise UserError(f'{out} exists: name another file, or `overwrite` it', option='out')
    part, state = _beside(path)
    if state.exists() and part.exists() and not overwrite:
        raise UserError(f'{out} was begun before (in {part}): give `resume` to go on with it, or `overwrite` to begin '
                        'again', option='out')
    if path.suffix.lower() == '.parquet':
        if not find_spec('pyarrow'):
            raise UserError(f'{out} needs pyarrow: pip install "planet-chips[geo]"', option='out')
    return path

class TagFile:
    """A file of tags that grows by batches. As a context: the file has its name when the context ends well; otherwise
    its part stays, and `resume` goes on from there."""
    def __init__(self, path, vocab:list, # the file, and the tags in the order of the probabilities
                 identity:dict, # what has to be equal to resume: the model's hash, the inputs
                 resume:bool=False):
        self.path, self.vocab, self.kind = Path(path), vocab, Path(path).suffix.lower()
        self.part, self.state = _beside(self.path)
        self.identity, self.done, self.last, self.bad, self.batch = identity, 0, None, 0, 0
        self.mark = ' ' if not any(' ' in t for t in vocab) else ';'
        if resume: self.reopen()
        else:
            self.state.unlink(missing_ok=True) # of rows that are no more
            self.file = open(self.part, 'w', encoding='utf-8', newline='')
            if self.kind != '.jsonl': self.csv().writerow(['file', 'image_name', 'tags', *vocab])

    def reopen(self):
        "Read the state that an earlier call left, and cut off what was written after it."
        try:
            said = json.loads(self.state.read_text(encoding='utf-8'))
            self.done, self.last, self.bad, self.batch = (said[k] for k in ('done', 'last', 'bad', 'batch'))
            if self.part.stat().st_size < said['bytes']: raise ValueError
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f'{self.path} was not begun, or its beginning is gone: leave out `resume`, and `overwrite` '
                            'what is left of it', option='resume') from None
        odd = [k for k in self.identity if said['identity'].get(k) != self.identity[k]]
        if odd: raise UserError(f"{self.path} was begun with another {', '.join(odd)}: give the same, or `overwrite` "
                                'it without `resume`', option='resume')
        self.file = open(self.part, 'r+', encoding='utf-8', newline='')
        self.file.truncate(said['bytes'])
        self.file.seek(0, io.SEEK_END)

    def csv(self): return csv.writer(self.file, lineterminator='\n')

    def __enter__(self): return self

    def write(self, names:list, probs, tags:list, bad:list, last:str):
        "Write a batch; `last` is the name of the last input it covers, `bad` those that could not be read."
        if self.kind == '.jsonl':
            for name, row, found in zip(names, probs.tolist(), tags):
                line = dict(file=name, image_name=_stem(name), tags=found,
                            probabilities={t: float(f'{p:.9g}') for t, p in zip(self.vocab, row)})
                self.file.write(json.dumps(line) + '\n')
        else:
            out = self.csv()
            for name, row, found in zip(names, probs.tolist(), tags):
                out.writerow([name, _stem(name), self.mark.join(found), *(f'{p:.9g}' for p in row)])
        self.file.flush()
        done, wrong = self.done + len(names) + len(bad), self.bad + len(bad)
        state = self.state.with_name(self.state.name + '.new')
        state.write_text(json.dumps(dict(identity=self.identity, done=done, last=last, bad=wrong,
                                         batch=done - self.done, bytes=os.fstat(self.file.fileno()).st_size)),
                         encoding='utf-8')
        state.replace(self.state)
        self.done, self.last, self.bad = done, last, wrong # only now: the disk may have been full

    def __exit__(self, kind, error, trace):
        try: self.file.close()
        except OSError: pass # the disk is full: what was written before counts
        try:
            if kind is not None: return
            if self.kind == '.parquet': self.to_parquet()
            else: os.replace(self.part, self.path)
        except BaseException as e:
            error = e
            raise
        finally:
            if error is None or not self.done: self.remove()
            else: error.kept = f'{self.part}; `resume` goes on after {self.done:,} images'

    def remove(self):
        "Remove the part and its state."
        for path in (self.part, self.state, self.state.with_name(self.state.name + '.new')):
            path.unlink(missing_ok=True)

    def to_parquet(self):
        "Turn the part, which is CSV, into Parquet, a group of rows at a time."
        import numpy as np
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq
        whole, writer = self.path.with_name(f'.{self.path.name}.whole'), None
        kinds = dict.fromkeys(('file', 'image_name', 'tags'), str) | dict.fromkeys(self.vocab, np.float32)
        fields = [('file', pa.string()), ('image_name', pa.string()), ('tags', pa.list_(pa.string())),
                  *((t, pa.float32()) for t in self.vocab)]
        try:
            with pq.ParquetWriter(whole, pa.schema(fields)) as writer:
                for rows in pd.read_csv(self.part, dtype=kinds, keep_default_na=False, chunksize=ROWS):
                    rows['tags'] = [t.split(self.mark) if t else [] for t in rows.tags]
                    writer.write_table(pa.Table.from_pandas(rows, pa.schema(fields), preserve_index=False))
            os.replace(whole, self.path)
        finally: whole.unlink(missing_ok=True)

def _stem(name): return Path(name).stem

def _csv_rows(path):
    with open(path, newline='', encoding='utf-8') as f:
        table = csv.reader(f)
        vocab = next(table, [])[3:]
        mark = ' ' if not any(' ' in t for t in vocab) else ';'
        for name, _, tags, *probs in table: yield name, tags.split(mark) if tags else [], dict(zip(vocab, probs))

def _json_rows(path):
    with open(path, encoding='utf-8') as f:
        for row in map(json.loads, f): yield row['file'], row['tags'], row['probabilities']

def _parquet_rows(path):
    import pyarrow.parquet as pq
    for batch in pq.ParquetFile(path).iter_batches(1000):
        for row in batch.to_pylist(): yield row.pop('file'), row.pop('tags'), row

def read_rows(path): # a file of `TagFile`
    "The rows of a file of tags one by one: the image's name, its tags, and the probability of each tag by its name."
    return {'.csv': _csv_rows, '.jsonl': _json_rows, '.parquet': _parquet_rows}[Path(path).suffix.lower()](path)
