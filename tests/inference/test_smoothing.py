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
    assert smoothing.acceleration_error(fall, times) == pytest.approx(9.81)
    assert smoothing.acceleration_error(fall, times, fall) == 0
    assert smoothing.acceleration_error(fall[:2], times[:2]) is None


def test_acceleration_of_uneven_frames():
    """A fall at 30 and at 10 frames per second; a cut inside does not count."""
    times = np.concatenate([np.arange(10) / 30, 1 / 3 + np.arange(10) / 10])
    fall = np.zeros((20, 2, 3))
    fall[..., 1] = 4.905 * times[:, None] ** 2
    assert smoothing.acceleration_error(fall, times) == pytest.approx(9.81)
    fall[10:] += 5.0
    shots = np.repeat([0, 1], 10)
    assert smoothing.acceleration_error(fall, times, shots=shots) == pytest.approx(9.81)
    assert smoothing.acceleration_error(fall, times) > 20
    assert smoothing.acceleration_error(fall[9:12], times[9:12], shots=shots[9:12]) is None


def a_track(count=24):
    """Somebody who turns and comes nearer, at 4 m to 3 m."""
    times = np.arange(count) / 30
    turns = Rotation.from_rotvec(times[:, None] * [0.0, 2.0, 0.0]).as_matrix()
    return {
        'time': times,
        'index': np.arange(count),
        'global_orient': turns.astype(np.float32),
        'body_pose': np.tile(np.eye(3, dtype=np.float32), (count, 23, 1, 1)),
        'betas': np.full((count, 10), 0.5, np.float32),
        'translation': np.stack([times, 0 * times, 4 - times], axis=1).astype(np.float32),
    }


@pytest.mark.parametrize('way', [smoothing.smooth_track, smoothing.bridge_track])
def test_a_frame_that_cannot_be_is_interpolated(way):
    """Behind the camera, on it, or not finite: the others stay as they are without it."""
    whole = a_track()
    broken = {name: value.copy() for name, value in whole.items()}
    broken['translation'][4] *= -1
    broken['translation'][9, 2] = 0
    broken['body_pose'][15, 3] = np.nan
    broken['betas'][20] = np.inf
    bad = [4, 9, 15, 20]
    assert np.flatnonzero(~smoothing.possible_frames(broken)).tolist() == bad
    found, expected = way(broken), way(whole)
    for name in ('global_orient', 'body_pose', 'betas', 'translation'):
        np.testing.assert_allclose(found[name], expected[name], atol=2e-3)
    none = broken | {'translation': -whole['translation']}
    with pytest.raises(ValueError, match='no frame of the track'):
        way(none)


def test_no_smoothing_through_a_cut():
    track = a_track() | {'shot': np.repeat([0, 1], 12)}
    track['translation'] = np.repeat(np.float32([[0, 0, 4], [1, 0, 2]]), 12, axis=0)
    track['global_orient'] = np.repeat(track['global_orient'][[0, -1]], 12, axis=0)
    found = smoothing.smooth_track(track)
    for name in ('translation', 'global_orient'):
        np.testing.assert_allclose(found[name], track[name], atol=1e-5)
