"""Persons of COCO's files: results, and annotations."""

import collections
import pathlib
from typing import Any, NamedTuple

from tokenhmr_jax.readers import text_files

_PERSON, _PERSON_ID = 'person', 1  # COCO's category


class People(NamedTuple):
    """Entries of persons.

    rows: each with the `name` of its image or frame, and its `place` in the file, 'entry 3'.
    left_out: entries of other things, by what they are.
    """

    rows: list[dict[str, Any]]
    left_out: dict[str, int]


def read_people(path: pathlib.Path) -> People:
    """COCO's results, or its annotations, of persons.

    An entry's name is `frame`, else `file_name`, else `image_id`. Crowds are no persons. Raises
    ValueError for other content, or if no entry is a person.
    """
    content, files, categories = text_files.read_json(path), {}, {_PERSON_ID: _PERSON}
    if isinstance(content, dict):
        if 'annotations' not in content:
            openpose = "; OpenPose's files are given as their folder" if 'people' in content else ''
            raise ValueError(
                f'{path}: has the keys {", ".join(content)[:200]}: expected a list of persons, as '
                f"COCO results are, or COCO's annotations{openpose}"
            )
        files = _by_id(path, content, 'images', 'file_name')
        categories = _by_id(path, content, 'categories', 'name') or categories
        content = content['annotations']
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError(f'{path}: expected a list of persons, as COCO results are')
    people, left_out = [], collections.Counter()
    for i, row in enumerate(content):
        if other := _other(row, categories):
            left_out[other] += 1
        else:
            people.append(row | {'name': _name(path, i, row, files), 'place': f'entry {i}'})
    if left_out and not people:
        found = ', '.join(f'{count} of {other}' for other, count in left_out.most_common(8))
        known = [f'category_id {key}' for key, name in categories.items() if _is_person(name)]
        expected = known[0] if known else 'a category named person'
        raise ValueError(f'{path}: no person, but {found}: expected {expected}')
    videos = sorted({str(row.get('file_name', '')) for row in people if 'frame' in row})
    if len(videos) > 1:
        raise ValueError(f'{path}: frames of {", ".join(videos[:4])}: expected one video')
    return People(people, dict(left_out))


def _by_id(path: pathlib.Path, content: dict, key: str, value: str) -> dict:
    """The names of images or categories, by their ids."""
    try:
        return {_plain(row['id']): row[value] for row in content.get(key) or ()}
    except (KeyError, TypeError):
        raise ValueError(f'{path}: {key} without id and {value}: expected those of COCO') from None


def _other(row: dict[str, Any], categories: dict) -> str | None:
    """The category of an entry that is no person; None for persons."""
    number = _plain(row.get('category_id'))
    if number is not None and not _is_person(categories.get(number)):
        name = categories.get(number)
        return f'category_id {number}' if name is None else f'{name} (category_id {number})'
    return 'crowds (iscrowd 1)' if row.get('iscrowd') in (1, True) else None


def _is_person(name: Any) -> bool:
    return isinstance(name, str) and name.strip().lower() == _PERSON


def _plain(number: Any) -> Any:
    """An id as a number, which some write as text or with a decimal point, or else as text."""
    if isinstance(number, str) and number.isdecimal():
        return int(number)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number if number is None or isinstance(number, int) else str(number)


def _name(path: pathlib.Path, number: int, row: dict[str, Any], files: dict) -> str:
    image = _plain(row.get('image_id'))
    name = row.get('frame', row.get('file_name', files.get(image, image)))
    if name is None:
        raise ValueError(f'{path}: entry {number} has no image_id, file_name or frame')
    return str(_plain(name) if isinstance(name, float) else name)


def box_of_row(path: pathlib.Path, row: dict[str, Any]) -> list[float]:
    """Left, top, right, bottom of an entry. Raises ValueError for another `bbox`."""
    try:
        left, top, width, height = map(float, row['bbox'])
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f'{path}: {row["place"]}, of {row["name"]}, has bbox {row.get("bbox")}: expected '
            'left, top, width, height'
        ) from None
    return [left, top, left + width, top + height]


def number_of_row(path: pathlib.Path, row: dict[str, Any], keys: tuple[str, ...], default: float):
    """The number under the first key that an entry has. Raises ValueError for something else."""
    value = next((row[key] for key in keys if row.get(key) is not None), default)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f'{path}: {row["place"]}, of {row["name"]}, has {keys[0]} {value}: expected a number'
        ) from None
