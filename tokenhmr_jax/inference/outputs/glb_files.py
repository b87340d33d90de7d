"""GLB files of one person, read as `gltf.people_glb` writes them."""

import json
import os
import pathlib
import struct
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_DTYPES = {5126: '<f4', 5125: '<u4', 5123: '<u2'}
_SHAPES = {'SCALAR': (), 'VEC3': (3,), 'VEC4': (4,), 'MAT4': (4, 4)}


class Skin(NamedTuple):
    """Joints of each vertex, their weights, and the joints of the rest pose, metres."""

    influences: Int[np.ndarray, 'V 4']
    weights: Float[np.ndarray, 'V 4']
    joints: Float[np.ndarray, '24 3']


class Movement(NamedTuple):
    """Rotations relative to the parent as quaternions (x, y, z, w), and the root's path, metres."""

    rotations: Float[np.ndarray, 'T 24 4']
    root: Float[np.ndarray, 'T 3']


class PersonFile(NamedTuple):
    """A body: at rest with a skin and its movement, or where it is without."""

    vertices: Float[np.ndarray, 'V 3']
    faces: Int[np.ndarray, 'F 3']
    skin: Skin | None = None
    movement: Movement | None = None


def read_person(path: str | os.PathLike) -> PersonFile:
    """The person of a file. Raises ValueError for a file that is no GLB."""
    document, array = _parts(path)
    part = document['meshes'][0]['primitives'][0]
    attributes = part['attributes']
    vertices, faces = array(attributes['POSITION']), array(part['indices']).reshape(-1, 3)
    if 'skins' not in document:
        return PersonFile(vertices, faces)
    bones = document['skins'][0]['joints']
    binds = array(document['skins'][0]['inverseBindMatrices'])
    skin = Skin(array(attributes['JOINTS_0']), array(attributes['WEIGHTS_0']), -binds[:, 3, :3])
    return PersonFile(vertices, faces, skin, _movement(document['animations'][0], bones, array))


def _movement(animation: dict, bones: list[int], array) -> Movement:
    found = {
        (channel['target']['node'], channel['target']['path']): array(
            animation['samplers'][channel['sampler']]['output']
        )
        for channel in animation['channels']
    }
    rotations = np.stack([found[bone, 'rotation'] for bone in bones], axis=1)
    return Movement(rotations, found[bones[0], 'translation'])


def _parts(path: str | os.PathLike):
    """The document, and a function from an accessor's number to its array."""
    content = pathlib.Path(path).read_bytes()
    if content[:4] != b'glTF':
        raise ValueError(f'{path}: no GLB file')
    (size,) = struct.unpack_from('<I', content, 12)
    document, binary = json.loads(content[20 : 20 + size]), content[28 + size :]

    def array(number: int) -> np.ndarray:
        accessor = document['accessors'][number]
        shape = accessor['count'], *_SHAPES[accessor['type']]
        dtype = np.dtype(_DTYPES[accessor['componentType']])
        start = document['bufferViews'][accessor['bufferView']]['byteOffset']
        return np.frombuffer(binary, dtype, int(np.prod(shape)), start).reshape(shape)

    return document, array
