"""From prepared datasets to batches: weighted mixtures, deterministic, per host, resumable.

A name such as 'amass/CMU' means the split `CMU` of the dataset in `data_dir/amass`. Batches are
dictionaries of NumPy arrays stacked over records; `key` names where each record came from.
"""

import functools
import pathlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import grain
import numpy as np
import tensorflow_datasets as tfds
from absl import logging

_SUM_TOLERANCE = 1e-3
_FIRST_RECORDS = 1000
_VERSION = re.compile(r'\d+\.\d+\.\d+')


class Records:
    """Random access to the records of one split, with errors that say which record is broken.

    Args:
      name: of the split.
      source: what holds the records.
      shards: the file and the number of records of each of the split's shards.
    """

    def __init__(self, name: str, source, shards: Sequence[tuple[str, int]] = ()):
        self._name = name
        self._source = source
        self._shards = shards

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index) -> dict:
        try:
            return self._source[index]
        except Exception as error:  # whatever the storage and the decoder raise
            raise ValueError(
                f'{self._name}: record {index} cannot be read ({error}); {self._shard(index)}is '
                'broken: prepare the dataset again'
            ) from error

    def _shard(self, index) -> str:
        for file, length in self._shards:
            if index < length:
                return f'{file} '
            index -= length
        return 'it '

    def read(self, indices: Sequence[int]) -> list[dict]:
        """Several records in one go, which takes a fraction of the time of one by one."""
        try:
            return list(self._source.__getitems__(indices)) if len(indices) > 0 else []
        except Exception:  # find the broken one
            return [self[index] for index in indices]

    def __repr__(self) -> str:
        return f'Records({self._name}, {len(self)})'


def open_split(data_dir: str, name: str) -> Records:
    """Open the prepared split `name`, such as 'amass/CMU', below `data_dir`.

    Raises:
      FileNotFoundError: if the dataset, or one of its files, is not there.
      ValueError: if the dataset has no such split, or the split is empty.
    """
    dataset, _, split = name.rpartition('/')
    folder = _version_folder(pathlib.Path(data_dir) / dataset, data_dir)
    builder = tfds.builder_from_directory(folder)
    if split not in builder.info.splits:
        raise ValueError(f'{name}: {folder} has the splits {sorted(builder.info.splits)}')
    info = builder.info.splits[split]
    for file in info.filepaths:
        if not pathlib.Path(file).is_file():
            raise FileNotFoundError(f'{name}: {file} is missing; prepare the dataset again')
    if not info.num_examples:
        raise ValueError(f'{name}: the split holds no records')
    shards = list(zip(map(str, info.filepaths), info.shard_lengths, strict=True))
    return Records(name, builder.as_data_source(split), shards)


def _version_folder(folder: pathlib.Path, data_dir: str) -> pathlib.Path:
    """The newest prepared version in a dataset's folder."""
    versions = _versions(folder, '*')
    if not versions:
        there = _versions(pathlib.Path(data_dir), '**/*')
        names = sorted({str(version.parent.relative_to(data_dir)) for version in there})
        raise FileNotFoundError(f'{folder}: no prepared dataset; {data_dir} holds {names}')
    return max(versions, key=lambda p: [int(n) for n in p.name.split('.')])


def _versions(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    """Prepared versions, and no folders that were put aside, as 1.0.0-old, or left incomplete."""
    found = [info.parent for info in folder.glob(f'{pattern}/dataset_info.json')]
    return [version for version in found if _VERSION.fullmatch(version.name)]


def check_mixture(mixture: Mapping[str, float]) -> None:
    """Raise ValueError unless the weights are positive and sum to 1."""
    if not mixture:
        raise ValueError('data.mixture is empty: expected {name: weight}')
    if min(mixture.values()) <= 0:
        raise ValueError(f'data.mixture: every weight must be above 0, got {dict(mixture)}')
    total = sum(mixture.values())
    if abs(total - 1) > _SUM_TOLERANCE:
        raise ValueError(f'data.mixture: the weights sum to {total:.4f}, expected 1')


def train_batches(
    data_dir: str,
    mixture: Mapping[str, float],
    *,
    batch_size: int,
    seed: int,
    num_threads: int,
    transform: Callable[[dict, np.random.Generator], dict] | None = None,
    max_bad_fraction: float = 0.0,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """An endless stream of this host's share of each global batch.

    Each dataset is shuffled as a whole, again in every epoch, and repeated without end; the
    mixture takes from them in the proportion of their weights. The n-th record of the mixture
    depends on the seed alone: any number of hosts sees the same global batches, in the same order.
    `get_state` and `set_state` of the iterator name a position, to resume at the exact record.

    Each record also tells its `source`: int32, the place of its dataset's name in alphabetical
    order, which is the order of a config's mixture.

    Args:
      data_dir: where prepared datasets lie.
      mixture: name to weight, summing to 1.
      batch_size: records in a global batch.
      seed: of the shuffles and transforms.
      num_threads: that read, decode and transform.
      transform: called with a record and a generator of random numbers, which the seed and the
        record's position in the stream decide; returns what is batched, or raises ValueError for a
        corrupt record. This is then named in a warning, and the dataset's next one comes in its
        place.
      max_bad_fraction: more corrupt records than this share of those read stop the stream.
      process_index: this host.
      process_count: number of hosts.

    Raises:
      FileNotFoundError, ValueError: as `open_split` and `check_mixture`, before any record is read;
        later ValueError naming corrupt records, if there are too many, or a shard that is broken.
    """
    check_mixture(mixture)
    names = sorted(mixture)
    splits = [open_split(data_dir, name) for name in names]
    # What flows is where each record lies; a batch's records are then read together.
    shuffled = [
        grain.MapDataset.range(len(split)).seed(seed + source).shuffle().repeat()
        for source, split in enumerate(splits)
    ]
    placed = [each.map(functools.partial(_Place, source)) for source, each in enumerate(shuffled)]
    mixed = grain.MapDataset.mix(placed, [mixture[name] for name in names])
    ours = _share(batch_size, process_index, process_count)

    failures = _Failures(max_bad_fraction)

    def transformed(record: dict, place: _Place) -> dict:
        split = splits[place.source]
        for step in range(1, len(split) + 1):
            try:
                return transform(record, np.random.default_rng((seed, place.position)))
            except ValueError as error:
                failures.add(error)
            record = split[(place.index + step) % len(split)]
        raise ValueError(f'{names[place.source]}: every record is corrupt')

    def read(places: Sequence[_Place]) -> dict[str, np.ndarray]:
        records = _read(splits, places)
        if transform is not None:
            records = [transformed(*pair) for pair in zip(records, places, strict=True)]
            failures.seen(len(records))
        return _stack(records) | {'source': np.array([p.source for p in places], np.int32)}

    batched = mixed.map_with_index(_at).batch(
        batch_size, drop_remainder=True, batch_fn=lambda places: read(places[ours])
    )
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    return iter(batched.to_iter_dataset(options))


def eval_batches(
    records: Records,
    *,
    batch_size: int,
    num_threads: int,
    transform: Callable[[dict], dict] | None = None,
    limit: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Every record exactly once, in order, in batches of one shape; the last one is padded.

    Args:
      records: of `open_split`.
      batch_size: records in a global batch.
      num_threads: that read, decode and transform.
      transform: called with a record; returns what is batched.
      limit: how many records at most, spread evenly over the split; None for all.
      process_index: this host.
      process_count: number of hosts.

    Yields:
      this host's share of each batch, and `valid` (B,), false where it is padding.
    """
    total = len(records)
    count = total if limit is None else min(limit, total)
    padded = -(-count // batch_size) * batch_size

    def read(positions: Sequence[int]) -> dict[str, np.ndarray]:
        chosen = records.read([min(p, count - 1) * total // count for p in positions])
        columns = _stack(chosen if transform is None else map(transform, chosen))
        return columns | {'valid': np.asarray(positions) < count}

    ours = _share(batch_size, process_index, process_count)
    batched = grain.MapDataset.range(padded).batch(
        batch_size, batch_fn=lambda positions: read(positions[ours])
    )
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    for columns in batched.to_iter_dataset(options):
        yield columns, columns.pop('valid')


class _Failures:
    """Counts corrupt records over all threads, and stops when they are too many."""

    def __init__(self, max_fraction: float):
        self._max_fraction = max_fraction
        self._lock = threading.Lock()
        self._records = 0
        self._bad = 0

    def seen(self, count: int) -> None:
        with self._lock:
            self._records += count

    def add(self, error: Exception) -> None:
        with self._lock:
            self._bad += 1
            # The first records are too few to tell a share.
            if self._bad > self._max_fraction * max(self._records, _FIRST_RECORDS):
                raise ValueError(
                    f'{self._bad} corrupt records, more than data.max_bad_fraction='
                    f'{self._max_fraction} of those read; the last one: {error}'
                ) from error
        logging.warning('left out a corrupt record, the %d. so far: %s', self._bad, error)


def take(
    splits: Sequence[Records],
    indices: Iterable[int],
    transform: Callable[[dict], dict] | None = None,
) -> dict[str, np.ndarray]:
    """Some records as one batch. `indices` count through one split after the other."""
    starts = np.cumsum([0, *map(len, splits)])
    chosen = []
    for index in indices:
        split = int(np.searchsorted(starts, index, side='right')) - 1
        chosen.append(splits[split][int(index - starts[split])])
    return _stack(chosen if transform is None else map(transform, chosen))


def _share(batch_size: int, process_index: int, process_count: int) -> slice:
    """Which of a global batch's records a host reads: as many as the others, next to each other.

    So a record has the same place in the global batch whatever the number of hosts.
    """
    if batch_size % process_count:
        raise ValueError(f'batch_size={batch_size} does not divide over {process_count} hosts')
    share = batch_size // process_count
    return slice(process_index * share, (process_index + 1) * share)


class _Place(NamedTuple):
    """Where a record of the mixture lies: which dataset, where in it; and its own place."""

    source: int
    index: int
    position: int = 0


def _at(position: int, place: _Place) -> _Place:
    return place._replace(position=position)


def _read(splits: Sequence[Records], places: Sequence[_Place]) -> list[dict]:
    """The records at `places`, in their order."""
    found = {}
    for source, split in enumerate(splits):
        ours = [place for place in places if place.source == source]
        found |= zip(ours, split.read([place.index for place in ours]), strict=True)
    return [found[place] for place in places]


def _stack(records: Iterable[dict]) -> dict[str, np.ndarray]:
    records = list(records)
    return {key: np.stack([record[key] for record in records]) for key in records[0]}
