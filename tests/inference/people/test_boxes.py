"""Boxes of files, and errors that name what is wrong in them."""

import json
import pathlib

import numpy as np
import pytest

from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.people import boxes
from tokenhmr_jax.inference.people.persons import Listed

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
        found = boxes.read_boxes(str(tmp_path / f'a.{suffix}')).persons['139']
        np.testing.assert_array_equal(found.boxes, rows)
        np.testing.assert_allclose(found.scores, scores)
        np.testing.assert_array_equal(found.track_ids, track_ids)
        assert not found.keypoints2d.any()


TABLES = {
    'byte order mark': f'\ufeff{HEADER}\r\na.png,20,10.5,90,110\r\n',
    'semicolons': f'{HEADER.replace(",", ";")}\na.png;20;10,5;90;110\n',
    'capitals and spaces': 'Image, Left, Top, Right, Bottom\n a.png , 20,10.5,90,110\n',
    'quotes': '"image","left","top","right","bottom"\n"a.png","20","10,5","90","110"\n',
    'tabs and old line ends': f'{HEADER.replace(",", chr(9))}\ra.png\t20\t10.5\t90\t110\r',
    'empty cells': f'{HEADER},,\na.png,20,10.5,90,110,,\n,,,,,,\n\n',
    'comments': f'# made by hand, in May\nsep=,\n{HEADER}\n# one\na.png,20,10.5,90,110\n',
    'sizes': 'h,w,y,x,file name\n99.5,70,10.5,20,a.png\n',
    'left and size': 'bbox_left,bbox_top,bbox_width,bbox_height,frame\n20,10.5,70,99.5,a.png',
    'corners': 'xmin;ymin;xmax;ymax;filename\n20;10,5;90;110;a.png\n',
    'index column': ',image,x1,y1,x2,y2\n0,a.png,20,10.5,90,110\n',
    'no header': 'a.png,20,10.5,90,110\n',
    'no header, semicolons': 'a.png;20,0;10,5;90,0;110,0\n',
    'no header, spaces': 'a.png 20  10.5 90 110\n',
    'no header, score': 'a.png,20,10.5,90,110,1.0\n',
    'no header, empty cells': 'a.png,20,10.5,90,110,,\n',
    'columns without names': '0,1,2,3,4\na.png,20,10.5,90,110\n',
    'no header, track': 'a.png,20,10.5,90,110,1,-1\n',
    "COCO's categories": f'{HEADER},category_id\na.png,0,0,9,9,3\na.png,20,10.5,90,110,1\n',
    'classes': f'{HEADER},class\nb.png,0,0,9,9,car\na.png,20,10.5,90,110,Person\n',
}


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
@pytest.mark.parametrize('text', TABLES.values(), ids=TABLES)
def test_tables_as_programs_save_them(tmp_path, text, encoding):
    (tmp_path / 'a.CSV').write_text(text, encoding, newline='')
    found = boxes.read_boxes(str(tmp_path / 'a.CSV')).persons
    assert list(found) == ['a.png'] and found['a.png'].boxes.tolist() == [[20, 10.5, 90, 110]]
    assert found['a.png'].scores.tolist() == [1] and found['a.png'].track_ids.tolist() == [-1]


def test_tables_of_numbers(tmp_path):
    """Spreadsheets write whole numbers with a point; a table may be of one picture alone."""
    (tmp_path / 'a.csv').write_text(f'{HEADER},Track ID\n139.0,20,10,90,110,3.0\n')
    file = boxes.read_boxes(str(tmp_path / 'a.csv'))
    find = Listed(file, sources.Images([pathlib.Path('000139.jpg'), pathlib.Path('7.jpg')]))
    found = find(sources.Frame('000139', 0, np.zeros((120, 200, 3), np.uint8)))
    assert found.boxes.tolist() == [[20, 10, 90, 110]] and found.track_ids.tolist() == [3]
    (tmp_path / 'a.csv').write_text('20,10,90,110\n1,2,30,40\n')
    found = boxes.read_boxes(str(tmp_path / 'a.csv')).persons['']
    assert found.boxes.tolist() == [[20, 10, 90, 110], [1, 2, 30, 40]]


def test_names_in_other_encodings(tmp_path):
    """Excel's plain CSV is in the code page of the country; a name may hold a line's end."""
    (tmp_path / 'a.csv').write_text(f'{HEADER}\n"größe\n1.png",20,10,90,110\n', 'cp1252')
    assert list(boxes.read_boxes(str(tmp_path / 'a.csv')).persons) == ['größe\n1.png']


def test_annotations_of_coco(tmp_path):
    """Images are named by their files; a score is not needed."""
    content = {
        'images': [{'id': 139, 'file_name': 'a.png'}],
        'annotations': [{'image_id': 139, 'category_id': 1, 'bbox': [20, 10, 70, 100]}],
    }
    (tmp_path / 'a.json').write_text(json.dumps(content))
    found = boxes.read_boxes(str(tmp_path / 'a.json')).persons['a.png']
    assert found.boxes.tolist() == [[20, 10, 90, 110]] and found.scores.tolist() == [1]


def test_categories_of_coco(tmp_path):
    """The file's own categories say who is a person; all else is counted."""
    content = {
        'images': [{'id': '139', 'file_name': 'a.png'}],
        'categories': [{'id': 0, 'name': 'Person'}, {'id': 1, 'name': 'bicycle'}],
        'annotations': [
            {'image_id': 139, 'category_id': 1, 'bbox': [0, 0, 9, 9]},
            {'image_id': 139, 'category_id': '0', 'bbox': [20, 10, 70, 100]},
            {'image_id': 139, 'category_id': 0, 'bbox': [0, 0, 90, 90], 'iscrowd': 1},
        ],
    }
    (tmp_path / 'a.json').write_text(json.dumps(content), 'utf-16')
    file = boxes.read_boxes(str(tmp_path / 'a.json'))
    assert file.persons['a.png'].boxes.tolist() == [[20, 10, 90, 110]]
    assert file.left_out == {'bicycle (category_id 1)': 1, 'crowds (iscrowd 1)': 1}
    del content['categories'][0]
    (tmp_path / 'a.json').write_text(json.dumps(content))
    message = r'no person, but .*1 of bicycle \(category_id 1\): expected a category named person'
    with pytest.raises(ValueError, match=message):
        boxes.read_boxes(str(tmp_path / 'a.json'))


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('a.csv', f'{HEADER}\na,1,2,1,4\n', r'a\.csv: line 2: box \[1, 2, 1, 4\]: expected left <'),
        ('a.csv', 'a,90,10,20,110\n', r'line 1: box .* or are these left, top, width, height\?'),
        ('a.csv', 'file,cx,cy\na,20,10\n', r'has the columns file, cx, cy: expected image, left'),
        ('a.csv', '1,3,79,24,71,17,-1,-1,-1,-1\n', 'line 1 has 10 columns, and no line above'),
        ('a.csv', '1,3,79,24,71,17\n', 'line 1 has 17 in its 6th column'),
        ('a.csv', f'{HEADER}\na,20,10,90\n', r"line 2 is 'a,20,10,90'"),
        ('a.csv', f'{HEADER}\na,20,10,"1,024",1100\n', r'line 2 is'),
        ('a.csv', f'{HEADER},label\na,20,10,90,110,car\n', 'no person among 1 .* found car'),
        ('a.csv', 'PK\0\1', 'not a text file'),
        ('a.csv', f'{HEADER}\na,20,10,x,110\n', r"line 2 is 'a,20,10,x,110'"),
        ('a.csv', '', 'an empty file: expected image, left'),
        ('a.json', '', 'an empty file'),
        ('a.csv', f'{HEADER}\na,.2,.1,.9,1\n', r'line 2: box \[0\.2, 0\.1, 0\.9, 1\]: fractions'),
        ('a.csv', f'{HEADER}\na,2,1,9,8\nb,0,0,1,1\n', r'line 3: box \[0, 0, 1, 1\]: fractions'),
        ('a.csv', f'{HEADER},category_id\na,2,1,9,8,3\n', 'among 1 box: expected 1 in .*, found 3'),
        ('a.json', '{"image_id": 3', 'not a whole JSON file'),
        ('a.json', '[{"category_id": 3}]', '1 of category_id 3: expected category_id 1'),
        ('a.json', '[{"bbox": [1, 2, 3, 4]}]', 'entry 0 has no image_id, file_name or frame'),
        ('a.json', '[{"image_id": 3, "bbox": [1, 2]}]', r'entry 0, of 3, has bbox \[1, 2\]'),
        ('a.json', '{"image_id": 3}', 'has the keys image_id: expected a list of persons'),
        ('a.npz', 'a', 'not a whole .npz file'),
        ('people', '', 'expected a file .json, .csv, .tsv, .npz'),
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
    with pytest.raises(ValueError, match=r'2 names for 1 person'):
        boxes.read_boxes(str(tmp_path / 'a.npz'))
    with pytest.raises(FileNotFoundError, match='no such file of boxes'):
        boxes.read_boxes(str(tmp_path / 'b.npz'))
