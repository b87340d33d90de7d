"""The vision transformer, against sums done by hand and a second method in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import attention, gelu, linear, norm, random_like

from tokenhmr_jax.models import vit

TINY = {'width': 8, 'depth': 2, 'heads': 2, 'patch_size': 8}


@pytest.fixture(scope='module')
def image():
    return np.random.default_rng(0).normal(size=(4, 32, 24, 3)).astype(np.float32)


@pytest.fixture(scope='module')
def params(image):
    """Every parameter random, biases too."""
    shapes = jax.eval_shape(vit.ViT(**TINY).init, jax.random.key(0), image)['params']
    return random_like(shapes)


def test_names_of_sizes():
    assert vit.decode_variant('H/16') == {
        'width': 1280, 'depth': 32, 'heads': 16, 'patch_size': 16,
    }  # fmt: skip
    assert vit.decode_variant('Ti/8')['patch_size'] == 8
    for wrong in ('H', 'X/16', 'H/', 'H/0', 'H/a'):
        with pytest.raises(ValueError, match=f'{wrong!r}'):
            vit.decode_variant(wrong)


@pytest.mark.parametrize('scan', [False, True])
@pytest.mark.parametrize(
    ('name', 'width', 'depth', 'total'),
    [('H/16', 1280, 32, 630_912_000), ('B/16', 768, 12, 85_794_816)],
)
def test_published_sizes(name, width, depth, total, scan):
    model = vit.ViT(**vit.decode_variant(name), scan=scan, dtype='bfloat16')
    image = jax.ShapeDtypeStruct((2, 256, 192, 3), jnp.float32)
    features, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    assert features.shape == (2, 192, width)
    assert features.dtype == jnp.bfloat16
    leaves = jax.tree.leaves(variables)
    assert {x.dtype for x in leaves} == {np.dtype('float32')}
    # By hand, in units of the width w: the patches' convolution, 193 positions, per block 12 w^2 of
    # matrices, 9 w of their biases and 4 w of norms, and the last norm.
    by_hand = 16 * 16 * 3 * width + width + 193 * width + 2 * width
    by_hand += depth * (12 * width**2 + 13 * width)
    assert sum(x.size for x in leaves) == by_hand == total


def block_by_numpy(x, p):
    """One image's tokens (N, W) through one block."""
    q, k, v = np.split(linear(norm(x, p['norm1'], 1e-6), p['attention']['qkv']), 3, axis=-1)
    x = x + linear(attention(q, k, v, TINY['heads']), p['attention']['out'])
    y = gelu(linear(norm(x, p['norm2'], 1e-6), p['mlp']['in']))
    return x + linear(y, p['mlp']['out'])


@pytest.mark.parametrize('scale', [1, 0.01])
def test_forward_by_a_second_method(image, params, scale):
    """Also with tokens so small that the normalisations' epsilon counts."""
    small = {k: jax.tree.map(lambda x: scale * x, params[k]) for k in ('patches', 'position')}
    params = params | small
    found = jax.jit(vit.ViT(**TINY).apply)({'params': params}, image)
    p = jax.tree.map(np.float64, params)
    for picture, features in zip(image, found, strict=True):
        padded = np.pad(picture.astype(np.float64), [(1, 1), (1, 1), (0, 0)])
        tokens = []
        for row in range(4):
            for column in range(3):
                patch = padded[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                tokens.append(np.einsum('yxc,yxcw->w', patch, p['patches']['kernel']))
        x = np.array(tokens) + p['patches']['bias'] + p['position'][1:] + p['position'][0]
        for i in range(2):
            x = block_by_numpy(x, p[f'block{i}'])
        np.testing.assert_allclose(features, norm(x, p['norm'], 1e-6), atol=2e-5)


def loss_and_gradient(model, params, image, rng):
    def loss(params):
        out = model.apply({'params': params}, image, train=True, rngs={'drop_path': rng})
        return jnp.sum(out * jnp.sin(jnp.arange(out.size)).reshape(out.shape))

    return jax.jit(jax.value_and_grad(loss))(params)


def assert_trees_close(found, expected):
    # 1e-4 of the largest gradient: sums in another order.
    scale = max(np.abs(x).max() for x in jax.tree.leaves(expected))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * scale)  # noqa: E731
    jax.tree.map(close, found, expected)


@pytest.fixture(scope='module')
def trained_plainly(image, params):
    """Value and gradient without scan and rematerialisation, with stochastic depth."""
    return loss_and_gradient(vit.ViT(**TINY, drop_path=0.5), params, image, jax.random.key(3))


@pytest.mark.parametrize(('scan', 'remat'), [(True, ''), (False, 'blocks'), (True, 'products')])
def test_scan_and_remat_change_nothing(image, params, trained_plainly, scan, remat):
    model = vit.ViT(**TINY, drop_path=0.5, scan=scan, remat=remat)
    arrange = vit.stack_blocks if scan else lambda tree: tree
    value, gradient = trained_plainly
    assert np.abs(gradient['block1']['mlp']['in']['kernel']).max() > 0
    found = loss_and_gradient(model, arrange(params), image, jax.random.key(3))
    assert_trees_close(found, (value, arrange(gradient)))


@pytest.mark.parametrize('mode', ['bernoulli', 'subset'])
def test_at_rate_zero_training_is_the_plain_network(image, params, mode):
    def apply(model, **options):
        return jax.jit(functools.partial(model.apply, **options))({'params': params}, image)

    model, plain = vit.ViT(**TINY, drop_mode=mode), apply(vit.ViT(**TINY))
    np.testing.assert_array_equal(apply(model, train=True), plain)
    # And outside training the rate does not matter.
    np.testing.assert_array_equal(apply(model.clone(drop_path=0.9)), plain)


def test_gradients_are_finite(image, params, trained_plainly):
    model = vit.ViT(**TINY, drop_path=0.6, drop_mode='subset', remat='blocks')
    subset = loss_and_gradient(model, params, image, jax.random.key(2))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves([trained_plainly, subset]))


@pytest.mark.parametrize('mode', ['bernoulli', 'subset'])
def test_expectation_of_a_branch(mode):
    """Over many draws, an example's branch counts once on average, and never with the batch's."""
    x = jnp.arange(1.0, 9.0).reshape(8, 1, 1)
    sizes = set()

    def branch(tokens):
        sizes.add(len(tokens))
        return tokens**2

    def draw(key):
        if mode == 'bernoulli':
            drop = vit._bernoulli_scales(key, 8, np.array([0.3]))
        else:
            drop = vit._subset_indices(key, 8, np.array([0.3]))
        return vit.add_residual(x, branch, drop[0][1])

    draws = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 4000))
    draws, x = np.asarray(draws)[..., 0, 0], np.asarray(x)
    # Per draw a branch counts 0 or 1/p times, p the share that is kept: 6 of 8, or 0.7.
    share = 0.75 if mode == 'subset' else 0.7
    counts = (draws - x[:, 0, 0]) / x[:, 0, 0] ** 2
    np.testing.assert_allclose(np.unique(np.round(counts, 3)), [0, round(1 / share, 3)])
    assert sizes == {6 if mode == 'subset' else 8}
    error = np.sqrt((1 - share) / share / 4000)
    np.testing.assert_allclose(counts.mean(0), 1, atol=5 * error)
    if mode == 'subset':
        np.testing.assert_array_equal((counts > 0).sum(-1), 6)


def test_subsets_are_chosen_independently():
    """Three of four are kept: two choices agree one time in four."""
    draw = lambda key: vit._subset_indices(key, 4, np.array([0.25]))[0]  # noqa: E731
    kept = np.sort(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 4000)))
    agree = (kept[:, 0] == kept[:, 1]).all(-1).mean()
    assert abs(agree - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4000)


@pytest.mark.slow
def test_subset_saves_a_quarter_of_the_blocks_work():
    """At the published rate, and counted by the compiler."""

    def work(**options):
        sizes = {'width': 64, 'depth': 12, 'heads': 4, 'patch_size': 8}
        model = vit.ViT(**sizes, **options)
        image = jax.ShapeDtypeStruct((32, 64, 48, 3), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), image)
        run = lambda v, x, k: model.apply(v, x, train=True, rngs={'drop_path': k})  # noqa: E731
        lowered = jax.jit(run).lower(variables, image, jax.random.key(0))
        return lowered.cost_analysis()['flops']

    saved = 1 - work(drop_path=0.55, drop_mode='subset') / work()
    # The mean rate of the blocks is 0.275; patches, and choosing the subsets, cost a little.
    assert 0.24 < saved < 0.28


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'patch_size': 7}, '32 x 24 does not divide into patches of 7'),
        ({'heads': 3}, 'width=8 does not divide by heads=3'),
        ({'drop_mode': 'random'}, "drop_mode='random'"),
        ({'drop_path': 1.0}, 'drop_path=1.0'),
        ({'remat': 'all'}, "remat='all': expected ''"),
        ({'drop_mode': 'subset', 'scan': True}, "'subset' computes a different number"),
    ],
)
def test_fields_that_do_not_go_together(image, fields, message):
    model = vit.ViT(**TINY | {'drop_path': 0.5} | fields)
    rngs = {'params': jax.random.key(0), 'drop_path': jax.random.key(1)}
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(model.init, train=True), rngs, image)
