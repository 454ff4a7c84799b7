"Data-parallel training under `torchrun` or `accelerate launch`: a share of the chips for each process, one record."
import os
import random
import sys
from contextlib import ExitStack, contextmanager, redirect_stdout
from tempfile import TemporaryDirectory
from planet.cli import UserError, say

__all__ = ['process_count', 'rank', 'scratch', 'check_joined', 'processes', 'data_parallel', 'bare']

VARIABLES = 'WORLD_SIZE', 'RANK', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'GROUP_RANK', 'ROLE_RANK', 'ROLE_WORLD_SIZE'
ALONE = dict(resume='', track='none', wandb=False, name='') # what the first process alone does

def process_count() -> int:
    "How many processes train together, as the launcher says."
    return int(os.environ.get('WORLD_SIZE') or 1)

def rank() -> int:
    "Which of them this is; the first, 0, writes the record."
    return int(os.environ.get('RANK') or 0) if process_count() > 1 else 0

_scratch, _joined = [], [] # the folder, while there is one; whether this process has joined the others

def scratch() -> str|None:
    "A folder for the record of a process other than the first one, which nobody reads; else `None`."
    return _scratch[-1] if _scratch else None

def check_joined():
    "Raise a `UserError` where a launcher started several processes of what trains in one: each would do all of it."
    if process_count() > 1 and not _joined:
        raise UserError(f'{process_count()} processes were started of an experiment that trains in one: start it alone')

@contextmanager
def processes(o, # options of a run, changed for the processes that write no record
             ): # yields whether this process is the first one
    """Join the processes that a launcher started: the first one writes and says all, the others train.

    Without a launcher nothing happens, and torch is not imported. Call it before anything goes to a GPU.
    """
    if process_count() < 2:
        yield True
        return
    if o.get('resume'):
        raise UserError('several processes cannot go on from a checkpoint: resume it with one', option='resume')
    if o.get('bs', 64) < 2*process_count(): # batch norm has no statistics of one chip
        raise UserError(f'{o.bs} chips in a batch are too few for {process_count()} processes: {2*process_count()} at '
                        'least', option='bs')
    import torch
    cuda, number = torch.cuda.is_available(), int(os.environ.get('LOCAL_RANK') or 0)
    if cuda and number >= torch.cuda.device_count():
        raise UserError(f'process {number} has no GPU, of which there are {torch.cuda.device_count()}: start fewer')
    if cuda: torch.cuda.set_device(number)
    torch.distributed.init_process_group('nccl' if cuda else 'gloo')
    with ExitStack() as stack:
        stack.callback(_leave)
        _joined.append(True)
        stack.callback(_joined.clear)
        if rank():
            o.update({k: v for k, v in ALONE.items() if k in o})
            _scratch.append(stack.enter_context(TemporaryDirectory()))
            stack.callback(_scratch.clear)
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, 'w'))))
        else: say(f'{process_count()} processes train together, each on its share of every batch')
        yield not rank()

def _leave():
    "Leave the group: what follows (scores, export) is done by one process, and fastai should not look for others."
    import torch
    if torch.distributed.is_initialized(): torch.distributed.destroy_process_group()
    for name in VARIABLES: os.environ.pop(name, None)

def bare(o):
    "A model or a loader itself, without what is around it in several processes: weights keep their names."
    inside = dict(DistributedDataParallel='module', DistributedDL='dl').get(type(o).__name__)
    return getattr(o, inside) if inside else o

@contextmanager
def data_parallel(learn, # about to be trained, in each process the same
                 ): # yields whether this process goes on afterwards: the first one
    "Train a learner data-parallel through fastai's `DistributedTrainer`; at the end one process is left of the group."
    n, first = process_count(), not rank()
    if n < 2:
        yield True
        return
    if (few := learn.dls.train.bs) < 2*n:
        raise UserError(f'{few} training chips are too few for {n} processes: {2*n} at least, or one process')
    try:
        from fastai.distributed import DistributedDL
    except (ImportError, NameError): # it needs accelerate to be imported
        raise UserError('several processes need accelerate: pip install accelerate') from None
    import torch
    cuda = torch.distributed.get_backend() == 'nccl'
    def broadcast(self, numbers, source): # fastai's knows NVIDIA GPUs only
        sent = torch.tensor(numbers, device='cuda' if cuda else 'cpu')
        torch.distributed.broadcast(sent, source)
        return sent.tolist()
    DistributedDL._broadcast = broadcast
    sizes = [d.bs for d in learn.dls.loaders]
    for d in learn.dls.loaders: d.bs = d.bs//n # a step sees as many chips as with one process
    random.seed(random.getrandbits(32) + rank()) # flips and turns of a share are its own
    try:
        with learn.distrib_ctx(sync_bn=cuda, **({} if cuda else dict(cpu=True))): yield first
    finally:
        for d, bs in zip(learn.dls.loaders, sizes): d.bs = bs
        if sys.exc_info()[0] is None: torch.distributed.barrier()
        _leave()
