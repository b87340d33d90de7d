"""Evaluation: metrics over whole splits, and a few examples to watch in training."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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


class Measured(NamedTuple):
    """The metrics of a split.

    means: over its examples.
    samples: of each example, MPJPE and what medians are reported of; none of a baseline.
    """

    means: dict[str, Any]
    samples: dict[str, Float[np.ndarray, ' N']]


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
            kept = {k: v for k, v in values.items() if k in ('mpjpe_mm', *task.medians)}
            sums = {
                k: add(valid.astype(v.dtype), v) for k, v in values.items() if k not in task.medians
            }
            return sums, kept, valid

        self._run = jax.jit(run, out_shardings=sharding.replicated(mesh))

    def __call__(
        self, params: Any, state: Any, splits: Splits, stop: Callable = lambda: False
    ) -> dict[str, float] | None:
        """Scores of all examples of all splits together; None if `stop` says so before the end."""
        measured = []
        for split in splits:
            measured.append(self.measure(params, state, split, stop))
            if measured[-1] is None:
                return None
        counts = [len(each.samples['mpjpe_mm']) for each in measured]
        return self._task.summarize(pooled(measured, counts))

    def measure(
        self, params: Any, state: Any, records: pipeline.Records, stop: Callable = lambda: False
    ) -> Measured | None:
        """The metrics of a split.

        None if `stop`, which is asked before each batch, says so. Errors as `check_poses`.
        """
        totals, samples = None, []
        for columns, valid in self._read(records):
            if stop():
                return None
            check_poses(columns, valid)
            batch = sharding.put_batch((self._task.batch(columns), valid), self._mesh)
            sums, *kept = self._run(params, state, self._frozen, *batch)
            totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
            samples.append(kept)
        totals, samples = jax.device_get((totals, samples))
        rows = [jax.tree.map(lambda x, v=valid: x[v], kept) for kept, valid in samples]
        found = jax.tree.map(lambda *parts: np.concatenate(parts), *rows)
        count = len(found['mpjpe_mm'])
        return Measured({name: total / count for name, total in totals.items()}, found)


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
        self._batch, self._shown = task.report.examples(splits, chosen)
        self._bodies = jax.jit(self._report.bodies, out_shardings=sharding.replicated(mesh))

    def __call__(self, params: Any, state: Any) -> UInt8[np.ndarray, 'H W 3'] | None:
        """The picture, RGB, in the first process; None in others, or if a body is not finite."""
        bodies = self._bodies(params, state, self._frozen, self._batch)  # in all processes
        if jax.process_index() > 0:
            return None
        bodies = jax.device_get(bodies)
        if not all(np.isfinite(x).all() for x in jax.tree.leaves(bodies)):
            return None  # a picture must not end a run
        return self._report.draw(self._frozen, self._shown, bodies)


def pooled(measured: Sequence[Measured], counts: Sequence[int]) -> dict[str, Any]:
    """Means and medians over the examples of several splits, from each split's and its count.

    Examples whose value is not known, NaN, do not count for a median.
    """
    means = {
        name: np.average([each.means[name] for each in measured], axis=0, weights=counts)
        for name in measured[0].means
    }
    samples = jax.tree.map(lambda *parts: np.concatenate(parts), *(m.samples for m in measured))
    known = {name: values[~np.isnan(values)] for name, values in samples.items()}
    medians = {n: float(np.median(v)) for n, v in known.items() if n not in means and len(v)}
    return means | medians
