"""Experiment trackers: their options, what a run tells them, what happens when one fails; the real packages offline.

`make test-track` installs TensorBoard, trackio and MLflow beside W&B; elsewhere their tests are skipped.
"""
import json
import os
import pickle
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.learner import load_learner
from PIL import Image
from sklearn.metrics import fbeta_score
from experiments import planet_resnet50, weather_resnet18
from planet import trackers
from planet.callbacks import History
from planet.cli import UserError
from planet.divergence import Diverged
from planet.results import AboveThreshold, TagsResult
from planet.trackers import TRACKERS, Tracker, check_track, tracker_names
from planet.trackers.interface import flat, numbers, quietly
from planet.tracking import Tracking, chip_table, threshold_curves

root = Path(__file__).resolve().parent.parent
quick = dict(arch='resnet18', weights='none', size=32, epochs=2, freeze_epochs=1, tta=False)

@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    "No account, server or folder of the user's."
    for name in list(os.environ):
        if name.startswith(('WANDB', 'MLFLOW', 'TRACKIO', 'NETRC')): monkeypatch.delenv(name)
    monkeypatch.setenv('NETRC', str(tmp_path/'no-netrc'))

@pytest.fixture
def told(monkeypatch):
    "What a tracker called `notes` was told, a list of (method, arguments)."
    found = []
    def note(method): return lambda self, *args: found.append((method, args))
    methods = {m: note(m) for m in ('start', 'log', 'table', 'curve', 'file', 'artifact', 'finish')}
    monkeypatch.setitem(TRACKERS, 'notes', type('Notes', (Tracker,), methods))
    return found

def failing(monkeypatch, **methods):
    "Register the tracker `bad`, each of whose `methods` raises the error given."
    def fail(error):
        def call(self, *args): raise error
        return call
    monkeypatch.setitem(TRACKERS, 'bad', type('Bad', (Tracker,), {m: fail(e) for m, e in methods.items()}))

def train(folder, out, main=planet_resnet50.main, **options):
    "Run an experiment: its record and folder."
    main(**quick | dict(data=str(folder), out=str(out)) | options)
    path, = out.glob('*_resnet*/*')
    return json.loads((path/'record.json').read_text()), path

# ---- options

def test_names():
    assert tracker_names({}) == tracker_names(dict(track='none')) == tracker_names(dict(track='')) == []
    assert tracker_names(dict(track='mlflow, wandb,mlflow', wandb=True)) == ['mlflow', 'wandb']
    assert tracker_names(dict(track='none', wandb=True)) == ['wandb']
    with pytest.raises(UserError, match='`track` tensorbord is unknown.*did you mean tensorboard'):
        tracker_names(dict(track='wandb,tensorbord'))
    with pytest.raises(UserError, match='none goes with no other'): tracker_names(dict(track='none,wandb'))

@pytest.mark.parametrize('options,said', [
    (dict(wandb=True, wandb_mode='ofline'), 'ofline is neither offline nor online, did you mean offline'),
    (dict(track='tensorboard', wandb_mode='offline'), '`wandb_mode` offline needs wandb in `track`')])
def test_modes(options, said):
    with pytest.raises(UserError, match=said): check_track(options)

def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(trackers, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"mlflow is not installed: pip install 'planet-chips\[track\]'") as e:
        check_track(dict(track='mlflow'))
    assert '\n' not in str(e.value)

def test_the_command_line_says_it_before_anything_is_made(tmp_path, drawn):
    env = os.environ | dict(WANDB_API_KEY='0'*40, WANDB_BASE_URL='http://127.0.0.1:9')
    for given, said in ((['--track', 'wanb'], '--track wanb is unknown'), (['--wandb'], '--wandb_mode offline keeps')):
        found = subprocess.run([sys.executable, root/'experiments'/'planet_resnet50.py', *given, '--data', str(drawn),
                                '--out', str(tmp_path/'out')], capture_output=True, text=True, env=env)
        assert found.returncode == 1 and said in found.stderr and len(found.stderr.splitlines()) == 1, found.stderr
        assert not found.stdout and not (tmp_path/'out').exists()

@pytest.mark.parametrize('path', sorted((root/'experiments').rglob('*.py')), ids=lambda p: p.stem)
def test_an_experiment_that_takes_the_option_follows_it(path):
    if '@script' not in (source := path.read_text()): pytest.skip('it is no experiment')
    said = subprocess.run([sys.executable, path, '--help'], capture_output=True, text=True, check=True).stdout
    assert ('--track' in said) == ('--wandb_mode' in said) == ('Tracking(o, run)' in source)

# ---- W&B, online

class Unauthorised(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.end_headers()
    do_POST = do_GET
    def log_message(self, *args): pass

def check_online(**env):
    "What a fresh process says of W&B (its settings are read once)."
    code = ('from planet.trackers import check_track\n'
            'try: check_track(dict(wandb=True))\nexcept Exception as e: print(e)')
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=root,
                           env=os.environ | env)
    assert not found.stderr
    return found.stdout.strip()

def test_online_without_a_key():
    said = check_online()
    assert said.startswith('no key for W&B: wandb login') and '`wandb_mode` offline' in said and '\n' not in said

def test_online_without_a_network():
    said = check_online(WANDB_API_KEY='0'*40, WANDB_BASE_URL='http://127.0.0.1:9')
    assert said.startswith('W&B cannot be reached at http://127.0.0.1:9 (') and '`wandb_mode` offline' in said

def test_online_with_a_key_that_is_refused():
    server = HTTPServer(('127.0.0.1', 0), Unauthorised)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: said = check_online(WANDB_API_KEY='0'*40, WANDB_BASE_URL=f'http://127.0.0.1:{server.server_port}')
    finally: server.shutdown()
    assert 'W&B does not accept the key (' in said and '`wandb_mode` offline' in said and '\n' not in said

def test_the_environment_may_choose_offline(monkeypatch):
    monkeypatch.setenv('WANDB_MODE', 'offline')
    check_track(dict(wandb=True)) # asks nobody

def test_an_mlflow_server_that_is_not_there(monkeypatch):
    monkeypatch.setattr(trackers, 'find_spec', lambda name: True)
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://127.0.0.1:9')
    with pytest.raises(UserError, match='MLflow cannot be reached at http://127.0.0.1:9'):
        check_track(dict(track='mlflow'))

# ---- what a run tells its trackers

def test_a_tagger(tmp_path, drawn, told):
    record, path = train(drawn, tmp_path, track='notes')
    methods = [m for m, _ in told]
    assert methods[:4] == ['start', 'log', 'log', 'log'] and methods[-2:] == ['artifact', 'finish']
    config, done = told[0][1]
    assert config['options']['lr'] == .003 and config['data']['chips'] == 60 and config['device']['type'] and done == 0
    history = pd.read_csv(path/'history.csv')
    for (step, metrics), row in zip([a for m, a in told if m == 'log'], history.to_dict('records')):
        assert step == row['epoch'] and metrics.keys() == {'train_loss', 'valid_loss', 'accuracy_multi', 'f2', 'lr'}
        assert metrics['valid_loss'] == pytest.approx(row['valid_loss'], rel=1e-4) # one axis through both stages
    tables = {a[0]: a[1] for m, a in told if m == 'table'}
    chips, vocab = tables['validation_chips'], record['data']['vocab']
    assert list(chips) == ['image', 'image_name', 'true', 'predicted', 'wrong', *vocab] and len(chips) == 12
    truth = pd.read_csv(drawn/'train_v2.csv').set_index('image_name').tags
    for row in chips.itertuples():
        assert row.true.split() == sorted(truth[row.image_name].split()) and row.image.size == (32, 32)
        shown, true = row.predicted.split(), row.true.split()
        assert shown == [t for t in vocab if chips[t][row.Index] > .2] and row.wrong == len({*shown} ^ {*true})
        with Image.open(drawn/'train-jpg'/f'{row.image_name}.jpg') as f: mean = np.asarray(f).mean()
        assert np.asarray(row.image).mean() == pytest.approx(mean, abs=3) # the picture of that very chip
    assert list(tables['tags'].tag) == vocab
    curve, = [a[1] for m, a in told if m == 'curve']
    assert curve['F2'].loc[.2] == pytest.approx(record['scores']['f2'], abs=1e-4)
    files = {a[0].name for m, a in told if m == 'file'}
    assert {'history.csv', 'validation.csv', 'losses.png', 'threshold.png', 'predictions.png'} <= files
    assert [a[0].name for m, a in told if m == 'artifact'] == ['model']
    status, scores = told[-1][1]
    assert status == 'done' and scores['f2'] == record['scores']['f2']
    assert scores['f2_interval_low'] == record['scores']['f2_interval'][0]

def test_a_page_and_a_model_folder_are_sent(tmp_path, told):
    run = FakeRun(tmp_path)
    (tmp_path/'report.html').write_text('<p>')
    (tmp_path/'model').mkdir()
    (tmp_path/'learner.pkl').write_bytes(b'')
    tracking = Tracking(dict(track='notes'), run)
    tracking.begun = tracking.trackers
    with tracking: pass
    assert ('file', (tmp_path/'report.html',)) in told and ('artifact', (tmp_path/'model',)) in told

def test_a_classifier(tmp_path, drawn, told):
    record, path = train(drawn, tmp_path, weather_resnet18.main, track='notes')
    tables = {a[0]: a[1] for m, a in told if m == 'table'}
    chips, vocab = tables['validation_chips'], record['data']['vocab']
    assert {*chips.true} <= {*vocab} and (chips.predicted == chips[vocab].idxmax(axis=1)).all()
    assert (chips.wrong == (chips.true != chips.predicted)).all() and 'curve' not in [m for m, _ in told]
    assert (chips.true == chips.predicted).mean() == pytest.approx(record['scores']['accuracy'], abs=1e-4)
    assert tables['classes'].shape == (len(vocab), len(vocab) + 1)

def test_nothing_of_it_survives_in_the_model(tmp_path, drawn, told):
    train(drawn, tmp_path/'with', track='notes', pickle=True)
    path, = (tmp_path/'with').glob('*/*/learner.pkl')
    learn = load_learner(path)
    assert not [cb for cb in learn.cbs if isinstance(cb, Tracking)] and b'planet.track' not in path.read_bytes()
    copy = pickle.loads(pickle.dumps(Tracking(dict(track='notes'), FakeRun(tmp_path)))) # in a learner's own callbacks
    assert not isinstance(copy, Tracking)

def test_scores_do_not_depend_on_tracking(tmp_path, drawn, told, monkeypatch):
    def start(self, config, step=0): np.random.seed(0); np.random.rand()
    monkeypatch.setattr(TRACKERS['notes'], 'start', start)
    tables = []
    for track in ('none', 'notes'):
        _, path = train(drawn, tmp_path/track, track=track)
        tables.append((path/'validation.csv').read_bytes())
    assert tables[0] == tables[1]

# ---- a tracker that fails

def test_one_that_cannot_begin_is_an_error_before_training(tmp_path, drawn, told, monkeypatch):
    failing(monkeypatch, start=OSError('no such\nserver'))
    with pytest.raises(UserError, match=r'bad cannot begin \(OSError: no such server\): leave it out of `track`') as e:
        train(drawn, tmp_path, track='notes,bad')
    assert '\n' not in str(e.value) and [m for m, _ in told if m in ('log', 'finish')] == ['finish']
    assert told[-1][1] == ('failed', {})

def test_one_that_dies_in_mid_run_is_a_warning(tmp_path, drawn, told, monkeypatch):
    error = ConnectionError('reset by\npeer')
    failing(monkeypatch, log=error, table=error, finish=error)
    record, path = train(drawn, tmp_path, track='bad,notes')
    found = [o for o in record['warnings'] if o.startswith('bad ')]
    assert found == ['bad could not log epoch 1 and ends here (ConnectionError: reset by peer)']
    assert record['status'] == 'done' and (path/'model').exists()
    assert [m for m, _ in told].count('log') == 3 # the other one goes on

def test_one_that_cannot_take_a_table_takes_the_rest(tmp_path, drawn, told, monkeypatch):
    failing(monkeypatch, table=ValueError('odd name'), finish=OSError('too late'))
    record, _ = train(drawn, tmp_path, track='bad,notes')
    assert [o for o in record['warnings'] if o.startswith('bad ')] == [ # once for each method
        "bad could not take 'table' (ValueError: odd name)", "bad could not take 'curve' (ValueError: odd name)",
        "bad could not take 'finish' (OSError: too late)"]
    assert {'table', 'curve', 'file', 'artifact'} <= {m for m, _ in told} and record['status'] == 'done'

def test_a_table_that_cannot_be_made_is_a_warning(tmp_path, drawn, told, monkeypatch):
    monkeypatch.setattr('planet.tracking.chip_table', lambda result, picture: 1/0)
    record, _ = train(drawn, tmp_path, track='notes')
    assert any('make validation_chips (ZeroDivisionError' in o for o in record['warnings'])
    assert 'curve' in [m for m, _ in told] and told[-1] == ('finish', ('done', numbers(record['scores'])))

def test_a_chip_that_has_gone_costs_its_picture_alone(tmp_path, told):
    tracking = Tracking(dict(track='notes'), FakeRun(tmp_path))
    tracking.valid = []
    assert tracking.picture(3) is None

@pytest.mark.parametrize('error,status', [(KeyboardInterrupt(), 'interrupted'), (RuntimeError('x'), 'failed'),
                                          (Diverged('too fast'), 'diverged')])
def test_how_a_run_ended(tmp_path, drawn, told, monkeypatch, error, status):
    def evaluate(*args, **kwargs): raise error
    monkeypatch.setattr('planet.results.evaluate', evaluate)
    with pytest.raises(type(error)): train(drawn, tmp_path, track='notes')
    assert told[-1] == ('finish', (status, {})) and [m for m, _ in told].count('log') == 3

def test_ctrl_c_while_results_are_sent_keeps_the_run(tmp_path, drawn, monkeypatch):
    failing(monkeypatch, artifact=KeyboardInterrupt())
    record, _ = train(drawn, tmp_path, track='bad')
    assert record['status'] == 'done' and any('interrupted before all was sent' in o for o in record['warnings'])

# ---- parts

class FakeRun:
    def __init__(self, path): self.path, self.facts = path, {}
    def update(self, **facts): self.facts |= facts
    def warn(self, text): self.facts.setdefault('warnings', []).append(text)

def test_a_resumed_run_goes_on_with_its_epochs(tmp_path, told):
    from test_callbacks import learner
    (tmp_path/'record.json').write_text('{}')
    learn = learner(History())
    learn.history.rows += [dict(epoch=1), dict(epoch=2)]
    with Tracking(dict(track='notes'), FakeRun(tmp_path)) as tracking, learn.no_bar(): learn.fit(2, cbs=tracking)
    assert told[0] == ('start', ({'data': {}}, 2)) and [a[0] for m, a in told if m == 'log'] == [3, 4]

def test_a_run_that_was_cut_goes_on_with_its_epochs(tmp_path, drawn, told, monkeypatch):
    log, options = TRACKERS['notes'].log, dict(data=str(drawn), out=str(tmp_path), track='notes')
    def cut(self, step, metrics):
        log(self, step, metrics)
        if step == 2: raise KeyboardInterrupt
    monkeypatch.setattr(TRACKERS['notes'], 'log', cut)
    with pytest.raises(KeyboardInterrupt): planet_resnet50.main(**quick | options)
    monkeypatch.setattr(TRACKERS['notes'], 'log', log)
    run, = tmp_path.glob('planet_resnet50/*')
    planet_resnet50.main(**quick | options, resume=str(run))
    logged = [a for m, a in told if m == 'log']
    assert [a[1] for m, a in told if m == 'start'] == [0, 1] and [step for step, _ in logged] == [1, 2, 2, 3]
    assert logged[1] == logged[2], 'the epoch that was not saved any more is trained again, with equal results'
    assert [a[0] for m, a in told if m == 'finish'] == ['interrupted', 'done']

def test_validation_and_lr_find_are_no_epochs(tmp_path, told):
    from test_callbacks import learner
    (tmp_path/'record.json').write_text('{}')
    learn = learner(Tracking(dict(track='notes'), FakeRun(tmp_path)), tmp_path=tmp_path)
    with learn.no_bar():
        learn.get_preds()
        learn.lr_find(num_it=20, show_plot=False)
        assert not told
        learn.fit(1)
        learn.get_preds()
    assert [m for m, _ in told] == ['start', 'log'] # it counts by itself where there is no `History`

def scored(probs, targs, vocab, thresh, names=None):
    "A scored validation set."
    probs, targs = torch.tensor(probs), torch.tensor(targs)
    return TagsResult(probs, targs, names or [f'{i:03}' for i in range(len(probs))], vocab, AboveThreshold(thresh))

def test_tags_called_as_columns_are():
    result = scored([[.9, .1, .6], [.2, .3, .1]], [[1, 1, 0], [0, 0, 1]], ['image', 'image_name', 'wrong'],
                    [.5, .2, .5], ['007', 'NA'])
    table = chip_table(result, lambda row: None)
    assert list(table.image_name) == ['007', 'NA'] and list(table.wrong) == [2, 2]
    assert list(table)[-3:] == ['image (tag)', 'image_name (tag)', 'wrong (tag)']
    assert list(table.true) == ['image image_name', 'wrong'] and list(table.predicted) == ['image wrong', 'image_name']

def test_threshold_curves_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    probs, targs = rng.random((40, 3)), rng.integers(0, 2, (40, 3))
    targs[:, 1] = 0
    found = threshold_curves(scored(probs, targs, ['a', 'b', 'c'], .2))
    assert list(found)[:2] == ['F2', 'accuracy_multi'] and {*found.columns[2:]} == {'F2 of a', 'F2 of c'}
    for at in (.01, .2, .57, .99):
        row, pred = found.loc[at], probs > at
        assert row['F2 of a'] == pytest.approx(fbeta_score(targs[:, 0], pred[:, 0], beta=2, zero_division=0))
        assert row['F2'] == pytest.approx(fbeta_score(targs, pred, beta=2, average='samples', zero_division=0))

def test_values():
    assert numbers(dict(f2=np.float32(.5), none=None, flag=True, name='x', interval=[.1, .2])) == dict(
        f2=.5, interval_low=.1, interval_high=.2)
    assert flat(dict(a=dict(b=1, c=['x', 'ü']), d=None, e='y'*600)) == {'a.b': 1, 'a.c': '["x", "ü"]', 'e': 'y'*500}

def test_the_process_is_as_before(capsys):
    import logging
    import warnings
    before = logging.root.manager.disable, sys.stdout, list(warnings.filters)
    with quietly(): print('chatter')
    assert (logging.root.manager.disable, sys.stdout, list(warnings.filters)) == before
    assert not capsys.readouterr().out

# ---- the real packages, offline

@pytest.fixture(scope='module')
def tracked(tmp_path_factory, drawn):
    "One run that all trackers which are installed here followed: its record and folder."
    home = tmp_path_factory.mktemp('tracked')
    names = [n for n, t in TRACKERS.items() if find_spec(t.package)]
    env = {k: v for k, v in os.environ.items() if not k.startswith(('WANDB', 'MLFLOW', 'TRACKIO'))}
    env |= dict(TRACKIO_DIR=str(home/'trackio'), WANDB_DATA_DIR=str(home), WANDB_CACHE_DIR=str(home))
    args = [f'--{k}={v}' for k, v in quick.items() if k != 'tta']
    found = subprocess.run([sys.executable, root/'experiments'/'planet_resnet50.py', *args, '--data', str(drawn),
                            '--out', str(home/'runs'), '--track', ','.join(names), '--wandb_mode', 'offline'],
                           capture_output=True, text=True, cwd=home, env=env | dict(PYTHONPATH=str(root)))
    assert found.returncode == 0 and not found.stderr, found.stderr
    path, = (home/'runs'/'planet_resnet50').iterdir()
    record = json.loads((path/'record.json').read_text())
    assert not [o for o in record.get('warnings', []) if o.startswith(tuple(names))] and [*record['tracking']] == names
    assert 'chatter' not in found.stdout and '* Trackio' not in found.stdout
    return record, path

def needs(package):
    return pytest.mark.skipif(not find_spec(package), reason=f'{package} is not installed: make test-track')

def history_of(path): return pd.read_csv(path/'history.csv', index_col='epoch')[['train_loss', 'valid_loss', 'f2']]

def records(path):
    "The records of a wandb offline run: LevelDB blocks of 32 KiB, a chunk with checksum, length and kind."
    from wandb.proto.wandb_internal_pb2 import Record
    data, at, whole = path.read_bytes(), 7, b''
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        size, kind = struct.unpack('<HB', data[at+4:at+7])
        if left < 7 or kind == 0:
            at += left
            continue
        whole, at = whole + data[at+7:at+7+size], at + 7 + size
        if kind in (1, 4): # whole, or its last part
            yield Record.FromString(whole)
            whole = b''

def values(items): return {'/'.join(o.nested_key) or o.key: json.loads(o.value_json) for o in items}

@needs('wandb')
def test_wandb_offline(tracked):
    record, path = tracked
    folder = Path(record['tracking']['wandb'].removeprefix('wandb sync '))
    found = list(records(next(folder.glob('*.wandb'))))
    def of(kind): return [getattr(o, kind) for o in found if o.WhichOneof('record_type') == kind]
    run, = of('run')
    config = values(run.config.update)
    assert run.project == 'planet_resnet50' and run.display_name == path.name and config['options']['lr'] == .003
    rows = {int(v['_step']): v for o in of('history') if 'train_loss' in (v := values(o.item))}
    for epoch, row in history_of(path).iterrows():
        assert {k: rows[epoch][k] for k in row.index} == pytest.approx(dict(row), rel=1e-4)
    assert list(rows) == [1, 2, 3] and all(o.step.num <= 3 for o in of('history'))
    table = json.loads(next((folder/'files'/'media'/'table').glob('validation_chips_*')).read_text())
    assert table['columns'][:5] == ['image', 'image_name', 'true', 'predicted', 'wrong'] and len(table['data']) == 12
    artifacts = {o.type: o for o in of('artifact') if 'validation_chips' in o.name or o.type == 'model'}
    assert sum(o.path.endswith('.png') for o in artifacts['run_table'].manifest.contents) == 12 # the chips themselves
    sent = {o.path: o.local_path for o in artifacts['model'].manifest.contents}
    assert sent['weights.safetensors'] == str(path/'model'/'weights.safetensors') and 'model.json' in sent
    saved = {f.path.split('_3_')[0] for o in of('files') for f in o.files}
    assert {'media/table/tags', 'media/table/thresholds_table', 'media/images/threshold', 'history.csv'} <= saved
    assert 'media/html/report' in saved
    summary = {k: v for o in of('summary') for k, v in values(o.update).items()}
    assert summary['scores/f2'] == record['scores']['f2'] and summary['status'] == 'done'
    assert of('exit')[0].exit_code == 0

class KillWandb(Callback):
    "SIGKILL for the process that writes and sends, as when memory runs out."
    order = Tracking.order+1
    def after_epoch(self):
        if self.epoch: return
        for process in Path('/proc').glob('[0-9]*'):
            with suppress(OSError):
                command, status = (process/'cmdline').read_bytes(), (process/'status').read_text()
                if b'wandb-core' in command and f'PPid:\t{os.getpid()}\n' in status:
                    os.kill(int(process.name), signal.SIGKILL)
                    self.learn.killed = process
        time.sleep(.5) # until its socket is known to be closed

@needs('wandb')
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='finds the process in /proc, which Linux has')
def test_wandb_whose_process_is_killed(tmp_path, monkeypatch):
    from test_callbacks import learner
    monkeypatch.setenv('WANDB_DATA_DIR', str(tmp_path))
    (tmp_path/'record.json').write_text('{}')
    learn, run = learner(History()), FakeRun(tmp_path)
    with learn.no_bar(), Tracking(dict(wandb=True, wandb_mode='offline'), run) as tracking:
        learn.fit(4, cbs=[tracking, KillWandb()])
    warning, = run.facts['warnings']
    assert learn.killed and warning.startswith('wandb could not log epoch ') and len(learn.history.rows) == 4

@needs('tensorboard')
def test_tensorboard(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    record, path = tracked
    events = EventAccumulator(record['tracking']['tensorboard'], dict(tensors=0, scalars=0, images=0)).Reload()
    for name, column in history_of(path).items():
        found = events.Scalars(name)
        assert [o.step for o in found] == [1, 2, 3]
        assert [o.value for o in found] == pytest.approx(list(column), rel=1e-4)
    images = {o.split('/')[0] for o in events.Tags()['images']}
    assert {'validation_chips', 'threshold', 'predictions', 'losses'} <= images
    def text(name): return events.Tensors(f'{name}/text_summary')[0].tensor_proto.string_val[0].decode()
    assert '"lr": 0.003' in text('config') and text('status') == 'done' and text('model') == str(path/'model')
    assert len(text('validation_chips').splitlines()) == 12 + 2 and text('tags').startswith('| tag | count |')
    curve = {o.step: o.value for o in events.Scalars('thresholds, percent/F2')}
    assert curve[20] == pytest.approx(record['scores']['f2'], abs=1e-4) and len(curve) == 99
    assert events.Scalars('scores/f2')[0].value == pytest.approx(record['scores']['f2'])

@needs('trackio')
def test_trackio(tracked):
    record, path = tracked
    folder = path.parents[2]/'trackio'
    with sqlite3.connect(folder/'planet_resnet50.db') as db:
        rows = [(step, json.loads(o)) for step, o in db.execute('select step, metrics from metrics order by step, id')]
        config, = db.execute('select config from configs').fetchone()
    assert json.loads(config)['options.lr'] == .003
    epochs = {step: o for step, o in rows if 'train_loss' in o}
    for epoch, row in history_of(path).iterrows():
        assert {k: epochs[epoch][k] for k in row.index} == pytest.approx(dict(row), rel=1e-4)
    assert list(epochs) == [1, 2, 3] and max(step for step, _ in rows) == 3
    rest = {k: v for step, o in rows if 'train_loss' not in o for k, v in o.items()}
    chips = rest['validation_chips']['_value']
    assert len(chips) == 12 and (folder/'media'/chips[0]['image']['file_path']).exists()
    assert len(rest['tags']['_value']) == len(record['data']['vocab']) and len(rest['thresholds']['_value']) == 99
    assert rest['scores/f2'] == record['scores']['f2'] and rest['status'] == 'done'
    assert {'threshold', 'report'} <= {*rest}
    sizes = {o.stat().st_size for o in (folder/'artifacts').rglob('*') if o.is_file()}
    assert (path/'model'/'weights.safetensors').stat().st_size in sizes

@needs('mlflow')
def test_mlflow(tracked):
    record, path = tracked
    with sqlite3.connect(path.parents[1]/'mlflow.db') as db:
        (run, name, status, uri), = db.execute('select run_uuid, name, status, artifact_uri from runs').fetchall()
        params = dict(db.execute('select key, value from params'))
        found = db.execute('select key, step, value from metrics order by step').fetchall()
        experiment = [o for o, in db.execute('select name from experiments')]
    assert name == path.name and status == 'FINISHED' and 'planet_resnet50' in experiment
    assert params['options.lr'] == '0.003' and params['data.chips'] == '60'
    for key, column in history_of(path).items():
        assert [s for k, s, _ in found if k == key] == [1, 2, 3]
        assert [v for k, _, v in found if k == key] == pytest.approx(list(column), rel=1e-4)
    assert [v for k, _, v in found if k == 'scores/f2'] == [record['scores']['f2']]
    folder = Path(uri.removeprefix('file://'))
    assert folder.is_relative_to(path.parents[1]) and (folder/'model'/'weights.safetensors').exists()
    table = json.loads((folder/'validation_chips.json').read_text())
    assert table['columns'][:5] == ['image', 'image_name', 'true', 'predicted', 'wrong'] and len(table['data']) == 12
    sent = {o.name for o in folder.iterdir()}
    assert {'tags.json', 'thresholds.json', 'threshold.png', 'history.csv', 'report.html'} <= sent
