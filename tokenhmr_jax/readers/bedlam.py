"""Persons of BEDLAM, from the official labels and pictures or from TokenHMR's tars.

Both have the same fields for each person and frame. The labels are of the neutral SMPL model, which
gives the 44 keypoints. The picture's true camera projects them.

`gtkps`, the labels' own projected points, come in two orders: SMPL's joints first, or OpenPose's 25
keypoints and the 19 of SMPL_to_J19. They serve as a check of the body, which tells the order too.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from tokenhmr_jax.data import pictures, records
from tokenhmr_jax.readers import labels, tars
from tokenhmr_jax.readers.shards import Remark, corrupt

COLUMNS = (
    'imgname', 'center', 'scale', 'pose_cam', 'shape', 'trans_cam', 'cam_ext', 'cam_int', 'gtkps',
)  # fmt: skip
# Orders of `gtkps`, as they are counted.
SMPL_ORDER = "gtkps: SMPL's joints"
OPENPOSE_ORDER = 'gtkps: 25 of OpenPose, 19 of SMPL_to_J19'
_SMPLH, _SMPLX = 156, 165  # widths of their poses
_CHECKED_JOINTS = 22  # SMPL and SMPL-X share them
_MOST_OFF = 0.1  # largest mean distance from `gtkps` to the body's points, in sides of the box


class BedlamOptions(NamedTuple):
    """smpl_dir: for `labels.load_keypoint_body`. store: options of `records.store_picture`."""

    smpl_dir: str
    store: Mapping[str, Any]


def read_scene(
    path: str | os.PathLike,
    picture_dir: str | os.PathLike,
    part: tuple[int, int],
    options: BedlamOptions,
) -> Iterator[dict | Remark]:
    """Reads the persons in a scene of the official release, by its labels `<scene>.npz`.

    `imgname` is relative to `picture_dir`, `<scene>/png`. A part (k, n) is the k-th of n parts of
    the pictures. Raises ValueError or FileNotFoundError if the labels cannot be read or lack a
    column.
    """
    columns = labels.load_columns(path, COLUMNS)
    scene = pathlib.Path(path).stem
    order = np.argsort(columns['imgname'], kind='stable')
    names, starts = np.unique(columns['imgname'][order], return_index=True)
    persons = np.split(order, starts[1:])
    k, n = part
    for i in range(k * len(names) // n, (k + 1) * len(names) // n):
        key = f'{scene}/{pathlib.PurePath(names[i]).with_suffix("")}'
        file = pathlib.Path(picture_dir) / names[i]
        try:
            picture = file.read_bytes()
        except OSError as error:
            yield corrupt(key, error)
            continue
        rows = [{name: columns[name][row] for name in COLUMNS[1:]} for row in persons[i]]
        yield from _read_persons(key, picture, rows, options)


def num_rows(path: str | os.PathLike) -> int:
    """Number of persons in a scene's labels; raises as `read_scene`."""
    return len(labels.load_columns(path, ['scale'])['scale'])


def read_tar(path: str | os.PathLike, options: BedlamOptions) -> Iterator[dict | Remark]:
    """Reads the persons in TokenHMR's tar `<scene>/<number>.tar`; raises as `tars.samples`."""
    path = pathlib.Path(path)
    for sample, parts in tars.samples(path, tars.PARTS):
        key = f'{path.parent.name}/{path.stem}/{sample}'
        try:
            picture, rows = tars.split_sample(key, parts)
        except ValueError as error:
            yield corrupt(key, error)
            continue
        yield from _read_persons(key, picture, rows, options)


def _read_persons(
    key: str, picture: bytes, rows: Sequence[Mapping[str, Any]], options: BedlamOptions
) -> Iterator[dict | Remark]:
    """Records of the persons in one picture."""
    try:
        image = pictures.decode_picture(picture, key)
    except ValueError as error:
        yield corrupt(key, error)
        return
    for index, row in enumerate(rows):
        name = f'{key}/{index}'
        try:
            box_center = labels.read_field(row, 'center', 2)
            side = labels.PIXELS_PER_SCALE * labels.read_field(row, 'scale')
            found, order = bedlam_labels(row, side, options.smpl_dir)
            upright = turn_upright(image, found['principal_point'])
            yield records.assemble(upright, name, box_center, (side, side), found, **options.store)
        except ValueError as error:
            yield corrupt(name, error)
        else:
            if order is not None:
                yield Remark(order)


def bedlam_labels(
    row: Mapping[str, Any], side: float | np.floating, smpl_dir: str
) -> tuple[dict[str, Any], str | None]:
    """Camera, keypoints, pose and shape of a person, as fields of a record; the order of `gtkps`.

    The order is SMPL_ORDER or OPENPOSE_ORDER, or None without `gtkps`. Raises ValueError if a field
    is missing or has a wrong shape, or if the projected body is far from `gtkps` in either order:
    then the labels are of another body model.
    """
    pose = _smpl_pose(row)
    # Some labels have an eleventh beta, which the published training drops too.
    betas = labels.read_numbers(row, 'shape')
    if betas.ndim != 1 or len(betas) < 10:
        raise ValueError(f'`shape` is {betas.shape}, expected at least 10 numbers')
    betas = betas[:10]
    intrinsics = labels.read_field(row, 'cam_int', 3, 3)
    transl = labels.read_field(row, 'trans_cam', 3) + labels.read_field(row, 'cam_ext', 4, 4)[:3, 3]
    body = labels.load_keypoint_body(smpl_dir, 'neutral')
    posed = labels.pose_bodies(body, pose[None, :3], pose[3:].reshape(1, 23, 3), betas[None])
    joints, points = posed.joints[0, :_CHECKED_JOINTS], posed.keypoints3d[0]
    keypoints2d = labels.project_points(points + transl, intrinsics)
    order = None
    if 'gtkps' in row:
        joints2d = labels.project_points(joints + transl, intrinsics)
        bodies = {SMPL_ORDER: joints2d, OPENPOSE_ORDER: keypoints2d}
        order = _find_order(labels.read_numbers(row, 'gtkps'), bodies, side)
    found = labels.camera_fields(intrinsics) | {
        'keypoints2d': labels.with_confidence(keypoints2d),
        'keypoints3d': labels.with_confidence(points),
        'global_orient': pose[:3],
        'body_pose': pose[3:].reshape(23, 3),
        'betas': betas,
        'transl': transl,
        'has_pose': 1,
        'has_betas': 1,
    }
    return found, order


def _smpl_pose(row) -> Float[np.ndarray, ' 72']:
    """SMPL's 24 rotations of `pose_cam`; of wider ones if `gtkps` can tell that they are SMPL's."""
    pose = labels.read_numbers(row, 'pose_cam')
    if pose.shape == (72,):
        return pose
    if pose.ndim != 1 or len(pose) < 72 or len(pose) == _SMPLX or 'gtkps' not in row:
        model = ' of SMPL-X' if pose.shape == (_SMPLX,) else ''
        expected = 'numbers (72,) of SMPL, or more beside `gtkps`'
        raise ValueError(f'`pose_cam` is {pose.shape}{model}, expected {expected}')
    # SMPL-H has fingers in the place of SMPL's hands; the joints before them are the same.
    return np.r_[pose[:66], np.zeros(6, np.float32)] if len(pose) == _SMPLH else pose[:72]


def _find_order(seen, bodies, side):
    """The order in which `gtkps` are nearest to the projected body; their number does not tell it.

    `bodies` holds the body's points in each order.
    """
    if seen.ndim != 2 or len(seen) < _CHECKED_JOINTS or seen.shape[1] < 2:
        raise ValueError(f'`gtkps` is {seen.shape}, expected {_CHECKED_JOINTS} points or more')
    off = {
        order: np.abs(points - seen[: len(points), :2]).mean()
        for order, points in bodies.items()
        if len(points) <= len(seen)
    }
    near = [order for order in off if off[order] <= _MOST_OFF * side]
    if not near:
        least = min(off.values())
        raise ValueError(f'the body is {least:.0f} px from `gtkps`, in a box of {side:.0f} px')
    return min(near, key=off.get)


def turn_upright(
    image: UInt8[np.ndarray, 'H W 3'], principal_point: Float[np.ndarray, ' 2']
) -> UInt8[np.ndarray, '...']:
    """Turns the pictures of closeup scenes upright: they are stored lying on their side."""
    # The principal point tells that a camera sees a portrait.
    portrait = principal_point[1] > principal_point[0]
    if portrait and image.shape[0] < image.shape[1]:
        return cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
    return image
