"""The weather as one class and all other tags beside it: two targets of one ResNet-50, and whether that pays.

    python experiments/tags_and_weather_resnet50.py --data ../shared/planet_sample --weights ../shared/weights/resnet50_imagenet_fp16.safetensors

Two models on the same chips, with the same split, recipe and seed. In the first every tag is a question of its own, under
binary cross entropy. The second has a `CategoryBlock` and a `MultiCategoryBlock` for targets and their two losses summed,
and always answers exactly one weather. Differences are taken chip by chip, with 95 % bootstrap intervals.

RESULT_LINE
"""
from functools import partial
from planet.cli import UserError, check_options, say, script

def dataloaders(chips, store, targets, split, bs, workers):
    "Batches of chips with one target or several: `targets` are pairs of a block and the labels of all chips."
    from fastai.data.block import DataBlock
    from fastai.vision.augment import DihedralItem
    from planet.data import ChipBlock, LabelOf
    block = DataBlock(blocks=(ChipBlock(store), *[block for block, _ in targets]), n_inp=1, get_y=[LabelOf(chips.paths, o) for _, o in targets],
                      splitter=lambda paths: split, item_tfms=DihedralItem())
    return block.dataloaders(chips.paths, bs=min(bs, len(split[0])), val_bs=2*bs, num_workers=workers)

def compare(key, name, two, multi, constant):
    "Print a score of both models, each with its interval over chips, and their difference; the numbers, for the record."
    from planet.metrics import as_plain, bootstrap_interval
    two, multi, constant = (as_plain(o).double() for o in (two, multi, constant)) # a number a chip
    def interval(a, b=None, sign=''):
        low, high = bootstrap_interval(a, b)
        mean = (a if b is None else a - b).mean().item()
        return f'{mean:{sign}.4f} [{low:{sign}.3f}, {high:{sign}.3f}]', mean, [low, high]
    shown, values, intervals = zip(interval(two), interval(multi), interval(two, multi, '+'))
    say(f'{name:<24}{shown[0]:>23}{shown[1]:>23}{shown[2]:>27}{constant.mean():>17.4f}')
    names = key, f'{key}_multi_label', f'{key}_difference'
    numbers = dict(zip(names, values)) | {f'{key}_baseline': constant.mean().item()} | {f'{n}_interval': o for n, o in zip(names, intervals)}
    return {k: [round(x, 5) for x in v] if isinstance(v, list) else round(v, 5) for k, v in numbers.items()}

def score(two, multi, sky, thresh):
    "Both models side by side: the scores, a table with a row a tag, and the probabilities of the two-target model."
    import pandas as pd, torch
    from planet.learner import base_logits, base_rates, train_targets
    from planet.losses import GroupedCrossEntropyLoss
    from planet.metrics import best_constant, decide, fbeta, fbeta_per_chip
    vocab, order = list(multi.dls.vocab), [t for tags in two.dls.vocab for t in tags]
    skies, questions = [vocab.index(t) for t in sky], 1 + len(vocab) - len(sky)
    p_multi, targs, loss_multi = multi.get_preds(with_loss=True)
    p_two, (weather, _), loss_two = two.get_preds(with_loss=True)
    p_two, targs, train = p_two[:, [order.index(t) for t in vocab]], targs > 0.5, train_targets(multi.dls)
    constant, rates = best_constant(train > 0.5).expand_as(targs), base_rates(train).expand_as(targs)
    loss_rates = GroupedCrossEntropyLoss(skies, reduction='none')(base_logits(rates[0], skies).expand_as(targs), targs.float())

    def above(probs): return probs > thresh
    def one_weather(probs): # the likeliest, whatever its probability
        likeliest = torch.tensor(skies)[probs[:, skies].argmax(1)]
        return above(probs).index_fill(1, torch.tensor(skies), False).scatter(1, likeliest[:, None], True)
    def best_set(probs): return decide(probs, exclusive=sky, vocab=vocab)
    def right(probs): return probs[:, skies].argmax(1) == weather

    say('', f"{f'{len(targs):,} held-out chips':<24}{'two targets':>23}{'multi-label':>23}{'difference':>27}{'best constant':>17}")
    scores = {}
    for key, name, rule, rule_multi in (
            ('f2', 'F2 as each predicts', one_weather, above), ('f2_above', f'F2, all tags above {thresh:g}', above, above),
            ('f2_one_weather', 'F2, likeliest weather', one_weather, one_weather), ('f2_decided', 'F2, best expected set', best_set, best_set)):
        scores |= compare(key, name, *[fbeta_per_chip(o, targs) for o in (rule(p_two), rule_multi(p_multi), constant)])
    scores |= compare('weather_accuracy', 'weather accuracy', right(p_two), right(p_multi), right(rates))
    # a mean loss times its number of questions: minus the log-probability of all that is true of a chip
    scores |= compare('nats', 'loss, nats a chip', questions*loss_two, len(vocab)*loss_multi, questions*loss_rates)
    columns = {'two targets': one_weather(p_two), 'multi-label': above(p_multi)}
    tags = pd.DataFrame({name: fbeta(pred.float(), targs, 0.5, average=None, sigmoid=False) for name, pred in columns.items()},
                        index=pd.Index(vocab, name='tag'))
    tags.insert(0, 'count', targs.sum(0).numpy())
    return scores, tags, p_two, one_weather(p_two), targs

def verdict(scores, key):
    low, high = scores[f'{key}_difference_interval']
    return 'higher' if low > 0 else 'lower' if high < 0 else 'no different'

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
    import pandas as pd
    from fastai.data.block import CategoryBlock, MultiCategoryBlock
    from fastai.torch_core import set_seed
    from planet import plots
    from planet.data import held_out_table, load_chips, only_of, split_facts, split_rows
    from planet.learner import TwoTargetLoss, chip_learner, f2, find_loss, fine_tune, held_out
    from planet.runs import Run
    from planet.synthetic import WEATHER

    with Run('tags_and_weather_resnet50', options, out) as run:
        whole, store = load_chips(data, size, skip_bad)
        chips, weather = only_of(whole) # those without exactly one weather are left out, and recorded
        sky, rest = ([t for t in chips.vocab if (t in WEATHER) == of] for of in (True, False))
        if len(set(weather)) < 2: raise UserError(
            f"{chips.root}: weather needs chips of two kinds at least of {', '.join(WEATHER)}; {len(chips)} have exactly one, and they are all "
            f"{weather[0] if weather else 'missing'}")
        if not rest: raise UserError(f"{chips.root}: no tag but the weather ({', '.join(sky)}): weather_resnet18.py is the experiment for that")
        split = split_rows(chips, valid_pct, seed, folds, fold, out, whole)
        loss, others = TwoTargetLoss(len(sky), thresh), [[t for t in tags if t in rest] for tags in chips.table.tags]

        def train(name, targets, loss_func, metrics):
            say('', f'{name}:')
            set_seed(seed, reproducible=True) # the same head, order and views of the chips for both
            dls = dataloaders(chips, store, targets, split, bs, workers)
            learn = chip_learner(dls, arch, weights, loss_func, metrics, tta=tta, n_out=len(chips.vocab))
            return learn, fine_tune(learn, epochs, lr, freeze_epochs)
        multi, history = train('multi-label', [(MultiCategoryBlock(vocab=chips.vocab), chips.table.tags)],
                               find_loss('bce', chips.vocab, thresh), [partial(f2, thresh=thresh)])
        two, history_two = train('two targets', [(CategoryBlock(vocab=sky), weather), (MultiCategoryBlock(vocab=rest), others)],
                                 loss, [loss.f2, loss.accuracy])
        scores, tags, probs, pred, targs = score(two, multi, sky, thresh)
        say('', f"With two targets, beyond the noise of the choice of chips: F2 {verdict(scores, 'f2')} as each predicts, "
                f"{verdict(scores, 'f2_above')} by one rule.",
            '', f"{'F2 of a tag':<24}{'count':>9}{'two targets':>14}{'multi-label':>14}",
            *(f'{tag:<24}{n:>9}' + (f'{a:>14.2f}{b:>14.2f}' if n else f"{'-':>14}{'-':>14}")
              for tag, n, a, b in tags.sort_values('count', ascending=False).itertuples()), '')

        run.table('history', pd.concat({'two targets': history_two, 'multi-label': history}, names=['model']).droplevel(1))
        run.table('tags', tags)
        run.table('held_out', held_out_table(chips, multi.dls, probs), index=False)
        run.figure('losses', plots.loss_curves(history_two))
        run.figure('predictions', plots.predictions_sheet(*held_out(multi, pred.float(), targs, 0.5)))
        run.learner(two)
        left_out = sorted({*whole.table.image_name} - {*chips.table.image_name})
        run.record(chips.facts(two.dls) | split_facts(whole, seed, folds, out) | dict(without_one_weather=left_out),
                   two.dls.device, scores, weights_used=two.weights)
    say(run.path)
