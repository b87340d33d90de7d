"""The regressor's frozen inputs, the bodies of its labels, and errors against them."""

import jax
import jax.numpy as jnp
from flax import struct

from tokenhmr_jax.body import keypoint_body, rotations, smpl
from tokenhmr_jax.objectives import metrics, tals
from tokenhmr_jax.types import BodyOutput, ImageBatch, SmplParams


@struct.dataclass
class Frozen:
    """What a step reads and training never changes.

    body: SMPL, with the regressor of the extra keypoints.
    gendered: SMPL's models of men and women, which labels may be of; or nothing.
    keypoint_body: the same, reduced to what the losses look at.
    thresholds: of TALS.
    is_ground_truth: (S,) bool, of each source of the mixture in alphabetical order.
    """

    body: smpl.BodyModel
    gendered: tuple[smpl.BodyModel, ...]
    keypoint_body: keypoint_body.KeypointBody
    thresholds: tals.Thresholds
    is_ground_truth: jax.Array


def label_errors(
    convention: str, frozen: Frozen, body: BodyOutput, batch: ImageBatch
) -> dict[str, jax.Array]:
    """`metrics.body_errors` of bodies against those of a batch's labels."""
    ours = measured_points(convention, frozen, body)
    theirs = measured_points(convention, frozen, true_body(frozen, batch))
    return metrics.body_errors(ours[0], theirs[0], ours[1], theirs[1])


def measured_points(
    convention: str, frozen: Frozen, body: BodyOutput
) -> tuple[jax.Array, jax.Array]:
    """`metrics.evaluation_points` of bodies, by the neutral model's regressors."""
    keypoints3d = smpl.keypoints(frozen.body, body)
    regressor = frozen.body.joint_regressor
    return metrics.evaluation_points(convention, keypoints3d, body.vertices, regressor)


def true_body(frozen: Frozen, batch: ImageBatch) -> BodyOutput:
    """The bodies of a batch's labels."""
    return pose_labels(frozen, batch.global_orient, batch.body_pose, batch.betas, batch.gender)


def pose_labels(
    frozen: Frozen,
    global_orient: jax.Array,
    body_pose: jax.Array,
    betas: jax.Array,
    gender: jax.Array,
) -> BodyOutput:
    """The bodies of labels, each of the SMPL model that `gender` (B,) says; see `ImageBatch`.

    All are of the neutral model where `frozen.gendered` is empty.
    """
    params = true_params(global_orient, body_pose, betas)
    found = smpl.forward(frozen.body, params)
    # Posing everyone with each model is cheaper than gathering a model for each.
    for number, model in enumerate(frozen.gendered, start=1):
        other, ours = smpl.forward(model, params), (gender == number)[:, None, None]
        found = BodyOutput(
            vertices=jnp.where(ours, other.vertices, found.vertices),
            joints=jnp.where(ours, other.joints, found.joints),
        )
    return found


def true_params(global_orient: jax.Array, body_pose: jax.Array, betas: jax.Array) -> SmplParams:
    """Labels, (B, 3) and (B, 23, 3) axis-angle and betas (B, 10), as bodies."""
    return SmplParams(
        rotations.axis_angle_to_matrix(global_orient),
        rotations.axis_angle_to_matrix(body_pose),
        betas,
    )


def all_rotations(params: SmplParams) -> jax.Array:
    """The 24 rotations (B, 24, 3, 3), the root's first."""
    return jnp.concatenate([params.global_orient[:, None], params.body_pose], axis=1)
