"Experiment tracking: one callback that feeds the trackers a run's options name from training and the run's folder."
#     with Run('planet_resnet50', o) as run, Tracking(o, run) as tracking:
#         ...
#         fine_tune(learn, o.epochs, o.lr, o.freeze_epochs, cbs=tracking)
# Given to `fit`, it is gone from the learner before the model is exported.
from planet.cli import UserError, say  # before fastai, whose import it quiets

# isort: split
import json
import time
import numpy as np
import pandas as pd
from fastai.callback.core import Callback
from fastai.torch_core import no_random
from planet.callbacks import History
from planet.divergence import Diverged
from planet.figures import as_array
from planet.metrics import threshold_curve
from planet.records import read_record
from planet.trackers import TRACKERS, tracker_names
from planet.trackers.interface import numbers, quietly

__all__ = ['Tracking', 'chip_table', 'threshold_curves', 'CHIPS']

CHIPS, LINES = 100, 50 # validation chips in a table, and tags among the threshold curves
MODELS = 'model', 'learner.pkl' # what a run may leave, the first is sent

def told(error) -> str:
    "An error in one line of at most 200 characters."
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]

# ---- tables of a scored validation set

def chip_table(result, # `planet.results.Result`
               picture, # row -> its PIL image or `None`
               n:int=CHIPS, # chips, drawn at random
              ) -> pd.DataFrame:
    "A table of validation chips: image, true and predicted tags, how many are wrong, the probability of each tag."
    rows = np.sort(np.random.default_rng(42).permutation(len(result))[:n])
    if result.targs.ndim == 1:
        true, pred = ([result.vocab[o[i]] for i in rows] for o in (result.targs, result.pred))
        wrong = [int(t != p) for t, p in zip(true, pred)]
    else:
        true, pred = ([' '.join(tags) for tags in result.tags_of(o[rows])] for o in (result.truth, result.pred))
        wrong = (result.truth != result.pred)[rows].sum(1).tolist()
    own = dict(image=pd.Series([picture(i) for i in rows], dtype=object), image_name=[result.names[i] for i in rows],
               true=true, predicted=pred, wrong=wrong)
    # a tag may be called as a column of ours is
    names = [f'{tag} (tag)' if tag in own else tag for tag in result.vocab]
    return pd.concat([pd.DataFrame(own), pd.DataFrame(np.asarray(result.probs[rows]), columns=names)], axis=1)

def threshold_curves(result, # `planet.results.TagsResult`
                    ) -> pd.DataFrame:
    "F2 and `accuracy_multi` over all chips, and F2 of each tag, at every decision threshold from 0.01 to 0.99."
    probs, truth, at = np.asarray(result.probs), np.asarray(result.truth), np.arange(1, 100)/100
    found = threshold_curve(probs, truth, threshs=at).rename(columns=dict(fbeta='F2'))
    has = truth.sum(0)
    for column in np.argsort(-has, kind='stable')[:LINES]:
        if not has[column]: continue
        above = probs[:, column, None] > at
        hit = (above & truth[:, column, None]).sum(0)
        found[f'F2 of {result.vocab[column]}'] = 5*hit/(above.sum(0) + 4*has[column])
    return found.set_index('thresh').rename_axis('decision threshold')

# ---- the callback

class Tracking(History):
    """Experiment tracking: a callback and a context that feeds the trackers which `track` names from a `Run`.

    They begin with the first epoch, take losses, metrics and learning rate on one axis of epochs through all stages,
    and, when the context ends, tables, threshold curves, figures, page and model from the run's folder. A tracker that
    cannot begin is an error before training; one that fails later is a warning in the record, and the run goes on.
    """
    order = History.order+1
    def __init__(self, options:dict, # `track`, `wandb`, `wandb_mode`; others are for a tracker of your own
                 run, # `Run`
                ):
        super().__init__()
        self.printed, self.record, self.step, self.fault, self.valid, self.bands = False, run, 0, None, None, None
        self.trackers = {name: TRACKERS[name](run.path, options) for name in tracker_names(options)}
        self.begun, self.over = {}, False # name -> tracker
        self.dead, self.warned = set(), set() # trackers that failed in an epoch; warnings that were given

    def __reduce__(self): return Callback, () # nothing of it is in a learner that is exported or pickled
    def __enter__(self): return self

    # ---- training

    def before_train(self): # not `before_fit`: a run that is resumed knows its epochs now
        super().before_train()
        if self.begun or self.over or not (self.trackers and self.trained): return
        done = getattr(getattr(self.learn, 'history', None), 'rows', []) # of a run that is resumed
        self.valid, self.bands = self.dls.valid_ds, getattr(self.dls, 'bands', None)
        self.step, where = len(done), {}
        for name, tracker in self.trackers.items():
            self.begun[name] = tracker
            try:
                with quietly(), no_random(): place = tracker.start(self.config(), self.step)
            except Exception as e:
                del self.begun[name]
                self.fault = f'{name} cannot begin ({told(e)}): leave it out of `track`, or mend that'
                return
            if place: where[name] = str(place)
        self.record.update(tracking=where)
        for name, place in where.items(): say(f'{name}: {place}')
        self.recorder.start_epoch = time.time() # the epoch's time is that of training

    def __call__(self, event_name):
        super().__call__(event_name)
        # raised here and not in the event, whose errors fastai words anew, over three lines
        fault, self.fault = self.fault, None
        if fault: raise UserError(fault)

    def after_epoch(self):
        super().after_epoch()
        if not (self.trained and self.begun): return
        self.step = getattr(self.learn, 'history', self).rows[-1]['epoch']
        row = {k: v for k, v in self.rows[-1].items() if k != 'epoch'}
        metrics = numbers(row) | dict(lr=float(self.opt.hypers[-1]['lr']))
        for name in self.begun: self.tell(name, 'log', self.step, metrics)

    # ---- after it

    def __exit__(self, kind, error, trace):
        ends = ((KeyboardInterrupt, SystemExit), 'interrupted'), (Diverged, 'diverged'), (BaseException, 'failed')
        status = next(said for of, said in ends if issubclass(kind, of)) if kind else 'done'
        try:
            if remote := [name for name, o in self.begun.items() if o.remote]:
                say(f"sending the results to {' and '.join(remote)}")
            if self.begun: self.send()
            scores = {} if kind else self.try_to('read the scores', lambda: numbers(self.read().get('scores', {})))
            for name in self.begun: self.tell(name, 'finish', status, scores or {})
        except KeyboardInterrupt:
            if kind: raise
            self.warn('trackers were interrupted before all was sent; the run itself is whole')
        self.begun, self.valid, self.over = {}, None, True

    def send(self):
        "Tell the trackers what the run's folder holds: tables, threshold curves, figures, page, model."
        folder = self.record.path
        if (folder/'validation.csv').exists():
            result = self.try_to('read the validation set', lambda: read_record(folder).result())
            if result is not None:
                self.each('table', 'validation_chips', lambda: chip_table(result, self.picture))
                if result.targs.ndim == 2: self.each('curve', 'thresholds', lambda: threshold_curves(result))
        for name in ('tags', 'classes'):
            path = folder/f'{name}.csv'
            if path.exists(): self.each('table', name, lambda path=path: pd.read_csv(path, keep_default_na=False))
        for path in sorted(folder.iterdir()):
            if path.suffix in ('.png', '.html', '.csv'): self.each('file', path)
        model = next((folder/o for o in MODELS if (folder/o).exists()), None)
        if model: self.each('artifact', model)

    def picture(self, row):
        "The validation chip at `row` as the learner sees it, a PIL image; `None` where it cannot be had."
        from PIL import Image
        try:
            with no_random(): pixels = as_array(self.valid[int(row)][0], self.bands)
        except Exception: return None # its file has gone: no reason to leave out the rest
        return Image.fromarray((pixels*255).round().astype(np.uint8) if pixels.dtype.kind == 'f' else pixels)

    def read(self) -> dict:
        "The run's record."
        return json.loads((self.record.path/'record.json').read_text(encoding='utf-8'))

    def config(self) -> dict:
        "What the record says of a run that begins: options, command, data, device, versions."
        record, left = self.read(), ('status', 'data', 'seconds', 'stages', 'warnings', 'tracking')
        data = {k: len(v) if k == 'left_out' else v for k, v in record.get('data', {}).items()}
        return {k: v for k, v in record.items() if k not in left} | dict(data=data)

    # ---- what may fail

    def each(self, method, *args):
        "Tell every tracker; a function among `args` makes what is told."
        made = self.try_to(f'make {args[0]}', lambda: [o() if callable(o) else o for o in args])
        if made is not None:
            for name in self.begun: self.tell(name, method, *made)

    def tell(self, name, method, *args):
        "Call a tracker's method. An error becomes a warning, once a method; one in an epoch ends that tracker's part."
        if name in self.dead and method != 'finish': return
        def call():
            with quietly(), no_random(): getattr(self.begun[name], method)(*args)
            return True
        what = f'log epoch {self.step} and ends here' if method == 'log' else f"take '{method}'"
        if self.try_to(what, call, None if name in self.dead else name) is None and method == 'log':
            self.dead.add(name) # some wait for minutes before they fail

    def try_to(self, what, call, name='tracking'):
        "What `call()` returns; an error becomes a warning, but for `name` `None`, and `None`."
        try: return call()
        except Exception as e:
            if name: self.warn(f'{name} could not {what} ({told(e)})')

    def warn(self, text):
        "Print a warning, once, and write it into the run's record."
        if (key := text.split(' (')[0]) in self.warned: return
        self.warned.add(key)
        self.record.warn(text)
        try: self.record.update() # written at once
        except OSError: pass # the disk is full
