"""Compatibility of a run with the checkpoint that it goes on from."""

import ml_collections

from tokenhmr_jax.config import Decides, config_to_json, settings_deciding


def describe_run(config: ml_collections.ConfigDict, topology: dict) -> dict:
    """Description stored in a checkpoint: the config, and the topology of the body."""
    return {'config': config_to_json(config), 'body_topology': topology}


def check_same_run(stored: dict, current: dict, where: str) -> None:
    """Raises ValueError unless a run may go on from a checkpoint, by their `describe_run`.

    The architecture, the optimizer's arrays and the body's topology must agree.
    `where` names the checkpoint in errors.
    """
    configs = current['config'], stored['config']
    ours, theirs = (settings_deciding(config, Decides.ARCHITECTURE) for config in configs)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise ValueError(
                f'{where} is a checkpoint of another architecture: its {name} is '
                f'{theirs.get(name)}, this run has {ours.get(name)}'
            )
    ours, theirs = (settings_deciding(config, Decides.OPTIMIZER) for config in configs)
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
