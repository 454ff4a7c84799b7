"The page of a tagger: what an upload may be, what the rule did, and a real browser that uploads and clicks."
import shutil
import struct
import zlib
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from planet.cli import UserError
from planet.explain import Limits, attention_html, chip_html, read_picture, rule_said, scene_html, tag_picture
from planet.rasters import EMPTY
from planet.rules import AboveThreshold, BestExpected

VOCAB = ['clear', 'cloudy', 'haze', 'partly_cloudy', 'primary', 'road', 'water', '<b>odd</b>']

class Member:
    "A small network, as `planet.inference.Network` has one."
    device = torch.device('cpu')
    def __init__(self, bands=3):
        torch.manual_seed(0)
        def layer(a, b): return torch.nn.Sequential(torch.nn.Conv2d(a, b, 3, stride=2, padding=1), torch.nn.ReLU())
        head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, len(VOCAB)))
        self.model = torch.nn.Sequential(torch.nn.Sequential(layer(bands, 8), layer(8, 8)), head).eval()
        self.mean, self.std = torch.zeros(1, bands, 1, 1), torch.ones(1, bands, 1, 1)
    @torch.no_grad()
    def __call__(self, x): return self.model(x.float()/255)

def made_tagger(rule=None, bands=('red', 'green', 'blue'), limits=None, pixels=64):
    "A real `Tagger` around a small network."
    from planet.inference import Tagger
    rule = rule or AboveThreshold(.2)
    facts = dict(vocab=VOCAB, exclusive=VOCAB[:4], bs=16, rule=rule.facts(), activation={}, warnings=['drawn chips'],
                 input=dict(size=32, bands=list(bands), limits=limits, pixels=[pixels, pixels]),
                 members=[dict(settings={}, mean=[0]*len(bands), std=[1]*len(bands))], trained_on=dict(valid=7),
                 headline=dict(label='F2 at 0.2', value=.9, interval=[.85, .95]))
    return Tagger(facts, [Member(len(bands))])

@pytest.fixture
def tagger(): return made_tagger()

def save(path, width=64, height=64, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path

# ---- what an upload may be

def test_limits_of_an_upload(tmp_path):
    chip = save(tmp_path/'chip.png')
    assert read_picture(chip).shape == (64, 64, 3)
    for limits, said in ((Limits(megabytes=.001), 'more than 0.001 MB'), (Limits(megapixels=.001), '64 x 64 pixels')):
        with pytest.raises(UserError, match=said): read_picture(chip, limits)

def test_a_bomb_is_not_decoded(tmp_path, monkeypatch):
    data = bytearray(save(tmp_path/'bomb.png').read_bytes())
    data[16:24] = struct.pack('>II', 20_000, 20_000) # width and height in a PNG's header
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    (bomb := tmp_path/'bomb.png').write_bytes(data)
    monkeypatch.setattr(Image.Image, 'load', lambda self: pytest.fail('it was decoded'))
    with pytest.raises(UserError, match='bomb.png has too many pixels|bomb.png has 20,000 x 20,000 pixels'):
        read_picture(bomb)

@pytest.mark.parametrize('content,said', [(b'no picture', 'no picture'), (b'', 'no picture'), ('cut', 'truncated'),
                                          ('tif', '4 bands')])
def test_what_is_no_picture(tmp_path, content, said):
    path = tmp_path/'a.jpg'
    if content == 'tif': tifffile.imwrite(path, np.zeros((9, 9, 4), np.uint16), planarconfig='contig')
    elif content == 'cut': path.write_bytes(save(tmp_path/'whole.jpg').read_bytes()[:800])
    else: path.write_bytes(content)
    with pytest.raises(UserError, match=said) as e: read_picture(path)
    assert str(tmp_path) not in str(e.value) # a sender is told no path of the server

# ---- tags and what the rule did

def test_a_chip_is_tagged_as_from_its_file(tmp_path, tagger):
    chip = save(tmp_path/'chip.png')
    item = tag_picture(tagger, chip)
    want = tagger.probabilities(tagger.open(chip)[None])
    assert not item.is_scene and torch.equal(item.probs, want)
    html = chip_html(tagger, item)
    assert '<b>odd</b>' not in html and html.count('<li') == len(VOCAB) and 'threshold 0.20' in html

def test_a_scene_is_cut_into_windows_of_a_chips_size(tmp_path, tagger):
    scene = save(tmp_path/'scene.png', 200, 140)
    item = tag_picture(tagger, scene)
    assert item.window == 64 and len(item.places) == 4*3 and item.places[-1] == (140-64, 200-64)
    whole = np.asarray(Image.open(scene))
    part = tagger.open(np.ascontiguousarray(whole[38:102, 45:109]))
    assert (38, 45) in item.places and torch.allclose(item.probs[item.places.index((38, 45))],
                                                      tagger.probabilities(part[None])[0], atol=1e-6)
    assert '12 windows of 64 x 64 pixels' in scene_html(tagger, item) and 'in each window' in attention_html(
        tagger, item, 'road')
    with pytest.raises(UserError, match='12 windows .* more than 9'): tag_picture(tagger, scene, Limits(windows=9))

def test_bands_of_16_bits(tmp_path):
    limits = [[0]*4, [1000]*4, [2, 1, 0, 3]]
    tagger = made_tagger(bands=('red', 'green', 'blue', 'nir'), limits=limits)
    pixels = np.zeros((64, 64, 4), np.uint16)
    pixels[..., 3] = 1000
    tifffile.imwrite(tmp_path/'a.tif', pixels, photometric='minisblack', planarconfig='contig')
    item = tag_picture(tagger, tmp_path/'a.tif')
    assert item.picture[5, 5].tolist() == [255, 0, 0] and item.pixels[0, :, 5, 5].tolist() == [0, 0, 0, 255]
    with pytest.raises(UserError, match='chip.png is not what was trained on'):
        tag_picture(tagger, save(tmp_path/'chip.png'))

def test_what_holds_no_data_is_grey_in_a_scene(tmp_path):
    tagger = made_tagger(limits=[[0]*3, [1000]*3, [0, 1, 2]])
    pixels = np.full((64, 200, 3), 500, np.uint16)
    pixels[:, :50] = 65535 # above the range
    tifffile.imwrite(tmp_path/'a.tif', pixels, photometric='rgb', extratags=[(42113, 2, 6, '65535', True)])
    item = tag_picture(tagger, tmp_path/'a.tif')
    assert item.picture[5, 5].tolist() == [EMPTY]*3 and item.picture[5, 60].tolist() == [128]*3
    assert not item.empty.any() # each window holds some

def test_windows_without_data_are_not_counted(tmp_path, tagger):
    pixels = np.full((64, 256, 3), 90, np.uint8)
    pixels[:, 64:128] = 0
    Image.fromarray(pixels).save(tmp_path/'a.png')
    item = tag_picture(tagger, tmp_path/'a.png')
    assert item.empty.tolist() == [False, True, False, False] and item.picture[5, 70].tolist() == [EMPTY]*3
    assert '3 windows of 64 x 64 pixels, and 1 without data.' in scene_html(tagger, item)
    assert 'The probability of primary in each window, 0.00 to' in attention_html(tagger, item, 'primary')

def test_what_the_rule_did():
    probs = torch.tensor([.85, .01, .21, .1, .95, .19, .02, 0])
    plain = ' '.join(rule_said(made_tagger(), probs))
    assert 'every tag above 0.2' in plain and 'would choose the same' not in plain
    assert 'the rule chose clear and haze (thresholds look at each tag alone)' in plain
    best = made_tagger(BestExpected((0, 1, 2, 3)))
    assert 'It left out water (0.21)' in (said := ' '.join(rule_said(best, torch.tensor([0, 0, 1, 0, 0, .17, .21, 0]))))
    assert 'a chip has exactly one: haze' in said
    assert 'F2 rewards two where it is undecided' in ' '.join(rule_said(best, probs))
    tuned = ' '.join(rule_said(made_tagger(AboveThreshold([.5, .5, .1, .5, .5, .15, .5, .5])), probs))
    assert 'It added road (0.19)' in tuned

def test_where_the_network_looked(tmp_path, tagger):
    item = tag_picture(tagger, save(tmp_path/'chip.png'))
    assert attention_html(tagger, item, 'primary').count('<img') == 2
    tagger.networks = [lambda x: None] # of another engine
    assert 'engine torch alone' in attention_html(tagger, item, 'primary')

# ---- in a browser

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')

@pytest.fixture
def app():
    pytest.importorskip('gradio', reason='gradio, of the extra `app`, serves the page')
    from planet import app
    return app

def test_the_page_listens_to_this_machine_alone(app, tagger, capsys):
    page = app.serve(tagger, port=0 or free_port(), block=False)
    try:
        assert page.server_name == '127.0.0.1' and not page.share
        with pytest.raises(UserError, match='`port` .* is taken'): app.serve(tagger, port=page.server_port, block=False)
    finally: page.close(verbose=False)
    assert 'WARNING' not in capsys.readouterr().out

@pytest.mark.parametrize('host,port,said', [
    ('127.0.0.1', 70_000, '`port` 70000 is outside'), ('127.0.0.1', -1, '`port` -1 is outside'),
    ('192.0.2.1', 7860, '`host` 192.0.2.1 is no address of this machine'),
    ('no such host', 7860, '`host` no such host is no address')])
def test_an_address_that_cannot_be_served_at(app, tagger, host, port, said):
    with pytest.raises(UserError, match=said): app.serve(tagger, host, port, block=False)

def test_limits_are_given_by_name(app):
    assert app.upload_limits('') == Limits() and app.upload_limits('megabytes=.5,files=3') == Limits(.5, files=3)
    for given, said in (('mb=3', 'mb is no limit: megabytes=32'), ('files=0', 'above 0'), ('windows=1e3', 'above 0'),
                        ('megapixels=inf', 'above 0')):
        with pytest.raises(UserError, match=said): app.upload_limits(given)

def free_port():
    import socket
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

@pytest.fixture
def browser():
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright drives the browser')
    if CHROMIUM is None: pytest.skip('there is no Chromium to open the page in')
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()

@pytest.mark.parametrize('width', [1100, 390])
def test_upload_and_click_in_a_browser(tmp_path, app, browser, tagger, width):
    running = app.serve(made_tagger(BestExpected((0, 1, 2, 3))), port=free_port(), block=False)
    try:
        page = browser.new_page(viewport=dict(width=width, height=900))
        asked, faults = [], []
        page.on('request', lambda r: asked.append(r.url))
        page.on('pageerror', lambda e: faults.append(str(e)))
        address = f'http://127.0.0.1:{running.server_port}/'
        page.goto(address)
        (tmp_path/'notes.png').write_bytes(b'no picture')
        files = [save(tmp_path/'chip <i>.png'), save(tmp_path/'scene.png', 200, 140), tmp_path/'notes.png']
        page.locator('input[type=file]').first.set_input_files(list(map(str, files)))
        page.wait_for_selector('article.scene')
        assert page.locator('article.chip').count() == 2 and page.locator('.results i img, .results h3 i').count() == 0
        assert page.locator('.refused').inner_text() == 'notes.png is no picture'
        assert 'windows of 64 x 64 pixels' in page.locator('article.scene').inner_text()
        assert page.locator('article.chip .said').first.inner_text().startswith('The rule: the tag set of highest')
        page.wait_for_selector('.pair img')
        page.get_by_label('tag', exact=True).click()
        page.get_by_role('option', name='road').click()
        page.wait_for_function("document.querySelector('.results .pair').parentElement.innerText.includes('road')")
        wide = page.evaluate('document.documentElement.scrollWidth')
        assert wide <= width, f'the page is {wide} pixels wide'
        page.screenshot(path=str(tmp_path/'page.png'), full_page=True)
        others = [u for u in asked if not u.startswith((address, 'data:', 'blob:', address.replace('http', 'ws')))]
        assert not others and not faults
    finally: running.close(verbose=False)
