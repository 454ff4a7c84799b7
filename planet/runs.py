"One run's record: a folder that is there from the first second and keeps whatever the run got to, however it ends."
# `record.json` says what was asked for and what was found; its `status` is running, done, failed, interrupted or
# diverged. What a run found (probabilities, scores, model) is written before anything optional: a figure that fails is
# a warning. A run that did not end is resumed in its own folder.
import json
import re
import shutil
import time
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from planet.cli import UserError, say
from planet.distributed import check_joined, scratch
from planet.grouped import grouped_lines
from planet.locks import locked
from planet.model_files import cannot_be_saved, save_model
from planet.process import ignored_signals, plain_text
from planet.provenance import (
    command_line,
    data_fingerprint,
    deterministic,
    device_facts,
    git_facts,
    peak_memory,
    resume_command,
    versions,
    weights_fingerprint,
)
from planet.records import LOCK, find_run

__all__ = ['Run', 'scores_report']

def _word(text): return re.sub(r'[^\w.+]+', '-', str(text or '')).strip('-.')

class Run:
    """A folder `out/experiment/<UTC time>-<arch>-<name>` for all that a run leaves behind. Use it as a context.

    The folder is made before the work begins, so that one that cannot be written is found at once. A run that ends in
    a `UserError` before it has trained leaves nothing; any other end keeps what there is, with its `status` in the
    record. """
    def __init__(self, experiment:str, # name of the experiment
                 options:dict, # its options, as they were given; `out` names the folder where records lie
                 out=None, # that folder, where `options` has none
                ):
        self.experiment, self.options = experiment, dict(options)
        self.home = Path(scratch() or out or self.options.get('out') or 'runs').expanduser()/experiment
        self.start, self.facts, self.checkpoints, self.saved = time.time(), {}, None, None
        self.learn = self.chips = None
        self.stages, self.running, self.since, self.context = {}, None, self.start, ExitStack()

    def __enter__(self):
        check_joined()
        if self.options.get('deterministic'): self.context.enter_context(deterministic())
        try:
            if self.options.get('resume'): self.reopen(self.options['resume'])
            else: self.make()
        except BaseException:
            self.context.close()
            raise
        self.stage('data')
        return self

    def make(self):
        "Make a folder of its own, and begin its record."
        stamp = datetime.now(timezone.utc).strftime('%Y-%m-%dT%H-%M-%SZ')
        stamp = '-'.join(filter(None, (stamp, _word(self.options.get('arch')), _word(self.options.get('name')))))
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            for n in range(1, 100): # two runs may begin in one second
                self.path = self.home/(stamp if n == 1 else f'{stamp}-{n}')
                try: self.path.mkdir()
                except FileExistsError: continue
                self.context.enter_context(locked(self.path/LOCK, wait=False))
                return self.update(status='running', command=command_line(), git=git_facts())
        except OSError as e:
            shutil.rmtree(getattr(self, 'path', self.home/'none'), ignore_errors=True)
            why = f'{self.home.parent}: no record can be written to {self.home} ({e.strerror}): name another folder'
            raise UserError(why, option='out') from None
        raise UserError(f'{self.home.parent}: {self.home} already has a hundred runs of this second', option='out')

    def reopen(self, run): # a folder, the run's name, `last`, or a checkpoint in it
        "Go on in the folder of a run that did not end; its record is read, and changed only once training goes on."
        from planet.checkpoint_files import epoch_number, find_checkpoints, option_differences
        at = Path(run).expanduser() if epoch_number(Path(run)) >= 0 else None
        record = find_run(at.parent.parent if at else run, self.home.parent)
        self.path, facts = record.path, record.facts
        again = resume_command(facts.get('command'), run)
        if record.experiment != self.experiment:
            raise UserError(f'{run} is a run of {record.experiment}: {again}', option='resume')
        if odd := option_differences(record.options, self.options):
            raise UserError(f"{run} was made with {'; '.join(odd)}: {again}", option='resume')
        if facts['status'] == 'done': raise UserError(f'{run} is done: nothing is left to resume', option='resume')
        for _ in range(40): # a worker process may hold the lock of a killed run for some seconds
            if self.context.enter_context(locked(self.path/LOCK, wait=False)): break
            time.sleep(.25)
        else: raise UserError(f'{run} is still running', option='resume')
        self.options['name'] = record.name
        self.saved = at or next(reversed(find_checkpoints(self.path/'checkpoint')), None)
        self.facts = {k: v for k, v in facts.items() if k not in ('experiment', 'name', 'options', 'versions', 'error',
                                                                   'seconds', 'stages', 'peak_memory')}
        self.facts['resumed'] = [*facts.get('resumed', []), self.saved.name if self.saved else 'start']
        self.stages, self.start = facts.get('stages', {}), self.start - facts.get('seconds', 0)

    @property
    def threads(self) -> int: # 0 where a run begins
        "The number of threads that a resumed run had: with others sums come out in other bits."
        return (self.facts.get('device') or {}).get('threads', 0) if self.options.get('resume') else 0

    def __exit__(self, kind, error, trace):
        self.stage(None)
        with ignored_signals(), self.context: # a second Ctrl-C comes when the record is written
            if kind is None:
                if self.checkpoints: self.checkpoints.close()
                self.update(status='done')
            elif self.learn is None and (issubclass(kind, UserError) or self.options.get('resume')):
                # a mistake that was found before any work was done; what is resumed is left as it was
                if not self.options.get('resume'): shutil.rmtree(self.path, ignore_errors=True)
                else: (self.path/LOCK).unlink(missing_ok=True)
                return
            else: self.fail(kind, error)
            (self.path/LOCK).unlink(missing_ok=True)

    def fail(self, kind, error):
        "Finish the record of a run that did not get to its end, and tell the error how to resume."
        from planet.checkpoint_files import find_checkpoints
        from planet.divergence import Diverged
        status = 'interrupted' if issubclass(kind, (KeyboardInterrupt, SystemExit)) else 'failed'
        if issubclass(kind, Diverged): status = 'diverged'
        told = plain_text(error) if issubclass(kind, UserError) else f'{kind.__name__}: {plain_text(error)}'
        if status == 'diverged': self.warn(told, shown=False)
        with suppress(OSError): # the disk is full: the record says `running`, and the error is told
            self.write_history()
            self.update(status=status, error=None if status == 'interrupted' else told)
        error.kept = str(self.path) # for the command line, which says where the rest lies
        saved = find_checkpoints(self.path/'checkpoint')
        if not saved and not self.facts.get('folds'): return # it was asked for none
        if status == 'diverged' and saved: error.kept += f', and the last good epoch in {saved[-1]}'
        else: error.kept += f'; to resume: {resume_command(self.facts.get("command"), self.path)}'

    # ---- the record

    def update(self, **facts):
        "Add `facts` to the record, and write it: whole, or as it was before."
        self.facts |= {k: v for k, v in facts.items() if v is not None}
        whole = dict(experiment=self.experiment, name=self.options.get('name') or '', status=self.facts['status'],
                     options=self.options, **{k: v for k, v in self.facts.items() if k != 'status'},
                     versions=versions(), seconds=round(time.time()-self.start, 1), stages=self.stages,
                     peak_memory=peak_memory() if self.learn else {})
        part = self.path/'.record.json'
        part.write_text(json.dumps(whole, indent=2, default=str) + '\n', encoding='utf-8')
        part.replace(self.path/'record.json')

    def stage(self, name:str): # such as data, head, all layers, evaluation, figures; `None` ends the last
        "Begin a stage of the run: the record has the seconds of each."
        now = time.time()
        if self.running: self.stages[self.running] = round(self.stages.get(self.running, 0) + now - self.since, 1)
        self.running, self.since = name, now

    def warn(self, warning:str, # one line
             shown:bool=True, # say it as well?
            ):
        "Add a warning to the record."
        if warning not in (found := self.facts.get('warnings', [])): self.facts['warnings'] = [*found, warning]
        if shown: say(f'WARNING: {warning}')

    def epoch(self, facts:dict):
        "Write the history and the record after an epoch; a full disk is a warning."
        try:
            self.write_history()
            self.update(**facts)
        except OSError as e: self.warn(f'the record could not be written ({plain_text(e)}): training goes on')

    def write_history(self):
        "Save the epochs so far, if there are any."
        history = getattr(getattr(self.learn, 'history', None), 'table', None)
        if history is None or not len(history): return
        self.table('history', history, index=False)
        self.facts['history_file'] = 'history.csv'

    def table(self, name:str, table, **kwargs):
        "Save a `DataFrame` as `name`.csv: whole, or as it was before."
        part = self.path/f'.{name}.csv'
        try:
            table.to_csv(part, float_format='%.6g', **kwargs)
            part.replace(self.path/f'{name}.csv')
        finally: part.unlink(missing_ok=True)

    def learner(self, learn, name='learner.pkl'):
        "Export a fastai `Learner`: `fastai.learner.load_learner` brings it back."
        path, learn.path, part = learn.path, self.path, self.path/f'.{name}'
        try:
            learn.export(part.name)
            part.replace(self.path/name) # whole or not at all
        finally:
            learn.path = path
            part.unlink(missing_ok=True)

    def model(self, learn, result):
        "Save a tagger of chips as a model folder, and fastai's `learner.pkl` if asked for, or if it is the only way."
        why = cannot_be_saved(learn, self.chips)
        if not why:
            data = {k: v for k, v in self.options.items() if k in ('data', 'seed', 'epochs', 'freeze_epochs', 'loss')}
            save_model(self.path/'model', learn, result, self.chips, warnings=self.facts.get('warnings', []),
                       experiment=self.experiment, run=self.path.name, **data)
            if not self.options.get('pickle'): return
        say('learner.pkl runs code when it is loaded: load only those you made'
            + (f' (there is no model folder: {why})' if why else ', and share the folder model/'))
        self.learner(learn)

    def begin(self, learn, # about to be trained; its `history` is kept however the run ends
              chips, # `Chips` that it is trained on
              split=None, # their `Split`
              store=None, # the decoded chips, whose files were hashed
              **data, # what else the record says of the data
             ):
        "Record the data, the device and the weights, before training starts."
        from planet.checkpoints import Checkpoints
        facts = chips.facts(learn.dls) | (dict(split=split.facts) if split else {}) | data
        facts['fingerprint'] = data_fingerprint(chips, split, store)
        identity = dict(options=self.options, vocab=list(getattr(chips, 'vocab', ())), fingerprint=facts['fingerprint'])
        self.checkpoints = Checkpoints(self.path/'checkpoint', identity, self.options.get('patience', 0), self)
        if self.saved: self.checkpoints.resume(self.saved, learn)
        if self.options.get('resume'):
            say(f'resume: {self.path} goes on from {self.saved.name if self.saved else "its start"}')
        self.splits = [split] if split else []
        self.learn, self.chips = learn, chips # from here on the end of the run is recorded
        weights = getattr(learn, 'weights', None)
        if weights == 'none': self.warn('training starts from random weights: expect much lower scores', shown=False)
        if chips.source.startswith('synthetic'):
            self.warn('the chips are synthetic: scores say nothing of real ones', shown=False)
        if split and (unseen := [t for t, n in zip(chips.vocab, chips.targets[split.valid].sum(0)) if not n]):
            self.warn(f"no validation chip shows {', '.join(unseen)}: their scores are unknown", shown=False)
        self.update(status='running', data=facts, device=device_facts(learn.dls.device), weights_used=weights,
                    weights_fingerprint=weights_fingerprint(learn.model))

    def finish(self, learn, result, history=None, things='chips') -> list[str]: # lines on the groups of chips, if any
        "Save what a trained learner reached: history, probabilities, scores and model first, then the figures."
        from planet import plots
        from planet.report import write_report
        self.stage('figures')
        self.write_history() if history is None else self.table('history', history, index=False)
        self.result(result)
        self.model(learn, result)
        grouped = grouped_lines(self, result, *self.splits)
        if history is not None: self.figure('losses', plots.loss_curves, history, things)
        for name, draw, *args in result.figures(learn.dls): self.figure(name, draw, *args)
        self.update(status='done') # as the page says; whatever still goes wrong changes it
        self.attempt('report.html', write_report, self.path, learn, self.chips, result)
        return grouped

    def result(self, result, # from `planet.results.evaluate`
               name:str='validation', # of the table of probabilities
               targets:str='targets', # of the table of true tags
              ):
        "Save a result: probabilities, targets and the table by tag first, then its scores in the record."
        self.table(name, result.probabilities)
        self.table(targets, result.targets)
        self.table(result.table_name, result.table)
        self.update(**result.facts())

    def figure(self, name:str, draw, *args, **kwargs):
        "Draw `draw(*args, **kwargs)` and save it as `name`.png; a figure that fails is a warning."
        self.attempt(f'figure {name}', lambda: draw(*args, **kwargs).savefig(self.path/f'{name}.png'))

    def attempt(self, what:str, make, *args, **kwargs):
        "Make something that a run can do without, such as `write_report`; where it fails, that is a warning."
        try: make(*args, **kwargs)
        except Exception as e: self.warn(f"{what} could not be made ({type(e).__name__}: {plain_text(e)})")

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
