"""Persons of a frame: boxes, scores, track ids and 2D keypoints.

A *finder* is a function of a `sources.Frame` that returns its `Persons`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.inference.sources import Frame

# Below it a detector guesses: the point counts as absent.
LEAST_CONFIDENCE = 0.3
# Of a box to its tightest box of points: joints lie inside the body's outline.
_BOX_MARGIN = 1.2
# Of the shorter side of such a box to its longer side, and of any side, pixels: points in a line
# have a box too.
_LEAST_ASPECT, _LEAST_SIDE = 0.25, 8.0


class Persons(NamedTuple):
    """The persons of a frame.

    boxes: left, top, right, bottom, pixels.
    scores: 0 to 1.
    track_ids: -1 for persons who are not tracked.
    keypoints2d: x, y in pixels, confidence 0 to 1; all 0 for absent points.
    """

    boxes: Float[np.ndarray, 'N 4']
    scores: Float[np.ndarray, ' N']
    track_ids: Int[np.ndarray, ' N']
    keypoints2d: Float[np.ndarray, 'N 44 3']


Finder = Callable[[Frame], Persons]


def make_persons(
    boxes: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    track_ids: ArrayLike | None = None,
    keypoints2d: ArrayLike | None = None,
) -> Persons:
    """`Persons` with defaults: boxes of their keypoints, score 1, track id -1, no keypoints.

    Keypoints that are not finite or of less confidence than `LEAST_CONFIDENCE` become absent.
    Raises ValueError for a person with neither a box nor keypoints, or for arrays of different
    lengths.
    """
    shape = (-1, len(skeleton.KEYPOINTS), 3)
    if keypoints2d is not None:
        keypoints2d = known_points(np.array(keypoints2d, np.float32).reshape(shape))
    if boxes is None:
        boxes = [] if keypoints2d is None else [box_of_points(points) for points in keypoints2d]
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    count = len(boxes)
    found = Persons(
        boxes,
        np.asarray(np.ones(count) if scores is None else scores, np.float32),
        np.asarray(np.full(count, -1) if track_ids is None else track_ids, np.int32),
        np.zeros((count, *shape[1:]), np.float32) if keypoints2d is None else keypoints2d,
    )
    if {len(field) for field in found} != {count}:
        counts = ', '.join(f'{len(v)} {name}' for name, v in found._asdict().items())
        raise ValueError(f'{counts}: expected as many of each')
    return found


def known_points(points: Float[np.ndarray, '*N K 3']) -> Float[np.ndarray, '*N K 3']:
    """The same points; absent ones are all 0, and no confidence is above 1."""
    known = np.isfinite(points).all(axis=-1) & (points[..., 2] >= LEAST_CONFIDENCE)
    points = np.where(known[..., None], points, 0).astype(np.float32)
    points[..., 2] = np.minimum(points[..., 2], 1)
    return points


def box_of_points(points: Float[np.ndarray, 'K 3']) -> Float[np.ndarray, '4']:
    """The box around a person's known points, somewhat wider than they are.

    Raises ValueError if no point is known.
    """
    known = points[points[:, 2] >= LEAST_CONFIDENCE, :2]
    if not len(known):
        raise ValueError(
            f'a person without a box has no keypoint of confidence {LEAST_CONFIDENCE} or more'
        )
    low, high = known.min(axis=0), known.max(axis=0)
    size = _BOX_MARGIN * (high - low)
    half = np.maximum(size, max(_LEAST_ASPECT * size.max(), _LEAST_SIDE)) / 2
    return np.concatenate([(low + high) / 2 - half, (low + high) / 2 + half]).astype(np.float32)
