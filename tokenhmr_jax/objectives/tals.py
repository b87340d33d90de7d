"""Threshold-adaptive loss scaling (TokenHMR, CVPR 2024): small errors are hardly penalised.

Labels fitted under a wrong camera are wrong by as much as that camera is. An error within what it
explains, per joint, is scaled by a loose weight; a larger one counts in full.

`python -m tokenhmr_jax.studies.thresholds` derives a table of thresholds from one's own data.
"""

import csv
import importlib.resources
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import struct

from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.objectives import losses

# The columns of the table that ships with the package: the paper's, and the release's own digits.
SHIPPED = ('table1', 'release')
_SHIPPED_FILE = 'tals_thresholds.csv'
_ROWS = [
    *(('keypoint_2d', i, name) for i, name in enumerate(skeleton.KEYPOINTS)),
    *(('smpl_angle', i, name) for i, name in enumerate(skeleton.JOINTS)),
]
# Where a 2D keypoint is less certain, a 3D one that depends on it does not count.
_SURE = 0.5


@struct.dataclass
class Thresholds:
    """Errors up to these are tolerated.

    keypoints2d: (44,) crop units.
    angles: (24,) radians.
    """

    keypoints2d: jax.Array
    angles: jax.Array


@struct.dataclass
class Below:
    """Which errors are at or below their thresholds. keypoints2d: (B, 44); angles: (B, 24)."""

    keypoints2d: jax.Array
    angles: jax.Array


def load_thresholds(table: str | os.PathLike = 'release') -> Thresholds:
    """Load thresholds.

    Args:
      table: 'table1' or 'release' of the table that ships with the package (the paper's supplement,
        Table 1; the digits of its public code), or the path of a CSV file with the columns kind,
        index, joint and threshold, and the same joints in the same order.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming the file and its missing, superfluous or misplaced joint, or the threshold
        that is negative or not finite.
    """
    if table in SHIPPED:
        text = (
            importlib.resources.files('tokenhmr_jax.objectives').joinpath(_SHIPPED_FILE).read_text()
        )
        return _parse(text, column=str(table), name=_SHIPPED_FILE)
    path = epath.Path(table)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such threshold table; expected {", ".join(map(repr, SHIPPED))} or a CSV'
        )
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: not a text file ({error})') from error
    return _parse(text, column='threshold', name=str(path))


def scale_thresholds(thresholds: Thresholds, factor: float) -> Thresholds:
    """All thresholds times a factor; ValueError for one below 0."""
    if factor < 0:
        raise ValueError(f'tals.scale={factor}: expected 0 or more')
    return jax.tree.map(lambda threshold: factor * threshold, thresholds)


def write_thresholds(thresholds: Thresholds, path: str | os.PathLike) -> None:
    """Write a table that `load_thresholds` reads."""
    values = [*np.asarray(thresholds.keypoints2d), *np.asarray(thresholds.angles)]
    with open(path, 'w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['kind', 'index', 'joint', 'threshold'])
        writer.writerows([*row, f'{v:.6g}'] for row, v in zip(_ROWS, values, strict=True))


def _parse(text: str, column: str, name: str) -> Thresholds:
    reader = csv.DictReader(text.splitlines())
    wanted = ['kind', 'index', 'joint', column]
    missing = set(wanted) - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f'{name}: columns {reader.fieldnames}, expected {wanted}')
    rows = [tuple(row[key] for key in wanted) for row in reader]
    expected = [(kind, str(index), joint) for kind, index, joint in _ROWS]
    labels = [row[:3] for row in rows]
    for label in expected:
        if label not in labels:
            raise ValueError(f'{name}: no row {",".join(label)}')
    for i, label in enumerate(labels):
        if i >= len(expected) or label != expected[i]:
            right = ','.join(expected[i]) if i < len(expected) else 'the end'
            raise ValueError(f'{name}: row {i + 1} is {label}, expected {right}')
    values = np.array([_threshold(row, name) for row in rows], np.float32)
    count = len(skeleton.KEYPOINTS)
    return Thresholds(jnp.asarray(values[:count]), jnp.asarray(values[count:]))


def _threshold(row: tuple, name: str) -> float:
    try:
        value = float(row[-1])
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f'{name}: {row[0]} {row[2]}: threshold {row[-1]!r}, expected 0 or more')
    return value


def compare_errors(
    thresholds: Thresholds,
    *,
    keypoints2d: jax.Array,
    keypoints2d_gt: jax.Array,
    rotation: jax.Array,
    rotation_gt: jax.Array,
    distance: str,
) -> Below:
    """Compare errors with their thresholds. No gradient flows through it.

    Args:
      thresholds: of `load_thresholds`.
      keypoints2d, keypoints2d_gt: (B, 44, 2) and, with confidence, (B, 44, 3), crop units.
      rotation, rotation_gt: (B, 24, 3, 3); compared is the angle between them.
      distance: what of 2D keypoints is compared. 'l1', as in the paper: |dx| + |dy|, which is what
        the thresholds were measured in. 'squared', as in the release: confidence times
        (dx² + dy²), against the same thresholds, which tolerates ten times as much.
    """
    losses.check_distance(distance, 'tals.distance')
    offset = jax.lax.stop_gradient(keypoints2d) - keypoints2d_gt[..., :2]
    if distance == 'l1':
        error = jnp.sum(jnp.abs(offset), axis=-1)
    else:
        error = keypoints2d_gt[..., 2] * jnp.sum(jnp.square(offset), axis=-1)
    angle = rotations.geodesic_angle(jax.lax.stop_gradient(rotation), rotation_gt)
    return Below(error <= thresholds.keypoints2d, angle <= thresholds.angles)


def tals_weights(
    below: Below,
    *,
    confidence2d: jax.Array,
    has_pose: jax.Array,
    has_betas: jax.Array,
    is_ground_truth: jax.Array,
    loose: float,
) -> dict[str, jax.Array]:
    """What counts of `losses.regressor_errors` with TALS, by term.

    2D keypoints count in full above their threshold and loosely at or below it, whatever the
    source. On sources of ground truth all else counts in full, the pose also where `has_pose` is 0.
    On others the pose is scaled as the 2D keypoints are, betas do not count, and a 3D keypoint
    counts where its 2D error is above the threshold and its 2D confidence above 0.5.

    Args:
      below: of `compare_errors`.
      confidence2d: (B, 44) of the 2D keypoints.
      has_pose, has_betas: (B,) 1 where the labels are to be trusted, else 0.
      is_ground_truth: (B,) bool, of the examples' sources.
      loose: the loose weight; 0.05 in the release, about 0.01 in the paper.

    Returns:
      (B, 44), (B, 44), (B, 1), (B, 23) and (B, 1) float32.
    """
    true = is_ground_truth[:, None]
    pose = jnp.where(below.angles, loose, 1.0) * has_pose[:, None]
    pose = jnp.where(true, 1.0, pose)
    seen = ~below.keypoints2d & (confidence2d > _SURE)
    return {
        'keypoints2d': jnp.where(below.keypoints2d, loose, 1.0),
        'keypoints3d': (true | seen).astype(pose.dtype),
        'global_orient': pose[:, :1],
        'body_pose': pose[:, 1:],
        'betas': true * has_betas[:, None],
    }


def shares_below(
    below: Below, confidence2d: jax.Array, has_pose: jax.Array, source: jax.Array, num_sources: int
) -> dict[str, jax.Array]:
    """The share of joints at or below their thresholds, per source.

    TALS does nothing while it is near 0.

    Args:
      below: of `compare_errors`.
      confidence2d: (B, 44); keypoints of confidence 0 are not counted.
      has_pose: (B,); angles are not counted where it is 0.
      source: (B,) int32, position of each example's source.
      num_sources: S.

    Returns:
      'keypoints2d' and 'angles', (S,); NaN where a source has no joint in the batch.
    """
    member = jax.nn.one_hot(source, num_sources).T

    def share(flags, counted):
        counted = jnp.broadcast_to(counted, flags.shape).astype(member.dtype)
        return member @ jnp.sum(flags * counted, axis=-1) / (member @ jnp.sum(counted, axis=-1))

    return {
        'keypoints2d': share(below.keypoints2d, confidence2d > 0),
        'angles': share(below.angles, has_pose[:, None] > 0),
    }
