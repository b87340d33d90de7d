"""From an image, or prompts, to a body's pose, shape and camera (TokenHMR, section 3.3)."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import struct
from jaxtyping import Bool, Float, Int32, Num

from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.models.prompts import PromptEncoder, ray_turn
from tokenhmr_jax.models.quantizer import nearest_codes
from tokenhmr_jax.models.token_choice import TokenChoice
from tokenhmr_jax.models.token_head import DirectHead, PoseTokenHead, TokenHead
from tokenhmr_jax.models.token_prior import Predict, TokenPrior, refine_log_probs
from tokenhmr_jax.models.tokenizer import Tokenizer
from tokenhmr_jax.models.vit import ViT
from tokenhmr_jax.types import Array, Prompts, SmplParams

# ImageNet's mean and standard deviation of RGB in [0, 1].
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)
_MIXTURE = TokenChoice()
# The tokenizer's joints.
_BODY = slice(1, 1 + skeleton.NUM_BODY_JOINTS)


@struct.dataclass
class FrozenWeights:
    """Weights of the regressor that training never changes.

    mean_pose: 6D rotations in the regressor's convention; predicted poses are offsets from it, but
      for joints that pose tokens give.
    mean_camera: weak-perspective (s, tx, ty).
    tokenizer: stage 1 parameters, {'encoder', 'decoder'}. The encoder gives the labels of pose
      tokens; with it a checkpoint holds stage 1 whole. None for a direct head.
    codes: stage 1 codebook; None for a direct head.
    """

    mean_pose: Float[Array, '24 6']
    mean_betas: Float[Array, '10']
    mean_camera: Float[Array, '3']
    tokenizer: dict | None = None
    codes: Float[Array, 'K C'] | None = None


@struct.dataclass
class FrozenWithPrior(FrozenWeights):
    """Frozen weights, and the parameters of the regressor's `prior`, of a run of its own."""

    prior: dict | None = None


@struct.dataclass
class Prediction:
    """Bodies as the network sees them.

    params: 24 rotations and betas; global_orient in the crop's camera, or in the picture's where
      the network reads the crop's place in it.
    camera: weak-perspective (s, tx, ty) of the crop.
    token_logits: of residual tokens, or of pose tokens; None for a direct head.
    token_probs: weights of the codes that were decoded: the tokens' probabilities, but in training
      as the regressor's `choice` makes them.
    own_token_probs: the head's own, before a prior refined them; None if none did.
    """

    params: SmplParams
    camera: Float[Array, 'B 3']
    token_logits: Float[Array, 'B T K'] | None
    token_probs: Float[Array, 'B T K'] | None
    own_token_probs: Float[Array, 'B T K'] | None = None


@dataclasses.dataclass(frozen=True)
class Regressor:
    """The networks of stage 2 and how data flows through them.

    backbone: of the image; None for a network that reads prompts alone.
    head: features to tokens and offsets from the mean body.
    tokenizer: stage 1's network, whose frozen decoder reads the tokens; None for a direct head.
    rotation_6d: 'rows', TokenHMR's convention, or 'columns', HMR2.0's.
    prompts: of keypoints and camera; None for a network that reads the image alone, as published.
    choice: codes that training decodes.
    prior: of pose tokens, with `FrozenWithPrior`; None for none.
    prior_steps: parallel steps in which the prior refines tokens outside training, as
      `refine_log_probs`. 1 leaves them as they are: so far refined ones have been worse.
    Raises ValueError if these do not go together.
    """

    backbone: ViT | None
    head: TokenHead | PoseTokenHead | DirectHead
    tokenizer: Tokenizer | None
    rotation_6d: str
    prompts: PromptEncoder | None = None
    choice: TokenChoice = _MIXTURE
    prior: TokenPrior | None = None
    prior_steps: int = 1

    def __post_init__(self):
        if self.backbone is None and self.prompts is None:
            raise ValueError('neither a backbone nor prompts: the network has nothing to read')
        tokens = not isinstance(self.head, DirectHead)
        if tokens != (self.tokenizer is not None):
            raise ValueError(
                f'a {type(self.head).__name__} with tokenizer={self.tokenizer!r}: expected a '
                'tokenizer for a head of tokens, and None for a DirectHead'
            )
        # The tokenizer speaks in rows.
        conventions = ('rows',) if tokens else ('rows', 'columns')
        if self.rotation_6d not in conventions:
            raise ValueError(
                f'rotation_6d={self.rotation_6d!r} with a {type(self.head).__name__}: '
                f'expected one of {conventions}'
            )

    @property
    def has_pose_tokens(self) -> bool:
        """Whether the tokens stand for the whole pose, as the tokenizer's encoder gives them."""
        return isinstance(self.head, PoseTokenHead)

    def init(self, rng: jax.Array, image: Num[Array, 'B S S 3']) -> dict:
        """Fresh parameters, {'backbone', 'prompts', 'head'}, of the networks that there are."""
        backbone_rng, head_rng = jax.random.split(rng)
        params, features = {}, []
        if self.backbone is not None:
            read, backbone = self.backbone.init_with_output(backbone_rng, pixels(image))
            params['backbone'] = backbone['params']
            features.append(read)
        if self.prompts is not None:
            empty = no_prompts(len(image))
            (read, _), prompts = self.prompts.init_with_output(jax.random.fold_in(rng, 2), empty)
            params['prompts'] = prompts['params']
            features.append(read)
        params['head'] = self.head.init(head_rng, jnp.concatenate(features, axis=1))['params']
        return params

    def apply(
        self,
        params: dict,
        frozen: FrozenWeights,
        image: Num[Array, 'B S W 3'] | None,
        train_rng: jax.Array | None = None,
        prompts: Prompts | None = None,
    ) -> Prediction:
        """The bodies in RGB images, uint8 or float of 0 to 255, or of prompts without an image.

        `frozen` gets no gradient. `train_rng` drives stochastic depth and the choice of codes; None
        outside training.
        Raises ValueError for a network that can read neither.
        """
        frozen = jax.lax.stop_gradient(frozen)
        features = self._read(params, image, prompts, train_rng)
        offset = self.head.apply({'params': params['head']}, *features)
        own_probs = None
        if self.tokenizer is None:
            token_logits, token_probs, pose = None, None, offset.pose
        else:
            choice_rng = None if train_rng is None else jax.random.fold_in(train_rng, 1)
            token_logits, token_probs = offset.logits, self.choice(offset.logits, choice_rng)
            if self.prior is not None and self.prior_steps > 1 and train_rng is None:
                own_probs, token_probs = token_probs, self._refined(frozen, token_logits)
            decoded = self._decode(frozen, self.mix_codes(frozen, token_probs))
            pose = jnp.concatenate([offset.global_orient, decoded, offset.hands], axis=-1)
        mean_pose = frozen.mean_pose
        if self.has_pose_tokens:
            mean_pose = mean_pose.at[_BODY].set(0)
        pose = mean_pose + pose.reshape(-1, skeleton.NUM_JOINTS, 6)
        rotation = rotations.rotation_6d_to_matrix(pose, self.rotation_6d)
        global_orient = rotation[:, 0]
        if self.prompts is not None and prompts is not None:
            # Predicted as a camera sees it that looks at the crop; turned to the picture's.
            back = jnp.swapaxes(ray_turn(prompts), -1, -2)
            global_orient = rotations.compose(back, global_orient)
        betas = frozen.mean_betas + offset.betas
        camera = frozen.mean_camera + offset.camera
        body = SmplParams(global_orient, rotation[:, 1:], betas)
        return Prediction(body, camera, token_logits, token_probs, own_probs)

    def pose_tokens(
        self, frozen: FrozenWeights, body_pose: Float[Array, 'B 21 3 3']
    ) -> Int32[Array, 'B T']:
        """The tokens that the frozen encoder gives to poses, without gradient."""
        frozen = jax.lax.stop_gradient(frozen)
        with jax.default_matmul_precision('highest'):
            variables = {'params': frozen.tokenizer}
            latents = self.tokenizer.apply(variables, body_pose, method='encode')
        return nearest_codes(frozen.codes, latents)

    def decode_codes(
        self, frozen: FrozenWeights, codes: Float[Array, 'B T C']
    ) -> Float[Array, 'B 21 3 3']:
        """The poses of tokens' codes, or of mixtures of them, as `apply` decodes them."""
        pose = self._decode(frozen, codes).reshape(len(codes), -1, 6)
        if not self.has_pose_tokens:
            pose = frozen.mean_pose[_BODY] + pose
        return rotations.rotation_6d_to_matrix(pose)

    def _read(
        self, params, image, prompts, train_rng
    ) -> tuple[Float[Array, 'B T C'], Bool[Array, 'B T'] | None]:
        """Features of what there is to read, and which of them are known; None for all."""
        parts = []
        if self.backbone is not None and image is not None:
            rngs = {} if train_rng is None else {'drop_path': train_rng}
            backbone = {'params': params['backbone']}
            features = self.backbone.apply(backbone, pixels(image), train=bool(rngs), rngs=rngs)
            if self.prompts is None:
                return features, None
            has_image = jnp.ones(len(image)) if prompts is None else prompts.has_image
            seen = jnp.broadcast_to(has_image[:, None] > 0, features.shape[:2])
            parts.append((features, seen))
            prompts = no_prompts(len(image)) if prompts is None else prompts
        if self.prompts is None or prompts is None:
            raise ValueError(
                'the network reads images alone, got none'
                if self.prompts is None
                else 'the network reads keypoints, got no prompts'
            )
        parts.append(self.prompts.apply({'params': params['prompts']}, prompts))
        features, known = zip(*parts, strict=True)
        return jnp.concatenate(features, axis=1), jnp.concatenate(known, axis=1)

    def predict_prior(self, frozen: FrozenWithPrior) -> Predict:
        """The prior, as a function of tokens and of which are known."""
        return lambda tokens, known: self.prior.apply({'params': frozen.prior}, tokens, known)

    def _refined(self, frozen: FrozenWithPrior, logits: Float[Array, 'B T K']) -> Array:
        log_probs = jax.nn.log_softmax(logits)
        refined = refine_log_probs(self.predict_prior(frozen), log_probs, self.prior_steps)
        return jnp.exp(refined)

    def mix_codes(
        self, frozen: FrozenWeights, token_probs: Float[Array, 'B T K']
    ) -> Float[Array, 'B T C']:
        """The tokens' expected codes."""
        exact = jax.lax.Precision.HIGHEST
        return jnp.einsum('btk,kc->btc', token_probs, frozen.codes, precision=exact)

    def _decode(self, frozen: FrozenWeights, codes: Float[Array, 'B T C']) -> Float[Array, 'B 126']:
        """21 joints, or their offsets, by stage 1's decoder."""
        variables = {'params': {'decoder': frozen.tokenizer['decoder']}}
        # Accelerators would round float32 products, and a released decoder's poses with them.
        with jax.default_matmul_precision('highest'):
            body = self.tokenizer.apply(variables, codes, method='decode')
        return body.reshape(len(body), -1)


def no_prompts(count: int) -> Prompts:
    """Prompts of persons of whom the image alone is known."""
    points = jnp.zeros((count, len(skeleton.KEYPOINTS), 3))
    return Prompts(points, jnp.zeros((count, 3)), jnp.zeros(count), jnp.ones(count))


def seen_width(crop_size: int) -> int:
    """Number of columns of a square crop that the backbone sees, around its middle."""
    return crop_size - 2 * (crop_size // 8)


def pixels(image: Num[Array, 'B H W C']) -> Float[Array, 'B H 3*H//4 3']:
    """The backbone's input: the middle three quarters of the columns, normalised.

    Raises ValueError unless the images (RGB, 0 to 255) are square, with a side that 8 divides, or
    hold these columns alone.
    """
    _, height, width, channels = image.shape
    seen = seen_width(height)
    if height % 8 or width not in (height, seen) or channels != 3:
        raise ValueError(
            f'images of shape {image.shape}: expected (B, S, S, 3) or (B, S, 3 S / 4, 3), S '
            'divisible by 8'
        )
    beside = (width - seen) // 2
    return normalize(image[:, :, beside : beside + seen])


def normalize(image: Num[Array, '*B 3']) -> Float[Array, '*B 3']:
    """RGB of 0 to 255 by ImageNet's mean and deviation, float32."""
    return (image.astype(jnp.float32) / 255 - _MEAN) / _STD


def load_mean(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Mean parameters of `smpl_mean_params.npz`, as fields of `FrozenWeights`.

    The pose is taken as it is, in whatever 6D convention, as the original does.
    Raises FileNotFoundError without the file, ValueError if it does not hold a mean body.
    """
    path = epath.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; expected smpl_mean_params.npz')
    try:
        with path.open('rb') as file, np.load(file, allow_pickle=False) as content:
            found = {key: content[key].astype(np.float32) for key in content.files}
    except Exception as error:  # zipfile, zlib and NumPy each have their own for a broken file
        raise ValueError(f'{path}: not a readable .npz file ({error})') from error
    for key, size in (('pose', 6 * skeleton.NUM_JOINTS), ('shape', 10), ('cam', 3)):
        if key not in found or found[key].size != size or not np.isfinite(found[key]).all():
            shape = found[key].shape if key in found else 'missing'
            raise ValueError(f'{path}: {key} is {shape}, expected {size} finite numbers')
    return {
        'mean_pose': found['pose'].reshape(-1, 6),
        'mean_betas': found['shape'].reshape(-1),
        'mean_camera': found['cam'].reshape(-1),
    }


def upright_mean() -> dict[str, np.ndarray]:
    """Mean parameters without a published file, as fields of `FrozenWeights`.

    SMPL's rest pose, upright and facing the camera: half a turn about x takes SMPL's axes (y up)
    to the camera's (y down). The scale lets a person of 1.8 m fill four fifths of the crop.
    """
    pose = np.tile(np.float32([1, 0, 0, 0, 1, 0]), (skeleton.NUM_JOINTS, 1))
    pose[0] = [1, 0, 0, 0, -1, 0]  # diag(1, -1, -1): the same by rows and by columns
    camera = np.float32([0.9, 0, 0])
    return {'mean_pose': pose, 'mean_betas': np.zeros(10, np.float32), 'mean_camera': camera}
