"Data-parallel training of two processes on the CPU: one record, one table, one store, a model as good as that of one."
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
import pandas as pd
import pytest
from experiments import weather_resnet18
from planet import distributed
from planet.cli import UserError
from planet.distributed import processes, rank

root = Path(__file__).resolve().parent.parent
QUICK = '--arch resnet18 --weights none --size 32 --bs 16 --epochs 2 --freeze_epochs 1 --lr 0.002'.split()

def launch(n, out, data):
    start = ['-m', 'torch.distributed.run', '--nproc_per_node', str(n)] if n > 1 else []
    command = [sys.executable, *start, root/'experiments'/'planet_resnet50.py', *QUICK, '--data', data, '--out', out]
    done = subprocess.run(list(map(str, command)), env=os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(root)),
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    folder, = (out/'planet_resnet50').iterdir()
    return json.loads((folder/'record.json').read_text()), folder, done.stdout

@pytest.mark.skipif(not find_spec('accelerate'), reason='fastai trains in several processes with accelerate alone')
def test_two_processes_train_one_model(drawn, tmp_path):
    record, folder, said = launch(2, tmp_path/'two', drawn)
    assert record['status'] == 'done' and record['device']['processes'] == 2, 'one would pass for two otherwise'
    assert said.count('2 processes train together') == len(re.findall('^epoch 1 ', said, re.M)) == 1
    assert 'WARNING' not in said
    alone, _, _ = launch(1, tmp_path/'one', drawn)
    assert abs(record['scores']['f2'] - alone['scores']['f2']) < .1
    assert record['options']['bs'] == 16 and len(pd.read_csv(folder/'history.csv')) == 3
    assert record['data']['fingerprint'] == alone['data']['fingerprint']
    assert set(record['stages']) == set(alone['stages'])
    from safetensors.torch import load_file
    saved = sorted(folder.glob('checkpoint/*/model.safetensors'))[-1]
    assert not any(name.startswith('module.') for name in load_file(saved)), 'as one process would have saved it'
    (stored,) = Path(os.environ['PLANET_CACHE']).glob('stores/60-chips-32px-*')
    assert sorted(p.name.split('-')[0] for p in stored.iterdir()) == ['index', 'lock', 'pixels']

def test_one_process_is_left_alone(monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    with processes(dict(bs=4)) as first: assert first and rank() == 0 and distributed.scratch() is None
    with distributed.data_parallel(None) as first: assert first

@pytest.mark.parametrize('given,words', [(dict(bs=3), '3 chips in a batch are too few for 2 processes: 4 at'),
                                         (dict(bs=8, resume='last'), 'cannot go on from a checkpoint')])
def test_what_several_processes_cannot_do(monkeypatch, given, words):
    from fastcore.basics import AttrDict
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(UserError, match=words), processes(AttrDict(given)): pass

def test_too_few_chips_for_several_processes(drawn, monkeypatch):
    from types import SimpleNamespace
    monkeypatch.setenv('WORLD_SIZE', '2')
    learn = SimpleNamespace(dls=SimpleNamespace(train=SimpleNamespace(bs=3)))
    with pytest.raises(UserError, match='3 training chips are too few for 2 processes: 4 at least'):
        with distributed.data_parallel(learn): pass

def test_what_trains_in_one_process_is_not_started_twice(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(UserError, match='2 processes were started of an experiment that trains in one'):
        weather_resnet18.main(data=str(drawn), weights='none', size=32, out=str(tmp_path/'out'))
    assert not (tmp_path/'out').exists()
