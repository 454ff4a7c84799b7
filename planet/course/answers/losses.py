"Answers to the exercises on losses: cross entropy, binary cross entropy and its gradient, focal loss, which loss when."
import torch
import torch.nn.functional as F
from planet.course.exercises import Exercise

__all__ = ['EXERCISES']

def _classes():
    g = torch.Generator().manual_seed(0)
    return [(torch.tensor([[2., 1, 0]]), torch.tensor([0])),
            (torch.randn(4, 5, generator=g)*3, torch.tensor([2, 0, 4, 1])),
            (torch.tensor([[1000., 0, -1000], [1000, 0, -1000]]), torch.tensor([0, 1]))]

def _tags():
    g = torch.Generator().manual_seed(0)
    return [(torch.tensor([[5., -5]]), torch.tensor([[1., 0]])), (torch.tensor([[4.]]), torch.tensor([[.9]])),
            (torch.randn(3, 4, generator=g)*2, torch.randint(2, (3, 4), generator=g).float()),
            (torch.tensor([[1e4, -1e4]]), torch.tensor([[0., 0]]))]

def _bce(x, y): return F.binary_cross_entropy_with_logits(x, y)
def _focal(x, y, gamma):
    bce = F.binary_cross_entropy_with_logits(x, y, reduction='none')
    return ((1 - (-bce).exp())**gamma*bce).mean()

def _mild(): return [(x, y, 2.) for x, y in _tags()[2:3]] + [(torch.tensor([[1., -2]]), torch.tensor([[1., 1]]), 0.)]

TASKS = {'the one breed of a pet': ('softmax', 'cross entropy'),
         'did this passenger survive?': ('sigmoid', 'binary cross entropy'),
         'the tags of a chip, any number of them': ('sigmoid', 'binary cross entropy'),
         'the centre of a clearing, in pixels': ('none', 'mean squared error')}

EXERCISES = dict(
    cross_entropy=Exercise(lambda x, targ: F.cross_entropy(x, targ), _classes,
        'Three steps: the logarithm of softmax (take the largest logit out first), the column of the true class of '
        'each '
        'row, minus the mean of those.', {
        'The sign: the logarithm of a probability is negative, and a loss is positive.':
            lambda x, targ: -F.cross_entropy(x, targ),
        'The sum over the batch; the loss is its mean.': lambda x, targ: F.cross_entropy(x, targ, reduction='sum'),
        'Divided by the number of classes too. Divide by the number of samples alone.':
            lambda x, targ: F.cross_entropy(x, targ)/x.shape[1],
        'The logits themselves were taken for log-probabilities: log-softmax is missing.':
            lambda x, targ: F.nll_loss(x, targ),
        'exp(1000) is infinite, so softmax is nan. Take the largest logit of each row from all of them first.':
            lambda x, targ: -(x.exp()/x.exp().sum(1, keepdim=True)).log()[range(len(x)), targ].mean(),
        'softmax first and its logarithm after: a probability that rounds to 0 has the logarithm minus infinity.':
            lambda x, targ: -x.softmax(1).log()[range(len(x)), targ].mean()}, gradient=True,
        remark='Its gradient is (p - y)/n, as PyTorch says too.'),
    bce=Exercise(_bce, _tags, 'ln(1 + e^x) - xy, averaged over everything; `F.softplus(x)` is ln(1 + e^x) without '
        'overflow.', {
        'The branches are exchanged: a right and confident answer has a large loss (the erratum above).':
            lambda x, y: -torch.where(y == 1, 1 - x.sigmoid(), x.sigmoid()).log().mean(),
        'A sigmoid first and the logarithm after: at a logit of 10,000 that is the logarithm of 0.':
            lambda x, y: -(y*x.sigmoid().log() + (1 - y)*(1 - x.sigmoid()).log()).mean(),
        '`y == 1` reads a soft target of 0.9 as a plain no; and the logarithm of a rounded sigmoid is infinite.':
            lambda x, y: -torch.where(y == 1, x.sigmoid(), 1 - x.sigmoid()).log().mean(),
        'Two sigmoids: the function gets logits, and `binary_cross_entropy_with_logits` applies a sigmoid itself.':
            lambda x, y: F.binary_cross_entropy_with_logits(x.sigmoid(), y),
        'The sum; the mean over all elements is wanted.':
            lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction='sum'),
        'Only the part of the tags that are there. An absent tag costs -ln(1-p).':
            lambda x, y: -(y*F.logsigmoid(x)).mean()}, gradient=True,
        remark='Right at a logit of 10,000 and for a soft target.'),
    bce_gradient=Exercise(lambda x, y: (x.sigmoid() - y)/x.numel(), _tags,
        'The slope of ln(1 + e^x) is sigmoid(x), that of -xy is -y; and the loss is a mean.', {
        'The loss is a mean over all elements, so each slope is divided by their number.':
            lambda x, y: x.sigmoid() - y,
        'The sign: that is the direction that lowers the loss. The gradient points up.':
            lambda x, y: (y - x.sigmoid())/x.numel(),
        'Divided by the number of chips; the mean runs over chips and tags.': lambda x, y: (x.sigmoid() - y)/len(x),
        'That is the slope of the sigmoid alone. The loss has a logarithm around it, which cancels p(1-p).':
            lambda x, y: x.sigmoid()*(1 - x.sigmoid())/x.numel()},
        remark='p - y again, over the number of elements: bounded, whatever the logit.'),
    focal=Exercise(_focal, _mild, 'BCE of each element is -ln(p of the truth): so p of the truth is e^(-BCE). Multiply '
        'each by (1 - that)^gamma, then take the mean.', {
        'The factor is the probability of the truth; it should be small where the answer is right: one minus that.':
            lambda x, y, gamma: ((-(b := F.binary_cross_entropy_with_logits(x, y, reduction='none'))).exp()**gamma*b
                                 ).mean(),
        'The factor takes p of "yes" whatever the truth; for an absent tag the truth is "no".':
            lambda x, y, gamma: ((1 - x.sigmoid())**gamma*F.binary_cross_entropy_with_logits(x, y, reduction='none')
                                 ).mean(),
        'The factor was applied to the mean. Each element has a factor of its own.':
            lambda x, y, gamma: (1 - (-_bce(x, y)).exp())**gamma*_bce(x, y)}, gradient=True,
        remark='With gamma = 0 it is BCE.'),
    which=Exercise(lambda: TASKS, lambda: [()],
        'Is exactly one answer right? Then softmax and cross entropy. Is each answer a yes or no of its own? Then '
        'sigmoid '
        'and binary cross entropy. Is it a number? Then no activation, and mean squared error.', {
        'A softmax over one unit is always 1, and over tags it can say neither "both" nor "neither".':
            lambda: TASKS | {'did this passenger survive?': ('softmax', 'cross entropy'),
                             'the tags of a chip, any number of them': ('softmax', 'cross entropy')},
        'A softmax makes tags compete: it can say neither "both" nor "neither".':
            lambda: TASKS | {'the tags of a chip, any number of them': ('softmax', 'cross entropy')}}))
