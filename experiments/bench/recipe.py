"""Benchmark our recipe against stock fastai: the same chips, split, backbone, weights, flips, batch size and epochs,
in one run.

    python experiments/bench/recipe.py --data sample --weights imagenet

Stock is `ImageBlock`, `vision_learner` and `fine_tune` as the course writes them, in fp32. Ours decodes chips once,
initialises the head's bias to the prior log-odds, uses bf16 and channels-last where the device gains from them, and
predicts with test-time augmentation over a chip's eight dihedral views. Seconds run from the label table to the
validation probabilities.
"""
from time import perf_counter
from planet.cli import say, script
from planet.options import RECIPE_OPTIONS, RUN_OPTIONS, chip_options, delegates, options

def stock(chips, split, o):
    "Stock fastai, trained."
    from planet.stock import stock_learner
    learn = stock_learner(chips, split, o.size, o.bs, o.workers, o.arch, o.weights)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(o.epochs, base_lr=o.lr, freeze_epochs=o.freeze_epochs)
    return learn

def ours(chips, split, o):
    "The main experiment's recipe, trained."
    from planet.callbacks import History
    from planet.data import tags_dls
    from planet.learner import chip_learner, find_loss
    from planet.store import ChipStore
    dls = tags_dls(chips, ChipStore(chips.paths, o.size), split, o.bs, o.workers)
    learn = chip_learner(dls, o.arch, o.weights, find_loss('bce', chips.vocab, o.thresh)).remove_cb(History)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(o.epochs, base_lr=o.lr, freeze_epochs=o.freeze_epochs)
    return learn

@script
@delegates(chip_options, but=[*RUN_OPTIONS, *RECIPE_OPTIONS, 'skip_bad', 'tta', 'folds', 'fold', 'split',
                              'groups', 'bands', 'label_delim'])
def main(
    weights:str='imagenet', # where both backbones start: imagenet, none, or a .safetensors or .pth file
    thresh:float=0.2, # a tag is predicted above this probability
    **kwargs,
):
    "Train stock fastai's recipe and ours on one split; print both scores, both times and their ratio."
    o = options(chip_options(weights=weights, **kwargs), thresh=thresh)
    # what follows takes seconds to import, so it comes after the options have been checked
    from fastai.torch_core import default_device, set_seed
    from planet.metrics import best_threshold, crossfit_fbeta
    from planet.provenance import device_facts
    from planet.results import AboveThreshold, evaluate
    from planet.sources import find_chips
    from planet.splits import random_split

    chips = find_chips(o.data)
    split, rule = random_split(chips, o.valid_pct, o.seed), AboveThreshold(o.thresh)
    say(f'device: {device_facts(default_device())}, seed {o.seed}', '',
        f"{'recipe':<16}{f'F2 at {rule}':>12}{'one threshold, cross-fitted':>29}{'seconds':>10}")

    def row(name, result, seconds=None):
        tuned = crossfit_fbeta(result.probs, result.targs, best_threshold).score # on other chips than it is scored on
        shown = '' if seconds is None else f'{seconds:.1f}'
        say(f"{name:<16}{result.f2_per_chip.mean():>12.4f}{tuned:>29.4f}{shown:>10}")

    seconds = {}
    for recipe in (stock, ours):
        set_seed(o.seed, reproducible=True)
        start = perf_counter()
        learn = recipe(chips, split, o)
        with learn.no_bar(): result = evaluate(learn, rule=rule)
        seconds[recipe] = perf_counter() - start
        row(recipe.__name__, result, seconds[recipe])
    with learn.no_bar(), learn.removed_cbs(learn.dihedral_views): row('ours, one view', evaluate(learn, rule=rule))
    say('', f'ours takes 1/{seconds[stock]/seconds[ours]:.2f} of the time of stock')
