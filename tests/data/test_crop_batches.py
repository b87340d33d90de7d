"""Labels of augmented crops, from the devices, against float64 and SciPy's rotations."""

import pickle
import subprocess
import sys

import image_records
import jax
import numpy as np
import pytest
from conftest import quickstart_config
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.data import augment, crop_batches, crops, records
from tokenhmr_jax.tasks import make_task

CROP = 64


def drawn_records(rng, count=60):
    """Records of people in large pictures, upside up, and what is drawn of each."""
    settings = augment.AugmentSettings(rotation=0.8, extreme_crop=0.4)
    upright = Rotation.from_rotvec([np.pi, 0, 0])
    one = image_records.make(rng, resolution=CROP)
    for i in range(count):
        record, far = dict(one), rng.uniform(0, 6000, 2).astype(np.float32)
        for name in ('box_center', 'picture_principal_point', 'stored_origin'):
            record[name] = record[name] + far
        record['keypoints2d'] = record['keypoints2d'] + np.float32([*far, 0])
        # Within a hundredth of half a turn, near it, anywhere.
        turn = upright * Rotation.from_rotvec(rng.normal(0, (0.01, 0.3, 2)[i % 3], 3))
        record['global_orient'] = turn.as_rotvec().astype(np.float32)
        record['keypoints3d'] = rng.normal(0, 2, (44, 4)).astype(np.float32)
        person = record['keypoints2d'], record['box_size']
        yield record, augment.draw_augmentation(rng, settings, *person)


def expected_labels(record, drawn):
    """By the crop's matrix and SciPy, in float64."""
    names = ('keypoints2d', 'keypoints3d', 'global_orient', 'body_pose', 'picture_principal_point')
    points, points3d, orient, pose, principal = (record[n].astype(float) for n in names)
    if drawn.flip:
        points = points[skeleton.KEYPOINT_TWINS]
        points3d = points3d[skeleton.KEYPOINT_TWINS] * (-1, 1, 1, 1)
        orient, pose = orient * (1, -1, -1), pose[skeleton.JOINT_TWINS[1:] - 1] * (1, -1, -1)
    turn = Rotation.from_rotvec([0, 0, -drawn.rotation])
    matrix = augment.augmentation_matrix(record, drawn, CROP)
    focal, principal = crops.camera_in_crop(
        matrix, float(record['picture_focal_length']), principal
    )
    return {
        'keypoints2d': np.c_[crops.transform(matrix, points[:, :2]) / CROP - 0.5, points[:, 2]],
        'keypoints3d': np.c_[turn.apply(points3d[:, :3]), points3d[:, 3]],
        'global_orient': (turn * Rotation.from_rotvec(orient)).as_matrix(),
        'body_pose': pose,
        'camera': np.array([*(CROP / 2 - principal), CROP]) / focal,
    }


def test_labels_agree_with_float64_to_1e_6(rng):
    """Pictures up to 6,000 px wide; errors relative to 1, or to larger values."""
    pairs = list(drawn_records(rng))
    columns = [augment.augment_crop(*pair, CROP) for pair in pairs]
    columns = {name: np.stack([each[name] for each in columns]) for name in columns[0]}
    seeds = np.arange(len(pairs), dtype=np.int32)
    batch = jax.jit(crop_batches.image_batch)(crop_batches.crop_batch(columns, seeds))
    found = {name: np.asarray(x) for name, x in vars(batch).items() if x is not None}
    found['global_orient'] = Rotation.from_rotvec(found['global_orient'].astype(float)).as_matrix()
    expected = [expected_labels(*pair) for pair in pairs]
    for name in expected[0]:
        value = np.stack([each[name] for each in expected])
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    assert np.abs(found['keypoints2d'][..., :2]).max() > 2  # crops to a part, and beyond
    np.testing.assert_array_equal(found['seed'], seeds)
    assert not found['source'].any()


def test_placed_labels_are_seen_where_the_keypoints_are(rng):
    """Mirrored, turned, moved, zoomed: full perspective holds in the crop's camera."""
    record = image_records.make(rng)
    points = rng.normal(0, 0.5, (44, 3)) + record['transl']
    focal, middle = record['picture_focal_length'], record['picture_principal_point']
    record['keypoints3d'] = np.float32(np.c_[points, np.ones(44)])
    record['keypoints2d'][:, :2] = focal * points[:, :2] / points[:, 2:] + middle
    crop = augment.AugmentSettings(rotation=1.0, extreme_crop=0.5, extreme_crop_needs='part')
    for _ in range(12):
        person = record['keypoints2d'], record['box_size']
        drawn = augment.draw_augmentation(rng, crop, *person)
        found = crop_batches.labels_of(augment.augment_crop(record, drawn, CROP))
        seen, place = found['keypoints3d'][:, :3], found['camera']
        pixels = (seen[:, :2] / seen[:, 2:] - place[:2]) / place[2]
        np.testing.assert_allclose(pixels, found['keypoints2d'][:, :2], atol=1e-4)


def batch_of(record):
    row = augment.augment_crop(record, augment.Augmentation(), CROP).items()
    columns = {name: np.asarray(value)[None] for name, value in row}
    return crop_batches.crop_batch(columns, np.zeros(1, np.int32))


def test_fits_of_another_camera_are_turned_to_the_ray_that_it_looked_along(rng):
    record = image_records.make(rng)
    record['principal_point'] = record['box_center'] = np.float32([550, 100])
    batch = batch_of(record)
    found = crop_batches.turn_fitted(batch, np.array([True]))
    ray = np.array([*(record['box_center'] - record['picture_principal_point']) / 700, 1])
    ray /= np.linalg.norm(ray)
    axis = np.cross([0, 0, 1], ray)
    turn = Rotation.from_rotvec(np.arcsin(np.linalg.norm(axis)) * axis / np.linalg.norm(axis))
    np.testing.assert_allclose(turn.apply([0, 0, 1]), ray, atol=1e-7)
    expected = turn.apply(record['keypoints3d'][:, :3])
    np.testing.assert_allclose(found.keypoints3d[0, :, :3], expected, atol=1e-5)
    orient = turn * Rotation.from_rotvec(record['global_orient'])
    found_orient = Rotation.from_rotvec(np.asarray(found.global_orient[0]))
    assert (found_orient * orient.inv()).magnitude() < 1e-5
    # True labels, and fits under the picture's own camera, are as they should be.
    kept = crop_batches.turn_fitted(batch, np.array([False]))
    np.testing.assert_array_equal(kept.global_orient, batch.global_orient)
    own = batch_of(record | {'principal_point': record['picture_principal_point']})
    kept = crop_batches.turn_fitted(own, np.array([True]))
    np.testing.assert_array_equal(kept.keypoints3d, own.keypoints3d)
    np.testing.assert_array_equal(kept.global_orient, own.global_orient)


def test_older_records_have_the_camera_of_their_labels_or_a_guess(rng):
    record = image_records.make(rng)
    for name in records.PICTURE_CAMERA:
        del record[name]
    found = records.picture_camera(record)
    assert (found['picture_focal_length'], found['camera_source']) == (700, 1)
    np.testing.assert_array_equal(found['picture_principal_point'], record['principal_point'])
    # Fits in the square of the box.
    record['principal_point'], record['focal_length'] = record['box_center'], np.float32(6000)
    found = records.picture_camera(record)
    assert (found['picture_focal_length'], found['camera_source']) == (0, 0)
    labels = crop_batches.labels_of(augment.augment_crop(record, augment.Augmentation(), CROP))
    guess = 400 / np.tan(np.radians(55 / 2))  # half of 640 x 480's diagonal
    side = record['box_size'].max()
    expected = np.array([*(record['box_center'] - [319.5, 239.5]), side]) / guess
    np.testing.assert_allclose(labels['camera'], expected, rtol=1e-5)


@pytest.mark.parametrize('flip', [False, True])
def test_labels_that_do_not_change_stay_to_the_bit(rng, flip):
    record = image_records.make(rng)
    drawn = augment.Augmentation(scale=1.2, translation=(0.01, 0), flip=flip)
    found = crop_batches.labels_of(augment.augment_crop(record, drawn, CROP))
    mirror = [1, -1, -1] if flip else [1, 1, 1]
    np.testing.assert_array_equal(found['global_orient'], record['global_orient'] * mirror)
    twins = skeleton.KEYPOINT_TWINS if flip else np.arange(44)
    side = [-1 if flip else 1, 1, 1, 1]
    np.testing.assert_array_equal(found['keypoints3d'], record['keypoints3d'][twins] * side)
    for name in ('betas', 'gender', 'has_pose', 'has_betas'):
        np.testing.assert_array_equal(found[name], record[name])


def test_who_makes_crops_waits_for_no_large_library(tmp_path):
    """The transforms of a task, as workers get them."""
    task = make_task(quickstart_config('regressor', {'eval.truth': 'stored'}))
    file = tmp_path / 'transforms'
    file.write_bytes(pickle.dumps((task.train_transform, task.eval_transform)))
    code = (
        f'import pickle, sys; pickle.load(open({str(file)!r}, "rb")); '
        'import tokenhmr_jax.data.examples; '
        'large = {"jax", "flax", "scipy", "grain", "tensorflow_datasets", "tensorflow"}; '
        'assert not large & sys.modules.keys(), large & sys.modules.keys()'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
