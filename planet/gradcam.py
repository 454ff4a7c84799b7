"""Grad-CAM: which part of an image a convolutional network's output for one tag depends on (Selvaraju et al. 2017).

Plain forward hooks: they work with frozen layers, in bf16, under autocast and in channels-last memory. (The
`grad-cam` library takes neither bf16 nor fastai's `TensorImage`.)
"""
from contextlib import contextmanager
import torch

__all__ = ['feature_layer', 'grad_cam']

def _plain(x): return x.as_subclass(torch.Tensor) if isinstance(x, torch.Tensor) else None

def _stages(model):
    "The stages of a network's body, in the order in which they are defined."
    body = model[0] if isinstance(model, torch.nn.Sequential) else model # fastai's networks are body and head
    while len(stages := list(body.children())) == 1: body = stages[0]
    return stages

def _is_map(x): return x is not None and x.ndim == 4 and min(x.shape[1:]) > 1

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
    `ValueError` where no stage has a feature map `(batch, channels, height, width)`: a transformer of tokens. """
    found = []
    def keep(layer, inputs, output):
        output = _plain(output)
        if _is_map(output): found.append((layer, min(output.shape[2:])))
    with _evaluating(model), _hooks(_stages(model), keep), torch.no_grad(): model(_plain(x))
    if not found: raise ValueError(f'{type(model).__name__} has no stage with a spatial feature map')
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
    maps = (gradient.float().mean((2, 3), keepdim=True)*held[-1].detach().float()).sum(1).clamp(min=0).cpu()
    return maps/maps.amax((1, 2), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)
