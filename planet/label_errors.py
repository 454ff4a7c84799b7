"Likely label errors: rank the labels by what out-of-fold probabilities say of them, and write a corrected table."
# The ranking is by the loss of each label, which is the order of `cleanlab`'s self-confidence. Its confident learning
# finds as many planted errors (31.8 of 40 among the first 80, by loss 31.6: experiments/bench/label_errors.py).
import csv
import json
import os
from functools import partial
from pathlib import Path
import numpy as np
import pandas as pd
from planet.chips import raw_table, read_table, table_and_folder, table_path
from planet.cli import UserError, near_names
from planet.tables import read_text

__all__ = ['COLUMNS', 'rank_labels', 'suspect_table', 'write_suspects', 'read_corrections',
           'corrected_path', 'write_corrected']

COLUMNS = 'rank', 'image_name', 'tag', 'given', 'probability', 'corrected'
YES, NO = ('1', '1.0', 'yes', 'true', 'y'), ('0', '0.0', 'no', 'false', 'n')

def rank_labels(
    probs, # `(chips, tags)` of models that were not trained on the chips
    truth, # `(chips, tags)` of 0 and 1, as the table has it
) -> np.ndarray: # `(chips*tags, 2)`: row and column of each label, the least likely one first
    "Rank the labels of all chips by their loss, -log of the probability that the model gives to what the table says."
    probs, truth = np.asarray(probs, dtype=float), np.asarray(truth) > .5
    said = np.where(truth, probs, 1 - probs)
    return np.stack(np.unravel_index(np.argsort(said, axis=None, kind='stable'), said.shape), 1)

def suspect_table(
    probs, truth, # as in `rank_labels`
    names, vocab, # of the chips and of the tags
    most:int=100, # suspects
) -> pd.DataFrame: # a row a suspect, with the columns `COLUMNS`
    "The likeliest label errors as a table: what is given, what the model says, and an empty column to correct it in."
    rows = []
    for rank, (row, column) in enumerate(rank_labels(probs, truth)[:most], 1):
        rows.append((rank, names[row], vocab[column], int(truth[row][column]), float(probs[row][column]), ''))
    return pd.DataFrame(rows, columns=COLUMNS)

def write_new(path:Path, # a file that is not there yet
              write, # `write(open file)`
             ):
    "Write a file: whole, and never over one that is there."
    part = path.with_name(f'.{path.name}.part')
    try:
        with open(part, 'w', newline='', encoding='utf-8') as f: write(f)
        try: os.link(part, path) # unlike a renaming, this fails where the file is there
        except FileExistsError: raise
        except OSError: # such as exFAT, which has no links
            if path.exists(): raise FileExistsError from None
            part.replace(path)
    except FileExistsError: raise UserError(f'{path} is there already, perhaps with corrections in it: name another '
                                            'file, or move it away', option='to') from None
    except OSError as e:
        raise UserError(f'{path} cannot be written ({e.strerror}): name another file', option='to') from None
    finally: part.unlink(missing_ok=True)

def write_suspects(
    path, # the file to make
    suspects:pd.DataFrame, # from `suspect_table`
):
    "Write the table of suspects, for its column `corrected` to be filled in; never over a file that is there."
    write_new(Path(path), lambda f: suspects.to_csv(f, index=False, float_format='%.4f'))

# ---- what was corrected

def read_corrections(
    path, # the table of suspects, with 0 or 1 (no or yes) in its column `corrected`, or nothing
    names, # of all chips
    vocab, # all tags
) -> dict: # (name, tag) -> bool
    "Read corrections; `UserError` names the first row with an unknown chip or tag, another value, or two opinions."
    path, found = Path(path).expanduser(), {}
    if not path.exists(): raise UserError(f'{path}: no such file', option='corrected')
    try: lines = read_text(path)[0].splitlines()
    except UserError as e: raise UserError(str(e), option='corrected') from None
    rows = list(csv.reader(lines, delimiter=max(',;\t', key=''.join(lines[:1]).count))) # as a spreadsheet saves it
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if missing := [c for c in ('image_name', 'tag', 'corrected') if c not in header]:
        raise UserError(f'{path} lacks the column {missing[0]}: keep the header that planet-runs labels wrote',
                        option='corrected')
    at, known, tags = {c: header.index(c) for c in header}, set(names), set(vocab)
    for line, row in enumerate(rows[1:], 2):
        def fault(why, line=line): return UserError(f'{path}, row {line}: {why}', option='corrected')
        if not any(map(str.strip, row)): continue
        if len(row) != len(header): raise fault(f'{len(row)} cells, and the header has {len(header)}')
        name, tag, said = (row[at[c]].strip() for c in ('image_name', 'tag', 'corrected'))
        if not said: continue
        if name not in known: raise fault(f'{name} is none of the {len(known):,} chips{near_names(name, known, 1)}')
        if tag not in tags: raise fault(f'{tag} is none of the tags{near_names(tag, tags, 1)}')
        if said.lower() not in YES + NO: raise fault(f'{said!r} in the column corrected: write 1 or 0, or nothing')
        if found.setdefault((name, tag), said.lower() in YES) != (said.lower() in YES):
            raise fault(f'{tag} of {name} was corrected otherwise above')
    return found

def corrected_path(table:Path) -> Path:
    "Where the corrected label table goes by default: beside the old one, as `NAME-corrected.csv`."
    return table.with_name(f'{table.stem}-corrected.csv')

def write_corrected(
    root, # the folder of the chips, or their label table
    corrections:dict, # from `read_corrections`
    to='', # the file to make; by default `corrected_path` of the table
    label_delim='', # what separates the tags of the old table, as in `from_folder`; the new one is read without
) -> tuple: # its path, and how many labels differ from the old table
    "Write a new label table with the corrections, beside the old one and never over it."
    root, own = table_and_folder(root)
    table = raw_table(own or table_path(root), label_delim)
    path, rows, changed = Path(to).expanduser() if to else corrected_path(table.path), table.rows.copy(), 0
    wanted = {}
    for (name, tag), yes in corrections.items(): wanted.setdefault(name, []).append((tag, yes))
    tags = [set(given) for given in rows.tags]
    for name, given in zip(rows.image_name, tags):
        for tag, yes in wanted.pop(name, ()):
            changed += (tag in given) != yes
            (given.add if yes else given.discard)(tag)
    if wanted: raise UserError(f'{table.path} has no chip {next(iter(wanted))}: its names were changed since the run',
                               option='corrected')
    keep = ['image_name', 'tags', *[c for c in ('split', 'group') if c in rows]]
    for cell in (' '.join, partial(json.dumps, ensure_ascii=False)): # lists where tags have spaces or commas
        rows['tags'] = [cell(sorted(given)) if given else '' for given in tags]
        write_new(path, lambda f: rows[keep].to_csv(f, index=False))
        if [set(said) for said in read_table(path).tags] == tags: return path, changed
        path.unlink()
    # such as a tag that is read as an empty cell
    raise UserError(f'{path} would not be read as it is meant: a tag of {table.path} looks like no tag at all')
