"Check that a downloaded data set is complete: each function says what is missing, or returns ''."
from pathlib import Path
from planet.chips import SUFFIXES, from_folder, read_table
from planet.cli import UserError

__all__ = ['chips_fault', 'short_table', 'table_fault', 'SETS', 'set_fault']

def short_table(folder, # a folder of chips
               ) -> str: # such as "labels.csv names 3 of the 6 images in train"
    "Whether a label table ends too early: images that it does not name lie beside those that it names."
    try: chips = from_folder(folder)
    except UserError: return ''
    named, at = {p.name for p in chips.paths}, chips.paths[0].parent
    images = [p.name for p in at.iterdir() if p.suffix.lower() in SUFFIXES]
    if set(images) <= named: return ''
    return f'the label table of {folder} names {len(named):,} of the {len(images):,} images in {at.name}/'

def chips_fault(folder) -> str:
    "What a folder of chips lacks: its table, an image that the table names, or a row of the table."
    try: paths = from_folder(folder).paths
    except UserError as e: return str(e)
    if empty := [p for p in paths if not p.stat().st_size]: return f'{empty[0]} is empty'
    return short_table(folder)

def table_fault(path, # a `.csv` file
                labels:bool=False, # must it be a label table?
               ) -> str:
    "Whether a file is a table of comma-separated values: a site may have sent a page instead."
    with open(path, 'rb') as f: head = f.read(4096)
    if head.lstrip().startswith(b'<'): return 'it is a web page, as a site sends where one is not logged in'
    if not head.strip(): return 'it is empty'
    wide = head.startswith((b'\xff\xfe', b'\xfe\xff')) # UTF-16
    if b'\0' in head and not wide or head.lstrip().startswith(b'{'): return 'it is no table of comma-separated values'
    if labels:
        try: read_table(path)
        except UserError as e: return str(e).replace(str(path), 'it')
    return ''

# ---- fastai's sets

def _empty(folder, pattern): return next(folder.glob(pattern), None) is None

def _pets_fault(folder):
    table = folder/'annotations'/'list.txt'
    if not table.is_file(): return f'{table} is missing'
    rows = [line for line in table.read_text(errors='replace').splitlines() if line and not line.startswith('#')]
    images = sum(1 for _ in (folder/'images').glob('*.jpg'))
    return f"{folder/'images'} has {images:,} of {len(rows):,} images" if images < len(rows) else ''

def _mnist_fault(folder):
    parts = (folder/name/str(digit) for name in ('training', 'testing') for digit in range(10))
    return next((f'{part} has no images' for part in parts if _empty(part, '*.png')), '')

def _biwi_fault(folder):
    parts = (folder/f'{person:02}' for person in range(1, 25))
    return next((f'{part} has no images' for part in parts if _empty(part, '*_rgb.jpg')), '')

SETS = dict(sample=chips_fault, tiny=chips_fault, pets=_pets_fault, mnist=_mnist_fault, biwi=_biwi_fault)

def set_fault(what:str, # sample, tiny, pets, mnist or biwi
              folder, # where it should be
             ) -> str: # such as "1,000 of 1,000 chips have no image"; '' where it is whole
    "What a folder lacks of one of fastai's sets."
    folder = Path(folder)
    return SETS[what](folder) if folder.is_dir() else f'there is no {folder}'
