"""Packages of the extra `report`."""

import importlib.util


def need_packages(*names: str) -> None:
    """Raises ImportError for packages that are not installed, saying how to install them."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f'{", ".join(missing)}: not installed; pip install -e .[report]')
