"""Functions of worker processes in the tests, in a module that they can import."""

import importlib
import os
import signal
import sys
import time

import numpy as np

SIZE = 100_000


def numbers(number):
    """Arrays of a number, one shared and one copied."""
    return {'large': np.full(SIZE, number, np.int32), 'small': np.array([number]), 'none': None}


def from_five_on_fails(number):
    if number >= 5:
        raise ValueError(f'number {number} is too large')
    return numbers(number)


def never(number):
    time.sleep(1000)


def five_is_killed(number):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return numbers(number)


def slowly(number):
    time.sleep(0.01)
    return numbers(number)


def modules(number):
    return sorted(sys.modules)


class NotPickled(Exception):
    def __init__(self, first, second):
        super().__init__(f'{first} and {second}')


def odd_error(number):
    raise NotPickled('one', 'two')


class OnlyHere:
    """Unpickled where it is not expected, it fails."""

    def __reduce__(self):
        return _fail, (os.getpid(),)

    def __call__(self, number):
        return number


def _fail(parent):
    if os.getpid() != parent:
        raise ImportError('not in a worker')
    return OnlyHere()


def use_workers(count, make='slowly'):
    """The life of a parent: prints its workers' process ids, and uses them until it is ended."""
    from tokenhmr_jax.data.workers import Workers

    with Workers(int(count)) as workers:
        print(*workers.pids, flush=True)
        # Not of the main module, which workers do not import.
        made = workers.map(getattr(importlib.import_module('worker_makes'), make), range(10**9))
        for i, _ in enumerate(made):
            if i == 10:
                print('at work', flush=True)


if __name__ == '__main__':
    # Shells let what they start in the background ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    use_workers(*sys.argv[1:])
