"""Configs: arguments of config files, plain containers, and what each setting decides."""

import contextlib
import enum
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import ml_collections
from flax import traverse_util


class Decides(enum.Flag):
    """What a setting decides.

    RESULT: what comes out of a run.
    COST: how fast and in how much memory it is computed, and nothing of what comes out.
    ARCHITECTURE: the arrays of the network, or what is computed with them.
    OPTIMIZER: whether the optimizer holds further arrays: it does where the setting is set.
    """

    RESULT = enum.auto()
    COST = enum.auto()
    ARCHITECTURE = enum.auto()
    OPTIMIZER = enum.auto()


# By dotted name: of the setting, or of the nearest group that it stands in. All others: RESULT.
DECIDES = {
    'task': Decides.ARCHITECTURE,
    'model': Decides.ARCHITECTURE,
    'model.dtype': Decides.RESULT,
    'model.body_mean': Decides.RESULT,
    'model.backbone.position_scale': Decides.RESULT,
    'model.backbone.drop_path': Decides.RESULT,
    'model.backbone.drop_mode': Decides.RESULT,
    'model.backbone.remat': Decides.COST,
    'model.backbone.scan': Decides.ARCHITECTURE | Decides.COST,  # blocks stacked or apart
    'model.backbone.dtype': Decides.RESULT,
    'model.decoder.dtype': Decides.RESULT,
    'model.mixer.dtype': Decides.RESULT,
    'codebook.num_codes': Decides.ARCHITECTURE,
    'tokenizer.model': Decides.ARCHITECTURE,
    'tokenizer.model.dtype': Decides.RESULT,
    'tokenizer.num_codes': Decides.ARCHITECTURE,
    'optimizer.clip_norm': Decides.OPTIMIZER,
    'optimizer.muon_learning_rate': Decides.OPTIMIZER,
    'accumulation_steps': Decides.COST,
    'mesh': Decides.COST,
    'log_every': Decides.COST,
    'checkpoint_every': Decides.COST,
    'data.data_dir': Decides.COST,
    'data.num_threads': Decides.COST,
    'eval.batch_size': Decides.COST,
}
# Settings that older checkpoints have, and that nothing reads any more.
_REMOVED = ('adversarial', 'model.backbone.drop_groups')


def parse_arg(arg: str | None, **defaults: str) -> dict[str, str]:
    """Parse the argument of a config file, as in `configs/tokenizer.py:variant=release`.

    Args:
      arg: 'name=value,name=value', or nothing.
      defaults: the names there are, with their default values.

    Raises:
      ValueError: for a name that is not among the defaults, or no `name=value`.
    """
    parsed = dict(defaults)
    for part in filter(None, (arg or '').split(',')):
        name, equals, value = part.partition('=')
        if not equals or name not in defaults:
            raise ValueError(f'config argument {part!r}: expected name=value with {list(defaults)}')
        parsed[name] = value
    return parsed


def config_to_json(config: ml_collections.ConfigDict) -> dict:
    """The config as plain containers, equal to what `config_from_json` reads back."""
    return json.loads(config.to_json())


def config_from_json(tree: dict) -> ml_collections.ConfigDict:
    """A config from the plain containers that a checkpoint, maybe an old one, holds."""
    for name in _REMOVED:
        tree = _without(tree, name.split('.'))
    return ml_collections.ConfigDict(tree, convert_dict=True)


def _without(tree: dict, path: Sequence[str]) -> dict:
    first, *rest = path
    if not rest or first not in tree:
        return {key: value for key, value in tree.items() if rest or key != first}
    return tree | {first: _without(tree[first], rest)}


def settings_deciding(tree: dict, what: Decides) -> dict[str, Any]:
    """The settings of a config, plain containers, that decide one thing, by dotted name."""
    return {name: value for name, value in _flat(tree).items() if _decides(name) & what}


def settings_of_result(tree: dict) -> dict[str, Any]:
    """All settings but those that decide on cost alone, by dotted name: equal, runs are the same."""
    return {name: v for name, v in _flat(tree).items() if not _decides(name) & Decides.COST}


def _flat(tree: dict) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep='.', keep_empty_nodes=True)


def _decides(name: str) -> Decides:
    while name:
        if name in DECIDES:
            return DECIDES[name]
        name = name.rpartition('.')[0]
    return Decides.RESULT


def lookup_setting(tree: Any, name: str) -> Any:
    """The value under a dotted name, or None."""
    for part in name.split('.'):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def check_choice(config: ml_collections.ConfigDict, name: str, choices: Collection[str]) -> None:
    """Raise ValueError unless the setting of a dotted name is one of some values."""
    value = lookup_setting(config.to_dict(), name)
    if value not in choices:
        raise ValueError(f'{name}={value!r}: expected one of {list(choices)}')


@contextlib.contextmanager
def missing_settings_named(where: str) -> Iterator[None]:
    """A setting that is read but not there becomes a ValueError; `where` names the config."""
    try:
        yield
    except AttributeError as error:
        missing = error.args[0] if error.args else None
        if not isinstance(missing, KeyError):  # as a ConfigDict raises it
            raise
        name = missing.args[0].splitlines()[0]  # a guess at what was meant may follow
        raise ValueError(
            f'{where} has no setting {name}, which this version reads: expected it as in configs/; '
            "a checkpoint's settings are the JSON file config/metadata of its step; who changes it "
            'removes checksums.json there'
        ) from error


def config_differences(a: dict, b: dict, prefix: str = '') -> list[str]:
    """Dotted names of the values in which two configs, as plain containers, differ."""
    found = []
    for key in sorted(a.keys() | b.keys()):
        ours, theirs = a.get(key), b.get(key)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            found += config_differences(ours, theirs, f'{prefix}{key}.')
        elif ours != theirs:
            found.append(f'{prefix}{key} ({ours} -> {theirs})')
    return found
