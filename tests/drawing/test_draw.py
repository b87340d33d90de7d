"""Drawing over pictures."""

import numpy as np

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.drawing import draw

WRIST, ELBOW = (skeleton.KEYPOINTS.index(f'OP L{part}') for part in ('Wrist', 'Elbow'))


def test_keypoints_and_bones_have_their_sides_colour():
    points = np.zeros((44, 3))
    points[WRIST], points[ELBOW] = (10, 20, 1), (50, 20, 1)
    right = skeleton.KEYPOINT_TWINS[WRIST]
    points[right] = (10, 50, 1)
    image = draw.draw_keypoints(np.zeros((64, 64, 3), np.uint8), points)
    for x, y, color in ((10, 20, draw.LEFT), (30, 20, draw.LEFT), (10, 50, draw.RIGHT)):
        np.testing.assert_allclose(image[y, x], color, atol=30)  # antialiased
    assert not image[25:45].any()


def test_points_without_confidence_or_far_outside_are_not_drawn():
    blank = np.full((32, 32, 3), 7, np.uint8)
    points = np.full((44, 3), 16.0)
    points[:, 2] = 0
    np.testing.assert_array_equal(draw.draw_keypoints(blank, points), blank)
    points[:] = (1e12, -1e12, 1)
    np.testing.assert_array_equal(draw.draw_keypoints(blank, points), blank)


def test_a_mesh_covers_its_projection():
    image = np.full((20, 20, 3), 200, np.uint8)
    corners = np.array([[-1, -1, 2], [-1, 1, 2], [1, 1, 2], [1, -1, 2]]) * (0.6, 0.6, 1)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    drawn = draw.draw_mesh(image, corners, faces, (20, 20, 9.5, 9.5), opacity=0.5)
    changed = (drawn != image).any(axis=-1)
    expected = np.zeros((20, 20), bool)
    expected[4:16, 4:16] = True  # 9.5 -+ 6 px
    np.testing.assert_array_equal(changed, expected)
    # Half of what shows is the image.
    assert drawn.min() >= 100


def test_enlarging_keeps_centres():
    image = np.zeros((3, 3, 3), np.uint8)
    image[1, 2] = 255
    rows, columns = np.nonzero(draw.enlarge(image, 4)[..., 0])
    assert (rows.mean(), columns.mean()) == (4 * 1 + 1.5, 4 * 2 + 1.5)
    assert draw.side_by_side([image, image]).shape == (3, 6, 3)


def test_a_title_stands_above_the_picture_and_fits():
    image = np.full((20, 90, 3), 9, np.uint8)
    titled = draw.under_title(image, 'true (sand), predicted (blue); MPJPE')
    np.testing.assert_array_equal(titled[40:], image)
    ink = np.flatnonzero((titled[:40] < 128).any(axis=(0, 2)))
    assert len(ink) and titled[:40, -3:].min() > 200
