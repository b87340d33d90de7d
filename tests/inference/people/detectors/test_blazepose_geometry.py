"""Anchors, decoding, suppression and regions, by numbers worked out by hand."""

import numpy as np
import pytest

from tokenhmr_jax.data import crops
from tokenhmr_jax.inference.people.detectors import blazepose_geometry as geometry


def detections(boxes, scores) -> geometry.Detections:
    boxes = np.array(boxes, np.float32)
    return geometry.Detections(
        boxes, np.array(scores, np.float32), boxes[:, :2] + 100, boxes[:, :2] + 200
    )


def test_anchors():
    """28 x 28 cells of 8 pixels with 2 anchors, 14 x 14 with 2, 7 x 7 with 6: row by row."""
    centres = geometry.anchors()
    assert centres.shape == (28 * 28 * 2 + 14 * 14 * 2 + 7 * 7 * 6, 2) == (2254, 2)
    np.testing.assert_allclose(centres[[0, 1]] * 224, [[4, 4], [4, 4]])
    np.testing.assert_allclose(centres[[2, 56]] * 224, [[12, 4], [4, 12]], rtol=1e-6)
    np.testing.assert_allclose(centres[1568] * 224, [8, 8], rtol=1e-6)
    np.testing.assert_allclose(centres[-1] * 224, [208, 208], rtol=1e-6)


def test_decoding():
    """Offsets and sizes are pixels of 224, from the anchor; a logit of 2 is a score of 0.88."""
    raw, logits = np.zeros((2254, 12), np.float32), np.full(2254, -9, np.float32)
    logits[2] = 2
    raw[2] = [10, 20, 40, 60, 0, 100, 0, -4, 0, 0, 0, 0]
    found = geometry.decode(raw, logits, 0.5)
    assert len(found.scores) == 1
    np.testing.assert_allclose(found.scores, [0.880797], rtol=1e-5)
    np.testing.assert_allclose(found.boxes * 224, [[2, -6, 42, 54]], rtol=1e-5)
    np.testing.assert_allclose(found.centre * 224, [[12, 104]], rtol=1e-5)
    np.testing.assert_allclose(found.on_circle * 224, [[12, 0]], atol=1e-5)


def test_overlapping_detections_become_their_mean():
    """Overlap 80 / 120 of the first two; weights 3 : 1."""
    found = detections([[0, 0, 10, 10], [2, 0, 12, 10], [50, 0, 60, 10]], [0.9, 0.3, 0.5])
    assert geometry.box_overlap(found.boxes[0], found.boxes[1:2])[0] == pytest.approx(80 / 120)
    merged = geometry.merge_overlapping(found)
    np.testing.assert_allclose(merged.boxes, [[0.5, 0, 10.5, 10], [50, 0, 60, 10]], atol=1e-5)
    np.testing.assert_allclose(merged.scores, [0.9, 0.5])
    np.testing.assert_allclose(merged.centre[0], [100.5, 100], atol=1e-4)
    none = geometry.merge_overlapping(detections(np.zeros((0, 4)), []))
    assert none.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ('on_circle', 'angle'), [([100, 60], 0), ([140, 100], 90), ([60, 100], -90), ([100, 140], 180)]
)
def test_region(on_circle, angle):
    """2 x 1.25 times the radius 40; the angle turns the body's up to the image's, clockwise."""
    where = geometry.region(np.array([100.0, 100]), np.array(on_circle, float))
    assert where.side == pytest.approx(100)
    assert np.degrees(where.angle) == pytest.approx(angle)


def test_the_crop_lies_in_the_image():
    """A body that lies with the head to the right: its up in the crop is the image's right."""
    where = geometry.Region(np.array([100.0, 50]), 128.0, np.pi / 2)
    affine = geometry.crop_to_image(where)
    points = np.array([[128.0, 128], [128, 0], [0, 128]])
    np.testing.assert_allclose(
        crops.transform(affine, points), [[100, 50], [164, 50], [100, -14]], atol=1e-9
    )


def test_region_of_landmarks():
    landmarks = np.zeros((39, 2))
    landmarks[33], landmarks[34] = [10, 90], [10, 10]
    where = geometry.region_of_landmarks(landmarks)
    assert where.centre.tolist() == [10, 90] and where.side == 200 and where.angle == 0


def test_similarity():
    """exp(-1/2) for points that lie a tenth of the size apart."""
    points = np.zeros((4, 2))
    near = geometry.similarity(points, np.stack([points, points + np.array([10, 0])]), 100.0)
    np.testing.assert_allclose(near, [1, np.exp(-0.5)])


def test_region_overlap():
    where = geometry.Region(np.array([50.0, 50]), 100.0, 0.1)
    assert geometry.region_overlap(where, where) == 1
    assert geometry.region_overlap(where, where._replace(side=110.0)) > 0.9
    for other in (
        where._replace(centre=np.array([100.0, 50])),
        where._replace(side=200.0),
        where._replace(angle=1.6),
    ):
        assert geometry.region_overlap(where, other) < 0.1


def test_points_beside_the_picture():
    points = np.array([[0, 0], [80, 60], [81, 3], [3, -1]], float)
    assert geometry.inside(points, 80, 60).tolist() == [True, True, False, False]


def test_landmarks_move_to_the_peak_of_their_heatmap():
    """Cells are 4 pixels. Two equal peaks, in columns 10 and 12 of row 20; others stay."""
    heatmaps = np.full((64, 64, 3), -50, np.float32)
    heatmaps[20, [10, 12], 0] = 50
    heatmaps[40, 40, 1] = 50  # too far
    points = np.array([[41.0, 82], [80, 80], [-9, 300]])
    expected = [[44, 80], [80, 80], [-9, 300]]
    np.testing.assert_allclose(geometry.refined(points, heatmaps), expected, atol=1e-6)
