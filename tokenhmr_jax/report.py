"""A table and plots of runs, such as those of a sweep, finished or under way.

    python -m tokenhmr_jax.report runs/tals --baseline=none

Runs whose configs differ in the seed alone are one row: mean and standard deviation over them, and
the difference to the baseline's mean. Of a row with finished runs these alone count; of another
one, all that it has, at the newest step that they share. Scores are those of
`python -m tokenhmr_jax.evaluate`, if all that count are finished and have them, of the same splits;
else those of the evaluations in training. Written are `report.md`, `report.csv` and, with
`pip install -e .[report]`, the plots `curves.png` and `errors.png`.
"""

import collections
import csv
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from tokenhmr_jax import cli
from tokenhmr_jax.config import settings_of_result
from tokenhmr_jax.drawing.tables import format_number, markdown_table
from tokenhmr_jax.training import history
from tokenhmr_jax.training.history import Run

# Of a run's steps, the last share whose training metrics are averaged.
_LATE = 0.25
_BELOW = 'below/'


class Row(NamedTuple):
    """Runs that differ in their seeds alone.

    name: what their folders have in common.
    runs: at least one.
    settings: of the config, where the rows differ.
    """

    name: str
    runs: list[Run]
    settings: dict[str, Any]

    @property
    def counted(self) -> list[Run]:
        """The runs that scores are of: the finished ones, or all where none is."""
        return [run for run in self.runs if run.finished] or self.runs


Values = Callable[[Row], list[dict[str, float]]]


class Score(NamedTuple):
    """Over the runs of a row that have it. std is of the sample, None for a single run."""

    mean: float
    std: float | None


def rows(found: Sequence[Run], root: str | None = None) -> list[Row]:
    """Group runs by their configs, in the order of their first ones.

    Args:
      root: folder that holds all runs, which names are relative to; what they share by default.
    """
    grouped = collections.defaultdict(list)
    for run in found:
        grouped[json.dumps(_outcome(run), sort_keys=True)].append(run)
    groups = list(grouped.values())
    flat = [traverse_util.flatten_dict(_outcome(group[0]), sep='.') for group in groups]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    differing = [key for key in keys if any(f.get(key) != flat[0].get(key) for f in flat)]
    return [
        Row(name, group, {key: settings[key] for key in differing if key in settings})
        for name, group, settings in zip(_names(groups, root), groups, flat, strict=True)
    ]


def _outcome(run: Run) -> dict[str, Any]:
    """What tells a run from those of other rows."""
    return {key: value for key, value in settings_of_result(run.config).items() if key != 'seed'}


def _names(groups: Sequence[Sequence[Run]], root: str | None) -> list[str]:
    """The folder that holds a group's runs and no others; else the names of all of its runs."""
    folders = [[_without_seed(run) for run in group] for group in groups]
    everything = [folder for group in folders for folder in group]
    parents = [os.path.dirname(folder) for folder in everything]
    root = os.path.abspath(root) if root else os.path.commonpath(parents)
    names = []
    for group in folders:
        common = os.path.commonpath(group)
        strangers = [f for f in everything if f not in group and f.startswith(common + os.sep)]
        inside = [os.path.relpath(f, root) for f in group]
        names.append(', '.join(inside) if strangers else os.path.relpath(common, root))
    return [os.path.basename(root) if name == '.' else name for name in names]


def _without_seed(run: Run) -> str:
    """A run's folder, or the one above it where its own is that of a seed in a sweep."""
    folder = run.workdir.absolute()
    return str(folder.parent if folder.name == f'seed={run.config.get("seed")}' else folder)


def scores_of(found: Sequence[Row]) -> tuple[Values, str]:
    """How to get the main scores of a row's runs that count, and in words, which they are."""
    counted = [run for row in found for run in row.counted]
    evaluations = [run.evaluation for run in counted]
    whole = all(run.finished and run.evaluation for run in counted)
    if not whole or len({each.of for each in evaluations}) > 1:
        return newest_scores, 'newest evaluations in training'
    steps = sorted({each.step for each in evaluations})
    text = f'{evaluations[0].of}, `evaluation.json`, steps {", ".join(map(str, steps))}'
    return lambda row: [_main(run.evaluation.scores) for run in row.counted], text


def newest_scores(row: Row) -> list[dict[str, float]]:
    """Main scores at the newest step at which all runs that count, if any, were evaluated."""
    each = [run.evaluations for run in row.counted if run.evaluations]
    shared = set.intersection(*map(set, each)) if each else ()
    return [_main(evaluations[max(shared)]) for evaluations in each] if shared else []


def _main(scores: Mapping[str, float]) -> dict[str, float]:
    """Without those of single joints, GROUP/PART."""
    return {name: value for name, value in scores.items() if '/' not in name}


def below_thresholds(run: Run) -> dict[str, float]:
    """Share of joints below TALS' thresholds, by kind and source, over the last quarter."""
    late = [line for line in run.lines if line['step'] > (1 - _LATE) * run.step]
    names = dict.fromkeys(name for line in late for name in line if name.startswith(_BELOW))
    return {
        name.removeprefix(_BELOW): float(np.mean([line[name] for line in late if name in line]))
        for name in names
    }


def averages(found: Sequence[Row], values: Values) -> list[dict[str, Score]]:
    """Of each row, mean and standard deviation over its runs of each of some values."""
    averaged = []
    for row in found:
        each = values(row)
        names = dict.fromkeys(name for one in each for name in one)
        averaged.append({name: _score([v[name] for v in each if name in v]) for name in names})
    return averaged


def _score(values: Sequence[float]) -> Score:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Score(float(np.mean(values)), std)


class Table(NamedTuple):
    """What is written of rows: a line of texts and one of plain values for each."""

    header: list[str]
    lines: list[list[str]]
    plain: list[dict[str, Any]]


def comparison_table(
    found: Sequence[Row], values: Values, baseline: Row | None, with_settings: bool
) -> Table:
    """A table of some values of runs, by row.

    Args:
      values: of a row's runs, by name.
      baseline: the row that differences are to.
      with_settings: whether the config's differences and the runs' progress stand beside them.
    """
    averaged = averages(found, values)
    names = list(dict.fromkeys(name for each in averaged for name in each))
    settings = list(dict.fromkeys(key for row in found for key in row.settings))
    reference = averaged[found.index(baseline)] if baseline else {}
    header = [*settings, 'runs', 'step'] if with_settings else []
    lines, plain = [], []
    for row, scores in zip(found, averaged, strict=True):
        about = _about(row, settings) if with_settings else {}
        cells = [
            _cell(scores.get(name), None if row is baseline else reference.get(name))
            for name in names
        ]
        lines.append([row.name, *map(str, about.values()), *cells])
        plain.append({'run': row.name} | about | _plain(scores, names, reference))
    return Table(['run', *header, *names], lines, plain)


def _about(row: Row, settings: Sequence[str]) -> dict[str, Any]:
    finished = sum(run.finished for run in row.runs)
    steps = sorted({run.step for run in row.counted})
    return {key: row.settings.get(key, '-') for key in settings} | {
        'runs': str(len(row.runs)) if finished == len(row.runs) else f'{finished}/{len(row.runs)}',
        'step': str(steps[0]) if len(steps) == 1 else f'{steps[0]}-{steps[-1]}',
    }


def _cell(score: Score | None, reference: Score | None) -> str:
    if score is None:
        return '-'
    text = format_number(score.mean)
    if score.std is not None:
        text += f' ± {score.std:.2g}'
    return text if reference is None else f'{text} ({score.mean - reference.mean:+.3g})'


def _plain(scores: dict, names: Sequence[str], reference: dict) -> dict[str, float | None]:
    columns = {}
    for name in names:
        score, base = scores.get(name), reference.get(name)
        columns[name] = score.mean if score else None
        columns[f'{name} std'] = score.std if score else None
        columns[f'{name} difference'] = score.mean - base.mean if score and base else None
    return columns


def find_baseline(found: Sequence[Row], name: str) -> Row:
    """The row of a name, or of a run's folder; ValueError if there is none."""
    for row in found:
        if name == row.name or pathlib.Path(name) in [run.workdir for run in row.runs]:
            return row
    raise ValueError(f'baseline={name!r}: expected one of {[row.name for row in found]}')


def report_runs(
    folders: Sequence[str], out: str, baseline: str | None = None, root: str | None = None
) -> list[Row]:
    """Write tables and plots of the runs in some folders; print the tables.

    Args:
      folders: runs, or folders in which they lie.
      out: folder to write to.
      baseline: name of the row that differences are to, or the folder of one of its runs.
      root: as of `rows`.

    Raises:
      FileNotFoundError, ValueError: for folders without runs, files of runs that cannot be read,
        or a baseline that is not there.
    """
    read = [history.read_run(folder) for folder in history.find_runs(folders)]
    found = rows(read, root)
    base = find_baseline(found, baseline) if baseline else None
    values, source = scores_of(found)
    main = comparison_table(found, values, base, with_settings=True)
    finished = sum(run.finished for run in read)
    text = [
        f'{finished} of {len(read)} runs are finished. Scores: {source}; mean ± standard deviation '
        f'over finished runs, or over all where none is'
        f'{f" (difference to {base.name})" if base else ""}.',
        markdown_table(main.header, main.lines),
    ]
    shares = lambda row: [below_thresholds(run) for run in row.counted]  # noqa: E731
    below = comparison_table(found, shares, None, with_settings=False)
    if len(below.header) > 1:
        text += [
            'Share of joints below their thresholds, over the last quarter of the training so far:',
            markdown_table(below.header, below.lines),
        ]
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'report.md').write_text('\n\n'.join(text) + '\n')
    _write_csv(folder / 'report.csv', main.plain)
    print('\n\n'.join(text))
    _draw(found, values, folder)
    return found


def _write_csv(path: pathlib.Path, lines: Sequence[Mapping[str, Any]]) -> None:
    with open(path, 'w', newline='') as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(lines)


def _draw(found: Sequence[Row], values: Values, folder: pathlib.Path) -> None:
    try:
        from tokenhmr_jax.drawing import report_plots
    except ImportError as error:
        print(f'\nno plots: {error}; pip install -e .[report]')
        return
    for name, figure in report_plots.figures(found, values).items():
        figure.savefig(folder / name, dpi=100)
        print(f'\nplot: {folder / name}')


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments, operands='WORKDIR ...')
    baseline = flags.string('baseline', None, 'Name of a row, or folder of a run.')
    out = flags.string('out', None, 'Folder to write to. Default: report in the first WORKDIR.')

    def command():
        first, *others = flags.operands
        root = None if others or history.has_begun(first) else first
        report_runs(flags.operands, out.value or f'{first}/report', baseline.value, root)

    cli.run(flags, command)


if __name__ == '__main__':
    main()
