"A FiftyOne dataset of chips, tags and a run's predictions (extra `planet-chips[fiftyone]`)."
# FiftyOne keeps its datasets in MongoDB. It brings one along where it can; elsewhere any MongoDB from 6.0 on serves
# whose address is in `FIFTYONE_DATABASE_URI`.
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4
import numpy as np
import pandas as pd
from planet.bands import in_colour
from planet.chips import Chips
from planet.cli import UserError, is_terminal, progress

__all__ = ['WORST', 'check_installed', 'no_tracking', 'connect', 'write_pictures', 'to_fiftyone']

TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE = 'true positive', 'false negative', 'false positive'
# as in `plots`, on the dark of the app
COLOURS = {TRUE_POSITIVE: '#2da44e', FALSE_NEGATIVE: '#e69500', FALSE_POSITIVE: '#e5484d'}
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

def no_tracking():
    "Keep FiftyOne's app from reporting its use to its makers, unless the user's settings say anything about that."
    try: asked = 'do_not_track' in json.loads(_config_file().read_text())
    except (OSError, ValueError): asked = False
    if not asked: os.environ.setdefault('FIFTYONE_DO_NOT_TRACK', '1')

def connect():
    "Import FiftyOne and connect to its database; `UserError` where either is missing."
    check_installed()
    if 'fiftyone' not in sys.modules: no_tracking()
    try:
        import fiftyone as fo
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
    "Rows of the validation set in `chips`, and their probabilities in the vocab's order; `UserError` for any others."
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
    "row -> (probabilities, predicted or not, F2, loss) of each chip of the validation set"
    from planet.losses import binary_cross_entropy
    from planet.metrics import check_thresh, fbeta_per_chip
    rows, probs = _check_predictions(chips, predictions)
    targs = chips.targets[rows]
    pred = probs > check_thresh(thresh, probs)
    f2 = fbeta_per_chip(pred, targs)
    loss = binary_cross_entropy(probs, probs.new_tensor(targs), sigmoid=False, reduction='none').mean(1)
    return {row: of for row, *of in zip(rows, probs.tolist(), pred.tolist(), f2.tolist(), loss.tolist())}

def write_pictures(chips:Chips,
                   folder, # for PNG files
                   side:int=256, # of a picture, in pixels
                  ) -> dict: # row -> its picture
    "Pictures of GeoTIFF chips, which no browser shows, in false colour where they have more bands than colours."
    from PIL import Image
    from planet.figures import as_array
    from planet.images import decode_chip, in_threads
    chips, folder = in_colour(chips), Path(folder)
    rows = [row for row, path in enumerate(chips.paths) if path.suffix.lower() in ('.tif', '.tiff')]
    def draw(row):
        try: seen = as_array(decode_chip(chips.paths[row], side, chips.limits), chips.bands)
        except Exception: return None # a broken file is shown as broken
        Image.fromarray(seen).save(path := folder/f'{row}.png')
        return path
    if rows: folder.mkdir(parents=True, exist_ok=True)
    drawn = progress(in_threads(draw, rows), len(rows), 'drawing chips') if rows else ()
    return {row: path for row, path in zip(rows, drawn) if path}

def _labels(fo, answers): # those that went wrong first, since the app shows three of a chip's labels before "and more"
    answers = sorted(answers, key=lambda a: a['verdict'] == TRUE_POSITIVE)
    return fo.Classifications(classifications=[fo.Classification(**a) for a in answers])

def _sample(fo, chip, vocab, tags, score, picture):
    sample = fo.Sample(filepath=str(Path(chip.path).absolute()), image_name=chip.image_name, tags=tags)
    if picture: sample['picture'] = str(picture.absolute())
    if score is None:
        sample['ground_truth'] = fo.Classifications(classifications=[fo.Classification(label=t) for t in chip.tags])
        return sample
    probs, pred, sample['f2'], sample['loss'] = score
    true, answers = set(chip.tags), sorted(zip(probs, vocab, pred), reverse=True)
    said = [dict(label=t, verdict=TRUE_POSITIVE if t in true else FALSE_POSITIVE, confidence=p)
            for p, t, y in answers if y]
    sample['ground_truth'] = _labels(fo, [dict(label=t, verdict=TRUE_POSITIVE if y else FALSE_NEGATIVE, probability=p)
                                          for p, t, y in answers if t in true])
    sample['predictions'] = _labels(fo, said)
    sample['false_positives'] = _labels(fo, [a for a in said if a['verdict'] == FALSE_POSITIVE])
    return sample

def _fill(fo, dataset, chips, scores, left_out, pictures):
    "Add a sample a chip."
    def tags(row, name):
        return ['validation' if row in scores else 'left_out' if name in left_out else 'train'] if scores else []
    samples = (_sample(fo, chip, chips.vocab, tags(row, chip.image_name), scores.get(row),
                       pictures.get(row)) for row, chip in enumerate(chips.table.itertuples()))
    if pictures: dataset.add_sample_field('picture', fo.StringField)
    fields = dict(image_name=fo.StringField, ground_truth=fo.Classifications)
    if scores:
        fields |= dict(predictions=fo.Classifications, false_positives=fo.Classifications)
        fields |= dict(f2=fo.FloatField, loss=fo.FloatField)
    for field, kind in fields.items():
        if kind is fo.Classifications: dataset.add_sample_field(field, fo.EmbeddedDocumentField, embedded_doc_type=kind)
        else: dataset.add_sample_field(field, kind)
    dataset.add_samples(samples, num_samples=len(chips), progress=is_terminal())
    dataset.add_dynamic_sample_fields() # `verdict` and `probability` become filters of the sidebar
    dataset.default_classes = chips.vocab

def _arrange(fo, dataset, scores, pictures):
    """What the app shows at first: true tags (true positives, false negatives), false positives and F2 of a chip.

    `predictions` starts unticked, since `ground_truth` and `false_positives` say the same in fewer labels."""
    labels = ['ground_truth', 'false_positives', 'predictions'] if scores else ['ground_truth']
    numbers = ['f2', 'loss'] if scores else []
    app = dataset.app_config
    if pictures:
        app.media_fields = ['filepath', 'picture']
        app.grid_media_field = app.modal_media_field = 'picture'
    groups = dict(tags=['tags', '_label_tags'], labels=labels, scores=numbers, metadata=['image_name', 'filepath'])
    placed = sum(groups.values(), [])
    groups['metadata'] += [p for g in app.default_sidebar_groups(dataset) for p in g.paths if p not in placed]
    app.sidebar_groups = [fo.SidebarGroupDocument(name=name, paths=paths, expanded=name != 'metadata')
                          for name, paths in groups.items() if paths]
    app.active_fields = fo.ActiveFields(paths=['ground_truth', 'false_positives', 'f2'] if scores else ['ground_truth'])
    def colours(path, *verdicts):
        return dict(path=path, fieldColor=COLOURS[verdicts[0]], colorByAttribute='verdict',
                    valueColors=[dict(value=v, color=COLOURS[v]) for v in verdicts])
    app.color_scheme = fo.ColorScheme(color_by='value')
    if scores: app.color_scheme = fo.ColorScheme(color_by='value', color_pool=[QUIET], fields=[
        colours('ground_truth', TRUE_POSITIVE, FALSE_NEGATIVE),
        colours('predictions', TRUE_POSITIVE, FALSE_POSITIVE), colours('false_positives', FALSE_POSITIVE)])

def _save_views(fo, dataset, vocab, worst):
    "Saved views of the chips with the lowest F2, and of each tag's false negatives and false positives."
    from fiftyone import ViewField as F
    taken = set()
    def save(view, name, description, colour):
        free, n = name, 2 # FiftyOne drops all but ASCII letters and digits where it compares names
        while (slug := fo.core.utils.to_slug(free)) in taken: free, n = f'{name} ({n})', n+1
        taken.add(slug)
        dataset.save_view(free, view, description=description, color=colour)
    validation = dataset.match_tags('validation')
    order = [('f2', 1), ('loss', -1)]
    save(validation.sort_by(order).limit(worst), WORST, 'Validation chips, lowest F2 first', '#8250df')
    for path, verdict, told in (('ground_truth', FALSE_NEGATIVE, 'has {}, which was not predicted'),
                                ('predictions', FALSE_POSITIVE, 'has no {}, which was predicted')):
        counts = dataset.filter_labels(path, F('verdict') == verdict).count_values(f'{path}.classifications.label')
        for tag in sorted(counts, key=vocab.index):
            labels = F(f'{path}.classifications').filter((F('label') == tag) & (F('verdict') == verdict))
            save(validation.match(labels.length() > 0).sort_by(order), f'{verdict}: {tag}',
                 f'{counts[tag]} chips: each {told.format(tag)}', COLOURS[verdict])

def to_fiftyone(
    chips:Chips, # tagged chips
    predictions=None, # `DataFrame` of validation chips: `image_name`, and a column of probabilities for each tag
    thresh=0.2, # a tag is predicted above this: one number, or one for each tag
    name:str=None, # of the dataset; `planet-` and the folder's name by default
    persistent:bool=False, # keep it when Python ends?
    left_out=(), # image names that the run left out
    worst:int=100, # how many chips the view of the worst ones has, at most
    pictures=None, # of the rows that a browser cannot show, from `write_pictures`
): # `fiftyone.Dataset`
    """Export chips and predictions to a FiftyOne dataset, a sample a chip; one made here before is replaced.

    Every sample has `image_name` and `ground_truth` (`fiftyone.Classifications`). With `predictions`, chips carry a
    sample tag `validation`, `train` or `left_out`, and those of the validation set have `predictions` (the tags above
    `thresh`, with confidence), the `false_positives` among them, `f2`, and `loss` (binary cross entropy in nats, the
    mean over tags). Each of their labels has a `verdict`: `true positive`, `false negative` or `false positive`; a true
    tag has its `probability` too. Saved views: `worst chips`, and for each tag `false negative: TAG` and
    `false positive: TAG`, where there are any.

    Raises `UserError` where FiftyOne is not installed or its MongoDB does not answer, where predictions do not fit the
    chips, and where a dataset of that name was not made here: that one is left alone.
    """
    scores = {} if predictions is None else _scores(chips, predictions, thresh)
    fo = connect()
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
                                        validation=len(scores), thresh=np.asarray(thresh).tolist()))
        _fill(fo, dataset, chips, scores, set(left_out), pictures or {})
        _arrange(fo, dataset, scores, pictures)
        if scores: _save_views(fo, dataset, chips.vocab, worst)
        dataset.save()
        if old: fo.delete_dataset(old)
        dataset.name, dataset.persistent = name, persistent
    except BaseException:
        dataset.delete()
        raise
    return dataset
