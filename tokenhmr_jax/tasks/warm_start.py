"""Weights that the regressor's training starts from: of other runs, or converted ones."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.config import Decides, settings_deciding
from tokenhmr_jax.models import vit
from tokenhmr_jax.models.regressor import FrozenWeights, load_mean
from tokenhmr_jax.released.names import check_shapes

_PARTS = (('backbone',), ('backbone', 'head'))


def start_from_regressor(
    params: dict, state: FrozenWeights, config: ml_collections.FrozenConfigDict
) -> tuple[dict, FrozenWeights]:
    """Fills fresh parameters and frozen weights with the parts that `config.warm_start` names.

    The head brings the mean body that its output is an offset from, and its stage 1.

    Raises:
      FileNotFoundError, ValueError: for a checkpoint that is missing or does not fit the config.
    """
    start = config.warm_start
    where = _check_regressor(config)
    model = _read_model(start.checkpoint, start.step)
    found = {part: model['params'][part] for part in start.parts}
    found['backbone'] = _arrange(found['backbone'], config.model.backbone.scan)
    fresh = {part: params[part] for part in start.parts}
    params = params | _fill(fresh, found, where)
    if 'head' in start.parts:
        given = {name: value for name, value in model['state'].items() if value is not None}
        state = _replace(state, given, where)
    return params, state


def start_from_tokenizer(
    state: FrozenWeights, tokenizer: ml_collections.FrozenConfigDict
) -> FrozenWeights:
    """Fills fresh frozen weights with stage 1's network and codebook.

    Args:
      state: the frozen weights.
      tokenizer: `config.tokenizer`: workdir and step, and the sizes that it must have.

    Raises:
      FileNotFoundError, ValueError: for a tokenizer that is missing or of other sizes.
    """
    where = _check_tokenizer(tokenizer)
    model = _read_model(tokenizer.checkpoint, tokenizer.step)
    found = {'tokenizer': model['params'], 'codes': model['state']['codes']}
    return _replace(state, found, where)


def with_mean_body(state: FrozenWeights, path: str) -> FrozenWeights:
    """Frozen weights with the mean body of `smpl_mean_params.npz`; errors as `load_mean`."""
    return _replace(state, load_mean(path), path)


def needs_tokenizer(config: ml_collections.FrozenConfigDict) -> bool:
    """Whether stage 1 comes from `config.tokenizer`, and not with the head or not at all."""
    start = config.warm_start
    brought = start.checkpoint and 'head' in start.parts and not config.tokenizer.checkpoint
    return config.model.head == 'tokens' and not brought


def check_start(config: ml_collections.ConfigDict) -> None:
    """Checks the checkpoints that a run starts from, by their configs alone.

    Raises:
      FileNotFoundError, ValueError: as `start_from_regressor` and `start_from_tokenizer`.
    """
    if config.warm_start.checkpoint:
        _check_regressor(config)
    if needs_tokenizer(config):
        _check_tokenizer(config.tokenizer)


def _check_regressor(config: ml_collections.ConfigDict) -> str:
    """The name of the checkpoint that training starts from; ValueError if it does not fit."""
    start = config.warm_start
    if tuple(start.parts) not in _PARTS:
        raise ValueError(f'warm_start.parts={start.parts}: expected one of {_PARTS}')
    tasks = ('regressor',) if 'head' in start.parts else ('regressor', 'backbone')
    stored, where = _stored_config(start.checkpoint, start.step, tasks)
    ours = settings_deciding(config.to_dict(), Decides.UNSEEN)
    for name, theirs in settings_deciding(stored, Decides.UNSEEN).items():
        part = 'backbone' if name.startswith('model.backbone.') else 'head'
        if part in start.parts and theirs != ours[name]:
            raise ValueError(f'{where}: its {name} is {theirs!r}, this run has {ours[name]!r}')
    return where


def _check_tokenizer(tokenizer: ml_collections.ConfigDict) -> str:
    """The name of stage 1's checkpoint; ValueError if it does not fit."""
    if not tokenizer.checkpoint:
        raise ValueError('tokenizer.checkpoint is empty: expected the workdir of a tokenizer')
    stored, where = _stored_config(tokenizer.checkpoint, tokenizer.step, ('tokenizer',))
    ours = {'model': tokenizer.model.to_dict(), 'num_codes': tokenizer.num_codes}
    theirs = {'model': stored['model'], 'num_codes': stored['codebook']['num_codes']}
    if ours != theirs:
        raise ValueError(f'{where}: a tokenizer with {theirs}, this run has {ours}')
    return where


def _stored_config(workdir: str, step: str, tasks: tuple[str, ...]) -> tuple[dict, str]:
    """The config and the name of a checkpoint; ValueError if it is of another task."""
    with Checkpoints(workdir, create=False) as saved:
        number = saved.find(step)
        where = f'{workdir}, step {number}'
        stored = saved.read_config(number)['config']
    if stored['task'] not in tasks:
        raise ValueError(
            f'{where}: a checkpoint of a {stored["task"]}, expected {" or ".join(tasks)}'
        )
    return stored, where


def _read_model(workdir: str, step: str) -> dict:
    """Parameters and state of a checkpoint."""
    with Checkpoints(workdir, create=False) as saved:
        return saved.read_model(saved.find(step))


def _arrange(backbone: dict, scan: bool) -> dict:
    """A backbone's parameters with its blocks stacked or apart."""
    if scan == ('blocks' in backbone):
        return backbone
    return vit.stack_blocks(backbone) if scan else vit.unstack_blocks(backbone)


def _replace(state: FrozenWeights, found: dict, where: str) -> FrozenWeights:
    """Frozen weights with some fields replaced."""
    return state.replace(**_fill({name: getattr(state, name) for name in found}, found, where))


def _fill(fresh: Any, found: Any, where: str) -> Any:
    """The arrays found, with the types and shardings of the fresh ones."""
    check_shapes(found, fresh, where)

    def place(ours, theirs):
        return jax.device_put(jnp.asarray(theirs, ours.dtype), ours.sharding)

    return jax.tree.map(place, fresh, found)
