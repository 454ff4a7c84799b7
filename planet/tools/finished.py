"Whether a file of tags is complete already: `resume` has then nothing to do but to say so."
from pathlib import Path
from planet.cli import UserError
from planet.tag_files import read_rows

__all__ = ['missing_rows']

COMPARED = 8 # images that are tagged again, to see that the file is of this model

def _is_whole(path):
    "Whether a file has its name and no newer one was begun beside it."
    path = Path(path)
    return path.exists() and not path.with_name(f'.{path.name}.part').exists()

def _same(tagger, decide, rows, files):
    "Whether the model gives these rows for these files; numbers may differ a little between machines."
    import torch
    probs = tagger.probabilities(torch.stack([tagger.open(file) for file in files]))
    tags = [[t for t, yes in zip(tagger.vocab, row) if yes] for row in decide(probs).tolist()]
    try: told = torch.tensor([[float(by[t]) for t in tagger.vocab] for _, _, by in rows])
    except (KeyError, TypeError, ValueError): return False # other tags, or a row that was cut short
    return torch.allclose(told, probs, rtol=0, atol=.01) and tags == [found for _, found, _ in rows]

def missing_rows(tagger, # `Tagger`
                 inputs, # pairs of name and file
                 path, # file of tags
                 decide=None, # probabilities -> bool decisions; the tagger's rule by default
                ): # how many of the inputs have no row, as they could not be read; `None` where there is no whole file
    "Compare a whole file of tags with its inputs and its model; `UserError` where it is of others."
    if not _is_whole(path): return None
    left, rows, files, n = iter(inputs), [], [], 0
    try:
        for row in read_rows(path):
            file = next((file for name, file in left if name == row[0]), None)
            if file is None: break
            n += 1
            if n <= COMPARED: rows, files = [*rows, row], [*files, file]
        else:
            if not rows or _same(tagger, decide or tagger.decide, rows, files): return len(inputs) - n
    except (ValueError, KeyError, TypeError, AttributeError, OSError, UserError): pass # no such table, or cut short
    raise UserError(f'{path} is complete, and of another model or of other images: `overwrite` it, or name another',
                    option='out')
