"""Numbers that the original PyTorch implementation computed, and how closely ours must agree."""

import collections
import pathlib

import numpy as np
import pytest

DATA = pathlib.Path(__file__).parent / 'files'


def assert_close(found, expected):
    """1e-4 relative to the array's largest value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def fixture(shipped: str, *whole: str):
    """A fixture of arrays by name: from the file shipped, then from those of the full set."""

    @pytest.fixture(scope='module', params=['shipped', 'shared'], name='golden')
    def golden(request):
        if request.param == 'shipped':
            return dict(np.load(DATA / shipped))
        folder = request.getfixturevalue('shared') / 'golden'
        return {k: v for name in whole for k, v in np.load(folder / name).items()}

    return golden


def read_torch(path, entry: str) -> dict[str, np.ndarray]:
    """The tensors of one entry of an original checkpoint; skips without PyTorch."""
    torch = pytest.importorskip('torch')
    # The file's config is of a class that need not exist here: a plain dict stands in for it.
    stand_in = (collections.OrderedDict, 'yacs.config.CfgNode')
    with torch.serialization.safe_globals([stand_in]):
        checkpoint = torch.load(path, weights_only=True)
    return {k: v.numpy() for k, v in checkpoint[entry].items()}
