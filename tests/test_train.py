"""Training from end to end: the loop, its outputs, resuming, many devices, and bad input."""

import json
import re

import chex
import jax
import numpy as np
import pytest
from conftest import command, tiny_config, train_arguments
from training_runs import read_metrics, steps_of

from tokenhmr_jax import train
from tokenhmr_jax.body import smpl
from tokenhmr_jax.checkpoints.compatibility import check_same_run, describe_run
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.training import optimizer, sharding
from tokenhmr_jax.training.step import initial_state, make_step
from tokenhmr_jax.types import PoseBatch


def test_a_run_writes_metrics_and_keeps_the_best_and_the_last_two(trained):
    lines = read_metrics(trained)
    training = [line for line in lines if 'loss' in line]
    assert [line['step'] for line in training] == [2, 3, 5, 6, 8, 9, 11, 12]  # every two, and saved
    names = {
        'loss/rotation',
        'loss/joints',
        'loss/vertices',
        'loss/commitment',
        'mpjpe_mm',
        'pve_mm',
    }
    names |= {'perplexity', 'codes_used', 'grad_norm', 'examples_per_second'}
    assert names <= training[0].keys()
    weights = {'rotation': 20, 'joints': 100, 'vertices': 100, 'commitment': 1}
    total = sum(weight * training[0][f'loss/{name}'] for name, weight in weights.items())
    np.testing.assert_allclose(training[0]['loss'], total, rtol=1e-5)
    scores = {line['step']: line['eval/mpjpe_mm'] for line in lines if 'eval/mpjpe_mm' in line}
    assert list(scores) == [6, 12]
    assert set(steps_of(trained)) == {9, 12, min(scores, key=scores.get)}
    assert any((trained / 'tensorboard').glob('events*'))


@pytest.mark.slow
def test_evaluate_prints_and_writes_the_table_and_a_picture(trained, tmp_path):
    printed = command(
        '-m', 'tokenhmr_jax.evaluate', f'--checkpoint={trained}', '--step=last', f'--out={tmp_path}'
    )  # fmt: skip
    found = json.loads((tmp_path / 'evaluation.json').read_text())
    assert (found['step'], found['convention']) == (read_metrics(trained)[-1]['step'], None)
    assert found['splits'] == ['amass/procedural_heldout']
    rows = found['rows']
    assert list(rows) == ['reconstruction', 'nearest training pose', 'mean pose']
    # The evaluation during training saw 100 of the 150 held-out poses; all of them are near it.
    logged = [line['eval/mpjpe_mm'] for line in read_metrics(trained) if 'eval/mpjpe_mm' in line]
    np.testing.assert_allclose(rows['reconstruction']['mpjpe_mm'], logged[-1], rtol=0.1)
    assert rows['nearest training pose']['mpjpe_mm'] < rows['mean pose']['mpjpe_mm']
    assert (tmp_path / 'evaluation.md').read_text().strip() in printed
    assert '| mean pose |' in printed
    import cv2

    image = cv2.imread(str(tmp_path / 'poses.png'))
    assert image.std() > 10


def test_a_finished_run_does_nothing_when_run_again(trained, prepared):
    before = (trained / 'metrics.jsonl').read_text()
    command(*train_arguments(prepared, trained))
    assert (trained / 'metrics.jsonl').read_text() == before


def random_batch(size=16):
    rng = np.random.default_rng(0)
    return PoseBatch(body_pose=rng.normal(0, 0.4, (size, 21, 3)).astype(np.float32))


def run_steps(devices, batches, start=None, parts=1, **overrides):
    """The states after each batch, and the logs, of a run on that many devices.

    It goes on from the state `start`, or begins.
    """
    settings = {'optimizer.warmup_steps': 0, 'codebook.num_codes': 200} | overrides
    config = tiny_config('/nowhere', **settings)
    mesh = sharding.make_mesh(jax.devices()[:devices], config.mesh.fsdp)
    task = make_task(config)
    frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
    tx = optimizer.make_optimizer(config.optimizer, config.num_steps)
    if start is None:
        state = initial_state(task, tx, mesh, config.seed)
    else:
        state = jax.device_put(start, sharding.by_rules(start, mesh))
    step = make_step(task, tx, mesh, parts)
    seed = jax.device_put(config.seed, sharding.replicated(mesh))
    states, logs = [], []
    for batch in batches:
        state, log = step(state, frozen, sharding.put_batch(batch, mesh), seed)
        states.append(jax.tree.map(np.array, state))  # copies: the step consumes its state
        logs.append(jax.device_get(log))
    assert step._cache_size() == 1, 'a step must compile once'
    return states, logs


@pytest.fixture(scope='module')
def on_one():
    """Three good steps on one device, and one on a batch that is not finite."""
    bad = random_batch()
    bad.body_pose[3, 4, 0] = np.nan
    return run_steps(1, [random_batch()] * 3 + [bad])


@pytest.mark.slow
@pytest.mark.fault(9, '8 devices, fsdp 1 and 4, against 1')
@pytest.mark.parametrize('fsdp', [1, 4])
def test_steps_on_eight_devices_equal_steps_on_one(on_one, fsdp):
    """Whether each device holds all parameters, or groups of four share them."""
    (_, _, one, _), (*logs_one, _) = on_one
    (_, _, eight), logs_eight = run_steps(8, [random_batch()] * 3, **{'mesh.fsdp': fsdp})
    # 320 tokens a batch for 200 codes: some are re-seeded in every step.
    assert (one.state.ema_count <= 1).any()
    for a, b in zip(logs_one, logs_eight, strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=2e-4, atol=1e-6, err_msg=name)
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(eight.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(eight.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_a_step_in_parts_equals_the_whole(on_one):
    """From a state whose codebook is frozen: one that learns does so with each part."""
    (_, start, *_), _ = on_one
    settings = {'codebook.freeze_step': 1, 'mesh.fsdp': 2}
    (whole,), (logs,) = run_steps(2, [random_batch()], start, **settings)
    (parts,), (logs_of_parts,) = run_steps(2, [random_batch()], start, parts=4, **settings)
    for name in ('loss', 'grad_norm', 'loss/vertices', 'mpjpe_mm'):
        np.testing.assert_allclose(logs[name], logs_of_parts[name], rtol=1e-5, err_msg=name)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(parts.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_the_codebook_freezes_where_the_config_says(on_one):
    (*_, learning, _), _ = on_one
    (first, _, frozen), _ = run_steps(1, [random_batch()] * 3, **{'codebook.freeze_step': 1})
    assert frozen.state.initialized
    assert not np.array_equal(frozen.state.codes, learning.state.codes)
    # Frozen after its first step: what follows leaves its codebook as it is.
    chex.assert_trees_all_equal(frozen.state, first.state)
    assert np.abs(first.state.ema_count - 1).max() > 0.01
    assert learning.state.ema_count.sum() > frozen.state.ema_count.sum()


@pytest.mark.slow
@pytest.mark.fault(10, 'a batch that is not finite')
def test_a_batch_that_is_not_finite_changes_nothing_but_the_step(on_one):
    (*_, before, after), (*_, logs) = on_one
    assert logs['skipped'] == 1
    assert after.step == before.step + 1
    chex.assert_trees_all_equal(before.replace(step=0), after.replace(step=0))


@pytest.mark.slow
def test_hands_of_the_release_put_a_floor_under_the_mesh_loss(prepared, tmp_path):
    """With SMPL-H's mean hands on one side only, a perfect pose still has an error."""
    from random_body import smplh_arrays

    np.savez(tmp_path / 'SMPLH_NEUTRAL.npz', **smplh_arrays())
    pose = np.tile(np.eye(3, dtype=np.float32), (1, 21, 1, 1))
    for hands, floor in (('flat', False), ('mean', True)):
        config = tiny_config(
            prepared, **{'body': str(tmp_path / 'SMPLH_NEUTRAL.npz'), 'ground_truth_hands': hands}
        )
        task = make_task(config)
        frozen = task.frozen()
        body_of = jax.jit(task._body)
        predicted, truth = (body_of(frozen.body, pose, h) for h in (None, frozen.hands))
        error = np.abs(predicted.vertices - truth.vertices).max()
        assert (error > 0.01) == floor


def test_mean_hands_that_are_not_there_are_named(prepared, tmp_path):
    """SMPL-H as downloaded lacks them, and is used without; half of them is none."""
    from random_body import smplh_arrays

    arrays = smplh_arrays()
    del arrays['hands_meanr']
    path = tmp_path / 'neutral/model.npz'
    path.parent.mkdir()
    np.savez(path, **arrays, bs_style='lbs', bs_type='lrotmin')
    config = tiny_config(prepared, body=str(path))
    assert make_task(config).frozen().body.num_joints == 52
    config.ground_truth_hands = 'mean'
    with pytest.raises(ValueError, match=r"neutral/model\.npz: lacks hands_meanl .* MANO's files"):
        make_task(config).frozen()
    config.body = 'mannequin'
    with pytest.raises(ValueError, match='mannequin: lacks the fingers of SMPL-H'):
        make_task(config).frozen()


def test_each_part_of_a_batch_has_a_token_for_each_code():
    """16 poses of 20 tokens and 32 codes: enough for 10 parts."""
    make_task(tiny_config('/nowhere', accumulation_steps=8))
    with pytest.raises(ValueError, match=r'320 tokens in accumulation_steps=16 parts.*32 codes'):
        make_task(tiny_config('/nowhere', accumulation_steps=16))


BAD_SETTINGS = [
    ({'data.data_dir': '/nowhere'}, 'error: .*nowhere.*no prepared dataset'),
    ({'body': '/nowhere/SMPLH.npz'}, r'error: /nowhere/SMPLH\.npz: no such file'),
    ({'codebook.num_codes': 512}, 'error: a batch of 16 poses has 320 tokens'),
    ({'loss_distance': 'l3'}, "error: loss_distance='l3'"),
    ({'optimizer.schedule': 'steps'}, "error: optimizer.schedule 'steps'"),
    (
        {'eval.best_metric': 'mpjpe'},
        "error: eval.best_metric='mpjpe': expected one of .*'mpjpe_mm'",
    ),
    ({'data.validation': ()}, 'error: data.validation is empty'),
]


@pytest.mark.parametrize(('settings', 'message'), BAD_SETTINGS)
def test_a_setting_that_makes_no_sense_ends_with_one_clear_line(
    prepared, tmp_path, settings, message
):
    config = tiny_config(prepared, **settings)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        train.train(config, str(tmp_path / 'run'))
    assert re.search(message, f'error: {error.value}')
    assert not (tmp_path / 'run').exists()


def test_a_checkpoint_of_another_architecture_is_refused(trained, prepared):
    with pytest.raises(ValueError, match=r'another architecture: its model.width is 16, .*has 24'):
        train.train(tiny_config(prepared, **{'model.width': 24}), str(trained))
    with pytest.raises(ValueError, match=r'its codebook\.num_codes is 32'):
        train.train(tiny_config(prepared, **{'codebook.num_codes': 40}), str(trained))
    with pytest.raises(ValueError, match=r'another optimizer: its optimizer\.clip_norm is None'):
        train.train(tiny_config(prepared, **{'optimizer.clip_norm': 1.0}), str(trained))


def test_a_workdir_that_is_no_folder_is_refused(prepared):
    with pytest.raises(ValueError, match="workdir='gs://bucket/run': expected a folder"):
        train.train(tiny_config(prepared), 'gs://bucket/run')


def test_a_checkpoint_of_another_body_is_refused(trained, prepared, random_body):
    with Checkpoints(str(trained), create=False) as saved:
        stored = saved.read_config(saved.find('last'))
    config = tiny_config(prepared)
    other = describe_run(config, smpl.topology(random_body))
    with pytest.raises(ValueError, match='body of another topology'):
        check_same_run(stored, other, 'x')


def test_steps_are_found_by_name_and_number(trained):
    with Checkpoints(str(trained), create=False) as saved:
        scores = {
            line['step']: line['eval/mpjpe_mm']
            for line in read_metrics(trained)
            if 'eval/mpjpe_mm' in line
        }
        assert saved.find('best') == min(scores, key=scores.get)
        assert saved.find('last') == saved.find('12') == 12
        with pytest.raises(ValueError, match="step '7': expected 'best', 'last' or one of"):
            saved.find('7')


def test_no_checkpoints_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoints'):
        Checkpoints(str(tmp_path), create=False)
