"""A small HTTP server on loopback that plays Kaggle to the real client: its API, and the storage that it redirects to.

It speaks to version 2 of the client (every call a POST with JSON) and to version 1 (GETs with the names in the path).
"""
import base64
import gzip
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

class FakeKaggle:
    "`files`: (competition or owner/name, file) -> bytes; the other attributes are what a test may change."
    def __init__(self):
        self.files = {}
        self.listed = {} # competition -> names, where the list differs from what can be fetched
        self.sizes = {} # file -> bytes that the list claims
        self.token, self.key = 'good-token', ('tester', 'good-key')
        self.accepted = True # the competition's rules
        self.ranges, self.md5, self.length = True, True, True # what the storage can and tells
        self.gzip = False # whether it packs tables for the way
        self.page = 200 # files a page of the list
        # (pattern of a path, fault), the first that fits is used up: a status, ('429', seconds), ('cut', bytes),
        # ('stall', bytes) or 'damage'
        self.faults = []
        self.stalled, self.go_on = threading.Event(), threading.Event()
        self.seen = [] # (method, path, Range header)
        self.uploads, self.submissions = {}, [] # token -> bytes; what was submitted, newest first
        self.scores = ['PENDING', ('COMPLETE', '0.93', '0.92')] # question by question; the last stays

    @contextmanager
    def serving(self):
        class Handler(_Handler): fake = self
        server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *args: None # a client that hangs up is no news
        threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=.02), daemon=True).start()
        self.address = f'http://127.0.0.1:{server.server_port}'
        try: yield self
        finally:
            self.go_on.set()
            server.shutdown()
            server.server_close()

    def fetched(self, name):
        return [r for method, path, r in self.seen if method == 'GET' and '/storage/' in path and path.endswith(name)]

class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args): pass

    def answer(self, status, body=b'', **headers):
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        self.send_response(status)
        headers = {k.replace('_', '-'): v for k, v in headers.items()}
        headers = {'Content-Length': len(body), 'Content-Type': 'application/json'} | headers
        for k, v in headers.items(): self.send_header(k, str(v))
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(body)

    def refuse(self, status, **headers): self.answer(status, dict(code=status, message='no'), **headers)

    def do_HEAD(self): self.answer(200)
    def do_GET(self): self.handle_call({})
    def do_PUT(self):
        if isinstance(status := self.fault(self.path), int): return self.refuse(status)
        self.fake.uploads[self.path.rpartition('/')[2]] = self.rfile.read(int(self.headers['Content-Length']))
        self.answer(201)
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        self.handle_call(json.loads(body or b'{}'))

    def fault(self, path):
        for i, (pattern, _) in enumerate(self.fake.faults):
            if re.search(pattern, path): return self.fake.faults.pop(i)[1]

    def handle_call(self, asked):
        fake, path = self.fake, unquote(urlsplit(self.path).path)
        name = asked.get('fileName', '')
        fake.seen.append((self.command, path, self.headers.get('Range')))
        fault = self.fault(f"{path} {name} {self.headers.get('Range', '')}")
        if isinstance(fault, int): return self.refuse(fault)
        if fault and fault[0] == '429': return self.refuse(429, Retry_After=fault[1])
        if path.startswith('/storage/'): return self.store(path, fault)
        if path.endswith('/IntrospectToken'):
            return self.answer(200, dict(active=asked['token'] == fake.token, username='tester'))
        if path.endswith('/GenerateAccessToken'):
            if asked['refreshToken'] != 'good-refresh': return self.refuse(401)
            return self.answer(200, dict(token=fake.token, expiresIn=3600))
        basic = 'Basic ' + base64.b64encode(':'.join(fake.key).encode()).decode()
        if self.headers.get('Authorization') not in (f'Bearer {fake.token}', basic): return self.refuse(401)
        if path.endswith('/ListDataFiles'): return self.list_files(asked['competitionName'], asked.get('pageToken'))
        if match := re.fullmatch('/api/v1/competitions/data/list/([^/]+)', path): return self.list_files(match[1], None)
        if path.endswith('/DownloadDataFile'): return self.redirect(asked['competitionName'], name, True)
        if match := re.fullmatch('/api/v1/competitions/data/download/([^/]+)/(.+)', path):
            return self.redirect(*match.groups(), True)
        if path.endswith('/StartSubmissionUpload'):
            if not fake.accepted: return self.refuse(403)
            return self.answer(200, dict(token='t1', createUrl=f'{fake.address}/upload/t1'))
        if path.endswith('/CreateSubmission'):
            text = asked.get('submissionDescription', '')
            fake.submissions.insert(0, dict(ref=len(fake.submissions) + 7, description=text, data=fake.uploads[
                asked['blobFileTokens']]))
            return self.answer(200, dict(message='Successfully submitted', ref=fake.submissions[0]['ref']))
        if path.endswith('/ListSubmissions'):
            said = fake.scores.pop(0) if len(fake.scores) > 1 else fake.scores[0]
            status, public, private = said if isinstance(said, tuple) else (said, '', '')
            return self.answer(200, dict(submissions=[dict(
                ref=s['ref'], description=s['description'], status=status, publicScore=public, privateScore=private,
                errorDescription='bad rows' if status == 'ERROR' else '') for s in fake.submissions]))
        if path.endswith('/DownloadDataset'):
            return self.redirect(f"{asked['ownerSlug']}/{asked['datasetSlug']}", 'archive.zip', False)
        if match := re.fullmatch('/api/v1/datasets/download/([^/]+/[^/]+)', path):
            return self.redirect(match[1], 'archive.zip', False)
        self.refuse(404)

    def list_files(self, competition, token):
        names = self.fake.listed.get(competition) or [n for c, n in self.fake.files if c == competition]
        if not names: return self.refuse(404)
        start = int(token or 0)
        page = names[start:start+self.fake.page]
        size = lambda n: self.fake.sizes.get(n, len(self.fake.files.get((competition, n), b'')))
        more = dict(nextPageToken=str(start+self.fake.page)) if start+self.fake.page < len(names) else {}
        self.answer(200, dict(files=[dict(name=n, ref=n, totalBytes=size(n), creationDate='2019-12-15T22:14:13Z')
                                     for n in page], **more))

    def redirect(self, place, name, rules):
        if rules and not self.fake.accepted: return self.refuse(403)
        if (place, name) not in self.fake.files: return self.refuse(404)
        self.answer(302, b'', Location=f'{self.fake.address}/storage/{place}/{name}?signature=x')

    def store(self, path, fault):
        whole = next(data for (place, name), data in self.fake.files.items() if path == f'/storage/{place}/{name}')
        digest = hashlib.md5(whole)
        etag = f'"{digest.hexdigest()}"'
        headers = {'ETag': etag, 'Content-Type': 'application/octet-stream', 'Accept-Ranges': 'bytes'}
        if self.fake.md5: headers['x-goog-hash'] = f'crc32c=AAAAAA==,md5={base64.b64encode(digest.digest()).decode()}'
        body, status = whole, 200
        wanted = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range') or '')
        if wanted and self.fake.ranges and self.headers.get('If-Range') in (None, etag):
            start = int(wanted[1])
            body, status = whole[start:], 206
            headers['Content-Range'] = f'bytes {start}-{len(whole)-1}/{len(whole)}'
        if self.fake.gzip and path.endswith('.csv'):
            body = gzip.compress(whole)
            headers |= {'Content-Encoding': 'gzip',
                        'x-goog-hash': f'md5={base64.b64encode(hashlib.md5(body).digest()).decode()}'}
        if fault == 'damage': body = bytes([body[0] ^ 255]) + body[1:]
        self.send_response(status)
        for k, v in headers.items(): self.send_header(k, v)
        if self.fake.length: self.send_header('Content-Length', str(len(body)))
        else: self.close_connection = True; self.send_header('Connection', 'close')
        self.end_headers()
        if isinstance(fault, tuple):
            self.wfile.write(body[:fault[1]])
            self.wfile.flush()
            if fault[0] == 'stall': self.fake.stalled.set(); self.fake.go_on.wait(30)
            self.close_connection = True
        else: self.wfile.write(body)
