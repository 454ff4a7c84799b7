"Tagged chips as one value, `Chips`, and `from_folder`, which reads and checks a folder of them; nothing is downloaded."
import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
import numpy as np
import pandas as pd
from planet import quality
from planet.amazon import is_competition_vocab
from planet.cli import UserError
from planet.files import FOLDERS, HELD_OUT, SUFFIXES, existing_folder, images_in, match_images, stem, walk_images
from planet.quality import Finding, count, notes, some, stop_at_faults
from planet.tables import LabelTable, is_table, raw_table, split_name

__all__ = ['TABLES', 'FOLDERS', 'SUFFIXES', 'Chips', 'existing_folder', 'table_path', 'table_and_folder', 'raw_table',
           'read_table', 'read_folder', 'from_folder']

TABLES = 'labels.csv', 'train_v2.csv', 'train_classes.csv'

@dataclass
class Chips:
    "Tagged chips: the one value that every source yields and every consumer takes."
    table: pd.DataFrame # a row a chip: `image_name`, `tags` (a list of str, in the vocab's order), `path`;
    # perhaps `split`, `group`, and `same`, the name of the first chip with equal pixels
    vocab: list[str] # every tag of the whole table, sorted, so that none can be missing from a training split
    source: str # what they are, in a few words
    root: Path # the folder they lie in
    left_out: list[str] = field(default_factory=list) # image names of broken files that were left out
    read: list[str] = field(default_factory=list) # how the table was read, where it is not in the plain form
    notes: list[str] = field(default_factory=list) # what the checks found worth knowing
    bands: list[str] = None # names of the bands of an image, in the order of its channels; `None`: red, green, blue
    limits: list = None # values `(2, bands)` that become 0 and 255, and perhaps a third row, positions of the bands in
    # the file (`planet.tiffs.scale_bands`); `None`: images of 8 bits
    stats: tuple = None # mean and standard deviation of each band, between 0 and 1; `None`: those of the weights

    def __len__(self): return len(self.table)
    def __getitem__(self, rows) -> 'Chips':
        "The chips at `rows` (a list, an array or a slice of positions), with the whole vocab."
        return replace(self, table=self.table.iloc[rows].reset_index(drop=True))

    @property
    def paths(self) -> list[Path]: return list(self.table.path)

    @property
    def official(self) -> list[str]|None:
        "The split that the data set comes with: 'train' or 'valid' for each chip; `None` where it has none."
        return list(self.table.split) if 'split' in self.table else None

    @property
    def group(self) -> list[str]|None:
        "The group of each chip (its scene or site), which a split keeps on one side; `None` where there is none."
        return list(self.table.group) if 'group' in self.table else None

    @property
    def targets(self) -> np.ndarray: # bool, `(chips, tags)`
        "Multi-hot targets in the vocab's order."
        column = {tag: i for i, tag in enumerate(self.vocab)}
        hot = np.zeros((len(self), len(self.vocab)), dtype=bool)
        for row, tags in enumerate(self.table.tags): hot[row, [column[t] for t in tags]] = True
        return hot

    def describe(self) -> list[str]:
        "Lines that say which chips these are, how their table was read, and what the checks found."
        where = '' if self.source == str(self.root) else f' ({self.root})'
        first = [f'{len(self):,} chips', f'{len(self.vocab)} tags', f'{self.source}{where}', *self.read]
        return [', '.join(first), *self.notes]

    def facts(self, dls=None) -> dict:
        "What a record says of these chips, and of their split into `dls`."
        sides = {} if dls is None else dict(train=len(dls.train_ds), valid=len(dls.valid_ds))
        images = {k: v for k in ('bands', 'limits', 'stats') if (v := getattr(self, k)) is not None}
        return dict(source=self.source, folder=str(self.root), chips=len(self), vocab=self.vocab, **sides, **images,
                    left_out=self.left_out, read=self.read, notes=self.notes)

    def without(self, bad:dict, # path -> what is wrong with it
                skip:bool=False, # leave such chips out, rather than raise?
               ) -> 'Chips':
        "These chips less the `bad` ones, which are named in `left_out`; raises `UserError` unless `skip`."
        if not bad: return self
        fault = quality.check_readable(self.table.image_name, [bad.get(p, '') for p in self.paths])
        if not skip: stop_at_faults([fault], self.root)
        broken = self.table.path.isin(bad)
        left = replace(self, table=self.table[~broken].reset_index(drop=True),
                       left_out=self.left_out + list(self.table.image_name[broken]))
        if len(left) < 2: raise UserError(f"{self.root}: {fault.found}: {some(fault.examples)}; "
                                          f"{len(left)} readable chips are left, and training needs two at least")
        return left

# ---- where the table is ------------------------------------------------------------------------------------------

def _other_tables(root):
    "Tables of another name than `TABLES`, but for those that name no tags."
    named = [p for p in root.iterdir() if p.is_file() and not re.match(r'\.|sample_submission|test', p.name, re.I)
             and not p.stem.endswith('-corrected')] # of planet-runs labels: it lies beside the table that it corrects
    tables = sorted(p for p in named if p.suffix.lower() in ('.csv', '.tsv'))
    return tables or sorted(p for p in named if p.suffix.lower() in ('.txt', '.tab', '.dat') and is_table(p))

OTHER_TABLE = re.compile(r'(\.(xls\w?|ods|numbers|parquet|feather|jsonl?)|[ct]sv\.(gz|bz2|xz|zst))$', re.I)
ARCHIVES = '.zip', '.7z', '.tar', '.tar.gz', '.tgz'
def _archives(root): return [p.name for p in sorted(root.iterdir()) if p.name.endswith(ARCHIVES)]
def _kaggles(root, vocab=()):
    "Whether a folder or its tags are the competition's: only then are its files to be had from Kaggle."
    ours = '-jpg', '-tif-v2', 'train_v2.csv.', 'train_classes.csv.' # folders and archives
    names = [p.name for p in root.iterdir() if p.name.startswith(('train', 'test'))]
    return is_competition_vocab(vocab) or any(o in name for name in names for o in ours)

def table_path(root) -> Path:
    "The label table of a folder: the first of `TABLES` that is there, else the only table; `UserError` for none."
    path = next((root/name for name in TABLES if (root/name).exists()), None)
    others = [] if path else _other_tables(root)
    if path or len(others) == 1: return path or others[0]
    above, books = root.resolve().parent, [p.name for p in sorted(root.iterdir()) if OTHER_TABLE.search(p.name)]
    kaggle = ", or planet-data get kaggle, `to` this folder" if _kaggles(root) else ''
    todo = (f"rename the right one of {', '.join(p.name for p in others)} to {TABLES[0]}" if others else
            f"save {books[0]} as {TABLES[0]}, in CSV" if books else
            f"{above} has one: give that folder" if any((above/name).is_file() for name in TABLES) else
            f"put one of {', '.join(TABLES)} there, with the columns image_name,tags{kaggle}")
    what = f"several tables, none called {' or '.join(TABLES)}" if others else 'no label table'
    raise UserError(f"{root} holds {what}: {todo}")

def _class_folders(root):
    "A table of folders that are classes, perhaps within folders of splits (`train/wheat/1.jpg`); `None` for none."
    def classes(folder):
        folders = sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith('.'))
        return {d: files for d in folders if (files := images_in(d))}
    splits = {d: kind for d in sorted(root.iterdir()) if d.is_dir() and (kind := split_name(d.name))}
    found = [(p, d, kind) for s, kind in splits.items() for d, files in classes(s).items() for p in files]
    inside = [d for d in root.iterdir() if d.is_dir() and not d.name.startswith('.')]
    if not found and len(inside) == 1 and not classes(root) and classes(inside[0]): # images/wheat/1.jpg
        found = [(p, d, None) for d, files in classes(inside[0]).items() for p in files]
    if not found and not images_in(root):
        found = [(p, d, None) for d, files in classes(root).items() for p in files]
        if any(d.name in FOLDERS or HELD_OUT.match(d.name) for _, d, _ in found): return
    if len({d.name for _, d, _ in found}) < 2: return
    rows = pd.DataFrame(dict(image_name=[p.relative_to(root).as_posix() for p, *_ in found],
                             tags=[[d.name] for _, d, _ in found]))
    if found[0][2]: rows['split'] = [kind for *_, kind in found]
    return LabelTable(root, rows, ['one folder a class'] + ['split by folder']*bool(found[0][2]), [])

def find_table(root, label_delim:str='') -> LabelTable:
    "The label table of a folder, or one made of its folders of classes; `UserError` where there is neither."
    try: return raw_table(table_path(root), label_delim)
    except UserError:
        table = None if any((root/name).exists() for name in TABLES) else _class_folders(root)
        if table is None: raise
        return table

def read_table(path, label_delim:str='') -> pd.DataFrame: # `image_name`, `tags`
    "`image_name` and `tags` of a label table (or of a folder, as `find_table`), checked; tags sorted, each once."
    table = find_table(Path(path), label_delim) if Path(path).is_dir() else raw_table(path, label_delim)
    stop_at_faults([*table.findings, *quality.check_names(table.rows.image_name, table.rows.tags)], table.path)
    return table.rows[['image_name', 'tags']].assign(tags=[sorted(set(tags)) for tags in table.rows.tags])

# ---- what is in a folder -----------------------------------------------------------------------------------------

def _official(table):
    "Make a column of splits one of 'train' and 'valid', in place; what is to be said of it."
    rows = table.rows
    if 'split' not in rows: # a folder in the name tells as well
        parts = [re.split(r'[/\\]', name)[:-1] for name in rows.image_name]
        kinds = [next(filter(None, map(split_name, folders)), '') for folders in parts]
        if not {'train'} < set(kinds) <= {'train', 'valid', 'test'}: return
        rows['split'] = kinds
        table.read.append('split by folder')
    kinds = set(rows.split)
    if kinds == {'train', 'valid', 'test'}:
        left = int((rows.split == 'test').sum())
        table.rows = rows[rows.split != 'test'].reset_index(drop=True)
        yield Finding('split column', f"{count(left, 'chip')} of the split test left out", 'note',
                      todo="they are neither trained on nor scored")
    elif kinds == {'train', 'test'}:
        rows['split'] = rows.split.replace('test', 'valid')
        yield Finding('split column', "the split test is the validation set", 'note')
    elif len(kinds) < 2:
        table.rows, table.read = rows.drop(columns='split'), [r for r in table.read if not r.startswith('split by')]
        yield Finding('split column', f"names {', '.join(kinds)} alone", 'note', todo="a split is drawn")

def table_and_folder(path, # a folder of chips, or a label table in one
                    ) -> tuple: # the folder, and the table or `None`
    "The folder that a label table lies in, so that a table can be named in the place of a folder."
    path = Path(path).expanduser()
    return (path.parent, path) if path.is_file() and path.suffix.lower() in ('.csv', '.tsv') else (path, None)

def read_folder(root:Path, # a folder with a label table and images
                label_delim:str='', # what separates tags, as in `raw_table`
                table=None, # the label table, where it is not the one that `table_path` finds
               ) -> tuple: # the `LabelTable` or `None`, a path or `None` for each row, the vocab, all findings
    "Read and check a folder's table and look for its images; faults are among the findings, and nothing is raised."
    findings = []
    try: table = raw_table(table, label_delim) if table else find_table(root, label_delim)
    except UserError as e: return None, [], [], [Finding('table', str(e), 'FAULT')]
    if table.path.name not in TABLES and table.path != root: table.read.insert(0, f'table {table.path.name}')
    findings += table.findings
    if ignored := [name for name in TABLES if (root/name).exists() and name != table.path.name]:
        findings.append(Finding('table', f"{table.path.name} is read, and not", 'note', ignored))
    findings += quality.check_table(table.rows.image_name, table.rows.tags, table.path.name)
    vocab = sorted({tag for tags in table.rows.tags for tag in tags})
    findings += _official(table)
    names = list(table.rows.image_name)
    paths, how, unclear = match_images(root, names)
    table.read += [f"{count(n, 'image name')} matched {said}" for said, n in how.items() if said]
    findings += [*quality.check_same_file(names, paths), *_check_found(root, names, paths, unclear, vocab)]
    return table, paths, vocab, findings

def _check_found(root, names, paths, unclear, vocab):
    "Whether each row has its image and each image a row, and where missing ones may be had."
    homes = Counter(p.parent for p in paths if p is not None).most_common()
    missing = list(dict.fromkeys(n for n, p in zip(names, paths) if p is None))
    shown = [f'{n} (one of {some(unclear[n], 2)})' if n in unclear else n for n in missing]
    if missing:
        found = f"{len(missing):,} of {len(names):,} chips have no image"
        if not homes: found = f"none of {len(names):,} chips has its image"
        todo = _how_to_get(root, vocab, homes[0][0] if homes else None, missing, unclear)
        yield Finding('images', found, 'FAULT', shown, todo)
    else: yield Finding('images', f"{some([f'{n:,} in {home}' for home, n in homes])}, one for each row")
    used, read = set(paths), dict(homes)
    unread = [f.name for f in map(root.joinpath, FOLDERS[:-1]) if homes and f not in read and images_in(f)]
    if unread:
        found = f"those in {unread[0]} are not read: more of the table's are in {homes[0][0]}"
        yield Finding('extra images', found, 'note')
    if extra := [p.name for home in read for p in images_in(home) if p not in used]:
        found = f"{len(extra):,} in {some(list(read), 1)} without a row"
        yield Finding('extra images', found, 'note', extra, "they are left alone")

def _how_to_get(root, vocab, home, missing, unclear):
    "Where the `missing` images may be had; `home` is where others lie, `None` where there are none."
    if unclear:
        such = next(iter(unclear.values()))[0].relative_to(root).as_posix()
        return f"write the folder in the table as well, such as {such}"
    lost, place = {stem(re.split(r'[/\\]', name)[-1]) for name in missing}, home or root/'train'
    away = Counter(p.parent for p in walk_images(root) if stem(p.name) in lost).most_common(1)
    if away:
        (folder, n), = away
        return f"{n:,} of them lie in {folder}: " + (f"move them to {home}" if home else f"rename it to {place}")
    others = Counter(Path(f).suffix for *_, files in os.walk(root) for f in files if Path(f).stem in lost)
    if others:
        ending = some(list(others)) or 'files without an ending'
        return f"{others.total():,} of them lie there as {ending}, which is not read: save them as .png"
    images = [p for p in walk_images(root) if not home and not HELD_OUT.match(p.relative_to(root).parts[0])]
    if len(images) >= len(missing):
        return (f"there are {count(len(images), 'image')} of other names, such as {images[0].relative_to(root)}: write "
                "their names into the table")
    yours = f"put them into {place} ({', '.join(SUFFIXES[:3])} ...)"
    if home: return f"{yours}, or take their rows out"
    archives = some(_archives(root))
    if _kaggles(root, vocab):
        does = f'unpacks {archives}' if archives else 'fetches them'
        return f"planet-data get kaggle, `to` {root}, {does}; or {yours}"
    return f"unpack {archives}; or {yours}" if archives else yours

def from_folder(root, # a folder with a label table (or that table) and images in it or in `train/`; or a folder a class
                source:str=None, # what the chips are; the folder's path by default
                label_delim:str='', # what separates tags: a character, space, none (a cell is one tag); '': detected
                **fields, # of `Chips`: `bands`, `limits`, `stats` of images that are not RGB of 8 bits
               ) -> Chips:
    """Chips from a folder, with whatever tags its own table has.

    Raises `UserError` for every fault that `planet-data verify` finds in the table: none there, rows without a name,
    two rows for a file, tags separated in several ways, missing images, fewer than two chips or tags.
    """
    root, named = table_and_folder(root)
    root = existing_folder(root)
    table, paths, vocab, findings = read_folder(root, label_delim, named)
    stop_at_faults(findings, root if table is None else table.path)
    rows = table.rows.assign(tags=[sorted(set(tags)) for tags in table.rows.tags], path=paths)
    return Chips(rows.drop(columns='line', errors='ignore'), vocab, source or str(root), root, read=table.read,
                 notes=notes(findings), **fields)
