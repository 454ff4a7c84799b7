"Public data sets: each in the layout in which it is published, drawn by hand; fetched, put there by hand, refused."
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import numpy as np
import pytest
import tifffile
from PIL import Image
from planet import public_sets
from planet.chips import from_folder
from planet.cli import UserError
from planet.download.bigearthnet import BANDS
from planet.images import ChipStore
from planet.public_sets import PUBLIC, Remote
from planet.sources import SOURCES, find_chips
from planet.tools.get import get

@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    "A working folder of its own, and no network."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'cache'))
    for name, entry in PUBLIC.items():
        closed = tuple(replace_url(f, f'http://127.0.0.1:9/{f.name}') for f in entry.files)
        monkeypatch.setitem(PUBLIC, name, replace(entry, files=closed))
        monkeypatch.setitem(SOURCES, name, PUBLIC[name])
    return tmp_path

def replace_url(remote, url, md5=''): return Remote(url, md5)

@pytest.fixture
def served(tmp_path, monkeypatch):
    "`served(name, files)` offers the files (name -> bytes) of a data set on loopback, with their md5."
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args): asked.append(self.path)
    asked, home = [], tmp_path/'server'
    home.mkdir()
    httpd = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(home)))
    threading.Thread(target=httpd.serve_forever, args=(.02,), daemon=True).start()
    def serve(name, files):
        for file, data in files.items(): (home/file).write_bytes(data)
        remotes = tuple(Remote(f'http://127.0.0.1:{httpd.server_port}/{f}', hashlib.md5(d).hexdigest())
                        for f, d in files.items())
        monkeypatch.setitem(PUBLIC, name, replace(PUBLIC[name], files=remotes))
        monkeypatch.setitem(SOURCES, name, PUBLIC[name])
        return asked
    yield serve
    httpd.shutdown()

def picture(i, form='TIFF', size=16):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(i).integers(0, 255, (size, size, 3), np.uint8)).save(out, form)
    return out.getvalue()

def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        for name, data in files.items(): z.writestr(name, data)
    return out.getvalue()

# ---- UC Merced

MERCED = {'agricultural00': 'field', 'agricultural01': 'field trees', 'harbor00': 'dock ship water'}

def merced():
    tags = PUBLIC['ucmerced'].tags
    lines = ['\t'.join(['IMAGE\\LABEL', *tags])]
    lines += ['\t'.join([n, *(str(int(t in words.split())) for t in tags)]) for n, words in MERCED.items()]
    images = {f'UCMerced_LandUse/Images/{n[:-2]}/{n}.tif': picture(i) for i, n in enumerate(MERCED)}
    return {'UCMerced_LandUse.zip': zipped(images | {'UCMerced_LandUse/readme.txt': b'hello'}),
            'LandUse_Multilabeled.txt': '\r\n'.join(lines).encode()}

def tags_of(chips): return dict(zip(chips.table.image_name, map(' '.join, chips.table.tags)))

def test_ucmerced_is_fetched_and_trains(here, served, capsys):
    asked = served('ucmerced', merced())
    assert get('ucmerced') == public_sets.home/'ucmerced'
    chips = find_chips('ucmerced')
    assert {n.split('/')[-1][:-4]: t for n, t in tags_of(chips).items()} == MERCED
    assert not ChipStore(chips.paths, 16).bad
    said = capsys.readouterr().out
    assert 'licence' in said and '3 chips of 2,100 that are published' in said
    n = len(asked)
    get('ucmerced')
    assert len(asked) == n and 'everything already' in capsys.readouterr().out
    assert {p.name for p in (here/'data'/'ucmerced').iterdir()} == {'LandUse_Multilabeled.txt', 'UCMerced_LandUse',
                                                                    'labels.csv'}

def test_ucmerced_by_hand(here):
    "Archives put there by hand, or unpacked there; nothing is fetched."
    folder = here/'mine'
    folder.mkdir()
    with pytest.raises(UserError) as e: get('ucmerced', str(folder))
    assert f'put UCMerced_LandUse.zip and LandUse_Multilabeled.txt into {folder} by hand' in str(e.value)
    assert not list(folder.iterdir())
    for name, data in merced().items(): (folder/name).write_bytes(data)
    assert len(from_folder(get('ucmerced', str(folder)))) == 3
    (folder/'labels.csv').unlink()
    (folder/'UCMerced_LandUse.zip').unlink()
    assert len(from_folder(get('ucmerced', str(folder)))) == 3

def test_what_is_wrong_with_ucmerced(here, served):
    files = merced()
    text = files['LandUse_Multilabeled.txt']
    served('ucmerced', files | {'LandUse_Multilabeled.txt': text.replace(b'harbor00', b'harbor77')})
    with pytest.raises(UserError, match='lacks 1 of 3 images, such as .*harbor77.tif'): get('ucmerced')
    assert not (here/'data'/'ucmerced'/'labels.csv').exists()
    (here/'data'/'ucmerced'/'LandUse_Multilabeled.txt').write_bytes(text.replace(b'airplane', b'zeppelin'))
    assert get('ucmerced') # no chip has that tag
    (here/'data'/'ucmerced'/'labels.csv').unlink()
    (here/'data'/'ucmerced'/'LandUse_Multilabeled.txt').write_bytes(text.replace(b'dock', b'duck'))
    with pytest.raises(UserError, match='tags that .* does not have: duck'): get('ucmerced')
    (here/'data'/'ucmerced'/'LandUse_Multilabeled.txt').write_bytes(text.replace(b'\t1', b'\t2'))
    with pytest.raises(UserError, match='row of agricultural00 is not 17 times 0 or 1'): get('ucmerced')

def test_a_file_that_arrives_damaged(here, served, monkeypatch):
    served('ucmerced', merced())
    wrong = tuple(f._replace(md5='0'*32) for f in PUBLIC['ucmerced'].files)
    monkeypatch.setitem(PUBLIC, 'ucmerced', replace(PUBLIC['ucmerced'], files=wrong))
    with pytest.raises(UserError, match='arrived damaged .*md5 is not the published one'): get('ucmerced')
    assert not list((here/'data'/'ucmerced').glob('*'))[1:] # but for .fetched

# ---- EuroSAT

def eurosat():
    return {'EuroSAT_RGB.zip': zipped({f'EuroSAT_RGB/{c}/{c}_{i}.jpg': picture(7*i + k, 'JPEG')
                                       for k, c in enumerate(('AnnualCrop', 'River')) for i in (1, 2, 3)})}

def test_eurosat_has_one_label_a_chip(here, served):
    served('eurosat', eurosat())
    folder = get('eurosat', 'sat')
    chips = from_folder(folder)
    assert chips.vocab == ['AnnualCrop', 'River'] and [len(t) for t in chips.table.tags] == [1]*6
    assert tags_of(chips)['EuroSAT_RGB/River/River_2.jpg'] == 'River'

def test_eurosat_trains_a_single_label_classifier(here, served):
    from experiments import weather_resnet18
    served('eurosat', eurosat())
    get('eurosat')
    weather_resnet18.main(data='eurosat', weights='none', size=32, epochs=1, freeze_epochs=0, bs=2, tta=False,
                          out='out')
    record, = here.glob('out/weather_resnet18/*/record.json')
    facts = json.loads(record.read_text())
    assert facts['data']['vocab'] == ['AnnualCrop', 'River'] and facts['rule']['kind'] == 'argmax'
    assert facts['status'] == 'done' and facts['data']['source'].startswith('EuroSAT')

def test_other_classes_are_not_eurosat(here):
    for c in 'ab':
        (here/'sat'/'x'/c).mkdir(parents=True)
        (here/'sat'/'x'/c/'1.jpg').write_bytes(picture(1, 'JPEG'))
    with pytest.raises(UserError, match='tags that EuroSAT .* does not have: a, b'): get('eurosat', 'sat')

# ---- BigEarthNet

SCENE = 'S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP'
PATCHES = {f'{SCENE}_26_57': ('train', ['Arable land', 'Transitional woodland, shrub']),
           f'{SCENE}_26_58': ('validation', ['Arable land']), f'{SCENE}_26_59': ('test', ['Marine waters']),
           f'{SCENE}_27_60': ('train', ['Marine waters'])}
PLACE = [(33550, 'd', 3, (10., 10., 0.), True), (33922, 'd', 6, (0., 0., 0., 3e5, 5e6, 0.), True)]

def patch_files(form='{scene}/{patch}/{patch}'):
    "The files of all patches, as version 2 has them: a folder a scene, one a patch in it, a GeoTIFF a band."
    found = {}
    for k, patch in enumerate([*PATCHES, f'{SCENE}_99_99']): # the last is in no table: it has clouds
        for b, band in enumerate(BANDS):
            side = 120 if band in ('B02', 'B03', 'B04', 'B08') else 20 if band in ('B01', 'B09') else 60
            out = io.BytesIO()
            tifffile.imwrite(out, np.full((side, side), 100*b + k, np.uint16), extratags=PLACE)
            found[form.format(scene=SCENE, patch=patch) + f'_{band}.tif'] = out.getvalue()
    return found

def metadata():
    pa = pytest.importorskip('pyarrow', reason='pyarrow, of the extra `data`, reads the table of BigEarthNet')
    import pyarrow.parquet as parquet
    rows = [dict(patch_id=p, labels=labels, split=split, country='Austria', contains_seasonal_snow=False)
            for p, (split, labels) in PATCHES.items()]
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()

def put(folder, files):
    for name, data in files.items():
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_bytes(data)

def test_bigearthnet_from_folders(here, capsys):
    folder = here/'data'/'bigearthnet'
    put(folder, {'metadata.parquet': metadata()} | {f'BigEarthNet-S2/{n}': d for n, d in patch_files().items()})
    get('bigearthnet')
    assert '1 patches without labels' in capsys.readouterr().out
    chips = find_chips('bigearthnet') # the official split; test is left out
    assert chips.official == ['train', 'valid', 'train'] and chips.bands == ['red', 'green', 'blue', 'nir']
    assert chips.vocab == ['Arable land', 'Marine waters', 'Transitional woodland, shrub'] # a comma in a tag
    assert set(chips.group) == {SCENE} and chips.paths[0].name == f'{SCENE}_26_57.tif'
    with tifffile.TiffFile(chips.paths[0]) as tif:
        pixels, page = tif.asarray(), tif.pages[0]
        assert page.tags[33922].value[3:5] == (3e5, 5e6) and page.tags[33550].value[0] == 10
    assert pixels.shape == (120, 120, 4) and pixels[0, 0].tolist() == [300, 200, 100, 700] # B04, B03, B02, B08
    assert ChipStore(chips.paths, 32, limits=chips.limits).pixels.shape == (3, 4, 32, 32)

def test_bigearthnet_keeps_other_bands(here):
    put(here/'ben', {'metadata.parquet': metadata()} | {f'BigEarthNet-S2/{n}': d for n, d in patch_files().items()})
    with pytest.raises(UserError, match='B17 is no band of BigEarthNet'): get('bigearthnet', 'ben', bands='B17')
    get('bigearthnet', 'ben', bands='nir,B11,B01')
    pixels = tifffile.imread(from_folder('ben').paths[0])
    assert pixels.shape == (120, 120, 3) and (pixels == [700, 1000, 0]).all()
    assert find_chips('ben', bands='nir,b11').limits[2] == [0, 1]

def test_bigearthnet_from_the_archive(here, served):
    zstandard = pytest.importorskip('zstandard', reason='zstandard, of the extra `data`, reads the archive')
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as t:
        for name, data in patch_files().items():
            info = tarfile.TarInfo(f'BigEarthNet-S2/{name}')
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    whole = zstandard.ZstdCompressor(write_checksum=True).compress(out.getvalue())
    served('bigearthnet', {'metadata.parquet': metadata(), 'BigEarthNet-S2.tar.zst': whole})
    assert len(find_chips(str(get('bigearthnet')), bands='all')) == 3
    (here/'data'/'bigearthnet'/'labels.csv').unlink()
    (here/'data'/'bigearthnet'/'BigEarthNet-S2.tar.zst').write_bytes(whole[:len(whole)//2])
    with pytest.raises(UserError, match='truncated or damaged'): get('bigearthnet')

def test_version_1_has_43_tags_in_json(here):
    names = {p: p.replace('_N9999_R022_T33UUP', '') for p in PATCHES} # as version 1 calls them
    files = {}
    for name, data in patch_files('{patch}/{patch}').items():
        for new, old in names.items(): name = name.replace(new, old)
        files[f'BigEarthNet-v1.0/{name}'] = data
    for p, (_, labels) in PATCHES.items():
        files[f'BigEarthNet-v1.0/{names[p]}/{names[p]}_labels_metadata.json'] = json.dumps(dict(
            labels=['Non-irrigated arable land', *labels], projection='...')).encode()
    for split, file in (('train', 'train'), ('validation', 'val'), ('test', 'test')):
        files[f'{file}.csv'] = '\n'.join(names[p] for p, (s, _) in PATCHES.items() if s == split).encode()
    put(here/'ben', files)
    chips = from_folder(get('bigearthnet', 'ben'))
    assert 'Non-irrigated arable land' in chips.vocab and chips.official == ['train', 'valid', 'train']

def test_nothing_is_fetched_that_could_not_be_read(here, served, monkeypatch):
    import sys
    asked = served('bigearthnet', {'metadata.parquet': b'', 'BigEarthNet-S2.tar.zst': b''})
    for name in ('pyarrow', 'pyarrow.parquet', 'zstandard'): monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match="needs pyarrow to be read: pip install 'planet-chips.data"): get('bigearthnet')
    assert not asked and not (here/'data').exists()
    put(here/'ben', {'BigEarthNet-S2/a/a_B02.tif': b'', 'metadata.parquet': b''})
    with pytest.raises(UserError, match='metadata.parquet needs pyarrow'): get('bigearthnet', 'ben')

def test_a_patch_without_a_band(here):
    files = patch_files()
    del files[f'{SCENE}/{SCENE}_26_58/{SCENE}_26_58_B03.tif']
    put(here/'ben', {'metadata.parquet': metadata()} | {f'BigEarthNet-S2/{n}': d for n, d in files.items()})
    with pytest.raises(UserError, match='1 patches lack bands, such as .*_26_58 .B03.'): get('bigearthnet', 'ben')

# ---- names

def test_unknown_names_get_near_ones(here):
    with pytest.raises(UserError, match='did you mean eurosat'): get('eurosta')
    with pytest.raises(UserError, match='did you mean ucmerced'): find_chips('ucmercd')
    with pytest.raises(UserError, match='data/eurosat is not there yet: planet-data get eurosat'): find_chips('eurosat')
    with pytest.raises(UserError, match='`bands` is for bigearthnet alone'): get('eurosat', bands='red')

def test_every_entry_says_what_a_user_has_to_know():
    for name, entry in PUBLIC.items():
        assert entry.name == name and entry.licence and entry.page.startswith('https://') and entry.chips
        assert all(f.name and f.url.startswith('http') for f in entry.files)
