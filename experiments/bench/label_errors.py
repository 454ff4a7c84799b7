"""Likely label errors: how many planted ones are found by a ranking by loss and by cleanlab (`pip install cleanlab`).

    python experiments/bench/label_errors.py --weights imagenet

In the labels of 1,000 synthetic chips, which are known to be right, 40 are made wrong at random: a tag is taken from a
chip that has it, or given to one that has not. Out-of-fold probabilities of a kernel ridge regression on frozen
features, trained on the wrong labels too, rank all labels. Counted are the planted ones among the first 40 and 80.
"""
from planet.cli import say, script
from planet.options import RUN_OPTIONS, chip_options, delegates, options

def plant(truth, n, seed):
    "Labels with `n` of them made wrong, half of these tags taken away and half given; and where they are."
    import numpy as np
    rng = np.random.default_rng(seed)
    wrong = np.zeros(truth.shape, dtype=bool)
    for cells in (np.argwhere(truth), np.argwhere(~truth)):
        rows = cells[rng.choice(len(cells), n//2, replace=False)]
        wrong[rows[:, 0], rows[:, 1]] = True
    return truth ^ wrong, wrong

def rankings(probs, labels):
    "name -> the score of each label, the most suspicious lowest."
    import numpy as np
    said = np.where(labels, probs, 1 - probs)
    found = {'loss': said}
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        say('cleanlab is not installed: it is left out')
        return found
    for name, method in (('cleanlab, self-confidence', 'self_confidence'), ('cleanlab, margin', 'normalized_margin')):
        for adjusted in (False, True):
            scores = np.empty_like(probs)
            for j in range(probs.shape[1]):
                given, both = labels[:, j].astype(int), np.stack([1 - probs[:, j], probs[:, j]], 1)
                if len(set(given)) < 2: scores[:, j] = said[:, j]
                else: scores[:, j] = get_label_quality_scores(given, both, method=method, adjust_pred_probs=adjusted)
            found[name + ', adjusted'*adjusted] = scores
    issues = np.zeros_like(labels)
    for j in range(probs.shape[1]):
        given, both = labels[:, j].astype(int), np.stack([1 - probs[:, j], probs[:, j]], 1)
        if len(set(given)) == 2: issues[:, j] = find_label_issues(given, both, filter_by='both', n_jobs=1)
    found['cleanlab, confident learning'] = said - issues # its issues first, by their self-confidence
    return found

@script
@delegates(chip_options, but=[*RUN_OPTIONS, 'skip_bad', 'split', 'fold', 'valid_pct', 'workers', 'epochs', 'lr', 'tta',
                              'freeze_epochs', 'body_lr', 'recipe', 'groups', 'label_delim', 'bands', 'mixup', 'light',
                              'precision', 'threads'])
def main(
    data:str='synthetic', # chips whose labels are right
    size:int=128, # height and width of a chip, in pixels
    folds:int=5, # of the cross-validation
    planted:int=40, # labels that are made wrong
    seeds:int=5, # repeats, each with other wrong labels
    **kwargs,
):
    "Print how many of the planted label errors rank among the first, for a ranking by loss and for cleanlab."
    o = options(chip_options(data=data, size=size, folds=folds, **kwargs), planted=planted, seeds=seeds)
    # what follows takes seconds to import, so it comes after the options have been checked
    import numpy as np
    import torch
    from planet.data import load_chips, tags_dls
    from planet.frozen import pooled_features
    from planet.kernel_ridge import kernel_ridge
    from planet.learner import chip_learner, find_loss
    from planet.resampling import kfolds
    from planet.splits import random_split
    chips, store = load_chips(o.data, o.size)
    split = random_split(chips)
    learn = chip_learner(tags_dls(chips, store, split, o.bs), o.arch, o.weights, find_loss('bce', chips.vocab))
    x = pooled_features(learn, chips.paths, store, o.views, stages=4, bs=o.bs)[0].float().mean(1)
    counts = {}
    for seed in range(o.seed, o.seed + o.seeds):
        labels, wrong = plant(chips.targets, o.planted, seed)
        fold, probs = kfolds(len(chips), o.folds, seed, split.group).numpy(), np.empty(labels.shape)
        for f in range(o.folds):
            rows = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
            probs[rows[1]] = kernel_ridge(x, torch.from_numpy(labels), *rows).double().numpy()
        for name, scores in rankings(probs, labels).items():
            order = np.argsort(scores, axis=None, kind='stable')
            counts.setdefault(name, []).append([wrong.ravel()[order[:n]].sum() for n in (o.planted, 2*o.planted)])
    say(f"{f'planted errors found, of {o.planted}':<36}{f'first {o.planted}':>12}{f'first {2*o.planted}':>12}"
        f'   each of {o.seeds} seeds')
    for name, found in counts.items():
        one, two = np.mean(found, 0)
        say(f'{name:<36}{one:>12.1f}{two:>12.1f}   ' + ' '.join(f'{a}/{b}' for a, b in found))
