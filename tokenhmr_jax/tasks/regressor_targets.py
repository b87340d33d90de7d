"""The regressor's frozen inputs, the bodies of its labels, and errors against them."""

import jax
import jax.numpy as jnp
import ml_collections
from flax import struct
from jaxtyping import Bool, Float

from tokenhmr_jax.body import camera, keypoint_body, rotations, skeleton, smpl
from tokenhmr_jax.config import check_choice
from tokenhmr_jax.data import records
from tokenhmr_jax.objectives import metrics, plausibility, tals
from tokenhmr_jax.tasks.prompting import Poses
from tokenhmr_jax.types import Array, BodyOutput, ImageBatch, RegressorOutput, SmplParams

_SAME_ORIGIN = 0.1  # metres, from a body's pelvis to the stored one


@struct.dataclass
class Frozen:
    """The inputs of a step that nothing moves.

    body: SMPL, with the regressor of the extra keypoints.
    gendered: SMPL's models of men and women, for labels of them; may be empty.
    keypoint_body: `body` reduced to its keypoints, which the losses need.
    thresholds: of TALS.
    is_ground_truth: for each source of the mixture, in alphabetical order.
    poses: of people without pictures; None if training draws none.
    """

    body: smpl.BodyModel
    gendered: tuple[smpl.BodyModel, ...]
    keypoint_body: keypoint_body.KeypointBody
    thresholds: tals.Thresholds
    is_ground_truth: Bool[Array, ' S']
    poses: Poses | None = None


def label_errors(
    convention: str, truth: str, frozen: Frozen, body: BodyOutput, batch: ImageBatch
) -> dict[str, Float[Array, 'B ...']]:
    """Errors of bodies against a batch's labels, mm, by convention as `metrics.body_errors`.

    Also 'stored_truth': 1 for labels whose stored keypoints are the truth, else 0.
    """
    ours = measured_points(convention, frozen, body)
    # Of people without pictures nothing is stored.
    stored = None if batch.image is None else batch.keypoints3d
    *theirs, used = true_points(convention, truth, frozen, true_body(frozen, batch), stored)
    return metrics.body_errors(ours[0], theirs[0], ours[1], theirs[1]) | {'stored_truth': used}


def placement_errors(
    output: RegressorOutput, frozen: Frozen, batch: ImageBatch
) -> dict[str, Float[Array, 'B ...']]:
    """Errors of bodies in the picture's camera, per example.

    Returns:
      'global_orient_deg', between the root's rotation and the label's. Of a picture also
      'distance_error', of the pelvis from the camera, relative to the true distance: NaN where the
      camera or the translation is not known; and 'camera_source', one-hot. The body is where the
      crop's (s, tx, ty) place it in that camera, by either projection.
    """
    true_orient = rotations.axis_angle_to_matrix(batch.global_orient)
    angle = rotations.geodesic_angle(output.params.global_orient, true_orient)
    found = {'global_orient_deg': jnp.rad2deg(angle)}
    if batch.transl is None:
        return found
    pelvis = output.body.joints[:, 0] + camera.place_in_picture(output.camera, batch.camera)
    pelvis_gt = true_body(frozen, batch).joints[:, 0] + batch.transl
    distance, distance_gt = (jnp.linalg.norm(p, axis=-1) for p in (pelvis, pelvis_gt))
    is_true = batch.camera_source == records.CAMERA_SOURCES.index('true')
    known = is_true & jnp.any(batch.transl != 0, axis=-1)
    error = jnp.abs(distance / distance_gt - 1)
    source = jax.nn.one_hot(batch.camera_source.astype(int), len(records.CAMERA_SOURCES))
    return found | {
        'distance_error': jnp.where(known, error, jnp.nan),
        'camera_source': source,
    }


def output_errors(
    convention: str, truth: str, frozen: Frozen, output: RegressorOutput, batch: ImageBatch
) -> dict[str, Float[Array, 'B ...']]:
    """Errors of a network's answers: of `label_errors`, of `rotation_errors`, of 2D keypoints in
    pixels of 256, and of `placement_errors`. Those of its likeliest pose tokens have the prefix
    'argmax_'."""
    errors = label_errors(convention, truth, frozen, output.body, batch)
    offset = metrics.distances(output.keypoints2d, batch.keypoints2d[..., :2])
    confidence = batch.keypoints2d[..., 2]
    share = confidence / jnp.maximum(jnp.sum(confidence, -1, keepdims=True), 1e-9)
    errors['keypoints2d_px'] = camera.CROP_SIZE * jnp.sum(share * offset, axis=-1)
    errors |= rotation_errors(output.params, batch) | placement_errors(output, frozen, batch)
    if output.argmax_body is None:
        return errors
    likeliest = label_errors(convention, truth, frozen, output.argmax_body, batch)
    names = ('mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm')
    return errors | {f'argmax_{name}': likeliest[name] for name in names}


def rotation_errors(params: SmplParams, batch: ImageBatch) -> dict[str, Float[Array, ' B']]:
    """Mean angle between the rotations of the body's joints and their labels', degrees; and 1 for
    poses whose elbows or knees are bent the wrong way."""
    joints = slice(skeleton.NUM_BODY_JOINTS)
    truth = rotations.axis_angle_to_matrix(batch.body_pose[:, joints])
    found = params.body_pose[:, joints]
    return {
        'angle_deg': plausibility.mean_angle_degrees(found, truth),
        'bent_wrong': plausibility.bent_wrong(found).astype(jnp.float32),
    }


def true_points(
    convention: str,
    truth: str,
    frozen: Frozen,
    body: BodyOutput,
    keypoints3d: Float[Array, 'B 44 4'] | None,
) -> tuple[Float[Array, 'B J 3'], Float[Array, 'B V 3'], Float[Array, ' B']]:
    """Points and vertices to measure against, centred, and where the points are stored ones.

    Args:
      truth: one of `metrics.TRUTHS`.
      body: of the labels. Its vertices are always the true ones.
      keypoints3d: of the labels, metres, any origin, confidence; None if there are none.
    """
    points, vertices = measured_points(convention, frozen, body)
    if truth == 'body' or convention not in metrics.STORED or keypoints3d is None:
        return points, vertices, jnp.zeros(len(points))
    confidence = keypoints3d[:, metrics.STORED[convention], 3]
    used = jnp.all(confidence > 0, axis=-1)
    stored, moved = metrics.evaluation_points(
        convention, keypoints3d[..., :3], body.vertices, frozen.body.joint_regressor
    )
    # The published evaluation centres the vertices too on the stored pelvis. That needs keypoints
    # around the body's origin, not around the camera's.
    off = jnp.linalg.norm(moved[:, 0] - vertices[:, 0], axis=-1)
    together = used & (off < _SAME_ORIGIN)
    points = jnp.where(used[:, None, None], stored, points)
    vertices = jnp.where(together[:, None, None], moved, vertices)
    return points, vertices, used.astype(points.dtype)


def check_truth(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError for an `eval.truth` that is unknown, or that `eval.convention` lacks."""
    check_choice(config, 'eval.truth', metrics.TRUTHS)
    if config.eval.truth == 'stored' and config.eval.convention not in metrics.STORED:
        raise ValueError(
            f"eval.truth='stored' with eval.convention={config.eval.convention!r}, whose joints "
            "are the mesh's: expected 'published' or 'body'"
        )


def measured_points(
    convention: str, frozen: Frozen, body: BodyOutput
) -> tuple[Float[Array, 'B J 3'], Float[Array, 'B V 3']]:
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
        found = jax.tree.map(lambda a, b, ours=ours: jnp.where(ours, a, b), other, found)
    return found


def true_params(
    global_orient: Float[Array, 'B 3'],
    body_pose: Float[Array, 'B 23 3'],
    betas: Float[Array, 'B 10'],
) -> SmplParams:
    """Parameters of labels, whose rotations are axis-angle."""
    to_matrix = rotations.axis_angle_to_matrix
    return SmplParams(to_matrix(global_orient), to_matrix(body_pose), betas)


def all_rotations(params: SmplParams) -> Float[Array, 'B 24 3 3']:
    """All 24 rotations, the root's first."""
    return jnp.concatenate([params.global_orient[:, None], params.body_pose], axis=1)


def keypoint_error_mm(
    points: Float[Array, 'B 44 3'], points_gt: Float[Array, 'B 44 4']
) -> Float[Array, ' B']:
    """Mean distance of the labelled 3D keypoints, metres, both centred on the pelvis keypoint.

    NaN where it, or all of them, have no label.
    """
    centre = skeleton.PELVIS
    ours = points - points[:, centre, None]
    theirs = points_gt[..., :3] - points_gt[:, centre, None, :3]
    labelled = (points_gt[..., 3] > 0) & (points_gt[:, centre, None, 3] > 0)
    distance = jnp.where(labelled, metrics.distances(ours, theirs), 0)
    return 1000 * jnp.sum(distance, axis=-1) / jnp.sum(labelled, axis=-1)
