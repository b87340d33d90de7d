"""The codebook: by hand, and on one device against eight."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from tokenhmr_jax.models import quantizer
from tokenhmr_jax.training import sharding

KEY = jax.random.key(0)
# Compiled: run as they stand, every operation in them is compiled on its own.
nearest, quantize, perplexity = map(
    jax.jit, (quantizer.nearest_codes, quantizer.quantize, quantizer.perplexity)
)
pick_seeds = jax.jit(quantizer.pick_seeds, static_argnums=(1, 3))
update = jax.jit(quantizer.update_codebook, static_argnames='reset_on_reseed')


def codebook_of(codes, sums=None, counts=None):
    codes = jnp.asarray(codes, jnp.float32)
    counts = jnp.full(len(codes), 10.0) if counts is None else jnp.asarray(counts, jnp.float32)
    sums = codes * counts[:, None] if sums is None else jnp.asarray(sums, jnp.float32)
    return quantizer.Codebook(codes, sums, counts, jnp.array(True))


def test_nearest_is_the_brute_force_answer(rng):
    codes = rng.normal(size=(37, 5)).astype(np.float32)
    latents = rng.normal(size=(4, 11, 5)).astype(np.float32)
    distance = ((latents[..., None, :] - codes) ** 2).sum(-1)
    np.testing.assert_array_equal(nearest(codes, latents), distance.argmin(-1))


def test_gradient_passes_straight_through_and_never_to_the_codes(rng):
    codes = jnp.asarray(rng.normal(size=(8, 3)), jnp.float32)
    latents = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    pull = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)

    def value(codes, latents):
        return jnp.sum(quantizer.quantize(codes, latents)[0] * pull)

    code_grad, latent_grad = jax.jit(jax.grad(value, argnums=(0, 1)))(codes, latents)
    np.testing.assert_array_equal(code_grad, 0)
    np.testing.assert_array_equal(latent_grad, pull)


def test_commitment_pulls_latents_towards_their_codes():
    codes = jnp.array([[0.0, 0.0], [10.0, 0.0]])
    latents = jnp.array([[1.0, 2.0], [9.0, 0.0]])
    commitment = lambda z: quantizer.quantize(codes, z)[2]  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(commitment))(latents)
    # mean over the 4 numbers of (1, 2, -1, 0)^2
    np.testing.assert_allclose(value, (1 + 4 + 1 + 0) / 4)
    np.testing.assert_allclose(gradient, [[0.5, 1.0], [-0.5, 0.0]])


def test_update_by_hand():
    """Code 0 gets two latents, code 1 none and lives on, code 2 falls below 1 and is re-seeded."""
    before = codebook_of([[0.0], [5.0], [9.0]], counts=[2.0, 3.0, 1.0])
    latents = jnp.array([[1.0], [-2.0]])
    seeds = jnp.array([[100.0], [200.0], [300.0]])
    tokens = jnp.array([0, 0])
    after = update(before, latents, tokens, seeds, decay=0.9, reset_on_reseed=False)
    np.testing.assert_allclose(after.ema_count, [0.9 * 2 + 0.1 * 2, 2.7, 0.9], rtol=1e-6)
    np.testing.assert_allclose(after.ema_sum, [[0.1 * -1], [13.5], [8.1]], rtol=1e-6)
    np.testing.assert_allclose(after.codes, [[-0.1 / 2.0], [5.0], [300.0]], rtol=1e-5)
    reset = update(before, latents, tokens, seeds, decay=0.9, reset_on_reseed=True)
    np.testing.assert_allclose(reset.codes, after.codes)
    np.testing.assert_allclose(reset.ema_count, [2.0, 2.7, 1.0], rtol=1e-6)
    np.testing.assert_allclose(reset.ema_sum, [[-0.1], [13.5], [300.0]], rtol=1e-5)


def test_only_the_first_batch_initialises():
    seeds = jnp.array([[1.0], [2.0]])
    first = quantizer.initialize_codebook(quantizer.empty_codebook(2, 1), seeds)
    np.testing.assert_array_equal(first.codes, seeds)
    np.testing.assert_array_equal(first.ema_sum, seeds)
    np.testing.assert_array_equal(first.ema_count, 1)
    again = quantizer.initialize_codebook(first, seeds + 7)
    np.testing.assert_array_equal(again.codes, seeds)


def test_spread_seeds_are_distinct_latents_from_the_whole_batch():
    latents = jnp.arange(1000.0)[:, None]
    seeds = np.asarray(pick_seeds(latents, 7, jax.random.key(3), 'spread'))[:, 0]
    assert len(set(seeds)) == 7
    np.testing.assert_array_equal(seeds // (1000 / 7), np.arange(7))
    other = np.asarray(pick_seeds(latents, 7, jax.random.key(4), 'spread'))[:, 0]
    assert (seeds != other).any()


def test_seeds_of_a_batch_of_a_million_latents_are_spread_too():
    """2048 times as many do not go into 32 bits."""
    latents = jnp.arange(2048 * 600.0)[:, None]
    seeds = np.asarray(pick_seeds(latents, 2048, jax.random.key(3), 'spread'))[:, 0]
    np.testing.assert_array_equal(seeds // 600, np.arange(2048))


def test_too_few_latents_are_repeated_with_noise():
    latents = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    seeds = np.asarray(pick_seeds(latents, 5, jax.random.key(0), 'first'))
    expected = np.array([[1, 2], [3, 4], [1, 2], [3, 4], [1, 2]])
    np.testing.assert_allclose(seeds, expected, atol=0.05)
    assert (seeds[0] != seeds[2]).any()


def test_unknown_seeding_is_refused():
    with pytest.raises(ValueError, match='sideways'):
        pick_seeds(jnp.ones((9, 1)), 3, jax.random.key(0), 'sideways')


def test_perplexity_counts_the_codes_in_use():
    np.testing.assert_allclose(perplexity(jnp.array([5.0, 5.0, 5.0, 0.0])), 3, rtol=1e-4)
    np.testing.assert_allclose(perplexity(jnp.array([9.0, 0.0])), 1, rtol=1e-4)


def test_update_is_the_same_on_a_batch_split_over_eight_devices(rng):
    latents = rng.normal(size=(64, 4)).astype(np.float32)
    before = codebook_of(rng.normal(size=(24, 4)), counts=rng.uniform(0.5, 2, 24))

    def step(codebook, latents, rng):
        _, tokens, commitment = quantizer.quantize(codebook.codes, latents)
        seeds = quantizer.pick_seeds(latents, 24, rng, 'spread')
        after = quantizer.update_codebook(
            codebook, latents, tokens, seeds, decay=0.99, reset_on_reseed=True
        )
        return after, commitment

    results = []
    for count in (1, 8):
        mesh = sharding.make_mesh(jax.devices()[:count])
        placed = sharding.put_batch(latents, mesh)
        assert len(placed.sharding.device_set) == count
        codebook = jax.device_put(before, sharding.replicated(mesh))
        results.append(jax.device_get(jax.jit(step)(codebook, placed, jax.random.key(0))))
    (one, _), (eight, _) = results
    assert (one.ema_count == 1).any(), 'some code must have been re-seeded'
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), *results)
    np.testing.assert_array_equal(one.codes[one.ema_count == 1], eight.codes[one.ema_count == 1])


@pytest.mark.parametrize(
    ('levels', 'expected'),
    [
        # The levels -1, 0, 1: boundaries at -0.5 and 0.5.
        (3, {-0.9: -1, -0.51: -1, -0.49: 0, 0.3: 0, 0.6: 1}),
        # -1, -0.5, 0, 0.5, 1: boundaries at 0.25 and 0.75 of either sign.
        (5, {-0.8: -1, -0.7: -0.5, 0.24: 0, 0.26: 0.5, 0.76: 1}),
        # -1, -5/7, ... 1, none at 0: boundaries at multiples of 2/7.
        (8, {-0.99: -1, -0.01: -1 / 7, 0.01: 1 / 7, 0.28: 1 / 7, 0.29: 3 / 7, 0.9: 1}),
    ],
)
def test_finite_scalars_are_rounded_by_hand(levels, expected):
    scalar = quantizer.FiniteScalarQuantizer((levels,))
    latents = jnp.array(list(expected))[None, :, None]
    quantized, _ = scalar.quantize(scalar.init(), latents, KEY, 0)
    np.testing.assert_allclose(quantized.codes[0, :, 0], list(expected.values()), atol=1e-6)
    index = (np.array(list(expected.values())) + 1) / 2 * (levels - 1)
    np.testing.assert_array_equal(quantized.tokens[0], index.round())
    assert quantized.commitment == 0


def test_each_number_of_a_grid_is_rounded_on_its_own(rng):
    """By a second method, and the tokens are mixed-radix numbers of the levels' indices."""
    levels = (3, 5, 8)
    scalar = quantizer.FiniteScalarQuantizer(levels)
    latents = rng.uniform(-1, 1, (2, 50, 3)).astype(np.float32)
    quantized, after = scalar.quantize(scalar.init(), jnp.asarray(latents), KEY, 0)
    counts = np.array(levels) - 1
    index = np.round((latents + 1) / 2 * counts)
    np.testing.assert_allclose(quantized.codes, index / counts * 2 - 1, atol=1e-6)
    np.testing.assert_array_equal(quantized.tokens, index @ [40, 8, 1])
    np.testing.assert_array_equal(after.codes, quantizer.grid_codes(levels))


def test_a_grid_has_all_combinations_and_each_is_its_own_nearest():
    codes = quantizer.grid_codes((3, 5, 8))
    assert codes.shape == (120, 3)
    assert len(np.unique(codes, axis=0)) == 120
    assert [len(np.unique(column)) for column in codes.T] == [3, 5, 8]
    np.testing.assert_array_equal(nearest(codes, codes), np.arange(120))


def test_the_gradient_passes_straight_through_the_rounding(rng):
    scalar = quantizer.FiniteScalarQuantizer((3, 5))
    latents = jnp.asarray(rng.uniform(-1, 1, (1, 6, 2)), jnp.float32)
    pull = jnp.asarray(rng.normal(size=(1, 6, 2)), jnp.float32)
    value = lambda z: jnp.sum(scalar.quantize(scalar.init(), z, KEY, 0)[0].codes * pull)  # noqa: E731
    np.testing.assert_array_equal(jax.grad(value)(latents), pull)


@pytest.mark.parametrize(
    ('levels', 'code_dim', 'num_codes', 'message'),
    [
        ((4, 4), 2, 17, 'codebook.num_codes=16, their product; got 2 and 17'),
        ((4, 4), 3, 16, 'model.code_dim=2, their number'),
        ((4, 1), 2, 4, r'model.levels=\(4, 1\): expected at least 2 of each'),
    ],
)
def test_levels_that_contradict_the_sizes_are_refused(levels, code_dim, num_codes, message):
    model = ml_collections.ConfigDict({'levels': levels, 'code_dim': code_dim})
    with pytest.raises(ValueError, match=message):
        quantizer.make_quantizer(model, ml_collections.ConfigDict({'num_codes': num_codes}))
