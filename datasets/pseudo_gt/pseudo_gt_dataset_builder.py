"""The 4D-Humans sets: pictures from the wild with fitted labels, filtered.

    python datasets/pseudo_gt/pseudo_gt_dataset_builder.py --data_dir=DATA --set=mpii \\
        --manual_dir=hmr2_training_data/dataset_tars --pose_density=pose_density.npy

See README.md beside this file for the downloads and the filters.
"""

import dataclasses
import functools
import re
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from tokenhmr_jax.readers import (
    filters,
    humans4d,
    listing,
    picture_cameras,
    prepare,
    shards,
)
from tokenhmr_jax.readers.prepare import setting

_NO_DENSITY = 'none'


@dataclasses.dataclass(frozen=True)
class Settings(shards.BuildSettings):
    """Settings of the dataset; each is a flag of the command.

    Raises:
      ValueError: if a setting is out of its range, naming it.
    """

    set: str = setting('', f'Set: {", ".join(humans4d.SETS)}.')
    tag: str = setting('', 'Suffix of the name, for the same set with other filters.')
    min_confidence: float = setting(0.3, '2D keypoints below it are not used; 0: off.')
    max_beta: float = setting(3.0, 'Betas with a larger absolute value are not trusted; 0: off.')
    pose_density: str = setting(
        '',
        "File of tokenhmr_jax.studies.pose_density, or the original's counts: poses improbable "
        f'under it are not trusted; {_NO_DENSITY}: off.',
        path_or=_NO_DENSITY,
    )
    cameras: str = setting(
        '',
        'Table of fields of view: .csv with the columns image and fov, degrees across the width, '
        "or .json {image: fov}. Other pictures have their EXIF data's camera, if any.",
        path_or='',
    )
    together: bool = setting(True, 'Trust pose and betas together or not at all.')
    min_keypoints: int = setting(4, 'Persons without more 2D keypoints are dropped; -1: off.')
    max_reprojection_loss: float = setting(31_000.0, 'Fits not below it are dropped; 0: off.')

    def __post_init__(self):
        super().__post_init__()
        if self.set not in humans4d.SETS:
            raise ValueError(f'set={self.set!r}: expected one of {list(humans4d.SETS)}')
        if not re.fullmatch(r'\w*', self.tag):
            raise ValueError(f'tag={self.tag!r}: expected letters, digits and underscores')
        if not self.pose_density:
            raise ValueError(
                "pose_density='': expected a file of python -m tokenhmr_jax.studies.pose_density, "
                f'amass_poses_hist100_SMPL+H_G.npy, or {_NO_DENSITY!r} to trust improbable poses'
            )

    @property
    def name(self) -> str:
        return f'{self.set}_{self.tag}' if self.tag else self.set

    @property
    def filters(self) -> filters.Filters:
        return filters.Filters(
            min_confidence=self.min_confidence or None,
            max_beta=self.max_beta or None,
            pose_density=None if self.pose_density == _NO_DENSITY else self.pose_density,
            together=self.together,
            min_keypoints=None if self.min_keypoints < 0 else self.min_keypoints,
            max_reprojection_loss=self.max_reprojection_loss or None,
        )


class Builder(shards.Builder, skip_registration=True):
    """One config per set, with the split `train`."""

    name = 'pseudo_gt'
    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version('1.1.0')
    RELEASE_NOTES: ClassVar = {'1.0.0': 'First version.', '1.1.0': "The pictures' cameras."}

    def __init__(self, *, settings: Settings, **kwargs):
        config = tfds.core.BuilderConfig(name=settings.name)
        super().__init__(settings=settings, config=config, **kwargs)

    def units(self):
        settings = self._settings
        keep = settings.filters
        if settings.cameras:
            picture_cameras.read_degrees(settings.cameras)
        if keep.pose_density is not None:
            filters.load_once(keep.pose_density)
        folder = settings.folder / humans4d.SETS[settings.set]
        units = []
        for path in listing.find_files(folder, '*.tar'):
            if humans4d.is_broken_tar(path):
                self._skipped.append(f'{path}: {humans4d.KNOWN_CORRUPT}')
            else:
                how = keep, settings.store, settings.cameras
                read = functools.partial(humans4d.read_persons, path, *how)
                units.append(shards.Unit(path.name, settings.set, read))
        if not units:
            raise FileNotFoundError(f'{folder}: no tars')
        return {'train': units}

    def check(self, remarks):
        """Raises ValueError if the density of poses distrusts all poses, or none, or if the table
        of cameras has no picture."""
        kinds = picture_cameras.REMARKS
        people = sum(remarks[kind] for kind in kinds.values())
        if self._settings.cameras and people and not remarks[kinds['estimated']]:
            raise ValueError(
                f'{self._settings.cameras}: names no picture of {people} persons: expected names '
                "as in the tars, or the last part of them; with or without the file's suffix"
            )
        trusted, distrusted = remarks[filters.PROBABLE], remarks[filters.POSE]
        if trusted + distrusted and not (trusted and distrusted):
            raise ValueError(
                f'{self._settings.pose_density}: {"all" if trusted else "none"} of '
                f'{trusted + distrusted} poses are probable under it: expected the density of '
                f'another motion capture, or pose_density={_NO_DENSITY} to trust all'
            )

    def _describe(self, split, reports):
        super()._describe(split, reports)
        remarks = shards.total(reports, 'remarks')
        poses = remarks[filters.PROBABLE] + remarks[filters.POSE]
        if poses:
            print(f'{split}: {remarks[filters.PROBABLE] / poses:.1%} of {poses} poses are trusted')


if __name__ == '__main__':
    prepare.run_builder(Builder, Settings, __doc__)
