"""Body models by the settings that name them; the copies of them in a run's folder."""

import functools

import chex
import jax
import numpy as np
import pytest
import real_formats
from conftest import quickstart_config
from random_body import random_smpl

from tokenhmr_jax.body import skeleton, smpl
from tokenhmr_jax.body.skeleton import PELVIS
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.objectives.metrics import LSP14
from tokenhmr_jax.readers import smpl_files
from tokenhmr_jax.tasks import make_task, regressor_targets
from tokenhmr_jax.tasks.body_models import (
    check_gendered,
    load_body,
    load_gendered,
)
from tokenhmr_jax.training.kept_files import keep_files, use_kept_files
from tokenhmr_jax.types import ImageBatch, SmplParams


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('smpl')
    real_formats.write_smpl(folder)
    return folder


def config(folder, names=('neutral', 'male', 'female')):
    paths = {name: str(folder / f'SMPL_{name.upper()}.npz') for name in names}
    settings = {'extra_regressor': str(folder / 'SMPL_to_J19.pkl'), 'body': paths.pop('neutral')}
    return quickstart_config('regressor', settings | {f'body_{n}': p for n, p in paths.items()})


@pytest.mark.parametrize('convention', ['lsp14', 'smpl24'])
def test_errors_are_against_the_body_of_the_persons_gender(folder, convention):
    """At rest the models differ by their size alone: so do distances from the centre."""
    frozen = make_task(config(folder)).frozen()
    labels = [np.zeros((3, *shape), np.float32) for shape in ((3,), (23, 3), (10,))]
    gender = np.arange(3, dtype=np.float32)

    @jax.jit
    def errors(frozen, labels, gender):
        true = regressor_targets.pose_labels(frozen, *labels, gender)
        ours = smpl.forward(frozen.body, regressor_targets.true_params(*labels))
        points = [regressor_targets.measured_points(convention, frozen, b) for b in (ours, true)]
        return metrics.body_errors(points[0][0], points[1][0], points[0][1], points[1][1])

    found = errors(frozen, labels, gender)
    mesh = np.asarray(frozen.body.template.T, np.float64)
    if convention == 'lsp14':
        points = np.asarray(frozen.body.extra_regressor, np.float64) @ mesh
        points, centre = points[LSP14 - 25], points[PELVIS - 25]
    else:
        points = np.asarray(frozen.body.joint_regressor, np.float64) @ mesh
        centre = points[[1, 2]].mean(axis=0)
    size = np.abs(np.array(list(real_formats.HEIGHTS.values())) - 1)
    for name, rest in (('mpjpe_mm', points), ('pve_mm', mesh)):
        expected = 1000 * size * np.linalg.norm(rest - centre, axis=1).mean()
        assert expected[1] > 10
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found['pa_mpjpe_mm'], 0, atol=0.01)


def labelled_batch(keypoints3d):
    """A man and a woman at rest, and their labels; stored keypoints (2, 44, 4)."""
    labels = [np.zeros((2, *shape), np.float32) for shape in ((3,), (23, 3), (10,))]
    ones = np.ones(2, np.float32)
    return ImageBatch(
        image=np.zeros((2, 8, 8, 3), np.uint8),
        color=np.ones((2, 3), np.float32),
        keypoints2d=np.zeros((2, 44, 3), np.float32),
        keypoints3d=keypoints3d.astype(np.float32),
        global_orient=labels[0],
        body_pose=labels[1],
        betas=labels[2],
        gender=np.array([1, 2], np.float32),
        has_pose=ones,
        has_betas=ones,
        source=np.zeros(2, np.int32),
    )


def test_the_truth_is_the_stored_keypoints_or_the_body(folder):
    """Stored keypoints 30 mm beside the body's, but for the pelvis; once seen from the camera."""
    frozen = make_task(config(folder)).frozen()
    rng = np.random.default_rng(0)
    step = rng.normal(size=(2, 44, 3))
    step *= 0.03 / np.linalg.norm(step, axis=-1, keepdims=True)
    bodies = [smpl.forward(m, SmplParams(np.eye(3)[None], np.tile(np.eye(3), (1, 23, 1, 1)),
                                         np.zeros((1, 10)))) for m in frozen.gendered]  # fmt: skip
    # Keypoints by the neutral regressor, as the published evaluation of predictions has them.
    own = np.concatenate([smpl.keypoints(frozen.body, body) for body in bodies])
    step[:, PELVIS] = (0, 0, 0.01), (0, 0, 0)
    stored = np.concatenate([own + step, np.ones((2, 44, 1))], axis=-1)
    stored[1, :, :3] += (0, 0, 5)  # of another origin
    exact = jax.tree.map(lambda *each: np.concatenate(each), *bodies)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def errors(convention, truth, frozen, body, batch):
        return regressor_targets.label_errors(convention, truth, frozen, body, batch)

    def found(convention, truth, keypoints3d=stored):
        batch = labelled_batch(keypoints3d)
        return jax.device_get(errors(convention, truth, frozen, exact, batch))

    by_body = found('lsp14', 'body')
    np.testing.assert_allclose([by_body['mpjpe_mm'], by_body['pve_mm']], 0, atol=1e-3)
    assert not by_body['stored_truth'].any()
    off = step[:, LSP14] - step[:, [PELVIS]]
    for truth in ('published', 'stored'):
        by_stored = found('lsp14', truth)
        expected = 1000 * np.linalg.norm(off, axis=-1)
        np.testing.assert_allclose(by_stored['joint_mm'], expected, atol=0.01)
        # Of the man the vertices are around the stored pelvis; of the woman around the body's.
        np.testing.assert_allclose(by_stored['pve_mm'], [10, 0], atol=0.01)
        assert by_stored['stored_truth'].tolist() == [1, 1]
    # One keypoint that the convention measures is missing in the first label.
    lacking = stored.copy()
    lacking[0, LSP14[3], 3] = 0
    assert found('lsp14', 'published', lacking)['stored_truth'].tolist() == [0, 1]
    assert found('lsp14', 'published', lacking)['mpjpe_mm'][0] < 1e-3
    # Joints of the mesh are nowhere stored.
    assert not found('smpl24', 'published')['stored_truth'].any()
    settings = config(folder)
    settings.eval.truth = 'stored'
    transform = make_task(settings).eval_transform
    name = skeleton.KEYPOINTS[LSP14[3]]
    with pytest.raises(ValueError, match=f"b: lacks the stored 3D keypoint '{name}'"):
        transform({'key': b'b', 'keypoints3d': lacking[0]})
    transform({'key': b'b', 'keypoints3d': lacking[1]})
    settings.eval.convention, settings.eval.truth = 'smpl24', 'stored'
    with pytest.raises(ValueError, match=r"eval\.truth='stored' with eval\.convention='smpl24'"):
        make_task(settings)


def test_labels_of_a_gender_need_its_model(folder):
    """An error if either of the two is missing; neutral labels need neither."""
    columns = {'gender': np.array([0, 2], np.float32), 'key': [b'3dpw/0', b'3dpw/1']}
    for names in (('neutral',), ('neutral', 'male')):
        task = make_task(config(folder, names))
        assert task.frozen().gendered == ()
        with pytest.raises(ValueError, match=r'3dpw/1: .* config\.body_male and config\.body_fem'):
            task.batch(columns)
        check_gendered(task.config, [0, 0], columns['key'])
    check_gendered(config(folder), columns['gender'], columns['key'])


def test_a_model_of_another_topology_is_refused(folder, tmp_path):
    smpl_files.write_body_arrays(tmp_path / 'SMPL_FEMALE.npz', random_smpl(1))
    settings = config(folder)
    settings.body_female = str(tmp_path / 'SMPL_FEMALE.npz')
    with pytest.raises(ValueError, match=r'SMPL_FEMALE.*different topology'):
        make_task(settings).frozen()


def test_a_run_keeps_its_bodies(folder, tmp_path):
    settings = config(folder)
    for _ in range(2):  # again when it goes on
        keep_files(tmp_path, settings)
    expected = load_body(settings), *load_gendered(settings)
    for name in ('body', 'body_male', 'body_female', 'extra_regressor'):
        settings[name] = '/no/such/file'
    use_kept_files(tmp_path, settings)
    found = load_body(settings), *load_gendered(settings)
    chex.assert_trees_all_equal(found, expected)
    assert {path.name for path in tmp_path.iterdir()} == {
        'body.npz', 'body_male.npz', 'body_female.npz'
    }  # fmt: skip


def test_the_mannequin_needs_no_copy(tmp_path):
    settings = quickstart_config('regressor', {})
    keep_files(tmp_path, settings)
    use_kept_files(tmp_path, settings)
    assert settings.body == 'mannequin' and not list(tmp_path.iterdir())
