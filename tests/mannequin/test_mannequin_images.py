"""Drawn people: labels agree with the pictures, and fitted labels reproject onto the keypoints."""

import io
import pathlib

import cv2
import jax
import numpy as np
import pytest
from random_body import random_smpl
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import keypoint_body, rotations, skeleton, smpl
from tokenhmr_jax.data import records
from tokenhmr_jax.mannequin import people, poses, pseudo_gt, scenes
from tokenhmr_jax.readers import workers
from tokenhmr_jax.studies import camera_curve
from tokenhmr_jax.types import SmplParams

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / 'datasets/mannequin/mannequin_dataset_builder.py'
SIZE = (213, 160)


@pytest.fixture(scope='module', autouse=True)
def small_jobs():
    """Every job is padded to this size, which costs time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, 'JOB_SIZE', 16)
        yield


def job(count=6, look='suit', views=scenes.EVERYWHERE, start=0, seed=(3, 1), pseudo=False):
    drawn = list(poses.procedural((3, 0), start + count))[start:]
    return people.DrawingJob(
        look=look,
        views=views,
        image_size=SIZE,
        seed=seed,
        start=start,
        keys=[pose.key for pose in drawn],
        global_orient=np.stack([pose.global_orient for pose in drawn]),
        body_pose=np.stack([pose.body_pose for pose in drawn]),
        pseudo=pseudo,
    )


axis_angle_to_matrix = jax.jit(rotations.axis_angle_to_matrix)


@jax.jit
def keypoints_of(body, params):
    return smpl.keypoints(body, smpl.forward(body, params))


def params_of(labels):
    """Several records."""
    names = ('global_orient', 'body_pose', 'betas')
    orient, pose, betas = (np.stack([one[name] for one in labels]) for name in names)
    return SmplParams(axis_angle_to_matrix(orient), axis_angle_to_matrix(pose), betas)


@pytest.fixture(scope='module')
def drawn():
    return people.run_job(job()).records


@pytest.fixture(scope='module')
def fitted():
    """The same people with true labels and with fitted ones."""
    close = job(16, views=scenes.CLOSE)
    return people.run_job(close).records, people.run_job(close._replace(pseudo=True))


def test_labels_project_onto_the_keypoints(drawn, mannequin):
    """By the body model from the labels, and by the pinhole formula, in NumPy."""
    points = keypoints_of(mannequin, params_of(drawn))
    for record, own in zip(drawn, np.asarray(points), strict=True):
        np.testing.assert_allclose(record['keypoints3d'][:, :3], own, atol=2e-6)
        x, y, z = (own + record['transl']).T
        focal, (cx, cy) = record['focal_length'], record['principal_point']
        seen = np.stack([focal * x / z + cx, focal * y / z + cy], axis=1)
        np.testing.assert_allclose(record['keypoints2d'][:, :2], seen, atol=2e-3)


def test_distance_perspective_and_framing(drawn):
    for person in people.place_people(job(people.JOB_SIZE)):
        center = person.placement.box_center
        assert (center > 0).all() and (center < SIZE).all()
        placed = person.vertices + person.placement.transl
        assert placed[:, 2].min() > 0.3
        field_of_view = 2 * np.arctan(SIZE[1] / 2 / person.placement.focal_length)
        assert np.rad2deg(field_of_view) <= 90.01
    for record in drawn:
        pelvis = record['keypoints3d'][skeleton.KEYPOINTS.index('OP MidHip'), :3]
        assert 1.19 < (pelvis + record['transl'])[2] < 8.3


@pytest.mark.parametrize('look', people.LOOKS)
def test_drawn_pixels_lie_in_the_box(look, monkeypatch):
    """The box is 1.2 times as large as what is drawn, and has it in its middle."""
    for person in people.place_people(job(3, look)):
        monkeypatch.setattr(people.clothes, 'occlude', lambda rng, image, *box: image)
        monkeypatch.setattr(people.clothes, 'add_blur_and_noise', lambda rng, image: image)
        stages = {'suit': people.clothes.suit_stage, 'clothed': people.clothes.clothed_stage}
        state = person.rng.bit_generator.state
        background = stages[look](person.rng, people.studio().skin, SIZE).background
        person.rng.bit_generator.state = state
        image = people.draw_person(person, look, SIZE)
        rows, columns = np.nonzero((image != background).any(axis=2))
        low, high = (np.array([f(columns), f(rows)]) for f in (np.min, np.max))
        placement = person.placement
        np.testing.assert_array_less(placement.box_center - placement.box_size / 2, low)
        np.testing.assert_array_less(high, placement.box_center + placement.box_size / 2)
        inside = (placement.box_center - placement.box_size / 2.4 > 0).all()
        if inside and (placement.box_center + placement.box_size / 2.4 < SIZE).all():
            np.testing.assert_allclose((low + high) / 2, placement.box_center, atol=2)
            np.testing.assert_allclose(1.2 * (high - low + 1), placement.box_size, atol=4)


def test_left_is_warm_right_is_cold():
    """A person in T-pose, facing the camera: their left arm is on the image's right, and red."""
    front = job(1)._replace(
        views=scenes.Views(distance=(6.0, 6.0), pitch=(0.0, 0.0), roll=0.0),
        body_pose=np.zeros((1, 21, 3), np.float32),
    )
    (person,) = people.place_people(front)
    # The body turns against the view's random heading.
    heading = (
        Rotation.from_rotvec([np.pi, 0, 0])
        * Rotation.from_rotvec(person.labels['global_orient']).inv()
    )
    world = scenes.sample_view(np.random.default_rng((3, 1, 0)), front.views).rotation
    turn = Rotation.from_matrix(world.T) * heading * Rotation.from_matrix(world)
    orient = turn * Rotation.from_rotvec(front.global_orient[0])
    front = front._replace(global_orient=orient.as_rotvec()[None].astype(np.float32))
    (person,) = people.place_people(front)
    facing = Rotation.from_rotvec(person.labels['global_orient']).as_matrix()
    np.testing.assert_allclose(facing, np.diag([1.0, -1.0, -1.0]), atol=1e-5)
    image = people.draw_person(person, 'suit', SIZE).astype(int)
    seen = scenes.project_body(person.points, person.placement)
    at = {name: seen[i] for i, name in enumerate(skeleton.KEYPOINTS)}
    assert at['OP LElbow'][0] > at['OP Neck'][0] > at['OP RElbow'][0]
    for joint, warm in (('LElbow', True), ('LKnee', True), ('RElbow', False), ('RKnee', False)):
        x, y = at[f'OP {joint}'].round().astype(int)
        red, _, blue = image[y, x]
        assert (red > blue) == warm, joint
    x, y = ((at['OP LShoulder'] + at['OP RHip']) / 2).round().astype(int)
    assert np.ptp(image[y, x]) < 20 and image[y, x].min() > 90  # the trunk's front is white


def test_a_person_depends_on_seed_and_number_alone(drawn):
    again = people.run_job(job()).records
    alone = people.run_job(job(2, start=4)).records
    other = people.run_job(job(2, seed=(4, 1))).records
    for record, same in zip(drawn[4:] + drawn, alone + again, strict=True):
        for name in records.SHAPES:
            np.testing.assert_array_equal(record[name], same[name])
        assert record['image'] == same['image']
    assert drawn[0]['image'] != other[0]['image']
    assert not np.allclose(drawn[0]['global_orient'], other[0]['global_orient'])


def test_looks_share_people_but_not_pixels(drawn):
    clothed = people.run_job(job(2, 'clothed')).records
    for suit, record in zip(drawn, clothed, strict=False):
        np.testing.assert_array_equal(suit['keypoints2d'], record['keypoints2d'])
        assert suit['image'] != record['image']


def test_the_stored_picture_shows_the_person_where_it_says(drawn):
    """The head of a person in a suit is skin or hair, not the background's gradient."""
    record = drawn[0]
    picture = cv2.imdecode(np.frombuffer(record['image'], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    neck = record['keypoints2d'][skeleton.KEYPOINTS.index('H36M Jaw'), :2]
    x, y = ((neck - record['stored_origin']) * record['stored_scale']).round().astype(int)
    red, green, blue = picture[y, x].astype(int)
    assert red > green > blue


@pytest.mark.parametrize('source', ['mannequin', 'random'])
def test_the_reduced_body_has_the_same_keypoints(source, mannequin, rng):
    body = mannequin if source == 'mannequin' else smpl.body_from_arrays(random_smpl(1))
    params = SmplParams(
        axis_angle_to_matrix(rng.normal(0, 1, (4, 3)).astype(np.float32)),
        axis_angle_to_matrix(rng.normal(0, 0.5, (4, 23, 3)).astype(np.float32)),
        rng.normal(0, 1, (4, 10)).astype(np.float32),
    )
    expected = keypoints_of(body, params)
    found = jax.jit(keypoint_body.keypoints)(keypoint_body.reduce_body(body), params)
    np.testing.assert_allclose(found, expected, atol=2e-5 if source == 'random' else 2e-6)


def test_reduction_refuses_what_it_cannot_do(mannequin):
    with pytest.raises(ValueError, match='no regressor for the 19'):
        keypoint_body.reduce_body(mannequin.replace(extra_regressor=None))
    row = np.zeros((19, 6890), np.float32)
    row[:, :2] = 1.0, -1.0
    with pytest.raises(ValueError, match='cancel'):
        weights = mannequin.weights.at[:2].set(mannequin.weights[0])
        keypoint_body.reduce_body(mannequin.replace(extra_regressor=row, weights=weights))


@pytest.mark.slow
def test_fitted_labels_reproject_but_are_wrong(fitted, mannequin):
    true, (pseudo, errors) = fitted
    reached = 0
    points = keypoints_of(mannequin, params_of(pseudo))
    for before, after, own in zip(true, pseudo, np.asarray(points), strict=True):
        np.testing.assert_array_equal(before['keypoints2d'], after['keypoints2d'])
        assert before['image'] == after['image']
        np.testing.assert_allclose(after['keypoints3d'][:, :3], own, atol=1e-5)
        seen = own + after['transl']
        seen = after['focal_length'] * seen[:, :2] / seen[:, 2:] + after['principal_point']
        error = np.linalg.norm(seen - after['keypoints2d'][:, :2], axis=1).mean()
        reached += error / after['box_size'].max() * 256 < 3
        assert np.abs(after['body_pose'][21:]).max() == 0
    assert reached >= 14  # of 16 people, within 3 px of a crop of 256
    assert errors['l1_2d'].mean() < 0.01
    assert 60 < errors['mpjpe_mm'].mean() < 300
    assert (errors['pa_mpjpe_mm'] < errors['mpjpe_mm']).all()


@pytest.mark.slow
def test_label_errors_by_another_method(fitted):
    true, (pseudo, errors) = fitted
    lsp = [*range(25, 38), 43]
    for i, (before, after) in enumerate(zip(true, pseudo, strict=True)):
        centred = [r['keypoints3d'][:, :3] - r['keypoints3d'][39, :3] for r in (before, after)]
        distance = np.linalg.norm(centred[0][lsp] - centred[1][lsp], axis=1)
        np.testing.assert_allclose(errors['mpjpe_mm'][i], 1000 * distance.mean(), rtol=1e-4)
        turns = [Rotation.from_rotvec(r['body_pose'][:21]) for r in (before, after)]
        angle = np.rad2deg((turns[0].inv() * turns[1]).magnitude())
        np.testing.assert_allclose(errors['angle_deg'][i, 1:22], angle, atol=0.05)
    mean = pseudo_gt.mean_errors([errors, errors])
    assert mean['mpjpe_mm'] == pytest.approx(errors['mpjpe_mm'].mean(), rel=1e-3)
    assert f'MPJPE {mean["mpjpe_mm"]:.1f} mm' in pseudo_gt.describe_fit(mean)


@pytest.mark.slow
def test_a_fit_finds_the_body_that_it_was_given():
    """Keypoints of the prior's own body under the wrong camera leave little to explain."""
    reduced = people.studio().reduced
    orient = np.array([[np.pi, 0, 0]], np.float32)
    params = SmplParams(
        axis_angle_to_matrix(orient),
        axis_angle_to_matrix(pseudo_gt.MEAN_POSE[None]),
        np.zeros((1, 10), np.float32),
    )
    points = np.asarray(jax.jit(keypoint_body.keypoints)(reduced, params))
    seen = 5000 / 256 * (points[..., :2] + [0.1, -0.2]) / (points[..., 2:] + 45.0)
    target = np.concatenate([seen, np.ones((1, 44, 1))], axis=-1).astype(np.float32)
    fit = pseudo_gt.fit_bodies(reduced, target, orient)
    # The penalty on bending the wrong way is never quite zero: it bends straight limbs a little.
    np.testing.assert_allclose(fit.keypoints2d[0], seen[0], atol=3e-3)
    np.testing.assert_allclose(fit.transl[0, :2], [0.1, -0.2], atol=0.05)
    np.testing.assert_allclose(fit.transl[0, 2], 45.0, atol=1.0)
    assert np.abs(np.asarray(fit.body_pose[0, :21]) - pseudo_gt.MEAN_POSE).max() < 0.5


def test_true_bodies_look_wrong_from_near():
    """Known for the method: 0.027, 0.016, 0.009, 0.004 of the crop, as means of |dx| and |dy|."""
    error = camera_curve.camera_errors((1.5, 2.5, 4.0, 8.0), 64).mean(axis=1) / 2
    np.testing.assert_allclose(error, (0.027, 0.016, 0.009, 0.004), rtol=0.35)
    np.testing.assert_allclose(error[2] / error[3], 2, rtol=0.1)  # far away, as 1 / distance
    plots = pytest.importorskip('tokenhmr_jax.drawing.study_plots', exc_type=ImportError)
    figure = plots.plot_camera_curve((1.5, 2.5), np.tile([[0.03], [0.02]], 5), 0.01)
    mean, threshold = figure.axes[0].lines
    np.testing.assert_allclose(mean.get_xydata(), [[1.5, 0.03], [2.5, 0.02]])
    assert set(threshold.get_ydata()) == {0.01}
    picture = io.BytesIO()
    figure.savefig(picture)
    image = cv2.imdecode(np.frombuffer(picture.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    assert image.dtype == np.uint8 and (image != 255).any()


@pytest.mark.slow
def test_processes_give_what_one_gives(drawn):
    with workers.start_pool(2) as pool:
        (result,) = people.run_jobs([job()], pool)
    for record, same in zip(drawn, result.records, strict=True):
        np.testing.assert_array_equal(record['keypoints2d'][:, 2], same['keypoints2d'][:, 2])
        # Another number of threads may round otherwise.
        np.testing.assert_allclose(record['keypoints2d'], same['keypoints2d'], atol=1e-3)
