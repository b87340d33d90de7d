"""Motion at other times than it was seen: rotations along the shortest turn, places along lines."""

import math

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from tokenhmr_jax.inference.outputs import gltf

_UNEVEN = 0.1  # share of a step by which steps of one rate may differ
_TICK = 1.1e-3  # seconds; many containers round times to thousandths


def at_times(
    new: Float[np.ndarray, ' S'],
    times: Float[np.ndarray, ' T'],
    rotations: Float[np.ndarray, 'T J 3 3'],
    vectors: Float[np.ndarray, 'T D'],
) -> tuple[Float[np.ndarray, 'S J 3 3'], Float[np.ndarray, 'S D']]:
    """Rotations and vectors at new times; those before the first and after the last stay still.

    `times` are increasing. T is 1 or more.
    """
    if len(times) == 1:
        return np.repeat(rotations, len(new), axis=0), np.repeat(vectors, len(new), axis=0)
    inside = np.clip(new, times[0], times[-1])
    turns = [
        Slerp(times, Rotation.from_matrix(joint))(inside).as_matrix()
        for joint in np.swapaxes(rotations, 0, 1)
    ]
    moved = [np.interp(inside, times, column) for column in vectors.T]
    return np.stack(turns, axis=1), np.stack(moved, axis=1)


def at_rate(motion: gltf.Motion, fps: float) -> gltf.Motion:
    """The same motion with `fps` frames per second, from its first time to its last."""
    start, end = motion.times[[0, -1]]
    times = start + np.arange(math.floor((end - start) * fps + 1e-3) + 1) / fps
    rotations, root = at_times(times, motion.times, motion.rotations, motion.root)
    return motion._replace(rotations=rotations, root=root, times=times)


def even_rate(times: Float[np.ndarray, ' T']) -> float | None:
    """The rate of times that have one, per second; None for others, and for a single one."""
    steps = np.diff(times)
    if not len(steps) or np.ptp(steps) > max(_UNEVEN * np.median(steps), _TICK):
        return None
    return len(steps) / float(times[-1] - times[0])
