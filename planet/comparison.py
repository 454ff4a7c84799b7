"Compare two results on the validation chips that both scored: a paired bootstrap of the difference in F2 or accuracy."
from dataclasses import dataclass
from math import isnan, nan
from planet.cli import UserError

__all__ = ['PairedDifference', 'paired_difference']

@dataclass(frozen=True)
class PairedDifference:
    "The difference of a score between two results, on the validation chips that both have."
    score:str # its name: f2 or accuracy
    chips:int # that both have, with the same true tags
    mean:float # of the second minus the first
    interval:tuple # 95 % bootstrap interval over chips, or groups of them; NaN where all are of one group
    differ:int # chips on which the two decide otherwise
    relabelled:int # chips left out, whose true tags are not the same in both

    @property
    def warning(self) -> str: # '' where there is none
        "What to know before the interval is believed."
        from planet.resampling import few_differ
        if isnan(self.interval[0]):
            return f'the {self.chips} chips are of one group (a scene): what they say of others has no interval'
        return few_differ(self.differ, self.chips)

def paired_difference(first, # a `Result`
                      second, # another
                     ) -> PairedDifference:
    """Paired bootstrap of the difference in F2 (or accuracy) of two results; `UserError` where they cannot be compared.

    Chips whose true tags are not the same in both are left out; duplicates and groups are drawn together.
    """
    from planet.metrics import bootstrap_interval
    if type(first) is not type(second): raise UserError('one tags chips, the other gives each chip a single label')
    if odd := sorted({*first.vocab} ^ {*second.vocab}):
        raise UserError(f"they have different tags ({', '.join(odd[:3])}{' ...' if len(odd) > 3 else ''})")
    place = {name: row for row, name in enumerate(second.names)}
    rows = [(row, place[name]) for row, name in enumerate(first.names) if name in place]
    if len(rows) < 2: raise UserError(f"they scored {'only one chip' if rows else 'no chip'} in common")
    a, b = ([*side] for side in zip(*rows))
    order = [second.vocab.index(tag) for tag in first.vocab]
    def differ(one, other): # on which of the common chips, given what each result has of its own chips
        if one.ndim == 2: return (one[a] != other[b][:, order]).any(1)
        return one[a] != other.new_tensor([order.index(int(c)) for c in other[b]]) # class numbers of the first vocab
    changed, otherwise = differ(first.targs, second.targs), differ(first.pred, second.pred)
    if int((~changed).sum()) < 2: raise UserError(f'{int(changed.sum())} of {len(rows)} chips have other true tags')
    name, score = next((n, s) for n, s in first.SCORES.items() if s.per_chip is not None)
    one, other = score.per_chip(first)[a][~changed].double(), score.per_chip(second)[b][~changed].double()
    both = [[g[row] for row, odd in zip(rows, changed) if not odd]
            for g, rows in ((first.groups, a), (second.groups, b)) if g]
    groups = min(both, key=lambda g: len(set(g)), default=None) # one of the two may have been run without groups
    alone = groups and len(set(groups)) < 2
    interval = (nan, nan) if alone else bootstrap_interval(other, one, groups=groups)
    return PairedDifference(name, len(one), float((other - one).mean()), interval,
                            int(otherwise[~changed].sum()), int(changed.sum()))
