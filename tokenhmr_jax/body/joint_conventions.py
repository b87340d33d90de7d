"""Joints of bodies in the conventions of SMPL, OpenPose, COCO and Human3.6M.

    select('coco17', prediction.joints, prediction.keypoints3d)  # (N, 17, 3)

Each joint is one of SMPL's 24 joints or of the 44 keypoints. SMPL's 24 and OpenPose's 25 are as the
body has them. COCO's limbs are SMPL's joints, as OpenPose's are. Human3.6M's own regressor is
licensed and not here: its joints are those of the 44 which stand for them in published evaluations,
LSP's limbs and neck, MPII's pelvis, and Human3.6M's spine, jaw and head.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tokenhmr_jax.body import keypoint_conventions, skeleton

_H36M_17 = {
    'pelvis': 'MPII Pelvis',
    'right_hip': 'LSP RHip', 'right_knee': 'LSP RKnee', 'right_ankle': 'LSP RAnkle',
    'left_hip': 'LSP LHip', 'left_knee': 'LSP LKnee', 'left_ankle': 'LSP LAnkle',
    'spine': 'H36M Spine', 'thorax': 'LSP Neck', 'jaw': 'H36M Jaw', 'head': 'H36M Head',
    'left_shoulder': 'LSP LShoulder', 'left_elbow': 'LSP LElbow', 'left_wrist': 'LSP LWrist',
    'right_shoulder': 'LSP RShoulder', 'right_elbow': 'LSP RElbow', 'right_wrist': 'LSP RWrist',
}  # fmt: skip


class Convention(NamedTuple):
    """Names of K joints, and the points of the body that they are.

    sources: names in `skeleton.JOINTS` or `skeleton.KEYPOINTS`.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def index(self) -> np.ndarray:
        """Positions (K,) of the sources in the list "24 joints, then 44 keypoints"."""
        points = skeleton.JOINTS + skeleton.KEYPOINTS
        return np.array([points.index(source) for source in self.sources])


def _of_keypoints(names: tuple[str, ...]) -> Convention:
    return Convention(names, tuple(keypoint_conventions.KEYPOINT_OF[name] for name in names))


CONVENTIONS = {
    'smpl24': Convention(skeleton.JOINTS, skeleton.JOINTS),
    'openpose25': _of_keypoints(keypoint_conventions.OPENPOSE_BODY_25),
    'coco17': _of_keypoints(keypoint_conventions.COCO),
    'h36m17': Convention(tuple(_H36M_17), tuple(_H36M_17.values())),
}


def select(
    convention: str, joints: Float[np.ndarray, '*B 24 D'], keypoints: Float[np.ndarray, '*B 44 D']
) -> Float[np.ndarray, '*B K D']:
    """The joints of a convention, in 3D or 2D as those given.

    `CONVENTIONS[convention].names` are theirs. Raises ValueError for an unknown convention.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f'joints {convention!r}: expected one of {", ".join(CONVENTIONS)}')
    points = np.concatenate([joints, keypoints], axis=-2)
    return points[..., CONVENTIONS[convention].index, :]
