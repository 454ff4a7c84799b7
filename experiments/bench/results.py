"""The figures that README and docstrings quote, measured anew: each by its command, written into results.json.

    python experiments/bench/results.py
    python experiments/bench/results.py --only digits,points
    python experiments/bench/results.py --data my_sample --weights resnet50.safetensors

Each command runs as it is printed, in a folder of its own, and its output is read; tests/test_results.py compares what
the pages say with results.json. It takes half an hour on two cores; without a network give `data` (the folder of
fastai's sample) and `weights`.
"""
from planet.cli import UserError, say, script

SCORE = r'{0}\s+(?P<score>[\d.]+)\s+(?P<baseline>[\d.]+)\s+(?P<low>[\d.]+) to (?P<high>[\d.]+)'
F2, REAL = SCORE.format(r'F2 at 0\.2'), '--data sample --weights imagenet'
# name -> (command, what to read in its output)
COMMANDS = dict(
    digits=('experiments/mnist_mlp.py', [
        r'accuracy, Adam\s+(?P<score>[\d.]+)\s+(?P<baseline>[\d.]+)', r'accuracy, SGD\s+(?P<sgd>[\d.]+)',
        r'95 % interval (?P<low>[\d.]+) to (?P<high>[\d.]+)']),
    synthetic=('experiments/planet_resnet50.py --thresh 0.2 --data synthetic --weights none', [F2]),
    planet=(f'experiments/planet_resnet50.py --thresh 0.2 {REAL}', [F2]),
    frozen=(f'experiments/planet_resnet50.py --recipe frozen {REAL}', [F2]),
    frozen_256=(f'experiments/planet_resnet50.py --recipe frozen --size 256 {REAL}', [F2]),
    kfold=(f'experiments/planet_kfold.py --recipe frozen {REAL}', [F2]),
    kfold_256=(f'experiments/planet_kfold.py --recipe frozen --size 256 --views 4 {REAL}', [F2]),
    recipe=(f'experiments/bench/recipe.py {REAL}', [
        r'stock\s+(?P<stock>[\d.]+)\s+(?P<stock_tuned>[\d.]+)', r'\nours \s+(?P<score>[\d.]+)\s+(?P<tuned>[\d.]+)',
        r'ours, one view\s+(?P<one_view>[\d.]+)', r'takes 1/(?P<faster>[\d.]+) of']),
    weather=(f'experiments/weather_resnet18.py --arch resnet50 {REAL}', [SCORE.format('accuracy')]),
    two_targets=(f'experiments/tags_and_weather_resnet50.py {REAL}', [
        r'F2 as each predicts\s+(?P<score>[\d.]+) \[(?P<low>[\d.]+), (?P<high>[\d.]+)\]\s+(?P<multi_label>[\d.]+)'
        r' \[[^]]*\]\s+(?P<difference>[-+.\d]+) \[(?P<difference_low>[-+.\d]+), (?P<difference_high>[-+.\d]+)\]']),
    points=('experiments/points_resnet18.py', [
        r'pixels off, mean\s+(?P<score>[\d.]+)\s+(?P<baseline>[\d.]+)\s+'
        r'95 % interval (?P<low>[\d.]+) to (?P<high>[\d.]+)']))

def run(command, cwd):
    "Run a command of the project in another folder and print what it prints; its output."
    import subprocess
    import sys
    from pathlib import Path
    here = Path(__file__).resolve().parents[2]
    path, *given = command.split()
    found = subprocess.Popen([sys.executable, str(here/path), *given], cwd=cwd, stdout=subprocess.PIPE, text=True)
    lines = []
    for line in found.stdout:
        print(line, end='', flush=True)
        lines.append(line)
    if found.wait(): raise UserError(f'{command} ended with {found.returncode}: results.json is as it was for it')
    return ''.join(lines)

def read(name, output):
    "The numbers that a command printed, by name; `UserError` where its output has another form."
    import re
    values = {}
    for pattern in COMMANDS[name][1]:
        found = re.search(pattern, output)
        if not found: raise UserError(f'the output of {name} has no {pattern}: mend COMMANDS in bench/results.py')
        values |= {key: float(value) for key, value in found.groupdict().items()}
    return values

@script
def main(
    only:str='', # names of figures, by comma; all by default
    data:str='sample', # the 1,000 real chips: fastai's sample, or the folder that it is in
    weights:str='imagenet', # where backbones start: imagenet, or a .safetensors or .pth file
    out:str='results.json', # what is written
):
    "Measure the figures of README and docstrings anew, and write them into results.json."
    names = [n.strip() for n in only.split(',') if n.strip()] or list(COMMANDS)
    if odd := [n for n in names if n not in COMMANDS]:
        raise UserError(f"{odd[0]} is none of {', '.join(COMMANDS)}", option='only')
    # what follows takes seconds to import, so it comes after the options have been checked
    import json
    from datetime import date
    from pathlib import Path
    from tempfile import TemporaryDirectory
    import torch
    from fastai.torch_core import default_device
    from planet.provenance import device_facts
    path = Path(out)
    results = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    for name in names:
        command = COMMANDS[name][0]
        say(f'$ python {command}')
        given = command.replace(REAL, f'--data {data} --weights {weights}')
        with TemporaryDirectory() as folder: values = read(name, run(given, folder))
        device = device_facts(default_device())
        results[name] = dict(command=f'python {command}', values=values, measured=str(date.today()),
                             device=f"{device['name']}, {device.get('cores', 1)} cores",
                             torch=torch.__version__.split('+')[0])
        part = path.with_name(f'{path.name}.part')
        part.write_text(json.dumps(results, indent=1, sort_keys=True) + '\n', encoding='utf-8')
        part.replace(path) # after each figure: what was measured is kept if the next one fails
    say(f'{path}: {len(names)} figures measured; the tests say which pages quote another value')
