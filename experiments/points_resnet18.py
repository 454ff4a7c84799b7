"""Regression: predict the centre of a clearing (or of a head), two numbers an image, scored in pixels.

    python experiments/points_resnet18.py

From random weights, on 480 clearings drawn by code, it was 6.2 pixels off on 120 validation chips (of 256 pixels;
median 3.5, 95 % interval of the mean 4.0 to 8.3), 12.6 times closer than always answering the mean point (68.9); 220 s
on two cores of a shared Xeon, seed 42.
"""
from planet.cli import UserError, say, script
from planet.options import check_options

@script
def main(
    data:str='synthetic', # synthetic (clearings drawn by code), biwi (heads), or a folder with points.csv
    n:int=600, # synthetic chips to draw
    weights:str='none', # where the backbone starts: auto, imagenet, none, or a .safetensors or .pth file
    arch:str='resnet18', # backbone, of torchvision or timm
    size:int=64, # height and width the network takes, in pixels
    bs:int=32, # images in a batch
    epochs:int=20, # epochs with all layers
    freeze_epochs:int=0, # epochs with the head alone, before; only with pretrained weights
    lr:float=3e-3, # top learning rate of the one-cycle schedule
    flips:str='auto', # dihedral (chips), lr (heads) or none; each moves the point with the image
    valid_pct:float=0.2, # share of the images in the validation set; of BIWI it is person 13
    seed:int=42, # of the chips, the split, the head and the order
    workers:int=0, # processes that load batches
    out:str='runs', # where the record goes
):
    "Train a ResNet to predict the centre of a clearing, say how many pixels it is off, and record the run."
    options = dict(locals())
    check_options(options)
    if n < 5: raise UserError(f'{n} is too few: five chips at least are needed', option='n')
    # what follows takes seconds to import, so it comes after the options have been checked
    from fastai.torch_core import set_seed
    from planet import plots
    from planet.course import points as pts, regression as reg
    from planet.runs import Run

    with Run('points_resnet18', options) as run:
        set_seed(seed, reproducible=True)
        points = pts.find_points(data, n, valid_pct, seed)
        images, sizes = pts.load_images(points, size)
        dls = reg.points_dls(points, images, sizes, flips, bs, workers)
        learn = reg.point_learner(dls, sizes, arch, weights)
        run.begin(learn, points)
        run.figure('batch', reg.points_batch, dls)
        history = reg.fit_points(learn, epochs, lr, freeze_epochs)
        scores, table = reg.score_points(learn, points, sizes)

        run.table('points', table, index=False)
        run.table('history', history, index=False)
        run.update(scores=scores)
        run.learner(learn)
        run.figure('losses', plots.loss_curves, history, 'images')
        run.figure('errors', reg.errors_plot, table)
        run.figure('predictions', reg.predictions_grid, images, sizes, table)
        say('', reg.points_report(scores, len(table), sizes.mean(0)), '', run.path)
