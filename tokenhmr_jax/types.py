"""The data that flows through the project, as typed pytrees."""

from typing import Any

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
    """A posed body: vertices (..., V, 3), joints (..., J, 3), metres, in the parameters' frame."""

    vertices: jax.Array
    joints: jax.Array


@struct.dataclass
class PoseBatch:
    """What the tokenizer trains on. body_pose: (B, 21, 3) axis-angle, radians, joints 1 to 21."""

    body_pose: jax.Array


@struct.dataclass
class TokenizerOutput:
    """Poses through the tokenizer.

    tokens: (B, T) int32 pose tokens.
    body_pose: (B, 21, 3, 3) reconstructed rotations.
    body: the reconstructed bodies, mean shape, root at rest.
    """

    tokens: jax.Array
    body_pose: jax.Array
    body: BodyOutput


@struct.dataclass
class TrainState:
    """All that training changes.

    step: () int32, steps done.
    params: what the gradient trains.
    state: what else changes in a step: the tokenizer's codebook.
    opt_state: the optimizer's.
    """

    step: jax.Array
    params: Any
    state: Any
    opt_state: Any
