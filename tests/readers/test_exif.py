"""Focal lengths of EXIF data: of whole pictures and scaled ones, not of parts."""

import math

import numpy as np
import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from tokenhmr_jax.inference import cameras
from tokenhmr_jax.inference.inputs import sources

FILM = 43.26661531  # mm, the diagonal of 36 x 24
RATIONAL = TiffImagePlugin.IFDRational
SIZE = {'ExifImageWidth': 1008, 'ExifImageHeight': 756}  # its diagonal is 1260
EQUIVALENT = SIZE | {'FocalLengthIn35mmFilm': 26}
SENSOR = SIZE | {'FocalLength': 5.0, 'FocalPlaneXResolution': 4800.0}


def save(path, width, height, tags, **options):
    """A picture with EXIF tags by their names."""
    data, names = Image.Exif(), ExifTags.Base
    for name, value in tags.items():
        first = name in ('Orientation', 'ImageWidth', 'ImageLength')
        (data if first else data.get_ifd(ExifTags.IFD.Exif))[names[name]] = value
    # As bytes: without tags of its first part, Pillow takes it for empty.
    image = Image.fromarray(np.zeros((height, width, 3), np.uint8))
    image.save(path, exif=data.tobytes(), **options)
    return path


def read(path):
    """The only frame of a picture, and its camera."""
    [frame] = sources.open_source(path).frames(lambda name: False)
    assert frame.error is None
    return frame, cameras.told_camera(frame, None, None) or cameras.guessed_camera(frame)


@pytest.mark.parametrize(
    'width, height, tags, focal',
    [(1008, 756, EQUIVALENT, 26 * 1260 / FILM),
     (504, 378, EQUIVALENT, 26 * 630 / FILM),
     (101, 76, EQUIVALENT, 26 * math.hypot(101, 76) / FILM),  # 75.75 rounded up
     (756, 1008, EQUIVALENT, 26 * 1260 / FILM),  # turned, sizes of the sensor
     (1008, 756, SENSOR, 5 * 4800 / 25.4),  # by inches, the default
     (504, 378, SENSOR, 5 * 2400 / 25.4),
     (378, 504, SENSOR, 5 * 2400 / 25.4),
     (1008, 756, SENSOR | {'FocalPlaneResolutionUnit': 3}, 5 * 480),
     (1008, 756, SENSOR | {'FocalPlaneResolutionUnit': 4}, 5 * 4800),
     (1008, 756, SENSOR | {'FocalLengthIn35mmFilm': 0}, 5 * 4800 / 25.4),
     (1008, 756, SENSOR | {'FocalLengthIn35mmFilm': 65535}, 5 * 4800 / 25.4),
     (1008, 756, SENSOR | {'DigitalZoomRatio': RATIONAL(1, 1)}, 5 * 4800 / 25.4),
     (1008, 756, EQUIVALENT | {'DigitalZoomRatio': 2.0}, 26 * 1260 / FILM)],
)  # fmt: skip
def test_whole_pictures(tmp_path, width, height, tags, focal):
    found = read(save(tmp_path / 'a.jpg', width, height, tags))[1]
    assert found == (pytest.approx(focal, rel=1e-6), 'EXIF')


@pytest.mark.parametrize('suffix', ['png', 'webp', 'tif'])
def test_other_formats(tmp_path, suffix):
    found = read(save(tmp_path / f'a.{suffix}', 504, 378, EQUIVALENT))[1]
    assert found == (pytest.approx(26 * 630 / FILM), 'EXIF')
    assert 'of 1008 x 756' in read(save(tmp_path / f'b.{suffix}', 250, 250, EQUIVALENT))[1].source


@pytest.mark.parametrize(
    'width, height, tags, why',
    [(250, 250, EQUIVALENT, 'of a picture of 1008 x 756'),
     (1008, 567, EQUIVALENT, 'of a picture of 1008 x 756'),
     (567, 756, EQUIVALENT, 'of a picture of 1008 x 756'),
     (504, 376, EQUIVALENT, 'of a picture of 1008 x 756'),
     (250, 250, SENSOR, 'of a picture of 1008 x 756'),
     # An editor that changes one record of the size, and not the other.
     (250, 250, EQUIVALENT | {'ExifImageWidth': 250, 'ExifImageHeight': 250, 'ImageWidth': 1008,
                              'ImageLength': 756}, 'of a picture of 1008 x 756'),
     (1008, 756, SENSOR | {'DigitalZoomRatio': 2.0}, 'without a digital zoom of 2'),
     (1000, 300, {'ExifImageWidth': 1000, 'ExifImageHeight': 300, 'FocalLengthIn35mmFilm': 26},
      'panorama'),
     (1008, 756, EQUIVALENT | {'CustomRendered': 6}, 'panorama')],
)  # fmt: skip
def test_pictures_of_which_the_focal_length_is_not(tmp_path, width, height, tags, why):
    frame, found = read(save(tmp_path / 'a.jpg', width, height, tags))
    assert frame.focal_length is None
    guess = math.hypot(width, height) / 2 / math.tan(math.radians(27.5))
    assert found.focal_length == pytest.approx(guess)
    assert found.source.startswith("guessed: 55 degrees across the diagonal (EXIF's focal length")
    assert why in found.source
    # What the user gives counts, without further words.
    assert cameras.told_camera(frame, 900.0, None) == (900.0, 'given focal length')


def test_spheres_have_no_focal_length(tmp_path):
    tags = {'ExifImageWidth': 100, 'ExifImageHeight': 50, 'FocalLengthIn35mmFilm': 26}
    xmp = b'<x:xmpmeta><rdf:Description GPano:ProjectionType="equirectangular"/></x:xmpmeta>'
    save(tmp_path / 'a.jpg', 100, 50, tags, xmp=xmp)
    assert 'panorama' in read(tmp_path / 'a.jpg')[1].source
    save(tmp_path / 'b.jpg', 100, 50, tags)
    assert read(tmp_path / 'b.jpg')[1].source == 'EXIF'


def test_without_a_recorded_size_the_picture_counts_as_whole(tmp_path):
    for size in ({}, {'ExifImageWidth': 0, 'ExifImageHeight': 0}, {'ExifImageWidth': 1008}):
        save(tmp_path / 'a.jpg', 40, 30, size | {'FocalLengthIn35mmFilm': 26})
        found = read(tmp_path / 'a.jpg')[1]
        assert found == (pytest.approx(26 * 50 / FILM), 'EXIF (it records no size of the picture)')
    # The sensor's resolution is per pixel of a size that nobody knows.
    save(tmp_path / 'b.jpg', 40, 30, {'FocalLength': 5.0, 'FocalPlaneXResolution': 4800.0})
    assert read(tmp_path / 'b.jpg')[1].source == 'guessed: 55 degrees across the diagonal'


def test_turned_pictures_have_the_sensors_sizes(tmp_path):
    """Stored lying, shown upright: both as phones write them, and with turned sizes."""
    for long, short in ((1008, 756), (756, 1008)):
        tags = EQUIVALENT | {'ExifImageWidth': long, 'ExifImageHeight': short, 'Orientation': 6}
        frame, found = read(save(tmp_path / 'a.jpg', 504, 378, tags))
        assert frame.image.shape == (504, 378, 3)
        assert found == (pytest.approx(26 * 630 / FILM), 'EXIF')


@pytest.mark.parametrize(
    'tags',
    [{'FocalLengthIn35mmFilm': 0}, {'FocalLength': RATIONAL(0, 0)}, {'FocalLength': 5.0},
     SENSOR | {'FocalPlaneXResolution': RATIONAL(1, 0)},
     SENSOR | {'FocalPlaneResolutionUnit': 1}],
)  # fmt: skip
def test_values_that_say_nothing(tmp_path, tags):
    found = read(save(tmp_path / 'a.jpg', 1008, 756, tags))[1]
    assert found.source == 'guessed: 55 degrees across the diagonal'


def test_broken_exif_data_of_a_readable_picture(tmp_path):
    content = b'Exif\0\0MM\0*\0\0\0\x08\xff\xff' + bytes(range(40))
    Image.new('RGB', (40, 30)).save(tmp_path / 'a.jpg', exif=content)
    frame, found = read(tmp_path / 'a.jpg')
    assert frame.image.shape == (30, 40, 3) and 'guessed' in found.source
