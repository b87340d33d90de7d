"""Agreement of cameras, loss terms and metrics with the original PyTorch implementation's numbers.

A small part of the numbers ships with the project; where the full set lies beside the checkout, the
same checks run on it too. Tolerances are those stated with the numbers.
"""

import jax
import numpy as np
import pytest
from golden import assert_close, fixture

from tokenhmr_jax.body import camera, rotations, smpl
from tokenhmr_jax.objectives import losses, metrics, tals
from tokenhmr_jax.types import SmplParams

# The release's sources of ground truth.
TRUE_SOURCES = ('H36M', 'BEDLAM')


# Compiled: run as they stand, every operation in them is compiled on its own.
axis_angle_to_matrix = jax.jit(rotations.axis_angle_to_matrix)
evaluation_points = jax.jit(metrics.evaluation_points, static_argnums=0)
body_errors = jax.jit(metrics.body_errors)

golden = fixture('golden_stage2_losses.npz', 'golden.npz', 'golden_more.npz')


@pytest.fixture(scope='module')
def bodies(golden, random_body):
    """The predicted and the true bodies."""
    rotation = np.asarray(axis_angle_to_matrix(golden['gt_axis_angle']))
    predicted = SmplParams(
        golden['pred_global_orient'][:, 0], golden['pred_body_pose'], golden['pred_betas']
    )
    true = SmplParams(rotation[:, 0], rotation[:, 1:], golden['gt_betas'])
    forward = jax.jit(smpl.forward)
    return forward(random_body, predicted), forward(random_body, true)


@pytest.fixture(scope='module')
def pairs(golden):
    """Predictions and labels, as the losses take them."""
    parts = [golden['pred_global_orient'], golden['pred_body_pose']]
    return {
        'keypoints2d': golden['pred_keypoints2d'],
        'keypoints2d_gt': golden['gt_keypoints2d'],
        'rotation': np.concatenate(parts, axis=1),
        'rotation_gt': np.asarray(axis_angle_to_matrix(golden['gt_axis_angle'])),
    }


@pytest.fixture(scope='module')
def errors(golden, pairs):
    return jax.jit(losses.regressor_errors)(
        **pairs,
        keypoints3d=golden['pred_joints44'],
        keypoints3d_gt=golden['gt_keypoints3d'],
        betas=golden['pred_betas'],
        betas_gt=golden['gt_betas'],
    )


def sums(errors, weights):
    """The original's terms are sums over its batch of three."""
    return jax.jit(losses.batch_terms)(errors, weights, reference_batch=3)


def test_predicted_keypoints(golden, bodies, random_body):
    assert_close(bodies[0].vertices[:, ::100], golden['pred_vertices_every_100'])
    points = jax.jit(smpl.keypoints)(random_body, bodies[0])
    assert_close(points, golden['pred_joints44'])
    translation = camera.crop_translation(golden['pred_cam'])
    assert_close(translation, golden['pred_cam_t'])
    assert_close(camera.project_crop(points, translation), golden['pred_keypoints2d'])


def test_full_image_translation(golden):
    size = golden['full_image_size']
    focal_length = camera.original_focal_length(size)
    np.testing.assert_allclose(focal_length, np.full(3, golden['full_focal']), rtol=1e-6)
    found = camera.full_translation(
        golden['pred_cam'],
        golden['full_box_center'],
        golden['full_box_size'],
        focal_length,
        size / 2,
    )
    assert_close(found, golden['full_cam_t'])


def test_plain_terms(golden, errors):
    terms = sums(errors, losses.label_weights(golden['has_pose'], golden['has_betas']))
    for name, term in terms.items():
        assert_close(term, golden[f'plain_{name}'])


@pytest.mark.parametrize(
    'prefix, has_pose', [('tals', 'has_pose'), ('tals_has0', 'has_pose_zero_on_gt')]
)
def test_tals_terms(golden, pairs, errors, prefix, has_pose):
    compare = jax.jit(tals.compare_errors, static_argnames='distance')
    below = compare(tals.load_thresholds('release'), **pairs, distance='squared')
    weights = tals.tals_weights(
        below,
        confidence2d=golden['gt_keypoints2d'][..., 2],
        has_pose=golden[has_pose],
        has_betas=golden['has_betas'],
        is_ground_truth=np.array([n.startswith(TRUE_SOURCES) for n in golden['dataset_names']]),
        loose=0.05,
    )
    for name, term in sums(errors, weights).items():
        assert_close(term, golden[f'{prefix}_{name}'])


def test_metrics_of_14_keypoints(golden, bodies, random_body):
    points, points_gt = (
        evaluation_points('lsp14', keypoints, body.vertices, random_body.joint_regressor)[0]
        for keypoints, body in (
            (golden['pred_joints44'], bodies[0]),
            (golden['gt_keypoints3d'][..., :3], bodies[1]),
        )
    )
    found = body_errors(points, points_gt, bodies[0].vertices, bodies[1].vertices)
    assert_close(found['mpjpe_mm'], golden['metric_mpjpe_mm'])
    assert_close(found['pa_mpjpe_mm'], golden['metric_pa_mpjpe_mm'])


def test_metrics_of_24_joints(golden, bodies, random_body):
    (points, mesh), (points_gt, mesh_gt) = (
        evaluation_points('smpl24', None, body.vertices, random_body.joint_regressor)
        for body in bodies
    )
    found = body_errors(points, points_gt, mesh, mesh_gt)
    for name in ('mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm'):
        assert_close(found[name], golden[f'emdb_{name}'])
