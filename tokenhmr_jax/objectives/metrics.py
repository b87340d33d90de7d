"""Errors of bodies in millimetres, one value per example, and the conventions they follow."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.types import Array

_EXACT = jax.lax.Precision.HIGHEST
_TINY = 1e-12

# The 14 joints of LSP, the head's top as Human3.6M has it, which 3DPW is evaluated on.
LSP14 = np.array([*range(25, 38), 43])
_HIPS = np.array([skeleton.JOINTS.index('left_hip'), skeleton.JOINTS.index('right_hip')])

# Names of the points that each convention measures, in order.
CONVENTIONS = {
    'lsp14': tuple(skeleton.KEYPOINTS[i] for i in LSP14),
    'smpl24': skeleton.JOINTS,
}
# Truth that predictions are measured against: the label's own 3D keypoints ('stored') or the body
# of its pose and shape ('body'); 'published': stored ones where a convention and a label have them.
TRUTHS = ('published', 'stored', 'body')
# Keypoints that a convention measures, of those that can be stored: its points and their centre.
STORED = {'lsp14': np.array([*LSP14, skeleton.PELVIS])}


def evaluation_points(
    convention: str,
    keypoints3d: Float[Array, '*B 44 3'] | None,
    vertices: Float[Array, '*B V 3'],
    joint_regressor: Float[Array, '24 V'],
) -> tuple[Float[Array, '*B N 3'], Float[Array, '*B V 3']]:
    """The points that a convention measures and the mesh, both centred as it centres them.

    Args:
      convention: 'lsp14' (3DPW): 14 of the keypoints, centred on the pelvis keypoint; or 'smpl24'
        (EMDB): 24 joints regressed from the mesh, centred between the hips.
      keypoints3d, vertices: metres; 'smpl24' needs no keypoints.
      joint_regressor: of the neutral body, for the mesh of either gender.

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


def distances(
    points: Num[Array, '*#B N D'], points_gt: Num[Array, '*#B N D']
) -> Num[Array, '*#B N']:
    """Distances of points to their counterparts, in their unit."""
    offset = points - points_gt
    # Written out: as a reduction over so short an axis, XLA's CPU code is many times slower.
    return jnp.sqrt(sum(offset[..., axis] ** 2 for axis in range(offset.shape[-1])))


def mean_distance_mm(
    points: Float[Array, '*#B N 3'], points_gt: Float[Array, '*#B N 3']
) -> Float[Array, '*#B']:
    """Mean distance of points to their counterparts, metres in, millimetres out.

    Over joints it is MPJPE, over vertices PVE. Alignment is the caller's choice.
    """
    return 1000 * jnp.mean(distances(points, points_gt), axis=-1)


def procrustes(
    points: Float[Array, '*#B N 3'], points_gt: Float[Array, '*#B N 3']
) -> Float[Array, '*#B N 3']:
    """Aligns points with their counterparts by a similarity without reflection.

    Least squares (Umeyama, 1991). `mean_distance_mm` of the result is PA-MPJPE.
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


def pck(
    distance: Num[Array, '*#B N'], threshold: float, counted: Num[Array, '*#B N'] | None = None
) -> Float[Array, '*#B']:
    """Share of correct keypoints: those with distances up to `threshold`, in the same unit.

    `counted` is 0 for keypoints that do not count; NaN if none does.
    """
    counted = jnp.ones_like(distance) if counted is None else (counted > 0).astype(distance.dtype)
    return jnp.sum(counted * (distance <= threshold), axis=-1) / jnp.sum(counted, axis=-1)


def body_errors(
    points: Float[Array, '*#B N 3'],
    points_gt: Float[Array, '*#B N 3'],
    vertices: Float[Array, '*#B V 3'],
    vertices_gt: Float[Array, '*#B V 3'],
) -> dict[str, Array]:
    """The errors that papers report, from `evaluation_points` of both sides, per example.

    Returns:
      'mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm', 'pck_150mm' (share), and 'joint_mm' of each joint.
    """
    distance = distances(points, points_gt)
    return {
        'mpjpe_mm': 1000 * jnp.mean(distance, axis=-1),
        'pa_mpjpe_mm': mean_distance_mm(procrustes(points, points_gt), points_gt),
        'pve_mm': mean_distance_mm(vertices, vertices_gt),
        'pck_150mm': pck(distance, 0.15),
        'joint_mm': 1000 * distance,
    }
