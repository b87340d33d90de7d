"""Prompts as feature tokens that the query decoder reads beside the image's.

One token for each known keypoint and one for the camera, which attend to one another first, as in
PromptHMR (Wang et al., CVPR 2025), and one of the whole pose, by a residual MLP, as keypoints are
lifted without pictures (Martinez et al., ICCV 2017).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from tokenhmr_jax.body import camera, skeleton
from tokenhmr_jax.models.attention import SelfAttentionLayer
from tokenhmr_jax.types import Array, Prompts

# Of the Fourier features, per side of the crop. Detectors err by more than a finer wave.
_FREQUENCIES = 2.0 ** np.arange(-1, 4)
# Keypoints whose distances are read: foreshortening tells depth.
_BODY = [
    skeleton.KEYPOINTS.index(f'OP {name}')
    for name in (
        'Nose', 'LEye', 'REye', 'LEar', 'REar', 'LShoulder', 'RShoulder', 'LElbow', 'RElbow',
        'LWrist', 'RWrist', 'LHip', 'RHip', 'LKnee', 'RKnee', 'LAnkle', 'RAnkle',
    )
]  # fmt: skip
_PAIRS = np.array(_BODY)[np.stack(np.triu_indices(len(_BODY), 1))]
_TINY, _LEAST_DEPTH, _LEAST_LENGTH = 1e-6, 0.1, 0.02


def ray_turn(prompts: Prompts) -> Float[Array, 'B 3 3']:
    """The rotation from the picture's camera to one that looks at the crop; none without camera."""
    return camera.turn_to(prompts.camera[:, :2] * prompts.has_camera[:, None])


def facing(prompts: Prompts) -> Prompts:
    """Prompts whose keypoints are as a camera sees them that looks at the crop.

    The same pose then looks the same anywhere in the picture. Without a camera, as they are.
    """
    place = jnp.concatenate([prompts.camera[:, :2], jnp.ones((len(prompts.camera), 1))], axis=-1)
    side = prompts.camera[:, 2]
    offset = jnp.pad(prompts.keypoints2d[..., :2], ((0, 0), (0, 0), (0, 1)))
    rays = place[:, None] + side[:, None, None] * offset
    x, y, z = jnp.moveaxis(jnp.einsum('bij,bkj->bki', ray_turn(prompts), rays), -1, 0)
    angular = side / jnp.linalg.norm(place, axis=-1)
    seen = jnp.stack([x, y], axis=-1) / jnp.maximum(z, _LEAST_DEPTH)[..., None]
    seen = seen / jnp.maximum(angular, _TINY)[:, None, None]
    has_camera = prompts.has_camera[:, None, None] > 0
    seen = jnp.where(has_camera, seen, prompts.keypoints2d[..., :2])
    return prompts.replace(
        keypoints2d=jnp.concatenate([seen, prompts.keypoints2d[..., 2:]], axis=-1)
    )


class PoseLifter(nn.Module):
    """All prompts as one vector through a residual MLP.

    Attention averages: one query would lose the single points of a pose.
    """

    width: int
    blocks: int

    @nn.compact
    def __call__(self, prompts: Prompts) -> Float[Array, 'B width']:
        has_camera = prompts.has_camera[:, None]
        place = prompts.camera * has_camera
        x = [_all_points(prompts.keypoints2d), _distances(prompts.keypoints2d), place, has_camera]
        x = nn.Dense(self.width, name='in')(jnp.concatenate(x, axis=-1))
        for i in range(self.blocks):
            y = nn.LayerNorm(epsilon=1e-5, name=f'norm{i}')(x)
            y = nn.relu(nn.Dense(self.width, name=f'block{i}_in')(y))
            x = x + nn.Dense(self.width, name=f'block{i}_out')(y)
        return nn.relu(nn.LayerNorm(epsilon=1e-5, name='norm')(x))


class PromptEncoder(nn.Module):
    """Prompts to tokens of `features` channels, and which of them are known.

    width, depth, heads, mlp_dim: of the tokens' layers.
    lifter_width, lifter_blocks: of the whole pose's MLP.
    capacity: keypoints that have tokens, those of the largest confidence. No detector of 2D
      keypoints has more than 26 of the 44.
    reads_keypoints: False for a network that reads the camera alone, whose only token is its.
    """

    width: int
    depth: int
    heads: int
    mlp_dim: int
    lifter_width: int
    lifter_blocks: int
    capacity: int
    features: int
    reads_keypoints: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, prompts: Prompts) -> tuple[Float[Array, 'B T C'], Bool[Array, 'B T']]:
        # The camera's token and the pose's are always there: attention has something to read.
        always = jnp.ones_like(prompts.has_camera)[:, None]
        place = self._camera_token(prompts)[:, None]
        if not self.reads_keypoints:
            return self._outputs(place, always > 0), always > 0
        prompts = facing(prompts)
        pose = PoseLifter(self.lifter_width, self.lifter_blocks, name='lifter')(prompts)
        pose = nn.Dense(self.features, dtype=self.dtype, name='pose_token')(pose)

        confidence, index = jax.lax.top_k(prompts.keypoints2d[..., 2], self.capacity)
        points = jnp.take_along_axis(prompts.keypoints2d[..., :2], index[..., None], axis=1)
        label = self._embedding('keypoint', len(skeleton.KEYPOINTS))
        points = jnp.concatenate([points, _fourier(points), confidence[..., None]], axis=-1)
        points = nn.Dense(self.width, name='point_in')(points) + label[index]

        x = jnp.concatenate([place, points], axis=1)
        seen = jnp.concatenate([always, confidence], axis=1) > 0
        tokens = jnp.concatenate([pose[:, None], self._outputs(x, seen)], axis=1)
        return tokens, jnp.concatenate([always > 0, seen], axis=1)

    def _camera_token(self, prompts: Prompts) -> Float[Array, 'B C']:
        """Token of the crop's place in its picture; a learned one for unknown places."""
        place = jnp.concatenate([_fourier(prompts.camera), prompts.camera], axis=-1)
        known = nn.Dense(self.width, name='camera_in')(place)
        has_camera = prompts.has_camera[:, None] > 0
        return jnp.where(has_camera, known, self._embedding('no_camera', 1))

    def _outputs(
        self, x: Float[Array, 'B T C'], seen: Bool[Array, 'B T']
    ) -> Float[Array, 'B T features']:
        """Tokens after they have attended to one another."""
        x = x.astype(self.dtype)
        for i in range(self.depth):
            x = SelfAttentionLayer(self.heads, self.mlp_dim, self.dtype, name=f'layer{i}')(x, seen)
        x = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name='norm')(x)
        return nn.Dense(self.features, dtype=self.dtype, name='out')(x)

    def _embedding(self, name: str, count: int) -> Float[Array, 'K C']:
        # As large as what is added to it: a point without its name says nothing.
        return self.param(f'{name}_embedding', nn.initializers.normal(1.0), (count, self.width))


def _all_points(keypoints2d: Float[Array, 'B 44 3']) -> Float[Array, 'B F']:
    """All keypoints as one vector; absent ones are zero."""
    known = keypoints2d[..., 2:] > 0
    return jnp.where(known, keypoints2d, 0).reshape(len(keypoints2d), -1)


def _distances(keypoints2d: Float[Array, 'B 44 3']) -> Float[Array, 'B F']:
    """Length, its logarithm, and direction between each two of the body's keypoints.

    Zero where one is absent.
    """
    first, second = keypoints2d[:, _PAIRS[0]], keypoints2d[:, _PAIRS[1]]
    known = (first[..., 2:] > 0) & (second[..., 2:] > 0)
    across = first[..., :2] - second[..., :2]
    length = jnp.sqrt(jnp.sum(jnp.square(across), axis=-1, keepdims=True) + _TINY)
    found = [length, jnp.log(length + _LEAST_LENGTH), across / length]
    return jnp.where(known, jnp.concatenate(found, axis=-1), 0).reshape(len(known), -1)


def _fourier(x: Float[Array, '*B D']) -> Float[Array, '*B F']:
    """Sines and cosines of coordinates in float32."""
    angle = 2 * np.pi * x[..., None] * _FREQUENCIES.astype(np.float32)
    angle = angle.reshape(*x.shape[:-1], x.shape[-1] * len(_FREQUENCIES))
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
