"What a `model.json` has to say, and what is wrong with one that does not: without torch or fastai."
import math
from pathlib import Path
from planet.records import RULES

__all__ = ['FIELDS', 'fault']

# what every model.json has, and of which type
FIELDS = dict(members=list, vocab=list, kind=str, activation=dict, exclusive=list, rule=dict, input=dict, bs=int,
              scores=dict, headline=dict, trained_on=dict, warnings=list)

def _numbers(values, n=None, low=-math.inf, high=math.inf):
    return (isinstance(values, list) and n in (None, len(values)) and
            all(isinstance(o, (int, float)) and not isinstance(o, bool) and low <= o <= high for o in values))

def fault(
    facts:dict, # what a `model.json` says
) -> str: # '' where it is sound
    "What is wrong with the facts of a `model.json`, in a few words; nothing where they are sound."
    for name, kind in FIELDS.items():
        if not isinstance(facts.get(name), kind): return f'{name} is missing or no {kind.__name__}'
    vocab, given, rule, fitted = facts['vocab'], facts['input'], facts['rule'], facts.get('calibration')
    if not vocab or not all(isinstance(o, str) for o in vocab) or len(set(vocab)) < len(vocab): return 'its vocab'
    if not set(facts['exclusive']) | set(facts['activation'].get('softmax', [])) <= set(vocab):
        return 'it names tags that are not in its vocab'
    if not isinstance(given.get('size'), int) or not 8 <= given['size'] <= 8192: return 'the size of its images'
    if not facts['members'] or facts['bs'] < 1: return 'it has no network'
    for member in facts['members']:
        files = member.get('weights') if isinstance(member, dict) else None
        if not isinstance(files, str) or Path(files).name != files: return 'the name of its weights'
        if not isinstance(member.get('settings'), dict) or not _numbers(member.get('mean')): return 'a network of it'
        if not _numbers(member.get('std'), len(member['mean']), 1e-12): return 'its normalisation'
    thresh = rule.get('thresh')
    if rule.get('kind') not in RULES: return f"its decision rule {rule.get('kind')!r} is not known here"
    if rule['kind'] == 'thresh' and not _numbers(thresh if isinstance(thresh, list) else [thresh]*len(vocab),
                                                 len(vocab), 0, 1): return 'its thresholds'
    if fitted is not None and not (isinstance(fitted, dict) and _numbers(fitted.get('slope'), len(vocab), 0)
                                   and _numbers(fitted.get('bias'), len(vocab))): return 'its calibration'
    if (stacker := facts.get('stacker')) is not None and not _stacks(stacker, len(facts['members']), len(vocab)):
        return 'how it stacks its networks'
    return ''

def _stacks(stacker, members, tags):
    if not isinstance(stacker, dict) or not _numbers(runs := stacker.get('runs'), low=1): return False
    rows = stacker.get('coef')
    return (sum(runs) == members and _numbers(stacker.get('bias'), tags) and isinstance(rows, list)
            and len(rows) == len(runs)*tags and all(_numbers(row, tags) for row in rows))
