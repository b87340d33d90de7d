"""Tables of TALS thresholds: the shipped one, others, and the copy in a run's folder."""

import csv

import ml_collections
import numpy as np
import pytest

from tokenhmr_jax.objectives import tals
from tokenhmr_jax.training.kept_files import keep_files, use_kept_files

THRESHOLDS = tals.Thresholds(np.full(44, 0.25, np.float32), np.full(24, 0.5, np.float32))


def test_thresholds_can_be_scaled():
    double = tals.scale_thresholds(THRESHOLDS, 2.0)
    np.testing.assert_array_equal(double.keypoints2d, 2 * THRESHOLDS.keypoints2d)
    np.testing.assert_array_equal(double.angles, 2 * THRESHOLDS.angles)
    with pytest.raises(ValueError, match=r'tals\.scale=-1'):
        tals.scale_thresholds(THRESHOLDS, -1.0)


def test_the_shipped_table():
    release, table1 = tals.load_thresholds('release'), tals.load_thresholds('table1')
    assert release.keypoints2d.shape == (44,)
    assert release.angles.shape == (24,)
    assert float(release.keypoints2d[0]) == pytest.approx(0.0085024)
    assert float(table1.angles[-1]) == pytest.approx(0.20)
    # One is the other, rounded.
    np.testing.assert_allclose(release.keypoints2d, table1.keypoints2d, atol=5.1e-6)
    np.testing.assert_allclose(release.angles, table1.angles, atol=5.1e-3)


@pytest.fixture
def table(tmp_path):
    """A table's rows, and how to write and load them."""

    def load(rows):
        path = tmp_path / 'edited.csv'
        with open(path, 'w', newline='') as file:
            csv.writer(file).writerows(rows)
        return tals.load_thresholds(path)

    tals.write_thresholds(THRESHOLDS, tmp_path / 'saved.csv')
    with open(tmp_path / 'saved.csv', newline='') as file:
        return list(csv.reader(file)), load


def test_another_table_is_read_from_its_path(table):
    rows, load = table
    rows[3][3] = '0.125'
    found = load(rows)
    np.testing.assert_allclose(found.keypoints2d[:4], [0.25, 0.25, 0.125, 0.25])
    np.testing.assert_allclose(found.angles, THRESHOLDS.angles)


def test_a_run_keeps_its_table(table, tmp_path):
    config = ml_collections.ConfigDict(
        {'body': 'mannequin', 'tals': {'thresholds': str(tmp_path / 'saved.csv')}}
    )
    run = tmp_path / 'run'
    run.mkdir()
    keep_files(str(run), config)
    (tmp_path / 'saved.csv').unlink()
    use_kept_files(str(run), config)
    np.testing.assert_array_equal(
        tals.load_thresholds(config.tals.thresholds).angles, THRESHOLDS.angles
    )
    config.tals.thresholds = 'table1'
    keep_files(str(run), config)
    use_kept_files(str(run), config)
    assert config.tals.thresholds == 'table1'


@pytest.mark.parametrize('value', ['-0.1', 'nan', 'inf', 'much', ''])
def test_a_bad_threshold_is_named(table, value):
    rows, load = table
    rows[45 + 4][3] = value
    with pytest.raises(ValueError, match=rf'edited.csv: smpl_angle left_knee: .*{value!r}'):
        load(rows)


def test_a_missing_joint_is_named(table):
    rows, load = table
    with pytest.raises(ValueError, match=r'edited.csv: no row keypoint_2d,7,OP LWrist'):
        load(rows[:8] + rows[9:])


def test_wrong_order_and_what_is_too_much_are_named(table):
    rows, load = table
    with pytest.raises(ValueError, match=r"row 1 .*'OP Neck'.*expected keypoint_2d,0,OP Nose"):
        load([rows[0], rows[2], rows[1], *rows[3:]])
    with pytest.raises(ValueError, match=r"row 69 .*'tail'.*expected the end"):
        load([*rows, ['smpl_angle', '24', 'tail', '1']])


def test_a_table_without_its_column_or_text_or_file(table, tmp_path):
    rows, load = table
    with pytest.raises(ValueError, match=r"expected .*'threshold'"):
        load([[*rows[0][:3], 'release'], *rows[1:]])
    (tmp_path / 'binary.csv').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ValueError, match=r'binary.csv: not a text file'):
        tals.load_thresholds(tmp_path / 'binary.csv')
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv: .*'release'"):
        tals.load_thresholds(tmp_path / 'nowhere.csv')
