"The figures of a run's record, and those of `looking`. Each function returns a matplotlib figure and leaves no global state behind."
from matplotlib.figure import Figure
from planet import looking
from planet.looking import *
from planet.looking import BAD, BLUE, GOOD, MISSED, QUIET, _figure, _grid, _plain
from planet.metrics import threshold_curve

__all__ = [*looking.__all__, 'loss_curves', 'score_against_threshold', 'predictions_sheet']

def loss_curves(history, # a row an epoch with `epoch, stage, train_loss, valid_loss` and the metrics
                things:str='chips', # what is held out
               ) -> Figure:
    "Loss and metrics by epoch, with a line where the body begins to learn too."
    metrics = [c for c in history if c not in ('epoch', 'stage', 'train_loss', 'valid_loss', 'time')]
    fig = _figure(10, 3.6)
    left, right = (_plain(ax) for ax in fig.subplots(1, 2))
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
    fig = _figure(6.4, 4)
    ax = _plain(fig.subplots())
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
    return _grid(chips, captions, columns, width)
