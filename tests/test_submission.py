"The competition's submission: built, checked, sent with the real client to a loopback Kaggle, its score recorded."
import csv
import json
import os
import shutil
import kagglesdk.kaggle_env as kaggle_env
import pytest
from fake_kaggle import FakeKaggle
from planet import submission
from planet.amazon import COMPETITION, WEATHER
from planet.chips import from_folder
from planet.cli import UserError
from planet.data import tags_dls
from planet.download import http as download
from planet.inference import Tagger
from planet.learner import chip_learner, find_loss
from planet.model_files import save_model
from planet.results import evaluate
from planet.rules import AboveThreshold, decided
from planet.splits import random_split
from planet.store import ChipStore
from planet.submission import check_submission, sample_names, send, write_submission
from planet.tools.submit import submit
from planet.tools.tag import exactly_one, tag_command, tag_images

NAMES = ['test_0', 'test_1', 'file_0', 'test_2']
GIVEN = dict(out='', overwrite=False, resume=False, bs=4, workers=1, upload='')

@pytest.fixture(scope='module')
def tagger(drawn, tmp_path_factory):
    "A tiny untrained tagger in a run's folder."
    chips = from_folder(drawn)
    split = random_split(chips)
    learn = chip_learner(tags_dls(chips, ChipStore(chips.paths, 32), split, 16), 'resnet18', 'none',
                         find_loss('bce', chips.vocab, .2))
    run = tmp_path_factory.mktemp('run')
    (run/'record.json').write_text(json.dumps(dict(experiment='x', status='done', scores=dict(f2=.5))))
    return Tagger.load(save_model(run/'model', learn, decided(evaluate(learn, chips, split), 'expected'), chips))

@pytest.fixture
def test_set(drawn, tmp_path, monkeypatch):
    "The competition's folder with four test chips; the working folder is an empty one."
    folder = tmp_path/'planet'
    for place in ('test-jpg', 'test-jpg-additional'): (folder/place).mkdir(parents=True)
    for i, name in enumerate(NAMES):
        place = 'test-jpg-additional' if name.startswith('file') else 'test-jpg'
        shutil.copy(drawn/'train-jpg'/f'train_{i}.jpg', folder/place/f'{name}.jpg')
    (folder/'sample_submission_v2.csv').write_text('image_name,tags\n' + ''.join(f'{n},primary clear\n' for n in NAMES))
    (tmp_path/'work').mkdir()
    monkeypatch.chdir(tmp_path/'work')
    return folder

@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    "Kaggle on loopback, an empty home with a token, and no waiting between questions."
    for name in list(os.environ):
        if name.startswith('KAGGLE_'): monkeypatch.delenv(name)
    for name in ('HOME', 'USERPROFILE'): monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv('KAGGLE_CONFIG_DIR', str(tmp_path/'.kaggle'))
    monkeypatch.setenv('KAGGLE_API_TOKEN', 'good-token')
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'all_proxy'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, 'PAUSE', 0)
    monkeypatch.setattr(submission, 'EVERY', 0)
    fake = FakeKaggle()
    with fake.serving():
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, fake.address)
        yield fake

def build(tagger, folder, **options):
    return submit(tagger, {**GIVEN, 'submission': str(folder), **options}, tag_images, rows=len(NAMES))

def fails(call, *args, words, **kwargs):
    with pytest.raises(UserError) as e: call(*args, **kwargs)
    assert '\n' not in str(e.value) and words in str(e.value), str(e.value)

# ---- the file

def test_a_submission_has_the_samples_rows_in_its_order(tagger, test_set, tmp_path, capsys):
    build(tagger, test_set)
    header, *rows = csv.reader((tmp_path/'work'/'submission.csv').open())
    assert header == ['image_name', 'tags'] and [r[0] for r in rows] == NAMES
    places = [test_set/('test-jpg-additional' if n.startswith('file') else 'test-jpg')/f'{n}.jpg' for n in NAMES]
    import torch
    probs = tagger.probabilities(torch.stack([tagger.open(p) for p in places]))
    assert [r[1].split() for r in rows] == tagger.tags(probs)
    assert sorted(p.name for p in (tmp_path/'work').iterdir()) == ['submission-probabilities.csv', 'submission.csv']
    assert '4 rows, checked' in capsys.readouterr().out
    fails(build, tagger, test_set, words='submission.csv exists')
    build(tagger, test_set, overwrite=True)

def test_a_finished_one_is_gone_on_with(tagger, test_set, kaggle, tmp_path, monkeypatch, capsys):
    build(tagger, test_set)
    out, work = tmp_path/'work'/'submission.csv', tmp_path/'work'/'submission-probabilities.csv'
    before = out.read_bytes(), work.read_bytes()
    def nothing(*args, **kwargs): raise AssertionError('tagged again')
    def again(**options):
        return submit(tagger, {**GIVEN, 'submission': str(test_set), 'resume': True, **options}, nothing, len(NAMES))
    out.unlink() # the disk was full
    again()
    assert (out.read_bytes(), work.read_bytes()) == before
    again(upload='went off line')
    again(upload='went off line') # is not sent twice
    assert len(kaggle.submissions) == 1 and 'was sent before' in capsys.readouterr().out
    with monkeypatch.context() as other: # the same chips, another model
        real = tagger.probabilities
        other.setattr(tagger, 'probabilities', lambda pixels: 1 - real(pixels))
        fails(again, words='and of another model or of other images: `overwrite` it')
    work.write_text(work.read_text().replace('test_1', 'test_9'))
    fails(again, words='of another model or of other images')
    work.write_text(''.join(work.read_text().replace('test_9', 'test_1').splitlines(keepends=True)[:-1]))
    fails(again, words='lacks 1 test chips, which could not be read: `overwrite` it')

def test_resume_is_asked_of_the_submission_and_not_of_its_name(tagger, test_set, tmp_path):
    build(tagger, test_set)
    def call(**options):
        given = dict(model=str(tagger.folder), runs='runs', inputs=[], html='', recall='', export='', serve=False,
                     engine='torch', one_weather=False)
        tag_command({**GIVEN, **given, 'submission': str(test_set), 'out': 'submission.csv', **options})
    fails(call, words='submission.csv exists')
    fails(call, resume=True, words='the competition has 61,191') # these are four

def test_rows_without_exactly_one_weather_are_counted(tagger, test_set, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tagger, 'rule', AboveThreshold(.999)) # no tag at all
    build(tagger, test_set)
    assert '4 of 4 rows have not exactly one weather (4 none, 0 several)' in capsys.readouterr().out
    monkeypatch.setattr(tagger, 'facts', tagger.facts)
    exactly_one(tagger)
    build(tagger, test_set, overwrite=True)
    assert 'not exactly one' not in capsys.readouterr().out
    _, *rows = csv.reader((tmp_path/'work'/'submission.csv').open())
    assert all(len(tags.split()) == 1 and tags in WEATHER for _, tags in rows)

def test_what_is_missing_is_told_before_anything_is_tagged(tagger, test_set, tmp_path):
    (test_set/'test-jpg-additional'/'file_0.jpg').unlink()
    fails(build, tagger, test_set, words='1 of 4 test chips, such as file_0, are not in')
    sample = test_set/'sample_submission_v2.csv'
    fails(sample_names, test_set, words='lists 4 different names, and the competition has 61,191')
    sample.write_text('id,tags\n')
    fails(build, tagger, test_set, words='has the header id,tags')
    sample.unlink()
    fails(build, tagger, test_set, words='is not there: fetch the competition')
    assert not list((tmp_path/'work').iterdir())

def test_a_model_of_other_tags_makes_no_submission(tagger, test_set, tmp_path, monkeypatch):
    monkeypatch.setattr(tagger, 'vocab', ['forest', *tagger.vocab[1:]])
    fails(build, tagger, test_set, words='tags that the competition does not have, such as forest')
    assert not list((tmp_path/'work').iterdir())

def test_an_unreadable_test_chip_leaves_no_submission(tagger, test_set, tmp_path):
    (test_set/'test-jpg'/'test_1.jpg').write_bytes(b'no image')
    fails(build, tagger, test_set, words='1 test chips cannot be read')
    assert not (tmp_path/'work'/'submission.csv').exists()

@pytest.mark.parametrize('change,words', [
    (lambda rows: rows[:-1], 'has 3 rows: 4 are wanted'), (lambda rows: rows[::-1], 'line 2: test_2 where'),
    (lambda rows: [(n, 'primary cleer') for n, _ in rows], "'cleer' is no tag"),
    (lambda rows: [(n, 'road road') for n, _ in rows], 'a tag twice'),
    (lambda rows: [(n, 'primary') for n, _ in rows], '0 of clear, partly_cloudy'),
    (lambda rows: [(n, 'clear haze') for n, _ in rows], '2 of clear')])
def test_a_wrong_one_is_refused(tmp_path, change, words):
    right = [(n, 'clear primary') for n in NAMES]
    path = write_submission(tmp_path/'s.csv', ((n, t.split()) for n, t in right))
    assert check_submission(path, NAMES, group=WEATHER, exact=True) == {1: 4}
    before = path.read_bytes()
    def check(part): check_submission(part, NAMES, group=WEATHER, exact=True)
    fails(write_submission, path, ((n, t.split()) for n, t in change(right)), check, words=words)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1

# ---- sent

def test_it_is_sent_scored_and_recorded(tagger, test_set, kaggle, tmp_path, capsys):
    build(tagger, test_set, upload='first try')
    sent, = kaggle.submissions
    assert sent['description'] == 'first try' and sent['data'] == (tmp_path/'work'/'submission.csv').read_bytes()
    said = capsys.readouterr().out
    assert 'public score 0.93, private score 0.92' in said and 'good-token' not in said
    record = json.loads((tagger.folder.parent/'record.json').read_text())
    note = record['submissions'][-1]
    assert record['scores'] == dict(f2=.5) and note['status'] == 'complete' and note['message'] == 'first try'
    assert (note['public_score'], note['private_score'], note['ref']) == ('0.93', '0.92', sent['ref'])
    assert sum(p.endswith('ListSubmissions') for _, p, _ in kaggle.seen) == 2 # pending, then scored

def test_one_that_kaggle_cannot_score(kaggle, tmp_path):
    kaggle.scores = ['PENDING', 'ERROR']
    (tmp_path/'s.csv').write_text('x')
    fails(send, tmp_path/'s.csv', 'x', words='Kaggle could not score')

def test_faults_are_told_in_a_line(kaggle, tmp_path, monkeypatch):
    (tmp_path/'s.csv').write_text('x')
    kaggle.faults = [('/upload/', 400)]
    fails(send, tmp_path/'s.csv', 'x', words='could not be uploaded')
    kaggle.accepted = False
    fails(send, tmp_path/'s.csv', 'x', words=f'accept the rules at https://www.kaggle.com/c/{COMPETITION}/rules')
    monkeypatch.setenv('KAGGLE_API_TOKEN', 'bad')
    fails(send, tmp_path/'s.csv', 'x', words='does not accept the credentials')
    assert not kaggle.submissions
