"The contact sheet: which chips it takes, and how it draws them with a run's probabilities."
import json
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from experiments.contact_sheet import choose, main, structure
from planet.cli import UserError

def test_structure_is_more_than_texture():
    rng = np.random.default_rng(0)
    forest = rng.integers(20, 60, (64, 64, 3)).astype(np.uint8) # noise: every block has the same mean
    river = forest.copy()
    river[:, 20:36] = 150
    assert structure(river) > 5*structure(forest)

def test_choose_shows_many_tags_before_one_twice():
    tags = [['clear', 'primary'], ['clear', 'primary'], ['water'], ['road']]
    assert set(choose([0, 1, 2, 3], tags, [9, 8, 7, 7], 3)) == {0, 2, 3} and len(choose([0], tags, [1], 5)) == 1

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    from planet.synthetic.chips import synthetic_folder
    return synthetic_folder(n=60, size=64)

@pytest.fixture
def run(tmp_path, folder):
    "A record of a run with probabilities of twelve chips of the folder."
    from planet.chips import from_folder
    chips = from_folder(folder)
    path = tmp_path/'runs'/'planet_resnet50'/'2026-01-01T00-00-00Z-sheet'
    path.mkdir(parents=True)
    (path/'record.json').write_text(json.dumps(dict(experiment='planet_resnet50', status='done', name='sheet',
                                                    options=dict(thresh=.2, name='sheet'))))
    probs = pd.DataFrame(np.random.default_rng(0).random((12, len(chips.vocab))), columns=chips.vocab)
    probs.insert(0, 'image_name', list(chips.table.image_name[:12]))
    probs.to_csv(path/'validation.csv', index=False)
    return path

def test_the_sheet_in_light_and_dark(tmp_path, folder, run):
    corner = {}
    for dark in (False, True):
        main(data=str(folder), n=8, columns=4, size=64, record=str(run), dark=dark, names=True,
             out=str(tmp_path/'s.png'))
        picture = Image.open(tmp_path/'s.png').convert('RGB')
        assert picture.width > 600 and picture.getextrema()[0][1] > 200
        corner[dark] = picture.getpixel((2, 2))
    assert corner == {False: (255, 255, 255), True: (13, 17, 23)}

def test_a_run_of_other_chips_is_refused(tmp_path, folder, run):
    table = pd.read_csv(run/'validation.csv')
    table.assign(image_name=[f'other_{i}' for i in range(12)]).to_csv(run/'validation.csv', index=False)
    with pytest.raises(UserError, match='other chips, such as other_0'):
        main(data=str(folder), record=str(run), out=str(tmp_path/'s.png'))
