"""The heads of the regressor: from image features to tokens, or to the pose itself.

One query reads the features through a transformer decoder (HMR2.0, Goel et al., ICCV 2023).
`TokenHead` reads from it the logits of tokens for a frozen decoder (TokenHMR, section 3.3),
`DirectHead` the pose in 6D. Both predict offsets from a mean body: the tokens are *residual*
tokens, not the pose tokens that the tokenizer's encoder gives to the same pose.

`PoseTokenHead` has a query for each token besides. Its tokens stand for the whole pose: they are
*pose tokens*, those of the tokenizer's encoder.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.models.attention import DecoderLayer, dense, norm
from tokenhmr_jax.types import Array

# So small that training starts at the mean body.
_SMALL = nn.initializers.variance_scaling(1e-4, 'fan_avg', 'uniform')


@struct.dataclass
class TokenReadout:
    """Tokens of the pose, and offsets from the mean body, float32.

    logits: of the codes of each token.
    global_orient, hands: 6D, the left hand first.
    camera: weak-perspective (s, tx, ty).
    """

    logits: Float[Array, 'B T K']
    global_orient: Float[Array, 'B 6']
    hands: Float[Array, 'B 12']
    betas: Float[Array, 'B 10']
    camera: Float[Array, 'B 3']


@struct.dataclass
class DirectReadout:
    """Offsets from the mean body, float32. pose: 6D of 24 joints."""

    pose: Float[Array, 'B 144']
    betas: Float[Array, 'B 10']
    camera: Float[Array, 'B 3']


class QueryDecoder(nn.Module):
    """Learned queries that read the features, or those that are known."""

    width: int
    depth: int
    heads: int
    head_dim: int
    mlp_dim: int
    dtype: DTypeLike = jnp.float32
    num_queries: int = 1

    @nn.compact
    def __call__(
        self, features: Float[Array, 'B T C'], known: Bool[Array, 'B T'] | None = None
    ) -> Float[Array, 'B Q width']:
        # The input is zero, so only the embedding's bias acts. The original has the kernel.
        x = dense(self.width, 'embed', self.dtype)(jnp.zeros((len(features), self.num_queries, 1)))
        shape = self.num_queries, self.width
        position = self.param('position', nn.initializers.normal(1.0), shape)
        x = x + position.astype(x.dtype)
        for i in range(self.depth):
            sizes = self.heads, self.head_dim, self.mlp_dim
            x = DecoderLayer(*sizes, self.dtype, name=f'layer{i}')(x, features, known)
        return x


class MixerLayer(nn.Module):
    """Mixing across tokens, then across channels (MLP-Mixer, Tolstikhin et al., 2021)."""

    token_dim: int
    channel_dim: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, 'B T width']) -> Float[Array, 'B T width']:
        y = jnp.swapaxes(norm('token_norm', self.dtype)(x), 1, 2)
        x = x + jnp.swapaxes(self._mlp(y, self.token_dim, 'token'), 1, 2)
        y = norm('channel_norm', self.dtype)(x)
        return x + self._mlp(y, self.channel_dim, 'channel')

    def _mlp(self, x, hidden: int, name: str):
        y = nn.gelu(dense(hidden, f'{name}_in', self.dtype)(x), approximate=False)
        return dense(x.shape[-1], f'{name}_out', self.dtype)(y)


class TokenMixer(nn.Module):
    """A body's features to the logits of its tokens, float32."""

    num_tokens: int
    num_codes: int
    width: int = 64
    depth: int = 4
    token_dim: int = 64
    channel_dim: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'B C']) -> Float[Array, 'B T K']:
        x = dense(self.num_tokens * self.width, 'spread', self.dtype)(x)
        x = nn.relu(norm('spread_norm', self.dtype)(x))  # over all tokens together
        x = x.reshape(len(x), self.num_tokens, self.width)
        for i in range(self.depth):
            x = MixerLayer(self.token_dim, self.channel_dim, self.dtype, name=f'layer{i}')(x)
        x = norm('out_norm', self.dtype)(dense(self.width, 'out', self.dtype)(x))
        return dense(self.num_codes, 'logits', jnp.float32)(nn.relu(x))


class TokenHead(nn.Module):
    """Features to residual tokens, orientation, hands, betas and camera."""

    decoder: QueryDecoder
    mixer: TokenMixer

    @nn.compact
    def __call__(
        self, features: Float[Array, 'B T C'], known: Bool[Array, 'B T'] | None = None
    ) -> TokenReadout:
        x = self.decoder(features, known)[:, 0]
        others = _read_others(x)
        return TokenReadout(logits=self.mixer(x), **others)


class PoseTokenHead(nn.Module):
    """Features to pose tokens, orientation, hands, betas and camera.

    decoder: of one query for each token, after one for all else.
    """

    decoder: QueryDecoder
    num_codes: int

    @nn.compact
    def __call__(
        self, features: Float[Array, 'B T C'], known: Bool[Array, 'B T'] | None = None
    ) -> TokenReadout:
        x = self.decoder(features, known)
        tokens = norm('token_norm', self.decoder.dtype)(x[:, 1:])
        logits = dense(self.num_codes, 'logits', jnp.float32)(tokens)
        return TokenReadout(logits=logits, **_read_others(x[:, 0]))


class DirectHead(nn.Module):
    """Features to the pose in 6D, betas and camera: HMR2.0's head."""

    decoder: QueryDecoder

    @nn.compact
    def __call__(
        self, features: Float[Array, 'B T C'], known: Bool[Array, 'B T'] | None = None
    ) -> DirectReadout:
        x = self.decoder(features, known)[:, 0]
        return DirectReadout(**_read_out(x, pose=6 * skeleton.NUM_JOINTS, betas=10, camera=3))


def _read_others(x) -> dict[str, jax.Array]:
    """All but the tokens."""
    return _read_out(x, global_orient=6, hands=12, betas=10, camera=3)


def _read_out(x, **sizes: int) -> dict[str, jax.Array]:
    """Named linear outputs in float32: bfloat16 holds a rotation to half a degree."""
    exact = jax.lax.Precision.HIGHEST  # or accelerators round what goes into the product
    options = {'dtype': jnp.float32, 'precision': exact, 'kernel_init': _SMALL}
    return {name: nn.Dense(size, name=name, **options)(x) for name, size in sizes.items()}
