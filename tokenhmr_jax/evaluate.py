"""Evaluation of a checkpoint, with tables and pictures.

    python -m tokenhmr_jax.evaluate --checkpoint=WORKDIR

Prints tables, and writes them with a picture to `WORKDIR/evaluation`, or to `--out`. The first rows
are means over all splits together, the others over each split.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence

from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict, FrozenConfigDict

from tokenhmr_jax import cli
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.data.workers import Workers, start_workers
from tokenhmr_jax.drawing import draw
from tokenhmr_jax.drawing.markdown import format_number, markdown_table
from tokenhmr_jax.objectives import metrics
from tokenhmr_jax.tasks import Task, make_task
from tokenhmr_jax.training import malloc, sharding
from tokenhmr_jax.training.evaluation import Evaluator, Measured, pooled
from tokenhmr_jax.training.trained_run import Trained, open_prior, open_run, with_prior


def evaluate(
    workdir: str,
    step: str = 'best',
    data_dir: str | None = None,
    splits: Sequence[str] | None = None,
    out: str | None = None,
    convention: str | None = None,
    truth: str | None = None,
    prior: str | None = None,
    prior_steps: int = 1,
) -> dict[str, dict[str, float]]:
    """Evaluates a checkpoint, writes tables and a picture, and returns the tables' rows.

    For the arguments see the flags. Raises FileNotFoundError or ValueError for a checkpoint, step,
    split or body model that is missing, or another body than the one trained with.
    """
    mesh = sharding.make_mesh()
    with malloc.large_arrays_given_back():
        run = open_run(workdir, step, mesh)
    config = run.config
    config.data.data_dir = data_dir or config.data.data_dir
    config.eval.limit = None
    config.eval.batch_size = -(-config.eval.batch_size // mesh.size) * mesh.size
    _choose(config, {'convention': convention, 'truth': truth})
    run = dataclasses.replace(run, task=make_task(config))
    of_prior = open_prior(prior, prior_steps, mesh)
    if of_prior is not None:
        run = with_prior(run, of_prior, prior_steps)
    names = splits or config.data.validation
    records = [pipeline.open_split(config.data.data_dir, name) for name in names]

    with start_workers(config.data.num_workers) as workers:
        evaluator = Evaluator(run.task, mesh, run.frozen, config, workers)
        measured = [evaluator.measure(run.params, run.state, split) for split in records]
        alone = _alone(run, mesh, records, workers)
    counts = [len(split) for split in records]
    stored = pooled(measured, counts).get('stored_truth')
    found = {run.task.report.row: measured} | alone | _baselines(run, records)
    rows = _rows(run.task, found, names, counts)
    folder = epath.Path(out or epath.Path(workdir) / 'evaluation')
    folder.mkdir(parents=True, exist_ok=True)
    about = {'step': run.step, 'splits': list(names), 'convention': config.eval.get('convention')}
    about |= {'truth': _truth(stored), 'stored_truth': stored}
    about |= {'prior': prior, 'prior_steps': prior_steps}
    with cli.whole_file(folder / 'evaluation.json') as file:
        file.write_text(json.dumps(about | {'rows': rows}, indent=1) + '\n')
    title = f'{run.name}, {sum(map(len, records))} records of {", ".join(names)}'
    if stored is not None:
        title += f'\ntruth: {_truth(stored)} (stored 3D keypoints of {stored:.1%} of the records)'
    text = f'{title}\n\n{_tables(rows)}'
    with cli.whole_file(folder / 'evaluation.md') as file:
        file.write_text(text + '\n')
    print(text)
    errors = [each.samples['mpjpe_mm'] for each in measured]
    pictures = run.task.report.pictures(run.params, run.state, run.frozen, records, errors)
    for name, image in pictures.items():
        draw.write_image(folder / name, image)
        print(f'\npicture: {folder / name}')
    return rows


def _choose(config: ConfigDict, chosen: dict[str, str | None]) -> None:
    """Sets what was chosen of `eval`; ValueError for a task without the choice."""
    for name, value in chosen.items():
        if value and name not in config.eval:
            raise ValueError(f'a {config.task} is measured in one way: expected no --{name}')
        if value:
            config.eval[name] = value


def _truth(stored: float | None) -> str | None:
    """Name of the truth, from the share of the records whose stored keypoints it is."""
    return {None: None, 0: 'body', 1: 'stored'}.get(stored, 'stored and body')


def _alone(
    run: Trained, mesh: Mesh, records: Sequence[pipeline.Records], workers: Workers | None
) -> dict[str, list[Measured]]:
    """The metrics of a network of several inputs that is given one of them alone."""
    inputs, rows = run.config.get('model', {}).get('inputs', ()), {}
    inputs = [name for name in inputs if name != 'camera']  # alone it tells nothing of a person
    for name in inputs if len(inputs) > 1 else ():
        config = run.config.copy_and_resolve_references()
        config.eval.inputs = (name,)
        task = dataclasses.replace(run.task, config=FrozenConfigDict(config))
        evaluator = Evaluator(task, mesh, run.frozen, config, workers)
        measured = [evaluator.measure(run.params, run.state, split) for split in records]
        rows[f'{run.task.report.row}, {name} alone'] = measured
    return rows


def _baselines(run: Trained, records: Sequence[pipeline.Records]) -> dict[str, list[Measured]]:
    """The metrics of the baselines; none without the data of the training."""
    data = run.config.data
    try:
        for name in data.mixture:
            pipeline.open_split(data.data_dir, name)
    except (FileNotFoundError, ValueError) as error:
        print(f'no baselines, for want of the training data: {error}\n')
        return {}
    found = run.task.report.baselines(run.frozen, records)
    return {name: [Measured(means, {}) for means in each] for name, each in found.items()}


def _rows(
    task: Task,
    found: Mapping[str, Sequence[Measured]],
    splits: Sequence[str],
    counts: Sequence[int],
) -> dict[str, dict[str, float]]:
    """The tables' rows, from each row's metrics of the splits, and the splits' names and sizes."""
    rows = {title: task.summarize(pooled(each, counts)) for title, each in found.items()}
    if len(splits) > 1:
        for i, split in enumerate(splits):
            for title, each in found.items():
                rows[f'{title}, {split}'] = task.summarize(pooled(each[i : i + 1], [1]))
    return rows


def _tables(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown tables: one of the scores, and one of each GROUP of scores named GROUP/PART."""
    names = dict.fromkeys(name for values in rows.values() for name in values)
    header = [name for name in names if '/' not in name]
    lines = [
        [title, *(format_number(values.get(n)) for n in header)] for title, values in rows.items()
    ]
    tables = [markdown_table(['', *header], lines)]
    for group in dict.fromkeys(name.split('/')[0] for name in names if '/' in name):
        lines = [
            [name.removeprefix(f'{group}/'), *(format_number(v.get(name)) for v in rows.values())]
            for name in names
            if name.startswith(f'{group}/')
        ]
        tables.append(markdown_table([group, *rows], lines))
    return '\n\n'.join(tables)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    checkpoint = flags.path('checkpoint', None, "A run's workdir.", required=True)
    step = flags.string('step', 'best', "Which step: 'best', 'last', or its number.")
    data_dir = flags.path('data_dir', None, 'Prepared data, if not where it was in training.')
    split = flags.strings(
        'split', None, "Prepared split, such as 'amass/SSM'; repeatable. Default: the validation's."
    )
    convention = flags.choice(
        'convention', None, list(metrics.CONVENTIONS), "Definition of errors. Default: the run's."
    )
    truth = flags.choice(
        'truth', None, list(metrics.TRUTHS),
        "Truth of the joints: stored 3D keypoints, or SMPL bodies. Default: the run's; 'published' "
        'is stored ones where the records have them.',
    )  # fmt: skip
    prior = flags.path('prior', None, "A prior's workdir, to refine pose tokens with.")
    prior_steps = flags.integer('prior_steps', 1, 'Parallel steps in which it does; 1 for none.')
    out = flags.path('out', None, 'Folder for tables and pictures. Default: in the workdir.')

    def command():
        rows = evaluate(
            checkpoint.value,
            step.value,
            data_dir.value,
            split.value,
            out.value,
            convention.value,
            truth.value,
            prior.value,
            prior_steps.value,
        )
        folder = out.value or epath.Path(checkpoint.value) / 'evaluation'
        return cli.Done(folder, cli.command_line('report', checkpoint.value), rows)

    cli.run(flags, command)


if __name__ == '__main__':
    main()
