"""Pretrained weights: downloads with short timeouts; state dicts read, checked, stripped and fitted to a model."""
from planet.cli import UserError, say  # before fastai, whose import it quiets

# isort: split
import inspect
import socket
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen
import torch
from fastai.vision.learner import model_meta
from torch import nn

__all__ = ['short_timeouts', 'hub_files', 'is_readable', 'read_weights', 'widen_first', 'widen_model',
           'colour_positions', 'fit_state', 'misfits', 'without', 'call', 'last_layer', 'models_of']

CONNECT_SECONDS = 5 # patience with a network

WRAPPERS = 'state_dict_ema', 'model_ema', 'ema', 'state_dict', 'model', 'teacher', 'student', 'net'
PREFIXES = 'module.', '_orig_mod.', 'model.', 'backbone.', 'encoder.', 'encoder_q.', 'teacher.', 'student.', 'net.'
HARMLESS = 'num_batches_tracked', 'relative_position_index', 'attn_mask' # counters and constants that some files lack

@contextmanager
def short_timeouts(
    hub:bool=True, # ask Hugging Face's hub whether it answers, and take what lies in its cache if not
):
    "Download with a timeout of seconds: sets the process's socket timeout and offline mode, and restores both."
    from huggingface_hub import constants
    before, offline = socket.getdefaulttimeout(), constants.HF_HUB_OFFLINE
    try:
        socket.setdefaulttimeout(CONNECT_SECONDS)
        if hub and not offline:
            try: urlopen(Request(constants.ENDPOINT, method='HEAD'), timeout=CONNECT_SECONDS).close()
            except OSError: constants.HF_HUB_OFFLINE = True
        yield
    finally:
        socket.setdefaulttimeout(before)
        constants.HF_HUB_OFFLINE = offline

def hub_files(
    url:str, # of weights
) -> list: # the file, if it is there
    "The file in torch's cache that weights were downloaded to."
    path = Path(torch.hub.get_dir())/'checkpoints'/url.rpartition('/')[2]
    return [path] if path.is_file() else []

def load_file(path):
    "What a `.safetensors` or `.pth` file holds; runs none of its code."
    if path.suffix == '.safetensors':
        from safetensors.torch import load_file
        return load_file(path)
    return torch.load(path, map_location='cpu', weights_only=True)

def is_readable(
    path:Path, # a `.safetensors` or `.pth` file
) -> bool:
    "Whether a checkpoint file can be read whole."
    try: load_file(path)
    except Exception: return False # a damaged file fails in a dozen ways
    return True

def faulty(path, why):
    "The `UserError` for a weights file, with its path and what is wrong."
    return UserError(f'{path} {why}', option='weights')

def read_weights(
    path, # a `.safetensors` file, or a `.pth` of a state dict, or of a dict with one in it (`state_dict`, `model`, ...)
) -> dict: # name -> float tensor
    """Read the weights of a checkpoint file, in fp32, without running its code.

    Raises `UserError` where it is missing, no such file, quantised to integers, or holds NaN or infinite numbers.
    """
    path = Path(path).expanduser()
    if not path.exists(): raise UserError(f'{path}: no such file (or auto, imagenet, none)', option='weights')
    if not path.is_file(): raise faulty(path, 'is no file: a .safetensors or .pth file is wanted')
    try: state = load_file(path)
    except PermissionError: raise faulty(path, 'cannot be read: permission denied') from None
    # a file that is none of the two fails in a dozen ways: what went wrong is in the message
    except Exception as e:
        why = ' '.join([f'{type(e).__name__}:', *str(e).splitlines()[:1]])
        if 'Weights only load failed' in why: # its advice is to run the file's code
            whole = open(path, 'rb').read(4) == b'PK\3\4'
            why = 'it holds other Python objects: save model.state_dict() alone' if whole else 'none of its formats'
        raise faulty(path, f'is no readable .safetensors or .pth file of weights ({why})') from None
    for _ in range(3):
        inner = [state[k] for k in WRAPPERS if isinstance(state.get(k), dict)] if isinstance(state, dict) else []
        if not inner and isinstance(state, dict): # under another name, where there is no doubt
            found = [v for v in state.values() if isinstance(v, dict) and v and all(map(torch.is_tensor, v.values()))]
            inner = found if len(found) == 1 else []
        if not inner: break
        state = inner[0]
    if not (isinstance(state, dict) and state and all(isinstance(v, torch.Tensor) for v in state.values())):
        raise faulty(path, 'holds no state dict (names and tensors)')
    for name, v in state.items():
        if v.is_meta or v.layout != torch.strided: raise faulty(path, f'holds sparse or missing values in {name}')
        integers = name.endswith('.weight') and not v.is_floating_point()
        if integers or v.is_quantized or v.dtype in (torch.int8, torch.uint8):
            kind = str(v.dtype).removeprefix('torch.')
            raise faulty(path, f'is quantised ({name} is {kind}): float weights are needed')
        # a variance that overflowed where weights were saved in 16 bits is harmless: its channel is normalised to 0
        overflow = name.endswith('running_var') and v.dtype == torch.float16 and not v.isnan().any()
        if v.is_floating_point() and not overflow and not torch.isfinite(v.float()).all():
            raise faulty(path, f'holds NaN or infinite numbers in {name}: take other weights')
    if any(v.ndim > 1 for v in state.values()) and not any(v.any() for v in state.values() if v.ndim > 1):
        raise faulty(path, 'holds nothing but zeros')
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}

def stripped(state, depth=3):
    "`state` as it is, then with known prefixes taken off its names: pairs of prefix and state dict."
    yield '', state
    shared = {k.partition('.')[0] + '.' for k in state} # by all names: what wraps the model, whatever it is called
    for prefix in dict.fromkeys([*PREFIXES, *(shared if len(shared) == 1 else ())]) if depth else ():
        inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if inner: yield from ((prefix+more, found) for more, found in stripped(inner, depth-1))

def misfits(
    want:dict, # a state dict
    have:dict, # another
) -> list: # of names
    "Names that only one of two state dicts has, or whose shapes or kinds of number differ."
    def kinds(o): return {k: (*v.shape, v.is_floating_point()) for k, v in o.items() if not k.endswith(HARMLESS)}
    want, have = kinds(want), kinds(have)
    return [k for k in {**want, **have} if want.get(k) != have.get(k)]

def without(
    state:dict,
    classifier:tuple, # beginnings of its names
) -> dict:
    "A state dict without the classifier's tensors."
    return {k: v for k, v in state.items() if not k.startswith(classifier)}

def first_channels(state, want):
    "Name of a first convolution that differs in its input channels alone, and its channels in both; or `None`."
    key = next((k for k, v in want.items() if v.ndim == 4), None)
    a, b = state.get(key), want.get(key)
    if a is None or a.ndim != 4 or a.shape[1] == b.shape[1]: return None
    if (a.shape[0], *a.shape[2:]) == (b.shape[0], *b.shape[2:]): return key, a.shape[1], b.shape[1]

def widen_first(
    weight, # of a first convolution: `(out, 3, height, width)`, for red, green and blue
    channels:int, # that images have
    colours=(0, 1, 2), # positions of red, green and blue among them; `None` for one that they lack
): # `(out, channels, height, width)`
    "Widen a first convolution: colours keep their weights, other bands get the colours' mean; scaled as timm does."
    wide = weight.mean(1, keepdim=True).repeat(1, channels, 1, 1)
    for i, at in enumerate(colours):
        if at is not None and at < channels: wide[:, at] = weight[:, i]
    return wide*3/channels # so that the output keeps its size

def widen_model(
    model, # whose images have other bands than red, green and blue
    rgb, # the same network with pretrained weights, for three
    colours, # as in `widen_first`
):
    "Give a network's first convolution the pretrained weights for red, green and blue, widened to its bands."
    own, given = (next(m for m in o.modules() if isinstance(m, torch.nn.Conv2d)).weight for o in (model, rgb))
    with torch.no_grad(): own.copy_(widen_first(given.to(own), own.shape[1], colours))

def colour_positions(
    bands, # names of an image's bands
) -> tuple: # positions of red, green and blue among them; `None` for one that is not there
    "Where the colours are that a network's pretrained weights expect; of unnamed bands the first three."
    if not {'red', 'green', 'blue'} & set(bands): return 0, 1, 2
    return tuple(list(bands).index(c) if c in bands else None for c in ('red', 'green', 'blue'))

def fit_state(
    state:dict, # from `read_weights`
    want:dict, # the model's own state dict
    classifier:tuple=(), # beginnings of names that do not count
    path='', name='', # of the file and of the model, for messages
    convert=None, # the model's own reader of other formats of its weights: `convert(state)`
    models_of=lambda state: [], # names of models that the weights would fit
    colours=(0, 1, 2), # positions of red, green and blue among the model's channels, as in `widen_first`
) -> dict: # those that are to be loaded
    """Match a state dict to a model: strip known prefixes, and say so; adapt a first convolution of 3 channels.

    Raises `UserError` where tensors differ, with the models that they fit.
    """
    want, tries = without(want, classifier), []
    for prefix, found in stripped(state):
        for change in (None, convert) if convert else (None,):
            try: have = without(change(dict(found)) if change else found, classifier)
            except Exception: continue # the reader of another format
            first = next((k for k, v in want.items() if v.ndim == 4), None)
            if first in have and have[first].ndim == 4 and have[first].shape[1] == 3 and (
                    want[first].shape[1] != 3 or tuple(colours) != (0, 1, 2)):
                have = have | {first: widen_first(have[first], want[first].shape[1], colours)}
            odd = misfits(want, have)
            if not odd:
                if prefix: say(f'weights: {path}: names begin with {prefix}, which is left off')
                return have
            tries.append((len(odd), odd, have, found))
    _, odd, have, found = min(tries, key=lambda t: t[0])
    if differs := first_channels(have, want):
        raise faulty(path, f'does not fit: its first convolution takes {differs[1]} channels, images have {differs[2]}')
    fits = models_of(found)
    raise faulty(path, f"does not fit {name}: {len(odd)} tensors differ, such as {', '.join(odd[:2])}"
              + (f'; it fits `arch` {" or ".join(fits)}' if fits else ''))

# ---- networks of torchvision

def call(arch, pretrained=False, **kwargs):
    "Build a model by a function, in whichever way it takes `pretrained` (fastai's, torchvision's or not at all)."
    takes = inspect.signature(arch).parameters
    if 'pretrained' in takes: kwargs['pretrained'] = pretrained
    elif 'weights' in takes: kwargs['weights'] = 'DEFAULT' if pretrained else None
    return arch(**kwargs)

def last_layer(model): # -> its name
    "The classifier: the last linear or convolution layer (squeezenet's is a convolution)."
    return [n for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]

def models_of(state) -> list: # of names
    "The torchvision models whose weights `state` could be."
    fits = []
    with torch.device('meta'):
        for arch in (o for o in model_meta if 'weights' in model_meta[o]):
            model = call(arch)
            classifier = f'{last_layer(model)}.',
            if not misfits(*(without(o, classifier) for o in (model.state_dict(), state))): fits.append(arch.__name__)
    return fits
