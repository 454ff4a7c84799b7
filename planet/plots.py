"The figures of a run's record. Each function returns a matplotlib figure and leaves no global state behind."
import numpy as np
from matplotlib.figure import Figure
from planet.metrics import threshold_curve

__all__ = ['chip_grid', 'batch_grid', 'loss_curves', 'score_against_threshold', 'predictions_sheet', 'as_array']

GOOD, BAD, MISSED, QUIET = '#1a7f37', '#cf222e', '#bf6900', '#57606a'

def _figure(width, height): return Figure(figsize=(width, height), dpi=100, layout='constrained')

def _plain(ax):
    ax.spines[['top', 'right']].set_visible(False)
    ax.grid(alpha=.25)
    return ax

def _grid(chips, captions, columns, width):
    "Chips in a grid, with a caption of coloured lines under each: `captions` are lists of `(text, colour)`."
    gap, line, rows = .12, .155, -(-len(chips)//columns) # inches
    side = (width - gap*(columns+1))/columns
    row = side + gap + line*max(map(len, captions))
    fig = Figure(figsize=(width, rows*row + gap), dpi=100)
    for i, (chip, lines) in enumerate(zip(chips, captions)):
        left, top = gap + i%columns*(side+gap), fig.get_figheight() - gap - i//columns*row
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

def chip_grid(chips, # arrays `(height, width, 3)`, uint8, or floats between 0 and 1
              tags, # the tags of each, a list of str
              columns:int=4, width:float=10., # of the figure, in inches
             ) -> Figure:
    "Chips with their tags underneath."
    return _grid(chips, [[(line, 'black') for line in _wrap(t)] for t in tags], columns, width)

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

def loss_curves(history, # a row an epoch with `epoch, stage, train_loss, valid_loss` and the metrics
               ) -> Figure:
    "Loss and metrics by epoch, with a line where the body begins to learn too."
    metrics = [c for c in history if c not in ('epoch', 'stage', 'train_loss', 'valid_loss', 'time')]
    fig = _figure(10, 3.6)
    left, right = (_plain(ax) for ax in fig.subplots(1, 2))
    for column, label, colour in (('train_loss', 'training', QUIET), ('valid_loss', 'held out', '#0969da')):
        left.plot(history.epoch, history[column], marker='o', label=label, color=colour)
    left.set(title='loss', ylim=(0, 1.1*history[['train_loss', 'valid_loss']].max().max()))
    for column in metrics: right.plot(history.epoch, history[column].astype(float), marker='o', label=column)
    right.set(title='scores of the held-out chips')
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
    fig = _figure(6.4, 4)
    ax = _plain(fig.subplots())
    for column, label, colour in (('fbeta', 'F2', GOOD), ('accuracy_multi', 'accuracy_multi', '#0969da')):
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
    return _grid(chips, captions, columns, width)
