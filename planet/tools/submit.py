"`planet-tag MODEL --submission FOLDER`: tag the competition's test chips, write, check and perhaps upload the file."
import csv
import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path
from planet.cli import UserError, say
from planet.records import read_record
from planet.submission import ROWS, TestChips, check_submission, sample_names, send, write_submission
from planet.tag_files import check_output

__all__ = ['submit']

def _note(record, facts):
    "Add a submission to a run's record: whole or as it was."
    said = read_record(record.parent).facts
    said['submissions'] = [*said.get('submissions', []), facts]
    part = record.with_name('.record.json')
    part.write_text(json.dumps(said, indent=2, default=str) + '\n', encoding='utf-8')
    part.replace(record)

def submit(tagger, # `Tagger`
           o:dict, # options of `planet-tag`
           tag_images, # `planet.tools.tag.tag_images`
           rows:int=ROWS, # that the competition wants
          ):
    "Build a submission from the competition's folder, check it, and upload it where that was asked for."
    out = check_output(o['out'] or 'submission.csv', o['overwrite'] or o['resume'], o['resume'])
    if out.suffix.lower() != '.csv': raise UserError(f'{out}: a submission is a .csv file', option='out')
    names = sample_names(o['submission'], rows)
    chips, work = TestChips(o['submission'], names), out.with_name(f'{out.stem}-probabilities.csv')
    if not o['resume']: check_output(work, o['overwrite'])
    _, bad, _ = tag_images(tagger, chips, work, o['bs'], o['workers'], o['resume'], given=[o['submission']])
    if bad: raise UserError(f'{bad} test chips cannot be read, so no submission was written: fetch them again')
    weather, exact, counts = tagger.exclusive, bool(tagger.facts['rule'].get('one')), {}
    def pairs():
        with open(work, newline='', encoding='utf-8') as f:
            for row in csv.DictReader(f): yield row['file'], row['tags'].split()
    def check(part): counts.update(check_submission(part, names, tagger.vocab, weather, exact))
    path = write_submission(out, pairs(), check)
    say(f'{len(names):,} rows, checked against the sample submission, in {path}; probabilities in {work}')
    if weather and (other := len(names) - counts.get(1, 0)):
        say(f'{other:,} rows have no weather tag or several, as the decision rule allows')
    if not o['upload']: return None
    found = send(path, o['upload'])
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    facts = dict(time=datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'), message=o['upload'], file=str(path),
                 sha256=digest) | found
    say(f"Kaggle: {found['status']}, public score {found.get('public_score') or '-'}, "
        f"private score {found.get('private_score') or '-'}")
    if (record := tagger.folder.parent/'record.json').is_file(): _note(record, facts)
    return None
