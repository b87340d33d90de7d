"""Packages of the extra `report`, and the figures that they draw."""

import importlib.util
import os
from typing import Any

from tokenhmr_jax import cli


def need_packages(*names: str) -> None:
    """Raises ImportError for packages that are not installed, saying how to install them."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'{", ".join(missing)}: not installed; pip install "tokenhmr_jax[report]"'
        )


def write_figure(path: str | os.PathLike, figure: Any) -> None:
    """Writes a figure of Matplotlib as PNG."""
    with cli.whole_file(path) as partial, partial.open('wb') as file:
        figure.savefig(file, dpi=100)
