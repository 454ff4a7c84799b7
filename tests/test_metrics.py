"F-beta, tables per tag, thresholds and the comparison of decision rules, against scikit-learn and brute force"
import itertools
import pickle
import warnings
from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from no_float64 import Device
from scores import AVERAGES, close, draw
from sklearn.metrics import average_precision_score, fbeta_score, precision_recall_curve, precision_score, recall_score
from planet.metrics import (
    FBeta,
    best_constant,
    best_threshold,
    best_thresholds,
    bootstrap_interval,
    calibration_error,
    compare_decisions,
    crossfit_calibrate,
    crossfit_fbeta,
    decide,
    expected_fbeta,
    fbeta,
    fbeta_per_chip,
    fit_platt,
    fit_temperature,
    reliability,
    tag_table,
    threshold_curve,
)
from planet.resampling import few_differ

@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), c=st.integers(1, 7),
       thresh=st.sampled_from([0., .2, .25, .5, 1.]), beta=st.sampled_from([.5, 1, 2, 3.7]),
       density=st.sampled_from([0., .1, .5, 1.]))
def test_fbeta_is_sklearns(seed, n, c, thresh, beta, density):
    rng = np.random.default_rng(seed)
    targ = rng.random((n, c)) < density
    probs = rng.integers(0, 5, (n, c)).astype(np.float32)/4 # ties with each other and with the threshold
    tags = [fbeta_score(targ[:, i], probs[:, i] > thresh, beta=beta, zero_division=0) for i in range(c)]
    for average in AVERAGES:
        # a single column is a binary task to scikit-learn: ask it about that, or about all columns
        if average == 'samples':
            pad = lambda x: np.c_[x, np.zeros(n, bool)]
            ref = fbeta_score(pad(targ), pad(probs > thresh), beta=beta, average='samples', zero_division=0)
        elif average == 'micro': ref = fbeta_score(targ.ravel(), (probs > thresh).ravel(), beta=beta, zero_division=0)
        elif average == 'macro': ref = np.mean(tags)
        elif average == 'weighted': ref = np.average(tags, weights=targ.sum(0)) if targ.any() else 0
        else: ref = tags
        kwargs = dict(thresh=thresh, beta=beta, average=average, sigmoid=False)
        close(fbeta(torch.tensor(probs), torch.tensor(targ), **kwargs), ref)

@pytest.mark.parametrize('average', AVERAGES)
def test_fbeta_of_logits(average):
    targ = torch.rand(200, 17) < .2
    logits = torch.randn(200, 17)*3
    pred = logits.sigmoid() > .2
    close(fbeta(logits, targ, average=average), fbeta_score(targ, pred, beta=2, average=average, zero_division=0))
    for dtype in (torch.half, torch.bfloat16):
        low = logits.to(dtype)
        close(fbeta(low, targ, average=average), fbeta(low.float(), targ, average=average))
    close(fbeta(logits.T.contiguous().T, targ.float(), average=average), fbeta(logits, targ.long(), average=average))
    close(fbeta(logits.numpy(), targ.numpy(), average=average), fbeta(logits, targ, average=average))

def test_empty_chip_scores_nothing():
    none = torch.zeros(1, 3, dtype=torch.bool)
    assert fbeta_per_chip(none, none).item() == 0
    assert fbeta_per_chip(~none, none).item() == 0 and fbeta_per_chip(none, ~none).item() == 0
    assert fbeta_per_chip(~none, ~none).item() == 1

def test_threshold_is_strict_and_may_differ_by_tag():
    probs, targ = torch.tensor([[.2, .5, .9]]), torch.tensor([[1, 1, 1]])
    assert fbeta(probs, targ, thresh=.2, average=None, sigmoid=False).tolist() == [0, 1, 1]
    assert fbeta(probs, targ, thresh=[.1, .5, .9], average=None, sigmoid=False).tolist() == [1, 0, 0]
    assert fbeta(probs, targ, thresh=[.2]*3, average=None, sigmoid=False).tolist() == [0, 1, 1]
    assert fbeta(probs, targ, thresh=0, sigmoid=False) == 1 # 0 is a threshold like any other

def test_extreme_logits():
    targ = torch.tensor([[1, 0], [0, 1]])
    assert fbeta(torch.tensor([[1e4, -1e4], [-1e4, 1e4]]), targ) == 1
    assert fbeta(torch.tensor([[-1e4, 1e4], [1e4, -1e4]]), targ) == 0

def value(metric, logits, targ):
    "What a `Learner` gets from a fastai metric, in batches of 32"
    from fastai.torch_core import to_detach
    metric.reset()
    for pred, y in zip(logits.split(32), targ.split(32)):
        metric.accumulate(SimpleNamespace(pred=pred, y=y, to_detach=to_detach))
    return metric.value

def test_metric_over_batches_is_the_whole_split():
    targ, logits = torch.rand(50, 5) < .3, torch.randn(50, 5)
    for average in AVERAGES:
        m = pickle.loads(pickle.dumps(FBeta(thresh=.3, average=average)))
        close(value(m, logits, targ), fbeta(logits, targ, thresh=.3, average=average))
    assert FBeta().name == 'f2_samples' and FBeta(name='f2').name == 'f2'

def test_probabilities_taken_for_logits_are_warned_about():
    probs, targ = draw(400, 17)
    with pytest.warns(UserWarning, match='sigmoid=False') as caught: twice = fbeta(probs, targ, thresh=.49)
    assert len(caught) == 1 and caught[0].filename == __file__ # once, at the caller's line
    close(twice, fbeta_per_chip(torch.ones_like(targ), targ).mean()) # every tag on every chip
    with pytest.warns(UserWarning, match='sigmoid=False'): FBeta()(probs, targ)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        fbeta(probs.logit(eps=1e-6), targ, thresh=.5)
        fbeta(probs, targ, thresh=.5, sigmoid=False)

def test_a_bare_number_is_no_threshold_where_it_could_be_beta():
    from fastai.metrics import FBetaMulti
    logits, targ = torch.randn(80, 5), torch.rand(80, 5) < .3
    calls = lambda: fbeta(logits, targ, .5), lambda: threshold_curve(logits.sigmoid(), targ, 2), lambda: FBeta(2, .5)
    for call in calls:
        with pytest.raises(TypeError, match='positional'): call()
    for beta in (.5, 1, 2): # the first argument means the same as fastai's
        theirs = FBetaMulti(beta, thresh=.3, average='micro')
        close(FBeta(beta, thresh=.3, average='micro')(logits, targ), value(theirs, logits, targ))

@pytest.mark.parametrize('made,says', [
    (dict(beta=-1), 'beta is -1'), (dict(thresh=2), 'thresh is 2'),
    (dict(average='mean'), "average is 'mean'"), (dict(thresh=[[.2]]), 'thresh has shape')])
def test_a_metric_is_checked_when_it_is_made(made, says):
    with pytest.raises(ValueError, match=says): FBeta(**made)

# --- tables, curves, thresholds

def test_tag_table():
    probs, targs = draw(levels=20)
    targs[:, 3] = False # a tag that never occurs
    t = tag_table(probs, targs, list('abcdef'), thresh=.3)
    assert t.index.tolist() == list('abcdef') and t['count'].tolist() == targs.sum(0).tolist()
    pred = (probs > .3).numpy()
    close(t.precision, precision_score(targs, pred, average=None, zero_division=0))
    close(t.recall, recall_score(targs, pred, average=None, zero_division=0))
    close(t.fbeta, fbeta_score(targs, pred, beta=2, average=None, zero_division=0))
    for i, tag in enumerate('abcdef'):
        if tag == 'd': assert np.isnan(t.average_precision[tag]) and np.isnan(t.best_thresh[tag]); continue
        close(t.average_precision[tag], average_precision_score(targs[:, i], probs[:, i]))
        p, r, _ = precision_recall_curve(targs[:, i], probs[:, i])
        got = fbeta(probs[:, [i]], targs[:, [i]], thresh=t.best_thresh[tag], average='micro', sigmoid=False)
        if (probs[:, i] > 0).all(): close(got, np.nanmax(5*p*r/np.maximum(4*p + r, 1e-12)))
        assert got >= fbeta(probs[:, [i]], targs[:, [i]], thresh=.3, average='micro', sigmoid=False) - 1e-6

def test_curve_is_the_score_at_each_threshold():
    probs, targs = draw(levels=50)
    c = threshold_curve(probs, targs)
    for t, f, a in c.itertuples(index=False):
        close(f, fbeta(probs, targs, thresh=t, sigmoid=False))
        close(a, ((probs > torch.tensor(t)) == targs).float().mean())
    assert c.accuracy_multi.idxmax() > c.fbeta.idxmax() # where F2 peaks is not where accuracy does

@pytest.mark.parametrize('levels', [None, 7])
def test_best_threshold_is_the_best_of_all(levels):
    probs, targs = draw(60, 5, 3, levels)
    every = np.unique(np.r_[0, probs.numpy().ravel()])
    want = max(fbeta(probs, targs, thresh=float(t), sigmoid=False).item() for t in every)
    close(fbeta(probs, targs, thresh=best_threshold(probs, targs), sigmoid=False), want)

@pytest.mark.parametrize('levels,dtype', [(None, torch.float32), (9, torch.float32), (None, torch.float64)])
def test_best_thresholds_end_where_no_single_one_can_move(levels, dtype):
    probs, targs = draw(80, 5, 1, levels, dtype)
    ts = best_thresholds(probs, targs, tol=1e-9)
    top = fbeta(probs, targs, thresh=ts, sigmoid=False).item()
    assert top >= fbeta(probs, targs, thresh=best_threshold(probs, targs), sigmoid=False).item() - 1e-6
    for j in range(5):
        for t in [0, *probs[:, j].tolist()]:
            other = ts.clone(); other[j] = t
            assert fbeta(probs, targs, thresh=other, sigmoid=False).item() <= top + 1e-6
    start = torch.full((5,), .9)
    assert fbeta(probs, targs, thresh=best_thresholds(probs, targs, start=start), sigmoid=False) \
           >= fbeta(probs, targs, thresh=start, sigmoid=False)

@pytest.mark.parametrize('beta', [.1, .5, .9, 1, 2])
def test_thresholds_per_tag_are_the_best_of_all_in_small_cases(beta):
    gaps = []
    for seed in range(100):
        probs, targs = draw(8, 3, seed)
        cuts = [np.r_[0, probs[:, j].numpy()] for j in range(3)] # nothing else changes a decision
        every = torch.tensor(np.array(list(itertools.product(*cuts))), dtype=torch.float32)
        preds = probs > every[:, None]
        tp, n, true = (preds & targs).sum(2), preds.sum(2), targs.sum(1)
        best = ((1 + beta**2)*tp/(beta**2*true + n).clamp(min=1e-9)).mean(1).max().item()
        got = fbeta(probs, targs, thresh=best_thresholds(probs, targs, beta), beta=beta, sigmoid=False).item()
        gaps.append(best - got)
    assert min(gaps) > -1e-5 and (np.array(gaps) > 1e-5).sum() <= 1 and max(gaps) < .01

def test_neighbouring_floats_are_parted():
    lo = torch.tensor(.3); hi = torch.nextafter(lo, torch.tensor(1.))
    probs, targs = torch.stack([hi, lo])[:, None], torch.tensor([[1], [0]])
    for t in (best_threshold(probs, targs, beta=.5), best_thresholds(probs, targs, beta=.5)):
        assert fbeta(probs, targs, thresh=t, beta=.5, average='micro', sigmoid=False) == 1

@pytest.mark.parametrize('fill', [0., .5, 1.])
def test_thresholds_of_constant_probabilities(fill):
    probs, targs = torch.full((6, 3), fill), torch.tensor([[1, 0, 0]]*6)
    ts = best_thresholds(probs, targs)
    assert ((ts >= 0) & (ts <= 1)).all()
    assert fbeta(probs, targs, thresh=ts, sigmoid=False) == (1 if fill else 0)

# --- all of it

def test_compare_decisions():
    probs, targs = draw(600, 6, 4)
    t = compare_decisions(probs, targs, list('abcdef'), exclusive=['e', 'f'], n=200)
    assert t.columns.tolist() == 'f2 low high diff diff_low diff_high differ note'.split()
    close(t.f2['threshold 0.2'], fbeta(probs, targs, sigmoid=False))
    close(t.f2['decide'], fbeta_per_chip(decide(probs), targs).mean())
    close(t.f2['one threshold, cross-fitted'], crossfit_fbeta(probs, targs, best_threshold).score)
    close(t.f2['thresholds per tag, cross-fitted'], crossfit_fbeta(probs, targs).score)
    close(t.f2 - t.f2['threshold 0.2'], t['diff'])
    assert (t.low <= t.f2).all() and (t.f2 <= t.high).all() and (t.loc['threshold 0.2', 'diff':'differ'] == 0).all()
    pd.testing.assert_frame_equal(t, compare_decisions(probs, targs, list('abcdef'), exclusive=[4, 5], n=200))
    assert not any('exclusive' in r for r in compare_decisions(probs, targs, n=50).index)

@pytest.mark.parametrize('n', [49, 50])
def test_rules_that_differ_on_few_chips_have_a_note(n):
    probs, targs = draw(200, 4)
    targs[:, 0] = True
    probs[:] = torch.where(targs, .9, .01) # all rules agree
    probs[:n], targs[:n] = torch.tensor([.9, .1, .1, .01]), torch.tensor([1, 0, 0, 0]) == 1 # `decide` takes one tag
    t = compare_decisions(probs, targs, thresh=.05, n=50)
    assert (t.differ['decide'], t.differ['threshold 0.05']) == (n, 0)
    assert t.note['decide'] == few_differ(n, 200) and ('differ on 49 of 200' in t.note['decide']) == (n == 49)
    assert not t.note['threshold 0.05']
    one = crossfit_fbeta(probs, targs, best_threshold)
    each = probs > one.thresh[one.fold][:, None].float() # at the threshold of the chip's fold
    assert torch.equal(one.pred, each)
    assert t.differ['one threshold, cross-fitted'] == (each != (probs > .05)).any(1).sum()

def test_import_is_light():
    import subprocess
    import sys
    code = "import sys, planet.metrics; print([m for m in ('fastai', 'sklearn', 'matplotlib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, '-W', 'error', '-c', code], text=True).strip() == '[]'

def test_a_device_without_float64_agrees():
    probs, targs = draw(60, 6)
    group = [1, 2]
    with Device():
        p, t = probs.to('lazy'), targs.to('lazy')
        with pytest.raises(TypeError, match='float64'): p.double()
        for a in AVERAGES:
            close(fbeta(p, t, average=a, thresh=[.3]*6, sigmoid=False).cpu(),
                  fbeta(probs, targs, average=a, thresh=[.3]*6, sigmoid=False))
        assert fbeta(p, targs, sigmoid=False).device.type == 'lazy'
        got = decide(p, exclusive=group)
        assert got.device.type == 'lazy' and torch.equal(got.cpu(), decide(probs, exclusive=group))
        wide = torch.nn.functional.pad(probs, (0, 200))
        assert torch.equal(decide(wide.to('lazy')).cpu(), decide(wide))
        close(expected_fbeta(got, p), expected_fbeta(got.cpu(), probs))
        assert torch.equal(best_constant(t).cpu(), best_constant(targs))
        assert best_threshold(p, t) == best_threshold(probs, targs)
        assert torch.equal(best_thresholds(p, t), best_thresholds(probs, targs))
        close(threshold_curve(p, t), threshold_curve(probs, targs))
        close(tag_table(p, t, range(6)), tag_table(probs, targs, range(6)))
        close(crossfit_fbeta(p, t, groups=range(60)).per_chip.cpu(), crossfit_fbeta(probs, targs).per_chip)
        close(bootstrap_interval(p[:, 0]), bootstrap_interval(probs[:, 0]))
        for fit in (fit_platt, fit_temperature):
            close(crossfit_calibrate(p, t, fit).cpu(), crossfit_calibrate(probs, targs, fit))
        close(calibration_error(p, t), calibration_error(probs, targs))
        close(reliability(p, t, range(6)), reliability(probs, targs, range(6)))
        a, b = (compare_decisions(*of, exclusive=group, n=9).drop(columns='note') for of in ((p, t), (probs, targs)))
        close(a, b)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU here')
def test_gpu_agrees():
    probs, targs = draw(500, 17)
    p, t = probs.cuda(), targs.cuda()
    for a in AVERAGES: close(fbeta(p, t, average=a, sigmoid=False).cpu(), fbeta(probs, targs, average=a, sigmoid=False))
    assert fbeta(p, targs, sigmoid=False).device.type == 'cuda' # targets may lie elsewhere
    for group in (None, [1, 2]): assert torch.equal(decide(p, exclusive=group).cpu(), decide(probs, exclusive=group))
    close(best_thresholds(p, t).cpu(), best_thresholds(probs, targs))
    close(crossfit_fbeta(p, t).score, crossfit_fbeta(probs, targs).score)
    close(crossfit_calibrate(p, t).cpu(), crossfit_calibrate(probs, targs), 1e-5)
    a, b = (compare_decisions(*of, exclusive=[1, 2], n=9) for of in ((p, t), (probs, targs)))
    close(a.loc[:, :'diff_high'], b.loc[:, :'diff_high'], 1e-4)
