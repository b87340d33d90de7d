"""Training of either stage.

    python -m tokenhmr_jax.train --config=FILE --workdir=DIR

Run again with the same workdir, it goes on exactly where it stopped.

Exit codes: 0, done. 75, stopped by SIGTERM or Ctrl-C and saved, or another process of the run was
lost: run the same command again. 1, failed for the reason printed: it would fail again. Any other,
such as that of a signal: run it again, it goes on from the last checkpoint.
"""

import collections
import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import optax
from absl import logging
from jax.sharding import Mesh

from tokenhmr_jax import cli
from tokenhmr_jax.body import smpl
from tokenhmr_jax.checkpoints.compatibility import check_same_run, describe_run
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.config import config_differences
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.data.workers import WorkerLost, Workers, start_workers
from tokenhmr_jax.tasks import Task, make_task
from tokenhmr_jax.training import history, malloc, optimizer, preemption, sharding, workdir
from tokenhmr_jax.training.evaluation import Evaluator, Examples
from tokenhmr_jax.training.feed import Feed
from tokenhmr_jax.training.kept_files import keep_files
from tokenhmr_jax.training.log import MetricWriter, Progress
from tokenhmr_jax.training.step import abstract_state, initial_state, make_step
from tokenhmr_jax.types import TrainState


class _Setup(NamedTuple):
    """All that a run needs before its state; its checkpoints store `description`."""

    task: Task
    mesh: Mesh
    tx: optax.GradientTransformation
    data: pipeline.Batches
    validation: list[pipeline.Records]
    frozen: Any
    description: dict


def train(config: ml_collections.ConfigDict, folder: str) -> TrainState:
    """Trains until `config.num_steps`, from the newest good checkpoint in `folder` if there is one.

    Raises:
      FileNotFoundError, ValueError: for data, body model or checkpoint that do not fit the config.
      FloatingPointError: after too many batches in a row whose loss or gradient is not finite.
      preemption.Preempted: when stopped, once all steps done are saved.
    """
    workdir.check_workdir(folder)
    with contextlib.ExitStack() as stack:
        workers = stack.enter_context(start_workers(config.data.num_workers))
        setup = _set_up(config, workers)
        task, mesh, frozen = setup.task, setup.mesh, setup.frozen
        step_once = make_step(task, setup.tx, mesh, config.accumulation_steps)
        seed = jax.device_put(config.seed, sharding.replicated(mesh))
        stop = stack.enter_context(preemption.Preemption())
        if jax.process_index() == 0:
            stack.enter_context(workdir.lock_workdir(folder))
        saved = stack.enter_context(Checkpoints(folder, config.eval.best_metric))
        state, first = _begin(config, setup, saved, folder)
        if mesh.devices.flat[0].platform == 'cpu':
            malloc.keep_large_arrays()
        # Not before: what does not fit the run that is there must leave it as it is.
        if jax.process_index() == 0:
            keep_files(folder, config)
            history.write_config(folder, config)
        writer = stack.enter_context(MetricWriter(folder, first))
        feed = stack.enter_context(Feed(device_batches(setup.data, task, mesh), setup.data))
        progress = stack.enter_context(Progress(writer, first, config, feed))
        evaluate = _Evaluation(config, setup, progress, stop, workers)

        if first and not saved.has_scores(first):
            evaluate(first, state)  # which was stopped before it was done
            if stop.requested():
                raise preemption.Preempted(folder, first)
        for step in range(first + 1, config.num_steps + 1):
            batch, keys, position = next(feed)
            state, logs = step_once(state, frozen, batch, seed)
            feed.ran(logs)
            progress.add(step, keys, logs)
            scores = evaluate(step, state)
            stopped, last = stop.requested(), step == config.num_steps
            if step % config.checkpoint_every == 0 or scores or stopped or last:
                progress.flush()
                saved.save(state, position, setup.description, scores)
            if stopped and not (last and scores):
                raise preemption.Preempted(folder, step)
    return state


def _set_up(config: ml_collections.ConfigDict, workers: Workers | None) -> _Setup:
    """Checks a config and reads what it names; errors as `train`."""
    mesh = sharding.make_mesh(fsdp=config.mesh.fsdp)
    sharding.check_batch_size(config.batch_size, mesh, 'batch_size', config.accumulation_steps)
    sharding.check_batch_size(config.eval.batch_size, mesh, 'eval.batch_size')
    task = make_task(config)
    data = _training_data(config, task, workers)
    if not config.data.validation:
        raise ValueError('data.validation is empty: expected prepared splits')
    validation = [pipeline.open_split(config.data.data_dir, n) for n in config.data.validation]
    frozen = jax.device_put(task.frozen(training=True), sharding.replicated(mesh))
    tx = optimizer.make_optimizer(config.optimizer, config.num_steps)
    description = describe_run(config, smpl.topology(frozen.body))
    return _Setup(task, mesh, tx, data, validation, frozen, description)


class _Evaluation:
    """Evaluates every `eval.every` steps and the last one, and shows scores and examples."""

    def __init__(self, config, setup: _Setup, progress: Progress, stop, workers):
        task, mesh, frozen = setup.task, setup.mesh, setup.frozen
        self._every, self._last = config.eval.every, config.num_steps
        self._splits, self._progress, self._stop = setup.validation, progress, stop
        self._evaluator = Evaluator(task, mesh, frozen, config, workers)
        self._examples = Examples(task, mesh, frozen, setup.validation)

    def __call__(self, step: int, state: TrainState) -> dict[str, float] | None:
        """Scores of a step; None if it is not evaluated, or stopped meanwhile."""
        if not step or (step % self._every and step != self._last):
            return None
        self._progress.flush()
        params = state.params, state.state
        scores = self._evaluator(*params, self._splits, self._stop.requested)
        if scores:
            self._progress.show(step, scores, self._examples(*params))
        return scores


def _training_data(
    config: ml_collections.ConfigDict, task: Task, workers: Workers | None
) -> pipeline.Batches:
    """This host's share of the config's mixture; without one, batches of no records."""
    if not config.data.mixture:
        return pipeline.no_records()
    return pipeline.train_batches(
        config.data.data_dir,
        config.data.mixture,
        batch_size=config.batch_size,
        seed=config.seed,
        num_threads=config.data.num_threads,
        workers=workers,
        transform=task.train_transform,
        max_bad_fraction=config.data.max_bad_fraction,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _begin(
    config: ml_collections.ConfigDict, setup: _Setup, saved: Checkpoints, folder: str
) -> tuple[TrainState, int]:
    """The state to go on from, that of the newest good checkpoint or a fresh one; and its step."""
    step = saved.newest_good()
    if step is None:
        state = initial_state(setup.task, setup.tx, setup.mesh, config.seed)
        params, beside = setup.task.warm_start(state.params, state.state)
        return state.replace(params=params, state=beside), 0
    stored = saved.read_config(step)
    check_same_run(stored, setup.description, f'{folder}, step {step}')
    for key in config_differences(stored['config'], setup.description['config']):
        logging.warning('%s has changed since step %d', key, step)
    with malloc.large_arrays_given_back():
        state, position = saved.restore(step, abstract_state(setup.task, setup.tx, setup.mesh))
    setup.data.set_state(position)
    print(f'going on from step {step}', flush=True)
    return state, step


def device_batches(
    data: pipeline.Batches, task: Task, mesh: Mesh, ahead: int = 2
) -> Iterator[tuple[Any, np.ndarray, dict]]:
    """Batches on their devices, some ahead of use; their records' keys; the position after each."""
    waiting = collections.deque()
    for columns in data:
        batch = sharding.put_batch(task.batch(columns), mesh)
        waiting.append((batch, columns['key'], data.get_state()))
        if len(waiting) > ahead:
            yield waiting.popleft()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    config = flags.config()
    folder = flags.path(
        'workdir', None, 'Folder of the run: checkpoints and metrics.', required=True
    )
    distributed = flags.boolean(
        'distributed', False, 'Join the other processes of this run: TPU pods, Slurm, Kubernetes.'
    )
    heartbeat = flags.integer(
        'heartbeat', 100, 'Seconds without a sign of life after which another process is dead.'
    )

    def command() -> cli.Done | int:
        if distributed.value:
            # A process that ends waits as long for others that died.
            jax.distributed.initialize(
                heartbeat_timeout_seconds=heartbeat.value, shutdown_timeout_seconds=heartbeat.value
            )
        cli.keep_compiled()
        try:
            train(config.value, folder.value)
        except preemption.Preempted as stopped:
            print(stopped, file=sys.stderr)
            return preemption.EXIT_CODE
        except WorkerLost as lost:
            print(f'{lost}. Run the same command again to go on', file=sys.stderr)
            return preemption.EXIT_CODE
        except jax.errors.JaxRuntimeError as error:
            if not preemption.is_loss_of_process(error):
                raise
            print(f'another process was lost: {error}', file=sys.stderr)
            return preemption.EXIT_CODE
        if jax.process_index():
            return 0
        evaluate = cli.command_line('evaluate', f'--checkpoint={folder.value}')
        return cli.Done(folder.value, evaluate)

    cli.run(flags, command, on_interrupt='interrupted; run the same command again to go on')


if __name__ == '__main__':
    main()
