"""Joints in all conventions, as .npz, .json and .csv."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.body.joint_conventions import CONVENTIONS, select
from tokenhmr_jax.inference.outputs import joint_files, results
from tokenhmr_jax.inference.prediction import PredictSettings, predict


@pytest.fixture
def people(rng, tmp_path):
    """A result of three images, of two, one and no persons; one hand is behind the camera."""
    (tmp_path / 'frames').mkdir()
    frames = {}
    for name, count in (('b', 2), ('a', 1), ('nobody', 0)):
        frame = {'boxes': np.zeros((count, 4)), 'track_ids': np.arange(count)}
        if count:
            frame |= {
                'joints': rng.normal(size=(count, 24, 3)) / 4,
                'keypoints3d': rng.normal(size=(count, 44, 3)) / 4,
                'translation': rng.normal([0, 0, 5], 0.1, (count, 3)),
                'focal_length': rng.uniform(800, 900, count),
                'principal_point': rng.uniform(300, 400, (count, 2)),
            }
        frames[name] = frame
    frames['b']['keypoints3d'][1, skeleton.KEYPOINTS.index('OP RWrist')] = [0, 0, -6]
    for name, frame in frames.items():
        results.write_arrays(tmp_path / f'frames/{name}.npz', frame)
    joint_files.write_joints(tmp_path, False, ('json', 'csv'))
    return tmp_path, frames


def expected(frame, row, convention):
    """Positions and pixels of a person's joints, by hand."""
    place = frame['translation'][row]
    points = select(convention, frame['joints'][row] + place, frame['keypoints3d'][row] + place)
    seen = frame['focal_length'][row] * points[:, :2] / points[:, 2:]
    return points, seen + frame['principal_point'][row]


def test_arrays_hold_each_person_in_order_of_frames(people):
    folder, frames = people
    found = results.read_arrays(folder / 'joints.npz')
    assert found['frame'].tolist() == ['a', 'b', 'b'] and found['person'].tolist() == [0, 0, 1]
    assert np.isnan(found['time']).all()
    for name, convention in CONVENTIONS.items():
        assert found[f'{name}_names'].tolist() == list(convention.names)
        for i, (frame, row) in enumerate((('a', 0), ('b', 0), ('b', 1))):
            points, pixels = expected(frames[frame], row, name)
            np.testing.assert_allclose(found[name][i], points, atol=1e-5)
            ahead = points[:, 2] > 0
            np.testing.assert_allclose(found[f'{name}_px'][i][ahead], pixels[ahead], rtol=1e-4)
            assert np.isnan(found[f'{name}_px'][i][~ahead]).all()
    wrist = CONVENTIONS['coco17'].names.index('right_wrist')
    assert np.isnan(found['coco17_px'][2, wrist]).all()


def test_json_says_the_same_with_names_and_units(people):
    """Strictly JSON: no NaN."""
    folder, frames = people

    def refuse(constant):
        raise AssertionError(constant)

    content = json.loads((folder / 'joints.json').read_text(), parse_constant=refuse)
    assert content['names']['h36m17'] == list(CONVENTIONS['h36m17'].names)
    assert 'metres' in content['units']['xyz']
    assert [(p['frame'], p['person']) for p in content['persons']] == [('a', 0), ('b', 0), ('b', 1)]
    assert content['persons'][0]['time'] is None
    points, pixels = expected(frames['b'], 0, 'coco17')
    joints = content['persons'][1]['joints']['coco17']
    np.testing.assert_allclose(joints['xyz'], points, atol=1e-5)
    np.testing.assert_allclose(joints['px'], pixels, atol=1e-2)
    wrist = CONVENTIONS['coco17'].names.index('right_wrist')
    assert content['persons'][2]['joints']['coco17']['px'][wrist] == [None, None]


def test_csv_says_the_same_a_joint_a_line(people):
    """Read by pandas."""
    folder, frames = people
    table = pd.read_csv(folder / 'joints.csv')
    columns = ['frame', 'time', 'person', 'convention', 'joint', 'x', 'y', 'z', 'px', 'py']
    assert list(table.columns) == columns
    assert len(table) == 3 * (24 + 25 + 17 + 17)
    for name, convention in CONVENTIONS.items():
        part = table[(table.frame == 'b') & (table.person == 0) & (table.convention == name)]
        assert part.joint.tolist() == list(convention.names)
        points, pixels = expected(frames['b'], 0, name)
        np.testing.assert_allclose(part[['x', 'y', 'z']], points, atol=1e-5)
        np.testing.assert_allclose(part[['px', 'py']], pixels, atol=1e-2)
    wrist = table[(table.convention == 'coco17') & (table.joint == 'right_wrist')]
    assert wrist.px.isna().tolist() == [False, False, True]


def test_nobody_is_a_file_without_rows(tmp_path):
    (tmp_path / 'frames').mkdir()
    joint_files.write_joints(tmp_path, False, ('json', 'csv'))
    assert results.read_arrays(tmp_path / 'joints.npz')['coco17'].shape == (0, 17, 3)
    assert json.loads((tmp_path / 'joints.json').read_text())['persons'] == []
    assert len((tmp_path / 'joints.csv').read_text().splitlines()) == 1


def test_a_video_has_the_joints_of_its_tracks(film):
    """In order of frames; smoothed, as the tracks are, and where the camera sees them."""
    out, summary = film
    found = results.read_arrays(out / 'joints.npz')
    assert found['frame'][:4].tolist() == ['000000', '000000', '000001', '000001']
    assert len(found['frame']) == 2 * summary['frames']
    for track_id in (0, 1):
        track = results.read_arrays(out / f'tracks/{track_id}.npz')
        rows = found['person'] == track_id
        np.testing.assert_allclose(found['smpl24'][rows], track['camera_joints'], atol=1e-6)
        openpose = track['camera_keypoints'][:, :25]
        np.testing.assert_allclose(found['openpose25'][rows], openpose, atol=1e-6)
        np.testing.assert_allclose(found['time'][rows], track['time'])
        # OpenPose's left wrist is SMPL's.
        np.testing.assert_allclose(openpose[:, 7], track['camera_joints'][:, 20], atol=1e-5)


def test_a_format_can_follow_a_finished_result(film, small_model, clip, tmp_path):
    """Only its file is new, and a repeat changes nothing."""
    out = tmp_path / 'r'
    shutil.copytree(film[0], out)
    settings = PredictSettings(boxes=str(clip / 'boxes.csv'), batch_size=4)
    content = lambda: {path: path.read_bytes() for path in out.rglob('*.*')}  # noqa: E731
    for formats, new in ((('csv',), {'joints.csv'}), (('csv',), set()), ((), set())):
        before = content()
        predict(small_model, str(clip / 'clip.avi'), str(out), settings._replace(format=formats))
        after = content()
        assert {path.name for path in after if after[path] != before.get(path)} == new
    with pytest.raises(ValueError, match=r"format=\['xml'\]: expected some of"):
        settings._replace(format=('xml',)).check()
