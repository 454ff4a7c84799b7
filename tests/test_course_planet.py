"Two targets at once: the weather and the other tags, from the loss to a learner that was exported and predicts."
import json
import os
import subprocess
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.learner import load_learner
from experiments import tags_and_weather_resnet50
from planet.amazon import WEATHER
from planet.cli import UserError
from planet.course.multitask import TwoTargetLoss
from planet.learner import base_logits, base_rates, softmax_group
from planet.losses import GroupedCrossEntropyLoss

root = Path(__file__).resolve().parent.parent
quick = dict(arch='resnet18', weights='none', size=32, epochs=1, freeze_epochs=0, bs=16, tta=False)

# ---- the loss

def questions(n=12, classes=4, tags=13, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (4*torch.randn(n, classes+tags, generator=g, dtype=torch.float64), torch.randint(classes, (n,), generator=g),
            (torch.rand(n, tags, generator=g) < .3).double())

@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
def test_two_targets_are_the_grouped_loss_of_one(reduction):
    "The same likelihood, whichever way the targets are written: values and gradients."
    logits, weather, tags = questions()
    two, grouped = TwoTargetLoss(4, reduction=reduction), GroupedCrossEntropyLoss(range(4), reduction=reduction)
    a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, same = two(a, weather, tags), grouped(b, two.hot(weather, tags).double())
    torch.testing.assert_close(loss, same)
    loss.sum().backward(); same.sum().backward()
    torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(two.activation(logits), grouped.activation(logits))

def test_two_targets_are_the_losses_of_torch():
    logits, weather, tags = questions()
    of = torch.nn.functional
    want = of.cross_entropy(logits[:, :4], weather)
    want = want + 13*of.binary_cross_entropy_with_logits(logits[:, 4:], tags)
    torch.testing.assert_close(TwoTargetLoss(4)(logits, weather, tags), want/14)

def test_an_answer_has_exactly_one_weather():
    loss, (logits, weather, tags) = TwoTargetLoss(4, thresh=.2), questions()
    probs = loss.activation(logits)
    torch.testing.assert_close(probs[:, :4].sum(1), torch.ones(12, dtype=torch.float64))
    sky, found = loss.decodes(probs)
    hot = loss.hot(sky, found)
    assert (hot[:, :4].sum(1) == 1).all() and torch.equal(hot[:, 4:], probs[:, 4:] > .2) and hot.dtype == torch.bool
    assert loss.accuracy(logits, sky, tags) == 1 and loss.f2(logits, sky, found) == 1
    assert loss.f2(logits, weather, tags) < 1

def test_a_head_at_the_base_rates_knows_both_targets():
    loss, (_, weather, tags) = TwoTargetLoss(4), questions(n=200)
    rates = base_rates(loss.hot(weather, tags).float())
    probs = loss.activation(base_logits(rates, softmax_group(loss))[None])[0]
    torch.testing.assert_close(probs, torch.cat([rates[:4]/rates[:4].sum(), rates[4:]]))

# ---- the experiment

@pytest.fixture(scope='module')
def ran(drawn, tmp_path_factory):
    "A run on 60 synthetic chips, of which one has lost its weather; its folder and what it said."
    import contextlib
    import io
    import shutil
    folder, out = Path(shutil.copytree(drawn, tmp_path_factory.mktemp('two')/'chips')), tmp_path_factory.mktemp('out')
    table = pd.read_csv(folder/'train_v2.csv')
    table.loc[7, 'tags'] = 'water'
    table.to_csv(folder/'train_v2.csv', index=False)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        tags_and_weather_resnet50.main(**{**quick, 'tta': True}, data=str(folder), out=str(out))
    run, = out.glob('*/*')
    return run, said.getvalue(), folder, table

def test_both_models_are_recorded_side_by_side(ran):
    run, said, _, table = ran
    assert {p.name for p in run.iterdir()} == {'record.json', 'history.csv', 'history_multi_label.csv', 'tags.csv',
        'validation.csv', 'learner.pkl', 'losses.png', 'predictions.png', 'threshold.png'}
    record = json.loads((run/'record.json').read_text())
    data, scores = record['data'], record['scores']
    assert data['without_one_weather'] == [table.image_name[7]] and data['chips'] == 59 == data['train'] + data['valid']
    assert len(data['vocab']) == len(set(data['vocab'])) and set(WEATHER) & set(data['vocab'])
    for key in ('f2', 'f2_above', 'f2_one_weather', 'f2_decided', 'weather_accuracy', 'nats'):
        assert scores[f'{key}_difference'] == pytest.approx(scores[key] - scores[f'{key}_multi_label'], abs=2e-5)
        low, high = scores[f'{key}_difference_interval']
        assert low <= scores[f'{key}_difference'] <= high and scores[f'{key}_baseline'] > 0
    lines = said.splitlines()
    assert [l.rstrip(':') for l in lines if l.endswith(':')] == ['multi-label', 'two targets']
    told = [l for l in lines[:-1] if not l.startswith(('data:', 'split:'))] # these are wrapped on a terminal
    assert max(map(len, told)) <= 120, max(told, key=len)
    shown = next(l for l in lines if l.startswith('F2 as each predicts')).split()
    assert {f"{scores['f2']:.4f}", f"{scores['f2_multi_label']:.4f}", f"{scores['f2_baseline']:.4f}"} <= set(shown)

def test_the_scores_are_those_of_the_recorded_probabilities(ran):
    "Worked out again from what the run left behind, without the project's own code."
    run, _, folder, table = ran
    held = pd.read_csv(run/'validation.csv').set_index('image_name')
    truth = {n: set(t.split()) for n, t in zip(table.image_name, table.tags)}
    sky, scores = [t for t in held if t in WEATHER], json.loads((run/'record.json').read_text())['scores']
    np.testing.assert_allclose(held[sky].sum(axis=1), 1, atol=1e-4)
    def f2(true, pred): return 5*len(true & pred)/(4*len(true) + len(pred))
    pred = {n: {p[sky].idxmax()} | {t for t in held if t not in sky and p[t] > .2} for n, p in held.iterrows()}
    assert np.mean([f2(truth[n], pred[n]) for n in held.index]) == pytest.approx(scores['f2'], abs=1e-4)
    right = [held.loc[n, sky].idxmax() in truth[n] for n in held.index]
    assert np.mean(right) == pytest.approx(scores['weather_accuracy'], abs=1e-4)

def test_the_exported_learner_answers_with_a_weather_and_tags(ran):
    run, _, folder, _ = ran
    learn, held = load_learner(run/'learner.pkl'), pd.read_csv(run/'validation.csv').set_index('image_name')
    vocab = [t for tags in learn.dls.vocab for t in tags]
    for name in held.index[:2]:
        with learn.no_bar(): (weather, tags), _, probs = learn.predict(folder/'train-jpg'/f'{name}.jpg')
        assert weather in WEATHER and not set(tags) & set(WEATHER)
        np.testing.assert_allclose(held.loc[name, vocab], probs, atol=2e-3) # as it was scored, from eight views
        assert weather == max(WEATHER, key=lambda t: probs[vocab.index(t)] if t in vocab else 0)
        assert list(tags) == [t for t, p in zip(vocab, probs) if p > .2 and t not in WEATHER]

def test_options_are_looked_at_before_torch(tmp_path):
    (tmp_path/'torch.py').write_text('raise RuntimeError("torch was imported")')
    def ask(*args):
        return subprocess.run([sys.executable, root/'experiments'/'tags_and_weather_resnet50.py', *args],
                              capture_output=True, text=True,
        cwd=tmp_path, env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{root}'})
    done = ask('--help')
    assert done.returncode == 0 and '--valid_pct' in done.stdout and '--fold' in done.stdout
    done = ask('--thresh', '2')
    assert done.returncode == 1 and done.stderr == 'tags_and_weather_resnet50.py: --thresh 2.0 is outside 0 to 1\n'

@pytest.mark.parametrize('rename,match', [
    (lambda tags, i: ' '.join(t for t in tags.split() if t not in WEATHER) or 'bare',
     'weather needs chips of two kinds at least.*missing'),
    (lambda tags, i: ' '.join({t for t in tags.split() if t not in WEATHER} | {'haze'}), 'they are all haze'),
    (lambda tags, i: WEATHER[i % 2], 'no tag but the weather .*weather_resnet18.py')])
def test_tables_that_have_not_both(folder, tmp_path, rename, match):
    table = pd.read_csv(folder/'train_v2.csv')
    table['tags'] = [rename(tags, i) for i, tags in enumerate(table.tags)]
    table.to_csv(folder/'train_v2.csv', index=False)
    with pytest.raises(UserError, match=match) as e:
        tags_and_weather_resnet50.main(**quick, data=str(folder), out=str(tmp_path/'out'))
    assert '\n' not in str(e.value) and str(folder) in str(e.value)
    assert not list(tmp_path.glob('out/*/*')) and not list(tmp_path.glob('out/*/.*'))
