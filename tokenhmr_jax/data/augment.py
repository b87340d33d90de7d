"""Random augmentation of a person's crop: the picture and all its labels.

The defaults are those of TokenHMR's supplement. Colour factors are applied on the device: pictures
travel as uint8.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.data import crops
from tokenhmr_jax.types import Array

_NEEDS = ('body', 'part')


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """Strengths of the augmentations; z is a clipped normal deviate.

    Raises ValueError for a value outside its range.

    flip, rotation, extreme_crop: probabilities of mirroring, turning, cropping to a part.
    extreme_crop_needs: what must be seen of a person for that. 'body', as in the release: all of it
      for a crop to any part; or the head without knees and ankles for the parts above the hips.
      'part': the keypoints that delimit the part itself, so that people seen in part count too.
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
    extreme_crop_needs: str = 'body'

    def __post_init__(self):
        values = dataclasses.asdict(self)
        if (needs := values.pop('extreme_crop_needs')) not in _NEEDS:
            raise ValueError(f'augment.extreme_crop_needs={needs!r}: expected one of {_NEEDS}')
        for name, value in values.items():
            most = 90.0 if name == 'rotation_degrees' else 1.0
            if not 0 <= value <= most or (name == 'scale' and value == 1):
                raise ValueError(f'augment.{name}={value}: expected from 0 to {most}')


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

    parts: keypoints to keep, by name; without its convention ('OP', 'MPII', ...) those of all.
    margin: factor of the box around these keypoints.
    needs: keypoints that delimit the part.
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


_HEAD = ('Nose', 'REye', 'LEye', 'REar', 'LEar', 'Head Top', 'Jaw', 'Head', 'Neck')
_SHOULDERS = ('RShoulder', 'LShoulder')
_HIPS = ('RHip', 'LHip', 'MidHip', 'Pelvis')
_LEGS = (*_leg('R'), *_leg('L'), 'MidHip', 'Pelvis')
_TORSO = ('Neck', 'Thorax', *_SHOULDERS, 'Spine', *_HIPS)

# As in the release: the head comes with one convention's shoulders. A box of keypoints grows by
# 1.2, and that of a crop by another 1.1, 1.2 or 1.3.
EXTREME_CROPS = {
    'hips': ExtremeCrop((*_HEAD, *_TORSO, *_arm('R'), *_arm('L')), 1.32, ('RKnee', 'LKnee'), 2),
    'shoulders': ExtremeCrop((*_HEAD, *_SHOULDERS), 1.44, ('Neck', *_SHOULDERS)),
    'head': ExtremeCrop((*_HEAD, 'OP RShoulder', 'OP LShoulder'), 1.56, ('Neck', *_SHOULDERS)),
    'torso': ExtremeCrop(_TORSO, 1.32, (*_SHOULDERS, 'RHip', 'LHip')),
    'right_arm': ExtremeCrop(_arm('R'), 1.32, _arm('R')),
    'left_arm': ExtremeCrop(_arm('L'), 1.32, _arm('L')),
    'legs': ExtremeCrop(_LEGS, 1.32, ('RKnee', 'LKnee', 'RAnkle', 'LAnkle')),
    'right_leg': ExtremeCrop(_leg('R'), 1.32, ('RHip', 'RKnee', 'RAnkle')),
    'left_leg': ExtremeCrop(_leg('L'), 1.32, ('LHip', 'LKnee', 'LAnkle')),
}
# Crops of a person whose upper body alone is seen, all as frequent.
_UPPER_CROPS = ('shoulders', 'head', 'torso', 'right_arm', 'left_arm')
_KNEES_AND_ANKLES = ('RKnee', 'LKnee', 'RAnkle', 'LAnkle')
_LIMBS = (*_arm('R'), *_arm('L'), *_KNEES_AND_ANKLES)
_UPPER = (*_HEAD, 'LSP RShoulder', 'LSP LShoulder')
# Smallest side of an extreme crop: in px as in the release; and in sides of the person's box, where
# people seen in part are cropped too.
_LEAST_PIXELS, _LEAST_SIDE = 4, 0.1

_PART_OF_KEYPOINT = np.array([name.split(' ', 1)[1] for name in skeleton.KEYPOINTS])


@functools.cache
def _members(parts: tuple[str, ...]) -> Bool[np.ndarray, ' 44']:
    """Flags of the keypoints that are named, with or without their convention."""
    return np.isin(_PART_OF_KEYPOINT, parts) | np.isin(skeleton.KEYPOINTS, parts)


def _sees_all(keypoints2d: Float[np.ndarray, '44 3'], parts: Sequence[str]) -> bool:
    """Whether each of some parts is seen, in whatever convention."""
    return set(parts) <= set(_PART_OF_KEYPOINT[keypoints2d[:, 2] > 0])


def extreme_box(
    name: str, keypoints2d: Float[np.ndarray, '44 3']
) -> tuple[Float[np.ndarray, ' 2'], Float[np.ndarray, ' 2']]:
    """Centre and size, px, of the box around what is seen of a part; something must be."""
    crop = EXTREME_CROPS[name]
    points = keypoints2d[(keypoints2d[:, 2] > 0) & _members(crop.parts), :2]
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
    needs, side = settings.extreme_crop_needs, max(box_size)
    return Augmentation(
        scale=1 + settings.scale * scale_z,
        rotation=math.radians(settings.rotation_degrees * turn_z) if turned else 0.0,
        flip=bool(flipped),
        translation=(settings.translation * x_z, settings.translation * y_z),
        color=tuple(color),
        extreme_crop=_draw_extreme_crop(rng, needs, keypoints2d, side) if cropped else None,
    )


def _draw_extreme_crop(rng, needs: str, keypoints2d, side) -> str | None:
    weights = _crops_of_body(keypoints2d) if needs == 'body' else _crops_of_parts(keypoints2d, side)
    if not weights:
        return None
    shares = np.array(list(weights.values())) / sum(weights.values())
    name = str(rng.choice(list(weights), p=shares))
    return name if needs == 'part' or _is_shown(name, keypoints2d) else None


def _crops_of_body(keypoints2d) -> dict[str, int]:
    """Weights of the crops of a person seen in whole or from the hips up, by name."""
    if _sees_all(keypoints2d, _LIMBS):
        return {name: crop.weight for name, crop in EXTREME_CROPS.items()}
    seen = keypoints2d[:, 2] > 0
    if not seen[_members(_KNEES_AND_ANKLES)].any() and seen[_members(_UPPER)].sum() >= 2:
        return dict.fromkeys(_UPPER_CROPS, 1)
    return {}


def _is_shown(name: str, keypoints2d) -> bool:
    """Whether the keypoints of a part make a crop, as in the release."""
    if keypoints2d[_members(EXTREME_CROPS[name].parts), 2].sum() <= 1:
        return False
    return bool(extreme_box(name, keypoints2d)[1].max() >= _LEAST_PIXELS)


def _crops_of_parts(keypoints2d, side) -> dict[str, int]:
    """Weights of the crops to parts that are seen and not too small, by name."""
    return {
        name: crop.weight
        for name, crop in EXTREME_CROPS.items()
        if _sees_all(keypoints2d, crop.needs)
        and extreme_box(name, keypoints2d)[1].max() >= _LEAST_SIDE * side
    }


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
