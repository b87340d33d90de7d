"""Kinds of failures of hand-made answers; tests/tasks runs the command."""

import numpy as np

from tokenhmr_jax.studies import failures

DOWN = np.tile(np.array([0.05, 0.3, 0.0]), (8, 1))  # eight limbs that hang


def answers(**changes):
    """Five right answers; `changes` set fields of single records."""
    fields = {
        'limbs': np.tile(DOWN, (5, 1, 1)),
        'limbs_gt': np.tile(DOWN, (5, 1, 1)),
        'turned': np.zeros(5),
        'mpjpe_mm': np.arange(5.0),
        'keypoints2d_px': np.full(5, 3.0),
    }
    for name, (index, value) in changes.items():
        fields[name][index] = value
    return failures.Answers(**fields)


def kind_of_first(**changes):
    found = answers(**{name: (0, value) for name, value in changes.items()})
    names = [failures.KINDS[k] for k in failures.failure_kinds(found)]
    assert names[1:] == ['none of these'] * 4
    return names[0]


def limb(depth, sideways=0.2):
    """Limbs, one of which points away from the camera by `depth`."""
    limbs = DOWN.copy()
    limbs[3] = sideways, 0.0, depth
    return limbs


def test_a_body_turned_by_more_than_a_right_angle():
    assert kind_of_first(turned=91) == 'orientation'
    assert kind_of_first(turned=89) == 'none of these'


def test_a_limb_that_leads_to_the_wrong_side_where_2d_is_right():
    wrong = {'limbs': limb(0.2), 'limbs_gt': limb(-0.2)}
    assert kind_of_first(**wrong) == 'depth'
    assert kind_of_first(**wrong, keypoints2d_px=9.0) == 'none of these'
    assert kind_of_first(**wrong, turned=91) == 'orientation'
    assert kind_of_first(limbs=limb(0.2), limbs_gt=limb(-0.09)) == 'none of these'
    assert kind_of_first(limbs=limb(0.2), limbs_gt=limb(0.2)) == 'none of these'


def test_a_limb_along_the_axis_of_the_camera():
    # Its angle to the axis: atan(0.05 / 0.2) = 14.04, atan(0.055 / 0.2) = 15.4 degrees.
    for depth in (0.2, -0.2):
        assert kind_of_first(limbs_gt=limb(depth, 0.05)) == 'foreshortening'
        assert kind_of_first(limbs_gt=limb(depth, 0.055)) == 'none of these'


def test_the_worst_of_each_kind_and_the_table():
    found = answers()
    kind = np.array([0, 3, 2, 2, 2])
    assert failures.find_worst(found, kind, 2) == [0, 4, 3]
    lines = [
        line.strip('| ').split(' | ') for line in failures.failure_table(found, kind).splitlines()
    ]
    rows = {row[0]: row[1:] for row in lines[2:]}
    assert rows['orientation'] == ['20.0%', '0', '3', '0', '0']
    assert rows['depth'] == ['0.0%', '-', '-', '-', '-']
    assert rows['foreshortening'][:2] == ['60.0%', '3']
    assert rows['all'][:2] == ['100.0%', '2']


def test_limbs_turned_by_a_right_angle_are_reported():
    found = answers(limbs=(0, np.tile(np.array([0.3, -0.05, 0.0]), (8, 1))))
    np.testing.assert_allclose(failures._limb_angles(found), [90, 0, 0, 0, 0], atol=0.1)
