"Chips drawn by code: the real table's frequencies, a picture for every tag, and a folder that is whole or not there."
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
import planet
from planet.amazon import TAGS, WEATHER
from planet.cli import UserError
from planet.synthetic import chips as synthetic
from planet.synthetic.cache import remove_stale
from planet.synthetic.chips import draw_chip, draw_tags, synthetic_folder, write_chips
from planet.synthetic.clearings import clearings_folder, write_clearings
from planet.synthetic.pets import pets_folder, write_pets

# Chips per tag in the competition's training table (40,479 chips), as published; not read from the package's own file.
COUNTS = dict(primary=37513, clear=28431, agriculture=12315, road=8071, water=7411, partly_cloudy=7261,
    cultivation=4477, habitation=3660, haze=2697, cloudy=2089, bare_ground=862, selective_logging=340,
    artisinal_mine=339, blooming=332, slash_burn=209, conventional_mine=100, blow_down=98)

# ---- tags

def test_vocab_is_the_competitions():
    assert list(TAGS) == sorted(COUNTS) and set(WEATHER) <= set(TAGS) and len(TAGS) == 17

@pytest.fixture(scope='module')
def many(): return draw_tags(200_000, 1)

def test_tag_frequencies_within_sampling_error(many):
    n = len(many)
    got = Counter(t for tags in many for t in tags)
    for tag, count in COUNTS.items():
        p = count/40479
        assert abs(got[tag] - n*p) < 4.5*np.sqrt(n*p*(1-p)), tag

def test_weather_is_exclusive_and_cloudy_alone(many):
    sets = {tuple(t) for t in many}
    assert all(len(set(t) & set(WEATHER)) == 1 for t in sets)  # not so for one chip of the real table
    assert [t for t in sets if 'cloudy' in t] == [('cloudy',)]
    assert all(list(t) == sorted(set(t)) for t in sets) and 380 < len(sets) <= 410

def test_tags_are_seeded_and_the_callers_own():
    rows = draw_tags(50, 3)
    assert rows == draw_tags(50, 3) != draw_tags(50, 4)
    for t in rows: t.append('changed')
    assert 'changed' not in {t for row in draw_tags(50, 3) for t in row}

# ---- pictures

def test_same_seed_same_bytes_whatever_came_before():
    tags = 'agriculture clear habitation primary road water'.split()
    a = draw_chip(tags, (42, 7))
    draw_chip(['cloudy'], 5)
    np.testing.assert_array_equal(a, draw_chip(reversed(tags), (42, 7)))
    assert a.dtype == np.uint8 and a.shape == (256, 256, 3)
    for other in (42, 8), (43, 7): assert np.abs(a - draw_chip(tags, other).astype(int)).mean() > 2

def test_size_is_the_same_scene_resized():
    big, small = (draw_chip(['clear', 'primary', 'water'], 3, s).astype(float) for s in (256, 64))
    assert small.shape == (64, 64, 3)
    assert np.abs(big.reshape(64, 4, 64, 4, 3).mean((1, 3)) - small).mean() < 3

@pytest.mark.parametrize('tags', [[], ['water'], ['road'], ['blooming', 'haze'], TAGS], ids=' '.join)
def test_any_set_of_tags_can_be_drawn(tags):
    for size in 1, 33: assert draw_chip(tags, 0, size).shape == (size, size, 3)

def test_unknown_tag_is_named():
    with pytest.raises(ValueError, match="'glacier'.*primary"): draw_chip(['clear', 'glacier'])

def light(x): return x.mean(-1)
def p(q): return lambda x: np.percentile(light(x), q)
def rough(x): return np.abs(np.diff(light(x), axis=1)).mean()
def warm(x): return np.percentile(x[..., 0] - x[..., 2], 95)       # how brown the brownest ground is
def saturation(x): return (np.ptp(x, -1)/x.max(-1)).mean()

# Each tag's mark against the same places without it: (statistic, least mean difference in grey levels).
MARKS = dict(agriculture=[(p(50), 10), (warm, 8)], artisinal_mine=[(p(99), 40), (warm, 20)],
    bare_ground=[(p(95), 25), (warm, 15)], blooming=[(p(99.7), 12)], blow_down=[(p(99), 8), (rough, .1)],
    conventional_mine=[(p(95), 35), (warm, 30)], cultivation=[(p(99), 18)], habitation=[(np.max, 60)],
    partly_cloudy=[(p(99), 35)], road=[(p(99.7), 35)], selective_logging=[(p(99.7), 12), (rough, .08)],
    water=[(p(99), 20), (warm, 8)])

@lru_cache
def chips(tags, n): return [draw_chip(tags.split(), i).astype(float) for i in range(n)]
def pairs(with_, without, n=8): return chips(with_, n), chips(without, n)

@pytest.mark.parametrize('tag', MARKS)
def test_tag_leaves_its_mark(tag):
    w = 'partly_cloudy primary' if tag == 'partly_cloudy' else f'clear primary {tag}'
    a, b = pairs(w, 'clear primary')
    assert min((np.abs(x - y).max(-1) > 10).mean() for x, y in zip(a, b)) > .002, 'nobody would see the tag here'
    for stat, least in MARKS[tag]: assert np.mean([stat(x) - stat(y) for x, y in zip(a, b)]) > least

def test_primary_is_dark_rough_and_green():
    a, b = pairs('clear primary', 'clear')
    assert np.mean(b) - np.mean(a) > 25 and np.mean([rough(x) for x in a]) > np.mean([rough(x) for x in b])
    assert all(x[..., 1].mean() > max(x[..., 0].mean(), x[..., 2].mean()) for x in a)

def test_haze_lifts_the_dark_and_flattens():
    a, b = pairs('haze primary', 'clear primary')
    assert all(p(5)(x) > p(5)(y) for x, y in zip(a, b)) and np.mean([p(5)(x) - p(5)(y) for x, y in zip(a, b)]) > 30
    assert np.mean([rough(x) for x in a]) < .85*np.mean([rough(x) for x in b])

def test_cloudy_is_bright_grey_and_hides_all():
    a, b = pairs('cloudy', 'clear primary')
    assert min(light(x).mean() for x in a) > 75 and np.mean(a) - np.mean(b) > 60
    assert np.mean([saturation(x) for x in a]) < .6*np.mean([saturation(x) for x in b])

def test_clouds_throw_shadows():
    a, b = pairs('partly_cloudy primary', 'clear primary')
    assert np.mean([(light(x) < light(y) - 4).mean() for x, y in zip(a, b)]) > .005
    assert np.mean([(light(x) > light(y) + 25).mean() for x, y in zip(a, b)]) > .02

def test_burn_scar_darkens_the_farm():
    a, b = pairs('agriculture clear primary slash_burn', 'agriculture clear primary', 10)
    assert np.mean([(light(x) < light(y) - 20).mean() for x, y in zip(a, b)]) > .045

def test_rivers_keep_their_place_among_fields():
    "Fields must not bury the water: what changes when water is tagged is still a river's worth of pixels"
    a, b = pairs('agriculture clear primary water', 'agriculture clear primary')
    assert min((np.abs(x - y).max(-1) > 6).mean() for x, y in zip(a, b)) > .004

def test_chips_vary():
    means = np.array([draw_chip(['clear', 'primary'], i).mean((0, 1)) for i in range(24)])
    assert (means.std(0) > 5).all()  # 13 on real chips

# ---- folders

def images(folder): return {f.name: f.read_bytes() for f in (folder/'train-jpg').iterdir()}

def test_layout_and_table(tmp_path):
    path = write_chips(tmp_path/'deep'/'chips', 9, 48, 5)
    assert path == tmp_path/'deep'/'chips' and sorted(x.name for x in path.iterdir()) == ['train-jpg', 'train_v2.csv']
    rows = list(csv.DictReader((path/'train_v2.csv').open(newline='')))
    assert list(rows[0]) == ['image_name', 'tags']
    assert [r['image_name'] for r in rows] == [f'train_{i}' for i in range(9)]
    assert [r['tags'].split() for r in rows] == draw_tags(9, 5)
    for i, r in enumerate(rows):
        im = Image.open(path/'train-jpg'/f'train_{i}.jpg')
        assert im.size == (48, 48) and im.mode == 'RGB'
        drawn = draw_chip(r['tags'].split(), (5, i), 48)
        assert np.abs(np.asarray(im, float) - drawn).mean() < 6, 'the picture is not the one of its row'
    assert [x.name for x in path.parent.iterdir()] == ['chips']

def test_same_arguments_same_files(tmp_path):
    a, b, c = (write_chips(tmp_path/str(i), 6, 32, s) for i, s in enumerate((1, 1, 2)))
    assert images(a) == images(b) != images(c) and len(images(a)) == 6

def test_progress_sees_every_chip(tmp_path):
    seen = []
    def progress(items, total, label):
        for x in items: seen.append((total, label)); yield x
    write_chips(tmp_path/'a', 5, 16, progress=progress)
    assert seen == [(5, 'drawing chips')]*5

@pytest.mark.parametrize('fault', [OSError(28, 'No space left'), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_a_failure_leaves_no_folder(tmp_path, monkeypatch, fault):
    save, calls = Image.Image.save, []
    def failing(self, *args, **kw):
        calls.append(1)
        if len(calls) > 5: raise fault
        return save(self, *args, **kw)
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, 'save', failing)
        with pytest.raises(type(fault)) as e: write_chips(tmp_path/'chips', 60, 16)
    assert not (tmp_path/'chips').exists() and len(calls) < 60
    if isinstance(fault, OSError): # a full disk is not kept full
        assert 'chips: No space left' in str(e.value) and '\n' not in str(e.value) and not list(tmp_path.iterdir())
    write_chips(tmp_path/'chips', 60, 16)
    assert images(tmp_path/'chips') == images(write_chips(tmp_path/'fresh', 60, 16))

def counted(monkeypatch):
    drawn = []
    monkeypatch.setattr(synthetic, 'draw_chip', lambda *args: drawn.append(1) or draw_chip(*args))
    return drawn

def test_an_interrupt_in_the_bar_stops_and_the_next_call_goes_on(tmp_path, monkeypatch):
    drawn = counted(monkeypatch)
    def progress(items, total, label):
        for i, item in enumerate(items):
            if i == 10: raise KeyboardInterrupt
            yield item
    with pytest.raises(KeyboardInterrupt): write_chips(tmp_path/'chips', 400, 16, progress=progress)
    assert [p.name for p in tmp_path.iterdir()] == ['.chips.part'] and len(drawn) < 400
    drawn.clear()
    write_chips(tmp_path/'chips', 400, 16)
    assert len(drawn) == 390 and [p.name for p in tmp_path.iterdir()] == ['chips']
    assert len(images(tmp_path/'chips')) == 400

def test_what_was_drawn_of_other_chips_is_not_gone_on_with(tmp_path, monkeypatch):
    def interrupted(items, total, label):
        yield next(items)
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): write_chips(tmp_path/'a', 6, 16, seed=1, progress=interrupted)
    assert images(write_chips(tmp_path/'a', 6, 16, seed=2)) == images(write_chips(tmp_path/'b', 6, 16, seed=2))

WRITERS = dict(chips=(write_chips, synthetic_folder, 100), clearings=(write_clearings, clearings_folder, 100),
               pets=(write_pets, pets_folder, 40))

def files(folder): return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob('*') if f.is_file()}

@pytest.mark.parametrize('kind', WRITERS)
def test_a_killed_drawing_is_gone_on_with(tmp_path, kind):
    write, cached, n = WRITERS[kind]
    code = f'from {write.__module__} import *; {cached.__name__}({n}, 32, cache={str(tmp_path/"cache")!r})'
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
    log, deadline = None, time.monotonic() + 60
    while time.monotonic() < deadline and not (log and len(log.read_text().split()) > 60):
        log = next((tmp_path/'cache').glob('.*.part/log'), None) if (tmp_path/'cache').is_dir() else None
        time.sleep(.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    logged = [json.loads(line) for line in log.read_text().split('\n')[1:-1] if line]
    with open(log, 'a') as f: f.write('[5, 12')  # a line cut short
    torn = log.parent/'whole'/logged[0][2][0]
    torn.write_bytes(torn.read_bytes()[:100])
    seen = []
    folder = cached(n, 32, cache=tmp_path/'cache',
                    progress=lambda items, total, label: seen.append((total, label)) or items)
    total = n*(8 if kind == 'pets' else 1)
    assert seen == [(total - len(logged) + 1, f'drawing {kind}')] and len(logged) >= 10
    assert [p.name for p in (tmp_path/'cache').iterdir()] == [folder.name]
    assert files(folder) == files(write(tmp_path/'fresh', n, 32))

def test_what_dead_processes_left_is_removed(tmp_path):
    old = time.time() - 2*24*3600
    def left(name, age=old):
        (tmp_path/name/'whole').mkdir(parents=True)
        (tmp_path/name/'log').write_text('[]')
        for p in (tmp_path/name/'log', tmp_path/name/'whole', tmp_path/name): os.utime(p, (age, age))
    (tmp_path/'synthetic-v5-n3').mkdir()
    for name in ('.synthetic-v4-n9.part', f'.pets-v1-n30-{"0a"*16}', '.synthetic-v5-n8.part'): left(name)
    # may be gone on with; made whole since
    for name in ('.clearings-v1-n5.part', '.synthetic-v5-n3.part'): left(name, time.time())
    left('.of-another-program')
    remove_stale(tmp_path, tmp_path/'synthetic-v5-n8')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['.clearings-v1-n5.part', '.of-another-program',
                                                          '.synthetic-v5-n8.part', 'synthetic-v5-n3']

def test_existing_folder_is_kept(tmp_path):
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine'/'file').write_text('mine')
    with pytest.raises(FileExistsError, match='mine: it exists already'): write_chips(tmp_path/'mine', 2, 16)
    assert [x.name for x in tmp_path.iterdir()] == ['mine'] and (tmp_path/'mine'/'file').read_text() == 'mine'

def test_an_empty_folder_is_filled(tmp_path): assert len(images(write_chips(tmp_path, 2, 16))) == 2

@pytest.mark.parametrize('kw', [dict(n=0), dict(size=0)])
def test_nothing_to_draw(tmp_path, kw):
    with pytest.raises(ValueError, match='at least 1'): write_chips(tmp_path/'x', **kw)

def test_second_call_reuses_the_cache(tmp_path, monkeypatch):
    a = synthetic_folder(4, 16, cache=tmp_path)
    monkeypatch.setattr(synthetic, 'draw_chip', lambda *args: pytest.fail('drew again'))
    assert synthetic_folder(4, 16, cache=str(tmp_path)) == a and len(images(a)) == 4

def test_cache_keeps_drawings_apart(tmp_path, monkeypatch):
    made = {synthetic_folder(2, 16, cache=tmp_path), synthetic_folder(3, 16, cache=tmp_path),
            synthetic_folder(2, 17, cache=tmp_path), synthetic_folder(2, 16, 1, cache=tmp_path)}
    monkeypatch.setattr(synthetic, 'DRAWING', -1)
    assert len(made | {synthetic_folder(2, 16, cache=tmp_path)}) == 5

def test_cache_place(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'xdg'))
    monkeypatch.delenv('PLANET_CACHE', raising=False)
    assert synthetic_folder(1, 8).parent == tmp_path/'xdg'/'planet'
    monkeypatch.setenv('PLANET_CACHE', str(tmp_path/'own'))
    assert synthetic_folder(1, 8).parent == tmp_path/'own'

@pytest.mark.parametrize('lost', ['train_v2.csv', 'train-jpg/train_2.jpg', 'train-jpg'])
def test_a_folder_that_lost_files_is_drawn_anew(tmp_path, lost):
    path = synthetic_folder(4, 16, cache=tmp_path)
    before = files(path)
    (path/lost).rename(tmp_path/'elsewhere')
    assert synthetic_folder(4, 16, cache=tmp_path) == path and files(path) == before

def test_two_threads_share_one_drawing(tmp_path, monkeypatch):
    drawn, out = counted(monkeypatch), []
    def work(): out.append(synthetic_folder(30, 16, cache=tmp_path))
    ts = [threading.Thread(target=work) for _ in range(3)]
    for t in ts: t.start()
    for t in ts: t.join()
    assert len(out) == 3 and len(set(out)) == 1 and list(tmp_path.iterdir()) == out[:1]
    assert len(images(out[0])) == 30 == len(drawn)

def test_processes_that_start_at_once_share_one_drawing(tmp_path):
    cache = str(tmp_path/'new'/'cache')
    code = f'from planet.synthetic.chips import *; print(synthetic_folder(60, 16, cache={cache!r}))'
    processes = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {p.communicate(timeout=60)[0].split('\n')[-2] for p in processes}
    folder, = (tmp_path/'new'/'cache').iterdir()
    assert said == {str(folder)} and len(images(folder)) == 60 and not any(p.returncode for p in processes)

def test_unwritable_cache_says_so(tmp_path):
    (tmp_path/'file').write_text('in the way')
    with pytest.raises(UserError, match=r'cannot write synthetic chips to .*file.*\$PLANET_CACHE') as e:
        synthetic_folder(2, 16, cache=tmp_path/'file')
    assert '\n' not in str(e.value)

@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write anywhere')
def test_read_only_cache_says_so(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match='cannot write synthetic chips.*Permission denied'):
            synthetic_folder(2, 16, cache=tmp_path)
    finally: tmp_path.chmod(0o700)

def test_table_is_packaged():
    rows = list(csv.DictReader(Path(planet.__file__).with_name('tag_sets.csv').open(newline='')))
    assert len(rows) == 411 and sum(int(r['count']) for r in rows) == 40479
    total = Counter()
    for r in rows: total.update({t: int(r['count']) for t in r['tags'].split()})
    assert total == COUNTS
