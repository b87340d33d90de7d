"""Files of boxes (left, top, right, bottom) of persons, in pixels."""

import pathlib
import zipfile

import numpy as np

from tokenhmr_jax.inference.people import box_tables, coco_files
from tokenhmr_jax.inference.people.persons import PersonFile, by_name, make_persons


def read_boxes(path: str) -> PersonFile:
    """The persons of a file of boxes, by image names as written there.

    .json: COCO results, a list of {image_id, category_id, bbox: [left, top, width, height]}, and
      optionally score and track_id; or COCO's annotations. Other categories than person (1, or as
      the file's categories say) and crowds are left out.
    .csv, .tsv: with or without a header: image, left, top, right, bottom, and optionally score and
      track_id. A table without images is of the only picture.
    .npz: arrays `image` (N,), `boxes` (N, 4), and optionally `scores` and `track_ids` (N,).

    An image is named by its file's name, with or without suffix and folders, or by the number that
    is its file's name (COCO); a frame of a video by its number, from 0. All boxes have track ids,
    or none has. Raises FileNotFoundError for a missing file, ValueError for another kind of file or
    wrong content.
    """
    check_file(path, 'boxes', SUFFIXES)
    place = pathlib.Path(path)
    names, places, left_out, *fields = _READERS[place.suffix.lower()](place)
    try:
        found = make_persons(*fields)
    except (ValueError, TypeError) as error:
        raise ValueError(f'{path}: not boxes as expected: {error}') from error
    return by_name(path, names, found, places)._replace(left_out=left_out)


def check_file(path: str, what: str, suffixes: tuple[str, ...]) -> None:
    """Raises ValueError for another suffix, FileNotFoundError for a missing file."""
    if pathlib.PurePath(path).suffix.lower() not in suffixes:
        raise ValueError(f'--{what}={path}: expected a file {", ".join(suffixes)}')
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file of {what}')


def read_npz(path: pathlib.Path, required: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of a file. Raises ValueError for a broken one, or if one is missing."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path}: not a whole .npz file of numbers and names') from error
    if missing := [name for name in required if name not in arrays]:
        raise ValueError(f'{path}: no array {", ".join(missing)}: it has {", ".join(arrays)}')
    return arrays


def check_shape(path: pathlib.Path, boxes: np.ndarray) -> None:
    """Raises ValueError for an array that holds no boxes."""
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise ValueError(f'{path}: boxes of shape {boxes.shape}: expected (N, 4)')


def names_of(images: np.ndarray) -> list[str]:
    """Names of images, from an array of names or numbers."""
    if images.dtype.kind == 'S':
        images = np.char.decode(images, 'utf-8', 'replace')
    return [str(name) for name in np.ravel(images)]


def _read_coco(path: pathlib.Path) -> tuple:
    people, left_out = coco_files.read_people(path)
    return (
        [row['name'] for row in people],
        [row['place'] for row in people],
        left_out,
        [coco_files.box_of_row(path, row) for row in people],
        [coco_files.number_of_row(path, row, ('score',), 1) for row in people],
        [coco_files.number_of_row(path, row, ('track_id',), -1) for row in people],
    )


def _read_table(path: pathlib.Path) -> tuple:
    rows = box_tables.read_table(path)
    left_out = {'other things than persons': rows.others} if rows.others else {}
    return rows.names, rows.places, left_out, rows.boxes, rows.scores, rows.track_ids


def _read_npz(path: pathlib.Path) -> tuple:
    arrays = read_npz(path, ('image', 'boxes'))
    names, boxes = names_of(arrays['image']), arrays['boxes']
    check_shape(path, boxes)
    places = [f'row {i}' for i in range(len(names))]
    return names, places, {}, boxes, arrays.get('scores'), arrays.get('track_ids')


_READERS = {'.json': _read_coco, '.csv': _read_table, '.tsv': _read_table, '.npz': _read_npz}
SUFFIXES = tuple(_READERS)
