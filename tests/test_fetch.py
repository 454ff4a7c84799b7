"Getting data, with the real Kaggle client talking to a server of ours, and fastai's sets from another one."
import io
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
import kagglesdk.kaggle_env as kaggle_env
import py7zr
import pytest
from fake_kaggle import FakeKaggle
from fastai.data.external import URLs, fastai_cfg, untar_data
from test_archives import contents, left, seven_bytes, small, tar_bytes, zip_bytes
from planet.chips import from_folder
from planet.cli import UserError
from planet.download import competition, fastai_sets as fetch, http as download, kaggle as account
from planet.download.competition import COMPETITION, access, credentials
from planet.download.complete import set_fault
from planet.download.one_at_work import one_at_work
from planet.locks import locked
from planet.synthetic import chips as synthetic
from planet.tools.get import get

root = Path(__file__).resolve().parent.parent
OLD = account.client_is_old()
new_client = pytest.mark.skipif(OLD, reason='version 1 of the kaggle client has no OAuth and no look at tokens')

# ---- what the server has

TABLE = 'image_name,tags\n' + ''.join(f'train_{i},{"haze water" if i%3 else "clear primary"}\n' for i in range(6))
SUBMISSION = 'image_name,tags\ntest_0,x\nfile_0,x\n'

def images(prefix, n, suffix='.jpg'):
    return {f'{prefix}_{i}{suffix}': random.Random(f'{prefix}{i}').randbytes(9000) for i in range(n)}

def in_folder(name, files): return {f'{name}/{k}': v for k, v in files.items()}
def packed(name, files): return seven_bytes({f'{name}.tar': tar_bytes(in_folder(name, files))})

FOLDERS = {'train-jpg': images('train', 6), 'test-jpg': images('test', 2), 'test-jpg-additional': images('file', 2),
           'train-tif-v2': images('train', 6, '.tif'),
           'test-tif-v2': images('test', 2, '.tif') | images('file', 1, '.tif')}
TABLES = {'train_v2.csv': TABLE, 'sample_submission_v2.csv': SUBMISSION, 'test_v2_file_mapping.csv': 'old,new\n'}
ARCHIVES = {f'{name}.tar.7z': packed(name, files) for name, files in FOLDERS.items()}
ZIPPED = {f'{name}.zip': zip_bytes({name: text.encode()}) for name, text in TABLES.items()}
JPG = 'train-jpg', 'test-jpg', 'test-jpg-additional'

@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    "The server, with the competition as it was: zipped tables, archives. No credentials, an empty home and folder."
    fake = FakeKaggle()
    fake.files = {(COMPETITION, n): data for n, data in (ZIPPED | ARCHIVES).items()}
    (tmp_path/'home').mkdir()
    (tmp_path/'work').mkdir()
    monkeypatch.chdir(tmp_path/'work')
    for name in list(os.environ):
        if name.startswith('KAGGLE_'): monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', str(tmp_path/'home'))
    monkeypatch.setenv('USERPROFILE', str(tmp_path/'home'))
    monkeypatch.setenv('KAGGLE_CONFIG_DIR', str(tmp_path/'home'/'.kaggle'))
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'all_proxy'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, 'PAUSE', 0)
    with fake.serving():
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, fake.address)
        yield fake

@pytest.fixture
def login(kaggle, monkeypatch):
    monkeypatch.setenv('KAGGLE_API_TOKEN', 'good-token')
    return kaggle

def dot_kaggle(name, text):
    path = Path(os.environ['HOME'])/'.kaggle'/name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)

def fails(*said, what='kaggle', state=None, **kwargs):
    with pytest.raises(UserError) as e: get(what, **kwargs)
    message = str(e.value)
    assert '\n' not in message
    for words in said: assert words in message, message
    if state: assert e.value.state == state
    return message

def whole(folder, *, tif=False):
    expected = {f'{name}/{k}': v for name in FOLDERS if tif or 'jpg' in name for k, v in FOLDERS[name].items()}
    expected |= {k: v.encode() for k, v in TABLES.items() if tif or k != 'test_v2_file_mapping.csv'}
    assert contents(folder) == expected and len(from_folder(folder)) == 6

# ---- the competition

def test_the_competition(login, capsys):
    assert get('kaggle') == Path('data/planet')
    whole(Path('data/planet'))
    assert not any('tif' in path for _, path, _ in login.seen if 'storage' in path) # 33 GB that nobody asked for
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == '6 chips with 4 tags (to read every image: planet-data verify data/planet)'

def test_with_the_tiffs(login): whole(get('kaggle', tif=True), tif=True)
def test_to_another_folder(login, tmp_path): whole(get('kaggle', str(tmp_path/'there')))

def test_what_is_there_is_not_fetched_again(login, monkeypatch, capsys):
    get('kaggle')
    monkeypatch.delenv('KAGGLE_API_TOKEN')
    n = len(login.seen)
    assert get('kaggle') == Path('data/planet') and len(login.seen) == n # no account, no network
    assert 'has everything already' in capsys.readouterr().out

def test_only_what_is_missing_is_fetched(login):
    get('kaggle')
    shutil.rmtree('data/planet/test-jpg')
    login.seen.clear()
    whole(get('kaggle'))
    assert [path.split('/')[-1] for _, path, _ in login.seen if 'storage' in path] == ['test-jpg.tar.7z']

def test_tables_listed_as_folders(login):
    "As Kaggle lists them today: `train_v2.csv/train_v2.csv`. Also over several pages, and with other archives."
    login.files = {(COMPETITION, f'{n}/{n}'): t.encode() for n, t in TABLES.items()}
    login.files |= {(COMPETITION, 'train-jpg.zip'): zip_bytes(FOLDERS['train-jpg']),
                    (COMPETITION, 'test-jpg.tar'): tar_bytes(in_folder('x', FOLDERS['test-jpg'])),
                    (COMPETITION, 'test-jpg-additional.tar.gz'): tar_bytes(FOLDERS['test-jpg-additional'], 'w:gz')}
    login.page, login.gzip = 6 if OLD else 2, True
    whole(get('kaggle'))

TODAY = [f'{n}/{n}' for n in TABLES] + ['Kaggle-planet-train-tif.torrent', 'Kaggle-planet-test-tif.torrent']

def test_without_the_images(login):
    "The competition as listed since 2019: tables and torrents."
    login.files = {(COMPETITION, f'{n}/{n}'): t.encode() for n, t in TABLES.items()}
    login.listed[COMPETITION] = TODAY
    fails("does not carry train-jpg, test-jpg, test-jpg-additional", 'planet-data get sample', '`dataset` owner/name',
          'train-jpg.tar.7z into data/planet by hand')
    assert not Path('data').exists() # a table alone would be taken for the competition by `--data auto`
    Path('data/planet').mkdir(parents=True)
    Path('data/planet/train-jpg.tar.7z').write_bytes(ARCHIVES['train-jpg.tar.7z'])
    assert len(from_folder(get('kaggle'))) == 6

def test_without_test_images(login, capsys):
    for name in ('test-jpg.tar.7z', 'test-jpg-additional.tar.7z'): del login.files[COMPETITION, name]
    assert len(from_folder(get('kaggle'))) == 6
    lacks = 'does not carry test-jpg, test-jpg-additional (any longer): training does not need them'
    assert lacks in capsys.readouterr().out

def test_without_tiffs(login):
    login.listed[COMPETITION] = [n for n in (*ZIPPED, *ARCHIVES) if 'tif' not in n]
    get('kaggle')
    fails('does not carry train-tif-v2, test-tif-v2', tif=True)

@pytest.mark.parametrize('page', ['<!DOCTYPE html><html>log in</html>', '', 'image_name\n1\n', '{"code": 403}',
                                  TABLE + 'train_0,haze\n'])
def test_a_table_that_is_none_is_not_installed(login, page):
    login.files[COMPETITION, 'train_v2.csv.zip'] = page.encode() # and not even a zip
    fails('train_v2.csv.zip', 'run the same command again')
    assert not Path('data/planet/train_v2.csv').exists() and not FETCHED.exists()
    login.files[COMPETITION, 'train_v2.csv.zip'] = ZIPPED['train_v2.csv.zip']
    whole(get('kaggle'))

def test_a_table_cut_at_the_end_of_a_row(login):
    "A server that tells no length, and a cut that looks like an end: Kaggle's list tells the size."
    login.files = {(COMPETITION, n): a for n, a in ARCHIVES.items()} | {(COMPETITION, n): t.encode() for n,
                                                                        t in TABLES.items()}
    login.length = login.md5 = False
    login.faults = [('storage.*train_v2.csv', ('cut', TABLE.index('train_3')))]
    fails('train_v2.csv arrived damaged', f'bytes of {len(TABLE)}', 'run the same command again')
    assert not Path('data/planet/train_v2.csv').exists()
    whole(get('kaggle'))

def test_a_table_that_names_half_of_the_images(login):
    "Where nothing tells its size, the images do."
    half = TABLE[:TABLE.index('train_3')]
    login.files |= {(COMPETITION, 'train_v2.csv.zip'): zip_bytes({'train_v2.csv': half.encode()})}
    fails('train_v2.csv arrived cut short', 'names 3 of the 6 images in train-jpg/')
    assert not Path('data/planet/train_v2.csv').exists()
    login.files |= {(COMPETITION, 'train_v2.csv.zip'): ZIPPED['train_v2.csv.zip']}
    whole(get('kaggle'))
    Path('data/planet/train_v2.csv').write_text(half) # from an earlier version, or the user's own
    fails('names 3 of the 6 images', 'to fetch the table again, delete it')
    Path('data/planet/train_v2.csv').unlink() # what it says helps
    whole(get('kaggle'))

def test_a_bad_table_does_not_stay_for_ever(login, capsys):
    get('kaggle')
    for text in ('', '<html>', 'image_name,tags\n'):
        Path('data/planet/train_v2.csv').write_text(text)
        get('kaggle')
        assert 'it was renamed to train_v2.csv.damaged' in capsys.readouterr().out
        assert Path('data/planet/train_v2.csv.damaged').read_text() == text # nothing is deleted
        Path('data/planet/train_v2.csv.damaged').unlink()
        whole(Path('data/planet'))

def test_images_that_are_missing_are_told(login):
    get('kaggle')
    Path('data/planet/train-jpg/train_3.jpg').unlink()
    fails('data/planet is not whole', 'train_3', 'delete data/planet/train-jpg')
    shutil.rmtree('data/planet/train-jpg') # what it says helps
    whole(get('kaggle'))

def test_an_archive_with_a_password(login):
    "It would come again as it is: it stays, and what to do is told."
    secret = io.BytesIO()
    with py7zr.SevenZipFile(secret, 'w', password='x') as z: z.writestr(b'a', 'train-jpg/train_0.jpg')
    login.files[COMPETITION, 'train-jpg.tar.7z'] = secret.getvalue()
    message = fails('it wants a password', 'unpack it by hand', 'The folder that is wanted is data/planet/train-jpg')
    assert 'fetch it anew' not in message and (FETCHED/'train-jpg.tar.7z').exists()
    n = len(login.fetched('train-jpg.tar.7z'))
    fails('it wants a password')
    assert len(login.fetched('train-jpg.tar.7z')) == n # not fetched again for nothing

def test_more_than_the_competition_holds(login, monkeypatch):
    monkeypatch.setitem(competition.LIMITS, 'train-jpg', 10_000)
    fails('train-jpg.tar.7z is not to be trusted', 'a decompression bomb')
    assert competition.LIMITS['test-tif-v2'] > 61_191*256*256*4*2 and not Path('data/planet/train-jpg').exists()

# ---- by hand

@pytest.mark.parametrize('name,data', [('train-jpg.tar.7z', ARCHIVES['train-jpg.tar.7z']),
    ('train-jpg.zip', zip_bytes(FOLDERS['train-jpg'])),
    ('train-jpg.tar', tar_bytes(in_folder('train-jpg', FOLDERS['train-jpg']))),
    ('train-jpg.tgz', tar_bytes(FOLDERS['train-jpg'], 'w:gz'))], ids=['.tar.7z', '.zip', '.tar', '.tgz'])
def test_archives_by_hand(kaggle, capsys, name, data):
    "No account: what lies there is enough to train on, and stays."
    folder = Path('data/planet')
    folder.mkdir(parents=True)
    (folder/name).write_bytes(data)
    (folder/'train_v2.csv.zip').write_bytes(ZIPPED['train_v2.csv.zip'])
    assert get('kaggle') == folder and contents(folder/'train-jpg') == FOLDERS['train-jpg']
    assert (folder/name).read_bytes() == data and not kaggle.seen
    said = capsys.readouterr().out
    assert f'found {folder/name}' in said
    assert 'without sample_submission_v2.csv, test-jpg, test-jpg-additional, which training does not need' in said

def test_download_all_by_hand(kaggle):
    "What the button gives: one zip, of tables and archives."
    Path('data/planet').mkdir(parents=True)
    inside = {f'{n}/{n}': t.encode() for n, t in TABLES.items()} | {n: a for n, a in ARCHIVES.items() if 'jpg' in n}
    Path(f'data/planet/{COMPETITION}.zip').write_bytes(zip_bytes(inside))
    get('kaggle')
    Path(f'data/planet/{COMPETITION}.zip').unlink()
    whole(Path('data/planet'))

def test_a_damaged_archive_by_hand_is_kept(login):
    path = Path('data/planet/train-jpg.tar.7z')
    path.parent.mkdir(parents=True)
    path.write_bytes(ARCHIVES[path.name][:5000])
    fails('data/planet/train-jpg.tar.7z is truncated or damaged', 'delete it or fetch it again')
    assert path.stat().st_size == 5000 and left(path.parent) == [path.name]
    path.unlink()
    whole(get('kaggle'))

def test_an_archive_that_may_not_be_read(login, monkeypatch):
    path = Path('data/planet/train-jpg.tar.7z')
    path.parent.mkdir(parents=True)
    path.write_bytes(b'')
    def refuse(path): raise PermissionError(13, 'Permission denied', str(path))
    monkeypatch.setattr('planet.download.archives.kind_of', refuse) # root may read all
    monkeypatch.setattr(os, 'access', lambda path, mode: mode != os.R_OK)
    message = fails(f'cannot read {path} (Permission denied)', 'chmod u+r')
    assert 'fetch' not in message and path.exists()

# ---- a dataset

def dataset(login, files, name='ann/amazon'): login.files[name, 'archive.zip'] = zip_bytes(files)

DEEP = (in_folder('planet/planet/train-jpg', FOLDERS['train-jpg']) |
        in_folder('planet/planet/test-jpg', FOLDERS['test-jpg']) |
        in_folder('test-jpg-additional/test-jpg-additional', FOLDERS['test-jpg-additional']) |
        {'planet/notes.txt': b'hello'})

def test_images_from_a_dataset(login):
    login.listed[COMPETITION] = TODAY
    login.files |= {(COMPETITION, f'{n}/{n}'): t.encode() for n, t in TABLES.items()}
    dataset(login, DEEP)
    whole(get('kaggle', dataset='ann/amazon'))

def test_a_dataset_with_a_table_of_its_own(login):
    dataset(login, DEEP | {'planet/planet/train_classes.csv': TABLE.encode(),
                           'planet/planet/sample_submission_v2.csv': SUBMISSION.encode()})
    login.accepted = False # the competition is not asked
    folder = get('kaggle', dataset='ann/amazon')
    assert len(from_folder(folder)) == 6 and left(folder) == [
        'sample_submission_v2.csv', 'test-jpg', 'test-jpg-additional', 'train-jpg', 'train_classes.csv']
    assert not any(COMPETITION in path for _, path, _ in login.seen)

def test_a_dataset_of_archives(login):
    archives = {f'planet/{n}': a for n, a in ARCHIVES.items() if 'jpg' in n}
    dataset(login, archives | {'train_v2.csv': TABLE.encode(), 'sample_submission_v2.csv': SUBMISSION.encode()})
    whole(get('kaggle', dataset='ann/amazon'))

def test_a_dataset_of_something_else(login):
    dataset(login, {'cats/1.jpg': b'', 'cats/2.jpg': b''})
    fails('dataset ann/amazon holds no train_N.jpg', dataset='ann/amazon')
    assert not Path('data').exists()

def test_a_dataset_that_lacks_images(login):
    files = dict(DEEP)
    del files['planet/planet/train-jpg/train_4.jpg']
    dataset(login, files | {'train_v2.csv': TABLE.encode()})
    fails('has no image for 1 of the 6 chips', 'train_4', dataset='ann/amazon')
    assert not Path('data/planet/train-jpg').exists()

def test_a_dataset_is_fetched_once(login):
    dataset(login, {k: v for k, v in DEEP.items() if 'train' in k} | {'train_v2.csv': TABLE.encode()})
    for name in ('test-jpg.tar.7z', 'test-jpg-additional.tar.7z'): del login.files[COMPETITION, name]
    for _ in range(2): assert len(from_folder(get('kaggle', dataset='ann/amazon'))) == 6
    assert len(login.fetched('archive.zip')) == 1 and not FETCHED.exists()

def test_no_such_dataset(login): fails('Kaggle has no dataset ann/amzon (404)', dataset='ann/amzon', state='not found')
def test_a_private_dataset(login):
    login.faults = [('DownloadDataset|datasets/download', 403)]
    fails('dataset ann/amazon', '(403)', 'private', dataset='ann/amazon')
@pytest.mark.parametrize('name', ['amazon', 'ann/', 'ann/a b', '../x'])
def test_a_dataset_by_a_wrong_name(login, name): fails('owner/name', dataset=name)

# ---- mounted in a Kaggle notebook

@pytest.fixture
def mount(tmp_path, monkeypatch):
    monkeypatch.setattr(competition, 'INPUT', tmp_path/'input')
    def put(place, files):
        for name, data in files.items():
            path = tmp_path/'input'/place/name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        return tmp_path/'input'/place
    return put

@pytest.mark.parametrize('place', [COMPETITION, f'competitions/{COMPETITION}'])
def test_mounted_and_ready(kaggle, mount, capsys, place):
    folder = mount(place, TABLES | in_folder('train-jpg', FOLDERS['train-jpg']))
    assert get('kaggle') == folder and not kaggle.seen and not Path('data').exists()
    assert f'{folder} is mounted here: nothing to download' in capsys.readouterr().out

def test_archives_mounted(kaggle, mount):
    mount(COMPETITION, {f'{n}/{n}': t for n, t in TABLES.items()} | ARCHIVES)
    whole(get('kaggle'))
    assert not kaggle.seen

@pytest.mark.parametrize('place', ['amazon', 'datasets/ann/amazon'])
def test_a_dataset_mounted(kaggle, mount, place):
    folder = mount(place, DEEP | {'planet/planet/train_classes.csv': TABLE})
    assert get('kaggle', dataset='ann/amazon') == folder/'planet'/'planet' and not kaggle.seen

# ---- titanic

TITANIC = {'train.csv': b'PassengerId,Survived\n1,0\n', 'test.csv': b'PassengerId\n2\n',
           'gender_submission.csv': b'PassengerId,Survived\n2,0\n'}

@pytest.mark.parametrize('zipped', [False, True])
def test_titanic(login, zipped):
    login.files = {('titanic', n): zip_bytes({n: t}) if zipped else t for n, t in TITANIC.items()}
    assert get('titanic') == Path('data/titanic') and contents(Path('data/titanic')) == TITANIC

def test_titanic_mounted(kaggle, mount):
    folder = mount('titanic', TITANIC)
    assert get('titanic') == folder and not kaggle.seen

def test_titanic_rules(login):
    login.files, login.accepted = {('titanic', n): t for n, t in TITANIC.items()}, False
    fails('https://www.kaggle.com/c/titanic/rules', what='titanic', state='rules not accepted')

# ---- credentials: where they are, and that the client takes them from there

def token_file(monkeypatch): dot_kaggle('access_token', 'good-token\n')
def token_txt(monkeypatch): dot_kaggle('access_token.txt', 'good-token')
def json_file(monkeypatch): dot_kaggle('kaggle.json', '{"username": "tester", "key": "good-key"}')
def oauth(monkeypatch): dot_kaggle('credentials.json', '{"refresh_token": "good-refresh", "username": "tester"}')
def token_variable(monkeypatch): monkeypatch.setenv('KAGGLE_API_TOKEN', 'good-token')
def token_in_a_file(monkeypatch):
    Path('token').write_text('good-token\n')
    monkeypatch.setenv('KAGGLE_API_TOKEN', str(Path('token').resolve()))
def name_and_key(monkeypatch):
    monkeypatch.setenv('KAGGLE_USERNAME', 'tester')
    monkeypatch.setenv('KAGGLE_KEY', 'good-key')
def notebook_token(monkeypatch):
    Path('token').write_text('good-token')
    variables = dict(KAGGLE_KERNEL_RUN_TYPE='Interactive', KAGGLE_DATA_PROXY_URL='x', KAGGLE_API_V1_TOKEN='token')
    for k, v in variables.items(): monkeypatch.setenv(k, v)

def module(monkeypatch, name, **members):
    made = types.ModuleType(name)
    for k, v in members.items(): setattr(made, k, v)
    monkeypatch.setitem(sys.modules, name, made)
    return made

def secret(known):
    def get(name):
        if name not in known: raise LookupError(name)
        return known[name]
    return get
def colab(known, monkeypatch):
    userdata = module(monkeypatch, 'google.colab.userdata', get=secret(known))
    module(monkeypatch, 'google.colab', userdata=userdata)
def colab_token(monkeypatch): colab({'KAGGLE_API_TOKEN': 'good-token'}, monkeypatch)
def colab_key(monkeypatch): colab({'KAGGLE_USERNAME': 'tester', 'KAGGLE_KEY': 'good-key'}, monkeypatch)
def notebook_secret(monkeypatch):
    monkeypatch.setenv('KAGGLE_KERNEL_RUN_TYPE', 'Batch')
    class Client:
        get_secret = staticmethod(secret({'KAGGLE_API_TOKEN': 'good-token'}))
    module(monkeypatch, 'kaggle_secrets', UserSecretsClient=Client)

PLACES = [(token_variable, 'KAGGLE_API_TOKEN'), (token_in_a_file, 'KAGGLE_API_TOKEN'),
    (token_file, '~/.kaggle/access_token'), (token_txt, '~/.kaggle/access_token.txt'),
    (json_file, '~/.kaggle/kaggle.json'), (name_and_key, 'KAGGLE_USERNAME and KAGGLE_KEY'),
    (colab_token, "KAGGLE_API_TOKEN of Colab's secrets"),
    (colab_key, "KAGGLE_USERNAME and KAGGLE_KEY of Colab's secrets"),
    (notebook_secret, "KAGGLE_API_TOKEN of the Kaggle notebook's secrets"), (notebook_token, 'KAGGLE_API_V1_TOKEN'),
    pytest.param(oauth, 'an OAuth login (kaggle auth login)', marks=new_client)]

@pytest.mark.parametrize('put,where', PLACES)
def test_credentials(kaggle, monkeypatch, put, where):
    put(monkeypatch)
    before = dict(os.environ)
    assert credentials() == where
    assert access() == ('ok', '')
    assert dict(os.environ) == before # secrets are not left for every other program

def test_no_credentials(kaggle, capfd):
    assert credentials() is None and access()[0] == 'no credentials'
    fails('https://www.kaggle.com/settings/api', '~/.kaggle/access_token', 'KAGGLE_API_TOKEN', 'planet-data get sample',
          state='no credentials')
    assert not kaggle.seen and not Path('data').exists()
    assert capfd.readouterr() == ('', '') # the client's own help is not ours

@pytest.mark.parametrize('name,text', [('kaggle.json', '{"username": "tester"}'), ('kaggle.json', 'no json'),
                                       ('access_token', ' \n'), ('credentials.json', '{}')])
def test_files_that_hold_no_credentials(kaggle, name, text):
    dot_kaggle(name, text)
    assert credentials() is None

def test_a_pipe_in_the_place_of_credentials_is_not_waited_for(kaggle):
    dot_kaggle('kaggle.json', '')
    for name in ('kaggle.json', 'access_token'):
        (Path(os.environ['HOME'])/'.kaggle'/name).unlink(missing_ok=True)
        os.mkfifo(Path(os.environ['HOME'])/'.kaggle'/name)
    assert credentials() is None

@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_a_kaggle_json_as_editors_save_it(kaggle, encoding):
    dot_kaggle('kaggle.json', '')
    data = '{"username": "tester", "key": "good-key"}'.encode(encoding)
    (Path(os.environ['HOME'])/'.kaggle'/'kaggle.json').write_bytes(data)
    assert credentials() == '~/.kaggle/kaggle.json' and access() == ('ok', '')

@pytest.mark.parametrize('text,said', [('', 'it is empty'), ('{"username": "tester", "key": "good-k',
                                                             'it is cut short'),
                                       ('{"username": "tester"}', 'it lacks key')])
def test_a_kaggle_json_that_is_no_good(kaggle, text, said):
    dot_kaggle('kaggle.json', text)
    message = fails('~/.kaggle/kaggle.json cannot be used', said, 'make a token', state='bad credentials')
    assert 'good-k' not in message and access()[0] == 'bad credentials' and not kaggle.seen

def test_the_process_is_as_before_after_any_error(kaggle, monkeypatch):
    "Environment, streams and socket timeouts."
    dot_kaggle('kaggle.json', '{"username": "tester", "key": "bad-key"}')
    def state(): return dict(os.environ), sys.stdin, sys.stdout, sys.stderr, socket.getdefaulttimeout()
    before = state()
    for fault in (401, 403, 404, 500, ('429', 7200), ('cut', 0)):
        kaggle.faults = [('.', fault)]*3
        assert access()[0] != 'ok' and state() == before
    with pytest.raises(ZeroDivisionError), account.alone(dict(KAGGLE_KEY='x')): raise ZeroDivisionError
    assert state() == before

BAD = [(lambda m: m.setenv('KAGGLE_API_TOKEN', 'bad-token'), 'KAGGLE_API_TOKEN'),
       (lambda m: dot_kaggle('kaggle.json', '{"username": "tester", "key": "bad-key"}'), 'kaggle.json'),
       (lambda m: dot_kaggle('access_token', 'bad-token'), '~/.kaggle/access_token'),
       pytest.param(lambda m: dot_kaggle('credentials.json', '{"refresh_token": "bad-refresh", "username": "tester"}'),
                    'OAuth', marks=new_client)]

@pytest.mark.parametrize('put,where', BAD, ids=['token', 'kaggle.json', 'access_token', 'OAuth'])
def test_bad_credentials(kaggle, monkeypatch, capfd, put, where):
    put(monkeypatch)
    message = fails(where, '(401)', 'https://www.kaggle.com/settings/api', state='bad credentials')
    assert not re.search('bad-(token|key|refresh)', message), 'a secret was printed'
    put(monkeypatch) # the client forgets an OAuth login that is refused
    assert access()[0] == 'bad credentials'
    assert capfd.readouterr() == ('', '') and not sys.stdin.closed

@pytest.mark.parametrize('token', ['secret-one\nsecret-two', 'secret-\u20ac'])
def test_a_token_that_cannot_be_sent_is_not_quoted(kaggle, token):
    dot_kaggle('access_token', token)
    assert 'secret-' not in fails('~/.kaggle/access_token', 'one line of plain letters', state='bad credentials')
    assert 'secret-' not in access()[1]

def test_rules_not_accepted(login):
    login.accepted = False
    fails('(403)', f'https://www.kaggle.com/c/{COMPETITION}/rules', 'run this again', state='rules not accepted')
    assert access()[0] == 'rules not accepted' and not Path('data').exists()

def test_not_found(login):
    login.faults = [('DownloadDataFile|data/download', 404)]
    fails(COMPETITION, '(404)', state='not found')

def test_no_network(login, monkeypatch):
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, 'http://127.0.0.1:9')
    fails('Kaggle cannot be reached', 'refused', 'connect to the network', state='no network')
    assert access()[0] == 'no network'

def test_a_home_that_is_read_only(login, monkeypatch):
    def refuse(self): raise PermissionError(13, 'Permission denied', '/home/ann/.kaggle')
    from kaggle.api.kaggle_api_extended import KaggleApi
    monkeypatch.setattr(KaggleApi, 'authenticate', refuse)
    fails('cannot write /home/ann/.kaggle (Permission denied)', 'KAGGLE_CONFIG_DIR', state='no folder')

def test_without_the_client(login, monkeypatch):
    monkeypatch.setitem(sys.modules, 'kaggle.api.kaggle_api_extended', None)
    fails('pip install --upgrade kaggle', state='no client')

def test_kaggle_is_down(login):
    login.faults = [('List|data/list', 503)]
    fails('Kaggle answers 503', 'in a few minutes')
    login.faults = [('List|data/list', 503)]
    assert access()[0] == 'error 503'

# ---- 429

@pytest.mark.parametrize('where', ['List|data/list', 'DownloadDataFile|data/download', 'storage.*train-jpg.tar'])
def test_waits_as_told(login, monkeypatch, capsys, where):
    slept = []
    monkeypatch.setattr(download.time, 'sleep', slept.append)
    login.faults = [(where, ('429', 7)), (where, ('429', 3))]
    whole(get('kaggle'))
    assert [s for s in slept if s] == [7, 3] and 'Kaggle asks us to wait 7 s (429)' in capsys.readouterr().out

def test_really_waits(login):
    login.faults, began = [('List|data/list', ('429', .3))], time.monotonic()
    whole(get('kaggle'))
    assert time.monotonic() - began >= .3

def test_a_wait_that_is_too_long(login):
    login.faults = [('List|data/list', ('429', 7200))]
    fails('run this again in 2.0 hours')

def test_access_does_not_wait(login):
    login.faults = [('List|data/list', ('429', 7200))]
    assert access()[0] == 'rate limit'

# ---- a connection that is cut

ARCHIVE, CUT = ARCHIVES['train-jpg.tar.7z'], 1 << 15
FETCHED = Path('data/planet/.fetched')

def test_a_cut_connection_goes_on_by_itself(login):
    login.faults = [('storage.*train-jpg.tar', ('cut', CUT)), ('train-jpg.tar.*bytes', ('cut', 10))]
    whole(get('kaggle'))
    asked = login.fetched('train-jpg.tar.7z')
    assert [r for r in asked if r] == [f'bytes={CUT}-']*2 # too little to count

def test_a_connection_that_stays_cut(login):
    login.faults = [('storage.*train-jpg.tar', ('cut', CUT))] + [('storage.*train-jpg.tar', ('cut', 0))]*50
    fails('the connection to Kaggle is cut at 32.8 kB of train-jpg.tar.7z',
          'run the same command again, it goes on from there')
    assert left(FETCHED) == ['lock', 'train-jpg.tar.7z.part', 'train-jpg.tar.7z.part.tag']
    assert not Path('data/planet/train-jpg').exists()
    login.faults, login.seen = [], []
    whole(get('kaggle'))
    assert f'bytes={CUT}-' in login.fetched('train-jpg.tar.7z')

def interrupted(login, n=CUT):
    "What a run that was killed leaves."
    login.faults = [('storage.*train-jpg.tar', ('cut', n))] + [('storage.*train-jpg.tar', ('cut', 0))]*50
    fails('cut')
    login.faults, login.seen = [], []

def test_says_where_it_goes_on(login, capsys):
    interrupted(login)
    get('kaggle')
    assert f'train-jpg.tar.7z: going on after 32.8 kB of {len(ARCHIVE)/1000:.1f} kB' in capsys.readouterr().out

def test_another_file_is_not_joined_to_half_of_the_old(login):
    interrupted(login)
    new = packed('train-jpg', images('train', 6) | {'train_0.jpg': b'new'})
    login.files[COMPETITION, 'train-jpg.tar.7z'] = new
    assert (get('kaggle')/'train-jpg'/'train_0.jpg').read_bytes() == b'new'
    assert not any(login.fetched('train-jpg.tar.7z'))

def test_a_part_that_nobody_vouches_for(login):
    FETCHED.mkdir(parents=True)
    (FETCHED/'train-jpg.tar.7z.part').write_bytes(b'who knows')
    whole(get('kaggle'))

def test_a_server_that_cannot_send_parts(login):
    interrupted(login)
    login.ranges = False
    whole(get('kaggle'))

def test_a_server_that_does_not_say_how_much(login):
    login.length = False
    whole(get('kaggle'))

def test_cut_where_the_length_is_not_known(login):
    "Nothing tells that this is not all, but the archive does; what was fetched goes, so that the next run has all."
    login.length = login.md5 = False
    login.faults = [('storage.*train-jpg.tar', ('cut', CUT))]
    fails('train-jpg.tar.7z is truncated or damaged', 'it was removed, run the same command again')
    whole(get('kaggle'))

def test_damaged_on_the_way(login):
    login.faults = [('storage.*train-jpg.tar', 'damage')]
    fails('train-jpg.tar.7z arrived damaged from Kaggle (its md5 is another)', 'run the same command again')
    assert not Path('data/planet/train-jpg').exists() and not FETCHED.exists()
    whole(get('kaggle'))

@pytest.mark.parametrize('data,why', [(ARCHIVE[:20000], 'truncated or damaged'),
                                      (seven_bytes({'a.tar': tar_bytes({'../harm': b'x'})}), 'not to be trusted')],
                         ids=['cut', 'harm'])
def test_an_archive_that_is_bad_at_its_source(login, data, why):
    login.files[COMPETITION, 'train-jpg.tar.7z'] = data
    fails('train-jpg.tar.7z', why)
    assert not Path('data/planet/train-jpg').exists() and not FETCHED.exists()
    assert not list(Path('data/planet').glob('.train*'))
    login.files[COMPETITION, 'train-jpg.tar.7z'] = ARCHIVE
    whole(get('kaggle'))

@pytest.mark.parametrize('asked, seconds', [('7', 7), ('0', 1), ('-3', 1), ('nan', 1), ('soon', 30),
                                            ('Wed, 21 Oct 2015 07:28:00 GMT', 1)])
def test_how_long_to_wait(asked, seconds):
    from planet.download.http import retry_after
    assert retry_after(SimpleNamespace(headers={'Retry-After': asked})) == seconds

@pytest.mark.parametrize('mark', [{}, {'ETag': '"x"'}])
def test_a_server_that_is_cut_here_and_there_is_given_up(tmp_path, monkeypatch, mark):
    "It sends all of a file each time, a little less and a little more of it: that is no progress."
    import requests
    from planet.download import http
    calls = []
    class Cut:
        url, status_code, headers = 'http://host/file', 200, {'Content-Length': '100', **mark}
        def close(self): pass
        def iter_content(self, size):
            calls.append(1)
            assert len(calls) < 30, 'it never ends'
            yield b'x'*(10 + len(calls) % 2*10)
            raise requests.ConnectionError('cut')
    monkeypatch.setattr(http, 'PAUSE', 0)
    monkeypatch.setattr(http, '_rest', lambda response, start, mark: response)
    with pytest.raises(UserError, match='is cut at') as e: http.download(Cut, tmp_path/'file')
    assert ('it goes on from there' in str(e.value)) == bool(mark)

# ---- the disk

def test_a_disk_too_small(login, small):
    login.sizes['train-jpg.tar.7z'] = 10**15
    fails('needs 20', 'GB', 'free: free some space, or name a folder on another disk with `to`', to=str(small/'planet'))
    assert not left(small)

def test_a_disk_that_fills_up(login, small, monkeypatch):
    # another fills it meanwhile
    for module in (download, competition): monkeypatch.setattr(module, 'need_space', lambda *args: None)
    for name in ('test-jpg.tar.7z', 'test-jpg-additional.tar.7z'): del login.files[COMPETITION, name]
    (small/'else').write_bytes(bytes(50000))
    fails('is full at', 'free some space', to=str(small/'planet'))
    # no train_v2.csv: `--data auto` does not take it for whole
    assert left(small/'planet') == ['.fetched', 'sample_submission_v2.csv']
    (small/'else').unlink()
    fails('needs', 'unpacking train-jpg', to=str(small/'planet')) # now it came whole, and the images have no room
    assert 'train-jpg.tar.7z' in left(small/'planet'/'.fetched') # for the time when they have

@pytest.mark.skipif(os.name != 'posix' or os.geteuid() == 0, reason='root may write into a folder that is read-only')
@pytest.mark.parametrize('what', ['kaggle', 'titanic', 'synthetic', 'sample'])
def test_a_folder_that_is_read_only(login, sets, tmp_path, what):
    (tmp_path/'locked').mkdir(mode=0o500)
    fails('cannot write', 'Permission denied', '`to`', what=what, to=str(tmp_path/'locked'/'planet'))
    assert not sets.seen

@pytest.mark.parametrize('what', ['kaggle', 'titanic', 'synthetic', 'sample'])
def test_to_a_file(login, sets, tmp_path, what):
    (tmp_path/'file').write_text('mine')
    fails(str(tmp_path/'file'), '`to`', what=what, to=str(tmp_path/'file'/'planet'))
    fails(str(tmp_path/'file'), '`to`', what=what, to=str(tmp_path/'file'))
    assert (tmp_path/'file').read_text() == 'mine' and not sets.seen # told before the download

def test_a_cache_of_fastais_that_cannot_be_written(sets, tmp_path, monkeypatch):
    (tmp_path/'file').write_text('mine')
    monkeypatch.setenv('FASTAI_HOME', str(tmp_path/'file'/'fastai'))
    fastai_cfg.cache_clear()
    fails(str(tmp_path/'file'), 'FASTAI_HOME', what='tiny')

def test_a_synthetic_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path/'file').write_text('mine')
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'file'/'cache'))
    fails('cannot write synthetic chips', '$PLANET_CACHE', what='synthetic')

def test_two_at_once(login):
    pytest.importorskip('fcntl')
    with one_at_work(Path('data/planet')): fails('another planet-data get is at work in data/planet')
    whole(get('kaggle'))

# ---- fastai's sets

CHIPS = {'labels.csv': TABLE.encode()} | in_folder('train', FOLDERS['train-jpg'])
DIGITS = {f'{part}/{digit}/1.png': b'1' for part in ('training', 'testing') for digit in range(10)}
HEADS = {f'{person:02}/{name}': b'1' for person in range(1, 25) for name in ('rgb.cal', 'frame_00003_rgb.jpg')}
SETS = dict(sample=('PLANET_SAMPLE', CHIPS), tiny=('PLANET_TINY', CHIPS), mnist=('MNIST', DIGITS),
            biwi=('BIWI_HEAD_POSE', HEADS),
            pets=('PETS', {'images/a_1.jpg': b'1', 'annotations/list.txt': b'#Image CLASS-ID\na_1 1 1 1\n'}))

@pytest.fixture
def sets(tmp_path, monkeypatch):
    "A server with fastai's sets, which forgets nothing and can do parts; fastai's cache is empty."
    fake = FakeKaggle()
    fake.files = {('fastai', f'{what}.tgz'): tar_bytes(in_folder(what, files), 'w:gz')
                  for what, (_, files) in SETS.items()}
    monkeypatch.setenv('FASTAI_HOME', str(tmp_path/'fastai'))
    monkeypatch.setattr(download, 'PAUSE', 0)
    fastai_cfg.cache_clear()
    with fake.serving():
        for what, (name, _) in SETS.items():
            monkeypatch.setattr(URLs, name, f'{fake.address}/storage/fastai/{what}.tgz')
        yield fake
    fastai_cfg.cache_clear()

@pytest.mark.parametrize('what', SETS)
def test_a_set(sets, tmp_path, what):
    folder = get(what)
    assert folder == tmp_path/'fastai'/'data'/what and contents(folder) == SETS[what][1]
    sets.seen.clear()
    assert get(what) == untar_data(getattr(URLs, SETS[what][0])) == folder and not sets.seen # fastai finds it as well

def test_two_want_one_set(sets, tmp_path):
    "Two experiments started at once: one fetches, the other waits for it."
    sets.files['fastai', 'pets.tgz'] = tar_bytes({'pets/annotations/a': random.Random(0).randbytes(10**6)}, 'w:gz')
    with ThreadPoolExecutor(4) as pool: folders = list(pool.map(get, ['pets']*4))
    assert len(set(folders)) == 1 and len(sets.fetched('pets.tgz')) == 1

# ---- first starts: several processes at once on a fresh machine

def at_once(code, n=3, **more):
    "Run `code` in `n` processes that start together; what each printed last."
    runs = [subprocess.Popen([sys.executable, '-c', code], env=ours()|more, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
            for _ in range(n)]
    done = [run.communicate(timeout=300) for run in runs]
    assert all(run.returncode == 0 for run in runs), '\n'.join(err for _, err in done)
    return [out.splitlines()[-1] for out, _ in done]

# `meet(folder)` returns in all of `n` processes at once, when each has loaded its libraries
MEET = '''
import os, time, pathlib
def meet(folder, n=3):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder/str(os.getpid())).touch()
    while len(list(folder.iterdir())) < n: time.sleep(.001)
'''

def test_one_configuration_of_fastai_for_all_processes(tmp_path):
    code = MEET + f'''
from planet.download.fastai_sets import fastai_config
from fastai.data.external import fastai_cfg
found = []
for i in range(8):
    os.environ['FASTAI_HOME'] = home = {str(tmp_path)!r} + f'/home{{i}}'
    fastai_cfg.cache_clear()
    meet({str(tmp_path)!r} + f'/meet{{i}}')
    found.append(str(fastai_config().path('data')) == home + '/data')
print(all(found))'''
    assert at_once(code) == ['True']*3
    assert all(left(tmp_path/f'home{i}') == ['config.ini', 'config.lock'] for i in range(8))

@pytest.mark.parametrize('text', ['', '[DEFAULT]\ndata = sets\n', '[DEFAULT]\ndata = data\narch'])
def test_a_configuration_that_was_cut_short_is_mended(tmp_path, monkeypatch, text):
    monkeypatch.setenv('FASTAI_HOME', str(tmp_path/'fastai'))
    (tmp_path/'fastai').mkdir()
    (tmp_path/'fastai'/'config.ini').write_text(text)
    fastai_cfg.cache_clear()
    kept = 'sets' if 'sets' in text else 'data'
    assert fetch.fastai_config().path('data') == tmp_path/'fastai'/kept and fetch.fastai_config().path('archive')
    fastai_cfg.cache_clear()

def test_processes_make_the_folder_of_the_client_at_once(kaggle, tmp_path):
    "The client makes it when it is imported, and fails where another process was quicker."
    from planet.download.credentials import config_file
    code = MEET + f'''
import kagglesdk.kaggle_env as e, requests
e._env_to_endpoint[e.KaggleEnv.PROD] = {kaggle.address!r}
from planet.download.kaggle import access
meet({str(tmp_path/'meet')!r})
print(access()[0])'''
    assert at_once(code, KAGGLE_API_TOKEN='good-token') == ['ok']*3 and config_file().parent.is_dir()

def test_a_lock_that_was_removed_is_taken_anew(tmp_path):
    "Whoever had it may remove its folder; then nobody may hold the file that is gone."
    pytest.importorskip('fcntl')
    path, seen = tmp_path/'work'/'lock', []
    def work(i):
        for _ in range(30):
            with locked(path):
                seen.append(('in', i))
                time.sleep(.001)
                shutil.rmtree(tmp_path/'work')
                seen.append(('out', i))
    with ThreadPoolExecutor(4) as pool: list(pool.map(work, range(4)))
    assert len(seen) == 240 and all(a[0] == 'in' and b == ('out', a[1]) for a, b in zip(seen[::2], seen[1::2]))

# ---- what is there is not always whole

SPOIL = dict(sample='train', tiny='train/train_3.jpg', pets='images/a_1.jpg', mnist='testing/9',
             biwi='07/frame_00003_rgb.jpg')

@pytest.mark.parametrize('what', SETS)
def test_a_set_that_is_not_whole_is_fetched_again(sets, tmp_path, capsys, what):
    folder = get(what)
    spoilt = folder/SPOIL[what]
    shutil.rmtree(spoilt) if spoilt.is_dir() else spoilt.unlink()
    (folder/'models').mkdir()
    (folder/'models'/'mine.pth').write_text('mine') # fastai saves models into the folder of its data
    (tmp_path/'fastai'/'archive'/f'{what}.tgz').unlink()
    assert get(what) == folder and contents(folder) == SETS[what][1]
    aside = folder.with_name(f'{what}.incomplete-1')
    assert (aside/'models'/'mine.pth').exists() and 'was incomplete: it was renamed to' in capsys.readouterr().out

def test_a_sample_with_its_table_alone(sets, monkeypatch, tmp_path):
    folder = get('sample')
    shutil.rmtree(folder/'train')
    (tmp_path/'fastai'/'archive'/'sample.tgz').unlink()
    monkeypatch.setattr(URLs, 'PLANET_SAMPLE', 'http://127.0.0.1:9/sample.tgz')
    fails('cannot be fetched', what='sample') # and is not taken for the sample
    assert left(folder) == ['labels.csv']

def test_a_set_with_an_empty_image(sets):
    "A disk that filled up leaves such files."
    folder = get('sample')
    assert not set_fault('sample', folder)
    next((folder/'train').iterdir()).write_bytes(b'')
    assert 'is empty' in set_fault('sample', folder)

def test_a_set_to_a_folder_that_is_not_whole(sets, tmp_path):
    get('pets', str(tmp_path/'pets'))
    (tmp_path/'pets'/'images'/'a_1.jpg').unlink()
    fails('not all of pets', 'has 0 of 1 images', 'delete it', what='pets', to=str(tmp_path/'pets'))

def test_a_layout_that_is_not_known_is_not_set_aside_again_and_again(sets, tmp_path):
    sets.files['fastai', 'biwi.tgz'] = tar_bytes({'biwi/heads.bin': b'x'}, 'w:gz')
    for _ in range(3): assert contents(get('biwi')) == {'heads.bin': b'x'}
    assert left(tmp_path/'fastai'/'data') == ['biwi']

@pytest.mark.parametrize('what', SETS)
def test_a_set_to_a_folder(sets, tmp_path, what):
    (tmp_path/'empty').mkdir()
    for to in (tmp_path/'there', tmp_path/'empty'):
        assert get(what, str(to)) == to and contents(to) == SETS[what][1]
        n = len(sets.seen)
        assert get(what, str(to)) == to and len(sets.seen) == n

def test_a_folder_that_holds_something_else(sets, tmp_path):
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine'/'thesis.tex').write_text('x')
    fails('holds something else', str(tmp_path/'mine'/'pets'), what='pets', to=str(tmp_path/'mine'))
    assert left(tmp_path/'mine') == ['thesis.tex']

def test_a_set_goes_on_after_a_cut(sets, tmp_path):
    sets.faults = [('sample', ('cut', CUT))] + [('sample', ('cut', 0))]*50
    fails('is cut at 32.8 kB of sample.tgz', what='sample')
    sets.faults, sets.seen = [], []
    assert contents(get('sample')) == SETS['sample'][1] and sets.fetched('sample.tgz') == [None, f'bytes={CUT}-']

def test_what_fastai_knows_of_a_set_is_checked(sets, tmp_path, monkeypatch):
    from fastdownload import core
    good = sets.files['fastai', 'sample.tgz']
    (tmp_path/'good').write_bytes(good)
    monkeypatch.setattr(core, 'read_checks', lambda module: {URLs.PLANET_SAMPLE: core.path_stats(tmp_path/'good')})
    sets.files['fastai', 'sample.tgz'] = tar_bytes({'sample/labels.csv': b'other'}, 'w:gz')
    fails('sample.tgz arrived damaged', 'not the one that fastai knows', what='sample')
    sets.files['fastai', 'sample.tgz'] = good
    folder = get('sample')
    assert contents(folder) == SETS['sample'][1]
    shutil.rmtree(folder) # an archive that an earlier fastai left half-fetched
    (tmp_path/'fastai'/'archive'/'sample.tgz').write_bytes(good[:3000])
    assert contents(get('sample')) == SETS['sample'][1]

def test_a_set_that_is_gone(sets):
    del sets.files['fastai', 'pets.tgz']
    sets.faults = [('pets', 404)]
    fails('pets.tgz cannot be fetched from http://127.0.0.1', '404', what='pets')

def test_a_set_without_a_network(sets, monkeypatch):
    monkeypatch.setattr(URLs, 'MNIST', 'http://127.0.0.1:9/mnist_png.tgz')
    fails('mnist_png.tgz cannot be fetched from http://127.0.0.1:9', 'refused', 'connect to the network', what='mnist')

def test_a_set_waits_as_told(sets, monkeypatch, capsys):
    slept = []
    monkeypatch.setattr(download.time, 'sleep', slept.append)
    sets.faults = [('mnist', ('429', 'Wed, 21 Oct 2015 07:28:00 GMT')), ('mnist', ('429', 12))]
    get('mnist')
    assert [s for s in slept if s] == [1, 12] and '127.0.0.1 asks us to wait 12 s (429)' in capsys.readouterr().out

# ---- synthetic chips, names, the command line

def test_synthetic(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, 'write_chips', partial(synthetic.write_chips, n=8, size=32))
    folder = get('synthetic', str(tmp_path/'drawn'))
    assert folder == tmp_path/'drawn' and len(from_folder(folder)) == 8 and get('synthetic', str(folder)) == folder
    (folder/'train-jpg'/'train_3.jpg').unlink()
    fails('not all of its chips', 'train_3', 'delete it', what='synthetic', to=str(folder))

@pytest.mark.parametrize('what,said', [('smaple', 'did you mean sample'), ('imagenet', 'there are kaggle, hf, sample')])
def test_a_wrong_name(what, said): fails(f'there is no {what} to get', said, what=what)
@pytest.mark.parametrize('option', [dict(tif=True), dict(dataset='a/b')])
def test_options_of_kaggle_alone(option): fails(f'`{list(option)[0]}` is for kaggle', what='sample', **option)

POINT = ("import kagglesdk.kaggle_env as e, sys; e._env_to_endpoint[e.KaggleEnv.PROD] = sys.argv.pop(1); "
         "from planet.download import progress as meter; meter.EVERY = meter.MOVE = 0; "
         "from planet.tools.planet_data import main; main()")

def ours():
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, [str(root), os.environ.get('PYTHONPATH')]))}

def words(*args, address=''): return [sys.executable, '-c', POINT, address, *map(str, args)]

def command(*args, address='', terminal=False):
    run = words(*args, address=address)
    if terminal: run = ['script', '-qec', ' '.join("'" + a.replace("'", "'\\''") + "'" for a in run), '/dev/null']
    done = subprocess.run(run, capture_output=True, stdin=subprocess.DEVNULL, env=ours())
    # text=True would take every \r for a line's end
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done

def test_from_the_command_line(login):
    "Into a pipe: plain lines, the folder last."
    done = command('get', 'kaggle', address=login.address)
    assert done.returncode == 0 and not done.stderr, done.stderr
    whole(Path('data/planet'))
    lines = done.stdout.splitlines()
    assert lines[-1] == 'data/planet' and '\r' not in done.stdout and '\x1b' not in done.stdout
    assert any(re.fullmatch(r'fetching train-jpg.tar.7z: .* of 5.\.. kB .*%, .*/s', l) for l in lines)
    assert any(l.startswith('unpacking train-jpg.tar.7z: ') for l in lines)

def test_on_a_terminal(login):
    "A line that moves, and is gone at the end."
    if not shutil.which('script'): pytest.skip('there is no script(1) to play a terminal')
    done = command('get', 'kaggle', address=login.address, terminal=True)
    assert done.returncode == 0, done.stdout
    assert '\rfetching train-jpg.tar.7z: ' in done.stdout and '\runpacking train-jpg.tar.7z: ' in done.stdout
    kept = [l.split('\r')[-1].removeprefix('\x1b[K') for l in done.stdout.replace('\r\n', '\n').strip().split('\n')]
    assert kept[-1] == 'data/planet' and not any(l.startswith(('fetching', 'unpacking')) for l in kept), kept

@pytest.mark.skipif(os.name != 'posix', reason='Windows has another Ctrl-C')
def test_interrupted(login):
    "Ctrl-C in the middle: one line, and the same command goes on from there."
    login.faults = [('storage.*train-jpg.tar', ('stall', CUT))]
    run = subprocess.Popen(words('get', 'kaggle', address=login.address), env=ours(), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
    assert login.stalled.wait(60)
    part = FETCHED/'train-jpg.tar.7z.part'
    for _ in range(600):
        if part.exists() and part.stat().st_size == CUT: break
        time.sleep(.05)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and said == 'planet-data get: interrupted; the same command again goes on from here\n'
    login.seen.clear()
    whole(get('kaggle'))
    assert login.fetched('train-jpg.tar.7z') == [None, f'bytes={CUT}-']

def test_a_mistake_is_one_line(kaggle, monkeypatch):
    "Even where the client prints its help and leaves the interpreter as soon as it is imported."
    monkeypatch.setenv('KAGGLE_API_TOKEN', 'bad-token')
    done = command('get', 'kaggle', address=kaggle.address)
    assert done.returncode == 1 and not done.stdout and done.stderr.count('\n') == 1
    assert done.stderr.startswith('planet-data get: Kaggle does not accept the credentials in KAGGLE_API_TOKEN')

def test_kaggle_is_imported_for_kaggle_alone():
    large = 'kaggle', 'kagglesdk', 'requests', 'fastai', 'torch', 'py7zr'
    code = ('import sys, planet.tools.planet_data, planet.tools.get, planet.download.competition; '
            f'print(sorted(set({large}) & set(sys.modules)))')
    done = subprocess.run([sys.executable, '-c', code], env=ours(), capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done
