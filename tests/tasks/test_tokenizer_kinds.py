"""Tokenizers of every kind: trained, stored, used, and read by a regressor."""

import json

import jax
import numpy as np
import pytest
from conftest import REGRESSOR_SIZES, quickstart_config, tiny_config

import tokenhmr_jax
from tokenhmr_jax import train
from tokenhmr_jax.body import rotations
from tokenhmr_jax.export import export_run
from tokenhmr_jax.models.quantizer import grid_codes
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.training import optimizer, sharding
from tokenhmr_jax.training.step import initial_state, make_step
from tokenhmr_jax.training.trained_run import open_run
from tokenhmr_jax.types import PoseBatch

FSQ = {'model.levels': (8, 4), 'model.code_dim': 2}
TRANSFORMER = {'model.network': 'transformer', 'model.heads': 2}
SHORT = {'num_steps': 4, 'eval.every': 4, 'checkpoint_every': 4, 'model.depth': 1}
KINDS = {
    'vq_transformer': TRANSFORMER,
    'fsq_conv': FSQ,
    'fsq_transformer': FSQ | TRANSFORMER | {'noise_degrees': 1.0},
}


@pytest.fixture(scope='module')
def workdirs(prepared, tmp_path_factory):
    """The folder of a run of each kind, trained when it is first asked for."""
    folder = tmp_path_factory.mktemp('kinds')

    def workdir(kind):
        if not (folder / kind).exists():
            train.train(tiny_config(prepared, **SHORT | KINDS[kind]), str(folder / kind))
        return folder / kind

    return workdir


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_each_kind_trains_and_is_used_from_its_checkpoint(workdirs, kind, rng):
    workdir = workdirs(kind)
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    assert all(np.isfinite(line['loss']) for line in lines if 'loss' in line)
    scores = next(line for line in lines if 'eval/mpjpe_mm' in line)
    kept = [scores[f'eval/kept_{name}deg'] for name in ('0.5', '1', '2')]
    assert 1 >= kept[0] >= kept[1] >= kept[2] > 0
    assert scores['eval/nominal_bits'] == pytest.approx(20 * 5)  # tokens of 32 codes
    assert 0 < scores['eval/bits'] <= 100.01

    run = open_run(str(workdir), 'last')
    body_pose = rng.normal(0, 0.3, (3, 21, 3)).astype(np.float32)
    batch = PoseBatch(body_pose=body_pose)
    output = jax.jit(run.task.predict)(run.params, run.state, run.frozen, batch)
    tokenizer = tokenhmr_jax.load_tokenizer(str(workdir), 'last')
    matrices = np.asarray(rotations.axis_angle_to_matrix(body_pose))
    tokens = tokenizer.encode(matrices)
    np.testing.assert_array_equal(tokens.indices, output.tokens)
    decoded = tokenizer.decode(tokens)
    np.testing.assert_allclose(decoded, output.body_pose, atol=1e-5)
    swapped = tokenizer.swap(tokens, 7, (int(tokens.indices[0, 7]) + 1) % 32)
    assert np.abs(tokenizer.decode(swapped) - decoded)[0].max() > 1e-6
    way = tokenizer.interpolate(tokens, swapped, steps=3)
    np.testing.assert_allclose(way[0], decoded, atol=1e-5)
    if 'fsq' in kind:
        np.testing.assert_array_equal(tokenizer.codes, grid_codes((8, 4)))
        assert scores['eval/codes_used'] > 0


@pytest.mark.slow
def test_a_regressor_trains_on_the_grid_of_a_tokenizer(workdirs, prepared, tmp_path):
    """From keypoints of the prepared poses; stage 1 comes along to the bit."""
    stage1 = workdirs('fsq_transformer')
    sizes = REGRESSOR_SIZES | SHORT | {'model.inputs': ('prompts',), 'tokenizer.model.code_dim': 2}
    del sizes['model.depth']
    sizes |= {'tokenizer.model.network': 'transformer', 'tokenizer.model.heads': 2}
    sizes |= {'tokenizer.model.levels': (8, 4), 'tokenizer.checkpoint': str(stage1)}
    sizes |= {'batch_size': 0, 'people.batch_size': 16, 'data.data_dir': str(prepared)}
    sizes |= {'data.validation': ('amass/procedural_heldout',), 'eval.limit': 16}
    sizes |= {
        'people.poses': ('amass/procedural',),
        'data.ground_truth': (),
        'tokenizer.step': 'last',
    }
    config = quickstart_config('regressor', sizes)
    config.data.mixture = type(config)()
    train.train(config, str(tmp_path / 'run'))
    run = open_run(str(tmp_path / 'run'), 'last')
    np.testing.assert_array_equal(run.state.codes, grid_codes((8, 4)))
    ours, theirs = run.state.tokenizer, open_run(str(stage1), 'last').params
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    lines = [json.loads(x) for x in (tmp_path / 'run/metrics.jsonl').read_text().splitlines()]
    assert all(np.isfinite(line['loss']) for line in lines if 'loss' in line)

    config.tokenizer.model.levels = (4, 8)
    with pytest.raises(ValueError, match=r'a tokenizer with .*this run has'):
        train.train(config, str(tmp_path / 'other'))


@pytest.mark.slow
def test_the_original_has_no_such_tokenizer(workdirs, tmp_path):
    with pytest.raises(ValueError, match=r"network='conv' and levels=\(8, 4\): the original has"):
        export_run(str(workdirs('fsq_conv')), str(tmp_path / 'out'))


def steps_on(devices: int, poses: np.ndarray):
    settings = {'optimizer.warmup_steps': 0} | KINDS['fsq_transformer']
    config = tiny_config('/nowhere', **settings)
    mesh, task = sharding.make_mesh(jax.devices()[:devices]), make_task(config)
    frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
    tx = optimizer.make_optimizer(config.optimizer, config.num_steps)
    state, step = initial_state(task, tx, mesh, config.seed), make_step(task, tx, mesh)
    seed = jax.device_put(config.seed, sharding.replicated(mesh))
    for _ in range(2):
        state, logs = step(state, frozen, sharding.put_batch(PoseBatch(poses), mesh), seed)
    return jax.device_get((state.params, logs))


@pytest.mark.slow
def test_steps_of_a_transformer_with_noise_are_the_same_on_eight_devices(rng):
    poses = rng.normal(0, 0.4, (16, 21, 3)).astype(np.float32)
    (one, logs), (eight, other) = steps_on(1, poses), steps_on(8, poses)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    for name, value in logs.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_without_noise_the_encoder_sees_the_pose_itself(rng):
    """With it, another pose at each step, and the target stays."""
    task = make_task(tiny_config('/nowhere', noise_degrees=2.0))
    still = make_task(tiny_config('/nowhere'))
    pose = rotations.axis_angle_to_matrix(rng.normal(0, 0.4, (400, 21, 3)).astype(np.float32))
    key = jax.random.key(0)
    assert still._with_noise(pose, key) is pose
    seen = task._with_noise(pose, key)
    angle = np.degrees(rotations.geodesic_angle(seen, pose))
    assert np.sqrt((angle**2).mean()) == pytest.approx(2 * 3**0.5, rel=0.02)
