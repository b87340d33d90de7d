"""Picture files of any kind as RGB pixels the right way up, and what they tell of their camera."""

import math
import os
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')
_FILM_DIAGONAL = math.hypot(36, 24)  # mm
_MM_PER_UNIT = {2: 25.4, 3: 10.0}  # EXIF's FocalPlaneResolutionUnit: inch, centimetre


class Picture(NamedTuple):
    """image: (H, W, 3) uint8, RGB. focal_length: pixels, as EXIF tells it, or None."""

    image: np.ndarray
    focal_length: float | None


def read_picture(path: str | os.PathLike) -> Picture:
    """Read a picture: 8 or 16 bits, grey, palette or colours; turned as EXIF says.

    Transparent pixels are laid over white.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is truncated, or not a picture.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file; expected a picture')
    try:
        with Image.open(path) as file:
            focal_length = _focal_length(file)
            image = _pixels(ImageOps.exif_transpose(file))
    except Exception as error:  # Pillow's plugins each have their own for a broken file
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
    """Pixels: from the equivalent on 35 mm film, by the diagonals, or the sensor's resolution."""
    tags = picture.getexif().get_ifd(ExifTags.IFD.Exif)
    equivalent = _number(tags.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if equivalent:
        return equivalent * math.hypot(*picture.size) / _FILM_DIAGONAL
    focal = _number(tags.get(ExifTags.Base.FocalLength))
    resolution = _number(tags.get(ExifTags.Base.FocalPlaneXResolution))
    unit = _MM_PER_UNIT.get(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))
    # The resolution is that of the picture as it was taken: of one that was scaled since, wrong.
    taken = _number(tags.get(ExifTags.Base.ExifImageWidth))
    if focal and resolution and unit and taken == picture.size[0]:
        return focal * resolution / unit
    return None


def _number(value) -> float | None:
    """A positive, finite number, or None: cameras write zeros where they do not know."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if number > 0 and math.isfinite(number) else None
