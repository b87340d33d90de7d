"""Training, evaluation and prediction compile once, whatever passes through them."""

import chex
import jax
import numpy as np
import pytest
from conftest import SMALL_REGRESSOR, quickstart_config, tiny_config

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.tasks import make_task
from tokenhmr_jax.tasks.body_models import load_body
from tokenhmr_jax.training import optimizer, sharding
from tokenhmr_jax.training.evaluation import Evaluator
from tokenhmr_jax.training.step import initial_state, make_step
from tokenhmr_jax.types import PoseBatch


class TracedOnce:
    """A task, one of whose functions may be traced once."""

    def __init__(self, task, name: str):
        self._task = task
        setattr(self, name, chex.assert_max_traces(getattr(task, name), n=1))

    def __getattr__(self, name: str):
        return getattr(self._task, name)


def made(task, config):
    """Mesh, frozen inputs, optimizer and a fresh state of a task."""
    mesh = sharding.make_mesh(jax.devices()[:2])
    frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
    tx = optimizer.make_optimizer(config.optimizer, config.num_steps)
    return mesh, frozen, tx, initial_state(task, tx, mesh, config.seed)


@pytest.mark.slow
def test_training_traces_its_loss_once():
    """For other batches, seeds and steps, and for a batch that is skipped."""
    config = tiny_config('/nowhere')
    task = TracedOnce(make_task(config), 'loss')
    mesh, frozen, tx, state = made(task, config)
    step = make_step(task, tx, mesh)
    rng = np.random.default_rng(0)
    for seed in (0, 1, 2):
        pose = rng.normal(0, 0.3, (config.batch_size, 21, 3)).astype(np.float32)
        pose[0] = np.nan if seed == 1 else pose[0]
        batch = sharding.put_batch(PoseBatch(body_pose=pose), mesh)
        state, logs = step(state, frozen, batch, jax.device_put(seed, sharding.replicated(mesh)))
        assert logs['skipped'] == (seed == 1)
    assert state.step == 3


@pytest.mark.slow
def test_evaluation_traces_its_metrics_once(prepared):
    """For splits of other sizes, whose last batches are not full, and other weights."""
    config = tiny_config(prepared, **{'eval.batch_size': 64, 'eval.limit': 100})
    task = TracedOnce(make_task(config), 'metrics')
    mesh, frozen, _, state = made(task, config)
    splits = [
        pipeline.open_split(str(prepared), f'amass/{name}')
        for name in ('procedural', 'procedural_heldout')
    ]
    evaluator = Evaluator(task, mesh, frozen, config)
    first = evaluator(state.params, state.state, splits)
    other = jax.tree.map(lambda x: 1.1 * x, state.params)
    assert evaluator(other, state.state, splits[:1])['mpjpe_mm'] != first['mpjpe_mm']


@pytest.mark.slow
def test_prediction_traces_its_network_once():
    """For images of any size, boxes and focal lengths, as long as their number is the same."""
    settings = {'model.head': 'direct', 'tokenizer.checkpoint': ''}
    config = quickstart_config('regressor', SMALL_REGRESSOR | settings)
    task = TracedOnce(make_task(config), 'bodies')
    params, state = jax.jit(task.init)(jax.random.key(0))
    model = Model('random weights', config, task, params, state, load_body(config))
    rng = np.random.default_rng(0)
    for height, width, focal_length in ((90, 120, None), (200, 70, 500.0)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        boxes = np.array([[3, 4, 40, 60], [10, 20, 60, 80]], np.float32)
        found = model.predict(image, boxes, focal_length)
        chex.assert_tree_all_finite(jax.tree.map(np.asarray, found))
        assert found.vertices.shape == (2, 6890, 3)
