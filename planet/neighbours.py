"Find chips that were cut side by side from one scene, by their borders; put scenes together; groups for splits."
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import numpy as np
import pandas as pd
from planet.borders import SIDES, LineModel, PairScore, best_pairs, brightness_step, read_borders
from planet.cli import progress as cli_progress
from planet.quality import count

__all__ = ['Neighbours', 'find_neighbours', 'match_borders', 'assemble']

STEP = dict(right=(0, 1), below=(1, 0)) # rows and columns from a chip to its neighbour
FEW = 5 # pairs from which the brightness steps between chips are measured
FALSE, SHARE = .05, .002 # false pairs that are expected at most: so many, or this share of those found

@dataclass
class Neighbours:
    "Chips that lie side by side: the pairs, the groups that they connect, and where each chip lies in its group."
    pairs: pd.DataFrame # `image_name,neighbour,side,score`: the neighbour lies to the right or below; log-odds
    groups: pd.DataFrame # `image_name,group`: a row a chip; a group is called like its first chip
    places: dict # group -> image name -> (row, column), from 0
    facts: dict # threshold, false pairs expected, and what was left out

    def report(self) -> list[str]:
        "Lines that say what was found."
        sizes = self.groups.group.value_counts()
        together, f = sizes[sizes > 1], self.facts
        found = f"{count(len(self.pairs), 'pair')} of neighbours among {len(self.groups):,} chips"
        if not len(together): yield f'{found}: no borders stand out from those that only look alike'; return
        largest = '2' if together.max() == 2 else f'2 to {together.max():,}'
        yield f"{found}: {count(len(together), 'group')} of {largest} chips, {together.sum():,} in all"
        if f['implied']: yield f"{f['implied']:,} of them follow from where other chips lie, and not from their borders"
        if f['step'] is not None:
            yield f"the mean colour of two borders that meet differs by {f['step']:.1f} of 255 (median)"
        if f['rejected']: yield f"{count(f['rejected'], 'pair')} that contradict where other chips lie were dropped"
        yield f"threshold {f['threshold']:.1f} (log-odds): {f['false_expected']:.2g} false pairs are expected"

def find_neighbours(
    paths, # image files of one size
    names=None, # of the chips; by default those of the files, without ending
    workers:int=0, # threads that read them; 0: one a core
    skip_bad:bool=False, # leave out files that cannot be read, rather than raise
    progress=cli_progress, # as `planet.cli.progress`
) -> Neighbours:
    "Find the right and the lower neighbour of each chip by its borders, and the groups that they connect."
    paths = [Path(p) for p in paths]
    names = np.array([p.stem for p in paths] if names is None else list(names), dtype=object)
    bad = {}
    borders, rows = read_borders(paths, workers, progress, bad if skip_bad else None)
    pairs, facts = match_borders(borders, progress)
    return assemble(names[rows], pairs, borders, facts, [str(n) for p, n in zip(paths, names) if p in bad])

# ---- pairs

class _Tail:
    "How many false pairs have at least a log-odds, among so many pairs: an exponential tail of those inside chips."
    def __init__(self, scores, lines, top=10, part=300): # the very highest may be chips of overlapping scenes
        high = np.sort(scores)[::-1][top:max(top + 20, min(part, lines//20))]
        if not len(high): high = np.zeros(1)
        self.start = high[-1]
        self.count, self.pairs = top + len(high), lines**2
        self.slope = max((high - self.start).mean(), .05)

    def false(self, score, pairs): return self.count*pairs/self.pairs*np.exp(-(score - self.start)/self.slope)

    def threshold(self, scores, pairs):
        "The lowest score at which few enough false pairs are expected among `scores`; infinite where none is."
        scores = np.sort(scores)[::-1]
        fine = self.false(scores, pairs) <= np.maximum(FALSE, SHARE*np.arange(1, len(scores) + 1))
        return scores[np.flatnonzero(fine)[-1]] if fine.any() else np.inf

def _step_odds(step, typical, other):
    "Log-odds from the step of mean colour between two lines: `typical` of neighbours, `other` of others."
    return np.clip(np.log(other/typical) - step/typical + step/other, -8, None)

def _mutual(found):
    "The pairs that are the best of their `row` and of their `col`, on their side."
    best = [found.score == found.groupby(['side', of]).score.transform('max') for of in ('row', 'col')]
    return found[best[0] & best[1]]

def match_borders(
    borders, # `Borders`
    progress=cli_progress, # as `planet.cli.progress`
) -> tuple: # a table `row,col,side,score` with the best first, and facts; rows are positions
    "Pairs of chips whose borders meet: each the other's best, and more likely than the false ones expected."
    inner, n = borders.inner, len(borders.right)
    model = LineModel(inner)
    i, j, ratio = best_pairs(model, inner, 3, progress, label='learning borders')
    score = PairScore(model, inner, i, j, ratio)
    false, false_step = score(inner, i, j, ratio), brightness_step(inner, i, j)
    other = max(float(false_step.mean()), 1.) if len(false_step) else 30.
    tail = partial(_Tail, lines=len(inner))
    found = []
    for side in SIDES:
        lines = getattr(borders, side)
        rows, cols, ratio = best_pairs(model, lines, progress=progress, label=f'comparing borders ({side})')
        found.append(pd.DataFrame(dict(row=rows, col=cols, side=side, score=score(lines, rows, cols, ratio),
                                       step=brightness_step(lines, rows, cols))))
    found, odds, step = pd.concat(found, ignore_index=True), tail(false), None
    def likely(odds):
        pairs = _mutual(found).sort_values('score', ascending=False, ignore_index=True)
        threshold = odds.threshold(pairs.score, 2*n*n)
        return pairs[pairs.score >= threshold], threshold, odds
    pairs, threshold, odds = likely(odds)
    if len(pairs) >= FEW: # how bright neighbours are beside one another says more
        step = float(pairs.step.median())
        typical = max(step, .2)/np.log(2)
        found['score'] += _step_odds(found.step, typical, other)
        more = likely(tail(false + _step_odds(false_step, typical, other)))
        # or less: the tail of false pairs is heavier with it, which counts where very many are compared
        if len(more[0]) >= len(pairs): pairs, threshold, odds = more
    facts = dict(threshold=float(threshold), step=step,
                 false_expected=float(odds.false(threshold, 2*n*n)) if len(pairs) else 0.)
    return pairs[['row', 'col', 'side', 'score']], facts

# ---- scenes

def _surest_first(pairs):
    "Pairs `(row, col, side)`: those that close a square of four chips come before others, then by log-odds."
    right, below = ({r: c for r, c, s in zip(pairs.row, pairs.col, pairs.side) if s == side} for side in SIDES)
    closed = Counter()
    for a, b in right.items():
        c, d = below.get(a), below.get(b)
        if c is not None and d is not None and right.get(c) == d:
            closed.update([(a, b, 'right'), (c, d, 'right'), (a, c, 'below'), (b, d, 'below')])
    scored = sorted(zip(pairs.row, pairs.col, pairs.side, pairs.score), key=lambda p: (-closed[p[:3]], -p[3]))
    return [p[:3] for p in scored]

def _place(pairs):
    "Put chips beside one another, the surest pair first; pairs that contradict what lies there already are dropped."
    scene, at, members, dropped = {}, {}, {}, 0 # chip -> scene, place; scene -> place -> chip
    for row, col, side in _surest_first(pairs):
        for chip in (row, col):
            if chip not in scene: scene[chip], at[chip], members[chip] = chip, (0, 0), {(0, 0): chip}
        a, b = scene[row], scene[col]
        want = tuple(at[row][k] + STEP[side][k] for k in (0, 1)) # of `col`, in the scene of `row`
        if a == b:
            dropped += at[col] != want
            continue
        shift = tuple(want[k] - at[col][k] for k in (0, 1))
        if len(members[b]) > len(members[a]): a, b, shift = b, a, tuple(-s for s in shift)
        moved = {(y + shift[0], x + shift[1]): chip for (y, x), chip in members[b].items()}
        if moved.keys() & members[a].keys(): dropped += 1; continue
        members[a].update(moved)
        for place, chip in moved.items(): scene[chip], at[chip] = a, place
        del members[b]
    return members, dropped

def assemble(
    names, # of all chips
    pairs, # positions in `names`, `row,col,side,score`, as `match_borders` finds them
    borders=None, # of the same chips, for the log-odds of pairs that follow from others
    facts=None, # of `match_borders`
    left_out=(), # names of chips that could not be read
) -> Neighbours:
    "Put chips beside one another: groups, and the neighbours that follow from where other chips lie."
    scenes, dropped = _place(pairs)
    score = {(r, c, s): v for r, c, s, v in zip(pairs.row, pairs.col, pairs.side, pairs.score)}
    found, group, places = [], np.array(names, dtype=object), {}
    for place in scenes.values():
        first = min(place.values())
        for chip in place.values(): group[chip] = names[first]
        top, left = (min(p[k] for p in place) for k in (0, 1))
        if len(place) > 1: places[names[first]] = {names[chip]: (y-top, x-left) for (y, x), chip in place.items()}
        for (y, x), chip in place.items():
            for side, (down, along) in STEP.items():
                other = place.get((y + down, x + along))
                if other is not None: found.append((chip, other, side, score.get((chip, other, side), np.nan)))
    found = pd.DataFrame(found, columns=['row', 'col', 'side', 'score']).sort_values(['row', 'side'])
    table = found.assign(image_name=np.asarray(names)[found.row.astype(int)],
                         neighbour=np.asarray(names)[found.col.astype(int)])
    facts = dict(facts or {}, implied=int(found.score.isna().sum()), rejected=dropped, left_out=list(left_out))
    names = [*names, *left_out]
    return Neighbours(table[['image_name', 'neighbour', 'side', 'score']].reset_index(drop=True),
                      pd.DataFrame(dict(image_name=names, group=[*group, *left_out])), places, facts)
