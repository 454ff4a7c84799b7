"Read a label table in any common form: encoding, delimiter, column names, tag separator, one-hot columns, a row a tag."
import codecs
import csv
import io
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
import pandas as pd
from planet.cli import UserError
from planet.files import open_regular, why_unreadable
from planet.quality import Finding, check_groups, count
from planet.separators import MARKS, find_delim, split_tags

__all__ = ['LabelTable', 'raw_table', 'records', 'is_table', 'read_text', 'clean_text', 'split_name', 'split_columns',
           'split_side']

NAMES = ('image_name', 'image', 'image_id', 'img', 'filename', 'file_name', 'fname', 'file', 'path', 'filepath',
         'file_path', 'image_path', 'name', 'id')
TAGS = 'tags', 'tag', 'labels', 'label', 'classes', 'class', 'categories', 'category'
SPLITS, OTHER_SPLITS = ('split', 'is_valid'), ('subset', 'partition', 'set', 'dataset', 'is_val', 'is_train', 'is_test')
split_columns = *SPLITS, *OTHER_SPLITS
FLAGS = dict(is_valid=('train', 'valid'), is_val=('train', 'valid'), is_train=('valid', 'train'),
             is_test=('train', 'test')) # for no and yes
GROUPS = 'group', 'scene', 'site', 'scene_id', 'site_id'
NOTHING = {'nan', 'NaN', 'NAN', 'NA', 'N/A', 'n/a', '#N/A', '<NA>', 'None', 'null', 'NULL', '-', '--',
           '[]', '{}', '()', '[""]', "['']", '[None]', '[nan]', '""', "''"} # for none
YES, NO = ('1', '1.0', 'true', 'yes', 't', 'y', 'x'), ('0', '0.0', 'false', 'no', 'f', 'n', '')
TRAIN, VALID = ('train', 'training'), ('valid', 'validation', 'val', 'dev', 'holdout', 'eval')

@dataclass
class LabelTable:
    "A label table in one form, whatever form its file has."
    path: Path
    rows: pd.DataFrame # a row a chip: `image_name`, `tags` (a list, as written), `line`; perhaps `split`, `group`
    read: list[str] # how the file was read, where it is not the plain form
    findings: list[Finding] # what is wrong with it or worth knowing

# ---- text --------------------------------------------------------------------------------------------------------

def read_text(path) -> tuple[str, str]: # the text, and its encoding
    "Read a text file in UTF-8, UTF-16 or cp1252; `UserError` where it cannot be read or is no text."
    try:
        with open_regular(path) as f: data = f.read()
    except OSError as e:
        todo = ': allow yourself to read it (chmod u+r)' if isinstance(e, PermissionError) else ''
        raise UserError(f'{path} cannot be read ({why_unreadable(e)}){todo}') from None
    if data.startswith(b'PK\3\4'):
        raise UserError(f'{path} is an Excel workbook or an archive, not text: save it as CSV')
    zeros = [data[i::2].count(0) > len(data)/8 for i in (0, 1)] # UTF-16 of Latin letters: every other byte
    likely = ('utf-16' if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else
              'utf-16-be' if zeros == [True, False] else 'utf-16-le' if zeros == [False, True] else 'utf-8-sig')
    for encoding in (likely, 'cp1252'):
        try: text = data.decode(encoding)
        except UnicodeDecodeError: continue
        if not re.search('[\0-\x08\x0e-\x1f]', text): return text, re.sub('-(sig|le|be)$', '', encoding)
    raise UserError(f'{path} is no text in UTF-8, UTF-16 or cp1252, so no table: save it as CSV in UTF-8')

def _plain(c):
    category = unicodedata.category(c)
    # zero-width characters, marks of direction, the soft hyphen; variants of a glyph
    return ' ' if category == 'Zs' else '' if category == 'Cf' or '\ufe00' <= c <= '\ufe0f' else c

def clean_text(text:str) -> str:
    "`text` in Unicode's composed form (NFC), with plain spaces and without invisible characters."
    if text.isascii(): return text
    return unicodedata.normalize('NFC', ''.join(map(_plain, text)))

# ---- cells -------------------------------------------------------------------------------------------------------

def records(path) -> tuple: # header, rows `(line, cells)`, separator of columns, how it was read
    "The cells of a table of text, whatever its encoding and the separator of its columns."
    text, encoding = read_text(path)
    lines = text.splitlines()
    excel = re.fullmatch(r'sep=(.)', lines[0].strip('"')) if lines else None # a first line for Excel
    if excel: text = text.split('\n', 1)[-1]
    head = next((line for line in text.splitlines() if line.strip(' ,;|\t"')), '')
    if not head: raise UserError(f"{path} is empty: it needs the columns image_name,tags and a row a chip")
    def fit(delim):
        names = _header(head.split(delim) if delim != ' ' else head.split())
        return sum(any(n in names for n in known) for known in (NAMES, TAGS + SPLITS)), len(names)
    delim = excel[1] if excel else max(',;\t|', key=fit)
    if fit(delim)[0] < 2 <= fit(' ')[0] == fit(' ')[1]: delim = ' ' # the names of the columns and nothing else
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=delim, strict=True, skipinitialspace=delim == ' ')
    above = bool(excel)
    try: records = [(reader.line_num + above, row) for row in reader if len(row) > 1 or any(map(str.strip, row))]
    except csv.Error as e:
        raise UserError(f'{path}, line {reader.line_num + above}: no table of separated values: {e}') from None
    start = next(i for i, (_, row) in enumerate(records) if any(map(str.strip, row))) # empty rows may stand above
    (_, header), *rows = records[start:]
    while not header[-1].strip(): header.pop() # a delimiter at the end of each line
    said = [f'encoding {encoding}']*(encoding != 'utf-8')
    spelt = {'\t': 'tabs', ' ': 'spaces'}.get(delim, repr(delim))
    said += [f'columns separated by {spelt}']*(delim != ',')
    return [clean_text(h).strip() for h in header], rows, delim, said

def _header(names): return [re.sub(r'[\s-]+', '_', clean_text(n).strip().strip('"').casefold()) for n in names]

def _columns(path, header, rows):
    "Positions of the columns of names, tags, split and group; `None` for what there is not."
    plain = _header(header)
    if twice := [h for h, n in Counter(plain).items() if n > 1 and h in (*NAMES, *TAGS, *SPLITS)]:
        raise UserError(f'{path} has two columns {twice[0]}: keep one')
    at = [next((plain.index(n) for n in known if n in plain), None) for known in (NAMES, TAGS, SPLITS, GROUPS)]
    def splits(i): return all(row[i:i+1] > [''] and split_side(plain[i], row[i]) for _, row in rows if any(row))
    if at[2] is None: at[2] = next((i for i, n in enumerate(plain) if n in OTHER_SPLITS and splits(i)), None)
    others = len(header) - sum(i is not None for i in at)
    if at[1] is None and at[0] is not None and others > 1: return at # perhaps one-hot
    if missing := [n for n, i in zip(('image_name', 'tags'), at) if i is None]:
        def shape(row): return re.sub(r'\d+', '0', row[0]) if row else ''
        data = (any(re.search(r'\.\w{3,4}$', h) for h in header)
                or re.search(r'\d', header[0]) and any(shape(row) == shape(header) for _, row in rows))
        first = "; its first line looks like data: put a line image_name,tags above it" if data else ''
        raise UserError(f"{path} has no column {' and no column '.join(missing)} (it has {', '.join(header)}): "
                        f"name its columns image_name,tags{first}")
    return at

def _one_hot(path, header, rows, at):
    "The tags of each row from columns of zeros and ones, one a tag."
    columns = [i for i, h in enumerate(header) if h and i not in at]
    if twice := [h for h, n in Counter(header[i] for i in columns).items() if n > 1]:
        raise UserError(f'{path} has two columns {twice[0]}: keep one')
    if short := [line for line, row in rows if len(row) < len(header)]:
        raise UserError(f"{path}, row {short[0]}: fewer cells than names in its header")
    values = {i: {line: row[i].strip().casefold() for line, row in rows} for i in columns}
    wrong = {i: [(line, v) for line, v in of.items() if v not in YES + NO] for i, of in values.items()}
    odd = {i: found[0] for i, found in wrong.items() if found}
    if len(odd) == len(columns) and not all(re.fullmatch(r'[-+.\d]+', v) for _, v in odd.values()):
        raise UserError(f"{path} has no column tags (it has {', '.join(header)}): name its columns image_name,tags")
    if odd:
        i, (line, value) = next(iter(odd.items()))
        raise UserError(f"{path} has no column tags, and one-hot columns hold 0 and 1 alone: "
                        f"{header[i]} has {value!r} in row {line}. "
                        "Take out columns that are no tags, or name a column tags")
    return [[header[i] for i in columns if values[i][line] in YES] for line, _ in rows], len(columns)

# ---- tags --------------------------------------------------------------------------------------------------------

def _repeats(names): return len(names) - len(set(names)) >= max(1, len(names)/4) # as where each row is a tag

def _cells_to_tags(names, lines, cells, label_delim):
    "Tags of each cell, how they were separated, and findings."
    delim = {' ': 'space', 'tab': '\t', r'\t': '\t'}.get(label_delim, label_delim) or find_delim(cells)
    if not delim:
        marked, plain = [], []
        for line, cell in zip(lines, cells):
            if cell: (marked if re.search(rf'[{MARKS}\[\](){{}}]', cell) else plain).append(f'row {line} ({cell})')
        fault = Finding('separators', "tags are not separated in one way", 'FAULT', marked[:2] + plain[:1],
                        "use one separator in all rows, or name it: `label_delim`")
        return [re.split(rf'[\s{MARKS}]+', c.strip('[](){}')) if c else [] for c in cells], [], [fault]
    notes = []
    if delim == 'space' and not label_delim:
        sets = sorted({c for c in cells if len(c.split()) > 1})
        shared = Counter(w for c in set(cells) for w in set(c.split()))
        if sets and max(shared.values()) == 1: # words that always come together
            if _repeats(names): delim = 'none' # a row a tag
            else: notes = [Finding('separators', 'words that only come together are read as tags of their own', 'note',
                                   sets, "where such a cell is one tag: `label_delim` none")]
    known = {c: split_tags(c, delim) for c in set(cells)} # few sets of tags, on many chips
    tags = [known[c] for c in cells]
    names = {'space': 'spaces', 'list': 'lists', 'none': 'nothing: a cell is one tag', '\t': 'tabs',
             '\n': 'line breaks'}
    shown = names.get(delim, f'"{delim}"')
    return tags, [f'tags separated by {shown}']*(delim != 'space' or bool(label_delim)), notes

def split_name(value:str) -> str:
    "'train', 'valid' or 'test' for what a table calls a split; '' for what is none."
    value = value.strip().casefold()
    known = dict(train=TRAIN, valid=VALID, test=('test', 'testing'))
    return next((split for split, words in known.items() if value in words), '')

def split_side(column:str, # its name, such as `split` or `is_valid`
               cell:str,
              ) -> str: # 'train', 'valid' or 'test'; '' for none
    "The side of a split that a cell of such a column names."
    if column not in FLAGS: return split_name(cell)
    no, yes = FLAGS[column]
    return yes if cell.strip().casefold() in YES else no if cell.strip().casefold() in NO else ''

def _split_column(header, column, cells, lines):
    "The split of each row from a column such as `split` or `is_valid`, and findings."
    found = [split_side(header, c) for c in cells]
    if odd := [f'row {line} ({cell or "empty"})' for line, cell, split in zip(lines, cells, found) if not split]:
        said = f"{count(len(odd), 'row')} of column {column} name no split"
        todo = "write train, valid or test; True or False in is_valid; or take the column out"
        return found, [Finding('split column', said, 'FAULT', odd, todo)]
    return found, []

def is_table(path) -> bool:
    "Whether a file of text has a header with a column of image names and one of tags."
    try: header, rows, *_ = records(path); return None not in _columns(path, header, rows)[:2]
    except UserError: return False

# ---- the table ---------------------------------------------------------------------------------------------------

def _filled_rows(path, header, rows, name, tag, delim):
    "The rows `(line, cells)` that name an image, as many cells as the header has, and findings about the others."
    findings = []
    filled = [(line, row) for line, row in rows if any(map(str.strip, row))]
    if not filled: raise UserError(f"{path} has a header and no rows: it needs a row a chip")
    if blank := len(rows) - len(filled):
        findings.append(Finding('empty rows', f"{count(blank, 'row')} without any content left out", 'note'))
    if changed := sum(not c.isascii() and clean_text(c) != c for _, row in filled for c in row):
        found = f"{count(changed, 'cell')} with no-break spaces, invisible or decomposed characters"
        findings.append(Finding('characters', found, 'note', todo="read as plain spaces, without them, and composed"))
    single = all(len(row) == 1 for _, row in filled)
    other = next((d for d in ',;\t|' if single and d != delim and all(d in row[0] for _, row in filled)), None)
    if other:
        raise UserError(f"{path} separates columns by {delim!r} in its header and by {other!r} in its rows: use one")
    plain = []
    for line, row in filled:
        row = [clean_text(c).strip() for c in row] + ['']*(len(header)-len(row))*(tag is not None)
        extra = row[len(header):]
        while extra and not extra[-1]: extra.pop()
        if extra and tag != len(header)-1:
            raise UserError(f"{path}, row {line}: more cells than names in its header: "
                            "put quotes around tags that commas separate")
        if extra: row[tag] = delim.join([row[tag], *extra]) # tags separated as the columns are, without quotes
        plain.append((line, row))
    if nameless := [f'row {line}' for line, row in plain if not row[name]]:
        found = f"{count(len(nameless), 'row')} without an image name"
        findings.append(Finding('names', found, 'FAULT', nameless, "write the name, or take the row out"))
    return [(line, row) for line, row in plain if row[name]], findings

def raw_table(path, # a label table
              label_delim:str='', # what separates tags: a character, 'space', 'none' (a cell is one tag); '': detected
             ) -> LabelTable:
    "Read a label table; raises `UserError` where it is none. What is wrong with single rows is in its `findings`."
    header, rows, delim, read = records(path)
    at = name, tag, split, group = _columns(path, header, rows)
    rows, findings = _filled_rows(path, header, rows, name, tag, delim)
    def column(i): return [row[i] for _, row in rows]
    lines = [line for line, _ in rows]
    used = [header[i] for i in (name, tag) if i is not None]
    if used not in (['image_name', 'tags'], ['image_name']): read.append(f"columns {','.join(used)}")
    if tag is None:
        tags, n = _one_hot(path, header, rows, at)
        read.append(f"{count(n, 'one-hot column')}")
    else:
        cells = column(tag)
        if empty := Counter(c for c in cells if c in NOTHING):
            found = f"{count(empty.total(), 'cell')} read as no tags"
            findings.append(Finding('empty tags', found, 'note', [f'{c} ({n})' for c, n in empty.items()]))
        cells = ['' if c in NOTHING else c for c in cells]
        tags, said, found = _cells_to_tags(column(name), lines, cells, label_delim)
        read, findings = read + said, findings + found
        if unread := [h for i, h in enumerate(header) if h and i not in at]:
            findings.append(Finding('columns', "columns that are not read", 'note', unread))
    if 'encoding cp1252' in read and (odd := sorted({t for row in tags for t in row if not t.isascii()})):
        todo = "save the table in UTF-8 if they are spelt otherwise"
        findings.append(Finding('encoding', "the encoding is not known: read as cp1252", 'note', odd, todo))
    table = pd.DataFrame(dict(image_name=column(name), tags=pd.Series(tags, dtype=object), line=lines))
    if split is not None:
        table['split'], found = _split_column(_header([header[split]])[0], header[split], column(split), lines)
        findings += found
        read.append(f'split by column {header[split]}')
    if group is not None:
        table['group'] = column(group)
        findings += check_groups(table.image_name, table.group, header[group])
    if tag is not None: table = _joined(table, read)
    return LabelTable(Path(path), table, read, findings)

def _joined(table, read):
    "A table of a row a tag as one of a row a chip; any other as it is: a few rows that repeat a name are a fault."
    if not _repeats(table.image_name) or any(len(t) > 1 for t in table.tags): return table
    repeats = table.image_name.duplicated()
    pairs = [(n, *t) for n, t in zip(table.image_name, table.tags)]
    if len(pairs) - len(set(pairs)) > repeats.sum()/2: return table # the same rows again
    if any(table.groupby('image_name')[c].nunique().max() > 1 for c in ('split', 'group') if c in table): return table
    read.append('a row a tag')
    tags = table.groupby('image_name', sort=False).tags.agg(lambda lists: [t for one in lists for t in one])
    first = table[~repeats].reset_index(drop=True)
    return first.assign(tags=pd.Series(list(tags), dtype=object))
