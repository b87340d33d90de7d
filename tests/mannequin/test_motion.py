"""Procedural motion: within human limits, on the ground, smooth, symmetric and varied."""

import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.mannequin import motion
from tokenhmr_jax.mannequin.movement import kinematics

J = {name: i for i, name in enumerate(skeleton.JOINTS)}
SIDES = (('left', 1), ('right', -1))


def positions(clip):
    """(N, 24, 3) joints in the z-up world, by SciPy's rotations, bone by bone."""
    rotations = [Rotation.from_rotvec(clip.global_orient)]
    points = [clip.transl.astype(float)]
    for joint in range(1, 24):
        parent = skeleton.PARENTS[joint]
        points.append(points[parent] + rotations[parent].apply(kinematics.OFFSETS[joint]))
        if joint < 22:
            local = Rotation.from_rotvec(clip.body_pose[:, joint - 1])
            rotations.append(rotations[parent] * local)
    return np.stack(points, 1)


def clips(kind, count, frames=30, fps=10.0, seed=0):
    rng = np.random.default_rng(seed)
    return [motion.generate(rng, kind, frames, fps) for _ in range(count)]


@pytest.fixture(scope='module')
def many():
    """Ten clips of each kind."""
    return {kind: clips(kind, 10) for kind in motion.KINDS}


def test_shapes_dtypes_and_determinism():
    first, second = (clips('walking', 1, frames=7)[0] for _ in range(2))
    shapes = [x.shape for x in first]
    assert shapes == [(7, 3), (7, 21, 3), (7, 3)]
    for a, b in zip(first, second, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_array_equal(a, b)
    other = clips('walking', 1, frames=7, seed=1)[0]
    assert np.abs(other.body_pose - first.body_pose).max() > 0.1


@pytest.mark.parametrize('kind', motion.KINDS)
def test_one_frame_is_a_clip(kind):
    clip = clips(kind, 1, frames=1)[0]
    assert clip.body_pose.shape == (1, 21, 3) and np.isfinite(clip.body_pose).all()


def test_wrong_arguments():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match='flying'):
        motion.generate(rng, 'flying', 10)
    with pytest.raises(ValueError, match='0 and 30'):
        motion.generate(rng, 'walking', 0)


def test_swing_and_twist_by_a_second_method():
    """R = swing * twist; the swing turns the bone about an axis perpendicular to it."""
    rotation = Rotation.random(100, rng=np.random.default_rng(0))
    for axis in range(3):
        angles = kinematics.to_swing_twist(rotation.as_matrix(), axis)
        twist = angles * np.eye(3)[axis]
        composed = Rotation.from_rotvec(angles - twist) * Rotation.from_rotvec(twist)
        np.testing.assert_allclose(composed.as_matrix(), rotation.as_matrix(), atol=1e-9)
        back = kinematics.from_swing_twist(angles, axis)
        again = kinematics.quaternion_to_matrix(back)
        np.testing.assert_allclose(again, rotation.as_matrix(), atol=1e-9)


def test_two_bones_meet_a_goal_and_bend_towards_the_pole():
    """3-4-5 triangle: bones of 3 and 4, goal at distance 5: a right angle at the hinge."""
    goal, pole = np.array([0.0, 0, 5]), np.array([0.0, 1, 1])
    bone, hinge, bend = kinematics.two_bone(goal, pole, 3.0, 4.0)
    np.testing.assert_allclose(bone, [0, 0.8, 0.6], atol=1e-12)
    np.testing.assert_allclose(hinge, [0, 0.6, -0.8], atol=1e-12)
    assert bend == pytest.approx(np.pi / 2)


def test_joint_limits(many):
    """Measured from the result by rotating bones and hinges, not by the code that limits them."""
    for kind, of_kind in many.items():
        for clip in of_kind:
            local = Rotation.from_rotvec(clip.body_pose.reshape(-1, 3)).as_matrix()
            local = local.reshape(-1, 21, 3, 3)
            for side, sign in SIDES:
                shank = -local[:, J[f'{side}_knee'] - 1, :, 1]
                assert (shank[:, 2] < np.sin(np.radians(3.1))).all(), (kind, 'knee backwards')
                assert (shank[:, 1] < np.cos(np.radians(30))).all(), (kind, 'knee folded')
                assert (np.abs(shank[:, 0]) < np.sin(np.radians(5))).all(), (kind, 'knee aside')
                forearm = sign * local[:, J[f'{side}_elbow'] - 1, :, 0]
                assert (forearm[:, 2] > -np.sin(np.radians(3.1))).all(), (kind, 'elbow backwards')
                thigh = -local[:, J[f'{side}_hip'] - 1, :, 1]
                backwards = np.degrees(np.arctan2(-thigh[:, 2], -thigh[:, 1]))
                hanging = thigh[:, 1] < -0.7
                assert (backwards[hanging] < 35).all(), (kind, 'hip')
            head = Rotation.from_matrix(local[:, J['head'] - 1]).magnitude()
            neck = Rotation.from_matrix(local[:, J['neck'] - 1]).magnitude()
            assert (np.degrees(head) < 60).all() and (np.degrees(neck) < 65).all()


def test_every_pose_is_within_the_table(many):
    for of_kind in many.values():
        body = np.concatenate([clip.body_pose for clip in of_kind]).astype(float)
        for group, joints in kinematics.GROUPS.items():
            axis = kinematics.twist_axis(group)
            for joint in joints:
                right = skeleton.JOINTS[joint].startswith('right_')
                vector = body[:, joint - 1] * (kinematics.MIRROR if right else 1)
                rotation = Rotation.from_rotvec(vector).as_matrix()
                angles = kinematics.to_swing_twist(rotation, axis)[:, None]
                swing, twist = kinematics.limit_ratio(angles, [joint], axis)
                assert swing.max() < 1.001 and twist.max() < 1.001, skeleton.JOINTS[joint]


def test_nobody_sinks_or_floats(many):
    for kind, of_kind in many.items():
        for clip in of_kind:
            lowest = (positions(clip)[..., 2] - kinematics.FLESH).min(1)
            assert lowest.min() > -1e-4, kind
            if kind not in ('running', 'jumping'):
                assert lowest.max() < 1e-4, kind
    flight = [(positions(c)[..., 2] - kinematics.FLESH).min(1).max() for c in many['jumping']]
    assert min(flight) > 0.05


def test_feet_under_the_body_and_head_up(many):
    for kind in ('standing', 'walking', 'running', 'jumping'):
        for clip in many[kind]:
            points = positions(clip)
            assert (points[:, J['head'], 2] > points[:, J['pelvis'], 2] + 0.25).all(), kind
            feet = points[:, [J['left_ankle'], J['right_ankle']]]
            reach = np.linalg.norm(feet[..., :2] - points[:, :1, :2], axis=-1).min(1)
            assert (reach < 0.6).all(), kind
            assert (points[:, J['pelvis'], 2] > 0.45).all(), kind


def test_sitting_and_lying_are_low(many):
    height = {k: np.median([positions(c)[:, J['neck'], 2] for c in many[k]]) for k in many}
    assert height['lying'] < 0.4 < height['sitting'] < 1.15 < height['standing']


def test_hands_carry_people_on_the_floor(many):
    """Nobody hovers over one foot: a hand is down; on the seat or hip, so is the pelvis."""
    for kind in ('crawling', 'planking', 'sliding'):
        points = np.concatenate([positions(clip)[..., 2] for clip in many[kind]])
        lower_hand = points[:, [J['left_wrist'], J['right_wrist']]].min(1)
        assert np.quantile(lower_hand, 0.9) < 0.25, kind
    assert np.quantile(points[:, J['pelvis']], 0.9) < 0.4  # of the sliding ones


def test_handstands_are_upside_down(many):
    for clip in many['inverting']:
        points = positions(clip)[..., 2]
        assert (points[:, J['pelvis']] > points[:, J['neck']] + 0.1).all()
        assert (points[:, [J['left_wrist'], J['right_wrist']]].min(1) < 0.3).all()


def test_standing_feet_stay_where_they_are():
    """The foot on the ground does not slide: less than 2 mm per frame for most of the time."""
    for clip in clips('standing', 5, frames=60, fps=30.0):
        feet = positions(clip)[:, [J['left_foot'], J['right_foot']]]
        slide = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=-1).min(1)
        assert np.median(slide) < 0.002


def test_walking_forwards_moves_forwards():
    """Most clips walk ahead; the body's forward axis is where it goes."""
    ahead = []
    for clip in clips('walking', 20, frames=60, fps=30.0):
        forward = Rotation.from_rotvec(clip.global_orient).apply([0, 0, 1])[:-1]
        ahead.append(np.sum(np.diff(clip.transl, axis=0) * forward, -1).mean() * 30)
    assert np.median(ahead) > 0.2  # metres per second
    assert max(ahead) < 3


def test_motion_is_smooth():
    """At 120 fps, no joint goes faster than a sprinter's foot, nor jumps between frames."""
    for kind in motion.KINDS:
        for clip in clips(kind, 3, frames=240, fps=120.0):
            points = positions(clip)
            speed = np.linalg.norm(np.diff(points, axis=0), axis=-1) * 120
            assert speed.max() < 16, kind
            change = np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1)
            assert change.max() < 0.06, kind  # metres between two steps of 8 ms


def test_mirror_is_an_involution_and_mirrors_the_joints():
    clip = clips('kicking', 1)[0]
    mirrored = motion.mirror(clip)
    for a, b in zip(motion.mirror(mirrored), clip, strict=True):
        np.testing.assert_array_equal(a, b)
    expected = positions(clip)[:, skeleton.JOINT_TWINS] * (-1, 1, 1)
    np.testing.assert_allclose(positions(mirrored), expected, atol=1e-5)
    assert np.abs(mirrored.body_pose - clip.body_pose).max() > 0.1


def test_left_and_right_are_alike_on_average():
    """The asymmetric kinds (one leg kicks, the right hand reaches) do so on both sides."""
    for kind, joint in (('kicking', 'hip'), ('reaching', 'shoulder')):
        body = [c.body_pose for c in clips(kind, 60, frames=8, fps=2.0)]
        difference = np.array([
            np.abs(b[:, J[f'left_{joint}'] - 1]).sum() - np.abs(b[:, J[f'right_{joint}'] - 1]).sum()
            for b in body
        ])  # fmt: skip
        standard_error = difference.std() / np.sqrt(len(difference))
        assert np.abs(difference).mean() > 2 * standard_error  # each clip has its side
        assert abs(difference.mean()) < 4 * standard_error  # and they balance


def test_many_degrees_of_freedom_vary(many):
    """Root-relative joints: far from the mean pose, and not in a space of a few dimensions."""
    body = np.concatenate([c.body_pose[::6] for of_kind in many.values() for c in of_kind])
    rest = motion.Motion(np.zeros((len(body), 3)), body, np.zeros((len(body), 3)))
    points = positions(rest)[:, 1:22]
    error = np.linalg.norm(points - points.mean(0), axis=-1).mean()
    assert 0.1 < error < 0.2
    values = np.linalg.svd((body - body.mean(0)).reshape(len(body), -1), compute_uv=False) ** 2
    assert np.searchsorted(np.cumsum(values) / values.sum(), 0.9) >= 12
    assert (body.std(0).max(-1) > 0.03).all()  # every joint


def test_speed():
    """Far above what preparing a dataset needs."""
    start = time.process_time()
    clips('walking', 4, frames=1000)
    assert 4000 / (time.process_time() - start) > 5000
