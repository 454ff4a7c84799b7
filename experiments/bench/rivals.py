"""What `speed.py` compares ours with: stock fastai, plain PyTorch with torchvision's transforms, tensors in place.

Run by `speed.py --only recipe` it trains stock fastai with its own recipe and prints a line an epoch, which is timed.
"""
import sys
import time
from io import BytesIO
from pathlib import Path
import torch
from fastai.callback.core import Callback
from fastai.data.transforms import Normalize
from PIL import Image
from torch import nn
from torchvision.transforms import v2
from planet.callbacks import amp_dtype, memory_format
from planet.cli import say  # before fastai's learners, whose import it quiets
from planet.data import tags_dls
from planet.learner import chip_learner, find_loss, normalise
from planet.stock import stock_learner

MEAN, STD = (.485, .456, .406), (.229, .224, .225)

def wait(device):
    "Wait for what a GPU still has to do."
    if device.type == 'cuda': torch.cuda.synchronize()

# ---- loading: each yields one epoch of training batches, normalised floats on the device

def our_loader(chips, store, split, o):
    "Batches gathered from decoded chips, flipped and turned, normalised."
    dls = tags_dls(chips, store, split, o.bs)
    normalise(dls, (MEAN, STD))
    return dls.train

def stock_loader(chips, split, o, workers):
    "Stock fastai's batches: `ImageBlock`, `Resize`, `DihedralItem`, `Normalize`."
    dls = stock_learner(chips, split, o.size, o.bs, workers, 'resnet18', 'none').dls
    assert dls.after_batch.fs.filter(lambda f: isinstance(f, Normalize))
    return dls.train

class Files(torch.utils.data.Dataset):
    "Image files decoded one by one, with torchvision's v2 transforms."
    def __init__(self, chips, rows, size, fast):
        self.paths, self.size, self.fast = [chips.paths[i] for i in rows], size, fast
        self.targets = torch.from_numpy(chips.targets[rows]).float()
        self.transforms = v2.Compose([v2.Resize([size, size], antialias=True), v2.RandomHorizontalFlip(),
                                      v2.RandomVerticalFlip(), v2.ToDtype(torch.float32, scale=True),
                                      v2.Normalize(MEAN, STD)])
    def __len__(self): return len(self.paths)
    def __getitem__(self, i):
        data = self.paths[i].read_bytes()
        if self.fast:
            import simplejpeg
            x = torch.from_numpy(simplejpeg.decode_jpeg(data, 'RGB', min_height=self.size, min_width=self.size))
            x = x.permute(2, 0, 1)
        else: x = v2.functional.pil_to_tensor(Image.open(BytesIO(data)).convert('RGB'))
        return self.transforms(x), self.targets[i]

class torch_loader:
    "A PyTorch `DataLoader` over image files, whose batches go to the device."
    def __init__(self, chips, split, o, workers, device, fast=False):
        many = dict(persistent_workers=True) if workers else {}
        self.dl = torch.utils.data.DataLoader(Files(chips, split.train, o.size, fast), o.bs, shuffle=True,
                                              num_workers=workers, drop_last=True, **many)
        self.device = device
    def __iter__(self):
        for x, y in self.dl: yield x.to(self.device), y.to(self.device)

def simplejpeg_reads(path) -> str:
    "Why simplejpeg cannot be compared, or nothing: it must decode four-component JPEGs to the colours that Pillow has."
    try:
        import simplejpeg
    except ImportError: return 'not installed'
    try: ours = torch.from_numpy(simplejpeg.decode_jpeg(Path(path).read_bytes(), 'RGB')).float()
    except ValueError as e: return str(e)
    theirs = v2.functional.pil_to_tensor(Image.open(path).convert('RGB')).permute(1, 2, 0).float()
    return '' if (ours - theirs).abs().mean() < 1 else 'other colours than Pillow'

class floor_loader:
    "Decoded chips and targets that lie on the device already: index, scale, nothing else."
    def __init__(self, chips, store, split, bs, device):
        self.x = store.batch([store.rows[chips.paths[i]] for i in split.train]).to(device)
        self.y, self.bs = torch.from_numpy(chips.targets[split.train]).float().to(device), bs
        self.mean, self.std = (255*torch.tensor(o, device=device).view(3, 1, 1) for o in (MEAN, STD))
    def __iter__(self):
        for rows in torch.randperm(len(self.x), device=self.x.device).split(self.bs):
            if len(rows) == self.bs: yield self.x[rows].float().sub_(self.mean).div_(self.std), self.y[rows]

# ---- training: seconds of one pass over the training set, all layers

class Clock(Callback):
    "Seconds of the training part of an epoch."
    def before_train(self):
        wait(self.dls.device)
        self.start = time.perf_counter()
    def after_train(self):
        wait(self.dls.device)
        self.seconds = time.perf_counter() - self.start

class Fastai:
    "A fastai learner, all of whose layers train."
    def __init__(self, learn):
        self.learn, self.clock = learn, Clock()
        learn.unfreeze()
        learn.dls.loaders = [learn.dls.train, learn.dls.valid.new(learn.dls.valid_ds, shuffle=False)]
    def epoch(self):
        with self.learn.no_bar(), self.learn.no_logging(): self.learn.fit(1, 1e-4, cbs=self.clock)
        return self.clock.seconds

def our_trainer(chips, store, split, o):
    "Our learner for `split`."
    learn = chip_learner(tags_dls(chips, store, split, o.bs), o.arch, o.weights, find_loss('bce'))
    learn.history.printed = False
    return Fastai(learn)

def stock_trainer(chips, split, o, workers):
    "Stock fastai's learner for `split`."
    return Fastai(stock_learner(chips, split, o.size, o.bs, workers, o.arch, o.weights))

def stock_predictor(chips, split, o, workers):
    "A function that gives the seconds of stock fastai's `get_preds` on the files of all chips."
    learn = stock_trainer(chips, split, o, workers).learn
    def predict():
        start = time.perf_counter()
        with learn.no_bar(): learn.get_preds(dl=learn.dls.test_dl(chips.paths, num_workers=workers))
        return time.perf_counter() - start
    return predict

class Plain:
    "A plain PyTorch loop: a model, batches of a loader, AdamW; with `fast`, mixed precision and layout as ours."
    def __init__(self, model, loader, device, fast):
        layout = memory_format(device) if fast else torch.contiguous_format
        self.model, self.loader, self.device = model.to(device).to(memory_format=layout), loader, device
        self.dtype, self.layout, self.loss = amp_dtype(device) if fast else None, layout, nn.BCEWithLogitsLoss()
        for p in self.model.parameters(): p.requires_grad_(True)
        self.opt = torch.optim.AdamW(self.model.parameters(), 1e-4, fused=True)
    def epoch(self):
        self.model.train()
        wait(self.device)
        start = time.perf_counter()
        for x, y in self.loader:
            with torch.autocast(self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None):
                logits = self.model(x.contiguous(memory_format=self.layout))
            self.loss(logits.float(), y).backward()
            self.opt.step()
            self.opt.zero_grad()
        wait(self.device)
        return time.perf_counter() - start

# ---- stock fastai's whole recipe, as a process of its own

def train_stock(data, weights, arch, size, bs, seed, valid_pct, thresh, workers, epochs, freeze_epochs, lr):
    "Train stock fastai and print the F2 of each epoch and of the end."
    from fastai.torch_core import set_seed
    from planet.callbacks import History
    from planet.learner import f2
    from planet.results import AboveThreshold, evaluate
    from planet.sources import find_chips
    from planet.splits import random_split
    chips = find_chips(data)
    split = random_split(chips, valid_pct, seed)
    set_seed(seed, reproducible=True)
    learn = stock_learner(chips, split, size, bs, workers, arch, weights).add_cb(History())
    learn.metrics = [lambda inp, targ: f2(inp, targ, thresh)]
    learn.metrics[0].__name__ = 'f2'
    with learn.no_bar(): learn.fine_tune(epochs, base_lr=lr, freeze_epochs=freeze_epochs)
    with learn.no_bar(): result = evaluate(learn.remove_cb(History), rule=AboveThreshold(thresh))
    say(f'final f2 {result.f2_per_chip.mean():.4f}')

if __name__ == '__main__':
    if len(sys.argv) != 13: sys.exit('speed.py runs this file: python experiments/bench/speed.py --only recipe')
    names = 'data weights arch size bs seed valid_pct thresh workers epochs freeze_epochs lr'.split()
    kinds = str, str, str, int, int, int, float, float, int, int, int, float
    train_stock(**{n: kind(v) for n, kind, v in zip(names, kinds, sys.argv[1:])})
