"""Processes that share a machine's cores."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import cv2
import jax


@contextlib.contextmanager
def workers(
    num_processes: int, start: Callable | None = None, *arguments
) -> Iterator[futures.Executor | None]:
    """Processes of one thread each, on the CPU; None stands for this one, where there is to be one.

    Args:
      num_processes: 0 for one per core that this process may use.
      start: called with `arguments` in each process, before its first work.
    """
    num_processes = num_processes or num_cores()
    if num_processes == 1:
        yield None
        return
    spawn = multiprocessing.get_context('spawn')  # a fork of a process that runs JAX may hang
    pool = futures.ProcessPoolExecutor(num_processes, spawn, _start, (start, arguments))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def num_cores() -> int:
    """Those that this process may use; macOS does not tell which these are."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(start, arguments):
    """They share the machine, leave accelerators be, and end when who started them does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    os.environ['XLA_FLAGS'] = (
        os.environ.get('XLA_FLAGS', '') + ' --xla_cpu_multi_thread_eigen=false'
    )
    jax.config.update('jax_platforms', 'cpu')
    if start is not None:
        start(*arguments)


def _end_with_parent():
    """Workers of a killed parent would wait for work for ever, or write beside its next run."""
    multiprocessing.parent_process().join()
    os._exit(1)
