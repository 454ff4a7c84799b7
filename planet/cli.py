"Command lines: options from docments, errors in one line, labelled progress bars, plain output in a pipe."
from planet.process import explain, handled_signals, plain_text, safe_output  # first: from here on Ctrl-C is one line

# isort: split
import difflib
import os
import re
import shutil
import sys
import textwrap
import time
import warnings
from contextlib import contextmanager
from fastcore.script import anno_parser

__all__ = ['UserError', 'script', 'run_command', 'run_one', 'say', 'with_flags', 'takes', 'wrapped', 'is_terminal',
           'is_watched', 'progress', 'near_names', 'EVERY']

class UserError(Exception):
    """A mistake that its user can mend: one line that says what is wrong, where, and what to do next.

    The library names parameters in backticks, as Python does; a command shows them as options: `` `folds` `` becomes
    `--folds`.
    """
    def __init__(self, message:str, # one line; where `option` is given, the line goes on after its name: "0 is too few"
                 option:str=None, # name of the parameter whose value is wrong
                ):
        # one from a process that loads batches comes with that process's traceback as its message
        message = str(message).rpartition('planet.cli.UserError: ')[2].strip()
        super().__init__(f'`{option}` {message}' if option else message)

_options = set() # of the command that runs: names that `with_flags` may spell as options

def with_flags(text:str, # names parameters in backticks
               names=None, # those that are options; by default the options of the command that runs
              ) -> str:
    "`text` as a command shows it: each name in backticks that is one of its options gets its dashes."
    names = _options if names is None else names
    return re.sub(r'`(\w+)`', lambda m: f'--{m[1]}' if m[1] in names else m[0], text)

def takes(name:str) -> bool:
    "Whether advice to change the parameter `name` can be followed: the command that runs has it, or none runs."
    return not _options or name in _options

def wrapped(text:str, width:int) -> str:
    "`text` with each of its lines broken at words; colour codes take no room."
    def fill(line):
        if len(re.sub(r'\x1b\[[0-9;]*m', '', line)) <= width: return line
        indent = ' '*(len(line) - len(line.lstrip()))
        return textwrap.fill(line, width, subsequent_indent=indent + '    ', break_long_words=False,
                             break_on_hyphens=False)
    return '\n'.join(map(fill, text.split('\n')))

def say(*lines):
    "Print `lines` now, also into a pipe; on a terminal a long line is wrapped at words. Never fails."
    for line in lines:
        text = with_flags(str(line))
        if is_terminal(): text = wrapped(text, max(40, shutil.get_terminal_size().columns))
        try: print(text, flush=True)
        except UnicodeEncodeError: # an ASCII stdout, and a tag that is not
            print(text.encode(sys.stdout.encoding, 'backslashreplace').decode(sys.stdout.encoding), flush=True)
        except (OSError, ValueError): pass # its reader is gone, its disk full, or it was closed

def is_terminal() -> bool:
    "Whether a terminal shows stdout, so that a line can be written over."
    try: return sys.stdout is not None and sys.stdout.isatty()
    except ValueError: return False # closed

def is_watched() -> bool:
    "Whether a person watches stdout, on a terminal or in a notebook; else a file or a program reads it: plain lines."
    return is_terminal() or 'ipykernel' in sys.modules

FIRST, EVERY = 2, 10 # seconds to the first plain line of progress, and between two

def progress(items, # an iterable
             total:int, # how many there are
             label:str='working', # what is done: "decoding chips"
            ):
    "`items` under a labelled progress bar; where no one watches, a plain line every ten seconds once it takes long."
    if is_watched():
        # not `tqdm.auto`: a notebook's own bar needs ipywidgets, and warns where they are missing
        from tqdm import tqdm
        # a terminal's bar can be erased; a notebook keeps what was shown, so what is quick there shows no bar
        return tqdm(items, total=total, desc=label, leave=False, delay=0 if is_terminal() else 0.5)
    return _plain_progress(items, total, label)

def _plain_progress(items, total, label):
    due = time.monotonic() + FIRST
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() >= due and done < total:
            due = time.monotonic() + EVERY
            say(f'{label}: {done:,} of {total:,}')

def near_names(name:str, # what was asked for
               names, # what there is
               n:int=3, # how many at most
              ) -> str: # ", did you mean a, b?", or nothing where no name is near
    "The tail of an error message that helps with a misspelt name."
    near = difflib.get_close_matches(str(name), sorted(set(names)), n=n, cutoff=0.6)
    return f", did you mean {' or '.join(near)}?" if near else ''

def _parser(main, prog, given):
    "`main`'s parser: options spelt as its parameters are (`--valid_pct`), with `--valid-pct` understood as well."
    parser = anno_parser(main, prog=prog)
    # argparse takes -1e-3 for an option
    parser._negative_number_matcher = re.compile(r'-(\d+\.?\d*|\.\d+|inf|nan)(e[-+]?\d+)?$', re.I)
    names = parser._option_string_actions
    for action in parser._actions:
        if action.help: # defaults that say nothing, and other options that a comment names
            for empty in ("''", 'False', 'True'): action.help = action.help.removesuffix(f' (default: {empty})')
            action.help = with_flags(action.help, {a.dest for a in parser._actions})
        spelt = f'--{action.dest}'
        if spelt not in names and f"--{action.dest.replace('_', '-')}" in names:
            names[spelt] = action
            action.option_strings = [spelt]
    shown = [n for a in parser._actions if a.help != '==SUPPRESS==' for n in a.option_strings]

    def error(message):
        for arg in given:
            name = arg.split('=')[0]
            if name.startswith('--') and name not in names and name in message: message += near_names(name, shown, 1)
        _stop(prog, f'{message} (--help lists the options)', 2)
    parser.error = error
    return parser

def _stop(prog, message, status):
    print(f'{prog}: {message}', file=sys.stderr, flush=True)
    sys.exit(status)

def _warn(message, category, filename, lineno, file=None, line=None):
    print(f'warning: {with_flags(plain_text(message))}', file=sys.stderr, flush=True)

@contextmanager
def _command_state():
    "State of the process while a command runs, put back after: option names, matplotlib's backend, format of warnings."
    backend = os.environ.get('MPLBACKEND')
    os.environ['MPLBACKEND'] = 'Agg' # figures are saved, not shown: neither a screen nor a notebook's backend is needed
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            yield
    finally:
        _options.clear()
        os.environ.pop('MPLBACKEND') if backend is None else os.environ.update(MPLBACKEND=backend)

def _kept(e): # a `Run` tells where its record lies
    return with_flags(f'what it had reached is in {e.kept}') if getattr(e, 'kept', None) else ''

def _leave_with(call, prog, interrupted):
    "Run `call()` as a command and exit with what it returns (0 for nothing); an error becomes one line."
    with safe_output(prog) as output, handled_signals(), _command_state():
        try: status = call()
        except KeyboardInterrupt as e:
            _stop(prog, f"{str(e) or 'interrupted'}; {_kept(e) or interrupted}", getattr(e, 'status', 130))
        except Exception as e:
            told = str(e) if isinstance(e, UserError) else explain(e)
            if told is None: raise
            _stop(prog, with_flags(plain_text('; '.join(filter(None, (told, _kept(e)))))), 1)
        sys.exit(status or int(bool(output and output.failed)))

def _run(main, prog, given, interrupted):
    "Call `main` with the options `given` on the command line."
    def call():
        parser = _parser(main, prog, given)
        # with any number of words allowed, argparse would want them all before or all after the options
        many = any(a.nargs == '*' and not a.option_strings for a in parser._actions)
        options = vars(parser.parse_intermixed_args(given) if many else parser.parse_args(given))
        for internal in ('pdb', 'xtra'): options.pop(internal, None)
        _options.update(options)
        return main(**options)
    _leave_with(call, prog, interrupted)

def script(main):
    "Decorate an experiment's `main`: a command when its file is run, a plain function when it is imported."
    if main.__module__ == '__main__': _run(main, os.path.basename(sys.argv[0]), sys.argv[1:], 'nothing was recorded')
    return main

def run_one(prog:str, # name of the program
            main, # what it does: a function whose parameters have docments
            interrupted:str, # what to tell after Ctrl-C
           ):
    "Run a program that has no commands: one function and its options."
    _run(main, prog, sys.argv[1:], interrupted)

def run_command(prog:str, # name of the program
                functions:list, # its commands: functions whose parameters have docments
                interrupted:str, # what to tell after Ctrl-C
               ):
    "Run the one of `functions` that the command line's first word names."
    commands = {f.__name__: f for f in functions}
    name, *given = sys.argv[1:] or ['--help']
    if name in commands: _run(commands[name], f'{prog} {name}', given, interrupted)
    width = max(map(len, commands)) + 4
    def described(command):
        return textwrap.fill(commands[command].__doc__.strip().splitlines()[0], shutil.get_terminal_size().columns - 2,
                             initial_indent=f'  {command}'.ljust(width), subsequent_indent=' '*width)
    def overview():
        if name not in ('-h', '--help'):
            _stop(prog, f"no command {name}{near_names(name, commands, 1)} (there are {', '.join(commands)})", 2)
        say(f'usage: {prog} COMMAND [options]', '', *map(described, commands),
            '', f'{prog} COMMAND --help lists the options of one')
    _leave_with(overview, prog, interrupted)
