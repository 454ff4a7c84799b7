"""Stacked generalisation: combine several models' out-of-fold probabilities by per-tag ridge regression, with a nested
cross-validation whose score is honest.
"""
from dataclasses import dataclass
import numpy as np
import torch
from planet.checks import check_probs, check_targs
from planet.cli import UserError
from planet.metrics import best_threshold, fbeta_per_chip
from planet.resampling import kfolds

__all__ = ['ALPHAS', 'Stacker', 'Stacked', 'fit_stacker', 'stack', 'joined_groups']

ALPHAS = tuple(10.**k for k in range(-1, 6)) # strengths of the ridge penalty that are tried for each tag

@dataclass(frozen=True)
class Stacker:
    "The mean of the models, corrected by a ridge regression a tag on all their probabilities: `stacker(x) -> probs`."
    coef:np.ndarray # `(models*tags, tags)`
    bias:np.ndarray # `(tags,)`
    alpha:np.ndarray # `(tags,)`: the penalty of each
    def __call__(self, x): # `(chips, models*tags)`
        return np.clip(_mean(x, len(self.bias)) + x@self.coef + self.bias, 0, 1)
    def facts(self) -> dict: return {k: np.asarray(v).tolist() for k, v in vars(self).items()}

def _mean(x, tags): return x.reshape(len(x), -1, tags).mean(1)

def _ridge(x, y, alphas):
    "Stackers of one penalty each. What is penalised is how far they are from the mean of the models, not from nothing."
    y = y - _mean(x, y.shape[1])
    centre, level = x.mean(0), y.mean(0)
    u, s, v = np.linalg.svd(x - centre, full_matrices=False) # one decomposition for all penalties
    for alpha in alphas:
        coef = v.T@((s/(s*s + alpha))[:, None]*(u.T@(y - level)))
        yield Stacker(coef, level - centre@coef, np.full(y.shape[1], alpha))

def fit_stacker(
    x, # `(chips, models*tags)`: the models' probabilities beside one another
    y, # `(chips, tags)` of 0 and 1
    folds:int=5, seed:int=42, # of the cross-validation that chooses each tag's penalty
    groups=None, # `(chips,)`: equal for chips that stay together
    alphas=ALPHAS,
): # -> the `Stacker`, and the cross-fitted probabilities of these very chips, to tune a threshold on
    "Fit a stacker; each tag has the strongest penalty that is within a standard error of the best on held-out folds."
    fold, out = kfolds(len(x), folds, seed, groups).numpy(), np.empty((len(alphas), *y.shape))
    for f in range(folds):
        for i, s in enumerate(_ridge(x[fold != f], y[fold != f], alphas)): out[i, fold == f] = s(x[fold == f])
    loss, tags = (out - y)**2, np.arange(y.shape[1])
    more = loss - loss[loss.mean(1).argmin(0), :, tags].T # than the penalty of least loss has
    near = more.mean(1) <= more.std(1)/len(x)**.5
    best = len(alphas) - 1 - near[::-1].argmax(0) # the strongest penalty that is not worse by a standard error
    every = list(_ridge(x, y, alphas))
    coef, bias = (np.stack([getattr(s, name) for s in every]) for name in ('coef', 'bias'))
    return Stacker(coef[best, :, tags].T, bias[best, tags], np.asarray(alphas)[best]), out[best, :, tags].T

@dataclass(frozen=True)
class Stacked:
    "What `stack` returns."
    probs:torch.Tensor # `(chips, tags)`: each chip's by a stacker that was fitted on other chips
    per_chip:torch.Tensor # `(chips,)`: F-beta, at a threshold that was tuned on other chips too
    fold:torch.Tensor # `(chips,)`: chips of one fold were left out together
    stacker:Stacker # fitted on all chips: for new ones
    thresh:float # tuned on all chips: for new ones

def stack(
    probs, # list of `(chips, tags)`: out-of-fold probabilities of each model, for the same chips and tags
    targs, # `(chips, tags)` of 0 and 1
    folds:int=5, seed:int=42, # of the outer cross-validation
    groups=None, # `(chips,)`: equal for duplicates and chips of one scene
) -> Stacked:
    """Stack models, nested: for each outer fold the penalties, the stacker and the threshold are fitted without it.

    The probabilities themselves must be out of fold. What remains: the models whose probabilities train a stacker were
    trained on the chips that it is scored on (never on their probabilities), as in all stacking."""
    probs = [check_probs(p) for p in probs]
    truth = check_targs(targs, probs[0])
    if odd := [tuple(p.shape) for p in probs if p.shape != truth.shape]:
        raise ValueError(f'probs have the shapes {tuple(truth.shape)} and {odd[0]}: the same chips and tags in each')
    x, y = torch.cat(probs, 1).double().numpy(), truth.double().numpy()
    groups = None if groups is None else np.asarray(groups)
    fold, out, per_chip = kfolds(len(x), folds, seed, groups), torch.empty_like(probs[0]), torch.empty(len(x))
    for f in range(folds):
        rest, held = (fold != f).numpy(), fold == f
        left = int(rest.sum()) if groups is None else len(set(groups[rest].tolist()))
        if left < 2:
            raise UserError(f'{folds}: without one of them a single group of chips is left, and to choose penalties '
                            'takes two: give more', option='folds')
        stacker, within = fit_stacker(x[rest], y[rest], min(folds, left), seed + 1,
                                      None if groups is None else groups[rest])
        out[held] = torch.tensor(stacker(x[held.numpy()]), dtype=out.dtype)
        thresh = best_threshold(torch.tensor(within), truth[rest])
        per_chip[held] = fbeta_per_chip(out[held] > thresh, truth[held])
    stacker, within = fit_stacker(x, y, folds, seed, groups)
    return Stacked(out, per_chip, fold, stacker, best_threshold(torch.tensor(within), truth))

def joined_groups(
    several, # list of `(chips,)` groups, or `None`
): # -> `(chips,)` codes, or `None` where all are `None`
    "Chips that any of several groupings keeps together, and all that hang together by them."
    several = [np.unique(np.asarray(g, dtype=str), return_inverse=True)[1] for g in several if g is not None]
    if not several: return None
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    n, rows, nodes, first = len(several[0]), [], [], len(several[0])
    for codes in several: # a node a chip, and one a group
        rows.append(np.arange(n)), nodes.append(codes + first)
        first += codes.max() + 1
    rows, nodes = np.concatenate(rows), np.concatenate(nodes)
    return connected_components(coo_matrix((np.ones(len(rows)), (rows, nodes)), (first, first)), directed=False)[1][:n]
