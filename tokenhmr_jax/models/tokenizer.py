"""The pose tokenizer's network: of convolutions, as published, or a transformer.

TokenHMR, section 3.2 and supplement 1. In the convolutions the 21 body joints in order are the time
axis. The codebook between encoder and decoder is in `quantizer`.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.models.pose_transformer import PoseDecoder, PoseEncoder
from tokenhmr_jax.types import Array


def nearest_indices(source: int, target: int) -> Int[np.ndarray, ' {target}']:
    """Source index floor(i * source / target) of each of `target` samples.

    `jax.image.resize` samples at half pixels instead and differs for most sizes.
    """
    return np.arange(target) * source // target


def resize_nearest(x: Float[Array, 'B time C'], target: int) -> Float[Array, 'B {target} C']:
    """Nearest resizing along time."""
    return x[:, nearest_indices(x.shape[1], target)]


def _upsampled_sizes(size_mul: int) -> list[int]:
    """Sequence lengths on the encoder's way up: 40, then doubled `size_mul` - 1 times."""
    first = 10 * (2 * skeleton.NUM_BODY_JOINTS // 10)
    return [first * 2**i for i in range(size_mul)]


def num_tokens(size_mul: int) -> int:
    """Tokens per pose: the longest sequence, halved by the one strided convolution."""
    return _upsampled_sizes(size_mul)[-1] // 2


def _downsampled_sizes(size_mul: int, size_div: int) -> list[int]:
    """Sequence lengths on the decoder's way down, from near the number of tokens to 21."""
    last, longest = skeleton.NUM_BODY_JOINTS, num_tokens(size_mul)
    return np.linspace(last, longest, size_div, endpoint=False, dtype=int)[::-1].tolist()


def _conv(features, size, name, dilation=1, dtype=jnp.float32) -> nn.Conv:
    padding = [(dilation * (size // 2),) * 2]
    options = {'kernel_dilation': dilation, 'name': name, 'dtype': dtype}
    return nn.Conv(features, (size,), padding=padding, **options)


class ResidualStack(nn.Module):
    """Dilated residual blocks: x + conv1(ReLU(conv3(ReLU(x)))), widest dilation first."""

    width: int
    depth: int
    dilation_rate: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'B time C']) -> Float[Array, 'B time C']:
        for i, power in enumerate(reversed(range(self.depth))):
            dilation = self.dilation_rate**power
            y = _conv(self.width, 3, f'dilated{i}', dilation, self.dtype)(nn.relu(x))
            x = x + _conv(self.width, 1, f'pointwise{i}', dtype=self.dtype)(nn.relu(y))
        return x


class Encoder(nn.Module):
    """6D rotations to latents."""

    width: int
    code_dim: int
    size_mul: int
    depth: int
    dilation_rate: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, rotation_6d: Float[Array, 'B 21 6']) -> Float[Array, 'B T C']:
        x = nn.relu(_conv(self.width, 3, 'conv_in', dtype=self.dtype)(rotation_6d))
        for i, size in enumerate(_upsampled_sizes(self.size_mul)):
            x = nn.relu(_conv(self.width, 3, f'up{i}', dtype=self.dtype)(resize_nearest(x, size)))
        options = {'strides': (2,), 'padding': [(1, 1)], 'dtype': self.dtype}
        x = nn.Conv(self.width, (4,), name='down', **options)(x)
        residual = self.depth, self.dilation_rate, self.dtype
        x = ResidualStack(self.width, *residual, name='residual')(x)
        return _conv(self.code_dim, 3, 'conv_out', dtype=self.dtype)(x).astype(jnp.float32)


class Decoder(nn.Module):
    """Codes to 6D rotations."""

    width: int
    size_mul: int
    size_div: int
    depth: int
    dilation_rate: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, codes: Float[Array, 'B T C']) -> Float[Array, 'B 21 6']:
        x = nn.relu(_conv(self.width, 3, 'conv_in', dtype=self.dtype)(codes))
        for i, size in enumerate(_downsampled_sizes(self.size_mul, self.size_div)):
            x = nn.relu(_conv(self.width, 3, f'down{i}', dtype=self.dtype)(resize_nearest(x, size)))
        residual = self.depth, self.dilation_rate, self.dtype
        x = ResidualStack(self.width, *residual, name='residual')(x)
        x = _conv(self.width, 3, 'conv_mid', dtype=self.dtype)(x)
        return _conv(6, 3, 'conv_out', dtype=self.dtype)(x).astype(jnp.float32)


class Tokenizer(nn.Module):
    """Encoder and decoder; the codebook between them is state that the caller holds.

    network: 'conv', as published, or 'transformer', of `depth` layers with `heads` heads each in
      the encoder and in the decoder. Another raises ValueError.
    size_mul: decides the number of tokens; see `num_tokens`.
    size_div, dilation_rate: of the convolutions.
    levels: of each number of a latent, for finite scalar quantisation, which bounds latents to -1
      to 1; () for none.
    """

    width: int
    code_dim: int
    size_mul: int
    size_div: int
    depth: int
    dilation_rate: int
    dtype: DTypeLike = jnp.float32
    network: str = 'conv'
    heads: int = 8
    levels: tuple[int, ...] = ()

    def setup(self):
        if self.network == 'conv':
            residual = self.depth, self.dilation_rate, self.dtype
            self.encoder = Encoder(self.width, self.code_dim, self.size_mul, *residual)
            self.decoder = Decoder(self.width, self.size_mul, self.size_div, *residual)
        elif self.network == 'transformer':
            layers = num_tokens(self.size_mul), self.depth, self.heads, self.dtype
            self.encoder = PoseEncoder(self.width, self.code_dim, *layers)
            self.decoder = PoseDecoder(self.width, *layers)
        else:
            raise ValueError(f"network={self.network!r}: expected 'conv' or 'transformer'")

    def __call__(self, body_pose: Float[Array, 'B 21 3 3']) -> Float[Array, 'B 21 6']:
        """Without quantisation, to create the parameters of both halves."""
        return self.decode(self.encode(body_pose))

    def encode(self, body_pose: Float[Array, 'B 21 3 3']) -> Float[Array, 'B T C']:
        """Rotations to latents."""
        latents = self.encoder(rotations.matrix_to_rotation_6d(body_pose))
        return jnp.tanh(latents) if self.levels else latents

    def decode(self, codes: Float[Array, 'B T C']) -> Float[Array, 'B 21 6']:
        """Codes to 6D rotations, first two rows."""
        return self.decoder(codes)
