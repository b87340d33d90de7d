"""Scenes of all people and their camera, read back by other libraries."""

import math

import numpy as np
import pytest
import trimesh
from glb_files import posed_nodes, read_glb, skinned
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import smpl
from tokenhmr_jax.inference import video
from tokenhmr_jax.inference.outputs import gltf, overlays, results, scene
from tokenhmr_jax.types import SmplParams

LENS = gltf.Lens(900.0, np.array([640.0, 360.0]), (1280, 720))
FPS = 25.0


def make_track(rng, first: int, count: int) -> dict:
    """A person who moves at random, 4 m in front of the camera."""
    rotvec = rng.normal(0, 0.4, (count, 24, 3))
    rotvec[:, 0] = [3.0, 0.2, 0.1]
    pose = Rotation.from_rotvec(rotvec.reshape(-1, 3)).as_matrix().reshape(count, 24, 3, 3)
    track = {
        'index': np.arange(first, first + count),
        'time': np.arange(first, first + count) / FPS,
        'global_orient': pose[:, 0],
        'body_pose': pose[:, 1:],
        'betas': np.repeat(rng.normal(0, 1, (1, 10)), count, axis=0),
        'translation': rng.normal([0.5, 0.3, 4], 0.3, (count, 3)),
        'focal_length': np.full(count, LENS.focal_length),
        'principal_point': np.tile(LENS.principal_point, (count, 1)),
    }
    return {k: v.astype(np.float32) if v.dtype == float else v for k, v in track.items()}


def projected(points):
    """Pixels of points in the picture's camera, as `results` documents it."""
    return LENS.focal_length * points[..., :2] / points[..., 2:] + LENS.principal_point


def seen_by(camera, world, points):
    """Pixels of points of the scene, by glTF's own rules of cameras (specification, 3.10)."""
    local = (points - world[:3, 3]) @ world[:3, :3]
    height = 1 / math.tan(camera.yfov / 2)
    x = height / camera.aspectRatio * local[..., 0] / -local[..., 2]
    y = height * local[..., 1] / -local[..., 2]
    width, high = LENS.image_size
    return np.stack([(1 + x) * width / 2, (1 - y) * high / 2], axis=-1)


@pytest.fixture(scope='module')
def crowd(mannequin, tmp_path_factory):
    """The scene of two tracks, one from the start and one in the middle, and their bodies."""
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp('scene')
    tracks = {4: make_track(rng, 0, 12), 7: make_track(rng, 3, 6)}
    bodies = {}
    for number, track in tracks.items():
        names = ('global_orient', 'body_pose', 'betas', 'translation')
        bodies[number] = smpl.forward(mannequin, SmplParams(*(track[name] for name in names)))
        track['camera_joints'] = np.asarray(bodies[number].joints)
    (folder / 'frames').mkdir()
    results.write_arrays(folder / 'frames/000000.npz', {'image_size': np.array(LENS.image_size)})
    people = {i: video.animated_person(f'person {i}', mannequin, t) for i, t in tracks.items()}
    video._write_scene(folder, mannequin, tracks, people, FPS)
    return folder / 'scene.glb', tracks, bodies


@pytest.mark.parametrize('frame', [0, 3, 5, 8, 10])
def test_people_move_on_one_clock_as_the_camera_saw_them(crowd, frame):
    """Skinned by the file's own joints; seen by the file's own camera."""
    path, tracks, bodies = crowd
    document, array = read_glb(path)
    world = posed_nodes(document, array, frame / FPS)
    camera = next(i for i, node in enumerate(document.nodes) if node.camera is not None)
    offset = document.scenes[0].extras['offset']
    np.testing.assert_allclose(world[camera], np.eye(4) + np.pad(-np.c_[offset], ((0, 1), (3, 0))))
    for number, first in ((4, 0), (7, 3)):
        points = skinned(document, array, world, f'person {number}')
        row = frame - first
        if not 0 <= row < len(tracks[number]['time']):
            assert np.ptp(points, axis=0).max() == 0  # not there
            continue
        truth = np.asarray(bodies[number].vertices)[row]
        # Up to the pose correctives.
        moved = (points + offset) * [1, -1, -1]
        assert np.linalg.norm(moved - truth, axis=-1).mean() < 0.01
        joints = world[document.skins[0 if number == 4 else 1].joints][:, :3, 3]
        true_joints = np.asarray(bodies[number].joints)[row]
        np.testing.assert_allclose((joints + offset) * [1, -1, -1], true_joints, atol=1e-4)
        lens = document.cameras[0].perspective
        pixels = seen_by(lens, world[camera], joints)
        np.testing.assert_allclose(pixels, projected(true_joints), atol=0.05)


def test_a_scene_lies_near_the_origin_in_the_colours_of_the_overlays(crowd):
    path, tracks, _ = crowd
    document, array = read_glb(path)
    world = posed_nodes(document, array, 5 / FPS)
    joints = np.concatenate([world[skin.joints][:, :3, 3] for skin in document.skins])
    assert np.abs(joints[:, [0, 2]]).max() < 1.5 and -0.5 < joints[:, 1].min() < 0.5
    assert joints[:, 1].max() > 1
    for material, number in zip(document.materials, tracks, strict=True):
        color = material.pbrMetallicRoughness.baseColorFactor
        np.testing.assert_allclose(color, [*overlays.COLORS[number % 6], 1])
    extras = document.scenes[0].extras
    assert extras['focal_length'] == 900 and extras['principal_point'] == [640, 360]
    assert extras['image_size'] == [1280, 720]
    assert len(document.animations) == 1


def test_normals_are_those_of_the_faces(crowd, mannequin):
    """By trimesh, of the rest pose; unit vectors that point out of the body."""
    document, array = read_glb(crowd[0])
    for mesh in document.meshes:
        part = mesh.primitives[0].attributes
        rest, normals = array(part.POSITION), array(part.NORMAL)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        other = trimesh.Trimesh(rest, np.asarray(mannequin.faces), process=False)
        weighted = trimesh.geometry.mean_vertex_normals(
            len(rest), other.faces, other.face_normals * other.area_faces[:, None]
        )
        assert (np.sum(weighted * normals, axis=1) > 0.999).mean() > 0.99


def test_a_picture_has_its_people_and_its_camera(mannequin, tmp_path):
    """Read by trimesh."""
    tracks = [make_track(np.random.default_rng(i), 0, 1) for i in range(3)]
    names = ('global_orient', 'body_pose', 'betas', 'translation')
    params = SmplParams(*(np.concatenate([t[name] for t in tracks]) for name in names))
    vertices = np.asarray(smpl.forward(mannequin, params).vertices)
    faces = np.asarray(mannequin.faces)
    path = tmp_path / 'a.glb'
    scene.write_picture_scene(path, vertices, faces, np.arange(3), LENS)
    found = trimesh.load(path, process=False)
    document, _ = read_glb(path)
    offset = document.scenes[0].extras['offset']
    for i, body in enumerate(vertices):
        mesh = found.geometry[f'person {i}']
        np.testing.assert_allclose((mesh.vertices + offset) * [1, -1, -1], body, atol=1e-5)
        factor = mesh.visual.material.baseColorFactor[:3] / 255
        np.testing.assert_allclose(factor, overlays.COLORS[i], atol=1 / 255)
    low, high = found.bounds
    assert np.abs(low[1]) < 1 and np.abs((low + high)[[0, 2]]).max() < 1.5
    np.testing.assert_allclose(found.camera_transform[:3, 3], -np.array(offset), atol=1e-6)
    assert np.tan(np.radians(found.camera.fov[1]) / 2) == pytest.approx(360 / 900)
    people, lens = found.geometry['person 1'].vertices, document.cameras[0].perspective
    seen = seen_by(lens, found.camera_transform, people)
    np.testing.assert_allclose(seen, projected(vertices[1]), atol=0.05)
