"""Persons of a frame: boxes, scores, track ids and 2D keypoints.

A *finder* is a function of a `sources.Frame` that returns its `Persons`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.inference.sources import Frame, Images, Video

# Below it a detector guesses: the point counts as absent.
LEAST_CONFIDENCE = 0.3
# Of a box to its tightest box of points: joints lie inside the body's outline.
_BOX_MARGIN = 1.2
# Of the shorter side of such a box to its longer side, and of any side, pixels: points in a line
# have a box too.
_LEAST_ASPECT, _LEAST_SIDE = 0.25, 8.0
# Boxes and points up to here are no pixels.
_LARGEST_FRACTION = 2.0


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


class Listed:
    """The persons of a file, by the frames of a source.

    Raises ValueError for a name of several frames, or two names of one frame; a call raises it for
    a box beside the picture.
    """

    def __init__(self, path: str, by_name: dict[str, Persons], source: Images | Video):
        self._path, self._persons, self._nowhere = path, {}, 0
        self.count = sum(len(found.boxes) for found in by_name.values())
        for name, found in by_name.items():
            frames = source.called(name)
            if len(frames) > 1:
                raise ValueError(
                    f'{path}: {name} may be any of {", ".join(frames[:4])}: expected its name with '
                    'the suffix, or the folder before it'
                )
            if not frames:
                self._nowhere += len(found.boxes)
            elif frames[0] in self._persons:
                raise ValueError(f'{path}: {name} has another name in it: expected one')
            else:
                self._persons[frames[0]] = found

    def __call__(self, frame: Frame) -> Persons:
        found = self._persons.get(frame.name, make_persons())
        height, width = frame.image.shape[:2]
        low, high = found.boxes[:, :2], found.boxes[:, 2:]
        outside = ((high <= 0) | (low >= [width, height])).any(axis=1)
        if outside.any():
            box = found.boxes[np.argmax(outside)].tolist()
            raise ValueError(
                f'{self._path}: box {box} lies beside {frame.name}, which is {width} x {height} '
                'pixels: expected left, top, right, bottom in pixels of the picture'
            )
        return found

    def unused(self, frames: Collection[str]) -> int:
        """The number of persons that belong to none of these frames."""
        left = (found for name, found in self._persons.items() if name not in frames)
        return self._nowhere + sum(len(found.boxes) for found in left)


def by_name(path: str, names: Sequence[str], found: Persons) -> dict[str, Persons]:
    """The persons of a file, by the names it gives their frames, one name per person.

    Raises ValueError for boxes without area or in fractions of the picture, for track ids that not
    all have, or that are not each person's own within a frame.
    """
    if len(names) != len(found.boxes):
        raise ValueError(f'{path}: {len(names)} names for {len(found.boxes)} persons')
    _check_boxes(found, names, path)
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    grouped = {name: Persons(*(field[i] for field in found)) for name, i in rows.items()}
    _check_ids(grouped, path)
    return grouped


def _check_boxes(found: Persons, names: Sequence[str], path: str) -> None:
    boxes = found.boxes
    good = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if not good.all():
        first = int(np.argmin(good))
        raise ValueError(
            f'{path}: box {first}, of {names[first]}, is {boxes[first].tolist()}: expected '
            'finite left, top, right, bottom with left < right and top < bottom'
        )
    points = found.keypoints2d[found.keypoints2d[..., 2] > 0, :2]
    for what, values in (('boxes', boxes), ('keypoints', points)):
        if values.size and np.abs(values).max() <= _LARGEST_FRACTION:
            raise ValueError(f'{path}: {what} are fractions of the picture: expected pixels')


def _check_ids(grouped: dict[str, Persons], path: str) -> None:
    """Raises ValueError unless no box has a track id, or all, each its own within a frame."""
    some = any((found.track_ids >= 0).any() for found in grouped.values())
    for name, found in grouped.items():
        ids = found.track_ids
        if some and (ids < 0).any():
            raise ValueError(f'{path}: a box of {name} has no track id: expected all to have one')
        if some and len(set(ids.tolist())) < len(ids):
            raise ValueError(f'{path}: track ids {ids.tolist()} of {name}: expected each once')
