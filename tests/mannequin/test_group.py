"""The rendered group: people stand apart inside the picture, and a detector finds them."""

import numpy as np
import pytest

from tokenhmr_jax.mannequin import group


@pytest.fixture(scope='module')
def drawn():
    return group.draw_group()


def test_the_same_picture_each_time(drawn):
    again = group.draw_group()
    np.testing.assert_array_equal(drawn.image, again.image)
    np.testing.assert_array_equal(drawn.keypoints2d, again.keypoints2d)


def test_people_lie_inside_the_picture_and_apart(drawn):
    height, width, _ = drawn.image.shape
    assert (width, height) == (960, 640)
    x, y = np.moveaxis(drawn.keypoints2d, -1, 0)
    assert min(x.min(), y.min()) > 10 and x.max() < width - 10 and y.max() < height - 10
    assert (np.ptp(y, axis=1) > 0.25 * height).all()
    order = np.argsort(x.mean(axis=1))
    gaps = x.min(axis=1)[order[1:]] - x.max(axis=1)[order[:-1]]
    assert (gaps > 5).all()


def test_keypoints_lie_on_the_people(drawn):
    """Where a person's outline is: their vertices, projected by the pinhole formula."""
    height, width, _ = drawn.image.shape
    seen = drawn.vertices
    pixels = (
        drawn.focal_length * seen[..., :2] / seen[..., 2:] + np.array([width - 1, height - 1]) / 2
    )
    for points, outline in zip(drawn.keypoints2d, pixels, strict=True):
        nearest = np.linalg.norm(points[:, None] - outline[None], axis=-1).min(axis=1)
        assert nearest.max() < 12


def test_everybody_stands_on_the_floor(drawn):
    """The lowest vertex of each lies in the floor's plane, 1.55 m below the camera."""
    toward = np.array(group._TARGET) - np.array(group._EYE)
    down = np.deg2rad(90) - np.arctan2(-toward[2], toward[1])
    up = np.array([0, -np.sin(down), -np.cos(down)])
    heights = drawn.vertices @ up + group._EYE[2]
    np.testing.assert_allclose(heights.min(axis=1), 0, atol=1e-4)


def test_a_detector_finds_all(drawn):
    pytest.importorskip('ai_edge_litert')
    from tokenhmr_jax.inference.inputs.sources import Frame
    from tokenhmr_jax.inference.people.detectors import blazepose, blazepose_files

    if not (blazepose_files.cache_folder() / 'pose_detection.tflite').exists():
        pytest.skip("BlazePose's networks are not in the cache")
    found = blazepose.blazepose()(Frame('group', 0, drawn.image)).keypoints2d
    nearest = []
    for points in found:
        known = points[:, 2] > 0.3
        errors = [
            np.linalg.norm(points[known, :2] - true[known], axis=1) for true in drawn.keypoints2d
        ]
        nearest.append(int(np.argmin([error.mean() for error in errors])))
        assert errors[nearest[-1]].mean() < 25
    assert sorted(nearest) == [0, 1, 2, 3]
