"Cross-validation: a whole run, resumed at the first unfinished fold, and what it must not leak."
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
import torch
from experiments import planet_kfold
from planet.chips import from_folder
from planet.cli import UserError
from planet.crossval import Folds, OutOfFold
from planet.records import read_record
from planet.rules import AboveThreshold
from planet.splits import random_split
from planet.stock import stock_learner

root = Path(__file__).resolve().parent.parent
quick = dict(arch='resnet18', weights='none', size=32, epochs=1, freeze_epochs=1, folds=3, tta=False)

def only_run(out):
    "The only run of the experiment."
    path, = (out/'planet_kfold').glob('2*')
    return read_record(path)

@pytest.fixture(scope='module')
def whole(drawn, tmp_path_factory):
    "A run that nothing cut."
    out = tmp_path_factory.mktemp('whole')
    planet_kfold.main(data=str(drawn), out=str(out), **quick)
    return only_run(out)

def test_every_chip_is_scored_once_by_a_model_without_it(whole, drawn):
    table, folds = whole.probabilities(), whole.facts['folds']
    names = list(pd.read_csv(drawn/'train_v2.csv').image_name)
    assert list(table.image_name) == names and [f['fold'] for f in folds] == [0, 1, 2]
    held = [list(pd.read_csv(whole.path/'folds'/f'fold-{k}.csv').image_name) for k in range(3)]
    assert sorted(sum(held, [])) == sorted(names) and all(f['valid'] + f['train'] == 60 for f in folds)
    scores = whole.scores
    assert {'f2', 'f2_interval', 'f2_tuned', 'f2_one', 'f2_naive', 'f2_calibrated'} <= set(scores)
    assert whole.result().f2_per_chip.mean().item() == pytest.approx(scores['f2'], abs=2e-3)
    mean = sum(f['f2']*f['valid'] for f in folds)/60 # the score over all chips is that of the folds
    assert mean == pytest.approx(scores['f2'], abs=1e-4)
    assert 'another region' in whole.facts['statement'] and (whole.path/'report.html').exists()
    assert whole.facts['out_of_fold'] and not (whole.path/'checkpoint').exists()

def test_what_is_to_know_of_all_folds_is_said_once(drawn, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'cache'))
    planet_kfold.main(data=str(drawn), out=str(tmp_path), **quick | dict(recipe='frozen', epochs=None))
    said = capsys.readouterr().out.splitlines()
    assert sum('fewer chips than folds' in line for line in said) == 1 == sum('fold 2 of 3' in line for line in said)

def test_one_model_folder_averages_the_folds(whole, drawn):
    from planet.inference import Tagger
    tagger = Tagger.load(whole.path/'model')
    assert len(tagger.facts['members']) == 3 and tagger.facts['scores']['f2'] == whole.scores['f2']
    probs = tagger.probabilities(np.zeros((2, 3, 32, 32), np.uint8))
    assert probs.shape == (2, len(tagger.vocab)) and not list((whole.path/'folds').glob('model-*'))

def killed_after(folds, out, drawn, how):
    "Start a run as a user would, and end it once so many folds are done."
    args = [f'--no-{k}' if v is False else f'--{k}={v}' for k, v in quick.items()]
    process = subprocess.Popen([sys.executable, root/'experiments'/'planet_kfold.py', f'--data={drawn}', f'--out={out}',
                                *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root)
    said = ''
    for line in process.stdout:
        said += line
        if line.startswith(f'fold {folds - 1}:'):
            process.send_signal(how)
            break
    said += process.stdout.read()
    return process.wait(), said

@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_cut_goes_on_with_the_first_unfinished_fold(how, whole, drawn, tmp_path, capsys):
    status, said = killed_after(1, tmp_path, drawn, how)
    cut = only_run(tmp_path)
    assert status != 0 and cut.status == ('killed' if how == signal.SIGKILL else 'interrupted')
    assert 'Traceback' not in said and [f['fold'] for f in cut.facts['folds']] == [0]
    if how == signal.SIGINT: assert 'to resume' in said
    first = (cut.path/'folds'/'fold-0.csv').read_bytes()
    planet_kfold.main(data=str(drawn), out=str(tmp_path), resume=str(cut.path), **quick)
    told = capsys.readouterr().out
    assert 'resume: 1 of 3 folds are done' in told and 'fold 0: F2' not in told and 'fold 2: F2' in told
    record = only_run(tmp_path)
    assert record.status == 'done' and (record.path/'folds'/'fold-0.csv').read_bytes() == first
    pd.testing.assert_frame_equal(record.probabilities(), whole.probabilities()) # as if it had never been cut
    with pytest.raises(UserError, match='is done'):
        planet_kfold.main(data=str(drawn), out=str(tmp_path), resume=str(record.path), **quick)

def test_a_run_is_not_resumed_with_other_labels(whole, drawn, tmp_path):
    import shutil
    path = tmp_path/'planet_kfold'/whole.path.name
    shutil.copytree(whole.path, path)
    shutil.copytree(whole.path.parents[1]/'folds', tmp_path/'folds')
    record = json.loads((path/'record.json').read_text())
    record['options']['out'] = str(tmp_path)
    (path/'record.json').write_text(json.dumps(record | dict(status='failed', folds=record['folds'][:2])))
    (path/'folds'/'fold-1.csv').write_text('image_name\n')
    with pytest.raises(UserError, match='another label table'):
        table = shutil.copytree(drawn, tmp_path/'other')/'train_v2.csv'
        head, first, *rows = table.read_text().splitlines()
        first = f"{first.partition(',')[0]},clear" # other tags than the run was trained with
        table.write_text('\n'.join([head, first, *rows, '']))
        planet_kfold.main(data=str(tmp_path/'other'), out=str(tmp_path), resume=str(path), **quick)

def test_stock_fastai_on_the_same_folds(whole, drawn, tmp_path, capsys):
    planet_kfold.main(data=str(drawn), out=str(tmp_path), stock=True, **quick)
    record = only_run(tmp_path)
    assert record.status == 'done' and not (record.path/'model').exists()
    assert 'there is no model folder' in capsys.readouterr().out
    of = [[list(pd.read_csv(r.path/'folds'/f'fold-{k}.csv').image_name) for k in range(3)] for r in (record, whole)]
    assert of[0] == of[1] and not record.probabilities().equals(whole.probabilities())

@pytest.mark.parametrize('wrong', [dict(recipe='frozen', epochs=None, freeze_epochs=None), dict(loss='focal'),
                                   dict(mixup=.4), dict(bands='all')])
def test_stock_fastai_takes_no_option_that_it_ignores(wrong, drawn, tmp_path):
    with pytest.raises(UserError, match=f'`{[*wrong][0]}` .* has no use with `stock`'):
        planet_kfold.main(data=str(drawn), out=str(tmp_path), stock=True, **quick | wrong)

def test_stock_fastai_goes_on_without_pretrained_weights(drawn, monkeypatch, capsys):
    "As every experiment does with `weights` auto, which is the default; it used to look for a file called auto."
    def offline(*args, **kwargs): raise OSError('no network')
    monkeypatch.setattr('torch.hub.load_state_dict_from_url', offline)
    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', offline)
    chips = from_folder(drawn)
    learn = stock_learner(chips, random_split(chips), 32, 16, arch='resnet18', weights='auto')
    assert learn.weights == 'none' and 'RANDOM weights' in capsys.readouterr().out
    with pytest.raises(UserError, match='`weights` imagenet: .*cannot be had'):
        stock_learner(chips, random_split(chips), 32, 16, arch='resnet18', weights='imagenet')

def test_a_head_in_closed_form_and_stacks(whole, drawn, tmp_path, monkeypatch, capsys):
    from planet.inference import Tagger
    from planet.model_files import find_model
    from planet.tools.stack import stack_runs
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'cache'))
    frozen = quick | dict(epochs=None, freeze_epochs=None, recipe='frozen')
    planet_kfold.main(data=str(drawn), out=str(tmp_path), head='kernel', **frozen)
    record = only_run(tmp_path)
    assert record.score('f2') > .4 and 'no network' in record.facts['folds'][0]['no_model']
    with pytest.raises(UserError, match='has no model folder: kernel ridge regression is no network'):
        find_model(record.path)
    planet_kfold.main(data=str(drawn), out=str(tmp_path), name='linear', **frozen)
    capsys.readouterr()
    stack_runs(['linear', str(whole.path)], str(tmp_path), 'both')
    tagger = Tagger.load('both', out=str(tmp_path)) # three folds of each
    assert len(tagger.networks) == 6 and tagger.stacker['runs'].tolist() == [3, 3]
    assert tagger.facts['headline']['value'] == pytest.approx(read_record(tagger.folder.parent).score('f2'))
    assert 'there is no model folder' not in capsys.readouterr().out
    stack_runs(['linear', str(record.path)], str(tmp_path), 'with kernel')
    assert 'there is no model folder: a stack has one only where' in ' '.join(capsys.readouterr().out.split())
    with pytest.raises(UserError, match='a stack has one only where each of its runs has one'):
        find_model('with kernel', str(tmp_path))

@pytest.mark.parametrize('wrong, told', [
    (dict(folds=0), '`folds` 0 leaves nothing to cross-validate'), (dict(folds=61), '61 of 60 distinct chips'),
    (dict(head='tree'), 'tree is unknown: linear or kernel'), (dict(head='kernel'), 'add `recipe` frozen'),
    (dict(stock=True, recipe='frozen', epochs=None), '`recipe` frozen has no use with `stock`'),
    (dict(stock=True, mixup=.4), '`mixup` 0.4 has no use with `stock`'),
    (dict(head='kernel', recipe='frozen', epochs=None, loss='focal'), '`loss` focal has no use in a kernel ridge')])
def test_mistakes_leave_no_run(wrong, told, drawn, tmp_path):
    with pytest.raises(UserError, match=told): planet_kfold.main(data=str(drawn), out=str(tmp_path), **quick | wrong)
    assert not list(tmp_path.glob('planet_kfold/2*'))

def grouped(folder, groups):
    "The chips of a folder with a column `group`."
    table = pd.read_csv(folder/'train_v2.csv')
    table.assign(group=groups(len(table))).to_csv(folder/'train_v2.csv', index=False)
    return str(folder)

def test_fewer_groups_than_folds_and_a_group_column_with_holes(folder, tmp_path):
    data = grouped(folder, lambda n: ['east', 'west']*(n//2))
    with pytest.raises(UserError, match='3 of 2 groups of chips'):
        planet_kfold.main(data=data, out=str(tmp_path), **quick)
    data = grouped(folder, lambda n: (['']*5 + ['east', 'west', 'north']*n)[:n])
    with pytest.raises(UserError, match='5 of 60 chips have no group in column group'):
        planet_kfold.main(data=data, out=str(tmp_path), **quick)

def test_copies_do_not_raise_any_score():
    "Noise, each chip four times: with the copies known, all scores are those of the chips once."
    found = []
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        probs, targs = torch.rand(80, 12, generator=g), (torch.rand(80, 12, generator=g) < .15).float()
        def of(copies, groups=None, probs=probs, targs=targs):
            p, t = (o.repeat_interleave(copies, 0) for o in (probs, targs))
            return OutOfFold(p, t, range(80*copies), [f't{i}' for i in range(12)], AboveThreshold(.2), train=t,
                             groups=groups).scores
        once, four = of(1), of(4, np.arange(80).repeat(4))
        found.append([[s[k] for k in ('f2', 'f2_tuned', 'f2_one', 'f2_calibrated')] for s in (once, four, of(4))])
    once, four, apart = np.mean(found, 0)
    assert np.abs(once - four).max() < .02 and apart[1] > once[1] + .03

def test_as_many_scenes_as_three_are_calibrated():
    "Fewer scenes than the five folds of a cross-fit: each is calibrated by the two others."
    names, rng = [str(i) for i in range(12)], np.random.default_rng(0)
    probs = pd.DataFrame(rng.random((12, 2)), pd.Index(names, name='image_name'), ['a', 'b'])
    folds = SimpleNamespace(done={0: (dict(loss=None, valid=12), probs)}, names=names, splits=[
        SimpleNamespace(group=np.arange(12)//4)], chips=SimpleNamespace(targets=probs.to_numpy() > .5, vocab=[*'ab']))
    found = Folds.result(folds, calibrate=True)
    assert not np.allclose(found.probs, probs) and 'f2' in found.scores
