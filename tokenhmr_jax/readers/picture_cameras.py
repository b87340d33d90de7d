"""Cameras of pictures whose labels tell none: from a table of estimates, else from EXIF data."""

import functools
import io
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from tokenhmr_jax.data import pictures, records
from tokenhmr_jax.readers import exif, fov_tables

# Kinds of remarks, counted by person.
REMARKS = {
    'estimated': 'camera of the table',
    'exif': "camera of the file's EXIF data",
    'default': 'camera unknown',
}


def find_camera(sample: str, file: bytes, table: str) -> dict[str, Any]:
    """The camera of a picture as fields of a record; with the source 'default' if nobody knows it.

    The principal point is the picture's middle.

    Args:
      sample: name of the picture, without suffix; the table has it, its last part, or all of it.
      file: encoded picture.
      table: file of fields of view, as in `fov_tables`; '' for none.
    """
    width, height = pictures.picture_size(file, sample)
    degrees = _find(table, sample) if table else None
    if degrees is not None:
        source, focal = 'estimated', width / 2 / math.tan(math.radians(degrees) / 2)
    else:
        focal = _exif_focal(file)
        source = 'default' if focal is None else 'exif'
    middle = (0, 0) if focal is None else (width / 2, height / 2)
    values = focal or 0, middle, records.CAMERA_SOURCES.index(source)
    values = (np.asarray(value, np.float32) for value in values)
    return dict(zip(records.PICTURE_CAMERA, values, strict=True))


def _exif_focal(file: bytes) -> float | None:
    try:
        with Image.open(io.BytesIO(file)) as picture:
            return exif.exif_focal_length(picture).pixels
    except (OSError, SyntaxError):  # Pillow is stricter than OpenCV, which has decoded the file
        return None


def source_of(fields: Mapping[str, Any]) -> str:
    """The name of the source in a record's fields."""
    return records.CAMERA_SOURCES[int(fields['camera_source'])]


@functools.lru_cache(1)
def read_degrees(table: str) -> dict[str, float]:
    """Degrees by pictures' names without suffix. Raises ValueError as `fov_tables.read_table`."""
    found: dict[str, float] = {}
    for name, degrees, place in fov_tables.read_table(table):
        if found.setdefault(_plain(name), degrees) != degrees:
            raise ValueError(f'{table}: {place}: {name} has another field of view before')
    return found


def _find(table: str, sample: str) -> float | None:
    degrees = read_degrees(table)
    return degrees.get(sample, degrees.get(pathlib.PurePosixPath(sample).name))


def _plain(name: str) -> str:
    stem, dot, suffix = name.rpartition('.')
    return stem if dot and suffix.lower() in ('jpg', 'jpeg', 'png') else name
