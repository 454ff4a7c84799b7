"""Check that the generated modules equal their notebooks, and that every notebook runs from top to bottom.

    python tests/check_notebooks.py

It works on a copy of the project, so that a failing check changes nothing.
"""
import os
import shutil
import subprocess
import sys
import tempfile
from filecmp import cmp
from importlib.util import find_spec
from pathlib import Path

root = Path(__file__).resolve().parent.parent

# notebooks that need a package of an extra; without it their module is compared, and they are not run
EXTRAS = {'05_scenes.ipynb': 'rasterio', '05a_windows.ipynb': 'rasterio', '05b_areas.ipynb': 'rasterio'}

def run(*command, cwd): return subprocess.run(command, cwd=cwd).returncode

def modules(folder): return {p.relative_to(folder).as_posix() for p in (folder/'planet').rglob('*.py')}

def differing(one, other):
    "Modules, those of subpackages too, that are not the same in two copies of the project."
    both = modules(one) & modules(other)
    return sorted(modules(one) ^ modules(other) | {m for m in both if not cmp(one/m, other/m, shallow=False)})

def main():
    os.environ.setdefault('PLANET_PICTURES', 'drawn') # of real ones a CPU would train for too long
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp)/'planet'
        for part in ('nbs', 'planet', 'pyproject.toml', 'settings.ini'):
            source = root/part
            if source.is_dir():
                shutil.copytree(source, copy/part, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
            else: shutil.copy(source, copy/part)
        if run('nbdev-export', cwd=copy): return 'nbdev-export failed'
        if found := differing(root, copy):
            return (f"{', '.join(found)}: the module differs from its notebook; "
                    'edit the notebook and run nbdev-export, or the module and run nbdev-update')
        print('every generated module equals its notebook', flush=True)
        missing = [name for name, package in EXTRAS.items() if find_spec(package) is None]
        for name in missing:
            (copy/'nbs'/name).unlink()
            print(f"not run: {name} needs {EXTRAS[name]} (pip install -e '.[geo]')", flush=True)
        if run('nbdev-test', '--do-print', '--timing', cwd=copy): return 'a notebook failed'
    print(f"{len(list((root/'nbs').glob('*.ipynb'))) - len(missing)} notebooks ran from top to bottom")

if __name__ == '__main__': sys.exit(main())
