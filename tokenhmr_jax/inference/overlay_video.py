"""The video of a result: bodies drawn over its frames, each shown when the source shows it."""

import itertools
import os

import jax
import numpy as np
from jaxtyping import Float, UInt8

from tokenhmr_jax.body import smpl
from tokenhmr_jax.cli import Progress
from tokenhmr_jax.data.workers import threaded
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.inference.outputs import overlays, webm
from tokenhmr_jax.types import SmplParams

_DRAWING_THREADS = 2


def write_overlay_video(
    source: sources.Video, path: str | os.PathLike, model: Model, tracks: dict[int, dict]
) -> None:
    """Writes WebM; nothing for a source without frames.

    Tracks are as `results.read_tracks` returns them, with `camera_joints`.
    """
    by_frame: dict[int, list[tuple[int, dict, int]]] = {}
    for track_id, track in tracks.items():
        for row, index in enumerate(track['index']):
            by_frame.setdefault(int(index), []).append((track_id, track, row))
    beside = _longest(tracks)

    def draw(frame: sources.Frame) -> tuple[float, np.ndarray]:
        return frame.time, draw_frame(frame, by_frame.get(frame.index, []), model, beside)

    frames = sources.ahead(source.frames(lambda name: False))
    readable = (frame for frame in frames if frame.image is not None)
    with Progress('overlay', 'frame', len(source)) as progress:
        sheets = progress.over(threaded(draw, readable, _DRAWING_THREADS))
        first = next(sheets, None)
        if first is not None:
            webm.write_webm(path, itertools.chain([first], sheets), source.fps)


def _longest(tracks: dict[int, dict]) -> list[int]:
    """The tracks with views beside the video: their rows do not move."""
    by_length = sorted(tracks, key=lambda number: -len(tracks[number]['index']))
    return sorted(by_length[: overlays.MOST_BESIDE])


@jax.jit
def _vertices(body, params):
    return smpl.forward(body, params).vertices


def draw_frame(
    frame: sources.Frame,
    people: list[tuple[int, dict, int]],
    model: Model,
    beside: list[int],
) -> UInt8[np.ndarray, 'h w 3']:
    """A frame's overlay.

    Args:
      people: track ids, their tracks, and rows of them.
      beside: track ids that have views of their own, as in `overlays.overlay_sheet`.
    """
    vertices, focal, middle = np.zeros((0, 0, 3)), 1.0, np.array(frame.image.shape[1::-1]) / 2
    if people:
        params = padded_params([(track, row) for _, track, row in people])
        vertices = np.asarray(_vertices(model.body, params))[: len(people)]
        _, track, row = people[0]
        focal, middle = float(track['focal_length'][row]), track['principal_point'][row]
    ids = [track_id for track_id, _, _ in people]
    view = ids, focal, middle, beside, _samples(people)
    return overlays.overlay_sheet(frame.image, vertices, model.faces, *view)


def _samples(people: list[tuple[int, dict, int]]) -> Float[np.ndarray, 'N S 24 3'] | None:
    """Joints of samples in the image's camera, metres; None for tracks without."""
    placed = [
        track['sample_joints'][row] + track['translation'][row]
        for _, track, row in people
        if 'sample_joints' in track
    ]
    return np.stack(placed) if placed else None


def padded_params(rows: list[tuple[dict, int]]) -> SmplParams:
    """Parameters of rows of tracks, padded to a power of two: few sizes to compile."""
    size = 1 << (len(rows) - 1).bit_length()
    rows = rows + rows[-1:] * (size - len(rows))
    names = ('global_orient', 'body_pose', 'betas', 'translation')
    return SmplParams(*(np.stack([track[name][row] for track, row in rows]) for name in names))
