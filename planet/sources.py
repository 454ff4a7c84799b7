"Find the chips that `data` names: a registry of sources, each of which yields one `Chips`."
from planet import amazon
from planet.chips import TABLES, Chips, from_folder
from planet.cli import UserError, progress, say

__all__ = ['find_chips']

def _sample():
    "fastai's `URLs.PLANET_SAMPLE`, from its cache or downloaded; `UserError` where it cannot be had."
    from planet.download.fastai_sets import fastai_set
    try: return from_folder(fastai_set('sample'), "fastai's sample of the competition's chips")
    except (UserError, OSError) as e: raise UserError(f"fastai's sample of 1,000 real chips: {e}; or take --data synthetic") from None

def _synthetic():
    from planet.synthetic.chips import synthetic_folder
    try: folder = synthetic_folder(progress=progress)
    except OSError as e: raise UserError(str(e)) from None
    return from_folder(folder, 'synthetic chips, drawn by code')

def find_chips(data:str='auto', # `auto`, `synthetic`, `sample` or a folder
               label_delim:str='', # what separates tags in a folder's table, as in `from_folder`
              ) -> Chips:
    "The chips that `--data` asks for. Says in one line which were taken, and how to get better ones."
    better = ''
    if data == 'synthetic': chips = _synthetic()
    elif data == 'sample': chips = _sample()
    elif data != 'auto': chips = from_folder(data, label_delim=label_delim)
    elif any((amazon.folder/name).is_file() for name in TABLES): chips = from_folder(amazon.folder, "the competition's chips")
    else:
        try: chips, better = _sample(), f". For all 40,479: planet-data get kaggle (into {amazon.folder}/)"
        except UserError:
            chips = _synthetic()
            better = f". For real ones: connect to the network, give --data FOLDER, or put the competition's files into {amazon.folder}/ (planet-data get kaggle)"
    first, *notes = chips.describe()
    say(f"data: {first}{better}", *(f"data: {note}" for note in notes))
    return chips
