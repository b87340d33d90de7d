"""JPEGs of which a part can be decoded without the rest.

A restart marker follows each block of 16 x 16 pixels (ITU T.81, E.1.4), so that each block can be
read by itself. This costs some 8% of the file's size, and any decoder reads it. Entropy decoding
takes most of the time: half of a picture takes half of it.
"""

import struct

import cv2
import numpy as np
from jaxtyping import Int, Real, UInt8

_START, _END = b'\xff\xd8', b'\xff\xd9'
_FRAME, _SCAN, _RESTARTS = 0xC0, 0xDA, 0xDD
_FIRST_RESTART, _TURNS = 0xD0, 8  # eight markers by turns
_Pair = tuple[float, float] | Real[np.ndarray, ' 2']


def encode_jpeg(image: UInt8[np.ndarray, 'H W 3'], quality: int) -> bytes:
    """Encodes an RGB picture as a JPEG that `cut_jpeg` can cut."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
    return cv2.imencode('.jpg', image[..., ::-1], options)[1].tobytes()


def cut_jpeg(
    jpeg: bytes, low: _Pair, high: _Pair
) -> tuple[UInt8[np.ndarray, ' N'], tuple[int, int]]:
    """Cuts out the part of a JPEG from pixel `low` to pixel `high`, (x, y) each, without decoding.

    Also returns the position (x, y) of its first pixel, multiples of 16. Colours are slightly wrong
    in the outermost two pixels: they are stored at half the resolution, and interpolation lacks
    their neighbours. A JPEG that was not made by `encode_jpeg` stays whole. Raises ValueError if
    the bytes are not a whole JPEG.
    """
    # Decoders return a truncated picture as if it were whole, with the rest grey.
    if not (jpeg.startswith(_START) and jpeg.endswith(_END)):
        raise ValueError(f'not a whole JPEG file ({len(jpeg)} bytes)')
    data = np.frombuffer(jpeg, np.uint8)
    frame, interval, scan = _header(jpeg)
    if interval != 1:
        return data, (0, 0)
    height, width = struct.unpack_from('>HH', jpeg, frame + 5)
    factors = jpeg[frame + 11 : frame + 10 + 3 * jpeg[frame + 9] : 3]
    block = 8 * max(f >> 4 for f in factors), 8 * max(f & 15 for f in factors)
    columns, rows = -(-width // block[0]), -(-height // block[1])
    ends = _ends(data, scan)
    if len(ends) != rows * columns:
        raise ValueError(f'a broken JPEG: {len(ends)} of {rows * columns} blocks')
    left, right = _range(low[0], high[0], block[0], columns)
    top, bottom = _range(low[1], high[1], block[1], rows)

    starts = np.concatenate([[scan], ends[:-1]])
    starts, ends = (x.reshape(rows, columns)[top:bottom, left:right] for x in (starts, ends))
    runs = zip(starts[:, 0].tolist(), ends[:, -1].tolist(), strict=True)
    view = memoryview(jpeg)
    joined = bytearray().join([view[:scan], *(view[start:end] for start, end in runs)])
    part = np.frombuffer(joined, np.uint8)
    markers = scan - 1 + np.cumsum(ends - starts)
    part[markers] = _FIRST_RESTART + np.arange(len(markers)) % _TURNS
    part[-1] = _END[1]
    size = (min(bottom * block[1], height) - top * block[1],
            min(right * block[0], width) - left * block[0])  # fmt: skip
    struct.pack_into('>HH', joined, frame + 5, *size)
    return part, (left * block[0], top * block[1])


def _header(jpeg: bytes) -> tuple[int, int, int]:
    """Offset of a baseline JPEG's frame header, restart interval, and offset of its scan."""
    at, frame, interval = 2, None, 0
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        marker, (length,) = jpeg[at + 1], struct.unpack_from('>H', jpeg, at + 2)
        if marker == _FRAME:
            frame = at
        elif marker == _RESTARTS:
            (interval,) = struct.unpack_from('>H', jpeg, at + 4)
        elif marker == _SCAN and frame is not None:
            return frame, interval, at + 2 + length
        at += 2 + length
    raise ValueError('a broken JPEG: no baseline scan')


def _ends(data: np.ndarray, scan: int) -> Int[np.ndarray, ' N']:
    """Offsets of the ends of a scan's blocks, each behind the marker that follows it."""
    # Any other 255 in the entropy code is followed by a zero.
    found = np.flatnonzero(data[scan:-1] == 0xFF) + scan
    return found[data[found + 1] != 0] + 2


def _range(low, high, block: int, count: int) -> tuple[int, int]:
    """First and last + 1 of the blocks that hold the pixels from `low` to `high`; at least one."""
    first = min(max(int(low // block), 0), count - 1)
    return first, min(max(int(high // block) + 1, first + 1), count)
