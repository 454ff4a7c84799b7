"Checks of the installation and the machine, a line each: ok, a note, or what to fix."
# Quick checks come first, so that something is on the screen at once; torch, whose import takes seconds, comes last.
# No credential is ever shown, only where it lies.
import netrc
import os
import platform
import re
import shutil
import sys
import threading
import time
import warnings
from configparser import ConfigParser
from contextlib import contextmanager
from importlib import metadata
from inspect import signature
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from planet import amazon
from planet.chips import TABLES, from_folder
from planet.cli import UserError, is_terminal, with_flags
from planet.download.complete import chips_fault, set_fault
from planet.options import chip_options
from planet.synthetic.cache import cache_folder
from planet.tools.verify import told

__all__ = ['doctor']

SECONDS, DEADLINE = 5, 20 # for a connection; for all that a check of the network may take
HOSTS = {'Kaggle': 'https://www.kaggle.com', 'weights': 'https://download.pytorch.org',
         "timm's weights": 'https://huggingface.co',
         "fastai's sample": 'https://s3.amazonaws.com', 'W&B': 'https://api.wandb.ai'}
GB = 1e9

def _env(name): return os.environ.get(name) or None
def _home(*names): return Path('~').expanduser().joinpath(*names)
def _short(path): return str(path).replace(str(Path.home()), '~')
def _cache(name): return Path(_env('XDG_CACHE_HOME') or _home('.cache')).expanduser()/name

# ---- the machine

def check_python():
    "Python: its version."
    found = f'{platform.python_version()} ({_short(sys.executable)})'
    if sys.version_info < (3, 10): return 'fix', found, 'planet needs Python 3.10 or newer'
    if sys.version_info >= (3, 14):
        return 'note', found, 'tried on 3.10 to 3.13: take one of those if something fails to install'
    return 'ok', found

def _version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return None

def _needs():
    "What planet requires, as it was installed: name -> requirement."
    from packaging.requirements import Requirement
    try: lines = metadata.requires('planet-chips') or []
    except metadata.PackageNotFoundError: lines = ['torch>=2.6', 'torchvision>=0.21', 'fastai>=2.8.12', 'timm>=1.0.3']
    needs = [Requirement(line) for line in lines]
    return {r.name: r for r in needs if not r.marker or r.marker.evaluate({'extra': ''})}

def check_packages():
    "torch, torchvision, fastai, timm: installed, and new enough."
    shown = [f'{name} {_version(name) or "missing"}' for name in ('torch', 'torchvision', 'fastai', 'timm')]
    ours = f"planet {_version('planet-chips') or '(not installed: run from its folder)'}"
    bad = [f"'{r.name}{r.specifier}'" for name, r in _needs().items()
           if not r.specifier.contains(_version(name) or '0', prereleases=True)]
    found = ', '.join([ours, *shown])
    if bad: return 'fix', found, f"{sys.executable} -m pip install {' '.join(bad)}"
    if _version('planet'):
        return ('fix', f"{found}; and Planet Labs' SDK, which imports as planet too",
                'keep the two in environments of their own')
    return 'ok', found

def _memory():
    "Bytes of memory, and of them free; a container's limit counts. `None` where the system does not tell."
    try: total, free = (os.sysconf(name)*os.sysconf('SC_PAGE_SIZE') for name in ('SC_PHYS_PAGES', 'SC_AVPHYS_PAGES'))
    except (ValueError, OSError, AttributeError): return None, None
    try: # what caches hold counts as free
        free = int(re.search(r'MemAvailable:\s+(\d+)', Path('/proc/meminfo').read_text())[1])*1024
    except (OSError, TypeError): pass
    group = Path('/sys/fs/cgroup')
    try: limit, used = (int((group/name).read_text()) for name in ('memory.max', 'memory.current'))
    except (OSError, ValueError): return total, free
    return min(total, limit), min(free, limit-used)

def check_memory():
    "Cores, and memory that is free."
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    total, free = _memory()
    found = f"{cores} core{'s'*(cores > 1)}"
    if total is None: return 'note', f'{found}; the system does not tell its memory', 'a run wants 4 GB'
    found += f', {total/GB:.0f} GB of memory, {free/GB:.0f} GB of it free'
    if free < 4*GB:
        return 'note', found, 'a run wants 4 GB: close something, or take smaller chips (`size` 64), batches (`bs` 16)'
    return 'ok', found

def check_disk():
    "Free space in the working folder."
    here, free = Path.cwd(), shutil.disk_usage('.').free
    found = f'{free/GB:.0f} GB free in {_short(here)}'
    if not os.access(here, os.W_OK):
        return 'note', f'{found}, which cannot be written to', 'run from another folder, or give `out`'
    if free < .5*GB: return 'fix', found, 'free some: a run writes its record and model, 0.3 GB'
    if free < 5*GB:
        return 'note', found, "enough for runs; the competition's JPEGs want 4 GB while they are unpacked, 2 GB then"
    return 'ok', found

# ---- what is there already

def check_competition():
    "The competition's chips: there, and whole."
    folder = amazon.folder
    if not any((folder/name).is_file() for name in TABLES):
        return 'note', f'not in {folder}', 'planet-data get kaggle fetches its 40,479 chips (needs an account)'
    if fault := chips_fault(folder): return 'fix', f'{folder} is not whole: {fault}', 'planet-data get kaggle mends it'
    return 'ok', f'{len(from_folder(folder)):,} chips in {folder}', f'planet-data verify {folder} reads every image'

def _fastai_data():
    "fastai's folder of data sets, as its `config.ini` says; fastai itself would write that file."
    home = Path(_env('FASTAI_HOME') or '~/.fastai').expanduser()
    config = ConfigParser()
    config.read(home/'config.ini')
    return home/Path(config.get('DEFAULT', 'data', fallback='data')).expanduser()

def check_sample():
    "fastai's sample of 1,000 real chips: there, and whole."
    folder = _fastai_data()/'planet_sample'
    if folder.is_dir():
        if not (fault := set_fault('sample', folder)): return 'ok', f'1,000 real chips in {_short(folder)}'
        return 'note', f'{_short(folder)} is not whole: {_short(fault)}', 'planet-data get sample fetches it again'
    return 'note', f'not in {_short(folder)}', 'planet-data get sample fetches 1,000 real chips (15 MB), as a run does'

def check_synthetic():
    "Synthetic chips that were drawn already."
    folder = cache_folder()
    drawn = sorted(p.name for p in folder.glob('synthetic-*') if (p/'train_v2.csv').is_file() and not chips_fault(p))
    if drawn: return 'ok', f"{', '.join(drawn[:3])} in {_short(folder)}"
    return 'ok', f'none drawn yet in {_short(folder)}: that is done once, when they are asked for'

def check_weights():
    "Pretrained weights in the caches of torch and the Hugging Face hub."
    torch_home = Path(_env('TORCH_HOME') or _cache('torch')).expanduser()/'hub'/'checkpoints'
    hub = Path(_env('HF_HUB_CACHE') or Path(_env('HF_HOME') or _cache('huggingface'))/'hub').expanduser()
    found = [p.stem for p in sorted(torch_home.glob('*.pth'))]
    found += [p.name.removeprefix('models--').replace('--', '/') for p in sorted(hub.glob('models--*'))]
    ours = [n for n in found if n.startswith(('resnet18', 'resnet34', 'resnet50'))]
    shown = ours + [n for n in found if n not in ours]
    if ours: return 'ok', f"{', '.join(shown[:4])}{' ...' if shown[4:] else ''}"
    also = f"; there are {', '.join(shown[:3])}" if shown else ''
    return ('note', f'none of a ResNet in {_short(torch_home)}{also}',
            'the first run fetches them (100 MB); without a network give a file with `weights`')

# ---- accounts and the network

def _within(seconds, call):
    "`call()`, or `TimeoutError`: a name server has no timeout of its own."
    result = []
    def work():
        try: result.append((call(), None))
        except BaseException as e: result.append((None, e))
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not result: raise TimeoutError(f'no answer within {seconds} s')
    value, error = result[0]
    if error is not None: raise error
    return value

def _answers(address):
    try: urlopen(Request(address, method='HEAD'), timeout=SECONDS).close()
    except HTTPError: pass # it said something
    except OSError: return False
    return True

def check_network():
    "The hosts that data, weights and records come from or go to."
    reached, end = {}, time.monotonic() + SECONDS
    def ask(name): reached[name] = _answers(HOSTS[name])
    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in HOSTS]
    for thread in threads: thread.start()
    for thread in threads: thread.join(max(0, end - time.monotonic()))
    silent = {name: urlsplit(HOSTS[name]).netloc for name in HOSTS if not reached.get(name)}
    if not silent: return 'ok', f"{', '.join(HOSTS)} can be reached"
    if len(silent) == len(HOSTS): return 'note', f"offline: no answer from {', '.join(silent.values())}", (
        'what is there already serves, and `data` synthetic needs no network')
    return 'note', f"no answer from {', '.join(f'{host} ({name})' for name, host in silent.items())}; the others answer"

def check_kaggle():
    "Kaggle's credentials, the rules of the competition, and who may read the files."
    from planet.download.credentials import TOKEN, credentials, credentials_fault, readable_by_others
    from planet.download.kaggle import access
    where, fault, open_files = credentials(), credentials_fault(), readable_by_others()
    if not where: return ('fix', fault, f'fix it, or {TOKEN}') if fault else ('note', 'no credentials', TOKEN)
    state, todo = _within(DEADLINE, access)
    found = f'credentials in {where}' + (f'; {fault}' if fault else '')
    if state == 'ok':
        found += '; Kaggle accepts them, and the rules of the competition are accepted'
        if not open_files: return 'ok', found
        return 'note', f"{found}; others on this machine can read them", f"chmod 600 {' '.join(open_files)}"
    passing = state in ('no network', 'rate limit') or state.startswith('error')
    return 'note' if passing else 'fix', f'{found}; {state}', todo

def check_wandb():
    "The key of Weights & Biases."
    host = urlsplit(_env('WANDB_BASE_URL') or 'https://api.wandb.ai').netloc
    where = next((name for name in ('WANDB_API_KEY', 'WANDB_IDENTITY_TOKEN_FILE') if _env(name)), None)
    files = Path(_env('NETRC') or _home('.netrc')).expanduser(), _home('_netrc')
    path = next((p for p in files if p.is_file()), None)
    if not where and path:
        try: entry = netrc.netrc(path).authenticators(host)
        # what netrc says of a line that it cannot read may be the password
        except netrc.NetrcParseError as e:
            return ('note', f'{_short(path)} cannot be read near line {e.lineno}',
                    'fix it: machine, login and password, each with its word')
        where = _short(path) if entry and entry[2] else None
    mode = f", WANDB_MODE is {_env('WANDB_MODE')}" if _env('WANDB_MODE') in ('offline', 'disabled', 'dryrun') else ''
    if where: return 'ok', f'a key for {host} in {where}{mode}'
    return ('note', f'not logged in at {host}{mode}',
            'only for runs that you log there (nbs/12_planet tells how): wandb login, or WANDB_MODE=offline')

# ---- torch, last

def check_device():
    "GPU or CPU, its memory, and the precision that training takes."
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        import torch
        cuda = torch.cuda.is_available()
    from fastai.torch_core import default_device
    from planet.callbacks import bf16_gains
    device = default_device() if not cuda else torch.device('cuda', torch.cuda.current_device())
    bf16 = ('trains in bf16' if bf16_gains(device) else 'trains in fp16' if cuda else
            'trains in fp32 (bf16 is no faster here)')
    if cuda:
        free, total = torch.cuda.mem_get_info()
        more = f' (the first of {torch.cuda.device_count()})' if torch.cuda.device_count() > 1 else ''
        found = (f'{torch.cuda.get_device_name()}{more}, {total/GB:.0f} GB, {free/GB:.0f} GB of it free; '
                 f'CUDA {torch.version.cuda}; {bf16}')
        if free < 4*GB:
            return 'note', found, 'another program holds its memory: wait, or take smaller batches (`bs` 16)'
        return 'ok', found
    found = f'{device.type}, {torch.get_num_threads()} threads; {bf16}'
    if shutil.which('nvidia-smi') or Path('/proc/driver/nvidia').exists():
        without = '' if torch.version.cuda else f'torch {torch.__version__} was built without CUDA'
        why = next((str(w.message) for w in said if 'CUDA' in str(w.message)), without)
        return ('fix', f"{found}; there is an NVIDIA driver, but torch does not use it{f': {why}' if why else ''}",
                'install torch for your driver: https://pytorch.org/get-started')
    return 'ok', found

CHECKS = dict(python=check_python, packages=check_packages, memory=check_memory, disk=check_disk,
              competition=check_competition, sample=check_sample, synthetic=check_synthetic, weights=check_weights,
              network=check_network, Kaggle=check_kaggle, **{'W&B': check_wandb}, device=check_device)

def _without_secrets(text):
    "`text` without a secret, should one have got into it: libraries put strange things into their messages."
    from planet.download.credentials import secret_words
    try: secrets = secret_words()
    except Exception: secrets = [] # what cannot be read cannot be shown
    for word in sorted(secrets, key=len, reverse=True):
        if len(word) > 7: text = text.replace(word, '(hidden)')
    return text

@contextmanager
def _streams_kept():
    "A check that does not answer in time may have redirected the output and changed the environment of the process."
    streams, environment = (sys.stdin, sys.stdout, sys.stderr), dict(os.environ)
    try: yield sys.stdout
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        for name in set(os.environ) - set(environment): del os.environ[name]
        os.environ.update(environment)

def _result(name, check): # state, what was found, what to do
    try: return check()
    except (Exception, SystemExit) as e: # its message may name a secret, so only the kind is told
        why = f'{type(e).__name__}: {e}' if isinstance(e, (ImportError, TimeoutError, UserError)) else type(e).__name__
        return 'fix' if name == 'device' else 'note', f'could not be checked ({why})'

def doctor() -> bool: # whether planet can run here at all
    "Check the installation and the machine: a line each, ok, a note, or what to fix. A check that fails is a line too."
    counts, runs = dict(ok=0, note=0, fix=0), True
    options = signature(chip_options).parameters # what the advice names
    with _streams_kept() as out:
        for name, check in CHECKS.items():
            if is_terminal(): print(f'       {name} ...', end='', file=out, flush=True)
            state, *words = _result(name, check)
            runs &= not (state == 'fix' and (name == 'python' or words[0].startswith('could not be checked')))
            counts[state] += 1
            if out is not None and out.isatty(): print('\r\033[K', end='', file=out)
            print(_without_secrets(told(state, name, *(with_flags(w, options) for w in words))), file=out, flush=True)
    end = f"{counts['ok']} ok, {counts['note']} to know, {counts['fix']} to fix"
    print('', end + ('' if runs else ': planet cannot run here'), sep='\n', flush=True)
    return runs
