"""Pose space of a tokenizer: noise, errors, and the report."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.studies import extras, pose_space
from tokenhmr_jax.training import sharding
from tokenhmr_jax.training.trained_run import open_run

for package in ('matplotlib', 'sklearn'):
    pytest.importorskip(package)


def test_noise_turns_each_joint_by_its_standard_deviation(rng):
    poses = rng.normal(0, 0.5, (200, 21, 3)).astype(np.float32)
    same = pose_space.add_noise(poses, 0, rng)
    turned = pose_space.add_noise(poses, 10, rng)
    before, unturned, after = (
        Rotation.from_rotvec(p.reshape(-1, 3)) for p in (poses, same, turned)
    )
    np.testing.assert_allclose((before.inv() * unturned).magnitude(), 0, atol=1e-5)
    # Three numbers of 10 degrees each.
    square = np.degrees((before.inv() * after).magnitude()) ** 2
    assert square.mean() == pytest.approx(3 * 10**2, rel=0.05)


def test_poses_are_thinned_evenly_and_never_repeated():
    poses = np.arange(10)
    assert pose_space.thin_poses(poses, 4).tolist() == [0, 3, 6, 9]
    assert pose_space.thin_poses(poses, 99).tolist() == list(range(10))


@pytest.fixture(scope='module')
def run(trained):
    return open_run(str(trained), 'last', sharding.make_mesh(jax.devices()[:1]))


@pytest.mark.slow
def test_a_report_of_poses_in_and_out_of_distribution(run, prepared, tmp_path, rng):
    """Poses of a motion file are far from the training's."""
    far = np.pad(rng.normal(0, 1.5, (30, 63)), ((0, 0), (3, 90)))
    np.savez(tmp_path / 'far_poses.npz', poses=far.astype(np.float32))
    (tmp_path / 'Far').mkdir()
    (tmp_path / 'far_poses.npz').rename(tmp_path / 'Far/far_poses.npz')
    poses = pose_space.gather(run, (), (), str(tmp_path), 20)
    assert {name: (len(p.body_pose), p.inside) for name, p in poses.items()} == {
        'amass/procedural_heldout': (20, True), 'Far': (20, False),
    }  # fmt: skip
    np.testing.assert_allclose(poses['Far'].body_pose[-1].ravel(), far[-1, 3:66], rtol=1e-6)

    text, figure = pose_space.report_pose_space(run, poses, 'title')
    rows = [line.strip('| ').split(' | ') for line in text.splitlines() if line.startswith('| ')]
    inside, outside = rows[2], rows[3]
    assert (inside[:3], outside[:3]) == (
        ['amass/procedural_heldout', 'in', '20'],
        ['Far', 'out of', '20'],
    )
    assert float(outside[6]) > float(inside[6])
    records = pipeline.open_split(str(prepared), 'amass/procedural_heldout')
    expected = np.linspace(0, len(records) - 1, 20).astype(int)
    batch = run.task.batch(pipeline.take([records], expected))
    bodies = jax.jit(run.task.report.bodies)
    error = bodies(run.params, run.state, run.frozen, batch).mpjpe_mm.mean()
    assert float(inside[3]) == pytest.approx(float(error), rel=1e-3)
    tokens = dict(zip(rows[4], rows[6], strict=True))
    assert tokens['tokens'] == 'amass/procedural_heldout'
    assert float(tokens['mpjpe_mm']) == pytest.approx(float(error), rel=1e-3)
    assert float(tokens['nominal_bits']) == 20 * 5  # of 32 codes
    assert 0 < float(tokens['kept_2deg']) <= float(tokens['kept_0.5deg']) <= 1
    noise = {row[0]: list(map(float, row[1:])) for row in rows[10:13]}
    assert noise['noise'][0] == pytest.approx(0, abs=0.01)
    assert noise['to noisy'][0] == noise['to clean'][0] == float(inside[3])
    assert noise['noise'] == sorted(noise['noise'])
    figure.savefig(tmp_path / 'out.png')
    assert len(figure.axes) == 3


def test_a_regressor_has_no_pose_space(run):
    config = run.config.copy_and_resolve_references()
    config.task = 'regressor'
    with pytest.raises(ValueError, match='expected that of a tokenizer'):
        pose_space.Reconstructor(dataclasses.replace(run, config=config))


def test_what_is_not_installed_is_named():
    with pytest.raises(
        ImportError, match=r'nothing_at_all: not installed; pip install "tokenhmr_jax\[report\]"'
    ):
        extras.need_packages('numpy', 'nothing_at_all')
