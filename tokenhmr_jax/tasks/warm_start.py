"""Weights that stage 2's and the prior's training starts from: of other runs, or converted."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from etils import epath

from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.config import Decides, config_to_json, settings_deciding
from tokenhmr_jax.models import vit
from tokenhmr_jax.models.regressor import FrozenWeights, load_mean
from tokenhmr_jax.released.names import check_shapes

# Mean bodies that need no file.
MEANS = ('rest', 'none')
_PARTS = (('backbone',), ('backbone', 'head'))


def warm_start(
    params: dict, state: FrozenWeights, config: ml_collections.ConfigDict
) -> tuple[dict, FrozenWeights]:
    """Fills fresh parameters and frozen weights with those that a config names.

    A head brings its mean body and its stage 1.
    Raises FileNotFoundError or ValueError for a file or checkpoint that is missing or does not fit.
    """
    mean, tokenizer = config.model.body_mean, config.tokenizer
    if _needs_mean(config):
        state = replace_weights(state, load_mean(mean), mean)
    if config.warm_start.checkpoint:
        params, state = _start_from_regressor(params, state, config)
    if _needs_tokenizer(config):
        state = replace_weights(state, *read_tokenizer(tokenizer))
    return params, state


def check_start(config: ml_collections.ConfigDict) -> None:
    """Checks the files that `warm_start` reads, checkpoints by their configs; errors as there."""
    mean = config.model.body_mean
    if _needs_mean(config) and not epath.Path(mean).exists():
        raise FileNotFoundError(
            f"model.body_mean={mean!r}: no such file; expected smpl_mean_params.npz, or 'rest' for "
            'a mean body that needs no file'
        )
    if config.warm_start.checkpoint:
        _check_regressor(config)
    if _needs_tokenizer(config):
        check_tokenizer(config.tokenizer)


def read_tokenizer(tokenizer: ml_collections.ConfigDict) -> tuple[dict, str]:
    """Stage 1's weights and codes, {'tokenizer', 'codes'}, and the name of its checkpoint.

    Errors as `check_tokenizer`.
    """
    where = check_tokenizer(tokenizer)
    model = _read_model(tokenizer.checkpoint, tokenizer.step)
    return {'tokenizer': model['params'], 'codes': model['state']['codes']}, where


def _start_from_regressor(params, state: FrozenWeights, config) -> tuple[dict, FrozenWeights]:
    start = config.warm_start
    where = _check_regressor(config)
    model = _read_model(start.checkpoint, start.step)
    found = {part: model['params'][part] for part in start.parts}
    stacked = 'blocks' in found['backbone']
    if stacked != config.model.backbone.scan:
        arrange = vit.unstack_blocks if stacked else vit.stack_blocks
        found['backbone'] = arrange(found['backbone'])
    params = params | _fill({part: params[part] for part in start.parts}, found, where)
    if 'head' in start.parts:
        given = {name: value for name, value in model['state'].items() if value is not None}
        state = replace_weights(state, given, where)
    return params, state


def _needs_mean(config: ml_collections.ConfigDict) -> bool:
    """Whether the mean body comes from a file, and not with the head."""
    return config.model.body_mean not in MEANS and not _starts_with_head(config)


def _needs_tokenizer(config: ml_collections.ConfigDict) -> bool:
    """Whether stage 1 comes from `config.tokenizer`, and not with the head or not at all."""
    brought = _starts_with_head(config) and not config.tokenizer.checkpoint
    return config.model.head != 'direct' and not brought


def _starts_with_head(config: ml_collections.ConfigDict) -> bool:
    return bool(config.warm_start.checkpoint) and 'head' in config.warm_start.parts


def _check_regressor(config: ml_collections.ConfigDict) -> str:
    """The name of the checkpoint that training starts from; ValueError if it does not fit."""
    start = config.warm_start
    if tuple(start.parts) not in _PARTS:
        raise ValueError(f'warm_start.parts={start.parts}: expected one of {_PARTS}')
    tasks = ('regressor',) if 'head' in start.parts else ('regressor', 'backbone')
    stored, where = _stored_config(start.checkpoint, start.step, tasks)
    ours = settings_deciding(config_to_json(config), Decides.UNSEEN)
    for name, theirs in settings_deciding(stored, Decides.UNSEEN).items():
        part = 'backbone' if name.startswith('model.backbone.') else 'head'
        if part in start.parts and theirs != ours[name]:
            raise ValueError(f'{where}: its {name} is {theirs!r}, this run has {ours[name]!r}')
    return where


def check_tokenizer(tokenizer: ml_collections.ConfigDict) -> str:
    """The name of stage 1's checkpoint; ValueError if it does not fit."""
    if not tokenizer.checkpoint:
        raise ValueError('tokenizer.checkpoint is empty: expected the workdir of a tokenizer')
    stored, where = _stored_config(tokenizer.checkpoint, tokenizer.step, ('tokenizer',))
    ours = {'model': config_to_json(tokenizer.model), 'num_codes': tokenizer.num_codes}
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
        expected = ' or '.join(tasks)
        raise ValueError(f'{where}: a checkpoint of a {stored["task"]}, expected {expected}')
    return stored, where


def _read_model(workdir: str, step: str) -> dict:
    with Checkpoints(workdir, create=False) as saved:
        return saved.read_model(saved.find(step))


def replace_weights(state: Any, found: dict, where: str) -> Any:
    """A state with the arrays found, by name; ValueError if their shapes do not fit."""
    return state.replace(**_fill({name: getattr(state, name) for name in found}, found, where))


def _fill(fresh: Any, found: Any, where: str) -> Any:
    """The arrays found, with the types and shardings of the fresh ones."""
    check_shapes(found, fresh, where)
    return jax.tree.map(
        lambda a, b: jax.device_put(jnp.asarray(b, a.dtype), a.sharding), fresh, found
    )
