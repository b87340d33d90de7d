"""Tracks of a video's persons, smoothed and animated, and the scene of them."""

import math
import os
import pathlib

import jax
import numpy as np
from jaxtyping import Float

from tokenhmr_jax import cli
from tokenhmr_jax.body import smpl
from tokenhmr_jax.inference import smoothing
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.inference.outputs import amass_files, bvh, gltf, resampling, results, scene
from tokenhmr_jax.inference.overlay_video import padded_params

_BODIES = 64  # whose vertices are computed at once


def finish_tracks(
    source: sources.Video, folder: pathlib.Path, model: Model, smooth: bool, shortest_track: int
) -> tuple[dict[int, dict], dict]:
    """Writes tracks and scene of a result whose frames are done.

    Tracks of fewer than `shortest_track` frames have no files. Returns all tracks, and a report:
    the number of short ones, `short_tracks`, and of the others `tracks`: by track id, the number of
    frames, those that were `interpolated`, the acceleration before and after smoothing in m/s^2,
    None for fewer than three frames, and whether the BVH was resampled. Tracks without any possible
    body are left out, and in `impossible_tracks`.
    """
    tracks = results.read_tracks(folder)
    impossible = [i for i, track in tracks.items() if not smoothing.possible_frames(track).any()]
    for track_id in impossible:
        del tracks[track_id]
    tracks = {i: _finished(track, model.body, smooth, source.fps) for i, track in tracks.items()}
    written = {i: track for i, track in tracks.items() if len(track['time']) >= shortest_track}
    people = {i: animated_person(f'person {i}', model.body, t) for i, t in written.items()}
    resampled = {}
    for track_id, track in written.items():
        results.write_arrays(folder / 'tracks' / f'{track_id}.npz', track)
        stem = folder / 'tracks' / str(track_id)
        person = people[track_id]._replace(name='person')
        resampled[track_id] = write_animations(stem, model.body, person, source.fps)
        arrays = amass_files.amass_arrays(person.motion, track['betas'][0], source.fps)
        results.write_arrays(folder / 'amass' / f'{track_id}_poses.npz', arrays)
    if written:
        _write_scene(folder, model.body, written, people, source.fps)
    return tracks, {
        'tracks': {str(i): _track_report(track, resampled[i]) for i, track in written.items()},
        'short_tracks': len(tracks) - len(written),
        'impossible_tracks': impossible,
    }


def _finished(track: dict, body: smpl.BodyModel, smooth: bool, fps: float) -> dict:
    """A track as its file has it."""
    interpolated = ~smoothing.possible_frames(track)
    track = smoothing.bridge_track(track) | {'interpolated': interpolated}
    raw, orient = joint_motion(body, track), track['global_orient']
    if smooth:
        track = smoothing.smooth_track(track)
    if 'sample_joints' in track:
        samples = turned_samples(track['sample_joints'], orient, track['global_orient'])
        samples[interpolated] = np.nan
        track = track | {'sample_joints': samples}
    joints, keypoints = joint_motion(body, track), keypoint_motion(body, track)
    motion = {'camera_joints': joints, 'camera_keypoints': keypoints, 'raw_camera_joints': raw}
    return track | motion | {'fps': fps}


def turned_samples(
    joints: Float[np.ndarray, 'T S 24 3'],
    orient: Float[np.ndarray, 'T 3 3'],
    new_orient: Float[np.ndarray, 'T 3 3'],
) -> Float[np.ndarray, 'T S 24 3']:
    """Joints of samples, turned about the root from one orientation of the body to another."""
    turn = new_orient @ np.swapaxes(orient, -1, -2)
    root = joints[:, :, :1].astype(np.float32)
    turned = np.einsum('tij,tskj->tski', turn, joints - root) + root
    return turned.astype(joints.dtype)


def _track_report(track: dict, resampled: bool) -> dict:
    acceleration = lambda joints: smoothing.acceleration_error(  # noqa: E731
        track[joints], track['time'], shots=track['shot']
    )
    return {
        'frames': len(track['index']),
        'interpolated': track['index'][track['interpolated']].tolist(),
        'acceleration_before': acceleration('raw_camera_joints'),
        'acceleration_after': acceleration('camera_joints'),
        'bvh_resampled': resampled,
    }


def _write_scene(folder: pathlib.Path, body, tracks: dict, people: dict, fps: float) -> None:
    """Writes scene.glb: each person is there from its first frame to its last."""
    end = max(track['time'][-1] for track in tracks.values())
    placed = []
    for track_id, track in tracks.items():
        first, last = track['time'][[0, -1]].tolist()
        person = people[track_id]._replace(color=scene.color_of(track_id))
        placed.append(scene.on_one_clock(person, first, last + 1 / fps if last < end else math.inf))
    joints = np.concatenate([track['camera_joints'] for track in tracks.values()])
    focal = np.median(np.concatenate([track['focal_length'] for track in tracks.values()]))
    frame = results.read_arrays(results.frame_paths(folder)[0])
    middle = next(iter(tracks.values()))['principal_point'][0]
    lens = gltf.Lens(float(focal), middle, tuple(frame['image_size'].tolist()))
    faces, weights = np.asarray(body.faces), np.asarray(body.weights)
    path, joints = folder / 'scene.glb', joints @ gltf.TO_Y_UP
    scene.write_scene(path, placed, joints, faces, weights, lens)


# Several programs: a long track's vertices would fill the memory.
@jax.jit
def _joints(body, params):
    return smpl.forward(body, params).joints


@jax.jit
def _keypoints(body, params):
    return smpl.keypoints(body, smpl.forward(body, params))


def joint_motion(body: smpl.BodyModel, track: dict) -> Float[np.ndarray, 'T 24 3']:
    """The joints of a track, metres, in the image's camera."""
    count = len(track['time'])
    params = padded_params([(track, row) for row in range(count)])
    return np.asarray(_joints(body, params))[:count]


def keypoint_motion(body: smpl.BodyModel, track: dict) -> Float[np.ndarray, 'T 44 3']:
    """The keypoints of a track, metres, in the image's camera."""
    count = len(track['time'])
    # Whole batches, so that one size is compiled.
    rows = [(track, min(row, count - 1)) for row in range(-(-count // _BODIES) * _BODIES)]
    parts = [rows[start : start + _BODIES] for start in range(0, len(rows), _BODIES)]
    found = [np.asarray(_keypoints(body, padded_params(part))) for part in parts]
    return np.concatenate(found)[:count]


def write_animations(
    stem: str | os.PathLike, body: smpl.BodyModel, person: gltf.Person, fps: float
) -> bool:
    """Writes STEM.glb and STEM.bvh of a person, as `animated_person` returns it.

    BVH has one rate: a motion whose frames do not is resampled to `fps`; returns whether it was.
    """
    faces, weights = np.asarray(body.faces), np.asarray(body.weights)
    with cli.whole_file(f'{stem}.glb') as partial:
        partial.write_bytes(gltf.people_glb([person], faces, weights))
    motion, rate = person.motion, resampling.even_rate(person.motion.times)
    resampled = rate is None and len(motion.times) > 1
    if rate is None:
        motion, rate = resampling.at_rate(motion, fps), fps
    with cli.whole_file(f'{stem}.bvh') as partial:
        partial.write_text(bvh.bvh_animation(motion.joints, motion.rotations, motion.root, rate))
    return resampled


def animated_person(name: str, body: smpl.BodyModel, track: dict) -> gltf.Person:
    """A track's body and motion, from the time 0; missing frames are interpolated.

    The track is one of `results.read_tracks`, with the same betas in all frames.
    """
    betas = np.asarray(track['betas'][0])
    shape = np.asarray(body.template + (betas @ body.shape_dirs[: len(betas)]).reshape(3, -1)).T
    rest = np.asarray(body.joint_template + np.tensordot(betas, body.joint_dirs[: len(betas)], 1))
    pose = np.concatenate([track['global_orient'][:, None], track['body_pose']], axis=1)
    pose[:, 0] = gltf.TO_Y_UP @ pose[:, 0]
    # SMPL turns about the root joint, which stays in place.
    root = (rest[0] + track['translation']) @ gltf.TO_Y_UP
    index, seen = track['index'], np.asarray(track['time'], float)
    times = np.interp(np.arange(index[0], index[-1] + 1), index, seen)
    pose, root = resampling.at_times(times, seen, pose, root)
    return gltf.Person(name, shape, gltf.Motion(rest, pose, root, times - times[0]))
