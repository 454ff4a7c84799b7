"""Windows a second that scenes are tagged with, beside the same network on tensors in place, and the peak of memory.

    python experiments/bench/scenes.py --side 20000 --arch resnet18

The scene is a drawn one, repeated; the network has random weights, which takes as long as trained ones. The last lines
say how long a pass over the Amazon basin takes at that rate (about 6.1 million chips of 0.9 square kilometres).
"""
import os
import resource
import tempfile
from pathlib import Path
from time import perf_counter
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
    member = dict(mean=[.5]*3, std=[.25]*3, views=1, precision='auto')
    facts = dict(vocab=list(TAGS), exclusive=[], bs=bs, rule=dict(kind='thresh', thresh=.2), activation={},
                 input=dict(size=size, bands=['red', 'green', 'blue'], limits=None), members=[member])
    return Tagger(facts, [Network(model, member)])

def in_place(tagger, windows, bs):
    "Windows a second of the network on chips that lie in memory."
    import torch
    pixels = torch.randint(0, 256, (bs, 3, tagger.size, tagger.size), dtype=torch.uint8)
    tagger.probabilities(pixels)
    start, n = perf_counter(), max(3, min(30, windows//bs))
    for _ in range(n): tagger.probabilities(pixels)
    return n*bs/(perf_counter() - start)

@script
def main(
    side:int=5000, # pixels of the scene's side
    arch:str='resnet18', # the network
    size:int=128, # of its input, pixels
    bs:int=64, # windows that are tagged at once
    threads:int=1, # of the network; reading takes two more
    outputs:str='parquet,tif,html', # files to write
    out:str='', # folder for the scene and its outputs; by default a temporary one
):
    "Print windows a second of a scene and of tensors in place, peak memory, and the time that the Amazon basin takes."
    import torch
    from planet.scenes import tag_scene
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(out or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder/f'scene{side}.tif'
        if not path.exists(): write_scene(path, side)
        tagger = random_tagger(arch, size, bs)
        first = in_place(tagger, 10*bs, bs)
        start = perf_counter()
        plain = tag_scene(tagger, path, bs=bs)
        seconds, windows = perf_counter() - start, len(plain.windows)
        start = perf_counter()
        files = [folder/f'tags.{e}' for e in outputs.split(',') if e]
        from planet.scene_files import write_scene as write
        for file in files: write(plain, file)
        wrote = perf_counter() - start
        network = (first + in_place(tagger, 10*bs, bs))/2 # before and after: the machine may not be quiet
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20 # of kB on Linux
        rate = windows/seconds
        say(f'{windows:,} windows of {side:,} x {side:,} pixels, {arch} at {size} px, bs {bs}, {threads} thread(s) of '
            f'{os.cpu_count()}', f'scene       {rate:8.1f} windows/s', f'in place    {network:8.1f} windows/s',
            f'ratio       {rate/network:8.2f}', f'outputs     {wrote:8.1f} s', f'peak memory {peak:8.2f} GB',
            f'Amazon basin, {BASIN:,} windows: {BASIN/rate/3600:,.0f} h with one such process')
