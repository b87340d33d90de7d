"""Meshes and animations, read back by other libraries."""

import bvhio
import numpy as np
import pytest
import trimesh
from glb_files import posed_nodes, read_glb, skinned
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton, smpl
from tokenhmr_jax.inference import video
from tokenhmr_jax.inference.outputs import meshes
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
        # (1, 0, 0) x (0, -1, -1), the edges of the only face
        np.testing.assert_allclose(
            found.vertex_normals, [[0, 0.5**0.5, -(0.5**0.5)]] * 3, atol=1e-6
        )


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
    person = video.animated_person('person', mannequin, track)
    video.write_animations(tmp_path / '0', mannequin, person, fps=30.0)
    file = bvhio.readAsBvh(str(tmp_path / '0.bvh'))
    assert file.FrameTime == pytest.approx(1 / 30) and file.FrameCount == 5  # one is filled in
    root = bvhio.readAsHierarchy(str(tmp_path / '0.bvh'))
    for frame, expected in zip([0, 1, 3, 4], joints, strict=True):
        root.loadPose(frame)
        places = {joint.Name: np.array(joint.PositionWorld) / 100 for joint, _, _ in root.layout()}
        off = np.array([places[name] for name in skeleton.JOINTS]) - expected
        assert np.linalg.norm(off, axis=-1).max() < 1e-4  # metres


def test_animated_glb_has_the_joints_and_the_skin_of_smpl(mannequin, walker, tmp_path):
    """Its nodes, its skin and its motion, evaluated as the specification says."""
    track, joints, vertices = walker
    person = video.animated_person('person', mannequin, track)
    video.write_animations(tmp_path / '0', mannequin, person, fps=30.0)
    document, array = read_glb(tmp_path / '0.glb')
    times = array(document.animations[0].samplers[0].input)
    np.testing.assert_allclose(times, np.arange(5) / 30, atol=1e-6)
    for frame, true_joints, truth in zip([0, 1, 3, 4], joints, vertices, strict=True):
        world = posed_nodes(document, array, frame / 30)
        posed = world[document.skins[0].joints][:, :3, 3]
        assert np.linalg.norm(posed - true_joints, axis=-1).max() < 1e-4
        # Up to the pose correctives.
        off = skinned(document, array, world, 'person') - truth
        assert np.linalg.norm(off, axis=-1).mean() < 0.01
