"""Plots of the studies: errors of the assumed camera, and the pose space of a tokenizer."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tokenhmr_jax.drawing import plot_theme
from tokenhmr_jax.drawing.plot_theme import BLUE, GREY, ORANGE, VERMILION

_COLUMNS = 3

Points = Float[np.ndarray, 'N 2']


def plot_camera_curve(
    distances: Sequence[float], values: Float[np.ndarray, 'D N'], threshold: float
) -> Figure:
    """2D errors of N bodies against distance: mean, 10th to 90th percentile, and a threshold."""
    figure = Figure((9, 5.4), layout='constrained')
    axis = figure.subplots()
    low, high = np.percentile(values, (10, 90), axis=1)
    mean = values.mean(axis=1)
    axis.fill_between(distances, low, high, color=BLUE, alpha=0.2, label='10% to 90% of bodies')
    axis.plot(distances, mean, 'o-', color=BLUE, label='mean')
    for x, y in zip(distances, mean, strict=True):
        axis.annotate(f'{y:.3f}', (x, y), (4, 6), textcoords='offset points', fontsize=9)
    label = f'mean threshold of TALS, {threshold:.4f}'
    axis.axhline(threshold, color=VERMILION, label=label)
    axis.set_title('2D error of true bodies under the best f = 5000 px camera')
    axis.set(xlabel='true distance, m', ylabel='mean |dx|, |dy| of 44 keypoints, crop sides')
    axis.set(xlim=(0, 1.07 * max(distances)), ylim=(0, None))
    plot_theme.calm_axes(axis)
    axis.legend()
    return figure


def plot_pose_space(
    places: Mapping[str, tuple[Points, Points]],
    titles: Mapping[str, str],
    degrees: Sequence[float],
    noise: Mapping[str, Mapping[str, Sequence[float]]],
) -> Figure:
    """Places of poses and reconstructions by name, and errors (mm) of poses with noise.

    `noise` has the errors at each standard deviation in `degrees`, by name and kind of error.
    """
    count = len(places) + 1
    lines = -(-count // _COLUMNS)
    figure = Figure((5 * min(count, _COLUMNS), 4.6 * lines), layout='constrained')
    axes = list(figure.subplots(lines, min(count, _COLUMNS), squeeze=False).flat)
    every = np.concatenate([each for pair in places.values() for each in pair])
    for axis, (name, pair) in zip(axes, places.items(), strict=False):
        _scatter_poses(axis, every, *pair)
        axis.set_title(titles[name])
    _plot_noise(axes[len(places)], degrees, noise)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure


def _scatter_poses(axis: Axes, every: np.ndarray, true: Points, found: Points) -> None:
    axis.scatter(*every.T, s=3, color=GREY, linewidths=0)
    axis.plot(*np.stack([true, found]).transpose(2, 0, 1), color=GREY, linewidth=0.5, zorder=1)
    axis.scatter(*true.T, s=16, facecolors='none', edgecolors=ORANGE, label='true', zorder=2)
    axis.scatter(*found.T, s=3, color=BLUE, label='reconstructed', zorder=3)
    axis.legend(loc='lower right', fontsize=8)
    axis.set(xticks=(), yticks=())


def _plot_noise(axis: Axes, degrees: Sequence[float], noise: Mapping[str, Mapping]) -> None:
    styles = plot_theme.row_styles(len(noise))
    for (color, marker, _), (name, errors) in zip(styles, noise.items(), strict=True):
        for (kind, values), line in zip(errors.items(), (':', '-', '--'), strict=True):
            look = {'color': color, 'marker': marker, 'markersize': 4, 'linestyle': line}
            axis.plot(degrees, values, label=f'{name}, {kind}', **look)
    axis.set(xlabel='noise on each joint, degrees', ylabel='MPJPE, mm', title='poses with noise')
    plot_theme.calm_axes(axis)
    axis.legend(fontsize=7)
