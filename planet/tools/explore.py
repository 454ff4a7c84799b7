"""`planet-data explore`: browse chips, tags and a run's predictions in FiftyOne's app, and see which are wrong."""
import errno
import json
import logging
import os
import signal
import socket
import sys
import webbrowser
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from threading import Event
import pandas as pd
from planet.chips import from_folder
from planet.cli import UserError, is_terminal, say
from planet.tools.fiftyone_dataset import WORST, check_installed, to_fiftyone

__all__ = ['read_run', 'app']

TABLE = 'validation.csv' # of a run: the probabilities of its validation set

def read_run(
    run, # a run's folder
) -> tuple[pd.DataFrame, dict]: # probabilities of its validation set, and its record
    "Read a run's probabilities (`validation.csv`) and its `record.json`; `UserError` where they are missing."
    run = Path(run).expanduser()
    if not (run/'record.json').is_file():
        inside = sorted(run.glob('[!.]*/record.json')) or sorted(run.glob('[!.]*/[!.]*/record.json'))
        near = (f", did you mean {inside[-1].parent}?" if inside else
                ": give a run's folder, such as runs/planet_resnet50/2026-01-31T12-00-00Z")
        wrong = 'there is no record.json in it' if run.is_dir() else 'no such folder'
        raise UserError(f'{run}: {wrong}{near}', option='record')
    try:
        record = json.loads((run/'record.json').read_text())
        if not 0 <= (thresh := float(record['options']['thresh'])) <= 1: raise ValueError(f'{thresh} is outside 0 to 1')
    except (ValueError, TypeError, KeyError) as e:
        raise UserError(f"{run/'record.json'} has no options.thresh to go by ({type(e).__name__}: {e}): "
                        "give the folder of a planet_resnet50 run") from None
    try: predictions = pd.read_csv(run/TABLE, dtype={'image_name': str}, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{run} has no {TABLE}, the predictions for its validation set: run "
                        "experiments/planet_resnet50.py again, which writes it, and give that record") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as e:
        raise UserError(f"{run/TABLE} is no table of comma-separated values ({e}): run the experiment again") from None
    return predictions, record

def _check_port(address, port):
    "FiftyOne would attach itself to whatever app answers on a port that is taken."
    if not 1 <= port <= 65535: raise UserError(f'{port} is outside 1 to 65535', option='port')
    bound, error = False, None
    try: places = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except OSError as e:
        raise UserError(f'{address} is no address of this machine ({e.strerror}): take localhost',
                        option='address') from None
    for family, kind, *_, place in places:
        try:
            with socket.socket(family, kind) as s:
                if os.name == 'posix': s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(place)
            bound = True
        except OSError as e: # a machine may know ::1 by name and have no IPv6
            error = e
            if e.errno == errno.EADDRINUSE: bound = False; break
    if not bound: raise UserError(f"cannot answer on port {port} of {address} ({error.strerror}): "
                                  f"take another, such as `port` {port+1 if port < 65535 else 5151}")

def _has_browser():
    "Whether there is a screen to open a browser on: without one Python might start a browser of text in this terminal."
    screens = 'DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER'
    return is_terminal() and (sys.platform in ('darwin', 'win32') or any(map(os.environ.get, screens)))

def app(folder, # folder with a label table and images
        record='', # a run's folder, whose predictions to show
        port:int=5151, # where the app answers
        address:str='localhost', # and at which address of this machine: 0.0.0.0 lets others in
        keep:str='', # keep the dataset under this name; by default it goes with the app
       ):
    "Browse chips, and a run's predictions, in FiftyOne's app until Ctrl-C."
    check_installed()
    chips = from_folder(folder)
    predictions, run = read_run(record) if record else (None, {})
    _check_port(address, port)
    say(f"{len(chips):,} chips, {len(chips.vocab)} tags, {chips.root}; FiftyOne starts, which takes some seconds")
    thresh, left_out = run.get('options', {}).get('thresh', .2), run.get('data', {}).get('left_out', ())
    name = keep or f'planet-{chips.root.resolve().name}-{os.getpid()}'
    dataset = to_fiftyone(chips, predictions, thresh, name, bool(keep), left_out)
    import fiftyone as fo
    logger = logging.getLogger('fiftyone')
    handlers, level = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}, logger.level
    logger.setLevel(logging.ERROR) # what to do is told here, in a line
    signal.signal(signal.SIGTERM, signal.default_int_handler) # a polite kill tidies up as well
    try:
        shown, view = (dataset.load_saved_view(WORST), '?view=worst-chips') if record else (dataset, '')
        if record: say(f"{len(predictions):,} validation chips, F2 {dataset.mean('f2'):.4f} at {thresh:g}; "
                       "shown first: the worst chips. Each tag's errors are saved views (top left)")
        with redirect_stdout(StringIO()): # it chats while it waits
            fo.launch_app(shown, port=port, address=address, remote=True)
        url = f"http://{'localhost' if address in ('0.0.0.0', '::') else address}:{port}/datasets/{dataset.slug}{view}"
        say(f'open {url} (Ctrl-C ends it)',
            f'from another machine: first run ssh -L {port}:localhost:{port} THIS_MACHINE there')
        if _has_browser(): webbrowser.open(url)
        Event().wait()
    except KeyboardInterrupt: say('closing, which takes some seconds' + f'; the dataset {keep} is kept'*bool(keep))
    finally:
        for s in handlers: signal.signal(s, signal.SIG_IGN) # once is enough
        if not keep: dataset.delete()
        fo.close_app()
        for s, handler in handlers.items(): signal.signal(s, handler)
        logger.setLevel(level)
