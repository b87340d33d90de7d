"""Single body poses to train with, from motion capture files or a procedural source.

    python datasets/amass/amass_dataset_builder.py --data_dir=DATA --manual_dir=AMASS

See README.md beside this file for the files that `manual_dir` may hold.
"""

import dataclasses
import pathlib
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from tokenhmr_jax.cli import Progress
from tokenhmr_jax.mannequin import motion
from tokenhmr_jax.readers import amass, prepare
from tokenhmr_jax.readers.prepare import setting

HELD_OUT = '_heldout'
PROCEDURAL = 'procedural'
_CLIP_FRAMES, _CLIP_FPS = 25, 2.5  # of procedural motion: ten seconds


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the dataset; each is a flag of the command.

    Raises:
      ValueError: if a setting is out of its range, naming it.
    """

    manual_dir: str = setting(
        '', 'Folder of motion files. Without it: procedural motion.', path_or=''
    )
    stride: int = setting(10, 'Every stride-th frame of AMASS files is taken.')
    middle: float = setting(0.6, 'Fraction of each AMASS file, in its middle, that is used.')
    moyo_stride: int = setting(5, 'As stride, for MOYO.')
    moyo_middle: float = setting(0.8, 'As middle, for MOYO.')
    held_out: str = setting('', 'Regular expression: names <source>/.../<clip> to hold out.')
    held_out_fraction: float = setting(
        0.1, 'Without held_out: fraction to hold out of clips directly in manual_dir.'
    )
    max_bad_fraction: float = setting(
        0.02, 'The run ends if a larger fraction of files is unreadable.', how=True
    )
    num_procedural: int = setting(60_000, 'Procedural training poses; 1/20 more are held out.')
    seed: int = setting(0, 'Random seed of procedural motion.')

    def __post_init__(self):
        prepare.check_least(self, stride=1, moyo_stride=1, num_procedural=1)
        for name in ('middle', 'moyo_middle'):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f'{name}={getattr(self, name)}: expected above 0 and at most 1')
        prepare.check_fraction(self, 'held_out_fraction')
        prepare.check_fraction(self, 'max_bad_fraction')
        prepare.check_pattern(self, 'held_out')


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Splits `<source>`, and `<source>_heldout` if clips of it are held out."""

    name = 'amass'
    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version('1.1.0')
    RELEASE_NOTES: ClassVar = {'1.0.0': 'First version.', '1.1.0': 'Root orientations.'}

    def __init__(self, *, settings: Settings = Settings(), **kwargs):
        self._settings = settings
        self._sources = {}
        self._skipped = []
        super().__init__(**kwargs)

    def _info(self):
        settings = prepare.deciding_fields(self._settings)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({
                # SMPL joints 1 to 21, axis-angle in radians; as bytes, which are fast to decode.
                'body_pose': tfds.features.Tensor(
                    shape=(21, 3), dtype=np.float32, encoding=tfds.features.Encoding.BYTES
                ),
                # In a z-up world.
                'global_orient': tfds.features.Tensor(
                    shape=(3,), dtype=np.float32, encoding=tfds.features.Encoding.BYTES
                ),
                # '<source>/<subject>/<sequence>:<frame>'
                'key': tfds.features.Text(),
            }),
            metadata=tfds.core.MetadataDict(settings=settings, skipped=self._skipped),
        )  # fmt: skip

    def download_and_prepare(self, **kwargs):
        """As in TFDS; a missing or empty `manual_dir` raises before anything is written."""
        if self._settings.manual_dir and not self.is_prepared():
            self._sources = amass.find_clips(self._settings.manual_dir)
        super().download_and_prepare(**kwargs)

    def _split_generators(self, dl_manager):
        del dl_manager
        settings = self._settings
        if not settings.manual_dir:
            held_out = -(-settings.num_procedural // 20)
            counts = {PROCEDURAL: settings.num_procedural, PROCEDURAL + HELD_OUT: held_out}
            return {
                split: self._generate_examples(split, self._procedural(count, stream), count)
                for stream, (split, count) in enumerate(counts.items())
            }
        splits = {}
        for source, clips in self._sources.items():
            for clip, split in zip(clips, self._splits(source, clips), strict=True):
                splits.setdefault(split, []).append(clip)
        return {
            split: self._generate_examples(split, self._recorded(split, clips))
            for split, clips in splits.items()
        }

    def _splits(self, source, clips):
        """The split of each clip: held out by expression, the files' own division, or fraction."""
        settings = self._settings
        root = pathlib.Path(settings.manual_dir).expanduser().resolve()
        loose = all(clip.kind == 'amass' and clip.path.parent == root for clip in clips)
        fraction = settings.held_out_fraction if loose else 0.0
        held_out = amass.hold_out(clips, settings.held_out, fraction)
        has_train = any(clip.part == 'train' for clip in clips)
        for clip in clips:
            # A preprocessed validation file alone is a whole source; MOYO's folder never is.
            other_part = clip.part in ('val', 'test') and (has_train or clip.kind == 'moyo')
            yield source + HELD_OUT * (clip.name in held_out or other_part)

    def _recorded(self, split, clips):
        """Yields key, root and pose of the chosen frames of one split's clips."""
        settings, found = self._settings, 0
        sampling = {
            'amass': (settings.stride, settings.middle),
            'moyo': (settings.moyo_stride, settings.moyo_middle),
            'preprocessed': (1, 1.0),
        }
        for clip in clips:
            try:
                poses = amass.read_body_pose(clip)
                roots = amass.read_root(clip, len(poses))
            except amass.BadClip as error:
                self._skip(str(error))
                continue
            for frame in amass.middle_frames(len(poses), *sampling[clip.kind]):
                found += 1
                yield f'{clip.name}:{frame}', roots[frame], poses[frame]
        if not found:
            raise ValueError(
                f'{split}: no frame in its {len(clips)} files, such as {clips[0].path}'
            )

    def _skip(self, reason):
        self._skipped.append(reason)
        num_files = sum(map(len, self._sources.values()))
        if len(self._skipped) > self._settings.max_bad_fraction * num_files:
            raise ValueError(
                f'{len(self._skipped)} bad files, more than max_bad_fraction='
                f'{self._settings.max_bad_fraction} of {num_files}: '
                + '; '.join(self._skipped[:10])
            )

    def _procedural(self, count, stream):
        """Yields key, root and pose of procedural motion; two streams share no clip."""
        for start in range(0, count, _CLIP_FRAMES):
            clip = start // _CLIP_FRAMES
            rng = np.random.default_rng((self._settings.seed, stream, clip))
            kind = motion.sample_kind(rng)
            moved = motion.generate(rng, kind, min(_CLIP_FRAMES, count - start), _CLIP_FPS)
            poses = zip(moved.global_orient, moved.body_pose, strict=True)
            for frame, pose in enumerate(poses):
                yield f'{PROCEDURAL}/{kind}/{stream}-{clip:06d}:{frame}', *pose

    def _generate_examples(self, split, poses, count=None):
        with Progress(split, 'pose', count) as bar:
            for key, root, pose in bar.over(poses):
                yield key, {'body_pose': pose, 'global_orient': root, 'key': key}


if __name__ == '__main__':
    prepare.run_builder(Builder, Settings, __doc__)
