"""Square crops of a person: geometry, decoding and warping.

A crop is named by its matrix (2, 3), from full-image pixels to pixels of the crop: every label
that lives in the image goes through the same matrix. Crop units are fractions of the crop's side
from its centre, which is pixel S / 2: the crop spans -0.5 to 0.5.
"""

import math
from collections.abc import Mapping

import cv2
import numpy as np

from tokenhmr_jax.data import jpeg

# A picture that shrinks by more than this is blurred first, as in the original's demo.
BLUR_FROM = 2.2

_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# A record keeps twice the network's resolution, rounded to whole pixels: its plain crop counts.
_SLACK = 1.02


def grow_box(size, aspect: tuple[float, float] | None) -> np.ndarray:
    """The smallest box (2,) around a box's size (2,) whose sides are as `aspect`, width : height.

    Without an aspect the box stays as it is.
    """
    width, height = size
    if aspect is None:
        return np.array([width, height])
    ratio = aspect[0] / aspect[1]
    return np.array([max(width, height * ratio), max(height, width / ratio)])


def crop_matrix(
    center, side: float, crop_size: int, *, rotation: float = 0.0, flip: bool = False
) -> np.ndarray:
    """The map (2, 3) from full-image pixels to those of a crop, in float64.

    Args:
      center: (2,) px, what comes to the crop's centre.
      side: of the square that fills the crop, px.
      crop_size: of the crop, px.
      rotation: radians, of what is seen, counter-clockwise.
      flip: mirror left and right, before turning.
    """
    linear = crop_size / side * in_plane(rotation, flip)
    offset = crop_size / 2 - linear @ np.asarray(center, np.float64)
    return np.concatenate([linear, offset[:, None]], axis=1)


def in_plane(rotation: float, flip: bool) -> np.ndarray:
    """Mirror, then turn counter-clockwise as seen (y points down): (2, 2)."""
    cos, sin = math.cos(rotation), math.sin(rotation)
    mirror = -1.0 if flip else 1.0
    return np.array([[mirror * cos, sin], [-mirror * sin, cos]])


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) through a matrix (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def keypoints_in_crop(matrix: np.ndarray, keypoints2d: np.ndarray, crop_size: int) -> np.ndarray:
    """Keypoints (K, 3), full-image pixels and confidence, in crop units."""
    points = transform(matrix, keypoints2d[:, :2]) / crop_size - 0.5
    return np.concatenate([points, keypoints2d[:, 2:]], axis=1).astype(np.float32)


def camera_in_crop(
    matrix: np.ndarray, focal_length: float, principal_point
) -> tuple[float, np.ndarray]:
    """Focal length and principal point (2,), in pixels of the crop, of the camera that took it.

    It sees the crop when what it looks at is turned and mirrored as the crop is.
    """
    return focal_length * _scale(matrix), transform(matrix, np.asarray(principal_point, np.float64))


def crop_record(record: Mapping, matrix: np.ndarray, crop_size: int) -> np.ndarray:
    """The crop (S, S, 3) uint8, RGB, of a record; what its picture does not hold is black.

    Raises:
      ValueError: if the picture is corrupt, naming the record.
    """
    from_stored = _from_stored(record, matrix)
    shrink = 1 / _scale(from_stored)
    low, high = _reach(from_stored, crop_size)
    try:
        part, corner = jpeg.cut_jpeg(record['image'], low, high)
        picture, reduction = decode_part(part, shrink)
    except ValueError as error:
        raise ValueError(f'{_text(record["key"])}: {error}') from error
    # A pixel of the reduced picture stands for `reduction` of the stored one's, in each direction.
    first = np.asarray(corner) + (reduction - 1) / 2
    from_picture = np.concatenate(
        [from_stored[:, :2] * reduction, transform(from_stored, first)[:, None]], axis=1
    )
    return cv2.cvtColor(warp(picture, from_picture, crop_size), cv2.COLOR_BGR2RGB)


def _from_stored(record: Mapping, matrix: np.ndarray) -> np.ndarray:
    """The map (2, 3) from a record's stored pixels to those of a crop."""
    origin = record['stored_origin'].astype(np.float64)
    linear = matrix[:, :2] / float(record['stored_scale'])
    return np.concatenate([linear, transform(matrix, origin)[:, None]], axis=1)


def _reach(from_stored: np.ndarray, crop_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners (2,) of the stored pixels that a crop is made of."""
    corners = np.array([[0, 0], [0, crop_size], [crop_size, 0], [crop_size, crop_size]])
    places = (corners - from_stored[:, 2]) @ np.linalg.inv(from_stored[:, :2]).T
    # Pixels beside it count where it is reduced, where it is blurred, and in their colours.
    margin = 2 * (1 / _scale(from_stored) + 2)
    return places.min(axis=0) - margin, places.max(axis=0) + margin


def warp(image: np.ndarray, matrix: np.ndarray, crop_size: int) -> np.ndarray:
    """The crop (S, S, C) of an image (H, W, C) by a matrix (2, 3) from its pixels; black outside.

    Where it shrinks by more than 2.2, the image is blurred first, by the original's rule.
    """
    shrink = 1 / _scale(matrix)
    if shrink > BLUR_FROM:
        image = _blur(image, *_reach(matrix, crop_size), (shrink / 2 - 1) / 2)
    return cv2.warpAffine(image, matrix, (crop_size, crop_size), flags=cv2.INTER_LINEAR)


def _blur(image: np.ndarray, low: np.ndarray, high: np.ndarray, sigma: float) -> np.ndarray:
    """An image that is blurred around the pixels from `low` to `high`, (x, y) each.

    A large picture of many persons would take long to blur for each. Elsewhere is anything, at no
    cost: memory that nobody looks at is not even there.
    """
    (left, top), (right, bottom) = np.maximum([low, high], 0).astype(int)
    part = np.s_[top:bottom, left:right]
    blurred = np.empty_like(image)
    if image[part].size:
        blurred[part] = cv2.GaussianBlur(image[part], (0, 0), sigma)
    return blurred


def decode_part(data: np.ndarray, shrink: float = 1.0) -> tuple[np.ndarray, int]:
    """Decode a JPEG, at a half, quarter or eighth of its size where it will shrink by as much.

    Args:
      data: the file's bytes (N,) uint8.
      shrink: how many of its pixels will make one.

    Returns:
      (h, w, 3) uint8, BGR, and the reduction: 1, 2, 4 or 8.

    Raises:
      ValueError: if they cannot be decoded.
    """
    reduction = max(r for r in _REDUCED if r <= max(_SLACK * shrink, 1.0))
    picture = cv2.imdecode(data, _REDUCED[reduction])
    if picture is None:
        raise ValueError(f'the JPEG cannot be decoded ({len(data)} bytes)')
    return picture, reduction


def _scale(matrix: np.ndarray) -> float:
    (a, b), (c, d) = matrix[:, :2].tolist()
    return math.sqrt(abs(a * d - b * c))


def _text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key
