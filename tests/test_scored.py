"What a scored validation set says: scores beside scikit-learn's, baselines, intervals, reports."
from math import isnan
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, fbeta_score
from planet.comparison import paired_difference
from planet.results import AboveThreshold, ClassResult, Score, TagsResult, TunedThresholds

@pytest.fixture
def tags():
    g = torch.Generator().manual_seed(0)
    targs, train = ((torch.rand(n, 4, generator=g) < torch.tensor([.9, .5, .3, .1])).float() for n in (60, 200))
    probs = (targs*.5 + torch.rand(60, 4, generator=g)*.5).clamp(0, 1)
    return TagsResult(probs, targs, [f'chip_{i}' for i in range(60)], 'abcd', AboveThreshold(.4), train=train)

def test_scores_are_those_of_scikit_learn(tags):
    pred = tags.probs.numpy() > .4
    assert tags.scores['f2'] == pytest.approx(fbeta_score(tags.targs, pred, beta=2, average='samples', zero_division=0),
                                              abs=1e-5)
    assert tags.scores['accuracy_multi'] == pytest.approx((pred == tags.targs.numpy()).mean(), abs=1e-5)
    low, high = tags.scores['f2_interval']
    assert low < tags.scores['f2'] < high and tags.scores['f2_baseline'] < tags.scores['f2']
    assert tags.scores['valid_loss'] is None, 'no losses were given'

def test_a_threshold_for_each_tag(tags):
    each = TagsResult(tags.probs, tags.targs, tags.names, 'abcd', AboveThreshold([.4, .4, .4, .4]), train=tags.train)
    assert each.scores == tags.scores and each.facts()['rule'] == dict(kind='thresh', thresh=[.4]*4)
    pd.testing.assert_frame_equal(each.table, tags.table)

def test_a_new_score_is_one_entry(tags, monkeypatch):
    exact = Score('exact match', lambda r: (r.pred == r.truth).all(1).float().mean())
    monkeypatch.setitem(TagsResult.SCORES, 'exact', exact)
    again = TagsResult(tags.probs, tags.targs, tags.names, 'abcd', tags.rule, train=tags.train)
    assert again.scores['exact'] == pytest.approx((again.pred.numpy() == again.truth.numpy()).all(1).mean(), abs=1e-5)
    assert 'exact match' in again.report()

def test_the_report_ends_with_the_scores_and_fits_a_screen(tags):
    lines, _, covers = tags.report().rpartition('\n\n')
    lines, covers = lines.splitlines(), ' '.join(covers.split())
    assert lines[0].split() == ['tag', 'count', 'precision', 'recall', 'F2'] and max(map(len, lines)) <= 80
    assert [line.split('  ')[0] for line in lines[-5:]] == ['F2 at 0.4', 'F2, thresholds cross-fitted',
        'F2, best expected set', 'accuracy_multi at 0.4', 'loss']
    assert '60 validation chips' in covers and 'another region, season' in covers
    grouped = TagsResult(tags.probs, tags.targs, tags.names, 'abcd', tags.rule, train=tags.train,
                         groups=[i//2 for i in range(60)])
    assert '30 groups' in grouped.report() and grouped.facts()['statement'] == grouped.statement
    assert lines[-6].split()[-3:] == ['95', '%', 'interval'] and ' to ' in lines[-5]

def test_probabilities_by_name(tags):
    table = tags.probabilities
    assert list(table.index) == tags.names and list(table) == list('abcd')
    np.testing.assert_allclose(table, tags.probs)

def test_a_single_label():
    probs = torch.tensor([[.7, .2, .1], [.1, .8, .1], [.3, .4, .3], [.2, .2, .6]])
    train = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 2])).float()
    r = ClassResult(probs, torch.tensor([0, 1, 0, 2]), list('wxyz'), ['clear', 'haze', 'cloudy'], lambda p: p.argmax(1),
                    train=train)
    assert r.scores['accuracy'] == accuracy_score([0, 1, 0, 2], [0, 1, 1, 2]) and r.scores['accuracy_baseline'] == .5
    assert r.table.loc['clear', 'haze'] == 1 and r.table.to_numpy().sum() == 4 and 'accuracy' in r.report()

def test_duplicates_stay_together_in_cross_fits(tags):
    "With every chip four times, thresholds tuned on copies of the scored chips would score too high."
    def times(n, groups=None):
        probs, targs = (torch.cat([o]*n) for o in (tags.probs, tags.targs))
        return TagsResult(probs, targs, range(60*n), 'abcd', tags.rule, train=tags.train, groups=groups)
    copies = times(4, [i % 60 for i in range(240)])
    assert abs(copies.scores['f2_tuned'] - tags.scores['f2_tuned']) < .02
    (low, high), (narrow, wide) = copies.scores['f2_interval'], times(4).scores['f2_interval']
    assert high - low > 1.7*(wide - narrow), 'four copies are no more evidence than one'

@pytest.mark.parametrize('n, groups, told', [(6, ['scene']*6, 'single group of chips'), (1, None, 'single chip'),
                                             (1, ['scene'], 'single chip')])
def test_a_validation_set_of_one_scene_or_one_chip_is_scored_without_an_interval(tags, n, groups, told):
    "One scene held out, as in a fold a scene: there is nothing to draw from, and the run goes on."
    one = TagsResult(tags.probs[:n], tags.targs[:n], tags.names[:n], 'abcd', tags.rule, train=tags.train, groups=groups)
    assert 'f2' in one.scores and 'f2_interval' not in one.scores and one.headline()['interval'] is None
    assert told in ' '.join(one.report().split()) and told in one.facts()['statement']
    tuned = one.with_rule(TunedThresholds([.5]*4))
    assert 'tuned on these very chips' in tuned.statement and 'tuned' not in one.statement
    assert 'tuned' not in tags.with_rule(tuned.rule).statement # cross-fitted
    apart = TagsResult(1 - one.probs, one.targs, one.names, 'abcd', tags.rule, groups=groups)
    if n > 1:
        d = paired_difference(one, apart)
        assert all(map(isnan, d.interval)) and 'of one group (a scene)' in d.warning
