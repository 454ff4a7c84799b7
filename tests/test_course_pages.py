"The way through the course: links, minutes and badges in the notebooks, the index, and the pages of `docs/build.py`."
import json
import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'docs'))
import course  # noqa: E402 (it stands in docs/, which is no package)

NOTEBOOKS = sorted((ROOT/'nbs').glob('*.ipynb'))

def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']
def markdown(path):
    if path.suffix == '.md': return path.read_text(encoding='utf-8')
    return '\n\n'.join(''.join(c['source']) for c in cells(path) if c['cell_type'] == 'markdown')

def test_every_notebook_is_on_the_way():
    assert set(course.BY_NAME) == {p.stem for p in NOTEBOOKS}
    assert {n for *_, names in course.READERS.values() for n in names} == set(course.BY_NAME)

def test_notebooks_and_index_are_up_to_date():
    assert course.write(check=True) == [], 'python docs/course.py writes them'

def test_the_address_is_written_once(tmp_path):
    (tmp_path/'docs').mkdir()
    (tmp_path/'nbs').mkdir()
    for name in ('course.py', 'summary.md'): (tmp_path/'docs'/name).write_text((ROOT/'docs'/name).read_text())
    before = (tmp_path/'docs'/'course.py').read_text()
    command = [sys.executable, tmp_path/'docs'/'course.py', '--repository', 'https://github.com/me/mine']
    subprocess.run(command, check=True)
    after = (tmp_path/'docs'/'course.py').read_text()
    changed = [new for old, new in zip(before.splitlines(), after.splitlines()) if old != new]
    assert len(changed) == 1 and changed[0].startswith("REPOSITORY = 'https://github.com/me/mine'")

def test_the_next_links_lead_through_the_whole_course():
    name, seen = '10_feedforward', []
    while name:
        seen.append(name)
        name = next((n for n, who in course.next_of(name).items() if 'the learner' in who), None)
    assert seen == [n.name for n in course.NOTEBOOKS]

@pytest.mark.parametrize('path', [*NOTEBOOKS, ROOT/'docs'/'course.md'], ids=lambda p: p.stem)
def test_links_between_pages_lead_somewhere(path):
    text = re.sub(r'`[^`\n]*`', '', markdown(path))
    local = [a.split('#')[0] for a in re.findall(r'\]\(([^)\s]+)\)', text) if not a.startswith(('http', '#'))]
    assert not [a for a in local if a and not (path.parent/a).exists()]

@pytest.mark.parametrize('name', list(course.BY_NAME))
def test_minutes_are_near_an_estimate(name):
    estimate = course.minutes(cells(ROOT/'nbs'/f'{name}.ipynb'))
    assert .6*estimate <= course.BY_NAME[name].minutes <= 1.7*estimate

def test_without_an_address_no_link_is_dead():
    assert course.REPOSITORY or not any('colab.research' in markdown(p) or 'OWNER' in p.read_text() for p in NOTEBOOKS)

def test_another_repository(monkeypatch):
    monkeypatch.setattr(course, 'REPOSITORY', 'https://github.com/me/mine')
    colab = 'https://colab.research.google.com/github/me/mine/blob/main/nbs/12_planet.ipynb'
    assert f'({colab})' in course.badges('12_planet')
    assert '?src=https://github.com/me/mine/blob/main/nbs/12_planet.ipynb)' in course.badges('12_planet')
    assert 'pip install -q git+https://github.com/me/mine' in course.install()
    again = course.with_way(course.with_way(cells(NOTEBOOKS[0]), NOTEBOOKS[0].stem), NOTEBOOKS[0].stem)
    assert [c['id'] for c in again].count('way-here') == 1 and again[-1]['id'] == 'way-on'

def test_an_address_that_colab_cannot_open_is_refused():
    found = subprocess.run([sys.executable, ROOT/'docs'/'course.py', '--repository', 'git@host:me/mine'],
                           capture_output=True, text=True)
    assert found.returncode == 1 and 'is no address such as' in found.stderr

def test_the_install_cell_does_nothing_here():
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell()
    asked = []
    shell.register_magic_function(lambda line: asked.append(line), magic_name='pip')
    assert shell.run_cell(course.install()).success and not asked
    absent = shell.run_cell(course.install().replace("'planet'", "'no_such_package'"), silent=True)
    if course.REPOSITORY: assert absent.success and len(asked) == 1
    else: assert 'install planet first' in str(absent.error_in_exec)

# ---- pages

needs_maths = pytest.mark.skipif(find_spec('latex2mathml') is None, reason='latex2mathml is not installed')

@pytest.fixture(scope='module')
def build():
    pytest.importorskip('nbconvert', reason='nbconvert is not installed')
    spec = spec_from_file_location('pages', ROOT/'docs/build.py') # PyPI has a `build` too, and it may be loaded already
    build = module_from_spec(spec)
    spec.loader.exec_module(build)
    return build

@needs_maths
def test_formulas_become_mathml_and_code_stays(build):
    page = build.body_of_text('The slope $\\frac{e^x}{1+e^x}$ of `$x$`, 5 $ and 6 $, and\n\n'
                              '$$a_i = \\ln p$$\n\n    $code$\n')
    assert page.count('<math') == 2 and 'display="block"' in page and '<mfrac>' in page
    assert page.count('<mrow>') == page.count('</mrow>')
    assert '<code>$x$</code>' in page and '5 $ and 6 $' in page and '$code$' in page and '\\frac' not in page

@needs_maths
def test_a_notebook_as_a_page(build, tmp_path, monkeypatch):
    from nbconvert import HTMLExporter
    try: HTMLExporter(template_name='basic')
    except ValueError: pytest.skip('the templates of nbconvert are not installed beside it')
    monkeypatch.setattr(course, 'NOTEBOOKS', [course.BY_NAME['00_losses'], course.BY_NAME['13_passengers']])
    assert build.build(tmp_path) == ['index', 'extending', 'scenes', '00_losses', '13_passengers']
    page = (tmp_path/'00_losses.html').read_text(encoding='utf-8')
    assert '<title>Losses</title>' in page and 'data:image/png;base64' in page and page.count('<math') > 20
    assert 'colab-badge.svg' not in page and 'OWNER' not in page
    assert '<details' in page and 'my_cross_entropy' in page and '#| export' not in re.sub('<code>.*?</code>', '', page)
    index = (tmp_path/'index.html').read_text(encoding='utf-8')
    assert '<title>The course</title>' in index and 'href="00_losses.html"' in index
    assert 'ipynb' not in re.sub('href="https[^"]*"', '', index)

@pytest.mark.parametrize('page', ['<img src="https://host/a.png">', '<script src="//host/a.js"></script>',
                                  '<style>@import url(a.css);</style>', '<p>$$x$$', '<p>MATHS3SHTAM',
                                  '<p>\\frac{1}{2}'])
def test_a_page_that_asks_the_network_is_refused(build, page):
    with pytest.raises(SystemExit, match='page-name'): build.check(page, 'page-name')
    build.check(f'<pre>{page}</pre><a href="https://host">a link</a>', 'page-name')
