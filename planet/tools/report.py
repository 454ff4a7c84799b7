"`planet-runs report`: write a run's page, `report.html`."
from planet.cli import say
from planet.records import find_run

__all__ = ['report_run']

def report_run(run, out='runs', # as in `find_run`
              ):
    "Write the HTML report of a run from what lies in its folder, and print its path."
    record = find_run(run, out)
    from planet.report import write_report
    say(write_report(record.path))
