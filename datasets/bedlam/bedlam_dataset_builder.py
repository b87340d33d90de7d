"""BEDLAM: pictures of synthetic people, with their true bodies and cameras.

    python datasets/bedlam/bedlam_dataset_builder.py --data_dir=DATA --manual_dir=BEDLAM \\
        --smpl_dir=SMPL

See README.md beside this file for the downloads.
"""

import dataclasses
import functools
import re
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from tokenhmr_jax.readers import bedlam, labels, prepare, shards
from tokenhmr_jax.readers.prepare import setting

_TRAIN, _HELD_OUT = 'train', 'heldout'
_PERSONS = 5000  # per unit, about
_LEFT_OUT = 'agora'  # the labels lack its pictures


@dataclasses.dataclass(frozen=True)
class Settings(shards.BuildSettings):
    """Settings of the dataset; each is a flag of the command.

    Raises:
      ValueError: if a setting is out of its range, naming it.
    """

    smpl_dir: str = setting(
        '',
        "Folder of SMPL_NEUTRAL and SMPL_to_J19; or 'mannequin', the body without files.",
        path_or='mannequin',
    )
    held_out: str = setting('', 'Regular expression: names of scenes for the split heldout.')

    def __post_init__(self):
        super().__post_init__()
        prepare.check_pattern(self, 'held_out')


class Builder(shards.Builder, skip_registration=True):
    """The splits `train` and, with `held_out`, `heldout`."""

    name = 'bedlam'
    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES: ClassVar = {'1.0.0': 'First version.'}

    def units(self):
        settings = self._settings
        labels.load_keypoint_body(settings.smpl_dir, 'neutral')
        found = list(self._scenes()) or list(self._tars())
        if not found:
            raise FileNotFoundError(
                f'{settings.folder}: neither labels/<scene>.npz with images/<scene>/png, nor '
                '<scene>/*.tar'
            )
        splits = {}
        for unit in found:
            is_out = settings.held_out and re.search(settings.held_out, unit.source)
            splits.setdefault(_HELD_OUT if is_out else _TRAIN, []).append(unit)
        return splits

    def _scenes(self):
        """Units of the official release."""
        settings = self._settings
        for path in sorted(settings.folder.glob('labels/*.npz')):
            scene = path.stem
            if scene.startswith(_LEFT_OUT):
                continue
            pictures = settings.folder / 'images' / scene / 'png'
            if not pictures.is_dir():
                raise FileNotFoundError(f'{pictures}: no such folder, for the labels {path}')
            parts = -(-bedlam.num_rows(path) // _PERSONS)
            for k in range(parts):
                yield shards.Unit(
                    f'{scene}/{k}-of-{parts}',
                    scene,
                    functools.partial(
                        bedlam.read_scene, path, pictures, (k, parts), self._options()
                    ),
                )

    def _tars(self):
        """Units of TokenHMR's tars."""
        for path in sorted(self._settings.folder.glob('*/*.tar')):
            scene = path.parent.name
            if not scene.startswith(_LEFT_OUT):
                read = functools.partial(bedlam.read_tar, path, self._options())
                yield shards.Unit(f'{scene}/{path.name}', scene, read)

    def _options(self):
        return bedlam.BedlamOptions(self._settings.smpl_dir, self._settings.store)


if __name__ == '__main__':
    prepare.run_builder(Builder, Settings, __doc__)
