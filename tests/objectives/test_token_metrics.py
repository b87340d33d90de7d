"""Measures of tokens, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenhmr_jax.models.quantizer import grid_codes, nearest_codes
from tokenhmr_jax.objectives import token_metrics


def test_every_joint_turns_by_the_angle_about_its_own_axis(rng):
    pose = Rotation.random(6 * 21, random_state=0)
    matrices = pose.as_matrix().reshape(6, 21, 3, 3).astype(np.float32)
    turned = np.asarray(token_metrics.turn_joints(matrices, 2.0, jax.random.key(0)))
    turn = pose.inv() * Rotation.from_matrix(turned.reshape(-1, 3, 3))
    np.testing.assert_allclose(np.degrees(turn.magnitude()), 2, atol=1e-2)
    axes = turn.as_rotvec() / turn.magnitude()[:, None]
    assert np.linalg.norm(axes.mean(axis=0)) < 0.3
    same = token_metrics.turn_joints(matrices, 0.0, jax.random.key(0))
    np.testing.assert_allclose(same, matrices, atol=1e-6)


def test_stability_of_a_toy_quantizer():
    """Latents 0.1 and 0.4 among the levels -1, 0, 1: adding 0.2 takes the second across 0.5."""
    codes = grid_codes((3,))
    latents = jnp.array([[0.1, 0.4], [-0.9, 0.9]])[..., None]
    tokens, moved = nearest_codes(codes, latents), nearest_codes(codes, latents + 0.2)
    np.testing.assert_allclose(token_metrics.kept_share(tokens, moved), [0.5, 1.0])


def test_spacing_by_hand():
    codes = jnp.array([[0.0, 0], [3, 4], [3, 5]])
    assert token_metrics.code_spacing(codes) == pytest.approx((5 + 1 + 1) / 3, rel=1e-5)
    assert token_metrics.code_spacing(grid_codes((3, 5))) == pytest.approx(0.5, rel=1e-5)


def test_soft_codes_by_hand():
    """Codes -1 and 1, spacing 2: weights are exp(-d^2 / 4)."""
    codes = jnp.array([[-1.0], [1.0]])
    latents = jnp.array([[0.0], [1.0]])
    far, near = np.exp(-1), 1
    expected = [[0], [(near - far) / (near + far)]]
    np.testing.assert_allclose(token_metrics.soft_codes(codes, latents), expected, atol=1e-6)


def test_one_token_of_each_pose_is_swapped_in_turn():
    tokens = jnp.zeros((5, 3), int)
    swapped = np.asarray(token_metrics.swap_one(tokens, 4, jax.random.key(0)))
    assert np.argwhere(swapped).tolist() == [[0, 0], [1, 1], [2, 2], [3, 0], [4, 1]]
    assert swapped.max() < 4


def test_locality_by_hand():
    """Joints that move by 5, 2, 1.5 and 0.5 cm, and seventeen that stay."""
    joints = jnp.zeros((1, 21, 3))
    moved = joints.at[0, :4, 1].set(jnp.array([0.05, 0.02, 0.015, 0.005]))
    scalars = token_metrics.motion_scalars(joints, moved)
    assert scalars['joints_moved'] == 3
    assert scalars['top3_motion'][0] == pytest.approx(8.5 / 9, rel=1e-5)
    nothing = token_metrics.motion_scalars(joints, joints)
    assert (nothing['joints_moved'], nothing['top3_motion']) == (0, 0)
