"""What the tests share: eight host devices, a compilation cache, and things made once."""

import pathlib

import jax
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent

jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_compilation_cache_dir', str(ROOT / '.cache/xla'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
jax.config.update('jax_numpy_rank_promotion', 'allow')


@pytest.fixture(scope='session')
def shared() -> pathlib.Path:
    """Reference data that lies beside the checkout on some machines."""
    path = ROOT.parent / 'shared'
    if not path.is_dir():
        pytest.skip('no reference data beside this checkout')
    return path


@pytest.fixture(scope='session')
def mannequin():
    """The body model that needs no licence."""
    from tokenhmr_jax.body import mannequin, smpl

    return smpl.from_arrays(mannequin.arrays(), 'mannequin')


@pytest.fixture(scope='session')
def random_body():
    """The body model of random numbers that the reference was computed with."""
    from random_body import random_smpl

    from tokenhmr_jax.body import smpl

    return smpl.from_arrays(random_smpl(1), 'random body')


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
