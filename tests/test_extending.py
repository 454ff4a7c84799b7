"The recipes of docs/extending.md, run exactly as the page gives them."
import json
import re
from pathlib import Path
import numpy as np
import pytest
import tifffile
from experiments import planet_resnet50
from planet import backbones, learner, public_sets, results, sources, trackers
from planet.cli import UserError
from planet.inference import Tagger

page = (Path(__file__).resolve().parent.parent/'docs'/'extending.md').read_text(encoding='utf-8')
recipes = {name: code for name, code in re.findall(r'```python\n# ([^\n]+)\n(.*?)```', page, re.DOTALL)}
quick = dict(arch='resnet18', weights='none', size=32, epochs=1, freeze_epochs=0, bs=16, tta=False)

@pytest.fixture(autouse=True)
def registries_as_before():
    "What a recipe registers is gone after its test."
    kept = []
    for owner, name in ((backbones, 'BACKBONES'), (learner, 'LOSSES'), (sources, 'SOURCES'),
                        (public_sets, 'PUBLIC'), (trackers, 'TRACKERS')):
        before = dict(registry := getattr(owner, name))
        kept.append((registry, before))
    yield
    for registry, before in kept:
        registry.clear()
        registry.update(before)

def run(recipe): exec(compile(recipes[recipe], f'docs/extending.md, {recipe}', 'exec'), {'__name__': 'recipe'})

def train(tmp_path, drawn, **options):
    planet_resnet50.main(**quick | dict(data=str(drawn), out=str(tmp_path/'out')) | options)
    folder, = (tmp_path/'out').glob('planet_resnet50/*')
    return json.loads((folder/'record.json').read_text())

def test_all_recipes_are_tried_here():
    assert set(recipes) - {'my_run.py'} == {'backbone', 'loss', 'data set', 'public data set', 'metric', 'tracker'}

def test_a_backbone(tmp_path, drawn):
    run('backbone')
    record = train(tmp_path, drawn, arch='three_layers')
    assert record['options']['arch'] == 'three_layers' and record['scores']['f2'] > 0
    found = backbones.find_backbone('three_layers')
    assert found.stats[0] == (.31, .34, .30)
    model, = (tmp_path/'out').glob('planet_resnet50/2*/model')
    assert Tagger.load(model).vocab == record['data']['vocab']
    del backbones.BACKBONES['three_layers'] # as in a program that has not added it
    with pytest.raises(UserError, match='weights.* three_layers is unknown.* or add its backbone to BACKBONES'):
        Tagger.load(model)

def test_a_loss(tmp_path, drawn):
    run('loss')
    record = train(tmp_path, drawn, loss='poly', loss_args='epsilon=2')
    assert record['options']['loss_args'] == 'epsilon=2' and record['scores']['valid_loss'] > 0
    with pytest.raises(UserError, match='epsilom is unknown.*did you mean epsilon'):
        train(tmp_path, drawn, loss='poly', loss_args='epsilom=2')

def test_a_data_set_of_geotiffs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng, folder = np.random.default_rng(0), tmp_path/'data'/'reflectance'
    (folder/'train').mkdir(parents=True)
    rows = ['image_name,tags']
    for i in range(43):
        tifffile.imwrite(folder/'train'/f'chip_{i}.tif', rng.integers(0, 6000, (40, 40, 4), dtype=np.uint16),
                         photometric='minisblack', planarconfig='contig')
        rows.append(f'chip_{i},tag_{i:02} tag_{(i+1) % 43:02}')
    (folder/'labels.csv').write_text('\n'.join(rows))
    run('data set')
    record = train(tmp_path, 'reflectance')
    assert len(record['data']['vocab']) == 43 and record['data']['source'] == 'chips of surface reflectance'
    assert sources.find_chips('reflectance').bands == ['red', 'green', 'blue', 'nir']

def test_a_public_data_set(tmp_path, monkeypatch):
    from PIL import Image
    from planet.tools.get import get
    monkeypatch.chdir(tmp_path)
    run('public data set')
    for i, name in enumerate(('maize', 'wheat')):
        (folder := tmp_path/'data'/'fields'/name).mkdir(parents=True)
        Image.new('RGB', (8, 8), (i, 90, 0)).save(folder/'1.png')
    get('fields')
    assert sources.find_chips('fields').vocab == ['maize', 'wheat']

def test_a_metric(tmp_path, drawn, monkeypatch):
    monkeypatch.setattr(results.TagsResult, 'SCORES', dict(results.TagsResult.SCORES))
    run('metric')
    record = train(tmp_path, drawn)
    low, high = record['scores']['exact_match_interval']
    assert 0 <= low <= record['scores']['exact_match'] <= high <= 1

def test_a_tracker(tmp_path, drawn):
    run('tracker')
    record = train(tmp_path, drawn, track='jsonlines', epochs=2, freeze_epochs=1)
    lines = [json.loads(o) for o in Path(record['tracking']['jsonlines']).read_text().splitlines()]
    assert [o.get('epoch') for o in lines] == [1, 2, 3, None] and lines[0]['train_loss'] > 0
    assert lines[-1]['status'] == 'done' and lines[-1]['f2'] == record['scores']['f2']
    with pytest.raises(UserError, match='jsonline is unknown.*did you mean jsonlines'):
        train(tmp_path, drawn, track='jsonline')
