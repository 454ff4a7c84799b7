"The single-label experiments of the course, whole: digits with a net in plain PyTorch, breeds of pets from file names."
import json, os, re, subprocess, sys
from functools import partial
from pathlib import Path
import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from experiments import mnist_mlp, pets_resnet34
from planet.course import digits, pets
from planet.cli import UserError
from planet.synthetic.pets import BREEDS, draw_pet, write_pets

root = Path(__file__).resolve().parent.parent
pets_tiny = root.parent/'shared'/'pets_tiny'
arch = 'test_resnet' # timm's: half a million weights
tiny = dict(weights='none', arch=arch, size=32, presize=40, bs=8, epochs=1, freeze_epochs=0)

def last_record(out):
    "The only record under `out`, and its folder."
    folder, = [p for p in out.glob('*/*') if not p.name.startswith('.')]
    for png in folder.glob('*.png'): assert np.asarray(Image.open(png).convert('L')).std() > 5, f'{png.name} shows nothing'
    return json.loads((folder/'record.json').read_text()), folder

def no_record(out): return not [p for p in out.glob('*/*')]

@pytest.mark.parametrize('name', ['mnist_mlp', 'pets_resnet34'])
@pytest.mark.parametrize('args,status,said', [(['--help'], 0, '--epochs'), (['--epohcs', '3'], 2, 'did you mean --epochs?'),
    (['--epochs', '0'], 1, '--epochs 0 is outside 1 to 10000')])
def test_options_are_looked_at_before_torch(name, args, status, said, tmp_path):
    (tmp_path/'torch.py').write_text('raise RuntimeError("torch was imported")')
    done = subprocess.run([sys.executable, root/'experiments'/f'{name}.py', *args], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{root}'}, stdin=subprocess.DEVNULL)
    assert done.returncode == status and said in done.stdout + done.stderr, done.stderr
    if status: assert done.stderr.count('\n') == 1 and not done.stdout

# ---- digits

def test_digits(tmp_path, capsys):
    mnist_mlp.main(out=str(tmp_path))
    record, folder = last_record(tmp_path)
    scores, data = record['scores'], record['data']
    assert scores['accuracy'] >= .95 and scores['accuracy_sgd'] > .9 and scores['accuracy_baseline'] < .2
    assert scores['accuracy_interval'][0] < scores['accuracy'] < scores['accuracy_interval'][1]
    assert 0 <= scores['largest_gap'] < 1e-3, 'our cross entropy is not on the curve of nn.CrossEntropyLoss'
    assert (data['chips'], data['train'], data['valid'], data['size']) == (1797, 1438, 359, [8, 8])
    assert {p.name for p in folder.iterdir()} == {'record.json', 'history.csv', 'model.pth', 'optimizers.png', 'same_curve.png', 'hardest.png'}
    said = capsys.readouterr().out
    assert re.search(rf"accuracy, Adam +{scores['accuracy']:.4f} +{scores['accuracy_baseline']:.4f}\n", said) and said.splitlines()[-1] == str(folder)
    history = pd.read_csv(folder/'history.csv')
    assert list(history.optimizer.unique()) == ['Adam, lr 0.001', 'SGD, lr 0.1'] and len(history) == 40

def test_the_saved_digits_net_gives_the_score(tmp_path):
    mnist_mlp.main(epochs=2, out=str(tmp_path))
    record, folder = last_record(tmp_path)
    state, held_out = torch.load(folder/'model.pth', weights_only=True), digits.find_digits().flat()
    for make in (mnist_mlp.sequential, mnist_mlp.module): # the same net under two sets of names
        net = make(64, 10)
        net.load_state_dict(dict(zip(net.state_dict(), state.values())))
        right = (net(held_out.valid_x).argmax(1) == held_out.valid_y).float().mean().item()
        assert right == pytest.approx(record['scores']['accuracy'], abs=1e-6)

def test_held_out_digits_are_no_training_digits():
    d = digits.sklearn_digits(.2, seed=3)
    assert len(d.train_y)+len(d.valid_y) == 1797 and 0 <= d.train_x.min() and d.train_x.max() == 1
    train = {x.numpy().tobytes() for x in d.train_x}
    assert not any(x.numpy().tobytes() in train for x in d.valid_x)
    flat = d.flat()
    assert flat.train_x.mean().abs() < 1e-4 and abs(flat.train_x.std()-1) < 1e-4 and flat.valid_x.shape == (359, 64)

@pytest.fixture
def mnist(tmp_path):
    "Forty digits in the layout of fastai's MNIST, 28 x 28; a folder that a test may spoil."
    d = digits.sklearn_digits()
    for part, x, y in (('training', d.train_x[:200], d.train_y[:200]), ('testing', d.valid_x[:60], d.valid_y[:60])):
        for i, (pixels, digit) in enumerate(zip(x, y)):
            folder = tmp_path/'mnist'/part/str(digit.item())
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels*255).byte().numpy()).resize((28, 28)).save(folder/f'{i}.png')
    return tmp_path/'mnist'

def test_mnist_in_a_folder(mnist, tmp_path):
    mnist_mlp.main(data=str(mnist), epochs=5, out=str(tmp_path/'out'))
    record, _ = last_record(tmp_path/'out')
    assert (record['data']['train'], record['data']['valid'], record['data']['size']) == (200, 60, [28, 28])
    assert record['scores']['accuracy'] > record['scores']['accuracy_baseline'] + .3 and record['data']['vocab'] == list('0123456789')

def spoil_nothing_there(f): return f/'nowhere'
def spoil_misspelt(f): return f.parent/'mnits'
def spoil_no_testing(f): (f/'testing').rename(f/'tests'); return f
def spoil_no_pictures(f): [p.unlink() for p in f.glob('testing/*/*')]; return f
def spoil_a_picture(f): next(f.glob('training/7/*')).write_bytes(b'no picture'); return f
def spoil_a_size(f): p = next(f.glob('testing/3/*')); Image.open(p).resize((20, 28)).save(p); return f

@pytest.mark.parametrize('spoil,said', [(spoil_nothing_there, 'no such folder'), (spoil_misspelt, 'did you mean mnist'), (spoil_no_testing, 'no folder testing'),
    (spoil_no_pictures, 'holds no pictures'), (spoil_a_picture, r'training/7/\d+.png cannot be read'), (spoil_a_size, r'testing/3/\d+.png is 20 x 28 pixels')])
def test_digits_that_are_wrong(spoil, said, mnist, tmp_path):
    with pytest.raises(UserError, match=said) as e: mnist_mlp.main(data=str(spoil(mnist)), epochs=1, out=str(tmp_path/'out'))
    assert '\n' not in str(e.value) and no_record(tmp_path/'out')

def test_a_rate_of_nothing(tmp_path):
    with pytest.raises(UserError, match='--sgd_lr 0 is outside'): mnist_mlp.main(sgd_lr=0, out=str(tmp_path))
    with pytest.raises(UserError, match='--valid_pct 0.0001'): mnist_mlp.main(valid_pct=.0001, out=str(tmp_path))

@pytest.mark.parametrize('find,what', [(lambda: digits.find_digits('mnist'), 'mnist'), (lambda: pets.find_pets('auto'), 'pets')])
def test_a_set_that_cannot_be_had(find, what, monkeypatch):
    def offline(*args): raise UserError('it cannot be fetched: connect to the network and try again')
    monkeypatch.setattr('planet.download.fastai_sets.fastai_set', offline)
    with pytest.raises(UserError, match=f'planet-data get {what}.*or take --data FOLDER'): find()

# ---- pets

@pytest.mark.parametrize('path,breed,cat', [('images/great_pyrenees_174.jpg', 'great_pyrenees', False), ('Maine_Coon_201.jpg', 'Maine_Coon', True),
    (Path('x')/'Abyssinian_1.JPG', 'Abyssinian', True), ('a_1_2.jpeg', 'a_1', False)])
def test_the_breed_is_in_the_name(path, breed, cat):
    assert pets.breed_of(path) == breed and pets.is_cat(breed) == cat

def test_drawn_pets_are_the_same_each_time(tmp_path):
    assert np.array_equal(draw_pet('Tabby', 3), draw_pet('Tabby', 3)) and not np.array_equal(draw_pet('Tabby', 3), draw_pet('Tabby', 4))
    files = sorted(p.name for p in write_pets(tmp_path, n=2, size=40).iterdir())
    assert files == sorted(f'{b}_{i}.jpg' for b in BREEDS for i in (1, 2)) and {pets.is_cat(b) for b in BREEDS} == {True, False}

@pytest.fixture(scope='module')
def drawn_pets(tmp_path_factory): return write_pets(tmp_path_factory.mktemp('pets'), n=30, size=64, breeds=['Siamese', 'Tuxedo', 'dalmatian', 'beagle'])

RECORD = {'record.json', 'history.csv', 'classes.csv', 'learner.pkl', 'batch.png', 'losses.png', 'confusion.png', 'top_losses.png'}

def test_drawn_pets_are_told_apart(drawn_pets, tmp_path, capsys):
    pets_resnet34.main(data=str(drawn_pets), weights='none', arch=arch, size=48, presize=64, bs=16, epochs=5, freeze_epochs=0, lr=3e-3, out=str(tmp_path))
    record, folder = last_record(tmp_path)
    scores = record['scores']
    assert scores['accuracy'] > scores['accuracy_baseline'] + .25 and scores['valid_loss'] < scores['valid_loss_baseline']
    assert {p.name for p in folder.iterdir()} == RECORD and record['options']['weights_used'] == 'none' and scores['lr'] == 3e-3
    assert record['data']['vocab'] == ['Siamese', 'Tuxedo', 'beagle', 'dalmatian'] and record['data']['train'] == 96 and record['data']['valid'] == 24
    said = capsys.readouterr().out
    assert '\r' not in said and 'commonest breed' in said and 'cat or dog' in said
    classes = pd.read_csv(folder/'classes.csv', index_col=0)
    assert classes.to_numpy().sum() == 24 and np.trace(classes) == round(24*scores['accuracy'])

def test_a_few_real_pets(tmp_path, monkeypatch, capsys):
    "26 photographs, two of their breeds with one or two of them; the rate is looked for."
    if not pets_tiny.is_dir(): pytest.skip(f'the 26 real photographs are not in {os.path.relpath(pets_tiny)}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pets, 'suggest_lr', partial(pets.suggest_lr, num_it=20))
    pets_resnet34.main(**tiny, data=str(pets_tiny), out=str(tmp_path/'out'))
    record, folder = last_record(tmp_path/'out')
    assert {p.name for p in folder.iterdir()} == RECORD | {'lr_find.png'} and 1e-7 < record['scores']['lr'] < 10
    assert record['data']['chips'] == 26 and (record['data']['train'], record['data']['valid']) == (21, 5) and 'great_pyrenees' in record['data']['vocab']
    assert {p.name for p in tmp_path.iterdir()} == {'out'}, 'lr_find left its weights behind'

def test_frozen_and_then_by_layer(drawn_pets, monkeypatch):
    "With weights: the head alone at the full rate, then each layer at its own."
    from planet.learner import chip_learner
    learn = chip_learner(pets.pets_dls(sorted(drawn_pets.iterdir()), 32, 40, bs=16), 'resnet18', 'none', single=True, tta=False)
    learn.create_opt()
    calls = []
    monkeypatch.setattr(learn, 'fit_one_cycle', lambda n, lr: calls.append((n, lr, learn.opt.frozen_idx)))
    pets.fit(learn, 2, 1e-2, 3)
    learn.weights = 'imagenet'
    pets.fit(learn, 2, 1e-2, 3)
    assert calls == [(5, 1e-2, 0), (3, 1e-2, len(learn.opt.param_lists)-1), (2, slice(5e-5, 5e-3), 0)]

def test_a_breed_that_is_held_out_whole(drawn_pets):
    "Its name is in the vocab all the same."
    paths = [*sorted(drawn_pets.iterdir())[:12], drawn_pets/'dalmatian_1.jpg']
    for seed in range(30):
        dls = pets.pets_dls(paths, 32, 40, seed=seed)
        if paths[12] in list(dls.valid_ds.items): break
    else: raise AssertionError('no split holds the only dalmatian out')
    assert list(dls.vocab) == ['Siamese', 'dalmatian'] and {int(y) for _, y in dls.valid_ds} >= {1}

def write_names(folder, *names):
    folder.mkdir()
    for i, name in enumerate(names): Image.new('RGB', (50+i, 40), (9*i, 80, 120)).save(folder/name)
    return folder

@pytest.mark.parametrize('names,said', [([], 'holds no images'), (['a_1.jpg', 'b_2.jpg', 'IMG.jpg', 'cat.png'], '2 of 4 images are not named .* IMG.jpg, cat.png'),
    (['Bengal_1.jpg', 'Bengal_2.jpg'], 'one breed, Bengal'), (['Bengal_1.jpg', 'pug_2.jpg'], '--valid_pct 0.2 of 2 pictures leaves')])
def test_pets_that_are_wrong(names, said, tmp_path):
    folder = write_names(tmp_path/'pets', *names)
    with pytest.raises(UserError, match=said) as e: pets_resnet34.main(**tiny, data=str(folder), out=str(tmp_path/'out'))
    assert '\n' not in str(e.value) and no_record(tmp_path/'out')

def test_a_broken_picture(tmp_path, capsys):
    folder = write_names(tmp_path/'pets', *(f"{'Bengal' if i%2 else 'pug'}_{i}.jpg" for i in range(10)))
    (folder/'pug_0.jpg').write_bytes((folder/'pug_0.jpg').read_bytes()[:300])
    with pytest.raises(UserError, match='1 of 10 pictures cannot be read: .*pug_0.jpg.*--skip_bad'): pets_resnet34.main(**tiny, data=str(folder), out=str(tmp_path/'out'))
    assert no_record(tmp_path/'out')
    paths, left_out = pets.readable(pets.find_pets(str(folder)), skip=True)
    assert left_out == ['pug_0.jpg'] and len(paths) == 9

@pytest.mark.parametrize('options,said', [(dict(data='/nowhere/pets'), 'no such folder'), (dict(presize=16), '--presize 16 is smaller than --size 32'),
    (dict(bs=1), '--bs 1 is outside'), (dict(lr=0.), '--lr 0.0 is outside'), (dict(arch='resnet35'), 'did you mean')])
def test_options_that_cannot_be(drawn_pets, options, said, tmp_path):
    with pytest.raises(UserError, match=said): pets_resnet34.main(**{**tiny, 'data': str(drawn_pets), **options, 'out': str(tmp_path)})
    assert no_record(tmp_path)

def test_what_was_taken_for_what():
    names = ['Tabby', 'beagle', 'pug']
    classes = pd.DataFrame([[5, 1, 0], [0, 2, 3], [2, 0, 4]], index=names, columns=names)
    assert pets.most_confused(classes, 2) == [(3, 'beagle', 'pug'), (2, 'pug', 'Tabby')]
    assert pets.species_scores(classes) == dict(species_accuracy=round(14/17, 5), species_accuracy_baseline=round(11/17, 5))
