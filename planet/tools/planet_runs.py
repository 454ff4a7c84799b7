"""`planet-runs`: list, show, compare, report, repeat and prune runs. RUN is a run's folder, its name, the beginning of
its folder's name, `last`, or `best`: the one with the highest F2, whatever it was scored on.
"""
from typing import Annotated
from planet.cli import run_command

def list(
    sort:str='time', # time (newest first), f2 or another score, seconds, experiment, arch, name or status
    experiment:str='', # only runs of this experiment; * stands for anything, as in the next three
    status:str='', # only done, running, failed, interrupted, diverged or killed ones
    arch:str='', # only those with this backbone
    name:str='', # only those of this name
    out:str='runs', # where the records are
    json:bool=False, # print JSON
):
    "List runs, newest first, with backbone, status and score."
    from planet.tools.list import list_table
    list_table(out, sort, json, experiment=experiment, status=status, arch=arch, name=name)

def show(
    run:str, # folder, name, last or best
    out:str='runs', # where the records are
    json:bool=False, # print the record as JSON
):
    "Show a run: options, data, code, scores with intervals, tags, files."
    from planet.tools.show import show_run
    show_run(run, out, json)

def compare(
    runs:Annotated[str, dict(nargs='+')], # two or more: folder, name, last or best
    out:str='runs', # where the records are
    json:bool=False, # print JSON
):
    "Compare runs: options that differ, scores, paired score differences."
    from planet.tools.compare import compare_runs
    compare_runs(runs, out, json)

def report(
    run:str, # folder, name, last or best
    out:str='runs', # where the records are
):
    "Write the HTML report of a run into its folder, and print its path."
    from planet.tools.report import report_run
    report_run(run, out)

def rerun(
    run:str, # folder, name, last or best
    out:str='runs', # where the records are
    dry_run:bool=False, # only say what changed since, and the command
    json:bool=False, # print the command and what changed as JSON, and run nothing
):
    "Run the same command again; say what changed before it trains."
    from planet.tools.rerun import rerun_run
    return rerun_run(run, out, dry_run, json)

def prune(
    older_than:float=0, # also runs that are older than so many days
    experiment:str='', # only runs of this experiment; * stands for anything, as in the next three
    status:str='', # only failed, interrupted, diverged, killed or done ones
    arch:str='', # only those with this backbone
    name:str='', # only those of this name
    yes:bool=False, # delete them; without it they are only listed
    out:str='runs', # where the records are
    json:bool=False, # print JSON
):
    "Delete runs that ended early without a checkpoint, and old ones."
    from planet.tools.prune import prune_runs
    prune_runs(out, older_than, yes, json, experiment=experiment, status=status, arch=arch, name=name)

def stack(
    runs:Annotated[str, dict(nargs='+')], # two or more of planet_kfold: folder, name, last or best
    out:str='runs', # where the records are, and the stack's goes
    name:str='', # name of the stack's run
    thresh:float=0.2, # a tag is predicted above this probability
    folds:int=5, # folds of the nested cross-validation
    seed:int=42, # random seed of those folds
):
    "Stack runs: per-tag ridge regression on their out-of-fold probabilities."
    from planet.tools.stack import stack_runs
    stack_runs(runs, out, name, thresh, folds, seed)

def labels(
    run:str, # folder, name, last or best; one of planet_kfold has probabilities of all chips
    out:str='runs', # where the records are
    most:int=100, # number of suspected label errors to list
    to:str='', # the file to write; by default suspects.csv in the run's folder, or TABLE-corrected.csv by the old table
    corrected:str='', # the list of suspects with 1 or 0 in its column corrected: write a corrected label table
):
    "List a run's likeliest label errors, or write a corrected label table."
    from planet.tools.labels import labels_run
    labels_run(run, out, most, to, corrected)

def main():
    "The command `planet-runs`."
    run_command('planet-runs', [list, show, compare, report, stack, labels, rerun, prune], 'nothing else was changed')

if __name__ == '__main__': main()
