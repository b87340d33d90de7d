"""The pose tokenizer: a VQ-VAE over one body pose (TokenHMR, section 3.2 and supplement 1).

Sequences are channels last, (B, time, channels): the 21 body joints in order are the time axis.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tokenhmr_jax.body import rotations, skeleton


def nearest_indices(source: int, target: int) -> np.ndarray:
    """Source index floor(i * source / target) of each of `target` samples.

    `jax.image.resize` samples at half pixels instead and differs for most sizes.
    """
    return np.arange(target) * source // target


def resize_nearest(x: jax.Array, target: int) -> jax.Array:
    """Nearest resizing of (B, T, C) along time to (B, target, C)."""
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
    sizes = np.linspace(
        skeleton.NUM_BODY_JOINTS, num_tokens(size_mul), size_div, endpoint=False, dtype=int
    )
    return sizes[::-1].tolist()


def _conv(features: int, size: int, name: str, dilation: int = 1, dtype=jnp.float32) -> nn.Conv:
    padding = dilation * (size // 2)
    return nn.Conv(
        features,
        (size,),
        padding=[(padding, padding)],
        kernel_dilation=dilation,
        name=name,
        dtype=dtype,
    )


class ResidualStack(nn.Module):
    """Dilated residual blocks: x + conv1(ReLU(conv3(ReLU(x)))), widest dilation first."""

    width: int
    depth: int
    dilation_rate: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, power in enumerate(reversed(range(self.depth))):
            dilation = self.dilation_rate**power
            y = _conv(self.width, 3, f'dilated{i}', dilation, self.dtype)(nn.relu(x))
            x = x + _conv(self.width, 1, f'pointwise{i}', dtype=self.dtype)(nn.relu(y))
        return x


class Encoder(nn.Module):
    """6D rotations (B, 21, 6) to latents (B, tokens, code_dim)."""

    width: int
    code_dim: int
    size_mul: int
    depth: int
    dilation_rate: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, rotation_6d: jax.Array) -> jax.Array:
        x = nn.relu(_conv(self.width, 3, 'conv_in', dtype=self.dtype)(rotation_6d))
        for i, size in enumerate(_upsampled_sizes(self.size_mul)):
            x = nn.relu(_conv(self.width, 3, f'up{i}', dtype=self.dtype)(resize_nearest(x, size)))
        x = nn.Conv(
            self.width, (4,), strides=(2,), padding=[(1, 1)], name='down', dtype=self.dtype
        )(x)
        x = ResidualStack(self.width, self.depth, self.dilation_rate, self.dtype, name='residual')(
            x
        )
        return _conv(self.code_dim, 3, 'conv_out', dtype=self.dtype)(x).astype(jnp.float32)


class Decoder(nn.Module):
    """Codes (B, tokens, code_dim) to 6D rotations (B, 21, 6)."""

    width: int
    size_mul: int
    size_div: int
    depth: int
    dilation_rate: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        x = nn.relu(_conv(self.width, 3, 'conv_in', dtype=self.dtype)(codes))
        for i, size in enumerate(_downsampled_sizes(self.size_mul, self.size_div)):
            x = nn.relu(_conv(self.width, 3, f'down{i}', dtype=self.dtype)(resize_nearest(x, size)))
        x = ResidualStack(self.width, self.depth, self.dilation_rate, self.dtype, name='residual')(
            x
        )
        x = _conv(self.width, 3, 'conv_mid', dtype=self.dtype)(x)
        return _conv(6, 3, 'conv_out', dtype=self.dtype)(x).astype(jnp.float32)


class Tokenizer(nn.Module):
    """Encoder and decoder; the codebook between them is state that the caller holds."""

    width: int
    code_dim: int
    size_mul: int
    size_div: int
    depth: int
    dilation_rate: int
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.encoder = Encoder(
            self.width, self.code_dim, self.size_mul, self.depth, self.dilation_rate, self.dtype
        )
        self.decoder = Decoder(
            self.width, self.size_mul, self.size_div, self.depth, self.dilation_rate, self.dtype
        )

    def __call__(self, body_pose: jax.Array) -> jax.Array:
        """Without quantisation; it exists to create both halves' parameters."""
        return self.decode(self.encode(body_pose))

    def encode(self, body_pose: jax.Array) -> jax.Array:
        """Rotations (B, 21, 3, 3) to latents (B, tokens, code_dim)."""
        return self.encoder(rotations.matrix_to_rotation_6d(body_pose))

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes (B, tokens, code_dim) to 6D rotations (B, 21, 6), first two rows."""
        return self.decoder(codes)
