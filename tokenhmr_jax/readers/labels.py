"""Labels of a record from the fields of the datasets' files."""

import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import camera, keypoint_body, rotations, smpl
from tokenhmr_jax.mannequin.body import mannequin_arrays
from tokenhmr_jax.readers import pickles, smpl_files
from tokenhmr_jax.types import SmplParams

# Unit of the datasets' `scale`, the side of a box.
PIXELS_PER_SCALE = 200
GENDERS = ('neutral', 'male', 'female')  # in the order of a record's `gender`

_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_BATCH = 16  # bodies posed at once: one shape, one compilation


def read_field(row: Mapping[str, Any], name: str, *shape: int) -> np.ndarray:
    """A field as a float32 array of a shape.

    Raises ValueError, naming the field, if it is missing, of another shape, or not numeric.
    """
    value = read_numbers(row, name)
    if value.shape != shape:
        raise ValueError(f'`{name}` is {value.shape}, expected numbers {shape}')
    return value


def read_numbers(row: Mapping[str, Any], name: str) -> np.ndarray:
    """A field as a float32 array of any shape; raises as `read_field`."""
    if name not in row:
        raise ValueError(f'no `{name}` among {sorted(map(str, row))}')
    value = np.asarray(row[name])
    if value.dtype.kind not in 'fiub':
        raise ValueError(f'`{name}` is {value.dtype} {value.shape}, expected numbers')
    return value.astype(np.float32)


def load_columns(
    path: str | os.PathLike, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Loads columns of an `.npz` file, a row for each person.

    Columns of objects are read where these are plain texts, numbers, or arrays of one shape. Raises
    FileNotFoundError if there is no such file, and ValueError if it cannot be read, lacks a
    required column, or its columns have different numbers of rows.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = set(required) - set(file)
            if missing:
                raise ValueError(f'no {sorted(missing)} among {sorted(file)}')
            there = [name for name in (*required, *optional) if name in file]
            columns = {name: _column(file, name) for name in there}
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise anything for a broken file
        raise ValueError(f'{path}: {error}') from error
    rows = {column.shape[:1] for column in columns.values()}
    if len(rows) != 1 or () in rows:
        shapes = {name: column.shape for name, column in columns.items()}
        raise ValueError(f'{path}: columns of shapes {shapes}, expected as many rows in each')
    return columns


def _column(file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    with file.zip.open(f'{name}.npy') as member:
        version = np.lib.format.read_magic(member)
        _, _, dtype = _READ_HEADER[min(version, (2, 0))](member)
        if not dtype.hasobject:
            return file[name]
        objects = pickles.parse_pickle(member.read(), name).tolist()
    texts = [isinstance(each, str | bytes) for each in objects]
    column = np.array(objects)
    if column.dtype.hasobject or any(texts) != all(texts):
        kinds = sorted({type(each).__name__ for each in objects})
        raise ValueError(f'`{name}` holds objects {kinds}, expected texts, or numbers')
    return column


def read_optional(row: Mapping[str, Any], name: str, *shape: int) -> np.ndarray:
    """`read_field`, or zeros if the field is missing."""
    return read_field(row, name, *shape) if name in row else np.zeros(shape, np.float32)


def clean_confidence(keypoints: Float[np.ndarray, 'K D']) -> Float[np.ndarray, 'K D']:
    """Keypoints, confidence last, clipped to 0 to 1; keypoints of confidence 0 move to the origin.

    Detectors may give a confidence slightly above 1, and any place to a keypoint they did not see.
    """
    confidence = np.clip(np.nan_to_num(keypoints[:, -1:]), 0, 1)
    points = np.where(confidence > 0, keypoints[:, :-1], 0)
    return np.concatenate([points, confidence], axis=1)


def zero_untrusted(values: Float[np.ndarray, '*N'], trust: float) -> Float[np.ndarray, '*N']:
    """`values`; without trust, values that are not finite become zeros."""
    return values if trust else np.nan_to_num(values, posinf=0, neginf=0)


def camera_of_box(
    box_center: Float[np.ndarray, ' 2'], box_size: Float[np.ndarray, ' 2']
) -> dict[str, Any]:
    """The camera that fits assume if the true one is unknown: the square crop's."""
    focal_length = max(box_size) * camera.CROP_FOCAL_LENGTH / camera.CROP_SIZE
    return {'focal_length': focal_length, 'principal_point': box_center}


class PosedBodies(NamedTuple):
    """Posed bodies in their camera, metres, without `transl`; `pelvis` is at rest."""

    keypoints3d: Float[np.ndarray, 'N 44 3']
    joints: Float[np.ndarray, 'N 24 3']
    pelvis: Float[np.ndarray, 'N 3']


def pose_bodies(
    reduced: keypoint_body.KeypointBody,
    global_orient: Float[np.ndarray, 'N 3'],
    body_pose: Float[np.ndarray, 'N 23 3'],
    betas: Float[np.ndarray, 'N 10'],
) -> PosedBodies:
    """Poses bodies by axis-angle rotations and shape."""
    columns = [np.asarray(c, np.float32) for c in (global_orient, body_pose, betas)]
    count = len(columns[0])
    padding = [np.zeros((-count % _BATCH, *c.shape[1:]), c.dtype) for c in columns]
    columns = [np.concatenate(pair) for pair in zip(columns, padding, strict=True)]
    starts = range(0, count, _BATCH)
    found = [_pose(reduced, *(column[i : i + _BATCH] for column in columns)) for i in starts]
    return PosedBodies(*(np.concatenate(each)[:count] for each in zip(*found, strict=True)))


@functools.cache
def load_keypoint_body(smpl_dir: str, gender: str) -> keypoint_body.KeypointBody:
    """Loads the SMPL model of a gender in `GENDERS`, reduced to its joints and keypoints.

    `smpl_dir` is a folder of `SMPL_{NEUTRAL,MALE,FEMALE}.pkl` or `.npz`, and, unless they hold
    `joint_regressor_extra`, `SMPL_to_J19.pkl` or `.npy`, there or in the folder above; or
    'mannequin', which needs no file.
    Raises FileNotFoundError or ValueError if there is no such file, or it is no body model.
    """
    if smpl_dir == 'mannequin':
        return keypoint_body.reduce_body(smpl.body_from_arrays(mannequin_arrays(), smpl_dir))
    path, regressor = body_files(smpl_dir, gender)
    body = smpl_files.load_body_file(path, regressor)
    if body.extra_regressor is None:
        raise FileNotFoundError(
            f'{path.parent}: no SMPL_to_J19.pkl or SMPL_to_J19.npy, expected beside {path.name} '
            'or in the folder above: the regressor of the 19 extra keypoints'
        )
    return keypoint_body.reduce_body(body)


def body_files(smpl_dir: str, gender: str) -> tuple[pathlib.Path, pathlib.Path | None]:
    """Paths of a gender's body model, and of the keypoints' regressor or None.

    Raises FileNotFoundError if there is no such body model.
    """
    folder = pathlib.Path(smpl_dir).expanduser()
    stem = f'SMPL_{gender.upper()}'
    body = _either(folder / f'{stem}.npz', folder / f'{stem}.pkl')
    if body is None:
        raise FileNotFoundError(f'{folder}: no {stem}.pkl or {stem}.npz')
    # The original's data has it above the folder of the models.
    places = [each / 'SMPL_to_J19' for each in (folder, folder.resolve().parent)]
    return body, _either(*(p.with_suffix(end) for p in places for end in ('.pkl', '.npy')))


def _either(*paths: pathlib.Path) -> pathlib.Path | None:
    return next(filter(pathlib.Path.is_file, paths), None)


@jax.jit
def _pose(reduced, global_orient, body_pose, betas):
    turns = map(rotations.axis_angle_to_matrix, (global_orient, body_pose))
    params, body = SmplParams(*turns, betas), reduced.body
    joints = smpl.forward(body, params).joints
    pelvis = body.joint_template[0] + betas @ body.joint_dirs[: betas.shape[1], 0]
    return keypoint_body.keypoints(reduced, params), joints, pelvis


def into_camera(
    extrinsics: Float[np.ndarray, 'N 4 4'],
    global_orient: Float[np.ndarray, 'N 3'],
    transl: Float[np.ndarray, 'N 3'],
    pelvis: Float[np.ndarray, '#N 3'],
) -> tuple[Float[np.ndarray, 'N 3'], Float[np.ndarray, 'N 3']]:
    """Transforms axis-angle orientation and translation (m) of bodies from the world to the camera.

    A body turns about its pelvis at rest (m), which is not the origin; the translation allows for
    it. `extrinsics` lead from world to camera.
    """
    turn = Rotation.from_matrix(extrinsics[:, :3, :3])
    orient = (turn * Rotation.from_rotvec(global_orient)).as_rotvec()
    return orient, turn.apply(pelvis + transl) + extrinsics[:, :3, 3] - pelvis


def project_points(
    points: Float[np.ndarray, '*N K 3'], intrinsics: Float[np.ndarray, '3 3']
) -> Float[np.ndarray, '*N K 2']:
    """Projects points in the camera to pixels."""
    seen = points @ np.swapaxes(intrinsics, -1, -2)
    return seen[..., :2] / seen[..., 2:]


def camera_fields(intrinsics: Float[np.ndarray, '3 3']) -> dict[str, Any]:
    """A record's camera from an intrinsic matrix.

    Raises ValueError if the focal lengths along x and y differ by more than a hundredth.
    """
    fx, fy = intrinsics[0, 0], intrinsics[1, 1]
    if not abs(fx - fy) <= 0.01 * abs(fx):
        raise ValueError(f'focal lengths of {fx} and {fy} px: expected square pixels')
    return {'focal_length': (fx + fy) / 2, 'principal_point': intrinsics[:2, 2]}


def with_confidence(points: Float[np.ndarray, '*K D']) -> Float[np.ndarray, '*K D+1']:
    """Points with a confidence of 1 appended."""
    return np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1)
