"From a table of tags to batches: what a learner is fed."
import itertools, os, pickle, shutil
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from fastai.data.transforms import RandomSplitter
from fastai.torch_core import set_seed
from hypothesis import given, settings, strategies as st
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold
from PIL import Image
from planet.cli import UserError
from planet.data import (find_folds, folds_file, held_out_table, load_chips, make_folds, only_of, same_file, split_facts, split_rows,
                         tags_dls, weather_dls)
from planet.chips import Chips, from_folder
from planet.images import ChipStore, open_chip
from planet.synthetic.chips import draw_tags

@pytest.fixture(scope='module')
def chips(drawn): return from_folder(drawn)
@pytest.fixture(scope='module')
def store(chips): return ChipStore(chips.paths, 32)

# ---- decoding

def test_scaled_as_pillow_scales(chips):
    path = chips.paths[0]
    want = np.asarray(Image.open(path).convert('RGB').resize((32, 32), Image.Resampling.BOX)).astype(float)
    got = open_chip(path, 32)
    assert got.dtype == torch.uint8 and got.shape == (3, 32, 32) and got.is_contiguous()
    # the JPEG library scales while it decodes: the same picture but for rounding
    assert np.abs(got.permute(1, 2, 0).numpy() - want).mean() < 2

@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK', 'RGBA', 'P'])
def test_any_mode_becomes_rgb(tmp_path, mode):
    red = Image.new('RGB', (32, 32), (200, 30, 30)).convert(mode)
    path = tmp_path/('a.jpg' if mode == 'CMYK' else 'a.png')
    red.save(path, quality=100)
    want = np.asarray(red.convert('RGB')).reshape(-1, 3).mean(0)
    assert np.abs(open_chip(path, 32).float().mean((1, 2)).numpy() - want).max() < 3

def test_real_chips_keep_their_colours(real_chips):
    "Four-component JPEGs: raw channels would be wrong by far."
    path = sorted((real_chips/'train').iterdir())[0]
    im = Image.open(path)
    assert im.mode == 'CMYK'
    np.testing.assert_allclose(open_chip(path, 128).float().mean((1, 2)), np.asarray(im.convert('RGB')).mean((0, 1)), atol=1)

def test_a_chip_that_is_not_square_is_cropped():
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = 255
    assert (open_chip(wide, 40) == 255).all()

def test_store_serves_what_open_chip_gives(chips, store):
    for path in chips.paths[:5]: torch.testing.assert_close(store[path], open_chip(path, 32))

def test_store_without_room_decodes_each_time(chips, monkeypatch):
    monkeypatch.setattr('planet.images._free_memory', lambda: 0)
    small = ChipStore(chips.paths, 32)
    assert len(small.pixels) == 0
    torch.testing.assert_close(small[chips.paths[3]], open_chip(chips.paths[3], 32))

def test_store_leaves_its_pixels_behind_when_pickled(store): assert len(pickle.dumps(store)) < 2000

# ---- batches

def test_multi_label_batches(chips, store):
    dls = tags_dls(chips, store, bs=8)
    x, y = dls.one_batch()
    assert x.shape == (8, 3, 32, 32) and x.dtype == torch.float32 and 0 <= x.min() and x.max() <= 1
    assert y.shape == (8, len(chips.vocab)) and set(y.unique().tolist()) == {0, 1}
    assert list(dls.vocab) == chips.vocab
    assert len(dls.train_ds) == 48 and len(dls.valid_ds) == 12

def test_targets_are_those_of_the_table(chips, store):
    dls = tags_dls(chips, store)
    of = dict(zip(chips.paths, chips.targets))
    for ds in (dls.train_ds, dls.valid_ds):
        for path, y in zip(ds.items, ds.tls[1]): assert y.bool().tolist() == of[path].tolist()

def test_training_chips_turn_and_held_out_ones_do_not(chips, store):
    def views(dl): return {(x*255).round().byte().numpy().tobytes() for _ in range(60) for xs, _ in dl for x in xs}
    def turned(path): return {torch.rot90(f, k, (1, 2)).numpy().tobytes() for k in range(4) for f in (store[path], store[path].flip(2))}
    set_seed(1) # 60 draws of 8 views miss one in half a percent of the runs
    dls = tags_dls(chips[range(3)], store, .4)
    one, two = dls.train_ds.items
    assert views(dls.train) == turned(one) | turned(two) and len(turned(one)) == 8
    assert views(dls.valid) == {store[dls.valid_ds.items[0]].numpy().tobytes()}

def test_the_split_is_seeded(chips, store):
    def held(seed): return tags_dls(chips, store, seed=seed).valid_ds.items
    assert list(held(1)) == list(held(1)) != list(held(2))

def test_batches_are_seeded(chips, store):
    def batch():
        set_seed(3)
        return tags_dls(chips, store, bs=8).one_batch()
    (x1, y1), (x2, y2) = batch(), batch()
    assert (x1 == x2).all() and (y1 == y2).all()

def test_workers_load_the_same_chips(chips, store):
    dls = tags_dls(chips, store, bs=8, workers=2)
    x = torch.cat([x for x, _ in dls.valid])
    want = torch.stack([store[p] for p in dls.valid_ds.items])
    torch.testing.assert_close(x, (want/255.).to(x.device), check_dtype=False, rtol=0, atol=1e-6)

def test_few_chips_make_one_smaller_batch(chips, store):
    dls = tags_dls(chips[range(5)], store, bs=64)
    assert [len(x) for x, _ in dls.train] == [4]

@pytest.mark.parametrize('n,pct', [(2, .5), (4, .2), (3, .9), (60, .999)])
def test_a_split_with_too_little_on_a_side(chips, store, n, pct):
    with pytest.raises(UserError, match='to train on and .+ to score'): tags_dls(chips[range(n)], store, pct)

# ---- the weather

def test_weather_is_one_class_a_chip(chips, store):
    dls = weather_dls(chips, store, bs=8)
    x, y = dls.one_batch()
    assert y.shape == (8,) and y.dtype == torch.int64
    assert set(dls.vocab) <= {'clear', 'cloudy', 'haze', 'partly_cloudy'}
    of = dict(zip(chips.paths, chips.table.tags))
    for path, y in zip(dls.valid_ds.items, dls.valid_ds.tls[1]): assert dls.vocab[y] in of[path]

def test_chips_with_no_weather_or_two_are_left_out(folder):
    rows = (folder/'train_v2.csv').read_text().splitlines()
    rows[1], rows[2] = 'train_0,water', 'train_1,clear haze'
    (folder/'train_v2.csv').write_text('\n'.join(rows))
    chips, labels = only_of(from_folder(folder))
    assert len(chips) == len(labels) == 58 and 'train_0' not in set(chips.table.image_name)

def test_no_weather_at_all(folder, store):
    table = (folder/'train_v2.csv').read_text()
    for tag in ('partly_cloudy', 'cloudy', 'clear', 'haze'): table = table.replace(tag, 'ship')
    (folder/'train_v2.csv').write_text(table)
    with pytest.raises(UserError, match='weather needs chips of two kinds'): weather_dls(from_folder(folder), store)

# ---- splits

def of_tags(tags, names=None):
    "Chips without files: a table of tags is all that folds need."
    names = names or [f'chip_{i}' for i in range(len(tags))]
    table = pd.DataFrame(dict(image_name=names, tags=[sorted(t) for t in tags], path=[Path('nowhere')/n for n in names]))
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
def test_without_copies_the_random_split_is_fastais(chips, store, seed, pct):
    train, valid = RandomSplitter(pct, seed=seed)(chips.paths)
    assert split_rows(chips, pct, seed) == (list(train), list(valid))
    dls = tags_dls(chips, store, pct, seed)
    assert list(dls.train_ds.items) == [chips.paths[i] for i in train] and list(dls.valid_ds.items) == [chips.paths[i] for i in valid]

def test_same_bytes_are_the_same_chip(copied):
    first = same_file(copied)
    assert list(first) == [*range(60), *np.repeat(range(20), 2)]
    path = copied.paths[60] # one byte more or less, or one that differs
    data = path.read_bytes()
    for other in (data + b'x', data[:-1] + bytes([data[-1] ^ 1])):
        path.write_bytes(other)
        assert same_file(copied)[60] == 60
    path.unlink()
    assert same_file(copied)[60] == 60

@pytest.mark.parametrize('folds', [0, 5])
def test_copies_stay_on_one_side(copied, folds, tmp_path):
    first = same_file(copied)
    for fold in range(max(folds, 1)):
        train, valid = split_rows(copied, folds=folds, fold=fold, out=tmp_path)
        assert sorted(train + valid) == list(range(100)) and not set(first[train]) & set(first[valid])
    train, valid = map(list, RandomSplitter(.2, seed=42)(copied.paths))
    assert set(first[train]) & set(first[valid]), 'fastai alone tears some apart'

def test_copies_move_nobody_else(copied):
    "A chip without copies is where fastai's split of the same chips has it."
    first = same_file(copied)
    alone = [i for i in range(100) if (first == first[i]).sum() == 1]
    valid = set(RandomSplitter(.2, seed=5)(copied.paths)[1])
    assert valid & set(alone) == set(split_rows(copied, seed=5)[1]) & set(alone) != set()

def test_one_chip_many_times_cannot_be_split(copied, tmp_path):
    same = copied[[0, 60, 61]]
    for options in (dict(valid_pct=.4), dict(folds=2, out=tmp_path)):
        with pytest.raises(UserError, match='duplicates stay together|distinct'): split_rows(same, **options)

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

BUSY = [['clear', 'road', 'ship', 'water'], ['clear'], ['clear', 'road', 'ship', 'water'], ['clear'], ['clear', 'water'],
        ['blow_down', 'clear', 'road', 'water']]

def test_a_rare_tag_is_in_every_training_split(tmp_path):
    "iterative-stratification#6: the library puts both ships into one of the two folds, with some seeds."
    chips = of_tags(BUSY)
    def alone(seed): return [set(held) for _, held in MultilabelStratifiedKFold(2, shuffle=True, random_state=seed).split(chips.targets, chips.targets)]
    assert any({0, 2} <= held for seed in range(30) for held in alone(seed))
    for seed in range(30):
        for fold in range(2):
            train, _ = split_rows(chips, seed=seed, folds=2, fold=fold, out=tmp_path)
            assert chips.targets[train][:, [chips.vocab.index(t) for t in ('clear', 'road', 'ship', 'water')]].any(0).all()

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

def test_experiments_share_the_file_of_folds(chips, store, tmp_path, capsys):
    held = [set(split_rows(chips, folds=3, fold=fold, out=tmp_path)[1]) for fold in range(3)]
    assert set().union(*held) == set(range(60)) and sum(map(len, held)) == 60
    file, = (tmp_path/'folds').iterdir()
    assert file == folds_file(chips, 3, 42, tmp_path) and split_facts(chips, 42, 3, tmp_path) == dict(folds_file=str(file))
    assert split_facts(chips) == {}
    written = pd.read_csv(file)
    assert list(written) == ['image_name', 'fold'] and list(written.image_name) == list(chips.table.image_name)
    assert [set(np.flatnonzero(written.fold == f)) for f in range(3)] == held
    # the weather's chips are some of these, and lie in the same folds of the same file
    of = dict(zip(chips.paths, written.fold))
    dls = weather_dls(chips, store, folds=3, fold=1, out=tmp_path)
    assert {of[p] for p in dls.valid_ds.items} == {1} and {of[p] for p in dls.train_ds.items} == {0, 2}
    assert {of[p] for p in tags_dls(chips, store, folds=3, fold=1, out=tmp_path).valid_ds.items} == {1}
    some = chips[range(20, 40)]
    assert set(split_rows(some, folds=3, fold=2, out=tmp_path, whole=chips)[1]) == {i-20 for i in held[2] if 20 <= i < 40}
    assert list((tmp_path/'folds').iterdir()) == [file]
    said = capsys.readouterr().out
    assert f'split: fold 2 of 3, {60-len(held[2])} chips to train on, {len(held[2])} held out ({file})\n' in said

def test_other_chips_tags_seeds_and_numbers_have_other_files(chips):
    less, other = chips[range(59)], chips[range(60)]
    other.table['tags'] = [['clear'], *other.table.tags[1:]]
    files = {folds_file(chips), folds_file(less), folds_file(other), folds_file(chips, seed=1), folds_file(chips, folds=4)}
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
    assert split_rows(chips, folds=2, fold=0, out=tmp_path)[1] == list(range(20))

def test_a_file_that_tears_duplicates_apart_is_told_of(copied, tmp_path, capsys):
    find_folds(copied, 2, out=tmp_path)
    path = folds_file(copied, 2, 42, tmp_path)
    split_rows(copied, folds=2, out=tmp_path)
    assert 'duplicate' not in capsys.readouterr().out
    path.write_text(''.join(['image_name,fold\n', *(f'{name},{int(name.startswith("a_"))}\n' for name in copied.table.image_name)]))
    split_rows(copied, folds=2, out=tmp_path)
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

@pytest.mark.parametrize('spoil', [spoil_header, spoil_fold, one_less, one_renamed, one_twice, cut_short, all_in_one, nothing, no_text])
def test_a_damaged_file_of_folds(chips, tmp_path, spoil):
    find_folds(chips, 2, out=tmp_path)
    path = folds_file(chips, 2, 42, tmp_path)
    damaged = spoil(path.read_text())
    path.write_bytes(damaged.encode('latin1'))
    with pytest.raises(UserError, match='mend it, or delete it and it is made again') as e: split_rows(chips, folds=2, out=tmp_path)
    assert str(path) in str(e.value) and '\n' not in str(e.value)
    assert path.read_bytes() == damaged.encode('latin1'), 'it is not overwritten'

def test_folds_that_cannot_be_written(chips, tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(UserError, match='--out: folds cannot be written'): find_folds(chips, 2, out=tmp_path/'file')

def test_a_write_that_fails_leaves_nothing(chips, tmp_path, monkeypatch):
    def full(self, path): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(Path, 'replace', full)
    with pytest.raises(UserError, match='No space left'): find_folds(chips, 2, out=tmp_path)
    assert not list((tmp_path/'folds').iterdir())

@pytest.mark.parametrize('options,match', [(dict(folds=61), '61 of 60 distinct chips'), (dict(folds=1), 'no chip to train on'),
    (dict(folds=3, fold=3), 'they go from 0 to 2'), (dict(fold=2), '--fold 2 needs --folds')])
def test_folds_that_cannot_be(chips, tmp_path, options, match):
    with pytest.raises(UserError, match=match): split_rows(chips, **options, out=tmp_path)
    assert not list(tmp_path.iterdir())

def test_rare_tags_are_told_of(tmp_path, capsys):
    chips = of_tags([['clear']]*8 + [['clear', 'ship'], ['clear', 'ship'], ['blow_down', 'clear']])
    fold = find_folds(chips, 5, out=tmp_path)
    split_rows(chips, folds=5, fold=int(fold['chip_10']), out=tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == ['split: no training chip shows blow_down (1 chip)',
                        'split: fewer chips than folds, so missing from some held-out ones: blow_down (1 chip), ship (2 chips)']
    seed = next(seed for seed in range(99) if {8, 9} <= set(RandomSplitter(.3, seed=seed)(range(11))[1]))
    split_rows(chips, .3, seed)
    assert 'no training chip shows ' in (said := capsys.readouterr().out) and 'ship (2 chips)' in said and '--folds' in said

def test_a_split_says_nothing_where_nothing_is_missing(capsys):
    split_rows(of_tags([['clear', 'road'], ['clear']]*20))
    assert capsys.readouterr().out == ''

def test_held_out_probabilities_by_name(chips, store):
    dls = tags_dls(chips, store, seed=3)
    probs = torch.rand(12, len(chips.vocab))
    table = held_out_table(chips, dls, probs)
    assert list(table) == ['image_name', *chips.vocab]
    np.testing.assert_allclose(table.iloc[:, 1:], probs)
    rows = split_rows(chips, seed=3)[1]
    assert list(table.image_name) == list(chips.table.image_name[rows])
