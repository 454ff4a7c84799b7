"""Compare multi-label losses by cross-validation: the same small model with each, with confidence intervals.

    python experiments/compare_losses.py --data sample --weights imagenet

The small model is a linear layer, whose bias starts at the prior log-odds, on the features of a frozen backbone
(`planet.frozen`). They are computed once, so training takes seconds, and all chips are scored out of fold, each by a
head that has not seen it. A second table takes the probabilities of binary cross entropy and compares decision
rules.
"""
from planet.cli import UserError, say, script
from planet.options import RUN_OPTIONS, chip_options, delegates, options

@script
@delegates(chip_options, but=[*RUN_OPTIONS, 'skip_bad', 'tta', 'fold', 'split', 'freeze_epochs', 'valid_pct',
                              'workers', 'recipe', 'body_lr', 'mixup', 'light'])
def main(
    epochs:int=20, # of the head
    lr:float=1e-3, # learning rate of the head
    folds:int=5, # parts of the chips; each is scored by a head that was trained on the others
    thresh:float=0.2, # a tag is predicted above this probability
    **kwargs,
):
    "Train the same small model with each loss; print F2 of each, and of each decision rule, with 95 % intervals."
    o = options(chip_options(epochs=epochs, lr=lr, folds=folds, **kwargs), thresh=thresh)
    # what follows takes seconds to import, so it comes after the options have been checked
    from time import perf_counter
    import torch
    from fastai.torch_core import default_device, set_seed
    from sklearn.metrics import average_precision_score
    from planet.amazon import WEATHER
    from planet.backbones import find_backbone
    from planet.calibration import kfolds
    from planet.data import load_chips, tags_dls
    from planet.frozen import pooled_features, predict_head, train_head
    from planet.learner import LOSSES, chip_learner, find_loss
    from planet.metrics import best_thresholds, bootstrap_interval, compare_decisions, crossfit_fbeta, fbeta_per_chip
    from planet.provenance import device_facts
    from planet.splits import random_split, with_groups
    from planet.threads import choose_threads

    set_seed(o.seed, reproducible=True)
    chips, store = load_chips(o.data, o.size, o.skip_bad, o.label_delim, o.bands)
    chips = with_groups(chips, o.groups)
    backbone, split = find_backbone(o.arch, chips.stats, chips.bands), random_split(chips)
    if not 2 <= o.folds <= len(set(split.group)):
        raise UserError(f'{o.folds} is outside 2 to {len(set(split.group))}, the number of distinct chips', 'folds')
    # duplicates and chips of one scene are in one fold, and count together in the intervals
    fold = kfolds(len(chips), o.folds, o.seed, groups=split.group)
    learn = chip_learner(tags_dls(chips, store, split, o.bs), backbone, o.weights, precision=o.precision)
    choose_threads(learn, o.threads)
    start = perf_counter()
    x, _ = pooled_features(learn, chips.paths, store, o.views, bs=o.bs)
    y = torch.tensor(chips.targets).float()
    say(f'features of {len(chips):,} chips in {o.views} views: {perf_counter()-start:.0f} s',
        f'device: {device_facts(default_device())}, seed {o.seed}', '',
        f"{'loss':<11}{f'F2 at {o.thresh:g}':>24}{'against bce':>28}{'F2, thresholds per tag':>26}"
        f"{'average precision':>26}{'seconds':>9}")

    def interval(scores, other=None, sign='', groups=split.group):
        low, high = bootstrap_interval(scores, other, groups=groups)
        mean = (scores if other is None else scores - other).mean()
        return f'{mean:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]'

    ours, some = set(WEATHER) <= set(chips.vocab), y.numpy().any(1)
    if not ours: say('grouped is left out: it needs the weather tags')
    for name in [name for name in LOSSES if ours or name != 'grouped']:
        set_seed(o.seed, reproducible=True)
        start, probs = perf_counter(), torch.empty_like(y)
        for f in range(o.folds):
            loss = find_loss(name, chips.vocab, o.thresh)
            train, valid = ((fold != f).nonzero().squeeze(1), (fold == f).nonzero().squeeze(1))
            head = train_head(x, y, len(chips.vocab), train, loss, (), o.epochs, o.lr, bs=o.bs, seed=o.seed).model
            probs[valid] = loss.activation(predict_head(head, x[valid]))
        seconds, scores = perf_counter() - start, fbeta_per_chip(probs > o.thresh, y > 0.5)
        if name == 'bce': bce, bce_probs = scores, probs
        tuned = crossfit_fbeta(probs, y, best_thresholds, o.folds, o.seed, groups=split.group).per_chip
        # of each chip's tags in the order of their probabilities, so that it has an interval over chips as the others
        # have; a chip without tags has none
        precision = torch.tensor([average_precision_score(t, p) for t, p in zip(y[some].numpy(), probs[some].numpy())])
        against = '' if name == 'bce' else interval(scores, bce, '+')
        say(f'{name:<11}{interval(scores):>24}{against:>28}{interval(tuned):>26}'
            f'{interval(precision, groups=split.group[some]):>26}{seconds:>9.1f}')

    exclusive = WEATHER if ours else None
    rules = compare_decisions(bce_probs, y, chips.vocab, exclusive, o.thresh, folds=o.folds, seed=o.seed,
                              groups=split.group)
    say('', rules.drop(columns='note').to_string(float_format='%.4f'))
    notes = dict.fromkeys(filter(None, rules.note)) # most rules differ on as many chips as others
    say(*(f"note, {'; '.join(rules.index[rules.note == note])}: {note}" for note in notes))
