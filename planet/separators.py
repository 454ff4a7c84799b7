"What separates the tags in a column of a label table, and the tags of a cell."
import re

__all__ = ['MARKS', 'find_delim', 'split_tags']

MARKS = ',;|\t\n、，；،' # separate tags wherever they stand
UNUSUAL = '/+&:#~·•\\' # may be part of a tag as well

def _unusual(cells):
    "A separator other than `MARKS`: a sign (or `and`) between spaces, or one of `UNUSUAL`; '' where there is none."
    words = [c.split() for c in cells]
    signs = {w for row in words for w in row if re.fullmatch(r'[^\w\s]+|and', w)}
    between = sorted(w for w in signs if not any(w in (row[0], row[-1]) for row in words))
    if len(between) == 1: return f' {between[0]} '
    for sign in UNUSUAL:
        parts = [[p for p in map(str.strip, c.split(sign)) if p] for c in set(cells)]
        if len(single := {p for row in parts for p in row}) > len(parts): continue
        # in names of classes within classes (land/forest) a name has its level
        if len({(i, p) for row in parts for i, p in enumerate(row)}) > len(single): return sign
    return ''

def find_delim(cells) -> str: # a separator, 'space' or 'list'; '' where they differ
    """What separates the tags in the cells of a column: spaces, `,`, `;`, `|`, other signs, or lists.

    Tags of several words stay whole where another separator is used. A column is a mixture where splitting at spaces as
    well would leave fewer different tags, or find ones that stand alone elsewhere.
    """
    full = [c for c in cells if c]
    lists = [c for c in full if c[0]+c[-1] in ('[]', '()', '{}')]
    if lists: return 'list' if len(lists) == len(full) else ''
    found = [d for d in MARKS if any(d in c for c in full)]
    if len(found) > 1: return ''
    delim = found[0] if found else _unusual(full)
    if not delim: return 'space'
    pieces = {p.strip() for c in full for p in c.split(delim)} - {''}
    spaced = [p.split() for p in pieces if len(p.split()) > 1]
    single = {w for p in pieces for w in p.split()}
    mixed = (len(single) < len(pieces) or any(pieces >= set(p) for p in spaced)
             or sum(not pieces.isdisjoint(p) for p in spaced) > len(spaced)/2)
    return '' if spaced and mixed else delim

QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'')

def split_tags(cell:str, # a cell of tags
               delim:str, # 'space', 'list', 'none' (a cell is one tag), or the separator itself
              ) -> list[str]:
    "The tags of a cell, in its order."
    if delim == 'space': return cell.split()
    if delim == 'none': return [cell]*bool(cell)
    if delim == 'list':
        if quoted := [a or b for a, b in QUOTED.findall(cell)]: return [t.strip() for t in quoted if t.strip()]
        inner = cell[1:-1]
        return [t.strip() for t in (inner.split(',') if ',' in inner else inner.split()) if t.strip()]
    return [t.strip() for t in cell.split(delim) if t.strip()]
