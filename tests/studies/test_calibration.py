"""The study of samples' calibration."""

import numpy as np
import pytest

from tokenhmr_jax.studies import calibration
from tokenhmr_jax.types import BodySamples


def test_coverage_by_hand():
    """A truth within the spread around the mean is covered; all is seen from the pelvis."""
    joints = np.zeros((1, 3, 24, 3), np.float32)
    joints[0, :, 20, 0] = [0.1, 0.2, 0.3]
    spread = np.zeros((1, 24), np.float32)
    spread[0, 20] = 60
    samples = BodySamples(np.zeros((1, 3, 23, 3, 3), np.float32), joints, spread)
    true = np.zeros((1, 24, 3), np.float32)
    true[0, 20, 0] = 0.25
    answer = np.zeros_like(true)
    covered, _, error, of_answer = calibration.compare(samples, answer, true + 0.5)
    assert covered[0, 20] == 100 and covered[0, 0] == 100
    np.testing.assert_allclose([error[0, 20], of_answer[0, 20]], [50, 250], rtol=1e-4)
    true[0, 20, 0] = 0.27
    assert calibration.compare(samples, answer, true)[0][0, 20] == 0


def test_the_fitted_temperature_has_the_coverage_nearest_to_that_of_samples():
    assert calibration.fit_temperature([60, 77, 90], [0.5, 1.0, 2.0]) == 1.0
    assert len(calibration.MOVED) == 20


@pytest.mark.slow
def test_the_command(prepared, capsys):
    given = '--limit=8', '--samples=5', '--temperatures=0.5', '--split=amass/procedural_heldout'
    calibration.main([f'--data_dir={prepared}', *given])
    printed = capsys.readouterr().out
    assert 'temperature 0.5, amass/procedural_heldout:' in printed
    assert sum(line.startswith('| ') for line in printed.splitlines()) == 3 + 23
