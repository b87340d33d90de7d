"""Pictures of a regressor's examples."""

import numpy as np

from tokenhmr_jax.tasks import regressor_report


def test_what_is_beside_the_picture_is_white():
    """Rows and columns that are black from the border on; black inside a picture stays."""
    crop = np.full((16, 16, 3), 90, np.uint8)
    crop[6, 4:9] = 0
    shown = crop.copy()
    crop[:, :3], shown[:, :3] = 0, 255
    crop[14:], shown[14:] = 0, 255
    np.testing.assert_array_equal(regressor_report._without_bars(crop), shown)
    black = np.zeros((16, 16, 3), np.uint8)
    np.testing.assert_array_equal(regressor_report._without_bars(black), black)
