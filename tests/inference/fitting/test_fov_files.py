"""Files of fields of view, and errors that name what is wrong in them."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from tokenhmr_jax.inference.fitting import camera_choice
from tokenhmr_jax.inference.fitting.fov_files import FovFile
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.people.persons import make_persons


@pytest.fixture
def source(tmp_path):
    paths = [tmp_path / name for name in ('000139.jpg', 'b.png', 'c.png')]
    for path in paths:
        Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(path)
    return sources.Images(paths)


FILES = {
    'csv': 'image,fov\n139,62.5\nFOLDER/b.png,40\nz.png,50\n',
    'semicolons': '\ufefffov;confidence;image\n62,5;0.9;000139\n40;1;b\n50;1;z\n',
    'json': '{"000139.jpg": 62.5, "b": 40, "z": 50}',
}


@pytest.mark.parametrize('kind', FILES)
def test_names_are_matched_as_those_of_boxes(source, tmp_path, kind):
    path = tmp_path / ('fov.json' if kind == 'json' else 'fov.csv')
    path.write_text(FILES[kind].replace('FOLDER', tmp_path.name))
    found = FovFile(str(path), source)
    assert [found.get(name) for name in source.names] == [62.5, 40.0, None]
    assert [pathlib.Path(name).stem for name in found.nowhere] == ['z']
    assert found.describe(3) == f'fields of view: 2 of 3 in {path}; of no picture or frame: 1'


@pytest.mark.parametrize(
    ('name', 'text', 'error'),
    [
        ('a.csv', 'image,degrees\nb,40\n', 'no column fov: expected the columns image and fov'),
        ('a.csv', '', 'no column fov, image'),
        ('a.csv', 'image,fov\nb,wide\n', "line 2: fov 'wide': expected the columns"),
        ('a.csv', 'image,fov\nb,1.2\nc,-40\n', "line 3: fov '-40'"),
        ('a.csv', 'image,fov\nb\n', 'line 2: 1 of 2 cells'),
        ('a.csv', 'image,fov\nb,40\nb.png,41\n', 'line 3: b has a field of view before'),
        ('a.json', '{"b": 40', 'not a whole JSON file'),
        ('a.json', '[40, 50]', 'holds list: expected the columns'),
        ('a.json', '{"b": {"fov_x": 40}}', "'b': fov {'fov_x': 40}"),
        ('a.json', '{"b": true}', "'b': fov True"),
        ('a.txt', '40', '--fov=.*a.txt: expected degrees, or a file .csv, .json'),
    ],
)
def test_errors_name_the_file_the_place_and_what_was_expected(source, tmp_path, name, text, error):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=error) as raised:
        FovFile(str(tmp_path / name), source)
    assert name in str(raised.value) and '\n' not in str(raised.value)


def test_a_missing_file(source, tmp_path):
    with pytest.raises(FileNotFoundError, match='no such file of fov'):
        FovFile(str(tmp_path / 'a.csv'), source)


def test_a_picture_that_the_file_does_not_name_has_its_own_camera(small_model, source, tmp_path):
    path = tmp_path / 'fov.csv'
    path.write_text('image,fov\nb,90\n')
    choose = camera_choice.CameraChoice(None, str(path), 'diagonal', source, small_model, None)
    cameras = [choose(frame, make_persons()) for frame in source.frames(lambda name: False)]
    assert cameras[1].focal_length == pytest.approx(40)  # half the width is as far as the image
    assert [c.source.split(':')[0] for c in cameras] == [
        'guessed',
        'given field of view',
        'guessed',
    ]
    assert [choose.digest(name) for name in source.names] == ['None', '90.0', 'None']
    assert choose.notes == [f'fields of view: 1 of 3 in {path}']


def test_people_need_a_network_that_reads_keypoints(small_model, source):
    with pytest.raises(ValueError, match='reads no 2D keypoints: expected a network that does'):
        camera_choice.CameraChoice(None, None, 'people', source, small_model, None)
