"""Bodies on their keypoints: known bodies, seen by perspective cameras, and answers beside them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import keypoint_body, skeleton, smpl
from tokenhmr_jax.body import keypoint_conventions as conventions
from tokenhmr_jax.inference.fitting import keypoint_fit, refinement
from tokenhmr_jax.inference.pose_prior import PosePrior
from tokenhmr_jax.mannequin import poses
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.types import ImagePrediction, SmplParams

PEOPLE, FOCAL, MIDDLE = 16, 900.0, np.float32([640, 480])
KNEES = [skeleton.BODY_JOINTS.index(f'{side}_knee') for side in ('left', 'right')]
WRISTS = [skeleton.KEYPOINTS.index(name) for name in ('OP LWrist', 'OP RWrist')]


@pytest.fixture(scope='module')
def reduced(mannequin):
    return keypoint_body.reduce_body(mannequin)


def bodies(orient, vectors, betas) -> SmplParams:
    """Upright before the camera, then turned."""
    pose = np.tile(np.eye(3, dtype=np.float32), (len(orient), 23, 1, 1))
    turns = Rotation.from_rotvec(np.reshape(vectors, (-1, 3))).as_matrix()
    pose[:, :21] = turns.reshape(-1, 21, 3, 3)
    root = (orient * Rotation.from_matrix(np.diag([1.0, -1, -1]))).as_matrix()
    return SmplParams(np.float32(root), pose, np.float32(betas))


@pytest.fixture(scope='module')
def people(reduced):
    """True bodies, their keypoints in COCO's convention, and a network's answers."""
    rng = np.random.default_rng(4)
    vectors = np.stack([pose.body_pose for pose in poses.procedural((5,), PEOPLE)])
    yaw = Rotation.from_euler('y', rng.uniform(-180, 180, (PEOPLE, 1)), degrees=True)
    betas = rng.normal(0, 0.7, (PEOPLE, 10))
    true = bodies(yaw, vectors, betas)
    place = np.float32(rng.uniform([-0.7, -0.4, 2], [0.7, 0.4, 6], (PEOPLE, 3)))
    pixels = project(reduced, true, place)
    confidence = np.tile(conventions.GIVEN['coco'], (PEOPLE, 1))[..., None]
    seen = np.float32(np.concatenate([pixels, confidence], -1))
    noise = rng.normal(0, 0.15, vectors.shape) * (np.arange(21)[:, None] > 2)
    orient = Rotation.from_rotvec(rng.normal(0, 0.12, (PEOPLE, 3))) * yaw
    answer = bodies(orient, vectors, betas * 0.5)
    turned = Rotation.from_rotvec(noise.reshape(-1, 3)).as_matrix().reshape(-1, 21, 3, 3)
    answer.body_pose[:, :21] = np.float32(answer.body_pose[:, :21] @ turned)
    start = place * np.float32(rng.normal(1, 0.05, (PEOPLE, 1)))
    return true, place, seen, answer, start


def project(reduced, params, place):
    points = jax.jit(keypoint_body.keypoints)(reduced, params) + place[:, None]
    return np.asarray(FOCAL * points[..., :2] / points[..., 2:] + MIDDLE)


def side_of(seen):
    known = seen[0, :, 2] > 0
    return np.float32(1.2 * np.ptp(seen[:, known, :2], axis=1).max(-1))


def refine(reduced, params, start, seen, side):
    """As `refine`; always as many persons, so that all tests share one compilation."""
    count = len(start)
    parts = (params, start, seen, np.full(count, FOCAL, np.float32), np.tile(MIDDLE, (count, 1)))
    rows = np.arange(PEOPLE) % count
    padded = jax.tree.map(lambda x: jnp.asarray(x)[rows], (*parts, side))
    return jax.tree.map(lambda x: np.asarray(x)[:count], refinement.refine(reduced, *padded))


@pytest.fixture(scope='module')
def refined(reduced, people):
    _, _, seen, answer, start = people
    return refine(reduced, answer, start, seen, side_of(seen))


def errors(reduced, params, true):
    """MPJPE and PA-MPJPE of LSP's joints, mm."""
    points = [jax.jit(keypoint_body.keypoints)(reduced, p) for p in (params, true)]
    ours, theirs = (p[:, metrics.LSP14] - p[:, skeleton.PELVIS, None] for p in points)
    aligned = metrics.procrustes(ours, theirs)
    return [float(metrics.mean_distance_mm(p, theirs).mean()) for p in (ours, aligned)]


def bends(params):
    """Degrees of the knees, positive forwards as people can."""
    rotation = np.asarray(params.body_pose)[:, KNEES]
    return np.degrees(np.arctan2(rotation[..., 2, 1], rotation[..., 1, 1]))


def test_bodies_come_to_lie_on_their_keypoints_and_nearer_to_the_truth(reduced, people, refined):
    true, place, _, answer, start = people
    assert refined.changed.all()
    assert (refined.error_after < 0.6 * refined.error_before).all()
    assert refined.error_after.max() < 2
    before, after = errors(reduced, answer, true), errors(reduced, refined.params, true)
    assert after[0] < 0.6 * before[0] and after[1] < 0.85 * before[1]
    off, was = (np.abs(np.log(t[:, 2] / place[:, 2])).mean() for t in (refined.translation, start))
    assert off < was


def test_refined_bodies_are_smpls_and_told_of(reduced, people, refined):
    """Rotations are rotations, hands are kept, and the report's numbers are right."""
    _, _, seen, answer, start = people
    pose = refined.params.body_pose
    np.testing.assert_allclose(pose @ pose.swapaxes(-1, -2), np.eye(3) + 0 * pose, atol=1e-5)
    np.testing.assert_array_equal(pose[:, 21:], answer.body_pose[:, 21:])
    known = seen[0, :, 2] > 0
    places = ((answer, start, refined.error_before),
              (refined.params, refined.translation, refined.error_after))  # fmt: skip
    for params, place, told in places:
        off = np.linalg.norm(project(reduced, params, place) - seen[..., :2], axis=-1)
        np.testing.assert_allclose(100 * off[:, known].mean(1) / side_of(seen), told, rtol=1e-3)
    turn = Rotation.from_matrix(refined.params.global_orient @ answer.global_orient.mT)
    np.testing.assert_allclose(refined.turned_degrees, np.degrees(turn.magnitude()), rtol=1e-3)
    joints = [smpl.forward(reduced.body, p).joints for p in (answer, refined.params)]
    first, second = (np.asarray(j - j[:, :1]) for j in joints)
    moved = 1000 * np.linalg.norm(first - second, axis=-1).mean(1)
    np.testing.assert_allclose(refined.moved_mm, moved, rtol=1e-3)


def test_a_body_on_its_keypoints_stays(reduced, people):
    true, place, seen, _, _ = people
    found = refine(reduced, true, place, seen, side_of(seen))
    assert found.moved_mm.max() < 1 and found.turned_degrees.max() < 0.2
    assert found.error_after.max() < 0.02
    assert np.abs(found.translation / place - 1).max() < 0.01


def test_without_keypoints_the_answer_is_kept(reduced, people):
    """To the bit: confidences of zero, keypoints or an answer that are not finite."""
    _, _, seen, answer, start = people
    seen, start, pose = seen.copy(), start.copy(), answer.body_pose.copy()
    side = side_of(seen)
    seen[0, :, 2] = 0
    seen[1, :, 0] = np.nan
    start[2] = np.nan
    pose[3, 4] = np.nan
    answer = answer.replace(body_pose=pose)
    found = refine(reduced, answer, start, seen, side)
    assert found.changed.tolist() == [False] * 4 + [True] * (PEOPLE - 4)
    kept = jax.tree.map(lambda x: x[:4], (found.params, found.translation))
    given = jax.tree.map(lambda x: np.asarray(x)[:4], (answer, start))
    jax.tree.map(np.testing.assert_array_equal, kept, given)
    assert np.isnan(found.error_after[:2]).all() and found.moved_mm[:2].tolist() == [0, 0]


class PriorOf(PosePrior):
    """A prior to which one turn of the joints makes poses probable."""

    def __init__(self, turned):
        self.recover = lambda body_pose, noise: turned(body_pose)


def test_with_a_prior_the_probable_pose_takes_the_answers_place(reduced, people, refined):
    """The truth as the probable pose brings bodies nearer to it; who has no keypoints stays."""
    true, _, seen, answer, start = people
    seen, side = seen.copy(), side_of(seen)
    seen[0, :, 2] = 0
    given = start, seen, np.full(PEOPLE, FOCAL, np.float32), np.tile(MIDDLE, (PEOPLE, 1)), side
    known = lambda _: np.asarray(true.body_pose[:, :21])  # noqa: E731
    found = refinement.refine_with_prior(reduced, PriorOf(known), answer, *given)
    assert found.changed.tolist() == [False] + [True] * (PEOPLE - 1)
    np.testing.assert_array_equal(found.params.body_pose[0], answer.body_pose[0])
    np.testing.assert_array_equal(found.translation[0], start[0])
    later = lambda params: jax.tree.map(lambda x: x[1:], params)  # noqa: E731
    before = errors(reduced, later(refined.params), later(true))
    after = errors(reduced, later(found.params), later(true))
    assert after[1] < 0.5 * before[1]
    np.testing.assert_allclose(found.error_before[1:], refined.error_before[1:], rtol=1e-4)
    joints = [smpl.forward(reduced.body, p).joints for p in (answer, found.params)]
    first, second = (np.asarray(j - j[:, :1]) for j in joints)
    moved = 1000 * np.linalg.norm(first - second, axis=-1).mean(1)
    np.testing.assert_allclose(found.moved_mm, moved, rtol=1e-3, atol=1e-2)


def test_a_keypoint_that_is_not_finite_is_an_absent_one(reduced, people):
    _, _, seen, answer, start = people
    absent, broken = seen.copy(), seen.copy()
    absent[:, WRISTS[0]] = 0
    broken[:, WRISTS[0], 1] = np.inf
    one, other = (refine(reduced, answer, start, k, side_of(seen)) for k in (absent, broken))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_one_keypoint_shifts_the_body(reduced, people):
    """In the picture; pose and depth stay nearly as they are."""
    true, place, seen, _, _ = people
    alone = np.zeros_like(seen)
    nose = skeleton.KEYPOINTS.index('OP Nose')
    alone[:, nose] = seen[:, nose] + np.float32([30, 0, 0])
    found = refine(reduced, true, place, alone, side_of(seen))
    assert found.changed.all() and found.error_after.max() < 0.2
    assert found.moved_mm.max() < 10
    np.testing.assert_allclose(found.translation[:, 2], place[:, 2], rtol=0.01)
    shift = 30 * place[:, 2] / FOCAL
    assert np.abs(found.translation[:, 0] - place[:, 0] - shift).max() < 0.5 * shift.max()


def test_swapped_wrists_do_not_wreck_a_body(reduced, people):
    true, _, seen, answer, start = people
    swapped = seen.copy()
    swapped[:, WRISTS] = seen[:, WRISTS[::-1]]
    found = refine(reduced, answer, start, swapped, side_of(seen))
    before, after = errors(reduced, answer, true), errors(reduced, found.params, true)
    assert after[0] < before[0] and after[1] < 1.15 * before[1]


def test_knees_do_not_bend_backwards(reduced):
    """Seen from the side, keypoints ask for it."""
    count = 2
    yaw = Rotation.from_euler('y', [[90.0], [-90.0]], degrees=True)
    straight = bodies(yaw, np.zeros((count, 21, 3)), np.zeros((count, 10)))
    place = np.tile(np.float32([0, 0, 4]), (count, 1))
    vectors = np.zeros((count, 21, 3))
    vectors[:, KNEES, 0] = -0.5
    wrong = bodies(yaw, vectors, np.zeros((count, 10)))
    pixels = project(reduced, wrong, place)
    confidence = np.tile(conventions.GIVEN['coco'], (count, 1))[..., None]
    seen = np.float32(np.concatenate([pixels, confidence], -1))
    found = refine(reduced, straight, place, seen, side_of(seen))
    assert found.changed.all() and np.isfinite(found.translation).all()
    assert bends(found.params).min() > -5
    # And forwards they do.
    vectors[:, KNEES, 0] = 0.5
    pixels = project(reduced, bodies(yaw, vectors, np.zeros((count, 10))), place)
    seen = np.float32(np.concatenate([pixels, confidence], -1))
    found = refine(reduced, straight, place, seen, side_of(seen))
    assert bends(found.params).min() > 8


def test_steps_follow_the_derivatives_of_the_errors(reduced, people):
    """Beside automatic differentiation, also of straight knees; pose correctives are left out."""
    _, _, seen, answer, start = people
    person = jax.tree.map(lambda x: jnp.asarray(x)[0], (answer, start, seen))
    view = (jnp.asarray(v) for v in (np.float32(FOCAL), MIDDLE, side_of(seen)[0]))
    problem = keypoint_fit.make_problem(*person, *view)
    errors_of = functools.partial(keypoint_fit.residuals, reduced)
    for scale in (0, 0.7):
        x = jnp.asarray(np.random.default_rng(0).normal(0, scale, 79), jnp.float32)
        expected = jax.jit(jax.jacfwd(errors_of, 1))(problem, x)
        found = jax.jit(keypoint_fit.linearise)(reduced, problem, x)[2:]
        for ours, theirs in zip(found, expected, strict=True):
            assert np.isfinite(ours).all()
            np.testing.assert_allclose(ours, theirs, atol=0.02 * np.abs(theirs).max())


@pytest.mark.slow
def test_predictions_are_refined_whole(mannequin, reduced, people, refined):
    """Any number of persons: as one by one, with all that follows from the pose."""
    _, _, seen, answer, start = people
    count = 9
    output = smpl.forward(mannequin, answer)
    prediction = ImagePrediction(
        params=answer,
        vertices=np.asarray(output.vertices),
        joints=np.asarray(output.joints),
        keypoints3d=np.asarray(smpl.keypoints(mannequin, output)),
        keypoints2d=project(reduced, answer, start),
        crop_camera=np.ones((PEOPLE, 3), np.float32),
        crop_translation=np.ones((PEOPLE, 3), np.float32),
        crop_center=np.ones((PEOPLE, 2), np.float32),
        crop_side=side_of(seen),
        translation=start,
        focal_length=np.full(PEOPLE, FOCAL, np.float32),
        principal_point=np.tile(MIDDLE, (PEOPLE, 1)),
        residual_token_probs=None,
        pose_token_probs=None,
        own_token_probs=None,
        samples=None,
    )
    seen = seen.copy()
    seen[count - 1] = 0
    some = jax.tree.map(lambda x: x[:count], prediction)
    found, report = refinement.refine_prediction(reduced, mannequin, some, seen[:count])
    assert report.changed.tolist() == [True] * (count - 1) + [False]
    last = jax.tree.map(lambda x: x[count - 1], (some.params, some.keypoints2d))
    kept = jax.tree.map(lambda x: x[count - 1], (found.params, found.keypoints2d))
    jax.tree.map(np.testing.assert_array_equal, kept, last)
    # Rounding is another in batches of another size.
    np.testing.assert_allclose(found.translation[:8], refined.translation[:8], rtol=1e-3)
    off = np.abs(found.params.body_pose[:8] - refined.params.body_pose[:8])
    assert off.max() < 0.01
    output = smpl.forward(mannequin, found.params)
    np.testing.assert_allclose(found.vertices, output.vertices, atol=1e-5)
    np.testing.assert_allclose(found.joints, output.joints, atol=1e-5)
    np.testing.assert_allclose(found.keypoints3d, smpl.keypoints(mannequin, output), atol=1e-5)
    pixels = project(reduced, found.params, found.translation)
    np.testing.assert_allclose(found.keypoints2d, pixels, atol=0.1)
