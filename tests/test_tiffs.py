"Four bands of 16 bits, written as TIFFs and looked at."
import numpy as np
import pytest
import tifffile
from PIL import Image
from planet.cli import UserError
from planet.tiffs import LIMITS, open_tif, tif_false_colour, tif_rgb

@pytest.fixture
def bands(): return np.random.default_rng(0).integers(0, 65536, (24, 32, 4)).astype(np.uint16)

@pytest.mark.parametrize('how', [dict(photometric='minisblack', planarconfig='contig'), dict(photometric='rgb',
    planarconfig='contig'),
    dict(photometric='rgb', extrasamples=['unassalpha'], planarconfig='contig'),
    dict(photometric='minisblack', planarconfig='contig', compression='zlib'),
    dict(photometric='minisblack', planarconfig='contig', byteorder='>'),
    dict(photometric='minisblack', planarconfig='contig', tile=(16, 16))])
def test_all_bits_of_all_bands_where_pillow_loses_them(tmp_path, bands, how):
    tifffile.imwrite(tmp_path/'a.tif', bands, **how)
    read = open_tif(tmp_path/'a.tif')
    assert read.dtype == np.uint16 and (read == bands).all()
    try: pillow = np.asarray(Image.open(tmp_path/'a.tif'))
    except (OSError, ValueError): return # it refuses
    assert pillow.dtype == np.uint8 # or it is left with half of the bits

def test_a_plane_a_band(tmp_path, bands):
    tifffile.imwrite(tmp_path/'a.tif', bands.transpose(2, 0, 1), photometric='minisblack', planarconfig='separate')
    assert (open_tif(tmp_path/'a.tif') == bands).all()

def test_colours_are_where_they_belong(tmp_path):
    black, white = LIMITS
    for band, rgb, false in ((0, 2, None), (1, 1, 2), (2, 0, 1), (3, None, 0)): # blue, green, red, near infrared
        tif = np.tile(black, (8, 8, 1)).astype(np.uint16)
        tif[..., band] = white[band]
        tifffile.imwrite(tmp_path/'a.tif', tif, photometric='minisblack', planarconfig='contig')
        for view, where in ((tif_rgb, rgb), (tif_false_colour, false)):
            picture = view(tmp_path/'a.tif')
            assert picture.dtype == np.uint8 and picture.shape == (8, 8, 3)
            assert picture.reshape(-1, 3).mean(0).tolist() == [255*(i == where) for i in range(3)]
            assert (picture == view(tif)).all() # of the array as of the file

def test_the_same_limits_for_all_chips(bands):
    half = LIMITS.mean(0).round().astype(np.uint16)
    plain, bright = np.tile(half, (8, 8, 1)), np.tile(LIMITS[1].astype(np.uint16), (8, 8, 1))
    assert abs(tif_rgb(plain).astype(int) - 128).max() <= 1 and (tif_rgb(bright) == 255).all()
    mixed = np.concatenate([plain, bright])
    assert (tif_rgb(mixed)[:8] == tif_rgb(plain)).all() # what else is on a chip changes nothing
    assert (tif_rgb(bands, [[0]*4, [65535]*4])[..., ::-1] == np.round(bands[..., :3]/257)).mean() > .99

def test_a_chips_own_range():
    tif = np.zeros((10, 10, 4), np.uint16) + np.array([500, 300, 200, 900], np.uint16)
    tif[5:] += np.array([10, 100, 20, 300], np.uint16)
    own = tif_rgb(tif, None)
    assert (own[:5] == 0).all()
    assert (own[5:, :, 1] == 255).all() # each band begins at its own dark, the widest range fills up
    assert (own[5:, :, 0] == 51).all() and (own[5:, :, 2] == 26).all() # and the others keep their share of it
    tif[0] = 0 # outside the scene
    assert (tif_rgb(tif, None)[5:, :, 1] == 255).all()
    assert (tif_rgb(np.full((4, 4, 4), 3000, np.uint16), None) == 0).all()
    assert (tif_rgb(np.zeros((4, 4, 4), np.uint16), None) == 0).all()

@pytest.mark.parametrize('wrong', [np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.uint16), np.zeros((8, 8),
    np.uint16), np.zeros((8, 8, 4), np.float32)])
def test_other_tiffs_are_refused(tmp_path, wrong):
    tifffile.imwrite(tmp_path/'a.tif', wrong, photometric='minisblack')
    with pytest.raises(UserError,
        match=r'a.tif has the shape .*\(height, width, 4\) in uint16') as e: tif_rgb(tmp_path/'a.tif')
    assert '\n' not in str(e.value)

@pytest.mark.parametrize('content', [b'', b'no TIFF', b'II*\0\x08\0\0\0', 'cut'])
def test_a_broken_file(tmp_path, bands, content):
    path = tmp_path/'a.tif'
    if content == 'cut':
        tifffile.imwrite(path, bands, photometric='minisblack', planarconfig='contig')
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(UserError, match='a.tif cannot be read as a TIFF') as e: open_tif(path)
    assert '\n' not in str(e.value)

def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match='cannot be read'): open_tif(tmp_path/'none.tif')
