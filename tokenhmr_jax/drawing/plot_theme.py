"""One look of all plots: colours that the colour-blind tell apart, quiet axes, names with units."""

import matplotlib
from matplotlib.axes import Axes

# Okabe and Ito, "Color Universal Design", 2008; without their yellow, which is faint on white.
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
BLUE, VERMILION, ORANGE, GREY = COLORS[0], COLORS[1], COLORS[4], '#dddddd'
_UNITS = ('mm', 'px', 'degrees', 'bits')
_ABBREVIATIONS = {'pa mpjpe': 'PA-MPJPE', 'mpjpe': 'MPJPE', 'pve': 'PVE', 'keypoints2d': '2D error'}


def row_colors(count: int) -> list:
    """One colour for each of some rows; of more than there are, a scale."""
    if count <= len(COLORS):
        return list(COLORS[:count])
    return [matplotlib.colormaps['cividis'](i / (count - 1)) for i in range(count)]


def calm_axes(axis: Axes) -> None:
    """A faint grid behind the data, and no frame above it."""
    axis.grid(color=GREY, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[['top', 'right']].set_visible(False)


def metric_label(metric: str) -> str:
    """A metric's name for readers, with its unit: 'MPJPE, mm' of 'mpjpe_mm'."""
    name, _, unit = metric.rpartition('_')
    if unit not in _UNITS:
        name, unit = metric, ''
    words = name.replace('_', ' ')
    for long, short in _ABBREVIATIONS.items():
        words = words.replace(long, short)
    return f'{words}, {unit}' if unit else words
