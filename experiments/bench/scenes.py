"""Windows a second that scenes are tagged with, beside the same network on tensors in place, and the peak of memory.

    python experiments/bench/scenes.py --side 20000 --arch resnet18

The scene is a drawn one, repeated; the network has random weights, which takes as long as trained ones. The last lines
say how long a pass over the Amazon basin takes at that rate (about 6.1 million chips of 0.9 square kilometres).
"""
import os
import resource
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from planet.cli import progress, say, script

BASIN = 6_100_000 # windows of 0.9 square kilometres in the Amazon basin

def write_scene(path, side, drawn=2560):
    "Write a tiled GeoTIFF of `side` x `side` pixels in UTM: a drawn scene, repeated."
    import numpy as np
    import rasterio
    from planet.synthetic.scenes import draw_scene
    pixels = np.moveaxis(draw_scene(min(side, drawn), min(side, drawn), seed=1)[0], 2, 0)
    n = pixels.shape[1]
    starts = [(y, x) for y in range(0, side, n) for x in range(0, side, n)]
    with rasterio.open(path, 'w', driver='GTiff', height=side, width=side, count=3, dtype='uint8', crs='EPSG:32720',
                       transform=rasterio.Affine(3.7, 0, 5e5, 0, -3.7, 9.64e6), tiled=True, blockxsize=512,
                       blockysize=512, compress='deflate', zlevel=1, BIGTIFF='IF_SAFER') as f:
        for y, x in progress(starts, len(starts), 'writing the scene'):
            height, width = min(n, side - y), min(n, side - x)
            f.write(pixels[:, :height, :width], window=((y, y + height), (x, x + width)))

def random_tagger(arch, size, bs):
    "A `Tagger` with random weights."
    from planet.amazon import TAGS
    from planet.inference import Network, Tagger
    from planet.learner import build_model
    model = build_model(arch=arch, n_out=len(TAGS), size=size)
    member = dict(settings=dict(size=size), mean=[.5]*3, std=[.25]*3, views=1, precision='auto')
    facts = dict(vocab=list(TAGS), exclusive=[], bs=bs, rule=dict(kind='thresh', thresh=.2), activation={},
                 input=dict(size=size, bands=['red', 'green', 'blue'], limits=None), members=[member])
    return Tagger(facts, [Network(model, member)])

def in_place(tagger, windows, bs): # seconds, and seconds of CPU, of one window
    "What the network alone takes, on chips that lie in memory."
    import torch
    pixels = torch.randint(0, 256, (bs, 3, tagger.size, tagger.size), dtype=torch.uint8)
    tagger.probabilities(pixels)
    start, cpu, n = perf_counter(), process_time(), max(3, min(30, windows//bs))
    for _ in range(n): tagger.probabilities(pixels)
    return (perf_counter() - start)/n/bs, (process_time() - cpu)/n/bs

@script
def main(
    side:int=5000, # pixels of the scene's side
    arch:str='resnet18', # the network
    size:int=128, # height and width of the network's input, in pixels
    bs:int=64, # windows that are tagged at once
    threads:int=1, # of the network; reading takes two more
    outputs:str='parquet,tif,html', # files to write
    out:str='', # folder for the scene and its outputs; by default a temporary one
):
    "Print windows a second of a scene and of tensors in place, peak memory, and the time that the Amazon basin takes."
    import torch
    from planet.scene_files import write_scene as write_outputs
    from planet.scenes import tag_scene
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(out or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder/f'scene{side}.tif'
        if not path.exists(): write_scene(path, side)
        tagger = random_tagger(arch, size, bs)
        first = in_place(tagger, 10*bs, bs)
        start, cpu = perf_counter(), process_time()
        tagged = tag_scene(tagger, path, bs=bs)
        n = len(tagged.windows)
        scene = (perf_counter() - start)/n, (process_time() - cpu)/n
        start = perf_counter()
        for ending in filter(None, outputs.split(',')): write_outputs(tagged, folder/f'tags.{ending}')
        wrote = perf_counter() - start
        network = [(a + b)/2 for a, b in zip(first, in_place(tagger, 10*bs, bs))] # before and after: who else computes?
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20 # of kB on Linux
        say(f'{n:,} windows of {side:,} x {side:,} pixels, {arch} at {size} px, bs {bs}, {threads} thread(s) of '
            f'{os.cpu_count()} cores', f'{"":12}{"windows/s":>10}{"CPU ms a window":>17}',
            *(f'{name:12}{1/wall:>10.1f}{1000*cpu:>17.2f}' for name, (wall, cpu) in
              (('scene', scene), ('in place', network))),
            f'{"ratio":12}{network[0]/scene[0]:>10.2f}{network[1]/scene[1]:>17.2f}',
            f'outputs {wrote:.1f} s, peak memory {peak:.2f} GB',
            f'Amazon basin, {BASIN:,} windows: {BASIN*scene[0]/3600:,.0f} h with one such process')
