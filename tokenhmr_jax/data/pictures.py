"""Decoding of pictures from outside; too large ones are refused by their header."""

import cv2
import numpy as np
from jaxtyping import UInt8

# 12-megapixel photographs pass; a header that claims 50,000 x 50,000 does not get its memory.
MAX_PIXELS = 64_000_000

_PNG = b'\x89PNG\r\n\x1a\n'
_JPEG = b'\xff\xd8'
_START_OF_SCAN, _END_OF_IMAGE = b'\xff\xda', b'\xff\xd9'
# Markers that carry the size of a JPEG; C4, C8 and CC of the same range do not.
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def decode_picture(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, 'H W 3']:
    """Decodes a JPEG or PNG file to RGB.

    The EXIF orientation is ignored: datasets label stored pixels. Raises ValueError if it is no
    JPEG or PNG, has too many pixels (nothing is decoded then), is truncated, or cannot be decoded.
    """
    width, height = picture_size(data, name)
    if width * height > max_pixels:
        raise ValueError(f'{name}: {width} x {height} px, expected at most {max_pixels} pixels')
    # OpenCV returns a truncated JPEG as if it were whole, with the rest grey.
    if data.startswith(_JPEG) and data.rfind(_END_OF_IMAGE) < data.rfind(_START_OF_SCAN):
        raise ValueError(f'{name}: a truncated JPEG ({len(data)} bytes)')
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f'{name}: cannot be decoded ({error.err})') from None
    if image is None:
        raise ValueError(f'{name}: cannot be decoded ({len(data)} bytes)')
    return image


def picture_size(data: bytes, name: str) -> tuple[int, int]:
    """Reads width and height from the header of a JPEG or PNG file.

    Raises ValueError if it is neither, or its header is truncated.
    """
    if data.startswith(_PNG) and len(data) >= 24:
        return int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big')
    if data.startswith(_JPEG) and (found := _jpeg_size(data)):
        return found
    raise ValueError(f'{name}: no JPEG or PNG file ({len(data)} bytes, {data[:8]!r}...)')


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walks from marker to marker, by their lengths, to the start of the frame."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _START_OF_FRAME:
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(width, 'big'), int.from_bytes(height, 'big')
        if marker == 0xFF:  # padding between markers
            at += 1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return None
