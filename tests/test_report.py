"A run's page says what the run's files say, whatever is missing, and can be read in a browser; Grad-CAM's maps."
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from planet import page, report, result_plots
from planet.chips import from_folder
from planet.cli import UserError
from planet.gradcam import feature_layer, grad_cam
from planet.report import SECTIONS, write_report
from planet.results import AboveThreshold, ClassResult, Likeliest, TagsResult
from planet.run_files import read_run

def scored(chips, rule=None, seed=0): # a result in which most decisions are right
    rng = np.random.default_rng(seed)
    truth = torch.tensor(chips.targets).float()
    probs = (truth*.2 + torch.tensor(rng.beta(1, 3, truth.shape)).float()*.7).clamp(0, 1)
    return TagsResult(probs, truth, chips.table.image_name, chips.vocab, rule or AboveThreshold(.3),
                      (probs - truth).abs(), truth[:20])

HISTORY = pd.DataFrame(dict(epoch=[1, 2, 3], stage=['head', 'all layers', 'all layers'], train_loss=[.5, .4, .3],
                            valid_loss=[.5, .45, .4], accuracy_multi=[.8, .85, .9], f2=[.6, .7, .8], time='00:01'))

def record(folder, result, **more):
    "A run's folder, as `Run` leaves it."
    folder.mkdir(exist_ok=True)
    result.probabilities.to_csv(folder/'validation.csv', float_format='%.6g')
    targs = np.asarray(result.targs)
    targets = (pd.DataFrame(targs.astype(int), columns=result.vocab) if targs.ndim == 2 else
               pd.DataFrame(dict(label=np.array(result.vocab)[targs])))
    targets.set_index(pd.Index(result.names, name='image_name')).to_csv(folder/'targets.csv')
    result.table.to_csv(folder/f'{result.table_name}.csv')
    HISTORY.to_csv(folder/'history.csv', index=False)
    facts = dict(experiment='planet_resnet50', status='done', options=dict(lr=.003, label_delim=''),
                 command=['planet_resnet50.py', '--thresh', '0.3'], versions=dict(torch='2.6'))
    facts |= result.facts() | more
    (folder/'record.json').write_text(json.dumps(facts))
    return folder

@pytest.fixture(scope='module')
def chips(drawn): return from_folder(drawn)
@pytest.fixture(scope='module')
def result(chips): return scored(chips)
@pytest.fixture
def run(tmp_path, chips, result, drawn): return record(tmp_path/'2026-11-25', result, data=dict(folder=str(drawn)))

class Page(HTMLParser):
    "A page's sections: text, tags and what they point to."
    def __init__(self, path):
        super().__init__()
        self.text, self.at, self.tags, self.links, self.ids, self.skip = {}, '', [], [], [], False
        self.feed(path.read_text(encoding='utf-8'))
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == 'section': self.at = attrs['id']
        self.skip = tag == 'style'
        self.tags.append(tag)
        self.ids += [attrs['id']] if 'id' in attrs else []
        self.links += [v for k, v in attrs.items() if k in ('src', 'href', 'xlink:href')]
    handle_startendtag = handle_starttag
    def handle_data(self, data):
        if not self.skip: self.text[self.at] = self.text.get(self.at, '') + data + ' '
    def said(self, name): return ' '.join(self.text[name].split())

# ---- the whole page

def test_a_page_is_one_file_with_every_section(run, chips, result):
    path = write_report(run, chips=chips, result=result)
    found = Page(path)
    assert path == run/'report.html' and not list(run.glob('.*'))
    assert [name for name in found.text if name] == [name for name, *_ in SECTIONS]
    assert all(link.startswith(('data:', '#')) for link in found.links)
    assert 'script' not in found.tags and '@import' not in path.read_text() and 'url(http' not in path.read_text()
    assert len(found.ids) == len(set(found.ids))
    missing = [name for name in found.text if 'Not shown' in found.said(name)]
    assert missing == ['maps'] # there is no learner

def test_the_folder_alone_gives_the_same_page(run, chips, result):
    whole = write_report(run, chips=chips, result=result).read_text()
    again = write_report(run).read_text()
    def plain(text): # its numbers were rounded to six digits
        return re.sub(r'\d+\.\d+', '', re.sub(r'<svg.*?</svg>', '', text, flags=re.S))
    assert plain(whole) == plain(again)
    assert {p.name for p in run.iterdir()} == {'report.html', 'record.json', 'history.csv', 'validation.csv',
                                               'tags.csv', 'targets.csv'}

def test_scores_come_first_with_baselines_and_intervals(run, result):
    found = Page(write_report(run))
    s = result.scores
    assert f"{s['f2']:.4f} {s['f2_baseline']:.4f}" in found.said('scores')
    assert '{:.3f} to {:.3f}'.format(*s['f2_interval']) in found.said('scores')
    assert f"F2 at 0.3: {s['f2']:.3f}" in found.said('') and '60 validation chips' in found.said('')

def test_the_score_with_and_without_neighbours_in_training(run):
    assert 'one of their group' not in Page(write_report(run)).said('scores')
    facts = json.loads((run/'record.json').read_text())
    parts = dict(beside_training=dict(chips=1200, mean=.91234, interval=[.9, .92]),
                 apart=dict(chips=7, mean=.85, interval=None))
    def said(**grouped):
        (run/'record.json').write_text(json.dumps(facts | dict(grouped=dict(score='F2', split={}, **grouped))))
        found = Page(write_report(run))
        assert 'grouped' not in found.said('environment')
        return found.said('scores')
    table = said(**parts)
    assert 'group is in the training set 1,200 0.9123 0.900 to 0.920 none of their group is 7 0.8500 –' in table
    parts['beside_training'] = dict(chips=0, mean=None, interval=None)
    assert 'group is in the training set 0 – –' in said(**parts)

@pytest.mark.parametrize('interval,words', [
    ((.6, .8), 'has 0.500, below the interval.'), ((.4, .8), 'has not been shown to be better than an answer that'),
    ((.3, .4), 'is worse than an answer that')])
def test_the_headline_compares_with_the_baseline(tmp_path, interval, words):
    scores = dict(f2=.7, f2_baseline=.5, f2_interval=interval)
    (tmp_path/'record.json').write_text(json.dumps(dict(experiment='e', status='done', scores=scores,
                                                        rule=dict(kind='thresh', thresh=.2))))
    assert words in report.headline(read_run(tmp_path))

def test_the_rule_in_words(tmp_path, run, chips, result):
    assert 'above 0.3: the same threshold for every tag' in report.rule(read_run(run))
    each = AboveThreshold(list(np.linspace(.1, .5, len(chips.vocab))))
    found = Page(write_report(record(tmp_path/'each', scored(chips, each))))
    assert f'{chips.vocab[0]} 0.100' in found.said('rule') and f'{chips.vocab[-1]} 0.500' in found.said('rule')
    assert 'Could not be made' not in ''.join(found.text.values())

# ---- chips

def lines(html): # of each card: name, note, and (mark, tag, probability)
    for card in re.findall(r'<div class="card">.*?</ul></div>', html):
        name = re.search(r'class="name">(.*?)<', card)[1]
        note = re.search(r'class="quiet">(.*?)<', card)
        found = re.findall(r'<li class="(\w+)".*?<span aria-label="[\w ]+">(.)</span><span>(.*?)</span><span>(.*?)<',
                           card)
        yield name, note and note[1], found

def test_outcomes_are_told_apart_by_mark_and_colour(run, result):
    rows, seen = {n: i for i, n in enumerate(result.names)}, set()
    for name, _, found in lines(report.sheet(read_run(run))):
        row = rows[name.removesuffix('.jpg')]
        marks = {(1, 1): ('good', '✓'), (1, 0): ('missed', '−'), (0, 1): ('bad', '+')}
        each = zip(result.vocab, result.targs[row], result.pred[row], result.probs[row])
        want = {(tag, *marks[int(t), int(p)], f'{prob:.2f}') for tag, t, p, prob in each if t or p}
        assert {(tag, kind, mark, prob) for kind, mark, tag, prob in found} == want
        seen |= {kind for kind, *_ in found}
    assert seen == {'good', 'missed', 'bad'}

def test_the_worst_chips_have_the_highest_loss(run, result):
    loss = nn.functional.binary_cross_entropy(result.probs, result.targs, reduction='none').mean(1)
    want = [(f'{result.names[i]}.jpg', f'loss {loss[i]:.2f}') for i in loss.argsort(descending=True)[:12]]
    assert [(name, note) for name, note, _ in lines(report.worst(read_run(run)))] == want

def test_planted_label_errors_come_first(tmp_path, chips):
    result, rng = scored(chips), np.random.default_rng(1)
    planted = [(row, rng.integers(len(chips.vocab))) for row in rng.permutation(len(chips))[:6]]
    for row, i in planted: result.targs[row, i] = 1 - result.targs[row, i]
    for row, i in planted: result.probs[row, i] = .02 if result.targs[row, i] else .97
    found = [(name, note) for name, note, _ in lines(report.label_errors(read_run(record(tmp_path/'run', result))))][:6]
    want = {(result.names[row], f'The table says {"" if result.targs[row, i] else "not "}{chips.vocab[i]}')
            for row, i in planted}
    assert {(name, note.split(';')[0]) for name, note in found} == want

NASTY = ['<script>alert(1)</script>', 'a & b', '$x$', '"quoted\'', '${evil}', '森林', '</svg>', 'x'*200]

@pytest.fixture
def nasty(tmp_path):
    rng = np.random.default_rng(0)
    truth = torch.tensor(rng.random((30, 8)) < .5).float()
    probs = truth*.3 + .5*torch.tensor(rng.random((30, 8))).float()
    result = TagsResult(probs, truth, [f'<b>{i}&$' for i in range(30)], NASTY, AboveThreshold(.4), train=truth)
    return record(tmp_path/'nasty', result, error='<i>', status='failed', data=dict(folder='<gone>'), name='<u>&$')

def test_text_of_any_kind_is_shown_as_it_is(nasty):
    found = Page(write_report(nasty))
    assert not {'script', 'b', 'i', 'u'} & set(found.tags) and found.tags.count('section') == len(SECTIONS)
    assert all(tag in found.said('tags') for tag in NASTY) and '<u>&$' in found.said('')
    assert '<b>' in found.said('chips')
    assert 'Could not be made' not in ''.join(found.text.values())

# ---- what is missing

def test_a_page_without_the_chips(tmp_path, result):
    run = record(tmp_path/'run', result, data=dict(folder=str(tmp_path/'gone')))
    found = Page(write_report(run))
    assert 'img' not in found.tags and 'picture missing' in found.said('worst')
    assert str(tmp_path/'gone') in found.said('chips')
    assert all('Not shown' not in found.said(name) for name, *_ in SECTIONS if name != 'maps')

def test_one_chip_that_cannot_be_read(tmp_path, folder):
    chips = from_folder(folder)
    chips.paths[0].write_bytes(b'')
    run = read_run(record(tmp_path/'run', scored(chips)), chips=chips)
    assert 'picture missing' in run.card(0) and '<img' in run.card(1) and chips.paths[0].name in run.card(0)

def test_targets_are_taken_from_the_chips_where_a_run_has_none(run, result):
    (run/'targets.csv').unlink()
    found = read_run(run)
    assert (found.truth == (np.asarray(result.targs) > .5)).all() and 'targets.csv' in found.notes[0]

def test_targets_are_matched_by_name(run, result):
    table = pd.read_csv(run/'targets.csv').iloc[::-1]
    table.to_csv(run/'targets.csv', index=False)
    assert (read_run(run).truth == (np.asarray(result.targs) > .5)).all()
    table[1:].to_csv(run/'targets.csv', index=False) # one is missing
    shutil.move(run/'record.json', run/'kept.json')
    (run/'record.json').write_text(json.dumps(json.loads((run/'kept.json').read_text()) | dict(data={})))
    assert read_run(run).truth is None and 'targets.csv' in Page(write_report(run)).said('chips')

@pytest.mark.parametrize('status,words', [
    ('running', 'has not ended, or was killed: <why>'), ('failed', 'The run failed: <why>'),
    ('interrupted', 'was interrupted: <why>'), ('diverged', 'training diverged: <why>')])
def test_a_run_that_did_not_end(tmp_path, status, words):
    (tmp_path/'record.json').write_text(json.dumps(dict(experiment='e', status=status, error='<why>',
                                                        options=dict(lr=1))))
    HISTORY.to_csv(tmp_path/'history.csv', index=False)
    found = Page(write_report(tmp_path))
    assert words in found.said('') and 'svg' in found.tags and 'lr 1' in found.said('options')
    shown = 'learning', 'options', 'environment'
    assert all('Not shown' in found.said(name) for name, *_ in SECTIONS if name not in shown)

@pytest.mark.parametrize('name', ['history.csv', 'validation.csv', 'targets.csv', 'tags.csv'])
def test_damaged_tables_count_as_missing(run, name, monkeypatch):
    whole = (run/name).read_bytes()
    for content in b'', b'\xff\xfe\0', b'"', whole[:len(whole)//2]:
        (run/name).write_bytes(content)
        found = read_run(run)
    monkeypatch.setattr(report, 'SECTIONS', [s for s in SECTIONS if s[0] in ('chips', 'learning')])
    assert 'Could not be made' not in ''.join(Page(write_report(run)).text.values())
    assert found.names or name == 'validation.csv'

def test_a_folder_without_a_record(tmp_path):
    with pytest.raises(UserError, match='record.json'): write_report(tmp_path)
    (tmp_path/'record.json').write_text('{"half')
    with pytest.raises(UserError, match='record.json'): write_report(tmp_path)

def test_a_section_that_fails_costs_nothing_else(run, monkeypatch):
    def fail(run): raise ValueError('no <luck>')
    monkeypatch.setattr(report, 'SECTIONS', [('worst', 'Worst', fail), *SECTIONS[:2]])
    found = Page(write_report(run))
    assert 'ValueError: no <luck>' in found.said('worst') and '0.3' in found.said('rule')

def test_a_page_that_fails_does_not_cost_the_run(tmp_path):
    from planet.runs import Run
    with Run('e', dict(out=str(tmp_path))) as run: run.attempt('report.html', write_report, tmp_path/'elsewhere')
    record = json.loads((run.path/'record.json').read_text())
    assert record['status'] == 'done' and 'report.html could not be made (UserError: ' in record['warnings'][0]

def test_a_single_label(tmp_path):
    rng = torch.Generator().manual_seed(0)
    targs = torch.arange(40) % 3
    probs = (nn.functional.one_hot(targs, 3)*1.5 + torch.randn(40, 3, generator=rng)).softmax(1)
    result = ClassResult(probs, targs, [f'c{i}' for i in range(40)], ['clear', 'cloudy', 'haze'], Likeliest(),
                         train=nn.functional.one_hot(targs, 3).float())
    run = record(tmp_path/'run', result)
    found = Page(write_report(run))
    assert 'the highest probability' in found.said('rule')
    assert f"accuracy: {result.scores['accuracy']:.3f}" in found.said('')
    assert (read_run(run).pred.argmax(1) == np.asarray(result.pred)).all()
    assert 'Could not be made' not in ''.join(found.text.values())
    worst = -probs[range(40), targs].log()
    assert list(lines(report.worst(read_run(run))))[0][:2] == (f'c{worst.argmax()}', f'loss {worst.max():.2f}')

def test_calibration_keeps_duplicates_together(tmp_path, chips, result, monkeypatch):
    seen, inner = [], result_plots.crossfit_calibrate
    def spy(*args, groups=None, **kwargs):
        seen.append(groups)
        return inner(*args, groups=groups, **kwargs)
    monkeypatch.setattr(result_plots, 'crossfit_calibrate', spy)
    run = record(tmp_path/'run', result, together=[result.names[:2], result.names[5:8]])
    report.calibration(read_run(run))
    groups, = seen
    assert len(set(groups)) == len(result) - 3 and groups[0] == groups[1] and groups[5] == groups[7] != groups[0]

# ---- figures

PRED = np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 1]], bool)
TRUTH = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 1, 1]], bool)

def test_outcomes_of_each_tag():
    assert {k: v.tolist() for k, v in result_plots.outcome_counts(PRED, TRUTH).items()} == dict(
        tp=[2, 2, 1], fn=[0, 2, 1], fp=[0, 0, 1])
    fig = result_plots.tag_outcomes(PRED, TRUTH, ['a', 'b', 'c'])
    assert [t.get_text().split() for t in fig.axes[0].get_yticklabels()] == [['b', '4'], ['a', '2'], ['c', '2']]
    said = [t.get_text() for t in fig.axes[0].texts]
    assert said == ['✓ 2', '✓ 2', '✓ 1', '− 2', '− 0', '− 1', '+ 0', '+ 0', '+ 1']

def test_which_tag_is_predicted_where_which_is_missed():
    assert result_plots.missed_and_predicted(PRED, TRUTH).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    fig = result_plots.confused_tags(PRED, TRUTH, ['a', 'b', 'c'])
    assert [t.get_text() for t in fig.axes[0].texts] == ['1']

def test_threshold_and_precision_recall_curves(result):
    from sklearn.metrics import average_precision_score, fbeta_score
    probs, truth = np.asarray(result.probs), np.asarray(result.targs) > .5
    first = truth.sum(0).argmax()
    ax = result_plots.threshold_curves(probs, truth, result.vocab, .3).axes[0]
    f2 = next(line for line in ax.lines if line.get_label() == 'F2')
    assert ax.get_title(loc='left').split('\n')[0] == result.vocab[first]
    assert f2.get_ydata()[40] == pytest.approx(fbeta_score(truth[:, first], probs[:, first] > .4, beta=2))
    ax = result_plots.precision_recall_curves(probs, truth, result.vocab, np.asarray(result.pred)).axes[0]
    assert f'AP {average_precision_score(truth[:, first], probs[:, first]):.2f}' in ax.get_title(loc='left')
    line = next(line for line in ax.lines if line.get_label() == 'precision by recall')
    assert line.get_xdata()[0] == 1 and line.get_xdata()[-1] == 0 and (np.diff(line.get_xdata()) <= 0).all()

def test_figures_change_with_the_screen(result):
    drawn = page.svg(result_plots.tag_outcomes(result.pred, result.targs, result.vocab), 'a <figure>', 'n')
    assert {'var(--good)', 'var(--bad)', 'var(--missed)'} <= set(re.findall(r'var\(--\w+\)', drawn))
    assert not re.search('#(1a7f37|cf222e|000000|ffffff)', drawn) and 'aria-label="a &lt;figure&gt;"' in drawn
    assert result.vocab[0] in drawn # text, not outlines

def test_text_has_contrast_on_dark_and_light():
    def luminance(colour):
        c = np.array([int(colour[i:i+2], 16) for i in (1, 3, 5)])/255
        return np.where(c <= .03928, c/12.92, ((c + .055)/1.055)**2.4) @ [.2126, .7152, .0722]
    blocks = re.findall(r':root \{(.*?)\}', Path(page.__file__).with_suffix('.css').read_text(), flags=re.S)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r'--(\w+): (#\w{6})', block))
        for name in ('ink', 'quiet', 'good', 'bad', 'missed', 'blue', 'purple'):
            high, low = sorted([luminance(colours[name]), luminance(colours['paper'])], reverse=True)
            assert (high + .05)/(low + .05) >= 4.5, name # as WCAG AA asks for

# ---- Grad-CAM

def tiny(): # channels 0 and 1 of the images reach two features, which two outputs weigh
    body = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2, bias=False))
    body[0].weight.data = torch.eye(2, 3)[..., None, None]
    head[2].weight.data = torch.tensor([[1., 0], [-1, 2]])
    return nn.Sequential(body, head)

def spots():
    x = torch.zeros(2, 3, 8, 8)
    x[:, 0, 1, 2], x[:, 1, 5, 6] = 1, 1
    return x

def test_grad_cam_is_the_weighted_feature_map():
    model = tiny()
    maps = grad_cam(model, spots(), [0, 1])
    assert maps.shape == (2, 8, 8) and maps.dtype == torch.float32
    want = torch.zeros(2, 8, 8)
    want[0, 1, 2], want[1, 5, 6] = 1, 1 # channel 1 speaks for output 1, channel 0 against it
    assert torch.equal(maps, want)
    assert not grad_cam(model, torch.zeros(1, 3, 8, 8), [0]).any()

@pytest.mark.parametrize('kind', ['frozen', 'channels_last', 'bf16', 'autocast', 'no_grad', 'TensorImage'])
def test_grad_cam_works_in_any_precision_and_layout(kind):
    from contextlib import nullcontext
    from fastai.torch_core import TensorImage
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
    model = nn.Sequential(nn.Sequential(*body, nn.Conv2d(8, 8, 3, stride=2)),
                          nn.Sequential(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)))
    x = torch.randn(3, 3, 16, 16)
    want = grad_cam(model, x, [0, 1, 2])
    assert want.amax((1, 2)).eq(1).any()
    context = nullcontext()
    if kind == 'frozen': model.requires_grad_(False)
    if kind == 'channels_last': model, x = model.to(memory_format=torch.channels_last), x.contiguous(
        memory_format=torch.channels_last)
    if kind == 'bf16': model, x = model.bfloat16(), x.bfloat16()
    if kind == 'autocast': context = torch.autocast('cpu', torch.bfloat16)
    if kind == 'no_grad': context = torch.no_grad()
    if kind == 'TensorImage': x = TensorImage(x)
    model.train()
    model[0][1].eval()
    with context: maps = grad_cam(model, x, [0, 1, 2])
    assert type(maps) is torch.Tensor and torch.allclose(maps, want, atol=.05 if kind in ('bf16', 'autocast') else 1e-5)
    assert model.training and not model[0][1].training and model[0][2].training # as it was
    assert all(p.grad is None for p in model.parameters()) and not any(m._forward_hooks for m in model.modules())

def test_the_feature_layer_has_enough_cells():
    def stage(): return nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.ReLU())
    stages = [nn.Conv2d(3, 4, 1), *[stage() for _ in range(4)]]
    model = nn.Sequential(nn.Sequential(*stages), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)))
    assert feature_layer(model, torch.zeros(1, 3, 64, 64)) is stages[4] # 4 by 4
    assert feature_layer(model, torch.zeros(1, 3, 32, 32)) is stages[3]
    nested = nn.Sequential(nn.Sequential(stages[0], nn.Sequential(*stages[1:])), model[1]) # as timm's `stages`
    assert feature_layer(nested, torch.zeros(1, 3, 32, 32)) is stages[3]
    tokens = nn.Sequential(nn.Sequential(stages[0], nn.Flatten(2)), nn.Sequential(nn.Flatten(), nn.Linear(256, 2)))
    with pytest.raises(ValueError, match='no feature map'): feature_layer(tokens, torch.zeros(1, 3, 8, 8))

class ChannelsLast(nn.Module):
    def forward(self, x): return x.permute(0, 2, 3, 1)
class ChannelsFirst(nn.Module):
    def forward(self, x): return x.permute(0, 3, 1, 2)

def test_feature_maps_with_their_channels_last():
    body, head = tiny()
    model = nn.Sequential(nn.Sequential(*body, ChannelsLast()), nn.Sequential(ChannelsFirst(), *head))
    assert torch.equal(grad_cam(model, spots(), [0, 1]), grad_cam(tiny(), spots(), [0, 1]))

def test_maps_of_a_trained_learner_are_not_empty(tmp_path, drawn):
    from fastai.learner import load_learner
    from fastai.torch_core import set_seed
    from planet.callbacks import quiet
    from planet.data import load_chips, tags_dls
    from planet.learner import chip_learner
    from planet.results import evaluate
    from planet.splits import random_split
    set_seed(0)
    chips, store = load_chips(str(drawn), 32)
    split = random_split(chips, .4, 42)
    learn = chip_learner(tags_dls(chips, store, split, bs=12), 'resnet18', 'none')
    with quiet(learn): learn.fit(1, 1e-3)
    result = evaluate(learn, chips, split, AboveThreshold(.2))
    run = record(tmp_path/'run', result, data=dict(folder=str(drawn)))
    html = report.maps(read_run(run, learn, chips, result))
    made = list(lines(html))
    assert len(made) == 8 and html.count('<img') == 16 and 'cells' in html
    assert sum(note is None for _, note, _ in made) >= 6, 'maps are empty'
    learn.export(tmp_path/'learner.pkl')
    with pytest.warns(UserWarning): again = load_learner(tmp_path/'learner.pkl')
    assert report.maps(read_run(run, again)) == html # a learner without data reads the files

# ---- in a browser

@pytest.fixture(scope='module')
def browser():
    "Headless Chromium."
    at = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if at is None: pytest.skip('Chromium is not installed: the page was not opened in a browser')
    why = 'playwright is not installed (pip install playwright): the page was not opened in a browser'
    with pytest.importorskip('playwright.sync_api', reason=why).sync_playwright() as p:
        found = p.chromium.launch(executable_path=at, args=['--no-sandbox'])
        yield found
        found.close()

LOOK = '''() => {
  const level = t => !/rotate\\((?!0|-0)/.test(t.getAttribute("transform") || "")
  const texts = [...document.querySelectorAll("svg.plot")].map(svg => [svg, [...svg.querySelectorAll("text")]
      .filter(level).map(t => [t.textContent, t.getBoundingClientRect()])])
  const out = [], over = []
  for (const [svg, boxes] of texts) {
    const s = svg.getBoundingClientRect()
    boxes.forEach(([a, r], i) => {
      if (r.left < s.left-2 || r.right > s.right+2 || r.top < s.top-2 || r.bottom > s.bottom+2) out.push(a)
      for (const [b, q] of boxes.slice(i+1))
        if (Math.min(r.right, q.right) - Math.max(r.left, q.left) > 2 &&
            Math.min(r.bottom, q.bottom) - Math.max(r.top, q.top) > 4) over.push([a, b])
    })
  }
  return {width: document.documentElement.scrollWidth, out, over, pictures: document.images.length,
          broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length,
          paper: getComputedStyle(document.body).backgroundColor,
          letters: Math.min(...[...document.querySelectorAll("svg.plot text")].map(
              t => t.getBoundingClientRect().height))}
}'''

def opened(browser, path, scheme, width):
    "What a browser finds in a page, and what it says or asks of a network."
    said, context = [], browser.new_context(color_scheme=scheme, viewport=dict(width=width, height=844))
    tab = context.new_page()
    tab.on('console', lambda message: said.append(message.text))
    tab.on('pageerror', lambda error: said.append(str(error)))
    tab.on('request', lambda request: said.append(request.url) if request.url[:5] not in ('file:', 'data:') else None)
    tab.goto(path.as_uri())
    found = tab.evaluate(LOOK)
    context.close()
    return said, found

def test_the_page_in_a_browser(run, browser):
    path = write_report(run)
    for scheme, paper in dict(light='rgb(255, 255, 255)', dark='rgb(13, 17, 23)').items():
        for width in 390, 1280:
            said, found = opened(browser, path, scheme, width)
            assert said == []
            assert found['width'] == width and found['broken'] == 0 and found['pictures'] == 24 + 12 + 12
            assert found['out'] == [] and found['over'] == [] and found['letters'] > 8
            assert found['paper'] == paper

def test_long_and_odd_names_in_a_browser(nasty, browser):
    said, found = opened(browser, write_report(nasty), 'light', 390)
    assert said == [] and found['width'] == 390 and found['out'] == [] and found['over'] == []
