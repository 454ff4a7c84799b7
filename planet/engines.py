"""Run tiles of many scenes in this process, in a process pool or on Ray Data; each result is kept as it comes.

A job is a pair (scene, tile) of numbers, a result an array of rows, one a window. A worker that is killed is replaced.
"""
import json
import os
import shutil
import sys
from collections import deque
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
import numpy as np
from planet.cli import UserError, near_names
from planet.locks import locked

__all__ = ['ENGINES', 'TAGGED', 'EMPTY', 'UNREADABLE', 'row_type', 'Journal', 'unlike', 'run_tiles']

TAGGED, EMPTY, UNREADABLE = 1, 2, 3 # the state of a window; 0 is none, as of a row that was never written
KILLED = ('{} workers were killed one after another, as happens where memory runs out: fewer `workers`, or smaller '
          'batches (`bs`); what was reached is kept, and `resume` goes on')
GROUP = 4 # tiles that a process takes at once, so that one is read while another is tagged
DEATHS = 3 # of workers without a result between them, after which a run stops

def row_type(tags:int):
    "The type of one row of a result: the number of a window, its state, its share of nodata, its probabilities."
    return np.dtype([('window', '<i8'), ('state', 'u1'), ('nodata', '<f4'), ('probs', '<f4', (tags,))])

# ---- what is kept while a scene is tagged

class Journal:
    "Results of one scene on disk, appended as they come, so that a run that was cut off goes on where it stopped."
    def __init__(self, folder, # to make
                 plan:dict, # what the results depend on; a journal of another plan is not gone on with
                 tags:int):
        self.folder, self.plan, self.type, self.file = Path(folder), plan, row_type(tags), None

    @contextmanager
    def open(self, resume:bool=False, overwrite:bool=False):
        "Hold the journal: yields it with what an earlier run left in `rows`. `UserError` where that is not asked for."
        made, failed = not self.folder.exists(), True
        with locked(self.folder/'lock', wait=False) as ours:
            if not ours: raise UserError(f'another process writes {self.folder}: wait for it')
            try:
                self._begin(resume, overwrite)
                failed = False
                yield self
            finally:
                if self.file: self.file.close()
                self.file = None
                if made and (failed or not self._rows_of_a_run()): self.remove() # nothing to go on with

    def _rows_of_a_run(self):
        rows = self.folder/'rows.bin'
        return rows.exists() and rows.stat().st_size

    def _begin(self, resume, overwrite):
        plan, path = self.folder/'plan.json', self.folder/'rows.bin'
        self.rows = np.zeros(0, self.type)
        if plan.exists() and not (overwrite and not resume):
            try: before = json.loads(plan.read_text())
            except ValueError: before = {}
            self.rows = self._read(path)
            told = f'an earlier run stopped after {len(self.rows):,} windows (kept in {self.folder})'
            if not resume: raise UserError(f'{told}: give `resume` to go on, or `overwrite` to begin again')
            if odd := unlike(before, self.plan):
                raise UserError(f"{told}, with another {' and '.join(odd)}: give `overwrite` without `resume` to begin "
                                "again")
            part = path.with_suffix('.part') # a disk may be full: what an earlier run left is not lost
            part.write_bytes(self.rows.tobytes())
            part.replace(path)
        else:
            path.unlink(missing_ok=True)
            plan.write_text(json.dumps(self.plan))
        self.file = open(path, 'ab', buffering=0)

    def _read(self, path):
        if not path.exists(): return np.zeros(0, self.type)
        rows = np.frombuffer(path.read_bytes()[:path.stat().st_size//self.type.itemsize*self.type.itemsize], self.type)
        rows = rows[rows['state'] > 0]
        return rows[np.sort(np.unique(rows['window'], return_index=True)[1])]

    @staticmethod
    def beside(path): # a folder
        "Where the journal of a scene lies whose first file is `path`."
        return Path(path).with_name(f'.{Path(path).name}.tagging')

    def add(self, rows):
        "Append rows; a full disk raises `OSError`, and what was there stays."
        left = memoryview(rows.tobytes())
        while left: left = left[self.file.write(left):] # where the disk fills up, a part is written and nothing raised

    def read(self):
        "All rows, in the order of their windows."
        rows = self._read(self.folder/'rows.bin')
        return rows[np.argsort(rows['window'])]

    def remove(self):
        "Delete the journal: its results have been written."
        shutil.rmtree(self.folder, ignore_errors=True)

def unlike(before:dict, plan:dict) -> list: # names
    "Which entries of a plan are others than `before`, as a file has it."
    return [k for k in plan if not _alike(before.get(k), plan[k])]

def _alike(a, b):
    "Whether two entries of plans agree; numbers of a network may differ a little between machines."
    if isinstance(b, list) and b and all(isinstance(v, float) for v in b):
        return isinstance(a, list) and len(a) == len(b) and bool(np.allclose(a, b, atol=.02))
    return a == json.loads(json.dumps(b))

# ---- engines

def _plain(jobs, make, workers):
    yield from make().run(jobs)

_worker = None # of a process of the pool

def _start(make, threads):
    global _worker
    _one_thread(threads)
    _worker = make()

def _one_thread(threads):
    "Networks of several processes would fight for the cores: each takes its share."
    os.environ['OMP_NUM_THREADS'] = str(threads)
    if find_spec('torch'):
        import torch
        torch.set_num_threads(threads)

def _group(jobs): return list(_worker.run(jobs))

def _threads(workers): return max(1, (os.cpu_count() or 1)//workers)

def _pool(jobs, make, workers):
    "A pool of processes, started afresh: a fork would copy torch's locked threads. A pool that broke is made anew."
    from multiprocessing import get_context
    waiting, deaths = deque(jobs[i:i+GROUP] for i in range(0, len(jobs), GROUP)), 0
    while waiting:
        with ProcessPoolExecutor(workers, get_context('spawn'), _start, (make, _threads(workers))) as pool:
            doing = {}
            try:
                while waiting or doing:
                    while waiting and len(doing) < 2*workers:
                        group = waiting.popleft()
                        doing[pool.submit(_group, group)] = group
                    done = next(as_completed(doing))
                    found = done.result()
                    doing.pop(done)
                    deaths = 0
                    yield from found
            except BrokenProcessPool:
                deaths += 1
                # one by one from here on: a job that kills its worker takes no other with it
                waiting.extendleft([job] for group in doing.values() for job in group)
                if deaths > DEATHS: raise UserError(KILLED.format(deaths)) from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

class _Actor:
    "A Ray actor: holds the model once; a row that comes in is a tile, each row that goes out a window."
    def __init__(self, make, threads, tries, most):
        _one_thread(threads)
        self.worker, self.tries, self.most = make(), tries, most
    def __call__(self, batch):
        import ray
        jobs = list(zip(map(int, batch['scene']), map(int, batch['tile'])))
        if ray.get(self.tries.add.remote(jobs[0])) > self.most: raise RuntimeError(KILLED)
        found = list(self.worker.run(jobs))
        rows = np.concatenate([r for _, r in found])
        scene = np.concatenate([np.full(len(r), job[0]) for job, r in found])
        # plain columns: a column of vectors becomes a type of Ray's own
        return dict(scene=scene, window=rows['window'], state=rows['state'], nodata=rows['nodata'],
                    **{f'p{i}': p for i, p in enumerate(rows['probs'].T)})

class _Tries:
    "A Ray actor that counts how often a tile is begun: Ray itself would give one that kills its worker out for ever."
    def __init__(self): self.n = {}
    def add(self, job):
        self.n[job] = self.n.get(job, 0) + 1
        return self.n[job]

QUIET = dict(RAY_USAGE_STATS_ENABLED='0', RAY_AUTH_MODE='disabled', RAY_DATA_DISABLE_PROGRESS_BARS='1',
             RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO='0', RAY_BACKEND_LOG_LEVEL='fatal')

def _ray(jobs, make, workers):
    """Ray Data: only the numbers of tiles go to the actors, which read the pixels themselves, so that no picture is
    copied through Ray's memory; an actor that is killed is started again, and its tiles are done again."""
    if find_spec('ray') is None:
        raise UserError("ray is not installed: pip install 'planet-chips[ray]' (from a checkout: pip install -e "
                        "'.[ray]'), or `engine` pool, which needs nothing more")
    for name, value in QUIET.items(): os.environ.setdefault(name, value)
    import logging
    import ray
    import ray.data
    ours = not ray.is_initialized() # else the caller's cluster
    if ours: ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
                      object_store_memory=200*2**20, # and workers find what this process finds:
                      runtime_env=dict(env_vars=dict(PYTHONPATH=os.pathsep.join(filter(None, sys.path)))))
    logging.getLogger('ray.data').setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    gpus, tries = int(ray.cluster_resources().get('GPU', 0)), ray.remote(num_cpus=0)(_Tries).remote()
    try:
        blocks = max(workers, -(-len(jobs)//GROUP)) # one block would be one task after another
        data = ray.data.from_items([dict(scene=s, tile=t) for s, t in jobs], override_num_blocks=min(blocks, 2000))
        data = data.map_batches(_Actor, fn_constructor_args=(make, _threads(workers), tries, DEATHS + 1),
                                batch_size=GROUP,
                                num_cpus=1, num_gpus=min(1, gpus/workers) if gpus else None,
                                compute=ray.data.ActorPoolStrategy(size=workers))
        for batch in data.iter_batches(batch_size=None, batch_format='numpy'):
            if not len(batch.get('window', ())): continue
            tags = sum(name[0] == 'p' and name[1:].isdigit() for name in batch)
            for scene in np.unique(batch['scene']):
                mine = batch['scene'] == scene
                rows = np.zeros(mine.sum(), row_type(tags))
                for name in ('window', 'state', 'nodata'): rows[name] = batch[name][mine]
                for i in range(tags): rows['probs'][:, i] = batch[f'p{i}'][mine]
                yield (int(scene), None), rows
    except ray.exceptions.RayError as e:
        if KILLED not in str(e): raise
        raise UserError(KILLED.format(DEATHS + 1)) from None
    finally:
        if ours: ray.shutdown()

ENGINES = dict(plain=_plain, pool=_pool, ray=_ray)

def run_tiles(jobs:list, # (scene, tile) each
              make, # picklable; called once in each worker, gives one whose `run(jobs)` yields (job, rows)
              engine:str='plain', # plain: this process; pool: several processes; ray: Ray Data
              workers:int=0, # processes or actors; 0: one a core
             ):
    "Yield (job, rows) of every tile, in any order, through the chosen engine."
    if engine not in ENGINES:
        raise UserError(f"{engine} is none of {', '.join(ENGINES)}{near_names(engine, ENGINES, 1)}", 'engine')
    jobs = list(jobs)
    if jobs: yield from ENGINES[engine](jobs, make, workers or os.cpu_count() or 1)
