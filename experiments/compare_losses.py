"""Which loss for many tags? The same small model with each, on the same folds, with intervals.

    python experiments/compare_losses.py --data ../shared/planet_sample --weights ../shared/weights/resnet50_imagenet_fp16.safetensors

The small model is a head (batch norm, dropout, one linear layer that starts at the base rates) on the features of a
frozen backbone. The features of all eight views of each chip are computed once, so a training takes seconds and every
chip can be held out in one of the folds: scores are over all chips, each answered by a head that has not seen it.
A second table takes the probabilities of binary cross entropy and compares ways to make tags of them.
"""
from planet.cli import progress, say, script
from planet.options import check_options

def features(chips, store, body, bs):
    "`(chips, 8, features)` float: average and maximum over the frozen body's last map, of each dihedral view."
    import torch
    from fastai.torch_core import TensorImage, default_device
    from fastai.vision.core import imagenet_stats
    from planet.learner import bf16_gains
    device = default_device()
    mean, std = (torch.tensor(o, device=device)[:, None, None] for o in imagenet_stats)
    body = body.to(device, memory_format=torch.channels_last).eval()
    parts = []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16_gains(device)):
        batches = range(0, len(chips), bs)
        for i in progress(batches, len(batches)):
            x = TensorImage(torch.stack([store[p] for p in chips.paths[i:i+bs]])).to(device)
            views = [((x.dihedral(k).as_subclass(torch.Tensor)/255 - mean)/std).contiguous(memory_format=torch.channels_last) for k in range(8)]
            maps = [body(v).float() for v in views]
            parts.append(torch.stack([torch.cat([m.amax((2, 3)), m.mean((2, 3))], 1) for m in maps], 1).cpu())
    return torch.cat(parts)

def train(x, y, held, loss_func, epochs, lr, bs):
    "Train a head on all but the `held` chips; probabilities of the held ones, averaged over the eight views."
    import torch
    import fastai.callback.schedule
    from fastai.learner import Learner
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from torch import nn
    from planet.learner import base_rates, softmax_group, start_at_base_rates
    rows = (~held).nonzero().squeeze(1)
    class Views:
        "A training chip in one of its views, drawn anew each time."
        def __len__(self): return len(rows)
        def __getitem__(self, i): return x[rows[i], torch.randint(8, ())], y[rows[i]]
    held_out = [(x[i, 0], y[i]) for i in held.nonzero().squeeze(1)] # for fastai's epochs; the scores below are of all views
    dls = DataLoaders(DataLoader(Views(), bs=min(bs, len(rows)), shuffle=True, drop_last=True, num_workers=0),
                      DataLoader(held_out, bs=2*bs, num_workers=0))
    head = nn.Sequential(nn.BatchNorm1d(x.shape[-1]), nn.Dropout(0.5), nn.Linear(x.shape[-1], y.shape[1]))
    start_at_base_rates(head, base_rates(y[rows]), softmax_group(loss_func))
    learn = Learner(dls, head, loss_func)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)
    with torch.no_grad():
        return torch.stack([loss_func.activation(head.eval()(x[held, k])) for k in range(8)]).mean(0)

@script
def main(
    data:str='auto', # chips: auto, synthetic, sample, or a folder with a label table and images
    weights:str='auto', # of the frozen backbone: auto, imagenet, none, or a .safetensors or .pth file
    arch:str='resnet50', # backbone, of torchvision
    size:int=128, # height and width of a chip, in pixels
    bs:int=64, # chips in a batch
    epochs:int=30, # of the head
    lr:float=3e-3, # learning rate
    thresh:float=0.2, # a tag is predicted above this probability
    folds:int=5, # parts of the chips, each held out once
    seed:int=42, # of the folds, the heads and the order of chips
):
    "Train the same small model with each loss; print the scores of each, and of each way to decide, with 95 % intervals over chips."
    options = dict(locals())
    check_options(options)
    from time import perf_counter
    import torch
    from fastai.torch_core import default_device, set_seed
    from sklearn.metrics import average_precision_score
    from planet.calibration import kfolds
    from planet.data import load_chips, tags_dls
    from planet.learner import LOSSES, chip_learner, find_loss
    from planet.metrics import best_thresholds, bootstrap_interval, compare_decisions, crossfit_fbeta, fbeta_per_chip
    from planet.runs import device_facts
    from planet.amazon import WEATHER

    set_seed(seed, reproducible=True)
    chips, store = load_chips(data, size)
    body = chip_learner(tags_dls(chips, store, bs=bs), arch, weights).model[0]
    start = perf_counter()
    x, y = features(chips, store, body, bs), torch.tensor(chips.targets).float()
    say(f'features of {len(chips):,} chips in 8 views: {perf_counter()-start:.0f} s', f'device: {device_facts(default_device())}, seed {seed}', '',
        f"{'loss':<11}{f'F2 at {thresh:g}':>24}{'against bce':>28}{'F2, thresholds tuned':>26}{'average precision':>26}{'seconds':>9}")
    fold = kfolds(len(chips), folds, seed)

    def interval(scores, other=None, sign=''):
        low, high = bootstrap_interval(scores, other)
        mean = (scores if other is None else scores - other).mean()
        return f'{mean:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]'

    for name in LOSSES:
        set_seed(seed, reproducible=True)
        start, probs = perf_counter(), torch.empty_like(y)
        for f in range(folds): probs[fold == f] = train(x, y, fold == f, find_loss(name, chips.vocab, thresh), epochs, lr, bs)
        seconds, scores = perf_counter() - start, fbeta_per_chip(probs > thresh, y > 0.5)
        if name == 'bce': bce, bce_probs = scores, probs
        tuned = crossfit_fbeta(probs, y, best_thresholds, folds, seed).per_chip # on other chips than they are scored on
        # of each chip's tags in the order of their probabilities, so that it has an interval over chips as the others have
        precision = torch.tensor([average_precision_score(t, p) for t, p in zip(y.numpy(), probs.numpy()) if t.any()])
        say(f"{name:<11}{interval(scores):>24}{'' if name == 'bce' else interval(scores, bce, '+'):>28}{interval(tuned):>26}{interval(precision):>26}{seconds:>9.1f}")

    exclusive = WEATHER if set(WEATHER) <= set(chips.vocab) else None
    say('', compare_decisions(bce_probs, y, chips.vocab, exclusive, thresh, folds=folds, seed=seed).to_string(float_format='%.4f'))
