"""Picture files as upright RGB pixels, with the focal length of their EXIF data."""

import math
import os
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')
_FILM_DIAGONAL = math.hypot(36, 24)  # mm
_MM_PER_UNIT = {2: 25.4, 3: 10.0}  # EXIF's FocalPlaneResolutionUnit: inch, centimetre


class Picture(NamedTuple):
    """An RGB image, and the focal length of its EXIF data in pixels, or None."""

    image: UInt8[np.ndarray, 'H W 3']
    focal_length: float | None


def read_picture(path: str | os.PathLike) -> Picture:
    """Reads a picture of 8 or 16 bits, in grey, palette or colours, turned upright by EXIF.

    Transparent pixels are laid over white. Raises FileNotFoundError for a missing file, ValueError
    for a truncated file, or one that is not a picture.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file; expected a picture')
    try:
        with Image.open(path) as file:
            focal_length = _focal_length(file)
            image = _pixels(ImageOps.exif_transpose(file))
    except Exception as error:  # each of Pillow's plugins has its own errors
        raise ValueError(f'{path}: not a readable picture ({error})') from error
    return Picture(image, focal_length)


def _pixels(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith('I'):  # 16 bits of grey, which Pillow would clip at 255
        grey = np.asarray(picture).astype(np.float32) / 257
        grey = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.has_transparency_data:
        picture = picture.convert('RGBA')
        picture = Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture)
    return np.array(picture.convert('RGB'))


def _focal_length(picture: Image.Image) -> float | None:
    """Pixels, from the 35 mm equivalent by the diagonals, else from the sensor's resolution."""
    tags = picture.getexif().get_ifd(ExifTags.IFD.Exif)
    equivalent = _number(tags.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if equivalent:
        return equivalent * math.hypot(*picture.size) / _FILM_DIAGONAL
    focal = _number(tags.get(ExifTags.Base.FocalLength))
    resolution = _number(tags.get(ExifTags.Base.FocalPlaneXResolution))
    unit = _MM_PER_UNIT.get(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    # The sensor's resolution is wrong for a picture scaled since it was taken.
    taken = _number(tags.get(ExifTags.Base.ExifImageWidth))
    if focal and resolution and unit and taken == picture.size[0]:
        return focal * resolution / unit
    return None


def _number(value) -> float | None:
    """A positive, finite number, or None: cameras write zeros for unknown values."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if number > 0 and math.isfinite(number) else None
