"""The model folder: weights as safetensors, `model.json` and a model card; saved whole, checked when read, no pickle.

Reading and finding one needs neither torch nor fastai: `planet.inference.Tagger.load` builds the network.
"""
import hashlib
import json
import os
import shutil
from datetime import datetime, timezone
from pathlib import Path
from planet.cli import UserError
from planet.model_card import card
from planet.model_facts import fault
from planet.records import find_run, list_runs

__all__ = ['FORMAT', 'VERSION', 'find_model', 'read_model', 'read_validation', 'cannot_be_saved', 'save_model',
           'join_models', 'write_facts']

FORMAT, VERSION = 'planet model folder', 1
VALIDATION = 'validation.safetensors'
SEEN = 200 # training chips whose pixels are measured: what scenes are compared with

# ---- read

def _hash(path):
    digest = hashlib.sha256()
    with open(path, 'rb') as f:
        while block := f.read(1 << 20): digest.update(block)
    return digest.hexdigest()

def _own_hash(facts): # of all that model.json says, but for this hash
    text = json.dumps({k: v for k, v in facts.items() if k != 'sha256'}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

def read_model(folder, # a model folder
               check:bool=True, # compare the hashes of its files
              ) -> dict: # what its `model.json` says
    "Read and check a `model.json`; `UserError` in one line where it is damaged, newer or something else."
    folder = Path(folder).expanduser()
    path = folder/'model.json'
    try: facts = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError: raise UserError(f'{folder} is no model folder: no model.json is in it') from None
    except OSError as e: raise UserError(f'{path} cannot be read ({e.strerror})') from None
    except (ValueError, RecursionError):
        raise UserError(f'{path} is damaged (no JSON, or half of it): copy the model folder again') from None
    if not isinstance(facts, dict) or facts.get('format') != FORMAT:
        raise UserError(f"{path} was not written by planet: it does not say it is a {FORMAT}")
    if not isinstance(version := facts.get('version'), int) or version > VERSION:
        raise UserError(f'{path} has format {version!r}, and this planet reads up to {VERSION}: install a newer planet')
    if why := fault(facts): raise UserError(f'{path} is damaged ({why}): copy the model folder again')
    if facts.get('sha256') != _own_hash(facts):
        raise UserError(f'{path} was changed after it was written (its hash differs): copy the model folder again')
    for name, digest in facts['files'].items() if check else ():
        try: same = Path(name).name == name and _hash(folder/name) == digest
        except OSError as e: raise UserError(f'{folder/name} cannot be read ({e.strerror}): copy the model folder '
                                             'again') from None
        if not same: raise UserError(f'{folder/name} is damaged (its hash differs): copy the model folder again')
    return facts

def find_model(name, # a model folder, a run's folder or name, `last` or `best`
               out='runs', # where records lie
              ) -> Path: # the model folder
    "Find a model folder by path, run, `last` or `best`; `UserError` where there is none."
    path = Path(str(name)).expanduser()
    for folder in (path, path/'model'):
        if (folder/'model.json').is_file(): return folder
    if path.is_file(): raise UserError(f'{path} is a file: name a model folder, a run, last or best')
    if path.is_dir() and not (path/'record.json').exists():
        raise UserError(f'{path} is no model folder and no run: no model.json and no record.json is in it')
    try: record = find_run(name, out)
    except UserError as e: raise UserError(f'no model is called {name} ({e})') from None
    if (record.path/'model'/'model.json').is_file(): return record.path/'model'
    newest = next((r.path for r in list_runs(record.path.parents[1])[0] if (r.path/'model'/'model.json').is_file()), '')
    why = record.facts.get('no_model')
    raise UserError(f'{record.path} has no model folder: ' + (why or f'it is {record.status}, or was made before there '
                    'were any') + (f'; {newest} has one' if newest else '' if why else '; run its experiment again'))

def read_validation(folder, # a model folder
                   ) -> tuple: # names; probabilities `(n, tags)`, float32; targets `(n, tags)` or `(n,)`; groups
    "The validation set's names, probabilities, true tags and groups, as a model folder keeps them."
    from safetensors import safe_open
    path = Path(folder)/VALIDATION
    if not path.is_file(): raise UserError(f'{folder} has no probabilities of a validation set')
    with safe_open(path, 'numpy') as f:
        said = json.loads(f.metadata()['names'])
        return said['names'], f.get_tensor('probs'), f.get_tensor('targs'), said['groups']

# ---- write

def write_facts(folder, # a model folder
                facts:dict, # what its `model.json` is to say
               ):
    "Write `model.json` and the model card, with the hashes of the folder's other files; each whole or as it was."
    from planet.provenance import versions
    folder = Path(folder)
    files = {p.name: _hash(p) for p in sorted(folder.iterdir()) if p.suffix in ('.safetensors', '.onnx')}
    facts = dict(format=FORMAT, version=VERSION) | facts | dict(files=files)
    facts.setdefault('made', dict(time=datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'), versions=versions()))
    facts = json.loads(json.dumps(facts, default=str)) # as it will be read
    facts['sha256'] = _own_hash(facts)
    if why := fault(facts): raise ValueError(f'{folder}: {why}')
    for name, text in (('README.md', card(facts)), ('model.json', json.dumps(facts, indent=1) + '\n')):
        part = folder/f'.{name}.part'
        part.write_text(text, encoding='utf-8')
        part.replace(folder/name)

def _whole(folder, fill):
    "Make `folder` by `fill(a new folder beside it)`: whole, or as it was before."
    folder = Path(folder)
    part, old = folder.with_name(f'.{folder.name}.part'), folder.with_name(f'.{folder.name}.old')
    for path in (part, old): shutil.rmtree(path, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        fill(part)
        if folder.exists(): folder.rename(old)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return folder

def _write_validation(folder, result, probs):
    import numpy as np
    from safetensors.numpy import save_file
    said = json.dumps(dict(names=result.names, groups=result.groups and [str(g) for g in result.groups]))
    save_file(dict(probs=np.ascontiguousarray(probs, dtype=np.float32),
                   targs=np.asarray(result.targs).astype(np.int64 if result.targs.ndim == 1 else np.uint8)),
              folder/VALIDATION, dict(names=said))

def cannot_be_saved(learn, # a trained `Learner`
                    chips, # what it was trained on
                   ) -> str: # '' where it can be
    "Why a learner cannot be kept as a model folder: its images are decoded in a way of its own, or its network is."
    import torch
    from planet.learner import build_model
    decode = [type(f).__name__ for tl in getattr(learn.dls.valid_ds, 'tls', [])[:1] for f in tl.tfms.fs]
    if 'DecodeChip' not in decode or len(learn.dls.valid_ds.tls) != 2: return 'it is no tagger of chips'
    try:
        with torch.device('meta'): built = build_model(**learn.settings).state_dict()
    except Exception as e: return f"its network cannot be built by name ({' '.join(str(e).split())[:100]})"
    have = learn.model.state_dict()
    same = {k: v.shape for k, v in built.items()} == {k: v.shape for k, v in have.items()}
    return '' if same else 'its network is not the one that its name stands for'

def _member(learn):
    "What is to be known of one learner's network beside its weights."
    from fastai.data.transforms import Normalize
    norm = learn.dls.after_batch.fs.filter(lambda o: isinstance(o, Normalize))
    names = [type(cb).__name__ for cb in learn.cbs]
    mean, std = ([o.flatten().tolist() for o in (norm[0].mean, norm[0].std)] if norm
                 else ([0.]*learn.settings['channels'], [1.]*learn.settings['channels']))
    precision = getattr(learn, 'precision', None)
    return dict(settings=learn.settings, mean=mean, std=std,
                views=learn.dihedral_views.views if 'DihedralViews' in names else 1,
                precision=getattr(precision, 'precision', 'auto') if 'Precision' in names else 'fp32')

def _usual_pixels(chips):
    "Width and height of most of the first image files, as they are on the disk."
    from collections import Counter
    from planet.images import read_info
    sizes = Counter(o.size for o in map(read_info, chips.paths[:9]) if o.size)
    return [int(n) for n in sizes.most_common(1)[0][0].split('x')] if sizes else None

def _of_chips(chips, size):
    "What scenes ask of the training chips: ground size in metres of a side, and the values of their pixels by band."
    import numpy as np
    from planet.amazon import CHIP_SIZE, PIXEL_METRES, is_competition_vocab
    from planet.images import decode_file, in_threads
    from planet.rasters import chip_ground
    # a sample of all chips, so that the models of all folds say the same
    some = chips.paths[::-(-len(chips)//SEEN)]
    found = [p for p in in_threads(lambda path: decode_file(path, size, chips.limits)[0], some) if p is not None]
    metres = chip_ground(some[:9]) or (CHIP_SIZE*PIXEL_METRES if is_competition_vocab(chips.vocab) else None)
    if not found: return dict(metres=metres)
    seen = np.concatenate([p[:, ::3, ::3].reshape(len(p), -1) for p in found], 1)
    p1, p99 = np.percentile(seen, (1, 99), axis=1).round(1).tolist()
    return dict(metres=metres, values=dict(mean=seen.mean(1).round(2).tolist(), p1=p1, p99=p99, chips=len(found)))

def _fitted(calibration): # a `Calibrator`, or `None`
    if calibration: return {k: [float(o) for o in getattr(calibration, k)] for k in ('slope', 'bias')}

def _activation(loss_func, single, vocab):
    group = list(vocab) if single else [vocab[int(i)] for i in getattr(loss_func, 'exclusive', [])]
    return dict(softmax=group)

def save_model(folder, # to make, or to replace
               learn, # a trained `Learner` of chips
               result, # of `planet.results.evaluate`: its scores, rule and probabilities
               chips, # `Chips` that it was trained on: bands, limits, source
               rule=None, # the decision rule; by default the result's
               calibration=None, # a `planet.calibration.Calibrator`, where one was fitted
               members=None, # learners whose probabilities are averaged; by default `learn` alone
               warnings=(), # lines that whoever uses it should know
               **trained_on, # what else to say of the training: experiment, run, data, seed, ...
              ) -> Path: # `folder`
    "Save trained networks as a model folder for `Tagger.load`: weights, decision rule, normalisation, scores."
    from safetensors.torch import save_file
    members, vocab = list(members or [learn]), [str(t) for t in result.vocab]
    single, rule = result.targs.ndim == 1, rule or result.rule
    fitted = _fitted(calibration)
    names = ['weights.safetensors'] if len(members) == 1 else [f'weights-{i}.safetensors' for i in range(len(members))]
    source = chips.root.name if chips.source == str(chips.root) else chips.source # no path of one machine
    of = dict(source=source, train=len(learn.dls.train_ds), valid=len(result.names))
    said = dict(
        members=[_member(m) | dict(weights=name) for m, name in zip(members, names)],
        vocab=vocab, kind='classes' if single else 'tags', activation=_activation(learn.loss_func, single, vocab),
        exclusive=list(getattr(result, 'exclusive', None) or []), rule=rule.facts(), calibration=fitted,
        input=dict(size=learn.settings['size'], bands=list(chips.bands or ('red', 'green', 'blue')),
                   pixels=_usual_pixels(chips), **_of_chips(chips, learn.settings['size']),
                   limits=None if chips.limits is None else [[float(v) for v in o] for o in chips.limits]),
        bs=learn.dls.valid.bs, scores=result.scores, headline=result.headline(), trained_on=of | trained_on,
        tags={str(t): {k: None if v != v else float(v) for k, v in row.items()} for t, row in result.table.iterrows()}
        if not single else {}, warnings=list(warnings))
    def fill(part):
        for learner, name in zip(members, names):
            state = learner.model.state_dict()
            save_file({k: v.detach().cpu().contiguous().clone() for k, v in state.items()}, part/name)
        _write_validation(part, result, calibration(result.probs) if calibration else result.probs)
        write_facts(part, said)
    return _whole(folder, fill)

def _alike(value, key, stacker):
    "What has to be the same in models that are joined; those that are stacked may see images of other sizes."
    return {k: v for k, v in value.items() if k not in ('size', 'values')} if stacker and key == 'input' else value

def join_models(folders, # model folders of one vocab, size, bands and normalisation: the folds of a cross-validation
                out, # the folder to make
                rule=None, # the decision rule; by default the first one's
                scores:dict=None, # of the joined model, such as out of fold
                result=None, # an out-of-fold `Result`, calibrated as the model is: what `recall` goes by
                calibration=None, # a `Calibrator` of the averaged probabilities
                stacker=None, # a `planet.stacking.Stacker` of the folders' probabilities, in place of the average
                warnings=(), # lines to add
               ) -> Path: # `out`
    "Join model folders into one whose probabilities are the average of theirs (an ensemble of folds), or a stack."
    folders = [Path(f) for f in folders]
    told = [read_model(f) for f in folders]
    for facts, folder in zip(told[1:], folders[1:]):
        for key in ('vocab', 'kind', 'input', 'activation', 'exclusive'):
            if _alike(facts[key], key, stacker) != _alike(told[0][key], key, stacker):
                raise UserError(f'{folder} has another {key} than {folders[0]}')
    if odd := [(f, is_) for f, said in zip(folders, told) for key, is_ in
               (('calibration', 'calibrated'), ('stacker', 'stacked')) if said.get(key)]:
        raise UserError(f'{odd[0][0]} is {odd[0][1]}: join models before they are {odd[0][1]}')
    fitted = _fitted(calibration)
    pairs = [(folder, m) for folder, said in zip(folders, told) for m in said['members']]
    names = [f'weights-{i}.safetensors' for i in range(len(pairs))]
    facts = {k: v for k, v in told[0].items() if k not in ('made', 'files', 'sha256')} | dict(
        members=[m | dict(weights=name) for (_, m), name in zip(pairs, names)], calibration=fitted,
        warnings=list(dict.fromkeys(w for o in (*[t['warnings'] for t in told], warnings) for w in o)))
    if stacker is not None:
        whole = max(told, key=lambda said: said['input']['size'])['input'] # networks of smaller images scale theirs
        if odd := [f for f, said in zip(folders, told) if whole['size']/said['input']['size'] not in (1, 2, 4, 8)]:
            raise UserError(f"halving images of {whole['size']} pixels does not give those of {odd[0]}")
        facts |= dict(input=whole, stacker=dict(runs=[len(said['members']) for said in told],
                                                coef=stacker.coef.tolist(), bias=stacker.bias.tolist()))
    if rule is not None: facts['rule'] = rule.facts()
    if scores is not None:
        name = (head := facts['headline'])['name']
        head = head | dict(value=scores.get(name), interval=scores.get(f'{name}_interval'))
        facts |= dict(scores=scores, headline=head)
    if result is not None: facts |= dict(headline=result.headline(), scores=scores or result.scores)
    def fill(part):
        for (folder, m), name in zip(pairs, names):
            try: os.link(folder/m['weights'], part/name) # no second copy where the disk can do without
            except OSError: shutil.copyfile(folder/m['weights'], part/name)
        if result is not None:
            _write_validation(part, result, result.probs)
        write_facts(part, facts)
    return _whole(out, fill)
