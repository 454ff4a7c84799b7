"Platt and temperature scaling against logistic regression; reliability and calibration error"
import pickle
import torch
from scores import close, draw
from sklearn.linear_model import LogisticRegression
from planet.metrics import calibration_error, crossfit_calibrate, fit_platt, fit_temperature, reliability

def test_platt_is_logistic_regression():
    torch.manual_seed(0)
    z = torch.randn(4000, 2, dtype=torch.double)
    targs = torch.rand(4000, 2) < (z*torch.tensor([.4, 2]) + torch.tensor([-1, .5])).sigmoid()
    cal = fit_platt(z.sigmoid(), targs)
    for i in range(2):
        ref = LogisticRegression(C=1e9).fit(z[:, [i]], targs[:, i])
        close([cal.slope[i], cal.bias[i]], [ref.coef_.item(), ref.intercept_.item()], .02) # softened a little
    assert (calibration_error(cal(z.sigmoid()), targs) < calibration_error(z.sigmoid(), targs)).all()

def test_temperature_recovers_what_was_done():
    probs, targs = draw(5000, 4, 1, dtype=torch.double)
    hot = (probs.logit(eps=1e-6)*3).sigmoid()
    cal = fit_temperature(hot, targs)
    close(cal.slope, [1/3]*4, .02)
    close(cal.bias, [0]*4)
    assert (calibration_error(cal(hot), targs) < calibration_error(hot, targs)).all()
    assert pickle.loads(pickle.dumps(cal))(hot).equal(cal(hot))

def test_platt_stays_finite():
    probs = torch.tensor([[0., .9, .5, 1.], [1., .1, .5, 1.], [0., .8, .5, 1.]])
    targs = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1]]) # separated, separated, one value, always there
    for fit in (fit_platt, fit_temperature):
        out = fit(probs, targs)(probs)
        assert out.isfinite().all() and (out > 0).all() and (out < 1).all() and out.dtype == probs.dtype
    assert fit_platt(probs, targs*0)(probs).max() < .5

def test_platt_never_turns_a_tag_around():
    g = torch.Generator().manual_seed(0)
    probs = torch.rand(200, 49, generator=g)
    targs = torch.zeros(200, 49, dtype=torch.bool)
    for j in range(49): targs[torch.randperm(200, generator=g)[:1 + j % 2], j] = True # one positive or two, anywhere
    cal = fit_platt(probs, targs)
    out, flat = cal(probs), cal.slope == 0
    assert (cal.slope >= 0).all() and 5 < flat.sum() < 44
    for j in range(49): # order is kept
        order = probs[:, j].argsort()
        assert (out[order, j].diff() >= 0).all()
    soft = torch.where(targs, (targs.sum(0) + 1)/(targs.sum(0) + 2), 1/((~targs).sum(0) + 2)).double()
    close(out[0, flat], soft.mean(0)[flat], 1e-6) # the best of the fits that are allowed: the rate of the targets
    for f in (fit_platt, fit_temperature): assert (f(probs, probs < .3).slope == 0).all() # a model that is always wrong
    assert (crossfit_calibrate(probs, targs) > 0).all()

def test_reliability():
    probs = torch.tensor([[.05, .95], [.15, 1.], [.15, .91], [0., .2]])
    targs = torch.tensor([[0, 1], [1, 1], [0, 0], [0, 0]])
    r = reliability(probs, targs, ['a', 'b'])
    assert r[['tag', 'bin', 'count']].values.tolist() == [['a', 0, 2], ['a', 1, 2], ['b', 2, 1], ['b', 9, 3]]
    close(r.predicted, [.025, .15, .2, 2.86/3]); close(r.observed, [0, .5, 0, 2/3])
    close(calibration_error(probs, targs, 10), [.5*.025 + .5*.35, .25*.2 + .75*abs(2.86/3 - 2/3)])
    probs, targs = draw(20000, 3)
    assert calibration_error(probs, targs).max() < .02
