"""Recall and precision of the search for neighbouring chips, and its time: python experiments/bench/neighbours.py

`found` draws scenes, cuts them into chips of which a fifth is thrown away, and compares what `find_neighbours` finds
with the truth: at three JPEG qualities, and with chips of different brightness (the standard deviation of their gain).
`time` compares the borders of so many chips, cut from one drawn scene at many offsets, so that they overlap; files are
not written, and reading them comes on top (1.3 CPU seconds a thousand chips).

With --section found --scenes 6 --size 2048 (298 chips, 405 pairs, seed 42), recall: 0.998 at JPEG quality 95 and 85,
0.990 at 75; with gains of 0.02 (95) 0.998, of 0.05 (85) 0.953, of 0.1 (75) 0.941; no false pair in any of them. With
--section time, two cores of a shared Xeon beside other work: 40,479 chips take 34 CPU seconds and 2.1 GB, the scene
among them; recall 1.0000, precision 1.0000; 101,670 take 175 CPU seconds and 2.3 GB; 0.9865 and 0.9948.
"""
from planet.cli import UserError, progress, say, script

FIELDS = 'last', 'first', 'step_last', 'step_first'

def found(scenes, size, seed):
    "Recall and precision of pairs, and of the pairs of chips in one group, on scenes whose neighbours are known."
    import tempfile
    from pathlib import Path
    import pandas as pd
    from planet.files import images_in
    from planet.neighbours import find_neighbours
    from planet.synthetic.scenes import DrawnScene, cut_chips
    drawn = [DrawnScene(size, size, seed + k) for k in range(scenes)]
    say(f'{"JPEG":>4} {"gain":>5} {"chips":>6} {"pairs":>6} {"recall":>7} {"precision":>9} {"by border":>9} '
        f'{"expected":>8} {"in groups":>9} {"false":>5}')
    for quality, brightness in ((95, 0), (85, 0), (75, 0), (95, .02), (85, .05), (75, .1)):
        with tempfile.TemporaryDirectory() as folder:
            folder = cut_chips(drawn, Path(folder)/'chips', quality=quality, brightness=brightness, keep=.8, seed=seed)
            got = find_neighbours(images_in(folder/'train'))
            truth, groups = (pd.read_csv(folder/'truth'/f'{name}.csv') for name in ('neighbours', 'groups'))
        pairs, true = (set(zip(t.image_name, t.neighbour, t.side)) for t in (got.pairs, truth))
        by_border = set(map(tuple, got.pairs[got.pairs.score.notna()][['image_name', 'neighbour', 'side']].values))
        ours, theirs = (together(t) for t in (got.groups, groups))
        say(f'{quality:>4} {brightness:>5} {len(groups):>6,} {len(true):>6,} {len(pairs & true)/len(true):>7.3f} '
            f'{len(pairs & true)/max(1, len(pairs)):>9.4f} {len(by_border & true)/len(true):>9.3f} '
            f"{got.facts['false_expected']:>8.2f} {len(ours & theirs)/len(theirs):>9.3f} {len(pairs - true):>5}")

def together(groups):
    "All pairs of chips that are in one group."
    from itertools import combinations
    return {pair for _, names in groups.groupby('group').image_name for pair in combinations(sorted(names), 2)}

def search_time(counts, side, seed):
    "Seconds and memory of the comparison alone, against the number of chips."
    import os
    import resource
    import time
    from itertools import count
    import numpy as np
    import torch
    from planet.borders import Borders, Lines
    from planet.neighbours import assemble, match_borders
    from planet.synthetic.scenes import DrawnScene
    scene = DrawnScene(side, side, seed)
    pixels = np.concatenate([block for _, block in scene.blocks()])
    rng, parts, total, true = np.random.default_rng(seed), [], 0, set()
    # as many pairs of lines to learn from as `read_borders` takes of chips
    inner = [cut_lines(pixels, *rng.integers(2, 254, 2), inside=16*k)[k % 2] for k in range(1, 13)]
    inner = Lines(*(np.concatenate([getattr(i, f) for i in inner])[:7200] for f in FIELDS),
                  np.concatenate([np.arange(len(i)) for i in inner])[:7200])
    for _ in progress(count(), max(counts), 'cutting the scene'):
        top, left = rng.integers(2, 254, 2)
        parts.append(cut_lines(pixels, top, left))
        along = len(range(left, pixels.shape[1] - 257, 256))
        for i in range(len(parts[-1][0])):
            if (i + 1) % along: true.add((total + i, total + i + 1, 'right'))
            if i + along < len(parts[-1][0]): true.add((total + i, total + i + along, 'below'))
        total += len(parts[-1][0])
        if total >= max(counts): break
    def some(k, n):
        return Lines(*(np.concatenate([getattr(p[k], f) for p in parts])[:n] for f in FIELDS), np.arange(n))
    say(f'{os.cpu_count()} cores, {torch.get_num_threads()} threads',
        f'{"chips":>8} {"seconds":>8} {"CPU seconds":>11} {"recall":>7} {"precision":>9} {"GB":>5}')
    for n in counts:
        borders = Borders(some(0, n), some(1, n), inner, (256, 256))
        start, cpu = time.perf_counter(), time.process_time()
        pairs, facts = match_borders(borders)
        got = assemble(np.arange(n).astype(str), pairs, borders, facts)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6
        known = {pair for pair in true if max(pair[:2]) < n}
        ours = set(zip(got.pairs.image_name.astype(int), got.pairs.neighbour.astype(int), got.pairs.side))
        say(f'{n:>8,} {seconds:>8.1f} {cpu:>11.1f} {len(ours & known)/len(known):>7.4f} '
            f'{len(ours & known)/max(1, len(ours)):>9.4f} {peak:>5.1f}')

def cut_lines(pixels, top, left, size=256, inside=0):
    "Border lines of all chips of a grid that begins at a pixel of a scene, to the right and below; or lines inside."
    import numpy as np
    from planet.borders import Lines
    ys, xs = (np.arange(o, e - size - 1, size) for o, e in zip((top, left), pixels.shape))
    def lines(of): return np.stack([of(y, x) for y in ys for x in xs])
    def cut(of):
        last = inside or size
        outer, first, before, after = (lines(lambda y, x, k=k: of(y, x, k))
                                       for k in (last-1, inside, last-2, inside+1))
        def step(a, b): return np.sqrt(((a.astype(np.float32) - b)**2).mean((1, 2)))
        return Lines(outer, first, step(outer, before), step(first, after), np.arange(len(outer)))
    return (cut(lambda y, x, k: pixels[y:y+size, x+k]), cut(lambda y, x, k: pixels[y+k, x:x+size]))

@script
def main(
    section:str='all', # found, time or all
    scenes:int=16, # found: scenes that are drawn
    size:int=2560, # found: height and width of a scene, in pixels
    n:str='1000,10000,40479,101670', # time: chips, by comma
    side:int=10240, # time: height and width of the scene that they are cut from, in pixels
    threads:int=0, # of torch; 0: as it chooses
    seed:int=42, # random seed of the scenes
):
    "Print recall and precision at several qualities, and seconds at several numbers of chips."
    import torch
    if section not in ('found', 'time', 'all'):
        raise UserError(f'{section} is none of found, time, all', option='section')
    if threads: torch.set_num_threads(threads)
    if section != 'time': found(scenes, size, seed)
    if section != 'found': search_time([int(k) for k in n.split(',')], side, seed)
