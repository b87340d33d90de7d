"""Persons of a frame: boxes, scores, track ids and 2D keypoints.

A *finder* is a function of a `sources.Frame` that returns its `Persons`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from tokenhmr_jax import cli
from tokenhmr_jax.body import skeleton
from tokenhmr_jax.inference.inputs import digests
from tokenhmr_jax.inference.inputs.sources import Frame, Images, Video

# Below it a detector guesses: the point counts as absent.
LEAST_CONFIDENCE = 0.3
# Of a box to its tightest box of points: joints lie inside the body's outline.
_BOX_MARGIN = 1.2
# Of the shorter side of such a box to its longer side, and of any side, pixels: points in a line
# have a box too.
_LEAST_ASPECT, _LEAST_SIDE = 0.25, 8.0
# Persons whose box or points all lie up to here are not in pixels.
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
    Raises ValueError for a person with neither a box nor keypoints, for arrays of different
    lengths or of something else than numbers, or track ids that are no whole ones.
    """
    shape = (-1, len(skeleton.KEYPOINTS), 3)
    if keypoints2d is not None:
        keypoints2d = known_points(np.array(keypoints2d, np.float32).reshape(shape))
    if boxes is None:
        boxes = [] if keypoints2d is None else [box_of_points(points) for points in keypoints2d]
    boxes = _numbers('boxes', boxes).astype(np.float32).reshape(-1, 4)
    count = len(boxes)
    scores = np.ones(count) if scores is None else scores
    track_ids = np.full(count, -1) if track_ids is None else track_ids
    found = Persons(
        boxes,
        _numbers('scores', scores).astype(np.float32),
        _whole_numbers('track ids', track_ids),
        np.zeros((count, *shape[1:]), np.float32) if keypoints2d is None else keypoints2d,
    )
    if {len(field) for field in found} != {count}:
        counts = ', '.join(f'{len(v)} {name}' for name, v in found._asdict().items())
        raise ValueError(f'{counts}: expected as many of each')
    return found


def _numbers(what: str, values: ArrayLike) -> Float[np.ndarray, '...']:
    """Values as an array. Raises ValueError for those of another type."""
    values = np.asarray(values)
    try:
        return values.astype(float, casting='same_kind' if values.size else 'unsafe')
    except TypeError:
        raise ValueError(f'{what} {_few(values)}: expected numbers') from None


def _whole_numbers(what: str, values: ArrayLike) -> Int[np.ndarray, '...']:
    """Likewise of whole numbers."""
    numbers = _numbers(what, values)
    with np.errstate(invalid='ignore'):
        whole = numbers.astype(np.int32)
    if (whole != numbers).any():
        raise ValueError(f'{what} {_few(numbers[whole != numbers])}: expected whole numbers')
    return whole


def _few(values: np.ndarray) -> str:
    return ', '.join(map(str, values.flat[:4]))


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


class PersonFile(NamedTuple):
    """The persons of a file, by the names that it gives their frames.

    places: of the persons in the file, such as 'line 3', by the same names.
    left_out: numbers of other things in the file, by what they are.
    """

    path: str
    persons: dict[str, Persons]
    places: dict[str, list[str]]
    left_out: dict[str, int]


class Listed:
    """The persons of a file, by the frames of a source.

    count: of the persons in the file; `nowhere` of them have names of no frame.

    Raises ValueError for a name of several frames, or two names of one frame; a call raises it for
    a person beside the picture.
    """

    def __init__(self, file: PersonFile, source: Images | Video):
        self._file, self.nowhere = file, 0
        self._names: dict[str, str] = {}
        self.count = sum(len(found.boxes) for found in file.persons.values())
        for name, found in file.persons.items():
            frames = frames_called(file.path, name, source)
            if not frames:
                self.nowhere += len(found.boxes)
            elif frames[0] in self._names:
                raise ValueError(f'{file.path}: {name} has another name in it: expected one')
            else:
                self._names[frames[0]] = name

    def __call__(self, frame: Frame) -> Persons:
        if frame.name not in self._names:
            return make_persons()
        assert frame.image is not None
        name, (height, width) = self._names[frame.name], frame.image.shape[:2]
        found, size = self._file.persons[name], np.array([width, height])
        beside = (found.boxes[:, 2:] <= 0) | (found.boxes[:, :2] >= size)
        seen = found.keypoints2d[..., 2] > 0
        inside = (found.keypoints2d[..., :2] >= 0) & (found.keypoints2d[..., :2] <= size)
        lost = seen.any(axis=1) & ~(seen & inside.all(axis=-1)).any(axis=1)
        for what, wrong in (('keypoints in', lost), ('box', beside.any(axis=1))):
            if wrong.any():
                row = int(np.argmax(wrong))
                raise ValueError(
                    f'{self._file.path}: {self._file.places[name][row]}: the {what} '
                    f'{_shown(found.boxes[row])} (left, top, right, bottom) lies beside '
                    f'{frame.name}, which is {width} x {height} pixels: are they of another '
                    'picture, or of one of another size?'
                )
        return found

    def describe(self) -> str:
        """One line on the file: the number of its persons, and of all that is not predicted."""
        parts = [f'persons: {self.count} of {self._file.path}']
        if not self.count:
            parts = [f'persons: none in {self._file.path}']
        for other, count in self._file.left_out.items():
            parts.append(f'{count} of {other} left out')
        if self.nowhere:
            parts.append(f'of no picture or frame: {self.nowhere}')
        return '; '.join(parts)

    @property
    def tracked(self) -> bool:
        """Whether the file gives track ids."""
        return any((found.track_ids >= 0).any() for found in self._file.persons.values())

    def digest(self, name: str) -> str:
        """The digest of the persons of a frame."""
        given = self._file.persons.get(self._names.get(name, ''), make_persons())
        return digests.array_digest(given)

    def unused(self, frames: Collection[str]) -> int:
        """The number of persons that belong to none of these frames."""
        left = (name for frame, name in self._names.items() if frame not in frames)
        return self.nowhere + sum(len(self._file.persons[name].boxes) for name in left)


def frames_called(path: str, name: str, source: Images | Video) -> list[str]:
    """The frame of a name, or none; a file without names is of the only picture."""
    if not name:
        if not isinstance(source, Images) or len(source) != 1:
            raise ValueError(
                f'{path}: names no images: expected columns image, left, top, right, bottom for '
                f'{len(source)} pictures or frames'
            )
        return source.names
    # Windows separates folders by the other slash.
    frames = source.called(name) or source.called(name.replace('\\', '/'))
    if len(frames) > 1:
        raise ValueError(
            f'{path}: {name} may be any of {", ".join(frames[:4])}: expected its name with '
            'the suffix, or the folder before it'
        )
    return frames


def by_name(
    path: str, names: Sequence[str], found: Persons, places: Sequence[str] | None = None
) -> PersonFile:
    """The persons of a file, by the names it gives their frames, one name per person.

    `places` are those of the persons in the file, by default 'row 0' and so on. Raises ValueError
    for boxes without area or in fractions of the picture, for track ids that not all have, or that
    are not each person's own within a frame.
    """
    if len(names) != len(found.boxes):
        count = cli.counted(len(found.boxes), 'person')
        raise ValueError(f'{path}: {cli.counted(len(names), "name")} for {count}')
    places = [f'row {i}' for i in range(len(names))] if places is None else places
    _check_boxes(found, [f'{path}: {place}' for place in places])
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    grouped = {name: Persons(*(field[i] for field in found)) for name, i in rows.items()}
    _check_ids(grouped, path)
    kept = {name: [places[i] for i in rows[name]] for name in rows}
    return PersonFile(path, grouped, kept, {})


def _check_boxes(found: Persons, places: Sequence[str]) -> None:
    """Raises ValueError for boxes and keypoints that are no pixels of a picture."""
    boxes = found.boxes
    _check_each(np.isfinite(boxes).all(axis=1), boxes, places, 'finite numbers')
    for what, values in (('box', boxes), ('keypoints', found.keypoints2d[..., :2])):
        flat = np.abs(values.reshape(len(values), values[:1].size))
        fractions = flat.any(axis=1) & (flat <= _LARGEST_FRACTION).all(axis=1)
        if fractions.any():
            row = int(np.argmax(fractions))
            shown = values[row].reshape(-1, values.shape[-1])
            raise ValueError(
                f'{places[row]}: {what} {_shown(shown[shown.any(axis=1)][0])}: fractions of the '
                'picture: expected pixels'
            )
    ordered = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    expected = 'left < right and top < bottom; or are these left, top, width, height?'
    _check_each(np.asarray(ordered), boxes, places, expected)


def _check_each(good: np.ndarray, boxes: np.ndarray, places: Sequence[str], expected: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f'{places[row]}: box {_shown(boxes[row])}: expected {expected}')


def _shown(numbers: np.ndarray) -> str:
    return f'[{", ".join(f"{number:g}" for number in numbers)}]'


def _check_ids(grouped: dict[str, Persons], path: str) -> None:
    """Raises ValueError unless no box has a track id, or all, each its own within a frame."""
    some = any((found.track_ids >= 0).any() for found in grouped.values())
    for name, found in grouped.items():
        ids = found.track_ids
        if some and (ids < 0).any():
            raise ValueError(f'{path}: a box of {name} has no track id: expected all to have one')
        if some and len(set(ids.tolist())) < len(ids):
            raise ValueError(f'{path}: track ids {ids.tolist()} of {name}: expected each once')
