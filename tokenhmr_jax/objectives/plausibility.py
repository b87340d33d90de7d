"""Errors of poses without regard to their bodies, and poses that no body takes."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.types import Array

# Bending beyond straight that counts as wrong, degrees: real joints reach a few.
WRONG_DEGREES = 10.0
_KNEES = np.array([skeleton.BODY_JOINTS.index(f'{side}_knee') for side in ('left', 'right')])
_ELBOWS = np.array([skeleton.BODY_JOINTS.index(f'{side}_elbow') for side in ('left', 'right')])


def mean_angle_degrees(
    body_pose: Float[Array, '*B J 3 3'], body_pose_gt: Float[Array, '*B J 3 3']
) -> Float[Array, '*B']:
    """Mean over joints of the angle between two rotations."""
    angle = rotations.geodesic_angle(body_pose, body_pose_gt)
    return jnp.rad2deg(jnp.mean(angle, axis=-1))


def bent_wrong(body_pose: Float[Array, '*B 21 3 3']) -> Bool[Array, '*B']:
    """Whether an elbow or a knee is bent the wrong way by more than `WRONG_DEGREES`."""
    return jnp.any(hinge_degrees(body_pose) < -WRONG_DEGREES, axis=-1)


def hinge_degrees(body_pose: Float[Array, '*B 21 3 3']) -> Float[Array, '*B 4']:
    """Bending of knees and elbows, left ones first, degrees from -180 to 180; 0 is straight.

    The direction of the shank or the forearm within the plane in which the joint bends: the one of
    the body's front. At rest shanks point down (-y), forearms to the side (x, the left to +x); they
    bend to the back (-z) and to the front (+z).
    """
    shank = -body_pose[..., _KNEES, :, :][..., 1]
    forearm = body_pose[..., _ELBOWS, :, :][..., 0] * np.float32([[1.0], [-1.0]])
    side = forearm[..., 0] * np.float32([1.0, -1.0])
    knees = jnp.arctan2(-shank[..., 2], -shank[..., 1])
    elbows = jnp.arctan2(forearm[..., 2], side)
    return jnp.rad2deg(jnp.concatenate([knees, elbows], axis=-1))
