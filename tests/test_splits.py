"Splits: random, folds, official, from a file; duplicates and groups stay on one side."
import itertools
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.transforms import RandomSplitter
from hypothesis import given, settings, strategies as st
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
from PIL import Image
from planet import cli
from planet.chips import Chips, from_folder
from planet.cli import UserError
from planet.options import check_options
from planet.splits import duplicates, find_folds, folds_file, make_folds, random_split, split_chips
from planet.synthetic.chips import draw_tags

@pytest.fixture(scope='module')
def chips(drawn): return from_folder(drawn)

def split_of(chips, *args, **kwargs):
    "Training and validation rows."
    split = split_chips(chips, *args, **kwargs)
    return split.train, split.valid

# ---- splits

def of_tags(tags, names=None):
    "Chips without files: a table of tags is all that folds need."
    names = names or [f'chip_{i}' for i in range(len(tags))]
    table = pd.DataFrame(dict(image_name=names, tags=[sorted(t) for t in tags],
                              path=[Path('nowhere')/n for n in names]))
    return Chips(table, sorted({t for o in tags for t in o}), 'a table', Path('nowhere'))

@pytest.fixture
def copied(folder):
    "The 60 chips, and copies of 20 of them under other names, two of each."
    rows = (folder/'train_v2.csv').read_text().splitlines()
    for i, row in enumerate(rows[1:21]):
        for copy in 'ab':
            shutil.copy(folder/'train-jpg'/f'train_{i}.jpg', folder/'train-jpg'/f'{copy}_{i}.jpg')
            rows.append(f"{copy}_{i},{row.split(',')[1]}")
    (folder/'train_v2.csv').write_text('\n'.join(rows))
    return from_folder(folder)

@pytest.mark.parametrize('seed,pct', [(0, .2), (42, .2), (7, .33)])
def test_without_copies_the_random_split_is_fastais(chips, seed, pct):
    train, valid = RandomSplitter(pct, seed=seed)(chips.paths)
    assert split_of(chips, pct, seed) == (list(train), list(valid))

def test_equal_pixels_are_duplicates(copied):
    assert list(duplicates(copied)) == [*range(60), *np.repeat(range(20), 2)]
    path = copied.paths[60]
    path.write_bytes(path.read_bytes() + b'x') # other bytes, the same picture
    assert duplicates(copied)[60] == 0
    Image.open(copied.paths[1]).save(path, quality=30)
    assert duplicates(copied)[60] == 60
    path.unlink()
    assert duplicates(copied)[60] == 60

@pytest.mark.parametrize('folds', [0, 4])
def test_pictures_saved_twice_with_other_compression_stay_on_one_side(tmp_path, folds):
    "40 pictures as PNG with the lowest and the highest compression: other bytes, equal pixels."
    rng, names = np.random.default_rng(0), [f'{i}_{level}' for i in range(40) for level in (1, 9)]
    for i in range(40):
        picture = Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8))
        for level in (1, 9): picture.save(tmp_path/f'{i}_{level}.png', compress_level=level)
    table = pd.DataFrame(dict(image_name=names, tags=[['a', 'b'][:1 + i//2 % 2] for i in range(80)],
                              path=[tmp_path/f'{n}.png' for n in names]))
    train, valid = split_of(Chips(table, ['a', 'b'], 'pictures', tmp_path), folds=folds, out=tmp_path/'out')
    assert not {i//2 for i in train} & {i//2 for i in valid} and len(train) + len(valid) == 80

@pytest.mark.parametrize('folds', [0, 5])
def test_copies_stay_on_one_side(copied, folds, tmp_path):
    first = duplicates(copied)
    for fold in range(max(folds, 1)):
        train, valid = split_of(copied, folds=folds, fold=fold, out=tmp_path)
        assert sorted(train + valid) == list(range(100)) and not set(first[train]) & set(first[valid])
    train, valid = map(list, RandomSplitter(.2, seed=42)(copied.paths))
    assert set(first[train]) & set(first[valid]), 'fastai alone tears some apart'

def test_copies_move_nobody_else(copied):
    "A chip without copies is where fastai's split of the same chips has it."
    first = duplicates(copied)
    alone = [i for i in range(100) if (first == first[i]).sum() == 1]
    valid = set(RandomSplitter(.2, seed=5)(copied.paths)[1])
    assert valid & set(alone) == set(split_of(copied, seed=5)[1]) & set(alone) != set()

def test_one_chip_many_times_cannot_be_split(copied, tmp_path):
    same = copied[[0, 60, 61]]
    for options in (dict(valid_pct=.4), dict(folds=2, out=tmp_path)):
        with pytest.raises(UserError, match='duplicates stay together|distinct'): split_of(same, **options)

@pytest.mark.parametrize('folds', [2, 5, 10])
def test_folds_have_each_tags_share(folds):
    chips = of_tags(draw_tags(2000, seed=1))
    fold = make_folds(chips, folds)
    assert list(fold.index) == list(chips.table.image_name) and np.ptp(np.bincount(fold)) <= 2
    spread = pd.DataFrame(chips.targets, columns=chips.vocab).groupby(fold.to_numpy()).sum().agg(np.ptp)
    # `primary` is dealt out last, when there is no choice left
    assert spread.drop('primary').max() <= 1 and spread.primary <= .1*chips.targets.sum(0).max()/folds

def test_folds_depend_on_seed_and_chips_not_on_the_order_of_rows():
    chips = of_tags(draw_tags(200))
    fold = make_folds(chips, 4)
    mixed = chips[np.random.default_rng(0).permutation(200)]
    pd.testing.assert_series_equal(make_folds(mixed, 4), fold[mixed.table.image_name])
    assert folds_file(mixed, 4) == folds_file(chips, 4)
    assert (make_folds(chips, 4, seed=1) != fold).any()

BUSY = [['clear', 'road', 'ship', 'water'], ['clear'], ['clear', 'road', 'ship', 'water'], ['clear'],
        ['clear', 'water'],
        ['blow_down', 'clear', 'road', 'water']]

def test_a_rare_tag_is_in_every_training_split(tmp_path):
    "iterative-stratification#6: the library puts both ships into one of the two folds, with some seeds."
    chips = of_tags(BUSY)
    def alone(seed):
        cut = MultilabelStratifiedKFold(2, shuffle=True, random_state=seed)
        return [set(held) for _, held in cut.split(chips.targets, chips.targets)]
    assert any({0, 2} <= held for seed in range(30) for held in alone(seed))
    for seed in range(30):
        for fold in range(2):
            train, _ = split_of(chips, seed=seed, folds=2, fold=fold, out=tmp_path)
            several = [chips.vocab.index(t) for t in ('clear', 'road', 'ship', 'water')]
            assert chips.targets[train][:, several].any(0).all()

def well_cut(hot, fold, folds):
    "Each fold has a chip, and no tag of several chips lies in one fold alone."
    fold = np.asarray(fold)
    return len(set(fold)) == folds and all(len(set(fold[column])) > 1 for column in hot.T if column.sum() > 1)

@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.sampled_from('abcdefg'), min_size=1), min_size=3, max_size=7), st.integers(2, 3))
def test_tags_can_be_trained_on_wherever_any_cut_allows_it(tags, folds):
    chips = of_tags([['x', *t] for t in tags])
    if any(well_cut(chips.targets, cut, folds) for cut in itertools.product(range(folds), repeat=len(tags))):
        assert well_cut(chips.targets, make_folds(chips, folds), folds)

def test_the_competitions_own_table():
    path = Path(__file__).resolve().parent.parent.parent/'shared'/'planet_labels'/'train_v2.csv'
    if not path.is_file(): pytest.skip(f'the table is not in {os.path.relpath(path)}')
    table = pd.read_csv(path)
    chips = of_tags([set(t.split()) for t in table.tags], list(table.image_name))
    fold = make_folds(chips, 5)
    counts = pd.DataFrame(chips.targets, columns=chips.vocab).groupby(fold.to_numpy()).sum()
    assert sorted(np.bincount(fold)) == [8095] + [8096]*4
    assert counts.drop(columns='primary').agg(np.ptp).max() <= 2 and counts.blow_down.between(19, 20).all()

# ---- the file of folds

def test_experiments_share_the_file_of_folds(chips, tmp_path, capsys):
    held = [set(split_of(chips, folds=3, fold=fold, out=tmp_path)[1]) for fold in range(3)]
    assert set().union(*held) == set(range(60)) and sum(map(len, held)) == 60
    file, = (tmp_path/'folds').iterdir()
    assert file == folds_file(chips, 3, 42, tmp_path)
    assert split_chips(chips, folds=3, fold=1, out=tmp_path).facts == dict(kind='folds', folds=3, fold=1, seed=42,
                                                                           folds_file=str(file))
    assert split_chips(chips).facts == dict(kind='random', valid_pct=.2, seed=42)
    written = pd.read_csv(file)
    assert list(written) == ['image_name', 'fold'] and list(written.image_name) == list(chips.table.image_name)
    assert [set(np.flatnonzero(written.fold == f)) for f in range(3)] == held
    # some of the chips lie in the same folds of the same file
    some = chips[range(20, 40)]
    assert set(split_of(some, folds=3, fold=2, out=tmp_path, whole=chips)[1]) == {i-20 for i in held[2] if 20 <= i < 40}
    assert list((tmp_path/'folds').iterdir()) == [file]
    said = capsys.readouterr().out
    n = len(held[2])
    assert f'split: fold 2 of 3, {60-n} chips to train on, {n} in the validation set ({file})\n' in said

def test_other_chips_tags_seeds_and_numbers_have_other_files(chips):
    less, other = chips[range(59)], chips[range(60)]
    other.table['tags'] = [['clear'], *other.table.tags[1:]]
    files = {folds_file(chips), folds_file(less), folds_file(other), folds_file(chips, seed=1),
             folds_file(chips, folds=4)}
    assert len(files) == 5 and folds_file(chips[range(60)]) in files

def test_names_that_look_like_numbers_stay_names(tmp_path):
    chips = of_tags([['a'], ['a', 'b'], ['b'], ['a'], ['b']], ['007', '7', '1e3', 'NA', 'with, comma'])
    made = find_folds(chips, 2, out=tmp_path)
    pd.testing.assert_series_equal(find_folds(chips, 2, out=tmp_path), made)
    assert list(made.index) == list(chips.table.image_name)

def test_a_file_that_its_user_edited_counts(chips, tmp_path):
    find_folds(chips, 2, out=tmp_path)
    path = folds_file(chips, 2, 42, tmp_path)
    rows = [f'{name},{int(i >= 20)}' for i, name in enumerate(chips.table.image_name)]
    path.write_text('\r\n'.join(['image_name,fold', *reversed(rows)]))
    assert split_of(chips, folds=2, fold=0, out=tmp_path)[1] == list(range(20))

def test_a_file_that_tears_duplicates_apart_is_told_of(copied, tmp_path, capsys):
    find_folds(copied, 2, out=tmp_path)
    path = folds_file(copied, 2, 42, tmp_path)
    split_of(copied, folds=2, out=tmp_path)
    assert 'duplicate' not in capsys.readouterr().out
    path.write_text(''.join(['image_name,fold\n',
                             *(f'{name},{int(name.startswith("a_"))}\n' for name in copied.table.image_name)]))
    split_of(copied, folds=2, out=tmp_path)
    assert 'split: 20 chips have a duplicate on the other side: delete the file' in capsys.readouterr().out

def spoil_header(text): return text.replace('image_name,fold', 'name;fold')
def spoil_fold(text): return text.replace('train_3,', 'train_3,7')
def one_less(text): return '\n'.join(text.splitlines()[:-1])
def one_renamed(text): return text.replace('train_3,', 'train_x,')
def one_twice(text): return text + 'train_3,0\n'
def cut_short(text): return text[:len(text)//2]
def all_in_one(text): return text.replace(',1', ',0')
def nothing(text): return ''
def no_text(text): return '\0\xff'*50

@pytest.mark.parametrize('spoil',
                         [spoil_header, spoil_fold, one_less, one_renamed, one_twice, cut_short, all_in_one, nothing,
                          no_text])
def test_a_damaged_file_of_folds(chips, tmp_path, spoil):
    find_folds(chips, 2, out=tmp_path)
    path = folds_file(chips, 2, 42, tmp_path)
    damaged = spoil(path.read_text())
    path.write_bytes(damaged.encode('latin1'))
    with pytest.raises(UserError, match='fix it, or delete it and it is made again') as e:
        split_of(chips, folds=2, out=tmp_path)
    assert str(path) in str(e.value) and '\n' not in str(e.value) and 'image_name,tags' not in str(e.value)
    assert path.read_bytes() == damaged.encode('latin1'), 'it is not overwritten'

def test_a_file_and_folds_are_two_ways_to_split(chips, tmp_path):
    "The file was left aside without a word."
    file = tmp_path/'mine.csv'
    file.write_text('image_name,split\n' + ''.join(f'{n},train\n' for n in chips.table.image_name))
    with pytest.raises(UserError, match='`split` .*mine.csv has no use with `folds`'):
        split_chips(chips, split=str(file), folds=2, out=tmp_path)
    for options in (dict(split=str(file), folds=2), dict(split='nowhere.csv')): # before chips are read
        with pytest.raises(UserError, match='`split`'): check_options(options)
    for split in ('auto', 'random'): check_options(dict(split=split, folds=2))

def test_folds_that_cannot_be_written(chips, tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(UserError, match='`out` .*: folds cannot be written'): find_folds(chips, 2, out=tmp_path/'file')

def test_a_write_that_fails_leaves_nothing(chips, tmp_path, monkeypatch):
    def full(self, path): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(Path, 'replace', full)
    with pytest.raises(UserError, match='No space left'): find_folds(chips, 2, out=tmp_path)
    assert not list((tmp_path/'folds').iterdir())

@pytest.mark.parametrize('options,match',
                         [(dict(folds=61), '`folds` 61 of 60 distinct chips'), (dict(folds=1), 'no chip to train on'),
    (dict(folds=3, fold=3), 'they go from 0 to 2'), (dict(fold=2), '`fold` 2 needs `folds`')])
def test_folds_that_cannot_be(chips, tmp_path, options, match):
    with pytest.raises(UserError, match=match): split_of(chips, **options, out=tmp_path)
    assert not list(tmp_path.iterdir())

def test_rare_tags_are_told_of(tmp_path, capsys):
    chips = of_tags([['clear']]*8 + [['clear', 'ship'], ['clear', 'ship'], ['blow_down', 'clear']])
    fold = find_folds(chips, 5, out=tmp_path)
    split_of(chips, folds=5, fold=int(fold['chip_10']), out=tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == ['split: no training chip shows blow_down (1 chip)',
                        'split: fewer chips than folds, so missing from some validation sets: '
                        'blow_down (1 chip), ship (2 chips)']
    seed = next(seed for seed in range(99) if {8, 9} <= set(RandomSplitter(.3, seed=seed)(range(11))[1]))
    split_of(chips, .3, seed)
    assert 'no training chip shows ' in (said := capsys.readouterr().out) and 'ship (2 chips)' in said
    assert '`folds`' in said
    seed = next(seed for seed in range(99) if {8, 9, 10} & set(RandomSplitter(.3, seed=seed)(range(11))[1]) == {10})
    split_of(chips, .3, seed)
    assert capsys.readouterr().out == 'split: no training chip shows blow_down (1 chip)\n' # folds would not help

def test_a_split_says_nothing_where_nothing_is_missing(capsys):
    split_of(of_tags([['clear', 'road'], ['clear']]*20))
    assert capsys.readouterr().out == ''


# ---- groups, a table's own split, a file

def test_groups_stay_together(tmp_path):
    chips = of_tags(draw_tags(60))
    chips.table['group'] = [f'scene {i//4}' for i in range(60)]
    for options in (dict(), *(dict(folds=5, fold=f, out=tmp_path) for f in range(5))):
        train, valid = split_of(chips, **options)
        assert len(train) + len(valid) == 60 and not {i//4 for i in train} & {i//4 for i in valid}
    with pytest.raises(UserError, match='`folds` 16 of 15 groups'): split_of(chips, folds=16, out=tmp_path)

@pytest.mark.parametrize('header,words',
                         [('is_valid', ('False', 'True')), ('split', ('train', 'valid')), ('is_valid', ('0', '1'))])
def test_a_split_from_a_file(chips, tmp_path, capsys, header, words):
    path = tmp_path/'split.csv'
    path.write_text(f'image_name,{header}\n'
                    + ''.join(f'{n},{words[i >= 50]}\n' for i, n in enumerate(chips.table.image_name)))
    split = split_chips(chips, split=str(path))
    assert split.valid == [*range(50, 60)] and split.facts == dict(kind='file', split_file=str(path))
    assert f'split: {path}, 50 chips to train on, 10 in the validation set' in capsys.readouterr().out

FILES = dict( # name of a chip, its side
    utf16=lambda n, s: ('image_name,split', f'{n},{s}'), semicolons=lambda n, s: ('image_name;split', f'{n};{s}'),
    paths=lambda n, s: ('fname,set', f'train/{n}.jpg,{s}'),
    tests=lambda n, s: ('Image Name,subset', f'{n},{"test" if s == "valid" else s}'),
    whole_table=lambda n, s: ('image_name,tags,is_valid', f'{n},clear road,{s == "valid"}'),
    training=lambda n, s: ('image_name,is_train', f'{n},{int(s == "train")}'))

@pytest.mark.parametrize('form', FILES)
def test_split_files_as_people_have_them(chips, tmp_path, form):
    rows = [FILES[form](n, 'valid' if i < 12 else 'train') for i, n in enumerate(chips.table.image_name)]
    text = '\n'.join([rows[0][0], *(row for _, row in rows)])
    (tmp_path/'s.csv').write_text(text, encoding='utf-16' if form == 'utf16' else 'utf-8')
    assert split_of(chips, split=str(tmp_path/'s.csv'))[1] == [*range(12)]

def test_a_split_file_that_is_none(chips, tmp_path):
    os.mkfifo(tmp_path/'fifo')
    for name, said in (('fifo', 'not a regular file, but a FIFO'), ('.', 'a folder'), ('ramdom', 'no such file')):
        with pytest.raises(UserError, match=f'`split` .*{said}') as e: split_chips(chips, split=str(tmp_path/name))
        assert 'made again' not in str(e.value)

def test_folds_made_by_two_at_once(chips, tmp_path):
    with ThreadPoolExecutor(4) as pool: made = list(pool.map(lambda _: find_folds(chips, 3, out=tmp_path), range(8)))
    assert all(f.equals(made[0]) for f in made) and len(list((tmp_path/'folds').iterdir())) == 1

def test_advice_names_what_the_command_has(monkeypatch, capsys):
    chips = of_tags([['clear']]*8 + [['clear', 'ship']]*2)
    seed = next(seed for seed in range(99) if {8, 9} <= set(RandomSplitter(.3, seed=seed)(range(10))[1]))
    for options, said in (({}, '`folds` put a tag of two chips'), ({'seed', 'valid_pct'}, 'another --seed or')):
        monkeypatch.setattr(cli, '_options', options)
        split_of(chips, .3, seed)
        assert said in capsys.readouterr().out

@pytest.mark.parametrize('text,said',
                         [('image_name,split\ntrain_0,train\n', 'does not say where 59 of 60 chips belong'),
                          ('a,b\n1,2\n', 'lacks the columns'), (None, 'no such file')])
def test_a_split_file_that_does_not_fit(chips, tmp_path, text, said):
    if text: (tmp_path/'s.csv').write_text(text)
    with pytest.raises(UserError, match=said): split_chips(chips, split=str(tmp_path/'s.csv'))

def test_the_tables_own_split_is_taken_and_said(chips, capsys):
    own = chips[range(60)]
    own.table['split'] = ['valid' if i % 3 == 0 else 'train' for i in range(60)]
    split = split_chips(own)
    assert split.valid == [*range(0, 60, 3)] and split.facts == dict(kind='table')
    assert "split: the table's own split, 40 chips to train on, 20 in the validation set" in capsys.readouterr().out
    assert split_chips(own, split='random').facts['kind'] == 'random'

def test_a_split_leaves_torchs_random_numbers_alone(chips):
    "fastai's `RandomSplitter` seeds torch for the whole process, so that every head would start at the same weights."
    torch.manual_seed(1)
    want = torch.rand(3)
    torch.manual_seed(1)
    random_split(chips, seed=42)
    assert (torch.rand(3) == want).all()
