"Edges of `planet.losses`: values and gradients against PyTorch's and fastai's, extremes, low precision, refusals, the Learner's seams"
import inspect, math, pickle, subprocess, sys, types, unittest
import pytest, torch, torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.testing import assert_close
from planet import losses
from planet.losses import *

def seeded(*shape, seed=42, scale=3., dtype=torch.float32): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).mul(scale).to(dtype)
def tags(*shape, seed=43, dtype=torch.float32): return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed))<.3).to(dtype)
def probs(*shape, seed=44, dtype=torch.float32): return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)

def both(f, g, inp, *args, **tol):
    "Value and gradient of `f` and `g` with respect to `inp` agree"
    out = []
    for h in (f,g):
        x = inp.detach().clone().requires_grad_()
        loss = h(x, *args)
        loss.backward(probs(*loss.shape, dtype=loss.dtype)+.5) # any incoming gradient
        out.append((loss,x.grad))
    for a,b in zip(*out): assert_close(a, b, equal_nan=True, **tol)

classes = dict(bce=BinaryCrossEntropyLoss, smooth=lambda **k: BinaryCrossEntropyLoss(label_smoothing=.1, **k), pos=lambda **k: BinaryCrossEntropyLoss(pos_weight=[1.,2,3,4,5], **k),
    focal=FocalLoss, alpha=lambda **k: FocalLoss(alpha=.25, **k), asymmetric=AsymmetricLoss, unclipped=lambda **k: AsymmetricLoss(clip=0, **k), half_gamma=lambda **k: AsymmetricLoss(.5, .5, **k),
    soft_f=SoftFBetaLoss, grouped=lambda **k: GroupedCrossEntropyLoss([0,2,3], **k))
every_class = pytest.mark.parametrize('make', classes.values(), ids=classes)
per_chip = ('soft_f','grouped')

# --- binary cross entropy ---------------------------------------------------------------------------------------------

inputs = dict(random=(seeded(32,17), tags(32,17)), soft=(seeded(32,17), probs(32,17)), one=(seeded(1,1), tags(1,1)), image=(seeded(2,3,4,5), probs(2,3,4,5)),
    extreme=(torch.tensor([[1e4,-1e4,1e4,-1e4,0,88,-88]]), torch.tensor([[1.,0,0,1,1,0,1]])), extreme_soft=(torch.tensor([[1e4,-1e4]]), torch.tensor([[.3,.3]])),
    transposed=(seeded(17,32).t(), tags(17,32).t()), strided=(seeded(32,34)[:,::2], tags(32,34)[:,::2]), expanded=(seeded(1,17).expand(8,17), tags(8,1).expand(8,17)))

@pytest.mark.parametrize('reduction', ['mean','sum','none'])
@pytest.mark.parametrize('inp,targ', inputs.values(), ids=inputs)
def test_bce_is_torchs(inp, targ, reduction):
    both(lambda x: binary_cross_entropy(x, targ, reduction=reduction), lambda x: F.binary_cross_entropy_with_logits(x, targ, reduction=reduction), inp)
    p = inp.sigmoid()
    both(lambda x: binary_cross_entropy(x, targ, sigmoid=False, reduction=reduction), lambda x: F.binary_cross_entropy(x, targ, reduction=reduction), p)

@pytest.mark.parametrize('weight', [None, 3., [.5]*17, probs(17), probs(32,1), probs(32,17)], ids=lambda w: 'none' if w is None else str(getattr(w,'shape',type(w).__name__)))
@pytest.mark.parametrize('pos_weight', [None, 2., probs(17)*5, torch.zeros(17), probs(32,17)], ids=lambda w: 'none' if w is None else str(getattr(w,'shape',type(w).__name__)))
def test_bce_weights_broadcast(weight, pos_weight):
    inp,targ = seeded(32,17),probs(32,17).round(decimals=1) # with some 0s and 1s
    as_tensor = lambda w: None if w is None else torch.as_tensor(w)
    both(lambda x: binary_cross_entropy(x, targ, weight=weight, pos_weight=pos_weight),
         lambda x: F.binary_cross_entropy_with_logits(x, targ, weight=as_tensor(weight), pos_weight=as_tensor(pos_weight)), inp)

@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16], ids=str)
@pytest.mark.parametrize('sigmoid', [True, False])
def test_bce_in_16_bits_is_near_the_truth(dtype, sigmoid):
    inp = torch.cat([seeded(64,17), torch.tensor([[1e4,-1e4]*8+[0]])]).to(dtype)
    targ = tags(65,17).to(dtype)
    if not sigmoid: inp = probs(65,17).clamp(.01,.99).to(dtype)
    x = inp.clone().requires_grad_(); x64 = inp.double().requires_grad_()
    for reduction in ('none','mean'):
        loss = binary_cross_entropy(x, targ, sigmoid=sigmoid, reduction=reduction)
        truth = (F.binary_cross_entropy_with_logits if sigmoid else F.binary_cross_entropy)(x64, targ.double(), reduction=reduction)
        assert loss.dtype==dtype
        assert_close(loss.double(), truth, rtol=4*torch.finfo(dtype).eps, atol=1e-3 if not sigmoid else 1e-6)
        for a,b in zip(torch.autograd.grad(loss.sum(), x), torch.autograd.grad(truth.sum(), x64)):
            assert a.dtype==dtype
            assert_close(a.double(), b, rtol=6*torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)

def test_bce_in_16_bits_beats_the_builtin_on_confident_answers():
    x,y = torch.tensor([[5.,-5,12,-12]]),torch.tensor([[1.,0,1,0]])
    truth = F.binary_cross_entropy_with_logits(x.double(), y.double(), reduction='none')
    error = lambda f: (f(x.bfloat16(), y.bfloat16(), reduction='none')-truth).abs().max()
    assert error(binary_cross_entropy) < error(F.binary_cross_entropy_with_logits)/10

def test_bce_under_autocast():
    lin,x,y = nn.Linear(8, 5),seeded(16,8),tags(16,5)
    grads = []
    for f in (binary_cross_entropy, F.binary_cross_entropy_with_logits):
        lin.zero_grad()
        with torch.autocast('cpu', torch.bfloat16): loss = f(lin(x), y)
        loss.backward(); grads.append((loss.detach().float(), lin.weight.grad.clone()))
    for a,b in zip(*grads): assert_close(a, b, rtol=.02, atol=.005)

def test_bce_of_nothing_is_torchs():
    for reduction in ('mean','sum','none'):
        both(lambda x: binary_cross_entropy(x, torch.zeros(0,17), reduction=reduction), lambda x: F.binary_cross_entropy_with_logits(x, torch.zeros(0,17), reduction=reduction), torch.zeros(0,17))

@pytest.mark.parametrize('dtype', [torch.int64, torch.uint8, torch.bool], ids=str)
def test_bce_takes_whole_number_tags(dtype): assert_close(binary_cross_entropy(seeded(8,5), tags(8,5).to(dtype)), binary_cross_entropy(seeded(8,5), tags(8,5)))

@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e4, 1e4, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=20))
def test_bce_anywhere(pairs):
    x,y = (torch.tensor(v)[None] for v in zip(*pairs))
    # in fp32 the built-in itself is off by 1e-3 for soft targets at large logits, so the truth is asked of it in fp64
    both(lambda x: binary_cross_entropy(x, y), lambda x: F.binary_cross_entropy_with_logits(x.double(), y.double()).float(), x,
         rtol=1e-5, atol=2e-6 + 2.4e-7*x.abs().max().item())

# --- gradcheck --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('sigmoid', [True, False])
@pytest.mark.parametrize('kw', [{}, dict(reduction='none'), dict(weight=probs(5).double()), dict(pos_weight=probs(5).double()*3)], ids=['mean','none','weight','pos_weight'])
def test_gradcheck_bce(sigmoid, kw):
    inp = (seeded(4,5).double() if sigmoid else probs(4,5).double().clamp(.05,.95)).requires_grad_()
    targ = probs(4,5,seed=7).double().clamp(.05,.95).requires_grad_()
    f = lambda x,y: binary_cross_entropy(x, y, sigmoid=sigmoid, **kw)
    assert torch.autograd.gradcheck(f, (inp,targ)) and torch.autograd.gradgradcheck(f, (inp,targ))

@every_class
@pytest.mark.parametrize('targ', [tags(4,5).double(), probs(4,5).double()], ids=['hard','soft'])
def test_gradcheck_classes(make, targ):
    inp = seeded(4,5).double().requires_grad_()
    for reduction in ('mean','none'): assert torch.autograd.gradcheck(make(reduction=reduction), (inp,targ))

def test_gradcheck_the_rest():
    x,idx = seeded(4,5).double().requires_grad_(),torch.tensor([0,4,2,2])
    for f in (softmax, log_softmax, lambda x: nll_loss(x, idx), lambda x: cross_entropy(x, idx), lambda x: cross_entropy(x, probs(4,5).double()), lambda x: mse(x, probs(4,5).double()),
              lambda x: cross_entropy_from_probs([1,0,0,0,0], x[0].sigmoid())):
        assert torch.autograd.gradcheck(f, (x,)) and torch.autograd.gradgradcheck(f, (x,))

# --- softmax, cross entropy, mse --------------------------------------------------------------------------------------

@pytest.mark.parametrize('x', [seeded(8,5), torch.tensor([[1e4,-1e4,0]]), torch.zeros(0,5), seeded(5,8).t(), seeded(2,3,4)], ids=['random','extreme','empty','transposed','3d'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.half, torch.bfloat16], ids=str)
def test_softmax_and_cross_entropy_are_torchs(x, dtype):
    x = x.to(dtype)
    tol = {} if dtype==torch.float32 else dict(rtol=8*torch.finfo(dtype).eps, atol=4*torch.finfo(dtype).eps)
    idx = torch.arange(x[:,0].numel()).reshape(x[:,0].shape) % x.shape[1]
    soft = softmax(seeded(*x.shape, seed=1), 1).to(dtype)
    both(lambda x: softmax(x, 1), lambda x: x.softmax(1), x, **tol)
    both(lambda x: log_softmax(x, 1), lambda x: x.log_softmax(1), x, **tol)
    for reduction in ('mean','sum'):
        both(lambda x: cross_entropy(x, idx, reduction=reduction), lambda x: F.cross_entropy(x, idx, reduction=reduction), x, **tol)
        if x.numel(): both(lambda x: cross_entropy(x, soft, reduction=reduction), lambda x: F.cross_entropy(x, soft, reduction=reduction), x, **tol)

@pytest.mark.parametrize('dtype', [torch.float32, torch.half, torch.bfloat16], ids=str)
@pytest.mark.parametrize('shape', [(4,5), (0,5), (7,)], ids=str)
def test_mse_is_torchs(dtype, shape):
    targ = probs(*shape, dtype=dtype)
    both(lambda x: mse(x, targ), lambda x: F.mse_loss(x, targ), seeded(*shape, dtype=dtype), **({} if dtype==torch.float32 else dict(rtol=.02, atol=.01)))

def test_one_sample_by_hand():
    assert round(cross_entropy_from_probs([1,0,0], [.75,.25,0]).item(), 4)==.2877
    assert_close(cross_entropy_from_probs([0,0,1], [.75,.25,0]), -torch.tensor(1e-8).log())
    p = softmax(seeded(5))
    assert_close(cross_entropy_from_probs(F.one_hot(torch.tensor(3), 5), p), cross_entropy(seeded(5), torch.tensor(3)))

# --- PyTorch's own sample inputs --------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def op_db():
    if 'expecttest' not in sys.modules: # torch's test helpers import it for a base class that is not used here
        try: import expecttest
        except ImportError:
            sys.modules['expecttest'] = stub = types.ModuleType('expecttest')
            stub.TestCase,stub.ACCEPT = unittest.TestCase,False
    with pytest.MonkeyPatch.context() as patch: # the import would freeze torch's flags for every test after these
        patch.setattr('torch.backends.disable_global_flags', lambda: None)
        return pytest.importorskip('torch.testing._internal.common_methods_invocations', reason="torch's table of operators cannot be imported").op_db

ops = {'nn.functional.binary_cross_entropy_with_logits': binary_cross_entropy, 'nn.functional.binary_cross_entropy': lambda *a, **k: binary_cross_entropy(*a, sigmoid=False, **k),
       'nn.functional.cross_entropy': cross_entropy, 'nn.functional.nll_loss': nll_loss, 'nn.functional.mse_loss': mse, 'softmax': softmax, 'log_softmax': log_softmax}

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
            for a,b in zip(*got): assert_close(a, b, equal_nan=True)
            compared += 1
    print(f'{name}: {compared} of {total} samples compared')
    assert compared==total>=5 # none is left out, and there were some

# --- refusals ---------------------------------------------------------------------------------------------------------

nan,inf = math.nan,math.inf
def spoilt(x, v, at=(2,3)): x = x.clone(); x[at] = v; return x
x,y,p = seeded(6,5),tags(6,5),probs(6,5)
every_loss = {**{k: m() for k,m in classes.items()}, 'function': binary_cross_entropy, 'accuracy': accuracy_multi}

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

@pytest.mark.parametrize('loss', [v for k,v in every_loss.items() if k!='function'], ids=[k for k in every_loss if k!='function'])
def test_one_dimensional_tags(loss):
    with pytest.raises(ValueError, match=r'one-dimensional tags, \(5,\)'): loss(x[0], y[0])

@pytest.mark.parametrize('kw,says', [(dict(weight=torch.ones(4)), r'weight is \(4,\).*\(6, 5\)'), (dict(pos_weight=torch.ones(7,6,5)), r'pos_weight is \(7, 6, 5\).*\(6, 5\)'),
    (dict(weight=spoilt(torch.ones(5), nan, 3)), r'weight\[3\] is nan'), (dict(pos_weight=spoilt(torch.ones(5), inf, 3)), r'pos_weight\[3\] is inf'), (dict(reduction='avg'), "reduction is 'avg'")])
def test_bad_options_of_bce(kw, says):
    with pytest.raises(ValueError, match=says): binary_cross_entropy(x, torch.ones(6,5), **kw)

@pytest.mark.parametrize('make,says', [(lambda: BinaryCrossEntropyLoss(label_smoothing=2), 'label_smoothing is 2'), (lambda: BinaryCrossEntropyLoss(pos_weight=[1,-1.]), r'pos_weight\[1\] is -1'),
    (lambda: FocalLoss(gamma=-1), 'gamma is -1'), (lambda: AsymmetricLoss(gamma_neg=-1), 'gamma_neg is -1'), (lambda: AsymmetricLoss(clip=1), 'clip is 1'),
    (lambda: GroupedCrossEntropyLoss(['haze','fog'], vocab=['haze','road']), r"exclusive\[1\] is 'fog'"), (lambda: GroupedCrossEntropyLoss([1]), 'two or more'), (lambda: GroupedCrossEntropyLoss([1,1]), 'two or more'),
    (lambda: GroupedCrossEntropyLoss([0,9])(x, y), r'tag 9.*5 tags'), (lambda: cross_entropy(x, torch.tensor([0,1,2,3,4,5])), r'targ\[5\] is 5: .* 0\.\.4'), (lambda: nll_loss(x, y), r'\(6, 5\)|float32'),
    (lambda: nll_loss(x, torch.zeros(5).long()), r'\(5,\).*\(6, 5\)'), (lambda: cross_entropy(x, y.long()), r'\(6, 5\)'), (lambda: cross_entropy(spoilt(x, -inf), torch.zeros(6).long()), r'inp\[2, 3\] is -inf'),
    (lambda: cross_entropy(x, spoilt(p, 2.)), r'targ\[2, 3\] is 2'), (lambda: mse(x[:,:1], x[:,0]), r'\(6, 1\).*\(6,\)'), (lambda: mse(x, spoilt(y, nan)), r'targ\[2, 3\] is nan'),
    (lambda: cross_entropy_from_probs([1,0], [.5,.2,.3]), r'\(3,\).*\(2,\)'), (lambda: cross_entropy_from_probs([1,0], [1.5,0]), r'y_hat\[0\] is 1.5'), (lambda: cross_entropy_from_probs([[1,0]], [[1.,0]]), r'\(1, 2\)')])
def test_bad_options(make, says):
    with pytest.raises(ValueError, match=says): make()

# --- the classes ------------------------------------------------------------------------------------------------------

def test_bce_class_is_fastais():
    fv = pytest.importorskip('fastai.losses')
    for kw in ({}, dict(pos_weight=probs(5)*3), dict(reduction='sum')):
        both(lambda x: BinaryCrossEntropyLoss(**kw)(x, y), lambda x: fv.BCEWithLogitsLossFlat(**kw)(x, y).as_subclass(torch.Tensor), x)
    both(lambda x: BinaryCrossEntropyLoss(label_smoothing=.2)(x, y), lambda x: F.binary_cross_entropy_with_logits(x, y*.8+.1), x)

def test_focal_is_torchvisions():
    tv = pytest.importorskip('torchvision.ops')
    for targ in (y, p):
        if targ is y: both(lambda x: FocalLoss(2., .25)(x, y), lambda x: tv.sigmoid_focal_loss(x, y, reduction='mean'), x)
        both(lambda x: FocalLoss(0)(x, targ), lambda x: F.binary_cross_entropy_with_logits(x, targ), x)

@pytest.mark.parametrize('args', [(4,1,.05), (2,0,0), (3,2,.2)])
def test_asymmetric_is_timms(args):
    timm = pytest.importorskip('timm.loss')
    def theirs(x): # timm's default is the mean over chips of the sum over tags
        l = timm.AsymmetricLossMultiLabel(*args, disable_torch_grad_focal_loss=False)(x, y)
        return l/5 if 'reduction' in inspect.signature(timm.AsymmetricLossMultiLabel).parameters else l/x.numel()
    both(lambda x: AsymmetricLoss(*args)(x, y), theirs, x, rtol=1e-4, atol=1e-6)

def test_soft_fbeta_of_decisions_is_scikit_learns():
    sk = pytest.importorskip('sklearn.metrics')
    said = tags(6,5,seed=9); said[:,0] = 1
    for beta in (1,2): assert_close(1-SoftFBetaLoss(beta)(said*80-40, y).item(), sk.fbeta_score(y, said, beta=beta, average='samples', zero_division=0), rtol=0, atol=1e-6)

def test_grouped_is_torchs():
    g,rest = [0,2,3],[1,4]
    targ = torch.cat([F.one_hot(torch.tensor([0,1,2,0,1,2]), 3), torch.zeros(6,2)], 1)[:,[0,3,1,2,4]]; targ[:,1] = y[:,1]; targ[:,4] = y[:,4]
    theirs = lambda x: (F.cross_entropy(x[:,g], targ[:,g].argmax(1), reduction='none') + F.binary_cross_entropy_with_logits(x[:,rest], targ[:,rest], reduction='none').sum(1))/3
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
    for dtype in (torch.half, torch.bfloat16): assert_close(loss(x.to(dtype), y.to(dtype)).double(), loss(x.to(dtype).double(), y.double()), rtol=2*torch.finfo(dtype).eps, atol=1e-6)
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

# --- a Learner --------------------------------------------------------------------------------------------------------

vocab = ['clear','cloudy','haze','road','water']
xs,ys = seeded(40,8,scale=1.),tags(40,5)
def get_x(i): return xs[i]
def get_y(i): return ys[i]
def get_class(i): return vocab[int(i)%2]
def get_number(i): return float(i)/40

def loaders(kind):
    from fastai.data.all import DataBlock, TransformBlock, MultiCategoryBlock, CategoryBlock, RegressionBlock, IndexSplitter
    import fastai.callback.progress
    block,y = dict(many=(MultiCategoryBlock(encoded=True, vocab=vocab), get_y), one=(CategoryBlock(vocab=vocab[:2]), get_class), number=(RegressionBlock(), get_number))[kind]
    return DataBlock((TransformBlock, block), get_x=get_x, get_y=y, splitter=IndexSplitter(range(24,40))).dataloaders(range(40), bs=8, device='cpu')

def learner(kind='many', n=5, loss=None, *layers, **kw):
    from fastai.learner import Learner
    torch.manual_seed(0)
    return Learner(loaders(kind), nn.Sequential(nn.Linear(8, n), *layers), loss_func=loss or BinaryCrossEntropyLoss(), **kw)

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
        assert list(said)==[t for t,q in zip(vocab, prob) if q>thresh]
        assert_close(prob.as_subclass(torch.Tensor), preds[6].as_subclass(torch.Tensor))

def test_mixup_gives_soft_targets():
    from fastai.callback.mixup import MixUp
    learn = learner(cbs=MixUp())
    with learn.no_bar(), learn.no_logging(): learn.fit(1, .05)
    assert math.isfinite(learn.recorder.values[-1][-1])

def fits():
    from fastai.losses import CrossEntropyLossFlat, BCEWithLogitsLossFlat, MSELossFlat, BCELossFlat
    from fastai.metrics import accuracy, accuracy_multi as theirs
    from functools import partial
    ok = [learner(), learner(loss=BCEWithLogitsLossFlat()), learner('one', 2, CrossEntropyLossFlat()), learner('number', 1, MSELossFlat()), learner('many', 5, BCELossFlat(), nn.Sigmoid()),
          learner(loss=GroupedCrossEntropyLoss([0,1,2])), learner(metrics=accuracy_multi), learner('one', 2, CrossEntropyLossFlat(), metrics=accuracy)]
    odd = [(learner('many', 5, None, nn.Softmax(1)), 'Softmax layer.*both'), (learner('many', 5, None, nn.Sigmoid()), 'Sigmoid layer.*of its own'), (learner('one', 2, CrossEntropyLossFlat(), nn.Softmax(1)), 'Softmax.*of its own'),
          (learner('one', 2), '2 output units for a binary task'), (learner('one', 2), 'class indices'), (learner('many', 5, CrossEntropyLossFlat()), 'multi-hot'), (learner('many', 3), '3 output units but the vocab has 5'),
          (learner('many', 5, nn.BCELoss()), 'wants probabilities'), (learner('one', 2, nn.NLLLoss()), 'log-probabilities'), (learner('many', 5, binary_cross_entropy), 'no activation'),
          (learner('many', 5, nn.BCEWithLogitsLoss()), 'no activation'), (learner('one', 1, CrossEntropyLossFlat()), 'always 1'), (learner('one', 1, MSELossFlat()), 'class indices but MSELoss measures'),
          (learner('number', 2, CrossEntropyLossFlat()), 'real numbers'), (learner('number', 2, nn.MSELoss()), 'broadcast'), (learner(metrics=partial(theirs, thresh=.2)), r'above 0.2 but.*= 0.5'),
          (learner(metrics=accuracy), 'metric accuracy takes'), (learner('one', 2, CrossEntropyLossFlat(), metrics=accuracy_multi), 'thresholds each'), (learner(loss=lambda a,b: a.sum()), 'does not know')]
    return ok,odd

def test_check_agreement():
    import re
    ok,odd = fits()
    for l in ok: assert check_agreement(l)==[], l.loss_func
    for l,says in odd: assert any(re.search(says, s) for s in check_agreement(l)), (says, check_agreement(l))

def test_check_agreement_sees_what_forward_does_and_changes_nothing():
    class Hidden(nn.Module):
        def __init__(self): super().__init__(); self.lin,self.bn = nn.Linear(8,5),nn.BatchNorm1d(5)
        def forward(self, x): return self.bn(self.lin(x)).softmax(1)
    learn = learner(); learn.model = Hidden().train(); learn.model.bn.eval()
    before = {k: v.clone() for k,v in learn.model.state_dict().items()}
    assert 'softmax' in check_agreement(learn)[0]
    assert learn.model.training and not learn.model.bn.training
    assert all((v==before[k]).all() for k,v in learn.model.state_dict().items())

def test_agreement_table():
    assert list(agreement)==['single-label','binary','multi-label','regression']
    row = agreement['multi-label']
    assert (row.activation,row.block)==('sigmoid','MultiCategoryBlock') and hasattr(losses, row.loss)

# --- the module -------------------------------------------------------------------------------------------------------

def test_module_needs_torch_alone():
    source = inspect.getsource(losses)
    assert 'fastai' not in [l.split()[1].split('.')[0] for l in source.splitlines() if l.startswith(('import ','from '))]
    code = "import sys, warnings; warnings.simplefilter('error'); import planet.losses; assert 'fastai' not in sys.modules and 'planet.data' not in sys.modules"
    subprocess.run([sys.executable, '-c', code], check=True, cwd=__file__.rsplit('/tests/')[0])

def test_training_on_an_accelerator_reads_no_value():
    if not torch.cuda.is_available(): pytest.skip('no GPU here')
    torch.cuda.set_sync_debug_mode('error')
    try:
        a = torch.zeros(4,5,device='cuda',requires_grad=True)
        binary_cross_entropy(a, torch.zeros(4,5,device='cuda')).backward()
    finally: torch.cuda.set_sync_debug_mode('default')
    with pytest.raises(ValueError, match=r'inp\[2, 3\] is nan'): binary_cross_entropy(spoilt(x, nan).cuda(), y.cuda())
