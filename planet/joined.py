"Several backbones as one (`resnet18+resnet34`): every body sees the same pixels, their pooled features are joined."
from planet.cli import UserError  # before fastai, whose import it quiets

# isort: split
from functools import partial
from types import SimpleNamespace
import torch
from fastai.data.core import DataLoaders
from fastcore.basics import noop
from planet.gradcam import Bodies
from planet.pooling import pool

__all__ = ['part_names', 'JoinedBody', 'Joined']

def part_names(
    arch:str, # names by +, such as `resnet18+resnet34`
) -> list:
    "The names of joined backbones; raises `UserError` where one is empty or comes twice."
    names = [o.strip().lower() for o in arch.split('+')]
    if '' in names: raise UserError(f'{arch} has an empty name: resnet18+resnet34 joins two backbones', option='arch')
    if twice := next((o for i, o in enumerate(names) if o in names[:i]), None):
        raise UserError(f'{arch} joins {twice} with itself: name each backbone once', option='arch')
    return names

class JoinedBody(Bodies):
    "Bodies whose pooled features are concatenated; images come normalised for the first, and are converted for others."
    def __init__(self,
        bodies, # modules: images -> a feature map, tokens or features
        stats, # for each, mean and standard deviation of every channel
    ):
        super().__init__(bodies)
        mean, std = (torch.tensor(o)[..., None, None] for o in zip(*stats)) # `(bodies, channels, 1, 1)`
        self.register_buffer('scale', std[0]/std)
        self.register_buffer('shift', (mean[0] - mean)/std)
    def forward(self, x):
        return torch.cat([pool(body(x*self.scale[i] + self.shift[i]), x) for i, body in enumerate(self)], 1)

class Joined:
    "What `planet.backbones.JoinedBackbone` does otherwise than a `Backbone` of one network."
    def __init__(self,
        parts:list, # of `Backbone`
    ):
        self.parts = parts
        super().__init__('+'.join(o.key for o in parts), parts[0].stats)
        self.native = parts[0].native
    def has_weights(self): return all(o.has_weights() for o in self.parts)
    def cached_files(self): return [path for o in self.parts for path in o.cached_files()]

    def body(self, pretrained=False, channels=3, size=224):
        def build(part): # as it is alone: cut, and widened to bands
            learn = part.learner(DataLoaders(), size, channels, pretrained, n_out=1, loss_func=noop)
            return learn.model[0].requires_grad_(True)
        return JoinedBody([build(o) for o in self.parts], [o.channel_stats(channels) for o in self.parts])
    def plan_for(self, size, channels, kwargs):
        build = partial(self.uncut, channels=channels, size=size)
        return dict(arch=build), self.body(channels=channels, size=size).eval()(
            torch.empty(2, channels, size, size)).shape[1], True
    def plan(self, size, channels=3):
        if (size, channels) not in self.plans: # a size that one refuses is refused
            each = [o.plan(size, channels)[0] for o in self.parts]
            self.plans[size, channels] = dict(parts=each) if any(each) else {}, *self.dry_run(size, channels, {})
        return self.plans[size, channels]
    def widen(self, model, changes): pass # each body is widened already

    def read(self, weights):
        "A file for each body, by + and in their order."
        files = str(weights).split('+')
        if len(files) != len(self.parts):
            raise UserError(f'{weights} is for {len(files)} of the {len(self.parts)} networks of {self.name}: '
                            'a file for each, joined by + in their order, or imagenet or none', option='weights')
        return [part.read(file) for part, file in zip(self.parts, files)]
    def load(self, learn, size, channels, state, path=''):
        for part, body, one, file in zip(self.parts, learn.model[0][0], state, str(path).split('+')):
            part.load(SimpleNamespace(model=[body]), size, channels, one, file)
