"""The prior of pose tokens: hidden tokens from known ones, on stage 1's poses."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import struct
from jaxtyping import Bool, Float, Int, Num

from tokenhmr_jax.body import rotations, skeleton, smpl
from tokenhmr_jax.config import check_choice
from tokenhmr_jax.models import token_prior
from tokenhmr_jax.models.quantizer import nearest_codes
from tokenhmr_jax.models.token_prior import PriorWeights, TokenPrior
from tokenhmr_jax.models.tokenizer import Tokenizer, num_tokens
from tokenhmr_jax.objectives import losses, metrics
from tokenhmr_jax.tasks.body_models import check_body_files, load_body
from tokenhmr_jax.tasks.pose_batches import PoseBatches
from tokenhmr_jax.tasks.tokenizer_report import TokenizerReport, body_errors, training_poses
from tokenhmr_jax.tasks.warm_start import check_tokenizer, read_tokenizer, replace_weights
from tokenhmr_jax.types import Array, BodyOutput, PoseBatch

_BODY = slice(1, 22)
# Scores of which the lowest may decide the best step.
_SCORES = ('bits', 'mpjpe_mm', 'pve_mm', 'limb_mm')
# Poses that ties of tokens and joints are measured on.
_TIE_POSES = 512


@struct.dataclass
class Frozen:
    """The body model, which nothing moves."""

    body: smpl.BodyModel


@struct.dataclass
class Completion:
    """Poses with a limb hidden and completed.

    joints: the hidden ones.
    body_pose: known joints as they were, hidden ones as completed.
    body: of `body_pose`, mean shape, root at rest.
    nats: estimate of minus the log-likelihood of all the true pose's tokens.
    """

    joints: Bool[Array, 'B 21']
    body_pose: Float[Array, 'B 21 3 3']
    body: BodyOutput
    nats: Float[Array, ' B']


@dataclasses.dataclass(frozen=True)
class PriorTask(PoseBatches):
    """The prior's loss and metrics; `config` as in configs/prior.py.

    The state beside the parameters is `PriorWeights`: stage 1 travels in the checkpoint.
    """

    medians: ClassVar = ()
    config: ml_collections.FrozenConfigDict
    model: TokenPrior
    tokenizer: Tokenizer

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> 'PriorTask':
        """Raises ValueError for values of the config that do not go together."""
        check_choice(config, 'eval.best_metric', _SCORES)
        for name in ('hidden_limbs', 'tied_share'):
            if not 0 <= config[name] <= 1:
                raise ValueError(f'{name}={config[name]}: expected a share, 0 to 1')
        if config.model.width % config.model.heads:
            raise ValueError(
                f'model.width={config.model.width} does not divide by '
                f'model.heads={config.model.heads}'
            )
        config = ml_collections.FrozenConfigDict(config)
        model = TokenPrior(config.tokenizer.num_codes, **config.model)
        return cls(config, model, Tokenizer(**config.tokenizer.model))

    def check_inputs(self, records: Sequence[dict]) -> None:
        """Raises FileNotFoundError or ValueError for a body model or a tokenizer that is missing,
        or does not fit."""
        check_body_files(self.config)
        check_tokenizer(self.config.tokenizer)

    @property
    def report(self) -> 'PriorReport':
        return PriorReport(self)

    def frozen(self, body: smpl.BodyModel | None = None, training: bool = False) -> Frozen:
        """Loads the body model, unless it is given; errors as `load_body`."""
        body = load_body(self.config) if body is None else body
        return Frozen(smpl.trim(body, posed=1 + skeleton.NUM_BODY_JOINTS))

    def init(self, rng: jax.Array) -> tuple[dict, PriorWeights]:
        """Fresh parameters, and weights of stage 1 for `warm_start` to fill."""
        stage1, count = self.config.tokenizer, num_tokens(self.config.tokenizer.model.size_mul)
        tokens = jnp.zeros((1, count), jnp.int32)
        params = self.model.init(rng, tokens, tokens > 0)['params']
        pose = jnp.broadcast_to(jnp.eye(3), (1, skeleton.NUM_BODY_JOINTS, 3, 3))
        return params, PriorWeights(
            tokenizer=self.tokenizer.init(rng, pose)['params'],
            codes=jnp.zeros((stage1.num_codes, stage1.model.code_dim)),
            ties=jnp.zeros((count, skeleton.NUM_BODY_JOINTS)),
        )

    def warm_start(self, params: dict, state: PriorWeights) -> tuple[dict, PriorWeights]:
        """Fills in stage 1, and its ties on poses of the mixture; errors as `check_inputs`."""
        state = replace_weights(state, *read_tokenizer(self.config.tokenizer))
        poses = training_poses(self.config)[:_TIE_POSES]
        ties = jax.jit(self._measure_ties)(state, rotations.axis_angle_to_matrix(poses))
        return params, state.replace(ties=jax.device_put(ties, state.ties.sharding))

    def loss(
        self,
        params: dict,
        state: PriorWeights,
        frozen: Frozen,
        batch: PoseBatch,
        rng: jax.Array,
        step: int | Int[Array, ''],
    ) -> tuple[Float[Array, ''], tuple[PriorWeights, dict[str, Float[Array, '']]]]:
        """The weighted loss of a batch, the state as it was, and scalars to log."""
        share_key, limb_key, part_key = jax.random.split(rng, 3)
        pose = rotations.axis_angle_to_matrix(batch.body_pose)
        has_limb = jax.random.bernoulli(share_key, self.config.hidden_limbs, (len(pose),))
        joints = draw_limbs(limb_key, len(pose)) & has_limb[:, None]
        tokens, given, tied = self.hide_joints(state, pose, joints)
        any_tied = jnp.any(tied, axis=-1, keepdims=True)
        hidden = token_prior.hide_part(part_key, jnp.where(any_tied, tied, True))
        entropy = self._cross_entropy(params, given, tokens, hidden)
        hits = {'limbs': any_tied[:, 0], 'any': ~any_tied[:, 0]}
        logs = {f'nats/{name}': _mean_of(entropy, chosen) for name, chosen in hits.items()}
        terms = {'cross_entropy': jnp.mean(entropy)}
        logs |= {f'loss/{name}': term for name, term in terms.items()}
        return losses.weighted_sum(terms, self.config.loss_weights), (state, logs)

    def predict(
        self, params: dict, state: PriorWeights, frozen: Frozen, batch: PoseBatch
    ) -> Completion:
        """The poses with one random limb hidden, always the same, and completed."""
        limb_key, part_key = jax.random.split(jax.random.key(0))
        pose = rotations.axis_angle_to_matrix(batch.body_pose)
        joints = draw_limbs(limb_key, len(pose), most=1)
        tokens, given, tied = self.hide_joints(state, pose, joints)
        expected = self.expected_pose(params, state, given, ~tied)
        decoded = jnp.where(joints[..., None, None], expected, pose)
        hidden = token_prior.hide_part(part_key, jnp.ones_like(tied))
        nats = tokens.shape[1] * self._cross_entropy(params, tokens, tokens, hidden)
        return Completion(joints, decoded, smpl.pose_body(frozen.body, decoded), nats)

    def metrics(
        self, output: Completion, frozen: Frozen, batch: PoseBatch
    ) -> dict[str, Num[Array, 'B ...']]:
        """Per example: errors in mm, of the hidden joints alone too, and `bits` of the pose."""
        pose = rotations.axis_angle_to_matrix(batch.body_pose)
        truth = smpl.pose_body(frozen.body, pose)
        errors = body_errors(output.body, truth)
        distance = metrics.distances(output.body.joints[:, _BODY], truth.joints[:, _BODY])
        share = output.joints / jnp.sum(output.joints, axis=-1, keepdims=True)
        errors['limb_mm'] = 1000 * jnp.sum(share * distance, axis=-1)
        return errors | {'bits': output.nats / np.log(2)}

    def summarize(self, means: dict[str, Any]) -> dict[str, float]:
        """Scalars to report from the metrics' means over examples."""
        return {name: float(value) for name, value in means.items()}

    def predict_logits(self, params: dict) -> token_prior.Predict:
        """The prior as a function of tokens, and of which are known."""
        return lambda tokens, known: self.model.apply({'params': params}, tokens, known)

    def hide_joints(
        self, state: PriorWeights, pose: Float[Array, 'B 21 3 3'], joints: Bool[Array, 'B 21']
    ) -> tuple[Int[Array, 'B T'], Int[Array, 'B T'], Bool[Array, 'B T']]:
        """Tokens of poses, tokens that know nothing of some joints, and which of these are hidden.

        The hidden joints are at rest for those that stay known, which so cannot tell of them.
        """
        unknown = jnp.where(joints[..., None, None], jnp.eye(3), pose)
        both = self.encode(state, jnp.concatenate([pose, unknown]))
        tokens, given = jnp.split(both, 2)
        tied = token_prior.tied_tokens(state.ties, joints, self.config.tied_share)
        return tokens, jnp.where(tied, tokens, given), tied

    def encode(self, state: PriorWeights, pose: Float[Array, 'B 21 3 3']) -> Int[Array, 'B T']:
        """Stage 1's tokens."""
        return nearest_codes(state.codes, self.latents(state, pose))

    def latents(self, state: PriorWeights, pose: Float[Array, 'B 21 3 3']) -> Float[Array, 'B T C']:
        """Stage 1's latents."""
        with jax.default_matmul_precision('highest'):
            variables = {'params': state.tokenizer}
            return self.tokenizer.apply(variables, pose, method='encode')

    def decode(self, state: PriorWeights, codes: Float[Array, 'B T C']) -> Array:
        """Stage 1's poses (B, 21, 3, 3) of codes."""
        with jax.default_matmul_precision('highest'):
            variables = {'params': state.tokenizer}
            decoded = self.tokenizer.apply(variables, codes, method='decode')
        return rotations.rotation_6d_to_matrix(decoded)

    def expected_pose(
        self,
        params: dict,
        state: PriorWeights,
        tokens: Int[Array, 'B T'],
        known: Bool[Array, 'B T'],
    ) -> Float[Array, 'B 21 3 3']:
        """Poses whose hidden tokens are mixtures of codes by their probabilities.

        Its error is smaller than that of the most probable tokens, which are one of many answers.
        """
        probabilities = jax.nn.softmax(self.predict_logits(params)(tokens, known))
        exact = jax.lax.Precision.HIGHEST
        mixture = jnp.einsum('btk,kc->btc', probabilities, state.codes, precision=exact)
        return self.decode(state, jnp.where(known[..., None], state.codes[tokens], mixture))

    def _cross_entropy(self, params, given, tokens, hidden) -> Float[Array, ' B']:
        """Mean over the hidden tokens, nats."""
        logits = jax.nn.log_softmax(self.predict_logits(params)(given, ~hidden))
        found = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
        return -jnp.sum(jnp.where(hidden, found, 0), axis=-1) / jnp.sum(hidden, axis=-1)

    def _measure_ties(self, state: PriorWeights, pose) -> Float[Array, 'T 21']:
        """Share of poses whose token changes when a joint is turned as in another pose."""
        tokens, others = self.encode(state, pose), jnp.roll(pose, 1, axis=0)

        def change(joint):
            turned = pose.at[:, joint].set(others[:, joint])
            return jnp.mean(self.encode(state, turned) != tokens, axis=0)

        return jax.lax.map(change, jnp.arange(pose.shape[1])).T


class PriorReport(TokenizerReport):
    """Pictures of a prior; methods as in `Report`."""

    row = 'completion'
    title = 'held-out poses: true (sand), a limb hidden and completed (blue); front, side; MPJPE'

    def baselines(self, frozen: Any, splits: Any) -> dict[str, list[dict]]:
        """None: `studies.completion` has those that fit."""
        return {}


def limbs() -> Bool[np.ndarray, '21 21']:
    """For each body joint, itself and all that hangs on it."""
    found = np.eye(skeleton.NUM_BODY_JOINTS, dtype=bool)
    for joint in reversed(range(1, skeleton.NUM_BODY_JOINTS + 1)):
        parent = skeleton.PARENTS[joint]
        if parent:
            found[parent - 1] |= found[joint - 1]
    return found


def draw_limbs(key: jax.Array, count: int, most: int = 2) -> Bool[Array, '{count} 21']:
    """Joints of one to `most` random limbs: a joint with all that hangs on it."""
    root_key, number_key = jax.random.split(key)
    roots = jax.random.randint(root_key, (count, most), 0, skeleton.NUM_BODY_JOINTS)
    number = jax.random.randint(number_key, (count, 1), 1, most + 1)
    chosen = jnp.arange(most) < number
    return jnp.any(jnp.asarray(limbs())[roots] & chosen[..., None], axis=1)


def _mean_of(values: Float[Array, ' B'], chosen: Bool[Array, ' B']) -> Float[Array, '']:
    return jnp.sum(jnp.where(chosen, values, 0)) / jnp.sum(chosen)
