"""Keypoints as detectors find them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokenhmr_jax.body import keypoint_conventions, skeleton
from tokenhmr_jax.data.detections import DetectorSettings, disturb

EXACT = {'noise': 0.0, 'missing': 0.0, 'limb': 0.0, 'half': 0.0, 'swap': 0.0, 'stray': 0.0}
TRUE = np.concatenate(
    [np.random.default_rng(0).normal(0, 100, (44, 2)), np.ones((44, 1))], axis=1
).astype(np.float32)
# Hips and heads differ between annotators and SMPL, with any settings.
SAME = [not any(w in n for w in ('Hip', 'Pelvis', 'Eye', 'Ear', 'Head', 'Jaw'))
        for n in skeleton.KEYPOINTS]  # fmt: skip


def found(count=200, true=TRUE, size=300.0, **settings):
    """Keypoints of so many detectors."""
    one = functools.partial(disturb, settings=DetectorSettings(**EXACT | settings))
    keys = jax.random.split(jax.random.key(0), count)
    one = jax.jit(jax.vmap(one, in_axes=(0, None, None)))
    return np.asarray(one(keys, jnp.asarray(true), jnp.float32(size)))


def test_without_disturbances_points_stay_and_each_detector_knows_its_convention():
    points = found(conventions=('halpe',))
    given = keypoint_conventions.GIVEN['halpe']
    assert ((points[..., 2] > 0) == given).all()
    kept = given & SAME
    np.testing.assert_allclose(points[:, kept, :2], np.tile(TRUE[kept, :2], (200, 1, 1)), rtol=1e-6)
    assert (points[..., 2][:, given] >= 0.3).all() and (points[..., 2] <= 1).all()
    assert (points[:, ~given] == 0).all()


def test_hips_widen_about_their_middle():
    points = found(conventions=('openpose_body_25',))
    middle, hip = (skeleton.KEYPOINTS.index(n) for n in ('OP MidHip', 'OP LHip'))
    true = TRUE[hip, :2] - TRUE[middle, :2]
    factor = (points[:, hip, :2] - TRUE[middle, :2]) @ true / (true @ true)
    assert factor.min() >= 0.95 and factor.max() <= 1.5 and factor.std() > 0.1


def test_points_that_cannot_be_seen_are_not_found():
    hidden = TRUE * (np.arange(44) % 2 == 0)[:, None]
    points = found(true=hidden, noise=1.0, swap=0.0)
    assert (points[:, 1::2] == 0).all() and (points[:, ::2, 2] > 0).any()


def test_errors_grow_with_the_person():
    wrist = skeleton.KEYPOINTS.index('OP LWrist')
    small, large = (found(noise=1.0, size=s)[:, wrist] for s in (100.0, 300.0))
    there = small[:, 2] > 0
    error = small[there, :2] - TRUE[wrist, :2]
    np.testing.assert_allclose(large[there, :2] - TRUE[wrist, :2], 3 * error, rtol=1e-3, atol=1e-3)
    # 1.4% of the size, times a person's own factor, whose mean square is e^(2 * 0.25).
    assert 0.8 < np.median(np.abs(error)) / (0.6745 * 1.4) < 1.25


def test_half_of_the_body_is_missing():
    points = found(count=400, half=2 / 3, conventions=('coco_feet',))[..., 2] > 0
    lower = [any(w in n for w in ('Hip', 'Pelvis', 'Knee', 'Ankle', 'Toe', 'Heel'))
             for n in skeleton.KEYPOINTS]  # fmt: skip
    has_lower, has_upper = points[:, lower].any(1), points[:, ~np.array(lower)].any(1)
    assert (has_lower != has_upper).all()
    assert 0.6 < has_upper.mean() < 0.73


def test_left_and_right_are_exchanged():
    points = found(swap=1.0, conventions=('coco',))
    names = ('OP LWrist', 'OP RWrist', 'OP LKnee', 'OP RKnee')
    left, right, knee, other = map(skeleton.KEYPOINTS.index, names)
    np.testing.assert_allclose(points[:, knee, :2], np.tile(TRUE[other, :2], (200, 1)), rtol=1e-6)
    np.testing.assert_allclose(points[:, left, :2], np.tile(TRUE[right, :2], (200, 1)), rtol=1e-6)


@pytest.mark.parametrize(
    'wrong, words',
    [({'noise': -1.0}, r'noise=-1.0'), ({'half': 0.9}, r'half=0.9: expected from 0 to 0.67'),
     ({'conventions': ('coco', 'mine')}, r"\['mine'\]: expected some of coco")],
)  # fmt: skip
def test_settings_out_of_range(wrong, words):
    with pytest.raises(ValueError, match=words):
        DetectorSettings(**wrong)
