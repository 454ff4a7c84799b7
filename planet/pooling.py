"A network whose head sees the pooled feature maps of several stages of its body, and how to find those stages."
from contextlib import contextmanager, nullcontext
import torch
from fastai.torch_core import TensorBase
from torch import nn
from planet.gradcam import Bodies, as_map, body_stages

__all__ = ['recorded', 'pool', 'find_stages', 'PooledNet', 'pooled_net', 'FeatureHead']

@contextmanager
def recorded(
    body:nn.Module,
    names, # of its modules; '' is the body itself
):
    "A forward pass in the context leaves the outputs of these modules in the list that it yields, in their order."
    found = {}
    def keep(name): return lambda module, inputs, output: found.__setitem__(name, output)
    handles = [body.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try: yield lambda: [found[name] for name in names]
    finally:
        for handle in handles: handle.remove()

def pool(
    output:torch.Tensor, # a feature map, tokens, or features that are pooled already
    x:torch.Tensor, # the images that it was computed from
) -> torch.Tensor: # fp32, `(n, features)`
    "Maximum and average of a feature map, beside one another; what is pooled already stays as it is."
    if isinstance(output, TensorBase): output = output.as_subclass(torch.Tensor) # others `torch.export` may trace
    output = output.float()
    if output.ndim == 2: return output
    found = as_map(output, x) if output.ndim == 4 else output.transpose(1, 2)[..., None]
    if found is None: found = output # of another shape than the image: rows and columns come last, as in torch
    return torch.cat([found.amax((2, 3)), found.mean((2, 3))], 1)

def find_stages(
    body:nn.Module, # gives a feature map, or pooled features
    x:torch.Tensor, # a batch of images
    stages:int=2, # how many at most
) -> list: # names of modules, the last stage last
    """Find the last stages of a body: the last module whose feature map has its number of rows, for each number.

    A body without such maps, a transformer of tokens, has one stage: the body itself, whose name is ''. Of several
    bodies that are joined, the last stages of each. """
    for name, joined in body.named_modules():
        if isinstance(joined, Bodies):
            return [f'{name}.{i}.{o}'.strip('.') for i, one in enumerate(joined) for o in find_stages(one, x, stages)]
    names, found = {m: n for n, m in body.named_modules()}, {}
    def keep(layer, inputs, output):
        features = as_map(output, x)
        if features is not None:
            found.pop(features.shape[2:], None) # the last one counts, and comes last
            found[features.shape[2:]] = names[layer]
        elif getattr(output, 'ndim', 0) == 3: found.clear() # what came before is seen as tokens alone
    handles = [m.register_forward_hook(keep) for m in dict.fromkeys(body_stages(nn.Sequential(body)))]
    try: out = frozen_forward(body, x)
    finally:
        for handle in handles: handle.remove()
    if out.ndim == 2 and not found or out.ndim == 3: return ['']
    return list(found.values())[-stages:] or ['']

def frozen_forward(body, x):
    "The forward pass of a body that does not train."
    training = body.training
    try:
        with torch.no_grad(): return body.eval()(x)
    finally: body.train(training)

class PooledNet(nn.Sequential):
    "A network of body and head, whose head sees the pooled feature maps of several `stages` of the body."
    stages = '', # names of modules of the body
    def forward(self, x):
        with recorded(self[0], self.stages) as outputs:
            self[0](x)
            return self[1](torch.cat([pool(o, x) for o in outputs()], 1))

def pooled_net(
    body:nn.Module,
    head:nn.Module, # of the pooled features
    stages, # names, from `find_stages`
) -> PooledNet:
    "Put a body and a head on its pooled stages together."
    net = PooledNet(body, head)
    net.stages = tuple(stages)
    return net

class FeatureHead(nn.Module):
    "A linear classifier of pooled features in fp32: standardised, dropout, one linear layer."
    half_features = False # of a learner that was pickled before there was a choice
    def __init__(self,
        features:int, n_out:int, # numbers that go in and come out
        ps:float=0.5, # dropout
        half:bool=False, # round features to fp16, as the cache keeps those that it was trained on?
    ):
        super().__init__()
        self.half_features = half
        self.register_buffer('mean', torch.zeros(features))
        self.register_buffer('std', torch.ones(features))
        self.drop, self.linear = nn.Dropout(ps), nn.Linear(features, n_out)
    def standardise(self,
        x, # `(chips, views, features)`
        rows, # of the training set
    ):
        "Take mean and standard deviation of the training set; a feature that never changes stays as it is."
        total, square, n = 0., 0., 0
        for some in torch.as_tensor(rows).split(1024):
            part = x[some].double().flatten(0, -2)
            total, square, n = total + part.sum(0), square + (part**2).sum(0), n + len(part)
        mean = total/n
        std = (square/n - mean**2).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))
    def forward(self, x): # of several views, `(chips, views, features)`, the mean of the logits
        kind = x.device.type
        if self.half_features: x = x.float().clamp(-65504, 65504).half()
        with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
            logits = self.linear(self.drop((x.float() - self.mean)/self.std))
        return logits.mean(1) if logits.ndim == 3 else logits
