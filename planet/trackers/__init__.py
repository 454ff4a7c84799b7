"Experiment trackers behind one small interface: which there are, and which of them a run's options name."
# `track='wandb,tensorboard'` names entries of `TRACKERS`, which any module may add to; `planet.tracking` feeds them.
from importlib.util import find_spec
from planet.cli import UserError, near_names
from .interface import Tracker
from .services import MLflow, TensorBoard, Trackio, Wandb

__all__ = ['Tracker', 'TRACKERS', 'tracker_names', 'check_track']

TRACKERS = dict(wandb=Wandb, tensorboard=TensorBoard, trackio=Trackio, mlflow=MLflow)

def tracker_names(options:dict, # of a run: `track`, `wandb`
                 ) -> list:
    "The trackers that a run's options name, each once; raises `UserError`, with near names, for an unknown one."
    asked = [n.strip() for n in (options.get('track') or 'none').split(',') if n.strip()]
    if 'none' in asked and len(asked) > 1: raise UserError('none goes with no other tracker', option='track')
    for name in asked:
        if name not in TRACKERS and name != 'none':
            listed = ', '.join(['none', *TRACKERS])
            raise UserError(f'{name} is unknown: one or several, by comma, of {listed}{near_names(name, TRACKERS)}',
                            option='track')
    return list(dict.fromkeys(n for n in [*asked, *['wandb']*bool(options.get('wandb'))] if n != 'none'))

def check_track(options:dict, # of a run: `track`, `wandb`, `wandb_mode`
               ):
    "Raise `UserError` for a tracker that is unknown, not installed, or cannot be used: before torch is loaded."
    names, mode = tracker_names(options), options.get('wandb_mode')
    if mode not in (None, '', 'online', 'offline'):
        raise UserError(f"{mode} is neither offline nor online{near_names(mode, ['online', 'offline'])}",
                        option='wandb_mode')
    if mode and 'wandb' not in names: raise UserError(f'{mode} needs wandb in `track`', option='wandb_mode')
    for name in names:
        package = TRACKERS[name].package
        if package and find_spec(package) is None:
            raise UserError(f"{name} is not installed: pip install 'planet-chips[track]' "
                            "(from a checkout: pip install -e '.[track]')", option='track')
    for name in names: TRACKERS[name].check(options)
