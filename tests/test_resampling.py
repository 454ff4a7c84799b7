"Folds, groups, cross-fitted scores and bootstrap intervals: what they must not see, and how often they are right"
import numpy as np
import pandas as pd
import torch
from hypothesis import given, settings, strategies as st
from scores import close, draw
from planet.metrics import (
    best_threshold,
    best_thresholds,
    bootstrap_interval,
    compare_decisions,
    crossfit_calibrate,
    crossfit_fbeta,
    fbeta,
    fbeta_per_chip,
    kfolds,
)

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
        truth = fbeta(*fresh, thresh=best_thresholds(probs, targs), sigmoid=False).item()
        gaps.append((r.naive - truth, r.score - truth))
    naive, honest = np.mean(gaps, 0)
    assert naive > .03 and abs(honest) < naive/2

@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 9), min_size=5, max_size=40), folds=st.integers(2, 5))
def test_folds_keep_groups_whole_and_sizes_even(seed, sizes, folds):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    fold = kfolds(len(groups), folds, seed, groups)
    assert fold.dtype == torch.int64 and all(len(fold[groups == g].unique()) == 1 for g in range(len(sizes)))
    count = torch.bincount(fold, minlength=folds)
    assert count.min() > 0 and count.max() - count.min() <= max(sizes)
    names = [f'scene {g}' for g in groups] # whatever names groups: the same folds
    for other in (names, pd.Series(names, index=range(7, 7 + len(names))), torch.as_tensor(groups)):
        assert torch.equal(fold, kfolds(len(groups), folds, seed, other))

def test_chips_that_are_their_own_groups_change_nothing():
    (probs, targs), own = draw(200, 5), list(range(200))
    assert torch.equal(kfolds(200, 7, 3, own), kfolds(200, 7, 3))
    assert torch.equal(kfolds(200), torch.from_numpy(np.random.default_rng(42).permutation(200) % 5))
    assert crossfit_fbeta(probs, targs, groups=own).score == crossfit_fbeta(probs, targs).score
    assert torch.equal(crossfit_calibrate(probs, targs, groups=own), crossfit_calibrate(probs, targs))
    close(bootstrap_interval(probs[:, 0], groups=own), bootstrap_interval(probs[:, 0]), 1e-12)
    once = compare_decisions(probs, targs, n=50)
    pd.testing.assert_frame_equal(compare_decisions(probs, targs, n=50, groups=own), once)

def test_duplicates_do_not_raise_a_cross_fitted_score():
    apart, together = [], []
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        probs, targs = torch.rand(80, 12, generator=g), torch.rand(80, 12, generator=g) < .15 # nothing to be learned
        copy = torch.arange(80).repeat_interleave(4)
        fresh = torch.rand(4000, 12, generator=g), torch.rand(4000, 12, generator=g) < .15
        truth = fbeta(*fresh, thresh=best_thresholds(probs, targs), sigmoid=False).item()
        apart.append(crossfit_fbeta(probs[copy], targs[copy]).score - truth)
        grouped = crossfit_fbeta(probs[copy], targs[copy], groups=copy)
        together.append(grouped.score - truth)
        close(grouped.score, crossfit_fbeta(probs, targs).score) # as if each chip were there once
        close(grouped.per_chip[::4], grouped.per_chip[3::4])
    assert np.mean(apart) > .04 and abs(np.mean(together)) < .01

def test_duplicates_do_not_improve_calibration_or_any_rule():
    g = torch.Generator().manual_seed(0)
    probs, targs = torch.rand(60, 6, generator=g), torch.rand(60, 6, generator=g) < .3
    copy = torch.arange(60).repeat_interleave(4)
    fold = kfolds(240, 5, 42, copy)
    got = crossfit_calibrate(probs[copy], targs[copy], groups=copy)
    mixed = targs.clone(); mixed[fold[::4] == 2] = ~targs[fold[::4] == 2] # no copy calibrates its chip
    other = crossfit_calibrate(probs[copy], mixed[copy], groups=copy)
    assert torch.equal(got[fold == 2], other[fold == 2]) and not torch.equal(got[fold == 3], other[fold == 3])
    once = compare_decisions(probs, targs, n=2000)
    four = compare_decisions(probs[copy], targs[copy], n=2000, groups=copy)
    fitted = [r for r in once.index if 'Platt' not in r] # softened targets count chips
    close(once.f2[fitted], four.f2[fitted])
    close(once.loc[fitted, ['low', 'high']], four.loc[fitted, ['low', 'high']], .01)
    apart = compare_decisions(probs[copy], targs[copy], n=2000)
    assert apart.f2['thresholds per tag, cross-fitted'] > four.f2['thresholds per tag, cross-fitted'] + .02
    assert ((apart.high - apart.low) < .7*(four.high - four.low)).all()

def test_intervals_over_groups_cover_the_truth():
    rng = np.random.default_rng(0)
    hits = []
    for i in range(200):
        scene = rng.normal(.7, .1, 40) # 40 scenes of 1 to 9 chips that resemble one another
        group = np.repeat(np.arange(40), rng.integers(1, 10, 40))
        scores = scene[group] + rng.normal(0, .02, len(group))
        intervals = [bootstrap_interval(scores, n=300, seed=i, groups=g) for g in (None, group)]
        hits.append([low <= .7 <= high for low, high in intervals])
    single, grouped = np.mean(hits, 0)
    assert single < .75 < .88 < grouped < .99

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
