"Grad-CAM: which part of an image a convolutional network's output for one tag depends on (Selvaraju et al. 2017)."
# Plain forward hooks: they work with frozen layers, in bf16, under autocast and in channels-last memory. (The
# `grad-cam` library takes neither bf16 nor fastai's `TensorImage`.)
from contextlib import contextmanager
import torch

__all__ = ['Bodies', 'body_stages', 'as_map', 'feature_layer', 'grad_cam']

def _plain(x): return x.as_subclass(torch.Tensor) # fastai's `TensorImage` keeps what it is made from

class Bodies(torch.nn.ModuleList):
    "Several bodies that see the same images: what one of them depends on is shown of the first."

def body_stages(model):
    "The stages of a network's body, and the stages inside those that are sequences (`blocks`, `layers`, `stages`)."
    body = model[0] if isinstance(model, torch.nn.Sequential) else model # fastai's networks are body and head
    while len(children := list(body.children())) == 1 or isinstance(body, Bodies): body = children[0]
    return [o for child in children for o in (*(child if isinstance(child, torch.nn.Sequential) else ()), child)]

def as_map(output, x):
    "An output as `(batch, channels, rows, columns)`; `None` for tokens and pooled features."
    if not isinstance(output, torch.Tensor) or output.ndim != 4: return None
    height, width = x.shape[2:]
    def is_scaled(rows, columns): return abs(rows*width - columns*height) < max(height, width)
    if is_scaled(*output.shape[2:]): return output
    return output.permute(0, 3, 1, 2) if is_scaled(*output.shape[1:3]) else None # channels last, as in Swin

@contextmanager
def _evaluating(model):
    "The model in evaluation mode; each of its layers is as before afterwards."
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try: yield
    finally:
        for m, training in modes: m.training = training

@contextmanager
def _hooks(layers, hook):
    "A forward hook on each layer, removed afterwards."
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try: yield
    finally:
        for handle in handles: handle.remove()

def feature_layer(model, # a network with a convolutional body
                  x, # a batch of images, as the model takes them
                  least:int=4, # rows and columns that a feature map should have
                 ): # the layer
    """The layer for Grad-CAM: the body's last stage whose feature map has at least `least` rows and columns.

    Small images leave the last stage a map of 2 by 2, which locates nothing; where no stage has more, it is the last.
    `ValueError` where the last stage has no feature map of rows and columns: a transformer of tokens. """
    found = []
    def keep(layer, inputs, output):
        features = as_map(output, x)
        if features is not None: found.append((layer, min(features.shape[2:])))
        elif getattr(output, 'ndim', 0) == 3: found.clear() # what came before reaches the head as tokens
    with _evaluating(model), _hooks(body_stages(model), keep), torch.no_grad(): model(_plain(x))
    if not found: raise ValueError(f'{type(model).__name__} ends in no feature map of rows and columns')
    return next((layer for layer, side in reversed(found) if side >= least), found[-1][0])

def grad_cam(model, # a network with a convolutional body
             x, # `(n, channels, height, width)` images, as the model takes them
             columns, # `(n,)` the output of each image that is to be explained
             layer=None, # whose feature map is weighted; by default that of `feature_layer`
            ): # `(n, rows, columns)` float32 on the CPU, each map between 0 and 1, or 0 everywhere
    """Grad-CAM maps: the positive part of the feature map's channels, weighted by the mean gradient of the output.

    A map is 0 everywhere where nothing in the image speaks for the tag. No gradient is left behind, and layers may be
    frozen: the gradient goes from the output to the feature map alone. """
    x, held = _plain(x), []
    layer = feature_layer(model, x) if layer is None else layer
    def keep(module, inputs, output):
        held.append(_plain(output).detach().requires_grad_())
        return held[-1].clone() # layers after it may work in place
    with _evaluating(model), _hooks([layer], keep), torch.enable_grad():
        logits = _plain(model(x))
        columns = torch.as_tensor(columns, device=logits.device)
        gradient, = torch.autograd.grad(logits.gather(1, columns[:, None]).sum(), held[-1])
    weights, features = (as_map(o, x).float() for o in (gradient, held[-1].detach()))
    maps = (weights.mean((2, 3), keepdim=True)*features).sum(1).clamp(min=0).cpu()
    return maps/maps.amax((1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
