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
from jaxtyping import Bool, Float, Int

from tokenhmr_jax import cli
from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.objectives import losses
from tokenhmr_jax.types import Array

# Columns of the shipped table: the paper's thresholds, and the release's own digits.
SHIPPED = ('table1', 'release')
_SHIPPED_FILE = 'tals_thresholds.csv'
_ROWS = [
    *(('keypoint_2d', i, name) for i, name in enumerate(skeleton.KEYPOINTS)),
    *(('smpl_angle', i, name) for i, name in enumerate(skeleton.JOINTS)),
]
# Least confidence of a 2D keypoint for which the 3D one counts.
_SURE = 0.5


@struct.dataclass
class Thresholds:
    """Largest tolerated errors. keypoints2d: crop units. angles: radians."""

    keypoints2d: Float[Array, '44']
    angles: Float[Array, '24']


@struct.dataclass
class Below:
    """Flags of errors at or below their thresholds."""

    keypoints2d: Bool[Array, 'B 44']
    angles: Bool[Array, 'B 24']


def load_thresholds(table: str | os.PathLike = 'release') -> Thresholds:
    """Loads thresholds.

    Args:
      table: 'table1' (the paper's supplement, Table 1) or 'release' (the digits of its public
        code), which ship with the package; or a CSV file with the columns kind, index, joint and
        threshold, and the same joints in the same order.

    Raises:
      FileNotFoundError: for a missing file.
      ValueError: for a missing, superfluous or misplaced joint, or a threshold that is negative or
        not finite.
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
    """All thresholds times a factor; ValueError for a negative one."""
    if factor < 0:
        raise ValueError(f'tals.scale={factor}: expected 0 or more')
    return jax.tree.map(lambda threshold: factor * threshold, thresholds)


def write_thresholds(thresholds: Thresholds, path: str | os.PathLike) -> None:
    """Writes a table that `load_thresholds` reads."""
    values = [*np.asarray(thresholds.keypoints2d), *np.asarray(thresholds.angles)]
    with cli.whole_file(path) as partial, partial.open('w') as file:
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
    keypoints2d: Float[Array, 'B 44 2'],
    keypoints2d_gt: Float[Array, 'B 44 3'],
    rotation: Float[Array, 'B 24 3 3'],
    rotation_gt: Float[Array, 'B 24 3 3'],
    distance: str,
) -> Below:
    """Compares errors with their thresholds, without gradient.

    Of rotations, the angle between prediction and label counts. Of 2D keypoints, in crop units,
    `distance` counts: 'l1' as in the paper, |dx| + |dy|, which the thresholds were measured in; or
    'squared' as in the release, confidence times (dx² + dy²) against the same thresholds, which
    tolerates ten times as much.
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
    confidence2d: Float[Array, 'B 44'],
    has_pose: Float[Array, ' B'],
    has_betas: Float[Array, ' B'],
    is_ground_truth: Bool[Array, ' B'],
    loose: float | Float[Array, ''],
) -> dict[str, Float[Array, 'B _']]:
    """Weights of `losses.regressor_errors` with TALS, by term.

    2D keypoints count in full above their threshold and loosely at or below it, whatever the
    source. On sources of ground truth all else counts in full, the pose also where `has_pose` is 0.
    On others the pose is scaled as the 2D keypoints are, betas do not count, and a 3D keypoint
    counts where its 2D error is above the threshold and its 2D confidence above 0.5.

    Args:
      below: from `compare_errors`.
      confidence2d: of the 2D keypoints.
      has_pose, has_betas: 1 for trusted labels, else 0.
      is_ground_truth: of the examples' sources.
      loose: the loose weight; 0.05 in the release, about 0.01 in the paper.
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
    below: Below,
    confidence2d: Float[Array, 'B K'],
    has_pose: Float[Array, ' B'],
    source: Int[Array, ' B'],
    num_sources: int,
) -> dict[str, Float[Array, ' sources']]:
    """Shares of joints at or below their thresholds, per source: TALS does nothing near 0.

    Keypoints of confidence 0 and angles without trusted pose do not count; NaN for a source without
    any joint in the batch.
    """
    member = jax.nn.one_hot(source, num_sources).T

    def share(flags, counted):
        counted = jnp.broadcast_to(counted, flags.shape).astype(member.dtype)
        return member @ jnp.sum(flags * counted, axis=-1) / (member @ jnp.sum(counted, axis=-1))

    return {
        'keypoints2d': share(below.keypoints2d, confidence2d > 0),
        'angles': share(below.angles, has_pose[:, None] > 0),
    }
