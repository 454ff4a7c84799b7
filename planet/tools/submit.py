"`planet-tag MODEL --submission FOLDER`: tag the competition's test chips, write, check and perhaps upload the file."
import csv
import hashlib
import json
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from planet.amazon import TAGS
from planet.cli import UserError, say, with_flags
from planet.records import read_record
from planet.submission import ROWS, TestChips, check_submission, sample_names, send, write_submission
from planet.tag_files import check_output
from planet.tools.finished import missing_rows

__all__ = ['submit']

def _note(record, facts):
    "Add a submission to a run's record: whole or as it was."
    said = read_record(record.parent).facts
    said['submissions'] = [*said.get('submissions', []), facts]
    part = record.with_name('.record.json')
    part.write_text(json.dumps(said, indent=2, default=str) + '\n', encoding='utf-8')
    part.replace(record)

def _was_finished(tagger, chips, work):
    "Whether an earlier call tagged all chips; `UserError` where its table is not of this model and these chips."
    if (missing := missing_rows(tagger, chips, work)) is None: return False
    if missing: raise UserError(f'{work} lacks {missing:,} test chips, which could not be read: `overwrite` it')
    say(f'{work}: all chips were tagged before')
    return True

def _sent_before(record, digest):
    "What Kaggle said of a file that this run has sent already, or `None`."
    told = read_record(record.parent).facts.get('submissions', []) if record.is_file() else []
    return next((s for s in told[::-1] if s.get('sha256') == digest and s.get('status') == 'complete'), None)

def submit(tagger, # `Tagger`
           o:dict, # options of `planet-tag`
           tag_images, # `planet.tools.tag.tag_images`
           rows:int=ROWS, # that the competition wants
          ):
    "Build a submission from the competition's folder, check it, and upload it where that was asked for."
    out = check_output(o['out'] or 'submission.csv', o['overwrite'] or o['resume'])
    if out.suffix.lower() != '.csv': raise UserError(f'{out}: a submission is a .csv file', option='out')
    if odd := [t for t in tagger.vocab if t not in TAGS]:
        raise UserError(f'this model gives tags that the competition does not have, such as {odd[0]}: take a model '
                        'that was trained on its chips', option='submission')
    names = sample_names(o['submission'], rows)
    chips, work = TestChips(o['submission'], names), out.with_name(f'{out.stem}-probabilities.csv')
    if not o['resume']: check_output(work, o['overwrite'])
    bad = 0
    if not (o['resume'] and _was_finished(tagger, chips, work)):
        _, bad, _ = tag_images(tagger, chips, work, o['bs'], o['workers'], o['resume'], given=[o['submission']])
    if bad: raise UserError(f'{bad} test chips cannot be read, so no submission was written: fetch them again')
    weather, exact, counts = tagger.exclusive, bool(tagger.facts['rule'].get('one')), Counter()
    def pairs():
        with open(work, newline='', encoding='utf-8') as f:
            for row in csv.DictReader(f): yield row['file'], row['tags'].split()
    def check(part): counts.update(check_submission(part, names, tagger.vocab, weather, exact))
    path = write_submission(out, pairs(), check)
    say(f'{len(names):,} rows, checked against the sample submission, in {path}; probabilities in {work}')
    if weather and (other := len(names) - counts.get(1, 0)):
        say(with_flags(f'{other:,} of {len(names):,} rows have not exactly one weather ({counts[0]:,} none, '
                       f'{other - counts[0]:,} several), as the decision rule allows: `one_weather` gives the '
                       'likeliest'))
    if not o['upload']: return None
    digest, record = hashlib.sha256(Path(path).read_bytes()).hexdigest(), tagger.folder.parent/'record.json'
    if o['resume'] and (sent := _sent_before(record, digest)):
        return say(f"{path} was sent before, {sent['time']}: public score {sent.get('public_score') or '-'}")
    found = send(path, o['upload'])
    facts = dict(time=datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'), message=o['upload'], file=str(path),
                 sha256=digest) | found
    say(f"Kaggle: {found['status']}, public score {found.get('public_score') or '-'}, "
        f"private score {found.get('private_score') or '-'}")
    if record.is_file(): _note(record, facts)
    return None
