"""Memory of large arrays: the C library gives it back at once, or keeps it."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4  # of malloc.h
_MEGABYTE = 2**20


@contextlib.contextmanager
def large_arrays_given_back() -> Iterator[None]:
    """Lets the C library return the memory of large arrays at once, while a network is read.

    By default glibc keeps arrays of up to 32 MB in heaps of 64 MB, which take up to half as much
    memory again as a network of hundreds of arrays.
    """
    _set_malloc(_MMAP_THRESHOLD, _MEGABYTE)
    try:
        yield
    finally:
        # The values that glibc would adapt to; a set threshold ended its adaptation.
        _set_malloc(_MMAP_THRESHOLD, 32 * _MEGABYTE)
        _set_malloc(_TRIM_THRESHOLD, 64 * _MEGABYTE)


def keep_large_arrays() -> None:
    """Lets the C library keep the memory of large arrays for the next ones, to the process's end.

    A step on CPUs needs the same memory each time: given back in between, a quarter of the step
    goes to the kernel, which clears it (benchmarks/kept_memory.py).
    """
    _set_malloc(_MMAP_MAX, 0)
    _set_malloc(_TRIM_THRESHOLD, -1)
    _set_malloc(_TOP_PAD, 256 * _MEGABYTE)


def _set_malloc(option: int, value: int) -> None:
    """Sets an option of glibc's malloc; nothing where there is none."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt is not None:
        mallopt(option, value)
