"What every command of the project shares: options from docments, errors in one line, labelled progress, plain output in a pipe."
import difflib, errno, os, re, shutil, sys, textwrap, time, warnings
from fastcore.script import anno_parser

__all__ = ['UserError', 'script', 'run_command', 'say', 'with_flags', 'is_terminal', 'is_watched', 'progress', 'near_names']

# fastai calls a function that the newest torch deprecates: nothing that a user of ours can act on
warnings.filterwarnings('ignore', message='.*torch.jit.script.*')

class UserError(Exception):
    """A mistake that its user can mend: one line that says what is wrong, where, and what to do next.

    The library names parameters in backticks, as Python does; a command shows them as options: `` `folds` `` becomes `--folds`.
    """
    def __init__(self, message:str, # one line; where `option` is given, the line goes on after its name: "0 is too few"
                 option:str=None, # name of the parameter whose value is wrong
                ): super().__init__(f'`{option}` {message}' if option else message)

_options = set() # of the command that runs: names that `with_flags` may spell as options

def with_flags(text:str) -> str:
    "`text` as a command shows it: each name in backticks that is an option of the running command gets its dashes."
    return re.sub(r'`(\w+)`', lambda m: f'--{m[1]}' if m[1] in _options else m[0], text)

def say(*lines):
    "Print `lines` now, also into a pipe; on a terminal a long line is wrapped at words."
    for line in lines:
        text = with_flags(str(line))
        if is_terminal():
            width = max(40, shutil.get_terminal_size().columns)
            text = '\n'.join(one if len(one) <= width else textwrap.fill(one, width, subsequent_indent='    ', break_long_words=False,
                             break_on_hyphens=False) for one in text.split('\n'))
        print(text, flush=True)

def is_terminal() -> bool:
    "Whether a terminal shows stdout, so that a line can be written over."
    return sys.stdout is not None and sys.stdout.isatty()

def is_watched() -> bool:
    "Whether a person watches stdout, on a terminal or in a notebook; else a file or another program reads it: plain lines."
    return is_terminal() or 'ipykernel' in sys.modules

EVERY = 10 # seconds between two plain lines of progress

def progress(items, # an iterable
             total:int, # how many there are
             label:str='working', # what is done: "decoding chips"
            ):
    "`items` under a labelled progress bar; where no one watches, a plain line now and then once it takes long."
    if is_watched():
        from tqdm.auto import tqdm
        return tqdm(items, total=total, desc=label, leave=False)
    return _plain_progress(items, total, label)

def _plain_progress(items, total, label):
    told = time.monotonic() - EVERY + 2 # the first line after two seconds
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - told >= EVERY and done < total:
            told = time.monotonic()
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
    names = parser._option_string_actions
    for action in parser._actions:
        for empty in ("''", 'False'): # defaults that say nothing
            if action.help: action.help = action.help.removesuffix(f' (default: {empty})')
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

def _one_line(e): return with_flags(' '.join(str(e).split()))

def _explain(e):
    "What to tell a user of an error of the machine, or `None` where it is a fault of ours and a traceback helps more."
    if isinstance(e, UserError): return _one_line(e)
    if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{f' at {e.filename}' if e.filename else ''}: free some space, or write elsewhere"
    if isinstance(e, OSError) and e.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"cannot write or read {e.filename}: {e.strerror}"

def _run(main, prog, given, interrupted):
    "Call `main` with the options `given`, and leave with its exit status (what it returns; 0 for nothing)."
    options = vars(_parser(main, prog, given).parse_args(given))
    for internal in ('pdb', 'xtra'): options.pop(internal, None)
    _options.update(options)
    try: status = main(**options)
    except KeyboardInterrupt: _stop(prog, f'interrupted; {interrupted}', 130)
    except BrokenPipeError: os._exit(0) # `| head` closed the pipe: nothing to tell
    except Exception as e:
        told = _explain(e)
        if told is None: raise
        _stop(prog, told, 1)
    sys.exit(status or 0)

def script(main):
    "Decorate an experiment's `main`: a command when its file is run, a plain function when it is imported."
    if main.__module__ == '__main__': _run(main, os.path.basename(sys.argv[0]), sys.argv[1:], 'nothing was recorded')
    return main

def run_command(prog:str, # name of the program
                functions:list, # its commands: functions whose parameters have docments
                interrupted:str, # what to tell after Ctrl-C
               ):
    "Run the one of `functions` that the command line's first word names."
    commands = {f.__name__: f for f in functions}
    name, *given = sys.argv[1:] or ['--help']
    if name in ('-h', '--help'):
        width = max(map(len, commands))
        say(f'usage: {prog} COMMAND [options]', '', *(f'  {c:<{width}}  {f.__doc__.strip().splitlines()[0]}' for c, f in commands.items()),
            '', f'{prog} COMMAND --help lists a command\'s options')
        sys.exit(0)
    if name not in commands: _stop(prog, f"no command {name}{near_names(name, commands, 1)} (there are {', '.join(commands)})", 2)
    _run(commands[name], f'{prog} {name}', given, interrupted)
