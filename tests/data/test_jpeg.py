"""Parts of JPEGs, against the same parts of whole ones."""

import cv2
import image_records
import numpy as np
import pytest

from tokenhmr_jax.data import augment, jpeg


@pytest.fixture(scope='module')
def picture():
    """(150, 203, 3) of fine detail: no block looks like another."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (150, 203, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def decode(data, flags=cv2.IMREAD_COLOR):
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


def test_a_picture_is_stored_as_any_jpeg(picture):
    encoded = jpeg.encode_jpeg(picture, 90)
    plain = cv2.imencode('.jpg', picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    np.testing.assert_array_equal(decode(encoded), decode(plain))
    assert len(plain) < len(encoded) < 1.2 * len(plain)


@pytest.mark.parametrize(
    ('low', 'high', 'corner', 'size'),
    [
        ((40, 20), (100, 90), (32, 16), (80, 80)),
        ((32, 32), (47.9, 47.9), (32, 32), (16, 16)),
        ((0, 0), (202, 149), (0, 0), (203, 150)),
        ((-50, -9), (500, 10), (0, 0), (203, 16)),
        ((199, 143), (201, 148), (192, 128), (11, 22)),
        ((300, -80), (400, -70), (192, 0), (11, 16)),  # beside the picture: the nearest block
    ],
)
@pytest.mark.parametrize('reduction', [1, 2, 8])
def test_a_part_shows_what_the_whole_shows_there(picture, low, high, corner, size, reduction):
    flags = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 8: cv2.IMREAD_REDUCED_COLOR_8}
    encoded = jpeg.encode_jpeg(picture, 90)
    part, found = jpeg.cut_jpeg(encoded, low, high)
    assert found == corner
    part = decode(part, flags[reduction])
    width, height = (-(-side // reduction) for side in size)
    assert part.shape == (height, width, 3)
    x, y = np.array(corner) // reduction
    whole = decode(encoded, flags[reduction])[y : y + height, x : x + width]
    inner = np.s_[2:-2, 2:-2] if min(part.shape[:2]) > 4 else np.s_[:0]
    np.testing.assert_array_equal(part[inner], whole[inner])
    # At its edges it is off in colour alone.
    np.testing.assert_allclose(part.mean(axis=(0, 1)), whole.mean(axis=(0, 1)), atol=4)


def test_another_jpeg_stays_whole(picture):
    plain = cv2.imencode('.jpg', picture)[1].tobytes()
    part, corner = jpeg.cut_jpeg(plain, (40, 20), (60, 50))
    assert part.tobytes() == plain and corner == (0, 0)


@pytest.mark.parametrize(
    ('broken', 'message'),
    [
        (lambda data: data[: len(data) // 2], 'not a whole JPEG'),
        (lambda data: data[:-2] + b'\xff\xd0' * 3 + data[-2:], '133 of 130 blocks'),
        (lambda data: data[:4] + bytes(len(data) - 6) + data[-2:], 'no baseline scan'),
        (lambda data: data[:2] + data[-2:], 'no baseline scan'),
    ],
)
def test_broken_ones_are_refused(picture, broken, message):
    with pytest.raises(ValueError, match=message):
        jpeg.cut_jpeg(broken(jpeg.encode_jpeg(picture, 90)), (0, 0), (10, 10))


@pytest.mark.parametrize('size', [256, 100, 20])
def test_a_crop_of_a_part_is_that_of_the_whole(rng, monkeypatch, size):
    """For any augmentation: turned, mirrored, zoomed in to a limb, reduced, blurred."""
    record = image_records.make(rng, height=300.0)
    settings = augment.AugmentSettings(rotation=1.0, extreme_crop=0.3)
    drawn = [
        augment.draw_augmentation(rng, settings, record['keypoints2d'], record['box_size'])
        for _ in range(12)
    ]
    crop = lambda each: augment.augment_crop(record, each, size)['image'].astype(int)  # noqa: E731
    found = [crop(each) for each in drawn]
    monkeypatch.setattr(jpeg, 'cut_jpeg', lambda data, *_: (np.frombuffer(data, np.uint8), (0, 0)))
    for ours, each in zip(found, drawn, strict=True):
        difference = np.abs(ours - crop(each))
        # The same numbers, rounded at another place.
        assert difference.max() <= 3 and (difference > 0).mean() < 0.01


def test_a_record_has_its_picture_so(rng):
    record = image_records.make(rng)
    whole = decode(record['image'])
    part, _ = jpeg.cut_jpeg(record['image'], (10, 10), (50, 50))
    assert len(part) < len(record['image']) / 4 and len(whole) > 4 * 64
