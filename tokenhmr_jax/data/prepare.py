"""The command line of the dataset builders, `python datasets/NAME/NAME_dataset_builder.py`.

TFDS' own command needs TensorFlow; this one does not.
"""

import dataclasses
import hashlib
import os
import pathlib
import tempfile
from collections.abc import Callable

import tensorflow_datasets as tfds
from absl import app, flags, logging

from tokenhmr_jax import config_utils

flags.disclaim_key_flags()  # they are the script's, whose --helpshort lists them

_FLAG = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


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


def deciding(settings) -> dict:
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


def define_flags(settings_class: type, values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines --data_dir, and a flag for each field of `settings_class`."""
    text = 'where prepared datasets lie'
    flags.DEFINE_string('data_dir', None, text, flag_values=values, required=True)
    for field in dataclasses.fields(settings_class):
        _FLAG[field.type](field.name, field.default, field.metadata['help'], flag_values=values)


def read_flags(settings_class: type, values: flags.FlagValues = flags.FLAGS):
    """The settings that the flags give. A path is the same, however it was typed."""
    given = {}
    for field in dataclasses.fields(settings_class):
        value = values[field.name].value
        if _is_path(field, value):
            value = str(pathlib.Path(value).expanduser().resolve())
        given[field.name] = value
    return settings_class(**given)


def run(builder_class: Callable, settings_class: type) -> None:
    """Parses flags, one for each field of `settings_class`, and prepares the dataset.

    Args:
      builder_class: called with `settings` and `data_dir`.
      settings_class: a dataclass of fields str, int, float or bool, each made by `setting`.
    """
    define_flags(settings_class)

    def main(argv):
        if len(argv) > 1:
            raise app.UsageError(f'unknown arguments: {argv[1:]}')
        with config_utils.clear_errors():
            logging.set_verbosity(logging.ERROR)  # TFDS warns that the dataset is not there yet
            settings = read_flags(settings_class)
            builder = builder_class(settings=settings, data_dir=flags.FLAGS.data_dir)
            prepare(builder, settings)

    app.run(main)


def prepare(builder: tfds.core.GeneratorBasedBuilder, settings) -> None:
    """Prepares a dataset unless it is there, and prints what it holds.

    Raises:
      ValueError: it is there, but was prepared with other settings.
    """
    wanted = deciding(settings)
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
    print(summary(builder.info))


def summary(info: tfds.core.DatasetInfo) -> str:
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
