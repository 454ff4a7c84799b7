"Memory that is freed stays in the process, where the C library can be asked to."
import os
import subprocess
import sys
import pytest
from planet.memory import keep_memory

CODE = """import resource
from planet.memory import keep_memory
kept = keep_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(64 << 20)
before = faults()
for i in range(4): bytearray(64 << 20)
print(kept, faults() - before)"""

def run(**env):
    done = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True, env=os.environ | env)
    assert not done.returncode, done.stderr
    kept, faults = done.stdout.split()
    return kept == 'True', int(faults)

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks glibc')
def test_pages_are_not_taken_anew():
    kept, faults = run()
    if not kept: pytest.skip('this C library has no mallopt')
    assert faults < 1000, '64 MB are 16,384 pages each time'

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='asks glibc')
def test_the_environment_comes_first():
    kept, faults = run(MALLOC_MMAP_MAX_='65536', MALLOC_TRIM_THRESHOLD_='131072')
    assert not kept and faults > 1000

def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'darwin')
    assert not keep_memory()
