"""Train a net of two linear layers to read digits, in plain PyTorch, without a `Learner`.

    python experiments/mnist_mlp.py
    python experiments/mnist_mlp.py --data mnist --epochs 5

The first, on scikit-learn's 1,797 digits, seed 42, takes seconds on a CPU: accuracy 0.972 on 359 validation digits with
Adam (95 % confidence interval 0.953 to 0.991), 0.955 with SGD, 0.089 for always the most common digit. PyTorch's cross
entropy and ours stay within 5e-7 of one another. The notebook `10_feedforward` builds all of it step by step.
"""
from planet.cli import say, script
from planet.options import options

@script
def main(
    data:str='digits', # digits (scikit-learn's), mnist (fastai's), or a folder with training/0/*.png, testing/0/*.png
    bs:int=64, # digits in a batch
    epochs:int=20, # passes over the training digits
    lr:float=1e-3, # learning rate of Adam
    sgd_lr:float=0.1, # learning rate of SGD: its steps are not scaled by the size of the gradients
    valid_pct:float=0.2, # share of scikit-learn's digits in the validation set; MNIST comes with 10,000
    seed:int=42, # of the split, the initial weights and the order of digits
    out:str='runs', # where the record goes
):
    "Train a net of two linear layers on digits, with Adam and with SGD, with PyTorch's cross entropy and with ours."
    o = options(dict(locals()))
    # what follows takes seconds to import, so it comes after the options have been checked
    from functools import partial
    import torch
    from torch import nn
    from planet.course import digits as course
    from planet.losses import cross_entropy
    from planet.runs import Run, device_facts

    with Run('mnist_mlp', o) as run:
        pictures = course.find_digits(o.data, o.valid_pct, o.seed)
        digits = pictures.flat()
        run.update(data=pictures.facts(), device=device_facts(torch.device('cpu')))
        say(f"data: {run.facts['data']['chips']:,} digits of {digits.n_pixels} pixels, {digits.source}")
        train = partial(course.train, digits=digits, epochs=o.epochs, bs=o.bs, seed=o.seed)
        adam, sgd = partial(torch.optim.Adam, lr=o.lr), partial(torch.optim.SGD, lr=o.sgd_lr)
        net, steps, adam_rows = train(course.sequential_mlp, nn.CrossEntropyLoss(), adam)
        _, our_steps, _ = train(course.MLP, cross_entropy, adam)
        _, _, sgd_rows = train(course.sequential_mlp, nn.CrossEntropyLoss(), sgd)
        history = {f'Adam, lr {o.lr:g}': adam_rows, f'SGD, lr {o.sgd_lr:g}': sgd_rows}

        scores = course.score_digits(net, digits, history, steps, our_steps)
        run.table('history', course.history_table(history), index=False)
        run.table('validation', course.validation_table(net, digits))
        run.update(scores=scores)
        torch.save(net.state_dict(), run.path/'model.pth')
        run.figure('optimizers', course.optimizers_figure, history)
        run.figure('same_curve', course.same_curve_figure, steps, our_steps)
        run.figure('top_losses', course.top_losses, net, digits, pictures)
        say('', course.digits_report(scores, len(digits.valid_y), len(steps)), '', run.path)
