"""The data that flows through the project, as typed pytrees.

Axes: B examples, N persons, J joints, V vertices, T tokens, K codes, S the side of a crop, W its
columns: all, or the middle three quarters, which the network sees. The crop's and the image's
camera have parallel axes: x right, y down, z forward.
"""

from typing import Any

import jax
import numpy as np
from flax import struct
from jaxtyping import Float, Int, Int32, UInt8

# Functions of jitted code are also called with NumPy arrays.
Array = jax.Array | np.ndarray


@struct.dataclass
class SmplParams:
    """Pose, shape and place of bodies. J is 24 (SMPL) or 52 (SMPL-H).

    global_orient: root rotation, in the frame that the producer names.
    body_pose: rotations of the other joints relative to their parents.
    betas: shape coefficients; None for the mean shape.
    transl: metres, in the frame of `global_orient`; None for none.
    """

    global_orient: Float[Array, '*B 3 3']
    body_pose: Float[Array, '*B J-1 3 3']
    betas: Float[Array, '*B betas'] | None = None
    transl: Float[Array, '*B 3'] | None = None


@struct.dataclass
class BodyOutput:
    """A posed body, metres, in the frame of its parameters."""

    vertices: Float[Array, '*B V 3']
    joints: Float[Array, '*B J 3']


@struct.dataclass
class PoseBatch:
    """Input of the tokenizer. body_pose: axis-angle, radians, joints 1 to 21."""

    body_pose: Float[Array, 'B 21 3']


@struct.dataclass
class TokenProbes:
    """Answers of a tokenizer to small changes of poses and of tokens.

    turned: tokens of the poses with every joint turned, for each of some angles.
    mixed: poses of unsure tokens: mixtures of the codes near each latent.
    swapped: poses of the tokens with one of them replaced.
    """

    turned: Int32[Array, 'angles B T']
    mixed: Float[Array, 'B 21 3 3']
    swapped: Float[Array, 'B 21 3 3']


@struct.dataclass
class TokenizerOutput:
    """Poses through the tokenizer.

    tokens: pose tokens.
    body_pose: reconstructed rotations.
    body: the reconstructed bodies, mean shape, root at rest.
    probes: what the tokens' quality is measured by.
    """

    tokens: Int32[Array, 'B T']
    body_pose: Float[Array, 'B 21 3 3']
    body: BodyOutput
    probes: TokenProbes


@struct.dataclass
class Prompts:
    """Knowledge of a person beside the pixels. Each part may be absent.

    keypoints2d: x and y as fractions of the crop's side from its centre, confidence; 0 for absent
      ones.
    camera: place of the crop in its picture's camera, in focal lengths: centre of the crop, seen
      from the principal point, and side of the crop (CLIFF, Li et al., ECCV 2022).
    has_camera, has_image: 1 for known parts, else 0.
    """

    keypoints2d: Float[Array, 'B 44 3']
    camera: Float[Array, 'B 3']
    has_camera: Float[Array, ' B']
    has_image: Float[Array, ' B']


@struct.dataclass
class CropBatch:
    """Crops of persons and the labels of their records, as the host makes them.

    On the devices `data.crop_batches.image_batch` transforms the labels as the crops were.

    image: RGB.
    color: factors of the image's channels, applied on the device.
    center, side: the square that a crop shows, full-image px.
    center_rest: of the center, px, what is left out in float32.
    flip, rotation: of the content, in this order: 1 if mirrored, else 0; radians,
      counter-clockwise.
    keypoints2d: full-image px, confidence.
    keypoints3d: metres, axes of the full image's camera, any origin; confidence.
    global_orient: axis-angle, in the full image's camera.
    body_pose: axis-angle.
    gender, has_pose, has_betas, transl, source, seed: as in `ImageBatch`.
    principal_point: full-image px, of the labels' camera.
    image_size: width and height of the full image, px.
    picture_focal_length, picture_principal_point: full-image px, of the picture's camera; 0 if
      unknown.
    camera_source: as in `ImageBatch`.
    """

    image: UInt8[Array, 'B S W 3']
    color: Float[Array, 'B 3']
    center: Float[Array, 'B 2']
    center_rest: Float[Array, 'B 2']
    side: Float[Array, ' B']
    rotation: Float[Array, ' B']
    flip: Float[Array, ' B']
    keypoints2d: Float[Array, 'B 44 3']
    keypoints3d: Float[Array, 'B 44 4']
    global_orient: Float[Array, 'B 3']
    body_pose: Float[Array, 'B 23 3']
    betas: Float[Array, 'B 10']
    gender: Float[Array, ' B']
    has_pose: Float[Array, ' B']
    has_betas: Float[Array, ' B']
    transl: Float[Array, 'B 3']
    principal_point: Float[Array, 'B 2']
    image_size: Float[Array, 'B 2']
    picture_focal_length: Float[Array, ' B']
    picture_principal_point: Float[Array, 'B 2']
    camera_source: Float[Array, ' B']
    source: Int32[Array, ' B']
    seed: Int32[Array, ' B']


@struct.dataclass
class ImageBatch:
    """Crops of persons and their labels, input of the regressor.

    image: RGB; None for persons without a picture.
    color: factors of the image's channels, applied on the device.
    keypoints2d: x and y as fractions of the crop's side from its centre, confidence.
    keypoints3d: metres, axes of the crop's camera, any origin; confidence.
    global_orient: axis-angle, in the crop's camera.
    body_pose: axis-angle.
    gender: SMPL model of the labels: 0 neutral, 1 male, 2 female.
    has_pose, has_betas: 1 for trusted labels, else 0.
    source: position of the record's source among the config's.
    camera: as in `Prompts`; None if there is no picture.
    camera_source: where the picture's camera comes from, a position in `records.CAMERA_SOURCES`;
      None if there is no picture.
    transl: metres, in the picture's camera, before mirroring and turning; zeros if unknown, None if
      there is no picture.
    seed: of the record's own random numbers; None for none.
    prompts: given ones; None: they are made of the labels.
    """

    image: UInt8[Array, 'B S W 3'] | None
    color: Float[Array, 'B 3']
    keypoints2d: Float[Array, 'B 44 3']
    keypoints3d: Float[Array, 'B 44 4']
    global_orient: Float[Array, 'B 3']
    body_pose: Float[Array, 'B 23 3']
    betas: Float[Array, 'B 10']
    gender: Float[Array, ' B']
    has_pose: Float[Array, ' B']
    has_betas: Float[Array, ' B']
    source: Int32[Array, ' B']
    camera: Float[Array, 'B 3'] | None = None
    camera_source: Float[Array, ' B'] | None = None
    transl: Float[Array, 'B 3'] | None = None
    seed: Int32[Array, ' B'] | None = None
    prompts: Prompts | None = None


@struct.dataclass
class RegressorOutput:
    """A body per crop.

    params: 24 rotations and betas; global_orient as the crop's camera sees it, or in the picture's
      camera where the network reads the crop's place in it.
    camera: weak-perspective (s, tx, ty) of the crop.
    body: of `params`, without translation.
    keypoints3d: metres, of `body`.
    keypoints2d: projected, fractions of the crop's side from its centre.
    token_probs: of residual tokens, or of pose tokens; None for the direct head.
    own_token_probs: of pose tokens, the network's own, before a prior refined them; None if none
      did.
    argmax_body: of the likeliest pose tokens, as `body`; None where it is not asked for.
    """

    params: SmplParams
    camera: Float[Array, 'B 3']
    body: BodyOutput
    keypoints3d: Float[Array, 'B 44 3']
    keypoints2d: Float[Array, 'B 44 2']
    token_probs: Float[Array, 'B T K'] | None
    own_token_probs: Float[Array, 'B T K'] | None = None
    argmax_body: BodyOutput | None = None


@struct.dataclass
class BodySamples:
    """S bodies of each person, drawn from the distribution of the pose's tokens.

    They have the person's own orientation, shape, hands and translation.

    body_pose: rotations of joints 1 to 23.
    joints: metres, as those of `ImagePrediction`.
    spread_mm: radius around the mean of a joint's samples that four in five of them stay within.
    """

    body_pose: Float[np.ndarray, 'N S 23 3 3']
    joints: Float[np.ndarray, 'N S 24 3']
    spread_mm: Float[np.ndarray, 'N 24']


@struct.dataclass
class ImagePrediction:
    """Bodies of N boxes in images, as NumPy arrays.

    params: in the axes of the image's camera.
    vertices, joints, keypoints3d: metres, those axes, the body's own origin; plus `translation`
      they are in the image's camera, on `keypoints2d` as nearly as can be.
    keypoints2d: pixels of the image, where the network sees them.
    crop_camera: weak-perspective (s, tx, ty) of the crop.
    crop_translation: metres, the origin in the crop's camera of the body as `predict_crops` has it.
    crop_center, crop_side: pixels of the image, the square that the network saw.
    translation: metres, the body's origin in the image's camera.
    focal_length, principal_point: pixels, the image's camera.
    residual_token_probs: of the *residual* tokens, an offset from the mean body: not the pose
      tokens of `load_tokenizer`. None for a head without them.
    pose_token_probs: of the pose tokens, whose mixtures of codes `params` were decoded from. None
      for a head without them.
    own_token_probs: of the pose tokens, the network's own, before a prior refined them; None if
      none did.
    samples: bodies drawn from the distribution of the tokens; None if none were asked for.
    """

    params: SmplParams
    vertices: Float[np.ndarray, 'N 6890 3']
    joints: Float[np.ndarray, 'N 24 3']
    keypoints3d: Float[np.ndarray, 'N 44 3']
    keypoints2d: Float[np.ndarray, 'N 44 2']
    crop_camera: Float[np.ndarray, 'N 3']
    crop_translation: Float[np.ndarray, 'N 3']
    crop_center: Float[np.ndarray, 'N 2']
    crop_side: Float[np.ndarray, ' N']
    translation: Float[np.ndarray, 'N 3']
    focal_length: Float[np.ndarray, ' N']
    principal_point: Float[np.ndarray, 'N 2']
    residual_token_probs: Float[np.ndarray, 'N T K'] | None
    pose_token_probs: Float[np.ndarray, 'N T K'] | None
    own_token_probs: Float[np.ndarray, 'N T K'] | None
    samples: 'BodySamples | None'

    @property
    def tokens(self) -> 'PoseTokens | None':
        """The likeliest pose tokens, as a pose's tokens of `PoseTokenizer.encode`."""
        if self.pose_token_probs is None:
            return None
        return PoseTokens(np.argmax(self.pose_token_probs, axis=-1).astype(np.int32))

    @property
    def camera_samples(self) -> Float[np.ndarray, 'N S 24 3'] | None:
        """The samples' joints in the image's camera, metres."""
        if self.samples is None:
            return None
        return self.samples.joints + self.translation[:, None, None]


@struct.dataclass
class PoseTokens:
    """Stage 1's tokens of poses, as `PoseTokenizer.encode` gives them, or a head of pose tokens.

    A type of its own, so that nothing else is decoded as a pose: the regressor's residual tokens
    stand for offsets from its mean body.
    """

    indices: Int[np.ndarray, 'N T']


@struct.dataclass
class TrainState:
    """All that training changes, and needs to go on.

    step: steps done.
    params: moved by the gradient.
    state: kept beside them: the tokenizer's codebook, which each step moves, or the regressor's
      `FrozenWeights`, which none does.
    opt_state: the optimizer's.
    """

    step: Int32[Array, '']
    params: Any
    state: Any
    opt_state: Any
