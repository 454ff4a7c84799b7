"Several backbones as one: normalisation and weights of each, the recipes, and the model folder."
import json
import numpy as np
import pytest
import timm
import torch
from fastai.torch_core import set_seed
from torchvision.models import resnet18
from experiments import planet_resnet50
from planet import backbones, callbacks
from planet.backbones import find_backbone
from planet.chips import from_folder
from planet.cli import UserError
from planet.data import tags_dls
from planet.frozen import install_head, pooled_features, predict_head, train_head
from planet.gradcam import feature_layer, grad_cam
from planet.images import ChipStore
from planet.inference import Tagger
from planet.learner import build_model, chip_learner
from planet.losses import BinaryCrossEntropyLoss
from planet.model_files import save_model
from planet.pooling import find_stages
from planet.results import evaluate
from planet.splits import random_split

BOTH = 'resnet18+resnet10t'
MIXED = 'resnet18+vit_tiny_patch16_224' # normalised otherwise, and a transformer

@pytest.fixture(scope='module')
def chips(drawn): return from_folder(drawn)
@pytest.fixture(scope='module')
def store(chips): return ChipStore(chips.paths, 32)
@pytest.fixture
def split(chips): return random_split(chips)
@pytest.fixture
def dls(chips, store, split):
    set_seed(0, reproducible=True)
    return tags_dls(chips, store, split, bs=16)
@pytest.fixture(autouse=True)
def exact(monkeypatch): monkeypatch.setattr(callbacks, 'bf16_gains', lambda device: False)

def tagger(dls, arch=BOTH, weights='none', **kwargs):
    return chip_learner(dls, arch, weights, BinaryCrossEntropyLoss(thresh=.2), **kwargs)

def with_frozen_head(learn, chips, store, cache):
    "Train a head on the frozen features of 24 chips, and install it; the features and their logits."
    paths = chips.paths[:24]
    x, stages = pooled_features(learn, paths, store, views=2, cache=cache)
    y = torch.tensor(chips.targets[:24]).float()
    head = train_head(x, y, y.shape[1], range(16), learn.loss_func, range(16, 24), epochs=3, lr=.1).model
    install_head(learn, head, stages)
    learn.dihedral_views.views = 2
    return x, stages, predict_head(head, x)

@pytest.fixture(params=['resnet18', BOTH])
def exported_net(request, dls):
    learn = tagger(dls, request.param)
    stages = find_stages(learn.model[0], torch.rand(2, 3, 32, 32).to(dls.device))
    features = 3072 if '+' in request.param else 1536
    return build_model(request.param, 5, size=32, stages=stages, features=features)

# ---- one network of several

@pytest.mark.parametrize('arch', [BOTH, MIXED])
def test_each_body_sees_its_own_normalisation(dls, arch):
    joined, pixels = tagger(dls, arch).model[0].cpu().eval(), torch.rand(2, 3, 32, 32)
    parts = [find_backbone(o) for o in arch.split('+')]
    def normalised(part): return (pixels - torch.tensor(part.stats[0])[:, None, None])/torch.tensor(
        part.stats[1])[:, None, None]
    assert (parts[0].stats == parts[1].stats) == (arch == BOTH)
    with torch.no_grad():
        got, want = joined(normalised(parts[0])), []
        for part, body in zip(parts, joined[0]):
            out = body(normalised(part))
            want += [out.amax((2, 3)), out.mean((2, 3))] if out.ndim == 4 else [out] # timm pools a transformer's
    np.testing.assert_allclose(got, torch.cat(want, 1), atol=1e-5, rtol=1e-4)

@pytest.mark.parametrize('arch', [BOTH, MIXED])
@pytest.mark.parametrize('frozen', [False, True])
def test_it_is_built_again_from_its_settings(dls, chips, store, tmp_path, arch, frozen):
    learn = tagger(dls, arch)
    if frozen: with_frozen_head(learn, chips, store, tmp_path)
    state = torch.get_rng_state()
    model = build_model(**json.loads(json.dumps(learn.settings)))
    assert (torch.get_rng_state() == state).all()
    model.load_state_dict(learn.model.state_dict())
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad(): got, want = model(x), learn.model.cpu().eval()(x)
    np.testing.assert_allclose(got, want, atol=1e-5*want.abs().max(), rtol=1e-5) # in another memory layout

def test_pixels_give_the_logits_of_the_joined_features(dls, chips, store, tmp_path):
    learn = tagger(dls)
    x, stages, want = with_frozen_head(learn, chips, store, tmp_path)
    assert stages == ['0.0.6', '0.0.7', '0.1.model.layer3', '0.1.model.layer4']
    assert x.shape == (24, 2, 2*(256 + 512 + 256 + 512)) and want.std(0).max() > 1
    got, _ = learn.get_preds(dl=learn.dls.test_dl(chips.paths[:24]), act=lambda o: o)
    np.testing.assert_allclose(got, want, atol=.02*want.std(), rtol=.02)

def test_its_features_are_those_of_each_alone(dls, chips, store, tmp_path):
    learn = tagger(dls)
    joined, _ = pooled_features(learn, chips.paths[:6], store, views=1, cache=tmp_path)
    for i, arch in enumerate(BOTH.split('+')):
        alone = tagger(dls, arch)
        alone.model[0].load_state_dict(learn.model[0][0][i].state_dict())
        x, _ = pooled_features(alone, chips.paths[:6], store, views=1, cache=tmp_path)
        np.testing.assert_allclose(x.float(), joined[..., i*1536:][..., :1536].float(), atol=2e-3, rtol=2e-3)

def test_a_model_folder_gives_the_probabilities_that_were_scored(dls, chips, store, split, tmp_path):
    learn = tagger(dls, MIXED)
    with_frozen_head(learn, chips, store, tmp_path)
    result = evaluate(learn, chips, split)
    loaded = Tagger.load(save_model(tmp_path/'model', learn, result, chips))
    pixels = torch.stack([store[chips.paths[i]] for i in split.valid])
    np.testing.assert_allclose(loaded.probabilities(pixels), result.probs, atol=1e-5)
    assert result.probs.std(0).max() > .01

def test_a_frozen_model_is_exported(exported_net):
    "`torch.onnx.export` takes no network whose constants `torch.export` cannot trace."
    program = torch.export.export(exported_net, (torch.rand(2, 3, 32, 32),))
    assert not program.constants
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad(): torch.testing.assert_close(program.module()(x), exported_net(x))

def test_grad_cam_explains_by_the_first_body(dls):
    learn = tagger(dls)
    torch.nn.init.normal_([m for m in learn.model.modules() if isinstance(m, torch.nn.Linear)][-1].weight)
    model, x = learn.model.cpu(), torch.rand(2, 3, 64, 64)
    assert feature_layer(model, x) in list(model[0][0][0].modules())
    assert grad_cam(model, x, [0, 1]).amax((1, 2)).max() == 1

@pytest.mark.parametrize('recipe', ['frozen', 'frozen+finetune', 'finetune'])
def test_every_recipe_trains_it(drawn, tmp_path, recipe):
    epochs = dict(freeze_epochs=2) if recipe == 'frozen' else dict(freeze_epochs=1, epochs=1)
    planet_resnet50.main(data=str(drawn), arch=BOTH, weights='none', size=32, bs=16, recipe=recipe, threads=1,
                         out=str(tmp_path), **epochs)
    folder = next(tmp_path.glob('planet_resnet50/*/model'))
    facts = json.loads((folder/'model.json').read_text())
    assert facts['members'][0]['settings']['arch'] == BOTH
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert Tagger.load(folder).probabilities(pixels).shape == (1, len(facts['vocab']))

def test_all_bodies_see_more_bands_than_colours():
    backbone = find_backbone(BOTH, bands=('red', 'green', 'blue', 'nir'))
    body = backbone.body(channels=4, size=32)
    assert body.scale.shape == (2, 4, 1, 1)
    assert body.eval()(torch.rand(2, 4, 32, 32)).shape[1] == backbone.plan(32, 4)[2]
    own = ((.5,)*4, (.2,)*4) # the statistics of the chips: no body wants others
    assert (find_backbone(MIXED, own).body(channels=4, size=32).shift == 0).all()

# ---- weights

def test_a_file_for_each_body(dls, tmp_path):
    nets = resnet18(), timm.create_model('resnet10t')
    for i, net in enumerate(nets): torch.save(net.state_dict(), tmp_path/f'{i}.pth')
    both = f"{tmp_path/'0.pth'}+{tmp_path/'1.pth'}"
    learn = tagger(dls, weights=both)
    first, second = learn.model[0][0].cpu()
    assert torch.equal(first[0].weight, nets[0].conv1.weight)
    assert torch.equal(second.model.layer4[0].conv2.weight, nets[1].layer4[0].conv2.weight)
    assert learn.weights == both and not first[0].weight.requires_grad, 'frozen'
    with pytest.raises(UserError, match=r'for 1 of the 2 networks of resnet18\+resnet10t: a file for each') as e:
        tagger(dls, weights=str(tmp_path/'0.pth'))
    assert str(e.value).startswith('`weights` ')
    with pytest.raises(UserError, match='1.pth does not fit resnet18'):
        tagger(dls, weights=f"{tmp_path/'1.pth'}+{tmp_path/'0.pth'}")

def test_pretrained_weights_reach_every_body_whatever_its_bands(dls, monkeypatch):
    def conv(value, pretrained):
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
        if pretrained: torch.nn.init.constant_(net[0].weight, value)
        return net
    def ones(pretrained=False): return conv(1., pretrained)
    def twos(pretrained=False): return conv(2., pretrained)
    monkeypatch.setattr(backbones, 'BACKBONES', dict(a=ones, b=twos))
    learn = tagger(dls, 'a+b', 'imagenet')
    def firsts(body): return [m.weight for m in body.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [w.unique().tolist() for w in firsts(learn.model)] == [[1.], [2.]] and learn.settings['arch'] == 'a+b'
    assert learn.weights == 'imagenet' and not any(w.requires_grad for w in firsts(learn.model))
    wide = find_backbone('a+b', bands=('nir', 'red', 'green', 'blue')).body(True, 4, 32)
    assert [(w.shape[1], w.unique().tolist()) for w in firsts(wide)] == [(4, [.75]), (4, [1.5])]

def test_where_one_has_no_weights_none_are_taken(dls, capsys):
    def plain(): return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
    joined = type(find_backbone(BOTH))([find_backbone('resnet18'), find_backbone(plain)])
    with pytest.raises(UserError, match=r"resnet18\+plain's cannot be had"): tagger(dls, joined, 'imagenet')
    assert tagger(dls, joined, 'auto').weights == 'none' and 'RANDOM' in capsys.readouterr().out

# ---- what is refused

@pytest.mark.parametrize('arch, says', [
    ('resnet18+', 'empty name'), ('+', 'empty name'), ('resnet18+resnet18', 'joins resnet18 with itself'),
    ('resnet18+ResNet18', 'joins resnet18 with itself'), ('resnet18+resnet43', 'resnet43 is unknown.*resnet34')])
def test_wrong_names_are_refused(arch, says):
    with pytest.raises(UserError, match=says) as e: find_backbone(arch)
    assert str(e.value).startswith('`arch` ') and '\n' not in str(e.value)

def test_a_size_that_one_refuses_is_refused():
    with pytest.raises(UserError, match=r'16 does not suit resnet18\+vgg11_bn') as e:
        find_backbone('resnet18+vgg11_bn').check_size(16)
    assert str(e.value).startswith('`size` ')
