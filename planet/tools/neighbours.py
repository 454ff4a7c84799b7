"Find the neighbours among a folder's chips, write them and their groups as tables, draw the largest scene."
from collections import Counter
from pathlib import Path
import numpy as np
from PIL import Image
from planet.chips import existing_folder, read_folder
from planet.cli import UserError, say
from planet.files import other_splits, stem, walk_images
from planet.images import open_image
from planet.neighbours import find_neighbours
from planet.sources import SOURCES

__all__ = ['chips_in', 'mosaic', 'least_certain', 'neighbours']

FILES, PICTURES = ('neighbours.csv', 'groups.csv'), ('scene.png', 'pairs.png')
LARGEST = 4000 # pixels of the picture of a scene

def chips_in(folder) -> tuple: # names, and the path of each
    "All chips of a folder: those of its label table and of other splits beside them; without a table, all images."
    if folder in SOURCES:
        chips = SOURCES[folder]()
        return list(chips.table.image_name), chips.paths
    root = existing_folder(folder)
    table, paths, *_ = read_folder(root)
    named = {} if table is None else {n: p for n, p in zip(table.rows.image_name, paths) if p is not None}
    if named:
        home = Counter(p.parent for p in named.values()).most_common(1)[0][0]
        kinds, mine = {p.suffix.lower() for p in named.values()}, set(named.values()) # no TIFFs beside JPEGs
        rest = [p for files in other_splits(root, home).values() for p in files
                if p.suffix.lower() in kinds and p not in mine]
    else: rest = walk_images(root)
    stems = Counter([*map(stem, named), *(stem(p.name) for p in rest)])
    for p in rest:
        name = stem(p.name)
        named[name if stems[name] == 1 else stem(p.relative_to(p.parents[1]).as_posix()) if table is not None
              else stem(p.relative_to(root).as_posix())] = p
    if len(named) < 2: raise UserError(f'{root} holds {len(named)} images: two are needed to be neighbours')
    return list(named), list(named.values())

def mosaic(places:dict, # name -> (row, column)
           paths:dict, # name -> image file
           largest:int=LARGEST, # pixels of the longer side
          ) -> Image.Image:
    "The chips of one scene put together again; white where none is known."
    rows, cols = (max(p[k] for p in places.values()) + 1 for k in (0, 1))
    size = open_image(paths[next(iter(places))]).size
    scale = min(1, largest/max(cols*size[0], rows*size[1]))
    width, height = (max(1, round(s*scale)) for s in size)
    whole = Image.new('RGB', (cols*width, rows*height), 'white')
    for name, (row, col) in places.items():
        chip = open_image(paths[name])
        whole.paste(chip if scale == 1 else chip.resize((width, height), Image.BOX), (col*width, row*height))
    return whole

def least_certain(found, # `Neighbours`
                  paths:dict, # name -> image file
                  n:int=12, width:float=10., # pairs; of the figure, in inches
                 ): # `Figure`
    "The pairs of neighbours with the lowest log-odds, their inner halves side by side, to judge by eye."
    from planet.figures import grid
    pairs, pictures = found.pairs.dropna(subset='score').sort_values('score').head(n), []
    for row in pairs.itertuples():
        axis = int(row.side == 'right')
        one, other = (np.asarray(open_image(paths[name])) for name in (row.image_name, row.neighbour))
        half = one.shape[axis]//2
        pictures.append(np.concatenate([np.split(one, [half], axis)[1], np.split(other, [half], axis)[0]], axis))
    captions = [[(f'{r.image_name}, {r.side}', 'black'), (f'{r.neighbour}: {r.score:.1f}', 'black')]
                for r in pairs.itertuples()]
    return grid(pictures, captions, 4, width)

def _unwritable(out, e): return UserError(f'{out} cannot be written ({e.strerror}): name another folder', 'out')

def _outputs(out, overwrite, plot):
    "The files to write; `UserError` where one is there already."
    files = [Path(out).expanduser()/name for name in (*FILES, *PICTURES*plot)]
    if (there := [f for f in files if f.exists()]) and not overwrite:
        raise UserError(f'{there[0]} exists: name another folder in `out`, or give `overwrite`')
    return files

def _make(out):
    "Make a folder, before what takes minutes; `UserError` where nothing can be written there."
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out/'.writable').touch()
        (out/'.writable').unlink()
    except OSError as e: raise _unwritable(out, e) from None

def _write(files, writers):
    "Write several files, each with its function: all of them whole, or none."
    parts = [f.with_name(f'.{f.name}.part') for f in files]
    try:
        for part, write in zip(parts, writers): write(part)
        for part, file in zip(parts, files): part.replace(file)
    except OSError as e: raise _unwritable(files[0].parent, e) from None
    finally:
        for part in parts: part.unlink(missing_ok=True)

def neighbours(folder, # a folder of chips of one size; or `sample`, `synthetic`, `competition`
               out, # folder for `neighbours.csv` and `groups.csv`
               plot:bool=False, # draw the largest scene, `scene.png`
               workers:int=0, # threads that read images; 0: one a core
               skip_bad:bool=False, # leave out chips that cannot be read
               overwrite:bool=False, # write over what is in `out`
              ): # `planet.neighbours.Neighbours`
    "Find chips that were cut side by side, and write which they are, and the groups that they connect."
    files = _outputs(out, overwrite, plot)
    names, paths = chips_in(folder)
    _make(files[0].parent)
    found = find_neighbours(paths, names, workers, skip_bad)
    for line in found.report(): say(line)
    if left := found.facts['left_out']:
        say(f'{len(left):,} chips cannot be read and were left out, such as {left[0]}; each has its own group')
    writers = [lambda part, t=t: t.to_csv(part, index=False, lineterminator='\n', float_format='%.2f')
               for t in (found.pairs, found.groups)]
    if plot and found.places:
        group = max(found.places, key=lambda g: len(found.places[g]))
        path_of = dict(zip(names, paths))
        writers.append(lambda part: mosaic(found.places[group], path_of).save(part, 'PNG'))
        writers.append(lambda part: least_certain(found, path_of).savefig(part, format='png', bbox_inches='tight'))
        say(f"the largest scene, {len(found.places[group])} chips: {files[2]}; the least certain pairs: {files[3]}")
    elif plot: say('no neighbours were found, so no scene is drawn')
    _write(files[:len(writers)], writers)
    say(f'{files[0]}, {files[1]}: `groups` of an experiment takes the second')
    return found
