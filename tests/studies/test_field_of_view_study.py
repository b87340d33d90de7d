"""The study of fields of view: what it draws, and how it counts."""

import numpy as np
import pytest

from tokenhmr_jax.inference.model import load
from tokenhmr_jax.studies import field_of_view


@pytest.mark.slow
def test_people_stand_where_they_should():
    """In a picture of a diagonal of 2000 pixels, and as large as people at their distance; with all
    true keypoints, COCO's, and a detector's."""
    model, place = load('bundled'), np.log(0.5)
    drawn = [
        field_of_view._draw(model, condition, 5.0, place, 3, 7)
        for condition in field_of_view.CONDITIONS
    ]
    true, coco, detected = drawn
    seen = true[..., 2] > 0
    assert np.linalg.norm(true[..., :2] - [800, 600], axis=-1)[seen].max() < 1000
    # 2000 px across the diagonal are a focal length of 2000: 1.7 m at 5 m are 680 px at most.
    height = [np.ptp(points[known, 1]) for points, known in zip(true, seen, strict=True)]
    assert 150 < max(height) < 900
    known = coco[..., 2] > 0
    assert known.sum(1).max() == 17
    np.testing.assert_array_equal(coco[known], true[known])
    both = known & (detected[..., 2] > 0)
    off = np.linalg.norm(detected - coco, axis=-1)[both]
    assert 0.5 < np.median(off) < 60


def test_estimates_are_counted():
    errors, levels = np.array([-0.1, 0.02, 0.04, 0.3]), np.array([0.01, 0.5, 0.7, 0.99])
    found = field_of_view.Estimates(errors, np.full(4, 0.05), levels)
    groups, median, most, told, inside, wide = map(float, found.row())
    assert (groups, median, told) == (4, 7.0, 5.0)
    assert most == pytest.approx(np.percentile([2, 4, 10, 30], 90), abs=0.05)
    assert (inside, wide) == (50, 50)  # 0.16 to 0.84; 0.025 to 0.975
