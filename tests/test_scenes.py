"Scenes with planted tags: right to the pixel in metres, in degrees and turned; edges, nodata, bands, values, resuming."
import warnings
import numpy as np
import pytest
from planted import (  # first: it skips without `geo`
    DEGREES,
    METRES,
    ROTATED,
    UTM,
    VOCAB,
    Colours,
    Stopped,
    plant,
    write,
)

# isort: split
import geopandas
import rasterio
import rasterio.shutil
from PIL import Image
from planet import scene_jobs
from planet.areas import cell_areas, true_share, validation_counts
from planet.cli import UserError
from planet.images import open_chip
from planet.rasters import chip_ground, open_raster, placed
from planet.scenes import plan_scene, tag_scene
from planet.windows import Grid, Plan, ground_window, make_grid, to_chip, window_pixels

def tags_of(truth): return [' '.join(t for t, yes in zip(VOCAB, some) if yes) for some in truth.reshape(-1, 3)]

@pytest.mark.parametrize('place', [UTM, DEGREES, ROTATED], ids=['utm', 'degrees', 'rotated'])
def test_tags_are_where_they_were_planted(tmp_path, place):
    path, truth = plant(tmp_path/'s.tif', place)
    tag_scene(Colours(), path, [tmp_path/'t.parquet', tmp_path/'t.tif'])
    table = geopandas.read_parquet(tmp_path/'t.parquet')
    assert list(table.tags) == tags_of(truth) and table.crs == place[0]
    with rasterio.open(path) as scene, rasterio.open(tmp_path/'t.tif') as made:
        assert made.crs == scene.crs and made.shape == truth.shape[:2] and made.descriptions == tuple(VOCAB)
        window = ground_window(open_raster(path), METRES)
        for row in table.itertuples():
            # from the outline's coordinates alone to pixels, and to the window that was planted there
            x, y = zip(*row.geometry.exterior.coords[:4])
            column, line = placed(~scene.transform, x, y)
            assert np.allclose(column, column.round(), atol=1e-6) and np.allclose(line, line.round(), atol=1e-6)
            r, c = round(line[0]/window[0]), round(column[0]/window[1])
            assert (round(line[0]), round(column[0])) == (row.row, row.column) == (r*window[0], c*window[1])
            assert (round(line[2]), round(column[2])) == (min((r+1)*window[0], scene.height),
                                                          min((c+1)*window[1], scene.width))
            middle = row.geometry.centroid
            probs = next(made.sample([(middle.x, middle.y)]))
            assert ((probs > .5) == truth[r, c]).all() and np.allclose(probs, [row.ruby, row.moss, row.azure])
        outlines = table.to_crs('EPSG:4326').bounds
        assert table.lon.between(outlines.minx, outlines.maxx).all()
        assert table.lat.between(outlines.miny, outlines.maxy).all()

def test_a_window_of_degrees_is_as_large_on_the_ground(tmp_path):
    path, _ = plant(tmp_path/'s.tif', DEGREES)
    frame = tag_scene(Colours(), path).frame()
    metres = frame.to_crs('EPSG:32720')
    whole = metres[frame.padded == 0]
    assert len(whole) == 35 and np.allclose(whole.area/METRES**2, 1, atol=.02)
    assert np.allclose((whole.bounds.maxx - whole.bounds.minx)/METRES, 1, atol=.02)

@pytest.mark.parametrize('size', [64, 32, 20])
def test_a_window_equals_the_chip_cut_from_its_place(tmp_path, size):
    path, _ = plant(tmp_path/'s.tif', over=(0, 0))
    tagger = Colours()
    tagger.size = size
    scene = tag_scene(tagger, path)
    with rasterio.open(path) as f: pixels = f.read().transpose(1, 2, 0)
    chips = []
    for i, (y, x, h, w) in enumerate(scene.grid.boxes(scene.windows)):
        Image.fromarray(pixels[y:y+h, x:x+w]).save(tmp_path/f'{i}.png')
        chips.append(open_chip(tmp_path/f'{i}.png', size).numpy())
    assert (tagger.probabilities(np.stack(chips)) == scene.probs).all() # bit for bit

def test_edges_are_mirrored_and_marked(tmp_path):
    path, truth = plant(tmp_path/'s.tif', over=(16, 0))
    scene = tag_scene(Colours(), path)
    table = scene.table()
    assert (table.padded[:35] == 0).all() and (table.padded[35:] == .75).all() and len(table) == 42
    assert list(table.tags) == tags_of(truth) # nothing dark was made up
    y, x, h, w = scene.grid.boxes([35])[0]
    with rasterio.open(path) as f: part = f.read()[:, y:y+h, x:x+w]
    plan = plan_scene(Colours(), path)
    mirrored = np.concatenate([part, part[:, ::-1], part, part[:, ::-1]], 1)
    assert (window_pixels(plan, part, np.ones((h, w), bool)) == to_chip(mirrored, 32)).all()

def test_a_scene_that_is_smaller_than_a_window(tmp_path, capsys):
    path = write(tmp_path/'s.tif', np.full((3, 40, 50), 200, np.uint8), *UTM)
    scene = tag_scene(Colours(), path)
    assert 'less than a window' in capsys.readouterr().out
    assert len(scene.windows) == 1 and scene.tags.all() and np.isclose(scene.table().padded[0], 1 - 40*50/64**2)

def test_nodata(tmp_path, capsys):
    path, truth = plant(tmp_path/'s.tif', over=(0, 0))
    with rasterio.open(path) as f: pixels = f.read()
    pixels[:, :64] = 0 # the first row of windows is empty, of the next one's first window a quarter
    pixels[:, 64:80, :64] = 0
    ways = dict(undeclared=(pixels, {}), declared=(np.where(pixels, pixels, 255), dict(nodata=255)))
    for name, (some, how) in ways.items():
        scene = tag_scene(Colours(), write(tmp_path/f'{name}.tif', some, *UTM, **how))
        assert scene.about['empty'] == 7 and '7 empty' in capsys.readouterr().out
        assert list(scene.table().tags) == tags_of(truth[1:]) # the hole neither darkens nor brightens
        assert scene.nodata[0] == .25 and (scene.nodata[1:] == 0).all() and np.isnan(scene.cells[0]).all()
        assert np.isclose(scene.areas.attrs['total'], (28 - .25)*METRES**2/1e4, rtol=2e-3)
    deep = np.where(pixels, pixels.astype(np.uint16), np.uint16(65535))
    many = write(tmp_path/'many.tif', deep, *UTM) # undeclared as well
    assert tag_scene(Colours(), many, scale='0:255').about['empty'] == 7
    real = np.where(pixels, pixels, np.nan).astype(np.float32)
    assert tag_scene(Colours(), write(tmp_path/'nan.tif', real, *UTM), scale='0:255').about['empty'] == 7
    alpha = np.concatenate([np.where(pixels, pixels, 90), (pixels > 0).any(0, keepdims=True)*np.uint8(255)])
    from rasterio.enums import ColorInterp as C
    alpha = write(tmp_path/'alpha.tif', alpha, *UTM, colours=[C.red, C.green, C.blue, C.alpha], photometric='rgb')
    assert tag_scene(Colours(), alpha).about['empty'] == 7
    assert tag_scene(Colours(), tmp_path/'undeclared.tif', empty=.2).about['empty'] == 8

def test_bands_by_name_and_by_number(tmp_path):
    path, truth = plant(tmp_path/'s.tif', over=(0, 0))
    with rasterio.open(path) as f: red, green, blue = f.read()
    other = np.stack([blue, green, red, 255 - red])
    named = write(tmp_path/'named.tif', other, *UTM, names=['Blue', 'green', 'red', 'nir'])
    bare = write(tmp_path/'bare.tif', other, *UTM, photometric='minisblack')
    for file, bands in ((named, None), (named, 'red,green,blue'), (bare, '3,2,1'), (bare, [3, 2, 1])):
        assert (tag_scene(Colours(), file, bands=bands).tags == truth.reshape(-1, 3)).all()
    with pytest.raises(UserError, match='say which they are with `bands`'): tag_scene(Colours(), bare)
    with pytest.raises(UserError, match='`bands` nirr is no band .* did you mean nir'):
        tag_scene(Colours(), named, bands='nirr,green,blue')
    with pytest.raises(UserError, match='`bands` names 2 and the model takes 3'):
        tag_scene(Colours(), named, bands='1,2')

def test_values_unlike_the_training_chips(tmp_path, capsys):
    path, truth = plant(tmp_path/'s.tif', dtype=np.uint16)
    with pytest.raises(UserError, match='values of uint16, and the model was trained on 8 bits: give `scale`'):
        tag_scene(Colours(), path)
    for scale in ('percentile', '0:255', (0, 255), ((0, 0, 0), (255, 255, 255))):
        assert (tag_scene(Colours(), path, scale=scale).tags == truth.reshape(-1, 3)).all()
    assert 'WARNING' not in capsys.readouterr().out
    tag_scene(Colours(), path, scale='fixed') # of 65,535
    assert 'WARNING' in (said := capsys.readouterr().out) and 'nearly black' in said
    for wrong in ('5:1', 'abc', '1:2:3', 'nan:3'):
        with pytest.raises(UserError, match='`scale`.* is no range'): tag_scene(Colours(), path, scale=wrong)
    tagger = Colours()
    tagger.limits = [[0, 0, 0], [255, 255, 255]] # a model of many bits has its own range
    assert (tag_scene(tagger, path).tags == truth.reshape(-1, 3)).all()

def test_values_are_compared_with_those_of_the_training_chips(tmp_path, capsys):
    path, _ = plant(tmp_path/'s.tif')
    def said(low, high, **how):
        tagger, n = Colours(), len(VOCAB)
        tagger.facts = Colours.facts | dict(input=dict(values=dict(mean=[(low + high)/2]*n, p1=[low]*n, p99=[high]*n)))
        tag_scene(tagger, path, **how)
        return ' '.join(line for line in capsys.readouterr().out.splitlines() if 'WARNING' in line)
    assert not said(20, 220) and not said(30, 210) # about the planted ones: 40 and 200, and noise
    odd = said(20, 120) # half of the scene is brighter
    assert "unlike the training chips' (of 0 to 255): red 2" in odd and 'in training 20 to 120 with 70' in odd
    assert 'blue' in said(20, 220, scale='0:5000') # too dark, though within the range of photographs
    one = Colours()
    one.facts = Colours.facts | dict(input=dict(values=dict(mean=[120]*3, p1=[20]*3, p99=[220, 220, 120])))
    notes = ' '.join(plan_scene(one, path).notes)
    assert 'blue 20' in notes and 'red 20' not in notes

def test_the_ground_size_of_geotiff_chips(tmp_path):
    def chip(name, metres, n=40, crs='EPSG:32720'):
        place = rasterio.Affine(metres, 0, 5e5, 0, -metres, 9.6e6)
        return write(tmp_path/name, np.full((3, n, n + 2), 90, np.uint8), crs, place, tiled=False)
    a, b, other = chip('a.tif', 10), chip('b.tif', 10), chip('c.tif', 20)
    assert chip_ground([a, b]) == pytest.approx(400, rel=.01) and chip_ground([chip('d.tif', 20, 20)]) > 395
    assert chip_ground([a, other]) is None and chip_ground([a.with_suffix('.jpg')]) is None and chip_ground([]) is None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert chip_ground([a, chip('e.tif', 10, crs=None)]) is None

def test_another_resolution_is_said(tmp_path, capsys):
    def place(metres): return rasterio.Affine(metres, 0, 5e5, 0, -metres, 9e6)
    tagger = Colours()
    tagger.facts = dict(metres=256*3.7)
    path = write(tmp_path/'s.tif', np.full((3, 300, 300), 90, np.uint8), 'EPSG:32720', place(10))
    scene = tag_scene(tagger, path)
    assert scene.grid.window == (95, 95) and "pixels are 10 m, the training chips' 3.7 m" in capsys.readouterr().out
    coarse = write(tmp_path/'c.tif', np.full((3, 300, 300), 90, np.uint8), 'EPSG:32720', place(90))
    with pytest.raises(UserError, match='chip of 947 m would be 11 x 11'): tag_scene(tagger, coarse)
    assert tag_scene(tagger, coarse, metres=90*32).grid.window == (32, 32)
    tagger.facts = {}
    assert tag_scene(tagger, path).grid.window == (32, 32) and '`metres` does' in capsys.readouterr().out

def test_what_is_no_scene(tmp_path):
    grey = np.full((3, 100, 100), 90, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        bare = write(tmp_path/'bare.tif', grey, None, rasterio.Affine.identity())
        unplaced = write(tmp_path/'unplaced.tif', grey, 'EPSG:32720', rasterio.Affine.identity())
        nocrs = write(tmp_path/'nocrs.tif', grey, None, UTM[1])
    (tmp_path/'text.tif').write_text('no raster')
    away = write(tmp_path/'away.tif', grey, 'EPSG:4326', UTM[1])
    points = [rasterio.control.GroundControlPoint(row=r, col=c, x=c, y=-r) for r in (0, 9) for c in (0, 9)]
    with rasterio.open(tmp_path/'gcps.tif', 'w', driver='GTiff', height=9, width=9, count=3, dtype='uint8', gcps=points,
                       crs='EPSG:4326') as f: f.write(grey[:, :9, :9])
    for name, why in (('bare', 'no coordinate reference system'), ('unplaced', 'no geotransform'), ('gcps', 'gdalwarp'),
                      ('nocrs', 'gdal_edit.py -a_srs'), ('text', 'no raster that GDAL reads'), ('away', 'lies outside'),
                      ('awayy', 'no such file, did you mean away.tif')):
        with pytest.raises(UserError, match=why) as e: tag_scene(Colours(), tmp_path/f'{name}.tif')
        assert '\n' not in str(e.value)
    assert bare.exists() and unplaced.exists() and nocrs.exists() and away.exists()
    for metres in (-5., float('nan'), float('inf')):
        with pytest.raises(UserError, match='`metres` .* no ground size'):
            plan_scene(Colours(), plant(tmp_path/'s.tif')[0], metres=metres)

def test_outputs_are_checked_before_anything_is_read(tmp_path):
    path, _ = plant(tmp_path/'s.tif')
    (tmp_path/'there.csv').write_text('mine')
    for out, why in (('there.csv', 'exists: give `overwrite`'), ('a.shp', 'ends in none of'),
                     ('no/a.csv', 'there is no folder'), ('s.tif', 'the scene itself')):
        with pytest.raises(UserError, match=why): tag_scene(Stopped(0), path, [tmp_path/out])
    assert (tmp_path/'there.csv').read_text() == 'mine'
    tag_scene(Colours(), path, tmp_path/'there.csv', overwrite=True)
    assert (tmp_path/'there.csv').read_text().startswith('window,')
    assert [p.name for p in tmp_path.glob('.*')] == ['.there.csv.tagged'] # nothing half-written, no journal

def test_an_unreadable_block_is_named_and_the_rest_goes_on(tmp_path, capsys):
    path, truth = plant(tmp_path/'s.tif', over=(0, 0), compress='deflate', zlevel=9)
    import tifffile
    with tifffile.TiffFile(path) as f: offset = f.pages[0].dataoffsets[1 + f.pages[0].chunked[-2]]
    data = bytearray(path.read_bytes())
    data[offset:offset+200] = bytes(200)
    path.write_bytes(data)
    scene = tag_scene(Colours(), path, [tmp_path/'t.csv', tmp_path/'t.html'])
    said = capsys.readouterr().out
    assert scene.about['unreadable'] == 4 and '4 UNREADABLE, the first at row,column 128,128' in said
    bad = {(r, c) for r in (2, 3) for c in (2, 3)}
    kept = [i for i in range(35) if divmod(i, 7) not in bad]
    assert list(scene.windows) == kept and (scene.tags == truth.reshape(-1, 3)[kept]).all()

def test_it_goes_on_after_it_was_stopped(tmp_path, capsys):
    path, _ = plant(tmp_path/'s.tif', rows=9, blockxsize=16, blockysize=16)
    whole, out = tag_scene(Colours(), path, bs=4), tmp_path/'t.csv'
    # the first call asks what it says of noise
    with pytest.raises(KeyboardInterrupt): tag_scene(Stopped(6), path, [out], bs=4)
    assert not out.exists()
    with pytest.raises(UserError, match='stopped after .* windows .*give `resume`'):
        tag_scene(Colours(), path, [out], bs=4)
    rows = next(tmp_path.glob('.t.csv.tagging'))/'rows.bin'
    before = rows.stat().st_size
    with open(rows, 'ab') as f: f.write(b'torn') # the disk was full in the middle of a row
    other = Colours()
    other.vocab = ['a', 'b', 'c']
    with pytest.raises(UserError, match='with another vocab'): tag_scene(other, path, [out], resume=True)
    with pytest.raises(UserError, match='with another grid'):
        tag_scene(Colours(), path, [out], overlap=.5, resume=True)
    asked = Stopped(10**6)
    scene = tag_scene(asked, path, [out], bs=4, resume=True)
    assert before > 0 and 'going on after' in capsys.readouterr().out
    assert (scene.probs == whole.probs).all() and (scene.windows == whole.windows).all() # bit for bit
    assert tag_scene(Stopped(1), path, [out], resume=True) is None # all is there
    assert 'was tagged before' in capsys.readouterr().out
    with pytest.raises(UserError, match='exists: give `overwrite`'): # mine is not replaced by going on with nothing
        tag_scene(Stopped(0), path, [out, tmp_path/'more.csv'], resume=True)
    with pytest.raises(KeyboardInterrupt): tag_scene(Stopped(1), path, [tmp_path/'n.csv'], bs=4)
    assert [p.name for p in tmp_path.glob('.*')] == ['.t.csv.tagged'] # stopped before anything was tagged
    full = Stopped(10**6)
    tag_scene(full, path, [out], bs=4, overwrite=True)
    assert asked.left > full.left and not list(tmp_path.glob('*.tagging')) # less was done the second time

def test_a_full_disk(tmp_path, monkeypatch):
    path, truth = plant(tmp_path/'s.tif', rows=9, blockxsize=16, blockysize=16)
    out, begin = tmp_path/'t.csv', scene_jobs.Job.begin
    def full(job, *args):
        begin(job, *args)
        add = job.journal.add
        def write(rows):
            if len(kept_rows) == 2: job.journal.file = open('/dev/full', 'ab', buffering=0)
            kept_rows.append(1)
            add(rows)
        job.journal.add = write
    kept_rows = []
    monkeypatch.setattr(scene_jobs.Job, 'begin', full)
    with pytest.raises(UserError, match='No space left.* after [1-9].*`resume` goes on'):
        tag_scene(Colours(), path, [out], bs=4)
    monkeypatch.undo()
    assert not out.exists()
    scene = tag_scene(Colours(), path, [out], bs=4, resume=True)
    assert (scene.tags == truth.reshape(-1, 3)).all() and out.exists()

@pytest.mark.parametrize('block', [(128, 128), (512, 512), (1, 3000), (3000, 3000)])
@pytest.mark.parametrize('window', [(256, 256), (95, 90), (1900, 1900)])
def test_tiles_hold_every_window_once_and_little_memory(block, window):
    class Raster: width, height, dtype = 3000, 2500, 'uint16'
    Raster.block = block
    grid = make_grid(Raster, window, .5)
    plan = Plan(Raster, (1, 2, 3, 4), grid, None, 64, 3, 64, .9)
    assert (np.sort(np.concatenate(plan.tiles)) == np.arange(len(grid))).all()
    for tile in plan.tiles:
        boxes = grid.boxes(tile)
        assert ((boxes[:, :2] + boxes[:, 2:]).max(0) - boxes[:, :2].min(0)).prod()*8 < 2**27

def test_overlap_blends_on_cells_in_the_right_place(tmp_path):
    path, truth = plant(tmp_path/'s.tif', over=(0, 0))
    tag_scene(Colours(), path, [tmp_path/'t.tif'], overlap=.5)
    with rasterio.open(tmp_path/'t.tif') as f, rasterio.open(path) as g:
        probs = f.read()
        assert f.transform == rasterio.Affine(320, 0, 5e5, 0, -320, 9_640_000) and f.bounds == g.bounds
    with rasterio.open(path) as g: bright = g.read().reshape(3, 10, 32, 14, 32).mean((2, 4))/255
    windows = (bright[:, :-1, :-1] + bright[:, 1:, :-1] + bright[:, :-1, 1:] + bright[:, 1:, 1:])/4
    for r, c in ((0, 0), (3, 5), (9, 13)): # the mean of the windows that cover the cell
        over = windows[:, max(0, r-1):r+1, max(0, c-1):c+1].mean((1, 2))
        assert np.allclose(probs[:, r, c], over, atol=.004) # a chip has whole numbers
    with pytest.raises(UserError, match='`overlap` 1 is not between'): tag_scene(Colours(), path, overlap=1)

def test_grid_of_one_window():
    grid = Grid((10, 10), (64, 64), (64, 64))
    assert len(grid) == 1 and grid.boxes([0]).tolist() == [[0, 0, 10, 10]] and grid.cells == (1, 1)

def test_areas_are_measured_on_the_ellipsoid(tmp_path):
    from pyproj import Geod
    for place in (UTM, DEGREES, ('EPSG:3857', rasterio.Affine(20, 0, -6.7e6, 0, -20, 6e6)), ROTATED):
        raster = open_raster(write(tmp_path/'s.tif', np.ones((3, 500, 700), np.uint8), *place))
        area = cell_areas(raster, make_grid(raster, (64, 60)))
        lon, lat = raster.lonlat(np.r_[0:700:50, [700]*10, 700:0:-50, [0]*10],
                                 np.r_[[0]*14, 0:500:50, [500]*14, 500:0:-50])
        assert np.isclose(area.sum(), abs(Geod(ellps='WGS84').polygon_area_perimeter(lon, lat)[0])/1e4, rtol=1e-3)

def test_area_corrected_for_errors():
    assert np.isnan(true_share(.3, 100, (0, 3, 0, 50))).all() # no chip has the tag
    best, low, high = true_share(.9*.3 + .1*.7, 2000, (900, 100, 100, 900))
    assert abs(best - .3) < .01 and low < .3 < high and high - low < .1
    wide = true_share(.9*.3 + .1*.7, 2000, (9, 1, 1, 9))
    assert wide[2] - wide[1] > 2*(high - low) # fewer validation chips, less known
    poor = true_share(.52, 2000, (55, 50, 45, 50))
    assert poor[1] < .1 and poor[2] > .9 # hardly better than chance: anything is possible
    for blind in ((50, 50, 50, 50), (9, 1, 0, 99), (90, 0, 1, 9)): assert np.isnan(true_share(.5, 2000, blind)).all()

def test_areas_of_a_scene(tmp_path):
    path, truth = plant(tmp_path/'s.tif', over=(0, 0))
    areas = tag_scene(Colours(), path).areas
    assert np.allclose(areas.hectares, truth.sum((0, 1))*METRES**2/1e4, rtol=2e-3)
    assert (areas.low <= areas.corrected).all() and (areas.corrected <= areas.high).all()
    assert (areas.recall == 40/45).all() and (areas.precision == .8).all()
    unknown = Colours()
    unknown.facts = dict(metres=METRES)
    assert validation_counts(unknown) == {} and tag_scene(unknown, path).areas.corrected.isna().all()
