"""Smoothing of a person's motion, and a measure of its jitter.

Rotations are averaged on their manifold, as the turns log(R^T R') from one rotation to the others.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.transform import Rotation

from tokenhmr_jax.inference.outputs import resampling

FILTERS = ('zero_lag', 'none')
_REACH = 3.0  # standard deviations of the filter's window
_AT_ONCE = 256  # frames


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
    parts = []
    for start in range(0, len(times), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(times)))
        near, weights = _windows(times, rows, width)
        turns = _log(np.swapaxes(rotations[rows], -1, -2)[:, None] @ rotations[near])
        turned = rotations[rows] @ _exp(np.einsum('tn,tnjc->tjc', weights, turns))
        parts.append((turned, np.einsum('tn,tnd->td', weights, vectors[near])))
    turned, moved = zip(*parts, strict=True)
    return np.concatenate(turned), np.concatenate(moved)


def _windows(times, rows, width):
    """Neighbours (N, W) of N rows, and their weights in the row's best-fitting parabola.

    Rows with fewer neighbours have some again, of weight 0.
    """
    first = np.searchsorted(times, times[rows] - _REACH * width, 'left')
    last = np.searchsorted(times, times[rows] + _REACH * width, 'right') - 1
    near = first[:, None] + np.arange(np.max(last - first) + 1)
    counts = near <= last[:, None]
    near = np.minimum(near, last[:, None])
    offsets = (times[near] - times[rows, None]) / width
    root = np.where(counts, np.exp(-0.25 * offsets**2), 0)
    powers = offsets[..., None] ** np.arange(3)
    return near, np.linalg.pinv(root[..., None] * powers)[:, 0] * root


def smooth_track(track: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A track of `results.read_tracks` with smooth rotations and place, and one shape.

    The place is smoothed as its direction x / z, y / z and the logarithm of its distance, in which
    the network errs evenly. The shape is the median of the frames' betas. No frame changes those
    of another shot. Impossible frames are as in `bridge_track`.
    """
    good = _good_frames(track)
    shots = track['shot'] if 'shot' in track else np.zeros(len(good), int)
    pose, place = _pose(track), np.array(track['translation'], float)
    for shot in np.unique(shots[good]):
        rows = np.flatnonzero(good & (shots == shot))
        x, y, z = place[rows].T
        seen = np.stack([x / z, y / z, np.log(z)], axis=1)
        pose[rows], seen = zero_lag(track['time'][rows], pose[rows], seen)
        z = np.exp(seen[:, 2:])
        place[rows] = np.concatenate([seen[:, :2] * z, z], axis=1)
    betas = np.median(track['betas'][good], axis=0)
    return _bridged(track, good, pose, place, np.broadcast_to(betas, track['betas'].shape))


def bridge_track(track: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A track of `results.read_tracks` whose impossible frames are interpolated from the others.

    Raises ValueError if all are impossible.
    """
    good = _good_frames(track)
    betas = np.array(track['betas'])
    betas[~good] = np.median(betas[good], axis=0)
    return _bridged(track, good, _pose(track), track['translation'], betas)


def possible_frames(track: Mapping[str, np.ndarray]) -> Bool[np.ndarray, ' T']:
    """Which frames' bodies are finite and before the camera."""
    names = ('global_orient', 'body_pose', 'betas', 'translation')
    finite = [np.isfinite(track[name]).reshape(len(track['time']), -1).all(1) for name in names]
    return np.all(finite, axis=0) & (track['translation'][:, 2] > 0)


def _pose(track):
    return np.concatenate([track['global_orient'][:, None], track['body_pose']], axis=1)


def _good_frames(track):
    good = possible_frames(track)
    if not good.any():
        raise ValueError('no frame of the track has a finite body before the camera')
    return good


def _bridged(track, good, pose, place, betas):
    if not good.all():
        times = track['time']
        bridge = resampling.at_times(times[~good], times[good], pose[good], place[good])
        pose, place = np.array(pose), np.array(place)
        pose[~good], place[~good] = bridge
    changed = {
        'global_orient': pose[:, 0],
        'body_pose': pose[:, 1:],
        'translation': place,
        'betas': betas,
    }
    return dict(track) | {name: value.astype(np.float32) for name, value in changed.items()}


def acceleration_error(
    joints: Float[np.ndarray, 'T J D'],
    times: Float[np.ndarray, ' T'],
    truth: Float[np.ndarray, 'T J D'] | None = None,
    shots: Int[np.ndarray, ' T'] | None = None,
) -> float | None:
    """Mean acceleration of joints in m/s^2, or of their error against the truth.

    Positions are metres, times seconds, increasing, in steps of any length. Without a truth it
    measures jitter: motion itself adds little at the frame rate. It is taken over all three frames
    in a row, of one shot; None if there are none.
    """
    error = joints if truth is None else joints - truth
    steps = np.diff(times)[:, None, None]
    if len(times) < 3:
        return None
    velocity = np.diff(error, axis=0) / steps
    second = np.linalg.norm(2 * np.diff(velocity, axis=0) / (steps[1:] + steps[:-1]), axis=-1)
    one = np.ones(len(second), bool) if shots is None else shots[2:] == shots[:-2]
    return float(second[one].mean()) if one.any() else None


def _log(rotations):
    flat = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec()
    return flat.reshape(*rotations.shape[:-2], 3)


def _exp(vectors):
    flat = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix()
    return flat.reshape(*vectors.shape[:-1], 3, 3)
