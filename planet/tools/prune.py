"`planet-runs prune`: delete runs that left nothing worth keeping."
import shutil
import time
from collections import defaultdict
from planet.cli import UserError, say
from planet.records import Record, best_run, list_runs, read_record
from planet.tools.list import selected, summary
from planet.tools.text_table import duration, paragraph, print_json, size, table

__all__ = ['to_prune', 'prune_runs']

DAY = 86400
RESULTS = 'model', 'learner.pkl', 'model.pth', 'validation.csv'
ENDED = 'failed', 'interrupted', 'diverged', 'killed'

def _age(r): return time.time() - r.started.timestamp()

def _protected(records):
    "Folders of the last run, and of the best and last of each experiment on each set of chips."
    groups = defaultdict(list)
    for r in records:
        groups[r.experiment].append(r)
        groups[r.experiment, r.data.get('source')].append(r)
    keep = {records[0].path, *(rs[0].path for rs in groups.values())} if records else set()
    best = [best_run(records), *map(best_run, groups.values())]
    best += [best_run([r for r in records if r.score('f2') is None])] # accuracy, beside runs that have an F2
    return keep | {r.path for r in best if r}

def _why(r:Record, older_than):
    "Why a run may go, or ''."
    results = [*r.checkpoints, *(f for f in RESULTS if (r.path/f).exists())]
    if r.status in ENDED and not results: return f'{r.status}, without a checkpoint'
    quiet = time.time() - r.written
    if r.status == 'running':
        if quiet > DAY and not results: return f'running, but nothing was written for {duration(quiet)}'
        return ''
    return f'{duration(_age(r))} old' if older_than and _age(r) > older_than*DAY else ''

def to_prune(records:list, # all runs, newest first
             older_than:float=0, # days: done and resumable runs that are older go as well; 0: none of them
            ) -> list: # of pairs: record, why
    "The runs that may go: never the last, nor the best or last of an experiment on a set of chips."
    keep = _protected(records)
    return [(r, why) for r in records if (why := _why(r, older_than)) and r.path not in keep]

def _delete(r):
    "Delete a run's folder; it is renamed first, so that an interruption leaves no half of a run."
    going = r.path.with_name(f'.{r.path.name}-deleted')
    if r.path.is_symlink(): raise UserError(f'{r.path} is a symbolic link: delete it by hand')
    now = read_record(r.path)
    if (now.facts, now.status) != (r.facts, r.status):
        raise UserError(f'{r.path} was written to just now: it is left alone')
    try:
        r.path.rename(going)
        shutil.rmtree(going)
    except OSError as e: raise UserError(f'{r.path} cannot be deleted ({e.strerror})') from None

def prune_runs(out='runs', # where records lie
               older_than:float=0, # as in `to_prune`
               yes:bool=False, # delete them; else only say which
               as_json:bool=False, # print JSON
               **wanted, # experiment, status, arch, name, as in `planet.tools.list.selected`
              ):
    "Say which runs would be deleted, and delete them with `yes`."
    if not older_than >= 0: raise UserError(f'{older_than:g} is no number of days', option='older_than')
    records, damaged = list_runs(out)
    chosen = {r.path for r in selected(records, **wanted)}
    going = [(r, why) for r, why in to_prune(records, older_than) if r.path in chosen]
    sizes = [sum(p.stat().st_size for p in r.path.rglob('*') if p.is_file()) for r, _ in going]
    gone = []
    try:
        for r, _ in going if yes else ():
            _delete(r)
            gone.append(r)
    finally:
        if as_json:
            print_json(dict(runs=[dict(summary(r), why=why, bytes=n, deleted=r in gone)
                                  for (r, why), n in zip(going, sizes)]))
        else: _tell(going, sizes, gone, yes, damaged, len(records))

def _tell(going, sizes, gone, yes, damaged, n):
    if going: say(*table(['!run', 'experiment', 'why', '>size'],
                         [[r.stamp, r.experiment, why, size(s)] for (r, why), s in zip(going, sizes)]), '')
    total = size(sum(s for (r, _), s in zip(going, sizes) if not yes or r in gone))
    if not going: say(f'none of {n} runs would go: each has results or a checkpoint, or is the best or last')
    elif yes: say(f'{len(gone)} of {n} runs deleted, {total}')
    else: say(f'{len(going)} of {n} runs would go, {total}: nothing is deleted without `yes`')
    for path, _ in damaged: say(*paragraph('left alone', f'{path}: its record cannot be read'))
