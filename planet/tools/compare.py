"`planet-runs compare`: how runs differ in options and circumstances, and in their scores on the chips that all scored."
from itertools import count
from planet.cli import UserError, say
from planet.comparison import paired_difference
from planet.records import find_runs
from planet.tools.show import LABELS, rule_text, score_rows
from planet.tools.text_table import interval, number, paragraph, print_json, shorten, table

__all__ = ['compare_runs', 'differences', 'circumstances']

PERSONAL = 'out', 'name', 'resume', 'track', 'wandb', 'wandb_mode' # options that change nothing about scores
CAVEAT = ('the intervals cover the choice of validation chips, not the randomness of training: '
          'compare runs of several seeds before you believe a small difference')

def circumstances(record, # a `Record`
                  options:bool=True, # its options too
                 ) -> dict: # name -> value
    "What a run's scores depend on: options, data, weights, commit, versions, device."
    facts, data = record.facts, record.data
    found = {k: v for k, v in record.options.items() if k not in PERSONAL} if options else {}
    git, device = facts.get('git') or {}, facts.get('device') or {}
    found |= {'decision rule': rule_text(record) if record.scores else None, 'chips from': data.get('source')}
    found |= {f'{k} chips': data.get(k) for k in ('train', 'valid')}
    found |= {f'fingerprint of {k}': v for k, v in (data.get('fingerprint') or {}).items()}
    found |= {'weights': facts.get('weights_used'), 'fingerprint of weights': facts.get('weights_fingerprint'),
              'commit': git.get('commit'), 'uncommitted changes': git.get('dirty')}
    found |= {f'device {k}': device.get(k) for k in ('type', 'name', 'threads')}
    return found | {f'version of {k}': v for k, v in (facts.get('versions') or {}).items()}

def differences(records, # some `Record`s
               ) -> dict: # name -> a value for each
    "The options and circumstances in which runs differ."
    found = [dict(experiment=r.experiment, status=r.status) | circumstances(r) for r in records]
    names = dict.fromkeys(k for f in found for k in f)
    return {k: [f.get(k) for f in found] for k in names if any(f.get(k) != found[0].get(k) for f in found)}

def _letters(n): return [chr(65 + i) if n <= 26 else f'R{i+1}' for i in range(n)]

def _compared(records, letters):
    "Paired differences to the first run: a dictionary for each of the others, with `why` where there is none."
    results, out = [], []
    for r in records:
        try: results.append(r.result())
        except UserError as e: results.append(e)
    for i in range(1, len(records)):
        pair = dict(runs=f'{letters[i]} - {letters[0]}')
        try:
            for r in (results[0], results[i]):
                if isinstance(r, UserError): raise r
            d = paired_difference(results[0], results[i])
            pair |= vars(d) | dict(warning=d.warning, scored=[len(results[0]), len(results[i])])
        except UserError as e: pair['why'] = str(e)
        out.append(pair)
    return out, [w for r, s in zip(records, results) for w in _stale(r, s)]

def _stale(record, result):
    "Whether a run's tables give the score that its record has."
    if isinstance(result, UserError): return
    for name, score in result.SCORES.items():
        if score.per_chip is None or (said := record.score(name)) is None: continue
        now = float(score.per_chip(result).double().mean())
        # the six digits of a table may move a decision that lies at the threshold
        at = 0 if record.thresh is None else result.probs - result.probs.new_tensor(record.thresh)
        close = 0 if record.thresh is None else (at.abs() < 1e-5).any(1).double().mean().item()
        if abs(now - said) > 2e-4 + close:
            yield (f'{record.path}: its record says {name} {said:.4f} and its tables give {now:.4f}: '
                   'one of them was changed after the run')

def _value(v): return '-' if v is None else "''" if v == '' else v

def compare_runs(runs:list, out='runs', # as in `find_run`
                 as_json:bool=False, # print JSON
                ):
    "Print how two or more runs differ: options, scores with intervals, the paired difference of each to the first."
    records = find_runs(runs, out, 'compare')
    letters, differ = _letters(len(records)), differences(records)
    pairs, warnings = _compared(records, letters)
    if as_json:
        return print_json(dict(runs=[dict(run=x, path=str(r.path), scores=r.scores) for x, r in zip(letters, records)],
                               differ=differ, paired=pairs, warnings=warnings, note=CAVEAT))
    for x, r in zip(letters, records): say(*paragraph(x, r.path, 4))
    say('', *_differ_lines(differ, letters), '', *_score_lines(records, letters), '', *_pair_lines(pairs))
    of = [{v for v in differ.get(k, ()) if v is not None} for k in ('loss', 'loss_args')] # a stack has none
    notes = [('note', 'the losses are of different loss functions: they cannot be compared')]*(max(map(len, of)) > 1)
    for label, text in [*notes, *_notes(pairs), *(('WARNING', w) for w in warnings)]: say(*paragraph(label, text))

def _notes(pairs):
    "What to know of the paired differences: label and text."
    for p in (p for p in pairs if 'mean' in p):
        if p['warning']: yield 'WARNING', f"{p['runs']}: {p['warning']}"
        if p['relabelled']:
            yield 'note', f"{p['runs']}: {p['relabelled']} chips are left out, whose true tags are not the same in both"
        if p['chips'] + p['relabelled'] < max(p['scored']):
            other, first = reversed(p['scored'])
            yield 'note', f"{p['runs']}: the validation sets have {other} and {first} chips, and share {p['chips']}"
    if any('mean' in p for p in pairs): yield 'note', CAVEAT

def _differ_lines(differ, letters):
    if not differ: return ['no option and no circumstance differs']
    if len(letters) < 4: return table(['what differs', *letters], [[k, *map(_value, v)] for k, v in differ.items()])
    return ['what differs', *(line for k, values in differ.items() for line in paragraph(
        shorten(k, 24), ', '.join(f'{x} {_value(v)}' for x, v in zip(letters, values)), 26))]

def _score_lines(records, letters):
    rows = [{name: row for name, *row in score_rows(r)} for r in records]
    names, lines = dict.fromkeys(k for r in rows for k in r), []
    for name in names:
        first = count()
        for x, r in zip(letters, rows):
            if name not in r: continue
            label, value, base, low_high = r[name]
            lines.append([label if not next(first) else '', x, number(value), interval(low_high),
                          '' if base is None else number(base)])
    return table(['score', '!run', '>value', '!95 % interval', '>baseline'], lines) if lines else ['no run has scores']

def _pair_lines(pairs):
    rows = [[p['runs'], LABELS.get(p['score'], p['score']), number(p['mean'], '+'), interval(p['interval'], '+'),
             f"{p['chips']:,}", f"{p['differ']:,}"] for p in pairs if 'mean' in p]
    lines = table(['!difference', '!score', '>mean', '!95 % interval', '>chips', '>decisions differ on'],
                  rows) if rows else []
    return lines + [line for p in pairs if 'why' in p
                    for line in paragraph(p['runs'], f"no paired difference: {p['why']}", 8)]
