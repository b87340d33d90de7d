"""Batches of prepared datasets: weighted mixtures, deterministic, per host, resumable.

The name 'amass/CMU' means the split `CMU` of the dataset in `data_dir/amass`. Batches are
dictionaries of NumPy arrays stacked over records; `key` names each record.
"""

import functools
import pathlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import grain
import ml_collections
import numpy as np
from absl import logging
from jaxtyping import Bool

from tokenhmr_jax.data.examples import parser_of

# Fields of a record, and the same stacked over the records of a batch.
Record = dict[str, Any]
Columns = dict[str, np.ndarray]
# Name to weight.
Mixture = Mapping[str, float] | ml_collections.ConfigDict

_SUM_TOLERANCE = 1e-3
_FIRST_RECORDS = 1000
_VERSION = re.compile(r'\d+\.\d+\.\d+')


class Records:
    """Random access to the records of one split; errors name the broken record and file.

    `source` holds them as serialized examples, which `parse` turns into records. `shards` are the
    file and the number of records of each of the split's shards.
    """

    def __init__(
        self,
        name: str,
        source: Any,
        parse: Callable[[bytes], Record],
        shards: Sequence[tuple[str, int]] = (),
    ):
        self.name = name
        self._source = source
        self._parse = parse
        self._shards = shards

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int | np.integer) -> Record:
        try:
            return self._parse(self._source[index])
        except Exception as error:  # storage and decoders raise anything
            mend = f'{self._shard(index)} is broken: prepare the dataset again'
            message = f'{self.name}: record {index} cannot be read ({error}); {mend}'
            raise ValueError(message) from error

    def _shard(self, index) -> str:
        for file, length in self._shards:
            if index < length:
                return file
            index -= length
        return 'it'

    def read(self, indices: Sequence[int]) -> list[Record]:
        """Reads several records at once, much faster than one by one."""
        try:
            found = self._source.__getitems__(indices) if len(indices) > 0 else []
            return list(map(self._parse, found))
        except Exception:  # find the broken one
            return [self[index] for index in indices]


def open_split(data_dir: str, name: str) -> Records:
    """Opens the prepared split `name`, such as 'amass/CMU', below `data_dir`.

    Raises FileNotFoundError if the dataset or one of its files is missing, and ValueError if the
    dataset has no such split, or the split is empty.
    """
    import tensorflow_datasets as tfds  # half a second that predictions need not wait

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
    examples = builder.as_data_source(
        split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
    return Records(name, examples, parser_of(builder.info.features), shards)


def _version_folder(folder: pathlib.Path, data_dir: str) -> pathlib.Path:
    """The newest prepared version in a dataset's folder."""
    versions = _versions(folder, '*')
    if not versions:
        there = _versions(pathlib.Path(data_dir), '**/*')
        names = sorted({str(version.parent.relative_to(data_dir)) for version in there})
        raise FileNotFoundError(f'{folder}: no prepared dataset; {data_dir} holds {names}')
    return max(versions, key=lambda p: [int(n) for n in p.name.split('.')])


def _versions(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    """Prepared versions; folders set aside (1.0.0-old) or left incomplete do not count."""
    found = [info.parent for info in folder.glob(f'{pattern}/dataset_info.json')]
    return [version for version in found if _VERSION.fullmatch(version.name)]


def check_mixture(mixture: Mixture) -> None:
    """Raises ValueError unless the weights are positive and sum to 1."""
    if not mixture:
        raise ValueError('data.mixture is empty: expected {name: weight}')
    if min(mixture.values()) <= 0:
        raise ValueError(f'data.mixture: every weight must be above 0, got {dict(mixture)}')
    total = sum(mixture.values())
    if abs(total - 1) > _SUM_TOLERANCE:
        raise ValueError(f'data.mixture: the weights sum to {total:.4f}, expected 1')


def train_batches(
    data_dir: str,
    mixture: Mixture,
    *,
    batch_size: int,
    seed: int,
    num_threads: int,
    transform: Callable[[Record, np.random.Generator], Record] | None = None,
    max_bad_fraction: float = 0.0,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator:
    """An endless stream of this host's share of each global batch.

    The n-th record of the mixture depends on the seed alone, not on hosts or threads. `get_state`
    and `set_state` of the iterator resume at the exact record. The column `source` (int32) is the
    position of each record's dataset among the sorted names of the mixture. Raises as `open_split`
    and `check_mixture`.

    Args:
      batch_size: records in a global batch, of all hosts.
      transform: from a record and random numbers to what is batched. It raises ValueError for a
        corrupt record, which the dataset's next one replaces, with a warning.
      max_bad_fraction: largest fraction of corrupt records before the stream raises ValueError.
    """
    check_mixture(mixture)
    names = sorted(mixture)
    splits = [open_split(data_dir, name) for name in names]
    mixed = _mix_places(list(map(len, splits)), [mixture[name] for name in names], seed)
    ours = _share(batch_size, process_index, process_count)
    replacing = transform and _Replacing(splits, transform, seed, max_bad_fraction)

    def read(places: Sequence[_Place]) -> Columns:
        places = places[ours]
        records = _read(splits, places)
        if replacing is not None:
            records = replacing(records, places)
        return _stack(records) | {'source': np.array([p.source for p in places], np.int32)}

    batched = mixed.batch(batch_size, drop_remainder=True, batch_fn=read)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    return iter(batched.to_iter_dataset(options))


def no_records() -> grain.DatasetIterator:
    """An endless stream of batches without a record, for steps that draw all they train on."""
    empty = lambda _: {'key': np.zeros(0, 'S1')}  # noqa: E731
    return iter(grain.MapDataset.range(1).repeat().map(empty).to_iter_dataset())


def eval_batches(
    records: Records,
    *,
    batch_size: int,
    num_threads: int,
    transform: Callable[[Record], Record] | None = None,
    limit: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[tuple[Columns, Bool[np.ndarray, ' B']]]:
    """Every record exactly once, in order, in batches of one shape; the last batch is padded.

    Yields this host's share of each global batch, and which of its rows are records, not padding.
    A `limit` spreads fewer records evenly over the split.
    """
    total = len(records)
    count = total if limit is None else min(limit, total)
    padded = -(-count // batch_size) * batch_size
    ours = _share(batch_size, process_index, process_count)

    def read(positions: Sequence[int]) -> Columns:
        positions = positions[ours]
        chosen = records.read([min(p, count - 1) * total // count for p in positions])
        columns = _stack(chosen if transform is None else map(transform, chosen))
        return columns | {'valid': np.asarray(positions) < count}

    batched = grain.MapDataset.range(padded).batch(batch_size, batch_fn=read)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=2 * num_threads)
    for columns in batched.to_iter_dataset(options):
        yield columns, columns.pop('valid')


def take(
    splits: Sequence[Records],
    indices: Iterable[int | np.integer],
    transform: Callable[[Record], Record] | None = None,
) -> Columns:
    """Some records as one batch. `indices` count through the splits, one after the other."""
    starts = np.cumsum([0, *map(len, splits)])
    chosen = []
    for index in indices:
        split = int(np.searchsorted(starts, index, side='right')) - 1
        chosen.append(splits[split][int(index - starts[split])])
    return _stack(chosen if transform is None else map(transform, chosen))


def _share(batch_size: int, process_index: int, process_count: int) -> slice:
    """The rows of a global batch that a host reads: a record's row is the same for any hosts."""
    if batch_size % process_count:
        raise ValueError(f'batch_size={batch_size} does not divide over {process_count} hosts')
    share = batch_size // process_count
    return slice(process_index * share, (process_index + 1) * share)


class _Place(NamedTuple):
    """A record's dataset, its index there, and its position in the mixture."""

    source: int
    index: int
    position: int = 0


def _mix_places(sizes: Sequence[int], weights: Sequence[float], seed: int) -> grain.MapDataset:
    """Places of the mixture's records; each dataset is shuffled anew in every epoch, endlessly.

    Places flow instead of records, so that a batch's records are read together.
    """
    shuffled = [
        grain.MapDataset.range(size).seed(seed + source).shuffle().repeat()
        for source, size in enumerate(sizes)
    ]
    placed = [each.map(functools.partial(_Place, source)) for source, each in enumerate(shuffled)]
    mixed = grain.MapDataset.mix(placed, weights)
    return mixed.map_with_index(lambda position, place: place._replace(position=position))


class _Replacing:
    """A transform of records that replaces corrupt ones, and stops when there are too many.

    Random numbers depend on the seed and a record's position. Threads share the counts.
    """

    def __init__(self, splits: Sequence[Records], transform: Callable, seed: int, limit: float):
        self._splits, self._transform, self._seed, self._limit = splits, transform, seed, limit
        self._lock, self._records, self._bad = threading.Lock(), 0, 0

    def __call__(self, records: Sequence[Record], places: Sequence[_Place]) -> list[Record]:
        transformed = [self._one(*pair) for pair in zip(records, places, strict=True)]
        with self._lock:
            self._records += len(records)
        return transformed

    def _one(self, record: Record, place: _Place) -> Record:
        split = self._splits[place.source]
        for step in range(1, len(split) + 1):
            try:
                return self._transform(record, np.random.default_rng((self._seed, place.position)))
            except ValueError as error:
                self._count_bad(error)
            record = split[(place.index + step) % len(split)]
        raise ValueError(f'{split.name}: every record is corrupt')

    def _count_bad(self, error: Exception) -> None:
        with self._lock:
            self._bad += 1
            # The first records are too few to tell a fraction.
            if self._bad > self._limit * max(self._records, _FIRST_RECORDS):
                limit = f'more than data.max_bad_fraction={self._limit} of those read'
                message = f'{self._bad} corrupt records, {limit}; the last one: {error}'
                raise ValueError(message) from error
        logging.warning('left out a corrupt record, the %d. so far: %s', self._bad, error)


def _read(splits: Sequence[Records], places: Sequence[_Place]) -> list[Record]:
    """The records at `places`, in their order."""
    found = {}
    for source, split in enumerate(splits):
        ours = [place for place in places if place.source == source]
        found |= zip(ours, split.read([place.index for place in ours]), strict=True)
    return [found[place] for place in places]


def _stack(records: Iterable[Record]) -> Columns:
    records = list(records)
    return {key: np.stack([record[key] for record in records]) for key in records[0]}
