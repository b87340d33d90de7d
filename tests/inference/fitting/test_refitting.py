"""Labels refitted with the picture's camera, and the report on how far they moved."""

import json

import image_records
import jax
import numpy as np
import pytest
from conftest import command
from etils import epath
from scipy.spatial.transform import Rotation

from tokenhmr_jax import refit
from tokenhmr_jax.body import keypoint_body, skeleton, smpl
from tokenhmr_jax.data import pipeline, records
from tokenhmr_jax.inference.fitting import label_changes, refitting
from tokenhmr_jax.readers import filters, shards
from tokenhmr_jax.tasks.regressor_targets import true_params
from tokenhmr_jax.training import sharding
from tokenhmr_jax.training.trained_run import BUNDLED, Trained, open_run

SIZE, COUNT = (320, 240), 5
ALL = filters.Filters(max_beta=None, max_reprojection_loss=None)


@pytest.fixture(scope='module')
def reduced(mannequin):
    return keypoint_body.reduce_body(mannequin)


@pytest.fixture(scope='module')
def run():
    return open_run(BUNDLED, kind='regressor')


def standing(number: int, reduced) -> dict:
    """A person who bends the arms and turns aside, two metres from the camera, upright."""
    rng = np.random.default_rng(number)
    record = image_records.make(rng, f'people/{number}', SIZE, 100.0, resolution=32)
    pose = np.zeros((23, 3), np.float32)
    pose[15:19] = rng.normal(0, 0.4, (4, 3))
    turn = Rotation.from_euler('y', rng.uniform(-40, 40), degrees=True)
    orient = (turn * Rotation.from_rotvec([np.pi, 0, 0])).as_rotvec()
    labels = {
        'global_orient': np.float32(orient),
        'body_pose': pose,
        'betas': np.float32(rng.normal(0, 0.5, 10)),
        'transl': np.float32([0.3, 0.1 * number, 2.0]),
        'principal_point': np.float32([159.5, 119.5]),
        'picture_principal_point': np.float32([159.5, 119.5]),
        'focal_length': np.float32(150),
        'picture_focal_length': np.float32(150),
    }
    points, pixels = seen(reduced, labels)
    ones = np.ones((44, 1), np.float32)
    labels['keypoints3d'] = np.concatenate([points, ones], axis=1)
    labels['keypoints2d'] = np.concatenate([pixels, ones], axis=1)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    labels |= {'box_center': (low + high) / 2, 'box_size': 1.2 * (high - low)}
    return record | labels


def seen(reduced, record):
    """3D keypoints of a record's labels without transl, and their pixels in the labels' camera."""
    params = true_params(*(record[n][None] for n in ('global_orient', 'body_pose', 'betas')))
    points = np.asarray(jax.jit(keypoint_body.keypoints)(reduced, params))[0]
    x, y, z = (points + record['transl']).T
    tangents = np.stack([x / z, y / z], axis=1)
    return points, np.float32(record['focal_length'] * tangents + record['principal_point'])


@pytest.fixture(scope='module')
def people(reduced):
    return [standing(i, reduced) for i in range(COUNT)]


@pytest.fixture(scope='module')
def folder(people, tmp_path_factory):
    """The people under wrong labels of a wrong camera, one without a known one, and the truth."""
    wrong = [
        record | {
            'body_pose': np.zeros((23, 3), np.float32),
            'focal_length': np.float32(5000),
            'principal_point': record['box_center'],
            'gender': np.float32(1),
        }
        for record in people
    ]  # fmt: skip
    wrong[2] |= {'camera_source': np.float32(0), 'picture_focal_length': np.float32(0)}
    path = tmp_path_factory.mktemp('refit')
    image_records.prepare(path, 'people', {'wrong': wrong, 'true': people})
    return path


def read(run, folder, keep=ALL):
    split = pipeline.open_split(str(folder), 'people/wrong')
    found = list(refitting.Refitter(run, split, keep).read(0, COUNT))
    remarks = [item.kind for item in found if isinstance(item, shards.Remark)]
    return [item for item in found if not isinstance(item, shards.Remark)], remarks


@pytest.mark.slow  # the compilation
def test_refitted_labels_project_onto_the_keypoints(run, folder, reduced, people):
    """By the pinhole formula from the labels."""
    found, remarks = read(run, folder)
    assert len(found) == COUNT - 1 and remarks.count(refitting.NO_CAMERA) == 1
    assert remarks.count(refitting.REFITTED) == COUNT - 1
    true = {record['key']: record for record in people}
    for record in found:
        records.check_record(record)
        points, pixels = seen(reduced, record)
        np.testing.assert_allclose(record['keypoints3d'][:, :3], points, atol=1e-5)
        assert record['focal_length'] == 150 and record['gender'] == 0
        given = true[record['key']]
        np.testing.assert_array_equal(record['keypoints2d'], given['keypoints2d'])
        off = np.linalg.norm(pixels - given['keypoints2d'][:, :2], axis=1).mean()
        assert off < 0.01 * record['box_size'].max()
        assert abs(record['transl'][2] - 2) < 0.5


@pytest.mark.slow  # the compilation
def test_filters_act_on_the_refit(run, folder):
    """No error is below a millionth of the box; no shape within a millionth of the mean."""
    found, remarks = read(run, folder, filters.Filters(max_reprojection_loss=1e-6))
    assert not found and remarks.count(filters.REPROJECTION) == COUNT - 1
    found, remarks = read(run, folder, filters.Filters(max_beta=1e-6))
    assert remarks.count(filters.BETAS) == COUNT - 1
    assert all(record['has_pose'] == record['has_betas'] == 0 for record in found)


def test_the_report_by_hand(folder, reduced, people, tmp_path, capsys):
    """One is gone; the others turned by 10 degrees; the truth is what they turned to."""
    turned = []
    for record in people[1:]:
        turn = Rotation.from_euler('y', 10, degrees=True)
        orient = turn * Rotation.from_rotvec(record['global_orient'])
        turned.append(record | {'global_orient': np.float32(orient.as_rotvec())})
    turned[0]['has_pose'] = np.float32(0)
    image_records.prepare(tmp_path, 'turned', {'true': turned})  # in the same order
    old = pipeline.open_split(str(folder), 'people/true')
    new = pipeline.open_split(str(tmp_path), 'turned/true')
    label_changes.report(reduced, old, new, new, epath.Path(tmp_path))
    text = (tmp_path / 'refit.md').read_text()
    assert text in capsys.readouterr().out
    assert 'of 5 persons of people/true 80.0% are kept, 60.0% with trusted labels' in text
    found = json.loads((tmp_path / 'refit.json').read_text())
    moved, errors = found['moved'], found['errors']
    assert moved['orient_deg'] == pytest.approx(10, abs=0.01)
    assert moved['pose_deg'] == pytest.approx(0, abs=0.05)
    assert moved['joint_mm'][0] == 0 and moved['distance'] == pytest.approx(2)
    # A chord of 10 degrees about the vertical axis through the pelvis.
    wrist, expected = skeleton.JOINTS.index('left_wrist'), []
    for record in people[1:]:
        params = true_params(*(record[n][None] for n in ('global_orient', 'body_pose', 'betas')))
        joints = np.asarray(smpl.forward(reduced.body, params).joints)[0]
        arm = (joints[wrist] - joints[0])[[0, 2]]
        expected.append(2000 * np.sin(np.radians(5)) * np.linalg.norm(arm))
    assert moved['joint_mm'][wrist] == pytest.approx(np.mean(expected), rel=1e-3)
    assert errors['orient_deg'] == pytest.approx(0, abs=0.05)
    assert errors['orient_deg before'] == pytest.approx(10, abs=0.01)
    assert errors['mpjpe_mm before'] > 10 > errors['mpjpe_mm'] and '2 to 2.5' in text


@pytest.mark.parametrize(
    'wrong, words',
    [
        ({'checkpoint': 'bundled'}, '--split is missing'),
        ({'split': 'people/wrong'}, '--checkpoint is missing'),
        ({'split': 'a/b', 'checkpoint': 'bundled', 'max_error': -1.0}, 'max_error=-1.0: expected'),
    ],
)
def test_settings_that_make_no_sense(wrong, words):
    with pytest.raises(ValueError, match=words):
        refit.Settings(**wrong)


@pytest.mark.slow
def test_a_network_that_sees_pictures_without_their_cameras(small_parts, folder, reduced):
    """It has learned nothing: its answers are moved towards the keypoints, or kept."""
    config, *rest = small_parts
    mesh = sharding.make_mesh(jax.devices()[:1])
    found, _ = read(Trained('tiny', config, 0, *rest, mesh), folder)
    assert len(found) == COUNT - 1
    for record in found:
        points, pixels = seen(reduced, record)
        np.testing.assert_allclose(record['keypoints3d'][:, :3], points, atol=1e-5)
        low, high = (record['box_center'] + s * record['box_size'] / 2 for s in (-1, 1))
        assert (np.median(pixels, axis=0) > low).all() and (np.median(pixels, axis=0) < high).all()


@pytest.mark.slow
def test_the_command_from_end_to_end(folder):
    """Its split is read as any other; run again, it only reports."""
    arguments = [
        '-m', 'tokenhmr_jax.refit', f'--data_dir={folder}', '--split=people/wrong',
        '--checkpoint=bundled', '--truth=people/true', '--name=anew',
    ]  # fmt: skip
    printed = command(*arguments)
    assert 'preparing: 4/4 persons' in printed
    assert f'1 {refitting.NO_CAMERA}' in printed and 'Errors against people/true' in printed
    split = pipeline.open_split(str(folder), 'refitted/anew/train')
    assert len(split) == 4 and split[0]['camera_source'] == 1
    assert (folder / 'refitted/anew/1.0.0/refit.json').is_file()
    again = command(*arguments)
    assert 'already prepared' in again and 'Errors against people/true' in again
    other = command(*arguments, '--max_error=3', expect=1)
    assert 'was prepared with max_error=4.0 (now 3.0)' in other
