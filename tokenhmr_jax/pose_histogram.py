"""How probable each joint's rotation is in motion capture; improbable fitted poses are not trusted.

    python -m tokenhmr_jax.pose_histogram --data_dir=DATA --split=amass/CMU --split=amass/KIT \
        --out=pose_density.npy

counts the poses of prepared `amass` splits, and writes the density that the filter of
`datasets/pseudo_gt` reads.
"""

import os
import pathlib
from collections.abc import Iterable

import numpy as np
import tqdm
from absl import app, flags
from scipy import ndimage

from tokenhmr_jax import config_utils
from tokenhmr_jax.body import skeleton
from tokenhmr_jax.data import pipeline

NUM_BINS = 100  # along each of the three axis-angle coordinates, from -pi to pi
_SHAPE = (skeleton.NUM_BODY_JOINTS, NUM_BINS, NUM_BINS, NUM_BINS)
_SIGMA = 2  # bins, and joints
_CHUNK = 20_000  # poses

# Of HMR2.0. A density at or below it is improbable.
_LEAST_DENSITY = {
    'hip': 5e-5, 'spine1': 2e-3, 'knee': 5e-6, 'spine2': 0.01, 'ankle': 5e-6, 'spine3': 0.025,
    'foot': 0.0, 'neck': 2e-4, 'collar': 4.5e-4, 'head': 5e-4, 'shoulder': 2e-4, 'elbow': 4e-5,
    'wrist': 1e-3,
}  # fmt: skip
LEAST_DENSITY = np.array([
    _LEAST_DENSITY[name.removeprefix('left_').removeprefix('right_')]
    for name in skeleton.BODY_JOINTS
])  # fmt: skip


def count(body_poses: Iterable[np.ndarray]) -> np.ndarray:
    """How many poses fall into each bin: (21, 100, 100, 100).

    Args:
      body_poses: arrays (N, 21, 3), axis-angle in radians.
    """
    counts = np.zeros(_SHAPE)
    for poses in body_poses:
        for joint, angles in enumerate(np.moveaxis(_shortest(poses), 1, 0)):
            found, _ = np.histogramdd(angles, bins=NUM_BINS, range=[(-np.pi, np.pi)] * 3)
            counts[joint] += found
    return counts


def density(counts: np.ndarray) -> np.ndarray:
    """Smoothed density (21, 100, 100, 100) float32 of `count`'s result.

    As in HMR2.0, it is normalised over all joints together, and the smoothing runs along the axis
    of the joints too, so that neighbours in the list of joints share some of their density.
    """
    volume = (2 * np.pi / NUM_BINS) ** 3
    share = counts / (counts.sum() * volume)
    return ndimage.gaussian_filter(share, _SIGMA, mode='constant').astype(np.float32)


def look_up(density: np.ndarray, body_pose: np.ndarray) -> np.ndarray:
    """The density (..., 21) of each joint of poses (..., 21, 3), axis-angle in radians."""
    # In float32, as the original: joints at rest lie on the edge of two bins.
    place = (_shortest(body_pose).astype(np.float32) + np.float32(np.pi)) / np.float32(2 * np.pi)
    bins = np.clip((place * np.float32(NUM_BINS)).astype(int), 0, NUM_BINS - 1)
    return density[np.arange(len(density)), bins[..., 0], bins[..., 1], bins[..., 2]]


def is_probable(density: np.ndarray, body_pose: np.ndarray) -> np.ndarray:
    """Whether all joints of poses (..., 21, 3) are above the least density: bool (...,)."""
    return (look_up(density, body_pose) > LEAST_DENSITY).all(axis=-1)


def _shortest(body_pose: np.ndarray) -> np.ndarray:
    """The same rotations with angles up to pi, float64."""
    pose = np.asarray(body_pose, np.float64)
    angle = np.linalg.norm(pose, axis=-1, keepdims=True)
    axis = np.divide(pose, angle, out=np.zeros_like(pose), where=angle > 0)
    return axis * (angle - 2 * np.pi * np.round(angle / (2 * np.pi)))


def load(path: str | os.PathLike) -> np.ndarray:
    """The density that the command wrote, mapped into memory: many processes share it.

    Raises:
      FileNotFoundError, ValueError: if there is no such file, or it is something else.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(
            f'{path}: no such file; python -m tokenhmr_jax.pose_histogram makes it'
        )
    try:
        found = np.load(path, mmap_mode='r', allow_pickle=False)
    except Exception as error:  # NumPy has several for a broken file
        raise ValueError(f'{path}: no readable .npy file ({error})') from error
    if not isinstance(found, np.ndarray) or found.shape != _SHAPE or found.dtype != np.float32:
        raise ValueError(f'{path}: expected a float32 array {_SHAPE}, as the command writes it')
    return found


def _read(data_dir: str, splits: list[str]) -> Iterable[np.ndarray]:
    """The poses of prepared splits, some thousands at a time."""
    opened = [pipeline.open_split(data_dir, name) for name in splits]
    with tqdm.tqdm(total=sum(map(len, opened)), unit='pose') as bar:
        for records in opened:
            for start in range(0, len(records), _CHUNK):
                chunk = records.read(range(start, min(start + _CHUNK, len(records))))
                bar.update(len(chunk))
                yield np.stack([record['body_pose'] for record in chunk])


def main() -> None:
    data_dir = flags.DEFINE_string('data_dir', None, 'Prepared data.', required=True)
    split = flags.DEFINE_multi_string('split', None, "Such as 'amass/CMU'; repeatable.")
    out = flags.DEFINE_string('out', 'pose_density.npy', 'The file to write, 84 MB.')
    flags.mark_flag_as_required('split')

    def run(argv):
        if len(argv) > 1:
            raise app.UsageError(f'unknown arguments: {argv[1:]}')
        with config_utils.clear_errors():
            path = pathlib.Path(out.value)
            if path.suffix != '.npy':
                raise ValueError(f'--out={path}: expected a name that ends in .npy')
            path.parent.mkdir(parents=True, exist_ok=True)  # what cannot be written is told now
            counts = count(_read(data_dir.value, split.value))
            partial = path.with_suffix('.partial.npy')
            np.save(partial, density(counts))
            partial.replace(path)
            print(f'{path}: {int(counts[0].sum())} poses of {", ".join(split.value)}')

    app.run(run)


if __name__ == '__main__':
    main()
