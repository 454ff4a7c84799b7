"What neighbours in the training set do to a score: validation chips with one of their group there, and the others."
import numpy as np
from planet.splits import beside_training

__all__ = ['GroupedScore', 'grouped_score', 'grouped_lines', 'grouped_table']

FEW = 50 # chips
ENOUGH = 10 # chips, or groups, below which a mean has no interval

class GroupedScore:
    "F2 (or accuracy) of the validation chips that have a chip of their group in the training set, and of the others."
    def __init__(self, name, beside, apart, facts):
        self.name, self.beside, self.apart, self.split = name, beside, apart, facts # each `(chips, mean, interval)`

    def lines(self) -> list[str]:
        "What a run says of its groups."
        def told(part):
            n, mean, interval = part
            return f'{mean:.4f} on {n:,} chips' + (f' [{interval[0]:.3f}, {interval[1]:.3f}]' if interval else '')
        if self.beside[0]:
            yield (f'{self.name} of validation chips with one of their group in the training set: {told(self.beside)}; '
                   f'without: {told(self.apart)}' if self.apart[0] else
                   f'every validation chip has one of its group in the training set: {told(self.beside)}')
            few = min(self.beside[0], self.apart[0]) < FEW
            yield (f'groups: fewer than {FEW} chips on one side say little; a run that keeps groups together says how '
                   'other scenes score, and planet-runs compare the difference on the same chips' if few else
                   'groups: other scenes will score like the second number, as far as these chips are like the others')
        else:
            n, valid = (self.split.get(k, 0) for k in ('random_beside_training', 'random_valid'))
            yield ('groups: no validation chip has one of its group in the training set'
                   + (f'; a random split of this seed would have {n:,} of {valid:,} beside one' if valid else ''))
            if valid and not n: yield 'groups: so a random split of this seed gives a score of the same kind'
            elif valid and n < .1*valid:
                yield (f'groups: so a random split scores some {n/valid*(1 - self.apart[1]):.4f} higher at most, if '
                       'each of those were tagged perfectly; `split` ungrouped trains it, planet-runs compare tells')
            else: yield ('groups: `split` ungrouped trains as if there were none, and planet-runs compare gives the '
                         'difference on the chips that both score')

    def facts(self) -> dict:
        "For the record."
        def told(part): return dict(chips=part[0], mean=part[1], interval=part[2])
        return dict(score=self.name, beside_training=told(self.beside), apart=told(self.apart), split=self.split)

def grouped_score(
    result, # a `Result`: of the validation set of one split, or of all chips, each out of its fold
    *splits, # the `Split`, or those of all folds
): # a `GroupedScore`, or `None` where no groups were given
    "Compare the validation chips that have one of their group in the training set with those that have none."
    from planet.metrics import bootstrap_interval
    first = splits[0]
    if 'groups' not in first.facts: return None
    name, score = next((n, s) for n, s in result.SCORES.items() if s.per_chip is not None)
    beside = np.zeros(len(first.group), dtype=bool)
    for split in splits: beside[split.valid] = beside_training(split)
    rows = first.valid if len(splits) == 1 else np.arange(len(beside)) # in the order of the result
    values, beside, group = score.per_chip(result).double(), beside[rows], np.asarray(first.group)[rows]
    def part(which):
        if not which.any(): return 0, None, None
        some, own = values[which.nonzero()[0]], group[which].tolist()
        interval = bootstrap_interval(some, groups=own) if len(set(own)) >= ENOUGH else None
        return len(some), round(float(some.mean()), 5), interval and [round(float(o), 5) for o in interval]
    return GroupedScore('F2' if name == 'f2' else name, part(beside), part(~beside), first.facts['groups'])

def grouped_lines(
    run, # the `Run` whose record keeps it
    result, *splits, # as in `grouped_score`; none where the run has no split
) -> list[str]: # lines to say; none where no groups were given
    "Record what neighbours in the training set do to the score, and say it."
    found = grouped_score(result, *splits) if splits else None
    if found is None: return []
    run.update(grouped=found.facts())
    return ['', *found.lines()]

def grouped_table(
    facts:dict, # what a record keeps as `grouped`
) -> tuple: # names of the columns, and rows of text
    "A table of the score with and without a chip of the same group in the training set."
    def row(words, part):
        mean, interval = part['mean'], part['interval']
        return (words, f"{part['chips']:,}", '–' if mean is None else f'{mean:.4f}',
                f'{interval[0]:.3f} to {interval[1]:.3f}' if interval else '–')
    return (['validation chips', 'chips', facts['score'], '95 % interval'],
            [row('one of their group is in the training set', facts['beside_training']),
             row('none of their group is', facts['apart'])])
