"""The body models that a config names."""

from collections.abc import Sequence

import ml_collections
import numpy as np
from etils import epath

from tokenhmr_jax.body import smpl
from tokenhmr_jax.mannequin.body import mannequin_arrays
from tokenhmr_jax.readers import smpl_files

# Settings that name the models of men and women, in the order of a record's `gender`, 1 and 2.
GENDERED = ('body_male', 'body_female')


def load_body(config: ml_collections.ConfigDict, name: str = 'body') -> smpl.BodyModel:
    """The body model of a setting: 'mannequin', or the path of an SMPL or SMPL-H file.

    Its regressor of the extra keypoints comes from `config.extra_regressor`, where that is set.
    Raises FileNotFoundError and ValueError as `smpl_files.load_body_file`.
    """
    return smpl.body_from_arrays(body_arrays(config, name), config[name])


def body_arrays(config: ml_collections.ConfigDict, name: str) -> dict:
    """Arrays of a setting's body model, for `smpl.body_from_arrays`; errors as `load_body`."""
    if config[name] == 'mannequin':
        return mannequin_arrays()
    regressor = config.extra_regressor if 'extra_regressor' in config else ''
    return smpl_files.read_body_arrays(config[name], regressor or None)


def check_body_files(config: ml_collections.ConfigDict) -> None:
    """Raises FileNotFoundError, with the setting's name, for a missing file of the neutral body."""
    if config.body == 'mannequin':
        return
    for name in ('body', 'extra_regressor'):
        if name in config and config[name] and not epath.Path(config[name]).exists():
            raise FileNotFoundError(f'{name}={config[name]!r}: no such file')


def has_gendered(config: ml_collections.ConfigDict) -> bool:
    """Whether the files of both genders' models are there."""
    paths = _gendered(config).values()
    there = [path == 'mannequin' or epath.Path(path).is_file() for path in paths]
    return len(there) == len(GENDERED) and all(there)


def load_gendered(config: ml_collections.ConfigDict) -> tuple[smpl.BodyModel, ...]:
    """SMPL's models of men and of women, which benchmarks' labels are of; none unless both exist.

    Raises ValueError for a file that is not such a model.
    """
    return tuple(load_body(config, name) for name in GENDERED) if has_gendered(config) else ()


def check_gendered(
    config: ml_collections.ConfigDict, genders: Sequence | np.ndarray, keys: Sequence | np.ndarray
) -> None:
    """Raises ValueError for the first record whose gender, not 0, has no body model.

    `keys` name the records, as text or bytes.
    """
    genders = np.asarray(genders)
    if not genders.any() or has_gendered(config):
        return
    key = keys[int(genders.argmax())]
    key = key.decode() if isinstance(key, bytes) else key
    raise ValueError(
        f"{key}: its labels are of SMPL's model of a gender: expected the files of both at "
        f'config.{" and config.".join(GENDERED)}, got {_gendered(config)}'
    )


def _gendered(config) -> dict[str, str]:
    return {name: config[name] for name in GENDERED if name in config}
