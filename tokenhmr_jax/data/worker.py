"""A worker process of `workers`: it makes what its parent asks for, until its parent is gone."""

import contextlib
import functools
import os
import pickle
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import NamedTuple

_ALIGNMENT = 64  # bytes; JAX takes aligned arrays as they are
_SMALL = 2**16  # bytes of arrays that are copied: whoever keeps one shall not keep all the others


class Reply(NamedTuple):
    """A worker's answer: a pickle without its arrays, or an error.

    lengths: bytes of the arrays, which follow unless they are `stored` in the slot.
    not_stored: the reason, where the system refused memory.
    """

    body: bytes = b''
    lengths: tuple[int, ...] = ()
    stored: bool = False
    not_stored: str = ''
    error: Exception | None = None


def aligned(size: int) -> int:
    """Bytes that an array takes in a slot."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def work() -> None:
    """The life of a worker process: makes what it is asked for until its parent is gone."""
    pipe, file = connection.Connection(int(sys.argv[1])), int(sys.argv[2])
    messages, makes, closed = queue.SimpleQueue(), {}, set()

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                message = pipe.recv()
                if message[0] == 'close':
                    closed.add(message[1])
                messages.put(message)
        os._exit(0)  # in the middle of its work: nobody waits for it

    threading.Thread(target=listen, daemon=True).start()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            kind, stream, *rest = messages.get()
            if kind == 'open':
                makes[stream] = functools.cache(functools.partial(pickle.loads, *rest))
            elif kind == 'close':
                del makes[stream]
                closed.remove(stream)
            elif stream in closed:
                pipe.send(Reply(pickle.dumps(None)))
            else:
                _answer(pipe, file, makes[stream], *rest)
    os._exit(0)


def _answer(pipe, file: int, load: Callable, number: int, slot: tuple[int, int] | None) -> None:
    """Makes a value and sends it, its arrays through the slot (offset, bytes) if they fit."""
    arrays: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        small = buffer.raw().nbytes < _SMALL
        if not small:
            arrays.append(buffer.raw())
        return small  # whether the pickle shall hold it

    try:
        body = pickle.dumps(load()(number), protocol=5, buffer_callback=keep)
    except Exception as error:
        pipe.send(Reply(error=_portable(error)))
        return
    lengths = tuple(array.nbytes for array in arrays)
    stored, not_stored = False, ''
    if slot is not None and sum(map(aligned, lengths)) <= slot[1]:
        try:
            _store(file, slot[0], arrays)
            stored = True
        except OSError as error:
            not_stored = str(error)
    pipe.send(Reply(body, lengths, stored, not_stored))
    for array in () if stored else arrays:
        pipe.send_bytes(array)


def _store(file: int, offset: int, arrays: Sequence[memoryview]) -> None:
    # Written rather than mapped: lack of memory is an error here, not the end of the process.
    for array in arrays:
        done = 0
        while done < array.nbytes:
            done += os.pwrite(file, array[done:], offset + done)
        offset += aligned(array.nbytes)


def _portable(error: Exception) -> Exception:
    """An error that the parent can raise, with the worker's traceback as a note."""
    where = ''.join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f'{type(error).__name__}: {error}')
    error.add_note(f'In a data worker:\n{where}')
    return error
