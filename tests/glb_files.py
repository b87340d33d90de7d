"""GLB files read back by pygltflib, and posed as glTF's specification says."""

import numpy as np
import pygltflib
from scipy.spatial.transform import Rotation, Slerp

_KINDS = {5126: '<f4', 5125: '<u4', 5123: '<u2'}
_WIDTHS = {'SCALAR': (), 'VEC3': (3,), 'VEC4': (4,), 'MAT4': (4, 4)}


def read_glb(path):
    """The document, and a function from an accessor's number to its array."""
    document = pygltflib.GLTF2().load(path)

    def array(number):
        accessor = document.accessors[number]
        view = document.bufferViews[accessor.bufferView]
        data = document.binary_blob()[view.byteOffset :][: view.byteLength]
        shape = (accessor.count, *_WIDTHS[accessor.type])
        return np.frombuffer(data, _KINDS[accessor.componentType]).reshape(shape)

    return document, array


def posed_nodes(document, array, time):
    """Global transforms (N, 4, 4) of all nodes at a time of the animation, seconds."""
    local = [
        {'translation': node.translation, 'rotation': node.rotation, 'scale': node.scale}
        for node in document.nodes
    ]
    for motion in document.animations:
        for channel in motion.channels:
            sampler = motion.samplers[channel.sampler]
            times, values = array(sampler.input), array(sampler.output)
            local[channel.target.node][channel.target.path] = _value(
                times, values, time, channel.target.path, sampler.interpolation
            )
    world = np.zeros((len(document.nodes), 4, 4))

    def visit(number, above):
        world[number] = above @ _matrix(**local[number])
        for child in document.nodes[number].children:
            visit(child, world[number])

    for root in document.scenes[0].nodes:
        visit(root, np.eye(4))
    return world


def _value(times, values, time, path, interpolation):
    time = np.clip(time, times[0], times[-1])
    if interpolation == 'STEP':
        return values[np.searchsorted(times, time + 1e-6, side='right') - 1]
    if path == 'rotation':
        if len(times) == 1:
            return values[0]
        return Slerp(times, Rotation.from_quat(values))(time).as_quat()
    return np.array([np.interp(time, times, values[:, axis]) for axis in range(3)])


def _matrix(translation, rotation, scale):
    out = np.eye(4)
    if rotation is not None:
        out[:3, :3] = Rotation.from_quat(rotation).as_matrix()
    if scale is not None:
        out[:3, :3] = out[:3, :3] * np.asarray(scale)
    if translation is not None:
        out[:3, 3] = translation
    return out


def skinned(document, array, world, name):
    """The vertices (V, 3) of the mesh called `name`, by its skin and the nodes' transforms."""
    node = next(n for n in document.nodes if n.skin is not None and n.name.startswith(name))
    skin, part = document.skins[node.skin], document.meshes[node.mesh].primitives[0].attributes
    binds = np.swapaxes(array(skin.inverseBindMatrices), 1, 2)
    rest, which, share = map(array, (part.POSITION, part.JOINTS_0, part.WEIGHTS_0))
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-6)
    blended = np.einsum('vk,vkij->vij', share, (world[skin.joints] @ binds)[which])
    return np.einsum('vij,vj->vi', blended[:, :3, :3], rest) + blended[:, :3, 3]
