"`planet-data doctor`: a line a check, whatever happens, and never a secret."
import os
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import pytest
import torch
from planet.download import kaggle as account
from planet.tools import doctor as machine, planet_data as commands
from planet.tools.doctor import doctor

root = Path(__file__).resolve().parent.parent
really = account.access
SECRET = 'hunter2hunter2hunter2hunter2hunter2hunter2'

@pytest.fixture
def home(tmp_path, monkeypatch):
    "A home with nothing in it, no credentials, and no network."
    for name in list(os.environ):
        if name.startswith(('KAGGLE', 'WANDB', 'NETRC', 'XDG_', 'TORCH_HOME', 'HF_', 'PLANET_CACHE', 'FASTAI_HOME')):
            monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, '_answers', lambda address: False)
    closed = 'Kaggle cannot be reached (closed): connect to the network, then run this again'
    monkeypatch.setattr(account, 'access', lambda: ('no network', closed))
    return tmp_path

def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

def test_every_check_has_a_line(home, capsys):
    assert doctor() is True
    lines = capsys.readouterr().out.splitlines()
    seen = [line[7:22].strip() for line in lines if line[:5].strip() in ('ok', 'note', 'fix')]
    assert seen == list(machine.CHECKS)
    assert max(map(len, lines)) <= 100 and not any('\033' in line for line in lines)
    assert lines[-1].endswith(' to fix') and not any('could not be checked' in line for line in lines)

def test_a_check_that_fails_is_a_line(home, monkeypatch, capsys):
    def fails(error):
        def check(): raise error
        return check
    errors = dict(disk=OSError(SECRET), weights=KeyError(SECRET), Kaggle=SystemExit(SECRET),
                  network=TimeoutError('no answer within 5 s'))
    for name, error in errors.items(): monkeypatch.setitem(machine.CHECKS, name, fails(error))
    monkeypatch.setitem(machine.CHECKS, 'device', lambda: ('ok', 'cpu'))
    assert doctor() is True
    said = capsys.readouterr().out
    for line in ('disk           could not be checked (OSError)', 'Kaggle         could not be checked (SystemExit)',
                 'network        could not be checked (TimeoutError: no answer within 5 s)'):
        assert f'note   {line}' in said
    assert SECRET not in said

@pytest.mark.parametrize('what', ['torch', 'python'])
def test_exit_status(home, monkeypatch, capsys, what):
    "1 only where nothing can run."
    monkeypatch.setattr(sys, 'argv', ['planet-data', 'doctor'])
    monkeypatch.setattr(machine, 'CHECKS', {n: machine.CHECKS[n] for n in ('python', 'packages', 'device')})
    with pytest.raises(SystemExit) as e: commands.main()
    assert e.value.code == 0
    if what == 'torch': monkeypatch.setitem(sys.modules, 'torch', None)
    else: monkeypatch.setattr(machine.sys, 'version_info', (3, 9, 1))
    with pytest.raises(SystemExit) as e: commands.main()
    said = capsys.readouterr().out
    assert e.value.code == 1 and said.strip().endswith('planet cannot run here')
    assert ('device         could not be checked (ModuleNotFoundError' in said) == (what == 'torch')

# ---- secrets: in a process of its own, with the real client, which talks to this machine

# all checks but the slow one, which has no secrets
CHECK = ("import kagglesdk.kaggle_env as e, sys; e._env_to_endpoint[e.KaggleEnv.PROD] = sys.argv[1]; "
        "from planet.tools import doctor as machine; machine.CHECKS.pop('device'); machine.doctor()")

@pytest.fixture
def server():
    "The address of a server that knows no one."
    class Unknown(BaseHTTPRequestHandler):
        def do_HEAD(self): self.send_response(401); self.send_header('Content-Length', '0'); self.end_headers()
        do_GET = do_POST = do_HEAD
        def log_message(self, *args): pass
    httpd = ThreadingHTTPServer(('127.0.0.1', 0), Unknown)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{httpd.server_port}'
    httpd.shutdown()

@pytest.mark.parametrize('where', ['environment', 'files', 'broken files'])
def test_no_secret_is_shown(tmp_path, server, where):
    env = {k: v for k, v in os.environ.items() if not k.startswith(('KAGGLE', 'WANDB', 'XDG_', 'NETRC'))}
    # all else is asked by a proxy that is not there
    env |= dict(HOME=str(tmp_path), PYTHONPATH=str(root), HTTPS_PROXY='http://127.0.0.1:9',
                HTTP_PROXY='http://127.0.0.1:9', NO_PROXY='127.0.0.1')
    if where == 'environment':
        env |= dict(KAGGLE_USERNAME='someone', KAGGLE_KEY=SECRET, KAGGLE_API_TOKEN=SECRET[::-1], WANDB_API_KEY=SECRET,
                    HF_TOKEN=SECRET)
    elif where == 'files':
        write(tmp_path/'.kaggle'/'kaggle.json', f'{{"username": "someone", "key": "{SECRET}"}}')
        write(tmp_path/'.netrc', f'machine api.wandb.ai\n  login user\n  password {SECRET}\n')
    else:
        # no header can carry two lines, and who says so shows them
        write(tmp_path/'.kaggle'/'access_token', f'{SECRET}\n{SECRET[::-1]}\n')
        write(tmp_path/'.kaggle'/'kaggle.json', f'{{"username": "someone", "key": "{SECRET}"')
        # the word that says password is missing
        write(tmp_path/'.netrc', f'machine api.wandb.ai\n  login user\n  {SECRET}\n')
    done = subprocess.run([sys.executable, '-c', CHECK, server], env=env, cwd=tmp_path, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    for secret in (SECRET, SECRET[::-1]):
        assert not any(part in said for part in (secret, secret[:14], secret[-14:])), said
    assert 'bad credentials' in said and 'could not be checked' not in said, said
    if where == 'environment': assert 'KAGGLE_API_TOKEN' in said and 'a key for api.wandb.ai in WANDB_API_KEY' in said
    elif where == 'files': assert 'kaggle.json' in said and 'a key for api.wandb.ai in ~/.netrc' in said
    else: assert 'access_token' in said and '~/.netrc cannot be read near line' in said

def test_what_a_library_lets_slip_is_hidden(home, monkeypatch, capsys):
    write(home/'.kaggle'/'kaggle.json', f'{{"username": "someone", "key": "{SECRET}"}}')
    monkeypatch.setenv('WANDB_API_KEY', SECRET[::-1])
    monkeypatch.setattr(machine, 'CHECKS', {'Kaggle': lambda: ('fix', f'header {SECRET!r}', f'mend {SECRET[::-1]}')})
    doctor()
    assert 'header \'(hidden)\'' in (said := capsys.readouterr().out) and 'mend (hidden)' in said

# ---- single checks

def test_kaggle(home, monkeypatch):
    closed = account.access
    monkeypatch.setattr(account, 'access', really) # without credentials it asks no one
    state, found, todo = machine.check_kaggle()
    assert (state, found) == ('note', 'no credentials') and todo.startswith('make a token')
    monkeypatch.setenv('KAGGLE_API_TOKEN', SECRET)
    monkeypatch.setattr(account, 'access', closed)
    assert machine.check_kaggle()[:2] == ('note', 'credentials in KAGGLE_API_TOKEN; no network')
    for state, kind in (('bad credentials', 'fix'), ('rules not accepted', 'fix'), ('rate limit', 'note'),
                        ('error 503', 'note')):
        monkeypatch.setattr(account, 'access', lambda: (state, 'do this'))
        assert machine.check_kaggle() == (kind, f'credentials in KAGGLE_API_TOKEN; {state}', 'do this')
    monkeypatch.setattr(account, 'access', lambda: ('ok', ''))
    assert machine.check_kaggle()[0] == 'ok'

@pytest.mark.parametrize('data,said', [(b'', 'it is empty'), (b'{"username": "ann", "key": "' + SECRET.encode(),
                                                              'it is cut short'),
    (b'{"username": "ann"}', 'it lacks key'), (b'[1]', 'JSON'), (b'\xff\xfe\x00', 'it is no text')])
def test_a_kaggle_json_that_is_no_good(home, data, said):
    write(home/'.kaggle'/'kaggle.json', '')
    (home/'.kaggle'/'kaggle.json').write_bytes(data)
    state, found, todo = machine.check_kaggle()
    assert state == 'fix' and found.startswith('~/.kaggle/kaggle.json cannot be used: ') and said in found
    assert 'make a token' in todo and SECRET not in found + todo

@pytest.mark.skipif(os.name != 'posix', reason='permissions as POSIX has them')
def test_credentials_that_others_may_read(home, monkeypatch):
    write(home/'.kaggle'/'kaggle.json', f'{{"username": "someone", "key": "{SECRET}"}}')
    monkeypatch.setattr(account, 'access', lambda: ('ok', ''))
    for mode, state in ((0o644, 'note'), (0o640, 'note'), (0o600, 'ok')):
        (home/'.kaggle'/'kaggle.json').chmod(mode)
        found = machine.check_kaggle()
        assert found[0] == state and (state == 'ok' or found[2] == 'chmod 600 ~/.kaggle/kaggle.json')

def test_an_answer_that_does_not_come(home, monkeypatch, capsys):
    "It may come later; until then the process has its own streams and environment."
    wait = threading.Event()
    monkeypatch.setenv('KAGGLE_API_TOKEN', SECRET)
    def hang():
        with account.alone(dict(PLANET_TEST_SECRET=SECRET)): wait.wait()
        return 'ok', ''
    monkeypatch.setattr(account, 'access', hang)
    monkeypatch.setattr(machine, 'DEADLINE', .3)
    monkeypatch.setattr(machine, 'CHECKS', dict(Kaggle=machine.check_kaggle))
    before = sys.stdin, sys.stdout, sys.stderr, dict(os.environ)
    doctor()
    assert (sys.stdin, sys.stdout, sys.stderr, dict(os.environ)) == before
    assert 'no answer within 0.3 s' in capsys.readouterr().out
    wait.set()

def test_advice_names_options_with_dashes(monkeypatch, capsys):
    monkeypatch.setattr(machine, 'CHECKS', dict(memory=lambda: ('note', 'little memory',
                                                                'take smaller batches (`bs` 16)')))
    doctor()
    assert '(--bs 16)' in capsys.readouterr().out

def test_network(home, monkeypatch):
    state, found, todo = machine.check_network()
    assert state == 'note' and found.startswith('offline') and 'synthetic' in todo
    monkeypatch.setattr(machine, '_answers', lambda address: 'kaggle' not in address)
    assert machine.check_network() == ('note', 'no answer from www.kaggle.com (Kaggle); the others answer')
    monkeypatch.setattr(machine, '_answers', lambda address: True)
    assert machine.check_network()[0] == 'ok'

def test_weights_and_chips(home, folder):
    names = 'weights', 'sample', 'synthetic', 'competition'
    assert [machine.CHECKS[n]()[0] for n in names] == ['note', 'note', 'ok', 'note']
    write(home/'.cache'/'torch'/'hub'/'checkpoints'/'resnet50-11ad3fa6.pth', '')
    write(home/'.cache'/'huggingface'/'hub'/'models--timm--convnext_tiny.in12k'/'blobs', '')
    assert machine.check_weights() == ('ok', 'resnet50-11ad3fa6, timm/convnext_tiny.in12k')
    shutil.copytree(folder, home/'.cache'/'planet'/'synthetic-v5-n60')
    assert 'synthetic-v5-n60 in ~/.cache/planet' in machine.check_synthetic()[1]
    shutil.copytree(folder, home/'data'/'planet')
    assert machine.check_competition()[:2] == ('ok', '60 chips in data/planet')
    (home/'data'/'planet'/'train-jpg'/'train_7.jpg').unlink()
    state, found, _ = machine.check_competition()
    assert state == 'fix' and '1 of 60 chips' in found
    write(home/'.fastai'/'config.ini', '[DEFAULT]\ndata = sets\n')
    sets = home/'.fastai'/'sets'/'planet_sample'
    write(sets/'labels.csv', (folder/'train_v2.csv').read_text())
    state, found, todo = machine.check_sample() # a table alone is not the set
    assert state == 'note' and 'none of 60 chips' in found and 'planet-data get sample' in todo
    shutil.copytree(folder/'train-jpg', sets/'train')
    assert machine.check_sample()[0] == 'ok' and not (home/'.fastai'/'data').exists()
    shutil.rmtree(home/'.cache'/'planet'/'synthetic-v5-n60'/'train-jpg')
    assert 'none drawn yet' in machine.check_synthetic()[1]

def test_disk(home, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    for free, state in ((60e9, 'ok'), (3e9, 'note'), (1e8, 'fix')):
        monkeypatch.setattr(machine.shutil, 'disk_usage', lambda path: usage(100e9, 0, free))
        assert machine.check_disk()[0] == state

def test_memory(monkeypatch):
    assert machine.check_memory()[0] in ('ok', 'note') and 'GB of memory' in machine.check_memory()[1]
    monkeypatch.setattr(machine, '_memory', lambda: (8e9, 1e9))
    assert machine.check_memory()[0] == 'note' and '1 GB of it free' in machine.check_memory()[1]
    monkeypatch.setattr(machine, '_memory', lambda: (None, None))
    assert machine.check_memory()[0] == 'note'

def test_packages(monkeypatch):
    assert machine.check_packages()[0] == 'ok'
    versions = dict(torch='2.1.0', torchvision='0.30', fastai='2.9', timm=None, planet=None)
    monkeypatch.setattr(machine, '_version', lambda name: versions.get(name, '9999'))
    state, found, todo = machine.check_packages()
    assert state == 'fix' and 'timm missing' in found
    assert "'torch>=2.6'" in todo and "'timm>=" in todo and 'fastai' not in todo
    versions.update(torch='2.7', timm='1.1', planet='3.0')
    assert machine.check_packages()[0] == 'fix' and "Planet Labs' SDK" in machine.check_packages()[1]

def test_a_driver_that_torch_does_not_use(monkeypatch):
    assert machine.check_device()[0] in ('ok', 'note', 'fix')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(machine.shutil, 'which', lambda name: f'/usr/bin/{name}')
    state, found, todo = machine.check_device()
    assert state == 'fix' and 'NVIDIA driver' in found and todo
