"""Agreement of stage 2's networks with numbers that the original implementation computed.

Tolerances as in test_parity.py. The weights are too large to ship: these checks run where the full
set lies beside the checkout; test_vit.py and test_token_head.py check the same layers by a second
method everywhere.
"""

import functools

import jax
import numpy as np
import pytest
from golden import assert_close, read_torch

from tokenhmr_jax.models import token_head, vit
from tokenhmr_jax.models.regressor import FrozenWeights, Regressor, pixels
from tokenhmr_jax.models.tokenizer import Tokenizer
from tokenhmr_jax.released.names import (
    backbone_params,
    check_shapes,
    regressor_params,
    tokenizer_params,
)

BACKBONE = vit.ViT(width=48, depth=2, heads=4, patch_size=16)


@pytest.fixture(scope='module')
def golden(shared):
    arrays = dict(np.load(shared / 'golden/golden.npz'))
    # The stored image is normalised already; ours come as values of 0 to 255.
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    arrays['image'] = 255 * (arrays['image_nhwc'].astype(np.float32) * std + mean)
    return arrays


@pytest.fixture(scope='module')
def converted(shared):
    """Parameters and frozen weights."""
    folder = shared / 'golden'
    state_dict = read_torch(folder / 'tokenhmr.ckpt', 'state_dict')
    params, mean = regressor_params(state_dict, 2, 2, 4)
    tokenizer, codes = tokenizer_params(read_torch(folder / 'tokenizer.pth', 'net'), 1, 2, 2)
    return params, FrozenWeights(**mean, tokenizer=tokenizer, codes=codes)


@pytest.fixture(scope='module')
def model():
    decoder = token_head.QueryDecoder(width=1024, depth=2, heads=2, head_dim=16, mlp_dim=32)
    return Regressor(
        BACKBONE,
        token_head.TokenHead(decoder, token_head.TokenMixer(num_tokens=20, num_codes=64)),
        Tokenizer(width=32, code_dim=16, size_mul=1, size_div=2, depth=2, dilation_rate=3),
        'rows',
    )


@pytest.fixture(scope='module')
def prediction(golden, model, converted):
    params, frozen = converted
    return jax.jit(model.apply)(params, frozen, golden['image'])


@functools.partial(jax.jit, static_argnums=0)
def features_of(backbone, params, image):
    return backbone.apply({'params': params}, pixels(image))


def test_backbone_features(golden, converted):
    features = features_of(BACKBONE, converted[0]['backbone'], golden['image'])
    grid = features.reshape(3, 16, 12, 48)
    assert_close(grid[:, ::4, ::3], golden['backbone_features'])


def test_stacked_blocks_agree_too(golden, converted):
    params = vit.stack_blocks(converted[0]['backbone'])
    features = features_of(BACKBONE.clone(scan=True), params, golden['image'])
    assert_close(features.reshape(3, 16, 12, 48)[:, ::4, ::3], golden['backbone_features'])


def test_token_probabilities(golden, prediction):
    assert_close(prediction.token_probs, golden['token_probs'])


def test_pose_shape_and_camera(golden, prediction):
    assert_close(prediction.camera, golden['pred_cam'])
    assert_close(prediction.params.betas, golden['pred_betas'])
    orient, body = prediction.params.global_orient, prediction.params.body_pose
    np.testing.assert_allclose(orient[:, None], golden['pred_global_orient'], atol=1e-5)
    np.testing.assert_allclose(body, golden['pred_body_pose'], atol=1e-5)


def test_converted_weights_fill_the_model(golden, model, converted):
    expected = jax.eval_shape(model.init, jax.random.key(0), golden['image'])
    check_shapes(converted[0], expected, 'tokenhmr.ckpt')


def test_backbone_alone_fills_the_model(shared, model, golden):
    state_dict = read_torch(shared / 'golden/vitpose_backbone.pth', 'state_dict')
    found = backbone_params(state_dict, 2, '')
    expected = jax.eval_shape(model.init, jax.random.key(0), golden['image'])
    check_shapes(found, expected['backbone'], 'vitpose_backbone.pth')
