"""Rotations as 6D, matrices, axis-angle (radians) and unit quaternions (w first).

Values and gradients are finite everywhere, and accurate at the identity and near a turn of pi.
"""

import jax.numpy as jnp
from jaxtyping import Float

from tokenhmr_jax.types import Array

_TINY = 1e-12


def _safe_norm(x, keepdims=False):
    """Euclidean norm over the last axis; its gradient at zero is zero instead of NaN."""
    squared = jnp.sum(x * x, axis=-1, keepdims=keepdims)
    is_zero = squared < _TINY**2
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, squared)))


def _normalize(x):
    return x / jnp.maximum(_safe_norm(x, keepdims=True), _TINY)


def compose(a: Float[Array, '*#B 3 3'], b: Float[Array, '*#B 3 3']) -> Float[Array, '*B 3 3']:
    """Matrix product a b.

    Compilers fuse this sum of products. A batch of tiny matrix products is slow on CPUs and loses
    precision on accelerators, whose default is bfloat16 or TF32.
    """
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)


def rotate(
    rotation: Float[Array, '*#B 3 3'], points: Float[Array, '*#B 3']
) -> Float[Array, '*B 3']:
    """Rotates points."""
    return jnp.sum(rotation * points[..., None, :], axis=-1)


def rotation_6d_to_matrix(
    x: Float[Array, '*B 6'], convention: str = 'rows'
) -> Float[Array, '*B 3 3']:
    """6D to rotation matrices by Gram-Schmidt (Zhou et al., CVPR 2019).

    The two 3-vectors are the first two 'rows' (TokenHMR) or 'columns' (HMR2.0) of the matrix.
    Raises ValueError for another convention.
    """
    first = _normalize(x[..., :3])
    along = jnp.sum(first * x[..., 3:], axis=-1, keepdims=True)
    second = _normalize(x[..., 3:] - along * first)
    third = jnp.cross(first, second)
    if convention == 'rows':
        return jnp.stack([first, second, third], axis=-2)
    if convention == 'columns':
        return jnp.stack([first, second, third], axis=-1)
    raise ValueError(f"6D convention {convention!r}: expected 'rows' or 'columns'")


def matrix_to_rotation_6d(rotation: Float[Array, '*B 3 3']) -> Float[Array, '*B 6']:
    """The first two rows of rotation matrices, one after the other."""
    return rotation[..., :2, :].reshape(*rotation.shape[:-2], 6)


def axis_angle_to_matrix(axis_angle: Float[Array, '*B 3']) -> Float[Array, '*B 3 3']:
    """Rotation matrices by Rodrigues' formula."""
    x, y, z = jnp.moveaxis(axis_angle, -1, 0)
    squared = x * x + y * y + z * z
    small = squared < 1e-4
    angle = jnp.sqrt(jnp.where(small, 1.0, squared))
    half_sine = jnp.sin(angle / 2)
    sine = jnp.where(small, 1 - squared / 6 + squared**2 / 120, jnp.sin(angle) / angle)
    versine = jnp.where(
        small, 0.5 - squared / 24 + squared**2 / 720, 2 * half_sine * half_sine / angle**2
    )
    zero = jnp.zeros_like(x)
    cross = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    cross = cross.reshape(*axis_angle.shape[:-1], 3, 3)
    outer = axis_angle[..., :, None] * axis_angle[..., None, :]
    eye = jnp.eye(3, dtype=axis_angle.dtype)
    versine, sine, squared = (v[..., None, None] for v in (versine, sine, squared))
    return eye + sine * cross + versine * (outer - squared * eye)


def matrix_to_quaternion(rotation: Float[Array, '*B 3 3']) -> Float[Array, '*B 4']:
    """Unit quaternions of rotation matrices, w not negative.

    The matrix 4 q q^T is linear in the rotation's entries. Its row with the largest diagonal is
    never near zero, so normalising it is stable for every rotation (Shepperd, 1978).
    """
    m = rotation
    d0, d1, d2 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = _skew_part(m)
    xy, xz, yz = (m[..., i, j] + m[..., j, i] for i, j in ((1, 0), (2, 0), (2, 1)))
    ww, xx = 1 + d0 + d1 + d2, 1 + d0 - d1 - d2
    yy, zz = 1 - d0 + d1 - d2, 1 - d0 - d1 + d2
    rows = [[ww, wx, wy, wz], [wx, xx, xy, xz], [wy, xy, yy, yz], [wz, xz, yz, zz]]
    rows = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    largest = jnp.argmax(jnp.stack([ww, xx, yy, zz], -1), axis=-1)
    row = jnp.take_along_axis(rows, largest[..., None, None], axis=-2)[..., 0, :]
    quaternion = _normalize(row)
    return jnp.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def _skew_part(m):
    """2 sin(angle) times the axis of rotation matrices, as x, y and z."""
    return [m[..., i, j] - m[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))]


def quaternion_to_axis_angle(quaternion: Float[Array, '*B 4']) -> Float[Array, '*B 3']:
    """Axis-angle of unit quaternions, angles in [0, pi]."""
    quaternion = jnp.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, vector = quaternion[..., :1], quaternion[..., 1:]
    squared = jnp.sum(vector * vector, axis=-1, keepdims=True)
    small = squared < 1e-6
    sine = jnp.sqrt(jnp.where(small, 1.0, squared))
    # 2 atan(s / w) / s around s = 0; w is near 1 there.
    safe_w = jnp.where(small, w, 1.0)
    series = 2 / safe_w * (1 - squared / (3 * safe_w**2))
    return vector * jnp.where(small, series, 2 * jnp.arctan2(sine, w) / sine)


def matrix_to_axis_angle(rotation: Float[Array, '*B 3 3']) -> Float[Array, '*B 3']:
    """Axis-angle of rotation matrices, angles in [0, pi]."""
    return quaternion_to_axis_angle(matrix_to_quaternion(rotation))


def geodesic_angle(a: Float[Array, '*#B 3 3'], b: Float[Array, '*#B 3 3']) -> Float[Array, '*B']:
    """Angle between rotation matrices, radians, in [0, pi].

    atan2 of sine and cosine keeps small angles exact in float32, where arccos of the trace has
    errors of about 5e-4. At angle zero the gradient is zero.
    """
    r = compose(a, jnp.swapaxes(b, -1, -2))
    cosine = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2] - 1
    norm = _safe_norm(jnp.stack(_skew_part(r), -1))
    # arctan2 has no gradient at (0, 0), which rounding could reach only for a non-rotation.
    return jnp.arctan2(norm, jnp.where((norm == 0) & (cosine == 0), 1.0, cosine))
