"""BVH, the text format of a skeleton and its motion.

y up, centimetres, degrees. Joints have SMPL's names and order; the rest pose is SMPL's T-pose.
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton

_CENTIMETRES = 100.0
_TIP = (0.0, 0.05, 0.0)  # metres, the end of a last bone: SMPL has none


def bvh_animation(
    joints: Float[np.ndarray, '24 3'],
    rotations: Float[np.ndarray, 'T 24 3 3'],
    root: Float[np.ndarray, 'T 3'],
    fps: float,
) -> str:
    """The text of a file.

    `joints` is the rest pose and `root` the path of the root joint, metres, in a y-up world.
    `rotations` are relative to the joint's parent, the root's into the world.
    """
    order: list[int] = []
    lines = ['HIERARCHY', *_joint(joints, 0, 0, order)]
    angles = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_euler('ZXY', degrees=True)
    angles = angles.reshape(*rotations.shape[:2], 3)[:, order].reshape(len(rotations), -1)
    rows = np.concatenate([_CENTIMETRES * root, angles], axis=1)
    lines += ['MOTION', f'Frames: {len(rows)}', f'Frame Time: {1 / fps:.8f}']
    lines += [' '.join(f'{value:.5f}' for value in row) for row in rows]
    return '\n'.join(lines) + '\n'


def _joint(joints, joint, depth, order) -> list[str]:
    """The lines of a joint and its descendants, which are appended to `order`."""
    order.append(joint)
    parent = skeleton.PARENTS[joint]
    indent = '\t' * depth
    place = joints[joint] - joints[parent] if joint else np.zeros(3)
    channels = 'Zrotation Xrotation Yrotation'
    channels = f'3 {channels}' if joint else f'6 Xposition Yposition Zposition {channels}'
    lines = [
        f'{indent}{"JOINT" if joint else "ROOT"} {skeleton.JOINTS[joint]}',
        f'{indent}{{',
        f'{indent}\t{_offset(place)}',
        f'{indent}\tCHANNELS {channels}',
    ]
    children = [c for c, p in enumerate(skeleton.PARENTS) if p == joint]
    for child in children:
        lines += _joint(joints, child, depth + 1, order)
    if not children:
        lines += [f'{indent}\tEnd Site', f'{indent}\t{{']
        lines += [f'{indent}\t\t{_offset(np.array(_TIP))}', f'{indent}\t}}']
    return [*lines, f'{indent}}}']


def _offset(place) -> str:
    return 'OFFSET ' + ' '.join(f'{value:.5f}' for value in _CENTIMETRES * place)
