"""The regressor's frozen inputs, the bodies of its labels, and errors against them."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float

from tokenhmr_jax.body import keypoint_body, rotations, smpl
from tokenhmr_jax.objectives import metrics, tals
from tokenhmr_jax.types import Array, BodyOutput, ImageBatch, SmplParams


@struct.dataclass
class Frozen:
    """The inputs of a step that nothing moves.

    body: SMPL, with the regressor of the extra keypoints.
    gendered: SMPL's models of men and women, for labels of them; may be empty.
    keypoint_body: `body` reduced to its keypoints, which the losses need.
    thresholds: of TALS.
    is_ground_truth: for each source of the mixture, in alphabetical order.
    """

    body: smpl.BodyModel
    gendered: tuple[smpl.BodyModel, ...]
    keypoint_body: keypoint_body.KeypointBody
    thresholds: tals.Thresholds
    is_ground_truth: Bool[Array, ' S']


def label_errors(
    convention: str, frozen: Frozen, body: BodyOutput, batch: ImageBatch
) -> dict[str, jax.Array]:
    """Errors of bodies against a batch's labels; see `metrics.body_errors`."""
    ours = measured_points(convention, frozen, body)
    theirs = measured_points(convention, frozen, true_body(frozen, batch))
    return metrics.body_errors(ours[0], theirs[0], ours[1], theirs[1])


def measured_points(
    convention: str, frozen: Frozen, body: BodyOutput
) -> tuple[Float[Array, 'B N 3'], Float[Array, 'B V 3']]:
    """Points and vertices that a convention compares; see `metrics.evaluation_points`."""
    keypoints3d = smpl.keypoints(frozen.body, body)
    regressor = frozen.body.joint_regressor
    return metrics.evaluation_points(convention, keypoints3d, body.vertices, regressor)


def true_body(frozen: Frozen, batch: ImageBatch) -> BodyOutput:
    """The bodies of a batch's labels."""
    return pose_labels(frozen, batch.global_orient, batch.body_pose, batch.betas, batch.gender)


def pose_labels(
    frozen: Frozen,
    global_orient: Float[Array, 'B 3'],
    body_pose: Float[Array, 'B 23 3'],
    betas: Float[Array, 'B 10'],
    gender: Float[Array, ' B'],
) -> BodyOutput:
    """The bodies of labels, each of its gender's SMPL model; see `ImageBatch`.

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


def true_params(
    global_orient: Float[Array, 'B 3'],
    body_pose: Float[Array, 'B 23 3'],
    betas: Float[Array, 'B 10'],
) -> SmplParams:
    """Parameters of labels, which are axis-angle."""
    return SmplParams(
        rotations.axis_angle_to_matrix(global_orient),
        rotations.axis_angle_to_matrix(body_pose),
        betas,
    )


def all_rotations(params: SmplParams) -> Float[Array, 'B 24 3 3']:
    """All 24 rotations, the root's first."""
    return jnp.concatenate([params.global_orient[:, None], params.body_pose], axis=1)
