"The competition's files, from wherever they can be had into a folder that `from_folder` reads."
# The folder keeps the competition's own names: `train_v2.csv` and `train-jpg/` to train on; `test-jpg/`
# (`test_N.jpg`), `test-jpg-additional/` (`file_N.jpg`) and `sample_submission_v2.csv`, which lists both, to submit;
# `train-tif-v2/` and `test-tif-v2/` with four bands. All of them are made under another name, checked and renamed.
# What is missing comes from an archive in that folder, from `/kaggle/input`, from a Kaggle dataset, from Kaggle's
# competition, in this order. Downloads wait in `.fetched/` until they are unpacked.
import os
import re
import shutil
from functools import partial
from pathlib import Path
from planet import amazon
from planet.amazon import COMPETITION
from planet.chips import TABLES, from_folder, read_table
from planet.cli import UserError, say
from planet.download.archives import (
    MEND,
    SUFFIXES,
    BadArchive,
    UnsupportedArchive,
    bare_name,
    kind_of,
    unpack,
    unpack_file,
)
from planet.download.complete import short_table, table_fault
from planet.download.http import download
from planet.download.kaggle import Account, KaggleError, access, credentials
from planet.download.one_at_work import FETCHED, one_at_work
from planet.download.progress import need_space

__all__ = ['COMPETITION', 'access', 'credentials', 'get_competition', 'get_titanic']

INPUT = Path('/kaggle/input') # where Kaggle's own notebooks have competitions and datasets mounted

TABLE, SUBMISSION, MAPPING = 'train_v2.csv', 'sample_submission_v2.csv', 'test_v2_file_mapping.csv'
JPG = 'train-jpg', 'test-jpg', 'test-jpg-additional'
TIF = 'train-tif-v2', 'test-tif-v2'
PREFIX = {'train-jpg': 'train_', 'test-jpg': 'test_', 'test-jpg-additional': 'file_',
          'train-tif-v2': 'train_', 'test-tif-v2': ('test_', 'file_')} # of the images in each
TITANIC = 'train.csv', 'test.csv', 'gender_submission.csv'
# The most that an archive may unpack to: its images as bare pixels, of four bands of 8 or 16 bits, twice over
IMAGES = {'train-jpg': 40_479, 'test-jpg': 40_669, 'test-jpg-additional': 20_522, 'train-tif-v2': 40_479,
          'test-tif-v2': 61_191}
PIXELS = 4*amazon.CHIP_SIZE**2
LIMITS = {name: 2*n*PIXELS*(2 if 'tif' in name else 1) for name, n in IMAGES.items()}

# ---- what is there

def _filled(folder): return folder.is_dir() and any(folder.iterdir())

def _there(folder, name):
    "Whether the table or the folder of images `name` is in `folder`, perhaps under another of its names."
    if name == TABLE: return any((folder/t).is_file() for t in TABLES)
    if name == 'train-jpg': return _filled(folder/name) or _filled(folder/'train')
    return (folder/name).is_file() if name.endswith('.csv') else _filled(folder/name)

def _mounts(slug, owner=None):
    "Where Kaggle's own notebooks have a competition, or an owner's dataset, mounted."
    places = INPUT/slug, INPUT/'competitions'/slug, INPUT/'datasets'/str(owner)/slug
    return [p for p in (places if owner else places[:2]) if p.is_dir()]

def _ready(root):
    "The folder in `root`, three levels down at most, that `from_folder` reads; `None` where there is none."
    for level in ('', '*/', '*/*/', '*/*/*/'):
        for table in sorted(p for t in TABLES for p in root.glob(level+t)):
            try: from_folder(table.parent)
            except UserError: continue
            return table.parent

def _archive_of(place, name):
    "The archive of `name` that lies in `place`, or `None`."
    found = [place/(name+s) for s in (('.zip',) if name.endswith('.csv') else SUFFIXES)]
    if place.is_relative_to(INPUT) and name.endswith('.csv'): # unpacked by Kaggle
        found += [place/name, place/name/name]
    return next((p for p in found if p.is_file()), None)

# ---- from an archive, a dataset, the competition

AGAIN = 'it was removed, run the same command again to fetch it anew'

def _make(archive, target, mend=MEND):
    if target.suffix == '.csv':
        return unpack_file(archive, target, mend, check=lambda path: table_fault(path, labels=target.name == TABLE))
    try: unpack(archive, target, mend, limit=LIMITS.get(target.name))
    except UnsupportedArchive as e: raise UnsupportedArchive(f'{e}. The folder that is wanted is {target}') from None

def _make_and_remove(archive, target):
    "Unpack an archive that we fetched; a damaged one goes, so that it is fetched anew."
    try: _make(archive, target, AGAIN)
    except UnsupportedArchive: raise # it would come again as it is
    except BadArchive: archive.unlink(); raise
    archive.unlink()

def _set_aside_bad_tables(folder, names):
    "A table that is none would keep the right one away for ever."
    for name in [n for n in names if n.endswith('.csv')]:
        for path in [folder/t for t in (TABLES if name == TABLE else [name])]:
            if path.is_file() and (fault := table_fault(path, labels=name == TABLE)):
                path.replace(path.with_name(path.name+'.damaged'))
                say(f'{path} cannot be used ({fault}): it was renamed to {path.name}.damaged')

def _adopt(tree, folder, names, source):
    "Move what `names` asks for out of `tree` (an unpacked dataset or download, however it is laid out) into `folder`."
    files = [p for p in tree.rglob('*') if p.is_file()]
    for name in [n for n in names if not _there(folder, n)]:
        if archive := next((p for p in files if bare_name(p.name) == name != p.name), None): _make(archive, folder/name)
    tables = {name: next((p for t in (TABLES[1:] if name == TABLE else [name]) for p in files if p.name == t), None)
              for name in names if name.endswith('.csv') and not _there(folder, name)}
    table = tables.get(TABLE) or next((folder/t for t in TABLES if (folder/t).is_file()), None)
    tagged = set(read_table(table).image_name) if table and 'train-jpg' in names else set()
    for name in [n for n in names if not n.endswith('.csv') and not _there(folder, n)]:
        endings = ('.tif', '.tiff') if 'tif' in name else ('.jpg', '.jpeg')
        also = tagged if name == 'train-jpg' else ()
        images = [p for p in files if p.suffix.lower() in endings]
        mine = {p.name: p for p in images if p.stem.startswith(PREFIX[name]) or p.stem in also}
        if missing := set(also) - {Path(n).stem for n in mine} - set(mine):
            raise BadArchive(f"{source} has no image for {len(missing):,} of the {len(tagged):,} chips in "
                             f"{table.name}, such as {min(missing)}: name another dataset")
        if not mine: continue
        tmp = folder/f'.{name}.unpacking'
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir()
        for image, path in mine.items(): os.replace(path, tmp/image)
        if (folder/name).is_dir(): (folder/name).rmdir() # an empty one
        tmp.rename(folder/name)
    for path in filter(None, tables.values()): os.replace(path, folder/path.name)

def _from_zip(archive, folder, names, source, mend):
    "Unpack a whole dataset or competition that came as one `.zip`, and take what is wanted of it."
    tree = folder/FETCHED/'all'
    shutil.rmtree(tree, ignore_errors=True)
    try: _adopt(unpack(archive, tree, mend, limit=2*sum(LIMITS.values())), folder, names, source)
    finally: shutil.rmtree(tree, ignore_errors=True)

def _from_dataset(dataset, folder, names):
    account = Account()
    archive = folder/FETCHED/(dataset.replace('/', '-') + '.zip')
    if not archive.exists(): download(lambda: account.open_dataset(dataset), archive, source='Kaggle')
    try:
        _from_zip(archive, folder, names, f'dataset {dataset}', AGAIN)
        if not _there(folder, 'train-jpg'):
            raise BadArchive(f"dataset {dataset} holds no train_N.jpg: name another with `dataset`")
    except BadArchive: archive.unlink(); raise
    archive.unlink()

def _from_competition(folder, names, needed, competition):
    "Fetch and unpack `names`; raises `UserError` where one that is `needed` cannot be had, and says so of the others."
    try:
        account = Account()
        listed = account.files(competition)
    except KaggleError as e:
        if set(needed) & set(names): raise
        return say(f"without {', '.join(names)}, which training does not need ({e})")
    at = {bare_name(Path(f).name): f for f in listed} # listed as train-jpg.tar.7z, or train_v2.csv/train_v2.csv
    gone = [n for n in names if n not in at]
    lacks = f"Kaggle's competition does not carry {', '.join(gone)} (any longer)"
    if stuck := [n for n in gone if n in needed]:
        raise UserError(f"{lacks}. What works: 1,000 of its chips (planet-data get sample); a Kaggle dataset that has "
                        f"the images (`dataset` owner/name); or put archives such as {stuck[0]}.tar.7z into {folder} "
                        "by hand and run this again")
    if gone: say(f'{lacks}: training does not need {"it" if len(gone) == 1 else "them"}')
    sizes = [listed[at[n]] for n in names if n in at]
    need_space(folder, sum(sizes) + max(sizes, default=0), 'the competition') # an archive goes when it is unpacked
    for name in [n for n in names if n in at]:
        archive = folder/FETCHED/Path(at[name]).name
        if not archive.exists():
            check = partial(_cut, size=listed[at[name]])
            download(partial(account.open, at[name], competition), archive, check, 'Kaggle')
        _make_and_remove(archive, folder/name)
        if name == TABLE and (fault := short_table(folder)): # a server without a length may be cut at the end of a row
            (folder/name).unlink()
            raise UserError(f"{name} arrived cut short ({fault}): run the same command again to fetch it anew")

def _cut(path, size):
    "Whether a bare table has fewer bytes than Kaggle lists; an archive tells by itself."
    there = path.stat().st_size
    return f'{there:,} bytes of {size:,}' if kind_of(path) is None and there < size else ''

def _collect(folder, names, needed, competition, dataset=''):
    "Make `names` in `folder`, from wherever they can be had; what is there is left alone."
    def missing(): return [n for n in names if not _there(folder, n)]
    _set_aside_bad_tables(folder, names)
    if not missing(): return say(f'{folder} has everything already')
    with one_at_work(folder):
        for place in (folder, *_mounts(competition)):
            for name in missing():
                if archive := _archive_of(place, name):
                    say(f'found {archive}')
                    _make(archive, folder/name)
            whole = place/f'{competition}.zip' # what Kaggle's button "Download All" gives
            if missing() and whole.is_file():
                say(f'found {whole}')
                _from_zip(whole, folder, missing(), whole, MEND)
        if dataset and not _there(folder, 'train-jpg'): _from_dataset(dataset, folder, missing())
        if missing(): _from_competition(folder, missing(), needed, competition)

def get_competition(folder=None, # by default `amazon.folder`
                    tif:bool=False, # the four-band TIFFs as well
                    dataset:str='', # take the images from this Kaggle dataset (owner/name)
                   ) -> Path: # the folder that `from_folder` reads
    """The competition's chips in `folder`; where a Kaggle notebook has them mounted, there.

    Raises `UserError` with what to do where they cannot be had: no or bad credentials, rules not accepted, no network,
    a cut connection, archives that Kaggle no longer has, a damaged archive, a full disk."""
    folder = Path(folder or amazon.folder).expanduser()
    if dataset and not re.fullmatch(r'\w[\w-]*/\w[\w-]*(/\d+)?', dataset):
        raise UserError(f'{dataset}: name it owner/name, as its address on kaggle.com/datasets ends', option='dataset')
    owner, _, slug = dataset.partition('/')
    for mount in _mounts(slug.split('/')[0], owner) if dataset else _mounts(COMPETITION):
        if not tif and (there := _ready(mount)):
            say(f'{there} is mounted here: nothing to download')
            return _report(there)
    # the table last: where it is, images are expected
    names = [SUBMISSION, *JPG, *([MAPPING, *TIF] if tif else []), TABLE]
    needed = [TABLE, 'train-jpg', *(TIF if tif else [])]
    try: _collect(folder, names, needed, COMPETITION, dataset)
    except KaggleError as e:
        if e.state != 'no credentials': raise
        raise KaggleError(e.state, f'{e}. No account is needed for 1,000 of the chips: '
                                   'planet-data get sample') from None
    return _report(folder)

def _report(folder):
    try: chips = from_folder(folder)
    except UserError as e:
        raise UserError(f"{folder} is not whole: {e}. To fetch its images again, delete {folder/'train-jpg'} and run "
                        "the same command again") from None
    if fault := short_table(folder):
        raise UserError(f"{fault}: to fetch the table again, delete it and run the same command again")
    say(f'{len(chips):,} chips with {len(chips.vocab)} tags (to read every image: planet-data verify {folder})')
    return folder

def get_titanic(folder=None, # by default data/titanic
               ) -> Path:
    "The tables of Kaggle's competition `titanic`: `train.csv`, `test.csv` and `gender_submission.csv`."
    for mount in _mounts('titanic') if folder is None else []:
        if all(_there(mount, n) for n in TITANIC):
            say(f'{mount} is mounted here: nothing to download')
            return mount
    folder = Path(folder or 'data/titanic').expanduser()
    _collect(folder, TITANIC, TITANIC, 'titanic')
    return folder
