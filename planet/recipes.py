"The recipes that `recipe` names: fine-tuning, a head on frozen features, or the one after the other."
from planet.cli import UserError, progress, say  # before fastai, whose import it quiets

# isort: split
import torch
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.mixup import MixUp
from fastai.torch_core import default_device
from fastcore.basics import AttrDict
from fastcore.foundation import L
from torch import nn
from planet.amazon import WEATHER
from planet.augment import LightBatch
from planet.backbones import find_backbone
from planet.callbacks import check_precision, one_table
from planet.data import DecodeChip
from planet.distributed import bare
from planet.frozen import install_head, pooled_features, predict_head, train_head
from planet.learner import find_loss, fine_tune
from planet.store import ChipStore

__all__ = ['check_recipe', 'train_frozen', 'FixedNorms', 'train']

def check_recipe(
    o:AttrDict, # options
):
    "Raise a `UserError` for what this machine or backbone cannot train, before any work."
    check_precision(o.precision, default_device())
    if 'loss' in o: find_loss(o.loss, WEATHER, o.thresh, o.loss_args) # whether the chips have a weather is seen later
    backbone = find_backbone(o.arch)
    for size in sizes(o): backbone.check_size(size)
    if any(backbone.plan(size)[0] != backbone.plan(o.size)[0] for size in sizes(o)):
        raise UserError(f'{o.arch} is built for one size of image: take one', option='size')

def sizes(o):
    "All sizes of image that the options train at."
    return [size for size, *_ in o.get('stages', [])] or [o.size]

def resize(
    learn, # with chips of another size
    size:int, # height and width, in pixels
):
    "Give a learner the same chips at another size, decoded anew; everything else stays."
    decoders = [f for dl in learn.dls.loaders for f in dl.dataset.tls[0].tfms.fs if isinstance(f, DecodeChip)]
    old = decoders[0].store
    if old.size != size:
        store = ChipStore(sorted(old.infos), size, progress, limits=old.limits)
        if not learn.dls.train.fake_l.num_workers: store.to_device(learn.dls.device) # as in `chip_dls`
        for decoder in decoders: decoder.store = store
        for dl in learn.dls.loaders: dl.known = None, # rows of the other store
    learn.settings['size'] = size

def fine_tune_sizes(learn, o, checkpoints=None, cbs=None):
    "Progressive resizing: `fine_tune` at each size with its epochs, in one table of results."
    def fit():
        for size, freeze_epochs, epochs in o.stages:
            resize(learn, size)
            learn.fine_tune(epochs, base_lr=o.lr, freeze_epochs=freeze_epochs, cbs=cbs)
    with one_table(learn, sum(a + b for _, a, b in o.stages)): checkpoints.train(learn, fit) if checkpoints else fit()
    return learn.history.table

def targets_of(learn):
    "Targets of all chips: path -> tensor."
    return {path: torch.as_tensor(y) for ds in (learn.dls.train_ds, learn.dls.valid_ds)
            for path, y in zip(ds.items, ds.tls[learn.dls.n_inp])}

def train_frozen(
    learn, # from `chip_learner`
    o:AttrDict, # options: `views`, `bs`, `freeze_epochs`, `lr`, `seed`, `tta`
    store, # the decoded chips
    cbs=None, # callbacks while the head trains
    stage=lambda name: None, # is told what begins
) -> torch.Tensor: # logits of the validation set
    "Train a linear head on frozen features, and give it to the learner; predictions come from the features too."
    views = o.views if o.tta else 1
    if learn.weights == 'none': say('WARNING: a frozen body of random weights stays random: recipe finetune trains it')
    targets, train_ds, valid_ds = targets_of(learn), learn.dls.train_ds, learn.dls.valid_ds
    paths = sorted(targets) # whatever the split: its features are found again for another
    row = {path: i for i, path in enumerate(paths)}
    train, valid = ([row[path] for path in ds.items] for ds in (train_ds, valid_ds))
    stage('features')
    x, stages = pooled_features(learn, paths, store, views, bs=o.bs)
    stage('head')
    y = torch.stack([targets[path] for path in paths])
    trained = train_head(x, y, learn.settings['n_out'], train, learn.loss_func, valid, o.freeze_epochs, o.lr,
                         seed=o.seed, metrics=learn.metrics, cbs=cbs, device=learn.dls.device,
                         datasets=(train_ds, valid_ds))
    install_head(learn, trained.model, stages, o.recipe == 'frozen' and x.dtype == torch.float16)
    if o.tta: learn.dihedral_views.views = views
    if hasattr(learn, 'history'): learn.history.rows = trained.history.rows
    last = trained.history.rows[-1]
    say(f'head: {o.freeze_epochs} epochs on the features of {len(train):,} chips, ' + ', '.join(
        f'{k} {v:.4f}' for k, v in last.items() if isinstance(v, float)))
    return predict_head(trained.model, x[valid])

class FixedNorms(Callback):
    "Keep the body's batch norms as they are, in evaluation mode: a head was trained on the features that they give."
    order = TrainEvalCallback.order+1
    def before_train(self):
        for m in bare(self.learn.model)[0].modules(): # of several processes each has a wrapper around it
            if isinstance(m, nn.modules.batchnorm._BatchNorm): m.eval()

def train(
    learn, # from `chip_learner`
    o:AttrDict, # options: `recipe`, and those that it needs
    store, # the decoded chips
    checkpoints=None, # `planet.checkpoints.Checkpoints`: saves each epoch with all layers, and resumes
    cbs=None, # callbacks while it trains, such as `planet.tracking.Tracking`
) -> tuple: # history with a row an epoch, and the validation set's logits where they are known, or `None`
    "Train a learner by the recipe that `recipe` names: finetune, frozen, or frozen+finetune."
    if o.light: learn.dls.add_tfms([LightBatch(o.light)], 'after_batch')
    body_cbs = [*([MixUp(o.mixup)] if o.mixup else []), *L(cbs)]
    if o.get('stages'): return fine_tune_sizes(learn, o, checkpoints, body_cbs), None
    if o.recipe == 'finetune': return fine_tune(learn, o.epochs, o.lr, o.freeze_epochs, checkpoints, body_cbs), None
    record = getattr(checkpoints, 'record', None)
    stage = record.stage if record else lambda name: None
    logits = train_frozen(learn, o, store, cbs, stage)
    if o.recipe == 'frozen':
        stage('evaluation')
        return learn.history.table, logits
    def fit():
        learn.unfreeze()
        learn.fit_one_cycle(o.epochs, slice(o.body_lr/100, o.body_lr), div=5, cbs=[FixedNorms(), *body_cbs])
    with one_table(learn, o.epochs): checkpoints.train(learn, fit) if checkpoints else fit()
    if o.tta: learn.dihedral_views.views = 8
    return learn.history.table, None
