"Answers to the exercises on data and learner: targets, duplicates in a split, the prior-bias head, views of a chip."
import torch
from planet.course.exercises import Exercise

__all__ = ['EXERCISES']

WEATHER = 'clear', 'partly_cloudy', 'haze', 'cloudy'
VOCAB = ['clear', 'haze', 'primary', 'road', 'water']

def _rows(tags): return [[int(t in row) for t in VOCAB] for row in tags]

def _targets():
    g = torch.Generator().manual_seed(0)
    few = torch.tensor([[1., 0, 1], [1, 0, 0], [1, 0, 0], [0, 0, 1]])
    return [(few,), ((torch.rand(50, 4, generator=g) < .2).float(),)]
def _rates(targs, add=.5): return (targs.sum(0) + add)/(len(targs) + 2*add)

def _views():
    g = torch.Generator().manual_seed(0)
    return [(torch.tensor([[[2., -1]], [[0, -3]]]),), (torch.randn(8, 3, 4, generator=g),)]

EXERCISES = dict(
    one_hot=Exercise(lambda tags, vocab: _rows(tags), lambda: [([['clear', 'primary'], [], ['water', 'haze']], VOCAB)],
        'For each chip a row with a place for each tag of the vocab: 1 where the tag is in its list.', {
        'Those are places in the vocab. Rows of different lengths make no batch; zeros and ones do.':
            lambda tags, vocab: [[vocab.index(t) for t in row] for row in tags],
        'A chip without a tag has a row too, of zeros.': lambda tags, vocab: [r for r in _rows(tags) if any(r)]}),
    on_both_sides=Exercise(lambda train, valid: len([p for p in valid if p in set(train)]),
        lambda: [(['a', 'b', 'b', 'b', 'c'], ['b', 'd', 'b']), (['a'], ['b'])],
        'Each validation chip whose pixels are also in the training set counts once.', {
        'Pictures were counted, not chips: two validation chips with the same pixels are two.':
            lambda train, valid: len(set(train) & set(valid)),
        'Those are training chips; how many of the *validation* chips are known?':
            lambda train, valid: len([p for p in train if p in set(valid)])}),
    no_weather=Exercise(lambda tags: [i for i, row in enumerate(tags) if sum(t in WEATHER for t in row) != 1],
        lambda: [([['clear', 'road'], ['water'], ['haze'], ['clear', 'haze']],), ([['cloudy']],)],
        'Count the weather tags of each chip; a single label needs exactly one. Give the rows of the others.', {
        'A chip with two kinds of weather has no single label either.':
            lambda tags: [i for i, row in enumerate(tags) if not any(t in WEATHER for t in row)]}),
    prior_bias=Exercise(lambda targs: torch.logit(_rates(targs)), _targets, 'The rate of each tag with half a chip '
        'more on '
        'either side, (count + 0.5)/(n + 1); then its logit, log(p/(1-p)).', {
        'A tag that no training chip has gives a rate of 0, and its logit is minus infinity: add half a chip to each '
        'side.':
            lambda targs: torch.logit(targs.mean(0)),
        'Those are the rates. The bias is a logit: the number whose sigmoid is the rate.': _rates,
        'log p is the bias of a softmax; a sigmoid wants the log-odds, log(p/(1-p)).':
            lambda targs: _rates(targs).log(),
        'A whole chip was added on either side; half a one.': lambda targs: torch.logit(_rates(targs, 1)),
        'The mean was taken along a row: a bias belongs to a tag, so count down the columns, dim 0.':
            lambda targs: torch.logit(_rates(targs.T))},
        remark='Its sigmoid is how often the tag occurs: the untrained model starts at the base rates.'),
    mean_of_views=Exercise(lambda logits: logits.mean(0).sigmoid(), _views,
        'The views are the first dimension: mean over it. Of the logits; the sigmoid comes last.', {
        'That is the mean of the probabilities, which pulls sure answers towards the middle. Ours averages logits.':
            lambda logits: logits.sigmoid().mean(0),
        'The sigmoid is missing: a probability is wanted.': lambda logits: logits.mean(0),
        'The likeliest view was taken, not their mean.': lambda logits: logits.amax(0).sigmoid()}),
    frozen=Exercise(lambda groups, n: [sum(groups[-n:]), sum(groups)], lambda: [([9_000, 11_000_000, 500_000], 1),
                                                                               ([10, 20, 30], 2)],
        'Frozen, only the last n groups have gradients; unfrozen, all have.', {
        'Those are the weights that do *not* learn while frozen.': lambda groups, n: [sum(groups[:-n]), sum(groups)]}))
