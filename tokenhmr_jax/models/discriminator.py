"""The adversarial prior: networks that tell bodies of motion capture from predicted ones.

Kanazawa et al., "End-to-end Recovery of Human Shape and Pose", CVPR 2018 (HMR), section 3.3; HMR2.0
and TokenHMR carry it along with weight 0 in every published configuration.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


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


def adversarial_terms(
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
