"""Videos that tests write."""

import fractions
import struct

import av
import numpy as np

# Ticks per second of `write_video`'s times; of codecs with a fixed rate.
CLOCK, FIXED = 90000, {'mpeg2video': 30, 'mpeg4': 30, 'flv1': 30}


def write_video(path, images, times, codec='libx264', options=None, pix_fmt='yuv420p', ratio=None):
    """Writes RGB images of one size, shown from `times`, seconds.

    `options` are the container's; `ratio` is the pixels' width to height.
    """
    tick = fractions.Fraction(1, FIXED.get(codec, CLOCK))
    with av.open(str(path), 'w', options=options or {}) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = tick
        if codec.startswith('libx26'):
            stream.options = {'crf': '12'}
        if ratio is not None:
            stream.codec_context.sample_aspect_ratio = ratio
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format='rgb24')
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def set_display_matrix(path, a, b, c, d):
    """Writes the display matrix ((a, b, 0), (c, d, 0), (0, 0, 1)) into an MP4 of one track."""
    content = bytearray(path.read_bytes())
    start = content.index(b'tkhd') + 4 + 40  # version 0
    content[start : start + 36] = struct.pack(
        '>9i', a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30
    )
    path.write_bytes(content)
