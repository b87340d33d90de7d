"""Batches for the steps of a run, and how long the devices wait for them."""

import contextlib
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import jax

from tokenhmr_jax.data import pipeline
from tokenhmr_jax.data.workers import num_cores

_MOST = 0.1  # share of the time, above which the data is too slow


class Feed:
    """An iterator over batches that measures how long the devices have had nothing to do for it.

    Steps run behind the host: it may wait for a batch while they are still at work. So the time
    counts only from the end of the last step on. `data` is where the batches come from.
    """

    def __init__(self, batches: Iterator[Any], data: pipeline.Batches):
        self._batches, self._data, self._waited = batches, data, 0.0
        self._watch = futures.ThreadPoolExecutor(1, 'watch')
        self._ended: futures.Future | None = None

    def __enter__(self) -> 'Feed':
        return self

    def __exit__(self, *unused) -> None:
        self._watch.shutdown()

    def __next__(self) -> Any:
        asked = time.monotonic()
        batch = next(self._batches)
        if self._ended is not None and self._ended.done():
            self._waited += max(time.monotonic() - max(asked, self._ended.result()), 0.0)
        return batch

    def ran(self, output: Any) -> None:
        """Takes arrays of the step just dispatched."""
        self._ended = self._watch.submit(_when_ready, output)

    def take_waited(self) -> float:
        """Seconds of waiting since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited

    @property
    def made(self) -> float | None:
        """Examples per second that the workers can make, of all processes; None if unknown."""
        rate = self._data.rate
        return rate and rate * jax.process_count()

    def advice(self, share: float) -> str | None:
        """Advice if devices wait for data too large a share of the time."""
        if share <= _MOST:
            return None
        workers, cores = self._data.num_workers, num_cores()
        if not workers:
            change = 'data.num_workers=0 is for debugging, leave it unset'
        elif workers < cores - 1:
            change = f'set data.num_workers above {workers}, this machine has {cores} cores'
        else:
            change = f'data.num_workers={workers} take all {cores} cores, more of them are needed'
        made = f' (its workers make {self.made:.0f} examples/s)' if self.made else ''
        return f'the steps wait for data {share:.0%} of the time{made}: {change}'


def _when_ready(arrays: Any) -> float:
    with contextlib.suppress(Exception):  # the loop meets it too, and says more
        jax.block_until_ready(arrays)
    return time.monotonic()
