"""Which run may go on from a checkpoint."""

from typing import Any

import ml_collections

from tokenhmr_jax.config import Decides, config_to_json, settings_deciding


def describe_run(config: ml_collections.ConfigDict, topology: dict) -> dict:
    """What a checkpoint says of itself: the config, and the topology of the body."""
    return {'config': config_to_json(config), 'body_topology': topology}


def check_same_run(stored: dict, current: dict, where: str) -> None:
    """Raises ValueError unless a run may go on from a checkpoint.

    The architecture, what the optimizer holds, and the body's topology must agree.

    Args:
      stored: `describe_run` of the checkpoint.
      current: that of the run.
      where: name of the checkpoint, for errors.
    """
    ours, theirs = _settings(current, Decides.ARCHITECTURE), _settings(stored, Decides.ARCHITECTURE)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise ValueError(
                f'{where} is a checkpoint of another architecture: its {name} is '
                f'{theirs.get(name)}, this run has {ours.get(name)}'
            )
    ours, theirs = _settings(current, Decides.OPTIMIZER), _settings(stored, Decides.OPTIMIZER)
    for name in sorted(ours.keys() | theirs.keys()):
        if bool(ours.get(name)) != bool(theirs.get(name)):
            raise ValueError(
                f'{where} holds the state of another optimizer: its {name} is {theirs.get(name)}, '
                f'this run has {ours.get(name)}; expected both or neither to be set'
            )
    if stored['body_topology'] != current['body_topology']:
        raise ValueError(
            f'{where} was trained with a body of another topology: {stored["body_topology"]}, '
            f'this run has {current["body_topology"]}'
        )


def _settings(description: dict, decides: Decides) -> dict[str, Any]:
    return settings_deciding(description['config'], decides)
