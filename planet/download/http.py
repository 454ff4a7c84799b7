"Fetch a file: with progress, on from where an interruption left it, checked before it gets its name."
# While it comes it is called `NAME.part`; `NAME.part.tag` holds the server's mark for its content (ETag or date), so
# that only bytes of the same file are ever put together.
import errno
import hashlib
import os
import time
from base64 import b64decode
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit
from planet.cli import UserError, say
from planet.download.progress import ByteProgress, DiskTooSmall, need_space, size_text

__all__ = ['Passing', 'download', 'open_url', 'file_md5', 'retry_after', 'wait_for', 'cause']

SECONDS = 5, 60 # to wait for a connection, and for the next byte
PATIENCE = 3600 # the longest wait that a server may ask for with 429, in seconds
TRIES = 5 # how often a cut connection is taken up again without a byte more
PAUSE = 1 # seconds before the second time, then doubled
CHUNK = 1 << 15 # small: what is in hand when a connection is cut is lost

class Passing(UserError):
    "A fault of the network or the server that may pass; `short` is its cause alone."
    def __init__(self, message, short=''): super().__init__(message); self.short = short or message

def retry_after(response) -> float: # seconds
    "How long a 429 asks us to wait: seconds or a date in its `Retry-After`; half a minute where it says nothing."
    asked = response.headers.get('Retry-After', '30')
    try: return max(1, float(asked)) # of 0 or less it would be asked again at once, for ever
    except ValueError: pass
    try: return max(1, parsedate_to_datetime(asked).timestamp() - time.time())
    except (TypeError, ValueError): return 30

def wait_for(response, who:str=None):
    "Sleep as long as a 429 asks for, and say so; raises `UserError` where that is too long to sit and wait."
    seconds, who = retry_after(response), who or urlsplit(response.url).hostname
    if seconds > PATIENCE:
        raise UserError(f"{who} was asked too often (429): run this again in {seconds/3600:.1f} hours")
    say(f'{who} asks us to wait {seconds:.0f} s (429)')
    time.sleep(seconds)

def cause(e) -> str:
    "The last of a chain of network errors, which is the one that tells."
    if isinstance(e, Passing): return e.short
    def inner(e):
        nested = (a for a in e.args if isinstance(a, BaseException))
        return getattr(e, 'reason', None) or next(nested, None) or e.__cause__
    while isinstance(inner(e), BaseException): e = inner(e)
    text = ' '.join(str(e).split())
    return text.split('object at 0x')[-1].partition('>: ')[2] or text or type(e).__name__

def open_url(url:str):
    "A streaming `requests.Response` of a public address. Raises `Passing`, or `UserError` where there is no such file."
    import requests
    name = urlsplit(url).path.split('/')[-1]
    def failed(short, todo): return f"{name} cannot be fetched from {url} ({short}): {todo}"
    while True:
        try: response = requests.get(url, stream=True, timeout=SECONDS, headers={'Accept-Encoding': 'identity'})
        except requests.RequestException as e:
            raise Passing(failed(cause(e), 'connect to the network and try again'), cause(e)) from None
        if response.status_code != 429: break
        wait_for(response)
    status = f'it answers {response.status_code}'
    if response.status_code >= 500: raise Passing(failed(status, 'try again in a few minutes'), status)
    if response.status_code >= 400: raise UserError(failed(status, 'it may have moved; ask where the set is kept now'))
    return response

def _mark(response):
    "What tells one content of an address from another: a strong ETag, or the date of its last change."
    tag = response.headers.get('ETag', '')
    return tag if tag and not tag.startswith('W/') else response.headers.get('Last-Modified', '')

def _packed(response):
    "Whether the server packs the file for the way: its length and md5 are then another."
    return response.headers.get('Content-Encoding', 'identity') != 'identity'

def _length(response):
    "Bytes of the body as they will be written, or `None`."
    if _packed(response): return None
    try: return int(response.headers['Content-Length'])
    except (KeyError, ValueError): return None

def _md5(response):
    "The md5 of the whole file in hex, where the server tells it (Google's storage, which serves Kaggle's files, does)."
    if _packed(response): return None
    for field in response.headers.get('x-goog-hash', '').split(','):
        if field.strip().startswith('md5='): return b64decode(field.strip()[4:]).hex()
    return b64decode(response.headers['Content-MD5']).hex() if 'Content-MD5' in response.headers else None

def _rest(response, start, mark):
    "Ask for the same again, from byte `start` on, if it is still the same (else all of it comes)."
    import requests
    request = response.request.copy()
    response.close()
    request.headers.update({'Range': f'bytes={start}-', 'If-Range': mark})
    session = requests.Session()
    settings = session.merge_environment_settings(request.url, {}, True, None, None)
    return session.send(request, timeout=SECONDS, **settings)

def _fetch(response, part, tag, name, begun):
    "Write what `response` brings, or what `part` lacks of it, to `part`; returns the expected bytes and md5."
    mark, total, md5 = _mark(response), _length(response), _md5(response)
    there = part.stat().st_size if part.exists() and tag.exists() and mark and tag.read_text() == mark else 0
    if total is None or there > total: there = 0
    if there and there == total: response.close()
    else:
        if there:
            response = _rest(response, there, mark)
            if response.status_code == 429:
                wait_for(response)
                raise Passing('it asked us to wait')
            if response.status_code == 200: there = 0 # it cannot send parts, or the file has changed
            elif (response.status_code != 206
                  or not response.headers.get('Content-Range', '').startswith(f'bytes {there}-')):
                part.unlink()
                raise Passing(f'it answers {response.status_code} for the rest of a file')
        if total is not None: need_space(part.parent, total - there, f'fetching {name}')
        if there and not begun: say(f'{name}: going on after {size_text(there)} of {size_text(total)}')
        if not there: tag.write_text(mark)
        mode = 'ab' if there else 'wb'
        with open(part, mode, buffering=0) as out, ByteProgress(f'fetching {name}', total, there) as meter:
            for block in response.iter_content(CHUNK):
                out.write(block)
                meter.add(len(block))
    if total is not None and (size := part.stat().st_size) < total: raise Passing(f'{size:,} of {total:,} bytes came')
    return total, md5

def download(open_it, # opens a streaming `requests.Response` from the first byte; called again after every interruption
             path, # the file to make
             check=None, # called with the file's path before it gets its name; a word on what is wrong, or nothing
             source:str=None, # where it comes from, for messages; by default the response's host
            ) -> Path: # `path`
    """Fetch a file to `path`; what an earlier call fetched is not fetched again.

    A connection that is cut is resumed, `TRIES` times without a byte more. Raises what `open_it` raises the first time,
    `UserError` where the connection stays cut, the disk is too small, or the file arrives damaged."""
    import requests
    import urllib3
    path = Path(path)
    part, tag = path.with_name(path.name+'.part'), path.with_name(path.name+'.part.tag')
    path.parent.mkdir(parents=True, exist_ok=True)
    failed, begun, began, most = 0, False, time.monotonic(), part.stat().st_size if part.exists() else 0
    while True:
        try:
            response = open_it()
            source, first, begun = source or urlsplit(response.url).hostname, not begun, True
            total, md5 = _fetch(response, part, tag, path.name, not first)
            break
        except (Passing, requests.RequestException, urllib3.exceptions.HTTPError) as e:
            if not begun: raise
            size = part.stat().st_size if part.exists() else 0
            # more than ever: a server that cannot send parts may be cut at 10 MB, at 20 MB, at 10 MB ... for ever
            failed, most = 0 if size > most else failed + 1, max(size, most)
            if failed > TRIES:
                goes_on = ', it goes on from there' if tag.exists() and tag.read_text() else ''
                raise UserError(f"the connection to {source} is cut at {size_text(size)} of {path.name} ({cause(e)}): "
                                f"run the same command again{goes_on}") from None
            time.sleep(PAUSE*2**min(failed, 5)/2)
        except OSError as e:
            if e.errno not in (errno.ENOSPC, errno.EDQUOT): raise
            raise DiskTooSmall(f"the disk of {path.parent} is full at {size_text(part.stat().st_size)} of {path.name}: "
                               "free some space and run the same command again, it goes on from there") from None
    wrong = f'{part.stat().st_size:,} bytes for {total:,}' if total is not None and part.stat().st_size != total else ''
    if md5 and not wrong and file_md5(part) != md5: wrong = 'its md5 is another'
    if not wrong and check: wrong = check(part)
    if wrong:
        part.unlink()
        tag.unlink(missing_ok=True)
        raise UserError(f"{path.name} arrived damaged from {source} ({wrong}): "
                        "run the same command again to fetch it anew")
    os.replace(part, path)
    tag.unlink(missing_ok=True)
    seconds = time.monotonic() - began
    if seconds > 2: say(f'fetched {path.name}: {size_text(path.stat().st_size)} in {seconds:.0f} s')
    return path

def file_md5(path) -> str:
    "The md5 of a file, in hex."
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, 'rb') as f:
        while block := f.read(1 << 20): digest.update(block)
    return digest.hexdigest()
