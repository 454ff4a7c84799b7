"Pictures of single digits as plain tensors: scikit-learn's, which come with it, or MNIST's in a folder. And their figures."
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
import os
import numpy as np, pandas as pd, torch
from matplotlib.ticker import MaxNLocator
from PIL import Image
from planet.cli import UserError
from planet.losses import cross_entropy
from planet.metrics import bootstrap_interval
from planet.plots import figure, plain_axes, predictions_sheet
from planet.runs import scores_report
from planet.chips import existing_folder

__all__ = ['Digits', 'find_digits', 'sklearn_digits', 'digits_folder', 'ink_on_paper', 'curves', 'score_digits', 'digits_report',
           'history_table', 'optimizers_figure', 'same_curve_figure', 'hardest_sheet']

@dataclass
class Digits:
    "Pictures and what they are, apart for training and scoring. Pixels are floats from 0 (paper) to 1 (ink)."
    train_x: torch.Tensor # `(n, height, width)`
    train_y: torch.Tensor # `(n,)` places in `vocab`
    valid_x: torch.Tensor # the same, held out
    valid_y: torch.Tensor
    vocab: list[str] # what they can be
    source: str # what they are, in a few words
    folder: str = ''

    @property
    def n_pixels(self) -> int: return self.train_x[0].numel()

    def flat(self) -> 'Digits':
        "The same as rows of pixels `(n, n_pixels)`, scaled by the training split's mean and standard deviation."
        mean, std = self.train_x.mean(), self.train_x.std()
        return replace(self, train_x=((self.train_x-mean)/std).flatten(1), valid_x=((self.valid_x-mean)/std).flatten(1))

    def facts(self) -> dict:
        "What a record says of them."
        return dict(source=self.source, folder=self.folder, chips=len(self.train_y)+len(self.valid_y), vocab=self.vocab,
                    train=len(self.train_y), valid=len(self.valid_y), size=list(self.train_x.shape[1:]))

def sklearn_digits(valid_pct:float=0.2, # share that is held out
                   seed:int=42, # of the split
                  ) -> Digits:
    "scikit-learn's `load_digits`: 1,797 real ones of 8 x 8 pixels, scanned from 13 hands (Alpaydin and Kaynak 1998)."
    from sklearn.datasets import load_digits
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x.reshape(-1, 8, 8)/16, dtype=torch.float32), torch.tensor(y)
    n_valid = int(valid_pct*len(y))
    if not 1 <= n_valid < len(y): raise UserError(f"--valid_pct {valid_pct:g} of {len(y)} digits leaves {len(y)-n_valid} to train on and {n_valid} to score")
    rows = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    valid, train = rows[:n_valid], rows[n_valid:]
    return Digits(x[train], y[train], x[valid], y[valid], [str(d) for d in range(10)], "scikit-learn's digits")

def _read(path):
    "A picture as a uint8 array `(height, width)`, or what is wrong with it."
    try: return np.array(Image.open(path).convert('L'))
    # Pillow has no one exception for a broken file
    except Exception as e: return f'{type(e).__name__}: {e}'

def _split(folder, vocab, progress):
    "All pictures of `folder/CLASS/*.png` and their classes."
    paths = [p for name in vocab for p in sorted((folder/name).glob('*.png'))]
    if not paths: raise UserError(f"{folder} holds no pictures: MNIST's lie in {folder}/0/*.png to {folder}/9/*.png")
    with ThreadPoolExecutor() as pool: pictures = [*progress(pool.map(_read, paths), len(paths))]
    for path, picture in zip(paths, pictures):
        if isinstance(picture, str): raise UserError(f"{path} cannot be read ({picture}): fetch it again, or take it away")
        if picture.shape != pictures[0].shape:
            raise UserError(f"{path} is {picture.shape[1]} x {picture.shape[0]} pixels, and {paths[0]} is {pictures[0].shape[1]} x {pictures[0].shape[0]}: "
                            "the net needs them all of one size")
    x, y = torch.from_numpy(np.stack(pictures)).float()/255, torch.tensor([vocab.index(p.parent.name) for p in paths])
    return x, y

def digits_folder(root, # a folder in the layout of fastai's `URLs.MNIST`: `training/0/*.png`, `testing/0/*.png`
                  progress=lambda items, total: items, # wraps the iterable of pictures, to show progress
                  source:str=None, # what they are; the folder's path by default
                 ) -> Digits:
    "MNIST, or pictures of other things in its layout. Raises `UserError` where the layout or a picture is wrong."
    root = existing_folder(root, '--data ')
    for part in ('training', 'testing'):
        if not (root/part).is_dir(): raise UserError(f"{root} has no folder {part}: MNIST's layout is training/0/*.png and testing/0/*.png")
    vocab = sorted(e.name for e in os.scandir(root/'training') if e.is_dir())
    if len(vocab) < 2: raise UserError(f"{root/'training'} needs a folder for each class, two at least, and has {len(vocab)}")
    (train_x, train_y), (valid_x, valid_y) = (_split(root/part, vocab, progress) for part in ('training', 'testing'))
    if train_x.shape[1:] != valid_x.shape[1:]:
        raise UserError(f"{root}: training pictures are {tuple(train_x.shape[1:])}, testing ones {tuple(valid_x.shape[1:])}: the net needs them all of one size")
    return Digits(train_x, train_y, valid_x, valid_y, vocab, source or str(root), str(root))

def find_digits(data:str='digits', # `digits` (scikit-learn's), `mnist` (from fastai's cache or the network), or a folder in MNIST's layout
                valid_pct:float=0.2, seed:int=42, # of scikit-learn's digits; MNIST comes split
                progress=lambda items, total: items, # wraps the iterable of pictures, to show progress
               ) -> Digits:
    "The digits that `--data` asks for."
    if data == 'digits': return sklearn_digits(valid_pct, seed)
    if data != 'mnist': return digits_folder(data, progress)
    from planet.download.fastai_sets import fastai_set
    try: folder = fastai_set('mnist')
    except UserError as e: raise UserError(f"{e} (`planet-data get mnist`), or take --data FOLDER or --data digits") from None
    return digits_folder(folder, progress, 'MNIST')

def ink_on_paper(pictures:torch.Tensor, # `(n, height, width)` from 0 to 1
                ) -> np.ndarray: # `(n, height, width, 3)`
    "Pictures of digits as `planet.plots` wants them, dark on white."
    return 1 - pictures[..., None].expand(-1, -1, -1, 3).numpy()

def curves(panels:dict, # title -> (label -> one number a step)
           xlabel:str, # what a step is: `step`, `epoch`
           log=(), # titles of panels with a logarithmic axis
           width:float=10., # of the figure, in inches
          ):
    "Curves side by side. Of curves that coincide the later ones are dashed, so that all can be seen."
    fig = figure(width, 3.6)
    for ax, (title, lines) in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        for n, (label, values) in enumerate(lines.items()):
            plain_axes(ax).plot(range(1, len(values)+1), values, label=label, lw=1.6, ls=('-', (0, (2, 2)), ':')[n%3])
        ax.set(title=title, xlabel=xlabel, yscale='log' if title in log else 'linear')
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(lines) > 1: ax.legend(frameon=False)
    return fig

# ---- what experiments/mnist_mlp.py tells: `history` maps an optimizer's name (the first is Adam's) to a dict an epoch

def score_digits(net, # trained, gives logits
                 digits:Digits, # flat
                 history:dict, # name -> rows, Adam's first and SGD's second
                 steps:list, our_steps:list, # the loss at each step, with PyTorch's cross entropy and with ours
                ) -> dict:
    "Scores of the held-out digits, beside always answering the training split's commonest, and how far the two losses part."
    with torch.no_grad(): right = net(digits.valid_x).argmax(1) == digits.valid_y
    (*_, adam), (*_, sgd) = history.values()
    commonest = digits.train_y.bincount().argmax()
    return dict(accuracy=adam['accuracy'], accuracy_sgd=sgd['accuracy'], valid_loss=adam['valid_loss'], valid_loss_sgd=sgd['valid_loss'],
                accuracy_baseline=(digits.valid_y == commonest).float().mean().item(), accuracy_interval=bootstrap_interval(right),
                largest_gap=max(abs(a-b) for a, b in zip(steps, our_steps)))

def digits_report(scores:dict, # from `score_digits`
                  valid:int, n_steps:int, # how many digits were scored, and steps taken
                 ) -> str:
    rows = {'accuracy, Adam': 'accuracy', 'accuracy, SGD': 'accuracy_sgd', 'loss, Adam': 'valid_loss', 'loss, SGD': 'valid_loss_sgd'}
    return '\n'.join([scores_report(scores, rows, f'{valid:,} held-out digits', 'commonest digit'),
        'accuracy with Adam: 95 % interval {:.3f} to {:.3f}'.format(*scores['accuracy_interval']),
        f"our cross_entropy beside nn.CrossEntropyLoss: over {n_steps:,} steps the losses differ by {scores['largest_gap']:.1g} at most"])

def history_table(history:dict) -> pd.DataFrame: # a row an optimizer and epoch
    return pd.concat({name: pd.DataFrame(rows) for name, rows in history.items()}, names=['optimizer']).reset_index(0)

def optimizers_figure(history:dict):
    "Losses and accuracy by epoch, a curve an optimizer."
    panels = {'training loss': 'train_loss', 'loss of held-out digits': 'valid_loss', 'their accuracy': 'accuracy'}
    return curves({title: {name: [r[column] for r in rows] for name, rows in history.items()} for title, column in panels.items()}, 'epoch')

def same_curve_figure(steps:list, our_steps:list): # the loss at each step
    "PyTorch's cross entropy and ours on one curve, and how far apart they are."
    return curves({'training loss': {'nn.CrossEntropyLoss, nn.Sequential': steps, 'our cross_entropy, nn.Module': our_steps},
                   'how far apart': {'': [abs(a-b) for a, b in zip(steps, our_steps)]}}, 'step', log=['training loss'])

def hardest_sheet(net, digits:Digits, # flat
                  pictures:Digits, # the same as pictures
                  n:int=16):
    "The held-out digits with the highest loss, and what they were taken for."
    with torch.no_grad(): logits = net(digits.valid_x)
    hard = cross_entropy(logits, digits.valid_y, reduction='none').argsort(descending=True)[:n]
    names = [[[digits.vocab[i]] for i in y[hard]] for y in (digits.valid_y, logits.argmax(1))]
    return predictions_sheet(ink_on_paper(pictures.valid_x[hard]), *names, columns=8)
