"""The project's own rules, read from its files: which module may import which, how long lines, modules and cells are,
docstrings, and nothing written twice."""
import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the top to the bottom: a module imports its own row and those below it, never one above.
ROWS = '''
tools
course
app
scenes
scene_jobs scene_files tag_map areas windows engines
submission export guarantees tag_inputs tag_files
inference runtimes
tracking
crossval
runs
report explain
run_files records comparison grouped model_files model_card model_facts
results
plots tag_plots result_plots page
recipes kernel_ridge
frozen
learner stock
checkpoints
divergence threads optimizer augment
callbacks backbones checkpoint_files
joined
pooling
gradcam
weights
data
loading
sources
public_sets
download
synthetic
neighbours
splits
split_files borders
store
store_files
images bands rasters
label_errors
chips tables tiffs
separators
stacking
calibration metrics decisions resampling rules
checks
losses
quality
amazon
figures
files memory
locks
provenance
distributed
options
trackers
cli process
'''.split('\n')[1:-1]
RANK = {room: rank for rank, row in enumerate(ROWS) for room in row.split()}
GENERATED = {'planet/_modidx.py'}

def read(path): return path.read_text(encoding='utf-8')
def name_of(path): return path.relative_to(ROOT).as_posix()
def python_files(*folders):
    return sorted(p for f in folders for p in (ROOT/f).rglob('*.py') if '.ipynb_checkpoints' not in p.parts
                  and name_of(p) not in GENERATED)
def notebooks(): return sorted((ROOT/'nbs').glob('*.ipynb'))
def cells(path, kind='code'): return [c for c in json.loads(read(path))['cells'] if c['cell_type'] == kind]
def source(cell): return ''.join(cell['source'])
def listed(found): return '\n'.join(['', *map(str, found)])

PACKAGE = {'.'.join(p.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): p
           for p in python_files('planet')}

def imported(code, module='', is_package=False):
    "The modules of the package that a piece of code imports, anywhere in it, with the names that it takes from each."
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((a.name, None) for a in node.names if a.name.split('.')[0] == 'planet')
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = module.split('.')
                parts = parts[:len(parts) - node.level + is_package]
                base = '.'.join([*parts, *filter(None, [node.module])])
            if base.split('.')[0] != 'planet': continue
            for a in node.names:
                whole = f'{base}.{a.name}'
                yield (whole, None) if whole in PACKAGE else (base, a.name)

GRAPH = {name: {m for m, _ in imported(read(path), name, path.name == '__init__.py')} - {name, 'planet'}
         for name, path in PACKAGE.items()}

def room(module): return module.split('.')[1]

# ---- imports

def test_every_module_has_a_row():
    assert not sorted({room(m) for m in PACKAGE if m != 'planet'} - set(RANK))

def test_imports_go_downwards():
    upwards = [f'{m} imports {other}' for m, others in GRAPH.items() if m != 'planet' for other in sorted(others)
               if RANK[room(m)] > RANK[room(other)]]
    assert not upwards, listed(upwards)

def test_no_circle_of_imports():
    done, circles = set(), []
    def follow(module, path):
        if module in path: circles.append(' -> '.join([*path[path.index(module):], module]))
        elif module not in done:
            for other in sorted(GRAPH.get(module, ())): follow(other, [*path, module])
            done.add(module)
    for module in GRAPH: follow(module, [])
    assert not circles, listed(circles)

def test_the_core_needs_no_course_tool_or_drawing():
    allowed = {'sources': {'synthetic'}, 'course': {'synthetic', 'course'}, 'synthetic': {'synthetic'},
               'tools': {'synthetic', 'course', 'tools'}}
    found = [f'{m} imports {other}' for m, others in GRAPH.items() if m != 'planet' for other in sorted(others)
             if room(other) in {'tools', 'course', 'synthetic'} - allowed.get(room(m), set())]
    assert not found, listed(found)

def test_no_module_imports_an_experiment():
    found = [name_of(p) for p in python_files('planet') if re.search(r'^\s*(from|import) experiments\b', read(p), re.M)]
    assert not found

def private(code, module='', is_package=False):
    "Private names of other modules of the package that a piece of code takes."
    tree = ast.parse(code)
    for other, name in imported(code, module, is_package):
        if other != module and name and name.startswith('_') and not name.startswith('__'): yield f'{other}.{name}'
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = node.module or 'planet'
            aliases |= {a.asname or a.name for a in node.names if node.level or f'{base}.{a.name}' in PACKAGE}
        elif isinstance(node, ast.Import): aliases |= {a.asname for a in node.names if a.asname and a.name in PACKAGE}
    for node in ast.walk(tree):
        if (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases
            and node.attr.startswith('_') and not node.attr.startswith('__')): yield f'{node.value.id}.{node.attr}'

def code_of(path): # what Python itself reads of a notebook
    return '\n\n'.join(re.sub(r'^(\s*)[%!].*$', r'\1pass', source(c), flags=re.M) for c in cells(path)
                       if not source(c).startswith('%%'))

def test_no_private_name_is_imported():
    found = [f'{name_of(path)}: {p}' for name, path in PACKAGE.items()
             for p in private(read(path), name, path.name == '__init__.py')]
    found += [f'{name_of(path)}: {p}' for path in python_files('experiments') for p in private(read(path))]
    found += [f'{name_of(path)}: {p}' for path in notebooks() for p in private(code_of(path))]
    assert not found, listed(found)

def modules_after(code):
    "Names of the modules that a fresh Python has loaded after `code`."
    return set(subprocess.run([sys.executable, '-c', f'{code}\nimport sys; print(*sys.modules)'], capture_output=True,
                              text=True,
                              check=True, cwd=ROOT).stdout.split('\n')[-2].split())

def test_the_losses_load_torch_and_nothing_else():
    loaded = modules_after('import planet.losses')
    assert {m for m in loaded if m.split('.')[0] == 'planet'} == {'planet', 'planet.losses'} and 'torch' in loaded
    assert not loaded & {'fastai', 'fastcore', 'pandas', 'matplotlib', 'torchvision', 'timm', 'PIL'}

def test_the_package_is_light():
    loaded = modules_after('import planet')
    assert {m for m in loaded if m.split('.')[0] == 'planet'} == {'planet'}
    assert not loaded & {'torch', 'numpy', 'fastcore', 'fastai'}

def test_no_import_warns():
    "A warning of fastai names a path of the machine in every notebook that begins with an import of ours."
    code = 'import planet.data, planet.learner, planet.callbacks'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True).stderr == ''

@pytest.mark.parametrize('script', [p for p in python_files('experiments') if '@script' in read(p)],
                         ids=lambda p: p.stem)
def test_help_loads_no_torch(script):
    start = time.perf_counter()
    loaded = modules_after(f'import runpy, sys\nsys.argv = [{str(script)!r}, "--help"]\n'
                           f'try: runpy.run_path({str(script)!r}, run_name="__main__")\nexcept SystemExit: pass')
    # 0.2 s on a quiet machine
    assert not loaded & {'torch', 'fastai', 'pandas', 'matplotlib'} and time.perf_counter() - start < 5

def options_read(path, done=()):
    "Names of options that a file reads itself, and those of the modules of the package to which it hands all of them."
    code = read(path)
    whole = {name for name in re.findall(r'\b(\w+)\((?:[^()]*, )?(?:o|options)\b(?!\.)', code)}
    found = {word for pair in re.findall(r"\b(?:o|options)\.(\w+)|'(\w+)'", code) for word in pair}
    for module, names in re.findall(r'from (planet[\w.]*) import ([\w, ]+)', code):
        if module not in ('planet.options', *done) and whole & set(names.split(', ')):
            found |= options_read(PACKAGE[module], (*done, module))
    return found

@pytest.mark.parametrize('script', [p for p in python_files('experiments') if '@delegates(chip_options' in read(p)],
                         ids=lambda p: p.stem)
def test_every_option_that_an_experiment_takes_is_used(script):
    main = importlib.import_module(name_of(script)[:-3].replace('/', '.')).main
    its_own, = (n.args.args for n in ast.parse(read(script)).body if getattr(n, 'name', '') == 'main')
    shared = set(inspect.signature(main).parameters) - {a.arg for a in its_own} - {'kwargs'}
    unused = shared - options_read(script)
    assert not unused, listed(unused)

# ---- how long things are

def test_the_package_says_its_rooms_in_ten_lines():
    "nbdev lists modules with a docstring of more than three lines in `planet/__init__.py`, over what stands there."
    long = [name_of(p) for p in python_files('planet') if p.name != '__init__.py'
            and len((ast.get_docstring(ast.parse(read(p))) or '').splitlines()) > 3]
    assert not long, listed(long)
    assert len(ast.get_docstring(ast.parse(read(ROOT/'planet'/'__init__.py'))).splitlines()) == 10

def test_lines_of_code():
    found = [f'{name_of(p)}:{i}: {len(line)}'
             for p in [*python_files('planet', 'experiments', 'tests'), ROOT/'setup.py']
             for i, line in enumerate(read(p).split('\n'), 1) if len(line) > 120
             and not line.startswith('__all__ = [')] # nbdev writes up to 130 characters there
    found += [f'{name_of(p)} #{c["id"]}: {len(line)}' for p in notebooks() for c in cells(p)
              for line in source(c).split('\n') if len(line) > 120]
    assert not found, listed(found)

def test_lines_of_pages():
    "Tables and pictures alone may be longer."
    pages = [*ROOT.glob('*.md'), *(ROOT/'docs').glob('*.md')]
    found = [f'{name_of(p)}:{i}: {len(line)}' for p in pages for i, line in enumerate(read(p).split('\n'), 1)
             if len(line) > 120 and not line.startswith(('|', '<'))]
    assert not found, listed(found)

def test_modules_fit_in_a_sitting():
    found = [f'{name_of(p)}: {n} lines' for p in python_files('planet', 'experiments')
             if (n := len(read(p).splitlines())) > 300]
    assert not found, listed(found)

def test_cells_are_small():
    found = [f'{name_of(p)} #{c["id"]}: {n} lines' for p in notebooks() for c in cells(p)
             if (n := len([line for line in source(c).split('\n') if line.strip() and not line.startswith('#|')])) > 25]
    assert not found, listed(found)

def test_the_main_script_can_be_read_in_a_sitting():
    assert 40 <= len(read(ROOT/'experiments'/'planet_resnet50.py').splitlines()) <= 60

# ---- words

def test_every_public_name_has_a_docstring():
    found = []
    for path in PACKAGE.values():
        tree = ast.parse(read(path))
        if not ast.get_docstring(tree) and not read(path).startswith('# AUTOGENERATED'):
            found.append(f'{name_of(path)}: the module')
        found += [f'{name_of(path)}:{n.lineno}: {n.name}' for n in tree.body
                  if isinstance(n, (ast.FunctionDef, ast.ClassDef))
                  and not n.name.startswith('_') and not ast.get_docstring(n)]
    assert not found, listed(found)

def test_commands_can_be_run_by_a_stranger():
    pages = [*python_files('planet', 'experiments'), *ROOT.glob('*.md'), *(ROOT/'docs').glob('*.md')]
    found = [name_of(p) for p in pages if '../shared' in read(p)]
    found += [f'{name_of(p)} #{c["id"]}' for p in notebooks() for kind in ('code', 'markdown') for c in cells(p, kind)
              if '../shared' in source(c)]
    assert not found, listed(found)

def test_the_library_names_no_options_of_the_command_line():
    said = re.compile(r'''(?<![\w-])--[a-z]\w+''')
    found = []
    for name, path in PACKAGE.items():
        # `provenance` runs git, and writes down the command line of a run
        if room(name + '.') in ('tools', 'cli', 'provenance'): continue
        tree = ast.parse(read(path))
        docs = {id(n.body[0].value) for n in ast.walk(tree)
                if isinstance(n, (ast.Module, ast.FunctionDef, ast.ClassDef))
                and n.body and isinstance(n.body[0], ast.Expr)}
        found += [f'{name_of(path)}:{n.lineno}: {hit[0]}' for n in ast.walk(tree) if isinstance(n, ast.Constant)
                  and isinstance(n.value, str)
                  and id(n) not in docs and 'pip install' not in n.value and (hit := said.search(n.value))]
    assert not found, listed(found)

def test_notebooks_name_their_cells():
    found = [f'{name_of(p)} #{c["id"]}' for p in notebooks() for kind in ('code', 'markdown') for c in cells(p, kind)
             if re.fullmatch('[0-9a-f]{8}', c['id']) and re.search(r'\d', c['id'])
             or re.fullmatch(r'cell-?\d+', c['id'])]
    assert not found, listed(found)

def test_no_path_of_a_machine_is_saved_in_a_notebook():
    found = [f'{name_of(p)} #{c["id"]}: {hit[0]}' for p in notebooks() for c in cells(p) if (hit := re.search(
        r'/(work|home|root|tmp|Users)/[\w./-]+',
            json.dumps([{k: v for k, v in o.items() if k != 'metadata'} for o in c['outputs']])))]
    assert not found, listed(found)

def test_the_gate_of_notebooks_sees_subpackages(tmp_path):
    from check_notebooks import differing
    for copy in 'ab':
        for name in ('losses.py', 'course/pets.py', 'synthetic/chips.py'):
            (tmp_path/copy/'planet'/name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path/copy/'planet'/name).write_text('same')
    assert differing(tmp_path/'a', tmp_path/'b') == []
    (tmp_path/'a'/'planet'/'course'/'pets.py').write_text('edited')
    (tmp_path/'b'/'planet'/'synthetic'/'chips.py').unlink()
    assert differing(tmp_path/'a', tmp_path/'b') == ['planet/course/pets.py', 'planet/synthetic/chips.py']

def test_the_constraints_hold_what_the_package_asks_for():
    from configparser import ConfigParser
    from packaging.requirements import Requirement
    config = ConfigParser(delimiters='=')
    config.read(ROOT/'settings.ini', encoding='utf-8')
    keys = 'requirements', 'dev_requirements', 'track_requirements'
    asked = [Requirement(r) for key in keys for r in config['DEFAULT'][key].split()]
    held = {r.name: r for line in read(ROOT/'constraints.txt').split('\n') if line and line[0] != '#'
            for r in [Requirement(line)]}
    for r in asked:
        if r.marker and not r.marker.evaluate(dict(python_version='3.11')): continue
        version = next(iter(held[r.name].specifier)).version
        assert r.specifier.contains(version), r.name

# ---- nothing twice

RUN = 6 # lines

def significant(path):
    "Lines that say something, each with its number: no blank line, comment, import or docment of a parameter alone."
    for i, line in enumerate(read(path).split('\n'), 1):
        if not (line := line.strip()) or line.startswith(('#', 'import ', 'from ', ')', ']',
                                                          '"""')) or not re.search(r'\w', line): continue
        yield i, re.sub(r'\s+', ' ', re.sub(r'\s+# .*', '', line))

def told(path, number):
    "Whether a comment stands right above a line: it says why the same stands twice."
    above = read(path).split('\n')[max(0, number-2):number-1]
    return any(line.strip().startswith('#') and not line.strip().startswith(('# %%', '# ----')) for line in above)

def repeated(paths):
    "Runs of `RUN` or more equal lines: (place, other place, how many lines)."
    lines = {p: list(significant(p)) for p in paths}
    places = defaultdict(list)
    for p, numbered in lines.items():
        for k in range(len(numbered) - RUN + 1): places[tuple(text for _, text in numbered[k:k+RUN])].append((p, k))
    seen = set()
    for at in places.values():
        (p, k), *others = at
        for q, m in others:
            if (p, k-1, q, m-1) not in seen and not (told(p, lines[p][k][0]) or told(q, lines[q][m][0])):
                yield f'{name_of(p)}:{lines[p][k][0]}', f'{name_of(q)}:{lines[q][m][0]}', lines[p][k][1]
            seen.add((p, k, q, m))

def test_nothing_stands_twice():
    found = list(repeated(python_files('planet', 'experiments')))
    assert not found, listed(found)

def test_what_stands_twice_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], 'ROOT', tmp_path)
    same = '\n'.join(f'value_{i} = compute({i})' for i in range(8))
    for name, text in dict(a=same, b=f'x = 1\n{same}', c=f'# as in a: losses.py must stand alone\n{same}',
                           d=same.split('\n', 3)[-1]).items():
        (tmp_path/f'{name}.py').write_text(text)
    a, b, c, d = (tmp_path/f'{n}.py' for n in 'abcd')
    assert [f[:2] for f in repeated([a, b])] == [('a.py:1', 'b.py:2')] and not list(repeated([a, c]))
    assert not list(repeated([a, d]))
