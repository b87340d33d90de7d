"""Cross-entropy of tokens, by hand; plausibility of poses."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.models.quantizer import grid_codes
from tokenhmr_jax.objectives import plausibility
from tokenhmr_jax.objectives.token_losses import cross_entropy, neighbour_weights

CODES = grid_codes((4,))  # -1, -1/3, 1/3, 1
TOKENS = np.array([[0, 2], [3, 1]])


def test_cross_entropy_is_zero_where_logits_are_sure_of_the_label():
    sure = 200.0 * np.eye(4, dtype=np.float32)[TOKENS]
    np.testing.assert_allclose(cross_entropy(sure, TOKENS, CODES, 0.0), 0, atol=1e-6)
    unsure = jnp.zeros((2, 2, 4))
    np.testing.assert_allclose(cross_entropy(unsure, TOKENS, CODES, 0.0), np.log(4), rtol=1e-6)


def test_labels_spread_over_neighbours_by_hand():
    """The spacing is 2/3: the next code weighs 1/e of what the label would, the second e^-4."""
    weights = np.asarray(neighbour_weights(CODES))
    expected = np.exp(-np.square([[np.inf, 1, 2, 3], [1, np.inf, 1, 2]]))
    np.testing.assert_allclose(weights[:2], expected / expected.sum(1, keepdims=True), rtol=1e-5)
    logits = np.random.default_rng(0).normal(size=(2, 2, 4)).astype(np.float32)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = 0.8 * np.eye(4)[TOKENS] + 0.2 * weights[TOKENS]
    by_hand = -(target * log_probs).sum(-1).mean(-1)
    np.testing.assert_allclose(cross_entropy(logits, TOKENS, CODES, 0.2), by_hand, rtol=1e-5)


def pose(**angles: tuple[float, float, float]):
    """A pose at rest, but for some joints turned by degrees about x, y and z."""
    vectors = np.zeros((21, 3))
    for name, angle in angles.items():
        vectors[skeleton.BODY_JOINTS.index(name)] = angle
    return Rotation.from_rotvec(vectors, degrees=True).as_matrix().astype(np.float32)


@pytest.mark.parametrize(
    ('turned', 'wrong'),
    [
        ({}, False),
        ({'left_knee': (140, 0, 0)}, False),
        ({'left_knee': (-5, 0, 0)}, False),
        ({'right_knee': (-20, 0, 0)}, True),
        ({'left_elbow': (0, -140, 0), 'right_elbow': (0, 140, 0)}, False),
        ({'left_elbow': (0, 20, 0)}, True),
        ({'right_elbow': (0, -20, 0)}, True),
        ({'right_elbow': (60, 0, 0)}, False),  # twisted
        ({'left_hip': (-90, 0, 0)}, False),
    ],
)
def test_elbows_and_knees_bend_one_way(turned, wrong):
    assert bool(plausibility.bent_wrong(pose(**turned))) is wrong


def test_hinge_angles_by_hand():
    angles = {'left_knee': (30, 0, 0), 'right_knee': (-40, 0, 0)}
    angles |= {'left_elbow': (0, -50, 0), 'right_elbow': (0, -60, 0)}
    found = plausibility.hinge_degrees(np.stack([pose(), pose(**angles), pose()]))
    np.testing.assert_allclose(found, [[0] * 4, [30, -40, 50, -60], [0] * 4], atol=1e-3)


def test_mean_angle_by_hand():
    found = plausibility.mean_angle_degrees(pose(left_knee=(42, 0, 0)), pose())
    np.testing.assert_allclose(found, 2, atol=1e-2)
