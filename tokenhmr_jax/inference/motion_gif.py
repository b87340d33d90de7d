"""One person's motion as a small animated GIF, such as a README shows."""

import io
import pathlib
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from tokenhmr_jax import cli
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.inference.outputs import results
from tokenhmr_jax.inference.overlay_video import draw_frame

NAME = 'motion.gif'
_SECONDS, _RATE = 6.0, 10.0  # at most; pictures per second, at most
_SIDE = 240  # pixels, the longer side of the part of the video
_MARGIN = 0.15  # of the boxes' extent, around them
_COLORS = 128
_TICK = 0.01  # seconds: GIF counts in hundredths


def write_motion_gif(source: sources.Video, folder: pathlib.Path, model: Model) -> bool:
    """Writes motion.gif of the longest track of a result; returns whether there is a track.

    It shows the part of the video around the person with the body over it, and the body from the
    side and from above, from the track's beginning for 6 seconds at most.
    """
    tracks = {int(path.stem): path for path in (folder / 'tracks').glob('[!.]*.npz')}
    if not tracks:
        return False
    found = {number: results.read_arrays(path) for number, path in sorted(tracks.items())}
    number = max(found, key=lambda n: len(found[n]['time']))
    track = found[number]
    rows = chosen_rows(track['time'])
    pictures = _draw_pictures(source, model, number, track, rows)
    if not pictures:
        return False
    content = _gif(pictures, durations(track['time'][rows[: len(pictures)]]))
    with cli.whole_file(folder / NAME) as partial:
        partial.write_bytes(content)
    return True


def chosen_rows(times: Float[np.ndarray, ' T']) -> Int[np.ndarray, ' N']:
    """The rows of a track that are shown: at most 10 a second, of its first 6 seconds."""
    off = times - times[0]
    wanted = np.arange(0, min(off[-1], _SECONDS) + 1e-6, 1 / _RATE)
    return np.unique(np.searchsorted(off, wanted - 1e-6))


def durations(times: Float[np.ndarray, ' N']) -> list[int]:
    """Milliseconds that each picture is shown, which sum to the motion's own length.

    The last one is shown as long as those before it in the median.
    """
    last = np.median(np.diff(times)) if len(times) > 1 else 1 / _RATE
    ends = np.append(times, times[-1] + last) - times[0]
    ticks = np.diff(np.round(ends / _TICK).astype(int))
    return (1000 * _TICK * ticks).round().astype(int).tolist()


def _draw_pictures(
    source: sources.Video, model: Model, number: int, track: dict[str, Any], rows: np.ndarray
) -> list[UInt8[np.ndarray, 'h w 3']]:
    """Pictures of some rows of a track, as far as the video can be read."""
    row_of = {f'{track["index"][row]:06d}': int(row) for row in rows}
    pictures = []
    for frame in source.frames(lambda name: name not in row_of):
        if frame.image is not None and len(pictures) < len(rows):
            part, lens = _around(frame, track, track['boxes'][rows])
            person = number, track | lens, row_of[frame.name]
            pictures.append(draw_frame(part, [person], model, [number]))
    return pictures


def _around(
    frame: sources.Frame, track: dict[str, Any], boxes: Float[np.ndarray, 'N 4']
) -> tuple[sources.Frame, dict[str, Any]]:
    """The part of a frame around boxes, at most `_SIDE` px long, and the track's lens in it."""
    low, high = _window(boxes, np.array(frame.image.shape[1::-1]))
    scale = min(_SIDE / (high - low).max(), 1.0)
    size = np.maximum(np.round(scale * (high - low)), 2).astype(int).tolist()
    part = frame.image[low[1] : high[1], low[0] : high[0]]
    part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    lens = {
        'focal_length': scale * track['focal_length'],
        'principal_point': scale * (track['principal_point'] - low),
    }
    return frame._replace(image=part), lens


def _window(
    boxes: Float[np.ndarray, 'N 4'], size: Int[np.ndarray, '2']
) -> tuple[Int[np.ndarray, '2'], Int[np.ndarray, '2']]:
    """First pixel, and the one after the last, of the part of a picture around boxes."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margin = _MARGIN * (high - low)
    low = np.floor(low - margin).astype(int).clip(0, size - 1)
    return low, np.ceil(high + margin).astype(int).clip(low + 1, size)


def _gif(pictures: list[UInt8[np.ndarray, 'h w 3']], milliseconds: list[int]) -> bytes:
    """A GIF that plays without end; one palette for all pictures keeps it small."""
    some = np.concatenate(pictures[:: max(len(pictures) // 8, 1)])
    palette = Image.fromarray(some).quantize(_COLORS, method=Image.Quantize.MEDIANCUT)
    plain = [
        Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
        for picture in pictures
    ]
    content = io.BytesIO()
    options = {'append_images': plain[1:], 'duration': milliseconds, 'loop': 0}
    plain[0].save(content, format='GIF', save_all=True, **options)
    return content.getvalue()
