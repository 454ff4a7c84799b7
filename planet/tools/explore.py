"""Chips, tags and a run's predictions in FiftyOne's app, to look at what went wrong (extra `planet-chips[fiftyone]`).

FiftyOne keeps its datasets in MongoDB. It brings one along where it can; elsewhere any MongoDB from 6.0 on serves whose
address is in `FIFTYONE_DATABASE_URI`.
"""
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from threading import Event
from uuid import uuid4
import errno, json, logging, os, signal, socket, sys, webbrowser
import numpy as np, pandas as pd
from planet.cli import UserError, is_terminal, say
from planet.chips import Chips, from_folder

__all__ = ['to_fiftyone', 'read_run', 'app']

FOUND, MISSED, MADE_UP = 'found', 'missed', 'made up'
COLOURS = {FOUND: '#2da44e', MISSED: '#e69500', MADE_UP: '#e5484d'} # as in `plots`, on the dark of the app
QUIET = '#57606a' # all that is neither right nor wrong
WORST = 'worst chips'
MONGO_SECONDS = 5
MONGO_HELP = ("FiftyOne keeps its datasets in MongoDB: start one (mongod --dbpath FOLDER, 6.0 or newer) and say where "
              "it is, export FIFTYONE_DATABASE_URI=mongodb://localhost:27017")

# ---- FiftyOne and its database

def check_installed():
    "Raise a `UserError` that says how to install FiftyOne, where it is not."
    if find_spec('fiftyone') is None:
        raise UserError("FiftyOne is not installed: pip install 'planet-chips[fiftyone]' "
                        "(from a checkout: pip install -e '.[fiftyone]')")

def _config_file(): return Path(os.environ.get('FIFTYONE_CONFIG_PATH') or Path.home()/'.fiftyone'/'config.json')

def _no_tracking():
    "Keep FiftyOne's app from reporting its use to its makers, unless the user's own settings say anything about that."
    try: asked = 'do_not_track' in json.loads(_config_file().read_text())
    except (OSError, ValueError): asked = False
    if not asked: os.environ.setdefault('FIFTYONE_DO_NOT_TRACK', '1')

def _fiftyone():
    "The `fiftyone` module, connected to its database; `UserError` where either is missing."
    check_installed()
    if 'fiftyone' not in sys.modules: _no_tracking()
    try: import fiftyone as fo
    except ImportError as e:
        raise UserError(f"FiftyOne is installed but cannot be imported ({e}): pip install --upgrade fiftyone") from None
    uri = fo.config.database_uri
    try:
        if uri: _ping(uri) # FiftyOne itself would wait for half a minute
        fo.list_datasets()
    except Exception as e: # its own errors, MongoDB's and the system's have no class in common
        where = (f"no MongoDB answers at FIFTYONE_DATABASE_URI={_without_password(uri)}" if uri else
                 "FiftyOne's own MongoDB is missing or does not start")
        raise UserError(f"{where} ({type(e).__name__}: {_short(e)}). {MONGO_HELP}") from None
    return fo

def _ping(uri):
    from pymongo import MongoClient
    with MongoClient(uri, serverSelectionTimeoutMS=1000*MONGO_SECONDS) as client: client.server_info()

def _without_password(uri):
    scheme, _, rest = uri.rpartition('://')
    return f"{scheme}://{rest.rpartition('@')[2]}"

def _short(e): return ' '.join(str(e).split(', Timeout:')[0].split())[:200]

# ---- from chips to a dataset

def _check_predictions(chips, predictions):
    "The rows of `chips` that were held out, and their probabilities in the vocab's order; `UserError` for any others."
    import torch
    from planet.metrics import check_probs
    if 'image_name' not in predictions:
        raise UserError(f"predictions have no column image_name (they have {', '.join(map(str, predictions))})")
    names, tags = predictions.image_name.astype(str), [c for c in predictions if c != 'image_name']
    if differ := [f"they {what} {', '.join(sorted(map(str, these))[:3])}" for what, these in
                  (('lack', set(chips.vocab)-set(tags)), ('have besides', set(tags)-set(chips.vocab))) if these]:
        raise UserError(f"predictions have other tags than {chips.root}, {' and '.join(differ)}: "
                        "give the folder that the run was trained on")
    if not len(names): raise UserError("predictions have no rows: give those of one chip at least")
    if (twice := names[names.duplicated()]).any():
        raise UserError(f"predictions name {twice.iloc[0]} more than once: keep one row a chip")
    row_of = {name: row for row, name in enumerate(chips.table.image_name)}
    if missing := [n for n in names if n not in row_of]:
        raise UserError(f"{len(missing):,} of the {len(names):,} chips predicted are not in {chips.root}, "
                        f"such as {', '.join(missing[:3])}: give the folder that the run was trained on")
    numbers = np.array(predictions[chips.vocab].apply(pd.to_numeric, errors='coerce'), dtype=float)
    try: probs = check_probs(torch.from_numpy(numbers), 'predictions')
    except ValueError as e: raise UserError(str(e)) from None
    return [row_of[n] for n in names], probs

def _scores(chips, predictions, thresh):
    "row -> (probabilities, predicted or not, F2, loss) of each chip that was held out"
    from planet.losses import binary_cross_entropy
    from planet.metrics import check_thresh, fbeta_per_chip
    rows, probs = _check_predictions(chips, predictions)
    targs = chips.targets[rows]
    pred = probs > check_thresh(thresh, probs)
    f2 = fbeta_per_chip(pred, targs)
    loss = binary_cross_entropy(probs, probs.new_tensor(targs), sigmoid=False, reduction='none').mean(1)
    return {row: of for row, *of in zip(rows, probs.tolist(), pred.tolist(), f2.tolist(), loss.tolist())}

def _labels(fo, answers): # those that went wrong first, since the app shows three of a chip's labels before "and more"
    answers = sorted(answers, key=lambda a: a['verdict'] == FOUND)
    return fo.Classifications(classifications=[fo.Classification(**a) for a in answers])

def _sample(fo, chip, vocab, tags, score):
    sample = fo.Sample(filepath=str(Path(chip.path).absolute()), image_name=chip.image_name, tags=tags)
    if score is None:
        sample['ground_truth'] = fo.Classifications(classifications=[fo.Classification(label=t) for t in chip.tags])
        return sample
    probs, pred, sample['f2'], sample['loss'] = score
    true, answers = set(chip.tags), sorted(zip(probs, vocab, pred), reverse=True)
    said = [dict(label=t, verdict=FOUND if t in true else MADE_UP, confidence=p) for p, t, y in answers if y]
    sample['ground_truth'] = _labels(fo, [dict(label=t, verdict=FOUND if y else MISSED, probability=p)
                                          for p, t, y in answers if t in true])
    sample['predictions'] = _labels(fo, said)
    sample['made_up'] = _labels(fo, [a for a in said if a['verdict'] == MADE_UP])
    return sample

def _fill(fo, dataset, chips, scores, left_out):
    "Add a sample a chip."
    def tags(row, name):
        return ['held_out' if row in scores else 'left_out' if name in left_out else 'train'] if scores else []
    samples = (_sample(fo, chip, chips.vocab, tags(row, chip.image_name), scores.get(row))
               for row, chip in enumerate(chips.table.itertuples()))
    fields = dict(image_name=fo.StringField, ground_truth=fo.Classifications)
    if scores:
        fields |= dict(predictions=fo.Classifications, made_up=fo.Classifications, f2=fo.FloatField, loss=fo.FloatField)
    for field, kind in fields.items():
        if kind is fo.Classifications: dataset.add_sample_field(field, fo.EmbeddedDocumentField, embedded_doc_type=kind)
        else: dataset.add_sample_field(field, kind)
    dataset.add_samples(samples, num_samples=len(chips), progress=is_terminal())
    dataset.add_dynamic_sample_fields() # `verdict` and `probability` become filters of the sidebar
    dataset.default_classes = chips.vocab

def _arrange(fo, dataset, scores):
    """What the app shows before its user chooses: a held-out chip's true tags (found, missed), those made up, its F2.

    `predictions` starts unticked, since `ground_truth` and `made_up` say the same in fewer labels."""
    labels = ['ground_truth', 'made_up', 'predictions'] if scores else ['ground_truth']
    numbers = ['f2', 'loss'] if scores else []
    app = dataset.app_config
    groups = dict(tags=['tags', '_label_tags'], labels=labels, scores=numbers, metadata=['image_name', 'filepath'])
    placed = sum(groups.values(), [])
    groups['metadata'] += [p for g in app.default_sidebar_groups(dataset) for p in g.paths if p not in placed]
    app.sidebar_groups = [fo.SidebarGroupDocument(name=name, paths=paths, expanded=name != 'metadata')
                          for name, paths in groups.items() if paths]
    app.active_fields = fo.ActiveFields(paths=['ground_truth', 'made_up', 'f2'] if scores else ['ground_truth'])
    def colours(path, *verdicts):
        return dict(path=path, fieldColor=COLOURS[verdicts[0]], colorByAttribute='verdict',
                    valueColors=[dict(value=v, color=COLOURS[v]) for v in verdicts])
    app.color_scheme = fo.ColorScheme(color_by='value')
    if scores: app.color_scheme = fo.ColorScheme(color_by='value', color_pool=[QUIET], fields=[
        colours('ground_truth', FOUND, MISSED), colours('predictions', FOUND, MADE_UP), colours('made_up', MADE_UP)])

def _save_views(fo, dataset, vocab, worst):
    "The worst chips, and the chips of each tag's mistakes."
    from fiftyone import ViewField as F
    taken = set()
    def save(view, name, description, colour):
        free, n = name, 2 # FiftyOne drops all but ASCII letters and digits where it compares names
        while (slug := fo.core.utils.to_slug(free)) in taken: free, n = f'{name} ({n})', n+1
        taken.add(slug)
        dataset.save_view(free, view, description=description, color=colour)
    held_out = dataset.match_tags('held_out')
    order = [('f2', 1), ('loss', -1)]
    save(held_out.sort_by(order).limit(worst), WORST, 'Held-out chips, lowest F2 first', '#8250df')
    for path, verdict, told in (('ground_truth', MISSED, 'has {}, and the run did not say so'),
                                ('predictions', MADE_UP, 'has no {}, but the run said so')):
        counts = dataset.filter_labels(path, F('verdict') == verdict).count_values(f'{path}.classifications.label')
        for tag in sorted(counts, key=vocab.index):
            labels = F(f'{path}.classifications').filter((F('label') == tag) & (F('verdict') == verdict))
            save(held_out.match(labels.length() > 0).sort_by(order), f'{verdict}: {tag}',
                 f'{counts[tag]} chips: each {told.format(tag)}', COLOURS[verdict])

def to_fiftyone(
    chips:Chips, # tagged chips
    predictions=None, # `DataFrame` of held-out chips: `image_name`, and a column of probabilities for each tag
    thresh=0.2, # a tag is predicted above this: one number, or one for each tag
    name:str=None, # of the dataset; `planet-` and the folder's name by default
    persistent:bool=False, # keep it when Python ends?
    left_out=(), # image names that the run neither trained on nor held out
    worst:int=100, # how many chips the view of the worst ones has, at most
): # `fiftyone.Dataset`
    """A FiftyOne dataset with a sample a chip; it replaces the one that this function made before under the same name.

    Every sample has `image_name` and `ground_truth` (`fiftyone.Classifications`). With `predictions`, chips carry a
    sample tag `held_out`, `train` or `left_out`, and held-out ones have `predictions` (the tags above `thresh`, with
    confidence), those of them that were `made_up`, `f2`, and `loss` (binary cross entropy in nats, the mean over tags).
    Each of their labels has a `verdict`: `found`, `missed` or `made up`; a true tag has its `probability` too.
    Saved views: `worst chips`, and each tag's mistakes, `missed: TAG` and `made up: TAG`, where there are any.

    Raises `UserError` where FiftyOne is not installed or its MongoDB does not answer, where predictions do not fit the
    chips, and where a dataset of that name was not made here: that one is left alone.
    """
    scores = {} if predictions is None else _scores(chips, predictions, thresh)
    fo = _fiftyone()
    name = name or f'planet-{chips.root.resolve().name}'
    try: slug = fo.core.utils.to_slug(name)
    except ValueError as e:
        raise UserError(f"FiftyOne takes no dataset named {name!r} ({e}): name it with letters and digits") from None
    old = next((n for n in fo.list_datasets() if fo.core.utils.to_slug(n) == slug), None)
    if old and 'planet' not in fo.load_dataset(old).info:
        raise UserError(f"FiftyOne has a dataset {old} that was not made here: name this one otherwise")
    dataset = fo.Dataset(f'{name} {uuid4().hex}') # takes its name when it is whole
    try:
        dataset.info = dict(planet=dict(source=chips.source, folder=str(chips.root), chips=len(chips),
                                        held_out=len(scores), thresh=np.asarray(thresh).tolist()))
        _fill(fo, dataset, chips, scores, set(left_out))
        _arrange(fo, dataset, scores)
        if scores: _save_views(fo, dataset, chips.vocab, worst)
        dataset.save()
        if old: fo.delete_dataset(old)
        dataset.name, dataset.persistent = name, persistent
    except BaseException:
        dataset.delete()
        raise
    return dataset

# ---- a run's record, and the app

def read_run(
    run, # a run's folder
) -> tuple[pd.DataFrame, dict]: # probabilities of the chips that it held out, and its record
    "What a run of `planet_resnet50` left behind in `held_out.csv` and `record.json`; `UserError` where it did not."
    run = Path(run).expanduser()
    if not (run/'record.json').is_file():
        inside = sorted(run.glob('[!.]*/record.json')) or sorted(run.glob('[!.]*/[!.]*/record.json'))
        near = (f", did you mean {inside[-1].parent}?" if inside else
                ": give a run's folder, such as runs/planet_resnet50/2026-01-31T12-00-00Z")
        raise UserError(f"--record {run}: {'there is no record.json in it' if run.is_dir() else 'no such folder'}{near}")
    try:
        record = json.loads((run/'record.json').read_text())
        if not 0 <= (thresh := float(record['options']['thresh'])) <= 1: raise ValueError(f'{thresh} is outside 0 to 1')
    except (ValueError, TypeError, KeyError) as e:
        raise UserError(f"{run/'record.json'} has no options.thresh to go by ({type(e).__name__}: {e}): "
                        "give the folder of a planet_resnet50 run") from None
    try: held_out = pd.read_csv(run/'held_out.csv', dtype={'image_name': str}, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{run} has no held_out.csv, the predictions of the chips held out: run "
                        "experiments/planet_resnet50.py again, which writes it, and give that record") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as e:
        raise UserError(f"{run/'held_out.csv'} is no table of comma-separated values ({e}): "
                        "run the experiment again") from None
    return held_out, record

def _check_port(address, port):
    "FiftyOne would attach itself to whatever app answers on a port that is taken."
    if not 1 <= port <= 65535: raise UserError(f"--port {port} is outside 1 to 65535")
    bound, error = False, None
    try: places = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except OSError as e:
        raise UserError(f"--address {address} is no address of this machine ({e.strerror}): take localhost") from None
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
                                  f"take another with --port {port+1 if port < 65535 else 5151}")

def _has_browser():
    "Is there a screen to open a browser on? Without one Python might start a browser of text in this very terminal."
    screens = 'DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER'
    return is_terminal() and (sys.platform in ('darwin', 'win32') or any(map(os.environ.get, screens)))

def app(folder, # folder with a label table and images
        record='', # a run's folder, whose predictions to show
        port:int=5151, # where the app answers
        address:str='localhost', # and at which address of this machine: 0.0.0.0 lets others in
        keep:str='', # keep the dataset under this name; by default it goes with the app
       ):
    "Show chips, and a run's predictions, in FiftyOne's app until Ctrl-C."
    check_installed()
    chips = from_folder(folder)
    predictions, run = read_run(record) if record else (None, {})
    _check_port(address, port)
    say(f"{len(chips):,} chips, {len(chips.vocab)} tags, {chips.root}; FiftyOne starts, which takes some seconds")
    thresh, left_out = run.get('options', {}).get('thresh', .2), run.get('data', {}).get('left_out', ())
    name = keep or f'planet-{chips.root.resolve().name}-{os.getpid()}'
    dataset = to_fiftyone(chips, predictions, thresh, name, bool(keep), left_out)
    import fiftyone as fo
    logging.getLogger('fiftyone').setLevel(logging.ERROR) # what to do is told here, in a line
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.default_int_handler) # a polite kill tidies up as well
    try:
        shown, view = (dataset.load_saved_view(WORST), '?view=worst-chips') if record else (dataset, '')
        if record: say(f"{len(predictions):,} held-out chips, F2 {dataset.mean('f2'):.4f} at {thresh:g}; "
                       "shown first: the worst chips. Every tag's mistakes are saved views (top left)")
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
