"""Digits with a net of two linear layers, in plain PyTorch: no learner, nothing hidden.

    python experiments/mnist_mlp.py
    python experiments/mnist_mlp.py --data mnist

On scikit-learn's 1,797 digits, seed 42, in seconds on a CPU: accuracy 0.972 of 359 held out (95 %
interval 0.953 to 0.986) with Adam, 0.955 with SGD; always the commonest digit 0.089. The two cross entropies stay within 5e-7.
"""
from planet.cli import UserError, check_options, progress, say, script

# The same net twice: as a list of layers, and as a class with a `forward` of its own. Logits come out: no ReLU, no softmax
# at the end, since the loss has the softmax in it. (torch takes seconds to import, so it waits until the options are read.)
def sequential(n_pixels, n_classes):
    from torch import nn
    return nn.Sequential(nn.Linear(n_pixels, 128), nn.ReLU(), nn.Linear(128, n_classes))

def module(n_pixels, n_classes):
    from torch import nn
    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = nn.Linear(n_pixels, 128), nn.Linear(128, n_classes)
        def forward(self, x): return self.out(self.hidden(x).relu())
    return MLP()

def train(make_net, loss_func, make_opt, digits, epochs, bs, seed):
    "The trained net, its loss at every step, and a row an epoch. One seed gives one start and one order of digits."
    import torch
    torch.manual_seed(seed)
    net = make_net(digits.n_pixels, len(digits.vocab))
    opt, steps, rows = make_opt(net.parameters()), [], []
    for epoch in progress(range(1, epochs+1), epochs):
        batches = torch.randperm(len(digits.train_y)).split(bs)
        for batch in batches:
            loss = loss_func(net(digits.train_x[batch]), digits.train_y[batch])
            loss.backward()
            opt.step()
            opt.zero_grad()
            steps.append(loss.item())
        with torch.no_grad(): logits = net(digits.valid_x)
        rows.append(dict(epoch=epoch, train_loss=sum(steps[-len(batches):])/len(batches), valid_loss=loss_func(logits, digits.valid_y).item(),
                         accuracy=(logits.argmax(1) == digits.valid_y).float().mean().item()))
    return net, steps, rows

@script
def main(
    data:str='digits', # digits (scikit-learn's), mnist (fastai's), or a folder with training/0/*.png, testing/0/*.png
    bs:int=64, # digits in a batch
    epochs:int=20, # times through the training digits
    lr:float=1e-3, # learning rate of Adam
    sgd_lr:float=0.1, # learning rate of SGD: its steps are not scaled by the size of the gradients
    valid_pct:float=0.2, # share of scikit-learn's digits that is held out; MNIST comes with 10,000
    seed:int=42, # of the split, the start and the order of digits
    out:str='runs', # where the record goes
):
    "Train a net of two linear layers to read digits, with Adam and with SGD, with PyTorch's cross entropy and with ours."
    options = dict(locals())
    check_options(options)
    if not 0 < sgd_lr <= 100: raise UserError(f'--sgd_lr {sgd_lr:g} is outside 1e-12 to 100')
    import pandas as pd, torch
    from functools import partial
    from torch import nn
    from planet import plots
    from planet.digits import curves, find_digits, ink_on_paper
    from planet.losses import cross_entropy
    from planet.metrics import bootstrap_interval
    from planet.runs import Run, scores_report

    with Run('mnist_mlp', options, out) as run:
        pictures = find_digits(data, valid_pct, seed, progress)
        digits, n_valid = pictures.flat(), len(pictures.valid_y)
        say(f'data: {len(digits.train_y)+n_valid:,} digits of {digits.n_pixels} pixels, {digits.source}')
        fit = partial(train, digits=digits, epochs=epochs, bs=bs, seed=seed)
        adam, sgd = partial(torch.optim.Adam, lr=lr), partial(torch.optim.SGD, lr=sgd_lr)
        net, steps, adam_rows = fit(sequential, nn.CrossEntropyLoss(), adam)
        _, our_steps, _ = fit(module, cross_entropy, adam)
        _, _, sgd_rows = fit(sequential, nn.CrossEntropyLoss(), sgd)

        gap = (torch.tensor(steps, dtype=torch.double)-torch.tensor(our_steps, dtype=torch.double)).abs()
        with torch.no_grad(): logits = net(digits.valid_x)
        losses, pred = cross_entropy(logits, digits.valid_y, reduction='none'), logits.argmax(1)
        commonest = digits.train_y.bincount().argmax()
        scores = dict(accuracy=adam_rows[-1]['accuracy'], accuracy_sgd=sgd_rows[-1]['accuracy'], largest_gap=gap.max().item(),
                      accuracy_baseline=(digits.valid_y == commonest).float().mean().item(), valid_loss=losses.mean().item(),
                      valid_loss_sgd=sgd_rows[-1]['valid_loss'], accuracy_interval=bootstrap_interval(pred == digits.valid_y))
        rows = {'accuracy, Adam': 'accuracy', 'accuracy, SGD': 'accuracy_sgd', 'loss, Adam': 'valid_loss', 'loss, SGD': 'valid_loss_sgd'}
        say('', scores_report(scores, rows, f'{n_valid:,} held-out digits', 'commonest digit'),
            'accuracy with Adam: 95 % interval {:.3f} to {:.3f}'.format(*scores['accuracy_interval']),
            f"our cross_entropy beside nn.CrossEntropyLoss: over {len(steps):,} steps the losses differ by {gap.max():.1g} at most", '')

        history = {f'Adam, lr {lr:g}': pd.DataFrame(adam_rows), f'SGD, lr {sgd_lr:g}': pd.DataFrame(sgd_rows)}
        run.table('history', pd.concat(history, names=['optimizer']).reset_index(0), index=False)
        run.figure('optimizers', curves({title: {name: table[column] for name, table in history.items()} for title, column in
            {'training loss': 'train_loss', 'loss of held-out digits': 'valid_loss', 'their accuracy': 'accuracy'}.items()}, 'epoch'))
        run.figure('same_curve', curves({'training loss': {'nn.CrossEntropyLoss, nn.Sequential': steps, 'our cross_entropy, nn.Module': our_steps},
                                         'how far apart': {'': gap}}, 'step', log=['training loss']))
        hard = losses.argsort(descending=True)[:16]
        names = [[[digits.vocab[i]] for i in y[hard]] for y in (digits.valid_y, pred)]
        run.figure('hardest', plots.predictions_sheet(ink_on_paper(pictures.valid_x[hard]), *names, columns=8))
        torch.save(net.state_dict(), run.part/'model.pth')
        run.record(pictures.facts(), torch.device('cpu'), scores)
    say(run.path)
