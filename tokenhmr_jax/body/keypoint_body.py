"""A body model reduced to its 44 keypoints: the same keypoints at a fiftieth of the cost.

A keypoint is a weighted sum of vertices, and a posed vertex a weighted sum over joints. Summed per
joint first, many vertices become one *carrier*, which follows this joint alone. This is linear
algebra, not an approximation.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float

from tokenhmr_jax.body import skeleton, smpl
from tokenhmr_jax.types import Array, SmplParams

_NEGLIGIBLE = 1e-6  # share of a keypoint that a joint carries


@struct.dataclass
class KeypointBody:
    """A body whose vertices are carriers, and its keypoints as mixtures of joints and carriers."""

    body: smpl.BodyModel
    mix: Float[Array, '44 joints+carriers']


def reduce_body(body: smpl.BodyModel) -> KeypointBody:
    """The reduced body.

    Raises ValueError if the model has no regressor for the 19 extra keypoints, or one whose
    negative weights cancel out.
    """
    if body.extra_regressor is None:
        raise ValueError(
            'this body model has no regressor for the 19 extra keypoints: expected that of '
            'SMPL_to_J19.pkl, or its own `joint_regressor_extra`'
        )
    source = skeleton.OPENPOSE_SOURCE
    rows = np.zeros((44, skeleton.NUM_VERTICES))
    on_skin = np.flatnonzero(source >= skeleton.NUM_JOINTS)
    landmark = skeleton.LANDMARK_VERTICES[source[on_skin] - skeleton.NUM_JOINTS]
    rows[on_skin, landmark] = 1
    rows[25:] = np.asarray(body.extra_regressor)
    weights = np.asarray(body.weights, np.float64)
    share, size = rows @ weights, np.abs(rows) @ weights
    if (np.abs(share) < 1e-3 * size)[size > _NEGLIGIBLE].any():
        raise ValueError('the regressor of the extra keypoints has negative weights that cancel')
    keypoint, joint = np.nonzero(size > _NEGLIGIBLE)
    mass = share[keypoint, joint]
    # Carriers from vertices.
    gather = rows[keypoint] * weights.T[joint] / mass[:, None]
    mix = np.zeros((44, skeleton.NUM_JOINTS + len(mass)))
    on_joint = np.flatnonzero(source < skeleton.NUM_JOINTS)
    mix[on_joint, source[on_joint]] = 1
    mix[keypoint, skeleton.NUM_JOINTS + np.arange(len(mass))] = mass
    reduced = body.replace(
        template=_gather(body.template, gather),
        shape_dirs=_gather(body.shape_dirs, gather),
        pose_dirs=_gather(body.pose_dirs, gather),
        weights=jnp.asarray(np.eye(body.num_joints, dtype=np.float32)[joint]),
        joint_regressor=jnp.zeros((body.num_joints, 0)),
        extra_regressor=None,
        faces=jnp.zeros((0, 3), jnp.int32),
    )
    return KeypointBody(reduced, jnp.asarray(mix, jnp.float32))


def _gather(planar, gather):
    """The carriers' columns of an array whose last axis holds vertices, or their x, y and z."""
    columns = np.asarray(planar, np.float64).reshape(-1, gather.shape[1]) @ gather.T
    return jnp.asarray(columns.reshape(planar.shape[0], -1), jnp.float32)


def keypoints(reduced: KeypointBody, params: SmplParams) -> Float[Array, '*B 44 3']:
    """The 44 keypoints, metres, as `smpl.keypoints` of `smpl.forward` gives them."""
    output = smpl.forward(reduced.body, params)
    points = jnp.concatenate([output.joints, output.vertices], axis=-2)
    return jnp.einsum('kp,...pc->...kc', reduced.mix, points, precision=jax.lax.Precision.HIGHEST)
