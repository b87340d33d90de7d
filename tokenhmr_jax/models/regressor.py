"""From an image to a body's pose, shape and camera (TokenHMR, section 3.3)."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import struct

from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.models.token_head import DirectHead, TokenHead, TokenReadout
from tokenhmr_jax.models.tokenizer import Tokenizer
from tokenhmr_jax.models.vit import ViT
from tokenhmr_jax.types import SmplParams

# ImageNet's mean and standard deviation of RGB in [0, 1].
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)


@struct.dataclass
class FrozenWeights:
    """What the regressor reads and training never changes.

    mean_pose: (24, 6) that predicted poses are offsets from, in the regressor's 6D convention.
    mean_betas: (10,).
    mean_camera: (3,) weak-perspective (s, tx, ty).
    tokenizer: stage 1 parameters, {'encoder', 'decoder'}; None for a direct head. Only the decoder
      is read here; the encoder is kept so that a checkpoint holds stage 1 whole.
    codes: (K, C) stage 1 codebook; None for a direct head.
    """

    mean_pose: jax.Array
    mean_betas: jax.Array
    mean_camera: jax.Array
    tokenizer: dict | None = None
    codes: jax.Array | None = None


@struct.dataclass
class Prediction:
    """Bodies as the network sees them.

    params: global_orient (B, 3, 3) in the crop's camera, body_pose (B, 23, 3, 3), betas (B, 10).
    camera: (B, 3) weak-perspective (s, tx, ty) of the crop.
    token_probs: (B, T, K) of the residual tokens, or None for a direct head.
    """

    params: SmplParams
    camera: jax.Array
    token_probs: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Regressor:
    """The networks of stage 2 and how data flows through them.

    backbone: images to features.
    head: features to offsets from the mean body.
    tokenizer: stage 1's network, whose frozen decoder reads the tokens; None for a direct head.
    rotation_6d: 'rows', TokenHMR's convention, or 'columns', HMR2.0's.

    Raises:
      ValueError: if these do not go together.
    """

    backbone: ViT
    head: TokenHead | DirectHead
    tokenizer: Tokenizer | None
    rotation_6d: str

    def __post_init__(self):
        tokens = isinstance(self.head, TokenHead)
        if tokens != (self.tokenizer is not None):
            raise ValueError(
                f'a {type(self.head).__name__} with tokenizer={self.tokenizer!r}: expected a '
                'tokenizer for a TokenHead, and None for a DirectHead'
            )
        # The tokenizer speaks in rows.
        conventions = ('rows',) if tokens else ('rows', 'columns')
        if self.rotation_6d not in conventions:
            raise ValueError(
                f'rotation_6d={self.rotation_6d!r} with a {type(self.head).__name__}: '
                f'expected one of {conventions}'
            )

    def init(self, rng: jax.Array, image: jax.Array) -> dict:
        """Fresh parameters, {'backbone', 'head'}, for images (B, S, S, 3)."""
        backbone_rng, head_rng = jax.random.split(rng)
        features, backbone = self.backbone.init_with_output(backbone_rng, pixels(image))
        head = self.head.init(head_rng, features)
        return {'backbone': backbone['params'], 'head': head['params']}

    def apply(
        self,
        params: dict,
        frozen: FrozenWeights,
        image: jax.Array,
        train_rng: jax.Array | None = None,
    ) -> Prediction:
        """The bodies in images (B, S, S, 3), RGB, uint8 or float of 0 to 255.

        Args:
          params: of `init`.
          frozen: gets no gradient.
          train_rng: drives stochastic depth; None, outside training, for none.
        """
        frozen = jax.lax.stop_gradient(frozen)
        features = self._features(params, pixels(image), train_rng)
        readout = self.head.apply({'params': params['head']}, features)
        token_probs = None
        if isinstance(readout, TokenReadout):
            token_probs = jax.nn.softmax(readout.logits)
            body = self._decode(frozen, token_probs)
            offset = jnp.concatenate([readout.global_orient, body, readout.hands], axis=-1)
        else:
            offset = readout.pose
        pose = frozen.mean_pose + offset.reshape(-1, skeleton.NUM_JOINTS, 6)
        rotation = rotations.rotation_6d_to_matrix(pose, self.rotation_6d)
        betas = frozen.mean_betas + readout.betas
        camera = frozen.mean_camera + readout.camera
        return Prediction(SmplParams(rotation[:, 0], rotation[:, 1:], betas), camera, token_probs)

    def _features(self, params: dict, image: jax.Array, rng: jax.Array | None) -> jax.Array:
        rngs = None if rng is None else {'drop_path': rng}
        variables = {'params': params['backbone']}
        return self.backbone.apply(variables, image, train=rng is not None, rngs=rngs)

    def _decode(self, frozen: FrozenWeights, token_probs: jax.Array) -> jax.Array:
        """Expected codes (B, T, C) of the tokens, decoded to 21 joints' offsets (B, 126)."""
        exact = jax.lax.Precision.HIGHEST
        codes = jnp.einsum('btk,kc->btc', token_probs, frozen.codes, precision=exact)
        variables = {'params': {'decoder': frozen.tokenizer['decoder']}}
        # Accelerators would round float32 products, and a released decoder's poses with them.
        with jax.default_matmul_precision('highest'):
            body = self.tokenizer.apply(variables, codes, method='decode')
        return body.reshape(len(body), -1)


def pixels(image: jax.Array) -> jax.Array:
    """What the backbone sees of square images (B, S, S, 3), values 0 to 255: (B, S, 3S/4, 3).

    The middle three quarters of the columns, normalised by ImageNet's mean and deviation.

    Raises:
      ValueError: if the images are not square, of a side that 8 divides.
    """
    _, height, width, channels = image.shape
    if height != width or width % 8 or channels != 3:
        raise ValueError(
            f'images of shape {image.shape}: expected (B, S, S, 3) with S a multiple of 8'
        )
    middle = image[:, :, width // 8 : width - width // 8]
    return normalize(middle)


def normalize(image: jax.Array) -> jax.Array:
    """Images (..., 3), RGB of 0 to 255, by ImageNet's mean and deviation, float32."""
    return (image.astype(jnp.float32) / 255 - _MEAN) / _STD


def load_mean(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Mean parameters of `smpl_mean_params.npz`, as fields of `FrozenWeights`.

    The pose's numbers are taken as they are, in whatever 6D convention, as the original does: they
    are only what the network's output is an offset from.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not readable, or its arrays are not a mean body's.
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
    """Mean parameters where no published ones are given, as fields of `FrozenWeights`.

    SMPL's rest pose, upright and facing the camera: half a turn about x takes SMPL's axes (y up)
    to the camera's (y down). The scale lets a person of 1.8 m fill four fifths of the crop.
    """
    pose = np.tile(np.float32([1, 0, 0, 0, 1, 0]), (skeleton.NUM_JOINTS, 1))
    # diag(1, -1, -1): the same by rows and by columns.
    pose[0] = [1, 0, 0, 0, -1, 0]
    return {
        'mean_pose': pose,
        'mean_betas': np.zeros(10, np.float32),
        'mean_camera': np.float32([0.9, 0, 0]),
    }
