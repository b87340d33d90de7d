"""Joints in the conventions of SMPL, OpenPose, COCO and Human3.6M."""

import jax.numpy as jnp
import numpy as np
import pytest

from tokenhmr_jax.body import joint_conventions, skeleton, smpl

# Numbers of joints as the conventions' own documents list them.
NUMBERS = {
    'smpl24': {'pelvis': 0, 'right_hip': 2, 'neck': 12, 'left_wrist': 20, 'right_hand': 23},
    'openpose25': {
        'nose': 0, 'neck': 1, 'right_shoulder': 2, 'left_wrist': 7, 'mid_hip': 8, 'right_hip': 9,
        'left_ankle': 14, 'right_eye': 15, 'left_big_toe': 19, 'right_heel': 24,
    },
    'coco17': {
        'nose': 0, 'left_eye': 1, 'right_ear': 4, 'left_shoulder': 5, 'right_elbow': 8,
        'right_wrist': 10, 'left_hip': 11, 'right_ankle': 16,
    },
    'h36m17': {
        'pelvis': 0, 'right_hip': 1, 'right_ankle': 3, 'left_hip': 4, 'left_ankle': 6, 'spine': 7,
        'thorax': 8, 'jaw': 9, 'head': 10, 'left_shoulder': 11, 'left_wrist': 13,
        'right_shoulder': 14, 'right_wrist': 16,
    },
}  # fmt: skip


@pytest.fixture(scope='module')
def rest(mannequin):
    """Joints and keypoints of the body at rest: its left is x, y is up, z in front."""
    output = smpl.pose_body(mannequin, jnp.broadcast_to(jnp.eye(3), (1, 21, 3, 3)))
    return np.asarray(output.joints)[0], np.asarray(smpl.keypoints(mannequin, output))[0]


@pytest.mark.parametrize('convention', NUMBERS)
def test_joints_have_their_numbers_and_places(convention, rest):
    """On a body at rest: left is left, and from head to toe the heights fall."""
    names = joint_conventions.CONVENTIONS[convention].names
    assert len(names) == int(convention[-2:]) == len(set(names))
    for name, number in NUMBERS[convention].items():
        assert names[number] == name
    joints = joint_conventions.select(convention, *rest)
    place = dict(zip(names, joints, strict=True))
    for name, (x, _, _) in place.items():
        expected = name.startswith('left_') - name.startswith('right_')
        assert np.sign(np.round(x, 2)) == expected, name
    order = ('head', 'nose', 'jaw', 'neck', 'thorax', 'spine', 'pelvis', 'left_knee', 'left_ankle')
    heights = [place[name][1] for name in order if name in place]
    assert (np.diff(heights) < 0).all()


def test_each_joint_is_the_point_that_it_is_said_to_be(rng):
    """By hand, of random points; the leading axes stay."""
    joints, keypoints = rng.normal(size=(2, 5, 24, 2)), rng.normal(size=(2, 5, 44, 2))
    for name, convention in joint_conventions.CONVENTIONS.items():
        found = joint_conventions.select(name, joints, keypoints)
        for i, source in enumerate(convention.sources):
            among, points = (
                (skeleton.JOINTS, joints) if source in skeleton.JOINTS
                else (skeleton.KEYPOINTS, keypoints)
            )  # fmt: skip
            np.testing.assert_array_equal(found[..., i, :], points[..., among.index(source), :])
    np.testing.assert_array_equal(
        joint_conventions.select('openpose25', joints, keypoints), keypoints[..., :25, :]
    )
    with pytest.raises(ValueError, match='expected one of smpl24, openpose25, coco17, h36m17'):
        joint_conventions.select('coco', joints, keypoints)
