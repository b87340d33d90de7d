"""From image features to what a body is made of: residual tokens, or the pose itself.

One query reads the features through a transformer decoder (HMR2.0, Goel et al., ICCV 2023). From
its numbers, `TokenHead` reads the logits of tokens that a frozen decoder turns into a pose
(TokenHMR, section 3.3), `DirectHead` the pose in 6D. Both predict offsets from a mean body: the
tokens of `TokenHead` are *residual* tokens, not the pose tokens that the tokenizer's encoder gives
to the same pose.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from tokenhmr_jax.body import skeleton

# So small that training starts at the mean body.
_SMALL = nn.initializers.variance_scaling(1e-4, 'fan_avg', 'uniform')


@struct.dataclass
class TokenReadout:
    """Offsets from the mean body, float32.

    logits: (B, T, K) of each residual token's code.
    global_orient: (B, 6).
    hands: (B, 12) of the two hand joints, left first.
    betas: (B, 10).
    camera: (B, 3) weak-perspective (s, tx, ty).
    """

    logits: jax.Array
    global_orient: jax.Array
    hands: jax.Array
    betas: jax.Array
    camera: jax.Array


@struct.dataclass
class DirectReadout:
    """Offsets from the mean body, float32: pose (B, 144) of 24 joints, betas (B, 10), camera."""

    pose: jax.Array
    betas: jax.Array
    camera: jax.Array


class DecoderLayer(nn.Module):
    """Pre-norm self-attention, cross-attention to the features, and MLP, of queries (B, Q, W)."""

    heads: int
    head_dim: int
    mlp_dim: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, features: jax.Array) -> jax.Array:
        width, inner = x.shape[-1], self.heads * self.head_dim
        y = _norm('self_norm', self.dtype)(x)
        qkv = _dense(3 * inner, 'self_qkv', self.dtype, use_bias=False)(y)
        y = self._attend(*jnp.split(qkv, 3, axis=-1))
        x = x + _dense(width, 'self_out', self.dtype)(y)

        y = _norm('cross_norm', self.dtype)(x)
        q = _dense(inner, 'cross_q', self.dtype, use_bias=False)(y)
        kv = _dense(2 * inner, 'cross_kv', self.dtype, use_bias=False)(features)
        y = self._attend(q, *jnp.split(kv, 2, axis=-1))
        x = x + _dense(width, 'cross_out', self.dtype)(y)

        y = _dense(self.mlp_dim, 'mlp_in', self.dtype)(_norm('mlp_norm', self.dtype)(x))
        return x + _dense(width, 'mlp_out', self.dtype)(nn.gelu(y, approximate=False))

    def _attend(self, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        split = lambda x: x.reshape(*x.shape[:-1], self.heads, self.head_dim)  # noqa: E731
        return jax.nn.dot_product_attention(split(q), split(k), split(v)).reshape(q.shape)


class QueryDecoder(nn.Module):
    """What one learned query reads from features (B, N, C): (B, width)."""

    width: int
    depth: int
    heads: int
    head_dim: int
    mlp_dim: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        # The query's input is zero, so only the embedding's bias acts; its kernel stands for the
        # original's, whose input may be something else.
        x = _dense(self.width, 'embed', self.dtype)(jnp.zeros((len(features), 1, 1)))
        position = self.param('position', nn.initializers.normal(1.0), (1, self.width))
        x = x + position.astype(x.dtype)
        for i in range(self.depth):
            layer = DecoderLayer(
                self.heads, self.head_dim, self.mlp_dim, self.dtype, name=f'layer{i}'
            )
            x = layer(x, features)
        return x[:, 0]


class MixerLayer(nn.Module):
    """Mixing (B, T, W) across tokens, then across channels (MLP-Mixer, Tolstikhin et al., 2021)."""

    token_dim: int
    channel_dim: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = jnp.swapaxes(_norm('token_norm', self.dtype)(x), 1, 2)
        x = x + jnp.swapaxes(self._mlp(y, self.token_dim, 'token'), 1, 2)
        y = _norm('channel_norm', self.dtype)(x)
        return x + self._mlp(y, self.channel_dim, 'channel')

    def _mlp(self, x: jax.Array, hidden: int, name: str) -> jax.Array:
        y = nn.gelu(_dense(hidden, f'{name}_in', self.dtype)(x), approximate=False)
        return _dense(x.shape[-1], f'{name}_out', self.dtype)(y)


class TokenMixer(nn.Module):
    """A body's numbers (B, C) as logits (B, num_tokens, num_codes), float32, of its tokens."""

    num_tokens: int
    num_codes: int
    width: int = 64
    depth: int = 4
    token_dim: int = 64
    channel_dim: int = 256
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _dense(self.num_tokens * self.width, 'spread', self.dtype)(x)
        # One normalisation over all tokens together.
        x = nn.relu(_norm('spread_norm', self.dtype)(x))
        x = x.reshape(len(x), self.num_tokens, self.width)
        for i in range(self.depth):
            x = MixerLayer(self.token_dim, self.channel_dim, self.dtype, name=f'layer{i}')(x)
        x = _norm('out_norm', self.dtype)(_dense(self.width, 'out', self.dtype)(x))
        return _dense(self.num_codes, 'logits', jnp.float32)(nn.relu(x))


class TokenHead(nn.Module):
    """Features (B, N, C) to residual tokens, and to what the tokens do not hold."""

    decoder: QueryDecoder
    mixer: TokenMixer

    @nn.compact
    def __call__(self, features: jax.Array) -> TokenReadout:
        x = self.decoder(features)
        return TokenReadout(
            logits=self.mixer(x),
            global_orient=_read_out(6, 'global_orient')(x),
            hands=_read_out(12, 'hands')(x),
            betas=_read_out(10, 'betas')(x),
            camera=_read_out(3, 'camera')(x),
        )


class DirectHead(nn.Module):
    """Features (B, N, C) to the pose itself, in 6D: HMR2.0's head."""

    decoder: QueryDecoder

    @nn.compact
    def __call__(self, features: jax.Array) -> DirectReadout:
        x = self.decoder(features)
        return DirectReadout(
            pose=_read_out(6 * skeleton.NUM_JOINTS, 'pose')(x),
            betas=_read_out(10, 'betas')(x),
            camera=_read_out(3, 'camera')(x),
        )


def _dense(features: int, name: str, dtype: jnp.dtype, use_bias: bool = True) -> nn.Dense:
    return nn.Dense(features, use_bias=use_bias, dtype=dtype, name=name)


def _norm(name: str, dtype: jnp.dtype) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5, dtype=dtype, name=name)


def _read_out(features: int, name: str) -> nn.Dense:
    """What leaves the network does so in float32: bfloat16 holds a rotation to half a degree."""
    return nn.Dense(
        features,
        dtype=jnp.float32,
        precision=jax.lax.Precision.HIGHEST,  # or accelerators round what goes into the product
        kernel_init=_SMALL,
        name=name,
    )
