"""The 4D-Humans sets: pictures from the wild with fitted labels, filtered.

    python datasets/pseudo_gt/pseudo_gt_dataset_builder.py --data_dir=DATA --set=mpii \
        --manual_dir=hmr2_training_data/dataset_tars --pose_density=pose_density.npy

README.md beside this file says what to download, and what the filters do.
"""

import dataclasses
import functools
import re
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from tokenhmr_jax.readers import filters, humans4d, prepare, shards
from tokenhmr_jax.readers.pose_density import load_density
from tokenhmr_jax.readers.prepare import setting

_NO_DENSITY = 'none'


@dataclasses.dataclass(frozen=True)
class Settings(shards.BuildSettings):
    """What is prepared; each is a flag of the command.

    Raises:
      ValueError: naming the setting that makes no sense.
    """

    set: str = setting('', f'which: {", ".join(humans4d.SETS)}')
    tag: str = setting('', 'added to the name, to tell datasets with other filters apart')
    min_confidence: float = setting(0.3, '2D keypoints below it are not used; 0: all are')
    max_beta: float = setting(3.0, 'betas are not trusted if one is beyond it; 0: always')
    pose_density: str = setting(
        '', 'poses are not trusted if improbable under this file of tokenhmr_jax.studies.pose_density; '
        f"'{_NO_DENSITY}': always", path_or=_NO_DENSITY
    )  # fmt: skip
    together: bool = setting(True, 'trust pose and betas together or not at all')
    min_keypoints: int = setting(4, 'a person needs more 2D keypoints; -1: all are kept')
    max_reprojection_loss: float = setting(31_000.0, 'of a fit must be below it; 0: all are kept')

    def __post_init__(self):
        super().__post_init__()
        if self.set not in humans4d.SETS:
            raise ValueError(f'set={self.set!r}: expected one of {list(humans4d.SETS)}')
        if not re.fullmatch(r'\w*', self.tag):
            raise ValueError(f'tag={self.tag!r}: expected letters, digits and underscores')
        if not self.pose_density:
            raise ValueError(
                "pose_density='': expected a file of python -m tokenhmr_jax.studies.pose_density, or "
                f'{_NO_DENSITY!r} to trust improbable poses'
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
    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES: ClassVar = {'1.0.0': 'First version.'}

    def __init__(self, *, settings: Settings, **kwargs):
        config = tfds.core.BuilderConfig(name=settings.name)
        super().__init__(settings=settings, config=config, **kwargs)

    def units(self):
        settings = self._settings
        keep = settings.filters
        if keep.pose_density is not None:
            load_density(keep.pose_density)
        folder = settings.folder / humans4d.SETS[settings.set]
        tars = sorted(folder.glob('*.tar'))
        if not tars:
            raise FileNotFoundError(f'{folder}: no tars')
        return {
            'train': [
                shards.Unit(
                    path.name,
                    settings.set,
                    functools.partial(humans4d.read_persons, path, keep, settings.store),
                )
                for path in tars
            ]
        }


if __name__ == '__main__':
    prepare.run_builder(Builder, Settings, __doc__)
