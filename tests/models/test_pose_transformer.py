"""The tokenizer's transformer: sizes, and what the positions of joints and tokens do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.models import pose_transformer
from tokenhmr_jax.models.tokenizer import Tokenizer

SIZES = {'width': 16, 'size_div': 2, 'depth': 1, 'dilation_rate': 3, 'heads': 2}


def make(**settings) -> Tokenizer:
    return Tokenizer(**SIZES | {'code_dim': 3, 'size_mul': 2, 'network': 'transformer'} | settings)


@pytest.mark.parametrize(('size_mul', 'tokens'), [(1, 20), (4, 160)])
def test_sizes_are_those_of_the_convolutions(size_mul, tokens):
    model = make(size_mul=size_mul)
    pose = jax.ShapeDtypeStruct((2, 21, 3, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), pose)
    latents = jax.eval_shape(lambda v, p: model.apply(v, p, method='encode'), variables, pose)
    decoded = jax.eval_shape(lambda v, z: model.apply(v, z, method='decode'), variables, latents)
    assert latents.shape == (2, tokens, 3)
    assert decoded.shape == (2, 21, 6)
    assert variables['params'].keys() == {'encoder', 'decoder'}


def test_chains_by_hand():
    chains = pose_transformer.kinematic_chains()
    names = lambda joint: {  # noqa: E731
        skeleton.BODY_JOINTS[i] for i in np.flatnonzero(chains[skeleton.BODY_JOINTS.index(joint)])
    }
    assert names('left_hip') == {'left_hip'}
    assert names('right_ankle') == {'right_hip', 'right_knee', 'right_ankle'}
    spine = {'spine1', 'spine2', 'spine3'}
    assert names('left_wrist') == spine | {
        'left_collar', 'left_shoulder', 'left_elbow', 'left_wrist'
    }  # fmt: skip


def test_tokens_are_spread_over_all_joints():
    assert pose_transformer.joint_of_token(21).tolist() == list(range(21))
    counts = np.bincount(pose_transformer.joint_of_token(80))
    assert len(counts) == 21 and set(counts) == {3, 4}


@pytest.mark.slow
def test_joints_and_tokens_are_told_apart_by_their_positions():
    """Rotations of two joints exchanged are another pose, and so are two exchanged tokens."""
    model = make()
    key, other = jax.random.split(jax.random.key(0))
    pose = jnp.linalg.qr(jax.random.normal(key, (1, 21, 3, 3)))[0]
    params = model.init(other, pose)
    encode = jax.jit(lambda p: model.apply(params, p, method='encode'))
    decode = jax.jit(lambda z: model.apply(params, z, method='decode'))
    latents = encode(pose)
    exchanged = encode(pose[:, np.r_[1, 0, 2:21]])
    assert (jnp.abs(exchanged - latents).max(axis=-1) > 1e-3).mean() > 0.1
    # Tokens 0 and 1 start from the same joint, and mean different things of it.
    assert jnp.abs(latents[0, 0] - latents[0, 1]).max() > 1e-2
    moved = decode(latents[:, np.r_[1, 0, 2:40]])
    assert jnp.abs(moved - decode(latents)).max() > 1e-3


def test_levels_bound_the_latents_of_either_network():
    pose = 50 * jax.random.normal(jax.random.key(0), (1, 21, 3, 3))
    for network in ('conv', 'transformer'):
        free, bound = make(network=network), make(network=network, levels=(4, 4, 4))
        params = free.init(jax.random.key(1), pose)
        latents, bounded = (m.apply(params, pose, method='encode') for m in (free, bound))
        assert jnp.abs(latents).max() > 1
        np.testing.assert_allclose(bounded, jnp.tanh(latents), atol=1e-6)


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="network='mlp': expected 'conv' or 'transformer'"):
        make(network='mlp').init(jax.random.key(0), jnp.zeros((1, 21, 3, 3)))
