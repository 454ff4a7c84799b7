"The recipes that `recipe` names: fine-tuning, a head on frozen features, or the one after the other."
from planet.cli import UserError, say  # before fastai, whose import it quiets

# isort: split
import torch
from fastai.torch_core import default_device
from fastcore.basics import AttrDict
from planet.backbones import find_backbone
from planet.callbacks import check_precision, one_table
from planet.frozen import install_head, pooled_features, predict_head, train_head
from planet.learner import fine_tune
from planet.options import RECIPES

__all__ = ['check_recipe', 'train_frozen', 'train']

def check_recipe(
    o:AttrDict, # options
    also=(), # a recipe that the caller has besides
):
    "Raise a `UserError` for what cannot be trained on this machine or with this backbone, before chips are decoded."
    if o.recipe not in (*RECIPES, also):
        raise UserError(f"{o.recipe} is for planet_kfold: one of {', '.join(RECIPES)}", option='recipe')
    check_precision(o.precision, default_device())
    find_backbone(o.arch).check_size(o.size)

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
    install_head(learn, trained.model, stages)
    if o.tta: learn.dihedral_views.views = views
    if hasattr(learn, 'history'): learn.history.rows = trained.history.rows
    last = trained.history.rows[-1]
    say(f'head: {o.freeze_epochs} epochs on the features of {len(train):,} chips, ' + ', '.join(
        f'{k} {v:.4f}' for k, v in last.items() if isinstance(v, float)))
    return predict_head(trained.model, x[valid])

def train(
    learn, # from `chip_learner`
    o:AttrDict, # options: `recipe`, and those that it needs
    store, # the decoded chips
    checkpoints=None, # `planet.checkpoints.Checkpoints`: saves each epoch with all layers, and resumes
    cbs=None, # callbacks while it trains, such as `planet.tracking.Tracking`
) -> tuple: # history with a row an epoch, and the validation set's logits where they are known, or `None`
    "Train a learner by the recipe that `recipe` names: finetune, frozen, or frozen+finetune."
    if o.recipe == 'finetune': return fine_tune(learn, o.epochs, o.lr, o.freeze_epochs, checkpoints, cbs), None
    record = getattr(checkpoints, 'record', None)
    stage = record.stage if record else lambda name: None
    logits = train_frozen(learn, o, store, cbs, stage)
    if o.recipe == 'frozen':
        stage('evaluation')
        return learn.history.table, logits
    def fit():
        learn.unfreeze()
        learn.fit_one_cycle(o.epochs, slice(o.body_lr/100, o.body_lr), div=5, cbs=cbs)
    with one_table(learn, o.epochs): checkpoints.train(learn, fit) if checkpoints else fit()
    if o.tta: learn.dihedral_views.views = 8
    return learn.history.table, None
