"""Augmentation: what is drawn, and that picture and labels change alike."""

import math

import image_records
import jax
import numpy as np
import pytest

from tokenhmr_jax.body import rotations, skeleton, smpl
from tokenhmr_jax.data import augment, crop_batches, crops
from tokenhmr_jax.types import SmplParams

LABELS = ('keypoints3d', 'global_orient', 'body_pose', 'betas')


def labels_of(record, augmentation):
    return crop_batches.labels_of(augment.augment_crop(record, augmentation, 64))


def draws(rng, count=4000, **settings):
    keypoints = np.c_[image_records.person(rng, 100, 200), np.ones(44)]
    settings = augment.AugmentSettings(**settings)
    return [augment.draw_augmentation(rng, settings, keypoints, (120, 240)) for _ in range(count)]


def test_draws_have_the_published_ranges_and_shares(rng):
    drawn = draws(rng)
    scale = np.array([d.scale for d in drawn])
    assert scale.min() == pytest.approx(0.7) and scale.max() == pytest.approx(1.3)
    # A normal deviate clipped at 1 is at its bounds with probability 0.317.
    assert np.isin(scale.round(9), (0.7, 1.3)).mean() == pytest.approx(0.317, abs=0.03)
    turn = np.degrees([d.rotation for d in drawn])
    assert (turn != 0).mean() == pytest.approx(0.6, abs=0.03)
    assert np.abs(turn).max() == pytest.approx(60)
    assert turn[turn != 0].std() == pytest.approx(30 * 0.959, rel=0.05)  # of z clipped at 2
    assert np.mean([d.flip for d in drawn]) == pytest.approx(0.5, abs=0.03)
    moves = np.array([d.translation for d in drawn])
    np.testing.assert_allclose(np.abs(moves).max(axis=0), 0.02)
    colors = np.array([d.color for d in drawn])
    assert 0.8 <= colors.min() < 0.801 and 1.199 < colors.max() <= 1.2
    assert np.corrcoef(colors.T)[0, 1] == pytest.approx(0, abs=0.06)
    assert np.mean([d.extreme_crop is not None for d in drawn]) == pytest.approx(0.1, abs=0.02)


def test_without_any_the_crop_is_plain(rng):
    names = augment.AugmentSettings.__dataclass_fields__.keys() - {'extreme_crop_needs'}
    settings = dict.fromkeys(names, 0.0)
    assert set(draws(rng, 20, **settings)) == {augment.Augmentation()}


@pytest.mark.parametrize('needs', ['body', 'part'])
def test_extreme_crops_are_drawn_by_their_weights(rng, needs):
    """A person seen in whole: the crop to the hips two times in ten, each other one once."""
    names = [d.extreme_crop for d in draws(rng, 1500, extreme_crop=1.0, extreme_crop_needs=needs)]
    assert len(augment.EXTREME_CROPS) == 9
    for name in augment.EXTREME_CROPS:
        share = 0.2 if name == 'hips' else 0.1
        assert names.count(name) / len(names) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize('name', ['flip', 'rotation', 'extreme_crop', 'scale', 'color'])
@pytest.mark.parametrize('value', [-0.1, 1.5, math.nan])
def test_settings_that_make_no_sense_are_refused(name, value):
    with pytest.raises(ValueError, match=rf'augment\.{name}'):
        augment.AugmentSettings(**{name: value})
    with pytest.raises(ValueError, match=r"extreme_crop_needs='whole': expected one of .*'body'"):
        augment.AugmentSettings(extreme_crop_needs='whole')


def test_extreme_crops_show_their_part(rng):
    points = np.c_[image_records.person(rng, 100, 200) + 300, np.ones(44)]
    sides = {}
    for name, crop in augment.EXTREME_CROPS.items():
        center, size = augment.extreme_box(name, points)
        parts = [n in crop.parts or n.split(' ', 1)[1] in crop.parts for n in skeleton.KEYPOINTS]
        assert (np.abs(points[parts, :2] - center) <= size / 2).all()
        sides[name] = center[0] - 300, center[1] - 300, size.max()
    # A front view: the person's right is on the left. Heads are up, legs are down.
    assert sides['right_arm'][0] < -20 < 20 < sides['left_arm'][0]
    assert sides['right_leg'][0] < sides['legs'][0] < sides['left_leg'][0]
    assert sides['head'][1] < sides['torso'][1] < sides['legs'][1]
    assert sides['head'][2] < sides['torso'][2] < sides['hips'][2] < 200


def crops_of(rng, points, needs, box=(100, 100)):
    """All that are drawn in 300 trials."""
    settings = augment.AugmentSettings(extreme_crop=1.0, extreme_crop_needs=needs)
    trials = [augment.draw_augmentation(rng, settings, points, box) for _ in range(300)]
    return {drawn.extreme_crop for drawn in trials}


def seen(rng, *names):
    """Keypoints of a standing person, of which those are seen that have one of some names."""
    points = np.c_[image_records.person(rng, 100, 200), np.zeros(44)]
    points[[i for i, name in enumerate(skeleton.KEYPOINTS) if name in names], 2] = 1
    assert points[:, 2].sum() == len(names)
    return points


SIDES = [f'{side}{joint}' for side in 'RL' for joint in ('Shoulder', 'Elbow', 'Wrist')]
LEGS = [f'{side}{joint}' for side in 'RL' for joint in ('Knee', 'Ankle')]
ABOVE_THE_HIPS = {'shoulders', 'head', 'torso', 'right_arm', 'left_arm'}


def test_the_whole_body_is_its_limbs_in_either_convention(rng):
    """Ten joints, no hip and no head among them; without one of them nothing is cropped."""
    limbs = [f'OP {name}' for name in SIDES] + [f'LSP {name}' for name in LEGS]
    # The head's crop shows OpenPose's shoulders too, so it is shown; LSP's hips are not needed.
    assert crops_of(rng, seen(rng, *limbs), 'body') == set(augment.EXTREME_CROPS)
    for missing in ('OP RWrist', 'LSP LAnkle'):
        names = [name for name in limbs if name != missing]
        assert crops_of(rng, seen(rng, *names), 'body') == {None}
    # Of LSP's own limbs no keypoint belongs to the head: that crop leaves the box as it is.
    lsp = [f'LSP {name}' for name in SIDES + LEGS]
    assert crops_of(rng, seen(rng, *lsp), 'body') == {*augment.EXTREME_CROPS, None} - {'head'}


def test_the_upper_body_alone_has_no_knees_and_two_points_of_the_head(rng):
    arms = [f'OP {name}' for name in SIDES]
    head = ['OP Nose', 'LSP Head Top']
    assert crops_of(rng, seen(rng, *arms, *head), 'body') == ABOVE_THE_HIPS
    assert crops_of(rng, seen(rng, *arms, *head, 'LSP RHip'), 'body') == ABOVE_THE_HIPS
    assert crops_of(rng, seen(rng, *arms, *head, 'LSP RKnee'), 'body') == {None}
    assert crops_of(rng, seen(rng, *arms, 'OP Nose'), 'body') == {None}
    # LSP's shoulders count as points of the head, OpenPose's do not.
    assert crops_of(rng, seen(rng, 'LSP RShoulder', 'LSP LShoulder'), 'body') == {
        'shoulders', 'torso', None
    }  # fmt: skip
    assert crops_of(rng, seen(rng, 'OP RShoulder', 'OP LShoulder'), 'body') == {None}


def test_a_part_is_shown_from_a_summed_confidence_above_one_and_four_pixels(rng):
    points = seen(rng, 'OP Nose', 'OP REye', 'OP LEye')
    points[points[:, 2] > 0, 2] = 0.33
    assert crops_of(rng, points, 'body') == {None}
    points[points[:, 2] > 0, 2] = 0.34
    assert crops_of(rng, points, 'body') == {'shoulders', 'head', None}  # no torso, no arms
    low, high = points[[0, 15, 16], :2].min(axis=0), points[[0, 15, 16], :2].max(axis=0)
    small = 3.99 / 1.56 / (high - low).max()  # the head's crop alone is below 4 px, or both are
    points[:, :2] *= small
    assert crops_of(rng, points, 'body') == {None}
    points[:, :2] *= 1.01
    assert crops_of(rng, points, 'body') == {'head', None}


def test_by_parts_what_is_not_seen_is_not_cropped_to(rng):
    points = np.c_[image_records.person(rng, 100, 200), np.ones(44)]
    for i, name in enumerate(skeleton.KEYPOINTS):
        if name.endswith(('Knee', 'Ankle', 'Heel', 'Toe')):
            points[i, 2] = 0
    assert crops_of(rng, points, 'part') == ABOVE_THE_HIPS
    points[skeleton.KEYPOINTS.index('OP RKnee'), 2] = 1
    assert crops_of(rng, points, 'part') == ABOVE_THE_HIPS
    assert crops_of(rng, points, 'body') == {None}
    points[:, 2] = 0
    assert crops_of(rng, points, 'part') == {None}
    # A speck in a large box: cropping would show a handful of pixels.
    points[:, 2] = 1
    assert crops_of(rng, points, 'part', (9000, 9000)) == {None}
    assert crops_of(rng, points, 'body', (9000, 9000)) == set(augment.EXTREME_CROPS)


def test_the_head_comes_with_the_shoulders_of_one_convention():
    """A nose at (100, 50) and shoulders at (70, 100) and (130, 100): the box times 1.2 and 1.3."""
    points = np.zeros((44, 3))
    places = {'OP Nose': (100, 50), 'OP RShoulder': (70, 100), 'OP LShoulder': (130, 100)}
    for name, place in places.items():
        points[skeleton.KEYPOINTS.index(name)] = (*place, 1)
    points[skeleton.KEYPOINTS.index('LSP RShoulder')] = (0, 100, 1)
    center, size = augment.extreme_box('head', points)
    np.testing.assert_allclose((*center, *size), (100, 75, 60 * 1.56, 50 * 1.56))


def test_flipping_twice_is_the_identity_on_every_field(rng):
    record = image_records.make(rng)
    flip = augment.Augmentation(flip=True)
    once = labels_of(record, flip)
    twice = labels_of(record | {name: once[name] for name in LABELS}, flip)
    for name in LABELS:
        np.testing.assert_array_equal(twice[name], record[name], err_msg=name)
        changed = not np.array_equal(once[name], record[name])
        assert changed == (name != 'betas')
    plain = augment.augment_crop(record, augment.Augmentation(), 64)
    columns = augment.augment_crop(record, flip, 64)
    back = once['keypoints2d'][skeleton.KEYPOINT_TWINS] * (-1, 1, 1)
    np.testing.assert_allclose(back, crop_batches.labels_of(plain)['keypoints2d'], atol=1e-6)
    # Mirrored about pixel 32, the crop's centre: pixel 0 has no counterpart.
    difference = np.abs(columns['image'][:, :0:-1].astype(int) - plain['image'][:, 1:])
    assert difference.max() <= 3
    for name in ('gender', 'has_pose', 'has_betas', 'color', 'key'):
        np.testing.assert_array_equal(columns[name], plain[name])


def test_turning_there_and_back_is_the_identity(rng):
    record = image_records.make(rng)
    record['global_orient'] /= np.linalg.norm(record['global_orient'])  # below half a turn
    there = labels_of(record, augment.Augmentation(rotation=0.7))
    there = record | {name: there[name] for name in LABELS}
    back = labels_of(there, augment.Augmentation(rotation=-0.7))
    for name in LABELS:
        np.testing.assert_allclose(back[name], record[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('rotation', [0.0, 0.5, -1.0])
def test_augmented_3d_projects_onto_augmented_2d(rng, flip, rotation):
    """Under an orthographic camera, exactly; for keypoints and for the posed body."""
    record = image_records.make(rng)
    zoom, offset = 90.0, np.array([310.0, 240.0])  # px per metre, px
    record['keypoints2d'][:, :2] = zoom * record['keypoints3d'][:, :2] + offset
    drawn = augment.Augmentation(0.9, rotation, flip, (0.02, 0.01))
    columns = crop_batches.labels_of(augment.augment_crop(record, drawn, 128))
    matrix = augment.augmentation_matrix(record, drawn, 128)
    # In crop units, the same camera: magnified, and looking at where the origin went.
    magnified = zoom * math.sqrt(abs(np.linalg.det(matrix[:, :2]))) / 128
    origin = crops.transform(matrix, offset) / 128 - 0.5
    projected = magnified * columns['keypoints3d'][:, :2] + origin
    np.testing.assert_allclose(columns['keypoints2d'][:, :2], projected, atol=1e-5)
    np.testing.assert_array_equal(columns['keypoints2d'][:, 2], 1)


@pytest.mark.parametrize('flip', [False, True])
def test_the_augmented_body_is_the_body_turned_and_mirrored(rng, mannequin, flip):
    """SMPL parameters and keypoints of the same person stay the same person."""
    record = image_records.make(rng)
    record['keypoints3d'][:, :3] = keypoints_of(mannequin, record)
    changed = labels_of(record, augment.Augmentation(rotation=0.8, flip=flip))
    found = keypoints_of(mannequin, changed)
    centre = skeleton.KEYPOINTS.index('MPII Pelvis')
    found -= found[centre]
    expected = changed['keypoints3d'][:, :3] - changed['keypoints3d'][centre, :3]
    # The mannequin is symmetric to a fraction of a millimetre.
    np.testing.assert_allclose(found, expected, atol=1e-3)


def keypoints_of(body, labels):
    pose = np.concatenate([labels['global_orient'][None], labels['body_pose']])
    return np.array(_keypoints(body, pose, labels['betas']))


@jax.jit
def _keypoints(body, pose, betas):
    rotation = rotations.axis_angle_to_matrix(pose)
    return smpl.keypoints(body, smpl.forward(body, SmplParams(rotation[0], rotation[1:], betas)))


def test_colour_on_the_device():
    image = np.full((2, 4, 4, 3), 200, np.uint8)
    color = np.array([[1, 1, 1], [0.5, 1.2, 1.3]], np.float32)
    found = crop_batches.jitter(image, color)
    expected = np.array([[200, 200, 200], [100, 240, 255]])  # 260 is white
    np.testing.assert_allclose(found[:, 1, 2], expected, rtol=1e-6)
