"""Layers of attention that heads, prompts, the tokenizer's transformer and the prior share."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from tokenhmr_jax.types import Array


def dense(features: int, name: str, dtype: DTypeLike, use_bias: bool = True) -> nn.Dense:
    """A linear layer."""
    return nn.Dense(features, use_bias=use_bias, dtype=dtype, name=name)


def norm(name: str, dtype: DTypeLike) -> nn.LayerNorm:
    """Layer normalisation with PyTorch's epsilon."""
    return nn.LayerNorm(epsilon=1e-5, dtype=dtype, name=name)


class DecoderLayer(nn.Module):
    """Pre-norm self-attention of queries, cross-attention to the features, and MLP."""

    heads: int
    head_dim: int
    mlp_dim: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'B Q width'],
        features: Float[Array, 'B T C'],
        known: Bool[Array, 'B T'] | None = None,
    ) -> Float[Array, 'B Q width']:
        width, inner = x.shape[-1], self.heads * self.head_dim
        y = norm('self_norm', self.dtype)(x)
        qkv = dense(3 * inner, 'self_qkv', self.dtype, use_bias=False)(y)
        y = self._attend(*jnp.split(qkv, 3, axis=-1))
        x = x + dense(width, 'self_out', self.dtype)(y)

        y = norm('cross_norm', self.dtype)(x)
        q = dense(inner, 'cross_q', self.dtype, use_bias=False)(y)
        kv = dense(2 * inner, 'cross_kv', self.dtype, use_bias=False)(features)
        mask = None if known is None else known[:, None, None]
        y = self._attend(q, *jnp.split(kv, 2, axis=-1), mask)
        x = x + dense(width, 'cross_out', self.dtype)(y)

        y = dense(self.mlp_dim, 'mlp_in', self.dtype)(norm('mlp_norm', self.dtype)(x))
        return x + dense(width, 'mlp_out', self.dtype)(nn.gelu(y, approximate=False))

    def _attend(self, q, k, v, mask=None):
        split = lambda x: x.reshape(*x.shape[:-1], self.heads, self.head_dim)  # noqa: E731
        y = jax.nn.dot_product_attention(split(q), split(k), split(v), mask=mask)
        return y.reshape(q.shape)


class SelfAttentionLayer(nn.Module):
    """Pre-norm self-attention among known tokens, or all, and MLP."""

    heads: int
    mlp_dim: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, 'B T C'], known: Bool[Array, 'B T'] | None = None
    ) -> Float[Array, 'B T C']:
        width = x.shape[-1]
        qkv = dense(3 * width, 'qkv', self.dtype)(norm('attention_norm', self.dtype)(x))
        q, k, v = jnp.split(qkv.reshape(*x.shape[:-1], -1, width // self.heads), 3, axis=-2)
        mask = None if known is None else known[:, None, None]
        y = jax.nn.dot_product_attention(q, k, v, mask=mask)
        x = x + dense(width, 'out', self.dtype)(y.reshape(x.shape))
        y = nn.relu(dense(self.mlp_dim, 'mlp_in', self.dtype)(norm('mlp_norm', self.dtype)(x)))
        return x + dense(width, 'mlp_out', self.dtype)(y)
