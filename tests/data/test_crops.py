"""Cutting, storing, decoding and warping: what is where in a crop."""

import cv2
import image_records
import numpy as np
import pytest

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.data import augment, crop_batches, crops, records


def find_dot(image, point, red, reach):
    """Centre (2,) of the red or blue dot near a point (2,), px."""
    channel = image[..., 0 if red else 2].astype(float)
    excess = np.clip(channel - np.delete(image, 0 if red else 2, -1).max(axis=-1) - 45, 0, None)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = excess * (np.hypot(columns - point[0], rows - point[1]) < reach)
    assert weight.sum() > 50, f'no dot near {point}'
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


def test_a_box_grows_to_a_proportion_and_never_shrinks():
    np.testing.assert_allclose(crops.grow_box((30, 100), (192, 256)), (75, 100))
    np.testing.assert_allclose(crops.grow_box((90, 100), (192, 256)), (90, 120))
    np.testing.assert_allclose(crops.grow_box((90, 100), None), (90, 100))


def test_the_matrix_by_hand():
    # A box of 100 px around (200, 150) in 50 px: half size.
    plain = crops.crop_matrix((200, 150), 100, 50)
    np.testing.assert_allclose(plain, [[0.5, 0, -75], [0, 0.5, -50]])
    corners = np.array([[150.0, 100.0], [250, 100], [200, 150]])
    np.testing.assert_allclose(crops.transform(plain, corners), [[0, 0], [50, 0], [25, 25]])
    # A quarter turn counter-clockwise brings what is right of the centre above it.
    turned = crops.crop_matrix((200, 150), 100, 50, rotation=np.pi / 2)
    np.testing.assert_allclose(crops.transform(turned, np.array([220.0, 150])), (25, 15))
    # Mirrored first, it was left of the centre, and comes below.
    both = crops.crop_matrix((200, 150), 100, 50, rotation=np.pi / 2, flip=True)
    np.testing.assert_allclose(crops.transform(both, np.array([220.0, 150])), (25, 35))


def test_flipping_twice_is_the_identity_on_points(rng):
    points = rng.normal(size=(5, 2))
    flip = crops.crop_matrix((8, 8), 16, 16, flip=True)
    np.testing.assert_allclose(crops.transform(flip, crops.transform(flip, points)), points)


@pytest.mark.parametrize('resolution', [256, 96, 48])
@pytest.mark.parametrize(
    'augmentation',
    [
        augment.Augmentation(),
        augment.Augmentation(scale=1.3, rotation=-0.9, translation=(0.02, -0.02)),
        augment.Augmentation(scale=0.7, rotation=0.4, flip=True, translation=(-0.02, 0.01)),
        augment.Augmentation(extreme_crop='torso', flip=True),
    ],
    ids=['plain', 'turned', 'flipped', 'torso'],
)
def test_dots_land_on_the_keypoints(rng, augmentation, resolution):
    """Red dots on left keypoints; a mirrored person's left ones were blue, on the right."""
    record = image_records.make(rng, resolution=resolution)
    size = 128
    columns = augment.augment_crop(record, augmentation, size)
    points = (crop_batches.labels_of(columns)['keypoints2d'][:, :2] + 0.5) * size
    zoom = size / (312 * augmentation.scale)  # a dot is 12 px of the full image
    if augmentation.extreme_crop:
        zoom = 1.0
    errors = []
    for i in image_records.DOTTED:
        if (np.abs(points[i] - size / 2) < size / 2 - 6 * zoom - 2).all():
            red = image_records.LEFT[skeleton.KEYPOINT_TWINS[i] if augmentation.flip else i]
            found = find_dot(columns['image'], points[i], red, 6 * zoom + 3)
            errors.append(np.linalg.norm(found - points[i]))
    assert len(errors) >= 6
    assert max(errors) < (0.25 if resolution == 256 else 0.6)


def test_a_stored_picture_shows_what_a_crop_of_the_full_image_shows(rng):
    image = image_records.picture((640, 480))
    for box, resolution in (((80, 200), 256), ((150, 400), 64)):
        fields = records.store_picture(image, (300, 220), box, resolution=resolution, quality=100)
        record = fields | {'key': 'x'}
        for rotation, scale in ((0.0, 1.0), (0.7, 1.25), (-1.0, 0.7)):
            matrix = crops.crop_matrix((305, 222), max(box) * scale, 64, rotation=rotation)
            found = crops.crop_record(record, matrix, 64)
            expected = crops.warp(image, matrix, 64)
            # Where the full image ends, averaging mixes black into the last pixels.
            interior = cv2.erode(expected.min(axis=-1), np.ones((5, 5))) > 0
            assert interior.mean() > 0.3
            difference = np.abs(found.astype(int) - expected)[interior]
            assert difference.max() <= 6 and difference.mean() < 1.0


def decoded(record):
    return cv2.imdecode(np.frombuffer(record['image'], np.uint8), cv2.IMREAD_COLOR)


def test_storing_keeps_twice_the_resolution_and_never_enlarges(rng):
    image = image_records.picture((1280, 960))
    large = records.store_picture(image, (640, 480), (200, 800), resolution=100)
    np.testing.assert_allclose(large['stored_scale'] * 800, 200, rtol=2e-3)
    assert abs(len(decoded(large)) - 200 * records.REACH) < 3
    small = records.store_picture(image, (640, 480), (20, 80), resolution=100)
    assert small['stored_scale'] == 1
    np.testing.assert_array_equal(small['stored_origin'] % 1, 0)


def test_any_augmentation_stays_within_what_is_stored(rng):
    """The corners of crops lie in the stored picture, so that black is only outside the image."""
    settings = augment.AugmentSettings(extreme_crop=0.0)
    for _ in range(300):
        box = rng.uniform(20, 300, 2)
        image = np.zeros((50, 50, 3), np.uint8)
        record = records.store_picture(image, (20, 30), box, resolution=64)
        drawn = augment.draw_augmentation(rng, settings, np.zeros((44, 3)), box)
        matrix = augment.augmentation_matrix(record, drawn, 64)
        corners = np.array([[0, 0], [63, 0], [0, 63], [63, 63]]) - matrix[:, 2]
        corners = corners @ np.linalg.inv(matrix[:, :2]).T
        place = (corners - record['stored_origin']) * record['stored_scale']
        assert place.min() >= 0 and place.max() <= len(decoded(record)) - 1


def test_decoding_reduces_by_powers_of_two(rng):
    _, encoded = cv2.imencode('.jpg', rng.integers(0, 255, (101, 64, 3), dtype=np.uint8))
    for shrink, expected in ((0.5, 1), (1.9, 1), (2.0, 2), (3.9, 2), (4, 4), (8, 8), (100, 8)):
        reduction = crops.reduction_of(shrink)
        picture = crops.decode_part(encoded, reduction)
        whole = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
        assert reduction > 1 or np.array_equal(picture, whole)
        assert np.abs(picture.mean((0, 1)) - whole.mean((0, 1))).max() < 3
        assert reduction == expected
        assert picture.shape[:2] == (-(-101 // reduction), -(-64 // reduction))


@pytest.mark.parametrize('resolution', [256, 48])
def test_the_middle_columns_are_those_of_the_whole_crop(rng, resolution):
    """Whatever the augmentation; OpenCV counts places from the first column, in 1/32 px."""
    record = image_records.make(rng, resolution=resolution)
    settings = augment.AugmentSettings(rotation=0.7, extreme_crop=0.3)
    differences = []
    for _ in range(12):
        drawn = augment.draw_augmentation(rng, settings, record['keypoints2d'], record['box_size'])
        whole = augment.augment_crop(record, drawn, 128)
        middle = augment.augment_crop(record, drawn, 128, width=96)
        assert middle['image'].shape == (128, 96, 3)
        seen = whole['image'][:, 16:112].astype(int)
        differences.append(np.abs(middle['image'] - seen))
        for name in whole.keys() - {'image'}:
            np.testing.assert_array_equal(middle[name], whole[name])
    assert np.max(differences) <= 4 and np.mean(np.array(differences) > 0) < 0.01


def test_shrinking_by_much_blurs_first():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::4] = 255  # without a blur, a crop of every eighth pixel is all white or all black
    crop = crops.warp(stripes, crops.crop_matrix((256, 256), 512, 64), 64)
    assert crop[8:-8, 8:-8].std() < 10
    np.testing.assert_allclose(crop[8:-8, 8:-8].mean(), 255 / 4, atol=10)


@pytest.mark.parametrize(
    ('center', 'side'),
    [((60, 45), 70), ((5, 80), 61.7), ((118, 3), 33), ((60, 45), 190), ((-200, 40), 100)],
)
def test_what_a_crop_shows_is_blurred_as_the_whole_image_would_be(rng, center, side):
    image = rng.integers(0, 256, (90, 120, 3), np.uint8)
    for rotation in (0.0, 0.4):
        matrix = crops.crop_matrix(center, side, 12, rotation=rotation)
        whole = cv2.GaussianBlur(image, (0, 0), (side / 12 / 2 - 1) / 2)
        expected = cv2.warpAffine(whole, matrix, (12, 12), flags=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(crops.warp(image, matrix, 12), expected)


@pytest.mark.parametrize(
    'broken',
    [
        lambda jpeg: jpeg[: len(jpeg) // 2],
        lambda jpeg: b'',
        lambda jpeg: b'\x89PNG' + jpeg[4:],
        lambda jpeg: jpeg[:4] + bytes(len(jpeg) - 6) + jpeg[-2:],
    ],
    ids=['truncated', 'empty', 'another format', 'zeroed'],
)
def test_a_corrupt_picture_is_refused_by_name(rng, broken):
    record = image_records.make(rng, key='coco/17:2')
    record['image'] = broken(record['image'])
    with pytest.raises(ValueError, match='coco/17:2'):
        augment.augment_crop(record, augment.Augmentation(), 64)


def test_a_whole_record_passes_and_a_bad_field_is_named(rng):
    good = image_records.make(rng, key='a/1')
    records.check_record(good)
    bad = {
        'betas': np.full(10, np.nan, np.float32),
        'body_pose': np.zeros((21, 3), np.float32),
        'transl': np.zeros(3),
        'focal_length': np.float32(0),
        'has_pose': np.float32(0.5),
        'keypoints2d': np.full((44, 3), 2, np.float32),
        'image': b'not a picture',
    }
    for name, value in bad.items():
        with pytest.raises(ValueError, match=rf'a/1: .*{name}'):
            records.check_record(good | {name: value})
    with pytest.raises(ValueError, match='vertices'):
        records.check_record(good | {'vertices': 0})
    with pytest.raises(ValueError, match='transl'):
        records.check_record({name: value for name, value in good.items() if name != 'transl'})


@pytest.mark.parametrize(
    ('image', 'center', 'size', 'message'),
    [
        (np.zeros((10, 10), np.uint8), (5, 5), (4, 4), 'uint8'),
        (np.zeros((10, 10, 3)), (5, 5), (4, 4), 'float64'),
        (np.zeros((10, 10, 3), np.uint8), (5, 5), (0, 4), 'not a box'),
        (np.zeros((10, 10, 3), np.uint8), (np.nan, 5), (4, 4), 'not a box'),
        (np.zeros((10, 10, 3), np.uint8), (50, 5), (4, 4), 'outside'),
        (np.zeros((10, 10, 3), np.uint8), (5, 5), (4, 1e9), 'absurd'),
    ],
)
def test_a_picture_that_cannot_be_stored_is_refused(image, center, size, message):
    with pytest.raises(ValueError, match=message):
        records.store_picture(image, center, size)


@pytest.mark.parametrize('center', [(900, 700), (40, 1500), (-500, 700), (9000, 9000)])
@pytest.mark.parametrize('rotation', [0, 0.5])
def test_large_pictures_shrink_as_by_the_blur(rng, center, rotation):
    """By 47: within a level of the blur of the whole picture, at and beyond its borders, too."""
    coarse = rng.integers(0, 256, (15, 20, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (1999, 1503), interpolation=cv2.INTER_NEAREST)
    matrix = crops.crop_matrix(center, 1504, 32, rotation=rotation)
    sigma = (1504 / 32 / 2 - 1) / 2
    whole = cv2.GaussianBlur(image, (0, 0), sigma)
    expected = cv2.warpAffine(whole, matrix, (32, 32), flags=cv2.INTER_LINEAR)
    found = crops.warp(image, matrix, 32)
    off = np.abs(found.astype(int) - expected)
    assert off.mean() < 0.5
    assert np.quantile(off, 0.98) <= 2
