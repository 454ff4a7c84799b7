"Every figure: a data set's tags and chips, the curves of a training, predictions beside the truth. All return a matplotlib `Figure`; no global state of matplotlib changes."
from collections import Counter
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from planet.cli import near_names
from planet.images import open_chip
from planet.amazon import WEATHER
from planet.metrics import threshold_curve

__all__ = ['GOOD', 'BAD', 'MISSED', 'QUIET', 'BLUE', 'figure', 'plain_axes', 'grid', 'as_array', 'class_distribution', 'tags_per_chip',
           'cooccurrence', 'fold_balance', 'show_chips', 'tag_sheet', 'chip_grid', 'batch_grid', 'loss_curves', 'score_against_threshold',
           'predictions_sheet']

GOOD, BAD, MISSED, QUIET, BLUE = '#1a7f37', '#cf222e', '#bf6900', '#57606a', '#0969da'

def figure(width:float, # in inches
           height:float,
          ) -> Figure:
    "An empty figure that keeps its texts inside."
    return Figure(figsize=(width, height), dpi=100, layout='constrained')

def plain_axes(ax):
    "`ax` without a frame at the top and right, over a pale grid."
    ax.spines[['top', 'right']].set_visible(False)
    ax.grid(alpha=.25)
    return ax

# ---- counts

def _percent(share):
    digits = 0 if share >= .0995 or share == 0 else 1 if share >= .00995 else 2
    return '<0.01 %' if 0 < share < .00005 else f'{100*share:.{digits}f} %'

def _bars(names, counts, total, colours, unit, notes, log=False, width=9.):
    "Horizontal bars from the top down, each with its count, its share of `total` and a note."
    fig = figure(width, .27*len(names) + .9)
    ax = fig.subplots()
    ax.spines[['top', 'right', 'left']].set_visible(False)
    ax.tick_params(axis='y', length=0)
    ax.grid(axis='x', alpha=.25)
    ax.set_axisbelow(True)
    ax.barh(range(len(names)), counts, color=colours, height=.72)
    if log: ax.set_xscale('log')
    else: ax.xaxis.set_major_locator(MaxNLocator('auto', integer=True))
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names)-.4, -.6), xlabel=unit,
           xlim=(.8, 2.5*max(counts)) if log else (0, 1.25*max(counts)))
    ax.xaxis.set_major_formatter(lambda x, _: f'{x:,.0f}')
    for y, (count, note) in enumerate(zip(counts, notes)):
        ax.annotate(f'{count:,}', (max(count, ax.get_xlim()[0]), y), xytext=(5, 0), textcoords='offset points', va='center', fontsize=9)
        for text, x, align in ((_percent(count/total), 44, 'right'), (note, 58, 'left')):
            ax.annotate(text, (1, y), xycoords=('axes fraction', 'data'), xytext=(x, 0), textcoords='offset points', va='center',
                        ha=align, fontsize=9, color=QUIET)
    return fig, ax

def class_distribution(chips, # `Chips`
                      ) -> Figure:
    """How many chips have each tag, the commonest first, and which share that is.

    The scale is logarithmic where the commonest tag has 30 times the chips of the rarest or more: the rare ones could not
    be seen otherwise. Tags of the weather, of which a chip has one, are blue.
    """
    counts = chips.targets.sum(0)
    order = np.argsort(-counts, kind='stable')
    counts, names = counts[order].tolist(), [chips.vocab[i] for i in order]
    few = [c for c in counts if c] or [1]
    sky = set(WEATHER) <= set(names)
    log = max(few) >= 30*min(few)
    fig, ax = _bars(names, counts, len(chips), [BLUE if sky and name in WEATHER else GOOD for name in names],
                    f"chips with the tag, of {len(chips):,}{'; each step is ten times as many' if log else ''}",
                    ['']*len(names), log)
    if sky: ax.annotate('the weather: one of these a chip', (1, 0), xycoords='axes fraction', xytext=(-4, 6), textcoords='offset points',
                        ha='right', fontsize=9, color=BLUE)
    return fig

def tags_per_chip(chips, # `Chips`
                 ) -> Figure:
    "How many chips have one tag, two tags and so on, and which set of so many is the commonest."
    sets = Counter(tuple(tags) for tags in chips.table.tags)
    numbers = range(min(map(len, sets)), max(map(len, sets)) + 1)
    counts = [sum(n for tags, n in sets.items() if len(tags) == k) for k in numbers]
    def commonest(k):
        tags, n = max(((tags, n) for tags, n in sets.items() if len(tags) == k), key=lambda o: o[1], default=((), 0))
        first, *more = _wrap(tags, 80)
        return f"{first}{' ...' if more else ''} ({n:,})" if tags else ''
    mean = sum(k*n for k, n in zip(numbers, counts))/len(chips)
    fig, ax = _bars([f"{k} tag{'s'*(k != 1)}" for k in numbers], counts, len(chips), QUIET,
                    f'chips, of {len(chips):,}; {mean:.2f} tags a chip on average', [commonest(k) for k in numbers], width=11.)
    ax.annotate('most often', (1, 1), xycoords='axes fraction', xytext=(58, 4), textcoords='offset points', fontsize=9, color=QUIET)
    return fig

def cooccurrence(chips, # `Chips`
                ) -> Figure:
    """How often a chip that has the row's tag has the column's too: P(column | row), in percent.

    Tags that attract one another stand together: the order is that of the leaves of a hierarchical clustering (average
    linkage) by Yule's Q, a correlation of pairs that does not depend on how common the two tags are.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform
    hot = chips.targets.astype(float)
    order = leaves_list(linkage(squareform(1 - _yule(hot), checks=False), 'average', optimal_ordering=True))
    hot, names, n = hot[:, order], [chips.vocab[i] for i in order], len(order)
    both, counts = hot.T@hot, hot.sum(0)
    given, same = both/np.maximum(counts, 1)[:, None], np.eye(n, dtype=bool)
    longest = max(map(len, names))
    fig = figure(max(3, .46*n) + .085*longest + .9, max(2.2, .36*n) + .065*longest + .7)
    ax = fig.subplots()
    ax.imshow(np.ma.masked_where(same | (both == 0), given), cmap='YlGnBu', vmin=0, vmax=1, aspect='auto')
    ax.imshow(np.ma.masked_where(~same, np.full((n, n), .15)), cmap='Greys', vmin=0, vmax=1, aspect='auto')
    ax.set(yticks=range(n), yticklabels=[f'{name}  {int(c):,}' for name, c in zip(names, counts)], ylabel='of the chips with this tag ...',
           title='... so many percent have this one too')
    ax.set_xticks(range(n), names, rotation=45, ha='left', rotation_mode='anchor')
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    for i, j in zip(*np.nonzero((both > 0) & ~same)) if n <= 40 else ():
        p = given[i, j]
        ax.text(j, i, '<1' if p < .005 else f'{100*p:.0f}', ha='center', va='center', fontsize=8, color='white' if p > .55 else '#24292f')
    return fig

def _yule(hot): # (chips, tags) -> (tags, tags)
    "Yule's Q of each pair of tags, from -1 (never together) to 1; half a chip is added to each count, so that none is 0."
    both, n = hot.T@hot, hot.sum(0)
    one, other = n[:, None] - both, n - both
    odds = (both+.5)*(len(hot)-both-one-other+.5)/((one+.5)*(other+.5))
    q = (odds-1)/(odds+1)
    np.fill_diagonal(q, 1)
    return q

def fold_balance(chips, # `Chips`
                 fold, # the fold of each chip
                 title:str='',
                ) -> Figure:
    "For each tag, the commonest first: what share of its chips each fold holds. Even folds lie on the line."
    fold, hot = np.asarray(fold), chips.targets
    counts, folds = hot.sum(0), np.unique(fold)
    order = [i for i in np.argsort(-counts, kind='stable') if counts[i]]
    fig = figure(7, .24*len(order) + 1)
    ax = plain_axes(fig.subplots())
    for i, f in enumerate(folds): # one below the other, so that equal ones show
        ax.plot(hot[fold == f].sum(0)[order]/counts[order], np.arange(len(order)) + .6*(i/max(1, len(folds)-1) - .5), 'o', ms=4, mew=0, label=f'fold {f}')
    ax.axvline(1/len(folds), color=QUIET, lw=1, ls=':')
    ax.set(yticks=range(len(order)), yticklabels=[f'{chips.vocab[i]}  {counts[i]:,}' for i in order], ylim=(len(order)-.4, -.6), xlim=(-.03, None),
           xlabel='share of the tag\'s chips', title=title)
    ax.xaxis.set_major_formatter(lambda x, _: f'{100*x:.0f} %')
    fig.legend(frameon=False, loc='outside lower center', ncols=min(len(folds), 6), fontsize=9)
    return fig

# ---- chips

def grid(chips, captions, columns, width, title=''):
    "Chips in a grid, with a caption of coloured lines under each: `captions` are lists of `(text, colour)`."
    gap, line, rows, head = .12, .155, -(-len(chips)//columns), .3 if title else 0 # inches
    side = (width - gap*(columns+1))/columns
    row = side + gap + line*max(map(len, captions))
    fig = Figure(figsize=(width, rows*row + gap + head), dpi=100)
    if title: fig.text(gap/width, 1 - gap/fig.get_figheight(), title, va='top', fontsize=12)
    for i, (chip, lines) in enumerate(zip(chips, captions)):
        left, top = gap + i%columns*(side+gap), fig.get_figheight() - gap - head - i//columns*row
        ax = fig.add_axes([left/width, (top-side)/fig.get_figheight(), side/width, side/fig.get_figheight()])
        ax.imshow(np.asarray(chip))
        ax.set_axis_off()
        for n, (text, colour) in enumerate(lines):
            ax.annotate(text, (.5, 0), xycoords='axes fraction', xytext=(0, -3 - 72*line*n), textcoords='offset points',
                        ha='center', va='top', fontsize=9, color=colour)
    return fig

def _wrap(words, width=24):
    "Words in lines of at most `width` letters."
    lines = ['']
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) + 1 > width: lines.append('')
        lines[-1] = f'{lines[-1]} {word}'.strip()
    return lines

def _pixels(chips, rows, size):
    "The chips at `rows` as arrays; one that cannot be read is grey (`planet-data verify` says why)."
    def pixels(path):
        try: return np.asarray(open_chip(path, size).permute(1, 2, 0))
        except Exception: return np.full((size, size, 3), 200, dtype=np.uint8)
    return [pixels(chips.paths[row]) for row in rows]

def _draw(rows, n, seed): return np.random.default_rng(seed).permutation(rows)[:n]

def show_chips(chips, # `Chips`
               n:int=12, # chips to show
               seed:int=42, # which
               columns:int=4, width:float=10., # of the figure, in inches
               size:int=256, # height and width of a chip, in pixels
              ) -> Figure:
    "Some chips, drawn at random, with their tags underneath."
    rows = _draw(len(chips), n, seed)
    return chip_grid(_pixels(chips, rows, size), [chips.table.tags[row] for row in rows], columns, width)

def tag_sheet(chips, # `Chips`
              tag:str, # the tag that all of them have
              n:int=12, seed:int=42, columns:int=4, width:float=10., size:int=256, # as in `show_chips`
             ) -> Figure:
    "Some of the chips that have `tag`, drawn at random, with what else they show. `ValueError` where no chip has it."
    having = [row for row, tags in enumerate(chips.table.tags) if tag in tags]
    if not having: raise ValueError(f"no chip has the tag {tag!r}{near_names(tag, chips.vocab)} (there are {', '.join(chips.vocab)})")
    rows = _draw(having, n, seed)
    others = [_wrap([t for t in chips.table.tags[row] if t != tag]) for row in rows]
    title = f"{tag}: {len(having):,} of {len(chips):,} chips ({_percent(len(having)/len(chips))})"
    return grid(_pixels(chips, rows, size), [[(line, QUIET) for line in lines] for lines in others], columns, width, title)

def chip_grid(chips, # arrays `(height, width, 3)`, uint8, or floats between 0 and 1
              tags, # the tags of each, a list of str
              columns:int=4, width:float=10., # of the figure, in inches
             ) -> Figure:
    "Chips with their tags underneath."
    return grid(chips, [[(line, 'black') for line in _wrap(t)] for t in tags], columns, width)

def batch_grid(dls, # multi-label or single-label `DataLoaders` of chips
               n:int=8, # chips to show
              ) -> Figure:
    "A training batch as the learner gets it, augmented, with its tags."
    shown = dls.decode_batch(dls.one_batch(), max_n=n)
    return chip_grid([as_array(x) for x, _ in shown], [[y] if isinstance(y, str) else list(y) for _, y in shown])

def as_array(x):
    "A chip's tensor `(3, height, width)`, whole numbers to 255 or floats to 1, as an array for `imshow`."
    x = np.asarray(x.permute(1, 2, 0))
    return x.clip(0, 1) if x.dtype.kind == 'f' else x.astype(np.uint8)

# ---- training and predictions

def loss_curves(history, # a row an epoch with `epoch, stage, train_loss, valid_loss` and the metrics
                things:str='chips', # what is held out
               ) -> Figure:
    "Loss and metrics by epoch, with a line where the body begins to learn too."
    metrics = [c for c in history if c not in ('epoch', 'stage', 'train_loss', 'valid_loss', 'time')]
    fig = figure(10, 3.6)
    left, right = (plain_axes(ax) for ax in fig.subplots(1, 2))
    for column, label, colour in (('train_loss', 'training', QUIET), ('valid_loss', 'held out', BLUE)):
        left.plot(history.epoch, history[column], marker='o', label=label, color=colour)
    left.set(title='loss', ylim=(0, 1.1*history[['train_loss', 'valid_loss']].max().max()))
    for column in metrics: right.plot(history.epoch, history[column].astype(float), marker='o', label=column)
    right.set(title=f'scores of the held-out {things}')
    frozen = (history.stage == 'head').sum()
    for ax in (left, right):
        ax.set(xlabel='epoch', xticks=history.epoch)
        if 0 < frozen < len(history): ax.axvline(frozen+.5, color=QUIET, ls=':', label='body unfrozen')
        ax.legend(frameon=False)
    return fig

def score_against_threshold(probs, # `(chips, tags)` between 0 and 1
                            targs, # `(chips, tags)`, 0 or 1
                            thresh:float=None, # one to mark
                            baseline:float=None, # F2 of the best constant answer
                           ) -> Figure:
    "F2 and `accuracy_multi` at every threshold: they do not agree on the best one."
    curve = threshold_curve(probs, targs)
    fig = figure(6.4, 4)
    ax = plain_axes(fig.subplots())
    for column, label, colour in (('fbeta', 'F2', GOOD), ('accuracy_multi', 'accuracy_multi', BLUE)):
        ax.plot(curve.thresh, curve[column], color=colour, label=label)
        best = curve[column].idxmax()
        ax.plot(curve.thresh[best], curve[column][best], 'o', color=colour)
        ax.annotate(f'{curve[column][best]:.3f} at {curve.thresh[best]:.2f}', (curve.thresh[best], curve[column][best]),
                    textcoords='offset points', xytext=(6, 6), color=colour, fontsize=9)
    if thresh is not None: ax.axvline(thresh, color=QUIET, ls=':', label=f'--thresh {thresh:g}')
    if baseline is not None: ax.axhline(baseline, color=BAD, ls='--', lw=1, label='F2, best constant answer')
    ax.set(xlabel='threshold', ylabel='score of the held-out chips', ylim=(0, 1.05), xlim=(0, 1))
    fig.legend(frameon=False, loc='outside lower center', ncols=4, fontsize=9)
    return fig

def predictions_sheet(chips, # arrays `(height, width, 3)`, uint8, or floats between 0 and 1
                      truth, # the true tags of each, a list of str
                      predicted, # the predicted tags of each, a list of str
                      columns:int=4, width:float=11.,
                     ) -> Figure:
    "Held-out chips with what was found (green), missed (orange) and made up (red)."
    captions = [[(t, GOOD) for t in true if t in pred] + [(f'{t} missed', MISSED) for t in true if t not in pred]
                + [(f'{t} wrong', BAD) for t in pred if t not in true] for true, pred in zip(truth, predicted)]
    return grid(chips, captions, columns, width)
