"""Cross-entropy of pose tokens, with labels that may be spread over neighbouring codes."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from tokenhmr_jax.objectives.token_metrics import code_spacing, squared_distances
from tokenhmr_jax.types import Array

_TINY = 1e-9


def cross_entropy(
    logits: Float[Array, 'B T K'],
    tokens: Int[Array, 'B T'],
    codes: Float[Array, 'K C'],
    smoothing: float,
) -> Float[Array, ' B']:
    """Cross-entropy of tokens and their labels, nats, mean over a pose's tokens.

    smoothing: share of each label that goes to the codes around it, by `neighbour_weights`.
    """
    log_probs = jax.nn.log_softmax(logits)
    error = -jnp.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]
    if smoothing:
        spread = -jnp.sum(neighbour_weights(codes)[tokens] * log_probs, axis=-1)
        error = (1 - smoothing) * error + smoothing * spread
    return jnp.mean(error, axis=-1)


def neighbour_weights(codes: Float[Array, 'K C']) -> Float[Array, 'K K']:
    """Weights of the codes around each, by distance; each row sums to 1.

    A softmax of -|a - b|^2 / s^2, where s is the mean spacing of the codes.
    """
    temperature = jnp.maximum(code_spacing(codes), _TINY)
    return jax.nn.softmax(-squared_distances(codes) / temperature**2)
