"Stacking: what it must gain, what it must not see, and what `planet-runs stack` refuses."
import json
import numpy as np
import pytest
import torch
from planet.cli import UserError
from planet.metrics import crossfit_fbeta, fbeta_per_chip
from planet.resampling import kfolds
from planet.stacking import ALPHAS, fit_stacker, joined_groups, stack
from planet.tools.stack import stack_runs

def models(n=400, tags=5, seed=0, noise=(1.5, 1.5)):
    "True tags, and the probabilities of several models, each with errors of its own."
    rng = np.random.default_rng(seed)
    truth = rng.random((n, tags)) < np.linspace(.8, .1, tags)
    made = [1/(1 + np.exp(-(4*truth - 2 + s*rng.normal(size=truth.shape)))) for s in noise]
    return [torch.tensor(p, dtype=torch.float32) for p in made], torch.tensor(truth)

def test_a_stack_of_two_models_is_better_than_each():
    probs, truth = models()
    made = stack(probs, truth)
    best = max(crossfit_fbeta(p, truth).score for p in probs)
    assert made.per_chip.mean() > best + .01
    assert made.probs.shape == truth.shape and 0 <= made.probs.min() and made.probs.max() <= 1
    new, other = models(seed=9)
    x = torch.cat(new, 1).double().numpy()
    score = fbeta_per_chip(torch.tensor(made.stacker(x)) > made.thresh, other).mean()
    assert score.item() == pytest.approx(made.per_chip.mean().item(), abs=.03) # what nested says is what new chips show

def test_no_chip_changes_its_own_score():
    "The stacker and the threshold of a fold are the same whatever the tags of its chips are."
    probs, truth = models(n=120)
    a, fold = stack(probs, truth), kfolds(120, 5, 42)
    for f in (0, 3):
        mixed = truth.clone()
        mixed[fold == f] = ~truth[fold == f]
        b = stack(probs, mixed)
        assert torch.equal(a.probs[fold == f], b.probs[fold == f])
        assert not torch.equal(a.probs[fold != f], b.probs[fold != f])
        decided = a.per_chip[fold == f], fbeta_per_chip(b.probs[fold == f] > .5, truth[fold == f])
        assert all(torch.isfinite(o).all() for o in decided)

def test_nothing_to_learn_gains_nothing_and_copies_neither():
    "Noise stays noise; each chip four times must not raise the score, where the copies are known as such."
    apart, together, once = [], [], []
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        probs = [torch.rand(60, 8, generator=g) for _ in range(3)]
        truth, copy = torch.rand(60, 8, generator=g) < .2, torch.arange(60).repeat_interleave(4)
        once.append(stack(probs, truth).per_chip.mean())
        four = [p[copy] for p in probs]
        apart.append(stack(four, truth[copy]).per_chip.mean())
        together.append(stack(four, truth[copy], groups=copy).per_chip.mean())
    assert np.mean(apart) > np.mean(once) + .03 # what goes wrong without groups
    assert np.mean(together) < np.mean(once) + .015

@pytest.mark.parametrize('n, folds, groups', [(5, 5, None), (6, 5, None), (3, 3, None),
                                              (20, 5, [i//4 for i in range(20)])])
def test_as_many_folds_as_chips_or_scenes_leave_fewer_to_choose_penalties_on(n, folds, groups):
    "Five scenes, five folds: without one of them the penalties are chosen in four."
    probs, truth = models(n=n)
    made = stack(probs, truth, folds, groups=groups)
    assert len(made.per_chip) == n and torch.isfinite(made.probs).all()

def test_one_group_left_is_too_few():
    probs, truth = models(n=12)
    with pytest.raises(UserError, match='`folds` 2: without one of them a single group of chips is left'):
        stack(probs, truth, 2, groups=[0]*6 + [1]*6)

def test_equal_models_stay_as_they_are():
    (p,), truth = models(noise=(1.,))
    made = stack([p, p], truth)
    assert crossfit_fbeta(p, truth).score == pytest.approx(made.per_chip.mean().item(), abs=.02)
    x = torch.cat([p, p], 1).double().numpy()
    stacker, within = fit_stacker(x, truth.double().numpy(), alphas=(1e9,))
    shift = stacker.bias # of an endless penalty the mean of the models is left, but for each tag's frequency
    np.testing.assert_allclose(stacker(x), (p.numpy() + shift).clip(0, 1), atol=1e-4)
    assert within.shape == truth.shape
    assert set(fit_stacker(x, truth.double().numpy())[0].alpha) <= set(ALPHAS)

def test_groups_of_several_runs_are_joined():
    assert joined_groups([None, None]) is None
    codes = joined_groups([['a', 'a', 'b', 'c'], None, [1, 2, 2, 3]])
    assert codes[0] == codes[1] == codes[2] != codes[3]

# ---- planet-runs stack

VOCAB = ['clear', 'primary', 'road']

def fake_run(out, name, probs, truth, names=None, vocab=VOCAB, **facts):
    "A folder as a run leaves it."
    import pandas as pd
    path = out/'planet_kfold'/f'2026-01-01T00-00-0{len(list(out.glob("planet_kfold/*")))}Z-{name}'
    path.mkdir(parents=True)
    names = names or [f'train_{i}' for i in range(len(truth))]
    index = pd.Index(names, name='image_name')
    pd.DataFrame(np.asarray(probs), index, vocab).to_csv(path/'validation.csv')
    pd.DataFrame(np.asarray(truth).astype(int), index, vocab).to_csv(path/'targets.csv')
    record = dict(experiment='planet_kfold', name=name, status='done', options=dict(thresh=.2, name=name),
                  rule=dict(kind='thresh', thresh=.2), data=dict(vocab=vocab, valid=len(truth)), scores={},
                  out_of_fold=True) | facts
    (path/'record.json').write_text(json.dumps(record))
    return path

@pytest.fixture
def runs(tmp_path):
    probs, truth = models(n=80, tags=3)
    for name, p in zip('ab', probs): fake_run(tmp_path, name, p, truth)
    return tmp_path

def test_runs_are_stacked_into_a_run(runs, capsys):
    from planet.records import find_run
    stack_runs(['a', 'b'], str(runs), 'both')
    said = capsys.readouterr().out
    assert 'gain of the stack' in said and 'mean of them' in said and 'another region' in said
    assert 'F2, stack and threshold nested' in said
    record = find_run('both', runs)
    assert record.status == 'done' and record.facts['out_of_fold'] and record.score('f2_nested') > .5
    assert record.result().f2_per_chip.mean().item() == pytest.approx(record.score('f2'), abs=2e-3)
    assert {r['of'] for r in record.facts['stack']} == {'a', 'b', 'mean of them'}
    assert (record.path/'report.html').exists()
    from planet.tools.compare import compare_runs
    capsys.readouterr()
    compare_runs(['a', 'both'], str(runs))
    said = capsys.readouterr().out
    assert 'F2, stack and threshold nested' in said and 'different loss functions' not in said
    stack_runs(['both', 'a'], str(runs)) # a stack is out of fold as well

def test_rows_in_another_order_are_the_same_chips(runs):
    from planet.records import find_run
    probs, truth = models(n=80, tags=3)
    mixed = np.random.default_rng(1).permutation(80)
    fake_run(runs, 'c', probs[1][mixed], truth[mixed], [f'train_{i}' for i in mixed])
    for other in 'bc': stack_runs(['a', other], str(runs), f'with {other}')
    one, two = (find_run(f'with {other}', runs).score('f2_nested') for other in 'bc')
    assert one == pytest.approx(two, abs=1e-6)

@pytest.mark.parametrize('change, told', [
    (dict(names=[f'other_{i}' for i in range(80)]), 'different chips: 160 are not in both, such as other_0'),
    (dict(vocab=['clear', 'primary', 'river']), 'tags such as river are not in both'),
    (dict(out_of_fold=None), 'no out-of-fold probabilities: its validation chips were scored by one model'),
    (dict(out_of_fold=None, folds=[dict(fold=0)]), 'its folds are not all done')])
def test_runs_that_cannot_be_stacked(runs, change, told):
    probs, truth = models(n=80, tags=3)
    fake_run(runs, 'odd', probs[0], truth, **change)
    with pytest.raises(UserError, match=told): stack_runs(['a', 'odd'], str(runs))
    assert not (runs/'stack').exists() or not list((runs/'stack').glob('2*'))

def test_other_tags_of_a_chip_too_few_runs_and_too_many_folds(runs):
    probs, truth = models(n=80, tags=3)
    changed = truth.clone()
    changed[7] = ~changed[7]
    fake_run(runs, 'odd', probs[0], changed)
    with pytest.raises(UserError, match='1 have other true tags, such as train_7'): stack_runs(['a', 'odd'], str(runs))
    with pytest.raises(UserError, match='two runs at least'): stack_runs(['a'], str(runs))
    with pytest.raises(UserError, match='are one run'): stack_runs(['a', 'a'], str(runs))
    with pytest.raises(UserError, match='81 of 80'): stack_runs(['a', 'b'], str(runs), folds=81)
    probs, truth = models(n=2, tags=3)
    for name in ('few', 'fewer'): fake_run(runs, name, probs[0], truth)
    with pytest.raises(UserError, match='2 of 2 groups of chips: .*, and three'):
        stack_runs(['few', 'fewer'], str(runs), folds=2)
    for wrong in (dict(folds=1), dict(thresh=2), dict(seed=-1)):
        with pytest.raises(UserError, match=f'`{next(iter(wrong))}`'): stack_runs(['a', 'b'], str(runs), **wrong)

def test_tags_in_another_order_are_the_same_tags(runs):
    from planet.records import find_run
    probs, truth = models(n=80, tags=3)
    order = [2, 0, 1]
    fake_run(runs, 'c', probs[1][:, order], truth[:, order], vocab=[VOCAB[i] for i in order])
    for other in 'bc': stack_runs(['a', other], str(runs), f'with {other}')
    one, two = (find_run(f'with {other}', runs) for other in 'bc')
    assert one.result().probs.equal(two.result().probs) and one.score('f2_nested') == two.score('f2_nested')
