"""The way through the course: writes links, badges and the install cell into the notebooks, and docs/course.md.

    python docs/course.py                                             # after a notebook was added or renamed
    python docs/course.py --repository https://github.com/you/planet  # where the badges shall lead
    python docs/course.py --check                                     # are they up to date?
"""
import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/'nbs'
REPOSITORY = '' # not published yet: --repository sets its address, here and in the notebooks; without one no badges
BRANCH = 'main'

@dataclass(frozen=True)
class Notebook:
    "A notebook of the course."
    name:str
    minutes:int # to read, to run and to fill in its exercises
    teaches:str
    ends:str # what one has at the end

NOTEBOOKS = [Notebook(*row) for row in (
    ('10_feedforward', 50, 'from pixels to logits: a net as a list and as a class, SGD and Adam by hand',
     'a net that reads digits, 0.97 right, written by you'),
    ('11_pets', 55, 'single label: names, presizing, `lr_find`, frozen layers, the block of a ResNet',
     "a confusion matrix of pet breeds, and a learning rate read off `lr_find`'s curve"),
    ('12_planet', 45, 'multi-label from start to end: loss, threshold, F2, errors, two targets, Kaggle and W&B',
     'a scored tagger and a submission file'),
    ('00_losses', 65, 'cross entropy and binary cross entropy by hand; focal, asymmetric, soft F2, grouped',
     'a loss that is right at a logit of 10,000'),
    ('01_metrics', 50, 'F2, thresholds, cross-fitting, paired intervals', 'a score that holds on other chips'),
    ('01a_resampling', 15, 'folds and bootstrap, with duplicates kept together',
     'confidence intervals with the right coverage'),
    ('01b_decisions', 40, 'from probabilities to the tag set of the best expected F2',
     'the tag set of highest expected F2 for each chip'),
    ('01c_calibration', 25, 'reliability, Platt and temperature scaling', 'probabilities that are frequencies'),
    ('02_data', 35, 'explore chips; from a table of tags to batches; duplicates and folds',
     'your own chips as batches'),
    ('03_learner', 30, 'a head at the prior log-odds, mixed precision, test-time augmentation, backbones',
     'a `Learner` that starts at the base rates'),
    ('04_inference', 20, 'the model folder: save, load, tag, decide', 'tags of new chips from a saved model'),
    ('05a_windows', 25, "windows of a chip's ground size on a georeferenced raster",
     'a scene cut into chips, without gaps'),
    ('05b_areas', 20, 'overlapping windows, and hectares with an interval',
     "hectares of a tag, corrected for the tagger's errors"),
    ('05_scenes', 20, 'a scene tagged, checked and laid on a map', "a table, a raster and a map of a scene's tags"),
    ('13_passengers', 20, 'tabular data read and checked', 'a table whose cells are all checked'),
    ('13b_binary', 35, 'binary classification: one unit, logits, a threshold, folds',
     'an accuracy beside those of a simple rule and of logistic regression'),
    ('13c_points', 25, 'points in pixels or shares, EXIF', 'a split without duplicates'),
    ('13d_regression', 30, 'flips that move the point, `y_range`', 'an error in pixels, beside a baseline'),
    ('13e_agreement', 25, 'which block, loss, metric and decision for which task', 'a check of any `Learner`'))]
NOTEBOOKS = [n for n in NOTEBOOKS if (NBS/f'{n.name}.ipynb').exists()]
BY_NAME = {n.name: n for n in NOTEBOOKS}

READERS = {
    'the learner': ('new to deep learning, with time: from one net to the whole course',
                    'you can write each part yourself',
                    [n.name for n in NOTEBOOKS]),
    'the Kaggler in a hurry': ('knows fastai, wants a score', 'a submission whose score you can predict',
                               ['12_planet', '01_metrics', '01b_decisions', '03_learner', '04_inference']),
    'the analyst': ('has chips or scenes of their own, and needs tags',
                    'tags of your own images, and how far to trust them',
                    ['12_planet', '02_data', '01c_calibration', '04_inference', '05a_windows', '05b_areas',
                     '05_scenes'])}
READERS = {who: (what, end, [n for n in names if n in BY_NAME]) for who, (what, end, names) in READERS.items()}

# ---- what stands in a notebook

def link(name): return f'[{name}]({name}.ipynb)'

def badges(name):
    "Links that open a notebook in Colab and on Kaggle, where the repository has an address."
    if not REPOSITORY: return ''
    there = f'{REPOSITORY}/blob/{BRANCH}/nbs/{name}.ipynb'
    colab = there.replace('https://github.com', 'https://colab.research.google.com/github')
    return (f'[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) '
            f'[![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)]'
            f'(https://kaggle.com/kernels/welcome?src={there})')

def next_of(name):
    "The notebook that follows for each reader: name -> readers."
    found = {}
    for who, (_, _, names) in READERS.items():
        if name in names[:-1]: found.setdefault(names[names.index(name) + 1], []).append(who)
    return found

def header(name):
    "The cell under a notebook's title: minutes, where it stands for whom, and badges."
    places = [f'{names.index(name) + 1} of {len(names)} for {who}' for who, (*_, names) in READERS.items()
              if name in names]
    return (f"[The course](../docs/course.md): notebook {'; '.join(places)}. {BY_NAME[name].minutes} minutes, "
            f'exercises included. At the end: {BY_NAME[name].ends}.\n\n{badges(name)}').rstrip()

def install():
    "The cell that installs the project in a hosted notebook."
    how = (f'%pip install -q git+{REPOSITORY}' if REPOSITORY else
           "raise ModuleNotFoundError('install planet first, from a copy of its folder: %pip install -q -e FOLDER')")
    return ('# On Colab and Kaggle: install the project. Where it is installed, this cell does nothing.\n'
            f"from importlib.util import find_spec\n\nif find_spec('planet') is None:\n    {how}")

def footer(name):
    "The last cell: where to go on."
    on = [f"{link(n)} ({', '.join(who)}): {BY_NAME[n].teaches}" for n, who in next_of(name).items()]
    lines = '\n'.join(f'- {line}.' for line in on) or '- This was the last notebook: [the course](../docs/course.md).'
    return f'## Next\n\n{lines}'

def with_way(cells, name):
    "The cells of a notebook with those of the way through the course, which stood there before or not."
    made = {'way-here': ('markdown', header(name)),
            'way-install': ('code', install()), 'way-on': ('markdown', footer(name))}
    old = {c['id']: c for c in cells if c['id'] in made}
    rest = [c for c in cells if c['id'] not in made]
    def cell(id):
        kind, text = made[id]
        more = dict(execution_count=None, outputs=[]) if kind == 'code' else {}
        return dict(old.get(id, {}), cell_type=kind, id=id, metadata={}, source=text.splitlines(True), **more)
    return [rest[0], cell('way-here'), cell('way-install'), *rest[1:], cell('way-on')]

def minutes(cells):
    "How long a notebook takes: 180 words or 25 lines of code a minute, 4 minutes for each exercise."
    def text(kind): return '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == kind)
    code = [line for line in text('code').split('\n') if line.strip()]
    return len(text('markdown').split())/180 + len(code)/25 + 4*len(re.findall(r'^@exercise\(', text('code'), re.M))

# ---- the index

def listed(names):
    "Notebooks in order, with minutes: a list, since a table of these would not fit a phone."
    return '\n'.join(filled(f'{i}. [{n}](../nbs/{n}.ipynb), {BY_NAME[n].minutes} minutes: {BY_NAME[n].teaches}. '
                            f'*At the end: {BY_NAME[n].ends}.*', '   ') for i, n in enumerate(names, 1))

def filled(text, indent=''):
    "Text on lines of 120 characters at most."
    return fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

def hours(names):
    total = sum(BY_NAME[n].minutes for n in names)
    return f'{total/60:.1f} hours' if total >= 60 else f'{total} minutes'

def index():
    "The page docs/course.md."
    parts = ['# The course',
             filled('Three ways through the notebooks. Each notebook runs by itself, without a network, in about a '
                    'minute, and ends with exercises that check themselves and a questionnaire. The minutes are for '
                    'reading and running it and for solving its exercises.')]
    for who, (what, end, names) in READERS.items():
        parts += [f'## For {who}', filled(f'{what[0].upper()}{what[1:]}. {hours(names)}; at the end {end}.'),
                  listed(names)]
    return '\n\n'.join([*parts, SUMMARY]) + '\n'

def readme():
    "The course's index for the README."
    rows = [f"| {who} | {what} | {hours(names)} | {' → '.join(f'[{n}](nbs/{n}.ipynb)' for n in names)} | {end} |"
            for who, (what, end, names) in READERS.items()]
    return '\n'.join(['| for | who | time | in this order | at the end |', '| --- | --- | --- | --- | --- |', *rows])

SUMMARY = (Path(__file__).parent/'summary.md').read_text(encoding='utf-8').strip()

def write(check=False):
    "Bring all notebooks and the index up to date; with `check` only name those that are not."
    stale = []
    for name in BY_NAME:
        path = NBS/f'{name}.ipynb'
        before = path.read_text(encoding='utf-8')
        notebook = json.loads(before)
        notebook['cells'] = with_way(notebook['cells'], name)
        after = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + '\n'
        if before != after: stale.append((path, after))
    page = ROOT/'docs'/'course.md'
    if not page.exists() or page.read_text(encoding='utf-8') != index(): stale.append((page, index()))
    if not check:
        for path, text in stale: path.write_text(text, encoding='utf-8')
    return [path.name for path, _ in stale]

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repository', help='address of the repository that the badges lead to')
    parser.add_argument('--check', action='store_true', help='change nothing; fail where something is out of date')
    parser.add_argument('--readme', action='store_true', help="print the README's index")
    o = parser.parse_args()
    if o.readme: return print(readme())
    if o.repository:
        global REPOSITORY
        address = o.repository.rstrip('/').removesuffix('.git')
        if not re.fullmatch(r'https://github\.com/[\w.-]+/[\w.-]+', address):
            return f'{o.repository} is no address such as https://github.com/you/planet, which Colab can open'
        here = Path(__file__)
        source = here.read_text(encoding='utf-8')
        source = re.sub("^REPOSITORY = '[^']*'", f"REPOSITORY = '{address}'", source, flags=re.M)
        here.write_text(source, encoding='utf-8')
        REPOSITORY = address
    stale = write(o.check)
    if o.check and stale: return f"out of date: {', '.join(stale)}; python docs/course.py writes them"
    print('written: ' + ', '.join(stale) if stale else 'all are up to date')

if __name__ == '__main__': sys.exit(main())
