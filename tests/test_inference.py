"The model folder and the tagger: what was scored is what tags, bit for bit; anything else is refused in a line."
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace
import numpy as np
import pytest
import torch
from fastai.torch_core import set_seed
from planet import model_files
from planet.amazon import WEATHER
from planet.calibration import fit_platt
from planet.chips import from_folder
from planet.cli import UserError
from planet.data import tags_dls, weather_chips, weather_dls
from planet.export import export_model
from planet.inference import Tagger, tag_stream
from planet.learner import chip_learner, find_loss
from planet.model_files import find_model, join_models, read_model, read_validation, save_model
from planet.results import evaluate
from planet.rules import BestExpected, TunedThresholds, decided
from planet.splits import random_split
from planet.stacking import fit_stacker
from planet.store import ChipStore

SIZE = 32

@pytest.fixture(scope='module')
def trained(drawn):
    "A tiny tagger, its chips, and its validation set in order."
    chips = from_folder(drawn)
    set_seed(0, reproducible=True)
    split = random_split(chips)
    dls = tags_dls(chips, ChipStore(chips.paths, SIZE), split, 16)
    learn = chip_learner(dls, 'resnet18', 'none', find_loss('grouped', chips.vocab, .2))
    with learn.no_bar(): learn.fit(1, 1e-3)
    return SimpleNamespace(learn=learn, chips=chips, split=split, result=evaluate(learn, chips, split),
                           valid=[chips.paths[i] for i in split.valid])

@pytest.fixture(scope='module')
def saved(trained, tmp_path_factory):
    "Its model folder; not to be changed."
    t = trained
    return save_model(tmp_path_factory.mktemp('saved')/'model', t.learn, t.result, t.chips, warnings=['drawn'], run='r')

@pytest.fixture
def model(saved, tmp_path): return shutil.copytree(saved, tmp_path/'model')

def probabilities(tagger, paths, **kwargs): return torch.cat([p for _, p, _ in tag_stream(tagger, paths, **kwargs)])

def refused(path, *words):
    with pytest.raises(UserError) as e: Tagger.load(path)
    assert '\n' not in str(e.value) and all(w in str(e.value) for w in words), str(e.value)

# ---- what was scored is what tags

@pytest.mark.parametrize('by', ['thresh', 'tuned', 'expected'])
def test_a_tagger_gives_the_tags_that_were_scored(trained, tmp_path, by):
    t = trained
    result = decided(t.result, by)
    tagger = Tagger.load(save_model(tmp_path/'model', t.learn, result, t.chips))
    probs = probabilities(tagger, t.valid)
    assert torch.equal(probs, result.probs) and torch.equal(tagger.decide(probs), result.pred)
    assert tagger.tags(probs) == result.tags_of(result.pred) and tagger.vocab == t.chips.vocab
    assert tagger.facts['headline']['value'] == result.scores['f2']
    assert tagger.facts['headline']['interval'] == result.scores['f2_interval']

def test_it_says_what_the_training_chips_measure_and_which_values_they_have(saved, trained):
    said = Tagger.load(saved).facts['input']
    assert said['metres'] == pytest.approx(256*3.7) # the competition's
    pixels = ChipStore(trained.chips.paths, SIZE).pixels.float()
    assert said['values']['chips'] == len(pixels) == 60
    assert said['values']['mean'] == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1.5)
    for name, share in (('p1', .01), ('p99', .99)): # measured on every third row and column
        edges = [band.flatten().quantile(share).item() for band in pixels.unbind(1)]
        assert said['values'][name] == pytest.approx(edges, abs=6)

def test_it_is_loaded_in_another_process_by_path_alone(saved, trained, tmp_path):
    code = ('import sys, torch; from planet.inference import Tagger, tag_stream\n'
            't = Tagger.load(sys.argv[1]); print(torch.cat([p for _, p, _ in tag_stream(t, sys.argv[2:])]).tolist())')
    moved = shutil.copytree(saved, tmp_path/'elsewhere')
    done = subprocess.run([sys.executable, '-c', code, moved, *trained.valid], capture_output=True, text=True,
                          check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == trained.result.probs.tolist()

def test_a_single_label(drawn, tmp_path):
    weather = weather_chips(from_folder(drawn))
    split = random_split(weather)
    dls = weather_dls(weather, ChipStore(weather.paths, SIZE), split, 16)
    learn = chip_learner(dls, 'resnet18', 'none', single=True)
    result = evaluate(learn, weather, split)
    tagger = Tagger.load(save_model(tmp_path/'model', learn, result, weather))
    probs = probabilities(tagger, [weather.paths[i] for i in split.valid])
    assert torch.equal(probs, result.probs) and tagger.facts['kind'] == 'classes'
    assert torch.equal(tagger.decide(probs).float().argmax(1), result.pred) and set(map(len, tagger.tags(probs))) == {1}

def test_one_view_and_no_mixed_precision(trained, tmp_path):
    from planet.callbacks import DihedralViews, Precision
    t = trained
    with t.learn.removed_cbs([t.learn.dihedral_views, t.learn.precision]):
        result = evaluate(t.learn, t.chips, t.split)
        tagger = Tagger.load(save_model(tmp_path/'model', t.learn, result, t.chips))
    assert t.learn.cbs.filter(lambda o: isinstance(o, (DihedralViews, Precision)))
    assert tagger.facts['members'][0]['views'] == 1 and tagger.networks[0].dtype is None
    # without `Precision` the memory layout is whatever the batches had, and with it the last bit
    np.testing.assert_allclose(probabilities(tagger, t.valid), result.probs, atol=1e-6)

def test_calibration_is_part_of_it(trained, tmp_path):
    t = trained
    platt = fit_platt(t.result.probs, t.result.targs)
    tagger = Tagger.load(save_model(tmp_path/'model', t.learn, t.result, t.chips, calibration=platt))
    probs = probabilities(tagger, t.valid)
    assert torch.equal(probs, platt(t.result.probs)) and not torch.equal(probs, t.result.probs)
    assert min(tagger.facts['calibration']['slope']) >= 0
    np.testing.assert_array_equal(read_validation(tmp_path/'model')[1], probs)

def test_several_networks_are_averaged(trained, saved, tmp_path):
    t = trained
    other = chip_learner(t.learn.dls, 'resnet18', 'none', t.learn.loss_func)
    second = evaluate(other, t.chips, t.split)
    b = save_model(tmp_path/'b', other, second, t.chips)
    rule = TunedThresholds([.3]*len(t.chips.vocab))
    joined = join_models([saved, b], tmp_path/'joined', rule, dict(f2=.5), warnings=['two'])
    tagger = Tagger.load(joined)
    mean = torch.stack([t.result.probs, second.probs]).mean(0)
    assert torch.equal(probabilities(tagger, t.valid), mean) and tagger.rule == rule
    assert tagger.facts['scores'] == dict(f2=.5) and tagger.facts['warnings'] == ['drawn', 'two']
    assert torch.equal(Tagger.load(saved).networks[0](torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)),
                       tagger.networks[0](torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)))
    facts = json.loads((b/'model.json').read_text())
    facts['input']['size'] = 64
    model_files.write_facts(b, facts)
    with pytest.raises(UserError, match='has another input than'): join_models([saved, b], tmp_path/'no')
    assert not (tmp_path/'no').exists()

def test_a_stack_of_networks_at_two_sizes_gives_what_its_stacker_does(trained, saved, tmp_path):
    t, dls = trained, tags_dls(trained.chips, ChipStore(trained.chips.paths, 2*SIZE), trained.split, 16)
    large = evaluate(learn := chip_learner(dls, 'resnet18', 'none', t.learn.loss_func), t.chips, t.split)
    b = save_model(tmp_path/'b', learn, large, t.chips)
    x = torch.cat([t.result.probs, large.probs], 1).double().numpy()
    stacker = fit_stacker(x, t.result.targs.double().numpy(), folds=3)[0]
    joined = join_models([saved, b], tmp_path/'joined', stacker=stacker)
    tagger = Tagger.load(joined)
    assert tagger.size == 2*SIZE and tagger.factors == [2, 1] and 'stacked' in (joined/'README.md').read_text()
    np.testing.assert_allclose(probabilities(tagger, t.valid), stacker(x), atol=1e-5)
    assert abs(stacker(x) - x.reshape(len(x), 2, -1).mean(1)).max() > .01 # it is not their average
    with pytest.raises(UserError, match='is stacked: join models before'): join_models([joined, b], tmp_path/'no')
    with pytest.raises(UserError, match='has another input than'): join_models([saved, b], tmp_path/'no')
    with pytest.raises(UserError, match='networks of several sizes'): export_model(joined, ['onnx'])
    facts = json.loads((joined/'model.json').read_text())
    facts['stacker']['coef'].pop()
    with pytest.raises(ValueError, match='how it stacks its networks'): model_files.write_facts(joined, facts)

# ---- the folder

def test_what_a_model_folder_says(saved, trained):
    facts, t = read_model(saved), trained
    assert facts['vocab'] == t.chips.vocab and facts['exclusive'] == list(WEATHER) == facts['activation']['softmax']
    values, metres = facts['input'].pop('values'), facts['input'].pop('metres')
    assert facts['input'] == dict(size=SIZE, bands=['red', 'green', 'blue'], pixels=[64, 64], limits=None)
    assert values['chips'] == 60 and metres == pytest.approx(947.2) # a competition's chip
    assert all(0 <= low < mean < high <= 255 for low, mean, high in zip(values['p1'], values['mean'], values['p99']))
    assert facts['rule'] == dict(kind='thresh', thresh=.2) and facts['warnings'] == ['drawn']
    assert facts['trained_on']['run'] == 'r' and facts['trained_on']['valid'] == len(t.valid)
    assert str(t.chips.root) not in (saved/'model.json').read_text() + (saved/'README.md').read_text()
    assert {p.suffix for p in saved.iterdir()} == {'.json', '.md', '.safetensors'}
    card = (saved/'README.md').read_text()
    for words in ('every tag above 0.2', f"**{facts['headline']['value']:.4f}**", 'drawn', *t.chips.vocab):
        assert words in card
    names, probs, targs, groups = read_validation(saved)
    assert names == t.result.names and np.array_equal(probs, t.result.probs) and np.array_equal(targs, t.result.targs)

def test_a_damaged_folder_is_refused(model):
    weights = model/'weights.safetensors'
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1 # one bit
    weights.write_bytes(data)
    refused(model, 'weights.safetensors is damaged')
    weights.unlink()
    refused(model, 'weights.safetensors cannot be read')

@pytest.mark.parametrize('change,words', [
    (lambda f: f.update(version=2), 'install a newer planet'),
    (lambda f: f.update(format='x'), 'not written by planet'),
    (lambda f: f['rule'].update(thresh=.5), 'was changed after it was written'),
    (lambda f: f['rule'].update(thresh=1.5), 'its thresholds'), (lambda f: f['rule'].update(kind='eval'), 'eval'),
    (lambda f: f['members'][0].update(weights='../x'), 'the name of its weights'),
    (lambda f: f.pop('vocab'), 'vocab is missing'), (lambda f: f['exclusive'].append('x'), 'not in its vocab'),
    (lambda f: f.update(calibration=dict(slope=[-1]*14, bias=[0]*14)), 'its calibration')])
def test_a_newer_foreign_or_changed_one_is_refused(model, change, words):
    facts = json.loads((model/'model.json').read_text())
    change(facts)
    (model/'model.json').write_text(json.dumps(facts))
    refused(model, words)

@pytest.mark.parametrize('text,words', [('{"half', 'damaged'), ('[]', 'not written by planet'), ('', 'damaged')])
def test_no_json(model, text, words):
    (model/'model.json').write_text(text)
    refused(model, words)

def test_weights_of_another_network(model):
    facts = json.loads((model/'model.json').read_text())
    facts['members'][0]['settings']['arch'] = 'resnet34'
    model_files.write_facts(model, facts)
    refused(model, 'does not fit the network')

def test_a_folder_is_replaced_whole(trained, model, monkeypatch):
    before = (model/'model.json').read_bytes()
    def full(*args, **kwargs): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(model_files, 'write_facts', full)
    with pytest.raises(OSError): save_model(model, trained.learn, trained.result, trained.chips)
    assert (model/'model.json').read_bytes() == before and [p.name for p in model.parent.iterdir()] == ['model']
    Tagger.load(model)

def test_where_a_model_is_looked_for(model, tmp_path):
    run = tmp_path/'runs'/'x'/'2026-01-01T00-00-00Z-a'
    run.mkdir(parents=True)
    (run/'record.json').write_text(json.dumps(dict(experiment='x', status='done', scores=dict(f2=.5))))
    old = tmp_path/'runs'/'x'/'2026-01-02T00-00-00Z-b'
    shutil.copytree(run, old)
    model.rename(run/'model')
    for name in (run/'model', run, 'best'):
        if name == 'best': (old/'record.json').write_text(json.dumps(dict(experiment='x', status='failed')))
        assert find_model(name, tmp_path/'runs') == run/'model'
    for name, words in (('last', 'has no model folder: it is failed'), ('last', str(run)),
                        ('nope', 'no model is called'), (tmp_path, 'is no model folder and no run')):
        with pytest.raises(UserError, match=words.replace('\\', '.')): find_model(name, tmp_path/'runs')

def test_a_network_that_no_name_stands_for(trained):
    learn, chips = trained.learn, trained.chips
    assert model_files.cannot_be_saved(learn, chips) == ''
    kept = learn.settings
    try:
        learn.settings = kept | dict(arch='my_own_net')
        assert 'cannot be built by name' in model_files.cannot_be_saved(learn, chips)
        learn.settings = kept | dict(n_out=3)
        assert 'not the one' in model_files.cannot_be_saved(learn, chips)
    finally: learn.settings = kept

# ---- streams

def test_what_cannot_be_read_is_named_and_the_rest_goes_on(saved, trained, tmp_path):
    tagger, (a, b, *_) = Tagger.load(saved), trained.valid
    (tmp_path/'bad.jpg').write_bytes(b'no image')
    items = a, tmp_path/'bad.jpg', ('named', b.read_bytes()), tmp_path/'gone.jpg'
    found = list(tag_stream(tagger, iter(items), bs=3))
    assert [(n, len(p)) for n, p, _ in found] == [([str(a), 'named'], 2), ([], 0)]
    assert [[name for name, _ in bad] for _, _, bad in found] == [[str(tmp_path/'bad.jpg')], [str(tmp_path/'gone.jpg')]]
    assert all('cannot be read' in why for _, _, bad in found for _, why in bad)
    for i, path in enumerate((a, b)):
        np.testing.assert_allclose(found[0][1][i], tagger.probabilities(tagger.open(path)[None])[0], atol=2e-3)

def test_decoding_stays_a_few_batches_ahead(saved, trained):
    tagger, taken = Tagger.load(saved), []
    def endless():
        while True: taken.append(1); yield trained.valid[0]
    stream = tag_stream(tagger, endless(), bs=2)
    for _ in range(3): next(stream)
    stream.close()
    assert len(taken) <= 2*(3 + 3)

def test_pixels_of_another_kind(saved):
    tagger = Tagger.load(saved)
    for shape, dtype in (((1, 3, 16, 16), torch.uint8), ((1, 3, SIZE, SIZE), None), ((1, 4, SIZE, SIZE), torch.uint8)):
        wrong = torch.zeros(shape, dtype=dtype)
        with pytest.raises(ValueError, match='are wanted'): tagger.probabilities(wrong)
    assert tagger.probabilities(torch.zeros(0, 3, SIZE, SIZE, dtype=torch.uint8)).shape == (0, len(tagger.vocab))

# ---- decision rules

def test_tuned_thresholds_are_scored_cross_fitted(trained):
    tuned = decided(trained.result, 'tuned')
    assert tuned.scores['f2'] == pytest.approx(trained.result.scores['f2_tuned'])
    assert isinstance(tuned.rule, TunedThresholds)
    naive = trained.result.with_rule(decided(trained.result, 'tuned').rule)
    assert naive.scores['f2'] == tuned.scores['f2']

def test_the_expected_set_is_a_rule(trained):
    found = decided(trained.result, 'expected')
    assert found.scores['f2'] == trained.result.scores['f2_decided'] and isinstance(found.rule, BestExpected)
    assert decided(trained.result, 'thresh') is trained.result
    row = found.table.loc['primary']
    pred, true = found.pred[:, found.vocab.index('primary')], found.truth[:, found.vocab.index('primary')]
    assert row.recall == pytest.approx(float((pred & true).sum()/true.sum()))
