"""MPJPE of trained regressors by the person's distance from the camera.

    python -m tokenhmr_jax.studies.by_distance runs/miniature/camera --out=by_distance.md

Takes folders of runs, such as a sweep's. Measures each run on the splits that it was validated on,
and prints a table: runs that differ in the seed alone are one column of means.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tokenhmr_jax import cli
from tokenhmr_jax.data import pipeline
from tokenhmr_jax.drawing.markdown import format_number, markdown_table
from tokenhmr_jax.inference.fitting.label_changes import by_distance
from tokenhmr_jax.studies import extras
from tokenhmr_jax.training import history, sharding
from tokenhmr_jax.training.evaluation import Evaluator
from tokenhmr_jax.training.trained_run import open_run


def measure(workdir: str) -> tuple[Float[np.ndarray, ' N'], Float[np.ndarray, ' N']]:
    """Distances, metres along the camera's axis, and MPJPE, mm, of the people of a run's splits.

    Raises as `open_run` and `open_split`; ValueError for people whose distance is unknown.
    """
    mesh = sharding.make_mesh()
    run = open_run(workdir, mesh=mesh, kind='regressor')
    config = run.config
    config.eval.limit = None
    evaluator = Evaluator(run.task, mesh, run.frozen, config)
    distance, errors = [], []
    for name in config.data.validation:
        split = pipeline.open_split(config.data.data_dir, name)
        distance.append([record['transl'][2] for record in split.read(range(len(split)))])
        errors.append(evaluator.measure(run.params, run.state, split).samples['mpjpe_mm'])
        if min(distance[-1]) <= 0:
            raise ValueError(f'{name}: people whose distance is unknown; expected their transl')
    return np.concatenate(distance), np.concatenate(errors)


def table(distance: Float[np.ndarray, ' N'], columns: dict[str, Float[np.ndarray, ' N']]) -> str:
    """Means of errors within ranges of distance, in Markdown."""
    lines = [
        [title, str(inside.sum()), *(format_number(e[inside].mean()) for e in columns.values())]
        for title, inside in by_distance(distance)
    ]
    return markdown_table(['metres', 'persons', *columns], lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments, operands='WORKDIR ...')
    out = flags.path('out', None, 'Markdown file to write.')

    def command():
        extras.need_packages('pandas')
        from tokenhmr_jax.studies import comparison

        root = flags.operands[0] if len(flags.operands) == 1 else None
        runs = [history.read_run(folder) for folder in history.find_runs(flags.operands)]
        columns, distance = {}, None
        rows = comparison.group_runs(runs, root)
        with cli.Progress('measuring', 'run', len(runs)) as bar:
            for row in rows:
                found = [measure(str(run.workdir)) for run in bar.over(row.runs)]
                distance = found[0][0]
                columns[row.name] = np.mean([errors for _, errors in found], axis=0)
        text = f'MPJPE, mm\n\n{table(distance, columns)}\n'
        print(text, end='')
        if out.value:
            with cli.whole_file(pathlib.Path(out.value)) as path:
                path.write_text(text)
        report = cli.command_line('report', *flags.operands)
        return cli.Done(out.value or '', report, {'distance_m': distance, 'mpjpe_mm': columns})

    cli.run(flags, command)


if __name__ == '__main__':
    main()
