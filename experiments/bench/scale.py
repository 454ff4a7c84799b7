"""What grows with the number of chips: building and opening the store, memory, an epoch, verify, folds, metrics.

    python experiments/bench/scale.py --out scale.md

Chips of 128 px, no two alike, are made from drawn ones by turning, mirroring and shifting. Each number of chips has a
process of its own, whose memory is told apart: what it holds for itself, and pages of the store's file, which the
system takes back when it needs them.
"""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from planet.cli import UserError, progress, say, script

def write_folder(folder, n, size, seed):
    "A folder of `n` different JPEGs and their label table."
    from concurrent.futures import ThreadPoolExecutor
    import numpy as np
    from PIL import Image
    from planet.synthetic.chips import draw_chip, draw_tags
    pictures = [draw_chip(tags, (seed, i), size) for i, tags in enumerate(draw_tags(100, seed))]
    (folder/'train').mkdir(parents=True)
    def write(i):
        turn, k = divmod(i, len(pictures))
        shift, view = divmod(turn, 8)
        picture = np.rot90(np.roll(pictures[k], shift, 0)[:, ::-1 if view > 3 else 1], view % 4)
        Image.fromarray(picture).save(folder/'train'/f'chip_{i}.jpg', quality=75)
    with ThreadPoolExecutor() as pool: list(progress(pool.map(write, range(n)), n, 'writing chips'))
    rows = (f"chip_{i},{' '.join(tags)}\n" for i, tags in enumerate(draw_tags(n, seed)))
    (folder/'labels.csv').write_text('image_name,tags\n' + ''.join(rows))

def memory():
    "Megabytes that this process holds for itself, now and at most, and those of mapped files."
    try: status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    except OSError: return {} # not Linux
    own, mapped = (int(status[k].split()[0])/1e3 for k in ('RssAnon', 'RssFile'))
    return {'own memory, MB': own, 'mapped files, MB': mapped}

def small_net(tags):
    "A network of few operations, so that an epoch shows what loading takes."
    from torch import nn
    return nn.Sequential(nn.Conv2d(3, 16, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, tags))

def measure(folder, size, bs, arch, features, seed):
    "Everything for one folder: name -> figure."
    found, start = {}, [0]
    def lap(name=None):
        now = time.perf_counter()
        if name: found[name] = now - start[0]
        start[0] = time.perf_counter()
    import torch
    from fastai.callback.progress import ProgressCallback
    from fastai.learner import Learner
    from planet.chips import from_folder
    from planet.data import tags_dls
    from planet.metrics import best_thresholds, decide, fbeta
    from planet.splits import make_folds, random_split
    from planet.store import ChipStore
    from planet.tools.verify import verify
    found.update({f'{k} before': v for k, v in memory().items()})
    lap()
    chips = from_folder(folder)
    lap('read the table, s')
    store = ChipStore(chips.paths, size, progress, where='disk')
    lap('build the store, s')
    store = ChipStore(chips.paths, size, where='disk')
    lap('open the store again, s')
    split = random_split(chips, .2, seed)
    lap('split, s')
    dls = tags_dls(chips, store, split, bs)
    learn = Learner(dls, small_net(len(chips.vocab)), torch.nn.BCEWithLogitsLoss()).remove_cb(ProgressCallback)
    lap('data loaders, s')
    with learn.no_logging(): learn.fit(1)
    lap('epoch of a small net, s')
    found['frozen features, chips/s'] = feature_rate(store, arch, min(features, len(chips)), bs)
    lap()
    make_folds(chips, 5, seed)
    lap('5 stratified folds, s')
    targs = torch.from_numpy(chips.targets)
    probs = (targs.float()*.4 + .6*torch.rand(targs.shape)).clamp(0, 1)
    lap()
    fbeta(probs.logit(), targs)
    lap('F2, s')
    best_thresholds(probs, targs)
    lap('a threshold a tag, s')
    decide(probs)
    lap('best expected sets, s')
    verify(folder, 0)
    lap('verify, s')
    return found | memory()

def feature_rate(store, arch, n, bs):
    "Chips a second through the frozen body of a network, in the precision of its device."
    import torch
    from fastai.torch_core import default_device
    from fastai.vision.learner import create_body
    from planet.backbones import find_backbone
    from planet.callbacks import amp_dtype, memory_format
    device = default_device()
    body = create_body(find_backbone(arch).arch(weights=None), pretrained=False)
    body, dtype = body.eval().to(device).to(memory_format=memory_format(device)), amp_dtype(device)
    start = time.perf_counter()
    with torch.no_grad(), torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        for rows in torch.arange(n).split(bs):
            x = store.batch(rows).to(device).float().div_(255)
            body(x.contiguous(memory_format=memory_format(device))).mean((2, 3)).cpu()
    return n/(time.perf_counter() - start)

@script
def main(
    chips:str='1000,10000,40479', # how many, by comma
    size:int=128, # height and width of a chip, in pixels
    bs:int=64, # chips in a batch
    arch:str='resnet50', # backbone of the frozen features, with random weights
    features:int=512, # chips to compute features of
    threads:int=0, # of torch; 0: as torch chooses
    seed:int=42, # random seed of the chips
    out:str='', # file for the table, in Markdown
    folder:str='', # measure this folder of chips alone, and print JSON
):
    "Print how long things take and how much memory they need, for 1,000, 10,000 and 40,479 synthetic chips."
    if folder:
        import torch
        if threads: torch.set_num_threads(threads)
        return print(json.dumps(measure(Path(folder), size, bs, arch, features, seed)))
    try: counts = [int(n) for n in chips.split(',')]
    except ValueError: raise UserError(f'{chips} is no list of numbers', option='chips') from None
    found = {}
    with tempfile.TemporaryDirectory() as home:
        for n in counts:
            write_folder(Path(home)/str(n), n, size, seed)
            command = [sys.executable, __file__, '--folder', f'{home}/{n}', '--size', size, '--bs', bs, '--arch', arch,
                       '--features', features, '--threads', threads, '--seed', seed]
            root = str(Path(__file__).resolve().parent.parent.parent)
            env = os.environ | dict(PLANET_CACHE=f'{home}/cache', PYTHONPATH=root)
            done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=env)
            if done.returncode: raise UserError(f'{n:,} chips: the measurement ended with {done.returncode}')
            found[n] = json.loads(done.stdout.splitlines()[-1])
            say(f'{n:,} chips', *(f'  {name:<32}{value:>12,.4g}' for name, value in found[n].items()))
    lines = [f'{size} px, {os.cpu_count()} cores', '', '| | ' + ' | '.join(f'{n:,} chips' for n in found) + ' |',
             '| --- |' + ' --- |'*len(found)]
    for name in found[counts[0]]:
        lines.append(f'| {name} | ' + ' | '.join(f'{of[name]:,.4g}' for of in found.values()) + ' |')
    say('', *lines)
    if out: Path(out).write_text('\n'.join(lines) + '\n', encoding='utf-8')
