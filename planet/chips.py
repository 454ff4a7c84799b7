"Tagged chips as one value, `Chips`, and the readers of label tables and folders that yield it. Nothing here fetches or draws."
from dataclasses import dataclass, field
from pathlib import Path
import os
import numpy as np, pandas as pd
from planet.cli import UserError
from planet.files import SUFFIXES, existing_folder

__all__ = ['TABLES', 'FOLDERS', 'SUFFIXES', 'Chips', 'existing_folder', 'table_path', 'raw_table', 'read_table', 'find_images', 'from_folder']

TABLES = 'labels.csv', 'train_v2.csv', 'train_classes.csv'
FOLDERS = 'train', 'train-jpg', '.'

@dataclass
class Chips:
    "Tagged chips: the one value that every source yields and every consumer takes."
    table: pd.DataFrame # a row a chip: `image_name`, `tags` (a list of str, in the vocab's order), `path`
    vocab: list[str] # every tag of the whole table, sorted, so that none can be missing from a training split
    source: str # what they are, in a few words
    root: Path # the folder they lie in
    left_out: list[str] = field(default_factory=list) # image names of broken files that were left out

    def __len__(self): return len(self.table)
    def __getitem__(self, rows) -> 'Chips':
        "The chips at `rows` (a list, an array or a slice of positions), with the whole vocab."
        return Chips(self.table.iloc[rows].reset_index(drop=True), self.vocab, self.source, self.root, self.left_out)

    def facts(self, dls) -> dict:
        "What a record says of these chips and of their split into `dls`."
        return dict(source=self.source, folder=str(self.root), chips=len(self), vocab=self.vocab,
                    train=len(dls.train_ds), valid=len(dls.valid_ds), left_out=self.left_out)

    @property
    def paths(self) -> list[Path]: return list(self.table.path)

    @property
    def targets(self) -> np.ndarray: # bool, `(chips, tags)`
        "Multi-hot targets in the vocab's order."
        column = {tag: i for i, tag in enumerate(self.vocab)}
        hot = np.zeros((len(self), len(self.vocab)), dtype=bool)
        for row, tags in enumerate(self.table.tags): hot[row, [column[t] for t in tags]] = True
        return hot

    def without(self, bad:dict, # path -> what is wrong with it
                skip:bool=False, # leave such chips out, rather than raise?
               ) -> 'Chips':
        "These chips less the `bad` ones, which are named in `left_out`; raises `UserError` unless `skip`."
        if not bad: return self
        named = '; '.join(f'{p} ({why})' for p, why in list(bad.items())[:3])
        if not skip: raise UserError(f"{len(bad)} of {len(self)} chips cannot be read: {named}{' ...' if len(bad)>3 else ''}. "
                                     "Fetch them again, or leave them out with --skip_bad")
        broken = self.table.path.isin(bad)
        left = Chips(self.table[~broken].reset_index(drop=True), self.vocab, self.source, self.root,
                     self.left_out + list(self.table.image_name[broken]))
        if len(left) < 2: raise UserError(f"{self.root}: {named}; {len(left)} readable chips are left, and training needs two at least")
        return left

def table_path(root):
    "The label table of a folder: the first of `TABLES` that is there."
    path = next((root/name for name in TABLES if (root/name).is_file()), None)
    if path is None: raise UserError(f"{root} holds no label table: put one of {', '.join(TABLES)} there, with the columns image_name,tags")
    return path

def raw_table(path):
    "A label table as it stands, all of it strings; raises `UserError` where it is no table of `image_name` and `tags`."
    try: table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError: raise UserError(f"{path} is empty: it needs the columns image_name,tags and a row a chip") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as e: raise UserError(f"{path} is no table of comma-separated values: {e}") from None
    if missing := [c for c in ('image_name', 'tags') if c not in table]:
        raise UserError(f"{path} has no column {' and no column '.join(missing)} (it has {', '.join(table.columns)}): "
                        "name its columns image_name,tags")
    if not len(table): raise UserError(f"{path} has a header and no rows: it needs a row a chip")
    # pandas takes a first cell that the header does not name for an index, and would shift the others under wrong names
    if not isinstance(table.index, pd.RangeIndex):
        raise UserError(f"{path} has more cells in a row than names in its header: put spaces between the tags of a chip, not commas")
    return table

def read_table(path):
    "`image_name` and `tags` of a label table, checked; tags become lists without repeats."
    table = raw_table(path)
    if (twice := table.image_name[table.image_name.duplicated()]).any():
        raise UserError(f"{path} names {twice.nunique()} chips more than once, such as {', '.join(twice.unique()[:3])}: keep one row each")
    table = table[['image_name', 'tags']].copy()
    table['tags'] = [sorted(set(tags.split())) for tags in table.tags]
    return table

def find_images(root, names):
    "The file of each of `names`, or `None`, from whichever of the usual folders holds the most of them."
    endings = '', *SUFFIXES, *(s.upper() for s in SUFFIXES) # cameras write .JPG
    def files(folder):
        if not (root/folder).is_dir(): return {}
        listed = {entry.name for entry in os.scandir(root/folder)}
        found = {}
        for name in names:
            ending = next((s for s in endings if name+s in listed and (s or name.lower().endswith(SUFFIXES))), None)
            if ending is not None: found[name] = root/folder/(name+ending)
        return found
    best = max((files(f) for f in FOLDERS), key=len)
    return [best.get(name) for name in names]

def from_folder(root, # a folder with a label table and its images in `train/`, `train-jpg/` or beside it
                source:str=None, # what the chips are; the folder's path by default
               ) -> Chips:
    """Chips from a folder in the competition's layout, with whatever tags its own table has.

    Raises `UserError` where there is no table, it lacks a column or a row, an image is missing, or fewer than two chips
    or two tags are left to tell apart.
    """
    root = existing_folder(root)
    path = table_path(root)
    table = read_table(path)
    table['path'] = find_images(root, table.image_name)
    if (missing := table.image_name[table.path.isna()]).any():
        raise UserError(f"{len(missing)} of {len(table)} chips in {path} have no image: {', '.join(missing[:3])}{' ...' if len(missing)>3 else ''}. "
                        f"Put them into {root/'train'} (.jpg or .png), or take their rows out")
    vocab = sorted({tag for tags in table.tags for tag in tags})
    if len(vocab) < 2: raise UserError(f"{path} has {'one tag' if vocab else 'no tags'} ({', '.join(vocab)}): tagging needs two at least")
    if len(table) < 2: raise UserError(f"{path} has a single chip: one is needed to train and one to score")
    return Chips(table, vocab, source or str(root), root)

