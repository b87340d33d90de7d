"""Training, of either stage: `python -m tokenhmr_jax.train --config=FILE --workdir=DIR`.

Run again with the same workdir, it goes on exactly where it stopped.
"""

import collections
import pathlib
from collections.abc import Iterator
from typing import Any

import grain
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from absl import app, flags, logging
from jax.sharding import Mesh
from ml_collections import config_flags

from tokenhmr_jax import checkpoints, config_utils, evaluate, optimizer, runs, sharding
from tokenhmr_jax.body import files, smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.metric_writer import MetricWriter, Progress
from tokenhmr_jax.tasks import TASKS, Task
from tokenhmr_jax.types import TrainState

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Config file.', lock_config=True)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run: checkpoints and metrics.')


def train(config: ml_collections.ConfigDict, workdir: str) -> TrainState:
    """Train until `config.num_steps`, from the newest checkpoint in `workdir` if there is one.

    Raises:
      FileNotFoundError, ValueError: for data, body model or checkpoint that do not fit the
        config, before any compute is spent.
      FloatingPointError: after too many batches in a row whose loss or gradient is not finite.
    """
    mesh = sharding.make_mesh()
    sharding.check_batch_size(config.batch_size, mesh, 'batch_size')
    sharding.check_batch_size(config.eval.batch_size, mesh, 'eval.batch_size')
    task = TASKS[config.task].from_config(config)
    data = pipeline.train_batches(
        config.data.data_dir,
        config.data.mixture,
        batch_size=config.batch_size,
        seed=config.seed,
        num_threads=config.data.num_threads,
        transform=task.train_transform,
        max_bad_fraction=config.data.max_bad_fraction,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    validation = [pipeline.open_split(config.data.data_dir, n) for n in config.data.validation]
    frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
    description = checkpoints.describe(config, smpl.topology(frozen.body))
    tx = optimizer.make(config.optimizer, config.num_steps)
    train_step = make_train_step(task, tx, mesh, config.seed)
    evaluator = evaluate.Evaluator(task, mesh, frozen, config)
    examples = evaluate.Examples(task, mesh, frozen, config, validation)

    pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
    if jax.process_index() == 0:
        files.keep(workdir, config)
        runs.keep_config(workdir, config)
    with checkpoints.Checkpoints(workdir, config.eval.best_metric) as saved:
        state = initial_state(task, tx, mesh, config.seed)
        if saved.latest is not None:
            state = _go_on(state, data, saved, description, workdir)
        else:
            params, beside = task.warm_start(state.params, state.state)
            state = state.replace(params=params, state=beside)
        first = int(state.step)
        with MetricWriter(workdir, first) as writer, Progress(writer, first, config) as progress:
            steps = range(first + 1, config.num_steps + 1)
            batches = device_batches(data, task, mesh)
            for step, (batch, keys, position) in zip(steps, batches, strict=False):
                state, logs = train_step(state, frozen, batch)
                progress.add(step, keys, logs)
                scores, last = None, step == config.num_steps
                if step % config.eval.every == 0 or last:
                    progress.flush()
                    scores = evaluator(state.params, state.state, validation)
                    progress.show(step, scores, examples(state.params, state.state))
                if step % config.checkpoint_every == 0 or scores:
                    saved.save(state, position, description, scores)
    return state


def _go_on(state, data, saved, description, workdir) -> TrainState:
    """Restore the newest checkpoint, and put the data where it was."""
    step = saved.latest
    stored = saved.read_config(step)
    checkpoints.check_same(stored, description, f'{workdir}, step {step}')
    for key in config_utils.differences(stored['config'], description['config']):
        logging.warning('%s has changed since step %d', key, step)
    state, position = saved.restore(step, state)
    data.set_state(position)
    print(f'going on from step {step}', flush=True)
    return state


def initial_state(
    task: Task, tx: optax.GradientTransformation, mesh: Mesh, seed: int
) -> TrainState:
    """Fresh parameters, state and optimizer, on every device of the mesh."""

    def init():
        params, state = task.init(jax.random.key(seed))
        return TrainState(jnp.zeros((), jnp.int32), params, state, tx.init(params))

    return jax.jit(init, out_shardings=sharding.replicated(mesh))()


def make_train_step(task: Task, tx: optax.GradientTransformation, mesh: Mesh, seed: int):
    """The compiled step: (state, frozen, batch) -> (state, logs). The state given is consumed.

    A batch whose loss or gradient is not finite changes nothing but the step count, and is
    reported in `logs['skipped']`.
    """

    def train_step(old: TrainState, frozen: Any, batch: Any):
        rng = jax.random.fold_in(jax.random.key(seed), old.step)
        grad = jax.value_and_grad(task.loss, has_aux=True)
        (loss, (state, logs)), grads = grad(old.params, old.state, frozen, batch, rng, old.step)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)

        def update():
            updates, opt_state = tx.update(grads, old.opt_state, old.params)
            params = optax.apply_updates(old.params, updates)
            return TrainState(old.step, params, state, opt_state)

        # A branch: choosing between old and new arrays would cost more than the whole update.
        new = jax.lax.cond(finite, update, lambda: old)
        logs |= {'loss': loss, 'grad_norm': grad_norm, 'skipped': 1.0 - finite}
        return new.replace(step=old.step + 1), logs

    everywhere = sharding.replicated(mesh)
    return jax.jit(
        train_step,
        in_shardings=(everywhere, everywhere, sharding.batch(mesh)),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
    )


def device_batches(
    data: grain.DatasetIterator, task: Task, mesh: Mesh, ahead: int = 2
) -> Iterator[tuple[Any, np.ndarray, dict]]:
    """Batches on their devices, some of them ahead of use.

    Yields:
      the batch; its records' keys; and the position of the data after it, to be saved with a step
      that has used it.
    """
    waiting = collections.deque()
    for columns in data:
        batch = sharding.put_batch(task.batch(columns), mesh)
        waiting.append((batch, columns['key'], data.get_state()))
        if len(waiting) > ahead:
            yield waiting.popleft()


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f'unknown arguments: {argv[1:]}')
    with config_utils.clear_errors():
        train(_CONFIG.value, _WORKDIR.value)


if __name__ == '__main__':
    flags.mark_flags_as_required(['config', 'workdir'])
    app.run(main)
