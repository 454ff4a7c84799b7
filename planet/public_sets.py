"""Public data sets of tagged chips, an entry each: where it is published, its layout, its labels, its licence.

`get` fetches one into `data/NAME` and writes its labels as `labels.csv`; from then on it is a folder like any other.
"""
import csv
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable, NamedTuple
from planet.chips import Chips, from_folder
from planet.cli import UserError, say
from planet.download.archives import BadArchive, UnsupportedArchive, bare_name, kind_of, unpack
from planet.download.bigearthnet import bigearthnet_rows
from planet.download.http import Passing, download, file_md5, open_url
from planet.download.one_at_work import FETCHED, need_module, one_at_work
from planet.files import SUFFIXES, images_in

__all__ = ['Remote', 'PublicSet', 'PUBLIC', 'ucmerced_rows', 'class_rows', 'home']

home = Path('data') # `planet-data get NAME` makes the folder NAME in it

class Remote(NamedTuple):
    "A published file: its address, and what to check it by."
    url: str
    md5: str = '' # as the publisher tells it; '': not known
    size: int = 0 # bytes
    @property
    def name(self): return self.url.split('?')[0].rsplit('/', 1)[-1]

@dataclass(frozen=True)
class PublicSet:
    "A public data set: `get` makes its folder, and calling it yields its `Chips`."
    name: str # as `data` and `planet-data get` call it
    title: str # what the chips are, in a few words
    page: str # where it is described
    licence: str
    files: tuple # of `Remote`; archives are unpacked
    rows: Callable # `rows(folder, bands)`: a dict a chip (`image_name`, `tags`, perhaps `split`, `group`), or `None`
    # where `folder` does not hold the published layout
    chips: int # how many there are
    tags: tuple = () # all of them, to recognise the set by; (): not checked
    bands: str = '' # that are taken where none are asked for; '': red, green, blue of 8 bits
    unpacks: bool = True # or does `rows` read the archives themselves?
    needs: tuple = () # modules that `rows` imports, of the extra `data`

    def __call__(self) -> Chips:
        "The chips in `data/NAME`; `UserError` where `planet-data get NAME` has to be run first."
        folder = home/self.name
        if not (folder/'labels.csv').is_file():
            raise UserError(f'{folder} is not there yet: planet-data get {self.name}')
        return from_folder(folder, self.title)

    def get(self, to='', bands:str='') -> Path: # the folder
        """Fetch, check and unpack the set; what lies in its folder already, put there by hand too, is not fetched.

        Raises `UserError` where it cannot be had, with the folder into which its files may be put by hand. """
        folder = Path(to or home/self.name).expanduser()
        if (folder/'labels.csv').is_file():
            chips = from_folder(folder)
            say(f'{folder} has everything already: {len(chips):,} chips with {len(chips.vocab)} tags')
            return folder
        with one_at_work(folder):
            rows = self.rows(folder, bands)
            if rows is None:
                for name in self.needs: need_module(name, self.title) # before hours of fetching
                for remote in self.files: self._fetch(remote, folder)
                rows = self.rows(folder, bands)
            if rows is None:
                raise UserError(f"{folder} does not hold {self.title} in the layout that is published at {self.page}")
            self._write(folder, rows)
        return folder

    def _fetch(self, remote, folder):
        "One of the files: there by hand, fetched before, or fetched now."
        archive, target = folder/remote.name, folder/bare_name(remote.name)
        if archive.is_file() and target == archive or target.is_dir(): return
        fetched = not archive.is_file()
        if fetched: archive = folder/FETCHED/remote.name
        if fetched and not archive.is_file():
            say(f'{self.title}, licence: {self.licence}')
            def check(path):
                if remote.size and path.stat().st_size != remote.size: return f'it should have {remote.size:,} bytes'
                return 'its md5 is not the published one' if remote.md5 and file_md5(path) != remote.md5 else ''
            try: download(partial(open_url, remote.url), archive, check)
            except UserError as e:
                names = ' and '.join(f.name for f in self.files if not (folder/f.name).is_file())
                by_hand = f'put {names} into {folder} by hand ({self.page}) and run this again'
                kind = Passing if isinstance(e, Passing) else UserError
                raise kind(f'{e}. Or {by_hand}') from None
        if not self.unpacks or not kind_of(archive):
            if fetched: os.replace(archive, folder/remote.name)
            return
        try: unpack(archive, target)
        except UnsupportedArchive: raise
        except BadArchive:
            if fetched: archive.unlink()
            raise
        if fetched: archive.unlink()

    def _write(self, folder, rows):
        "Write `labels.csv`, whole, and say how it compares with what is published."
        tags = {t for row in rows for t in row['tags']}
        if odd := tags - set(self.tags or tags):
            raise UserError(f"{folder} has tags that {self.title} does not have: {', '.join(sorted(odd)[:3])}")
        path, part = folder/'labels.csv', folder/'.labels.csv'
        columns = ['image_name', 'tags', *(c for c in ('split', 'group') if c in rows[0])]
        try:
            with open(part, 'w', newline='', encoding='utf-8') as f:
                table = csv.DictWriter(f, columns, extrasaction='ignore')
                table.writeheader()
                # as lists: some tags have commas in them
                table.writerows(row | dict(tags=json.dumps(row['tags'], ensure_ascii=False)) for row in rows)
            part.replace(path)
            from_folder(folder)
        except UserError:
            path.unlink(missing_ok=True)
            raise
        finally: part.unlink(missing_ok=True)
        some = '' if len(rows) == self.chips else f' of {self.chips:,} that are published'
        say(f'{folder}: {len(rows):,} chips{some}, {len(tags)} tags; use them with `data` {self.name}'
            if folder == home/self.name else f'{folder}: {len(rows):,} chips{some}, {len(tags)} tags')

# ---- layouts: each reads the labels of an unpacked folder --------------------------------------------------------

def _only(folder, pattern):
    "The file or folder in `folder`, two levels down at most, whose name matches; `None` for none."
    return next((p for level in ('', '*/', '*/*/') for p in sorted(folder.glob(level + pattern))), None)

def ucmerced_rows(folder, bands=''):
    "UC Merced multi-label (Chaudhuri et al. 2018): `Images/CLASS/CLASS00.tif`, and a table of 0 and 1 in columns."
    table, images = _only(folder, 'LandUse_Multilabeled.txt'), _only(folder, 'Images')
    if table is None or images is None: return None
    (_, *tags), *lines = (line.split() for line in table.read_text(encoding='utf-8-sig').splitlines() if line.strip())
    rows = []
    for name, *cells in lines:
        if len(cells) != len(tags) or set(cells) - {'0', '1'}:
            raise UserError(f'{table}: the row of {name} is not {len(tags)} times 0 or 1')
        path = images/name.rstrip('0123456789')/f'{name}.tif'
        rows.append(dict(image_name=path.relative_to(folder).as_posix(),
                         tags=[t for t, cell in zip(tags, cells) if cell == '1']))
    if missing := [r['image_name'] for r in rows if not (folder/r['image_name']).is_file()]:
        raise UserError(f'{folder} lacks {len(missing):,} of {len(rows):,} images, such as {missing[0]}: delete '
                        f'{images.parent} and run this again')
    return rows

def class_rows(folder, bands=''):
    "Single-label: a folder a class, the class being the only tag."
    for root in (folder, *sorted(p for p in folder.glob('*') if p.is_dir()), *sorted(folder.glob('*/*/'))):
        classes = {d.name: found for d in sorted(root.iterdir()) if d.is_dir() and (found := images_in(d))}
        if len(classes) > 1:
            return [dict(image_name=p.relative_to(folder).as_posix(), tags=[name])
                    for name, found in classes.items() for p in found if p.suffix.lower() in SUFFIXES]

PUBLIC = {o.name: o for o in (
    PublicSet('ucmerced', 'UC Merced land use, multi-label', 'https://git.wur.nl/lobry001/ucmdata',
              'images: USGS, public domain; labels: cite Chaudhuri et al. 2018',
              # the images as torchgeo's mirror has them; the labels of Chaudhuri et al. (2018)
              (Remote('https://huggingface.co/datasets/torchgeo/ucmerced/resolve/main/UCMerced_LandUse.zip',
                      '5b7ec56793786b6dc8a908e8854ac0e4'),
               Remote('https://git.wur.nl/lobry001/ucmdata/-/raw/master/LandUse_Multilabeled.txt')),
              ucmerced_rows, 2100,
              ('airplane', 'bare-soil', 'buildings', 'cars', 'chaparral', 'court', 'dock', 'field', 'grass',
               'mobile-home', 'pavement', 'sand', 'sea', 'ship', 'tanks', 'trees', 'water')),
    PublicSet('eurosat', 'EuroSAT in colour, single-label', 'https://zenodo.org/records/7711810', 'MIT',
              (Remote('https://zenodo.org/records/7711810/files/EuroSAT_RGB.zip', 'f46e308c4d50d4bf32fedad2d3d62f3b',
                      94_658_721),),
              class_rows, 27_000,
              ('AnnualCrop', 'Forest', 'HerbaceousVegetation', 'Highway', 'Industrial', 'Pasture', 'PermanentCrop',
               'Residential', 'River', 'SeaLake')),
    PublicSet('bigearthnet', 'BigEarthNet v2 (reBEN), Sentinel-2', 'https://zenodo.org/records/10891137',
              'CDLA-Permissive-1.0',
              (Remote('https://zenodo.org/records/10891137/files/metadata.parquet', '55687065e77b6d0b0f1ff604a6e7b49c',
                      3_616_349),
               Remote('https://zenodo.org/records/10891137/files/BigEarthNet-S2.tar.zst',
                      '2245ed2d1a93f6ce637d839bc856396e', 63_251_710_377)),
              bigearthnet_rows, 480_038, bands='all', unpacks=False, needs=('pyarrow', 'zstandard')),
)} # name -> `PublicSet`
