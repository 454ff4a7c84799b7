"Label tables and folders as people have them: read and said, or refused with the true reason and a remedy that works."
import os
import numpy as np
import pytest
from PIL import Image
from planet.chips import from_folder
from planet.cli import UserError
from planet.separators import find_delim, split_tags
from planet.sources import find_chips
from planet.tables import clean_text
from planet.tools.stats import stats
from planet.tools.verify import verify

def picture(path, seed=0, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8)).save(path, **kwargs)

@pytest.fixture
def four(tmp_path):
    "Four images a.jpg to d.jpg in `train`, to write a table beside."
    for i, name in enumerate('abcd'): picture(tmp_path/'train'/f'{name}.jpg', i)
    return tmp_path

def write(folder, text, name='labels.csv', encoding='utf-8'):
    (folder/name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return folder
def tags_of(folder, **kwargs):
    chips = from_folder(folder, **kwargs)
    return dict(zip(chips.table.image_name, chips.table.tags))
def refused(folder, *words, **kwargs):
    "Training and `verify` refuse it with the same words."
    with pytest.raises(UserError) as e: from_folder(folder, **kwargs)
    told = verify(folder).table
    faults = told[told.state == 'FAULT']
    assert len(faults) and faults.iloc[0].found in str(e.value)
    for word in words: assert word in str(e.value), str(e.value)
    assert '\n' not in str(e.value) and '--' not in str(e.value)
    return str(e.value)

WANT = dict(a=['clear', 'primary'], b=['haze'], c=['clear', 'road', 'water'], d=[])

FORMS = dict(
    plain=('image_name,tags\na,clear primary\nb,haze\nc,clear road water\nd,\n', []),
    comma=('image_name,tags\na,"clear,primary"\nb,haze\nc,"clear,road,water"\nd,\n', ['tags separated by ","']),
    comma_space=('image_name,tags\na,"clear, primary"\nb,haze\nc,"clear, road, water"\nd,\n',
    ['tags separated by ","']),
    comma_unquoted=('image_name,tags\na,clear,primary\nb,haze\nc,clear,road,water\nd,\n', ['tags separated by ","']),
    semicolon=('image_name,tags\na,clear;primary;\nb,haze;\nc,clear; road ;water\nd,\n', ['tags separated by ";"']),
    bar=('image_name,tags\na,clear|primary\nb,haze\nc,clear|road|water\nd,\n', ['tags separated by "|"']),
    lists=("image_name,tags\na,\"['clear', 'primary']\"\nb,['haze']\nc,\"['clear', 'road', 'water']\"\nd,[]\n",
    ['tags separated by lists']),
    json=('image_name,tags\na,"[""clear"", ""primary""]"\nb,"[""haze""]"\nc,"[""clear"",""road"",""water""]"\nd,\n',
    ['tags separated by lists']),
    numpy_lists=("image_name,tags\na,['clear' 'primary']\nb,['haze']\nc,['clear' 'road' 'water']\nd,[]\n",
    ['tags separated by lists']),
    spaces=('image_name tags\na clear primary\nb haze\nc clear road  water\nd\n', ['columns separated by spaces']),
    aligned=('image  tags\na      clear,primary\nb      haze\nc      clear,road,water\nd\n',
             ['columns separated by spaces', 'columns image,tags', 'tags separated by ","']),
    one_hot_x=('image_name,clear,haze,primary,road,water\na,x,,x,,\nb,,x,,,\nc,x,,,X,x\nd,,,,,\n',
               ['5 one-hot columns']),
    bare_lists=('image_name,tags\na,"[clear, primary]"\nb,[haze]\nc,"[clear,road,water]"\nd,[]\n',
    ['tags separated by lists']),
    one_hot=('image_name,clear,haze,primary,road,water\na,1,0,1,0,0\nb,0,1,0,0,0\nc,1,0,0,1,1\nd,0,0,0,0,0\n',
    ['5 one-hot columns']),
    one_hot_true=('fname,clear,haze,primary,road,water\na,True,False,TRUE,,\nb,no,yes,,,\nc,1.0,0.0,0,1,1\nd,,,,,\n',
                  ['columns fname', '5 one-hot columns']),
    long=('image_name,tags\na,clear\na,primary\nb,haze\nc,clear\nc,road\nc,water\nd,\n', ['a row a tag']),
    fname_labels=('fname,labels\na,clear primary\nb,haze\nc,clear road water\nd,\n', ['columns fname,labels']),
    image_tags=('image,tags\na,clear primary\nb,haze\nc,clear road water\nd,\n', ['columns image,tags']),
    capitals=('Image Name, Tags \na,clear primary\nb,haze\nc,clear road water\nd,\n', ['columns Image Name,Tags']),
    indexed=(',image_name,tags\n0,a,clear primary\n1,b,haze\n2,c,clear road water\n3,d,\n', []),
    more_columns=('id,tags,image_name,author\n7,clear primary,a,x\n8,haze,b,y\n9,clear road water,c,z\n10,,d,\n', []),
    semicolon_table=('image_name;tags\na;clear primary\nb;haze\nc;clear road water\nd;\n',
    ["columns separated by ';'"]),
    excel=('sep=;\nimage_name;tags\na;clear,primary\nb;haze\nc;clear,road,water\nd;\n;\n;\n',
    ["columns separated by ';'", 'tags separated by ","']),
    tabs=('image_name\ttags\na\tclear primary\nb\thaze\nc\tclear road water\nd\t\n', ['columns separated by tabs']),
    trailing=('image_name,tags,\na,clear primary,\nb,haze,\nc,clear road water,\nd,,\n', []),
    blank_rows=(',\nimage_name,tags\na,clear primary\n\n,\nb,haze\nc,clear road water\nd,\n,,\n', []),
    crlf=('image_name,tags\r\na,clear primary\r\nb,haze\r\nc,clear road water\r\nd,\r\n', []),
    bom=('\ufeffimage_name,tags\na,clear primary\nb,haze\nc,clear road water\nd,\n', []),
    nothing=('image_name,tags\na,clear primary\nb,haze\nc,clear road water\nd,nan\n', []),
    hidden=('image_name,tags\na,clear\u00a0primary\nb,\u200bhaze\nc,clear road\u2003water\ufeff\nd,\n', []))

@pytest.mark.parametrize('form', FORMS)
def test_a_table_in_any_form(four, form):
    text, said = FORMS[form]
    assert tags_of(write(four, text)) == WANT
    assert from_folder(four).read == said
    report = verify(four)
    assert report.ok, str(report)

@pytest.mark.parametrize('encoding', ['utf-16', 'utf-16-le', 'utf-16-be', 'cp1252'])
def test_encodings(four, encoding):
    write(four, 'image_name,tags\na,forêt clear\nb,forêt\nc,clear\nd,\n', encoding=encoding)
    assert tags_of(four) == dict(a=['clear', 'forêt'], b=['forêt'], c=['clear'], d=[])
    assert from_folder(four).read == [f'encoding {encoding[:6]}']

def test_the_data_lines_say_it(four, capsys):
    find_chips(str(write(four, 'fname;labels\na;bare ground, road\nb;road\n;\nc;bare ground\nd;-\n')))
    said = capsys.readouterr().out.splitlines()
    read = "columns separated by ';', columns fname,labels, tags separated by \",\""
    assert said[0] == f'data: 4 chips, 2 tags, {four}, {read}'
    assert 'data: 1 row without any content left out' in said and 'data: 1 cell read as no tags: - (1)' in said

def test_tags_of_several_words_stay_whole(four):
    write(four, 'image_name,tags\na,bare ground; road\nb,road\nc,dense residential area;bare ground\nd,bare ground\n')
    assert from_folder(four).vocab == ['bare ground', 'dense residential area', 'road']
    write(four, 'image_name,tags\na,bare ground\na,road\nb,road\nc,bare ground\nc,tennis court\nd,road\n')
    assert from_folder(four).read == ['tags separated by nothing: a cell is one tag', 'a row a tag']
    assert tags_of(four) == tags_of(four, label_delim='none') == dict(a=['bare ground', 'road'], b=['road'],
        c=['bare ground', 'tennis court'], d=['road'])

def test_words_that_only_come_together_are_named(four):
    write(four, 'image_name,tags\na,bare ground\nb,road\nc,tennis court\nd,road\n')
    chips = from_folder(four)
    assert chips.vocab == ['bare', 'court', 'ground', 'road', 'tennis']
    assert 'bare ground, tennis court' in chips.notes[0] and '`label_delim`' in chips.notes[0]
    assert from_folder(four, label_delim='none').vocab == ['bare ground', 'road', 'tennis court'] # as the note advises

@pytest.mark.parametrize('cells', [
    ['clear;primary', 'clear primary', 'haze', 'clear'], ['clear;primary', 'clear,primary', 'haze', 'road'],
    ['clear;primary haze', 'clear primary', 'primary haze', 'clear haze'],
    ["['clear', 'primary']", 'clear primary', 'haze', '']])
def test_a_mixture_is_refused_and_label_delim_overrides(four, cells):
    write(four, 'image_name,tags\n' + ''.join(f'{n},"{c}"\n' for n, c in zip('abcd', cells)))
    refused(four, 'not separated in one way', '`label_delim`', 'row ')
    chips = from_folder(four, label_delim=';') # as the message advises
    assert chips.table.tags[0] == sorted(cells[0].split(';')) and chips.read == ['tags separated by ";"']

def test_label_delim(four):
    write(four, 'image_name,tags\na,x/y\nb,x\nc,y/z w\nd,\n')
    assert tags_of(four, label_delim='/') == dict(a=['x', 'y'], b=['x'], c=['y', 'z w'], d=[])
    assert from_folder(four, label_delim='space').vocab == ['w', 'x', 'x/y', 'y/z']
    assert verify(four, label_delim='/').ok

@pytest.mark.parametrize('cells,delim', [
    ([], 'space'), (['a b', 'c'], 'space'), (['a,b', 'c'], ','), (['a;b c', 'd'], ';'), (['a;b c', 'b c', 'd'], ';'),
    (['a;b', 'a c', 'c'], ''), (['[a]', 'b'], ''), (['[a]', '', "['b']"], 'list'), (['a,b', 'a;b'], ''),
    (['mixed forest;water', 'beach'], ';')])
def test_find_delim(cells, delim): assert find_delim(cells) == delim

def test_split_tags():
    assert split_tags("""['it"s', "isn't", 'a, b']""", 'list') == ['it"s', "isn't", 'a, b']
    assert split_tags('{clear,primary}', 'list') == ['clear', 'primary'] and split_tags("('a',)", 'list') == ['a']
    assert split_tags('()', 'list') == []
    assert split_tags(' a ;; b;', ';') == ['a', 'b'] and split_tags('', 'none') == []

def test_clean():
    assert clean_text('cafe\u0301') == clean_text('caf\u00e9') == 'caf\u00e9'
    assert clean_text('a\u200b\u00a0b\ufeff') == 'a b'
    assert clean_text('plain') == 'plain'

def test_unicode_twins_are_one_tag(four):
    write(four, 'image_name,tags\na,cafe\u0301 x\nb,caf\u00e9\nc,caf\u00e9\u200b\nd,x\n')
    chips = from_folder(four)
    assert chips.vocab == ['caf\u00e9', 'x'] and chips.table.tags[0] == chips.table.tags[1] + ['x']
    assert any('2 cells with no-break spaces, invisible or decomposed' in n for n in chips.notes)

def test_words_for_nothing_are_named(four):
    write(four, 'image_name,tags\na,clear None\nb,NA\nc,none\nd,clear\n')
    chips = from_folder(four)
    assert chips.vocab == ['None', 'clear', 'none']
    assert any('1 cell read as no tags: NA (1)' in n for n in chips.notes)
    assert any('words for an empty cell among the tags: None, none' in n for n in chips.notes)

@pytest.mark.parametrize('cell', ['[]', '{}', '[""]', '[None]', '--', '""'])
def test_cells_that_hold_nothing_in_another_notation(four, cell):
    quoted = '"' + cell.replace('"', '""') + '"'
    chips = from_folder(write(four, f'image_name,tags\na,clear road\nb,{quoted}\nc,road\nd,clear\n'))
    assert chips.vocab == ['clear', 'road'] and chips.table.tags[1] == []

def test_tags_that_look_alike_are_named(four):
    write(four, 'image_name,tags\na,road x\nb,r\u043ead x\nc,\uff52oad x\nd,\u200eroad\ufe0f x\n')
    notes = from_folder(four).notes
    assert any('alike but for their spelling: road = r\u043ead = \uff52oad; ' in n for n in notes)
    assert any('1 cell with no-break spaces, invisible or decomposed' in n for n in notes)

SIGNS = '/', '+', '&', ':', '#', '~', '\u3001', '\uff0c', '\uff1b', '\u060c', ' / ', ' - ', ' \u2022 ', ' and ', '\n'

@pytest.mark.parametrize('sign', SIGNS)
def test_other_separators_are_taken_and_said(four, sign):
    cells = map(sign.join, (['clear', 'primary'], ['haze'], ['clear', 'primary', 'road'], ['haze', 'road']))
    chips = from_folder(write(four, 'image_name,tags\n' + ''.join(f'{n},"{c}"\n' for n, c in zip('abcd', cells))))
    assert chips.vocab == ['clear', 'haze', 'primary', 'road']
    assert chips.read == [f'tags separated by {"line breaks" if sign == chr(10) else chr(34) + sign + chr(34)}']
    assert len(from_folder(four, label_delim='space' if sign.strip() == sign else 'none').vocab) >= 4 # it is a guess

def test_names_of_classes_within_classes_stay_whole(four):
    tags = dict(a='land/forest', b='land/road', c='sea/ice', d='sea/road')
    assert tags_of(write(four, 'image_name,tags\n' + ''.join(f'{n},{t}\n' for n, t in tags.items()))) == {
        n: [t] for n, t in tags.items()}

def test_other_separators_are_named(four):
    chips = from_folder(write(four, 'image_name,tags\na,x+y\nb,x\nc,y & x\n'))
    assert any('made of other tags: x+y; ' in n and '`label_delim`' in n for n in chips.notes)
    assert chips.read == ['tags separated by " & "'] and chips.table.tags[2] == ['x', 'y']
    assert tags_of(four, label_delim='+')['a'] == ['x', 'y'] # as advised

# ---- rows that are wrong

def test_rows_without_a_name(four):
    write(four, 'image_name,tags\na,x\n,y\n,\nb,y\n"  ",x\n')
    refused(four, '2 rows without an image name: row 3, row 6')
    write(four, 'image_name,tags\na,x\n,\nb,y\n')
    assert len(from_folder(four)) == 2

@pytest.mark.parametrize('rows,words', [('a,x\nb,y\na,y\nc,x\nd,y\n', '1 chip named more than once: a'),
    ('a,x\na.jpg,y\nb,x\n', '1 file named by two rows: a = a.jpg'), ('a,x\nA.JPG,y\nb,x\n', 'a = A.JPG'),
    ('a,x\ntrain/a.jpg,y\nb,x\n', 'a = train/a.jpg')])
def test_two_rows_for_one_file(four, rows, words):
    refused(write(four, 'image_name,tags\n' + rows), words, 'keep one row each')

def test_the_same_rows_again_are_no_long_table(four):
    refused(write(four, 'image_name,tags\na,x\nb,y\nc,x\na,x\nb,y\nc,x\n'), '3 chips named more than once')

@pytest.mark.parametrize('text,words', [
    (b'PK\3\4rest of a workbook', 'is an Excel workbook'), (b'\x89PNG\0\0\1\2', 'is no text'), ('', 'is empty'),
    (',,\n,\n', 'is empty'),
    ('image_name,tags\n', 'has a header and no rows'), ('image_name,tags\n,\n', 'has a header and no rows'),
    ('a.jpg,clear primary\nb.jpg,haze\n', 'its first line looks like data'), ('image_name,tags\na,"x\nb,y\n', 'line '),
    ('tags,image_name\nx,a,y\n', 'row 2: more cells than names'), ('image_name,tags,tags\na,x,y\n', 'two columns tags'),
    ('image_name,wheat,rye\na,1,0\nb,0,3\n', "rye has '3' in row 3"),
    ('image_name,author\na,me\nb,you\n', 'has no column tags'),
    ('image_name,p,q,p\na,0,1,1\nb,1,1,0\n', 'two columns p: keep one'),
    ('image_name,p,q\na,-1,1\nb,1,-1\n', "one-hot columns hold 0 and 1 alone: p has '-1' in row 2"),
    ('image_name,tags\na;x\nb;y\n', "separates columns by ',' in its header and by ';' in its rows")])
def test_no_table(four, text, words): refused(write(four, text), words)

def test_an_unreadable_table_is_a_matter_of_permission(four, monkeypatch):
    write(four, FORMS['plain'][0])
    def denied(path): raise PermissionError(13, 'Permission denied', str(path))
    monkeypatch.setattr('planet.tables.open_regular', denied)
    with pytest.raises(UserError,
        match=r'labels.csv cannot be read \(Permission denied\): allow yourself'): from_folder(four)

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no FIFOs')
def test_a_fifo_is_not_waited_for(four):
    write(four, FORMS['plain'][0])
    (four/'train'/'a.jpg').unlink()
    os.mkfifo(four/'train'/'a.jpg')
    report = verify(four).table.set_index('check')
    assert report.loc['files'].examples == ['a (not a regular file, but a FIFO)']
    assert 'put the images themselves' in report.loc['files'].todo
    (four/'labels.csv').unlink()
    os.mkfifo(four/'labels.csv')
    refused(four, 'not a regular file, but a FIFO')

# ---- official splits and groups

@pytest.mark.parametrize('column,cells,want', [
    ('is_valid', ['True', 'False', '1', '0'], 'vtvt'), ('split', ['train', 'val', 'Validation', 'TRAIN'], 'tvvt'),
    ('split', ['train', 'test', 'test', 'train'], 'tvvt'), ('is_valid', ['', 'yes', 'False', ''], 'tvtt')])
def test_an_official_split(four, column, cells, want):
    write(four, f'image_name,tags,{column}\n' + ''.join(f'{n},x {n},{c}\n' for n, c in zip('abcd', cells)))
    chips = from_folder(four)
    assert chips.official == [dict(t='train', v='valid')[c] for c in want]
    assert chips[[1, 3]].official == [chips.official[i] for i in (1, 3)]
    assert chips.facts()['read'] == [f'split by column {column}']

def test_the_third_split_is_left_out(four):
    chips = from_folder(write(four, 'image_name,tags,split\na,x,train\nb,y,valid\nc,z,test\nd,x,train\n'))
    assert chips.official == ['train', 'valid', 'train'] and chips.vocab == ['x', 'y', 'z']
    assert any('1 chip of the split test left out' in n for n in chips.notes)

def test_a_split_of_one_side_and_none(four):
    chips = from_folder(write(four, 'image_name,tags,is_valid\na,x,0\nb,y,0\n'))
    assert chips.official is None and any('names train alone; a split is drawn' in n for n in chips.notes)
    assert from_folder(write(four, FORMS['plain'][0])).official is None

def test_a_split_that_says_nothing(four):
    refused(write(four, 'image_name,tags,split\na,x,train\nb,y,fold 3\nc,x,\n'),
        '2 rows of column split name no split: row 3 (fold 3), row 4 (empty)')
    with pytest.raises(UserError, match='take the column out'): from_folder(four)

def test_groups(four):
    chips = from_folder(write(four, 'image_name,scene,tags\na,s1,x\nb,s2,y\nc,s1,x\n'))
    assert chips.group == ['s1', 's2', 's1'] and chips[1:].group == ['s2', 's1']
    assert from_folder(write(four, FORMS['plain'][0])).group is None

@pytest.mark.parametrize('column,cells,want', [
    ('subset', ['train', 'val', 'val', 'train'], 'tvvt'), ('set', ['train', 'test', 'test', 'train'], 'tvvt'),
    ('is_train', ['1', '0', '0', '1'], 'tvvt'), ('is_test', ['False', 'True', 'True', 'no'], 'tvvt')])
def test_splits_under_other_names(four, column, cells, want):
    write(four, f'image_name,tags,{column}\n' + ''.join(f'{n},x {n},{c}\n' for n, c in zip('abcd', cells)))
    assert from_folder(four).official == [dict(t='train', v='valid')[c] for c in want]

def test_columns_that_are_not_read_are_named(four):
    write(four, 'image_name,tags,lat,set,fold\n' + ''.join(f'{n},x {n},1.5,b{n},0\n' for n in 'abcd'))
    chips = from_folder(four)
    assert chips.official is None and 'columns that are not read: lat, set, fold' in chips.notes

def test_short_rows_of_one_hot_columns_are_refused(four):
    refused(write(four, 'image_name,lat,x,y\na,1,0\nb,0,1\n'), 'row 2: fewer cells than names in its header')

def test_an_encoding_that_is_a_guess_is_named(four):
    write(four, 'image_name,tags\na,\u0432\u043e\u0434\u0430 x\nb,x\n', encoding='cp1251')
    assert any('read as cp1252: \xe2\xee\xe4\xe0; save the table in UTF-8' in n for n in from_folder(four).notes)
    write(four, 'image_name,tags\na,\u0432\u043e\u0434\u0430 x\nb,x\n') # as advised
    assert from_folder(four).vocab == ['x', '\u0432\u043e\u0434\u0430']
    assert not any('cp1252' in n for n in from_folder(four).notes)

# ---- image names and folders

@pytest.mark.parametrize('names', [
    ['train/a.jpg', 'train/b.jpg', 'train/c.jpg', 'train/d.jpg'], ['A.JPG', 'b.Jpg', 'C', 'd.jpg'], list('abcd'),
    ['train\\\\a.jpg', 'C:\\\\x\\\\train\\\\b.jpg', './train/c.jpg', '/home/me/train/d.jpg'],
    ['a.png', 'b.tif', 'c.webp', 'd.JPEG']])
def test_names_as_people_write_them(four, names):
    names = [n.replace('\\\\', '\\') for n in names]
    chips = from_folder(write(four, 'image_name,tags\n' + ''.join(f'{n},x y{i}\n' for i, n in enumerate(names))))
    assert [p.name for p in chips.paths] == ['a.jpg', 'b.jpg', 'c.jpg', 'd.jpg']
    assert list(chips.table.image_name) == names
    assert verify(four).ok

def test_other_names_are_said(four):
    assert from_folder(write(four,
        'image_name,tags\nA,x\nB.JPG,y\n')).read == ['2 image names matched without regard to case']
    assert from_folder(write(four,
        'image_name,tags\na.png,x\nb,y\n')).read == ['1 image name matched with another ending']

def test_absolute_names(four, tmp_path_factory):
    other = tmp_path_factory.mktemp('other')
    for n in 'xy': picture(other/f'{n}.png')
    chips = from_folder(write(four, f"image_name,tags\n{four/'train'/'a.jpg'},x\n{other/'x.png'},y\n"))
    assert chips.paths == [four/'train'/'a.jpg', other/'x.png']

def test_leading_zeros_that_a_spreadsheet_took_away(tmp_path):
    for i in range(1, 12): picture(tmp_path/'train'/f'chip_{i:04}.jpg' if i > 9 else tmp_path/'train'/f'{i:04}.jpg', i)
    write(tmp_path, 'image_name,tags\n' + ''.join(f'{i},x y{i%3}\n' for i in range(1, 10)) + 'chip_10,x\nchip_11,x\n')
    chips = from_folder(tmp_path)
    assert [p.stem for p in chips.paths] == [f'{i:04}' for i in range(1, 10)] + ['chip_0010', 'chip_0011']
    assert chips.read == ['11 image names matched without leading zeros']

@pytest.mark.parametrize('ending', ['.webp', '.tif', '.TIFF', '.bmp', '.jpeg', '.PNG'])
def test_endings(tmp_path, ending):
    for i, n in enumerate('ab'): picture(tmp_path/f'{n}{ending}', i)
    write(tmp_path, 'image_name,tags\na,x\nb,y\n')
    assert [p.name for p in from_folder(tmp_path).paths] == [f'a{ending}', f'b{ending}'] and verify(tmp_path).ok

def test_nested_folders(four):
    for n in 'ab': (four/'images'/n).mkdir(parents=True); (four/'train'/f'{n}.jpg').rename(four/'images'/n/f'{n}.jpg')
    assert [p.parent.name for p in from_folder(write(four, 'image_name,tags\na,x\nb,y\nc,x\nd,y\n')).paths] == ['a',
        'b', 'train', 'train']
    report = verify(four)
    assert report.ok and '2 in' in report.table.set_index('check').loc['images'].found

def test_images_in_two_folders_at_once(four):
    (four/'train-jpg').mkdir()
    for n in 'ab': (four/'train'/f'{n}.jpg').rename(four/'train-jpg'/f'{n}.jpg')
    (four/'train'/'d.jpg').rename(four/'d.jpg')
    chips = from_folder(write(four, 'image_name,tags\na,x\nb,y\nc,x\nd,y\n'))
    assert [p.parent.name for p in chips.paths] == ['train-jpg', 'train-jpg', 'train', four.name]

def test_a_name_that_may_be_two_files(four):
    for n in ('p', 'q'): picture(four/n/'e.jpg')
    write(four, 'image_name,tags\na,x\nb,y\ne,x\n')
    refused(four, f"e (one of {four/'p'/'e.jpg'}, {four/'q'/'e.jpg'})",
        'write the folder in the table as well, such as p/e.jpg')
    assert from_folder(write(four,
        'image_name,tags\na,x\nb,y\np/e.jpg,x\nq/e.jpg,y\n')).paths[2:] == [four/'p'/'e.jpg',
        four/'q'/'e.jpg'] # as advised

def test_folders_of_other_splits_are_not_searched_for_a_bare_name(four):
    (four/'test').mkdir()
    (four/'train'/'d.jpg').rename(four/'test'/'d.jpg')
    said = refused(write(four, 'image_name,tags\na,x\nb,y\nd,x\n'), '1 of 3 chips have no image: d',
        f"1 of them lie in {four/'test'}: move them to {four/'train'}")
    (four/'test'/'d.jpg').rename(four/'train'/'d.jpg')
    assert len(from_folder(four)) == 3 and 'kaggle' not in said

def test_folders_in_the_names_are_an_official_split(four):
    (four/'valid').mkdir()
    (four/'train'/'d.jpg').rename(four/'valid'/'d.jpg')
    chips = from_folder(write(four, 'image_name,tags\ntrain/a.jpg,x\ntrain/b.jpg,y\nvalid/d.jpg,x\n'))
    assert chips.official == ['train', 'train', 'valid'] and chips.paths[2] == four/'valid'/'d.jpg'
    assert chips.read == ['split by folder']

def test_endings_that_are_not_read(four):
    (four/'train'/'a.jpg').rename(four/'train'/'a.jp2')
    refused(write(four, 'image_name,tags\na,x\nb,y\n'),
        '1 of them lie there as .jp2, which is not read: save them as .png')

def test_missing_images_of_another_data_set(four):
    write(four, 'image_name,tags\na,x\nb,y\nlost,x\n')
    assert 'kaggle' not in refused(four, '1 of 3 chips have no image: lost', f"put them into {four/'train'}",
        'take their rows out')
    picture(four/'train'/'lost.png')
    assert len(from_folder(four)) == 3

def test_images_of_other_names(four):
    write(four, 'image_name,tags\n1,x\n2,y\n')
    refused(four, 'there are 4 images of other names, such as train/a.jpg: write their names into the table')
    write(four, 'image_name,tags\na,x\nb,y\n') # as advised
    assert len(from_folder(four)) == 2

def test_images_without_an_ending(four):
    for name in 'ab': (four/'train'/f'{name}.jpg').rename(four/'train'/name)
    refused(write(four, 'image_name,tags\na,x\nb,y\n'), '2 of them lie there as files without an ending')

# ---- where the table is

def test_the_only_table_is_read_whatever_its_name(four):
    write(four, FORMS['plain'][0], 'my_labels.csv')
    assert tags_of(four) == WANT and from_folder(four).read == ['table my_labels.csv']
    write(four, 'id,tags\na,x\n', 'sample_submission_v2.csv')
    assert tags_of(four) == WANT
    write(four, FORMS['tabs'][0], 'other.tsv')
    refused(four, 'several tables, none called labels.csv',
        'rename the right one of my_labels.csv, other.tsv to labels.csv')
    (four/'my_labels.csv').rename(four/'labels.csv')
    assert tags_of(four) == WANT # as advised

def test_no_table_at_all(four):
    assert 'kaggle' not in refused(four, f'{four} holds no label table: put one of labels.csv')
    (four/'labels.xlsx').write_bytes(b'PK')
    refused(four, 'save labels.xlsx as labels.csv, in CSV')
    (four/'labels.xlsx').unlink()
    (four/'train').rename(four/'train-jpg')
    with pytest.raises(UserError, match='planet-data get kaggle'): from_folder(four)

@pytest.mark.parametrize('name', ['labels.ods', 'labels.parquet', 'labels.json', 'labels.csv.gz'])
def test_tables_of_other_formats(four, name):
    (four/name).write_bytes(b'x')
    refused(four, f'save {name} as labels.csv, in CSV')

def test_data_that_is_a_file(four):
    write(four, FORMS['plain'][0])
    assert tags_of(four/'labels.csv') == WANT # the table itself
    image = four/'train'/'a.jpg'
    with pytest.raises(UserError, match=f'{image.name} is no folder: give the one that it lies in, {image.parent}'):
        from_folder(image)

def test_a_table_called_txt(four):
    write(four, 'A table of chips and what to do with it, in words.\n', 'README.txt')
    write(four, FORMS['tabs'][0], 'labels.txt')
    assert tags_of(four) == WANT and from_folder(four).read[0] == 'table labels.txt'

def test_a_row_a_tag_of_words_that_several_tags_have(four):
    "Such rows may be those of several people as well: what to do is told, and works."
    rows = 'a,open water\na,water body\nb,bare ground\nb,water body\nc,open water\nd,bare ground\n'
    write(four, f'image_name,tag\n{rows}')
    with pytest.raises(UserError, match='2 chips named more than once: .*: `label_delim` none'): from_folder(four)
    chips = from_folder(four, label_delim='none')
    assert chips.vocab == ['bare ground', 'open water', 'water body'] and 'a row a tag' in chips.read
    assert list(chips.table.tags) == [['open water', 'water body'], ['bare ground', 'water body'], ['open water'],
                                      ['bare ground']]

def test_no_header(four):
    refused(write(four, 'a1,x\na2,y\n'), 'its first line looks like data: put a line image_name,tags above it')

@pytest.mark.parametrize('splits', [['images'], [''], ['train', 'valid'], ['Train', 'val', 'test']])
def test_one_folder_a_class(tmp_path, splits):
    for s in splits:
        for i in range(6): picture(tmp_path/s/('wheat', 'bare ground', 'rye')[i%3]/f'{i}.jpg', i)
    chips = from_folder(tmp_path)
    assert chips.vocab == ['bare ground', 'rye', 'wheat']
    assert chips.read == ['one folder a class'] + ['split by folder']*(len(splits) > 1)
    counts = stats(tmp_path) # as of a label table
    assert counts.chips == 6*len(splits) and list(counts.tags) == [2*len(splits)]*3
    assert len(chips) == 6*min(len(splits), 2)
    assert all(p.parent.name == tags[0] for p, tags in zip(chips.paths, chips.table.tags))
    assert (chips.official is None) == (len(splits) == 1)
    if chips.official: assert set(zip(chips.official, (p.parent.parent.name for p in chips.paths))) == {('train',
        splits[0]), ('valid', splits[1])}
    assert verify(tmp_path).ok

def test_two_chips_are_too_few_whatever_the_share(tmp_path):
    "A larger `valid_pct` helps three or four chips, and not two."
    for n, told in ((2, 'too few: two are needed to train, one to score'), (3, 'a larger `valid_pct`')):
        picture(tmp_path/f'{n}.jpg', n)
        picture(tmp_path/'1.jpg', 1)
        rows = [f'{name},{tag}' for name, tag in zip(['1', '2', '3'][:n], ('x', 'y', 'x'))]
        write(tmp_path, '\n'.join(['image_name,tags', *rows]) + '\n')
        assert told in ' '.join(from_folder(tmp_path).notes)
