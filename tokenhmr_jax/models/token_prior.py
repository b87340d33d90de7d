"""A prior of pose tokens: a masked transformer, and what can be asked of it.

It gives each token's distribution from those that are known. Trained with any number of tokens
hidden, it completes, draws and judges poses (MaskGIT, Chang et al., CVPR 2022; for poses MEGA,
Fiche et al., CVPR 2025 workshops).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Int, Int32

from tokenhmr_jax.models.attention import SelfAttentionLayer, dense, norm
from tokenhmr_jax.types import Array

# From tokens (N, T), and which of them are known (N, T), to logits (N, T, K).
Predict = Callable[[Array, Array], Array]


@struct.dataclass
class PriorWeights:
    """Weights of the prior that its training never changes.

    tokenizer: stage 1's parameters, {'encoder', 'decoder'}.
    codes: stage 1's codes.
    ties: share of the poses in which a token changes with a joint.
    """

    tokenizer: dict
    codes: Float[Array, 'K C']
    ties: Float[Array, 'T 21']


class TokenPrior(nn.Module):
    """Logits of all tokens from the known ones."""

    num_codes: int
    width: int
    depth: int
    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Int[Array, 'B T'], known: Bool[Array, 'B T']) -> Array:
        """Logits (B, T, K), float32; hidden tokens are not read."""
        options = {'embedding_init': nn.initializers.normal(1.0), 'dtype': self.dtype}
        hidden = self.num_codes
        codes = nn.Embed(hidden + 1, self.width, name='codes', **options)
        position = nn.Embed(tokens.shape[1], self.width, name='position', **options)
        x = codes(jnp.where(known, tokens, hidden)) + position(jnp.arange(tokens.shape[1]))
        for i in range(self.depth):
            sizes = self.heads, 4 * self.width, self.dtype
            x = SelfAttentionLayer(*sizes, name=f'layer{i}')(x)
        x = norm('out_norm', self.dtype)(x)
        return dense(self.num_codes, 'logits', jnp.float32)(x)


def tied_tokens(
    ties: Float[Array, 'T 21'], joints: Bool[Array, '*B 21'], share: float
) -> Bool[Array, '*B T']:
    """Tokens that change with one of the joints in more than a share of the poses."""
    return jnp.any((ties > share) & joints[..., None, :], axis=-1)


def complete_tokens(
    predict: Predict,
    tokens: Int[Array, 'N T'],
    known: Bool[Array, 'N T'],
    steps: int,
    evidence: Float[Array, 'N T K'] | None = None,
    key: jax.Array | None = None,
) -> Int32[Array, 'N T']:
    """Fills in hidden tokens in parallel steps, few in the first and most in the last.

    Each step takes the tokens that it is surest of at their most probable code (MaskGIT). With a
    `key` it draws codes instead, in random order: as many steps as tokens then draw from the
    prior's own distribution, fewer from one that takes tokens of a step for independent.

    Args:
      predict: the prior.
      tokens: those that are not known may be any.
      steps: evaluations of the prior.
      evidence: log-likelihood of what was observed, for each code; None for nothing.
    """
    return _complete(predict, tokens, known, steps, evidence, key)[0]


def _complete(predict, tokens, known, steps, evidence=None, key=None) -> tuple[Array, Array]:
    """As `complete_tokens`; also the logarithm of each hidden token's distribution when it was
    taken."""
    evidence = jnp.zeros(()) if evidence is None else evidence
    order = None if key is None else jax.random.uniform(key, tokens.shape)
    hidden_first = jnp.sum(~known, axis=-1, keepdims=True)
    left = np.cos(np.pi / 2 * np.arange(1, steps + 1) / steps)
    left[-1] = 0

    def step(carry, number_and_left):
        tokens, known, seen = carry
        number, left = number_and_left
        logits = jax.nn.log_softmax(predict(tokens, known) + evidence)
        if key is None:
            found, urgency = jnp.argmax(logits, axis=-1), jnp.max(logits, axis=-1)
        else:
            found = jax.random.categorical(jax.random.fold_in(key, number), logits)
            urgency = order
        rank = _ranks(jnp.where(known, -jnp.inf, urgency))
        hidden = jnp.sum(~known, axis=-1, keepdims=True)
        taken = (rank < hidden - jnp.floor(left * hidden_first)) & ~known
        tokens = jnp.where(taken, found, tokens).astype(jnp.int32)
        return (tokens, known | taken, jnp.where(taken[..., None], logits, seen)), None

    nothing = jnp.zeros_like(jax.eval_shape(predict, tokens, known))
    start = tokens.astype(jnp.int32), known, nothing
    numbers = jnp.arange(steps), jnp.asarray(left, jnp.float32)
    (tokens, _, seen), _ = jax.lax.scan(step, start, numbers)
    return tokens, seen


def draw_with(
    predict: Predict, log_probs: Float[Array, 'T K'], count: int, steps: int, key: jax.Array
) -> Int32[Array, '{count} T']:
    """Draws tokens of several poses by the prior and by a network's log-probabilities.

    Tokens are drawn in random order. A token whose drawn neighbours say nothing has the network's
    probabilities; else the prior's, times the ratio of the network's to those that the prior has
    when nothing is known.
    """
    nothing = jnp.zeros((count, len(log_probs)), jnp.int32)
    evidence = _beyond_prior(predict, jnp.broadcast_to(log_probs, (count, *log_probs.shape)))
    return complete_tokens(predict, nothing, nothing > 0, steps, evidence, key)


def refine_log_probs(
    predict: Predict, log_probs: Float[Array, 'N T K'], steps: int
) -> Float[Array, 'N T K']:
    """A network's log-probabilities of tokens, refined by the prior in few parallel steps.

    Each step takes the tokens that it is surest of, at their most probable code, by the network and
    by the prior given those taken before; as `draw_with` joins the two. The result has each token's
    distribution in the step that took it: one step changes nothing.
    """
    nothing = jnp.zeros(log_probs.shape[:2], jnp.int32)
    evidence = _beyond_prior(predict, log_probs)
    return _complete(predict, nothing, nothing > 0, steps, evidence)[1]


def _beyond_prior(predict: Predict, log_probs: Float[Array, 'N T K']) -> Float[Array, 'N T K']:
    """A network's log-probabilities, less those that the prior has when nothing is known."""
    nothing = jnp.zeros((1, log_probs.shape[1]), jnp.int32)
    return log_probs - jax.nn.log_softmax(predict(nothing, nothing > 0))


def log_likelihood(predict: Predict, tokens: Int[Array, 'N T'], steps: int) -> Float[Array, ' N']:
    """Log-probability of tokens, nats, summed in parallel steps of one fixed random order.

    Each step's tokens are judged by those of the steps before. The order is the same for all poses,
    so this is the logarithm of a distribution that sums to 1 over all tokens, and the mean over
    poses bounds their entropy (order-agnostic autoregressive models: Uria et al., ICML 2014;
    Hoogeboom et al., ICLR 2022).
    """
    count = tokens.shape[1]
    place = np.random.default_rng(0).permutation(count) * steps // count

    def step(total, number):
        known = jnp.broadcast_to(place < number, tokens.shape)
        logits = jax.nn.log_softmax(predict(tokens, known))
        found = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
        return total + jnp.sum(jnp.where(place == number, found, 0), axis=-1), None

    total, _ = jax.lax.scan(step, jnp.zeros(len(tokens)), jnp.arange(steps))
    return total


def hide_part(key: jax.Array, candidates: Bool[Array, 'B T']) -> Bool[Array, 'B T']:
    """Hides a random part of each example's candidates: any number from one to all, equally often.

    The mean cross-entropy of the hidden tokens, times their number at most, is then an unbiased
    estimate of the mean of minus `log_likelihood` over all orders (Hoogeboom et al., ICLR 2022).
    """
    number_key, order_key = jax.random.split(key)
    order = jax.random.uniform(order_key, candidates.shape)
    rank = _ranks(jnp.where(candidates, order, -jnp.inf))
    total = jnp.sum(candidates, axis=-1)
    number = jnp.ceil(total * (1 - jax.random.uniform(number_key, total.shape)))
    return candidates & (rank < number[:, None])


def _ranks(values: Float[Array, 'N T']) -> Int[Array, 'N T']:
    """Position of each value among those of its row, largest first."""
    return jnp.argsort(jnp.argsort(-values, axis=-1), axis=-1)
