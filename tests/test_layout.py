"""The house stays one that can be read: no long files, no long functions, tests where code is."""

import ast
import pathlib

import pytest
from conftest import ROOT

MOST_LINES, MOST_LINES_OF_FUNCTION = 400, 60
FOLDERS = ('tokenhmr_jax', 'configs', 'datasets', 'launch', 'benchmarks', 'tests')
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob('*.py'))


def test_no_file_is_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {path: n for path, n in lengths.items() if n > MOST_LINES} == {}


def test_no_function_is_long():
    """But those of configs, which are lists of settings."""
    long = {}
    for path in FILES:
        if path.parent.name == 'configs':
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > MOST_LINES_OF_FUNCTION:
                    long[f'{path.relative_to(ROOT)}:{node.name}'] = lines
    assert long == {}


def test_commands_types_config_and_cli_are_all_that_stands_flat():
    from tokenhmr_jax.__main__ import COMMANDS

    flat = {path.stem for path in (ROOT / 'tokenhmr_jax').glob('*.py')}
    assert flat == {*COMMANDS, 'types', 'config', '__init__', '__main__'}


@pytest.mark.parametrize('folder', [p for p in (ROOT / 'tests').iterdir() if p.is_dir()])
def test_tests_mirror_the_package(folder: pathlib.Path):
    """But for parity, the faults of whole runs, and files."""
    others = {'parity', 'faults', 'files', '__pycache__'}
    assert folder.name in others or (ROOT / 'tokenhmr_jax' / folder.name).is_dir()
