"Scores, thresholds, decisions and calibration against scikit-learn and brute force, and what each refuses"
import itertools, pickle
import numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, fbeta_score, precision_recall_curve, precision_score, recall_score
from planet.calibration import Calibrator, kfolds
from planet.metrics import (FBeta, best_constant, best_threshold, best_thresholds, bootstrap_interval,
    calibration_error, compare_decisions, crossfit_calibrate, crossfit_fbeta, decide, expected_fbeta, fbeta, fbeta_per_chip, fit_platt,
    fit_temperature, reliability, tag_table, threshold_curve)

AVERAGES = ['samples', 'micro', 'macro', 'weighted', None]

def draw(n=300, c=6, seed=0, levels=None, dtype=torch.float32):
    "Probabilities and the truth drawn from them, so calibrated; with `levels`, few different values and so many ties"
    g = torch.Generator().manual_seed(seed)
    probs = torch.rand(n, c, generator=g, dtype=dtype)**torch.linspace(.3, 4, c, dtype=dtype)
    if levels: probs = (probs*levels).round()/levels
    return probs, torch.rand(n, c, generator=g, dtype=dtype) < probs

def close(a, b, tol=1e-6): np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), atol=tol, rtol=0)

# --- F-beta

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
        close(fbeta(torch.tensor(probs), torch.tensor(targ), thresh, beta, average, sigmoid=False), ref)

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
    assert fbeta(probs, targ, .2, average=None, sigmoid=False).tolist() == [0, 1, 1]
    assert fbeta(probs, targ, [.1, .5, .9], average=None, sigmoid=False).tolist() == [1, 0, 0]
    assert fbeta(probs, targ, [.2]*3, average=None, sigmoid=False).tolist() == [0, 1, 1]
    assert fbeta(probs, targ, 0, sigmoid=False) == 1 # 0 is a threshold like any other

def test_extreme_logits():
    targ = torch.tensor([[1, 0], [0, 1]])
    assert fbeta(torch.tensor([[1e4, -1e4], [-1e4, 1e4]]), targ) == 1
    assert fbeta(torch.tensor([[-1e4, 1e4], [1e4, -1e4]]), targ) == 0

def test_metric_over_batches_is_the_whole_split():
    from types import SimpleNamespace
    from fastai.torch_core import to_detach
    targ, logits = torch.rand(50, 5) < .3, torch.randn(50, 5)
    for average in AVERAGES:
        m = pickle.loads(pickle.dumps(FBeta(.3, average=average)))
        m.reset()
        for at in (slice(0, 32), slice(32, 50)): 
            m.accumulate(SimpleNamespace(pred=logits[at], y=targ[at], to_detach=to_detach))
        close(m.value, fbeta(logits, targ, .3, average=average))
    assert FBeta().name == 'f2_samples' and FBeta(name='f2').name == 'f2'

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
        got = fbeta(probs[:, [i]], targs[:, [i]], t.best_thresh[tag], average='micro', sigmoid=False)
        if (probs[:, i] > 0).all(): close(got, np.nanmax(5*p*r/np.maximum(4*p + r, 1e-12)))
        assert got >= fbeta(probs[:, [i]], targs[:, [i]], .3, average='micro', sigmoid=False) - 1e-6

def test_curve_is_the_score_at_each_threshold():
    probs, targs = draw(levels=50)
    c = threshold_curve(probs, targs)
    for t, f, a in c.itertuples(index=False):
        close(f, fbeta(probs, targs, t, sigmoid=False))
        close(a, ((probs > torch.tensor(t)) == targs).float().mean())
    assert c.accuracy_multi.idxmax() > c.fbeta.idxmax() # where F2 peaks is not where accuracy does

@pytest.mark.parametrize('levels', [None, 7])
def test_best_threshold_is_the_best_of_all(levels):
    probs, targs = draw(60, 5, 3, levels)
    every = np.unique(np.r_[0, probs.numpy().ravel()])
    want = max(fbeta(probs, targs, float(t), sigmoid=False).item() for t in every)
    close(fbeta(probs, targs, best_threshold(probs, targs), sigmoid=False), want)

@pytest.mark.parametrize('levels,dtype', [(None, torch.float32), (9, torch.float32), (None, torch.float64)])
def test_best_thresholds_end_where_no_single_one_can_move(levels, dtype):
    probs, targs = draw(80, 5, 1, levels, dtype)
    ts = best_thresholds(probs, targs, tol=1e-9)
    top = fbeta(probs, targs, ts, sigmoid=False).item()
    assert top >= fbeta(probs, targs, best_threshold(probs, targs), sigmoid=False).item() - 1e-6
    for j in range(5):
        for t in [0, *probs[:, j].tolist()]:
            other = ts.clone(); other[j] = t
            assert fbeta(probs, targs, other, sigmoid=False).item() <= top + 1e-6
    start = torch.full((5,), .9)
    assert fbeta(probs, targs, best_thresholds(probs, targs, start=start), sigmoid=False) \
           >= fbeta(probs, targs, start, sigmoid=False)

def test_neighbouring_floats_are_parted():
    lo = torch.tensor(.3); hi = torch.nextafter(lo, torch.tensor(1.))
    probs, targs = torch.stack([hi, lo])[:, None], torch.tensor([[1], [0]])
    for t in (best_threshold(probs, targs, beta=.5), best_thresholds(probs, targs, beta=.5)):
        assert fbeta(probs, targs, t, .5, 'micro', sigmoid=False) == 1

@pytest.mark.parametrize('fill', [0., .5, 1.])
def test_thresholds_of_constant_probabilities(fill):
    probs, targs = torch.full((6, 3), fill), torch.tensor([[1, 0, 0]]*6)
    ts = best_thresholds(probs, targs)
    assert ((ts >= 0) & (ts <= 1)).all()
    assert fbeta(probs, targs, ts, sigmoid=False) == (1 if fill else 0)

# --- honest scores

def test_crossfit_never_sees_the_chips_it_scores():
    probs, targs = draw(400, 8)
    for tune in (best_threshold, best_thresholds):
        a = crossfit_fbeta(probs, targs, tune, folds=4, seed=1)
        for f in range(4):
            mixed, at = targs.clone(), a.fold == f
            mixed[at] = ~targs[at]
            b = crossfit_fbeta(probs, mixed, tune, folds=4, seed=1)
            assert torch.equal(a.fold, b.fold) and torch.equal(a.thresh[f], b.thresh[f])
            assert any(not torch.equal(a.thresh[g], b.thresh[g]) for g in range(4) if g != f)
            close(a.per_chip[at], fbeta_per_chip(probs[at] > a.thresh[f].float(), targs[at]))
        close(a.score, a.per_chip.mean())
    assert torch.equal(kfolds(10, 3, 5), kfolds(10, 3, 5)) and not torch.equal(kfolds(99, 3, 5), kfolds(99, 3, 6))
    assert sorted(torch.bincount(kfolds(11, 4)).tolist()) == [2, 3, 3, 3]

def test_crossfit_calibration_never_sees_its_chips_either():
    probs, targs = draw(300, 4)
    fold, a = kfolds(300, 5, 7), crossfit_calibrate(probs, targs, seed=7)
    mixed = targs.clone(); mixed[fold == 2] = ~targs[fold == 2]
    b = crossfit_calibrate(probs, mixed, seed=7)
    assert torch.equal(a[fold == 2], b[fold == 2]) and not torch.equal(a[fold == 3], b[fold == 3])

def test_tuning_on_noise_flatters_and_crossfitting_does_not():
    gaps = []
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        probs, targs = torch.rand(80, 12, generator=g), torch.rand(80, 12, generator=g) < .15 # nothing to be learned
        r = crossfit_fbeta(probs, targs, seed=seed)
        fresh = torch.rand(4000, 12, generator=g), torch.rand(4000, 12, generator=g) < .15
        truth = fbeta(*fresh, best_thresholds(probs, targs), sigmoid=False).item()
        gaps.append((r.naive - truth, r.score - truth))
    naive, honest = np.mean(gaps, 0)
    assert naive > .03 and abs(honest) < naive/2

def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = [rng.binomial(10, .7, 150)/10 for _ in range(300)]
    hits = [lo <= .7 <= hi for lo, hi in (bootstrap_interval(x, n=400, level=.9, seed=i) for i, x in enumerate(draws))]
    assert .84 < np.mean(hits) < .95

def test_bootstrap_details():
    rng = np.random.default_rng(1)
    a = rng.random(500); b = a - .01 + rng.normal(0, .001, 500)
    assert bootstrap_interval(a, seed=3) == bootstrap_interval(a, seed=3) != bootstrap_interval(a, seed=4)
    lo, hi = bootstrap_interval(a)
    se = a.std()/500**.5
    assert abs(lo - (a.mean() - 1.96*se)) < .3*se and abs(hi - (a.mean() + 1.96*se)) < .3*se
    lo, hi = bootstrap_interval(a, b)
    assert 0 < lo < .01 < hi + 1e-3 and hi - lo < .001 # pairing removes what the chips share
    assert bootstrap_interval(torch.ones(4)) == (1, 1)
    wide, narrow = bootstrap_interval(a, level=.99), bootstrap_interval(a, level=.5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]

# --- decisions

def subsets(c): return np.array(list(itertools.product([0., 1], repeat=c)))

def brute(p, beta, group=()):
    "Every answer and what it scores on average, over every truth and its probability"
    sets = subsets(len(p))
    rest = [i for i in range(len(p)) if i not in group]
    w = np.where(sets[:, rest] > 0, p[rest], 1 - p[rest]).prod(1)
    if group:
        g = p[list(group)]
        g = g/g.sum() if g.sum() else np.full(len(g), 1/len(g))
        w = w*(sets[:, list(group)] @ g)*(sets[:, list(group)].sum(1) == 1)
    assert abs(w.sum() - 1) < 1e-12
    den = beta**2*sets.sum(1) + sets.sum(1)[:, None]
    return sets, np.where(den > 0, (1 + beta**2)*(sets @ sets.T)/np.maximum(den, 1e-300), 0) @ w

@pytest.mark.parametrize('c', range(1, 11))
@pytest.mark.parametrize('grouped', [False, True])
def test_decide_is_brute_force(c, grouped):
    rng = np.random.default_rng(c)
    for kind in range(4 if c < 9 else 2):
        p = rng.random((6 if c < 9 else 2, c))**3
        if kind == 1: p = p.round(1) # ties, and exact 0 and 1
        if kind == 2: p[:, ::2] = p[:, :1]
        if kind == 3: p = np.where(p > .5, 1 - 1e-9, 1e-9)
        group = sorted(rng.choice(c, rng.integers(1, c + 1), replace=False).tolist()) if grouped else []
        for beta in (.5, 1, 2):
            got = decide(torch.tensor(p), beta, group or None)
            claim = expected_fbeta(got, torch.tensor(p), beta, group or None)
            for i in range(len(p)):
                sets, worth = brute(p[i], beta, group)
                assert got.dtype == torch.bool and got.shape == p.shape
                assert abs(claim[i].item() - worth.max()) < 1e-10
                best = sets[worth > worth.max() - 1e-12] if worth.max() > 1e-10 else np.zeros((1, c))
                small = best[best.sum(1) == best.sum(1).min()]
                first = small[np.lexsort(-small.T[::-1])[0]] # smallest, then earliest
                assert (first == got[i].numpy()).all() or worth.max() < 1e-7

def test_expected_fbeta_of_every_answer():
    p = np.array([.1, .5, .9, 1, .3])
    for group in ([], [1, 2], [0, 3, 4]):
        sets, worth = brute(p, 2, group)
        got = expected_fbeta(torch.tensor(sets), torch.tensor(p).expand(len(sets), -1), exclusive=group or None)
        close(got, worth, 1e-12)

def test_decide_over_many_tags():
    rng = np.random.default_rng(0)
    p = torch.tensor(rng.random((4, 60))**2)
    p[0, :30], p[1], p[2, ::2] = 1, .5, 0
    got, k = decide(p), torch.arange(61).double()
    for q, d in zip(p, got):
        top = q.sort(descending=True).values
        worths = []
        for size in range(1, 61): # the slow way round: the counts inside and outside the answer, convolved afresh
            ins, out = ([1.] for _ in range(2))
            for x in top[:size].tolist(): ins = np.convolve(ins, [1 - x, x])
            for x in top[size:].tolist(): out = np.convolve(out, [1 - x, x])
            tp, fn = np.arange(len(ins))[:, None], np.arange(len(out))
            worths.append((5*tp/(4*(tp + fn) + size)*ins[:, None]*out).sum())
        close(expected_fbeta(d[None], q[None]), max(worths), 1e-10)

def test_decide_extremes_and_ties():
    assert decide(torch.zeros(1, 4)).tolist() == [[False]*4]
    assert decide(torch.ones(1, 4)).all()
    assert decide(torch.tensor([[1., 0, 1, 0]])).tolist() == [[True, False, True, False]]
    assert decide(torch.tensor([[1e-3, 0, 0]])).tolist() == [[True, False, False]] # slim chance, certain 0
    assert decide(torch.tensor([[.5, .5, .5]]), beta=0).tolist() == [[True, False, False]] # a tie: fewest, earliest
    assert decide(torch.zeros(1, 3), exclusive=[0, 1, 2]).sum() == 3 # all even: naming each is worth it under F2
    assert decide(torch.tensor([[.98, .01, .01]]), exclusive=[0, 1, 2]).tolist() == [[True, False, False]]
    assert decide(torch.empty(0, 5)).shape == (0, 5)
    p, _ = draw(100, 9)
    assert torch.equal(decide(p, bs=7), decide(p)) and torch.equal(decide(p[[3]]), decide(p)[[3]])
    assert torch.equal(decide(p, exclusive=['c', 'a'], vocab='abcdefghi'), decide(p, exclusive=torch.tensor([0, 2])))

def test_decide_leaves_the_threads_alone():
    n = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        decide(torch.rand(5, 3))
        assert torch.get_num_threads() == 2
    finally: torch.set_num_threads(n)

def test_surer_tags_are_never_left_out_for_less_sure_ones():
    p, _ = draw(300, 8, 5)
    for d, q in zip(decide(p), p):
        if d.any() and (~d).any(): assert q[d].min() >= q[~d].max()

def test_decide_beats_every_threshold_where_its_assumption_holds():
    probs, targs = draw(20000, 8, 2)
    decided, claim = fbeta_per_chip(decide(probs), targs), expected_fbeta(decide(probs), probs)
    for t in (.1, .2, .3, .5): assert (expected_fbeta(probs > t, probs) <= claim + 1e-10).all()
    for t in (.1, .3): assert bootstrap_interval(decided, fbeta_per_chip(probs > t, targs), n=300)[0] > 0
    assert bootstrap_interval(decided - claim)[0] < 0 < bootstrap_interval(decided - claim)[1] # as it expects

@pytest.mark.parametrize('c', [1, 4, 8])
def test_best_constant_is_the_best_of_all_subsets(c):
    for seed in range(4):
        targs = torch.rand(50, c, generator=torch.Generator().manual_seed(seed)) < torch.linspace(.05, .8, c)
        for beta in (1, 2):
            def score(s): return fbeta_per_chip(torch.as_tensor(s).bool().expand_as(targs), targs, beta).mean().item()
            close(score(best_constant(targs, beta)), max(map(score, subsets(c))))

def test_best_constant_over_many_tags():
    targs = torch.rand(200, 45) < torch.linspace(.6, .01, 45)
    best = best_constant(targs)
    top = fbeta_per_chip(best.expand_as(targs), targs).mean().item()
    for j in range(45):
        other = best.clone(); other[j] = ~best[j]
        assert fbeta_per_chip(other.expand_as(targs), targs).mean().item() <= top + 1e-6
    assert not best_constant(torch.zeros(3, 4)).any()

def test_compare_decisions():
    probs, targs = draw(600, 6, 4)
    t = compare_decisions(probs, targs, list('abcdef'), exclusive=['e', 'f'], n=200)
    assert t.columns.tolist() == 'f2 low high diff diff_low diff_high'.split()
    close(t.f2['threshold 0.2'], fbeta(probs, targs, sigmoid=False))
    close(t.f2['decide'], fbeta_per_chip(decide(probs), targs).mean())
    close(t.f2['threshold, tuned'], crossfit_fbeta(probs, targs, best_threshold).score)
    close(t.f2 - t.f2['threshold 0.2'], t['diff'])
    assert (t.low <= t.f2).all() and (t.f2 <= t.high).all() and (t.loc['threshold 0.2', 'diff':] == 0).all()
    pd.testing.assert_frame_equal(t, compare_decisions(probs, targs, list('abcdef'), exclusive=[4, 5], n=200))
    assert not any('exclusive' in r for r in compare_decisions(probs, targs, n=50).index)

# --- calibration

def test_platt_is_logistic_regression():
    torch.manual_seed(0)
    z = torch.randn(4000, 2, dtype=torch.double)
    targs = torch.rand(4000, 2) < (z*torch.tensor([.4, 2]) + torch.tensor([-1, .5])).sigmoid()
    cal = fit_platt(z.sigmoid(), targs)
    for i in range(2):
        ref = LogisticRegression(C=1e9).fit(z[:, [i]], targs[:, i])
        close([cal.slope[i], cal.bias[i]], [ref.coef_.item(), ref.intercept_.item()], .02) # softened a little
    assert (calibration_error(cal(z.sigmoid()), targs) < calibration_error(z.sigmoid(), targs)).all()

def test_temperature_recovers_what_was_done():
    probs, targs = draw(5000, 4, 1, dtype=torch.double)
    hot = (probs.logit(eps=1e-6)*3).sigmoid()
    cal = fit_temperature(hot, targs)
    close(cal.slope, [1/3]*4, .02)
    close(cal.bias, [0]*4)
    assert (calibration_error(cal(hot), targs) < calibration_error(hot, targs)).all()
    assert pickle.loads(pickle.dumps(cal))(hot).equal(cal(hot))

def test_platt_stays_finite():
    probs = torch.tensor([[0., .9, .5, 1.], [1., .1, .5, 1.], [0., .8, .5, 1.]])
    targs = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1]]) # separated, separated, one value, always there
    for fit in (fit_platt, fit_temperature):
        out = fit(probs, targs)(probs)
        assert out.isfinite().all() and (out > 0).all() and (out < 1).all() and out.dtype == probs.dtype
    assert fit_platt(probs, targs*0)(probs).max() < .5

def test_reliability():
    probs = torch.tensor([[.05, .95], [.15, 1.], [.15, .91], [0., .2]])
    targs = torch.tensor([[0, 1], [1, 1], [0, 0], [0, 0]])
    r = reliability(probs, targs, ['a', 'b'])
    assert r[['tag', 'bin', 'count']].values.tolist() == [['a', 0, 2], ['a', 1, 2], ['b', 2, 1], ['b', 9, 3]]
    close(r.predicted, [.025, .15, .2, 2.86/3]); close(r.observed, [0, .5, 0, 2/3])
    close(calibration_error(probs, targs, 10), [.5*.025 + .5*.35, .25*.2 + .75*abs(2.86/3 - 2/3)])
    probs, targs = draw(20000, 3)
    assert calibration_error(probs, targs).max() < .02

# --- bad input: one line that names the value and the place

OK, T = torch.full((4, 3), .5), torch.ones(4, 3)
def put(x, v): x = x.clone(); x[2, 1] = v; return x
BAD = [
    (lambda: fbeta(put(OK, torch.nan), T), r'inp\[2, 1\] is nan'),
    (lambda: fbeta(put(OK, -torch.inf), T), r'inp\[2, 1\] is -inf'),
    (lambda: fbeta(put(OK, 1.5), T, sigmoid=False), r'inp\[2, 1\] is 1\.5'),
    (lambda: fbeta(put(OK, torch.nan), T, sigmoid=False), r'inp\[2, 1\] is nan'),
    (lambda: fbeta(OK, put(T, .5)), r'targ\[2, 1\] is 0\.5'),
    (lambda: fbeta(OK, put(T, torch.nan)), r'targ\[2, 1\] is nan'),
    (lambda: fbeta(OK, T[:, :2]), r'inp \(4, 3\) and targ \(4, 2\)'),
    (lambda: fbeta(OK, T[:1]), r'inp \(4, 3\) and targ \(1, 3\)'),
    (lambda: fbeta(OK[0], T[0]), r'inp has shape \(3,\)'),
    (lambda: fbeta(OK[:0], T[:0]), r'inp has shape \(0, 3\)'),
    (lambda: fbeta(OK, T, thresh=float('nan')), 'thresh is nan'),
    (lambda: fbeta(OK, T, thresh=[.2, torch.nan, .2]), r'thresh\[1\] is nan'),
    (lambda: fbeta(OK, T, thresh=1.2), r'thresh is 1\.2'),
    (lambda: fbeta(OK, T, thresh=[.2, .2]), r'thresh has shape \(2,\)'),
    (lambda: fbeta(OK, T, average='sample'), "average is 'sample'"),
    (lambda: fbeta(OK, T, beta=-1), 'beta is -1'),
    (lambda: fbeta(OK, T, beta=float('nan')), 'beta is nan'),
    (lambda: fbeta_per_chip(OK, T), r'pred\[0, 0\] is 0\.5'),
    (lambda: tag_table(OK, T, ['a', 'b']), r'vocab has 2 tags, probs \(4, 3\)'),
    (lambda: tag_table(put(OK, 2), T, list('abc')), r'probs\[2, 1\] is 2'),
    (lambda: threshold_curve(OK, T, [.1, -.1]), r'threshs\[1\] is -0\.1'),
    (lambda: best_threshold(OK, T[:3]), r'probs \(4, 3\) and targs \(3, 3\)'),
    (lambda: best_thresholds(put(OK, torch.inf), T), r'probs\[2, 1\] is inf'),
    (lambda: best_thresholds(OK, T, start=[.2, 2, .2]), r'thresh\[1\] is 2'),
    (lambda: crossfit_fbeta(OK, T), 'folds is 5 for 4 chips'),
    (lambda: bootstrap_interval([.5, torch.nan]), r'scores\[1\] is nan'),
    (lambda: bootstrap_interval([.5, .6], [.5]), r'scores \(2,\) and other \(1,\)|scores \(2,\).*other \(1,\)'),
    (lambda: bootstrap_interval([]), r'scores has shape \(0,\)'),
    (lambda: bootstrap_interval([.5], level=95), 'level is 95'),
    (lambda: decide(OK[0]), r'probs has shape \(3,\)'),
    (lambda: decide(put(OK, -.1)), r'probs\[2, 1\] is -0\.1'),
    (lambda: decide(put(OK, torch.nan)), r'probs\[2, 1\] is nan'),
    (lambda: decide(OK, beta=float('inf')), 'beta is inf'),
    (lambda: decide(OK, exclusive=[0, 3]), r'exclusive\[1\] is 3'),
    (lambda: decide(OK, exclusive=[-1]), r'exclusive\[0\] is -1'),
    (lambda: decide(OK, exclusive=[1.5]), r'exclusive\[0\] is 1\.5'),
    (lambda: decide(OK, exclusive=[1, 1]), r'exclusive\[1\] repeats the tag 1'),
    (lambda: decide(OK, exclusive=['clear', 'fog'], vocab=['clear', 'haze', 'road']),
     r"exclusive\[1\] is 'fog'.*clear haze road"),
    (lambda: decide(OK, exclusive=['clear']), r"exclusive\[0\] is 'clear'.*vocab="),
    (lambda: decide(OK, exclusive=['a'], vocab=['a', 'b']), 'vocab has 2 tags'),
    (lambda: expected_fbeta(T[:, :2], OK), r'probs \(4, 3\) and pred \(4, 2\)'),
    (lambda: best_constant(put(T, 3)), r'targs\[2, 1\] is 3'),
    (lambda: best_constant(T[:0]), 'targs has no rows'),
    (lambda: fit_platt(OK, put(T, .2)), r'targs\[2, 1\] is 0\.2'),
    (lambda: fit_platt(OK[:0], T[:0]), r'targs has shape \(0, 3\)'),
    (lambda: Calibrator(torch.ones(2), torch.zeros(2))(OK), r'probs \(4, 3\).*2 tags'),
    (lambda: reliability(OK, T, ['a']), 'vocab has 1 tags'),
    (lambda: calibration_error(OK, T, bins=0), 'bins is 0'),
]
@pytest.mark.parametrize('call,says', BAD, ids=[s[:40] for _, s in BAD])
def test_refuses(call, says):
    with pytest.raises(ValueError, match=says) as e: call()
    assert '\n' not in str(e.value)

def test_import_is_light():
    import subprocess, sys
    code = "import sys, planet.metrics; print([m for m in ('fastai', 'sklearn', 'matplotlib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, '-W', 'error', '-c', code], text=True).strip() == '[]'

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
    close(compare_decisions(p, t, exclusive=[1, 2], n=9), compare_decisions(probs, targs, exclusive=[1, 2], n=9), 1e-4)
