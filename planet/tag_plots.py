"Plots of a table of tags: class imbalance, tags per chip, co-occurrence, stratification of folds."
from collections import Counter
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from planet.amazon import WEATHER
from planet.figures import BLUE, PURPLE, QUIET, as_text, figure, plain_axes, text_width, wrap_words

__all__ = ['LONGEST', 'percent', 'class_distribution', 'tags_per_chip', 'cooccurrence', 'fold_balance']

LONGEST, MOST = 40, 100 # characters of a name on an axis, and names on one

def percent(share:float) -> str:
    "A share as percent, with as many digits as tell rare ones apart."
    digits = 0 if share >= .0995 or share == 0 else 1 if share >= .00995 else 2
    return '<0.01 %' if 0 < share < .00005 else f'{100*share:.{digits}f} %'

def _commonest(chips, most=MOST):
    "The commonest tags' columns and names, and a note on how many are left out."
    order = np.argsort(-chips.targets.sum(0), kind='stable')
    left = len(order) - most
    return (order[:most], [as_text(chips.vocab[i], LONGEST) for i in order[:most]],
            f'; {left:,} rarer tags are not shown' if left > 0 else '')

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
    highest = max([*counts, 1])
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names)-.4, -.6), xlabel=unit,
           xlim=(.8, 2.5*highest) if log else (0, 1.25*highest))
    ax.xaxis.set_major_formatter(lambda x, _: f'{x:,.0f}')
    for y, (count, note) in enumerate(zip(counts, notes)):
        ax.annotate(f'{count:,}', (max(count, ax.get_xlim()[0]), y), xytext=(5, 0), textcoords='offset points',
                    va='center', fontsize=9)
        for text, x, align in ((percent(count/max(total, 1)), 44, 'right'), (note, 58, 'left')):
            ax.annotate(text, (1, y), xycoords=('axes fraction', 'data'), xytext=(x, 0), textcoords='offset points',
                        va='center', ha=align, fontsize=9, color=QUIET)
    return fig, ax

def class_distribution(chips, # `Chips`
                      ) -> Figure:
    """Class imbalance: how many chips have each tag, the commonest first, and which share that is.

    The scale is logarithmic where the commonest tag has 30 times the chips of the rarest or more: the rare ones could
    not be seen otherwise. Tags of the weather, of which a chip has one, are purple.
    """
    order, names, left = _commonest(chips)
    counts = chips.targets.sum(0)[order].tolist()
    few = [c for c in counts if c] or [1]
    weather = set(WEATHER) if set(WEATHER) <= set(chips.vocab) else set()
    log = max(few) >= 30*min(few)
    colours = [PURPLE if chips.vocab[i] in weather else BLUE for i in order]
    unit = f"chips with the tag, of {len(chips):,}{'; each step is ten times as many' if log else ''}{left}"
    fig, ax = _bars(names, counts, len(chips), colours, unit, ['']*len(names), log)
    if weather:
        ax.annotate('the weather: one of these a chip', (1, 0), xycoords='axes fraction', xytext=(-4, 6),
                    textcoords='offset points', ha='right', fontsize=9, color=PURPLE)
    return fig

def tags_per_chip(chips, # `Chips`
                 ) -> Figure:
    "How many chips have one tag, two tags and so on, and which set of so many is the commonest."
    sets = Counter(tuple(tags) for tags in chips.table.tags)
    sizes = Counter()
    for tags, n in sets.items(): sizes[len(tags)] += n
    numbers = range(min(sizes, default=0), max(sizes, default=0) + 1)
    if len(numbers) > MOST: numbers = sorted(sizes)[:MOST]
    def commonest(k):
        tags, n = max(((tags, n) for tags, n in sets.items() if len(tags) == k), key=lambda o: o[1], default=((), 0))
        first, *more = wrap_words(tags, 5)
        return f"{first}{' ...' if more else ''} ({n:,})" if tags else ''
    mean = sum(k*n for k, n in sizes.items())/max(len(chips), 1)
    unit = f'chips, of {len(chips):,}; {mean:.2f} tags a chip on average'
    fig, ax = _bars([f"{k} tag{'s'*(k != 1)}" for k in numbers], [sizes[k] for k in numbers], len(chips), BLUE, unit,
                    [commonest(k) for k in numbers], width=11.)
    ax.annotate('most often', (1, 1), xycoords='axes fraction', xytext=(58, 4), textcoords='offset points', fontsize=9,
                color=QUIET)
    return fig

def cooccurrence(chips, # `Chips`
                ) -> Figure:
    """Co-occurrence matrix: how often a chip with the row's tag has the column's too, P(column | row), in percent.

    Correlated tags are placed together: the order is that of the leaves of a hierarchical clustering (average
    linkage) by Yule's Q, a correlation of pairs that does not depend on how common the two tags are.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform
    chosen, _, left = _commonest(chips, 60)
    hot, n = chips.targets[:, np.sort(chosen)].astype(float), len(chosen)
    vocab = [chips.vocab[i] for i in np.sort(chosen)]
    pairs = squareform(1 - _yule(hot), checks=False)
    order = leaves_list(linkage(pairs, 'average', optimal_ordering=True)) if n > 1 else np.arange(n)
    hot, names = hot[:, order], [as_text(vocab[i], LONGEST) for i in order]
    both, counts = hot.T@hot, hot.sum(0)
    given, same = both/np.maximum(counts, 1)[:, None], np.eye(n, dtype=bool)
    longest = max(map(text_width, names))
    fig = figure(max(3.4, .46*n) + longest + 1, max(2.4, .36*n) + .8*longest + .8)
    ax = fig.subplots()
    ax.imshow(np.ma.masked_where(same | (both == 0), given), cmap='YlGnBu', vmin=0, vmax=1, aspect='auto')
    ax.imshow(np.ma.masked_where(~same, np.full((n, n), .15)), cmap='Greys', vmin=0, vmax=1, aspect='auto')
    ax.set(yticks=range(n), yticklabels=[f'{name}  {int(c):,}' for name, c in zip(names, counts)],
           ylabel='of the chips with this tag ...', title='... so many percent have this one too')
    if left: ax.set_xlabel(left.strip('; '))
    ax.set_xticks(range(n), names, rotation=45, ha='left', rotation_mode='anchor')
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    for i, j in zip(*np.nonzero((both > 0) & ~same)) if n <= 40 else ():
        p = given[i, j]
        ax.text(j, i, '<1' if p < .005 else f'{100*p:.0f}', ha='center', va='center', fontsize=8,
                color='white' if p > .55 else '#24292f')
    return fig

def _yule(hot): # (chips, tags) -> (tags, tags)
    "Yule's Q of each pair of tags, from -1 (never together) to 1; half a chip is added to each count: none is 0."
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
    "Stratification of folds: the share of each tag's chips in each fold; even folds lie on the line."
    fold, (order, names, left) = np.asarray(fold), _commonest(chips)
    counts, folds = chips.targets.sum(0), np.unique(fold)
    shown = [(i, f'{name}  {counts[i]:,}') for i, name in zip(order, names) if counts[i]]
    order = [i for i, _ in shown]
    fig = figure(7, .24*len(order) + 1.2)
    ax = plain_axes(fig.subplots())
    for i, f in enumerate(folds): # one below the other, so that equal ones show
        where = i/max(1, len(folds)-1)
        share = chips.targets[fold == f].sum(0)[order]/counts[order]
        ax.plot(share, np.arange(len(order)) + .6*(where - .5), 'o', ms=4, mew=0,
                label=f'fold {f}', color=colormaps['plasma'](.85*where))
    ax.axvline(1/max(len(folds), 1), color=QUIET, lw=1, ls=':')
    ax.set(yticks=range(len(order)), yticklabels=[name for _, name in shown], ylim=(len(order)-.4, -.6),
           xlim=(-.03, None), xlabel=f"share of the tag's chips{left}", title=as_text(title) if title else '')
    ax.xaxis.set_major_formatter(lambda x, _: f'{100*x:.0f} %')
    fig.legend(frameon=False, loc='outside lower center', ncols=min(len(folds), 6), fontsize=9)
    return fig
