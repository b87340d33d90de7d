"""One look of all plots: colours that the colour-blind tell apart, quiet axes, names with units."""

from typing import NamedTuple

from matplotlib.axes import Axes

# Okabe and Ito, "Color Universal Design", 2008; without their yellow, which is faint on white.
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000')
BLUE, VERMILION, ORANGE, GREY = COLORS[0], COLORS[1], COLORS[4], '#dddddd'
_MARKERS, _LINES = ('o', 's', '^', 'D', 'v', 'P', 'X', '*'), ('-', '--', '-.', ':')
_UNITS = {'mm': 'mm', 'px': 'px', 'deg': 'degrees', 'degrees': 'degrees', 'bits': 'bits'}
_ABBREVIATIONS = {
    'pck 150mm': 'PCK at 150 mm', 'pa mpjpe': 'PA-MPJPE', 'mpjpe': 'MPJPE', 'pve': 'PVE',
    'keypoints2d': '2D error',
}  # fmt: skip


class RowStyle(NamedTuple):
    """A row's colour, and the marker and the line that tell it where colours do not."""

    color: str
    marker: str
    linestyle: str


def row_styles(count: int) -> list[RowStyle]:
    """Styles of some rows: up to 56 differ in colour or marker."""
    return [
        RowStyle(*(each[i % len(each)] for each in (COLORS, _MARKERS, _LINES)))
        for i in range(count)
    ]


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
    return f'{words}, {_UNITS[unit]}' if unit else words
