"Decoded chips: each once, never stale, whole or gone on with, shared between processes; decoded ahead of a network."
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
import numpy as np
import pytest
import torch
from PIL import Image
from planet import locks, store as stores, store_files
from planet.cli import UserError
from planet.images import in_threads, leaving_data_behind, open_chip
from planet.store import ChipStore, decoded_batches
from planet.store_files import store_folder

root = Path(__file__).resolve().parent.parent

@pytest.fixture
def paths(folder):
    found = sorted(folder.rglob('*.jpg'))[:20]
    for p in found: os.utime(p, (1, 1)) # not just now
    return found

@pytest.fixture
def on_disk(tmp_path):
    "A store in a file of the cache; `labels` of its progress tell how many chips were decoded."
    def make(paths, size=32, **kwargs):
        decoded = []
        def progress(items, total, label):
            decoded.append(total)
            return items
        store = ChipStore(paths, size, progress, where='disk', cache=tmp_path/'cache', **kwargs)
        return store, sum(decoded)
    return make

def same(store, paths): return all((store[p] == open_chip(p, store.size)).all() for p in paths)
def settle(monkeypatch): monkeypatch.setattr(store_files, 'JUST_NOW', -1e12) # files of just now count as settled

# ---- where

def test_a_store_in_a_file_is_there_in_the_next_run(paths, on_disk, monkeypatch):
    settle(monkeypatch)
    (first, n), (second, again) = on_disk(paths), on_disk(paths)
    assert (n, again) == (20, 0) and second.where == 'disk' and same(first, paths) and same(second, paths)
    assert second.infos == first.infos == ChipStore(paths, 32).infos and second.rows == first.rows
    assert on_disk(paths, 16)[1] == 20 and on_disk(paths[:5])[1] == 5 # another size, other chips

def test_files_of_just_now_are_compared_by_their_bytes(paths, on_disk, monkeypatch):
    "A file may change twice within one tick of its disk's clock, and keep its size."
    reread = []
    real = store_files.hash_file
    monkeypatch.setattr(store_files, 'hash_file', lambda p: reread.append(p) or real(p))
    on_disk(paths)
    assert on_disk(paths)[1] == 0 and sorted(reread) == paths

@pytest.mark.parametrize('how', ['written', 'replaced', 'same size and time'])
def test_a_changed_chip_is_decoded_again_and_no_other(paths, on_disk, monkeypatch, how):
    store, _ = on_disk(paths)
    old = store[paths[3]].clone()
    data = paths[7].read_bytes()
    before = paths[3].stat()
    if how == 'written': paths[3].write_bytes(data)
    elif how == 'replaced': Path(shutil.copy(paths[7], paths[3].with_suffix('.new'))).replace(paths[3])
    else:
        data = data[:before.st_size] + bytes(max(0, before.st_size - len(data)))
        paths[3].write_bytes(data)
        os.utime(paths[3], ns=(before.st_atime_ns, before.st_mtime_ns))
    settle(monkeypatch)
    again, n = on_disk(paths)
    assert n == 1
    if how == 'same size and time': assert again.infos[paths[3]].file != store.infos[paths[3]].file
    else: assert same(again, paths) and (again[paths[3]] == again[paths[7]]).all()
    assert (store[paths[3]] == old).all(), 'a store that is in use stays as it was'
    assert len(list(again.file.parent.glob('pixels-*'))) == 1

def test_a_touched_chip_is_not_decoded_again(paths, on_disk):
    on_disk(paths)
    for p in paths: p.touch()
    assert on_disk(paths)[1] == 0

def test_bad_files_are_told_and_read_again(paths, on_disk):
    good = paths[2].read_bytes()
    paths[2].write_bytes(good[:1000])
    paths[4].unlink()
    store, _ = on_disk(paths)
    assert store.bad == {paths[2]: 'truncated', paths[4]: 'No such file or directory'}
    assert on_disk(paths)[1] == 0 and paths[2] not in store.rows
    paths[2].write_bytes(good)
    again, n = on_disk(paths)
    assert n == 1 and list(again.bad) == [paths[4]] and same(again, [p for p in paths if p != paths[4]])

@pytest.mark.parametrize('spoil', ['index cut', 'pixels cut', 'pixels gone', 'index garbage'])
def test_what_is_not_whole_is_built_again(paths, on_disk, spoil):
    store, _ = on_disk(paths)
    index = store.file.parent/'index'
    if spoil == 'index cut': index.write_bytes(index.read_bytes()[:-30])
    elif spoil == 'index garbage': index.write_text('x\ny\n')
    elif spoil == 'pixels cut': store.file.write_bytes(b'x'*99)
    else: store.file.unlink()
    again, n = on_disk(paths)
    assert n == 20 and same(again, paths)

# ---- interrupted

BUILD = '''
import os, signal, sys, time
from pathlib import Path
from planet.store import ChipStore
paths = sorted(Path(sys.argv[1]).rglob('*.jpg'))[:20]
def progress(items, total, label):
    for i, item in enumerate(items):
        yield item
        if i == 8: os.kill(os.getpid(), signal.SIGKILL)
ChipStore(paths, 32, progress, where='disk', cache=sys.argv[2])
'''

@pytest.mark.skipif(sys.platform == 'win32', reason='no SIGKILL')
def test_a_killed_build_is_gone_on_with(paths, folder, on_disk, tmp_path, monkeypatch):
    env = os.environ | dict(PYTHONPATH=str(root))
    build = [sys.executable, '-c', BUILD, folder, tmp_path/'cache']
    done = subprocess.run(build, env=env, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    home = store_folder(paths, 32, None, tmp_path/'cache')
    assert not (home/'index').exists() and not list(home.glob('pixels-*'))
    with open(home/'log', 'a') as f: f.write('[9, [1, 2') # a line that was cut short
    with open(home/'part', 'r+b') as f: # and a chip that the disk lost with the power
        f.seek(3*3*32*32)
        f.write(bytes(100))
    paths[5].write_bytes(paths[6].read_bytes()) # and one that was changed meanwhile
    store, n = on_disk(paths)
    assert 20 - 9 <= n - 2 <= 20 - 8 and same(store, paths)
    assert sorted(p.name.split('-')[0] for p in home.iterdir()) == ['index', 'lock', 'pixels']

def test_a_full_disk(paths, on_disk, monkeypatch, capsys):
    monkeypatch.setattr(stores, 'SMALL', 0)
    monkeypatch.setattr(store_files, 'free_disk', lambda folder: 1000)
    with pytest.raises(UserError, match='`where` disk: 0 MB of chips'): on_disk(paths)
    store = ChipStore(paths, 32)
    assert store.where == 'memory' and 'in memory' in capsys.readouterr().out and same(store, paths)
    monkeypatch.setattr(stores, 'free_memory', lambda: 1000)
    store = ChipStore(paths, 32)
    assert store.where == 'none' and 'decoded in every epoch' in capsys.readouterr().out and same(store, paths)
    with pytest.raises(UserError, match='`where` memory: '): ChipStore(paths, 32, where='memory')

def test_a_disk_that_fills_up_on_the_way(paths, on_disk, monkeypatch, capsys):
    def full(*args): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(stores, 'SMALL', 0)
    monkeypatch.setattr(store_files.os, 'fsync', full)
    with pytest.raises(UserError, match='cannot be written .No space left on device.: name another'): on_disk(paths)
    store = ChipStore(paths, 32)
    assert store.where == 'memory' and same(store, paths) and 'No space left' in capsys.readouterr().out

@pytest.mark.parametrize('at', ['pixels', 'index'])
def test_what_filled_the_disk_is_removed(paths, on_disk, monkeypatch, at):
    "Else the disk stays full, and nothing else of the run can be written; what was whole stays."
    def full(*args): raise OSError(28, 'No space left on device')
    def broken():
        with monkeypatch.context() as patch:
            patch.setattr(*(store_files.os, 'fsync') if at == 'pixels' else (store_files, '_write_index'), full)
            with pytest.raises(UserError, match='No space left'): on_disk(paths)
    home = store_folder(paths, 32, None, on_disk(paths[:1])[0].file.parent.parent.parent)
    broken()
    assert [p.name for p in home.iterdir()] == ['lock']
    store, _ = on_disk(paths)
    paths[3].write_bytes(paths[4].read_bytes())
    broken()
    assert sorted(home.iterdir()) == sorted([home/'index', home/'lock', store.file])

def test_room_for_what_is_left_of_an_interrupted_build(paths, tmp_path, monkeypatch):
    folder = store_folder(paths, 32, None, tmp_path)
    folder.mkdir(parents=True)
    monkeypatch.setattr(store_files, 'free_disk', lambda folder: 50)
    (folder/'part').write_bytes(bytes(60))
    assert store_files.make_room(folder, 100) and not store_files.make_room(folder, 110)

def test_a_whole_store_on_a_read_only_disk_is_read(paths, on_disk, monkeypatch):
    settle(monkeypatch)
    on_disk(paths)
    def read_only(*args, **kwargs): raise OSError(30, 'Read-only file system')
    monkeypatch.setattr(locks, 'open', read_only, raising=False)
    for name in 'mkdir', 'write_bytes', 'write_text': monkeypatch.setattr(Path, name, read_only)
    monkeypatch.setattr(store_files.os, 'utime', read_only)
    store, n = on_disk(paths)
    assert n == 0 and store.where == 'disk' and same(store, paths)
    with pytest.raises(UserError, match='cannot be written .Read-only file system.'): on_disk(paths, 48)

def test_big_stores_go_to_the_disk_and_old_ones_make_room(paths, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(stores, 'SMALL', 0)
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'cache'))
    first = ChipStore(paths[:5], 32)
    assert first.where == 'disk' and 'memory-mapped from' in capsys.readouterr().out
    os.utime(first.file.parent/'index', (1, 1))
    second = ChipStore(paths, 32)
    assert not first.file.exists() and second.file.exists() and same(first, paths[:5]), 'its pages are still mapped'

def test_where_is_one_of_a_few(paths):
    with pytest.raises(UserError, match='`where` tape is unknown: one of auto'): ChipStore(paths, 32, where='tape')

# ---- several processes

TWO = BUILD.replace('if i == 8: os.kill(os.getpid(), signal.SIGKILL)', 'time.sleep(.01)\n        print("decoded")') \
    + '\nprint("done", flush=True)'

def test_two_processes_build_one_store(paths, folder, tmp_path):
    env = os.environ | dict(PYTHONPATH=str(root))
    build = [sys.executable, '-c', TWO, folder, tmp_path/'cache']
    both = [subprocess.Popen(build, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = ''.join(p.communicate()[0] for p in both)
    assert said.count('decoded') == 20 and said.count('done') == 2

def test_a_pickled_store_maps_the_file_again(paths, on_disk):
    store, _ = on_disk(paths)
    data = pickle.dumps(store)
    assert len(data) < 20_000 + 3*32*32 and same(pickle.loads(data), paths)
    with leaving_data_behind: empty = pickle.loads(pickle.dumps(store))
    assert not empty.infos and empty.file is None and same(empty, paths[:2])

# ---- batches

@pytest.mark.parametrize('where', ['memory', 'disk', 'none'])
def test_batches_by_row_or_decoded(paths, tmp_path, where):
    store = ChipStore(paths, 32, where=where, cache=tmp_path)
    want = torch.stack([open_chip(p, 32) for p in paths])
    assert (store.gather(paths[3:9]) == want[3:9]).all()
    assert (store.gather([paths[4], paths[2].read_bytes(), np.asarray(Image.open(paths[3]).convert('RGB'))])[:2]
            == want[[4, 2]]).all()
    if where != 'none': assert (store.batch([5, 2, 5]) == want[[5, 2, 5]]).all() and (store.pixels == want).all()

def test_decoding_ahead(paths):
    paths[3].write_text('no image')
    made = []
    def items():
        for p in paths:
            made.append(p)
            yield p
    batches = decoded_batches(items(), 32, bs=4, ahead=2)
    names, pixels, bad = next(batches)
    assert names == paths[:3] and bad == [(paths[3], f'{paths[3]} cannot be read: no image')]
    assert (pixels == torch.stack([open_chip(p, 32) for p in names])).all()
    assert len(made) == 12, 'no further ahead than asked'
    rest = list(batches)
    assert sum(len(names) for names, *_ in rest) == 16 and [len(p) for _, p, _ in rest] == [4, 4, 4, 4]
    array, data = np.zeros((40, 40, 3), np.uint8), paths[0].read_bytes()
    (items, pixels, bad), = decoded_batches([array, data, torch.zeros(3, 40, 40), None], 32)
    assert len(items) == 3 and pixels.shape == (3, 3, 32, 32) and 'NoneType is no image' in bad[0][1]
    (items, pixels, bad), = decoded_batches([b''], 32, limits=[[0]*4, [1]*4])
    assert not items and pixels.shape == (0, 4, 32, 32) and len(bad) == 1

def test_threads_do_not_run_far_ahead():
    made, out = [], None
    def items():
        for i in range(100):
            made.append(i)
            yield i
    out = in_threads(lambda i: i*2, items(), workers=2, ahead=5)
    assert [next(out), next(out)] == [0, 2] and len(made) <= 7
    assert list(out) == [2*i for i in range(2, 100)]
