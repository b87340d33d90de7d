"""Loss terms as pure functions. Weights are applied by `weighted_sum`, from the config."""

import jax
import jax.numpy as jnp

from tokenhmr_jax.body import skeleton


def weighted_sum(terms: dict[str, jax.Array], weights: dict[str, float]) -> jax.Array:
    """Sum of named terms times their weights.

    Raises:
      ValueError: if the two do not name the same terms.
    """
    if set(terms) != set(weights):
        raise ValueError(
            f'loss_weights names {sorted(weights)}, the task has the terms {sorted(terms)}'
        )
    return sum(weights[name] * term for name, term in terms.items())


def vertex_weights(vertices: jax.Array, faces: jax.Array) -> jax.Array:
    """How much each vertex counts in the tokenizer's mesh loss, (V,).

    The sum over a vertex's triangles of their areas, min-max normalised over all triangles.

    Args:
      vertices: (V, 3) rest mesh, metres.
      faces: (F, 3) vertex indices.
    """
    corner = vertices[faces]
    normal = jnp.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = 0.5 * jnp.linalg.norm(normal, axis=-1)
    share = (area - area.min()) / (area.max() - area.min())
    return jnp.zeros(len(vertices)).at[faces].add(share[:, None])


def check_distance(distance: str, name: str = 'loss_distance') -> None:
    """Raise ValueError, with the setting's name, unless `distance` is 'squared' or 'l1'."""
    if distance not in ('squared', 'l1'):
        raise ValueError(f"{name}={distance!r}: expected 'squared' or 'l1'")


def tokenizer_terms(
    *,
    rotation: jax.Array,
    rotation_gt: jax.Array,
    joints: jax.Array,
    joints_gt: jax.Array,
    vertices: jax.Array,
    vertices_gt: jax.Array,
    weights: jax.Array,
    commitment: jax.Array,
    distance: str,
) -> dict[str, jax.Array]:
    """The four terms of stage 1, each a mean over the batch (TokenHMR, section 3.2).

    Args:
      rotation, rotation_gt: (B, 21, 3, 3).
      joints, joints_gt: (B, 21, 3) the body joints without the root, metres.
      vertices, vertices_gt: (B, V, 3) metres.
      weights: (V,) of `vertex_weights`.
      commitment: () of `quantizer.quantize`.
      distance: 'squared' as in the release, 'l1' as in the paper.
    """
    measure = jnp.square if distance == 'squared' else jnp.abs
    return {
        'rotation': jnp.mean(measure(rotation - rotation_gt)),
        'joints': jnp.mean(measure(joints - joints_gt)),
        'vertices': jnp.mean(weights[:, None] * measure(vertices - vertices_gt)),
        'commitment': commitment,
    }


def regressor_errors(
    *,
    keypoints2d: jax.Array,
    keypoints2d_gt: jax.Array,
    keypoints3d: jax.Array,
    keypoints3d_gt: jax.Array,
    rotation: jax.Array,
    rotation_gt: jax.Array,
    betas: jax.Array,
    betas_gt: jax.Array,
) -> dict[str, jax.Array]:
    """What stage 2 penalises (TokenHMR), before it is decided what counts.

    Args:
      keypoints2d, keypoints2d_gt: (B, 44, 2) and, with confidence, (B, 44, 3), crop units.
      keypoints3d, keypoints3d_gt: (B, 44, 3) and, with confidence, (B, 44, 4), metres, axes of the
        crop camera, any origin: both are centred on the pelvis keypoint.
      rotation, rotation_gt: (B, 24, 3, 3), the root's first.
      betas, betas_gt: (B, 10).

    Returns:
      by the names of the loss terms: keypoints (B, 44), confidence times L1; rotations (B, 1) and
      (B, 23), squared differences of matrices; betas (B, 10), squared differences.
    """
    offset2d = jnp.abs(keypoints2d - keypoints2d_gt[..., :2])
    centred = keypoints3d - keypoints3d[:, skeleton.PELVIS, None]
    centred_gt = keypoints3d_gt[..., :3] - keypoints3d_gt[:, skeleton.PELVIS, None, :3]
    turned = jnp.sum(jnp.square(rotation - rotation_gt), axis=(-2, -1))
    return {
        'keypoints2d': keypoints2d_gt[..., 2] * jnp.sum(offset2d, axis=-1),
        'keypoints3d': keypoints3d_gt[..., 3] * jnp.sum(jnp.abs(centred - centred_gt), axis=-1),
        'global_orient': turned[:, :1],
        'body_pose': turned[:, 1:],
        'betas': jnp.square(betas - betas_gt),
    }


def label_weights(has_pose: jax.Array, has_betas: jax.Array) -> dict[str, jax.Array]:
    """What counts of `regressor_errors` without TALS: labels that are to be trusted, in full.

    Args:
      has_pose, has_betas: (B,) 1 where the labels are to be trusted, else 0.

    Returns:
      by term: (B, 1).
    """
    has_pose, has_betas = has_pose[:, None], has_betas[:, None]
    everything = jnp.ones_like(has_pose)
    return {
        'keypoints2d': everything,
        'keypoints3d': everything,
        'global_orient': has_pose,
        'body_pose': has_pose,
        'betas': has_betas,
    }


def regularized_betas(betas: jax.Array, has_betas: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Labels (B, 10) and their trust (B,) that draw betas to zero where nothing is known of them.

    With TALS, whose betas are learned from ground truth alone, it acts on no other records.
    """
    return jnp.where(has_betas[:, None] > 0, betas, 0.0), jnp.ones_like(has_betas)


def batch_terms(
    errors: dict[str, jax.Array], weights: dict[str, jax.Array], reference_batch: float
) -> dict[str, jax.Array]:
    """The loss terms: sums of weighted errors over what an example has, means over the batch.

    Args:
      errors: of `regressor_errors`.
      weights: of `label_weights` or `tals.weights`.
      reference_batch: what the means are multiplied by, so that weights meant for sums over batches
        of that size apply to batches of any size. The release sums over the 48 of a GPU.
    """
    return {
        name: reference_batch * jnp.mean(jnp.sum(weights[name] * error, axis=-1))
        for name, error in errors.items()
    }
