"""Binary classification of a table: who survived the Titanic, by k-fold cross-validation.

    python experiments/titanic_mlp.py --data synthetic
    planet-data get titanic; python experiments/titanic_mlp.py

The second needs a Kaggle account. On Kaggle's 891 passengers, five folds, seed 42: accuracy 0.837 (folds +-0.012, 95 %
interval 0.814 to 0.862); logistic regression on the same columns 0.829 (the difference of +0.008 has an interval of
-0.002 to +0.018), the rule that women survive 0.787. The probabilities of the same network with a sigmoid as its last
layer are the same to 1.2e-07.
"""
from planet.cli import UserError, say, script
from planet.options import check_options

@script
def main(
    data:str='auto', # Kaggle's train.csv or its folder, or synthetic; auto: data/titanic, from planet-data get titanic
    folds:int=5, # number of folds; each is the validation set once
    hidden:int=32, # units of the hidden layer
    bs:int=64, # passengers in a batch
    epochs:int=15, # epochs a fold
    lr:float=1e-2, # top learning rate of the one-cycle schedule
    thresh:float=0.5, # predicted to survive above this probability; 0.5 is best where both mistakes cost the same
    seed:int=42, # of the folds, the weights and the order of passengers
    out:str='runs', # where the record goes
):
    "Train a network with one output unit, beside logistic regression and a simple rule; k-fold cross-validation."
    options = dict(locals())
    if folds < 2: raise UserError(f'{folds}: two at least are needed, to train and to validate', option='folds')
    if hidden < 1: raise UserError(f'{hidden}: one unit at least is needed before the output', option='hidden')
    check_options(options)
    # what follows takes seconds to import, so it comes after the options have been checked
    import torch
    from planet.course import passengers, titanic
    from planet.runs import Run, device_facts

    with Run('titanic_mlp', options) as run:
        table = passengers.find_passengers(data)
        def tell(fold, h):
            say(f'fold {fold}  train_loss {h.train_loss.iloc[-1]:.4f}  valid_loss {h.valid_loss.iloc[-1]:.4f}')
        recipe = dict(epochs=epochs, lr=lr, hidden=hidden, bs=bs)
        probs, history, twin = titanic.cross_validate(table, folds, seed, tell, **recipe)
        scores, accuracy = titanic.score(probs, table.Survived, thresh)

        run.table('predictions', probs.assign(survived=table.Survived), index_label='row')
        run.table('folds', accuracy)
        facts = dict(source='passengers of the Titanic', table=str(data), passengers=len(table), folds=folds)
        run.update(data=facts | table.attrs, device=device_facts(torch.device('cpu')), scores=scores)
        run.figure('folds', titanic.folds_plot, accuracy)
        run.figure('threshold', titanic.threshold_plot, probs.network, table.Survived, thresh)
        run.figure('twins', titanic.twins_plot, history, twin)
        say('', titanic.report(scores, accuracy, len(table)), '', run.path)
