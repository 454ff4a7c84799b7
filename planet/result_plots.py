"Plots of a scored validation set: intervals, outcomes by tag, precision-recall, thresholds, calibration, confusion."
# All take `probs` and `truth` `(chips, tags)`, or decisions `pred` of the same shape, and the `vocab` of their columns;
# a single label is a tag of which a chip has exactly one. Narrow figures (`width` in inches) fit a phone's screen.
import numpy as np
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from planet.calibration import calibration_error, crossfit_calibrate, reliability
from planet.figures import BAD, BLUE, GOOD, MISSED, PURPLE, QUIET, as_text, figure, plain_axes, text_width, wrap_words

__all__ = ['score_intervals', 'outcome_counts', 'tag_outcomes', 'precision_recall_curves', 'threshold_curves',
           'reliability_diagram', 'missed_and_predicted', 'confused_tags']

LONGEST, PANELS = 32, 24 # characters of a tag, and tags with a panel of their own
GAP = '\N{NO-BREAK SPACE}'*2 # SVG makes one of several plain spaces

def _array(x): return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)

def _short(name, width, size=10): # in inches, points
    "A name as it is drawn, cut so that it leaves room for what it names."
    return wrap_words([as_text(name, LONGEST)], width, size)[0]

def score_intervals(rows, # `(label, score, baseline, interval)` each; the last two may be `None`
                    width:float=6.4,
                   ) -> Figure:
    "Scores with their 95 % confidence intervals, and what each has to beat."
    fig = figure(width, .42*len(rows) + .9)
    ax = plain_axes(fig.subplots())
    for y, (_, value, base, interval) in enumerate(rows):
        if interval: ax.plot(interval, [y, y], color=BLUE, lw=3, alpha=.45, solid_capstyle='butt',
                             label='95 % interval')
        ax.plot(value, y, 'o', color=BLUE, label='this run')
        if base is not None: ax.plot(base, y, '|', color=QUIET, ms=14, mew=2, label='best constant answer')
    seen = dict(zip(*reversed(ax.get_legend_handles_labels())))
    ax.set(yticks=range(len(rows)), yticklabels=[_short(r[0], .55*width) for r in rows], ylim=(len(rows)-.5, -.5))
    ax.margins(x=.08)
    ax.grid(visible=False, axis='y')
    fig.legend(seen.values(), seen.keys(), frameon=False, loc='outside lower center', ncols=3, fontsize=9,
               handlelength=1.2, columnspacing=1.2)
    return fig

# ---- by tag

def outcome_counts(pred, truth) -> dict: # of `(tags,)` each
    "True positives, false negatives and false positives of each tag."
    pred, truth = _array(pred).astype(bool), _array(truth).astype(bool)
    return dict(tp=(pred & truth).sum(0), fn=(~pred & truth).sum(0), fp=(pred & ~truth).sum(0))

def tag_outcomes(pred, truth, vocab, # as above
                 width:float=7.,
                ) -> Figure:
    """True positives, false negatives and false positives of each tag as bars of equal length, with their counts.

    The commonest tag comes first; beside its name stands how many chips have it. """
    counts = outcome_counts(pred, truth)
    has = counts['tp'] + counts['fn']
    order = np.argsort(-has, kind='stable')[:100]
    fig = figure(width, .25*len(order) + .8)
    ax = fig.subplots()
    ax.spines[:].set_visible(False)
    whole = np.maximum(sum(counts.values())[order], 1)
    left, right = np.zeros(len(order)), 0
    outcomes = (('tp', GOOD, '✓', 'true positive'), ('fn', MISSED, '−', 'false negative'),
                ('fp', BAD, '+', 'false positive'))
    for key, colour, mark, label in outcomes:
        share = counts[key][order]/whole
        ax.barh(range(len(order)), share, left=left, color=colour, height=.66, label=f'{mark} {label}')
        left = left + share
        words = [f'{mark} {count:,}' for count in counts[key][order]]
        right += 72*max(map(text_width, words), default=0) + 6
        for y, (count, word) in enumerate(zip(counts[key][order], words)):
            ax.annotate(word, (1, y), xytext=(right, 0), textcoords='offset points', ha='right', va='center',
                        fontsize=9, color=colour if count else QUIET)
    names = [f'{_short(vocab[i], .36*width, 9)}{GAP}{has[i]:,}' for i in order]
    ax.set(yticks=range(len(order)), yticklabels=names, ylim=(len(order)-.4, -.6), xlim=(0, 1), xticks=[])
    ax.tick_params(axis='y', length=0, labelsize=9)
    fig.legend(frameon=False, loc='outside lower center', ncols=3, fontsize=8, handlelength=.9, columnspacing=.9,
               handletextpad=.5)
    return fig

def _panels(truth, vocab, width, title, x, y=''):
    "Axes for each tag that a chip has, the commonest first, as (axes, column); `title(column)` is a second line."
    has = truth.sum(0)
    order = [i for i in np.argsort(-has, kind='stable') if has[i]][:PANELS]
    columns = min(max(int(width/1.3), 1), max(len(order), 1))
    rows = -(-max(len(order), 1)//columns)
    fig = figure(width, 1.45*rows + .8)
    axes = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax in axes[len(order):]: ax.set_axis_off()
    for n, (ax, i) in enumerate(zip(axes, order)):
        plain_axes(ax).set(xlim=(0, 1), ylim=(0, 1.03), xticks=[0, .5, 1], yticks=[0, .5, 1])
        ax.set_title(f'{_short(vocab[i], width/columns - .2, 8)}\n{title(i)}', fontsize=7.5, loc='left')
        ax.tick_params(labelsize=8, labelbottom=n + columns >= len(order))
        if n + columns >= len(order): ax.set_xlabel(x, fontsize=8)
        if y and n % columns == 0: ax.set_ylabel(y, fontsize=8)
    return fig, list(zip(axes, order))

def _thinned(points, most=150): # more are not seen, and weigh in a file
    return points if len(points) <= most else points[np.unique(np.linspace(0, len(points)-1, most).astype(int))]

def precision_recall_curves(probs, truth, vocab, # as above
                            pred=None, # decisions, to mark where they lie on the curves
                            width:float=9.,
                           ) -> Figure:
    "Precision-recall curve of each tag with its average precision; a grey line at the share of chips with the tag."
    from sklearn.metrics import average_precision_score, precision_recall_curve
    probs, truth = _array(probs), _array(truth).astype(bool)
    counts = None if pred is None else outcome_counts(pred, truth)
    def title(i): return f'AP {average_precision_score(truth[:, i], probs[:, i]):.2f} ({truth[:, i].sum():,})'
    fig, panels = _panels(truth, vocab, width, title, 'recall', 'precision')
    for ax, i in panels:
        precision, recall, _ = precision_recall_curve(truth[:, i], probs[:, i])
        at = slice(np.flatnonzero(recall == 1)[-1], None) # from there on fewer chips have the tag
        # the last point, precision 1 at recall 0, belongs to no threshold
        precision, recall = np.append(precision[at][:-1], precision[-2]), recall[at]
        precision, recall = _thinned(np.column_stack([precision, recall])).T
        ax.axhline(truth[:, i].mean(), color=QUIET, ls=':', lw=1, label='share of chips with the tag')
        ax.step(recall, precision, where='post', color=BLUE, lw=1.5, label='precision by recall')
        if counts is not None and (chosen := counts['tp'][i] + counts['fp'][i]):
            ax.plot(counts['tp'][i]/truth[:, i].sum(), counts['tp'][i]/chosen, 'o', color='black', ms=5,
                    clip_on=False, label='the decision rule')
    return _shared_legend(fig, panels)

def _shared_legend(fig, panels):
    seen = {}
    for ax, _ in panels: seen |= dict(zip(*reversed(ax.get_legend_handles_labels())))
    fig.legend(seen.values(), seen.keys(), frameon=False, loc='outside lower center', fontsize=8,
               ncols=4 if fig.get_figwidth() > 6 else 2, columnspacing=1)
    return fig

def threshold_curves(probs, truth, vocab, # as above
                     thresh=None, # one number or one for each tag, to mark
                     width:float=9.,
                    ) -> Figure:
    "F2, precision and recall of each tag at every decision threshold, with the threshold of the highest F2."
    probs, truth = _array(probs).astype(float), _array(truth).astype(bool)
    at = np.linspace(0, 1, 101)
    scores, marked = {}, None if thresh is None else np.broadcast_to(np.asarray(thresh, float), len(vocab))
    for i in np.flatnonzero(truth.any(0)):
        def above(p): return len(p) - np.searchsorted(np.sort(p), at, side='right')
        tp, chosen, has = above(probs[truth[:, i], i]), above(probs[:, i]), truth[:, i].sum()
        scores[i] = 5*tp/(4*has + chosen), np.where(chosen, tp/np.maximum(chosen, 1), np.nan), tp/has
    fig, panels = _panels(truth, vocab, width,
                          lambda i: f'F2 {scores[i][0].max():.2f} at {at[scores[i][0].argmax()]:.2f}', 'threshold')
    for ax, i in panels:
        f2, precision, recall = scores[i]
        ax.plot(at, precision, color=QUIET, lw=1, label='precision')
        ax.plot(at, recall, color=QUIET, lw=1, ls='--', label='recall')
        ax.plot(at, f2, color=BLUE, lw=1.5, label='F2')
        ax.plot(at[f2.argmax()], f2.max(), 'o', color=BLUE, ms=4)
        if marked is not None: ax.axvline(marked[i], color='black', ls=':', label='the decision rule')
    return _shared_legend(fig, panels)

# ---- calibration

def _pooled(probs, truth, bins):
    "Reliability of all decisions together: predicted and observed frequency of each bin that has any, and counts."
    table = reliability(probs, truth, range(probs.shape[1]), bins)
    sums = table.assign(predicted=table.predicted*table['count'], observed=table.observed*table['count'])
    sums = sums.groupby('bin')[['count', 'predicted', 'observed']].sum()
    return sums.predicted/sums['count'], sums.observed/sums['count'], sums['count']

def _wilson(share, n, z=1.96):
    "95 % interval of a frequency: its lower and upper end."
    middle, half = share + z*z/(2*n), z*np.sqrt(share*(1-share)/n + z*z/(4*n*n))
    return [(middle + side*half)/(1 + z*z/n) for side in (-1, 1)]

def reliability_diagram(probs, truth, # as above
                        groups=None, # `(chips,)` equal for duplicates and chips of one scene: never in two folds
                        folds:int=5, bins:int=10, width:float=6.4,
                       ) -> Figure:
    """Reliability diagram of all tags together, before and after cross-fitted Platt scaling, with the counts below.

    Each chip's probabilities are calibrated by a fit on the other folds. The calibration error in the legend is the
    mean of the tags'. A thin line is the 95 % interval of a frequency (Wilson's, as if decisions were independent). """
    probs, truth = torch.as_tensor(_array(probs)).float(), torch.as_tensor(_array(truth)) > .5
    after = crossfit_calibrate(probs, truth, folds=folds, groups=groups)
    fig = figure(width, min(width, 5) + .9)
    top, low = fig.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    plain_axes(top).plot([0, 1], [0, 1], color=QUIET, ls=':', lw=1, label='perfectly calibrated')
    plain_axes(low)
    for shift, (label, p, colour, mark) in enumerate([('as predicted', probs, BLUE, 'o-'),
                                                      ('after Platt scaling', after, PURPLE, 's--')]):
        predicted, observed, count = _pooled(p, truth, bins)
        error = calibration_error(p, truth).mean()
        top.plot(predicted, observed, mark, color=colour, ms=5, label=f'{label}: error {error:.3f}')
        top.vlines(predicted, *_wilson(observed, count), color=colour, lw=1, alpha=.5)
        low.bar((count.index + .3 + .4*shift)/bins, count, width=.36/bins, color=colour)
    top.set(xlim=(0, 1), ylim=(0, 1.02), ylabel='observed frequency')
    low.set(yscale='log', xlabel='probability', ylabel='decisions', ylim=(.8, None))
    low.yaxis.set_major_formatter(lambda x, _: f'{x:,.0f}')
    low.yaxis.set_minor_formatter('')
    fig.legend(*top.get_legend_handles_labels(), frameon=False, fontsize=9, loc='outside lower center')
    return fig

# ---- confusion

def missed_and_predicted(pred, truth): # `(tags, tags)` counts
    "On how many chips the row's tag is a false negative where the column's tag is a false positive."
    pred, truth = _array(pred).astype(bool), _array(truth).astype(bool)
    return (truth & ~pred).T.astype(int) @ (pred & ~truth).astype(int)

def confused_tags(pred, truth, vocab, # as above
                  width:float=6.4,
                  most:int=None, # rows, and columns; by default as many as there is room for
                 ) -> Figure:
    "Confusion between tags: which tag is predicted where which is missed, in chips, with each row's misses."
    counts, missed, most = missed_and_predicted(pred, truth), outcome_counts(pred, truth)['fn'], most or int(2*width)
    rows, columns = ([i for i in np.argsort(-counts.sum(axis), kind='stable') if counts.sum(axis)[i]][:most]
                     for axis in (1, 0))
    names = [_short(vocab[j], .34*width, 9) for j in columns]
    fig = figure(width, .3*len(rows) + .75*max(map(text_width, names), default=1) + .8)
    ax = fig.subplots()
    ax.spines[:].set_visible(False)
    highest = max(counts.max(), 1)
    for y, i in enumerate(rows):
        for x, j in enumerate(columns):
            n = counts[i, j]
            colour = to_rgba(BLUE, .08 + .52*n/highest) if n else to_rgba(QUIET, .06)
            ax.add_patch(Rectangle((x-.47, y-.47), .94, .94, color=colour, lw=0))
            if n: ax.text(x, y, f'{n:,}', ha='center', va='center', fontsize=8)
    ax.set(yticks=range(len(rows)), yticklabels=[f'− {_short(vocab[i], .34*width, 9)}{GAP}{missed[i]:,}' for i in rows],
           xlim=(-.5, max(len(columns), 1)-.5), ylim=(max(len(rows), 1)-.5, -.5))
    ax.set_xticks(range(len(columns)), [f'+ {name}' for name in names], rotation=45, ha='left',
                  rotation_mode='anchor')
    ax.tick_params(length=0, labeltop=True, labelbottom=False, labelsize=9)
    for label in ax.get_yticklabels(): label.set_color(MISSED)
    for label in ax.get_xticklabels(): label.set_color(BAD)
    return fig
