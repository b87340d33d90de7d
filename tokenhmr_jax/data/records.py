"""The record of all image datasets: a person, the picture around them, and their labels.

Pixels are named by their indices, x right and y down: (0, 0) is the centre of the top-left pixel.
The picture is, for training, the square that any augmentation can reach, cut from the full image
and shrunk, so that a crop is cheap; for the benchmarks it is the full image's own file, so that a
crop is what the original's evaluation makes of it (`crops.crop_record`). The full-image point f
lies at (f - stored_origin) * stored_scale in it.

    key             text, unique in its dataset
    image           JPEG, RGB, square; black outside the full image; by `jpeg.encode_jpeg`: a crop
                    decodes only its own part. Or the bytes of the full image's file, JPEG or PNG:
                    then stored_origin is 0, stored_scale is 1
    stored_origin   (2,) full-image px at the centre of the picture's first pixel
    stored_scale    () px of the picture per full-image px, at most 1
    image_size      (2,) width and height of the full image, px
    focal_length    () full-image px, of the labels' camera: the picture's, or the one that fits
                    assumed, then with the box's centre as principal point
    principal_point (2,) full-image px, of the same
    picture_focal_length    () full-image px, of the picture's camera; 0 if unknown
    picture_principal_point (2,) full-image px, of the same
    camera_source   () where these come from, a position in `CAMERA_SOURCES`
    box_center      (2,) centre of the person's box, full-image px
    box_size        (2,) width and height, full-image px
    keypoints2d     (44, 3) full-image px, confidence
    keypoints3d     (44, 4) metres, axes of the camera (x right, y down, z forward), confidence
    global_orient   (3,) axis-angle, from the body's frame (y up) into the camera's
    body_pose       (23, 3) axis-angle
    betas           (10,)
    transl          (3,) metres, in the camera; zeros if unknown
    gender          () SMPL model of the labels: 0 neutral, 1 male, 2 female
    has_pose        () 1 if global_orient and body_pose are reliable, else 0
    has_betas       () the same for betas

Missing labels are zeros, with confidence or `has_...` zero. Datasets that were prepared before the
picture's camera had fields are read as `picture_camera` says.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Int, UInt8

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.data import jpeg, pictures
from tokenhmr_jax.data.crops import Pair

SHAPES = {  # of the numeric fields, all float32
    'stored_origin': (2,),
    'stored_scale': (),
    'image_size': (2,),
    'focal_length': (),
    'principal_point': (2,),
    'picture_focal_length': (),
    'picture_principal_point': (2,),
    'camera_source': (),
    'box_center': (2,),
    'box_size': (2,),
    'keypoints2d': (44, 3),
    'keypoints3d': (44, 4),
    'global_orient': (3,),
    'body_pose': (23, 3),
    'betas': (10,),
    'transl': (3,),
    'gender': (),
    'has_pose': (),
    'has_betas': (),
}
# Sources of a picture's camera: a guess of its size alone, labels, the file's EXIF, an estimator.
CAMERA_SOURCES = ('default', 'true', 'exif', 'estimated')
PICTURE_CAMERA = ('picture_focal_length', 'picture_principal_point', 'camera_source')
_POSITIVE = ('stored_scale', 'image_size', 'focal_length', 'box_size')

# Side of the square that the published augmentation can reach, in sides of the box: 1.3 x larger,
# turned by 45 degrees, moved by 0.02 to either side.
REACH = 1.3 * math.sqrt(2) + 2 * 0.02
# Extreme crops zoom in: the box keeps up to this many times the network's resolution.
OVERSAMPLING = 2
# The square is cut before it shrinks. If only a person's head is visible, the square is some 13
# times the image.
_MOST_SPAN = 20


def features() -> Any:
    """TFDS features of an image record, a `FeaturesDict`."""
    import tensorflow_datasets as tfds  # who reads records need not wait for it

    # TFDS' image feature needs TensorFlow to encode an array: the JPEG is kept as plain bytes.
    options = {'dtype': np.float32, 'encoding': tfds.features.Encoding.BYTES}
    arrays = {name: tfds.features.Tensor(shape=shape, **options) for name, shape in SHAPES.items()}
    texts = {'key': tfds.features.Text(), 'image': tfds.features.Text()}
    return tfds.features.FeaturesDict(texts | arrays)


def store_picture(
    image: np.ndarray,
    box_center: Pair,
    box_size: Pair,
    *,
    resolution: int = 256,
    reach: float = REACH,
    quality: int = 90,
) -> dict[str, Any]:
    """Cuts, shrinks and encodes the square around a person that augmentation can reach.

    Args:
      image: the full image, (H, W, 3) uint8, RGB. The box is in its pixels.
      resolution: of the network, px: the box's larger side is kept at up to twice that.
      reach: side of the square, in larger sides of the box.

    Returns the fields `image`, `stored_origin`, `stored_scale`, `image_size`, `box_center` and
    `box_size`. Raises ValueError if the image is not RGB, or the box has no size, lies outside the
    image or is absurdly larger than the image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f'image is {image.dtype} {image.shape}, expected uint8 (H, W, 3)')
    corner, span = _square_around(image.shape[1::-1], box_center, box_size, reach)
    square = _cut_square(image, corner, span)
    scale = min(1.0, OVERSAMPLING * resolution / max(box_size))
    stored = max(round(span * scale), 1)
    if stored < span:
        square = cv2.resize(square, (stored, stored), interpolation=cv2.INTER_AREA)
    scale = stored / span
    fields = {
        # Shrinking merges whole pixels: the first one's centre moves.
        'stored_origin': corner - 0.5 + 0.5 / scale,
        'stored_scale': scale,
        'image_size': image.shape[1::-1],
        'box_center': box_center,
        'box_size': box_size,
    }
    fields = {name: np.asarray(value, np.float32) for name, value in fields.items()}
    return {'image': jpeg.encode_jpeg(square, quality)} | fields


def keep_file(file: bytes, box_center: Pair, box_size: Pair) -> dict[str, Any]:
    """The fields of `store_picture` for an image file, JPEG or PNG, that stays as it is.

    Raises ValueError if it is no such file, or for the box, as `store_picture`.
    """
    size = pictures.picture_size(file, 'image')
    _square_around(size, box_center, box_size, REACH)
    fields = {
        'stored_origin': np.zeros(2),
        'stored_scale': 1,
        'image_size': size,
        'box_center': box_center,
        'box_size': box_size,
    }
    return {'image': file} | {name: np.asarray(value, np.float32) for name, value in fields.items()}


def assemble(
    image: np.ndarray,
    key: str,
    box_center: Pair,
    box_size: Pair,
    labels: Mapping[str, Any],
    **options,
) -> dict[str, Any]:
    """A whole record: the fields of `store_picture`, to which `options` go, and labels.

    `labels` must hold `focal_length`; other missing labels are zeros, and a missing camera of the
    picture is as `picture_camera` says. Raises as `store_picture` and `check_record`.
    """
    return _completed(key, store_picture(image, box_center, box_size, **options), labels)


def assemble_file(
    file: bytes, key: str, box_center: Pair, box_size: Pair, labels: Mapping[str, Any]
) -> dict[str, Any]:
    """A whole record of an image file that stays as it is; labels and errors as `assemble`."""
    return _completed(key, keep_file(file, box_center, box_size), labels)


def _completed(key, picture, labels) -> dict[str, Any]:
    record = {'key': key} | {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    record |= picture | {name: np.asarray(value, np.float32) for name, value in labels.items()}
    if 'camera_source' not in labels:
        del record['camera_source']
        record |= picture_camera(record)
    check_record(record)
    return record


def picture_camera(record: Mapping[str, Any]) -> dict[str, Any]:
    """Focal length, principal point and source of the picture's camera, as fields of a record.

    A record without these fields has the labels' camera, which is the picture's; or none, where
    labels were fitted in the box's square, with its centre as principal point.
    """
    if 'camera_source' in record:
        return {name: record[name] for name in PICTURE_CAMERA}
    fitted = np.array_equal(record['principal_point'], record['box_center'])
    source = CAMERA_SOURCES.index('default' if fitted else 'true')
    camera = np.zeros(2) if fitted else record['principal_point']
    values = 0 if fitted else record['focal_length'], camera, source
    return {n: np.asarray(v, np.float32) for n, v in zip(PICTURE_CAMERA, values, strict=True)}


def _square_around(
    image_size: Pair, box_center: Pair, box_size: Pair, reach: float
) -> tuple[Int[np.ndarray, ' 2'], int]:
    """First pixel and side of the square around a box; ValueError as `store_picture`."""
    center, size = np.asarray(box_center, np.float64), np.asarray(box_size, np.float64)
    side = size.max()
    if not (np.isfinite(center).all() and np.isfinite(size).all() and size.min() > 0):
        raise ValueError(f'box_center={center}, box_size={size}: not a box')
    span = math.ceil(reach * side) + 1
    if span > _MOST_SPAN * max(image_size):
        raise ValueError(f'box_size={size}: absurd in an image of {image_size} px')
    corner = np.floor(center - reach * side / 2).astype(int)
    if (corner >= image_size).any() or (corner + span <= 0).any():
        box = f'box_center={center}, box_size={size}'
        raise ValueError(f'{box}: outside the image of {image_size} px')
    return corner, span


def _cut_square(
    image: np.ndarray, corner: Int[np.ndarray, ' 2'], span: int
) -> UInt8[np.ndarray, 'S S 3']:
    """The square from `corner`, black outside the image."""
    height, width = image.shape[:2]
    x0, y0 = np.maximum(corner, 0)
    x1, y1 = np.minimum(corner + span, (width, height))
    square = np.zeros((span, span, 3), np.uint8)
    left, top = corner
    square[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return square


def check_record(record: Mapping[str, Any]) -> None:
    """Raises ValueError, naming record and field, unless a record is complete and plausible."""
    key = record.get('key', 'a record without key')
    missing = {'key', 'image', *SHAPES} - set(record)
    unknown = set(record) - {'key', 'image', *SHAPES}
    if missing or unknown:
        raise ValueError(f'{key}: lacks {sorted(missing)}, has the unknown {sorted(unknown)}')
    pictures.picture_size(bytes(record['image']), f'{key}: image')
    for name, shape in SHAPES.items():
        value = np.asarray(record[name])
        if value.shape != shape or value.dtype != np.float32:
            given = f'{value.dtype} {value.shape}'
            raise ValueError(f'{key}: {name} is {given}, expected float32 {shape}')
        if not np.isfinite(value).all():
            raise ValueError(f'{key}: {name} holds values that are not finite')
        if name in _POSITIVE and value.min() <= 0:
            raise ValueError(f'{key}: {name}={value}, expected above 0')
    for name in ('keypoints2d', 'keypoints3d'):
        confidence = record[name][:, -1]
        if confidence.min() < 0 or confidence.max() > 1:
            raise ValueError(f'{key}: confidences of {name} outside 0 to 1')
    sources = tuple(range(len(CAMERA_SOURCES)))
    numbered = {'has_pose': (0, 1), 'has_betas': (0, 1), 'gender': (0, 1, 2)}
    for name, allowed in (numbered | {'camera_source': sources}).items():
        if record[name] not in allowed:
            raise ValueError(f'{key}: {name}={record[name]}, expected one of {allowed}')
    if record['camera_source'] > 0 and record['picture_focal_length'] <= 0:
        focal = record['picture_focal_length']
        raise ValueError(f'{key}: picture_focal_length={focal} of a known camera, expected above 0')


def check_stored(record: Mapping[str, Any], keypoints: Sequence[int]) -> None:
    """Raises ValueError, naming the record, if it lacks some 3D keypoints, given by index."""
    points = record.get('keypoints3d')
    missing = [i for i in keypoints if points is None or not points[i, 3] > 0]
    if missing:
        key = record['key']
        raise ValueError(
            f'{key.decode() if isinstance(key, bytes) else key}: lacks the stored 3D keypoint '
            f"{skeleton.KEYPOINTS[missing[0]]!r}, expected with truth 'stored'; 'body' takes the "
            "SMPL body's"
        )
