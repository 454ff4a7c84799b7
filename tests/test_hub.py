"The competition's chips from a Hugging Face hub on loopback, in every layout that is known, and what is refused."
import io
import json
import tarfile
import zipfile
from collections import Counter
import pandas as pd
import pytest
from fake_hub import hub
from PIL import Image
from planet import amazon
from planet.chips import from_folder
from planet.cli import UserError
from planet.download import hub as module
from planet.download.hub import DATASET, check_chips, get_hub
from planet.download.hub_layouts import label_words, read_layout

TAGS = {'train_0': 'clear primary', 'train_1': 'haze primary water', 'train_2': 'clear primary', 'train_3': 'cloudy'}

def jpeg(i=0):
    out = io.BytesIO()
    Image.new('RGB', (16, 16), (40*i % 256, 90, 60)).save(out, 'JPEG')
    return out.getvalue()

IMAGES = {name: jpeg(i) for i, name in enumerate([*TAGS, 'test_0', 'file_7'])}

@pytest.fixture(autouse=True)
def small_competition(monkeypatch):
    "A competition of four training chips."
    sets = Counter(tuple(t.split()) for t in TAGS.values())
    monkeypatch.setattr(amazon, 'tag_sets', lambda: sets)

def parquet(kind, split='train', names=TAGS):
    "A shard as the `datasets` library writes it; labels as words, as numbers of classes, or as one text."
    pa = pytest.importorskip('pyarrow', reason='pyarrow, of the extra `data`, reads parquet')
    import pyarrow.parquet as parquet
    classes = list(amazon.TAGS)
    def label(name):
        words = TAGS.get(name, '').split()
        return dict(words=words, text=' '.join(words) or None, numbers=[classes.index(w) for w in words],
                    hot=[int(c in words) for c in classes] if words else [-1]*17)[kind]
    images = [dict(bytes=IMAGES[n], path=f'{n}.jpg') for n in names]
    table = pa.table(dict(image=images, labels=[label(n) for n in names]))
    named = [dict(names=classes, _type='ClassLabel')] if kind in ('numbers', 'hot') else {}
    facts = dict(info=dict(features=dict(image=dict(_type='Image'), labels=named)))
    out = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({b'huggingface': json.dumps(facts).encode()}), out)
    return {f'data/{split}-00000-of-00001.parquet': out.getvalue()}

def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()

def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        for name, data in files.items(): z.writestr(name, data)
    return out.getvalue()

TABLE = pd.DataFrame(dict(image_name=list(TAGS), tags=list(TAGS.values()))).to_csv(index=False).encode()
LINES = '\n'.join(json.dumps(dict(file_name=f'{n}.jpg', labels=t.split())) for n, t in TAGS.items()).encode()
LAYOUTS = {
    'parquet, words': lambda: parquet('words'), 'parquet, one text': lambda: parquet('text'),
    'parquet, class numbers': lambda: parquet('numbers'), 'parquet, one-hot': lambda: parquet('hot'),
    'parquet, a test split': lambda: parquet('words') | parquet('words', 'test', ['test_0', 'file_7']),
    'folders and a table': lambda: {'train_v2.csv': TABLE, **{f'train/{n}.jpg': IMAGES[n] for n in TAGS}},
    'folders and lines of JSON': lambda: {'train/metadata.jsonl': LINES, **{f'train/{n}.jpg': IMAGES[n] for n in TAGS}},
    'a zip and a table': lambda: {'labels.csv': TABLE, 'all.zip': zipped({f'a/{n}.jpg': IMAGES[n] for n in TAGS})},
    'tar shards': lambda: {'train-0.tar': tar({k: v for n, t in TAGS.items() for k, v in (
        (f'{n}.jpg', IMAGES[n]), (f'{n}.json', json.dumps(dict(tags=t.split())).encode()))})},
}

def get(folder, files, monkeypatch, **how):
    with hub(DATASET, files, **how) as (address, asked):
        monkeypatch.setenv('HF_ENDPOINT', address)
        return get_hub(folder), asked

@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_becomes_the_competitions_folder(tmp_path, monkeypatch, layout):
    files = LAYOUTS[layout]() | {'README.md': b'---\nlicense: cc-by-sa-4.0\n---\n'}
    folder, _ = get(tmp_path/'planet', files, monkeypatch)
    chips = from_folder(folder)
    assert dict(zip(chips.table.image_name, map(' '.join, chips.table.tags))) == TAGS
    assert all(p.read_bytes() == IMAGES[p.stem] for p in chips.paths)
    test = sorted(p.name for f in ('test-jpg', 'test-jpg-additional') for p in (folder/f).glob('*'))
    assert test == (['file_7.jpg', 'test_0.jpg'] if 'test' in layout else [])
    assert {p.name for p in folder.iterdir()} <= {'train-jpg', 'test-jpg', 'test-jpg-additional', 'train_v2.csv'}

def test_a_second_time_asks_for_nothing(tmp_path, monkeypatch):
    folder, _ = get(tmp_path/'planet', LAYOUTS['folders and a table'](), monkeypatch)
    _, asked = get(folder, {}, monkeypatch)
    assert asked == []

def test_a_cut_connection_is_gone_on_with(tmp_path, monkeypatch):
    from huggingface_hub import constants
    monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 1 << 12) # of 10 MB
    files = {'train_v2.csv': TABLE, 'images.zip': zipped({f'{n}.jpg': IMAGES[n]*400 for n in TAGS})}
    _, asked = get(tmp_path/'planet', files, monkeypatch, cut=['images.zip'])
    ranges = [r for method, path, r in asked if method == 'GET' and path.endswith('images.zip')]
    assert int(ranges[-1].removeprefix('bytes=').split('-')[0]) > 0
    assert len(from_folder(tmp_path/'planet')) == 4

def refused(tmp_path, files, monkeypatch, said):
    with pytest.raises(UserError, match=said) as e: get(tmp_path/'planet', files, monkeypatch)
    assert '\n' not in str(e.value)
    assert not (tmp_path/'planet'/'train_v2.csv').exists() and not (tmp_path/'planet'/'train-jpg').exists()

def spoilt(**tags): return TAGS | tags

@pytest.mark.parametrize('tags,said', [
    ({k: v for k, v in TAGS.items() if k != 'train_2'}, 'it has 3 training chips of 4'),
    (spoilt(train_3='clear primary'), '2 sets of tags are on other numbers of chips'),
    (spoilt(train_3='clowdy'), 'tags that the table does not have: clowdy'),
    (spoilt(train_3=''), '1 of its chips have no tags'),
    ({k: v for k, v in TAGS.items() if k != 'train_3'} | {'chip_9': 'cloudy'}, "not called train_N.*'chip_9'"),
    ({k: v for k, v in TAGS.items() if k != 'train_3'} | {'train_9': 'cloudy'}, 'it lacks 1, such as train_3')])
def test_other_chips_than_the_competitions_are_refused(tmp_path, monkeypatch, tags, said):
    table = pd.DataFrame(dict(image_name=list(tags), tags=list(tags.values()))).to_csv(index=False).encode()
    files = {'train_v2.csv': table, **{f'train/{n}.jpg': jpeg() for n in tags}}
    refused(tmp_path, files, monkeypatch, said)

def test_the_whole_table_passes(monkeypatch):
    monkeypatch.undo()
    sets = [tags for tags, n in amazon.tag_sets().items() for _ in range(n)]
    rows = [(f'train_{i}', tags) for i, tags in enumerate(sets)]
    check_chips(rows)
    with pytest.raises(UserError, match='train_5 is there 2 times'): check_chips([*rows, ('train_5', ['clear'])])

@pytest.mark.parametrize('files,said', [
    ({'a.bin': b'x'}, 'not understood .neither parquet.*its files are a.bin'),
    ({'t.csv': b'a,b\n1,2\n', 'train/train_0.jpg': jpeg()}, 'no column of names .there are a, b.'),
    ({'a.parquet': b'PAR1 broken'}, 'no parquet file|needs pyarrow'),
    ({'a.tar': b'broken'}, 'not understood'),
    ({'train_v2.csv': TABLE, **{f'train/{n}.jpg': b'<html>' for n in TAGS}}, 'is no JPEG, PNG or TIFF')])
def test_what_is_not_understood_is_refused(tmp_path, monkeypatch, files, said):
    refused(tmp_path, files, monkeypatch, said)

def test_no_such_dataset_and_no_network(tmp_path, monkeypatch):
    with hub('other/set', {}) as (address, _):
        monkeypatch.setenv('HF_ENDPOINT', address)
        with pytest.raises(UserError, match='there is no such dataset'): get_hub(tmp_path/'planet')
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9')
    with pytest.raises(UserError, match='cannot be had .*connect to the network') as e: get_hub(tmp_path/'planet')
    assert '\n' not in str(e.value)
    with pytest.raises(UserError, match='name it owner/name'): get_hub(tmp_path/'planet', 'nobody')

def test_numbers_that_mean_nothing():
    with pytest.raises(Exception, match='no list of classes'): label_words([1, 2])
    with pytest.raises(Exception, match='beyond the 2 classes'): label_words([1, 2], ['a', 'b'])
    assert label_words(-1, ['a', 'b']) is None and label_words(1, ['a', 'b']) == ['b']
    assert label_words(float('nan')) is None and label_words('a, b') == ['a', 'b']

def test_pyarrow_is_asked_for(tmp_path, monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    with pytest.raises(UserError, match='planet-chips.data'): list(read_layout(tmp_path, ['a.parquet']))

def test_the_command(tmp_path, monkeypatch):
    from planet.tools.get import get as command
    monkeypatch.setattr(module, 'get_hub', lambda to, dataset: (to, dataset))
    assert command('hf') == (None, DATASET) and command('hf', dataset='a/b') == (None, 'a/b')
    with pytest.raises(UserError, match='`tif` is for kaggle alone'): command('hf', tif=True)
    with pytest.raises(UserError, match='did you mean hf or hff|there is no hff to get'): command('hff')
