"Kaggle credentials: the places where they may lie, in the client's own order, and what is wrong with a file of them."
import codecs
import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from planet.files import open_regular

__all__ = ['TOKEN', 'client_is_old', 'config_file', 'credential_files', 'credentials', 'credentials_fault',
           'find_credentials', 'readable_by_others', 'read_json', 'secret_words']

TOKEN = ("make a token at https://www.kaggle.com/settings/api (Generate New Token) and save it to "
         "~/.kaggle/access_token, or set KAGGLE_API_TOKEN to it")
TOKEN_FILES = '~/.kaggle/access_token', '~/.kaggle/access_token.txt'

def config_file() -> Path:
    "`kaggle.json` where the client looks for it."
    folder = os.environ.get('KAGGLE_CONFIG_DIR') or '~/.kaggle'
    path = Path(folder).expanduser()
    if sys.platform.startswith('linux') and not os.environ.get('KAGGLE_CONFIG_DIR') and not path.exists():
        path = Path(os.environ.get('XDG_CONFIG_HOME') or '~/.config').expanduser()/'kaggle'
    return path/'kaggle.json'

def credential_files() -> list[Path]:
    "The files that hold Kaggle credentials here, whether they can be used or not."
    files = [config_file(), *(Path(n).expanduser() for n in (*TOKEN_FILES, '~/.kaggle/credentials.json'))]
    return [f for f in files if f.is_file()]

def _short(path): return str(path).replace(str(Path.home()), '~', 1)

def _decoded(path):
    "Text of a file as editors save it: UTF-8 with or without a byte order mark, or UTF-16; a pipe is not waited for."
    with open_regular(path) as f: data = f.read()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode('utf-16' if wide else 'utf-8-sig')

def read_json(path:Path,
             ) -> tuple: # the object (empty where there is none), and a word on what is wrong
    "Read a JSON object from a file, in UTF-8 or UTF-16."
    try: text = _decoded(path).strip()
    except FileNotFoundError: return {}, ''
    except OSError as e: return {}, f'it cannot be read ({e.strerror})'
    except UnicodeDecodeError: return {}, 'it is no text'
    if not text: return {}, 'it is empty'
    try: return dict(json.loads(text)), ''
    except ValueError: return {}, 'it is no JSON' if text.endswith('}') else 'it is cut short, or no JSON'
    except TypeError: return {}, 'it is no JSON object'

def _text(path):
    try: return _decoded(Path(path).expanduser()).strip()
    except (OSError, ValueError): return ''

def _colab_secret(name):
    try:
        from google.colab import userdata
    except ImportError: return None
    try: return userdata.get(name)
    except Exception: return None # not there, or this notebook may not read it

def _notebook_secret(name):
    if 'KAGGLE_KERNEL_RUN_TYPE' not in os.environ: return None
    try:
        from kaggle_secrets import UserSecretsClient
    except ImportError: return None
    try: return UserSecretsClient().get_secret(name)
    except Exception: return None

SECRETS = {"Colab's secrets": _colab_secret, "the Kaggle notebook's secrets": _notebook_secret}

def client_is_old() -> bool:
    "Versions before 2 of the client (all that Python 3.10 gets) know no token files and no OAuth."
    try: return int(version('kaggle').split('.')[0]) < 2
    except PackageNotFoundError: return False

def find_credentials() -> tuple: # (where or `None`, environment variables that hand them to the client)
    "Find the credentials, in the client's order; a `kaggle.json` that the client could not decode is returned too."
    env, config = os.environ.get, config_file()
    if 'KAGGLE_KERNEL_RUN_TYPE' in os.environ and (token := _text(env('KAGGLE_API_V1_TOKEN') or '.')):
        return 'KAGGLE_API_V1_TOKEN', dict(KAGGLE_API_TOKEN=token)
    if token := env('KAGGLE_API_TOKEN'): # the token, or the file that holds it
        return 'KAGGLE_API_TOKEN', dict(KAGGLE_API_TOKEN=_text(token) or token)
    for name in TOKEN_FILES:
        if token := _text(name): return name, dict(KAGGLE_API_TOKEN=token)
    if env('KAGGLE_USERNAME') and env('KAGGLE_KEY'): return 'KAGGLE_USERNAME and KAGGLE_KEY', {}
    found, _ = read_json(config)
    if found.get('username') and found.get('key'):
        return _short(config), dict(KAGGLE_USERNAME=str(found['username']), KAGGLE_KEY=str(found['key']))
    if not client_is_old() and read_json(Path('~/.kaggle/credentials.json').expanduser())[0].get('refresh_token'):
        return 'an OAuth login (kaggle auth login)', {}
    for where, secret in SECRETS.items():
        if token := secret('KAGGLE_API_TOKEN'): return f'KAGGLE_API_TOKEN of {where}', dict(KAGGLE_API_TOKEN=token)
        if (user := secret('KAGGLE_USERNAME')) and (key := secret('KAGGLE_KEY')):
            return f'KAGGLE_USERNAME and KAGGLE_KEY of {where}', dict(KAGGLE_USERNAME=user, KAGGLE_KEY=key)
    return None, {}

def credentials() -> 'str | None': # such as "KAGGLE_API_TOKEN" or "~/.kaggle/access_token"; `None`: there are none
    "Where this machine's Kaggle credentials were found; never what they are."
    return find_credentials()[0]

def credentials_fault() -> str: # such as "~/.kaggle/kaggle.json cannot be used: it is empty"; '' for no fault
    "What is wrong with a file of credentials that holds none; it quotes nothing of the file."
    for path in credential_files():
        if path.suffix == '.json':
            found, wrong = read_json(path)
            needed = ('username', 'key') if path.name == 'kaggle.json' else ('refresh_token',)
            lacks = [k for k in needed if not found.get(k)]
            wrong = wrong or (f"it lacks {' and '.join(lacks)}" if lacks else '')
        else: wrong = '' if _text(path) else 'it is empty' if os.access(path, os.R_OK) else 'it cannot be read'
        if wrong: return f'{_short(path)} cannot be used: {wrong}'
    return ''

def readable_by_others() -> list: # such as ["~/.kaggle/kaggle.json"]
    "Files of credentials that other users of this machine may read."
    if os.name != 'posix': return []
    return [_short(p) for p in credential_files() if p.stat().st_mode & 0o077]

def secret_words() -> list[str]:
    "Every secret of the environment and of Kaggle's files, for taking them out of what is shown."
    named = dict(os.environ) | find_credentials()[1]
    for i, path in enumerate(credential_files()):
        named |= read_json(path)[0] if path.suffix == '.json' else {f'token {i}': _text(path)}
    wanted = 'KEY', 'TOKEN', 'SECRET', 'PASSWORD'
    return ' '.join(str(v) for k, v in named.items() if any(w in k.upper() for w in wanted)).split()
