"Decision rules, from probabilities to tags: thresholds, the likeliest class, the set of highest expected F2."
from dataclasses import dataclass
import numpy as np
import torch
from planet.decisions import decide
from planet.metrics import best_thresholds

__all__ = ['AboveThreshold', 'TunedThresholds', 'Likeliest', 'BestExpected', 'ExactlyOne', 'rule_of', 'decided']

@dataclass(frozen=True)
class AboveThreshold:
    "The decision rule of multi-label tagging: every tag whose probability lies above a threshold."
    thresh:object = 0.2 # one number, or one for each tag
    def __call__(self, probs): return probs > torch.as_tensor(self.thresh, dtype=probs.dtype, device=probs.device)
    def __str__(self): return f'{self.thresh:g}' if np.ndim(self.thresh) == 0 else 'thresholds per tag'
    def facts(self) -> dict: return dict(kind='thresh', thresh=np.asarray(self.thresh).tolist())

@dataclass(frozen=True)
class TunedThresholds(AboveThreshold):
    "Thresholds per tag that were tuned on the validation set: a result scores them cross-fitted, not as they are."
    def __str__(self): return 'tuned thresholds'
    def facts(self) -> dict: return super().facts() | dict(tuned=True)

@dataclass(frozen=True)
class Likeliest:
    "The decision rule of single-label classification: the class with the highest probability."
    def __call__(self, probs): return probs.argmax(1)
    def __str__(self): return 'the likeliest class'
    def facts(self) -> dict: return dict(kind='argmax')

@dataclass(frozen=True)
class BestExpected:
    "The decision rule of multi-label tagging that takes each chip's tag set of highest expected F2."
    exclusive:tuple = () # columns of which exactly one is true: the weather
    def __call__(self, probs): return decide(probs, exclusive=list(self.exclusive) or None)
    def __str__(self): return 'the best expected set'
    def facts(self) -> dict: return dict(kind='expected', exclusive=list(self.exclusive))

@dataclass(frozen=True)
class ExactlyOne:
    "Another rule, and of a group of mutually exclusive tags (the weather) exactly one: the likeliest."
    rule:object # that decides the other tags
    group:tuple # columns of the group
    def __call__(self, probs):
        hot, group = self.rule(probs).clone(), torch.tensor(self.group, device=probs.device)
        hot[:, group] = False
        hot[torch.arange(len(hot), device=probs.device), group[probs[:, group].argmax(1)]] = True
        return hot
    def __str__(self): return f'{self.rule}, exactly one of the exclusive tags'
    def facts(self) -> dict: return self.rule.facts() | dict(one=list(self.group))

def rule_of(facts:dict, # of a record or a `model.json`
           ): # the decision rule
    "The decision rule that `facts()` of one describes."
    if facts['kind'] == 'argmax': return Likeliest()
    if facts.get('one'): return ExactlyOne(rule_of({k: v for k, v in facts.items() if k != 'one'}), tuple(facts['one']))
    if facts['kind'] == 'expected': return BestExpected(tuple(facts.get('exclusive') or ()))
    return (TunedThresholds if facts.get('tuned') else AboveThreshold)(facts['thresh'])

def decided(result, # a `TagsResult`
            by:str='thresh', # as it is; `tuned`: a threshold per tag; `expected`: the set of highest expected F2
           ): # the result with that decision rule, whose scores follow it
    "Choose the decision rule of a scored multi-label validation set by name; `f2` is then the score of that rule."
    if by == 'tuned': return result.with_rule(TunedThresholds(best_thresholds(result.probs, result.targs).tolist()))
    if by != 'expected': return result
    return result.with_rule(BestExpected(tuple(result.vocab.index(t) for t in result.exclusive or ())))
