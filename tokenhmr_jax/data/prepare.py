"""The command line of the dataset builders, `python datasets/NAME/NAME_dataset_builder.py`.

TFDS' own command needs TensorFlow; this one does not.
"""

import dataclasses
import tempfile
from collections.abc import Callable

import tensorflow_datasets as tfds
from absl import app, flags, logging

from tokenhmr_jax import config_utils

_FLAG = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def setting(default, text: str, how: bool = False):
    """A field of a settings dataclass: its default, and its help.

    Args:
      how: it decides on how the work is done, not on what comes out.
    """
    return dataclasses.field(default=default, metadata={'help': text, 'how': how})


def deciding(settings) -> dict:
    """The settings that decide on what a dataset holds."""
    names = [f.name for f in dataclasses.fields(settings) if not f.metadata['how']]
    return {name: getattr(settings, name) for name in names}


def run(builder_class: Callable, settings_class: type) -> None:
    """Parses flags, one for each field of `settings_class`, and prepares the dataset.

    Args:
      builder_class: called with `settings` and `data_dir`.
      settings_class: a dataclass of fields str, int, float or bool, each made by `setting`.
    """
    flags.DEFINE_string('data_dir', None, 'where prepared datasets lie', required=True)
    fields = dataclasses.fields(settings_class)
    for field in fields:
        _FLAG[field.type](field.name, field.default, field.metadata['help'])

    def main(argv):
        if len(argv) > 1:
            raise app.UsageError(f'unknown arguments: {argv[1:]}')
        with config_utils.clear_errors():
            logging.set_verbosity(logging.ERROR)  # TFDS warns that the dataset is not there yet
            settings = settings_class(**{f.name: flags.FLAGS[f.name].value for f in fields})
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
        changed = [f'{k}={found.get(k)!r}' for k in wanted if found.get(k) != wanted[k]]
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
