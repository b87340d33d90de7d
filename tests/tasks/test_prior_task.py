"""The prior's task: hidden limbs, the loss, and runs from the command's loop."""

import jax
import numpy as np
import pytest
from conftest import quickstart_config

from tokenhmr_jax import train
from tokenhmr_jax.body import rotations, skeleton
from tokenhmr_jax.models.token_prior import hide_part
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.tasks.prior import draw_limbs, limbs
from tokenhmr_jax.training import optimizer, sharding
from tokenhmr_jax.training.step import initial_state, make_step
from tokenhmr_jax.types import PoseBatch

SIZES = {
    'tokenizer.num_codes': 8,
    'tokenizer.model.width': 8,
    'tokenizer.model.code_dim': 4,
    'tokenizer.model.size_mul': 1,
    'model.width': 8,
    'model.depth': 1,
    'model.heads': 2,
    'data.num_workers': 0,
}


@pytest.fixture(scope='module')
def task():
    return make_task(quickstart_config('prior', SIZES))


@pytest.fixture(scope='module')
def weights(task):
    """Parameters and a state whose codes and ties are random."""
    params, state = task.init(jax.random.key(0))
    codes = jax.random.normal(jax.random.key(1), state.codes.shape)
    ties = jax.random.uniform(jax.random.key(2), state.ties.shape) ** 8
    return params, state.replace(codes=codes, ties=ties)


def test_limbs_are_joints_with_all_that_hangs_on_them():
    names = lambda row: {n for n, of in zip(skeleton.BODY_JOINTS, row, strict=True) if of}  # noqa: E731
    rows = dict(zip(skeleton.BODY_JOINTS, map(names, limbs()), strict=True))
    assert rows['left_shoulder'] == {'left_shoulder', 'left_elbow', 'left_wrist'}
    assert rows['right_hip'] == {'right_hip', 'right_knee', 'right_ankle', 'right_foot'}
    assert rows['head'] == {'head'}
    assert len(rows['spine1']) == 21 - 8
    drawn = np.asarray(draw_limbs(jax.random.key(0), 500, most=1))
    assert {tuple(row) for row in drawn} == {tuple(row) for row in limbs()}
    assert draw_limbs(jax.random.key(0), 500).sum() > drawn.sum()


def test_known_tokens_cannot_tell_of_hidden_joints(task, weights, rng):
    """Whatever the hidden joints do; and the others' tokens are as if these were at rest."""
    _, state = weights
    vectors = rng.normal(0, 0.5, (4, 21, 3)).astype(np.float32)
    joints = np.broadcast_to(limbs()[skeleton.BODY_JOINTS.index('left_shoulder')], (4, 21))
    other, rest = vectors.copy(), vectors.copy()
    other[joints], rest[joints] = rng.normal(0, 1, other[joints].shape), 0
    to_matrix = rotations.axis_angle_to_matrix
    tokens, given, tied = task.hide_joints(state, to_matrix(vectors), joints)
    _, of_other, also_tied = task.hide_joints(state, to_matrix(other), joints)
    np.testing.assert_array_equal(tied, also_tied)
    assert 0 < tied.sum() < tied.size
    np.testing.assert_array_equal(given[~tied], of_other[~tied])
    np.testing.assert_array_equal(given[~tied], task.encode(state, to_matrix(rest))[~tied])
    np.testing.assert_array_equal(given[tied], tokens[tied])


@pytest.mark.slow
def test_the_loss_is_the_mean_cross_entropy_of_hidden_tokens(weights, mannequin, rng):
    """By NumPy, with any tokens hidden."""
    task = make_task(quickstart_config('prior', SIZES | {'hidden_limbs': 0.0}))
    params, state = weights
    vectors = rng.normal(0, 0.5, (6, 21, 3)).astype(np.float32)
    key = jax.random.key(3)
    loss, (after, logs) = task.loss(
        params, state, task.frozen(mannequin), PoseBatch(vectors), key, 0
    )
    assert after is state and np.isnan(logs['nats/limbs'])
    tokens = np.asarray(task.encode(state, rotations.axis_angle_to_matrix(vectors)))
    hidden = np.asarray(hide_part(jax.random.split(key, 3)[2], np.ones_like(tokens, bool)))
    logits = np.asarray(task.predict_logits(params)(tokens, ~hidden), float)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    rows, columns = np.indices(tokens.shape)
    each = np.where(hidden, -logits[rows, columns, tokens], 0).sum(axis=1) / hidden.sum(axis=1)
    np.testing.assert_allclose(loss, each.mean(), rtol=1e-4)


def test_settings_that_do_not_fit_are_named():
    for settings, message in (
        ({'hidden_limbs': 1.5}, r'hidden_limbs=1\.5: expected a share'),
        ({'model.heads': 3}, r'model\.width=8 does not divide by model\.heads=3'),
        ({'eval.best_metric': 'x'}, r"eval\.best_metric='x': expected one of .*'bits'"),
    ):
        with pytest.raises(ValueError, match=message):
            make_task(quickstart_config('prior', SIZES | settings))
    task = make_task(quickstart_config('prior', SIZES | {'tokenizer.checkpoint': ''}))
    with pytest.raises(ValueError, match=r'tokenizer\.checkpoint is empty'):
        task.check_inputs([])


def test_a_tokenizer_of_other_sizes_is_refused(trained, prepared, tmp_path):
    settings = {'tokenizer.checkpoint': str(trained), 'data.data_dir': str(prepared)}
    with pytest.raises(ValueError, match=r'a tokenizer with .*this run has'):
        train.train(quickstart_config('prior', SIZES | settings), str(tmp_path / 'run'))


@pytest.mark.slow
def test_steps_on_eight_devices_equal_steps_on_one(task, weights, rng):
    batch = PoseBatch(rng.normal(0, 0.4, (16, 21, 3)).astype(np.float32))
    found = []
    for devices in (1, 8):
        mesh = sharding.make_mesh(jax.devices()[:devices])
        frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
        tx = optimizer.make_optimizer(task.config.optimizer, 10)
        state = initial_state(task, tx, mesh, 0)
        # Copies: steps take their buffers.
        place = lambda x, like: jax.device_put(np.array(x), like.sharding)  # noqa: E731
        state = state.replace(state=jax.tree.map(place, weights[1], state.state))
        step = make_step(task, tx, mesh)
        seed = jax.device_put(0, sharding.replicated(mesh))
        for _ in range(2):
            state, logs = step(state, frozen, sharding.put_batch(batch, mesh), seed)
        found.append(jax.device_get((state.params, logs)))
    (one, logs), (eight, other) = found
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(logs['loss'], other['loss'], rtol=1e-4)
