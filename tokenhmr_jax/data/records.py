"""The one record of every image dataset: a person, the picture around them, and their labels.

Pixels are named by their indices, x right and y down: (0, 0) is the centre of the top-left pixel.
The picture is the square that any augmentation can reach. It is cut from the full image and shrunk,
and knows its place there: full-image point f lies at (f - stored_origin) * stored_scale in it.

    key             text, unique in its dataset
    image           JPEG, RGB, square; black where it leaves the full image; made by `jpeg.encode_jpeg`,
                    so that a crop decodes its own part of it alone
    stored_origin   (2,) full-image px at the centre of the picture's first pixel
    stored_scale    () px of the picture per full-image px, at most 1
    image_size      (2,) width and height of the full image, px
    focal_length    () full-image px
    principal_point (2,) full-image px
    box_center      (2,) of the person's box, full-image px
    box_size        (2,) width and height, full-image px
    keypoints2d     (44, 3) full-image px, confidence
    keypoints3d     (44, 4) metres, axes of the camera (x right, y down, z forward), confidence
    global_orient   (3,) axis-angle, from the body's frame (y up) into the camera's
    body_pose       (23, 3) axis-angle
    betas           (10,)
    transl          (3,) metres, in the camera; zeros where it is not known
    gender          () which SMPL model the labels are of: 0 neutral, 1 male, 2 female
    has_pose        () 1 where global_orient and body_pose are to be trusted, else 0
    has_betas       () the same for betas

Labels that a dataset lacks are zeros, with confidence or `has_...` zero.
"""

import math
from collections.abc import Mapping

import cv2
import numpy as np
import tensorflow_datasets as tfds

from tokenhmr_jax.data import jpeg

SHAPES = {  # of the fields that are numbers, all float32
    'stored_origin': (2,),
    'stored_scale': (),
    'image_size': (2,),
    'focal_length': (),
    'principal_point': (2,),
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
_POSITIVE = ('stored_scale', 'image_size', 'focal_length', 'box_size')

# How far the published augmentation reaches, in sides of the box: 1.3 x larger, turned by 45
# degrees, moved by 0.02 to either side.
REACH = 1.3 * math.sqrt(2) + 2 * 0.02
# Extreme crops zoom in: the box keeps up to this many times the network's resolution.
OVERSAMPLING = 2
# The square is made before it shrinks. Of a person of whom only the head is seen, that of the whole
# body is some 13 times the image.
_MOST_SPAN = 20


def features() -> tfds.features.FeaturesDict:
    """What a builder of an image dataset declares."""
    # TFDS' image feature needs TensorFlow to encode an array: the JPEG is kept as plain bytes.
    arrays = {
        name: tfds.features.Tensor(
            shape=shape, dtype=np.float32, encoding=tfds.features.Encoding.BYTES
        )
        for name, shape in SHAPES.items()
    }
    texts = {'key': tfds.features.Text(), 'image': tfds.features.Text()}
    return tfds.features.FeaturesDict(texts | arrays)


def store_picture(
    image: np.ndarray,
    box_center,
    box_size,
    *,
    resolution: int = 256,
    reach: float = REACH,
    quality: int = 90,
) -> dict:
    """Cut, shrink and encode what augmentations can reach around a person's box.

    Args:
      image: (H, W, 3) uint8, RGB, the full image.
      box_center: (2,) px.
      box_size: (2,) width and height, px.
      resolution: of the network, px: the box's larger side is kept at up to twice that.
      reach: side of the square to keep, in larger sides of the box.
      quality: of the JPEG, up to 100.

    Returns:
      the fields `image`, `stored_origin`, `stored_scale`, `image_size`, `box_center`, `box_size`.

    Raises:
      ValueError: if the image is not RGB, or the box has no size, lies outside the image or is
        absurdly larger than it.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f'image is {image.dtype} {image.shape}, expected uint8 (H, W, 3)')
    center, size = np.asarray(box_center, np.float64), np.asarray(box_size, np.float64)
    side = size.max()
    if not (np.isfinite(center).all() and np.isfinite(size).all() and size.min() > 0):
        raise ValueError(f'box_center={center}, box_size={size}: not a box')
    span = math.ceil(reach * side) + 1
    if span > _MOST_SPAN * max(image.shape[:2]):
        raise ValueError(f'box_size={size}: absurd in an image of {image.shape[:2]} px')
    corner = np.floor(center - reach * side / 2).astype(int)
    square = _cut_square(image, corner, span)
    if square is None:
        raise ValueError(
            f'box_center={center}, box_size={size}: outside the image of {image.shape[:2]} px'
        )
    scale = min(1.0, OVERSAMPLING * resolution / side)
    stored = max(round(span * scale), 1)
    if stored < span:
        square = cv2.resize(square, (stored, stored), interpolation=cv2.INTER_AREA)
    scale = stored / span
    fields = {
        # Shrinking merges whole pixels: the first one's centre moves.
        'stored_origin': corner - 0.5 + 0.5 / scale,
        'stored_scale': scale,
        'image_size': image.shape[1::-1],
        'box_center': center,
        'box_size': size,
    }
    fields = {name: np.asarray(value, np.float32) for name, value in fields.items()}
    return {'image': jpeg.encode_jpeg(square, quality)} | fields


def assemble(image: np.ndarray, key: str, box_center, box_size, labels: Mapping, **options) -> dict:
    """A whole record: `store_picture` of the image, and labels; those not given are zeros.

    Args:
      image, box_center, box_size: as of `store_picture`; `options` go there too.
      key: the record's.
      labels: fields that `store_picture` does not make; `focal_length` at least.

    Raises:
      ValueError: as `store_picture` and `check_record`.
    """
    record = {'key': key} | {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    record |= store_picture(image, box_center, box_size, **options)
    record |= {name: np.asarray(value, np.float32) for name, value in labels.items()}
    check_record(record)
    return record


def _cut_square(image: np.ndarray, corner: np.ndarray, span: int) -> np.ndarray | None:
    """The square from `corner`, black outside the image; None if it misses the image."""
    height, width = image.shape[:2]
    x0, y0 = np.maximum(corner, 0)
    x1, y1 = np.minimum(corner + span, (width, height))
    if x0 >= x1 or y0 >= y1:
        return None
    square = np.zeros((span, span, 3), np.uint8)
    left, top = corner
    square[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return square


def check_record(record: Mapping) -> None:
    """Raise ValueError, naming record and field, unless a builder's record is whole and sane."""
    key = record.get('key', 'a record without key')
    missing = {'key', 'image', *SHAPES} - set(record)
    unknown = set(record) - {'key', 'image', *SHAPES}
    if missing or unknown:
        raise ValueError(f'{key}: lacks {sorted(missing)}, has the unknown {sorted(unknown)}')
    if not bytes(record['image']).startswith(b'\xff\xd8'):
        raise ValueError(f'{key}: image is not a JPEG')
    for name, shape in SHAPES.items():
        value = np.asarray(record[name])
        if value.shape != shape or value.dtype != np.float32:
            raise ValueError(
                f'{key}: {name} is {value.dtype} {value.shape}, expected float32 {shape}'
            )
        if not np.isfinite(value).all():
            raise ValueError(f'{key}: {name} holds values that are not finite')
        if name in _POSITIVE and value.min() <= 0:
            raise ValueError(f'{key}: {name}={value}, expected above 0')
    for name in ('keypoints2d', 'keypoints3d'):
        confidence = record[name][:, -1]
        if confidence.min() < 0 or confidence.max() > 1:
            raise ValueError(f'{key}: confidences of {name} outside 0 to 1')
    for name, allowed in (('has_pose', (0, 1)), ('has_betas', (0, 1)), ('gender', (0, 1, 2))):
        if record[name] not in allowed:
            raise ValueError(f'{key}: {name}={record[name]}, expected one of {allowed}')
