"""The data that flows through the project, as typed pytrees."""

import jax
from flax import struct


@struct.dataclass
class SmplParams:
    """Pose, shape and place of bodies. Leading axes are free; J is 24 (SMPL) or 52 (SMPL-H).

    global_orient: (..., 3, 3) root rotation, in the frame that the producer names.
    body_pose: (..., J - 1, 3, 3) rotations of the other joints relative to their parents.
    betas: (..., S) shape coefficients, or None for the mean shape.
    transl: (..., 3) metres, in the frame of `global_orient`, or None for none.
    """

    global_orient: jax.Array
    body_pose: jax.Array
    betas: jax.Array | None = None
    transl: jax.Array | None = None


@struct.dataclass
class BodyOutput:
    """A posed body. vertices (..., V, 3) and joints (..., J, 3), metres, in the parameters' frame."""

    vertices: jax.Array
    joints: jax.Array
