"""A posed stick figure with human joint limits and two-bone inverse kinematics, in NumPy.

Frame: SMPL's (metres, y up, the body faces +z, its left is +x, T-pose at rest). Arrays have a
frame axis N first. A joint's rotation is split into a *swing* of its bone and a *twist* about the
bone's rest axis, R = swing * twist; both are written as one vector of three angles (radians): the
component along the bone's axis is the twist, the two others are the swing's rotation vector. Pairs
of limbs are (N, 2, ...), left first; angles of a right joint are given as their mirror image, a
left joint's.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton

# Joint positions relative to the parent: an adult of 1.70 m, limbs straight along an axis. The left
# side and the middle; the right is the mirror image.
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
_SIDES = np.array([[1.0], [-1.0]])  # of x, left and right

# How thick the body is around each of the 24 joints (metres): what keeps it above the ground.
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
_ARM = ('collar', 'shoulder', 'elbow', 'wrist')


def _part(name):
    return name.removeprefix('left_').removeprefix('right_')


def _is_right(joint):
    return skeleton.JOINTS[joint].startswith('right_')


OFFSETS = np.array([_OFFSETS[_part(name)] for name in skeleton.JOINTS])  # (24, 3) metres
OFFSETS[[_is_right(joint) for joint in range(24)], 0] *= -1
# (22, 3, 2) radians, by joint: about x, y, z the lowest and highest; right joints like left ones.
LIMITS = np.radians([((0, 0),) * 3] + [_LIMITS[_part(name)] for name in skeleton.BODY_JOINTS])
_SIGN = np.array([MIRROR if _is_right(joint) else np.ones(3) for joint in range(22)])
UPPER_ARM, FOREARM, THIGH, SHANK = (np.linalg.norm(OFFSETS[joint]) for joint in (18, 20, 4, 7))


def twist_axis(group):
    """The axis (0, 1, 2) along the bones of a group at rest: x for the arm, y for all else."""
    return 0 if group in _ARM else 1


def mirror_body(body_pose):
    """The mirror image of (N, 21, 3) rotation vectors: left and right trade places."""
    return body_pose[:, skeleton.BODY_JOINT_TWINS] * MIRROR.astype(body_pose.dtype)


def to_matrix(vector):
    """(..., 3) rotation vectors to (..., 3, 3) matrices."""
    half = 0.5 * np.linalg.norm(vector, axis=-1, keepdims=True)
    return quaternion_to_matrix(np.concatenate([np.cos(half), 0.5 * sinc(half) * vector], -1))


def sinc(x):
    """sin(x) / x, which is 1 at 0."""
    return np.sin(x) / np.where(x == 0, 1, x) + (x == 0)


def turn_y(angle):
    """Radians (...) to matrices (..., 3, 3) about the vertical."""
    return to_matrix(np.stack([np.zeros_like(angle), angle, np.zeros_like(angle)], -1))


def quaternion_to_matrix(quaternion):
    """(..., 4), w first, to (..., 3, 3)."""
    w, x, y, z = (np.array(quaternion[..., i]) for i in range(4))
    x2, y2, z2 = 2 * x, 2 * y, 2 * z
    wx, wy, wz, xx, xy, xz = w * x2, w * y2, w * z2, x * x2, x * y2, x * z2
    yy, yz, zz = y * y2, y * z2, z * z2
    matrix = np.empty((*w.shape, 9))
    entries = (
        1 - yy - zz,
        xy - wz,
        xz + wy,
        xy + wz,
        1 - xx - zz,
        yz - wx,
        xz - wy,
        yz + wx,
        1 - xx - yy,
    )
    for i, entry in enumerate(entries):
        matrix[..., i] = entry
    return matrix.reshape(*w.shape, 3, 3)


def quaternion_to_vector(quaternion):
    """(..., 4), w first, to rotation vectors (..., 3) with angles in [0, pi]."""
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * np.where(sine < 1e-8, 2, angle / np.maximum(sine, 1e-8))


def matrix_to_vector(matrix):
    """(N, 3, 3) to rotation vectors (N, 3) with angles in [0, pi]."""
    return Rotation.from_matrix(matrix).as_rotvec()


def to_swing_twist(rotation, axis):
    """Matrices (..., 3, 3) to swing and twist angles (..., 3); see the module's text.

    The swing is the shortest rotation that takes the bone from rest to where it is.
    """
    p, q = (axis + 1) % 3, (axis + 2) % 3
    bone, other = rotation[..., :, axis], rotation[..., :, p]
    sine = np.hypot(bone[..., p], bone[..., q])
    scale = np.arctan2(sine, bone[..., axis]) / np.maximum(sine, 1e-9)
    shift = other[..., axis] / np.maximum(1 + bone[..., axis], 1e-9)
    angles = np.empty(bone.shape)
    angles[..., p] = -bone[..., q] * scale
    angles[..., q] = bone[..., p] * scale
    angles[..., axis] = np.arctan2(
        other[..., q] - shift * bone[..., q], other[..., p] - shift * bone[..., p]
    )
    return angles


def from_swing_twist(angles, axis):
    """Swing and twist angles (..., 3) to quaternions (..., 4), w first."""
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


def excess(angles, joints, axis):
    """How far swing and twist (N, J) of joints' angles (N, J, 3) are on the way to their limits.

    1 is at the limit. The swing's is the ellipse through the limits about its two axes.
    """
    limits = LIMITS[list(joints)]
    ratio = angles / np.where(angles < 0, -limits[..., 0], limits[..., 1])
    return np.hypot(ratio[..., (axis + 1) % 3], ratio[..., (axis + 2) % 3]), np.abs(
        ratio[..., axis]
    )


def limit(angles, joints, axis):
    """The angles (N, J, 3) of left or middle joints brought smoothly within their limits."""
    swing, twist = (_saturate(x) / np.maximum(x, 1e-9) for x in excess(angles, joints, axis))
    limited = angles * swing[..., None]
    limited[..., axis] = angles[..., axis] * twist
    return limited


def _saturate(ratio):
    """Up to 0.85 the identity, then bending smoothly to stay below 1."""
    knee = 0.85
    return np.where(ratio < knee, ratio, knee + (1 - knee) * np.tanh((ratio - knee) / (1 - knee)))


def unit(vector):
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


def carry(rest, direction, vector):
    """`vector` (..., 3) turned as the shortest rotation turns `rest` to `direction` (all unit).

    So an elbow or knee keeps its side of a limb that points anywhere but opposite to `rest`.
    """
    total = rest + direction
    shift = np.sum(total * vector, -1, keepdims=True)
    shift = shift / np.maximum(1 + np.sum(rest * direction, -1, keepdims=True), 1e-6)
    return vector - shift * total + 2 * np.sum(rest * vector, -1, keepdims=True) * direction


def two_bone(goal, pole, upper, lower):
    """Places a hinge between two bones so that their end meets a goal (law of cosines).

    Args:
      goal: (..., 3) from the first joint to the goal; near full length and beyond, the end stays
        a little short of it, and the limb points at it.
      pole: (..., 3) the direction in which the hinge (elbow, knee) points.
      upper, lower: lengths of the bones.

    Returns:
      The upper bone's direction (..., 3), the direction (..., 3) perpendicular to it in which the
      hinge points, and the hinge's bend (...) in radians, 0 for a straight limb.
    """
    distance = np.linalg.norm(goal, axis=-1)
    along = goal / np.maximum(distance, 1e-9)[..., None]
    distance = np.maximum(_within_reach(distance, upper + lower), abs(upper - lower) + 0.02)
    across = unit(pole - np.sum(pole * along, -1, keepdims=True) * along)
    cosine = (upper**2 + distance**2 - lower**2) / (2 * upper * distance)
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))[..., None]
    cosine = cosine[..., None]
    inner = (upper**2 + lower**2 - distance**2) / (2 * upper * lower)
    bend = np.pi - np.arccos(np.clip(inner, -1, 1))
    return along * cosine + across * sine, across * cosine - along * sine, bend


def _within_reach(distance, length):
    """Distances up to 0.97 of the limb's length as they are, longer ones ever closer to 0.9985.

    Without it the hinge would snap straight: its angle has an infinite slope at full length.
    """
    start, room = 0.97 * length, 0.0285 * length
    beyond = np.maximum(distance - start, 0)
    return np.minimum(distance, start) + room * (1 - np.exp(-beyond / room))


def rotated(rotation, vector, back=False):
    """Vectors (..., 3) turned by matrices (..., 3, 3), or back by their inverse."""
    if back:
        return (vector[..., None, :] @ rotation)[..., 0, :]
    return (rotation @ vector[..., None])[..., 0]


class Figure:
    """N frames of a stick figure, posed group by group from the root outwards.

    Attributes:
      root: (N, 3, 3) orientation of the pelvis in the world.
      pelvis: (N, 3) its position.
    """

    def __init__(self, root, pelvis):
        self.root = root
        self.pelvis = pelvis
        self._quaternion = np.zeros((len(root), 21, 4)) + np.array([1.0, 0, 0, 0])

    def bend(self, group, angles):
        """Sets swing and twist angles (N, J, 3) of a group's joints, within their limits."""
        joints, axis = list(GROUPS[group]), twist_axis(group)
        angles = limit(angles, joints, axis) * _SIGN[joints]
        self._quaternion[:, np.array(joints) - 1] = from_swing_twist(angles, axis)

    def turn(self, group, rotation):
        """Sets the matrices (N, 2, 3, 3) of a pair, left ones both, within the joints' limits."""
        axis = twist_axis(group)
        angles = to_swing_twist(rotation, axis)
        # A twist beyond its limit must not jump from one end to the other as it passes pi.
        angles[..., axis] = np.unwrap(angles[..., axis], axis=0)
        self.bend(group, angles)

    def local(self, group):
        """Rotations (N, J, 3, 3) of a group's joints relative to their parents."""
        return quaternion_to_matrix(self._quaternion[:, np.array(GROUPS[group]) - 1])

    def chest(self):
        """Orientation (N, 3, 3) and position (N, 3) of spine3 in the world."""
        rotation, position = self.root, self.pelvis
        for joint, local in zip(
            GROUPS['spine'], np.moveaxis(self.local('spine'), 1, 0), strict=True
        ):
            position = position + rotation @ OFFSETS[joint]
            rotation = rotation @ local
        return rotation, position

    def shoulders(self):
        """Orientations (N, 2, 3, 3) of the collars and positions (N, 2, 3) of the shoulders."""
        chest, position = self.chest()
        rotation = chest[:, None] @ self.local('collar')
        collar = position[:, None] + OFFSETS[[13, 14]] @ np.swapaxes(chest, -1, -2)
        return rotation, collar + rotated(rotation, OFFSETS[[16, 17]])

    def place_wrists(self, goals, poles):
        """Brings the wrists to goals (N, 2, 3), elbows pointing along poles, both in the world.

        Set the collars first.
        """
        rotation, shoulder = self.shoulders()
        mirror = np.concatenate([_SIDES, np.ones((2, 2))], -1)
        goals, poles = (rotated(rotation, v, back=True) * mirror for v in (goals - shoulder, poles))
        bone, hinge, bend = two_bone(goals, poles, UPPER_ARM, FOREARM)
        self.turn('shoulder', np.stack([bone, np.cross(bone, hinge), -hinge], -1))
        self.bend('elbow', bend[..., None] * np.array([0, -1.0, 0]))

    def place_legs(self, ankles, poles, feet):
        """Brings ankles to (N, 2, 3), knees along poles; feet (N, 2, 3, 3) are their orientations.

        All in the world; limits come first.
        """
        root = self.root[:, None]
        mirror = np.concatenate([_SIDES, np.ones((2, 2))], -1)
        hip = self.pelvis[:, None] + OFFSETS[[1, 2]] @ np.swapaxes(self.root, -1, -2)
        goals, poles = (rotated(root, v, back=True) * mirror for v in (ankles - hip, poles))
        bone, hinge, bend = two_bone(goals, poles, THIGH, SHANK)
        self.turn('hip', np.stack([np.cross(hinge, bone), -bone, hinge], -1))
        self.bend('knee', bend[..., None] * np.array([1.0, 0, 0]))
        shank = root @ self.local('hip') @ self.local('knee')
        ankle = np.swapaxes(shank, -1, -2) @ feet
        flip = np.where(_SIDES[..., None] > 0, 1, np.outer(MIRROR, MIRROR))
        self.turn('ankle', ankle * flip)

    def body_pose(self):
        """(N, 21, 3) rotation vectors of joints 1 to 21."""
        return quaternion_to_vector(self._quaternion)

    def clearance(self):
        """Height (N,) of the lowest point of the body above y = 0."""
        return np.min(self.joints()[..., 1] - FLESH, axis=1)

    def joints(self):
        """(N, 24, 3) positions of all joints in the world."""
        body = quaternion_to_matrix(self._quaternion)
        return joint_positions(np.concatenate([self.root[:, None], body], 1), self.pelvis)


def joint_positions(local, pelvis):
    """Forward kinematics: rotations (N, 22, 3, 3) and pelvis (N, 3) to joints (N, 24, 3)."""
    rotations, positions = [local[:, 0]], [pelvis]
    for joint in range(1, skeleton.NUM_JOINTS):
        parent = skeleton.PARENTS[joint]
        positions.append(positions[parent] + rotations[parent] @ OFFSETS[joint])
        if joint < local.shape[1]:
            rotations.append(rotations[parent] @ local[:, joint])
    return np.stack(positions, axis=1)
