"What a result depends on: command, git commit, versions, device, and fingerprints of the data and of the weights."
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from planet.cli import with_flags

__all__ = ['versions', 'device_facts', 'git_facts', 'command_line', 'resume_command', 'peak_memory', 'deterministic',
           'data_fingerprint', 'weights_fingerprint']

PACKAGES = 'fastai', 'torch', 'torchvision', 'timm', 'pandas', 'planet-chips'

def _version(package):
    try: return version(package)
    except PackageNotFoundError: return None

def versions() -> dict:
    "Versions of Python and of the packages that scores depend on."
    return dict(python=platform.python_version(), **{p: _version(p) for p in PACKAGES})

def device_facts(device) -> dict:
    "The device, its name and how many threads work: what a figure has to be read beside."
    import torch
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else _cpu_name()
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    many = dict(processes=torch.distributed.get_world_size()) if together else {}
    return dict(type=device.type, name=name, cores=os.cpu_count(), threads=torch.get_num_threads(), **many)

def _cpu_name():
    "The processor as the system calls it."
    try: # Linux; elsewhere `platform` knows
        with open('/proc/cpuinfo') as f: return next(l.split(':')[1].strip() for l in f if l.startswith('model name'))
    except (OSError, StopIteration): return platform.processor() or platform.machine()

def git_facts(folder=None, # in a working copy; by default that of this package
             ) -> 'dict | None': # `None` where git or the working copy is missing
    "The commit that is checked out, and whether tracked files differ from it (dirty)."
    folder = Path(folder or __file__).resolve()
    folder = folder if folder.is_dir() else folder.parent
    def git(*args):
        done = subprocess.run(['git', '-C', str(folder), *args], capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip()
    try:
        git('ls-files', '--error-unmatch', '.') # an installed package may lie in somebody else's working copy
        return dict(commit=git('rev-parse', 'HEAD'), dirty=bool(git('status', '--porcelain', '--untracked-files=no')))
    except (OSError, subprocess.SubprocessError): return None

def command_line() -> 'list | None': # `None` in a notebook, a test or a program that imports an experiment
    "The command that runs, as it was typed."
    if with_flags('`out`') == '`out`': return None # no command with an option `out` is running
    script = Path(sys.argv[0])
    try: script = script.resolve().relative_to(Path.cwd().resolve())
    except (OSError, ValueError): pass
    return ['python', str(script), *sys.argv[1:]]

def resume_command(command, # of the run, from `command_line`
                   path, # folder of the run
                  ) -> str:
    "What to type, or to call, to resume a run."
    if not command: return f"call it again with resume='{path}'"
    kept, skip = [], False
    for word in command:
        if not skip and not word.startswith('--resume'): kept.append(word)
        skip = word == '--resume'
    return shlex.join([*kept, '--resume', str(path)])

def peak_memory() -> dict: # bytes; `gpu` where there is one
    "The most memory that this process has had so far."
    import torch
    found = dict(gpu=torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else {}
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError: return found # Windows
    unit = 1 if sys.platform == 'darwin' else 1024
    return dict(process=getrusage(RUSAGE_SELF).ru_maxrss*unit, **found)

@contextmanager
def deterministic():
    """A context in which torch takes only operations whose results are bit-equal each time, on a GPU as well.

    Training on a GPU is slower by it; on a CPU results are bit-equal without it. torch refuses the gradient of adaptive
    max pooling on a GPU, which fastai's head has: to a size of 1 it is a plain maximum, whose gradient is allowed. """
    import torch
    from torch.nn import functional
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8') # cuBLAS reads it when it is first used
    before, pool = torch.are_deterministic_algorithms_enabled(), functional.adaptive_max_pool2d
    def pool_to_one(x, output_size, return_indices=False):
        if x.is_cuda and not return_indices and output_size in (1, (1, 1)): return x.amax((-2, -1), keepdim=True)
        return pool(x, output_size, return_indices)
    torch.use_deterministic_algorithms(True)
    functional.adaptive_max_pool2d = pool_to_one
    try: yield
    finally:
        torch.use_deterministic_algorithms(before)
        functional.adaptive_max_pool2d = pool

# ---- fingerprints

def _digest(parts) -> str:
    "A hash of lines of text or of bytes."
    found = hashlib.blake2b(digest_size=8)
    for part in parts: found.update(part.encode() + b'\n' if isinstance(part, str) else part)
    return found.hexdigest()

def data_fingerprint(chips, # `Chips`, or images with points: a `table` with a `path` for each
                     split=None, # their `Split`
                     store=None, # the decoded chips, whose files were hashed; without it, file sizes are compared
                    ) -> dict:
    "Hashes of the label table, of the image files and of the split: equal where training sees the same chips."
    table = chips.table
    names = list(table.image_name if 'image_name' in table else [path.name for path in table.path])
    def file(path):
        info = store.infos.get(path) if store is not None else None
        if info is not None and info.file: return info.file.hex()
        return str(path.stat().st_size) if path.exists() else 'missing'
    def lines(rows): return sorted(names[row] for row in rows)
    if 'tags' in table: cells = [' '.join(tags) for tags in table.tags]
    else: cells = [','.join(map(str, row)) for row in table.drop(columns='path').itertuples(index=False)] # of points
    found = dict(table=_digest(sorted(f'{n},{c}' for n, c in zip(names, cells))))
    if 'path' in table: found['files'] = _digest(sorted(f'{n},{file(p)}' for n, p in zip(names, table.path)))
    if split is not None: found['split'] = _digest([*lines(split.train), '', *lines(split.valid)])
    return found

def weights_fingerprint(model) -> str:
    "A hash of all parameters and buffers of a model."
    import torch
    def parts():
        for name, tensor in model.state_dict().items():
            yield name
            yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return _digest(parts())
