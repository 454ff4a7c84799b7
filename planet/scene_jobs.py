"Scenes that are being tagged: a journal each, results through an engine, files written as soon as a scene is whole."
import json
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
import numpy as np
from planet.areas import blend, tag_areas, validation_counts
from planet.cli import UserError, progress, say
from planet.engines import EMPTY, TAGGED, UNREADABLE, Journal, run_tiles, unlike
from planet.scene_files import TaggedScene, write_scene
from planet.windows import Plan, TileWorker

__all__ = ['Job', 'tagged_scene', 'check_origin', 'tag_jobs']

def _limits(plan): return None if plan.limits is None else np.asarray(plan.limits).tolist()

# ---- the result of one scene

def _picture_bands(tagger, plan):
    "Numbers of the bands that are red, green and blue; else the first three, or one."
    names = [str(b).lower() for b in tagger.bands or ('red', 'green', 'blue')]
    if {'red', 'green', 'blue'} <= set(names): return [plan.bands[names.index(n)] for n in ('red', 'green', 'blue')]
    return list(plan.bands[:3] if len(plan.bands) >= 3 else plan.bands[:1])

def _counted(tagger, plan, rows, windows):
    "What a scene's files say of how it was tagged."
    bad = rows['window'][rows['state'] == UNREADABLE]
    return dict(scene=Path(plan.raster.path).name, windows=len(rows), tagged=len(windows),
                empty=int((rows['state'] == EMPTY).sum()), unreadable=len(bad),
                padded=int((plan.grid.padded(windows) > 0).sum()), window=plan.grid.window, step=plan.grid.step,
                bands=plan.bands, picture=_picture_bands(tagger, plan), limits=_limits(plan), rule=str(tagger.rule),
                unreadable_at=plan.grid.boxes(bad[:5])[:, :2].tolist())

def tagged_scene(tagger, # with `vocab`, `rule` and `decide`
                 plan:Plan,
                 rows, # of all windows, in order
                 counts:dict, # of `planet.areas.validation_counts`
                ) -> TaggedScene:
    "Decide the tags of windows and cells, and measure their areas."
    done = rows[rows['state'] == TAGGED]
    windows, probs = done['window'].astype(np.int64), np.array(done['probs'])
    def decide(p): return np.asarray(tagger.decide(p), bool).reshape(len(p), plan.tags)
    tags = decide(probs) if len(probs) else np.zeros(probs.shape, bool)
    cells = blend(plan.grid, windows, probs)
    there, cell_tags = ~np.isnan(cells[..., 0]), np.zeros(cells.shape, bool)
    if there.any(): cell_tags[there] = tags if plan.grid.step == plan.grid.window else decide(cells[there])
    scene = TaggedScene(plan.raster, plan.grid, list(tagger.vocab), windows, probs, tags, np.array(done['nodata']),
                        cells, cell_tags, None, _counted(tagger, plan, rows, windows))
    scene.areas = tag_areas(scene, counts)
    return scene

def _said(scene):
    a = scene.about
    parts = [f"{a['tagged']:,} of {a['windows']:,} windows tagged"]
    if a['padded']: parts.append(f"{a['padded']:,} reach over the edge")
    if a['empty']: parts.append(f"{a['empty']:,} empty (no data), skipped")
    if a['unreadable']:
        first = ' '.join(f'{y},{x}' for y, x in a['unreadable_at'])
        parts.append(f"{a['unreadable']:,} UNREADABLE, the first at row,column {first}")
    return f"{a['scene']}: {'; '.join(parts)}"

# ---- while it is tagged

@dataclass
class Job:
    "A scene that is being tagged: its plan, the files to write, what is kept of it."
    plan:Plan
    outs:list # files to write
    journal:object = None # `Journal`, where there are files to write
    rows:list = field(default_factory=list) # where there is no journal
    missing:object = None # bool a window

    @property
    def name(self): return Path(self.plan.raster.path).name

    def begin(self, stack, model, resume, overwrite):
        "Open the journal; what an earlier run left counts as done."
        self.missing = np.ones(len(self.plan.grid), bool)
        if not self.outs: return
        first, p = self.outs[0], self.plan
        said = model | dict(scene=[str(Path(p.raster.path).resolve()), *p.raster.stamp], bands=p.bands, empty=p.empty,
                            grid=[*p.grid.window, *p.grid.step], limits=_limits(p))
        self.journal = Journal(Journal.beside(first), said, p.tags)
        stack.enter_context(self.journal.open(resume, overwrite))
        self.missing[self.journal.rows['window']] = False
        if n := len(self.journal.rows): say(f'{self.name}: going on after {n:,} windows')

    def tiles(self):
        "Numbers of the tiles that are not done."
        return [t for t, windows in enumerate(self.plan.tiles) if self.missing[windows].any()]

    def add(self, rows):
        "Keep rows of a result."
        try: self.journal.add(rows) if self.journal else self.rows.append(rows)
        except OSError as e:
            raise UserError(f'{self.name}: {self.journal.folder} cannot be written ({e.strerror}) after '
                            f'{int((~self.missing).sum()):,} of {len(self.missing):,} windows: free some space, then '
                            '`resume` goes on') from None
        self.missing[rows['window']] = False

    def finish(self, tagger, counts):
        "Write the files of a scene whose windows are all there; then what was kept of it is no longer needed."
        rows = self.journal.read() if self.journal else np.concatenate(self.rows)
        if lost := len(self.plan.grid) - len(rows): # changed while it was written
            raise UserError(f'{self.name}: {lost:,} windows are missing in {self.journal.folder}: `resume` tags them')
        scene = tagged_scene(tagger, self.plan, rows[np.argsort(rows['window'])], counts)
        for path in self.outs:
            try: write_scene(scene, path)
            except UserError: raise
            except Exception as e: # each format fails in its own way
                raise UserError(f"{path} could not be written ({' '.join(str(e).split())[:200]}): the windows are "
                                'kept, `resume` writes the files') from None
        if self.journal:
            with suppress(OSError): _origin(self.outs[0]).write_text(json.dumps(self.journal.plan))
            self.journal.remove()
        say(_said(scene), *(f'wrote {path}' for path in self.outs))
        return scene

def _model(tagger):
    "What a journal says of the model: its tags, and its answer to one made-up chip."
    shape = 1, len(tagger.bands or 'rgb'), tagger.size, tagger.size
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return dict(vocab=list(tagger.vocab), model=[float(p) for p in np.asarray(tagger.probabilities(noise))[0]])

def _stamp(path): # size and time of a file, as `Raster.stamp`
    at = os.stat(path)
    return [at.st_size, at.st_mtime_ns]

def _origin(path): # what the files of a scene were made of, beside the first one
    return Path(path).with_name(f'.{Path(path).name}.tagged')

def check_origin(tagger, # a loaded one
                 path, # the scene
                 outs:list, # files that an earlier run wrote
                ):
    "Raise a `UserError` where files were written of another scene or by another model."
    try: before = json.loads(_origin(outs[0]).read_text())
    except (OSError, ValueError): return # it does not say
    odd = unlike(before, _model(tagger))
    if os.path.exists(path) and list(before.get('scene', ()))[1:] != _stamp(path): odd = ['scene']
    if odd: raise UserError(f'{outs[0]} was written with another {odd[-1]}: name another place, or `overwrite` it '
                            'without `resume`')

def tag_jobs(tagger, # a loaded one
             jobs:list, # of `Job`
             done, # called with the number and the `TaggedScene` of each scene as soon as it is whole
             engine:str='plain', workers:int=0, # of `planet.engines.run_tiles`
             threads:int=2, # that read, in each process
             resume:bool=False, overwrite:bool=False, # of `planet.engines.Journal`
            ):
    "Tag scenes through an engine; what was reached is kept, whatever stops it."
    counts, model = validation_counts(tagger), _model(tagger) if any(j.outs for j in jobs) else {}
    make = partial(TileWorker, tagger, [job.plan for job in jobs], threads)
    def ticks():
        for (k, _), rows in run_tiles(todo, make, engine, workers):
            jobs[k].add(rows)
            yield from range(len(rows))
            if not jobs[k].missing.any(): done(k, jobs[k].finish(tagger, counts))
    with ExitStack() as stack:
        for job in jobs: job.begin(stack, model, resume, overwrite)
        todo, total = [(k, t) for k, job in enumerate(jobs) for t in job.tiles()], sum(j.missing.sum() for j in jobs)
        for k, job in enumerate(jobs): # an earlier run had stopped while it wrote its files
            if not job.missing.any(): done(k, job.finish(tagger, counts))
        for _ in progress(ticks(), int(total), 'tagging windows'): pass
