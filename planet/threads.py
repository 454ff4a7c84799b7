"The number of threads of the CPU: as many as are asked for, or as make a step fastest, measured at the start."
import os
from time import perf_counter
import torch
from planet.cli import say

__all__ = ['candidates', 'choose_threads']

SECONDS = 3 # that measuring may take

def candidates(
    cores:int, # threads that torch takes by itself
) -> list:
    "Numbers of threads to try: all, one fewer, half of them, one of two; none where there is nothing to choose."
    found = {cores, cores - 1, cores//2} if cores > 2 else {cores, 1}
    return sorted((n for n in found if n > 0), reverse=True)

def measured(
    step, # a function without arguments
    tries, # numbers of threads
    rounds:int=3, # in turn, so that what else the machine does meets all of them
) -> dict: # number of threads -> seconds of the fastest step
    "Seconds of a step with each number of threads."
    seconds, start = {n: [] for n in tries}, perf_counter()
    for at in range(rounds + 1): # the first one warms up
        for n in tries:
            torch.set_num_threads(n)
            begin = perf_counter()
            step()
            if at: seconds[n].append(perf_counter() - begin)
        if at and perf_counter() - start > SECONDS: break
    return {n: sorted(found)[len(found)//2] for n, found in seconds.items()}

def choose_threads(
    learn, # about to be trained, on the CPU: elsewhere nothing is changed
    threads:int=0, # as many, without measuring
) -> int: # threads that work from here on
    """Set torch's number of threads: `threads`, or the fastest for a step of this model, measured now.

    Threads wait for one another in every operation, so that beside a busy process fewer can be faster. Nothing is
    measured where $OMP_NUM_THREADS says how many there should be. """
    cores = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
        return threads
    if learn.dls.device.type != 'cpu' or cores == 1 or 'OMP_NUM_THREADS' in os.environ: return cores
    model, given = learn.model, learn.settings
    x = torch.zeros(16, given['channels'], given['size'], given['size'])
    training = model.training
    def step():
        with torch.no_grad(): learn.precision.forward(model, x)
    try:
        model.eval()
        seconds = measured(step, candidates(cores))
    finally:
        model.train(training)
        torch.set_num_threads(cores)
    best = min(seconds, key=seconds.get)
    if seconds[best] > .9*seconds[cores]: best = cores # no more than noise
    torch.set_num_threads(best)
    if best != cores:
        say(f'threads: {best} of {cores}, as other processes are busy: a step takes {seconds[best]:.2f} s, '
            f'with {cores} threads {seconds[cores]:.2f} s')
    return best
