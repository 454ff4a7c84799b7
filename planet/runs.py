"One run's record: a folder that is there from the first second and keeps whatever the run got to, however it ends."
# `record.json` says what was asked for and what was found; its `status` is running, done, failed or interrupted. What
# a run found (probabilities, scores, model) is written before anything optional: a figure that fails is a warning.
import json
import os
import platform
import shutil
import time
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from planet.cli import UserError, say

__all__ = ['Run', 'device_facts', 'scores_report']

PACKAGES = 'fastai', 'torch', 'torchvision', 'timm', 'pandas', 'planet-chips'

def _version(package):
    try: return version(package)
    except PackageNotFoundError: return None

def device_facts(device) -> dict:
    "The device, its name and how many threads work: what a figure has to be read beside."
    import torch
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else _cpu_name()
    return dict(type=device.type, name=name, cores=os.cpu_count(), threads=torch.get_num_threads())

def _cpu_name():
    "The processor as the system calls it."
    try: # Linux; elsewhere `platform` knows
        with open('/proc/cpuinfo') as f: return next(l.split(':')[1].strip() for l in f if l.startswith('model name'))
    except (OSError, StopIteration): return platform.processor() or platform.machine()

class Run:
    """A folder `out/experiment/<UTC time>` for all that a run leaves behind. Use it as a context.

    The folder is made before the work begins, so that one that cannot be written is found at once. A run that ends in
    a `UserError` before it has trained leaves nothing; any other end keeps what there is, with its `status` in the
    record. """
    def __init__(self, experiment:str, # name of the experiment
                 options:dict, # its options, as they were given; `out` names the folder where records lie
                 out=None, # that folder, where `options` has none
                ):
        self.experiment, self.options = experiment, dict(options)
        self.home = Path(out or self.options.get('out') or 'runs').expanduser()/experiment
        self.start, self.facts, self.learn = time.time(), {}, None

    def __enter__(self):
        stamp = datetime.now(timezone.utc).strftime('%Y-%m-%dT%H-%M-%SZ')
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            for n in range(1, 100): # two runs may begin in one second
                self.path = self.home/(stamp if n == 1 else f'{stamp}-{n}')
                try: self.path.mkdir()
                except FileExistsError: continue
                self.update(status='running')
                return self
        except OSError as e:
            shutil.rmtree(getattr(self, 'path', self.home/'none'), ignore_errors=True)
            why = f'{self.home.parent}: no record can be written to {self.home} ({e.strerror}): name another folder'
            raise UserError(why, option='out') from None
        raise UserError(f'{self.home.parent}: {self.home} already has a hundred runs of this second', option='out')

    def __exit__(self, kind, error, trace):
        if kind is None: return self.update(status='done')
        if issubclass(kind, UserError) and 'device' not in self.facts:
            shutil.rmtree(self.path, ignore_errors=True) # a mistake that was found before any work was done
            return
        history = getattr(getattr(self.learn, 'history', None), 'table', None)
        if history is not None and len(history): self.table('history', history, index=False)
        status = 'interrupted' if issubclass(kind, (KeyboardInterrupt, SystemExit)) else 'failed'
        try: self.update(status=status, error=None if status == 'interrupted' else f'{kind.__name__}: {error}')
        except OSError: pass # the disk is full: the record says `running`, and the error is told
        error.kept = self.path # for the command line, which says where the rest lies

    def update(self, **facts):
        "Add `facts` to the record, and write it: whole, or as it was before."
        self.facts |= {k: v for k, v in facts.items() if v is not None}
        whole = dict(experiment=self.experiment, status=self.facts['status'], options=self.options,
                     **{k: v for k, v in self.facts.items() if k != 'status'},
                     versions=dict(python=platform.python_version(), **{p: _version(p) for p in PACKAGES}),
                     seconds=round(time.time()-self.start, 1))
        part = self.path/'.record.json'
        part.write_text(json.dumps(whole, indent=2, default=str) + '\n', encoding='utf-8')
        part.replace(self.path/'record.json')

    def table(self, name:str, table, **kwargs):
        "Save a `DataFrame` as `name`.csv."
        table.to_csv(self.path/f'{name}.csv', float_format='%.6g', **kwargs)

    def learner(self, learn, name='learner.pkl'):
        "Export a fastai `Learner`: `fastai.learner.load_learner` brings it back."
        path, learn.path, part = learn.path, self.path, self.path/f'.{name}'
        try:
            learn.export(part.name)
            part.replace(self.path/name) # whole or not at all
        finally:
            learn.path = path
            part.unlink(missing_ok=True)

    def begin(self, learn, # about to be trained; its `history` is kept however the run ends
              chips, # `Chips` that it is trained on
              split=None, # their `Split`
              **data, # what else the record says of the data
             ):
        "Record the data, the device and the weights, before training starts."
        self.learn = learn
        facts = chips.facts(learn.dls) | (dict(split=split.facts) if split else {}) | data
        self.update(data=facts, device=device_facts(learn.dls.device), weights_used=getattr(learn, 'weights', None))

    def finish(self, learn, result, history=None, things='chips'):
        "Save what a trained learner reached: history, probabilities, scores and model first, then the figures."
        from planet import plots
        if history is not None: self.table('history', history, index=False)
        self.result(result)
        self.learner(learn)
        if history is not None: self.figure('losses', plots.loss_curves, history, things)
        for name, draw, *args in result.figures(learn.dls): self.figure(name, draw, *args)

    def result(self, result, # from `planet.results.evaluate`
               name:str='validation', # of the table of probabilities
              ):
        "Save a result: probabilities and the table by tag first, then its scores in the record."
        self.table(name, result.probabilities)
        self.table(result.table_name, result.table)
        self.update(**result.facts())

    def figure(self, name:str, draw, *args, **kwargs):
        "Draw `draw(*args, **kwargs)` and save it as `name`.png; a figure that fails is a warning."
        try: draw(*args, **kwargs).savefig(self.path/f'{name}.png')
        except Exception as e:
            warning = f"figure {name} could not be drawn ({type(e).__name__}: {' '.join(str(e).split())})"
            self.facts['warnings'] = [*self.facts.get('warnings', []), warning]
            say(f'WARNING: {warning}')

def scores_report(scores:dict, # name -> number; `NAME_baseline` is what the score `NAME` has to beat
                  rows:dict, # what to call a score -> its name
                  scored:str, # what was scored, such as "200 validation chips"
                  baseline:str='best constant', # what the baselines are
                 ) -> str:
    "A line for each score, with its baseline beside it."
    lines = [f"{scored:<24}{'score':>9}{baseline:>18}"]
    for name, key in rows.items():
        value, base = (scores.get(k) for k in (key, f'{key}_baseline'))
        shown = '-' if value is None else f'{value:.4f}'
        lines.append(f"{name:<24}{shown:>9}{'' if base is None else f'{base:.4f}':>18}".rstrip())
    return '\n'.join(lines)
