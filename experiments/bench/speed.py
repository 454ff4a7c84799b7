"""Speed of ours beside stock fastai, plain PyTorch with torchvision, and tensors already in place, all in one run.

    python experiments/bench/speed.py --data sample --weights imagenet --out speed.md
    python experiments/bench/speed.py --only loading,step --threads 1
    python experiments/bench/speed.py --only epoch,inference --drawn 40479 --rivals floor --size 256

Rivals take turns, in alternating order; figures are medians. Stock fastai and PyTorch load with as many workers as is
best for them. The floor does the same steps on tensors that lie on the device, with our precision and layout. `drawn`
chips, all different, stand for a full data set where only speed matters; on a GPU ours keeps them there.
"""
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from statistics import median
from planet.cli import UserError, say, script
from planet.options import RECIPE_OPTIONS, RUN_OPTIONS, chip_options, delegates, options

SECTIONS = 'startup', 'loading', 'step', 'epoch', 'inference', 'busy', 'recipe'
RIVALS = 'stock', 'torchvision', 'floor'
ROOT = Path(__file__).resolve().parent.parent.parent

class Table:
    "Figures by section and rival, printed as they come, and their ratios to ours at the end."
    def __init__(self): self.rows = []
    def add(self, section, what, rival, value, unit, note=''):
        self.rows.append((section, what, rival, value, unit, note))
        say(f'{section:<10} {what:<28} {rival:<22} {value:>10,.4g} {unit} {note}'.rstrip())
    def markdown(self, facts):
        "A table of all figures; a ratio above 1 says that ours is so many times better."
        ours = {(s, w): v for s, w, r, v, *_ in self.rows if r == 'ours'}
        lines = [facts, '', '| | | | | ours is so many times better |', '| --- | --- | --- | --- | --- |']
        for section, what, rival, value, unit, note in self.rows:
            base, more = ours.get((section, what)), unit.endswith('/s') or unit.startswith('F2')
            ratio = '' if not base or not value or rival == 'ours' else f'{base/value if more else value/base:.2f}'
            lines.append(f'| {section}: {what} | {rival} | {value:,.4g} {unit} | {note} | {ratio} |')
        return '\n'.join(lines) + '\n'

def take_turns(rivals, repeats, warm=1):
    "Median of what each of `rivals` (name -> function that returns seconds) gives, in alternating order."
    found = {name: [] for name in rivals}
    for i in range(warm + repeats):
        for name in rivals if i % 2 else reversed(rivals): found[name].append(rivals[name]())
    return {name: median(values[warm:]) for name, values in found.items()}

def timed(f):
    "Seconds that a call takes."
    start = time.perf_counter()
    f()
    return time.perf_counter() - start

# ---- whole commands

def peak_memory(pid):
    "The most memory that a process has had, in GB; 0 where the system does not say (elsewhere than on Linux)."
    try: return next(int(o.split()[1]) for o in Path(f'/proc/{pid}/status').open() if o.startswith('VmHWM'))/1e6
    except (OSError, StopIteration): return 0

def watch(command, env=None):
    "Run a command and note when each line comes: `(lines, seconds of each, seconds in all, peak memory in GB)`."
    start = time.perf_counter()
    env = os.environ | dict(PYTHONPATH=str(ROOT), PYTHONUNBUFFERED='1') | (env or {})
    job = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=env)
    lines, times, memory = [], [], [0]
    def look(): # what the system says at the end includes the memory of this process, from which the job was forked
        while job.poll() is None:
            memory.append(peak_memory(job.pid))
            time.sleep(.05)
    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    for line in job.stdout:
        lines.append(line.rstrip())
        times.append(time.perf_counter() - start)
    looking.join()
    if job.wait(): raise UserError(f'{" ".join(map(str, command[:3]))} ended with {job.returncode}: '
                                   f'{lines[-1] if lines else "it said nothing"}')
    return lines, times, time.perf_counter() - start, max(memory)

SAME = 'data', 'weights', 'arch', 'size', 'bs', 'seed', 'valid_pct', 'thresh'
EPOCHS = dict(epochs=3, freeze_epochs=4, lr=3e-3) # of stock's recipe, and of ours where nothing else is asked for

def main_command(o, out, recipe='finetune'):
    "The main script's command line."
    asked = [name for name in EPOCHS if o[name] is not None and recipe == 'finetune']
    given = [part for name in (*SAME, *asked) for part in (f'--{name}', o[name])]
    return [sys.executable, ROOT/'experiments/planet_resnet50.py', *given, '--recipe', recipe, '--out', out]

HELP = """import contextlib, io, runpy, sys
sys.argv = ["x", "--help"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    runpy.run_path("experiments/planet_resnet50.py", run_name="__main__")"""

def startup(table, o, _):
    "Seconds from a command to its first line of progress, of imports and of `--help`."
    codes = {'python alone': 'pass', 'import planet': 'import planet', 'help of the main script': HELP,
             'import fastai.vision.all': 'import fastai.vision.all'}
    def python(code): return timed(lambda: subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT))
    took = take_turns({name: lambda code=code: python(code) for name, code in codes.items()}, o.repeats)
    for name, seconds in took.items(): table.add('startup', name, 'ours', seconds, 's')
    with tempfile.TemporaryDirectory() as out:
        command = main_command(options(o, epochs=1, freeze_epochs=0), out)
        lines, times, *_ = watch(command, dict(PLANET_CACHE=os.environ.get('PLANET_CACHE', out)))
        table.add('startup', 'first line of the main script', 'ours', times[0], 's', lines[0][:40])

def recipe(table, o, _):
    "The whole command to its final F2, and when an epoch first reached 0.85 and 0.88; frozen also with a warm cache."
    with tempfile.TemporaryDirectory() as out:
        def cache(name): # of each recipe its own, with nothing in it at first
            kept = o.data in ('auto', 'synthetic') or name == 'stock'
            return {} if kept else dict(PLANET_CACHE=f"{out}/{name.partition(',')[0]}")
        runs = {f'ours {name}': main_command(o, out, name.partition(',')[0])
                for name in ('finetune', 'frozen', 'frozen, again', 'frozen+finetune')}
        epochs = [default if o[name] is None else o[name] for name, default in EPOCHS.items()]
        runs['stock'] = [sys.executable, ROOT/'experiments/bench/rivals.py', *(o[n] for n in SAME), o.workers, *epochs]
        for name, command in runs.items():
            lines, times, seconds, memory = watch(command, cache(name.removeprefix('ours ')))
            scores = [(t, float(m[1])) for line, t in zip(lines, times)
                      if line.startswith('epoch') and (m := re.search(r'\bf2 ([\d.]+)', line))]
            ends = re.compile(r'(?:F2 at [\d.]+|final f2)\s+(0\.\d+)') # of our report, and of stock
            final = next(float(m[1]) for line in reversed(lines) if (m := ends.search(line)))
            table.add('recipe', 'final score', name, final, 'F2')
            table.add('recipe', 'command to record', name, seconds, 's')
            for goal in (.85, .88):
                reached = next((t for t, f2 in scores if f2 >= goal), seconds if final >= goal else None)
                if reached: table.add('recipe', f'F2 {goal}', name, reached, 's')
                else: table.add('recipe', f'F2 {goal}', name, float('nan'), 's', 'not reached')
            if memory: table.add('recipe', 'peak memory', name, memory, 'GB')

# ---- in this process

def loading(table, o, case):
    "Chips a second of training batches on the device: the first epoch with all that comes before it, and later ones."
    import rivals
    chips, split, device = case.chips, case.split, case.device
    made, n = {}, len(split.train)//o.bs*o.bs
    def epoch(name):
        def run():
            for _ in made[name]: pass
            rivals.wait(device)
        return timed(run)
    def first(name, make):
        def run(): made[name] = make()
        seconds = timed(run) + epoch(name)
        table.add('loading', 'first epoch', name, n/seconds, 'chips/s')
    if why := rivals.simplejpeg_reads(chips.paths[0]): say(f'simplejpeg: {why}')
    first('ours', lambda: rivals.our_loader(chips, case.store(), split, o))
    first('ours, cold file', lambda: rivals.our_loader(chips, case.store('disk'), split, o))
    first('ours, warm file', lambda: rivals.our_loader(chips, case.store('disk', again=True), split, o))
    for w in case.workers:
        if 'stock' in o.rivals: first(f'stock, {w} workers', partial(rivals.stock_loader, chips, split, o, w))
        if 'torchvision' not in o.rivals: continue
        load = partial(rivals.torch_loader, chips, split, o, w, device)
        first(f'torchvision, {w} workers', load)
        if not why: first(f'simplejpeg, {w} workers', partial(load, True))
    if 'floor' in o.rivals: first('floor', lambda: rivals.floor_loader(chips, case.store(), split, o.bs, device))
    for name, seconds in take_turns({name: lambda name=name: epoch(name) for name in made}, o.repeats).items():
        table.add('loading', 'later epochs', name, n/seconds, 'chips/s')

def trainers(o, case, split):
    import rivals
    from planet.data import tags_dls
    from planet.learner import chip_learner, find_loss
    chips, store, device = case.chips, case.store(), case.device
    def model(): return chip_learner(tags_dls(chips, store, split, o.bs), o.arch, o.weights, find_loss('bce')).model
    best = max(case.workers)
    made = dict(
        stock=lambda: rivals.stock_trainer(chips, split, o, best),
        torchvision=lambda: rivals.Plain(model(), rivals.torch_loader(chips, split, o, best, device), device, False),
        floor=lambda: rivals.Plain(model(), rivals.floor_loader(chips, store, split, o.bs, device), device, True))
    return {'ours': rivals.our_trainer(chips, store, split, o)} | {k: made[k]() for k in RIVALS if k in o.rivals}

def step(table, o, case):
    "Seconds of a training step of all layers, loading included."
    split = case.part(o.steps*o.bs)
    for name, seconds in take_turns({k: t.epoch for k, t in trainers(o, case, split).items()}, o.repeats).items():
        table.add('step', f'batches of {o.bs}', name, seconds/o.steps, 's')

def epoch(table, o, case):
    "Seconds of one epoch over the training set, all layers."
    split = case.part(len(case.split.train)//o.bs*o.bs)
    for name, trainer in trainers(o, case, split).items():
        if case.device.type == 'cuda': trainer.epoch() # kernels are chosen in the first one
        table.add('epoch', 'all layers', name, trainer.epoch(), 's')

def inference(table, o, case):
    "Chips a second from image files to probabilities, and of the network alone on tensors in place."
    import rivals
    import torch
    from planet.data import tags_dls
    from planet.inference import Network
    from planet.learner import chip_learner, find_loss
    from planet.store import decoded_batches
    chips, store, paths = case.chips, case.store(), case.chips.paths
    learn = chip_learner(tags_dls(chips, store, case.split, o.bs), o.arch, o.weights, find_loss('bce'))
    pixels = store.batch([store.rows[p] for p in paths]).to(case.device)
    for views in (1, 8):
        some = paths[:len(paths)//views] # as many forward passes
        net = Network(learn.model, dict(views=views, precision='auto', mean=rivals.MEAN, std=rivals.STD), case.device)
        def files(net=net, some=some): return [net(x) for _, x, _ in decoded_batches(some, o.size, None, o.bs)]
        def alone(net=net, some=some): return [net(x) for x in pixels[:len(some)].split(o.bs)]
        assert torch.allclose(torch.cat(files()), torch.cat(alone()), atol=1e-4)
        runs = {'ours': lambda: timed(files), 'floor': lambda: timed(alone)}
        if views == 1 and 'stock' in o.rivals:
            runs['stock'] = rivals.stock_predictor(chips, case.split, o, max(case.workers))
        for name, seconds in take_turns(runs, o.repeats, 0).items():
            table.add('inference', f'{views} view{"s"*(views > 1)}', name, len(some)/seconds, 'chips/s')

def busy(table, o, case):
    "Training steps alone and beside one busy process, with all threads and with as many as ours chooses."
    import rivals
    import torch
    from planet.threads import choose_threads
    ours = rivals.our_trainer(case.chips, case.store(), case.part(o.steps*o.bs), o)
    before = torch.get_num_threads()
    kept = os.environ.pop('OMP_NUM_THREADS', None) # with it, nothing is chosen
    for beside in (False, True):
        job = subprocess.Popen([sys.executable, '-c', 'while True: pass']) if beside else None
        try:
            for name in ('all threads', 'ours'):
                threads = before if name != 'ours' else choose_threads(ours.learn)
                seconds = take_turns({'': ours.epoch}, o.repeats)['']
                what = 'beside a busy process' if beside else 'alone'
                table.add('busy', what, name, o.steps*o.bs/seconds, 'chips/s', f'{threads} threads')
                torch.set_num_threads(before)
        finally:
            if kept and beside: os.environ['OMP_NUM_THREADS'] = kept
            torch.set_num_threads(before)
            if job:
                job.kill()
                job.wait()

class Case:
    "The chips that are compared on, decoded once for each place where they are kept."
    def __init__(self, o):
        from fastai.torch_core import default_device
        from planet.images import cores
        from planet.sources import find_chips
        from planet.splits import random_split
        self.o, self.device, self.stores, self.cache = o, default_device(), {}, tempfile.TemporaryDirectory()
        if o.drawn:
            from scale import write_folder
            o.data = self.cache.name + '/drawn'
            write_folder(Path(o.data), o.drawn, o.size, o.seed)
        self.chips = find_chips(o.data, o.label_delim)
        self.split = random_split(self.chips, o.valid_pct, o.seed)
        self.workers = [o.workers] if o.workers else sorted({0, cores()})
    def store(self, where='', again=False):
        from planet.store import ChipStore
        where = where or ('gpu' if self.device.type == 'cuda' else 'memory')
        if again or where not in self.stores:
            self.stores[where] = ChipStore(self.chips.paths, self.o.size, where=where, cache=self.cache.name)
        return self.stores[where]
    def part(self, n):
        "A split of the first `n` training chips and a few to validate on."
        from dataclasses import replace
        if n > len(self.split.train): raise UserError(f'{len(self.split.train)} training chips are too few for `steps`')
        return replace(self.split, train=self.split.train[:n], valid=self.split.valid[:8])

@script
@delegates(chip_options, but=[*RUN_OPTIONS, *RECIPE_OPTIONS, 'skip_bad', 'tta', 'folds', 'fold', 'split', 'groups',
                              'bands'])
def main(
    only:str='', # sections to run, by comma; by default all: startup, loading, step, epoch, inference, busy, recipe
    repeats:int=3, # of each measurement
    steps:int=4, # batches in a measurement of a training step
    threads:int=0, # of torch; 0: as torch chooses
    thresh:float=0.2, # a tag is predicted above this probability
    rivals:str='stock,torchvision,floor', # what to compare with, by comma
    drawn:int=0, # draw so many chips, in place of `data`
    out:str='', # file for the table of ratios, in Markdown
    **kwargs,
):
    "Measure ours, stock fastai, plain PyTorch with torchvision and the floor; print a table of ratios."
    o = options(chip_options(**kwargs), only=only, repeats=repeats, steps=steps, thresh=thresh, drawn=drawn)
    o.rivals = [r.strip() for r in rivals.split(',')]
    if odd := [r for r in o.rivals if r not in RIVALS]:
        raise UserError(f"{odd[0]} is unknown: some of {', '.join(RIVALS)}", option='rivals')
    asked = [s.strip() for s in only.split(',') if s.strip()] or list(SECTIONS)
    if odd := [s for s in asked if s not in SECTIONS]:
        raise UserError(f"{odd[0]} is unknown: some of {', '.join(SECTIONS)}", option='only')
    import torch
    from fastai.torch_core import default_device, set_seed
    from planet.provenance import device_facts
    if threads: torch.set_num_threads(threads)
    set_seed(o.seed)
    of = device_facts(default_device())
    facts = (f"{of['name']}, {of['cores']} cores, {torch.get_num_threads()} threads; torch {torch.__version__}; "
             f'{o.arch}, {o.size} px, batches of {o.bs}, seed {o.seed}')
    say(facts, '')
    found, case = Table(), Case(o) if set(asked) - {'startup', 'recipe'} else None
    for name in sorted(asked, key=SECTIONS.index): globals()[name](found, o, case)
    say('', text := found.markdown(facts))
    if out: Path(out).write_text(text, encoding='utf-8')
