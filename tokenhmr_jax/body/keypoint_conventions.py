"""2D keypoints as detectors name and order them, and their places among the 44 keypoints.

A convention without neck or mid-hip leaves them absent: the middle of two shoulders is another
point.
"""

import numpy as np
from jaxtyping import Float

from tokenhmr_jax.body import skeleton

COCO = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder',
    'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee',
    'right_knee', 'left_ankle', 'right_ankle',
)  # fmt: skip
_LEFT_FOOT = ('left_big_toe', 'left_small_toe', 'left_heel')
_RIGHT_FOOT = ('right_big_toe', 'right_small_toe', 'right_heel')
# COCO-WholeBody without face and hands.
COCO_FEET = COCO + _LEFT_FOOT + _RIGHT_FOOT
HALPE = (
    *COCO, 'head_top', 'neck', 'mid_hip', 'left_big_toe', 'right_big_toe', 'left_small_toe',
    'right_small_toe', 'left_heel', 'right_heel',
)  # fmt: skip
_OPENPOSE_UPPER = (
    'nose', 'neck', 'right_shoulder', 'right_elbow', 'right_wrist', 'left_shoulder', 'left_elbow',
    'left_wrist',
)  # fmt: skip
_OPENPOSE_LEGS = (
    'right_hip', 'right_knee', 'right_ankle', 'left_hip', 'left_knee', 'left_ankle',
)  # fmt: skip
_OPENPOSE_HEAD = ('right_eye', 'left_eye', 'right_ear', 'left_ear')
OPENPOSE_COCO = _OPENPOSE_UPPER + _OPENPOSE_LEGS + _OPENPOSE_HEAD
OPENPOSE_BODY_25 = (
    *_OPENPOSE_UPPER, 'mid_hip', *_OPENPOSE_LEGS, *_OPENPOSE_HEAD, *_LEFT_FOOT, *_RIGHT_FOOT,
)  # fmt: skip
BLAZEPOSE = (
    'nose', 'left_eye_inner', 'left_eye', 'left_eye_outer', 'right_eye_inner', 'right_eye',
    'right_eye_outer', 'left_ear', 'right_ear', 'mouth_left', 'mouth_right', 'left_shoulder',
    'right_shoulder', 'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_pinky',
    'right_pinky', 'left_index', 'right_index', 'left_thumb', 'right_thumb', 'left_hip',
    'right_hip', 'left_knee', 'right_knee', 'left_ankle', 'right_ankle', 'left_heel', 'right_heel',
    'left_foot_index', 'right_foot_index',
)  # fmt: skip

# Their lengths differ: a file's number of points tells its convention.
CONVENTIONS = {
    'coco': COCO,
    'openpose_coco': OPENPOSE_COCO,
    'coco_feet': COCO_FEET,
    'openpose_body_25': OPENPOSE_BODY_25,
    'halpe': HALPE,
    'blazepose': BLAZEPOSE,
}

# Each physical point fills one keypoint: the LSP twins of OpenPose's points stay absent.
KEYPOINT_OF = dict(zip(OPENPOSE_BODY_25, skeleton.OPENPOSE, strict=True)) | {
    'head_top': 'LSP Head Top',
    'left_foot_index': 'OP LBigToe',
    'right_foot_index': 'OP RBigToe',
}


def _places(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the points that are kept, and their positions among the 44."""
    kept = [i for i, name in enumerate(names) if name in KEYPOINT_OF]
    return np.array(kept), np.array([skeleton.KEYPOINTS.index(KEYPOINT_OF[names[i]]) for i in kept])


_PLACES = {name: _places(names) for name, names in CONVENTIONS.items()}

# By convention, which of the 44 keypoints it can give, (44,).
GIVEN = {
    name: np.isin(np.arange(len(skeleton.KEYPOINTS)), target)
    for name, (_, target) in _PLACES.items()
}


def convention_of(count: int) -> str:
    """The convention with so many points. Raises ValueError if there is none."""
    for name, names in CONVENTIONS.items():
        if len(names) == count:
            return name
    known = ', '.join(f'{len(names)} ({name})' for name, names in CONVENTIONS.items())
    raise ValueError(f'{count} keypoints in a person: expected {known}')


def to_44(points: Float[np.ndarray, '*B K 3'], convention: str) -> Float[np.ndarray, '*B 44 3']:
    """The 44 keypoints of a convention's points: x, y, confidence; absent ones are zero.

    Raises ValueError for an unknown convention, or another number of points than it has.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f'keypoints {convention!r}: expected one of {", ".join(CONVENTIONS)}')
    expected = len(CONVENTIONS[convention])
    if points.shape[-2] != expected:
        raise ValueError(f'{points.shape[-2]} keypoints: {convention} has {expected}')
    kept, target = _PLACES[convention]
    out = np.zeros((*points.shape[:-2], len(skeleton.KEYPOINTS), 3), points.dtype)
    out[..., target, :] = points[..., kept, :]
    return out
