"""Labels refitted to 2D keypoints with the picture's camera, in a new split.

    python -m tokenhmr_jax.refit --data_dir=DATA --split=mannequin/suit_pseudo --checkpoint=WORKDIR

writes DATA/refitted/mannequin_suit_pseudo and a report on how far labels moved; train on it as
'refitted/mannequin_suit_pseudo/train'. The network's answers are the prior, 2D keypoints the
measurements. After Ctrl-C or a kill the same command goes on.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.inference.fitting import label_changes, refitting
from tokenhmr_jax.readers import filters, prepare, shards
from tokenhmr_jax.readers.prepare import setting
from tokenhmr_jax.training.trained_run import BUNDLED, open_run

_UNIT = 256  # records


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the command; each is a flag. ValueError for one out of its range."""

    split: str = setting('', 'The prepared split to refit, such as pseudo_gt/coco/train.')
    checkpoint: str = setting('', "The network's run, or 'bundled'.", path_or=BUNDLED)
    step: str = setting('best', "Which step: 'best', 'last', or its number.")
    name: str = setting('', "Name of the result; by default the split's.")
    truth: str = setting('', 'Split with true labels of the same keys, to measure by.', how=True)
    min_confidence: float = setting(0.3, '2D keypoints below it are not used; 0: off.')
    max_beta: float = setting(3.0, 'Betas with a larger absolute value are not trusted; 0: off.')
    min_keypoints: int = setting(4, 'Persons without more 2D keypoints are dropped; -1: off.')
    max_error: float = setting(
        4.0,
        "Persons are dropped with keypoints farther off on average, % of the box's side; 0: off.",
    )
    num_shards: int = setting(128, 'Largest number of files.')
    max_bad_fraction: float = setting(
        0.02, 'The run ends if a larger fraction of records is unreadable.', how=True
    )
    # The device refits, and this process feeds it.
    num_processes: ClassVar[int] = 1
    beam: ClassVar[str] = ''

    def __post_init__(self):
        prepare.check_least(self, num_shards=1, min_keypoints=-1, max_error=0)
        prepare.check_fraction(self, 'max_bad_fraction')
        for flag in ('split', 'checkpoint'):
            if not getattr(self, flag):
                raise ValueError(f'--{flag} is missing')

    @property
    def config_name(self) -> str:
        return self.name or self.split.replace('/', '_')

    @property
    def filters(self) -> filters.Filters:
        return filters.Filters(
            min_confidence=self.min_confidence or None,
            max_beta=self.max_beta or None,
            min_keypoints=None if self.min_keypoints < 0 else self.min_keypoints,
            max_reprojection_loss=self.max_error or None,
        )


class Builder(shards.Builder, skip_registration=True):
    """One config per refitted split, with the split `train`."""

    name = 'refitted'
    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES: ClassVar = {'1.0.0': 'First version.'}

    def __init__(self, *, settings: Settings, data_dir: str | os.PathLike, **kwargs):
        self.source_dir = os.fspath(data_dir)
        config = tfds.core.BuilderConfig(name=settings.config_name)
        super().__init__(settings=settings, config=config, data_dir=data_dir, **kwargs)

    def units(self):
        settings = self._settings
        split = pipeline.open_split(self.source_dir, settings.split)
        if settings.truth:
            pipeline.open_split(self.source_dir, settings.truth)
        run = open_run(settings.checkpoint, settings.step, kind='regressor')
        refitter = refitting.Refitter(run, split, settings.filters)
        units = []
        for start in range(0, len(split), _UNIT):
            stop = min(start + _UNIT, len(split))
            read = functools.partial(refitter.read, start, stop)
            units.append(shards.Unit(f'{start}-{stop}', settings.split, read, stop - start))
        return {'train': units}


def report(builder: Builder, settings: Settings) -> None:
    """Prints how far the labels moved, and writes it beside the records."""
    new = pipeline.open_split(builder.source_dir, f'refitted/{settings.config_name}/train')
    old = pipeline.open_split(builder.source_dir, settings.split)
    truth = pipeline.open_split(builder.source_dir, settings.truth) if settings.truth else None
    body = open_run(settings.checkpoint, settings.step, kind='regressor').frozen.keypoint_body
    label_changes.report(body, old, new, truth, builder.data_path)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    prepare.run_builder(Builder, Settings, __doc__, arguments, report)


if __name__ == '__main__':
    main()
