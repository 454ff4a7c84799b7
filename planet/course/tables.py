"""Read a CSV as people have it: byte order marks, UTF-16, semicolons, decimal commas, trailing delimiters, blank rows.

All cells come as strings without blanks around them; whoever takes them decides what a number or a missing value is.
"""
import csv
import io
import re
from collections import Counter
from pathlib import Path
import pandas as pd
from planet.cli import UserError, near_names
from planet.tables import read_text

__all__ = ['MISSING', 'read_cells', 'existing_file']

MISSING = '', 'na', 'n/a', 'nan', 'none', 'null', 'nil', 'unknown', 'missing', '-', '--', '?', '.' # in lower case
SEPARATORS = ',', ';', '\t', '|'

def existing_file(path, # what was asked for
                 ) -> Path:
    "`path`, which must be a regular file: a named pipe or a device could be waited for without end."
    path = Path(path).expanduser()
    if path.is_dir(): raise UserError(f'{path} is a folder, and a file is wanted')
    if path.exists() and not path.is_file():
        raise UserError(f'{path} is a pipe or a device: copy it into a regular file first')
    siblings = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
    if not path.is_file(): raise UserError(f'there is no {path}{near_names(path.name, siblings, 1)}')
    return path

def _rows(path, text):
    "Rows of cells, blank ones left out, each with the number of its line; the separator is the header's commonest."
    header = next((line for line in text.splitlines() if line.strip(' ,;\t|')), '')
    separator = max(SEPARATORS, key=header.count)
    reader, found = csv.reader(io.StringIO(text, newline=''), delimiter=separator), []
    try:
        for row in reader:
            row = [cell.strip() for cell in row]
            while row and not row[-1]: row.pop() # trailing delimiters
            if row: found.append((reader.line_num, row))
    except csv.Error as e:
        raise UserError(f'{path} is no table of comma-separated values: line {reader.line_num}: {e}') from None
    if separator == ',': return found
    point = re.compile(r'(-?\d+),(\d+)') # where commas do not separate cells, they are decimal points
    return [(n, [point.sub(r'\1.\2', cell) if point.fullmatch(cell) else cell for cell in row]) for n, row in found]

def read_cells(path, # a CSV
               columns, # the columns that it should have, whatever their letters' case
               missing=lambda names: '', # what else to say of columns that it lacks
              ) -> pd.DataFrame: # strings; its index is the number of a row's (last) line in the file
    "Read a CSV's cells as strings; `UserError` where it is no table, lacks a column, or a row has too many cells."
    (_, names), *rows = _rows(path, read_text(path)[0]) or [(0, [])]
    if not names: raise UserError(f"{path} is empty: it needs the columns {','.join(columns)} and their rows")
    spelt = {c.lower(): c for c in columns}
    names = [spelt.get(name.lower(), name) for name in names]
    if lost := [c for c in columns if c not in names]:
        told = missing(lost) or near_names(lost[0], names) or f" (it has {', '.join(names[:12])})"
        raise UserError(f"{path} has no column {' and no column '.join(lost)}{told}: "
                        f"name its columns {','.join(columns)}")
    if twice := [c for c, n in Counter(names).items() if n > 1 and c in columns]:
        raise UserError(f'{path} has the column {twice[0]} more than once: keep one')
    if long := [(n, row) for n, row in rows if len(row) > len(names)]:
        raise UserError(f'{path}: line {long[0][0]} has {len(long[0][1])} cells, and the header names {len(names)}: '
                        'put a cell that holds a comma between double quotes')
    cells = [row + ['']*(len(names) - len(row)) for _, row in rows]
    return pd.DataFrame(cells, [n for n, _ in rows], names, dtype=str)
