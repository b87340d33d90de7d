"""Command line of the dataset builders, `python datasets/NAME/NAME_dataset_builder.py`."""

import dataclasses
import hashlib
import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from tokenhmr_jax import cli


def setting(default: Any, text: str, how: bool = False, path_or: str | None = None) -> Any:
    """A field of a settings dataclass: its default (str, int, float or bool), and its help.

    `how` marks a setting that does not change the dataset, such as a number of processes. For a
    path, `path_or` is the word that may stand instead; '' for none.
    """
    metadata = {'help': text, 'how': how, 'path_or': path_or}
    return dataclasses.field(default=default, metadata=metadata)


def _is_path(field: dataclasses.Field, value) -> bool:
    word = field.metadata['path_or']
    return word is not None and value not in ('', word)


def deciding_fields(settings: Any) -> dict[str, Any]:
    """The settings that determine a dataset; files by name and content, folders by path."""
    found = {}
    for field in dataclasses.fields(settings):
        if not field.metadata['how']:
            value = getattr(settings, field.name)
            found[field.name] = _identity(value) if _is_path(field, value) else value
    return found


def _identity(path: str) -> str:
    """A file's name and digest, as it may be replaced or moved; a folder's path."""
    if not os.path.isfile(path):
        return path
    with open(path, 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    return f'{os.path.basename(path)} sha256:{digest[:16]}'


def check_least(settings: Any, **least: int) -> None:
    """Raises ValueError unless settings are at least as large as the values given by name."""
    for name, value in least.items():
        if getattr(settings, name) < value:
            raise ValueError(f'{name}={getattr(settings, name)}: expected at least {value}')


def check_fraction(settings: Any, name: str) -> None:
    """Raises ValueError unless a setting is at least 0 and below 1."""
    if not 0 <= getattr(settings, name) < 1:
        raise ValueError(f'{name}={getattr(settings, name)}: expected in [0, 1)')


def check_pattern(settings: Any, name: str) -> None:
    """Raises ValueError unless a setting is a regular expression."""
    try:
        re.compile(getattr(settings, name))
    except re.error as error:
        raise ValueError(f'{name}={getattr(settings, name)!r}: {error}') from None


def define_flags(flags: cli.Flags, settings_class: type) -> None:
    """Defines --data_dir, and a flag for each field of `settings_class`."""
    flags.path('data_dir', None, 'Folder of prepared datasets.', required=True)
    define = {str: flags.string, int: flags.integer, float: flags.number, bool: flags.boolean}
    for field in dataclasses.fields(settings_class):
        kind = define[field.type] if field.metadata['path_or'] is None else flags.path
        kind(field.name, field.default, field.metadata['help'])


def read_flags(flags: cli.Flags, settings_class: type) -> Any:
    """The settings that the flags give; paths become absolute."""
    given = {}
    for field in dataclasses.fields(settings_class):
        value = flags.values[field.name].value
        if _is_path(field, value):
            value = str(pathlib.Path(value).resolve())
        given[field.name] = value
    return settings_class(**given)


def run_builder(
    builder_class: Callable,
    settings_class: type,
    doc: str,
    arguments: Sequence[str] | None = None,
    then: Callable = lambda builder, settings: None,
) -> None:
    """Runs a builder's command line: a flag for each field of `settings_class`, made by `setting`.

    `builder_class` is called with `settings` and `data_dir`; `then` with builder and settings once
    the dataset is prepared. `doc` is printed by `--help`.
    """
    flags = cli.Flags(doc, arguments)  # TFDS' own command needs TensorFlow
    define_flags(flags, settings_class)

    def command():
        logging.set_verbosity(logging.ERROR)  # TFDS warns of a missing dataset
        tfds.disable_progress_bar()  # ours have lines off a terminal, and know totals
        settings = read_flags(flags, settings_class)
        builder = builder_class(settings=settings, data_dir=flags.values['data_dir'].value)
        prepare_dataset(builder, settings)
        then(builder, settings)
        return cli.Done(builder.data_dir, _use(builder.info))

    cli.run(flags, command, on_interrupt='interrupted; run the same command again to go on')


def prepare_dataset(builder: tfds.core.DatasetBuilder, settings: Any) -> None:
    """Prepares a dataset unless it exists, and prints its summary.

    Raises ValueError if it exists, but was prepared with other settings.
    """
    if builder.is_prepared():
        found = (builder.info.metadata or {}).get('settings', {})
        changed = ', '.join(
            f'{name}={found.get(name)!r} (now {value!r})'
            for name, value in deciding_fields(settings).items()
            if found.get(name) != value
        )
        if changed:
            mend = 'remove it or choose another --data_dir'
            raise ValueError(f'{builder.data_dir} was prepared with {changed}: {mend}')
        print('already prepared; nothing to do')
    else:
        with tempfile.TemporaryDirectory() as download_dir:  # stays empty
            builder.download_and_prepare(file_format='array_record', download_dir=download_dir)
    print(dataset_summary(builder.info))


def _use(info: tfds.core.DatasetInfo) -> str:
    """The use of a dataset's splits, in words."""
    dataset = info.full_name.removesuffix(f'/{info.version}')
    splits = ', '.join(f'{dataset}/{name}' for name in sorted(info.splits))
    return f'name them in config.data.mixture or config.data.validation: {splits}'


def dataset_summary(info: tfds.core.DatasetInfo) -> str:
    """Size, records per split, counts and skipped files of a dataset, as text."""
    lines = [f'{info.full_name} in {info.data_dir}, {info.dataset_size / 2**20:.1f} MiB']
    width = max(len(name) for name in info.splits)
    for name, split in sorted(info.splits.items()):
        lines.append(f'  {name:{width}} {split.num_examples:10,d} records')
    metadata = info.metadata or {}
    for split, counts in metadata.get('counts', {}).items():
        for what, each in counts.items():
            lines += [f'  {split} {what}:'] if each else []
            lines += [f'    {number:10,d} {name}' for name, number in sorted(each.items())]
    if skipped := metadata.get('skipped', []):
        lines.append(f'{len(skipped)} were skipped:')
        lines += [f'  {reason}' for reason in skipped]
    return '\n'.join(lines)
