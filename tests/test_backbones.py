"Backbones: names and functions, normalisation, sizes, channels, and weights files."
import numpy as np
import pytest
import timm
import torch
import torchvision
from fastai.data.transforms import Normalize
from fastai.torch_core import set_seed
from fastai.vision.core import imagenet_stats
from safetensors.torch import save_file
from torch import nn
from planet import backbones, weights
from planet.backbones import Backbone, find_arch, find_backbone
from planet.chips import from_folder
from planet.cli import UserError
from planet.data import tags_dls
from planet.learner import chip_learner, fine_tune
from planet.losses import BinaryCrossEntropyLoss
from planet.splits import random_split
from planet.store import ChipStore
from planet.weights import fit_state, read_weights, short_timeouts

@pytest.fixture(scope='module')
def chips(drawn): return from_folder(drawn)[range(24)]

@pytest.fixture
def dls_of(chips):
    "Batches of chips of any size."
    def dls(size=32):
        set_seed(0, reproducible=True)
        return tags_dls(chips, ChipStore(chips.paths, size), random_split(chips), bs=8)
    return dls

def tagger(dls, arch, weights='none', **kwargs):
    return chip_learner(dls, arch, weights, BinaryCrossEntropyLoss(thresh=.2), tta=False, **kwargs)

def normalised(dls): return dls.after_batch.fs.filter(lambda o: isinstance(o, Normalize))[0].mean.flatten().tolist()

def unreachable(*_, **__): raise OSError('no network')

# ---- names, functions, normalisation

@pytest.mark.parametrize('name,said', [('resnet5', 'resnet50'), ('convnext_tny', 'convnext_tiny'), ('', 'unknown'),
                                       ('resnet50.nonsense', 'a1_in1k'), ('vit_b_1', 'vit_b_16')])
def test_unknown_arch(name, said):
    with pytest.raises(UserError, match=said) as e: find_arch(name)
    assert str(e.value).startswith('`arch` ') and '--' not in str(e.value)

def test_case_does_not_matter():
    assert find_arch('ResNet50') is torchvision.models.resnet50
    assert find_arch('ConvNeXt_Tiny') == 'convnext_tiny' and find_arch('ViT_B_16') is torchvision.models.vit_b_16

@pytest.mark.parametrize('arch,mean', [('resnet50', imagenet_stats[0]), ('vit_b_16', imagenet_stats[0]),
                                       ('vit_tiny_patch16_224', [.5, .5, .5]), ('resnet50.a1_in1k', imagenet_stats[0]),
                                       ('vit_base_patch16_clip_224.openai', [0.48145466, 0.4578275, 0.40821073])])
def test_normalisation_is_that_of_the_weights(arch, mean):
    np.testing.assert_allclose(find_backbone(arch).stats[0], mean)
    assert len(find_backbone(arch).channel_stats(4)[0]) == 4

def test_a_learner_normalises_as_its_weights_want(dls_of, tmp_path):
    "Weights from a file had ImageNet's statistics, whatever the architecture."
    torch.save(timm.create_model('vit_tiny_patch16_224').state_dict(), tmp_path/'w.pth')
    dls = dls_of()
    tagger(dls, 'vit_tiny_patch16_224', tmp_path/'w.pth')
    assert normalised(dls) == [.5, .5, .5]

def test_batches_normalised_for_another_backbone_are_told(dls_of, tmp_path, capsys):
    torch.save(timm.create_model('vit_tiny_patch16_224').state_dict(), tmp_path/'w.pth')
    dls = dls_of()
    tagger(dls, 'resnet18')
    capsys.readouterr()
    tagger(dls, 'vit_tiny_patch16_224', tmp_path/'w.pth')
    said = capsys.readouterr().out
    assert said.startswith('WARNING') and 'vit_tiny_patch16_224' in said and said.count('\n') == 1

def test_a_function_of_torchvision_or_fastai(dls_of):
    learn = tagger(dls_of(), torchvision.models.resnet18)
    same = tagger(dls_of(), 'resnet18')
    assert [*learn.model.state_dict()] == [*same.model.state_dict()]

def tiny_map(pretrained=False):
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3))
class PooledNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3)
    def forward(self, x): return self.conv(x).mean((2, 3))

@pytest.mark.parametrize('build,features', [(tiny_map, 32), (PooledNet, 12)])
def test_a_network_of_ones_own(dls_of, build, features, monkeypatch):
    mine = Backbone(build, stats=([.4, .4, .4], [.1, .1, .1]))
    monkeypatch.setitem(backbones.BACKBONES, 'Mine', mine)
    dls = dls_of()
    learn = tagger(dls, 'mine') # as the command line names it
    assert next(m for m in learn.model[1].modules() if isinstance(m, nn.BatchNorm1d)).num_features == features
    np.testing.assert_allclose(normalised(dls), .4)
    assert len(fine_tune(learn, 1, 1e-3, 0)) == 1
    assert mine.has_weights() == (build is tiny_map)

# ---- sizes and channels

TRANSFORMERS = ['vit_tiny_patch16_224', 'swin_tiny_patch4_window7_224', 'eva02_tiny_patch14_224', 'levit_128s',
                'vit_small_patch14_dinov2', 'convnext_atto', 'swin_t', 'mobilenet_v2']

@pytest.mark.parametrize('arch', TRANSFORMERS)
def test_any_backbone_trains_at_a_size_of_ours(dls_of, arch, tmp_path):
    learn = tagger(dls_of(), arch)
    assert len(fine_tune(learn, 1, 1e-3, 0)) == 1
    probs, targs = learn.get_preds()
    assert probs.shape == targs.shape and torch.isfinite(probs).all()

@pytest.mark.parametrize('arch,size,works', [('inception_v3', 32, '299'), ('vit_h_14', 64, 'patch.*56, 70, 224'),
                                             ('alexnet', 32, '64')])
def test_a_size_that_does_not_suit_is_refused_in_one_line(arch, size, works):
    backbone = find_backbone(arch)
    state = torch.get_rng_state()
    with pytest.raises(UserError, match=f'`size` {size} does not suit {arch}.*{works}') as e: backbone.check_size(size)
    assert '\n' not in str(e.value) and (torch.get_rng_state() == state).all()

def test_a_size_that_suits_draws_no_random_number():
    state = torch.get_rng_state()
    for arch in ('resnet50', 'swin_t', 'vit_tiny_patch16_224', 'regnet_x_400mf'): find_backbone(arch).check_size(64)
    assert (torch.get_rng_state() == state).all()

@pytest.mark.parametrize('arch', ['resnet18', 'resnet10t', 'swin_tiny_patch4_window7_224', 'mobilenet_v2'])
def test_images_of_four_channels(arch):
    backbone = find_backbone(arch)
    backbone.check_size(32, channels=4)
    kwargs, build, *_ = backbone.plan(32, 4)
    assert backbone.body(channels=4, **kwargs)(torch.rand(2, 4, 32, 32)).shape[0] == 2

# ---- weights files

def save(state, path):
    (torch.save if path.suffix == '.pth' else save_file)({k: v.contiguous() for k, v in state.items()}, path)
    return path

@pytest.mark.parametrize('arch', ['vit_tiny_patch16_224', 'swin_tiny_patch4_window7_224', 'vit_b_16', 'mobilenet_v2'])
def test_weights_from_a_file(dls_of, tmp_path, arch):
    found = find_arch(arch)
    source = timm.create_model(found) if isinstance(found, str) else found(weights=None)
    path = save(source.state_dict(), tmp_path/'w.safetensors')
    learn = tagger(dls_of(), arch, path)
    ours = dict(learn.model[0].named_parameters())
    theirs = {k: v for k, v in source.named_parameters() if not k.startswith('head')}
    def same(k, v): return any(k.endswith(o) and v.shape == w.shape and (v == w).all() for o, w in theirs.items())
    fit = [k for k, v in ours.items() if same(k, v)]
    assert len(fit) > .9*len(ours) and learn.weights == str(path) and not next(iter(ours.values())).requires_grad

@pytest.fixture(scope='module')
def resnet18(): return torchvision.models.resnet18().state_dict()

@pytest.mark.parametrize('wrap,prefix', [
    (lambda s: {f'module.{k}': v for k, v in s.items()}, 'module.'),
    (lambda s: {f'backbone.{k}': v for k, v in s.items() if 'fc' not in k} | dict(head=torch.ones(1)), 'backbone.'),
    (lambda s: {'epoch': 3, 'state_dict': {f'module.model.{k}': v for k, v in s.items()}}, 'module.model.'),
    (lambda s: {'state_dict': {'a': torch.ones(1)}, 'state_dict_ema': s}, ''),
    (lambda s: {f'_orig_mod.{k}': v for k, v in s.items()}, '_orig_mod.'),
    (lambda s: {k: v for k, v in s.items() if 'num_batches' not in k}, '')])
def test_prefixes_of_training_code(dls_of, tmp_path, resnet18, wrap, prefix, capsys):
    torch.save(wrap(resnet18), tmp_path/'w.pth')
    learn = tagger(dls_of(), 'resnet18', tmp_path/'w.pth')
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith('weights')]
    assert (learn.model[0][0].weight == resnet18['conv1.weight']).all()
    assert (len(said) == 1 and f'begin with {prefix},' in said[0]) if prefix else not said

@pytest.mark.parametrize('change,said', [
    (lambda s: s | {'conv1.weight': torch.ones(64, 13, 7, 7)}, 'first convolution takes 13 channels, images have 3'),
    (lambda s: s | {'fc.bias': torch.ones(1000, dtype=torch.int8)}, 'quantised.*fc.bias is int8'),
    (lambda s: s | {'layer4.1.bn2.running_var': torch.full((512,), torch.nan)}, 'NaN.*layer4.1.bn2.running_var'),
    (lambda s: s | {'layer1.0.conv1.weight': torch.ones(64, 64, 3, 3, dtype=torch.int64)}, 'quantised.*int64'),
    (lambda s: {'weights': [1, 2]}, 'no state dict'), (lambda s: torch.ones(3), 'no state dict')])
def test_weights_that_cannot_be_used(dls_of, tmp_path, resnet18, change, said):
    torch.save(change(resnet18), tmp_path/'w.pth')
    with pytest.raises(UserError, match=f'^`weights` .*w.pth .*{said}') as e:
        tagger(dls_of(), 'resnet18', tmp_path/'w.pth')
    assert '\n' not in str(e.value)

def test_weights_of_another_architecture(dls_of, tmp_path):
    save(torchvision.models.resnet34().state_dict(), tmp_path/'w.pth')
    with pytest.raises(UserError, match='does not fit resnet18: .*it fits `arch` resnet34'):
        tagger(dls_of(), 'resnet18', tmp_path/'w.pth')

def test_half_precision_weights_become_fp32(tmp_path):
    torch.save({'state_dict': {'a': torch.ones(2, dtype=torch.half), 'n': torch.tensor(3)}}, tmp_path/'w.pth')
    state = read_weights(tmp_path/'w.pth')
    assert state['a'].dtype == torch.float32 and state['n'].dtype == torch.int64

@pytest.mark.parametrize('make,said', [(lambda p: None, 'no such file'), (lambda p: p.mkdir(), 'is no file'),
                                       (lambda p: __import__('os').mkfifo(p), 'is no file')])
def test_only_regular_files_are_opened(tmp_path, make, said):
    make(tmp_path/'w.pth')
    with pytest.raises(UserError, match=said): read_weights(tmp_path/'w.pth')

# ---- weights from the network and the cache

def test_process_state_does_not_outlive_an_error(monkeypatch):
    import socket
    from huggingface_hub import constants
    monkeypatch.setattr(weights, 'urlopen', unreachable)
    before = socket.getdefaulttimeout(), constants.HF_HUB_OFFLINE
    for error in (OSError, KeyboardInterrupt, RuntimeError):
        with pytest.raises(error), short_timeouts():
            assert constants.HF_HUB_OFFLINE and socket.getdefaulttimeout() == weights.CONNECT_SECONDS
            raise error
        assert (socket.getdefaulttimeout(), constants.HF_HUB_OFFLINE) == before

@pytest.fixture
def damaged(tmp_path, monkeypatch):
    "A hub cache in which the file of a ResNet-18 was cut off."
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    file = tmp_path/'hub'/'checkpoints'/torchvision.models.ResNet18_Weights.DEFAULT.url.split('/')[-1]
    file.parent.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), file)
    file.write_bytes(file.read_bytes()[:1000])
    return file

def test_a_damaged_cache_is_named_and_auto_goes_on(dls_of, damaged, capsys):
    learn = tagger(dls_of(), 'resnet18', 'auto')
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith('WARNING')]
    assert learn.weights == 'none' and len(said) == 1 and f'elete {damaged}' in said[0] and 'RANDOM' in said[0]
    with pytest.raises(UserError, match=f'imagenet.*delete {damaged}'): tagger(dls_of(), 'resnet18', 'imagenet')

def test_a_damaged_cache_of_the_hub(dls_of, tmp_path, monkeypatch, capsys):
    file = tmp_path/'model.safetensors'
    file.write_bytes(b'cut off')
    monkeypatch.setattr('huggingface_hub.try_to_load_from_cache',
                        lambda repo, name: str(file) if name == file.name else None)
    monkeypatch.setattr('timm.models._builder.load_state_dict_from_hf', lambda *_, **__: read_cut(file))
    monkeypatch.setattr(weights, 'urlopen', unreachable)
    learn = tagger(dls_of(), 'resnet10t', 'auto')
    assert learn.weights == 'none' and f'elete {file}' in capsys.readouterr().out

def read_cut(file):
    from safetensors.torch import load_file
    return load_file(file)

def test_an_architecture_without_weights(dls_of, capsys):
    learn = tagger(dls_of(), PooledNet, 'auto')
    assert learn.weights == 'none' and 'none are published' in capsys.readouterr().out
    with pytest.raises(UserError, match='imagenet: PooledNet.*none are published'):
        tagger(dls_of(), PooledNet, 'imagenet')

def test_weights_for_another_size_than_the_architecture_can_adapt(dls_of, tmp_path, monkeypatch, capsys):
    torch.save(timm.create_model('levit_128s').state_dict(), tmp_path/'w.pth')
    with pytest.raises(UserError, match='does not fit levit_128s for images of 32 pixels'):
        tagger(dls_of(), 'levit_128s', tmp_path/'w.pth')
    monkeypatch.setattr('timm.models._builder.load_state_dict_from_hf', lambda *_, **__: torch.load(tmp_path/'w.pth'))
    monkeypatch.setattr(weights, 'urlopen', unreachable)
    assert tagger(dls_of(), 'levit_128s', 'auto').weights == 'none' and 'size` 224' in capsys.readouterr().out

def test_patches_that_do_not_fill_an_image_are_told(dls_of, capsys):
    tagger(dls_of(), 'eva02_tiny_patch14_224')
    assert 'patches of 14 pixels: the last 4 of 32 are not seen' in capsys.readouterr().out

def test_a_variance_that_overflowed_in_16_bits_is_no_fault(tmp_path):
    "ImageNet weights saved in fp16 may hold one: 1/sqrt(inf) is 0, so that the channel is switched off, as it was."
    state = {'bn1.running_var': torch.tensor([1., 1e6]).half(), 'bn1.weight': torch.ones(2).half()}
    torch.save(state, tmp_path/'a.pth')
    assert read_weights(tmp_path/'a.pth')['bn1.running_var'].isinf().tolist() == [False, True]
    torch.save(state | {'bn1.weight': torch.tensor([1., float('inf')]).half()}, tmp_path/'b.pth')
    with pytest.raises(UserError, match='NaN or infinite numbers in bn1.weight'): read_weights(tmp_path/'b.pth')

def test_wrappers_and_prefixes_of_any_name(tmp_path, capsys):
    state = torchvision.models.resnet18().state_dict()
    for i, wrapped in enumerate((dict(model_state_dict=state, epoch=3), {'resnet.'+k: v for k, v in state.items()},
                                 {'0.body.'+k: v for k, v in state.items()})):
        torch.save(wrapped, tmp_path/f'{i}.pth')
        assert len(fit_state(read_weights(tmp_path/f'{i}.pth'), state, ('fc.',))) == 120
    assert 'names begin with 0.body., which is left off' in capsys.readouterr().out

@pytest.mark.parametrize('change,said', [
    (lambda v: v.int(), "is quantised"), (lambda v: v.to(torch.complex64), "is quantised"),
    (torch.zeros_like, "nothing but zeros"),
    (lambda v: v.to_sparse() if v.ndim == 2 else v, 'sparse or missing'),
    (lambda v: v.to('meta'), 'sparse or missing')])
def test_tensors_that_are_no_float_weights(tmp_path, change, said):
    state = torchvision.models.resnet18().state_dict()
    torch.save({k: change(v) if v.is_floating_point() else v for k, v in state.items()}, tmp_path/'w.pth')
    with pytest.raises(UserError, match=said): read_weights(tmp_path/'w.pth')

def test_a_whole_model_is_no_state_dict(tmp_path):
    torch.save(torchvision.models.resnet18(), tmp_path/'w.pth')
    said = 'holds other Python objects: save model.state_dict'
    with pytest.raises(UserError, match=said): read_weights(tmp_path/'w.pth')
