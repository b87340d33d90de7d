"""Original names and layouts of stage 2's weights; test_parity_regressor.py compares values."""

import jax
import numpy as np
import pytest

from tokenhmr_jax.models import regressor, token_head, vit
from tokenhmr_jax.released.names import (
    backbone_names,
    backbone_params,
    check_shapes,
    head_names,
    regressor_params,
)

DECODER = token_head.QueryDecoder(width=12, depth=2, heads=2, head_dim=4, mlp_dim=10)
HMR2 = regressor.Regressor(
    vit.ViT(width=8, depth=3, heads=2, patch_size=8),
    token_head.DirectHead(DECODER),
    None,
    'columns',
)


@pytest.fixture(scope='module')
def expected():
    return jax.eval_shape(HMR2.init, jax.random.key(0), np.zeros((1, 32, 32, 3)))


@pytest.fixture(scope='module')
def state_dict(expected):
    """HMR2.0's weights in the original's layout, each filled with its own number."""
    mean = {'init_body_pose': np.zeros((1, 144)), 'init_betas': np.ones((1, 10))}
    found = {f'smpl_head.{k}': v for k, v in mean.items()}
    found['smpl_head.init_cam'] = np.array([[0.9, 0.1, 0.2]])
    found['smpl.faces_tensor'] = np.zeros((4, 3))
    names = {f'backbone.{k}': ('backbone', *v) for k, v in backbone_names(3).items()}
    names |= {f'smpl_head.{k}': ('head', *v) for k, v in head_names(2, None).items()}
    for i, (name, path) in enumerate(names.items()):
        shape = expected
        for part in path:
            shape = shape[part]
        original = {'position': lambda s: (1, *s), 'kernel': lambda s: (*s[:-3:-1], *s[:-2])}
        found[name] = np.full(original.get(path[-1], lambda s: s)(shape.shape), float(i))
    return found


def test_hmr2_fills_the_direct_head(state_dict, expected):
    params, mean = regressor_params(state_dict, 3, 2, None)
    check_shapes(params, expected, 'HMR2.0')
    np.testing.assert_array_equal(mean['mean_camera'], [0.9, 0.1, 0.2])
    assert mean['mean_pose'].shape == (24, 6)
    numbers = [np.unique(x) for x in jax.tree.leaves(params)]
    assert len(np.unique(np.concatenate(numbers))) == len(numbers), 'a weight is used twice'


def test_layouts_by_hand(state_dict):
    """(out, in) becomes (in, out), and (out, in, y, x) becomes (y, x, in, out)."""
    state_dict = dict(state_dict)
    linear = np.random.default_rng(0).normal(size=(10, 12))
    patches = np.random.default_rng(1).normal(size=(8, 3, 8, 8))
    state_dict['smpl_head.decshape.weight'] = linear
    state_dict['backbone.patch_embed.proj.weight'] = patches
    params, _ = regressor_params(state_dict, 3, 2, None)
    assert params['head']['betas']['kernel'][3, 7] == linear[7, 3]
    assert params['backbone']['patches']['kernel'][5, 6, 2, 4] == patches[4, 2, 5, 6]


def test_weights_that_do_not_fit_are_named(state_dict, expected):
    with pytest.raises(ValueError, match=r'depth=4: missing.*blocks\.3\.attn'):
        regressor_params(state_dict, 4, 2, None)
    with pytest.raises(ValueError, match=r'depth=2: missing \[\], unknown.*blocks\.2\.attn'):
        backbone_params(state_dict, 2, 'backbone.')
    with pytest.raises(ValueError, match=r'mixer_depth=4: missing.*decpose\.class_pred_layer'):
        regressor_params(state_dict, 3, 2, 4)
    params, _ = regressor_params(state_dict, 3, 2, None)
    params['head']['camera']['bias'] = np.zeros(4)
    del params['backbone']['norm']['scale']
    with pytest.raises(ValueError) as error:
        check_shapes(params, expected, 'model.ckpt')
    message = str(error.value)
    assert 'model.ckpt' in message
    assert 'backbone/norm/scale is missing, expected (8,)' in message
    assert 'head/camera/bias is (4,), expected (3,)' in message
