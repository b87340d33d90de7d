"""The data that flows through the project, as typed pytrees."""

from typing import Any

import jax
import numpy as np
from flax import struct

# Of either library: what runs inside jit is also called with plain arrays.
Array = jax.Array | np.ndarray


@struct.dataclass
class SmplParams:
    """Pose, shape and place of bodies. Leading axes are free; J is 24 (SMPL) or 52 (SMPL-H).

    global_orient: (..., 3, 3) root rotation, in the frame that the producer names.
    body_pose: (..., J - 1, 3, 3) rotations of the other joints relative to their parents.
    betas: (..., S) shape coefficients, or None for the mean shape.
    transl: (..., 3) metres, in the frame of `global_orient`, or None for none.
    """

    global_orient: jax.Array
    body_pose: jax.Array
    betas: jax.Array | None = None
    transl: jax.Array | None = None


@struct.dataclass
class BodyOutput:
    """A posed body: vertices (..., V, 3), joints (..., J, 3), metres, in the parameters' frame."""

    vertices: jax.Array
    joints: jax.Array


@struct.dataclass
class PoseBatch:
    """What the tokenizer trains on. body_pose: (B, 21, 3) axis-angle, radians, joints 1 to 21."""

    body_pose: jax.Array


@struct.dataclass
class TokenizerOutput:
    """Poses through the tokenizer.

    tokens: (B, T) int32 pose tokens.
    body_pose: (B, 21, 3, 3) reconstructed rotations.
    body: the reconstructed bodies, mean shape, root at rest.
    """

    tokens: jax.Array
    body_pose: jax.Array
    body: BodyOutput


@struct.dataclass
class ImageBatch:
    """What the regressor trains on: crops of persons and their labels.

    image: (B, S, S, 3) uint8, RGB.
    color: (B, 3) factors of the image's channels, applied on the device.
    keypoints2d: (B, 44, 3) x and y as fractions of the crop's side from its centre, confidence.
    keypoints3d: (B, 44, 4) metres, axes of the crop's camera, any origin; confidence.
    global_orient: (B, 3) axis-angle, in the crop's camera.
    body_pose: (B, 23, 3) axis-angle.
    betas: (B, 10).
    gender: (B,) float32, which SMPL model the labels are of: 0 neutral, 1 male, 2 female.
    has_pose, has_betas: (B,) float32, 1 where the labels are to be trusted.
    source: (B,) int32, position of the record's source among the config's.
    """

    image: jax.Array
    color: jax.Array
    keypoints2d: jax.Array
    keypoints3d: jax.Array
    global_orient: jax.Array
    body_pose: jax.Array
    betas: jax.Array
    gender: jax.Array
    has_pose: jax.Array
    has_betas: jax.Array
    source: jax.Array


@struct.dataclass
class RegressorOutput:
    """A body per crop.

    params: 24 rotations and betas; global_orient as the crop's camera sees it.
    camera: (B, 3) weak-perspective (s, tx, ty) of the crop.
    body: vertices and joints of `params`, without translation.
    keypoints3d: (B, 44, 3) metres, of `body`.
    keypoints2d: (B, 44, 2) projected, fractions of the crop's side from its centre.
    token_probs: (B, T, K) of the residual tokens, or None for the direct head.
    """

    params: SmplParams
    camera: jax.Array
    body: BodyOutput
    keypoints3d: jax.Array
    keypoints2d: jax.Array
    token_probs: jax.Array | None


@struct.dataclass
class ImagePrediction:
    """Bodies of N boxes in images, as NumPy arrays.

    The crop's and the image's camera have parallel axes (x right, y down, z forward).

    params: global_orient (N, 3, 3) in those axes, body_pose (N, 23, 3, 3), betas (N, 10).
    vertices: (N, 6890, 3) metres, those axes, the body's own origin; plus `translation` they are
      where the image's camera sees them.
    joints: (N, 24, 3), likewise.
    keypoints3d: (N, 44, 3), likewise.
    keypoints2d: (N, 44, 2) pixels of the image.
    crop_camera: (N, 3) weak-perspective (s, tx, ty) of the crop.
    crop_translation: (N, 3) metres, the body's origin in the crop's camera.
    crop_center, crop_side: (N, 2) and (N,) pixels of the image, the square that the network saw.
    translation: (N, 3) metres, the body's origin in the image's camera.
    focal_length, principal_point: (N,) and (N, 2) pixels, the image's camera.
    residual_token_probs: (N, T, K) of the *residual* tokens, an offset from the mean body: not the
      pose tokens of `load_tokenizer`. None for a head without tokens.
    """

    params: SmplParams
    vertices: np.ndarray
    joints: np.ndarray
    keypoints3d: np.ndarray
    keypoints2d: np.ndarray
    crop_camera: np.ndarray
    crop_translation: np.ndarray
    crop_center: np.ndarray
    crop_side: np.ndarray
    translation: np.ndarray
    focal_length: np.ndarray
    principal_point: np.ndarray
    residual_token_probs: np.ndarray | None


@struct.dataclass
class PoseTokens:
    """Stage 1's tokens of poses, what `PoseTokenizer.encode` gives: indices (N, T) int32.

    A type of their own, so that nothing else is decoded as a pose: the regressor's residual tokens
    stand for offsets from its mean body.
    """

    indices: np.ndarray


@struct.dataclass
class TrainState:
    """What training changes, and what it needs to go on.

    step: () int32, steps done.
    params: what the gradient trains.
    state: what is kept beside them: the tokenizer's codebook, which each step moves, or the
      regressor's `FrozenWeights`, which none does.
    opt_state: the optimizer's.
    """

    step: jax.Array
    params: Any
    state: Any
    opt_state: Any
