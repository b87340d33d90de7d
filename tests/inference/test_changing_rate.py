"""A walk that is filmed at a changing rate keeps its speed, in all files of a track.

Beside the walker go one who is behind the camera in some frames, and one who always is.
"""

import bvhio
import numpy as np
import pygltflib
import pytest
from moving_pictures import write_video
from scipy.spatial.transform import Rotation

from tokenhmr_jax.inference import video
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.outputs import results

SPEED = 1.5  # m/s
BEHIND = (7, 50)
# 30 a second, then 10, then a pause, then 24 with a clock of thousandths.
TIMES = np.concatenate([
    np.arange(30) / 30, 1 + np.arange(15) / 10, 3.2 + np.round(np.arange(24) / 24, 3)
])  # fmt: skip


@pytest.fixture(scope='module')
def tracks(small_model, tmp_path_factory):
    """The folder of the tracks of people who walk to the right, and the report."""
    folder = tmp_path_factory.mktemp('result')
    for name in ('frames', 'tracks', 'amass'):
        (folder / name).mkdir()
    images = np.zeros((len(TIMES), 120, 200, 3), np.uint8)
    source = sources.Video(write_video(folder / 'walk.mp4', images, TIMES))
    for frame, time in zip(source.frames(lambda name: True), TIMES, strict=True):
        if frame.index in (40, 41):
            continue  # nobody found
        turn = Rotation.from_euler('xy', [np.pi, 0.3 * np.sin(2 * time)]).as_matrix()
        swing = 0.5 * np.sin(6 * time)
        legs = Rotation.from_rotvec([[swing, 0, 0], [-swing, 0, 0]])
        pose = np.tile(np.eye(3), (23, 1, 1))
        pose[:2] = legs.as_matrix()
        person = {
            'boxes': [10, 10, 50, 90], 'scores': 1, 'track_ids': 0, 'global_orient': turn,
            'body_pose': pose, 'betas': np.zeros(10), 'focal_length': 500,
            'translation': [SPEED * time - 4, 0.2, 6], 'principal_point': [100, 60],
        }  # fmt: skip
        arrays = {name: np.stack([np.float32(value)] * 3) for name, value in person.items()}
        arrays['translation'][1] *= -1 if frame.index in BEHIND else 1
        arrays['translation'][2] *= -1
        arrays |= {'track_ids': np.arange(3), 'shot': 0}
        arrays |= {'index': frame.index, 'time': frame.time}
        arrays['image_size'] = np.array([200, 120])
        results.write_arrays(folder / f'frames/{frame.name}.npz', arrays)
    return folder / 'tracks', video.finish_tracks(source, folder, small_model, True, 1)[1]


def check_speed(places, times):
    """The speed of the whole, and of every 0.3 s of it."""
    assert times[-1] - times[0] == pytest.approx(TIMES[-1], abs=0.04)
    path = np.linalg.norm(places[-1] - places[0]) / (times[-1] - times[0])
    assert path == pytest.approx(SPEED, rel=0.03)
    at = np.arange(times[0], times[-1] - 0.3, 0.1)
    steps = [np.interp(at + 0.3, times, p) - np.interp(at, times, p) for p in places.T]
    np.testing.assert_allclose(np.linalg.norm(steps, axis=0) / 0.3, SPEED, rtol=0.03)


def test_the_track(tracks):
    folder, report = tracks[0], tracks[1]['tracks']['0']
    track = results.read_arrays(folder / '0.npz')
    check_speed(track['translation'], track['time'])
    assert report['frames'] == len(TIMES) - 2 and report['bvh_resampled']
    assert 0.1 < report['acceleration_after'] < 10  # m/s^2, of legs that swing


def test_a_frame_behind_the_camera(tracks):
    """It is as if nobody had been found there."""
    folder, report = tracks
    walker, other = (results.read_arrays(folder / f'{i}.npz') for i in (0, 1))
    np.testing.assert_allclose(other['translation'], walker['translation'], atol=0.03)
    np.testing.assert_allclose(other['camera_joints'], walker['camera_joints'], atol=0.06)
    assert np.isfinite(other['raw_camera_joints']).all()
    assert other['index'][other['interpolated']].tolist() == list(BEHIND)
    assert report['tracks']['1']['interpolated'] == list(BEHIND)
    assert not walker['interpolated'].any()
    assert report['impossible_tracks'] == [2] and set(report['tracks']) == {'0', '1'}


@pytest.mark.parametrize('person', [0, 1])
def test_glb(person, tracks):
    document = pygltflib.GLTF2().load(tracks[0] / f'{person}.glb')
    motion = document.animations[0]
    [channel] = [c for c in motion.channels if c.target.path == 'translation']

    def array(number):
        accessor = document.accessors[number]
        view = document.bufferViews[accessor.bufferView]
        data = document.binary_blob()[view.byteOffset :][: view.byteLength]
        return np.frombuffer(data, '<f4').reshape(accessor.count, -1)

    sampler = motion.samplers[channel.sampler]
    times = array(sampler.input)[:, 0]
    np.testing.assert_allclose(times[:40], TIMES[:40], atol=1e-6)
    assert len(times) == len(TIMES)
    check_speed(array(sampler.output), times)


@pytest.mark.parametrize('person', [0, 1])
def test_bvh(person, tracks):
    file = bvhio.readAsBvh(str(tracks[0] / f'{person}.bvh'))
    assert file.FrameTime == pytest.approx(1 / 30, abs=1e-6)
    places = np.array([np.array(pose.Position) for pose in file.Root.Keyframes]) / 100
    check_speed(places, np.arange(len(places)) * file.FrameTime)
