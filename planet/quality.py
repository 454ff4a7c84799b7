"""Checks of label tables and image files: one set, which training and `planet-data verify` run alike.

Each check gives findings: a FAULT stops training with the words that `verify` prints, a note is said once.
"""
import re
import unicodedata
from collections import Counter
from typing import NamedTuple
from planet import amazon
from planet.amazon import TAGS, WEATHER, is_competition_vocab, tag_counts, tag_sets
from planet.cli import UserError, near_names

__all__ = ['Finding', 'some', 'count', 'stop_at_faults', 'notes', 'check_table', 'check_names', 'is_nothing',
           'check_groups', 'check_same_file', 'remedy', 'check_readable', 'check_images', 'check_duplicates']

class Finding(NamedTuple):
    "What one check found."
    check: str
    found: str
    state: str='ok' # ok, note or FAULT
    examples: list=[]
    todo: str='' # what to do next

    def __str__(self):
        "One line: what was found, examples, what to do."
        shown = f': {some(self.examples)}' if self.examples else ''
        return self.found + shown + (f'; {self.todo}' if self.todo else '')

def some(names, n:int=3) -> str:
    "The first `n` of `names`, and how many there are."
    return ', '.join(map(str, names[:n])) + (f' ... ({len(names):,} in all)' if len(names) > n else '')

def count(n:int, one:str, many:str=None) -> str:
    "`n` things: '1 chip', '2 chips'."
    return f"{n:,} {one if n == 1 else many or one+'s'}"

def stop_at_faults(findings, where):
    "Raise the first FAULT as a `UserError` that names `where` it is, and how many more there are."
    faults = [f for f in findings if f.state == 'FAULT']
    if not faults: return
    more = f" (and {count(len(faults)-1, 'more fault')}: planet-data verify lists them)" if faults[1:] else ''
    first = str(faults[0])
    raise UserError(f"{'' if first.startswith(str(where)) else f'{where}: '}{first}{more}")

def notes(findings) -> list[str]:
    "The notes among findings, a line each."
    return [str(f) for f in findings if f.state == 'note']

# ---- the table ---------------------------------------------------------------------------------------------------

def check_table(names:list, # image names, a row a chip
                tags:list, # a list of tags for each, as written
                where:str, # name of the table
               ) -> list[Finding]:
    "Check names, tags and their spelling, and of chips like the competition's the weather; works without images."
    found = []
    def add(*args, **kwargs): found.append(Finding(*args, **kwargs))
    tags = [tuple(cell) for cell in tags]
    known = {cell: tuple(sorted(set(cell))) for cell in set(tags)} # few sets of tags, on many chips
    sets = [known[cell] for cell in tags]
    counts = tag_counts(sets)
    vocab = sorted(counts)
    whole = is_competition_vocab(vocab) and len(names) == amazon.ROWS # all of the competition's table

    if len(names) < 2: add('rows', f'a single chip in {where}', 'FAULT', todo="two are needed to train, one to score")
    elif len(names) < 5: add('rows', f'{len(names)} in {where}', 'note', todo=(
        "a fifth of them is no chip: a larger `valid_pct`, such as 0.5" if len(names) > 2 else
        "too few: two are needed to train, one to score"))
    else: add('rows', f'{len(names):,} in {where}')
    found += check_names(names, tags)
    if len(vocab) < 2: add('tags', f'one tag ({vocab[0]})' if vocab else 'no tags', 'FAULT',
                           todo="tagging needs two at least: give the chips without it a tag of their own")
    elif whole:
        theirs = tag_counts(tag_sets())
        odd = [f'{t} {counts[t]:,} (there {theirs[t]:,})' for t in sorted({*vocab, *theirs}) if counts[t] != theirs[t]]
        if odd: add('tags', f"{len(vocab)}, not as often as in the competition's table", 'note', odd,
                    "fetch the table again, if you have not changed it")
        else: add('tags', f"{len(vocab)}, each as often as in the competition's table")
    else:
        rarest = min(vocab, key=counts.get)
        add('tags', f"{len(vocab)}; the rarest, {rarest}, on {count(counts[rarest], 'chip')}")
    found += _check_spelling(vocab)
    repeating = [name for name, cell in zip(names, tags) if len(known[cell]) < len(cell)]
    twice, quirk = f"{count(len(repeating), 'row')} with a tag twice", ": the competition's table is known for it"
    if not repeating: add('repeated tags', 'none in any row')
    elif whole and len(repeating) == amazon.ROWS_REPEATING: add('repeated tags', twice + quirk)
    else: add('repeated tags', f"{twice} (harmless: counted once)", 'note', repeating)
    if is_competition_vocab(vocab):
        odd = sum(n for cell, n in Counter(tags).items() if list(cell) != sorted(cell))
        told = f"{count(odd, 'row')} not in alphabetical order" if odd else 'alphabetical in every row'
        add('order of tags', told + quirk*(whole and odd == amazon.ROWS_UNSORTED))
    if bare := [name for name, cell in zip(names, tags) if not cell]:
        add('untagged', count(len(bare), 'chip'), 'note', bare, "taught as having none of the tags")
    if set(WEATHER) <= set(vocab): found.append(_check_weather(dict(zip(names, sets)), whole))
    return found

def check_names(names:list, # image names, a row a chip
                tags:list, # a list of tags for each
               ) -> list[Finding]:
    "Image names that stand in more than one row."
    twice = [name for name, n in Counter(names).items() if n > 1]
    found = f"{count(len(twice), 'chip')} named more than once"
    todo = "keep one row each, with all its tags"
    if any(len(cell) > 1 for cell in tags): todo += "; where each row is one tag of several words: `label_delim` none"
    return [Finding('names', found, 'FAULT', twice, todo)]*bool(twice)

def is_nothing(cell:str) -> bool:
    "Whether a cell is empty, or says so: NaN, NA, none, a dash."
    return re.sub(r'^\W+|\W+$', '', cell).casefold() in ('', *NOTHING)

def check_groups(names:list, # image names
                 groups:list, # the group of each, as the table has it
                 column:str, # its name
                ) -> list[Finding]:
    "Chips without a group where others have one: a split could not keep them with their scene."
    lacking = [name for name, group in zip(names, groups) if is_nothing(group)]
    found = f"{len(lacking):,} of {count(len(names), 'chip')} have no group in column {column}"
    return [Finding('groups', found, 'FAULT', lacking, "write its own name where a chip is alone")]*bool(lacking)

NOTHING = 'nan', 'na', 'n/a', 'none', 'null', 'nil', 'missing', 'undefined', 'unlabeled', 'unlabelled'
# letters of Cyrillic and Greek that look like Latin ones
LATIN = str.maketrans('аеорсухіјѕкмтвноαορυ', 'aeopcyxijskmtbhoaopu')
def _folded(tag): return unicodedata.normalize('NFKC', tag).casefold().translate(LATIN)

def _check_spelling(vocab):
    "Tags of another data set are right as they are, unless two of them seem to be one; the competition's are known."
    ours = is_competition_vocab(vocab)
    unknown = [t + near_names(t, TAGS, 1) for t in vocab if t not in TAGS] if ours else []
    alike = {}
    for t in vocab: alike.setdefault(re.sub(r'[\s_-]+', '_', _folded(t)), []).append(t)
    twins = [' = '.join(same) for same in alike.values() if len(same) > 1]
    nothing = [t for t in vocab if t.casefold() in NOTHING or re.fullmatch(r'\W+', t)]
    parts = {t: {p.strip() for p in re.split(r'[-+/&:#~]', t)} for t in vocab}
    joined = [t for t in vocab if len(parts[t]) > 1 and parts[t] <= set(vocab)]
    if joined: yield Finding('tag names', "made of other tags", 'note', joined,
                             "learnt as tags of their own: name what separates them, `label_delim`")
    if unknown: yield Finding('tag names', f"{count(len(unknown), 'tag')} not among the competition's 17", 'note',
                              unknown, "learnt as another tag: correct the table if it is a slip")
    if twins: yield Finding('tag names', "alike but for their spelling", 'note', twins, "learnt as different tags")
    if nothing: yield Finding('tag names', "words for an empty cell among the tags", 'note', nothing,
                              "learnt as tags: leave the cell empty for none")
    if ours and not unknown + twins:
        yield Finding('tag names', "all among the competition's 17 (which spells artisinal_mine so)")

def _check_weather(tags, whole):
    "Weather is exactly one of four, and `cloudy` excludes all other tags; `tags` has a tuple for each image name."
    weather = {name: [t for t in these if t in WEATHER] for name, these in tags.items()}
    odd = [name for name in tags if len(weather[name]) != 1]
    mixed = [name for name, these in tags.items() if 'cloudy' in these and len(these) > 1 and len(weather[name]) == 1]
    right = "exactly one a chip, and cloudy alone"
    if not odd and not mixed: return Finding('weather', right)
    if whole and set(odd) <= amazon.NO_WEATHER and not mixed:
        return Finding('weather', f"{right}; {some(odd)} has none: the competition's table is known for it")
    said = [f"{name} ({' and '.join(weather[name]) or 'none'})" for name in odd]
    said += [f'{name} (cloudy and more)' for name in mixed]
    found = f"{count(len(said), 'chip')} without exactly one of {', '.join(WEATHER)}, or cloudy and more"
    return Finding('weather', found, 'note', said, "experiments on weather leave out chips that have none or several")

def check_same_file(names:list, # image names
                    paths:list, # the file of each, or `None`
                   ) -> list[Finding]:
    "Rows that name one file in two ways, such as `a` and `a.jpg`: the tags of one would be taught for both."
    rows = {}
    for name, path in dict(zip(names, paths)).items():
        if path is not None: rows.setdefault(path, []).append(name)
    twice = [' = '.join(same) for same in rows.values() if len(same) > 1]
    found = f"{count(len(twice), 'file')} named by two rows"
    return [Finding('names', found, 'FAULT', twice, "keep one row each")]*bool(twice)

# ---- the images --------------------------------------------------------------------------------------------------

SCALED = 'grey of 16 bits, scaled to 8'
REMARKS = {'CMYK': "read as RGB (the competition's JPEGs have four components)", 'L': 'grey, read as RGB',
           '1': 'black and white, read as RGB', 'LA': 'grey; its transparency is dropped',
           'RGBA': 'transparency is dropped', 'P': 'a palette, read as RGB',
           'I;16': SCALED, 'I;16B': SCALED, 'I': SCALED}

def remedy(bad) -> str:
    "What to do with files that cannot be read, from what is wrong with each."
    known = {'Permission denied': "allow yourself to read them (chmod u+r)",
             'mode ': "save them as RGB or grey of 8 bits",
             'a pointer': "fetch the images themselves (git lfs pull)",
             'not a regular': "put the images themselves there", 'No such': "put the images themselves there"}
    bands = "name the bands to train on (`bands`), or save them as RGB or grey of 8 bits"
    todo = [bands if re.match(r'mode of \d+ bands of', why) else
            next((do for start, do in known.items() if why.startswith(start)), "fetch them again") for why in bad]
    return ', '.join(dict.fromkeys(todo))

def check_readable(names:list, # of all chips
                   bad:list, # what is wrong with the file of each, or ''
                  ) -> Finding:
    "The fault of files that cannot be read."
    named = [f'{name} ({why})' for name, why in zip(names, bad) if why]
    return Finding('files', f"{len(named):,} of {len(names):,} chips cannot be read", 'FAULT', named,
                   f"{remedy(filter(None, bad))}, or leave them out with `skip_bad`")

def check_images(names:list, # of the chips, as a user knows them
                 infos:list, # an `ImageInfo` of each
                ) -> list[Finding]:
    "Check what decoding the image files has found: which cannot be read, may be damaged, differ in size or in mode."
    found = []
    def add(*args): found.append(Finding(*args))
    def said(rows, what): return [f'{names[i]} ({getattr(infos[i], what)})' for i in rows]
    if any(o.bad for o in infos): found.append(check_readable(names, [o.bad for o in infos]))
    else: add('files', f"{len(names):,} read to their end")
    if odd := [i for i, o in enumerate(infos) if o.odd]:
        add('damage', f"{count(len(odd), 'file')} can be read, but may be damaged", 'note', said(odd, 'odd'),
            "look at them, or fetch them again")
    read = [i for i, o in enumerate(infos) if not o.bad]
    sizes, modes = (Counter(getattr(infos[i], what) for i in read).most_common() for what in ('size', 'mode'))
    if len(sizes) == 1: add('sizes', f'{sizes[0][0]}, all {len(read):,}')
    elif sizes:
        odd = [i for i in read if infos[i].size != sizes[0][0]]
        add('sizes', f'{len(sizes)} of them, {some([f"{size} {c:,}" for size, c in sizes])}; odd', 'note',
            said(odd, 'size'), "each is cropped and scaled to one square")
    top = max((infos[i].top for i in read), default=255)
    if 0 < top < 64:
        todo = "scale them to 8 bits, or state the range of values (`limits` of `from_folder`; `bands` measures it)"
        add('values', f"no value above {top} of 255 in any image, as where 12 bits are stored in 16", 'note', [], todo)
    if modes: add('modes', ', '.join(f'{m} {c:,}' + (f': {REMARKS[m]}' if m in REMARKS else '') for m, c in modes),
                  'ok' if {m for m, _ in modes} <= {'RGB', 'CMYK'} else 'note')
    return found

def check_duplicates(names:list, # of the chips, as a user knows them
                     tags:list, # of each
                     first, # for each the row of the first chip with equal pixels, from `planet.images.same_pixels`
                    ) -> Finding:
    "Check for chips with equal pixels, and for different tags among them."
    rows = {}
    for i, f in enumerate(first): rows.setdefault(f, []).append(i)
    same = [g for g in rows.values() if len(g) > 1]
    differ = [g for g in same if len({frozenset(tags[i]) for i in g}) > 1]
    if not same: return Finding('duplicates', "none: no two chips have equal pixels")
    shown = [' = '.join(names[i] for i in g[:3]) + ' = ...'*(len(g) > 3) for g in (differ or same)]
    tell = f" ({len(differ):,} with different tags)" if differ else ''
    found = f"{sum(map(len, same)):,} chips have equal pixels, in {count(len(same), 'group')}{tell}"
    todo = "kept on one side of a split" + ("; correct their tags" if differ else '')
    return Finding('duplicates', found, 'note', shown, todo)
