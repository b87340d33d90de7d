"""Defaults of persons, and boxes of their points."""

import pathlib

import numpy as np
import pytest

from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.people import persons


def points_44(*rows) -> np.ndarray:
    """One person's first points; the others are absent."""
    points = np.zeros((44, 3), np.float32)
    points[: len(rows)] = rows
    return points


def test_defaults():
    found = persons.make_persons([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert found.scores.tolist() == [1, 1]
    assert found.track_ids.tolist() == [-1, -1]
    assert found.keypoints2d.shape == (2, 44, 3)
    assert not found.keypoints2d.any()
    assert persons.make_persons().boxes.shape == (0, 4)
    assert persons.make_persons([]).keypoints2d.shape == (0, 44, 3)


def test_box_of_points():
    """A box of 100 x 50 becomes 120 x 60 about its centre; guesses do not count."""
    given = points_44([10, 20, 0.9], [110, 70, 0.3], [500, 500, 0.29], [np.nan, 3, 0.9])
    found = persons.make_persons(keypoints2d=given[None])
    np.testing.assert_allclose(found.boxes, [[0, 15, 120, 75]], atol=1e-5)
    np.testing.assert_allclose(found.keypoints2d[0, :2], given[:2])
    assert not found.keypoints2d[0, 2:].any()


@pytest.mark.parametrize('rows', [[[10, 20, 1]], [[10, 20, 1], [10, 90, 1]]])
def test_few_points_have_a_box(rows):
    box = persons.box_of_points(points_44(*rows))
    assert box[2] - box[0] >= 8
    assert box[3] - box[1] >= 8
    assert (box[0] + box[2]) / 2 == 10


def test_confidence_is_at_most_one():
    found = persons.make_persons(keypoints2d=points_44([1, 2, 7.5])[None])
    assert found.keypoints2d[0, 0].tolist() == [1, 2, 1]


def test_persons_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r'without a box has no keypoint of confidence 0\.3'):
        persons.make_persons(keypoints2d=points_44([1, 2, 0.2])[None])
    with pytest.raises(ValueError, match='1 boxes, 2 scores, 1 track_ids, 1 keypoints2d'):
        persons.make_persons([[1, 2, 3, 4]], scores=[1, 1])


FRAME = sources.Frame('000139', 0, np.zeros((60, 80, 3), np.uint8))
SOURCE = sources.Images([pathlib.Path(name) for name in ('000139.jpg', 'other.jpg')])


def test_listed_persons_by_frames():
    three = persons.make_persons([[1, 2, 3, 4], [5, 6, 7, 8], [1, 1, 9, 9]], [1, 0.5, 1])
    grouped = persons.by_name('a.csv', ['139', '000139.jpg', '7'], three)
    with pytest.raises(ValueError, match=r'000139\.jpg has another name in it'):
        persons.Listed(grouped, SOURCE)
    grouped = persons.by_name('a.csv', ['139', '139', '7'], three)
    find = persons.Listed(grouped, SOURCE)
    assert find.count == 3
    assert find(FRAME).scores.tolist() == [1, 0.5]
    assert find(FRAME._replace(name='other')).boxes.shape == (0, 4)
    assert find.unused({'000139', 'other'}) == 1
    assert find.unused({'other'}) == 3


def test_a_box_beside_the_picture():
    grouped = persons.by_name('a.csv', ['139'], persons.make_persons([[90, 2, 95, 4]]))
    message = r'a\.csv: row 0: the box \[90, 2.* beside 000139, .* 80 x 60'
    with pytest.raises(ValueError, match=message):
        persons.Listed(grouped, SOURCE)(FRAME)


def test_keypoints_beside_the_picture():
    """All of them: a person may be cut by the border. The fourth of a file is named."""
    inside = points_44([10, 10, 1], [300, 10, 1])
    beside = points_44([200, 10, 1], [-40, 10, 1], [20, 20, 0.1])
    boxes = [[0, 0, 80, 60]] * 4
    points = np.stack([inside, inside, 0 * inside, beside])
    found = persons.make_persons(boxes, keypoints2d=points)
    find = persons.Listed(persons.by_name('a.json', ['139'] * 4, found, 'pqrs'), SOURCE)
    with pytest.raises(ValueError, match=r'a\.json: s: the keypoints in .* lies beside 000139'):
        find(FRAME)
    kept = persons.by_name('a.json', ['139'] * 3, persons.Persons(*(f[:3] for f in found)))
    assert len(persons.Listed(kept, SOURCE)(FRAME).boxes) == 3


def test_a_file_without_names_is_of_the_only_picture():
    grouped = persons.by_name('a.csv', ['', ''], persons.make_persons([[1, 2, 3, 4]] * 2))
    with pytest.raises(ValueError, match=r'a\.csv: names no images: expected columns image, left'):
        persons.Listed(grouped, SOURCE)
    only = sources.Images([pathlib.Path('000139.jpg')])
    assert len(persons.Listed(grouped, only)(FRAME).boxes) == 2


def test_what_a_file_holds_is_said():
    named = ['139', 'elsewhere', f'{pathlib.Path.cwd().name}\\other.jpg']  # as on Windows
    file = persons.by_name('a.csv', named, persons.make_persons([[1, 2, 3, 4]] * 3))
    find = persons.Listed(file._replace(left_out={'car': 2}), SOURCE)
    assert find.describe() == ('persons: 3 of a.csv; 2 of car left out; of no picture or frame: 1')
    none = persons.Listed(persons.by_name('a.csv', [], persons.make_persons()), SOURCE)
    assert none.describe() == 'persons: none in a.csv'


@pytest.mark.parametrize(
    ('names', 'track_ids', 'message'),
    [
        ('ab', [3, -1], 'a box of b has no track id'),
        ('bb', [5, 5], r'track ids \[5, 5\] of b'),
    ],
)
def test_track_ids_that_would_mix_people_are_named(names, track_ids, message):
    two = persons.make_persons([[1, 2, 3, 4]] * 2, track_ids=track_ids)
    with pytest.raises(ValueError, match=message):
        persons.by_name('a.csv', list(names), two)
