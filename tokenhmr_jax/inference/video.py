"""Tracks of a video's persons, smoothed and animated, and the overlay video."""

import itertools
import os
import pathlib

import cv2
import jax
import numpy as np
import tqdm
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from tokenhmr_jax import cli
from tokenhmr_jax.body import smpl
from tokenhmr_jax.inference import bvh, gltf, overlays, results, smoothing, sources
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.types import SmplParams


def finish_video(
    source: sources.Video, folder: pathlib.Path, model: Model, smooth: bool, overlay: bool
) -> dict[str, dict]:
    """Writes the tracks of a result whose frames are done, and the overlay video.

    Returns, by track id, the number of frames, and the acceleration before and after smoothing in
    mm/s^2, None for fewer than three frames.
    """
    report, by_frame = {}, {}
    for track_id, track in results.read_tracks(folder).items():
        raw = joint_motion(model.body, track)
        if smooth:
            track = smoothing.smooth_track(track)
        moved = joint_motion(model.body, track)
        track |= {'camera_joints': moved, 'raw_camera_joints': raw, 'fps': source.fps}
        results.write_arrays(folder / 'tracks' / f'{track_id}.npz', track)
        write_animations(folder / 'tracks' / str(track_id), model.body, track, source.fps)
        report[str(track_id)] = {
            'frames': len(raw),
            'acceleration_before': smoothing.acceleration_error(raw, track['time']),
            'acceleration_after': smoothing.acceleration_error(moved, track['time']),
        }
        for row, index in enumerate(track['index']):
            by_frame.setdefault(int(index), []).append((track_id, track, row))
    if overlay:
        _overlay_video(source, folder / 'overlay.webm', model, by_frame)
    return report


# Two programs: a long track's vertices would fill the memory.
@jax.jit
def _joints(body, params):
    return smpl.forward(body, params).joints


@jax.jit
def _vertices(body, params):
    return smpl.forward(body, params).vertices


def _padded_params(rows: list[tuple[dict, int]]) -> SmplParams:
    """Parameters of rows of tracks, padded to a power of two: few sizes to compile."""
    size = 1 << (len(rows) - 1).bit_length()
    rows = rows + rows[-1:] * (size - len(rows))
    names = ('global_orient', 'body_pose', 'betas', 'translation')
    return SmplParams(*(np.stack([track[name][row] for track, row in rows]) for name in names))


def joint_motion(body: smpl.BodyModel, track: dict) -> Float[np.ndarray, 'T 24 3']:
    """The joints of a track, metres, in the image's camera."""
    count = len(track['time'])
    params = _padded_params([(track, row) for row in range(count)])
    return np.asarray(_joints(body, params))[:count]


def write_animations(
    stem: str | os.PathLike, body: smpl.BodyModel, track: dict, fps: float
) -> None:
    """Writes STEM.glb and STEM.bvh of a track; missing frames are interpolated.

    The track is one of `results.read_tracks`, with the same betas in all frames.
    """
    betas = np.asarray(track['betas'][0])
    shape = np.asarray(body.template + (betas @ body.shape_dirs[: len(betas)]).reshape(3, -1)).T
    rest = np.asarray(body.joint_template + np.tensordot(betas, body.joint_dirs[: len(betas)], 1))
    pose = np.concatenate([track['global_orient'][:, None], track['body_pose']], axis=1)
    pose[:, 0] = gltf.TO_Y_UP @ pose[:, 0]
    # SMPL turns about the root joint, which stays in place.
    root = (rest[0] + track['translation']) @ gltf.TO_Y_UP
    times, pose, root = _every_frame(track['index'], pose, root, fps)
    weights, faces = np.asarray(body.weights), np.asarray(body.faces)
    with cli.whole_file(f'{stem}.glb') as partial:
        partial.write_bytes(gltf.skinned_animation(shape, faces, weights, rest, pose, root, times))
    with cli.whole_file(f'{stem}.bvh') as partial:
        partial.write_text(bvh.bvh_animation(rest, pose, root, fps))


def _every_frame(index, pose, root, fps):
    """Times from 0, rotations and places at every frame between a track's first and last."""
    frames = np.arange(index[0], index[-1] + 1)
    if len(frames) > len(index):
        turns = [Slerp(index, Rotation.from_matrix(joint)) for joint in np.swapaxes(pose, 0, 1)]
        pose = np.stack([turn(frames).as_matrix() for turn in turns], axis=1)
        root = np.stack([np.interp(frames, index, root[:, axis]) for axis in range(3)], axis=1)
    return (frames - index[0]) / fps, pose, root


def _overlay_video(source, path, model, by_frame) -> None:
    """Writes VP8: every browser plays it, and OpenCV brings its encoder, unlike H.264's."""
    around = _space(by_frame)
    frames = sources.ahead(source.frames(lambda name: False))
    bar = tqdm.tqdm(frames, total=len(source), unit='frame', desc='overlay', disable=None)
    readable = (frame for frame in bar if frame.image is not None)
    sheets = (_video_sheet(f, by_frame.get(f.index, []), model, around) for f in readable)
    first = next(sheets, None)
    if first is None:
        return
    with cli.whole_file(path) as partial:
        kind = cv2.VideoWriter.fourcc(*'VP80')
        writer = cv2.VideoWriter(str(partial), kind, source.fps, first.shape[1::-1])
        if not writer.isOpened():
            raise OSError(f'{path}: cannot be written as VP8')
        for sheet in itertools.chain([first], sheets):
            writer.write(np.ascontiguousarray(sheet[..., ::-1]))
        writer.release()


def _space(by_frame) -> np.ndarray:
    """All joints (M, 3) in all frames, so that the other views do not move."""
    rows = [(track, row) for people in by_frame.values() for _, track, row in people]
    return np.concatenate([np.zeros((0, 3)), *(track['camera_joints'][row] for track, row in rows)])


def _video_sheet(frame, people, model, around) -> np.ndarray:
    vertices, focal, middle = np.zeros((0, 0, 3)), 1.0, np.array(frame.image.shape[1::-1]) / 2
    if people:
        params = _padded_params([(track, row) for _, track, row in people])
        vertices = np.asarray(_vertices(model.body, params))[: len(people)]
        _, track, row = people[0]
        focal, middle = float(track['focal_length'][row]), track['principal_point'][row]
    ids = [track_id for track_id, _, _ in people]
    return overlays.overlay_sheet(frame.image, vertices, model.faces, ids, focal, middle, around)
