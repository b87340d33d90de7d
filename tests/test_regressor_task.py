"""The regressor trained end to end, by the documented commands, on pictures of the mannequin."""

import json
import pathlib

import cv2
import jax
import numpy as np
import pytest
from conftest import TINY, command, quickstart_config

from tokenhmr_jax import checkpoints
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.tasks import TASKS

SIZES = {
    'num_steps': 6,
    'batch_size': 8,
    'tokenizer.num_codes': TINY['codebook.num_codes'],
    'tokenizer.model.width': TINY['model.width'],
    'tokenizer.model.code_dim': TINY['model.code_dim'],
    'tokenizer.model.size_mul': TINY['model.size_mul'],
    'model.backbone.width': 16,
    'model.backbone.depth': 1,
    'model.backbone.heads': 2,
    'model.decoder.width': 16,
    'model.decoder.depth': 1,
    'model.decoder.heads': 2,
    'model.decoder.head_dim': 8,
    'model.decoder.mlp_dim': 16,
    'model.mixer.width': 8,
    'model.mixer.depth': 1,
    'data.crop_size': 32,
    'model.backbone.patch_size': 8,
    'tals.enabled': True,
    'eval.every': 6,
    'eval.batch_size': 8,
    'eval.baseline_records': 16,
    'eval.gallery': 1,
    'log_every': 2,
    'checkpoint_every': 3,
}
MIXTURE = {'mannequin/suit': 0.5, 'mannequin/suit_pseudo': 0.5}


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> pathlib.Path:
    """A folder of prepared pictures."""
    folder = tmp_path_factory.mktemp('images')
    command(
        'datasets/mannequin/mannequin_dataset_builder.py', f'--data_dir={folder}',
        '--num_train=16', '--num_pseudo=8', '--num_heldout=8', '--num_processes=1',
    )  # fmt: skip
    return folder


def arguments(images, tokenizer, workdir, **overrides) -> list[str]:
    settings = SIZES | {'data.data_dir': images, 'tokenizer.checkpoint': tokenizer} | overrides
    return [
        '-m', 'tokenhmr_jax.train', '--config=configs/regressor.py:variant=quickstart',
        f'--workdir={workdir}', f'--config.data.mixture={MIXTURE}',
        *(f'--config.{name}={value}' for name, value in settings.items()),
    ]  # fmt: skip


@pytest.fixture(scope='module')
def run(images, trained, tmp_path_factory) -> pathlib.Path:
    """The workdir of a tiny regressor, trained on true and on fitted labels."""
    workdir = tmp_path_factory.mktemp('regressor') / 'run'
    command(*arguments(images, trained, workdir))
    return workdir


def test_a_run_reports_what_is_below_the_thresholds_of_each_source(run):
    lines = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    seen = {name for line in lines for name in line if name.startswith('below/')}
    kinds = ('keypoints2d', 'angles')
    assert seen == {f'below/{kind}/{source}' for kind in kinds for source in MIXTURE}
    assert all(0 <= line[name] <= 1 for line in lines for name in seen & line.keys())


def test_frozen_weights_are_those_of_the_tokenizer_to_the_bit(run, trained):
    with checkpoints.Checkpoints(trained, create=False) as saved:
        stage1 = saved.read_model(saved.find('best'))
    with checkpoints.Checkpoints(run, create=False) as saved:
        stage2 = saved.read_model(6)['state']
    np.testing.assert_array_equal(stage2['codes'], stage1['state']['codes'])
    jax.tree.map(
        np.testing.assert_array_equal,
        stage2['tokenizer']['decoder'],
        stage1['params']['decoder'],
    )


@pytest.fixture(scope='module')
def evaluation(run) -> tuple[pathlib.Path, str]:
    """The folder that the evaluation writes, and what it prints."""
    printed = command('-m', 'tokenhmr_jax.evaluate', f'--checkpoint={run}')
    return run / 'evaluation', printed


def test_evaluation_writes_a_table_and_a_gallery(evaluation):
    folder, printed = evaluation
    rows = json.loads((folder / 'evaluation.json').read_text())
    assert list(rows) == ['regressor', 'mean body']
    assert {'mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm'} <= rows['mean body'].keys()
    assert all(row['pa_mpjpe_mm'] < row['mpjpe_mm'] for row in rows.values())
    assert '| mean body |' in printed
    assert cv2.imread(str(folder / 'gallery.png')).std() > 10


def test_the_mean_body_is_the_mean_of_the_training_bodies(evaluation, images):
    """The table's baseline, again by hand from the records' own 3D keypoints."""
    row = json.loads((evaluation[0] / 'evaluation.json').read_text())['mean body']
    chosen = [*range(25, 38), 43]

    def centred(split):
        records = pipeline.open_split(str(images), split)
        points = np.stack([records[i]['keypoints3d'][:, :3] for i in range(len(records))])
        return (points - points[:, 39:40])[:, chosen]

    # Of each source eight records, evenly spread; there are 16 and 8.
    training = [centred('mannequin/suit')[::2], centred('mannequin/suit_pseudo')]
    mean = np.concatenate(training).mean(axis=0)
    error = np.linalg.norm(centred('mannequin/suit_heldout') - mean, axis=-1).mean() * 1000
    np.testing.assert_allclose(row['mpjpe_mm'], error, rtol=0.02)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'tokenizer.num_codes': 64}, 'a tokenizer with .*this run has'),
        ({'tokenizer.checkpoint': ''}, 'tokenizer.checkpoint is empty'),
        ({'tokenizer.checkpoint': '/no/run'}, '/no/run: no checkpoints'),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(trained, change, message):
    config = regressor_config(trained, **change)
    task = TASKS['regressor'].from_config(config)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        task.warm_start(*jax.eval_shape(task.init, jax.random.key(0)))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'model.head': 'heads'}, "expected 'tokens' or 'direct'"),
        ({'model.body_mean': 'mean'}, "expected 'rest', 'none'"),
        ({'tals.distance': 'l2'}, 'tals.distance'),
        ({'data.ground_truth': ('bedlam/train',)}, 'data.ground_truth names'),
    ],
)
def test_settings_that_make_no_sense(trained, change, message):
    with pytest.raises(ValueError, match=message):
        TASKS['regressor'].from_config(regressor_config(trained, **change))


def test_the_direct_head_needs_no_tokenizer(trained):
    config = regressor_config(trained, **{'model.head': 'direct', 'tokenizer.checkpoint': ''})
    task = TASKS['regressor'].from_config(config)
    params, state = jax.eval_shape(task.init, jax.random.key(0))
    assert task.warm_start(params, state)[1].codes is None


def regressor_config(trained, **overrides):
    settings = SIZES | {'tokenizer.checkpoint': str(trained)} | overrides
    return quickstart_config('regressor', settings)
