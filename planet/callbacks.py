"""Callbacks: mixed precision, test-time augmentation, training history, progress; each works alone.

Each works beside fastai's own as well, and none leaves the process changed after an error or Ctrl-C.
"""
from planet.cli import UserError, is_watched, say  # before fastai, whose import it quiets

# isort: split
from contextlib import contextmanager, nullcontext
from types import MethodType
import fastai.vision.augment  # noqa: F401 (gives `TensorImage` its `dihedral`)
import pandas as pd
import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.progress import ProgressCallback
from fastai.learner import AvgSmoothLoss, Learner, Recorder
from fastai.torch_core import TensorImage, to_float
from fastcore.basics import noop
from fastcore.foundation import L
from fastprogress import fastprogress
from planet.memory import keep_memory

__all__ = ['bf16_gains', 'amp_dtype', 'memory_format', 'check_precision', 'Precision', 'D4', 'DihedralViews',
           'stage_name', 'History', 'GPULoss', 'Progress', 'add_progress', 'one_table', 'quiet']

# ---- mixed precision

def bf16_gains(
    device:torch.device,
) -> bool:
    "Whether mixed precision pays: `device` has units that multiply bf16 faster than fp32."
    if device.type == 'cuda': return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != 'cpu': return False # unmeasured: fp32 is the safe answer
    # newer torch has a public function for it; before, the same questions had private names
    if hasattr(torch.cpu, 'get_capabilities'):
        has = torch.cpu.get_capabilities()
        return bool(has.get('amx_bf16') or has.get('avx512_bf16'))
    return any(getattr(torch.cpu, f, bool)() for f in ('_is_amx_tile_supported', '_is_avx512_bf16_supported'))

def amp_dtype(
    device:torch.device,
): # -> `torch.bfloat16`, `torch.float16`, or `None` for fp32
    "The number format of mixed precision on `device`: bf16 where it gains, fp16 on CUDA before Ampere, else none."
    if bf16_gains(device): return torch.bfloat16
    return torch.float16 if device.type == 'cuda' else None

DTYPES = dict(fp32=None, bf16=torch.bfloat16, fp16=torch.float16)

def check_precision(
    precision:str, # auto, fp32, bf16 or fp16
    device:torch.device,
):
    "Raise a `UserError` where a number format does not work on a device."
    if precision not in ('auto', *DTYPES):
        raise UserError(f"{precision} is unknown: one of auto, {', '.join(DTYPES)}", option='precision')
    if precision == 'fp16' and device.type != 'cuda':
        raise UserError(f'fp16 needs a CUDA device, and this is {device.type}: take auto, bf16 or fp32', 'precision')

def memory_format(
    device:torch.device,
) -> torch.memory_format:
    "The memory layout of images on `device`: channels-last where it is known to be faster."
    return torch.channels_last if device.type in ('cpu', 'cuda') else torch.contiguous_format

class AutocastForward:
    """The forward pass of `model` under autocast; it stands in for `model.forward` while `Precision` has a batch.

    Autocast is entered and left within one call, so no error can leave it open for the rest of the process.
    """
    def __init__(self, model, device_type, dtype):
        self.model, self.device_type, self.dtype = model, device_type, dtype
        self.replaced = model.__dict__.get('forward') # another library may have put one there
        model.forward = self
    def plain(self): return self.replaced or MethodType(type(self.model).forward, self.model)
    def __call__(self, *args, **kwargs):
        try:
            with torch.autocast(self.device_type, self.dtype): return self.plain()(*args, **kwargs)
        except BaseException:
            self.remove()
            raise
        # Ctrl-C inside autocast's own entry leaves its count too high, and then its copies of the weights stay
        finally: torch.clear_autocast_cache()
    def remove(self):
        if self.model.__dict__.get('forward') is not self: return
        if self.replaced: self.model.forward = self.replaced
        else: del self.model.forward
    def __reduce__(self): return getattr, (self.model, 'forward') # a saved model has its own forward pass

class Precision(MixedPrecision):
    """Mixed precision: the forward pass under autocast in bf16 or fp16, and channels-last, wherever the device gains.

    fastai's own `MixedPrecision` is CUDA only, and leaves autocast open after an error. This one asks the device each
    time, so that a learner exported on one machine does the right thing on the next. The loss is computed in fp32; fp16
    has its gradients scaled, as with fastai. `learn.to_fp32()` removes it.
    """
    wrapped, precision = None, 'auto'
    def __init__(self,
        precision:str='auto', # fp32, bf16 or fp16, whatever the device
    ):
        super().__init__()
        self.precision = precision
    def on(self, device): # -> number format or `None`, and memory layout
        "What is right on a device."
        check_precision(self.precision, device)
        return DTYPES[self.precision] if self.precision in DTYPES else amp_dtype(device), memory_format(device)
    def forward(self, model, x):
        "The output of a model in this precision, outside of a fit."
        dtype, layout = self.on(x.device)
        if x.device.type == 'cpu': keep_memory()
        if layout is torch.channels_last: model.to(memory_format=layout)
        with torch.autocast(x.device.type, dtype) if dtype else nullcontext():
            return model(x.contiguous(memory_format=layout))
    def before_fit(self):
        self.remove_forward()
        self.cast_to, self.layout = self.on(self.dls.device)
        if self.dls.device.type == 'cpu': keep_memory()
        if self.layout is torch.channels_last: self.learn.model.to(memory_format=self.layout)
        self.learn.scaler, self.scales = torch.amp.GradScaler('cuda', enabled=self.cast_to is torch.float16), L()
    # Ctrl-C inside the end of torch's `no_grad`, after a validation, leaves gradients off for the whole process
    def before_train(self): torch.set_grad_enabled(True)
    def before_batch(self):
        self.remove_forward()
        # plain tensors: each operation of a network would ask a subclass how to treat it, which a GPU waits for
        self.learn.xb = tuple(x.as_subclass(torch.Tensor).contiguous(memory_format=self.layout) if x.ndim == 4 else x
                              for x in self.xb)
        if self.cast_to is not None: self.wrapped = AutocastForward(self.model, self.dls.device.type, self.cast_to)
    def after_pred(self):
        self.remove_forward()
        self.learn.pred = to_float(self.pred)
    def after_loss(self): pass # where fastai's leaves autocast
    def after_batch(self): self.remove_forward() # a cancelled batch has no `after_pred`
    def after_fit(self): self.learn.scaler = self.scales = None
    def remove_forward(self):
        if self.wrapped is not None: self.wrapped.remove()
        self.wrapped = None

# ---- test-time augmentation

D4 = 0, 3, 1, 2, 4, 5, 6, 7 # views as `TensorImage.dihedral` numbers them, in the order in which they are taken

class DihedralViews(Callback):
    """Test-time augmentation over the D4 group: the mean logits of an image's eight flips and rotations.

    It acts in `get_preds` and `predict`; training and the validation after each epoch take one view. It stays with an
    exported learner, so that what was scored is what predicts; `learn.remove_cb(DihedralViews)` goes back to one view.
    (fastai's `tta` draws random augmentations instead.)
    """
    order = Precision.order-1 # its forward passes come before mixed precision ends
    def __init__(self,
        views:int=8, # how many of `D4`
    ): self.views = views
    def after_pred(self):
        if self.training or not hasattr(self.learn, 'gather_preds'): return
        x, *rest = self.xb
        # the batch's own layout: no device has to know one that keeps that of a transposed view
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        logits = to_float(self.pred)
        for k in D4[1:self.views]:
            view = TensorImage(x).dihedral(k).contiguous(memory_format=layout)
            logits = logits + to_float(self.model(view, *rest))
        self.learn.pred = (logits/self.views).as_subclass(torch.Tensor)

# ---- history and progress

def stage_name(
    learn:Learner, # while it trains
) -> str:
    "The stage of fine-tuning: `head` while layers are frozen, then `all layers`; or what `learn.stage` says."
    return getattr(learn, 'stage', None) or ('head' if getattr(learn.opt, 'frozen_idx', 0) else 'all layers')

class History(Callback):
    "Training history: losses and metrics of each epoch, over all stages; a printed line where no progress table shows."
    order = Recorder.order+1
    def __init__(self): self.rows, self.trained, self.printed = [], False, True
    def before_epoch(self): self.trained = False
    def before_train(self): self.trained = not hasattr(self.learn, 'lr_finder')
    def after_epoch(self):
        if not self.trained: return # `validate` and `get_preds` are no epoch
        names, log = self.recorder.metric_names[1:], self.recorder.log[1:]
        found = dict(zip(names, log)) if len(names) == len(log) else {} # a cancelled part of an epoch has no numbers
        self.rows.append(dict(epoch=len(self.rows)+1, stage=stage_name(self.learn), **found))
        progress = getattr(self.learn, 'progress', None)
        if self.printed and (progress is None or getattr(progress, 'silent', False)):
            say('  '.join(f'{k} {v:.4f}' if isinstance(v, float) else f'{k} {v}' for k, v in self.rows[-1].items()))
    def state_dict(self): return dict(rows=self.rows) # for a checkpoint
    def load_state_dict(self, state): self.rows = state['rows']
    @property
    def table(self) -> pd.DataFrame: return pd.DataFrame(self.rows)

class SmoothLoss(AvgSmoothLoss):
    "fastai's smoothed loss on the device of the loss: the same numbers, without a copy to the CPU each step."
    def accumulate(self, learn):
        self.count, loss = self.count + 1, learn.loss.detach().mean()
        self.val = torch.lerp(loss, self.val.to(loss.device), self.beta)

class GPULoss(Callback):
    "Keep the training losses on a CUDA device, which a step then need not wait for; they are on the CPU after the fit."
    order = Recorder.order-1
    def before_fit(self):
        smooth = self.recorder.smooth_loss
        if getattr(self.dls.device, 'type', '') == 'cuda' and type(smooth) is AvgSmoothLoss:
            self.recorder.smooth_loss = SmoothLoss(smooth.beta)
    def after_fit(self): self.recorder.losses = [o.cpu() for o in self.recorder.losses]

class Progress(ProgressCallback):
    """fastai's progress bar and table of results, with one table for all stages in `one_table`; silent in a pipe.

    There its bars exist but draw nothing, so that callbacks which look for them (`ShowGraphCallback`) work too.
    """
    epochs = done = 0 # of all stages that share a table, and those before this stage
    @property
    def silent(self) -> bool: return not is_watched()
    def before_fit(self):
        started = self.create_mbar and not (self.epochs and getattr(self, 'mbar', False))
        if started:
            epochs = list(range(self.epochs or self.n_epoch))
            if self.silent: self.mbar = fastprogress.MasterBar(epochs, fastprogress.ProgressBar)
            else: self.mbar = fastprogress.master_bar(epochs)
            self.mbar.update(0) # a training that is resumed does not begin there
        if self.learn.logger == noop: self.old_logger = noop
        else:
            if self.learn.logger != self._write_stats: self.old_logger = self.learn.logger # else a fit was broken off
            self.learn.logger = self._write_stats
            if started: self.write(['epoch', 'stage', *self.recorder.metric_names[1:]])
    def before_epoch(self):
        if getattr(self, 'mbar', False): self.mbar.update(self.done + self.epoch)
    def after_batch(self):
        # asked for now and then: it waits for all that a GPU still has to do
        shown = self.training and not self.silent and self.iter % 8 == 0 and hasattr(self.learn, 'smooth_loss')
        if shown: self.pbar.comment = f'{self.smooth_loss.item():.4f}'
        self.pbar.update(self.iter+1)
    def after_fit(self):
        self.learn.logger = getattr(self, 'old_logger', self.learn.logger)
        if self.epochs: self.done += self.n_epoch if self.create_mbar else 0
        else: self.close()
    def close(self):
        "End the table."
        if getattr(self, 'mbar', False):
            self.mbar.on_iter_end()
            del self.mbar
        self.epochs = self.done = 0
    def label(self) -> str:
        "What a bar counts."
        if hasattr(self.learn, 'gather_preds'): return 'predicting'
        what = stage_name(self.learn) if self.training else 'validation set'
        if not getattr(self, 'mbar', False): return what
        return f'epoch {self.done+self.epoch+1}/{self.epochs or self.n_epoch}, {what}'
    def _launch_pbar(self):
        make = fastprogress.ProgressBar if self.silent else fastprogress.progress_bar
        self.pbar = make(self.dl, parent=getattr(self, 'mbar', None), leave=False)
        setattr(self.pbar, 'comment' if isinstance(self.pbar, fastprogress.NBProgressBar) else 'prefix', self.label())
        self.pbar.update(0)
    def _write_stats(self, log):
        if getattr(self, 'mbar', False) and not hasattr(self.learn, 'lr_finder'):
            self.write([self.done+log[0]+1, stage_name(self.learn), *log[1:]])
    def write(self, row):
        "Add a row to the table."
        cells = [f'{v:.4f}' if isinstance(v, float) else str(v) for v in row]
        if isinstance(self.mbar, fastprogress.NBMasterBar): return self.mbar.write(cells, table=True)
        if isinstance(row[0], str): self.widths = [max(len(c), w) for c, w in zip(cells, [5, 10, *[6]*len(cells)])]
        # fastprogress pads columns so widely that the main experiment's do not fit on 80 characters
        self.mbar.write('  '.join(f'{c:<{w}}' for c, w in zip(cells, self.widths)).rstrip())

def add_progress(
    learn:Learner,
): # -> its progress callback, or `None`
    "Replace fastai's `ProgressCallback`, where the learner has one, by `Progress`."
    if type(getattr(learn, 'progress', None)) is ProgressCallback:
        learn.remove_cb(learn.progress)
        learn.add_cb(Progress())
    return getattr(learn, 'progress', None)

@contextmanager
def one_table(
    learn:Learner,
    epochs:int, # of all stages together
):
    "Show several calls of `learn.fit` in one progress table with epochs numbered through."
    progress = add_progress(learn) # `learn.no_bar()` puts fastai's own back
    if progress is not None:
        progress.close()
        progress.epochs = epochs
    try: yield
    finally:
        if progress is not None: progress.close()

@contextmanager
def quiet(
    learn:Learner,
):
    "Train, validate or predict without progress bars or lines; the same callbacks are back afterwards."
    hidden, history = [cb for cb in learn.cbs if isinstance(cb, ProgressCallback)], getattr(learn, 'history', None)
    with learn.removed_cbs(hidden), learn.no_logging():
        if history is not None: history.printed = False
        try: yield learn
        finally:
            if history is not None: history.printed = True
