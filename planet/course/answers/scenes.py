"Answers to the exercises on inference and scenes: what enters a network, several networks, windows, places, areas."
import math
import torch
from planet.course.exercises import Exercise

__all__ = ['EXERCISES']

def _image():
    x = torch.tensor([[0, 255], [51, 102]], dtype=torch.uint8).expand(3, 2, 2)
    return [(x, torch.tensor([.5, .4, .3]), torch.tensor([.2, .25, .5]))]
def _normalised(x, mean, std): return (x.float()/255 - mean[:, None, None])/std[:, None, None]

def _folds():
    return [(torch.tensor([[[.9, .1]], [[.1, .15]], [[.05, .15]]]), .2),
            (torch.tensor([[[.3, .5]], [[.01, .3]], [[.25, .1]]]), .2)]

PLACE = (10., 0., 500_000., 0., -10., 8_700_000.) # a, b, x0, d, e, y0
def _xy(place, column, row):
    a, b, x0, d, e, y0 = place
    return a*column + b*row + x0, d*column + e*row + y0

def _starts(length, window): return list(range(0, length, window))
def _bounds(place, column, row, size):
    (left, top), (right, bottom) = _xy(place, column, row), _xy(place, column + size, row + size)
    return left, bottom, right, top

def _needs(half_width, share): return math.ceil(share*(1 - share)*(1.96/half_width)**2)

EXERCISES = dict(
    chips_needed=Exercise(_needs, lambda: [(.05, .8), (.02, .9), (.05, .5)], 'The half width of the interval of a '
        'share p '
        'from n chips is 1.96 sqrt(p(1-p)/n). Solve for n, and round up.', {
        'Half a chip cannot be labelled: round up.':
            lambda half_width, share: share*(1 - share)*(1.96/half_width)**2,
        'The root is missing a square: twice as narrow costs four times the chips.':
            lambda half_width, share: math.ceil(share*(1 - share)*1.96/half_width)}),
    normalised=Exercise(_normalised, _image, 'Bytes to 0..1, minus the mean of each channel, over its deviation; '
        '`mean[:, None, None]` goes along the channels.', {
        'Statistics are those of pixels from 0 to 1; these go to 255.':
            lambda x, mean, std: (x.float() - mean[:, None, None])/std[:, None, None],
        'First the mean is taken off, then it is divided.':
            lambda x, mean, std: x.float()/255/std[:, None, None] - mean[:, None, None],
        'The normalisation is missing.': lambda x, mean, std: x.float()/255}),
    of_folds=Exercise(lambda probs, thresh: probs.mean(0) > thresh, _folds,
        'Mean over the networks first (the first dimension), then the threshold.', {
        'That is a vote of decisions: it forgets how sure each network is.':
            lambda probs, thresh: (probs > thresh).float().mean(0) > .5,
        'That asks whether any of them says so.': lambda probs, thresh: (probs > thresh).any(0)}),
    centre=Exercise(lambda place, column, row: _xy(place, column + .5, row + .5),
        lambda: [(PLACE, 0, 0), ((.1, .02, -60., .01, -.1, -12.), 3, 5)],
        'The six numbers count from the corner of the first pixel; a pixel\'s centre lies half a pixel further.', {
        'That is the corner of the pixel: half a pixel to the north-west of its centre.': _xy,
        'Rows count downwards, and e is negative for that: it is added, not subtracted.':
            lambda place, column, row: _xy((*place[:4], -place[4], place[5]), column + .5, row + .5)}, tolerance=1e-9),
    starts=Exercise(_starts, lambda: [(1100, 256), (512, 256), (100, 256)],
        'A window starts every `window` pixels as long as there are pixels left; the last may reach over the edge.', {
        'A strip at the edge is never looked at: the last window may reach over it.':
            lambda length, window: list(range(0, length - window + 1, window)),
        'One window too many: it begins beyond the edge, or on it.':
            lambda length, window: list(range(0, length + 1, window))}),
    ground=Exercise(lambda chip_pixels, chip_metres, pixel_metres: round(chip_pixels*chip_metres/pixel_metres),
        lambda: [(256, 3.7, 10.), (256, 3.7, 3.7), (256, 3.7, .5)],
        'The window has the ground size of a chip: chip_pixels x chip_metres. How many of the scene\'s pixels is '
        'that?', {
        'A chip\'s number of pixels, whatever the scene: on 10 m pixels that is 2.6 km.':
            lambda chip_pixels, chip_metres, pixel_metres: chip_pixels,
        'Turned around: larger pixels, fewer of them.':
            lambda chip_pixels, chip_metres, pixel_metres: round(chip_pixels*pixel_metres/chip_metres)}),
    outline=Exercise(_bounds, lambda: [(PLACE, 0, 0, 256), (PLACE, 256, 512, 256)],
        'The corner of pixel (column, row) is left and top; that of (column + size, row + size) is right and bottom.', {
        'Top and bottom are exchanged: y falls as rows count down.': lambda place, column, row, size: (
            (b := _bounds(place, column, row, size))[0], b[3], b[2], b[1]),
        'The last pixel has a width, too: right and bottom are those of column + size.':
            lambda place, column, row, size: _bounds(place, column, row, size - 1)}, tolerance=1e-9),
    true_share=Exercise(lambda tagged, recall, false_rate: (tagged - false_rate)/(recall - false_rate),
        lambda: [(.3, .8, .1), (.05, .9, .05), (.5, .6, .2)],
        'tagged = share x recall + (1 - share) x false_rate. Solve that for the share.', {
        'That is the naive share: misses and false positives do not cancel.':
            lambda tagged, recall, false_rate: tagged,
        'False positives are not taken off.': lambda tagged, recall, false_rate: tagged/recall,
        'The denominator is recall minus the false positive rate.':
            lambda tagged, recall, false_rate: (tagged - false_rate)/recall},
        remark='Where tagged is the false positive rate, the true share is 0.'),
    hectares=Exercise(lambda share, windows, side: share*windows*side**2/10_000,
        lambda: [(.25, 400, 947.), (1., 1, 100.)], 'A window of side x side square metres; a hectare has 10,000.', {
        'Those are square metres.': lambda share, windows, side: share*windows*side**2,
        'The side is squared.': lambda share, windows, side: share*windows*side/10_000}))
