"Answers to the exercises on a feed-forward net: its forward pass, momentum, Adam, and how many weights it has."
import torch
from planet.course.exercises import Exercise

__all__ = ['EXERCISES']

def _net():
    g = torch.Generator().manual_seed(0)
    shapes = (3, 4), (5, 4), (5,), (2, 5), (2,)
    return [tuple(torch.randn(s, generator=g) for s in shapes)]

def _adam(w, g, state, lr, beta1=.9, beta2=.999, eps=1e-8, correct=True, root=True):
    state['t'] = t = state.get('t', 0) + 1
    state['m'] = m = beta1*state.get('m', 0) + (1 - beta1)*g
    state['v'] = v = beta2*state.get('v', 0) + (1 - beta2)*g**2
    if correct: m, v = m/(1 - beta1**t), v/(1 - beta2**t)
    return w - lr*m/((v.sqrt() if root else v) + eps)

def _first():
    w, g = torch.tensor([1., -2]), torch.tensor([.5, -40])
    return [(w, g, dict(m=torch.tensor([.1, .2]), v=torch.tensor([.04, 9.]), t=3), .1), (w, g, {}, .1)]

EXERCISES = dict(
    forward=Exercise(lambda x, w1, b1, w2, b2: (x @ w1.T + b1).relu() @ w2.T + b2, _net,
        '`x @ w1.T + b1`, then ReLU, then the same with w2 and b2. No activation after the last layer.', {
        'No ReLU between the layers: two linear layers in a row are one.':
            lambda x, w1, b1, w2, b2: (x @ w1.T + b1) @ w2.T + b2,
        'A ReLU after the last layer: no logit could be negative.':
            lambda x, w1, b1, w2, b2: ((x @ w1.T + b1).relu() @ w2.T + b2).relu(),
        'A softmax at the end: logits are wanted, since the loss has the softmax in it.':
            lambda x, w1, b1, w2, b2: ((x @ w1.T + b1).relu() @ w2.T + b2).softmax(1),
        'The biases are missing.': lambda x, w1, b1, w2, b2: (x @ w1.T).relu() @ w2.T}, gradient=True),
    weights=Exercise(lambda n_in, n_hidden, n_out: n_in*n_hidden + n_hidden + n_hidden*n_out + n_out,
        lambda: [(64, 128, 10), (784, 50, 10)], 'A linear layer from a to b numbers has a*b weights and b biases.', {
        'The biases are missing.': lambda n_in, n_hidden, n_out: n_in*n_hidden + n_hidden*n_out}),
    momentum=Exercise(lambda w, g, v, lr, beta: w - lr*(beta*v + g),
        lambda: [(torch.tensor([1., -2]), torch.tensor([.5, 4]), torch.tensor([2., 0]), .1, .9),
                 (torch.tensor([1.]), torch.tensor([1.]), torch.tensor([0.]), .5, .9)],
        'The step is the old step times beta, plus the gradient; then w minus lr times the step.', {
        'That is SGD without momentum.': lambda w, g, v, lr, beta: w - lr*g,
        'The sign: go against the gradient.': lambda w, g, v, lr, beta: w + lr*(beta*v + g),
        'PyTorch\'s momentum adds the whole gradient, not (1-beta) of it (that is a running mean, as in Adam).':
            lambda w, g, v, lr, beta: w - lr*(beta*v + (1 - beta)*g)}),
    adam=Exercise(lambda w, g, state, lr: _adam(w, g, state, lr), _first,
        'Running means m of g and v of g squared; divide them by 1 - beta^t; the step is lr * m / (sqrt(v) + eps).', {
        'Both running means start at 0, which is too low at first: divide them by 1 - beta**t.':
            lambda w, g, state, lr: _adam(w, g, state, lr, correct=False),
        'The root is missing: v is a mean of squares.': lambda w, g, state, lr: _adam(w, g, state, lr, root=False),
        'That is SGD: the step depends on the size of the gradient.': lambda w, g, state, lr: w - lr*g},
        remark='The first step is lr for every weight, however large its gradient.'))
