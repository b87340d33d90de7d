"""Pictures of a regressor's examples."""

import cv2
import numpy as np
from conftest import SMALL_REGRESSOR, quickstart_config

from tokenhmr_jax.data import pipeline, records
from tokenhmr_jax.tasks import make_task, regressor_report


class Listed(pipeline.Records):
    """Records in memory."""

    def __init__(self, listed):
        self._listed = listed

    def __len__(self):
        return len(self._listed)

    def __getitem__(self, index):
        return self._listed[index]


def examples(record):
    """The network's batch of a record, and the one that is shown."""
    task = make_task(quickstart_config('regressor', SMALL_REGRESSOR))
    return task.report.examples([Listed([record])], [0])


def striped_record(box_center):
    """A person in a picture of white and black stripes, 4 px wide, 320 x 240."""
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[:, np.arange(320) % 8 < 4] = 255
    return records.assemble(picture, 'someone', box_center, (120, 160), {'focal_length': 500.0})


def test_pictures_are_sharper_than_the_networks_crops():
    """The network's 64 px of 160 have no stripes of 4 px; 256 px have."""
    batch, shown = examples(striped_record((160, 120)))
    assert batch.image.shape == (1, 64, 64, 3)
    assert shown.image.shape == (1, 256, 256, 3)
    row = shown.image[0, 128, :, 1].astype(int)
    assert row[row > 180].size + row[row < 75].size > 200
    small = cv2.resize(shown.image[0], (64, 64), interpolation=cv2.INTER_AREA).astype(int)
    assert abs(small.mean() - batch.image.mean()) < 4
    np.testing.assert_array_equal(shown.keypoints2d, batch.keypoints2d)


def test_what_is_beside_the_picture_is_white():
    """The box's square, 160 px, is 30 px beyond the left border and 10 px below the picture."""
    _, shown = examples(striped_record((50, 170)))
    (image,) = regressor_report._crops(shown)
    zoom = 256 / 160
    left, bottom = int(np.ceil(30 * zoom)), int(np.floor((239 - 90) * zoom)) + 1
    assert (image[:, :left] == 255).all() and (image[bottom:] == 255).all()
    np.testing.assert_array_equal(image[:bottom, left:], shown.image[0, :bottom, left:])
    assert not (image[:, left : left + 3] == 255).all()
