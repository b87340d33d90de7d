"""Persons of rtmlib's output."""

import numpy as np

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.inference.people.detectors import rtmpose


def test_persons_of_output():
    """A score is the mean of the known points; a person of guesses is none."""
    points = np.arange(2 * 26 * 2, dtype=float).reshape(2, 26, 2)
    confidence = np.full((2, 26), 0.1)
    confidence[0, :3], confidence[0, 18] = 0.5, 0.9
    found = rtmpose.persons_of_output(np.array([[0, 0, 9, 9], [1, 1, 8, 8.0]]), points, confidence)
    assert found.boxes.tolist() == [[0, 0, 9, 9]]
    np.testing.assert_allclose(found.scores, [(3 * 0.5 + 0.9) / 4])
    neck = found.keypoints2d[0, skeleton.KEYPOINTS.index('OP Neck')]
    np.testing.assert_allclose(neck, [36, 37, 0.9], rtol=1e-6)
    assert (found.keypoints2d[0, :, 2] > 0).sum() == 4
