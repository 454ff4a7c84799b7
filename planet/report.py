"A run's HTML page: `report.html`, one self-contained file with scores, chips, curves and the options it was run with."
# It is made from the run's folder. A section whose material is gone says what is missing, one that fails says why; the
# rest of the page is there.
from pathlib import Path
import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from planet import page, plots, result_plots
from planet.figures import shown_bands
from planet.gradcam import grad_cam
from planet.grouped import grouped_table
from planet.records import OUT_OF_FOLD
from planet.results import ClassResult, TagsResult
from planet.run_files import Missing, read_run

__all__ = ['SECTIONS', 'write_report']

WIDTH = page.WIDTH # of a figure, in inches
ENDS = dict(running='The run has not ended, or was killed', failed='The run failed',
            interrupted='The run was interrupted', diverged='The training diverged') # what a status means
SHEET, WORST, ERRORS, MAPS = 24, 12, 12, 8 # chips of each section
ALIKE = 'These are drawn from the same chips that were scored: a threshold chosen here looks better than it is.'

def _p(words, kind='note'): return f'<p class="{kind}">{page.text(words)}</p>'

# ---- scores and the decision rule

def score_rows(run) -> list: # (name, label, score, baseline, interval)
    "The scores of a record, under the labels of a printed report; metrics of the learner under their own names."
    scores = run.record.get('scores') or {}
    labels = (ClassResult if run.single else TagsResult).SCORES
    rule = f'{run.thresh:g}' if isinstance(run.thresh, (int, float)) else 'thresholds per tag'
    if run.rule.get('kind') == 'expected': rule = 'the best expected set'
    names = [k for k in labels if k in scores]
    names += [k for k, v in scores.items() if k not in labels and not k.endswith(('_interval', '_baseline'))]
    words = OUT_OF_FOLD | {k: s.label for k, s in labels.items()}
    return [(k, words.get(k, k).format(rule=rule), scores[k], scores.get(f'{k}_baseline'),
             scores.get(f'{k}_interval')) for k in names if scores[k] is None or isinstance(scores[k], (int, float))]

def headline(run) -> str:
    "The first score with its interval, and whether it is above the best constant answer; '' without scores."
    found = [r for r in score_rows(run) if r[2] is not None]
    if not found: return ''
    _, label, value, base, interval = found[0]
    words = f'{label}: {value:.3f}'
    if interval: words += f' (95 % interval {interval[0]:.3f} to {interval[1]:.3f})'
    if len(run.names): words += f' on {run.things}'
    if base is None: return f'{words}.'
    words += f'; the best constant answer has {base:.3f}'
    if not interval: return f'{words}.'
    if interval[0] > base: return f'{words}, below the interval.'
    verdict = 'is worse than' if interval[1] < base else 'has not been shown to be better than'
    return f'{words}. This run {verdict} an answer that never looks at a chip.'

def scores(run):
    "Scores against baselines, with confidence intervals."
    rows = score_rows(run)
    if not rows: raise Missing('the scores in record.json: the run was not evaluated')
    def number(x): return '–' if x is None else f'{x:.4f}'
    table = page.table(['score', 'this run', 'best constant', '95 % interval'],
                       [(label, number(v), number(b), f'{i[0]:.3f} to {i[1]:.3f}' if i else '–')
                        for _, label, v, b, i in rows])
    covers, grouped = run.record.get('statement'), run.record.get('grouped')
    table += f"<div>{_p(covers or '')}{page.table(*grouped_table(grouped)) if grouped else ''}</div>"
    drawn = [r[1:] for r in rows if r[2] is not None and 0 <= r[2] <= 1 and 'loss' not in r[0]]
    if not drawn: return table
    return page.figures((result_plots.score_intervals(drawn, WIDTH), 'Scores with their intervals, and what each has '
                         'to beat. The best constant answer never looks at a chip.'), name='scores', beside=table)

def rule(run):
    "The decision rule in words."
    if run.single: return _p('Each chip gets one class, the one with the highest probability.', '')
    if run.rule.get('kind') == 'expected':
        return _p('Each chip gets the tag set of highest expected F2 by its probabilities'
                  + (', of which exactly one is a weather tag.' if run.rule.get('exclusive') else '.'), '')
    if run.thresh is None: raise Missing('the decision rule in record.json')
    if np.ndim(run.thresh) == 0:
        return _p(f'A tag is predicted where its probability is above {run.thresh:g}: the same threshold for every '
                  'tag. A chip may get several tags, or none.', '')
    each = page.table(['tag', 'threshold'], [(t, f'{x:.3f}') for t, x in zip(run.vocab, run.thresh)])
    return _p('A tag is predicted where its probability is above its own threshold:', '') + each

# ---- chips

LEGEND = ('<ul class="legend"><li class="good">✓ true positive</li><li class="missed">− false negative</li>'
          '<li class="bad">+ false positive</li><li class="quiet">0.93 probability</li></ul>')

def _no_pictures(run, rows): # a note where all pictures are gone
    if any(run.pixels(row) is not None for row in rows[:3]): return ''
    folder = (run.record.get('data') or {}).get('folder', 'their folder')
    return _p(f'The pictures are missing: the chips are no longer in {folder}.', 'missing')

def sheet(run):
    "A random sample of validation chips with their outcomes."
    run.decisions()
    rows = np.sort(np.random.default_rng(42).permutation(len(run.names))[:SHEET])
    false = 'Shown in false colour: near infrared, red and green as red, green and blue.'
    colours = _p(false) if run.bands and run.bands[shown_bands(run.bands)[0]] == 'nir' else ''
    return (_p(f'{len(rows)} of the {run.things}, drawn at random.') + colours + LEGEND + _no_pictures(run, rows)
            + page.cards(run.card(row) for row in rows))

def worst(run):
    "The validation chips with the highest loss."
    losses = run.losses()
    losses, kind = ((losses.sum(1), 'cross-entropy') if run.single else
                    (losses.mean(1), 'binary cross-entropy, averaged over the tags'))
    rows = np.argsort(-losses, kind='stable')[:WORST]
    return (_p(f'The chips with the highest loss: {kind} (all chips: {losses.mean():.3f}).') + LEGEND
            + _no_pictures(run, rows) + page.cards(run.card(row, f'loss {losses[row]:.2f}') for row in rows))

def label_errors(run):
    "Likely label errors: the labels to which the model gives the lowest probability."
    losses, (probs, truth, _) = run.losses(), run.decisions()
    rows = np.argsort(-losses.max(1), kind='stable')[:ERRORS]
    def made(row):
        i = losses[row].argmax()
        if run.single:
            true, likely = truth[row].argmax(), probs[row].argmax()
            words = (f'The table says {run.vocab[true]}, which the model gives {probs[row, true]:.2f}; '
                     f'it gives {run.vocab[likely]} {probs[row, likely]:.2f}')
        else: words = (f'The table says {"" if truth[row, i] else "not "}{run.vocab[i]}; '
                       f'the model gives it {probs[row, i]:.2f}')
        return run.card(row, words, [])
    return (_p('The labels that the model finds least probable, one a chip. Each is a wrong label or a wrong model: '
               'look before a label is changed. For a rare tag a low probability says little.')
            + _no_pictures(run, rows) + page.cards(map(made, rows)))

# ---- curves

def by_tag(run):
    "True positives, false negatives and false positives of each tag, and its precision, recall and F2."
    numbers = ''
    if run.by_tag is not None and 'count' in run.by_tag:
        table = run.by_tag.sort_values('count', ascending=False)
        columns = [c for c in ('precision', 'recall', 'fbeta', 'average_precision') if c in table]
        heads = [dict(fbeta='F2', average_precision='AP').get(c, c) for c in columns]
        rows = [(tag, f"{int(r['count']):,}", *(f'{r[c]:.2f}' if r['count'] else '–' for c in columns))
                for tag, r in table.iterrows()]
        numbers = page.table(['tag', 'chips', *heads], rows)
    try: _, truth, pred = run.decisions()
    except Missing:
        if not numbers: raise
        return numbers
    return page.figures((result_plots.tag_outcomes(pred, truth, run.vocab, WIDTH), 'Each tag\'s chips: found, missed '
                          'and wrongly given it. The number beside a name is how many validation chips have the tag.'),
                        name='outcomes', beside=numbers)

def curves(run):
    "Precision-recall and threshold curves, of all tags together and of each."
    probs, truth, pred = run.decisions()
    drawn = [] if run.single else [(plots.score_against_threshold(
        torch.tensor(probs).float(), torch.tensor(truth), run.thresh if np.ndim(run.thresh) == 0 else None,
        (run.record.get('scores') or {}).get('f2_baseline'), WIDTH), 'F2 and accuracy at one threshold for all tags.')]
    drawn += [(result_plots.precision_recall_curves(probs, truth, run.vocab, pred, WIDTH), 'Precision and recall of '
               'each tag, with its average precision (AP) and how many chips have it. Up and right is better.'),
              (result_plots.threshold_curves(probs, truth, run.vocab, run.thresh, WIDTH), 'F2, precision and recall of '
               'each tag by its threshold, with the highest F2 and where it lies.')]
    unseen = [t for t, n in zip(run.vocab, truth.sum(0)) if not n]
    note = _p(f"No validation chip has {', '.join(unseen)}: no curve.") if unseen else ''
    return _p(ALIKE) + page.figures(*drawn, name='curves') + note

def calibration(run):
    "Calibration before and after cross-fitted Platt scaling."
    probs, truth, _ = run.decisions()
    if len(set(run.groups or range(len(probs)))) < 20:
        raise Missing(f'enough chips: {len(probs)} are too few to fit a calibration on the others')
    drawn = result_plots.reliability_diagram(probs, truth, run.groups, width=WIDTH)
    return page.figures((drawn, 'Of all decisions to which about this probability was given, how many were true. Platt '
                         'scaling is fitted on other chips than it is shown on (5 folds). Below: how many decisions '
                         'there are.'), name='calibration')

def confusion(run):
    "Which tag is predicted where which is missed."
    _, truth, pred = run.decisions()
    counts = result_plots.missed_and_predicted(pred, truth)
    if not counts.any(): return _p('On no chip is one tag missed and another predicted in its place.', '')
    i, j = np.unravel_index(counts.argmax(), counts.shape)
    words = (f'Most often {run.vocab[j]} is predicted where {run.vocab[i]} is missed: on {counts[i, j]:,} '
             f'chip{"" if counts[i, j] == 1 else "s"}. A row\'s number is how often its tag is missed at all.')
    return page.figures((result_plots.confused_tags(pred, truth, run.vocab, WIDTH), words), name='confusion')

def learning(run):
    "Learning curves."
    if run.history is None or not len(run.history): raise Missing('history.csv, the losses of each epoch')
    note = 'A dotted line where training of the whole network begins.'
    return page.figures(*((plots.loss_curves(run.history, width=WIDTH, show=[part]), f'{words} by epoch. {note}')
                          for part, words in (('loss', 'Loss'), ('scores', 'Scores'))), name='learning')

# ---- Grad-CAM

def _to_explain(run, most=MAPS): # (row, column) of each
    "Of each tag, the commonest first, the chips to which it was given with the highest probability, in turns."
    probs, truth, pred = run.decisions()
    taken, left = {}, list(np.argsort(-truth.sum(0), kind='stable'))
    while left and len(taken) < most:
        for i in [*left]:
            rows = [row for row in np.argsort(-probs[:, i], kind='stable') if pred[row, i] and row not in taken]
            if not rows: left.remove(i)
            elif len(taken) < most: taken[rows[0]] = i
    return list(taken.items())

def overlay(pixels, # `(height, width, 3)` uint8
            heat, # `(rows, columns)` between 0 and 1
           ): # the same shape as `pixels`
    "A grey chip under a map: nothing where the map is 0, through violet to yellow where it is 1."
    height, width = pixels.shape[:2]
    heat = Image.fromarray(np.asarray(heat*255, dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    heat = np.asarray(heat, float)/255
    grey = pixels if pixels.ndim == 2 else pixels.mean(2)
    grey, colour, alpha = np.stack([grey]*3, 2), colormaps['plasma'](heat)[..., :3]*255, .75*heat[..., None]**.7
    return ((1-alpha)*grey + alpha*colour).clip(0, 255).astype(np.uint8)

def maps(run):
    "Grad-CAM on a few chips."
    if run.learn is None: raise Missing('the trained learner; `write_report` takes one, such as the run\'s learner.pkl')
    chosen = [(row, i) for row, i in _to_explain(run) if run.pixels(row) is not None]
    if not chosen: raise Missing('a chip that is predicted to have a tag and whose picture can be read')
    rows, columns = zip(*chosen)
    x, = run.learn.dls.test_dl([run.files[run.names[row]] for row in rows], bs=len(rows), num_workers=0).one_batch()[:1]
    model = run.learn.model
    x = x.to(next(model.parameters()))
    found = grad_cam(model, x, columns).numpy()
    made, (probs, truth, _) = [], run.decisions()
    for row, i, heat in zip(rows, columns, found):
        pixels, tag = run.pixels(row), run.vocab[i]
        shown = [page.picture(pixels, run.name(row)), page.picture(overlay(pixels, heat), f'Grad-CAM for {tag}')]
        line = page.outcome('good' if truth[row, i] else 'bad', tag, probs[row, i])
        made.append(page.card(shown, run.name(row), [line], '' if heat.any() else 'nothing in the chip speaks for it'))
    side = ' by '.join(map(str, found.shape[1:]))
    return (_p(f'What an output depends on: the right picture is yellow where the chip speaks most for the tag, and '
               f'grey where it does not. Maps have {side} cells.') + page.cards(made, wide=True))

# ---- options and environment

def _plain(value):
    if isinstance(value, dict): return ', '.join(f'{k} {_plain(v)}' for k, v in value.items()) or '–'
    if isinstance(value, (list, tuple)): return ', '.join(map(_plain, value)) or '–'
    return '–' if value in (None, '') else str(value)

def _facts(found): return page.table(['', ''], [(k.replace('_', ' '), _plain(v)) for k, v in found.items()], 'facts')

def options(run):
    "The command and the options of the run."
    command = run.record.get('command')
    command = ' '.join(map(str, command)) if isinstance(command, list) else command
    shown = f'<pre>{page.text(command)}</pre>' if command else ''
    return shown + _facts(run.record.get('options') or {})

def environment(run):
    "Data, device, weights, versions and times."
    skipped = 'experiment', 'name', 'status', 'command', 'options', 'scores', 'rule', 'warnings', 'error', 'grouped'
    data = {k if k in ('train', 'valid') else f'data {k}': v for k, v in (run.record.get('data') or {}).items()}
    return _facts({k: v for k, v in run.record.items() if k not in (*skipped, 'data')} | data)

SECTIONS = [('scores', 'Scores', scores), ('rule', 'Decision rule', rule), ('chips', 'Validation chips', sheet),
            ('worst', 'Worst chips', worst), ('tags', 'By tag', by_tag),
            ('curves', 'Precision, recall and thresholds', curves), ('calibration', 'Calibration', calibration),
            ('confusion', 'Confusion between tags', confusion),
            ('maps', 'Grad-CAM', maps), ('learning', 'Learning curves', learning),
            ('labels', 'Likely label errors', label_errors), ('options', 'Options', options),
            ('environment', 'Environment', environment)] # (name, title, function of `RunFiles` that gives HTML)

def _section(run, made):
    try: return made(run)
    except Missing as e: return _p(f'Not shown. Missing: {e}.', 'missing')
    except Exception as e: # one section is not worth the page
        return _p(f"Could not be made ({type(e).__name__}: {' '.join(str(e).split())[:300]}).", 'missing')

def _head(run, at_end):
    record = run.record
    name = record.get('name') or run.folder.resolve().name
    title = f"{record.get('experiment', 'run')}: {name}"
    head = f'<header><h1>{page.text(title)}</h1>'
    if words := headline(run): head += _p(words, 'headline')
    status, error = record.get('status', 'unknown'), record.get('error')
    said = ENDS.get(status, f'The status of the run is {status}')
    ended = status == 'done' or (status == 'running' and at_end)
    warnings = [] if ended else [f'{said}: {error}' if error else f'{said}.']
    warnings += run.notes + [str(w) for w in record.get('warnings') or []]
    return title, head + ''.join(_p(w, 'warning') for w in warnings) + '</header>'

def write_report(folder, # of a run, with its record.json
                 learn=None, # the trained `Learner`, for Grad-CAM
                 chips=None, # the `Chips` that were scored, for pictures; by default those of the recorded folder
                 result=None, # what `evaluate` gave; by default what the run's tables hold
                ) -> Path: # the page
    "Write a run's page, `report.html` in its folder, from what is there; `UserError` where there is no record."
    run = read_run(folder, learn, chips, result)
    title, head = _head(run, result is not None) # a run whose result is at hand is about to end
    said = dict(tags='By class', confusion='Confusion between classes') if run.single else {}
    whole = page.document(title, head, [(name, said.get(name, words), _section(run, made))
                                        for name, words, made in SECTIONS],
                          halves=('calibration', 'confusion', 'options', 'environment'))
    path, part = run.folder/'report.html', run.folder/'.report.html'
    try:
        part.write_text(whole, encoding='utf-8', errors='replace')
        part.replace(path)
    finally: part.unlink(missing_ok=True)
    return path
