"A Hugging Face hub on loopback, as `huggingface_hub` speaks to it: the tree of one dataset and its files."
import hashlib
import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHA = '0123456789abcdef0123456789abcdef01234567'

@contextmanager
def hub(dataset, # owner/name
        files, # name -> bytes
        cut=None, # names whose first answer ends after half of it
       ):
    "Serve a dataset; yields its address and the list of requests `(method, path, range)` so far."
    asked, cut = [], set(cut or ())
    class Hub(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'
        def log_message(self, *args): pass
        def answer(self, status, body=b'', **headers):
            self.send_response(status)
            headers = {'Content-Length': len(body)} | {k.replace('_', '-'): v for k, v in headers.items()}
            for key, value in headers.items(): self.send_header(key, str(value))
            self.end_headers()
            if self.command == 'GET': self.wfile.write(body)
        def do_GET(self):
            path, wanted = self.path.split('?')[0], self.headers.get('Range')
            asked.append((self.command, path, wanted))
            api, place = f'/api/datasets/{dataset}', f'/datasets/{dataset}/resolve/{SHA}/'
            if path in (api, f'{api}/revision/main'):
                siblings = [dict(rfilename=n, size=len(b)) for n, b in files.items()]
                return self.answer(200, json.dumps(dict(id=dataset, sha=SHA, siblings=siblings)).encode())
            name = path.removeprefix(place)
            if not path.startswith(place) or name not in files:
                return self.answer(404, X_Error_Code='EntryNotFound' if path.startswith(place) else 'RepoNotFound')
            body = files[name]
            facts = dict(ETag=f'"{hashlib.sha256(body).hexdigest()}"', X_Repo_Commit=SHA, Accept_Ranges='bytes')
            if self.command == 'GET' and name in cut and not wanted:
                cut.discard(name)
                self.answer(200, Content_Length=len(body), **facts)
                self.wfile.write(body[:len(body)//2])
                self.close_connection = True
                return self.connection.shutdown(socket.SHUT_RDWR)
            start = int(wanted.split('=')[1].split('-')[0]) if wanted else 0
            ranged = dict(Content_Range=f'bytes {start}-{len(body)-1}/{len(body)}') if wanted else {}
            self.answer(206 if wanted else 200, body[start:], **facts, **ranged, Content_Length=len(body)-start)
        do_HEAD = do_GET
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    threading.Thread(target=server.serve_forever, args=(.02,), daemon=True).start()
    try: yield f'http://127.0.0.1:{server.server_port}', asked
    finally: server.shutdown()
