"""The competition's chips from the Hugging Face hub, no account needed; checked against the competition's own table.

The layout is discovered: shards (parquet, tar) or folders and archives of images with a table; others are refused.
"""
import os
import re
import shutil
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
import pandas as pd
from planet import amazon
from planet.chips import from_folder
from planet.cli import UserError, progress, say
from planet.download.hub_layouts import read_layout
from planet.download.one_at_work import FETCHED, need_module, one_at_work
from planet.download.progress import need_space, size_text

__all__ = ['DATASET', 'check_chips', 'get_hub']

DATASET = 'timm/amazon-from-space'
ENDINGS = {b'\xff\xd8': '.jpg', b'\x89PNG': '.png', b'II*\0': '.tif', b'MM\0*': '.tif'} # by the first bytes
FOLDERS = dict(train='train-jpg', test='test-jpg', file='test-jpg-additional') # by the beginning of a chip's name

@contextmanager
def _hub_errors(dataset):
    "What the hub's client raises, in one line that says what to do."
    from huggingface_hub import errors
    try: yield
    except errors.GatedRepoError: why, todo = 'it wants an account by now', 'take planet-data get kaggle'
    except errors.RepositoryNotFoundError: why, todo = 'there is no such dataset', 'name another with `dataset`'
    except Exception as e:
        net = type(e).__module__.partition('.')[0] in ('httpx', 'httpx2', 'httpcore', 'requests', 'urllib3')
        if not net and not isinstance(e, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled,
                                          errors.HfHubHTTPError, ConnectionError)): raise
        e = e.__cause__ or e
        why = ' '.join(str(e).split())[:160].rstrip('.') or type(e).__name__
        todo = 'connect to the network and run this again, it goes on from there; or planet-data get sample for 1,000'
    else: return
    raise UserError(f'dataset {dataset} of the Hugging Face hub cannot be had ({why}): {todo}') from None

def _fetch(dataset, home):
    "All files of the dataset in `home`; those that are there are not fetched again, and a part is gone on with."
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils import disable_progress_bars
    disable_progress_bars() # they are drawn over one another, and fill a log
    endpoint = os.environ.get('HF_ENDPOINT') or None
    with _hub_errors(dataset):
        info = HfApi(endpoint=endpoint, token=False).dataset_info(dataset, files_metadata=True, timeout=60)
        files = {f.rfilename: f.size or 0 for f in info.siblings if not f.rfilename.startswith('.')}
        if any(name.endswith('.parquet') for name in files): need_module('pyarrow.parquet', f'dataset {dataset}')
        need_space(home, 2*sum(files.values()), f'dataset {dataset}')
        say(f'dataset {dataset}: {len(files):,} files, {size_text(sum(files.values()))}')
        for name in progress(sorted(files), len(files), f'fetching {dataset}'):
            hf_hub_download(dataset, name, repo_type='dataset', revision=info.sha, local_dir=home, endpoint=endpoint,
                            token=False, etag_timeout=60)
    return sorted(files)

# ---- is it the competition's? ------------------------------------------------------------------------------------

def check_chips(rows, # `(name, tags or `None`, ...)` of each chip
                dataset:str=DATASET, # for messages
               ):
    "Check names, counts and tags of the training chips against the competition's table; `UserError` where they differ."
    def refuse(why): raise UserError(f"dataset {dataset} is not the competition's: {why}. Nothing of it was used")
    names, known = Counter(row[0] for row in rows), amazon.tag_sets()
    if odd := [n for n in names if not re.fullmatch(r'(train|test|file)_\d+', n)]:
        refuse(f'{len(odd):,} chips are not called train_N, test_N or file_N, such as {odd[0]!r}')
    if twice := [n for n, k in names.items() if k > 1]: refuse(f'{twice[0]} is there {names[twice[0]]} times')
    train = {row[0]: row[1] for row in rows if row[0].startswith('train_')}
    n = known.total()
    if len(train) != n: refuse(f'it has {len(train):,} training chips of {n:,}')
    if bare := [name for name, tags in train.items() if not tags]: refuse(f'{len(bare):,} of its chips have no tags')
    if odd := {t for tags in train.values() for t in tags} - set(amazon.TAGS):
        refuse(f"it has tags that the table does not have: {', '.join(sorted(odd)[:3])}")
    sets = Counter(tuple(sorted(set(tags))) for tags in train.values())
    known = Counter({tuple(sorted(tags)): k for tags, k in known.items()})
    if differ := (sets - known) + (known - sets):
        tags = ' '.join(next(iter(differ)))
        counts = f'{sets[tuple(tags.split())]:,} chips, in the table {known[tuple(tags.split())]:,}'
        refuse(f'{len(differ)} sets of tags are on other numbers of chips, such as {tags} ({counts})')
    if missing := {f'train_{i}' for i in range(n)} - set(train):
        refuse(f'it lacks {len(missing):,}, such as {min(missing)}')

# ---- into the folder of the competition --------------------------------------------------------------------------

def _write(rows, total, folder):
    "Images into their folders and the label table last: each folder is renamed when it is whole."
    work = folder/'.hub.unpacking'
    shutil.rmtree(work, ignore_errors=True)
    try:
        tags = {}
        for name, found, read in progress(rows, total, 'writing chips'):
            place = work/FOLDERS[name.split('_')[0]]
            place.mkdir(parents=True, exist_ok=True)
            data = read()
            ending = next((e for magic, e in ENDINGS.items() if data.startswith(magic)), None)
            if ending is None: raise UserError(f'the file of {name} is no JPEG, PNG or TIFF: nothing of it was used')
            (place/(name+ending)).write_bytes(data)
            if name.startswith('train_'): tags[name] = ' '.join(found)
        for place in work.iterdir():
            if (folder/place.name).is_dir() and not any((folder/place.name).iterdir()): (folder/place.name).rmdir()
            if not (folder/place.name).exists(): place.rename(folder/place.name)
        table = pd.DataFrame(dict(image_name=list(tags), tags=list(tags.values())))
        table = table.iloc[table.image_name.str[6:].astype(int).argsort()]
        table.to_csv(work/'train_v2.csv', index=False)
        os.replace(work/'train_v2.csv', folder/'train_v2.csv')
    finally: shutil.rmtree(work, ignore_errors=True)

def get_hub(folder=None, # by default `amazon.folder`
            dataset:str=DATASET, # owner/name on the hub
           ) -> Path: # the folder that `from_folder` reads
    """Fetch the competition's chips from the Hugging Face hub into the layout of `planet-data get kaggle`.

    Raises `UserError` where the hub cannot be reached, where the layout is not understood, and where names, counts or
    tags are not those of the competition's table: nothing is used then. """
    folder = Path(folder or amazon.folder).expanduser()
    if not re.fullmatch(r'[\w.-]+/[\w.-]+', dataset):
        raise UserError(f'{dataset}: name it owner/name, as its address on the hub ends', option='dataset')
    if (folder/'train_v2.csv').is_file():
        say(f'{folder} has everything already')
        return folder
    home = folder/FETCHED/'hub'
    with one_at_work(folder):
        files = _fetch(dataset, home)
        layout = partial(read_layout, home, files, dataset)
        rows = [(name, tags) for name, tags, _ in progress(layout(), len(files), 'reading labels')]
        check_chips(rows, dataset)
        _write(layout(), len(rows), folder)
        try: chips = from_folder(folder)
        except UserError: # of images that were there before
            (folder/'train_v2.csv').unlink()
            raise
        shutil.rmtree(home)
        say(f'{len(chips):,} chips with {len(chips.vocab)} tags (to read every image: planet-data verify {folder})')
    return folder
