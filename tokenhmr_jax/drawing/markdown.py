"""Markdown tables."""

from collections.abc import Sequence

import numpy as np


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    rows = [header, ['---', *['---:'] * (len(header) - 1)], *lines]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in rows)


def rows_by_name(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """The cells of each line of a table, by the names of their columns."""
    return [dict(zip(header, line, strict=True)) for line in lines]


def format_number(value: float | np.floating | None) -> str:
    """Four digits; '-' for None."""
    return '-' if value is None else f'{value:.4g}'
