"Bands of GeoTIFF chips, chosen by name or number, from the command line to the record and the pictures."
import json
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from experiments import planet_resnet50
from planet import bands as module, plots
from planet.backbones import find_backbone
from planet.bands import band_name, choose_bands, file_bands, find_bands, measure_bands
from planet.chips import from_folder
from planet.cli import UserError
from planet.figures import as_array, shown_bands
from planet.images import ChipStore, open_chip
from planet.inference import Tagger
from planet.report import write_report
from planet.run_files import read_run
from planet.sources import find_chips
from planet.tiffs import scale_bands
from planet.tools.fiftyone_dataset import write_pictures
from planet.tools.stats import stats
from planet.weights import widen_first

LEVELS = dict(blue=300, green=600, red=900, nir=4000) # of a sensor that fills a small part of 16 bits

def described(names): # as GDAL writes the names of bands
    items = ''.join(f'<Item name="DESCRIPTION" sample="{i}" role="description">{n}</Item>' for i, n in enumerate(names))
    return [(42112, 's', 0, f'<GDALMetadata>{items}</GDALMetadata>', True)]

def write(path, bands, names=None, **how):
    tifffile.imwrite(path, bands, photometric='minisblack', planarconfig='contig',
                     extratags=described(names) if names else [], **how)

def chips_at(folder, names=tuple(LEVELS), n=24, kind=np.uint16, described=True, images='train'):
    "A folder of chips, each band around its own level; a bright near infrared is tagged forest."
    rng, rows = np.random.default_rng(0), ['image_name,tags']
    (folder/images).mkdir(parents=True)
    for i in range(n):
        forest = i % 2
        level = np.array([LEVELS[b] for b in LEVELS])*[1, 1, 1, 1.5 if forest else .5]
        pixels = rng.normal(level, .02*level, (40, 40, 4))
        pixels[0, 0] = 0 # outside the scene
        write(folder/images/f'chip_{i}.tif', pixels.astype(kind), names if described else None)
        rows.append(f"chip_{i},{'forest clear' if forest else 'clear'}")
    (folder/'labels.csv').write_text('\n'.join(rows))
    return folder

@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'cache'))
    return chips_at(tmp_path/'chips')

def test_names_of_bands():
    assert [band_name(o) for o in ('NIR', 'near-infrared', 'B08', 'Red')] == ['nir', 'nir', 'nir', 'red']
    names = ['blue', 'green', 'red', 'nir']
    assert find_bands('red,green, blue,nir', names) == (['red', 'green', 'blue', 'nir'], [2, 1, 0, 3])
    assert find_bands('3,B8', names) == (['red', 'nir'], [2, 3])
    assert find_bands('all', [None, 'red']) == (['band_1', 'red'], [0, 1])
    for wrong, said in (('rad', 'did you mean red'), ('5', 'it has 4 bands, blue, green, red, nir'), ('0', 'no band'),
                        (',', 'no band is named'), ('red,3', 'twice')):
        with pytest.raises(UserError, match=said): find_bands(wrong, names, 'a.tif')
    with pytest.raises(UserError, match='without names: give numbers, such as 1,2'): find_bands('red', [None, None])

def test_what_a_file_says_of_its_bands(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint16)
    write(tmp_path/'a.tif', pixels, ['Blue', 'Green', 'Red', 'NIR'])
    assert file_bands(tmp_path/'a.tif') == (['blue', 'green', 'red', 'nir'], np.uint16)
    write(tmp_path/'b.tif', pixels)
    assert file_bands(tmp_path/'b.tif')[0] == [None]*4
    for kind, names in ((np.uint8, ['red', 'green', 'blue', None]), (np.uint16, [None]*4)):
        tifffile.imwrite(tmp_path/'c.tif', pixels.astype(kind), photometric='rgb', planarconfig='contig')
        assert file_bands(tmp_path/'c.tif')[0] == names
    Image.new('RGB', (8, 8)).save(tmp_path/'d.png')
    assert file_bands(tmp_path/'d.png') == (['red', 'green', 'blue'], np.uint8)

def test_bands_reach_the_pixels_in_the_order_asked_for(folder):
    chips = find_chips(str(folder), bands='nir,red,green')
    assert chips.bands == ['nir', 'red', 'green'] and chips.limits[2] == [3, 2, 1]
    store = ChipStore(chips.paths, 40, limits=chips.limits)
    assert store.pixels.shape == (24, 3, 40, 40) and not store.bad
    whole = tifffile.imread(chips.paths[1])[..., [3, 2, 1]]
    assert (store.pixels[1].permute(1, 2, 0).numpy() == scale_bands(whole, chips.limits[:2])).all()
    assert store.pixels[1, 0].float().mean() > 200 > 50 > store.pixels[0, 0].float().mean() # the forest's infrared
    with pytest.raises(UserError, match='4 bands, and band 6 is asked for'):
        open_chip(chips.paths[0], 8, [[0], [1], [5]])

@pytest.mark.parametrize('kind', [np.uint16, np.float32, np.int16])
def test_values_are_scaled_and_not_clipped(tmp_path, monkeypatch, kind):
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'cache'))
    chips = choose_bands(from_folder(chips_at(tmp_path/'a', kind=kind)), 'red,green,blue,nir')
    pixels = ChipStore(chips.paths, 40, limits=chips.limits).pixels
    assert .2 < (pixels.float()/255).mean() < .8
    assert ((pixels == 255).float().mean() < .012) and (pixels[..., 1:, 1:] == 0).float().mean() < .012
    found = (pixels/255.)[..., 1:, 1:]
    for side, measured in zip((found.mean((0, 2, 3)), found.std((0, 2, 3))), chips.stats):
        np.testing.assert_allclose(side, measured, atol=.01) # pixels without data are not measured

def test_8_bits_keep_their_range(tmp_path, monkeypatch):
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'cache'))
    monkeypatch.setitem(LEVELS, 'red', 90), monkeypatch.setitem(LEVELS, 'green', 60)
    monkeypatch.setitem(LEVELS, 'blue', 30), monkeypatch.setitem(LEVELS, 'nir', 120)
    chips = choose_bands(from_folder(chips_at(tmp_path/'a', kind=np.uint8)), 'all')
    assert chips.limits[:2] == [[0]*4, [255]*4] and chips.bands == list(LEVELS)

def test_what_was_not_measured_does_not_count(tmp_path):
    for i, empty in enumerate((.5, .9)):
        pixels = np.random.default_rng(i).uniform(100, 200, (50, 50, 2)).astype(np.float32)
        pixels[:int(50*empty)] = -9999
        tifffile.imwrite(tmp_path/f'{i}.tif', pixels, planarconfig='contig', extratags=[(42113, 's', 0, '-9999', True)])
    limits = measure_bands(sorted(tmp_path.glob('*.tif')), [0, 1])['limits']
    assert 99 < min(limits[0]) and max(limits[1]) < 201

def test_pictures_that_store_their_colours_otherwise(tmp_path):
    "The competition's JPEGs have four components, which are no bands."
    Image.new('CMYK', (16, 16), (200, 40, 90, 0)).save(tmp_path/'a.jpg')
    assert file_bands(tmp_path/'a.jpg')[0] == ['red', 'green', 'blue']
    want = np.asarray(Image.open(tmp_path/'a.jpg').convert('RGB'))[0, 0].tolist()
    picture = open_chip(tmp_path/'a.jpg', 16, [[0]*3, [255]*3, [2, 1, 0]])
    assert picture[:, 0, 0].tolist() == want[::-1]

def test_16_bits_without_bands_are_refused_with_a_way_out(folder):
    from planet.data import load_chips
    with pytest.raises(UserError, match='4 bands of uint16.*`bands`'): load_chips(str(folder), 32)

def test_verify_reads_them_as_training_does(folder, monkeypatch, capsys):
    from planet.tools.planet_data import verify
    assert verify(str(folder)) == 1 and 'name the bands' in capsys.readouterr().out
    assert verify(str(folder), bands='nir,red') == 0 and '4 bands of uint16 24' in capsys.readouterr().out

def test_measured_once(folder, monkeypatch):
    first = find_chips(str(folder), bands='all')
    def again(*args): raise AssertionError('measured again')
    monkeypatch.setattr(module, 'measure_bands', again)
    second = find_chips(str(folder), bands='all')
    assert first.limits == second.limits and first.stats == second.stats
    write(first.paths[0], np.full((40, 40, 4), 9, np.uint16)) # other files are another measurement
    with pytest.raises(AssertionError): find_chips(str(folder), bands='1,2,3,4')

def test_the_validation_side_of_an_official_split_is_not_measured(folder):
    table = (folder/'labels.csv').read_text().split('\n')
    split = [f'{line},{"split" if i == 0 else "valid" if i > 12 else "train"}' for i, line in enumerate(table)]
    (folder/'labels.csv').write_text('\n'.join(split))
    for i in range(12, 24): write(folder/'train'/f'chip_{i}.tif', np.full((40, 40, 4), 60000, np.uint16))
    assert max(find_chips(str(folder), bands='1,2,3,4').limits[1]) < 7000

def test_bands_that_cannot_be_measured(tmp_path):
    write(tmp_path/'a.tif', np.full((8, 8, 2), 7, np.uint16))
    with pytest.raises(UserError, match='band 2 has the same value .7. everywhere'):
        measure_bands([tmp_path/'a.tif'], [1])
    write(tmp_path/'b.tif', np.zeros((8, 8, 2), np.float32))
    with pytest.raises(UserError, match='b.tif has values of float32, other chips of uint16'):
        measure_bands([tmp_path/'a.tif', tmp_path/'b.tif'], [0])

def test_the_competitions_tiffs_lie_beside_its_jpegs(tmp_path, monkeypatch):
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'cache'))
    planet = chips_at(tmp_path/'planet', described=False, images='train-tif-v2')
    (planet/'train-jpg').mkdir()
    for i in range(24): Image.new('RGB', (40, 40), 'green').save(planet/'train-jpg'/f'chip_{i}.jpg')
    assert find_chips(str(planet)).paths[0].suffix == '.jpg'
    chips = find_chips(str(planet), bands='red,green,blue,nir')
    assert chips.paths[0].suffix == '.tif' and chips.limits[2] == [2, 1, 0, 3] # the files have blue first
    assert 800 < chips.limits[0][0] < 900 < chips.limits[1][0] < 1000
    (planet/'train-tif-v2'/'chip_3.tif').unlink()
    with pytest.raises(UserError, match='lacks 1 of 24 chips, such as chip_3.tif'): find_chips(str(planet), bands='all')

def test_a_scene_has_the_models_bands_where_its_chips_had_them(tmp_path):
    rasters = pytest.importorskip('planet.rasters')
    scene = rasters.Raster('a.tif', 9, 9, ('',)*4, 'uint16', None, False, (1, 0, 0, 0, -1, 0), '', (9, 9), (1, 1), ())
    model, limits = ['red', 'green', 'blue', 'nir'], [[0]*4, [9]*4, [2, 1, 0, 3]]
    assert rasters.find_bands(scene, model, None, limits) == (3, 2, 1, 4)
    assert rasters.find_bands(scene, model, None, limits[:2]) == (1, 2, 3, 4)
    with pytest.raises(UserError, match='say which they are'):
        rasters.find_bands(scene, model[:3], None, [[0]*3, [9]*3, [3, 2, 1]])
    assert rasters.stretch(scene, (3, 2, 1, 4), limits) == limits[:2] # pixels are in the model's order by then

# ---- weights

def test_a_widened_convolution():
    weight = torch.randn(8, 3, 7, 7)
    wide = widen_first(weight, 5, (3, None, 0))
    for at, want in ((3, weight[:, 0]), (0, weight[:, 2]), (1, weight.mean(1)), (4, weight.mean(1))):
        torch.testing.assert_close(wide[:, at], want*3/5)
    grey = torch.rand(1, 1, 9, 9)
    def answer(w): return torch.nn.functional.conv2d(grey.expand(-1, w.shape[1], -1, -1), w)
    torch.testing.assert_close(answer(widen_first(weight, 6)), answer(weight), atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize('bands', ['red,green,blue,nir', 'nir,red,green,blue', 'nir,red,green'])
def test_weights_of_a_file_go_to_the_bands_of_their_colours(tmp_path, bands):
    from fastai.vision.learner import create_body
    from torchvision.models import resnet18
    from planet.weights import fit_state
    names = bands.split(',')
    backbone = find_backbone('resnet18', bands=names)
    rgb, model = resnet18(), resnet18()
    create_body(model, len(names), False)
    have = fit_state(rgb.state_dict(), model.state_dict(), ('fc.',), colours=backbone.colours)
    conv, own = have['conv1.weight'], rgb.conv1.weight*3/len(names)
    torch.testing.assert_close(conv[:, names.index('red')], own[:, 0])
    torch.testing.assert_close(conv[:, names.index('nir')], own.mean(1))
    if 'blue' in names: torch.testing.assert_close(conv[:, names.index('blue')], own[:, 2])

def test_published_weights_are_widened_too(folder, monkeypatch):
    import torchvision
    from planet.data import load_chips, tags_dls
    from planet.learner import chip_learner
    from planet.splits import random_split
    rgb = torchvision.models.resnet18()
    def published(pretrained=False, **kwargs):
        model = torchvision.models.resnet18()
        if pretrained: model.load_state_dict(rgb.state_dict())
        return model
    from planet.backbones import Backbone
    chips, store = load_chips(str(folder), 32, bands='nir,red,green,blue')
    dls = tags_dls(chips, store, random_split(chips), bs=8)
    learn = chip_learner(dls, find_backbone(Backbone(published), bands=chips.bands), 'imagenet')
    conv = next(m for m in learn.model.modules() if isinstance(m, torch.nn.Conv2d)).weight
    torch.testing.assert_close(conv[:, 0], rgb.conv1.weight.mean(1)*3/4)
    torch.testing.assert_close(conv[:, 1:], rgb.conv1.weight*3/4)

# ---- from the command line to the record and the page

def test_false_colour():
    assert shown_bands(['red', 'green', 'blue', 'nir']) == [3, 0, 1] and shown_bands(None) == [0, 1, 2]
    assert shown_bands(['blue', 'green', 'red']) == [2, 1, 0] and shown_bands(['a', 'b', 'c', 'd']) == [0, 1, 2]
    x = np.arange(4)[:, None, None].repeat(2, 1).repeat(2, 2).astype(np.uint8)
    assert as_array(x, ['red', 'green', 'blue', 'nir'])[0, 0].tolist() == [3, 0, 1]

def test_an_experiment_records_its_bands_and_its_page_has_pictures(tmp_path, folder):
    planet_resnet50.main(data=str(folder), bands='red,green,blue,nir', weights='none', arch='resnet18', size=32,
                         epochs=1, freeze_epochs=0, bs=8, tta=False, out=str(tmp_path/'out'))
    run, = (tmp_path/'out').glob('planet_resnet50/*')
    data = json.loads((run/'record.json').read_text())['data']
    assert data['bands'] == ['red', 'green', 'blue', 'nir'] and np.shape(data['limits']) == (3, 4)
    assert np.shape(data['stats']) == (2, 4) and 'bands red, green, blue, nir of uint16' in ', '.join(data['read'])
    tagger, found = Tagger.load(run), read_run(run) # from the folder alone
    assert tagger.bands == data['bands'] and tagger.limits == data['limits']
    pixels = torch.stack([tagger.open(found.files[name]) for name in found.names])
    np.testing.assert_allclose(tagger.probabilities(pixels), found.probs, atol=1e-6)
    picture = found.pixels(0)
    forest = found.truth[0][found.vocab.index('forest')]
    assert picture.shape[2] == 3 and (picture[5:, 5:, 0].mean() > 128) == forest # infrared is shown as red
    page = write_report(run).read_text()
    assert 'picture missing' not in page and 'near infrared' in page
    assert (run/'batch.png').stat().st_size > 1000

def test_a_compression_that_needs_gdal(tmp_path, monkeypatch):
    "LZW, which tifffile reads with imagecodecs alone: by rasterio where that is installed, else told in a line."
    import sys
    pixels = np.random.default_rng(0).integers(0, 9000, (16, 16, 4), dtype=np.uint16)
    if not (rasterio := pytest.importorskip('rasterio', reason='rasterio, of the extra `geo`, writes LZW')): return
    with rasterio.open(tmp_path/'a.tif', 'w', driver='GTiff', width=16, height=16, count=4, dtype='uint16',
                       compress='lzw', predictor=2) as f: f.write(pixels.transpose(2, 0, 1))
    monkeypatch.setitem(sys.modules, 'imagecodecs', None)
    limits = [[0]*4, [9000]*4]
    assert (open_chip(tmp_path/'a.tif', 16, limits).permute(1, 2, 0).numpy() == scale_bands(pixels, limits)).all()
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    monkeypatch.setitem(sys.modules, 'rasterio.io', None)
    with pytest.raises(UserError, match='needs rasterio to read: pip install'): open_chip(tmp_path/'a.tif', 16, limits)

# ---- figures

def is_false_colour(pixels): # near infrared, which differs from chip to chip, as red
    return pixels.ndim == 3 and not (pixels[..., 0] == pixels[..., 1]).all()

def test_figures_of_a_folder_are_in_false_colour(folder, monkeypatch):
    chips = from_folder(folder)
    seen = module.in_colour(chips)
    assert seen.bands == list(LEVELS) and seen.limits and not chips.bands
    assert is_false_colour(as_array(open_chip(seen.paths[0], 32, seen.limits), seen.bands))
    drawn = []
    monkeypatch.setattr(plots, 'tag_sheet', lambda chips, tag: drawn.append(chips.bands) or plots.grid([], [], 1, 1.))
    stats(folder, plot=True)
    assert drawn == [list(LEVELS)]*2
    (folder/'train'/'chip_0.tif').write_bytes(b'broken')
    assert module.in_colour(chips) is chips

def test_browsers_are_given_pictures_of_tiffs(folder, tmp_path):
    chips = from_folder(folder)
    (folder/'train'/'chip_3.tif').write_bytes(b'broken')
    pictures = write_pictures(chips, tmp_path/'png', side=32)
    assert sorted(pictures) == [i for i in range(24) if i != 3]
    assert all(Image.open(p).size == (32, 32) and is_false_colour(np.asarray(Image.open(p))) for p in pictures.values())

def test_plain_pictures_stay_as_they_are(drawn, tmp_path):
    chips = from_folder(drawn)
    assert module.in_colour(chips) is chips and write_pictures(chips, tmp_path/'png') == {}
    assert not (tmp_path/'png').exists()
