"""Crops of whole image files are those of the original's evaluation."""

import cv2
import image_records
import numpy as np
import opencv_bound
import pytest

from tokenhmr_jax.data import augment, crops, records

CROP = 256


def photograph(rng, size=(1400, 1100)):
    """Sharp edges and texture at all scales, (H, W, 3)."""
    noise = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = cv2.addWeighted(image_records.picture(size), 0.6, noise, 0.4, 0)
    for _ in range(150):
        corner, span = rng.integers(0, size), rng.integers(3, 120, 2)
        color = rng.integers(0, 256, 3).tolist()
        cv2.rectangle(image, corner.tolist(), (corner + span).tolist(), color, -1)
    return image


def original_crop(file, center, side):
    """The published recipe: three points in float32, bilinear, no low-pass, black outside; RGB."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(file, np.uint8), flags)
    x, y = center
    three = np.float32([(x, y), (x, y + side / 2), (x + side / 2, y)])
    middle = CROP / 2
    to = np.float32([(middle, middle), (middle, CROP), (CROP, middle)])
    matrix = cv2.getAffineTransform(three, to)
    crop = cv2.warpAffine(
        image, matrix, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return image[..., ::-1], crop[..., ::-1]


def evaluated(record):
    return augment.augment_crop(record, augment.Augmentation(), CROP, (192, 256))['image']


def record_of(file, center, size):
    labels = {'focal_length': 1000.0, 'keypoints2d': np.zeros((44, 3))}
    return records.assemble_file(file, 'a/1', center, size, labels)


def steps_of(image, center, side):
    matrix = crops.crop_matrix(center, side, CROP)
    return opencv_bound.largest_steps(image, opencv_bound.places(matrix, CROP))


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('shrink', [0.4, 1, 2, 4, 7.3])
def test_a_crop_of_a_file_is_the_originals(rng, shrink, suffix):
    """Both round places to 1/32 px, of matrices that differ by the rounding of float32."""
    file = cv2.imencode(suffix, photograph(rng))[1].tobytes()
    height = CROP * shrink
    for center in ((701.37, 502.61), (33.3, 1080.9)):
        for size, side in (((0.4 * height, height), height), ((0.75 * height, 10.0), height)):
            found = evaluated(record_of(file, center, size)).astype(int)
            image, expected = original_crop(file, center, side)
            difference = np.abs(found - expected)
            allowed = opencv_bound.OFF_EACH_OTHER * steps_of(image, center, side) + 1
            assert (difference <= allowed).all()
            assert (difference > 0).mean() < 0.02
            # Nothing is blurred.
            assert found.std() > 0.9 * expected.std()


def test_an_orientation_tag_turns_neither(rng):
    """Labels are of stored pixels; so is the original's reading."""
    plain = cv2.imencode('.jpg', photograph(rng, (300, 200)))[1].tobytes()
    tag = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    turned = plain[:2] + b'\xff\xe1' + (len(tag) + 2).to_bytes(2, 'big') + tag + plain[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (300, 200, 3)
    crop = [evaluated(record_of(file, (150, 100), (100, 200))) for file in (plain, turned)]
    np.testing.assert_array_equal(*crop)


def test_a_stored_square_is_smoother(rng):
    """The fast path of training: a texture of single pixels loses its contrast."""
    image = photograph(rng)
    file = cv2.imencode('.png', image[..., ::-1])[1].tobytes()
    center, size = (700.0, 550.0), (400.0, 1024.0)
    labels = {'focal_length': 1000.0}
    square = records.assemble(image, 'a/1', center, size, labels)
    sharp, smooth = evaluated(record_of(file, center, size)), evaluated(square)
    contrast = [np.abs(np.diff(each.astype(int), axis=1)).mean() for each in (sharp, smooth)]
    assert contrast[1] < 0.6 * contrast[0]


def test_a_file_that_is_cut_off_or_has_no_person_is_refused(rng):
    file = cv2.imencode('.jpg', photograph(rng, (300, 200)))[1].tobytes()
    record = record_of(file, (150, 100), (100, 200))
    record['image'] = file[: len(file) // 2]
    with pytest.raises(ValueError, match=r'a/1: .*truncated'):
        evaluated(record)
    with pytest.raises(ValueError, match='outside the image'):
        record_of(file, (900, 100), (100, 200))
    with pytest.raises(ValueError, match='not a box'):
        record_of(file, (150, 100), (0, 200))
    with pytest.raises(ValueError, match='no JPEG or PNG'):
        record_of(b'GIF89a', (150, 100), (100, 200))
