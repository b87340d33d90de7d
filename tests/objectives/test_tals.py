"""What TALS lets pass and what not, by hand; its table; and where the table comes from."""

import csv
import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import camera, rotations, smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.mannequin import motion
from tokenhmr_jax.objectives import losses, tals
from tokenhmr_jax.studies.thresholds import angle_thresholds, bodies_of, keypoint_thresholds, main
from tokenhmr_jax.training.kept_files import keep_files, use_kept_files
from tokenhmr_jax.types import SmplParams

# Compiled: run as they stand, every operation in them is compiled on its own.
compiled_compare = jax.jit(tals.compare_errors, static_argnames='distance')
compiled_weights = jax.jit(tals.tals_weights)

LOOSE = 0.05
# Of two examples: one of a source of ground truth, one of pseudo ground truth.
TRUE = np.array([True, False])
# Exact in binary, so that "at the threshold" is exact.
THRESHOLDS = tals.Thresholds(np.full(44, 0.25, np.float32), np.full(24, 0.5, np.float32))


def about_z(angles):
    """Rotation matrices (24, 3, 3) by angles (24,) about z."""
    return Rotation.from_rotvec(np.outer(angles, [0, 0, 1])).as_matrix().astype(np.float32)


def two(x):
    return np.stack([x, x]).astype(np.float32)


def compare(offset=0.0, confidence=1.0, angle=0.0, distance='l1'):
    """`tals.compare_errors` where the prediction is off by `offset` in x, and turned by `angle`."""
    truth = np.zeros((44, 3))
    truth[:, 2] = confidence
    seen = np.zeros((44, 2))
    seen[:, 0] = offset
    return compiled_compare(
        THRESHOLDS,
        keypoints2d=two(seen),
        keypoints2d_gt=two(truth),
        rotation=two(about_z(np.full(24, angle))),
        rotation_gt=two(np.tile(np.eye(3), (24, 1, 1))),
        distance=distance,
    )


def weights(below, confidence=1.0, has_pose=(1, 1), has_betas=(1, 1)):
    return compiled_weights(
        below,
        confidence2d=np.full((2, 44), confidence, np.float32),
        has_pose=np.array(has_pose, np.float32),
        has_betas=np.array(has_betas, np.float32),
        is_ground_truth=TRUE,
        loose=LOOSE,
    )


@pytest.mark.parametrize('offset, weight', [(0.125, LOOSE), (0.25, LOOSE), (0.3125, 1.0)])
def test_l1_of_2d_keypoints_below_at_and_above(offset, weight):
    for confidence in (1.0, 0.25):
        found = weights(compare(offset, confidence))['keypoints2d']
        # All sources alike; confidence is no part of a distance.
        np.testing.assert_allclose(found, np.full((2, 44), weight))


@pytest.mark.parametrize(
    'offset, confidence, weight',
    [(0.375, 1.0, LOOSE), (0.5, 1.0, LOOSE), (0.625, 1.0, 1.0), (0.625, 0.5, LOOSE)],
)
def test_weighted_square_of_2d_keypoints_below_at_and_above(offset, confidence, weight):
    found = weights(compare(offset, confidence, distance='squared'))['keypoints2d']
    np.testing.assert_allclose(found, np.full((2, 44), weight))


def test_distance_in_2d_adds_both_directions():
    truth = np.zeros((44, 3))
    seen = np.full((44, 2), 0.1875)
    identity = two(np.tile(np.eye(3), (24, 1, 1)))
    arguments = {
        'keypoints2d': two(seen),
        'keypoints2d_gt': two(truth),
        'rotation': identity,
        'rotation_gt': identity,
    }
    assert not compiled_compare(THRESHOLDS, **arguments, distance='l1').keypoints2d.any()
    with pytest.raises(ValueError, match=r"tals.distance='l2'"):
        tals.compare_errors(THRESHOLDS, **arguments, distance='l2')


@pytest.mark.parametrize('angle, weight', [(0.49, LOOSE), (0.51, 1.0), (3.0, 1.0)])
def test_pose_is_scaled_on_pseudo_ground_truth_only(angle, weight):
    found = weights(compare(angle=angle))
    np.testing.assert_allclose(found['global_orient'], [[1], [weight]])
    np.testing.assert_allclose(found['body_pose'], np.repeat([[1], [weight]], 23, axis=1))


def test_an_angle_at_its_threshold_is_tolerated():
    angle = rotations.geodesic_angle(about_z(np.full(24, 0.5)), np.eye(3, dtype=np.float32))
    below = tals.compare_errors(
        tals.Thresholds(THRESHOLDS.keypoints2d, angle),
        keypoints2d=jnp.zeros((2, 44, 2)),
        keypoints2d_gt=jnp.zeros((2, 44, 3)),
        rotation=two(about_z(np.full(24, 0.5))),
        rotation_gt=two(np.tile(np.eye(3), (24, 1, 1))),
        distance='l1',
    )
    assert below.angles.all()


def test_each_joint_has_its_own_threshold():
    angles = np.linspace(0, 1, 24)
    below = compiled_compare(
        tals.Thresholds(np.linspace(0, 1, 44, dtype=np.float32), np.full(24, 0.51, np.float32)),
        keypoints2d=np.full((2, 44, 2), 0.25, np.float32),
        keypoints2d_gt=np.zeros((2, 44, 3), np.float32),
        rotation=two(about_z(angles)),
        rotation_gt=two(np.tile(np.eye(3), (24, 1, 1))),
        distance='l1',
    )
    np.testing.assert_array_equal(below.angles[0], angles < 0.51)
    np.testing.assert_array_equal(below.keypoints2d[1], np.linspace(0, 1, 44) >= 0.5)


def test_untrusted_pose_counts_on_ground_truth_only():
    for angle in (0.1, 2.0):
        found = weights(compare(angle=angle), has_pose=(0, 0))
        np.testing.assert_allclose(found['global_orient'], [[1], [0]])
        np.testing.assert_allclose(found['body_pose'], np.repeat([[1], [0]], 23, axis=1))


def test_betas_are_learned_from_trusted_ground_truth_only():
    np.testing.assert_allclose(weights(compare())['betas'], [[1], [0]])
    np.testing.assert_allclose(weights(compare(), has_betas=(0, 1))['betas'], [[0], [0]])


@pytest.mark.parametrize(
    'offset, confidence, weight', [(0.25, 1.0, 0), (0.3, 1.0, 1), (0.3, 0.5, 0), (0.3, 0.51, 1)]
)
def test_3d_keypoints_of_pseudo_ground_truth_count_where_2d_is_far_and_sure(
    offset, confidence, weight
):
    found = weights(compare(offset, confidence), confidence)['keypoints3d']
    np.testing.assert_allclose(found, np.repeat([[1], [weight]], 44, axis=1))


def test_terms_by_hand():
    """One joint is off; the batch's mean times the reference batch."""
    labels = {
        'keypoints2d_gt': two(np.c_[np.zeros((44, 2)), np.full(44, 0.5)]),
        'keypoints3d_gt': two(np.c_[np.full((44, 3), 5.0), np.full(44, 0.5)]),
        'rotation_gt': two(np.tile(np.eye(3), (24, 1, 1))),
        'betas_gt': two(np.zeros(10)),
    }
    seen, points, angles = np.zeros((44, 2)), np.full((44, 3), 2.0), np.zeros(24)
    seen[3] = 0.25, -0.5
    points[4] += 0.1, -0.2, 0.3
    angles[[0, 7]] = np.pi / 2
    predictions = {
        'keypoints2d': two(seen),
        'keypoints3d': two(points),
        'rotation': two(about_z(angles)),
        'betas': two(np.full(10, 2.0)),
    }
    errors = jax.jit(losses.regressor_errors)(**predictions, **labels)
    plain = losses.label_weights(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    batch_terms = jax.jit(functools.partial(losses.batch_terms, reference_batch=48))
    terms = batch_terms(errors, plain)
    expected = {
        'keypoints2d': 48 * 0.5 * 0.75,
        'keypoints3d': 48 * 0.5 * 0.6,
        'global_orient': 48 * 4 / 2,
        'body_pose': 48 * 4 / 2,
        'betas': 48 * 40 / 2,
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name] == pytest.approx(value, rel=1e-5), name

    scaled = batch_terms(errors, weights(compare(), confidence=0.5))
    assert scaled['keypoints2d'] == pytest.approx(LOOSE * expected['keypoints2d'], rel=1e-5)
    assert scaled['keypoints3d'] == pytest.approx(expected['keypoints3d'] / 2, rel=1e-5)
    assert scaled['body_pose'] == pytest.approx(48 * 4 * (1 + LOOSE) / 2, rel=1e-5)


def test_unknown_betas_are_drawn_to_zero():
    betas, has_betas = losses.regularized_betas(jnp.full((2, 10), 3.0), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(betas, np.repeat([[3], [0]], 10, axis=1))
    np.testing.assert_allclose(has_betas, [1, 1])


@pytest.mark.parametrize('distance', ['l1', 'squared'])
def test_gradients_are_finite_also_at_the_truth(rng, distance):
    turn = Rotation.from_rotvec(rng.normal(size=(48, 3)))
    pose = turn.as_matrix().reshape(2, 24, 3, 3).astype(np.float32)
    points = rng.normal(size=(2, 44, 3)).astype(np.float32)
    truth = {
        'rotation': rotations.matrix_to_rotation_6d(pose),
        'points': points,
        'camera': np.float32([[0.9, 0.1, 0.2], [1.0, 0.0, 0.0]]),
        'betas': np.ones((2, 10), np.float32),
    }
    ones = np.ones((2, 44, 1), np.float32)
    project = lambda points, three: camera.project_crop(points, camera.crop_translation(three))  # noqa: E731
    seen = np.concatenate([jax.jit(project)(points, truth['camera']), ones], -1)

    def loss(prediction):
        rotation = rotations.rotation_6d_to_matrix(prediction['rotation'])
        keypoints2d = project(prediction['points'], prediction['camera'])
        errors = losses.regressor_errors(
            keypoints2d=keypoints2d,
            keypoints2d_gt=seen,
            keypoints3d=prediction['points'],
            keypoints3d_gt=np.concatenate([points, ones], -1),
            rotation=rotation,
            rotation_gt=pose,
            betas=prediction['betas'],
            betas_gt=truth['betas'],
        )
        below = tals.compare_errors(
            tals.load_thresholds(),
            keypoints2d=keypoints2d,
            keypoints2d_gt=seen,
            rotation=rotation,
            rotation_gt=pose,
            distance=distance,
        )
        return sum(losses.batch_terms(errors, weights(below), 48).values())

    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    for noise in (0.0, 1e-8, 0.3):
        prediction = {
            name: x + noise * rng.normal(size=x.shape).astype(np.float32)
            for name, x in truth.items()
        }
        value, gradient = value_and_gradient(prediction)
        assert np.isfinite(value)
        assert all(np.isfinite(g).all() for g in gradient.values())
    assert all((g != 0).any() for g in gradient.values())


def test_shares_below_are_per_source_and_of_known_joints():
    below = tals.Below(
        jnp.array([[True, True, False, False], [True] * 4, [False] * 4]),
        jnp.array([[True, False], [True, True], [True, True]]),
    )
    confidence = jnp.array([[1, 0, 1, 1.0], [0.1, 1, 1, 1], [1, 1, 1, 1]])
    found = tals.shares_below(
        below, confidence, jnp.array([1.0, 1.0, 0.0]), jnp.array([2, 0, 0]), 3
    )
    np.testing.assert_allclose(found['keypoints2d'], [0.5, np.nan, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(found['angles'], [1.0, np.nan, 0.5])


def test_thresholds_can_be_scaled():
    double = tals.scale_thresholds(THRESHOLDS, 2.0)
    np.testing.assert_array_equal(double.keypoints2d, 2 * THRESHOLDS.keypoints2d)
    np.testing.assert_array_equal(double.angles, 2 * THRESHOLDS.angles)
    with pytest.raises(ValueError, match=r'tals\.scale=-1'):
        tals.scale_thresholds(THRESHOLDS, -1.0)


def test_the_shipped_table():
    release, table1 = tals.load_thresholds('release'), tals.load_thresholds('table1')
    assert release.keypoints2d.shape == (44,)
    assert release.angles.shape == (24,)
    assert float(release.keypoints2d[0]) == pytest.approx(0.0085024)
    assert float(table1.angles[-1]) == pytest.approx(0.20)
    # One is the other, rounded.
    np.testing.assert_allclose(release.keypoints2d, table1.keypoints2d, atol=5.1e-6)
    np.testing.assert_allclose(release.angles, table1.angles, atol=5.1e-3)


@pytest.fixture
def table(tmp_path):
    """A table's rows, and how to write and load them."""

    def load(rows):
        path = tmp_path / 'edited.csv'
        with open(path, 'w', newline='') as file:
            csv.writer(file).writerows(rows)
        return tals.load_thresholds(path)

    tals.write_thresholds(THRESHOLDS, tmp_path / 'saved.csv')
    with open(tmp_path / 'saved.csv', newline='') as file:
        return list(csv.reader(file)), load


def test_another_table_is_read_from_its_path(table):
    rows, load = table
    rows[3][3] = '0.125'
    found = load(rows)
    np.testing.assert_allclose(found.keypoints2d[:4], [0.25, 0.25, 0.125, 0.25])
    np.testing.assert_allclose(found.angles, THRESHOLDS.angles)


def test_a_run_keeps_its_table(table, tmp_path):
    config = ml_collections.ConfigDict(
        {'body': 'mannequin', 'tals': {'thresholds': str(tmp_path / 'saved.csv')}}
    )
    run = tmp_path / 'run'
    run.mkdir()
    keep_files(str(run), config)
    (tmp_path / 'saved.csv').unlink()
    use_kept_files(str(run), config)
    np.testing.assert_array_equal(
        tals.load_thresholds(config.tals.thresholds).angles, THRESHOLDS.angles
    )
    config.tals.thresholds = 'table1'
    keep_files(str(run), config)
    use_kept_files(str(run), config)
    assert config.tals.thresholds == 'table1'


@pytest.mark.parametrize('value', ['-0.1', 'nan', 'inf', 'much', ''])
def test_a_bad_threshold_is_named(table, value):
    rows, load = table
    rows[45 + 4][3] = value
    with pytest.raises(ValueError, match=rf'edited.csv: smpl_angle left_knee: .*{value!r}'):
        load(rows)


def test_a_missing_joint_is_named(table):
    rows, load = table
    with pytest.raises(ValueError, match=r'edited.csv: no row keypoint_2d,7,OP LWrist'):
        load(rows[:8] + rows[9:])


def test_wrong_order_and_what_is_too_much_are_named(table):
    rows, load = table
    with pytest.raises(ValueError, match=r"row 1 .*'OP Neck'.*expected keypoint_2d,0,OP Nose"):
        load([rows[0], rows[2], rows[1], *rows[3:]])
    with pytest.raises(ValueError, match=r"row 69 .*'tail'.*expected the end"):
        load([*rows, ['smpl_angle', '24', 'tail', '1']])


def test_a_table_without_its_column_or_text_or_file(table, tmp_path):
    rows, load = table
    with pytest.raises(ValueError, match=r"expected .*'threshold'"):
        load([[*rows[0][:3], 'release'], *rows[1:]])
    (tmp_path / 'binary.csv').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ValueError, match=r'binary.csv: not a text file'):
        tals.load_thresholds(tmp_path / 'binary.csv')
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv: .*'release'"):
        tals.load_thresholds(tmp_path / 'nowhere.csv')


@pytest.fixture(scope='module')
def standing(mannequin):
    """Keypoints (N, 44, 3), a level camera's axes, of bodies in many poses that face any way."""
    rng = np.random.default_rng(0)
    clips = [motion.generate(rng, kind, 20, 2.0).body_pose for kind in motion.KINDS]
    pose = np.pad(np.concatenate(clips), ((0, 0), (0, 2), (0, 0)))
    turn = Rotation.from_rotvec(np.outer(rng.uniform(0, 2 * np.pi, len(pose)), [0, 1, 0]))
    orient = (Rotation.from_rotvec([np.pi, 0, 0]) * turn).as_rotvec().astype(np.float32)

    @jax.jit
    def keypoints(body, orient, pose):
        to_matrix = rotations.axis_angle_to_matrix
        return smpl.keypoints(
            body, smpl.forward(body, SmplParams(to_matrix(orient), to_matrix(pose)))
        )

    points = np.asarray(keypoints(mannequin, orient, pose.astype(np.float32)))
    return points - points.mean(axis=1, keepdims=True)


def seen_from(points, distance):
    """Full-image keypoints and boxes of bodies so many metres before a level camera."""
    places = points + np.array([0, 0, distance], np.float32)
    pixels = np.asarray(
        camera.project_full(places, np.float32(1000.0), np.array([500, 500], np.float32))
    )
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    return pixels, (low + high) / 2, 1.2 * (high - low)


def with_confidence(x):
    return np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1).astype(np.float32)


def records_of(points, distance):
    pixels, center, size = seen_from(points, distance)
    columns = {
        'keypoints3d': with_confidence(points),
        'keypoints2d': with_confidence(pixels),
        'box_center': center,
        'box_size': size,
    }
    return [{k: v[i].astype(np.float32) for k, v in columns.items()} for i in range(len(points))]


@pytest.mark.parametrize('distance, expected', [(1.5, 0.027), (2.5, 0.016), (4, 0.009), (8, 0.004)])
def test_true_bodies_under_the_wrong_camera_err_as_published(standing, distance, expected):
    records = pipeline.Records('true', records_of(standing, distance))
    found, count = keypoint_thresholds(bodies_of(records))
    assert count == len(standing)
    assert found.mean() == pytest.approx(expected, rel=0.15)


def test_what_is_not_known_does_not_count(standing):
    records = records_of(standing, 2.0)
    expected, _ = keypoint_thresholds(bodies_of(records[:20]))
    for record in records[20:]:
        record['keypoints2d'][:35, 2] = 0  # the nine that are left hold no camera
    found, count = keypoint_thresholds(bodies_of(records))
    assert count == 20
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for record in records:
        record['keypoints3d'][38, 3] = 0
    with pytest.raises(ValueError, match='LSP Head Top'):
        keypoint_thresholds(bodies_of(records))


def test_mean_angles_over_batches_of_any_size():
    pairs = []
    for size, angle in ((3, 0.2), (1, 0.6)):
        turned = about_z(np.linspace(0, angle, 24))
        identity = np.tile(np.eye(3, dtype=np.float32), (size, 24, 1, 1))
        pairs.append((np.tile(turned, (size, 1, 1, 1)), identity))
    found = angle_thresholds(pairs)
    np.testing.assert_allclose(found, np.linspace(0, (3 * 0.2 + 0.6) / 4, 24), atol=1e-6)
    with pytest.raises(ValueError, match='no predictions'):
        angle_thresholds([])


@pytest.fixture(scope='module')
def prepared_bodies(standing, tmp_path_factory):
    """A prepared split of bodies seen from 2 m."""
    records = records_of(standing, 2.0)
    features = {
        k: tfds.features.Tensor(shape=v.shape, dtype=np.float32) for k, v in records[0].items()
    }

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = 'bodies'
        pkg_dir_path = epath.Path(__file__).parent
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {'true': self._generate_examples()}

        def _generate_examples(self):
            yield from enumerate(records)

    folder = tmp_path_factory.mktemp('bodies')
    Builder(data_dir=str(folder), file_format='array_record').download_and_prepare()
    return folder


def test_the_command_writes_a_table_that_loads(standing, prepared_bodies, tmp_path, capsys):
    out = tmp_path / 'thresholds.csv'
    arguments = [f'--data_dir={prepared_bodies}', '--split=bodies/true', f'--out={out}']
    main(arguments)
    assert f'of {len(standing)} bodies' in capsys.readouterr().out
    table = tals.load_thresholds(out)
    records = bodies_of(records_of(standing, 2.0))
    expected, _ = keypoint_thresholds(records)
    np.testing.assert_allclose(table.keypoints2d, expected, rtol=1e-5)
    np.testing.assert_allclose(table.angles, tals.load_thresholds('release').angles, rtol=1e-5)
    main([*arguments, '--limit=10', '--angles=table1'])
    assert 'of 10 bodies' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='limit'):
        main([*arguments, '--limit=0'])
    with pytest.raises(SystemExit, match='nothing'):
        main([arguments[0], '--split=bodies/nothing', arguments[2]])
