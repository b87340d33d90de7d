"""Errors of bodies: by hand, and by SciPy's alignment."""

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenhmr_jax.objectives import metrics

# Compiled: run as they stand, every operation in them is compiled on its own.
procrustes = jax.jit(metrics.procrustes)
evaluation_points = jax.jit(metrics.evaluation_points, static_argnums=0)


def similar(points, rng):
    """The points, somewhere else, turned and in another size."""
    turned = points @ Rotation.random(rng=rng).as_matrix().T
    return (1.7 * turned + rng.normal(size=3)).astype(np.float32)


def best_similarity(points, target):
    """By SciPy: the best rotation, then the best scale for it."""
    centred, centred_gt = points - points.mean(0), target - target.mean(0)
    rotation, _ = Rotation.align_vectors(centred_gt, centred)
    turned = rotation.apply(centred)
    scale = np.sum(turned * centred_gt) / np.sum(turned * turned)
    return scale * turned + target.mean(0)


@pytest.fixture
def joints(rng):
    return rng.normal(size=(14, 3)).astype(np.float32)


def test_distances_by_hand():
    points = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]], np.float32)
    np.testing.assert_allclose(metrics.distances(points, np.zeros_like(points)), [5, 2])
    np.testing.assert_allclose(metrics.distances(points[:, :2], np.zeros((2, 2))), [5, 0])
    assert metrics.mean_distance_mm(points, np.zeros_like(points)) == pytest.approx(3500)


def test_procrustes_undoes_a_similarity(joints, rng):
    moved = np.stack([similar(joints, rng) for _ in range(3)])
    aligned = procrustes(moved, np.stack([joints] * 3))
    np.testing.assert_allclose(aligned, np.stack([joints] * 3), atol=1e-5)


@pytest.mark.parametrize('mirrored', [False, True])
def test_procrustes_is_the_best_similarity_without_reflection(joints, rng, mirrored):
    noisy = joints + rng.normal(0, 0.1, joints.shape).astype(np.float32)
    points = similar(noisy * [-1 if mirrored else 1, 1, 1], rng)
    aligned = procrustes(points, joints)
    np.testing.assert_allclose(aligned, best_similarity(points, joints), atol=1e-4)
    error = metrics.mean_distance_mm(aligned, joints)
    assert (error > 500) if mirrored else (error < 200)


@pytest.mark.parametrize('dimensions', [0, 1, 2])
def test_procrustes_of_points_on_a_plane_a_line_or_a_spot(joints, rng, dimensions):
    flat = joints * (np.arange(3) < dimensions)
    aligned = procrustes(similar(flat, rng), flat)
    np.testing.assert_allclose(aligned, flat, atol=1e-5)


def test_pck_counts_what_is_near_enough_and_known():
    distance = np.array([[0.1, 0.15, 0.2, 0.0], [1, 1, 0.1, 1]], np.float32)
    np.testing.assert_allclose(metrics.pck(distance, 0.15), [0.75, 0.25])
    counted = np.array([[1, 1, 1, 0], [1, 0, 0.3, 0]])
    np.testing.assert_allclose(metrics.pck(distance, 0.15, counted), [2 / 3, 0.5])


def test_conventions_are_centred_as_they_say(rng):
    keypoints = rng.normal(size=(2, 44, 3)).astype(np.float32)
    vertices = rng.normal(size=(2, 60, 3)).astype(np.float32)
    regressor = rng.dirichlet(np.ones(60), 24).astype(np.float32)
    points, mesh = evaluation_points('lsp14', keypoints, vertices, regressor)
    assert points.shape == (2, 14, 3)
    np.testing.assert_allclose(points[:, 13], keypoints[:, 43] - keypoints[:, 39], atol=1e-6)
    np.testing.assert_allclose(mesh, vertices - keypoints[:, 39, None], atol=1e-6)

    points, mesh = evaluation_points('smpl24', keypoints, vertices, regressor)
    np.testing.assert_allclose(points[:, 1] + points[:, 2], np.zeros((2, 3)), atol=1e-5)
    pelvis = regressor[0] @ vertices[0]
    np.testing.assert_allclose(mesh[0] - points[0, 0], vertices[0] - pelvis, atol=1e-5)


def test_conventions_have_names():
    names = metrics.CONVENTIONS['lsp14']
    assert names[0] == 'LSP RAnkle'
    assert names[-2:] == ('LSP Neck', 'H36M Head')
    assert len(metrics.CONVENTIONS['smpl24']) == 24
    with pytest.raises(ValueError, match=r"'h36m17'.*lsp14"):
        metrics.evaluation_points('h36m17', np.zeros((44, 3)), np.zeros((9, 3)), np.zeros((24, 9)))


def test_body_errors_of_a_shifted_and_a_perfect_body(rng):
    joints = rng.normal(size=(2, 24, 3)).astype(np.float32)
    mesh = rng.normal(size=(2, 50, 3)).astype(np.float32)
    shift = np.array([[[0.3, 0, 0]], [[0, 0, 0]]], np.float32)
    errors = jax.jit(metrics.body_errors)(joints + shift, joints, mesh + shift, mesh)
    np.testing.assert_allclose(errors['mpjpe_mm'], [300, 0], atol=1e-3)
    np.testing.assert_allclose(errors['pve_mm'], [300, 0], atol=1e-3)
    np.testing.assert_allclose(errors['pa_mpjpe_mm'], [0, 0], atol=1e-2)
    np.testing.assert_allclose(errors['pck_150mm'], [0, 1])
    np.testing.assert_allclose(errors['joint_mm'][0], np.full(24, 300), atol=1e-3)
