"`planet-runs list`: the runs of a folder, newest first."
from fnmatch import fnmatchcase
from planet.cli import UserError, near_names, say
from planet.records import BEST, STATUSES, Record, list_runs
from planet.tools.text_table import duration, number, paragraph, print_json, table

__all__ = ['list_table', 'selected', 'summary']

WORDS = 'experiment', 'status', 'arch', 'name' # of a run, to sort and to filter by
NUMBERS = 'time', 'seconds'

def selected(records:list, # from `list_runs`
             **wanted, # experiment, status, arch, name: what it must be, perhaps with `*`; '': anything
            ) -> list:
    "The records that fit all that is wanted; `UserError` for a status that there is not."
    status = wanted.get('status')
    if status and not any(fnmatchcase(s, status) for s in STATUSES):
        why = f"is none of {', '.join(STATUSES)}{near_names(status, STATUSES, 1)}"
        raise UserError(f'{status} {why}', option='status')
    return [r for r in records if all(fnmatchcase(getattr(r, k), w) for k, w in wanted.items() if w)]

def _sorted(records, by):
    "By time or a score: newest or best first (of a loss the lowest); by a word: A to Z; runs without one come last."
    if by == 'time' or not records: return records
    if by in WORDS: return sorted(records, key=lambda r: (not getattr(r, by), getattr(r, by)))
    def of(r): return r.facts.get('seconds') if by == 'seconds' else r.score(by)
    if not any(of(r) is not None for r in records):
        known = [*NUMBERS, *WORDS, *sorted({k for r in records for k in r.scores if r.score(k) is not None})]
        raise UserError(f"{by} is nothing that runs have{near_names(by, known, 1)} (there are {', '.join(known)})",
                        option='sort')
    sign = 1 if 'loss' in by or by == 'seconds' else -1
    return sorted(records, key=lambda r: (of(r) is None, sign*(of(r) or 0)))

def list_table(out, # where records lie
               sort:str='time', # what to sort by
               as_json:bool=False, # print JSON, with all options and scores
               **wanted, # as in `selected`
              ):
    "Print a table of runs; what is damaged follows, a line each."
    found, damaged = list_runs(out)
    records = _sorted(selected(found, **wanted), sort)
    if as_json: return print_json(dict(runs=[summary(r) for r in records],
                                       damaged=[dict(path=str(p), why=why) for p, why in damaged]))
    if records: say(*_table(records, sort, found))
    else:
        asked = ', '.join(f'{k} {w}' for k, w in wanted.items() if w)
        say(f'{out}: no run is in it' if not found else f'{out}: none of its {len(found)} runs has {asked}')
    if damaged: say('', *(line for _, why in damaged for line in paragraph('left out', why)))

def summary(r:Record) -> dict:
    "What tells a run from others, for JSON."
    return dict(path=str(r.path), experiment=r.experiment, name=r.name, arch=r.arch, status=r.status,
                started=r.started.isoformat(), seconds=r.facts.get('seconds'), scores=r.scores, options=r.options)

def _table(records, sort, found):
    shown = sort if sort not in (*WORDS, *NUMBERS) else next(
        (k for k in BEST if any(r.score(k) is not None for r in records)), BEST[0])
    def score(r):
        key = next((k for k in (shown, *BEST) if r.score(k) is not None), None)
        return number(r.score(key)) + ('' if key in (shown, None) else f' {key[:3]}') # another score: acc
    named = any(r.name for r in records)
    short = 16 if len({r.path.name[:16] for r in found}) == len(found) else None # no two began in one minute
    rows = [[r.stamp[:short], r.experiment, r.arch, *[r.name]*named, r.status, score(r),
             duration(r.facts.get('seconds'))] for r in records]
    return table(['!run', 'experiment', 'arch', *['name']*named, '!status', f'>{shown}', '>took'], rows)
