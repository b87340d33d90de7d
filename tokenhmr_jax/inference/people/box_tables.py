"""Tables of boxes, as spreadsheets, trackers and programs write them."""

import csv
import functools
import io
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from tokenhmr_jax import cli
from tokenhmr_jax.readers.text_files import read_text

# Spellings of columns, in small letters and digits alone, the preferred ones first.
_IMAGES = (
    'frame', 'frameid', 'frameindex', 'framenumber', 'image', 'filename', 'file', 'imagename',
    'imagefile', 'imagepath', 'path', 'imageid', 'img', 'name',
)  # fmt: skip
_SCORES = ('score', 'scores', 'confidence', 'conf', 'probability', 'prob')
_TRACKS = ('trackid', 'track', 'personid')
_COCO_CATEGORIES = 'categoryid'  # 1 is a person; others number classes as they like
_CATEGORIES = (
    'category', 'categoryname', 'class', 'classname', 'label', _COCO_CATEGORIES, 'classid', 'cls',
)  # fmt: skip
_CORNERS = (
    ('left', 'top', 'right', 'bottom'), ('l', 't', 'r', 'b'), ('x1', 'y1', 'x2', 'y2'),
    ('x0', 'y0', 'x1', 'y1'), ('xmin', 'ymin', 'xmax', 'ymax'), ('minx', 'miny', 'maxx', 'maxy'),
    ('xtl', 'ytl', 'xbr', 'ybr'),
)  # fmt: skip
_SIZES = (('width', 'height'), ('w', 'h'))
_STARTS = (('x', 'y'), *(corners[:2] for corners in _CORNERS))
_SIZED = tuple((*start, *size) for start in _STARTS for size in _SIZES)
# Columns of a table without a header, by their number.
_UNNAMED = {
    4: ['left', 'top', 'right', 'bottom'],
    5: ['image', 'left', 'top', 'right', 'bottom'],
    6: ['image', 'left', 'top', 'right', 'bottom', 'score'],
    7: ['image', 'left', 'top', 'right', 'bottom', 'score', 'track_id'],
}
_EXPECTED = 'expected image, left, top, right, bottom, and optionally score and track_id'
_SEPARATORS = (';', '\t', ',', '|', ' ')  # a semicolon first: beside it commas are decimal


class BoxRows(NamedTuple):
    """Rows of a table of boxes.

    names: of the images; empty in a table without them.
    boxes: left, top, right, bottom.
    track_ids: -1 in a table without them.
    places: of the rows in the file, such as 'line 3'.
    others: number of rows of other things than persons.
    """

    names: list[str]
    boxes: list[list[float]]
    scores: list[float]
    track_ids: list[int]
    places: list[str]
    others: int


class _Columns(NamedTuple):
    """Places of a table's columns; None for those that it lacks."""

    separator: str
    box: tuple[int, ...]
    sized: bool  # width and height in place of right and bottom
    name: int | None
    score: int | None
    track_id: int | None
    category: int | None
    person: tuple[str, ...]  # in that column, in small letters


def read_table(path: pathlib.Path) -> BoxRows:
    """Reads a table whose columns are separated by commas, semicolons, tabs, bars or spaces.

    Without a header, 4 columns are left, top, right and bottom; the image comes before them, score
    and track id after. Raises ValueError for other columns, or a row that does not fit them.
    """
    separator, lines = _cells(path)
    header, lines = _header(path, lines)
    columns, rows, others = _columns(path, header, separator), BoxRows([], [], [], [], [], 0), 0
    for number, cells in lines:
        try:
            category = columns.category
            if category is not None and cells[category].lower() not in columns.person:
                others += 1
                continue
            _add(rows, columns, cells, len(header))
        except (IndexError, ValueError):
            raise ValueError(
                f'{path}: line {number} is {separator.join(cells)[:80]!r}: expected a value for '
                f'each of {separator.join(header)}'
            ) from None
        rows.places.append(f'line {number}')
    if others and not rows.places:
        found = ', '.join(sorted({cells[columns.category] for _, cells in lines})[:8])
        raise ValueError(
            f'{path}: no person among {cli.counted(others, "box", "boxes")}: expected '
            f'{columns.person[0]} in the column {header[columns.category]}, found {found}'
        )
    return rows._replace(others=others)


def _cells(path: pathlib.Path) -> tuple[str, list[tuple[int, list[str]]]]:
    """The separator, and lines as their number and cells; empty ones and comments left out."""
    text = read_text(path)
    lines = (line for line in text.splitlines() if line.strip())
    sample = next((line for line in lines if not line.startswith(('#', 'sep='))), '')
    counts = {each: len(next(csv.reader([sample], delimiter=each), ())) for each in _SEPARATORS}
    separator = next((each for each, count in counts.items() if count >= min(_UNNAMED)), ',')
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=separator, skipinitialspace=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise ValueError(f'{path}: line {reader.line_num}: no row of a table ({error})') from error
    return separator, [line for line in lines if any(line[1]) and not _is_comment(line[1])]


def _is_comment(cells: list[str]) -> bool:
    """Whether a line is none of the table: a comment, or Excel's word on the separator.

    The name of a picture may begin with #, too.
    """
    return cells[0].startswith('sep=') or (cells[0].startswith('#') and not _are_numbers(cells))


def _are_numbers(cells: list[str]) -> bool:
    """Whether a line has the four numbers of a box."""
    return sum(bool(re.match(r'[-+]?[.,]?\d', cell)) for cell in cells[-7:]) >= min(_UNNAMED)


def _header(path: pathlib.Path, lines: list) -> tuple[list[str], list]:
    """Names of the columns, and the lines below them."""
    if not lines:
        raise ValueError(f'{path}: an empty file: {_EXPECTED}')
    if not _are_numbers(lines[0][1]):
        return lines[0][1], lines[1:]
    if lines[0][1] == [str(i) for i in range(len(lines[0][1]))]:
        return _header(path, lines[1:])  # as pandas calls columns without names
    number, first = lines[0]
    while not first[-1]:
        first = first[:-1]
    if len(first) not in _UNNAMED:
        raise ValueError(
            f'{path}: line {number} has {len(first)} columns, and no line above says which: '
            f'{_EXPECTED}; or a header with these names'
        )
    if len(first) > 5 and not re.fullmatch(r'0|0?[.,]\d+|1([.,]0*)?', first[5]):
        raise ValueError(
            f'{path}: line {number} has {first[5]} in its 6th column, and no line above says what '
            f'that is: expected a score from 0 to 1; or a header that names the columns'
        )
    return _UNNAMED[len(first)], lines


def _columns(path: pathlib.Path, header: Sequence[str], separator: str) -> _Columns:
    names = [re.sub(r'[^a-z0-9]', '', name.lower()) for name in header]
    names = [re.sub(r'^(bbox|box|bb)(?=.)', '', name) for name in names]

    def place(spellings: Sequence[str]) -> int | None:
        return next((names.index(each) for each in spellings if each in names), None)

    for sides in (*_CORNERS, *_SIZED):
        if set(sides) <= set(names):
            box = tuple(names.index(side) for side in sides)
            known = (_IMAGES, _SCORES, _TRACKS, _CATEGORIES)
            name, score, track_id, category = map(place, known)
            numbered = category is not None and names[category] == _COCO_CATEGORIES
            person = ('1', '1.0', 'person') if numbered else ('person',)
            return _Columns(
                separator, box, sides in _SIZED, name, score, track_id, category, person
            )
    raise ValueError(f'{path}: has the columns {", ".join(header)[:200]}: {_EXPECTED}')


def _add(rows: BoxRows, columns: _Columns, cells: list[str], count: int) -> None:
    """Adds a line to the rows. Raises IndexError, ValueError for one that does not fit."""
    if any(cells[count:]):
        raise ValueError('more values than columns')
    number = functools.partial(_number, thousands=columns.separator == ',')
    left, top, right, bottom = (number(cells[i]) for i in columns.box)
    if columns.sized:
        right, bottom = left + right, top + bottom
    name = '' if columns.name is None else cells[columns.name]
    score = 1.0 if columns.score is None else number(cells[columns.score] or '1')
    track_id = -1.0 if columns.track_id is None else number(cells[columns.track_id] or '-1')
    if not track_id.is_integer() or (columns.name is not None and not name):
        raise ValueError('no whole number, or no name')
    rows.names.append(name)
    rows.boxes.append([left, top, right, bottom])
    rows.scores.append(score)
    rows.track_ids.append(int(track_id))


def _number(text: str, thousands: bool) -> float:
    """A number with a decimal point or comma.

    Raises ValueError for something else, and for 1,024 where the comma may mark thousands.
    """
    if thousands and re.search(r',\d{3}(\D|$)', text):
        raise ValueError(f'{text} may be of thousands')
    return float(text.replace(',', '.'))
