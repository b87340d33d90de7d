"""Stage 1: a pose through tokens and back, with losses on rotations, joints and vertices."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import struct
from jaxtyping import Float, Int, Num

from tokenhmr_jax.body import rotations, skeleton, smpl
from tokenhmr_jax.config import check_choice
from tokenhmr_jax.models.quantizer import (
    Codebook,
    Grid,
    Quantizer,
    code_counts,
    make_quantizer,
    nearest_codes,
    perplexity,
    quantize,
)
from tokenhmr_jax.models.tokenizer import Tokenizer, num_tokens
from tokenhmr_jax.objectives import losses, metrics
from tokenhmr_jax.objectives.token_metrics import (
    STABILITY_DEGREES,
    kept_share,
    motion_scalars,
    soft_codes,
    swap_one,
    turn_joints,
)
from tokenhmr_jax.tasks.body_models import check_body_files, load_body
from tokenhmr_jax.tasks.pose_batches import PoseBatches
from tokenhmr_jax.tasks.tokenizer_report import TokenizerReport, body_errors, body_joints
from tokenhmr_jax.types import Array, BodyOutput, PoseBatch, TokenizerOutput, TokenProbes

# The root is the body model's joint 0 and at rest; the tokenizer's joints are 1 to 21.
_BODY = slice(1, 22)
# Scores of which the lowest may decide the best step.
_ERRORS = ('mpjpe_mm', 'pve_mm')


@struct.dataclass
class Frozen:
    """The inputs of a step that nothing moves.

    body: SMPL or SMPL-H.
    loss_body: `body` with the vertices of the mesh loss only.
    vertex_weights: of these vertices in the mesh loss.
    hands: pose of the hands of ground-truth bodies; None for flat hands.
    """

    body: smpl.BodyModel
    loss_body: smpl.BodyModel
    vertex_weights: Float[Array, ' V']
    hands: Float[Array, '30 3 3'] | None


@dataclasses.dataclass(frozen=True)
class TokenizerTask(PoseBatches):
    """The tokenizer's losses and metrics; `config` as in configs/tokenizer.py."""

    medians: ClassVar = ()
    config: ml_collections.FrozenConfigDict
    model: Tokenizer
    quantizer: Quantizer

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> 'TokenizerTask':
        """Raises ValueError for values of the config that do not go together."""
        tokens = config.batch_size * num_tokens(config.model.size_mul)
        parts, codes = config.accumulation_steps, config.codebook.num_codes
        # Codes that learn move with each part of a batch.
        if not config.model.levels and tokens < parts * codes:
            raise ValueError(
                f'a batch of {config.batch_size} poses has {tokens} tokens in '
                f'accumulation_steps={parts} parts, in each fewer than the {codes} codes: expected '
                'at least as many, better four times as many'
            )
        losses.check_distance(config.loss_distance)
        check_choice(config, 'eval.best_metric', _ERRORS)
        config = ml_collections.FrozenConfigDict(config)
        codes = make_quantizer(config.model, config.codebook)
        return cls(config, Tokenizer(**config.model), codes)

    def check_inputs(self, records: Sequence[dict]) -> None:
        """Raises FileNotFoundError for a body model that is not there."""
        check_body_files(self.config)

    @property
    def report(self) -> TokenizerReport:
        return TokenizerReport(self)

    def frozen(self, body: smpl.BodyModel | None = None, training: bool = False) -> Frozen:
        """Loads the body model, unless it is given.

        Errors as `load_body`; ValueError for a body that lacks the mean hands of the config.
        """
        body = load_body(self.config) if body is None else body
        kind, hands = self.config.ground_truth_hands, None
        if kind == 'mean':
            if body.hand_mean is None:
                lacks = "hands_meanl and hands_meanr, which MANO's files have"
                if body.num_joints == skeleton.NUM_JOINTS:
                    lacks = 'the fingers of SMPL-H'
                raise ValueError(
                    f"{self.config.body}: lacks {lacks}: ground_truth_hands='mean' needs them "
                    "(docs/train_tokenizer.md), 'flat' does not"
                )
            hands = rotations.axis_angle_to_matrix(body.hand_mean)
        elif kind == 'flat':
            body = smpl.trim(body, posed=1 + skeleton.NUM_BODY_JOINTS)
        else:
            raise ValueError(f"ground_truth_hands={kind!r}: expected 'flat' or 'mean'")
        stride = self.config.loss_vertex_stride
        if stride < 1:
            raise ValueError(f'loss_vertex_stride={stride}: expected at least 1')
        weights = losses.vertex_weights(body.template.T, body.faces)
        return Frozen(body, smpl.thin(body, stride), weights[::stride], hands)

    def init(self, rng: jax.Array) -> tuple[dict, Codebook | Grid]:
        """Fresh parameters, and codes: learned ones are filled by the first step."""
        pose = jnp.broadcast_to(jnp.eye(3), (1, skeleton.NUM_BODY_JOINTS, 3, 3))
        return self.model.init(rng, pose)['params'], self.quantizer.init()

    def warm_start(self, params: Any, state: Any) -> tuple[Any, Any]:
        """A tokenizer starts from nothing."""
        return params, state

    def loss(
        self,
        params: dict,
        codebook: Codebook | Grid,
        frozen: Frozen,
        batch: PoseBatch,
        rng: jax.Array,
        step: int | Int[Array, ''],
    ) -> tuple[Float[Array, ''], tuple[Codebook | Grid, dict[str, Float[Array, '']]]]:
        """The weighted loss of a batch, the codes after it, and scalars to log."""
        pose = rotations.axis_angle_to_matrix(batch.body_pose)
        latents = self._apply(params, self._with_noise(pose, rng), 'encode')
        quantized, updated = self.quantizer.quantize(codebook, latents, rng, step)
        decoded = self._decode(params, quantized.codes)
        body = self._body(frozen.loss_body, decoded)
        truth = self._body(frozen.loss_body, pose, frozen.hands)
        terms = losses.tokenizer_terms(
            rotation=decoded,
            rotation_gt=pose,
            joints=body.joints[:, _BODY],
            joints_gt=truth.joints[:, _BODY],
            vertices=body.vertices,
            vertices_gt=truth.vertices,
            weights=frozen.vertex_weights,
            commitment=quantized.commitment,
            distance=self.config.loss_distance,
        )
        counts = code_counts(quantized.tokens, self.config.codebook.num_codes)
        logs = {f'loss/{name}': term for name, term in terms.items()}
        logs |= {name: jnp.mean(v) for name, v in body_errors(body, truth).items()}
        logs |= _usage_scalars(counts)
        return losses.weighted_sum(terms, self.config.loss_weights), (updated, logs)

    def predict(
        self, params: dict, codebook: Codebook | Grid, frozen: Frozen, batch: PoseBatch
    ) -> TokenizerOutput:
        """Encodes, quantises and decodes poses, in full float32."""
        with jax.default_matmul_precision('highest'):
            pose = rotations.axis_angle_to_matrix(batch.body_pose)
            latents = self._apply(params, pose, 'encode')
            quantized, tokens, _ = quantize(codebook.codes, latents)
            body_pose = self._decode(params, quantized)
            probes = self._probe(params, codebook.codes, pose, latents, tokens)
        return TokenizerOutput(tokens, body_pose, self._body(frozen.body, body_pose), probes)

    def metrics(
        self, output: TokenizerOutput, frozen: Frozen, batch: PoseBatch
    ) -> dict[str, Num[Array, 'B ...']]:
        """Per example: errors in mm, measures of the tokens, and `code_usage`, the number of
        tokens on each code."""
        pose = rotations.axis_angle_to_matrix(batch.body_pose)
        truth = self._body(frozen.body, pose, frozen.hands)
        mixed, swapped = (
            body_joints(frozen.body, each) for each in (output.probes.mixed, output.probes.swapped)
        )
        scalars = body_errors(output.body, truth)
        error = metrics.mean_distance_mm(mixed, truth.joints[:, _BODY])
        scalars['mixture_mpjpe_mm'] = error
        for degrees, turned in zip(STABILITY_DEGREES, output.probes.turned, strict=True):
            scalars[f'kept_{degrees:g}deg'] = kept_share(output.tokens, turned)
        scalars |= motion_scalars(output.body.joints[:, _BODY], swapped)
        count = jax.vmap(lambda t: code_counts(t, self.config.codebook.num_codes))
        return scalars | {'code_usage': count(output.tokens)}

    def summarize(self, means: dict[str, Any]) -> dict[str, float]:
        """Scalars to report from the metrics' means over examples; baselines use no codes."""
        scalars = {name: value for name, value in means.items() if name != 'code_usage'}
        if 'code_usage' in means:
            usage = jnp.asarray(means['code_usage'])
            scalars |= _usage_scalars(usage)
            # One distribution of codes for all positions: an upper bound.
            scalars['bits'] = jnp.sum(usage) * jnp.log2(scalars['perplexity'])
            scalars['nominal_bits'] = jnp.sum(usage) * np.log2(len(usage))
        return {name: float(value) for name, value in scalars.items()}

    def _with_noise(self, pose: Float[Array, 'B 21 3 3'], rng: jax.Array):
        """The poses that the encoder sees in training."""
        deviation = np.deg2rad(self.config.noise_degrees)
        if not deviation:
            return pose
        # Seeds of codes are drawn with `rng` itself.
        noise = deviation * jax.random.normal(jax.random.fold_in(rng, 1), pose.shape[:-1])
        return rotations.compose(pose, rotations.axis_angle_to_matrix(noise))

    def _probe(self, params, codes, pose, latents, tokens) -> TokenProbes:
        """The same random turns and swaps in every evaluation."""
        turns, swaps = jax.random.split(jax.random.key(0))
        turned = [turn_joints(pose, degrees, turns) for degrees in STABILITY_DEGREES]
        encoded = [nearest_codes(codes, self._apply(params, p, 'encode')) for p in turned]
        swapped = swap_one(tokens, len(codes), swaps)
        return TokenProbes(
            turned=jnp.stack(encoded),
            mixed=self._decode(params, soft_codes(codes, latents)),
            swapped=self._decode(params, codes[swapped]),
        )

    def _apply(self, params, x, method):
        return self.model.apply({'params': params}, x, method=method)

    def _decode(self, params, codes) -> Float[Array, 'B 21 3 3']:
        return rotations.rotation_6d_to_matrix(self._apply(params, codes, 'decode'))

    def _body(self, body, body_pose, hands=None) -> BodyOutput:
        if hands is not None:
            hands = jnp.broadcast_to(hands, (len(body_pose), *hands.shape))
            body_pose = jnp.concatenate([body_pose, hands], axis=1)
        return smpl.pose_body(body, body_pose)


def _usage_scalars(counts: Float[Array, ' K']) -> dict[str, Float[Array, '']]:
    return {'perplexity': perplexity(counts), 'codes_used': jnp.mean(counts > 0)}
