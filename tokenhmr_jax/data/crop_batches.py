"""Colours and labels of a batch of crops, on the devices.

The host decodes and warps; all else that augmentation changes is computed here, in float32.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8

from tokenhmr_jax.body import camera, rotations, skeleton
from tokenhmr_jax.data import augment, records
from tokenhmr_jax.types import Array, CropBatch, ImageBatch

_POSE_TWINS = skeleton.JOINT_TWINS[1:] - 1


def jitter(
    image: UInt8[Array, 'B H W 3'], color: Float[Array, 'B 3']
) -> Float[jax.Array, 'B H W 3']:
    """Multiplies the channels of images by factors; float32 of 0 to 255, clipped."""
    return jnp.minimum(image * color[:, None, None], 255.0)


def crop_batch(columns: Mapping[str, np.ndarray], seed: Int32[np.ndarray, ' B']) -> CropBatch:
    """The batch of columns of `augment.augment_crop`; of source 0 where there is no such column."""
    names = {field.name for field in dataclasses.fields(CropBatch)} & columns.keys()
    source = {'source': np.zeros(len(seed), np.int32)}
    return CropBatch(**source | {name: columns[name] for name in names}, seed=seed)


def batch_shapes(count: int, size: tuple[int, int]) -> CropBatch:
    """A batch of crops of a size (height, width), px, as `jax.ShapeDtypeStruct`s."""

    def of(*shape, dtype=np.float32):
        return jax.ShapeDtypeStruct((count, *shape), dtype)

    return CropBatch(
        image=of(*size, 3, dtype=np.uint8),
        color=of(3),
        center=of(2),
        center_rest=of(2),
        side=of(),
        rotation=of(),
        flip=of(),
        **{name: of(*records.SHAPES[name]) for name in (*augment.LABELS, *records.PICTURE_CAMERA)},
        source=of(dtype=np.int32),
        seed=of(dtype=np.int32),
    )


def image_batch(batch: CropBatch | ImageBatch) -> ImageBatch:
    """The batch with the labels of its crops: mirrored, turned, and in crop units.

    An `ImageBatch`, of people who were drawn as their crops show them, stays as it is.
    """
    if isinstance(batch, ImageBatch):
        return batch
    pixels = _swap(batch, batch.keypoints2d, skeleton.KEYPOINT_TWINS)
    points = _swap(batch, batch.keypoints3d, skeleton.KEYPOINT_TWINS)
    units, turned = _crop_units(batch, pixels[..., :2]), _in_plane(batch, points[..., :2])
    return ImageBatch(
        image=batch.image,
        color=batch.color,
        keypoints2d=jnp.concatenate([units, pixels[..., 2:]], axis=-1),
        keypoints3d=jnp.concatenate([turned, points[..., 2:]], axis=-1),
        global_orient=_orient(batch),
        body_pose=_mirror(batch, _swap(batch, batch.body_pose, _POSE_TWINS)),
        betas=batch.betas,  # directions of shape are symmetric
        gender=batch.gender,
        has_pose=batch.has_pose,
        has_betas=batch.has_betas,
        source=batch.source,
        camera=_place(batch),
        camera_source=batch.camera_source,
        transl=batch.transl,
        seed=batch.seed,
    )


def labels_of(columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The labels of a single crop, fields of `ImageBatch`; `columns` as of `augment_crop`."""
    row = {name: np.asarray(value)[None] for name, value in columns.items()}
    batch = _image_batch(crop_batch(row, np.zeros(1, np.int32)))
    return {name: np.array(x[0]) for name, x in vars(batch).items() if x is not None}


_image_batch = jax.jit(image_batch)


def _crop_units(batch: CropBatch, points: Float[Array, 'B N 2']) -> Float[jax.Array, 'B N 2']:
    """Full-image pixels in crop units; exact where thousands of pixels differ by a few."""
    off = (points - batch.center[:, None]) - batch.center_rest[:, None]
    return _in_plane(batch, off) / batch.side[:, None, None]


def _in_plane(batch: CropBatch, points: Float[Array, 'B N 2']) -> Float[jax.Array, 'B N 2']:
    """Mirrors, then turns counter-clockwise as seen (y points down): `crops.in_plane`."""
    cos, sin = jnp.cos(batch.rotation)[:, None], jnp.sin(batch.rotation)[:, None]
    x, y = points[..., 0], points[..., 1]
    x = jnp.where(batch.flip[:, None] > 0, -x, x)
    return jnp.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)


def _swap(batch: CropBatch, labels: Float[Array, 'B N d'], twins: np.ndarray) -> jax.Array:
    """Left for right where a crop is mirrored."""
    return jnp.where(batch.flip[:, None, None] > 0, labels[:, twins], labels)


def _mirror(batch: CropBatch, axis_angle: Float[Array, 'B N 3']) -> Float[jax.Array, 'B N 3']:
    """The mirror image of a rotation about (x, y, z) turns about (x, -y, -z)."""
    mirrored = axis_angle * np.array([1, -1, -1], np.float32)
    return jnp.where(batch.flip[:, None, None] > 0, mirrored, axis_angle)


def _orient(batch: CropBatch) -> Float[jax.Array, 'B 3']:
    orient = _mirror(batch, batch.global_orient[:, None])[:, 0]
    # Counter-clockwise as seen, with z forward: the other way about z.
    turn = jnp.zeros_like(orient).at[:, 2].set(-batch.rotation)
    matrices = map(rotations.axis_angle_to_matrix, (turn, orient))
    turned = rotations.matrix_to_axis_angle(rotations.compose(*matrices))
    return jnp.where(batch.rotation[:, None] == 0, orient, turned)  # labels stay to the bit


def _place(batch: CropBatch) -> Float[jax.Array, 'B 3']:
    """The crop's place in its picture's camera, as `Prompts.camera`.

    The mirrored picture has a mirrored principal point, and one turned about any point is of a
    camera turned about its axis.
    """
    focal_length, principal_point = _picture_camera(batch)
    point = _crop_units(batch, principal_point[:, None])[:, 0]
    ones = jnp.ones_like(batch.side)[:, None]
    return jnp.concatenate([-point, ones], axis=-1) * (batch.side / focal_length)[:, None]


def _picture_camera(batch: CropBatch) -> tuple[Float[jax.Array, ' B'], Float[jax.Array, 'B 2']]:
    """Focal length and principal point of the pictures, px; guesses for unknown ones."""
    known = batch.picture_focal_length > 0
    guess = camera.guessed_focal_length(batch.image_size)
    focal_length = jnp.where(known, batch.picture_focal_length, guess)
    middle = (batch.image_size - 1) / 2
    return focal_length, jnp.where(known[:, None], batch.picture_principal_point, middle)


def turn_fitted(batch: CropBatch, fitted: Bool[Array, ' B']) -> CropBatch:
    """Labels that were fitted under another camera than the picture's, in the picture's axes.

    That camera looked along the picture's ray through its principal point: at the crop.

    fitted: examples whose labels are fits.
    """
    focal_length, principal_point = _picture_camera(batch)
    ray = (batch.principal_point - principal_point) / focal_length[:, None]
    back = jnp.swapaxes(camera.turn_to(ray), -1, -2)
    orient = rotations.compose(back, rotations.axis_angle_to_matrix(batch.global_orient))
    points, middle = batch.keypoints3d[..., :3], jnp.zeros((len(ray), 1, 3))
    points = camera.turn_points(points, back, middle)
    points = jnp.concatenate([points, batch.keypoints3d[..., 3:]], axis=-1)
    fitted = (fitted & jnp.any(ray != 0, axis=-1))[:, None]  # other labels stay to the bit
    orient = rotations.matrix_to_axis_angle(orient)
    return batch.replace(
        global_orient=jnp.where(fitted, orient, batch.global_orient),
        keypoints3d=jnp.where(fitted[..., None], points, batch.keypoints3d),
    )
