"Image files of every kind are decoded in one way, whatever they are given as, or refused with the reason."
import io
import os
import struct
import zlib
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps
from planet import images
from planet.chips import from_folder
from planet.cli import UserError
from planet.images import check_chips, open_chip, read_info
from planet.store import ChipStore

def noise(shape=(40, 40, 3), seed=0): return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)
def ramp(): return np.linspace(0, 65535, 64*64).round().astype(np.uint16).reshape(64, 64)
def mean(chip): return chip.float().mean((1, 2)).tolist()

# ---- upright, as EXIF says

@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('form', ['jpg', 'png', 'tif', 'webp'])
def test_chips_are_upright_as_exif_says(tmp_path, form, turn):
    "As other programs show them; the training of rotated chips would agree with no map."
    quarters = np.zeros((64, 64, 3), np.uint8)
    quarters[:32, :32], quarters[:32, 32:], quarters[32:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif, path = Image.Exif(), tmp_path/f'a.{form}'
    exif[0x0112] = turn
    Image.fromarray(quarters).save(path, exif=exif, quality=95)
    want = torch.from_numpy(np.array(ImageOps.exif_transpose(Image.open(path)).convert('RGB'))).permute(2, 0, 1)
    with Image.open(path) as im: as_image = open_chip(im, 64)
    for got in (open_chip(path, 64), open_chip(path.read_bytes(), 64), as_image):
        assert (got.int() - want.int()).abs().max() < 3

def test_arrays_of_either_byte_order():
    assert (open_chip(ramp().astype('>u2'), 64) == open_chip(ramp(), 64)).all()
    with pytest.raises(ValueError, match='complex128 is no image'): open_chip(noise().astype(complex), 64)

def test_damaged_exif_is_no_fault(tmp_path):
    Image.fromarray(noise()).save(tmp_path/'a.jpg', exif=b'Exif\0\0garbage that is no TIFF')
    assert not read_info(tmp_path/'a.jpg').bad

# ---- 16 bits, floats, other modes

@pytest.mark.parametrize('how', ['png', 'tif', 'big endian', 'array', 'tensor'])
def test_grey_of_16_bits_is_scaled(tmp_path, how):
    "257 divides 65535 into 255; a 16-bit PNG used to train as pure white."
    path = tmp_path/('a.png' if how == 'png' else 'a.tif')
    if how == 'png': Image.fromarray(ramp()).save(path)
    elif how in ('tif', 'big endian'): tifffile.imwrite(path, ramp(), byteorder='>' if how == 'big endian' else '<')
    chip = {'array': ramp(), 'tensor': torch.from_numpy(ramp().astype(np.float32)/65535)[None]}.get(how, path)
    got = open_chip(chip, 64)
    want = np.round(ramp()/257)
    assert got.shape == (3, 64, 64) and got.min() == 0 and got.max() == 255
    assert np.abs(got.numpy() - want).max() <= (1 if how == 'tensor' else 0)

@pytest.mark.parametrize('mode,words', [('F', 'mode F: 32-bit floats without a stated range'),
    ('I', 'mode I: 32-bit integers'), ('LAB', 'mode LAB: not RGB')])
def test_modes_without_a_known_range_are_refused(tmp_path, mode, words):
    for n in 'ab': Image.fromarray(noise()).save(tmp_path/f'{n}.png')
    im = Image.fromarray(noise()).convert('RGB')
    if mode == 'LAB':
        from PIL import ImageCms
        rgb, lab = map(ImageCms.createProfile, ('sRGB', 'LAB'))
        im = ImageCms.applyTransform(im, ImageCms.buildTransform(rgb, lab, 'RGB', 'LAB'))
    else: im = im.convert(mode)
    im.save(tmp_path/'c.tif')
    assert words in read_info(tmp_path/'c.tif').bad
    with pytest.raises(UserError, match=f'c.tif cannot be read: {words}'): open_chip(tmp_path/'c.tif', 32)
    (tmp_path/'labels.csv').write_text('image_name,tags\na,x\nb,y\nc,x\n')
    chips = from_folder(tmp_path)
    store = ChipStore(chips.paths, 32)
    todo = 'save them as RGB or grey of 8 bits, or leave them out with `skip_bad`'
    with pytest.raises(UserError, match=rf'1 of 3 chips cannot be read: c \(mode .*; {todo}'):
        check_chips(chips, store)
    assert check_chips(chips, store, skip_bad=True).left_out == ['c']

@pytest.mark.parametrize('pixels,kwargs,words', [
    (noise((3, 40, 48)), dict(photometric='minisblack'), 'mode of 3 pages, of which one would be read'),
    (noise((40, 48, 13)), dict(photometric='minisblack'), 'mode of 40 pages'),
    (noise((40, 48)).astype(np.int8), {}, 'mode of signed integers'),
    (ramp(), dict(photometric='miniswhite'), 'mode of 16 bits with white as 0'),
    (noise().astype(np.float32), dict(photometric='rgb'), 'mode of 3 bands of float32'),
    (noise((40, 48)).astype(np.float16), {}, 'mode of 1 bands of float16')])
def test_tiffs_that_pillow_reads_in_part_or_wrongly_are_refused(tmp_path, pixels, kwargs, words):
    tifffile.imwrite(tmp_path/'a.tif', pixels, **kwargs)
    assert words in read_info(tmp_path/'a.tif').bad

def test_overviews_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path/'a.tif') as out:
        out.write(noise(), photometric='rgb', subifds=0)
        out.write(noise((20, 20, 3)), photometric='rgb', subfiletype=1)
    assert (open_chip(tmp_path/'a.tif', 40).permute(1, 2, 0).numpy() == noise()).all()

def test_12_bits_in_16_are_named(tmp_path):
    for i, n in enumerate('ab'): Image.fromarray(noise((40, 40), i).astype(np.uint16)*16).save(tmp_path/f'{n}.png')
    (tmp_path/'labels.csv').write_text('image_name,tags\na,x\nb,y\n')
    chips = from_folder(tmp_path)
    store = ChipStore(chips.paths, 32)
    told = 'no value above 16 of 255 in any image, as where 12 bits are stored in 16; scale them to 8 bits, or state'
    assert any(told in note for note in check_chips(chips, store).notes)
    chips = from_folder(tmp_path, limits=[[0], [4095]]) # as advised
    store = ChipStore(chips.paths, 40, limits=chips.limits)
    assert store.pixels.max() > 250 and not any('no value' in note for note in check_chips(chips, store).notes)

def test_pngs_of_16_bits_a_band_have_no_stated_range(tmp_path):
    "Pillow reads 8 of the 16 bits."
    rows = b''.join(b'\0' + bytes(6*4) for _ in range(4))
    chunks = (b'IHDR', struct.pack('>IIBBBBB', 4, 4, 16, 2, 0, 0, 0)), (b'IDAT', zlib.compress(rows)), (b'IEND', b'')
    (tmp_path/'a.png').write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind+data)) for kind, data in chunks))
    assert not read_info(tmp_path/'a.png').bad
    with pytest.raises(UserError, match='16 bits a band in a PNG, of which 8 are read: a TIFF keeps them'):
        open_chip(tmp_path/'a.png', 4, limits=[[0]*3, [4095]*3])

@pytest.mark.parametrize('text,words', [('version https://git-lfs.github.com/spec/v1\noid', 'a pointer of Git LFS'),
                                        ('<!DOCTYPE html><html>404', 'a web page'), ('PK', 'no image')])
def test_other_files_are_called_what_they_are(tmp_path, text, words):
    (tmp_path/'a.jpg').write_text(text)
    assert words in read_info(tmp_path/'a.jpg').bad

def test_several_bands_of_16_bits_are_refused(tmp_path):
    for kwargs in (dict(photometric='minisblack'), dict(photometric='rgb', extrasamples=['unassalpha']),
        dict(photometric='separated')):
        tifffile.imwrite(tmp_path/'a.tif', np.ones((8, 8, 4), np.uint16), planarconfig='contig', **kwargs)
        assert read_info(tmp_path/'a.tif').bad # Pillow alone would keep half of the bits
    tifffile.imwrite(tmp_path/'a.tif', noise(), photometric='rgb')
    assert (open_chip(tmp_path/'a.tif', 40).permute(1, 2, 0).numpy() == noise()).all()

@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK'])
def test_modes_that_pillow_converts(tmp_path, mode):
    im = Image.fromarray(noise()).convert(mode)
    path = tmp_path/('a.tif' if mode == 'CMYK' else 'a.png')
    im.save(path)
    assert (open_chip(path, 40).permute(1, 2, 0).numpy() == np.asarray(im.convert('RGB'))).all()

def test_what_was_found_while_decoding_becomes_notes(tmp_path):
    for i, (n, mode) in enumerate(dict(a='RGB', b='L', c='RGB').items()):
        Image.fromarray(noise((40+i, 40, 3))).convert(mode).save(tmp_path/f'{n}.png')
    (tmp_path/'labels.csv').write_text('image_name,tags\na,x\nb,y\nc,x\n')
    chips = from_folder(tmp_path)
    notes = check_chips(chips, ChipStore(chips.paths, 32)).notes[len(chips.notes):]
    assert len(notes) == 2 and notes[0].startswith('3 of them, 40x40 1') and 'L 1: grey, read as RGB' in notes[1]

def test_equal_pixels_with_other_tags_are_told_in_training(tmp_path):
    for n, seed in dict(a=0, b=1, c=0, d=1, e=2).items():
        Image.fromarray(noise(seed=seed)).save(tmp_path/f'{n}.png', compress_level=ord(n)%10)
    (tmp_path/'labels.csv').write_text('image_name,tags\na,x\nb,y\nc,y\nd,y\ne,x\n')
    chips = from_folder(tmp_path)
    checked = check_chips(chips, ChipStore(chips.paths, 32))
    assert checked.notes == ['4 chips have equal pixels, in 2 groups (1 with different tags): a = c; '
                             'kept on one side of a split; correct their tags']
    assert list(checked.table.same) == list('ababe') and list(checked[[2, 4]].table.same) == ['a', 'e']

# ---- images of other bands, with a stated range

def test_any_bands_with_a_stated_range(tmp_path):
    bands = np.random.default_rng(0).uniform(-1, 2, (40, 40, 5)).astype(np.float32)
    bands[0, 0] = np.nan
    limits = [[-1, 0, 0, 0, 0], [2, 1, 2, 1, 4]]
    tifffile.imwrite(tmp_path/'a.tif', bands, photometric='minisblack', planarconfig='contig')
    tifffile.imwrite(tmp_path/'b.tif', bands.transpose(2, 0, 1), photometric='minisblack', planarconfig='separate')
    (tmp_path/'labels.csv').write_text('image_name,tags\na,x\nb,y\n')
    chips = from_folder(tmp_path, bands=list('abcde'), limits=limits)
    store = ChipStore(chips.paths, 40, limits=chips.limits)
    low, high = np.array(limits)
    want = np.round(255*np.nan_to_num(((bands-low)/(high-low)).clip(0, 1)))
    assert store.pixels.shape == (2, 5, 40, 40)
    assert np.abs(store[chips.paths[0]].permute(1, 2, 0).numpy() - want).max() <= 1
    assert (store.pixels[0] == store.pixels[1]).all() and list(check_chips(chips, store).table.same) == ['a', 'a']
    assert (open_chip(bands, 40, limits) == store.pixels[0]).all()
    assert open_chip(chips.paths[0], 20, limits).shape == (5, 20, 20)
    store = ChipStore(chips.paths, 40, limits=[[0], [1]])
    assert store.bad[chips.paths[0]] == 'shape (40, 40, 5), and limits of 1 bands'

def test_grey_floats_with_a_stated_range(tmp_path):
    Image.fromarray(np.linspace(0, 2, 1600, dtype=np.float32).reshape(40, 40)).save(tmp_path/'a.tif')
    got = open_chip(tmp_path/'a.tif', 40, limits=[[0], [2]])
    assert got.shape == (1, 40, 40) and got.min() == 0 and got.max() == 255 and got[0, 20, 0] == 128

# ---- all that a chip may be given as

@pytest.fixture
def jpeg(tmp_path):
    smooth = Image.fromarray(noise((16, 16, 3))).resize((256, 256), Image.Resampling.BICUBIC)
    smooth.save(tmp_path/'a.jpg', quality=90)
    return tmp_path/'a.jpg'

def test_a_file_however_it_is_given(jpeg):
    want, data = open_chip(jpeg, 64), jpeg.read_bytes()
    read = io.BytesIO(data)
    read.seek(99)
    with open(jpeg, 'rb') as f, Image.open(jpeg) as im:
        for chip in (str(jpeg), data, bytearray(data), memoryview(data), read, f, im, Image.open(io.BytesIO(data))):
            assert (open_chip(chip, 64) == want).all(), type(chip)
    assert read.tell() == 99

def test_the_callers_image_stays_as_it_is(jpeg):
    with Image.open(jpeg) as im:
        open_chip(im, 64)
        assert im.size == (256, 256) and im.mode == 'RGB' # `draft` would shrink it
        assert (np.asarray(im) == np.asarray(Image.open(jpeg))).all()
    floats = noise().astype(np.float32)/255
    kept = floats.copy()
    open_chip(floats, 32); open_chip(torch.from_numpy(floats).permute(2, 0, 1), 32)
    assert (floats == kept).all()

@pytest.mark.parametrize('size', [40, 32, 20, 10, 64])
def test_pixels_however_they_are_given(tmp_path, size):
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path/'a.png')
    want, tensor = open_chip(tmp_path/'a.png', size), torch.from_numpy(pixels).permute(2, 0, 1)
    rgba, floats = np.dstack([pixels, pixels[..., :1]]), (tensor.float()/255).requires_grad_()
    for chip in (pixels, Image.fromarray(pixels), pixels.astype(int), pixels/255, (pixels/255).astype(np.float32),
                 rgba, tensor, floats, tensor.double()/255, pixels[::-1][::-1]):
        assert (open_chip(chip, size) == want).all()
    grey = open_chip(pixels[..., 0], size)
    for chip in (pixels[..., :1], tensor[:1], tensor[0]): assert (open_chip(chip, size) == grey).all()

@pytest.mark.parametrize('size', [32, 64, 96, 128, 200, 256])
def test_an_array_decodes_as_the_jpeg_it_came_from(real_chips, size):
    for path in from_folder(real_chips).paths[:20]:
        with Image.open(path) as im: pixels = np.asarray(im.convert('RGB'))
        assert torch.equal(open_chip(pixels, size), open_chip(path, size))

@pytest.mark.parametrize('chip,error,words', [
    (np.zeros((3, 40, 40), np.uint8), ValueError, r'shape \(3, 40, 40\) is no image: a chip is a path'),
    (np.zeros((40, 40, 2), np.uint8), ValueError, 'shape'),
    (noise().astype(np.float32), ValueError, 'values of float32 from 0.0 to 254.0'),
    (np.full((9, 9, 3), np.nan), ValueError, 'from nan to nan'),
    (np.full((9, 9, 3), -1), ValueError, 'from -1 to -1'), (np.full((9, 9, 3), 300), ValueError, 'to 300'),
    (np.zeros((0, 4, 3), np.uint8), ValueError, 'shape'),
    (torch.zeros(40, 40, 3), ValueError, r'a tensor of the shape \(40, 40, 3\)'),
    (torch.zeros(2, 3, 40, 40), ValueError, 'shape'),
    (None, TypeError, 'NoneType is no image: a chip is a path, the bytes'), ([1, 2], TypeError, 'list is no image'),
    (3.5, TypeError, 'float is no image'),
    (b'', UserError, 'of 0 bytes cannot be read: empty file'),
    (b'no image', UserError, 'of 8 bytes cannot be read: no image'), (io.BytesIO(b'x'), UserError, 'no image'),
    ('missing.jpg', UserError, 'missing.jpg cannot be read: No such file'),
    ('.', UserError, 'not a regular file, but a folder')])
def test_what_is_no_chip(chip, error, words):
    with pytest.raises(error, match=words): open_chip(chip, 32)

def test_the_store_takes_them_as_well(jpeg):
    store = ChipStore([jpeg], 64)
    for chip in (jpeg, str(jpeg), jpeg.read_bytes(), Image.open(jpeg)): assert (store[chip] == store.pixels[0]).all()
    assert store.infos[jpeg].size == '256x256' and not store.bad

# ---- files that are none

def test_an_unreadable_file_is_a_matter_of_permission(jpeg, monkeypatch):
    (jpeg.parent/'b.jpg').write_bytes(jpeg.read_bytes())
    (jpeg.parent/'c.jpg').write_bytes(jpeg.read_bytes())
    (jpeg.parent/'labels.csv').write_text('image_name,tags\na,x\nb,y\nc,x\n')
    real = images.open_regular
    def denied(path):
        if path.name == 'b.jpg': raise PermissionError(13, 'Permission denied', str(path))
        return real(path)
    monkeypatch.setattr(images, 'open_regular', denied)
    chips = from_folder(jpeg.parent)
    with pytest.raises(UserError) as e: check_chips(chips, ChipStore(chips.paths, 32))
    assert 'b (Permission denied); allow yourself to read them (chmod u+r)' in str(e.value)
    assert 'fetch' not in str(e.value)

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no FIFOs')
def test_fifos_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path/'a.jpg')
    (tmp_path/'b.jpg').symlink_to('/dev/zero')
    (tmp_path/'c.jpg').symlink_to('/dev/null')
    (tmp_path/'d.jpg').mkdir()
    bad = ChipStore(sorted(tmp_path.iterdir()), 32).bad
    kinds = 'a FIFO', 'a device', 'a device', 'a folder'
    assert list(bad.values()) == [f'not a regular file, but {kind}' for kind in kinds]
    assert images.same_pixels(sorted(tmp_path.iterdir())).tolist() == [0, 1, 2, 3]

def test_progress_is_labelled(jpeg):
    said = []
    def progress(items, total, label):
        said.append((total, label))
        return items
    ChipStore([jpeg], 32, progress)
    assert said == [(1, 'decoding chips')]

# ---- training says what verify says

def test_training_tells_the_notes_of_verify_once(folder, capsys):
    from planet.data import load_chips
    from planet.splits import duplicates
    from planet.tools.verify import verify
    def jpg(i): return folder/'train-jpg'/f'train_{i}.jpg'
    for i, j in ((3, 5), (7, 11)): jpg(i).write_bytes(jpg(j).read_bytes())
    Image.fromarray(noise((30, 50, 3))).convert('L').save(folder/'train-jpg'/'train_9.jpg')
    told = verify(folder).table
    capsys.readouterr()
    chips, store = load_chips(str(folder), 32)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith('data: ')]
    for found in told[told.state == 'note'].found: assert sum(found in line for line in said) == 1, (found, said)
    assert len(said) == 1 + (told.state == 'note').sum() == 4
    assert (duplicates(chips) == images.same_pixels(chips.paths)).all()
    assert duplicates(chips[5:12]).tolist() == [0, 1, 2, 3, 4, 5, 2]

def test_predict_takes_all_of_them(folder):
    from fastai.vision.all import resnet18, vision_learner
    from planet.data import load_chips, tags_dls
    from planet.splits import split_chips
    chips, store = load_chips(str(folder), 32)
    dls = tags_dls(chips, store, split_chips(chips, out=folder/'runs'))
    learn = vision_learner(dls, resnet18, pretrained=False, loss_func=torch.nn.BCEWithLogitsLoss())
    path = chips.paths[0]
    with learn.no_bar():
        want = learn.predict(path)[2]
        pixels = np.asarray(Image.open(path).convert('RGB').resize((32, 32)))
        for chip in (str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), Image.open(path), store.pixels[0],
            store.pixels[0].float()/255):
            torch.testing.assert_close(learn.predict(chip)[2], want)
        assert learn.predict(pixels)[2].shape == want.shape
        with pytest.raises(Exception, match='Expected an input of type|is no image'): learn.predict(3.5)
