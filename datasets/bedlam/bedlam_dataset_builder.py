"""BEDLAM: pictures of synthetic people, with their true bodies and cameras.

    python datasets/bedlam/bedlam_dataset_builder.py --data_dir=DATA --manual_dir=BEDLAM \\
        --smpl_dir=SMPL

See README.md beside this file for the downloads.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterable
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from tokenhmr_jax.readers import bedlam, labels, listing, prepare, shards
from tokenhmr_jax.readers.prepare import setting

_TRAIN, _HELD_OUT = 'train', 'heldout'
_PERSONS = 5000  # per unit, about
_LEFT_OUT = 'agora'  # the labels lack its pictures
_NAMED = 5  # scenes named at once; the dataset's metadata name all that are left out


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
    VERSION = tfds.core.Version('1.1.0')
    RELEASE_NOTES: ClassVar = {'1.0.0': 'First version.', '1.1.0': "The pictures' cameras."}

    def units(self):
        settings = self._settings
        labels.load_keypoint_body(settings.smpl_dir, 'neutral')
        scenes, lacking = self._find_scenes()
        found = [*self._scene_units(scenes)] or [*self._tar_units()]
        if not found:
            wanted = 'labels/<scene>.npz, at any depth, with images/<scene>/png, nor <scene>/*.tar'
            reasons = '; '.join([f'neither {wanted}', *lacking[:_NAMED]])
            raise FileNotFoundError(f'{settings.folder}: {reasons}')
        if lacking:
            print(f'{len(lacking)} scenes are left out: {"; ".join(lacking[:_NAMED])}', flush=True)
        self._skipped += lacking
        splits = {}
        for unit in found:
            is_out = settings.held_out and re.search(settings.held_out, unit.source)
            splits.setdefault(_HELD_OUT if is_out else _TRAIN, []).append(unit)
        return splits

    def _find_scenes(self):
        """Label files of the official release with their picture folders; what lacks either."""
        folder = self._settings.folder
        label_files = listing.find_files(folder, 'labels/**/*.npz')
        picture_dirs = filter(_has_files, listing.find_files(folder, 'images/*/png'))
        labelled = _by_scene((path.stem, path) for path in label_files)
        pictured = _by_scene((path.parent.name, path) for path in picture_dirs)
        lacking = [
            f'{folder / "images" / path.stem / "png"}: no such folder, or empty, for {path}'
            for scene, path in labelled.items()
            if scene not in pictured
        ]
        lacking += [
            f'{path}: no labels/**/{path.parent.name}.npz'
            for scene, path in pictured.items()
            if scene not in labelled
        ]
        both = [(labelled[scene], pictured[scene]) for scene in labelled if scene in pictured]
        return both, lacking

    def _scene_units(self, scenes):
        """Units of the official release."""
        for path, pictures in scenes:
            parts = -(-bedlam.num_rows(path) // _PERSONS)
            for k in range(parts):
                part = path, pictures, (k, parts), self._options()
                read = functools.partial(bedlam.read_scene, *part)
                yield shards.Unit(f'{path.stem}/{k}-of-{parts}', path.stem, read)

    def _tar_units(self):
        """Units of TokenHMR's tars."""
        for path in listing.find_files(self._settings.folder, '*/*.tar'):
            scene = path.parent.name
            # The official pictures come as tars too, which must be unpacked.
            if scene != 'images' and not scene.startswith(_LEFT_OUT):
                read = functools.partial(bedlam.read_tar, path, self._options())
                yield shards.Unit(f'{scene}/{path.name}', scene, read)

    def _options(self):
        return bedlam.BedlamOptions(self._settings.smpl_dir, self._settings.store)


def _has_files(folder: pathlib.Path) -> bool:
    return bool(listing.find_files(folder, '*'))


def _by_scene(found: Iterable[tuple[str, pathlib.Path]]) -> dict[str, pathlib.Path]:
    """Files by scene, but AGORA's; ValueError for two of one scene."""
    paths = {}
    for name, path in found:
        # Labels and pictures of one scene may differ in hyphens: 20221020_3-8_..., 20221020-3-8_...
        scene = name.replace('-', '_')
        if scene in paths:
            raise ValueError(f'{paths[scene]} and {path} are of one scene: keep one of them')
        if not name.startswith(_LEFT_OUT):
            paths[scene] = path
    return paths


if __name__ == '__main__':
    prepare.run_builder(Builder, Settings, __doc__)
