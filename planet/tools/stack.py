"`planet-runs stack`: combine runs by per-tag ridge regression on their out-of-fold probabilities."
from planet.cli import UserError, say
from planet.options import check_options
from planet.records import OUT_OF_FOLD, find_runs
from planet.tools.text_table import interval, number, paragraph, table

__all__ = ['stack_runs']

def out_of_fold(record): # -> its result
    "The out-of-fold result of a run; `UserError` where it has none."
    if not record.facts.get('out_of_fold'):
        ended = 'its folds are not all done' if record.facts.get('folds') else (
            'its validation chips were scored by one model, and the others were trained on')
        raise UserError(f'{record.path} has no out-of-fold probabilities: {ended}; '
                        'experiments/planet_kfold.py gives all chips such')
    return record.result()

def same_chips(records, results):
    "Each run's probabilities and groups in the order of the first; `UserError` where the runs are of different chips."
    first, names = results[0], {name: row for row, name in enumerate(results[0].names)}
    for record, r in zip(records[1:], results[1:]):
        def differ(why, record=record):
            return UserError(f'{record.path} and {records[0].path} are of different chips: {why}; a stack needs runs '
                             'on the same ones')
        if odd := sorted({*r.vocab} ^ {*first.vocab}): raise differ(f"tags such as {odd[0]} are not in both")
        if odd := sorted({*r.names} ^ {*first.names}): raise differ(f"{len(odd):,} are not in both, such as {odd[0]}")
        columns = [r.vocab.index(tag) for tag in first.vocab]
        rows = sorted(range(len(r)), key=lambda row: names[r.names[row]])
        if (odd := (r.truth[rows][:, columns] != first.truth).any(1)).any():
            raise differ(f'{int(odd.sum()):,} have other true tags, such as {first.names[int(odd.int().argmax())]}')
        yield r.probs[rows][:, columns], r.groups and [r.groups[row] for row in rows]

def write_model(run, records, made, stacked):
    "The stack as a model folder, if every run has one that can be joined; why not, where there is none."
    from planet.model_files import find_model, join_models
    try:
        join_models([find_model(r.path) for r in records], run.path/'model', stacked.rule, result=stacked,
                    stacker=made.stacker, warnings=['it stacks the models of several runs; the scores are out of '
                                                    'fold, of stackers that were fitted on other chips'])
    except UserError as e:
        why = f'a stack has one only where each of its runs has one to join ({e})'
        run.update(no_model=why)
        return why
    return ''

def stack_runs(
    runs:list, # folder, name, last or best of each
    out='runs', # where records lie, and the stack's goes
    name:str='', # of the stack
    thresh:float=0.2, # a tag is predicted above this probability
    folds:int=5, seed:int=42, # of the nested cross-validation
):
    "Stack runs, say what that gains over each, and write the stack as a run."
    check_options(dict(thresh=thresh, seed=seed))
    if folds < 2: raise UserError(f'{folds} leaves nothing to fit a stack on: 2 or more', option='folds')
    records = find_runs(runs, out, 'stack')
    from planet.comparison import paired_difference
    from planet.crossval import OutOfFold
    from planet.metrics import best_threshold, bootstrap_interval, crossfit_fbeta
    from planet.report import write_report
    from planet.results import Score
    from planet.rules import AboveThreshold
    from planet.runs import Run
    from planet.stacking import joined_groups, stack
    results = [out_of_fold(r) for r in records]
    first, rule = results[0], AboveThreshold(thresh)
    aligned = [(first.probs, first.groups), *same_chips(records, results)]
    groups = joined_groups([g for _, g in aligned])
    if (most := len(first) if groups is None else len(set(groups))) < max(folds, 3):
        raise UserError(f'{folds} of {most} groups of chips: there must be as many as folds, and three', option='folds')
    probs = [p for p, _ in aligned]
    class Nested(OutOfFold):
        SCORES = OutOfFold.SCORES | dict(f2_nested=Score(OUT_OF_FOLD['f2_nested'], lambda r: nested))
    def result(p): return Nested(p, first.targs, first.names, first.vocab, rule, None, first.targs, groups=groups)
    o = dict(runs=list(map(str, runs)), name=name, thresh=thresh, folds=folds, seed=seed, out=str(out))
    with Run('stack', o) as run:
        made = stack(probs, first.targs, folds, seed, groups)
        nested = float(made.per_chip.mean())
        stacked = result(made.probs)
        rows, mean = [], sum(probs)/len(probs)
        parts = {r.name or r.stamp: p for r, p in zip(records, probs)} | {'mean of them': mean}
        for label, p in parts.items():
            one = crossfit_fbeta(p, first.targs, best_threshold, folds, seed, groups=groups).per_chip
            low, high = bootstrap_interval(made.per_chip, one, groups=groups)
            d = paired_difference(result(p), stacked)
            rows.append(dict(of=label, f2=result(p).f2_per_chip.mean().item(), f2_one=one.mean().item(),
                             gain=nested - one.mean().item(), gain_interval=[low, high], differ=d.differ,
                             gain_at_thresh=d.mean, gain_at_thresh_interval=list(d.interval), warning=d.warning))
        data = {k: v for k, v in records[0].data.items() if k != 'split'}
        run.update(data=data, out_of_fold=True, stack=rows, stacked=[str(r.path) for r in records],
                   stacker=made.stacker.facts() | dict(thresh=made.thresh))
        run.result(stacked)
        without = write_model(run, records, made, stacked)
        run.attempt('report.html', write_report, run.path, None, None, stacked)
    low, high = bootstrap_interval(made.per_chip, groups=groups)
    say(stacked.report(), '', f'stack of {len(runs)} runs, its threshold fitted on other folds: F2 {nested:.4f} '
        f'[{low:.4f}, {high:.4f}]', '')
    say(*table(['stacked', f'>F2 at {thresh:g}', '>one threshold', '!gain of the stack', '>differ on'],
               [[r['of'], number(r['f2']), number(r['f2_one']), f"{r['gain']:+.4f} {interval(r['gain_interval'], '+')}",
                 f"{r['differ']:,}"] for r in rows]))
    for r in rows:
        if r['warning']: say(*paragraph('WARNING', f"{r['of']}: {r['warning']}"))
    if without: say(*paragraph('note', f'there is no model folder: {without}'))
    say('', run.path)
