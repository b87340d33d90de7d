"""Body models by the settings that name them; the copies of them in a run's folder."""

import chex
import jax
import numpy as np
import pytest
import real_formats
from conftest import quickstart_config
from random_body import random_smpl

from tokenhmr_jax.body import smpl
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
