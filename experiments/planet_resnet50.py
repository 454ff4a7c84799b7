"""Fine-tune a ResNet-50 as a multi-label tagger of satellite chips, and score it on a validation set.

    python experiments/planet_resnet50.py --thresh 0.2
    python experiments/planet_resnet50.py --thresh 0.2 --data sample --weights imagenet
    python experiments/planet_resnet50.py --thresh 0.2 --data sample --weights imagenet --recipe frozen

The second, on 1,000 real chips, reached F2 0.900 (best constant answer 0.668) in 106 s on two cores of a Xeon with AMX,
seed 42; the third, a head on features computed once, F2 0.8988 in 28 s. The README has more figures.
"""
from planet.cli import say, script
from planet.options import chip_options, delegates, options

@script
@delegates(chip_options)
def main(
    loss:str='bce', # bce, smoothed, focal, asymmetric, fbeta, or grouped (softmax over the weather)
    loss_args:str='', # parameters of the loss, such as gamma=1.5
    thresh:float=0.2, # a tag is predicted above this probability
    decide:str='thresh', # decision rule: thresh; tuned, a threshold a tag; or expected, the set of highest expected F2
    **kwargs,
):
    "Fine-tune a ResNet into a multi-label tagger of satellite chips, score it on validation chips and record the run."
    o = options(chip_options(**kwargs), recipes=True, progressive=True, loss=loss, loss_args=loss_args, thresh=thresh,
                decide=decide)
    from planet.loading import begin_loading
    loading = begin_loading(o.data, o.size, o.skip_bad, o.label_delim, o.bands) # while torch is imported
    # what follows takes seconds to import, so it comes after the options have been checked
    from fastai.torch_core import set_seed
    from planet import plots
    from planet.backbones import find_backbone
    from planet.data import tags_dls
    from planet.distributed import data_parallel, processes
    from planet.learner import chip_learner, find_loss
    from planet.recipes import check_recipe, train
    from planet.results import decided, evaluate
    from planet.runs import Run
    from planet.splits import split_chips, with_groups
    from planet.threads import choose_threads
    from planet.tracking import Tracking

    with processes(o), Run('planet_resnet50', o) as run, Tracking(o, run) as tracking:
        set_seed(o.seed, reproducible=True)
        check_recipe(o)
        chips, store = loading.result()
        chips = with_groups(chips, o.groups)
        split = split_chips(chips, o.valid_pct, o.seed, o.folds, o.fold, o.out, o.split)
        dls = tags_dls(chips, store, split, o.bs, o.workers)
        backbone = find_backbone(o.arch, chips.stats, chips.bands) # statistics of its weights, or of the chips' bands
        loss_func = find_loss(o.loss, chips.vocab, o.thresh, o.loss_args)
        learn = chip_learner(dls, backbone, o.weights, loss_func, tta=o.tta, precision=o.precision)
        choose_threads(learn, o.threads or run.threads)
        run.begin(learn, chips, split, store)
        run.figure('batch', plots.batch_grid, dls)
        with data_parallel(learn) as first: # the one of several processes that goes on
            history, logits = train(learn, o, store, run.checkpoints, tracking)
        if not first: return
        result = decided(evaluate(learn, chips, split, logits=logits), o.decide)
        grouped = run.finish(learn, result, history)
        say('', result.report(), *grouped, '', run.path)
