"From a table of tags to batches: what a learner is fed."
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
import numpy as np
import pytest
import torch
from fastai.data.core import TfmdDL
from fastai.torch_core import TensorImage, set_seed
from fastai.vision.augment import FlipItem
from PIL import Image
from planet.chips import from_folder
from planet.cli import UserError
from planet.data import DihedralBatch, dihedral_view, dihedral_views, only_of, tags_dls, weather_chips, weather_dls
from planet.images import open_chip
from planet.splits import random_split, split_chips
from planet.store import ChipStore

root = Path(__file__).resolve().parent.parent

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
    np.testing.assert_allclose(open_chip(path, 128).float().mean((1, 2)), np.asarray(im.convert('RGB')).mean((0, 1)),
                               atol=1)

def test_a_chip_that_is_not_square_is_cropped():
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = 255
    assert (open_chip(wide, 40) == 255).all()

def test_store_serves_what_open_chip_gives(chips, store):
    for path in chips.paths[:5]: torch.testing.assert_close(store[path], open_chip(path, 32))

def test_store_without_room_decodes_each_time(chips):
    small = ChipStore(chips.paths, 32, where='none')
    assert len(small.pixels) == 0
    torch.testing.assert_close(small[chips.paths[3]], open_chip(chips.paths[3], 32))

def test_an_exported_learner_carries_neither_pixels_nor_labels(chips, store):
    dls = tags_dls(chips, store, random_split(chips))
    exported = dls.new_empty()
    assert len(pickle.dumps(exported)) < 20_000 < len(pickle.dumps(dls.train_ds))
    assert chips.table.image_name[0] not in pickle.dumps(exported).decode('latin1')
    assert len(store.pixels) == 60 and dls.one_batch()[0].shape[0] == 48, 'those in use keep theirs'

@pytest.mark.parametrize('start', ['spawn', 'forkserver'])
def test_workers_started_afresh_load_the_same_chips(chips, tmp_path, start):
    "Windows, macOS and Python 3.14 start worker processes afresh, so that everything they need is pickled."
    code = f"""
import sys, torch
def main():
    from planet.chips import from_folder
    from planet.data import tags_dls
    from planet.store import ChipStore
    from planet.splits import random_split
    chips = from_folder({str(chips.root)!r})
    store = ChipStore(chips.paths, 32, where={'disk' if start == 'spawn' else 'memory'!r})
    dls = tags_dls(chips, store, random_split(chips), 8, workers=1)
    x, y = (torch.cat(o) for o in zip(*dls.valid))
    assert (x == torch.stack([store[p] for p in dls.valid_ds.items])/255.).all()
    assert y.sum() == sum(len(chips.table.tags[i]) for i in random_split(chips).valid) > 0
    print('equal')
if __name__ == '__main__':
    torch.multiprocessing.set_start_method({start!r})
    main()
"""
    (tmp_path/'main.py').write_text(code)
    done = subprocess.run([sys.executable, tmp_path/'main.py'], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(root)})
    assert done.stdout == 'equal\n', done.stderr

# ---- batches

def test_multi_label_batches(chips, store):
    dls = tags_dls(chips, store, random_split(chips), bs=8)
    x, y = dls.one_batch()
    assert x.shape == (8, 3, 32, 32) and x.dtype == torch.float32 and 0 <= x.min() and x.max() <= 1
    assert y.shape == (8, len(chips.vocab)) and set(y.unique().tolist()) == {0, 1}
    assert list(dls.vocab) == chips.vocab
    assert len(dls.train_ds) == 48 and len(dls.valid_ds) == 12

def test_targets_are_those_of_the_table(chips, store):
    dls = tags_dls(chips, store, random_split(chips))
    of = dict(zip(chips.paths, chips.targets))
    for ds in (dls.train_ds, dls.valid_ds):
        for path, y in zip(ds.items, ds.tls[1]): assert y.bool().tolist() == of[path].tolist()

def test_training_chips_turn_and_validation_chips_do_not(chips, store):
    def views(dl): return {(x*255).round().byte().numpy().tobytes() for _ in range(60) for xs, _ in dl for x in xs}
    def turned(path):
        return {torch.rot90(f, k, (1, 2)).numpy().tobytes() for k in range(4)
                for f in (store[path], store[path].flip(2))}
    set_seed(2) # 60 draws of 8 views miss one in half a percent of the runs
    dls = tags_dls(chips[range(3)], store, random_split(chips[range(3)], .4))
    one, two = dls.train_ds.items
    assert views(dls.train) == turned(one) | turned(two) and len(turned(one)) == 8
    assert views(dls.valid) == {store[dls.valid_ds.items[0]].numpy().tobytes()}

def test_the_split_is_seeded(chips, store):
    def held(seed): return tags_dls(chips, store, random_split(chips, seed=seed)).valid_ds.items
    assert list(held(1)) == list(held(1)) != list(held(2))

def test_batches_are_seeded(chips, store):
    def batch():
        set_seed(3)
        return tags_dls(chips, store, random_split(chips), bs=8).one_batch()
    (x1, y1), (x2, y2) = batch(), batch()
    assert (x1 == x2).all() and (y1 == y2).all()

def test_workers_load_the_same_chips(chips, store):
    dls = tags_dls(chips, store, random_split(chips), bs=8, workers=2)
    x = torch.cat([x for x, _ in dls.valid])
    want = torch.stack([store[p] for p in dls.valid_ds.items])
    torch.testing.assert_close(x, (want/255.).to(x.device), check_dtype=False, rtol=0, atol=1e-6)

def test_few_chips_make_one_smaller_batch(chips, store):
    dls = tags_dls(chips[range(5)], store, random_split(chips[range(5)]), bs=64)
    assert [len(x) for x, _ in dls.train] == [4]

@pytest.mark.parametrize('n,pct', [(2, .5), (4, .2), (3, .9), (60, .999)])
def test_a_split_with_too_little_on_a_side(chips, store, n, pct):
    with pytest.raises(UserError, match='to train on and .+ to score'): split_chips(chips[range(n)], pct)

# ---- the weather

def test_weather_is_one_class_a_chip(chips, store):
    weather = weather_chips(chips)
    dls = weather_dls(weather, store, random_split(weather), bs=8)
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
    with pytest.raises(UserError, match='weather needs chips of two kinds'): weather_chips(from_folder(folder))

# ---- batches by index

def test_no_chip_is_an_object_of_its_own(chips, store, monkeypatch):
    dls = tags_dls(chips, store, random_split(chips), bs=8)
    dls.train.tensors(store) # labels are encoded once
    def refused(self, chip): raise AssertionError('an item was made')
    monkeypatch.setattr(type(dls.train.dataset), '__getitem__', refused)
    assert sum(len(x) for x, _ in dls.train) == 48 and sum(len(x) for x, _ in dls.valid) == 12

@pytest.mark.parametrize('where', ['memory', 'none'])
def test_batches_are_those_that_fastai_would_make(chips, where):
    "Also for chips that are not in the store, and where a transform of items is among the transforms."
    store = ChipStore(chips.paths[:50], 32, where=where)
    fast = tags_dls(chips, store, random_split(chips), bs=8)
    slow = [TfmdDL.new(dl, cls=TfmdDL) for dl in fast.loaders]
    for ours, theirs in zip(fast.valid, slow[1]):
        for a, b in zip(ours, theirs): assert (a == b).all() and type(a) is type(b)
    fast.valid.after_item.add(FlipItem(p=1.))
    assert fast.valid.decoder() is None and fast.train.decoder() is not None
    item, = fast.test_dl([chips.paths[3]]).one_batch()
    assert (item == store[chips.paths[3]]/255.).all()

def test_views_of_a_batch_are_exact(store):
    x, turn = TensorImage(store.pixels[:40]), DihedralBatch()
    random.seed(1) # which draws all eight
    y, = turn((x,), split_idx=0)
    for a, b, k in zip(x, y, turn.views): assert (a.dihedral(k) == b).all()
    assert (dihedral_views(x.as_subclass(torch.Tensor), turn.views) == y).all(), 'as on a GPU'
    assert len(set(turn.views)) == 8 and type(y) is TensorImage and (turn((x,), split_idx=1)[0] == x).all()
    assert (dihedral_view(x, 5) == x.dihedral(5)).all()

def test_normalisation_in_place_has_the_same_numbers(store):
    from fastai.data.transforms import Normalize
    from planet.data import NormalizeBatch
    x, stats = TensorImage(store.pixels[:4].float()/255), ([.4, .5, .6], [.2, .3, .1])
    ours, theirs = (kind.from_stats(*stats, cuda=False) for kind in (NormalizeBatch, Normalize))
    want = theirs((x.clone(),))[0]
    got = ours((x.clone(),))[0]
    assert (got == want).all() and (ours.decode((got,))[0] == theirs.decode((want,))[0]).all()
