"""Boxes of files, and errors that name what is wrong in them."""

import json
import pathlib
import sys

import numpy as np
import pytest

from tokenhmr_jax.inference import boxes, sources

FRAME = sources.Frame('000139', 0, np.zeros((60, 80, 3), np.uint8))


def test_boxes_of_files(tmp_path):
    """The same two boxes, of image 139, in each of the formats."""
    rows = [[10, 20, 30, 50], [1, 2, 3, 4]]
    coco = [
        {'image_id': 139, 'category_id': 1, 'bbox': [10, 20, 20, 30], 'score': 0.9},
        {'image_id': 139, 'category_id': 2, 'bbox': [0, 0, 9, 9], 'score': 0.9},
        {'image_id': 139, 'category_id': 1, 'bbox': [1, 2, 2, 2], 'score': 0.8},
        {'image_id': 7, 'category_id': 1, 'bbox': [1, 2, 2, 2], 'score': 0.8},
    ]
    (tmp_path / 'a.json').write_text(json.dumps(coco))
    (tmp_path / 'a.csv').write_text(
        'image,left,top,right,bottom,track_id\n000139.jpg,10,20,30,50,4\n000139.jpg,1,2,3,4,0\n'
    )
    np.savez(tmp_path / 'a.npz', image=['000139'] * 2, boxes=rows)
    expected = {'json': ([0.9, 0.8], [-1, -1]), 'csv': ([1, 1], [4, 0]), 'npz': ([1, 1], [-1, -1])}
    source = sources.Images([pathlib.Path(name) for name in ('000139.jpg', 'other.jpg')])
    for suffix, (scores, track_ids) in expected.items():
        find, _ = boxes.make_finder(str(tmp_path / f'a.{suffix}'), source)
        found = find(FRAME)
        np.testing.assert_array_equal(found.boxes, rows)
        np.testing.assert_allclose(found.scores, scores)
        np.testing.assert_array_equal(found.track_ids, track_ids)
        assert find(FRAME._replace(name='other')).boxes.shape == (0, 4)
        assert find.unused({'000139', 'other'}) == (1 if suffix == 'json' else 0)
    whole, _ = boxes.make_finder('image', source)
    assert whole(FRAME).boxes.tolist() == [[0, 0, 80, 60]]


def test_wrong_boxes_are_named(tmp_path):
    (tmp_path / 'a.csv').write_text('image,left,top,right,bottom\na,1,2,1,4\n')
    with pytest.raises(ValueError, match=r'a.csv: box 0, of a, is \[1.0, 2.0, 1.0, 4.0\]'):
        boxes.read_boxes(str(tmp_path / 'a.csv'))
    (tmp_path / 'a.json').write_text('{"image_id": 3')
    with pytest.raises(ValueError, match=r'a.json: not boxes as expected'):
        boxes.read_boxes(str(tmp_path / 'a.json'))
    np.savez(tmp_path / 'a.npz', boxes=[[0, 0, 4, 4]])
    with pytest.raises(ValueError, match=r'a.npz: not boxes as expected .*image'):
        boxes.read_boxes(str(tmp_path / 'a.npz'))
    with pytest.raises(FileNotFoundError, match='no such file of boxes'):
        boxes.read_boxes(str(tmp_path / 'b.npz'))
    with pytest.raises(ValueError, match="expected 'detect', 'image', or a file"):
        boxes.read_boxes('people')


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        (['a,0,0,4,4,3', 'b,0,0,4,4,'], 'a box of b has no track id'),
        (['a,0,0,4,4,3', 'b,0,0,4,4,5', 'b,1,0,4,4,5'], r'track ids \[5, 5\] of b'),
    ],
)
def test_track_ids_that_would_mix_people_are_named(tmp_path, rows, message):
    (tmp_path / 'a.csv').write_text('\n'.join(['image,left,top,right,bottom,track_id', *rows]))
    with pytest.raises(ValueError, match=message):
        boxes.read_boxes(str(tmp_path / 'a.csv'))


def test_detection_needs_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    with pytest.raises(
        ImportError, match=r'torchvision.*pip install -e \.\[predict\].*boxes=image'
    ):
        boxes.check_boxes('detect')
