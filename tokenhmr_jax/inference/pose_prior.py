"""A pose tokenizer with a prior of its tokens: completes, draws, judges and recovers poses."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from tokenhmr_jax.body import rotations, skeleton, smpl
from tokenhmr_jax.inference.pose_tokenizer import PoseTokenizer
from tokenhmr_jax.models import token_prior
from tokenhmr_jax.models.token_prior import PriorWeights
from tokenhmr_jax.tasks.prior import PriorTask
from tokenhmr_jax.types import Array, PoseTokens

# Parallel steps, unless they are given.
STEPS = 8
# Poses at once: a step holds the probabilities of all codes.
_CHUNK = 256
_DRAWS = 8  # of noise, to find out what it does to latents
_TINY = 1e-20


class PosePrior(PoseTokenizer):
    """The tokenizer that a prior was trained for, and the prior. All answers are deterministic.

    ties: (T, 21), the share of poses in which a token changes with a joint.
    """

    def __init__(self, task: PriorTask, params: dict, state: PriorWeights, body: smpl.BodyModel):
        super().__init__(task.tokenizer, state.tokenizer, state.codes, body)
        self.ties = np.asarray(state.ties)
        self._task, self._weights = task, (params, state)
        self._complete = jax.jit(self._completed, static_argnames='steps')
        self._judge = jax.jit(self._judged, static_argnames='steps')
        self._expect = jax.jit(task.expected_pose)
        self._recover = jax.jit(self._recovered, static_argnames='steps')

    def complete(
        self, tokens: PoseTokens, mask: ArrayLike, steps: int = STEPS, seed: int | None = None
    ) -> PoseTokens:
        """The tokens with hidden ones filled in, in parallel steps.

        Without `seed` the surest tokens come first, each at its most probable code; with it codes
        are drawn, in random order. Raises ValueError as `decode`, and for another mask.

        Args:
          mask: true for hidden tokens, (N, T) or (T,).
          steps: evaluations of the prior, up to the number of tokens.
        """
        indices, mask = self._check(tokens), np.asarray(mask)
        if mask.dtype != bool or mask.shape not in (indices.shape, indices.shape[1:]):
            raise ValueError(
                f'a mask of {mask.dtype} {mask.shape}: expected bool, {indices.shape} or '
                f'{indices.shape[1:]}, true for hidden tokens'
            )
        known = ~np.broadcast_to(mask, indices.shape)
        return PoseTokens(self._in_chunks(self._complete, indices, known, steps=steps, seed=seed))

    def complete_limbs(
        self,
        body_pose: ArrayLike,
        joints: Sequence[str],
        seed: int | None = None,
        steps: int = STEPS,
    ) -> Float[np.ndarray, 'N 21 3 3']:
        """Poses (N, 21, 3, 3) with the rotations of some joints filled in; the others stay.

        The hidden joints' own rotations are not read: they are at rest for the encoder, and the
        tokens that are tied to them are hidden. Without `seed` these are decoded as mixtures of
        codes by their probabilities: the expected limb. With it they are drawn, in `steps`.
        Raises ValueError as `complete` and `joint_mask`.
        """
        hidden = joint_mask(joints)[:, None, None]
        pose = np.where(hidden, np.eye(3, dtype=np.float32), body_pose)
        tokens, tied = self.encode(pose), self.tied_tokens(joints)
        if seed is None:
            known = np.broadcast_to(~tied, tokens.indices.shape)
            found = self._in_chunks(self._expect, tokens.indices, known)
        else:
            found = self.decode(self.complete(tokens, tied, steps, seed))
        return np.where(hidden, found, pose)

    def tied_tokens(self, joints: Sequence[str]) -> Bool[np.ndarray, ' T']:
        """Tokens that change with any of the joints; ValueError as `joint_mask`."""
        share = self._task.config.tied_share
        return np.asarray(token_prior.tied_tokens(self.ties, joint_mask(joints), share))

    def sample(self, count: int, seed: int = 0, steps: int | None = None) -> PoseTokens:
        """Tokens of poses drawn from the prior; by default one token after the other."""
        nothing = np.zeros((count, len(self.ties)), np.int32)
        steps = steps or nothing.shape[1]
        found = self._in_chunks(self._complete, nothing, nothing > 0, steps=steps, seed=seed)
        return PoseTokens(found)

    def log_likelihood(self, body_pose: ArrayLike, steps: int = STEPS) -> Float[np.ndarray, ' N']:
        """Log-probabilities, nats, of poses' tokens (N, 21, 3, 3): `token_prior.log_likelihood`."""
        return self._in_chunks(self._judge, self.encode(body_pose).indices, steps=steps)

    def recover(
        self, body_pose: ArrayLike, noise_degrees: float, steps: int = STEPS
    ) -> Float[np.ndarray, 'N 21 3 3']:
        """The most probable poses behind noisy ones (N, 21, 3, 3).

        Each joint was turned by a rotation vector of normal numbers of standard deviation
        `noise_degrees`. All tokens are completed, while the latents of the noisy pose speak for
        codes near them: `evidence_of_latents`.
        """
        pose = np.asarray(body_pose, np.float32)
        self.encode(pose[:1])  # checks the shape
        noise = jnp.deg2rad(noise_degrees)
        return self._in_chunks(self._recover, pose, steps=steps, noise=noise)

    def _in_chunks(
        self, function: Callable, *arrays: np.ndarray, seed: int | None = None, **options
    ) -> Any:
        """A jitted function over slices of poses; ValueError for impossible steps."""
        width = len(self.ties)
        if not 1 <= options.get('steps', 1) <= width:
            steps = options['steps']
            raise ValueError(f'steps={steps}: expected 1 to {width}, the number of tokens')
        parts = []
        for start in range(0, len(arrays[0]), _CHUNK):
            chunk = [array[start : start + _CHUNK] for array in arrays]
            if seed is not None:
                options['key'] = jax.random.fold_in(jax.random.key(seed), start)
            parts.append(np.asarray(function(*self._weights, *chunk, **options)))
        return np.concatenate(parts)

    def _completed(self, params, state, tokens, known, steps, key=None):
        predict = self._task.predict_logits(params)
        return token_prior.complete_tokens(predict, tokens, known, steps, key=key)

    def _judged(self, params, state, tokens, steps):
        return token_prior.log_likelihood(self._task.predict_logits(params), tokens, steps)

    def _recovered(self, params, state, pose, steps, noise):
        turns = noise * jax.random.normal(jax.random.key(0), (_DRAWS, *pose.shape[:-1]))
        noisier = rotations.compose(pose, rotations.axis_angle_to_matrix(turns))
        latents = self._task.latents(state, pose)
        change = jax.vmap(lambda other: self._task.latents(state, other) - latents)(noisier)
        evidence = evidence_of_latents(state.codes, latents, jnp.mean(change**2, axis=(0, 1)))
        predict = self._task.predict_logits(params)
        nothing = jnp.zeros(evidence.shape[:2], jnp.int32)
        tokens = token_prior.complete_tokens(predict, nothing, nothing > 0, steps, evidence)
        return self._task.decode(state, state.codes[tokens])


def joint_mask(joints: Sequence[str]) -> Bool[np.ndarray, '21']:
    """Body joints by name; ValueError for a name that is not in `skeleton.BODY_JOINTS`."""
    unknown = sorted(set(joints) - set(skeleton.BODY_JOINTS))
    if unknown:
        raise ValueError(f'joints {unknown}: expected some of {skeleton.BODY_JOINTS}')
    return np.isin(skeleton.BODY_JOINTS, joints)


def evidence_of_latents(
    codes: Float[Array, 'K C'], latents: Float[Array, 'N T C'], variance: Float[Array, 'T C']
) -> Float[Array, 'N T K']:
    """Log-likelihood of noisy latents, for each code: a normal distribution around it.

    Each number has its own variance. So the likeliest of learned codes need not be the nearest.
    """
    offset = latents[..., None, :] - codes
    return -0.5 * jnp.sum(offset**2 / (variance[:, None] + _TINY), axis=-1)
