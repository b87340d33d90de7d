"""The tokenizer network and its task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokenhmr_jax.models import tokenizer
from tokenhmr_jax.objectives import losses


@pytest.mark.parametrize(('size_mul', 'tokens'), [(1, 20), (2, 40), (3, 80), (4, 160)])
def test_sizes_follow_from_size_mul(size_mul, tokens):
    model = tokenizer.Tokenizer(
        width=8, code_dim=5, size_mul=size_mul, size_div=4, depth=2, dilation_rate=3
    )
    pose = jax.ShapeDtypeStruct((2, 21, 3, 3), jnp.float32)
    key = jax.random.key(0)
    variables = jax.eval_shape(model.init, key, pose)
    latents = jax.eval_shape(lambda v, p: model.apply(v, p, method='encode'), variables, pose)
    decoded = jax.eval_shape(lambda v, z: model.apply(v, z, method='decode'), variables, latents)
    assert latents.shape == (2, tokens, 5)
    assert tokenizer.num_tokens(size_mul) == tokens
    assert decoded.shape == (2, 21, 6)


def test_release_size_has_the_released_parameter_count():
    """Counted by hand from the layers: convolutions of 3, 4, 1 taps at width 512, code size 256."""
    model = tokenizer.Tokenizer(
        width=512, code_dim=256, size_mul=4, size_div=4, depth=2, dilation_rate=3
    )
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 21, 3, 3)))
    found = sum(x.size for x in jax.tree.leaves(variables))
    conv = lambda taps, a, b: taps * a * b + b  # noqa: E731
    residual = 2 * (conv(3, 512, 512) + conv(1, 512, 512))
    encoder = conv(3, 6, 512) + 4 * conv(3, 512, 512) + conv(4, 512, 512) + residual
    encoder += conv(3, 512, 256)
    decoder = conv(3, 256, 512) + 4 * conv(3, 512, 512) + residual + conv(3, 512, 512)
    decoder += conv(3, 512, 6)
    assert found == encoder + decoder


def test_resizing_by_hand():
    np.testing.assert_array_equal(tokenizer.nearest_indices(4, 8), [0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(tokenizer.nearest_indices(5, 3), [0, 1, 3])
    x = jnp.arange(6.0).reshape(1, 3, 2)
    np.testing.assert_array_equal(tokenizer.resize_nearest(x, 5)[0, :, 0], [0, 0, 2, 2, 4])


def test_vertex_weights_by_hand():
    """Areas 0.5, 1 and 2: normalised to 0, 1/3 and 1, each vertex adding up its triangles."""
    vertices = jnp.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [0, 4, 0]])
    faces = jnp.array([[0, 1, 2], [0, 3, 2], [0, 4, 1]])
    weights = losses.vertex_weights(vertices, faces)
    np.testing.assert_allclose(weights, [0 + 1 / 3 + 1, 0 + 1, 0 + 1 / 3, 1 / 3, 1], rtol=1e-6)


@pytest.mark.parametrize(('distance', 'expected'), [('squared', 0.25), ('l1', 0.5)])
def test_tokenizer_terms_by_hand(distance, expected):
    zeros = jnp.zeros((2, 21, 3))
    terms = losses.tokenizer_terms(
        rotation=jnp.full((2, 21, 3, 3), 0.5),
        rotation_gt=jnp.zeros((2, 21, 3, 3)),
        joints=zeros - 0.5,
        joints_gt=zeros,
        vertices=jnp.full((2, 4, 3), 0.5),
        vertices_gt=jnp.zeros((2, 4, 3)),
        weights=jnp.array([0.0, 1, 2, 3]),
        commitment=7.0,
        distance=distance,
    )
    np.testing.assert_allclose(terms['rotation'], expected)
    np.testing.assert_allclose(terms['joints'], expected)
    np.testing.assert_allclose(terms['vertices'], expected * 1.5)
    assert terms['commitment'] == 7


def test_weighted_sum_insists_on_the_same_names():
    terms = {'a': jnp.float32(2), 'b': jnp.float32(3)}
    assert losses.weighted_sum(terms, {'a': 10.0, 'b': 1.0}) == 23
    with pytest.raises(ValueError, match='loss_weights'):
        losses.weighted_sum(terms, {'a': 1.0})
