"""Our binary cross entropy beside PyTorch's built-in: time and peak memory of forward + backward, in one run.

    python experiments/bench/losses.py

Prints, for each device and shape, the median time of each, the peak of memory above what was there before, and the
ratios (ours / built-in), which should be 1.25 at most: for small inputs they are a little more. The repeats of the
two are interleaved, so that what else runs on the machine slows both alike. The time is that of a whole step, with the
checks of values that `binary_cross_entropy` makes on that device.

Two shared cores of a Xeon, torch 2.14 and 2.15, several runs: 64,000 x 17 takes 0.68 to 0.88 of the built-in's time and
0.50 of its memory; 512 x 17, where calls cost more than arithmetic, 1.20 to 1.35 of its time (some 0.08 of it the check
of targets) and 0.50 of its memory.
"""
from planet.cli import UserError, script

def step(loss, inp, targ):
    "One forward and backward pass."
    inp.grad = None
    loss(inp, targ).backward()

def times(losses, inp, targ, repeats):
    "Median seconds of a step with each loss."
    from statistics import median
    from time import perf_counter
    import torch
    def wait():
        if inp.is_cuda: torch.cuda.synchronize()
    seen = {k: [] for k in losses}
    for i in range(repeats+10):
        for k,f in losses.items() if i%2 else reversed(losses.items()):
            step(f, inp, targ) # untimed, so that neither pays for what the other left in the caches
            wait()
            start = perf_counter()
            step(f, inp, targ)
            wait()
            seen[k].append(perf_counter()-start)
    return {k: median(v[10:]) for k,v in seen.items()} # the first ten are for warming up

def peak_memory(loss, inp, targ):
    "Most bytes alive at once during a step, above those alive before it."
    import torch
    from torch.profiler import ProfilerActivity, profile
    inp.grad = None
    if inp.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, inp, targ)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()-before
    # the profiler sees each allocation and release of the CPU's allocator, those inside operators too
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof: step(loss, inp, targ)
    events = [e for e in prof.profiler.kineto_results.events() if e.name()=='[memory]']
    live = most = 0
    for e in sorted(events, key=lambda e: e.start_ns()):
        live += e.nbytes()
        most = max(most, live)
    return most

@script
def main(
    repeats:int=300, # steps of each loss at each shape
    dtype:str='float32', # of the logits: float32, bfloat16, float16
    threads:int=0, # CPU threads; 0 leaves PyTorch's choice
):
    "Time and peak memory of our binary cross entropy beside the built-in's."
    import os
    if dtype not in ('float32','bfloat16','float16'):
        raise UserError(f'{dtype} is unknown: float32, bfloat16 or float16', option='dtype')
    if repeats<1 or threads<0: raise UserError('`repeats` is 1 or more, and `threads` 0 or more')
    os.environ.setdefault('KINETO_LOG_LEVEL', '99') # else the profiler talks about GPUs that are not there
    import torch
    import torch.nn.functional as F
    from planet.losses import binary_cross_entropy
    if threads: torch.set_num_threads(threads)
    losses = {'built-in': F.binary_cross_entropy_with_logits, 'ours': binary_cross_entropy}
    print(f'torch {torch.__version__}, {torch.get_num_threads()} CPU threads, {dtype}, forward + backward, '
          f'medians of {repeats} steps')
    print(f"{'device':<8}{'shape':<14}{'built-in':>12}{'ours':>12}{'ratio':>8}{'built-in':>14}{'ours':>12}{'ratio':>8}")
    for device in ['cpu']+['cuda']*torch.cuda.is_available():
        for n in (64000,512):
            torch.manual_seed(42)
            inp = (torch.randn(n, 17)*3).to(device, getattr(torch, dtype)).requires_grad_()
            targ = (torch.rand(n, 17)<.17).to(inp)
            t = times(losses, inp, targ, repeats)
            m = {k: peak_memory(f, inp, targ) for k,f in losses.items()}
            print(f"{device:<8}{f'{n:,} x 17':<14}{t['built-in']*1e6:>9,.0f} us{t['ours']*1e6:>9,.0f} us"
                  f"{t['ours']/t['built-in']:>8.2f}{m['built-in']/1e3:>11,.0f} kB{m['ours']/1e3:>9,.0f} kB"
                  f"{m['ours']/m['built-in']:>8.2f}", flush=True)
