"""Plots of runs: scores against steps, and errors in 3D against errors in 2D.

Data frames have a line for each value, with the columns row, run, metric, value; those of curves
also have the column step.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tokenhmr_jax.drawing import plot_theme

_ERRORS = ['keypoints2d_px', 'mpjpe_mm']
_COLUMNS = 3
_WIDTH, _HEIGHT = 4.6, 3.4  # inches of a plot
_MARKS = 10  # of a curve


def figures(rows: Sequence[str], values: pd.DataFrame, curves: pd.DataFrame) -> dict[str, Figure]:
    """Figures by file name, of final scores and of those of the evaluations in training."""
    made = {}
    if len(curves):
        made['curves.png'] = plot_curves(rows, curves)
    if set(_ERRORS) <= set(values['metric']):
        made['errors.png'] = plot_errors(rows, values, curves)
    return made


def plot_curves(rows: Sequence[str], curves: pd.DataFrame) -> Figure:
    """Scores in training against steps: each run as a thin line, a row's mean as a thick one."""
    metrics = curves['metric'].unique()
    columns = min(_COLUMNS, len(metrics))
    lines = -(-len(metrics) // columns)
    figure = Figure((_WIDTH * columns, _HEIGHT * lines), layout='constrained')
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axis, metric in zip(axes, metrics, strict=False):
        for row, style in zip(rows, plot_theme.row_styles(len(rows)), strict=True):
            runs = _curves_of(curves, row, metric)
            axis.plot(runs, color=style.color, alpha=0.3, linewidth=0.8)
            mean = runs.dropna().mean(axis=1)
            marks = {'markersize': 5, 'markevery': max(len(mean) // _MARKS, 1)}
            axis.plot(mean, label=row, **style._asdict(), **marks)
        axis.set(xlabel='training step', ylabel=plot_theme.metric_label(metric))
        plot_theme.calm_axes(axis)
    for axis in axes[len(metrics) :]:
        axis.set_axis_off()
    _add_legend(figure, len(rows))
    return figure


def plot_errors(rows: Sequence[str], values: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Error in 3D against error in 2D: small marks are runs, a thin line is the mean in training.

    A large mark with bars is a row's mean and standard deviation. Errors not finite are left out.
    """
    figure = Figure((1.7 * _WIDTH, 1.7 * _HEIGHT), layout='constrained')
    axis, ends = figure.subplots(), []
    for row, (color, marker, line) in zip(rows, plot_theme.row_styles(len(rows)), strict=True):
        found = values[values['row'] == row].pivot(index='run', columns='metric', values='value')
        points = found.reindex(columns=_ERRORS).to_numpy()
        points = points[np.isfinite(points).all(axis=1)]
        if not len(points):
            continue
        ends.append(points)
        means = [_curves_of(curves, row, metric).dropna().mean(axis=1) for metric in _ERRORS]
        way = pd.concat(means, axis=1).dropna().to_numpy()
        axis.plot(*way.T, line, color=color, alpha=0.35, linewidth=0.8)
        axis.scatter(*points.T, s=14, color=color, marker=marker)
        spread = points.std(axis=0, ddof=1) if len(points) > 1 else (0, 0)
        axis.errorbar(
            *points.mean(axis=0)[:, None], xerr=spread[0], yerr=spread[1], fmt=marker, markersize=8,
            capsize=3, color=color, label=row,
        )  # fmt: skip
    if ends:
        _frame_ends(axis, np.concatenate(ends))
    axis.set(**dict(zip(('xlabel', 'ylabel'), map(plot_theme.metric_label, _ERRORS), strict=True)))
    plot_theme.calm_axes(axis)
    _add_legend(figure, len(rows))
    return figure


def _curves_of(curves: pd.DataFrame, row: str, metric: str) -> pd.DataFrame:
    """A metric of a row's runs: steps down, runs across."""
    chosen = curves[(curves['row'] == row) & (curves['metric'] == metric)]
    return chosen.pivot(index='step', columns='run', values='value')


def _frame_ends(axis: Axes, points: np.ndarray) -> None:
    """Shows the final scores with some room around: those of the first steps are far away."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.maximum(0.6 * (high - low), 0.02 * high + 1e-9)
    axis.set_xlim(low[0] - room[0], high[0] + room[0])
    axis.set_ylim(low[1] - room[1], high[1] + room[1])


def _add_legend(figure: Figure, count: int) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=min(count, 4), fontsize=8)
