"""Build and check the competition's submission, send it with Kaggle's official client, and wait for its score.

61,191 rows `image_name,tags` in the order of the sample submission: `test_N` and `file_N`, tags by spaces."""
import csv
import time
from collections import Counter
from pathlib import Path
from planet.amazon import COMPETITION, TAGS
from planet.cli import UserError, say
from planet.download.competition import PREFIX, SUBMISSION
from planet.files import SUFFIXES

__all__ = ['ROWS', 'HEADER', 'sample_names', 'TestChips', 'write_submission', 'check_submission', 'send']

ROWS, HEADER = 61_191, ['image_name', 'tags']
FETCH = 'fetch the competition with planet-data get kaggle'
PATIENCE, EVERY = 1800, 10 # seconds that a score is waited for, and between two questions

def _rows(path):
    "Rows of a table of two columns, with its header."
    try:
        with open(path, newline='', encoding='utf-8') as f: return list(csv.reader(f))
    except FileNotFoundError: raise UserError(f'{path} is not there: {FETCH}') from None
    except (OSError, UnicodeDecodeError, csv.Error) as e: raise UserError(f'{path} cannot be read ({e})') from None

def sample_names(folder, # of the competition
                 n:int=ROWS, # names that there have to be
                ) -> list:
    "Image names of the sample submission, in its order."
    path = Path(folder).expanduser()/SUBMISSION
    header, *rows = _rows(path) or [[]]
    if header != HEADER: raise UserError(f"{path} has the header {','.join(header)}: {','.join(HEADER)} is wanted")
    names = [row[0] for row in rows if row]
    if len(set(names)) != len(names) or len(names) != n:
        raise UserError(f'{path} lists {len(set(names)):,} different names, and the competition has {n:,}: {FETCH}')
    return names

class TestChips:
    "The test chips of a competition's folder as inputs of `tag_images`: pairs of name and file, in the sample's order."
    __test__ = False # no test of pytest's
    def __init__(self, folder, names):
        self.names, self.files, missing = names, [], []
        places = [Path(folder).expanduser()/p for p in ('test-jpg', 'test-jpg-additional')]
        there = {f.name: place for place in places if place.is_dir() for f in place.iterdir()}
        for name in names:
            file = next((name + s for s in SUFFIXES if name + s in there), None)
            if file is None: missing.append(name)
            else: self.files.append(there[file]/file)
        if missing:
            kinds = [place.name for place in places if any(m.startswith(PREFIX[place.name]) for m in missing)]
            raise UserError(f'{len(missing):,} of {len(names):,} test chips, such as {missing[0]}, are not in '
                            f"{Path(folder)/(kinds or ['.'])[0]}: {FETCH}")
    def __len__(self): return len(self.names)
    def __iter__(self): return zip(self.names, self.files)

def check_submission(path, # the file
                     names, # that it has to have, in this order
                     vocab=TAGS, # tags that are known
                     group=(), # mutually exclusive tags, the weather
                     exact:bool=False, # has every row to have exactly one of them?
                    ) -> Counter: # 0, 1, 2 ... of the group -> rows that have so many
    "Check a submission's header, rows, order and tags against the sample's names; `UserError` where it is wrong."
    header, *rows = _rows(path) or [[]]
    if header != HEADER: raise UserError(f"{path} has the header {','.join(header)}: {','.join(HEADER)} is wanted")
    if len(rows) != len(names): raise UserError(f'{path} has {len(rows):,} rows: {len(names):,} are wanted')
    counts, known = Counter(), set(vocab)
    for i, (row, name) in enumerate(zip(rows, names), 2):
        if len(row) != 2: raise UserError(f'{path}, line {i}: {len(row)} columns, and 2 are wanted')
        if row[0] != name: raise UserError(f'{path}, line {i}: {row[0]} where the sample submission has {name}')
        tags = row[1].split(' ') if row[1] else []
        if odd := [t for t in tags if t not in known]: raise UserError(f'{path}, line {i}: {odd[0]!r} is no tag')
        if len(set(tags)) < len(tags): raise UserError(f'{path}, line {i}: a tag twice')
        counts[n := sum(t in group for t in tags)] += 1
        if exact and n != 1:
            raise UserError(f"{path}, line {i}: {n} of {', '.join(group)}, and exactly 1 is wanted")
    return counts

def write_submission(path, pairs, # the file, and pairs of name and tags
                     check=None, # called with the file before it has its name; raises where it is wrong
                    ) -> Path:
    "Write `image_name,tags`: whole and checked, or not at all."
    path = Path(path).expanduser()
    part = path.with_name(f'.{path.name}.part')
    try:
        with open(part, 'w', newline='', encoding='utf-8') as f:
            out = csv.writer(f, lineterminator='\n')
            out.writerow(HEADER)
            out.writerows((name, ' '.join(tags)) for name, tags in pairs)
        if check: check(part)
        part.replace(path)
    finally: part.unlink(missing_ok=True)
    return path

def send(path, # a submission
         message:str, # that describes it
         competition:str=COMPETITION,
        ) -> dict: # `ref`, `status`, `public_score`, `private_score`, ...
    "Send a submission with Kaggle's official client and wait for its score."
    from planet.download.kaggle import Account
    account = Account()
    ref = account.submit(path, message, competition)
    say(f'{path} was sent to {competition}; waiting for its score (Ctrl-C ends the waiting, not the scoring)')
    until = time.monotonic() + PATIENCE
    while True:
        found = account.submitted(ref, message, competition)
        if found and found['status'] == 'error':
            raise UserError(f"Kaggle could not score {path}: {found['error'] or 'it does not say why'}")
        if found and found['status'] == 'complete': return found
        if time.monotonic() > until: return found or dict(status='pending', ref=ref)
        time.sleep(EVERY)
