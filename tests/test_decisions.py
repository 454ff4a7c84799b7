"The best tag set of each chip, and the best constant one, against brute force"
import itertools
import time
import numpy as np
import pytest
import torch
from scores import close, draw
from planet import cli
from planet.metrics import best_constant, best_thresholds, bootstrap_interval, decide, expected_fbeta, fbeta_per_chip

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
    got = decide(p)
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

@pytest.mark.parametrize('group', [[], [0, 3, 59], [100, 2, 150]])
@pytest.mark.parametrize('beta', [.5, 1, 2])
def test_decide_beyond_the_table_is_the_same(group, beta):
    # tags that are certainly absent change nothing, but make the vocab too large for the table
    p, _ = draw(60, 60, 7, dtype=torch.float64)
    p[0], p[1], p[2, ::2], p[3] = 0, 1, 1, .5
    many = torch.zeros(60, 200, dtype=torch.float64)
    many[:, :60] = p
    few = torch.cat([p, torch.zeros(60, 2, dtype=torch.float64)], 1) # the group's columns beyond 60 are the last ones
    narrow = [i if i < 60 else 60 + (i == 150) for i in group]
    got, want = decide(many, beta, group or None), decide(few, beta, narrow or None)
    claim = expected_fbeta(got, many, beta, group or None)
    close(claim, expected_fbeta(want, few, beta, narrow or None), 1e-11) # and but for ties the same sets:
    clear = [i for i in range(60) if i not in (0, 1, 2, 3)]
    assert torch.equal(got[clear][:, :60], want[clear][:, :60])
    assert torch.equal(decide(many, beta, group or None, bs=7), got)
    best = decide(few, beta, narrow or None)
    close(expected_fbeta(torch.cat([best[:, :60], got[:, 60:]], 1), many, beta, group or None), claim, 1e-11)

def test_a_large_group_of_exclusive_tags_is_decided_exactly():
    rng = np.random.default_rng(3)
    p = torch.tensor(rng.random((4, 600))**6)
    got = decide(p, exclusive=range(400))
    worth = expected_fbeta(got, p, exclusive=range(400))
    inside, outside = (x.argsort(descending=True).tolist() for x in (p[0, :400], p[0, 400:]))
    for a in range(8): # the likeliest of both, in every proportion that could pay
        other = torch.zeros(200, 600, dtype=torch.bool)
        other[:, inside[:a]] = True
        for m in range(200): other[m, [400 + i for i in outside[:m]]] = True
        assert (expected_fbeta(other, p[:1].expand(200, -1), exclusive=range(400)) <= worth[0] + 1e-11).all()

def test_decide_beyond_the_table_ties_and_extremes():
    assert not decide(torch.zeros(2, 300)).any() and decide(torch.ones(1, 300)).all()
    p = torch.zeros(1, 300); p[0, [5, 9, 200]] = .5
    assert decide(p, beta=0).nonzero().tolist() == [[0, 5]] # a tie: fewest, earliest
    assert decide(torch.zeros(1, 300), exclusive=range(3)).nonzero()[:, 1].tolist() == [0, 1, 2]
    assert decide(torch.rand(2, 130), exclusive=range(130)).shape == (2, 130) # no tag outside the group
    assert decide(torch.zeros(0, 300)).shape == (0, 300)

def test_ten_thousand_tags_take_bounded_work(monkeypatch, capsys):
    rng = np.random.default_rng(0)
    probs = torch.tensor(rng.random((6, 10_000))**40, dtype=torch.float32)
    start = time.perf_counter()
    got = decide(probs)
    assert time.perf_counter() - start < 30 # 1 s on two quiet cores; the table took minutes a chip
    worth = expected_fbeta(got, probs)
    for t in (.1, .2, .3): assert (expected_fbeta(probs > t, probs) <= worth + 1e-10).all()
    targs = torch.tensor(rng.random((50, 10_000))) < probs[0]
    start = time.perf_counter()
    best = best_constant(targs)
    assert time.perf_counter() - start < 30
    few = targs.any(0) # what is never true is never answered
    assert few.sum() > 200 and not best[~few].any() and torch.equal(best[few], best_constant(targs[:, few]))
    clock = itertools.count(0, 3.)
    monkeypatch.setattr(cli.time, 'monotonic', lambda: next(clock)) # three seconds a look
    decide(probs), best_thresholds(probs[:, :50], probs[:, :50] > .5)
    out = capsys.readouterr().out
    assert 'best tag sets: ' in out and 'thresholds per tag: ' in out

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

def test_best_constant_beyond_the_table_is_the_same():
    for seed in range(5):
        targs = torch.rand(100, 60, generator=torch.Generator().manual_seed(seed)) < torch.linspace(.5, .01, 60)
        wide = torch.zeros(100, 400, dtype=torch.bool); wide[:, 100:160] = targs
        for beta in (.5, 1, 2): assert torch.equal(best_constant(wide, beta)[100:160], best_constant(targs, beta))
    assert not best_constant(torch.zeros(3, 400)).any() and best_constant(torch.ones(3, 400)).all()

def test_best_constant_over_many_tags():
    targs = torch.rand(200, 45) < torch.linspace(.6, .01, 45)
    best = best_constant(targs)
    top = fbeta_per_chip(best.expand_as(targs), targs).mean().item()
    for j in range(45):
        other = best.clone(); other[j] = ~best[j]
        assert fbeta_per_chip(other.expand_as(targs), targs).mean().item() <= top + 1e-6
    assert not best_constant(torch.zeros(3, 4)).any()
