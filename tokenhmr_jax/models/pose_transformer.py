"""The tokenizer's network as a transformer: joints in, latents of tokens out, and back.

The encoder's queries are the tokens, which read the joints; the decoder's are the joints, which
read the tokens (Perceiver IO, Jaegle et al., ICLR 2022). Each token starts from one joint, and each
joint from its tokens: what starts from learned queries alone is slow to find out which joints to
read.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.models.attention import DecoderLayer, dense, norm
from tokenhmr_jax.types import Array

_POSITION = nn.initializers.normal(0.5)


def kinematic_chains() -> Float[np.ndarray, '21 21']:
    """1 where the column's body joint lies on the row's chain to the root, its own end included."""
    chains = np.zeros((skeleton.NUM_BODY_JOINTS,) * 2, np.float32)
    for joint in range(1, skeleton.NUM_BODY_JOINTS + 1):
        ancestor = joint
        while ancestor > 0:
            chains[joint - 1, ancestor - 1] = 1
            ancestor = skeleton.PARENTS[ancestor]
    return chains


class KinematicPosition(nn.Module):
    """Position encoding of the body joints: the sum of learned vectors along each joint's chain.

    Joints of one limb share the vectors of what they have in common.
    """

    width: int

    @nn.compact
    def __call__(self) -> Float[Array, '21 width']:
        shape = (skeleton.NUM_BODY_JOINTS, self.width)
        return kinematic_chains() @ self.param('links', _POSITION, shape)


class Reader(nn.Module):
    """Layers in which queries read features; the result is normalised."""

    depth: int
    heads: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, queries: Float[Array, 'B Q width'], features: Float[Array, 'B N width']
    ) -> Float[Array, 'B Q width']:
        width = queries.shape[-1]
        for i in range(self.depth):
            sizes = self.heads, width // self.heads, 2 * width
            queries = DecoderLayer(*sizes, self.dtype, name=f'layer{i}')(queries, features)
        return norm('out_norm', self.dtype)(queries)


class TokenPlaces(nn.Module):
    """Features of the tokens' places: gates and offsets of their own, by which tokens that start
    from the same joint differ."""

    num_tokens: int

    @nn.compact
    def __call__(self, x: Float[Array, 'B T width']) -> Float[Array, 'B T width']:
        shape = self.num_tokens, x.shape[-1]
        gates = self.param('gates', nn.initializers.normal(1.0), shape)
        offsets = self.param('offsets', _POSITION, shape)
        return x * gates.astype(x.dtype) + offsets.astype(x.dtype)


class PoseEncoder(nn.Module):
    """6D rotations to latents."""

    width: int
    code_dim: int
    num_tokens: int
    depth: int
    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, rotation_6d: Float[Array, 'B 21 6']) -> Float[Array, 'B T C']:
        joints = dense(self.width, 'embed', self.dtype)(rotation_6d)
        joints = joints + KinematicPosition(self.width, name='position')().astype(self.dtype)
        start = joints[:, joint_of_token(self.num_tokens)]
        queries = TokenPlaces(self.num_tokens, name='places')(start)
        x = Reader(self.depth, self.heads, self.dtype, name='reader')(queries, joints)
        return dense(self.code_dim, 'latents', self.dtype)(x).astype(jnp.float32)


class PoseDecoder(nn.Module):
    """Codes to 6D rotations."""

    width: int
    num_tokens: int
    depth: int
    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, codes: Float[Array, 'B T C']) -> Float[Array, 'B 21 6']:
        tokens = dense(self.width, 'embed', self.dtype)(codes)
        tokens = TokenPlaces(self.num_tokens, name='places')(tokens)
        own = joint_of_token(self.num_tokens) == np.arange(skeleton.NUM_BODY_JOINTS)[:, None]
        share = own / np.maximum(own.sum(axis=1, keepdims=True), 1)
        start = jnp.einsum('jt,btc->bjc', share.astype(tokens.dtype), tokens)
        start = start + KinematicPosition(self.width, name='position')().astype(self.dtype)
        x = Reader(self.depth, self.heads, self.dtype, name='reader')(start, tokens)
        return dense(6, 'pose', self.dtype)(x).astype(jnp.float32)


def joint_of_token(num_tokens: int) -> Int[np.ndarray, ' {num_tokens}']:
    """The body joint that each token starts from: tokens are spread evenly over the joints."""
    return np.arange(num_tokens) * skeleton.NUM_BODY_JOINTS // num_tokens
