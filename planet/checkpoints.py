"Checkpoints: save the model and all that training depends on after each epoch, and resume with bit-equal results."
# A checkpoint is a folder `epoch-N` with `model.safetensors`, `training.safetensors` (optimizer and random states) and
# `state.json`; nothing in it runs code. It is written whole or not at all, and read only if its hashes are right.
import gc
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
import torch
from fastai.callback.core import Callback, CancelEpochException, CancelFitException
from fastai.learner import Learner
from fastcore.foundation import L
from planet.callbacks import stage_name
from planet.checkpoint_files import (
    TRAINING,
    Saved,
    differences,
    epoch_number,
    find_checkpoints,
    random_state,
    read_checkpoint,
    set_random_state,
    write_checkpoint,
)
from planet.cli import UserError, say
from planet.distributed import bare, process_count
from planet.process import plain_text

__all__ = ['Checkpoints', 'is_out_of_memory']

def is_out_of_memory(e:BaseException) -> bool:
    "Whether an error says that memory, of the GPU or of the machine, ran out."
    return isinstance(e, (MemoryError, torch.OutOfMemoryError)) or isinstance(e, RuntimeError) and bool(
        re.search(r"out of memory|can't allocate memory|_STATUS_ALLOC_FAILED", str(e)))

# ---- while training

class Checkpoints(Callback):
    """Save a checkpoint after each epoch of a fit, keep the last two and the best, stop early, resume a fit.

    `train(learn, fit)` calls `fit()` with these checkpoints; after `resume(path, learn)` it goes on from there with the
    weights, optimizer, schedule and random numbers of that moment: on the same CPU the results are bit-equal to
    those of a training that was never cut. """
    order = 1000 # after every other callback's `after_epoch`
    def __init__(self, folder, # where checkpoints go
                 identity:dict=None, # what must be equal to resume: `options` (name -> value), `vocab`, `fingerprint`
                 patience:int=0, # stop a stage after so many epochs without a better score, and keep the best; 0: never
                 record=None, # is told: `stage(name)`, `epoch(facts)` and `warn(text)`, as a `Run` is
                ):
        super().__init__()
        self.folder, self.identity = Path(folder), identity or {}
        self.patience, self.record = patience, record
        self.start_over()

    def start_over(self):
        self.found, self.stage, self.early = None, -1, False # the stage: how many fits there were before
        self.done, self.best, self.since = 0, None, 0 # epochs done, the best one, those before this stage

    # ---- training

    def train(self, learn:Learner, # about to be trained
              fit, # trains it, in one or more calls of `learn.fit`
             ):
        "Call `fit()`, from the checkpoint of `resume` on; once memory runs out, go on with batches of half the size."
        for last_try in (False, True):
            try:
                with self.attached(learn): fit()
                break
            except Exception as e:
                bs = learn.dls.train.bs
                if not is_out_of_memory(e) or bs < 2: raise
                advice = f'take `bs` {max(2, bs//2)}, a smaller `size` or a smaller `arch`'
                if last_try: raise UserError(f'memory ran out with batches of {bs} too: {advice}') from None
                if not (saved := find_checkpoints(self.folder)):
                    raise UserError(f'memory ran out with batches of {bs}: {advice}') from None
            gc.collect() # what the broken epoch had, which its traceback kept
            if torch.cuda.is_available(): torch.cuda.empty_cache()
            self.warn(f'memory ran out with batches of {bs}: going on with batches of {bs//2}')
            self.start_over()
            learn.opt, self.found = None, self.load(saved[-1], learn, check=False)
            for d in learn.dls.loaders: d.bs = max(1, d.bs//2)
            if hasattr(learn, 'progress'): learn.progress.done = 0
        if self.record: self.record.stage('evaluation')
        if self.patience and self.best and self.best['epoch'] < self.done: self.take_best(learn)

    @contextmanager
    def attached(self, learn):
        "The learner has this callback and a loop over epochs that can begin in the middle."
        # fastai's `start_epoch` runs `after_epoch` for skipped epochs too, where its trackers of metrics fail
        learn.add_cb(self)
        learn._do_fit, loss_func = self.epochs, learn.loss_func
        try: yield
        finally:
            del learn._do_fit
            learn.loss_func = loss_func # an epoch of MixUp that broke off has left its own
            learn.remove_cb(self)
            self.learn = learn

    def epochs(self):
        "The epochs of one `learn.fit`, as `Learner._do_fit` has them, but for those that the checkpoint has done."
        learn, begin = self.learn, 0
        self.stage += 1
        self.since = self.done
        if self.record: self.record.stage(stage_name(learn))
        if self.found:
            of = self.found.facts
            if self.stage < of['stage']: return
            self.restore(learn, self.found) # at the end of a stage as well: the next begins with what it left
            self.found, begin = None, learn.n_epoch if of['over'] else of['epoch'] + 1
        elif self.stage == 0: self.save(-1, over=False) # where to go back to if memory runs out
        for epoch in range(begin, learn.n_epoch):
            learn.epoch = epoch
            learn._with_events(learn._do_epoch, 'epoch', CancelEpochException)

    def after_epoch(self):
        row = dict(zip(self.recorder.metric_names[1:], self.recorder.log[1:]))
        self.done += 1
        name = next((n for n in ('f2', 'accuracy', 'valid_loss') if isinstance(row.get(n), (int, float))), None)
        if name and (self.best is None or self.better(name, row[name])):
            self.best = dict(epoch=self.done, metric=name, value=row[name])
        waited = self.done - max(self.since, self.best['epoch'] if self.best else self.done)
        self.early = bool(self.patience) and waited >= self.patience
        self.save(self.epoch, self.early or self.epoch + 1 == self.n_epoch)
        if self.record: self.record.epoch(dict(epochs_done=self.done, best=self.best))
        if self.early:
            say(f'{stage_name(self.learn)}: no better {self.best["metric"]} for {waited} epochs, so this stage ends')
            raise CancelFitException()

    def better(self, name, value):
        return value < self.best['value'] if name == 'valid_loss' else value > self.best['value']

    def take_best(self, learn):
        "Load the weights of the best epoch."
        path, what = self.folder/f"epoch-{self.best['epoch']}", f"{self.best['metric']} {self.best['value']:.4f}"
        try: bare(learn.model).load_state_dict(read_checkpoint(path).model)
        except ValueError as e: return self.warn(f'{path} is damaged ({e}): the last epoch is scored')
        self.warn(f"`patience`: epoch {self.best['epoch']}, the best ({what}), was chosen on the validation chips "
                  'that score it: its score is optimistic')

    def warn(self, text):
        if self.record: self.record.warn(text)
        else: say(f'WARNING: {text}')

    # ---- saving

    def state(self, learn) -> dict:
        "All that training depends on, but the model and what the data and the options give."
        smooth = learn.recorder.smooth_loss
        scaler = getattr(learn, 'scaler', None)
        return dict(optimizer=learn.opt.state_dict(), random=random_state(learn.dls),
                    smooth_loss=dict(count=smooth.count, val=smooth.val),
                    scaler=scaler.state_dict() if scaler is not None else None,
                    callbacks={cb.name: cb.state_dict() for cb in learn.cbs if hasattr(type(cb), 'state_dict')})

    def save(self, epoch, over):
        "Write the checkpoint of an epoch; one that cannot be written is a warning."
        learn, path = self.learn, self.folder/f'epoch-{self.done}'
        facts = dict(stage=self.stage, epoch=epoch, over=over, done=self.done, since=self.since, best=self.best,
                     early=self.early, bs=[d.bs*process_count() for d in learn.dls.loaders], identity=self.identity)
        try:
            write_checkpoint(path, bare(learn.model).state_dict(), self.state(learn), facts)
            best = self.best['epoch'] if self.best else self.done
            kept = {path.name, f'epoch-{best}', f'epoch-{self.done-1}'}
            for old in find_checkpoints(self.folder):
                if old.name not in kept: shutil.rmtree(old, ignore_errors=True)
        except Exception as e: # of the disk, in the words of Python or of safetensors
            self.warn(f'epoch {self.done} could not be saved ({plain_text(e)}): training goes on')

    def close(self):
        "A run has ended well: the optimizer's and older states are removed, weights of the last and best epoch stay."
        kept = {f'epoch-{self.done}', f"epoch-{self.best['epoch']}" if self.best else ''}
        for old in find_checkpoints(self.folder):
            if old.name in kept: (old/TRAINING).unlink(missing_ok=True)
            else: shutil.rmtree(old, ignore_errors=True)

    # ---- resuming

    def resume(self, path:Path, # a checkpoint
               learn:Learner, # as it was before training
              ):
        "Let `train` go on from a checkpoint; `UserError` where it is damaged, or was made from other options or data."
        self.found = self.load(Path(path), learn)

    def load(self, path, learn, check=True) -> Saved:
        "Read a checkpoint of this training; later ones, of another course of events, are removed."
        try: found = read_checkpoint(path)
        except ValueError as e:
            older = [p for p in find_checkpoints(path.parent) if epoch_number(p) < epoch_number(path)]
            todo = f'resume from {older[-1]}, the one before' if older else 'start anew'
            raise UserError(f'{path} is damaged ({e}): {todo}', option='resume') from None
        if check and (differs := differences(found.facts['identity'], self.identity)):
            raise UserError(f"{path} was made with {'; '.join(differs)}", option='resume')
        for d, bs in zip(learn.dls.loaders, found.facts['bs']): d.bs = bs # halved, where memory had run out
        for later in find_checkpoints(path.parent):
            if epoch_number(later) > epoch_number(path): shutil.rmtree(later, ignore_errors=True)
        return found

    def restore(self, learn, found):
        "Put the learner into the state of a checkpoint."
        of, facts = found.training, found.facts
        bare(learn.model).load_state_dict(found.model)
        device = next(learn.model.parameters()).device
        def here(o): return o.to(device) if isinstance(o, torch.Tensor) else o
        states = [{k: here(v) for k, v in one.items()} for one in of['optimizer']['state']]
        learn.opt.load_state_dict(dict(state=states, hypers=L(of['optimizer']['hypers'])))
        for name, state in of['callbacks'].items():
            if hasattr(type(cb := getattr(learn, name, None)), 'load_state_dict'): cb.load_state_dict(state)
        smooth = learn.recorder.smooth_loss
        smooth.count, smooth.val = of['smooth_loss']['count'], of['smooth_loss']['val']
        if of['scaler'] and getattr(learn, 'scaler', None) is not None: learn.scaler.load_state_dict(of['scaler'])
        self.done, self.best, self.since, self.early = (facts[k] for k in ('done', 'best', 'since', 'early'))
        set_random_state(of['random'], learn.dls)
