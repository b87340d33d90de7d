"""Training, of either stage: `python -m tokenhmr_jax.train --config=FILE --workdir=DIR`.

Run again with the same workdir, it goes on exactly where it stopped.

Exit codes: 0, done. 75, told to stop by SIGTERM and saved, or lost another process of the run: run
the same command again. 1, failed, with one line that says why: running it again would fail again.
Any other, such as that of a signal: run it again, all that was saved is there.
"""

import collections
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import grain
import jax
import ml_collections
import numpy as np
from absl import app, flags, logging
from jax.sharding import Mesh
from ml_collections import config_flags

from tokenhmr_jax import (
    checkpoints,
    compilation,
    config_utils,
    evaluate,
    optimizer,
    preemption,
    runs,
    sharding,
    tals,
    train_step,
)
from tokenhmr_jax import workdir as workdirs
from tokenhmr_jax.body import files, smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.metric_writer import MetricWriter, Progress
from tokenhmr_jax.tasks import TASKS, Task
from tokenhmr_jax.types import TrainState

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Config file.', lock_config=True)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run: checkpoints and metrics.')

_DISTRIBUTED = flags.DEFINE_bool(
    'distributed', False, 'Join the other processes of this run, on TPU pods, Slurm or Kubernetes.'
)
_HEARTBEAT = flags.DEFINE_integer(
    'heartbeat', 100, 'Seconds without a sign of life after which another process counts as dead.'
)


def train(config: ml_collections.ConfigDict, workdir: str) -> TrainState:
    """Train until `config.num_steps`, from the newest good checkpoint in `workdir` if there is one.

    Raises:
      FileNotFoundError, ValueError: for data, body model or checkpoint that do not fit the
        config, before any compute is spent.
      FloatingPointError: after too many batches in a row whose loss or gradient is not finite.
      preemption.Preempted: when told to stop, once all that has been done is saved.
    """
    workdirs.check(workdir)
    mesh = sharding.make_mesh(fsdp=config.mesh.fsdp)
    parts = config.accumulation_steps
    sharding.check_batch_size(config.batch_size, mesh, 'batch_size', parts)
    sharding.check_batch_size(config.eval.batch_size, mesh, 'eval.batch_size')
    task = TASKS[config.task].from_config(config)
    data = _training_data(config, task)
    if not config.data.validation:
        raise ValueError('data.validation is empty: expected prepared splits')
    validation = [pipeline.open_split(config.data.data_dir, n) for n in config.data.validation]
    frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
    description = checkpoints.describe(config, smpl.topology(frozen.body))
    tx = optimizer.make(config.optimizer, config.num_steps)
    step_once = train_step.make(task, tx, mesh, parts)
    seed = jax.device_put(config.seed, sharding.replicated(mesh))
    evaluator = evaluate.Evaluator(task, mesh, frozen, config)
    examples = evaluate.Examples(task, mesh, frozen, config, validation)

    with contextlib.ExitStack() as stack:
        told = stack.enter_context(preemption.Preemption())
        if jax.process_index() == 0:
            stack.enter_context(workdirs.locked(workdir))
        saved = stack.enter_context(checkpoints.Checkpoints(workdir, config.eval.best_metric))
        state, first = _begin(config, task, tx, mesh, data, saved, description, workdir)
        # Not before: what does not fit the run that is there must leave it as it is.
        if jax.process_index() == 0:
            files.keep(workdir, config)
            tals.keep(workdir, config)
            runs.keep_config(workdir, config)
        writer = stack.enter_context(MetricWriter(workdir, first))
        progress = stack.enter_context(Progress(writer, first, config))

        def evaluated(step: int, state: TrainState) -> dict[str, float] | None:
            """Scores of a step that is to be evaluated, unless told to stop meanwhile."""
            if not step or (step % config.eval.every and step != config.num_steps):
                return None
            progress.flush()
            scores = evaluator(state.params, state.state, validation, told.reached)
            if scores:
                progress.show(step, scores, examples(state.params, state.state))
            return scores

        if first and not saved.has_scores(first):
            evaluated(first, state)  # which was told to stop before it was done
            if told.reached():
                raise preemption.Preempted(f'{workdir}: told to stop, saved at step {first}')
        batches = device_batches(data, task, mesh)
        for step in range(first + 1, config.num_steps + 1):
            batch, keys, position = next(batches)
            state, logs = step_once(state, frozen, batch, seed)
            progress.add(step, keys, logs)
            scores = evaluated(step, state)
            stop, last = told.reached(), step == config.num_steps
            if step % config.checkpoint_every == 0 or scores or stop or last:
                progress.flush()
                saved.save(state, position, description, scores)
            if stop and not (last and scores):
                raise preemption.Preempted(f'{workdir}: told to stop, saved at step {step}')
    return state


def _training_data(config: ml_collections.ConfigDict, task: Task) -> grain.DatasetIterator:
    """This host's share of the config's mixture."""
    return pipeline.train_batches(
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


def _begin(config, task, tx, mesh, data, saved, description, workdir) -> tuple[TrainState, int]:
    """The state to go on from, that of the newest good checkpoint or a fresh one; and its step."""
    step = saved.newest_good()
    if step is None:
        state = train_step.initial_state(task, tx, mesh, config.seed)
        params, beside = task.warm_start(state.params, state.state)
        return state.replace(params=params, state=beside), 0
    stored = saved.read_config(step)
    checkpoints.check_same(stored, description, f'{workdir}, step {step}')
    for key in config_utils.differences(stored['config'], description['config']):
        logging.warning('%s has changed since step %d', key, step)
    state, position = saved.restore(step, train_step.abstract_state(task, tx, mesh))
    data.set_state(position)
    print(f'going on from step {step}', flush=True)
    return state, step


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
        if _DISTRIBUTED.value:
            # At its end a process waits for the others, and for those that died as long as that.
            jax.distributed.initialize(
                heartbeat_timeout_seconds=_HEARTBEAT.value,
                shutdown_timeout_seconds=_HEARTBEAT.value,
            )
        compilation.keep(compilation.FOLDER)
        try:
            train(_CONFIG.value, _WORKDIR.value)
        except preemption.Preempted as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(preemption.EXIT_CODE)
        except jax.errors.JaxRuntimeError as error:
            if not preemption.is_loss_of_process(error):
                raise
            print(f'another process was lost: {error}', file=sys.stderr)
            sys.exit(preemption.EXIT_CODE)


if __name__ == '__main__':
    flags.mark_flags_as_required(['config', 'workdir'])
    app.run(main)
