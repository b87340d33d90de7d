"""The focal length of a picture by its EXIF data, if that is of the whole picture.

EXIF tells the focal length of the picture that was taken. Editors keep it when they cut a part out:
then nobody knows how the part was scaled, and the focal length says nothing. The size that EXIF
records gives a cut away, unless it keeps the proportion. A smaller copy of the whole is no trouble.
"""

import math
from typing import NamedTuple

from PIL import ExifTags, Image

_FILM_DIAGONAL = math.hypot(36, 24)  # mm
# FocalPlaneResolutionUnit: inch, centimetre; outside the standard millimetre, micrometre.
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}
_EQUIVALENTS = 3, 10_000  # mm: a fisheye and a telescope; 65535 stands for unknown
_LONGEST = 2.5  # proportion; one lens takes no longer picture, panoramas have many
_PANORAMA = 6  # of CustomRendered, as phones write it


class ExifFocalLength(NamedTuple):
    """A focal length in pixels, or None; and in words what is to know of it, or why it is none."""

    pixels: float | None
    note: str | None = None


def exif_focal_length(picture: Image.Image) -> ExifFocalLength:
    """The focal length of a picture as it is stored.

    By the 35 mm equivalent and the diagonals, else by the focal length in mm and the resolution of
    the sensor. Scaled for a picture that is smaller than the recorded size. None for a part of a
    picture, a panorama, and where EXIF tells none.
    """
    try:
        data = picture.getexif()
        tags = data.get_ifd(ExifTags.IFD.Exif)
        sizes = _recorded_sizes(data, tags, data.get_ifd(ExifTags.IFD.Interop))
    except Exception:  # broken EXIF data of a readable picture; Pillow's errors are of many kinds
        return ExifFocalLength(None)
    length = _focal_length(tags, picture.size)
    if length.pixels is None:
        return length
    if unlike := [size for size in sizes if not _is_scaled(picture.size, size)]:
        taken = ' x '.join(f'{side:.0f}' for side in unlike[0])
        return ExifFocalLength(None, f"EXIF's focal length is of a picture of {taken}")
    if _is_panorama(picture, tags):
        return ExifFocalLength(None, "EXIF's focal length is not of the whole panorama")
    return length if sizes else length._replace(note='it records no size of the picture')


def _focal_length(tags: dict, size: tuple[int, int]) -> ExifFocalLength:
    """The focal length if the picture is the whole one."""
    diagonal = math.hypot(*size)
    equivalent = _number(tags.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if equivalent and _EQUIVALENTS[0] <= equivalent <= _EQUIVALENTS[1]:
        # Cameras that zoom digitally count the zoom in.
        return ExifFocalLength(equivalent * diagonal / _FILM_DIAGONAL)
    focal = _number(tags.get(ExifTags.Base.FocalLength))
    resolution = _number(tags.get(ExifTags.Base.FocalPlaneXResolution))
    unit = _MM_PER_UNIT.get(_number(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2)))
    taken = _size(tags, ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)
    if not (focal and resolution and unit and taken):
        return ExifFocalLength(None)
    zoom = _number(tags.get(ExifTags.Base.DigitalZoomRatio))
    if zoom and zoom != 1:
        return ExifFocalLength(None, f"EXIF's focal length is without a digital zoom of {zoom:g}")
    return ExifFocalLength(focal * resolution / unit * diagonal / math.hypot(*taken))


def _recorded_sizes(data, tags, interop) -> list[tuple[float, float]]:
    """Widths and heights, in all places where EXIF may record them."""
    base, other = ExifTags.Base, ExifTags.Interop
    found = [
        _size(tags, base.ExifImageWidth, base.ExifImageHeight),
        _size(data, base.ImageWidth, base.ImageLength),
        _size(interop, other.RelatedImageWidth, other.RelatedImageHeight),
    ]
    return [size for size in found if size]


def _size(tags, width: int, height: int) -> tuple[float, float] | None:
    found = _number(tags.get(width)), _number(tags.get(height))
    return found if all(found) else None


def _is_scaled(size: tuple[int, int], whole: tuple[float, float]) -> bool:
    """Whether a picture of this size may be all of another, upright or turned.

    Both sides are rounded to pixels. An upright part of a lying picture may have its proportion,
    turned: then one of the sides is still the whole's.
    """
    (width, height), (long, short) = size, whole
    if abs(width * short - height * long) <= long + short:
        return True
    turned = abs(width * long - height * short) <= long + short
    return turned and (width != long and height != short)


def _is_panorama(picture: Image.Image, tags) -> bool:
    """Long ones, and those that say so: phones' by EXIF, spheres by XMP."""
    if max(picture.size) > _LONGEST * min(picture.size):
        return True
    xmp = picture.info.get('xmp', b'')
    sphere = 'GPano:' in xmp if isinstance(xmp, str) else b'GPano:' in xmp
    return sphere or tags.get(ExifTags.Base.CustomRendered) == _PANORAMA


def _number(value) -> float | None:
    """A positive, finite number, or None: cameras write zeros for unknown values."""
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if number > 0 and math.isfinite(number) else None
