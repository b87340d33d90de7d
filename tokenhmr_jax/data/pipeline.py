"""Batches of prepared datasets: weighted mixtures, deterministic, per host, resumable.

The name 'amass/CMU' means the split `CMU` of the dataset in `data_dir/amass`. Batches are
dictionaries of NumPy arrays stacked over records; `key` names each record.
"""

import collections
import functools
import itertools
import pathlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from absl import logging
from jaxtyping import Bool

from tokenhmr_jax.data import mixing
from tokenhmr_jax.data.examples import parser_of
from tokenhmr_jax.data.shards import Shards
from tokenhmr_jax.data.workers import Workers, threaded

# Fields of a record, and the same stacked over the records of a batch.
Record = dict[str, Any]
Columns = dict[str, np.ndarray]
# Name to weight.
Mixture = Mapping[str, float] | ml_collections.ConfigDict

_SUM_TOLERANCE = 1e-3
_FIRST_RECORDS = 1000
_RECENT = 64  # batches whose rate is measured
_VERSION = re.compile(r'\d+\.\d+\.\d+')


class Records:
    """Random access to the records of one split; errors name the broken record and file.

    `parse` turns serialized examples into records. Pickled, it goes to workers.
    """

    def __init__(self, name: str, shards: Shards, parse: Callable[[bytes], Record]):
        self.name = name
        self._shards = shards
        self._parse = parse

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: int | np.integer) -> Record:
        try:
            return self._parse(self._shards.read([index])[0])
        except Exception as error:  # storage and decoders raise anything
            mend = f'{self._shards.file(index)} is broken: prepare the dataset again'
            message = f'{self.name}: record {index} cannot be read ({error}); {mend}'
            raise ValueError(message) from error

    def read(self, indices: Sequence[int]) -> list[Record]:
        """Reads several records at once, much faster than one by one."""
        try:
            return list(map(self._parse, self._shards.read(indices)))
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
    shards = Shards([str(file) for file in info.filepaths], info.shard_lengths)
    return Records(name, shards, parser_of(builder.info.features))


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


class Batches:
    """Batches without end, and the position among them.

    `make` makes the batches of some numbers, each with the seconds that it took; `num_workers`
    processes do so at once, 0 for this process itself.
    """

    def __init__(
        self, make: Callable[[Iterable[int]], Iterator[tuple[Columns, float]]], num_workers: int = 0
    ):
        self._make, self._next, self.num_workers = make, 0, num_workers
        self._made: Iterator[tuple[Columns, float]] | None = None
        self._recent: collections.deque[tuple[int, float]] = collections.deque(maxlen=_RECENT)

    def __iter__(self) -> 'Batches':
        return self

    def __next__(self) -> Columns:
        if self._made is None:
            self._made = self._make(itertools.count(self._next))
        columns, seconds = next(self._made)
        self._recent.append((len(columns['key']), seconds))
        self._next += 1
        return columns

    @property
    def rate(self) -> float | None:
        """Records per second that the workers make when nothing holds them up; None if unknown."""
        seconds = self.num_workers and sum(seconds for _, seconds in self._recent)
        return self.num_workers * sum(n for n, _ in self._recent) / seconds if seconds else None

    def get_state(self) -> dict[str, int]:
        """The position, which fits any number of workers, threads and hosts."""
        return {'next_index': self._next}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from a position. Raises ValueError if it is none."""
        if set(state) != {'next_index'}:
            raise ValueError(
                f'position in the data {dict(state)}: expected {{"next_index": NUMBER}}'
            )
        self._next, self._made = state['next_index'], None


def train_batches(
    data_dir: str,
    mixture: Mixture,
    *,
    batch_size: int,
    seed: int,
    num_threads: int,
    workers: Workers | None = None,
    transform: Callable[[Record, np.random.Generator], Record] | None = None,
    max_bad_fraction: float = 0.0,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
    """An endless stream of this host's share of each global batch.

    The n-th record of the mixture depends on the seed alone, not on hosts, workers or threads.
    `get_state` and `set_state` of the stream resume at the exact record. The column `source`
    (int32) is the position of each record's dataset among the sorted names of the mixture. Raises
    as `open_split` and `check_mixture`.

    Args:
      batch_size: records in a global batch, of all hosts.
      num_threads: threads of this process that make batches if there are no `workers`.
      transform: from a record and random numbers to what is batched. It raises ValueError for a
        corrupt record, which the dataset's next one replaces, with a warning.
      max_bad_fraction: largest fraction of corrupt records before the stream raises ValueError.
    """
    check_mixture(mixture)
    names = sorted(mixture)
    splits = [open_split(data_dir, name) for name in names]
    weights = tuple(mixture[name] for name in names)
    order = mixing.Order(tuple(map(len, splits)), weights, seed)
    ours = _share(batch_size, process_index, process_count)
    make = _TrainBatch(splits, order, batch_size, ours, transform, max_bad_fraction)
    counted = _Corrupt(max_bad_fraction)

    def start(numbers: Iterable[int]) -> Iterator[tuple[Columns, float]]:
        for columns, errors, seconds in _map(make, numbers, num_threads, workers):
            counted.add(len(columns['key']), errors)
            yield columns, seconds

    return Batches(start, len(workers or ()))


def no_records() -> Batches:
    """An endless stream of batches without a record, for steps that draw all they train on."""
    return Batches(functools.partial(map, lambda _: ({'key': np.zeros(0, 'S1')}, 0.0)))


def eval_batches(
    records: Records,
    *,
    batch_size: int,
    num_threads: int,
    workers: Workers | None = None,
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
    ours = _share(batch_size, process_index, process_count)
    make = _EvalBatch(records, count, batch_size, ours, transform)
    yield from _map(make, range(-(-count // batch_size)), num_threads, workers)


def _map(make: Callable, numbers: Iterable[int], num_threads: int, workers: Workers | None):
    if workers is None:
        return threaded(make, numbers, num_threads)
    return workers.map(make, numbers)


class _TrainBatch(NamedTuple):
    """Makes a host's share of the n-th global batch; also in workers, to which it is pickled."""

    splits: Sequence[Records]
    order: mixing.Order
    batch_size: int
    ours: slice
    transform: Callable[[Record, np.random.Generator], Record] | None
    max_bad_fraction: float

    def __call__(self, number: int) -> tuple[Columns, list[str], float]:
        """The batch, the errors of corrupt records that were replaced in it, and its seconds."""
        begun = time.perf_counter()
        positions = number * self.batch_size + np.arange(self.batch_size)[self.ours]
        sources, indices = self.order.places(positions)
        records = self._read(sources, indices)
        errors: list[str] = []
        if self.transform is not None:
            places = zip(
                records, sources.tolist(), indices.tolist(), positions.tolist(), strict=True
            )
            records = [self._transformed(*place, errors) for place in places]
        columns = _stack(records) | {'source': sources}
        return columns, errors, time.perf_counter() - begun

    def _read(self, sources: np.ndarray, indices: np.ndarray) -> list[Record]:
        """The records at some places, in their order."""
        found: list[Record] = [{}] * len(sources)
        for source, split in enumerate(self.splits):
            rows = np.flatnonzero(sources == source)
            for row, record in zip(rows, split.read(indices[rows].tolist()), strict=True):
                found[row] = record
        return found

    def _transformed(
        self, record: Record, source: int, index: int, position: int, errors: list[str]
    ) -> Record:
        """A record transformed, or the next one of its dataset that is not corrupt.

        Random numbers depend on the seed and a record's position.
        """
        split = self.splits[source]
        for step in range(1, len(split) + 1):
            try:
                return self.transform(record, np.random.default_rng((self.order.seed, position)))
            except ValueError as error:
                errors.append(str(error))
                # All records before are more than the parent has counted.
                most = position + self.batch_size
                _check_bad(len(errors), most, self.max_bad_fraction, errors[-1])
            record = split[(index + step) % len(split)]
        raise ValueError(f'{split.name}: every record is corrupt')


class _EvalBatch(NamedTuple):
    """Makes a host's share of the n-th batch of `count` records; also in workers."""

    records: Records
    count: int
    batch_size: int
    ours: slice
    transform: Callable[[Record], Record] | None

    def __call__(self, number: int) -> tuple[Columns, Bool[np.ndarray, ' B']]:
        positions = number * self.batch_size + np.arange(self.batch_size)[self.ours]
        last, total = self.count - 1, len(self.records)
        chosen = np.minimum(positions, last) * total // self.count
        records = self.records.read(chosen.tolist())
        if self.transform is not None:
            records = map(self.transform, records)
        return _stack(records), positions < self.count


class _Corrupt:
    """Counts records, and leaves out corrupt ones with a warning, unless they are too many."""

    def __init__(self, limit: float):
        self._limit, self._records, self._bad = limit, 0, 0

    def add(self, records: int, errors: Sequence[str]) -> None:
        """Takes a batch into account. Raises ValueError as `_check_bad`."""
        for error in errors:
            self._bad += 1
            _check_bad(self._bad, self._records, self._limit, error)
            logging.warning('left out a corrupt record, the %d. so far: %s', self._bad, error)
        self._records += records


def _check_bad(bad: int, records: int, limit: float, error: str) -> None:
    """Raises ValueError if too many of some records are corrupt; `error` is the last one's."""
    # The first records are too few to tell a fraction.
    if bad > limit * max(records, _FIRST_RECORDS):
        most = f'more than data.max_bad_fraction={limit} of those read'
        raise ValueError(f'{bad} corrupt records, {most}; the last one: {error}')


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


def _stack(records: Iterable[Record]) -> Columns:
    records = list(records)
    return {key: np.stack([record[key] for record in records]) for key in records[0]}
