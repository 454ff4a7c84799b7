"""Tell the breed of a pet from its photograph: single label, softmax, cross entropy.

    python experiments/pets_resnet34.py
    python experiments/pets_resnet34.py --data drawn --weights none --arch resnet18 --size 64 --presize 96 --bs 32 --epochs 6

The first takes the Oxford-IIIT pets (811 MB, fetched once), which it has not been scored on yet. The second, from random
weights on 240 pets drawn by code, seed 42, got all of 48 held-out ones right (accuracy 1.0; always the commonest breed 0.0625).
"""
from planet.cli import say, script
from planet.options import check_options

@script
def main(
    data:str='auto', # auto (the Oxford-IIIT pets), drawn (by code), or a folder of images named like great_pyrenees_174.jpg
    weights:str='auto', # where the backbone starts: auto, imagenet, none, or a .safetensors or .pth file
    arch:str='resnet34', # backbone, of torchvision or timm
    size:int=224, # height and width of a picture in a batch, in pixels
    presize:int=460, # and before augmentation, which cuts it out of this
    bs:int=64, # pictures in a batch
    epochs:int=3, # epochs with all layers
    freeze_epochs:int=2, # epochs with the head alone, before
    lr:float=None, # learning rate of the head (default: what lr_find suggests)
    valid_pct:float=0.2, # share of the pictures that is held out
    seed:int=42, # of the split, the head and the order of pictures
    workers:int=0, # processes that load batches
    skip_bad:bool=False, # leave out pictures that cannot be read, and record which
    out:str='runs', # where the record goes
):
    "Fine-tune a ResNet to tell breeds of pets, score it on held-out pictures and record the run."
    options = dict(locals())
    check_options({k: v for k, v in options.items() if v is not None})
    # what follows takes seconds to import, so it comes after the options have been looked at
    from fastai.metrics import accuracy
    from fastai.torch_core import set_seed
    from planet import plots
    from planet.course import pets
    from planet.learner import chip_learner, score_classes
    from planet.metrics import bootstrap_interval
    from planet.runs import Run, scores_report

    with Run('pets_resnet34', options, out) as run:
        set_seed(seed, reproducible=True)
        paths, left_out = pets.readable(pets.find_pets(data), skip_bad)
        dls = pets.pets_dls(paths, size, presize, valid_pct, seed, bs, workers)
        learn = chip_learner(dls, arch, weights, metrics=[accuracy], single=True, tta=False)
        run.figure('batch', plots.batch_grid(dls))
        if lr is None:
            lr, figure = pets.suggest_lr(learn)
            run.figure('lr_find', figure)
            say(f'lr_find suggests {lr:.2g}')
        history = pets.fit(learn, epochs, lr, freeze_epochs)
        scores, classes = score_classes(learn)
        right = [truth == pred for truth, row in classes.iterrows() for pred, n in row.items() for _ in range(n)]
        scores |= pets.species_scores(classes) | dict(accuracy_interval=bootstrap_interval(right), lr=lr)

        rows = {'accuracy': 'accuracy', 'cat or dog': 'species_accuracy', 'loss': 'valid_loss'}
        say('', scores_report(scores, rows, f'{len(dls.valid_ds):,} held-out pictures', 'commonest breed'),
            'accuracy: 95 % interval {:.3f} to {:.3f}'.format(*scores['accuracy_interval']), '',
            *[f'{truth} taken for {pred}: {n}' for n, truth, pred in pets.most_confused(classes)] or ['no picture was mistaken'], '')
        run.table('history', history, index=False)
        run.table('classes', classes)
        run.figure('losses', plots.loss_curves(history, 'pictures'))
        run.figure('confusion', pets.confusion_figure(classes))
        run.figure('top_losses', pets.top_losses(learn))
        run.learner(learn)
        run.record(dict(source=pets.SOURCES.get(data, data), folder=str(paths[0].parent), chips=len(paths), vocab=list(dls.vocab), train=len(dls.train_ds),
                        valid=len(dls.valid_ds), left_out=left_out), dls.device, scores, weights_used=learn.weights)
    say(run.path)
