"""Techniques that courses recommend, each tried once on one split: F2, and its paired difference to the plain recipe.

    python experiments/bench/techniques.py --data sample --weights imagenet

Ten short trainings of the same chips, split, seed and number of epochs. One run each, so a difference whose interval
contains 0 says nothing, and another seed may turn it around. `nbs/12_planet.ipynb` has the table of one H200 (53 s).
"""
from planet.cli import say, script
from planet.options import RECIPE_OPTIONS, RUN_OPTIONS, chip_options, delegates, options

def techniques(o):
    "Name -> what is other than in the plain recipe: for the learner, for fine-tuning, and the size of frozen epochs."
    from functools import partial
    from fastai.callback.mixup import MixUp
    from fastai.optimizer import SGD
    return {'plain': {}, 'weight decay 0.3, not 0.01': dict(fit=dict(wd=.3)),
            'dropout 0.8, not 0.5': dict(learner=dict(ps=.8)),
            'MixUp 0.4': dict(cbs=[MixUp(.4)]), f'progressive: {o.size//2} px, then {o.size}': dict(first=o.size//2),
            'one rate for all layers': dict(fit=dict(lr_mult=1)), 'never frozen': dict(never_frozen=True),
            'rate x 10': dict(lr=10*o.lr), 'rate / 10': dict(lr=o.lr/10),
            'SGD with momentum, not Adam': dict(learner=dict(opt_func=partial(SGD, mom=.9)))}

def trained(chips, split, o, first=None, learner=None, fit=None, cbs=(), lr=None, never_frozen=False):
    "A learner, trained by the plain recipe with one thing changed."
    from planet.backbones import find_backbone
    from planet.callbacks import History
    from planet.data import tags_dls
    from planet.images import ChipStore
    from planet.learner import chip_learner, find_loss, normalise
    dls = tags_dls(chips, ChipStore(chips.paths, o.size), split, o.bs, o.workers)
    loss = find_loss('bce', chips.vocab, o.thresh)
    learn = chip_learner(dls, o.arch, o.weights, loss, tta=o.tta, **learner or {}).remove_cb(History)
    lr, fit = lr or o.lr, dict(lr_mult=100) | (fit or {})
    mult, wd = fit['lr_mult'], fit.get('wd')
    with learn.no_bar(), learn.no_logging(), learn.added_cbs(list(cbs)):
        if not never_frozen:
            if first:
                learn.dls = tags_dls(chips, ChipStore(chips.paths, first), split, o.bs, o.workers)
                normalise(learn.dls, find_backbone(o.arch).channel_stats(3))
            learn.freeze()
            learn.fit_one_cycle(o.freeze_epochs, slice(lr), pct_start=.99, wd=wd)
            learn.dls, lr = dls, lr/2 # as fastai's `fine_tune` does
        learn.unfreeze()
        epochs = o.epochs + o.freeze_epochs*never_frozen
        learn.fit_one_cycle(epochs, slice(lr/mult, lr) if mult > 1 else lr, pct_start=.3, div=5., wd=wd)
    return learn

@script
@delegates(chip_options, but=[*RUN_OPTIONS, *RECIPE_OPTIONS, 'skip_bad', 'folds', 'fold', 'split', 'groups', 'bands',
                              'label_delim'])
def main(
    thresh:float=0.2, # a tag is predicted above this probability
    **kwargs,
):
    "Train once with each technique on one split; print F2 and its paired difference to the plain recipe."
    o = options(chip_options(**kwargs), thresh=thresh)
    # what follows takes seconds to import, so it comes after the options have been checked
    from fastai.torch_core import default_device, set_seed
    from planet.metrics import bootstrap_interval
    from planet.provenance import device_facts
    from planet.results import AboveThreshold, evaluate
    from planet.sources import find_chips
    from planet.splits import random_split
    chips = find_chips(o.data)
    split, plain = random_split(chips, o.valid_pct, o.seed), None
    epochs = f'{o.freeze_epochs} + {o.epochs} epochs'
    say(f'device: {device_facts(default_device())}, seed {o.seed}, {o.size} px, {epochs}', '',
        f"{'technique':<30}{f'F2 at {o.thresh:g}':>12}{'difference, 95 % interval':>34}")
    for name, change in techniques(o).items():
        set_seed(o.seed, reproducible=True)
        learn = trained(chips, split, o, **change)
        with learn.no_bar(): f2 = evaluate(learn, rule=AboveThreshold(o.thresh)).f2_per_chip
        if plain is None: plain, shown = f2, ''
        else:
            low, high = bootstrap_interval(f2, plain)
            shown = f'{(f2 - plain).mean():+.4f} [{low:+.3f}, {high:+.3f}]'
        say(f'{name:<30}{f2.mean():>12.4f}{shown:>34}')
