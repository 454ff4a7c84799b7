"""The weather as one class and all other tags beside it: two targets of one ResNet-50, and whether that pays.

    python experiments/tags_and_weather_resnet50.py --data ../shared/planet_sample --weights ../shared/weights/resnet50_imagenet_fp16.safetensors

Two models on the same chips, with the same split, recipe and seed. In the first every tag is a question of its own, under
binary cross entropy. The second has a `CategoryBlock` and a `MultiCategoryBlock` for targets and their two losses summed,
and always answers exactly one weather. Differences are taken chip by chip, with 95 % bootstrap intervals.

On 200 held-out real chips (two cores of a shared Xeon, 575 s, seed 42) neither is better beyond the noise: F2 0.877
[0.852, 0.901] with two targets and 0.888 [0.867, 0.908] without, each as it predicts, a difference of -0.011 [-0.027,
+0.004]; by one rule for both, +0.004 [-0.005, +0.013]. Naming exactly one weather costs F2, which pays for naming two where
they are close. The probabilities are better with two targets (1.99 nats a chip against 2.36), and the best expected set
gains from that: +0.006 [+0.000, +0.012].
"""
from functools import partial
from planet.cli import say, script
from planet.options import check_options

@script
def main(
    data:str='auto', # chips: auto, synthetic, sample, or a folder with a label table and images
    weights:str='auto', # where the backbone starts: auto, imagenet, none, or a .safetensors or .pth file
    arch:str='resnet50', # backbone, of torchvision or timm
    size:int=128, # height and width of a chip, in pixels
    bs:int=64, # chips in a batch
    epochs:int=3, # epochs with all layers
    freeze_epochs:int=4, # epochs with the head alone, before
    lr:float=3e-3, # base learning rate
    thresh:float=0.2, # a tag is predicted above this probability
    tta:bool=True, # predict from the mean of a chip's eight views; --no-tta: from one
    valid_pct:float=0.2, # share of the chips that is held out, without --folds
    folds:int=0, # cut the chips into so many stratified folds, kept in OUT/folds; 0: a random split
    fold:int=0, # the fold that is held out
    seed:int=42, # of the split, the heads and the order of chips
    workers:int=0, # processes that load batches
    skip_bad:bool=False, # leave out chips that cannot be read, and record which
    out:str='runs', # where the record goes
):
    "Train a tagger with two targets, the weather and the other tags, beside a plain multi-label one; score both on the same chips."
    options = dict(locals())
    check_options(options)
    # what follows takes seconds to import, so it comes after the options have been looked at
    from fastai.data.block import CategoryBlock, MultiCategoryBlock
    from fastai.torch_core import set_seed
    from planet import plots
    from planet.course import multitask as two_targets
    from planet.data import chip_dls, held_out_table, load_chips, only_of, split_facts, split_rows
    from planet.learner import TwoTargetLoss, chip_learner, f2, find_loss, fine_tune, held_out
    from planet.runs import Run

    with Run('tags_and_weather_resnet50', options, out) as run:
        whole, store = load_chips(data, size, skip_bad)
        chips, weather = only_of(whole) # those without exactly one weather are left out, and recorded
        sky, rest = two_targets.sky_and_rest(chips)
        split = split_rows(chips, valid_pct, seed, folds, fold, out, whole)
        def train(name, targets, loss_func, metrics):
            say('', f'{name}:')
            set_seed(seed, reproducible=True) # the same head, order and views of the chips for both
            dls = chip_dls(chips, store, targets, split, bs, workers)
            learn = chip_learner(dls, arch, weights, loss_func, metrics, tta=tta, n_out=len(chips.vocab))
            return learn, fine_tune(learn, epochs, lr, freeze_epochs)

        every_tag = MultiCategoryBlock(vocab=chips.vocab), chips.table.tags
        multi, history_multi = train('multi-label', [every_tag], find_loss('bce', chips.vocab, thresh), [partial(f2, thresh=thresh)])
        one_weather = CategoryBlock(vocab=sky), weather
        other_tags = MultiCategoryBlock(vocab=rest), [[t for t in tags if t in rest] for tags in chips.table.tags]
        loss = TwoTargetLoss(len(sky), thresh)
        two, history = train('two targets', [one_weather, other_tags], loss, [loss.f2, loss.accuracy])
        found, tags, probs, pred, targs = two_targets.compare_models(two, multi, sky, thresh)
        say('', found, '', two_targets.tags_lines(tags), '')

        run.table('history', history, index=False)
        run.table('history_multi_label', history_multi, index=False)
        run.table('tags', tags)
        run.table('held_out', held_out_table(chips, multi.dls, probs), index=False)
        run.figure('losses', plots.loss_curves(history))
        run.figure('predictions', plots.predictions_sheet(*held_out(multi, pred.float(), targs, 0.5)))
        run.learner(two)
        left_out = sorted({*whole.table.image_name} - {*chips.table.image_name})
        run.record(chips.facts(two.dls) | split_facts(whole, seed, folds, out) | dict(without_one_weather=left_out),
                   two.dls.device, found.scores, weights_used=two.weights)
    say(run.path)
