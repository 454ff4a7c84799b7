"Which pictures a notebook takes, without a network."
import pytest
from planet.cli import UserError
from planet.course import pictures
from planet.course.pictures import HOSTED, real_or_drawn

@pytest.fixture(autouse=True)
def machine(monkeypatch):
    "A machine with a GPU, on which nothing lies in fastai's cache and nothing can be fetched."
    for name in (*HOSTED, 'PLANET_PICTURES'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pictures, 'is_cached', lambda what: False)
    monkeypatch.setattr(pictures, '_has_gpu', lambda: True)
    def fetch(what, to=None): raise UserError('no network')
    monkeypatch.setattr('planet.download.fastai_sets.fastai_set', fetch)

def there(monkeypatch): monkeypatch.setattr('planet.download.fastai_sets.fastai_set', lambda what, to=None: 'folder')

def test_nothing_is_fetched_on_a_machine_of_ones_own(capsys):
    assert real_or_drawn('pets', 'auto', 'synthetic') == 'synthetic'
    assert 'drawn by code (pets is not on this machine)' in capsys.readouterr().out

def test_what_is_cached_is_taken(monkeypatch, capsys):
    there(monkeypatch)
    monkeypatch.setattr(pictures, 'is_cached', lambda what: what == 'pets')
    assert real_or_drawn('pets', 'auto', 'synthetic') == 'auto' and real_or_drawn('biwi', 'biwi', 'no') == 'no'
    assert 'real ones (pets)' in capsys.readouterr().out

def test_without_a_gpu_a_large_net_takes_drawings(monkeypatch):
    there(monkeypatch)
    monkeypatch.setattr(pictures, 'is_cached', lambda what: True)
    monkeypatch.setattr(pictures, '_has_gpu', lambda: False)
    assert real_or_drawn('pets', 1, 0) == 0 and real_or_drawn('biwi', 1, 0, gpu=False) == 1

@pytest.mark.parametrize('name', HOSTED)
def test_a_hosted_notebook_fetches_them_or_goes_on(monkeypatch, name, capsys):
    monkeypatch.setenv(name, 'yes')
    assert real_or_drawn('sample', 1, 0) == 0 and 'no network' in capsys.readouterr().out
    there(monkeypatch)
    assert real_or_drawn('sample', 1, 0) == 1

def test_the_environment_decides(monkeypatch):
    monkeypatch.setenv('PLANET_PICTURES', 'real')
    with pytest.raises(UserError, match='no network'): real_or_drawn('pets', 1, 0)
    monkeypatch.setenv('PLANET_PICTURES', 'drawn')
    monkeypatch.setattr(pictures, 'is_cached', lambda what: True)
    there(monkeypatch)
    assert real_or_drawn('pets', 1, 0) == 0
    monkeypatch.setenv('PLANET_PICTURES', 'yes')
    with pytest.raises(UserError, match='real'): real_or_drawn('pets', 1, 0)

def test_is_cached_looks_where_fastai_puts_it(monkeypatch, tmp_path):
    monkeypatch.undo()
    class Config:
        def path(self, what): return tmp_path
    monkeypatch.setattr('planet.download.fastai_sets.fastai_config', Config)
    assert not pictures.is_cached('pets')
    (tmp_path/'oxford-iiit-pet').mkdir()
    assert pictures.is_cached('pets')
