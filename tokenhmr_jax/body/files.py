"""The body model that a config names, and the copy of it that lies beside a run's checkpoints.

A run is complete without the file that it was started with: what trained, evaluates and predicts
with a body can do so again wherever the run's folder is.
"""

import ml_collections
from etils import epath

from tokenhmr_jax.body import mannequin, smpl

_COPY = 'body.npz'


def load(config: ml_collections.ConfigDict) -> smpl.BodyModel:
    """The body model of a config: 'mannequin', or the path of an SMPL or SMPL-H file, and where
    the config has one, that of a regressor for the extra keypoints.

    Raises:
      FileNotFoundError, ValueError: as `smpl.load`.
    """
    return smpl.from_arrays(_arrays(config), config.body)


def keep(workdir: str, config: ml_collections.ConfigDict) -> None:
    """Put a copy of a config's body model into a run's folder. The mannequin needs none."""
    if config.body == 'mannequin':
        return
    target = epath.Path(workdir) / _COPY
    partial = target.with_name(f'{_COPY}.partial')
    smpl.write(partial, _arrays(config))
    partial.replace(target)


def use_kept(workdir: str, config: ml_collections.ConfigDict) -> None:
    """Let a config name the copy in a run's folder, if there is one."""
    copy = epath.Path(workdir) / _COPY
    if copy.exists():
        config.body = str(copy)
        if 'extra_regressor' in config:
            config.extra_regressor = ''


def _arrays(config) -> dict:
    if config.body == 'mannequin':
        return mannequin.arrays()
    regressor = config.extra_regressor if 'extra_regressor' in config else ''
    return smpl.read(config.body, regressor or None)
