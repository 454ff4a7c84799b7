"Reads `settings.ini`, the one place for the package's metadata."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=['='])
parser.read(here/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    author=cfg['author'], keywords=cfg['keywords'].split(), license=cfg['license'],
    packages=find_packages(include=['planet', 'planet.*']),
    package_data={'planet': ['*.csv', '*.css', '*.html', '*.js']},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require={name.removesuffix('_requirements'): cfg[name].split() for name in cfg
                    if name.endswith('_requirements')},
    entry_points={'console_scripts': cfg.get('console_scripts', '').split()}, zip_safe=False)
