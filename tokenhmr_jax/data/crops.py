"""Square crops of a person: geometry, decoding and warping.

A crop's matrix maps full-image pixels to pixels of the crop. Picture and labels share it. Crop
units are fractions of the crop's side from its centre, pixel S / 2: the crop spans -0.5 to 0.5.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Real, UInt8

from tokenhmr_jax.data import jpeg, pictures

# (x, y) or (width, height).
Pair = Sequence[float | np.floating] | Real[np.ndarray, ' 2']
Number = float | np.floating

# A picture that shrinks by more than this is blurred first, as in the original's demo.
BLUR_FROM = 2.2
_LEFT_TO_BLUR = 8.0  # of the shrinking of a large picture; the rest is done by averages

# RGB, of the size divided by 1, 2, 4 or 8. OpenCV has no names for the reduced ones in this order.
_REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
# A record keeps twice the network's resolution, rounded to whole pixels. Its plain crop must still
# count as half size.
_SLACK = 1.02


def grow_box(size: Pair, aspect: Sequence[float] | None) -> tuple[float, float]:
    """The size of the smallest box of proportion `aspect`, width : height, around a box."""
    width, height = map(float, size)
    if aspect is None:
        return width, height
    ratio = aspect[0] / aspect[1]
    return max(width, height * ratio), max(height, width / ratio)


def crop_matrix(
    center: Pair,
    side: Number,
    crop_size: int,
    *,
    width: int | None = None,
    rotation: float = 0.0,
    flip: bool = False,
) -> Float[np.ndarray, '2 3']:
    """The map from full-image pixels to those of a crop of `crop_size` px, in float64.

    The crop shows the square of a centre and a side, full-image px, or its middle `width` columns
    alone. Its content is mirrored by `flip`, then turned counter-clockwise by `rotation`, radians.
    """
    (x, y), zoom = map(float, center), crop_size / float(side)
    (a, b), (c, d) = in_plane(rotation, flip)
    a, b, c, d = zoom * a, zoom * b, zoom * c, zoom * d
    u, v = (width or crop_size) / 2, crop_size / 2
    return np.array([[a, b, u - a * x - b * y], [c, d, v - c * x - d * y]])


def in_plane(rotation: float, flip: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """The matrix (2, 2) that mirrors, then turns counter-clockwise as seen (y points down)."""
    cos, sin = math.cos(rotation), math.sin(rotation)
    mirror = -1.0 if flip else 1.0
    return (mirror * cos, sin), (-mirror * sin, cos)


def transform(
    matrix: Float[np.ndarray, '2 3'], points: Real[np.ndarray, '*N 2']
) -> Float[np.ndarray, '*N 2']:
    """Transforms points by an affine map."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def camera_in_crop(
    matrix: Float[np.ndarray, '2 3'], focal_length: Number, principal_point: Pair
) -> tuple[Number, Float[np.ndarray, ' 2']]:
    """Focal length and principal point of a crop's camera, in pixels of the crop.

    The person must be turned and mirrored about the optical axis as the crop is.
    """
    return focal_length * _scale(matrix), transform(matrix, np.asarray(principal_point, np.float64))


def crop_record(
    record: Mapping[str, Any],
    matrix: Float[np.ndarray, '2 3'],
    crop_size: int,
    width: int | None = None,
) -> UInt8[np.ndarray, 'S W 3']:
    """Cuts a crop, RGB, out of a record's picture; black outside the picture.

    It is square, or of another width; `matrix` maps to its pixels.

    Of a whole image file, as records of the benchmarks have it, the crop is the original's:
    bilinear interpolation of the decoded file, without low-pass. Stored squares are shrunk already,
    decoded at reduced size, and blurred as `warp` does: that is faster, and smoother.

    Raises ValueError, naming the record, if the picture is corrupt.
    """
    size = (width or crop_size, crop_size)
    try:
        if _is_file(record):
            image = pictures.decode_picture(record['image'], 'image')
            return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)
        return _crop_stored(record, matrix, size)
    except ValueError as error:
        key = record['key']
        raise ValueError(f'{key.decode() if isinstance(key, bytes) else key}: {error}') from error


def _is_file(record: Mapping) -> bool:
    """Whether a record holds the whole image: the file itself, see `records`."""
    if float(record['stored_scale']) != 1 or np.any(record['stored_origin']):
        return False
    return pictures.picture_size(record['image'], 'image') == tuple(record['image_size'])


def _crop_stored(record, matrix, size) -> UInt8[np.ndarray, 'S W 3']:
    from_stored = _through(matrix, 1 / float(record['stored_scale']), record['stored_origin'])
    shrink = 1 / _scale(from_stored)
    reduction = reduction_of(shrink)
    # Interpolation, colours of half the resolution, and blur draw on pixels beside the crop.
    low, high = _reach(from_stored, size, max(3 * reduction, 2 * shrink))
    part, (left, top) = jpeg.cut_jpeg(record['image'], low, high)
    picture = decode_part(part, reduction)
    # A pixel of the reduced picture stands for `reduction` of the stored one's, in each direction.
    half = (reduction - 1) / 2
    from_picture = _through(from_stored, reduction, (left + half, top + half))
    return _warp(picture, from_picture, size)


def _through(
    matrix: Float[np.ndarray, '2 3'], size: float, first: Pair
) -> Float[np.ndarray, '2 3']:
    """The map `matrix` from other pixels, `size` large, of which the first is centred at `first`.

    Plain numbers: for each crop, arrays of two take longer.
    """
    (a, b, x), (c, d, y) = matrix.tolist()
    u, v = map(float, first)
    return np.array(
        [[a * size, b * size, a * u + b * v + x], [c * size, d * size, c * u + d * v + y]]
    )


def _reach(
    matrix: np.ndarray, size: tuple[int, int], margin: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Lowest and highest pixels (x, y) that a crop shows, by the map to it, with a margin."""
    (a, b, x), (c, d, y) = matrix.tolist()
    area = a * d - b * c
    u, v = (b * y - d * x) / area, (c * x - a * y) / area  # the crop's first corner
    right, down = size[0] / area, size[1] / area
    corners = [
        (u + d * i - b * j, v - c * i + a * j)
        for i, j in ((0, 0), (right, 0), (0, down), (right, down))
    ]
    us, vs = zip(*corners, strict=True)
    return (min(us) - margin, min(vs) - margin), (max(us) + margin, max(vs) + margin)


def warp(
    image: UInt8[np.ndarray, 'H W C'], matrix: Float[np.ndarray, '2 3'], crop_size: int
) -> UInt8[np.ndarray, 'S S C']:
    """Warps an image to a crop by the map between their pixels; black outside the image.

    An image that shrinks by more than 2.2 is blurred first, by the original's rule. One that
    shrinks by more than 16 is made smaller before, with the same result: a wide blur of a large
    picture takes minutes.
    """
    return _warp(image, matrix, (crop_size, crop_size))


def _warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrink = 1 / _scale(matrix)
    if shrink > BLUR_FROM:
        variance = ((shrink / 2 - 1) / 2) ** 2
        if shrink > 2 * _LEFT_TO_BLUR:
            image, matrix, reduction = _reduced(image, matrix, size, shrink / _LEFT_TO_BLUR)
            # Averages over squares are a blur, too.
            variance = (variance - (reduction**2 - 1) / 12) / reduction**2
        image = _blur(image, *_reach(matrix, size, _margin(matrix)), math.sqrt(variance))
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR)


def _reduced(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], reduction: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """The part of an image that a crop shows, smaller; its map to the crop; the true reduction."""
    low, high = np.maximum(_reach(matrix, size, _margin(matrix)), 0)
    left, top = np.minimum(low, np.array(image.shape[1::-1]) - 1).astype(int)
    part = image[top : math.ceil(high[1]) + 1, left : math.ceil(high[0]) + 1]
    width, height = (math.ceil(side / reduction) for side in part.shape[1::-1])
    factor = np.array([part.shape[1] / width, part.shape[0] / height])
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    # A small pixel stands for `factor` large ones, around the middle of them.
    offset = transform(matrix, np.array([left, top]) + (factor - 1) / 2)
    matrix = np.concatenate([matrix[:, :2] * factor, offset[:, None]], axis=1)
    return small, matrix, math.sqrt(factor.prod())


def _blur(image: np.ndarray, low: Pair, high: Pair, sigma: float) -> np.ndarray:
    """Blurs an image between two pixels (x, y); the rest is left undefined, as no crop shows it."""
    (left, top), (right, bottom) = np.maximum([low, high], 0).astype(int)
    part = np.s_[top:bottom, left:right]
    blurred = np.empty_like(image)
    if image[part].size:
        blurred[part] = cv2.GaussianBlur(image[part], (0, 0), sigma)
    return blurred


def reduction_of(shrink: Number) -> int:
    """The part of its size, 1, 2, 4 or 8, at which a picture that shrinks by as much is decoded.

    `shrink` is in pixels of the picture per pixel of the crop.
    """
    return max(r for r in _REDUCED if r <= max(_SLACK * shrink, 1.0))


def decode_part(data: UInt8[np.ndarray, ' N'], reduction: int) -> UInt8[np.ndarray, 'H W 3']:
    """Decodes a JPEG to RGB, at its size divided by `reduction`: 1, 2, 4 or 8.

    Raises ValueError if the bytes cannot be decoded.
    """
    picture = cv2.imdecode(data, _REDUCED[reduction])
    if picture is None:
        raise ValueError(f'the JPEG cannot be decoded ({len(data)} bytes)')
    return picture


def _margin(matrix: np.ndarray) -> float:
    """Pixels beside a crop that its blur draws on, by the map to it."""
    return 2 * (1 / _scale(matrix) + 2)


def _scale(matrix: np.ndarray) -> float:
    """Pixels of the crop per pixel of the picture."""
    (a, b), (c, d) = matrix[:, :2].tolist()
    return math.sqrt(abs(a * d - b * c))
