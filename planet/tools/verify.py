"Check a folder of chips: its label table, its tags and every image file, with all findings in one table."
import os
import shutil
import textwrap
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
import pandas as pd
from planet.bands import choose_bands
from planet.chips import existing_folder, from_folder, read_folder
from planet.cli import is_terminal
from planet.files import FOLDERS, images_in, other_splits, stem
from planet.images import groups, read_infos, same_pixels
from planet.quality import Finding, check_duplicates, check_images, count, remedy, some

__all__ = ['Report', 'told', 'verify']

COLOURS = {'ok': '32', 'note': '33', 'fix': '31;1', 'FAULT': '31;1'}

def told(state:str, # ok, note, fix or FAULT
         name:str, # what was looked at
         found:str, # what was found
         todo:str='', # what to do next
        ) -> str:
    "One finding as a screen shows it: state, name, what was found, and on a line of its own what to do."
    colour = is_terminal() and not os.environ.get('NO_COLOR')
    width = max(40, min(100, shutil.get_terminal_size().columns)) if is_terminal() else 100
    shown = (f'\033[{COLOURS[state]}m{state}\033[0m' if colour else state) + ' '*(6-len(state))
    margin = ' '*22
    lines = textwrap.wrap(found, width-len(margin), break_on_hyphens=False, break_long_words=False) or ['']
    lines += textwrap.wrap(todo, width-len(margin), break_on_hyphens=False, break_long_words=False,
                           initial_indent='-> ', subsequent_indent='   ')
    return f'{shown} {name:<14} ' + f'\n{margin}'.join(lines)

@dataclass
class Report:
    "What `verify` found: print it, ask whether it is `ok`, or read its `table`."
    folder: Path
    table: pd.DataFrame # a row a check: `check`, `found`, `state` (ok, note or FAULT), `examples` (a list), `todo`

    @property
    def ok(self) -> bool: return not (self.table.state == 'FAULT').any()

    def __str__(self):
        lines = [told(row.state, row.check, row.found + (f': {some(row.examples)}' if row.examples else ''), row.todo)
                 for row in self.table.itertuples()]
        faults, notes = (int((self.table.state == state).sum()) for state in ('FAULT', 'note'))
        said = [count(faults, 'fault')]*(faults > 0) + [count(notes, 'note')]*(notes > 0)
        end = f'training would fail: {self.folder} has' if faults else f'training can begin with {self.folder}'
        counts = ' and '.join(said) if faults else f'({said[0]})' if said else ''
        return '\n'.join([*lines, '', f"{end} {counts}".rstrip()])

# ---- other splits ------------------------------------------------------------------------------------------------

def _check_splits(names, paths, splits, same):
    "Chips in more than one split, by their pixels and by their names."
    sides = Counter(splits).most_common()
    if len(sides) < 2: return
    def leaks(found): return [g for g in found if len({splits[i] for i in g}) > 1]
    def shown(found): return [' = '.join(names[i] for i in g[:3]) + ' = ...'*(len(g) > 3) for g in found]
    pictures, named = leaks(same), leaks(groups(range(len(paths)), lambda i: stem(paths[i].name)))
    counted = ', '.join(f"{side or '(none)'} {c:,}" for side, c in sides)
    for one, what, todo in ((pictures, 'picture', "scores on chips that were trained on are too high"),
                            (named, 'name', "make sure that they are different chips")):
        found = f"{counted}; {count(len(one), what)} in more than one"
        if one: yield Finding('splits', found, 'note', shown(one), todo)
    if not pictures and not named: yield Finding('splits', f"{counted}: no name or picture is in more than one")

def _check_files(root, table, paths, workers, limits=None):
    "Read every image file, those of other splits too, and check what was found."
    if table is None: # images without a table
        home = max((root/f for f in FOLDERS), key=lambda f: len(images_in(f)))
        found = {p.name: p for p in images_in(home)}
        if found: yield Finding('images', f"{len(found):,} in {home}, with no table to tell their tags", 'note')
        tags, column = {}, {}
    else:
        found = {name: p for name, p in zip(table.rows.image_name, paths) if p is not None}
        home = Counter(p.parent for p in found.values()).most_common(1)[0][0] if found else root
        tags = dict(zip(table.rows.image_name, table.rows.tags))
        column = dict(zip(table.rows.image_name, table.rows.split)) if 'split' in table.rows else {}
    if not found: return
    others, n, mine = other_splits(root, home), len(found), set(found.values())
    others = {split: [p for p in files if p not in mine] for split, files in others.items()}
    names = [*found, *(f'{split}/{path.name}' for split, files in others.items() for path in files)]
    splits = [column.get(name, home.name) for name in found] + [split for split, files in others.items() for _ in files]
    files = [*found.values(), *(path for files in others.values() for path in files)]
    infos = read_infos(files, workers, limits)
    yield from check_images(names[:n], infos[:n])
    if bad := [i for i in range(n, len(files)) if infos[i].bad]:
        what = f"{len(bad):,} of {len(files)-n:,} beside the training images cannot be read"
        yield Finding('other files', what, 'note', [f'{names[i]} ({infos[i].bad})' for i in bad],
                      f"{remedy(infos[i].bad for i in bad)}: training does without them, predicting does not")
    first = same_pixels(files, infos)
    yield check_duplicates(names[:n], [tags.get(name, ()) for name in found], first[:n])
    same = [g for g in groups(range(len(files)), lambda i: first[i]) if len(g) > 1]
    yield from _check_splits(names, files, splits, same)

def verify(folder, # a folder with a label table and images
           workers:int=0, # threads that read images; 0: one a core
           label_delim:str='', # what separates tags, as in `from_folder`
           bands:str='', # of GeoTIFF chips, as in `planet.sources.find_chips`
          ) -> Report:
    """Check a folder of chips for everything that can be wrong with it, and go on after each fault.

    A FAULT is what `from_folder` or `check_chips` refuses, so that training would fail; a note is worth knowing.
    Duplicates have equal pixels, whatever their bytes. Splits are folders named like `test-jpg` or `valid` beside the
    training images, and a column `split` or `is_valid`. Raises `UserError` only where there is no such folder.
    """
    root = existing_folder(folder)
    table, paths, _, findings = read_folder(root, label_delim)
    if table is not None and table.read: findings.insert(0, Finding('table', ', '.join(table.read)))
    limits = None
    if bands:
        chips = choose_bands(from_folder(root, label_delim=label_delim), bands)
        paths, limits = chips.paths, chips.limits
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # Pillow's, of odd files: ours say more
        findings += _check_files(root, table, paths, workers, limits)
    rows = [f._replace(examples=list(f.examples)) for f in findings]
    return Report(root, pd.DataFrame(rows, columns=Finding._fields))
