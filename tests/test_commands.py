"Every command that a page, a docstring or a notebook gives is one that its program takes."
import ast
import importlib
import json
import re
import shlex
from pathlib import Path
import pytest
from planet import cli
from planet.tools import planet_data, planet_runs, planet_tag

ROOT = Path(__file__).resolve().parent.parent
TOOLS = {'planet-data': planet_data, 'planet-runs': planet_runs, 'planet-tag': planet_tag}
START = r'(?:(?:\.venv/bin/)?python )?(?:experiments/)?(?:bench/)?\w+\.py|planet-(?:data|runs|tag)'

def texts():
    "Pages, docstrings and the markdown of notebooks, each with its file."
    for path in [*ROOT.glob('*.md'), *(ROOT/'docs').glob('*.md')]: yield path, path.read_text(encoding='utf-8')
    for path in [*(ROOT/'experiments').rglob('*.py'), *(ROOT/'planet').rglob('*.py')]:
        yield path, ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')), clean=False) or ''
    for path in (ROOT/'nbs').glob('*.ipynb'):
        for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
            if cell['cell_type'] == 'markdown': yield path, ''.join(cell['source'])

def commands(text):
    "Commands of a text with their arguments: lines of their own, and those in backticks that have an option."
    text = re.sub(r'\\\n\s*', ' ', text)
    for line in re.findall(rf'^ {{4,}}((?:{START})\b.*)$', text, re.M): yield from line.partition(' #')[0].split(';')
    for line in re.findall(rf'`((?:{START})\s[^`]*--[^`]*)`', text): yield re.sub(r'\s+', ' ', line)

FOUND = sorted({(path.relative_to(ROOT).as_posix(), command.strip()) for path, text in texts()
                for command in commands(text)})

def program(words):
    "The function that a command calls, its name and its arguments; None where it is no experiment of ours."
    if words[0] in TOOLS:
        functions = {f.__name__: f for f in vars(TOOLS[words[0]]).values() if callable(f)}
        return (functions['tag'], words[1:]) if words[0] == 'planet-tag' else (functions[words[1]], words[2:])
    name, *given = words[1:] if words[0].endswith('python') else words
    for folder in ('experiments', 'experiments/bench'):
        path = ROOT/folder/Path(name).name
        if path.is_file(): return importlib.import_module(f"{folder.replace('/', '.')}.{path.stem}").main, given

def test_commands_are_found():
    assert len(FOUND) > 60 and {'README.md', 'docs/scenes.md', 'nbs/12_planet.ipynb'} <= {path for path, _ in FOUND}

@pytest.mark.parametrize('path,command', FOUND)
def test_a_command_is_one_that_its_program_takes(path, command):
    words = [re.sub('^N$', '2', word) for word in shlex.split(command)] # N stands for a number
    if not words or (found := program(words)) is None: return
    main, given = found
    parser = cli._parser(main, words[0], given)
    if '--help' not in given: parser.parse_args(given) # which exits with 2 for an unknown option
