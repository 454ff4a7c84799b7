"Every plot: a data set's tags and chips, the curves of a training, predictions beside the truth."
# All return a matplotlib `Figure`, and no global state of matplotlib changes. A colour means one thing: green is
# right, red a false positive, orange a false negative; blue and purple are what the plot is about (F2 is blue), grey is
# what it is compared with; the decision rule is black.
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from planet.cli import near_names
from planet.figures import (
    BAD,
    BLUE,
    GOOD,
    MISSED,
    PURPLE,
    QUIET,
    as_array,
    as_text,
    figure,
    grid,
    plain_axes,
    text_width,
    wrap_words,
)
from planet.images import open_chip
from planet.metrics import threshold_curve
from planet.tag_plots import LONGEST, class_distribution, cooccurrence, fold_balance, percent, tags_per_chip

__all__ = ['GOOD', 'BAD', 'MISSED', 'BLUE', 'PURPLE', 'QUIET', 'figure', 'plain_axes', 'grid', 'as_array', 'as_text',
           'class_distribution', 'tags_per_chip', 'cooccurrence', 'fold_balance', 'show_chips', 'tag_sheet',
           'chip_grid', 'batch_grid', 'loss_curves', 'score_against_threshold', 'predictions_sheet']

# ---- chips

def _pixels(chips, rows, size):
    "The chips at `rows` as arrays; one that cannot be read is grey (`planet-data verify` says why)."
    def pixels(path):
        try: return as_array(open_chip(path, size, chips.limits), chips.bands)
        except Exception: return np.full((size, size, 3), 200, dtype=np.uint8)
    return [pixels(chips.paths[row]) for row in rows]

def _draw(rows, n, seed): return np.random.default_rng(seed).permutation(rows)[:n]

def show_chips(chips, # `Chips`
               n:int=12, # chips to show
               seed:int=42, # which
               columns:int=4, width:float=10., # of the figure, in inches
               size:int=256, # height and width of a chip, in pixels
               names:bool=False, # with the names of their files?
              ) -> Figure:
    "Some chips, drawn at random, with their tags underneath."
    rows = _draw(len(chips), n, seed)
    files = [chips.paths[row].name for row in rows] if names else None
    return chip_grid(_pixels(chips, rows, size), [chips.table.tags[row] for row in rows], columns, width, files)

def tag_sheet(chips, # `Chips`
              tag:str, # the tag that all of them have
              n:int=12, seed:int=42, columns:int=4, width:float=10., size:int=256, # as in `show_chips`
              names:bool=False, # with the names of their files?
             ) -> Figure:
    "Some of the chips that have `tag`, drawn at random, with their other tags. `ValueError` where no chip has it."
    having = [row for row, tags in enumerate(chips.table.tags) if tag in tags]
    if not having:
        near = near_names(tag, chips.vocab)
        raise ValueError(f"no chip has the tag {tag!r}{near} (there are {', '.join(chips.vocab)})")
    rows = _draw(having, n, seed)
    others = [wrap_words([t for t in chips.table.tags[row] if t != tag], width/columns - .1) for row in rows]
    captions = [[(line, QUIET) for line in lines] for lines in others]
    if names: captions = [[(chips.paths[row].name, QUIET), *lines] for row, lines in zip(rows, captions)]
    title = f"{as_text(tag, LONGEST)}: {len(having):,} of {len(chips):,} chips ({percent(len(having)/len(chips))})"
    return grid(_pixels(chips, rows, size), captions, columns, width, title)

def chip_grid(chips, # arrays `(height, width, 3)`, uint8, or floats between 0 and 1
              tags, # the tags of each, a list of str
              columns:int=4, width:float=10., # of the figure, in inches
              names=None, # of each its file's name, to show that too
             ) -> Figure:
    "Chips with their tags underneath."
    captions = [[(line, 'black') for line in wrap_words(t, width/columns - .1)] if len(t) else [] for t in tags]
    if names is not None: captions = [[(name, QUIET), *lines] for name, lines in zip(names, captions)]
    return grid(chips, captions, columns, width)

def batch_grid(dls, # multi-label or single-label `DataLoaders` of chips
               n:int=8, # chips to show
              ) -> Figure:
    "A training batch as the learner gets it, after data augmentation, with its tags; bands beyond RGB in false colour."
    shown, bands = dls.decode_batch(dls.one_batch(), max_n=n), getattr(dls, 'bands', None)
    return chip_grid([as_array(x, bands) for x, _ in shown], [[y] if isinstance(y, str) else list(y) for _, y in shown])

# ---- training and predictions

def _limits(ax, values, log=False):
    "Show all finite values and little else; with `log` on a logarithmic axis where they span a factor of six or more."
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values): return
    low, high = values.min(), values.max()
    if log and low > 0 and high > 6*low:
        ax.set(yscale='log', ylim=(low/1.1, high*1.1))
        ax.yaxis.set_major_formatter(ScalarFormatter())
        ax.yaxis.set_minor_formatter(lambda x, _: f'{x:g}' if f'{x:.0e}'[0] in '25' else '')
    else:
        margin = .06*(high - low) or .1*abs(high) or .1
        ax.set_ylim(low - margin, high + margin)

def loss_curves(history, # a row an epoch with `epoch, stage, train_loss, valid_loss` and the metrics
                things:str='chips', # what is trained on
                width:float=10., # in inches
                show=('loss', 'scores'), # which of the two, side by side
               ) -> Figure:
    "Learning curves: loss and metrics by epoch, with a line where fine-tuning of the whole network begins."
    metrics = [c for c in history if c not in ('epoch', 'stage', 'train_loss', 'valid_loss', 'time')]
    fig = figure(width, 3.8)
    axes = {name: plain_axes(ax) for name, ax in zip(show, fig.subplots(1, len(show), squeeze=False)[0])}
    mark = dict(marker='o', ms=4) if len(history) <= 40 else {}
    def draw(name, title, lines): # of `(column, label, colour)`
        if name not in axes: return
        for column, label, colour in lines:
            axes[name].plot(history.epoch, history[column].astype(float), label=label, color=colour, **mark)
        axes[name].set_title(title)
        _limits(axes[name], history[[column for column, *_ in lines]], log=name == 'loss') # scores lie between 0 and 1
    draw('loss', 'loss', [('train_loss', 'training set', QUIET), ('valid_loss', 'validation set', BLUE)])
    palette = BLUE, PURPLE, *(f'C{i}' for i in (0, 5, 6, 8, 9)) # those that mean nothing else
    metrics.sort(key=lambda column: column != 'f2') # F2 is blue, as in the other figures
    draw('scores', f'scores on the validation {things}',
         [(column, as_text(column, 30), palette[i % 7]) for i, column in enumerate(metrics)])
    frozen = (history.stage == 'head').sum()
    for ax in axes.values():
        ax.set_xlabel('epoch')
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
        if len(history): ax.set_xlim(history.epoch.min() - .4, history.epoch.max() + .4)
        if 0 < frozen < len(history):
            ax.axvline(history.epoch.iloc[frozen] - .5, color=QUIET, ls=':', label='whole network trains')
        widest = max((text_width(line.get_label()) for line in ax.lines), default=0)
        if ax.lines: ax.legend(frameon=False, loc='upper center', bbox_to_anchor=(.5, -.16), fontsize=9,
                               ncols=3 if widest < 1.3 else 2)
    return fig

def score_against_threshold(probs, # `(chips, tags)` between 0 and 1
                            targs, # `(chips, tags)`, 0 or 1
                            thresh:float=None, # one to mark
                            baseline:float=None, # F2 of the best constant prediction
                            width:float=6.4, # in inches
                           ) -> Figure:
    "F2 and `accuracy_multi` at every decision threshold: the two do not agree on the best one."
    curve = threshold_curve(probs, targs)
    fig = figure(width, 4)
    ax = plain_axes(fig.subplots())
    for column, label, colour in (('fbeta', 'F2', BLUE), ('accuracy_multi', 'accuracy_multi', PURPLE)):
        best = curve[column].idxmax()
        at, score = curve.thresh[best], curve[column][best]
        ax.plot(curve.thresh, curve[column], color=colour, label=f'{label}, best {score:.3f} at {at:.2f}')
        ax.plot(at, score, 'o', color=colour)
    if thresh is not None and np.ndim(thresh) == 0:
        ax.axvline(thresh, color='black', ls=':', label=f'threshold {thresh:g}')
    if baseline is not None:
        ax.axhline(baseline, color=QUIET, ls='--', lw=1, label='F2 of the best constant prediction')
    ax.set(xlabel='decision threshold', ylabel='score on the validation set', xlim=(0, 1))
    _limits(ax, [*curve.fbeta, *curve.accuracy_multi, *([] if baseline is None else [baseline])])
    fig.legend(frameon=False, loc='outside lower center', ncols=2 if width > 6 else 1, fontsize=9)
    return fig

def predictions_sheet(chips, # arrays `(height, width, 3)`, uint8, or floats between 0 and 1
                      truth, # the true tags of each, a list of str
                      predicted, # the predicted tags of each, a list of str
                      columns:int=4, width:float=11.,
                      names=None, # of each its file's name, to show that too
                     ) -> Figure:
    "Chips with their true positives (green), false negatives (orange, -) and false positives (red, +)."
    captions = [[*((t, GOOD) for t in true if t in pred), *((f'- {as_text(t)}', MISSED) for t in true if t not in pred),
                 *((f'+ {as_text(t)}', BAD) for t in pred if t not in true)] for true, pred in zip(truth, predicted)]
    if names is not None: captions = [[(name, QUIET), *lines] for name, lines in zip(names, captions)]
    legend = [('true positive', GOOD), ('- false negative', MISSED), ('+ false positive', BAD)]
    return grid(chips, captions, columns, width, legend)
