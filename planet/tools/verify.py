"Is a folder of chips whole? Its table, its tags and every image file, looked at in one go."
import csv, os, re, shutil, textwrap, warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
import pandas as pd
from planet.cli import UserError, is_terminal, near_names
from planet.amazon import NO_WEATHER, ROWS, ROWS_REPEATING, ROWS_UNSORTED, TAGS, WEATHER, like_ours, tag_counts, tag_sets
from planet.chips import FOLDERS, TABLES, existing_folder, find_images, raw_table, table_path
from planet.files import images_in, stem
from planet.images import groups, read_infos, same_pixels

__all__ = ['Report', 'verify']

REMARKS = {'CMYK': "read as RGB (the competition's JPEGs have four components)", 'L': 'grey, read as RGB', '1': 'black and white, read as RGB',
           'LA': 'grey; its transparency is dropped', 'RGBA': 'transparency is dropped', 'P': 'a palette, read as RGB',
           'I;16': '16 bits: values above 255 are lost', 'I': '32 bits: values above 255 are lost'}
COLOURS = {'ok': '32', 'note': '33', 'fix': '31;1', 'FAULT': '31;1'}

def told(state:str, # ok, note, fix or FAULT
         name:str, # what was looked at
         found:str, # what was found
         todo:str='', # what to do next
        ) -> str:
    "One finding as a screen shows it: state, name, what was found, and on a line of its own what to do."
    colour = is_terminal() and not os.environ.get('NO_COLOR')
    width = max(60, min(100, shutil.get_terminal_size().columns)) if is_terminal() else 100
    shown = (f'\033[{COLOURS[state]}m{state}\033[0m' if colour else state) + ' '*(6-len(state))
    margin = ' '*22
    lines = textwrap.wrap(found, width-len(margin), break_on_hyphens=False, break_long_words=False) or ['']
    lines += textwrap.wrap(todo, width-len(margin), break_on_hyphens=False, break_long_words=False,
                           initial_indent='-> ', subsequent_indent='   ')
    return f'{shown} {name:<14} ' + f'\n{margin}'.join(lines)

@dataclass
class Report:
    "What `verify` found: print it, ask whether it is `ok`, or look into its `table`."
    folder: Path
    table: pd.DataFrame # a row a check: `check`, `found`, `state` (ok, note or FAULT), `examples` (a list), `todo`

    @property
    def ok(self) -> bool: return not (self.table.state == 'FAULT').any()

    def __str__(self):
        lines = [told(row.state, row.check, row.found + (f': {_some(row.examples)}' if row.examples else ''), row.todo)
                 for row in self.table.itertuples()]
        faults, notes = (int((self.table.state == state).sum()) for state in ('FAULT', 'note'))
        said = [_are(faults, 'fault')]*(faults > 0) + [_are(notes, 'note')]*(notes > 0)
        end = f'training would fail: {self.folder} has' if faults else f'training can begin: --data {self.folder}'
        return '\n'.join([*lines, '', f"{end} {' and '.join(said) if faults else f'({said[0]})' if said else ''}".rstrip()])

def _some(names, n=3): return ', '.join(map(str, names[:n])) + (f' ... ({len(names):,} in all)' if len(names) > n else '')
def _are(n, one, many=None): return f"{n:,} {one if n == 1 else many or one+'s'}"

# ---- the table ---------------------------------------------------------------------------------------------------

def _check_tags(raw, add):
    "Look at the tags of a raw table, and `add` what is found."
    names, cells = list(raw.image_name), [tags.split() for tags in raw.tags]
    sets = [tuple(sorted(set(cell))) for cell in cells]
    counts = tag_counts(sets)
    vocab = sorted(counts)
    whole = like_ours(vocab) and len(raw) == ROWS # all of the competition's table
    def which(test): return [name for name, cell in zip(names, cells) if test(cell)]

    if len(vocab) < 2: add('tags', f'one tag ({vocab[0]})' if vocab else 'no tags', 'FAULT',
                           todo="tagging needs two at least: give the chips without it a tag of their own")
    elif whole:
        known = tag_counts(tag_sets())
        odd = [f'{t} {counts[t]:,} (there {known[t]:,})' for t in sorted({*vocab, *known}) if counts[t] != known[t]]
        if odd: add('tags', f"{len(vocab)}, not as often as in the competition's table", 'note', odd,
                    "fetch the table again, if you have not changed it")
        else: add('tags', f"{len(vocab)}, each as often as in the competition's table")
    else: add('tags', f"{len(vocab)}; the rarest, {min(vocab, key=counts.get)}, on {_are(min(counts.values()), 'chip')}")
    _check_spelling(vocab, add)

    def harmless(check, found, what, none, known):
        if not found: add(check, none)
        elif whole and len(found) == known: add(check, f"{_are(known, 'row')} {what}: the competition's table is known for it")
        else: add(check, f"{_are(len(found), 'row')} {what} (harmless: sorted and counted once)", 'note', found)
    harmless('repeated tags', which(lambda cell: len(set(cell)) < len(cell)), 'with a tag twice', 'none in any row', ROWS_REPEATING)
    harmless('order of tags', which(lambda cell: cell != sorted(cell)), 'not in alphabetical order', 'alphabetical in every row', ROWS_UNSORTED)
    if bare := which(lambda cell: not cell): add('untagged', _are(len(bare), 'chip'), 'note', bare, "taught as having none of the tags")
    if set(WEATHER) <= set(vocab): _check_weather(dict(zip(names, sets)), whole, add)

def _check_spelling(vocab, add):
    "A stranger's tags are right as they are, unless two of them seem to be one; the competition's are known."
    joined = [t for t in vocab if re.search('[,;|]', t)]
    unknown = [t + near_names(t, TAGS, 1) for t in vocab if t not in TAGS] if like_ours(vocab) else []
    twins = [' = '.join(same) for same in groups(vocab, lambda t: t.casefold().replace('-', '_')) if len(same) > 1]
    if joined: add('tag names', "commas or the like inside", 'note', joined, "put spaces between the tags of a chip")
    elif unknown: add('tag names', f"{_are(len(unknown), 'tag')} not among the competition's 17", 'note', unknown,
                      "learned as another tag: correct the table if it is a slip")
    elif twins: add('tag names', "alike but for their spelling", 'note', twins, "learned as different tags")
    elif like_ours(vocab): add('tag names', "all among the competition's 17 (which spells artisinal_mine so)")

def _check_weather(tags, whole, add):
    "Weather is exactly one of four, and `cloudy` hides all else; `tags` has a tuple for each image name."
    sky = {name: [t for t in these if t in WEATHER] for name, these in tags.items()}
    odd = [name for name in tags if len(sky[name]) != 1]
    mixed = [name for name, these in tags.items() if 'cloudy' in these and len(these) > 1 and len(sky[name]) == 1]
    right = "exactly one a chip, and cloudy alone"
    if not odd and not mixed: add('weather', right)
    elif whole and set(odd) <= NO_WEATHER and not mixed:
        add('weather', f"{right}; {_some(odd)} has none: the competition's table is known for it")
    else:
        said = [f"{name} ({' and '.join(sky[name]) or 'none'})" for name in odd] + [f'{name} (cloudy and more)' for name in mixed]
        add('weather', f"{_are(len(said), 'chip')} without exactly one of {', '.join(WEATHER)}, or cloudy and more", 'note', said,
            "experiments on the weather leave out chips that have none or several")

def _first_line(path):
    with open(path, encoding='utf-8', errors='replace') as f: return f.readline(200)

def _table(root, add):
    "The raw table of `root`, or `None` where that is a fault."
    there = [name for name in TABLES if (root/name).is_file()]
    try: raw = raw_table(table_path(root))
    except UserError as e:
        todo = ''
        if not there:
            other = next((p for p in sorted(root.glob('*.csv')) if p.is_file() and 'image_name' in _first_line(p)), None)
            above = root.resolve().parent
            todo = (f"rename {other.name} to {TABLES[0]}" if other else
                    f"{above} has a table: planet-data verify {above}" if any((above/name).is_file() for name in TABLES) else
                    "or fetch chips: planet-data get kaggle (40,479; needs an account) or planet-data get sample (1,000)")
        add('table', str(e), 'FAULT', todo=todo)
        return None
    if there[1:]: add('table', f"{there[0]} is read, and not", 'note', there[1:])
    if len(raw) < 2: add('rows', f'one chip in {there[0]}', 'FAULT', todo="one is needed to train and one to score")
    elif len(raw) < 5: add('rows', f'{len(raw)} in {there[0]}', 'note', todo="a fifth of them is no chip: hold out more (--valid_pct 0.5)")
    else: add('rows', f'{len(raw):,} in {there[0]}')
    twice = list(raw.image_name[raw.image_name.duplicated()].unique())
    if twice: add('names', f"{_are(len(twice), 'chip')} named more than once", 'FAULT', twice, "keep one row each")
    return raw

# ---- the images --------------------------------------------------------------------------------------------------

def _find(root, raw, add):
    "The training images, name -> file, and the folder they lie in; a name without an image is a fault."
    home = max((root/f for f in FOLDERS), key=lambda f: len(images_in(f)))
    if raw is None:
        found = {p.name: p for p in images_in(home)}
        if found: add('images', f"{len(found):,} in {home}, with no table to tell their tags", 'note')
        return found, home
    names = list(dict.fromkeys(raw.image_name))
    found = {name: p for name, p in zip(names, find_images(root, names)) if p is not None}
    home = next((p.parent for p in found.values()), home)
    missing, extra = [name for name in names if name not in found], sorted(set(images_in(home)) - set(found.values()))
    if missing: add('images', f"{len(missing):,} of {len(names):,} are missing" if found else f"none of {len(names):,} is there", 'FAULT',
                    missing if found else [], _how_to_get(root, raw, home if found else None, set(missing)))
    else: add('images', f"{len(found):,} in {home}, one for each row")
    unread = [f.name for f in map(root.joinpath, FOLDERS[:-1]) if f != home and images_in(f)]
    if unread: add('extra images', f"those in {unread[0]} are not read: more of the table's are in {home}", 'note')
    if extra: add('extra images', f"{len(extra):,} in {home} without a row", 'note', [p.name for p in extra], "they are left alone")
    return found, home

def _how_to_get(root, raw, home, missing):
    "Where the `missing` images may be had; `home` is where others lie, `None` where there are none."
    place = home or root/'train'
    def lost(folder): return sum(p.name in missing or stem(p.name) in missing for p in images_in(folder))
    if away := {d: n for d in sorted(root.iterdir()) if d.is_dir() and d != home and (n := lost(d))}:
        folder, n = max(away.items(), key=lambda item: item[1])
        return f"{n:,} of them lie in {folder}: " + (f"move them to {home}" if home else f"rename it to {place}")
    yours = f"put them into {place} (.jpg or .png)"
    if home: return f"{yours}, or take their rows out"
    archives = [p.name for p in sorted(root.iterdir()) if p.name.endswith(('.zip', '.7z', '.tar', '.tar.gz', '.tgz'))]
    if like_ours(set(' '.join(raw.tags).split())) or archives:
        return f"planet-data get kaggle --to {root} {f'unpacks {_some(archives)}' if archives else 'fetches them'}; or {yours}"
    return yours

def _other_splits(root, home):
    "Folders of held-out or unlabelled chips beside the training images: name -> files."
    around = [root, root.parent] if home == root and root.name.lower().startswith('train') else [root]
    held = re.compile(r'(test|valid|validation|val|dev|holdout|eval)([^a-z]|$)', re.I)
    return {d.name: files for base in around for d in sorted(base.iterdir())
            if d.is_dir() and d != home and held.match(d.name) and (files := images_in(d))}

def _split_column(raw):
    "Image name -> split, where the table tells in a column `split` or `is_valid`."
    if raw is not None and 'split' in raw: return dict(zip(raw.image_name, raw.split))
    if raw is None or 'is_valid' not in raw: return {}
    return {name: 'valid' if v.strip().lower() in ('1', '1.0', 'true', 'yes') else 'train' for name, v in zip(raw.image_name, raw.is_valid)}

def _check_files(found, home, others, raw, workers, add):
    "Read every image, and `add` what is found."
    column, n = _split_column(raw), len(found)
    names = [*found, *(f'{split}/{path.name}' for split, files in others.items() for path in files)]
    splits = [*(column.get(name, home.name) for name in found), *(split for split, files in others.items() for _ in files)]
    paths = [*found.values(), *(path for files in others.values() for path in files)]
    looks = read_infos(paths, workers)

    def said(rows, what): return [f'{names[i]} ({getattr(looks[i], what)})' for i in rows]
    bad = [i for i, look in enumerate(looks) if look.bad]
    train, other = [i for i in bad if i < n], [i for i in bad if i >= n]
    if train: add('files', f"{len(train):,} of {n:,} cannot be read", 'FAULT', said(train, 'bad'), "fetch them again, or train with --skip_bad")
    else: add('files', f"{n:,} read to their end")
    if other: add('other files', f"{len(other):,} of {len(paths)-n:,} beside the training images cannot be read", 'note', said(other, 'bad'),
                  "fetch them again: training does without them, predicting does not")
    odd = [i for i, look in enumerate(looks) if look.odd]
    if odd: add('damage', f"{_are(len(odd), 'file')} can be read, but may be damaged", 'note', said(odd, 'odd'), "look at them, or fetch them again")

    read = [i for i, look in enumerate(looks) if not look.bad]
    sizes, modes = (Counter(getattr(looks[i], what) for i in read).most_common() for what in ('size', 'mode'))
    if len(sizes) == 1: add('sizes', f'{sizes[0][0]}, all {len(read):,}')
    elif sizes: add('sizes', f'{len(sizes)} of them, {_some([f"{size} {c:,}" for size, c in sizes])}; odd', 'note',
                    said([i for i in read if looks[i].size != sizes[0][0]], 'size'), "each is cropped and scaled to one square")
    if modes: add('modes', ', '.join(f'{m} {c:,}' + (f': {REMARKS[m]}' if m in REMARKS else '') for m, c in modes),
                  'ok' if {m for m, _ in modes} <= {'RGB', 'CMYK'} else 'note')
    _check_same(paths, looks, names, splits, n, raw, add)

def _check_same(paths, looks, names, splits, n, raw, add):
    "Chips that show the same, and chips in more than one split; the first `n` are for training."
    tags = {} if raw is None else {name: frozenset(cell.split()) for name, cell in zip(raw.image_name, raw.tags)}
    def shown(found): return [' = '.join(names[i] for i in g[:3]) + ' = ...'*(len(g) > 3) for g in found]
    first = same_pixels(paths, looks)
    alike = [g for g in groups(range(len(paths)), lambda i: first[i]) if len(g) > 1]
    inside = [g for g in ([i for i in g if i < n] for g in alike) if len(g) > 1]
    differ = sum(len({tags.get(names[i]) for i in g}) > 1 for g in inside)
    if inside: add('duplicates', f"{sum(map(len, inside)):,} chips show the same as another, in {_are(len(inside), 'group')}"
                   + (f" ({differ:,} with differing tags)" if differ else ''), 'note', shown(inside), "keep each group on one side of a split")
    else: add('duplicates', "none: no two chips show the same")

    sides = Counter(splits).most_common()
    if len(sides) < 2: return
    def leaks(found): return [g for g in found if len({splits[i] for i in g}) > 1]
    pictures, named = leaks(alike), leaks(groups(range(len(paths)), lambda i: stem(paths[i].name)))
    counted = ', '.join(f"{side or '(none)'} {c:,}" for side, c in sides)
    if pictures: add('splits', f"{counted}; {_are(len(pictures), 'picture')} in more than one", 'note', shown(pictures), "scores on chips that were trained on flatter")
    if named: add('splits', f"{counted}; {_are(len(named), 'name')} in more than one", 'note', shown(named), "make sure that they are different chips")
    if not pictures and not named: add('splits', f"{counted}: no name or picture is in more than one")

def verify(folder, # a folder with a label table and images
           workers:int=0, # threads that read images; 0: one a core
          ) -> Report:
    """Look at everything that can be wrong with a folder of chips, and go on after each fault.

    A FAULT is what `from_folder` or `ChipStore` refuses, so that training would fail; a note is worth knowing. Chips show
    the same where their pixels are equal, whatever their bytes. Splits are folders named like `test-jpg` or `valid` beside
    the training images, and a column `split` or `is_valid`. Raises `UserError` only where there is no such folder.
    """
    root, rows = existing_folder(folder), []
    def add(check, found, state='ok', examples=(), todo=''): rows.append((check, found, state, list(examples), todo))
    raw = _table(root, add)
    if raw is not None: _check_tags(raw, add)
    found, home = _find(root, raw, add)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # Pillow's, of odd files: ours say more
        if found: _check_files(found, home, _other_splits(root, home), raw, workers, add)
    return Report(root, pd.DataFrame(rows, columns=['check', 'found', 'state', 'examples', 'todo']))
