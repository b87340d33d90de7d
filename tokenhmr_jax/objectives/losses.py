"""Loss terms as pure functions; `weighted_sum` applies the config's weights."""

import chex
import jax.numpy as jnp
import ml_collections
from jaxtyping import Float, Int, Num

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.types import Array


def weighted_sum(
    terms: dict[str, Num[Array, '']], weights: dict[str, float] | ml_collections.ConfigDict
) -> Num[Array, '']:
    """Sum of named terms times their weights; ValueError if these name other terms."""
    if set(terms) != set(weights):
        raise ValueError(
            f'loss_weights names {sorted(weights)}, the task has the terms {sorted(terms)}'
        )
    return sum(weights[name] * term for name, term in terms.items())


def vertex_weights(vertices: Float[Array, 'V 3'], faces: Int[Array, 'F 3']) -> Float[Array, ' V']:
    """Weights of the vertices in the tokenizer's mesh loss, from the rest mesh.

    The sum over a vertex's triangles of their areas, min-max normalised over all triangles.
    """
    corner = vertices[faces]
    normal = jnp.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = 0.5 * jnp.linalg.norm(normal, axis=-1)
    share = (area - area.min()) / (area.max() - area.min())
    return jnp.zeros(len(vertices)).at[faces].add(share[:, None])


def check_distance(distance: str, name: str = 'loss_distance') -> None:
    """Raises ValueError, with the setting's name, unless `distance` is 'squared' or 'l1'."""
    if distance not in ('squared', 'l1'):
        raise ValueError(f"{name}={distance!r}: expected 'squared' or 'l1'")


def absolute(error: Float[Array, '*A']) -> Float[Array, '*A']:
    """The absolute value. Its gradient at zero is 0, as in PyTorch; that of `jnp.abs` is 1."""
    return error * jnp.sign(error)


def tokenizer_terms(
    *,
    rotation: Float[Array, 'N 21 3 3'],
    rotation_gt: Float[Array, 'N 21 3 3'],
    joints: Float[Array, 'B 21 3'],
    joints_gt: Float[Array, 'B 21 3'],
    vertices: Float[Array, 'B V 3'],
    vertices_gt: Float[Array, 'B V 3'],
    weights: Float[Array, ' V'],
    commitment: float | Float[Array, ''],
    distance: str,
) -> dict[str, Float[Array, '']]:
    """The four terms of stage 1, each a mean over the batch (TokenHMR, section 3.2).

    Joints are those of the body without the root; joints and vertices in metres. `weights` are
    `vertex_weights`. `distance` is 'squared' as in the release, or 'l1' as in the paper.
    """
    chex.assert_equal_shape([rotation, rotation_gt])
    chex.assert_equal_shape([vertices, vertices_gt])
    measure = jnp.square if distance == 'squared' else absolute
    return {
        'rotation': jnp.mean(measure(rotation - rotation_gt)),
        'joints': jnp.mean(measure(joints - joints_gt)),
        'vertices': jnp.mean(weights[:, None] * measure(vertices - vertices_gt)),
        'commitment': commitment,
    }


def regressor_errors(
    *,
    keypoints2d: Float[Array, 'B 44 2'],
    keypoints2d_gt: Float[Array, 'B 44 3'],
    keypoints3d: Float[Array, 'B 44 3'],
    keypoints3d_gt: Float[Array, 'B 44 4'],
    rotation: Float[Array, 'B 24 3 3'],
    rotation_gt: Float[Array, 'B 24 3 3'],
    betas: Float[Array, 'B 10'],
    betas_gt: Float[Array, 'B 10'],
) -> dict[str, Float[Array, 'B _']]:
    """Errors that stage 2 penalises (TokenHMR), before any weight, by loss term.

    2D keypoints are in crop units, 3D ones in metres, axes of the crop's camera, any origin: both
    sides are centred on the pelvis keypoint. Labels carry confidences. Rotations are the root's
    first.

    Returns:
      keypoints (B, 44), confidence times L1; rotations (B, 1) and (B, 23), squared differences of
      matrices; betas (B, 10), squared differences.
    """
    chex.assert_equal_shape([rotation, rotation_gt])
    chex.assert_equal_shape([betas, betas_gt])
    offset2d = absolute(keypoints2d - keypoints2d_gt[..., :2])
    centred = keypoints3d - keypoints3d[:, skeleton.PELVIS, None]
    centred_gt = keypoints3d_gt[..., :3] - keypoints3d_gt[:, skeleton.PELVIS, None, :3]
    turned = jnp.sum(jnp.square(rotation - rotation_gt), axis=(-2, -1))
    return {
        'keypoints2d': keypoints2d_gt[..., 2] * jnp.sum(offset2d, axis=-1),
        'keypoints3d': keypoints3d_gt[..., 3] * jnp.sum(absolute(centred - centred_gt), axis=-1),
        'global_orient': turned[:, :1],
        'body_pose': turned[:, 1:],
        'betas': jnp.square(betas - betas_gt),
    }


def label_weights(
    has_pose: Float[Array, ' B'], has_betas: Float[Array, ' B']
) -> dict[str, Float[Array, 'B 1']]:
    """Weights of `regressor_errors` without TALS, by term: 1 for trusted labels, else 0."""
    has_pose, has_betas = has_pose[:, None], has_betas[:, None]
    everything = jnp.ones_like(has_pose)
    return {
        'keypoints2d': everything,
        'keypoints3d': everything,
        'global_orient': has_pose,
        'body_pose': has_pose,
        'betas': has_betas,
    }


def regularized_betas(
    betas: Float[Array, 'B 10'], has_betas: Float[Array, ' B']
) -> tuple[Float[Array, 'B 10'], Float[Array, ' B']]:
    """Labels and trust that draw unknown betas to zero.

    TALS learns betas from ground truth alone, and this acts on no other records then.
    """
    return jnp.where(has_betas[:, None] > 0, betas, 0.0), jnp.ones_like(has_betas)


def batch_terms(
    errors: dict[str, Float[Array, 'B _']],
    weights: dict[str, Float[Array, 'B _']],
    reference_batch: float | Num[Array, ''],
) -> dict[str, Float[Array, '']]:
    """The loss terms: weighted errors, summed over an example and averaged over the batch.

    Args:
      errors: from `regressor_errors`.
      weights: from `label_weights` or `tals.tals_weights`.
      reference_batch: factor of the means, so that weights meant for sums over batches of that size
        apply to batches of any size. The release sums over the 48 examples of a GPU.
    """
    return {
        name: reference_batch * jnp.mean(jnp.sum(weights[name] * error, axis=-1))
        for name, error in errors.items()
    }


def pooled_terms(
    parts: list[tuple[int, dict[str, Float[Array, '']]]],
) -> dict[str, Float[Array, '']]:
    """The terms of a batch in parts of so many examples each, from the parts' own."""
    total = sum(count for count, _ in parts)
    return {
        name: sum(count / total * terms[name] for count, terms in parts) for name in parts[0][1]
    }
