"""The heads, against a second method in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import attention, gelu, linear, norm, random_like

from tokenhmr_jax.models import token_head

HEADS = 2
DECODER = token_head.QueryDecoder(width=12, depth=2, heads=HEADS, head_dim=4, mlp_dim=10)
MIXER = token_head.TokenMixer(
    num_tokens=5, num_codes=7, width=6, depth=2, token_dim=3, channel_dim=8
)


@pytest.fixture(scope='module')
def features():
    return np.random.default_rng(1).normal(size=(2, 9, 16)).astype(np.float32)


def random_params(model, *inputs):
    return random_like(jax.eval_shape(model.init, jax.random.key(0), *inputs)['params'])


def layer_by_numpy(x, features, p):
    """Queries (Q, 12) that have read one image's features (N, C)."""
    q, k, v = np.split(linear(norm(x, p['self_norm'], 1e-5), p['self_qkv']), 3, axis=-1)
    x = x + linear(attention(q, k, v, HEADS), p['self_out'])
    q = linear(norm(x, p['cross_norm'], 1e-5), p['cross_q'])
    k, v = np.split(linear(features, p['cross_kv']), 2, axis=-1)
    x = x + linear(attention(q, k, v, HEADS), p['cross_out'])
    return x + linear(gelu(linear(norm(x, p['mlp_norm'], 1e-5), p['mlp_in'])), p['mlp_out'])


def decode_by_numpy(features, p):
    """The queries' last states, (Q, 12)."""
    x = p['embed']['bias'] + p['position']
    for i in range(DECODER.depth):
        x = layer_by_numpy(x, features, p[f'layer{i}'])
    return x


def mix_by_numpy(x, p):
    """Logits (5, 7) from the query's numbers (12,)."""
    x = np.maximum(norm(linear(x, p['spread']), p['spread_norm'], 1e-5), 0).reshape(5, 6)
    for i in range(MIXER.depth):
        layer = p[f'layer{i}']
        y = norm(x, layer['token_norm'], 1e-5).T
        y = x + linear(gelu(linear(y, layer['token_in'])), layer['token_out']).T
        z = norm(y, layer['channel_norm'], 1e-5)
        x = y + linear(gelu(linear(z, layer['channel_in'])), layer['channel_out'])
    x = np.maximum(norm(linear(x, p['out']), p['out_norm'], 1e-5), 0)
    return linear(x, p['logits'])


def test_token_head_by_a_second_method(features):
    model = token_head.TokenHead(DECODER, MIXER)
    params = random_params(model, features)
    found = jax.jit(model.apply)({'params': params}, features)
    p = jax.tree.map(np.float64, params)
    for i, one in enumerate(features.astype(np.float64)):
        [x] = decode_by_numpy(one, p['decoder'])
        np.testing.assert_allclose(found.logits[i], mix_by_numpy(x, p['mixer']), atol=1e-4)
        for name, size in {'global_orient': 6, 'hands': 12, 'betas': 10, 'camera': 3}.items():
            value = getattr(found, name)[i]
            assert value.shape == (size,)
            np.testing.assert_allclose(value, linear(x, p[name]), atol=1e-4)


def test_direct_head_by_a_second_method(features):
    model = token_head.DirectHead(DECODER)
    params = random_params(model, features)
    found = jax.jit(model.apply)({'params': params}, features)
    p = jax.tree.map(np.float64, params)
    for i, one in enumerate(features.astype(np.float64)):
        [x] = decode_by_numpy(one, p['decoder'])
        for name, size in {'pose': 144, 'betas': 10, 'camera': 3}.items():
            value = getattr(found, name)[i]
            assert value.shape == (size,)
            np.testing.assert_allclose(value, linear(x, p[name]), atol=1e-4)


def test_pose_token_head_by_a_second_method(features):
    """The first query is for all but the tokens, and each token has its own."""
    model = token_head.PoseTokenHead(DECODER.clone(num_queries=6), num_codes=7)
    params = random_params(model, features)
    found = jax.jit(model.apply)({'params': params}, features)
    p = jax.tree.map(np.float64, params)
    for i, one in enumerate(features.astype(np.float64)):
        first, *tokens = decode_by_numpy(one, p['decoder'])
        logits = linear(norm(np.array(tokens), p['token_norm'], 1e-5), p['logits'])
        np.testing.assert_allclose(found.logits[i], logits, atol=1e-4)
        for name, size in {'global_orient': 6, 'hands': 12, 'betas': 10, 'camera': 3}.items():
            value = getattr(found, name)[i]
            assert value.shape == (size,)
            np.testing.assert_allclose(value, linear(first, p[name]), atol=1e-4)


def test_several_queries_attend_to_each_other():
    """The published head has one query, whose self-attention cannot be told from its values."""
    layer = token_head.DecoderLayer(heads=HEADS, head_dim=4, mlp_dim=10, dtype=jnp.float32)
    rng = np.random.default_rng(2)
    x, features = rng.normal(size=(1, 3, 12)), rng.normal(size=(1, 9, 16))
    params = random_params(layer, x, features)
    found = jax.jit(layer.apply)({'params': params}, x, features)
    expected = layer_by_numpy(x[0], features[0], jax.tree.map(np.float64, params))
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_published_size():
    """Counted by hand from the layers."""
    decoder = token_head.QueryDecoder(
        width=1024, depth=6, heads=8, head_dim=64, mlp_dim=1024, dtype='bfloat16'
    )
    mixer = token_head.TokenMixer(num_tokens=160, num_codes=2048, dtype='bfloat16')
    features = jax.ShapeDtypeStruct((2, 192, 1280), jnp.bfloat16)
    linear_size = lambda a, b: a * b + b  # noqa: E731
    layer = 1024 * 3 * 512 + 1024 * 512 + 1280 * 2 * 512 + 2 * linear_size(512, 1024)
    layer += 2 * linear_size(1024, 1024) + 3 * 2 * 1024
    query = 2 * 1024 + 1024 + 6 * layer
    mixing = linear_size(160, 64) + linear_size(64, 160) + linear_size(64, 256)
    mixing += linear_size(256, 64) + 2 * 2 * 64
    tokens = linear_size(1024, 160 * 64) + 2 * 160 * 64 + 4 * mixing
    tokens += linear_size(64, 64) + 2 * 64 + linear_size(64, 2048)
    shared = linear_size(1024, 10) + linear_size(1024, 3)

    model = token_head.TokenHead(decoder, mixer)
    out, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), features)
    assert out.logits.shape == (2, 160, 2048)
    assert {x.dtype for x in jax.tree.leaves((out, variables))} == {np.dtype('float32')}
    expected = query + tokens + shared + linear_size(1024, 6) + linear_size(1024, 12)
    assert sum(x.size for x in jax.tree.leaves(variables)) == expected

    variables = jax.eval_shape(token_head.DirectHead(decoder).init, jax.random.key(0), features)
    expected = query + shared + linear_size(1024, 144)
    assert sum(x.size for x in jax.tree.leaves(variables)) == expected
