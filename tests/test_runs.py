"The record of a run: what it says, when it is written, and what is kept however the run ends."
import json
import re
import subprocess
import threading
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
import torch
from planet.chips import from_folder
from planet.cli import UserError
from planet.provenance import (
    command_line,
    data_fingerprint,
    deterministic,
    git_facts,
    peak_memory,
    resume_command,
    weights_fingerprint,
)
from planet.results import ClassResult, Likeliest, TagsResult
from planet.runs import Run
from planet.splits import random_split
from planet.store import ChipStore

def record_of(run): return json.loads((run.path/'record.json').read_text())

# ---- the folder

def test_a_folder_says_time_backbone_and_name(tmp_path):
    with Run('x', dict(arch='vit_small.dino', name='first try/2'), tmp_path) as run:
        assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-vit_small.dino-first-try-2', run.path.name)
        record = record_of(run) # from the first second
        assert record['status'] == 'running' and record['name'] == 'first try/2' and record['experiment'] == 'x'
        assert (run.path/'.lock').exists()
    assert record_of(run)['status'] == 'done' and not (run.path/'.lock').exists()

def test_runs_of_one_second_have_a_folder_each(tmp_path):
    paths, barrier = [], threading.Barrier(8)
    def start():
        barrier.wait()
        with Run('x', dict(arch='a'), tmp_path) as run: paths.append(run.path)
    threads = [threading.Thread(target=start) for _ in range(8)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert len(set(paths)) == 8 and all((p/'record.json').exists() for p in paths)

def test_stages_have_their_seconds(tmp_path):
    with Run('x', {}, tmp_path) as run:
        run.stage('head')
        run.stage('all layers')
    assert set(record_of(run)['stages']) == {'data', 'head', 'all layers'}

@pytest.mark.parametrize('error,status,said', [
    (KeyboardInterrupt(), 'interrupted', None), (SystemExit(1), 'interrupted', None),
    (ZeroDivisionError('by\nzero'), 'failed', 'ZeroDivisionError: by zero')])
def test_a_run_that_does_not_end_says_why(tmp_path, error, status, said):
    with pytest.raises(type(error)):
        with Run('x', {}, tmp_path) as run: raise error
    record = record_of(run)
    assert record['status'] == status and record.get('error') == said and not (run.path/'.lock').exists()

def test_a_mistake_before_training_leaves_nothing(tmp_path):
    with pytest.raises(UserError):
        with Run('x', {}, tmp_path): raise UserError('no such chips')
    assert not list(tmp_path.glob('x/*'))

def test_warnings_are_kept_once(tmp_path, capsys):
    with Run('x', {}, tmp_path) as run:
        for _ in range(2): run.warn('odd', shown=False)
        run.figure('f', lambda: 1/0)
    assert record_of(run)['warnings'] == ['odd', 'figure f could not be made (ZeroDivisionError: division by zero)']
    assert 'WARNING: figure f' in capsys.readouterr().out

# ---- tables

def test_true_tags_lie_beside_the_probabilities(tmp_path):
    probs = torch.tensor([[.9, .1], [.2, .7]])
    tags = TagsResult(probs, torch.tensor([[1., 0.], [1., 1.]]), ['a', 'b'], ['clear', 'road'], Likeliest())
    with Run('x', {}, tmp_path) as run: run.table('targets', tags.targets)
    found = pd.read_csv(run.path/'targets.csv')
    assert list(found) == ['image_name', 'clear', 'road'] and found.road.tolist() == [0, 1]
    one = ClassResult(probs, torch.tensor([1, 0]), ['a', 'b'], ['clear', 'haze'], Likeliest())
    assert one.targets.label.tolist() == ['haze', 'clear'] and one.targets.index.name == 'image_name'

# ---- what a result depends on

def git(folder, *args): subprocess.run(['git', '-C', folder, '-c', 'user.name=a', '-c', 'user.email=a@b.c', *args],
                                       check=True, capture_output=True)

def test_git_facts(tmp_path):
    assert git_facts(tmp_path) is None
    git(tmp_path, 'init')
    (tmp_path/'site-packages').mkdir()
    (tmp_path/'a').write_text('1')
    git(tmp_path, 'add', 'a')
    git(tmp_path, 'commit', '-m', 'a')
    found = git_facts(tmp_path)
    assert re.fullmatch('[0-9a-f]{40}', found['commit']) and found['dirty'] is False
    assert git_facts(tmp_path/'site-packages') is None # installed into somebody else's working copy
    (tmp_path/'a').write_text('2')
    assert git_facts(tmp_path)['dirty'] is True

def test_the_command_of_a_run():
    assert command_line() is None # a test is no command
    typed = ['python', 'experiments/x.py', '--data', 'my chips', '--resume', 'old', '--bs', '8']
    assert resume_command(typed, 'runs/x/1') == "python experiments/x.py --data 'my chips' --bs 8 --resume runs/x/1"
    assert resume_command([*typed[:4], '--resume=old'], 'r').endswith("'my chips' --resume r")
    assert resume_command(None, 'r') == "call it again with resume='r'"

def test_the_fingerprint_changes_with_table_files_and_split(folder):
    chips = from_folder(folder)
    store, split = ChipStore(chips.paths, 32), random_split(chips)
    first = data_fingerprint(chips, split, store)
    assert set(first) == {'table', 'files', 'split'} and data_fingerprint(chips, split, store) == first
    def changed(*args): return {k for k, v in data_fingerprint(*args).items() if v != first[k]}
    order = np.random.default_rng(0).permutation(len(chips))
    assert changed(chips[order], None, store) == set() # of rows
    other = replace(split, train=split.train[1:], valid=[*split.valid, split.train[0]])
    assert changed(chips, other, store) == {'split'}
    table = chips.table.copy()
    table.at[0, 'tags'] = table.tags[0][:-1]
    assert changed(replace(chips, table=table), split, store) == {'table'}
    data = bytearray(chips.paths[0].read_bytes())
    data[-3] ^= 1
    chips.paths[0].write_bytes(data)
    assert changed(chips, split, ChipStore(chips.paths, 32)) == {'files'}

def test_the_fingerprint_of_weights_sees_one_bit_of_any_kind():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3).to(torch.bfloat16), torch.nn.BatchNorm1d(3))
    first = weights_fingerprint(model)
    assert weights_fingerprint(model) == first
    model[1].num_batches_tracked += 1
    second = weights_fingerprint(model)
    with torch.no_grad(): model[0].weight[0, 0] += 1
    assert len({first, second, weights_fingerprint(model)}) == 3

def test_peak_memory_is_in_bytes(): assert 1e8 < peak_memory()['process'] < 1e12

def test_deterministic_is_put_back_and_changes_no_pooling():
    x, pool = torch.randn(2, 3, 4, 5), torch.nn.functional.adaptive_max_pool2d
    want = torch.nn.AdaptiveMaxPool2d(1)(x), torch.nn.AdaptiveMaxPool2d(2)(x)
    with deterministic():
        assert torch.are_deterministic_algorithms_enabled()
        assert (torch.nn.AdaptiveMaxPool2d(1)(x) == want[0]).all() and (x.amax((-2, -1), keepdim=True) == want[0]).all()
        assert (torch.nn.AdaptiveMaxPool2d(2)(x) == want[1]).all()
    assert not torch.are_deterministic_algorithms_enabled() and torch.nn.functional.adaptive_max_pool2d is pool

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_deterministic_training_runs_on_a_gpu():
    from fastai.layers import AdaptiveConcatPool2d
    from torchvision.models import resnet18
    def gradients():
        torch.manual_seed(0)
        body = torch.nn.Sequential(*list(resnet18().children())[:-2], AdaptiveConcatPool2d()).cuda()
        body(torch.randn(8, 3, 64, 64).cuda()).sum().backward()
        return [p.grad.clone() for p in body.parameters()]
    with deterministic():
        assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients()))
