"""What every config file and command needs from a config."""

import contextlib
import json
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import ml_collections
from absl import logging

# Settings that some checkpoints are older than, by task, with the values of how it was before.
_LATER = {'regressor': {'adversarial': {'weight': 0.0, 'mocap': ''}}}


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


def to_json(config: ml_collections.ConfigDict) -> dict:
    """The config as plain containers, equal to what `from_json` reads back."""
    return json.loads(config.to_json())


def from_json(tree: dict) -> ml_collections.ConfigDict:
    """A config from the plain containers that a checkpoint, maybe an old one, holds."""
    return ml_collections.ConfigDict(_LATER.get(tree['task'], {}) | tree, convert_dict=True)


def lookup(tree: Any, name: str) -> Any:
    """The value under a dotted name, or None."""
    for part in name.split('.'):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def check_choice(config: ml_collections.ConfigDict, name: str, choices: Collection[str]) -> None:
    """Raise ValueError unless the setting of a dotted name is one of some values."""
    value = lookup(config.to_dict(), name)
    if value not in choices:
        raise ValueError(f'{name}={value!r}: expected one of {list(choices)}')


@contextlib.contextmanager
def complete(where: str) -> Iterator[None]:
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


def differences(a: dict, b: dict, prefix: str = '') -> list[str]:
    """Dotted names of the values in which two configs, as plain containers, differ."""
    found = []
    for key in sorted(a.keys() | b.keys()):
        ours, theirs = a.get(key), b.get(key)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            found += differences(ours, theirs, f'{prefix}{key}.')
        elif ours != theirs:
            found.append(f'{prefix}{key} ({ours} -> {theirs})')
    return found


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """In a command: what the user can mend ends it with one line instead of a traceback."""
    logging.set_verbosity(logging.WARNING)  # Orbax and TFDS report every file they touch
    # Orbax misses metrics in every checkpoint between evaluations.
    logging.get_absl_handler().addFilter(lambda record: 'tracked_metric' not in record.getMessage())
    try:
        with complete('the config'):
            yield
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        sys.exit(f'error: {error}')
