"Likely label errors: their ranking, the table of suspects, the corrected label table, and what is refused."
import json
import numpy as np
import pandas as pd
import pytest
from planet.chips import from_folder
from planet.cli import UserError
from planet.label_errors import COLUMNS, rank_labels, read_corrections, suspect_table, write_corrected, write_suspects
from planet.tools.labels import labels_run

VOCAB = ['clear', 'primary', 'road', 'water']

def noisy(n=200, seed=0, planted=8):
    "Probabilities of a good model, and labels of which some were made wrong."
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 4)) < [.7, .9, .3, .2]
    probs = 1/(1 + np.exp(-(6*truth - 3 + .8*rng.normal(size=truth.shape))))
    wrong = np.zeros_like(truth)
    wrong[rng.choice(n, planted, replace=False), rng.integers(0, 4, planted)] = True
    return probs, truth ^ wrong, wrong

def test_planted_errors_rank_first():
    probs, labels, wrong = noisy()
    ranked = rank_labels(probs, labels)
    assert len(ranked) == 800 and len({tuple(o) for o in ranked}) == 800
    assert sum(wrong[row, column] for row, column in ranked[:16]) >= 7
    table = suspect_table(probs, labels, [f'train_{i}' for i in range(200)], VOCAB, 16)
    assert tuple(table) == COLUMNS and list(table['rank']) == list(range(1, 17)) and (table.corrected == '').all()
    row, column = ranked[0]
    assert table.image_name[0] == f'train_{row}' and table.tag[0] == VOCAB[column]
    assert table.given[0] == labels[row, column] and table.probability[0] == pytest.approx(probs[row, column])

@pytest.fixture
def run(folder, tmp_path):
    "A run on a folder of chips, whose first chip the model finds to have another first tag than its table says."
    chips = from_folder(folder)
    probs = np.where(chips.targets, .95, .05)
    probs[0, 0] = 1 - probs[0, 0]
    path = tmp_path/'runs'/'planet_kfold'/'2026-01-01T00-00-00Z-x'
    path.mkdir(parents=True)
    index = pd.Index(chips.table.image_name, name='image_name')
    pd.DataFrame(probs, index, chips.vocab).to_csv(path/'validation.csv')
    pd.DataFrame(chips.targets.astype(int), index, chips.vocab).to_csv(path/'targets.csv')
    (path/'record.json').write_text(json.dumps(dict(
        experiment='planet_kfold', status='done', options=dict(data=str(folder)), out_of_fold=True,
        rule=dict(kind='thresh', thresh=.2), data=dict(folder=str(folder), vocab=chips.vocab, valid=len(chips)))))
    return path

def test_from_suspects_to_a_corrected_table_beside_the_old_one(run, folder, capsys):
    from PIL import Image
    chips, old = from_folder(folder), (folder/'train_v2.csv').read_bytes()
    labels_run(str(run), most=20)
    suspects = pd.read_csv(run/'suspects.csv', dtype=dict(corrected=str))
    tag, name = chips.vocab[0], chips.table.image_name[0]
    assert len(suspects) == 20 and (suspects.image_name[0], suspects.tag[0]) == (name, tag)
    assert np.asarray(Image.open(run/'suspects.png').convert('L')).std() > 5
    suspects.loc[0, 'corrected'] = '0' if suspects.given[0] else 'yes'
    suspects.loc[1, 'corrected'] = str(suspects.given[1]) # looked at, and right
    suspects.to_csv(run/'mine.csv', index=False)
    labels_run(str(run), corrected=str(run/'mine.csv'))
    made = folder/'train_v2-corrected.csv'
    assert '1 of 2 labels' in capsys.readouterr().out and (folder/'train_v2.csv').read_bytes() == old
    new, same = from_folder(made), from_folder(folder)
    assert same.table.tags.equals(chips.table.tags), 'a folder is read as before'
    differ = [i for i in range(60) if new.table.tags[i] != chips.table.tags[i]]
    assert differ == [0] and ({*new.table.tags[0]} ^ {*chips.table.tags[0]}) == {tag} and new.paths == chips.paths

def test_nothing_is_written_over(run, folder):
    labels_run(str(run), most=3)
    (run/'suspects.csv').write_text('my corrections')
    with pytest.raises(UserError, match='suspects.csv is there already'): labels_run(str(run), most=3)
    assert (run/'suspects.csv').read_text() == 'my corrections' and not list(run.glob('.*part'))
    chips = from_folder(folder)
    fix = {(chips.table.image_name[0], chips.vocab[0]): True}
    path, _ = write_corrected(folder, fix)
    with pytest.raises(UserError, match='is there already'): write_corrected(folder, fix)
    with pytest.raises(UserError, match='is there already'): write_corrected(folder, fix, folder/'train_v2.csv')
    assert write_corrected(folder, fix, folder/'second.csv')[0].exists() and path.name == 'train_v2-corrected.csv'

def test_a_disk_without_links(tmp_path, monkeypatch):
    def no(*args): raise PermissionError(1, 'Operation not permitted')
    monkeypatch.setattr('os.link', no)
    suspects = suspect_table(np.array([[.9]]), np.array([[0]]), ['a'], ['road'])
    write_suspects(tmp_path/'new.csv', suspects)
    with pytest.raises(UserError, match='is there already'): write_suspects(tmp_path/'new.csv', suspects)
    assert len(pd.read_csv(tmp_path/'new.csv')) == 1 and [p.name for p in tmp_path.iterdir()] == ['new.csv']

def test_groups_splits_and_tags_with_spaces_are_kept(folder):
    table = pd.read_csv(folder/'train_v2.csv')
    table['tags'] = [';'.join(tags.split()).replace('bare_ground', 'bare ground') for tags in table.tags]
    table = table.assign(split=['train', 'valid']*30, scene=[f's{i//2}' for i in range(60)])
    table.to_csv(folder/'train_v2.csv', index=False)
    old = from_folder(folder)
    path, changed = write_corrected(folder, {(old.table.image_name[5], old.vocab[0]): True,
                                             (old.table.image_name[6], 'bare ground'): True})
    new = from_folder(path)
    assert new.official == old.official and new.group == old.group and 'bare ground' in new.table.tags[6]
    assert 1 <= changed <= 2 and [t for i, t in enumerate(new.table.tags) if i not in (5, 6)] == [
        t for i, t in enumerate(old.table.tags) if i not in (5, 6)]

def test_tags_of_several_words_and_rows_of_the_test_split_are_kept(folder):
    "Each cell is one tag, as the run was told; rows that it did not score stay in the table."
    table = pd.read_csv(folder/'train_v2.csv').assign(tags=['bare ground', 'road', 'water']*20,
                                                      split=['train', 'train', 'train', 'valid', 'test', 'valid']*10)
    table.to_csv(folder/'train_v2.csv', index=False)
    names = list(table.image_name)
    fixes = {(names[0], 'bare ground'): False, (names[0], 'road'): True}
    path, changed = write_corrected(folder, fixes, label_delim='none')
    new = pd.read_csv(path)
    assert changed == 2 and list(new.image_name) == names and list(new.split) == list(table.split)
    read = from_folder(path)
    assert read.vocab == ['bare ground', 'road', 'water'] and read.table.tags[0] == ['road']
    assert read.table.tags[3] == ['bare ground'] and len(read) == 50 # without the rows of the test split

HEAD = 'rank,image_name,tag,given,probability,corrected\n'

@pytest.mark.parametrize('text, told', [
    ('', 'lacks the column image_name'), ('image_name,tag\nx,road\n', 'lacks the column corrected'),
    (HEAD + '1,train_1,road,0,.9,1\n2,train_999,road,0,.9,1\n', 'row 3: train_999 is none of the 2 chips'),
    (HEAD + '1,train_1,rood,0,.9,1\n', 'row 2: rood is none of the tags, did you mean road'),
    (HEAD + '1,train_1,road,0,.9,maybe\n', "row 2: 'maybe' in the column corrected"),
    (HEAD + '1,train_1,road\n', 'row 2: 3 cells, and the header has 6'),
    (HEAD + '1,train_1,road,0,.9,1\n2,train_1,road,0,.9,0\n', 'row 3: road of train_1 was corrected otherwise above')])
def test_corrections_that_are_none(text, told, tmp_path):
    (tmp_path/'mine.csv').write_text(text)
    with pytest.raises(UserError, match=told): read_corrections(tmp_path/'mine.csv', ['train_1', 'train_2'], VOCAB)

def test_corrections_of_a_spreadsheet_and_other_files(tmp_path):
    path = tmp_path/'mine.csv'
    rows = '\ufeff' + HEAD.strip().replace(',', ';'), '1;train_1;road;0;0,9;Yes', ';;;;;'
    path.write_bytes('\r\n'.join(rows).encode())
    assert read_corrections(path, ['train_1'], VOCAB) == {('train_1', 'road'): True}
    for encoding, tag in (('cp1252', 'forêt'), ('utf-16', 'road')):
        path.write_bytes(f'{HEAD}1,train_1,{tag},0,.9,1\n'.replace(',', '\t').encode(encoding))
        assert read_corrections(path, ['train_1'], ['forêt', 'road']) == {('train_1', tag): True}
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(UserError, match='is no text in UTF-8'): read_corrections(path, ['train_1'], VOCAB)
    with pytest.raises(UserError, match='no such file'): read_corrections(tmp_path/'none.csv', ['train_1'], VOCAB)
    write_suspects(tmp_path/'new.csv', suspect_table(np.array([[.9]]), np.array([[0]]), ['a'], ['road']))
    assert read_corrections(tmp_path/'new.csv', ['a'], ['road']) == {}

def test_an_empty_column_and_a_chip_that_is_gone(run, folder):
    labels_run(str(run), most=3)
    with pytest.raises(UserError, match='its column corrected is empty'):
        labels_run(str(run), corrected=str(run/'suspects.csv'))
    with pytest.raises(UserError, match='has no chip gone_1'): write_corrected(folder, {('gone_1', 'clear'): True})
