"`planet-runs labels`: the likeliest label errors of a run as a table and a picture; and the corrected label table."
from pathlib import Path
from planet.cli import UserError, say
from planet.records import find_run
from planet.tools.text_table import paragraph

__all__ = ['labels_run']

def chips_of(record): # -> `Chips`
    "The chips that a run was made with, read from their folder; `UserError` where they are not there any more."
    from planet.chips import from_folder
    return from_folder(label_table(record), label_delim=record.options.get('label_delim') or '')

def label_table(record): # -> the folder of the chips, or the table that the run was given
    "Where the labels of a run are; `UserError` where its record does not say it."
    given, folder = str(record.options.get('data') or ''), record.data.get('folder')
    if Path(given).expanduser().is_file(): return given
    if not folder: raise UserError(f"{record.path}: its record does not say where the chips are")
    return folder

def draw_suspects(suspects, chips, path, shown=24):
    "A sheet of the first suspects: each chip with the label that is in doubt."
    from planet.figures import BAD, MISSED, QUIET, as_array
    from planet.images import open_chip
    from planet.plots import grid
    files = dict(zip(chips.table.image_name, chips.paths))
    pixels, captions = [], []
    for row in suspects.head(shown).itertuples():
        try: pixels.append(as_array(open_chip(files[row.image_name], 192, chips.limits)))
        except (KeyError, UserError): continue # gone since
        line = (f'{row.tag} wrong?', BAD) if row.given else (f'{row.tag} missing?', MISSED)
        captions.append([(f'{row.rank}  {row.image_name}', QUIET), line, (f'model: {row.probability:.2f}', QUIET)])
    legend = [('missing? the table does not have the tag', MISSED), ('wrong? the table has it', BAD)]
    grid(pixels, captions, 6, 12., legend).savefig(path)

def labels_run(
    run, # folder, name, last or best
    out='runs', # where records lie
    most:int=100, # suspects to list
    to='', # the file to write
    corrected='', # the table of suspects, filled in
):
    "Write a run's likeliest label errors, or with `corrected` a new label table."
    record = find_run(run, out)
    if corrected: return correct(record, corrected, to)
    from planet.label_errors import suspect_table, write_suspects
    result = record.result()
    if result.targs.ndim == 1: raise UserError(f'{record.path} has one class a chip: name a run of tags')
    if most < 1: raise UserError(f'{most} is too few: 1 or more', option='most')
    suspects = suspect_table(result.probs.numpy(), result.truth.numpy(), result.names, result.vocab, most)
    path = Path(to).expanduser() if to else record.path/'suspects.csv'
    write_suspects(path, suspects)
    sheet = path.with_suffix('.png')
    try: draw_suspects(suspects, chips_of(record), sheet)
    except UserError as e: say(*paragraph('note', f'no picture: {e}'))
    else: say(*paragraph('picture', sheet))
    say(*paragraph('suspects', path))
    if not record.facts.get('out_of_fold'):
        say(*paragraph('note', f'only the {len(result):,} validation chips are ranked; a run of '
                       'experiments/planet_kfold.py ranks all chips'))
    say(*paragraph('next', 'look at the picture, write 1 or 0 into the column corrected where the label is wrong, and '
                   f'give the file back: planet-runs labels {run} --corrected {path}'))

def correct(record, corrected, to):
    "Write the corrected label table beside the old one."
    from planet.label_errors import read_corrections, write_corrected
    chips = chips_of(record)
    found = read_corrections(corrected, chips.table.image_name, chips.vocab)
    if not found: raise UserError(f'{corrected}: its column corrected is empty: write 1 or 0 where a label is wrong',
                                  option='corrected')
    delim = record.options.get('label_delim') or ''
    path, changed = write_corrected(label_table(record), found, to, delim)
    say(*paragraph('labels', path))
    say(*paragraph('changed', f'{changed:,} of {len(found):,} labels that were looked at; the old table is as it was'))
    say(*paragraph('next', f'give {path} as --data, or put it in the place of the old table; it has its names, tags, '
                   'split and groups, and no other columns' + f'; leave --label_delim {delim} out'*bool(delim)))
