"""Motion in AMASS's format, read back by the readers of AMASS."""

import importlib.util

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import ROOT
from jax import numpy as jnp
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import smpl
from tokenhmr_jax.inference import video
from tokenhmr_jax.inference.outputs import amass_files, resampling, results
from tokenhmr_jax.readers import amass, prepare
from tokenhmr_jax.types import SmplParams

FPS = 30.0
# The camera's x, z (forward) and -y (up) are the world's x, y and z.
UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@pytest.fixture(scope='module')
def track(mannequin):
    """A person who turns and walks away at random; a frame is missing."""
    rng, index = np.random.default_rng(5), np.array([2, 3, 4, 6, 7, 8])
    rotvec = rng.normal(0, 0.4, (6, 24, 3))
    rotvec[:, 0] = np.array([3.0, 0.3, 0.1]) + rng.normal(0, 0.1, (6, 3))
    pose = Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_matrix().reshape(6, 24, 3, 3)
    made = {
        'global_orient': pose[:, 0],
        'body_pose': pose[:, 1:],
        'betas': np.repeat(rng.normal(0, 1, (1, 10)), 6, axis=0),
        'translation': rng.normal([1, 0.2, 5], 0.2, (6, 3)),
    }
    made = {name: values.astype(np.float32) for name, values in made.items()}
    made |= {'index': index, 'time': index / FPS}
    return made | {'camera_joints': video.joint_motion(mannequin, made)}


@pytest.fixture(scope='module')
def folder(track, mannequin, tmp_path_factory):
    """A folder with the track's file."""
    place = tmp_path_factory.mktemp('result') / 'amass'
    place.mkdir()
    motion = video.animated_person('person', mannequin, track).motion
    arrays = amass_files.amass_arrays(motion, track['betas'][0], FPS)
    results.write_arrays(place / '3_poses.npz', arrays)
    return place


def test_the_reader_finds_the_joints_of_the_track_upright(folder, track, mannequin):
    [clip] = amass.find_clips(folder)['amass']
    body_pose = amass.read_body_pose(clip)
    root = amass.read_root(clip, len(body_pose))
    content = results.read_arrays(clip.path)
    assert body_pose.shape == (7, 21, 3)
    matrix = lambda x: Rotation.from_rotvec(x.reshape(-1, 3)).as_matrix().reshape(*x.shape, 3)  # noqa: E731
    params = SmplParams(
        jnp.asarray(matrix(root), jnp.float32),
        jnp.asarray(matrix(body_pose), jnp.float32),
        jnp.asarray(np.tile(content['betas'][:10], (7, 1)), jnp.float32),
        jnp.asarray(content['trans'], jnp.float32),
    )
    joints = np.asarray(smpl.forward(mannequin, params).joints)
    given = [0, 1, 2, 4, 5, 6]  # of the file's frames; the others are filled in
    expected = track['camera_joints'] @ UPRIGHT.T
    np.testing.assert_allclose(joints[given], expected, atol=1e-4)


def test_the_file_has_what_amass_has(folder):
    """Keys, shapes and kinds of AMASS's SMPL-H files."""
    with np.load(folder / '3_poses.npz', allow_pickle=False) as content:
        shapes = {name: content[name].shape for name in content.files}
        assert shapes == {
            'poses': (7, 156), 'trans': (7, 3), 'betas': (16,), 'dmpls': (7, 8), 'gender': (),
            'mocap_framerate': (),
        }  # fmt: skip
        assert content['gender'].item() == 'neutral' and content['mocap_framerate'].item() == 30.0
        assert (content['poses'][:, 66:] == 0).all() and (content['betas'][10:] == 0).all()


def test_the_builder_of_amass_takes_it(folder, tmp_path):
    path = ROOT / 'datasets/amass/amass_dataset_builder.py'
    spec = importlib.util.spec_from_file_location('amass_dataset_builder', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = module.Settings(manual_dir=str(folder), stride=1, middle=1.0)
    prepare.prepare_dataset(module.Builder(settings=settings, data_dir=tmp_path), settings)
    found = tfds.builder_from_directory(tmp_path / 'amass/1.1.0').as_data_source('amass')
    content = results.read_arrays(folder / '3_poses.npz')['poses']
    assert len(found) == 7
    for record in found:
        frame = int(record['key'].decode().removeprefix('amass/3:'))
        np.testing.assert_allclose(np.ravel(record['body_pose']), content[frame, 3:66], atol=1e-6)
        np.testing.assert_allclose(record['global_orient'], content[frame, :3], atol=1e-6)


def test_motion_is_resampled_to_one_rate(track, mannequin):
    """A turn and a walk at constant speed, filmed unevenly, stay so at any rate."""
    motion = video.animated_person('person', mannequin, track).motion
    times = np.array([0.0, 0.1, 0.15, 0.4, 0.5])
    turn = Rotation.from_rotvec(times[:, None] * [0, 2.0, 0]).as_matrix()
    uneven = motion._replace(
        times=times,
        root=times[:, None] * [1.5, 0, -0.5],
        rotations=np.tile(turn[:, None], (1, 24, 1, 1)),
    )
    found = resampling.at_rate(uneven, 20.0)
    np.testing.assert_allclose(found.times, np.arange(11) / 20, atol=1e-9)
    np.testing.assert_allclose(found.root, found.times[:, None] * [1.5, 0, -0.5], atol=1e-9)
    angles = Rotation.from_matrix(found.rotations[:, 7]).as_rotvec()[:, 1]
    np.testing.assert_allclose(angles, 2 * found.times, atol=1e-9)
    alone = uneven._replace(times=times[:1], root=uneven.root[:1], rotations=uneven.rotations[:1])
    assert len(resampling.at_rate(alone, 20.0).root) == 1
