"""Coverage of bootstrap confidence intervals: how often a 95 % interval holds the true mean, for four kinds of them.

    python experiments/bench/coverage.py

Samples of 50, 200 and 1,000 chips are drawn from 200,000 simulated ones, whose mean F2 is known, as is the mean
difference of two decision rules and of two models. *percentile* is Efron's interval, *BCa* his bias-corrected and
accelerated one, *studentised* the bootstrap-t with two quantiles, and *ours* the symmetric one of
`planet.resampling.bootstrap_interval`. Seed 0, 2,000 samples each: of F2, 50 chips, percentile 0.931, BCa 0.933,
studentised 0.948, ours 0.944; of two rules that differ on 4 of 50 chips 0.751, 0.619, 0.737, 0.922; on 14 of 200 chips
0.884, 0.870, 0.870, 0.908; at 1,000 chips all are within 0.94 to 0.96.
"""
from planet.cli import progress, say, script

KINDS = 'percentile', 'BCa', 'studentised', 'ours'

def populations(n, tags, seed):
    "Scores of simulated chips: name -> `(n,)`, the F2 of each and differences of F2."
    import numpy as np
    import torch
    from planet.metrics import fbeta_per_chip
    rng, often = np.random.default_rng(seed), np.linspace(.97, .002, tags)**2
    truth = rng.random((n, tags)) < often
    logits = np.log(often/(1 - often)) + 4*truth - 2 + 1.7*rng.normal(size=truth.shape)
    def f2(logits, thresh):
        pred = torch.from_numpy(1/(1 + np.exp(-logits)) > thresh)
        return fbeta_per_chip(pred, torch.from_numpy(truth)).double().numpy()
    one, other = f2(logits, .2), logits + .5*rng.normal(size=truth.shape)
    return {'F2': one, 'rules 0.2 and 0.21': one - f2(logits, .21), 'rules 0.2 and 0.23': one - f2(logits, .23),
            'rules 0.2 and 0.35': one - f2(logits, .35), 'two models': one - f2(other, .2)}

def intervals(scores, n, seed):
    "A 95 % interval of the mean of each of `KINDS`."
    import numpy as np
    from scipy.special import ndtr, ndtri
    from planet.resampling import bootstrap_interval, bootstrap_means
    mean, _, means, _ = bootstrap_means(scores, n, seed)
    yield np.quantile(means, [.025, .975])
    d = scores - mean
    squares = (d*d).sum()
    if not squares: return (yield from [(mean, mean)]*3)
    share = ((means < mean).mean() + (means <= mean).mean())/2
    bias, skew = ndtri(np.clip(share, .001, .999)), (d**3).sum()/(6*squares**1.5)
    at = [ndtr(bias + (bias + z)/(1 - skew*(bias + z))) for z in ndtri([.025, .975])]
    yield np.quantile(means, at)
    rng, m = np.random.default_rng(seed), len(scores)
    values, counts = np.unique(scores, return_counts=True)
    drawn = rng.multinomial(m, counts/m, size=n) # the plain errors of the resamples, without what `ours` adds
    error = np.sqrt(np.maximum(drawn@(values - mean)**2/m - (means - mean)**2, 0)/(m - 1))
    t = (means - mean)[error > 1e-12]/error[error > 1e-12]
    low, high = np.quantile(t, [.025, .975]) if len(t) else (0, 0)
    yield mean - np.array([high, low])*np.sqrt(squares/(m - 1)/m)
    yield bootstrap_interval(scores, np.zeros(m) if scores.min() < 0 else None, n=n, seed=seed)

@script
def main(
    chips:str='50,200,1000', # sizes of the samples, by comma
    samples:int=2000, # samples of each size
    resamples:int=600, # bootstrap resamples of each
    population:int=200_000, # chips that samples are drawn from
    tags:int=17, # tags in the vocab
    seed:int=0, # random seed of what is drawn
):
    "Print the coverage and the median width of four kinds of 95 % bootstrap intervals."
    import numpy as np
    scores, rng = populations(population, tags, seed), np.random.default_rng(seed)
    say(f"{'coverage (and median width)':<28}{'chips':>7}{'differ on':>11}" + ''.join(f'{kind:>18}' for kind in KINDS))
    for name, of in scores.items():
        for size in map(int, chips.split(',')):
            held, widths = [], []
            for i in progress(range(samples), samples, f'{name}, {size:,} chips'):
                found = np.array(list(intervals(rng.choice(of, size), resamples, i)))
                held.append((found[:, 0] <= of.mean()) & (of.mean() <= found[:, 1]))
                widths.append(found[:, 1] - found[:, 0])
            differ = '' if name == 'F2' else f'{(of != 0).mean()*size:.0f}'
            cells = ''.join(f'{h:>9.3f} ({w:.4f})' for h, w in zip(np.mean(held, 0), np.median(widths, 0)))
            say(f'{name:<28}{size:>7,}{differ:>11}{cells}')
