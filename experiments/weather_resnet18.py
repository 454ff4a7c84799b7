"""Classify the weather of a satellite chip: the single-label twin of the main experiment, on the same chips.

    python experiments/weather_resnet18.py
    python experiments/weather_resnet18.py --data sample --arch resnet50 --weights imagenet
    python experiments/weather_resnet18.py --data eurosat

The second, on 1,000 real chips, seed 42, had accuracy 0.875 [0.828, 0.922] on 200 validation chips, where always
answering "clear" has 0.660 (two cores of a shared Xeon with AMX, 105 s). The third, after `planet-data get eurosat`,
classifies chips of any set that have one tag each and no weather.
"""
from planet.cli import say, script
from planet.options import chip_options, delegates, options

@script
@delegates(chip_options)
def main(
    arch:str='resnet18', # backbone, of torchvision or timm
    **kwargs,
):
    "Fine-tune a ResNet to classify the weather of chips: exactly one of clear, partly_cloudy, haze and cloudy."
    o = options(chip_options(arch=arch, **kwargs), recipes=True)
    # what follows takes seconds to import, so it comes after the options have been checked
    from fastai.metrics import accuracy
    from fastai.torch_core import set_seed
    from planet import plots
    from planet.backbones import find_backbone
    from planet.data import load_chips, weather_chips, weather_dls
    from planet.learner import chip_learner
    from planet.recipes import check_recipe, train
    from planet.results import evaluate
    from planet.runs import Run
    from planet.splits import split_chips, with_groups
    from planet.threads import choose_threads
    from planet.tracking import Tracking

    with Run('weather_resnet18', o) as run, Tracking(o, run) as tracking:
        set_seed(o.seed, reproducible=True)
        check_recipe(o) # before chips are decoded
        whole, store = load_chips(o.data, o.size, o.skip_bad, o.label_delim, o.bands)
        whole = with_groups(whole, o.groups)
        chips = weather_chips(whole) # those without exactly one weather are left out
        split = split_chips(chips, o.valid_pct, o.seed, o.folds, o.fold, o.out, o.split, whole)
        dls = weather_dls(chips, store, split, o.bs, o.workers)
        backbone = find_backbone(o.arch, chips.stats, chips.bands) # statistics of its weights, or of the chips' bands
        learn = chip_learner(dls, backbone, o.weights, metrics=[accuracy], single=True, tta=o.tta,
                             precision=o.precision)
        choose_threads(learn, o.threads or run.threads)
        left_out = sorted({*whole.table.image_name} - {*chips.table.image_name})
        run.begin(learn, chips, split, store, without_one_weather=left_out)
        run.figure('batch', plots.batch_grid, dls)
        history, logits = train(learn, o, store, run.checkpoints, tracking)
        result = evaluate(learn, chips, split, logits=logits)
        grouped = run.finish(learn, result, history)
        say('', result.report(), *grouped, '', run.path)
