"Find the chips that `data` names: a registry of sources, one line each, every one of which yields `Chips`."
from pathlib import Path
from planet import amazon
from planet.bands import choose_bands
from planet.chips import TABLES, Chips, from_folder
from planet.cli import UserError, near_names, progress, say
from planet.public_sets import PUBLIC

__all__ = ['SOURCES', 'find_chips']

def sample() -> Chips:
    "fastai's `URLs.PLANET_SAMPLE`, 1,000 real chips, from its cache or downloaded; `UserError` where it cannot be had."
    from planet.download.fastai_sets import fastai_set
    try: return from_folder(fastai_set('sample'), "fastai's sample of the competition's chips")
    except (UserError, OSError) as e:
        raise UserError(f"fastai's sample of 1,000 real chips: {e}; or take `data` synthetic") from None

def synthetic() -> Chips:
    "1,000 chips drawn by code with the tag frequencies of the competition's table."
    from planet.synthetic.chips import synthetic_folder
    try: folder = synthetic_folder(progress=progress)
    except OSError as e: raise UserError(str(e)) from None
    return from_folder(folder, 'synthetic chips, drawn by code')

def competition() -> Chips:
    "The competition's chips in `data/planet`."
    return from_folder(amazon.folder, "the competition's chips")

SOURCES = dict(sample=sample, synthetic=synthetic, competition=competition, **PUBLIC) # name -> what yields `Chips`

def _best():
    "The best chips there are without an account, and how to get better ones."
    if any((amazon.folder/name).is_file() for name in TABLES): return competition(), ''
    try: return sample(), f'. For all 40,479: planet-data get kaggle (into {amazon.folder}/)'
    except UserError:
        return synthetic(), ('. For real ones: connect to the network, give `data` a folder, or put the competition\'s '
                             f'files into {amazon.folder}/ (planet-data get kaggle)')

def find_chips(
    data:str='auto', # `auto`, a name in `SOURCES`, or a folder with a label table and images
    label_delim:str='', # what separates the tags of a chip in a folder's table, as in `from_folder`
    bands:str='', # of GeoTIFF chips, by name or number: `red,green,blue,nir`, `3,2,1` or `all`; '': red, green, blue
) -> Chips:
    "Find the chips that `data` names; says which were taken, how their table was read, and how to get better ones."
    if data == 'auto': chips, better = _best()
    elif data in SOURCES: chips, better = SOURCES[data](), ''
    else:
        near = near_names(data, SOURCES) if Path(data).name == data and not Path(data).exists() else ''
        try: chips, better = from_folder(data, label_delim=label_delim), ''
        except UserError as e: raise UserError(f'{e}{near}') from None
    chips = choose_bands(chips, bands or getattr(SOURCES.get(data), 'bands', ''))
    first, *notes = chips.describe()
    say(f'data: {first}{better}', *(f'data: {note}' for note in notes))
    return chips
