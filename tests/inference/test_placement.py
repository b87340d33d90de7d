"""Bodies of crops in the camera of their image: on their keypoints, turned as they are seen."""

import jax
import numpy as np
import pytest
import scipy.optimize
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import camera, smpl
from tokenhmr_jax.inference.placement import place_bodies
from tokenhmr_jax.mannequin import poses
from tokenhmr_jax.types import RegressorOutput, SmplParams

PICTURE, PEOPLE = 1000, 200


def project(points, translation, focal_length, middle):
    seen = points + translation[:, None]
    return focal_length[:, None, None] * seen[..., :2] / seen[..., 2:] + middle[:, None]


def off(found, expected):
    """Mean distances per person, pixels."""
    return np.linalg.norm(found - expected, axis=-1).mean(axis=1)


def answer(body, params, weak) -> RegressorOutput:
    """A network's, which sees these bodies in crops."""
    posed = jax.jit(smpl.forward)(body, params)
    points = smpl.keypoints(body, posed)
    seen = camera.project_crop(points, camera.crop_translation(weak))
    return jax.device_get(RegressorOutput(params, weak, posed, points, seen, token_probs=None))


@pytest.fixture(scope='module')
def people(mannequin):
    """Answers for random poses, and their views: crops of 100 to 400 px, 30 to 110 degrees."""
    rng = np.random.default_rng(0)
    pose = np.tile(np.eye(3, dtype=np.float32), (PEOPLE, 23, 1, 1))
    vectors = np.stack([clip.body_pose for clip in poses.procedural((5,), PEOPLE)])
    pose[:, :21] = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(-1, 21, 3, 3)
    upright = Rotation.from_matrix(np.diag([1.0, -1, -1]))
    yaw = Rotation.from_euler('y', rng.uniform(-180, 180, (PEOPLE, 1)), degrees=True)
    orient = (Rotation.from_rotvec(rng.normal(0, 0.12, (PEOPLE, 3))) * yaw * upright).as_matrix()
    params = SmplParams(np.float32(orient), pose, np.float32(rng.normal(0, 1, (PEOPLE, 10))))
    weak = np.concatenate([rng.uniform(0.7, 1, (PEOPLE, 1)), rng.normal(0, 0.05, (PEOPLE, 2))], 1)
    view = {
        'center': rng.uniform(0.1, 0.9, (PEOPLE, 2)) * PICTURE,
        'side': np.exp(rng.uniform(*np.log([100, 400]), PEOPLE)),
        'focal_length': PICTURE / 2 / np.tan(np.radians(rng.uniform(15, 55, PEOPLE))),
        'principal_point': np.full((PEOPLE, 2), PICTURE / 2),
    }
    view = {name: np.float32(value) for name, value in view.items()}
    return answer(mannequin, params, np.float32(weak)), view


@pytest.fixture(scope='module')
def placed(people):
    output, view = people
    return jax.device_get(place_bodies(output, **view, knows_camera=False, places_bodies=False))


def test_mesh_camera_and_keypoints_agree(people, placed):
    """As nearly as a turned body can: the crop's parallel camera is not the image's."""
    output, view = people
    lens = view['focal_length'], view['principal_point']
    expected = camera.to_full_pixels(output.keypoints2d, view['center'], view['side'])
    np.testing.assert_allclose(placed.keypoints2d, expected, atol=1e-3)  # where they were seen
    after = off(project(placed.keypoints3d, placed.translation, *lens), expected)
    # Turned by no more than parallel axes, placed as by TokenHMR.
    as_seen = output.camera, view['center'], view['side'], *lens
    before = off(project(output.keypoints3d, camera.full_translation(*as_seen), *lens), expected)
    assert after.mean() < 2.4 and np.median(after) < 1.8 and after.max() < 12
    assert after.mean() < 0.45 * before.mean() and (after < before).mean() > 0.95
    assert (after / view['side']).mean() < 0.013
    narrow = PICTURE / view['focal_length'] < 2 * np.tan(np.radians(30))
    assert after[narrow].mean() < 1.6


def test_no_other_translation_brings_the_body_nearer(people, placed):
    _, view = people
    for i in range(0, PEOPLE, 10):
        lens = view['focal_length'][i : i + 1], view['principal_point'][i : i + 1]
        points = placed.keypoints3d[i : i + 1].astype(np.float64)

        def errors(translation, i=i, lens=lens, points=points):
            return (project(points, translation[None], *lens)[0] - placed.keypoints2d[i]).ravel()

        best = scipy.optimize.least_squares(errors, placed.translation[i])
        np.testing.assert_allclose(placed.translation[i], best.x, rtol=1e-3, atol=1e-3)


def test_bodies_are_those_of_their_parameters(people, placed, mannequin):
    """The root turns about its own joint."""
    output, _ = people
    params = output.params.replace(global_orient=placed.global_orient)
    posed = jax.jit(smpl.forward)(mannequin, params)
    np.testing.assert_allclose(placed.body.vertices, posed.vertices, atol=1e-5)
    np.testing.assert_allclose(placed.body.joints, posed.joints, atol=1e-5)
    np.testing.assert_allclose(placed.keypoints3d, smpl.keypoints(mannequin, posed), atol=1e-5)


@pytest.mark.parametrize('tangent', [(0.7, 0.0), (-0.5, 0.3), (0.0, -0.6)])
def test_a_person_at_the_edge_is_found_as_they_stand(mannequin, tangent):
    """The crop shows them turned by the angle they are seen at, atan(offset / focal length)."""
    ray = np.array([*tangent, 1.0])
    angle = np.arctan(np.hypot(*tangent))
    axis = np.cross(ray, [0, 0, 1]) / np.hypot(*tangent)
    to_ray = Rotation.from_rotvec(angle * axis)  # the ray becomes the middle
    np.testing.assert_allclose(to_ray.apply(ray)[:2], 0, atol=1e-12)
    upright = Rotation.from_euler('y', 30, degrees=True) * Rotation.from_matrix(
        np.diag([1.0, -1, -1])
    )
    rest = np.broadcast_to(np.eye(3, dtype=np.float32), (1, 23, 3, 3))
    shown = SmplParams(
        np.float32((to_ray * upright).as_matrix())[None], rest, np.zeros((1, 10), np.float32)
    )
    # A crop of 90 px around the person: the scale 0.9 makes two metres 81 px.
    view = {
        'center': np.float32([ray[:2] * 700 + 500]),
        'side': np.float32([90]),
        'focal_length': np.float32([700]),
        'principal_point': np.float32([[500, 500]]),
    }
    output = answer(mannequin, shown, np.float32([[0.9, 0, 0]]))
    found = place_bodies(output, **view, knows_camera=False, places_bodies=False)
    turn = Rotation.from_matrix(np.asarray(found.global_orient[0])) * upright.inv()
    assert np.degrees(turn.magnitude()) < 1.5
    # Along their ray, where the crop's parallel camera measures: 2 m / 81 px, less the slant.
    distance = np.linalg.norm(found.translation[0])
    direction = np.asarray(found.translation[0]) / distance
    assert np.degrees(np.arccos(direction @ ray / np.linalg.norm(ray))) < 3
    assert distance == pytest.approx(2 / 81 * 700 / np.cos(angle), rel=0.15)


def test_a_network_that_knows_the_camera_is_not_turned_again(people):
    """Its body stays, and its keypoints are those of the body."""
    output, view = people
    found = jax.device_get(place_bodies(output, **view, knows_camera=True, places_bodies=False))
    np.testing.assert_array_equal(found.global_orient, output.params.global_orient)
    np.testing.assert_array_equal(found.body.vertices, output.body.vertices)
    lens = view['focal_length'], view['principal_point']
    pixels = project(found.keypoints3d, found.translation, *lens)
    np.testing.assert_allclose(found.keypoints2d, pixels, atol=1e-2)


def test_a_network_that_places_bodies_is_taken_at_its_word(people):
    """Off the axis too, its body is projected to where it says, as in its training."""
    output, view = people
    place = np.c_[view['center'] - view['principal_point'], view['side']]
    place /= view['focal_length'][:, None]
    seen = camera.project_in_picture(output.keypoints3d, output.camera, place)
    output = output.replace(keypoints2d=np.asarray(seen))
    found = jax.device_get(place_bodies(output, **view, knows_camera=True, places_bodies=True))
    np.testing.assert_array_equal(found.global_orient, output.params.global_orient)
    lens = view['focal_length'], view['principal_point']
    expected = camera.full_translation(output.camera, view['center'], view['side'], *lens)
    np.testing.assert_allclose(found.translation, expected, rtol=1e-4, atol=1e-5)
    pixels = camera.to_full_pixels(output.keypoints2d, view['center'], view['side'])
    np.testing.assert_allclose(found.keypoints2d, pixels, atol=0.02)


def test_impossible_answers_are_finite(people):
    """A network that has learned nothing: scales near zero and below, bodies beside the crop."""
    output, view = people
    weak = np.float32(output.camera)
    weak[:50, 0], weak[50:100, 0], weak[100:, 1] = -0.5, 1e-3, 50
    seen = camera.project_crop(output.keypoints3d, camera.crop_translation(weak))
    output = output.replace(camera=weak, keypoints2d=seen)
    for knows, places in ((False, False), (True, False), (True, True)):
        found = place_bodies(output, **view, knows_camera=knows, places_bodies=places)
        for value in jax.tree.leaves(found.replace(keypoints2d=None)):
            assert np.isfinite(value).all()


def test_keypoints_do_not_move_with_the_focal_length(small_model):
    """A person at the left edge, the lens of 800 px, and a guess of 1410."""
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    box = [[40, 130, 200, 590]]
    known, guessed = small_model.predict(image, box, 800.0), small_model.predict(image, box)
    np.testing.assert_allclose(known.keypoints2d, guessed.keypoints2d, atol=1e-3)
    for found, most in ((known, 3.0), (guessed, 1.5)):
        pixels = project(
            found.keypoints3d, found.translation, found.focal_length, found.principal_point
        )
        assert off(pixels, found.keypoints2d)[0] < most
