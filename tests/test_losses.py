"""Edges of `planet.losses`: values and gradients against PyTorch's and fastai's, extremes, low precision, refusals,
transforms, the Learner's seams"""
import inspect
import math
import pickle
import subprocess
import sys
import types
import unittest
import warnings
from functools import partial
from importlib.util import find_spec
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.testing import assert_close
from planet import losses
from planet.losses import (
    AsymmetricLoss,
    BinaryCrossEntropyLoss,
    FocalLoss,
    GroupedCrossEntropyLoss,
    SoftFBetaLoss,
    TagLoss,
    accuracy_multi,
    binary_cross_entropy,
    cross_entropy,
    cross_entropy_from_probs,
    log_softmax,
    mse,
    nll_loss,
    softmax,
)

def generator(seed): return torch.Generator().manual_seed(seed)
def seeded(*shape, seed=42, scale=3., dtype=torch.float32):
    return torch.randn(*shape, generator=generator(seed)).mul(scale).to(dtype)
def tags(*shape, seed=43, dtype=torch.float32): return (torch.rand(*shape, generator=generator(seed))<.3).to(dtype)
def probs(*shape, seed=44, dtype=torch.float32): return torch.rand(shape, generator=generator(seed)).to(dtype)

def both(f, g, inp, *args, **tol):
    "Value and gradient of `f` and `g` with respect to `inp` agree"
    out = []
    for h in (f,g):
        x = inp.detach().clone().requires_grad_()
        loss = h(x, *args)
        loss.backward(probs(*loss.shape, dtype=loss.dtype)+.5) # any incoming gradient
        out.append((loss,x.grad))
    for a,b in zip(*out, strict=True): assert_close(a, b, equal_nan=True, **tol)

classes = dict(bce=BinaryCrossEntropyLoss, smooth=partial(BinaryCrossEntropyLoss, label_smoothing=.1),
    pos=partial(BinaryCrossEntropyLoss, pos_weight=[1.,2,3,4,5]), focal=FocalLoss, alpha=partial(FocalLoss, alpha=.25),
    asymmetric=AsymmetricLoss, unclipped=partial(AsymmetricLoss, clip=0), half_gamma=partial(AsymmetricLoss, .5, .5),
    soft_f=SoftFBetaLoss, grouped=partial(GroupedCrossEntropyLoss, [0,2,3]))
every_class = pytest.mark.parametrize('make', classes.values(), ids=classes)
per_chip = ('soft_f','grouped')

# --- binary cross entropy ---------------------------------------------------------------------------------------------

inputs = dict(random=(seeded(32,17), tags(32,17)), soft=(seeded(32,17), probs(32,17)), one=(seeded(1,1), tags(1,1)),
    image=(seeded(2,3,4,5), probs(2,3,4,5)),
    extreme=(torch.tensor([[1e4,-1e4,1e4,-1e4,0,88,-88]]), torch.tensor([[1.,0,0,1,1,0,1]])),
    extreme_soft=(torch.tensor([[1e4,-1e4]]), torch.tensor([[.3,.3]])), transposed=(seeded(17,32).t(), tags(17,32).t()),
    strided=(seeded(32,34)[:,::2], tags(32,34)[:,::2]), expanded=(seeded(1,17).expand(8,17), tags(8,1).expand(8,17)))

@pytest.mark.parametrize('reduction', ['mean','sum','none'])
@pytest.mark.parametrize('inp,targ', inputs.values(), ids=inputs)
def test_bce_is_torchs(inp, targ, reduction):
    both(lambda x: binary_cross_entropy(x, targ, reduction=reduction),
         lambda x: F.binary_cross_entropy_with_logits(x, targ, reduction=reduction), inp)
    both(lambda x: binary_cross_entropy(x, targ, sigmoid=False, reduction=reduction),
         lambda x: F.binary_cross_entropy(x, targ, reduction=reduction), inp.sigmoid())

def kind(w): return 'none' if w is None else str(getattr(w, 'shape', type(w).__name__))
@pytest.mark.parametrize('weight', [None, 3., [.5]*17, probs(17), probs(32,1), probs(32,17)], ids=kind)
@pytest.mark.parametrize('pos_weight', [None, 2., probs(17)*5, torch.zeros(17), probs(32,17)], ids=kind)
def test_bce_weights_broadcast(weight, pos_weight):
    inp,targ = seeded(32,17),probs(32,17).round(decimals=1) # with some 0s and 1s
    w,pw = (None if w is None else torch.as_tensor(w) for w in (weight,pos_weight))
    both(lambda x: binary_cross_entropy(x, targ, weight=weight, pos_weight=pos_weight),
         lambda x: F.binary_cross_entropy_with_logits(x, targ, weight=w, pos_weight=pw), inp)

@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16], ids=str)
@pytest.mark.parametrize('sigmoid', [True, False])
def test_bce_in_16_bits_is_near_the_truth(dtype, sigmoid):
    inp = torch.cat([seeded(64,17), torch.tensor([[1e4,-1e4]*8+[0]])]).to(dtype)
    targ = tags(65,17).to(dtype)
    if not sigmoid: inp = probs(65,17).clamp(.01,.99).to(dtype)
    x = inp.clone().requires_grad_(); x64 = inp.double().requires_grad_()
    for reduction in ('none','mean'):
        loss = binary_cross_entropy(x, targ, sigmoid=sigmoid, reduction=reduction)
        theirs = F.binary_cross_entropy_with_logits if sigmoid else F.binary_cross_entropy
        truth = theirs(x64, targ.double(), reduction=reduction)
        assert loss.dtype==dtype
        assert_close(loss.double(), truth, rtol=4*torch.finfo(dtype).eps, atol=1e-3 if not sigmoid else 1e-6)
        a,b = torch.autograd.grad(loss.sum(), x)[0],torch.autograd.grad(truth.sum(), x64)[0]
        assert a.dtype==dtype
        assert_close(a.double(), b, rtol=6*torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)

def test_bce_in_16_bits_beats_the_builtin_on_confident_answers():
    x,y = torch.tensor([[5.,-5,12,-12]]),torch.tensor([[1.,0,1,0]])
    truth = F.binary_cross_entropy_with_logits(x.double(), y.double(), reduction='none')
    def error(f): return (f(x.bfloat16(), y.bfloat16(), reduction='none')-truth).abs().max()
    assert error(binary_cross_entropy) < error(F.binary_cross_entropy_with_logits)/10

def test_bce_under_autocast():
    lin,x,y = nn.Linear(8, 5),seeded(16,8),tags(16,5)
    grads = []
    for f in (binary_cross_entropy, F.binary_cross_entropy_with_logits):
        lin.zero_grad()
        with torch.autocast('cpu', torch.bfloat16): loss = f(lin(x), y)
        loss.backward(); grads.append((loss.detach().float(), lin.weight.grad.clone()))
    for a,b in zip(*grads, strict=True): assert_close(a, b, rtol=.02, atol=.005)

def bce_of_nothing(f, reduction, x): return f(x, torch.zeros(0,17), reduction=reduction)
def test_bce_of_nothing_is_torchs():
    for reduction in ('mean','sum','none'):
        both(partial(bce_of_nothing, binary_cross_entropy, reduction),
             partial(bce_of_nothing, F.binary_cross_entropy_with_logits, reduction), torch.zeros(0,17))

@pytest.mark.parametrize('dtype', [torch.int64, torch.uint8, torch.bool], ids=str)
def test_bce_takes_whole_number_tags(dtype):
    assert_close(binary_cross_entropy(seeded(8,5), tags(8,5).to(dtype)), binary_cross_entropy(seeded(8,5), tags(8,5)))

@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e4, 1e4, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=20))
def test_bce_anywhere(pairs):
    x,y = (torch.tensor(v)[None] for v in zip(*pairs, strict=True))
    # in fp32 the built-in itself is off by 1e-3 for soft targets at large logits, so the truth is asked of it in fp64
    def truth(x): return F.binary_cross_entropy_with_logits(x.double(), y.double()).float()
    both(lambda x: binary_cross_entropy(x, y), truth, x, rtol=1e-5, atol=2e-6 + 2.4e-7*x.abs().max().item())

# --- gradcheck --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('sigmoid', [True, False])
@pytest.mark.parametrize('kw', [{}, dict(reduction='none'), dict(weight=probs(5).double()),
                                dict(pos_weight=probs(5).double()*3)], ids=['mean','none','weight','pos_weight'])
def test_gradcheck_bce(sigmoid, kw):
    inp = (seeded(4,5).double() if sigmoid else probs(4,5).double().clamp(.05,.95)).requires_grad_()
    targ = probs(4,5,seed=7).double().clamp(.05,.95).requires_grad_()
    f = partial(binary_cross_entropy, sigmoid=sigmoid, **kw)
    assert torch.autograd.gradcheck(f, (inp,targ)) and torch.autograd.gradgradcheck(f, (inp,targ))

@every_class
@pytest.mark.parametrize('targ', [tags(4,5).double(), probs(4,5).double()], ids=['hard','soft'])
def test_gradcheck_classes(make, targ):
    inp = seeded(4,5).double().requires_grad_()
    for reduction in ('mean','none'): assert torch.autograd.gradcheck(make(reduction=reduction), (inp,targ))

def test_gradcheck_of_detached_weights_refers_to_weights_that_stand_still():
    inp,targ = seeded(4,5).double(),tags(4,5).double()
    a,b = (AsymmetricLoss(detach_weight=d, reduction='none') for d in (False,True))
    assert (a(inp, targ)==b(inp, targ)).all() # the gradient alone differs
    x = inp.clone().requires_grad_()
    no_focus = AsymmetricLoss(0, 0, reduction='none')
    plain = torch.autograd.grad(no_focus(x, targ).sum(), x)[0]
    weight = b(inp, targ)/no_focus(inp, targ).clamp(min=1e-300)
    assert_close(torch.autograd.grad(b(x, targ).sum(), x)[0], plain*weight)

def test_gradcheck_the_rest():
    x,idx = seeded(4,5).double().requires_grad_(),torch.tensor([0,4,2,2])
    p = probs(4,5).double()
    for f in (softmax, log_softmax, lambda x: nll_loss(x, idx), lambda x: cross_entropy(x, idx),
              lambda x: cross_entropy(x, p), lambda x: mse(x, p),
              lambda x: cross_entropy_from_probs([1,0,0,0,0], x[0].sigmoid())):
        assert torch.autograd.gradcheck(f, (x,)) and torch.autograd.gradgradcheck(f, (x,))

# --- softmax, cross entropy, mse --------------------------------------------------------------------------------------

@pytest.mark.parametrize('x', [seeded(8,5), torch.tensor([[1e4,-1e4,0]]), torch.zeros(0,5), seeded(5,8).t(),
                               seeded(2,3,4)], ids=['random','extreme','empty','transposed','3d'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.half, torch.bfloat16], ids=str)
def test_softmax_and_cross_entropy_are_torchs(x, dtype):
    x = x.to(dtype)
    tol = {} if dtype==torch.float32 else dict(rtol=8*torch.finfo(dtype).eps, atol=4*torch.finfo(dtype).eps)
    idx = torch.arange(x[:,0].numel()).reshape(x[:,0].shape) % x.shape[1]
    soft = softmax(seeded(*x.shape, seed=1), 1).to(dtype)
    both(lambda x: softmax(x, 1), lambda x: x.softmax(1), x, **tol)
    both(lambda x: log_softmax(x, 1), lambda x: x.log_softmax(1), x, **tol)
    for reduction in ('mean','sum'):
        for targ in (idx,soft) if x.numel() else (idx,):
            ours,theirs = (partial(by_target, f, targ, reduction) for f in (cross_entropy, F.cross_entropy))
            both(ours, theirs, x, **tol)

def by_target(f, targ, reduction, x, **kw): return f(x, targ, reduction=reduction, **kw)
reductions = pytest.mark.parametrize('reduction', ['mean','sum','none'])

@reductions
@pytest.mark.parametrize('weight', [None, [1.,2,.5,3,0]], ids=['plain','weighted'])
@pytest.mark.parametrize('shape', [(8,5), (2,5,3)], ids=str)
def test_cross_entropy_takes_masked_classes_as_torchs_does(shape, weight, reduction):
    x = seeded(*shape)
    x[:,3] = -math.inf
    x[0,1] = -math.inf
    targ = torch.tensor([0,2,4])[torch.randint(3, x[:,0].shape, generator=generator(1))]
    w = None if weight is None else torch.tensor(weight)
    both(partial(by_target, cross_entropy, targ, reduction, weight=weight),
         partial(by_target, F.cross_entropy, targ, reduction, weight=w), x)
    logp = x.log_softmax(1)
    assert_close(nll_loss(logp, targ, w, reduction=reduction), F.nll_loss(logp, targ, w, reduction=reduction))
    # with probabilities torch's is nan, 0 times infinity: ours is that of the classes which are left
    soft = softmax(seeded(*shape, seed=3).masked_fill(x==-math.inf, -math.inf), 1)
    a = x.clone().requires_grad_()
    loss = cross_entropy(a, soft, weight, reduction=reduction)
    finite = F.cross_entropy(x.masked_fill(x==-math.inf, -1e4), soft, w, reduction=reduction)
    assert_close(loss, finite)
    assert torch.autograd.grad(loss.sum(), a)[0].isfinite().all()

def test_a_masked_truth_has_an_infinite_loss_as_torchs_has():
    x,targ = torch.tensor([[0.,-math.inf,1]]),torch.tensor([1])
    assert cross_entropy(x, targ)==F.cross_entropy(x, targ)==math.inf
    for bad in (math.nan, math.inf):
        spoilt = torch.tensor([[0.,-math.inf,bad]])
        with pytest.raises(ValueError, match=rf'inp\[0, 2\] is {bad}'): cross_entropy(spoilt, targ)
    with pytest.raises(ValueError, match='all classes masked'): cross_entropy(torch.full((1,3), -math.inf), targ)

def test_class_156_in_uint8_is_not_ignored():
    x,targ = seeded(2,200),torch.tensor([156,3])
    assert_close(cross_entropy(x, targ.byte()), F.cross_entropy(x, targ))

@pytest.mark.parametrize('dtype', [torch.float32, torch.half, torch.bfloat16], ids=str)
@pytest.mark.parametrize('shape', [(4,5), (0,5), (7,)], ids=str)
def test_mse_is_torchs(dtype, shape):
    targ = probs(*shape, dtype=dtype)
    tol = {} if dtype==torch.float32 else dict(rtol=.02, atol=.01)
    both(lambda x: mse(x, targ), lambda x: F.mse_loss(x, targ), seeded(*shape, dtype=dtype), **tol)

def test_one_sample_by_hand():
    assert round(cross_entropy_from_probs([1,0,0], [.75,.25,0]).item(), 4)==.2877
    assert_close(cross_entropy_from_probs([0,0,1], [.75,.25,0]), -torch.tensor(1e-8).log())
    p = softmax(seeded(5))
    assert_close(cross_entropy_from_probs(F.one_hot(torch.tensor(3), 5), p), cross_entropy(seeded(5), torch.tensor(3)))

# --- PyTorch's own sample inputs --------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def op_db():
    # torch's test helpers import `expecttest` for a base class that is not used here
    if 'expecttest' not in sys.modules and not find_spec('expecttest'):
        sys.modules['expecttest'] = stub = types.ModuleType('expecttest')
        stub.TestCase,stub.ACCEPT = unittest.TestCase,False
    with pytest.MonkeyPatch.context() as patch: # the import would freeze torch's flags for every test after these
        patch.setattr('torch.backends.disable_global_flags', lambda: None)
        module = 'torch.testing._internal.common_methods_invocations'
        return pytest.importorskip(module, reason="torch's table of operators cannot be imported").op_db

ops = {'nn.functional.binary_cross_entropy_with_logits': binary_cross_entropy,
       'nn.functional.binary_cross_entropy': partial(binary_cross_entropy, sigmoid=False),
       'nn.functional.cross_entropy': cross_entropy, 'nn.functional.nll_loss': nll_loss, 'nn.functional.mse_loss': mse,
       'softmax': softmax, 'log_softmax': log_softmax}

@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('name', ops)
def test_every_opinfo_sample(op_db, name, dtype):
    compared = total = 0
    for op in (o for o in op_db if o.name==name):
        for s in op.sample_inputs('cpu', dtype, requires_grad=True):
            total += 1
            got = []
            for f in (ops[name], op.op):
                x = s.input.detach().clone().requires_grad_()
                out = f(x, *s.args, **s.kwargs)
                got.append((out, torch.autograd.grad(out.sum(), x)[0]))
            for a,b in zip(*got, strict=True): assert_close(a, b, equal_nan=True)
            compared += 1
    print(f'{name}: {compared} of {total} samples compared')
    assert compared==total>=5 # none is left out, and there were some

# --- refusals ---------------------------------------------------------------------------------------------------------

nan,inf = math.nan,math.inf
def spoilt(x, v, at=(2,3)): x = x.clone(); x[at] = v; return x
x,y,p = seeded(6,5),tags(6,5),probs(6,5)
every_loss = {**{k: m() for k,m in classes.items()}, 'function': binary_cross_entropy, 'accuracy': accuracy_multi}
two_dimensional = {k: v for k,v in every_loss.items() if k!='function'}

@pytest.mark.parametrize('bad', [nan, inf, -inf])
@pytest.mark.parametrize('loss', every_loss.values(), ids=every_loss)
def test_bad_logits_are_named(loss, bad):
    for inp in (spoilt(x, bad), spoilt(x.half(), bad), spoilt(x, bad).requires_grad_()):
        with pytest.raises(ValueError, match=rf'inp\[2, 3\] is {bad}'): loss(inp, y)

@pytest.mark.parametrize('bad', [nan, inf, -.1, 1.5])
@pytest.mark.parametrize('loss', every_loss.values(), ids=every_loss)
def test_bad_targets_are_named(loss, bad):
    with pytest.raises(ValueError, match=rf'targ\[2, 3\] is {bad}'): loss(x, spoilt(y, bad))

@pytest.mark.parametrize('bad', [nan, inf, -.1, 1.5])
@pytest.mark.parametrize('f', [binary_cross_entropy, accuracy_multi])
def test_bad_probabilities_are_named(f, bad):
    for t in (y, 1-y, p) if f is binary_cross_entropy else (y,):
        with pytest.raises(ValueError, match=rf'inp\[2, 3\] is {bad}'): f(spoilt(p, bad), t, sigmoid=False)

@pytest.mark.parametrize('loss', every_loss.values(), ids=every_loss)
@pytest.mark.parametrize('shape', [(6,1), (1,5), (5,), (6,), (5,6), (6,5,1), ()], ids=str)
def test_shapes_are_never_broadcast(loss, shape):
    with pytest.raises(ValueError) as e: loss(x, torch.zeros(shape))
    assert str(shape) in str(e.value) and ('(6, 5)' in str(e.value) or len(shape)<2)

@pytest.mark.parametrize('loss', two_dimensional.values(), ids=two_dimensional)
def test_one_dimensional_tags(loss):
    with pytest.raises(ValueError, match=r'one-dimensional tags, \(5,\)'): loss(x[0], y[0])

@pytest.mark.parametrize('kw,says', [
    (dict(weight=torch.ones(4)), r'weight is \(4,\).*\(6, 5\)'),
    (dict(pos_weight=torch.ones(7,6,5)), r'pos_weight is \(7, 6, 5\).*\(6, 5\)'),
    (dict(weight=spoilt(torch.ones(5), nan, 3)), r'weight\[3\] is nan'),
    (dict(pos_weight=spoilt(torch.ones(5), inf, 3)), r'pos_weight\[3\] is inf'),
    (dict(weight='1'), "weight is '1': numbers"), (dict(reduction='avg'), "reduction is 'avg'")])
def test_bad_options_of_bce(kw, says):
    with pytest.raises(ValueError, match=says): binary_cross_entropy(x, torch.ones(6,5), **kw)

@pytest.mark.parametrize('f,says', [
    (lambda: cross_entropy(x, torch.tensor([0,1,2,3,4,5])), r'targ\[5\] is 5: .* 0\.\.4'),
    (lambda: nll_loss(x, y), r'\(6, 5\)|float32'), (lambda: nll_loss(x, torch.zeros(5).long()), r'\(5,\).*\(6, 5\)'),
    (lambda: cross_entropy(x, y.long()), r'\(6, 5\)'), (lambda: cross_entropy(x, spoilt(p, 2.)), r'targ\[2, 3\] is 2'),
    (lambda: cross_entropy(x, torch.zeros(6).long(), [1.,2]), r'weight is \(2,\)'),
    (lambda: cross_entropy(x, p, torch.ones(1)), r'weight is \(1,\)'), # it would broadcast
    (lambda: cross_entropy(x, p, [1,1,nan,1,1]), r'weight\[2\] is nan'),
    (lambda: cross_entropy(spoilt(x, nan), p), r'inp\[2, 3\] is nan'),
    (lambda: cross_entropy(x, p, reduction='avg'), "reduction is 'avg'"),
    (lambda: nll_loss(x, torch.zeros(6).long(), reduction=None), 'reduction is None'),
    (lambda: mse(x[:,:1], x[:,0]), r'\(6, 1\).*\(6,\)'), (lambda: mse(x, spoilt(y, nan)), r'targ\[2, 3\] is nan'),
    (lambda: cross_entropy_from_probs([1,0], [.5,.2,.3]), r'\(3,\).*\(2,\)'),
    (lambda: cross_entropy_from_probs([1,0], [1.5,0]), r'y_hat\[0\] is 1.5'),
    (lambda: cross_entropy_from_probs([1,0], [.5,.5], eps=-1.), 'eps is -1'),
    (lambda: cross_entropy_from_probs([[1,0]], [[1.,0]]), r'\(1, 2\)'),
    (lambda: accuracy_multi(x, y, 20), 'thresh is 20'), (lambda: accuracy_multi(x, y, '.5'), "thresh is '.5'"),
    (lambda: accuracy_multi(x, y, [.5]*4), r'thresh is \(4,\)'),
    (lambda: GroupedCrossEntropyLoss([0,9])(x, y), r'tag 9.*5 tags')])
def test_bad_arguments_are_named(f, says):
    with pytest.raises(ValueError, match=says): f()

@pytest.mark.parametrize('f', [lambda: binary_cross_entropy(x, y, 2.), lambda: accuracy_multi(x, y, .5, False),
    lambda: cross_entropy(x, p, None, 0), lambda: nll_loss(x, torch.zeros(6).long(), None, 0), lambda: mse(x, y, 'sum'),
    lambda: BinaryCrossEntropyLoss(.2), lambda: FocalLoss(2., .25, .2)])
def test_options_that_could_be_mistaken_are_keyword_only(f):
    with pytest.raises(TypeError, match='positional'): f()

one = {'bce': BinaryCrossEntropyLoss, 'focal': FocalLoss, 'asymmetric': AsymmetricLoss, 'soft_f': SoftFBetaLoss,
       'grouped': partial(GroupedCrossEntropyLoss, [0,1])}
numbers = dict(thresh=(one, [-.1, 1.5, [.2,2.], [[.5]], []]), label_smoothing=(['bce'], [-.1, 2]),
    pos_weight=(['bce'], [-1, inf, [1,-1.]]), gamma=(['focal'], [-1, inf]),
    alpha=(['focal'], [-.1, 2]), gamma_neg=(['asymmetric'], [-1, inf]),
    gamma_pos=(['asymmetric'], [-1, inf]), clip=(['asymmetric'], [-.1, 1, 1.]), beta=(['soft_f'], [-1, inf]))
wrong = [(n, k, v) for k,(names,values) in numbers.items() for n in names for v in [*values, nan, '1', True]]
@pytest.mark.parametrize('name,option,value', wrong, ids=str)
def test_a_wrong_option_is_refused_when_the_loss_is_made(name, option, value):
    with pytest.raises(ValueError, match=rf'{option}(\[\d\])? is '): one[name](**{option: value})

@pytest.mark.parametrize('name', one)
@pytest.mark.parametrize('reduction', ['avg', None, 'Mean', 1])
def test_a_wrong_reduction_is_refused_when_the_loss_is_made(name, reduction):
    with pytest.raises(ValueError, match=f'reduction is {reduction!r}'): one[name](reduction=reduction)

@pytest.mark.parametrize('option', ['gamma','gamma_neg','beta','clip','thresh','label_smoothing'])
def test_none_is_no_number(option):
    name = next(n for n in numbers[option][0])
    with pytest.raises(ValueError, match=f'{option} is None'): one[name](**{option: None})

def test_numbers_of_numpy_and_torch_are_options_too():
    assert FocalLoss(np.float32(1.5))(x, y)==FocalLoss(torch.tensor(1.5))(x, y)==FocalLoss(1.5)(x, y)
    assert BinaryCrossEntropyLoss(thresh=np.linspace(.1, .5, 5)).decodes(p).shape==(6,5)

@pytest.mark.parametrize('exclusive,vocab,says', [(['haze','fog'], ['haze','road'], r"exclusive\[1\] is 'fog'"),
    ([1], None, 'two or more'), ([], None, 'two or more'), ([1,1], None, 'two or more'),
    ([0,-1], None, r'exclusive\[1\] is -1'),
    ([0,1.5], None, r'exclusive\[1\] is 1.5'), ([0,True], None, r'exclusive\[1\] is True'),
    (['haze','road'], None, r"exclusive\[0\] is 'haze'"), ([0,None], None, r'exclusive\[1\] is None')])
def test_bad_groups_are_refused_when_the_loss_is_made(exclusive, vocab, says):
    with pytest.raises(ValueError, match=says): GroupedCrossEntropyLoss(exclusive, vocab)

def test_a_loss_of_ones_own():
    class Margin(TagLoss):
        def items(self, inp, targ): return (1-inp*(2*targ-1)).clamp(min=0)
    assert_close(Margin(thresh=.2)(x, y), (1-x*(2*y-1)).clamp(min=0).mean())
    with pytest.raises(ValueError, match='thresh is 2'): Margin(thresh=2)
    class Width(Margin):
        width:float=1. # an option of its own is a field
        def items(self, inp, targ): return (self.width-inp*(2*targ-1)).clamp(min=0)
    assert_close(Width(2., thresh=.2)(x, y), (2-x*(2*y-1)).clamp(min=0).mean())
    assert 'width=2.0' in repr(Width(2.)) and hash(Width()) # fastai puts losses into sets
    class OldStyle(TagLoss):
        def __init__(self, thresh=.5): super().__init__(thresh=thresh); self.own = 1
        def items(self, inp, targ): return inp
    assert OldStyle(.3).thresh==.3 and OldStyle().own==1

# --- transforms -------------------------------------------------------------------------------------------------------

idx = torch.tensor([0,4,2,2,1,3])
traced = {**{k: m() for k,m in classes.items()}, 'detached': AsymmetricLoss(gamma_pos=0, detach_weight=True),
    'function': binary_cross_entropy, 'weights': partial(binary_cross_entropy, weight=probs(5), pos_weight=probs(5)*3),
    'probabilities': lambda x, y: binary_cross_entropy(x.sigmoid(), y, sigmoid=False), 'mse': mse,
    'soft_ce': lambda x, y: cross_entropy(x, y/y.sum(-1, keepdim=True).clamp(min=1)),
    'ce': lambda x, y: cross_entropy(x, y.argmax(-1), weight=[1.,2,3,4,5]),
    'none': partial(binary_cross_entropy, reduction='none')}
every_traced = pytest.mark.parametrize('loss', traced.values(), ids=traced)
def grad(loss, x, y):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(x, y).sum(), x)[0]

@every_traced
def test_torch_func_agrees(loss):
    def total(x, y): return loss(x, y).sum()
    def row(x, y): return total(x[None], y[None])
    assert_close(torch.func.grad(total)(x, y), grad(loss, x, y))
    per_chip = torch.func.vmap(torch.func.grad(row))(x, y) # gradients of each sample by itself
    assert_close(per_chip, torch.cat([grad(loss, x[i:i+1], y[i:i+1]) for i in range(6)]))
    assert_close(torch.func.vmap(row)(x, y), torch.stack([row(x[i], y[i]) for i in range(6)]))
    both_x = torch.func.vmap(total, (0,None))(torch.stack([x,-x]), y) # targets that are not batched, and logits
    assert_close(both_x, torch.stack([total(x, y), total(-x, y)]))
    assert_close(torch.func.vmap(total, (None,0))(x, torch.stack([y,1-y])), torch.stack([total(x, y), total(x, 1-y)]))

@pytest.mark.parametrize('loss', [binary_cross_entropy, partial(binary_cross_entropy, sigmoid=False)],
                         ids=['logits','probs'])
def test_torch_func_derivatives_are_torchs(loss):
    theirs = F.binary_cross_entropy if isinstance(loss, partial) else F.binary_cross_entropy_with_logits
    inp = (probs(4,5).clamp(.1,.9) if isinstance(loss, partial) else seeded(4,5)).double()
    targ = probs(4,5,seed=7).double()
    for transform in (torch.func.grad, torch.func.hessian, torch.func.jacfwd):
        assert_close(transform(loss)(inp, targ), transform(theirs)(inp, targ))

@every_traced
def test_compile_in_one_graph_agrees(loss):
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend='aot_eager') # without a C++ compiler
    assert_close(compiled(x, y), loss(x, y))
    assert_close(grad(compiled, x, y), grad(loss, x, y))

@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16], ids=str)
def test_traced_16_bits_and_extremes(dtype):
    big = torch.tensor([[1e4,-1e4,12,-12,0]]).to(dtype)
    targ = torch.tensor([[1.,0,1,0,.5]]).to(dtype)
    for f in (torch.func.grad(binary_cross_entropy), torch.func.vmap(binary_cross_entropy)):
        assert f(big, targ).isfinite().all()
    assert_close(torch.func.grad(binary_cross_entropy)(big, targ), grad(binary_cross_entropy, big, targ))

# --- the classes ------------------------------------------------------------------------------------------------------

def test_bce_class_is_fastais():
    fv = pytest.importorskip('fastai.losses')
    for kw in ({}, dict(pos_weight=probs(5)*3), dict(reduction='sum')):
        ours,theirs = BinaryCrossEntropyLoss(**kw),fv.BCEWithLogitsLossFlat(**kw)
        both(lambda x, f=ours: f(x, y), lambda x, f=theirs: f(x, y).as_subclass(torch.Tensor), x)
    both(lambda x: BinaryCrossEntropyLoss(label_smoothing=.2)(x, y),
         lambda x: F.binary_cross_entropy_with_logits(x, y*.8+.1), x)

def test_focal_is_torchvisions():
    tv = pytest.importorskip('torchvision.ops')
    both(lambda x: FocalLoss(2., .25)(x, y), lambda x: tv.sigmoid_focal_loss(x, y, reduction='mean'), x)
    for targ in (y, p):
        both(lambda x, t=targ: FocalLoss(0)(x, t), lambda x, t=targ: F.binary_cross_entropy_with_logits(x, t), x)

@pytest.mark.parametrize('detach', [False, True])
@pytest.mark.parametrize('args', [(4,1,.05), (4,0,.05), (2,0,0), (3,2,.2)])
def test_asymmetric_is_timms(args, detach):
    timm = pytest.importorskip('timm.loss')
    def theirs(x): # timm's default is the mean over chips of the sum over tags
        total = timm.AsymmetricLossMultiLabel(*args, disable_torch_grad_focal_loss=detach)(x, y)
        mean = 'reduction' in inspect.signature(timm.AsymmetricLossMultiLabel).parameters
        return total/5 if mean else total/x.numel()
    both(lambda x: AsymmetricLoss(*args, detach)(x, y), theirs, x, rtol=1e-4, atol=1e-6)

def test_asymmetric_of_the_authors_class_and_of_their_training_script():
    p = x.sigmoid()
    neg = (1-p+.05).clamp(max=1)
    by_hand = -(y*(1-p)*p.log() + (1-y)*(1-neg)**4*neg.log())
    assert_close(AsymmetricLoss()(x, y), by_hand.mean())
    script = AsymmetricLoss(gamma_pos=0, detach_weight=True)
    weight = y + (1-y)*(1-neg)**4
    def theirs(x):
        p = x.sigmoid()
        return -(weight*(y*p.log() + (1-y)*(1.05-p).clamp(max=1).log())).mean()
    both(lambda x: script(x, y), theirs, x)

def test_soft_fbeta_of_decisions_is_scikit_learns():
    sk = pytest.importorskip('sklearn.metrics')
    said = tags(6,5,seed=9); said[:,0] = 1
    for beta in (1,2):
        theirs = sk.fbeta_score(y, said, beta=beta, average='samples', zero_division=0)
        assert_close(1-SoftFBetaLoss(beta)(said*80-40, y).item(), theirs, rtol=0, atol=1e-6)

def test_grouped_is_torchs():
    g,rest = [0,2,3],[1,4]
    targ = torch.cat([F.one_hot(torch.tensor([0,1,2,0,1,2]), 3), torch.zeros(6,2)], 1)[:,[0,3,1,2,4]]
    targ[:,rest] = y[:,rest]
    def theirs(x):
        weather = F.cross_entropy(x[:,g], targ[:,g].argmax(1), reduction='none')
        return (weather + F.binary_cross_entropy_with_logits(x[:,rest], targ[:,rest], reduction='none').sum(1))/3
    both(lambda x: GroupedCrossEntropyLoss(g, reduction='none')(x, targ), theirs, x)
    act = GroupedCrossEntropyLoss(g).activation(x)
    assert_close(act[:,g], x[:,g].softmax(1)); assert_close(act[:,rest], x[:,rest].sigmoid())

def test_grouped_rows_that_break_the_rule():
    loss = GroupedCrossEntropyLoss([0,2,3], reduction='none')
    none,several = torch.tensor([[0.,1,0,0,1]]),torch.tensor([[1.,1,1,0,1]])
    a = x[:1].clone().requires_grad_()
    grad = torch.autograd.grad(loss(a, none).sum(), a)[0]
    assert (grad[:,[0,2,3]]==0).all() and (grad[:,[1,4]]!=0).all()
    assert_close(loss(a, several), (loss(a, torch.tensor([[1.,1,0,0,1]]))+loss(a, torch.tensor([[0.,1,1,0,1]])))/2)

@every_class
@pytest.mark.parametrize('dtype', [torch.float32, torch.half, torch.bfloat16], ids=str)
def test_extremes_have_finite_losses_and_gradients(make, dtype):
    big = torch.tensor([[1e4,-1e4,1e4,-1e4,0],[-1e4,1e4,60,-60,20]]).to(dtype).requires_grad_()
    for targ in (torch.tensor([[1.,0,0,1,1],[1,0,0,1,0]]), torch.full((2,5), .3)):
        loss = make()(big, targ.to(dtype))
        assert loss.isfinite()
        assert torch.autograd.grad(loss, big)[0].isfinite().all()

@every_class
def test_low_precision_and_layout_do_not_matter(make):
    loss = make()
    truth = loss(x.double(), y.double())
    for dtype in (torch.half, torch.bfloat16):
        low = loss(x.to(dtype), y.to(dtype)).double()
        assert_close(low, loss(x.to(dtype).double(), y.double()), rtol=2*torch.finfo(dtype).eps, atol=1e-6)
    assert_close(loss(x.double().t().contiguous().t(), y.double().t().contiguous().t()), truth)
    assert loss(x, y.bool() if type(loss) is not BinaryCrossEntropyLoss else y)==loss(x, y)

@pytest.mark.parametrize('name', classes)
def test_reductions_pickles_and_decodes(name):
    loss = pickle.loads(pickle.dumps(classes[name](thresh=.2)))
    mean = loss(x, y)
    loss.reduction = 'none'
    items = loss(x, y)
    assert items.shape == ((6,) if name in per_chip else (6,5))
    assert_close(items.mean(), mean)
    loss.reduction = 'sum'; assert_close(loss(x, y), items.sum())
    assert (loss.decodes(p)==(p>.2)).all()
    loss.thresh = torch.tensor([.1,.2,.3,.4,.5]); assert (loss.decodes(p)==(p>loss.thresh)).all()
    assert type(loss).__name__ in repr(loss)

@every_class
def test_an_epoch_of_nothing(make):
    out = make(reduction='sum')(torch.zeros(0,5,requires_grad=True), torch.zeros(0,5))
    assert out==0

# --- accuracy ---------------------------------------------------------------------------------------------------------

def test_accuracy_is_fastais():
    fm = pytest.importorskip('fastai.metrics')
    for thresh in (0, .2, .5, 1):
        assert accuracy_multi(x, y, thresh)==fm.accuracy_multi(x, y, thresh)
        assert accuracy_multi(p, y, thresh, sigmoid=False)==fm.accuracy_multi(p, y, thresh, sigmoid=False)
    assert accuracy_multi(torch.zeros(2,2), torch.ones(2,2))==0 # one half is not above one half

def test_accuracy_with_one_threshold_a_tag():
    t = [.1,.2,.3,.4,.5]
    want = ((p>torch.tensor(t))==y.bool()).float().mean()
    for thresh in (t, torch.tensor(t), np.array(t)): assert accuracy_multi(p, y, thresh, sigmoid=False)==want

def test_probabilities_taken_for_logits_are_warned_about_once():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('default')
        for _ in range(3): accuracy_multi(p, y)
        accuracy_multi(p, y, sigmoid=False)
        accuracy_multi(x, y)
    assert len(seen)==1 and 'sigmoid=False' in str(seen[0].message) and seen[0].filename==__file__

# --- a Learner --------------------------------------------------------------------------------------------------------

vocab = ['clear','cloudy','haze','road','water']
xs,ys = seeded(40,8,scale=1.),tags(40,5)
def get_x(i): return xs[i]
def get_y(i): return ys[i]

def loaders():
    import fastai.callback.progress  # gives `Learner` its `no_bar`
    from fastai.data.all import DataBlock, IndexSplitter, MultiCategoryBlock, TransformBlock
    block = DataBlock((TransformBlock, MultiCategoryBlock(encoded=True, vocab=vocab)), get_x=get_x, get_y=get_y,
                      splitter=IndexSplitter(range(24,40)))
    return block.dataloaders(range(40), bs=8, device='cpu')

def learner(loss=None, **kw):
    from fastai.learner import Learner
    torch.manual_seed(0)
    return Learner(loaders(), nn.Sequential(nn.Linear(8, 5)), loss_func=loss or BinaryCrossEntropyLoss(), **kw)

@every_class
def test_learner_trains_predicts_and_exports(make, tmp_path):
    learn = learner(loss=make())
    with learn.no_bar(), learn.no_logging(): learn.fit(2, .05)
    with learn.no_bar(): preds,targs,per = learn.get_preds(with_loss=True)
    assert per.shape==(16,) and type(per) is not float
    assert_close(per.mean().as_subclass(torch.Tensor), learn.loss_func(learn.model(xs[24:]), ys[24:]).detach())
    assert_close(preds.as_subclass(torch.Tensor), learn.loss_func.activation(learn.model(xs[24:])).detach())
    learn.export(tmp_path/'learner.pkl')
    from fastai.learner import load_learner
    again = load_learner(tmp_path/'learner.pkl')
    for thresh in (.01, .5, .99):
        again.loss_func.thresh = thresh
        with again.no_bar(): said,mask,prob = again.predict(30)
        assert list(said)==[t for t,q in zip(vocab, prob, strict=True) if q>thresh]
        assert_close(prob.as_subclass(torch.Tensor), preds[6].as_subclass(torch.Tensor))

def test_mixup_gives_soft_targets():
    from fastai.callback.mixup import MixUp
    learn = learner(cbs=MixUp())
    with learn.no_bar(), learn.no_logging(): learn.fit(1, .05)
    assert math.isfinite(learn.recorder.values[-1][-1])

# --- the module -------------------------------------------------------------------------------------------------------

def test_module_needs_torch_alone(tmp_path):
    "It loads no other module of the package, and a copy of its file works without the package"
    root = losses.__file__.rsplit('/', 2)[0]
    code = """import sys, warnings
warnings.simplefilter('error')
import planet.losses
loaded = {m.split('.')[0] for m in sys.modules}
print([m for m in sys.modules if m.startswith('planet.')], loaded & {'fastai','fastcore','pandas','matplotlib'})"""
    out = subprocess.run([sys.executable, '-c', code], check=True, cwd=root, capture_output=True, text=True).stdout
    assert out.strip()=="['planet.losses'] set()"
    (tmp_path/'copied.py').write_text(inspect.getsource(losses))
    code = f"""import sys; sys.path.insert(0, {str(tmp_path)!r})
import copied, torch; print(copied.FocalLoss()(torch.zeros(1,2), torch.ones(1,2)).item())"""
    out = subprocess.run([sys.executable, '-Ic', code], check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    assert float(out)==pytest.approx(.25*math.log(2))

def test_training_on_an_accelerator_reads_no_value():
    if not torch.cuda.is_available(): pytest.skip('no GPU here')
    torch.cuda.set_sync_debug_mode('error')
    try:
        a = torch.zeros(4,5,device='cuda',requires_grad=True)
        binary_cross_entropy(a, torch.zeros(4,5,device='cuda')).backward()
    finally: torch.cuda.set_sync_debug_mode('default')
    with pytest.raises(ValueError, match=r'inp\[2, 3\] is nan'): binary_cross_entropy(spoilt(x, nan).cuda(), y.cuda())
