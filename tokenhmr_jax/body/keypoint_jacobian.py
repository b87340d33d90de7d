"""Derivatives of the 44 keypoints, written out: much cheaper than by automatic differentiation.

A turn of a joint moves all that hangs on it like a rigid body. Pose correctives, millimetres, are
left out: the derivatives are for Gauss-Newton steps, whose errors are measured by the body itself.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tokenhmr_jax.body import rotations, smpl
from tokenhmr_jax.body.keypoint_body import KeypointBody
from tokenhmr_jax.types import Array, SmplParams

_EXACT = jax.lax.Precision.HIGHEST


class KeypointJacobian(NamedTuple):
    """One body's keypoints and their derivatives, metres.

    points: as `keypoint_body.keypoints` gives them.
    turns: per radian about x, y and z of a joint's own axes, after its rotation.
    betas: per unit.
    """

    points: Float[Array, '44 3']
    turns: Float[Array, '44 3 J 3']
    betas: Float[Array, '44 3 betas']


def keypoint_jacobian(reduced: KeypointBody, params: SmplParams) -> KeypointJacobian:
    """The keypoints of one body, and their derivatives by its rotations and betas."""
    body, parents = reduced.body, reduced.body.parents
    below = jnp.asarray(_descendants(parents))
    count = params.betas.shape[-1]
    posed = smpl.forward(body, params)
    points = jnp.concatenate([posed.joints, posed.vertices])
    pose = jnp.concatenate([params.global_orient[None], params.body_pose])
    rotation = smpl.kinematic_chain(pose[None], body.joint_template[None], parents)[0][0]
    owner = jnp.argmax(body.weights, axis=-1)
    hanging = below[:, jnp.concatenate([jnp.arange(len(parents)), owner])]
    mix = reduced.mix[:, None] * hanging
    arm = jnp.einsum('kjp,pc->kjc', mix, points, precision=_EXACT)
    arm -= mix.sum(-1)[..., None] * posed.joints
    # Axis j of a joint is column j of its rotation; a turn about it moves by axis x arm.
    axes = jnp.swapaxes(rotation, -1, -2)
    turns = jnp.cross(axes, arm[:, :, None])

    dirs = body.joint_dirs[:count]
    above = np.maximum(parents, 0)
    bones = dirs - dirs[:, above] * (np.arange(len(parents)) > 0)[:, None]
    bones = rotations.rotate(_of_parent(rotation, above), bones)
    joints = jnp.einsum('ij,sic->sjc', below, bones, precision=_EXACT)
    skin = jnp.moveaxis(body.shape_dirs[:count].reshape(count, 3, -1), 1, -1)
    skin = rotations.rotate(rotation[owner], skin - dirs[:, owner]) + joints[:, owner]
    moved = jnp.concatenate([joints, skin], axis=1)
    betas = jnp.einsum('kp,spc->kcs', reduced.mix, moved, precision=_EXACT)
    keypoints = jnp.matmul(reduced.mix, points, precision=_EXACT)
    return KeypointJacobian(keypoints, jnp.transpose(turns, (0, 3, 1, 2)), betas)


def _of_parent(rotation, above):
    """The parents' rotations; the root's own joint is not turned by the root."""
    return jnp.concatenate([jnp.eye(3)[None], rotation[above[1:]]])


def _descendants(parents) -> np.ndarray:
    """(J, J), 1 where a joint hangs on another one, or is this one."""
    below = np.eye(len(parents), dtype=np.float32)
    for joint, parent in enumerate(parents):
        if parent >= 0:
            below[:, joint] += below[:, parent]
    return below
