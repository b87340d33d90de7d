"""The licence-free body model, in SMPL's own parametrisation and with its file keys.

The mannequin loads, poses and trains like SMPL: same counts, kinematic tree and landmark vertices.
Its skin, shapes and weights are its own.
"""

from functools import partial

import numpy as np

from tokenhmr_jax.body.skeleton import LANDMARKS, PARENTS
from tokenhmr_jax.mannequin.anatomy import form, rig, shape_space
from tokenhmr_jax.mannequin.anatomy.skin import Skin, build_skin

FLOOR = -1.15  # y of the soles, metres, so that the pelvis is near (0, -0.2, 0)


def mannequin_arrays() -> dict[str, np.ndarray]:
    """The mannequin's model arrays, as an SMPL file holds them.

    Metres, y up, facing +z, left is +x, T-pose, 1.70 m tall. Beta b adds `shapedirs[..., b]`:
    size, leg length, arm length, shoulder width, girth, hip width, belly, muscle, chest, head size.

    Faces `f` (13776, 3) are counter-clockwise from outside. Not in SMPL's file:
    `joint_regressor_extra` (19, 6890), the rows of `SMPL_to_J19`, and `mirror` (6890,), each
    vertex's mirror image.
    """
    skin = _with_landmarks(build_skin())
    faces = np.concatenate([skin.quads[:, [0, 1, 2]], skin.quads[:, [0, 2, 3]]])
    weights = rig.skinning_weights(skin)
    directions, moves = shape_space.shape_directions(skin.vertices, faces, weights)
    joints = rig.rest_joints()
    regress = partial(shape_space.fit_regressor, skin.vertices, directions, skin.partner)
    floor = np.array([0.0, FLOOR, 0.0])
    return {
        'v_template': skin.vertices + floor,
        'f': faces.astype(np.uint32),
        'shapedirs': directions,
        'posedirs': rig.pose_correctives(skin.vertices, weights),
        'weights': weights,
        'J_regressor': regress(joints, moves),
        'J': joints + floor,
        'kintree_table': np.array([[2**32 - 1, *PARENTS[1:]], range(24)], np.uint32),
        'joint_regressor_extra': regress(*shape_space.keypoint_targets(joints, moves)),
        'mirror': skin.partner,
    }


def _with_landmarks(skin):
    """The skin with its vertices renumbered so that each landmark has SMPL's index."""
    names = skin.names | _face_landmarks(skin)
    order = np.full(len(skin.vertices), -1)
    order[list(LANDMARKS.values())] = [names[name] for name in LANDMARKS]
    order[order < 0] = np.setdiff1d(np.arange(len(order)), order)
    new = np.argsort(order)
    names = {name: int(new[i]) for name, i in names.items()}
    vertices, parts, partner = skin.vertices[order], skin.parts[order], new[skin.partner[order]]
    return Skin(vertices, new[skin.quads], parts, names, partner)


def _face_landmarks(skin):
    """The nose's tip and the eyes, found on the head."""
    nose = _nearest(skin.vertices, form.NOSE)
    left = _nearest(skin.vertices, form.EYE)
    return {'nose': nose, 'left_eye': left, 'right_eye': int(skin.partner[left])}


def _nearest(vertices, point):
    distance = np.linalg.norm(vertices - np.asarray(point), axis=1)
    return int(np.argmin(np.round(distance, 6)))
