"""Weights to share: one file of safetensors, with the config in its metadata, here or on a hub.

FOLDER/
  model.safetensors   parameters and state, by names such as params/head/betas/bias
  body.npz, ...       copies that the run's folder has
  README.md           the model card
"""

import json
import os
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from tokenhmr_jax.cli import whole_file
from tokenhmr_jax.config import settings_of_today

NAME = 'model.safetensors'
HUB = 'hf://'
_KEY = 'tokenhmr_jax'  # of the metadata
_ADVICE = 'pip install "tokenhmr_jax[hub]"'


class Shared:
    """The content of a folder, read as of `Checkpoints`; errors as of `read_shared`."""

    def __init__(self, folder: str | os.PathLike):
        self._path = pathlib.Path(folder, NAME)
        self._content = read_shared(self._path)

    def __enter__(self) -> 'Shared':
        return self

    def __exit__(self, *unused) -> None:
        pass

    def find(self, step: str) -> int:
        """The number of the only step. Raises ValueError for another one."""
        if step not in ('best', 'last', str(self._content.step)):
            raise ValueError(f"step {step!r}: expected 'best', 'last' or {self._content.step}")
        return self._content.step

    def read_config(self, step: int) -> dict:
        """The `describe_run` that the weights were written with."""
        return self._content.description

    def restore_model(self, step: int, params: Any, state: Any) -> tuple[Any, Any]:
        """Parameters and state, with the shardings of the shapes given; errors as of `fill`."""
        like = {'params': params, 'state': state}
        model = fill(like, self._content.arrays, self._path)
        placed = jax.tree.map(lambda x, at: jax.device_put(x, at.sharding), model, like)
        return placed['params'], placed['state']


class Content(NamedTuple):
    """A file's step, description as of `describe_run`, and arrays by name."""

    step: int
    description: dict
    arrays: dict[str, np.ndarray]


def is_shared(folder: str | os.PathLike) -> bool:
    """Whether a folder holds shared weights."""
    return '://' not in str(folder) and pathlib.Path(folder, NAME).exists()


def write_shared(folder: str | os.PathLike, step: int, description: dict, model: dict) -> None:
    """Writes parameters and state, {'params', 'state'}, of plain containers.

    Raises ImportError without the package safetensors.
    """
    numpy_files = need_safetensors()
    arrays = {name: np.asarray(leaf, order='C') for name, leaf in _named(model)}
    about = json.dumps({'step': step, 'description': description})
    with whole_file(pathlib.Path(folder, NAME)) as partial:
        partial.write_bytes(numpy_files.save(arrays, metadata={_KEY: about}))


def read_shared(path: str | os.PathLike) -> Content:
    """Reads a file of `write_shared`.

    Raises FileNotFoundError for a missing file, ValueError for another one, and ImportError without
    the package safetensors.
    """
    need_safetensors()
    from safetensors import SafetensorError, safe_open

    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        with safe_open(path, framework='numpy') as file:
            about = json.loads((file.metadata() or {}).get(_KEY, 'null'))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f'{path}: not a file of safetensors ({error})') from error
    if about is None:
        raise ValueError(
            f'{path}: its metadata have no config: expected a file of `export --format=safetensors`'
        )
    description = about['description']
    config = settings_of_today(description['config'])
    return Content(about['step'], description | {'config': config}, arrays)


def fill(like: Any, arrays: dict[str, np.ndarray], where: str | os.PathLike) -> Any:
    """A tree like `like`, of shapes and types, with the arrays of the same names.

    Raises ValueError for other names or shapes.
    """
    names = [name for name, _ in _named(like)]
    if set(names) != arrays.keys():
        odd = sorted(set(names) ^ arrays.keys())
        raise ValueError(f"{where}: its arrays are not those of its config's network: {odd[:4]}")
    leaves, structure = jax.tree.flatten(like)
    for name, leaf in zip(names, leaves, strict=True):
        if arrays[name].shape != leaf.shape:
            raise ValueError(f'{where}: {name} is {arrays[name].shape}, expected {leaf.shape}')
    return structure.unflatten(
        arrays[name].astype(leaf.dtype) for name, leaf in zip(names, leaves, strict=True)
    )


def fetched(repository: str) -> str:
    """The folder of a model of Hugging Face's hub, 'hf://OWNER/NAME', downloaded once.

    Raises ImportError without the package huggingface_hub, ValueError for another name, and
    FileNotFoundError if there is none, or no network.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise ImportError(f"{repository}: needs Hugging Face's hub: {_ADVICE}") from None
    name = repository.removeprefix(HUB)
    try:
        return huggingface_hub.snapshot_download(name)
    except errors.HFValidationError as error:
        raise ValueError(f'{repository}: expected {HUB}OWNER/NAME') from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(f'{repository}: not to be had: {error}') from error


def need_safetensors() -> Any:
    """The module safetensors.numpy. Raises ImportError without it."""
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(f'files of safetensors need their package: {_ADVICE}') from None
    return safetensors.numpy


def _named(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a tree, and their paths as names."""
    paths, _ = jax.tree.flatten_with_path(tree)
    part = lambda key: str(getattr(key, 'name', getattr(key, 'key', getattr(key, 'idx', ''))))  # noqa: E731
    return [('/'.join(map(part, path)), leaf) for path, leaf in paths]
