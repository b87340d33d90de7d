"""Geometry of BlazePose: anchors, decoded detections, square regions and their landmarks.

Numbers are of MediaPipe's published models (Bazarevsky et al., 2020). A *region* is a square that
may be turned: its centre, its side and the angle of its upward axis, clockwise from the image's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

DETECTOR_SIDE, LANDMARK_SIDE = 224, 256
_STRIDES = (8, 16, 32, 32, 32)
_ANCHORS_OF_CELL = 2
_REGION_MARGIN = 1.25
# Landmarks 0 to 32 are the body's, 33 and 34 the middle of the hips and a point on the circle
# around the body.
NUM_LANDMARKS, _CENTRE, _ON_CIRCLE = 33, 33, 34
_OVERLAP = 0.3
# Of the landmarks' heatmaps: cells on each side of a landmark that count, and the least peak.
_HEATMAP_REACH, _LEAST_PEAK = 3, 0.5


class Detections(NamedTuple):
    """Detections in one picture, pixels.

    boxes: left, top, right, bottom of the head.
    centre, on_circle: the middle of the hips, and the point above the head on the circle around
      the body.
    """

    boxes: Float[np.ndarray, 'N 4']
    scores: Float[np.ndarray, ' N']
    centre: Float[np.ndarray, 'N 2']
    on_circle: Float[np.ndarray, 'N 2']

    def take(self, rows) -> 'Detections':
        """Some of them."""
        return Detections(*(field[rows] for field in self))


class Region(NamedTuple):
    """A turned square, pixels and radians."""

    centre: Float[np.ndarray, '2']
    side: float
    angle: float

    def grown(self, factor: float) -> 'Region':
        """The same of another size."""
        return self._replace(side=factor * self.side)


def anchors() -> Float[np.ndarray, 'A 2']:
    """Centres of the detector's anchors, fractions of its picture."""
    centres = []
    for stride in _STRIDES:
        count = DETECTOR_SIDE // stride
        y, x = np.divmod(np.arange(count * count), count)
        cells = (np.stack([x, y], axis=1) + 0.5) / count
        centres.append(np.repeat(cells, _ANCHORS_OF_CELL, axis=0))
    return np.concatenate(centres).astype(np.float32)


def decode(
    raw: Float[np.ndarray, 'A 12'], logits: Float[np.ndarray, ' A'], least_score: float
) -> Detections:
    """The detector's output as detections, in fractions of its picture."""
    scores = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    kept = scores >= least_score
    origin, values = anchors()[kept], raw[kept] / DETECTOR_SIDE
    centre, half = origin + values[:, :2], values[:, 2:4] / 2
    return Detections(
        np.concatenate([centre - half, centre + half], axis=1),
        scores[kept],
        origin + values[:, 4:6],
        origin + values[:, 6:8],
    )


def merge_overlapping(found: Detections) -> Detections:
    """Non-maximum suppression: each group of overlapping boxes becomes its mean by scores."""
    left, merged = np.argsort(-found.scores), []
    while len(left):
        overlap = box_overlap(found.boxes[left[0]], found.boxes[left])
        group = left[overlap > _OVERLAP]
        group = group if len(group) else left[:1]
        weights = found.scores[group] / found.scores[group].sum()
        mean = [weights @ field[group] for field in (found.boxes, found.centre, found.on_circle)]
        merged.append((mean[0], found.scores[left[0]], *mean[1:]))
        left = left[~np.isin(left, group)]
    if not merged:
        return found.take(slice(0, 0))
    return Detections(*(np.array(field, np.float32) for field in zip(*merged, strict=True)))


def box_overlap(
    box: Float[np.ndarray, '4'], boxes: Float[np.ndarray, 'N 4']
) -> Float[np.ndarray, ' N']:
    """Intersection over union of one box with others."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return shared / np.maximum(areas - shared, 1e-9)


def region(centre: Float[np.ndarray, '2'], on_circle: Float[np.ndarray, '2']) -> Region:
    """The square around a body's circle, turned so that the body is upright in it."""
    right, down = on_circle - centre
    side = 2 * _REGION_MARGIN * float(np.hypot(right, down))
    return Region(centre, side, float(np.arctan2(right, -down)))


def region_overlap(where: Region, other: Region) -> float:
    """Agreement of two regions: 1, down to 0 for other places, sizes or directions."""
    radius = (where.side + other.side) / 4
    distance = np.hypot(*(where.centre - other.centre)) / radius
    turn = 1 - np.cos(where.angle - other.angle)
    size = abs(np.log(where.side / other.side))
    return float(np.exp(-((distance / 0.5) ** 2) - (size / 0.4) ** 2 - turn / 0.3))


def region_of_landmarks(landmarks: Float[np.ndarray, '39 2']) -> Region:
    """The square around the body that the landmarks tell, in their pixels."""
    return region(landmarks[_CENTRE], landmarks[_ON_CIRCLE])


def refined(
    points: Float[np.ndarray, 'K 2'], heatmaps: Float[np.ndarray, 'S S K']
) -> Float[np.ndarray, 'K 2']:
    """Landmarks, pixels of their crop, moved to the mean of their heatmaps (logits) around them.

    A landmark without a clear peak near it stays.
    """
    cells = heatmaps.shape[0]
    scale, points = LANDMARK_SIDE / cells, points.copy()
    for i, (x, y) in enumerate((points // scale).astype(int)):
        if not (0 <= x < cells and 0 <= y < cells):
            continue
        left, top = max(x - _HEATMAP_REACH, 0), max(y - _HEATMAP_REACH, 0)
        near = heatmaps[top : y + _HEATMAP_REACH + 1, left : x + _HEATMAP_REACH + 1, i]
        weights = 1 / (1 + np.exp(-np.clip(near, -50, 50)))
        if weights.max() >= _LEAST_PEAK:
            rows, columns = np.indices(weights.shape)
            total = weights.sum()
            across, down = (weights * columns).sum() / total, (weights * rows).sum() / total
            points[i] = scale * (left + across), scale * (top + down)
    return points


def crop_to_image(where: Region) -> Float[np.ndarray, '2 3']:
    """The affine map from the landmark network's picture to the image, pixel corners at 0."""
    scale = where.side / LANDMARK_SIDE
    cos, sin = scale * np.cos(where.angle), scale * np.sin(where.angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    offset = where.centre - turn @ np.full(2, LANDMARK_SIDE / 2)
    return np.concatenate([turn, offset[:, None]], axis=1)


def similarity(
    points: Float[np.ndarray, 'K 2'], others: Float[np.ndarray, 'N K 2'], size: float
) -> Float[np.ndarray, ' N']:
    """Mean over points of exp(-d^2 / 2 sigma^2), as COCO's OKS; sigma is a tenth of the size."""
    squares = np.sum((others - points) ** 2, axis=-1)
    return np.exp(-squares / (2 * (0.1 * size) ** 2)).mean(axis=-1)


def inside(points: Float[np.ndarray, 'K 2'], width: int, height: int) -> Bool[np.ndarray, ' K']:
    """Which points lie in the picture."""
    return ((points >= 0) & (points <= [width, height])).all(axis=1)
