"""Seconds that metrics, thresholds and decisions take, beside scikit-learn's, all in one run.

    python experiments/bench/metrics.py

The best of a few repeats each, on probabilities drawn at random with the competition's numbers of chips and tags; the
last lines are for a vocab of thousands of tags.
"""
from time import perf_counter
from planet.cli import say, script

def draw(n, tags, seed):
    "Logits and the targets that they were drawn from, `(n, tags)` each, with frequent and rare tags"
    import torch
    g = torch.Generator().manual_seed(seed)
    freq = torch.linspace(.9, .002, tags)**2
    targs = torch.rand(n, tags, generator=g) < freq
    return freq.logit() + 4*targs - 2 + 1.7*torch.randn(n, tags, generator=g), targs

def cases(train, test, tags, seed):
    "What is timed: name -> function"
    import torch
    from planet.metrics import best_threshold, best_thresholds, crossfit_fbeta, decide, threshold_curve
    logits, targs = draw(train, tags, seed)
    probs, held = logits.sigmoid(), torch.rand(test, tags, generator=torch.Generator().manual_seed(seed))**3
    return {f'decide, {test:,} x {tags}': lambda: decide(held),
            '  with an exclusive group': lambda: decide(held, exclusive=range(min(4, tags))),
            f'best_thresholds, {train:,} x {tags}': lambda: best_thresholds(probs, targs),
            '  cross-fitted, 5 folds and all': lambda: crossfit_fbeta(probs, targs),
            'best_threshold': lambda: best_threshold(probs, targs),
            'threshold_curve, 101 thresholds': lambda: threshold_curve(probs, targs)}

def cases_on_the_gpu(train, test, tags, seed):
    "The same on CUDA, each waiting for its result"
    import torch
    from planet.metrics import decide, fbeta
    logits, targs = (x.cuda() for x in draw(train, tags, seed))
    held = torch.rand(test, tags, device='cuda')**3
    def synced(f): return lambda: (f(), torch.cuda.synchronize())
    return {'fbeta on the GPU': synced(lambda: fbeta(logits, targs)),
            '  a batch of 512': synced(lambda: fbeta(logits[:512], targs[:512])),
            'decide on the GPU': synced(lambda: decide(held))}

def fastest(f, repeats):
    def once():
        start = perf_counter()
        f()
        return perf_counter() - start
    return min(once() for _ in range(repeats))

@script
def main(
    test:int=61191, # chips to decide on: the competition's test set
    train:int=40479, # chips to tune and score on: its training set
    tags:int=17, # tags in the vocab
    many:int=10_000, # tags of a large vocab, for 10 chips; 0: leave it out
    threads:int=2, # CPU threads
    repeats:int=3, # times that each is measured; the fastest counts
    seed:int=42, # random seed of what is drawn
):
    "Print the seconds that `decide`, `best_thresholds` and `fbeta` take, the last beside scikit-learn's."
    import torch
    from sklearn.metrics import fbeta_score
    from planet.metrics import best_constant, decide, fbeta
    torch.set_num_threads(threads)
    for name, f in cases(train, test, tags, seed).items(): say(f'{name:36} {fastest(f, repeats):7.3f} s')
    logits, targs = draw(train, tags, seed)
    ours = fastest(lambda: fbeta(logits, targs), repeats)
    theirs = fastest(lambda: fbeta_score(targs.numpy(), (logits.sigmoid() > .2).numpy(), beta=2, average='samples',
                                         zero_division=0), repeats)
    say(f'{"fbeta, from logits":36} {ours:7.3f} s',
        f'{"  scikit-learn":36} {theirs:7.3f} s   {theirs/ours:.1f} times ours')
    if many:
        logits, targs = draw(10, many, seed)
        rare = targs & (torch.arange(many) % 50 == 0) # some 60 tags a chip
        for name, f in {f'decide, 10 x {many:,}': lambda: decide((logits - 4).sigmoid()),
                        'best_constant': lambda: best_constant(rare)}.items():
            say(f'{name:36} {fastest(f, 1):7.3f} s')
    if torch.cuda.is_available():
        for name, f in cases_on_the_gpu(train, test, tags, seed).items():
            f()
            say(f'{name:36} {fastest(f, repeats):7.4f} s')
