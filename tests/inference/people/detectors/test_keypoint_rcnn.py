"""Persons of Keypoint R-CNN's output, and weights of something else."""

import numpy as np
import pytest

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.inference.people.detectors import keypoint_rcnn


def test_persons_of_output():
    """Persons that score; a point's confidence is the sigmoid of its peak above 2."""
    points = np.ones((3, 17, 3), np.float32) * np.array([7, 8, 1], np.float32)
    peaks = np.full((3, 17), 2 + np.log(4), np.float32)
    peaks[0, 9] = 0.5
    output = {
        'boxes': np.array([[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7]], np.float32),
        'labels': np.array([1, 2, 1]),
        'scores': np.array([0.9, 0.9, 0.4], np.float32),
        'keypoints': points,
        'keypoints_scores': peaks,
    }
    found = keypoint_rcnn.persons_of_output(output)
    assert found.boxes.tolist() == [[0, 0, 9, 9]]
    nose, wrist = (skeleton.KEYPOINTS.index(name) for name in ('OP Nose', 'OP LWrist'))
    np.testing.assert_allclose(found.keypoints2d[0, nose], [7, 8, 0.8], rtol=1e-6)
    assert found.keypoints2d[0, wrist].tolist() == [0, 0, 0]


def test_weights_of_something_else(tmp_path):
    pytest.importorskip('torchvision')
    (tmp_path / 'a.pth').write_text('no weights')
    with pytest.raises(ValueError, match=r'a\.pth: not weights of the detector'):
        keypoint_rcnn.keypoint_rcnn(str(tmp_path / 'a.pth'))
    with pytest.raises(FileNotFoundError):
        keypoint_rcnn.keypoint_rcnn(str(tmp_path / 'b.pth'))
