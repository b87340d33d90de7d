"""Raw records of a prepared split, which lie in files of one after the other."""

import threading
from collections.abc import Sequence
from concurrent import futures
from typing import Any

import numpy as np
from array_record.python import array_record_module

# Records are read in any order: nothing is read beyond them.
_OPTIONS = {'options': 'readahead_buffer_size:0', 'file_reader_buffer_size': 2**15}
_THREADS = 16  # files read at once: each read of a network's file system takes its time


class Shards:
    """Random access to the records of some files, given their numbers of records.

    Files are opened when they are read. Pickled, none is open.
    """

    def __init__(self, files: Sequence[str], lengths: Sequence[int]):
        self._files, self._lengths = list(files), list(lengths)
        self._ends = np.cumsum(self._lengths)
        self._readers: dict[int, Any] = {}
        self._lock = threading.Lock()
        self._pool: futures.Executor | None = None

    def __reduce__(self):
        return Shards, (self._files, self._lengths)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def file(self, index: int | np.integer) -> str:
        """The file of a record."""
        return self._files[int(np.searchsorted(self._ends, index, side='right'))]

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """The records of some indices, 0 to the length - 1, in their order.

        Raises IndexError for another index, and whatever a broken file makes its reader raise.
        """
        indices = np.asarray(indices, np.int64)
        if not ((indices >= 0) & (indices < len(self))).all():
            raise IndexError(f'records {indices}: expected 0 to {len(self) - 1}')
        numbers = np.searchsorted(self._ends, indices, side='right')
        groups = [
            (number, np.flatnonzero(numbers == number)) for number in np.unique(numbers).tolist()
        ]
        positions = indices - (self._ends - self._lengths)[numbers]
        read = lambda group: self._reader(group[0]).read(positions[group[1]].tolist())  # noqa: E731
        found: list[bytes] = [b''] * len(indices)
        mapped = map(read, groups) if len(groups) < 2 else self._threads().map(read, groups)
        for (_, rows), records in zip(groups, mapped, strict=True):
            for row, record in zip(rows, records, strict=True):
                found[row] = record
        return found

    def _reader(self, number: int) -> Any:
        with self._lock:
            if number not in self._readers:
                file = self._files[number]
                self._readers[number] = array_record_module.ArrayRecordReader(file, **_OPTIONS)
            return self._readers[number]

    def _threads(self) -> futures.Executor:
        with self._lock:
            if self._pool is None:
                self._pool = futures.ThreadPoolExecutor(_THREADS)
            return self._pool
