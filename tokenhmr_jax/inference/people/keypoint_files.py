"""Files of 2D keypoints of persons, in pixels, with a confidence of each point."""

import functools
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from tokenhmr_jax import cli
from tokenhmr_jax.body import keypoint_conventions, skeleton
from tokenhmr_jax.inference.people import boxes, coco_files
from tokenhmr_jax.inference.people.persons import (
    LEAST_CONFIDENCE,
    PersonFile,
    box_of_points,
    by_name,
    known_points,
    make_persons,
)
from tokenhmr_jax.readers import listing, text_files

SUFFIXES = ('.json', '.npz')
_OPENPOSE_END = '_keypoints.json'
# Orders of 4 and 6 further points of the feet, by the key that holds them.
_FEET = {
    'feet': ('OP LBigToe', 'OP LHeel', 'OP RBigToe', 'OP RHeel'),
    'foot_kpts': (
        'OP LBigToe', 'OP LSmallToe', 'OP LHeel', 'OP RBigToe', 'OP RSmallToe', 'OP RHeel',
    ),
}  # fmt: skip


def check_keypoints(path: str) -> None:
    """Checks a name for `read_keypoints`.

    Raises FileNotFoundError for a missing file, ValueError for another kind.
    """
    if not pathlib.Path(path).is_dir():
        boxes.check_file(path, 'keypoints', SUFFIXES)
    elif not listing.find_files(path, f'*{_OPENPOSE_END}'):
        raise FileNotFoundError(f'{path}: no files NAME{_OPENPOSE_END}, as OpenPose writes them')


def read_keypoints(path: str) -> PersonFile:
    """The persons of a file of keypoints, by image names as written there.

    .json: COCO results, a list of {file_name or image_id, category_id, keypoints: x, y, confidence
      of each point}, and optionally `bbox`, `score`, `track_id` (or `person`), `frame` of a video,
      `feet` (big toe and heel, left then right) or `foot_kpts` (big toe, small toe, heel).
    .npz: arrays `image` (N,), `keypoints` (N, K, 3), and optionally `boxes`, `scores` and
      `track_ids`.
    A folder of OpenPose: NAME_keypoints.json of pictures, VIDEO_000000000012_keypoints.json of
      frames.

    The number of points tells their convention (`keypoint_conventions`). Frames are named as in
    `read_boxes`. A person without a box gets the box of the points; one without box and points is
    left out. Raises FileNotFoundError for a missing file, ValueError for wrong content.
    """
    check_keypoints(path)
    place = pathlib.Path(path)
    if place.is_dir():
        fields = _read_openpose(place)
    else:
        fields = {'.json': _read_coco, '.npz': _read_npz}[place.suffix.lower()](place)
    names, places, left_out, points, given, scores, track_ids = fields
    points = np.array(points, np.float32).reshape(-1, len(skeleton.KEYPOINTS), 3)
    points = known_points(points)
    kept = [i for i, box in enumerate(given) if box is not None or points[i].any()]
    filled = [box_of_points(points[i]) if given[i] is None else given[i] for i in kept]
    try:
        found = make_persons(
            filled, [scores[i] for i in kept], [track_ids[i] for i in kept], points[kept]
        )
    except ValueError as error:
        raise ValueError(f'{path}: not persons as expected: {error}') from error
    if missing := len(names) - len(kept):
        left_out = left_out | {f'no point of confidence {LEAST_CONFIDENCE} or more': missing}
    names, places = ([each[i] for i in kept] for each in (names, places))
    return by_name(path, names, found, places)._replace(left_out=left_out)


def _read_coco(path: pathlib.Path) -> tuple:
    people, left_out = coco_files.read_people(path)
    points, given = [], []
    for row in people:
        points.append(_points_of_row(f'{path}: {row["place"]}, of {row["name"]}', row))
        given.append(coco_files.box_of_row(path, row) if row.get('bbox') is not None else None)
    names, places = [row['name'] for row in people], [row['place'] for row in people]
    number = functools.partial(coco_files.number_of_row, path)
    scores = [number(row, ('score',), 1) for row in people]
    track_ids = [number(row, ('track_id', 'person'), -1) for row in people]
    return names, places, left_out, points, given, scores, track_ids


def _points_of_row(who: str, row: dict[str, Any]) -> np.ndarray:
    if 'keypoints' not in row:
        raise ValueError(f'{who}, has no keypoints: expected x, y, confidence of each point')
    points = _points_44(who, row['keypoints'])
    for key, names in _FEET.items():
        if key in row:
            rows = [skeleton.KEYPOINTS.index(name) for name in names]
            points[rows] = _triples(who, key, row[key], len(names))
    return points


def _points_44(who: str, numbers: Any) -> Float[np.ndarray, '44 3']:
    points = _triples(who, 'keypoints', numbers)
    try:
        convention = keypoint_conventions.convention_of(len(points))
    except ValueError as error:
        raise ValueError(f'{who}: {error}') from None
    return keypoint_conventions.to_44(points, convention)


def _triples(who: str, key: str, numbers: Any, count: int | None = None) -> np.ndarray:
    """x, y, confidence of each point."""
    expected = 'x, y, confidence of each point' if count is None else f'{3 * count} numbers'
    try:
        points = np.array(numbers, np.float32).reshape(-1, 3)
    except (TypeError, ValueError):
        points = None
    if points is None or count not in (None, len(points)):
        raise ValueError(f'{who}, has {key} {str(numbers)[:60]}: expected {expected}')
    return points


def _read_openpose(folder: pathlib.Path) -> tuple:
    names, places, points = [], [], []
    for path in listing.find_files(folder, f'*{_OPENPOSE_END}'):
        content = text_files.read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get('people'), list):
            raise ValueError(f'{path}: no list of people: expected a file of OpenPose')
        for i, person in enumerate(content['people']):
            who = f'{path}: person {i}'
            if not isinstance(person, dict) or 'pose_keypoints_2d' not in person:
                raise ValueError(f'{who} has no pose_keypoints_2d: expected a file of OpenPose')
            points.append(_points_44(who, person['pose_keypoints_2d']))
            names.append(path.name.removesuffix(_OPENPOSE_END))
            places.append(f'{path.name}, person {i}')
    count = len(names)
    return names, places, {}, points, [None] * count, [1.0] * count, [-1] * count


def _read_npz(path: pathlib.Path) -> tuple:
    arrays = boxes.read_npz(path, ('image', 'keypoints'))
    names, points = boxes.names_of(arrays['image']), arrays['keypoints']
    count = len(names)
    if points.ndim != 3 or points.shape[-1] != 3 or len(points) != count:
        raise ValueError(
            f'{path}: keypoints of shape {points.shape} for {cli.counted(count, "name")}: '
            f'expected ({count}, K, 3)'
        )
    for name in ('boxes', 'scores', 'track_ids'):
        if name in arrays and len(np.atleast_1d(arrays[name])) != count:
            raise ValueError(
                f'{path}: {np.size(arrays[name])} {name} for {cli.counted(count, "name")}'
            )
    if 'boxes' in arrays:
        boxes.check_shape(path, arrays['boxes'])
    points = [_points_44(f'{path}: row {i}', person) for i, person in enumerate(points)]
    given = list(arrays['boxes']) if 'boxes' in arrays else [None] * count
    scores = np.atleast_1d(arrays.get('scores', np.ones(count))).tolist()
    track_ids = np.atleast_1d(arrays.get('track_ids', np.full(count, -1))).tolist()
    places = [f'row {i}' for i in range(count)]
    return names, places, {}, points, given, scores, track_ids
