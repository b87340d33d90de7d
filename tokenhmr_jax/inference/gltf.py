"""Binary glTF 2.0 (.glb) of a skinned body and its motion. Metres, y up.

Source: Khronos Group, "glTF 2.0 Specification".
"""

import json
import struct

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton

# From the camera's axes (y down, z forward) to glTF's (y up, z towards the viewer).
TO_Y_UP = np.diag([1.0, -1.0, -1.0])

_TYPES = {np.dtype('<f4'): 5126, np.dtype('<u4'): 5125, np.dtype('<u2'): 5123}
_SHAPES = {(): 'SCALAR', (3,): 'VEC3', (4,): 'VEC4', (4, 4): 'MAT4'}
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views
_INFLUENCES = 4  # joints of a vertex: few viewers read more
SKIN = {'baseColorFactor': [0.55, 0.75, 0.95, 1.0], 'metallicFactor': 0.0, 'roughnessFactor': 0.7}


class _Writer:
    """Arrays in one buffer, with their views and accessors."""

    def __init__(self):
        self.views, self.accessors, self._chunks, self._size = [], [], [], 0

    def add(
        self, array: Shaped[np.ndarray, 'N ...'], target: int | None = None, bounds: bool = False
    ) -> int:
        """Adds an array; returns its accessor's number."""
        data = np.ascontiguousarray(array).tobytes()
        view = {'buffer': 0, 'byteOffset': self._size, 'byteLength': len(data)}
        self.views.append(view | ({'target': target} if target else {}))
        accessor = {
            'bufferView': len(self.views) - 1,
            'componentType': _TYPES[array.dtype],
            'count': len(array),
            'type': _SHAPES[array.shape[1:]],
        }
        if bounds:
            low, high = array.min(axis=0), array.max(axis=0)
            accessor |= {'min': np.ravel(low).tolist(), 'max': np.ravel(high).tolist()}
        self.accessors.append(accessor)
        self._chunks.append(data + b'\0' * (-len(data) % 4))
        self._size += len(self._chunks[-1])
        return len(self.accessors) - 1

    def glb(self, document: dict) -> bytes:
        document = {
            'asset': {'version': '2.0', 'generator': 'tokenhmr_jax'},
            'scene': 0,
            'materials': [{'pbrMetallicRoughness': SKIN}],
            'buffers': [{'byteLength': self._size}],
            'bufferViews': self.views,
            'accessors': self.accessors,
        } | document
        text = json.dumps(document, separators=(',', ':')).encode()
        text += b' ' * (-len(text) % 4)
        binary = b''.join(self._chunks)
        total = 12 + 8 + len(text) + 8 + len(binary)
        return b''.join([
            struct.pack('<4sII', b'glTF', 2, total),
            struct.pack('<I4s', len(text), b'JSON'), text,
            struct.pack('<I4s', len(binary), b'BIN\0'), binary,
        ])  # fmt: skip


def skinned_animation(
    vertices: Float[np.ndarray, 'V 3'],
    faces: Int[np.ndarray, 'F 3'],
    weights: Float[np.ndarray, 'V 24'],
    joints: Float[np.ndarray, '24 3'],
    rotations: Float[np.ndarray, 'T 24 3 3'],
    root: Float[np.ndarray, 'T 3'],
    times: Float[np.ndarray, ' T'],
) -> bytes:
    """The file of a body at rest, bound to SMPL's skeleton, and its motion.

    The joints move as SMPL's do. The skin lacks SMPL's pose correctives, which glTF cannot express,
    and each vertex follows its four heaviest joints.

    Args:
      vertices, joints: of the rest pose, metres, y up.
      faces: counter-clockwise seen from outside.
      weights: of skinning.
      rotations: of each joint relative to its parent; the root's into glTF's axes.
      root: position of the root joint, metres, glTF's axes.
      times: seconds, from 0.
    """
    writer = _Writer()
    strongest = np.argsort(-weights, axis=1, kind='stable')[:, :_INFLUENCES]
    share = np.take_along_axis(weights, strongest, axis=1)
    share = share / share.sum(axis=1, keepdims=True)
    strongest = np.where(share > 0, strongest, 0)
    attributes = {
        'JOINTS_0': writer.add(strongest.astype('<u2'), _VERTICES),
        'WEIGHTS_0': writer.add(share.astype('<f4'), _VERTICES),
        'POSITION': writer.add(vertices.astype('<f4'), _VERTICES, bounds=True),
    }
    indices = writer.add(np.ravel(faces).astype('<u4'), _INDICES)
    binds = np.tile(np.eye(4, dtype='<f4'), (len(joints), 1, 1))
    binds[:, 3, :3] = -joints  # glTF's matrices are stored by columns
    bones = list(range(len(joints)))
    return writer.glb({
        'scenes': [{'nodes': [0, len(joints)]}],
        'nodes': [*_skeleton(joints), {'name': 'body', 'mesh': 0, 'skin': 0}],
        'meshes': [{'primitives': [{'attributes': attributes, 'indices': indices, 'material': 0}]}],
        'skins': [{'joints': bones, 'skeleton': 0, 'inverseBindMatrices': writer.add(binds)}],
        'animations': [_motion(writer, rotations, root, times)],
    })  # fmt: skip


def _skeleton(joints) -> list[dict]:
    """A node for each joint, placed relative to its parent."""
    nodes = []
    for joint, parent in enumerate(skeleton.PARENTS):
        place = joints[joint] - joints[parent] if joint else joints[0]
        node = {'name': skeleton.JOINTS[joint], 'translation': np.asarray(place, float).tolist()}
        children = [c for c, p in enumerate(skeleton.PARENTS) if p == joint]
        nodes.append(node | ({'children': children} if children else {}))
    return nodes


def _motion(writer, rotations, root, times) -> dict:
    quaternions = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat()  # x, y, z, w
    quaternions = quaternions.reshape(*rotations.shape[:2], 4)
    # Viewers interpolate along the short way only where signs agree.
    turned = np.sum(quaternions[1:] * quaternions[:-1], axis=-1) < 0
    quaternions[1:] *= np.where(np.cumsum(turned, axis=0) % 2, -1.0, 1.0)[..., None]
    clock = writer.add(times.astype('<f4'), bounds=True)
    outputs = [writer.add(root.astype('<f4'))]
    outputs += [writer.add(quaternions[:, j].astype('<f4')) for j in range(rotations.shape[1])]
    targets = [{'node': 0, 'path': 'translation'}]
    targets += [{'node': j, 'path': 'rotation'} for j in range(rotations.shape[1])]
    return {
        'name': 'motion',
        'samplers': [{'input': clock, 'output': out, 'interpolation': 'LINEAR'} for out in outputs],
        'channels': [{'sampler': i, 'target': target} for i, target in enumerate(targets)],
    }
