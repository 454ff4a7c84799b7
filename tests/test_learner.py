"The learner: prior-bias head, losses by name, fine-tuning, and what it predicts."
import pickle
import numpy as np
import pytest
import torch
from fastai.learner import load_learner
from fastai.torch_core import set_seed
from fastai.vision.learner import vision_learner
from PIL import Image
from torch import nn
from planet import backbones, callbacks
from planet.amazon import WEATHER
from planet.chips import from_folder
from planet.cli import UserError
from planet.data import tags_dls, weather_chips, weather_dls
from planet.learner import (
    LOSSES,
    base_rates,
    chip_learner,
    f2,
    find_loss,
    fine_tune,
    parse_loss_args,
    start_at_base_rates,
    train_targets,
)
from planet.losses import BinaryCrossEntropyLoss
from planet.splits import random_split
from planet.store import ChipStore
from planet.weights import read_weights

@pytest.fixture(scope='module')
def chips(drawn): return from_folder(drawn)
@pytest.fixture(scope='module')
def store(chips): return ChipStore(chips.paths, 32)
@pytest.fixture
def dls(chips, store):
    set_seed(0, reproducible=True)
    return tags_dls(chips, store, random_split(chips), bs=16)

def tagger(dls, **kwargs):
    given = dict(arch='resnet18', weights='none', loss_func=BinaryCrossEntropyLoss(thresh=.2)) | kwargs
    return chip_learner(dls, **given)

@pytest.fixture
def fp32(monkeypatch): monkeypatch.setattr(callbacks, 'bf16_gains', lambda device: False)

# ---- the head

def test_an_untrained_head_answers_with_the_base_rates(dls, fp32):
    learn = tagger(dls)
    probs, targs = learn.get_preds()
    rates = base_rates(train_targets(dls))
    np.testing.assert_allclose(probs, rates.expand_as(probs), rtol=1e-5)
    # which is the loss of knowing nothing but the rates
    entropy = nn.functional.binary_cross_entropy(rates.expand_as(targs), targs)
    np.testing.assert_allclose(learn.validate()[0], entropy, rtol=1e-4)

def test_base_rates_are_the_training_splits_and_never_0_or_1(dls, chips):
    of = dict(zip(chips.paths, chips.targets))
    train = np.stack([of[p] for p in dls.train_ds.items])
    np.testing.assert_allclose(base_rates(train_targets(dls)), (train.sum(0)+.5)/(len(train)+1), rtol=1e-6)
    np.testing.assert_allclose(base_rates(torch.tensor([[0., 1.]]*9)), [.05, .95])

def test_a_single_label_head_starts_at_the_class_frequencies(chips, store, fp32):
    weather = weather_chips(chips)
    dls = weather_dls(weather, store, random_split(weather), bs=16)
    learn = chip_learner(dls, 'resnet18', 'none', single=True)
    probs, _ = learn.get_preds()
    rates = base_rates(train_targets(dls))
    np.testing.assert_allclose(probs, (rates/rates.sum()).expand_as(probs), rtol=1e-5)

def test_only_the_last_linear_layer_is_replaced():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Sequential(nn.ReLU(), nn.Linear(4, 2, bias=False)))
    first = model[0].weight.clone()
    last = start_at_base_rates(model, torch.tensor([.5, .9]))
    assert model[1][1] is last and (model[0].weight == first).all()
    np.testing.assert_allclose(model(torch.randn(1, 3)).sigmoid().detach(), [[.5, .9]], rtol=1e-6)

# ---- backbones and weights

def test_a_timm_backbone_trains(dls):
    learn = tagger(dls, arch='resnet10t')
    assert len(fine_tune(learn, 1, 1e-3, 0)) == 1

def test_auto_goes_on_without_weights_and_says_so(dls, monkeypatch, capsys):
    monkeypatch.setattr(backbones, 'vision_learner', no_network(vision_learner))
    learn = tagger(dls, weights='auto')
    said = capsys.readouterr().out
    assert learn.weights == 'none' and 'WARNING' in said and 'RANDOM' in said and said.count('\n') == 1

def test_a_failed_download_leaves_the_random_initialisation_as_it_is(dls, monkeypatch):
    "The same seed, the same weights, whether they are not asked for or cannot be had."
    def begin(weights):
        torch.manual_seed(42)
        return tagger(dls, weights=weights).model.state_dict(), torch.get_rng_state()
    none, after = begin('none')
    monkeypatch.setattr(backbones, 'vision_learner', no_network(vision_learner, at_once=False))
    auto, state = begin('auto')
    assert all(torch.equal(v, none[k]) for k, v in auto.items()) and torch.equal(state, after)

def test_imagenet_fails_without_weights(dls, monkeypatch):
    monkeypatch.setattr(backbones, 'vision_learner', no_network(vision_learner))
    with pytest.raises(UserError, match="imagenet: resnet18's cannot be had .*no network.*`weights` none"):
        tagger(dls, weights='imagenet')

def no_network(build, at_once=True): # does the download fail before the network is built, as timm's, or after it?
    def built(*args, pretrained, **kwargs):
        if pretrained and at_once: raise OSError('no network')
        learn = build(*args, pretrained=False, **kwargs)
        if pretrained: raise OSError('no network')
        return learn
    return built

@pytest.mark.parametrize('weights', ['auto', 'imagenet'])
def test_cached_weights_are_used(dls, weights, tmp_path, monkeypatch):
    "torch's cache, filled by hand: what the library would have downloaded."
    from torchvision.models import ResNet18_Weights, resnet18
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    source = resnet18()
    file = tmp_path/'hub'/'checkpoints'/ResNet18_Weights.DEFAULT.url.split('/')[-1]
    file.parent.mkdir(parents=True)
    torch.save(source.state_dict(), file)
    # its own file does not have the hash that the library asks of a download, but a cached one is taken as it is
    learn = tagger(dls, weights=weights)
    assert learn.weights == 'imagenet'
    assert (learn.model[0][0].weight == source.conv1.weight).all()
    assert not learn.model[0][0].weight.requires_grad, 'a pretrained body starts frozen'

@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('arch', ['resnet18', 'densenet121', 'squeezenet1_1', 'resnet10t'])
def test_weights_from_a_file(dls, tmp_path, arch, suffix):
    import timm
    from safetensors.torch import save_file
    found = backbones.find_arch(arch)
    source = timm.create_model(arch) if isinstance(found, str) else found(weights=None)
    path = tmp_path/f'weights{suffix}'
    (torch.save if suffix == '.pth' else save_file)({k: v.contiguous() for k, v in source.state_dict().items()}, path)
    learn = tagger(dls, arch=arch, weights=str(path))
    first = next(p for p in source.parameters())
    assert learn.weights == str(path) and (next(learn.model[0].parameters()) == first).all()
    assert not next(learn.model[0].parameters()).requires_grad
    if suffix == '.pth': # and it trains: first the head, the one that starts at the base rates included, then all
        fine_tune(learn, 1, 1e-3, 1)
        assert (learn.model[1][-1].weight != 0).any() and (next(learn.model[0].parameters()) != first).any()

@pytest.mark.parametrize('content', [b'', b'no weights', pickle.dumps(print)], ids=['empty', 'text', 'code'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_file_that_holds_no_weights(tmp_path, content, suffix):
    path = tmp_path/f'w{suffix}'
    path.write_bytes(content)
    with pytest.raises(UserError, match='no readable') as e: read_weights(path)
    assert '\n' not in str(e.value)

def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match='no such file'): read_weights(tmp_path/'w.pth')

# ---- losses by name

def test_losses_take_their_own_parameters():
    loss = find_loss('focal', thresh=.3, loss_args='gamma=1.5 alpha=0.25')
    assert (loss.gamma, loss.alpha, loss.thresh) == (1.5, .25, .3)
    assert find_loss('focal', gamma=1).gamma == 1 and find_loss('smoothed').label_smoothing == .1
    assert parse_loss_args('') == {} and parse_loss_args('a=1, b=none c=[1, 2]') == dict(a=1, b=None, c=[1, 2])
    for name in LOSSES: assert find_loss(name, WEATHER, .4).thresh == .4

@pytest.mark.parametrize('name,args,said', [
    ('focl', '', '`loss` focl is unknown: one of bce, .*did you mean focal'),
    ('grouped', '', '`loss` grouped needs the weather tags'),
    ('focal', 'gama=1', '`loss_args` gama is unknown: focal takes .*did you mean gamma'),
    ('focal', 'gamma=-1', '`loss_args` gamma is -1'), ('focal', 'gamma', '`loss_args` .gamma. is not understood'),
    ('focal', 'gamma=fast', '`loss_args` .gamma=fast. is not understood'),
    ('focal', 'reduction=1', '`loss_args` reduction is unknown')])
def test_wrong_losses_and_parameters_are_told_in_a_line(name, args, said):
    with pytest.raises(UserError, match=said) as e: find_loss(name, ['a', 'b'], loss_args=args)
    assert '\n' not in str(e.value)

def test_a_loss_of_ones_own(dls, monkeypatch):
    class Mine(BinaryCrossEntropyLoss): pass
    monkeypatch.setitem(LOSSES, 'mine', Mine)
    assert isinstance(find_loss('mine', thresh=.1), Mine)

# ---- the learner

def test_metrics_are_at_the_threshold_of_the_loss(dls):
    for learn, thresh in ((tagger(dls), .2), (chip_learner(dls, 'resnet18', 'none'), .5)):
        loss, accuracy, score = learn.validate()
        with learn.removed_cbs(learn.dihedral_views): logits, targs = learn.get_preds(act=lambda x: x)
        assert score == pytest.approx(f2(logits, targs, thresh).item(), abs=1e-6)
        assert accuracy == pytest.approx(((logits.sigmoid() > thresh) == targs.bool()).float().mean().item(), abs=1e-6)

def test_no_random_number_decides_what_a_learner_is(dls):
    "The size of the images is read from a batch, and must not move what is drawn afterwards."
    from planet.learner import image_shape
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), dls.train.rng.getstate()
    assert image_shape(dls) == (3, 32)
    assert (states[0] == torch.get_rng_state()).all() and states[1] == np.random.get_state()[1].tolist()
    assert states[2] == dls.train.rng.getstate()

def test_a_learning_rate_that_is_too_high_is_told_in_a_line(dls):
    for lr in (1e30, 100):
        with pytest.raises(UserError, match='diverged.*`lr`') as e: fine_tune(tagger(dls), 2, lr, 0)
        assert '\n' not in str(e.value)

# ---- training, scores and predictions

def test_training_learns_and_keeps_its_history(dls, capsys):
    learn = tagger(dls)
    before = learn.validate()[0]
    history = fine_tune(learn, 2, 3e-3, 1)
    assert list(history.stage) == ['head', 'all layers', 'all layers'] and list(history.epoch) == [1, 2, 3]
    assert list(history.columns) == ['epoch', 'stage', 'train_loss', 'valid_loss', 'accuracy_multi', 'f2', 'time']
    assert history.train_loss.iloc[-1] < history.train_loss.iloc[0] and np.isfinite(history.valid_loss).all()
    said = capsys.readouterr().out.splitlines()
    # into a file: one plain line an epoch
    assert len(said) == 3 and said[0].startswith('epoch 1  stage head  train_loss')
    assert learn.validate()[0] != before

def test_predictions_are_the_mean_of_the_eight_views(dls, fp32):
    learn = tagger(dls)
    fine_tune(learn, 1, 3e-3, 0)
    probs, targs = learn.get_preds()
    x = torch.cat([x for x, _ in dls.valid])
    with torch.no_grad():
        views = [learn.model.eval()(torch.rot90(f, k, (2, 3))) for k in range(4) for f in (x, x.flip(3))]
    np.testing.assert_allclose(probs, torch.stack(views).mean(0).sigmoid(), rtol=1e-4)
    one, _ = tagger(dls, tta=False).get_preds()
    assert not torch.allclose(probs, one)
    # the validation of an epoch looks once
    entropy = nn.functional.binary_cross_entropy_with_logits(views[0], targs)
    np.testing.assert_allclose(learn.validate()[0], entropy, rtol=1e-4)

@pytest.fixture
def exported(dls, tmp_path):
    learn = tagger(dls)
    fine_tune(learn, 1, 1e-3, 0)
    learn.path = tmp_path
    learn.export('learner.pkl')
    return learn, tmp_path/'learner.pkl'

def test_prediction_obeys_the_threshold(exported, chips):
    learn, _ = exported
    for thresh in (.01, .5, .99):
        learn.loss_func.thresh = thresh
        tags, hot, probs = learn.predict(chips.paths[0])
        assert (hot == (probs > thresh)).all() and list(tags) == [t for t, p in zip(chips.vocab, probs) if p > thresh]

def test_an_exported_learner_predicts_the_same(exported, chips):
    learn, path = exported
    again = load_learner(path)
    want = learn.predict(chips.paths[0])[2]
    image = Image.open(chips.paths[0])
    for chip in (chips.paths[0], str(chips.paths[0])):
        np.testing.assert_allclose(again.predict(chip)[2], want, rtol=1e-4)
    # a picture that is open already was not scaled while it was decoded
    for chip in (image, np.asarray(image.convert('RGB'))):
        np.testing.assert_allclose(again.predict(chip)[2], want, rtol=.1)
    assert again.loss_func.thresh == .2

def test_an_exported_learner_takes_no_chips_or_labels_along(exported, chips):
    _, path = exported
    assert str(chips.paths[0]).encode() not in path.read_bytes()
