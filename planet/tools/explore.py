"""`planet-data explore`: browse chips, tags and a run's predictions in FiftyOne's app, and see which are wrong."""
import errno
import logging
import os
import re
import shutil
import signal
import socket
import sys
import webbrowser
from contextlib import redirect_stdout
from io import StringIO
from threading import Event
from planet.chips import from_folder
from planet.cli import UserError, is_terminal, say
from planet.files import cache_folder
from planet.records import find_run
from planet.tools.fiftyone_dataset import WORST, check_installed, to_fiftyone, write_pictures

__all__ = ['read_run', 'app']

def read_run(
    run, # a run's folder, its name, `last` or `best`
) -> tuple: # its `Record`; the probabilities of its validation set; thresholds by tag, or one for all
    "Read what a tagger predicted for its validation set; `UserError` where that is missing or damaged."
    record = find_run(run)
    if record.rule['kind'] == 'argmax':
        raise UserError(f'{record.path} is a run of single labels: give one of planet_resnet50', option='record')
    predictions, thresh = record.probabilities(), record.thresh
    if thresh is None: thresh = record.options.get('thresh', .2) # of another rule: chips are shown by this one
    tags = [str(t) for t in record.data.get('vocab') or predictions.columns.drop('image_name')]
    return record, predictions, dict(zip(tags, thresh)) if isinstance(thresh, list) else thresh

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
        record='', # a run's folder or name, `last` or `best`: its predictions are shown
        port:int=5151, # where the app answers
        address:str='localhost', # and at which address of this machine: 0.0.0.0 lets others in
        keep:str='', # keep the dataset under this name; by default it goes with the app
       ):
    "Browse chips, and a run's predictions, in FiftyOne's app until Ctrl-C."
    check_installed()
    chips = from_folder(folder)
    run, predictions, thresh = read_run(record) if record else (None, None, .2)
    _check_port(address, port)
    say(f"{len(chips):,} chips, {len(chips.vocab)} tags, {chips.root}; FiftyOne starts, which takes some seconds")
    rule = 'thresholds per tag' if isinstance(thresh, dict) else f'{thresh:g}'
    if isinstance(thresh, dict): thresh = [thresh.get(tag, 1) for tag in chips.vocab] # other tags are refused below
    left_out = run.data.get('left_out', ()) if run else ()
    name = keep or f'planet-{chips.root.resolve().name}-{os.getpid()}'
    folder = cache_folder()/'explore'/re.sub(r'[^\w.-]', '_', name)
    pictures = write_pictures(chips, folder)
    dataset = to_fiftyone(chips, predictions, thresh, name, bool(keep), left_out, pictures=pictures)
    import fiftyone as fo
    logger = logging.getLogger('fiftyone')
    handlers, level = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}, logger.level
    logger.setLevel(logging.ERROR) # what to do is told here, in a line
    signal.signal(signal.SIGTERM, signal.default_int_handler) # a polite kill tidies up as well
    try:
        shown, view = (dataset.load_saved_view(WORST), '?view=worst-chips') if record else (dataset, '')
        if record: say(f"{len(predictions):,} validation chips, F2 {dataset.mean('f2'):.4f} at {rule}; "
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
        if not keep:
            dataset.delete()
            shutil.rmtree(folder, ignore_errors=True)
        fo.close_app()
        for s, handler in handlers.items(): signal.signal(s, handler)
        logger.setLevel(level)
