"""How fast metrics decide, tune and score, all in one run: python experiments/bench/metrics.py

The best of a few repeats each, on probabilities drawn at random with the competition's numbers of chips and tags."""
from fastcore.script import call_parse

@call_parse
def main(
    test:int=61191, # chips to decide on: the competition's test set
    train:int=40479, # chips to tune and score on: its training set
    tags:int=17,
    threads:int=2, # CPU threads
    repeats:int=3,
    seed:int=42,
):
    "Print the seconds that `decide`, `best_thresholds` and `fbeta` take, the last beside scikit-learn's"
    import time, torch
    from sklearn.metrics import fbeta_score
    from planet.metrics import best_threshold, best_thresholds, crossfit_fbeta, decide, fbeta, threshold_curve
    torch.set_num_threads(threads)
    g = torch.Generator().manual_seed(seed)
    freq = torch.linspace(.9, .002, tags)**2
    targs = torch.rand(train, tags, generator=g) < freq
    logits = freq.logit() + 4*targs - 2 + 1.7*torch.randn(train, tags, generator=g)
    probs, held = logits.sigmoid(), torch.rand(test, tags, generator=g)**3

    def best(f, sync=lambda: None):
        def once():
            sync(); start = time.perf_counter(); f(); sync()
            return time.perf_counter() - start
        return min(once() for _ in range(repeats))
    group = list(range(min(4, tags)))
    for name, f in {f'decide, {test:,} x {tags}': lambda: decide(held),
                    '  with an exclusive group': lambda: decide(held, exclusive=group),
                    f'best_thresholds, {train:,} x {tags}': lambda: best_thresholds(probs, targs),
                    '  cross-fitted, 5 folds and all': lambda: crossfit_fbeta(probs, targs),
                    'best_threshold': lambda: best_threshold(probs, targs),
                    'threshold_curve, 101 thresholds': lambda: threshold_curve(probs, targs)}.items():
        print(f'{name:36} {best(f):7.3f} s', flush=True)
    ours = best(lambda: fbeta(logits, targs))
    theirs = best(lambda: fbeta_score(targs.numpy(), (logits.sigmoid() > .2).numpy(), beta=2, average='samples',
                                      zero_division=0))
    print(f'{"fbeta, from logits":36} {ours:7.3f} s')
    print(f'{"  scikit-learn":36} {theirs:7.3f} s   {theirs/ours:.1f} times ours')
    if torch.cuda.is_available():
        x, y, batch = logits.cuda(), targs.cuda(), slice(0, 512)
        fbeta(x, y), decide(held[:9].cuda())
        for name, f in {'fbeta on the GPU': lambda: fbeta(x, y), '  a batch of 512': lambda: fbeta(x[batch], y[batch]),
                        'decide on the GPU': lambda: decide(held.cuda())}.items():
            print(f'{name:36} {best(f, torch.cuda.synchronize):7.4f} s')
