"Find the chips that `data` names and decode each once; torch is not imported, so that it can begin while torch loads."
import threading
from planet.cli import progress, say
from planet.distributed import rank
from planet.images import check_chips
from planet.sources import find_chips
from planet.store import ChipStore

__all__ = ['load_chips', 'begin_loading']

def load_chips(data:str='auto', # a name of `planet.sources`, or a folder with a label table and images
               size:int=128, # height and width to decode to, in pixels
               skip_bad:bool=False, # leave chips out that cannot be read, rather than raise?
               label_delim:str='', # what separates tags in the table, as in `planet.chips.from_folder`
               bands:str='', # of GeoTIFF chips, as in `planet.sources.find_chips`
               where:str='auto', # where the pixels are kept, as in `ChipStore`
              ) -> tuple: # `Chips`, and the `ChipStore` with their pixels
    "Find the chips that `data` names and decode each once."
    chips = find_chips(data, label_delim, bands)
    store = ChipStore(chips.paths, size, progress, limits=chips.limits, where=where)
    checked = check_chips(chips, store, skip_bad)
    say(*(f'data: {note}' for note in checked.notes[len(chips.notes):]))
    return checked, store

class begin_loading:
    """Load chips in a thread, while the main thread imports torch and fastai: `result()` waits for `load_chips`.

    What the thread raises is raised there. Of several processes that train together the first one begins at once.
    """
    def __init__(self, *args, **kwargs): # of `load_chips`
        self.load, self.found, self.error = lambda: load_chips(*args, **kwargs), None, None
        self.thread = None if rank() else threading.Thread(target=self.run, daemon=True)
        if self.thread: self.thread.start()
    def run(self):
        try: self.found = self.load()
        except BaseException as e: self.error = e
    def result(self):
        "The chips and their store."
        if self.thread is None: return self.load()
        while self.thread.is_alive(): self.thread.join(.2) # in pieces, so that Ctrl-C is heard on Windows as well
        if self.error is not None: raise self.error
        return self.found
