"""Read runs back from their folders: find one by path, name, `last` or `best`; its facts, probabilities and scores.

Only `record.json` is read to find and list runs. Tables are read, and torch is loaded, when a result is asked for.
"""
import json
import math
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from planet.cli import UserError, near_names
from planet.locks import locked

__all__ = ['OUT_OF_FOLD', 'STATUSES', 'Record', 'read_record', 'list_runs', 'find_run', 'find_runs', 'best_run']

STATUSES = 'running', 'done', 'failed', 'interrupted', 'diverged', 'killed' # the last: says running, and is not
LOCK = '.lock' # in a run's folder: held while the run goes on
SHAPES = ( # type, its words, and which facts of a record and of its `data` are of that type where they are there
    (dict, 'table of names and values', ('options', 'data', 'scores', 'rule', 'git', 'device', 'versions', 'stages',
                                         'peak_memory'), ('split', 'fingerprint')),
    (list, 'list', ('warnings', 'together', 'folds'), ('vocab', 'left_out')),
    ((int, float), 'number', ('seconds',), ()), (str, 'text', (), ('source', 'folder')),
    ((str, list), 'list of words', ('command',), ()))
STAMP = re.compile(r'(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)(?![^-])') # what the folder of a run begins with
RULES = 'thresh', 'expected', 'argmax' # decision rules
OUT_OF_FOLD = dict( # labels of the scores that cross-validated runs and stacks have beside others
    f2_one='F2, one threshold cross-fitted', f2_naive='F2, best threshold, naive',
    f2_calibrated='F2 at {rule}, calibrated', f2_nested='F2, stack and threshold nested')
BEST = 'f2', 'accuracy' # the score that `best` goes by: the first of these that a run has

@dataclass(frozen=True)
class Record:
    "One run: its folder, and what its `record.json` says."
    path:Path # the run's folder
    facts:dict # the record

    @property
    def experiment(self) -> str: return self.facts['experiment']
    @cached_property
    def status(self) -> str:
        "How the run ended; a record that says running while its lock is free is that of a killed run."
        said, lock = self.facts['status'], self.path/LOCK
        if said != 'running' or not lock.exists(): return said
        try:
            with locked(lock, wait=False) as free: return 'killed' if free else said
        except OSError: return said # somebody else's file
    @property
    def options(self) -> dict: return self.facts['options']
    @property
    def scores(self) -> dict: return self.facts.get('scores') or {}
    @property
    def data(self) -> dict: return self.facts.get('data') or {}
    @property
    def name(self) -> str: return str(self.facts.get('name') or self.options.get('name') or '')
    @property
    def arch(self) -> str: return str(self.options.get('arch') or '')
    @property
    def stamp(self) -> str: # the UTC time that the folder's name begins with, or its whole name
        "What names a run in short."
        return m[1] if (m := STAMP.match(self.path.name)) else self.path.name

    @cached_property
    def started(self) -> datetime: # in UTC; from the folder's name, else when the record was written
        "When the run began."
        if m := STAMP.match(self.path.name):
            try: return datetime.strptime(m[1], '%Y-%m-%dT%H-%M-%SZ').replace(tzinfo=timezone.utc)
            except ValueError: pass # such as 2026-13-45
        return datetime.fromtimestamp((self.path/'record.json').stat().st_mtime, timezone.utc)

    @property
    def written(self) -> float: # seconds since the epoch
        "When a file of the run was last written."
        return max((p.stat().st_mtime for p in self.path.rglob('*') if p.is_file()), default=0)

    def score(self, name:str) -> 'float | None': # `None` where the run has no such score, or no number for it
        "One score as a number."
        value = self.scores.get(name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if number else None

    @property
    def checkpoints(self) -> list: # of paths
        "The folders of its checkpoints, those that were written whole."
        return sorted(p for p in self.path.glob('checkpoint/[!.]*') if p.is_dir() and any(p.iterdir()))

    # ---- tables

    def _table(self, file):
        import pandas as pd
        try: return pd.read_csv(self.path/file, dtype={'image_name': str, 'label': str}, keep_default_na=False)
        except FileNotFoundError: raise self._misfit(file, 'is missing') from None
        except (OSError, ValueError) as e: # pandas' errors of empty and uneven files are ValueErrors
            raise self._misfit(file, f"is no table of comma-separated values ({' '.join(str(e).split())})") from None

    def _misfit(self, file, why):
        ended = '' if self.status == 'done' else f' (the run is {self.status})'
        return UserError(f'{self.path/file} {why}{ended}: run the experiment again, or name another run')

    def probabilities(self): # a `DataFrame`: `image_name`, then a column of floats between 0 and 1 for each tag
        "The probabilities of the validation set, from `validation.csv`, checked; `UserError` for any other table."
        import numpy as np
        import pandas as pd
        file, table = 'validation.csv', self._table('validation.csv')
        if 'image_name' not in table or len(table.columns) < 2:
            raise self._misfit(file, 'lacks the columns image_name and a tag each')
        vocab, tags = self.data.get('vocab'), [c for c in table if c != 'image_name']
        if vocab and sorted(map(str, vocab)) != sorted(tags):
            odd = sorted({*map(str, vocab)} ^ {*tags})
            raise self._misfit(file, f"has other tags than record.json ({', '.join(odd[:3])})")
        if not len(table): raise self._misfit(file, 'has no rows')
        if (twice := table.image_name[table.image_name.duplicated()]).any():
            raise self._misfit(file, f'names {twice.iloc[0]} more than once')
        if (said := self.data.get('valid')) not in (None, len(table)):
            raise self._misfit(file, f'has {len(table)} rows, and record.json says {said}')
        numbers = table[tags].apply(pd.to_numeric, errors='coerce')
        if not (bad := ~((numbers >= 0) & (numbers <= 1)).to_numpy()).any():
            return pd.concat([table.image_name, numbers.astype(float)], axis=1)
        row, column = np.argwhere(bad)[0]
        cell = table[tags].iat[row, column] or 'nothing'
        raise self._misfit(file, f'has {cell} for {tags[column]} of {table.image_name[row]}: no probability')

    def targets(self, names, # image names, in the order that is wanted
                tags, # the tags or classes
               ): # array `(n, tags)` of 0 and 1; for a single label `(n,)` class numbers
        "The true tags of some chips, from `targets.csv`, checked; `UserError` where they do not fit."
        import numpy as np
        import pandas as pd
        file, table = 'targets.csv', self._table('targets.csv')
        single, tags = self.rule['kind'] == 'argmax', list(tags)
        columns = ['label'] if single else tags
        if 'image_name' not in table or sorted(table.columns.drop('image_name')) != sorted(columns):
            raise self._misfit(file, f"lacks the columns image_name and {', '.join(columns[:3])}"
                               + ' ...'*(len(columns) > 3))
        table = table.drop_duplicates('image_name').set_index('image_name')
        if missing := [n for n in names if n not in table.index]:
            raise self._misfit(file, f'lacks {len(missing)} of the chips of validation.csv, such as {missing[0]}')
        table = table.loc[list(names), columns]
        if single:
            if odd := sorted({*table.label} - {*tags}): raise self._misfit(file, f'has {odd[0]!r}, which is no class')
            return np.array([tags.index(label) for label in table.label])
        hot = table.apply(pd.to_numeric, errors='coerce').to_numpy()
        if not ((hot == 0) | (hot == 1)).all(): raise self._misfit(file, 'has other values than 0 and 1')
        return hot.astype(int)

    @property
    def rule(self) -> dict: # `kind` (thresh, expected or argmax) and its numbers
        "The run's decision rule, checked; `UserError` where the record has none that is known."
        rule = self.facts.get('rule') or dict(kind='thresh', thresh=self.options.get('thresh'))
        if isinstance(rule, dict) and rule.get('kind') in RULES:
            if rule['kind'] != 'thresh' or self.thresh_of(rule) is not None: return rule
        raise UserError(f"{self.path/'record.json'}: the decision rule is {rule!r}, which is not known here")

    @property
    def thresh(self): # a number, a list with one for each tag of the vocab, or `None`: another rule
        "The threshold of the run's decision rule; `UserError` where the record has none."
        return self.rule.get('thresh')

    def thresh_of(self, rule): # the threshold, checked
        "The threshold of a rule; `UserError` where it is none."
        where = f"{self.path/'record.json'}: the decision rule"
        thresh, vocab = rule.get('thresh'), self.data.get('vocab')
        each = thresh if isinstance(thresh, list) else [thresh]
        if not all(isinstance(t, (int, float)) and 0 <= t <= 1 for t in each):
            raise UserError(f'{where} has the threshold {thresh!r}: from 0 to 1 is wanted')
        if isinstance(thresh, list) and len(vocab or thresh) != len(thresh):
            raise UserError(f'{where} has {len(thresh)} thresholds for {len(vocab)} tags')
        return thresh

    def groups(self, names) -> 'list | None': # one for each chip, called like the first of its chips
        "The duplicates and scenes that the record has, as groups of some chips; `None` where it has none."
        sets = self.facts.get('together', [])
        if not all(isinstance(same, list) for same in sets):
            raise UserError(f"{self.path/'record.json'} is damaged: together is no list of lists")
        group = {name: same[0] for same in sets for name in same}
        return [group.get(name, name) for name in names] if group else None

    def result(self):
        "The `planet.results.Result` of the validation set, from the run's tables and decision rule."
        import torch
        from planet.results import ClassResult, TagsResult
        from planet.rules import rule_of
        table = self.probabilities()
        tags = [str(t) for t in self.data.get('vocab') or table.columns.drop('image_name')]
        names, probs = table.image_name.tolist(), torch.tensor(table[tags].to_numpy(), dtype=torch.float32)
        targs, rule = torch.from_numpy(self.targets(names, tags)), self.rule
        kind = ClassResult if rule['kind'] == 'argmax' else TagsResult
        return kind(probs, targs if kind is ClassResult else targs.float(), names, tags, rule_of(rule),
                    groups=self.groups(names))

# ---- from a folder of runs

def read_record(folder) -> Record:
    "Read the record in a run's folder; `UserError` in one line where it is missing, half-written or something else."
    folder = Path(folder).expanduser()
    path = folder/'record.json'
    try: text = path.read_text(encoding='utf-8')
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: {'no record.json is in it' if folder.is_dir() else 'no such folder'}") from None
    except UnicodeDecodeError: raise UserError(f'{path} is damaged: it is no text') from None
    except OSError as e: raise UserError(f'{path} cannot be read ({e.strerror})') from None
    try: facts = json.loads(text)
    except (ValueError, RecursionError) as e:
        why = 'it is empty' if not text.strip() else f"it is no JSON, or half of it ({' '.join(str(e).split())})"
        raise UserError(f'{path} is damaged: {why}') from None
    if not isinstance(facts, dict) or not all(isinstance(facts.get(k), str) for k in ('experiment', 'status')):
        raise UserError(f'{path} is no record of a run: it lacks experiment and status')
    facts = {k: v for k, v in facts.items() if v is not None}
    for kind, wanted, *names in SHAPES:
        for home, keys in zip((facts, facts.get('data')), names):
            for key in keys if isinstance(home, dict) else ():
                if (value := home.get(key)) is not None and not isinstance(value, kind):
                    raise UserError(f'{path} is damaged: {key} is no {wanted}')
    return Record(folder, facts | dict(options=facts.get('options', {})))

def list_runs(out='runs', # where records lie, as in the experiments
             ) -> tuple[list, list]: # the records, newest first; and (folder, what is wrong) of those that are damaged
    "All runs under a folder, newest first. Those whose record cannot be read are named, and left out."
    out = Path(out).expanduser()
    if not out.is_dir(): raise UserError(f'{out}: no such folder; name the one that holds the runs', option='out')
    try: experiments = sorted(p for p in out.iterdir() if p.is_dir() and not p.name.startswith('.'))
    except OSError as e: raise UserError(f'{out} cannot be read ({e.strerror})', option='out') from None
    found, damaged = [], []
    for folder in experiments:
        try: inside = [folder, *(p for p in folder.iterdir() if not p.name.startswith('.') and p.is_dir())]
        except OSError: continue
        for path in inside: # `out` may be the folder of one experiment
            if not (path/'record.json').exists() and not STAMP.match(path.name): continue
            try: found.append(read_record(path))
            except UserError as e: damaged.append((path, str(e)))
    return sorted(found, key=lambda r: (r.started, r.path.name), reverse=True), damaged

def best_run(records, # from `list_runs`
            ) -> 'Record | None': # `None` where none has a score
    "The run of highest F2, or of highest accuracy where none has an F2; of equal ones the newest."
    for key in BEST:
        scored = [r for r in records if r.score(key) is not None and r.status != 'running']
        if scored: return max(scored, key=lambda r: (r.score(key), r.started))
    return None

def _is_run(path): return (path/'record.json').exists() or bool(STAMP.match(path.name)) and path.is_dir()

def find_run(run, # a run's folder, its name (or the beginning of its folder's name), `last` or `best`
             out='runs', # where records lie
            ) -> Record:
    "Find one run and read its record; `UserError` where there is none, or several that are called so."
    run, out, path = str(run), Path(out).expanduser(), Path(run).expanduser()
    if path.name == 'record.json': path = path.parent
    for folder in (path, out/path):
        if _is_run(folder): return read_record(folder)
    hint = "give a run's folder, its name, last or best"
    if run in ('last', 'best') and not out.is_dir():
        raise UserError(f'{out}: no such folder, so there is no {run} run: train one, or name the folder of runs')
    if len(path.parts) != 1 or not out.is_dir():
        inside = sorted(path.glob('[!.]*/record.json')) or sorted(path.glob('[!.]*/[!.]*/record.json'))
        wrong = 'no record.json is in it' if path.is_dir() else 'no such folder'
        raise UserError(f'{path}: {wrong}' + (f', did you mean {inside[-1].parent}?' if inside else f': {hint}'))
    records, damaged = list_runs(out)
    if run in ('last', 'best'):
        found = best_run(records) if run == 'best' else next(iter(records), None)
        if found: return found
        raise UserError(f"{out}: no run{' with a score' if records else ''} is in it: train one, or name its folder")
    found = [r for r in records if run in (r.path.name, r.name)] or [r for r in records if r.path.name.startswith(run)]
    if len(found) == 1: return found[0]
    if found:
        shown = ', '.join(str(r.path) for r in found[:3]) + ' ...'*(len(found) > 3)
        raise UserError(f'{len(found)} runs are called {run}: give the folder of one ({shown})')
    for folder, why in damaged:
        if folder.name.startswith(run): raise UserError(why)
    names = {n for r in records for n in (r.name, r.path.name) if n} | {'last', 'best'}
    raise UserError(f'{out}: no run is called {run}{near_names(run, names) or f": {hint}"}')

def find_runs(runs:list, # as `find_run` takes them
              out='runs', # where records lie
              to:str='compare', # what they are wanted for
             ) -> list: # of `Record`
    "Find several runs; `UserError` for fewer than two, and for one that is named twice."
    if len(runs) < 2: raise UserError(f'name two runs at least to {to}')
    records = [find_run(run, out) for run in runs]
    for i, r in enumerate(records):
        if (same := [o.path.resolve() for o in records].index(r.path.resolve())) < i:
            raise UserError(f'{runs[same]} and {runs[i]} are one run, {r.path}: name another')
    return records
