"""Evaluation of a checkpoint: `python -m tokenhmr_jax.evaluate --checkpoint=WORKDIR`.

Prints a table, and writes it with a picture to `WORKDIR/evaluation`, or to `--out`.
"""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import ml_collections
from absl import app, flags, logging
from jax.sharding import Mesh

from tokenhmr_jax import checkpoints, config_utils, image_report, pose_report, sharding
from tokenhmr_jax.body import smpl
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.tasks import TASKS, Task

REPORTS = {'tokenizer': pose_report, 'regressor': image_report}

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, "A run's workdir.")
_STEP = flags.DEFINE_string('step', 'best', "Which step: 'best', 'last', or its number.")
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Prepared data, if not where it was in training.')
_SPLIT = flags.DEFINE_multi_string(
    'split', None, "Prepared split, such as 'amass/SSM'; repeatable. Default: the validation's."
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

        def sums(params, state, frozen, batch, valid):
            values = task.metrics(task.predict(params, state, frozen, batch), frozen, batch)
            values['count'] = jnp.ones(len(valid))
            return {k: jnp.tensordot(valid.astype(v.dtype), v, axes=1) for k, v in values.items()}

        self._sums = jax.jit(sums, out_shardings=sharding.replicated(mesh))

    def __call__(
        self, params: Any, state: Any, splits: Sequence[pipeline.Records]
    ) -> dict[str, float]:
        """Means over all examples of all the splits together."""
        totals = None
        for records in splits:
            for columns, valid in self._read(records):
                batch = sharding.put_batch((self._task.batch(columns), valid), self._mesh)
                sums = self._sums(params, state, self._frozen, *batch)
                totals = sums if totals is None else jax.tree.map(jnp.add, totals, sums)
        totals = jax.device_get(totals)
        count = totals.pop('count')
        return self._task.summarize({name: total / count for name, total in totals.items()})


def evaluate(
    workdir: str,
    step: str = 'best',
    data_dir: str | None = None,
    splits: Sequence[str] | None = None,
    out: str | None = None,
) -> dict[str, dict[str, float]]:
    """Evaluate a run's checkpoint; write a table and a picture. For the arguments see the flags.

    Returns:
      the table: a row's name to its metrics.

    Raises:
      FileNotFoundError, ValueError: for a checkpoint, a step, a split or a body model that is not
        there, or not the one that was trained with.
    """
    mesh = sharding.make_mesh()
    with checkpoints.Checkpoints(workdir, create=False) as saved:
        number = saved.find(step)
        stored = saved.read_config(number)
        config = config_utils.from_json(stored['config'])
        task = TASKS[config.task].from_config(config)
        frozen = jax.device_put(task.frozen(), sharding.replicated(mesh))
        current = checkpoints.describe(config, smpl.topology(frozen.body))
        checkpoints.check_same(stored, current, f'{workdir}, step {number}')
        like = _placed(jax.eval_shape(task.init, jax.random.key(0)), mesh)
        params, state = saved.restore_model(number, *like)

    config.data.data_dir = data_dir or config.data.data_dir
    config.eval.limit = None
    names = splits or config.data.validation
    records = [pipeline.open_split(config.data.data_dir, name) for name in names]
    report = REPORTS[config.task]
    rows = {report.ROW: Evaluator(task, mesh, frozen, config)(params, state, records)}
    more, pictures = report.report(config, task, params, state, frozen, records)
    rows |= more

    count = sum(map(len, records))
    title = f'{workdir}, step {number}, {count} records of {", ".join(names)}'
    table = f'{title}\n\n{_table(rows)}'
    print(table)
    folder = pathlib.Path(out or pathlib.Path(workdir) / 'evaluation')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'evaluation.md').write_text(table + '\n')
    (folder / 'evaluation.json').write_text(json.dumps(rows, indent=1) + '\n')
    for name, image in pictures.items():
        cv2.imwrite(str(folder / name), image[..., ::-1])
        print(f'\npicture: {folder / name}')
    return rows


def _placed(shapes: Any, mesh: Mesh) -> Any:
    """Shapes with a place: on every device of the mesh."""
    everywhere = sharding.replicated(mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes
    )


def _table(rows: dict[str, dict[str, float]]) -> str:
    """A Markdown table; a dash where a row has no such number."""
    names = list(next(iter(rows.values())))
    lines = ['| | ' + ' | '.join(names) + ' |', '|---|' + '---:|' * len(names)]
    for title, values in rows.items():
        cells = [f'{values[n]:.4g}' if n in values else '-' for n in names]
        lines.append(f'| {title} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f'unknown arguments: {argv[1:]}')
    logging.set_verbosity(logging.WARNING)  # Orbax reports every file it reads
    with config_utils.clear_errors():
        evaluate(_CHECKPOINT.value, _STEP.value, _DATA_DIR.value, _SPLIT.value, _OUT.value)


if __name__ == '__main__':
    flags.mark_flag_as_required('checkpoint')
    app.run(main)
