"Exercises that check themselves: compare a function with the answer, in value and gradient, and give a hint if wrong."
import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from dis import get_instructions
from importlib import import_module
import numpy as np
import torch
from planet.cli import near_names, say

__all__ = ['Exercise', 'Verdict', 'difference', 'find_exercise', 'check', 'exercise']

@dataclass(frozen=True)
class Exercise:
    "An exercise: its answer, inputs to compare on, and common mistakes, each with a hint of its own."
    answer:Callable # what a right solution computes
    cases:Callable # () -> a list of tuples, the arguments of each call
    hint:str # shown with a wrong solution
    mistakes:dict = field(default_factory=dict) # hint -> a function that makes this mistake
    gradient:bool = False # compare the gradient with regard to the first argument as well?
    remark:str = '' # shown with a right solution
    tolerance:float = 1e-4 # relative to the size of the value, and absolute below 1

@dataclass(frozen=True)
class Verdict:
    "What `check` found: whether the solution is right, and what to tell."
    ok:bool
    text:str
    def __str__(self): return self.text

# ---- compare values

def _numbers(x):
    "Numbers, booleans, arrays and lists of them as a float64 tensor; None for anything else."
    if isinstance(x, torch.Tensor): return x.detach().as_subclass(torch.Tensor).cpu().double()
    if hasattr(x, 'to_numpy'): x = x.to_numpy()
    try: found = np.asarray(x)
    except ValueError: return None # lists of different lengths
    return torch.from_numpy(found.astype(float)) if found.dtype.kind in 'biuf' else None

def _at(place): return ''.join(f'[{i}]' for i in place)

def _differing_numbers(got, wanted, tolerance):
    if got.shape != wanted.shape:
        short = got.ndim == wanted.ndim == 1 and max(len(got), len(wanted)) <= 8
        is_, should = (str([float(f'{v:.5g}') for v in x.tolist()]) if short else
                       f'of shape {tuple(x.shape)}' if x.ndim else 'a single number' for x in (got, wanted))
        return f'is {is_}, and should be {should}'
    close = (got - wanted).abs() <= tolerance*wanted.abs().clamp(min=1)
    close |= (got == wanted) | (got.isnan() & wanted.isnan()) # infinities, too
    if close.all(): return ''
    at = (~close).nonzero()[0].tolist()
    is_, should = next(two for digits in (5, 10, 17)
                       if len(set(two := [f'{float(x[tuple(at)]):.{digits}g}' for x in (got, wanted)])) == 2)
    return f'is {is_}{f" at {_at(at)}" if at else ""}, and should be {should}'

def difference(
    got, wanted, # numbers, tensors, arrays, texts, or lists and dictionaries of them
    tolerance:float=1e-4, # relative, and absolute below 1
) -> str:
    "Say in words how a value differs from the one that is wanted; an empty text where it does not."
    if isinstance(wanted, dict):
        if not isinstance(got, dict): return f'is a {type(got).__name__}, and should be a dictionary'
        if odd := sorted(map(str, set(got) ^ set(wanted))): return f"has or lacks {', '.join(odd[:3])}"
        found = {k: difference(got[k], wanted[k], tolerance) for k in wanted}
        return next((f'at {k!r} {what}' for k, what in found.items() if what), '')
    numbers = _numbers(wanted)
    if numbers is not None and numbers.numel():
        mine = _numbers(got)
        if mine is None: return f'is {_short(got)}, a {type(got).__name__}, and should be {_short(wanted)}'
        return _differing_numbers(mine, numbers, tolerance)
    if isinstance(wanted, (list, tuple)):
        if not isinstance(got, (list, tuple)): return f'is a {type(got).__name__}, and should be a list'
        if len(got) != len(wanted): return f'has {len(got)} entries, and should have {len(wanted)}'
        found = [difference(a, b, tolerance) for a, b in zip(got, wanted)]
        return next((f'at [{i}] {what}' for i, what in enumerate(found) if what), '')
    return '' if got == wanted else f'is {_short(got)}, and should be {_short(wanted)}'

def _short(x):
    if isinstance(x, torch.Tensor):
        if x.numel() > 12: return f'a tensor of shape {tuple(x.shape)}'
        x = np.round(x.tolist(), 4).tolist() if x.is_floating_point() else x.tolist()
    text = getattr(x, '__name__', None) or repr(x)
    return text if len(text) <= 90 else text[:87] + '...'

# ---- check a solution

def _called(func, args, gradient):
    "The result of a call and, if it is asked for, the gradient of its sum with regard to the first argument."
    args = deepcopy(args)
    if gradient: args = args[0].clone().requires_grad_(), *args[1:]
    found = func(*args)
    if not gradient: return found, None
    if not isinstance(found, torch.Tensor) or not found.requires_grad: return found, None
    return found.detach(), torch.autograd.grad(found.sum(), args[0], allow_unused=True)[0]

def _wrong_on(func, args, ex, names):
    "What is wrong with a solution on one input, in words; empty if nothing is."
    given = 'It' if not args else 'With ' + ', '.join(f'{n} = {_short(a)}' for n, a in zip(names, args)) + ' it'
    wanted, slope = _called(ex.answer, args, ex.gradient)
    try: found, my_slope = _called(func, args, ex.gradient)
    except Exception as e: return f'{given} raises {type(e).__name__}: {" ".join(str(e).split())[:160]}'
    if found is None and wanted is not None: return f'{given} returns None: is there a `return`?'
    if what := difference(found, wanted, ex.tolerance): return f"{given} gives a value that {what}."
    if not ex.gradient: return ''
    if my_slope is None:
        return (f'{given} gives the right value, but no gradient comes back to {names[0]}: it is lost by `.item()`, '
                '`.detach()`, `.data` or by a comparison on the way.')
    what = difference(my_slope, slope, ex.tolerance)
    return f'{given} gives the right value, but its gradient {what}.' if what else ''

def _makes(mistake, func, cases, ex):
    "Whether a solution gives on every input what a known mistake gives."
    try: return all(not difference(func(*deepcopy(args)), mistake(*deepcopy(args)), ex.tolerance) for args in cases)
    except Exception: return False

def _has_a_hole(x):
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return x is ... or any(part is ... for part in parts)

def _dots(): ...
def _steps(func): return [i.opname for i in get_instructions(func)]

def _is_empty(func, cases):
    "Whether the dots are still there: a function of dots alone, or one that returns a value with dots in it."
    if inspect.isfunction(func) and _steps(func) == _steps(_dots): return func(*deepcopy(cases[0])) is None
    try: return all(_has_a_hole(func(*deepcopy(args))) for args in cases)
    except Exception: return False

def find_exercise(
    name:str, # `MODULE.NAME`: a module of `planet.course.answers`, and an exercise in it
) -> Exercise:
    "Find an exercise by its name; `ValueError` with near names where there is none."
    module, _, short = name.partition('.')
    try: found = import_module(f'planet.course.answers.{module}').EXERCISES
    except ImportError: raise ValueError(f'there are no exercises {module!r}: {name!r} is asked for') from None
    if short not in found: raise ValueError(f'there is no exercise {short!r}{near_names(short, found)} in {module}')
    return found[short]

def check(
    name:str, # as in `find_exercise`
    func, # the solution
) -> Verdict:
    "Check a solution of an exercise: its values, its gradient, and which known mistake it makes."
    ex = find_exercise(name)
    cases, names = ex.cases(), list(inspect.signature(ex.answer).parameters)
    if _is_empty(func, cases):
        return Verdict(False, f'{name}: not filled in yet. Write your code in place of the dots, and run the cell '
        'again.')
    wrong = next((what for args in cases if (what := _wrong_on(func, args, ex, names))), '')
    if not wrong:
        compared = 'value and gradient' if ex.gradient else 'value'
        on = f' on {len(cases)} inputs' if len(cases) > 1 else ''
        return Verdict(True, f'{name}: right ({compared}{on}).{" " + ex.remark if ex.remark else ""}')
    hint = next((h for h, mistake in ex.mistakes.items() if _makes(mistake, func, cases, ex)), ex.hint)
    return Verdict(False, f'{name}: not yet. {wrong}\nHint: {hint}')

def exercise(
    name:str, # as in `find_exercise`
):
    "Decorator of a function with a hole to fill: checks it as soon as it is defined, and says what is wrong with it."
    find_exercise(name) # a misspelt name is refused before anything is written
    def decorator(func):
        say(str(check(name, func)))
        return func
    return decorator
