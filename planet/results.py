"Evaluate a model on its validation set: probabilities, decision rule, scores with confidence intervals, tables."
# `evaluate(learn)` gives a `TagsResult` (multi-label) or a `ClassResult` (single-label). A score is added in one
# place, the dictionary `SCORES` of its class; metrics given to the learner appear among the scores under their own
# names.
import textwrap
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
import numpy as np
import pandas as pd
import torch
from planet.amazon import WEATHER
from planet.losses import accuracy_multi
from planet.metrics import (
    best_constant,
    best_thresholds,
    bootstrap_interval,
    crossfit_fbeta,
    decide,
    fbeta_per_chip,
    tag_table,
)
from planet.rules import AboveThreshold, BestExpected, Likeliest, TunedThresholds, decided, rule_of

__all__ = ['AboveThreshold', 'TunedThresholds', 'Likeliest', 'BestExpected', 'rule_of', 'decided', 'Score',
           'Result', 'TagsResult', 'ClassResult', 'evaluate']

# ---- scores

@dataclass(frozen=True)
class Score:
    "One score of a result: its label in the report, how it is computed, its baseline and its value for each chip."
    label:str # `{rule}` stands for the decision rule
    of:object # result -> number, or None where it cannot be computed
    baseline:object = None # result -> the same for the best constant answer
    per_chip:object = None # result -> `(n,)` numbers whose mean the score is: it then has a confidence interval

def _enough(r): return r.units >= 10 # for folds to tune on

class Result:
    """A scored validation set. A subclass says which `SCORES` there are and what one row of its table is.

    `scores` maps each name to a number rounded to 5 digits, `NAME_baseline` to the baseline and `NAME_interval` to
    the 95 % bootstrap confidence interval over chips, where there are two that are independent."""
    SCORES, table_name, things = {}, 'table', 'validation chips'

    def __init__(self,
        probs, # `(n, tags)` between 0 and 1
        targs, # `(n, tags)` of 0 and 1, or `(n,)` class numbers
        names, # of the n chips
        vocab, # of the columns
        rule, # decision rule: probabilities -> decisions
        losses=None, # `(n,)` or more: the loss of each chip
        train=None, # `(m, tags)` of 0 and 1: the training set's targets, for the baselines
        loss_func=None, # to compute the loss of the base rates with
        metrics:dict=None, # name -> number: the learner's own metrics
        groups=None, # `(n,)`: equal for chips that are duplicates or of one scene: never on both sides of a cross-fit
    ):
        self.probs, self.targs, self.names, self.vocab, self.rule = probs, targs, list(names), list(vocab), rule
        self.losses, self.train, self.loss_func, self.metrics = losses, train, loss_func, metrics or {}
        self.groups = None if groups is None or len(set(groups)) == len(set(names)) else list(groups)

    def __len__(self): return len(self.probs)

    def with_rule(self, rule) -> 'Result': # another decision rule
        "The same probabilities under another decision rule."
        return type(self)(self.probs, self.targs, self.names, self.vocab, rule, self.losses, self.train, self.loss_func,
                          self.metrics, self.groups)

    def headline(self) -> dict: # `name`, `label`, `value`, `interval`
        "The score of the decision rule: the first of the scores."
        name, score = next(iter(self.SCORES.items()))
        return dict(name=name, label=score.label.format(rule=self.rule), value=self.scores.get(name),
                    interval=self.scores.get(f'{name}_interval'))

    @cached_property
    def pred(self): return self.rule(self.probs)

    @cached_property
    def rates(self):
        "How often each tag or class occurs in the training set, `(tags,)`, each strictly between 0 and 1."
        from planet.learner import base_rates
        return base_rates(self.train)

    @cached_property
    def scores(self) -> dict:
        given = self.SCORES
        found = {name: s.of(self) for name, s in given.items()}
        for name, s in given.items():
            if s.baseline is not None and self.train is not None: found[f'{name}_baseline'] = s.baseline(self)
        found = {k: v for k, v in self.metrics.items() if k not in found} | found
        found = {k: None if v is None else round(float(v), 5) for k, v in found.items()}
        for name, s in given.items() if self.units > 1 else ():
            if s.per_chip is None: continue
            found[f'{name}_interval'] = [round(o, 5) for o in bootstrap_interval(s.per_chip(self), groups=self.groups)]
        return found

    @property
    def units(self) -> int: # a single one, such as one scene, has no interval
        "How many chips, or groups of chips, an interval draws from."
        return len(self if self.groups is None else set(self.groups))

    @cached_property
    def table(self) -> pd.DataFrame: raise NotImplementedError

    @property
    def probabilities(self) -> pd.DataFrame: # `image_name`, then a column a tag
        "The probability of every tag on every chip, by name."
        table = pd.DataFrame(np.asarray(self.probs, dtype=float), columns=self.vocab)
        table.index = pd.Index(self.names, name='image_name')
        return table

    @property
    def targets(self) -> pd.DataFrame: # `image_name`, then a column a tag
        "The true tags of every chip, 0 and 1, by name."
        table = pd.DataFrame(np.asarray(self.targs).astype(int), columns=self.vocab)
        table.index = pd.Index(self.names, name='image_name')
        return table

    def rows(self): # (label, value, baseline, interval) of each score
        "What a report shows of the scores."
        for name, s in self.SCORES.items():
            label = s.label.format(rule=self.rule)
            yield label, self.scores[name], self.scores.get(f'{name}_baseline'), self.scores.get(f'{name}_interval')
        for name in self.metrics:
            if name not in self.SCORES: yield name, self.scores[name], None, None

    def report(self, baseline='best constant') -> str:
        "The table by tag or class, the scores with their baselines and intervals, and what the intervals cover."
        # at most 80 characters a line, so that nothing wraps on a terminal of 80 columns
        wide = max([29, *(len(row[0]) + 1 for row in self.rows())])
        head = f"{f'{len(self):,} {self.things}':<{wide}}{'score':>8}{baseline:>15}{'95 % interval':>18}"
        lines = [self.table_report(), '', head]
        for label, value, base, interval in self.rows():
            shown = '-' if value is None else f'{value:.4f}'
            between = f'{interval[0]:.3f} to {interval[1]:.3f}' if interval else ''
            lines.append(f"{label:<{wide}}{shown:>8}{'' if base is None else f'{base:.4f}':>15}{between:>18}".rstrip())
        return '\n'.join([*lines, '', *textwrap.wrap(self.statement, 78)])

    @property
    def statement(self) -> str:
        "What the intervals are over: chips or whole groups of them; and what they do not cover."
        naive = isinstance(self.rule, TunedThresholds) and not _enough(self) # too few chips for folds
        naive = ' The thresholds were tuned on these very chips: their score is too high.'*naive
        if self.units < 2:
            what = 'chip' if len(self) == 1 else 'group of chips (duplicates, a scene)'
            return f'The validation set is a single {what}: no score has an interval.{naive}'
        over = (', each taken as independent (duplicates would be drawn together; neighbours are not known)'
                if self.groups is None else f' in {len(set(self.groups)):,} groups (duplicates, scenes), drawn whole')
        return (f'Intervals are over {len(self):,} {self.things}{over}. They do not cover another region, season or '
                f'sensor, nor another seed of training.{naive}')

    def figures(self, dls): # yields (name, function that draws, its arguments)
        "The figures of a record."
        return []

    def facts(self) -> dict:
        "What a record says of this result; `together`: names of chips that are duplicates or of one scene."
        sets = {}
        for name, group in zip(self.names, self.groups or ()): sets.setdefault(group, []).append(name)
        return dict(scores=self.scores, rule=self.rule.facts(), statement=self.statement,
                    together=[same for same in sets.values() if len(same) > 1] or None)

def _constant(r): return best_constant(r.train > 0.5).expand_as(r.truth)

class TagsResult(Result):
    """A scored multi-label validation set.

    `f2` and `accuracy_multi` follow the decision rule; `f2_tuned` has one threshold a tag, tuned on other validation
    chips than it is scored on (5 folds); `f2_decided` each chip's tag set of highest expected F2. The baselines are
    constant answers of the training set: the tag set with the best F2, every tag that more than half of the chips
    have, and the base rates. `table` has a row a tag: count, precision, recall, F2, average precision."""
    table_name = 'tags'
    SCORES = dict(
        f2=Score('F2 at {rule}', lambda r: r.f2_per_chip.mean(), lambda r: fbeta_per_chip(_constant(r), r.truth).mean(),
                 lambda r: r.f2_per_chip),
        f2_tuned=Score('F2, thresholds cross-fitted', lambda r: r.crossfit.score if _enough(r) else None),
        f2_decided=Score('F2, best expected set', lambda r: fbeta_per_chip(
            decide(r.probs, exclusive=r.exclusive, vocab=r.vocab), r.truth).mean()),
        accuracy_multi=Score('accuracy_multi at {rule}', lambda r: (r.scored_pred == r.truth).float().mean(),
                             lambda r: accuracy_multi(r.rates.expand_as(r.targs), r.targs, sigmoid=False)),
        valid_loss=Score('loss', lambda r: None if r.losses is None else r.losses.mean(), lambda r: r.rates_loss))

    @cached_property
    def truth(self): return self.targs > 0.5
    @cached_property
    def crossfit(self): return crossfit_fbeta(self.probs, self.targs, best_thresholds, groups=self.groups)
    @property
    def scored_pred(self):
        "The decisions that are scored: of tuned thresholds those of the other folds, where there are enough chips."
        if not isinstance(self.rule, TunedThresholds) or not _enough(self): return self.pred
        return self.probs > self.crossfit.thresh.to(self.probs)[self.crossfit.fold]
    @cached_property
    def f2_per_chip(self): return fbeta_per_chip(self.scored_pred, self.truth)
    @property
    def exclusive(self): return WEATHER if set(WEATHER) <= set(self.vocab) else None
    @property
    def rates_loss(self):
        "The loss of answering every chip with the base rates."
        if self.loss_func is None: return None
        from planet.learner import base_logits, softmax_group
        logits = base_logits(self.rates, softmax_group(self.loss_func))
        return self.loss_func(logits.expand_as(self.targs), self.targs).mean()

    @cached_property
    def table(self):
        table = tag_table(self.probs, self.targs, self.vocab, getattr(self.rule, 'thresh', 0.5))
        if isinstance(self.rule, AboveThreshold): return table
        of_rule = ['precision', 'recall', 'fbeta'] # no threshold says what another rule decides
        table[of_rule] = tag_table(self.pred.float(), self.targs, self.vocab, 0.5)[of_rule]
        return table

    def table_report(self) -> str:
        "A line a tag: validation chips that have it, precision, recall, F2."
        lines = [f"{'tag':<24}{'count':>9}{'precision':>11}{'recall':>9}{'F2':>9}"]
        for tag, r in self.table.sort_values('count', ascending=False).iterrows():
            has = int(r['count'])
            lines.append(f'{tag:<24}{has:>9}' + (f'{r.precision:>11.2f}{r.recall:>9.2f}{r.fbeta:>9.2f}' if has else
                                                 f"{'-':>11}{'-':>9}{'-':>9}"))
        return '\n'.join(lines)

    def figures(self, dls):
        from planet import plots
        thresh, base = getattr(self.rule, 'thresh', None), self.scores.get('f2_baseline')
        thresh = thresh if np.ndim(thresh) == 0 else None
        yield 'threshold', plots.score_against_threshold, self.probs, self.targs, thresh, base
        shown = range(min(12, len(self)))
        def draw():
            pixels = [plots.as_array(dls.valid_ds[i][0], getattr(dls, 'bands', None)) for i in shown]
            return plots.predictions_sheet(pixels, self.tags_of(self.truth[:12]), self.tags_of(self.pred[:12]))
        yield 'predictions', draw

    def tags_of(self, hot) -> list: # a list of tags for each row
        "The names of the tags that are true in each row."
        return [[tag for tag, yes in zip(self.vocab, row) if yes] for row in hot]

class ClassResult(Result):
    "A scored single-label validation set: accuracy, loss, and a confusion table (a row a true class)."
    table_name = 'classes'
    SCORES = dict(
        accuracy=Score('accuracy', lambda r: r.right.mean(), lambda r: (r.rates.argmax() == r.targs).float().mean(),
                       lambda r: r.right),
        valid_loss=Score('loss', lambda r: None if r.losses is None else r.losses.mean(),
                         lambda r: -r.rates.log()[r.targs].mean()))

    @property
    def targets(self) -> pd.DataFrame: # `image_name`, `label`
        "The true class of every chip, by name."
        labels = [self.vocab[int(o)] for o in self.targs]
        return pd.DataFrame(dict(label=labels), index=pd.Index(self.names, name='image_name'))

    @cached_property
    def right(self): return (self.pred == self.targs).float()
    @cached_property
    def table(self):
        true, pred = (pd.Categorical.from_codes(np.asarray(o), self.vocab) for o in (self.targs, self.pred))
        return pd.crosstab(true, pred, dropna=False).rename_axis(index='true', columns='predicted')

    def table_report(self) -> str:
        "The confusion table."
        return str(self.table)

# ---- from a learner

def _metric_values(learn, logits, targs):
    "The learner's metrics on these logits, name -> number; one that cannot be computed this way is left out."
    found = {}
    batch = SimpleNamespace(pred=logits, y=targs, yb=(targs,), to_detach=learn.to_detach, loss=None)
    for metric in learn.metrics:
        try:
            metric.reset()
            metric.accumulate(batch)
            found[metric.name] = float(metric.value)
        except (AttributeError, TypeError, ValueError): continue # it wants more of a learner than predictions
    return found

def evaluate(
    learn, # a trained `Learner`, multi-label or single-label
    chips=None, # what it was trained on: names the chips of the result; by default those of their files
    split=None, # their `Split`: keeps duplicates and groups together in cross-fits and intervals
    rule=None, # the decision rule; by default tags above the threshold of the loss function, or the likeliest class
    dl=None, # another `DataLoader` than that of the validation set
    logits=None, # of its chips, where they are known already
) -> Result:
    "Score a learner on its validation set, with baselines (the best constant answers) and confidence intervals."
    from planet.learner import train_targets
    loss_func = learn.loss_func
    if logits is None: logits, targs, losses = learn.get_preds(dl=dl, with_loss=True, act=lambda x: x)
    else:
        targs = torch.stack([torch.as_tensor(y) for y in learn.dls.valid_ds.tls[learn.dls.n_inp]])
        with learn.loss_not_reduced(): losses = learn.loss_func(logits, targs)
    probs = getattr(loss_func, 'activation', lambda x: x)(logits)
    items = (learn.dls.valid if dl is None else dl).dataset.items
    name_of = {} if chips is None else dict(zip(chips.paths, chips.table.image_name))
    names = [name_of.get(item, getattr(item, 'stem', str(item))) for item in items]
    groups = None if split is None or dl is not None else [split.group[row] for row in split.valid]
    kind = ClassResult if targs.ndim == 1 else TagsResult
    if rule is None: rule = Likeliest() if kind is ClassResult else AboveThreshold(getattr(loss_func, 'thresh', 0.5))
    return kind(probs, targs, names, learn.dls.vocab, rule, losses, train_targets(learn.dls), loss_func,
                _metric_values(learn, logits, targs), groups)
