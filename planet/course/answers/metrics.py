"Answers to the exercises on metrics, resampling, decisions and calibration."
import itertools
import math
import torch
from planet.course.exercises import Exercise

__all__ = ['EXERCISES']

def _f2(pred, targ, beta2=4):
    tp, true, said = ((pred & targ).sum(1), targ.sum(1), pred.sum(1))
    return (1 + beta2)*tp/(beta2*true + said).clamp(min=1)

def _pairs():
    g = torch.Generator().manual_seed(0)
    one = torch.tensor([[1, 1, 1, 0, 1]]).bool(), torch.tensor([[0, 1, 1, 1, 0]]).bool()
    empty = torch.tensor([[0, 0], [1, 0]]).bool(), torch.tensor([[1, 0], [0, 0]]).bool()
    return [one, empty, (torch.rand(6, 5, generator=g) < .4, torch.rand(6, 5, generator=g) < .4)]

def _probs():
    g = torch.Generator().manual_seed(1)
    targs = torch.rand(60, 6, generator=g) < .3
    return (1.6*targs - 1.4 + torch.randn(60, 6, generator=g)).sigmoid(), targs

def _score(probs, targs, t): return _f2(probs > t, targs).mean().item()
GRID = [.05, .1, .2, .3, .4, .5, .6]

def _best(probs, targs, threshs): return max(threshs, key=lambda t: _score(probs, targs, t))
def _crossfit(probs, targs, fold, tune=lambda fold, f: fold != f):
    out = torch.zeros(len(probs))
    for f in fold.unique():
        rows = tune(fold, f)
        t = _best(probs[rows], targs[rows], GRID)
        out[fold == f] = _f2(probs[fold == f] > t, targs[fold == f]).float()
    return out.mean().item()

def _folded():
    probs, targs = _probs()
    return [(probs[:20], targs[:20], torch.arange(20) % 4), (probs, targs, torch.arange(60) % 5)]

def _scores():
    g = torch.Generator().manual_seed(2)
    a = torch.rand(50, generator=g)
    return [(a, a + .02 + .05*torch.randn(50, generator=g))]
def _error(x): return (x.std()/len(x)**.5).item()

# ---- decisions

def _expected(answer, p, beta2=4):
    total = 0
    for truth in itertools.product([0, 1], repeat=len(p)):
        chance = math.prod(q if t else 1 - q for q, t in zip(p, truth))
        tp = sum(a and t for a, t in zip(answer, truth))
        total += chance*((1 + beta2)*tp/(beta2*sum(truth) + sum(answer)) if tp else 0)
    return total
def _of_means(answer, p): # the F2 of the expected counts
    tp = sum(q for a, q in zip(answer, p) if a)
    return 5*tp/(4*sum(p) + sum(answer)) if sum(answer) else 0.
def _counts(p):
    f = [1.]
    for q in p: f = [a*(1 - q) + b*q for a, b in zip([*f, 0], [0, *f])]
    return f
def _of_mean(p):
    n, q = len(p), sum(p)/len(p)
    return [math.comb(n, k)*q**k*(1 - q)**(n - k) for k in range(n + 1)]

# ---- resampling and calibration

def _leaks(fold, group): return sum(len(set(fold[group == g].tolist())) > 1 for g in group.unique())
def _interval(scores, draws):
    means = scores[draws].mean(1)
    return [means.quantile(.025).item(), means.quantile(.975).item()]
def _drawn():
    g = torch.Generator().manual_seed(3)
    return [(torch.rand(40, generator=g)**.5, torch.randint(40, (500, 40), generator=g))]
def _ece(p, y, bins):
    at = (p*bins).long().clamp(max=bins - 1)
    return sum(abs(y[at == b].sum() - p[at == b].sum()) for b in range(bins)).item()/len(p)
def _unweighted(p, y, bins):
    at = (p*bins).long().clamp(max=bins - 1)
    gaps = [abs(y[at == b].mean() - p[at == b].mean()).item() for b in range(bins) if (at == b).any()]
    return sum(gaps)/len(gaps)
def _tag():
    p, y = _probs()
    return [(p[:, 0], y[:, 0].float(), 5), (p[:, 1], y[:, 1].float(), 10)]

EXERCISES = dict(
    f2=Exercise(_f2, _pairs, 'F2 = 5 x true positives / (4 x true tags + predicted tags), each counted in a row, '
        '`.sum(1)`.', {
        'One score of all counts together (micro). The competition wants one a chip.':
            lambda pred, targ: _f2(pred.flatten()[None], targ.flatten()[None])[0],
        'That is F1: the true tags count beta squared times, four times for F2.': lambda pred, targ: _f2(pred, targ, 1),
        'Beta squared stands with the predicted tags: it belongs to the true ones, as F2 favours recall.':
            lambda pred, targ: _f2(targ, pred),
        '0/0: a chip where nothing is true and nothing is predicted, or no true positive. Take the form with counts.':
            lambda pred, targ: (lambda p, r: 5*p*r/(4*p + r))((pred & targ).sum(1)/pred.sum(1),
                                                             (pred & targ).sum(1)/targ.sum(1)),
        'The mean over tags: the counts were taken in columns (`.sum(0)`), and a chip is a row.':
            lambda pred, targ: _f2(pred.T, targ.T)}, remark='An empty answer scores 0, and no row is nan.'),
    accuracy_of_nothing=Exercise(lambda: 1 - 2.871/17, lambda: [()],
        'It is wrong on the tags that a chip has, 2.871 of 17 on average, and right on all others.', {
        'That is the share that it gets wrong.': lambda: 2.871/17}, tolerance=2e-3,
        remark='0.831, for a model that never says anything.'),
    break_even=Exercise(lambda beta: 1/(1 + beta**2), lambda: [(1.,), (2.,), (.5,)],
        'Beside many sure tags the break-even probability does not depend on their number m: let m grow in '
        '(5m + 4)/(25m + 8), then write 5 as 1 + beta^2.', {
        'That is right for beta = 1 alone: accuracy has its threshold at one half, F-beta lower for beta above 1.':
            lambda beta: .5,
        'Beta enters squared.': lambda beta: 1/(1 + beta)}, remark='One half for F1, one fifth for F2.'),
    crossfit=Exercise(_crossfit, _folded, 'For each fold: take the best threshold of the chips of all *other* folds, '
        'score the chips of this fold at it; in the end the mean over all chips. `best_of(probs, targs)` is given.', {
        'The threshold was tuned on all chips, those that are scored as well: that is the naive score.':
            lambda probs, targs, fold: _crossfit(probs, targs, fold, lambda fold, f: fold >= 0),
        'The threshold was tuned on the very fold that is scored: take the others, `fold != f`.':
            lambda probs, targs, fold: _crossfit(probs, targs, fold, lambda fold, f: fold == f)},
        remark='No chip helped to choose the threshold that it is scored at.'),
    paired=Exercise(lambda a, b: _error(b - a), _scores, 'The standard deviation of the *differences*, chip by chip, '
        'over '
        'the square root of the number of chips.', {
        'The two errors were added as if the scores came from different chips. What makes a chip hard is in both, and '
        'cancels in the difference.': lambda a, b: math.hypot(_error(a), _error(b)),
        'That is the spread of single chips; the error of a mean is smaller by the square root of n.':
            lambda a, b: (b - a).std().item()}, remark='Several times smaller than if they were not paired.'),
    expected=Exercise(_expected, lambda: [([1, 0], [.6, .3]), ([1, 1, 0], [.9, .2, .4]), ([1, 1, 1], [.5, .5, .5]),
                                          ([0, 0], [.5, .1])],
        'Go through all truths, `itertools.product([0, 1], repeat=len(p))`; each has the product of its tags\' '
        'probabilities, and the answer has an F2 with it: `f2_with(answer, truth)` is given.', {
        'That is the F2 of the expected counts. The expected value of a ratio is not the ratio of expected values.':
            _of_means,
        'Each truth counts by its probability; that is the plain mean over truths.':
            lambda answer, p: _expected(answer, [.5]*len(p)),
        'That is F1.': lambda answer, p: _expected(answer, p, 1)}, remark='64 such sums find the best of six tags.'),
    counts=Exercise(_counts, lambda: [([.5],), ([.9, .2],), ([.6, .19, .19, .19],)],
        'Begin with [1.]: no tag, so surely 0 are true. With each tag of probability q the count stays (times 1-q) or '
        'grows by one (times q).', {
        'Each tag has a probability of its own; that is the binomial of their mean.': _of_mean,
        'The list runs from "none" to "all": it is turned around.': lambda p: _counts(p)[::-1]},
        remark='It is a product of polynomials, (1-q) + q x, in disguise.'),
    hedge=Exercise(lambda: dict(clear=.58*1 + .42*.5, both=10/11), lambda: [()],
        'The truth has two tags, primary and one weather. F2 = 5 tp / (4 x 2 + predicted): work it out for both '
        'truths, and '
        'weigh them with 0.58 and 0.42.', {
        'For `both`: one of the two weathers is a false positive whichever is true, so three tags are predicted.':
            lambda: dict(clear=.58*1 + .42*.5, both=1.),
        'For `clear`: where it is partly cloudy, `primary` is still right: 5/10.':
            lambda: dict(clear=.58, both=10/11)}, tolerance=6e-3,
        remark='Name both: 0.91 for certain against 0.79, though the two exclude one another.'),
    leaks=Exercise(_leaks, lambda: [(torch.tensor([0, 1, 0, 1, 2]), torch.tensor([0, 0, 1, 2, 2])),
                                    (torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 7, 7]))],
        'For each group: in how many different folds are its chips? More than one is a leak.', {
        'These are the chips in leaking groups; count the groups.': lambda fold, group: sum(
            (group == g).sum().item() for g in group.unique() if len(set(fold[group == g].tolist())) > 1),
        'That counts the groups that are whole.': lambda fold, group: len(group.unique()) - _leaks(fold, group)}),
    interval=Exercise(_interval, _drawn, 'Each row of `draws` is a resample: the mean of `scores[row]`. Of these '
        'means take '
        'the quantiles 0.025 and 0.975.', {
        'Those are quantiles of the single scores: how chips differ, not how their mean does.':
            lambda scores, draws: [scores.quantile(.025).item(), scores.quantile(.975).item()],
        '0.05 and 0.95 leave out a tenth: that is a 90 % interval.': lambda scores, draws: [
            scores[draws].mean(1).quantile(q).item() for q in (.05, .95)]}),
    ece=Exercise(_ece, _tag, 'In each bin: |how many have the tag - sum of their probabilities|; add up over bins, '
        'divide by '
        'the number of chips.', {
        'Each bin counts the same; it should count by its chips.': _unweighted,
        'One bin: too high and too low cancel, which is what bins are for.':
            lambda p, y, bins: abs(y.mean() - p.mean()).item()}),
    temperature=Exercise(lambda p, t: (p.logit()/t).sigmoid(), lambda: [(torch.tensor([.5, .9, .2]), 2.),
                                                                       (torch.tensor([.7, .01]), .5)],
        'A temperature divides the *logit*: back to it with `p.logit()`, divide, and the sigmoid again.', {
        'That divides the probability; one half should stay one half.': lambda p, t: p/t,
        'Divided, not multiplied: above 1 it makes the model less sure.': lambda p, t: (p.logit()*t).sigmoid(),
        'That is a power of the odds without normalising: p and 1-p no longer sum to one.':
            lambda p, t: p**(1/t)}, remark='One half stays one half; above 1 everything moves towards it.'))
