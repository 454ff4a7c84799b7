"""Our recipe beside stock fastai's: the same chips, split, backbone, weights, flips, batch size and epochs, in one run.

    python experiments/bench/recipe.py --data ../shared/planet_sample --weights ../shared/weights/resnet50_imagenet_fp16.safetensors

Stock is `ImageBlock`, `vision_learner` and `fine_tune` as the course writes them, in fp32. Ours decodes chips once,
starts the head at the base rates, uses bf16 and channels-last where the device gains from them, and answers with the mean
of a chip's eight views. Seconds run from the label table to the held-out probabilities.
"""
from time import perf_counter
from planet.cli import say, script
from planet.options import check_options

def stock(chips, arch, state, weights, size, bs, epochs, freeze_epochs, lr, thresh, valid_pct, seed, workers):
    "Stock fastai, trained."
    from fastai.vision.all import (DataBlock, DihedralItem, ImageBlock, MultiCategoryBlock, Normalize, RandomSplitter,
                                   Resize, imagenet_stats, vision_learner)
    from planet.data import LabelOf
    from planet.learner import load_body
    block = DataBlock((ImageBlock, MultiCategoryBlock(vocab=chips.vocab)), get_y=LabelOf(chips.paths, chips.table.tags),
                      splitter=RandomSplitter(valid_pct, seed=seed), item_tfms=[Resize(size), DihedralItem()],
                      batch_tfms=Normalize.from_stats(*imagenet_stats))
    dls = block.dataloaders(chips.paths, bs=bs, num_workers=workers)
    learn = vision_learner(dls, arch, pretrained=state is None and weights != 'none')
    if state is not None: load_body(learn, arch, state, weights)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(epochs, base_lr=lr, freeze_epochs=freeze_epochs)
    return learn

def ours(chips, arch, state, weights, size, bs, epochs, freeze_epochs, lr, thresh, valid_pct, seed, workers):
    "The main experiment's recipe, trained."
    from planet.data import tags_dls
    from planet.learner import History, chip_learner
    from planet.losses import BinaryCrossEntropyLoss
    from planet.images import ChipStore
    dls = tags_dls(chips, ChipStore(chips.paths, size), valid_pct, seed, bs, workers)
    learn = chip_learner(dls, arch.__name__, weights, BinaryCrossEntropyLoss(thresh=thresh)).remove_cb(History)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(epochs, base_lr=lr, freeze_epochs=freeze_epochs)
    return learn

@script
def main(
    data:str='auto', # chips: auto, synthetic, sample, or a folder with a label table and images
    weights:str='imagenet', # where both backbones start: imagenet, none, or a .safetensors or .pth file
    arch:str='resnet50', # backbone, of torchvision
    size:int=128, # height and width of a chip, in pixels
    bs:int=64, # chips in a batch
    epochs:int=3, # epochs with all layers
    freeze_epochs:int=4, # epochs with the head alone, before
    lr:float=3e-3, # base learning rate
    thresh:float=0.2, # a tag is predicted above this probability
    valid_pct:float=0.2, # share of the chips that is held out
    seed:int=42, # of the split, the head and the order of chips
    workers:int=0, # processes that load batches
):
    "Train stock fastai's recipe and ours on one split; print both scores, both times and their ratio."
    options = dict(locals())
    check_options(options)
    from fastai.torch_core import default_device, set_seed
    from planet.learner import find_arch, read_weights
    from planet.metrics import best_threshold, crossfit_fbeta, fbeta
    from planet.runs import device_facts
    from planet.sources import find_chips

    chips = find_chips(data)
    state = None if weights in ('imagenet', 'none') else read_weights(weights)
    options |= dict(chips=chips, arch=find_arch(arch), state=state)
    del options['data']
    say(f"device: {device_facts(default_device())}, seed {seed}", '',
        f"{'recipe':<16}{f'F2 at {thresh:g}':>12}{'F2, one threshold tuned':>26}{'seconds':>10}")

    def row(name, probs, targs, seconds=None):
        tuned = crossfit_fbeta(probs, targs, best_threshold).score # on other held-out chips than it is scored on
        say(f"{name:<16}{fbeta(probs, targs, thresh, sigmoid=False):>12.4f}{tuned:>26.4f}{'' if seconds is None else f'{seconds:.1f}':>10}")

    seconds = {}
    for recipe in (stock, ours):
        set_seed(seed, reproducible=True)
        start = perf_counter()
        learn = recipe(**options)
        with learn.no_bar(): predictions = learn.get_preds()
        seconds[recipe] = perf_counter() - start
        row(recipe.__name__, *predictions, seconds[recipe])
    with learn.no_bar(), learn.removed_cbs(learn.dihedral_views): row('ours, one view', *learn.get_preds())
    say('', f'ours takes 1/{seconds[stock]/seconds[ours]:.2f} of the time of stock')
