"Plain text of at most 80 columns (or a terminal's width) for tables and paragraphs; JSON without NaN."
import json
import math
import shlex
import shutil
import sys
import textwrap
from planet.cli import is_terminal, say

__all__ = ['width', 'table', 'paragraph', 'command_line', 'shorten', 'number', 'interval', 'duration', 'size',
           'print_json']

def width() -> int:
    "Columns that a line may take: 80, or as many as the terminal has."
    return max(40, shutil.get_terminal_size().columns) if is_terminal() else 80

def shorten(text, to:int) -> str:
    "`text` cut to so many characters, with dots where something was left out."
    text = ' '.join(str(text).split())
    return text if len(text) <= to else text[:max(to-3, 1)] + '...'[:to-1]

def table(header:list, # of the columns; `>` before one: aligned right; `>` or `!`: never cut
          rows:list, # of lists of text
          least:int=8, # to which a column may be cut where the lines are too long
         ) -> list: # of lines
    "Columns of text with two spaces between; the widest are cut until a line fits."
    right, whole = [h.startswith('>') for h in header], [h.startswith(('>', '!')) for h in header]
    cells = [[' '.join(str(c).split()) for c in row] for row in ([h.lstrip('>!') for h in header], *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    while sum(widths) + 2*(len(widths)-1) > width():
        i = max(range(len(widths)), key=lambda i: (not whole[i], widths[i]))
        if widths[i] <= least or whole[i]: break
        widths[i] -= 1
    def line(row): return '  '.join(f'{shorten(c, w):{">" if r else "<"}{w}}' for c, w, r in zip(row, widths, right))
    return [line(row).rstrip() for row in cells]

def paragraph(label:str, # at its left
              text, # broken at words
              indent:int=10, # of the text
             ) -> list: # of lines
    "Lines of text beside a label."
    lines = textwrap.wrap(' '.join(str(text).split()), width() - indent, break_long_words=False,
                          break_on_hyphens=False) or ['']
    return [f'{label:<{indent}}{lines[0]}'.rstrip(), *(' '*indent + line for line in lines[1:])]

def command_line(label:str, # at its left
                 words, # of a command; or text that says what to call
                 indent:int=10, # of the words
                ) -> list: # of lines
    "A command on lines that can be copied into a shell: they are broken between words and continued with a backslash."
    if isinstance(words, str): return paragraph(label, words, indent)
    whole = ' '.join(shlex.quote(str(w)).replace(' ', '\0') for w in words) # a quoted word is not broken
    lines = textwrap.wrap(whole, width() - indent - 2, break_long_words=False, break_on_hyphens=False)
    return [(f'{label:<{indent}}' if i == 0 else ' '*indent) + line.replace('\0', ' ') + ' \\'*(i < len(lines)-1)
            for i, line in enumerate(lines)]

def number(value, # or `None`
           sign:str='', # `+` to show it always
          ) -> str:
    "A score with four digits; a dash where there is none."
    return '-' if not isinstance(value, (int, float)) or not math.isfinite(value) else f'{value:{sign}.4f}'

def interval(pair, # low and high, or `None`
             sign:str='', # as for `number`
            ) -> str:
    "A confidence interval in text; nothing where there is none."
    try: low, high = (float(v) for v in pair)
    except (TypeError, ValueError): return ''
    return f'{low:{sign}.4f} to {high:{sign}.4f}' if math.isfinite(low) and math.isfinite(high) else ''

def duration(seconds) -> str:
    "Seconds, minutes or hours in text."
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds): return '-'
    if seconds < 100: return f'{seconds:.0f} s'
    if seconds < 5970: return f'{seconds/60:.0f} min'
    return f'{seconds/3600:.1f} h' if seconds < 48*3600 else f'{seconds/86400:.0f} days'

def size(n) -> str:
    "Bytes in text."
    if not isinstance(n, (int, float)): return '-'
    return f'{n/1e9:.1f} GB' if n >= 1e9 else f'{n/1e6:.1f} MB' if n >= 1e5 else f'{n/1e3:.0f} kB'

def print_json(value):
    "Print a value as JSON; NaN and infinite numbers, which JSON does not have, become null."
    def plain(v):
        if isinstance(v, float) and not math.isfinite(v): return None
        if isinstance(v, dict): return {str(k): plain(o) for k, o in v.items()}
        return [plain(o) for o in v] if isinstance(v, (list, tuple)) else v
    text = json.dumps(plain(value), indent=2, default=str) # in ASCII
    if is_terminal(): print(text, file=sys.stdout, flush=True) # `say` would wrap it
    else: say(text)
