"""Rotations against SciPy, and their gradients where naive formulas break."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import rotations

AXES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0.6, -0.48, 0.64], [0.1, 0.7, -0.7]])
AXES = AXES / np.linalg.norm(AXES, axis=1, keepdims=True)
ANGLES = [0.0, 1e-7, 1e-4, 9e-3, 1.1e-2, 0.5, np.pi / 2, 3.0, np.pi - 1e-3, np.pi - 1e-5]

# Compiled: run as they stand, every operation in them is compiled on its own.
axis_angle_to_matrix = jax.jit(rotations.axis_angle_to_matrix)
matrix_to_axis_angle = jax.jit(rotations.matrix_to_axis_angle)
matrix_to_quaternion = jax.jit(rotations.matrix_to_quaternion)
quaternion_to_axis_angle = jax.jit(rotations.quaternion_to_axis_angle)
rotation_6d_to_matrix = jax.jit(rotations.rotation_6d_to_matrix, static_argnums=1)
geodesic_angle = jax.jit(rotations.geodesic_angle)


def all_axis_angles():
    return np.concatenate([AXES * angle for angle in ANGLES]).astype(np.float32)


def test_axis_angle_to_matrix_agrees_with_scipy():
    axis_angle = all_axis_angles()
    expected = Rotation.from_rotvec(axis_angle.astype(np.float64)).as_matrix()
    np.testing.assert_allclose(axis_angle_to_matrix(axis_angle), expected, atol=4e-7)


def test_matrix_to_axis_angle_and_back_for_every_axis_and_angle():
    axis_angle = all_axis_angles()
    matrix = Rotation.from_rotvec(axis_angle.astype(np.float64)).as_matrix().astype(np.float32)
    found = np.asarray(matrix_to_axis_angle(matrix))
    angle = np.linalg.norm(axis_angle, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), angle, atol=2e-6)
    np.testing.assert_allclose(axis_angle_to_matrix(found), matrix, atol=1e-6)
    # Near pi the axis' sign is a matter of rounding; elsewhere the vector itself must agree.
    clear = angle < np.pi - 1e-4
    np.testing.assert_allclose(found[clear], axis_angle[clear], atol=1e-5)


def test_exact_half_turns():
    half_turns = np.array([np.diag([1, -1, -1]), np.diag([-1, 1, -1]), np.diag([-1, -1, 1])], float)
    found = np.asarray(matrix_to_axis_angle(half_turns.astype(np.float32)))
    np.testing.assert_allclose(np.abs(found), np.pi * np.eye(3), atol=1e-6)


def round_trip(axis_angle):
    return rotations.matrix_to_axis_angle(rotations.axis_angle_to_matrix(axis_angle))


@pytest.fixture(scope='module')
def jacobians():
    """Gradients of several points (N, 3) at once, each compiled once."""
    functions = {
        'reverse': jax.jacrev(round_trip),
        'forward': jax.jacfwd(round_trip),
        'matrix': jax.jacrev(rotations.axis_angle_to_matrix),
    }
    return {name: jax.jit(jax.vmap(function)) for name, function in functions.items()}


@pytest.mark.parametrize('mode', ['reverse', 'forward'])
@pytest.mark.parametrize('angle', ANGLES)
def test_gradients_of_the_round_trip_are_the_identity(jacobians, angle, mode):
    """d(aa -> matrix -> aa) = I, at the identity and near pi too, by forward and reverse mode."""
    found = jacobians[mode](np.float32(AXES * angle))
    tolerance = 2e-3 if angle > 3.1 else 2e-4
    np.testing.assert_allclose(found, np.tile(np.eye(3), (6, 1, 1)), atol=tolerance)


@pytest.mark.parametrize('angle', ANGLES)
def test_rodrigues_gradient_against_finite_differences(jacobians, angle):
    step = 1e-6
    found = jacobians['matrix'](np.float32(AXES * angle))
    for point, gradient in zip(AXES * angle, found, strict=True):
        numeric = np.stack(
            [
                Rotation.from_rotvec(point + step * e).as_matrix()
                - Rotation.from_rotvec(point - step * e).as_matrix()
                for e in np.eye(3)
            ],
            axis=-1,
        ) / (2 * step)
        np.testing.assert_allclose(gradient, numeric, atol=2e-5)


def test_quaternions_agree_with_scipy(rng):
    rotation = Rotation.random(200, random_state=1)
    quaternion = rotation.as_quat(canonical=True)[:, [3, 0, 1, 2]]
    matrix = rotation.as_matrix().astype(np.float32)
    np.testing.assert_allclose(matrix_to_quaternion(matrix), quaternion, atol=1e-6)
    negative = -quaternion.astype(np.float32)  # the same rotation
    found = quaternion_to_axis_angle(negative)
    np.testing.assert_allclose(found, rotation.as_rotvec(), atol=3e-6)


@pytest.mark.parametrize('convention', ['rows', 'columns'])
def test_6d_gives_rotations_with_the_vectors_in_place(convention, rng):
    x = rng.normal(size=(50, 6)).astype(np.float32)
    matrix = np.asarray(rotation_6d_to_matrix(x, convention))
    np.testing.assert_allclose(
        matrix @ matrix.transpose(0, 2, 1), np.eye(3)[None].repeat(50, 0), atol=2e-6
    )
    np.testing.assert_allclose(np.linalg.det(matrix), 1, atol=1e-6)
    first = matrix[:, 0] if convention == 'rows' else matrix[:, :, 0]
    np.testing.assert_allclose(
        first, x[:, :3] / np.linalg.norm(x[:, :3], axis=1, keepdims=True), atol=1e-6
    )
    if convention == 'rows':
        found = rotation_6d_to_matrix(rotations.matrix_to_rotation_6d(matrix))
        # Rounding of two orthonormalisations in float32: 1.01e-6 with the oldest JAX.
        np.testing.assert_allclose(found, matrix, atol=2e-6)


def test_6d_refuses_an_unknown_convention():
    with pytest.raises(ValueError, match='interleaved'):
        rotations.rotation_6d_to_matrix(jnp.ones(6), 'interleaved')


def test_6d_gradient_is_finite_where_it_is_degenerate():
    value_and_grad = jax.value_and_grad(lambda v: jnp.sum(rotations.rotation_6d_to_matrix(v)))
    x = np.array([np.zeros(6), [1, 2, 3, 2, 4, 6], [0, 0, 0, 1, 0, 0]], np.float32)
    values, grads = jax.jit(jax.vmap(value_and_grad))(x)
    assert np.isfinite(values).all()
    assert np.isfinite(grads).all()


def test_geodesic_angle_is_exact_for_small_and_large_angles():
    for angle in (0.0, 1e-6, 1e-3, 0.3, 3.0, np.pi - 1e-4, np.pi):
        a = Rotation.from_rotvec(AXES * 0.7).as_matrix()
        b = a @ Rotation.from_rotvec(AXES[::-1] * angle).as_matrix()
        found = geodesic_angle(a.astype(np.float32), b.astype(np.float32))
        np.testing.assert_allclose(found, angle, atol=1e-6)


def test_geodesic_angle_gradient_is_finite_and_one_along_the_axis():
    axis = np.float32(AXES[4])

    def turned(t):
        return rotations.geodesic_angle(rotations.axis_angle_to_matrix(axis * t), jnp.eye(3))

    angles = np.float32([0.0, 1e-4, 1.0, np.pi - 1e-3, np.pi])
    slopes = np.asarray(jax.jit(jax.vmap(jax.grad(turned)))(angles))
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(slopes[1:4], 1, atol=1e-3)


def test_compose_and_rotate_are_matrix_products(rng):
    a, b = rng.normal(size=(2, 5, 3, 3)).astype(np.float32)
    v = rng.normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(rotations.compose(a, b), a @ b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        rotations.rotate(a, v), (a @ v[..., None])[..., 0], rtol=1e-5, atol=1e-6
    )
