"""What a video's result has beyond its frames: tracks, smoothed and animated, and an overlay."""

import pathlib

import cv2
import jax
import numpy as np
import tqdm

from tokenhmr_jax.body import smpl
from tokenhmr_jax.inference import animations, overlays, results, smoothing, sources
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.types import SmplParams


def finish_video(
    source: sources.Video, folder: pathlib.Path, model: Model, smooth_with: str, overlay: bool
) -> dict[str, dict]:
    """Write the tracks of a result whose frames are done, and the overlay video.

    Args:
      source: the video.
      folder: of the result.
      model: that predicted.
      smooth_with: a name in `smoothing.FILTERS`, or 'none'.
      overlay: whether to draw.

    Returns:
      by track id, how many frames it has, and its acceleration before and after, mm/s^2, None of
      fewer than three frames.
    """
    found = results.read_tracks(sorted((folder / 'frames').glob('*.npz')))
    report, by_frame = {}, {}
    for track_id, track in found.items():
        raw = animations.joint_motion(model.body, track)
        if smooth_with != 'none':
            track = smoothing.smooth_track(track, smooth_with)
        smooth = animations.joint_motion(model.body, track)
        track |= {'camera_joints': smooth, 'raw_camera_joints': raw, 'fps': source.fps}
        results.write_arrays(folder / 'tracks' / f'{track_id}.npz', track)
        animations.write_animations(
            folder / 'tracks' / str(track_id), model.body, track, source.fps
        )
        report[str(track_id)] = {
            'frames': len(raw),
            'acceleration_before': smoothing.acceleration_error(raw, track['time']),
            'acceleration_after': smoothing.acceleration_error(smooth, track['time']),
        }
        for row, index in enumerate(track['index']):
            by_frame.setdefault(int(index), []).append((track_id, track, row))
    if overlay:
        _overlay_video(source, folder / 'overlay.webm', model, by_frame)
    return report


def _overlay_video(source, path, model, by_frame) -> None:
    """Every browser plays VP8, and OpenCV has an encoder of its own, unlike of H.264."""
    writer, partial = None, path.with_suffix(f'.partial{path.suffix}')
    around = _space(by_frame)
    frames = sources.ahead(source.frames(lambda name: False))
    for frame in tqdm.tqdm(frames, total=len(source), unit='frame', desc='overlay', disable=None):
        if frame.image is None:
            continue
        people = by_frame.get(frame.index, [])
        sheet = _video_sheet(frame, people, model, around)
        if writer is None:
            kind = cv2.VideoWriter.fourcc(*'VP80')
            writer = cv2.VideoWriter(str(partial), kind, source.fps, sheet.shape[1::-1])
            if not writer.isOpened():
                raise OSError(f'{path}: cannot be written as VP8')
        writer.write(np.ascontiguousarray(sheet[..., ::-1]))
    if writer is not None:
        writer.release()
        partial.rename(path)


def _space(by_frame) -> np.ndarray:
    """The places (M, 3) of everyone in all frames, so that the other views do not move."""
    rows = [(track, row) for people in by_frame.values() for _, track, row in people]
    return np.concatenate([np.zeros((0, 3)), *(track['camera_joints'][row] for track, row in rows)])


def _video_sheet(frame, people, model, around) -> np.ndarray:
    height, width = frame.image.shape[:2]
    if not people:
        empty = np.zeros((0, 0, 3))
        return overlays.overlay_sheet(
            frame.image, empty, model.faces, (), 1.0, np.array([width, height])
        )
    size = 1 << (len(people) - 1).bit_length()
    padded = people + people[-1:] * (size - len(people))
    names = ('global_orient', 'body_pose', 'betas', 'translation')
    params = SmplParams(*(np.stack([track[n][row] for _, track, row in padded]) for n in names))
    vertices = np.asarray(_vertices(model.body, params))[: len(people)]
    _, track, row = people[0]
    return overlays.overlay_sheet(
        frame.image,
        vertices,
        model.faces,
        [track_id for track_id, _, _ in people],
        float(track['focal_length'][row]),
        track['principal_point'][row],
        around,
    )


@jax.jit
def _vertices(body: smpl.BodyModel, params: SmplParams) -> jax.Array:
    return smpl.forward(body, params).vertices
