"""Worker processes on the cores of one machine."""

import contextlib
import multiprocessing
import multiprocessing.context
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import cv2
import jax

from tokenhmr_jax.data.workers import num_cores


@contextlib.contextmanager
def start_pool(
    num_processes: int, start: Callable | None = None, *arguments
) -> Iterator[futures.Executor | None]:
    """Processes of one thread each, on the CPU; None if this process is to do the work itself.

    `num_processes` of 0 means one per core. `start` is called with `arguments` in each, before its
    first work. An error or Ctrl-C in the body ends them at once.
    """
    num_processes = num_processes or num_cores()
    if num_processes == 1:
        yield None
        return
    pool = futures.ProcessPoolExecutor(num_processes, _Context(), _start, (start, arguments))
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            if isinstance(process, _Worker):
                process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


class _Worker(multiprocessing.context.SpawnProcess):
    """A process that Ctrl-C does not reach: terminals send it to all, and the parent acts on it."""

    def start(self):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(multiprocessing.context.SpawnContext):
    """Spawns: a fork of a process that runs JAX may hang."""

    Process = _Worker


def _start(start, arguments):
    """Leaves the other cores and the accelerators alone, in a worker that ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    flags = os.environ.get('XLA_FLAGS', '')
    os.environ['XLA_FLAGS'] = f'{flags} --xla_cpu_multi_thread_eigen=false'
    jax.config.update('jax_platforms', 'cpu')
    if start is not None:
        start(*arguments)


def _end_with_parent():
    """Workers of a killed parent would wait for ever, or write beside its next run."""
    multiprocessing.parent_process().join()
    os._exit(1)
