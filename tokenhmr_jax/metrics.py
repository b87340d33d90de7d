"""Errors of bodies in millimetres, one value per example."""

import jax
import jax.numpy as jnp


def mean_distance_mm(points: jax.Array, points_gt: jax.Array) -> jax.Array:
    """Mean distance of points (..., N, 3) to theirs, metres in, millimetres out, (...,).

    Over joints it is MPJPE, over vertices PVE; aligning them is the caller's choice.
    """
    x, y, z = jnp.moveaxis(points - points_gt, -1, 0)
    return 1000 * jnp.mean(jnp.sqrt(x * x + y * y + z * z), axis=-1)
