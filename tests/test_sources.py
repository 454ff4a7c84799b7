"Every place that chips come from, and every way a folder of them can be wrong."
import shutil
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import numpy as np
import pandas as pd
import pytest
from fastai.data.external import URLs, fastai_cfg
from PIL import Image
from planet import chips
from planet.chips import from_folder
from planet.cli import UserError
from planet.data import load_chips
from planet.sources import find_chips
from planet.synthetic import chips as synthetic

def table_of(folder): return folder/'train_v2.csv'
def rewrite(folder, change):
    table = pd.read_csv(table_of(folder), dtype=str, keep_default_na=False)
    change(table).to_csv(table_of(folder), index=False)

def test_competition_layout(drawn):
    chips = from_folder(drawn)
    table = pd.read_csv(table_of(drawn))
    assert len(chips) == len(table) == 60
    assert chips.vocab == sorted({t for tags in table.tags for t in tags.split()})
    tags = [[t for t, yes in zip(chips.vocab, row) if yes] for row in chips.targets]
    assert tags == [sorted(t.split()) for t in table.tags]
    assert all(p.is_file() for p in chips.paths)

@pytest.mark.parametrize('table', chips.TABLES)
@pytest.mark.parametrize('images', chips.FOLDERS)
@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_any_layout_and_any_tags(tmp_path, table, images, suffix):
    (tmp_path/images).mkdir(exist_ok=True)
    for name in 'abc': Image.new('RGB', (40, 40), 'green').save(tmp_path/images/(name+suffix))
    (tmp_path/table).write_text('image_name,tags\na,ship  harbour ship\nb,\nc,ship\n')
    chips = from_folder(tmp_path)
    assert chips.vocab == ['harbour', 'ship'] and chips.targets.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert [p.name for p in chips.paths] == [n+suffix for n in 'abc']

def test_names_may_carry_their_suffix(tmp_path):
    for name in ('a.jpg', 'b.JPG'): Image.new('RGB', (40, 40)).save(tmp_path/name, format='JPEG')
    (tmp_path/'labels.csv').write_text('image_name,tags\na.jpg,x\nb.JPG,y\n')
    assert [p.name for p in from_folder(tmp_path).paths] == ['a.jpg', 'b.JPG']

def test_a_part_keeps_the_vocab(drawn):
    chips = from_folder(drawn)
    part = chips[[3, 5]]
    assert len(part) == 2 and part.vocab == chips.vocab
    np.testing.assert_array_equal(part.targets, chips.targets[[3, 5]])

# ---- what can be wrong with a folder: one line that names the place and the next step

def fails(folder, *said, **kwargs):
    with pytest.raises(UserError) as e: load_chips(str(folder), 32, **kwargs)
    message = str(e.value)
    assert '\n' not in message
    for words in said: assert words in message, message

def test_no_such_folder(folder): fails(folder.parent/'mime', 'no such folder', 'did you mean mine?')
def test_no_table(folder):
    table_of(folder).unlink()
    fails(folder, str(folder), 'labels.csv', 'image_name,tags')
def test_empty_file(folder):
    table_of(folder).write_text('')
    fails(folder, 'train_v2.csv is empty')
def test_no_rows(folder):
    table_of(folder).write_text('image_name,tags\n')
    fails(folder, 'no rows')
def test_missing_column(folder):
    rewrite(folder, lambda t: t.rename(columns={'tags': 'what'}))
    fails(folder, 'no column tags', 'image_name, what')
def test_binary_table(folder):
    shutil.copy(folder/'train-jpg'/'train_0.jpg', table_of(folder))
    fails(folder, 'train_v2.csv')
def test_a_chip_twice(folder):
    rewrite(folder, lambda t: pd.concat([t, t[:2]]))
    fails(folder, '2 chips named more than once', 'train_0, train_1')
def test_missing_images(folder):
    for i in (2, 7, 9, 11): (folder/'train-jpg'/f'train_{i}.jpg').unlink()
    fails(folder, '4 of 60 chips', 'train_2, train_7, train_9 ...')
def test_one_tag(folder):
    rewrite(folder, lambda t: t.assign(tags='primary'))
    fails(folder, 'one tag (primary)')
def test_no_tags(folder):
    rewrite(folder, lambda t: t.assign(tags=''))
    fails(folder, 'no tags')
def test_one_chip(folder):
    rewrite(folder, lambda t: t.assign(tags='clear primary')[:1])
    fails(folder, 'a single chip')

def spoil(folder):
    jpg = folder/'train-jpg'/'train_4.jpg'
    jpg.write_bytes(jpg.read_bytes()[:900])
    (folder/'train-jpg'/'train_8.jpg').write_text('no picture')

def test_broken_chips_are_named(folder):
    spoil(folder)
    fails(folder, '2 of 60 chips cannot be read', 'train_4 (truncated)', 'train_8 (no image)', '`skip_bad`')

def test_broken_chips_are_left_out_on_request(folder):
    whole = from_folder(folder)
    spoil(folder)
    chips, store = load_chips(str(folder), 32, skip_bad=True)
    assert len(chips) == 58 and chips.left_out == ['train_4', 'train_8'] and chips.vocab == whole.vocab
    assert not {'train_4', 'train_8'} & set(chips.table.image_name)

def test_all_broken(folder):
    for p in (folder/'train-jpg').iterdir(): p.write_text('no picture')
    fails(folder, '0 readable chips are left', skip_bad=True)

# ---- which chips `auto` takes

@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    "A working folder with nothing in it, and fastai's cache empty."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('FASTAI_HOME', str(tmp_path/'fastai'))
    fastai_cfg.cache_clear() # it remembers the folder it read first
    yield tmp_path
    fastai_cfg.cache_clear()

@pytest.fixture
def archive(tmp_path_factory, drawn):
    "`planet_sample.tgz` as fastai offers it, with fewer chips."
    path = tmp_path_factory.mktemp('server')/'planet_sample.tgz'
    with tarfile.open(path, 'w:gz') as tar: tar.add(drawn, arcname='planet_sample')
    return path

@pytest.fixture
def server(archive):
    "The address of a server that offers the archive."
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    httpd = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(archive.parent)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{httpd.server_port}/{archive.name}'
    httpd.shutdown()

@pytest.fixture
def sample_at(monkeypatch): return partial(monkeypatch.setattr, URLs, 'PLANET_SAMPLE')

CLOSED = 'http://127.0.0.1:9/planet_sample.tgz' # nothing listens there

def test_auto_takes_the_competition_first(nowhere, drawn, sample_at, server, capsys):
    sample_at(server)
    shutil.copytree(drawn, nowhere/'data'/'planet')
    assert len(find_chips()) == 60
    assert "the competition's chips" in capsys.readouterr().out

def test_auto_takes_the_sample_next_and_keeps_it(nowhere, sample_at, server, capsys):
    sample_at(server)
    assert len(find_chips()) == 60
    said = capsys.readouterr().out.strip().splitlines()[-1]
    assert said.startswith("data: 60 chips") and "fastai's sample" in said and 'data/planet/' in said
    sample_at(CLOSED)
    assert len(find_chips('sample')) == 60 # from fastai's cache

def test_auto_draws_chips_last(nowhere, sample_at, capsys, monkeypatch):
    sample_at(CLOSED)
    monkeypatch.setattr(synthetic, 'synthetic_folder', partial(synthetic.synthetic_folder, n=20, size=32))
    chips = find_chips()
    said = capsys.readouterr().out.strip().splitlines()
    assert len(said) == 1 and 'synthetic' in said[0] and 'give `data` a folder' in said[0]
    assert len(chips) == 20

def test_sample_out_of_reach(nowhere, sample_at):
    sample_at(CLOSED)
    with pytest.raises(UserError,
        match='cannot be fetched from http://127.0.0.1:9.*`data` synthetic'): find_chips('sample')

@pytest.mark.parametrize('damage', [lambda whole: b'no archive', lambda whole: whole[:2000]],
    ids=['no archive', 'cut short'])
def test_sample_that_arrives_broken(nowhere, sample_at, archive, server, damage):
    whole = archive.read_bytes()
    archive.write_bytes(damage(whole))
    sample_at(server)
    with pytest.raises(UserError,
        match='planet_sample.tgz is truncated or damaged.*`data` synthetic'): find_chips('sample')
    archive.write_bytes(whole) # nothing half-unpacked is taken for the sample, and the next try mends it
    assert len(find_chips('sample')) == 60

def test_cache_that_cannot_be_written(nowhere, sample_at, monkeypatch):
    sample_at(CLOSED)
    (nowhere/'file').write_text('')
    monkeypatch.setenv('PLANET_CACHE', str(nowhere/'file'/'cache'))
    with pytest.raises(UserError, match='PLANET_CACHE'): find_chips()
