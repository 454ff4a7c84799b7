"Answers to the exercises on pets and on a tagger: labels in names, learning rates, a residual block, F2, two targets."
import re
import torch
import torch.nn.functional as F
from planet.course.exercises import Exercise

__all__ = ['EXERCISES']

def _breed(name):
    found = re.fullmatch(r'(.+)_\d+\.\w+', name)
    return found[1] if found else ''
def _even(lr, n, low=200, high=2): return [lr/low*(low/high)**(i/(n - 1)) for i in range(n)]
def _straight(lr, n): return [lr/200 + (lr/2 - lr/200)*i/(n - 1) for i in range(n)]

NAMES = 'great_pyrenees_174.jpg', 'Maine_Coon_201.jpg', 'pug_1.JPEG', 'IMG.jpg'
CURVE = [(torch.tensor([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.]), torch.tensor([2.0, 1.99, 1.6, 1.1, 1.0, 5.0]))]
def _half_way(lrs, losses):
    low = losses.argmin().item()
    high = losses[:low + 1].argmax().item()
    middle = (losses[high] + losses[low])/2
    return next(lrs[i].item() for i in range(high, low + 1) if losses[i] <= middle)

def _net(): return [(torch.tensor([[1., -2], [.5, 3]]), lambda x: -2*x), (torch.tensor([[0., 1]]), lambda x: 0*x)]
TABLE = [(torch.tensor([[5, 1, 0], [0, 4, 1], [2, 0, 7]]), [True, True, False])]
def _species(counts, cat):
    cat = torch.tensor(cat)
    same = cat[:, None] == cat[None]
    return (counts*same).sum().item()/counts.sum().item()

def _two():
    g = torch.Generator().manual_seed(0)
    return [(torch.randn(3, 17, generator=g), torch.tensor([0, 3, 1]), (torch.rand(3, 13, generator=g) < .2).float())]
def _parts(x, weather, tags):
    return (F.cross_entropy(x[:, :4], weather, reduction='none'),
            F.binary_cross_entropy_with_logits(x[:, 4:], tags, reduction='none').sum(1))
def _two_targets(x, weather, tags):
    a, b = _parts(x, weather, tags)
    return ((a + b)/14).mean()

ANSWERED = dict(clear=.95, primary=.9, road=.3, agriculture=.25, partly_cloudy=.1)
def _f2_at(thresh):
    said = [t for t, p in ANSWERED.items() if p > thresh]
    return 5*len(set(said) & {'clear', 'primary', 'road'})/(4*3 + len(said))
def _rows(names, tags): return [f'{n},{" ".join(t)}' for n, t in zip(names, tags)]

EXERCISES = dict(
    breed=Exercise(_breed, lambda: [(n,) for n in NAMES],
        '`re.fullmatch`: anything, as much as possible, `(.+)`; an underscore; digits, `\\d+`; a full stop; an ending. '
        'Return an empty text where it does not match.', {
        '`.+?` takes as little as it can, so it stops at the first underscore.':
            lambda name: (f := re.match(r'(.+?)_', name)) and f[1] or '',
        'The number is still there.': lambda name: name.rsplit('.', 1)[0] if '_' in name else ''}),
    rates=Exercise(_even, lambda: [(.01, 3), (2e-3, 5)], 'From lr/200 to lr/2 in equal *factors*: a factor of '
        '100**(1/(n-1)) from each group to the next.', {
        'Those are equal differences; learning rates go in factors.': _straight,
        'The first layers get the smallest rate.': lambda lr, n: _even(lr, n)[::-1]}),
    half_way=Exercise(_half_way, lambda: CURVE, 'The lowest loss; the highest loss before it; half way between the '
        'two; the '
        'first rate from there on whose loss is at or below it.', {
        'That is the lowest point: there it is about to diverge.': lambda lrs, losses: lrs[losses.argmin()].item(),
        'The highest loss was taken over the whole curve, and the explosion at the end is higher than the start.':
            lambda lrs, losses: next(a.item() for a, b in zip(lrs, losses) if b <= (losses.max() + losses.min())/2)}),
    residual=Exercise(lambda x, correction: (x + correction(x)).relu(), _net, 'relu(x + F(x)).', {
        'The shortcut is missing: x has to be added.': lambda x, correction: correction(x).relu(),
        'The ReLU comes after the addition; before it, a correction could only add.':
            lambda x, correction: x + correction(x).relu(),
        'The last ReLU is missing.': lambda x, correction: x + correction(x)}),
    species=Exercise(_species, lambda: TABLE, 'A pet counts as right where true and predicted breed are of one '
        'species, '
        'whatever the breed: add those cells of the table, over all.', {
        'That is the accuracy of breeds; a cat taken for another cat is right about the species.':
            lambda counts, cat: counts.diag().sum().item()/counts.sum().item()}),
    f2_at=Exercise(lambda: [_f2_at(.2), _f2_at(.5)], lambda: [()], 'Three tags are true, so F2 = 5 x true positives / '
        '(12 + '
        'predicted). At 0.2 four tags are predicted, at 0.5 two.', {
        'That is F1.': lambda: [6/7, 4/5]}, tolerance=6e-3,
        remark='The false positive costs 0.06, the false negative 0.29.'),
    two_targets=Exercise(_two_targets, _two, 'Cross entropy of the first four logits, plus the *sum* of the BCE of '
        'the other '
        'thirteen; over the number of decisions, 1 + 13; then the mean over chips.', {
        'The second part is a mean over thirteen tags, so the weather counts as much as all of them together.':
            lambda x, weather, tags: (F.cross_entropy(x[:, :4], weather)
                                      + F.binary_cross_entropy_with_logits(x[:, 4:], tags)),
        'Not divided by the number of decisions, 14.': lambda x, weather, tags: 14*_two_targets(x, weather, tags),
        'Seventeen logits, but fourteen decisions: the weather is one.':
            lambda x, weather, tags: _two_targets(x, weather, tags)*14/17}, gradient=True,
        remark='Times 14 it is the negative log-likelihood of the chip\'s labels.'),
    submission=Exercise(_rows, lambda: [(['test_1', 'file_0'], [['clear', 'primary'], []])],
        'A line a chip: its name, a comma, its tags with a blank between.', {
        'The names were sorted and the tags were not: each chip gets another one\'s answer.':
            lambda names, tags: _rows(sorted(names), tags),
        'Commas between the tags: they would be further columns.':
            lambda names, tags: [f'{n},{",".join(t)}' for n, t in zip(names, tags)]}))
