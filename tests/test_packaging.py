"""The wheel's metadata and contents."""

import re
import subprocess
import tomllib

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']


def texts():
    """All text files of the repository."""
    listed = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split('\0')[:-1]:
        path = ROOT / name
        if path.suffix in ('.py', '.md', '.sh', '.html', '.toml', '.ipynb', '') and path.is_file():
            yield name, path.read_text(errors='replace')


def test_advice_to_install_names_extras_that_there_are():
    extras, named = set(PROJECT['optional-dependencies']), {}
    for file, text in texts():
        for found in re.findall(r'(?:tokenhmr_jax|pip install[^`\n]*\.)\[([a-z,]+)\]', text):
            named |= dict.fromkeys(found.split(','), file)
    assert {'photos', 'report', 'convert'} <= named.keys() <= extras, named
