"""Errors that TALS tolerates and errors that it does not, by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import camera, rotations
from tokenhmr_jax.objectives import losses, tals

# Compiled: run as they stand, every operation in them is compiled on its own.
compiled_compare = jax.jit(tals.compare_errors, static_argnames='distance')
compiled_weights = jax.jit(tals.tals_weights)

LOOSE = 0.05
# Two examples: the first from a source of ground truth, the second of pseudo ground truth.
TRUE = np.array([True, False])
# Exact in binary, so that "at the threshold" is exact.
THRESHOLDS = tals.Thresholds(np.full(44, 0.25, np.float32), np.full(24, 0.5, np.float32))


def about_z(angles):
    """Rotation matrices (24, 3, 3) by angles (24,) about z."""
    return Rotation.from_rotvec(np.outer(angles, [0, 0, 1])).as_matrix().astype(np.float32)


def two(x):
    return np.stack([x, x]).astype(np.float32)


def compare(offset=0.0, confidence=1.0, angle=0.0, distance='l1'):
    """`tals.compare_errors` where the prediction is off by `offset` in x, and turned by `angle`."""
    truth = np.zeros((44, 3))
    truth[:, 2] = confidence
    seen = np.zeros((44, 2))
    seen[:, 0] = offset
    return compiled_compare(
        THRESHOLDS,
        keypoints2d=two(seen),
        keypoints2d_gt=two(truth),
        rotation=two(about_z(np.full(24, angle))),
        rotation_gt=two(np.tile(np.eye(3), (24, 1, 1))),
        distance=distance,
    )


def weights(below, confidence=1.0, has_pose=(1, 1), has_betas=(1, 1)):
    return compiled_weights(
        below,
        confidence2d=np.full((2, 44), confidence, np.float32),
        has_pose=np.array(has_pose, np.float32),
        has_betas=np.array(has_betas, np.float32),
        is_ground_truth=TRUE,
        loose=LOOSE,
    )


@pytest.mark.parametrize('offset, weight', [(0.125, LOOSE), (0.25, LOOSE), (0.3125, 1.0)])
def test_l1_of_2d_keypoints_below_at_and_above(offset, weight):
    for confidence in (1.0, 0.25):
        found = weights(compare(offset, confidence))['keypoints2d']
        # All sources alike; confidence is no part of a distance.
        np.testing.assert_allclose(found, np.full((2, 44), weight))


@pytest.mark.parametrize(
    'offset, confidence, weight',
    [(0.375, 1.0, LOOSE), (0.5, 1.0, LOOSE), (0.625, 1.0, 1.0), (0.625, 0.5, LOOSE)],
)
def test_weighted_square_of_2d_keypoints_below_at_and_above(offset, confidence, weight):
    found = weights(compare(offset, confidence, distance='squared'))['keypoints2d']
    np.testing.assert_allclose(found, np.full((2, 44), weight))


def test_distance_in_2d_adds_both_directions():
    truth = np.zeros((44, 3))
    seen = np.full((44, 2), 0.1875)
    identity = two(np.tile(np.eye(3), (24, 1, 1)))
    arguments = {
        'keypoints2d': two(seen),
        'keypoints2d_gt': two(truth),
        'rotation': identity,
        'rotation_gt': identity,
    }
    assert not compiled_compare(THRESHOLDS, **arguments, distance='l1').keypoints2d.any()
    with pytest.raises(ValueError, match=r"tals.distance='l2'"):
        tals.compare_errors(THRESHOLDS, **arguments, distance='l2')


@pytest.mark.parametrize('angle, weight', [(0.49, LOOSE), (0.51, 1.0), (3.0, 1.0)])
def test_pose_is_scaled_on_pseudo_ground_truth_only(angle, weight):
    found = weights(compare(angle=angle))
    np.testing.assert_allclose(found['global_orient'], [[1], [weight]])
    np.testing.assert_allclose(found['body_pose'], np.repeat([[1], [weight]], 23, axis=1))


def test_an_angle_at_its_threshold_is_tolerated():
    angle = rotations.geodesic_angle(about_z(np.full(24, 0.5)), np.eye(3, dtype=np.float32))
    below = tals.compare_errors(
        tals.Thresholds(THRESHOLDS.keypoints2d, angle),
        keypoints2d=jnp.zeros((2, 44, 2)),
        keypoints2d_gt=jnp.zeros((2, 44, 3)),
        rotation=two(about_z(np.full(24, 0.5))),
        rotation_gt=two(np.tile(np.eye(3), (24, 1, 1))),
        distance='l1',
    )
    assert below.angles.all()


def test_each_joint_has_its_own_threshold():
    angles = np.linspace(0, 1, 24)
    below = compiled_compare(
        tals.Thresholds(np.linspace(0, 1, 44, dtype=np.float32), np.full(24, 0.51, np.float32)),
        keypoints2d=np.full((2, 44, 2), 0.25, np.float32),
        keypoints2d_gt=np.zeros((2, 44, 3), np.float32),
        rotation=two(about_z(angles)),
        rotation_gt=two(np.tile(np.eye(3), (24, 1, 1))),
        distance='l1',
    )
    np.testing.assert_array_equal(below.angles[0], angles < 0.51)
    np.testing.assert_array_equal(below.keypoints2d[1], np.linspace(0, 1, 44) >= 0.5)


def test_untrusted_pose_counts_on_ground_truth_only():
    for angle in (0.1, 2.0):
        found = weights(compare(angle=angle), has_pose=(0, 0))
        np.testing.assert_allclose(found['global_orient'], [[1], [0]])
        np.testing.assert_allclose(found['body_pose'], np.repeat([[1], [0]], 23, axis=1))


def test_betas_are_learned_from_trusted_ground_truth_only():
    np.testing.assert_allclose(weights(compare())['betas'], [[1], [0]])
    np.testing.assert_allclose(weights(compare(), has_betas=(0, 1))['betas'], [[0], [0]])


@pytest.mark.parametrize(
    'offset, confidence, weight', [(0.25, 1.0, 0), (0.3, 1.0, 1), (0.3, 0.5, 0), (0.3, 0.51, 1)]
)
def test_3d_keypoints_of_pseudo_ground_truth_count_where_2d_is_far_and_sure(
    offset, confidence, weight
):
    found = weights(compare(offset, confidence), confidence)['keypoints3d']
    np.testing.assert_allclose(found, np.repeat([[1], [weight]], 44, axis=1))


def test_terms_by_hand():
    """One joint is off; the batch's mean times the reference batch."""
    labels = {
        'keypoints2d_gt': two(np.c_[np.zeros((44, 2)), np.full(44, 0.5)]),
        'keypoints3d_gt': two(np.c_[np.full((44, 3), 5.0), np.full(44, 0.5)]),
        'rotation_gt': two(np.tile(np.eye(3), (24, 1, 1))),
        'betas_gt': two(np.zeros(10)),
    }
    seen, points, angles = np.zeros((44, 2)), np.full((44, 3), 2.0), np.zeros(24)
    seen[3] = 0.25, -0.5
    points[4] += 0.1, -0.2, 0.3
    angles[[0, 7]] = np.pi / 2
    predictions = {
        'keypoints2d': two(seen),
        'keypoints3d': two(points),
        'rotation': two(about_z(angles)),
        'betas': two(np.full(10, 2.0)),
    }
    errors = jax.jit(losses.regressor_errors)(**predictions, **labels)
    plain = losses.label_weights(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    batch_terms = jax.jit(functools.partial(losses.batch_terms, reference_batch=48))
    terms = batch_terms(errors, plain)
    expected = {
        'keypoints2d': 48 * 0.5 * 0.75,
        'keypoints3d': 48 * 0.5 * 0.6,
        'global_orient': 48 * 4 / 2,
        'body_pose': 48 * 4 / 2,
        'betas': 48 * 40 / 2,
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name] == pytest.approx(value, rel=1e-5), name

    scaled = batch_terms(errors, weights(compare(), confidence=0.5))
    assert scaled['keypoints2d'] == pytest.approx(LOOSE * expected['keypoints2d'], rel=1e-5)
    assert scaled['keypoints3d'] == pytest.approx(expected['keypoints3d'] / 2, rel=1e-5)
    assert scaled['body_pose'] == pytest.approx(48 * 4 * (1 + LOOSE) / 2, rel=1e-5)


def test_unknown_betas_are_drawn_to_zero():
    betas, has_betas = losses.regularized_betas(jnp.full((2, 10), 3.0), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(betas, np.repeat([[3], [0]], 10, axis=1))
    np.testing.assert_allclose(has_betas, [1, 1])


@pytest.mark.parametrize('distance', ['l1', 'squared'])
def test_gradients_are_finite_also_at_the_truth(rng, distance):
    turn = Rotation.from_rotvec(rng.normal(size=(48, 3)))
    pose = turn.as_matrix().reshape(2, 24, 3, 3).astype(np.float32)
    points = rng.normal(size=(2, 44, 3)).astype(np.float32)
    truth = {
        'rotation': rotations.matrix_to_rotation_6d(pose),
        'points': points,
        'camera': np.float32([[0.9, 0.1, 0.2], [1.0, 0.0, 0.0]]),
        'betas': np.ones((2, 10), np.float32),
    }
    ones = np.ones((2, 44, 1), np.float32)
    project = lambda points, three: camera.project_crop(points, camera.crop_translation(three))  # noqa: E731
    seen = np.concatenate([jax.jit(project)(points, truth['camera']), ones], -1)

    def loss(prediction):
        rotation = rotations.rotation_6d_to_matrix(prediction['rotation'])
        keypoints2d = project(prediction['points'], prediction['camera'])
        errors = losses.regressor_errors(
            keypoints2d=keypoints2d,
            keypoints2d_gt=seen,
            keypoints3d=prediction['points'],
            keypoints3d_gt=np.concatenate([points, ones], -1),
            rotation=rotation,
            rotation_gt=pose,
            betas=prediction['betas'],
            betas_gt=truth['betas'],
        )
        below = tals.compare_errors(
            tals.load_thresholds(),
            keypoints2d=keypoints2d,
            keypoints2d_gt=seen,
            rotation=rotation,
            rotation_gt=pose,
            distance=distance,
        )
        return sum(losses.batch_terms(errors, weights(below), 48).values())

    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    for noise in (0.0, 1e-8, 0.3):
        prediction = {
            name: x + noise * rng.normal(size=x.shape).astype(np.float32)
            for name, x in truth.items()
        }
        value, gradient = value_and_gradient(prediction)
        assert np.isfinite(value)
        assert all(np.isfinite(g).all() for g in gradient.values())
    assert all((g != 0).any() for g in gradient.values())


def test_shares_below_are_per_source_and_of_known_joints():
    below = tals.Below(
        jnp.array([[True, True, False, False], [True] * 4, [False] * 4]),
        jnp.array([[True, False], [True, True], [True, True]]),
    )
    confidence = jnp.array([[1, 0, 1, 1.0], [0.1, 1, 1, 1], [1, 1, 1, 1]])
    found = tals.shares_below(
        below, confidence, jnp.array([1.0, 1.0, 0.0]), jnp.array([2, 0, 0]), 3
    )
    np.testing.assert_allclose(found['keypoints2d'], [0.5, np.nan, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(found['angles'], [1.0, np.nan, 0.5])
