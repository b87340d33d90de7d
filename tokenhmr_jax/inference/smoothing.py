"""Less jitter in a person's motion: filters of rotations and vectors through time, and its measure.

Rotations are filtered on their manifold: what is averaged are the turns from one rotation to the
others, log(R^T R'), never matrices or angles.
"""

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

_SPEED_CUTOFF = 1.0  # Hz, of the One-Euro filter's own estimate of speed
_REACH = 3.0  # standard deviations of the offline filter's window


def zero_lag(
    times: np.ndarray, rotations: np.ndarray, vectors: np.ndarray, width: float = 0.08
) -> tuple[np.ndarray, np.ndarray]:
    """The offline filter: at each frame a parabola through time is fitted, weights a Gaussian.

    It looks as far ahead as back, so that nothing lags; a motion at constant acceleration stays as
    it is, up to the track's ends, and frames may be missing.

    Args:
      times: (T,) seconds, increasing.
      rotations: (T, J, 3, 3).
      vectors: (T, D).
      width: standard deviation of the Gaussian, seconds.

    Returns:
      both, filtered.
    """
    turned, moved = np.array(rotations), np.array(vectors)
    for i, now in enumerate(times):
        near = np.flatnonzero(np.abs(times - now) <= _REACH * width)
        weights = _weights(times[near] - now, width)
        moved[i] = weights @ vectors[near]
        turns = _log(np.swapaxes(rotations[i], -1, -2) @ rotations[near])
        turned[i] = rotations[i] @ _exp(np.einsum('t,tjc->jc', weights, turns))
    return turned, moved


def _weights(offsets: np.ndarray, width: float) -> np.ndarray:
    """What each neighbour counts in the value at 0 of the parabola that fits them best."""
    degree = min(2, len(offsets) - 1)
    powers = (offsets / width)[:, None] ** np.arange(degree + 1)
    root = np.exp(-0.25 * (offsets / width) ** 2)
    return np.linalg.pinv(root[:, None] * powers)[0] * root


def one_euro(
    times: np.ndarray,
    rotations: np.ndarray,
    vectors: np.ndarray,
    cutoff: float = 1.5,
    turn_beta: float = 1.0,
    move_beta: float = 20.0,
) -> tuple[np.ndarray, np.ndarray]:
    """The filter for live use, which knows the past alone (Casiez et al., CHI 2012).

    It is a low-pass filter whose cutoff, cutoff + beta * speed, rises with the speed: calm at rest,
    with little lag in motion. At these values someone who walks across the view at 4 m stays within
    centimetres of where they are, and the jitter is halved.

    Args:
      times, rotations, vectors: as of `zero_lag`.
      cutoff: Hz, at rest.
      turn_beta: Hz per radian per second.
      move_beta: Hz per unit of the vectors, directions as in `smooth_track`, per second.

    Returns:
      both, filtered.
    """
    turned, moved = np.array(rotations), np.array(vectors)
    count = rotations.shape[1]
    speed_turn, speed_move = np.zeros((count, 3)), np.zeros(vectors.shape[1:])
    for i in range(1, len(times)):
        step = times[i] - times[i - 1]
        keep = _gain(_SPEED_CUTOFF, step)
        change = _log(np.swapaxes(rotations[i - 1], -1, -2) @ rotations[i])
        speed_turn += keep * (change / step - speed_turn)
        speed_move += keep * ((vectors[i] - vectors[i - 1]) / step - speed_move)
        gain = _gain(cutoff + turn_beta * np.linalg.norm(speed_turn, axis=-1, keepdims=True), step)
        left = _log(np.swapaxes(turned[i - 1], -1, -2) @ rotations[i])
        turned[i] = turned[i - 1] @ _exp(gain * left)
        gain = _gain(cutoff + move_beta * np.abs(speed_move), step)
        moved[i] = moved[i - 1] + gain * (vectors[i] - moved[i - 1])
    return turned, moved


FILTERS: dict[str, Callable] = {'zero_lag': zero_lag, 'one_euro': one_euro}


def smooth_track(track: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """A track with its rotations and its place filtered, and one shape: the median of its betas.

    The place is filtered as the camera sees it: its direction x / z, y / z, and the logarithm of
    its distance, in which the network errs evenly.

    Args:
      track: of `results.tracks`.
      name: of one of `FILTERS`.
    """
    pose = np.concatenate([track['global_orient'][:, None], track['body_pose']], axis=1)
    x, y, z = track['translation'].T
    seen = np.stack([x / z, y / z, np.log(z)], axis=1)
    pose, seen = FILTERS[name](track['time'], pose, seen)
    z = np.exp(seen[:, 2:])
    betas = np.broadcast_to(np.median(track['betas'], axis=0), track['betas'].shape)
    changed = {
        'global_orient': pose[:, 0],
        'body_pose': pose[:, 1:],
        'translation': np.concatenate([seen[:, :2] * z, z], axis=1),
        'betas': betas,
    }
    return track | {name: value.astype(np.float32) for name, value in changed.items()}


def acceleration_error(
    joints: np.ndarray, times: np.ndarray, truth: np.ndarray | None = None
) -> float | None:
    """Mean acceleration of joints (T, J, 3), metres, in mm/s^2; of its error, if a truth is given.

    Three frames in a row make one value; where frames are missing there is none. Without a truth
    it is a measure of jitter: motion itself adds little to what trembles at the frame rate. None
    where no three frames are in a row.
    """
    error = joints if truth is None else joints - truth
    if len(times) < 3:
        return None
    steps = np.diff(times)
    even = np.isclose(steps[1:], steps[:-1], rtol=0.1) & (steps[1:] < 1.5 * steps.min())
    second = (error[2:] - 2 * error[1:-1] + error[:-2])[even] / steps.min() ** 2
    return float(1000 * np.linalg.norm(second, axis=-1).mean()) if even.any() else None


def _gain(cutoff, step):
    """How much of a new value a low-pass filter takes."""
    rate = 2 * np.pi * cutoff * step
    return rate / (rate + 1)


def _log(rotations: np.ndarray) -> np.ndarray:
    flat = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec()
    return flat.reshape(*rotations.shape[:-2], 3)


def _exp(vectors: np.ndarray) -> np.ndarray:
    flat = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix()
    return flat.reshape(*vectors.shape[:-1], 3, 3)
