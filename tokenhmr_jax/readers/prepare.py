"""The command line of the dataset builders, `python datasets/NAME/NAME_dataset_builder.py`.

TFDS' own command needs TensorFlow; this one does not.
"""

import dataclasses
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence

import tensorflow_datasets as tfds
from absl import logging

from tokenhmr_jax import cli


def setting(default, text: str, how: bool = False, path_or: str | None = None):
    """A field of a settings dataclass: its default, and its help.

    Args:
      how: it decides on how the work is done, not on what comes out.
      path_or: it is the path of a file or a folder, or else this word, or empty.
    """
    metadata = {'help': text, 'how': how, 'path_or': path_or}
    return dataclasses.field(default=default, metadata=metadata)


def _is_path(field, value) -> bool:
    word = field.metadata['path_or']
    return word is not None and value not in ('', word)


def deciding_fields(settings) -> dict:
    """The settings that decide on what a dataset holds; of a file, its name and content do."""
    found = {}
    for field in dataclasses.fields(settings):
        if not field.metadata['how']:
            value = getattr(settings, field.name)
            found[field.name] = _identity(value) if _is_path(field, value) else value
    return found


def _identity(path: str) -> str:
    """A file may be made again under its name, or be moved; of a folder, the path has to do."""
    if not os.path.isfile(path):
        return path
    with open(path, 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    return f'{os.path.basename(path)} sha256:{digest[:16]}'


def define_flags(flags: cli.Flags, settings_class: type) -> None:
    """Defines --data_dir, and a flag for each field of `settings_class`."""
    flags.string('data_dir', None, 'Where prepared datasets lie.', required=True)
    define = {str: flags.string, int: flags.integer, float: flags.number, bool: flags.boolean}
    for field in dataclasses.fields(settings_class):
        define[field.type](field.name, field.default, field.metadata['help'])


def read_flags(flags: cli.Flags, settings_class: type):
    """The settings that the flags give. A path is the same, however it was typed."""
    given = {}
    for field in dataclasses.fields(settings_class):
        value = flags.values[field.name].value
        if _is_path(field, value):
            value = str(pathlib.Path(value).expanduser().resolve())
        given[field.name] = value
    return settings_class(**given)


def run_builder(
    builder_class: Callable, settings_class: type, doc: str, arguments: Sequence[str] | None = None
) -> None:
    """The command line of a builder: a flag for each field of `settings_class`.

    Args:
      builder_class: called with `settings` and `data_dir`.
      settings_class: a dataclass of fields str, int, float or bool, each made by `setting`.
      doc: for `--help`.
      arguments: of the command line; the process's own by default.
    """
    flags = cli.Flags(doc, arguments)
    define_flags(flags, settings_class)

    def command():
        logging.set_verbosity(logging.ERROR)  # TFDS warns that the dataset is not there yet
        settings = read_flags(flags, settings_class)
        builder = builder_class(settings=settings, data_dir=flags.values['data_dir'].value)
        prepare_dataset(builder, settings)

    cli.run(flags, command, on_interrupt='interrupted; run the same command again to go on')


def prepare_dataset(builder: tfds.core.GeneratorBasedBuilder, settings) -> None:
    """Prepares a dataset unless it is there, and prints what it holds.

    Raises:
      ValueError: it is there, but was prepared with other settings.
    """
    wanted = deciding_fields(settings)
    if builder.is_prepared():
        found = (builder.info.metadata or {}).get('settings', {})
        changed = [
            f'{name}={found.get(name)!r} (now {value!r})'
            for name, value in wanted.items()
            if found.get(name) != value
        ]
        if changed:
            raise ValueError(
                f'{builder.data_dir} was prepared with {", ".join(changed)}: remove it or choose '
                'another --data_dir'
            )
        print('already prepared; nothing to do')
    else:
        with tempfile.TemporaryDirectory() as download_dir:  # stays empty
            builder.download_and_prepare(file_format='array_record', download_dir=download_dir)
    print(dataset_summary(builder.info))


def dataset_summary(info: tfds.core.DatasetInfo) -> str:
    """Records per split, and what was skipped on the way."""
    lines = [f'{info.full_name} in {info.data_dir}, {info.dataset_size / 2**20:.1f} MiB']
    width = max(len(name) for name in info.splits)
    lines += [
        f'  {name:{width}} {split.num_examples:10,d} records'
        for name, split in sorted(info.splits.items())
    ]
    metadata = info.metadata or {}
    for split, counts in metadata.get('counts', {}).items():
        for what, each in counts.items():
            lines += [f'  {split} {what}:'] if each else []
            lines += [f'    {number:10,d} {name}' for name, number in sorted(each.items())]
    skipped = metadata.get('skipped', [])
    if skipped:
        lines.append(f'{len(skipped)} were skipped:')
        lines += [f'  {reason}' for reason in skipped]
    return '\n'.join(lines)
