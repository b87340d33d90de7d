"""The benchmarks: 3DPW's test set and EMDB 1.

    python datasets/hmr_eval/hmr_eval_dataset_builder.py --data_dir=DATA --set=3dpw \\
        --manual_dir=3DPW --smpl_dir=SMPL

See README.md beside this file for the downloads.
"""

import dataclasses
import functools
import itertools
import pathlib
import sys
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from tokenhmr_jax.readers import hmr_eval, labels, listing, prepare, shards
from tokenhmr_jax.readers.prepare import setting

SETS = ('3dpw', 'emdb')


@dataclasses.dataclass(frozen=True)
class Settings(shards.ShardSettings):
    """Settings of the dataset; each is a flag of the command.

    Raises:
      ValueError: if a setting is out of its range, naming it.
    """

    set: str = setting('', f'Benchmark: {", ".join(SETS)}.')
    metadata: str = setting(
        '', "TokenHMR's 3dpw_test.npz or emdb.npz, instead of the official labels.", path_or=''
    )
    gender: str = setting(
        '', "'neutral' for metadata without genders, whose errors are then of another body."
    )
    smpl_dir: str = setting(
        '',
        "Folder of SMPL_MALE and SMPL_FEMALE; or 'mannequin', the body without files.",
        path_or='mannequin',
    )
    box_scale: float = setting(1.2, 'Factor of tight boxes; boxes of metadata stay as they are.')

    def __post_init__(self):
        super().__post_init__()
        if self.set not in SETS:
            raise ValueError(f'set={self.set!r}: expected one of {SETS}')
        if self.gender not in ('', 'neutral'):
            raise ValueError(f"gender={self.gender!r}: expected 'neutral' or nothing")
        if self.gender and not self.metadata:
            raise ValueError('gender: the official labels have genders; expected with --metadata')
        if not 1 <= self.box_scale <= 2:
            raise ValueError(f'box_scale={self.box_scale}: expected from 1 to 2')


class Builder(shards.Builder, skip_registration=True):
    """One config per benchmark, with the split `test`."""

    name = 'hmr_eval'
    pkg_dir_path = epath.Path(__file__).parent
    VERSION = tfds.core.Version('2.1.0')
    RELEASE_NOTES: ClassVar = {
        '2.1.0': "The pictures' cameras.",
        '2.0.0': "Pictures are the files themselves, so that crops are the original evaluation's.",
        '1.0.0': 'First version.',
    }

    def __init__(self, *, settings: Settings, **kwargs):
        config = tfds.core.BuilderConfig(name=settings.set)
        super().__init__(settings=settings, config=config, **kwargs)

    def units(self):
        if self._settings.metadata:
            warning = hmr_eval.check_genders(self._settings.metadata, self._settings.gender)
            if warning:
                print(f'warning: {warning}', file=sys.stderr)
            units = self._metadata()
        else:
            units = {'3dpw': self._3dpw, 'emdb': self._emdb}[self._settings.set]()
        return {'test': list(units)}

    def _need_bodies(self, genders):
        """Raises before anything is written if a body model is missing."""
        for gender in filter(genders.__contains__, labels.GENDERS):
            labels.load_keypoint_body(self._settings.smpl_dir, gender)

    def _3dpw(self):
        self._need_bodies({'male', 'female'})
        folder = self._settings.folder
        paths = listing.find_files(folder, 'sequenceFiles/test/*.pkl')
        if not paths:
            raise FileNotFoundError(f'{folder}: no sequenceFiles/test/*.pkl')
        for path in paths:
            pictures = folder / 'imageFiles' / path.stem
            if not pictures.is_dir():
                raise FileNotFoundError(f'{pictures}: no such folder, for {path}')
            read = functools.partial(hmr_eval.read_3dpw, path, pictures, self._options())
            yield shards.Unit(path.stem, path.stem, read)

    def _emdb(self):
        folder = self._settings.folder
        paths = listing.find_files(folder, 'P*/*/*_data.pkl')
        if not paths:
            raise FileNotFoundError(f'{folder}: no P<k>/<sequence>/*_data.pkl')
        genders = {path: hmr_eval.emdb1_gender(path) for path in paths}
        genders = {path: gender for path, gender in genders.items() if gender}
        self._need_bodies(set(genders.values()))
        for path in genders:
            name = path.stem.removesuffix('_data')
            read = functools.partial(hmr_eval.read_emdb, path, self._options())
            yield shards.Unit(name, name, read)

    def _metadata(self):
        """A unit for each sequence of a metadata file: rows whose pictures lie in one folder."""
        settings = self._settings
        names = map(hmr_eval.text, hmr_eval.load_metadata(settings.metadata)['imgname'])
        rows = enumerate(pathlib.PurePath(name).parent for name in names)
        for number, (folder, group) in enumerate(itertools.groupby(rows, key=lambda row: row[1])):
            ours = [row for row, _ in group]
            read = functools.partial(
                hmr_eval.read_metadata, settings.metadata, settings.folder, ours, self._options()
            )
            yield shards.Unit(f'{number}/{folder}', str(folder), read)

    def _options(self):
        settings = self._settings
        return hmr_eval.HmrEvalOptions(settings.smpl_dir, settings.box_scale, settings.gender)


if __name__ == '__main__':
    prepare.run_builder(Builder, Settings, __doc__)
