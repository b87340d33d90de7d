"""Plots of runs by row: scores against steps, and errors in 3D against those in 2D."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tokenhmr_jax.training.history import Run

if TYPE_CHECKING:
    from tokenhmr_jax.report import Row, Values

_ERROR_2D, _ERROR_3D = 'keypoints2d_px', 'mpjpe_mm'
_COLUMNS = 3
_WIDTH, _HEIGHT = 4.6, 3.4  # inches of a plot


def figures(rows: Sequence['Row'], values: 'Values') -> dict[str, Figure]:
    """What there is to see of runs, by file name.

    Args:
      rows: of `report.rows`.
      values: main scores of a row's runs.
    """
    made = {}
    names = list(dict.fromkeys(name for row in rows for scores in values(row) for name in scores))
    if any(run.evaluations for row in rows for run in row.runs):
        made['curves.png'] = plot_curves(rows, names)
    if {_ERROR_2D, _ERROR_3D} <= set(names):
        made['errors.png'] = plot_errors(rows, values)
    return made


def plot_curves(rows: Sequence['Row'], names: Sequence[str]) -> Figure:
    """Scores of the evaluations in training against steps: each run thin, a row's mean thick."""
    columns = min(_COLUMNS, len(names))
    lines = -(-len(names) // columns)
    figure = Figure((_WIDTH * columns, _HEIGHT * lines), layout='constrained')
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axis, name in zip(axes, names, strict=False):
        for row, color in zip(rows, _colors(len(rows)), strict=True):
            for run in row.runs:
                axis.plot(*_curve(run, name), color=color, alpha=0.3, linewidth=0.8)
            axis.plot(*_mean_curve(row, name), color=color, label=row.name)
        axis.set(xlabel='step', ylabel=name)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    _legend(figure, len(rows))
    return figure


def plot_errors(rows: Sequence['Row'], values: 'Values') -> Figure:
    """Error in 3D against error in 2D.

    Of each row: its runs as small dots, their mean as a large one with standard deviations, and
    the way of the mean in training as a thin line. Runs whose errors are not finite are left out.
    """
    figure = Figure((1.7 * _WIDTH, 1.7 * _HEIGHT), layout='constrained')
    axis = figure.subplots()
    ends = []
    for row, color in zip(rows, _colors(len(rows)), strict=True):
        found = [v for v in values(row) if {_ERROR_2D, _ERROR_3D} <= v.keys()]
        points = np.array([[v[_ERROR_2D], v[_ERROR_3D]] for v in found]).reshape(-1, 2)
        points = points[np.isfinite(points).all(axis=1)]
        if not len(points):
            continue
        ends.append(points)
        way = [_mean_curve(row, name)[1] for name in (_ERROR_2D, _ERROR_3D)]
        axis.plot(*way, color=color, alpha=0.35, linewidth=0.8)
        axis.scatter(*points.T, s=10, color=color)
        spread = points.std(axis=0, ddof=1) if len(points) > 1 else (0, 0)
        axis.errorbar(
            *points.mean(axis=0)[:, None], xerr=spread[0], yerr=spread[1], fmt='o', markersize=8,
            capsize=3, color=color, label=row.name,
        )  # fmt: skip
    if ends:
        _frame(axis, np.concatenate(ends))
    axis.set(xlabel=f'2D error, {_ERROR_2D}', ylabel=f'3D error, {_ERROR_3D}')
    _legend(figure, len(rows))
    return figure


def _frame(axis, points: np.ndarray) -> None:
    """Show the ends of all ways with some room around: their beginnings are far away."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.maximum(0.6 * (high - low), 0.02 * high + 1e-9)
    axis.set_xlim(low[0] - room[0], high[0] + room[0])
    axis.set_ylim(low[1] - room[1], high[1] + room[1])


def _legend(figure: Figure, count: int) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=min(count, 4), fontsize=8)


def _colors(count: int) -> list:
    """One for each row: ten that are easy to tell apart, or a scale."""
    if count <= 10:
        return [matplotlib.colormaps['tab10'](i) for i in range(count)]
    return [matplotlib.colormaps['viridis'](i / (count - 1)) for i in range(count)]


def _curve(run: Run, name: str) -> tuple[list[int], list[float]]:
    """Steps, and scores at them."""
    found = {step: scores[name] for step, scores in run.evaluations.items() if name in scores}
    return list(found), list(found.values())


def _mean_curve(row: 'Row', name: str) -> tuple[list[int], list[float]]:
    """Steps that all runs of a row with any score have reached, and the mean scores at them."""
    curves = [dict(zip(*_curve(run, name), strict=True)) for run in row.runs]
    curves = [curve for curve in curves if curve]
    steps = [s for s in (curves[0] if curves else ()) if all(s in curve for curve in curves)]
    return steps, [float(np.mean([curve[s] for curve in curves])) for s in steps]
