"Read files that say where chips belong: a split into training and validation sets, or folds."
from collections import Counter
import pandas as pd
from planet.cli import UserError
from planet.files import stem
from planet.quality import is_nothing
from planet.tables import GROUPS, NAMES, clean_text, records, split_columns, split_side

__all__ = ['read_sides', 'read_groups', 'read_folds']

def _read(path, wanted, misfit):
    "The cells of one column by image name; `misfit(why)` makes the error for a file without them."
    header, rows, *_ = records(path)
    plain = [h.casefold().replace(' ', '_') for h in header]
    at = [next((plain.index(n) for n in known if n in plain), None) for known in (NAMES, wanted)]
    if None in at: raise misfit(f"lacks the columns image_name,{' or '.join(wanted[:2])} (it has {', '.join(header)})")
    short = [line for line, row in rows if len(row) <= max(at)]
    if short: raise misfit(f'has too few cells in row {short[0]}')
    names = [clean_text(row[at[0]]).strip() for _, row in rows]
    if twice := [n for n, count in Counter(names).items() if count > 1]: raise misfit(f'names {twice[0]} twice')
    return plain[at[1]], pd.Series([row[at[1]].strip() for _, row in rows],
                                   pd.Index(names, name='image_name', dtype=str), dtype=object)

def _cells(path, wanted, names, option, what):
    "The column of `wanted` that a file has, and its cell for each of `names`, which may have a folder or an ending."
    def misfit(why): return UserError(f'{path} {why}', option=option)
    try: column, cells = _read(path, wanted, misfit)
    except UserError as e:
        if str(e).startswith(f'`{option}`'): raise
        raise UserError(str(e).replace('image_name,tags', f'image_name,{wanted[0]}'), option=option) from None
    def bare(name): return stem(name.replace('\\', '/').rsplit('/', 1)[-1])
    rows = {}
    for name in cells.index: rows.setdefault(bare(name), []).append(name)
    def row_of(name):
        near = rows.get(bare(name), [])
        return name if name in cells.index else near[0] if len(near) == 1 else None
    found = [row_of(name) for name in names]
    if missing := [n for n, row in zip(names, found) if row is None]:
        raise misfit(f'does not say {what} {len(missing)} of {len(names)} chips belong, such as {min(missing)}')
    return column, [cells[row] for row in found], misfit

def read_groups(path, # a table with image names and a column `group` (or `scene`, `site`)
                names, # of the chips, each of which has its row, perhaps with a folder or an ending; others may too
               ) -> list[str]: # the group of each
    "Read which chips belong together from a file; raises `UserError` where it does not give each chip a group."
    _, found, misfit = _cells(path, GROUPS, names, 'groups', 'to which group')
    if empty := [n for n, group in zip(names, found) if is_nothing(group)]:
        raise misfit(f'has no group for {len(empty)} of {len(names)} chips, such as {min(empty)}: a chip that is alone '
                     'has a group of its own, such as its name')
    return found

def read_sides(path, # a table with image names and a column such as `split` (train, valid) or `is_valid` (true, false)
               names, # of the chips, each of which has its row, perhaps with a folder or an ending
              ) -> list[str]: # 'train', 'valid' or 'test' for each
    "Read the training and validation sets from a file; raises `UserError` where it does not fit the chips."
    if not path.exists(): raise UserError(f'{path}: no such file (or auto, random, ungrouped)', option='split')
    column, found, misfit = _cells(path, split_columns, names, 'split', 'where')
    sides = [split_side(column, cell) for cell in found]
    if odd := [(cell, n) for n, cell, side in zip(names, found, sides) if not side]:
        raise misfit(f'has {odd[0][0]!r} for {odd[0][1]}: write train or valid')
    return sides

def read_folds(path, # a CSV of `image_name,fold`
               names, # of the chips: all of them are in it, and no others
               folds:int, # how many
              ) -> pd.Series: # the fold of each, by image name, in the order of `names`
    "Read stratified folds from a file; raises `UserError` where it does not give each chip one of the folds."
    def misfit(why): return UserError(f'{path} {why}: fix it, or delete it and it is made again')
    try: _, read = _read(path, ['fold'], misfit)
    except UserError as e:
        if 'fix it' in str(e): raise
        raise misfit(str(e).removeprefix(f'{path} ').replace('image_name,tags', 'image_name,fold')) from None
    if missing := set(names) - set(read.index):
        raise misfit(f'lacks {len(missing)} of the {len(names)} chips of the table, such as {min(missing)}')
    if len(read) != len(names): raise misfit(f'has {len(read)} chips, and the table {len(names)}')
    if odd := set(read) - {str(f) for f in range(folds)}:
        raise misfit(f'has a fold {min(odd)!r}, and they go from 0 to {folds-1}')
    if empty := {str(f) for f in range(folds)} - set(read): raise misfit(f'has no chip in fold {min(empty)}')
    return read.astype(int).rename('fold').loc[names]
