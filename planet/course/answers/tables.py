"Answers to the exercises on tables, binary classification, points, regression, and which loss for which task."
import re
import torch
import torch.nn.functional as F
from planet.course.exercises import Exercise

__all__ = ['EXERCISES']

def _number(cell): return None if cell.strip().lower() in ('', 'unknown', 'na', '-') else float(cell)
def _title(name):
    found = re.search(r',\s*([A-Za-z]+)', name)
    return found[1].capitalize() if found else 'Other'

def _ages(): return [(torch.tensor([20., 30, float('nan')]), torch.tensor([float('nan'), 90]))]
def _filled(train, valid, of=None):
    of = train if of is None else of
    mean = of[~of.isnan()].mean()
    return [x.where(~x.isnan(), mean) for x in (train, valid)]

def _two(): return [(torch.tensor([[1., 3], [0, 0], [-2, 5]]),)]
def _stuck(): return [(torch.tensor([20.]), torch.tensor([0.])), (torch.tensor([-3., 200]), torch.tensor([1., 0]))]

def _turned(x, y, width, height): return (height - y, x) # a turn of 90 degrees to the right
def _pixel(x, y, width, height): return (x*width, y*height)

def _points(): return [(torch.tensor([[37., 60], [0, 256]]), torch.tensor([[40., 56], [0, 246]]))]
def _distance(pred, true): return (pred - true).pow(2).sum(1).sqrt().mean().item()
def _in_range(x, low, high): return low + (high - low)*x.sigmoid()

MANY = 'MultiCategoryBlock', 'sigmoid', 'threshold'
TABLE = {'single-label': ('CategoryBlock', 'softmax', 'argmax'), 'binary': MANY, 'multi-label': MANY,
         'regression': ('RegressionBlock', 'none', 'none')}

EXERCISES = dict(
    number=Exercise(_number, lambda: [('7.25',), (' 31 ',), ('',), ('Unknown',), ('0',)],
        'Strip the blanks; None for the words that mean a missing value, in any case; otherwise `float`.', {
        'A missing value is None, not 0: nobody is aged 0 because nobody wrote it down.':
            lambda cell: _number(cell) or 0.,
        '0 is a value. `if not number` takes it for a missing one.': lambda cell: _number(cell) or None}),
    title=Exercise(_title, lambda: [('Braund, Mr. Owen Harris',), ('CUMINGS, MRS. JOHN',), ('Nobody',)],
        'The word after the comma, with a capital and the rest small: `.capitalize()`; "Other" without a comma.', {
        'Names in capitals: MRS should read Mrs.':
            lambda name: (f := re.search(r',\s*(\w+)', name)) and f[1] or 'Other'}),
    filled=Exercise(lambda train, valid: _filled(train, valid), _ages, 'The mean of the training ages that are known, '
        'for '
        'both sets.', {
        'The mean was taken over both sets: information about the validation set leaks into training.':
            lambda train, valid: _filled(train, valid, torch.cat([train, valid])),
        'Each set was filled with a mean of its own; a new passenger has no set to take a mean of.':
            lambda train, valid: [_filled(train, valid)[0], _filled(train, valid, valid)[1]],
        'A missing age became 0.': lambda train, valid: [train.nan_to_num(0), valid.nan_to_num(0)]}),
    one_logit=Exercise(lambda z: z[:, 1] - z[:, 0], _two, 'Divide numerator and denominator of softmax by e^(z1): a '
        'sigmoid '
        'of a difference is left.', {
        'Turned around: it is the probability of class 1.': lambda z: z[:, 0] - z[:, 1],
        'That is the probability. The logit is the number whose sigmoid it is.': lambda z: z.softmax(1)[:, 1]}),
    threshold=Exercise(lambda false_positive, false_negative: false_positive/(false_positive + false_negative),
        lambda: [(1., 1.), (1., 3.), (2., 1.)], 'Yes costs false_positive x (1-p), no costs false_negative x p. Where '
        'are '
        'they equal?', {
        'One half is right for equal costs.': lambda false_positive, false_negative: .5,
        'Turned around: a dear false negative *lowers* the threshold.':
            lambda false_positive, false_negative: false_negative/(false_positive + false_negative)}),
    stable=Exercise(lambda x, y: F.binary_cross_entropy_with_logits(x, y), _stuck, 'Logits into the loss, no sigmoid '
        'before: '
        '`F.binary_cross_entropy_with_logits`, or `F.softplus(x) - x*y` and its mean.', {
        'A sigmoid of 20 rounds to 1 in 32 bits: PyTorch stops the logarithm at -100, and the slope is 0.':
            lambda x, y: F.binary_cross_entropy(x.sigmoid(), y)}, gradient=True),
    pixel=Exercise(_pixel, lambda: [(.5, .25, 640, 480), (0., 1., 256, 256)], 'x times the width, y times the '
        'height.', {
        'Width and height are exchanged.': lambda x, y, width, height: (x*height, y*width)}),
    turned=Exercise(_turned, lambda: [(10., 20., 640, 480), (0., 0., 640, 480)],
        'Draw it: after a turn of 90 degrees to the right the left edge is the top. So the new y is the old x; and '
        'the old '
        'top is now at the right.', {
        'That is a turn to the left.': lambda x, y, width, height: (y, width - x),
        'x and y exchanged is a mirror image; one of them has to be counted from the other edge.':
            lambda x, y, width, height: (y, x)}),
    flip=Exercise(lambda points: points*torch.tensor([-1., 1]), lambda: [(torch.tensor([[.5, -.2], [-1, 1]]),)],
        'A mirror image changes left and right: the sign of x, and not of y.', {
        'Both signs are changed: that is half a turn.': lambda points: -points,
        '1 - x is right for shares from 0 to 1; here x runs from -1 to 1.':
            lambda points: torch.stack([1 - points[:, 0], points[:, 1]], 1)}),
    pixel_error=Exercise(_distance, _points, 'The distance of each pair, the root of the sum of squares; then the '
        'mean.', {
        'The root of the mean squared error: far points count more than in the mean distance.':
            lambda pred, true: (pred - true).pow(2).sum(1).mean().sqrt().item(),
        'The mean over x and y apart is no distance.': lambda pred, true: (pred - true).abs().mean().item()}),
    y_range=Exercise(_in_range, lambda: [(torch.tensor([0., 5, -50]), -1., 1.), (torch.tensor([1.]), 0., 256.)],
        'A sigmoid runs from 0 to 1: stretch it to high - low, and start at low.', {
        'That runs from 0 to high - low.': lambda x, low, high: (high - low)*x.sigmoid(),
        'Clamping gives no gradient outside: a sigmoid is wanted.':
            lambda x, low, high: x.clamp(low, high)}, gradient=True),
    which=Exercise(lambda: TABLE, lambda: [()], 'Look at the table at the top of the notebook. `none` where there is '
        'nothing: a regression\'s number is the decision.', {
        'Binary is multi-label with one tag: one unit and a sigmoid.':
            lambda: TABLE | {'binary': ('CategoryBlock', 'softmax', 'argmax')},
        'For several tags there is no argmax: each is above the threshold or not.':
            lambda: TABLE | {'multi-label': ('MultiCategoryBlock', 'sigmoid', 'argmax')}}),
    one_unit=Exercise(lambda logits: F.cross_entropy(logits, torch.zeros(len(logits)).long()).item(),
        lambda: [(torch.tensor([[3.], [-7]]),)], 'Softmax over one unit is e^x / e^x.', {
        'It would be so with a sigmoid. A softmax has nothing to compare with.':
            lambda logits: F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits)).item()},
        remark='A loss of 0 from the start, no gradient, and no error.'))
