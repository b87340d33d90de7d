"""Random augmentation of a person's crop: the picture and all its labels.

The defaults are those of TokenHMR's supplement. Colour factors are applied on the device: pictures
travel as uint8.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.data import crops
from tokenhmr_jax.types import Array


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """Strengths of the augmentations; z is a clipped normal deviate.

    Raises ValueError for a value outside its range.

    flip, rotation, extreme_crop: probabilities of mirroring, turning, cropping to a part.
    scale: the crop's side is multiplied by 1 + scale * z, |z| <= 1.
    rotation_degrees: angle per z, |z| <= 2.
    translation: shift per z, |z| <= 1, along each axis, in sides of the crop before it is scaled.
    color: each channel is multiplied by a factor from 1 - color to 1 + color.
    """

    flip: float = 0.5
    scale: float = 0.3
    rotation: float = 0.6
    rotation_degrees: float = 30.0
    translation: float = 0.02
    color: float = 0.2
    extreme_crop: float = 0.1

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            most = 90.0 if field.name == 'rotation_degrees' else 1.0
            if not 0 <= value <= most or (field.name == 'scale' and value == 1):
                raise ValueError(f'augment.{field.name}={value}: expected from 0 to {most}')


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """One draw; the defaults change nothing.

    scale: factor of the crop's side: above 1 shows more.
    rotation: of the picture's content, radians, counter-clockwise.
    translation: (x, y) of the crop's centre, in sides of the crop before it is scaled.
    color: factor of each channel, RGB.
    extreme_crop: a name in `EXTREME_CROPS`, or None.
    """

    scale: float = 1.0
    rotation: float = 0.0
    flip: bool = False
    translation: tuple[float, float] = (0.0, 0.0)
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    extreme_crop: str | None = None


@dataclasses.dataclass(frozen=True)
class ExtremeCrop:
    """A crop to a part of the body.

    parts: keypoints to keep, by name without their convention ('OP', 'MPII', ...).
    margin: factor of the box around these keypoints.
    needs: keypoints that must be visible.
    weight: relative frequency.
    """

    parts: tuple[str, ...]
    margin: float
    needs: tuple[str, ...]
    weight: int = 1


def _arm(side):
    return (f'{side}Shoulder', f'{side}Elbow', f'{side}Wrist')


def _leg(side):
    return tuple(f'{side}{p}' for p in ('Hip', 'Knee', 'Ankle', 'BigToe', 'SmallToe', 'Heel'))


_HEAD = ('Nose', 'REye', 'LEye', 'REar', 'LEar', 'Head Top', 'Jaw', 'Head', 'Neck', 'Thorax')
_SHOULDERS = ('RShoulder', 'LShoulder')
_HIPS = ('RHip', 'LHip', 'MidHip', 'Pelvis')
_LEGS = (*_leg('R'), *_leg('L'), 'MidHip', 'Pelvis')
_TORSO = ('Neck', 'Thorax', *_SHOULDERS, 'Spine', *_HIPS)

# A box of keypoints grows by 1.2, and that of a crop by another 1.1, 1.2 or 1.3.
EXTREME_CROPS = {
    'hips': ExtremeCrop((*_HEAD, *_TORSO, *_arm('R'), *_arm('L')), 1.32, ('RKnee', 'LKnee'), 2),
    'shoulders': ExtremeCrop((*_HEAD, *_SHOULDERS), 1.44, ('Neck', *_SHOULDERS)),
    'head': ExtremeCrop(_HEAD, 1.56, ('Neck', *_SHOULDERS)),
    'torso': ExtremeCrop(_TORSO, 1.32, (*_SHOULDERS, 'RHip', 'LHip')),
    'right_arm': ExtremeCrop(_arm('R'), 1.32, _arm('R')),
    'left_arm': ExtremeCrop(_arm('L'), 1.32, _arm('L')),
    'legs': ExtremeCrop(_LEGS, 1.32, ('RKnee', 'LKnee', 'RAnkle', 'LAnkle')),
    'right_leg': ExtremeCrop(_leg('R'), 1.32, ('RHip', 'RKnee', 'RAnkle')),
    'left_leg': ExtremeCrop(_leg('L'), 1.32, ('LHip', 'LKnee', 'LAnkle')),
}
# Smallest side of an extreme crop, in sides of the person's box.
_LEAST_SIDE = 0.1

_PART_OF_KEYPOINT = np.array([name.split(' ', 1)[1] for name in skeleton.KEYPOINTS])


def extreme_box(
    name: str, keypoints2d: Float[np.ndarray, '44 3']
) -> tuple[Float[np.ndarray, ' 2'], Float[np.ndarray, ' 2']] | None:
    """Centre and size, px, of a part's box; None if a keypoint that it needs is not seen."""
    crop, seen = EXTREME_CROPS[name], keypoints2d[:, 2] > 0
    if not set(crop.needs) <= set(_PART_OF_KEYPOINT[seen]):
        return None
    points = keypoints2d[seen & np.isin(_PART_OF_KEYPOINT, crop.parts), :2]
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, crop.margin * (high - low)


def draw_augmentation(
    rng: np.random.Generator,
    settings: AugmentSettings,
    keypoints2d: Float[np.ndarray, '44 3'],
    box_size: crops.Pair,
) -> Augmentation:
    """Draws an augmentation for a person; visible keypoints (px) make extreme crops possible."""
    scale_z, x_z, y_z = np.clip(rng.standard_normal(3), -1, 1)
    turn_z = np.clip(rng.standard_normal(), -2, 2)
    turned, flipped, cropped = rng.random(3) < (
        settings.rotation, settings.flip, settings.extreme_crop
    )  # fmt: skip
    color = rng.uniform(1 - settings.color, 1 + settings.color, 3)
    return Augmentation(
        scale=1 + settings.scale * scale_z,
        rotation=math.radians(settings.rotation_degrees * turn_z) if turned else 0.0,
        flip=bool(flipped),
        translation=(settings.translation * x_z, settings.translation * y_z),
        color=tuple(color),
        extreme_crop=_draw_extreme_crop(rng, keypoints2d, max(box_size)) if cropped else None,
    )


def _draw_extreme_crop(rng, keypoints2d, side) -> str | None:
    boxes = {name: extreme_box(name, keypoints2d) for name in EXTREME_CROPS}
    names = [name for name, box in boxes.items() if box and box[1].max() >= _LEAST_SIDE * side]
    weights = np.array([EXTREME_CROPS[name].weight for name in names])
    return str(rng.choice(names, p=weights / weights.sum())) if names else None


def augmentation_matrix(
    record: Mapping[str, Any],
    augmentation: Augmentation,
    crop_size: int,
    box_aspect: Sequence[float] | None = None,
) -> Float[np.ndarray, '2 3']:
    """The map from full-image pixels to those of a record's augmented crop."""
    center, size = record['box_center'], record['box_size']
    if augmentation.extreme_crop:
        center, size = extreme_box(augmentation.extreme_crop, record['keypoints2d'])
    side = crops.grow_box(size, box_aspect).max()
    return crops.crop_matrix(
        center + side * np.asarray(augmentation.translation),
        side * augmentation.scale,
        crop_size,
        rotation=augmentation.rotation,
        flip=augmentation.flip,
    )


def augment_labels(
    labels: Mapping[str, Any], augmentation: Augmentation
) -> dict[str, Float[np.ndarray, '...']]:
    """Mirrors and turns keypoints in 3D, orientation and pose; keeps betas, drops other labels."""
    keypoints3d = labels['keypoints3d']
    orient, pose = labels['global_orient'], labels['body_pose']
    if augmentation.flip:
        # The mirror image of a rotation about (x, y, z) turns about (x, -y, -z); left and right
        # limbs swap. Shape directions are symmetric: betas stay.
        mirror = np.array([1, -1, -1], np.float32)
        keypoints3d = keypoints3d[skeleton.KEYPOINT_TWINS] * np.array([-1, 1, 1, 1], np.float32)
        orient = orient * mirror
        pose = pose[skeleton.JOINT_TWINS[1:] - 1] * mirror
    if augmentation.rotation:
        # Counter-clockwise as seen, with y down and z forward: the other way about z.
        turn = Rotation.from_rotvec([0, 0, -augmentation.rotation])
        keypoints3d = np.concatenate([turn.apply(keypoints3d[:, :3]), keypoints3d[:, 3:]], axis=1)
        orient = (turn * Rotation.from_rotvec(orient)).as_rotvec()
    changed = {'keypoints3d': keypoints3d, 'global_orient': orient, 'body_pose': pose}
    changed['betas'] = labels['betas']
    return {name: np.asarray(value, np.float32) for name, value in changed.items()}


def augment_crop(
    record: Mapping[str, Any],
    augmentation: Augmentation,
    crop_size: int,
    box_aspect: Sequence[float] | None = None,
) -> dict[str, Any]:
    """A record's augmented crop and labels: fields of `ImageBatch` except `source`, and `key`.

    The crop's side is in px. The box first grows to the proportion width : height of `box_aspect`.
    Raises ValueError, naming the record, if the picture is corrupt.
    """
    to_crop = augmentation_matrix(record, augmentation, crop_size, box_aspect)
    keypoints2d = record['keypoints2d']
    if augmentation.flip:
        keypoints2d = keypoints2d[skeleton.KEYPOINT_TWINS]
    return augment_labels(record, augmentation) | {
        'image': crops.crop_record(record, to_crop, crop_size),
        'keypoints2d': crops.keypoints_in_crop(to_crop, keypoints2d, crop_size),
        'color': np.asarray(augmentation.color, np.float32),
        'camera': _place_in_camera(record, to_crop, crop_size),
        **{name: record[name] for name in ('gender', 'has_pose', 'has_betas', 'key')},
    }


def _place_in_camera(record, to_crop, crop_size: int) -> Float[np.ndarray, ' 3']:
    """The crop's place in the picture's camera, as `Prompts.camera`."""
    length, point = float(record['focal_length']), record['principal_point']
    focal, point = crops.camera_in_crop(to_crop, length, point)
    return (np.array([*(crop_size / 2 - point), crop_size]) / focal).astype(np.float32)


def random_crop(
    record: Mapping[str, Any],
    rng: np.random.Generator,
    *,
    settings: AugmentSettings,
    crop_size: int,
    box_aspect: Sequence[float] | None = None,
) -> dict[str, Any]:
    """A randomly augmented crop of a record, as `augment_crop` returns it, for training."""
    augmentation = draw_augmentation(rng, settings, record['keypoints2d'], record['box_size'])
    return augment_crop(record, augmentation, crop_size, box_aspect)


def jitter(
    image: UInt8[Array, 'B H W 3'], color: Float[Array, 'B 3']
) -> Float[jax.Array, 'B H W 3']:
    """Multiplies the channels of images by factors, on the device; float32 of 0 to 255, clipped."""
    return jnp.minimum(image * color[:, None, None], 255.0)
