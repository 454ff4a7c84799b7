"""The course as pages: every notebook and its index as HTML in _docs/, for any browser, without a network.

    python docs/build.py              # make docs
    python docs/build.py --out pages

Maths become MathML, links lead to pages, and nothing is fetched from a network: the build fails if a page would.
"""
import argparse
import re
import sys
from base64 import b64decode, b64encode
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
import nbformat
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from PIL import Image
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'docs'))
import course  # noqa: E402 (it stands beside this file, which is no package)

PAGE = '''<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{css}</style></head>
<body>
<nav><details><summary>{here}</summary>{menu}</details></nav>
<main>
{body}
</main>
</body>
</html>
'''

TEXTS = 'extending', 'scenes' # pages of docs/ beside the notebooks

# ---- maths

MATHS = re.compile(r'\$\$(.+?)\$\$|(?<![\\$\w])\$(?!\s)([^$]+?)(?<!\s)\$(?!\d)', re.S) # also over a line's end
CODE = re.compile(r'(^```.*?^```|`[^`\n]+`|(?:^(?: {4}|\t).*\n?)+)', re.S | re.M)

def mathml(tex, block):
    "A formula as MathML."
    from latex2mathml.converter import convert
    found = convert(' '.join(tex.split()), display='block' if block else 'inline')
    # a space after the name of a function: `ln p`, not `lnp`
    return re.sub(r'(<m[io]>(?:ln|log|max|min)</m[io]>)(?!</)', r'\1<mspace width="0.17em"/>', found)

def without_maths(text, kept):
    "Markdown with a mark in place of each formula, which is added to `kept`; code is left alone."
    def mark(found):
        kept.append(mathml(found[1] or found[2], block=bool(found[1])))
        return f'MATHS{len(kept) - 1}SHTAM'
    parts = CODE.split(text)
    return ''.join(part if i % 2 else MATHS.sub(mark, part) for i, part in enumerate(parts))

def with_maths(page, kept): # after nbconvert, whose embedding of images closes MathML's tags wrongly
    return re.sub(r'MATHS(\d+)SHTAM', lambda found: kept[int(found[1])], page)

# ---- from a notebook to the body of a page

def linked(page, known):
    "Links between pages; one to a file that is no page becomes its text where the repository has no address."
    def local(found):
        address, anchor, text = found[1], found[2] or '', found[3]
        name = Path(address).name
        if address.startswith(('http:', 'https:', 'mailto:')): return found[0]
        if name == 'course.md': return f'<a href="index.html{anchor}">{text}</a>'
        stem = name.removesuffix('.ipynb').removesuffix('.md')
        if stem in known: return f'<a href="{stem}.html{anchor}">{text}</a>'
        path = (ROOT/'docs'/address).resolve().relative_to(ROOT).as_posix()
        return f'<a href="{course.REPOSITORY}/blob/main/{path}">{text}</a>' if course.REPOSITORY else text
    return re.sub(r'<a href="([^"#]+)(#[^"]*)?">(.*?)</a>', local, page, flags=re.S)

def pictured(page):
    "Pictures of the repository are put into the page; one from the network becomes its text."
    def text(found): return re.search('alt="([^"]*)"', found[0])[1]
    def inside(found):
        path = (ROOT/'docs'/found[1]).resolve()
        kind = 'png' if path.suffix == '.png' else 'jpeg'
        return f'src="data:image/{kind};base64,{b64encode(path.read_bytes()).decode()}"'
    return re.sub(r'src="(?!data:)([^"]+)"', inside, re.sub(r'<img[^>]*src="https?:[^>]*>', text, page))

def spelt(cells):
    "Cells as they are shown: no directives of nbdev, no cells of machinery, no bars of progress."
    for cell in cells:
        if cell.cell_type == 'code':
            cell.source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M)
            if not cell.source.strip() or cell.id == 'way-install': continue
            cell.outputs = [o for o in cell.outputs if not o.get('text', '').startswith('\r')]
        yield cell

def body_of(path):
    "A notebook's body as HTML, with maths and without a link to the network in what is drawn."
    notebook, kept = nbformat.read(path, as_version=4), []
    notebook.cells = list(spelt(notebook.cells))
    for cell in notebook.cells:
        if cell.cell_type == 'markdown': cell.source = without_maths(cell.source, kept)
    exporter = HTMLExporter(template_name='basic', exclude_input_prompt=True, exclude_output_prompt=True,
                            exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r'<img (?![^>]*alt=)', '<img alt="what the cell above draws" ', body)
    return with_maths(re.sub(r'<img ([^>]*src="data:image/\w+;base64,([^"]+)")', marked, body), kept)

def marked(found):
    "A picture, of class `wide` where a phone would shrink it too far."
    with Image.open(BytesIO(b64decode(found[2]))) as image: wide = image.width >= 700
    return f'<img class="wide" {found[1]}' if wide else found[0]

def body_of_text(text):
    "Markdown as HTML."
    kept = []
    text = without_maths(text, kept)
    return with_maths(markdown2html(text), kept)

# ---- pages

def css():
    "The one style sheet of all pages: text, code in two colour schemes, tables that scroll."
    light, dark = (HtmlFormatter(style=s).get_style_defs('.highlight') for s in ('friendly', 'github-dark'))
    own = (ROOT/'docs'/'pages.css').read_text(encoding='utf-8')
    return f'{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{own}'

def menu(here):
    items = [('index', 'the course'), *((n.name, n.name) for n in course.NOTEBOOKS), *((n, n) for n in TEXTS)]
    return '<ul>' + ''.join(f'<li><b>{text}</b></li>' if name == here else f'<li><a href="{name}.html">{text}</a></li>'
                            for name, text in items) + '</ul>'

def wrapped(body):
    "Tables in boxes that scroll sideways, so that a page is never wider than a phone."
    body = re.sub(r'(<table.*?</table>)', r'<div class="scrolls">\1</div>', body, flags=re.S)
    def words(found): # what a cell printed: lines wrap, unless columns stand in them
        return found[0] if re.search(r'\S {2,}\S', found[2]) else f'{found[1]}<pre class="words">{found[2]}</pre>'
    return re.sub(r'(<div class="output_subarea[^>]*>\s*)<pre>(.*?)</pre>', words, body, flags=re.S)

def check(page, name):
    "Refuse a page that would ask the network for anything, or that has a formula left over."
    page = re.sub(r'<pre>.*?</pre>|<code.*?</code>', '', page, flags=re.S)
    asked = re.findall(r'<(?:img|script|link|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]*"', page)
    asked += re.findall(r'@import[^;]*|url\((?!data:)[^)]*\)', page)
    text = re.sub(r'<math.*?</math>', '', page, flags=re.S)
    left = re.findall(r'MATHS\d+|\$\$.{0,40}|\\(?:frac|ln|sum|cdot|sigma)\b', text)
    if asked or left: raise SystemExit(f'{name}: {", ".join((asked + left)[:3])}')

def build(out):
    "Write all pages into a folder; returns their names."
    out.mkdir(parents=True, exist_ok=True)
    known = {n.name for n in course.NOTEBOOKS} | set(TEXTS)
    bodies = {'index': body_of_text(course.index())}
    bodies |= {name: body_of_text((ROOT/'docs'/f'{name}.md').read_text(encoding='utf-8')) for name in TEXTS}
    bodies |= {n.name: body_of(ROOT/'nbs'/f'{n.name}.ipynb') for n in course.NOTEBOOKS}
    style = css()
    for name, body in bodies.items():
        title = re.sub('<[^>]+>|¶|&#182;', '', re.search(r'<h1[^>]*>(.*?)</h1>', body, re.S)[1]).strip()
        page = PAGE.format(title=title, css=style, here=title, menu=menu(name),
                           body=pictured(linked(wrapped(body), known)))
        check(page, name)
        (out/f'{name}.html').write_text(page, encoding='utf-8')
    return list(bodies)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=ROOT/'_docs', help='folder to write to')
    o = parser.parse_args()
    if find_spec('latex2mathml') is None: return "latex2mathml is not installed: pip install -e '.[dev]'"
    names = build(o.out)
    print(f'{len(names)} pages: open {o.out/"index.html"}')

if __name__ == '__main__': sys.exit(main())
