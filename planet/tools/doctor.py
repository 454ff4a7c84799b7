"""What this machine has for `planet`, a line each: ok, a note, or what to fix.

Cheap looks come first, so that something is on the screen at once; torch, whose import takes seconds, comes last. No
credential is ever shown, only where it lies.
"""
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
import netrc, os, platform, re, shutil, sys, threading, time, warnings
from planet.cli import is_terminal
from planet import amazon
from planet.chips import TABLES
from planet.synthetic.cache import cache_folder
from planet.tools.verify import told

__all__ = ['doctor']

SECONDS, DEADLINE = 5, 20 # for a connection; for all that a look at the network may take
HOSTS = {'Kaggle': 'https://www.kaggle.com', 'weights': 'https://download.pytorch.org', "timm's weights": 'https://huggingface.co',
         "fastai's sample": 'https://s3.amazonaws.com', 'W&B': 'https://api.wandb.ai'}
GB = 1e9

def _env(name): return os.environ.get(name) or None
def _home(*names): return Path('~').expanduser().joinpath(*names)
def _short(path): return str(path).replace(str(Path.home()), '~', 1)
def _cache(name): return Path(_env('XDG_CACHE_HOME') or _home('.cache')).expanduser()/name

# ---- the machine

def look_python():
    found = f'{platform.python_version()} ({_short(sys.executable)})'
    if sys.version_info < (3, 10): return 'fix', found, 'planet needs Python 3.10 or newer'
    if sys.version_info >= (3, 14): return 'note', found, 'tried on 3.10 to 3.13: take one of those if something fails to install'
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

def look_packages():
    shown = [f'{name} {_version(name) or "missing"}' for name in ('torch', 'torchvision', 'fastai', 'timm')]
    ours = f"planet {_version('planet-chips') or '(not installed: run from its folder)'}"
    bad = [f"'{r}'" for name, r in _needs().items() if not r.specifier.contains(_version(name) or '0', prereleases=True)]
    found = ', '.join([ours, *shown])
    if bad: return 'fix', found, f"{sys.executable} -m pip install {' '.join(b.split(';')[0].rstrip(chr(39)) + chr(39) for b in bad)}"
    if _version('planet'): return 'fix', f"{found}; and Planet Labs' SDK, which imports as planet too", 'keep the two in environments of their own'
    return 'ok', found

def _memory():
    "Bytes of memory, and how many of them can be had; a container's limit counts. `None` where the system does not tell."
    try: total, free = (os.sysconf(name)*os.sysconf('SC_PAGE_SIZE') for name in ('SC_PHYS_PAGES', 'SC_AVPHYS_PAGES'))
    except (ValueError, OSError, AttributeError): return None, None
    try: free = int(re.search(r'MemAvailable:\s+(\d+)', Path('/proc/meminfo').read_text())[1])*1024 # what caches hold counts as free
    except (OSError, TypeError): pass
    group = Path('/sys/fs/cgroup')
    try: limit, used = (int((group/name).read_text()) for name in ('memory.max', 'memory.current'))
    except (OSError, ValueError): return total, free
    return min(total, limit), min(free, limit-used)

def look_memory():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    total, free = _memory()
    found = f"{cores} core{'s'*(cores > 1)}"
    if total is None: return 'note', f'{found}; the system does not tell its memory', 'a run wants 4 GB'
    found += f', {total/GB:.0f} GB of memory, {free/GB:.0f} GB of it free'
    if free < 4*GB: return 'note', found, 'a run wants 4 GB: close something, or take smaller chips (--size 64) and batches (--bs 16)'
    return 'ok', found

def look_disk():
    here, free = Path.cwd(), shutil.disk_usage('.').free
    found = f'{free/GB:.0f} GB free in {_short(here)}'
    if not os.access(here, os.W_OK): return 'note', f'{found}, which cannot be written to', 'run from another folder, or give --out'
    if free < .5*GB: return 'fix', found, 'free some: a run writes its record and model, 0.3 GB'
    if free < 5*GB: return 'note', found, "enough for runs; the competition's JPEGs want 4 GB while they are unpacked, 2 GB then"
    return 'ok', found

# ---- what is there already

def look_competition():
    table = next((amazon.folder/name for name in TABLES if (amazon.folder/name).is_file()), None)
    if table: return 'ok', f'a table in {table.parent}', f'planet-data verify {table.parent} tells whether it is whole'
    return 'note', f'not in {amazon.folder}', 'planet-data get kaggle fetches its 40,479 chips (needs an account)'

def _fastai_data():
    "fastai's folder of data sets, as its `config.ini` says; fastai itself would write that file."
    home = Path(_env('FASTAI_HOME') or '~/.fastai').expanduser()
    config = ConfigParser()
    config.read(home/'config.ini')
    return home/Path(config.get('DEFAULT', 'data', fallback='data')).expanduser()

def look_sample():
    folder = _fastai_data()/'planet_sample'
    if any((folder/name).is_file() for name in TABLES): return 'ok', f'1,000 real chips in {_short(folder)}'
    return 'note', f'not in {_short(folder)}', 'planet-data get sample fetches 1,000 real chips (15 MB), as a first run does'

def look_synthetic():
    folder = cache_folder()
    drawn = sorted(p.name for p in folder.glob('synthetic-*') if (p/'train_v2.csv').is_file())
    if drawn: return 'ok', f"{', '.join(drawn[:3])} in {_short(folder)}"
    return 'ok', f'none drawn yet in {_short(folder)}: that is done once, when they are asked for'

def look_weights():
    torch_home = Path(_env('TORCH_HOME') or _cache('torch')).expanduser()/'hub'/'checkpoints'
    hub = Path(_env('HF_HUB_CACHE') or Path(_env('HF_HOME') or _cache('huggingface'))/'hub').expanduser()
    found = [p.stem for p in sorted(torch_home.glob('*.pth'))] + [p.name.removeprefix('models--').replace('--', '/') for p in sorted(hub.glob('models--*'))]
    ours = [n for n in found if n.startswith(('resnet18', 'resnet34', 'resnet50'))]
    shown = ours + [n for n in found if n not in ours]
    if ours: return 'ok', f"{', '.join(shown[:4])}{' ...' if shown[4:] else ''}"
    also = f"; there are {', '.join(shown[:3])}" if shown else ''
    return 'note', f'none of a ResNet in {_short(torch_home)}{also}', 'the first run fetches them (100 MB); without a network give a file with --weights'

# ---- accounts and the network

def _within(seconds, call):
    "`call()`, or `TimeoutError`: a look-up of a name has no timeout of its own."
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

def look_network():
    reached, end = {}, time.monotonic() + SECONDS
    def ask(name): reached[name] = _answers(HOSTS[name])
    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in HOSTS]
    for thread in threads: thread.start()
    for thread in threads: thread.join(max(0, end - time.monotonic()))
    silent = {name: urlsplit(HOSTS[name]).netloc for name in HOSTS if not reached.get(name)}
    if not silent: return 'ok', f"{', '.join(HOSTS)} can be reached"
    if len(silent) == len(HOSTS): return 'note', f"offline: no answer from {', '.join(silent.values())}", (
        'what is there already serves, and --data synthetic needs no network')
    return 'note', f"no answer from {', '.join(f'{host} ({name})' for name, host in silent.items())}; the others answer"

def look_kaggle():
    from planet.download.kaggle import access, credentials
    where = credentials()
    if not where: return 'note', 'no credentials', access()[1].partition(': ')[2]
    state, todo = _within(DEADLINE, access)
    found = f'credentials in {where}'
    if state == 'ok': return 'ok', f'{found}; Kaggle accepts them, and the rules of the competition are accepted'
    passing = state in ('no network', 'rate limit') or state.startswith('error')
    return 'note' if passing else 'fix', f'{found}; {state}', todo

def look_wandb():
    host = urlsplit(_env('WANDB_BASE_URL') or 'https://api.wandb.ai').netloc
    where = next((name for name in ('WANDB_API_KEY', 'WANDB_IDENTITY_TOKEN_FILE') if _env(name)), None)
    path = next((p for p in (Path(_env('NETRC') or _home('.netrc')).expanduser(), _home('_netrc')) if p.is_file()), None)
    if not where and path:
        try: entry = netrc.netrc(path).authenticators(host)
        # what netrc says of a line that it cannot read may be the password
        except netrc.NetrcParseError as e: return 'note', f'{_short(path)} cannot be read near line {e.lineno}', 'mend it: machine, login and password, each with its word'
        where = _short(path) if entry and entry[2] else None
    mode = f", WANDB_MODE is {_env('WANDB_MODE')}" if _env('WANDB_MODE') in ('offline', 'disabled', 'dryrun') else ''
    if where: return 'ok', f'a key for {host} in {where}{mode}'
    return 'note', f'not logged in at {host}{mode}', 'only for runs that you log there (nbs/12_planet tells how): wandb login, or WANDB_MODE=offline'

# ---- torch, last

def look_device():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        import torch
        cuda = torch.cuda.is_available()
    from fastai.torch_core import default_device
    from planet.learner import bf16_gains
    device = default_device() if not cuda else torch.device('cuda', torch.cuda.current_device())
    bf16 = 'trains in bf16' if bf16_gains(device) else 'trains in fp16' if cuda else 'trains in fp32 (bf16 is no faster here)'
    if cuda:
        free, total = torch.cuda.mem_get_info()
        more = f' (the first of {torch.cuda.device_count()})' if torch.cuda.device_count() > 1 else ''
        found = f'{torch.cuda.get_device_name()}{more}, {total/GB:.0f} GB, {free/GB:.0f} GB of it free; CUDA {torch.version.cuda}; {bf16}'
        if free < 4*GB: return 'note', found, 'another program holds its memory: wait, or take smaller batches (--bs 16)'
        return 'ok', found
    found = f'{device.type}, {torch.get_num_threads()} threads; {bf16}'
    if shutil.which('nvidia-smi') or Path('/proc/driver/nvidia').exists():
        why = next((str(w.message) for w in said if 'CUDA' in str(w.message)), f'torch {torch.__version__} was built without CUDA' if not torch.version.cuda else '')
        return 'fix', f"{found}; there is an NVIDIA driver, but torch does not use it{f': {why}' if why else ''}", 'install torch for your driver: https://pytorch.org/get-started'
    return 'ok', found

LOOKS = dict(python=look_python, packages=look_packages, memory=look_memory, disk=look_disk, competition=look_competition,
             sample=look_sample, synthetic=look_synthetic, weights=look_weights, network=look_network, Kaggle=look_kaggle,
             **{'W&B': look_wandb}, device=look_device)

def _hide(text):
    "`text` without a secret, should one have got into it: libraries put strange things into their messages."
    named = dict(os.environ)
    try:
        from planet.download.kaggle import _config_file, _find, _read_json
        named |= {**_find()[1], **_read_json(_config_file())}
    except Exception: pass # what cannot be read cannot be shown
    secrets = ' '.join(str(v) for k, v in named.items() if re.search('KEY|TOKEN|SECRET|PASSWORD', k, re.I)).split()
    for word in sorted(secrets, key=len, reverse=True):
        if len(word) > 7: text = text.replace(word, '(hidden)')
    return text

def doctor() -> bool: # whether planet can run here at all
    "Look at this machine and print a line for each look: ok, a note, or what to fix. A look that fails is a line as well."
    out, counts, runs = sys.stdout, dict(ok=0, note=0, fix=0), True # a look may turn stdout away while it works
    for name, look in LOOKS.items():
        if is_terminal(): print(f'       {name} ...', end='', file=out, flush=True)
        try: state, found, *todo = look()
        except (Exception, SystemExit) as e: # its message may name a secret, so only the kind is told
            why = f'{type(e).__name__}: {e}' if isinstance(e, (ImportError, TimeoutError)) else type(e).__name__
            state, found, todo = 'fix' if look is look_device else 'note', f'could not be looked at ({why})', []
            runs &= look is not look_device # neither torch nor fastai can be imported
        runs &= not (state == 'fix' and look is look_python)
        counts[state] += 1
        if is_terminal(): print('\r\033[K', end='', file=out)
        print(_hide(told(state, name, found, *todo)), file=out, flush=True)
    end = f"{counts['ok']} ok, {counts['note']} to know, {counts['fix']} to fix" + ('' if runs else ': planet cannot run here')
    print('', end, sep='\n', file=out, flush=True)
    return runs
