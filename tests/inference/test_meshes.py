"""Meshes and animations, read back by other libraries."""

import bvhio
import numpy as np
import pygltflib
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton, smpl
from tokenhmr_jax.inference import meshes, video
from tokenhmr_jax.types import SmplParams


@pytest.mark.parametrize('suffix', meshes.FORMATS)
def test_meshes_read_back(suffix, tmp_path):
    """A triangle in the camera's axes comes out y up; read by trimesh."""
    vertices, faces = np.array([[0.0, 0, 2], [1, 0, 2], [0, 1, 3]]), np.array([[0, 1, 2]])
    meshes.write_mesh(tmp_path / f'a.{suffix}', vertices, faces)
    found = trimesh.load(tmp_path / f'a.{suffix}', force='mesh', process=False)
    np.testing.assert_allclose(found.vertices, vertices * [1, -1, -1])
    np.testing.assert_array_equal(found.faces, faces)
    if suffix == 'glb':
        assert found.visual.material.baseColorFactor.tolist() == [140, 191, 242, 255]


@pytest.fixture(scope='module')
def walker(mannequin):
    """A track of a turning, bending body, one frame missing, and its true joints, y up."""
    rng = np.random.default_rng(1)
    index = np.array([3, 4, 6, 7])
    rotvec = rng.normal(0, 0.5, (4, 24, 3))
    rotvec[:, 0] = [3.0, 0.3, 0.2]
    pose = Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_matrix().reshape(4, 24, 3, 3)
    track = {
        'index': index,
        'time': index / 30,
        'global_orient': pose[:, 0],
        'body_pose': pose[:, 1:],
        'betas': np.repeat(rng.normal(0, 1, (1, 10)), 4, axis=0),
        'translation': rng.normal([0, 0, 5], 1, (4, 3)),
    }
    track = {k: v.astype(np.float32) if v.dtype == float else v for k, v in track.items()}
    params = SmplParams(
        *(track[name] for name in ('global_orient', 'body_pose', 'betas', 'translation'))
    )
    output = smpl.forward(mannequin, params)
    return track, np.asarray(output.joints) * [1, -1, -1], np.asarray(output.vertices) * [1, -1, -1]


def test_bvh_has_the_joints_of_smpl(mannequin, walker, tmp_path):
    """Read and posed by bvhio."""
    track, joints, _ = walker
    video.write_animations(tmp_path / '0', mannequin, track, fps=30.0)
    file = bvhio.readAsBvh(str(tmp_path / '0.bvh'))
    assert file.FrameTime == pytest.approx(1 / 30) and file.FrameCount == 5  # one is filled in
    root = bvhio.readAsHierarchy(str(tmp_path / '0.bvh'))
    for frame, expected in zip([0, 1, 3, 4], joints, strict=True):
        root.loadPose(frame)
        places = {joint.Name: np.array(joint.PositionWorld) / 100 for joint, _, _ in root.layout()}
        off = np.array([places[name] for name in skeleton.JOINTS]) - expected
        assert np.linalg.norm(off, axis=-1).max() < 1e-4  # metres


def read_glb(path):
    """The document, read by pygltflib, and a function from an accessor's number to its array."""
    document = pygltflib.GLTF2().load(path)
    kinds = {5126: '<f4', 5125: '<u4', 5123: '<u2'}
    width = {'SCALAR': (), 'VEC3': (3,), 'VEC4': (4,), 'MAT4': (4, 4)}

    def array(number):
        accessor = document.accessors[number]
        view = document.bufferViews[accessor.bufferView]
        data = document.binary_blob()[view.byteOffset :][: view.byteLength]
        shape = (accessor.count, *width[accessor.type])
        return np.frombuffer(data, kinds[accessor.componentType]).reshape(shape)

    return document, array


def posed_nodes(document, array, frame):
    """Global transforms (N, 4, 4) of all nodes at a frame of the animation."""
    motion = document.animations[0]
    for channel in motion.channels:
        value = array(motion.samplers[channel.sampler].output)[frame]
        setattr(document.nodes[channel.target.node], channel.target.path, value)
    world = np.zeros((len(document.nodes), 4, 4))

    def visit(number, above):
        node, local = document.nodes[number], np.eye(4)
        if node.rotation is not None:
            local[:3, :3] = Rotation.from_quat(node.rotation).as_matrix()
        if node.translation is not None:
            local[:3, 3] = node.translation
        world[number] = above @ local
        for child in node.children:
            visit(child, world[number])

    for root in document.scenes[0].nodes:
        visit(root, np.eye(4))
    return world


def test_animated_glb_has_the_joints_and_the_skin_of_smpl(mannequin, walker, tmp_path):
    """Its nodes, its skin and its motion, evaluated as the specification says."""
    track, joints, vertices = walker
    video.write_animations(tmp_path / '0', mannequin, track, fps=30.0)
    document, array = read_glb(tmp_path / '0.glb')
    skin, attributes = document.skins[0], document.meshes[0].primitives[0].attributes
    times = array(document.animations[0].samplers[0].input)
    np.testing.assert_allclose(times, np.arange(5) / 30, atol=1e-6)
    binds = np.swapaxes(array(skin.inverseBindMatrices), 1, 2)
    rest, which, share = map(
        array, (attributes.POSITION, attributes.JOINTS_0, attributes.WEIGHTS_0)
    )
    np.testing.assert_allclose(share.sum(axis=1), 1, atol=1e-6)
    for frame, true_joints, skinned in zip([0, 1, 3, 4], joints, vertices, strict=True):
        world = posed_nodes(document, array, frame)[skin.joints]
        assert np.linalg.norm(world[:, :3, 3] - true_joints, axis=-1).max() < 1e-4
        blended = np.einsum('vk,vkij->vij', share, (world @ binds)[which])
        posed = np.einsum('vij,vj->vi', blended[:, :3, :3], rest) + blended[:, :3, 3]
        # Up to the pose correctives.
        assert np.linalg.norm(posed - skinned, axis=-1).mean() < 0.01
