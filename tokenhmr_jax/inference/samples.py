"""Several answers for one person: bodies drawn from the distribution of the pose's tokens."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int32

from tokenhmr_jax.body import rotations, skeleton, smpl
from tokenhmr_jax.body.joint_spread import joint_spread
from tokenhmr_jax.models import token_prior
from tokenhmr_jax.models.regressor import FrozenWeights, Regressor
from tokenhmr_jax.types import Array, BodySamples, SmplParams

# Of residual tokens fitted on training people (docs/tokens.md, "Several answers"); of pose tokens
# the raw probabilities.
TEMPERATURES = {'residual': 0.5, 'pose': 1.0}
_BODY = slice(skeleton.NUM_BODY_JOINTS)


class SampleSettings(NamedTuple):
    """Settings of samples.

    count: for each person; 0 for none.
    seed: the same seed draws the same bodies.
    temperature: above 1 for wider distributions of tokens, below for narrower ones; None for that
      of `TEMPERATURES`.
    """

    count: int = 0
    seed: int = 0
    temperature: float | None = None

    @classmethod
    def of(cls, samples: 'SampleSettings | int') -> 'SampleSettings':
        """The settings, checked, of what `Model.predict` is given; ValueError if out of range."""
        settings = samples if isinstance(samples, cls) else cls(samples)
        settings.check()
        return settings

    def check(self) -> None:
        """Raises ValueError for settings out of range."""
        if self.count < 0 or self.count == 1:
            raise ValueError(f'samples={self.count}: expected at least 2, or 0 for none')
        if self.temperature is not None and not 0 < self.temperature < np.inf:
            raise ValueError(f'temperature={self.temperature}: expected a number above 0')


class Sampler:
    """Draws bodies from the token distributions of a regressor's predictions.

    With a prior it draws tokens that go together, by `token_prior.draw_with` one after the other;
    without one each token for itself.

    body: any body model with the joints of the regressor's own.
    """

    def __init__(self, network: Regressor, frozen: FrozenWeights, body: smpl.BodyModel):
        self._network, self._frozen, self._body = network, frozen, body
        self._pose = jax.jit(self._posed)
        self._draw = jax.jit(self._drawn, static_argnames='count')

    def check(self, settings: SampleSettings, name: str) -> None:
        """Raises ValueError if the regressor, of this name, has no tokens that can be drawn so."""
        if self._network.tokenizer is None:
            raise ValueError(
                f'samples={settings.count}: {name} regresses poses directly, expected a network '
                "with tokens: model.head='tokens' or 'pose_tokens'"
            )

    def __call__(
        self,
        params: SmplParams,
        probs: Float[Array, 'N T K'],
        settings: SampleSettings,
        own_probs: Float[Array, 'N T K'] | None = None,
    ) -> BodySamples:
        """Bodies around predicted ones.

        The samples' turns of a joint from the mixture that the network decodes are applied to the
        predicted body, which refinement may have moved.

        Args:
          params: the predicted bodies, in any frame.
          probs: of their tokens.
          settings: checked ones.
          own_probs: the network's own, before a prior refined them; None if none did.
        """
        if settings.temperature is None:
            kind = 'pose' if self._network.has_pose_tokens else 'residual'
            settings = settings._replace(temperature=TEMPERATURES[kind])
        draw = draw_tokens if self._network.prior is None else self._draw_together
        tokens = draw(probs if own_probs is None else own_probs, settings)
        return jax.device_get(self._pose(self._frozen, self._body, params, probs, tokens))

    def _draw_together(self, probs, settings) -> Int32[np.ndarray, 'N S T']:
        """As `draw_tokens`, by the prior."""
        log_probs = _warmed(probs, settings.temperature)
        count, key = settings.count, jax.random.key(settings.seed)
        found = np.zeros((len(log_probs), count, log_probs.shape[1]), np.int32)
        for i, one in enumerate(log_probs):
            found[i] = self._draw(self._frozen, one, key, count=count)
        return found

    def _drawn(self, frozen, log_probs, key, count):
        predict = self._network.predict_prior(frozen)
        return token_prior.draw_with(predict, log_probs, count, len(log_probs), key)

    def _posed(self, frozen, body, params: SmplParams, probs, tokens) -> BodySamples:
        network = self._network
        answer = network.decode_codes(frozen, network.mix_codes(frozen, probs))
        codes = jnp.asarray(frozen.codes)
        moved = rotations.compose(params.body_pose[:, _BODY], jnp.swapaxes(answer, -1, -2))
        hands = params.body_pose[:, skeleton.NUM_BODY_JOINTS :]

        def one_each(tokens):
            turned = rotations.compose(moved, network.decode_codes(frozen, codes[tokens]))
            pose = jnp.concatenate([turned, hands], axis=1)
            drawn = params.replace(body_pose=pose, transl=None)
            return pose, smpl.forward(body, drawn).joints

        pose, joints = jax.lax.map(one_each, jnp.swapaxes(tokens, 0, 1))
        pose, joints = jnp.swapaxes(pose, 0, 1), jnp.swapaxes(joints, 0, 1)
        return BodySamples(pose, joints, 1000 * joint_spread(joints))


def draw_tokens(
    probs: Float[Array, 'N T K'], settings: SampleSettings
) -> Int32[np.ndarray, 'N S T']:
    """Tokens of S answers for each of N persons, each by its own probabilities.

    Each person is drawn with the same random numbers, so that nobody's samples depend on who else
    is there.
    """
    return np.asarray(
        _draw_each(_warmed(probs, settings.temperature), settings.seed, settings.count)
    )


@jax.jit
def _warmed(probs, temperature):
    smallest = jnp.finfo(jnp.float32).tiny
    return jax.nn.log_softmax(jnp.log(jnp.maximum(probs, smallest)) / temperature)


@functools.partial(jax.jit, static_argnames='count')
def _draw_each(log_probs, seed, count):
    """Each token by its own distribution: the code at a uniform number in the sum over codes."""
    total = jnp.cumsum(jnp.exp(log_probs), axis=-1)
    place = jax.random.uniform(jax.random.key(seed), (log_probs.shape[1], count))
    find = functools.partial(jnp.searchsorted, side='right')
    found = jax.vmap(jax.vmap(find), (0, None))(total, place)
    last = log_probs.shape[-1] - 1
    return jnp.swapaxes(jnp.minimum(found, last), 1, 2).astype(jnp.int32)
