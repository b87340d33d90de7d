"""The mannequin's shape directions, and the regressors of its joints and keypoints."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import nnls

from tokenhmr_jax.body.skeleton import JOINTS, PARENTS
from tokenhmr_jax.drawing.render import vertex_normals
from tokenhmr_jax.mannequin.anatomy import rig


def _stretches(*items):
    """{joint: (x, y, z)} from (names, stretch) pairs; a bare name stands for both sides."""
    return {
        full: stretch
        for names, stretch in items
        for name in names
        for full in ((name,) if name in JOINTS else (f'left_{name}', f'right_{name}'))
    }


# fmt: off
STRETCH = {  # per unit of beta, relative growth (x, y, z) about a joint; its children follow
    'size': _stretches((JOINTS, (0.030, 0.030, 0.030))),
    'leg_length': _stretches((('hip', 'knee'), (0.0, 0.032, 0.0))),
    'arm_length': _stretches((('shoulder', 'elbow'), (0.032, 0.0, 0.0)),
                             (('wrist', 'hand'), (0.015, 0.015, 0.015))),
    'shoulder_width': _stretches((('spine3',), (0.045, 0.0, 0.0)),
                                 (('collar',), (0.070, 0.0, 0.0))),
    'girth': _stretches((('pelvis',), (0.030, 0.0, 0.0))),
    'hip_width': _stretches((('pelvis',), (0.065, 0.0, 0.030)), (('hip',), (0.030, 0.0, 0.030))),
    'belly': {},
    'muscle': {},
    'chest': _stretches((('spine2', 'spine3'), (0.025, 0.0, 0.055))),
    'head_size': _stretches((('head',), (0.040, 0.040, 0.040))),
}
SWELL = {  # metres along the normal per unit of beta, by the joint that a vertex follows
    'girth': _stretches(
        (('pelvis', 'hip'), 0.0085), (('spine1', 'spine2'), 0.0105), (('spine3',), 0.007),
        (('collar', 'shoulder'), 0.005), (('elbow', 'knee'), 0.0035), (('neck',), 0.004),
        (('head',), 0.0008), (('wrist', 'ankle'), 0.0006)),
    'muscle': _stretches(
        (('hip',), 0.0045), (('knee',), 0.0038), (('spine3', 'collar'), 0.0045),
        (('shoulder',), 0.0055), (('elbow',), 0.0042), (('neck',), 0.003),
        (('spine1',), -0.0040), (('pelvis',), -0.0015)),
}
BULGES = {  # Gaussian pushes: centre, sigmas (metres), displacement; mirrored if off the midline
    'belly': (((0.0, 1.060, 0.090), (0.110, 0.085, 0.080), (0.0, -0.004, 0.030)),
              ((0.115, 1.050, 0.020), (0.060, 0.080, 0.080), (0.011, 0.0, 0.0))),
    'chest': (((0.080, 1.270, 0.100), (0.045, 0.045, 0.050), (0.0, -0.002, 0.010)),),
}
# fmt: on
SIZES = tuple(STRETCH)  # in order of decreasing variance


def bone_growth(
    stretch: Mapping[str, tuple[float, float, float]], joints: Float[np.ndarray, '24 3']
) -> tuple[Float[np.ndarray, '24 3'], Float[np.ndarray, '24 3']]:
    """Linear stretch about each joint, and the joints' own displacement, metres."""
    scale = np.array([stretch.get(name, (0.0, 0.0, 0.0)) for name in JOINTS])
    moved = np.zeros((24, 3))
    for j, parent in enumerate(PARENTS[1:], start=1):
        moved[j] = moved[parent] + scale[parent] * (joints[j] - joints[parent])
    return scale, moved


def shape_directions(
    vertices: Float[np.ndarray, 'V 3'],
    faces: Int[np.ndarray, 'F 3'],
    weights: Float[np.ndarray, 'V 24'],
) -> tuple[Float[np.ndarray, 'V 3 10'], Float[np.ndarray, '24 3 10']]:
    """Displacements of vertices and joints per unit of beta, metres."""
    joints = rig.rest_joints()
    normals = vertex_normals(vertices, faces)
    inward = normals[:, 0] * np.sign(vertices[:, 0]) < 0.0
    normals[inward, 0] *= 0.3  # between the thighs there is no room
    directions, moves = [], []
    for name in SIZES:
        scale, moved = bone_growth(STRETCH[name], joints)
        offset = weights @ (moved - scale * joints) + (weights @ scale) * vertices
        swell = SWELL.get(name, {})
        offset += (weights @ np.array([swell.get(n, 0.0) for n in JOINTS]))[:, None] * normals
        for centre, sigma, push in BULGES.get(name, ()):
            for side in (1, -1) if centre[0] else (1,):
                flip = np.array([side, 1.0, 1.0])
                q = (vertices - flip * centre) / sigma
                bump = np.exp(-0.5 * np.einsum('ij,ij->i', q, q))
                offset += bump[:, None] * (flip * push)
        directions.append(offset)
        moves.append(moved)
    return np.stack(directions, axis=2), np.stack(moves, axis=2)


# fmt: off
KEYPOINTS = (  # J19: the joint followed, and the place from that joint (metres, left side)
    ('right_ankle', (0.0, 0.0, 0.0)), ('right_knee', (0.0, 0.0, 0.006)),
    ('right_hip', (0.022, 0.0, 0.0)), ('left_hip', (0.022, 0.0, 0.0)),
    ('left_knee', (0.0, 0.0, 0.006)), ('left_ankle', (0.0, 0.0, 0.0)),
    ('right_wrist', (0.0, 0.0, 0.0)), ('right_elbow', (0.0, 0.0, 0.0)),
    ('right_shoulder', (0.0, 0.004, 0.0)), ('left_shoulder', (0.0, 0.004, 0.0)),
    ('left_elbow', (0.0, 0.0, 0.0)), ('left_wrist', (0.0, 0.0, 0.0)),
    ('neck', (0.0, 0.010, 0.010)), ('head', (0.0, 0.185, 0.0)),
    ('pelvis', (0.0, -0.035, 0.0)), ('spine3', (0.0, 0.165, 0.0)),
    ('spine2', (0.0, 0.020, 0.0)), ('head', (0.0, 0.030, 0.075)), ('head', (0.0, 0.090, 0.010)),
)
# fmt: on


def keypoint_targets(
    joints: Float[np.ndarray, '24 3'], moves: Float[np.ndarray, '24 3 10']
) -> tuple[Float[np.ndarray, '19 3'], Float[np.ndarray, '19 3 10']]:
    """The 19 extra keypoints and their displacements per unit of beta, metres."""
    at, change = [], []
    scales = np.stack([bone_growth(STRETCH[name], joints)[0] for name in SIZES], axis=2)
    for name, offset in KEYPOINTS:
        j = JOINTS.index(name)
        offset = np.asarray(offset) * ([-1, 1, 1] if name.startswith('right') else 1)
        at.append(joints[j] + offset)
        change.append(moves[j] + scales[j] * offset[:, None])
    return np.array(at), np.array(change)


def fit_regressor(
    vertices: Float[np.ndarray, 'V 3'],
    directions: Float[np.ndarray, 'V 3 10'],
    partner: Int[np.ndarray, ' V'],
    targets: Float[np.ndarray, 'K 3'],
    changes: Float[np.ndarray, 'K 3 10'],
    count: int = 160,
) -> Float[np.ndarray, 'K V']:
    """Fits rows of non-negative weights, summing to 1, that place K points among the vertices.

    A row reproduces its target at rest and, as well as possible, its change per unit of beta, with
    the most even weights on the nearest `count` vertices.
    """
    rows = np.zeros((len(targets), len(vertices)))
    for row, target, change in zip(rows, targets, changes, strict=True):
        distance = np.linalg.norm(vertices - target, axis=1)
        near = np.argsort(np.round(distance, 6), kind='stable')[:count]
        if target[0] == 0.0:
            near = np.union1d(near, partner[near])
        centred = (vertices[near] - target).T
        shaped = (directions[near] - change).reshape(len(near), -1).T
        even = 0.02 * np.eye(len(near))
        system = np.concatenate([np.full((1, len(near)), 10.0), 10 * centred, 2 * shaped, even])
        goal = np.concatenate([[10.0], np.zeros(len(system) - 1)])
        weight = nnls(system, goal)[0]
        row[near] = weight
        if target[0] == 0.0:
            row[:] = (row + row[partner]) / 2
        row /= row.sum()
    return rows
