"`planet-tag`: inputs of every kind, outputs whole or resumable, bad inputs named and counted, promises of recall."
import csv
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from planet.chips import from_folder
from planet.cli import UserError
from planet.data import tags_dls
from planet.guarantees import Guarantee, recall_confidence, recall_threshold
from planet.inference import Tagger
from planet.learner import chip_learner, find_loss
from planet.model_card import rule_words
from planet.model_files import read_model, save_model
from planet.results import evaluate
from planet.rules import rule_of
from planet.splits import random_split
from planet.store import ChipStore
from planet.tag_files import TagFile, read_rows
from planet.tag_inputs import georeferenced, opened_inputs
from planet.tools import tag as tool
from planet.tools.tag import tag_command

GIVEN = dict(out='', overwrite=False, resume=False, engine='torch', bs=8, workers=2, column='', recall='',
             confidence=.95, submission='', upload='', export='', data='', serve=False, port=0, overlap=0, scale='',
             bands='', metres=0, html='', runs='runs', one_weather=False, host='', upload_limits='')

@pytest.fixture(scope='module')
def model(drawn, tmp_path_factory):
    "A tiny untrained tagger's folder."
    chips = from_folder(drawn)
    split = random_split(chips)
    learn = chip_learner(tags_dls(chips, ChipStore(chips.paths, 32), split, 16), 'resnet18', 'none',
                         find_loss('bce', chips.vocab, .2))
    return save_model(tmp_path_factory.mktemp('m')/'model', learn, evaluate(learn, chips, split), chips)

@pytest.fixture(scope='module')
def images(drawn): return drawn/'train-jpg'

def tag(model, *inputs, **options): return tag_command({**GIVEN, 'model': str(model), 'inputs': inputs, **options})

def fails(model, *inputs, words, **options):
    with pytest.raises(UserError) as e: tag(model, *inputs, **options)
    assert '\n' not in str(e.value) and words in str(e.value), str(e.value)

def rows(path): return list(csv.DictReader(open(path, encoding='utf-8')))

def files(*given, **kwargs):
    with opened_inputs([str(g) for g in given], **kwargs) as inputs: return [name for name, _ in inputs]

# ---- inputs

def test_folders_are_searched_and_files_and_globs_taken_as_named(images, tmp_path):
    deep = tmp_path/'a'/'b'
    deep.mkdir(parents=True)
    for name in ('x.jpg', 'y.PNG', '.hidden.jpg', 'notes.txt'): (deep/name).write_bytes(b'')
    (tmp_path/'a'/'.git').mkdir()
    (tmp_path/'a'/'.git'/'z.jpg').write_bytes(b'')
    (tmp_path/'a'/'loop').symlink_to(tmp_path/'a', target_is_directory=True)
    assert files(tmp_path/'a') == [str(deep/'x.jpg'), str(deep/'y.PNG')]
    assert files(f'{tmp_path}/a/**/*.jpg')[0].endswith('x.jpg') and len(files(images)) == 60
    assert files(images/'train_1.jpg', deep) == [str(images/'train_1.jpg'), str(deep/'x.jpg'), str(deep/'y.PNG')]

def packed(images, path):
    some = [images/f'train_{i}.jpg' for i in range(3)]
    if path.suffix == '.zip':
        with zipfile.ZipFile(path, 'w') as z:
            for p in some: z.write(p, f'inside/{p.name}')
    elif path.suffix == '.tar':
        with tarfile.open(path, 'w') as t:
            for p in some: t.add(p, f'inside/{p.name}')
    else:
        import py7zr
        with py7zr.SevenZipFile(path, 'w') as z:
            for p in some: z.write(p, f'inside/{p.name}')
    return path

@pytest.mark.parametrize('ending', ['.zip', '.tar', '.7z'])
def test_archives(model, images, tmp_path, ending):
    archive = packed(images, tmp_path/f'chips{ending}')
    assert tag(model, archive, out=str(tmp_path/'t.csv')) == 0
    assert [r['file'] for r in rows(tmp_path/'t.csv')] == [f'{archive}/train_{i}.jpg' for i in range(3)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [archive.name, 't.csv'] # nothing of it is left unpacked

def test_an_archive_that_leads_out_is_refused(model, tmp_path):
    with zipfile.ZipFile(tmp_path/'evil.zip', 'w') as z: z.writestr('../../out.jpg', b'x')
    fails(model, tmp_path/'evil.zip', out=str(tmp_path/'t.csv'), words='leads out of the folder')
    assert [p.name for p in tmp_path.iterdir()] == ['evil.zip']

def test_tables_of_paths(model, images, tmp_path):
    names = ['train_2', 'train_0']
    pd.DataFrame(dict(image_name=names, tags='x')).to_csv(images.parent/'two.csv', index=False)
    pd.DataFrame(dict(n=[1], Path=[str(images/'train_1.jpg')])).to_csv(tmp_path/'t.tsv', index=False, sep='\t')
    assert tag(model, images.parent/'two.csv', tmp_path/'t.tsv', out=str(tmp_path/'o.csv')) == 0
    assert [r['image_name'] for r in rows(tmp_path/'o.csv')] == [*names, 'train_1']
    (images.parent/'two.csv').unlink()
    pd.DataFrame(dict(where=[1])).to_csv(tmp_path/'odd.csv', index=False)
    fails(model, tmp_path/'odd.csv', words='no column of paths')
    fails(model, tmp_path/'odd.csv', column='wher', words='did you mean where?')
    (tmp_path/'odd.csv').write_bytes(b'path\na.jpg\nma\xe7\xe3.jpg\n')
    fails(model, tmp_path/'odd.csv', words='odd.csv cannot be read as a table (no text in UTF-8)')
    (tmp_path/'list.txt').write_text('train_1.jpg\ntrain_2.jpg\n') # as of `ls`
    fails(model, tmp_path/'list.txt', words='has no header: its first line is to name the columns, such as path')
    shutil.copy(images/'train_3.jpg', tmp_path/'train_3.JPG')
    (tmp_path/'u.csv').write_text('image_name\ntrain_3\n')
    with opened_inputs([str(tmp_path/'u.csv')]) as inputs:
        assert list(inputs) == [('train_3', str(tmp_path/'train_3.JPG'))]

def test_nothing_to_tag(model, images, tmp_path):
    fails(model, words='name images')
    fails(model, tmp_path, words='no image is in it')
    fails(model, tmp_path/'*.jpg', words='no file matches')
    fails(model, images/'train_1.jpeg', words='did you mean train_1.jpg?')

# ---- outputs

@pytest.mark.parametrize('ending', ['.csv', '.jsonl', '.parquet'])
def test_every_format_says_the_same(model, images, tmp_path, ending):
    if ending == '.parquet': pytest.importorskip('pyarrow', reason='Parquet needs pyarrow')
    out = tmp_path/f'tags{ending}'
    assert tag(model, images, out=str(out)) == 0 and [p.name for p in tmp_path.iterdir()] == [out.name]
    tagger = Tagger.load(model)
    if ending == '.csv':
        found = pd.read_csv(out, keep_default_na=False).assign(tags=lambda d: d.tags.str.split())
    elif ending == '.parquet': found = pd.read_parquet(out)
    else:
        lines = [json.loads(line) for line in out.open()]
        found = pd.DataFrame([r | r.pop('probabilities') for r in lines])
    assert list(found.columns) == ['file', 'image_name', 'tags', *tagger.vocab] and len(found) == 60
    import torch
    paths = sorted(map(str, images.glob('*.jpg')))
    batches = [torch.stack([tagger.open(p) for p in paths[i:i+8]]) for i in range(0, 60, 8)]
    probs = torch.cat([tagger.probabilities(b) for b in batches])
    assert list(found.file) == paths and list(found.image_name) == [Path(p).stem for p in paths]
    assert np.array_equal(found[tagger.vocab].to_numpy(np.float32), probs.numpy()) # nine digits are exact
    assert [list(t) for t in found.tags] == tagger.tags(probs)

def test_without_a_file_it_is_printed(model, images, capsys):
    assert tag(model, images/'train_0.jpg') == 0
    line, = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{images/'train_0.jpg'}  ") and 'primary 0.9' in line

def test_an_output_that_exists(model, images, tmp_path):
    (tmp_path/'t.csv').write_text('mine')
    fails(model, images, out=str(tmp_path/'t.csv'), words='exists: name another file, or `overwrite` it')
    assert (tmp_path/'t.csv').read_text() == 'mine'
    assert tag(model, images/'train_0.jpg', out=str(tmp_path/'t.csv'), overwrite=True) == 0
    assert len(rows(tmp_path/'t.csv')) == 1
    for out, words in (('t.xls', 'no ending that is known'), ('no/t.csv', 'there is no folder'),
                       ('t.gpkg', 'none of the inputs is a georeferenced scene')):
        fails(model, images, out=str(tmp_path/out), words=words)

def test_outputs_and_options_that_would_be_left_out(model, images, tmp_path):
    two = f"{tmp_path/'a.csv'},{tmp_path/'b.parquet'}"
    for options, words in ((dict(out=two), 'b.parquet is a second file: tags of chips go into one'),
                           (dict(out=str(tmp_path/'a.csv'), html=str(tmp_path/'m.html')), 'm.html is a map'),
                           (dict(scale='percentile'), '`scale` is for georeferenced scenes'),
                           (dict(bands='3,2,1'), '`bands` is for georeferenced scenes'),
                           (dict(metres=300.), '`metres` is for georeferenced scenes')):
        fails(model, images, **options, words=words)
    scene = geotiff(tmp_path/'scene.tif', 300)
    fails(model, scene, out=str(tmp_path/'t.gpkg'), recall='primary=0.9', words='`recall` is kept for chips')
    fails(model, submission=str(tmp_path), recall='primary=0.9', words='not by `submission`')
    fails(model, scene, words='the results of scenes need a place')
    assert [p.name for p in tmp_path.iterdir()] == ['scene.tif']

class Broken(Exception): pass

def test_what_was_broken_off_is_resumed(model, images, tmp_path, monkeypatch):
    whole, out = tmp_path/'whole.csv', tmp_path/'t.csv'
    tag(model, images, out=str(whole))
    written, write = [], TagFile.write
    def breaking(self, *args):
        if len(written) == 3: raise OSError(28, 'No space left on device')
        written.append(1)
        write(self, *args)
    monkeypatch.setattr(TagFile, 'write', breaking)
    with pytest.raises(OSError) as e: tag(model, images, out=str(out))
    assert '`resume` goes on after 24 images' in e.value.kept and not out.exists()
    monkeypatch.setattr(TagFile, 'write', write)
    with open(tmp_path/'.t.csv.part', 'a') as f: f.write('half a li') # what a kill in mid-write leaves
    fails(model, images, out=str(out), words='t.csv was begun before')
    fails(model, images/'train_0.jpg', out=str(out), resume=True, words='was begun with another inputs')
    fails(model, images, out=str(tmp_path/'u.csv'), resume=True, words='was not begun')
    assert tag(model, images, out=str(out), resume=True) == 0
    assert out.read_bytes() == whole.read_bytes() and sorted(os.listdir(tmp_path)) == ['t.csv', 'whole.csv']

def test_a_disk_that_is_full_at_the_end(model, images, tmp_path, monkeypatch):
    pytest.importorskip('pyarrow')
    out = tmp_path/'t.parquet'
    def full(self): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(TagFile, 'to_parquet', full)
    with pytest.raises(OSError) as e: tag(model, images, out=str(out))
    assert '`resume` goes on after 60 images' in e.value.kept
    monkeypatch.undo()
    assert tag(model, images, out=str(out), resume=True) == 0 and len(pd.read_parquet(out)) == 60
    assert os.listdir(tmp_path) == ['t.parquet']

@pytest.mark.parametrize('ending', ['.csv', '.jsonl', '.parquet'])
def test_what_is_complete_is_left_as_it_is(model, images, tmp_path, monkeypatch, capsys, ending):
    if ending == '.parquet': pytest.importorskip('pyarrow')
    out, some = tmp_path/f't{ending}', [images/f'train_{i}.jpg' for i in range(10)]
    assert tag(model, *some, out=str(out)) == 0
    before = out.read_bytes()
    def nothing(*args, **kwargs): raise AssertionError('tagged again')
    monkeypatch.setattr(tool, 'tag_images', nothing)
    capsys.readouterr()
    assert tag(model, *some, out=str(out), resume=True) == 0
    assert f'{out} is complete: 10 images were tagged before' in capsys.readouterr().out
    (tmp_path/'bad.jpg').write_bytes(b'no image')
    assert tag(model, *some, tmp_path/'bad.jpg', out=str(out), resume=True) == tool.SKIPPED
    assert '1 of 11 images were skipped' in capsys.readouterr().err
    fails(model, *some[:9], out=str(out), resume=True, words='of another model or of other images: `overwrite` it')
    monkeypatch.setattr(Tagger, 'probabilities', lambda self, pixels: torch.full((len(pixels), len(self.vocab)), .5))
    fails(model, *some, out=str(out), resume=True, words='of another model or of other images: `overwrite` it')
    assert out.read_bytes() == before and not list(tmp_path.glob('.t*'))

def test_exactly_one_weather(model, images, tmp_path, capsys):
    tag(model, images, out=str(tmp_path/'a.csv'))
    tag(model, images, out=str(tmp_path/'b.csv'), one_weather=True)
    weather = set(Tagger.load(model).exclusive)
    for a, b in zip(rows(tmp_path/'a.csv'), rows(tmp_path/'b.csv')):
        one, = set(b['tags'].split()) & weather
        assert float(b[one]) == max(float(b[t]) for t in weather)
        assert set(a['tags'].split()) - weather == set(b['tags'].split()) - weather
    facts = read_model(model) | dict(rule=dict(kind='thresh', thresh=.2, one=[0, 1]))
    two = ', '.join(facts['vocab'][:2])
    assert rule_words(facts) == f'every tag above 0.2, and of {two} exactly one, the likeliest'
    assert rule_of(facts['rule']).facts() == facts['rule'] and 'exactly one' in str(rule_of(facts['rule']))
    tagger = Tagger.load(model)
    tagger.exclusive = []
    with pytest.raises(UserError, match='no mutually exclusive tags'): tool.exactly_one(tagger)

def test_an_input_that_is_gone_since_is_noticed(model, images, tmp_path, monkeypatch):
    mine = shutil.copytree(images, tmp_path/'mine')
    write = TagFile.write
    def once(self, *args):
        if self.done: raise Broken
        write(self, *args)
    monkeypatch.setattr(TagFile, 'write', once)
    with pytest.raises(Broken): tag(model, mine, out=str(tmp_path/'t.csv'))
    monkeypatch.setattr(TagFile, 'write', write)
    for path in sorted(mine.iterdir())[:40]: path.unlink()
    fails(model, mine, out=str(tmp_path/'t.csv'), resume=True, words='the inputs are not those')

def test_resumed_in_smaller_batches_and_after_a_new_beginning(model, images, tmp_path, monkeypatch):
    folder, out, whole = tmp_path/'some', tmp_path/'t.csv', tmp_path/'whole.csv'
    folder.mkdir()
    for i in range(16): shutil.copy(images/f'train_{i}.jpg', folder/f'{i:02}.jpg')
    for i in range(3, 8): (folder/f'{i:02}.jpg').write_bytes(b'no image') # the last ones of the first batch
    tag(model, folder, out=str(whole))
    write = TagFile.write
    def once(self, *args):
        if self.done: raise Broken
        write(self, *args)
    monkeypatch.setattr(TagFile, 'write', once)
    with pytest.raises(Broken): tag(model, folder, out=str(out))
    kept = [(p, p.read_bytes()) for p in tmp_path.glob('.t.csv.*')]
    monkeypatch.setattr(TagFile, 'write', write)
    assert tag(model, folder, out=str(out), resume=True, bs=2) == tool.SKIPPED
    assert out.read_bytes() == whole.read_bytes()
    out.unlink()
    for path, data in kept: path.write_bytes(data)
    TagFile(out, Tagger.load(model).vocab, {}).file.close() # begins again, and is killed before its first batch
    fails(model, folder, out=str(out), resume=True, words='its beginning is gone: leave out `resume`')
    assert tag(model, folder, out=str(out), overwrite=True) == tool.SKIPPED and out.read_bytes() == whole.read_bytes()

# ---- bad inputs

def test_bad_inputs_are_named_counted_and_skipped(model, images, tmp_path, capsys):
    folder = tmp_path/'mixed'
    folder.mkdir()
    shutil.copy(images/'train_0.jpg', folder/'a.jpg')
    (folder/'b.jpg').write_bytes(b'no image')
    (folder/'c.jpg').write_bytes((images/'train_1.jpg').read_bytes()[:300])
    Image.new('RGB', (3000, 800)).save(folder/'d.png')
    Image.new('RGB', (3, 3)).save(folder/'g.png')
    Image.new('1', (14_000, 14_000)).save(folder/'e.png') # 196 million pixels in 25 kB
    os.mkfifo(folder/'f.jpg') # whoever opens it would wait for ever
    assert tag(model, folder, out=str(tmp_path/'t.csv')) == tool.SKIPPED
    assert [r['image_name'] for r in rows(tmp_path/'t.csv')] == ['a']
    said = capsys.readouterr().err.splitlines()
    named = [Path(line.split()[1].rstrip(':')).name for line in said[:-1]]
    assert named == ['b.jpg', 'c.jpg', 'd.png', 'e.png', 'f.jpg', 'g.png']
    assert '3000x800 pixels are no chip' in said[2] and 'decompression bomb' in said[3]
    assert said[-1] == '6 of 7 images were skipped'

@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere names of files are text')
@pytest.mark.parametrize('ending', ['.csv', '.jsonl', '.parquet'])
def test_names_that_are_no_text(model, images, tmp_path, capsys, ending):
    if ending == '.parquet': pytest.importorskip('pyarrow')
    folder, out = tmp_path/'odd', tmp_path/f't{ending}'
    folder.mkdir()
    for name in (b'b\xffad.jpg', b'two\nlines.jpg', 'é.jpg'.encode()):
        shutil.copy(images/'train_0.jpg', os.fsencode(folder) + b'/' + name)
    assert tag(model, folder, out=str(out)) == 0
    found = sorted(Path(name).name for name, *_ in read_rows(out))
    assert found == ['b\\xffad.jpg', 'two\nlines.jpg', 'é.jpg']
    tag(model, folder)
    assert 'b\\xffad.jpg  ' in capsys.readouterr().out

def test_many_bad_ones_are_not_all_named(capsys):
    bad = tool.Bad()
    for i in range(30): bad.add([(f'{i}.jpg', 'truncated')])
    said = capsys.readouterr().err.splitlines()
    assert bad.n == 30 and len(said) == tool.SHOWN + 1 and said[-1] == 'skipped: more, which are counted'

def test_the_command_in_a_shell(model, images, tmp_path):
    def run(*args): return subprocess.run([sys.executable, '-m', 'planet.tools.planet_tag', *map(str, args)],
                                          capture_output=True, text=True)
    done = run('nowhere', images)
    assert done.returncode == 1 and done.stderr.count('\n') == 1 and 'no model is called nowhere' in done.stderr
    done = run(model, '--out', tmp_path/'t.csv', images/'train_0.jpg', '--bs', 4, images/'train_1.jpg')
    assert done.returncode == 0 and done.stderr == '' and '2 images tagged' in done.stdout, done.stderr
    assert len(rows(tmp_path/'t.csv')) == 2

def test_help_needs_no_torch():
    code = ("import sys; sys.argv = ['planet-tag', '--help']\nfrom planet.tools.planet_tag import main\n"
            "try: main()\nexcept SystemExit: print('torch' in sys.modules)")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == 'False' and '--submission' in done.stdout

# ---- scenes

def geotiff(path, size):
    import tifffile
    tifffile.imwrite(path, np.zeros((size, size, 3), np.uint8), photometric='rgb',
                     extratags=[(33550, 'd', 3, (10., 10., 0.), True)])
    return path

def test_scenes_of_which_one_is_damaged_or_small(model, images, tmp_path, monkeypatch):
    scenes = [geotiff(tmp_path/f'{i}.tif', 300) for i in range(3)]
    asked = []
    monkeypatch.setattr(tool, 'tag_scenes', lambda tagger, paths, o, outs: asked.append(paths))
    scenes[1].write_bytes(scenes[1].read_bytes()[:90])
    geotiff(tmp_path/'3.tif', 100) # a tile at the edge of a map
    tag(model, tmp_path/'*.tif', out=str(tmp_path/'folder'))
    assert asked == [[str(tmp_path/f'{i}.tif') for i in range(4)]]
    for i in (4, 5): geotiff(tmp_path/f'{i}.tif', 64) # more chips than scenes
    fails(model, tmp_path/'*.tif', out=str(tmp_path/'folder'), words='tag scenes and chips in two calls')

def test_a_scene_is_told_from_a_chip(model, images, tmp_path, monkeypatch):
    scene, chip = geotiff(tmp_path/'scene.tif', 300), geotiff(tmp_path/'chip.tif', 64)
    assert georeferenced(scene, 128) and not georeferenced(chip, 128) and not georeferenced(images/'train_0.jpg', 8)
    fails(model, scene, images/'train_0.jpg', words='tag scenes and chips in two calls')
    asked = []
    monkeypatch.setattr(tool, 'tag_scenes', lambda tagger, paths, o, outs: asked.append((paths, outs)))
    tag(model, scene, out=f"{tmp_path/'a.gpkg'},{tmp_path/'b.tif'}", html=str(tmp_path/'m.html'))
    assert asked == [([str(scene)], [str(tmp_path/n) for n in ('a.gpkg', 'b.tif', 'm.html')])]
    geotiff(tmp_path/'scene2.tif', 300)
    tag(model, tmp_path/'scene*.tif', out=str(tmp_path/'folder'))
    assert asked[1] == ([str(tmp_path/'scene.tif'), str(tmp_path/'scene2.tif')], [str(tmp_path/'folder')])

# ---- recall

@pytest.mark.parametrize('n,missed,recall', [(30, 0, .9), (100, 5, .9), (200, 3, .97)])
def test_the_confidence_of_a_recall_is_right(n, missed, recall):
    rng = np.random.default_rng(0)
    draws = np.sort(rng.random((20_000, n)), axis=1)[:, missed] # of a threshold at the k-th lowest positive
    assert recall_confidence(n, missed, recall) == pytest.approx((1 - draws >= recall).mean(), abs=.01)

def test_a_promise_holds_as_often_as_it_says():
    rng, kept = np.random.default_rng(1), []
    for _ in range(2000):
        thresh, sure = recall_threshold(rng.beta(4, 2, 80), .9, .9)
        kept.append((rng.beta(4, 2, 4000) >= thresh).mean() >= .9)
        assert sure >= .9
    assert .9 - .02 <= np.mean(kept) <= .99

def test_recall_of_a_tag(model, images, tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    vocab = Tagger.load(model).vocab
    hot = rng.random((400, len(vocab))) < .2
    probs = np.clip(rng.random((400, len(vocab)))*.5 + hot*.5, 0, 1).astype(np.float32)
    groups = None
    monkeypatch.setattr('planet.guarantees.read_validation', lambda folder: ([], probs, hot, groups))
    at = vocab.index('road')
    promise = Guarantee.of(model, 'road', '0.9')
    assert (probs[hot[:, at], at] >= promise.thresh).mean() > .9 and promise.confidence >= .95
    assert promise.positives == hot[:, at].sum() and promise.flagged == (probs[:, at] >= promise.thresh).mean()
    tag(model, images, recall='road=0.9', out=str(tmp_path/'t.csv'))
    found, said = rows(tmp_path/'t.csv'), capsys.readouterr().out
    above = [float(r['road']) >= np.float32(promise.thresh) for r in found]
    assert ['road' in r['tags'].split() for r in found] == above
    assert f"road: {sum(above)} of 60 images to review" in said and 'confidence' in said
    groups = ['a' if i < 200 else str(i) for i in range(400)]
    assert Guarantee.of(model, 'road', .9).positives < promise.positives # a scene's chips are one draw
    probs, hot = probs[:90], hot[:90]
    groups = None
    for asked, words in (('road=0.9', 'with fewer than 30'), ('raod=0.9', 'did you mean road?'),
                         ('road', 'wants a share'), ('road=2', 'is outside 0 to 1'),
                         ('nothing=.9', 'is no tag of this model: it has')):
        fails(model, recall=asked, words=words)

def test_a_recall_that_too_few_chips_can_promise(model, monkeypatch):
    hot = np.ones((40, len(Tagger.load(model).vocab)), np.uint8)
    monkeypatch.setattr('planet.guarantees.read_validation', lambda folder: ([], hot*.5, hot, None))
    fails(model, recall='road=0.97', words='road=0.97 needs 99 validation chips with the tag')
