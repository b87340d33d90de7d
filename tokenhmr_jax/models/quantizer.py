"""The pose tokenizer's codes: nearest code, straight-through gradient; learned codes, or a grid.

`VectorQuantizer` learns its codes by EMA: van den Oord et al., "Neural Discrete Representation
Learning", NeurIPS 2017, appendix A.1; re-seeding of dead codes as in Jukebox (Dhariwal et al.,
2020). All sums run over the *global* batch: under `jit` the compiler inserts the collectives, so
one device and many agree.

`FiniteScalarQuantizer` has the points of a grid for codes: Mentzer et al., "Finite Scalar
Quantization", ICLR 2024. Nothing is learned, and no code can die.

Both have an array of codes, and tokens are indices of it. So all that reads tokens, and mixes codes
by their probabilities, need not know which of the two it is.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import struct
from jaxtyping import Bool, Float, Int, Int32

from tokenhmr_jax.types import Array

_EXACT = jax.lax.Precision.HIGHEST


@struct.dataclass
class Codebook:
    """The codes, and the running statistics that move them.

    ema_sum: decayed sum of the latents assigned to each code.
    ema_count: decayed number of them.
    initialized: false until the first batch has filled the codes.
    """

    codes: Float[Array, 'K C']
    ema_sum: Float[Array, 'K C']
    ema_count: Float[Array, ' K']
    initialized: Bool[Array, '']


def empty_codebook(num_codes: int, code_dim: int) -> Codebook:
    """A codebook that the first batch will fill."""
    codes, ema_sum = jnp.zeros((2, num_codes, code_dim))
    return Codebook(codes, ema_sum, jnp.ones((num_codes,)), jnp.zeros((), bool))


def nearest_codes(codes: Float[Array, 'K C'], latents: Float[Array, '*B C']) -> Int32[Array, '*B']:
    """The index of the code nearest to each latent, in L2."""
    # |z|^2 is the same for every code: leaving it out saves work and rounding.
    score = jnp.einsum('...c,kc->...k', latents, codes, precision=_EXACT)
    return jnp.argmax(score - 0.5 * jnp.sum(codes * codes, axis=-1), axis=-1)


def quantize(
    codes: Float[Array, 'K C'], latents: Float[Array, '*B C']
) -> tuple[Float[Array, '*B C'], Int32[Array, '*B'], Float[Array, '']]:
    """The nearest codes, the tokens, and the commitment loss, the mean of (z - sg(code))^2.

    The gradient passes straight through the codes to the latents.
    """
    tokens = nearest_codes(codes, latents)
    chosen = jax.lax.stop_gradient(codes[tokens])
    commitment = jnp.mean((latents - chosen) ** 2)
    return latents + jax.lax.stop_gradient(chosen - latents), tokens, commitment


def pick_seeds(
    latents: Float[Array, 'N C'], num_codes: int, rng: jax.Array, seeding: str
) -> Float[Array, '{num_codes} C']:
    """Latents of a batch that may serve as codes, repeated with a little noise if too few.

    seeding: 'spread', a random one from each K-th of the batch; or 'first', the first K as in the
      release: with 160 tokens a pose, 2048 codes come from 13 poses. Else raises ValueError.
    """
    choice_rng, noise_rng = jax.random.split(rng)
    count, dim = latents.shape
    if count < num_codes:
        latents = jnp.tile(latents, (-(-num_codes // count), 1))
        latents += 0.01 / dim**0.5 * jax.random.normal(noise_rng, latents.shape)
        count = latents.shape[0]
    if seeding == 'first':
        return latents[:num_codes]
    if seeding != 'spread':
        raise ValueError(f"seeding {seeding!r}: expected 'spread' or 'first'")
    # Not in 32 bits: the product of codes and latents goes beyond them.
    starts = (np.arange(num_codes + 1, dtype=np.int64) * count // num_codes).astype(np.int32)
    chosen = jax.random.randint(choice_rng, (num_codes,), starts[:-1], starts[1:])
    return latents[chosen]


def initialize_codebook(codebook: Codebook, seeds: Float[Array, 'K C']) -> Codebook:
    """Fills an uninitialised codebook with seeds of its first batch."""
    fresh = Codebook(seeds, seeds, jnp.ones_like(codebook.ema_count), jnp.ones((), bool))
    return jax.tree.map(lambda a, b: jnp.where(codebook.initialized, a, b), codebook, fresh)


def update_codebook(
    codebook: Codebook,
    latents: Float[Array, 'N C'],
    tokens: Int[Array, ' N'],
    seeds: Float[Array, 'K C'],
    *,
    decay: float | Float[Array, ''],
    reset_on_reseed: bool,
) -> Codebook:
    """Moves the codes to the decayed mean of their latents; re-seeds codes that few latents use.

    seeds: the new codes where the decayed count is below 1.
    decay: of the running statistics, 0.99 in the paper.
    reset_on_reseed: whether a re-seeded code restarts with the count and sum of one latent. In the
      release it keeps its old statistics, and is re-seeded until its decayed count recovers.
    """
    # A one-hot product sums in a fixed order on every backend, where a scatter-add need not, and
    # costs no more than the search for the nearest code.
    assigned = jax.nn.one_hot(tokens, len(codebook.codes), dtype=latents.dtype)
    batch_sum = jnp.einsum('nk,nc->kc', assigned, latents, precision=_EXACT)
    ema_sum = decay * codebook.ema_sum + (1 - decay) * batch_sum
    ema_count = decay * codebook.ema_count + (1 - decay) * jnp.sum(assigned, axis=0)

    used = (ema_count >= 1.0)[:, None]
    codes = jnp.where(used, ema_sum / jnp.maximum(ema_count, 1e-6)[:, None], seeds)
    if reset_on_reseed:
        ema_sum = jnp.where(used, ema_sum, seeds)
        ema_count = jnp.where(used[:, 0], ema_count, 1.0)
    return Codebook(codes, ema_sum, ema_count, codebook.initialized)


def code_counts(tokens: Int[Array, '*B'], num_codes: int) -> Float[Array, ' {num_codes}']:
    """The number of tokens of each code."""
    return jnp.zeros((num_codes,)).at[tokens.reshape(-1)].add(1.0)


def perplexity(counts: Float[Array, ' K']) -> Float[Array, '']:
    """The number of codes in effective use: exp of the entropy of their counts."""
    p = counts / jnp.sum(counts)
    return jnp.exp(-jnp.sum(p * jnp.log(p + 1e-7)))


@struct.dataclass
class Grid:
    """The codes of finite scalar quantisation, which nothing moves."""

    codes: Float[Array, 'K C']


class Quantized(NamedTuple):
    """Latents as codes.

    codes: with the straight-through gradient.
    tokens: indices of the codes.
    commitment: loss; 0 where codes do not learn.
    """

    codes: Float[Array, 'B T C']
    tokens: Int32[Array, 'B T']
    commitment: Float[Array, '']


@runtime_checkable
class Quantizer(Protocol):
    """Codes of a tokenizer in training. The state that it keeps has the `codes`."""

    def init(self) -> Any:
        """The state before the first step."""

    def quantize(
        self, state: Any, latents: Float[Array, 'B T C'], rng: jax.Array, step: int | Array
    ) -> tuple[Quantized, Any]:
        """The codes of a training batch, and the state after it."""


@dataclasses.dataclass(frozen=True)
class VectorQuantizer:
    """Codes that move to the mean of their latents; fields as in configs/tokenizer.py."""

    num_codes: int
    code_dim: int
    decay: float
    seeding: str
    reset_on_reseed: bool
    freeze_step: int | None

    def init(self) -> Codebook:
        """A codebook that the first step fills."""
        return empty_codebook(self.num_codes, self.code_dim)

    def quantize(
        self,
        state: Codebook,
        latents: Float[Array, 'B T C'],
        rng: jax.Array,
        step: int | Int[Array, ''],
    ) -> tuple[Quantized, Codebook]:
        """As in `Quantizer`."""
        flat = jax.lax.stop_gradient(latents).reshape(-1, latents.shape[-1])
        seeds = pick_seeds(flat, self.num_codes, rng, self.seeding)
        state = initialize_codebook(state, seeds)
        quantized = Quantized(*quantize(state.codes, latents))
        settings = {'decay': self.decay, 'reset_on_reseed': self.reset_on_reseed}
        after = update_codebook(state, flat, quantized.tokens.reshape(-1), seeds, **settings)
        if self.freeze_step is not None:
            learning = step < self.freeze_step
            after = jax.tree.map(lambda a, b: jnp.where(learning, a, b), after, state)
        return quantized, after


@dataclasses.dataclass(frozen=True)
class FiniteScalarQuantizer:
    """Each number of a latent, -1 to 1, is rounded to one of its levels."""

    levels: tuple[int, ...]

    def init(self) -> Grid:
        """All codes."""
        return Grid(jnp.asarray(grid_codes(self.levels)))

    def quantize(
        self, state: Grid, latents: Float[Array, 'B T C'], rng: jax.Array, step: int | Array
    ) -> tuple[Quantized, Grid]:
        """As in `Quantizer`: on a grid, the nearest code is the rounding of each number."""
        codes, tokens, _ = quantize(state.codes, latents)
        return Quantized(codes, tokens, jnp.zeros(())), state


def grid_codes(levels: Sequence[int]) -> Float[np.ndarray, 'K C']:
    """All combinations of evenly spaced levels from -1 to 1, the last number changing fastest.

    Even numbers of levels stand symmetric about 0; the paper shifts them by half a level.
    """
    each = [np.linspace(-1, 1, count, dtype=np.float32) for count in levels]
    return np.array(list(itertools.product(*each)), np.float32)


def make_quantizer(
    model: ml_collections.ConfigDict, codebook: ml_collections.ConfigDict
) -> Quantizer:
    """The quantizer of a tokenizer's settings; ValueError if they contradict each other."""
    levels = tuple(model.levels)
    if not levels:
        return VectorQuantizer(code_dim=model.code_dim, **codebook)
    if min(levels) < 2:
        raise ValueError(f'model.levels={levels}: expected at least 2 of each')
    found, expected = (model.code_dim, codebook.num_codes), (len(levels), int(np.prod(levels)))
    if found != expected:
        raise ValueError(
            f'model.levels={levels}: expected model.code_dim={expected[0]}, their number, and '
            f'codebook.num_codes={expected[1]}, their product; got {found[0]} and {found[1]}'
        )
    return FiniteScalarQuantizer(levels)
