"""Picture files as upright RGB pixels, with the focal length of their EXIF data."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from tokenhmr_jax.inference.exif import exif_focal_length

SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff')


class Picture(NamedTuple):
    """An RGB image, and the focal length of its EXIF data in pixels, or None.

    focal_note: what is to know of the focal length, or why it is None; None for nothing.
    """

    image: UInt8[np.ndarray, 'H W 3']
    focal_length: float | None
    focal_note: str | None = None


def read_picture(path: str | os.PathLike) -> Picture:
    """Reads a picture of 8 or 16 bits, in grey, palette or colours, turned upright by EXIF.

    Transparent pixels are laid over white. Raises FileNotFoundError for a missing file, ValueError
    for a truncated file, or one that is not a picture.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file; expected a picture')
    try:
        with Image.open(path) as file:
            focal = exif_focal_length(file)
            image = _pixels(ImageOps.exif_transpose(file))
    except Exception as error:  # each of Pillow's plugins has its own errors
        raise ValueError(f'{path}: not a readable picture ({error})') from error
    return Picture(image, focal.pixels, focal.note)


def _pixels(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith('I'):  # 16 bits of grey, which Pillow would clip at 255
        grey = np.asarray(picture).astype(np.float32) / 257
        grey = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.has_transparency_data:
        picture = picture.convert('RGBA')
        picture = Image.alpha_composite(Image.new('RGBA', picture.size, 'white'), picture)
    return np.array(picture.convert('RGB'))
