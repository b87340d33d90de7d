"""From what datasets write down about a person to the labels of a record."""

import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import camera, keypoint_body, rotations, smpl
from tokenhmr_jax.mannequin.body import mannequin_arrays
from tokenhmr_jax.readers import smpl_files
from tokenhmr_jax.types import SmplParams

# `scale` of these datasets is the side of a box in units of so many pixels.
PIXELS_PER_SCALE = 200
GENDERS = ('neutral', 'male', 'female')  # in the order of a record's `gender`

_BATCH = 16  # bodies posed at once; one shape is compiled once


def read_field(row: Mapping[str, Any], name: str, *shape: int) -> np.ndarray:
    """A float32 array of a shape, out of what somebody pickled.

    Raises:
      ValueError: naming the field, if it is not there or of another shape or kind.
    """
    value = read_numbers(row, name)
    if value.shape != shape:
        raise ValueError(f'`{name}` is {value.shape}, expected numbers {shape}')
    return value


def read_numbers(row: Mapping[str, Any], name: str) -> np.ndarray:
    """A float32 array of any shape; raises as `read_field`."""
    if name not in row:
        raise ValueError(f'no `{name}` among {sorted(map(str, row))}')
    value = np.asarray(row[name])
    if value.dtype.kind not in 'fiub':
        raise ValueError(f'`{name}` is {value.dtype} {value.shape}, expected numbers')
    return value.astype(np.float32)


def check_rows(path: str | os.PathLike, columns: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError, naming the file, unless its columns have as many rows as each other."""
    rows = {column.shape[:1] for column in columns.values()}
    if len(rows) != 1 or () in rows:
        shapes = {name: column.shape for name, column in columns.items()}
        raise ValueError(f'{path}: columns of shapes {shapes}, expected as many rows in each')


def read_optional(row: Mapping[str, Any], name: str, *shape: int) -> np.ndarray:
    """`read_field`, or zeros where there is none."""
    return read_field(row, name, *shape) if name in row else np.zeros(shape, np.float32)


def clean_confidence(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints (44, D + 1) with confidences of 0 to 1; those of confidence 0 lie at the origin.

    Detectors give a confidence slightly above 1 now and then, and anything at all for a place where
    they saw nothing.
    """
    confidence = np.clip(np.nan_to_num(keypoints[:, -1:]), 0, 1)
    points = np.where(confidence > 0, keypoints[:, :-1], 0)
    return np.concatenate([points, confidence], axis=1)


def zero_untrusted(values: np.ndarray, trust: float) -> np.ndarray:
    """`values`, but zeros where labels that are not to be trusted are not even numbers."""
    return values if trust else np.nan_to_num(values, posinf=0, neginf=0)


def camera_of_box(box_center: np.ndarray, box_size: np.ndarray) -> dict:
    """The camera that fits believe in where the true one is unknown: that of the square crop."""
    focal_length = max(box_size) * camera.CROP_FOCAL_LENGTH / camera.CROP_SIZE
    return {'focal_length': focal_length, 'principal_point': box_center}


class PosedBodies(NamedTuple):
    """Posed bodies in their camera. keypoints3d (N, 44, 3) and joints (N, 24, 3): metres, without
    `transl`. pelvis: (N, 3) at rest, about which `global_orient` turns."""

    keypoints3d: np.ndarray
    joints: np.ndarray
    pelvis: np.ndarray


def pose_bodies(
    reduced: keypoint_body.KeypointBody, global_orient, body_pose, betas
) -> PosedBodies:
    """Poses N bodies.

    Args:
      reduced: of `load_keypoint_body`.
      global_orient: (N, 3) axis-angle.
      body_pose: (N, 23, 3).
      betas: (N, 10).
    """
    columns = [np.asarray(c, np.float32) for c in (global_orient, body_pose, betas)]
    count = len(columns[0])
    found = []
    for start in range(0, count, _BATCH):
        chunk = [column[start : start + _BATCH] for column in columns]
        missing = _BATCH - len(chunk[0])
        chunk = [np.concatenate([c, np.zeros((missing, *c.shape[1:]), c.dtype)]) for c in chunk]
        found.append(_pose(reduced, *chunk))
    return PosedBodies(*(np.concatenate(each)[:count] for each in zip(*found, strict=True)))


@functools.cache
def load_keypoint_body(smpl_dir: str, gender: str) -> keypoint_body.KeypointBody:
    """The SMPL model of a gender, reduced to its joints and keypoints.

    Args:
      smpl_dir: folder of `SMPL_{NEUTRAL,MALE,FEMALE}.pkl` or `.npz`, and `SMPL_to_J19.pkl`, or
        `.npy`, unless they hold `joint_regressor_extra` themselves; 'mannequin' for the body that
        needs no file.
      gender: one of `GENDERS`.

    Raises:
      FileNotFoundError, ValueError: if there is no such file, or it is something else.
    """
    if smpl_dir == 'mannequin':
        return keypoint_body.reduce_body(smpl.body_from_arrays(mannequin_arrays(), smpl_dir))
    path, regressor = body_files(smpl_dir, gender)
    body = smpl_files.load_body_file(path, regressor)
    if body.extra_regressor is None:
        raise FileNotFoundError(
            f'{path.parent}: no SMPL_to_J19.pkl or SMPL_to_J19.npy, expected beside {path.name}: '
            'the regressor of the 19 extra keypoints'
        )
    return keypoint_body.reduce_body(body)


def body_files(smpl_dir: str, gender: str) -> tuple[pathlib.Path, pathlib.Path | None]:
    """The files that `load_keypoint_body` reads: of the body, and the keypoints' regressor if it is there.

    Raises:
      FileNotFoundError: if there is no such body.
    """
    folder = pathlib.Path(smpl_dir).expanduser()
    stem = f'SMPL_{gender.upper()}'
    body = _either(folder / f'{stem}.npz', folder / f'{stem}.pkl')
    if body is None:
        raise FileNotFoundError(f'{folder}: no {stem}.pkl or {stem}.npz')
    return body, _either(folder / 'SMPL_to_J19.pkl', folder / 'SMPL_to_J19.npy')


def _either(*paths: pathlib.Path) -> pathlib.Path | None:
    return next(filter(pathlib.Path.is_file, paths), None)


@jax.jit
def _pose(reduced, global_orient, body_pose, betas):
    params = SmplParams(
        rotations.axis_angle_to_matrix(global_orient),
        rotations.axis_angle_to_matrix(body_pose),
        betas,
    )
    body = reduced.body
    joints = smpl.forward(body, params).joints
    pelvis = body.joint_template[0] + betas @ body.joint_dirs[: betas.shape[1], 0]
    return keypoint_body.keypoints(reduced, params), joints, pelvis


def into_camera(
    extrinsics: np.ndarray, global_orient: np.ndarray, transl: np.ndarray, pelvis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Orientation (N, 3) and translation (N, 3) of bodies in the camera, from those in the world.

    A body turns about its pelvis at rest, which is not the origin: the pelvis goes where the camera
    sees it, and the translation is what brings it there.

    Args:
      extrinsics: (N, 4, 4) from world to camera, metres.
      global_orient: (N, 3) axis-angle in the world.
      transl: (N, 3) metres in the world.
      pelvis: (N, 3) metres, at rest, of `pose_bodies`.
    """
    turn = Rotation.from_matrix(extrinsics[:, :3, :3])
    orient = (turn * Rotation.from_rotvec(global_orient)).as_rotvec()
    return orient, turn.apply(pelvis + transl) + extrinsics[:, :3, 3] - pelvis


def project_points(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Pixels (..., K, 2) of points (..., K, 3) in the camera, by a matrix (..., 3, 3)."""
    seen = points @ np.swapaxes(intrinsics, -1, -2)
    return seen[..., :2] / seen[..., 2:]


def camera_fields(intrinsics: np.ndarray) -> dict:
    """A record's camera of a matrix (3, 3) of square pixels.

    Raises:
      ValueError: if the pixels are not square, by more than a hundredth.
    """
    fx, fy = intrinsics[0, 0], intrinsics[1, 1]
    if not abs(fx - fy) <= 0.01 * abs(fx):
        raise ValueError(f'focal lengths of {fx} and {fy} px: expected square pixels')
    return {'focal_length': (fx + fy) / 2, 'principal_point': intrinsics[:2, 2]}


def with_confidence(points: np.ndarray) -> np.ndarray:
    """Points (..., K, D) with a confidence of 1: (..., K, D + 1)."""
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)
