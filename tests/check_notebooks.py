"""Check that the generated modules equal their notebooks, and that every notebook runs from top to bottom.

    python tests/check_notebooks.py

It works on a copy of the project, so that a failing check changes nothing.
"""
import shutil
import subprocess
import sys
import tempfile
from filecmp import cmp
from pathlib import Path

root = Path(__file__).resolve().parent.parent

def run(*command, cwd): return subprocess.run(command, cwd=cwd).returncode

def main():
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp)/'planet'
        for part in ('nbs', 'planet', 'pyproject.toml', 'settings.ini'):
            source = root/part
            if source.is_dir(): shutil.copytree(source, copy/part, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
            else: shutil.copy(source, copy/part)
        if run('nbdev-export', cwd=copy): return 'nbdev-export failed'
        names = sorted({p.name for folder in (root, copy) for p in (folder/'planet').glob('*.py')})
        differ = [n for n in names if not ((root/'planet'/n).exists() and (copy/'planet'/n).exists() and cmp(root/'planet'/n, copy/'planet'/n, shallow=False))]
        if differ: return f"{', '.join(differ)}: the module differs from its notebook; edit the notebook and run nbdev-export, or the module and run nbdev-update"
        print('every generated module equals its notebook', flush=True)
        if run('nbdev-test', '--do-print', '--timing', cwd=copy): return 'a notebook failed'
    print(f"{len(list((root/'nbs').glob('*.ipynb')))} notebooks ran from top to bottom")

if __name__ == '__main__': sys.exit(main())
