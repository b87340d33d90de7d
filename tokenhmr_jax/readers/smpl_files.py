"""Body model files of SMPL and SMPL-H: `.npz`, and the official `.pkl`, never executed."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from tokenhmr_jax import cli
from tokenhmr_jax.body import smpl
from tokenhmr_jax.readers.downloads import check_download
from tokenhmr_jax.readers.pickles import load_pickle


def load_body_file(
    path: str | os.PathLike, extra_regressor_path: str | os.PathLike | None = None
) -> smpl.BodyModel:
    """Loads a body model file of SMPL or SMPL-H, `.npz` or the official `.pkl`.

    Arguments and errors as in `read_body_arrays`; also ValueError for another topology.
    """
    return smpl.body_from_arrays(read_body_arrays(path, extra_regressor_path), name=str(path))


def read_body_arrays(
    path: str | os.PathLike, extra_regressor_path: str | os.PathLike | None = None
) -> dict[str, Any]:
    """Reads the arrays of a body model file, by SMPL's own keys, for `smpl.body_from_arrays`.

    `SMPL_to_J19.pkl` or `.npy`, if given, replaces the file's own `joint_regressor_extra`. Raises
    FileNotFoundError if there is no such file, and ValueError if it is truncated, not a body model,
    or would run code.
    """
    arrays = _read(path)
    if not isinstance(arrays, dict):
        raise ValueError(f'{path}: holds a {type(arrays).__name__}, expected the arrays of a body')
    if extra_regressor_path is not None:
        arrays = {**arrays, 'joint_regressor_extra': _read(extra_regressor_path)}
    return arrays


def write_body_arrays(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
    """Writes the arrays that `smpl.body_from_arrays` needs as an `.npz` file, to the bit."""
    kept = {key: smpl.dense(arrays[key]) for key in smpl.REQUIRED + smpl.OPTIONAL if key in arrays}
    with cli.whole_file(path) as partial, partial.open('wb') as file:
        np.savez(file, **kept)


def _read(path: str | os.PathLike) -> Any:
    path = epath.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; expected a body model (.npz or .pkl)')
    check_download(path)
    if path.suffix == '.pkl':
        return load_pickle(path)
    try:
        with path.open('rb') as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content
            # The official files also hold pickled objects, which are not needed.
            known = [key for key in smpl.REQUIRED + smpl.OPTIONAL if key in content.files]
            return {key: content[key] for key in known}
    except Exception as error:  # zipfile, zlib and NumPy raise anything for a broken file
        raise ValueError(f'{path}: not a readable .npz file ({error})') from error
