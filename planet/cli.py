"What every command of the project shares: options from docments, errors in one line, plain output in a pipe."
import difflib, errno, os, sys, warnings
from fastcore.script import anno_parser

__all__ = ['UserError', 'script', 'run_command', 'say', 'is_terminal', 'progress', 'near_names', 'check_options']

# fastai calls a function that the newest torch deprecates: nothing that a user of ours can act on
warnings.filterwarnings('ignore', message='.*torch.jit.script.*')

class UserError(Exception):
    "A mistake that its user can mend: the message is one line that says what is wrong, where, and what to do next."

def say(*lines):
    "Print `lines` now, also into a pipe."
    print(*lines, sep='\n', flush=True)

def is_terminal() -> bool:
    "Whether a person watches stdout (progress bars), or a file or another program reads it (plain lines)."
    return sys.stdout.isatty()

def progress(items, # an iterable
             total:int, # how many there are
            ):
    "`items` under a progress bar on a terminal, and as they are elsewhere."
    if not is_terminal(): return items
    from fastprogress.fastprogress import progress_bar
    return progress_bar(items, total=total, leave=False)

def near_names(name:str, # what was asked for
               names, # what there is
               n:int=3, # how many at most
              ) -> str: # ", did you mean a, b?", or nothing where no name is near
    "The tail of an error message that helps with a misspelt name."
    near = difflib.get_close_matches(str(name), sorted(set(names)), n=n, cutoff=0.6)
    return f", did you mean {' or '.join(near)}?" if near else ''

LIMITS = dict(thresh=(0, 1), valid_pct=(0, 1), size=(32, 4096), bs=(2, 65536), epochs=(1, 10_000), freeze_epochs=(0, 10_000),
              lr=(1e-12, 100), workers=(0, 1024), seed=(0, 2**32-1), folds=(0, 1000), fold=(0, 999))

def check_options(options:dict, # name -> value; those that have no limits are let through
                 ):
    "Raise a `UserError` for the first option that is outside its limits (NaN is outside)."
    for name, (low, high) in LIMITS.items():
        if name in options and not low <= options[name] <= high:
            raise UserError(f"--{name} {options[name]} is outside {low:g} to {high:g}")
    folds, fold = options.get('folds', 0), options.get('fold', 0)
    if folds == 1: raise UserError("--folds 1 leaves no chip to train on: 2 or more, or 0 for a random split")
    if fold and not folds: raise UserError(f"--fold {fold} needs --folds, the number of folds to cut the chips into")
    if folds and fold >= folds: raise UserError(f"--fold {fold} is none of the {folds} folds: they go from 0 to {folds-1}")

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

def _one_line(e): return ' '.join(str(e).split())

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
