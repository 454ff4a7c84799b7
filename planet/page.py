"Pieces of a self-contained HTML page: escaped text, figures as SVG that follow a dark or light screen, pictures."
# Nothing is fetched from a network, and no script runs.
import base64
import io
import re
from html import escape
from pathlib import Path
import matplotlib
import numpy as np
from PIL import Image
from planet.figures import BAD, BLUE, GOOD, MISSED, PURPLE, QUIET

__all__ = ['text', 'svg', 'picture', 'card', 'outcome', 'cards', 'table', 'figures', 'document', 'WIDTH']

WIDTH = 4. # of a figure, in inches: on a phone's screen its letters are as large as the text around it
COLOURS = {GOOD: 'good', BAD: 'bad', MISSED: 'missed', BLUE: 'blue', PURPLE: 'purple', QUIET: 'quiet',
           '#000000': 'ink', '#b0b0b0': 'quiet', '#cccccc': 'line'} # of matplotlib: its lines, grid and frames
MARKS = dict(good=('✓', 'true positive'), missed=('−', 'false negative'), bad=('+', 'false positive'))

def text(value, # anything
        ) -> str:
    "Text for HTML, with what has a meaning there escaped, and what no page may hold replaced."
    value = re.sub('[\0-\x08\x0b-\x1f\x7f\ud800-\udfff]', '\N{REPLACEMENT CHARACTER}', str(value))
    return escape(value)

def svg(fig, # matplotlib `Figure`
        label:str, # what it shows, for who cannot see it
        name:str, # unique in a page
       ) -> str:
    "A figure as inline SVG whose colours are the page's, so that it reads on dark and on light screens."
    part = io.StringIO()
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name}):
        fig.savefig(part, format='svg', transparent=True,
                    metadata=dict.fromkeys(('Date', 'Creator', 'Format', 'Type')))
    found = part.getvalue()
    found = found[found.index('<svg'):]
    found = re.sub(r'<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>', '', found, flags=re.S)
    found = re.sub(r'(?<=[ :])#[0-9a-f]{6}\b', lambda m: f'var(--{COLOURS[m[0]]})' if m[0] in COLOURS else m[0], found)
    found = re.sub(r'( id="|url\(#|href="#)', rf'\g<1>{name}-', found)
    size = re.search(r'viewBox="[^"]*"', found)[0]
    head = f'<svg class="plot" xmlns:xlink="http://www.w3.org/1999/xlink" {size} role="img" aria-label="{text(label)}">'
    return head + re.sub(r'\s*\n\s*', '\n', found[found.index('>')+1:].strip())

def picture(pixels, # `(height, width, 3)` or `(height, width)`, uint8
            label:str, # what it shows
            size:int=192, # pixels a side; smaller ones stay as they are
           ) -> str:
    "A picture as an `img` that holds its own JPEG."
    part, im = io.BytesIO(), Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    if max(im.size) > size: im = im.resize((size, size), Image.Resampling.LANCZOS)
    im.save(part, 'JPEG', quality=85)
    data = base64.b64encode(part.getvalue()).decode()
    return f'<img alt="{text(label)}" src="data:image/jpeg;base64,{data}">'

def outcome(kind:str, # good, missed or bad: a true positive, a false negative, a false positive
            what, # the tag
            number, # its probability
           ) -> str:
    "A line of a card: told apart by its mark and in words as well as by its colour."
    mark, words = MARKS[kind]
    return (f'<li class="{kind}" title="{words}"><span aria-label="{words}">{mark}</span><span>{text(what)}</span>'
            f'<span>{number:.2f}</span></li>')

def card(pictures, # HTML of each
         name, # the file's
         lines=(), # HTML of each, `li`
         note:str='', # plain text
        ) -> str:
    "A chip with its name and lines below."
    note = f'<div class="quiet">{text(note)}</div>' if note else ''
    return (f'<div class="card"><div class="pictures">{"".join(pictures)}</div><div class="name">{text(name)}</div>'
            f'{note}<ul>{"".join(lines)}</ul></div>')

def cards(made, # from `card`
          wide=False, # two pictures in each?
         ) -> str:
    "Cards side by side, as many as fit."
    return f'<div class="cards{" wide" if wide else ""}">{"".join(made)}</div>'

def table(head, # names of the columns
          rows, # of cells: numbers are aligned to the right
          kind:str='', # `facts`: of names and long values
         ) -> str:
    "A table; one that is wider than the screen scrolls by itself."
    rows = [list(r) for r in rows]
    def is_number(cell): return re.fullmatch(r'[-–<]?[\d.,]*\s?%?', str(cell))
    def column(j): return 'number' if rows and all(is_number(r[j]) for r in rows) else 'text'
    kinds = [column(j) for j in range(len(head))]
    def row(cells, tag): return ''.join(f'<{tag} class="{k}">{text(c)}</{tag}>' for c, k in zip(cells, kinds))
    body = ''.join(f'<tr>{row(r, "td")}</tr>' for r in rows)
    head = f'<thead><tr>{row(head, "th")}</tr></thead>' if any(head) else ''
    return f'<div class="scroll"><table class="{kind}">{head}<tbody>{body}</tbody></table></div>'

def figures(*drawn, # `(Figure, what it shows)` each
            name:str, # unique in a page
            beside:str='', # HTML that stands beside them
           ) -> str:
    "Figures side by side where there is room, each with a caption."
    made = [f'<figure class="plot">{svg(fig, label, f"{name}{n}")}<figcaption>{text(label)}</figcaption></figure>'
            for n, (fig, label) in enumerate(drawn)]
    return f'<div class="figures">{"".join(made)}{beside}</div>'

def document(title:str,
             head:str, # HTML above the sections
             sections, # `(name, title, HTML)` each
             halves=(), # names of sections that share a row with the next where there is room
            ) -> str:
    "A whole page: its style is inside, and a list of its sections stands at the top."
    style = Path(__file__).with_suffix('.css').read_text(encoding='utf-8')
    links = ''.join(f'<a href="#{name}">{text(words)}</a>' for name, words, _ in sections)
    def kind(name): return ' class="half"' if name in halves else ''
    body = ''.join(f'<section id="{name}"{kind(name)}><h2>{text(words)}</h2>{html}</section>\n'
                   for name, words, html in sections)
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">\n'
            f'<style>\n{style}</style></head>\n<body>{head}<nav>{links}</nav>\n<main>\n{body}</main></body></html>\n')
