"Statistics of a label table: chips per tag, tags per chip, the most common tag sets; and their figures."
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
import pandas as pd
from planet.amazon import tag_counts
from planet.bands import in_colour
from planet.chips import Chips, existing_folder, read_table
from planet.cli import UserError, is_terminal, progress, say
from planet.files import find_images
from planet.tools.text_table import width

__all__ = ['TagCounts', 'count_tags', 'stats']

WIDTH, TOP = 100, 12 # characters of a line, on a terminal perhaps fewer; tag sets to show

def _bar(share, # of `width`
         width:int, # characters
        ) -> str:
    "A bar of characters, in eighths of one where the output can show them."
    eighths = max(1, round(8*share*width))
    text = '█'*(eighths//8) + ' ▏▎▍▌▋▊▉'[eighths%8].strip()
    try: text.encode(sys.stdout.encoding or 'ascii')
    except UnicodeEncodeError: return '#'*max(1, round(share*width))
    return text

@dataclass
class TagCounts:
    "Counts of a table of tags: print them, or take the series."
    tags: pd.Series # tag -> chips that have it, the commonest first
    per_chip: pd.Series # number of tags -> chips that have so many, in that order
    sets: pd.Series # tags, with spaces between (or commas) -> chips that have just these, the commonest first

    @property
    def chips(self) -> int: return int(self.per_chip.sum())

    def _lines(self, counts, title):
        "A table of `counts` with shares and bars; the widest bar is the largest count."
        names, share = [str(n) or '(none)' for n in counts.index], counts/self.chips
        wide = min(WIDTH, width()) if is_terminal() else WIDTH
        name = min(max(map(len, [title, *names])), 56, wide - 24)
        bar = min(40, wide - name - 20)
        yield f'{title:<{name}}    chips   share'
        for label, n, s in zip(names, counts, share):
            shown = label if len(label) <= name else label[:name-3] + '...'
            yield f'{shown:<{name}} {n:>8,} {100*s:6.2f}%  {_bar(n/counts.max(), bar)}'

    def __str__(self):
        mean, once = (self.per_chip*self.per_chip.index).sum()/self.chips, int((self.sets == 1).sum())
        rarer = self.sets[TOP:]
        return '\n'.join([
            f'{self.chips:,} chips, {len(self.tags)} tags, {mean:.3f} tags a chip, '
            f'{len(self.sets):,} tag sets ({once:,} of them once)', '',
            *self._lines(self.tags, 'tag'), '', *self._lines(self.per_chip, 'tags a chip'), '',
            *self._lines(self.sets[:TOP], 'tag set'),
            *[f'{len(rarer):,} more sets, on {rarer.sum():,} chips ({rarer.sum()/self.chips:.1%})']*(len(rarer) > 0)])

def count_tags(tags, # a list of tags for each chip, as in `chips.table.tags`
              ) -> TagCounts:
    "Count tags, tags a chip and tag sets; a tag that a chip repeats counts once. Ties are in alphabetical order."
    found = Counter(tuple(sorted(set(t))) for t in tags)
    between = ', ' if any(' ' in tag for these in found for tag in these) else ' '
    def ranked(counts, axis): # the commonest first
        counts = pd.Series(counts, dtype=int).sort_index().sort_values(ascending=False, kind='stable')
        return counts.rename('chips').rename_axis(axis)
    sizes = Counter()
    for these, n in found.items(): sizes[len(these)] += n
    per_chip = pd.Series(sizes, dtype=int).sort_index().rename('chips').rename_axis('tags a chip')
    return TagCounts(ranked(tag_counts(found), None), per_chip,
                     ranked({between.join(these): n for these, n in found.items()}, 'tags'))

def stats(folder, # a folder with a label table; images are needed for some of the figures alone
          plot:bool=False, # draw figures as well?
          out:str='', # folder for them; by default `stats` in the folder of the chips
          label_delim:str='', # what separates tags, as in `from_folder`
         ) -> TagCounts:
    """Print what is in a folder of chips, and draw it with `plot`; raises `UserError` where its table is none.

    The figures: how often each tag, how many tags a chip, which tags occur together, and where there are images a sheet
    of chips for each tag.
    """
    root = existing_folder(folder)
    table = read_table(root, label_delim)
    counts = count_tags(table.tags)
    say(counts)
    if plot:
        if len(counts.tags) < 2:
            raise UserError(f"{root} has {len(counts.tags)} tags: figures of them need two at least")
        table['path'] = find_images(root, table.image_name)
        _draw(Chips(table, sorted(counts.tags.index), str(root), root), Path(out or root/'stats').expanduser())
    return counts

def _draw(chips, out):
    "Write the figures of `chips` into the folder `out`, and say where."
    try: out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"cannot write figures to {out} ({e.strerror}): give another folder: `out`") from None
    from planet import plots
    figures = {f.__name__: (f, chips) for f in (plots.class_distribution, plots.tags_per_chip, plots.cooccurrence)}
    seen = in_colour(chips[[i for i, path in enumerate(chips.paths) if path is not None]])
    missing = len(chips) - len(seen)
    for tag in chips.vocab:
        if any(tag in tags for tags in seen.table.tags):
            name = 'sheet-' + re.sub(r'[^\w.-]', '_', tag)
            while name.casefold() in map(str.casefold,
                figures): name += '_' # two tags may differ in such characters alone
            figures[name] = plots.tag_sheet, seen, tag
    say('')
    for name, (draw, *args) in progress(figures.items(), len(figures), 'drawing figures'):
        try: draw(*args).savefig(out/f'{name}.png', bbox_inches='tight')
        except OSError as e: raise UserError(f"cannot write {out/name}.png ({e}): give another folder: `out`") from None
    left = f' ({missing:,} chips have no image: the sheets are of the others)'
    if not len(seen): left = ' (no images, no sheets)'
    say(f"{len(figures)} figures in {out}/{left if missing else ''}")
