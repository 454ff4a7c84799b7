"`planet-runs`: find, list, show, compare, repeat and prune runs, on two real tiny ones and on many made by hand."
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from planet.cli import UserError
from planet.comparison import paired_difference
from planet.metrics import bootstrap_interval, fbeta_per_chip
from planet.records import best_run, find_run, list_runs, read_record
from planet.tools import planet_runs, prune, rerun

root = Path(__file__).resolve().parent.parent
VOCAB = ['clear', 'primary', 'road', 'water']

def stamped(day, hour=12): return f'2026-01-{day:02}T{hour:02}-00-00Z'

def make_run(out, day=1, f2=.5, name='', status='done', experiment='planet_resnet50', arch='resnet18', tail='',
             **facts):
    "A run's folder with nothing in it but its record."
    path = Path(out)/experiment/('-'.join(filter(None, (stamped(day), arch, name))) + tail)
    path.mkdir(parents=True)
    scores = {} if f2 is None else dict(scores=dict(f2=f2, f2_interval=[f2-.01, f2+.01], f2_baseline=.4))
    record = dict(experiment=experiment, name=name, status=status, options=dict(arch=arch, lr=.003, thresh=.2),
                  data=dict(source='sample'), seconds=12.5) | scores | facts
    (path/'record.json').write_text(json.dumps(record))
    return path

def with_tables(path, probs, targs, names=None, vocab=VOCAB, thresh=.2, **facts):
    "The tables of a validation set, and what the record says of them."
    names = [f'chip_{i}' for i in range(len(probs))] if names is None else names
    index = pd.Index(names, name='image_name')
    pd.DataFrame(probs, index, vocab).to_csv(path/'validation.csv', float_format='%.6g')
    if np.ndim(targs) == 2: pd.DataFrame(targs, index, vocab).astype(int).to_csv(path/'targets.csv')
    else: pd.DataFrame(dict(label=[vocab[i] for i in targs]), index).to_csv(path/'targets.csv')
    record = json.loads((path/'record.json').read_text())
    record['data'] |= dict(vocab=vocab, valid=len(probs))
    record['rule'] = dict(kind='thresh', thresh=thresh) if np.ndim(targs) == 2 else dict(kind='argmax')
    (path/'record.json').write_text(json.dumps(record | facts))
    return path

def made(n=100, seed=0, noise=1.5):
    "Targets of n chips, and probabilities that are right more often than not."
    rng = np.random.default_rng(seed)
    targs = np.random.default_rng(1).random((n, len(VOCAB))) < [.6, .9, .3, .2]
    return 1/(1 + np.exp(-np.where(targs, 1, -3) - rng.normal(0, noise, targs.shape))), targs

def run(*words, **kwargs):
    "`planet-runs` as its users run it."
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, [*kwargs.pop('before', []), root])))
    return subprocess.run([sys.executable, '-m', 'planet.tools.planet_runs', *map(str, words)], capture_output=True,
                          text=True, env=env, stdin=subprocess.DEVNULL, **kwargs)

def fits(text):
    "No line is longer than 80 but for a word that is; nothing but plain text."
    lines = text.splitlines()
    assert all(len(line) <= 80 or max(map(len, line.split())) > 60 for line in lines), max(lines, key=len)
    assert '\x1b' not in text and '\r' not in text
    return text

@pytest.fixture(scope='module')
def real(tmp_path_factory):
    "The folder of two real runs on 24 chips, of two learning rates."
    from planet.synthetic.chips import write_chips
    home = tmp_path_factory.mktemp('real')
    write_chips(home/'chips', n=24, size=32, seed=1)
    for name, lr in (('slow', .001), ('fast', .01)):
        words = ('--data chips --arch resnet18 --weights none --size 32 --epochs 1 --freeze_epochs 0 --no-tta '
                 f'--valid_pct .5 --lr {lr} --name {name}').split()
        done = subprocess.run([sys.executable, str(root/'experiments'/'planet_resnet50.py'), *words], cwd=home,
                              text=True, capture_output=True, env=dict(os.environ, PYTHONPATH=str(root)))
        assert done.returncode == 0, done.stderr
    return home

# ---- find and read

def test_a_run_by_path_name_beginning_last_and_best(tmp_path, monkeypatch):
    first = make_run(tmp_path/'runs', 1, .9, 'base')
    second = make_run(tmp_path/'runs', 2, .7)
    third = make_run(tmp_path/'runs', 3, None, 'broken', status='failed')
    monkeypatch.chdir(tmp_path)
    for word, path in ((first, first), (first/'record.json', first), ('base', first), (first.name, first),
                       ('2026-01-02', second), (f'planet_resnet50/{second.name}', second), ('last', third),
                       ('best', first), ('runs/planet_resnet50/' + second.name, second)):
        assert find_run(word).path.resolve() == path, word
    with pytest.raises(UserError, match='3 runs are called 2026: give the folder of one'): find_run('2026')
    with pytest.raises(UserError, match='no run is called bass, did you mean base?'): find_run('bass')
    with pytest.raises(UserError, match="no run is called xyz: give a run's folder, its name, last or best"):
        find_run('xyz')
    with pytest.raises(UserError, match='no record.json is in it, did you mean .*broken?'):
        find_run('runs/planet_resnet50')
    with pytest.raises(UserError, match="^nowhere/x: no such folder: give"): find_run('nowhere/x')
    make_run(tmp_path/'runs', 4, name='base')
    with pytest.raises(UserError, match='2 runs are called base'): find_run('base')
    assert read_record(first).started.isoformat() == '2026-01-01T12:00:00+00:00'

def test_last_and_best_of_nothing(tmp_path):
    with pytest.raises(UserError, match='no run is in it: train one'): find_run('last', tmp_path)
    with pytest.raises(UserError, match='none: no such folder, so there is no best run: train one'):
        find_run('best', tmp_path/'none')
    make_run(tmp_path, 1, None, status='running')
    with pytest.raises(UserError, match='no run with a score is in it'): find_run('best', tmp_path)

def test_best_is_by_f2_and_by_accuracy_where_there_is_none(tmp_path):
    make_run(tmp_path, 1, .7)
    make_run(tmp_path, 2, None, experiment='weather_resnet18', scores=dict(accuracy=.95))
    make_run(tmp_path, 3, .8, status='running')
    records, _ = list_runs(tmp_path)
    assert best_run(records).score('f2') == .7 and best_run(records[1:2]).score('accuracy') == .95

DAMAGED = {'': 'it is empty', '{"experiment": "x", "sta': 'it is no JSON, or half of it',
           '[1]': 'is no record of a run', '{"a": 1}': 'is no record of a run',
           '{"experiment": "x", "status": 3}': 'is no record of a run',
           '{"experiment": "x", "status": "done", "device": "cpu"}': 'device is no table',
           '{"experiment": "x", "status": "done", "data": {"vocab": "road"}}': 'vocab is no list',
           '{"experiment": "x", "status": "done", "options": [1]}': 'options is no table', '\0': 'no JSON',
           '{"experiment": "x", "status": "done", "rule": "argmax"}': 'rule is no table',
           '{"experiment": "x", "status": "done", "seconds": "12"}': 'seconds is no number',
           '{"experiment": "x", "status": "done", "command": 1}': 'command is no list',
           '{"experiment": "x", "status": "done", "data": {"source": []}}': 'source is no text',
           '{"experiment": "x", "status": "done", "scores": "high"}': 'scores is no table', '['*100_000: 'no JSON'}

@pytest.mark.parametrize('text', DAMAGED, ids=lambda t: DAMAGED[t][:24])
def test_a_damaged_foreign_or_half_written_record_is_one_line(tmp_path, text):
    whole, path = make_run(tmp_path, 1), make_run(tmp_path, 2)
    (path/'record.json').write_text(text)
    with pytest.raises(UserError) as e: read_record(path)
    assert DAMAGED[text] in str(e.value) and str(path) in str(e.value) and '\n' not in str(e.value)
    with pytest.raises(UserError, match='2026-01-02'): find_run('2026-01-02', tmp_path)
    records, damaged = list_runs(tmp_path)
    assert [r.path for r in records] == [whole] and [p for p, _ in damaged] == [path]

def test_odd_values_in_a_record_are_shown_or_told(tmp_path, capsys):
    path = make_run(tmp_path, seconds=None, peak_memory=dict(gpu='much'), together=['a', 3])
    planet_runs.show(str(path))
    assert 'gpu -' in capsys.readouterr().out and 'seconds' not in read_record(path).facts
    with pytest.raises(UserError, match='together is no list of lists'): read_record(path).groups(['a'])
    path = make_run(tmp_path, 2, rule=dict(kind='thresh', thresh=['high']))
    with pytest.raises(UserError, match=r"the threshold \['high'\]: from 0 to 1 is wanted"): planet_runs.show(str(path))

def test_damaged_runs_are_named_and_left_out_of_a_list(tmp_path, capsys):
    make_run(tmp_path, 1)
    (make_run(tmp_path, 2)/'record.json').unlink()
    (make_run(tmp_path, 3)/'record.json').write_bytes(b'\xff\xfe')
    (tmp_path/'folds').mkdir()
    (tmp_path/'planet_resnet50'/'notes').mkdir() # somebody's own
    (tmp_path/'planet_resnet50'/'.2026-01-01T12-00-00Z').mkdir()
    planet_runs.list(out=str(tmp_path))
    said = fits(capsys.readouterr().out)
    assert said.splitlines()[1].split()[0] == stamped(1)[:16] and said.count('left out') == 2
    assert 'no record.json is in it' in ' '.join(said.split()) and 'it is no text' in ' '.join(said.split())
    planet_runs.list(out=str(tmp_path), json=True)
    found = json.loads(capsys.readouterr().out)
    assert len(found['runs']) == 1 and len(found['damaged']) == 2 and found['runs'][0]['scores']['f2'] == .5

@pytest.mark.parametrize('spoil, told', [
    (lambda p, t: (p[:9], t), 'validation.csv has 9 rows, and record.json says 10'),
    (lambda p, t: (p.assign(road=1.5), t), 'has 1.5 for road of chip_0: no probability'),
    (lambda p, t: (p.assign(road='high'), t), "has high for road of chip_0: no probability"),
    (lambda p, t: (p.assign(road=float('nan')), t), "has nothing for road of chip_0: no probability"),
    (lambda p, t: (p.rename({'chip_1': 'chip_0'}), t), 'names chip_0 more than once'),
    (lambda p, t: (p.rename(columns={'road': 'rail'}), t), 'has other tags than record.json (rail, road)'),
    (lambda p, t: (p.rename_axis('name'), t), 'lacks the columns image_name'), (lambda p, t: (p[:0], t), 'has no rows'),
    (lambda p, t: (p, t[:8]), 'targets.csv lacks 2 of the chips of validation.csv, such as chip_8'),
    (lambda p, t: (p, t.drop(columns='road')), 'targets.csv lacks the columns image_name and clear'),
    (lambda p, t: (p, t*2), 'has other values than 0 and 1'), (lambda p, t: (p, None), 'targets.csv is missing'),
    (lambda p, t: (None, t), 'validation.csv is missing'),
])
def test_tables_that_do_not_fit_are_one_line(tmp_path, spoil, told):
    path = with_tables(make_run(tmp_path), *made(10))
    read = [pd.read_csv(path/f, index_col='image_name') for f in ('validation.csv', 'targets.csv')]
    for file, table in zip(('validation.csv', 'targets.csv'), spoil(*read)):
        (path/file).unlink() if table is None else table.to_csv(path/file)
    with pytest.raises(UserError) as e: read_record(path).result()
    assert told in str(e.value) and '\n' not in str(e.value)

@pytest.mark.parametrize('rule', [dict(kind='vote'), 'high', dict(kind='thresh', thresh=2),
                                  dict(kind='thresh', thresh=[.1, .2]), dict(kind='thresh', thresh='x')])
def test_a_rule_that_is_not_known(tmp_path, rule):
    path = with_tables(make_run(tmp_path), *made(10), rule=rule)
    told = 'record.json(: the decision rule| is damaged: rule is no table)'
    with pytest.raises(UserError, match=told): read_record(path).result()

def test_a_result_comes_back_as_it_was(tmp_path):
    probs, targs = made(30)
    names = ['007', 'NA', '1e3', *map(str, range(27))]
    path = with_tables(make_run(tmp_path), probs, targs, names, thresh=[.1, .2, .3, .4])
    shuffled = pd.read_csv(path/'targets.csv', dtype=str, keep_default_na=False).sample(frac=1, random_state=0)
    shuffled[['water', *VOCAB[:3], 'image_name']].to_csv(path/'targets.csv', index=False)
    result = read_record(path).result()
    assert result.names == names and result.vocab == VOCAB and (result.targs.numpy() == targs).all()
    assert np.allclose(result.probs, probs, rtol=1e-5) and (result.pred.numpy() == (probs > [.1, .2, .3, .4])).all()
    assert result.scores['f2'] == pytest.approx(fbeta_per_chip(probs > [.1, .2, .3, .4], targs).mean().item(), abs=1e-5)

# ---- list, show

def test_a_list_is_sorted_and_filtered(tmp_path, capsys):
    make_run(tmp_path, 1, .9, 'base')
    make_run(tmp_path, 2, .7, arch='convnext_tiny')
    make_run(tmp_path, 3, None, status='failed')
    make_run(tmp_path, 4, None, experiment='weather_resnet18', scores=dict(accuracy=.95, valid_loss=.3))
    def days(**options):
        planet_runs.list(out=str(tmp_path), **options)
        lines = fits(capsys.readouterr().out).splitlines()
        assert len(lines) < 2 or lines[0].startswith('run ')
        return [int(line[8:10]) for line in lines[1:]]
    assert days() == [4, 3, 2, 1] and days(sort='f2') == [1, 2, 4, 3] and days(sort='valid_loss')[0] == 4
    assert days(sort='name')[0] == 1 and days(sort='experiment')[-1] == 4
    assert days(experiment='weather*') == [4] and days(status='done', arch='resnet18') == [4, 1]
    assert days(name='base') == [1] and days(status='failed') == [3]
    planet_runs.list(out=str(tmp_path), arch='vgg')
    assert capsys.readouterr().out == f'{tmp_path}: none of its 4 runs has arch vgg\n'
    for options, told in ((dict(sort='acuracy'), '`sort` acuracy is nothing that runs have, did you mean accuracy?'),
                          (dict(status='dne'), '`status` dne is none of .*did you mean done?')):
        with pytest.raises(UserError, match=told): planet_runs.list(out=str(tmp_path), **options)

def test_long_names_are_cut_and_numbers_are_not(tmp_path, capsys):
    make_run(tmp_path, 1, .87654, 'a_long_name_'*4, arch='vit_small_patch14_dinov2.lvd142m',
             experiment='tags_and_weather_resnet50')
    planet_runs.list(out=str(tmp_path))
    line = fits(capsys.readouterr().out).splitlines()[1]
    assert line.startswith('2026-01-01T12-00 ') and line.endswith('done    0.8765  12 s') and line.count('...') >= 2

def test_two_runs_of_one_second(tmp_path):
    make_run(tmp_path, 1, .5)
    make_run(tmp_path, 1, .6, tail='-2')
    assert find_run('last', tmp_path).score('f2') == .6
    with pytest.raises(UserError, match='2 runs are called'): find_run(stamped(1), tmp_path)

def test_show(real, capsys):
    done = run('show', 'slow', cwd=real)
    said = fits(done.stdout)
    assert done.returncode == 0 and not done.stderr
    record = find_run('slow', real/'runs')
    for word in ('planet_resnet50, slow: done', '--lr 0.001', 'data chips', f"{record.score('f2'):.4f}",
                 'fingerprints: table', '12 to train on, 12 in the validation set', 'random weights', 'targets.csv'):
        assert word in ' '.join(said.split()), word
    tags = [line.split() for line in said.split('\ntag ')[1].splitlines()[1:]]
    assert {line[0] for line in tags[:tags.index([])]} == set(record.data['vocab'])
    shown = json.loads(run('show', 'slow', '--json', cwd=real).stdout)
    assert shown == dict(path=str(record.path.relative_to(real)), **record.facts)

def test_show_what_a_failed_run_has(tmp_path, capsys):
    make_run(tmp_path, 1, None, status='failed', error='ValueError: it broke\nhere', data=None, options=None)
    planet_runs.show('last', out=str(tmp_path))
    assert 'ValueError: it broke here' in fits(capsys.readouterr().out)

@pytest.mark.skipif(os.name != 'posix', reason='a POSIX shell')
def test_a_command_can_be_copied_from_the_screen(tmp_path, capsys):
    "Its lines are one command to a shell."
    command = ['python', 'experiments/planet_resnet50.py', '--data', 'a folder with  spaces', '--name', "it's",
               *(f'--option_{i}=value' for i in range(12))]
    make_run(tmp_path, 1, command=command)
    planet_runs.show('last', out=str(tmp_path))
    said = fits(capsys.readouterr().out)
    typed = said[said.index('\ncommand') + len('\ncommand'):said.index('\ndata')]
    shell = subprocess.run(['sh', '-c', f"set -- {typed}\nprintf '%s\\n' \"$@\""], capture_output=True, text=True)
    assert typed.count('\n') >= 3 and shell.stdout.splitlines() == command and not shell.stderr

# ---- compare

def test_two_real_runs_are_compared(real):
    done = run('compare', 'slow', 'fast', cwd=real)
    assert done.returncode == 0 and not done.stderr
    said = fits(done.stdout)
    found = json.loads(run('compare', 'slow', 'fast', '--json', cwd=real).stdout)
    assert found['differ'] == dict(lr=[.001, .01]) and not found['warnings']
    pair, = found['paired']
    tables = [[pd.read_csv(find_run(n, real/'runs').path/f'{t}.csv', index_col=0)
               for t in ('validation', 'targets')] for n in ('slow', 'fast')]
    preds = [p.to_numpy() > .2 for p, _ in tables]
    scores = [fbeta_per_chip(pred, t.to_numpy()) for pred, (_, t) in zip(preds, tables)]
    assert (tables[0][1] == tables[1][1]).all(axis=None) and pair['chips'] == 12
    assert pair['mean'] == pytest.approx((scores[1].double() - scores[0].double()).mean().item())
    assert pair['interval'] == pytest.approx(bootstrap_interval(scores[1], scores[0]))
    assert pair['differ'] == (preds[0] != preds[1]).any(1).sum()
    assert f"{pair['mean']:+.4f}" in said and ('0.90 to 0.94' in said) == (0 < pair['differ'] < 50)

def test_few_different_decisions_are_warned_of(tmp_path, capsys):
    probs, targs = made(200)
    a = with_tables(make_run(tmp_path, 1, None), probs, targs)
    for day, n in ((2, 49), (3, 50), (4, 0)):
        other = probs.copy()
        other[:n, 2] = np.where(other[:n, 2] > .2, .1, .9)
        with_tables(make_run(tmp_path, day, None), other, targs)
        planet_runs.compare([str(a), stamped(day)], out=str(tmp_path))
        said = ' '.join(fits(capsys.readouterr().out).split())
        assert f' 200 {n} ' in said and ('WARNING' in said) == (n == 49), n
        if n == 49: assert 'differ on 49 of 200 chips: below 50' in said and 'in 0.90 to 0.94 of cases, not in' in said

def test_order_and_other_chips_do_not_matter(tmp_path, capsys):
    (probs, targs), names = made(80), [f'c{i}' for i in range(80)]
    better = np.where(targs, .9, .1)*.5 + probs*.5
    a = read_record(with_tables(make_run(tmp_path, 1), probs[:60], targs[:60], names[:60])).result()
    b = with_tables(make_run(tmp_path, 2), better[:60], targs[:60], names[:60])
    same = paired_difference(a, read_record(b).result())
    rows, columns = np.random.default_rng(0).permutation(80), [2, 0, 3, 1]
    c = with_tables(make_run(tmp_path, 3), better[rows][:, columns], targs[rows][:, columns],
                    [names[i] for i in rows], [VOCAB[i] for i in columns])
    found = paired_difference(a, read_record(c).result())
    assert found == same and found.chips == 60 and found.mean > 0 and found.differ > 0 == found.relabelled
    planet_runs.compare([str(tmp_path/'planet_resnet50'/f'{stamped(d)}-resnet18') for d in (1, 3)])
    assert 'the validation sets have 80 and 60 chips, and share 60' in ' '.join(capsys.readouterr().out.split())
    back = paired_difference(read_record(c).result(), a)
    assert back.mean == pytest.approx(-found.mean) and back.differ == found.differ

def test_relabelled_chips_are_left_out(tmp_path, capsys):
    probs, targs = made(40)
    a = with_tables(make_run(tmp_path, 1), probs, targs)
    targs[:3, 0] ^= True
    b = with_tables(make_run(tmp_path, 2), probs, targs)
    found = paired_difference(*(read_record(p).result() for p in (a, b)))
    assert (found.chips, found.relabelled, found.mean, found.differ) == (37, 3, 0, 0)
    planet_runs.compare([str(a), str(b)])
    assert '3 chips are left out, whose true tags are not the same' in ' '.join(capsys.readouterr().out.split())

def test_single_labels_are_compared_by_accuracy(tmp_path):
    rng, classes = np.random.default_rng(0), ['clear', 'cloudy', 'haze']
    targs, probs = rng.integers(0, 3, 50), rng.dirichlet([1, 1, 1], 50)
    perfect = np.eye(3)[targs]
    order = [2, 0, 1] # the other run has its classes in another order
    a = with_tables(make_run(tmp_path, 1, None), probs, targs, vocab=classes)
    b = with_tables(make_run(tmp_path, 2, None), perfect[:, order], [order.index(t) for t in targs],
                    vocab=[classes[i] for i in order])
    found = paired_difference(*(read_record(p).result() for p in (a, b)))
    wrong = probs.argmax(1) != targs
    assert found.score == 'accuracy' and found.mean == pytest.approx(wrong.mean()) and found.differ == wrong.sum()
    tags = read_record(with_tables(make_run(tmp_path, 3), *made(50))).result()
    with pytest.raises(UserError, match='gives each chip a single label'):
        paired_difference(tags, read_record(a).result())

def test_what_cannot_be_paired_is_said_and_the_rest_is_shown(tmp_path, capsys):
    probs, targs = made(20)
    a = with_tables(make_run(tmp_path, 1, .9), probs, targs)
    b = with_tables(make_run(tmp_path, 2, .8, options=dict(lr=.1)), probs, targs, [f'other_{i}' for i in range(20)])
    c = with_tables(make_run(tmp_path, 3, .7), probs[:, :3], targs[:, :3], vocab=VOCAB[:3])
    d = make_run(tmp_path, 4, .6)
    planet_runs.compare([*map(str, (a, b, c, d))])
    said = ' '.join(fits(capsys.readouterr().out).split())
    for word in ('they scored no chip in common', 'they have different tags (water)', 'validation.csv is missing',
                 '0.9000', '0.6000', 'lr A 0.003, B 0.1, C 0.003'): assert word in said, word
    for runs, told in (([str(a)], 'name two runs at least'), ([str(a), str(b), str(a)], 'are one run, .*01-01T')):
        with pytest.raises(UserError, match=told): planet_runs.compare(runs)

def test_a_record_whose_tables_were_changed(tmp_path, capsys):
    probs, targs = made(40)
    a = with_tables(make_run(tmp_path, 1, .99), probs, targs)
    b = with_tables(make_run(tmp_path, 2, None), probs, targs)
    planet_runs.compare([str(a), str(b)])
    assert 'one of them was changed after the run' in ' '.join(capsys.readouterr().out.split())

def test_duplicates_are_drawn_together(tmp_path):
    "Each chip four times: the interval of 25 chips, not of 100."
    probs, targs = made(25)
    better = np.where(targs, .9, .1)*.5 + probs*.5
    names = [f'c{i}' for i in range(100)]
    together = [names[i::25] for i in range(25)]
    def saved(day, p, n, **facts): return read_record(with_tables(
        make_run(tmp_path, day), np.tile(p, (n, 1)), np.tile(targs, (n, 1)), names[:25*n], **facts)).result()
    few = paired_difference(saved(1, probs, 1), saved(2, better, 1))
    many = paired_difference(saved(3, probs, 4), saved(4, better, 4))
    grouped = paired_difference(saved(5, probs, 4, together=together), saved(6, better, 4, together=together))
    def width(d): return d.interval[1] - d.interval[0]
    assert width(grouped) == pytest.approx(width(few), rel=.15) and width(many) < .7*width(few)
    result = saved(7, probs, 4, together=together)
    assert sorted(map(sorted, result.facts()['together'])) == sorted(map(sorted, together))

def test_chips_called_by_numbers_are_no_groups(tmp_path):
    "The first set of duplicates is not of one group with a chip called 0."
    probs, targs = made(12)
    path = with_tables(make_run(tmp_path), probs, targs, [str(i) for i in range(12)], together=[['5', '7'], ['3', '9']])
    groups = list(map(str, read_record(path).result().groups))
    assert len(set(groups)) == 10 and groups[5] == groups[7] != groups[0] and groups[3] == groups[9] != groups[1]
    from planet.run_files import read_run
    assert len(set(map(str, read_run(path).groups))) == 10

def test_runs_on_one_scene_are_compared_without_an_interval(tmp_path, capsys):
    probs, targs = made(20)
    names = [f'chip_{i}' for i in range(20)]
    runs = [str(with_tables(make_run(tmp_path, day), p, targs, together=[names]))
            for day, p in ((1, probs), (2, 1 - probs))]
    planet_runs.compare(runs)
    assert 'of one group (a scene)' in ' '.join(fits(capsys.readouterr().out).split())
    planet_runs.compare(runs, json=True)
    assert json.loads(capsys.readouterr().out)['paired'][0]['interval'] == [None, None]

# ---- report, rerun

def test_report_writes_the_page_and_says_where(tmp_path, monkeypatch, capsys):
    page = pytest.importorskip('planet.report')
    path = make_run(tmp_path, 1)
    monkeypatch.setattr(page, 'write_report', lambda folder: folder/'report.html')
    planet_runs.report('last', out=str(tmp_path))
    assert capsys.readouterr().out == f"{path/'report.html'}\n"

def test_rerun_says_what_changed_and_gives_the_same_scores(real, tmp_path):
    home = Path(shutil.copytree(real, tmp_path/'copy'))
    done = run('rerun', 'slow', cwd=home)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert 'code      the same commit and versions' in said
    assert 'data      the same data: chips, labels and split' in said and 'weights   the same initial weights' in said
    assert 'scores    the same, to the last digit' in said and 'planet-runs compare' in said
    assert said.index('weights   the same') < said.index('epoch 1')
    old, new = find_run(find_run('slow', real/'runs').path), find_run('last', home/'runs')
    assert new.options == old.options and new.path.name != old.path.name
    assert (new.path/'validation.csv').read_bytes() == (old.path/'validation.csv').read_bytes()

def test_rerun_tells_other_code_data_and_versions(real, tmp_path, capsys):
    home = Path(shutil.copytree(real, tmp_path/'copy'))
    path = find_run('fast', home/'runs').path
    facts = json.loads((path/'record.json').read_text())
    facts['git'] |= dict(commit='0'*40)
    facts['versions'] |= dict(torch='2.0')
    (path/'record.json').write_text(json.dumps(facts))
    said = ' '.join(run('rerun', 'fast', '--dry_run', cwd=home).stdout.split())
    assert f"CHANGED commit: {'0'*40} then, " in said and 'CHANGED version of torch: 2.0 then, ' in said
    assert '--lr 0.01' in said and len(list_runs(home/'runs')[0]) == 2
    found = json.loads(run('rerun', 'fast', '--json', cwd=home).stdout)
    assert found['command'][1].endswith('planet_resnet50.py') and len(found['changed']) == 2
    table = home/'chips'/'train_v2.csv'
    rows = table.read_text().splitlines()
    table.write_text('\n'.join([*rows[:-1], rows[-1].split(',')[0] + ',' + rows[1].split(',')[1]]) + '\n')
    said = ' '.join(run('rerun', 'fast', cwd=home).stdout.split())
    assert 'CHANGED fingerprint of table: ' in said and 'scores CHANGED' in said
    shutil.rmtree(home/'chips')
    done = run('rerun', path, cwd=home)
    assert done.returncode == 1 and 'planet_resnet50.py: ' in done.stderr

def test_the_command_of_a_run_that_python_started(tmp_path):
    options = dict(arch='resnet18', tta=False, skip_bad=True, lr=.01, data='my chips', resume='x', name='a')
    record = read_record(make_run(tmp_path, options=options))
    assert rerun.command_of(record)[2:] == ['--data=my chips', '--arch=resnet18', '--lr=0.01', '--no-tta', '--skip_bad',
                                            '--name=a'] or set(rerun.command_of(record)[2:]) == {
        '--data=my chips', '--arch=resnet18', '--lr=0.01', '--no-tta', '--skip_bad', '--name=a'}
    typed = ['python', str(root/'experiments'/'planet_resnet50.py'), '--resume', 'last', '--lr', '1e-3', '--resume=x']
    record = read_record(make_run(tmp_path, 2, command=typed))
    assert rerun.command_of(record)[2:] == ['--lr', '1e-3']
    for facts, told in ((dict(experiment='elsewhere'), 'elsewhere.py is not here'),
                        (dict(command=['python', 'gone.txt'], experiment='x'), 'gone.txt is not here'),
                        (dict(command='rm -rf'), 'its command is no list of words')):
        path = make_run(tmp_path, 3, tail=f'-{told[:4]}'.replace(' ', ''))
        (path/'record.json').write_text(json.dumps(dict(experiment='planet_resnet50', status='done') | facts))
        with pytest.raises(UserError, match=told): rerun.command_of(read_record(path))

SLEEPY = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    print('begun', flush=True) # a signal may come as soon as this is read
    time.sleep(30)
finally: print('tidied up', flush=True)
"""

@pytest.mark.skipif(os.name != 'posix', reason='signals as POSIX has them')
@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command_that_is_repeated(tmp_path, signum):
    (tmp_path/'sleepy.py').write_text(SLEEPY)
    make_run(tmp_path/'runs', 1, command=['python', 'sleepy.py'], experiment='sleepy')
    def heeding(): signal.signal(signal.SIGINT, signal.default_int_handler) # even where pytest ignores it
    words = [sys.executable, '-m', 'planet.tools.planet_runs', 'rerun', 'last']
    ours = subprocess.Popen(words, cwd=tmp_path, text=True, env=dict(os.environ, PYTHONPATH=str(root)),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heeding)
    said = []
    while not said or 'begun' not in said[-1]: said.append(ours.stdout.readline())
    if signum == signal.SIGINT: os.killpg(ours.pid, signum) # as a terminal does
    else: ours.send_signal(signum)
    out, err = ours.communicate(timeout=20)
    assert 'tidied up' in out and ours.returncode == (143 if signum == signal.SIGTERM else 130)
    assert 'planet-runs' not in err

# ---- prune

def old(path, days=3):
    for p in path.rglob('*'): os.utime(p, (time.time() - days*86400,)*2)
    return path

def test_prune_takes_what_ended_early_and_left_nothing(tmp_path, capsys):
    best = make_run(tmp_path, 1, .9)
    failed, stopped = make_run(tmp_path, 2, None, status='failed'), make_run(tmp_path, 3, None, status='interrupted')
    resumable = make_run(tmp_path, 4, None, status='interrupted')
    diverged = make_run(tmp_path, 5, None, status='diverged')
    for run, name in ((resumable, 'epoch-1'), (stopped, '.epoch-1.part')): # the other was cut off while it was written
        (run/'checkpoint'/name).mkdir(parents=True)
        (run/'checkpoint'/name/'model.safetensors').write_bytes(b'x')
    planet_runs.show(str(resumable))
    assert f"resume='{resumable}'" in (said := capsys.readouterr().out) and '\nresume ' in said
    scored = with_tables(make_run(tmp_path, 6, None, status='failed'), *made(10))
    dead, alive = old(make_run(tmp_path, 7, None, status='running')), make_run(tmp_path, 8, None, status='running')
    damaged = make_run(tmp_path, 9)
    (damaged/'record.json').write_text('{')
    last = make_run(tmp_path, 10, None, status='failed')
    kept = {best, resumable, scored, alive, damaged, last}
    planet_runs.prune(out=str(tmp_path))
    said = fits(capsys.readouterr().out)
    assert [int(line[8:10]) for line in said.splitlines() if line.startswith('2026')] == [7, 5, 3, 2]
    assert 'nothing is deleted without `yes`' in said and 'left alone' in said and failed.exists()
    planet_runs.prune(out=str(tmp_path), json=True, status='diverged')
    found, = json.loads(capsys.readouterr().out)['runs']
    assert found['why'] == 'diverged, without a checkpoint' and not found['deleted'] and found['bytes'] > 100
    planet_runs.prune(out=str(tmp_path), yes=True)
    assert '4 of 9 runs deleted' in capsys.readouterr().out
    assert {p for p in (tmp_path/'planet_resnet50').iterdir()} == kept and stopped not in kept and diverged not in kept
    assert dead not in kept
    planet_runs.prune(out=str(tmp_path))
    assert 'none of 5 runs would go' in capsys.readouterr().out

def test_a_killed_run_is_told_from_one_that_goes_on(tmp_path, capsys):
    "The system lets a lock go when its process dies."
    from planet.locks import locked
    killed, running = (make_run(tmp_path, day, None, status='running') for day in (1, 2))
    make_run(tmp_path, 3)
    (killed/'.lock').touch()
    with locked(running/'.lock'):
        assert [r.status for r in list_runs(tmp_path)[0]] == ['done', 'running', 'killed']
        planet_runs.list(out=str(tmp_path), status='killed')
        assert '2026-01-01' in (said := capsys.readouterr().out) and '2026-01-02' not in said
        planet_runs.prune(out=str(tmp_path), yes=True)
        assert not killed.exists() and running.exists() and 'killed, without a checkpoint' in capsys.readouterr().out

def test_prune_by_age_keeps_the_best_and_last_of_each(tmp_path):
    def sources(day, f2, source, **kwargs): return make_run(tmp_path, day, f2, data=dict(source=source), **kwargs)
    sources(1, .80, 'real'), sources(2, .88, 'real'), sources(3, .97, 'synthetic'), sources(4, .5, 'synthetic')
    sources(5, .5, 'real'), sources(6, .4, 'real'), sources(7, None, 'real', experiment='weather_resnet18')
    records, _ = list_runs(tmp_path)
    assert [r.started.day for r, _ in prune.to_prune(records, 1)] == [5, 1]
    assert not prune.to_prune(records) and not prune.to_prune(records, 1e6) and not prune.to_prune([])
    with pytest.raises(UserError, match='older_than'): planet_runs.prune(-1., out=str(tmp_path))
    with pytest.raises(UserError, match='older_than'): planet_runs.prune(float('nan'), out=str(tmp_path))

@pytest.mark.skipif(os.name != 'posix', reason='symbolic links')
def test_prune_deletes_nothing_that_lies_elsewhere(tmp_path):
    make_run(tmp_path/'runs', 9)
    elsewhere = make_run(tmp_path/'other', 1, None, status='failed')
    (tmp_path/'runs'/'planet_resnet50'/elsewhere.name).symlink_to(elsewhere)
    with pytest.raises(UserError, match='symbolic link'): planet_runs.prune(out=str(tmp_path/'runs'), yes=True)
    assert (elsewhere/'record.json').exists()

def test_a_run_that_goes_on_meanwhile_is_left_alone(tmp_path, monkeypatch):
    path, _ = make_run(tmp_path, 1, None, status='interrupted'), make_run(tmp_path, 2)
    records, damaged = list_runs(tmp_path)
    monkeypatch.setattr(prune, 'list_runs', lambda out: (records, damaged))
    facts = json.loads((path/'record.json').read_text()) | dict(status='running')
    (path/'record.json').write_text(json.dumps(facts)) # resumed just now
    with pytest.raises(UserError, match='was written to just now'): planet_runs.prune(out=str(tmp_path), yes=True)
    assert path.exists()

# ---- the command

HEAVY = '{"torch", "fastai", "pandas", "numpy", "matplotlib"}'

@pytest.mark.parametrize('words', [['--help'], *([c, '--help'] for c in ('list', 'show', 'compare', 'report', 'rerun',
                                                                       'prune')), ['list'], ['list', '--sort', 'f2'],
                                   ['show', 'last'], ['show', 'best', '--json'], ['prune', '--yes'], ['lst'],
                                   ['list', '--srt', 'f2'], ['compare', 'last'], ['show', 'nothing'], ['show'],
                                   ['rerun', 'last', '--dry_run'], ['report', 'nothing']], ids=' '.join)
def test_no_large_library_is_loaded(tmp_path, words):
    make_run(tmp_path/'runs', 1)
    for name in ('torch', 'fastai', 'pandas', 'numpy', 'matplotlib'):
        (tmp_path/f'{name}.py').write_text(f'raise RuntimeError("{name} was imported")')
    done = run(*words, cwd=tmp_path, before=[tmp_path])
    assert 'was imported' not in done.stderr and 'Traceback' not in done.stderr
    wrong = {'lst', '--srt', 'nothing'} & {*words} or words in (['show'], ['compare', 'last'])
    if wrong: assert done.returncode and done.stderr.count('\n') == 1 and not done.stdout
    else: assert done.returncode == 0 and done.stdout and not done.stderr, done.stderr

def test_the_command_is_installed():
    from configparser import ConfigParser
    config = ConfigParser(delimiters='=')
    config.read(root/'settings.ini', encoding='utf-8')
    assert 'planet-runs=planet.tools.planet_runs:main' in config['DEFAULT']['console_scripts'].split()
