"Chips are loaded in a thread while torch is imported; what goes wrong there is told where the chips are asked for."
import subprocess
import sys
from pathlib import Path
import pytest
from planet.cli import UserError
from planet.loading import begin_loading, load_chips

def test_a_thread_loads_what_a_call_does(drawn):
    chips, store = begin_loading(str(drawn), 32).result()
    again, other = load_chips(str(drawn), 32)
    assert chips.table.equals(again.table) and (store.pixels == other.pixels).all() and store.where == 'memory'

def test_errors_come_with_the_result(tmp_path):
    loading = begin_loading(str(tmp_path/'none'))
    with pytest.raises(UserError, match='no such folder'): loading.result()

def test_processes_that_follow_the_first_wait(drawn, monkeypatch, capsys):
    "Until their output is silenced."
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setenv('RANK', '1')
    loading = begin_loading(str(drawn), 32)
    assert loading.thread is None and not capsys.readouterr().out
    _, store = loading.result()
    assert store.where == 'disk', 'processes that train together share one file'

def test_loading_needs_no_torch(drawn):
    code = f'from planet.loading import load_chips\nload_chips({str(drawn)!r}, 32)\n' \
           'import sys; assert not {"torch", "fastai"} & set(sys.modules)'
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    assert not done.returncode, done.stderr
