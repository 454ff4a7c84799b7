"The pictures of chips show what is in the table, and can be read."
import io
import itertools
import warnings
from pathlib import Path
import matplotlib
import matplotlib._pylab_helpers
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from planet import plots
from planet.amazon import WEATHER
from planet.chips import Chips, from_folder
from planet.synthetic.chips import draw_tags

def of_tags(tags, vocab=None):
    table = pd.DataFrame(dict(image_name=[f'chip_{i}' for i in range(len(tags))], tags=[sorted(t) for t in tags],
                              path=[Path(f'chip_{i}') for i in range(len(tags))]))
    return Chips(table, vocab or sorted({t for o in tags for t in o}), 'a table', Path('.'))

@pytest.fixture(scope='module')
def many(): return of_tags(draw_tags(20000, seed=0))
@pytest.fixture(scope='module')
def chips(drawn): return from_folder(drawn)

def said(fig): return [t.get_text() for ax in fig.axes for t in ax.texts] + [t.get_text() for t in fig.texts]
def bars(ax): return {label.get_text(): bar.get_width() for label, bar in zip(ax.get_yticklabels(), ax.patches)}
def colours(ax):
    return {label.get_text(): to_hex(bar.get_facecolor()) for label, bar in zip(ax.get_yticklabels(), ax.patches)}

FIGURES = [plots.class_distribution, plots.tags_per_chip, plots.cooccurrence,
           lambda chips: plots.fold_balance(chips, np.arange(len(chips)) % 5)]

@pytest.mark.parametrize('figure', FIGURES)
@pytest.mark.parametrize('tags',
                         [draw_tags(20000, seed=0), [['rape', 'Spring-barley'], ['rape']],
                          [['a']]*30 + [['a', 'b', 'a rather long name of a tag']],
                                  [[f'tag{j:02}' for j in range(i % 50, 50)] for i in range(200)]],
                         ids=['competition', 'two', 'long', 'fifty'])
def test_no_text_is_cut_off_or_lies_on_another(figure, tags):
    fig = figure(of_tags(tags))
    fig.savefig(io.BytesIO()) # lays it out
    texts = []
    for ax in fig.axes:
        low, high = ax.get_xlim()
        across = [] if ax.images else [label for label, x in zip(ax.get_xticklabels(), ax.get_xticks())
                                       if low <= x <= high]
        texts += [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_yticklabels(), *across]
    boxes = {text: text.get_window_extent() for text in texts if text.get_text()}
    for text, box in boxes.items():
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= fig.bbox.width+1 and box.y1 <= fig.bbox.height+1
        assert inside, f'{text.get_text()!r} is cut off'
    for a, b in itertools.combinations(boxes, 2):
        one, two = boxes[a], boxes[b]
        assert not (min(one.x1, two.x1) - max(one.x0, two.x0) > 1
                    and min(one.y1, two.y1) - max(one.y0, two.y0) > 3), f'{a.get_text()!r} on {b.get_text()!r}'

def test_figures_leave_no_global_state(many, chips):
    before = dict(matplotlib.rcParams)
    for figure in FIGURES: figure(many).savefig(io.BytesIO())
    plots.show_chips(chips, n=2, size=32).savefig(io.BytesIO())
    assert not matplotlib._pylab_helpers.Gcf.figs and dict(matplotlib.rcParams) == before

NASTY = ['$\\frac$', '$x', r'a\$b', 'a_b^c', '森林', '', 'x'*300, 'naïve ~é', 'a\nb', '%', '\udc80', '\0', '{', '\\',
         'עברית', '😀', '_hidden',
         'a tag of several words that goes on and on, longer than any figure is wide']

@pytest.mark.parametrize('tags', [NASTY[i::4] for i in range(4)], ids=range(4))
def test_tags_of_any_text_can_be_drawn(tags):
    chips, pixels = of_tags([['a', *tags], ['a'], tags]), [np.zeros((8, 8, 3), np.uint8)]*3
    others = [lambda: plots.chip_grid(pixels, chips.table.tags, names=tags[:3]),
              lambda: plots.predictions_sheet(pixels, [tags]*3, [['b']]*3)]
    for tag in tags:
        others += [lambda t=tag: plots.grid(pixels[:1], [[(t, 'black')]], 1, 1., t),
                   lambda t=tag: plots.fold_balance(chips, [0, 1, 1], t),
                   lambda t=tag: plots.loss_curves(history(8).rename(columns=dict(f2=t)))]
    with warnings.catch_warnings():
        warnings.simplefilter('error') # matplotlib warns of a character that it does not have
        for draw in [*(lambda f=f: f(chips) for f in FIGURES), *others]: draw().savefig(io.BytesIO())

def test_names_that_no_font_has_are_told_apart():
    assert plots.as_text('森') == '<68EE>' != plots.as_text('林') and plots.as_text('clear') == 'clear'
    assert plots.as_text(' ') == '(empty)'
    assert plots.as_text('$a$') == plots.as_text(plots.as_text('$a$')) == r'\$a\$'

def test_a_font_that_has_a_character_shows_it(): assert plots.as_text('é ж ∑') == 'é ж ∑'

@pytest.mark.parametrize('figure', FIGURES)
def test_few_and_many_tags(figure):
    rng = np.random.default_rng(0)
    for tags in [['a']]*5, [[f'tag{i}' for i in rng.integers(0, 3000, 8)] for _ in range(2000)]:
        width, height = figure(of_tags(tags)).get_size_inches()
        assert width < 40 and height < 40

# ---- counts

def test_the_class_distribution(many):
    fig = plots.class_distribution(many)
    ax, = fig.axes
    counts = dict(zip(many.vocab, many.targets.sum(0)))
    assert bars(ax) == counts and list(bars(ax).values()) == sorted(counts.values(), reverse=True)
    assert all(f"{counts[tag]:,}" in said(fig) for tag in many.vocab)
    assert f"{100*counts['clear']/20000:.0f} %" in said(fig)
    assert ax.get_xscale() == 'log' and ax.get_xlim()[0] < 1
    assert {tag for tag, colour in colours(ax).items() if colour == plots.PURPLE} == set(WEATHER)

def test_classes_of_like_size_have_a_scale_that_begins_at_zero():
    ax, = plots.class_distribution(of_tags([['wheat', 'rape']]*3 + [['wheat']]*20)).axes
    assert ax.get_xscale() == 'linear' and ax.get_xlim()[0] == 0 and all(x == int(x) for x in ax.get_xticks())
    assert bars(ax) == dict(wheat=23, rape=3)
    assert set(colours(ax).values()) == {plots.BLUE}

def test_a_tag_that_no_chip_has(many):
    some = of_tags([['clear', 'primary']]*40 + [['clear']], [*many.vocab])
    ax, = plots.class_distribution(some).axes
    assert bars(ax)['blow_down'] == 0 and '0' in said(ax.figure)
    assert {t for t in said(plots.cooccurrence(some))} == {'100', '98'}
    assert [l.get_text()
            for l in plots.fold_balance(some, np.arange(41) % 2).axes[0].get_yticklabels()] == ['clear  41',
                'primary  40']

def test_tags_per_chip():
    fig = plots.tags_per_chip(of_tags([['a']] + [['a', 'b']]*3 + [['b', 'c'], ['a', 'b', 'c', 'd']]))
    assert bars(fig.axes[0]) == {'1 tag': 1, '2 tags': 4, '3 tags': 0, '4 tags': 1}
    assert {'a (1)', 'a b (3)', 'a b c d (1)', '67 %', '17 %', '0 %'} <= set(said(fig))
    assert '2.17 tags a chip' in fig.axes[0].get_xlabel()

def test_chips_without_any_tag():
    assert bars(plots.tags_per_chip(of_tags([[], ['a', 'b']])).axes[0]) == {'0 tags': 1, '1 tag': 0, '2 tags': 1}

def test_cooccurrence_is_the_share_of_the_rows_chips(many):
    fig = plots.cooccurrence(many)
    ax, = fig.axes
    columns = [l.get_text() for l in ax.get_xticklabels()]
    rows = [l.get_text().split()[0] for l in ax.get_yticklabels()]
    assert rows == columns and sorted(rows) == many.vocab
    hot = pd.DataFrame(many.targets, columns=many.vocab)
    shown = {(rows[int(t.get_position()[1])], columns[int(t.get_position()[0])]): t.get_text() for t in ax.texts}
    for a, b in itertools.permutations(many.vocab, 2):
        p = hot[b][hot[a]].mean()
        assert shown.get((a, b), '') == ('' if p == 0 else '<1' if p < .005 else f'{100*p:.0f}')
    assert len([k for k in shown if k[0] == k[1]]) == 0

def test_tags_that_go_together_stand_together():
    rng = np.random.default_rng(0)
    groups = [['a', 'd', 'g'], ['b', 'e', 'h'], ['c', 'f', 'i']]
    tags = [{t for t in groups[i % 3] if rng.random() < .8} | {t for t in 'abcdefghi' if rng.random() < .05} | {'z'}
            for i in range(600)]
    order = ''.join(l.get_text() for l in plots.cooccurrence(of_tags(tags)).axes[0].get_xticklabels()).replace('z', '')
    assert {frozenset(order[i:i+3]) for i in (0, 3, 6)} == {frozenset(g) for g in groups}

def test_fold_balance_shows_each_folds_share():
    chips = of_tags([['a', 'b']]*4 + [['a']]*4)
    ax, = plots.fold_balance(chips, [0, 0, 0, 1, 0, 1, 1, 1], 'mine').axes
    shares = {line.get_label(): list(line.get_xdata()) for line in ax.lines if line.get_label().startswith('fold')}
    assert shares == {'fold 0': [.5, .75], 'fold 1': [.5, .25]} and ax.get_title() == 'mine'

# ---- chips

def pictures(fig): return [ax.images[0].get_array() for ax in fig.axes]

def test_show_chips(chips):
    fig, again, other = (plots.show_chips(chips, n=5, seed=seed, size=32) for seed in (1, 1, 2))
    assert len(fig.axes) == 5 and pictures(fig)[0].shape == (32, 32, 3)
    assert all((a == b).all() for a, b in zip(pictures(fig), pictures(again)))
    assert not all((a == b).all() for a, b in zip(pictures(fig), pictures(other)))
    tags = {' '.join(t) for t in chips.table.tags}
    assert all(' '.join(t.get_text() for t in ax.texts) in tags for ax in fig.axes)
    assert len(plots.show_chips(chips[range(3)], n=12, size=32).axes) == 3

def test_a_tag_sheet_has_chips_of_that_tag(chips):
    having = [row for row, tags in enumerate(chips.table.tags) if 'water' in tags]
    fig = plots.tag_sheet(chips, 'water', n=100, size=32)
    known = {plots._pixels(chips, [row], 32)[0].tobytes() for row in having}
    assert {np.asarray(p).tobytes() for p in pictures(fig)} == known and len(known) == len(having)
    assert f'water: {len(having)} of 60 chips' in fig.texts[0].get_text()
    assert not any('water' in t for t in said(fig)[:-1])

def test_a_sheet_of_a_tag_that_is_not_there(chips):
    with pytest.raises(ValueError, match="no chip has the tag 'watr', did you mean water"):
        plots.tag_sheet(chips, 'watr')

def test_a_chip_that_cannot_be_read_is_grey(folder):
    (folder/'train-jpg'/'train_0.jpg').write_bytes(b'')
    chips = from_folder(folder)[range(2)]
    grey, seen = sorted(pictures(plots.show_chips(chips, size=32)), key=np.std)
    assert (grey == 200).all() and seen.std() > 0

def test_file_names_under_chips(chips):
    for fig in plots.show_chips(chips, n=3, size=32, names=True), plots.tag_sheet(chips, 'water', n=3, size=32,
        names=True):
        assert all(ax.texts[0].get_text() in {p.name for p in chips.paths} for ax in fig.axes)
    assert not any('jpg' in t for t in said(plots.show_chips(chips, n=3, size=32)))

def test_captions_stay_under_their_chip():
    long = ['a_long_word_without_end '*6, 'w'*200, *(f'tag{i}' for i in range(40))]
    fig = plots.chip_grid([np.zeros((8, 8, 3), np.uint8)]*8, [long]*8, columns=4, width=6, names=['n'*99]*8)
    fig.savefig(io.BytesIO())
    boxes = [[t.get_window_extent() for t in ax.texts] for ax in fig.axes]
    for ax, texts in zip(fig.axes, boxes):
        image = ax.get_window_extent()
        assert all(b.x0 > image.x0 - 6 and b.x1 < image.x1 + 6 and b.y0 >= 0 for b in texts)
    assert all(b.y0 > fig.axes[4].get_window_extent().y1 for b in boxes[0])

@pytest.mark.parametrize('bands,shape', [(1, (4, 5)), (2, (4, 5)), (3, (4, 5, 3)), (4, (4, 5, 3)), (13, (4, 5, 3))])
def test_images_of_any_number_of_bands(bands, shape):
    assert plots.as_array(torch.rand(bands, 4, 5)).shape == shape == plots.as_array(torch.zeros(bands, 4, 5,
        dtype=torch.uint8)).shape
    plots.chip_grid([plots.as_array(torch.rand(bands, 4, 5))], [['a']]).savefig(io.BytesIO())

# ---- training and predictions

def history(n, first=1.): # losses of a run whose first epoch trains the head
    epochs = np.arange(n)
    return pd.DataFrame(dict(epoch=epochs, stage=['head', *['all']*(n-1)], train_loss=.26 + .02*.5**epochs*first,
                             valid_loss=.25 + .02*.5**epochs,
                             f2=.8 + .01*epochs, accuracy_multi=.9 + .001*epochs, time='0:01'))

@pytest.mark.parametrize('n', [1, 2, 8, 200])
def test_loss_curves_fill_their_axes(n):
    rows = history(n)
    fig = plots.loss_curves(rows)
    fig.savefig(io.BytesIO())
    loss, scores = fig.axes
    for ax, columns in ((loss, ['train_loss', 'valid_loss']), (scores, ['f2', 'accuracy_multi'])):
        low, high = ax.get_ylim()
        least, most = rows[columns].to_numpy().min(), rows[columns].to_numpy().max()
        # not flat above an axis from zero
        assert low < least and high > most and (n == 1 or (most - least) > .8*(high - low))
        shown = [x for x in ax.get_xticks() if ax.get_xlim()[0] <= x <= ax.get_xlim()[1]]
        assert all(x == int(x) for x in shown) and 1 <= len(shown) <= 12
    assert [t.get_text() for t in loss.get_legend().get_texts()] == ['training set', 'validation set',
                                                                     *['whole network trains']*(n > 1)]

def test_loss_curves_of_a_run_that_diverged():
    rows = history(6, first=1e4)
    rows.loc[4:, ['train_loss', 'valid_loss', 'f2']] = [np.nan, np.inf, np.nan]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        plots.loss_curves(rows).savefig(io.BytesIO())
        plots.loss_curves(rows[:0]).savefig(io.BytesIO())
    assert plots.loss_curves(rows).axes[0].get_yscale() == 'log'

def test_score_against_threshold():
    rng = np.random.default_rng(0)
    targs = rng.random((300, 5)) < .3
    probs = np.where(targs, .4, .2) + rng.random((300, 5))*.3
    fig = plots.score_against_threshold(torch.tensor(probs), torch.tensor(targs), .2, .66)
    fig.savefig(io.BytesIO())
    labels = [t.get_text() for t in fig.legends[0].get_texts()]
    assert 'threshold 0.2' in labels and labels[0].startswith('F2, best ') and not any('--' in l for l in labels)
    # one a tag: none is marked
    plots.score_against_threshold(torch.tensor(probs), torch.tensor(targs), [.2]*5).savefig(io.BytesIO())

def test_predictions_have_one_colour_an_outcome():
    pixels = [np.zeros((8, 8, 3), np.uint8)]
    ax, = plots.predictions_sheet(pixels, [['clear', 'road']], [['clear', 'water']]).axes
    assert {t.get_text(): t.get_color() for t in ax.texts} == {'clear': plots.GOOD, '- road': plots.MISSED,
                                                               '+ water': plots.BAD}
    assert [t.get_text() for t in ax.figure.texts] == ['true positive', '- false negative', '+ false positive']
    ax, = plots.predictions_sheet(pixels, [['clear']], [['clear']], names=['a.jpg']).axes
    assert [t.get_text() for t in ax.texts] == ['a.jpg', 'clear']
