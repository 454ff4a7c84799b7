"What the tests share: folders of chips, and the real ones where they are to be had."
import os
import shutil
import signal
from pathlib import Path
import pytest
from hypothesis import settings

settings.register_profile('repeatable', derandomize=True) # a failure should not depend on the day
settings.load_profile('repeatable')

# Where the tests run in the background, interrupts are ignored, and the commands that they start would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, 'SIGHUP'): signal.signal(signal.SIGHUP, signal.SIG_DFL)

shared = Path(__file__).resolve().parent.parent.parent/'shared'
sample, weights_file = shared/'planet_sample', shared/'weights'/'resnet50_imagenet_fp16.safetensors'

@pytest.fixture(scope='session', autouse=True)
def own_caches(tmp_path_factory):
    "No test reads or fills a cache of the user's; torch's and the hub's are empty, with nothing pretrained."
    home = tmp_path_factory.mktemp('home')
    with pytest.MonkeyPatch.context() as patch:
        for name in ('PLANET_CACHE', 'FASTAI_HOME', 'TORCH_HOME', 'HF_HOME'): patch.setenv(name, str(home/name))
        yield

@pytest.fixture
def real_chips():
    "The folder of 1,000 real chips."
    if not sample.is_dir(): pytest.skip(f'the 1,000 real chips are not in {os.path.relpath(sample)}')
    return sample

@pytest.fixture
def real_weights():
    "ImageNet weights of a ResNet-50."
    if not weights_file.is_file(): pytest.skip(f'the ImageNet weights are not in {os.path.relpath(weights_file)}')
    return weights_file

@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    "60 synthetic chips of 64 px in the competition's layout; not to be changed."
    from planet.synthetic.chips import write_chips
    return write_chips(tmp_path_factory.mktemp('chips')/'drawn', n=60, size=64, seed=1)

@pytest.fixture
def folder(drawn, tmp_path):
    "The same chips in a folder that a test may spoil."
    return Path(shutil.copytree(drawn, tmp_path/'mine'))
