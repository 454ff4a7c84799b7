"The pictures of chips show what is in the table, and can be read."
import io, itertools
from pathlib import Path
import matplotlib._pylab_helpers, numpy as np, pandas as pd, pytest
from matplotlib.colors import to_hex
from planet import plots
from planet.chips import Chips, from_folder
from planet.amazon import WEATHER
from planet.synthetic.chips import draw_tags

def of_tags(tags, vocab=None):
    table = pd.DataFrame(dict(image_name=[f'chip_{i}' for i in range(len(tags))], tags=[sorted(t) for t in tags], path=[Path(f'chip_{i}') for i in range(len(tags))]))
    return Chips(table, vocab or sorted({t for o in tags for t in o}), 'a table', Path('.'))

@pytest.fixture(scope='module')
def many(): return of_tags(draw_tags(20000, seed=0))
@pytest.fixture(scope='module')
def chips(drawn): return from_folder(drawn)

def said(fig): return [t.get_text() for ax in fig.axes for t in ax.texts] + [t.get_text() for t in fig.texts]
def bars(ax): return {label.get_text(): bar.get_width() for label, bar in zip(ax.get_yticklabels(), ax.patches)}
def colours(ax): return {label.get_text(): to_hex(bar.get_facecolor()) for label, bar in zip(ax.get_yticklabels(), ax.patches)}

FIGURES = [plots.class_distribution, plots.tags_per_chip, plots.cooccurrence, lambda chips: plots.fold_balance(chips, np.arange(len(chips)) % 5)]

@pytest.mark.parametrize('figure', FIGURES)
@pytest.mark.parametrize('tags', [draw_tags(20000, seed=0), [['rape', 'Spring-barley'], ['rape']], [['a']]*30 + [['a', 'b', 'a rather long name of a tag']],
                                  [[f'tag{j:02}' for j in range(i % 50, 50)] for i in range(200)]], ids=['competition', 'two', 'long', 'fifty'])
def test_no_text_is_cut_off_or_lies_on_another(figure, tags):
    fig = figure(of_tags(tags))
    fig.savefig(io.BytesIO()) # lays it out
    texts = []
    for ax in fig.axes:
        low, high = ax.get_xlim()
        across = [] if ax.images else [label for label, x in zip(ax.get_xticklabels(), ax.get_xticks()) if low <= x <= high]
        texts += [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_yticklabels(), *across]
    boxes = {text: text.get_window_extent() for text in texts if text.get_text()}
    for text, box in boxes.items():
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= fig.bbox.width+1 and box.y1 <= fig.bbox.height+1, f'{text.get_text()!r} is cut off'
    for a, b in itertools.combinations(boxes, 2):
        one, two = boxes[a], boxes[b]
        assert not (min(one.x1, two.x1) - max(one.x0, two.x0) > 1 and min(one.y1, two.y1) - max(one.y0, two.y0) > 3), f'{a.get_text()!r} on {b.get_text()!r}'

def test_figures_leave_no_global_state(many, chips):
    for figure in FIGURES: figure(many)
    plots.show_chips(chips, n=2, size=32)
    assert not matplotlib._pylab_helpers.Gcf.figs

# ---- counts

def test_the_class_distribution(many):
    fig = plots.class_distribution(many)
    ax, = fig.axes
    counts = dict(zip(many.vocab, many.targets.sum(0)))
    assert bars(ax) == counts and list(bars(ax).values()) == sorted(counts.values(), reverse=True)
    assert all(f"{counts[tag]:,}" in said(fig) for tag in many.vocab) and f"{100*counts['clear']/20000:.0f} %" in said(fig)
    assert ax.get_xscale() == 'log' and ax.get_xlim()[0] < 1
    assert {tag for tag, colour in colours(ax).items() if colour == plots.BLUE} == set(WEATHER)

def test_classes_of_like_size_have_a_scale_that_begins_at_zero():
    ax, = plots.class_distribution(of_tags([['wheat', 'rape']]*3 + [['wheat']]*20)).axes
    assert ax.get_xscale() == 'linear' and ax.get_xlim()[0] == 0 and all(x == int(x) for x in ax.get_xticks()) and bars(ax) == dict(wheat=23, rape=3)
    assert set(colours(ax).values()) == {plots.GOOD}

def test_a_tag_that_no_chip_has(many):
    some = of_tags([['clear', 'primary']]*40 + [['clear']], [*many.vocab])
    ax, = plots.class_distribution(some).axes
    assert bars(ax)['blow_down'] == 0 and '0' in said(ax.figure)
    assert {t for t in said(plots.cooccurrence(some))} == {'100', '98'}
    assert [l.get_text() for l in plots.fold_balance(some, np.arange(41) % 2).axes[0].get_yticklabels()] == ['clear  41', 'primary  40']

def test_tags_per_chip():
    fig = plots.tags_per_chip(of_tags([['a']] + [['a', 'b']]*3 + [['b', 'c'], ['a', 'b', 'c', 'd']]))
    assert bars(fig.axes[0]) == {'1 tag': 1, '2 tags': 4, '3 tags': 0, '4 tags': 1}
    assert {'a (1)', 'a b (3)', 'a b c d (1)', '67 %', '17 %', '0 %'} <= set(said(fig)) and '2.17 tags a chip' in fig.axes[0].get_xlabel()

def test_chips_without_any_tag(): assert bars(plots.tags_per_chip(of_tags([[], ['a', 'b']])).axes[0]) == {'0 tags': 1, '1 tag': 0, '2 tags': 1}

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
    tags = [{t for t in groups[i % 3] if rng.random() < .8} | {t for t in 'abcdefghi' if rng.random() < .05} | {'z'} for i in range(600)]
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
    assert all((a == b).all() for a, b in zip(pictures(fig), pictures(again))) and not all((a == b).all() for a, b in zip(pictures(fig), pictures(other)))
    tags = {' '.join(t) for t in chips.table.tags}
    assert all(' '.join(t.get_text() for t in ax.texts) in tags for ax in fig.axes)
    assert len(plots.show_chips(chips[range(3)], n=12, size=32).axes) == 3

def test_a_tag_sheet_has_chips_of_that_tag(chips):
    having = [row for row, tags in enumerate(chips.table.tags) if 'water' in tags]
    fig = plots.tag_sheet(chips, 'water', n=100, size=32)
    known = {plots._pixels(chips, [row], 32)[0].tobytes() for row in having}
    assert {np.asarray(p).tobytes() for p in pictures(fig)} == known and len(known) == len(having)
    assert f'water: {len(having)} of 60 chips' in fig.texts[0].get_text() and not any('water' in t for t in said(fig)[:-1])

def test_a_sheet_of_a_tag_that_is_not_there(chips):
    with pytest.raises(ValueError, match="no chip has the tag 'watr', did you mean water"): plots.tag_sheet(chips, 'watr')

def test_a_chip_that_cannot_be_read_is_grey(folder):
    (folder/'train-jpg'/'train_0.jpg').write_bytes(b'')
    chips = from_folder(folder)[range(2)]
    grey, seen = sorted(pictures(plots.show_chips(chips, size=32)), key=np.std)
    assert (grey == 200).all() and seen.std() > 0
