"`planet-data verify` and `stats`: all that is wrong with a folder is told, and training agrees about the faults."
import io
import json
import shutil
import sys
import numpy as np
import pandas as pd
import pytest
from conftest import shared
from PIL import Image
from planet import images
from planet.cli import UserError
from planet.data import load_chips
from planet.store import ChipStore
from planet.tools import planet_data as commands, verify as check
from planet.tools.stats import count_tags, stats
from planet.tools.verify import verify

HEAD = 'image_name,tags\n'

def row(report, name): return report.table.set_index('check').loc[name]
def states(report): return dict(zip(report.table.check, report.table.state))
def table(folder): return pd.read_csv(folder/'train_v2.csv', dtype=str, keep_default_na=False)
def rewrite(folder, change): change(table(folder)).to_csv(folder/'train_v2.csv', index=False)
def image(folder, i): return folder/'train-jpg'/f'train_{i}.jpg'
def retag(folder, tags):
    rewrite(folder, lambda t: t.assign(tags=[tags.get(n, old) for n, old in zip(t.image_name, t.tags)]))
def trains(folder):
    try: return bool(load_chips(str(folder), 32))
    except UserError: return False

def coded(picture, **kwargs):
    f = io.BytesIO()
    Image.fromarray(picture).convert(kwargs.pop('mode', 'RGB')).save(f, **{'format': 'JPEG', **kwargs})
    return f.getvalue()

def noise(seed=0, shape=(64, 64, 3)): return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)

def test_a_whole_folder(drawn):
    report = verify(drawn)
    assert report.ok and list(report.table) == ['check', 'found', 'state', 'examples', 'todo']
    assert set(report.table.state) == {'ok'}, str(report)
    assert {'rows', 'tags', 'images', 'files', 'sizes', 'modes', 'duplicates', 'weather'} <= set(report.table.check)
    assert row(report, 'sizes').found == '64x64, all 60' and row(report, 'modes').found == 'RGB 60'
    said = str(report).splitlines()
    assert max(map(len, said)) <= 100 + len(str(drawn)) and said[-1] == f'training can begin with {drawn}'

def test_real_chips(real_chips):
    report = verify(real_chips)
    assert report.ok and {c for c, s in states(report).items() if s == 'note'} == {'repeated tags'}
    assert row(report, 'modes').found.startswith('CMYK 1,000: read as RGB')

# ---- every way a folder can be wrong: verify and training are of one mind

def cut(folder, keep=900): image(folder, 4).write_bytes(image(folder, 4).read_bytes()[:keep])
def no_picture(folder): image(folder, 8).write_text('no picture')
def locked_away(folder):
    image(folder, 8).unlink()
    image(folder, 8).mkdir()

FAULTS = dict(
    no_table=(lambda f: (f/'train_v2.csv').unlink(), 'table', 'holds no label table'),
    empty_table=(lambda f: (f/'train_v2.csv').write_text(''), 'table', 'is empty'),
    no_rows=(lambda f: (f/'train_v2.csv').write_text(HEAD), 'table', 'no rows'),
    other_column=(lambda f: rewrite(f, lambda t: t.rename(columns={'tags': 'what'})), 'table', 'no column tags'),
    no_text=(lambda f: shutil.copy(image(f, 0), f/'train_v2.csv'), 'table', 'train_v2.csv'),
    separators=(lambda f: retag(f, {'train_1': 'clear;primary haze'}), 'separators', 'not separated in one way'),
    twice=(lambda f: rewrite(f, lambda t: pd.concat([t, t[:2]])), 'names', '2 chips named more than once'),
    missing=(lambda f: [image(f, i).unlink() for i in (2, 7)], 'images', '2 of 60 chips have no image'),
    no_images=(lambda f: shutil.rmtree(f/'train-jpg'), 'images', 'none of 60 chips has its image'),
    one_tag=(lambda f: rewrite(f, lambda t: t.assign(tags='primary')), 'tags', 'one tag (primary)'),
    no_tags=(lambda f: rewrite(f, lambda t: t.assign(tags='')), 'tags', 'no tags'),
    one_chip=(lambda f: rewrite(f, lambda t: t.assign(tags='clear primary')[:1]), 'rows', 'a single chip'),
    cut_short=(cut, 'files', '1 of 60 chips cannot be read'),
    end_missing=(lambda f: cut(f, -40), 'files', '1 of 60 chips cannot be read'),
    no_picture=(no_picture, 'files', '1 of 60 chips cannot be read'),
    empty_file=(lambda f: image(f, 8).write_bytes(b''), 'files', '1 of 60 chips cannot be read'),
    a_folder=(locked_away, 'files', '1 of 60 chips cannot be read'))

NOTES = dict(
    extra=(lambda f: shutil.copy(image(f, 0), f/'train-jpg'/'more.jpg'), 'extra images', ['more.jpg']),
    second_table=(lambda f: shutil.copy(f/'train_v2.csv', f/'train_classes.csv'), 'table', ['train_classes.csv']),
    few=(lambda f: rewrite(f, lambda t: t[:3]), 'rows', []),
    size=(lambda f: image(f, 3).write_bytes(coded(noise(shape=(50, 40, 3)))), 'sizes', ['train_3 (40x50)']),
    grey=(lambda f: image(f, 3).write_bytes(coded(noise(), mode='L')), 'modes', []),
    copies=(lambda f: shutil.copy(image(f, 3), image(f, 5)), 'duplicates', ['train_3 = train_5']),
    repeat=(lambda f: retag(f, {'train_1': 'clear clear primary'}), 'repeated tags', ['train_1']),
    untagged=(lambda f: retag(f, {'train_1': ''}), 'untagged', ['train_1']),
    slip=(lambda f: retag(f, {'train_1': 'artisanal_mine clear'}), 'tag names',
          ['artisanal_mine, did you mean artisinal_mine?']),
    no_weather=(lambda f: retag(f, {'train_1': 'primary'}), 'weather', ['train_1 (none)']),
    two_weathers=(lambda f: retag(f, {'train_1': 'clear haze'}), 'weather', ['train_1 (clear and haze)']),
    cloudy_more=(lambda f: retag(f, {'train_1': 'cloudy road'}), 'weather', ['train_1 (cloudy and more)']))

@pytest.mark.parametrize('name', FAULTS)
def test_faults(folder, name):
    spoil, where, words = FAULTS[name]
    spoil(folder)
    report = verify(folder)
    assert [c for c, s in states(report).items() if s == 'FAULT'] == [where], str(report)
    assert words in row(report, where).found and row(report, where).todo + row(report, where).found
    assert not report.ok and not trains(folder) and 'training would fail' in str(report).splitlines()[-1]

@pytest.mark.parametrize('name', NOTES)
def test_notes(folder, name):
    spoil, where, examples = NOTES[name]
    spoil(folder)
    report = verify(folder)
    assert row(report, where).state == 'note' and row(report, where).examples == examples, str(report)
    assert report.ok and trains(folder)

def test_it_goes_on_after_a_fault(folder):
    cut(folder); no_picture(folder); image(folder, 2).unlink()
    rewrite(folder, lambda t: pd.concat([t, t[:1]]))
    shutil.copy(image(folder, 20), image(folder, 21))
    report = verify(folder)
    assert {c for c, s in states(report).items() if s == 'FAULT'} == {'names', 'images', 'files'}
    assert row(report, 'files').examples[1] == 'train_8 (no image)'
    assert row(report, 'files').examples[0] == 'train_4 (truncated)'
    assert row(report, 'duplicates').examples == ['train_20 = train_21']
    assert 'in 1 group (1 with different tags)' in row(report, 'duplicates').found
    assert str(report).splitlines()[-1].endswith('has 3 faults and 1 note')

def test_images_without_a_table_are_read_as_well(folder):
    for name in ('a.csv', 'b.csv'): shutil.copy(folder/'train_v2.csv', folder/name)
    (folder/'train_v2.csv').unlink()
    cut(folder)
    report = verify(folder)
    assert 'several tables, none called' in row(report, 'table').found
    assert 'rename the right one of a.csv, b.csv to labels.csv' in row(report, 'table').found
    assert row(report, 'files').examples[0] == 'train_4.jpg (truncated)'

def test_where_missing_images_may_be(folder):
    (folder/'train-jpg').rename(folder/'test')
    assert row(verify(folder), 'images').todo == f"60 of them lie in {folder/'test'}: rename it to {folder/'train'}"
    shutil.rmtree(folder/'test')
    assert f'planet-data get kaggle, `to` {folder}, fetches them' in row(verify(folder), 'images').todo
    (folder/'train-jpg.tar.7z').write_bytes(b'')
    assert 'unpacks train-jpg.tar.7z' in row(verify(folder), 'images').todo
    retag(folder, dict(zip(table(folder).image_name, ['wheat', 'rye']*30)))
    (folder/'train-jpg.tar.7z').unlink()
    assert 'kaggle' not in row(verify(folder), 'images').todo
    assert f'{folder} has one: give that folder' in row(verify(locked(folder/'train-jpg')), 'table').found

def locked(folder):
    folder.mkdir()
    return folder

def test_suffixes_as_cameras_write_them(folder):
    for p in (folder/'train-jpg').iterdir(): p.rename(p.with_suffix('.JPG'))
    assert set(verify(folder).table.state) == {'ok'} and trains(folder)

def test_a_strangers_tags_are_right_as_they_are(tmp_path):
    for i in range(6): (tmp_path/f'{i}.png').write_bytes(coded(noise(i), format='PNG'))
    rows = [f'{i},{("Wheat", "rye zebra-crossing", "rye")[i%3]}\n' for i in range(6)]
    (tmp_path/'labels.csv').write_text(HEAD + ''.join(rows))
    report = verify(tmp_path)
    assert set(report.table.state) == {'ok'} and not {'weather', 'tag names'} & set(report.table.check)
    (tmp_path/'labels.csv').write_text(HEAD + ''.join(f'{i},{"Wheat" if i%2 else "wheat rye"}\n' for i in range(6)))
    assert row(verify(tmp_path), 'tag names').examples == ['Wheat = wheat'] # two tags that are surely meant as one

def test_no_such_folder(folder):
    with pytest.raises(UserError, match='no such folder, did you mean mine?'): verify(folder.parent/'mime')

# ---- files

def whole(data):
    "Whether Pillow decodes it in full."
    try: return bool(Image.open(io.BytesIO(data)).load())
    except Exception: return False

@pytest.mark.parametrize('kwargs', [dict(), dict(progressive=True), dict(mode='CMYK'), dict(subsampling=0, quality=95),
    dict(restart_marker_rows=1)],
                         ids=['baseline', 'progressive', 'four components', 'no subsampling', 'restarts'])
def test_an_eighth_of_a_jpeg_finds_what_all_of_it_finds(tmp_path, kwargs):
    "Decoding small is quicker; it must see a file that is cut short wherever decoding in full does."
    data, path, ends = coded(noise(), **kwargs), tmp_path/'a.jpg', 0
    for keep in [*range(len(data)-24, len(data)+1), *np.linspace(0, len(data), 30, dtype=int)]:
        path.write_bytes(data[:keep])
        look = images.read_info(path)
        assert (not look.bad) == whole(data[:keep]), keep
        ends += bool(look.bad)
    assert ends >= 40 and not look.bad and not look.odd # the last one is whole

def test_pngs_that_are_cut_short(tmp_path):
    data, path = coded(noise(), format='PNG'), tmp_path/'a.png'
    for keep in [*range(len(data)-24, len(data)), *np.linspace(0, len(data)-24, 20, dtype=int)]:
        path.write_bytes(data[:keep])
        look = images.read_info(path)
        assert (not look.bad) == whole(data[:keep]) and (look.bad or keep > len(data)-5 or look.odd), keep

def test_damage_that_can_be_read(folder):
    data = coded(noise(shape=(256, 256, 3)), quality=95)
    image(folder, 1).write_bytes(data[:20_000] + bytes(8192) + data[28_192:])
    image(folder, 2).write_bytes(data[:-4000] + bytes(4000))
    image(folder, 3).write_bytes(data + b'what some programs append')
    report = verify(folder)
    assert row(report, 'damage').examples == ['train_1 (4,096 zero bytes in a row)', 'train_2 (no end mark)']
    assert report.ok == trains(folder)

def test_the_same_picture_in_other_bytes(folder):
    data = image(folder, 3).read_bytes()
    image(folder, 5).write_bytes(data[:2] + b'\xff\xfe\x00\x07tagged'[:9] + data[2:]) # a comment in its header
    for i, level in ((30, 1), (31, 9)): image(folder, i).write_bytes(coded(noise(), format='PNG', compress_level=level))
    assert row(verify(folder), 'duplicates').examples == ['train_3 = train_5', 'train_30 = train_31']

def test_equal_pixels_in_other_bytes_and_formats(tmp_path):
    "40 pictures saved twice with other PNG compression; one as JPEG and as PNG of what it decodes to; broken ones."
    paths = []
    for i in range(40):
        for level in (1, 9):
            paths.append(tmp_path/f'{i}-{level}.png')
            paths[-1].write_bytes(coded(noise(i, (32, 32, 3)), format='PNG', compress_level=level))
    jpeg, png, *broken = (tmp_path/n for n in ('a.jpg', 'a.png', 'b.png', 'c.png'))
    jpeg.write_bytes(coded(noise(50, (32, 32, 3))))
    Image.open(jpeg).convert('RGB').save(png)
    for p in broken: p.write_text('no picture')
    paths = paths[1:] + paths[:1] + [jpeg, png, *broken, tmp_path/'missing.png', jpeg]
    first = images.same_pixels(paths)
    assert first.tolist() == [0, *(i//2*2+1 for i in range(78)), 0, 80, 80, 82, 83, 84, 80]
    assert (images.same_pixels(paths, [images.read_info(p) for p in paths]) == first).all()
    store = ChipStore(paths, 16) # what it read while decoding does as well
    assert (images.same_pixels(paths, [store.infos[p] for p in paths]) == first).all()

def test_pictures_that_agree_only_when_small(folder):
    flat = np.full((64, 64, 3), 128, np.uint8)
    fine = flat + np.where(np.arange(64) % 2, 60, -60).astype(np.int16)[None, :, None]
    for i, picture in ((3, flat), (5, fine.astype(np.uint8))):
        image(folder, i).write_bytes(coded(picture, quality=100, subsampling=0))
    small = [images.read_info(image(folder, i)).picture for i in (3, 5)]
    assert small[0] == small[1] # an eighth of the size tells nothing of them
    assert row(verify(folder), 'duplicates').state == 'ok'

def test_any_number_of_workers(folder):
    cut(folder)
    one, many = verify(folder, 1), verify(folder, 7)
    assert one.table.equals(many.table)

def test_an_interruption_does_not_wait_for_all_files(folder, monkeypatch):
    looked = []
    def slow(path):
        looked.append(path)
        threading.Event().wait(.01)
        return images.ImageInfo('x')
    import threading
    monkeypatch.setattr(images, 'read_info', slow)
    def interrupted(items, total, label):
        yield next(iter(items))
        raise KeyboardInterrupt
    monkeypatch.setattr(images, 'progress', interrupted)
    with pytest.raises(KeyboardInterrupt): verify(folder, 2)
    assert len(looked) < 30

# ---- splits

@pytest.mark.parametrize('name', ['test-jpg', 'test-jpg-additional', 'valid', 'test', 'val'])
def test_chips_in_another_split(folder, name):
    (folder/name).mkdir()
    for i in (50, 51): image(folder, i).rename(folder/name/f'test_{i}.jpg')
    rewrite(folder, lambda t: t[:50])
    assert row(verify(folder), 'splits').found.endswith('no name or picture is in more than one')
    shutil.copy(image(folder, 3), folder/name/'test_9.jpg')
    report = verify(folder)
    assert row(report, 'splits').state == 'note'
    assert row(report, 'splits').examples == [f'train_3 = {name}/test_9.jpg'] and report.ok
    (folder/name/'test_9.jpg').write_bytes(coded(noise()))
    (folder/name/'test_9.jpg').rename(folder/name/'train_7.jpg')
    assert row(verify(folder), 'splits').examples == [f'train_7 = {name}/train_7.jpg']
    (folder/name/'train_7.jpg').write_text('no picture')
    report = verify(folder)
    assert row(report, 'other files').examples == [f'{name}/train_7.jpg (no image)'] and report.ok and trains(folder)

def test_a_folder_that_is_no_split(folder):
    (folder/'testimonials').mkdir()
    shutil.copy(image(folder, 3), folder/'testimonials'/'train_3.jpg')
    assert 'splits' not in states(verify(folder))

@pytest.mark.parametrize('column', [dict(split=['train', 'test']*30), dict(is_valid=['False', 'True']*30)],
    ids=['split', 'is_valid'])
def test_a_column_that_splits(folder, column):
    rewrite(folder, lambda t: t.assign(**column))
    assert row(verify(folder), 'splits').state == 'ok'
    shutil.copy(image(folder, 2), image(folder, 5))
    assert row(verify(folder), 'splits').examples == ['train_2 = train_5']
    shutil.copy(image(folder, 2), image(folder, 5))

# ---- the competition's table

@pytest.fixture
def real_table(tmp_path):
    "A folder with the competition's table, and no images."
    path = shared/'planet_labels'/'train_v2.csv'
    if not path.is_file(): pytest.skip("the competition's table is not in ../shared/planet_labels")
    (tmp_path/'real').mkdir()
    return shutil.copy(path, tmp_path/'real') and tmp_path/'real'

def test_its_quirks_are_known(real_table):
    report = verify(real_table)
    assert states(report) == dict(rows='ok', tags='ok', **{'tag names': 'ok', 'repeated tags': 'ok',
        'order of tags': 'ok'}, weather='ok', images='FAULT')
    assert row(report, 'rows').found == '40,479 in train_v2.csv'
    for check_name, words in (('repeated tags', '73 rows'), ('order of tags', '98 rows'), ('weather', 'train_24448'),
        ('tag names', 'artisinal_mine')):
        assert words in row(report, check_name).found
    assert 'planet-data get kaggle' in row(report, 'images').todo and not report.ok

def test_what_is_not_known_of_it(real_table):
    retag(real_table, {'train_0': 'primary', 'train_1': 'clear clear water'})
    report = verify(real_table)
    assert row(report, 'weather').examples == ['train_0 (none)', 'train_24448 (none)']
    assert row(report, 'tags').state == 'note' and 'agriculture 12,314 (there 12,315)' in row(report, 'tags').examples
    assert row(report, 'repeated tags').state == 'note' and len(row(report, 'repeated tags').examples) == 74

# ---- the command

def command(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['planet-data', *map(str, args)])
    with pytest.raises(SystemExit) as e: commands.main()
    return e.value.code

def test_exit_status(folder, monkeypatch, capsys):
    assert command(monkeypatch, 'verify', folder) == 0
    cut(folder)
    assert command(monkeypatch, 'verify', folder) == 1
    said = capsys.readouterr()
    assert 'FAULT  files          1 of 60 chips cannot be read: train_4 (truncated)' in said.out
    assert '\033' not in said.out and not said.err
    assert command(monkeypatch, 'verify', folder, '--workers', -1) == 1
    assert command(monkeypatch, 'verify', folder/'not') == 1
    assert capsys.readouterr().err.splitlines()[1] == f"planet-data verify: {folder/'not'}: no such folder"

def test_colour_is_for_terminals(monkeypatch):
    monkeypatch.setattr(check, 'is_terminal', lambda: True)
    monkeypatch.delenv('NO_COLOR', raising=False)
    assert check.told('FAULT', 'files', 'gone').startswith('\033[31;1mFAULT\033[0m')
    monkeypatch.setenv('COLUMNS', '70')
    plain = check.told('ok', 'files', 'word '*40).replace('\033[32m', '').replace('\033[0m', '')
    assert max(map(len, plain.splitlines())) <= 70
    monkeypatch.setenv('NO_COLOR', '1')
    assert check.told('FAULT', 'files', 'gone') == 'FAULT  files          gone'

# ---- stats

def test_counts():
    counts = count_tags([['b', 'a'], ['a'], [], ['a', 'b', 'a'], ['c']])
    assert counts.tags.to_dict() == dict(a=3, b=2, c=1) and list(counts.tags.index) == ['a', 'b', 'c']
    assert counts.per_chip.to_dict() == {0: 1, 1: 2, 2: 2}
    assert counts.sets.to_dict() == {'a b': 2, '': 1, 'a': 1, 'c': 1}
    assert str(counts).startswith('5 chips, 3 tags, 1.200 tags a chip, 4 tag sets (3 of them once)')
    assert '(none)' in str(counts)

def test_counts_of_the_competition(real_table, capsys):
    counts, known = stats(real_table), json.loads((shared/'planet_labels'/'label_stats.json').read_text())
    assert counts.tags.to_dict() == known['tag_counts'] and list(counts.tags.index[:2]) == ['primary', 'clear']
    assert counts.per_chip.to_dict() == {int(k): n for k, n in known['cardinality'].items()}
    assert len(counts.sets) == known['n_distinct_tag_sets'] and (counts.sets == 1).sum() == known['tag_set_singletons']
    assert {k: int(counts.sets[k]) for k in known['tag_set_counts']} == known['tag_set_counts']
    said = capsys.readouterr().out
    assert f"{known['mean_tags_per_image']:.3f} tags a chip" in said and max(map(len, said.splitlines())) <= 100
    assert 'primary             37,513  92.67%  ' + '█'*40 in said

def test_bars_where_there_is_only_ascii(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stdout', out)
    print(count_tags([['a'], ['a', 'long_'*30]]))
    out.flush()
    said = out.buffer.getvalue().decode()
    assert '####' in said and max(map(len, said.splitlines())) <= 100

@pytest.mark.parametrize('columns', [40, 80])
def test_a_table_of_counts_fits_a_terminal(monkeypatch, columns):
    "A line that is too long would be broken within its bar."
    from planet.tools import stats, text_table
    for module in (stats, text_table): monkeypatch.setattr(module, 'is_terminal', lambda: True)
    monkeypatch.setenv('COLUMNS', str(columns))
    table = str(count_tags([['a'], ['a', 'long_'*30], *[['a', *'bcdefgh'*4]]*9])).splitlines()[2:]
    assert columns - 8 < max(map(len, table)) <= columns
    from planet.tools import verify
    monkeypatch.setattr(verify, 'is_terminal', lambda: True)
    monkeypatch.setenv('NO_COLOR', '1')
    assert max(map(len, verify.told('note', 'images', 'one for each row '*9, 'look at it '*9).splitlines())) <= columns

FIGURES = {'class_distribution.png', 'tags_per_chip.png', 'cooccurrence.png'}

@pytest.fixture
def few_tags(folder):
    "Chips with three tags of a stranger's, one of which no file could be named after."
    rewrite(folder, lambda t: t.assign(tags=['wheat', 'rye/barley wheat', 'rye/barley']*20)[:20])
    return folder

def test_figures(few_tags, monkeypatch, capsys):
    assert command(monkeypatch, 'stats', few_tags, '--plot') == 0
    out = few_tags/'stats'
    assert {p.name for p in out.iterdir()} == FIGURES | {'sheet-rye_barley.png', 'sheet-wheat.png'}
    assert capsys.readouterr().out.splitlines()[-1] == f'5 figures in {out}/'
    for png in out.iterdir(): assert np.asarray(Image.open(png).convert('L')).std() > 5, f'{png.name} shows nothing'

def test_figures_without_images(few_tags, tmp_path, capsys):
    shutil.rmtree(few_tags/'train-jpg')
    stats(few_tags, plot=True, out=str(tmp_path/'a'/'b'))
    assert {p.name for p in (tmp_path/'a'/'b').iterdir()} == FIGURES
    assert 'no images, no sheets' in capsys.readouterr().out

def test_figures_that_cannot_be_written(few_tags, monkeypatch, capsys):
    (few_tags/'stats').write_text('a file where the folder should be')
    assert command(monkeypatch, 'stats', few_tags, '--plot') == 1
    said = f"cannot write figures to {few_tags/'stats'} (File exists): give another folder: --out"
    assert capsys.readouterr().err.strip() == f'planet-data stats: {said}'
    rewrite(few_tags, lambda t: t.assign(tags='wheat'))
    with pytest.raises(UserError, match='figures .* need two'): stats(few_tags, plot=True)

def test_no_table_to_count(few_tags, monkeypatch, capsys):
    (few_tags/'train_v2.csv').unlink()
    assert command(monkeypatch, 'stats', few_tags) == 1 and 'holds no label table' in capsys.readouterr().err
