"""Stage 1: a pose through tokens and back, with losses on rotations, joints and vertices."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import struct
from jaxtyping import Float, Int, Num

from tokenhmr_jax.body import rotations, skeleton, smpl
from tokenhmr_jax.config import check_choice
from tokenhmr_jax.models import quantizer
from tokenhmr_jax.models.tokenizer import Tokenizer, num_tokens
from tokenhmr_jax.objectives import losses
from tokenhmr_jax.tasks.body_models import check_body_files, load_body
from tokenhmr_jax.tasks.tokenizer_report import TokenizerReport, body_errors
from tokenhmr_jax.types import Array, BodyOutput, PoseBatch, TokenizerOutput

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
class TokenizerTask:
    """The tokenizer's losses and metrics; `config` as in configs/tokenizer.py."""

    config: ml_collections.FrozenConfigDict
    model: Tokenizer

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> 'TokenizerTask':
        """Raises ValueError for values of the config that do not go together."""
        tokens = config.batch_size * num_tokens(config.model.size_mul)
        parts, codes = config.accumulation_steps, config.codebook.num_codes
        # The codebook moves with each part of a batch.
        if tokens < parts * codes:
            raise ValueError(
                f'a batch of {config.batch_size} poses has {tokens} tokens in '
                f'accumulation_steps={parts} parts, in each fewer than the {codes} codes: expected '
                'at least as many, better four times as many'
            )
        losses.check_distance(config.loss_distance)
        check_choice(config, 'eval.best_metric', _ERRORS)
        return cls(ml_collections.FrozenConfigDict(config), Tokenizer(**config.model))

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

    @property
    def train_transform(self) -> None:
        """None: records are taken as they are."""

    @property
    def eval_transform(self) -> None:
        """None: records are taken as they are."""

    def batch(self, columns: dict[str, np.ndarray]) -> PoseBatch:
        """The part of a batch of records that goes to the devices."""
        return PoseBatch(body_pose=columns['body_pose'])

    def batch_shapes(self) -> PoseBatch:
        """A training batch as `jax.ShapeDtypeStruct`s."""
        shape = (self.config.batch_size, skeleton.NUM_BODY_JOINTS, 3)
        return PoseBatch(body_pose=jax.ShapeDtypeStruct(shape, np.float32))

    def init(self, rng: jax.Array) -> tuple[dict, quantizer.Codebook]:
        """Fresh parameters, and a codebook that the first step fills."""
        pose = jnp.broadcast_to(jnp.eye(3), (1, skeleton.NUM_BODY_JOINTS, 3, 3))
        codebook = quantizer.empty_codebook(self.config.codebook.num_codes, self.model.code_dim)
        return self.model.init(rng, pose)['params'], codebook

    def warm_start(self, params: Any, state: Any) -> tuple[Any, Any]:
        """A tokenizer starts from nothing."""
        return params, state

    def loss(
        self,
        params: dict,
        codebook: quantizer.Codebook,
        frozen: Frozen,
        batch: PoseBatch,
        rng: jax.Array,
        step: int | Int[Array, ''],
    ) -> tuple[Float[Array, ''], tuple[quantizer.Codebook, dict[str, Float[Array, '']]]]:
        """The weighted loss of a batch, the codebook after it, and scalars to log."""
        pose = rotations.axis_angle_to_matrix(batch.body_pose)
        latents = self._apply(params, pose, 'encode')
        flat = jax.lax.stop_gradient(latents).reshape(-1, latents.shape[-1])
        options = self.config.codebook
        seeds = quantizer.pick_seeds(flat, options.num_codes, rng, options.seeding)
        codebook = quantizer.initialize_codebook(codebook, seeds)
        quantized, tokens, commitment = quantizer.quantize(codebook.codes, latents)
        settings = {'decay': options.decay, 'reset_on_reseed': options.reset_on_reseed}
        updated = quantizer.update_codebook(codebook, flat, tokens.reshape(-1), seeds, **settings)
        if options.freeze_step is not None:
            learning = step < options.freeze_step
            updated = jax.tree.map(lambda a, b: jnp.where(learning, a, b), updated, codebook)

        decoded = self._decode(params, quantized)
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
            commitment=commitment,
            distance=self.config.loss_distance,
        )
        counts = quantizer.code_counts(tokens, options.num_codes)
        logs = {f'loss/{name}': term for name, term in terms.items()}
        logs |= {name: jnp.mean(v) for name, v in body_errors(body, truth).items()}
        logs |= _usage_scalars(counts)
        return losses.weighted_sum(terms, self.config.loss_weights), (updated, logs)

    def predict(
        self, params: dict, codebook: quantizer.Codebook, frozen: Frozen, batch: PoseBatch
    ) -> TokenizerOutput:
        """Encodes, quantises and decodes poses, in full float32."""
        with jax.default_matmul_precision('highest'):
            latents = self._apply(params, rotations.axis_angle_to_matrix(batch.body_pose), 'encode')
            quantized, tokens, _ = quantizer.quantize(codebook.codes, latents)
            body_pose = self._decode(params, quantized)
        return TokenizerOutput(tokens, body_pose, self._body(frozen.body, body_pose))

    def metrics(
        self, output: TokenizerOutput, frozen: Frozen, batch: PoseBatch
    ) -> dict[str, Num[Array, 'B ...']]:
        """Per example: errors in mm, and `code_usage`, the number of tokens on each code."""
        pose = rotations.axis_angle_to_matrix(batch.body_pose)
        truth = self._body(frozen.body, pose, frozen.hands)
        count = jax.vmap(lambda t: quantizer.code_counts(t, self.config.codebook.num_codes))
        return body_errors(output.body, truth) | {'code_usage': count(output.tokens)}

    def summarize(self, means: dict[str, Any]) -> dict[str, float]:
        """Scalars to report from the metrics' means over examples; baselines use no codes."""
        scalars = {name: value for name, value in means.items() if name != 'code_usage'}
        if 'code_usage' in means:
            scalars |= _usage_scalars(jnp.asarray(means['code_usage']))
        return {name: float(value) for name, value in scalars.items()}

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
    return {'perplexity': quantizer.perplexity(counts), 'codes_used': jnp.mean(counts > 0)}
