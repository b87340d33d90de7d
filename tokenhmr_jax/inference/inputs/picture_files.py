"""Picture files as upright RGB pixels, with the focal length of their EXIF data."""

import contextlib
import functools
import importlib
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError, features

from tokenhmr_jax.inference.inputs import pixel_values
from tokenhmr_jax.readers.exif import ExifFocalLength, exif_focal_length

MAX_PIXELS = 500_000_000  # 1.5 GB of RGB


class _Format(NamedTuple):
    """Pictures that Pillow reads with a package.

    brands: at the file's beginning, or after its first four bytes.
    module: registers itself with Pillow when imported, or by its function `register`.
    """

    name: str
    suffixes: tuple[str, ...]
    brands: tuple[bytes, ...]
    package: str
    module: str
    register: str | None = None


_HEIF_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1', b'heif')
_PACKAGED = (
    _Format(
        'HEIC or HEIF', ('.heic', '.heics', '.heif', '.heifs', '.hif'),
        tuple(b'ftyp' + brand for brand in _HEIF_BRANDS), 'pillow-heif',
        'pillow_heif', 'register_heif_opener',
    ),
    _Format(
        'AVIF', ('.avif', '.avifs'), (b'ftypavif', b'ftypavis'), 'pillow-avif-plugin', 'pillow_avif'
    ),
    _Format(
        'JPEG XL', ('.jxl',), (b'JXL \r\n\x87\n', b'\xff\n'), 'pillow-jxl-plugin', 'pillow_jxl'
    ),
)  # fmt: skip
SUFFIXES = (
    '.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff', '.gif', '.jfif', '.jpe', '.jif',
    '.mpo', '.apng', '.dib', '.jp2', '.j2k', '.j2c', '.jpc', '.jpf', '.jpx', '.ppm', '.pgm', '.pbm',
    '.pnm', '.pfm', '.tga', '.sgi', '.qoi', '.psd', '.hdr', '.pic', '.exr',
    *(suffix for each in _PACKAGED for suffix in each.suffixes),
)  # fmt: skip
# Pillow takes some of these for TIFF, and reads their preview of 160 x 120 pixels.
_RAW = (
    '.3fr', '.arw', '.cr2', '.cr3', '.crw', '.dcr', '.dng', '.erf', '.iiq', '.kdc', '.mef', '.mos',
    '.mrw', '.nef', '.nrw', '.orf', '.pef', '.raf', '.raw', '.rw2', '.rwl', '.sr2', '.srf', '.srw',
    '.x3f',
)  # fmt: skip
# Other formats that their first bytes tell.
_BY_CONTENT = (
    'BMP', 'DIB', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'PSD', 'QOI', 'SGI', 'TIFF', 'WEBP',
)  # fmt: skip


class Picture(NamedTuple):
    """An RGB image, and the focal length of its EXIF data in pixels, or None.

    focal_note: what is to know of the focal length, or why it is None; None for nothing.
    note: how the pixels were made from the file's values, where that is a choice; else None.
    """

    image: UInt8[np.ndarray, 'H W 3']
    focal_length: float | None
    focal_note: str | None = None
    note: str | None = None


def read_picture(path: str | os.PathLike) -> Picture:
    """Reads a picture, turned upright by EXIF; `pixel_values` says how its values become 8 bits.

    Raises FileNotFoundError for a missing file, ValueError for a truncated file, one that is not a
    picture, has more than `MAX_PIXELS`, or needs a package that is not installed.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file; expected a picture')
    if missing := not_readable(path):
        raise ValueError(f'{path}: {missing}')
    try:
        with _opened(path) as file:
            deep = pixel_values.is_deep(file)
            focal = ExifFocalLength(None) if file is None else exif_focal_length(file)
            pixels = pixel_values.read_pixels(path, file, deep)
    except Exception as error:  # each of Pillow's plugins has its own errors
        raise ValueError(f'{path}: not a readable picture ({error})') from error
    return Picture(pixels.image, focal.pixels, focal.note, pixels.note)


def as_picture(given: str | os.PathLike | Image.Image | np.ndarray) -> Picture:
    """A picture of a file, of Pillow, or of an array: grey or RGB, with or without alpha.

    Arrays are (H, W) or (H, W, 1 to 4). All become 8-bit RGB over white, as files do.
    Raises as `read_picture`, and ValueError for something else.
    """
    if isinstance(given, str | os.PathLike):
        return read_picture(given)
    if isinstance(given, Image.Image):
        focal, pixels = exif_focal_length(given), pixel_values.read_pixels('', given, deep=False)
        return Picture(pixels.image, focal.pixels, focal.note, pixels.note)
    channels = given.shape[2:]
    if (
        given.ndim not in (2, 3)
        or given.dtype.kind not in 'uif'
        or channels > (4,)
        or not given.size
    ):
        raise ValueError(
            f'an array of {given.dtype} {given.shape}: expected a picture, (H, W), or (H, W, 3) '
            'in RGB'
        )
    image, note = pixel_values.to_8_bits(given)
    return Picture(image, None, None, note)


def not_readable(path: str | os.PathLike) -> str | None:
    """Why a picture cannot be read by its kind, and what to do; None if it can, or is none."""
    suffix = pathlib.PurePath(path).suffix.lower()
    if suffix in _RAW:
        return 'a raw photo: expected it as JPEG, PNG or TIFF, as photo programs export it'
    found = _packaged(path)
    if found is not None and not _has(found):
        return f'a picture of {found.name}, which needs: pip install {found.package}'
    return None


def is_picture(path: str | os.PathLike) -> bool:
    """Whether a file is a picture, by its content; also one that `not_readable` explains."""
    if pathlib.PurePath(path).suffix.lower() in _RAW or _packaged(path):
        return True
    try:
        with _quiet(), Image.open(path, formats=_BY_CONTENT):
            return True
    except Exception:  # as above
        return False


def _packaged(path: str | os.PathLike) -> _Format | None:
    """The format of a file among those of packages, by its first bytes."""
    start = b''
    with contextlib.suppress(OSError), open(path, 'rb') as file:
        start = file.read(12)
    for each in _PACKAGED:
        if start.startswith(each.brands) or start[4:].startswith(each.brands):
            return each
    return None


@functools.cache
def _has(needed: _Format) -> bool:
    """Whether Pillow reads a format; registers the format's package."""
    try:
        module = importlib.import_module(needed.module)
        if needed.register:
            getattr(module, needed.register)()
    except ImportError:
        return needed.name == 'AVIF' and bool(features.check('avif'))
    return True


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image | None]:
    """A file in Pillow; None for one that it does not know. Raises ValueError for a large one."""
    with _quiet():
        file = None
        with contextlib.suppress(UnidentifiedImageError):
            file = Image.open(path)
        with file or contextlib.nullcontext():
            width, height = file.size if file else (0, 0)
            if width * height > MAX_PIXELS:
                raise ValueError(
                    f'{width} x {height} pixels: expected at most {MAX_PIXELS // 10**6} million; '
                    'make it smaller'
                )
            yield file


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Pillow without its limit of size and its warnings, both of which hold for a whole process."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
