"The experiments as their users run them: from the command line and from Python, on synthetic and on real chips."
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import fbeta_score
from experiments import compare_losses, planet_kfold, planet_resnet50, weather_resnet18
from planet.cli import UserError
from planet.sources import find_chips

root = Path(__file__).resolve().parent.parent
quick = dict(arch='resnet18', weights='none', size=32, epochs=1, freeze_epochs=1)

def last_record(out, name='*'):
    "The only record (of the experiment `name`) under `out`, and its folder."
    folder, = [p for p in out.glob(f'{name}/*') if not p.name.startswith('.')]
    return json.loads((folder/'record.json').read_text()), folder

def command(name, *args, **kwargs):
    return subprocess.run([sys.executable, root/'experiments'/f'{name}.py', *map(str, args)], capture_output=True,
                          text=True,
                          stdin=subprocess.DEVNULL, **kwargs)

# ---- a whole run

def check_record(out, name, keys, files):
    record, folder = last_record(out)
    assert record['status'] == 'done' and not [w for w in record.get('warnings', []) if 'could not' in w]
    assert {'experiment', 'name', 'options', 'git', 'data', 'device', 'weights_used', 'weights_fingerprint', 'scores',
            'rule', 'versions', 'seconds', 'stages', 'peak_memory', 'history_file', 'best'} <= set(record)
    assert set(record['data']['fingerprint']) == {'table', 'files', 'split'} and record['stages']['all layers'] > 0
    assert folder.parent.name == name and re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-\w+(-\d+)?', folder.name)
    assert {'source', 'chips', 'vocab', 'train', 'valid'} <= set(record['data']) and keys <= set(record['scores'])
    assert record['versions']['torch'] and record['seconds'] > 0
    assert {p.name for p in folder.iterdir()} == files
    for png in folder.glob('*.png'):
        assert np.asarray(Image.open(png).convert('L')).std() > 5, f'{png.name} shows nothing'
    return record, folder

ANY = {'record.json', 'history.csv', 'validation.csv', 'targets.csv', 'model', 'checkpoint', 'report.html',
       'batch.png', 'losses.png'}
TAGGER = {*ANY, 'tags.csv', 'threshold.png', 'predictions.png'}
SCORES = {'f2', 'accuracy_multi', 'valid_loss', 'f2_baseline', 'f2_tuned', 'f2_decided', 'f2_interval'}

def test_a_tagger_on_synthetic_chips(tmp_path, capsys):
    "A thousand chips, drawn for the occasion; little training, but better than any answer that never looks."
    planet_resnet50.main(data='synthetic', arch='resnet18', weights='none', size=64, epochs=3, freeze_epochs=0,
                         thresh=.2, tta=False, out=str(tmp_path))
    # on a busy machine the drawing says how far it is
    said = [o for o in capsys.readouterr().out.splitlines() if not o.startswith('drawing chips')]
    record, folder = check_record(tmp_path, 'planet_resnet50', SCORES, TAGGER)
    assert record['scores']['f2'] > record['scores']['f2_baseline'] + .02
    data = dict(source='synthetic chips, drawn by code', chips=1000, train=800, valid=200, left_out=[])
    assert {k: record['data'][k] for k in data} == data
    assert record['data']['split'] == dict(kind='random', valid_pct=.2, seed=42)
    assert len(record['data']['vocab']) == 17 and record['options']['thresh'] == .2 and record['weights_used'] == 'none'
    assert record['rule'] == dict(kind='thresh', thresh=.2)
    # a line on the data first, then a line an epoch, the scores, and the record's folder last
    assert said[0].startswith('data: 1,000 chips, 17 tags, synthetic') and said[-1] == str(folder)
    assert [l.split()[1] for l in said if l.startswith('epoch ')] == ['1', '2', '3']
    assert any(l.startswith('F2 at 0.2') for l in said) and max(map(len, said[1:-1])) <= 120
    tags, history = pd.read_csv(folder/'tags.csv'), pd.read_csv(folder/'history.csv')
    assert list(tags.tag) == record['data']['vocab'] and {'count', 'precision', 'recall', 'fbeta'} <= set(tags)
    held = pd.read_csv(folder/'validation.csv')
    assert list(held) == ['image_name', *record['data']['vocab']] and len(held) == 200
    truth = find_chips('synthetic')
    targs = pd.DataFrame(truth.targets, truth.table.image_name).loc[held.image_name].to_numpy()
    assert fbeta_score(targs, held.iloc[:, 1:].to_numpy() > .2, beta=2,
                       average='samples') == pytest.approx(record['scores']['f2'], abs=2e-4)
    assert list(history.epoch) == [1, 2, 3] and history.f2.iloc[-1] == pytest.approx(record['scores']['f2'], abs=2e-3)

def test_a_tagger_on_real_chips(tmp_path, real_chips, real_weights):
    planet_resnet50.main(data=str(real_chips), weights=str(real_weights), size=64, bs=32, epochs=1, freeze_epochs=1,
                         out=str(tmp_path))
    record, _ = check_record(tmp_path, 'planet_resnet50', SCORES, TAGGER)
    assert record['data']['chips'] == 1000 and record['scores']['f2'] > record['scores']['f2_baseline'] + .08

def test_the_weather(tmp_path, drawn):
    names = find_chips(drawn).table.image_name
    groups = tmp_path/'groups.csv' # pairs, which the split parts
    pd.DataFrame(dict(image_name=names, group=np.arange(len(names))//2)).to_csv(groups, index=False)
    weather_resnet18.main(data=str(drawn), weights='none', size=32, epochs=1, freeze_epochs=0, out=str(tmp_path/'runs'),
                          groups=str(groups), split='ungrouped')
    record, folder = check_record(tmp_path/'runs', 'weather_resnet18', {'accuracy', 'accuracy_baseline', 'valid_loss'},
        {*ANY, 'classes.csv'})
    beside = record['grouped']['beside_training']
    line = f"<td class=\"text\">one of their group is in the training set</td><td class=\"number\">{beside['chips']}<"
    assert beside['chips'] > 0 and line in (folder/'report.html').read_text()
    assert pd.read_csv(folder/'classes.csv', index_col=0).to_numpy().sum() == record['data']['valid']

def test_experiments_share_folds(tmp_path, drawn, capsys):
    options = dict(data=str(drawn), arch='resnet18', weights='none', size=32, epochs=1, freeze_epochs=0, tta=False,
                   folds=2, out=str(tmp_path))
    held = []
    for fold in range(2):
        planet_resnet50.main(**options, fold=fold)
        record, folder = last_record(tmp_path, 'planet_resnet50')
        held.append(set(pd.read_csv(folder/'validation.csv').image_name))
        shutil.rmtree(folder)
    weather_resnet18.main(**options, fold=1)
    weather, _ = last_record(tmp_path, 'weather_resnet18')
    file, = (tmp_path/'folds').iterdir()
    assert record['data']['split']['folds_file'] == weather['data']['split']['folds_file'] == str(file)
    assert record["options"]["folds"] == 2 and record["options"]["fold"] == 1
    table = pd.read_csv(file).groupby('fold').image_name.agg(set)
    assert held == list(table) and sum(map(len, held)) == 60 and weather['data']['valid'] == len(held[1])
    said = [l for l in capsys.readouterr().out.splitlines() if l.startswith('split: fold')]
    assert len(said) == 3 and f"fold 1 of 2, 30 chips to train on, 30 in the validation set ({file})" in said[1]

def test_the_same_seed_gives_the_same_scores(tmp_path, drawn):
    scores = []
    for out, seed in (('a', 1), ('b', 1), ('c', 2)):
        planet_resnet50.main(**quick, data=str(drawn), seed=seed, out=str(tmp_path/out))
        scores.append(last_record(tmp_path/out)[0]['scores'])
    assert scores[0] == scores[1] != scores[2]

def test_somebody_elses_chips(tmp_path, capsys):
    "Other tags, other sizes, PNGs: a folder as an analyst may have it."
    rng = np.random.default_rng(0)
    (tmp_path/'train').mkdir()
    rows = ['image_name,tags']
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (50+i, 70, 3), np.uint8)).save(tmp_path/'train'/f'field {i}.png')
        rows.append(f"field {i},{'wheat' if i%2 else 'rape Spring-barley'}")
    (tmp_path/'labels.csv').write_text('\n'.join(rows))
    planet_resnet50.main(**quick, data=str(tmp_path), out=str(tmp_path/'out'))
    record, _ = last_record(tmp_path/'out')
    # 2 held-out chips
    assert record['data']['vocab'] == ['Spring-barley', 'rape', 'wheat'] and record['scores']['f2_tuned'] is None

def test_skipped_chips_are_recorded(tmp_path, folder):
    (folder/'train-jpg'/'train_5.jpg').write_bytes(b'')
    planet_resnet50.main(**quick, data=str(folder), skip_bad=True, out=str(tmp_path/'out'))
    data = last_record(tmp_path/'out')[0]['data']
    assert data['left_out'] == ['train_5'] and data['chips'] == 59 == data['train'] + data['valid']

# ---- the command line

@pytest.mark.parametrize('name', ['planet_resnet50', 'weather_resnet18', 'bench/recipe'])
@pytest.mark.parametrize('args,status,said',
                         [(['--help'], 0, '--valid_pct'), (['--vald_pct', '.3'], 2, 'did you mean --valid_pct?'),
    (['--bs', 'three'], 2, 'bs'), (['--epochs', 'three'], 1, '--epochs three is no whole number')])
def test_options_are_looked_at_before_torch(name, args, status, said, tmp_path):
    (tmp_path/'torch.py').write_text('raise RuntimeError("torch was imported")')
    done = command(name, *args, cwd=tmp_path, env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{root}'})
    assert done.returncode == status and said in done.stdout + done.stderr
    if status: assert done.stderr.count('\n') == 1 and not done.stdout

@pytest.mark.parametrize('wrong,told', [(dict(decide='expcted'), '`decide` expcted .* did you mean expected'),
                                        (dict(split=__file__, folds=3), '`split` .* has no use with `folds`'),
                                        (dict(split='randm'), '`split` randm: no such file .* did you mean random'),
                                        (dict(loss='focl'), '`loss` focl .* did you mean focal'),
                                        (dict(loss='focal', loss_args='gama=1'), '`loss_args` gama .*gamma'),
                                        (dict(loss='grouped', loss_args='x=1'), '`loss_args` x is unknown')])
@pytest.mark.parametrize('main', [planet_resnet50.main, planet_kfold.main])
def test_rule_and_loss_are_looked_at_before_chips_are_decoded(main, wrong, told, tmp_path, drawn, monkeypatch):
    "A misspelt rule was taken for the plain threshold, without a word; a misspelt loss cost the decoding."
    from planet import recipes
    def no_size(*args): raise AssertionError('too late')
    monkeypatch.setattr(recipes, 'sizes', no_size)
    options = dict(quick, freeze_epochs=0)
    with pytest.raises(UserError, match=told): main(**options | wrong, data=str(drawn), out=str(tmp_path))
    assert not list(tmp_path.glob('*/2*'))

def test_both_spellings_of_an_option(tmp_path):
    for option in ('--freeze_epochs', '--freeze-epochs'):
        done = command('planet_resnet50', option, '-1', cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(root)})
        assert done.returncode == 1 and done.stderr == 'planet_resnet50.py: --freeze_epochs -1 is outside 0 to 10000\n'

def test_a_run_from_the_command_line(tmp_path, drawn):
    "Into a pipe: no progress bar, no traceback, no warning of ours; the record's folder is the last line."
    args = [o for k, v in quick.items() for o in (f'--{k}', v)]
    done = command('planet_resnet50', *args, '--data', drawn, '--thresh', .3, cwd=tmp_path,
                   env={**os.environ, 'PYTHONPATH': str(root)})
    assert done.returncode == 0, done.stderr
    assert '\r' not in done.stdout and 'Warning' not in done.stderr and 'Traceback' not in done.stderr
    record = json.loads((tmp_path/done.stdout.splitlines()[-1]/'record.json').read_text())
    assert record['options']['thresh'] == .3 and 'F2 at 0.3' in done.stdout

def test_a_mistake_is_one_line(tmp_path, drawn):
    done = command('planet_resnet50', '--data', tmp_path/'none', cwd=tmp_path,
                   env={**os.environ, 'PYTHONPATH': str(root)})
    assert done.returncode == 1 and done.stderr == f'planet_resnet50.py: {tmp_path}/none: no such folder\n'
    assert not list(tmp_path.rglob('*.json')) and not list(tmp_path.glob('runs/*/*'))

# ---- what can go wrong: a `UserError`, and no record, not even half of one

def fails(tmp_path, drawn, match, error=UserError, **options):
    with pytest.raises(error, match=match or None):
        planet_resnet50.main(**{**quick, 'data': str(drawn), 'out': str(tmp_path/'out'), **options})
    assert not list(tmp_path.glob('out/*/*')) and not list(tmp_path.glob('out/*/.*'))

@pytest.mark.parametrize('option,value',
                         [('thresh', 1.5), ('thresh', -.1), ('thresh', float('nan')), ('valid_pct', 2), ('size', 8),
    ('bs', 0), ('epochs', 0), ('lr', 0), ('workers', -1), ('seed', -1)])
def test_options_outside_their_limits(tmp_path, drawn, option, value):
    fails(tmp_path, drawn, f'`{option}` .* is outside', **{option: value})
@pytest.mark.parametrize('options,said',
                         [(dict(folds=1), '`folds` 1 leaves no chip to train on'),
                          (dict(folds=-2), '`folds` -2 is outside'),
    (dict(folds=3, fold=3), '`fold` 3 is none of the 3 folds: they go from 0 to 2'),
                          (dict(fold=1), '`fold` 1 needs `folds`'), (dict(folds=61), '`folds` 61 of 60')])
def test_folds_that_there_are_not(tmp_path, drawn, options, said): fails(tmp_path, drawn, said, **options)
def test_unknown_arch(tmp_path, drawn): fails(tmp_path, drawn, 'did you mean', arch='resnet51')
def test_weights_of_another_arch(tmp_path, drawn, real_weights):
    fails(tmp_path, drawn, 'it fits .*resnet50', weights=str(real_weights))
def test_missing_weights(tmp_path, drawn): fails(tmp_path, drawn, 'no such file', weights='resnet.pth')

def test_broken_chip(tmp_path, folder):
    jpg = folder/'train-jpg'/'train_4.jpg'
    jpg.write_bytes(jpg.read_bytes()[:900])
    fails(tmp_path, folder, 'train_4 .*skip_bad')

def test_output_that_is_a_file(tmp_path, drawn):
    (tmp_path/'file').write_text('')
    with pytest.raises(UserError, match='`out` .*no record can be written'):
        planet_resnet50.main(**quick, data=str(drawn), out=str(tmp_path/'file'))

@pytest.mark.skipif(os.name != 'posix' or os.geteuid() == 0, reason='root may write into a folder that is read-only')
def test_output_that_is_read_only(tmp_path, drawn):
    (tmp_path/'locked').mkdir(mode=0o500)
    with pytest.raises(UserError, match='`out` .*no record can be written'):
        planet_resnet50.main(**quick, data=str(drawn), out=str(tmp_path/'locked'))

def test_a_disk_that_fills_up_at_the_end(tmp_path, drawn):
    "A real disk of 1 MB, which the exported learner overflows."
    small = tmp_path/'small'
    small.mkdir()
    if os.name != 'posix' or os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small],
                                                            capture_output=True).returncode:
        pytest.skip('no small disk can be mounted: it takes root on Linux')
    try:
        args = [o for k, v in quick.items() for o in (f'--{k}', v)]
        done = command('planet_resnet50', *args, '--data', drawn, '--out', small, cwd=tmp_path,
                       env={**os.environ, 'PYTHONPATH': str(root)})
        assert done.returncode == 1 and 'full disk' in done.stderr and done.stderr.count('\n') == 1
        folder, = small.glob('*/*') # what fitted is kept
        assert {'history.csv', 'validation.csv', 'tags.csv', 'record.json'} <= {p.name for p in folder.iterdir()}
        assert json.loads((folder/'record.json').read_text())['scores']['f2'] > 0
    finally: subprocess.run(['umount', small])

@pytest.mark.parametrize('error,status', [(KeyboardInterrupt, 'interrupted'), (ZeroDivisionError, 'failed')])
def test_a_run_that_does_not_end_keeps_what_there_is(tmp_path, drawn, monkeypatch, error, status):
    from planet.callbacks import History
    after = History.after_epoch
    def stop(self):
        after(self)
        if len(self.rows) == 1: raise error('stop')
    monkeypatch.setattr(History, 'after_epoch', stop)
    with pytest.raises(error): planet_resnet50.main(**quick, data=str(drawn), out=str(tmp_path))
    record, folder = last_record(tmp_path)
    assert record['status'] == status and record['data']['chips'] == 60 and record['options']['seed'] == 42
    assert len(pd.read_csv(folder/'history.csv')) == 1

def test_a_figure_that_fails_is_a_warning(tmp_path, drawn, monkeypatch, capsys):
    from planet import plots
    def fails(*args, **kwargs): raise ValueError('cannot be drawn')
    monkeypatch.setattr(plots, 'predictions_sheet', fails)
    planet_resnet50.main(**quick, data=str(drawn), out=str(tmp_path))
    record, folder = last_record(tmp_path)
    warning = 'figure predictions could not be made (ValueError: cannot be drawn)'
    assert record['status'] == 'done' and warning in record['warnings']
    assert f'WARNING: {warning}' in capsys.readouterr().out
    assert (folder/'model'/'model.json').exists() and not (folder/'predictions.png').exists()

def test_ctrl_c_after_the_scores_keeps_them(tmp_path, drawn, monkeypatch):
    from planet import plots
    def interrupt(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr(plots, 'loss_curves', interrupt)
    with pytest.raises(KeyboardInterrupt): planet_resnet50.main(**quick, data=str(drawn), out=str(tmp_path))
    record, folder = last_record(tmp_path)
    assert record['status'] == 'interrupted' and record['scores']['f2'] > 0
    assert {'validation.csv', 'tags.csv', 'history.csv', 'model'} <= {p.name for p in folder.iterdir()}

def test_two_runs_of_one_second_have_a_folder_each(tmp_path):
    from planet.runs import Run
    with Run('x', {}, tmp_path) as a, Run('x', {}, tmp_path) as b: assert a.path != b.path
    assert a.path.is_dir() and b.path.is_dir()

def test_losses_are_compared_where_a_chip_has_no_tags(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'cache'))
    table = pd.read_csv(folder/'train_v2.csv')[:20].assign(tags=['', *['road water', 'water', 'road']*6, 'road'])
    table.to_csv(folder/'train_v2.csv', index=False)
    few = {k: v for k, v in quick.items() if k != 'freeze_epochs'} | dict(folds=2, views=1, threads=1)
    compare_losses.main(data=str(folder), **few)
    said = capsys.readouterr().out
    assert 'thresholds per tag, cross-fitted' in said and all(f'\n{name}' in said for name in ('bce', 'focal', 'fbeta'))
