"Exports of a model folder: ONNX equals torch, takes any batch, int8 is close, engines are found or told of."
import shutil
import numpy as np
import pytest
import torch
from planet.chips import from_folder
from planet.cli import UserError
from planet.data import tags_dls
from planet.inference import ENGINES, Tagger
from planet.learner import chip_learner, find_loss
from planet.model_files import read_model, save_model
from planet.results import evaluate
from planet.runtimes import Runtime, load_runtime
from planet.splits import random_split
from planet.store import ChipStore

@pytest.fixture(scope='module')
def saved(drawn, tmp_path_factory):
    "A tiny tagger's folder, trained for a moment so that its answers differ."
    chips = from_folder(drawn)
    split = random_split(chips)
    learn = chip_learner(tags_dls(chips, ChipStore(chips.paths, 32), split, 16), 'resnet18', 'none',
                         find_loss('bce', chips.vocab, .2))
    with learn.no_bar(): learn.fit(1, 1e-3)
    return save_model(tmp_path_factory.mktemp('m')/'model', learn, evaluate(learn, chips, split), chips)

@pytest.fixture(scope='module')
def exported(saved, drawn):
    "The same with its exports."
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(package, reason=f'exports need {package}')
    from planet.export import export_model
    export_model(saved, ['int8'], str(drawn))
    return saved

def noise(n):
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))

@pytest.mark.parametrize('n', [1, 2, 5])
def test_onnx_gives_torchs_logits_for_any_batch(exported, n):
    exact, other = Tagger.load(exported, device='cpu'), Tagger.load(exported, engine='onnx')
    exact.networks[0].dtype = None # fp32
    pixels = noise(n)
    np.testing.assert_allclose(exact.networks[0](pixels), other.networks[0](pixels), atol=1e-4)
    assert other.probabilities(pixels).shape == (n, len(exact.vocab)) and other.engine == 'onnx'

def test_int8_is_close_and_smaller(exported):
    exact, other = Tagger.load(exported, engine='onnx'), Tagger.load(exported, engine='int8')
    pixels = noise(4)
    assert (exact.probabilities(pixels) - other.probabilities(pixels)).abs().max() < .1
    assert (exported/'weights.int8.onnx').stat().st_size < .4*(exported/'weights.onnx').stat().st_size

def test_openvino_runs_the_onnx_file(exported):
    "In bf16 where the processor has units for it: close to fp32, no more."
    pytest.importorskip('openvino', reason='the engine openvino needs openvino')
    exact, other = Tagger.load(exported, engine='onnx'), Tagger.load(exported, engine='openvino')
    for n in (1, 5):
        assert (exact.probabilities(noise(n)) - other.probabilities(noise(n))).abs().max() < .05

def test_what_the_folder_says_of_its_exports(exported):
    facts = read_model(exported) # hashes of the exports as well
    assert set(facts['exports']) == {'onnx', 'int8'} and facts['exports']['onnx']['logits_apart'] < 1e-3
    assert {'weights.onnx', 'weights.int8.onnx'} <= set(facts['files'])
    for e in facts['exports'].values(): assert 0 <= e['score'] <= 1 and e['chips'] == facts['trained_on']['valid']
    assert '## Exports' in (exported/'README.md').read_text()

def test_a_damaged_export_is_refused(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path/'m')
    with open(folder/'weights.onnx', 'r+b') as f: f.seek(-9, 2); f.write(b'\x7f')
    with pytest.raises(UserError, match='weights.onnx is damaged'): Tagger.load(folder, engine='onnx')

@pytest.mark.parametrize('broken', ['_difference', '_f2'])
def test_an_export_that_fails_leaves_the_folder_as_it_was(exported, drawn, tmp_path, monkeypatch, broken):
    from planet import export
    folder = shutil.copytree(exported, tmp_path/'m')
    before, f2, asked = {p.name: p.read_bytes() for p in folder.iterdir()}, export._f2, []
    def second(tagger, *args):
        asked.append(tagger.engine)
        if len(asked) == 2: raise KeyboardInterrupt
        return f2(tagger, *args)
    monkeypatch.setattr(export, broken, second if broken == '_f2' else lambda *args: 1.)
    # such as another version of the exporter would write
    monkeypatch.setattr(export, 'export_onnx', lambda folder, member, path: shutil.copy(other, path))
    other = tmp_path/'other.onnx'
    import onnx
    model = onnx.load(exported/'weights.onnx')
    model.producer_version += ' other'
    onnx.save(model, other)
    with pytest.raises(KeyboardInterrupt if broken == '_f2' else UserError):
        export.export_model(folder, ['onnx'], str(drawn))
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before and read_model(folder)

def test_wrong_chips_to_check_on(saved, tmp_path):
    from planet.export import export_model
    from planet.synthetic.chips import write_chips
    with pytest.raises(UserError, match='did you mean onnx'): export_model(saved, ['onxx'])
    pytest.importorskip('onnxruntime', reason='exports need onnxruntime')
    few = write_chips(tmp_path/'few', n=4, size=32, seed=9)
    with pytest.raises(UserError, match='lacks .* validation chips'): export_model(saved, ['onnx'], str(few))

def test_an_engine_that_is_not_there(saved, tmp_path):
    with pytest.raises(UserError, match='`engine` onx is unknown: one of .*, did you mean onnx'):
        Tagger.load(saved, engine='onx')
    bare = shutil.copytree(saved, tmp_path/'bare', ignore=shutil.ignore_patterns('*.onnx'))
    for engine in ENGINES[1:]:
        with pytest.raises(UserError, match='which is not there: `export`'):
            load_runtime(bare, read_model(bare, check=False)['members'][0], engine)

def test_a_runtime_averages_the_views():
    def run(pixels): return pixels[:, 0, :1, 0].astype(np.float32) # the first pixel of each view
    pixels = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3)
    assert Runtime(run, 1)(pixels).item() == 0
    assert Runtime(run, 8)(pixels).item() == pytest.approx(np.mean([0, 2, 6, 8]*2)) # each corner twice
