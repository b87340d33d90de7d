"""Codes that the frozen decoder reads in place of each token: a mixture, or the likeliest one."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float

from tokenhmr_jax.types import Array


@dataclasses.dataclass(frozen=True)
class TokenChoice:
    """From logits of tokens to weights of codes.

    Outside training the weights are the tokens' probabilities, as they are by default in training
    (TokenHMR, section 3.3).

    straight_through: training decodes the likeliest code; the gradient is that of the mixture
      (Bengio et al., 2013).
    gumbel: temperature of Gumbel noise on the logits in training, 0 for none (Gumbel softmax: Jang
      et al., ICLR 2017). With `straight_through` tokens are sampled.

    Raises ValueError for a temperature below 0.
    """

    straight_through: bool = False
    gumbel: float = 0.0

    def __post_init__(self):
        if self.gumbel < 0:
            raise ValueError(f'pose_tokens.gumbel={self.gumbel}: expected a temperature, or 0')

    def __call__(
        self, logits: Float[Array, 'B T K'], rng: jax.Array | None = None
    ) -> Float[Array, 'B T K']:
        """Weights of the codes; with `rng` those of training."""
        if rng is None:
            return jax.nn.softmax(logits)
        if self.gumbel:
            logits = (logits + jax.random.gumbel(rng, logits.shape)) / self.gumbel
        soft = jax.nn.softmax(logits)
        if not self.straight_through:
            return soft
        hard = jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1], dtype=soft.dtype)
        return hard + soft - jax.lax.stop_gradient(soft)
