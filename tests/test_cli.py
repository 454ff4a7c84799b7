"Command lines: options, errors in one line, signals, and output that closes or fails."
import ast
import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
import pytest
from planet import cli
from planet.cli import UserError, progress, run_command, say, with_flags, wrapped
from planet.process import Terminated, explain, handled_signals

root = Path(__file__).resolve().parent.parent
posix = pytest.mark.skipif(os.name != 'posix', reason='signals and descriptors as POSIX has them')

SCRIPT = '''
from planet.cli import UserError, say, script
import os, sys, time
@script
def main(
    lr:float=3e-3, # learning rate
    lines:int=1, # lines to print, beside `lr`
    seconds:float=0, # to wait
    raises:str='', # an expression to raise
    out:str='', # a file to write at the end
):
    "A test."
    say('begun')
    time.sleep(seconds)
    for i in range(lines): say(f'line {i} \\u6cb3')
    if raises: raise eval(raises)
    if not 0 < lr < 1: raise UserError(f'{lr} is outside 0 to 1', option='lr')
    if out: open(out, 'w').write('kept')
'''

def env(**more): return {**os.environ, 'PYTHONPATH': str(root), **more}

@pytest.fixture
def program(tmp_path):
    "A command of one function."
    path = tmp_path/'program.py'
    path.write_text(SCRIPT, encoding='utf-8')
    def run(*args, shell='', **more):
        words = [sys.executable, str(path), *map(str, args)]
        if shell: words = ['bash', '-c', f'set -o pipefail; "$@" {shell}', 'bash', *words]
        return subprocess.run(words, capture_output=True, text=True, env=env(**more), cwd=tmp_path,
                              stdin=subprocess.DEVNULL)
    run.path = path
    return run

# ---- options

@pytest.mark.parametrize('words', [('--lr', '-1e-3'), ('--lr=-1e-3',), ('--lr', '-.001'), ('--lr', '-1.0E-3')])
def test_negative_numbers_are_numbers(program, words):
    done = program(*words)
    assert done.returncode == 1 and done.stderr == 'program.py: --lr -0.001 is outside 0 to 1\n'

@pytest.mark.parametrize('number', ['-inf', 'nan', '-1'])
def test_odd_numbers_reach_the_limits(program, number): assert '--lr' in program('--lr', number).stderr

def test_a_wrong_option_is_one_line_with_a_near_name(program):
    done = program('--sconds', '3')
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and 'did you mean --seconds?' in done.stderr

def test_help_names_options_with_dashes(program):
    said = program('--help').stdout
    assert 'lines to print, beside --lr' in said and '`' not in said

def test_messages_name_options_of_the_running_command_alone():
    assert with_flags('`lr` and `other`', {'lr'}) == '--lr and `other`' and with_flags('`lr`') == '`lr`'
    assert str(UserError('is wrong', option='lr')) == '`lr` is wrong'

COMMANDS = [['-m', 'planet.tools.planet_data', *words] for words in
            ([], ['--help'], *([c, '--help'] for c in ('get', 'verify', 'doctor', 'stats', 'explore')))]
COMMANDS += [[str(p)] + ['--help'] for p in sorted((root/'experiments').rglob('*.py'))
             if '@script' in p.read_text(encoding='utf-8')]

@pytest.mark.parametrize('words', COMMANDS, ids=lambda words: Path(words[-2] if len(words) > 2 else words[0]).name)
def test_help_needs_no_large_library(words):
    "Quick because of what it does not import: no clock is needed."
    code = (f'import runpy, sys, atexit; sys.argv = {words!r}\n'
            'heavy = ["torch", "fastai", "pandas", "numpy", "matplotlib"]\n'
            'atexit.register(lambda: print("LOADED", sorted(set(heavy) & set(sys.modules))))\n'
            f'sys.argv = sys.argv[1:] if sys.argv[0] == "-m" else sys.argv\n'
            + (f'runpy.run_module({words[1]!r}, run_name="__main__", alter_sys=True)' if words[0] == '-m'
               else f'runpy.run_path({words[0]!r}, run_name="__main__")'))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env(), cwd=root)
    assert done.returncode == 0 and 'LOADED []' in done.stdout, done.stdout + done.stderr
    assert 'usage' in done.stdout

@pytest.mark.parametrize('words', [['get', 'smaple'], ['verify', '/nowhere'], ['stats', '/nowhere'],
                                   ['explore', '/nowhere', '--port', 'x'],
                                   ['gte', 'sample'], ['verify', '/nowhere', '--workers', '-1']])
def test_a_wrong_word_answers_before_torch(words, tmp_path):
    (tmp_path/'torch.py').write_text('raise RuntimeError("torch was imported")')
    done = subprocess.run([sys.executable, '-m', 'planet.tools.planet_data', *words], capture_output=True, text=True,
                          cwd=tmp_path, env=env(PYTHONPATH=f'{tmp_path}{os.pathsep}{root}'))
    assert done.returncode and done.stderr.count('\n') == 1 and not done.stdout, done.stderr
    assert 'torch' not in done.stderr

def test_importing_the_package_imports_nothing():
    code = 'import sys; before = set(sys.modules); import planet; print(sorted(set(sys.modules) - before - {"planet"}))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env=env()).stdout.strip() == '[]'

# ---- output

def test_a_closed_pipe_does_not_end_the_run(program, tmp_path):
    done = program('--lines', 3000, '--seconds', .2, '--out', 'kept.txt', shell='| head -1')
    assert done.returncode == 0 and done.stdout == 'begun\n' and not done.stderr and (tmp_path/'kept.txt').exists()
    # the run's own status
    assert program('--lines', 3000, '--seconds', .2, '--lr', 2, shell='| head -1').returncode == 1

def test_both_streams_into_a_closed_pipe(program, tmp_path):
    assert program('--lines', 3000, '--seconds', .2, '--out', 'kept.txt', shell='2>&1 | true').returncode == 0
    assert (tmp_path/'kept.txt').exists()

@posix
@pytest.mark.parametrize('shell', ['>&-', '2>&-', '>&- 2>&-', '<&- >&- 2>&-'])
def test_closed_descriptors(program, tmp_path, shell):
    done = program('--lines', 3, '--out', 'kept.txt', shell=shell)
    # and nothing else in it
    assert done.returncode == 0 and not done.stderr and (tmp_path/'kept.txt').read_text() == 'kept'

@pytest.mark.skipif(not Path('/dev/full').exists(), reason='there is no /dev/full')
def test_a_full_disk_under_stdout(program, tmp_path):
    done = program('--lines', 3, '--out', 'kept.txt', shell='> /dev/full')
    assert done.returncode == 1 and (tmp_path/'kept.txt').exists() and done.stderr.count('\n') == 1
    assert 'stdout cannot be written (No space left on device)' in done.stderr
    assert program(shell='2> /dev/full').returncode == 0

def test_an_ascii_stdout_takes_any_tag(program):
    done = program(PYTHONIOENCODING='ascii')
    assert done.returncode == 0 and 'line 0 \\u6cb3' in done.stdout

def test_say_takes_any_stream(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), 'ascii')
    monkeypatch.setattr(sys, 'stdout', stream)
    say('\u6cb3')
    stream.seek(0)
    assert stream.read() == '\\u6cb3\n'
    stream.close()
    say('nobody hears')
    monkeypatch.setattr(sys, 'stdout', None)
    say('nobody hears')

def test_an_unknown_backend_of_matplotlib_is_no_matter(program):
    assert program('--raises', '__import__("matplotlib.pyplot") and ValueError(os.environ["MPLBACKEND"])',
                   MPLBACKEND='nope').stderr.strip().endswith('ValueError: Agg')

def test_lines_wrap_at_words():
    text = '    one two three four\nshort'
    assert wrapped(text, 16) == '    one two\n        three\n        four\nshort'
    red = '\033[31mword\033[0m '*3
    assert wrapped(red.strip(), 16) == red.strip() # colours take no room
    assert wrapped('/a/very/long/path/that-has-hyphens', 10) == '/a/very/long/path/that-has-hyphens'

def on_terminal(program, *args, columns=80):
    if not shutil.which('script'): pytest.skip('there is no script(1) to play a terminal')
    words = ' '.join(f"'{w}'" for w in (sys.executable, str(program.path), *map(str, args)))
    done = subprocess.run(['script', '-qec', f'stty cols {columns} rows 24; {words}', '/dev/null'], capture_output=True,
                          stdin=subprocess.DEVNULL, env=env())
    return done.stdout.decode()

def test_a_blank_terminal_says_that_libraries_load(program):
    program.path.write_text(SCRIPT.replace("    say('begun')\n", '').replace('say(f', 'print(f'), encoding='utf-8')
    said = on_terminal(program, '--seconds', 2)
    assert 'program.py: loading libraries ...\r\x1b[Kline 0' in said # and the line goes when there is more to tell
    assert 'loading' not in on_terminal(program) and 'loading' not in program('--seconds', 2).stdout

def test_progress_is_labelled(capsys, monkeypatch):
    for name in ('FIRST', 'EVERY'): monkeypatch.setattr(cli, name, 0)
    assert list(progress(range(3), 3, 'reading chips')) == [0, 1, 2]
    assert capsys.readouterr().out.splitlines() == ['reading chips: 1 of 3', 'reading chips: 2 of 3']
    monkeypatch.setattr(cli, 'is_watched', lambda: True)
    assert list(progress(range(3), 3, 'reading chips')) == [0, 1, 2]
    assert capsys.readouterr().err == '' # a notebook: its bars stay in the saved outputs, so a quick one is not shown
    monkeypatch.setattr(cli, 'is_terminal', lambda: True)
    assert list(progress(range(3), 3, 'reading chips')) == [0, 1, 2]
    assert 'reading chips' in capsys.readouterr().err
    monkeypatch.undo()
    assert list(progress(range(3), 3, 'reading chips')) == [0, 1, 2] and capsys.readouterr().out == '' # quick: no line

def test_every_progress_bar_of_the_project_has_a_label():
    calls = [(path.relative_to(root), node) for room in ('planet', 'experiments')
             for path in sorted((root/room).rglob('*.py'))
             for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
             if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'progress']
    bare = [f'{path}:{node.lineno}' for path, node in calls
            if len(node.args) < 3 and 'label' not in [k.arg for k in node.keywords]]
    assert len(calls) > 5 and not bare

def test_a_warning_is_one_line(program):
    done = program('--raises', '__import__("warnings").warn("`lr` is\\nhigh") or UserError("end")')
    assert done.stderr == 'warning: --lr is high\nprogram.py: end\n'

# ---- signals

def signalled(program, signum, seconds, wait_for=''):
    def heeding(): signal.signal(signal.SIGINT, signal.default_int_handler) # even where pytest ignores it
    run = subprocess.Popen([sys.executable, program.path, '--seconds', '30'], env=env(), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, preexec_fn=heeding)
    if wait_for: assert run.stdout.readline().strip() == wait_for
    time.sleep(seconds)
    run.send_signal(signum)
    _, err = run.communicate(timeout=30)
    return run.returncode, err

@posix
@pytest.mark.parametrize('signum,name', [(signal.SIGINT, 'interrupted'), (signal.SIGTERM, 'stopped by SIGTERM'),
                                         (signal.SIGHUP, 'stopped by SIGHUP')])
def test_a_signal_is_one_line(program, signum, name):
    assert signalled(program, signum, .05, 'begun') == (128 + signum, f'program.py: {name}; nothing was recorded\n')

@posix
@pytest.mark.parametrize('signum,name', [(signal.SIGINT, 'interrupted'), (signal.SIGTERM, 'stopped by SIGTERM')])
def test_a_signal_while_libraries_load(program, tmp_path, signum, name):
    "Ctrl-C within the first moments: an import that takes its time stands in for a slow disk."
    (tmp_path/'fastcore').mkdir()
    (tmp_path/'fastcore'/'__init__.py').write_text('')
    (tmp_path/'fastcore'/'script.py').write_text('import sys, time; print("loading", flush=True); time.sleep(30)')
    assert signalled(program, signum, .05, 'loading') == (128 + signum, f'program.py: {name} before it began\n')

def test_what_a_run_kept_is_named(program):
    program.path.write_text(SCRIPT.replace('    if raises: raise eval(raises)', """
    if raises:
        error = eval(raises)
        error.kept = 'runs/x/1'
        raise error"""), encoding='utf-8')
    assert program('--raises',
                   'KeyboardInterrupt()').stderr == 'program.py: interrupted; what it had reached is in runs/x/1\n'
    assert program('--raises', 'UserError("bad")').stderr == 'program.py: bad; what it had reached is in runs/x/1\n'

@posix
def test_ignored_signals_stay_ignored(program):
    run = subprocess.run(['nohup', sys.executable, '-c', 'import signal; from planet.process import handled_signals\n'
                          'with handled_signals(): print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)'],
                         capture_output=True, text=True, env=env(), stdin=subprocess.DEVNULL)
    assert run.stdout.strip() == 'True'

@posix
def test_a_library_import_leaves_signals_alone():
    code = ('import signal, planet.cli, planet.options; '
            'print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)')
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env=env()).stdout.strip() == 'True'

@posix
def test_signals_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as e, handled_signals(): os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)
    assert e.value.status == 143 and signal.getsignal(signal.SIGTERM) == before

@posix
def test_a_forked_worker_ends_quietly(program):
    killed = 'UserError(f"status {os.waitpid(p, 0)[1]}") if p else os.kill(os.getpid(), 15)'
    done = program('--raises', f'(lambda p: {killed})(os.fork())')
    assert done.stderr == 'program.py: status 15\n'

# ---- state of the process

def test_a_command_leaves_no_state_behind(monkeypatch, capsys):
    "Whatever happens in it: names of options, matplotlib's backend, warning filters, signals, streams."
    def fails(
        lr:float=1., # learning rate
    ):
        "A test."
        warnings.simplefilter('error')
        assert os.environ['MPLBACKEND'] == 'Agg'
        raise UserError('is wrong', option='lr')
    monkeypatch.setenv('MPLBACKEND', 'nope')
    monkeypatch.setattr(sys, 'argv', ['prog', 'fails'])
    def state(): return (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), list(warnings.filters),
                         warnings.showwarning, os.environ['MPLBACKEND'], sys.stdout, sys.stderr, set(cli._options))
    before = state()
    with pytest.raises(SystemExit): run_command('prog', [fails], 'nothing')
    assert state() == before and capsys.readouterr().err == 'prog fails: --lr is wrong\n'

# ---- errors of the machine and of torch, as they really come

SMALLER = 'smaller batches (`bs`)'
ERRORS = [
    (RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
                  "to allocate 4000 bytes. Error code 12 (Cannot allocate memory)"), SMALLER),
    (RuntimeError('CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.1 GiB'),
     "the GPU's memory is full"),
    (MemoryError(), 'memory ran out'), (OSError(errno.ENOMEM, 'Cannot allocate memory'), 'memory ran out'),
    (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers "
                  'are out of shared memory. Please try to raise your shared memory limit.'), '/dev/shm'),
    (RuntimeError('unable to write to file </torch_71_9_0>: No space left on device (28)'), '/dev/shm'),
    (RuntimeError('DataLoader worker (pid(s) 71) exited unexpectedly'), 'a process that loads batches was killed'),
    (RuntimeError("can't start new thread"), 'ulimit -u'),
    (BlockingIOError(errno.EAGAIN, 'Resource temporarily unavailable'), 'ulimit -u'),
    (RuntimeError('[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file data/0: file '
                  'write failed'), 'full disk'),
    (RuntimeError('PytorchStreamReader failed reading zip archive: failed finding central directory'),
     'truncated or damaged'),
    (EOFError('Ran out of input'), 'truncated or damaged'),
    (RuntimeError('CUDA error: no kernel image is available for execution on the device'), 'planet-data doctor'),
    (ValueError('predictions[0, 3] is nan: probabilities lie in 0..1'), '`lr`'),
    (ValueError('\n$\\frac$\n^\nParseSyntaxException: Expected \\frac'), 'takes a name with $ for a formula'),
    (OSError(errno.ENOSPC, 'No space left on device'), 'the disk is full: free'),
    (OSError(errno.EMFILE, 'Too many open files', 'x.jpg'), 'ulimit -n'),
    (OSError(errno.EROFS, 'Read-only file system', 'x'), 'cannot write x'),
    (FileNotFoundError(errno.ENOENT, 'No such file or directory', 'chip.jpg'), 'chip.jpg: No such file'),
    (OSError(errno.EIO, 'Input/output error', 'x'), 'x: Input/output error'),
    (OSError(errno.EFBIG, 'File too large'), 'File too large'),
    (OSError("Cannot save file into a non-existent directory: 'runs/x'"), "non-existent directory: 'runs/x'"),
    (ImportError('libtorch_cuda.so: failed to map segment from shared object'), 'memory ran out'),
    (ModuleNotFoundError("No module named 'timm'", name='timm'), 'the package timm is missing'),
]

@pytest.mark.parametrize('error,said', ERRORS, ids=lambda o: type(o).__name__ if isinstance(o, Exception) else '')
def test_errors_are_explained(error, said):
    told = explain(error)
    assert told and said in told and '\n' not in told

@pytest.mark.parametrize('error', [KeyError('nan'), TypeError('out of memory'), RuntimeError('shape mismatch'),
                                   AssertionError('NaN'), ModuleNotFoundError('x', name='planet.x'),
                                   ValueError('cannot convert float NaN to integer'), ZeroDivisionError()])
def test_faults_of_ours_keep_their_traceback(error): assert explain(error) is None

def test_torch_itself(tmp_path):
    import torch
    def told(call):
        with pytest.raises(Exception) as e: call()
        return explain(e.value)
    assert 'memory ran out' in told(lambda: torch.empty(10**15))
    (tmp_path/'cut.pkl').write_bytes(b'')
    torch.save(dict(a=torch.zeros(1000)), tmp_path/'whole.pkl')
    whole = (tmp_path/'whole.pkl').read_bytes()
    for keep in (0, 10, len(whole)//2, len(whole) - 30):
        (tmp_path/'cut.pkl').write_bytes(whole[:keep])
        assert 'truncated or damaged' in told(lambda: torch.load(tmp_path/'cut.pkl', weights_only=False)), keep
    if Path('/dev/full').exists(): assert 'full' in told(lambda: torch.save(torch.zeros(10**6), '/dev/full'))

@posix
def test_no_threads_left(program):
    "A real limit: there is no address space for another thread's stack."
    code = ('(__import__("resource").setrlimit(9, (200_000_000,)*2), __import__("threading").stack_size(1 << 30), '
            '__import__("threading").Thread(target=print).start())')
    done = program('--raises', code)
    assert done.returncode == 1 and done.stderr.count('\n') == 1 and 'no more threads' in done.stderr

@pytest.mark.skipif(os.name != 'posix', reason='permissions as POSIX has them')
def test_what_cannot_be_read_is_not_fetched_again(tmp_path, monkeypatch):
    path = tmp_path/'chip.jpg'
    path.write_text('x')
    monkeypatch.setattr(os, 'access', lambda path, mode: mode != os.R_OK) # root may read all
    def told(path): return explain(PermissionError(errno.EACCES, 'Permission denied', str(path)))
    assert told(path).startswith(f'cannot read {path}: Permission denied')
    assert told(tmp_path/'new').startswith('cannot write')

def test_colour_codes_are_taken_off(program):
    done = program('--raises', "UserError('\\x1b[31;1mred\\x1b[0m\\n and \\x1b[Kplain')")
    assert done.stderr == 'program.py: red and plain\n'

def test_other_errors_keep_their_traceback(program):
    done = program('--raises', 'KeyError("x")')
    assert done.returncode == 1 and 'Traceback' in done.stderr and re.search(r"KeyError: 'x'\n$", done.stderr)
