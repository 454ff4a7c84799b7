"`planet-runs show`: what a run was, what it reached, and what it left."
import csv
import shlex
from planet.cli import say
from planet.provenance import resume_command
from planet.records import OUT_OF_FOLD, Record, find_run
from planet.tools.text_table import command_line, duration, interval, number, paragraph, print_json, size, table

__all__ = ['show_run', 'score_rows']

LABELS = dict(f2='F2', f2_tuned='F2, thresholds cross-fitted', f2_decided='F2, best expected set', valid_loss='loss')
LABELS |= {k: label.replace(' at {rule}', '') for k, label in OUT_OF_FOLD.items()}

def score_rows(r:Record) -> list: # of name, label, value, baseline, interval
    "The scores of a record, each with its baseline and confidence interval."
    tails = '_baseline', '_interval'
    names = [k for k in r.scores if not (k.endswith(tails) and k.rsplit('_', 1)[0] in r.scores)]
    return [(k, LABELS.get(k, k), r.score(k), r.score(f'{k}_baseline'), r.scores.get(f'{k}_interval')) for k in names]

def rule_text(r:Record) -> str:
    "The decision rule in words."
    rule = r.facts.get('rule') or {}
    if rule.get('kind') == 'argmax': return 'the class of highest probability'
    if rule.get('kind') == 'expected': return 'the tag set of highest expected F2'
    thresh = rule.get('thresh', r.options.get('thresh'))
    if isinstance(thresh, list):
        return f"a threshold per tag, {', '.join(f'{t:g}' for t in r.thresh_of(dict(thresh=thresh)))}"
    return f'a tag is predicted above {thresh}' if thresh is not None else '-'

def _data(r):
    d = r.data
    if not d: return '-'
    split = ', '.join(str(v) if k == 'kind' else f'{k} {v}' for k, v in (d.get('split') or {}).items())
    sets = f"{d.get('train', '?')} to train on, {d.get('valid', '?')} in the validation set"
    left_out = f"; {len(d['left_out'])} left out" if d.get('left_out') else ''
    things = 'chips' if split else 'examples' # digits, say
    return (f"{d.get('source', '?')}: {d.get('chips', '?')} {things}, {len(d.get('vocab') or [])} tags; {sets}"
            f"{f' ({split})' if split else ''}{left_out}")

def _lines(r):
    "Label and text of what a run was."
    facts, git = r.facts, r.facts.get('git') or {}
    yield 'run', r.path
    yield 'what', f"{r.experiment}{f', {r.name}' if r.name else ''}: {r.status}"
    if facts.get('error'): yield 'error', facts['error']
    stages = ', '.join(f'{k} {duration(v)}' for k, v in (facts.get('stages') or {}).items())
    yield 'started', (f"{r.started:%Y-%m-%d %H:%M:%S} UTC, took {duration(facts.get('seconds'))}"
                      + (f' ({stages})' if stages else ''))
    if facts.get('command'): yield 'command', facts['command']
    if r.checkpoints and r.status in ('interrupted', 'failed', 'killed'):
        again = resume_command(facts.get('command'), r.path)
        yield 'resume', shlex.split(again) if facts.get('command') else again
    if git: yield 'commit', f"{git.get('commit')}{', with changes that are not committed' if git.get('dirty') else ''}"
    if found := facts.get('versions'): yield 'versions', ', '.join(f'{k} {v}' for k, v in found.items() if v)
    if device := facts.get('device'): yield 'device', ', '.join(f'{k} {v}' for k, v in device.items())
    if memory := facts.get('peak_memory'): yield 'memory', ', '.join(f'{k} {size(v)}' for k, v in memory.items())
    yield 'data', _data(r)
    prints = r.data.get('fingerprint') or {}
    if prints: yield '', 'fingerprints: ' + ', '.join(f'{k} {v}' for k, v in prints.items())
    if facts.get('weights_used'):
        yield 'weights', f"{facts['weights_used']} (fingerprint {facts.get('weights_fingerprint', '-')})"
    yield 'options', ', '.join(f"{k} {v!r}" if v == '' else f'{k} {v}' for k, v in r.options.items())
    yield 'rule', rule_text(r)
    for warning in facts.get('warnings') or []: yield 'WARNING', warning

def _tags(r):
    "The table by tag that the run wrote, the commonest first."
    try:
        with open(r.path/'tags.csv', encoding='utf-8', newline='') as f: rows = list(csv.DictReader(f))
        rows = sorted(rows, key=lambda row: -float(row['count']))
        def cells(row): # precision and recall of a tag that no chip shows say nothing
            return [f'{float(row[k]):.2f}' if float(row['count']) else '-' for k in ('precision', 'recall', 'fbeta')]
        return table(['tag', '>count', '>precision', '>recall', '>F2'],
                     [[row['tag'], f"{float(row['count']):.0f}", *cells(row)] for row in rows])
    except (OSError, ValueError, KeyError, TypeError): return [] # not a tagger's run, or it did not get so far

def show_run(run, out='runs', # as in `find_run`
             as_json:bool=False, # print the record as JSON
            ):
    "Print a run's record, its scores with intervals, its table by tag and its files."
    r = find_run(run, out)
    if as_json: return print_json(dict(path=str(r.path), **r.facts | dict(status=r.status)))
    for label, text in _lines(r): say(*(command_line if label in ('command', 'resume') else paragraph)(label, text))
    if rows := score_rows(r):
        say('', *table(['score', '>value', '95 % interval', '>baseline'],
                       [[label, number(v), interval(i), '' if b is None else number(b)] for _, label, v, b, i in rows]))
    if covers := r.facts.get('statement'): say(*paragraph('covers', covers))
    if tags := _tags(r): say('', *tags)
    files = sorted(p for p in r.path.iterdir() if not p.name.startswith('.'))
    say('', *paragraph('files', ', '.join(p.name + '/'*p.is_dir() for p in files)))
