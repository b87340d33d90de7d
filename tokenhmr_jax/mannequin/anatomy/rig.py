"""The mannequin's rig: joints, skinning weights and pose correctives."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body.skeleton import JOINT_TWINS, JOINTS, PARENTS
from tokenhmr_jax.mannequin.anatomy import form
from tokenhmr_jax.mannequin.anatomy.skin import Skin, neighbour_mean

# fmt: off
POSITIONS = {  # metres, y from the floor; the right side mirrors the left
    'pelvis': (0.0, 0.945, -0.008), 'left_hip': (0.088, 0.895, -0.004),
    'left_knee': (0.107, 0.485, -0.002), 'left_ankle': (0.118, 0.085, -0.034),
    'left_foot': (0.125, 0.024, 0.085), 'spine1': (0.0, 1.030, -0.018),
    'spine2': (0.0, 1.130, -0.022), 'spine3': (0.0, 1.235, -0.020),
    'neck': (0.0, 1.425, -0.028), 'head': (0.0, 1.510, -0.008),
    'left_collar': (0.060, 1.372, -0.022), 'left_shoulder': (0.170, 1.382, -0.029),
    'left_elbow': (0.430, 1.386, -0.040), 'left_wrist': (0.680, 1.386, -0.036),
    'left_hand': (0.772, 1.385, -0.036),
}

# Across a joint, motion passes from the parent to the child: normal of the dividing surface
# (towards the child), where it lies from the joint, and half the width of the passage (metres).
PASSAGES = {
    'left_hip': ((0.50, -0.85, 0.0), 0.020, 0.065), 'left_knee': ((0.0, -1.0, 0.0), 0.0, 0.055),
    'left_ankle': ((0.0, -0.85, 0.52), -0.012, 0.044), 'left_foot': ((0.2, 0.0, 1.0), 0.0, 0.022),
    'spine1': ((0.0, 1.0, 0.0), 0.0, 0.070), 'spine2': ((0.0, 1.0, 0.0), 0.0, 0.065),
    'spine3': ((0.0, 1.0, 0.0), 0.0, 0.065), 'neck': ((0.0, 0.95, 0.30), 0.0, 0.040),
    'head': ((0.0, 0.90, 0.45), 0.0, 0.034), 'left_collar': ((0.75, 0.66, 0.0), 0.010, 0.070),
    'left_shoulder': ((0.92, 0.38, 0.0), -0.008, 0.062),
    'left_elbow': ((1.0, 0.0, 0.0), 0.0, 0.045), 'left_wrist': ((1.0, 0.0, 0.0), 0.0, 0.042),
    'left_hand': ((1.0, 0.0, 0.0), 0.0, 0.028),
}


# fmt: on
# Share of the arc that a joint's surface takes; less where muscles flatten.
ROUNDNESS = {'left_shoulder': 0.4, 'right_shoulder': 0.4, 'left_hip': 0.6, 'right_hip': 0.6}


def rest_joints() -> Float[np.ndarray, '24 3']:
    """Joints at rest, metres, y from the floor."""
    joints = np.array([POSITIONS[name.replace('right', 'left')] for name in JOINTS])
    joints[[name.startswith('right') for name in JOINTS], 0] *= -1.0
    return joints


def _smoothstep(x):
    """0 below -1, 1 above 1, smooth between."""
    x = np.clip((x + 1.0) / 2.0, 0.0, 1.0)
    return x * x * x * (x * (6.0 * x - 15.0) + 10.0)


def skinning_weights(skin: Skin) -> Float[np.ndarray, 'V 24']:
    """Skinning weights: rows sum to 1, at most four entries are not zero.

    A vertex follows a joint as far as it follows the parent and lies beyond the joint's passage.
    A joint's weight is the part that its children do not take over.
    """
    v, position = skin.vertices, rest_joints()
    follow = np.zeros((len(v), 24))
    follow[:, 0] = 1.0
    for j, name in enumerate(JOINTS):
        if name in PASSAGES:
            normal, offset, width = PASSAGES[name]
            across = (v - position[j]) @ (np.asarray(normal) / np.linalg.norm(normal))
            follow[:, j] = _smoothstep((across - offset) / width) * _window(skin, name)
    follow[:, JOINTS.index('left_collar')] *= 1.0 - follow[:, JOINTS.index('neck')]
    for j, other in enumerate(JOINT_TWINS):
        if JOINTS[j].startswith('right'):
            follow[:, j] = follow[skin.partner, other]
    for j in range(1, 24):
        follow[:, j] *= follow[:, PARENTS[j]]
    weights = follow.copy()
    for j in range(1, 24):
        weights[:, PARENTS[j]] -= follow[:, j]
    weights = np.maximum(weights, 0.0)
    mean = neighbour_mean(skin.quads, len(v))
    for _ in range(3):
        weights = 0.5 * weights + 0.5 * (mean @ weights)
    fifth, fourth = np.split(np.sort(weights, axis=1)[:, -5:-3], 2, axis=1)
    weights = np.where(weights >= np.maximum(fourth, 1e-3), weights - fifth, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _window(skin, name):
    """Upper bound (V,) in [0, 1] of a joint's influence."""
    x, y, _ = skin.vertices.T
    parts = np.array(form.PARTS)[skin.parts]
    if name == 'left_hip':  # the midline between the legs stays with the pelvis
        low = np.isin(parts, ('torso', 'leg', 'foot', *form.TOES))
        return low * _smoothstep(x / 0.05) * (1.0 - 0.7 * np.exp(-((x / 0.035) ** 2)))
    if name == 'left_collar':
        return _smoothstep((x - 0.045) / 0.05)
    if name == 'neck':
        return np.maximum(_smoothstep((0.095 - np.abs(x)) / 0.04), _smoothstep((y - 1.47) / 0.03))
    if name == 'left_hand':
        return (parts != 'thumb').astype(float)
    return np.ones(len(x))


def pose_correctives(
    vertices: Float[np.ndarray, 'V 3'], weights: Float[np.ndarray, 'V 24']
) -> Float[np.ndarray, 'V 3 207']:
    """Vertex offsets, linear in (R - I) of joints 1 to 23, that keep bent limbs round.

    Linear blending moves a vertex of weight w along a chord, into the limb. It should move along
    the arc: by the rotation's w-th power about the joint. The difference is a matrix of w and R
    times the vertex's place from the joint. Least squares over rotations makes it linear in R - I.
    """
    position = rest_joints()
    follow = weights.copy()
    for j in range(23, 0, -1):
        follow[:, PARENTS[j]] += follow[:, j]
    fractions = np.linspace(0.0, 1.0, 65)
    table = np.stack([_arc_matrices(w) for w in fractions])
    directions = np.zeros((len(vertices), 3, 207))
    for j in range(1, 24):
        w = np.clip(follow[:, j], 0.0, 1.0)
        rows = np.flatnonzero((w > 1e-4) & (w < 1.0 - 1e-4))
        at = w[rows] * 64
        i = np.minimum(at.astype(int), 63)
        fraction = (at - i)[:, None, None, None]
        matrix = table[i] * (1 - fraction) + table[i + 1] * fraction
        offset = np.einsum('nfij,nj->nif', matrix, vertices[rows] - position[j])
        directions[rows, :, 9 * (j - 1) : 9 * j] = ROUNDNESS.get(JOINTS[j], 1.0) * offset
    return directions


def _arc_matrices(w):
    """Least-squares matrices (9, 3, 3), one per entry of R - I, of the arc's offset at weight w."""
    grid = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing='ij'), -1).reshape(-1, 3)
    grid = grid[np.abs(grid).sum(axis=1) > 0]
    axes = grid / np.linalg.norm(grid, axis=1, keepdims=True)
    vectors = np.concatenate([axes * angle for angle in (0.4, 0.8, 1.2, 1.6, 2.0)])
    rotation = Rotation.from_rotvec(vectors).as_matrix()
    arc = Rotation.from_rotvec(w * vectors).as_matrix()
    chord = (1 - w) * np.eye(3) + w * rotation
    offset = np.linalg.solve(chord, arc - chord)
    features = (rotation - np.eye(3)).reshape(-1, 9)
    ridge = 1e-3 * len(features) * np.eye(9)
    solution = np.linalg.solve(features.T @ features + ridge, features.T @ offset.reshape(-1, 9))
    return solution.reshape(9, 3, 3)
