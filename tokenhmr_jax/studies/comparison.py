"""Comparison of runs: one row per config, means over seeds, differences to a baseline."""

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from tokenhmr_jax import cli
from tokenhmr_jax.config import settings_of_result
from tokenhmr_jax.drawing import report_plots
from tokenhmr_jax.drawing.markdown import format_number, markdown_table
from tokenhmr_jax.studies import extras
from tokenhmr_jax.training import history
from tokenhmr_jax.training.history import Run

_BELOW = 'below/'


class Row(NamedTuple):
    """Runs that differ in their seeds alone."""

    name: str
    runs: list[Run]
    settings: dict[str, Any]  # in which the rows differ

    @property
    def counted(self) -> list[Run]:
        """The finished runs, or all if none is finished."""
        return [run for run in self.runs if run.finished] or self.runs


def group_runs(found: Sequence[Run], root: str | os.PathLike | None = None) -> list[Row]:
    """Groups runs by their configs; row names are relative to `root`, their common folder.

    A row's settings are those that differ; among runs of both stages, those that both stages have.
    """
    groups: dict[str, list[Run]] = {}
    for run in found:
        groups.setdefault(json.dumps(_settings(run), sort_keys=True), []).append(run)
    settings = [_settings(runs[0]) for runs in groups.values()]
    keys = dict.fromkeys(key for each in settings for key in each)
    if len({each.get('task') for each in settings}) > 1:
        keys = [key for key in keys if all(key in each for each in settings)]
    differing = [key for key in keys if any(s.get(key) != settings[0].get(key) for s in settings)]
    names = _names(list(groups.values()), root)
    return [
        Row(name, runs, {key: each[key] for key in differing if key in each})
        for name, runs, each in zip(names, groups.values(), settings, strict=True)
    ]


def _settings(run: Run) -> dict[str, Any]:
    """The settings that decide on a run's result, without the seed."""
    return {key: value for key, value in settings_of_result(run.config).items() if key != 'seed'}


def _names(groups: Sequence[Sequence[Run]], root: str | os.PathLike | None) -> list[str]:
    """The folder that holds a group's runs and no others; else all of its runs' folders."""
    parents = [[_without_seed(run) for run in group] for group in groups]
    every = [parent for group in parents for parent in group]
    root = os.path.abspath(root or os.path.commonpath(list(map(os.path.dirname, every))))
    names = []
    for group, mine in zip(groups, parents, strict=True):
        common = os.path.commonpath(mine)
        inside = [parent for parent in every if f'{parent}/'.startswith(f'{common}/')]
        folders = [common] if len(inside) == len(mine) else [run.workdir for run in group]
        name = ', '.join(os.path.relpath(folder, root) for folder in folders)
        names.append(os.path.basename(root) if name == '.' else name)
    return names


def _without_seed(run: Run) -> str:
    """A run's folder, or its parent if the run is one seed of a sweep."""
    folder = run.workdir.absolute()
    return str(folder.parent if folder.name == f'seed={run.config.get("seed")}' else folder)


def collect(
    rows: Sequence[Row], measure: Callable[[Row], Sequence[Mapping[str, float]]]
) -> pd.DataFrame:
    """A line for each value that `measure` returns for a row's runs: row, run, metric, value."""
    lines = [
        (row.name, run, metric, value)
        for row in rows
        for run, values in enumerate(measure(row))
        for metric, value in values.items()
    ]
    return pd.DataFrame(lines, columns=['row', 'run', 'metric', 'value']).astype({'value': float})


def main_scores(rows: Sequence[Row]) -> tuple[pd.DataFrame, str]:
    """Scores of the counted runs, as `collect` gives them, and their source in words."""
    counted = [run for row in rows for run in row.counted]
    evaluations = [run.evaluation for run in counted]
    whole = all(run.finished and run.evaluation for run in counted)
    if not whole or len({each.of for each in evaluations}) > 1:
        return collect(rows, newest_scores), 'newest evaluations in training'
    steps = sorted({each.step for each in evaluations})
    source = f'{evaluations[0].of}, `evaluation.json`, steps {", ".join(map(str, steps))}'
    return collect(rows, lambda row: [_main(run.evaluation.scores) for run in row.counted]), source


def scores_by_row(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Mean scores of each row, by name."""
    found = {row.name: {} for row in rows}
    for (row, metric), mean in summarize(main_scores(rows)[0])['mean'].items():
        found[row][metric] = mean
    return found


def newest_scores(row: Row) -> list[dict[str, float]]:
    """Scores at the newest step at which all counted runs with any evaluation were evaluated."""
    each = [run.evaluations for run in row.counted if run.evaluations]
    shared = set.intersection(*map(set, each)) if each else ()
    return [_main(evaluations[max(shared)]) for evaluations in each] if shared else []


def _main(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores without those of single joints, GROUP/PART."""
    return {name: value for name, value in scores.items() if '/' not in name}


def training_curves(rows: Sequence[Row]) -> pd.DataFrame:
    """Scores of all evaluations in training: row, run, step, metric, value."""
    lines = [
        (row.name, run, step, metric, value)
        for row in rows
        for run, each in enumerate(row.runs)
        for step, scores in each.evaluations.items()
        for metric, value in _main(scores).items()
    ]
    return pd.DataFrame(lines, columns=['row', 'run', 'step', 'metric', 'value'])


def below_thresholds(run: Run) -> dict[str, float]:
    """Share of joints below the thresholds of TALS, by kind and source, over the last quarter."""
    late = [line for line in run.lines if line['step'] > 0.75 * run.step]
    below = pd.DataFrame(late).filter(regex=f'^{_BELOW}').mean()
    return {name.removeprefix(_BELOW): float(value) for name, value in below.items()}


def summarize(values: pd.DataFrame, baseline: str | None = None) -> pd.DataFrame:
    """Count, mean, standard deviation and difference to the baseline's mean, by row and metric."""
    grouped = values.groupby(['row', 'metric'], sort=False)['value']
    # A run that diverged shows.
    summary = grouped.agg(
        count='size', mean=lambda v: v.mean(skipna=False), std=lambda v: v.std(skipna=False)
    )
    row, metric = (summary.index.get_level_values(level) for level in ('row', 'metric'))
    reference = summary.loc[row == baseline, 'mean'].droplevel('row')
    return summary.assign(
        difference=summary['mean'] - metric.map(reference), compared=metric.isin(reference.index)
    )


def comparison_table(
    rows: Sequence[Row], summary: pd.DataFrame, baseline: str | None = None, about: bool = True
) -> str:
    """The summary in Markdown; `about` adds settings, number of runs and step."""
    metrics = summary.index.unique('metric')
    cells = {at: _cell(score, at[0] != baseline) for at, score in summary.iterrows()}
    first = _about(rows) if about else [{'run': row.name} for row in rows]
    lines = [
        [*map(str, each.values()), *(cells.get((each['run'], m), '-') for m in metrics)]
        for each in first
    ]
    return markdown_table([*first[0], *metrics], lines)


def _about(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Name, settings, number of runs and step of each row."""
    keys, columns = dict.fromkeys(key for row in rows for key in row.settings), []
    for row in rows:
        finished, count = sum(run.finished for run in row.runs), len(row.runs)
        steps = sorted({run.step for run in row.counted})
        columns.append({'run': row.name} | {key: row.settings.get(key, '-') for key in keys})
        columns[-1]['runs'] = str(count) if finished == count else f'{finished}/{count}'
        columns[-1]['step'] = str(steps[0]) if len(steps) == 1 else f'{steps[0]}-{steps[-1]}'
    return columns


def _cell(score: pd.Series, with_difference: bool) -> str:
    text = format_number(score['mean'])
    if score['count'] > 1:
        text += f' ± {score["std"]:.2g}'
    return f'{text} ({score["difference"]:+.3g})' if with_difference and score['compared'] else text


def wide_table(rows: Sequence[Row], summary: pd.DataFrame) -> pd.DataFrame:
    """A line for each row; mean, standard deviation and difference of each metric as columns."""
    table = pd.DataFrame(_about(rows)).set_index('run')
    for metric in summary.index.unique('metric'):
        scores = summary.xs(metric, level='metric')
        # As text, the mean of a run that diverged is nan; a missing one is empty.
        table[metric] = scores['mean'].astype(str)
        table[f'{metric} std'], table[f'{metric} difference'] = scores['std'], scores['difference']
    return table


def find_baseline(rows: Sequence[Row], name: str) -> str:
    """The name of the row that has a name, or a run of that folder; ValueError for none."""
    for row in rows:
        if name == row.name or pathlib.Path(name) in [run.workdir for run in row.runs]:
            return row.name
    raise ValueError(f'baseline={name!r}: expected one of {[row.name for row in rows]}')


def report_runs(
    folders: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    baseline: str | None = None,
    root: str | os.PathLike | None = None,
) -> list[Row]:
    """Writes tables and plots of the runs in some folders to `out`; prints the tables.

    Raises FileNotFoundError or ValueError for folders without runs, unreadable files, or a baseline
    that names neither a row nor a run's folder.
    """
    found = [history.read_run(folder) for folder in history.find_runs(folders)]
    rows = group_runs(found, root)
    base = find_baseline(rows, baseline) if baseline else None
    values, source = main_scores(rows)
    summary = summarize(values, base)
    finished = sum(run.finished for run in found)
    compared = f' (difference to {base})' if base else ''
    text = f'{finished} of {len(found)} runs are finished. Scores: {source}; mean ± standard '
    text += f'deviation over finished runs, or over all if none is{compared}.\n\n'
    text += comparison_table(rows, summary, base) + '\n'
    below = collect(rows, lambda row: [below_thresholds(run) for run in row.counted])
    if len(below):
        text += '\nShare of joints below their thresholds, over the last quarter of the training '
        text += f'so far:\n\n{comparison_table(rows, summarize(below), about=False)}\n'
    print(text, end='')
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with cli.whole_file(folder / 'report.md') as file:
        file.write_text(text)
    with cli.whole_file(folder / 'report.csv') as file:
        wide_table(rows, summary).to_csv(file)
    names, curves = [row.name for row in rows], training_curves(rows)
    for name, figure in report_plots.figures(names, values, curves).items():
        extras.write_figure(folder / name, figure)
        print(f'\nplot: {folder / name}')
    return rows
