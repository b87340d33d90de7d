"""Evaluation: metrics over whole splits, and a few examples to watch in training."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, UInt8

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.data.workers import Workers
from tokenhmr_jax.tasks.task import Splits, Task
from tokenhmr_jax.training import sharding


class Evaluator:
    """Runs a task over prepared splits, every example exactly once.

    `frozen` is the task's, on the mesh. The config gives `eval.batch_size`, `data.num_threads` and
    `eval.limit`, the number of examples per split, None for all. `workers` make the batches, or
    threads.
    """

    def __init__(
        self,
        task: Task,
        mesh: Mesh,
        frozen: Any,
        config: ml_collections.ConfigDict,
        workers: Workers | None = None,
    ):
        self._task, self._mesh, self._frozen = task, mesh, frozen
        self._read = functools.partial(
            pipeline.eval_batches,
            batch_size=config.eval.batch_size,
            limit=config.eval.limit,
            num_threads=config.data.num_threads,
            workers=workers,
            transform=task.eval_transform,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

        def run(params, state, frozen, batch, valid):
            values = task.metrics(task.predict(params, state, frozen, batch), frozen, batch)
            add = functools.partial(jnp.tensordot, axes=1, precision=jax.lax.Precision.HIGHEST)
            sums = {k: add(valid.astype(v.dtype), v) for k, v in values.items()}
            return sums, values['mpjpe_mm'], valid

        self._run = jax.jit(run, out_shardings=sharding.replicated(mesh))

    def __call__(
        self, params: Any, state: Any, splits: Splits, stop: Callable = lambda: False
    ) -> dict[str, float] | None:
        """Means over all examples of all splits together; None if `stop` says so before the end."""
        measured = []
        for split in splits:
            measured.append(self.measure(params, state, split, stop))
            if measured[-1] is None:
                return None
        means, errors = zip(*measured, strict=True)
        return self._task.summarize(pooled(means, [len(e) for e in errors]))

    def measure(
        self, params: Any, state: Any, records: pipeline.Records, stop: Callable = lambda: False
    ) -> tuple[dict[str, Any], Float[np.ndarray, ' N']] | None:
        """Means of the metrics over a split's examples, and the MPJPE of each, mm.

        None if `stop`, which is asked before each batch, says so. Errors as `check_poses`.
        """
        totals, errors = None, []
        for columns, valid in self._read(records):
            if stop():
                return None
            check_poses(columns, valid)
            batch = sharding.put_batch((self._task.batch(columns), valid), self._mesh)
            sums, *error = self._run(params, state, self._frozen, *batch)
            totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
            errors.append(error)
        totals, errors = jax.device_get((totals, errors))
        errors = np.concatenate([error[valid] for error, valid in errors])
        return {name: total / len(errors) for name, total in totals.items()}, errors


def check_poses(columns: Mapping[str, np.ndarray], valid: Bool[np.ndarray, ' B']) -> None:
    """Raises ValueError for a valid record without a trusted pose to compare with."""
    lacking = valid & (columns.get('has_pose', np.ones_like(valid)) == 0)
    if lacking.any():
        key = columns['key'][lacking.argmax()].decode()
        raise ValueError(f'{key}: no trusted pose, which errors could be measured against')


class Examples:
    """Examples, evenly spread over the splits and always the same, drawn with predictions."""

    def __init__(self, task: Task, mesh: Mesh, frozen: Any, splits: Splits):
        self._report, self._frozen = task.report, frozen
        total = sum(map(len, splits))
        chosen = np.linspace(0, total - 1, min(self._report.num_examples, total)).astype(int)
        self._batch = task.batch(pipeline.take(splits, chosen, task.eval_transform))
        self._bodies = jax.jit(self._report.bodies, out_shardings=sharding.replicated(mesh))

    def __call__(self, params: Any, state: Any) -> UInt8[np.ndarray, 'H W 3'] | None:
        """The picture, RGB, in the first process; None in others, or if a body is not finite."""
        bodies = self._bodies(params, state, self._frozen, self._batch)  # in all processes
        if jax.process_index() > 0:
            return None
        bodies = jax.device_get(bodies)
        if not all(np.isfinite(x).all() for x in jax.tree.leaves(bodies)):
            return None  # a picture must not end a run
        return self._report.draw(self._frozen, self._batch, bodies)


def pooled(means: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> dict[str, Any]:
    """Means over the examples of several splits, from each split's means and count."""
    return {
        name: np.average([each[name] for each in means], axis=0, weights=counts)
        for name in means[0]
    }
