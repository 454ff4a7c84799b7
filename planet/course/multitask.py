"Two models on the same chips, one with two targets and one that is plain multi-label: is one better, beyond the noise?"
from functools import partial
import pandas as pd, torch
from planet.cli import UserError
from planet.learner import base_logits, base_rates, train_targets
from planet.losses import GroupedCrossEntropyLoss
from planet.metrics import as_plain, best_constant, bootstrap_interval, decide, fbeta, fbeta_per_chip
from planet.amazon import WEATHER

__all__ = ['sky_and_rest', 'Comparison', 'compare_models', 'tags_lines']

def sky_and_rest(chips, # chips with exactly one weather each, from `only_of`
                ) -> tuple: # the weather tags and the others, each sorted
    "The vocab in two: what excludes one another, and what does not. Raises `UserError` where one of them is too small."
    sky, rest = ([t for t in chips.vocab if (t in WEATHER) == of] for of in (True, False))
    seen = sorted({t for tags in chips.table.tags for t in tags if t in WEATHER})
    if len(seen) < 2: raise UserError(f"{chips.root}: weather needs chips of two kinds at least of {', '.join(WEATHER)}; "
                                      f"{len(chips)} have exactly one, and they are all {seen[0] if seen else 'missing'}")
    if not rest: raise UserError(f"{chips.root}: no tag but the weather ({', '.join(sky)}): weather_resnet18.py is the experiment for that")
    return sky, rest

def _interval(a, b=None, sign=''):
    "The mean of numbers a chip (less those of another model), with its interval: as text, and as two values."
    low, high = bootstrap_interval(a, b)
    mean = (a if b is None else a - b).mean().item()
    return f'{mean:{sign}.4f} [{low:{sign}.3f}, {high:{sign}.3f}]', round(mean, 5), [round(low, 5), round(high, 5)]

class Comparison:
    "Scores of both models and their paired difference, with 95 % intervals over chips: `scores` for a record, `str` for a screen."
    def __init__(self, chips:int, # how many were scored
                ):
        self.scores, self.lines = {}, [f"{f'{chips:,} held-out chips':<24}{'two targets':>23}{'multi-label':>23}{'difference':>27}{'best constant':>17}"]

    def add(self, key:str, # name in the record
            name:str, # name on the screen
            two, multi, constant, # a number a chip, of each model and of an answer that never looks
           ):
        two, multi, constant = (as_plain(o).double() for o in (two, multi, constant))
        shown, means, intervals = zip(_interval(two), _interval(multi), _interval(two, multi, '+'))
        self.lines.append(f'{name:<24}{shown[0]:>23}{shown[1]:>23}{shown[2]:>27}{constant.mean():>17.4f}')
        for suffix, mean, interval in zip(('', '_multi_label', '_difference'), means, intervals):
            self.scores |= {f'{key}{suffix}': mean, f'{key}{suffix}_interval': interval}
        self.scores[f'{key}_baseline'] = round(constant.mean().item(), 5)

    def verdict(self, key:str) -> str:
        "What the interval of the difference says of the model with two targets."
        low, high = self.scores[f'{key}_difference_interval']
        return 'higher' if low > 0 else 'lower' if high < 0 else 'no different'

    def __str__(self):
        return '\n'.join([*self.lines, '', f"With two targets, beyond the noise of the choice of chips: F2 {self.verdict('f2')} as each predicts, "
                                           f"{self.verdict('f2_above')} by one rule."])

def compare_models(two, # learner with `TwoTargetLoss`, trained
                   multi, # learner with one multi-label target, trained on the same split
                   sky:list, # tags that exclude one another
                   thresh:float=0.2, # a tag is predicted above this probability
                  ): # the comparison, a table with a row a tag, the two-target model's probabilities and tags, and the truth
    """Score both on the held-out chips, by the same rules and by each one's own.

    The one with two targets always names the likeliest weather; the multi-label one names whatever is above `thresh`, two
    kinds of weather or none, and under F2 two can pay. So each rule is applied to both.
    """
    vocab, order = list(multi.dls.vocab), [t for tags in two.dls.vocab for t in tags]
    skies, questions = torch.tensor([vocab.index(t) for t in sky]), 1 + len(vocab) - len(sky)
    p_multi, targs, loss_multi = multi.get_preds(with_loss=True)
    p_two, (weather, _), loss_two = two.get_preds(with_loss=True)
    p_two, targs, train = p_two[:, [order.index(t) for t in vocab]], targs > 0.5, train_targets(multi.dls)
    constant, rates = best_constant(train > 0.5).expand_as(targs), base_rates(train).expand_as(targs)
    loss_rates = GroupedCrossEntropyLoss(skies.tolist(), reduction='none')(base_logits(rates[0], skies.tolist()).expand_as(targs), targs.float())

    def above(probs): return probs > thresh
    def one_weather(probs): # the likeliest, whatever its probability
        likeliest = skies[probs[:, skies].argmax(1)]
        return above(probs).index_fill(1, skies, False).scatter(1, likeliest[:, None], True)
    best_set = partial(decide, exclusive=sky, vocab=vocab)
    def right(probs): return probs[:, skies].argmax(1) == weather

    found = Comparison(len(targs))
    for key, name, rule, rule_multi in (
            ('f2', 'F2 as each predicts', one_weather, above), ('f2_above', f'F2, all tags above {thresh:g}', above, above),
            ('f2_one_weather', 'F2, likeliest weather', one_weather, one_weather), ('f2_decided', 'F2, best expected set', best_set, best_set)):
        found.add(key, name, *[fbeta_per_chip(o, targs) for o in (rule(p_two), rule_multi(p_multi), constant)])
    found.add('weather_accuracy', 'weather accuracy', right(p_two), right(p_multi), right(rates))
    # a mean loss times its number of questions: minus the log-probability of all that is true of a chip
    found.add('nats', 'loss, nats a chip', questions*loss_two, len(vocab)*loss_multi, questions*loss_rates)
    columns = {'two targets': one_weather(p_two), 'multi-label': above(p_multi)}
    tags = pd.DataFrame({name: fbeta(pred.float(), targs, thresh=0.5, average=None, sigmoid=False) for name, pred in columns.items()},
                        index=pd.Index(vocab, name='tag'))
    tags.insert(0, 'count', targs.sum(0).numpy())
    return found, tags, p_two, one_weather(p_two), targs

def tags_lines(tags, # the table of `compare_models`
              ) -> str:
    "F2 of each tag with both models; a tag that no held-out chip has has none."
    rows = [f'{tag:<24}{n:>9}' + (f'{a:>14.2f}{b:>14.2f}' if n else f"{'-':>14}{'-':>14}")
            for tag, n, a, b in tags.sort_values('count', ascending=False).itertuples()]
    return '\n'.join([f"{'F2 of a tag':<24}{'count':>9}{'two targets':>14}{'multi-label':>14}", *rows])
