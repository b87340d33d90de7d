"""Binary glTF 2.0 (.glb) of people: meshes, or skinned bodies and their motion. Metres, y up.

Source: Khronos Group, "glTF 2.0 Specification".
"""

import json
import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.drawing import render

# From the camera's axes (y down, z forward) to glTF's (y up, z towards the viewer).
TO_Y_UP = np.diag([1.0, -1.0, -1.0])
SKIN = (0.55, 0.75, 0.95)  # RGB of a body alone

_TYPES = {np.dtype('<f4'): 5126, np.dtype('<u4'): 5125, np.dtype('<u2'): 5123}
_SHAPES = {(): 'SCALAR', (3,): 'VEC3', (4,): 'VEC4', (4, 4): 'MAT4'}
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views
_INFLUENCES = 4  # joints of a vertex: few viewers read more
_NEAREST = 0.01  # metres, of what the camera sees


class Motion(NamedTuple):
    """The motion of SMPL's skeleton, T frames, metres, glTF's axes.

    joints: of the rest pose.
    rotations: of each joint relative to its parent; the root's into glTF's axes.
    root: positions of the root joint.
    times: seconds, increasing, from 0.
    shown: seconds in which the person is there, from and to; inf for the end.
    """

    joints: Float[np.ndarray, '24 3']
    rotations: Float[np.ndarray, 'T 24 3 3']
    root: Float[np.ndarray, 'T 3']
    times: Float[np.ndarray, ' T']
    shown: tuple[float, float] = (0.0, math.inf)


class Person(NamedTuple):
    """A body: `vertices` of its rest pose with a motion, or where they are without."""

    name: str
    vertices: Float[np.ndarray, 'V 3']
    motion: Motion | None = None
    color: tuple[float, float, float] = SKIN


class Lens(NamedTuple):
    """The picture's camera: it looks along -z, y up. Pixels; `position` in metres, glTF's axes."""

    focal_length: float
    principal_point: Float[np.ndarray, '2']
    image_size: tuple[int, int]
    position: Float[np.ndarray, '3'] | tuple[float, float, float] = (0.0, 0.0, 0.0)


def people_glb(
    people: Sequence[Person],
    faces: Int[np.ndarray, 'F 3'],
    weights: Float[np.ndarray, 'V 24'] | None = None,
    lens: Lens | None = None,
) -> bytes:
    """The file of people of one topology, all on one clock, and the camera that saw them.

    Joints move as SMPL's do. The skin lacks SMPL's pose correctives, which glTF cannot express, and
    each vertex follows its four heaviest joints. A person who is not there has the scale 0. glTF's
    camera has its principal point in the middle; the scene's extras tell the true one, and
    `offset`, the position in the camera of the file's origin.

    `faces` are counter-clockwise seen from outside; `weights`, of skinning, belong to motions.
    """
    file = _File(faces, weights)
    for person in people:
        file.add_person(person)
    if lens is not None:
        file.add_camera(lens)
    return file.glb()


class _Buffer:
    """Arrays in one buffer, with their views and accessors."""

    def __init__(self):
        self.views, self.accessors, self.chunks, self.size = [], [], [], 0

    def add(
        self, array: Shaped[np.ndarray, 'N ...'], target: int | None = None, bounds: bool = False
    ) -> int:
        """Adds an array; returns its accessor's number."""
        data = np.ascontiguousarray(array).tobytes()
        view = {'buffer': 0, 'byteOffset': self.size, 'byteLength': len(data)}
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
        self.chunks.append(data + b'\0' * (-len(data) % 4))
        self.size += len(self.chunks[-1])
        return len(self.accessors) - 1


class _File:
    """The parts of a document, and its buffer."""

    def __init__(self, faces, weights):
        self._buffer, self._faces = _Buffer(), faces
        self._indices = self._buffer.add(np.ravel(faces).astype('<u4'), _INDICES)
        self._influences = {} if weights is None else self._skinning(weights)
        self._nodes, self._roots = [], []
        self._parts = {'materials': [], 'meshes': [], 'skins': [], 'cameras': []}
        self._samplers, self._channels, self._extras = [], [], None

    def _skinning(self, weights) -> dict[str, int]:
        strongest = np.argsort(-weights, axis=1, kind='stable')[:, :_INFLUENCES]
        share = np.take_along_axis(weights, strongest, axis=1)
        share = share / share.sum(axis=1, keepdims=True)
        strongest = np.where(share > 0, strongest, 0)
        return {
            'JOINTS_0': self._buffer.add(strongest.astype('<u2'), _VERTICES),
            'WEIGHTS_0': self._buffer.add(share.astype('<f4'), _VERTICES),
        }

    def add_person(self, person: Person) -> None:
        mesh = self._mesh(person)
        if person.motion is None:
            self._roots.append(self._node({'name': person.name, 'mesh': mesh}))
            return
        motion = person.motion
        # The parent of the skeleton, which the motion does not move: it shows and hides the person.
        parent = self._node({'name': person.name})
        first = len(self._nodes)
        self._nodes += _skeleton(motion.joints, first)
        self._nodes[parent]['children'] = [first]
        binds = np.tile(np.eye(4, dtype='<f4'), (len(motion.joints), 1, 1))
        binds[:, 3, :3] = -motion.joints  # glTF's matrices are stored by columns
        bones = list(range(first, len(self._nodes)))
        skin = {
            'joints': bones, 'skeleton': first, 'inverseBindMatrices': self._buffer.add(binds)
        }  # fmt: skip
        self._parts['skins'].append(skin)
        body = {'name': f'{person.name} body', 'mesh': mesh}
        body['skin'] = len(self._parts['skins']) - 1
        # Below the root, viewers might move the skin twice.
        self._roots += [parent, self._node(body)]
        self._move(motion, first)
        self._show(parent, *motion.shown)

    def add_camera(self, lens: Lens) -> None:
        width, height = lens.image_size
        perspective = {
            'yfov': 2 * math.atan(height / 2 / lens.focal_length),
            'aspectRatio': width / height,
            'znear': _NEAREST,
        }
        self._parts['cameras'].append({'type': 'perspective', 'perspective': perspective})
        place = np.asarray(lens.position, float).tolist()
        self._roots.append(self._node({'name': 'camera', 'camera': 0, 'translation': place}))
        self._extras = {
            'offset': [-x for x in place],
            'focal_length': float(lens.focal_length),
            'principal_point': np.asarray(lens.principal_point, float).tolist(),
            'image_size': [int(width), int(height)],
        }

    def glb(self) -> bytes:
        """The whole file."""
        scene = {'nodes': self._roots} | ({'extras': self._extras} if self._extras else {})
        document = {
            'asset': {'version': '2.0', 'generator': 'tokenhmr_jax'},
            'scene': 0,
            'scenes': [scene],
            'nodes': self._nodes,
            'buffers': [{'byteLength': self._buffer.size}],
            'bufferViews': self._buffer.views,
            'accessors': self._buffer.accessors,
        } | {name: items for name, items in self._parts.items() if items}
        if self._channels:
            motion = {'name': 'motion', 'samplers': self._samplers, 'channels': self._channels}
            document['animations'] = [motion]
        text = json.dumps(document, separators=(',', ':')).encode()
        text += b' ' * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self._buffer.size
        return b''.join([
            struct.pack('<4sII', b'glTF', 2, total),
            struct.pack('<I4s', len(text), b'JSON'), text,
            struct.pack('<I4s', self._buffer.size, b'BIN\0'), *self._buffer.chunks,
        ])  # fmt: skip

    def _node(self, node: dict) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1

    def _mesh(self, person: Person) -> int:
        normals = render.vertex_normals(person.vertices, self._faces)
        normals[~normals.any(axis=1)] = (0, 0, 1)  # of a vertex without area: glTF asks for units
        attributes = {
            'POSITION': self._buffer.add(person.vertices.astype('<f4'), _VERTICES, bounds=True),
            'NORMAL': self._buffer.add(normals.astype('<f4'), _VERTICES),
        }
        if person.motion is not None:
            attributes |= self._influences
        metallic = {'metallicFactor': 0.0, 'roughnessFactor': 0.7}
        color = {'baseColorFactor': [*map(float, person.color), 1.0]}
        self._parts['materials'].append({'pbrMetallicRoughness': color | metallic})
        number = len(self._parts['materials']) - 1
        part = {'attributes': attributes, 'indices': self._indices, 'material': number}
        self._parts['meshes'].append({'name': person.name, 'primitives': [part]})
        return number

    def _move(self, motion: Motion, first: int) -> None:
        """Animates a skeleton whose root is the node `first`."""
        count = motion.rotations.shape[1]
        quaternions = Rotation.from_matrix(motion.rotations.reshape(-1, 3, 3)).as_quat()
        quaternions = quaternions.reshape(-1, count, 4)  # x, y, z, w
        # Viewers interpolate along the short way only where signs agree.
        turned = np.sum(quaternions[1:] * quaternions[:-1], axis=-1) < 0
        quaternions[1:] *= np.where(np.cumsum(turned, axis=0) % 2, -1.0, 1.0)[..., None]
        clock = self._clock(motion.times)
        self._animate(first, 'translation', clock, motion.root)
        for joint in range(count):
            self._animate(first + joint, 'rotation', clock, quaternions[:, joint])

    def _show(self, node: int, start: float, end: float) -> None:
        """Scales a node to 0 but from `start` to `end`, seconds."""
        steps = [(0.0, 0.0)] * (start > 0) + [(start, 1.0)] + [(end, 0.0)] * (end < math.inf)
        if len(steps) > 1:
            times, sizes = np.array(steps).T
            scales = np.repeat(sizes[:, None], 3, axis=1)
            self._animate(node, 'scale', self._clock(times), scales, 'STEP')

    def _clock(self, times) -> int:
        return self._buffer.add(np.asarray(times).astype('<f4'), bounds=True)

    def _animate(self, node, path, clock, values, interpolation='LINEAR') -> None:
        output = self._buffer.add(values.astype('<f4'))
        sampler = {'input': clock, 'output': output, 'interpolation': interpolation}
        self._samplers.append(sampler)
        target = {'node': node, 'path': path}
        self._channels.append({'sampler': len(self._samplers) - 1, 'target': target})


def _skeleton(joints, first: int) -> list[dict]:
    """A node for each joint, placed relative to its parent; the root's number is `first`."""
    nodes = []
    for joint, parent in enumerate(skeleton.PARENTS):
        place = joints[joint] - joints[parent] if joint else joints[0]
        node = {'name': skeleton.JOINTS[joint], 'translation': np.asarray(place, float).tolist()}
        children = [first + c for c, p in enumerate(skeleton.PARENTS) if p == joint]
        nodes.append(node | ({'children': children} if children else {}))
    return nodes
