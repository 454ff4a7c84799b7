"Border lines of image chips, and the log-likelihood ratio that two of them lie side by side in one scene."
# What two adjacent lines of a scene look like is learnt from lines inside the chips, where the truth is known. They are
# compared by their cosine coefficients: low ones agree in adjacent lines (a bank, a cloud's edge), high ones less so.
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import numpy as np
from planet.cli import UserError, progress as cli_progress
from planet.images import open_image

__all__ = ['Lines', 'Borders', 'read_borders', 'LineModel', 'PairScore', 'best_pairs', 'brightness_step']

SIDES = 'right', 'below' # where the neighbour lies
SAMPLE, POSITIONS = 600, 6 # chips whose inner lines are read, and how many places in each
SMALLEST = 32 # pixels of a side
LUMA = np.float32([[.299, .587, .114], [-.169, -.331, .5], [.5, -.419, -.081]])
UNLIKELY = -60 # log-likelihood ratio below which a pair is not looked at again (1 % of adjacent lines are below -20)
# means, deviations and weights of `PairScore.evidence` on 1,000 chips of the competition, and the constant
MEASURED = (-14, .2, 1.04), (56, .25, .55), (5.1, .83, -4.2), -2.8
UNIFORM = .4 # grey levels: a line that varies less has nothing to be recognised by

@dataclass
class Lines:
    "Lines of chips at which a neighbour begins (`last`) and those with which it begins (`first`), one each a chip."
    last: np.ndarray # uint8, `(n, length, 3)`: right columns, or bottom rows
    first: np.ndarray # as `last`: left columns, or top rows
    step_last: np.ndarray # float32, `(n,)`: root mean square of the step from that line to the next one inside
    step_first: np.ndarray
    chip: np.ndarray # the chip that each is of

    def __len__(self): return len(self.chip)

@dataclass
class Borders:
    "Border lines of chips to the right and below, and pairs of adjacent lines inside some of them."
    right: Lines
    below: Lines
    inner: Lines # `last[i]` and `first[i]` are adjacent
    size: tuple # height and width of a chip, in pixels

def _steps(lines, inside): return np.sqrt(((lines.astype(np.float32) - inside)**2).mean((-1, -2)))

def _cuts(pixels, places):
    "Lines on both sides of each cut through an image along its first axis, and the steps to the lines beside them."
    at = np.array(places)
    a, b = pixels[at-1], pixels[at]
    return a, b, _steps(a, pixels[at-2]), _steps(b, pixels[at+1])

def _places(length):
    "Where JPEG blocks meet inside a chip, as they do at its border."
    places = {max(8, round(length*(k + .5)/POSITIONS/16)*16) for k in range(POSITIONS)}
    return sorted(p for p in places if p < length - 1) # a line on each side is compared, and the one beside it

def _lines_of(path, inner):
    "What `read_borders` takes of one image: its size, its four border lines, and those inside."
    pixels, sides = np.asarray(open_image(path)), []
    if min(pixels.shape[:2]) < SMALLEST: return pixels.shape[:2], [], []
    for turned in (pixels.transpose(1, 0, 2), pixels): # columns, then rows
        a, b = turned[-1], turned[0]
        sides.append((a, b, _steps(a, turned[-2]), _steps(b, turned[1])))
    # one model serves columns and rows: of an oblong chip it is learnt from the shorter lines
    both = sorted((pixels, pixels.transpose(1, 0, 2)), key=lambda turned: turned.shape[1])
    square = pixels.shape[0] == pixels.shape[1]
    cuts = [_cuts(t, _places(len(t))) for t in both[:1 + square]] if inner else []
    return pixels.shape[:2], sides, cuts

def read_borders(
    paths, # image files of one size
    workers:int=0, # threads; 0: one a core
    progress=cli_progress, # as `planet.cli.progress`
    left_out=None, # a dict that is given path -> what is wrong, of files that cannot be read; None: such raise
) -> tuple: # `Borders`, and the positions in `paths` of those that were read
    "Read the border lines of chips, a few kilobytes each. `UserError` names a chip of another size than the first."
    paths, found, inner, rows, size = list(paths), ([], []), [], [], None
    sampled = set(np.linspace(0, len(paths)-1, min(SAMPLE, len(paths))).astype(int).tolist())
    def read(i):
        try: return _lines_of(paths[i], i in sampled)
        except UserError as e:
            if left_out is None: raise
            return e
    pool = ThreadPoolExecutor(workers or None)
    try:
        for i, one in enumerate(progress(pool.map(read, range(len(paths))), len(paths), 'reading borders')):
            if isinstance(one, UserError): left_out[paths[i]] = str(one); continue
            size = size or (one[0], paths[i])
            if min(one[0]) < SMALLEST:
                raise UserError(f'{paths[i]} has {one[0][1]}x{one[0][0]} pixels: {SMALLEST} a side are needed')
            if one[0] != size[0]:
                raise UserError(f'{paths[i]} has {one[0][1]}x{one[0][0]} pixels and {size[1].name} {size[0][1]}x'
                                f'{size[0][0]}: only chips of one size can be cut side by side; sort them into folders')
            rows.append(i)
            for side, taken in zip(found, one[1]): side.append(taken)
            inner += [(*cut, len(rows)-1) for cuts in one[2] for cut in zip(*cuts)]
    finally: pool.shutdown(cancel_futures=True)
    if len(rows) < 2: raise UserError(f'{len(rows)} readable chips: two are needed to be neighbours')
    sides = [Lines(*map(np.stack, zip(*side)), np.arange(len(rows))) for side in found]
    return Borders(*sides, Lines(*map(np.stack, zip(*inner))), size[0]), rows

class LineModel:
    """Gaussian model of adjacent lines: the log-likelihood ratio that two lines are adjacent, as a product of vectors.

    Cosine coefficients of luma and chroma, but for the mean (the brightness of chips may differ), are brought to unit
    variance over the data set and over the line. Two adjacent lines have correlation r in a coefficient, others none;
    the sum of `[r x y - r^2 (x^2 + y^2)/2]/(1 - r^2) - log(1 - r^2)/2` is the ratio, a product of two vectors less a
    number of each."""
    def __init__(self, lines:Lines): # adjacent ones
        self.k = max(8, lines.last.shape[1]//4)
        x, y = self._coefficients(lines.last), self._coefficients(lines.first)
        self.scale = np.sqrt(np.median(np.concatenate([x, y])**2, 0)/.4549) + 1e-3
        x, y = (self._standard(v)[0] for v in (x, y))
        xx, yy, xy = (x*x).mean(0), (y*y).mean(0), (x*y).mean(0)
        r, var = np.clip(xy/np.sqrt(xx*yy + 1e-9), 0, .97), (xx + yy)/2 + 1e-9
        self.root, self.own = np.sqrt(r/(1-r*r)/var), r*r/(1-r*r)/var/2
        self.constant = float(-.5*np.log(1-r*r).sum())

    def _coefficients(self, lines):
        from scipy.fft import dct
        return dct(lines@LUMA.T, axis=1, norm='ortho')[:, 1:self.k+1].astype(np.float32)

    def _standard(self, coefficients, clip=3.):
        z = coefficients/self.scale
        size = np.sqrt((z*z).mean((1, 2)))
        return np.clip(z/np.maximum(size, 1e-6)[:, None, None], -clip, clip), size

    def ratios(self, lines, rows, cols) -> np.ndarray:
        "The ratio of some pairs of lines."
        (u, a), (v, b) = self.vectors(lines.last[rows]), self.vectors(lines.first[cols])
        return (u*v).sum(1) - a - b + self.constant

    def vectors(self, lines, block:int=8192):
        "Vectors `(n, d)` float32 and numbers `(n,)` of lines: `u @ v - a - b + constant` is the ratio of two of them."
        u, a = np.empty((len(lines), self.root.size), np.float32), np.empty(len(lines), np.float32)
        for s in range(0, len(lines), block):
            z, _ = self._standard(self._coefficients(lines[s:s+block]))
            u[s:s+block], a[s:s+block] = (z*self.root).reshape(len(z), -1), (z*z*self.own).sum((1, 2))
            plain = lines[s:s+block].std(1).max(1) < UNIFORM
            a[s:s+block][plain] = np.inf # water, cloud: it would match any other such
        return u, a

def best_pairs(model:LineModel,
               lines:Lines,
               k:int=5, # how many for each line
               progress=cli_progress, # as `planet.cli.progress`
               block:int=4096, # lines compared at a time, with so many others
               label:str='comparing borders'
              ) -> tuple: # positions of `last` lines and of `first` lines, and the ratio of each pair
    "The `k` lines of `first` that most likely lie beside each of `last`, of another chip; in blocks, in flat memory."
    import torch
    (u, a), (v, b) = model.vectors(lines.last), model.vectors(lines.first)
    u, v, a, b, chip = map(torch.from_numpy, (u, v, a, b, lines.chip))
    n = len(u)
    k, found = min(k, n), []
    ends = [(int(c.min()), int(c.max())) for c in chip.split(block)]
    for s in progress(range(0, n, block), -(-n//block), label):
        best, at = torch.full((len(u[s:s+block]), k), -torch.inf), torch.zeros((len(u[s:s+block]), k), dtype=torch.long)
        for t in range(0, n, block):
            scores = torch.addmm(-b[None, t:t+block], u[s:s+block], v[t:t+block].T)
            if ends[t//block][0] <= ends[s//block][1] and ends[s//block][0] <= ends[t//block][1]: # may have one chip
                scores[chip[s:s+block, None] == chip[None, t:t+block]] = -torch.inf
            top, where = _topk(scores, k)
            best, order = torch.cat([best, top], 1).topk(k)
            at = torch.cat([at, where + t], 1).gather(1, order)
        i = torch.arange(s, s + len(best))[:, None].expand(-1, k)
        ratio = best - a[s:s+block, None] + model.constant
        kept = ratio > UNLIKELY # uniform lines have none
        found.append((i[kept], at[kept], ratio[kept]))
    return tuple(torch.cat(part).numpy() for part in zip(*found))

def _topk(scores, k, group:int=64):
    "`scores.topk(k)` of each row, found in the groups of columns with the largest maxima: less to sort."
    import torch
    n, width = scores.shape
    if width % group or width//group < 2*k: return scores.topk(min(k, width))
    groups = scores.view(n, width//group, group)
    where = groups.amax(2).topk(k).indices
    top, at = groups.gather(1, where[:, :, None].expand(-1, -1, group)).view(n, -1).topk(k)
    return top, torch.gather(where, 1, at//group)*group + at % group

class PairScore:
    """How much speaks for two lines being adjacent, as a log-odds: the ratio, their texture, the step between them.

    A logistic regression on adjacent lines inside chips, and on the most similar of others."""
    def __init__(self, model:LineModel, lines:Lines, rows, cols, ratios): # candidates that are not adjacent
        from sklearn.linear_model import LogisticRegression
        self.model, same = model, np.arange(len(lines))
        own = model.ratios(lines, same, same)
        fine = np.isfinite(own)
        true, false = self.evidence(lines, same[fine], same[fine], own[fine]), self.evidence(lines, rows, cols, ratios)
        x, y = np.concatenate([true, false]), np.repeat([1, 0], [len(true), len(false)])
        if min(len(true), len(false)) < 100: # too few to learn from
            self.mean, self.std, self.weights, self.bias = map(np.float64, MEASURED)
            return
        self.mean, self.std = x.mean(0), x.std(0) + 1e-6
        fit = LogisticRegression(class_weight='balanced', max_iter=200).fit((x - self.mean)/self.std, y)
        self.weights, self.bias = fit.coef_[0], float(fit.intercept_[0])

    def evidence(self, lines, rows, cols, ratios, block:int=8192): # -> `(pairs, 3)`
        "For each pair: the ratio, the correlation of the texture, the step across the cut against steps beside it."
        from scipy.ndimage import uniform_filter1d
        found = []
        for s in range(0, len(rows), block):
            i, j = rows[s:s+block], cols[s:s+block]
            x, y = lines.last[i].astype(np.float32), lines.first[j].astype(np.float32)
            step = x - y
            across = np.sqrt(((step - step.mean(1, keepdims=True))**2).mean((1, 2)))
            beside = np.sqrt((lines.step_last[i]**2 + lines.step_first[j]**2)/2)
            x, y = (v - uniform_filter1d(v, v.shape[1]//28 | 1, axis=1, mode='nearest') for v in (x, y))
            alike = (x*y).sum((1, 2))/np.sqrt((x*x).sum((1, 2))*(y*y).sum((1, 2)) + 1e-6)
            found.append(np.stack([np.clip(ratios[s:s+block], -100, 200), np.arctanh(np.clip(alike, -.99, .99)),
                                   np.log(np.maximum(across, .1)/np.maximum(beside, .5))], 1))
        return np.concatenate(found) if found else np.empty((0, 3))

    def __call__(self, lines, rows, cols, ratios): # -> `(pairs,)`
        "The log-odds of pairs that `best_pairs` found."
        x = (self.evidence(lines, rows, cols, ratios) - self.mean)/self.std
        return x@self.weights + self.bias

def brightness_step(lines:Lines, rows, cols, block:int=8192): # -> `(pairs,)`
    "The largest difference of the mean colours of two lines, over the three channels, in grey levels."
    steps = [np.abs(lines.last[rows[s:s+block]].mean(1) - lines.first[cols[s:s+block]].mean(1)).max(1)
             for s in range(0, len(rows), block)]
    return np.concatenate(steps) if steps else np.empty(0)
