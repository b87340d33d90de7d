"""Measures of pose tokens beside the error of reconstruction: stability, mixtures, locality."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Num

from tokenhmr_jax.body import rotations
from tokenhmr_jax.types import Array

# Turns of every joint under which stability is measured.
STABILITY_DEGREES = (0.5, 1.0, 2.0)
# A joint counts as moved beyond this, metres.
_MOVED = 0.01
_TINY = 1e-9


def turn_joints(
    body_pose: Float[Array, 'B J 3 3'], degrees: float, rng: jax.Array
) -> Float[Array, 'B J 3 3']:
    """Poses with every joint turned by an angle about a random axis of its own."""
    axis = jax.random.normal(rng, body_pose.shape[:-1])
    axis = axis / jnp.maximum(jnp.linalg.norm(axis, axis=-1, keepdims=True), _TINY)
    turn = rotations.axis_angle_to_matrix(jnp.deg2rad(degrees) * axis)
    return rotations.compose(body_pose, turn)


def kept_share(tokens: Int[Array, 'B T'], others: Int[Array, 'B T']) -> Float[Array, ' B']:
    """Stability: the share of a pose's tokens that are the same in both."""
    return jnp.mean(tokens == others, axis=-1, dtype=jnp.float32)


def code_spacing(codes: Float[Array, 'K C']) -> Float[Array, '']:
    """Mean distance of a code to the nearest other one."""
    nearest = jnp.min(squared_distances(codes), axis=-1)
    return jnp.mean(jnp.sqrt(jnp.maximum(nearest, 0)))


def squared_distances(codes: Float[Array, 'K C']) -> Float[Array, 'K K']:
    """Squared distances between codes, infinite from a code to itself."""
    exact = jax.lax.Precision.HIGHEST
    square = jnp.sum(codes**2, axis=-1)
    product = jnp.einsum('kc,lc->kl', codes, codes, precision=exact)
    distance = square[:, None] + square - 2 * product
    return jnp.where(jnp.eye(len(codes), dtype=bool), jnp.inf, distance)


def soft_codes(codes: Float[Array, 'K C'], latents: Float[Array, '*B C']) -> Float[Array, '*B C']:
    """Expected codes of tokens that are unsure: a softmax over all codes of -|z - c|^2 / s^2.

    The temperature s is the spacing of the codes, so that a code at that distance from the latent
    has 1/e of the weight of a code at the latent, whatever kind the codes are.
    """
    exact = jax.lax.Precision.HIGHEST
    score = 2 * jnp.einsum('...c,kc->...k', latents, codes, precision=exact)
    score = score - jnp.sum(codes**2, axis=-1)
    temperature = jnp.maximum(code_spacing(codes), _TINY)
    weights = jax.nn.softmax(score / temperature**2)
    return jnp.einsum('...k,kc->...c', weights, codes, precision=exact)


def swap_one(tokens: Int[Array, 'B T'], num_codes: int, rng: jax.Array) -> Int[Array, 'B T']:
    """Tokens with another code at one position: the i-th pose's i-th, counted around."""
    step = jax.random.randint(rng, (len(tokens),), 1, num_codes)
    rows, columns = jnp.arange(len(tokens)), jnp.arange(len(tokens)) % tokens.shape[1]
    return tokens.at[rows, columns].set((tokens[rows, columns] + step) % num_codes)


def motion_scalars(
    joints: Num[Array, 'B J 3'], moved: Num[Array, 'B J 3']
) -> dict[str, Float[Array, ' B']]:
    """Locality of a change: 'joints_moved', by more than a centimetre, and 'top3_motion', the
    share of all joints' motion in the three that move most; joints in metres."""
    distance = jnp.linalg.norm(moved - joints, axis=-1)
    top = jnp.sum(jax.lax.top_k(distance, 3)[0], axis=-1)
    share = top / jnp.maximum(jnp.sum(distance, axis=-1), _TINY)
    count = jnp.sum(distance > _MOVED, axis=-1, dtype=jnp.float32)
    return {'joints_moved': count, 'top3_motion': share}
