"""Results of animated mannequins, for the page: an album and a film. No network predicts them."""

import pathlib

import numpy as np
import pytest
from conftest import made_once
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import smpl
from tokenhmr_jax.drawing import draw
from tokenhmr_jax.inference import video
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.inference.outputs import meshes, overlays, results, webm
from tokenhmr_jax.inference.overlay_video import write_overlay_video
from tokenhmr_jax.mannequin import motion
from tokenhmr_jax.types import SmplParams

SIZE, FOCAL = (160, 120), 200.0
FPS, FRAMES = 10, 12
# Of each person of the film: kind of motion, metres to the right, distance, first and last frame.
CAST = (('walking', -0.8, 5.0, 0, 12), ('dancing', 0.7, 5.5, 0, 12), ('boxing', 0.0, 9.0, 4, 11))
_SHIFTS = np.array([0.0, 0.2, 0.0])  # metres: pelves are this far below the camera


def _params(count: int) -> list[SmplParams]:
    """Each person's body in all frames, in the camera."""
    people = []
    for seed, (kind, across, away, *_) in enumerate(CAST):
        clip = motion.generate(np.random.default_rng(seed), kind, count, FPS)
        # The world is z up; the camera looks along its y.
        turn = Rotation.from_matrix([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
        orient = (turn * Rotation.from_rotvec(clip.global_orient)).as_matrix()
        pose = np.tile(np.eye(3), (count, 23, 1, 1))
        pose[:, :21] = (
            Rotation.from_rotvec(clip.body_pose.reshape(-1, 3)).as_matrix().reshape(count, 21, 3, 3)
        )
        place = np.tile(np.array([across, 0, away]) + _SHIFTS, (count, 1))
        arrays = (orient, pose, np.full((count, 10), 0.2 * seed), place)
        people.append(SmplParams(*(array.astype(np.float32) for array in arrays)))
    return people


def _frame_arrays(body, people: list[SmplParams], row: int, here: list[int]) -> dict:
    arrays = {
        'boxes': np.tile(np.float32([10, 10, 60, 110]), (len(here), 1)),
        'scores': np.ones(len(here), np.float32),
        'track_ids': np.array(here, np.int32),
        'camera_source': 'given',
        'image_size': SIZE,
        'index': row,
        'time': row / FPS,
        'shot': 0,
    }
    if not here:
        return arrays
    stacked = SmplParams(*(
        np.stack([getattr(people[i], name)[row] for i in here])
        for name in ('global_orient', 'body_pose', 'betas', 'transl')
    ))  # fmt: skip
    posed = smpl.forward(body, stacked.replace(transl=None))
    return arrays | {
        'global_orient': stacked.global_orient,
        'body_pose': stacked.body_pose,
        'betas': stacked.betas,
        'translation': stacked.transl,
        'joints': np.asarray(posed.joints),
        'vertices': np.asarray(posed.vertices),
        'focal_length': np.full(len(here), FOCAL, np.float32),
        'principal_point': np.tile(np.float32(SIZE) / 2, (len(here), 1)),
    }


def _background(seed: int) -> np.ndarray:
    rows = np.linspace(90, 200, SIZE[1])[:, None, None] + 10 * seed
    return np.broadcast_to(rows, (SIZE[1], SIZE[0], 3)).astype(np.uint8)


def make_album(folder: pathlib.Path, body: smpl.BodyModel) -> None:
    """Pictures 'a<!--<script>' of three people, 'b' of one, and 'c' of nobody."""
    for name in ('frames', 'meshes', 'overlays'):
        (folder / name).mkdir(parents=True)
    people, faces = _params(2), np.asarray(body.faces)
    pictures = {'a<!--<script>': [0, 1, 2], 'b': [1], 'c': []}
    for number, (name, here) in enumerate(pictures.items()):
        arrays = _frame_arrays(body, people, number % 2, here) | {'time': np.nan}
        vertices = np.zeros((0, 0, 3))
        if here:
            vertices = arrays.pop('vertices') + arrays['translation'][:, None]
        for row, vertex in enumerate(vertices):
            meshes.write_mesh(folder / 'meshes' / f'{name}_{row}.glb', vertex, faces)
        middle = np.array(SIZE) / 2
        sheet = overlays.overlay_sheet(_background(number), vertices, faces, here, FOCAL, middle)
        draw.write_image(folder / 'overlays' / f'{name}.jpg', sheet)
        results.write_arrays(folder / 'frames' / f'{name}.npz', arrays)
    results.write_json(folder / 'result.json', {'request': {}, 'fps': None})


def make_film(folder: pathlib.Path, body: smpl.BodyModel) -> None:
    """A video of the cast."""
    for name in ('frames', 'tracks', 'amass'):
        (folder / name).mkdir(parents=True)
    webm.write_webm(folder / 'source.webm', ((i / FPS, _background(0)) for i in range(FRAMES)), FPS)
    people = _params(FRAMES)
    for row in range(FRAMES):
        here = [i for i, (*_, first, last) in enumerate(CAST) if first <= row < last]
        arrays = _frame_arrays(body, people, row, here)
        del arrays['vertices']
        results.write_arrays(folder / 'frames' / f'{row:06d}.npz', arrays)
    source = sources.open_source(folder / 'source.webm')
    model = object.__new__(Model)  # its body alone is used
    model.body = body
    tracks, report = video.finish_tracks(source, folder, model, False, 5)
    write_overlay_video(source, folder / 'overlay.webm', model, tracks)
    results.write_json(folder / 'result.json', {'request': {}, 'fps': FPS, **report})


def add_samples(result: pathlib.Path, name: str, count: int = 3) -> None:
    """Gives all persons in an .npz of a result samples: left arms that are further forward."""
    arrays = results.read_arrays(result / name)
    joints = arrays['joints' if 'joints' in arrays else 'camera_joints']
    if 'camera_joints' in arrays:
        joints = joints - arrays['translation'][:, None]
    samples = np.repeat(joints[:, None], count, axis=1)
    samples[:, :, [18, 20, 22], 2] -= np.linspace(0.2, 0.6, count)[:, None]
    results.write_arrays(result / name, arrays | {'sample_joints': samples.astype(np.float16)})


@pytest.fixture(scope='session')
def album_result(mannequin, tmp_path_factory) -> pathlib.Path:
    return made_once(tmp_path_factory, 'album_result', lambda out: make_album(out, mannequin))


@pytest.fixture(scope='session')
def film_result(mannequin, tmp_path_factory) -> pathlib.Path:
    return made_once(tmp_path_factory, 'film_result', lambda out: make_film(out, mannequin))
