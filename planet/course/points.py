"""Images with one point each: where they come from, batches whose flips move the point too, a learner, its score in pixels.

What `points_resnet18.py` and its notebook share. A point is `(x, y)` in pixels of its own image, from the left and from
the top; a network sees it between -1 and 1.
"""
from planet.cli import UserError, is_terminal, progress, say # before fastai, whose import it quiets
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import os
import numpy as np, pandas as pd, torch
from fastai.data.block import DataBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import IndexSplitter
from fastai.learner import Learner
from fastai.losses import MSELossFlat
from fastai.vision.augment import DihedralItem, FlipItem
from fastai.vision.core import PILImage
from fastai.vision.data import ImageBlock, PointBlock
from fasttransform import Transform
from PIL import Image
from planet.learner import chip_learner, fine_tune
from planet.metrics import bootstrap_interval
from planet.plots import as_array, figure, grid, plain_axes
from planet.chips import existing_folder

__all__ = ['Points', 'find_points', 'from_table', 'from_biwi', 'biwi_centre', 'load_images', 'points_dls', 'point_learner',
           'moving', 'mean_point', 'fit_points', 'pixel_error', 'pixels', 'score_points', 'points_report',
           'points_grid', 'batch_grid', 'predictions_grid', 'errors_plot']

# ---- where points come from

@dataclass
class Points:
    "Images with one point each."
    table: pd.DataFrame # a row an image: `path`, `x`, `y` in pixels of that image, `valid` (held out?)
    source: str # what they are, in a few words
    root: Path # the folder they lie in
    turns: str = 'none' # what leaves such an image plausible: `dihedral` (seen from above), `lr` (mirrored) or `none`
    def __len__(self): return len(self.table)

def _split(n, valid_pct, seed):
    held = int(valid_pct*n)
    if held < 1 or n-held < 2: raise UserError(f"--valid_pct {valid_pct:g} of {n} images leaves {n-held} to train on and {held} to score: "
                                               "two and one are needed at least")
    valid = np.zeros(n, bool)
    valid[np.random.default_rng(seed).permutation(n)[:held]] = True
    return valid

def from_table(root, # a folder with `points.csv` (columns `image_name,x,y`, in pixels) and its images
               valid_pct:float=.2, seed:int=42, # of the split
               source:str=None, turns:str='none',
              ) -> Points:
    "Points from a folder of anybody's; `UserError` where the table lacks a column, a number or an image."
    root = Path(root)
    path = root/'points.csv'
    try: table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError: raise UserError(f"{path} is empty: it needs the columns image_name,x,y and a row an image") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as e: raise UserError(f"{path} is no table of comma-separated values: {e}") from None
    if missing := [c for c in ('image_name', 'x', 'y') if c not in table]:
        raise UserError(f"{path} has no column {' and no column '.join(missing)} (it has {', '.join(table.columns)}): name its columns image_name,x,y")
    table['path'] = [root/name for name in table.image_name]
    if lost := [str(p) for p in table.path if not p.is_file()]: raise UserError(f"{len(lost)} of {len(table)} images in {path} are missing, such as {lost[0]}")
    for c in 'xy':
        number = pd.to_numeric(table[c], errors='coerce')
        if not (good := np.isfinite(number.to_numpy(float))).all():
            row = table[~good].iloc[0]
            raise UserError(f"{path}: {c} of {row.image_name} is {row[c]!r}, and should be a number of pixels")
        table[c] = number.astype(float)
    return Points(table[['path', 'x', 'y']].assign(valid=_split(len(table), valid_pct, seed)), source or str(root), root, turns)

BIWI_PERSON = '13' # whom the course holds out

def _numbers(path, *shape):
    "The first numbers of a BIWI file as an array of `shape`."
    try: return np.array(path.read_text().split()[:int(np.prod(shape))], float).reshape(shape)
    except FileNotFoundError: raise UserError(f"{path} is missing: every frame of BIWI has its pose, and every person a camera") from None
    except ValueError: raise UserError(f"{path} should begin with {int(np.prod(shape))} numbers") from None

def biwi_centre(pose, # a head's `(4, 3)`: a rotation above, and below the centre `(x, y, z)` in mm from the camera
                camera, # `(3, 3)`: focal lengths on the diagonal, the optical centre in the last column, in pixels
               ): # `(x, y)` in pixels
    "A pinhole camera: what is twice as far away is half as far from the middle of the picture."
    x, y, z = pose[3]
    return x*camera[0, 0]/z + camera[0, 2], y*camera[1, 1]/z + camera[1, 2]

def from_biwi(root, # the folder of fastai's `URLs.BIWI_HEAD_POSE`: a folder a person, in each `rgb.cal` and the frames
             ) -> Points:
    """The centres of heads (Fanelli et al. 2013): all frames of person 13 are held out, since neighbouring frames of a film
    resemble one another too much for a random split to be worth anything."""
    root, rows = Path(root), []
    for person in sorted(p for p in root.iterdir() if p.is_dir() and any(p.glob('frame_*_rgb.*'))):
        camera = _numbers(person/'rgb.cal', 3, 3)
        for path in sorted(p for p in person.glob('frame_*_rgb.*') if p.suffix.lower() in ('.jpg', '.png')):
            pose = _numbers(path.with_name(path.stem.replace('_rgb', '_pose') + '.txt'), 4, 3)
            rows.append((path, *biwi_centre(pose, camera), person.name == BIWI_PERSON))
    table = pd.DataFrame(rows, columns=['path', 'x', 'y', 'valid'])
    if table.valid.sum() < 1 or (~table.valid).sum() < 2: raise UserError(
        f"{root} holds {table.valid.sum()} frames of person {BIWI_PERSON} to score on and {(~table.valid).sum()} of others to train on: "
        "fetch it again with planet-data get biwi")
    return Points(table, "heads of BIWI, whose person 13 is held out", root, 'lr')

def find_points(data:str='synthetic', # `synthetic`, `biwi`, or a folder: with `points.csv`, or laid out as BIWI is
                n:int=600, # how many chips to draw
                valid_pct:float=.2, seed:int=42,
               ) -> Points:
    "The points that `--data` asks for; says in one line which were taken."
    if data == 'synthetic':
        from planet.synthetic.clearings import clearings_folder
        if n < 5: raise UserError(f"--n {n}: five chips are wanted at least")
        try: folder = clearings_folder(n, progress=progress)
        except OSError as e: raise UserError(f"clearings cannot be drawn into {e.filename} ({e.strerror}): name another folder in $PLANET_CACHE") from None
        points = from_table(folder, valid_pct, seed, 'the centre of a clearing on chips drawn by code', 'dihedral')
    else:
        if data == 'biwi':
            from planet.download.fastai_sets import fastai_config
            root = fastai_config().path('data')/'biwi_head_pose'
            if not root.is_dir(): raise UserError(f"--data biwi: the heads are not in {root}; planet-data get biwi fetches them, or take --data synthetic")
        else: root = existing_folder(data, '--data ')
        if (root/'points.csv').is_file(): points = from_table(root, valid_pct, seed)
        elif any(root.glob('*/frame_*_rgb.*')): points = from_biwi(root)
        else: raise UserError(f"{root} holds neither points.csv (image_name,x,y) nor BIWI's folders (01/frame_00003_rgb.jpg ...)")
    say(f"data: {len(points):,} images, {points.source} ({points.root})")
    return points

# ---- batches

def load_images(points:Points,
                size:int=64, # height and width to squeeze an image to, in pixels
               ): # uint8 `(images, size, size, 3)`, and the images' own `(width, height)` in pixels, `(images, 2)`
    "Decode every image once; `UserError` for one that cannot be read, or whose point lies outside it."
    def read(path):
        try:
            im = Image.open(path)
            shape = im.size
            if im.format == 'JPEG': im.draft(None, (size, size)) # decodes at a half or a quarter: less work
            return np.asarray(im.convert('RGB').resize((size, size), Image.Resampling.BILINEAR)), shape
        except Exception as e: return None, f'{type(e).__name__}: {e}' # Pillow has no one exception for a broken file
    with ThreadPoolExecutor(os.cpu_count()) as pool: read_all = list(progress(pool.map(read, points.table.path), len(points)))
    if bad := [f'{p} ({why})' for p, (im, why) in zip(points.table.path, read_all) if im is None]:
        raise UserError(f"{len(bad)} of {len(points)} images cannot be read, such as {bad[0]}: mend them, or take them out of the table")
    sizes = np.array([shape for _, shape in read_all], float)
    xy = points.table[['x', 'y']].to_numpy()
    if (outside := ((xy < 0) | (xy > sizes)).any(1)).any():
        i = int(outside.argmax())
        raise UserError(f"{outside.sum()} points lie outside their image, such as ({xy[i][0]:g}, {xy[i][1]:g}) in {points.table.path[i]}, "
                        f"which has {sizes[i][0]:g} x {sizes[i][1]:g} pixels: x counts from the left, y from the top")
    return np.stack([im for im, _ in read_all]), sizes

class ImageOf:
    "A row number's image."
    def __init__(self, images): self.images = images
    def __call__(self, row): return PILImage.create(self.images[row])
    def __getstate__(self): return dict(images=self.images[:0]) # an exported learner leaves the images behind

class PointOf:
    "A row number's point."
    def __init__(self, points): self.points = points
    def __call__(self, row): return self.points[row]
    def __getstate__(self): return dict(points=self.points[:0])

class Squeeze(Transform):
    "Squeeze an image from outside to the size of the rest: `learn.predict` then answers in pixels of that size."
    order = 0
    def __init__(self, size): self.size = size # width and height
    def encodes(self, x:PILImage): return x if x.size == self.size else PILImage.create(x.resize(self.size, Image.Resampling.BILINEAR))

def moving(turns:str): # `dihedral`, `lr` or `none`
    """Random flips (and quarter turns) that move the point with its image.

    fastai scales a point to -1..1 in `PointScaler` (order 1), and turning one is written for points that are scaled
    already; but its `FlipItem` and `DihedralItem` have order 0 and come *before*. As they are they turn the image and
    throw the point out of it. Order 2 is the mend.
    """
    if turns not in ('dihedral', 'lr', 'none'): raise UserError(f"--flips {turns} is unknown: one of auto, dihedral, lr, none")
    turn = {'dihedral': DihedralItem, 'lr': FlipItem}.get(turns, lambda: None)()
    if turn is not None: turn.order = 2
    return turn

def points_dls(points:Points, images, sizes, # from `load_images`
               flips:str='auto', # `dihedral`, `lr` or `none`; `auto`: what suits the images
               bs:int=32, workers:int=0,
              ) -> DataLoaders: # batches of `(bs, 3, size, size)` floats and `(bs, 1, 2)` points between -1 and 1
    "fastai's `ImageBlock` and `PointBlock`, on images that are decoded already."
    turn, rows = moving(points.turns if flips == 'auto' else flips), np.flatnonzero(~points.table.valid)
    scaled = points.table[['x', 'y']].to_numpy()/sizes*images.shape[1]
    block = DataBlock((ImageBlock, PointBlock), get_x=ImageOf(images), get_y=PointOf(scaled.astype(np.float32)),
                      splitter=IndexSplitter(np.flatnonzero(points.table.valid)), item_tfms=[Squeeze(images.shape[2:0:-1]), *[turn]*(turn is not None)])
    return block.dataloaders(range(len(points)), bs=min(bs, len(rows)), val_bs=2*bs, num_workers=workers)

# ---- learner and score

def pixel_error(inp, targ, half): # `half`: half the width and height of an image, in pixels, `(2,)` or `(n, 2)`
    "How far each predicted point lies from the true one, in pixels: `(n,)`. Both are `(n, 2)` or `(n, 1, 2)`, between -1 and 1."
    off = (torch.as_tensor(inp).float().view(-1, 2) - torch.as_tensor(targ).float().view(-1, 2)).as_subclass(torch.Tensor)
    return (off*torch.as_tensor(half, dtype=torch.float32, device=off.device)).norm(dim=1)

def pixels(inp, targ, half):
    "The mean of `pixel_error`: the metric of an epoch."
    return pixel_error(inp, targ, half).mean()

def mean_point(dls): # -> tensor `(2,)` between -1 and 1
    "The mean of the training points: the best answer of one who never looks."
    size = dls.train_ds[0][0].size[0]
    return torch.stack([y.view(2) for y in dls.train_ds.tls[1]]).as_subclass(torch.Tensor).mean(0)*2/size - 1

def point_learner(dls:DataLoaders, # from `points_dls`
                  sizes, # of the images in pixels, from `load_images`
                  arch:str='resnet18', # backbone: a name that `planet.learner.find_arch` knows
                  weights:str='none', # `auto`, `imagenet`, `none`, or a `.safetensors` or `.pth` file
                 ) -> Learner: # `learn.weights` says what it started from
    """A `vision_learner` with `y_range=(-1, 1)` and mean squared error, whose first answer to every image is the mean point.

    `y_range` ends the network in a sigmoid that is stretched to -1..1, so that no answer leaves the image. The head has no
    dropout: it makes a vote between classes robust, but shakes a number. (Where `Precision` computes in bf16 the answer is
    rounded to about a 256th of the image.) Raises `UserError` where `arch` is unknown, or the weights cannot be had or are
    another architecture's.
    """
    rates = ((mean_point(dls) + 1)/2).clamp(.01, .99) # a share of the way from -1 to 1, as a sigmoid gives it
    return chip_learner(dls, arch, weights, MSELossFlat(), [partial(pixels, half=sizes.mean(0)/2)], tta=False, rates=rates,
                        y_range=(-1, 1), ps=0.)

def fit_points(learn:Learner, # from `point_learner`
               epochs:int=20, # with all layers
               lr:float=3e-3, # top learning rate
               freeze_epochs:int=0, # with the head alone, before: for pretrained weights
              ) -> pd.DataFrame: # a row an epoch
    """`fine_tune` for pretrained weights, and one cycle with one rate for all layers from random ones (`fine_tune` would hold
    the first layers a hundred times slower than the head, to keep what they know: here they know nothing yet)."""
    if learn.weights != 'none': return fine_tune(learn, epochs, lr, freeze_epochs)
    with nullcontext() if is_terminal() else learn.no_logging(): learn.fit_one_cycle(epochs, lr)
    return learn.history.table

def score_points(learn:Learner, points:Points, sizes, # from `load_images`
                ): # the scores (name -> number), and a table of the held-out images: `x, y, pred_x, pred_y, error, baseline`, in pixels
    "How far off the held-out points are, in pixels of their images, beside always answering the mean training point."
    pred, targ, losses = learn.get_preds(with_loss=True)
    held = points.table[points.table.valid]
    half = torch.tensor(sizes[held.index]/2, dtype=torch.float32)
    pred, mean = pred.view(-1, 2).as_subclass(torch.Tensor).float().cpu(), mean_point(learn.dls).expand(len(held), 2)
    xy = ((pred + 1)*half).numpy()
    table = held.drop(columns='valid').assign(pred_x=xy[:, 0], pred_y=xy[:, 1], error=pixel_error(pred, targ, half).numpy().astype(float),
                                              baseline=pixel_error(mean, targ, half).numpy().astype(float))
    errors = table.error.to_numpy(copy=True)
    scores = dict(pixels=errors.mean(), pixels_median=np.median(errors),
                  pixels_baseline=table.baseline.mean(), pixels_median_baseline=table.baseline.median(),
                  times_closer=table.baseline.mean()/errors.mean(), valid_loss=losses.mean(), valid_loss_baseline=((mean - targ.view(-1, 2))**2).mean())
    scores = {k: round(float(v), 5) for k, v in scores.items()}
    return scores | dict(pixels_interval=[round(v, 5) for v in bootstrap_interval(errors)]), table

def points_report(scores:dict, # from `score_points`
                  valid:int, # images scored
                  size, # width and height of an image, in pixels
                 ) -> str:
    "Scores beside the mean point's, short enough to read."
    low, high = scores['pixels_interval']
    head = f"{f'{valid:,} held-out images':<28}{'score':>9}{'the mean point':>18}"
    rows = [('pixels off, mean', 'pixels', 1, f'   95 % interval {low:.1f} to {high:.1f}'), ('pixels off, median', 'pixels_median', 1, ''),
            ('loss (mean squared error)', 'valid_loss', 4, '')]
    return '\n'.join([head, *(f"{name:<28}{scores[k]:>9.{d}f}{scores[f'{k}_baseline']:>18.{d}f}{note}" for name, k, d, note in rows), '',
                      f"{scores['times_closer']:.1f} times closer than always answering the mean point, in images of {size[0]:.0f} x {size[1]:.0f} pixels"])

# ---- pictures

TRUE, PRED = '#ffffff', '#ff3b30'

def points_grid(images, # arrays `(height, width, 3)`
                true, # `(n, 2)`: x and y as shares of width and height
                pred=None, # the same of predictions
                captions=None, # a line a picture
                columns:int=6, width:float=11.,
               ):
    "Images with their true point (white ring) and the predicted one (red cross, joined to it)."
    fig = grid(images, [[(c, 'black')] for c in captions] if captions is not None else [[] for _ in images], columns, width)
    for i, (ax, im) in enumerate(zip(fig.axes, images)):
        scale = np.array([im.shape[1], im.shape[0]])
        t = np.asarray(true[i])*scale - .5 # imshow puts the centre of the first pixel at 0
        if pred is not None:
            p = np.asarray(pred[i])*scale - .5
            ax.plot(*zip(t, p), color=PRED, lw=1.2)
            ax.plot(*p, 'x', color=PRED, ms=7, mew=1.8)
        ax.plot(*t, 'o', mfc='none', mec=TRUE, ms=9, mew=1.6)
    return fig

def batch_grid(dls, # from `points_dls`
               n:int=12,
              ):
    "A training batch as the learner gets it, flipped and turned: is the ring still on its target?"
    x, y = dls.one_batch()
    images = dls.decode((x, y))[0] # not normalised any more; the points of a batch stay between -1 and 1
    return points_grid([as_array(im) for im in images[:n].cpu()], ((y.view(-1, 2)[:n] + 1)/2).cpu().numpy())

def predictions_grid(images, sizes, # from `load_images`
                     table:pd.DataFrame, # from `score_points`
                     n:int=12, # images
                    ):
    "Held-out images from the best to the worst, evenly chosen."
    shown = table.sort_values('error').iloc[np.linspace(0, len(table)-1, min(n, len(table))).round().astype(int)]
    size = sizes[shown.index]
    return points_grid(images[shown.index], shown[['x', 'y']].to_numpy()/size, shown[['pred_x', 'pred_y']].to_numpy()/size,
                       [f'{e:.1f} pixels off' for e in shown.error])

def errors_plot(table:pd.DataFrame): # from `score_points`
    "Left: how far off the held-out points are, and how far the mean point is. Right: in which direction."
    fig = figure(10, 3.8)
    left, right = (plain_axes(ax) for ax in fig.subplots(1, 2))
    bins = np.linspace(0, table[['error', 'baseline']].max().max(), 41)
    left.hist(table.baseline, bins, color='#57606a', alpha=.45, label='the mean point')
    left.hist(table.error, bins, color='#0969da', alpha=.8, label='the network')
    left.set(xlabel='pixels from the true point', ylabel='held-out images')
    left.legend(frameon=False)
    right.scatter(table.pred_x - table.x, table.pred_y - table.y, s=12, color='#0969da', alpha=.7)
    far = 1.05*max((table.pred_x - table.x).abs().max(), (table.pred_y - table.y).abs().max(), 1)
    right.axhline(0, color='#57606a', lw=.8); right.axvline(0, color='#57606a', lw=.8)
    right.set(xlim=(-far, far), ylim=(far, -far), aspect='equal', xlabel='pixels too far right', ylabel='pixels too far down')
    return fig
