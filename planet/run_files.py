"What there is of a run, read from its folder: record, tables, decisions, and the files of its chips."
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
import pandas as pd
from planet import page
from planet.bands import recorded_bands
from planet.chips import from_folder
from planet.cli import UserError
from planet.figures import as_array
from planet.images import open_chip
from planet.records import read_record

__all__ = ['Missing', 'RunFiles', 'read_run']

SIZE = 192 # of a picture, in pixels

class Missing(Exception):
    "What a section needs is not there."

@dataclass
class RunFiles:
    "What there is of a run: its record, tables, decisions, and perhaps its chips and learner."
    folder:Path
    record:dict
    history:pd.DataFrame = None
    by_tag:pd.DataFrame = None # precision, recall and F2 of each tag
    names:list = field(default_factory=list) # of the validation chips
    vocab:list = field(default_factory=list)
    probs:np.ndarray = None # `(chips, tags)`
    truth:np.ndarray = None # the same shape, bool: a single label is one of the tags
    single:bool = False # one label a chip?
    groups:list = None # of each chip: equal for duplicates and chips of one scene
    files:dict = field(default_factory=dict) # name -> image file
    limits:list = None # of the images, as `open_chip` takes them
    bands:list = None # of the images, as `Chips` names them
    learn:object = None # trained
    notes:list = field(default_factory=list) # what a reader should know of these files

    @property
    def rule(self): return self.record.get('rule') or {}
    @property
    def thresh(self): return self.rule.get('thresh')
    @property
    def things(self): return f'{len(self.names):,} validation chips'

    @property
    def pred(self): # `(chips, tags)`, bool
        "What the decision rule decides."
        if self.probs is None: raise Missing('validation.csv, the table of probabilities')
        if self.single: return np.arange(len(self.vocab)) == self.probs.argmax(1)[:, None]
        if not self.rule.get('kind'): raise Missing('the decision rule in record.json')
        if self.rule['kind'] == 'expected': # the only one that wants torch
            import torch
            from planet.rules import rule_of
            return rule_of(self.rule)(torch.from_numpy(self.probs)).numpy()
        return self.probs > np.asarray(self.thresh)

    def decisions(self): # probs, truth, pred
        "Probabilities, true tags and decisions; raises `Missing` where one is not there."
        pred = self.pred
        if self.truth is None: raise Missing('targets.csv, the true tags of the validation chips')
        return self.probs, self.truth, pred

    def losses(self): # `(chips, tags)`
        "Binary cross-entropy of each tag on each chip; of a single label the cross-entropy, 0 for the other classes."
        probs, truth, _ = self.decisions()
        right = np.where(truth, probs, 1 if self.single else 1-probs)
        return -np.log(np.clip(right, 1e-7, 1))

    def pixels(self, row):
        "A chip's picture, or `None` where it cannot be read."
        try: return as_array(open_chip(self.files[self.names[row]], SIZE, self.limits), self.bands)
        except Exception: return None # gone or broken: the page says which

    def card(self, row, note='', lines=None):
        "A chip with its true positives, false negatives and false positives."
        pixels = self.pixels(row)
        shown = '<div class="gone">picture missing</div>' if pixels is None else page.picture(pixels, self.names[row])
        return page.card([shown], self.name(row), self.outcomes(row) if lines is None else lines, note)

    def name(self, row):
        file = self.files.get(self.names[row])
        return file.name if file else self.names[row]

    def outcomes(self, row):
        "The lines of a chip's card: true positives, false negatives, false positives, likeliest first."
        probs, truth, pred = self.decisions()
        order = np.argsort(-probs[row], kind='stable')
        for kind, hit in (('good', truth & pred), ('missed', truth & ~pred), ('bad', pred & ~truth)):
            for i in order:
                if hit[row, i]: yield page.outcome(kind, self.vocab[i], probs[row, i])

# ---- reading

def _table(path, **kwargs):
    if not path.is_file(): return None
    try: return pd.read_csv(path, **kwargs)
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError): return None # empty or cut off

def _checked(run, name, read, *args):
    "A table of a run, or `None`; what is wrong with one that is there is noted."
    try: return read(*args)
    except UserError as e:
        if (run.folder/name).is_file(): run.notes.append(str(e))

def read_run(folder, # of a run
             learn=None, chips=None, result=None, # what is still in memory, as for `write_report`
            ) -> RunFiles:
    "Read what there is of a run from its folder; raises `UserError` where that has no readable record."
    record = read_record(folder)
    facts = record.facts
    scores = ('count', 'precision', 'recall', 'fbeta', 'average_precision', 'best_thresh')
    run = RunFiles(record.path, facts, _table(record.path/'history.csv'),
                   _table(record.path/'tags.csv', index_col='tag', keep_default_na=False,
                          na_values=dict.fromkeys(scores, ['', 'nan'])),
                   single=(facts.get('rule') or {}).get('kind') == 'argmax', learn=learn)
    if result is not None:
        run.names, run.vocab, run.probs = result.names, result.vocab, np.asarray(result.probs.detach().cpu().float())
        targs, run.groups = np.asarray(result.targs.cpu()), result.groups
    elif (probs := _checked(run, 'validation.csv', record.probabilities)) is not None:
        run.names, run.vocab = probs.image_name.tolist(), list(probs.columns.drop('image_name'))
        run.probs = np.array(probs[run.vocab]) # writable, which torch asks for
        targs = _checked(run, 'targets.csv', record.targets, run.names, run.vocab)
        run.groups = record.groups(run.names)
    if run.names and targs is not None:
        run.truth = targs > .5 if targs.ndim == 2 else targs[:, None] == np.arange(len(run.vocab))
    _find_pictures(run, chips)
    return run

def _find_pictures(run, chips):
    "The image files of the validation chips, and their tags where the run's folder has none."
    data, options = run.record.get('data') or {}, run.record.get('options') or {}
    if chips is None and data.get('folder'):
        try: chips = recorded_bands(from_folder(data['folder'], label_delim=options.get('label_delim') or ''), data)
        except Exception: return # moved or deleted: sections say so
    if chips is None: return
    run.files = dict(zip(map(str, chips.table.image_name), chips.paths))
    run.limits, run.bands = chips.limits, chips.bands
    if run.truth is None and run.probs is not None and set(run.vocab) <= set(chips.vocab):
        rows = {str(name): i for i, name in enumerate(chips.table.image_name)}
        if not set(run.names) <= set(rows): return
        columns = [chips.vocab.index(tag) for tag in run.vocab]
        run.notes.append("The run has no readable targets.csv: the true tags are those of the chips' table today.")
        run.truth = chips.targets[[rows[name] for name in run.names]][:, columns]
