"""Errors, identities and jitter of predictions on known persons, in pictures and a made video.

    python benchmarks/known_people.py --checkpoint=runs/quickstart/regressor \\
        --data_dir=runs/quickstart/data --out=/tmp/known

Pictures are of a prepared test split. In the video three mannequins move and cross before a camera
of known focal length. Mostly hidden persons have no box, as a detector would miss them. All inputs
and results stay in --out.
"""

import argparse
import os
import pathlib
from typing import NamedTuple

import cv2
import jax
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tokenhmr_jax import cli
from tokenhmr_jax.body import smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing import render
from tokenhmr_jax.inference import smoothing
from tokenhmr_jax.inference.model import Model, load
from tokenhmr_jax.inference.outputs import results
from tokenhmr_jax.inference.prediction import PredictSettings, predict
from tokenhmr_jax.mannequin import clothes, motion, people
from tokenhmr_jax.tasks.regressor import true_params
from tokenhmr_jax.types import SmplParams

_SIZE, _FOCAL, _FPS = (640, 360), 600.0, 25.0
# Of each person: kind of motion; x at the first and last frame, and distance, metres.
_PEOPLE = (('walking', -1.6, 1.6, 4.5), ('walking', 2.0, -2.0, 5.8), ('reaching', 0.2, 0.6, 7.5))
_LEVEL = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from a z-up world to the camera's axes
_MARGIN, _HIDDEN = 1.2, 0.6
_LABELS = ('global_orient', 'body_pose', 'betas')


class Person(NamedTuple):
    """Vertices and joints in metres, in the camera; boxes in pixels."""

    vertices: Float[np.ndarray, 'T V 3']
    joints: Float[np.ndarray, 'T 24 3']
    boxes: Float[np.ndarray, 'T 4']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--checkpoint', type=os.path.expanduser, required=True)
    parser.add_argument('--out', type=os.path.expanduser, required=True)
    parser.add_argument('--data_dir', type=os.path.expanduser, required=True)
    parser.add_argument('--split', default='mannequin/suit_heldout')
    parser.add_argument('--pictures', type=int, default=200)
    parser.add_argument('--frames', type=int, default=75)
    parser.add_argument('--smoothing', default='zero_lag', choices=smoothing.FILTERS)
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    if out.exists() and any(out.iterdir()):
        parser.error(f'--out={out}: expected an empty folder, or none')
    cli.keep_compiled()
    model = load(options.checkpoint)
    records = pipeline.open_split(options.data_dir, options.split)
    on_pictures(model, records.read(range(min(options.pictures, len(records)))), out / 'pictures')
    on_video(model, out / 'video', options)


def on_pictures(model: Model, records: list[dict], out: pathlib.Path) -> None:
    """Predicts on the pictures of records, as files, and prints the errors."""
    (out / 'input').mkdir(parents=True)
    lines = ['image,left,top,right,bottom']
    for i, record in enumerate(records):
        (out / f'input/{i}.jpg').write_bytes(record['image'])
        middle = (record['box_center'] - record['stored_origin']) * record['stored_scale']
        half = record['stored_scale'] * record['box_size'] / 2
        lines.append(f'{i},{",".join(map(str, [*(middle - half), *(middle + half)]))}')
    (out / 'boxes.csv').write_text('\n'.join(lines))
    settings = PredictSettings(boxes=str(out / 'boxes.csv'))
    predict(model, str(out / 'input'), str(out / 'result'), settings)
    found = [
        results.read_arrays(out / f'result/frames/{i}.npz')['joints'][0]
        for i in range(len(records))
    ]
    labels = [np.stack([record[n] for record in records]) for n in _LABELS]
    truth = np.asarray(jax.jit(smpl.forward)(model.body, true_params(*labels)).joints)
    error = _pose_error(np.stack(found), truth)
    print(f'{len(records)} pictures: MPJPE {error:.1f} mm')


def on_video(model: Model, out: pathlib.Path, options: argparse.Namespace) -> None:
    """Films mannequins, predicts on the video, and prints the errors."""
    out.mkdir(parents=True)
    cast = [_perform(i, *each, options.frames) for i, each in enumerate(_PEOPLE)]
    _film(cast, out / 'video.mp4')
    _write_boxes(cast, out / 'boxes.csv')
    settings = PredictSettings(
        boxes=str(out / 'boxes.csv'), focal_length=_FOCAL, smoothing=options.smoothing
    )
    predict(model, str(out / 'video.mp4'), str(out / 'result'), settings)
    report(cast, out / 'result')


def report(cast: list[Person], result: pathlib.Path) -> None:
    """Prints the errors of the tracks against the persons they saw."""
    for path in sorted((result / 'tracks').glob('*.npz')):
        track = results.read_arrays(path)
        index, time = track['index'], track['time']
        apart = [np.abs(track['boxes'] - person.boxes[index]).sum(axis=1) for person in cast]
        who = np.argmin(apart, axis=0)
        truth = cast[who[0]].joints[index]
        print(f'track {path.stem}: {len(index)} frames of person {who[0]}, '
              f'{np.mean(who == who[0]):.0%} the same person')  # fmt: skip
        for name, joints in (
            ('raw', track['raw_camera_joints']),
            ('smoothed', track['camera_joints']),
        ):
            ours, theirs = joints - joints[:, :1], truth - truth[:, :1]
            error = _pose_error(joints, truth)
            place = np.linalg.norm(joints[:, 0] - truth[:, 0], axis=-1).mean()
            jitter = smoothing.acceleration_error(joints, time, truth)
            centred = smoothing.acceleration_error(ours, time, theirs)
            print(f'  {name}: MPJPE {error:.1f} mm, pelvis off by {place:.2f} m, acceleration '
                  f'error {jitter:.1f} m/s^2, of the pose alone {centred:.1f}')  # fmt: skip


def _pose_error(joints: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of joints (T, 24, 3) in mm, with the pelvis of both at the origin."""
    off = (joints - joints[:, :1]) - (truth - truth[:, :1])
    return float(1000 * np.linalg.norm(off, axis=-1).mean())


def _perform(number: int, kind: str, start: float, end: float, z: float, count: int) -> Person:
    """One person's motion, from start to end at one distance."""
    rng = np.random.default_rng((7, number))
    clip = motion.generate(rng, kind, count, _FPS)
    turn = Rotation.from_matrix(_LEVEL) * Rotation.from_rotvec(clip.global_orient)
    pose = Rotation.from_rotvec(clip.body_pose.reshape(-1, 3)).as_matrix()
    pose = np.concatenate(
        [pose.reshape(count, 21, 3, 3), np.tile(np.eye(3), (count, 2, 1, 1))], axis=1
    )
    betas = np.repeat(rng.normal(0, 0.7, (1, 10)), count, axis=0)
    orient = turn.as_matrix()
    params = [np.float32(x) for x in (orient, pose, betas)]
    output = jax.device_get(jax.jit(smpl.forward)(people.studio().body, SmplParams(*params)))
    path = np.stack([np.linspace(start, end, count), np.zeros(count), np.full(count, z)], axis=1)
    move = (path - output.joints[:, 0])[:, None]
    vertices, joints = output.vertices + move, output.joints + move
    pixels = _FOCAL * vertices[..., :2] / vertices[..., 2:] + np.array(_SIZE) / 2
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    middle, half = (low + high) / 2, _MARGIN * (high - low) / 2
    return Person(vertices, joints, np.concatenate([middle - half, middle + half], axis=1))


def _film(cast: list[Person], path: pathlib.Path) -> None:
    studio, rng = people.studio(), np.random.default_rng(3)
    stage = clothes.suit_stage(rng, studio.skin, _SIZE)
    count = len(studio.skin.points)
    faces = np.concatenate([studio.faces + i * count for i in range(len(cast))])
    colors = np.tile(stage.colors, (len(cast), 1))
    # The renderer's origin is the first pixel's centre.
    intrinsics = (_FOCAL, _FOCAL, _SIZE[0] / 2 - 0.5, _SIZE[1] / 2 - 0.5)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), _FPS, _SIZE)
    for frame in range(len(cast[0].joints)):
        image, _ = render.render(
            np.concatenate([person.vertices[frame] for person in cast]),
            faces,
            intrinsics,
            _SIZE[::-1],
            colors=colors,
            background=stage.background,
            lights=stage.lights,
            ambient=stage.ambient,
        )
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()


def _write_boxes(cast: list[Person], path: pathlib.Path) -> None:
    """Boxes in a random order; those that nearer persons' boxes mostly cover are missing."""
    rng, lines = np.random.default_rng(4), ['image,left,top,right,bottom']
    nearest_first = sorted(cast, key=lambda person: person.joints[0, 0, 2])
    for frame in range(len(cast[0].joints)):
        seen = []
        for person in nearest_first:
            box = person.boxes[frame]
            if all(_covered(box, other) < _HIDDEN for other in seen):
                seen.append(box)
        lines += [
            f'{frame},{",".join(f"{x:.2f}" for x in seen[i])}' for i in rng.permutation(len(seen))
        ]
    path.write_text('\n'.join(lines))


def _covered(box: np.ndarray, other: np.ndarray) -> float:
    """The share of a box that another covers."""
    common = np.maximum(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0)
    return np.prod(common) / np.prod(box[2:] - box[:2])


if __name__ == '__main__':
    main()
