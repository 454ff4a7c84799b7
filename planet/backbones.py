"""Pretrained backbones: a name (torchvision, timm) or a callable -> model, weights, normalisation, channels, sizes."""
from planet.cli import UserError, near_names, say  # before fastai, whose import it quiets

# isort: split
import inspect
import sys
from copy import copy
from functools import partial
from pathlib import Path
from time import monotonic
import timm
import torch
import torchvision
from fastai.data.transforms import get_c
from fastai.learner import Learner
from fastai.vision.core import imagenet_stats
from fastai.vision.learner import TimmBody, create_body, create_head, has_pool_type, model_meta, vision_learner
from torch import nn
from torchvision.models import get_model_weights
from planet.callbacks import add_progress
from planet.joined import Joined, part_names
from planet.weights import (
    call,
    colour_positions,
    fit_state,
    hub_files,
    last_layer,
    models_of,
    read_weights,
    widen_model,
)

__all__ = ['BACKBONES', 'Backbone', 'JoinedBackbone', 'find_backbone', 'find_arch']

BACKBONES = {} # your own: name -> a function that builds the network, or a `Backbone` of it
SEARCH_SECONDS = 5 # for sizes that work

# ---- by name

def find_arch(
    name:str, # of torchvision (`resnet50`, `vit_b_16`) or timm (`convnext_tiny`), in upper or lower case
): # the function that builds it, or timm's name
    "Find a backbone by name; raises `UserError`, with near names, where there is none."
    key, own, fastais = name.lower(), {o.lower(): v for o, v in BACKBONES.items()}, {f.__name__: f for f in model_meta}
    for known in (own, fastais):
        if key in known: return known[key]
    if timm.is_model(key): # also with the tag of its weights, as in `resnet50.a1_in1k`
        arch, _, tag = key.partition('.')
        tags = [o.partition('.')[2] for o in timm.list_models(f'{arch}.*', pretrained=True)]
        if tag and tag not in tags: raise UserError(f"{name} is unknown: {arch} has weights {', '.join(tags)}", 'arch')
        return key
    others = torchvision.models.list_models(torchvision.models)
    if key in others: return torchvision.models.get_model_builder(key)
    near = near_names(key, [*own, *fastais, *timm.list_models(), *others])
    raise UserError(f'{name or repr(name)} is unknown{near}', option='arch')

# ---- the value

def as_it_is(model):
    "A `cut` that leaves a network whole."
    return model

class Backbone:
    """A backbone for transfer learning: how to build it, the normalisation of its weights, channels and sizes.

    `find_backbone` makes one of a name or a function. Make one yourself to give a network of your own its
    normalisation: `Backbone(my_net, stats=(mean, std))`. `my_net()` is a module that gives a feature map `(n, c, h, w)`
    or features `(n, c)`; one that ends in a classifier is cut at its last pooling layer, as fastai does.
    """
    native, patch = 224, 1 # the size of the weights' images, and of a transformer's patches
    colours = 0, 1, 2 # positions of red, green and blue among the channels of an image
    def __init__(self,
        arch, # a function that builds the network; one with a parameter `pretrained` (or `weights`) has weights
        stats:tuple=None, # mean and standard deviation of each channel; those of the architecture's weights by default
        name:str=None, # for messages
    ):
        self.arch, self.plans = arch, {}
        self.name = name or (arch if isinstance(arch, str) else getattr(arch, '__name__', type(arch).__name__))
        self.stats = tuple(tuple(o) for o in stats or self.own_stats())

    def own_stats(self): return imagenet_stats # where nothing else is known
    @property
    def key(self): # the name that `find_backbone` finds it by
        own = (k for k, v in BACKBONES.items() if v is self or v is self.arch)
        return next(own, self.arch if isinstance(self.arch, str) else self.name)
    def has_weights(self) -> bool:
        "Whether pretrained weights exist."
        return bool({'pretrained', 'weights'} & set(inspect.signature(self.arch).parameters))
    def cached_files(self) -> list: # of `Path`
        "Where the libraries keep downloaded weights."
        return []

    def channel_stats(self, channels:int=3) -> tuple: # mean and standard deviation, `channels` numbers each
        "The normalisation for images of any number of channels: where the weights' does not fit, its average for each."
        return tuple(o if len(o) == channels else (sum(o)/len(o),)*channels for o in self.stats)

    # what differs between libraries: arguments to try, the network up to its features, and how a learner is built of it

    def tries(self, size): return [{}]
    def body(self, pretrained=False, channels=3, **kwargs):
        return create_body(call(self.arch, pretrained, **kwargs), channels, pretrained, cut=as_it_is)
    def plan_for(self, size, channels, kwargs): # -> arguments of `vision_learner`, features, and are they pooled?
        model = self.body(channels=channels, **kwargs).eval()
        out = model(torch.empty(2, channels, size, size))
        if out.ndim == 2 and any(map(has_pool_type, model.children())): # a classifier, which fastai knows to cut
            return dict(arch=partial(call, self.arch), **({} if channels == 3 else dict(n_in=channels))), 0, False
        return dict(arch=partial(self.uncut, channels=channels, **kwargs)), out.shape[1], out.ndim == 2
    def uncut(self, pretrained=False, **kwargs): # fastai cuts a network at its last pooling layer: here, after the body
        return nn.Sequential(self.body(pretrained, **kwargs), nn.AdaptiveAvgPool2d(1))
    def whole(self, learn, channels, kwargs): # -> a model with the weights' names, what does not count, what comes last
        return learn.model[0][0], (), as_it_is
    def convert(self, model, state): return state # from other formats of its weights

    def plan(self, size:int, channels:int=3): # -> arguments of the network, and what `plan_for` gives
        "How to build it for images of `size` x `size` pixels; raises the model's own error where they do not suit it."
        error = None
        for kwargs in [] if (size, channels) in self.plans else self.tries(size):
            try: self.plans[size, channels] = kwargs, *self.dry_run(size, channels, kwargs)
            # each model has errors of its own; a `TypeError` says only that it has no such argument
            except Exception as e: error = error if error and isinstance(e, TypeError) else e
            else: break
        if (size, channels) not in self.plans: raise error
        return self.plans[size, channels]

    def dry_run(self, size, channels, kwargs):
        "`plan_for` without drawing random numbers, and without memory unless the model reads its own weights."
        def on(device):
            with torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad():
                return self.plan_for(size, channels, kwargs)
        try: return on('meta')
        except Exception as e:
            if 'meta' not in str(e): raise
        return on('cpu')

    def check_size(self,
        size:int, # height and width in pixels
        channels:int=3, # of the images
    ):
        "Raise a `UserError` with sizes that work where the architecture does not accept `size`; no image is needed."
        try: self.plan(size, channels)
        except Exception as e:
            why = ' '.join(str(e).split()).rstrip('.')
            works = self.sizes_near(size, channels)
            if not works: raise UserError(f'{self.name} cannot be used: {why}', option='arch') from None
            raise UserError(f"{size} does not suit {self.name} ({why}); of the sizes near it, "
                            f"{', '.join(map(str, works))} work", option='size') from None

    def sizes_near(self, size:int, channels:int=3) -> list:
        "The size of the weights' images, and two at most near `size`, that the architecture accepts."
        found, start = [], monotonic()
        steps = {o for step in (14, 32) for o in range(step, 2*size+2*step, step)} - {self.native, size}
        for near in [self.native, *sorted(steps, key=lambda o: abs(o-size))]:
            if len(found) == 3 or monotonic() - start > SEARCH_SECONDS: break
            try: self.plan(near, channels)
            except Exception: continue
            found.append(near)
        return sorted(found)

    def learner(self,
        dls, size:int, channels:int=3, # batches, and the images in them
        pretrained:bool=False, # with the weights that its makers published?
        **kwargs, # for `vision_learner`
    ) -> Learner:
        "fastai's `vision_learner` for any backbone, transformers too; convolutional networks are built as fastai does."
        self.check_size(size, channels)
        changes, call_with, features, pooled = self.plan(size, channels)
        if left := size % self.patch if 'img_size' in changes else 0:
            say(f'{self.name} cuts images into patches of {self.patch} pixels: the last {left} of {size} are not seen')
        given = {k: kwargs[k] for k in inspect.signature(create_head).parameters if k in kwargs}
        given['n_out'] = kwargs.get('n_out') or get_c(dls)
        kwargs = {**kwargs, **call_with, 'pretrained': pretrained, 'normalize': False}
        if features and kwargs.get('custom_head') is None:
            kwargs['custom_head'] = create_head(features, **{**given, 'pool': not pooled})
        learn = vision_learner(dls, **kwargs)
        if pretrained and (channels != 3 or self.colours != (0, 1, 2)): self.widen(learn.model, changes)
        add_progress(learn) # loggers ask for `arch`, and `build_model` takes the settings, which JSON can hold
        learn.arch, learn.settings = self.arch, dict(arch=self.key, channels=channels, size=size, **given)
        return learn

    def widen(self, model, changes): # fastai gives bands other than colours weights of 0
        with torch.random.fork_rng([]): widen_model(model, self.body(True, 3, **changes), self.colours)
    def read(self, weights): return read_weights(weights) # as `load` takes them

    def load(self,
        learn:Learner, size:int, channels:int, # from `learner`, with these
        state:dict, # from `planet.weights.read_weights`: a whole model's, whose classifier is left aside
        path='', # where `state` came from, for messages
    ):
        "Load a whole model's weights into the body; raises `UserError` where they are another architecture's."
        changes = self.plan(size, channels)[0]
        model, classifier, finish = self.whole(learn, channels, changes)
        name = self.name + (f' for images of {size} pixels' if changes else '')
        same = (state, model.state_dict(), classifier, path, name, partial(self.convert, model), models_of)
        model.load_state_dict(fit_state(*same, self.colours), strict=False)
        finish(model)

class FastaiBackbone(Backbone):
    "One of the torchvision models that fastai knows how to cut."
    def has_weights(self): return True
    def cached_files(self):
        return hub_files(get_model_weights(self.arch).DEFAULT.url) if 'weights' in model_meta[self.arch] else []
    def body(self, pretrained=False, channels=3):
        return create_body(call(self.arch, pretrained), channels, pretrained, model_meta[self.arch]['cut'])
    def plan_for(self, size, channels, kwargs):
        self.body(channels=channels).eval()(torch.empty(2, channels, size, size))
        return dict(arch=self.arch, **({} if channels == 3 else dict(n_in=channels))), 0, False
    def whole(self, learn, channels, kwargs):
        # built anew, on the processor: the random numbers that this takes decide what dropout draws later
        model = call(self.arch)
        classifier = f'{last_layer(model)}.',
        body = create_body(model, channels, False, model_meta[self.arch]['cut'])
        return model, classifier, lambda _: learn.model[0].load_state_dict(body.state_dict())

class TorchvisionBackbone(Backbone):
    "Any other classifier of torchvision's, transformers at other sizes too; its own pooled features are taken."
    def own_stats(self):
        preset = get_model_weights(self.arch).DEFAULT.transforms()
        return preset.mean, preset.std
    def cached_files(self): return hub_files(get_model_weights(self.arch).DEFAULT.url)
    def tries(self, size): return [{}, dict(image_size=size), dict(input_size=(size, size))]
    def body(self, pretrained=False, channels=3, **kwargs):
        model = self.arch(weights=None, **kwargs)
        if pretrained:
            weights = get_model_weights(self.arch).DEFAULT
            model.load_state_dict(self.convert(model, weights.get_state_dict(check_hash=True)))
        model.classifier_name = last_layer(model)
        parent, _, name = model.classifier_name.rpartition('.')
        setattr(model.get_submodule(parent), name, nn.Identity())
        return create_body(model, channels, pretrained, cut=as_it_is)
    def whole(self, learn, channels, kwargs):
        return learn.model[0][0], (f'{learn.model[0][0].classifier_name}.',), as_it_is
    def convert(self, model, state):
        if 'encoder.pos_embedding' not in state: return state
        return torchvision.models.vision_transformer.interpolate_embeddings(model.image_size, model.patch_size, state)

class TimmBackbone(Backbone):
    "One of timm's models, by name."
    def __init__(self, arch, stats=None, name=None):
        self.config = timm.get_pretrained_cfg(arch)
        if self.config: self.native = self.config.input_size[-1]
        super().__init__(arch, stats, name)
    def own_stats(self): return (self.config.mean, self.config.std) if self.config else imagenet_stats
    def has_weights(self): return bool(self.config and self.config.has_weights)
    def cached_files(self):
        from huggingface_hub import try_to_load_from_cache
        names = 'model.safetensors', 'pytorch_model.bin'
        found = [try_to_load_from_cache(self.config.hf_hub_id, o) for o in names] if self.config.hf_hub_id else []
        # the name in the cache is a link; what is damaged, and to be deleted, lies behind it
        return [Path(o).resolve() for o in found if isinstance(o, str)] + hub_files(self.config.url or '')
    def tries(self, size): return [{}, dict(dynamic_img_size=True), dict(img_size=size)]
    def body(self, pretrained=False, channels=3, **kwargs):
        body = TimmBody(timm.create_model(self.arch, pretrained=pretrained, num_classes=0, in_chans=channels, **kwargs))
        body.needs_pool = False # Swin's last features have their channels last: let it pool them itself
        return body
    def plan_for(self, size, channels, kwargs):
        model, x = self.body(channels=channels, **kwargs).model.eval(), torch.empty(2, channels, size, size)
        out, patch = model(x), getattr(getattr(model, 'patch_embed', None), 'patch_size', 1)
        self.patch = patch[0] if isinstance(patch, (tuple, list)) else patch
        if model.default_cfg.get('pool_size') is None: as_fastai = out.shape[1] == model.num_features
        else:
            last = model.forward_features(x)
            as_fastai = last.ndim == 4 and last.shape[1] == model.num_features
        if not as_fastai:
            return dict(arch=partial(self.uncut, channels=channels, **kwargs)), out.shape[1], True
        return dict(arch=self.arch, **kwargs, **({} if channels == 3 else dict(n_in=channels))), 0, False
    def whole(self, learn, channels, kwargs):
        model = timm.create_model(self.arch, pretrained=False, in_chans=channels, **kwargs)
        classifier = model.default_cfg['classifier']
        classifier = tuple(f'{o}.' for o in ([classifier] if isinstance(classifier, str) else classifier))
        body = next(m for m in learn.model[0].modules() if isinstance(m, TimmBody)).model
        return model, classifier, lambda _: body.load_state_dict(model.state_dict(), strict=False)
    def convert(self, model, state):
        read = getattr(sys.modules[type(model).__module__], 'checkpoint_filter_fn', None)
        return read(state, model) if read else state

class JoinedBackbone(Joined, Backbone):
    "Several backbones, each with weights and normalisation of its own: their pooled features beside one another."

def find_backbone(
    arch, # a name (torchvision, timm, `BACKBONES`; several by +), a function that builds a model, or a `Backbone`
    stats:tuple=None, # mean and standard deviation of each channel; those of the architecture's weights by default
    bands=None, # names of the images' bands (`Chips.bands`), where they are not red, green, blue
) -> Backbone:
    "Find a pretrained backbone by name or function; raises `UserError`, with near names, where there is none."
    if isinstance(arch, str) and '+' in arch:
        return JoinedBackbone([find_backbone(o, stats, bands) for o in part_names(arch)])
    if bands:
        found = copy(find_backbone(arch, stats))
        found.colours = colour_positions(bands)
        return found
    found = find_arch(arch) if isinstance(arch, str) else arch
    if isinstance(found, Backbone): return found
    if isinstance(found, str): return TimmBackbone(found, stats)
    if found in model_meta: return FastaiBackbone(found, stats)
    if getattr(found, '__module__', '').startswith('torchvision.models'): return TorchvisionBackbone(found, stats)
    if not callable(found): raise UserError(f'{found!r} is neither a name nor a function', option='arch')
    return Backbone(found, stats)
