"Callbacks: each alone and beside fastai's; no error leaves the process changed; the table, and plain lines in a pipe."
import copy
import pickle
import sys
import fastai.callback.schedule  # noqa: F401 (gives `Learner` its `fine_tune`)
import numpy as np
import pytest
import torch
from fastai.callback.core import Callback, CancelBatchException
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.progress import CSVLogger, ShowGraphCallback
from fastai.callback.tracker import SaveModelCallback, TerminateOnNaNCallback
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from fastai.learner import Learner, load_learner
from fastai.torch_core import TensorImage, set_seed
from fastprogress import fastprogress
from torch import nn
from planet import callbacks
from planet.callbacks import (
    DihedralViews,
    GPULoss,
    History,
    Precision,
    Progress,
    SmoothLoss,
    add_progress,
    one_table,
    quiet,
)
from planet.cli import UserError
from planet.divergence import StopOnNaN

class Net(nn.Sequential): # at the top, so that it can be pickled
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(8, 4))

class Data(list):
    def new_empty(self): return Data()

def bce(inp, targ, reduction='mean'):
    return nn.functional.binary_cross_entropy_with_logits(inp, targ, reduction=reduction)
def error(inp, targ): return (inp.sigmoid() - targ).abs().mean()

def learner(*cbs, loss_func=bce, tmp_path=None, images=1., **kwargs):
    set_seed(0, reproducible=True)
    x = torch.rand(24, 3, 16, 16)*images
    y = (x.mean((2, 3)).repeat(1, 2)[:, :4] > .5).float()
    data = Data((TensorImage(a), b) for a, b in zip(x, y))
    dls = DataLoaders.from_dsets(Data(data[:-8]), Data(data[-8:]), bs=8, device=torch.device('cpu'))
    return Learner(dls, Net(), loss_func=loss_func, cbs=cbs, metrics=[error], path=tmp_path, **kwargs)

@pytest.fixture(autouse=True)
def bf16(monkeypatch): # where a device gains nothing from it, it works too
    monkeypatch.setattr(callbacks, 'bf16_gains', lambda device: True)

class At(Callback):
    "Raises `error` at an event."
    def __init__(self, event, error, order=0):
        self.event, self.error, self.order = event, error, order
    def __call__(self, event_name):
        if event_name == self.event: raise self.error

# ---- mixed precision

def numbers():
    learn = learner(Precision(), History())
    with quiet(learn): learn.fit(3, 1e-2)
    return learn.history.table.valid_loss.tolist(), learn.get_preds()[0].tolist()

EVENTS = 'before_fit before_batch after_pred after_loss before_backward before_step after_batch after_train'.split()

@pytest.mark.parametrize('error', [KeyboardInterrupt(), RuntimeError('out of memory'), CancelBatchException()],
                         ids=['interrupt', 'memory', 'cancel'])
@pytest.mark.parametrize('event', EVENTS)
@pytest.mark.parametrize('order', [9, 11]) # before and after `Precision`
def test_no_error_in_a_callback_leaves_autocast_open(event, error, order):
    learn = learner(Precision(), At(event, error, order))
    try:
        with quiet(learn): learn.fit(1)
    except BaseException as e: assert isinstance(e, type(error)) or isinstance(error, CancelBatchException), e
    assert not torch.is_autocast_enabled('cpu')
    assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == torch.float32
    pickle.loads(pickle.dumps(learn.model)) # whatever was broken off, the model can be saved
    with quiet(learn), learn.removed_cbs(learn.at): learn.fit(1)
    assert 'forward' not in vars(learn.model)

@pytest.mark.parametrize('error', [KeyboardInterrupt, torch.OutOfMemoryError, ValueError])
def test_no_error_in_the_forward_pass_leaves_autocast_open(error):
    before = numbers()
    for kind in ('fit', 'get_preds'):
        learn = learner(Precision(), DihedralViews())
        hook = learn.model[2].register_forward_hook(lambda *_: (_ for _ in ()).throw(error()))
        with pytest.raises(error), quiet(learn): getattr(learn, kind)(*[1]*(kind == 'fit'))
        hook.remove()
        assert not torch.is_autocast_enabled('cpu') and 'forward' not in vars(learn.model)
    assert numbers() == before, 'a new learner is the same as in a fresh process'

def test_interrupts_at_random_moments_change_nothing():
    "Ctrl-C left autocast open in 3 of 16 tries: here at each of the first lines of a fit in turn."
    before = numbers()
    for moment in range(200, 12_000, 590):
        learn, left = learner(Precision()), [moment]
        def trace(frame, event, arg, left=left):
            left[0] -= 1
            if left[0] == 0: raise KeyboardInterrupt
            return trace
        try:
            with quiet(learn):
                sys.settrace(trace)
                learn.fit(1)
        except KeyboardInterrupt: pass
        finally: sys.settrace(None)
        assert not torch.is_autocast_enabled('cpu'), moment
    assert numbers() == before

def test_the_forward_pass_is_bf16_and_the_loss_fp32():
    seen = {}
    def loss(inp, targ, reduction='mean'):
        seen['loss'] = inp.dtype, torch.is_autocast_enabled('cpu')
        return bce(inp, targ, reduction)
    learn = learner(Precision(), loss_func=loss)
    def look(m, i, o): seen['conv'] = o.dtype, i[0].is_contiguous(memory_format=torch.channels_last)
    learn.model[0].register_forward_hook(look)
    with quiet(learn): learn.fit(1)
    assert seen == dict(conv=(torch.bfloat16, True), loss=(torch.float32, False))
    learn.to_fp32() # fastai's own way
    with quiet(learn): learn.get_preds()
    assert seen['conv'][0] == torch.float32

def test_saved_models_carry_no_wrapper(tmp_path):
    learn = learner(Precision(), tmp_path=tmp_path)
    saved = []
    class Save(Callback):
        order = 5
        def after_pred(self): saved.append((pickle.dumps(self.model), copy.deepcopy(self.model)))
    with quiet(learn): learn.fit(1, cbs=Save())
    learn.export('l.pkl')
    for model in (pickle.loads(saved[0][0]), saved[0][1], load_learner(tmp_path/'l.pkl').model):
        out = model.eval()(torch.rand(2, 3, 16, 16))
        assert out.dtype == torch.float32 and not isinstance(vars(model).get('forward'), callbacks.AutocastForward)

def test_fp16_scales_its_gradients_as_fastai_does(monkeypatch):
    monkeypatch.setattr(callbacks, 'amp_dtype', lambda device: torch.float16)
    seen = []
    class Scaler:
        def __init__(self, device, enabled): seen.append(enabled)
        def scale(self, loss): return loss*1024
        def step(self, opt):
            for group in opt.param_groups:
                for p in group['params']:
                    if p.grad is not None: p.grad /= 1024
            opt.step()
        def update(self): seen.append('updated')
        def get_scale(self): return 1024
    monkeypatch.setattr(torch.amp, 'GradScaler', Scaler)
    learn = learner(Precision(), History())
    with quiet(learn): learn.fit(2, 1e-2)
    assert seen == [True, *['updated']*4] and learn.history.table.valid_loss.is_monotonic_decreasing

# ---- devices that nobody here has: layouts are kept plain, and float64 does not exist

class Refuses64(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype == torch.float64: raise TypeError('no float64 on MPS')
        return out

@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('gains', [True, False])
def test_the_whole_path_on_a_device_without_float64(monkeypatch, layout, gains, tmp_path):
    monkeypatch.setattr(callbacks, 'bf16_gains', lambda device: gains)
    monkeypatch.setattr(callbacks, 'memory_format', lambda device: layout)
    with Refuses64():
        learn = learner(Precision(), DihedralViews(), History(), StopOnNaN(), tmp_path=tmp_path)
        with quiet(learn): learn.fit(1)
        probs, _ = learn.get_preds()
        learn.export('l.pkl')
    assert torch.isfinite(probs).all()

def test_the_layout_of_an_unknown_device_is_one_that_contiguous_takes():
    x = torch.rand(2, 3, 4, 5).transpose(2, 3)
    for kind in ('mps', 'xpu', 'cpu', 'cuda', 'meta'):
        x.contiguous(memory_format=callbacks.memory_format(torch.device(kind)))

# ---- test-time augmentation

@pytest.mark.parametrize('others', [[], [Precision], [MixedPrecision]], ids=['alone', 'precision', 'fastai'])
def test_predictions_are_the_mean_of_eight_views(others, monkeypatch):
    monkeypatch.setattr(callbacks, 'bf16_gains', lambda device: False)
    learn = learner(*others, DihedralViews())
    with quiet(learn): logits, _ = learn.get_preds(act=lambda x: x)
    x = torch.cat([x for x, _ in learn.dls.valid]).as_subclass(torch.Tensor)
    with torch.no_grad():
        views = [learn.model.eval()(torch.rot90(f, k, (2, 3))) for k in range(4) for f in (x, x.flip(3))]
    np.testing.assert_allclose(logits, torch.stack(views).mean(0), rtol=1e-4, atol=1e-6)
    targs = torch.stack([y for _, y in learn.dls.valid_ds])
    np.testing.assert_allclose(learn.validate()[0], bce(views[0], targs), rtol=1e-4)

# ---- history, progress and stages, alone and together

OURS = dict(precision=Precision, views=DihedralViews, history=History, nan=StopOnNaN)
FASTAIS = dict(graph=ShowGraphCallback, csv=CSVLogger, save=SaveModelCallback, nan=TerminateOnNaNCallback,
               accumulate=lambda: GradientAccumulation(8))

@pytest.mark.parametrize('theirs', [None, *FASTAIS])
@pytest.mark.parametrize('ours', [*OURS, 'all'])
def test_each_works_alone_and_beside_fastais(ours, theirs, tmp_path):
    cbs = [o() for o in OURS.values()] if ours == 'all' else [OURS[ours]()]
    learn = learner(*cbs, *[FASTAIS[theirs]()] if theirs else [], tmp_path=tmp_path)
    if ours == 'all' or theirs == 'graph': add_progress(learn)
    learn.fit(1)
    probs, targs = learn.get_preds()
    learn.validate()
    assert probs.shape == targs.shape

def freezing(*cbs):
    return learner(*cbs, splitter=lambda m: [[*nn.Sequential(*part).parameters()] for part in ([*m][:3], [*m][3:])])

def test_plain_lines_in_a_pipe(capsys):
    learn = freezing(History())
    add_progress(learn)
    with one_table(learn, 3): learn.fine_tune(2, freeze_epochs=1)
    learn.validate()
    learn.get_preds()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and said[0].startswith('epoch 1  stage head  train_loss')
    assert said[2].startswith('epoch 3  stage all layers')
    assert list(learn.history.table) == ['epoch', 'stage', 'train_loss', 'valid_loss', 'error', 'time']

def test_one_table_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(callbacks, 'is_watched', lambda: True)
    learn = freezing(History())
    add_progress(learn)
    with one_table(learn, 3): learn.fine_tune(2, freeze_epochs=1)
    lines = [o.split('\r')[-1] for o in capsys.readouterr().out.split('\n')]
    rows = [o.split() for o in lines if o.strip()]
    assert rows[0] == ['epoch', 'stage', 'train_loss', 'valid_loss', 'error', 'time'] and len(rows) == 4
    assert [r[:2] for r in rows[1:]] == [['1', 'head'], ['2', 'all'], ['3', 'all']] and max(map(len, lines)) <= 80
    learn.fit(1) # another table
    out = capsys.readouterr().out
    assert out.count('train_loss') == 1 and 'epoch 1/1' in out

def test_one_table_in_a_notebook(monkeypatch):
    shown = []
    class Out:
        def update(self, o): shown.append(o)
    monkeypatch.setattr(callbacks, 'is_watched', lambda: True)
    monkeypatch.setattr(fastprogress, 'master_bar', fastprogress.NBMasterBar)
    monkeypatch.setattr(fastprogress, 'progress_bar', fastprogress.NBProgressBar)
    monkeypatch.setattr('IPython.display.display', lambda o, display_id=None: Out())
    learn = freezing()
    add_progress(learn)
    with one_table(learn, 3):
        learn.fine_tune(2, freeze_epochs=1)
        table = learn.progress.mbar.lines
    assert [row[:2] for row in table] == [['epoch', 'stage'], ['1', 'head'], ['2', 'all layers'], ['3', 'all layers']]
    assert shown and not hasattr(learn.progress, 'mbar')

def test_a_table_that_was_broken_off_is_not_gone_on_with(capsys, monkeypatch):
    monkeypatch.setattr(callbacks, 'is_watched', lambda: True)
    learn = freezing()
    add_progress(learn)
    with pytest.raises(KeyboardInterrupt), one_table(learn, 3): learn.fit(1, cbs=At('after_train', KeyboardInterrupt()))
    capsys.readouterr()
    learn.fit(2)
    said = capsys.readouterr().out
    assert said.count('train_loss') == 1 and 'epoch 2/2' in said
    learn.fit(1)
    assert learn.logger == print

def test_no_bar_and_quiet(capsys):
    learn = freezing(History())
    add_progress(learn)
    with quiet(learn): learn.fit(1)
    assert capsys.readouterr().out == '' and type(learn.progress) is Progress and len(learn.history.rows) == 1
    with learn.no_bar(): pass # fastai puts its own back
    with one_table(learn, 1): learn.fit(1)
    assert type(learn.progress) is Progress and capsys.readouterr().out.startswith('epoch 2')

def test_a_cancelled_epoch_has_no_numbers():
    learn = learner(History())
    from fastai.callback.core import CancelValidException
    with quiet(learn): learn.fit(1, cbs=At('before_validate', CancelValidException()))
    assert learn.history.rows == [dict(epoch=1, stage='all layers')]

# ---- divergence

def test_a_learning_rate_that_is_too_high_is_named():
    learn = learner(Precision(), StopOnNaN())
    with pytest.raises(UserError, match='training diverged in epoch 1 of 2, .*learning rate.*`lr`') as e, quiet(learn):
        learn.fit(2, 1e30)
    assert '\n' not in str(e.value) and 'Exception occured' not in str(e.value)

def test_on_a_gpu_a_step_is_checked_in_the_next_one(monkeypatch):
    "So that the GPU has work while it is asked; the device is simulated."
    class Event:
        def record(self): pass
        def synchronize(self): pass
    checked = []
    monkeypatch.setattr(torch.cuda, 'Event', Event)
    monkeypatch.setattr(StopOnNaN, 'late', property(lambda cb: cb.training and cb.steps > 1))
    late = StopOnNaN.check_before
    monkeypatch.setattr(StopOnNaN, 'check_before', lambda cb: (checked.append(cb.steps), late(cb)))
    learn = learner(Precision(), StopOnNaN())
    with pytest.raises(UserError, match='training diverged in epoch 1 of 2, .*learning rate.*`lr`'), quiet(learn):
        learn.fit(2, 1e30)
    learn = learner(StopOnNaN())
    with quiet(learn): learn.fit(3, 1e-3)
    assert checked and checked[-1] == learn.stop_on_na_n.steps - 1

def test_losses_of_a_gpu_stay_there_until_the_fit_ends():
    "The same numbers as fastai's; the device is simulated."
    class OnGPU(GPULoss):
        def before_fit(self): self.recorder.smooth_loss = SmoothLoss(self.recorder.smooth_loss.beta)
    losses = []
    for cb in (GPULoss(), OnGPU()):
        learn = learner(cb)
        with quiet(learn): learn.fit(2, 1e-3)
        losses.append(torch.stack(learn.recorder.losses))
        assert all(o.device.type == 'cpu' for o in learn.recorder.losses)
    assert type(learn.recorder.smooth_loss) is SmoothLoss and torch.equal(*losses)

def test_a_loss_that_is_finite_but_explodes():
    learn = learner(StopOnNaN())
    with pytest.raises(UserError, match='diverged in epoch 1 .*loss went from 0.7.*`lr`'), quiet(learn):
        learn.fit(2, 3e4)

def test_weights_and_images_that_are_nan_are_named():
    learn = learner(StopOnNaN())
    nn.init.constant_(learn.model[0].weight, torch.nan)
    with pytest.raises(UserError, match=r'weights hold NaN.*\(0.weight\).*`weights`'), quiet(learn): learn.fit(1)
    with pytest.raises(UserError, match='weights hold NaN'), quiet(learn): learn.get_preds()
    learn = learner(StopOnNaN(), images=torch.nan)
    with pytest.raises(UserError, match='images hold NaN'), quiet(learn): learn.fit(1)

def test_lr_find_goes_on_to_the_end(tmp_path):
    learn = learner(StopOnNaN(), tmp_path=tmp_path)
    add_progress(learn)
    assert learn.lr_find(start_lr=1, end_lr=1e38, num_it=20, stop_div=False, show_plot=False)
    learn.fit(1)
