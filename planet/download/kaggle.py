"Kaggle's API with the credentials of this machine: lists and opens the files of competitions and datasets."
# The official client (`kaggle`) authenticates when it is imported, prints help, and may leave the interpreter; so it
# is imported when it is needed, its output is dropped, and what it raises becomes one line that says what to do.
import os
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from planet.amazon import COMPETITION
from planet.cli import UserError
from planet.download.credentials import (
    TOKEN,
    client_is_old,
    config_file,
    credentials,
    credentials_fault,
    find_credentials,
)
from planet.download.http import SECONDS, Passing, cause, retry_after, wait_for

__all__ = ['KaggleError', 'Account', 'alone', 'credentials', 'access']

PAGE = 'https://www.kaggle.com/c/'

class KaggleError(UserError):
    "An error of Kaggle's API, or no answer from it; `state` is the same in two or three words."
    def __init__(self, state, message): UserError.__init__(self, message); self.state = state

class _Down(KaggleError, Passing):
    "Kaggle cannot be reached, or has a fault: that may pass."
    def __init__(self, state, message, short): Passing.__init__(self, message, short); self.state = state

# ---- the client

@contextmanager
def alone(environment):
    "The client prints, reads its environment at every call, closes stdin when it gives up: all of it is put back."
    before, stdin = {k: os.environ.get(k) for k in environment}, sys.stdin
    os.environ.update(environment)
    sys.stdin = StringIO()
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()): yield
    finally:
        sys.stdin = stdin
        for k, v in before.items(): os.environ.pop(k, None) if v is None else os.environ.update({k: v})

def _status(e):
    "The HTTP status of an error of the client's, or `None`."
    response = getattr(e, 'response', None)
    if response is None: return None
    try: return response.status_code if response.status_code >= 400 else int(response.json()['code'])
    except (ValueError, KeyError, TypeError): return response.status_code

class Account:
    "The official client, authenticated: what it lists, and its downloads as open responses. Raises `KaggleError`."
    def __init__(self, wait:bool=True, # wait where Kaggle says 429, rather than raise?
                ):
        self.where, self.environment, self.wait = *find_credentials(), wait
        if not self.where:
            if fault := credentials_fault(): raise KaggleError('bad credentials', f'{fault}. Fix it, or {TOKEN}')
            raise KaggleError('no credentials', f'no Kaggle credentials were found: {TOKEN}')
        if client_is_old() and 'KAGGLE_API_TOKEN' in self.environment: # it sends the token, but wants a name and a key
            self.environment |= dict(KAGGLE_USERNAME='token', KAGGLE_KEY='token')
        self.api = self._ask(self._connect, 'Kaggle')

    def _connect(self):
        import requests
        from kagglesdk.kaggle_env import KaggleEnv, get_endpoint
        # asked first: the client has no timeout, and would keep its user waiting for minutes
        requests.head(get_endpoint(KaggleEnv.PROD), timeout=SECONDS).close()
        config_file().parent.mkdir(parents=True, exist_ok=True) # the client's own way fails where two start at once
        from kaggle.api.kaggle_api_extended import KaggleApi
        api = KaggleApi()
        api.config = str(config_file()) # the class looked once, when it was imported
        api.authenticate()
        build = api.build_kaggle_client
        def build_patient():
            client = build()
            http = client.http_client()
            http.__enter__() # makes its session
            http._session.stream = True # version 1 would hold a whole archive in memory
            http._session.send = _with_timeout(http._session.send)
            return client
        api.build_kaggle_client = build_patient
        api.download_needed = lambda *args, **kwargs: True
        # its own download has no progress of ours, no check of the disk and no `.part`: take the open response instead
        api.download_file = lambda response, *args, **kwargs: setattr(self, 'response', response)
        return api

    def _ask(self, call, what, rules=None):
        "`call()`, with what it raises as a `KaggleError` about `what`; where Kaggle is asked too often, it waits."
        import requests
        while True:
            try:
                with alone(self.environment): return call()
            except SystemExit: raise self._refused() from None
            except requests.HTTPError as e:
                if _status(e) != 429 or not self.wait: raise self.explain(e, what, rules) from None
                wait_for(e.response, 'Kaggle')
            except requests.RequestException as e: raise self.explain(e, what, rules) from None
            except ImportError as e:
                raise KaggleError('no client', f"the kaggle client cannot be imported ({e}): "
                                               "pip install --upgrade kaggle") from None
            except (ValueError, OSError) as e:
                if name := getattr(e, 'filename', None): # its folder
                    raise KaggleError('no folder', f"the kaggle client cannot write {name} ({e.strerror}): "
                                                   "name a folder in KAGGLE_CONFIG_DIR") from None
                # what a ValueError says may quote the token
                why = e.strerror if isinstance(e, OSError) and e.strerror else 'a token is one line of plain letters'
                raise KaggleError('bad credentials',
                                  f"the kaggle client cannot use {self.where} ({why}): {TOKEN}") from None

    def _refused(self):
        return KaggleError('bad credentials', f"Kaggle does not accept the credentials in {self.where} (401): {TOKEN}")

    def explain(self, e, # an exception of requests
                what:str, # what was asked for
                rules:str=None, # address of the page where its rules are accepted
               ) -> KaggleError:
        "One line on what went wrong and what to do."
        status = _status(e)
        def no(state, why): return KaggleError(state, f"Kaggle does not give {what} to this account (403): {why}")
        if status is None:
            why = cause(e)
            return _Down('no network', f"Kaggle cannot be reached ({why}): connect to the network, then run this again",
                         why)
        if status == 401: return self._refused()
        if status == 403 and rules:
            return no('rules not accepted', f'log in, accept the rules at {rules}, then run this again')
        if status == 403: return no('not allowed', 'it is private, or the token may not read it')
        if status == 404: return KaggleError('not found', f"Kaggle has no {what} (404): look at its name")
        if status == 429:
            seconds = retry_after(e.response)
            return KaggleError('rate limit', f"Kaggle was asked too often (429): wait {seconds:.0f} s, "
                                             "then run this again")
        answer = f'Kaggle answers {status}'
        return _Down(f'error {status}', f"{answer} for {what}: run this again in a few minutes", answer)

    def _list_page(self, competition, token):
        return self.api.competition_list_files(competition, page_token=token, page_size=200)

    def files(self, competition:str=COMPETITION) -> dict: # name -> bytes
        "The files that a competition carries today."
        found, token = {}, None
        while True:
            ask = partial(self._list_page, competition, token)
            page = self._ask(ask, f'competition {competition}', f'{PAGE}{competition}/rules')
            found |= {f.name: int(f.total_bytes or 0) for f in page.files}
            token = page.next_page_token
            if not token: return found

    def open(self, name:str, # as `files` lists it
             competition:str=COMPETITION):
        "A streaming `requests.Response` of one file."
        self._ask(lambda: self.api.competition_download_file(competition, name, path='.', force=True, quiet=True),
                  f'{name} of {competition}', f'{PAGE}{competition}/rules')
        return self.response

    def open_dataset(self, dataset:str, # owner/name
                    ):
        "A streaming `requests.Response` of a whole dataset, as one `.zip`."
        self._ask(lambda: self.api.dataset_download_files(dataset, path='.', force=True, quiet=True),
                  f'dataset {dataset}')
        return self.response

    def submit(self, path, # a submission's file
               message:str, competition:str=COMPETITION):
        "Upload a submission; returns its number, or `None` where the client does not tell it."
        ask = partial(self.api.competition_submit, str(path), message, competition, quiet=True)
        answer = self._ask(ask, f'the upload to {competition}', f'{PAGE}{competition}/rules')
        said = ' '.join(str(getattr(answer, 'message', '') or answer).split())
        if answer is None or 'could not submit' in said.lower():
            raise KaggleError('not sent', f'{path} could not be uploaded ({said[:120]}): run this again')
        return getattr(answer, 'ref', None) or None

    def submitted(self, ref, message:str, competition:str=COMPETITION) -> dict:
        "What Kaggle says of a submission, by its number or else its message: the newest; empty where it lists none."
        found = self._ask(lambda: self.api.competition_submissions(competition), f'submissions to {competition}')
        same = [s for s in found or [] if (s.ref == ref if ref else s.description == message)]
        if not same: return {}
        status = str(getattr(same[0].status, 'name', same[0].status)).lower()
        return dict(ref=same[0].ref, status=status, error=same[0].error_description or '',
                    public_score=same[0].public_score or '', private_score=same[0].private_score or '')

def _with_timeout(send):
    def timed(request, **kwargs): return send(request, **{**kwargs, 'timeout': kwargs.get('timeout') or SECONDS})
    return timed

def access() -> tuple: # (state, what to do); ('ok', '') where the competition can be fetched
    """Whether this machine can fetch the competition's files: credentials, network, rules.

    States: ok, no credentials, bad credentials, rules not accepted, no network, not found, rate limit, error 5xx."""
    try:
        account = Account(wait=False)
        files = account.files()
        if files: account.open(min(files, key=files.get)).close() # listing needs no rules, fetching does
    except KaggleError as e: return e.state, str(e)
    return 'ok', ''
