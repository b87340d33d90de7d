"""Tables of fields of view, one number per picture, such as estimators of cameras give.

FILE.csv has the columns image and fov, FILE.json is {"image": fov}. `fov` is in degrees across the
picture's width.
"""

import csv
import io
import math
import pathlib
from collections.abc import Iterable

from tokenhmr_jax.readers import text_files

SUFFIXES = '.csv', '.json'
_EXPECTED = 'expected the columns image and fov, or {"image": fov}; fov in degrees, from 0 to 180'


def read_table(path: str) -> list[tuple[str, float, str]]:
    """Names of images, their degrees, and their places in the file, for errors.

    Raises ValueError for wrong content, naming its place.
    """
    reader = _read_json if pathlib.PurePath(path).suffix.lower() == '.json' else _read_csv
    rows = reader(pathlib.Path(path))
    return [(name, _degrees(value, f'{path}: {place}'), place) for name, value, place in rows]


def _degrees(value: object, place: str) -> float:
    try:
        number = float(str(value).replace(',', '.'))
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not 0 < number < 180:
        raise ValueError(f'{place}: fov {value!r}: {_EXPECTED}')
    return number


def _read_json(path: pathlib.Path) -> Iterable[tuple[str, object, str]]:
    content = text_files.read_json(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f'{path}: holds {type(content).__name__}: {_EXPECTED}')
    return [(name, value, f'{name!r}') for name, value in content.items()]


def _read_csv(path: pathlib.Path) -> Iterable[tuple[str, object, str]]:
    """Names, values and places. The separator is the header's."""
    text = text_files.read_text(path)
    first = next((line for line in text.splitlines() if line.strip()), '')
    separator = next((each for each in ';\t,' if each in first), ',')
    lines = csv.reader(io.StringIO(text, newline=''), delimiter=separator, skipinitialspace=True)
    rows = [(lines.line_num, [cell.strip() for cell in cells]) for cells in lines if any(cells)]
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    if missing := {'image', 'fov'} - set(header):
        raise ValueError(f'{path}: no column {", ".join(sorted(missing))}: {_EXPECTED}')
    found = []
    for number, cells in rows[1:]:
        if len(cells) < len(header):
            raise ValueError(f'{path}: line {number}: {len(cells)} of {len(header)} cells')
        row = dict(zip(header, cells, strict=False))
        found.append((row['image'], row['fov'], f'line {number}'))
    return found
