"""The density of joint rotations, against numbers of the original and by hand."""

import numpy as np
import pytest
from conftest import command

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.readers import amass
from tokenhmr_jax.readers.pose_density import (
    LEAST_DENSITY,
    count_poses,
    density_at,
    is_probable,
    load_density,
    smooth_density,
)


def test_agrees_with_the_original(shared):
    """The histogram of every 5th frame of all clips; densities and verdict of 40 poses."""
    golden = np.load(shared / 'golden/golden_more.npz')
    clips = sorted((shared / 'mocap').glob('*.npz'))
    poses = [
        amass.read_body_pose(amass.Clip('mocap', path.stem, path, 'amass', ''))[::5]
        for path in clips
    ]
    density = smooth_density(count_poses([np.concatenate(poses)]))
    asked = golden['prob_poses'][:, :63].reshape(-1, 21, 3)
    found = density_at(density, asked)
    np.testing.assert_allclose(found, golden['prob_values'], rtol=1e-4, atol=1e-12)
    np.testing.assert_array_equal(is_probable(density, asked), golden['prob_probable'])
    assert 0 < golden['prob_probable'].sum() < 40


def test_bins_and_whole_turns():
    """Bins are 2 pi / 100 wide; a turn by 2 pi - 0.1 is one by 0.1 the other way."""
    pose = np.zeros((1, 21, 3))
    pose[0, 3] = [2 * np.pi - 0.1, 0, 0]
    pose[0, 4] = [0.1, -3.14, np.pi]
    counts = count_poses([pose, pose])
    # (-0.1 + pi) / (2 pi) * 100 = 48.4; zero lies on the edge of two bins.
    assert counts[3, 48, 49, 49] == 2
    # Its angle of 4.44 becomes one of 1.84, the other way: (-0.0414, 1.30, -1.30).
    assert counts[4, 49, 70, 29] == 2
    assert counts.sum() == 42


def test_every_joint_must_be_probable():
    density = np.zeros((21, 100, 100, 100), np.float32)
    density[:, 50, 50, 50] = LEAST_DENSITY * 1.01 + 1e-9
    pose = np.full((3, 21, 3), 0.01)
    pose[1, skeleton.BODY_JOINTS.index('head')] = 0.5
    assert is_probable(density, pose).tolist() == [True, False, True]
    density[skeleton.BODY_JOINTS.index('left_foot')] = 0
    assert not is_probable(density, pose).any()


@pytest.mark.slow
def test_command(prepared, tmp_path):
    out = tmp_path / 'new/density.npy'
    printed = command(
        '-m', 'tokenhmr_jax.studies.pose_density', f'--data_dir={prepared}',
        '--split=amass/procedural_heldout', f'--out={out}',
    )  # fmt: skip
    assert '150 poses of amass/procedural_heldout' in printed
    assert [path.name for path in out.parent.iterdir()] == ['density.npy']
    density = load_density(out)
    volume = (2 * np.pi / 100) ** 3
    # All joints together make 1, but for what the smoothing loses at the ends of their list.
    assert 0.8 < density.sum(dtype=np.float64) * volume < 1


@pytest.mark.parametrize('dtype', ['float64', 'float32', 'int64', 'uint16', '>f8'])
def test_counts_become_a_density(tmp_path, dtype):
    """One full bin: its share of the volume, spread by a Gaussian of 2 bins over all four axes."""
    counts = np.zeros((21, 100, 100, 100), dtype)
    counts[10, 50, 50, 50] = 40_000
    counts[10, 20, 50, 50] = 10_000
    np.save(tmp_path / 'counts.npy', counts)
    density = load_density(tmp_path / 'counts.npy')
    assert density.dtype == np.float32
    # The truncated Gaussian of SciPy: 4 sigma to both sides.
    gauss = np.exp(-0.5 * (np.arange(-8, 9) / 2) ** 2)
    gauss /= gauss.sum()
    volume = (2 * np.pi / 100) ** 3
    for joint, x, steps in ((10, 50, (0, 0)), (11, 50, (1, 0)), (10, 53, (0, 3)), (19, 50, (9, 0))):
        by_hand = np.prod([gauss[8 + step] if step < 9 else 0 for step in (*steps, 0, 0)])
        np.testing.assert_allclose(density[joint, x, 50, 50], 0.8 * by_hand / volume, rtol=1e-5)
    np.testing.assert_allclose(density.sum(dtype=np.float64) * volume, 1, rtol=1e-4)


def test_a_density_is_taken_as_it_is(tmp_path):
    """Mapped, not read: all processes share it."""
    counts = np.zeros((21, 100, 100, 100))
    counts[:, 50, 50, 50] = 3
    density = smooth_density(counts)
    np.save(tmp_path / 'density.npy', density)
    found = load_density(tmp_path / 'density.npy')
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, density)


def filled(value, dtype=np.float32):
    return np.full((21, 100, 100, 100), value, dtype)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (lambda: b'nothing', 'no readable .npy file'),
        (lambda: np.zeros(3), r'float64 \(3,\), expected counts or a density'),
        (lambda: filled(0), 'all zero'),
        (lambda: filled(-1), 'negative'),
        (lambda: filled(np.nan), 'not finite'),
        (lambda: filled(True, bool), 'bool'),
        # Each joint's density integrates to 1: another normalisation than the thresholds'.
        (lambda: filled((2 * np.pi) ** -3), r'neither counts.*integral 21'),
        (lambda: filled(1e-4, np.float64), 'neither counts.*float64'),
    ],
)
def test_what_is_no_density_is_refused(tmp_path, content, message):
    path, content = tmp_path / 'x.npy', content()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match=rf'x\.npy: .*{message}'):
        load_density(path)
    with pytest.raises(FileNotFoundError, match=r'tokenhmr_jax\.studies\.pose_density'):
        load_density(tmp_path / 'none.npy')
