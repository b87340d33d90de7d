"""Smoothing of a person's motion, and a measure of its jitter.

Rotations are averaged on their manifold, as the turns log(R^T R') from one rotation to the others.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

FILTERS = ('zero_lag', 'none')
_REACH = 3.0  # standard deviations of the filter's window


def zero_lag(
    times: Float[np.ndarray, ' T'],
    rotations: Float[np.ndarray, 'T J 3 3'],
    vectors: Float[np.ndarray, 'T D'],
    width: float = 0.08,
) -> tuple[Float[np.ndarray, 'T J 3 3'], Float[np.ndarray, 'T D']]:
    """Rotations and vectors, smoothed offline by a parabola through time at each frame.

    Frames are weighted by a Gaussian of standard deviation `width`, seconds. The window looks as
    far ahead as back: nothing lags, and motion at constant acceleration stays as it is, up to the
    track's ends. `times` are seconds, increasing. Frames may be missing.
    """
    turned, moved = np.array(rotations), np.array(vectors)
    for i, now in enumerate(times):
        near = np.flatnonzero(np.abs(times - now) <= _REACH * width)
        weights = _weights(times[near] - now, width)
        moved[i] = weights @ vectors[near]
        turns = _log(np.swapaxes(rotations[i], -1, -2) @ rotations[near])
        turned[i] = rotations[i] @ _exp(np.einsum('t,tjc->jc', weights, turns))
    return turned, moved


def _weights(offsets, width):
    """Weights of the neighbours in the value at 0 of their best-fitting parabola."""
    degree = min(2, len(offsets) - 1)
    powers = (offsets / width)[:, None] ** np.arange(degree + 1)
    root = np.exp(-0.25 * (offsets / width) ** 2)
    return np.linalg.pinv(root[:, None] * powers)[0] * root


def smooth_track(track: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A track of `results.read_tracks` with smooth rotations and place, and one shape.

    The place is smoothed as its direction x / z, y / z and the logarithm of its distance, in which
    the network errs evenly. The shape is the median of the frames' betas.
    """
    pose = np.concatenate([track['global_orient'][:, None], track['body_pose']], axis=1)
    x, y, z = track['translation'].T
    seen = np.stack([x / z, y / z, np.log(z)], axis=1)
    pose, seen = zero_lag(track['time'], pose, seen)
    z = np.exp(seen[:, 2:])
    changed = {
        'global_orient': pose[:, 0],
        'body_pose': pose[:, 1:],
        'translation': np.concatenate([seen[:, :2] * z, z], axis=1),
        'betas': np.broadcast_to(np.median(track['betas'], axis=0), track['betas'].shape),
    }
    return dict(track) | {name: value.astype(np.float32) for name, value in changed.items()}


def acceleration_error(
    joints: Float[np.ndarray, 'T J D'],
    times: Float[np.ndarray, ' T'],
    truth: Float[np.ndarray, 'T J D'] | None = None,
) -> float | None:
    """Mean acceleration of joints in mm/s^2, or of their error against the truth.

    Positions are metres, times seconds. Without a truth it measures jitter: motion itself adds
    little at the frame rate. It is taken over all three frames in a row; None if there are none.
    """
    error = joints if truth is None else joints - truth
    if len(times) < 3:
        return None
    steps = np.diff(times)
    even = np.isclose(steps[1:], steps[:-1], rtol=0.1) & (steps[1:] < 1.5 * steps.min())
    second = (error[2:] - 2 * error[1:-1] + error[:-2])[even] / steps.min() ** 2
    return float(1000 * np.linalg.norm(second, axis=-1).mean()) if even.any() else None


def _log(rotations):
    flat = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec()
    return flat.reshape(*rotations.shape[:-2], 3)


def _exp(vectors):
    flat = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix()
    return flat.reshape(*vectors.shape[:-1], 3, 3)
