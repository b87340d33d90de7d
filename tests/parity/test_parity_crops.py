"""Agreement with crops that the original PyTorch implementation computed.

The labels, and the middle of the picture with what the crops show of it, ship with the project;
where the full set lies beside the checkout, the same checks run on it too. Labels agree to 1e-4 of
the largest value, rotations to 1e-5.

The pictures were warped by OpenCV 5, which interpolates exactly. OpenCV 4 rounds positions to 1/32
of a pixel. So an exact interpolation, written here, is held to the tolerance under our geometry,
and OpenCV's crop to what its arithmetic allows at each pixel: the more, the larger the steps
between neighbouring pixels.
"""

import math

import image_records
import numpy as np
import opencv_bound
import pytest
from golden import assert_close, fixture

from tokenhmr_jax.data import augment, crop_batches, crops
from tokenhmr_jax.models import regressor

CROP = 256
EXTREME = {
    'hips': 'crop_to_hips', 'shoulders': 'crop_to_shoulders', 'head': 'crop_to_head',
    'torso': 'crop_torso_only', 'right_arm': 'crop_rightarm_only', 'left_arm': 'crop_leftarm_only',
    'legs': 'crop_legs_only', 'right_leg': 'crop_rightleg_only', 'left_leg': 'crop_leftleg_only',
}  # fmt: skip

STD = np.array([0.229, 0.224, 0.225])  # ImageNet's


golden = fixture('golden_crops.npz', 'crops.npz', 'golden_more.npz')


@pytest.fixture(params=range(4))
def case(request, golden):
    """The inputs as a record, the augmentation, and what should come out."""
    names = [name for name in golden if name.startswith(f'case{request.param}_')]
    out = {name.split('_', 1)[1]: golden[name] for name in names}
    scale, degrees, flip, x, y = out['scale_rot_flip_tx_ty'].tolist()
    drawn = augment.Augmentation(
        scale, math.radians(degrees), bool(flip), (x, y), tuple(out['color'].tolist())
    )
    record = {
        'box_center': golden['center'],
        'box_size': np.array([golden['box_size']] * 2),
        'keypoints2d': golden['keypoints2d'],
        'keypoints3d': golden['keypoints3d'],
        'global_orient': golden['in_global_orient'],
        'body_pose': golden['in_body_pose'].reshape(23, 3),
        'betas': golden['in_betas'],
    }
    return record, drawn, out


def test_labels(case):
    record, drawn, out = case
    any_picture = image_records.make(np.random.default_rng(0), image_size=(64, 48), height=30.0)
    columns = augment.augment_crop(any_picture | record, drawn, CROP)
    labels = crop_batches.labels_of(columns)
    assert_close(labels['keypoints2d'], out['keypoints2d'])
    assert_close(labels['keypoints3d'], out['keypoints3d'])
    assert_close(labels['betas'], out['betas'])
    np.testing.assert_allclose(labels['global_orient'], out['global_orient'], atol=1e-5)
    np.testing.assert_allclose(labels['body_pose'].ravel(), out['body_pose'], atol=1e-5)


def test_picture_by_exact_interpolation(golden, case):
    record, drawn, out = case
    expected = out['patch_hwc_every_5']
    values = interpolate(golden['image'], augment.augmentation_matrix(record, drawn, CROP), step=5)
    picture = np.rint(values).astype(np.uint8)
    # Values next to a half may round either way.
    sure = np.isfinite(expected) & (np.abs(values % 1 - 0.5) > 1e-3)
    assert sure.mean() > 0.98 * np.isfinite(expected).mean()
    found = np.asarray(as_seen(picture, drawn))
    assert_close(found[sure], expected[sure])


def as_seen(picture, drawn):
    """The network's view of a picture whose colours were changed."""
    color = np.asarray(drawn.color, np.float32)
    return regressor.normalize(crop_batches.jitter(picture[None], color[None])[0])


def test_picture_by_opencv(golden, case):
    record, drawn, out = case
    expected = out['patch_hwc_every_5']
    matrix = augment.augmentation_matrix(record, drawn, CROP)
    crop = crops.warp(golden['image'], matrix, CROP)
    found = np.asarray(as_seen(crop, drawn))[::5, ::5]
    difference = np.abs(found - expected) * STD * 255  # grey levels, times colour factors
    steps = opencv_bound.largest_steps(golden['image'], opencv_bound.places(matrix, CROP))
    # Both sides round the result.
    allowed = opencv_bound.OFF_EXACT * steps + opencv_bound.OFF_WEIGHTS
    allowed = (allowed + 2 * opencv_bound.OFF_ROUNDED) * np.array(drawn.color)
    seen = np.isfinite(expected)
    assert (difference <= allowed[::5, ::5] + 1e-3)[seen].all()
    assert (difference > 0.1)[seen].mean() < 0.06


def interpolate(image, matrix, step):
    """Bilinear interpolation, black outside, of every `step`-th pixel of a crop."""
    row, column = np.mgrid[:CROP:step, :CROP:step]
    place = np.stack([column, row], axis=-1) - matrix[:, 2]
    place = place @ np.linalg.inv(matrix[:, :2]).T
    margin = CROP
    padded = np.pad(image.astype(float), ((margin, margin), (margin, margin), (0, 0)))
    low = np.floor(place).astype(int)
    x, y = np.moveaxis(low + margin, -1, 0)
    u, v = np.moveaxis((place - low)[..., None], -2, 0)
    top = padded[y, x] * (1 - u) + padded[y, x + 1] * u
    bottom = padded[y + 1, x] * (1 - u) + padded[y + 1, x + 1] * u
    return top * (1 - v) + bottom * v


@pytest.mark.parametrize('name', EXTREME)
def test_extreme_crops(golden, name):
    center, size = augment.extreme_box(name, golden['crop_keypoints2d'])
    assert_close(np.concatenate([center, size]), golden[f'{EXTREME[name]}_cx_cy_w_h'])
