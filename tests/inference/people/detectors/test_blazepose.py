"""Bodies of BlazePose: tiles, landmarks in the image, and one body for each person."""

import json

import cv2
import numpy as np
import pytest

from tokenhmr_jax.body import keypoint_conventions, skeleton
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.people.detectors import blazepose, blazepose_files
from tokenhmr_jax.inference.people.detectors import blazepose_geometry as geometry


def body(
    left: float, top: float, quality: float, score: float, side: float = 100
) -> blazepose.Body:
    """A body whose points are spread over a square."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 0.8 * side, (33, 2)) + np.array([left, top])
    points = np.concatenate([xy, np.ones((33, 1))], axis=1)
    where = geometry.Region(np.array([left, top]) + side / 2, side, 0.0)
    return blazepose.Body(points, where, quality, score)


def test_tiles_cover_the_image():
    squares = blazepose.tiles(200, 400)
    assert squares[0] == (0, -100, 400)
    seen = np.zeros((200, 400), int)
    for left, top, side in squares[1:]:
        assert left >= 0 and top >= 0 and left + side <= 400 and top + side <= 200
        seen[round(top) : round(top + side), round(left) : round(left + side)] += 1
    assert seen.min() >= 2
    assert len(blazepose.tiles(90, 90)) == 1


def test_landmarks_in_the_image():
    """A crop of 128 pixels at (100, 50): half of its numbers, and those outside are absent."""
    values = np.zeros((39, 5), np.float32)
    values[:33, :2], values[:33, 3] = 100, 9
    values[0, :2], values[1, 3] = [250, 100], -2
    values[33, :2], values[34, :2] = [128, 128], [128, 28]
    to_image = geometry.crop_to_image(geometry.Region(np.array([164.0, 114]), 128.0, 0.0))
    found = blazepose.body_of_output(values, 0.5, to_image, 200, 220)
    np.testing.assert_allclose(found.points[2, :2], [150, 100])
    assert found.points[2, 2] > 0.99 and found.points[0, 2] == 0
    assert found.points[1, 2] == pytest.approx(0.1192, abs=1e-4)
    assert found.region.side == pytest.approx(125)
    assert found.quality == pytest.approx(0.5, abs=1e-3)


def test_one_body_for_each_person():
    """Of two findings the surer one."""
    found = blazepose.distinct(
        [body(0, 0, 0.7, 0.9), body(2, 0, 0.95, 0.5), body(300, 0, 0.8, 0.6)]
    )
    assert [(each.quality, each.score) for each in found] == [(0.7, 0.9), (0.8, 0.6)]


def test_an_unsure_body_inside_another_is_none():
    large, inside = body(0, 0, 0.9, 0.9, side=400), body(100, 100, 0.95, 0.2)
    beside = body(500, 0, 0.95, 0.2)
    found = blazepose.distinct([inside, large, beside])
    assert [each.region.centre[0] for each in found] == [200, 550]


def test_persons():
    found = blazepose.persons_of_bodies([body(10, 20, 0.9, 0.8)])
    assert found.scores.tolist() == [pytest.approx(0.8)]
    assert (found.keypoints2d[0, :, 2] == keypoint_conventions.GIVEN['blazepose']).all()
    nose = found.keypoints2d[0, skeleton.KEYPOINTS.index('OP Nose'), :2]
    np.testing.assert_allclose(nose, body(10, 20, 0.9, 0.8).points[0, :2], rtol=1e-5)
    assert blazepose.persons_of_bodies([]).boxes.shape == (0, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'most'), [('yoga_warrior', 3), ('surf_lesson', 10), ('football_kick', 4)]
)
def test_photographs(shared, name, most):
    """All persons, each within some percent of its box; nothing is downloaded."""
    pytest.importorskip('ai_edge_litert')
    folder = blazepose_files.cache_folder()
    if not (shared / 'photos').is_dir() or len(list(folder.glob('*.tflite'))) < 2:
        pytest.skip('no photographs, or networks not in the cache')
    image = cv2.imread(str(shared / f'photos/{name}.jpg'))[..., ::-1]
    found = blazepose.blazepose()(sources.Frame(name, 0, np.ascontiguousarray(image)))
    for person in json.loads((shared / 'photos/keypoints.json').read_text()):
        if person['file_name'] != f'{name}.jpg':
            continue
        points = keypoint_conventions.to_44(np.reshape(person['keypoints'], (17, 3)), 'coco')
        seen = points[:, 2] > 0.5
        apart = np.linalg.norm(found.keypoints2d[:, seen, :2] - points[seen, :2], axis=-1)
        assert 100 * np.median(apart, axis=1).min() / max(person['bbox'][2:]) < most
