"""Crop camera and full-image camera: by hand, against each other, and there and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import camera

BOX_CENTER = np.array([[900.0, 400.0], [200.0, 500.0]], np.float32)
BOX_SIZE = np.array([300.0, 180.0], np.float32)
PRINCIPAL_POINT = np.array([[640.0, 360.0]] * 2, np.float32)
FOCAL_LENGTH = np.array([1400.0, 900.0], np.float32)
CAMERA = np.array([[0.9, 0.1, -0.2], [1.1, -0.05, 0.3]], np.float32)


@pytest.fixture
def bodies(rng):
    """Points of the size of people, around the origin."""
    return rng.uniform([-0.4, -0.9, -0.3], [0.4, 0.9, 0.3], (2, 44, 3)).astype(np.float32)


def project_full(points, focal_length, principal_point):
    """Pixels of points in the full-image camera."""
    shifted = focal_length[:, None, None] * points[..., :2] / points[..., 2:]
    return shifted + principal_point[:, None]


def test_two_metres_fill_the_crop_at_scale_one():
    translation = camera.crop_translation(jnp.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(translation, [0, 0, 2 * 5000 / 256], rtol=1e-6)
    points = jnp.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 5.0]])
    expected = [[0.5, 0], [0, 0.5], [0, 0]]
    np.testing.assert_allclose(camera.project_crop(points, translation), expected, atol=1e-6)


def test_crop_camera_there_and_back():
    np.testing.assert_allclose(
        camera.crop_camera(camera.crop_translation(CAMERA)), CAMERA, rtol=1e-6
    )


def test_full_translation_puts_the_body_where_the_crop_shows_it(bodies):
    """Exactly so in the plane of the body's origin, and nearly for all of a far body."""
    flat = bodies * np.array([1, 1, 0], np.float32)
    for points, tolerance in ((flat, 2e-3), (bodies, 20.0)):
        seen = camera.project_crop(points, camera.crop_translation(CAMERA))
        expected = camera.to_full_pixels(seen, BOX_CENTER, BOX_SIZE)
        translation = camera.full_translation(
            CAMERA, BOX_CENTER, BOX_SIZE, FOCAL_LENGTH, PRINCIPAL_POINT
        )
        assert (translation[:, 2] > 5).all()
        found = project_full(points + translation[:, None], FOCAL_LENGTH, PRINCIPAL_POINT)
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_crop_units_there_and_back(rng):
    pixels = rng.uniform(0, 1000, (2, 7, 2)).astype(np.float32)
    units = camera.to_crop_units(pixels, BOX_CENTER, BOX_SIZE)
    np.testing.assert_allclose(units[0, 0], (pixels[0, 0] - [900, 400]) / 300, rtol=1e-5)
    np.testing.assert_allclose(
        camera.to_full_pixels(units, BOX_CENTER, BOX_SIZE), pixels, rtol=1e-5
    )


def test_the_crop_camera_is_a_perspective_camera_of_the_crop(bodies):
    translation = camera.crop_translation(CAMERA)
    zero = jnp.zeros((2, 2))
    pixels = project_full(bodies + translation[:, None], jnp.full(2, 5000.0), zero)
    found = camera.to_crop_units(pixels, zero, jnp.full(2, 256.0))
    np.testing.assert_allclose(found, camera.project_crop(bodies, translation), atol=1e-6)


def test_off_the_axis_a_body_is_seen_from_the_side_of_its_ray(bodies):
    """Far away at angle a, what is seen sideways is the body turned by a about the vertical."""
    angle, distance, focal_length = 0.4, 1e4, 1e6
    place = distance * np.array([np.tan(angle), 0, 1])
    points = bodies[0].astype(np.float64)
    pixels = focal_length * (points + place)[:, 0] / (points + place)[:, 2]
    turned = Rotation.from_rotvec([0, -angle, 0]).apply(points)
    width = (pixels - pixels.mean()) / (turned[:, 0] - turned[:, 0].mean())
    np.testing.assert_allclose(width, focal_length / distance / np.cos(angle), rtol=1e-2)


def test_assumed_focal_length_follows_the_longer_side():
    size = jnp.array([[1280, 720], [480, 640]])
    expected = [25000, 12500]
    np.testing.assert_allclose(camera.original_focal_length(size), expected)


def test_guessed_focal_length_sees_55_degrees_across_the_diagonal():
    found = float(camera.guessed_focal_length(np.array([400, 300])))
    assert 2 * np.degrees(np.arctan(250 / found)) == pytest.approx(55)


def test_fit_recovers_the_camera_from_any_origin(bodies, rng):
    translation = camera.crop_translation(CAMERA)
    seen = camera.project_crop(bodies, translation)
    origin = np.array([[3.0, -2.0, 7.0]], np.float32)
    # Points of weight 0 may be anywhere.
    weights = (rng.random((2, 44)) < 0.7).astype(np.float32)
    seen = jnp.where(weights[..., None] > 0, seen, 99.0)
    found = camera.fit_crop_translation(bodies + origin, seen, weights)
    np.testing.assert_allclose(found + origin, translation, rtol=1e-3, atol=1e-4)


def test_fit_is_as_good_as_minimising_the_projected_error(bodies):
    """Real perspective at 2 m: the closed form against an optimiser of squared errors."""
    points = bodies + np.array([0.1, 0.2, 2.0], np.float32)
    seen = project_full(points, np.ones(2), np.zeros((2, 2)))
    found = camera.fit_crop_translation(bodies, seen, jnp.ones((2, 44)))

    def residual(translation, i):
        moved = bodies[i].astype(np.float64) + translation
        return (5000 / 256 * moved[:, :2] / moved[:, 2:] - np.asarray(seen[i])).ravel()

    for i in range(2):
        best = scipy.optimize.least_squares(residual, found[i], x_scale=[0.1, 0.1, 10], args=(i,))
        ours = np.sum(residual(np.asarray(found[i], np.float64), i) ** 2)
        assert ours < 1.02 * 2 * best.cost
        assert ours > 0.01, 'the wrong camera must leave an error'


@pytest.mark.parametrize('focal_length', [0.5, 2.0, 20.0])
def test_fit_recovers_the_place_in_full_perspective(bodies, focal_length):
    """Also beside the axis and near the camera; distances grow with the focal length."""
    place = focal_length * np.array([[1.5, -0.4, 2.0], [-0.8, 1.0, 4.0]], np.float32)
    seen = project_full(bodies + place[:, None], np.ones(2), np.zeros((2, 2)))
    found = jax.jit(camera.fit_translation)(bodies, np.float32(seen))
    np.testing.assert_allclose(found, place, rtol=1e-3)


def test_fit_stays_before_the_camera(bodies, rng):
    """Keypoints that no body can have, and some that lie mirrored, as behind the camera."""
    mirrored = -project_full(bodies + np.float32([0, 0, 3]), np.ones(2), np.zeros((2, 2)))
    for seen in (mirrored, 5 * rng.normal(size=(2, 44, 2))):
        found = np.asarray(camera.fit_translation(bodies, np.float32(seen)))
        assert np.isfinite(found).all() and (found[:, 2] > 0).all()


def test_points_turn_about_their_pivot():
    quarter = Rotation.from_euler('z', 90, degrees=True).as_matrix()[None]
    points, pivot = np.array([[[2.0, 1.0, 5.0], [1.0, 1.0, 0.0]]]), np.array([[[1.0, 1.0, 0.0]]])
    found = camera.turn_points(points, quarter, pivot)
    np.testing.assert_allclose(found, [[[1, 2, 5], [1, 1, 0]]], atol=1e-6)


def test_gradients_are_finite_where_the_scale_is_zero():
    points = jnp.array([[0.1, 0.2, 0.3]])

    def loss(three):
        return jnp.sum(jnp.abs(camera.project_crop(points, camera.crop_translation(three))))

    assert np.isfinite(jax.grad(loss)(jnp.zeros(3))).all()


def test_projection_in_the_picture_by_hand():
    """s = 0.5 in a crop of 0.4 focal lengths: 10 m away; its middle is at (0.2, 0)."""
    points = jnp.zeros((1, 44, 3)).at[0, 0].set(jnp.array([0.2, -0.4, 0.0]))
    weak, place = jnp.array([[0.5, 0.0, 0.0]]), jnp.array([[0.2, 0.0, 0.4]])
    np.testing.assert_allclose(camera.place_in_picture(weak, place), [[2, 0, 10]], rtol=1e-6)
    found = camera.project_in_picture(points, weak, place)
    np.testing.assert_allclose(found[0, 0], [0.02 / 0.4, -0.04 / 0.4], atol=1e-5)
    np.testing.assert_allclose(found[0, 1], 0, atol=1e-5)


def test_the_picture_s_projection_is_its_camera_s_wherever_the_crop_lies(bodies):
    """Also a metre and a half away, where the crop's own projection is far off."""
    weak = jnp.array([[0.9, 0.1, -0.2], [0.8, -0.05, 0.3]])
    focal = np.float32([500, 200])
    place = np.c_[BOX_CENTER - PRINCIPAL_POINT, BOX_SIZE] / focal[:, None]
    transl = camera.full_translation(weak, BOX_CENTER, BOX_SIZE, focal, PRINCIPAL_POINT)
    np.testing.assert_allclose(camera.place_in_picture(weak, place), transl, rtol=1e-5)
    pixels = project_full(bodies + transl[:, None], focal, PRINCIPAL_POINT)
    found = camera.project_in_picture(bodies, weak, place)
    expected = camera.to_crop_units(pixels, BOX_CENTER, BOX_SIZE)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def seen_by_numpy(points, weak, place):
    """The picture's projection in float64, by its definition."""
    s = weak[0] if weak[0] > 0.1 else 0.1 * np.exp(weak[0] / 0.1 - 1)
    depth = 2 / (place[2] * s)
    x, y, z = points.T + np.array([*weak[1:], 0])[:, None]
    z = np.maximum(z + depth, depth / 4)
    across = depth * place[:2]  # of the crop's middle, metres
    return np.stack([(x + across[0]) / z - place[0], (y + across[1]) / z - place[1]], 1) / place[2]


# Scale, and depth of a body (metres): at arm's length, around the camera, behind it; and scales of
# networks that have just begun.
@pytest.mark.parametrize(
    'scale, depth', [(4.0, 0.0), (4.0, -0.4), (1.0, -3.0), (0.11, 0.0), (0.03, 1.0), (-2.0, -50.0)]
)
def test_gradients_of_the_picture_s_projection_are_right_anywhere(scale, depth):
    """Finite, and those of finite differences in float64."""
    rng = np.random.default_rng(3)
    weak, place = np.array([scale, 0.4, -0.3]), np.array([0.5, -0.2, 1.5])
    points = rng.uniform(-0.7, 0.7, (12, 3)) + np.array([0, 0, depth])
    wanted = rng.normal(0, 0.3, (12, 2))

    def loss(points, weak, seen, library):
        return library.mean(library.square(seen(points, weak, np.float32(place)) - wanted))

    at = points, weak
    found = jax.grad(loss, (0, 1))(*map(jnp.float32, at), camera.project_in_picture, jnp)
    for i, gradient in enumerate(found):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() < 100
        shift = 1e-5 * rng.normal(0, 1, gradient.shape)
        ahead, behind = (
            loss(*(x + sign * shift if i == k else x for k, x in enumerate(at)), seen_by_numpy, np)
            for sign in (1, -1)
        )
        slope = (ahead - behind) / 2
        np.testing.assert_allclose(np.sum(gradient * shift), slope, rtol=2e-3, atol=1e-11)


def test_a_scale_below_its_least_can_come_back():
    """The gradient of what is seen too small stays above zero for scales below zero."""
    points, place = jnp.array([[1.0, 0, 0]]), jnp.array([0.0, 0.0, 1.0])
    size = lambda scale: camera.project_in_picture(points, jnp.array([scale, 0, 0]), place)[0, 0]  # noqa: E731
    for scale in (0.2, 0.09, 0.0, -0.3):
        assert jax.grad(size)(scale) > 0
