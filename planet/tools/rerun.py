"""`planet-runs rerun`: run a recorded command again. Commit and versions are compared before it starts, data and
weights as soon as the new run has recorded theirs, which is before it trains, and scores at the end.
"""
import importlib.util
import inspect
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from planet.cli import UserError, say
from planet.provenance import git_facts, versions
from planet.records import find_run, read_record
from planet.tools.compare import circumstances
from planet.tools.text_table import command_line, paragraph, print_json

__all__ = ['command_of', 'changed', 'rerun_run']

EXPERIMENTS = Path(__file__).resolve().parent.parent.parent/'experiments'

def _script(record, typed):
    "The experiment's file: as it was typed, else that of this working copy."
    for path in filter(None, (typed and Path(typed), EXPERIMENTS/f'{record.experiment}.py')):
        if path.suffix == '.py' and path.is_file(): return path
    raise UserError(f"{record.path}: its program {typed or record.experiment+'.py'} is not here: "
                    'run this from the folder that the run was started from')

def _options(record, script):
    "The command line of a run that was started from Python: what differs from the script's defaults."
    spec = importlib.util.spec_from_file_location('experiment', script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    words = []
    for name, p in inspect.signature(module.main).parameters.items():
        value = record.options.get(name, p.default)
        if name == 'resume' or value == p.default or p.kind is p.VAR_KEYWORD: continue
        if isinstance(p.default, bool): words.append(f'--{name}' if value else f'--no-{name}')
        else: words.append(f'--{name}={value}')
    return words

def _without_resume(words):
    skip = False
    for word in words:
        if not skip and word.split('=')[0] != '--resume': yield word
        skip = word == '--resume'

def command_of(record, # a `Record`
              ) -> list: # words, the program first
    "The command that runs a record's experiment again with the same options, from the start."
    command = record.facts.get('command')
    if command and not (isinstance(command, list) and all(isinstance(w, str) for w in command)):
        raise UserError(f"{record.path/'record.json'} is damaged: its command is no list of words")
    script = _script(record, command[1] if command and len(command) > 1 else None)
    words = list(_without_resume(command[2:])) if command else _options(record, script)
    return [sys.executable, str(script), *words]

def changed(before:dict, # name -> value, from `circumstances`
            now:dict, # the same of now
           ) -> list: # of text, one for each that differs
    "What differs between two sets of circumstances; what one of them does not know is left out."
    return [f'{k}: {before[k]} then, {now[k]} now' for k in before
            if None not in (before[k], now.get(k)) and before[k] != now[k]]

def _here():
    "Circumstances that are known before anything runs."
    git = git_facts() or {}
    return {'commit': git.get('commit'), 'uncommitted changes': git.get('dirty'),
            **{f'version of {k}': v for k, v in versions().items()}}

def _tell(label, before, now, what):
    "Say what changed, or that nothing did."
    known = [k for k in now if None not in (now[k], before.get(k))]
    found = changed(before, now)
    if found: say(*(line for text in found for line in paragraph(label, f'CHANGED {text}')))
    elif known: say(*paragraph(label, f'the same {what}'))
    else: say(*paragraph(label, f'the record does not tell {what}'))
    if now.get('uncommitted changes') and before.get('uncommitted changes'):
        say(*paragraph('', 'WARNING both with changes that are not committed: the code may differ all the same'))
    return found

class _Watch:
    "Compares the run that a command makes with the one that is repeated: data and weights first, then scores."
    def __init__(self, record, home):
        self.record, self.home, self.told, self.new, self.known = record, home, False, None, set()
        self.known = {p.name for p in self.folders()}
    def folders(self):
        return [p for p in self.home.glob('[!.]*') if p.name not in self.known] if self.home.is_dir() else []
    def look(self):
        "Once the new run has recorded its data: say what changed."
        for path in self.folders():
            with suppress(UserError): self.new = read_record(path)
        if self.told or not self.new or not self.new.data: return
        self.told = True
        before, now = circumstances(self.record), circumstances(self.new)
        _tell('data', before, {k: v for k, v in now.items() if 'chips' in k or k.startswith('fingerprint')
                               and 'weights' not in k}, 'data: chips, labels and split have the same fingerprints')
        _tell('weights', before, {k: v for k, v in now.items() if 'weights' in k}, 'initial weights')
        _tell('device', before, {k: v for k, v in now.items() if k.startswith('device')}, 'device')
    def end(self):
        "The scores of both."
        if not self.new or not self.new.scores: return
        before, now = self.record.scores, self.new.scores
        if before == now: say(*paragraph('scores', 'the same, to the last digit'))
        else: say(*(line for text in changed(before, now) for line in paragraph('scores', f'CHANGED {text}')))
        say(*paragraph('', f'planet-runs compare {self.record.path} {self.new.path}'))

def _start(command, look):
    "Run a command, calling `look()` while it runs; its exit status. Ctrl-C reaches it as well as us: it is waited for."
    with subprocess.Popen(command) as child:
        while True:
            try:
                look()
                return child.wait(timeout=.3)
            except subprocess.TimeoutExpired: continue
            except KeyboardInterrupt as e: # a signal to us alone is handed on
                if getattr(e, 'status', 130) != 130: child.terminate()

def rerun_run(run, out='runs', # as in `find_run`
              dry_run:bool=False, # only say what changed, and the command
              as_json:bool=False, # print the command and what changed as JSON, and run nothing
             ) -> int: # exit status of the command
    "Run a recorded experiment again with the same command, and say what changed since."
    record = find_run(run, out)
    command, before = command_of(record), circumstances(record, options=False)
    if as_json: return print_json(dict(run=str(record.path), command=command, changed=changed(before, _here())))
    say(*paragraph('run', record.path), *command_line('command', command))
    if '--resume' in ' '.join(record.facts.get('command') or []): say(*paragraph('', 'from the start: no `resume`'))
    _tell('code', before, _here(), 'commit and versions')
    if dry_run: return 0
    home = Path(record.options.get('out') or out).expanduser()/record.experiment
    watch = _Watch(record, home)
    status = _start(command, watch.look)
    watch.look()
    watch.end()
    return status if status >= 0 else 128 - status
