"""A contact sheet: chips with their tags, rare tags among them. The picture in the README is

    python experiments/contact_sheet.py --data synthetic --out docs/chips.png
"""
from planet.cli import UserError, say, script
from planet.options import check_options

@script
def main(
    data:str='auto', # chips: auto, synthetic, sample, or a folder with a label table and images
    n:int=12, # chips on the sheet
    columns:int=6, # chips in a row
    size:int=160, # height and width of a chip, in pixels
    seed:int=33, # which chips
    names:bool=False, # with the names of their files
    out:str='chips.png', # the picture
):
    "Draw a sheet of chips with their tags; every second chip has a rare tag."
    check_options(dict(locals()))
    import numpy as np
    from planet.images import open_chip
    from planet.plots import as_array, chip_grid
    from planet.sources import find_chips
    chips = find_chips(data)
    rarity = -np.log(chips.targets.mean(0) + 1e-9)
    rare = (chips.targets*rarity).max(1)
    draw = np.random.default_rng(seed).permutation(len(chips))[:n//2]
    p = rare**2/(rare**2).sum()
    others = np.random.default_rng(seed).choice(len(chips), min(n - len(draw), len(chips)), replace=False, p=p)
    rows = [*draw, *others]
    pixels = [as_array(open_chip(chips.paths[i], size)) for i in rows]
    files = [chips.paths[i].name for i in rows] if names else None
    try: chip_grid(pixels, [chips.table.tags[i] for i in rows], columns, width=11, names=files).savefig(out)
    except (OSError, ValueError) as e: raise UserError(f"{out} cannot be written: {e}", option='out') from None
    say(out)
