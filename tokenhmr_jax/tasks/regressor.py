"""Stage 2: from the crop or keypoints of a person to a body, with losses on keypoints, rotations
and shape."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Float, Int, Num

from tokenhmr_jax.body import camera, keypoint_body, skeleton, smpl
from tokenhmr_jax.config import check_choice
from tokenhmr_jax.data import augment, crop_batches
from tokenhmr_jax.data.records import CAMERA_SOURCES
from tokenhmr_jax.models.regressor import FrozenWeights, Regressor, seen_width, upright_mean
from tokenhmr_jax.objectives import losses, metrics, tals
from tokenhmr_jax.tasks import body_models, pose_tokens, prompting
from tokenhmr_jax.tasks.regressor_network import make_network
from tokenhmr_jax.tasks.regressor_report import RegressorReport
from tokenhmr_jax.tasks.regressor_targets import (
    Frozen,
    all_rotations,
    check_truth,
    keypoint_error_mm,
    output_errors,
    true_params,
)
from tokenhmr_jax.tasks.warm_start import MEANS, check_start, warm_start
from tokenhmr_jax.types import Array, CropBatch, ImageBatch, Prompts, RegressorOutput

# Scores of which the lowest may decide the best step.
_ERRORS = ('mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm', 'keypoints2d_px')


@dataclasses.dataclass(frozen=True)
class RegressorTask:
    """The regressor's losses and metrics; `config` as in configs/regressor.py.

    The state beside the parameters is `FrozenWeights`: no gradient touches stage 1's decoder and
    codebook, and they travel in the checkpoint.
    """

    medians: ClassVar = ('distance_error',)
    config: ml_collections.FrozenConfigDict
    model: Regressor

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> 'RegressorTask':
        """Raises ValueError for values of the config that do not go together."""
        losses.check_distance(config.tals.distance, 'tals.distance')
        check_choice(config, 'eval.convention', metrics.CONVENTIONS)
        check_truth(config)
        check_choice(config, 'eval.best_metric', _ERRORS)
        if not set(config.eval.inputs) & set(config.model.inputs):
            raise ValueError(
                f'eval.inputs={tuple(config.eval.inputs)}: expected some of model.inputs='
                f'{tuple(config.model.inputs)}'
            )
        prompting.check_people(config)
        prompting.check_camera(config)
        pose_tokens.loss_weights(config)
        unknown = set(config.data.ground_truth) - set(config.data.mixture)
        if unknown:
            raise ValueError(
                f'data.ground_truth names {sorted(unknown)}, which data.mixture does not: '
                f'expected some of {sorted(config.data.mixture)}'
            )
        mean = config.model.body_mean
        if mean not in MEANS and not mean.endswith('.npz'):
            raise ValueError(f'model.body_mean={mean!r}: expected one of {MEANS}, or an .npz file')
        config = ml_collections.FrozenConfigDict(config)
        return cls(config, make_network(config))

    def check_inputs(self, records: Sequence[dict]) -> None:
        """Checks all files that a run reads; `records` is one of each split.

        Raises FileNotFoundError or ValueError for a file, a checkpoint, or a gender's body that is
        missing or does not fit.
        """
        config = self.config
        genders = [record.get('gender', 0) for record in records]
        body_models.check_gendered(config, genders, [record['key'] for record in records])
        body_models.check_body_files(config)
        tals.scale_thresholds(tals.load_thresholds(config.tals.thresholds), config.tals.scale)
        check_start(config)

    @property
    def report(self) -> RegressorReport:
        return RegressorReport(self)

    def frozen(self, body: smpl.BodyModel | None = None, training: bool = False) -> Frozen:
        """Loads the body models, the neutral one unless it is given, and the thresholds.

        For training also the poses of people without pictures.

        Errors as `load_body` and `tals.load_thresholds`; ValueError for a body without regressor
        of the extra keypoints, or of another topology than its gendered ones.
        """
        body = body_models.load_body(self.config) if body is None else body
        gendered = body_models.load_gendered(self.config)
        if any(smpl.topology(model) != smpl.topology(body) for model in gendered):
            names = (self.config.body, self.config.body_male, self.config.body_female)
            raise ValueError(f'body models {names}: of different topology')
        sources = sorted(self.config.data.mixture)
        return Frozen(
            body=body,
            gendered=gendered,
            keypoint_body=keypoint_body.reduce_body(body),
            thresholds=tals.load_thresholds(self.config.tals.thresholds),
            is_ground_truth=jnp.array([s in self.config.data.ground_truth for s in sources], bool),
            poses=prompting.load_poses(self.config) if training and self._num_people else None,
        )

    @property
    def _num_people(self) -> int:
        """People without pictures in each part of a step's batch."""
        return self.config.people.batch_size // self.config.accumulation_steps

    @property
    def train_transform(self) -> Callable[[dict, np.random.Generator], dict]:
        """Turns a record into the columns of an augmented crop that the network sees."""
        data = self.config.data
        settings = augment.AugmentSettings(**data.augment)
        return functools.partial(
            augment.random_crop,
            settings=settings,
            crop_size=data.crop_size,
            box_aspect=data.box_aspect,
            width=seen_width(data.crop_size),
        )

    @property
    def eval_transform(self) -> Callable[[dict], dict]:
        """Turns a record into a plain crop, of the box grown to the network's proportion.

        Raises ValueError, naming the record, if it lacks the truth that `eval.truth` asks for.
        """
        data, settings = self.config.data, self.config.eval
        stored = settings.truth == 'stored'
        return functools.partial(
            augment.plain_crop,
            crop_size=data.crop_size,
            box_aspect=data.eval_box_aspect,
            measured=metrics.STORED[settings.convention].tolist() if stored else (),
        )

    @functools.cached_property
    def _has_gendered(self) -> bool:
        return body_models.has_gendered(self.config)  # not for every batch: files may be far away

    def batch(self, columns: dict[str, np.ndarray]) -> CropBatch | ImageBatch | None:
        """The part of a batch that goes to the devices, None of none; errors as `check_gendered`.

        Poses without pictures become people before the cameras of their own seeds.
        """
        if not len(columns['key']):
            return None
        seed = np.array([prompting.seed_of(key) for key in columns['key']], np.int32)
        if 'gender' in columns and not self._has_gendered:
            body_models.check_gendered(self.config, columns['gender'], columns['key'])
        if 'image' not in columns:
            poses = prompting.Poses(columns['global_orient'], columns['body_pose'])
            return jax.device_get(self._people(seed, poses))
        return crop_batches.crop_batch(columns, seed)

    @functools.cached_property
    def _people(self) -> Callable:
        body = keypoint_body.reduce_body(body_models.load_body(self.config))
        draw = functools.partial(prompting.draw_people, config=self.config)
        run = jax.jit(lambda seeds, body, poses: draw(prompting.seed_keys(seeds), body, poses))
        return lambda seeds, poses: run(seeds, body, poses)

    def batch_shapes(self) -> CropBatch | None:
        """A training batch as `jax.ShapeDtypeStruct`s."""
        if not self.config.data.mixture:
            return None
        size = self.config.data.crop_size
        return crop_batches.batch_shapes(self.config.batch_size, (size, seen_width(size)))

    def init(self, rng: jax.Array) -> tuple[dict, FrozenWeights]:
        """Fresh parameters, and frozen weights for `warm_start` to fill."""
        size = self.config.data.crop_size
        params = self.model.init(rng, jnp.zeros((1, size, size, 3), jnp.uint8))
        mean = upright_mean()
        if self.model.tokenizer is None:
            return params, FrozenWeights(**mean)
        if self.config.model.body_mean == 'none':
            mean['mean_pose'][1 : 1 + skeleton.NUM_BODY_JOINTS] = 0
        tokenizer = self.config.tokenizer
        pose = jnp.broadcast_to(jnp.eye(3), (1, skeleton.NUM_BODY_JOINTS, 3, 3))
        weights = self.model.tokenizer.init(rng, pose)['params']
        codes = jnp.zeros((tokenizer.num_codes, tokenizer.model.code_dim))
        return params, FrozenWeights(**mean, tokenizer=weights, codes=codes)

    def warm_start(self, params: dict, state: FrozenWeights) -> tuple[dict, FrozenWeights]:
        """Fills in the weights that the config names; errors as `warm_start`."""
        return warm_start(params, state, self.config)

    def loss(
        self,
        params: dict,
        state: FrozenWeights,
        frozen: Frozen,
        batch: CropBatch | ImageBatch | None,
        rng: jax.Array,
        step: int | Int[Array, ''],
    ) -> tuple[Float[Array, ''], tuple[FrozenWeights, dict[str, Float[Array, '']]]]:
        """The weighted loss of a batch, the frozen weights as they were, and scalars to log."""
        config, parts, logs = self.config, [], {}
        if config.data.mixture:
            if self._is_full and isinstance(batch, CropBatch):
                fitted = ~frozen.is_ground_truth[batch.source]
                batch = crop_batches.turn_fitted(batch, fitted)
            batch = crop_batches.image_batch(batch)
            terms, logs = self._image_terms(params, state, frozen, batch, rng)
            parts.append((len(batch.image), terms))
        if self._num_people:
            terms = self._people_terms(params, state, frozen, jax.random.fold_in(rng, 1))
            parts.append((self._num_people, terms[0]))
            logs |= {f'{name}/people': value for name, value in terms[1].items()}
        terms = parts[0][1] if len(parts) == 1 else losses.pooled_terms(parts)
        logs |= {f'loss/{name}': term for name, term in terms.items()}
        return losses.weighted_sum(terms, pose_tokens.loss_weights(config)), (state, logs)

    def _image_terms(
        self, params: dict, state: FrozenWeights, frozen: Frozen, batch: ImageBatch, rng: jax.Array
    ) -> tuple[dict, dict]:
        """Loss terms and scalars to log of pictures."""
        config = self.config
        image = crop_batches.jitter(batch.image, batch.color)
        prompts = None
        if self.model.prompts is not None:
            key, is_true = jax.random.fold_in(rng, 2), frozen.is_ground_truth[batch.source]
            prompts = prompting.training_prompts(key, batch, is_true, config)
        prediction = self.model.apply(params, state, image, rng, prompts)
        keypoints3d = keypoint_body.keypoints(frozen.keypoint_body, prediction.params)
        truth = true_params(batch.global_orient, batch.body_pose, batch.betas)
        has_betas, betas = batch.has_betas, batch.betas
        if config.betas_reg:
            betas, has_betas = losses.regularized_betas(betas, has_betas)
        compared = {
            'keypoints2d': self._project(keypoints3d, prediction.camera, batch.camera),
            'keypoints2d_gt': batch.keypoints2d,
            'rotation': all_rotations(prediction.params),
            'rotation_gt': all_rotations(truth),
        }
        errors = losses.regressor_errors(
            **compared,
            keypoints3d=keypoints3d,
            keypoints3d_gt=batch.keypoints3d,
            betas=prediction.params.betas,
            betas_gt=betas,
        )
        thresholds = tals.scale_thresholds(frozen.thresholds, config.tals.scale)
        below = tals.compare_errors(thresholds, **compared, distance=config.tals.distance)
        weights = self._weights(below, frozen, batch, has_betas)
        trusted = batch.has_pose * frozen.is_ground_truth[batch.source]
        compare = functools.partial(pose_tokens.token_errors, config, self.model)
        tokens, logs = compare(state, prediction, truth, trusted)
        errors, weights = errors | tokens, weights | {'tokens': trusted[:, None]}
        terms = losses.batch_terms(errors, weights, config.reference_batch)
        sources = sorted(config.data.mixture)
        confidence = batch.keypoints2d[..., 2]
        shares = tals.shares_below(below, confidence, batch.has_pose, batch.source, len(sources))
        logs |= {
            f'below/{kind}/{source}': share[i]
            for kind, share in shares.items()
            for i, source in enumerate(sources)
        }
        logs['mpjpe_mm'] = jnp.nanmean(keypoint_error_mm(keypoints3d, batch.keypoints3d))
        return terms, logs

    def _people_terms(
        self, params: dict, state: FrozenWeights, frozen: Frozen, rng: jax.Array
    ) -> tuple[dict, dict]:
        """Loss terms and scalars to log of people without pictures, whose labels are true."""
        config, count = self.config, self._num_people
        pick, draw, drop = jax.random.split(rng, 3)
        keys = jax.random.split(draw, count)
        poses = prompting.pick_poses(pick, frozen.poses, count)
        batch = prompting.draw_people(keys, frozen.keypoint_body, poses, config)
        dropped = prompting.drop_parts(drop, batch.prompts, config)
        # Keypoints are all that there is.
        prompts = batch.prompts.replace(has_camera=dropped.has_camera)
        prediction = self.model.apply(params, state, None, jax.random.fold_in(rng, 3), prompts)
        keypoints3d = keypoint_body.keypoints(frozen.keypoint_body, prediction.params)
        truth = true_params(batch.global_orient, batch.body_pose, batch.betas)
        labels = prompting.keep_labels(jax.random.fold_in(rng, 4), batch, config)
        errors = losses.regressor_errors(
            keypoints2d=camera.project_in_picture(keypoints3d, prediction.camera, batch.camera),
            keypoints2d_gt=labels.keypoints2d,
            keypoints3d=keypoints3d,
            keypoints3d_gt=labels.keypoints3d,
            rotation=all_rotations(prediction.params),
            rotation_gt=all_rotations(truth),
            betas=prediction.params.betas,
            betas_gt=batch.betas,
        )
        weights = losses.label_weights(labels.has_pose, labels.has_betas)
        compare = functools.partial(pose_tokens.token_errors, config, self.model)
        tokens, logs = compare(state, prediction, truth, labels.has_pose)
        errors, weights = errors | tokens, weights | {'tokens': labels.has_pose[:, None]}
        terms = losses.batch_terms(errors, weights, config.reference_batch)
        logs['mpjpe_mm'] = jnp.mean(keypoint_error_mm(keypoints3d, batch.keypoints3d))
        return terms, logs

    def _weights(
        self, below, frozen: Frozen, batch: ImageBatch, has_betas
    ) -> dict[str, Float[Array, 'B _']]:
        """Per-element loss weights, with or without TALS."""
        if not self.config.tals.enabled:
            return losses.label_weights(batch.has_pose, has_betas)
        return tals.tals_weights(
            below,
            confidence2d=batch.keypoints2d[..., 2],
            has_pose=batch.has_pose,
            has_betas=has_betas,
            is_ground_truth=frozen.is_ground_truth[batch.source],
            loose=self.config.tals.loose_weight,
        )

    def predict(
        self, params: dict, state: FrozenWeights, frozen: Frozen, batch: CropBatch | ImageBatch
    ) -> RegressorOutput:
        """The bodies of what `eval.inputs` names: of the crops, and of prompts of their labels."""
        batch = crop_batches.image_batch(batch)
        prompts, inputs = batch.prompts, self.config.eval.inputs
        if self.model.prompts is not None and prompts is None and batch.seed is not None:
            keys = prompting.seed_keys(batch.seed)
            prompts = prompting.prompts_of_labels(keys, batch, self.config)
        image = batch.image if 'image' in inputs else None
        if 'prompts' not in inputs and prompts is not None:
            knows = self._is_full or 'camera' in inputs
            prompts = prompts.replace(keypoints2d=0 * prompts.keypoints2d) if knows else None
        output = self.bodies(params, state, frozen.body, image, prompts)
        return pose_tokens.with_argmax_body(self.model, state, frozen.body, output)

    def bodies(
        self,
        params: dict,
        state: FrozenWeights,
        body: smpl.BodyModel,
        image: Num[Array, 'B S W 3'] | None,
        prompts: Prompts | None = None,
    ) -> RegressorOutput:
        """The bodies in RGB crops, or of prompts, by a body model.

        Raises ValueError for no prompts with the projection 'full', which needs the crop's place.
        """
        prediction = self.model.apply(params, state, image, prompts=prompts)
        posed = smpl.forward(body, prediction.params)
        keypoints3d = smpl.keypoints(body, posed)
        place = None if prompts is None else prompts.camera
        keypoints2d = self._project(keypoints3d, prediction.camera, place)
        if image is None and not self._is_full:
            known = prompts.has_camera[:, None, None] > 0
            seen = camera.project_in_picture(keypoints3d, prediction.camera, place)
            keypoints2d = jnp.where(known, seen, keypoints2d)
        return RegressorOutput(
            params=prediction.params,
            camera=prediction.camera,
            body=posed,
            keypoints3d=keypoints3d,
            keypoints2d=keypoints2d,
            token_probs=prediction.token_probs,
            own_token_probs=prediction.own_token_probs,
        )

    @property
    def _is_full(self) -> bool:
        return self.config.camera.projection == 'full'

    def _project(self, keypoints3d, weak, place) -> Float[Array, 'B 44 2']:
        """Pictures' keypoints in crop units, by the camera of the config."""
        if self._is_full and place is None:
            raise ValueError("camera.projection='full': expected prompts with the crop's place")
        if self._is_full:
            return camera.project_in_picture(keypoints3d, weak, place)
        return camera.project_crop(keypoints3d, camera.crop_translation(weak))

    def metrics(
        self, output: RegressorOutput, frozen: Frozen, batch: CropBatch | ImageBatch
    ) -> dict[str, Float[Array, 'B ...']]:
        """Errors per example, as of `output_errors`."""
        batch, settings = crop_batches.image_batch(batch), self.config.eval
        return output_errors(settings.convention, settings.truth, frozen, output, batch)

    def summarize(self, means: dict[str, Any]) -> dict[str, float]:
        """Scalars to report, from the metrics' means over examples; `joint_mm` by joint."""
        joints = metrics.CONVENTIONS[self.config.eval.convention]
        per_joint = zip(joints, means['joint_mm'], strict=True)
        sources = zip(CAMERA_SOURCES, means.get('camera_source', ()), strict=False)
        no_scalar = ('joint_mm', 'stored_truth', 'camera_source')
        scalars = {name: float(value) for name, value in means.items() if name not in no_scalar}
        scalars |= {f'camera_source/{source}': float(share) for source, share in sources}
        return scalars | {f'joint_mm/{joint}': float(value) for joint, value in per_joint}
