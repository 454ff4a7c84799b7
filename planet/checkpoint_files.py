"The files of a checkpoint: nested values as JSON and safetensors, with hashes; random states; no code runs."
import hashlib
import json
import random
import re
import shutil
from pathlib import Path
import numpy as np
import torch
from fastcore.foundation import L
from safetensors.torch import load_file, save_file
from planet.distributed import bare

__all__ = ['MODEL', 'TRAINING', 'Saved', 'pack', 'unpack', 'random_state', 'set_random_state', 'write_checkpoint',
           'read_checkpoint', 'epoch_number', 'find_checkpoints', 'option_differences',
           'differences']

# ---- values as JSON and tensors

def pack(value, tensors:dict, name=''): # JSON; what it holds of tensors goes into `tensors`
    "Turn nested dicts and lists into JSON, with each tensor under a name of its own."
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return dict(tensor=name)
    if isinstance(value, np.ndarray): return pack(torch.from_numpy(value.astype(np.int64)), tensors, name)
    if isinstance(value, np.generic): return value.item()
    if isinstance(value, dict):
        return dict(items=[[k, pack(v, tensors, f'{name}.{k}')] for k, v in value.items()])
    if isinstance(value, (list, tuple, L)): return [pack(v, tensors, f'{name}.{i}') for i, v in enumerate(value)]
    return value

def unpack(value, tensors:dict):
    "The values that `pack` turned into JSON; tuples and arrays come back as lists and tensors."
    if isinstance(value, list): return [unpack(v, tensors) for v in value]
    if not isinstance(value, dict): return value
    return tensors[value['tensor']] if 'tensor' in value else {k: unpack(v, tensors) for k, v in value['items']}

# ---- random states

def random_state(dls) -> dict:
    "States of all generators of random numbers: Python's, NumPy's, torch's and those of the `DataLoaders`."
    return dict(python=random.getstate(), numpy=np.random.get_state(), torch=torch.get_rng_state(),
                cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                loaders=[bare(d).rng.getstate() for d in dls.loaders])

def set_random_state(state:dict, # from `random_state`, perhaps packed and unpacked
                     dls):
    "Put back the states of all generators of random numbers."
    def of_python(o): return o[0], tuple(o[1]), o[2]
    random.setstate(of_python(state['python']))
    kind, keys, *rest = state['numpy']
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state['torch'])
    if len(state['cuda']) == torch.cuda.device_count(): torch.cuda.set_rng_state_all(state['cuda'])
    for d, o in zip(dls.loaders, state['loaders']): bare(d).rng.setstate(of_python(o))

# ---- files

MODEL, TRAINING = 'model.safetensors', 'training.safetensors'

def _digest(path): return hashlib.sha256(path.read_bytes()).hexdigest()
def _of_json(facts): return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

def write_checkpoint(path:Path, # the folder to make
                     model:dict, # state dict
                     training:dict, # what else training depends on, with tensors in it
                     facts:dict, # JSON
                    ):
    "Write a checkpoint: whole or not at all."
    part = path.with_name(f'.{path.name}.part')
    shutil.rmtree(part, ignore_errors=True)
    tensors = {}
    packed = pack(training, tensors)
    try:
        part.mkdir(parents=True)
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in model.items()}, part/MODEL)
        save_file(tensors, part/TRAINING)
        whole = facts | dict(training=packed, files={name: _digest(part/name) for name in (MODEL, TRAINING)})
        (part/'state.json').write_text(json.dumps(whole | dict(digest=_of_json(whole))), encoding='utf-8')
        shutil.rmtree(path, ignore_errors=True)
        part.replace(path)
    finally: shutil.rmtree(part, ignore_errors=True)

class Saved:
    "A checkpoint that was read: `model` (state dict), `training`, and `facts`."
    def __init__(self, path, model, training, facts):
        self.path, self.model, self.training, self.facts = path, model, training, facts

def read_checkpoint(path:Path) -> Saved:
    "Read and verify a checkpoint; `ValueError` says why it is damaged."
    try:
        facts = json.loads((path/'state.json').read_text(encoding='utf-8'))
        if facts.pop('digest') != _of_json(facts): raise ValueError('state.json was changed')
        for name, digest in facts.pop('files').items():
            if _digest(path/name) != digest: raise ValueError(f'{name} is not what was written')
        return Saved(path, load_file(path/MODEL), unpack(facts.pop('training'), load_file(path/TRAINING)), facts)
    except OSError as e: raise ValueError(f'{Path(e.filename or path).name}: {e.strerror}') from None
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError('state.json is truncated or was changed') from None

def epoch_number(path) -> int: # -1 where it is no checkpoint
    "How many epochs were done at a checkpoint, from the name of its folder."
    return int(found[1]) if (found := re.fullmatch(r'epoch-(\d+)', path.name)) else -1

def find_checkpoints(folder:Path) -> list: # of paths, the oldest first
    "The checkpoints in a folder."
    return sorted((p for p in folder.iterdir() if epoch_number(p) >= 0), key=epoch_number) if folder.is_dir() else []

# ---- what a checkpoint was made from

IGNORED = 'out', 'name', 'resume', 'patience', 'data', 'workers', 'track', 'wandb', 'wandb_mode', 'decide', 'pickle'

def option_differences(then:dict, now:dict) -> list:
    "Options that training depends on, as they were then, where they are not so now."
    then, now = (json.loads(json.dumps(o, default=str)) for o in (then, now))
    return [f'`{k}` {then[k]!r} (now {now[k]!r})' for k in then if k in now and k not in IGNORED and then[k] != now[k]]

FINGERPRINTS = dict(table='another label table', files='other image files', split='another split')

def differences(then:dict, now:dict) -> list: # `options`, `vocab`, `fingerprint`
    "What a checkpoint was made with, in words, where it is not what is given now."
    found = option_differences(then.get('options', {}), now.get('options', {}))
    old, new = (list(o.get('vocab') or []) for o in (then, now))
    if old != new:
        changes = [f"{what} {', '.join(sorted(tags)[:3])}" for what, tags in
                   (('with', {*old} - {*new}), ('without', {*new} - {*old})) if tags]
        found.append(' '.join(['another vocab', *changes]))
    old, new = (o.get('fingerprint') or {} for o in (then, now))
    return found + [FINGERPRINTS[k] for k in FINGERPRINTS if k in old and k in new and old[k] != new[k]]
