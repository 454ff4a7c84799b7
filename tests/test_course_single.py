"The single-label experiments of the course, whole: digits with a net in plain PyTorch, breeds of pets from file names."
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from experiments import mnist_mlp, pets_resnet34
from planet.cli import UserError
from planet.course import digits, pets
from planet.learner import chip_learner
from planet.results import evaluate
from planet.splits import Split, split_chips
from planet.synthetic.pets import BREEDS, draw_pet, write_pets

root = Path(__file__).resolve().parent.parent
pets_tiny = root.parent/'shared'/'pets_tiny'
arch = 'test_resnet' # timm's: half a million weights
tiny = dict(weights='none', arch=arch, size=32, presize=40, bs=8, epochs=1, freeze_epochs=0)

def last_record(out):
    "The only record under `out`, and its folder."
    folder, = out.glob('*/*')
    for png in folder.glob('*.png'):
        assert np.asarray(Image.open(png).convert('L')).std() > 5, f'{png.name} shows nothing'
    return json.loads((folder/'record.json').read_text()), folder

def no_record(out): return not list(out.glob('*/*'))

def names_in(folder): return {p.name for p in folder.iterdir()}

@pytest.mark.parametrize('name', ['mnist_mlp', 'pets_resnet34'])
@pytest.mark.parametrize('args,status,said', [(['--help'], 0, '--epochs'),
    (['--epohcs', '3'], 2, 'did you mean --epochs?'), (['--epochs', '0'], 1, '--epochs 0 is outside 1 to 10000')])
def test_options_are_checked_before_torch(name, args, status, said, tmp_path):
    (tmp_path/'torch.py').write_text('raise RuntimeError("torch was imported")')
    env = {**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{root}'}
    done = subprocess.run([sys.executable, root/'experiments'/f'{name}.py', *args], capture_output=True, text=True,
                          cwd=tmp_path, env=env, stdin=subprocess.DEVNULL)
    assert done.returncode == status and said in done.stdout + done.stderr, done.stderr
    if status: assert done.stderr.count('\n') == 1 and not done.stdout

def test_the_library_names_no_flags():
    "A caller in a notebook has parameters; the command line adds the dashes."
    for module in (digits, pets): assert not re.search(r'--[a-z]', Path(module.__file__).read_text()), module.__name__

def failing(*args, **kwargs): raise ValueError('no figure today')

# ---- digits

DIGITS_RECORD = {'record.json', 'history.csv', 'validation.csv', 'model.pth', 'optimizers.png', 'same_curve.png',
                 'top_losses.png'}

def test_digits(tmp_path, capsys):
    mnist_mlp.main(out=str(tmp_path))
    record, folder = last_record(tmp_path)
    scores, data = record['scores'], record['data']
    assert scores['accuracy'] >= .95 and scores['accuracy_sgd'] > .9 and scores['accuracy_baseline'] < .2
    assert scores['accuracy_interval'][0] < scores['accuracy'] < scores['accuracy_interval'][1]
    assert 0 <= scores['largest_gap'] < 1e-3, 'our cross entropy is not on the curve of nn.CrossEntropyLoss'
    assert (data['chips'], data['train'], data['valid'], data['size']) == (1797, 1438, 359, [8, 8])
    assert names_in(folder) == DIGITS_RECORD and record['status'] == 'done'
    said = capsys.readouterr().out
    assert re.search(rf"accuracy, Adam +{scores['accuracy']:.4f} +{scores['accuracy_baseline']:.4f}\n", said)
    assert said.splitlines()[-1] == str(folder)
    history = pd.read_csv(folder/'history.csv')
    assert list(history.optimizer.unique()) == ['Adam, lr 0.001', 'SGD, lr 0.1'] and len(history) == 40
    table = pd.read_csv(folder/'validation.csv', index_col='image_name', dtype={'true': str})
    right = table.drop(columns='true').idxmax(axis=1) == table.true
    assert len(table) == 359 and right.mean() == pytest.approx(scores['accuracy'])

def test_the_saved_digits_net_gives_the_score(tmp_path):
    mnist_mlp.main(epochs=2, out=str(tmp_path))
    record, folder = last_record(tmp_path)
    state, flat = torch.load(folder/'model.pth', weights_only=True), digits.find_digits().flat()
    for make in (digits.sequential_mlp, digits.MLP): # the same net under two sets of names
        net = make(64, 10)
        net.load_state_dict(dict(zip(net.state_dict(), state.values())))
        right = (net(flat.valid_x).argmax(1) == flat.valid_y).float().mean().item()
        assert right == pytest.approx(record['scores']['accuracy'], abs=1e-6)

def test_validation_digits_are_no_training_digits():
    d = digits.sklearn_digits(.2, seed=3)
    assert len(d.train_y)+len(d.valid_y) == 1797 and 0 <= d.train_x.min() and d.train_x.max() == 1
    train = {x.numpy().tobytes() for x in d.train_x}
    assert not any(x.numpy().tobytes() in train for x in d.valid_x)
    flat = d.flat()
    assert flat.train_x.mean().abs() < 1e-4 and abs(flat.train_x.std()-1) < 1e-4 and flat.valid_x.shape == (359, 64)

def test_a_figure_that_fails_costs_the_figure_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(digits, 'optimizers_figure', failing)
    mnist_mlp.main(epochs=1, out=str(tmp_path))
    record, folder = last_record(tmp_path)
    assert names_in(folder) == DIGITS_RECORD - {'optimizers.png'} and 'accuracy' in record['scores']
    assert 'optimizers could not be made (ValueError: no figure today)' in record['warnings'][0]

@pytest.fixture
def mnist(tmp_path):
    "260 digits in the layout of fastai's MNIST, 28 x 28; a folder that a test may spoil."
    d = digits.sklearn_digits()
    for part, x, y in (('training', d.train_x[:200], d.train_y[:200]), ('testing', d.valid_x[:60], d.valid_y[:60])):
        for i, (pixels, digit) in enumerate(zip(x, y)):
            folder = tmp_path/'mnist'/part/str(digit.item())
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels*255).byte().numpy()).resize((28, 28)).save(folder/f'{i}.png')
    return tmp_path/'mnist'

def test_mnist_in_a_folder(mnist, tmp_path):
    mnist_mlp.main(data=str(mnist), epochs=5, out=str(tmp_path/'out'))
    record, folder = last_record(tmp_path/'out')
    data, scores = record['data'], record['scores']
    assert (data['train'], data['valid'], data['size'], data['vocab']) == (200, 60, [28, 28], list('0123456789'))
    assert scores['accuracy'] > scores['accuracy_baseline'] + .3
    assert all((mnist/name).is_file() for name in pd.read_csv(folder/'validation.csv').image_name)

def test_digits_of_other_endings_and_hidden_files(mnist):
    "A `.PNG` and a `.jpg` count; hidden files and folders, and what is no image, do not."
    one, other = sorted(mnist.glob('training/3/*'))[:2]
    one.rename(one.with_suffix('.PNG'))
    Image.open(other).save(other.with_suffix('.jpg'))
    other.unlink()
    (mnist/'training'/'.ipynb_checkpoints').mkdir()
    (mnist/'training'/'3'/'._1.png').write_bytes(b'macOS')
    (mnist/'training'/'3'/'Thumbs.db').write_bytes(b'Windows')
    d = digits.digits_folder(mnist)
    assert len(d.train_y) == 200 and d.vocab == list('0123456789')

def test_sixteen_bit_digits(mnist):
    "65535 is ink as 255 is."
    before = digits.digits_folder(mnist).train_x
    for p in mnist.glob('*/*/*.png'):
        Image.fromarray(np.asarray(Image.open(p)).astype(np.uint16)*257).save(p)
    assert torch.equal(digits.digits_folder(mnist).train_x, before)

def test_a_digit_in_both_sets_is_validation_only(mnist, capsys):
    "Under another name and with another compression."
    scored = sorted(mnist.glob('testing/3/*'))[0]
    Image.open(scored).save(mnist/'training'/'3'/'twin.png', compress_level=0)
    d = digits.digits_folder(mnist)
    train = {x.numpy().tobytes() for x in d.train_x}
    assert len(d.train_y) == 200 and not any(x.numpy().tobytes() in train for x in d.valid_x)
    assert '1 of the training pictures left out' in (said := capsys.readouterr().out) and 'training/3/twin.png' in said

def spoil_nothing_there(f): return f/'nowhere'
def spoil_misspelt(f): return f.parent/'mnits'
def spoil_no_testing(f): (f/'testing').rename(f/'tests')
def spoil_no_pictures(f): [p.unlink() for p in f.glob('testing/*/*')]
def spoil_a_picture(f): next(f.glob('training/7/*')).write_bytes(b'no picture')
def spoil_a_pipe(f): os.mkfifo(f/'training'/'7'/'x.png')
def spoil_a_link(f): (f/'training'/'7'/'x.png').symlink_to(f/'gone.png')
def spoil_a_folder(f): (f/'training'/'7'/'x.png').mkdir()
def spoil_a_class(f): (f/'testing'/'3').rename(f/'testing'/'three')
def spoil_one_class(f): [shutil.rmtree(p) for p in f.glob('*/*') if p.name != '7']
def spoil_all_in_both(f):
    for p in f.glob('testing/*/*'): (f/'training'/p.parent.name/p.name).write_bytes(p.read_bytes())
    for p in f.glob('training/*/*'):
        if not (f/'testing'/p.parent.name/p.name).exists(): p.unlink()
def spoil_a_size(f):
    p = next(f.glob('testing/3/*'))
    Image.open(p).resize((20, 28)).save(p)

@pytest.mark.parametrize('spoil,said', [
    (spoil_nothing_there, 'no such folder'), (spoil_misspelt, 'did you mean mnist'),
    (spoil_no_testing, 'no folder testing'), (spoil_no_pictures, 'holds no pictures'),
    (spoil_a_picture, r'training/7/\d+.png cannot be read: no image'),
    (spoil_a_pipe, r'7/x.png cannot be read: .*FIFO'),
    (spoil_a_link, r'7/x.png cannot be read'), (spoil_a_folder, r'7/x.png cannot be read: .*folder'),
    (spoil_a_class, 'testing has classes that training lacks: three'), (spoil_one_class, 'two at least, and has 1'),
    (spoil_all_in_both, 'holds no picture that .*testing does not hold'),
    (spoil_a_size, r'testing/3/\d+.png is 20 x 28 pixels')], ids=lambda o: getattr(o, '__name__', ''))
def test_digits_that_are_wrong(spoil, said, mnist, tmp_path):
    folder = spoil(mnist) or mnist
    with pytest.raises(UserError, match=said) as e:
        mnist_mlp.main(data=str(folder), epochs=1, out=str(tmp_path/'out'))
    assert '\n' not in str(e.value) and no_record(tmp_path/'out')

def test_a_file_without_permission_is_not_to_be_fetched_again(mnist, monkeypatch):
    def closed(path): raise PermissionError(13, 'Permission denied', str(path))
    monkeypatch.setattr('planet.images.open_regular', closed) # the tests may run as root, who may read all
    with pytest.raises(UserError, match='cannot be read: Permission denied') as e: digits.digits_folder(mnist)
    assert 'fetch' not in str(e.value)

@pytest.mark.parametrize('options,said', [
    (dict(sgd_lr=0), '`sgd_lr` 0 is outside'), (dict(valid_pct=.0001), '`valid_pct` 0.0001'),
    (dict(valid_pct=1.), '`valid_pct` 1 of 1797'), (dict(bs=1), '`bs` 1 is outside'),
    (dict(lr=-1e-3), '`lr` -0.001 is outside'), (dict(lr=float('nan')), '`lr` nan is outside')])
def test_digits_options_that_cannot_be(options, said, tmp_path):
    with pytest.raises(UserError, match=said): mnist_mlp.main(**options, out=str(tmp_path))
    assert no_record(tmp_path)

def test_a_rate_that_is_too_high_is_named(tmp_path):
    "Not a table of `nan`."
    flat = digits.sklearn_digits().flat()
    with pytest.raises(UserError, match=r'training with SGD gives a loss of (nan|inf): its learning rate of 1e\+30'):
        digits.train(digits.sequential_mlp, torch.nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=1e30), flat, 1)

@pytest.mark.parametrize('find,what', [(lambda: digits.find_digits('mnist'), 'mnist'),
                                       (lambda: pets.find_pets('auto'), 'pets')])
def test_a_set_that_cannot_be_had(find, what, monkeypatch):
    def offline(*args): raise UserError('it cannot be fetched: connect to the network and try again')
    monkeypatch.setattr('planet.download.fastai_sets.fastai_set', offline)
    with pytest.raises(UserError, match=f'^`data` .*planet-data get {what}.*; or name a folder'): find()

# ---- pets: files and labels

@pytest.mark.parametrize('path,breed,cat', [('images/great_pyrenees_174.jpg', 'great_pyrenees', False),
    ('Maine_Coon_201.jpg', 'Maine_Coon', True), (Path('x')/'Abyssinian_1.JPG', 'Abyssinian', True),
    ('a_1_2.jpeg', 'a_1', False), ('pug_7.webp', 'pug', False), ('E\u0301pagneul_1.jpg', '\u00c9pagneul', True)])
def test_the_breed_is_in_the_name(path, breed, cat):
    assert pets.breed_of(path) == breed and pets.is_cat(breed) == cat

def test_drawn_pets_are_the_same_each_time(tmp_path):
    assert np.array_equal(draw_pet('Tabby', 3), draw_pet('Tabby', 3))
    assert not np.array_equal(draw_pet('Tabby', 3), draw_pet('Tabby', 4))
    files = sorted(p.name for p in write_pets(tmp_path, n=2, size=40).iterdir())
    assert files == sorted(f'{b}_{i}.jpg' for b in BREEDS for i in (1, 2))
    assert {pets.is_cat(b) for b in BREEDS} == {True, False}

@pytest.fixture(scope='module')
def drawn_pets(tmp_path_factory):
    breeds = ['Siamese', 'Tuxedo', 'dalmatian', 'beagle']
    return write_pets(tmp_path_factory.mktemp('pets'), n=30, size=64, breeds=breeds)

def write_names(folder, *names):
    folder.mkdir()
    for i, name in enumerate(names): Image.new('RGB', (50+i, 40), (9*i, 80, 120)).save(folder/name)
    return folder

@pytest.fixture
def ten(tmp_path):
    "Ten pictures of two breeds, all different; a folder that a test may spoil."
    return write_names(tmp_path/'pets', *(f"{'Bengal' if i%2 else 'pug'}_{i}.jpg" for i in range(10)))

def test_oddly_named_files(ten):
    "Capitals in the ending and other formats count; hidden files and what is no image do not."
    (ten/'pug_0.jpg').rename(ten/'pug_0.JPG')
    Image.open(ten/'pug_2.jpg').save(ten/'pug_2.webp')
    (ten/'pug_2.jpg').unlink()
    (ten/'._pug_4.jpg').write_bytes(b'macOS')
    (ten/'notes.txt').write_text('not an image')
    found = pets.find_pets(str(ten))
    assert len(found) == 10 and found.vocab == ['Bengal', 'pug']
    assert {'pug_0.JPG', 'pug_2.webp'} <= {*found.table.image_name}

def test_pets_drawn_by_code():
    found = pets.find_pets('synthetic')
    assert len(found) == 240 and found.vocab == sorted(BREEDS) and found.source == 'pets drawn by code'

def test_the_folder_called_images(ten, tmp_path):
    (tmp_path/'oxford').mkdir()
    ten.rename(tmp_path/'oxford'/'images')
    assert len(pets.find_pets(str(tmp_path/'oxford'))) == 10

@pytest.mark.parametrize('names,said', [([], 'holds no images'),
    (['a_1.jpg', 'b_2.jpg', 'IMG.jpg', 'cat.png'], '2 of 4 images are not named .* IMG.jpg, cat.png'),
    (['Bengal_1.jpg', 'Bengal_2.jpg'], 'one breed, Bengal'),
    (['Bengal_1.jpg', 'pug_2.jpg'], '`valid_pct` 0.2 of 2 .* leaves')])
def test_pets_that_are_wrong(names, said, tmp_path):
    folder = write_names(tmp_path/'pets', *names)
    with pytest.raises(UserError, match=said) as e:
        pets_resnet34.main(**tiny, data=str(folder), out=str(tmp_path/'out'))
    assert '\n' not in str(e.value) and no_record(tmp_path/'out')

def cut_short(p): p.write_bytes(p.read_bytes()[:300])
def a_pipe(p): p.unlink(); os.mkfifo(p)
def a_folder(p): p.unlink(); p.mkdir()
def a_lost_link(p): p.unlink(); p.symlink_to(p.with_name('gone'))
def floats(p): Image.fromarray(np.zeros((40, 40), dtype=np.float32)).save(p, format='TIFF')

@pytest.mark.parametrize('spoil', [cut_short, a_pipe, a_folder, a_lost_link, floats])
def test_a_broken_picture(spoil, ten, tmp_path):
    spoil(ten/'pug_0.jpg')
    with pytest.raises(UserError, match='1 of 10 .* cannot be read: .*pug_0.jpg.*skip_bad') as e:
        pets_resnet34.main(**tiny, data=str(ten), out=str(tmp_path/'out'))
    assert '\n' not in str(e.value) and no_record(tmp_path/'out')
    left = pets.readable(pets.find_pets(str(ten)), skip_bad=True)
    assert left.left_out == ['pug_0.jpg'] and len(left) == 9

def test_too_little_is_left(ten):
    for p in ten.glob('pug*'): cut_short(p)
    with pytest.raises(UserError, match='readable pictures are all of one breed, Bengal'):
        pets.readable(pets.find_pets(str(ten)), skip_bad=True)

# ---- pets: split and batches

def test_a_picture_saved_twice_stays_on_one_side(ten):
    "Whatever the file is called, and however it is compressed."
    for i in range(0, 10, 2): Image.open(ten/f'pug_{i}.jpg').save(ten/f'pug_{100+i}.png')
    found = pets.readable(pets.find_pets(str(ten)))
    for seed in range(10):
        split = split_chips(found, .3, seed)
        train, valid = ({np.asarray(Image.open(found.paths[i])).tobytes() for i in rows}
                        for rows in (split.train, split.valid))
        assert not train & valid and len(split.train) + len(split.valid) == 15

def test_equal_pictures_of_two_breeds_are_named(ten, capsys):
    Image.open(ten/'pug_0.jpg').save(ten/'Bengal_77.png')
    found = pets.readable(pets.find_pets(str(ten)))
    said = capsys.readouterr().out
    assert len(found) == 11 and 'with different tags' in said and 'Bengal_77.png = pug_0.jpg' in said and found.notes

def write_turned(folder):
    "Two pictures, white above and black below; the second saved on its side with the EXIF note that turns it."
    im = Image.new('L', (40, 40))
    im.paste(255, (0, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    folder.mkdir()
    turned = im.rotate(90)
    for name, picture, kept in (('pug_1.jpg', im, None), ('Bengal_1.jpg', turned, exif), ('pug_2.jpg', im, None)):
        picture.convert('RGB').save(folder/name, quality=95, **(dict(exif=kept) if kept else {}))
    return folder

def test_photographs_are_upright(tmp_path):
    found = pets.find_pets(str(write_turned(tmp_path/'pets')))
    dls = pets.pets_dls(found, Split([0, 1], [2]), 32, 40, bs=2)
    for i in range(2):
        picture = np.asarray(dls.train_ds[i][0])
        assert picture[:15].mean() > 240 and picture[-15:].mean() < 15, dls.train_ds.items[i]

def test_a_breed_of_the_validation_set_alone(drawn_pets):
    "Its name is in the vocab all the same."
    found = pets.find_pets(str(drawn_pets))
    rows = [*range(12), found.paths.index(drawn_pets/'dalmatian_1.jpg')]
    dls = pets.pets_dls(found[rows], Split(list(range(10)), [10, 11, 12]), 32, 40, bs=4)
    assert list(dls.vocab) == ['Siamese', 'Tuxedo', 'beagle', 'dalmatian']
    assert 3 in {int(y) for _, y in dls.valid_ds}

@pytest.mark.parametrize('options,said', [
    (dict(data='/nowhere/pets'), 'no such folder'), (dict(presize=10**6), '`presize` .* outside'),
    (dict(presize=32, size=64), '`presize` 32 is smaller than `size` 64'), (dict(bs=1), '`bs` 1 is outside'),
    (dict(lr=0.), '`lr` 0.0 is outside'), (dict(arch='resnet35'), 'did you mean')])
def test_pets_options_that_cannot_be(drawn_pets, options, said, tmp_path):
    with pytest.raises(UserError, match=said):
        pets_resnet34.main(**{**tiny, 'data': str(drawn_pets), **options, 'out': str(tmp_path)})
    assert no_record(tmp_path)

# ---- pets: training and scores

PETS_RECORD = {'record.json', 'history.csv', 'validation.csv', 'targets.csv', 'classes.csv', 'learner.pkl',
               'report.html', 'batch.png', 'losses.png',
               'confusion.png', 'top_losses.png'}

def test_drawn_pets_are_told_apart(drawn_pets, tmp_path, capsys):
    options = dict(weights='none', arch=arch, size=48, presize=64, bs=16, epochs=5, freeze_epochs=0, lr=3e-3)
    pets_resnet34.main(**options, data=str(drawn_pets), out=str(tmp_path))
    record, folder = last_record(tmp_path)
    scores, data = record['scores'], record['data']
    assert scores['accuracy'] > scores['accuracy_baseline'] + .25
    assert scores['valid_loss'] < scores['valid_loss_baseline']
    assert names_in(folder) == PETS_RECORD and scores['lr'] == 3e-3 and record['status'] == 'done'
    assert data['vocab'] == ['Siamese', 'Tuxedo', 'beagle', 'dalmatian']
    assert (data['train'], data['valid']) == (96, 24)
    said = capsys.readouterr().out
    assert '\r' not in said and 'most common breed' in said and 'cat or dog' in said
    classes = pd.read_csv(folder/'classes.csv', index_col=0)
    assert classes.to_numpy().sum() == 24 and np.trace(classes) == round(24*scores['accuracy'])

def test_a_few_real_pets(tmp_path, monkeypatch):
    "26 photographs, two of their breeds with one or two of them; the rate is looked for."
    if not pets_tiny.is_dir(): pytest.skip(f'the 26 real photographs are not in {os.path.relpath(pets_tiny)}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pets, 'suggest_lr', partial(pets.suggest_lr, num_it=20))
    pets_resnet34.main(**tiny, data=str(pets_tiny), out=str(tmp_path/'out'))
    record, folder = last_record(tmp_path/'out')
    assert names_in(folder) == PETS_RECORD | {'lr_find.png'} and 1e-7 < record['scores']['lr'] < 10
    data = record['data']
    assert (data['chips'], data['train'], data['valid']) == (26, 21, 5) and 'great_pyrenees' in data['vocab']
    assert names_in(tmp_path) == {'out'}, 'lr_find left its weights behind'

def test_a_figure_of_pets_that_fails(drawn_pets, tmp_path, monkeypatch):
    monkeypatch.setattr(pets, 'top_losses', failing)
    pets_resnet34.main(**{**tiny, 'lr': 1e-3}, data=str(drawn_pets), out=str(tmp_path))
    record, folder = last_record(tmp_path)
    assert names_in(folder) == PETS_RECORD - {'top_losses.png'}
    assert 'accuracy' in record['scores'] and record['warnings']

def learner_of(drawn_pets, **kwargs):
    found = pets.find_pets(str(drawn_pets))
    split = split_chips(found, .2, 42)
    dls = pets.pets_dls(found, split, 32, 40, bs=16)
    return found, split, chip_learner(dls, weights='none', single=True, tta=False, **kwargs)

def test_frozen_and_then_by_layer(drawn_pets, monkeypatch):
    "With weights: the head alone at the full rate, then each layer at its own."
    _, _, learn = learner_of(drawn_pets, arch='resnet18')
    learn.create_opt()
    calls = []
    monkeypatch.setattr(learn, 'fit_one_cycle', lambda n, lr: calls.append((n, lr, learn.opt.frozen_idx)))
    learn.history.rows = [dict(train_loss=1., valid_loss=1.)]
    pets.fit(learn, 2, 1e-2, 3)
    learn.weights = 'imagenet'
    pets.fit(learn, 2, 1e-2, 3)
    assert calls == [(5, 1e-2, 0), (3, 1e-2, len(learn.opt.param_lists)-1), (2, slice(5e-5, 5e-3), 0)]

def test_a_loss_that_is_no_number(drawn_pets):
    "The learning rate and the weights are named."
    _, _, learn = learner_of(drawn_pets, arch=arch)
    with torch.no_grad(): next(learn.model.parameters()).fill_(float('nan'))
    with pytest.raises(UserError, match='weights hold NaN.*`weights`'): pets.fit(learn, 1, 1e-3, 0)
    with pytest.raises(UserError, match='do the weights hold NaN'): pets.suggest_lr(learn, num_it=20)

@pytest.mark.parametrize('losses,at', [
    ([2, 2, 2, 1.5, 1, 3, 9], 3), # flat, a slope from 2 to 1, an explosion
    ([2.05, 2, 2.02, 1.9, 1.6, 1.2, 1, 4, float('nan')], 5), # noise on the flat, `nan` at the end
    ([1, 2, 3], 0)]) # nothing falls
def test_a_rate_on_the_slope(losses, at):
    lrs = 10.**np.arange(-7, -7+len(losses))
    assert pets.half_way_down(lrs, losses) == lrs[at]

def test_an_interrupted_lr_find(drawn_pets, tmp_path, monkeypatch):
    "It leaves no file behind, and weights and history as they were."
    monkeypatch.chdir(tmp_path)
    _, _, learn = learner_of(drawn_pets, arch=arch)
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    from fastai.callback.core import Callback
    class Interrupt(Callback):
        def after_batch(self):
            if self.train_iter == 4: raise KeyboardInterrupt
    with learn.added_cbs(Interrupt()), pytest.raises(KeyboardInterrupt): pets.suggest_lr(learn, num_it=20)
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items()), 'weights were trained'
    assert not names_in(tmp_path) and Path(learn.path) == Path('.')
    assert len(pets.fit(learn, 1, 1e-3, 0)) == 1, 'training after it is not recorded'

def test_a_loss_that_never_falls(drawn_pets, monkeypatch, capsys):
    "A rate of 1e-7 would train nothing in silence."
    _, _, learn = learner_of(drawn_pets, arch=arch)
    learn.loss_func = lambda inp, targ: 0*inp.mean() + 1
    lr, _ = pets.suggest_lr(learn, num_it=20)
    assert lr == 1e-3 and 'WARNING: the loss falls at no learning rate' in capsys.readouterr().out

def test_the_figure_of_lr_find_marks_a_point_of_the_curve(drawn_pets):
    _, _, learn = learner_of(drawn_pets, arch=arch)
    lr, curve = pets.suggest_lr(learn, num_it=40)
    line, mark = pets.lr_figure(lr, curve).axes[0].lines
    (x,), (y,) = mark.get_data()
    assert x == lr and y == pytest.approx(np.interp(x, *line.get_data()))
    assert curve.loss.min() < y < curve.loss.iloc[:5].max()

def test_top_losses_are_the_highest(drawn_pets):
    _, _, learn = learner_of(drawn_pets, arch=arch)
    result = evaluate(learn)
    fig = pets.top_losses(result, learn.dls.valid_ds.items, 4)
    shown = [tuple(t.get_text() for t in ax.texts[:2]) for ax in fig.axes]
    top = result.losses.argsort(descending=True)[:4].tolist()
    want = [(learn.dls.valid_ds.items[i].name, f'predicted {result.vocab[p.argmax()]} {float(p.max()):.2f}')
            for i, p in zip(top, result.probs[top])]
    assert shown == want

def test_long_names_do_not_overlap(drawn_pets):
    "The longest breeds of the Oxford pets, as truth and as prediction, stand apart from their neighbours."
    result = evaluate(learner_of(drawn_pets, arch=arch)[2])
    longest = ['american_pit_bull_terrier', 'english_cocker_spaniel', 'american_bulldog', 'staffordshire_bull_terrier']
    result.vocab = longest
    result.losses = (result.probs.argmax(1) != result.targs).float()
    fig = pets.top_losses(result, [drawn_pets/'beagle_1.jpg']*len(result), 4)
    fig.draw_without_rendering()
    boxes = [ax.texts[-1].get_window_extent() for ax in fig.axes]
    assert all(a.x1 <= b.x0 for a, b in zip(boxes, boxes[1:])) and boxes[-1].x1 <= fig.bbox.x1

def test_what_was_taken_for_what():
    names = ['Tabby', 'beagle', 'pug']
    classes = pd.DataFrame([[5, 1, 0], [0, 2, 3], [2, 0, 4]], index=names, columns=names)
    assert pets.most_confused(classes, 2) == [(3, 'beagle', 'pug'), (2, 'pug', 'Tabby')]
    want = dict(species_accuracy=round(14/17, 5), species_accuracy_baseline=round(11/17, 5))
    assert pets.species_scores(classes) == want
