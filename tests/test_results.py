"The figures in README and docstrings are those of results.json, which `experiments/bench/results.py` writes."
import importlib.util
import json
import re
from pathlib import Path
import pytest
from planet.cli import UserError

ROOT = Path(__file__).resolve().parent.parent
RESULTS = json.loads((ROOT/'results.json').read_text(encoding='utf-8'))

# where a figure is quoted, and how: a text that is found in the file, whatever its line breaks
QUOTED = [
    ('README.md', 'synthetic', '{score:.4f} [{low:.3f}, {high:.3f}]'), ('README.md', 'synthetic', '{baseline:.4f}'),
    ('README.md', 'planet', '{score:.4f}** [{low:.3f}, {high:.3f}]'), ('README.md', 'planet', '{baseline:.4f}'),
    ('README.md', 'planet', 'F2 {score:.3f}'), ('experiments/planet_resnet50.py', 'planet', 'F2 {score:.3f}'),
    ('experiments/planet_resnet50.py', 'planet', 'best constant answer {baseline:.3f}'),
    ('experiments/planet_resnet50.py', 'frozen', 'F2 {score:.4f}'),
    ('experiments/planet_kfold.py', 'kfold', '{score:.4f} [{low:.3f}, {high:.3f}]'),
    ('nbs/12_planet.ipynb', 'planet', 'F2 {score:.3f}'), ('nbs/12_planet.ipynb', 'planet', 'has {baseline:.3f}'),
    ('nbs/13d_regression.ipynb', 'points', '{score:.1f} pixels off, where the mean point is {baseline:.1f} off'),
    ('README.md', 'recipe', '{stock:.4f}'), ('README.md', 'recipe', '{score:.4f}'),
    ('README.md', 'recipe', '{one_view:.4f}'),
    ('README.md', 'recipe', '1/{faster:.2f}'), ('README.md', 'recipe', '{stock_tuned:.4f} and ours {tuned:.4f}'),
    ('README.md', 'frozen', '{score:.4f} [{low:.3f}, {high:.3f}]'),
    ('README.md', 'frozen_256', '{score:.4f} [{low:.3f}, {high:.3f}]'),
    ('README.md', 'kfold', '{score:.4f} [{low:.3f}, {high:.3f}]'), ('README.md', 'kfold', '{baseline:.4f}'),
    ('README.md', 'kfold_256', '{score:.4f} [{low:.3f}, {high:.3f}]'),
    ('README.md', 'weather', 'accuracy {score:.3f}'), ('README.md', 'weather', '{baseline:.3f}, always clear'),
    ('experiments/weather_resnet18.py', 'weather', 'accuracy {score:.3f} [{low:.3f}, {high:.3f}]'),
    ('README.md', 'two_targets', 'F2 {score:.3f}'),
    ('README.md', 'two_targets', '{difference:+.3f} [{difference_low:+.3f}, {difference_high:+.3f}]'),
    ('experiments/tags_and_weather_resnet50.py', 'two_targets', '{score:.3f} [{low:.3f}, {high:.3f}]'),
    ('experiments/tags_and_weather_resnet50.py', 'two_targets',
     '{difference:+.3f} [{difference_low:+.3f}, {difference_high:+.3f}]'),
    ('README.md', 'digits', 'accuracy {score:.3f}'), ('README.md', 'digits', '{baseline:.3f}, the commonest digit'),
    ('experiments/mnist_mlp.py', 'digits', '{score:.3f} on 359 validation digits'),
    ('experiments/mnist_mlp.py', 'digits', 'interval {low:.3f} to {high:.3f}), {sgd:.3f} with SGD, {baseline:.3f}'),
    ('README.md', 'points', '{score:.1f} of 256 pixels'), ('README.md', 'points', '{baseline:.1f}'),
    ('experiments/points_resnet18.py', 'points', '{score:.1f} pixels off'),
    ('experiments/points_resnet18.py', 'points', '{low:.1f} to {high:.1f}'),
    ('experiments/points_resnet18.py', 'points', '({baseline:.1f})')]

def missing(quoted):
    "Quotations that are not in their file."
    for file, name, form in quoted:
        text = ' '.join((ROOT/file).read_text(encoding='utf-8').split())
        values = RESULTS[name]['values']
        said = form.format(**{k: v + (1e-9 if v > 0 else -1e-9) for k, v in values.items()}) # 0.8865 is 0.887
        if said not in text:
            yield f'{file} does not say "{said}", which is what {RESULTS[name]["command"]} gave'

@pytest.mark.parametrize('quoted', QUOTED, ids=lambda q: f'{Path(q[0]).stem}-{q[1]}')
def test_pages_quote_the_measured_figures(quoted):
    assert not [*missing([quoted])]

def test_a_figure_that_is_out_of_date_is_found(monkeypatch):
    monkeypatch.setitem(RESULTS['digits']['values'], 'score', .123)
    assert [*missing([q for q in QUOTED if q[1] == 'digits'])][0].startswith('README.md does not say "accuracy 0.123"')

@pytest.fixture(scope='module')
def bench():
    spec = importlib.util.spec_from_file_location('results', ROOT/'experiments'/'bench'/'results.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def test_every_figure_has_its_command(bench):
    assert {n: f'python {command}' for n, (command, _) in bench.COMMANDS.items()} == {
        n: r['command'] for n, r in RESULTS.items()}
    for name, r in RESULTS.items():
        keys = set(re.findall(r'\?P<(\w+)>', ' '.join(bench.COMMANDS[name][1])))
        assert set(r['values']) == keys and re.fullmatch(r'\d{4}-\d\d-\d\d', r['measured'])

def test_what_commands_print_is_read(bench):
    assert bench.read('planet', 'x\nF2 at 0.2      0.8865         0.6684    0.867 to 0.904\n') == dict(
        score=.8865, baseline=.6684, low=.867, high=.904)
    assert bench.read('points', 'pixels off, mean   5.5    68.9   95 % interval 4.0 to 7.9')['high'] == 7.9
    with pytest.raises(UserError, match='mend COMMANDS'): bench.read('planet', 'nothing of the kind')

def test_the_digits_are_measured_and_kept_beside_the_others(bench, tmp_path):
    (tmp_path/'r.json').write_text('{"other": {}}')
    bench.main(only='digits', out=str(tmp_path/'r.json'))
    found = json.loads((tmp_path/'r.json').read_text())
    assert set(found) == {'other', 'digits'} and found['digits']['values']['score'] > .95
    with pytest.raises(UserError, match='none of digits'): bench.main(only='digit')
