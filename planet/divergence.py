"Stop training that diverges: NaN or infinite outputs, or a loss that explodes."
from planet.cli import UserError  # before fastai, whose import it quiets

# isort: split
import torch
from fastai.callback.core import Callback, CancelFitException
from planet.callbacks import Precision, stage_name

__all__ = ['Diverged', 'StopOnNaN']

class Diverged(UserError):
    "Training diverged: NaN or infinite numbers, or a loss that explodes."

class StopOnNaN(Callback):
    """Stop training that diverges, at the first NaN or infinite output; the error names learning rate or weights.

    It also stops after an epoch whose loss is a thousand times that of the first batch (a million, in validation).
    (fastai's `TerminateOnNaNCallback` ends the fit as if it were done, and sees the loss only.)
    """
    order = Precision.order+1 # of outputs in fp32
    def __init__(self): self.steps, self.fault, self.first, self.trained = 0, None, None, False
    def after_step(self): self.steps += 1
    def state_dict(self): return dict(steps=self.steps, first=self.first) # for a checkpoint
    def load_state_dict(self, state): self.steps, self.first = state['steps'], state['first']
    def after_pred(self):
        if not self.late: self.check(self.pred, 'outputs')
    def after_loss(self):
        if not len(self.yb): return
        if self.late: self.check_before()
        else: self.check(self.loss, 'loss')
        if self.training and self.first is None: self.first = self.loss.detach().mean()
    def before_epoch(self): self.trained = False
    def before_train(self): self.asked = None
    def after_train(self): self.compare(self.recorder.smooth_loss.value, 1e3)
    # batch norm's averages lag behind in the first epochs, so a validation loss may be far off and come back
    def after_validate(self):
        if self.trained and self.recorder.loss.value is not None: self.compare(self.recorder.loss.value, 1e6)
    def compare(self, loss, factor):
        self.trained = True
        if self.first is None or hasattr(self.learn, 'lr_finder'): return
        if loss > factor*self.first.clamp(min=1e-3):
            self.fault = self.diverged(f'the loss went from {self.first:.3g} to {loss:.3g}', self.steps)
    @property
    def late(self) -> bool:
        "Whether a step is checked in the next one: a GPU then has work while it is asked. Not the first ones."
        on_gpu = getattr(self.dls.device, 'type', '') == 'cuda'
        return on_gpu and self.training and self.steps > 1 and not hasattr(self.learn, 'lr_finder')
    def check_before(self):
        "Check outputs and loss of the step before, and ask for those of this one."
        found = self.pred if isinstance(self.pred, torch.Tensor) else self.loss, self.loss
        finite = torch.stack([torch.isfinite(o.detach()).all() for o in found])
        asked, self.asked = self.asked, (finite.to('cpu', non_blocking=True), torch.cuda.Event())
        self.asked[1].record()
        if asked is None: return
        asked[1].synchronize()
        if not asked[0].all(): self.fault = self.why('loss' if asked[0][0] else 'outputs')
    def check(self, found, what):
        if isinstance(found, torch.Tensor) and found.is_floating_point() and not torch.isfinite(found.detach()).all():
            if hasattr(self.learn, 'lr_finder'): raise CancelFitException() # which raises the rate until this happens
            self.fault = self.why(what)
    def why(self, what): # -> words, or the error
        "What made `what` infinite."
        what = f"the model's {what} are NaN or infinite"
        if self.steps and hasattr(self.learn, 'gather_preds'): return Diverged(f'{what}: train again with a lower `lr`')
        if self.steps: return self.diverged(what, self.steps + self.training)
        if not all(torch.isfinite(x).all() for x in self.xb): return 'the images hold NaN or infinite numbers'
        for name, tensor in self.model.state_dict().items():
            # a variance that overflowed in a 16-bit file is infinite, and harmless
            if tensor.isnan().any() or not (name.endswith('running_var') or torch.isfinite(tensor).all()):
                return f"the model's weights hold NaN or infinite numbers ({name}): take other `weights`"
        return f'{what} before any training: take other `weights`'
    def diverged(self, what, step) -> Diverged:
        where = f'batch {self.iter+1}' if self.training else 'validation set'
        at = f'epoch {self.epoch+1} of {self.n_epoch}, {where} ({stage_name(self.learn)}, step {step})'
        return Diverged(f"training diverged in {at}: {what}. The learning rate, "
                        f"{self.opt.hypers[-1]['lr']:.3g} at that time, is too high: take a lower `lr`, such as 0.003")
    def __call__(self, event_name):
        super().__call__(event_name)
        # raised here and not in the event, whose errors fastai words anew, over three lines
        fault, self.fault = self.fault, None
        if fault: raise fault if isinstance(fault, UserError) else UserError(fault)
