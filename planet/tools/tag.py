"`planet-tag`: which of its jobs is asked for, and tagging a stream of image files into a table."
import sys
import time
import warnings
from collections import deque
from importlib import import_module
from itertools import islice
from pathlib import Path
from planet.cli import EVERY, UserError, is_watched, say, with_flags
from planet.model_files import find_model, read_model
from planet.tag_files import FORMATS, MAPS, TagFile, check_output
from planet.tag_inputs import georeferenced, opened_inputs
from planet.tools.finished import missing_rows

__all__ = ['tag_command', 'tag_images']

SHOWN = 20 # unreadable files that are named
SKIPPED = 3 # exit status where inputs were skipped

def warn(line):
    "Print a line on stderr, beside the lines of the output."
    print(line, file=sys.stderr, flush=True)

# ---- progress

class Rate:
    "Progress with images a second: a bar on a terminal, else a plain line now and then."
    def __init__(self, label, total, done=0):
        self.label, self.total, self.done, self.start = label, total, done, done
        self.began = self.told = time.monotonic()
        self.bar = None
        if is_watched():
            from tqdm import tqdm
            self.bar = tqdm(total=total, initial=done, desc=label, unit=' images', leave=False)
    def add(self, n):
        "Count `n` more."
        self.done += n
        if self.bar: return self.bar.update(n)
        if time.monotonic() - self.told < EVERY: return
        self.told = time.monotonic()
        say(f'{self.label}: {self.done:,} of {self.total:,}, {self.rate:,.0f} images/s')
    @property
    def rate(self): return (self.done - self.start)/max(time.monotonic() - self.began, 1e-9)
    def close(self):
        if self.bar: self.bar.close()

# ---- images

class Bad:
    "Unreadable inputs: named as they come, up to a number, and counted."
    def __init__(self, n=0): self.n = n
    def add(self, found):
        "Name and count pairs of name and reason."
        for name, why in found:
            self.n += 1
            if self.n <= SHOWN: warn(f'skipped: {why if name in why else f"{name}: {why}"}')
            if self.n == SHOWN + 1: warn('skipped: more, which are counted')

def chip_opener(tagger):
    "A function that decodes a chip, and refuses what is no chip: a scene, or a picture whose shape would be lost."
    from PIL import Image
    from planet.files import open_regular
    from planet.images import decode_chip
    usual = max(tagger.facts['input'].get('pixels') or [tagger.size])
    def open_one(path):
        try:
            with open_regular(path) as f, Image.open(f) as im: width, height = im.size
        except Image.DecompressionBombError as e: raise ValueError(str(e)) from None
        except Exception: width = height = usual # no picture for Pillow: the decoder says why, or reads it
        shape, size = (width, height), max(usual, tagger.size)
        if max(shape) > 4*size or max(shape) > 2*min(shape) or min(shape) < min(16, usual):
            raise ValueError(f'{width}x{height} pixels are no chip (trained on {usual}x{usual}): cut it into chips, '
                             'or give a georeferenced scene by itself')
        return decode_chip(path, tagger.size, tagger.limits)
    return open_one

def _skip(items, n, last, batch):
    "`items` after the first `n`, among the last `batch` of which `last` has to be."
    items = iter(items)
    seen = deque((name for name, _ in islice(items, n)), maxlen=batch)
    if last is not None and last not in seen:
        raise UserError('the inputs are not those of the output that was begun: give the same, or `overwrite` it '
                        'without `resume`', option='resume')
    return items

def _lines(tagger, names, probs, tags):
    "A line of text for each image: its tags with their probabilities."
    for name, row, found in zip(names, probs.tolist(), tags):
        of = dict(zip(tagger.vocab, row))
        yield f"{name}  {', '.join(f'{t} {of[t]:.2f}' for t in found) or '(no tag)'}"

def tag_images(tagger, inputs, # `Inputs`
               out='', # file; '' prints
               bs:int=0, workers:int=0, # as in `tag_stream`
               resume:bool=False, # go on with an output that was broken off
               decide=None, # probabilities -> bool decisions; the tagger's rule by default
               given=(), # the inputs as they were named, which a resumed call has to repeat
               **same, # what else it has to repeat
              ) -> tuple: # images that were tagged, those that were skipped, how many have each tag
    "Tag a stream of image files in flat memory, into a file or onto the screen."
    import torch
    from planet.inference import tag_stream
    decide, bs = decide or tagger.decide, bs or tagger.bs
    identity = dict(model=tagger.facts['sha256'], inputs=[str(g) for g in given], engine=tagger.engine, **same)
    total, counts = len(inputs), torch.zeros(len(tagger.vocab), dtype=torch.long)
    def run(file):
        bad, done = Bad(file.bad if file else 0), file.done if file else 0
        rate = Rate('tagging', total, done) if out else None
        items = _skip(inputs, done, file.last, file.batch) if done else inputs
        for names, probs, broken in tag_stream(tagger, items, bs, workers, chip_opener(tagger)):
            bad.add(broken)
            hot = decide(probs)
            counts.add_(hot.sum(0).cpu())
            tags = [[t for t, yes in zip(tagger.vocab, row) if yes] for row in hot.tolist()]
            if file: file.write(names, probs, tags, broken, names[-1] if names else broken[-1][0])
            else: say(*_lines(tagger, names, probs, tags))
            if rate: rate.add(len(names) + len(broken))
        if rate: rate.close()
        return bad.n, rate
    if not out: bad, rate = run(None)
    else:
        with TagFile(out, tagger.vocab, identity, resume) as file: bad, rate = run(file)
    if rate: say(f'{total - bad:,} images tagged, {rate.rate:,.0f} images/s, in {out}')
    if bad: warn(f'{bad:,} of {total:,} images were skipped')
    return total - bad, bad, dict(zip(tagger.vocab, counts.tolist()))

# ---- the command

def _scenes(given, facts):
    "The inputs, where they are georeferenced rasters larger than a chip; all are, or none."
    import glob
    larger = 2*max(facts['input'].get('pixels') or [facts['input']['size']])
    files = [p for g in given for p in (sorted(glob.glob(g, recursive=True)) if glob.has_magic(g) else [g])]
    told = {p: Path(p).is_file() and georeferenced(p, larger) for p in files}
    found = [p for p in files if told[p]]
    others = [p for p in files if told[p] is False] # a damaged one among scenes is told of with them
    small = [p for p in others if Path(p).is_file() and georeferenced(p)] if found else []
    if len(small) < len(found): others = [p for p in others if p not in small] # the edge of a map that was cut up
    if found and others:
        raise UserError(f'{found[0]} is a scene and {others[0]} is none: tag scenes and chips in two calls')
    return found and files

def tag_scenes(tagger, paths, o, outs):
    "Hand georeferenced scenes over to `planet.scenes`."
    try: scenes = import_module('planet.scenes')
    except ImportError as e:
        raise UserError(f'{paths[0]} is a scene, which needs rasterio and geopandas ({e}): '
                        'pip install "planet-chips[geo]"') from None
    same = dict(out=outs, overlap=o['overlap'], bs=o['bs'] or 64, scale=o['scale'] or None, resume=o['resume'],
                overwrite=o['overwrite'], workers=o['workers'], bands=o['bands'] or None, metres=o['metres'])
    engine = 'ray' if o['engine'] == 'ray' else 'plain'
    if len(paths) == 1:
        scene = scenes.tag_scene(tagger, paths[0], engine=engine, **same)
        return SKIPPED if scene is not None and scene.about['unreadable'] else 0
    if o['engine'] == 'torch': engine = 'pool' # the others' sessions cannot be sent to processes
    table = scenes.tag_scenes(tagger, paths, engine=engine, **same)
    return SKIPPED if (table.status == 'failed').any() or 'unreadable' in table and table.unreadable.sum() else 0

def _serve(tagger, o):
    try: app = import_module('planet.app')
    except ImportError as e:
        raise UserError(f'the page needs gradio ({e}): pip install "planet-chips[app]"', option='serve') from None
    return app.serve(tagger, o['host'], o['port'], app.upload_limits(o['upload_limits']))

def exactly_one(tagger):
    "Let a tagger give exactly one of its mutually exclusive tags; `UserError` where it has none."
    from planet.rules import ExactlyOne
    if not (group := tuple(tagger.vocab.index(t) for t in tagger.exclusive)):
        raise UserError('this model knows no mutually exclusive tags: leave it out', option='one_weather')
    if 'one' not in tagger.facts['rule']: tagger.rule = ExactlyOne(tagger.rule, group)
    tagger.facts = tagger.facts | dict(rule=tagger.rule.facts()) # what is said of the rule follows

def _check_options(o, outs, paths, jobs):
    "Refuse options that the job would leave out without a word, and outputs that cannot be written."
    if o['recall'] and (paths or jobs):
        raise UserError(f"is kept for chips, and not by {'scenes' if paths else f'`{jobs[0]}`'}: leave it out",
                        option='recall')
    if odd := [name for name in ('overlap', 'scale', 'bands', 'metres') if o.get(name) and not paths]:
        raise UserError('is for georeferenced scenes, and none of the inputs is one: leave it out', option=odd[0])
    if paths and not outs: raise UserError('the results of scenes need a place: name a file, such as tags.gpkg',
                                           option='out')
    if paths or o['submission']: return # those check their outputs themselves
    if maps := [p for p in outs if Path(p).suffix.lower() in MAPS]:
        raise UserError(f"{maps[0]} is a map, and none of the inputs is a georeferenced scene: take one of "
                        f"{', '.join(FORMATS)}", option='out')
    if len(outs) > 1: raise UserError(f'{outs[1]} is a second file: tags of chips go into one', option='out')
    for out in outs: check_output(out, o['overwrite'] or o['resume'])

def tag_command(o:dict, # all options of `planet-tag`
               ): # -> exit status
    "Do what `planet-tag` was asked for."
    folder = find_model(o['model'], o['runs'])
    facts = read_model(folder)
    given, outs = [str(i) for i in o['inputs']], [p for p in o['out'].split(',') if p]
    outs += [o['html']]*bool(o['html'])
    jobs = [name for name in ('submission', 'export', 'serve') if o[name]]
    if len(jobs) > 1 or jobs and given: raise UserError(f'`{jobs[0]}` is a job of its own: leave out the rest')
    if o['upload'] and not o['submission']: raise UserError('needs `submission`', option='upload')
    if not given and not jobs and not o['recall']: raise UserError('name images, folders, archives or scenes to tag')
    paths = _scenes(given, facts)
    _check_options(o, outs, paths, jobs)
    if o['export']:
        from planet.export import export_model
        return export_model(folder, o['export'].split(','), o['data'])
    from planet.inference import Tagger
    tagger = Tagger.load(folder, 'torch' if o['engine'] == 'ray' else o['engine'])
    if o['one_weather']: exactly_one(tagger)
    if o['serve']: return _serve(tagger, o)
    if o['submission']:
        from planet.tools.submit import submit
        return submit(tagger, o, tag_images)
    if paths: return tag_scenes(tagger, paths, o, outs)
    return _tag(tagger, o, given, outs[0] if outs else '')

def _tag(tagger, o, given, out):
    decide, promises = tagger.decide, []
    if o['recall']:
        from planet.guarantees import Guarantee
        promises = [Guarantee.of(tagger.folder, *tag.split('=', 1), o['confidence']) if '=' in tag else
                    Guarantee.of(tagger.folder, tag, None, o['confidence']) for tag in o['recall'].split(',')]
        for promise in promises: say(*promise.lines())
        def decide(probs):
            hot = tagger.decide(probs).clone()
            for promise in promises: hot[:, promise.column] = probs[:, promise.column] >= promise.thresh
            return hot
    if not given: return None
    room = Path(out).expanduser().parent if out else None
    with warnings.catch_warnings(), opened_inputs(given, o['column'], room) as inputs:
        warnings.filterwarnings('error', category=_bomb_warning()) # such a picture is skipped, and said
        if out and o['resume'] and (bad := missing_rows(tagger, inputs, out, decide)) is not None:
            say(f'{out} is complete: {len(inputs) - bad:,} images were tagged before')
            if bad: warn(f'{bad:,} of {len(inputs):,} images were skipped')
            return SKIPPED if bad else 0
        n, bad, counts = tag_images(tagger, inputs, out, o['bs'], o['workers'], o['resume'], decide, given,
                                    recall=o['recall'], one_weather=o['one_weather'])
    for p in promises:
        say(with_flags(f'{p.tag}: {counts[p.tag]:,} of {n:,} images to review'))
    return SKIPPED if bad else 0

def _bomb_warning():
    from PIL import Image
    return Image.DecompressionBombWarning
