"""Bounds of crops that follow from OpenCV's arithmetic.

`cv2.warpAffine` of OpenCV 4 interpolates at places rounded to 1/32 of a pixel, which it computes in
steps of 1/1024, with weights of 15 bits, and rounds the result.
"""

import cv2
import numpy as np

# Largest distance of a rounded place from the exact one, along an axis, px.
OFF_EXACT = 1 / 64 + 1 / 1024
# Of two places that are almost the same and are rounded to different sides.
OFF_EACH_OTHER = 1 / 32
# Four weights of 15 bits, each off by two units at most, of values up to 255; in grey levels.
OFF_WEIGHTS = 4 * 2 * 255 / 2**15
OFF_ROUNDED = 0.5


def places(matrix, crop_size):
    """Where a crop's pixels lie in the image: (S, S, 2), x and y, in float64."""
    row, column = np.mgrid[:crop_size, :crop_size]
    place = np.stack([column, row], axis=-1) - matrix[:, 2]
    return place @ np.linalg.inv(matrix[:, :2]).T


def largest_steps(image, place):
    """Sum of the largest steps between neighbouring pixels along x and along y, (S, S, 3).

    Within a pixel of each place; black outside the image. Bilinear interpolation changes by no more
    when the place moves by a pixel along both axes.
    """
    margin = 5
    padded = np.pad(image.astype(np.float32), ((margin, margin), (margin, margin), (0, 0)))
    steps = sum(
        cv2.dilate(np.abs(np.diff(padded, axis=axis, append=0)), np.ones((5, 5))) for axis in (0, 1)
    )
    x, y = np.moveaxis(np.floor(place).astype(int), -1, 0)
    height, width = image.shape[:2]
    return steps[np.clip(y, -2, height) + margin, np.clip(x, -2, width) + margin]
