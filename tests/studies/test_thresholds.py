"""Thresholds derived from data: true bodies under the wrong camera, and predicted angles."""

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from scipy.spatial.transform import Rotation

from tokenhmr_jax.body import rotations, smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.mannequin import motion
from tokenhmr_jax.objectives import tals
from tokenhmr_jax.studies.thresholds import angle_thresholds, bodies_of, keypoint_thresholds, main
from tokenhmr_jax.types import SmplParams


def about_z(angles):
    """Rotation matrices (24, 3, 3) by angles (24,) about z."""
    return Rotation.from_rotvec(np.outer(angles, [0, 0, 1])).as_matrix().astype(np.float32)


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
    pixels = 1000 * places[..., :2] / places[..., 2:] + 500
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


class InMemory(list):
    def read(self, indices):
        return [self[i] for i in indices]


@pytest.mark.parametrize('distance, expected', [(1.5, 0.027), (2.5, 0.016), (4, 0.009), (8, 0.004)])
def test_true_bodies_under_the_wrong_camera_err_as_published(standing, distance, expected):
    records = pipeline.Records('true', InMemory(records_of(standing, distance)), dict)
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
