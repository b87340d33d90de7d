"""Boxes of files, and errors that name what is wrong in them."""

import json

import numpy as np
import pytest

from tokenhmr_jax.inference import boxes

HEADER = 'image,left,top,right,bottom'


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
    (tmp_path / 'a.csv').write_text(f'{HEADER},track_id\n139,10,20,30,50,4\n139,1,2,3,4,0\n')
    np.savez(tmp_path / 'a.npz', image=['139'] * 2, boxes=rows)
    expected = {'json': ([0.9, 0.8], [-1, -1]), 'csv': ([1, 1], [4, 0]), 'npz': ([1, 1], [-1, -1])}
    for suffix, (scores, track_ids) in expected.items():
        found = boxes.read_boxes(str(tmp_path / f'a.{suffix}'))['139']
        np.testing.assert_array_equal(found.boxes, rows)
        np.testing.assert_allclose(found.scores, scores)
        np.testing.assert_array_equal(found.track_ids, track_ids)
        assert not found.keypoints2d.any()


@pytest.mark.parametrize(
    'text',
    [
        f'\ufeff{HEADER}\r\na.png,20,10.5,90,110\r\n',
        f'{HEADER.replace(",", ";")}\na.png;20;10,5;90;110\n',
        'Image, Left, Top, Right, Bottom\na.png,20,10.5,90,110\n',
    ],
)
def test_tables_as_spreadsheets_save_them(tmp_path, text):
    (tmp_path / 'a.csv').write_text(text, newline='')
    found = boxes.read_boxes(str(tmp_path / 'a.csv'))
    assert found['a.png'].boxes.tolist() == [[20, 10.5, 90, 110]]


def test_annotations_of_coco(tmp_path):
    """Images are named by their files; a score is not needed."""
    content = {
        'images': [{'id': 139, 'file_name': 'a.png'}],
        'annotations': [{'image_id': 139, 'category_id': 1, 'bbox': [20, 10, 70, 100]}],
    }
    (tmp_path / 'a.json').write_text(json.dumps(content))
    found = boxes.read_boxes(str(tmp_path / 'a.json'))['a.png']
    assert found.boxes.tolist() == [[20, 10, 90, 110]] and found.scores.tolist() == [1]


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('a.csv', f'{HEADER}\na,1,2,1,4\n', r'a\.csv: box 0, of a, is \[1\.0, 2\.0, 1\.0, 4\.0\]'),
        ('a.csv', 'a,20,10,90,110\n', r"first line is 'a,20,10,90,110', without bottom, image"),
        ('a.csv', f'{HEADER}\na,20,10,x,110\n', r"line 2 is 'a,20,10,x,110'"),
        ('a.csv', '', r"first line is ''"),
        ('a.csv', f'{HEADER}\na,.2,.1,.9,1\n', 'boxes are fractions of the picture'),
        ('a.json', '{"image_id": 3', 'not a whole JSON file'),
        ('a.json', '[{"category_id": 3}]', 'no person among 1 entries'),
        ('a.json', '[{"bbox": [1, 2, 3, 4]}]', 'person 0 has no image_id, file_name or frame'),
        ('a.json', '[{"image_id": 3, "bbox": [1, 2]}]', r'person 0, of 3, has bbox \[1, 2\]'),
        ('a.json', '{"image_id": 3}', 'expected a list of persons'),
        ('a.npz', 'a', 'not a whole .npz file'),
        ('people', '', 'expected a file .json, .csv, .npz'),
    ],
)
def test_wrong_boxes_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        boxes.read_boxes(str(tmp_path / name))


def test_missing_files_and_arrays_are_named(tmp_path):
    np.savez(tmp_path / 'a.npz', boxes=[[0, 0, 4, 4]])
    with pytest.raises(ValueError, match=r'a\.npz: no array image: it has boxes'):
        boxes.read_boxes(str(tmp_path / 'a.npz'))
    np.savez(tmp_path / 'a.npz', image=['a', 'b'], boxes=[[0, 0, 4, 4]])
    with pytest.raises(ValueError, match=r'2 names for 1 persons'):
        boxes.read_boxes(str(tmp_path / 'a.npz'))
    with pytest.raises(FileNotFoundError, match='no such file of boxes'):
        boxes.read_boxes(str(tmp_path / 'b.npz'))
