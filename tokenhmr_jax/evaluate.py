"""Evaluation of a checkpoint: `python -m tokenhmr_jax.evaluate --checkpoint=WORKDIR`.

Prints tables, and writes them with a picture to `WORKDIR/evaluation`, or to `--out`. Of several
splits, the first rows are of all their examples together, the others of each split.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import app, flags
from etils import epath
from jax.sharding import Mesh

from tokenhmr_jax import (
    config_utils,
    draw,
    image_report,
    markdown,
    metrics,
    pose_report,
    sharding,
    trained,
)
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.tasks import TASKS, Task

# Of each task: ROW, its name in the tables; `baselines` and `pictures`, what stands beside it;
# `bodies` and `sheet`, which draw a batch; and EXAMPLES, how many of a batch to watch in training.
REPORTS = {'tokenizer': pose_report, 'regressor': image_report}

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, "A run's workdir.")
_STEP = flags.DEFINE_string('step', 'best', "Which step: 'best', 'last', or its number.")
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Prepared data, if not where it was in training.')
_SPLIT = flags.DEFINE_multi_string(
    'split', None, "Prepared split, such as 'amass/SSM'; repeatable. Default: the validation's."
)
_CONVENTION = flags.DEFINE_enum(
    'convention', None, list(metrics.CONVENTIONS), "What is measured, if not the run's own choice."
)
_OUT = flags.DEFINE_string('out', None, 'Folder for table and picture. Default: in the workdir.')


class Evaluator:
    """Runs a task over prepared splits, every example exactly once.

    Args:
      task: what to evaluate.
      mesh: the devices.
      frozen: of the task, on the mesh.
      config: `eval.batch_size`, `eval.limit` (examples per split, None for all) and
        `data.num_threads`.
    """

    def __init__(self, task: Task, mesh: Mesh, frozen: Any, config: ml_collections.ConfigDict):
        self._task = task
        self._mesh = mesh
        self._frozen = frozen
        self._read = functools.partial(
            pipeline.eval_batches,
            batch_size=config.eval.batch_size,
            limit=config.eval.limit,
            num_threads=config.data.num_threads,
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
        self,
        params: Any,
        state: Any,
        splits: Sequence[pipeline.Records],
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, float] | None:
        """Means over all examples of all the splits together; None if told to `stop` before."""
        measured = []
        for split in splits:
            measured.append(self.measure(params, state, split, stop))
            if measured[-1] is None:
                return None
        means, errors = zip(*measured, strict=True)
        return self._task.summarize(pooled(means, [len(e) for e in errors]))

    def measure(
        self,
        params: Any,
        state: Any,
        records: pipeline.Records,
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
        """The means of the metrics over a split's examples, and the MPJPE (N,), mm, of each.

        None if told to `stop`, which is asked before each batch.

        Raises:
          ValueError: naming a record that has no pose to be judged by.
        """
        totals, errors = None, []
        for columns, valid in self._read(records):
            if stop():
                return None
            _check_poses(columns, valid)
            batch = sharding.put_batch((self._task.batch(columns), valid), self._mesh)
            sums, *error = self._run(params, state, self._frozen, *batch)
            totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
            errors.append(error)
        totals, errors = jax.device_get((totals, errors))
        errors = np.concatenate([error[valid] for error, valid in errors])
        return {name: total / len(errors) for name, total in totals.items()}, errors


def _check_poses(columns: Mapping[str, np.ndarray], valid: np.ndarray) -> None:
    lacking = valid & (columns.get('has_pose', np.ones_like(valid)) == 0)
    if lacking.any():
        key = columns['key'][lacking.argmax()].decode()
        raise ValueError(f'{key}: no pose that is to be trusted, which errors could be measured by')


class Examples:
    """A few examples of the validation, always the same, drawn with what the task makes of them.

    Args:
      task, mesh, frozen: as of an `Evaluator`.
      config: `task`.
      splits: to take them from, evenly spread.
    """

    def __init__(
        self,
        task: Task,
        mesh: Mesh,
        frozen: Any,
        config: ml_collections.ConfigDict,
        splits: Sequence[pipeline.Records],
    ):
        self._report = REPORTS[config.task]
        self._frozen = frozen
        total = sum(map(len, splits))
        chosen = np.linspace(0, total - 1, min(self._report.EXAMPLES, total)).astype(int)
        self._batch = task.batch(pipeline.take(splits, chosen, task.eval_transform))
        bodies = functools.partial(self._report.bodies, task)
        self._bodies = jax.jit(bodies, out_shardings=sharding.replicated(mesh))

    def __call__(self, params: Any, state: Any) -> np.ndarray | None:
        """The picture (H, W, 3) uint8, RGB.

        All processes compute it, and the first one draws it; None for the others, and where a
        body is not finite: a picture must not end a run.
        """
        bodies = self._bodies(params, state, self._frozen, self._batch)
        if jax.process_index() > 0:
            return None
        bodies = jax.device_get(bodies)
        if not all(np.isfinite(x).all() for x in jax.tree.leaves(bodies)):
            return None
        return self._report.sheet(np.asarray(self._frozen.body.faces), self._batch, bodies)


def pooled(means: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> dict[str, Any]:
    """Means over the examples of several splits, from each split's means and count."""
    return {
        name: np.average([each[name] for each in means], axis=0, weights=counts)
        for name in means[0]
    }


def evaluate(
    workdir: str,
    step: str = 'best',
    data_dir: str | None = None,
    splits: Sequence[str] | None = None,
    out: str | None = None,
    convention: str | None = None,
) -> dict[str, dict[str, float]]:
    """Evaluate a run's checkpoint; write tables and a picture. For the arguments see the flags.

    Returns:
      the table: a row's name to its metrics.

    Raises:
      FileNotFoundError, ValueError: for a checkpoint, a step, a split or a body model that is not
        there, or not the one that was trained with.
    """
    mesh = sharding.make_mesh()
    run = trained.load(workdir, step, mesh)
    config, report = run.config, REPORTS[run.config.task]
    config.data.data_dir = data_dir or config.data.data_dir
    config.eval.limit = None
    config.eval.batch_size = -(-config.eval.batch_size // mesh.size) * mesh.size
    if convention:
        run = _measuring(run, convention)
    names = splits or config.data.validation
    records = [pipeline.open_split(config.data.data_dir, name) for name in names]

    evaluator = Evaluator(run.task, mesh, run.frozen, config)
    measured = [evaluator.measure(run.params, run.state, split) for split in records]
    means, errors = zip(*measured, strict=True)
    means = {report.ROW: means} | _baselines(run, records)
    rows = _rows(run.task, means, names, [len(split) for split in records])
    folder = epath.Path(out or epath.Path(workdir) / 'evaluation')
    folder.mkdir(parents=True, exist_ok=True)
    about = {'step': run.step, 'splits': list(names), 'convention': config.eval.get('convention')}
    (folder / 'evaluation.json').write_text(json.dumps(about | {'rows': rows}, indent=1) + '\n')
    title = f'{workdir}, step {run.step}, {sum(map(len, records))} records of {", ".join(names)}'
    text = f'{title}\n\n{_tables(rows)}'
    (folder / 'evaluation.md').write_text(text + '\n')
    print(text)
    for name, image in report.pictures(run, records, errors).items():
        draw.write(folder / name, image)
        print(f'\npicture: {folder / name}')
    return rows


def _measuring(run: trained.Trained, convention: str) -> trained.Trained:
    """The run, measured by another of `metrics.CONVENTIONS`."""
    if 'convention' not in run.config.eval:
        raise ValueError(f'a {run.config.task} is measured in one way: expected no --convention')
    run.config.eval.convention = convention
    return run._replace(task=TASKS[run.config.task].from_config(run.config))


def _baselines(run: trained.Trained, records: Sequence[pipeline.Records]) -> dict[str, list]:
    """What stands beside the means; nothing where the data that was trained on is not at hand."""
    data = run.config.data
    try:
        for name in data.mixture:
            pipeline.open_split(data.data_dir, name)
    except (FileNotFoundError, ValueError) as error:
        print(f'no baselines, for want of the training data: {error}\n')
        return {}
    return REPORTS[run.config.task].baselines(run, records)


def _rows(
    task: Task,
    means: Mapping[str, Sequence[Mapping]],
    splits: Sequence[str],
    counts: Sequence[int],
) -> dict[str, dict[str, float]]:
    """The table's rows, from each row's means on the splits, and the splits' names and sizes."""
    rows = {title: task.summarize(pooled(each, counts)) for title, each in means.items()}
    if len(splits) > 1:
        for i, split in enumerate(splits):
            rows |= {f'{title}, {split}': task.summarize(e[i]) for title, e in means.items()}
    return rows


def _tables(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown. What is named GROUP/PART, the error of one joint, is in a table of its own."""
    names = dict.fromkeys(name for values in rows.values() for name in values)
    header = [name for name in names if '/' not in name]
    lines = [
        [title, *(markdown.number(values.get(n)) for n in header)] for title, values in rows.items()
    ]
    tables = [markdown.table(['', *header], lines)]
    for group in dict.fromkeys(name.split('/')[0] for name in names if '/' in name):
        parts = [name for name in names if name.startswith(f'{group}/')]
        lines = [
            [part.removeprefix(f'{group}/'), *(markdown.number(v.get(part)) for v in rows.values())]
            for part in parts
        ]
        tables.append(markdown.table([group, *rows], lines))
    return '\n\n'.join(tables)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f'unknown arguments: {argv[1:]}')
    with config_utils.clear_errors():
        evaluate(
            _CHECKPOINT.value,
            _STEP.value,
            _DATA_DIR.value,
            _SPLIT.value,
            _OUT.value,
            _CONVENTION.value,
        )


if __name__ == '__main__':
    flags.mark_flag_as_required('checkpoint')
    app.run(main)
