"""Stage 2: from the picture of a person to a body, judged by keypoints, rotations and shape."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import struct

from tokenhmr_jax import adversarial, config_utils, losses, metrics, tals, warm_start
from tokenhmr_jax.body import camera, files, keypoint_body, rotations, skeleton, smpl
from tokenhmr_jax.data import augment
from tokenhmr_jax.models.regressor import FrozenWeights, Regressor, upright_mean
from tokenhmr_jax.models.token_head import DirectHead, QueryDecoder, TokenHead, TokenMixer
from tokenhmr_jax.models.tokenizer import Tokenizer, num_tokens
from tokenhmr_jax.models.vit import ViT
from tokenhmr_jax.types import BodyOutput, ImageBatch, RegressorOutput, SmplParams

# Mean bodies that need no file.
_MEANS = ('rest', 'none')
# Which scores may decide what step is best: the lower, the better.
_ERRORS = ('mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm', 'keypoints2d_px')


@struct.dataclass
class Frozen:
    """What a step reads and training never changes.

    body: SMPL, with the regressor of the extra keypoints.
    gendered: SMPL's models of men and women, which labels may be of; or nothing.
    keypoint_body: the same, reduced to what the losses look at.
    thresholds: of TALS.
    is_ground_truth: (S,) bool, of each source of the mixture in alphabetical order.
    real_bodies: what the adversarial prior takes for real; None where its weight is 0.
    """

    body: smpl.BodyModel
    gendered: tuple[smpl.BodyModel, ...]
    keypoint_body: keypoint_body.KeypointBody
    thresholds: tals.Thresholds
    is_ground_truth: jax.Array
    real_bodies: adversarial.RealBodies | None


@dataclasses.dataclass(frozen=True)
class RegressorTask:
    """The regressor's losses and metrics. `config` is that of configs/regressor.py.

    The state beside the parameters is the `FrozenWeights`: stage 1's decoder and codebook travel in
    the checkpoint, and no gradient or optimizer touches them.
    """

    config: ml_collections.FrozenConfigDict
    model: Regressor
    discriminator: adversarial.Discriminator | None

    @classmethod
    def from_config(cls, config: ml_collections.ConfigDict) -> 'RegressorTask':
        """Raises ValueError where the config's values do not go together."""
        losses.check_distance(config.tals.distance, 'tals.distance')
        config_utils.check_choice(config, 'eval.convention', metrics.CONVENTIONS)
        config_utils.check_choice(config, 'eval.best_metric', _ERRORS)
        unknown = set(config.data.ground_truth) - set(config.data.mixture)
        if unknown:
            raise ValueError(
                f'data.ground_truth names {sorted(unknown)}, which data.mixture does not: '
                f'expected some of {sorted(config.data.mixture)}'
            )
        mean = config.model.body_mean
        if mean not in _MEANS and not mean.endswith('.npz'):
            raise ValueError(f'model.body_mean={mean!r}: expected one of {_MEANS}, or an .npz file')
        config = ml_collections.FrozenConfigDict(config)
        discriminator = adversarial.Discriminator() if config.adversarial.weight else None
        return cls(config, _regressor(config.model, config.tokenizer), discriminator)

    def frozen(self) -> Frozen:
        """Load the body models, the thresholds, and the real bodies if they are asked for.

        Raises:
          FileNotFoundError, ValueError: as `smpl.load`, `tals.load` and `adversarial.load`, or if
            the body model has no regressor for the extra keypoints, or a gender's is of another
            topology.
        """
        body, gendered = files.load(self.config), files.load_gendered(self.config)
        if any(smpl.topology(model) != smpl.topology(body) for model in gendered):
            names = (self.config.body, self.config.body_male, self.config.body_female)
            raise ValueError(f'body models {names}: of different topology')
        sources = sorted(self.config.data.mixture)
        mocap = self.config.adversarial.mocap
        with_real = self.discriminator and mocap is not None  # None: `trained.load`
        return Frozen(
            body=body,
            gendered=gendered,
            keypoint_body=keypoint_body.reduce(body),
            thresholds=tals.load(self.config.tals.thresholds),
            is_ground_truth=jnp.array([s in self.config.data.ground_truth for s in sources]),
            real_bodies=adversarial.load(mocap) if with_real else None,
        )

    @property
    def train_transform(self) -> Callable[[dict, np.random.Generator], dict]:
        """From a record to an augmented crop."""
        data = self.config.data
        return functools.partial(
            augment.random_crop,
            settings=augment.Settings(**data.augment),
            crop_size=data.crop_size,
            box_aspect=data.box_aspect,
        )

    @property
    def eval_transform(self) -> Callable[[dict], dict]:
        """From a record to its plain crop, of the box grown as the network's input is shaped."""
        data = self.config.data
        return functools.partial(
            augment.apply,
            augmentation=augment.Augmentation(),
            crop_size=data.crop_size,
            box_aspect=data.eval_box_aspect,
        )

    @functools.cached_property
    def _has_gendered(self) -> bool:
        return files.has_gendered(self.config)  # not for every batch: files may be far away

    def batch(self, columns: dict[str, np.ndarray]) -> ImageBatch:
        """What goes to the devices of a batch of crops.

        Raises:
          ValueError: as `files.check_gendered`.
        """
        if not self._has_gendered:
            files.check_gendered(self.config, columns['gender'], columns['key'])
        names = [field.name for field in dataclasses.fields(ImageBatch) if field.name != 'source']
        source = columns.get('source', np.zeros(len(columns['image']), np.int32))
        return ImageBatch(source=source, **{name: columns[name] for name in names})

    def init(self, rng: jax.Array) -> tuple[dict, FrozenWeights]:
        """Fresh parameters; the frozen weights as `warm_start` will fill them."""
        size = self.config.data.crop_size
        params = self.model.init(rng, jnp.zeros((1, size, size, 3), jnp.uint8))
        if self.discriminator:
            body = jnp.zeros((1, skeleton.NUM_JOINTS - 1, 3, 3)), jnp.zeros((1, 10))
            params['discriminator'] = self.discriminator.init(rng, *body)['params']
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
        """Put what a run begins with into its fresh parameters and frozen weights.

        These are the weights that `config.warm_start` names, and stage 1's.

        Raises:
          FileNotFoundError, ValueError: if a checkpoint is not there, or of other sizes.
        """
        start, tokenizer = self.config.warm_start, self.config.tokenizer
        if self.config.model.body_mean not in _MEANS:
            state = warm_start.with_mean(state, self.config.model.body_mean)
        if start.checkpoint:
            params, state = warm_start.from_regressor(params, state, self.config)
        if warm_start.needs_tokenizer(self.config):
            state = warm_start.from_tokenizer(state, tokenizer)
        return params, state

    def loss(
        self,
        params: dict,
        state: FrozenWeights,
        frozen: Frozen,
        batch: ImageBatch,
        rng: jax.Array,
        step: jax.Array,
    ) -> tuple[jax.Array, tuple[FrozenWeights, dict[str, jax.Array]]]:
        """The weighted loss of a batch, the frozen weights as they were, and what to log."""
        del step
        config = self.config
        image = augment.jitter(batch.image, batch.color)
        prediction = self.model.apply(params, state, image, train_rng=rng)
        keypoints3d, keypoints2d = _keypoints(frozen, prediction.params, prediction.camera)
        truth = true_params(batch.global_orient, batch.body_pose, batch.betas)
        has_betas, betas = batch.has_betas, batch.betas
        if config.betas_reg:
            betas, has_betas = losses.regularized_betas(betas, has_betas)
        rotation, rotation_gt = all_rotations(prediction.params), all_rotations(truth)
        errors = losses.regressor_errors(
            keypoints2d=keypoints2d,
            keypoints2d_gt=batch.keypoints2d,
            keypoints3d=keypoints3d,
            keypoints3d_gt=batch.keypoints3d,
            rotation=rotation,
            rotation_gt=rotation_gt,
            betas=prediction.params.betas,
            betas_gt=betas,
        )
        below = tals.compare(
            tals.scaled(frozen.thresholds, config.tals.scale),
            keypoints2d=keypoints2d,
            keypoints2d_gt=batch.keypoints2d,
            rotation=rotation,
            rotation_gt=rotation_gt,
            distance=config.tals.distance,
        )
        weights = self._weights(below, frozen, batch, has_betas)
        terms = losses.batch_terms(errors, weights, config.reference_batch)
        sources = sorted(config.data.mixture)
        confidence = batch.keypoints2d[..., 2]
        shares = tals.shares_below(below, confidence, batch.has_pose, batch.source, len(sources))
        logs = {f'loss/{name}': term for name, term in terms.items()}
        logs |= {
            f'below/{kind}/{source}': share[i]
            for kind, share in shares.items()
            for i, source in enumerate(sources)
        }
        logs['mpjpe_mm'] = jnp.nanmean(_keypoint_error(keypoints3d, batch.keypoints3d))
        loss = losses.weighted_sum(terms, config.loss_weights)
        if self.discriminator:
            game = self._game(params, frozen, prediction.params, jax.random.fold_in(rng, 1))
            logs |= {f'loss/{name}': term for name, term in game.items()}
            # What trains the discriminator trains nothing else.
            loss += config.adversarial.weight * game['adversarial'] + game['discriminator']
        return loss, (state, logs)

    def _weights(self, below, frozen: Frozen, batch: ImageBatch, has_betas) -> dict[str, jax.Array]:
        """What counts of the errors, by term: with TALS or without."""
        if not self.config.tals.enabled:
            return losses.label_weights(batch.has_pose, has_betas)
        return tals.weights(
            below,
            confidence2d=batch.keypoints2d[..., 2],
            has_pose=batch.has_pose,
            has_betas=has_betas,
            is_ground_truth=frozen.is_ground_truth[batch.source],
            loose=self.config.tals.loose_weight,
        )

    def _game(self, params, frozen, bodies: SmplParams, rng) -> dict[str, jax.Array]:
        """Both sides of `adversarial.terms`, against as many real bodies."""
        real = adversarial.draw(frozen.real_bodies, rng, len(bodies.betas))
        predicted = bodies.body_pose, bodies.betas
        return adversarial.terms(self.discriminator, params['discriminator'], predicted, real)

    def predict(
        self, params: dict, state: FrozenWeights, frozen: Frozen, batch: ImageBatch
    ) -> RegressorOutput:
        """The bodies in the crops."""
        return self.bodies(params, state, frozen.body, batch.image)

    def bodies(
        self, params: dict, state: FrozenWeights, model: smpl.BodyModel, image: jax.Array
    ) -> RegressorOutput:
        """The bodies, of a body model, in crops (B, S, S, 3) uint8, RGB."""
        prediction = self.model.apply(params, state, image)
        body = smpl.forward(model, prediction.params)
        keypoints3d = smpl.keypoints(model, body)
        translation = camera.crop_translation(prediction.camera)
        return RegressorOutput(
            params=prediction.params,
            camera=prediction.camera,
            body=body,
            keypoints3d=keypoints3d,
            keypoints2d=camera.project_crop(keypoints3d, translation),
            token_probs=prediction.token_probs,
        )

    def metrics(
        self, output: RegressorOutput, frozen: Frozen, batch: ImageBatch
    ) -> dict[str, jax.Array]:
        """Per example: the errors of `metrics.body_errors`, and that of the 2D keypoints, px of
        256."""
        errors = body_errors(self.config.eval.convention, frozen, output.body, batch)
        offset = metrics.distances(output.keypoints2d, batch.keypoints2d[..., :2])
        confidence = batch.keypoints2d[..., 2]
        share = confidence / jnp.maximum(jnp.sum(confidence, -1, keepdims=True), 1e-9)
        return errors | {'keypoints2d_px': camera.CROP_SIZE * jnp.sum(share * offset, axis=-1)}

    def summarize(self, means: dict[str, np.ndarray]) -> dict[str, float]:
        """Scalars to report from the metrics' means over examples; `joint_mm` by joint."""
        joints = metrics.CONVENTIONS[self.config.eval.convention]
        per_joint = zip(joints, means['joint_mm'], strict=True)
        scalars = {name: float(value) for name, value in means.items() if name != 'joint_mm'}
        return scalars | {f'joint_mm/{joint}': float(value) for joint, value in per_joint}


def body_errors(
    convention: str, frozen: Frozen, body: BodyOutput, batch: ImageBatch
) -> dict[str, jax.Array]:
    """`metrics.body_errors` of bodies against those of a batch's labels."""
    ours = evaluation_points(convention, frozen, body)
    theirs = evaluation_points(convention, frozen, true_body(frozen, batch))
    return metrics.body_errors(ours[0], theirs[0], ours[1], theirs[1])


def evaluation_points(
    convention: str, frozen: Frozen, body: BodyOutput
) -> tuple[jax.Array, jax.Array]:
    """`metrics.evaluation_points` of bodies, by the neutral model's regressors."""
    keypoints3d = smpl.keypoints(frozen.body, body)
    regressor = frozen.body.joint_regressor
    return metrics.evaluation_points(convention, keypoints3d, body.vertices, regressor)


def true_body(frozen: Frozen, batch: ImageBatch) -> BodyOutput:
    """The bodies of a batch's labels."""
    return body_of(frozen, batch.global_orient, batch.body_pose, batch.betas, batch.gender)


def body_of(
    frozen: Frozen,
    global_orient: jax.Array,
    body_pose: jax.Array,
    betas: jax.Array,
    gender: jax.Array,
) -> BodyOutput:
    """The bodies of labels, each of the SMPL model that `gender` (B,) says; see `ImageBatch`.

    All are of the neutral model where `frozen.gendered` is empty.
    """
    params = true_params(global_orient, body_pose, betas)
    found = smpl.forward(frozen.body, params)
    # Posing everyone with each model is cheaper than gathering a model for each.
    for number, model in enumerate(frozen.gendered, start=1):
        other, ours = smpl.forward(model, params), (gender == number)[:, None, None]
        found = BodyOutput(
            vertices=jnp.where(ours, other.vertices, found.vertices),
            joints=jnp.where(ours, other.joints, found.joints),
        )
    return found


def _regressor(model: ml_collections.FrozenConfigDict, tokenizer) -> Regressor:
    backbone, decoder = ViT(**model.backbone), QueryDecoder(**model.decoder)
    if model.head == 'direct':
        return Regressor(backbone, DirectHead(decoder), None, model.rotation_6d)
    if model.head != 'tokens':
        raise ValueError(f"model.head={model.head!r}: expected 'tokens' or 'direct'")
    mixer = TokenMixer(num_tokens(tokenizer.model.size_mul), tokenizer.num_codes, **model.mixer)
    stage1 = Tokenizer(**tokenizer.model)
    return Regressor(backbone, TokenHead(decoder, mixer), stage1, model.rotation_6d)


def _keypoints(frozen: Frozen, params: SmplParams, weak) -> tuple[jax.Array, jax.Array]:
    """Keypoints in 3D, (B, 44, 3) metres, and as the crop's camera sees them, (B, 44, 2)."""
    points = keypoint_body.keypoints(frozen.keypoint_body, params)
    return points, camera.project_crop(points, camera.crop_translation(weak))


def true_params(global_orient: jax.Array, body_pose: jax.Array, betas: jax.Array) -> SmplParams:
    """Labels, (B, 3) and (B, 23, 3) axis-angle and betas (B, 10), as bodies."""
    return SmplParams(
        rotations.axis_angle_to_matrix(global_orient),
        rotations.axis_angle_to_matrix(body_pose),
        betas,
    )


def all_rotations(params: SmplParams) -> jax.Array:
    """The 24 rotations (B, 24, 3, 3), the root's first."""
    return jnp.concatenate([params.global_orient[:, None], params.body_pose], axis=1)


def _keypoint_error(points, points_gt) -> jax.Array:
    """Mean distance (B,) in mm of the labelled 3D keypoints, both centred on the pelvis keypoint.

    NaN where it, or all of them, have no label.
    """
    centre = losses.PELVIS
    ours = points - points[:, centre, None]
    theirs = points_gt[..., :3] - points_gt[:, centre, None, :3]
    labelled = (points_gt[..., 3] > 0) & (points_gt[:, centre, None, 3] > 0)
    distance = jnp.where(labelled, metrics.distances(ours, theirs), 0)
    return 1000 * jnp.sum(distance, axis=-1) / jnp.sum(labelled, axis=-1)
