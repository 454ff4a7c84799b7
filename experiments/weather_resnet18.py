"""Tell the weather of a satellite chip: the single-label twin of the main experiment, on the same chips.

    python experiments/weather_resnet18.py

With --arch resnet50 and ImageNet weights, on 1,000 real chips, seed 42: accuracy 0.900 of 200 held out, where always
answering "clear" has 0.660 (from one view of a chip, --no-tta, it was 0.860).
"""
from planet.cli import say, script
from planet.options import check_options

@script
def main(
    data:str='auto', # chips: auto, synthetic, sample, or a folder with a label table and images
    weights:str='auto', # where the backbone starts: auto, imagenet, none, or a .safetensors or .pth file
    arch:str='resnet18', # backbone, of torchvision or timm
    size:int=128, # height and width of a chip, in pixels
    bs:int=64, # chips in a batch
    epochs:int=3, # epochs with all layers
    freeze_epochs:int=4, # epochs with the head alone, before
    lr:float=3e-3, # base learning rate
    tta:bool=True, # predict from the mean of a chip's eight views; --no-tta: from one
    valid_pct:float=0.2, # share of the chips that is held out, without --folds
    folds:int=0, # cut the chips into so many stratified folds, kept in OUT/folds; 0: a random split
    fold:int=0, # the fold that is held out
    seed:int=42, # of the split, the head and the order of chips
    workers:int=0, # processes that load batches
    skip_bad:bool=False, # leave out chips that cannot be read, and record which
    out:str='runs', # where the record goes
):
    "Fine-tune a ResNet to tell the weather of satellite chips: exactly one of clear, partly_cloudy, haze and cloudy."
    options = dict(locals())
    check_options(options)
    # what follows takes seconds to import, so it comes after the options have been looked at
    from fastai.metrics import accuracy
    from fastai.torch_core import set_seed
    from planet import plots
    from planet.data import load_chips, only_of, split_facts, weather_dls
    from planet.learner import chip_learner, fine_tune, score_classes
    from planet.runs import Run, classes_report

    with Run('weather_resnet18', options, out) as run:
        set_seed(seed, reproducible=True)
        chips, store = load_chips(data, size, skip_bad)
        dls = weather_dls(chips, store, valid_pct, seed, bs, workers, folds, fold, out)
        learn = chip_learner(dls, arch, weights, metrics=[accuracy], single=True, tta=tta)
        run.figure('batch', plots.batch_grid(dls))
        history = fine_tune(learn, epochs, lr, freeze_epochs)
        scores, classes = score_classes(learn)
        say('', classes_report(scores, classes, len(dls.valid_ds)), '')

        run.table('history', history, index=False)
        run.table('classes', classes)
        run.figure('losses', plots.loss_curves(history))
        run.learner(learn)
        facts = only_of(chips)[0].facts(dls) | split_facts(chips, seed, folds, out)
        run.record(facts, dls.device, scores, weights_used=learn.weights)
    say(run.path)
