"Training and validation sets: random, by multi-label stratified folds, or as given; duplicates stay together."
# Every way of splitting gives one `Split`. Chips with equal pixels (`duplicates`) and chips of one group (a scene, a
# site) lie on one side: a score on what was trained on is too high.
import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4
import numpy as np
import pandas as pd
from planet.chips import Chips
from planet.cli import UserError, say, takes
from planet.images import same_pixels
from planet.options import SPLITS, check_options
from planet.split_files import read_folds, read_groups, read_sides

__all__ = ['Split', 'duplicates', 'with_groups', 'kept_together', 'beside_training', 'random_split', 'make_folds',
           'folds_file', 'find_folds', 'fold_split', 'split_file', 'split_chips']

@dataclass(frozen=True)
class Split:
    "Rows of the training and of the validation set, and what a record says of how they were chosen."
    train: list # positions in the table of chips
    valid: list
    facts: dict = field(default_factory=dict) # `kind`: random, folds, table or file; and what made it
    group: object = None # `(chips,)`: equal for chips that must lie on one side, from `kept_together`

# ---- what stays together

def duplicates(
    chips:Chips, # chips with their files
) -> np.ndarray: # `(chips,)`: the row of the first chip with the same pixels, which is most often its own
    "Find chips with equal pixels, whatever their files are called and however they are compressed."
    if 'same' in chips.table: # found while they were decoded
        return pd.Series(np.arange(len(chips))).groupby(chips.table.same.to_numpy()).transform('min').to_numpy()
    return same_pixels(chips.paths)

def kept_together(
    chips:Chips, # chips, perhaps with a `group` each
) -> np.ndarray: # `(chips,)`: the first row of each set of chips that must lie on one side
    "Connect duplicates and chips of one group, so that a split can keep them on one side."
    first, group = duplicates(chips), chips.group
    return first if group is None else _connected(first, group)

def _connected(*groupings):
    "The first row of each set of rows that one of several groupings puts together, directly or through others."
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    rows = pd.Series(np.arange(len(groupings[0])))
    n, k = len(rows), len(groupings)
    codes = [pd.factorize(np.asarray(g, dtype=str))[0] for g in groupings]
    edges = np.concatenate([rows.groupby(c).transform('min') for c in codes])
    label = connected_components(coo_matrix((np.ones(k*n), (np.tile(rows, k), edges)), (n, n)), directed=False)[1]
    return rows.groupby(label).transform('min').to_numpy()

def with_groups(
    chips:Chips, # chips
    file='', # a CSV of `image_name,group`, as `planet-data neighbours` writes; '': the chips as they are
) -> Chips: # with a column `group`
    "Join groups of chips from a file, which splits and intervals keep together; a table's own groups stay so too."
    if not file: return chips
    group = read_groups(Path(file).expanduser(), list(chips.table.image_name))
    if chips.group is not None:
        names = chips.table.image_name.to_numpy()
        group = names[_connected(group, chips.group)]
    many = pd.Series(group).value_counts().loc[lambda n: n > 1]
    say(f"groups: {file}, {many.sum():,} of {len(chips):,} chips are in {len(many):,} group{'s'*(len(many) != 1)} of "
        'several' + (f', the largest of {many.max():,}' if len(many) else ''))
    return replace(chips, table=chips.table.assign(group=group))

def _ungrouped(chips): return replace(chips, table=chips.table.drop(columns='group'))

def beside_training(
    split:Split, # with its `group`
) -> np.ndarray: # bool, a value a validation chip
    "Which validation chips have a chip of their group in the training set: a duplicate, or a neighbour."
    group = np.asarray(split.group)
    return np.isin(group[split.valid], group[split.train])

# ---- at random

def random_split(
    chips:Chips, # chips with their files
    valid_pct:float=0.2, # share of the chips in the validation set
    seed:int=42, # of the draw
) -> Split:
    "fastai's `RandomSplitter`, but that duplicates and chips of one group follow the first of them."
    import torch
    from fastai.data.transforms import RandomSplitter
    # the splitter seeds torch for the whole process: every head would start at the same weights
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        train, valid = RandomSplitter(valid_pct, seed=seed)(chips.paths)
    first, held = kept_together(chips), np.zeros(len(chips), dtype=bool)
    held[list(valid)] = True
    held = held[first]
    order = [int(row) for row in (*valid, *train)]
    return Split([row for row in order if not held[row]], [row for row in order if held[row]],
                 dict(kind='random', valid_pct=valid_pct, seed=seed), first)

# ---- folds

def make_folds(
    chips:Chips, # tagged chips
    folds:int=5, # how many
    seed:int=42, # of the draw among equally good folds
) -> pd.Series: # the fold (0 to `folds`-1) of each chip, by image name, in the order of the table
    """Multi-label stratified folds: each tag is spread as evenly as its chips allow; duplicates and groups stay
    together.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011) distributes the rarest tag first, then the next.
    It can still put all chips of a rare tag into one fold, so single chips are moved until each tag of two distinct
    chips is in two folds at least, and so in every training set. A tag of fewer chips than `folds` is missing from
    some validation sets, and one of a single chip from one training set: no folds can help that. The order of the
    rows does not matter.

    Raises `UserError` where there are fewer distinct chips (or groups) than folds.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
    names = list(chips.table.image_name)
    chips = chips[np.argsort(np.array(names, dtype=str), kind='stable')]
    rows, group = np.unique(kept_together(chips), return_inverse=True)
    if len(rows) < folds:
        what = 'distinct chips' if chips.group is None else 'groups of chips'
        raise UserError(f'{folds} of {len(rows)} {what}: there must be as many as folds', option='folds')
    hot = np.zeros((len(rows), len(chips.vocab)), dtype=bool)
    np.logical_or.at(hot, group, chips.targets)
    fold = np.zeros(len(rows), dtype=int)
    cut = MultilabelStratifiedKFold(folds, shuffle=True, random_state=seed).split(hot, hot)
    for f, (_, held) in enumerate(cut): fold[held] = f
    return pd.Series(_spread(fold, hot, folds, seed)[group], chips.table.image_name, name='fold').loc[names]

def _in_one_fold(fold, hot, folds):
    "Tags of several chips that lie in one fold alone, and folds without a chip."
    counts = np.stack([hot[fold == f].sum(0) for f in range(folds)])
    tags = np.flatnonzero((counts.sum(0) > 1) & ((counts > 0).sum(0) == 1))
    return tags, np.flatnonzero(np.bincount(fold, minlength=folds) == 0)

def _spread(fold, hot, folds, seed, tries=50, candidates=30):
    "`fold` with single chips moved until `_in_one_fold` finds nothing: of some random moves the one that leaves least."
    rng, best = np.random.default_rng(seed), fold
    def left(fold): return sum(map(len, _in_one_fold(fold, hot, folds)))
    for _ in range(tries*hot.shape[1]):
        tags, empty = _in_one_fold(fold, hot, folds)
        if not len(tags) + len(empty): return fold
        sizes = np.bincount(fold, minlength=folds)
        movable = np.flatnonzero(fold == sizes.argmax()) if len(empty) else np.flatnonzero(hot[:, rng.choice(tags)])
        moves = []
        for row in rng.permutation(movable)[:candidates]:
            for to in (empty if len(empty) else range(folds)):
                if to == fold[row]: continue
                moved = fold.copy()
                moved[row] = to
                moves.append((left(moved), sizes[to], rng.random(), row, to))
        *_, row, to = min(moves)
        fold = fold.copy()
        fold[row] = to
        if left(fold) < left(best): best = fold
    return best # so few chips with so many tags that there may be no better

def folds_file(
    chips:Chips, # the whole set, of which an experiment may take a part
    folds:int=5, seed:int=42, # as in `make_folds`
    out='runs', # where records lie
) -> Path:
    "Path of the file of folds: its name has a hash of names, tags and groups, so that other chips have another file."
    columns = [chips.table.image_name, [' '.join(tags) for tags in chips.table.tags]]
    if chips.group is not None: columns.append(chips.group)
    digest = hashlib.blake2b('\n'.join(sorted(map(','.join, zip(*columns)))).encode(), digest_size=4).hexdigest()
    name = re.sub(r'[^\w.-]+', '-', Path(chips.root).resolve().name) or 'chips'
    return Path(out).expanduser()/'folds'/f'{name}-{folds}folds-seed{seed}-{digest}.csv'

def find_folds(
    chips:Chips, # the whole set
    folds:int=5, seed:int=42, # as in `make_folds`
    out='runs', # where records lie; the chips' own folder may be read-only
) -> pd.Series: # the fold of each chip, by image name, in the order of the table
    """Read the folds from `folds_file`, which is made where there is none: `image_name,fold`, a row a chip.

    What is in the file counts, so folds of your own (by scene, say) may take its place. Raises `UserError` where it
    cannot be written, or where it does not give each chip one of the folds; the file is never overwritten. """
    path, names = folds_file(chips, folds, seed, out), list(chips.table.image_name)
    if path.exists(): return read_folds(path, names, folds)
    made = make_folds(chips, folds, seed)
    part = path.with_name(f'.{path.name}-{uuid4().hex}') # two runs may start at once: both make the same
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.to_csv(part)
        part.replace(path) # whole or not at all
    except OSError as e:
        why = f'{out}: folds cannot be written to {path} ({e.strerror}): name another folder'
        raise UserError(why, option='out') from None
    finally:
        with suppress(OSError): part.unlink()
    return made

def fold_split(
    chips:Chips, # the chips to split
    folds:int=5, fold:int=0, seed:int=42, out='runs', # as in `find_folds`; `fold` is the validation set
    whole:Chips=None, # the set that the folds are made of, where `chips` are only some of it
) -> Split:
    "One of several stratified folds is the validation set; says which file they are in."
    whole = chips if whole is None else whole
    held = (find_folds(whole, folds, seed, out).loc[list(chips.table.image_name)] == fold).to_numpy()
    train, valid = (np.flatnonzero(o).tolist() for o in (~held, held))
    path = folds_file(whole, folds, seed, out)
    return Split(train, valid, dict(kind='folds', folds=folds, fold=fold, seed=seed, folds_file=str(path)))

# ---- a split that comes with the chips, or in a file

def split_file(
    path, # a table with image names and a column `is_valid` (true or false) or `split` (train or valid)
    chips:Chips, # each of them has its row; `test` is neither side, or the validation set where there is no other
) -> Split:
    "Read the training and validation sets from a file; raises `UserError` where it does not fit the chips."
    sides = read_sides(path, list(chips.table.image_name))
    train, valid = ([row for row, side in enumerate(sides) if side == of] for of in ('train', 'valid'))
    if not valid: valid = [row for row, side in enumerate(sides) if side == 'test'] # a file of train and test alone
    return Split(train, valid, dict(kind='file', split_file=str(path)))

# ---- one way to all of them

def split_chips(
    chips:Chips, # the chips to split
    valid_pct:float=0.2, # share of the chips in the validation set, in a random split
    seed:int=42, # of a random split or of folds
    folds:int=0, # stratified folds; 0: none
    fold:int=0, # the fold that is the validation set
    out='runs', # where records lie, and the folds with them
    split:str='auto', # `auto`: the table's own if it has one, else random; `random`; a file, as in `split_file`;
                      # `ungrouped`: random or in folds, as if there were no groups, to see what they change
    whole:Chips=None, # the set that folds are made of, where `chips` are only some of it
    tell=say, # takes a line of what there is to know of the split
) -> Split:
    """Split chips into a training and a validation set; duplicates stay together. The same options give the same split.

    Says which split was taken, which tags no training chip shows, and whether a given split has duplicates on both
    sides. Raises `UserError` where too little is left to train on or to score, or where options or a file do not fit.
    """
    check_options(dict(valid_pct=valid_pct, seed=seed, folds=folds, fold=fold, split=str(split)))
    grouped = chips
    if split == 'ungrouped':
        if chips.group is None: raise UserError('ungrouped needs `groups`, or a table with a column group', 'split')
        chips, whole = _ungrouped(chips), None if whole is None else _ungrouped(whole)
    if folds: found, asked = fold_split(chips, folds, fold, seed, out, whole), f'fold {fold} of {folds}'
    elif split not in SPLITS: found, asked = split_file(Path(split).expanduser(), chips), split
    elif split == 'auto' and chips.official is not None:
        train, valid = ([row for row, side in enumerate(chips.official) if side == of] for of in ('train', 'valid'))
        found, asked = Split(train, valid, dict(kind='table')), "the table's own split"
    else: found, asked = random_split(chips, valid_pct, seed), f'`valid_pct` {valid_pct:g}'
    if len(found.train) < 2 or len(found.valid) < 1:
        left = f'{len(found.train)} to train on and {len(found.valid)} to score'
        raise UserError(f'{asked} of {len(chips)} chips leaves {left}: two and one are needed at least '
                        '(duplicates stay together)')
    if found.facts['kind'] != 'random':
        where = found.facts.get('folds_file')
        say(f'split: {asked}, {len(found.train):,} chips to train on, {len(found.valid):,} in the validation set'
            + (f' ({where})' if where else '; `split` random draws another' if found.facts['kind'] == 'table' else ''))
    if found.group is None or grouped is not chips: found = replace(found, group=kept_together(grouped))
    if grouped.group is not None:
        found = replace(found, facts=found.facts | dict(groups=_group_facts(grouped, found, split, valid_pct, seed)))
    for remark in _remarks(grouped, found): tell(f'split: {remark}')
    return found

def _group_facts(chips, split, kind, valid_pct, seed):
    "How many chips are in groups of several, and how many validation chips have one of their group in training."
    sizes = pd.Series(split.group).value_counts()
    facts = dict(groups=int((sizes > 1).sum()), chips=int(sizes[sizes > 1].sum()), ungrouped=kind == 'ungrouped',
                 beside_training=int(beside_training(split).sum()))
    if split.facts['kind'] == 'random' and kind != 'ungrouped':
        other = replace(random_split(_ungrouped(chips), valid_pct, seed), group=split.group)
        facts |= dict(random_beside_training=int(beside_training(other).sum()), random_valid=len(other.valid))
    return facts

def _remarks(chips, split):
    "What a user should know of a split."
    hot, folds = chips.targets, split.facts.get('folds', 0)
    counts, learnt = hot.sum(0), hot[split.train].any(0)
    def named(which):
        tags = [f"{chips.vocab[i]} ({n} chip{'s'*(n > 1)})" for i, n in enumerate(counts.tolist()) if n and which[i]]
        return ', '.join(tags[:4]) + (f' and {len(tags)-4} more tags' if len(tags) > 4 else '')
    if missing := named(~learnt):
        todo = ('; another `seed` or a smaller `valid_pct` may' if not takes('folds') else '' if folds or
                counts[~learnt].max() < 2 else '; `folds` put a tag of two chips into every training set')
        yield f'no training chip shows {missing}{todo}'
    if rare := named(counts < folds): yield f'fewer chips than folds, so missing from some validation sets: {rare}'
    if facts := split.facts.get('groups'):
        n = facts['groups']
        together = f"{facts['chips']:,} of {len(chips):,} chips are in {n:,} group{'s'*(n != 1)} of several"
        if n := facts['beside_training']:
            yield f'{n:,} of {len(split.valid):,} validation chips have one of their group in the training set'
        elif 'random_valid' in facts:
            yield (f"{together}, and stay together; a random split would have {facts['random_beside_training']:,} of "
                   f"{facts['random_valid']:,} validation chips beside one of their group in the training set")
        else: yield f'{together}, and stay together'
    if split.facts['kind'] != 'random': # a file may be older than the images, or edited
        first = split.group if chips.group is None else duplicates(chips)
        if both := len(set(first[split.train]) & set(first[split.valid])):
            todo = ': delete the file of folds and it is made again' if folds else ': the score is too high'
            yield f'{both} chips have a duplicate on the other side{todo}'
