"""Frozen features: pool what a frozen body computes once, keep it, train a linear head on it in seconds.

`install_head` makes one model on pixels of body and head, with the logits that the head gave for the features.
"""
from planet.cli import UserError, progress, say  # before fastai, whose import it quiets

# isort: split
import hashlib
import os
from contextlib import suppress
from math import isfinite
import fastai.callback.schedule  # gives `Learner` its `fit_one_cycle`
import numpy as np
import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.data.transforms import Normalize
from fastai.learner import Learner
from fastai.torch_core import TensorImage, no_random
from torch import nn
from planet.callbacks import D4, History, quiet
from planet.divergence import StopOnNaN
from planet.files import cache_folder
from planet.learner import base_rates, softmax_group, start_at_base_rates
from planet.locks import locked
from planet.pooling import FeatureHead, find_stages, pool, pooled_net, recorded
from planet.provenance import weights_fingerprint
from planet.store_files import make_room

__all__ = ['pooled_features', 'train_head', 'predict_head', 'install_head']

# ---- computed once

VERSION = 1 # of what lies in the cache

def feature_key(learn, pixels, size, stages, dtype):
    "A hash of all that features depend on, but the view."
    norm = next(iter(learn.dls.after_batch.fs.filter(lambda o: isinstance(o, Normalize))), None)
    facts = VERSION, weights_fingerprint(learn.model[0]), pixels, size, stages, dtype, str(learn.model[0]), [
        o.flatten().tolist() for o in (norm.mean, norm.std)] if norm else None
    return hashlib.blake2b(repr(facts).encode(), digest_size=12).hexdigest()

def pixel_hash(store, paths):
    "A hash of the decoded pixels of all chips, in their order."
    found = hashlib.blake2b(digest_size=16)
    for i in range(0, len(paths), 64): found.update(store.gather(paths[i:i+64]).cpu().contiguous().numpy())
    return found.hexdigest()

def read_view(path, n):
    "Features from the cache, mapped, or `None`."
    try: found = np.load(path, mmap_mode='c')
    except (OSError, ValueError, EOFError): return None
    return torch.from_numpy(found) if len(found) == n else None

def write_view(path, features):
    "Keep features in the cache: whole or not at all; a full disk is told and fails nothing."
    part = path.with_name(f'.{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, 'wb') as f: np.save(f, features.numpy())
        part.replace(path)
    except OSError as e:
        with suppress(OSError): part.unlink()
        say(f'WARNING: features cannot be kept in {path.parent} ({e.strerror}): the next run computes them again')

def one_view(learn, store, paths, view, stages, bs, shown):
    "Features of every chip in one view, `(chips, features)`."
    body, device, found = learn.model[0], learn.dls.device, None
    norm = learn.dls.after_batch.fs.filter(lambda o: isinstance(o, Normalize))
    forward = learn.precision.forward if hasattr(learn, 'precision') else lambda model, x: model(x)
    for i in shown(range(0, len(paths), bs)):
        x = TensorImage(store.gather(paths[i:i+bs])).to(device).dihedral(view).float()/255
        for o in norm: x = o(x)
        with torch.no_grad(), recorded(body, stages) as outputs:
            forward(body, x.as_subclass(torch.Tensor))
            part = torch.cat([pool(o, x) for o in outputs()], 1)
        if found is None: found = torch.empty(len(paths), part.shape[1])
        found[i:i+bs] = part
    low, high = (o.item() for o in found.aminmax()) # of NaN, NaN
    if not isfinite(high - low): raise UserError("the body's features are NaN or infinite: take other `weights`")
    return found.half() if max(-low, high) < 6e4 else found

def pooled_features(
    learn:Learner, # from `chip_learner`
    paths:list, # of the chips
    store, # the same chips, decoded
    views:int=2, # of D4
    stages:int=2, # of the body, counted from its end
    bs:int=64, # chips in a batch
    cache=None, # folder of caches, as in `planet.files.cache_folder`
) -> tuple: # fp16 or fp32 `(chips, views, features)`, and names of the stages
    """Pooled features of a frozen body, computed once for each chip and view of D4, and kept in the cache.

    They are found again by weights, pixels, normalisation, size, stages and precision. A computation that is cut short
    goes on with the first view that is not kept yet. What was not used for 60 days is removed when others are kept."""
    paths, device, body = list(paths), learn.dls.device, learn.model[0].to(learn.dls.device)
    names = find_stages(body, store.gather(paths[:2]).to(device).float()/255, stages)
    dtype = device.type, *(learn.precision.on(device) if hasattr(learn, 'precision') else ())
    folder = cache_folder(cache)/'features'/feature_key(learn, pixel_hash(store, paths), store.size, names, dtype)
    training = body.training
    try:
        body.eval()
        with locked(folder/'lock', waiting='another run computes these features: waiting for it', must=False):
            found = [read_view(folder/f'view-{k}.npy', len(paths)) for k in D4[:views]]
            with suppress(OSError): os.utime(folder) # the time of its last use, for `make_room`
            left, each = [i for i, o in enumerate(found) if o is None], -(-len(paths)//bs)
            label = f'frozen features of {len(paths):,} chips in {views} view{"s"*(views > 1)}, batch'
            if left: make_room(folder)
            ticks = iter(progress(range(len(left)*each), len(left)*each, label))
            x = None # filled view by view: of a full data set one more copy of all views would not fit
            for i, view in enumerate(found):
                if view is None:
                    view = one_view(learn, store, paths, D4[i], names, bs, lambda o: (b for b, _ in zip(o, ticks)))
                    write_view(folder/f'view-{D4[i]}.npy', view)
                if x is None: x = torch.empty(len(paths), views, view.shape[1], dtype=view.dtype)
                elif x.dtype != view.dtype: x = x.float()
                x[:, i] = view
            next(ticks, None) # ends the bar
    finally: body.train(training)
    return x, names

# ---- a head on them

class FeatureLoader(DataLoader):
    "Batches of features, gathered by row: each chip in a random view for training, in all of them for validation."
    def __init__(self, x, y, rows, dataset=None, **kwargs):
        self.x, self.y, self.at = x, y, torch.as_tensor(rows)
        super().__init__(self.at if dataset is None else dataset, n=len(rows), indexed=True, num_workers=0, **kwargs)
    def create_item(self, i): return i
    def do_batch(self, items):
        rows = self.at[items]
        if not self.shuffle: return self.x[rows], self.y[rows]
        return self.x[rows, torch.randint(self.x.shape[1], (len(rows),))].float(), self.y[rows]

def train_head(
    x:torch.Tensor, # `(chips, views, features)`, from `pooled_features`
    y:torch.Tensor, # targets of all chips: `(chips, tags)` of 0 and 1, or `(chips,)` class numbers
    n_out:int, # how many tags or classes there are
    train, # rows of the training set
    loss_func, # of logits
    valid=(), # rows of the validation set
    epochs:int=20, lr:float=1e-3, wd:float=0.3, bs:int=64, # of one cycle of AdamW
    seed:int=42, # of dropout, the order of chips and their views
    metrics=(), cbs=None, # for the `Learner`
    device=None, # fastai's default
    datasets=(None, None), # what callbacks find as `dls.train_ds` and `dls.valid_ds`
) -> Learner: # its model is the head; `history` has the epochs
    "Train a linear head with the prior as its bias on frozen features: a one-cycle fit, a random view each time."
    hot = y[train] if y.ndim == 2 else nn.functional.one_hot(y[train].long(), n_out).float()
    with no_random(seed):
        head = FeatureHead(x.shape[-1], n_out)
        head.standardise(x, train)
        start_at_base_rates(head, base_rates(hot), range(n_out) if y.ndim == 1 else softmax_group(loss_func))
        loaders = [FeatureLoader(x, y, train, datasets[0], bs=min(bs, len(train)), shuffle=True, drop_last=True),
                   FeatureLoader(x, y, valid, datasets[1], bs=1024)]
        learn = Learner(DataLoaders(*loaders, device=device), head, loss_func, metrics=metrics, wd=wd,
                        cbs=[History(), StopOnNaN()])
        learn.stage = 'head'
        with quiet(learn): learn.fit_one_cycle(epochs, lr, cbs=cbs)
    return learn

def predict_head(
    head:nn.Module, # trained
    x:torch.Tensor, # `(chips, views, features)`
) -> torch.Tensor: # `(chips, tags)`, on the CPU
    "Logits of a head on frozen features, averaged over the views."
    device = head.linear.weight.device
    with torch.no_grad(): return torch.cat([head.eval()(o.to(device)).cpu() for o in x.split(1024)])

def install_head(
    learn:Learner, # from `chip_learner`
    head:FeatureHead, # trained on its features
    stages, # names, as `pooled_features` returns them
    half:bool=False, # are its features fp16? then it rounds those of pixels too, and tags a chip as it was scored
):
    "Give a learner the head that was trained on its features: its model maps pixels to the logits of the features."
    head.half_features = half
    learn.model, learn.opt = pooled_net(learn.model[0], head.to(learn.dls.device), stages), None
    learn.settings = {k: learn.settings[k] for k in ('arch', 'channels', 'size', 'n_out')} | dict(
        stages=list(stages), features=len(head.mean)) | (dict(half=True) if half else {})
