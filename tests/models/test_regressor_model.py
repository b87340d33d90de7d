"""The regressor's networks, put together."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import random_like

from tokenhmr_jax.body import rotations
from tokenhmr_jax.models import regressor, token_head, tokenizer, vit

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
BACKBONE = vit.ViT(width=8, depth=2, heads=2, patch_size=8)
DECODER = token_head.QueryDecoder(width=12, depth=1, heads=2, head_dim=4, mlp_dim=10)
TOKENIZER = tokenizer.Tokenizer(
    width=8, code_dim=4, size_mul=1, size_div=2, depth=1, dilation_rate=3
)
TOKENS = regressor.Regressor(
    BACKBONE,
    token_head.TokenHead(DECODER, token_head.TokenMixer(num_tokens=20, num_codes=16, depth=1)),
    TOKENIZER,
    'rows',
)
DIRECT = regressor.Regressor(BACKBONE, token_head.DirectHead(DECODER), None, 'columns')
# Compiled: run as they stand, every operation in them is compiled on its own.
decode = jax.jit(functools.partial(TOKENIZER.apply, method='decode'))
rotation_6d_to_matrix = jax.jit(rotations.rotation_6d_to_matrix, static_argnums=1)


def random_params(model):
    return random_like(jax.eval_shape(model.init, jax.random.key(0), IMAGE))


@pytest.fixture(scope='module')
def frozen():
    pose = jnp.zeros((1, 21, 3, 3))
    shapes = jax.eval_shape(TOKENIZER.init, jax.random.key(0), pose)['params']
    codes = np.random.default_rng(1).normal(size=(16, 4)).astype(np.float32)
    return regressor.FrozenWeights(
        **regressor.upright_mean(), tokenizer=random_like(shapes), codes=codes
    )


@pytest.fixture(scope='module')
def apply():
    """Compiled once for both models."""
    return {'tokens': jax.jit(TOKENS.apply), 'direct': jax.jit(DIRECT.apply)}


def test_pixels_by_hand():
    image = np.zeros((1, 16, 16, 3), np.uint8)
    image[:, :, 2], image[:, :, 13], image[:, :, [1, 14]] = 255, 51, 99
    found = regressor.pixels(image)
    assert found.shape == (1, 16, 12, 3)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(found[0, 0, 0], (1 - mean) / std, rtol=1e-5)
    np.testing.assert_allclose(found[0, 0, -1], (0.2 - mean) / std, rtol=1e-5)
    np.testing.assert_allclose(found[0, 0, 5], -mean / std, rtol=1e-5)
    np.testing.assert_array_equal(regressor.pixels(image.astype(np.float32)), found)
    np.testing.assert_array_equal(regressor.pixels(image[:, :, 2:14]), found)
    # The published size: columns 32 to 223 of 256.
    columns = np.broadcast_to(np.arange(256.0)[:, None], (1, 256, 256, 3))
    red = regressor.pixels(columns)[0, 0, :, 0] * std[0] + mean[0]
    np.testing.assert_allclose(255 * red, np.arange(32, 224), atol=1e-3)


@pytest.mark.parametrize('shape', [(1, 32, 28, 3), (1, 24, 32, 3), (1, 36, 36, 3), (1, 32, 32, 1)])
def test_images_of_another_shape_are_named(shape):
    with pytest.raises(ValueError, match=rf'shape \({shape[0]}, {shape[1]}'):
        regressor.pixels(np.zeros(shape, np.uint8))


def test_tokens_become_joints_1_to_21(frozen, apply):
    """Undecided tokens give the mean code; orientation and hands come from their own read-outs."""
    params = random_params(TOKENS)
    head = params['head']
    for name in ('global_orient', 'hands', 'betas', 'camera'):
        head[name]['kernel'] *= 0
    head['mixer']['logits'] = jax.tree.map(np.zeros_like, head['mixer']['logits'])
    found = apply['tokens'](params, frozen, IMAGE)
    np.testing.assert_allclose(found.token_probs, np.full((2, 20, 16), 1 / 16), rtol=1e-6)

    mean_code = jnp.broadcast_to(frozen.codes.mean(0), (1, 20, 4))
    body = decode({'params': frozen.tokenizer}, mean_code)[0]
    offset = np.concatenate(
        [head['global_orient']['bias'][None], body, head['hands']['bias'].reshape(2, 6)]
    )
    expected = rotation_6d_to_matrix(frozen.mean_pose + offset, 'rows')
    for one in range(2):
        np.testing.assert_allclose(found.params.global_orient[one], expected[0], atol=1e-5)
        np.testing.assert_allclose(found.params.body_pose[one], expected[1:], atol=1e-5)
        np.testing.assert_allclose(found.params.betas[one], head['betas']['bias'], atol=1e-6)
        camera = np.array([0.9, 0, 0]) + head['camera']['bias']
        np.testing.assert_allclose(found.camera[one], camera, atol=1e-6)


def test_decided_tokens_give_their_codes(frozen, apply):
    params = random_params(TOKENS)
    logits = params['head']['mixer']['logits']
    logits['kernel'] *= 0
    logits['bias'] = np.where(np.arange(16) == 5, 100, 0).astype(np.float32)
    found = apply['tokens'](params, frozen, IMAGE)
    code = jnp.broadcast_to(frozen.codes[5], (1, 20, 4))
    body = decode({'params': frozen.tokenizer}, code)[0]
    expected = rotation_6d_to_matrix(frozen.mean_pose[1:22] + body, 'rows')
    np.testing.assert_allclose(found.params.body_pose[1, :21], expected, atol=1e-5)


def test_a_frozen_decoder_asks_for_full_float32(frozen):
    """By default TPUs round what goes into a float32 product to bfloat16, GPUs to TF32."""
    traced = jax.make_jaxpr(TOKENS._decode)(frozen, jnp.zeros((1, 20, 4)))
    convolutions = [e for e in traced.eqns if e.primitive.name == 'conv_general_dilated']
    assert len(convolutions) == 1 + 2 + 2 + 2
    exact = jax.lax.Precision.HIGHEST
    assert {e.params['precision'] for e in convolutions} == {(exact, exact)}


def test_direct_head_starts_at_the_mean_and_follows_its_convention(frozen, apply):
    params = random_params(DIRECT)
    found = apply['direct'](params, frozen, IMAGE)
    assert found.token_probs is None
    rows = jax.jit(dataclasses.replace(DIRECT, rotation_6d='rows').apply)(params, frozen, IMAGE)
    transposed = np.swapaxes(rows.params.body_pose, -1, -2)
    np.testing.assert_allclose(found.params.body_pose, transposed, atol=1e-5)

    for layer in ('pose', 'betas', 'camera'):
        params['head'][layer] = jax.tree.map(np.zeros_like, params['head'][layer])
    rest = apply['direct'](params, frozen, IMAGE)
    np.testing.assert_array_equal(rest.params.body_pose, np.tile(np.eye(3), (2, 23, 1, 1)))
    # SMPL's up is the camera's -y, SMPL's front the camera's -z, and left and right change sides
    # as for someone who faces the camera.
    np.testing.assert_array_equal(rest.params.global_orient, [np.diag([1.0, -1, -1])] * 2)
    np.testing.assert_array_equal(rest.params.betas, np.zeros((2, 10)))
    np.testing.assert_array_equal(rest.camera, np.float32([[0.9, 0, 0]] * 2))


def test_gradients_reach_the_networks_and_stop_at_what_is_frozen(frozen):
    """With stochastic depth on, as in training."""
    model = dataclasses.replace(TOKENS, backbone=BACKBONE.clone(drop_path=0.5))
    params = random_params(model)

    def loss(params, frozen):
        found = model.apply(params, frozen, IMAGE, train_rng=jax.random.key(1))
        parts = (found.params.global_orient, found.params.body_pose, found.params.betas)
        return sum(jnp.sum(jnp.sin(7 * x)) for x in (*parts, found.camera))

    trained, stopped = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, frozen)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(trained))
    assert all((np.asarray(x) == 0).all() for x in jax.tree.leaves(stopped))
    for layer in (
        trained['backbone']['patches'],
        trained['backbone']['block0']['mlp']['in'],
        trained['head']['decoder']['layer0']['cross_kv'],
        trained['head']['mixer']['layer0']['token_in'],
        trained['head']['mixer']['logits'],
        trained['head']['global_orient'],
        trained['head']['hands'],
        trained['head']['betas'],
        trained['head']['camera'],
    ):
        assert np.abs(layer['kernel']).max() > 0


def test_a_random_key_turns_stochastic_depth_on(frozen, apply):
    model = dataclasses.replace(TOKENS, backbone=BACKBONE.clone(drop_path=0.9))
    params = random_params(model)
    plain = apply['tokens'](params, frozen, IMAGE).camera
    run = jax.jit(model.apply)
    trained = [run(params, frozen, IMAGE, jax.random.key(i)).camera for i in range(6)]
    assert any(np.abs(x - plain).max() > 1e-3 for x in trained)


def test_published_sizes_fit_together():
    """The largest model, its shapes alone."""
    decoder = token_head.QueryDecoder(width=1024, depth=6, heads=8, head_dim=64, mlp_dim=1024)
    stage1 = tokenizer.Tokenizer(
        width=512, code_dim=256, size_mul=4, size_div=4, depth=2, dilation_rate=3
    )
    model = regressor.Regressor(
        vit.ViT(**vit.decode_variant('H/16'), scan=True, dtype='bfloat16'),
        token_head.TokenHead(decoder, token_head.TokenMixer(num_tokens=160, num_codes=2048)),
        stage1,
        'rows',
    )
    image = jax.ShapeDtypeStruct((2, 256, 256, 3), jnp.uint8)
    params = jax.eval_shape(model.init, jax.random.key(0), image)
    pose = jnp.zeros((1, 21, 3, 3))
    weights = jax.eval_shape(stage1.init, jax.random.key(0), pose)['params']
    codes = jax.ShapeDtypeStruct((2048, 256), jnp.float32)
    frozen = regressor.FrozenWeights(**regressor.upright_mean(), tokenizer=weights, codes=codes)
    found = jax.eval_shape(model.apply, params, frozen, image)
    assert found.params.global_orient.shape == (2, 3, 3)
    assert found.params.body_pose.shape == (2, 23, 3, 3)
    assert found.params.betas.shape == (2, 10)
    assert found.camera.shape == (2, 3)
    assert found.token_probs.shape == (2, 160, 2048)
    assert {x.dtype for x in jax.tree.leaves(found)} == {np.dtype('float32')}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'tokenizer': None}, 'TokenHead with tokenizer=None'),
        (
            {'tokenizer': None, 'head': token_head.PoseTokenHead(DECODER, 16)},
            'PoseTokenHead with tokenizer=None',
        ),
        ({'head': token_head.DirectHead(DECODER)}, 'DirectHead with tokenizer=Tokenizer'),
        ({'rotation_6d': 'columns'}, "rotation_6d='columns' with a TokenHead"),
    ],
)
def test_parts_that_do_not_go_together(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TOKENS, **change)


def test_unknown_convention_is_named():
    with pytest.raises(ValueError, match='diagonals'):
        dataclasses.replace(DIRECT, rotation_6d='diagonals')
