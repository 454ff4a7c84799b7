"""K-fold cross-validation: train a model a fold, resume at the first unfinished fold, score all chips out of fold, and
join the folds' models into one that averages them.
"""
import hashlib
import shutil
from contextlib import suppress
import pandas as pd
import torch
from planet.calibration import crossfit_calibrate, fit_platt
from planet.checkpoint_files import differences
from planet.checkpoints import Checkpoints
from planet.cli import UserError, say
from planet.grouped import grouped_lines
from planet.metrics import best_threshold, crossfit_fbeta, fbeta_per_chip
from planet.model_files import cannot_be_saved, join_models, save_model
from planet.provenance import data_fingerprint, device_facts, weights_fingerprint
from planet.records import OUT_OF_FOLD
from planet.results import Score, TagsResult, decided, evaluate
from planet.rules import AboveThreshold

__all__ = ['OutOfFold', 'Folds', 'finish_folds']

def _one(r): return crossfit_fbeta(r.probs, r.targs, best_threshold, groups=r.groups)
def _enough(r): return r.units >= 10 # for folds to tune on

class OutOfFold(TagsResult):
    """All chips, each scored by the model of the fold that was trained without it, its duplicates and its group.

    Beside the scores of a `TagsResult`: one threshold for all tags, tuned on these very chips (naive: too high) and
    cross-fitted; and the decision rule on probabilities calibrated (Platt) on the other folds' chips."""
    things = 'chips, out of fold'
    SCORES = TagsResult.SCORES | dict(
        f2_one=Score(OUT_OF_FOLD['f2_one'], lambda r: _one(r).score if _enough(r) else None),
        f2_naive=Score(OUT_OF_FOLD['f2_naive'], lambda r: _one(r).naive if _enough(r) else None),
        f2_calibrated=Score(OUT_OF_FOLD['f2_calibrated'], lambda r: fbeta_per_chip(
            r.rule(crossfit_calibrate(r.probs, r.targs, groups=r.groups)), r.truth).mean() if _enough(r) else None))

def _write(path, table, **kwargs):
    "Write a table: whole, or as it was before."
    part = path.with_name(f'.{path.name}.part')
    try:
        table.to_csv(part, float_format='%.9g', **kwargs)
        part.replace(path)
    finally:
        with suppress(OSError): part.unlink()

class Folds:
    """The folds of one run: `folds/fold-K.csv` has the probabilities of a fold's chips, `record.json` its scores.

    A fold is done once its row is in the record, which is written last: a run that was cut goes on with the first fold
    that has none, and within it from the last epoch that was saved."""
    def __init__(self,
        run, # the `planet.runs.Run`
        chips, # all chips
        store, # the same, decoded
        splits, # a `Split` for each fold
    ):
        self.run, self.chips, self.store, self.splits = run, chips, store, splits
        self.home, self.names = run.path/'folds', list(chips.table.image_name)
        fold_of = {self.names[row]: k for k, split in enumerate(splits) for row in split.valid}
        if len(fold_of) < len(self.names): raise ValueError('each chip is in the validation set of one fold')
        lines = '\n'.join(f'{name},{fold_of[name]}' for name in sorted(fold_of))
        self.fingerprint = data_fingerprint(chips, None, store) | dict(
            split=hashlib.blake2b(lines.encode(), digest_size=8).hexdigest())
        self.done = self.read_done()

    def read_done(self) -> dict: # fold -> what the record says of it, and its probabilities
        "The folds that a resumed run has done; `UserError` where they were trained on other chips."
        data, told = self.run.facts.get('data') or {}, self.run.facts.get('folds') or []
        then = dict(vocab=data.get('vocab'), fingerprint=data.get('fingerprint'))
        now = dict(vocab=list(self.chips.vocab), fingerprint=self.fingerprint)
        if told and (differs := differences(then, now)):
            raise UserError(f"{self.run.path} was made with {'; '.join(differs)}: start anew", option='resume')
        found = {facts['fold']: (facts, self.table(facts['fold'])) for facts in told}
        found = {k: (facts, table) for k, (facts, table) in found.items() if table is not None}
        if told: say(f'resume: {len(found)} of {len(self.splits)} folds are done')
        return found

    def table(self, k):
        "The probabilities of a fold's chips; `None` where their file is not what the fold left."
        try: table = pd.read_csv(self.home/f'fold-{k}.csv', dtype=dict(image_name=str), keep_default_na=False)
        except (OSError, ValueError): return
        if list(table) != ['image_name', *self.chips.vocab]: return
        if list(table.image_name) != [self.names[row] for row in self.splits[k].valid]: return
        try: return table.set_index('image_name').astype(float)
        except ValueError: return

    def left(self) -> list:
        "The folds that are not done yet."
        return [k for k in range(len(self.splits)) if k not in self.done]

    def begin(self, learn, # about to be trained
              k:int, # the fold
             ): # -> `Checkpoints`
        "Record data and device, and give the fold checkpoints of its own, from the last of which it goes on."
        run, split = self.run, self.splits[k]
        facts = self.chips.facts() | dict(train=len(self.names), valid=len(self.names), fingerprint=self.fingerprint,
                                          split=split.facts | dict(fold='each in turn'))
        identity = dict(options=run.options, vocab=list(self.chips.vocab), fold=k,
                        fingerprint=data_fingerprint(self.chips, split, self.store))
        run.checkpoints = Checkpoints(run.path/'checkpoint', identity, run.options.get('patience', 0), run)
        saved, run.saved = run.saved, None
        if saved: run.checkpoints.resume(saved, learn)
        run.learn, run.chips = learn, self.chips
        if self.chips.source.startswith('synthetic'):
            run.warn('the chips are synthetic: scores say nothing of real ones', shown=False)
        run.update(status='running', data=facts, device=device_facts(learn.dls.device), weights_used=learn.weights,
                   weights_fingerprint=run.facts.get('weights_fingerprint') or weights_fingerprint(learn.model))
        return run.checkpoints

    def finish(self, learn, # trained
               k:int, # the fold
               seconds:float, # that it took
               thresh:float=0.2, # a tag is predicted above this probability
               logits=None, # of its validation set, where they are known
               why:str='', # there is no model to keep
              ):
        "Score a fold, and keep its probabilities, its history and its model; the record says last that it is done."
        run, split = self.run, self.splits[k]
        result = evaluate(learn, self.chips, split, AboveThreshold(thresh), logits=logits)
        self.home.mkdir(exist_ok=True)
        why = why or cannot_be_saved(learn, self.chips)
        if not why:
            save_model(self.home/f'model-{k}', learn, result, self.chips, experiment=run.experiment, run=run.path.name,
                       fold=k)
        if getattr(getattr(learn, 'history', None), 'rows', None):
            _write(self.home/f'history-{k}.csv', learn.history.table, index=False)
        _write(self.home/f'fold-{k}.csv', result.probabilities)
        facts = dict(fold=k, train=len(split.train), valid=len(split.valid), f2=result.scores['f2'],
                     loss=result.scores['valid_loss'], seconds=round(seconds, 1), no_model=why)
        self.done[k] = facts, self.table(k)
        shutil.rmtree(run.path/'checkpoint', ignore_errors=True) # before: the next fold must not go on from them
        run.update(folds=[self.done[i][0] for i in sorted(self.done)])
        say(f"fold {k}: F2 {facts['f2']:.4f} on {facts['valid']:,} chips, {seconds:.0f} s")

    def result(self, thresh=0.2, loss_func=None, calibrate=False) -> OutOfFold:
        "The out-of-fold result of all chips in the order of their table, calibrated by cross-fits if asked."
        tables, chips = [table for _, table in self.done.values()], self.chips
        probs = torch.tensor(pd.concat(tables).loc[self.names].to_numpy(), dtype=torch.float32)
        targs, groups = torch.tensor(chips.targets), self.splits[0].group
        if calibrate: probs = crossfit_calibrate(probs, targs, folds=min(5, len(set(groups))), groups=groups)
        told = [facts for facts, _ in self.done.values() if facts['loss'] is not None]
        losses = torch.tensor([f['loss'] for f in told for _ in range(f['valid'])]) if told and not calibrate else None
        return OutOfFold(probs, targs.float(), self.names, chips.vocab, AboveThreshold(thresh), losses, targs.float(),
                         loss_func, groups=groups)

    def history(self):
        "The mean of the folds' histories, an epoch a row; `None` where a fold has none."
        try: tables = [pd.read_csv(self.home/f'history-{k}.csv') for k in sorted(self.done)]
        except (OSError, ValueError): return
        every = pd.concat(tables)
        return every.groupby(['epoch', 'stage'], sort=False).mean(numeric_only=True).reset_index()

    def join(self, result, # the out-of-fold result, with the decision rule of the joined model
             calibrate=False, # calibrate the averaged probabilities, as `result` was
            ): # the model folder, or `None`
        "One model folder that averages the folds; the folds' own are then removed. Stock fastai's cannot be saved."
        if why := next((f['no_model'] for f, _ in self.done.values() if f['no_model']), ''):
            self.run.update(no_model=why)
            return say(f'there is no model folder: {why}')
        raw = self.result()
        fitted = fit_platt(raw.probs, raw.targs) if calibrate else None
        models = [self.home/f'model-{k}' for k in sorted(self.done)]
        made = join_models(models, self.run.path/'model', result.rule, result=result, calibration=fitted, warnings=[
            f'it averages the models of {len(models)} folds; the scores are of one fold at a time, out of fold'])
        for model in models: shutil.rmtree(model, ignore_errors=True)
        return made

def finish_folds(
    folds:Folds, # all of them done
    o, # options: thresh, decide, calibrate
    loss_func=None, # for the loss of the base rates
) -> tuple: # the out-of-fold result, and lines on the groups of chips, if any
    "Score all chips out of fold, keep tables and scores, and join the models; figures and the page come last."
    from planet import plots
    from planet.report import write_report
    run, history = folds.run, folds.history()
    run.stage('figures')
    run.update(out_of_fold=True)
    result = decided(folds.result(o.thresh, loss_func, o.calibrate), o.decide)
    run.result(result)
    if history is not None: run.table('history', history, index=False)
    folds.join(result, o.calibrate)
    grouped = grouped_lines(run, result, *folds.splits)
    if history is not None: run.figure('losses', plots.loss_curves, history)
    name, draw, *args = next(iter(result.figures(None)))
    run.figure(name, draw, *args)
    run.update(status='done')
    run.attempt('report.html', write_report, run.path, None, folds.chips, result)
    return result, grouped
