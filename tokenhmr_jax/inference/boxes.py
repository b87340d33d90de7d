"""Files of boxes (left, top, right, bottom) of persons, in pixels."""

import csv
import json
import pathlib
import zipfile
from typing import Any

import numpy as np

from tokenhmr_jax.inference.persons import Persons, by_name, make_persons

_PERSON = 1  # COCO's category
_SIDES = ('left', 'top', 'right', 'bottom')


def read_boxes(path: str) -> dict[str, Persons]:
    """The persons of a file of boxes, by image names as written there.

    .json: COCO results, a list of {image_id, category_id, bbox: [left, top, width, height], score},
      or COCO's annotations; categories other than 1, person, are left out.
    .csv: with a header: image, left, top, right, bottom, and optionally score and track_id.
    .npz: arrays `image` (N,), `boxes` (N, 4), and optionally `scores` and `track_ids` (N,).

    An image is named by its file's name, with or without suffix and folders, or by the number that
    is its file's name (COCO); a frame of a video by its number, from 0. All boxes have track ids,
    or none has. Raises FileNotFoundError for a missing file, ValueError for another kind of file or
    wrong content.
    """
    check_file(path, 'boxes', SUFFIXES)
    place = pathlib.Path(path)
    names, *fields = _READERS[place.suffix](place)
    try:
        found = make_persons(*fields)
    except (ValueError, TypeError) as error:
        raise ValueError(f'{path}: not boxes as expected: {error}') from error
    return by_name(path, names, found)


def check_file(path: str, what: str, suffixes: tuple[str, ...]) -> None:
    """Raises ValueError for another suffix, FileNotFoundError for a missing file."""
    if pathlib.PurePath(path).suffix not in suffixes:
        raise ValueError(f'--{what}={path}: expected a file {", ".join(suffixes)}')
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file of {what}')


def read_json(path: pathlib.Path) -> Any:
    """The content of a JSON file. Raises ValueError for a truncated one."""
    try:
        return json.loads(path.read_text(encoding='utf-8-sig'))
    except ValueError as error:
        raise ValueError(f'{path}: not a whole JSON file ({error})') from error


def read_npz(path: pathlib.Path, required: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of a file. Raises ValueError for a broken one, or if one is missing."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path}: not a whole .npz file of numbers and names') from error
    if missing := [name for name in required if name not in arrays]:
        raise ValueError(f'{path}: no array {", ".join(missing)}: it has {", ".join(arrays)}')
    return arrays


def read_people(path: pathlib.Path) -> list[dict[str, Any]]:
    """COCO's results, or its annotations, of persons: each with the `name` of its image or frame.

    The name is `frame`, else `file_name`, else `image_id`.
    """
    content, files = read_json(path), {}
    if isinstance(content, dict) and 'annotations' in content:
        files = {row['id']: row['file_name'] for row in content.get('images', ())}
        content = content['annotations']
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError(f'{path}: expected a list of persons, as COCO results are')
    people = [row for row in content if row.get('category_id', _PERSON) == _PERSON]
    if content and not people:
        raise ValueError(f'{path}: no person among {len(content)} entries: expected category_id 1')
    for i, row in enumerate(people):
        file = row.get('file_name', files.get(row.get('image_id'), row.get('image_id')))
        row['name'] = str(row.get('frame', file))
        if row['name'] == 'None':
            raise ValueError(f'{path}: person {i} has no image_id, file_name or frame')
    videos = sorted({str(row.get('file_name', '')) for row in people if 'frame' in row})
    if len(videos) > 1:
        raise ValueError(f'{path}: frames of {", ".join(videos[:4])}: expected one video')
    return people


def box_of_row(path: pathlib.Path, number: int, row: dict[str, Any]) -> list[float]:
    """Left, top, right, bottom of a COCO entry."""
    try:
        left, top, width, height = map(float, row['bbox'])
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f'{path}: person {number}, of {row["name"]}, has bbox {row.get("bbox")}: expected '
            'left, top, width, height'
        ) from None
    return [left, top, left + width, top + height]


def _read_coco(path: pathlib.Path) -> tuple:
    people = read_people(path)
    boxes = [box_of_row(path, i, row) for i, row in enumerate(people)]
    return [row['name'] for row in people], boxes, [row.get('score', 1) for row in people], None


def _read_csv(path: pathlib.Path) -> tuple:
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: not a text file of UTF-8') from error
    header = lines[0] if lines else ''
    separator = ';' if ';' in header and ',' not in header else ','
    columns = [column.strip().lower() for column in header.split(separator)]
    if missing := {'image', *_SIDES} - set(columns):
        raise ValueError(
            f'{path}: its first line is {header[:80]!r}, without {", ".join(sorted(missing))}: '
            'expected the header image,left,top,right,bottom, and optionally score and track_id'
        )
    names, boxes, scores, track_ids = [], [], [], []
    for number, row in enumerate(csv.DictReader(lines[1:], columns, delimiter=separator), 2):
        try:
            value = {key: text.strip().replace(',', '.') for key, text in row.items() if text}
            names.append(row['image'].strip())
            boxes.append([float(value[side]) for side in _SIDES])
            scores.append(float(value.get('score', 1)))
            track_ids.append(int(value.get('track_id', -1)))
        except (KeyError, ValueError, AttributeError):
            raise ValueError(
                f'{path}: line {number} is {lines[number - 1][:80]!r}: expected a value for each '
                f'of {separator.join(columns)}'
            ) from None
    return names, boxes, scores, track_ids


def _read_npz(path: pathlib.Path) -> tuple:
    arrays = read_npz(path, ('image', 'boxes'))
    names = [str(name) for name in np.ravel(arrays['image'])]
    return names, arrays['boxes'], arrays.get('scores'), arrays.get('track_ids')


_READERS = {'.json': _read_coco, '.csv': _read_csv, '.npz': _read_npz}
SUFFIXES = tuple(_READERS)
