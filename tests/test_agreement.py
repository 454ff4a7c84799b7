"`check_agreement`: what fits together is let through, what does not is named in a sentence."
import re
from functools import partial
import pytest
import torch
from fastai.data.all import CategoryBlock, DataBlock, IndexSplitter, MultiCategoryBlock, RegressionBlock, TransformBlock
from fastai.learner import Learner
from fastai.losses import BCELossFlat, BCEWithLogitsLossFlat, CrossEntropyLossFlat, MSELossFlat
from fastai.metrics import accuracy, accuracy_multi
from torch import nn
from planet import losses  # before fastai, whose import `cli` quiets
from planet.course.agreement import agreement, check_agreement, loss_kind
from planet.losses import BinaryCrossEntropyLoss, GroupedCrossEntropyLoss, binary_cross_entropy

vocab = ['clear', 'cloudy', 'haze', 'road', 'water']
g = torch.Generator().manual_seed(42)
xs, ys = torch.randn(40, 8, generator=g), (torch.rand(40, 5, generator=g) < .3).float()
targets = dict(many=(MultiCategoryBlock(encoded=True, vocab=vocab), lambda i: ys[i]),
               one=(CategoryBlock(vocab=vocab[:2]), lambda i: vocab[int(i) % 2]),
               number=(RegressionBlock(), lambda i: float(i)/40))

def learner(kind='many', n=5, loss=None, *layers, **kwargs):
    block, get_y = targets[kind]
    block = DataBlock((TransformBlock, block), get_x=lambda i: xs[i], get_y=get_y,
                      splitter=IndexSplitter(range(24, 40)))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, n), *layers)
    return Learner(block.dataloaders(range(40), bs=8, device='cpu'), model, loss or BinaryCrossEntropyLoss(), **kwargs)

@pytest.mark.parametrize('make', [
    learner, lambda: learner(loss=BCEWithLogitsLossFlat()), lambda: learner('one', 2, CrossEntropyLossFlat()),
    lambda: learner('number', 1, MSELossFlat()), lambda: learner('many', 5, BCELossFlat(), nn.Sigmoid()),
    lambda: learner(loss=GroupedCrossEntropyLoss([0, 1, 2])), lambda: learner(metrics=losses.accuracy_multi),
    lambda: learner('one', 2, CrossEntropyLossFlat(), metrics=accuracy)])
def test_what_fits(make): assert check_agreement(make()) == []

@pytest.mark.parametrize('args,kwargs,said', [
    (('many', 5, None, nn.Softmax(1)), {}, 'Softmax layer.*both'),
    (('many', 5, None, nn.Sigmoid()), {}, 'Sigmoid layer.*of its own'),
    (('one', 2, CrossEntropyLossFlat(), nn.Softmax(1)), {}, 'Softmax.*of its own'),
    (('one', 2), {}, '2 output units for a binary task'), (('one', 2), {}, 'class indices'),
    (('many', 5, CrossEntropyLossFlat()), {}, 'multi-hot'), (('many', 3), {}, '3 output units but the vocab has 5'),
    (('many', 5, nn.BCELoss()), {}, 'wants probabilities'), (('one', 2, nn.NLLLoss()), {}, 'log-probabilities'),
    (('many', 5, binary_cross_entropy), {}, 'no activation'),
    (('many', 5, nn.BCEWithLogitsLoss()), {}, 'no activation'),
    (('one', 1, CrossEntropyLossFlat()), {}, 'always 1'), (('one', 1, MSELossFlat()), {},
                                                           'class indices but MSELoss measures'),
    (('number', 2, CrossEntropyLossFlat()), {}, 'real numbers'), (('number', 2, nn.MSELoss()), {}, 'broadcast'),
    ((), dict(metrics=partial(accuracy_multi, thresh=.2)), r'above 0.2 but.*= 0.5'),
    ((), dict(metrics=accuracy), 'metric accuracy takes'),
    (('one', 2, CrossEntropyLossFlat()), dict(metrics=accuracy_multi), 'thresholds each'),
    (('many', 5, lambda a, b: a.sum()), {}, 'does not know')])
def test_what_does_not(args, kwargs, said):
    sentences = check_agreement(learner(*args, **kwargs))
    assert any(re.search(said, s) for s in sentences), sentences

def test_it_sees_what_forward_does_and_changes_nothing():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.bn = nn.Linear(8, 5), nn.BatchNorm1d(5)
        def forward(self, x): return self.bn(self.lin(x)).softmax(1)
    learn = learner()
    learn.model = Hidden().train()
    learn.model.bn.eval()
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    assert 'softmax' in check_agreement(learn)[0]
    assert learn.model.training and not learn.model.bn.training
    assert all((v == before[k]).all() for k, v in learn.model.state_dict().items())

def test_one_number_a_row_of_outputs_and_targets():
    "Outputs and targets of shape (n,) are compared without a second dimension."
    learn = learner('number', 1, nn.BCEWithLogitsLoss(), nn.Flatten(0))
    assert [s for s in check_agreement(learn) if 'no activation' in s]

def test_kinds_of_losses():
    assert loss_kind(partial(binary_cross_entropy, sigmoid=False)) == ('probs', 'binary_cross_entropy')
    assert loss_kind(BCEWithLogitsLossFlat())[0] == 'sigmoid' and loss_kind(nn.HuberLoss())[0] == 'regression'

def test_the_table():
    assert list(agreement) == ['single-label', 'binary', 'multi-label', 'regression']
    row = agreement['multi-label']
    assert (row.activation, row.block) == ('sigmoid', 'MultiCategoryBlock') and hasattr(losses, row.loss)
