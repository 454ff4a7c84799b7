"Kernel ridge regression on the frozen features of all stages of a body: a closed-form head, for few chips."
from planet.cli import UserError  # before fastai, whose import it quiets

# isort: split
import torch
from planet.frozen import pooled_features
from planet.pooling import pool, recorded

__all__ = ['MOST', 'kernel_ridge', 'train_kernel']

MOST = 20_000 # chips: the kernel of so many takes 3 GB, and the time of solving grows with their cube

def stage_scales(body, x, stages) -> torch.Tensor: # `(features,)`
    "What to multiply standardised features by so that each stage counts the same, however wide it is."
    with torch.no_grad(), recorded(body, stages) as outputs:
        body(x)
        widths = [pool(o, x).shape[1] for o in outputs()]
    return torch.cat([torch.full((w,), (w*len(widths))**-.5) for w in widths])

def squeeze(p, edge=.02):
    "Numbers around 0 to 1 as probabilities: as they are but for the outermost `edge`, and still in their order."
    low, high = edge*((p - edge)/edge).exp(), 1 - edge*((1 - p - edge)/edge).exp()
    return torch.where(p < edge, low, torch.where(p > 1 - edge, high, p)).clamp(1e-6, 1 - 1e-6)

def kernel_ridge(
    x, # `(chips, features)` float
    y, # `(chips, tags)` of 0 and 1
    train, valid, # rows
    scales=None, # `(features,)`: weights of the features once they are standardised
    gamma:float=.2, # of the Gaussian kernel, exp(-gamma d), with d the (weighted) mean squared difference of features
    alpha:float=.1, # ridge penalty
) -> torch.Tensor: # `(valid chips, tags)`: probabilities
    "Kernel ridge regression of each tag's deviation from its frequency, squeezed to what a probability can be."
    train, valid = (torch.as_tensor(rows) for rows in (train, valid))
    mean, std = x[train].mean(0), x[train].std(0) + 1e-3
    z = ((x - mean)/std*(x.shape[1]**-.5 if scales is None else scales)).double()
    def kernel(a, b): return (-gamma*torch.cdist(a, b).square()).exp()
    y, known = y.double(), kernel(z[train], z[train])
    known.diagonal().add_(alpha)
    weights = torch.linalg.solve(known, y[train] - y[train].mean(0))
    return squeeze(kernel(z[valid], z[train])@weights + y[train].mean(0)).float()

def train_kernel(
    learn, # from `chip_learner`; its model stays as it is
    o, # options: `views`, `bs`, `tta`
    store, # the decoded chips
) -> torch.Tensor: # logits of the validation set
    "A kernel ridge regression on the pooled features of all four stages, the mean of the views."
    train_ds, valid_ds = learn.dls.train_ds, learn.dls.valid_ds
    paths = sorted([*train_ds.items, *valid_ds.items]) # whatever the split: features are found again for another
    if len(paths) > MOST:
        raise UserError(f'kernel takes {MOST:,} chips at most, not {len(paths):,}: take linear', option='head')
    row, y = {path: i for i, path in enumerate(paths)}, torch.zeros(len(paths), learn.settings['n_out'])
    for ds in (train_ds, valid_ds):
        for path, hot in zip(ds.items, ds.tls[learn.dls.n_inp]): y[row[path]] = torch.as_tensor(hot).float()
    x, stages = pooled_features(learn, paths, store, o.views if o.tta else 1, stages=4, bs=o.bs)
    body, device = learn.model[0].eval(), learn.dls.device
    two = store.gather(paths[:2]).to(device).float()/255
    train, valid = ([row[path] for path in ds.items] for ds in (train_ds, valid_ds))
    return kernel_ridge(x.float().mean(1), y, train, valid, stage_scales(body, two, stages)).logit()
