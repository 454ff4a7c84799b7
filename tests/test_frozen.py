"Models from their settings; the frozen recipe: features computed once, a head trained on them, one model on pixels."
import json
import os
import time
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from fastai.data.transforms import Normalize
from fastai.learner import load_learner
from fastai.optimizer import Adam
from fastai.torch_core import TensorImage, set_seed
from experiments import planet_kfold, planet_resnet50, weather_resnet18
from planet import backbones, callbacks, frozen, locks, recipes, threads
from planet.augment import LightBatch
from planet.backbones import find_backbone
from planet.chips import from_folder
from planet.cli import UserError
from planet.data import tags_dls
from planet.frozen import install_head, pooled_features, predict_head, train_head
from planet.images import ChipStore
from planet.inference import Tagger, tag_stream
from planet.learner import base_rates, build_model, chip_learner, f2
from planet.losses import BinaryCrossEntropyLoss
from planet.model_files import read_validation
from planet.optimizer import FusedAdam
from planet.splits import random_split

@pytest.fixture(scope='module')
def chips(drawn): return from_folder(drawn)
@pytest.fixture(scope='module')
def store(chips): return ChipStore(chips.paths, 32)
@pytest.fixture
def dls(chips, store):
    set_seed(0, reproducible=True)
    return tags_dls(chips, store, random_split(chips), bs=16)

def tagger(dls, arch='resnet10t', **kwargs):
    return chip_learner(dls, arch, 'none', BinaryCrossEntropyLoss(thresh=.2), **kwargs)

# ---- settings

@pytest.mark.parametrize('arch', ['resnet18', 'resnet10t', 'squeezenet1_1', 'vit_tiny_patch16_224'])
def test_a_model_is_built_again_from_its_settings(dls, arch):
    learn = tagger(dls, arch, **(dict(lin_ftrs=[7]) if arch == 'resnet18' else {}))
    state = torch.get_rng_state()
    model = build_model(**json.loads(json.dumps(learn.settings)))
    assert (torch.get_rng_state() == state).all() and not model.training
    model.load_state_dict(learn.model.state_dict())
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(x), learn.model.cpu().eval()(x))

def test_a_backbone_of_ones_own_is_built_by_its_name(dls, monkeypatch):
    def three():
        return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
    monkeypatch.setitem(backbones.BACKBONES, 'mine', backbones.Backbone(three, stats=((.3,)*3, (.1,)*3)))
    learn = tagger(dls, 'mine')
    assert learn.settings['arch'] == 'mine'
    build_model(**learn.settings).load_state_dict(learn.model.state_dict())

# ---- features computed once

def forward(net, x): return net.eval()(x.to(next(net.parameters()).device)).detach().cpu()

@pytest.fixture(params=['resnet10t', 'vit_tiny_patch16_224', 'swin', 'squeezenet1_1'])
def any_body(request, dls):
    "Convolutional, of tokens, channels-last, and one that is not cut into stages."
    if request.param != 'swin': return tagger(dls, request.param)
    small = dict(embed_dim=12, depths=(1, 1, 1), num_heads=(1, 2, 3))
    def swin(): return timm.create_model('swin_tiny_patch4_window7_224', num_classes=0, img_size=32, **small)
    return tagger(dls, backbones.Backbone(swin))

def test_the_installed_model_has_the_logits_of_the_features(any_body, chips, store, tmp_path):
    learn, paths = any_body, chips.paths[:24]
    x, stages = pooled_features(learn, paths, store, views=3, cache=tmp_path)
    assert x.shape[:2] == (24, 3) and len(stages) <= 2
    y = torch.tensor(chips.targets[:24]).float()
    head = train_head(x, y, y.shape[1], range(16), learn.loss_func, range(16, 24), epochs=3, lr=.1).model
    want = predict_head(head, x)
    assert want.std(0).max() > 1, 'it tells chips apart'
    install_head(learn, head, stages)
    learn.dihedral_views.views = 3
    got, _ = learn.get_preds(dl=learn.dls.test_dl(paths), act=lambda o: o)
    np.testing.assert_allclose(got, want, atol=.02*want.std(), rtol=.02)

def test_features_are_the_maximum_and_average_of_the_stages(dls, chips, store, tmp_path, monkeypatch):
    monkeypatch.setattr(callbacks, 'bf16_gains', lambda device: False)
    learn = tagger(dls, 'resnet18')
    x, stages = pooled_features(learn, chips.paths[:5], store, views=2, cache=tmp_path)
    assert stages == ['6', '7'] and x.shape == (5, 2, 2*(256 + 512)) and x.dtype == torch.float16
    mean, std = (torch.tensor(o)[:, None, None] for o in backbones.find_backbone('resnet18').stats)
    pixels = (torch.stack([store[p] for p in chips.paths[:5]])/255 - mean)/std
    body = learn.model[0].eval().cpu()
    for k, view in enumerate((pixels, pixels.rot90(1, (2, 3)))):
        third = forward(body[:7], view)
        maps = third, forward(body[7:], third)
        want = torch.cat([o for m in maps for o in (m.amax((2, 3)), m.mean((2, 3)))], 1)
        np.testing.assert_allclose(x[:, k].float(), want, atol=2e-3, rtol=2e-3)

def count_batches(learn):
    seen = []
    learn.model[0].register_forward_hook(lambda m, i, o: seen.append(len(i[0])))
    return seen

def test_features_are_found_again_and_are_never_stale(dls, chips, store, tmp_path):
    learn, paths = tagger(dls), chips.paths[:20]
    seen = count_batches(learn)
    def computed(*args, **kwargs):
        seen.clear()
        x, _ = pooled_features(learn, *args, cache=tmp_path, bs=10, **kwargs)
        return x, seen[1:] # the first finds the stages
    first, batches = computed(paths, store, 2)
    assert batches == [10]*4
    again, batches = computed(paths, store, 2)
    assert not batches and torch.equal(first, again)
    more, batches = computed(paths, store, 4) # the views that are missing
    assert batches == [10]*4 and torch.equal(more[:, :2], first)
    other = ChipStore(paths, 32)
    other.pixels[0] = 255 - other.pixels[0]
    changed, batches = computed(paths, other, 1)
    assert batches == [10]*2 and not torch.equal(changed[0, 0], first[0, 0])
    with torch.no_grad(): next(learn.model[0].parameters()).mul_(2)
    assert computed(paths, store, 1)[1] == [10]*2

def test_an_interrupted_computation_goes_on_with_the_next_view(dls, chips, store, tmp_path):
    learn, paths = tagger(dls), chips.paths[:20]
    seen, stop_at = count_batches(learn), 4
    def stop(m, i, o):
        if len(seen) == stop_at: raise KeyboardInterrupt
    learn.model[0].register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt): pooled_features(learn, paths, store, 2, bs=10, cache=tmp_path)
    assert [p.name for p in tmp_path.rglob('*view*')] == ['view-0.npy'], 'what is kept is whole'
    stop_at = 0
    seen.clear()
    x, _ = pooled_features(learn, paths, store, 2, bs=10, cache=tmp_path)
    assert seen[1:] == [10]*2 and x.shape[:2] == (20, 2)
    kept = next(tmp_path.rglob('view-0.npy'))
    kept.write_bytes(kept.read_bytes()[:-100]) # a disk that failed
    assert torch.equal(pooled_features(learn, paths, store, 2, bs=10, cache=tmp_path)[0], x)

def test_features_that_were_not_used_for_60_days_are_removed(dls, chips, store, tmp_path):
    learn = tagger(dls)
    def kept(n):
        pooled_features(learn, chips.paths[:n], store, 1, cache=tmp_path)
        return set((tmp_path/'features').iterdir())
    def aged(folder, days): os.utime(folder, (time.time() - days*24*3600,)*2)
    first, = kept(4)
    aged(first, 61)
    assert kept(4) == {first} and first.stat().st_mtime > time.time() - 3600, 'they were used'
    both = kept(5)
    aged(first, 59)
    assert kept(5) == kept(5) == both
    aged(first, 61)
    assert kept(5) == both, 'nothing new goes there'
    assert first not in kept(6) and both - {first} < kept(6)

def test_pixels_are_gathered_by_batch(dls, chips, store, tmp_path, monkeypatch):
    def one(self, chip): raise AssertionError('a chip at a time')
    monkeypatch.setattr(ChipStore, '__getitem__', one)
    assert len(pooled_features(tagger(dls), chips.paths[:4], store, 1, cache=tmp_path)[0]) == 4

def test_a_cache_that_cannot_be_written_is_a_warning(dls, chips, store, tmp_path, capsys):
    (tmp_path/'features').write_text('a file in the way')
    x, _ = pooled_features(tagger(dls), chips.paths[:4], store, 1, cache=tmp_path)
    assert x.shape[:2] == (4, 1) and 'WARNING: features cannot be kept' in capsys.readouterr().out

def test_features_on_a_read_only_disk_are_read(dls, chips, store, tmp_path, monkeypatch):
    learn = tagger(dls)
    known, _ = pooled_features(learn, chips.paths[:4], store, 1, cache=tmp_path)
    def read_only(*args): raise OSError(30, 'Read-only file system')
    monkeypatch.setattr(locks, 'open', read_only, raising=False)
    monkeypatch.setattr(frozen, 'one_view', read_only)
    assert torch.equal(pooled_features(learn, chips.paths[:4], store, 1, cache=tmp_path)[0], known)

def test_views_of_two_formats_are_joined_in_fp32(dls, chips, store, tmp_path, monkeypatch):
    "One view of a body is beyond the range of fp16, and another is not."
    found = iter([torch.ones(4, 2).half(), torch.full((4, 2), 1e6), torch.ones(4, 2).half()])
    monkeypatch.setattr(frozen, 'one_view', lambda *args: next(found))
    x, _ = pooled_features(tagger(dls), chips.paths[:4], store, 3, cache=tmp_path)
    assert x.dtype == torch.float32 and x[0, :, 0].tolist() == [1, 1e6, 1]

def test_a_body_that_gives_nan_is_named(dls, chips, store, tmp_path):
    learn = tagger(dls)
    with torch.no_grad(): next(learn.model[0].parameters()).fill_(float('nan'))
    with pytest.raises(UserError, match='NaN or infinite: take other `weights`'):
        pooled_features(learn, chips.paths[:4], store, 1, cache=tmp_path)

# ---- the head

@pytest.fixture
def features():
    "Features of which the first two decide the tags."
    torch.manual_seed(0)
    x = torch.randn(200, 2, 6)*torch.tensor([1, 1, 1, 1, 1, 0.]) + 3
    y = (x[:, :, :2].mean(1) > 3).float()
    return x.half(), y

def test_a_head_learns_and_starts_at_the_base_rates(features):
    x, y = features
    loss = BinaryCrossEntropyLoss()
    start = train_head(x, y, 2, range(150), loss, range(150, 200), epochs=1, lr=1e-9).model
    np.testing.assert_allclose(predict_head(start, x[150:]).sigmoid(), base_rates(y[:150]).expand(50, 2), atol=1e-4)
    learn = train_head(x, y, 2, range(150), loss, range(150, 200), epochs=30, lr=3e-2, metrics=[f2])
    logits = predict_head(learn.model, x[150:])
    assert ((logits > 0) == y[150:].bool()).float().mean() > .85
    assert torch.isfinite(logits).all(), 'a feature that never changes is left as it is'
    assert len(learn.history.rows) == 30 and learn.history.rows[-1]['stage'] == 'head'
    np.testing.assert_allclose(learn.history.rows[-1]['f2'], f2(logits, y[150:]), rtol=1e-5)

def test_a_head_depends_on_its_seed_alone(features):
    x, y = features
    def weights(seed):
        return train_head(x, y, 2, range(150), BinaryCrossEntropyLoss(), epochs=2, seed=seed).model.linear.weight
    torch.manual_seed(1)
    first, state = weights(5), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(weights(5), first) and not torch.equal(weights(6), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), 'no random state changes'

def test_a_single_label_head_has_the_class_frequencies_as_its_prior(features):
    x, y = features
    labels = y[:, 0].long()
    loss = torch.nn.CrossEntropyLoss()
    head = train_head(x, labels, 3, range(150), loss, range(150, 200), epochs=1, lr=1e-9).model
    probs = predict_head(head, x[150:]).softmax(1)
    np.testing.assert_allclose(probs[0], base_rates(torch.nn.functional.one_hot(labels[:150], 3).float()), atol=.01)

# ---- the recipes

quick = dict(arch='resnet10t', weights='none', size=32, bs=16)

def run(main, tmp_path, drawn, **options):
    main(**quick | dict(data=str(drawn), out=str(tmp_path/'out')) | options)
    folder = max((tmp_path/'out').glob('*/*/record.json'), key=lambda p: p.stat().st_mtime).parent
    return json.loads((folder/'record.json').read_text()), folder

def test_the_frozen_recipe_from_data_to_record(tmp_path, drawn, capsys):
    record, folder = run(planet_resnet50.main, tmp_path, drawn, recipe='frozen', pickle=True)
    said = capsys.readouterr().out
    assert record['status'] == 'done' and record['options']['freeze_epochs'] == 20 and {'features', 'head'} <= set(
        record['stages'])
    assert 'head: 20 epochs on the features of' in said and 'a frozen body of random weights stays random' in said
    history = pd.read_csv(folder/'history.csv')
    assert len(history) == 20 and set(history.stage) == {'head'}
    # what was scored from features is what the exported model predicts from files
    probs = pd.read_csv(folder/'validation.csv').set_index('image_name')
    again = load_learner(folder/'learner.pkl')
    name = probs.index[0]
    found = again.predict(next(drawn.rglob(f'{name}.jpg')))[2]
    np.testing.assert_allclose(found, probs.loc[name], atol=.02)
    # and the model folder rounds features as the cache does, so that no tag at the threshold is decided otherwise
    tagger = Tagger.load(folder)
    names, scored, *_ = read_validation(folder/'model')
    got = torch.cat([p for _, p, _ in tag_stream(tagger, [next(drawn.rglob(f'{n}.jpg')) for n in names])])
    np.testing.assert_allclose(got, scored, atol=2e-6)
    assert torch.equal(tagger.decide(got), tagger.decide(torch.from_numpy(scored)))

def test_the_body_goes_on_from_the_frozen_head(tmp_path, drawn):
    record, folder = run(planet_resnet50.main, tmp_path, drawn, recipe='frozen+finetune', epochs=1)
    history = pd.read_csv(folder/'history.csv')
    assert list(history.stage) == ['head']*20 + ['all layers'] and record['status'] == 'done'
    assert (folder/'checkpoint').is_dir()

def test_a_frozen_recipe_for_a_single_label(tmp_path, drawn):
    record, _ = run(weather_resnet18.main, tmp_path, drawn, recipe='frozen', tta=False)
    assert record['scores']['accuracy'] > 0 and record['status'] == 'done'

@pytest.mark.parametrize('options,said', [
    (dict(recipe='frosen'), '`recipe` frosen is unknown: .*did you mean frozen'),
    (dict(recipe='frozen', epochs=3), '`epochs` 3 has no use in recipe frozen'),
    (dict(recipe='frozen', freeze_epochs=0), '`freeze_epochs` 0 would leave the head'),
    (dict(precision='bf17'), '`precision` bf17 is unknown'), (dict(views=9), '`views` 9 is outside 1 to 8'),
    (dict(threads=-1), '`threads` -1 is outside'), (dict(body_lr=0), '`body_lr` 0 is outside')])
def test_wrong_options_are_told_before_anything_is_done(tmp_path, drawn, options, said):
    with pytest.raises(UserError, match=said): run(planet_resnet50.main, tmp_path, drawn, **options)
    assert not list((tmp_path/'out').rglob('record.json'))

def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(UserError, match='`precision` fp16 needs a CUDA device'):
        callbacks.check_precision('fp16', torch.device('cpu'))
    callbacks.check_precision('bf16', torch.device('cpu'))
    assert callbacks.Precision('fp32').on(torch.device('cpu'))[0] is None

def test_resume_of_a_frozen_run_that_was_cut(tmp_path, drawn, monkeypatch):
    def interrupt(*args, **kwargs): raise KeyboardInterrupt
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recipes, 'train_head', interrupt)
        run(planet_resnet50.main, tmp_path, drawn, recipe='frozen')
    cut, = (tmp_path/'out').glob('*/*/record.json')
    assert json.loads(cut.read_text())['status'] == 'interrupted'
    with monkeypatch.context() as patch:
        patch.setattr(frozen, 'one_view', interrupt) # the features are there already
        record, folder = run(planet_resnet50.main, tmp_path, drawn, recipe='frozen', resume=str(cut.parent))
    assert record['status'] == 'done' and folder == cut.parent

# ---- threads

def test_threads_are_measured_in_turn_and_the_fastest_is_taken(dls, monkeypatch, capsys):
    learn, at = tagger(dls), []
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(threads.torch, 'get_num_threads', lambda: 2)
    monkeypatch.setattr(threads.torch, 'set_num_threads', at.append)
    clock = iter(range(10**6))
    def now():
        "Two threads take five ticks for a step, one takes one."
        for _ in range(5 if at and at[-1] == 2 else 1): value = next(clock)
        return value
    monkeypatch.setattr(threads, 'perf_counter', now)
    monkeypatch.setattr(threads, 'SECONDS', 10**6)
    assert threads.choose_threads(learn) == 1 and at[-1] == 1 and at[:4] == [2, 1, 2, 1]
    assert 'threads: 1 of 2, as other processes are busy' in capsys.readouterr().out
    at.clear()
    assert threads.choose_threads(learn, 3) == 3 and at == [3], 'what is asked for is not measured'
    monkeypatch.setenv('OMP_NUM_THREADS', '2')
    assert threads.choose_threads(learn) == 2 and at == [3]
    assert [threads.candidates(n) for n in (2, 3, 16)] == [[2, 1], [3, 2, 1], [16, 15, 8]]

# ---- augmentation, optimizer, sizes

def test_the_fused_optimizer_takes_the_steps_of_fastais():
    def train(opt_func):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 2))
        net = net.to(memory_format=torch.channels_last)
        opt = opt_func([list(net[:1].parameters()), list(net[1:].parameters())], lr=1e-2, wd=.1)
        opt.state[net[2].bias]['do_wd'] = False
        for step in range(6):
            if step == 3: # what a checkpoint brings back is contiguous
                found = opt.state_dict()
                states = [{k: v.clone(memory_format=torch.contiguous_format) if torch.is_tensor(v) else v
                           for k, v in o.items()} for o in found['state']]
                opt.load_state_dict(dict(state=states, hypers=found['hypers']))
            opt.set_hypers(mom=.85 + .02*step, lr=[1e-3, 1e-2])
            net(torch.randn(5, 3, 4, 4)).square().mean().backward()
            opt.step()
            opt.zero_grad()
        return torch.cat([p.detach().flatten() for p in net.parameters()])
    torch.testing.assert_close(train(FusedAdam), train(Adam), atol=1e-6, rtol=1e-5)

def test_light_changes_each_training_image_in_its_own_way(dls):
    x = TensorImage(torch.full((64, 3, 4, 4), .5))
    torch.manual_seed(0)
    found = LightBatch(.2)(x.clone(), split_idx=0)
    shift = found[:, 0, 0, 0] - .5
    assert shift.abs().max() <= .1 + 1e-6 and shift.std() > .03 and len(shift.unique()) == 64
    ramp = TensorImage(torch.linspace(0, 1, 16).view(1, 1, 4, 4).repeat(64, 3, 1, 1))
    found = LightBatch(.2)(ramp.clone(), split_idx=0)
    assert found.min() >= 0 and found.max() <= 1
    middle = found[:, 0, 2, 0] - found[:, 0, 1, 3] # contrast: how far two greys near the middle are from one another
    assert .8 - 1e-4 <= (middle*15).min() and (middle*15).max() <= 1.2 + 1e-4 and middle.std() > .003
    assert torch.equal(LightBatch(.2)(x.clone(), split_idx=1), x), 'validation images stay as they are'

def test_two_sizes_one_after_the_other(tmp_path, drawn):
    record, folder = run(planet_resnet50.main, tmp_path, drawn, size='32,48', epochs='1,2', freeze_epochs=0, mixup=.4,
                         light=.1)
    assert record['options']['stages'] == [[32, 0, 1], [48, 0, 2]] and record['status'] == 'done'
    assert len(pd.read_csv(folder/'history.csv')) == 3
    model = json.loads((folder/'model'/'model.json').read_text())
    assert model['members'][0]['settings']['size'] == 48

def test_a_resized_learner_sees_the_same_chips_at_another_size(dls, chips):
    learn = tagger(dls)
    before = [y for _, y in learn.dls.valid]
    recipes.resize(learn, 48)
    x, y = learn.dls.valid.one_batch()
    assert x.shape[2:] == (48, 48) and torch.equal(y, before[0]) and learn.settings['size'] == 48
    name = learn.dls.valid_ds.items[0]
    np.testing.assert_allclose(x[0].cpu(), learn.dls.test_dl([name]).one_batch()[0][0].cpu(), atol=1e-6)

def test_a_gpu_keeps_no_resized_chips_that_workers_load(dls, chips, monkeypatch):
    "A process that was forked cannot use the GPU of the one before."
    moved = []
    monkeypatch.setattr(ChipStore, 'to_device', lambda self, device: moved.append(self.size))
    recipes.resize(tagger(dls), 48)
    learn = tagger(tags_dls(chips, ChipStore(chips.paths, 32), random_split(chips), bs=16, workers=1))
    recipes.resize(learn, 64)
    assert moved == [48]

def test_norms_stay_fixed_in_several_processes(dls):
    class DistributedDataParallel(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module
    cb, learn = recipes.FixedNorms(), tagger(dls)
    cb.learn, learn.model = learn, DistributedDataParallel(learn.model).train()
    cb.before_train()
    norms = [m for m in learn.model.module[0].modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms) and learn.model.module[1].training

@pytest.mark.parametrize('options,said', [
    (dict(views=4), '`views` 4 has no use in recipe finetune'),
    (dict(body_lr=1e-3), '`body_lr` 0.001 has no use in recipe finetune'),
    (dict(recipe='frozen', patience=2), '`patience` 2 has no use in recipe frozen'),
    (dict(recipe='frozen', views=4, tta=False), '`views` 4 has no use without test-time augmentation'),
    (dict(folds=2, split=__file__), '`split` .* has no use with `folds`'),
    (dict(size='32,x'), '`size` 32,x is no whole number'), (dict(size=16), '`size` 16 is outside'),
    (dict(size='32,48', epochs='1,2,3'), '`epochs` 1,2,3: 3 numbers for 2 of `size`'),
    (dict(size='32,48', recipe='frozen'), '`size` 32,48: several are for recipe finetune'),
    (dict(size='32,224', arch='vit_tiny_patch16_224'), '`size` vit_tiny_patch16_224 is built for one size'),
    (dict(recipe='frozen', mixup=.4), '`mixup` 0.4 has no use in recipe frozen')])
def test_wrong_sizes_and_augmentations(tmp_path, drawn, options, said):
    with pytest.raises(UserError, match=said): run(planet_resnet50.main, tmp_path, drawn, **options)

def test_an_experiment_of_one_size_refuses_two(tmp_path, drawn):
    with pytest.raises(UserError, match='`size` 32,48: planet_resnet50.py alone trains at several, give one'):
        run(weather_resnet18.main, tmp_path, drawn, size='32,48')

def test_folds_share_the_features(tmp_path, drawn, monkeypatch):
    computed = []
    real = frozen.one_view
    monkeypatch.setattr(frozen, 'one_view', lambda *args: computed.append(args[3]) or real(*args))
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'cache'))
    record, _ = run(planet_kfold.main, tmp_path, drawn, recipe='frozen', folds=2, views=1)
    assert record['status'] == 'done' and len(record['folds']) == 2
    # the second fold finds them, as random weights are drawn from the seed too
    assert computed == [0]

def test_four_bands(dls, chips, store, tmp_path):
    "Images of any number of channels, as GeoTIFFs give them."
    class Bands(dict):
        size = 32
        def gather(self, chips): return torch.stack([self[c] for c in chips])
    rng = torch.Generator().manual_seed(0)
    bands = Bands({p: torch.randint(0, 256, (4, 32, 32), dtype=torch.uint8, generator=rng) for p in chips.paths[:6]})
    learn = tagger(dls)
    learn.model[0] = find_backbone('resnet10t').body(channels=4)
    learn.dls.after_batch.fs.filter(lambda o: isinstance(o, Normalize))[0].mean = torch.zeros(1, 4, 1, 1)
    learn.dls.after_batch.fs.filter(lambda o: isinstance(o, Normalize))[0].std = torch.ones(1, 4, 1, 1)
    x, _ = pooled_features(learn, list(bands), bands, 2, cache=tmp_path)
    assert x.shape[:2] == (6, 2) and not torch.equal(x[:, 0], x[:, 1])
