"""How long `planet-data verify` takes at the size of the competition: python experiments/bench/verify.py

Writes that many chips of 256 px, no two alike, as four-component JPEGs as heavy as the competition's (15.6 KB a chip)
into a temporary folder, so that they are read from memory; then times `verify` on them, with a thread a core and with
one. CPU seconds tell what a machine would take that has nothing else to do.

On two cores of a shared Xeon in a slow hour: 41.0 s with two threads and 39.4 s with one for all 40,479 (53.6 and 40.0
CPU seconds).
"""
from planet.cli import progress, say, script

@script
def main(
    n:int=40479, # chips: as many as the competition trains on
    data:str='', # make them from the chips of this folder; by default from synthetic ones
    drawn:int=100, # how many chips to make them from
    workers:int=0, # threads that read them; 0: one a core
    seed:int=42, # random seed of the chips
):
    "Print the seconds that `verify` takes, and its report."
    import os
    import platform
    import tempfile
    import time
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    import numpy as np
    from PIL import Image
    from planet.chips import from_folder
    from planet.synthetic.chips import draw_chip, draw_tags
    from planet.tools.verify import verify
    if data: pictures = [np.asarray(Image.open(p).convert('RGB')) for p in from_folder(data).paths[:drawn]]
    else: pictures = [draw_chip(tags, (seed, i)) for i, tags in enumerate(draw_tags(drawn, seed))]

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder/'train-jpg').mkdir()
        def write(i): # a picture that is turned, mirrored and shifted as no other is
            turn, k = divmod(i, len(pictures))
            shift, view = divmod(turn, 8)
            picture = np.rot90(np.roll(pictures[k], shift, 0)[:, ::-1 if view > 3 else 1], view % 4)
            Image.fromarray(picture).convert('CMYK').save(folder/'train-jpg'/f'train_{i}.jpg', quality=75) # theirs
        with ThreadPoolExecutor() as pool: list(progress(pool.map(write, range(n)), n, 'writing chips'))
        with open(folder/'train_v2.csv', 'w') as f:
            f.write('image_name,tags\n')
            f.writelines(f"train_{i},{' '.join(tags)}\n" for i, tags in enumerate(draw_tags(n, seed)))
        size = sum(e.stat().st_size for e in os.scandir(folder/'train-jpg'))
        machine = platform.processor() or platform.machine()
        say(f'{n:,} chips of {size/n/1000:.1f} KB; {os.cpu_count()} cores, {machine}')
        for threads in dict.fromkeys((workers or os.cpu_count(), 1)):
            start, cpu = time.perf_counter(), time.process_time()
            report = verify(folder, threads)
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            say(f'verify, {threads} thread{"s"*(threads > 1)}: {seconds:.1f} s, {n/seconds:,.0f} chips/s; '
                f'{cpu:.1f} CPU seconds')
        say(str(report))
