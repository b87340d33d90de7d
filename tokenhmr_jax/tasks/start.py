"""What the regressor's training begins with: weights of other runs, or converted ones."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.config import lookup_setting
from tokenhmr_jax.models import vit
from tokenhmr_jax.models.regressor import FrozenWeights, load_mean
from tokenhmr_jax.released.names import check_shapes

_PARTS = (('backbone',), ('backbone', 'head'))
# What shapes do not tell, and which part it belongs to.
_UNSEEN = {
    'model.backbone.heads': 'backbone',
    'model.decoder.heads': 'head',
    'model.head': 'head',
    'model.rotation_6d': 'head',
    'tokenizer.model.dilation_rate': 'head',
}


def start_from_regressor(
    params: dict, state: FrozenWeights, config: ml_collections.FrozenConfigDict
) -> tuple[dict, FrozenWeights]:
    """Fresh parameters and frozen weights with parts of those of `config.warm_start`.

    The head brings the mean body that its output is an offset from, and its stage 1.

    Raises:
      FileNotFoundError, ValueError: if there is no such checkpoint, or it does not fit the config.
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
    """Frozen weights with stage 1's network and codebook.

    Args:
      state: fresh.
      tokenizer: `checkpoint`, the workdir of a tokenizer; `step`; and the sizes that it must have.

    Raises:
      FileNotFoundError, ValueError: if there is no such tokenizer, or of other sizes.
    """
    where = _check_tokenizer(tokenizer)
    model = _read_model(tokenizer.checkpoint, tokenizer.step)
    found = {'tokenizer': model['params'], 'codes': model['state']['codes']}
    return _replace(state, found, where)


def with_mean_body(state: FrozenWeights, path: str) -> FrozenWeights:
    """Frozen weights with the mean body of `smpl_mean_params.npz`; errors as `load_mean`."""
    return _replace(state, load_mean(path), path)


def needs_tokenizer(config: ml_collections.FrozenConfigDict) -> bool:
    """Whether stage 1 comes from `config.tokenizer`: some head needs it, and none brings it."""
    start = config.warm_start
    brought = start.checkpoint and 'head' in start.parts and not config.tokenizer.checkpoint
    return config.model.head == 'tokens' and not brought


def check_start(config: ml_collections.ConfigDict) -> None:
    """Look for what a run is to begin with, as far as a look at configs tells.

    Raises:
      FileNotFoundError, ValueError: as `start_from_regressor` and `start_from_tokenizer`.
    """
    if config.warm_start.checkpoint:
        _check_regressor(config)
    if needs_tokenizer(config):
        _check_tokenizer(config.tokenizer)


def _check_regressor(config: ml_collections.ConfigDict) -> str:
    """Name of the checkpoint that training starts from; ValueError if it does not fit."""
    start = config.warm_start
    if tuple(start.parts) not in _PARTS:
        raise ValueError(f'warm_start.parts={start.parts}: expected one of {_PARTS}')
    tasks = ('regressor',) if 'head' in start.parts else ('regressor', 'backbone')
    stored, where = _stored_config(start.checkpoint, start.step, tasks)
    for name, part in _UNSEEN.items():
        ours, theirs = (lookup_setting(each, name) for each in (config.to_dict(), stored))
        if part in start.parts and theirs is not None and ours != theirs:
            raise ValueError(f'{where}: its {name} is {theirs!r}, this run has {ours!r}')
    return where


def _check_tokenizer(tokenizer: ml_collections.ConfigDict) -> str:
    """Name of stage 1's checkpoint; ValueError if it does not fit."""
    if not tokenizer.checkpoint:
        raise ValueError('tokenizer.checkpoint is empty: expected the workdir of a tokenizer')
    stored, where = _stored_config(tokenizer.checkpoint, tokenizer.step, ('tokenizer',))
    ours = {'model': tokenizer.model.to_dict(), 'num_codes': tokenizer.num_codes}
    theirs = {'model': stored['model'], 'num_codes': stored['codebook']['num_codes']}
    if ours != theirs:
        raise ValueError(f'{where}: a tokenizer with {theirs}, this run has {ours}')
    return where


def _stored_config(workdir: str, step: str, tasks: tuple[str, ...]) -> tuple[dict, str]:
    """Config of a checkpoint of one of these tasks, and its name."""
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
    """The arrays found, of the type and at the place of the fresh ones."""
    check_shapes(found, fresh, where)

    def place(ours, theirs):
        return jax.device_put(jnp.asarray(theirs, ours.dtype), ours.sharding)

    return jax.tree.map(place, fresh, found)
