"""Rotations as 6D, matrices, axis-angle and unit quaternions, with gradients finite everywhere.

Every function works on arrays of any leading shape, in the dtype it is given (float32 here), and is
accurate, in value and gradient, at the identity and near a turn of pi.
"""

import jax
import jax.numpy as jnp

_TINY = 1e-12


def safe_norm(x: jax.Array, keepdims: bool = False) -> jax.Array:
    """Euclidean norm over the last axis; its gradient at zero is zero instead of NaN."""
    squared = jnp.sum(x * x, axis=-1, keepdims=keepdims)
    is_zero = squared < _TINY**2
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, squared)))


def _normalize(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(safe_norm(x, keepdims=True), _TINY)


def compose(a: jax.Array, b: jax.Array) -> jax.Array:
    """Matrix product of (..., 3, 3) with (..., 3, 3).

    Written as a sum of products: compilers fuse it, while a batch of tiny matrix products is slow
    on CPUs and loses precision on accelerators, whose default is bfloat16 or TF32.
    """
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)


def rotate(rotation: jax.Array, points: jax.Array) -> jax.Array:
    """Rotate points (..., 3) by matrices (..., 3, 3)."""
    return jnp.sum(rotation * points[..., None, :], axis=-1)


def rotation_6d_to_matrix(x: jax.Array, convention: str = 'rows') -> jax.Array:
    """6D (..., 6) to rotation matrices (..., 3, 3) by Gram-Schmidt (Zhou et al., CVPR 2019).

    The two 3-vectors are the matrix's first two rows (TokenHMR) or its first two columns (HMR2.0).

    Raises:
      ValueError: if `convention` is neither 'rows' nor 'columns'.
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


def matrix_to_rotation_6d(rotation: jax.Array) -> jax.Array:
    """Rotation matrices (..., 3, 3) to 6D (..., 6): the first two rows, one after the other."""
    return rotation[..., :2, :].reshape(*rotation.shape[:-2], 6)


def axis_angle_to_matrix(axis_angle: jax.Array) -> jax.Array:
    """Axis-angle (..., 3), radians, to rotation matrices (..., 3, 3): Rodrigues' formula."""
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


def matrix_to_quaternion(rotation: jax.Array) -> jax.Array:
    """Rotation matrices (..., 3, 3) to unit quaternions (..., 4), w first and not negative.

    The matrix 4 q q^T is linear in the rotation's entries. Its row with the largest diagonal is
    never near zero, so normalising it is stable for every rotation (Shepperd, 1978).
    """
    m = rotation
    d0, d1, d2 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    xy, xz, yz = (
        m[..., 1, 0] + m[..., 0, 1],
        m[..., 2, 0] + m[..., 0, 2],
        m[..., 2, 1] + m[..., 1, 2],
    )
    ww, xx = 1 + d0 + d1 + d2, 1 + d0 - d1 - d2
    yy, zz = 1 - d0 + d1 - d2, 1 - d0 - d1 + d2
    rows = jnp.stack(
        [
            jnp.stack([ww, wx, wy, wz], -1),
            jnp.stack([wx, xx, xy, xz], -1),
            jnp.stack([wy, xy, yy, yz], -1),
            jnp.stack([wz, xz, yz, zz], -1),
        ],
        axis=-2,
    )
    largest = jnp.argmax(jnp.stack([ww, xx, yy, zz], -1), axis=-1)
    row = jnp.take_along_axis(rows, largest[..., None, None], axis=-2)[..., 0, :]
    quaternion = _normalize(row)
    return jnp.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def quaternion_to_axis_angle(quaternion: jax.Array) -> jax.Array:
    """Unit quaternions (..., 4), w first, to axis-angle (..., 3) with angles in [0, pi]."""
    quaternion = jnp.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, vector = quaternion[..., :1], quaternion[..., 1:]
    squared = jnp.sum(vector * vector, axis=-1, keepdims=True)
    small = squared < 1e-6
    sine = jnp.sqrt(jnp.where(small, 1.0, squared))
    # 2 atan(s / w) / s around s = 0; w is near 1 there.
    safe_w = jnp.where(small, w, 1.0)
    series = 2 / safe_w * (1 - squared / (3 * safe_w**2))
    return vector * jnp.where(small, series, 2 * jnp.arctan2(sine, w) / sine)


def matrix_to_axis_angle(rotation: jax.Array) -> jax.Array:
    """Rotation matrices (..., 3, 3) to axis-angle (..., 3), radians, angles in [0, pi]."""
    return quaternion_to_axis_angle(matrix_to_quaternion(rotation))


def geodesic_angle(a: jax.Array, b: jax.Array) -> jax.Array:
    """Angle in [0, pi], radians, between rotation matrices a and b (..., 3, 3).

    atan2 of sine and cosine keeps small angles exact in float32, where arccos of the trace has
    errors of about 5e-4. At angle zero the gradient is zero.
    """
    relative = compose(a, jnp.swapaxes(b, -1, -2))
    r = relative
    vector = jnp.stack(
        [
            r[..., 2, 1] - r[..., 1, 2],
            r[..., 0, 2] - r[..., 2, 0],
            r[..., 1, 0] - r[..., 0, 1],
        ],
        -1,
    )
    cosine = r[..., 0, 0] + r[..., 1, 1] + r[..., 2, 2] - 1
    norm = safe_norm(vector)
    # arctan2 has no gradient at (0, 0), which rounding could reach only for a non-rotation.
    return jnp.arctan2(norm, jnp.where((norm == 0) & (cosine == 0), 1.0, cosine))
