"""Finders by the flags of the command."""

import json
import pathlib

import numpy as np
import pytest

from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.people import finders

FRAME = sources.Frame('000139', 0, np.zeros((60, 80, 3), np.uint8))
SOURCE = sources.Images([pathlib.Path(name) for name in ('000139.jpg', 'other.jpg')])


def test_whole_image():
    find, description = finders.make_finder('image', None, SOURCE)
    assert find(FRAME).boxes.tolist() == [[0, 0, 80, 60]]
    assert 'one in each image' in description


def test_files(tmp_path):
    """Boxes of a table, and keypoints in their place."""
    (tmp_path / 'a.csv').write_text('image,left,top,right,bottom\n139,1,2,3,4\n7,1,2,3,4\n')
    find, description = finders.make_finder(str(tmp_path / 'a.csv'), None, SOURCE)
    assert find(FRAME).boxes.tolist() == [[1, 2, 3, 4]]
    assert 'persons: 2 of' in description
    row = {'image_id': 139, 'keypoints': [10, 20, 1] * 16 + [30, 40, 1]}
    (tmp_path / 'a.json').write_text(json.dumps([row]))
    find, description = finders.make_finder('detect', str(tmp_path / 'a.json'), SOURCE)
    assert find(FRAME).keypoints2d[0, 0].tolist() == [10, 20, 1]
    assert 'persons: 1 of' in description


def test_wrong_names(tmp_path):
    with pytest.raises(ValueError, match=r'--boxes=people: expected detect, .* a file \.json'):
        finders.check_finder('people')
    with pytest.raises(FileNotFoundError, match='no such file of boxes'):
        finders.check_finder(str(tmp_path / 'a.csv'))
    with pytest.raises(FileNotFoundError, match='no such file of keypoints'):
        finders.check_finder('detect', str(tmp_path / 'a.json'))
    with pytest.raises(ValueError, match=r'--boxes=image --keypoints=.*: expected one of them'):
        finders.check_finder('image', 'a.json')
