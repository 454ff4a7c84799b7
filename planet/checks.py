"Checks of probabilities, logits, targets and beta that `metrics`, `decisions` and `calibration` share; torch alone"

import warnings
import torch

__all__ = ['as_plain', 'refuse', 'check_probs', 'check_targs', 'check_beta', 'warn_if_probs',
           'check_thresh', 'in_float64']

def as_plain(x): # a tensor, an array, a frame or nested lists
    "`x` as a plain detached tensor: fastai's tensor subclasses take a slow path that no score needs"
    if isinstance(x, torch.Tensor): return x.detach().as_subclass(torch.Tensor)
    import numpy as np  # needed for what is no tensor only
    return torch.as_tensor(np.require(x, requirements='W')) # torch wants arrays that it may write to

def refuse(
    x, # a tensor of any shape
    ok, # bool, the same shape
    name, # what the caller knows `x` as
    why, # what is wanted instead
):
    "Raise a `ValueError` that names the first value of `x` where `ok` is False, and its index"
    if bool(ok.all()): return
    at = (~ok).nonzero()[0].tolist()
    index = f"[{', '.join(map(str, at))}]" if at else ''
    raise ValueError(f"{name}{index} is {x[tuple(at)].item()}: {why}")

def warn_if_probs(x, name='inp', stacklevel=3):
    """Warn where all values of logits lie in 0..1, since a second sigmoid makes all of them 0.5 to 0.73.

    Python's own filter shows a warning once for a line of code, so a loop over batches does not repeat it."""
    if not x.numel(): return
    lo, hi = x.aminmax()
    if 0 <= lo.item() <= hi.item() <= 1:
        warnings.warn(f"all values of `{name}` lie in 0..1, as probabilities do, and a sigmoid is applied to them: "
                      "for probabilities give sigmoid=False", stacklevel=stacklevel)

def check_probs(
    probs, # (n, tags): probabilities, or logits with `sigmoid`
    name='probs', # what the caller knows them as
    sigmoid=False, # they are logits: returned are their sigmoids
):
    "`probs` as a floating-point `(n, tags)` tensor of probabilities; `ValueError` names what cannot be one, and where"
    x = as_plain(probs)
    if x.ndim != 2: raise ValueError(f"{name} has shape {tuple(x.shape)}: give a two-dimensional (chips, tags) tensor")
    if not x.is_floating_point() or x.dtype in (torch.half, torch.bfloat16): x = x.float()
    if not sigmoid:
        refuse(x, (x >= 0) & (x <= 1), name, "probabilities lie in 0..1 (logits go through a sigmoid first)")
        return x
    refuse(x, x.isfinite(), name, "logits must be finite (has the training diverged?)")
    warn_if_probs(x, name, stacklevel=4) # the line that called the score
    return x.sigmoid()

def check_targs(
    targs, # (n, tags) of 0 and 1
    like=None, # what must have the same shape; the result goes to its device
    name='targs', # what the caller knows `targs` as
    like_name='probs', # and `like`
):
    "`targs` as a bool tensor `(n, tags)`; `ValueError` for values other than 0 and 1 or another shape than `like`"
    y = as_plain(targs)
    if y.ndim != 2: raise ValueError(f"{name} has shape {tuple(y.shape)}: give (chips, tags) of 0 and 1")
    if like is not None:
        if y.shape != like.shape:
            raise ValueError(f"{like_name} {tuple(like.shape)} and {name} {tuple(y.shape)} differ: "
                             "one row a chip and one column a tag in both")
        y = y.to(like.device)
    if y.dtype != torch.bool: refuse(y, (y == 0) | (y == 1), name, "a target here is 0 or 1")
    return y.bool()

def check_beta(beta):
    "`beta` squared, as a float; `ValueError` for what is no finite number from 0 up"
    try: ok = not isinstance(beta, (bool, str)) and 0 <= beta < float('inf')
    except (TypeError, ValueError, RuntimeError): ok = False # a list, None, several values
    if not ok: raise ValueError(f"beta is {beta!r}: give a finite number, 0 or above (2 for the competition)")
    return float(beta)**2

def check_thresh(
    thresh, # one number for all tags, or one for each
    like=None, # (n, tags): says how many tags there are
):
    "`thresh` as a float64 tensor on the CPU, 0-d or `(tags,)`; `ValueError` for another shape or values outside 0..1"
    t = as_plain(thresh).cpu().double() # in this order: not every device has float64
    if t.ndim > 1 or t.ndim == 1 and like is not None and t.numel() != like.shape[1]:
        tags = f'each of {like.shape[1]} tags' if like is not None else 'each tag'
        raise ValueError(f"thresh has shape {tuple(t.shape)}: give one number, or one for {tags}")
    refuse(t, (t >= 0) & (t <= 1), 'thresh', "thresholds lie in 0..1")
    return t

def in_float64(x):
    "`x` in float64; on the CPU where its device has no float64 (Apple's MPS, some of Intel's XPUs)"
    try: return x.to(torch.float64)
    except (TypeError, RuntimeError): return x.cpu().to(torch.float64)
