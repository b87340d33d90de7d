"""The body models that a config names, and the copies of them that lie beside a run's checkpoints.

A run is complete without the files that it was started with: what it has trained evaluates and
predicts wherever its folder is.
"""

from collections.abc import Iterable

import ml_collections
import numpy as np
from etils import epath

from tokenhmr_jax.body import mannequin, smpl

# Settings that name the models of men and women, in the order of a record's `gender`, 1 and 2.
_GENDERED = ('body_male', 'body_female')


def load(config: ml_collections.ConfigDict, name: str = 'body') -> smpl.BodyModel:
    """The body model that the setting `name` of a config names: 'mannequin', or the path of an SMPL
    or SMPL-H file, and where the config has one, that of a regressor for the extra keypoints.

    Raises:
      FileNotFoundError, ValueError: as `smpl.load`.
    """
    return smpl.from_arrays(_arrays(config, name), config[name])


def has_gendered(config: ml_collections.ConfigDict) -> bool:
    """Whether there are files of both genders' models."""
    paths = _gendered(config).values()
    there = [path == 'mannequin' or epath.Path(path).is_file() for path in paths]
    return len(there) == len(_GENDERED) and all(there)


def load_gendered(config: ml_collections.ConfigDict) -> tuple[smpl.BodyModel, ...]:
    """SMPL's models of men and of women; nothing unless there are files for both.

    Bodies are predicted with the neutral model. These two are what the labels of some data, the
    benchmarks above all, are of: `check_gendered`.

    Raises:
      ValueError: for a file that is not such a model.
    """
    return tuple(load(config, name) for name in _GENDERED) if has_gendered(config) else ()


def check_gendered(
    config: ml_collections.ConfigDict, genders: Iterable[float], keys: Iterable[str | bytes]
) -> None:
    """Raise ValueError if labels are of a model that is not there, naming the first of them.

    Args:
      config: of `load_gendered`.
      genders: of records; 0 is neutral.
      keys: of the same records.
    """
    genders = np.asarray(genders)
    if not genders.any() or has_gendered(config):
        return
    key = list(keys)[int(genders.argmax())]
    key = key.decode() if isinstance(key, bytes) else key
    raise ValueError(
        f"{key}: its labels are of SMPL's model of a gender: expected the files of both at "
        f'config.{" and config.".join(_GENDERED)}, got {_gendered(config)}'
    )


def keep(workdir: str, config: ml_collections.ConfigDict) -> None:
    """Put copies of a config's body models into a run's folder. The mannequin needs none."""
    for name in ('body', *(_GENDERED if has_gendered(config) else ())):
        if config[name] == 'mannequin':
            continue
        target = _copy(workdir, name)
        partial = target.with_name(f'{target.name}.partial')
        smpl.write(partial, _arrays(config, name))
        partial.replace(target)


def use_kept(workdir: str, config: ml_collections.ConfigDict) -> None:
    """Let a config name the copies in a run's folder, if there are any."""
    for name in ('body', *_GENDERED):
        copy = _copy(workdir, name)
        if name in config and copy.exists():
            config[name] = str(copy)
            if 'extra_regressor' in config:
                config.extra_regressor = ''


def _copy(workdir: str, name: str) -> epath.Path:
    return epath.Path(workdir) / f'{name}.npz'


def _gendered(config) -> dict[str, str]:
    return {name: config[name] for name in _GENDERED if name in config}


def _arrays(config, name) -> dict:
    if config[name] == 'mannequin':
        return mannequin.arrays()
    regressor = config.extra_regressor if 'extra_regressor' in config else ''
    return smpl.read(config[name], regressor or None)
