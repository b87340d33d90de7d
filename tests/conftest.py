"""What the tests share."""

import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope='session')
def shared() -> pathlib.Path:
    """Reference data that lies beside the checkout on some machines."""
    path = ROOT.parent / 'shared'
    if not path.is_dir():
        pytest.skip('no reference data beside this checkout')
    return path
