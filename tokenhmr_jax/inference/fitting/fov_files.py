"""Files of fields of view, one number per picture, such as other estimators of cameras give.

FILE.csv has the columns image and fov, FILE.json is {"image": fov}. `fov` is in degrees across the
upright picture's width. Images are named as in files of boxes.
"""

import csv
import io
import math
import pathlib
from collections.abc import Iterable

from tokenhmr_jax.inference.inputs.sources import Images, Video
from tokenhmr_jax.inference.people import boxes, coco_files
from tokenhmr_jax.inference.people.persons import frames_called

SUFFIXES = '.csv', '.json'
_EXPECTED = 'expected the columns image and fov, or {"image": fov}; fov in degrees, from 0 to 180'


class FovFile:
    """Fields of view, degrees across the width, by the frames of a source.

    nowhere: names in the file of no frame. Raises FileNotFoundError for a missing file, ValueError
    for another kind of file, wrong content, a name of several frames, or two of one frame.
    """

    def __init__(self, path: str, source: Images | Video):
        check_file(path)
        self._path, self._degrees, self.nowhere = path, {}, []
        reader = _read_json if pathlib.PurePath(path).suffix.lower() == '.json' else _read_csv
        for name, value, place in reader(pathlib.Path(path)):
            degrees = _degrees(value, f'{path}: {place}')
            frames = frames_called(path, name, source)
            if not frames:
                self.nowhere.append(name)
            elif frames[0] in self._degrees:
                raise ValueError(f'{path}: {place}: {frames[0]} has a field of view before: '
                                 'expected one')  # fmt: skip
            else:
                self._degrees[frames[0]] = degrees

    def get(self, frame: str) -> float | None:
        """The field of view of a frame; None if the file does not name it."""
        return self._degrees.get(frame)

    def describe(self, count: int) -> str:
        """One line on the file, for `count` frames."""
        line = f'fields of view: {len(self._degrees)} of {count} in {self._path}'
        return f'{line}; of no picture or frame: {len(self.nowhere)}' if self.nowhere else line


def check_file(path: str) -> None:
    """Raises ValueError for another kind of file, FileNotFoundError for a missing one."""
    if pathlib.PurePath(path).suffix.lower() not in SUFFIXES:
        raise ValueError(f'--fov={path}: expected degrees, or a file {", ".join(SUFFIXES)}')
    boxes.check_file(path, 'fov', SUFFIXES)


def _degrees(value: object, place: str) -> float:
    try:
        number = float(str(value).replace(',', '.'))
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not 0 < number < 180:
        raise ValueError(f'{place}: fov {value!r}: {_EXPECTED}')
    return number


def _read_json(path: pathlib.Path) -> Iterable[tuple[str, object, str]]:
    content = coco_files.read_json(path)
    if not isinstance(content, dict) or not content:
        raise ValueError(f'{path}: holds {type(content).__name__}: {_EXPECTED}')
    return [(name, value, f'{name!r}') for name, value in content.items()]


def _read_csv(path: pathlib.Path) -> Iterable[tuple[str, object, str]]:
    """Names, values and places. The separator is the header's."""
    text = coco_files.read_text(path)
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
