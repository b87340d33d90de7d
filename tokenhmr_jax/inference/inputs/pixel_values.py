"""8-bit RGB of pictures with any values: of 1 to 32 bits, floating point, CMYK, Lab, transparent.

Files say how values are stored, not what they reach: cameras save 12 bits in files of 16, programs
0 to 1, 0 to 255 or light of any strength in floating point. So white is

- of whole numbers in more than 8 bits, the most that 8, 10, 12, 14 or 16 bits can hold: the fewest
  that hold the picture's largest value. Beyond 16 bits it is the largest value. If some are below
  0, black and white are the extremes;
- of floating point 1, 255, 1023, 4095, 16383 or 65535, likewise, if the largest value is at least
  an eighth of it. The brightest 0.5% do not count: lamps and the sun. Values from -1 to 1 have
  their black at -1. In any other range, black and white are the extremes, but for 0.5% each.

Pictures of 8 bits stay as they are, also dark ones.
"""

import os
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image, ImageCms

_BITS = (8, 10, 12, 14, 16)
_WHITES = (1, *(2**bits - 1 for bits in _BITS))
_OVERSHOOT = 1.05  # of white, in floating point: sharpened pictures go beyond it
_LEAST_SHARE = 1 / 8  # of white, that a picture's largest floating-point value reaches
_EXTREMES = (0.5, 99.5)  # percentiles
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF's orientation
_ORIENTATION, _SAMPLE_FORMAT, _UNSIGNED = 0x0112, 339, 1
_AT_MOST_16 = ('PNG', 'PPM')
_SEVERAL = ('GIF', 'PNG', 'WEBP', 'AVIF', 'HEIF', 'TIFF')  # formats that may hold several pictures


class Pixels(NamedTuple):
    """An upright picture, and what is to know of its values; None for nothing."""

    image: UInt8[np.ndarray, 'H W 3']
    note: str | None


def is_deep(picture: Image.Image | None) -> bool:
    """Whether a picture in colours may have more than 8 bits per value; before it is loaded."""
    if picture is None or picture.format == 'JPEG2000':  # Pillow does not tell
        return True
    for tile in picture.tile:
        if picture.format == 'PPM' and isinstance(tile.args, tuple) and tile.args[-1] > 255:
            return True
        if ';16' in repr(tile.args):
            return True
    return False


def read_pixels(path: str | os.PathLike, picture: Image.Image | None, deep: bool) -> Pixels:
    """Reads a picture that is opened, or that Pillow does not know; `deep` as of `is_deep`.

    Raises the errors of Pillow, and ValueError for what neither can read.
    """
    if picture is None:
        return to_8_bits(_by_opencv(path))
    count = getattr(picture, 'n_frames', 1) if picture.format in _SEVERAL else 1
    deep = _deep_values(path, picture, deep)
    if deep is not None:
        image, note = to_8_bits(deep)
    else:
        image, note = _shallow_pixels(picture), None
    if count > 1:
        note = '; '.join(filter(None, [f'the first of {count} pictures in the file', note]))
    turn = _TURNS.get(picture.getexif().get(_ORIENTATION))
    if turn is not None and picture.format != 'TIFF':  # which Pillow and OpenCV turn themselves
        image = np.array(Image.fromarray(image).transpose(turn))
    return Pixels(image, note)


def to_8_bits(values: Num[np.ndarray, 'H W C'] | Num[np.ndarray, 'H W']) -> Pixels:
    """Grey or RGB, with or without alpha, as 8-bit RGB over white.

    Raises ValueError for a picture without a finite value.
    """
    values = values if values.ndim == 3 else values[..., None]
    channels = values.shape[-1]
    color, alpha = (values[..., :-1], values[..., -1:]) if channels in (2, 4) else (values, None)
    if np.issubdtype(values.dtype, np.floating):
        image, note = _from_floats(color)
    else:
        image, note = _from_integers(color)
    if alpha is not None:
        opaque = _from_floats(alpha)[0] if alpha.dtype.kind == 'f' else _from_integers(alpha)[0]
        share = opaque.astype(np.float32) / 255
        image = np.rint(image * share + 255 * (1 - share)).astype(np.uint8)
    return Pixels(np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image, note)


def _from_integers(values: np.ndarray) -> tuple[np.ndarray, str | None]:
    if values.dtype == np.uint8:
        return values, None
    low, high, stored = int(values.min()), int(values.max()), 8 * values.dtype.itemsize
    if low < 0:
        note = f'whole numbers from {low} to {high}: stretched between their extremes'
        return _scaled(values, low, high), note
    bits = next((bits for bits in _BITS if high < 2**bits), None)
    white = max(high, 1) if bits is None else 2**bits - 1
    note = None
    if bits is None:
        note = f'{stored} bits per value: the largest value is white'
    elif bits < stored and high > 0:
        note = f'values of {bits} bits stored in {stored}: {white} is white'
    if values.dtype == np.uint16:
        return _scaled(np.arange(2**16), 0, white)[values], note  # a table needs little memory
    return _scaled(values, 0, white), note


def _from_floats(values: np.ndarray) -> tuple[np.ndarray, str | None]:
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError('no pixel has a finite value')
    low, high = (float(each) for each in np.percentile(values[finite], _EXTREMES))
    white = next((white for white in _WHITES if high <= _OVERSHOOT * white), None)
    usual = white is not None and (white == 1 or high >= _LEAST_SHARE * white)
    if usual and low >= -_LEAST_SHARE * white:
        black, note = 0, f'floating-point values: {white} is white'
    elif white == 1 and low >= -_OVERSHOOT:
        black, note = -1, 'floating-point values: -1 is black, 1 is white'
    else:
        black, white = min(low, 0.0), high
        note = 'floating-point values of an unusual range: stretched between their extremes'
    if not finite.all():
        values = np.nan_to_num(values, nan=black, posinf=white, neginf=black)
        note += '; pixels without a finite value are black or white'
    return _scaled(values, black, white), note


def _scaled(values: np.ndarray, black: float, white: float) -> UInt8[np.ndarray, '...']:
    scaled = (values.astype(np.float32) - black) * (255 / max(white - black, 1e-30))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _deep_values(path: str | os.PathLike, picture: Image.Image, deep: bool) -> np.ndarray | None:
    """A picture's values if they have more than 8 bits; else None."""
    if picture.mode == 'F' or picture.mode.startswith('I'):
        # Pillow's 32 bits have a sign, whatever the file says.
        unsigned = picture.mode == 'I' and _sample_format(picture) == _UNSIGNED
        values = np.asarray(picture)
        if picture.mode == 'I' and picture.format in _AT_MOST_16:
            values = values.astype(np.uint16)
        values = values.view(np.uint32) if unsigned else values
        return values.astype(values.dtype.newbyteorder('='), copy=False)
    if not deep:
        return None
    # Pillow drops the lower 8 bits of colours, in which a 12-bit picture has most of its own.
    try:
        values = _by_opencv(path)
    except ValueError:
        return None
    return values if values.dtype != np.uint8 else None


def _sample_format(picture: Image.Image) -> int | None:
    formats = getattr(picture, 'tag_v2', {}).get(_SAMPLE_FORMAT, (_UNSIGNED,))
    return formats[0] if picture.format == 'TIFF' else None


def _by_opencv(path: str | os.PathLike) -> np.ndarray:
    """A picture's own values, in RGB order and not turned. Raises ValueError if it is none."""
    data = np.fromfile(path, np.uint8)
    if not len(data):
        raise ValueError('an empty file')
    values, logging = None, cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # it would print errors
    try:
        values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pass  # the same as None
    finally:
        logging.setLogLevel(before)
    if values is None:
        raise ValueError('its content is no picture, or one of a rare kind: expected JPEG or PNG')
    if values.ndim == 3:
        values = values[..., [2, 1, 0, 3][: values.shape[-1]]]
    return values


def _shallow_pixels(picture: Image.Image) -> UInt8[np.ndarray, 'H W 3']:
    """A picture of at most 8 bits per value, in any of Pillow's modes, over white."""
    if picture.mode == 'LAB':
        lab, rgb = ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB')
        picture = ImageCms.profileToProfile(picture, lab, rgb, outputMode='RGB')
    if picture.has_transparency_data:
        picture = picture.convert('RGBA')
        picture = Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture)
    return np.array(picture if picture.mode == 'RGB' else picture.convert('RGB'))
