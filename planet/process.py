"The process of a command: Ctrl-C and SIGTERM, output streams that close or fail, errors of the machine in one line."
import os
import signal
import sys

__all__ = ['Terminated', 'handled_signals', 'ignored_signals', 'safe_output', 'plain_text', 'explain']

# ---- before a command begins

def _runs_command():
    "Whether this is a command of ours: its main file names `script` or `run_command`, or is an installed `planet-...`."
    frame = sys._getframe()
    while frame and frame.f_globals.get('__name__') != '__main__': frame = frame.f_back
    return frame is not None and (bool({'script', 'run_command', 'run_one'} & set(frame.f_code.co_names))
                                  or os.path.basename(sys.argv[0]).startswith('planet-'))

def _name(signum): return 'interrupted' if signum == signal.SIGINT else f'stopped by {signal.Signals(signum).name}'

def _leave(signum, frame):
    "While libraries load, nothing needs tidying up; an exception inside an import may be turned into another one."
    try: os.write(2, f'{os.path.basename(sys.argv[0])}: {_name(signum)} before it began\n'.encode(errors='replace'))
    finally: os._exit(128 + signum)

# this module is the first that a command imports, so that Ctrl-C is one line from here on
if _runs_command():
    for _signal in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(_signal) in (signal.SIG_DFL, signal.default_int_handler): signal.signal(_signal, _leave)

# isort: split
import errno
import io
import re
import threading
from contextlib import contextmanager

# ---- signals

class Terminated(KeyboardInterrupt):
    "A SIGTERM or SIGHUP: whatever tidies up after Ctrl-C does so here as well."
    def __init__(self, signum): super().__init__(_name(signum)); self.status = 128 + signum

@contextmanager
def handled_signals():
    "A context where SIGTERM and SIGHUP raise `Terminated`, Ctrl-C `KeyboardInterrupt`; ignored signals stay ignored."
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pid = os.getpid()
    def stop(signum, frame):
        if os.getpid() != pid: # a forked worker: it ends as it would without us
            signal.signal(signum, signal.SIG_DFL)
            return os.kill(os.getpid(), signum)
        signal.signal(signum, signal.SIG_IGN) # once is enough
        raise Terminated(signum)
    before = {}
    for s in (signal.SIGINT, signal.SIGTERM, getattr(signal, 'SIGHUP', None)):
        if s is not None and signal.getsignal(s) in (signal.SIG_DFL, signal.default_int_handler, _leave):
            before[s] = signal.signal(s, signal.default_int_handler if s == signal.SIGINT else stop)
    try: yield
    finally:
        for s, handler in before.items():
            # at the end of a command nothing is left to stop, and Python would print a traceback of its own shutdown
            signal.signal(s, signal.SIG_IGN if handler is _leave else handler)

@contextmanager
def ignored_signals():
    "A context that Ctrl-C, SIGTERM and SIGHUP do not cut short: what is written in it is written to its end."
    signals = [getattr(signal, n) for n in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, n)]
    if threading.current_thread() is not threading.main_thread(): signals = []
    before = {s: signal.signal(s, signal.SIG_IGN) for s in signals if signal.getsignal(s) is not None}
    try: yield
    finally:
        for s, handler in before.items(): signal.signal(s, handler)

# ---- output

class _Output(io.FileIO):
    "stdout or stderr: once its reader is gone or its disk is full, output is dropped, and the program goes on."
    waiting = None # the timer that fills a blank terminal; one for both streams
    shown = False # whether its line is on the screen

    def __init__(self, fd, prog):
        super().__init__(fd, 'w', closefd=False)
        self.prog, self.failed = prog, False

    def write(self, data):
        self.clear()
        try: return super().write(data)
        except OSError as e:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            if e.errno not in (errno.EPIPE, errno.EINVAL): # `| head` is no failure; EINVAL: the same on Windows
                self.failed = True
                if self.fileno() == 1:
                    print(f'{self.prog}: stdout cannot be written ({e.strerror}): going on without it', file=sys.stderr)
            return len(data)

    @classmethod
    def clear(cls):
        if cls.waiting: cls.waiting.cancel()
        if cls.shown: os.write(1, b'\r\x1b[K')
        cls.waiting, cls.shown = None, False

    def show(self):
        if _Output.waiting is None: return
        _Output.shown = True
        os.write(1, f'{self.prog}: loading libraries ...'.encode(errors='replace'))

@contextmanager
def safe_output(prog:str, # name of the program, for its messages
                seconds:float=1, # after which a terminal that is still blank says that libraries load
               ):
    "stdout and stderr that take any character and survive a closed pipe or descriptor and a full disk; yields stdout."
    for fd in range(3): # `>&-`: the next file that is opened would become stdout
        try: os.fstat(fd)
        except OSError: os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    before, ours = (sys.stdout, sys.stderr), []
    for fd, name in ((1, 'stdout'), (2, 'stderr')):
        old = getattr(sys, name)
        if old is not getattr(sys, f'__{name}__'): continue # a notebook's or a test's own
        if old: old.flush()
        errors = getattr(old, 'errors', 'strict')
        raw = _Output(fd, prog)
        errors = 'backslashreplace' if errors == 'strict' else errors
        new = io.TextIOWrapper(io.BufferedWriter(raw), getattr(old, 'encoding', 'utf-8'), errors, line_buffering=True,
                               write_through=fd == 2)
        setattr(sys, name, new)
        ours.append((new, raw))
    raw = next((raw for _, raw in ours if raw.fileno() == 1), None)
    if raw and raw.isatty():
        _Output.waiting = threading.Timer(seconds, raw.show)
        _Output.waiting.daemon = True
        _Output.waiting.start()
    try: yield raw
    finally:
        for new, _ in ours: new.flush()
        _Output.clear()
        sys.stdout, sys.stderr = before

# ---- errors

def plain_text(e) -> str:
    "What an error says, on one line and without colour codes."
    return ' '.join(re.sub(r'\x1b\[[0-9;?]*[ -/]*[@-~]', '', str(e)).split())

SMALLER = 'take smaller batches (`bs`), smaller chips (`size`) or a smaller `arch`, or close other programs'
THREADS = ('no more threads or processes can be started: raise the limit (ulimit -u, or pids of the container), '
           'or set OMP_NUM_THREADS=1 and `workers` 0')
DAMAGED = 'a file of weights or a model is truncated or damaged: fetch it again, or train and export it again'
KILLED = 'a process that loads batches was killed, as happens where memory runs out: fewer `workers`, or 0'
FAULTS = ( # what the libraries say, in the order of asking, and what to tell
    (r'out of shared memory|shared memory object|allocate shared memory|</?torch_\w+>|Bus error',
     'shared memory (/dev/shm) is too small for what `workers` hand over: `workers` 0, or give it 1 GB or more'),
    (r'CUDA out of memory|\w+_STATUS_ALLOC_FAILED|MPS backend out of memory', f"the GPU's memory is full: {SMALLER}"),
    (r"failed to map segment|can't allocate memory|Unable to allocate|Cannot allocate memory|out of memory|MemoryError",
     f'memory ran out: {SMALLER}'),
    (r"can't start new thread|Resource temporarily unavailable|pthread_create", THREADS),
    (r'DataLoader worker.*(exited unexpectedly|killed by signal)', KILLED),
    (r'PytorchStreamWriter|unexpected pos|SafetensorError.*No space left',
     'a model could not be written, as happens on a full disk: free some space'),
    (r'PytorchStreamReader|central directory|Ran out of input|pickle data was truncated|invalid load key|'
     r'HeaderTooLarge|UnpicklingError|InvalidHeaderDeserialization|MetadataIncompleteBuffer', DAMAGED),
    (r'CUDA error|cuDNN error|CUBLAS_STATUS|CUDA driver|HIP error|device-side assert',
     'the GPU failed or does not fit this torch: planet-data doctor tells more; to train on the CPU, set '
     'CUDA_VISIBLE_DEVICES to nothing'),
    (r'probabilities.*\bnan\b|\bnan\b.*probabilities|non-finite|not finite|contains NaN',
     'numbers became NaN or infinite, as happens with bad `weights` or a high `lr`'),
    (r'Parse\w*Exception|mathtext',
     'a figure cannot be drawn: matplotlib takes a name with $ for a formula; rename it'),
)

def _explain_os(e):
    at, code = f' {e.filename}' if e.filename else '', e.errno
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{at and ' at' + at}: free some space, or write elsewhere"
    if code in (errno.EACCES, errno.EPERM) and at:
        unreadable = os.path.exists(e.filename) and not os.access(e.filename, os.R_OK)
        return (f'cannot read{at}: {e.strerror}; make it readable (chmod u+r) or be its owner' if unreadable else
                f'cannot write or read{at}: {e.strerror}; name a place that you may write')
    if code == errno.EROFS: return f'cannot write{at}: {e.strerror}; name a place that you may write'
    if code in (errno.EMFILE, errno.ENFILE):
        return f'too many files are open (at{at}): raise the limit (ulimit -n), or take fewer `workers`'
    if code == errno.EAGAIN: return THREADS
    if code == errno.ENOMEM: return f'memory ran out: {SMALLER}'
    return f'{e.filename}: {e.strerror}' if at and code else plain_text(e)

def _raised_in(e, module):
    trace, files = e.__traceback__, []
    while trace: files, trace = [*files, trace.tb_frame.f_code.co_filename], trace.tb_next
    return any(f.replace(os.sep, '/').endswith(module) for f in files)

def explain(e:BaseException) -> 'str | None':
    "What to tell a user of an error of the machine, of torch or of matplotlib; `None` where a traceback helps more."
    # a batch that was sent and not fetched yet when the process that made it was killed
    if isinstance(e, (ConnectionError, EOFError)) and _raised_in(e, 'multiprocessing/reductions.py'): return KILLED
    if isinstance(e, OSError) and e.errno is not None:
        # a seek beyond the end of a truncated file
        if e.errno == errno.EINVAL and _raised_in(e, 'torch/serialization.py'): return f'{DAMAGED} ({plain_text(e)})'
        return _explain_os(e)
    if isinstance(e, ModuleNotFoundError) and not str(e.name).startswith('planet.'):
        return f'the package {e.name} is missing in {sys.executable}: run make, and take the Python in .venv/bin'
    if isinstance(e, (TypeError, LookupError, AttributeError, NameError, AssertionError)): return None # faults of ours
    text = f'{type(e).__name__}: {plain_text(e)}'
    told = next((told for pattern, told in FAULTS if re.search(pattern, text)), None)
    if isinstance(e, OSError) and not told: return plain_text(e)
    if told: return f'{told} ({text if len(text) < 160 else text[:160] + "..."})'
