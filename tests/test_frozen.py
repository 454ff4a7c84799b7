"Models from their settings; the frozen recipe: features computed once, a head trained on them, one model on pixels."
import json
import pytest
import torch
from fastai.torch_core import set_seed
from planet import backbones
from planet.chips import from_folder
from planet.data import tags_dls
from planet.images import ChipStore
from planet.learner import build_model, chip_learner
from planet.losses import BinaryCrossEntropyLoss
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
