"""Prompts as feature tokens that the query decoder reads beside the image's.

One token for each known keypoint and one for the camera, as in PromptHMR (Wang et al., CVPR 2025),
and one for all keypoints together. The tokens attend to one another first, so that keypoints alone
can be lifted.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.types import Array, Prompts

# Of the Fourier features, per side of the crop. Detectors err by more than a finer wave.
_FREQUENCIES = 2.0 ** np.arange(-1, 4)


class PromptLayer(nn.Module):
    """Pre-norm self-attention among known tokens, and MLP."""

    heads: int
    mlp_dim: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, 'B T C'], known: Bool[Array, 'B T']
    ) -> Float[Array, 'B T C']:
        width = x.shape[-1]
        dense = lambda size, name: nn.Dense(size, dtype=self.dtype, name=name)  # noqa: E731
        norm = lambda name: nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name=name)  # noqa: E731
        qkv = dense(3 * width, 'qkv')(norm('attention_norm')(x))
        q, k, v = jnp.split(qkv.reshape(*x.shape[:-1], -1, width // self.heads), 3, axis=-2)
        y = jax.nn.dot_product_attention(q, k, v, mask=known[:, None, None])
        x = x + dense(width, 'out')(y.reshape(x.shape))
        y = nn.relu(dense(self.mlp_dim, 'mlp_in')(norm('mlp_norm')(x)))
        return x + dense(width, 'mlp_out')(y)


class PromptEncoder(nn.Module):
    """Prompts to tokens of `features` channels, and which of them are known.

    capacity: keypoints that are read at once, those of the largest confidence. No detector of 2D
      keypoints has more than 26 of the 44.
    """

    width: int
    depth: int
    heads: int
    mlp_dim: int
    features: int
    capacity: int = 26
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, prompts: Prompts) -> tuple[Float[Array, 'B T C'], Bool[Array, 'B T']]:
        confidence, index = jax.lax.top_k(prompts.keypoints2d[..., 2], self.capacity)
        place = jnp.take_along_axis(prompts.keypoints2d[..., :2], index[..., None], axis=1)
        label = self._embedding('keypoint', len(skeleton.KEYPOINTS))
        points = jnp.concatenate([place, _fourier(place), confidence[..., None]], axis=-1)
        points = self._dense('point')(points) + label[index]

        has_camera = prompts.has_camera[:, None]
        camera = jnp.concatenate([_fourier(prompts.camera), prompts.camera], axis=-1)
        known = self._dense('camera')(camera)
        camera = jnp.where(has_camera > 0, known, self._embedding('no_camera', 1))

        # Attention averages: one query would lose the single points of a pose.
        pose = self._dense('pose', self.mlp_dim)(_flat(prompts.keypoints2d))
        pose = nn.Dense(self.width, name='pose_out')(nn.relu(pose))

        x = jnp.stack([camera, pose], axis=1)
        x = jnp.concatenate([x, points], axis=1).astype(self.dtype)
        # The first two tokens are always there: attention has something to read.
        always = jnp.broadcast_to(jnp.ones_like(has_camera), (len(x), 2))
        seen = jnp.concatenate([always, confidence], axis=1) > 0
        for i in range(self.depth):
            x = PromptLayer(self.heads, self.mlp_dim, self.dtype, name=f'layer{i}')(x, seen)
        x = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name='norm')(x)
        return nn.Dense(self.features, dtype=self.dtype, name='out')(x), seen

    def _embedding(self, name: str, count: int) -> Float[Array, 'K C']:
        # As large as what is added to it: a point without its name says nothing.
        return self.param(f'{name}_embedding', nn.initializers.normal(1.0), (count, self.width))

    def _dense(self, name: str, size: int | None = None) -> nn.Dense:
        return nn.Dense(size or self.width, name=f'{name}_in')


def _flat(keypoints2d: Float[Array, 'B 44 3']) -> Float[Array, 'B 132']:
    """All keypoints as one vector; absent ones are zero."""
    known = keypoints2d[..., 2:] > 0
    return jnp.where(known, keypoints2d, 0).reshape(len(keypoints2d), -1)


def _fourier(x: Float[Array, '*B D']) -> Float[Array, '*B F']:
    """Sines and cosines of coordinates in float32."""
    angle = (2 * np.pi * x[..., None] * _FREQUENCIES.astype(np.float32)).reshape(*x.shape[:-1], -1)
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
