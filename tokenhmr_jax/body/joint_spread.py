"""Spread of the joints of several answers for one body."""

import jax.numpy as jnp
from jaxtyping import Float

from tokenhmr_jax.types import Array

CENTRAL = 0.8  # share of the samples that a spread holds


def joint_spread(joints: Float[Array, '*N S J 3']) -> Float[Array, '*N J']:
    """Radius around the mean of a joint's samples that `CENTRAL` of them stay within."""
    distance = jnp.linalg.norm(joints - joints.mean(axis=-3, keepdims=True), axis=-1)
    return jnp.quantile(distance, CENTRAL, axis=-2)
