"The HTML map of a scene: its numbers are the scene's, it fetches nothing, and it works in a real browser."
import base64
import io
import json
import re
import shutil
from dataclasses import replace
from importlib.util import find_spec
import numpy as np
import pytest
from planted import ROTATED, UTM, VOCAB, Colours, plant, write  # first: it skips without `geo`

# isort: split
import rasterio
from affine import Affine
from PIL import Image
from planet.rasters import EMPTY
from planet.scenes import tag_scene
from planet.tag_map import colours, map_page

SOUTH_UP = 'EPSG:32720', Affine(10, 0, 5e5, 0, 10, 9_640_000)
MIRRORED = 'EPSG:32720', Affine(-10, 0, 5e5, 0, -10, 9_640_000)
OVER_180 = (('EPSG:4326', Affine(1e-4, 0, 179.98, 0, -1e-4, -16.9)),
            ('EPSG:32701', Affine(10, 0, 179_000, 0, -10, 8_126_000)))

@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    return tag_scene(Colours(), plant(tmp_path_factory.mktemp('scene')/'a "<b>@DATA@.tif', rows=20, columns=30)[0])

@pytest.fixture(scope='module')
def page(scene): return map_page(scene)

def data_of(page): return json.loads(re.search(r'^const d = (.*);$', page, re.M)[1])

def test_the_numbers_are_the_scenes(scene, page):
    d = data_of(page)
    order = [VOCAB.index(t['name']) for t in d['tags']]
    assert sorted(scene.areas.hectares.iloc[order], reverse=True) == list(scene.areas.hectares.iloc[order])
    probs = np.frombuffer(base64.b64decode(d['probs']), np.uint8).reshape(3, d['rows'], d['cols'])
    assert np.allclose(probs/250, np.moveaxis(scene.cells[..., order], 2, 0), atol=.0021)
    given = np.unpackbits(np.frombuffer(base64.b64decode(d['given']), np.uint8))[:probs.size].reshape(probs.shape)
    assert (given == np.moveaxis(scene.cell_tags[..., order], 2, 0)).all()
    rows, columns = scene.grid.cells
    assert np.allclose([d['cell'][0]*columns, d['cell'][1]*rows], [31*64/(30*64+30), 21*64/(20*64+20)])
    lon, lat = scene.raster.lonlat([0, scene.raster.width], [0, scene.raster.height])
    for k in (0, 1): assert np.allclose(d['corners'][2*k], [lon[k], lat[k]], atol=1e-6)
    for tag, r in scene.areas.iterrows():
        assert tag in page and f'{r.hectares:,.0f}' in page and f'{r.low:,.0f}' in page

def test_the_rule_is_said_in_words(scene):
    from planet.rules import AboveThreshold, ExactlyOne
    for rule, said in ((AboveThreshold(.2), 'every tag with a probability above 0.2.'),
                       (ExactlyOne(AboveThreshold(.2), (0, 1)), 'above 0.2, exactly one of the exclusive tags.')):
        assert said in map_page(replace(scene, about=scene.about | dict(rule=str(rule))))

def test_nothing_is_fetched_and_names_are_only_text(page):
    assert not re.search(r'https?://|<link[^>]*href="(?!data:)|@import|url\((?!data)|<b>@', page)
    assert "default-src 'none'" in page and '&lt;b&gt;@DATA@.tif' in page
    assert page.count('<script>') == 1 and len(data_of(page)['tags']) == 3

def test_nodata_unreadable_and_unknown_errors_are_said(scene):
    cells = scene.cells.copy()
    cells[0] = np.nan
    areas = scene.areas.assign(positives=0, corrected=np.nan, low=np.nan, high=np.nan)
    page = map_page(replace(scene, cells=cells, areas=areas, about=scene.about | dict(unreadable=4, empty=31)))
    d = data_of(page)
    probs = np.frombuffer(base64.b64decode(d['probs']), np.uint8).reshape(3, d['rows'], d['cols'])
    assert (probs[:, 0] == 255).all() and (probs[:, 1:] <= 250).all()
    assert '4 windows could not be read' in page and '31 without data' in page and 'not corrected' in page
    assert 'It assumes that' not in page and 'It assumes that' in map_page(scene)

def test_what_holds_no_data_is_grey_in_the_picture(tmp_path):
    path, _ = plant(tmp_path/'s.tif', dtype=np.uint16)
    with rasterio.open(path) as f: pixels = f.read()
    pixels[:, :128] = 65535 # above the range
    page = map_page(tag_scene(Colours(), write(tmp_path/'n.tif', pixels, *UTM, nodata=65535), scale='0:255'))
    picture = Image.open(io.BytesIO(base64.b64decode(re.search('image/jpeg;base64,([^"]+)', page)[1])))
    assert np.abs(np.asarray(picture).astype(int)[:100] - EMPTY).max() <= 2 and 'plain grey' in page

def test_a_turned_scene_and_values_of_many_bits(tmp_path):
    path, _ = plant(tmp_path/'s.tif', ROTATED, dtype=np.uint16)
    page = map_page(tag_scene(Colours(), path, scale='0:255', overlap=.5))
    assert 'north is not up' in page and 'Windows overlap' in page

@pytest.mark.parametrize('place,turned', [(UTM, False), (SOUTH_UP, True), (MIRRORED, True)])
def test_it_is_said_where_north_is_not_up(tmp_path, place, turned):
    page = map_page(tag_scene(Colours(), plant(tmp_path/'s.tif', place)[0]))
    assert ('north is not up' in page) == turned

@pytest.mark.parametrize('place', OVER_180, ids=['degrees', 'utm'])
def test_a_scene_over_the_antimeridian(tmp_path, place):
    scene = tag_scene(Colours(), plant(tmp_path/'s.tif', place)[0])
    lon = np.array(data_of(map_page(scene))['corners'])[:, 0] # the page interpolates between them
    assert np.ptp(lon) < .1 and lon.min() < 180 < lon.max()
    seen = scene.table().lon
    assert (seen > 179.9).any() and (seen < -179.9).any() and seen.abs().between(179.9, 180).all()

def test_many_cells_are_drawn_as_fewer(scene, monkeypatch):
    from planet import tag_map
    monkeypatch.setattr(tag_map, 'MOST', 21*31*3/4)
    d = data_of(page := map_page(scene))
    assert (d['rows'], d['cols']) == (11, 16) and '2 x 2 cells are drawn as one' in page
    tag = VOCAB.index(d['tags'][0]['name'])
    probs = np.frombuffer(base64.b64decode(d['probs']), np.uint8).reshape(3, 11, 16)
    assert np.isclose(probs[0, 1, 1]/250, scene.cells[2:4, 2:4, tag].mean(), atol=.003)
    assert np.isclose(probs[0, 10, 15]/250, scene.cells[20, 30, tag], atol=.003) # the odd one at the corner

def test_colours_differ(): assert len(set(colours(60))) == 60

@pytest.mark.parametrize('width', [390, 1280])
def test_in_a_browser(scene, page, tmp_path, width):
    if find_spec('playwright') is None: pytest.skip('needs playwright')
    if not (chromium := shutil.which('chromium') or shutil.which('google-chrome')): pytest.skip('needs a Chromium')
    from playwright.sync_api import sync_playwright
    (tmp_path/'map.html').write_text(page)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        view = browser.new_page(viewport=dict(width=width, height=800))
        asked, errors = [], []
        view.on('request', lambda r: asked.append(r.url))
        view.on('pageerror', lambda e: errors.append(str(e)))
        view.goto((tmp_path/'map.html').as_uri())
        frame, d = view.locator('#frame'), data_of(page)
        frame.scroll_into_view_if_needed()
        box = frame.bounding_box()
        assert abs(box['width']/box['height'] - (30*64+30)/(20*64+20)) < .02 # as on the ground
        row, column = 13, 22
        view.mouse.move(box['x'] + (column + .5)*d['cell'][0]*box['width'],
                        box['y'] + (row + .5)*d['cell'][1]*box['height'])
        said = view.locator('#tip li').all_inner_texts()
        said = [s.split()[-2:] for s in said]
        assert np.allclose([float(v) for _, v in said], sorted(scene.cells[row, column])[::-1], atol=.0075)
        assert all(abs(scene.cells[row, column, VOCAB.index(t)] - float(v)) < .0075 for t, v in said)
        assert view.locator('#tip li.yes').count() == scene.cell_tags[row, column].sum()
        def seen(): # how much of the canvas is coloured
            return view.evaluate("""() => { const c = document.getElementById('over');
                const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
                let n = 0; for (let i = 3; i < p.length; i += 4) n += p[i] > 0; return n/(p.length/4); }""")
        view.locator('#none').click()
        assert seen() < .02 # the frame of the window under the pointer
        view.locator('#tags input').nth(1).check()
        assert seen() > .9
        view.locator('#only').check()
        given = scene.cell_tags[..., VOCAB.index(d['tags'][1]['name'])].mean()
        assert abs(seen() - given) < .05
        assert view.evaluate('document.documentElement.scrollWidth') <= width
        assert not errors and all(u.startswith(('file:', 'data:')) for u in asked)
        browser.close()
