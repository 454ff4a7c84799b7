"Figures, axes and colours of every plot; text that fits and cannot fail; a grid of images."
import re
import unicodedata
from functools import lru_cache
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import get_hinting_flag
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

__all__ = ['GOOD', 'BAD', 'MISSED', 'BLUE', 'PURPLE', 'QUIET', 'figure', 'plain_axes', 'grid', 'shown_bands',
           'as_array', 'as_text', 'text_width', 'wrap_words']

GOOD, BAD, MISSED = '#1a7f37', '#cf222e', '#ad5f00' # right (true positive), false positive, false negative
BLUE, PURPLE, QUIET = '#0969da', '#8250df', '#57606a' # what the plot is about; a second such; what it is compared with
DPI = 100
SIZE, LINES = 9, 14 # of a caption: its font in points, and how many lines it has at most

def figure(width:float, # in inches
           height:float,
          ) -> Figure:
    "An empty figure that keeps its text inside. It belongs to no global state of matplotlib and needs no closing."
    return Figure(figsize=(width, height), dpi=DPI, layout='constrained')

def plain_axes(ax, # `Axes`
              ): # the same
    "Remove the frame at the top and right, and draw a pale grid."
    ax.spines[['top', 'right']].set_visible(False)
    ax.grid(alpha=.25)
    return ax

# ---- text

@lru_cache
def _files(families):
    found = []
    for family in families:
        try: found.append(findfont(FontProperties(family=[family]), fallback_to_default=False))
        except ValueError: pass # not installed
    return found or [findfont(FontProperties())]

def _fonts():
    "The fonts that matplotlib takes by default; it keeps one object a file and thread."
    return [get_font(file) for file in _files(tuple(matplotlib.rcParams['font.family']))]

def _known(c):
    "Whether a font at hand has the character `c`."
    return ' ' <= c <= '~' or any(f.get_char_index(ord(c)) for f in _fonts())

def as_text(text, # whatever a table holds
            longest:int=None, # characters after which it is cut
           ) -> str:
    """Text as matplotlib shows it: without mathematics, on one line, never empty.

    `$` would begin a formula, which raises where it is none. A character that no font has is shown by its number, so
    that two names can still be told apart."""
    text = ' '.join(unicodedata.normalize('NFC', str(text)).split()) or '(empty)'
    if longest and len(text) > longest: text = text[:longest-1].rstrip() + '…'
    return re.sub(r'(?<!\\)\$', r'\\$', ''.join(c if _known(c) else f'<{ord(c):X}>' for c in text))

def text_width(text:str, # as `as_text` gives it
               size:float=SIZE, # of the font, in points
              ) -> float: # in inches
    "How wide a text is drawn in the default font."
    font = _fonts()[0]
    font.set_size(size, DPI) # hinted as it will be drawn: that changes the width by up to a tenth
    font.set_text(text.replace(r'\$', '$'), 0, flags=get_hinting_flag())
    return font.get_width_height()[0]/64/DPI

def _fit(text, width, size=SIZE):
    "`text`, cut so that it is at most `width` inches wide."
    text = as_text(text)
    if text_width(text, size) <= width: return text
    low, high = 0, len(text)
    while low < high:
        half = (low + high + 1)//2
        low, high = (half, high) if text_width(text[:half] + '…', size) <= width else (low, half-1)
    return text[:low].rstrip('\\ ') + '…' # not between a `\` and its `$`

def wrap_words(words, # such as the tags of a chip
               width:float, # of a line, in inches
               size:float=SIZE, # of the font, in points
              ) -> list[str]:
    "Words in lines of at most `width` inches; a word that is longer is cut."
    lines = ['']
    for word in words:
        word = _fit(word, width, size)
        if lines[-1] and text_width(f'{lines[-1]} {word}', size) > width: lines.append('')
        lines[-1] = f'{lines[-1]} {word}'.strip()
    return lines

# ---- images

def shown_bands(bands, # names of an image's bands, or `None`
               ) -> list: # positions of those that are shown as red, green, blue
    "Which bands to show: near infrared, red and green (false colour); else the colours; else the first three."
    for wanted in (('nir', 'red', 'green'), ('red', 'green', 'blue')):
        if bands and set(wanted) <= set(bands): return [list(bands).index(b) for b in wanted]
    return [0, 1, 2]

def as_array(x, # `(bands, height, width)`: a tensor or an array, integers to 255 or floats to 1
             bands=None, # names of the bands, as `Chips.bands` has them
            ): # `(height, width, 3)`, or `(height, width)` where there are fewer bands
    "An image's tensor as `imshow` takes it; of more than three bands those that `shown_bands` chooses."
    x = np.moveaxis(np.asarray(x), 0, -1)
    x = x[..., shown_bands(bands)] if x.shape[-1] >= 3 else x[..., 0]
    return x.clip(0, 1) if x.dtype.kind == 'f' else x.astype(np.uint8)

def grid(chips, # arrays `(height, width, 3)` or `(height, width)`, uint8, or floats between 0 and 1
         captions, # of each a list of `(text, colour)`, a line each; what is too long is cut
         columns:int, width:float, # of the figure, in inches
         title='', # text, or a list of `(text, colour)` side by side
        ) -> Figure:
    "Images in a grid, with a caption of coloured lines under each."
    captions = [c if len(c) <= LINES else [*c[:LINES-1], (f'... {len(c)-LINES+1} more', QUIET)] for c in captions]
    gap, line, rows, head = .12, .155, -(-len(chips)//columns), .3 if title else 0 # inches
    side = (width - gap*(columns+1))/columns
    row = side + gap + line*max(map(len, captions), default=0)
    fig = Figure(figsize=(width, rows*row + gap + head), dpi=DPI)
    height = fig.get_figheight()
    x = gap
    for text, colour in [(title, 'black')] if isinstance(title, str) else title:
        if not text: continue
        size = 12 if isinstance(title, str) else SIZE
        text = _fit(text, width - x - gap, size)
        fig.text(x/width, 1 - gap/height, text, va='top', fontsize=size, color=colour)
        x += text_width(text, size) + .2
    for i, (chip, lines) in enumerate(zip(chips, captions)):
        left, top = gap + i%columns*(side+gap), height - gap - head - i//columns*row
        ax = fig.add_axes([left/width, (top-side)/height, side/width, side/height])
        chip = np.asarray(chip)
        ax.imshow(chip, cmap='gray', vmin=0, vmax=255 if chip.dtype.kind in 'iu' else 1)
        ax.set_axis_off()
        for n, (text, colour) in enumerate(lines):
            ax.annotate(_fit(text, side + .4*gap), (.5, 0), xycoords='axes fraction', xytext=(0, -3 - 72*line*n),
                        textcoords='offset points', ha='center', va='top', fontsize=SIZE, color=colour)
    return fig
