"""Density of each joint's rotation in motion capture, to find improbable fitted poses."""

import os
import pathlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Num
from scipy import ndimage

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.readers.downloads import check_download

NUM_BINS = 100  # along each of the three axis-angle coordinates, from -pi to pi
_SHAPE = (skeleton.NUM_BODY_JOINTS, NUM_BINS, NUM_BINS, NUM_BINS)
_BIN_VOLUME = (2 * np.pi / NUM_BINS) ** 3
_SIGMA = 2  # bins, and joints

# HMR2.0's thresholds: a density at or below is improbable.
_LEAST_DENSITY = {
    'hip': 5e-5, 'spine1': 2e-3, 'knee': 5e-6, 'spine2': 0.01, 'ankle': 5e-6, 'spine3': 0.025,
    'foot': 0.0, 'neck': 2e-4, 'collar': 4.5e-4, 'head': 5e-4, 'shoulder': 2e-4, 'elbow': 4e-5,
    'wrist': 1e-3,
}  # fmt: skip
LEAST_DENSITY = np.array([
    _LEAST_DENSITY[name.removeprefix('left_').removeprefix('right_')]
    for name in skeleton.BODY_JOINTS
])  # fmt: skip


def count_poses(body_poses: Iterable[np.ndarray]) -> Float[np.ndarray, '21 D D D']:
    """Number of poses in each bin, of arrays (N, 21, 3), axis-angle in radians."""
    counts = np.zeros(_SHAPE)
    for poses in body_poses:
        for joint, angles in enumerate(np.moveaxis(_shortest(poses), 1, 0)):
            found, _ = np.histogramdd(angles, bins=NUM_BINS, range=[(-np.pi, np.pi)] * 3)
            counts[joint] += found
    return counts


def smooth_density(counts: Num[np.ndarray, '21 D D D']) -> Float[np.ndarray, '21 D D D']:
    """Smoothed density, float32, of the result of `count_poses`.

    As in HMR2.0, it is normalised over all joints together, and the smoothing also runs along the
    axis of the joints: neighbours in the list of joints share some of their density.
    """
    # In float32: each process of a builder may need this memory.
    total = counts.sum(dtype=np.float64) * _BIN_VOLUME
    share = np.divide(counts, total, dtype=np.float32)
    return ndimage.gaussian_filter(share, _SIGMA, mode='constant')


def density_at(
    density: Float[np.ndarray, '21 D D D'], body_pose: Float[np.ndarray, '*N 21 3']
) -> Float[np.ndarray, '*N 21']:
    """The density of each joint of poses, axis-angle in radians."""
    # In float32, as the original: joints at rest lie on the edge of two bins.
    place = (_shortest(body_pose).astype(np.float32) + np.float32(np.pi)) / np.float32(2 * np.pi)
    bins = np.clip((place * np.float32(NUM_BINS)).astype(int), 0, NUM_BINS - 1)
    return density[np.arange(len(density)), bins[..., 0], bins[..., 1], bins[..., 2]]


def is_probable(
    density: Float[np.ndarray, '21 D D D'], body_pose: Float[np.ndarray, '*N 21 3']
) -> np.bool_ | Bool[np.ndarray, '*N']:
    """Whether all joints of each pose are above the least density."""
    return (density_at(density, body_pose) > LEAST_DENSITY).all(axis=-1)


def _shortest(body_pose: np.ndarray) -> np.ndarray:
    """The same rotations with angles up to pi, float64."""
    pose = np.asarray(body_pose, np.float64)
    angle = np.linalg.norm(pose, axis=-1, keepdims=True)
    axis = np.divide(pose, angle, out=np.zeros_like(pose), where=angle > 0)
    return axis * (angle - 2 * np.pi * np.round(angle / (2 * np.pi)))


def load_density(path: str | os.PathLike) -> Float[np.ndarray, '21 D D D']:
    """Loads a density of `studies.pose_density`, mapped into memory that processes share.

    Counts of poses, as the original's training data has them, become a density: the result of
    `smooth_density`. Raises FileNotFoundError or ValueError if there is no such file, or it holds
    neither.
    """
    if not pathlib.Path(path).is_file():
        maker = 'python -m tokenhmr_jax.studies.pose_density'
        raise FileNotFoundError(f'{path}: no such file; {maker} makes it')
    check_download(path)
    try:
        found = np.load(path, mmap_mode='r', allow_pickle=False)
    except Exception as error:  # NumPy raises anything for a broken file
        raise ValueError(f'{path}: no readable .npy file ({error})') from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f'{path}: an archive of arrays, expected one array')
    if found.shape != _SHAPE or found.dtype.kind not in 'fiu':
        raise ValueError(
            f'{path}: {found.dtype} {found.shape}, expected counts or a density of poses {_SHAPE}'
        )
    total = found.sum(dtype=np.float64)
    if not 0 < total < np.inf or found.min() < 0:
        raise ValueError(f'{path}: all zero, negative or not finite, expected counts or a density')
    if all((joint == np.floor(joint)).all() for joint in found):
        return smooth_density(found)
    # What the smoothing loses at the ends of the list of joints is missing from 1.
    if total * _BIN_VOLUME > 1.001 or found.dtype != np.float32:
        raise ValueError(
            f'{path}: neither counts, which are whole numbers, nor a float32 density, whose '
            f'integral is at most 1: {found.dtype}, integral {total * _BIN_VOLUME:.4g}'
        )
    return found
