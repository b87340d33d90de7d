"""Videos for browsers, written picture by picture."""

import fractions
import itertools
import os
from collections.abc import Iterable

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from jaxtyping import UInt8

from tokenhmr_jax import cli

# Of VP9's encoder: live speed, seven times VP8's, at a quality of 39 dB.
_ENCODER = {'deadline': 'realtime', 'cpu-used': '8', 'row-mt': '1', 'crf': '16'}
_REPEATABLE = {'fflags': '+bitexact'}  # no random numbers in the container
_CEILING = 20_000_000  # bits per second
_TICK = fractions.Fraction(1, 1000)  # seconds, of WebM's clock


def write_webm(
    path: str | os.PathLike,
    pictures: Iterable[tuple[float, UInt8[np.ndarray, 'h w 3']]],
    fps: float,
    ceiling: int = _CEILING,
) -> None:
    """Writes a video in VP9, which all browsers play.

    `pictures` are RGB, each with the time, seconds, from which it is shown; all are scaled to the
    first one's size. `fps` is the nominal rate, `ceiling` the most bits per second. Raises
    OSError if the file cannot be written.
    """
    pictures = iter(pictures)
    first = next(pictures)
    try:
        with (
            cli.whole_file(path) as partial,
            av.open(str(partial), 'w', format='webm', options=_REPEATABLE) as file,
        ):
            stream = file.add_stream('libvpx-vp9', rate=max(round(fps), 1), options=_ENCODER)
            stream.height, stream.width = first[1].shape[:2]
            stream.bit_rate, stream.codec_context.time_base = ceiling, _TICK
            last = -1
            for time, picture in itertools.chain([first], pictures):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
                last = max(last + 1, round(time / _TICK))
                frame.pts, frame.time_base = last, _TICK
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
    except (av.FFmpegError, UnknownCodecError) as error:
        raise OSError(f'{path}: cannot be written as VP9 in WebM ({error})') from error
