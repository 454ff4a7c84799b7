"""Compare multi-label losses by cross-validation: the same small model with each, with confidence intervals.

    python experiments/compare_losses.py --data sample --weights imagenet

The small model is a head (batch norm, dropout, one linear layer whose bias is the prior log-odds) on the features of
a frozen backbone. The features of all eight views of each chip are computed once, so training takes seconds, and all
chips are scored out of fold, each by a head that has not seen it. A second table takes the probabilities of binary
cross entropy and compares decision rules. """
from planet.cli import UserError, progress, say, script
from planet.options import RUN_OPTIONS, chip_options, delegates, options

def features(chips, store, body, bs, stats):
    "`(chips, 8, features)` float: average and maximum over the frozen body's last map, of each dihedral view."
    import torch
    from fastai.torch_core import TensorImage, default_device
    from planet.callbacks import bf16_gains
    device = default_device()
    mean, std = (torch.tensor(o, device=device)[:, None, None] for o in stats)
    body = body.to(device, memory_format=torch.channels_last).eval()
    parts = []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16_gains(device)):
        batches = range(0, len(chips), bs)
        for i in progress(batches, len(batches), 'features'):
            x = TensorImage(torch.stack([store[p] for p in chips.paths[i:i+bs]])).to(device)
            views = [(x.dihedral(k).as_subclass(torch.Tensor)/255 - mean)/std for k in range(8)]
            views = [v.contiguous(memory_format=torch.channels_last) for v in views]
            maps = [body(v).float() for v in views]
            parts.append(torch.stack([torch.cat([m.amax((2, 3)), m.mean((2, 3))], 1) for m in maps], 1).cpu())
    return torch.cat(parts)

def train(x, y, held, loss_func, epochs, lr, bs):
    "Train a head on all but the `held` chips; probabilities of those, averaged over the eight views."
    import fastai.callback.schedule
    import torch
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    from torch import nn
    from planet.learner import base_rates, softmax_group, start_at_base_rates
    rows = (~held).nonzero().squeeze(1)
    class Views:
        "A training chip in one of its views, drawn anew each time."
        def __len__(self): return len(rows)
        def __getitem__(self, i): return x[rows[i], torch.randint(8, ())], y[rows[i]]
    # for fastai's epochs; the scores below are of all views
    valid = [(x[i, 0], y[i]) for i in held.nonzero().squeeze(1)]
    dls = DataLoaders(DataLoader(Views(), bs=min(bs, len(rows)), shuffle=True, drop_last=True, num_workers=0),
                      DataLoader(valid, bs=2*bs, num_workers=0))
    head = nn.Sequential(nn.BatchNorm1d(x.shape[-1]), nn.Dropout(0.5), nn.Linear(x.shape[-1], y.shape[1]))
    start_at_base_rates(head, base_rates(y[rows]), softmax_group(loss_func))
    learn = Learner(dls, head, loss_func)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)
    with torch.no_grad():
        return torch.stack([loss_func.activation(head.eval()(x[held, k])) for k in range(8)]).mean(0)

@script
@delegates(chip_options, but=[*RUN_OPTIONS, 'skip_bad', 'tta', 'fold', 'split', 'freeze_epochs', 'valid_pct',
                              'workers'])
def main(
    epochs:int=30, # of the head
    folds:int=5, # parts of the chips; each is scored by a head that was trained on the others
    thresh:float=0.2, # a tag is predicted above this probability
    **kwargs,
):
    "Train the same small model with each loss; print F2 of each, and of each decision rule, with 95 % intervals."
    o = options(chip_options(epochs=epochs, folds=folds, **kwargs), thresh=thresh)
    # what follows takes seconds to import, so it comes after the options have been checked
    from time import perf_counter
    import torch
    from fastai.torch_core import default_device, set_seed
    from sklearn.metrics import average_precision_score
    from planet.amazon import WEATHER
    from planet.backbones import find_backbone
    from planet.calibration import kfolds
    from planet.data import load_chips, tags_dls
    from planet.learner import LOSSES, chip_learner, find_loss
    from planet.metrics import best_thresholds, bootstrap_interval, compare_decisions, crossfit_fbeta, fbeta_per_chip
    from planet.provenance import device_facts
    from planet.splits import random_split, with_groups

    set_seed(o.seed, reproducible=True)
    chips, store = load_chips(o.data, o.size, o.skip_bad, o.label_delim, o.bands)
    chips = with_groups(chips, o.groups)
    backbone, split = find_backbone(o.arch, chips.stats, chips.bands), random_split(chips)
    body = chip_learner(tags_dls(chips, store, split, o.bs), backbone, o.weights).model[0]
    stats = backbone.channel_stats(store.pixels.shape[1])
    start = perf_counter()
    x, y = features(chips, store, body, o.bs, stats), torch.tensor(chips.targets).float()
    say(f'features of {len(chips):,} chips in 8 views: {perf_counter()-start:.0f} s',
        f'device: {device_facts(default_device())}, seed {o.seed}', '',
        f"{'loss':<11}{f'F2 at {o.thresh:g}':>24}{'against bce':>28}{'F2, thresholds per tag':>26}"
        f"{'average precision':>26}{'seconds':>9}")
    if not 2 <= o.folds <= len(set(split.group)):
        raise UserError(f'{o.folds} of {len(set(split.group))} distinct chips: 2 at least, and as many chips as folds',
                        option='folds')
    # duplicates and chips of one scene are in one fold, and count together in the intervals
    fold = kfolds(len(chips), o.folds, o.seed, groups=split.group)

    def interval(scores, other=None, sign=''):
        low, high = bootstrap_interval(scores, other, groups=split.group)
        mean = (scores if other is None else scores - other).mean()
        return f'{mean:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]'

    ours = set(WEATHER) <= set(chips.vocab)
    if not ours: say('grouped is left out: it needs the weather tags')
    for name in [name for name in LOSSES if ours or name != 'grouped']:
        set_seed(o.seed, reproducible=True)
        start, probs = perf_counter(), torch.empty_like(y)
        for f in range(o.folds):
            loss = find_loss(name, chips.vocab, o.thresh)
            probs[fold == f] = train(x, y, fold == f, loss, o.epochs, o.lr, o.bs)
        seconds, scores = perf_counter() - start, fbeta_per_chip(probs > o.thresh, y > 0.5)
        if name == 'bce': bce, bce_probs = scores, probs
        tuned = crossfit_fbeta(probs, y, best_thresholds, o.folds, o.seed, groups=split.group).per_chip
        # of each chip's tags in the order of their probabilities, so that it has an interval over chips as the others
        # have
        precision = torch.tensor([average_precision_score(t, p) for t, p in zip(y.numpy(), probs.numpy()) if t.any()])
        against = '' if name == 'bce' else interval(scores, bce, '+')
        say(f'{name:<11}{interval(scores):>24}{against:>28}{interval(tuned):>26}{interval(precision):>26}'
            f'{seconds:>9.1f}')

    exclusive = WEATHER if ours else None
    rules = compare_decisions(bce_probs, y, chips.vocab, exclusive, o.thresh, folds=o.folds, seed=o.seed,
                              groups=split.group)
    say('', rules.to_string(float_format='%.4f'))
