"""Random augmentation of a person's crop, on the host: what is drawn, and the picture.

The defaults are those of TokenHMR's supplement. Colours and labels follow on the devices
(`crop_batches`), so nothing here needs JAX.
"""

import bisect
import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.data import crops, records

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


_PLAIN = Augmentation()
# Fields of a record that go to the devices as they are.
LABELS = (
    'keypoints2d', 'keypoints3d', 'global_orient', 'body_pose', 'betas', 'gender', 'has_pose',
    'has_betas', 'transl', 'principal_point', 'image_size',
)  # fmt: skip


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


@functools.cache
def _each(parts: tuple[str, ...]) -> Bool[np.ndarray, 'P 44']:
    """Flags of the keypoints of each name, with or without its convention."""
    names = [(name, name.split(' ', 1)[1]) for name in skeleton.KEYPOINTS]
    return np.array([[part in both for both in names] for part in parts])


@functools.cache
def _members(parts: tuple[str, ...]) -> Bool[np.ndarray, ' 44']:
    """Flags of the keypoints that are named."""
    return _each(parts).any(axis=0)


def _sees_all(seen: Bool[np.ndarray, ' 44'], parts: tuple[str, ...]) -> bool:
    """Whether each of some parts is seen, in whatever convention."""
    return bool((_each(parts) & seen).any(axis=1).all())


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
    scale_z, x_z, y_z, turn_z = rng.standard_normal(4).tolist()
    turned, flipped, cropped, *colors = rng.random(6).tolist()
    name = None
    if cropped < settings.extreme_crop:
        needs, side = settings.extreme_crop_needs, max(box_size)
        name = _draw_extreme_crop(rng, needs, keypoints2d, side)
    rotation = math.radians(settings.rotation_degrees * _clip(turn_z, 2))
    low, high = 1 - settings.color, 1 + settings.color
    return Augmentation(
        scale=1 + settings.scale * _clip(scale_z, 1),
        rotation=rotation if turned < settings.rotation else 0.0,
        flip=flipped < settings.flip,
        translation=(settings.translation * _clip(x_z, 1), settings.translation * _clip(y_z, 1)),
        color=tuple(low + (high - low) * each for each in colors),
        extreme_crop=name,
    )


def _clip(value: float, most: float) -> float:
    return max(-most, min(value, most))


def _draw_extreme_crop(rng, needs: str, keypoints2d, side) -> str | None:
    weights = _crops_of_body(keypoints2d) if needs == 'body' else _crops_of_parts(keypoints2d, side)
    if not weights:
        return None
    sums = list(itertools.accumulate(weights.values()))
    name = list(weights)[bisect.bisect(sums, sums[-1] * rng.random())]
    return name if needs == 'part' or _is_shown(name, keypoints2d) else None


def _crops_of_body(keypoints2d) -> dict[str, int]:
    """Weights of the crops of a person seen in whole or from the hips up, by name."""
    seen = keypoints2d[:, 2] > 0
    if _sees_all(seen, _LIMBS):
        return {name: crop.weight for name, crop in EXTREME_CROPS.items()}
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
    seen = keypoints2d[:, 2] > 0
    return {
        name: crop.weight
        for name, crop in EXTREME_CROPS.items()
        if _sees_all(seen, crop.needs)
        and extreme_box(name, keypoints2d)[1].max() >= _LEAST_SIDE * side
    }


def crop_square(
    record: Mapping[str, Any],
    augmentation: Augmentation,
    box_aspect: Sequence[float] | None = None,
) -> tuple[tuple[float, float], float]:
    """Centre (x, y) and side of the square that a record's augmented crop shows, full-image px."""
    center, size = record['box_center'], record['box_size']
    if augmentation.extreme_crop:
        center, size = extreme_box(augmentation.extreme_crop, record['keypoints2d'])
    side = max(crops.grow_box(size, box_aspect))
    (x, y), (right, down) = map(float, center), augmentation.translation
    return (x + side * right, y + side * down), side * augmentation.scale


def augmentation_matrix(
    record: Mapping[str, Any],
    augmentation: Augmentation,
    crop_size: int,
    box_aspect: Sequence[float] | None = None,
) -> Float[np.ndarray, '2 3']:
    """The map from full-image pixels to those of a record's augmented crop."""
    center, side = crop_square(record, augmentation, box_aspect)
    turn, flip = augmentation.rotation, augmentation.flip
    return crops.crop_matrix(center, side, crop_size, rotation=turn, flip=flip)


def augment_crop(
    record: Mapping[str, Any],
    augmentation: Augmentation,
    crop_size: int,
    box_aspect: Sequence[float] | None = None,
    width: int | None = None,
) -> dict[str, Any]:
    """A record's augmented crop: fields of `CropBatch` except `source` and `seed`, and `key`.

    The crop's side is in px; its picture has the middle `width` columns alone, or all. The box
    first grows to the proportion width : height of `box_aspect`. Labels are the record's own.
    Raises ValueError, naming the record, if the picture is corrupt.
    """
    center, side = crop_square(record, augmentation, box_aspect)
    turn, flip = augmentation.rotation, augmentation.flip
    to_crop = crops.crop_matrix(center, side, crop_size, width=width, rotation=turn, flip=flip)
    near = np.array(center, np.float32)
    return {
        'image': crops.crop_record(record, to_crop, crop_size, width),
        'color': np.array(augmentation.color, np.float32),
        'center': near,
        'center_rest': (center - near.astype(np.float64)).astype(np.float32),
        'side': np.float32(side),
        'rotation': np.float32(turn),
        'flip': np.float32(flip),
        **{name: record[name] for name in LABELS},
        **records.picture_camera(record),
        'key': record['key'],
    }


def plain_crop(
    record: Mapping[str, Any],
    *,
    crop_size: int,
    box_aspect: Sequence[float] | None = None,
    measured: Sequence[int] = (),
) -> Mapping[str, Any]:
    """A record's crop without augmentation, as `augment_crop` returns it, for evaluation.

    Records of poses have no picture and stay as they are. Raises ValueError as `augment_crop`, and
    for a record that lacks a stored 3D keypoint among those that are `measured`, by index.
    """
    if len(measured):
        records.check_stored(record, measured)
    if 'image' not in record:
        return record
    return augment_crop(record, _PLAIN, crop_size, box_aspect)


def random_crop(
    record: Mapping[str, Any],
    rng: np.random.Generator,
    *,
    settings: AugmentSettings,
    crop_size: int,
    box_aspect: Sequence[float] | None = None,
    width: int | None = None,
) -> dict[str, Any]:
    """A randomly augmented crop of a record, as `augment_crop` returns it, for training."""
    augmentation = draw_augmentation(rng, settings, record['keypoints2d'], record['box_size'])
    return augment_crop(record, augmentation, crop_size, box_aspect, width)
