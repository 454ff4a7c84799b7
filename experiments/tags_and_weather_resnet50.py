"""Two targets on one model, the weather as one class and all other tags beside it, compared with plain multi-label.

    python experiments/tags_and_weather_resnet50.py --data sample --weights imagenet

Two models on the same chips, with the same split, recipe and seed. In the first every tag is a binary target of its
own, under binary cross entropy. The second has a `CategoryBlock` and a `MultiCategoryBlock` for targets and their two
losses summed, and always predicts exactly one weather. Differences are paired by chip, with 95 % bootstrap intervals.

On 200 real validation chips (two cores of a shared Xeon, 188 s, seed 42) the difference is not significant: F2
0.876 [0.846, 0.905] with two targets and 0.891 [0.869, 0.913] without, each as it predicts, a difference of
-0.015 [-0.033, +0.002]; by one rule for both, +0.001 [-0.007, +0.008]. Predicting exactly one weather costs F2, which
rewards two where their probabilities are close. The probabilities are better with two targets (2.07 nats a chip against
2.44); what the tag set of highest expected F2 gains from that is within noise: +0.002 [-0.009, +0.014].
"""
from planet.cli import say, script
from planet.options import RECIPE_OPTIONS, chip_options, delegates, options

@script
# of one model's training
@delegates(chip_options, but=['resume', 'patience', 'track', 'wandb', 'wandb_mode', *RECIPE_OPTIONS])
def main(
    thresh:float=0.2, # a tag is predicted above this probability
    **kwargs,
):
    "Train a tagger with two targets, weather and other tags, beside a multi-label one; compare both on the same chips."
    o = options(chip_options(**kwargs), thresh=thresh)
    # what follows takes seconds to import, so it comes after the options have been checked
    from fastai.data.block import CategoryBlock, MultiCategoryBlock
    from fastai.torch_core import set_seed
    from planet import plots
    from planet.backbones import find_backbone
    from planet.course.multitask import TwoTargetLoss, compare_models, split_vocab, tags_lines, verdict
    from planet.data import chip_dls, load_chips, only_of
    from planet.learner import chip_learner, find_loss, fine_tune
    from planet.runs import Run
    from planet.splits import split_chips, with_groups

    with Run('tags_and_weather_resnet50', o) as run:
        find_backbone(o.arch).check_size(o.size) # before chips are decoded
        whole, store = load_chips(o.data, o.size, o.skip_bad, o.label_delim, o.bands)
        whole = with_groups(whole, o.groups)
        chips, weather = only_of(whole) # those without exactly one weather are left out, and recorded
        exclusive, rest = split_vocab(chips)
        split = split_chips(chips, o.valid_pct, o.seed, o.folds, o.fold, o.out, o.split, whole)
        left_out = sorted({*whole.table.image_name} - {*chips.table.image_name})
        def train(name, targets, loss_func, metrics=None):
            say('', f'{name}:')
            set_seed(o.seed, reproducible=True) # the same head, order and views of the chips for both
            dls = chip_dls(chips, store, targets, split, o.bs, o.workers)
            backbone = find_backbone(o.arch, chips.stats, chips.bands)
            learn = chip_learner(dls, backbone, o.weights, loss_func, metrics, tta=o.tta, n_out=len(chips.vocab))
            run.begin(learn, chips, split, without_one_weather=left_out)
            return learn, fine_tune(learn, o.epochs, o.lr, o.freeze_epochs)

        every_tag = MultiCategoryBlock(vocab=chips.vocab), chips.table.tags
        multi, history_multi = train('multi-label', [every_tag], find_loss('bce', chips.vocab, thresh))
        run.table('history_multi_label', history_multi, index=False)
        one_weather = CategoryBlock(vocab=exclusive), weather
        other_tags = MultiCategoryBlock(vocab=rest), [[t for t in tags if t in rest] for tags in chips.table.tags]
        loss = TwoTargetLoss(len(exclusive), thresh)
        two, history = train('two targets', [one_weather, other_tags], loss, [loss.f2, loss.accuracy])
        found, tags, result = compare_models(two, multi, exclusive, thresh, chips.table.image_name[split.valid])

        run.table('validation', result.probabilities)
        run.table('tags', tags)
        run.table('history', history, index=False)
        run.update(scores=found.scores, rule=result.rule.facts())
        run.learner(two)
        run.figure('losses', plots.loss_curves, history)
        for name, draw, *args in result.figures(multi.dls): run.figure(name, draw, *args)
        say('', tags_lines(tags), '', found, '', verdict(found), '', run.path)
