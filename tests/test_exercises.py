"""The exercises of the course: each answer in a notebook passes its check, each known mistake fails with its own hint,
and a hole is no answer. The cells are taken out of the notebooks, which are not run as a whole."""
import ast
import json
import re
from pathlib import Path
import pytest
import torch
from planet.course.exercises import Exercise, check, difference, exercise, find_exercise

NBS = Path(__file__).resolve().parent.parent/'nbs'

def source(cell): return ''.join(cell['source'])
def notebook(path): return json.loads(path.read_text(encoding='utf-8'))['cells']

def exercises_of(path):
    "For each exercise in a notebook its name, the code of its cell, and the answer that is folded below."
    cells = notebook(path)
    for at, cell in enumerate(cells):
        if cell['cell_type'] == 'code' and (found := re.search(r"^@exercise\('([\w.]+)'\)", source(cell), re.M)):
            folded = source(cells[at + 1])
            assert folded.startswith('<details>') and folded.endswith('</details>'), (path.name, found[1])
            yield found[1], source(cell), re.search(r'```python\n(.*?)\n```', folded, re.S)[1]

def wanted_names(code):
    return {n.id for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Name)}

def imports(path, names):
    "What the notebook imports, of these names, and what the module of this notebook defines of them."
    said = {}
    for cell in notebook(path):
        if cell['cell_type'] != 'code' or source(cell).startswith('%%'): continue
        code = re.sub(r'^(\s*)[%!].*$', r'\1pass', source(cell), flags=re.M)
        for node in ast.parse(code).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for a in node.names:
                    alone = ast.unparse(ast.Import([a]) if isinstance(node, ast.Import) else
                                        ast.ImportFrom(node.module, [a], node.level))
                    said[a.asname or a.name] = alone
    module = re.search(r'default_exp (\S+)', path.read_text(encoding='utf-8'))
    return [said.get(n) or f'from planet.{re.sub(r"[^a-z_.]", "", module[1])} import {n}' for n in sorted(names)]

def run(code, path):
    "Run a cell, with what it needs of the notebook imported first."
    space, defined = {}, {n.name for n in ast.parse(code).body if isinstance(n, ast.FunctionDef)}
    known = {*dir(__builtins__ if not isinstance(__builtins__, dict) else object), *__import__('builtins').__dict__}
    for line in imports(path, wanted_names(code) - defined - known):
        try: exec(line, space)
        except ImportError: pass # an argument or a variable of the code itself
    exec(code, space)
    return space

ALL = [pytest.param(path, *found, id=found[0]) for path in sorted(NBS.glob('*.ipynb')) for found in exercises_of(path)]

@pytest.mark.parametrize('path, name, cell, answer', ALL)
def test_the_folded_answer_is_right(path, name, cell, answer, capsys):
    holes = cell.index('@exercise(')
    run(f'{cell[:holes]}\n@exercise({name!r})\n{answer}', path)
    assert capsys.readouterr().out.startswith(f'{name}: right')

@pytest.mark.parametrize('path, name, cell, answer', ALL)
def test_the_hole_is_no_answer_and_nothing_fails(path, name, cell, answer, capsys):
    run(cell, path)
    said = capsys.readouterr().out
    assert said.startswith(f'{name}: not filled in yet')
    saved = next(c['outputs'] for c in notebook(path) if source(c) == cell)
    assert ''.join(saved[0]['text']) == said # the notebook shows what the cell prints

MISTAKES = [pytest.param(p.values[1], hint, mistake, id=f'{p.values[1]}-{i}') for p in ALL
            for i, (hint, mistake) in enumerate(find_exercise(p.values[1]).mistakes.items())]

@pytest.mark.parametrize('name, hint, mistake', MISTAKES)
def test_a_known_mistake_fails_with_its_hint(name, hint, mistake):
    found = check(name, mistake)
    assert not found.ok and f'Hint: {hint}' in found.text

@pytest.mark.parametrize('name', [p.values[1] for p in ALL])
def test_a_wrong_solution_fails(name):
    for wrong in (lambda *args: torch.full((3, 5), 7.), lambda *args: 'water', lambda *args: args[99]):
        found = check(name, wrong)
        assert not found.ok and 'Hint: ' in found.text

def test_every_exercise_is_in_a_notebook():
    import importlib
    import pkgutil
    from planet.course import answers
    there = {f'{m.name}.{name}' for m in pkgutil.iter_modules(answers.__path__)
             for name in importlib.import_module(f'planet.course.answers.{m.name}').EXERCISES}
    assert there == {p.values[1] for p in ALL}

@pytest.mark.parametrize('path', sorted(NBS.glob('*.ipynb')), ids=lambda p: p.stem)
def test_each_notebook_ends_with_exercises_and_a_questionnaire(path):
    assert len(list(exercises_of(path))) >= 2
    asked, answered = next(source(c) for c in notebook(path) if c['id'] == 'questionnaire').split('<details>')
    asked, answered = (re.findall(r'^(\d+)\. \S', part, re.M) for part in (asked, answered))
    assert asked == answered == [str(i + 1) for i in range(len(asked))] and 10 <= len(asked) <= 17

# ---- the helper itself

@pytest.fixture
def squares(monkeypatch):
    "An exercise with a gradient, by the name `some.square`."
    from planet.course import exercises
    ex = Exercise(lambda x: x**2, lambda: [(torch.tensor([1., -3]),), (torch.tensor(2.),)], 'Multiply x by itself.',
                  {'That is twice x.': lambda x: 2*x}, gradient=True, remark='Good.')
    monkeypatch.setattr(exercises, 'find_exercise', lambda name: ex)

@pytest.mark.parametrize('func, said', [
    (lambda x: x*x, 'right (value and gradient on 2 inputs). Good.'),
    (lambda x: None, 'not filled in yet'), (lambda x: print(x*x), 'returns None: is there a `return`?'),
    (lambda x: 2*x, 'x = [1.0, -3.0] it gives a value that is 2 at [0], and should be 1.\nHint: That is twice x.'),
    (lambda x: (x*x).detach(), 'right value, but no gradient'),
    (lambda x: x.detach()*x, 'right value, but its gradient is 1 at [0], and should be 2'),
    (lambda x: x*x if x.ndim else None, 'x = 2.0 it returns None'),
    (lambda x: (x*x)[None], 'is of shape (1, 2), and should be of shape (2,)'),
    (lambda x: x.mean()*x[:1] if x.ndim else x, 'is [-1.0], and should be [1.0, 9.0]'),
    (lambda x: x/0, 'is inf at [0]'),
    (lambda x: [str(v) for v in x], 'a list, and should be'),
    (lambda x, y: x, 'raises TypeError'),
    (lambda x: 'nine', "is 'nine', a str, and should be")])
def test_what_is_wrong_is_said(squares, func, said):
    found = check('some.square', func)
    assert said in found.text and found.ok == said.startswith('right (')

def test_a_solution_that_changes_its_input_spoils_no_other_call(squares):
    def in_place(x):
        with torch.no_grad(): x.data.mul_(x.data)
        return x
    assert not check('some.square', in_place).ok
    assert check('some.square', lambda x: x*x).ok

def test_the_function_is_given_back(squares, capsys):
    @exercise('some.square')
    def mine(x): return x*x
    assert mine(3) == 9 and 'some.square: right' in capsys.readouterr().out

@pytest.mark.parametrize('name, said', [('losses.bcee', 'did you mean bce'), ('nowhere.bce', 'no exercises'),
                                        ('losses', 'no exercise')])
def test_a_misspelt_name(name, said):
    with pytest.raises(ValueError, match=said): exercise(name)

@pytest.mark.parametrize('got, wanted, said', [
    (1, True, ''), ([1, 2], torch.tensor([1., 2]), ''), ('a', 'a', ''), (['a'], ['a'], ''), ([], [], ''),
    (float('nan'), float('nan'), ''), (float('inf'), float('inf'), ''), (float('nan'), 1., 'is nan'),
    (.5, .5 + 1e-6, ''), (['a'], ['a', 'b'], 'has 1 entries'), (('a', 'b'), ['a', 'c'], "at [1] is 'b'"),
    ('a', ['a'], 'is a str'), (dict(a=1), dict(a=1, b=2), 'has or lacks b'), (dict(a=1), dict(a=2), "at 'a' is 1"),
    ([1], dict(a=1), 'dictionary'), (None, 3., 'is None'), ([[1], [2, 3]], [[1], [2, 4]], 'at [1]')])
def test_difference(got, wanted, said):
    assert difference(got, wanted).find(said) >= 0 and bool(difference(got, wanted)) == bool(said)
