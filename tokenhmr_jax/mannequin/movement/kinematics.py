"""A posed stick figure with human joint limits and two-bone inverse kinematics, in NumPy.

Frame: SMPL's (metres, y up, facing +z, left is +x, T-pose at rest). N counts frames. A joint's
rotation is a *swing* of its bone after a *twist* about the bone's rest axis: R = swing * twist.
Both are one vector of three angles (radians): the component along the bone's axis is the twist, the
two others are the swing's rotation vector. A right joint's angles are those of its mirror image.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton

# Joint positions relative to the parent: an adult of 1.70 m, limbs straight along an axis. Left and
# middle; the right side is the mirror image.
_OFFSETS = {
    'pelvis': (0, 0, 0), 'hip': (0.088, -0.055, 0), 'knee': (0.01, -0.41, 0),
    'ankle': (0.005, -0.40, 0), 'foot': (0.01, -0.06, 0.125),
    'spine1': (0, 0.09, -0.015), 'spine2': (0, 0.10, 0), 'spine3': (0, 0.10, 0),
    'neck': (0, 0.19, -0.01), 'head': (0, 0.085, 0.02),
    'collar': (0.06, 0.135, -0.005), 'shoulder': (0.11, 0.01, -0.005), 'elbow': (0.26, 0, 0),
    'wrist': (0.25, 0, 0), 'hand': (0.09, 0, 0),
}  # fmt: skip

# Lowest and highest angle about x, y and z in degrees, left side and middle. From tables of the
# range of motion (American Academy of Orthopaedic Surgeons, 1965), rounded; the spine's total is
# shared among its joints, and the hip's twist is wide enough to sit cross-legged. Bending the hip,
# raising the toes and tipping the head back are negative x; bending the knee and the spine are
# positive x; the elbow bends by negative y; arms go up by positive z.
_LIMITS = {
    'hip': ((-125, 30), (-45, 90), (-30, 70)),
    'knee': ((-3, 150), (-12, 12), (-4, 4)),
    'ankle': ((-35, 55), (-20, 20), (-25, 25)),
    'foot': ((-60, 25), (-4, 4), (-4, 4)),
    'spine1': ((-20, 40), (-15, 15), (-18, 18)),
    'spine2': ((-15, 35), (-20, 20), (-15, 15)),
    'spine3': ((-15, 30), (-20, 20), (-12, 12)),
    'neck': ((-35, 35), (-40, 40), (-25, 25)),
    'head': ((-25, 25), (-35, 35), (-18, 18)),
    'collar': ((-8, 8), (-22, 15), (-8, 28)),
    'shoulder': ((-90, 80), (-125, 50), (-95, 105)),
    'elbow': ((-75, 75), (-148, 3), (-4, 4)),
    'wrist': ((-25, 25), (-20, 28), (-65, 65)),
}
MIRROR = np.array([1.0, -1.0, -1.0])  # of rotation vectors, across the plane x = 0
PAIR = np.array([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])  # of vectors, left and right

# Radius of the body around each of the 24 joints (metres); keeps it above the ground.
FLESH = np.array([
    0.10, 0.09, 0.09, 0.10, 0.055, 0.055, 0.11, 0.085, 0.085, 0.11, 0.025, 0.025,
    0.07, 0.07, 0.07, 0.10, 0.06, 0.06, 0.045, 0.045, 0.035, 0.035, 0.025, 0.025,
])  # fmt: skip

# Joints that are posed together; each group has one axis of twist.
GROUPS = {
    'spine': (3, 6, 9), 'neck': (12, 15), 'hip': (1, 2), 'knee': (4, 5), 'ankle': (7, 8),
    'foot': (10, 11), 'collar': (13, 14), 'shoulder': (16, 17), 'elbow': (18, 19),
    'wrist': (20, 21),
}  # fmt: skip
BothSides = Float[np.ndarray, 'N 2 3']  # wrists, ankles or poles, left first
_ARM = ('collar', 'shoulder', 'elbow', 'wrist')


_PARTS = [name.removeprefix('left_').removeprefix('right_') for name in skeleton.JOINTS]
_IS_RIGHT = np.array([name.startswith('right_') for name in skeleton.JOINTS])
OFFSETS = np.array([_OFFSETS[part] for part in _PARTS])  # (24, 3) metres
OFFSETS[_IS_RIGHT, 0] *= -1
# (22, 3, 2) radians: lowest and highest angle of each joint about x, y, z; right joints as left.
LIMITS = np.radians([((0, 0),) * 3] + [_LIMITS[part] for part in _PARTS[1:22]])
_SIGN = np.where(_IS_RIGHT[:22, None], MIRROR, 1.0)
UPPER_ARM, FOREARM, THIGH, SHANK = (np.linalg.norm(OFFSETS[joint]) for joint in (18, 20, 4, 7))


def twist_axis(group: str) -> int:
    """The axis (0, 1, 2) along the bones of a group at rest: x for the arm, y for all else."""
    return 0 if group in _ARM else 1


def mirror_body(body_pose: Float[np.ndarray, 'N 21 3']) -> Float[np.ndarray, 'N 21 3']:
    """The mirror image of rotation vectors: left and right trade places."""
    return body_pose[:, skeleton.BODY_JOINT_TWINS] * MIRROR.astype(body_pose.dtype)


def to_matrix(vector: Float[np.ndarray, '*N 3']) -> Float[np.ndarray, '*N 3 3']:
    """Rotation vectors to matrices."""
    half = 0.5 * np.linalg.norm(vector, axis=-1, keepdims=True)
    return quaternion_to_matrix(np.concatenate([np.cos(half), 0.5 * sinc(half) * vector], -1))


def sinc(x: Float[np.ndarray, '*N']) -> Float[np.ndarray, '*N']:
    """sin(x) / x, which is 1 at 0."""
    return np.sin(x) / np.where(x == 0, 1, x) + (x == 0)


def rotation_about_y(angle: Float[np.ndarray, '*N']) -> Float[np.ndarray, '*N 3 3']:
    """Matrices of rotations about the vertical, by radians."""
    return to_matrix(np.stack([np.zeros_like(angle), angle, np.zeros_like(angle)], -1))


def quaternion_to_matrix(quaternion: Float[np.ndarray, '*N 4']) -> Float[np.ndarray, '*N 3 3']:
    """Quaternions, w first, to matrices."""
    w, x, y, z = (np.array(quaternion[..., i]) for i in range(4))
    x2, y2, z2 = 2 * x, 2 * y, 2 * z
    wx, wy, wz, xx, xy, xz = w * x2, w * y2, w * z2, x * x2, x * y2, x * z2
    yy, yz, zz = y * y2, y * z2, z * z2
    matrix = np.empty((*w.shape, 9))
    entries = (
        1 - yy - zz, xy - wz, xz + wy, xy + wz, 1 - xx - zz, yz - wx, xz - wy, yz + wx, 1 - xx - yy,
    )  # fmt: skip
    for i, entry in enumerate(entries):
        matrix[..., i] = entry
    return matrix.reshape(*w.shape, 3, 3)


def quaternion_to_vector(quaternion: Float[np.ndarray, '*N 4']) -> Float[np.ndarray, '*N 3']:
    """Quaternions, w first, to rotation vectors with angles in [0, pi]."""
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * np.where(sine < 1e-8, 2, angle / np.maximum(sine, 1e-8))


def matrix_to_vector(matrix: Float[np.ndarray, 'N 3 3']) -> Float[np.ndarray, 'N 3']:
    """Matrices to rotation vectors with angles in [0, pi]."""
    return Rotation.from_matrix(matrix).as_rotvec()


def to_swing_twist(rotation: Float[np.ndarray, '*N 3 3'], axis: int) -> Float[np.ndarray, '*N 3']:
    """Matrices to angles of the bone's shortest swing from rest and its twist; see the module."""
    p, q = (axis + 1) % 3, (axis + 2) % 3
    bone, other = rotation[..., :, axis], rotation[..., :, p]
    sine = np.hypot(bone[..., p], bone[..., q])
    scale = np.arctan2(sine, bone[..., axis]) / np.maximum(sine, 1e-9)
    shift = other[..., axis] / np.maximum(1 + bone[..., axis], 1e-9)
    angles = np.empty(bone.shape)
    angles[..., p], angles[..., q] = -bone[..., q] * scale, bone[..., p] * scale
    twisted = other - shift[..., None] * bone
    angles[..., axis] = np.arctan2(twisted[..., q], twisted[..., p])
    return angles


def from_swing_twist(angles: Float[np.ndarray, '*N 3'], axis: int) -> Float[np.ndarray, '*N 4']:
    """Swing and twist angles to quaternions, w first."""
    p, q = (axis + 1) % 3, (axis + 2) % 3
    half_swing = 0.5 * np.hypot(angles[..., p], angles[..., q])
    scale = 0.5 * sinc(half_swing)
    swing_p, swing_q, swing_w = angles[..., p] * scale, angles[..., q] * scale, np.cos(half_swing)
    twist_w, twist_v = np.cos(0.5 * angles[..., axis]), np.sin(0.5 * angles[..., axis])
    quaternion = np.empty((*angles.shape[:-1], 4))
    quaternion[..., 0] = swing_w * twist_w
    quaternion[..., 1 + axis] = swing_w * twist_v
    quaternion[..., 1 + p] = swing_p * twist_w + swing_q * twist_v
    quaternion[..., 1 + q] = swing_q * twist_w - swing_p * twist_v
    return quaternion


def limit_ratio(
    angles: Float[np.ndarray, 'N J 3'], joints: Sequence[int], axis: int
) -> tuple[Float[np.ndarray, 'N J'], Float[np.ndarray, 'N J']]:
    """Swing and twist of left or middle joints as a fraction of their limits: 1 is at the limit.

    The swing's limit is the ellipse through the limits about its two axes.
    """
    limits = LIMITS[list(joints)]
    ratio = angles / np.where(angles < 0, -limits[..., 0], limits[..., 1])
    swing = np.hypot(ratio[..., (axis + 1) % 3], ratio[..., (axis + 2) % 3])
    return swing, np.abs(ratio[..., axis])


def limit_angles(
    angles: Float[np.ndarray, 'N J 3'], joints: Sequence[int], axis: int
) -> Float[np.ndarray, 'N J 3']:
    """Brings the angles of left or middle joints smoothly within their limits."""
    swing, twist = (_saturate(x) / np.maximum(x, 1e-9) for x in limit_ratio(angles, joints, axis))
    limited = angles * swing[..., None]
    limited[..., axis] = angles[..., axis] * twist
    return limited


def _saturate(ratio):
    """Up to 0.85 the identity, then bending smoothly to stay below 1."""
    knee = 0.85
    return np.where(ratio < knee, ratio, knee + (1 - knee) * np.tanh((ratio - knee) / (1 - knee)))


def unit(vector: Float[np.ndarray, '*N 3']) -> Float[np.ndarray, '*N 3']:
    """Vectors of length 1."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


def turn_along(
    rest: Float[np.ndarray, '... 3'],
    direction: Float[np.ndarray, '... 3'],
    vector: Float[np.ndarray, '... 3'],
) -> Float[np.ndarray, '... 3']:
    """Turns `vector` by the shortest rotation from `rest` to `direction`, both of length 1."""
    total = rest + direction
    shift = np.sum(total * vector, -1, keepdims=True)
    shift = shift / np.maximum(1 + np.sum(rest * direction, -1, keepdims=True), 1e-6)
    return vector - shift * total + 2 * np.sum(rest * vector, -1, keepdims=True) * direction


def two_bone(
    goal: Float[np.ndarray, '*N 3'], pole: Float[np.ndarray, '*N 3'], upper: float, lower: float
) -> tuple[Float[np.ndarray, '*N 3'], Float[np.ndarray, '*N 3'], float | Float[np.ndarray, '*N']]:
    """Places a hinge between two bones so that their end meets a goal (law of cosines).

    The goal is seen from the first joint; near full length and beyond, the limb's end stays a
    little short of it. The hinge (elbow, knee) points along `pole`. Returns the upper bone's
    direction, the hinge's perpendicular to it, and its bend in radians, 0 for a straight limb.
    """
    distance = np.linalg.norm(goal, axis=-1)
    along = goal / np.maximum(distance, 1e-9)[..., None]
    distance = np.maximum(_within_reach(distance, upper + lower), abs(upper - lower) + 0.02)
    across = unit(pole - np.sum(pole * along, -1, keepdims=True) * along)
    cosine = (upper**2 + distance**2 - lower**2) / (2 * upper * distance)
    sine, cosine = np.sqrt(np.maximum(1 - cosine**2, 0))[..., None], cosine[..., None]
    inner = (upper**2 + lower**2 - distance**2) / (2 * upper * lower)
    bend = np.pi - np.arccos(np.clip(inner, -1, 1))
    return along * cosine + across * sine, across * cosine - along * sine, bend


def _within_reach(distance, length):
    """Shortens distances beyond 0.97 of the limb's length towards 0.9985 of it."""
    # Else the hinge would snap straight: its angle has an infinite slope at full length.
    start, room = 0.97 * length, 0.0285 * length
    beyond = np.maximum(distance - start, 0)
    return np.minimum(distance, start) + room * (1 - np.exp(-beyond / room))


def rotated(
    rotation: Float[np.ndarray, '... 3 3'], vector: Float[np.ndarray, '... 3'], back: bool = False
) -> Float[np.ndarray, '... 3']:
    """Vectors turned by matrices, or back by their inverse."""
    if back:
        return (vector[..., None, :] @ rotation)[..., 0, :]
    return (rotation @ vector[..., None])[..., 0]


class Figure:
    """N frames of a stick figure, posed group by group from the root outwards.

    `root` and `pelvis` are the orientation and position of the pelvis in the world.
    """

    def __init__(self, root: Float[np.ndarray, 'N 3 3'], pelvis: Float[np.ndarray, 'N 3']):
        self.root, self.pelvis = root, pelvis
        self._quaternion = np.zeros((len(root), 21, 4)) + np.array([1.0, 0, 0, 0])

    def bend(self, group: str, angles: Float[np.ndarray, 'N J 3']) -> None:
        """Sets swing and twist angles of a group's joints, within their limits."""
        joints, axis = list(GROUPS[group]), twist_axis(group)
        angles = limit_angles(angles, joints, axis) * _SIGN[joints]
        self._quaternion[:, np.array(joints) - 1] = from_swing_twist(angles, axis)

    def turn(self, group: str, rotation: Float[np.ndarray, 'N 2 3 3']) -> None:
        """Sets a pair's rotations, given as left joints, within their limits."""
        axis = twist_axis(group)
        angles = to_swing_twist(rotation, axis)
        # A twist beyond its limit must not jump from one end to the other as it passes pi.
        angles[..., axis] = np.unwrap(angles[..., axis], axis=0)
        self.bend(group, angles)

    def local(self, group: str) -> Float[np.ndarray, 'N J 3 3']:
        """Rotations of a group's joints relative to their parents."""
        return quaternion_to_matrix(self._quaternion[:, np.array(GROUPS[group]) - 1])

    def chest(self) -> tuple[Float[np.ndarray, 'N 3 3'], Float[np.ndarray, 'N 3']]:
        """Orientation and position of spine3 in the world."""
        rotation, position = self.root, self.pelvis
        spine = np.moveaxis(self.local('spine'), 1, 0)
        for joint, local in zip(GROUPS['spine'], spine, strict=True):
            position = position + rotation @ OFFSETS[joint]
            rotation = rotation @ local
        return rotation, position

    def shoulders(self) -> tuple[Float[np.ndarray, 'N 2 3 3'], BothSides]:
        """Orientations of the collars and positions of the shoulders, in the world."""
        chest, position = self.chest()
        rotation = chest[:, None] @ self.local('collar')
        collar = position[:, None] + OFFSETS[[13, 14]] @ np.swapaxes(chest, -1, -2)
        return rotation, collar + rotated(rotation, OFFSETS[[16, 17]])

    def place_wrists(self, goals: BothSides, poles: BothSides) -> None:
        """Brings wrists to goals, elbows along poles, both in the world; set the collars first."""
        rotation, shoulder = self.shoulders()
        goals, poles = (rotated(rotation, v, back=True) * PAIR for v in (goals - shoulder, poles))
        bone, hinge, bend = two_bone(goals, poles, UPPER_ARM, FOREARM)
        self.turn('shoulder', np.stack([bone, np.cross(bone, hinge), -hinge], -1))
        self.bend('elbow', bend[..., None] * np.array([0, -1.0, 0]))

    def place_legs(
        self, ankles: BothSides, poles: BothSides, feet: Float[np.ndarray, 'N 2 3 3']
    ) -> None:
        """Brings ankles to positions, knees along poles, feet to orientations, all in the world.

        The joints' limits come first.
        """
        root = self.root[:, None]
        hip = self.pelvis[:, None] + OFFSETS[[1, 2]] @ np.swapaxes(self.root, -1, -2)
        goals, poles = (rotated(root, v, back=True) * PAIR for v in (ankles - hip, poles))
        bone, hinge, bend = two_bone(goals, poles, THIGH, SHANK)
        self.turn('hip', np.stack([np.cross(hinge, bone), -bone, hinge], -1))
        self.bend('knee', bend[..., None] * np.array([1.0, 0, 0]))
        shank = root @ self.local('hip') @ self.local('knee')
        ankle = np.swapaxes(shank, -1, -2) @ feet
        self.turn('ankle', ankle * [np.ones((3, 3)), np.outer(MIRROR, MIRROR)])

    def body_pose(self) -> Float[np.ndarray, 'N 21 3']:
        """Rotation vectors of joints 1 to 21."""
        return quaternion_to_vector(self._quaternion)

    def clearance(self) -> Float[np.ndarray, ' N']:
        """Height of the lowest point of the body above y = 0."""
        return np.min(self.joints()[..., 1] - FLESH, axis=1)

    def joints(self) -> Float[np.ndarray, 'N 24 3']:
        """Positions of all joints in the world."""
        body = quaternion_to_matrix(self._quaternion)
        return joint_positions(np.concatenate([self.root[:, None], body], 1), self.pelvis)


def joint_positions(
    local: Float[np.ndarray, 'N 22 3 3'], pelvis: Float[np.ndarray, 'N 3']
) -> Float[np.ndarray, 'N 24 3']:
    """Forward kinematics: local rotations to joints in the world."""
    rotations, positions = [local[:, 0]], [pelvis]
    for joint in range(1, skeleton.NUM_JOINTS):
        parent = skeleton.PARENTS[joint]
        positions.append(positions[parent] + rotations[parent] @ OFFSETS[joint])
        if joint < local.shape[1]:
            rotations.append(rotations[parent] @ local[:, joint])
    return np.stack(positions, axis=1)
