"""Errors of bodies in millimetres, one value per example, and the conventions they follow."""

import jax
import jax.numpy as jnp
import numpy as np

from tokenhmr_jax.body import skeleton

_EXACT = jax.lax.Precision.HIGHEST
_TINY = 1e-12

# The 14 joints of LSP, the head's top as Human3.6M has it, which 3DPW is evaluated on.
LSP14 = np.array([*range(25, 38), 43])
_HIPS = np.array([skeleton.JOINTS.index('left_hip'), skeleton.JOINTS.index('right_hip')])

# What each convention measures: names of the points, in order.
CONVENTIONS = {
    'lsp14': tuple(skeleton.KEYPOINTS[i] for i in LSP14),
    'smpl24': skeleton.JOINTS,
}


def evaluation_points(
    convention: str, keypoints3d: jax.Array, vertices: jax.Array, joint_regressor: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The points that a convention measures and the mesh, both centred as it centres them.

    Args:
      convention: 'lsp14' (3DPW): 14 of the keypoints, centred on the pelvis keypoint; or 'smpl24'
        (EMDB): 24 joints regressed from the mesh, centred between the hips.
      keypoints3d: (..., 44, 3) metres; used by 'lsp14'.
      vertices: (..., V, 3) metres.
      joint_regressor: (24, V) of the neutral body, for the mesh of either gender; used by 'smpl24'.

    Returns:
      (..., N, 3), named by `CONVENTIONS[convention]`, and (..., V, 3), metres.

    Raises:
      ValueError: for an unknown convention.
    """
    if convention == 'lsp14':
        points, centre = keypoints3d[..., LSP14, :], keypoints3d[..., skeleton.PELVIS, None, :]
    elif convention == 'smpl24':
        points = jnp.einsum('jv,...vc->...jc', joint_regressor, vertices, precision=_EXACT)
        centre = jnp.mean(points[..., _HIPS, :], axis=-2, keepdims=True)
    else:
        raise ValueError(f'convention {convention!r}: expected one of {list(CONVENTIONS)}')
    return points - centre, vertices - centre


def distances(points: jax.Array, points_gt: jax.Array) -> jax.Array:
    """Distances (..., N) of points (..., N, D) to theirs, in their unit; D is 2 or 3."""
    offset = points - points_gt
    # Written out: as a reduction over so short an axis, XLA's CPU code is many times slower.
    return jnp.sqrt(sum(offset[..., axis] ** 2 for axis in range(offset.shape[-1])))


def mean_distance_mm(points: jax.Array, points_gt: jax.Array) -> jax.Array:
    """Mean distance of points (..., N, 3) to theirs, metres in, millimetres out, (...,).

    Over joints it is MPJPE, over vertices PVE; aligning them is the caller's choice.
    """
    return 1000 * jnp.mean(distances(points, points_gt), axis=-1)


def procrustes(points: jax.Array, points_gt: jax.Array) -> jax.Array:
    """Points (..., N, 3) moved, turned and scaled to fit theirs best: a similarity, no reflection.

    Least squares (Umeyama, 1991). Its use here is PA-MPJPE: `mean_distance_mm` of the result.
    """
    mean, mean_gt = (jnp.mean(p, axis=-2, keepdims=True) for p in (points, points_gt))
    centred, centred_gt = points - mean, points_gt - mean_gt
    covariance = jnp.einsum('...ni,...nj->...ij', centred_gt, centred, precision=_EXACT)
    u, stretch, vt = jnp.linalg.svd(covariance)
    # Where the best orthogonal matrix is a reflection, the best rotation flips the weakest axis.
    sign = jnp.where(jnp.linalg.det(u) * jnp.linalg.det(vt) < 0, -1.0, 1.0)
    flip = jnp.ones_like(stretch).at[..., -1].set(sign)
    rotation = jnp.matmul(u * flip[..., None, :], vt, precision=_EXACT)
    spread = jnp.sum(jnp.square(centred), axis=(-2, -1))
    scale = jnp.sum(stretch * flip, axis=-1) / jnp.maximum(spread, _TINY)
    turned = jnp.einsum('...ij,...nj->...ni', rotation, centred, precision=_EXACT)
    return scale[..., None, None] * turned + mean_gt


def pck(distance: jax.Array, threshold: float, counted: jax.Array | None = None) -> jax.Array:
    """Share of correct keypoints (...,): distances (..., N) up to `threshold`, in their unit.

    Args:
      distance: of `distances`: metres for 3D PCK (150 mm is usual), crop units for 2D.
      threshold: in the same unit.
      counted: (..., N), 0 for keypoints that do not count, such as those of confidence 0; None if
        all do. NaN where none does.
    """
    counted = jnp.ones_like(distance) if counted is None else (counted > 0).astype(distance.dtype)
    return jnp.sum(counted * (distance <= threshold), axis=-1) / jnp.sum(counted, axis=-1)


def body_errors(
    points: jax.Array, points_gt: jax.Array, vertices: jax.Array, vertices_gt: jax.Array
) -> dict[str, jax.Array]:
    """The errors that papers report, of what `evaluation_points` gives for both sides.

    Returns:
      'mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm' and 'pck_150mm' (share), each (...,); 'joint_mm' (..., N),
      the error of each joint.
    """
    distance = distances(points, points_gt)
    return {
        'mpjpe_mm': 1000 * jnp.mean(distance, axis=-1),
        'pa_mpjpe_mm': mean_distance_mm(procrustes(points, points_gt), points_gt),
        'pve_mm': mean_distance_mm(vertices, vertices_gt),
        'pck_150mm': pck(distance, 0.15),
        'joint_mm': 1000 * distance,
    }
