"""The networks that come with the package."""

import numpy as np

import tokenhmr_jax
from tokenhmr_jax.body import keypoint_conventions, skeleton

# A standing person's keypoints in COCO's order, pixels of a picture of 640 x 480.
X = [320, 326, 314, 332, 308, 355, 285, 370, 270, 375, 265, 342, 298, 345, 295, 347, 293]
Y = [80, 74, 74, 78, 78, 120, 120, 175, 175, 225, 225, 230, 230, 315, 315, 395, 395]


def test_a_standing_person_stands():
    """Its files are whole, and its body lies on the keypoints, head up, feet down."""
    points = keypoint_conventions.to_44(np.stack([X, Y, np.ones(17)], -1)[None], 'coco')
    image = np.zeros((480, 640, 3), np.uint8)
    found = tokenhmr_jax.load('bundled').predict(image, keypoints=points)
    seen = points[0, :, 2] > 0
    off = np.linalg.norm(found.keypoints2d[0] - points[0, :, :2], axis=-1)[seen]
    assert off.mean() < 0.05 * (max(Y) - min(Y))
    height = dict(zip(skeleton.JOINTS, -found.joints[0, :24, 1], strict=True))
    assert height['head'] > height['pelvis'] + 0.4
    assert height['pelvis'] > height['left_ankle'] + 0.6


def test_its_tokenizer_gives_poses_back():
    pose = np.broadcast_to(np.eye(3, dtype=np.float32), (1, 21, 3, 3))
    tokenizer = tokenhmr_jax.load_tokenizer('bundled')
    back = tokenizer.decode(tokenizer.encode(pose))
    assert np.abs(np.asarray(back) - pose).max() < 0.3
