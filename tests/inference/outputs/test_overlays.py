"""Bodies over their picture, and beside it."""

import numpy as np
import pytest

from tokenhmr_jax.inference.outputs import overlays

SIZE = (120, 160)  # height, width
FACES = np.array([[0, 1, 2], [0, 2, 3], [0, 2, 1], [0, 3, 2]])  # both sides of a square


def square(x, z):
    """A square of 1.6 m that stands at a distance, turned so that all views see it."""
    corners = np.array([[-0.4, -0.8, -0.4], [-0.4, 0.8, -0.4], [0.4, 0.8, 0.4], [0.4, -0.8, 0.4]])
    return corners + np.array([x, 0, z])


def sheet(people, ids, **more):
    image = np.full((*SIZE, 3), 128, np.uint8)
    vertices = np.array(people) if people else np.zeros((0, 0, 3))
    middle = np.array(SIZE[::-1]) / 2
    return overlays.overlay_sheet(image, vertices, FACES, ids, 100.0, middle, **more)


def rows_with_ink(drawn, count):
    """Which of the rows beside the picture are drawn in."""
    side = drawn[:, SIZE[1] :]
    return [bool((row != 255).any()) for row in np.array_split(side, count)]


def test_each_body_has_a_row_of_its_colour():
    drawn = sheet([square(-1, 4), square(1, 4)], [0, 1])
    assert drawn.shape == (120, 160 + 60, 3)
    for row, blueish in ((drawn[:60, 160:], True), (drawn[60:, 160:], False)):
        ink = row[(row != 255).any(axis=-1)].astype(int)
        assert len(ink) > 50 and ((ink[:, 2] > ink[:, 0]) == blueish).all()
    assert (drawn[:, 40:120] != 128).any()


def test_the_nearest_have_rows_and_a_film_keeps_its_own():
    crowd = [square(i - 2, 4 + i) for i in range(5)]
    drawn = sheet(crowd, range(5))
    assert rows_with_ink(drawn, overlays.MOST_BESIDE) == [True] * 4
    np.testing.assert_array_equal(drawn[:, 160:], sheet(crowd[:4], range(4))[:, 160:])
    assert rows_with_ink(sheet(crowd[:2], [3, 7], beside=[3, 5, 9]), 3) == [True, False, False]


@pytest.mark.parametrize('people', [0, 1, 4])
def test_pictures_of_few_pixels(people):
    image = np.zeros((1, 3, 3), np.uint8)
    vertices = np.array([square(0, 4 + i) for i in range(people)]).reshape((people, 4, 3))
    drawn = overlays.overlay_sheet(image, vertices, FACES, range(people), 2.0, np.array([1.5, 0.5]))
    assert drawn.shape == (2, 3 + 1, 3)
