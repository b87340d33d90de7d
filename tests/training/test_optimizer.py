"""Optimizers: who trains which parameter, and how the rate goes."""

import chex
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from tokenhmr_jax.training import optimizer

ADAMW = {
    'learning_rate': 1e-2,
    'muon_learning_rate': None,
    'muon_iterations': 5,
    'schedule': 'constant',
    'warmup_steps': 0,
    'b1': 0.9,
    'b2': 0.99,
    'weight_decay': 0.0,
    'clip_norm': None,
}


def updates(gradients, **settings):
    """The first update of parameters at zero."""
    tx = optimizer.make_optimizer(ml_collections.ConfigDict(ADAMW | settings), num_steps=10)
    params = jax.tree.map(jnp.zeros_like, gradients)
    return tx.update(gradients, tx.init(params), params)[0]


@pytest.fixture
def gradients(rng):
    def layer():
        return {'kernel': rng.normal(size=(3, 8, 8)), 'bias': rng.normal(size=8)}

    tree = {name: layer() for name in ('conv_in', 'hidden', 'conv_out')}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def test_adamw_first_goes_by_the_sign_of_the_gradient(gradients):
    given = updates(gradients)
    jax.tree.map(
        lambda u, g: np.testing.assert_allclose(u, -1e-2 * np.sign(g), rtol=1e-4), given, gradients
    )


def test_muon_trains_hidden_kernels_as_matrices_and_adamw_the_rest(gradients):
    plain, given = updates(gradients), updates(gradients, muon_learning_rate=1e-3)
    kernel = given['hidden'].pop('kernel').reshape(-1, 8)
    plain['hidden'].pop('kernel')
    chex.assert_trees_all_equal(given, plain)
    singular = np.linalg.svd(kernel, compute_uv=False)
    # Newton-Schulz leaves every singular value near one, up to Muon's scale for tall matrices.
    assert singular.max() < 2 * singular.min()
    assert 0.5e-3 < singular.mean() < 3e-3


def test_muon_takes_stacked_blocks_one_by_one(gradients):
    kernel = gradients['hidden']['kernel']
    stacked = updates({'blocks': {'mlp': {'kernel': kernel}}}, muon_learning_rate=1e-3)
    for i, given in enumerate(stacked['blocks']['mlp']['kernel']):
        alone = updates({'mlp': {'kernel': kernel[i]}}, muon_learning_rate=1e-3)
        np.testing.assert_allclose(given, alone['mlp']['kernel'], rtol=1e-3, atol=1e-6)


def test_warm_up_then_cosine():
    config = ml_collections.ConfigDict(ADAMW | {'schedule': 'cosine', 'warmup_steps': 4})
    rate = optimizer.make_schedule(config, 2.0, num_steps=12)
    np.testing.assert_allclose([rate(i) for i in (0, 2, 4, 8, 12)], [0, 1, 2, 1, 0], atol=1e-6)
