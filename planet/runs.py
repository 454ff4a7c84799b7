"One run's record: a folder that appears whole or not at all, and a page of text short enough to read."
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
import json, os, platform, shutil, time
from planet.cli import UserError

__all__ = ['Run', 'scores_report', 'tags_report', 'classes_report']

PACKAGES = 'fastai', 'torch', 'torchvision', 'timm', 'pandas', 'planet-chips'

def _version(package):
    try: return version(package)
    except PackageNotFoundError: return None

def device_facts(device) -> dict:
    "What a figure has to be read beside: the device, its name and how many threads work."
    import torch
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else _cpu_name()
    return dict(type=device.type, name=name, cores=os.cpu_count(), threads=torch.get_num_threads())

def _cpu_name():
    "The processor as the system calls it."
    try: # Linux; elsewhere `platform` knows
        return next(l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name'))
    except (OSError, StopIteration): return platform.processor() or platform.machine()

class Run:
    """A folder `out/experiment/<UTC time>` for all that a run leaves behind.

    Use it as a context: it is made before the work begins, so that a folder that cannot be written is found at once; it
    carries a dot before its name until it is whole, and goes away if anything fails.
    """
    def __init__(self, experiment:str, # name of the experiment
                 options:dict, # its options, as they were given
                 out='runs', # where records lie
                ):
        self.experiment, self.options, self.home = experiment, options, Path(out).expanduser()/experiment
        self.start = time.time()

    def __enter__(self):
        stamp = datetime.now(timezone.utc).strftime('%Y-%m-%dT%H-%M-%SZ')
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            for n in range(1, 100): # two runs may begin in one second
                self.path = self.home/(stamp if n == 1 else f'{stamp}-{n}')
                self.part = self.path.with_name(f'.{self.path.name}')
                if self.path.exists(): continue
                try: self.part.mkdir()
                except FileExistsError: continue
                return self
        except OSError as e: raise UserError(f"--out: no record can be written to {self.home} ({e.strerror}): name another folder") from None
        raise UserError(f"--out: {self.home} already has a hundred runs of this second")

    def __exit__(self, kind, error, trace):
        if kind is None: self.part.rename(self.path)
        else: shutil.rmtree(self.part, ignore_errors=True)

    def figure(self, name:str, fig):
        "Save a matplotlib figure as `name`.png."
        fig.savefig(self.part/f'{name}.png')

    def table(self, name:str, table, **kwargs):
        "Save a `DataFrame` as `name`.csv."
        table.to_csv(self.part/f'{name}.csv', float_format='%.6g', **kwargs)

    def learner(self, learn, name='learner.pkl'):
        "Export a fastai `Learner`: `fastai.learner.load_learner` brings it back."
        path, learn.path = learn.path, self.part
        try: learn.export(name)
        finally: learn.path = path

    def record(self, data:dict, # `source, chips, vocab, train, valid`, and what else describes the chips
               device, # `torch.device` that trained
               scores:dict, # name -> number
               weights_used:str='', # what the backbone started from: `imagenet`, `none` or a file
              ) -> dict:
        "Write `record.json`."
        whole = dict(experiment=self.experiment, options=dict(self.options, weights_used=weights_used), data=data, device=device_facts(device),
                     versions=dict(python=platform.python_version(), **{p: _version(p) for p in PACKAGES}),
                     seconds=round(time.time()-self.start, 1), scores=scores)
        (self.part/'record.json').write_text(json.dumps(whole, indent=2, default=str) + '\n')
        return whole

def _heading(scored, baseline='best constant'): return f"{scored:<24}{'score':>9}{baseline:>18}"

def _score_row(scores, name, key, note=''):
    value, base = (scores.get(k) for k in (key, f'{key}_baseline'))
    return (f"{name:<24}{'-' if value is None else f'{value:.4f}':>9}{'' if base is None else f'{base:.4f}':>18}{note}").rstrip()

def scores_report(scores:dict, # name -> number; `NAME_baseline` is what the score `NAME` has to beat
                  rows:dict, # what to call a score -> its name
                  scored:str, # what was scored, such as "200 held-out chips"
                  baseline:str='best constant', # what the baselines are
                 ) -> str:
    "A line a score, with its baseline beside it."
    return '\n'.join([_heading(scored, baseline), *(_score_row(scores, name, key) for name, key in rows.items())])

def classes_report(scores:dict, # from `score_classes`
                   classes, # the table that comes with them
                   valid:int, # how many were scored
                   things:str='chips', # and what they are
                  ) -> str:
    "Scores, and which class was taken for which."
    return '\n'.join([scores_report(scores, dict(accuracy='accuracy', loss='valid_loss'), f'{valid:,} held-out {things}'),
                      '', str(classes)])

def tags_report(scores:dict, # from `score_tags`
                tags, # the table that comes with them
                thresh:float, # a tag was predicted above this probability
                valid:int, # how many chips were scored
               ) -> str:
    "Scores and a line a tag, short enough to read."
    low, high = scores['f2_interval']
    row = partial(_score_row, scores)
    lines = [_heading(f'{valid:,} held-out chips'), row(f'F2 at {thresh:g}', 'f2', f'   95 % interval {low:.3f} to {high:.3f}'),
             row('F2, thresholds tuned', 'f2_tuned'), row('F2, best expected set', 'f2_decided'),
             row(f'accuracy_multi at {thresh:g}', 'accuracy_multi'), row('loss', 'valid_loss'), '',
             f"{'tag':<24}{'count':>9}{'precision':>11}{'recall':>9}{'F2':>9}"]
    for tag, r in tags.sort_values('count', ascending=False).iterrows():
        found = f'{r.precision:>11.2f}{r.recall:>9.2f}{r.fbeta:>9.2f}' if r['count'] else f"{'-':>11}{'-':>9}{'-':>9}"
        lines.append(f"{tag:<24}{int(r['count']):>9}{found}")
    return '\n'.join(lines)
