"""Names, parents and left-right twins of SMPL's joints and of the 44 keypoints.

The 44 keypoints are OpenPose's 25 (taken from SMPL's joints and from 21 landmark vertices) followed
by 19 that a linear regressor reads off the mesh (LSP, MPII and Human3.6M conventions).
"""

import numpy as np

JOINTS = (
    'pelvis', 'left_hip', 'right_hip', 'spine1', 'left_knee', 'right_knee', 'spine2',
    'left_ankle', 'right_ankle', 'spine3', 'left_foot', 'right_foot', 'neck', 'left_collar',
    'right_collar', 'head', 'left_shoulder', 'right_shoulder', 'left_elbow', 'right_elbow',
    'left_wrist', 'right_wrist', 'left_hand', 'right_hand',
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
NUM_JOINTS = len(JOINTS)
NUM_VERTICES = 6890

# The tokenizer's joints: all but the root and, at the end, the two hands.
BODY_JOINTS = JOINTS[1:22]
NUM_BODY_JOINTS = len(BODY_JOINTS)

OPENPOSE = (
    'OP Nose', 'OP Neck', 'OP RShoulder', 'OP RElbow', 'OP RWrist', 'OP LShoulder', 'OP LElbow',
    'OP LWrist', 'OP MidHip', 'OP RHip', 'OP RKnee', 'OP RAnkle', 'OP LHip', 'OP LKnee',
    'OP LAnkle', 'OP REye', 'OP LEye', 'OP REar', 'OP LEar', 'OP LBigToe', 'OP LSmallToe',
    'OP LHeel', 'OP RBigToe', 'OP RSmallToe', 'OP RHeel',
)  # fmt: skip
EXTRA = (
    'LSP RAnkle', 'LSP RKnee', 'LSP RHip', 'LSP LHip', 'LSP LKnee', 'LSP LAnkle', 'LSP RWrist',
    'LSP RElbow', 'LSP RShoulder', 'LSP LShoulder', 'LSP LElbow', 'LSP LWrist', 'LSP Neck',
    'LSP Head Top', 'MPII Pelvis', 'MPII Thorax', 'H36M Spine', 'H36M Jaw', 'H36M Head',
)  # fmt: skip
KEYPOINTS = OPENPOSE + EXTRA

# Landmarks of the skin, by SMPL's vertex index.
LANDMARKS = {
    'nose': 332, 'right_eye': 6260, 'left_eye': 2800, 'right_ear': 4071, 'left_ear': 583,
    'left_big_toe': 3216, 'left_small_toe': 3226, 'left_heel': 3387,
    'right_big_toe': 6617, 'right_small_toe': 6624, 'right_heel': 6787,
    'left_thumb': 2746, 'left_index': 2319, 'left_middle': 2445, 'left_ring': 2556,
    'left_pinky': 2673, 'right_thumb': 6191, 'right_index': 5782, 'right_middle': 5905,
    'right_ring': 6016, 'right_pinky': 6133,
}  # fmt: skip
LANDMARK_VERTICES = np.array(list(LANDMARKS.values()))

# Position of each OpenPose keypoint in the list "24 joints, then 21 landmarks".
OPENPOSE_SOURCE = np.array([
    24, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34,
])  # fmt: skip


def _twins(names: tuple[str, ...], left: str, right: str) -> np.ndarray:
    """For each name the index of its mirror image: the name with left and right exchanged."""

    def twin(name):
        if left in name:
            return name.replace(left, right)
        return name.replace(right, left)

    return np.array([names.index(twin(n)) if twin(n) in names else i for i, n in enumerate(names)])


JOINT_TWINS = _twins(JOINTS, 'left_', 'right_')
BODY_JOINT_TWINS = _twins(BODY_JOINTS, 'left_', 'right_')
KEYPOINT_TWINS = _twins(KEYPOINTS, ' L', ' R')

# The keypoint that bodies are centred on where their absolute place must not count.
PELVIS = KEYPOINTS.index('MPII Pelvis')
