"What an experiment tracker is told of a run, and values that every tracker takes."
import json
import logging
import os
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from numbers import Number
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

__all__ = ['Tracker', 'quietly', 'flat', 'numbers', 'is_picture', 'why_not_reached']

# ---- values that every tracker takes

def numbers(found:dict, # name -> anything
            before='', # of each name
           ) -> dict:
    "The numbers among the values of `found`, as Python's own; an interval becomes two of them."
    pairs = {f'{k}_{end}': o for k, v in found.items() if isinstance(v, (list, tuple)) and len(v) == 2
             for end, o in zip(('low', 'high'), v)}
    return {before + k: float(v) for k, v in (found | pairs).items()
            if isinstance(v, Number) and not isinstance(v, bool)}

def flat(config:dict, # nested
         before='', # of each name
        ) -> dict:
    "A nested configuration as one level, `a.b.c` -> a number, a bool or a text of at most 500 characters."
    found = {}
    for k, v in config.items():
        if isinstance(v, dict): found |= flat(v, f'{before}{k}.')
        elif v is not None: found[before + str(k)] = v if isinstance(v, (int, float)) else (
            v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str))[:500]
    return found

def is_picture(value) -> bool:
    "Whether a cell of a table holds a PIL image."
    return hasattr(value, 'getbands')

def why_not_reached(url:str) -> str: # empty if it answers
    "Why a server gives no answer within five seconds."
    try: urlopen(url, timeout=5).close()
    except HTTPError: return '' # it answers
    except (OSError, ValueError) as e: return ' '.join(str(getattr(e, 'reason', e)).split())
    return ''

@contextmanager
def quietly():
    "No chatter of a tracker's package: what it prints, logs below a warning and warns of; all as before afterwards."
    level = logging.root.manager.disable
    logging.disable(max(level, logging.INFO))
    try:
        with open(os.devnull, 'w') as null, redirect_stdout(null), redirect_stderr(null), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally: logging.disable(level)

# ---- the interface

class Tracker:
    """What `planet.tracking` tells an experiment tracker of a run. A subclass takes what it has a place for.

    Any error in `check` or `start` ends the run before it trains; one in the other methods becomes a warning."""
    package = None # that has to be installed
    remote = False # whether a server elsewhere is fed, which takes its time

    def __init__(self, path, # the run's folder, OUT/EXPERIMENT/NAME
                 options:dict, # of the run
                ):
        self.path, self.options, self.step = Path(path).resolve(), options, 0
        self.experiment, self.name = self.path.parent.name, self.path.name

    @classmethod
    def check(cls, options):
        "Raise `UserError` where the tracker cannot be used: called before anything is loaded or made."
    def start(self, config, # options, data, device, versions: a nested dict
              step=0, # epochs that were done before, in a run that is resumed
             ): # -> where the run can be seen, if anywhere
        "Begin a run."
    def log(self, step, # the epoch, numbered through all stages from 1
            metrics, # name -> number
           ):
        "Take the losses and metrics of an epoch."
    def table(self, name, frame, # a `DataFrame`; its column `image`, where it has one, holds PIL images
             ):
        "Take a table: validation chips with their tags, scores by tag."
    def curve(self, name, frame, # a column for each line, with x as its index
             ):
        "Take lines over a common x, such as scores over the decision threshold."
        self.table(name, frame.reset_index())
    def file(self, path):
        "Take a file of the run: a figure (`.png`), its page (`.html`), a table (`.csv`)."
    def artifact(self, path):
        "Take the trained model: a file or a folder."
    def finish(self, status, # done, interrupted, diverged or failed
               scores, # name -> number, of the validation set
              ):
        "End the run: everything is on disk, or has been sent, afterwards."
