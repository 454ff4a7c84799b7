"""Passengers become numbers, and numbers a probability: what `titanic_mlp.py` and its notebook share.

Whatever is learned from a table (the median age, a mean, a spread) is learned from its training part alone: `Encode` looks
at that part, and is then applied to both.
"""
from pathlib import Path
import numpy as np, pandas as pd, torch
from planet.cli import UserError, near_names # before fastai, whose import it quiets
import fastai.callback.progress, fastai.callback.schedule # give `Learner` its `no_bar` and its `fit_one_cycle`
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import BCELossFlat
from fastai.torch_core import set_seed
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import TensorDataset
from planet.losses import BinaryCrossEntropyLoss
from planet.metrics import bootstrap_interval
from planet.plots import figure, plain_axes

__all__ = ['COLUMNS', 'find_passengers', 'draw_passengers', 'clean', 'Encode', 'folds', 'passenger_learner', 'fit_fold',
           'MODELS', 'cross_validate', 'score', 'folds_plot', 'threshold_plot', 'twins_plot']

NUMBERS = 'Survived', 'Pclass', 'Age', 'SibSp', 'Parch', 'Fare'
WORDS = 'Name', 'Sex', 'Cabin', 'Embarked'
COLUMNS = NUMBERS + WORDS
ALLOWED = dict(Survived=(0, 1), Pclass=(1, 2, 3), Sex=('male', 'female'))
OPTIONAL = 'Age', 'Fare', 'Cabin', 'Embarked' # may be missing in a row
HERE = Path('data/titanic/train.csv') # where `planet-data get titanic` puts it
FETCH = "planet-data get titanic fetches it into data/titanic, or give --data train.csv"

# ---- the table

def find_passengers(data='auto', # `auto` (data/titanic/train.csv), or Kaggle's train.csv, or the folder it lies in
                   ) -> pd.DataFrame: # a row a passenger, with `COLUMNS` at least
    "Kaggle's table of passengers, checked; `UserError` where it is missing, no table, or holds what it should not."
    path = HERE if data == 'auto' else Path(data).expanduser()
    if path.is_dir(): path = path/'train.csv'
    if not path.is_file(): raise UserError(f"--data {data}: there is no {path}; {FETCH}")
    try: table = pd.read_csv(path)
    except pd.errors.EmptyDataError: raise UserError(f"{path} is empty; {FETCH}") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as e: raise UserError(f"{path} is no table of comma-separated values: {e}") from None
    return _checked(table, path)

def _checked(table, path):
    if missing := [c for c in COLUMNS if c not in table]:
        told = ': it is test.csv, which lacks the answers; train.csv has them' if missing == ['Survived'] else \
               near_names(missing[0], table.columns) or f" (it has {', '.join(map(str, table.columns[:12]))}); {FETCH}"
        raise UserError(f"{path} has no column {' and no column '.join(missing)}{told}")
    if len(table) < 10: raise UserError(f"{path} has {len(table)} passengers: ten are wanted at least; {FETCH}")
    for c in COLUMNS:
        given = table[c].notna()
        if c in NUMBERS:
            number = pd.to_numeric(table[c], errors='coerce')
            good = number.notna() & (number >= 0) & (number < 1e6)
        else: good = given
        if c in ALLOWED: good &= (number if c in NUMBERS else table[c]).isin(ALLOWED[c])
        if c in OPTIONAL: good |= ~given
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            should = f"should be {' or '.join(map(str, ALLOWED[c]))}" if c in ALLOWED else 'should be a number from 0 up' if c in NUMBERS else 'must not be empty'
            raise UserError(f"{path}: {c} of passenger {row+1} is {table[c].iloc[row]!s:.40}, and {should}")
        if c in NUMBERS: table[c] = number
    return table

def draw_passengers(n:int=891, # passengers
                    seed:int=42,
                   ) -> pd.DataFrame: # `COLUMNS`, and `chance`, which no passenger knew
    """Invented passengers, for a machine that has no table: nobody among them ever lived.

    Class, sex, age, family, fare, port and cabin depend on one another roughly as they did on the ship; who survives is a
    coin whose log-odds are a sum: -2.3, a woman +4, a step up in class +0.8, a boy under 14 +2.5, a third-class woman -0.9,
    and -1.6 more from Southampton, more than three relatives -3. So the best possible answer is known, and even it is often wrong.
    """
    rng = np.random.default_rng(seed)
    pclass = rng.choice([1, 2, 3], n, p=[.24, .21, .55])
    female = rng.random(n) < np.array([.44, .41, .29])[pclass-1]
    child = rng.random(n) < np.array([.03, .1, .11])[pclass-1]
    age = np.where(child, rng.uniform(.5, 14, n), np.minimum(14 + rng.gamma(2.6, np.array([9.5, 6.2, 5.])[pclass-1]), 80))
    married = ~child & (age > 18) & (rng.random(n) < .45)
    sibsp = np.where(child, rng.poisson(1.6, n), np.where(married, rng.random(n) < .65, rng.random(n) < .12)).astype(int)
    parch = np.where(child, rng.integers(1, 3, n), np.where(married, rng.poisson(.55, n), 0))
    fare = np.array([55, 18, 8.5])[pclass-1]*(1 + .45*(sibsp+parch))*np.exp(rng.normal(0, .35, n))
    title = np.select([child & ~female, female & married, female], ['Master', 'Mrs', 'Miss'], 'Mr')
    title = np.where((title == 'Mr') & (rng.random(n) < .035), rng.choice(['Dr', 'Rev', 'Col'], n), title)
    port = rng.choice(['S', 'C', 'Q'], n, p=[.72, .19, .09])
    logit = -2.3 + 4*female + .8*(3-pclass) + 2.5*(child & ~female) - (.9 + 1.6*(port == 'S'))*(female & (pclass == 3)) - 3*(sibsp+parch > 3)
    chance = 1/(1 + np.exp(-logit))
    table = pd.DataFrame(dict(
        Survived=(rng.random(n) < chance).astype(int), Pclass=pclass, Sex=np.where(female, 'female', 'male'),
        Age=np.where(rng.random(n) < .2, np.nan, age.round(1)), SibSp=sibsp, Parch=parch, Fare=fare.round(2),
        Name=[f'Nobody{i}, {t}. {"EA"[f]}.' for i, (t, f) in enumerate(zip(title, female.astype(int)))],
        Cabin=np.where(rng.random(n) < np.array([.8, .09, .03])[pclass-1], 'B5', None),
        Embarked=np.where(rng.random(n) < .003, None, port)))
    return table[list(COLUMNS)].assign(chance=chance)

# ---- from words to numbers

TITLES = dict(Mr='Mr', Mrs='Mrs', Mme='Mrs', Miss='Miss', Mlle='Miss', Ms='Miss', Master='Master')

def clean(table:pd.DataFrame, # `COLUMNS`; `Survived` is not looked at
         ) -> pd.DataFrame: # `age, fare, family, title, female, pclass, port, cabin`, a row a passenger; ages and fares may be missing
    "What one row says, without a look at any other row: so nothing can leak here."
    title = table.Name.str.extract(r',\s*([^.,]+)\.', expand=False).str.strip()
    return pd.DataFrame(dict(
        age=table.Age.astype(float), fare=np.log1p(table.Fare.astype(float)), # fares run from 0 to 512: their logarithm is tamer
        family=(1 + table.SibSp + table.Parch).astype(float),
        title=title.map(TITLES).fillna('Other'), # officers, clergy, nobility: too few for a column each
        female=table.Sex.eq('female'), pclass=table.Pclass.astype(int),
        port=table.Embarked.fillna('S'), # two of 891 are missing; most embarked at Southampton
        cabin=table.Cabin.notna())) # that a cabin is known says more than which it is

class Encode:
    """From `clean` passengers to columns of floats, with what the training part `train` taught.

    A missing age becomes the median age of its title, a missing fare that of its class; ages, fares and families are
    scaled to mean 0 and standard deviation 1; words become a column a word. That an age was missing is a column too.
    """
    scaled = 'age', 'fare', 'family'
    words = dict(title=('Mr', 'Mrs', 'Miss', 'Master', 'Other'), pclass=(1, 2, 3), port=('S', 'C', 'Q'))

    def __init__(self, train:pd.DataFrame): # `clean` passengers of the training part, and of no other
        self.age, self.fare = train.groupby('title').age.median(), train.groupby('pclass').fare.median()
        self.median = train[['age', 'fare']].median().fillna(0.) # for a title or class that the training part lacks
        filled = self._filled(train)
        self.mean, self.std = filled.mean(), filled.std(ddof=0).replace(0, 1)

    def _filled(self, t):
        return pd.DataFrame(dict(age=t.age.fillna(t.title.map(self.age)).fillna(self.median.age),
                                 fare=t.fare.fillna(t.pclass.map(self.fare)).fillna(self.median.fare), family=t.family))

    def __call__(self, t:pd.DataFrame, # `clean` passengers of either part
                ) -> pd.DataFrame: # float32, `(passengers, 18)`
        columns = dict((self._filled(t) - self.mean)/self.std)
        columns |= {'age missing': t.age.isna(), 'female': t.female, 'cabin known': t.cabin, 'alone': t.family == 1, 'family of 5+': t.family >= 5}
        columns |= {f'{name} {word}': t[name] == word for name, words in self.words.items() for word in words}
        return pd.DataFrame(columns).astype('float32')

def folds(survived, # `(passengers,)` of 0 and 1
          k:int=5, seed:int=42,
         ): # `(train, valid)` row numbers, `k` times; every passenger is held out exactly once
    "Stratified folds: the share of survivors is the same in each."
    fewest = int(np.bincount(np.asarray(survived), minlength=2).min())
    if not 2 <= k <= fewest: raise UserError(f"--folds {k}: 2 to {fewest} are possible, as each needs one who survived and one who did not"
                                             if fewest > 1 else f"{fewest} passengers of one kind: survivors and others are needed, two each at least")
    return list(StratifiedKFold(k, shuffle=True, random_state=seed).split(np.zeros(len(survived)), survived))

# ---- the network

def passenger_learner(x, # `(train, valid)`: float arrays `(passengers, columns)`
                      y, # `(train, valid)`: `(passengers,)` of 0 and 1
                      hidden:int=32, bs:int=64, seed:int=42,
                      twin:bool=False, # a `Sigmoid` layer and `BCELoss` in place of logits and `BCEWithLogits`?
                     ) -> Learner:
    "One hidden layer and one output unit. The twin starts at the same weights and sees the same batches."
    set_seed(seed)
    sets = [TensorDataset(torch.tensor(np.asarray(a, np.float32)), torch.tensor(np.asarray(b, np.float32))[:, None]) for a, b in zip(x, y)]
    dls = DataLoaders.from_dsets(*sets, bs=min(bs, len(sets[0])), num_workers=0, device='cpu') # too small for a GPU to help
    layers = [nn.Linear(sets[0].tensors[0].shape[1], hidden), nn.ReLU(), nn.Dropout(.3), nn.Linear(hidden, 1)]
    return Learner(dls, nn.Sequential(*layers, *[nn.Sigmoid()]*twin), loss_func=BCELossFlat() if twin else BinaryCrossEntropyLoss(), wd=.1)

def fit_fold(x, y, # as in `passenger_learner`
             epochs:int=15, lr:float=1e-2, **kwargs, # for `passenger_learner`
            ): # probabilities `(valid passengers,)`, and a row an epoch with `train_loss, valid_loss`
    "Train on one part and answer for the other."
    learn = passenger_learner(x, y, **kwargs)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(epochs, lr)
        history = pd.DataFrame([row[:2] for row in learn.recorder.values], columns=['train_loss', 'valid_loss'])
        return learn.get_preds()[0].flatten().numpy(), history

MODELS = dict(network='network, BCE with logits', twin='its twin, sigmoid and BCE', logistic='logistic regression', women='women survive', nobody='nobody survives')

def cross_validate(table:pd.DataFrame, # `COLUMNS`
                   k:int=5, seed:int=42,
                   each=lambda fold, history: None, # called after each fold
                   **kwargs, # for `fit_fold`
                  ): # out-of-fold probabilities (a row a passenger, a column a model, and the fold), the last fold's histories
    "Every model's answer about every passenger, from the fold in which that passenger was held out."
    passengers, survived = clean(table), table.Survived.to_numpy()
    probs = np.zeros((len(table), len(MODELS)+1))
    probs[:, 3] = passengers.female
    for fold, (train, valid) in enumerate(folds(survived, k, seed), 1):
        encode = Encode(passengers.iloc[train]) # the held-out passengers teach it nothing
        x, y = [encode(passengers.iloc[rows]).to_numpy() for rows in (train, valid)], [survived[rows] for rows in (train, valid)]
        probs[valid, 0], history = fit_fold(x, y, seed=seed+fold, **kwargs)
        probs[valid, 1], twin = fit_fold(x, y, seed=seed+fold, twin=True, **kwargs)
        probs[valid, 2] = LogisticRegression(max_iter=1000).fit(x[0], y[0]).predict_proba(x[1])[:, 1]
        probs[valid, 5] = fold
        each(fold, history)
    return pd.DataFrame(probs, table.index, [*MODELS, 'fold']).astype(dict(fold=int)), history, twin

def score(probs:pd.DataFrame, # from `cross_validate`
          survived, # `(passengers,)` of 0 and 1
          thresh:float=.5, # said to survive above this probability
         ): # name -> number; accuracy, a row a fold and a column a model; a report
    "Accuracy of each model: its mean and its spread over folds, and a 95 % bootstrap interval over passengers."
    survived = np.asarray(survived)
    right = probs[[*MODELS]].gt(thresh).eq(survived == 1, axis=0).astype(float)
    accuracy = right.groupby(probs.fold).mean()
    intervals = {m: bootstrap_interval(right[m].to_numpy(copy=True)) for m in MODELS}
    lead, width = bootstrap_interval((right.network - right.logistic).to_numpy(copy=True)), max(map(len, MODELS.values()))
    lines = [f"{f'{len(probs):,} passengers, {len(accuracy)} folds':<{width}}{'accuracy':>11}{'over folds':>13}   95 % interval"]
    for m, name in MODELS.items():
        lines.append(f"{name:<{width}}{accuracy[m].mean():>11.4f}{f'+-{accuracy[m].std():.4f}':>13}   {intervals[m][0]:.3f} to {intervals[m][1]:.3f}")
    apart = float((probs.network - probs.twin).abs().max())
    lines += ['', f'network less logistic regression: {(right.network - right.logistic).mean():+.4f}, 95 % interval {lead[0]:+.3f} to {lead[1]:+.3f}',
              f'network and twin: no probability differs by more than {apart:.1e}']
    scores = {'accuracy': accuracy.network.mean(), 'accuracy_std': accuracy.network.std(), 'accuracy_baseline': accuracy.women.mean(),
              **{f'accuracy_{m}': accuracy[m].mean() for m in ('twin', 'logistic', 'nobody')}}
    scores |= {'valid_loss' + ('' if m == 'network' else f'_{m}'): log_loss(survived, probs[m]) for m in ('network', 'logistic')}
    scores = {name: round(float(v), 5) for name, v in scores.items()}
    return scores | dict(accuracy_interval=[round(v, 5) for v in intervals['network']], twins_apart=apart), accuracy, '\n'.join(lines)

# ---- pictures

BLUE, ORANGE, GREY = '#0969da', '#bf6900', '#57606a'

def folds_plot(accuracy:pd.DataFrame): # a row a fold, a column a model
    "Accuracy of each model in each fold: how far the folds differ beside how far the models do."
    fig = figure(7.2, .6 + .55*accuracy.shape[1])
    ax = plain_axes(fig.subplots())
    for i, name in enumerate(accuracy):
        ax.plot(accuracy[name], [i]*len(accuracy), 'o', color=BLUE, alpha=.55, ms=8, mec='none')
        ax.plot(accuracy[name].mean(), i, '|', color='black', ms=22, mew=2)
    ax.set(yticks=range(accuracy.shape[1]), yticklabels=accuracy.columns, ylim=(accuracy.shape[1]-.5, -.5), xlabel='accuracy of a held-out fold (bar: their mean)')
    return fig

def threshold_plot(probs, survived, thresh:float=.5):
    "Accuracy of out-of-fold probabilities at every threshold: flat in the middle, so there is little to gain by tuning it."
    grid, yes = np.linspace(0, 1, 201), np.asarray(survived) == 1
    fig = figure(6.4, 3.6)
    ax = plain_axes(fig.subplots())
    ax.plot(grid, [((probs > t) == yes).mean() for t in grid], color=BLUE)
    ax.axvline(thresh, color=GREY, ls=':', label=f'--thresh {thresh:g}')
    ax.set(xlabel='said to survive above this probability', ylabel='accuracy, out of fold', xlim=(0, 1))
    ax.legend(frameon=False)
    return fig

def twins_plot(logits, # history of the network
               twin, # history of its twin
              ):
    "Left: two ways to write one loss, one curve. Right: what each has to teach about a survivor whose logit is far off."
    fig = figure(10, 3.6)
    left, right = (plain_axes(ax) for ax in fig.subplots(1, 2))
    for history, style, label in ((logits, dict(lw=5, alpha=.35, color=BLUE), 'logits, BCEWithLogits'), (twin, dict(lw=1.3, color=ORANGE), 'Sigmoid, BCELoss')):
        left.plot(range(1, len(history)+1), history.valid_loss, label=label, **style)
    left.set(xlabel='epoch', ylabel='held-out loss', title='one loss, written twice')
    for sigmoid, style in ((False, dict(lw=5, alpha=.35, color=BLUE)), (True, dict(lw=1.3, color=ORANGE))):
        x = torch.linspace(-5, 40, 451).requires_grad_()
        loss = nn.functional.binary_cross_entropy(x.sigmoid(), torch.zeros_like(x), reduction='sum') if sigmoid else \
               nn.functional.binary_cross_entropy_with_logits(x, torch.zeros_like(x), reduction='sum')
        right.plot(x.detach(), torch.autograd.grad(loss, x)[0], **style)
    right.set(xlabel='logit of a passenger who did not survive', ylabel='slope of the loss', title='beyond a logit of 17 the twin learns nothing')
    left.legend(frameon=False)
    return fig
