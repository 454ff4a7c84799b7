"""Try the package with the newest version of everything it needs: python tests/check_newest.py .venv-newest

pip is asked which packages have a newer version than the environment that runs this. Those alone are installed, into an
environment that sees the other one, so that torch does not come twice; then the tests of the core run there. Status 1
where they fail, or where the newest versions do not go together.
"""
import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = 'losses', 'metrics', 'data', 'learner', 'plots', 'house'
PIP = '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--upgrade', '--upgrade-strategy', 'eager'
WANTED = '--editable', f'{ROOT}[dev]'

def newer():
    "Packages that have a newer version than the one installed here: name -> version."
    found = subprocess.run([sys.executable, *PIP, '--dry-run', '--report', '-', *WANTED], stdout=subprocess.PIPE,
                           check=True, cwd=ROOT)
    packages = [o['metadata'] for o in json.loads(found.stdout)['install']]
    return {p['name']: p['version'] for p in packages if p['name'] != 'planet-chips'}

def environment(folder):
    "A fresh environment in `folder` that sees the packages of this one, and its Python."
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, '-m', 'venv', folder], check=True)
    python = folder/('Scripts' if os.name == 'nt' else 'bin')/'python'
    own = sysconfig.get_path('purelib', vars=dict(base=str(folder), platbase=str(folder)))
    (Path(own)/'everyday.pth').write_text(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')
    return python

def main(folder):
    versions = newer()
    if not versions: return print('newest: nothing is newer than what the tests ran with')
    print('newest:', ', '.join(f'{name} {version}' for name, version in versions.items()), flush=True)
    python = environment(Path(folder).resolve())
    subprocess.run([python, *PIP, *WANTED], check=True, cwd=ROOT)
    tests = [f'tests/test_{name}.py' for name in TESTS]
    return subprocess.run([python, '-m', 'pytest', '--numprocesses', '2', *tests], cwd=ROOT,
                          env=os.environ | dict(OMP_NUM_THREADS='1')).returncode

if __name__ == '__main__': sys.exit(main(*sys.argv[1:]))
