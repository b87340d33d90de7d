"""Values made ahead of their use, by worker processes or by threads of this one.

    with Workers(4) as workers:
        for value in workers.map(make, numbers):  # make(number), in the order of the numbers
            ...

The arrays of a value come through memory that the parent shares with its workers, and are not
copied in the parent. That memory has no name: nothing of it stays behind, however the processes
end. Where there is none, arrays come through pipes. A worker imports what `make` needs, no more.
"""

import collections
import contextlib
import itertools
import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from multiprocessing import connection
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from tokenhmr_jax.data.worker import Reply, aligned

_AHEAD = 2  # values per worker or thread that are made before they are asked for
_HELD = 6  # values that the users of iterators may hold without slowing them
_SECONDS = 10.0  # for a worker to end
_MOST = 16  # workers, unless a number is given
# A main module is not imported: a command's would bring JAX into each worker.
_START = 'import sys; sys.path[:] = sys.argv[3:]; from tokenhmr_jax.data.worker import work; work()'
_ENVIRONMENT = {
    'OMP_NUM_THREADS': '1',
    'OPENBLAS_NUM_THREADS': '1',
    'OPENCV_FOR_THREADS_NUM': '1',
    'JAX_PLATFORMS': 'cpu',
}


def num_cores() -> int:
    """Number of cores that this process may use, or of all cores where the system does not say."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threaded(make: Callable[[Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    """`make` of each item, in their order, made ahead by threads of this process."""
    items, waiting = iter(items), collections.deque()
    pool = futures.ThreadPoolExecutor(count)
    try:
        ahead = itertools.islice(items, _AHEAD * count)
        waiting.extend(pool.submit(make, item) for item in ahead)
        while waiting:
            value = waiting.popleft().result()
            waiting.extend(pool.submit(make, item) for item in itertools.islice(items, 1))
            yield value
    finally:
        for future in waiting:  # `cancel_futures` fails as Python ends
            future.cancel()
        pool.shutdown()


class WorkerLost(ChildProcessError):
    """A worker was killed, by the system or by somebody."""


class Workers:
    """Processes that make values, and end with this one whatever ends it.

    SIGTERM and Ctrl-C do not reach them: terminals and schedulers send these to all processes, and
    the parent acts on them. One thread at a time may use them.
    """

    def __init__(self, count: int):
        self._shared, self._streams = _Shared(), itertools.count()
        self._workers: list[_Worker] = []
        try:
            for i in range(count):
                self._workers.append(_Worker(i, self._shared))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._workers)

    def __enter__(self) -> 'Workers':
        return self

    def __exit__(self, *unused) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers, also those at work."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.end()
        self._shared.close()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def map(self, make: Callable[[int], Any], numbers: Iterable[int]) -> Iterator[Any]:
        """`make` of each number, in their order. Several iterators may be in use at once.

        `make` and what it returns are pickled. The memory of a value's arrays is used again once
        all of them are gone. Raises what `make` raises, `WorkerLost` for a worker that was killed,
        and ChildProcessError for one that ended by itself.
        """
        stream, opening = next(self._streams), pickle.dumps(make)
        turns, numbers, size = itertools.cycle(self._workers), iter(numbers), 0
        asked: collections.deque[tuple[_Worker, _Answer]] = collections.deque()

        def ask(count: int) -> None:
            for number in itertools.islice(numbers, count):
                worker, slot = next(turns), self._shared.take(size) if size else None
                asked.append((worker, worker.ask(stream, number, slot)))

        try:
            for worker in self._workers:
                worker.send('open', stream, opening)
            ask(_AHEAD * len(self))
            while asked:
                worker, answer = asked.popleft()
                worker.wait_for(answer)
                if answer.error is not None:
                    raise answer.error
                value, size = answer.value, max(size, answer.size)
                if answer.slot is None or size > len(answer.slot.memory):
                    self._shared.grow(size, _AHEAD * len(self) + _HELD)
                del answer  # with its arrays
                ask(1)
                yield value
                del value
        finally:
            for worker in self._workers:
                with contextlib.suppress(ChildProcessError):
                    worker.send('close', stream)


@contextlib.contextmanager
def start_workers(count: int | None = None) -> Iterator[Workers | None]:
    """Some workers. By default one per core but this process's own; none, and None, if 0.

    Raises ValueError for a negative number.
    """
    if count is None:
        count = min(max(num_cores() - 1, 1), _MOST)
    if count < 0:
        raise ValueError(f'data.num_workers={count}: expected at least 0')
    if not count:
        yield None
        return
    with Workers(count) as workers:
        yield workers


class _Slot(NamedTuple):
    """A part of the shared memory, for the arrays of one value."""

    offset: int
    memory: mmap.mmap


class _Shared:
    """Memory that workers write and the parent maps, in slots; it grows as values need it."""

    def __init__(self):
        self.file = _unnamed_file()
        self.free: collections.deque[_Slot] = collections.deque()  # any thread may append
        self._slots: list[_Slot] = []
        self._full = False

    def close(self) -> None:
        """Closes the file. Its memory goes with the last array in it."""
        os.close(self.file)

    def take(self, size: int) -> _Slot | None:
        """A free slot for a value of `size` bytes, if there is one."""
        for _ in range(0 if self._full else len(self.free)):
            slot = self.free.popleft()
            if len(slot.memory) >= size:
                return slot
            self.free.append(slot)
        return None

    def grow(self, size: int, most: int) -> None:
        """Adds a slot for values of `size` bytes, unless there are `most` or no memory is left."""
        if self._full or sum(len(slot.memory) >= size for slot in self._slots) >= most:
            return
        # A little more: the names of other records may be longer.
        length = (int(1.02 * size) // mmap.ALLOCATIONGRANULARITY + 1) * mmap.ALLOCATIONGRANULARITY
        offset = sum(len(slot.memory) for slot in self._slots)
        try:
            os.ftruncate(self.file, offset + length)
            slot = _Slot(offset, mmap.mmap(self.file, length, offset=offset))
        except OSError as error:
            self.give_up(error)
            return
        self._slots.append(slot)
        self.free.append(slot)

    def give_up(self, reason: object) -> None:
        """Takes no more slots, with a warning."""
        if not self._full:
            logging.warning(
                'no shared memory for batches (%s): they come through pipes, which is slower; '
                'a smaller data.num_workers or batch_size needs less',
                reason,
            )
        self._full = True


def _unnamed_file() -> int:
    """A file in memory; on disk where the system has no such files."""
    if hasattr(os, 'memfd_create'):
        return os.memfd_create('batches')  # unlike /dev/shm, no container makes it small
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class _Answer:
    """A value that a worker was asked for."""

    def __init__(self, slot: _Slot | None):
        self.slot = slot
        self.size = 0  # bytes of its arrays
        self.value: Any = None
        self.error: Exception | None = None


class _Worker:
    """A worker process, and what it was asked for: it answers in that order."""

    def __init__(self, index: int, shared: _Shared):
        self._name, self._shared = f'data worker {index}', shared
        self.connection, theirs = connection.Pipe()
        handed = theirs.fileno(), shared.file
        command = [sys.executable, '-c', _START, *map(str, handed), *sys.path]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=handed, env=os.environ | _ENVIRONMENT
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self._asked: collections.deque[_Answer] = collections.deque()

    def ask(self, stream: int, number: int, slot: _Slot | None) -> _Answer:
        """Asks for a value, to be written to a slot."""
        self.send('make', stream, number, slot and (slot.offset, len(slot.memory)))
        self._asked.append(_Answer(slot))
        return self._asked[-1]

    def send(self, *message) -> None:
        """Sends a message, which never waits: a thread of the worker receives it."""
        try:
            self.connection.send(message)
        except OSError as error:
            raise self._lost() from error

    def wait_for(self, answer: _Answer) -> None:
        """Receives answers up to this one."""
        while answer in self._asked:
            try:
                self._receive(self._asked[0])
            except (EOFError, OSError) as error:
                raise self._lost() from error
            self._asked.popleft()

    def _receive(self, answer: _Answer) -> None:
        reply: Reply = self.connection.recv()
        answer.size, answer.error = sum(map(aligned, reply.lengths)), reply.error
        if reply.stored:
            memory = np.frombuffer(answer.slot.memory, np.uint8)
            freed = weakref.finalize(memory, self._shared.free.append, answer.slot)
            freed.atexit = False
            starts = itertools.accumulate(map(aligned, reply.lengths), initial=0)
            arrays = [memory[at : at + n] for at, n in zip(starts, reply.lengths, strict=False)]
        else:
            arrays = [np.empty(length, np.uint8) for length in reply.lengths]
            for array in arrays:
                self.connection.recv_bytes_into(array)
            if answer.slot is not None:
                self._shared.free.append(answer.slot)
        if reply.not_stored:
            self._shared.give_up(reply.not_stored)
        if reply.error is None:
            answer.value = pickle.loads(reply.body, buffers=arrays)

    def _lost(self) -> ChildProcessError:
        who = f'{self._name} (process {self.process.pid})'
        try:
            code = self.process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            return ChildProcessError(f'{who} closed its connection')
        if code == -signal.SIGKILL:
            return WorkerLost(
                f'{who} was killed by SIGKILL, likely because memory ran out: a smaller '
                'data.num_workers or batch_size needs less'
            )
        if code < 0:
            return WorkerLost(f'{who} was killed by {signal.Signals(-code).name}')
        return ChildProcessError(f'{who} ended with exit code {code}; it says why above')

    def end(self) -> None:
        """Waits for the process, whose connection is closed."""
        try:
            self.process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
