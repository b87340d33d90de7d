"""The regressor trained end to end, by the documented commands, on pictures of the mannequin."""

import json
import pathlib

import cv2
import image_records
import jax
import numpy as np
import pytest
from conftest import REGRESSOR_SIZES, command, quickstart_config
from scipy.spatial.transform import Rotation
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tokenhmr_jax.body import skeleton
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.config import config_from_json
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.studies import failures
from tokenhmr_jax.studies.thresholds import main, predictions_of
from tokenhmr_jax.tasks import make_task, regressor
from tokenhmr_jax.training import sharding
from tokenhmr_jax.training.evaluation import check_poses
from tokenhmr_jax.training.trained_run import open_run

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
    settings = REGRESSOR_SIZES | {'data.data_dir': images, 'tokenizer.checkpoint': tokenizer}
    settings |= overrides
    return [
        '-m', 'tokenhmr_jax.train', '--config=configs/regressor.py:variant=quickstart',
        f'--workdir={workdir}', f'--config.data.mixture={MIXTURE}',
        *(f'--config.{name}={value}' for name, value in settings.items()),
    ]  # fmt: skip


@pytest.fixture(scope='module')
def run(images, trained, tmp_path_factory) -> pathlib.Path:
    """The workdir of a tiny regressor, trained on true and on fitted labels."""
    workdir = tmp_path_factory.mktemp('regressor') / 'run'
    command(*arguments(images, trained, workdir, **{'tals.scale': 1e9}))
    return workdir


@pytest.mark.slow
def test_a_run_reports_what_is_below_the_thresholds_of_each_source(run):
    """The thresholds, times their scale, are so large that everything is below them."""
    lines = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    seen = {name for line in lines for name in line if name.startswith('below/')}
    kinds = ('keypoints2d', 'angles')
    assert seen == {f'below/{kind}/{source}' for kind in kinds for source in MIXTURE}
    assert all(line[name] == 1 for line in lines for name in seen & line.keys())


def test_the_error_in_training_is_of_labelled_keypoints():
    points = np.random.default_rng(0).normal(size=(3, 44, 3)).astype(np.float32)
    labels = np.concatenate([points, np.ones((3, 44, 1), np.float32)], axis=-1)
    labels[0, 0, 0] += 0.044  # metres, of one of 44
    labels[1, 0] = 0  # neither place nor confidence
    labels[2, skeleton.PELVIS] = 0
    error = np.asarray(regressor.keypoint_error_mm(points, labels))
    np.testing.assert_allclose(error, [1, 0, np.nan], atol=1e-4)


def test_a_record_without_a_pose_is_not_judged():
    columns = {'has_pose': np.array([1.0, 0, 0]), 'key': np.array([b'a', b'b', b'c'])}
    with pytest.raises(ValueError, match='b: no trusted pose'):
        check_poses(columns, np.array([True, True, True]))
    check_poses(columns, np.array([True, False, False]))  # the rest is padding


@pytest.mark.slow
def test_the_loss_is_the_weighted_sum_of_its_terms(run):
    with Checkpoints(run, create=False) as saved:
        weights = saved.read_config(6)['config']['loss_weights']
    line = json.loads((run / 'metrics.jsonl').read_text().splitlines()[0])
    weights.pop('tokens')  # of another head
    assert {name for name in line if name.startswith('loss/')} == {f'loss/{n}' for n in weights}
    total = sum(weight * line[f'loss/{name}'] for name, weight in weights.items())
    assert line['loss'] == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
def test_frozen_weights_are_those_of_the_tokenizer_to_the_bit(run, trained):
    with Checkpoints(trained, create=False) as saved:
        stage1 = saved.read_model(saved.find('best'))
    with Checkpoints(run, create=False) as saved:
        stage2 = saved.read_model(6)['state']
    np.testing.assert_array_equal(stage2['codes'], stage1['state']['codes'])
    jax.tree.map(
        np.testing.assert_array_equal,
        stage2['tokenizer']['decoder'],
        stage1['params']['decoder'],
    )


@pytest.mark.slow
def test_a_run_draws_the_same_examples_at_each_evaluation(run):
    events = EventAccumulator(str(run / 'tensorboard')).Reload()
    (event,) = events.Images('eval/examples')
    png = (run / 'examples/6.png').read_bytes()
    assert (event.step, event.encoded_image_string) == (6, png)
    (score,) = events.Scalars('eval/mpjpe_mm')
    lines = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    assert score.value == pytest.approx(lines[-1]['eval/mpjpe_mm'])
    # A legend; eight examples, two a row: each a caption, the crop twice and two bodies.
    picture = cv2.imread(str(run / 'examples/6.png'))
    assert picture.shape == (40 + 4 * (24 + 256), 2 * 3 * 256, 3)
    first = shown_crops(run, 'mannequin/suit_heldout', [0])[0]
    inside = (picture[64:320, :256] < 255).any(axis=-1)  # what is beside the picture is white
    assert inside.mean() > 0.5
    np.testing.assert_array_equal(picture[64:320, :256, ::-1][inside], first[inside])


def shown_crops(run, split, indices):
    """The crops (N, 256, 256, 3) that pictures of an evaluation show."""
    with Checkpoints(run, create=False) as saved:
        config = config_from_json(saved.read_config(6)['config'])
    records = pipeline.open_split(config.data.data_dir, split)
    _, shown = make_task(config).report.examples([records], indices)
    return shown.image


SPLITS = {'mannequin/suit': 16, 'mannequin/suit_heldout': 8}


@pytest.fixture(scope='module')
def evaluation(run) -> tuple[pathlib.Path, str]:
    """The folder that the evaluation writes, and what it prints."""
    splits = [f'--split={name}' for name in SPLITS]
    printed = command('-m', 'tokenhmr_jax.evaluate', f'--checkpoint={run}', *splits)
    return run / 'evaluation', printed


@pytest.mark.slow
def test_evaluation_writes_tables_and_a_gallery(evaluation):
    folder, printed = evaluation
    rows = json.loads((folder / 'evaluation.json').read_text())['rows']
    parts = [f'{row}, {split}' for split in SPLITS for row in ('regressor', 'mean body')]
    assert list(rows) == ['regressor', 'mean body', *parts]
    assert {'mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm'} <= rows['mean body'].keys()
    assert all(row['pa_mpjpe_mm'] < row['mpjpe_mm'] for row in rows.values())
    assert '\n| mean body | ' in printed
    assert '\n| LSP RAnkle | ' in printed
    assert (folder / 'evaluation.md').read_text().strip() in printed
    assert 'truth: stored (stored 3D keypoints of 100.0% of the records)' in printed
    assert json.loads((folder / 'evaluation.json').read_text())['truth'] == 'stored'
    assert cv2.imread(str(folder / 'gallery.png')).std() > 10


@pytest.mark.slow
def test_rows_are_means_over_splits_and_joints(evaluation):
    rows = json.loads((evaluation[0] / 'evaluation.json').read_text())['rows']
    for title in ('regressor', 'mean body'):
        for name, value in rows[title].items():
            if name in regressor.RegressorTask.medians:
                continue
            parts = [rows[f'{title}, {split}'][name] for split in SPLITS]
            assert value == pytest.approx((16 * parts[0] + 8 * parts[1]) / 24), name
            assert parts[0] != parts[1] or not name.endswith('_mm'), name
    for row in rows.values():
        joints = [value for name, value in row.items() if name.startswith('joint_mm/')]
        assert len(joints) == 14
        assert np.mean(joints) == pytest.approx(row['mpjpe_mm'], rel=1e-5)


@pytest.mark.slow
def test_the_mean_body_is_the_mean_of_the_training_bodies(evaluation, images):
    """The table's baseline, again by hand from the records' own 3D keypoints."""
    rows = json.loads((evaluation[0] / 'evaluation.json').read_text())['rows']
    chosen = [*range(25, 38), 43]

    def centred(split):
        records = pipeline.open_split(str(images), split)
        points = np.stack([records[i]['keypoints3d'][:, :3] for i in range(len(records))])
        return (points - points[:, 39:40])[:, chosen]

    # Of each source eight records, evenly spread; there are 16 and 8.
    training = [centred('mannequin/suit')[::2], centred('mannequin/suit_pseudo')]
    mean = np.concatenate(training).mean(axis=0)
    error = np.linalg.norm(centred('mannequin/suit_heldout') - mean, axis=-1).mean() * 1000
    row = rows['mean body, mannequin/suit_heldout']
    np.testing.assert_allclose(row['mpjpe_mm'], error, rtol=0.02)


@pytest.mark.slow
def test_the_truth_of_an_evaluation_is_chosen(run, evaluation, tmp_path):
    """The mannequin's stored keypoints are its body's: both truths give the same errors."""
    split = f'--split={next(iter(SPLITS))}'
    command('-m', 'tokenhmr_jax.evaluate', f'--checkpoint={run}', split, f'--out={tmp_path}',
            '--truth=body')  # fmt: skip
    found = json.loads((tmp_path / 'evaluation.json').read_text())
    assert (found['truth'], found['stored_truth']) == ('body', 0)
    rows = json.loads((evaluation[0] / 'evaluation.json').read_text())['rows']
    for title in ('regressor', 'mean body'):
        for name, value in found['rows'][title].items():
            expected = rows[f'{title}, {next(iter(SPLITS))}'][name]
            assert value == pytest.approx(expected, rel=1e-3, abs=0.01), name


@pytest.mark.slow
def test_failures_are_counted_and_drawn(run, images):
    """Every record once; its errors are those of the evaluation."""
    loaded = open_run(str(run), 'last', sharding.make_mesh(jax.devices()[:1]))
    records = pipeline.open_split(str(images), 'mannequin/suit_heldout')
    table, picture = failures.report_failures(loaded, records, 1)
    rows = [line.strip('| ').split(' | ') for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == [*failures.KINDS, 'all']
    assert sum(float(row[1].strip('%')) for row in rows[:-1]) == pytest.approx(100)
    logged = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()][-1]
    for column, name in ((2, 'mpjpe_mm'), (3, 'keypoints2d_px')):
        assert float(rows[-1][column]) == pytest.approx(logged[f'eval/{name}'], rel=1e-3)
    assert picture.shape[1:] == (1536, 3)
    assert picture.std() > 10


@pytest.mark.slow
def test_thresholds_of_angles_are_the_mean_errors_of_predictions(run, images, tmp_path):
    """Against SciPy's angles, for the labels as the records hold them."""
    loaded = open_run(str(run), 'last', sharding.make_mesh(jax.devices()[:1]))
    records = pipeline.open_split(str(images), 'mannequin/suit_heldout')
    ((predicted, true),) = predictions_of(loaded, records)
    labels = [np.r_[r['global_orient'][None], r['body_pose']] for r in records.read(range(8))]
    expected = Rotation.from_rotvec(np.reshape(labels, (-1, 3)))
    np.testing.assert_allclose(true.reshape(-1, 3, 3), expected.as_matrix(), atol=1e-5)
    found = Rotation.from_matrix(predicted.reshape(-1, 3, 3))
    angles = (found.inv() * expected).magnitude().reshape(8, 24).mean(axis=0)

    out = tmp_path / 'thresholds.csv'
    split = '--split=mannequin/suit_heldout'
    main([f'--data_dir={images}', split, f'--checkpoint={run}', f'--out={out}'])
    config = regressor_config(None, **{'tals.thresholds': str(out)})
    thresholds = make_task(config).frozen().thresholds
    np.testing.assert_allclose(thresholds.angles, angles, rtol=1e-3, atol=1e-3)
    assert (np.asarray(thresholds.angles) > 0.01).sum() >= 20


def test_thresholds_of_angles_need_a_regressor(trained, prepared, tmp_path):
    split = '--split=amass/procedural_heldout'
    arguments = [f'--data_dir={prepared}', split, f'--out={tmp_path}/out.csv']
    with pytest.raises(SystemExit, match='is a tokenizer, not a regressor'):
        main([*arguments, f'--checkpoint={trained}'])


@pytest.mark.slow
@pytest.mark.fault(10, 'a batch that is not finite')
def test_batches_that_are_not_finite_are_named_and_stop_the_run(trained, tmp_path):
    """Labels that overflow, in every batch: what is saved has not changed."""
    rng = np.random.default_rng(0)
    records = [image_records.make(rng, f'{i}', resolution=32) for i in range(8)]
    for record in records:
        record['betas'][3] = 1e30
    splits = {name.split('/')[1]: records for name in (*MIXTURE, 'mannequin/suit_heldout')}
    image_records.prepare(tmp_path, 'mannequin', splits)
    workdir = tmp_path / 'run'
    settings = {'max_skipped_steps': 2, 'checkpoint_every': 2}
    printed = command(*arguments(tmp_path, trained, workdir, **settings), expect=1)
    message = 'error: steps 1 to 3: the loss or its gradient was not finite 3 times in a row'
    assert printed.splitlines()[-1].startswith(message)
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    skipped = {line['step']: line['skipped_keys'] for line in lines if 'skipped_keys' in line}
    assert list(skipped) == [1, 2, 3]
    assert all(len(keys) == 8 and set(keys) <= set('01234567') for keys in skipped.values())
    with Checkpoints(workdir, create=False) as saved:
        params = saved.read_model(2)['params']
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


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
    task = make_task(config)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        task.warm_start(*jax.eval_shape(task.init, jax.random.key(0)))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'model.head': 'heads'}, r"expected one of \['tokens', 'pose_tokens', 'direct'\]"),
        ({'pose_tokens.label_smoothing': 1.0}, r'label_smoothing=1.0: expected from 0'),
        ({'pose_tokens.gumbel': -1.0, 'model.head': 'pose_tokens'}, 'gumbel=-1.0: expected'),
        ({'model.body_mean': 'mean'}, r"one of \('rest', 'none'\)"),
        ({'tals.distance': 'l2'}, 'tals.distance'),
        ({'data.ground_truth': ('bedlam/train',)}, 'data.ground_truth names'),
    ],
)
def test_settings_that_make_no_sense(trained, change, message):
    with pytest.raises(ValueError, match=message):
        make_task(regressor_config(trained, **change))


def test_the_direct_head_needs_no_tokenizer(trained):
    config = regressor_config(trained, **{'model.head': 'direct', 'tokenizer.checkpoint': ''})
    task = make_task(config)
    params, state = jax.eval_shape(task.init, jax.random.key(0))
    assert task.warm_start(params, state)[1].codes is None
    assert set(params) == {'backbone', 'head'}  # and no prior, unless it is asked for


@pytest.mark.parametrize(('head', 'body_is_zero'), [('tokens', True), ('direct', False)])
def test_a_tokens_decoder_may_give_the_pose_itself_and_the_direct_head_an_offset(
    trained, head, body_is_zero
):
    config = regressor_config(trained, **{'model.head': head, 'model.body_mean': 'none'})
    task = make_task(config)
    mean_pose = jax.jit(lambda key: task.init(key)[1].mean_pose)(jax.random.key(0))
    expected = regressor.upright_mean()['mean_pose']
    if body_is_zero:
        expected[1:22] = 0
    np.testing.assert_array_equal(mean_pose, expected)


def regressor_config(trained, **overrides):
    settings = REGRESSOR_SIZES | {'tokenizer.checkpoint': str(trained)} | overrides
    return quickstart_config('regressor', settings)
