"""Detectors' keypoints among the 44, by names and numbers written by hand."""

import numpy as np
import pytest

from tokenhmr_jax.body import keypoint_conventions as conventions
from tokenhmr_jax.body import skeleton

# Position in the detector's own order, as its documentation numbers it, by our name.
SOME = {
    'coco': {
        'OP Nose': 0, 'OP LEye': 1, 'OP REye': 2, 'OP LEar': 3, 'OP LShoulder': 5,
        'OP RShoulder': 6, 'OP LElbow': 7, 'OP RWrist': 10, 'OP LHip': 11, 'OP RKnee': 14,
        'OP LAnkle': 15, 'OP RAnkle': 16,
    },
    'coco_feet': {
        'OP RAnkle': 16, 'OP LBigToe': 17, 'OP LSmallToe': 18, 'OP LHeel': 19, 'OP RBigToe': 20,
        'OP RSmallToe': 21, 'OP RHeel': 22,
    },
    'halpe': {
        'OP LShoulder': 5, 'LSP Head Top': 17, 'OP Neck': 18, 'OP MidHip': 19, 'OP LBigToe': 20,
        'OP RBigToe': 21, 'OP LSmallToe': 22, 'OP RSmallToe': 23, 'OP LHeel': 24, 'OP RHeel': 25,
    },
    'openpose_coco': {
        'OP Nose': 0, 'OP Neck': 1, 'OP RShoulder': 2, 'OP LWrist': 7, 'OP RHip': 8,
        'OP RAnkle': 10, 'OP LHip': 11, 'OP LAnkle': 13, 'OP REye': 14, 'OP LEar': 17,
    },
    'blazepose': {
        'OP Nose': 0, 'OP LEye': 2, 'OP REye': 5, 'OP LEar': 7, 'OP REar': 8, 'OP LShoulder': 11,
        'OP RElbow': 14, 'OP LWrist': 15, 'OP LHip': 23, 'OP RHip': 24, 'OP RKnee': 26,
        'OP LAnkle': 27, 'OP LHeel': 29, 'OP RHeel': 30, 'OP LBigToe': 31, 'OP RBigToe': 32,
    },
}  # fmt: skip
COUNTS = {
    'coco': (17, 17), 'openpose_coco': (18, 18), 'coco_feet': (23, 23),
    'openpose_body_25': (25, 25), 'halpe': (26, 26), 'blazepose': (33, 21),
}  # fmt: skip


def numbered(count: int) -> np.ndarray:
    """Points whose x is their number."""
    return np.stack([np.arange(count), np.zeros(count), np.ones(count)], axis=-1).astype(float)


@pytest.mark.parametrize('convention', SOME)
def test_points_have_their_place(convention):
    out = conventions.to_44(numbered(COUNTS[convention][0]), convention)
    for name, number in SOME[convention].items():
        assert out[skeleton.KEYPOINTS.index(name)].tolist() == [number, 0, 1], name


@pytest.mark.parametrize('convention', COUNTS)
def test_each_point_fills_one_keypoint(convention):
    points, given = COUNTS[convention]
    out = conventions.to_44(numbered(points)[None] + [1, 0, 0], convention)
    known = out[0, :, 2] == 1
    assert known.sum() == given
    assert len(set(out[0, known, 0])) == given
    assert (out[0, ~known] == 0).all()
    np.testing.assert_array_equal(conventions.GIVEN[convention], known)
    assert conventions.convention_of(points) == convention


def test_openpose_is_first_of_the_44():
    out = conventions.to_44(numbered(25), 'openpose_body_25')
    np.testing.assert_array_equal(out[:25], numbered(25))
    assert not out[25:].any()


def test_neck_and_hips_are_not_invented():
    for convention in ('coco', 'coco_feet', 'blazepose'):
        for name in ('OP Neck', 'OP MidHip', 'LSP Head Top'):
            assert not conventions.GIVEN[convention][skeleton.KEYPOINTS.index(name)]


@pytest.mark.parametrize('convention', COUNTS)
def test_mirrored_names_give_mirrored_keypoints(convention):
    """The twin of a point lies at the twin of its keypoint."""
    names = conventions.CONVENTIONS[convention]
    other = {'left': 'right', 'right': 'left'}
    mirrored = ['_'.join(other.get(part, part) for part in name.split('_')) for name in names]
    points = numbered(len(names))
    swapped = points[[names.index(name) for name in mirrored]]
    np.testing.assert_array_equal(
        conventions.to_44(swapped, convention),
        conventions.to_44(points, convention)[skeleton.KEYPOINT_TWINS],
    )


def test_unknown_conventions_and_counts_are_named():
    with pytest.raises(ValueError, match="'mpii': expected one of coco"):
        conventions.to_44(numbered(16), 'mpii')
    with pytest.raises(ValueError, match='17 keypoints: halpe has 26'):
        conventions.to_44(numbered(17), 'halpe')
    with pytest.raises(ValueError, match=r'16 keypoints in a person: expected 17 \(coco\)'):
        conventions.convention_of(16)
