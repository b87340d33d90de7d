"""The pose tokenizer's codebook: nearest code, straight-through gradient, EMA with re-seeding.

van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017, appendix A.1 (EMA);
re-seeding of dead codes as in Jukebox (Dhariwal et al., 2020). State goes in and comes out. All
sums run over the *global* batch: under `jit` with the batch sharded over a mesh, the compiler
inserts the collectives, so one device and many give the same codebook.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

_EXACT = jax.lax.Precision.HIGHEST


@struct.dataclass
class Codebook:
    """K codes of C numbers, and the running statistics that move them.

    codes: (K, C).
    ema_sum: (K, C) decayed sum of the latents assigned to each code.
    ema_count: (K,) decayed number of them.
    initialized: () bool, false until the first batch has filled the codes.
    """

    codes: jax.Array
    ema_sum: jax.Array
    ema_count: jax.Array
    initialized: jax.Array


def empty_codebook(num_codes: int, code_dim: int) -> Codebook:
    """A codebook that the first batch will fill."""
    return Codebook(
        codes=jnp.zeros((num_codes, code_dim)),
        ema_sum=jnp.zeros((num_codes, code_dim)),
        ema_count=jnp.ones((num_codes,)),
        initialized=jnp.zeros((), bool),
    )


def nearest_codes(codes: jax.Array, latents: jax.Array) -> jax.Array:
    """Index (...,) int32 of the code (K, C) nearest to each latent (..., C) in squared L2."""
    # |z|^2 is the same for every code: leaving it out saves work and rounding.
    score = jnp.einsum('...c,kc->...k', latents, codes, precision=_EXACT)
    return jnp.argmax(score - 0.5 * jnp.sum(codes * codes, axis=-1), axis=-1)


def quantize(codes: jax.Array, latents: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Replace latents (..., C) by their nearest codes (K, C).

    Returns:
      the codes (..., C), through which the gradient passes straight to the latents; the tokens
      (...,) int32; and the commitment loss (), the mean of (z - sg(code))^2.
    """
    tokens = nearest_codes(codes, latents)
    chosen = jax.lax.stop_gradient(codes[tokens])
    commitment = jnp.mean((latents - chosen) ** 2)
    return latents + jax.lax.stop_gradient(chosen - latents), tokens, commitment


def pick_seeds(latents: jax.Array, num_codes: int, rng: jax.Array, seeding: str) -> jax.Array:
    """Latents (N, C) of a batch that may serve as codes, (K, C).

    Args:
      latents: of the whole batch; repeated with a little noise where there are fewer than K.
      num_codes: K.
      rng: drives the choice and the noise.
      seeding: 'spread', a random one from each K-th of the batch; or 'first', the batch's first
        K as in the release: with 160 tokens a pose and 2048 codes these come from 13 poses.

    Raises:
      ValueError: if `seeding` is neither.
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


def initialize_codebook(codebook: Codebook, seeds: jax.Array) -> Codebook:
    """Fill an uninitialised codebook with seeds (K, C) of its first batch; else leave it."""
    fresh = Codebook(seeds, seeds, jnp.ones_like(codebook.ema_count), jnp.ones((), bool))
    return jax.tree.map(lambda a, b: jnp.where(codebook.initialized, a, b), codebook, fresh)


def update_codebook(
    codebook: Codebook,
    latents: jax.Array,
    tokens: jax.Array,
    seeds: jax.Array,
    *,
    decay: float,
    reset_on_reseed: bool,
) -> Codebook:
    """Move the codes to the decayed mean of their latents; re-seed codes that few latents use.

    Args:
      codebook: the state before.
      latents: (N, C) of the whole batch.
      tokens: (N,) the code of each.
      seeds: (K, C) what a code becomes whose decayed count is below 1.
      decay: of the running statistics, 0.99 in the paper.
      reset_on_reseed: whether a re-seeded code restarts with the count and sum of one latent. In
        the release it keeps its old statistics, and is re-seeded at every step until its decayed
        count recovers.
    """
    num_codes = codebook.codes.shape[0]
    # A one-hot product sums in a fixed order on every backend, where a scatter-add need not, and
    # costs no more than the search for the nearest code.
    assigned = jax.nn.one_hot(tokens, num_codes, dtype=latents.dtype)
    batch_sum = jnp.einsum('nk,nc->kc', assigned, latents, precision=_EXACT)
    ema_sum = decay * codebook.ema_sum + (1 - decay) * batch_sum
    ema_count = decay * codebook.ema_count + (1 - decay) * jnp.sum(assigned, axis=0)

    used = (ema_count >= 1.0)[:, None]
    codes = jnp.where(used, ema_sum / jnp.maximum(ema_count, 1e-6)[:, None], seeds)
    if reset_on_reseed:
        ema_sum = jnp.where(used, ema_sum, seeds)
        ema_count = jnp.where(used[:, 0], ema_count, 1.0)
    return Codebook(codes, ema_sum, ema_count, codebook.initialized)


def code_counts(tokens: jax.Array, num_codes: int) -> jax.Array:
    """How many of the tokens (...,) fall on each code, (K,) float32."""
    return jnp.zeros((num_codes,)).at[tokens.reshape(-1)].add(1.0)


def perplexity(counts: jax.Array) -> jax.Array:
    """exp of the entropy of the codes' use (K,) counts: the number of codes in effective use."""
    p = counts / jnp.sum(counts)
    return jnp.exp(-jnp.sum(p * jnp.log(p + 1e-7)))
