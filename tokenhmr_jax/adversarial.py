"""The adversarial prior: networks that tell bodies of motion capture from predicted ones.

Kanazawa et al., "End-to-end Recovery of Human Shape and Pose", CVPR 2018 (HMR), section 3.3; HMR2.0
and TokenHMR carry it along with weight 0 in every published configuration.
"""

import pathlib
import zipfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from tokenhmr_jax.body import rotations

_MOST = 2**18  # bodies that are kept in memory


@struct.dataclass
class RealBodies:
    """Bodies of motion capture: body_pose (N, 23, 3) axis-angle, betas (N, 10)."""

    body_pose: jax.Array
    betas: jax.Array


def load(path: str) -> RealBodies:
    """Read bodies of motion capture; of more than 262144, as many, evenly spread.

    Args:
      path: of an .npz with `body_pose` (N, 72) axis-angle, the root's first, and `betas` (N, 10),
        which is what 4D-Humans' cmu_mocap.npz holds.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming the file and what is wrong with it.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f'{path!r}: no such file of motion capture, adversarial.mocap')
    try:
        with np.load(path) as file:
            arrays = {name: np.asarray(file[name]) for name in ('body_pose', 'betas')}
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path}: expected an .npz with body_pose and betas ({error})') from error
    count = len(arrays['body_pose'])
    for name, width in (('body_pose', 72), ('betas', 10)):
        shape = arrays[name].shape
        if shape != (count, width) or not count:
            raise ValueError(f'{path}: {name} is {shape}, expected (N, {width})')
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f'{path}: {name} holds values that are not finite')
    chosen = np.linspace(0, count - 1, min(count, _MOST)).astype(int)
    pose, betas = (arrays[name][chosen].astype(np.float32) for name in ('body_pose', 'betas'))
    return RealBodies(pose.reshape(-1, 24, 3)[:, 1:], betas)


def draw(bodies: RealBodies, rng: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Body poses (B, 23, 3, 3) and betas (B, 10) of `count` bodies."""
    chosen = jax.random.randint(rng, (count,), 0, len(bodies.betas))
    return rotations.axis_angle_to_matrix(bodies.body_pose[chosen]), bodies.betas[chosen]


class Discriminator(nn.Module):
    """25 judges of a body: of each of 23 joints, of the whole pose and of the shape.

    The joints share an embedding of two layers; each then has a linear judge of its own.
    """

    joint_width: int = 32
    pose_width: int = 1024
    shape_widths: tuple[int, int] = (10, 5)

    @nn.compact
    def __call__(self, body_pose: jax.Array, betas: jax.Array) -> jax.Array:
        """Scores (B, 25) of bodies, near 1 for what looks real and 0 for what does not.

        Args:
          body_pose: (B, 23, 3, 3) rotations relative to the parents.
          betas: (B, 10).
        """
        x = body_pose.reshape(*body_pose.shape[:2], 9)
        for i in range(2):
            x = nn.relu(nn.Dense(self.joint_width, name=f'joint_embedding{i}')(x))
        shape = (x.shape[1], self.joint_width)
        kernel = self.param('joint_kernel', nn.initializers.lecun_normal(batch_axis=0), shape)
        bias = self.param('joint_bias', nn.initializers.zeros, shape[:1])
        joints = jnp.sum(x * kernel, axis=-1) + bias

        x = x.reshape(len(x), -1)
        for i in range(2):
            x = nn.relu(nn.Dense(self.pose_width, name=f'pose{i}')(x))
        pose = nn.Dense(1, name='pose_score')(x)

        x = betas
        for i, width in enumerate(self.shape_widths):
            x = nn.relu(nn.Dense(width, name=f'shape{i}')(x))
        return jnp.concatenate([joints, pose, nn.Dense(1, name='shape_score')(x)], axis=-1)


def terms(
    model: Discriminator,
    params: dict,
    predicted: tuple[jax.Array, jax.Array],
    real: tuple[jax.Array, jax.Array],
) -> dict[str, jax.Array]:
    """The two sides of the game, least squares, as means over the batch (HMR, equations 4 and 5).

    Each side's gradient reaches only what it trains, so both sides may be minimised as one sum: as
    one step of the regressor and one of the discriminator, from the same predictions.

    Args:
      model, params: the discriminator.
      predicted, real: body poses (B, 23, 3, 3) and betas (B, 10); those of motion capture may be
        another number.

    Returns:
      'adversarial', what the prediction lacks to look real, for the regressor; 'discriminator',
      what the judges get wrong, for themselves.
    """

    def score(params, body):
        return model.apply({'params': params}, *body)

    def mean(errors):
        return jnp.mean(jnp.sum(jnp.square(errors), axis=-1))

    fixed = jax.lax.stop_gradient
    return {
        'adversarial': mean(score(fixed(params), predicted) - 1),
        'discriminator': mean(score(params, real) - 1) + mean(score(params, fixed(predicted))),
    }
