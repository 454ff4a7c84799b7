"""Cross-validate a multi-label tagger of satellite chips: every chip is scored by a model that has not seen it.

    python experiments/planet_kfold.py --data sample --weights imagenet
    python experiments/planet_kfold.py --data sample --weights imagenet --stock
    python experiments/planet_kfold.py --resume last --data sample --weights imagenet

The second trains stock fastai on the same folds, to compare with. The third goes on with a run that was cut, at the
first fold that is not done. The run has the out-of-fold probabilities of all chips, and one model folder that averages
the models of the folds. `planet-runs stack` and `planet-runs labels` go on from there.

F2 of the 1,000 real chips, out of fold, at 0.2, ResNet-50, seed 42, two CPU cores (95 % intervals over chips):
`--recipe frozen` 0.8911 [0.881, 0.901] in 43 s; with neighbouring chips in one fold (`--groups`) 0.8936, a difference
of +0.0025 [-0.002, +0.007]: no effect of the 12 pairs of neighbours among these chips is seen. `--recipe frozen --size
256 --views 8` 0.9022 [0.893, 0.911] in less than 6 minutes; `--recipe frozen --head kernel --size 256 --views 4` 0.9039
[0.895, 0.913] in 162 s; a stack of the last two 0.9079 [0.899, 0.917], +0.0056 [+0.002, +0.009] over the first of them.
"""
from planet.cli import UserError, say, script
from planet.options import check_unused, chip_options, delegates, options

@script
@delegates(chip_options, but=['fold', 'valid_pct', 'track', 'wandb', 'wandb_mode', 'pickle'])
def main(
    folds:int=5, # stratified folds, kept in OUT/folds; duplicates and groups of chips stay together
    split:str='auto', # auto: groups of chips stay together; ungrouped: folds as if there were no groups, to compare
    stock:bool=False, # train stock fastai instead, to compare with: its own recipe in fp32, with epochs and lr as given
    head:str='linear', # of recipe frozen: linear; or kernel, a ridge regression in closed form, without a model folder
    loss:str='bce', # bce, smoothed, focal, asymmetric, fbeta, or grouped (softmax over the weather)
    loss_args:str='', # parameters of the loss, such as gamma=1.5
    thresh:float=0.2, # a tag is predicted above this probability
    decide:str='thresh', # decision rule: thresh; tuned, a threshold per tag; or expected, the best expected F2
    calibrate:bool=False, # calibrate the probabilities of each tag, each chip's by the other folds' chips
    **kwargs,
):
    "Train a model a fold, score all chips out of fold, and write one model folder that averages the folds."
    o = options(chip_options(folds=folds, split=split, **kwargs), recipes=True, stock=stock, head=head, loss=loss,
                loss_args=loss_args, thresh=thresh, decide=decide, calibrate=calibrate)
    if o.head not in ('linear', 'kernel'): raise UserError(f'{o.head} is unknown: linear or kernel', option='head')
    if not o.folds: raise UserError('0 leaves nothing to cross-validate: 2 or more', option='folds')
    if o.stock and '+' in o.arch: raise UserError(f'{o.arch}: stock fastai has one network, name one', option='arch')
    if o.stock: unused, why = 'head recipe loss loss_args mixup light precision bands', 'with `stock`: leave it out'
    elif o.head == 'kernel':
        if o.recipe != 'frozen': raise UserError('kernel is a head on frozen features: add `recipe` frozen', 'head')
        unused, why = 'loss loss_args', 'in a kernel ridge regression: leave it out'
    else: unused = why = ''
    check_unused(o, dict.fromkeys(unused.split(), why), head='linear', loss='bce', loss_args='')
    # what follows takes seconds to import, so it comes after the options have been checked
    from functools import cache
    from time import perf_counter
    from fastai.torch_core import set_seed
    from planet.backbones import find_backbone
    from planet.callbacks import History
    from planet.crossval import Folds, finish_folds
    from planet.data import load_chips, tags_dls
    from planet.kernel_ridge import train_kernel
    from planet.learner import chip_learner, find_loss, fine_tune
    from planet.recipes import check_recipe, train
    from planet.runs import Run
    from planet.splits import split_chips, with_groups
    from planet.stock import stock_learner
    from planet.threads import choose_threads

    with Run('planet_kfold', o) as run:
        check_recipe(o) # before chips are decoded
        chips, store = load_chips(o.data, o.size, o.skip_bad, o.label_delim, o.bands)
        chips, loss_func = with_groups(chips, o.groups), find_loss(o.loss, chips.vocab, o.thresh, o.loss_args)
        tell = cache(say) # what is to know of all folds is said once
        splits = [split_chips(chips, seed=o.seed, folds=o.folds, fold=k, out=o.out, split=o.split, tell=tell)
                  for k in range(o.folds)]
        done = Folds(run, chips, store, splits)
        for k in done.left():
            set_seed(o.seed, reproducible=True) # a fold is the same whether others were trained before it or not
            start = perf_counter()
            if o.stock:
                learn = stock_learner(chips, splits[k], o.size, o.bs, o.workers, o.arch, o.weights).add_cb(History())
                fine_tune(learn, o.epochs, o.lr, o.freeze_epochs, done.begin(learn, k))
                logits = None
            else:
                dls = tags_dls(chips, store, splits[k], o.bs, o.workers)
                backbone = find_backbone(o.arch, chips.stats, chips.bands)
                learn = chip_learner(dls, backbone, o.weights, loss_func, tta=o.tta, precision=o.precision)
                o.threads = choose_threads(learn, o.threads or run.threads) # once for all folds
                checkpoints = done.begin(learn, k)
                if o.head == 'kernel': logits = train_kernel(learn, o, store)
                else: _, logits = train(learn, o, store, checkpoints)
            why = 'kernel ridge regression is no network' if o.head == 'kernel' else ''
            done.finish(learn, k, perf_counter() - start, o.thresh, logits, why)
        result, grouped = finish_folds(done, o, loss_func)
        say('', result.report(), *grouped, '', run.path)
