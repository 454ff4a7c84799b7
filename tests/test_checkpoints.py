"""Checkpoints: runs that are killed at any moment, interrupted or resumed end as if nothing had happened.

Real processes are killed; they are forked from one that has loaded the libraries, and the whole file takes about a
minute."""
import json
import multiprocessing
import os
import random
import runpy
import signal
import sys
import time
from pathlib import Path
import pandas as pd
import pytest
from experiments import planet_resnet50
from planet.cli import UserError

ROOT = Path(__file__).resolve().parent.parent
QUICK = dict(arch='resnet18', weights='none', size=32, bs=8, epochs=2, freeze_epochs=2, lr=.02)
PRELOAD = ['experiments.planet_resnet50', 'planet.learner', 'planet.results', 'planet.runs', 'planet.checkpoints',
           'planet.plots']

# ---- processes

def command(args, said):
    "What a forked process runs: the script, as from a command line, with all that it says in the file `said`."
    f = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(f, 1)
    os.dup2(f, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler) # which the process that it was forked from ignores
    script = str(ROOT/'experiments'/'planet_resnet50.py')
    sys.argv = [script, *args]
    runpy.run_path(script, run_name='__main__')

@pytest.fixture(scope='module')
def start():
    "Starts the main experiment in a process of its own: `start(said, **options)`."
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOAD)
    def begin(said, **options):
        args = [str(o) for k, v in options.items() for o in (f'--{k}', v)]
        process = context.Process(target=command, args=(args, str(said)))
        process.start()
        return process
    return begin

def wait(process):
    process.join(120)
    return process.exitcode

@pytest.fixture(scope='module')
def few(tmp_path_factory):
    "24 chips."
    from planet.synthetic.chips import write_chips
    return write_chips(tmp_path_factory.mktemp('few')/'chips', n=24, size=64, seed=1)

def the_run(out): return next((out/'planet_resnet50').iterdir())
def record_of(run): return json.loads((run/'record.json').read_text())

@pytest.fixture(scope='module')
def whole(start, few, tmp_path_factory):
    "A run that was never cut, and how long its four epochs took."
    out = tmp_path_factory.mktemp('whole')
    process = start(out/'said', data=few, out=out, **QUICK)
    assert wait(process) == 0, (out/'said').read_text()
    run = the_run(out)
    stages = record_of(run)['stages']
    return run, (stages['head'] + stages['all layers'])/4

def assert_same(run, whole):
    "Two runs that are done have equal weights, probabilities, scores and history, bit by bit."
    weights = [(o/'checkpoint'/'epoch-4'/'model.safetensors').read_bytes() for o in (run, whole)]
    assert weights[0] == weights[1]
    assert (run/'validation.csv').read_bytes() == (whole/'validation.csv').read_bytes()
    assert record_of(run)['scores'] == record_of(whole)['scores'] and record_of(run)['status'] == 'done'
    histories = [pd.read_csv(o/'history.csv').drop(columns='time') for o in (run, whole)]
    pd.testing.assert_frame_equal(*histories)

def after_epoch(run_folder, epoch, process, seconds=60):
    "Wait until a checkpoint is there."
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.is_alive():
        if list(run_folder.glob(f'planet_resnet50/*/checkpoint/epoch-{epoch}')): return
        time.sleep(.002)
    raise AssertionError(f'no epoch {epoch}')

# ---- killed and resumed

MOMENTS = random.Random(12)
@pytest.mark.parametrize('epoch,share', [(e, MOMENTS.random()) for e in (0, 1, 2, 3, MOMENTS.randrange(4))])
def test_a_killed_run_resumed_ends_as_one_that_was_never_cut(start, few, whole, tmp_path, epoch, share):
    "SIGKILL at five random moments: in epochs 1 and 2 (the head) and 3 and 4 (all layers)."
    process = start(tmp_path/'said', data=few, out=tmp_path, **QUICK)
    after_epoch(tmp_path, epoch, process)
    time.sleep(share*whole[1])
    process.kill()
    assert wait(process) == -signal.SIGKILL
    run = the_run(tmp_path)
    assert record_of(run)['status'] == 'running' and record_of(run)['data']['chips'] == 24
    again = start(tmp_path/'said', data=few, out=tmp_path, **QUICK, resume=run)
    assert wait(again) == 0, (tmp_path/'said').read_text()
    assert_same(run, whole[0])
    assert len(list((tmp_path/'planet_resnet50').iterdir())) == 1 and len(record_of(run)['resumed']) == 1

@pytest.mark.parametrize('signum,status,epoch', [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 3)])
def test_an_interrupted_run_says_how_to_resume(start, few, whole, tmp_path, signum, status, epoch):
    process = start(tmp_path/'said', data=few, out=tmp_path, **QUICK)
    after_epoch(tmp_path, epoch, process)
    os.kill(process.pid, signum)
    assert wait(process) == status
    run, said = the_run(tmp_path), (tmp_path/'said').read_text().splitlines()[-1]
    record = record_of(run)
    assert record['status'] == 'interrupted' and len(pd.read_csv(run/'history.csv')) >= epoch
    typed = said.split('; to resume: ')[1].split()
    assert typed[:2] == ['python', 'experiments/planet_resnet50.py'] and typed[-2:] == ['--resume', str(run)]
    options = dict(zip((o.removeprefix('--') for o in typed[2::2]), typed[3::2]))
    assert wait(start(tmp_path/'said', **options)) == 0, (tmp_path/'said').read_text()
    assert_same(run, whole[0])

def test_a_run_that_is_over_or_still_on_is_not_resumed(start, few, whole, tmp_path):
    process = start(tmp_path/'said', data=few, out=tmp_path, **QUICK)
    after_epoch(tmp_path, 0, process)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(UserError, match='`resume` .* is still running'):
            planet_resnet50.main(data=str(few), out=str(tmp_path), **QUICK, resume=str(the_run(tmp_path)))
    finally: process.kill()
    with pytest.raises(UserError, match='`resume` .* is done: nothing is left'):
        planet_resnet50.main(data=str(few), out=str(tmp_path), **QUICK, resume=str(whole[0]))
    with pytest.raises(UserError, match='`resume` .*: no such run'):
        planet_resnet50.main(data=str(few), out=str(tmp_path), **QUICK, resume='resnet')
