"Photographs of pets: the breed from the file's name, presized batches, and what a classifier of them mistakes for what."
from planet.cli import UserError, is_terminal, progress, say # before fastai, whose import it quiets
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
import re
import numpy as np, pandas as pd
from fastai.callback.schedule import valley
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import RandomSplitter, get_image_files
from fastai.vision.augment import Resize, aug_transforms
from fastai.vision.data import ImageBlock
from planet.plots import BAD, GOOD, MISSED, figure, grid, plain_axes
from planet.chips import existing_folder
from planet.images import ChipStore, open_chip

__all__ = ['breed_of', 'is_cat', 'find_pets', 'readable', 'pets_dls', 'suggest_lr', 'fit', 'most_confused',
           'species_scores', 'confusion_figure', 'top_losses']

SOURCES = dict(auto='Oxford-IIIT pets', drawn='pets drawn by code')
NAME = re.compile(r'(.+)_\d+\.(jpe?g|png)$', re.IGNORECASE)

def breed_of(path) -> str:
    "`great_pyrenees` of `images/great_pyrenees_174.jpg`; `UserError` for a name of another form."
    found = NAME.match(Path(path).name)
    if not found: raise UserError(f"{path} is not named BREED_NUMBER.jpg, such as great_pyrenees_174.jpg: rename it, or move it elsewhere")
    return found[1]

def is_cat(breed:str) -> bool:
    "Breeds of cats begin with a capital, those of dogs do not."
    return breed[0].isupper()

def _oxford():
    "The folder of fastai's `URLs.PETS`, from its cache or downloaded."
    from planet.download.fastai_sets import fastai_set
    try: return fastai_set('pets')
    except UserError as e: raise UserError(f"{e} (`planet-data get pets`), or take --data FOLDER or --data drawn") from None

def _short(path): return str(path).replace(str(Path.home()), '~', 1)

def find_pets(data:str='auto', # `auto`: the Oxford-IIIT pets; `drawn`: by code; or a folder of images named `BREED_NUMBER.jpg`
             ) -> list[Path]: # image files, sorted
    "The pictures that `--data` asks for. Raises `UserError` where there are none, or one is misnamed, or all are of one breed."
    if data == 'drawn':
        from planet.synthetic.pets import pets_folder
        try: root = pets_folder()
        except OSError as e: raise UserError(f"--data drawn: pets cannot be drawn into {e.filename} ({e.strerror}): name another folder in $PLANET_CACHE") from None
    else: root = _oxford() if data == 'auto' else Path(data).expanduser()
    root = existing_folder(root, '--data ')
    if (root/'images').is_dir(): root = root/'images' # as the Oxford pets are unpacked
    paths = sorted(get_image_files(root, recurse=False))
    if not paths: raise UserError(f"{root} holds no images: it needs files such as great_pyrenees_174.jpg, named by breed")
    if odd := [p.name for p in paths if not NAME.match(p.name)]:
        raise UserError(f"{root}: {len(odd)} of {len(paths)} images are not named BREED_NUMBER.jpg, such as great_pyrenees_174.jpg: "
                        f"{', '.join(odd[:3])}{' ...' if len(odd)>3 else ''}. Rename them, or move them elsewhere")
    breeds = {breed_of(p) for p in paths}
    if len(breeds) < 2: raise UserError(f"{root}: all {len(paths)} images are of one breed, {', '.join(breeds)}: two are needed at least")
    say(f'data: {len(paths):,} pictures of {len(breeds)} breeds ({sum(map(is_cat, breeds))} of cats), {_short(root)}')
    return paths

def readable(paths:list, # image files
             skip:bool=False, # leave out those that cannot be read, rather than raise?
            ) -> tuple[list, list]: # files that can be read, names of those that cannot
    "Read every file to its end before anything is trained; small, which is quick."
    bad = ChipStore(paths, 32, progress).bad
    if bad and not skip:
        named = '; '.join(f'{p} ({why})' for p, why in list(bad.items())[:3])
        raise UserError(f"{len(bad)} of {len(paths)} pictures cannot be read: {named}{' ...' if len(bad)>3 else ''}. "
                        "Fetch them again, or leave them out with --skip_bad")
    return [p for p in paths if p not in bad], [p.name for p in bad]

def pets_dls(paths:list, # image files named by breed
             size:int=224, # height and width of a picture in a batch, in pixels
             presize:int=460, # and before augmentation
             valid_pct:float=0.2, # share of the pictures that is held out
             seed:int=42, # of the split
             bs:int=64, # pictures in a training batch
             workers:int=0, # processes that load batches; 0: this one
            ) -> DataLoaders: # batches of `(bs, 3, size, size)` floats and `(bs,)` class numbers
    """Single-label batches, presized: each picture is cropped large on the CPU, then turned, warped and scaled once, as a batch.

    The vocab is that of all files, so that a breed may lie in the held-out split alone.
    """
    if presize < size: raise UserError(f"--presize {presize} is smaller than --size {size}: augmentation cuts the picture out of the larger one")
    n_valid = int(valid_pct*len(paths))
    if len(paths)-n_valid < 2 or n_valid < 1: raise UserError(
        f"--valid_pct {valid_pct:g} of {len(paths)} pictures leaves {len(paths)-n_valid} to train on and {n_valid} to score: "
        "two and one are needed at least")
    block = DataBlock(blocks=(ImageBlock, CategoryBlock(vocab=sorted({breed_of(p) for p in paths}))), get_y=breed_of,
                      splitter=RandomSplitter(valid_pct, seed=seed),
                      item_tfms=Resize(presize), batch_tfms=aug_transforms(size=size, min_scale=0.75))
    # a batch larger than the training split would be dropped, and nothing trained
    return block.dataloaders(paths, bs=min(bs, len(paths)-n_valid), val_bs=2*bs, num_workers=workers)

def _quiet(learn): return nullcontext() if is_terminal() else learn.no_logging()

def suggest_lr(learn, # a `Learner`
               num_it:int=100, # batches to try rates on, from 1e-7 up
              ): # the rate suggested, and its figure
    "fastai's `lr_find`: raise the rate from batch to batch until the loss explodes; take one from the long way down (`valley`)."
    with TemporaryDirectory() as tmp, _quiet(learn): # it keeps the weights there meanwhile
        path, learn.path = learn.path, Path(tmp)
        try: lr = learn.lr_find(num_it=num_it, suggest_funcs=(valley,), show_plot=False).valley
        finally: learn.path = path
    fig = figure(6.4, 3.8)
    ax = plain_axes(fig.subplots())
    ax.plot(learn.recorder.lrs[:-1], [l.item() for l in learn.recorder.losses[:len(learn.recorder.lrs)-1]])
    ax.axvline(lr, ls=':', color='#57606a', label=f'suggested: {lr:.2g}')
    ax.set(xscale='log', xlabel='learning rate', ylabel='loss, smoothed', title='lr_find')
    ax.legend(frameon=False)
    return lr, fig

def fit(learn, # from `chip_learner`
        epochs:int, # with all layers
        lr:float, # learning rate of the head
        freeze_epochs:int, # with the head alone, before
       ) -> pd.DataFrame: # a row an epoch
    """The head alone at `lr`; then all layers at discriminative rates, from `lr/200` for the first to `lr/2` for the head.

    Random weights have nothing to keep: from those, all layers learn at `lr` for `freeze_epochs + epochs`.
    """
    with _quiet(learn):
        if learn.weights == 'none': learn.fit_one_cycle(freeze_epochs+epochs, lr)
        else:
            learn.freeze()
            if freeze_epochs: learn.fit_one_cycle(freeze_epochs, lr)
            learn.unfreeze()
            learn.fit_one_cycle(epochs, slice(lr/200, lr/2))
    return learn.history.table

def most_confused(classes:pd.DataFrame, # a row a true breed, a column a predicted one: from `score_classes`
                  n:int=8, # pairs at most
                 ) -> list[tuple]: # `(how often, truth, prediction)`, the most frequent first
    "Which breed was taken for which."
    pairs = [(int(count), truth, pred) for truth, row in classes.iterrows() for pred, count in row.items() if truth != pred and count]
    return sorted(pairs, key=lambda p: (-p[0], p))[:n]

def species_scores(classes:pd.DataFrame, # as in `most_confused`
                  ) -> dict: # `species_accuracy`, and what always answering the commoner species gets
    "How often at least cat or dog is right, whatever the breed."
    cat = np.array([is_cat(b) for b in classes.index])
    counts = classes.to_numpy()
    return dict(species_accuracy=round(float(counts[cat][:, cat].sum() + counts[~cat][:, ~cat].sum())/counts.sum(), 5),
                species_accuracy_baseline=round(float(max(counts[cat].sum(), counts[~cat].sum())/counts.sum()), 5))

def confusion_figure(classes:pd.DataFrame): # as in `most_confused`
    "True breeds down, predicted ones across; each row by its share, so that rare breeds are seen too."
    n = len(classes)
    counts = classes.to_numpy()
    fig = figure(max(4.5, 2.4+.24*n), max(4, 2+.24*n))
    ax = fig.subplots()
    ax.imshow(counts/np.maximum(counts.sum(1, keepdims=True), 1), cmap='Blues', vmin=0, vmax=1)
    for i, j in zip(*counts.nonzero()): ax.text(j, i, counts[i, j], ha='center', va='center', fontsize=8,
                                                color='white' if counts[i, j] > counts[i].sum()/2 else 'black')
    ax.set_xticks(range(n), classes.columns, rotation=90, fontsize=8)
    ax.set_yticks(range(n), classes.index, fontsize=8)
    ax.set(xlabel='predicted', ylabel='true')
    return fig

def top_losses(learn, # trained
               n:int=12, # pictures
              ):
    "The held-out pictures that cost most: what was said and how surely, what it is and how unsurely."
    probs, targs, losses = learn.get_preds(with_loss=True)
    vocab, worst = learn.dls.vocab, losses.argsort(descending=True)[:n].tolist()
    def said(i, c, colour): return f'{vocab[c]} {probs[i, c]:.2f}', colour
    captions = [[said(i, probs[i].argmax(), GOOD)] if probs[i].argmax() == targs[i] else
                [said(i, probs[i].argmax(), BAD), said(i, targs[i], MISSED)] for i in worst]
    pictures = [open_chip(learn.dls.valid_ds.items[i], 192).permute(1, 2, 0).numpy() for i in worst]
    return grid(pictures, captions, columns=4, width=10)
