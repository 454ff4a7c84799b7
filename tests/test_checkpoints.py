"""Checkpoints: runs that are killed at any moment, interrupted or resumed end as if nothing had happened.

Real processes are killed; they are forked from one that has loaded the libraries, and the whole file takes about a
minute."""
import errno
import json
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from experiments import planet_resnet50, weather_resnet18
from planet import checkpoints
from planet.checkpoint_files import find_checkpoints, pack, read_checkpoint, unpack
from planet.checkpoints import is_out_of_memory
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
    multiprocessing.set_start_method('fork', force=True) # the workers of a command are its own children
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
    with pytest.raises(UserError, match='no run is called resnet'):
        planet_resnet50.main(data=str(few), out=str(tmp_path), **QUICK, resume='resnet')

# ---- checkpoints that do not fit

def train(few, out, **options): return planet_resnet50.main(data=str(few), out=str(out), **{**QUICK, **options})

class Stop(Callback):
    "Ctrl-C at the end of an epoch, or another error, once."
    order = 2000 # after the checkpoint was written
    def __init__(self, epoch, error=KeyboardInterrupt): self.at, self.count, self.error = epoch, 0, error
    def after_epoch(self):
        self.count += 1
        if self.count == self.at: raise self.error

@pytest.fixture
def with_callback(monkeypatch):
    "Gives every learner that is trained a further callback."
    def add(cb):
        train = checkpoints.Checkpoints.train
        def with_cb(self, learn, fit):
            with learn.added_cbs(cb): train(self, learn, fit)
        monkeypatch.setattr(checkpoints.Checkpoints, 'train', with_cb)
    return add

@pytest.fixture
def cut(few, tmp_path, with_callback, monkeypatch):
    "The folder of a run that was interrupted after its third epoch."
    with monkeypatch.context() as m:
        before = checkpoints.Checkpoints.train
        with_callback(Stop(3))
        with pytest.raises(KeyboardInterrupt): train(few, tmp_path)
        m.setattr(checkpoints.Checkpoints, 'train', before)
        yield the_run(tmp_path)

def test_the_last_two_and_the_best_are_kept_without_pickles(cut):
    found = find_checkpoints(cut/'checkpoint')
    best = record_of(cut)['best']
    assert {p.name for p in found} == {'epoch-2', 'epoch-3', f"epoch-{best['epoch']}"} and best['metric'] == 'f2'
    for path in found:
        assert {p.name for p in path.iterdir()} == {'model.safetensors', 'training.safetensors', 'state.json'}
        assert read_checkpoint(path).facts['done'] == int(path.name[-1])
    assert len(pd.read_csv(cut/'history.csv')) == 3

def cut_short(path): path.write_bytes(path.read_bytes()[:-50])
def one_bit(path):
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)

@pytest.mark.parametrize('name,damage,said', [
    ('model.safetensors', cut_short, 'model.safetensors is not what was written'),
    ('training.safetensors', one_bit, 'training.safetensors is not what was written'),
    ('state.json', cut_short, 'state.json is truncated or was changed'), ('state.json', one_bit, 'state.json'),
    ('model.safetensors', Path.unlink, 'model.safetensors: No such file')])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_offered(few, whole, cut, name, damage, said):
    damage(cut/'checkpoint'/'epoch-3'/name)
    before = cut/'checkpoint'/'epoch-2'
    with pytest.raises(UserError, match=f'`resume` .*epoch-3 is damaged .*{said}.*resume from {before}, the one'):
        train(few, cut.parent.parent, resume=str(cut))
    assert record_of(cut)['status'] == 'interrupted' # and nothing was changed
    if damage is one_bit and name != 'state.json':
        train(few, cut.parent.parent, resume=str(before))
        assert_same(cut, whole[0])

def test_a_checkpoint_of_other_options_is_refused(few, cut):
    out = cut.parent.parent
    said = r"`resume` .* was made with `size` 32 \(now 64\); `seed` 42 \(now 1\): call it again with resume="
    with pytest.raises(UserError, match=said): train(few, out, resume=str(cut), size=64, seed=1)
    assert record_of(cut)['status'] == 'interrupted' and record_of(cut)['options']['size'] == 32

@pytest.mark.parametrize('change,said', [
    (lambda table: table.replace('primary', 'forest'), 'another vocab with primary without forest; another label tab'),
    (lambda table: table.replace('primary', 'clear', 1), 'another label table')])
def test_a_checkpoint_of_other_data_is_refused(few, cut, tmp_path, change, said):
    mine = Path(shutil.copytree(few, tmp_path/'mine'))
    table = next(mine.glob('*.csv'))
    table.write_text(change(table.read_text()))
    with pytest.raises(UserError, match=f'`resume` .*epoch-3 was made with .*{said}'):
        train(mine, tmp_path, resume=str(cut))

def test_chips_that_were_moved_and_are_the_same_are_resumed(few, whole, cut, tmp_path):
    moved = shutil.copytree(few, tmp_path/'moved')
    train(moved, tmp_path, resume=str(cut))
    assert_same(cut, whole[0])

def test_pack_and_unpack_are_inverse():
    tensors, value = {}, {'a': [torch.arange(3), {1: None, 2: 1.5}], 'b': {'c': torch.ones(2, 2, dtype=torch.bfloat16)}}
    found = unpack(json.loads(json.dumps(pack(value, tensors))), tensors)
    assert (found['a'][0] == torch.arange(3)).all() and found['a'][1] == {1: None, 2: 1.5}
    assert (found['b']['c'] == 1).all() and found['b']['c'].dtype is torch.bfloat16
    assert unpack(pack(np.arange(3, dtype=np.uint32), tensors, 'n'), tensors).tolist() == [0, 1, 2]

# ---- stopping early

def test_patience_ends_a_stage_and_keeps_the_best_epoch(few, tmp_path, capsys):
    train(few, tmp_path, lr=1e-9, epochs=8, freeze_epochs=1, patience=2) # learns nothing
    record, history = record_of(the_run(tmp_path)), pd.read_csv(the_run(tmp_path)/'history.csv')
    assert list(history.stage) == ['head', *['all layers']*3][:len(history)] and len(history) < 9
    assert record['best']['epoch'] == 1 and any('epoch 1, the best (f2' in w for w in record['warnings'])
    assert 'no better f2 for 2 epochs, so this stage ends' in capsys.readouterr().out

class Grow(Callback):
    "Weights become NaN in the second epoch."
    def after_step(self):
        if self.epoch == 1: self.model[1][-1].bias.data.fill_(float('nan'))

def test_a_run_that_diverges_keeps_the_last_good_epoch(few, tmp_path, with_callback):
    with_callback(Grow())
    said = r'diverged in epoch 2 of 2, batch 2 \(head, step 4\)'
    with pytest.raises(UserError, match=said) as e: train(few, tmp_path)
    run = the_run(tmp_path)
    record = record_of(run)
    assert record['status'] == 'diverged' and record['error'].startswith('training diverged in epoch 2')
    assert e.value.kept == f"{run}, and the last good epoch in {run/'checkpoint'/'epoch-1'}"
    assert all(torch.isfinite(v).all() for v in read_checkpoint(run/'checkpoint'/'epoch-1').model.values())

# ---- faults of the machine

class Full(Callback):
    "Memory runs out in a batch of more than `most` chips, from epoch `since` on."
    def __init__(self, most, since=0): self.most, self.begin = most, since
    def before_batch(self):
        if self.training and len(self.xb[0]) > self.most and len(self.learn.history.rows) >= self.begin:
            raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')

@pytest.mark.parametrize('since', [0, 3])
def test_out_of_memory_halves_the_batch_once(few, tmp_path, with_callback, capsys, since):
    with_callback(Full(4, since))
    train(few, tmp_path)
    record, said = record_of(the_run(tmp_path)), 'memory ran out with batches of 8: going on with batches of 4'
    assert record['status'] == 'done' and said in record['warnings'] and f'WARNING: {said}' in capsys.readouterr().out
    assert len(pd.read_csv(the_run(tmp_path)/'history.csv')) == 4

def test_out_of_memory_with_mixup_of_a_single_label(few, tmp_path, with_callback):
    "The epoch that broke off has left MixUp's own loss function."
    with_callback(Full(4))
    weather_resnet18.main(data=str(few), out=str(tmp_path), **QUICK, mixup=.4)
    assert record_of(next((tmp_path/'weather_resnet18').iterdir()))['status'] == 'done'

def test_out_of_memory_twice_says_what_would_fit(few, tmp_path, with_callback):
    with_callback(Full(1))
    with pytest.raises(UserError, match='memory ran out with batches of 4 too: take `bs` 2, a smaller `size`'):
        train(few, tmp_path)
    assert record_of(the_run(tmp_path))['status'] == 'failed'

@pytest.mark.parametrize('error,yes', [(MemoryError(), True), (torch.OutOfMemoryError('x'), True),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
    (RuntimeError('shape mismatch'), False), (ValueError('out of memory'), False)])
def test_what_counts_as_out_of_memory(error, yes): assert is_out_of_memory(error) == yes

def test_a_disk_that_is_full_for_a_while_costs_no_epoch(few, whole, tmp_path, monkeypatch):
    write = checkpoints.write_checkpoint
    def full(path, *args):
        if path.name in ('epoch-1', 'epoch-2'): raise OSError(errno.ENOSPC, 'No space left on device', str(path))
        write(path, *args)
    monkeypatch.setattr(checkpoints, 'write_checkpoint', full)
    train(few, tmp_path)
    assert_same(the_run(tmp_path), whole[0])
    warnings = [w for w in record_of(the_run(tmp_path))['warnings'] if 'could not be saved' in w]
    assert len(warnings) == 2 and 'No space left on device' in warnings[0] and 'training goes on' in warnings[0]

def test_a_checkpoint_that_was_cut_is_none(few, whole, cut, monkeypatch):
    "Killed while it writes: only a hidden folder is there, and the one before is resumed."
    shutil.move(cut/'checkpoint'/'epoch-3', cut/'checkpoint'/'.epoch-3.part')
    (cut/'checkpoint'/'.epoch-3.part'/'state.json').unlink()
    train(few, cut.parent.parent, resume=str(cut))
    assert_same(cut, whole[0])
    assert not list((cut/'checkpoint').glob('.*'))

@pytest.mark.parametrize('workers', [0, 2])
def test_a_chip_deleted_in_mid_run_is_one_line_and_resumed(few, tmp_path, with_callback, monkeypatch, workers):
    "Of chips too many for the memory, which are read from their files in each epoch."
    from planet.store import ChipStore
    monkeypatch.setattr(ChipStore, '_choose', lambda *args: 'none')
    mine = Path(shutil.copytree(few, tmp_path/'mine'))
    chip = sorted(mine.rglob('*.jpg'))[0]
    class Delete(Callback):
        def after_epoch(self):
            if len(self.learn.history.rows) == 2: chip.unlink(missing_ok=True)
    with_callback(Delete())
    with pytest.raises(UserError, match=f'{chip.name} cannot be read: No such file') as e:
        train(mine, tmp_path/'out', workers=workers)
    assert '\n' not in str(e.value) and 'Traceback' not in str(e.value) and 'resume=' in e.value.kept
    run = the_run(tmp_path/'out')
    assert record_of(run)['status'] == 'failed' and 'No such file' in record_of(run)['error']
    shutil.copy(few/chip.relative_to(mine), chip)
    train(mine, tmp_path/'out', workers=workers, resume=str(run))
    assert record_of(run)['status'] == 'done'

@pytest.mark.parametrize('workers', [0, 2])
def test_the_same_command_twice_gives_equal_probabilities(few, tmp_path, workers):
    tables = []
    for out in 'ab':
        train(few, tmp_path/out, workers=workers, epochs=1, freeze_epochs=1)
        run = the_run(tmp_path/out)
        weights = (run/'checkpoint'/'epoch-2'/'model.safetensors').read_bytes()
        tables.append(((run/'validation.csv').read_bytes(), weights))
    assert tables[0] == tables[1]

def test_a_killed_worker_is_one_line_and_resumed(start, few, tmp_path):
    "Its memory ran out, say. With another number of workers the run goes on."
    process = start(tmp_path/'said', data=few, out=tmp_path, **QUICK, workers=1)
    after_epoch(tmp_path, 1, process)
    while process.is_alive():
        with suppress(OSError):
            workers = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
            for worker in workers: os.kill(int(worker), signal.SIGKILL)
        time.sleep(.01)
    assert wait(process) == 1
    said = (tmp_path/'said').read_text().splitlines()[-1]
    assert 'a process that loads batches was killed' in said and '--resume' in said
    run = the_run(tmp_path)
    assert record_of(run)['status'] == 'failed'
    assert wait(start(tmp_path/'said', data=few, out=tmp_path, **QUICK, workers=0, resume=run)) == 0
