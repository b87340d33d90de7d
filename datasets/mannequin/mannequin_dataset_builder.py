"""Images of the mannequin with true labels, and with fitted labels (pseudo-ground-truth).

    python datasets/mannequin/mannequin_dataset_builder.py --data_dir=DATA --look=suit

See README.md beside this file for the pictures and splits.
"""

import dataclasses
import itertools
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from tokenhmr_jax.cli import Progress
from tokenhmr_jax.data import records
from tokenhmr_jax.mannequin import motion, people, poses, pseudo_gt, scenes
from tokenhmr_jax.readers import amass, prepare, workers
from tokenhmr_jax.readers.prepare import setting

_TRAIN, _PSEUDO, _HELD_OUT = '', '_pseudo', '_heldout'
_TRUE = '_pseudo_true'
# Streams of random people.
_PEOPLE = {_TRAIN: 0, _PSEUDO: 1, _HELD_OUT: 2, _TRUE: 1}
_LEAST_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the dataset; each is a flag of the command.

    Raises:
      ValueError: if a setting is out of its range, naming it.
    """

    look: str = setting('suit', 'suit, clothed, or both: suit,clothed.')
    num_train: int = setting(20_000, 'People with true labels.')
    num_pseudo: int = setting(2_000, 'Other people, near the camera, with fitted labels.')
    num_pseudo_true: int = setting(0, 'First ones of these people, once more with true labels.')
    num_heldout: int = setting(1_000, 'People in held-out poses, with true labels.')
    nearest: float = setting(scenes.EVERYWHERE.distance[0], 'Metres to people, at least.')
    farthest: float = setting(scenes.EVERYWHERE.distance[1], 'Metres to people, at most.')
    pseudo_nearest: float = setting(scenes.CLOSE.distance[0], 'As nearest, with fitted labels.')
    pseudo_farthest: float = setting(scenes.CLOSE.distance[1], 'As farthest, with fitted labels.')
    image_size: int = setting(160, 'Height of the full images, px; they are 4:3.')
    kinds: str = setting(','.join(motion.KINDS), 'Kinds of procedural motion.')
    motion_dir: str = setting(
        '', 'Folder of motion files, as of AMASS. Without it: procedural motion.', path_or=''
    )
    stride: int = setting(10, 'Every stride-th frame of motion files is taken.')
    held_out: str = setting('', 'Regular expression: names of motion files to hold out.')
    held_out_fraction: float = setting(0.1, 'Fraction of files to hold out, without held_out.')
    num_processes: int = setting(0, 'Processes that draw; 0 for one per core.', how=True)
    seed: int = setting(0, 'Random seed.')

    def __post_init__(self):
        if sorted(set(self.looks)) != sorted(self.looks) or set(self.looks) - set(people.LOOKS):
            raise ValueError(f'look={self.look!r}: expected suit, clothed or suit,clothed')
        prepare.check_least(
            self, num_train=1, num_pseudo=0, num_pseudo_true=0, num_heldout=0, stride=1,
            num_processes=0, seed=0, image_size=_LEAST_SIZE,
        )  # fmt: skip
        if set(self.kinds.split(',')) - set(motion.KINDS):
            raise ValueError(f'kinds={self.kinds!r}: expected some of {",".join(motion.KINDS)}')
        for views in (self.views(_TRAIN), self.views(_PSEUDO)):
            if not 0 < views.distance[0] <= views.distance[1]:
                raise ValueError(
                    f'people from {views.distance[0]} to {views.distance[1]} m: expected nearest '
                    'above 0, and farthest not below it'
                )
        if not 0 < self.held_out_fraction < 1:
            raise ValueError(f'held_out_fraction={self.held_out_fraction}: expected in (0, 1)')
        prepare.check_pattern(self, 'held_out')

    def views(self, stream: str) -> scenes.Views:
        """The cameras of a split, by the suffix of its name."""
        if _PEOPLE[stream] == _PEOPLE[_PSEUDO]:
            return scenes.CLOSE._replace(distance=(self.pseudo_nearest, self.pseudo_farthest))
        return scenes.EVERYWHERE._replace(distance=(self.nearest, self.farthest))

    @property
    def looks(self) -> list[str]:
        return self.look.split(',')


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Splits `<look>`, `<look>_pseudo`, `<look>_pseudo_true` and `<look>_heldout` for each look."""

    name = 'mannequin'
    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version('1.1.0')
    RELEASE_NOTES: ClassVar = {'1.0.0': 'First version.', '1.1.0': "The pictures' cameras."}

    def __init__(self, *, settings: Settings = Settings(), **kwargs):
        self._settings = settings
        self._frames = {}
        self._skipped = []
        self._label_errors = {}
        self._pool = None
        super().__init__(**kwargs)

    def _info(self):
        return self.dataset_info_from_configs(
            features=records.features(),
            metadata=tfds.core.MetadataDict(
                settings=prepare.deciding_fields(self._settings),
                skipped=self._skipped,
                label_errors=self._label_errors,
            ),
        )

    def download_and_prepare(self, **kwargs):
        """As in TFDS; a bad `motion_dir` raises before anything is written."""
        if self.is_prepared():
            return
        if self._settings.motion_dir:
            self._read_motion()
        # Processes take seconds to start: not before it is known that there is work.
        with workers.start_pool(self._settings.num_processes) as pool:
            self._pool = pool
            super().download_and_prepare(**kwargs)
        for split, errors in self._label_errors.items():
            print(f'{split}: labels against the truth\n{pseudo_gt.describe_fit(errors)}')

    def _read_motion(self):
        settings = self._settings
        training, held_out = [], []
        for clips in amass.find_clips(settings.motion_dir).values():
            names = amass.hold_out(clips, settings.held_out, settings.held_out_fraction)
            for clip in clips:
                (held_out if clip.name in names else training).append(clip)
        for stream, clips in ((_TRAIN, training), (_HELD_OUT, held_out)):
            self._frames[stream], skipped = amass.read_frames(clips, settings.stride)
            self._skipped += skipped
            if not self._frames[stream] and (stream == _TRAIN or settings.num_heldout):
                raise ValueError(
                    f'{settings.motion_dir}: no motion to {"train on" if clips else "hold out"} '
                    f'among {len(training)} + {len(held_out)} files; choose files by --held_out'
                )
        self._frames[_PSEUDO] = self._frames[_TRUE] = self._frames[_TRAIN]

    def _split_generators(self, dl_manager):
        del dl_manager
        settings = self._settings
        counts = {
            _TRAIN: settings.num_train,
            _PSEUDO: settings.num_pseudo,
            _TRUE: settings.num_pseudo_true,
            _HELD_OUT: settings.num_heldout,
        }
        return {
            look + stream: self._generate_examples(look, stream, count)
            for look, (stream, count) in itertools.product(settings.looks, counts.items())
            if count
        }

    def _jobs(self, look, stream, count):
        """The jobs of a split. Different people share no seed: clips, cameras, shapes and so on."""
        settings = self._settings
        seed = (settings.seed, _PEOPLE[stream])
        name = look + (_PSEUDO if stream == _TRUE else stream)  # the same keys for the same people
        if settings.motion_dir:
            drawn = poses.recorded(self._frames[stream], (*seed, 0), count)
        else:
            drawn = poses.procedural((*seed, 0), count, settings.kinds.split(','))
        for start in range(0, count, people.JOB_SIZE):
            chunk = list(itertools.islice(drawn, people.JOB_SIZE))
            yield people.DrawingJob(
                look=look,
                views=settings.views(stream),
                image_size=(round(settings.image_size * 4 / 3), settings.image_size),
                seed=(*seed, 1),
                start=start,
                keys=[f'{name}/{start + i}/{pose.key}' for i, pose in enumerate(chunk)],
                global_orient=np.stack([pose.global_orient for pose in chunk]),
                body_pose=np.stack([pose.body_pose for pose in chunk]),
                pseudo=stream == _PSEUDO,
            )

    def _generate_examples(self, look, stream, count):
        errors = []
        with Progress(look + stream, 'image', count) as bar:
            for result in people.run_jobs(self._jobs(look, stream, count), self._pool):
                if result.errors is not None:
                    errors.append(result.errors)
                for record in result.records:
                    yield record['key'], record
                    bar.update()
        if errors:
            self._label_errors[look + stream] = pseudo_gt.mean_errors(errors)


if __name__ == '__main__':
    prepare.run_builder(Builder, Settings, __doc__)
