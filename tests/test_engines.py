"Many scenes in a process pool and on Ray: equal to the plain engine's result; killed workers, bad scenes, resuming."
import shutil
from importlib.util import find_spec
from pathlib import Path
import numpy as np
import pytest
from planted import DEGREES, UTM, Colours, Killed, Stopped, plant  # first: it skips without `geo`

# isort: split
import geopandas
import pyarrow.dataset
from planet import engines
from planet.cli import UserError
from planet.engines import Journal, row_type, run_tiles
from planet.scenes import partitions, places, tag_scene, tag_scenes

pytestmark = pytest.mark.filterwarnings('ignore')
needs_ray = pytest.mark.skipif(find_spec('ray') is None, reason="needs ray: pip install -e '.[ray]'")
ray = pytest.param('ray', marks=needs_ray)

@pytest.fixture
def scenes(tmp_path):
    small = dict(rows=4, columns=4, blockxsize=16, blockysize=16) # several tiles
    return [plant(tmp_path/'one.tif', UTM, seed=1, **small)[0], plant(tmp_path/'two.tif', DEGREES, seed=2, **small)[0]]

def equal(scenes, out):
    for path in scenes:
        alone = tag_scene(Colours(), path, bs=4).frame()
        assert geopandas.read_parquet(out/f'scene={path.stem}'/'windows.parquet').equals(alone) # bit for bit

@pytest.mark.parametrize('engine', ['plain', 'pool', ray])
def test_every_engine_gives_the_same_and_a_killed_worker_loses_nothing(tmp_path, scenes, engine, capsys):
    out, bad = tmp_path/'out', tmp_path/'no.tif'
    table = tag_scenes(Killed(tmp_path), [*scenes, bad], out, engine, workers=2, bs=4)
    equal(scenes, out)
    assert len(list(tmp_path.glob('killed-*'))) == (engine != 'plain')
    assert list(table.status) == ['done', 'done', 'failed'] and 'no such file' in table.why[2]
    assert 'NOT TAGGED' in capsys.readouterr().out
    rows = pyarrow.dataset.dataset(out, partitioning='hive').to_table(columns=['scene', 'tags']).to_pandas()
    assert rows.scene.value_counts().to_dict() == dict(one=25, two=25)
    assert {p.name for p in out.rglob('.*')} == {'.windows.parquet.tagged'} # what `resume` compares

@pytest.mark.parametrize('engine', ['pool', ray])
def test_a_tile_that_kills_every_worker_ends_the_run(tmp_path, scenes, engine, monkeypatch):
    monkeypatch.setattr(engines, 'DEATHS', 1) # each takes seconds to start
    out = tmp_path/'out'
    with pytest.raises(UserError, match='2 workers were killed one after another'):
        tag_scenes(Killed(tmp_path, 100), scenes, out, engine, workers=1, bs=4)
    assert not list(out.rglob('*.parquet'))
    assert not list(out.rglob('.*')) # nothing was reached that could be gone on with

def test_it_goes_on_by_scene(tmp_path, scenes, capsys):
    out = tmp_path/'out'
    with pytest.raises(KeyboardInterrupt): tag_scenes(Stopped(12), scenes, out, 'plain', bs=4)
    assert (out/'scene=one'/'windows.parquet').exists() and not (out/'scene=two'/'windows.parquet').exists()
    with pytest.raises(UserError, match='give `resume`'): tag_scenes(Colours(), scenes[1:], out, 'plain', bs=4)
    before = (out/'scene=one'/'windows.parquet').stat().st_mtime_ns
    table = tag_scenes(Colours(), scenes, out, 'plain', bs=4, resume=True)
    assert list(table.status) == ['was done', 'done'] and 'going on after' in capsys.readouterr().out
    assert (out/'scene=one'/'windows.parquet').stat().st_mtime_ns == before
    equal(scenes, out)
    assert list(tag_scenes(Colours(), scenes, out, 'plain', bs=4).status) == ['failed', 'failed'] # they exist

class Other(Colours):
    def probabilities(self, pixels): return super().probabilities(pixels)/2

def test_what_is_done_is_of_this_model_and_this_scene(tmp_path, scenes):
    out = tmp_path/'out'
    tag_scenes(Colours(), scenes, out, 'plain', bs=4)
    (tmp_path/'sub').mkdir()
    moved = shutil.move(scenes[0], tmp_path/'sub'/scenes[0].name)
    assert list(tag_scenes(Colours(), [moved, scenes[1]], out, 'plain', resume=True).status) == ['was done']*2
    table = tag_scenes(Other(), scenes[1:], out, 'plain', resume=True)
    assert list(table.status) == ['failed'] and 'was written with another model: name another place' in table.why[0]
    other = plant(scenes[0], UTM, seed=3)[0] # of the same name
    table = tag_scenes(Colours(), [other, scenes[1]], out, 'plain', resume=True)
    assert list(table.status) == ['failed', 'was done'] and 'was written with another scene' in table.why[0]
    tag_scene(Colours(), other, tmp_path/'t.csv')
    with pytest.raises(UserError, match='another model'): tag_scene(Other(), other, tmp_path/'t.csv', resume=True)
    tag_scene(Other(), other, tmp_path/'t.csv', overwrite=True)
    assert tag_scene(Other(), other, tmp_path/'t.csv', resume=True) is None

def test_files_stand_for_a_folder(tmp_path, scenes):
    tag_scenes(Colours(), scenes, [tmp_path/'t.parquet', tmp_path/'t.tif'], 'plain', bs=4)
    assert sorted(p.name for p in (tmp_path/'t'/'scene=two').iterdir()) == [
        '.windows.parquet.tagged', 'windows.parquet', 'windows.tif']
    with pytest.raises(UserError, match='`out` results of many scenes need a place'): tag_scenes(Colours(), scenes, [])
    for out, said in (('tags.gpgk', 'did you mean .gpkg'), ('tags.tiff', 'did you mean .tif')):
        with pytest.raises(UserError, match=f'{out} ends in none of .*{said}'): places(out)
    assert places('v1.2') == (Path('v1.2'), ('.parquet',))

def test_scenes_of_one_name(tmp_path):
    names = partitions(['a/s.tif', 'b/s.tif', 'c.tif'], 'out')
    assert [p.name for p in names] == ['scene=s-0', 'scene=s-1', 'scene=c']

def test_an_unknown_engine():
    with pytest.raises(UserError, match='`engine` rai is none of plain, pool, ray, did you mean ray'):
        list(run_tiles([(0, 0)], None, 'rai'))

def test_without_ray(monkeypatch):
    from planet import engines
    monkeypatch.setattr(engines, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='ray is not installed: pip install.* or `engine` pool'):
        list(run_tiles([(0, 0)], None, 'ray'))

def test_a_disk_that_takes_a_part_of_a_row(tmp_path):
    class Short: # as `write` does where a disk fills up
        def __init__(self, file): self.file = file
        def write(self, data): return self.file.write(data[:7])
        def close(self): self.file.close()
    rows = np.zeros(5, row_type(2))
    rows['window'], rows['state'] = np.arange(5), 1
    with Journal(tmp_path/'j', {}, 2).open() as j:
        j.file = Short(j.file)
        j.add(rows)
        assert j.read()['window'].tolist() == [0, 1, 2, 3, 4]

def test_a_disk_that_is_full_when_a_journal_is_gone_on_with(tmp_path, monkeypatch):
    rows = np.zeros(5, row_type(2))
    rows['window'], rows['state'] = np.arange(5), 1
    with Journal(tmp_path/'j', {}, 2).open() as j: j.add(rows)
    def full(path, data):
        with open(path, 'wb') as f: f.write(data[:9])
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError), Journal(tmp_path/'j', {}, 2).open(resume=True): pass
    monkeypatch.undo()
    with Journal(tmp_path/'j', {}, 2).open(resume=True) as j: assert len(j.rows) == 5

def test_a_journal_keeps_each_window_once(tmp_path):
    rows = np.zeros(5, row_type(2))
    rows['window'], rows['state'], rows['probs'] = [3, 1, 2, 1, 0], [1, 1, 2, 1, 0], np.arange(10).reshape(5, 2)
    with Journal(tmp_path/'j', dict(grid=[1, 2], model=[.5]), 2).open() as j:
        j.add(rows)
        with pytest.raises(UserError, match='another process writes'):
            with Journal(tmp_path/'j', {}, 2).open(resume=True): pass
    with Journal(tmp_path/'j', dict(grid=[1, 2], model=[.501]), 2).open(resume=True) as j: # as on another machine
        found = j.read()
        assert found['window'].tolist() == [1, 2, 3] and found['probs'][0].tolist() == [2, 3]
    with pytest.raises(UserError, match='another model'):
        with Journal(tmp_path/'j', dict(grid=[1, 2], model=[.9]), 2).open(resume=True): pass
