"""Smoothing of motion, and the measure of its jitter."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenhmr_jax.inference import smoothing


def motion(count=80, fps=30.0):
    """A slow turn, and a walk at 4 m as the camera sees it, true and with a network's jitter."""
    rng = np.random.default_rng(0)
    times = np.arange(count) / fps
    axis = np.array([0.2, 1.0, 0.1])
    true = Rotation.from_rotvec(np.sin(2 * times)[:, None] * axis)
    noisy = true * Rotation.from_rotvec(rng.normal(0, 0.05, (count, 3)))
    place = np.stack([times, 0.3 * np.sin(3 * times), 4 * np.log(4) + 0 * times], axis=1) / 4
    return times, true, noisy, place, place + rng.normal(0, 0.01, place.shape)


def test_the_filter_lowers_jitter_and_the_error():
    times, true, noisy, place, seen = motion()
    turned, moved = smoothing.zero_lag(times, noisy.as_matrix()[:, None], seen)
    after = (Rotation.from_matrix(turned[:, 0]).inv() * true).magnitude().mean()
    before = (noisy.inv() * true).magnitude().mean()
    assert after < 0.6 * before
    jitter = [
        smoothing.acceleration_error(p[:, None], times, place[:, None]) for p in (seen, moved)
    ]
    assert jitter[1] < 0.2 * jitter[0]
    assert np.abs(moved - place).mean() < 0.7 * np.abs(seen - place).mean()


def test_the_filter_leaves_smooth_motion_alone():
    """Without lag: a turn at constant speed and a throw stay, where frames are missing too."""
    times = np.delete(np.arange(40), [7, 8, 20]) / 30
    turn = Rotation.from_rotvec(times[:, None] * [0.0, 2.0, 1.0]).as_matrix()[:, None]
    throw = np.stack([times, 3 * times - 4.9 * times**2], axis=1)
    turned, moved = smoothing.zero_lag(times, turn, throw)
    np.testing.assert_allclose(turned, turn, atol=1e-6)
    np.testing.assert_allclose(moved, throw, atol=1e-6)


def test_acceleration_is_that_of_a_fall():
    times = np.arange(10) / 25
    fall = np.zeros((10, 2, 3))
    fall[..., 1] = 4.905 * times[:, None] ** 2
    assert smoothing.acceleration_error(fall, times) == pytest.approx(9810)
    assert smoothing.acceleration_error(fall, times, fall) == 0
    assert smoothing.acceleration_error(fall[:2], times[:2]) is None
