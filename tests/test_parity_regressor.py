"""Agreement of stage 2's networks with numbers that the original implementation computed.

Tolerances as in test_parity.py. The weights are too large to ship: these checks run where the full
set lies beside the checkout; test_vit.py and test_token_head.py check the same layers by a second
method everywhere.
"""

import collections

import jax
import numpy as np
import pytest

from tokenhmr_jax import weight_names
from tokenhmr_jax.models import token_head, vit
from tokenhmr_jax.models.regressor import FrozenWeights, Regressor, pixels
from tokenhmr_jax.models.tokenizer import Tokenizer

BACKBONE = vit.ViT(width=48, depth=2, heads=4, patch_size=16)


def assert_close(found, expected):
    """1e-4 relative to the array's largest value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.fixture(scope='module')
def golden(shared):
    arrays = dict(np.load(shared / 'golden/golden.npz'))
    # The stored image is normalised already; ours come as values of 0 to 255.
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    arrays['image'] = 255 * (arrays['image_nhwc'].astype(np.float32) * std + mean)
    return arrays


@pytest.fixture(scope='module')
def read(shared):
    """Reads the tensors of one of the original's files as NumPy arrays."""
    torch = pytest.importorskip('torch')

    def read(name, entry):
        # The file's config is of a class that need not exist here: a plain dict stands in for it.
        stand_in = (collections.OrderedDict, 'yacs.config.CfgNode')
        with torch.serialization.safe_globals([stand_in]):
            checkpoint = torch.load(shared / 'golden' / name, weights_only=True)
        return {k: v.numpy() for k, v in checkpoint[entry].items()}

    return read


@pytest.fixture(scope='module')
def converted(read):
    """Parameters and frozen weights."""
    state_dict = read('tokenhmr.ckpt', 'state_dict')
    params, mean = weight_names.regressor_params(state_dict, 2, 2, 4)
    tokenizer, codes = weight_names.tokenizer_params(read('tokenizer.pth', 'net'), 1, 2, 2)
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


def test_backbone_features(golden, converted):
    features = BACKBONE.apply({'params': converted[0]['backbone']}, pixels(golden['image']))
    grid = features.reshape(3, 16, 12, 48)
    assert_close(grid[:, ::4, ::3], golden['backbone_features'])


def test_stacked_blocks_agree_too(golden, converted):
    stacked = BACKBONE.clone(scan=True)
    params = vit.stack_blocks(converted[0]['backbone'])
    features = stacked.apply({'params': params}, pixels(golden['image']))
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
    weight_names.check_shapes(converted[0], expected, 'tokenhmr.ckpt')


def test_backbone_alone_fills_the_model(read, model, golden):
    found = weight_names.backbone_params(read('vitpose_backbone.pth', 'state_dict'), 2, '')
    expected = jax.eval_shape(model.init, jax.random.key(0), golden['image'])
    weight_names.check_shapes(found, expected['backbone'], 'vitpose_backbone.pth')
