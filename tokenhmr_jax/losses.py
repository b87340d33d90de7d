"""Loss terms as pure functions. Weights are applied by `weighted_sum`, from the config."""

import jax
import jax.numpy as jnp


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


def check_distance(distance: str) -> None:
    """Raise ValueError unless `distance` is 'squared' or 'l1'."""
    if distance not in ('squared', 'l1'):
        raise ValueError(f"loss_distance={distance!r}: expected 'squared' or 'l1'")


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
