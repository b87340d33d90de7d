"""Values made by worker processes: their order, memory and errors, and how workers end."""

import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
import worker_makes
from conftest import ROOT

from tokenhmr_jax.data import workers
from tokenhmr_jax.data.workers import WorkerLost, Workers
from tokenhmr_jax.training import sharding


@pytest.fixture(scope='module')
def three():
    with Workers(3) as made:
        yield made


def assert_numbers(values, expected):
    for value, number in zip(values, expected, strict=True):
        assert (value['large'] == number).all() and value['large'].dtype == np.int32
        assert len(value['large']) == worker_makes.SIZE
        assert value['small'] == [number] and value['none'] is None


def test_values_come_in_order_and_stay_while_they_are_held(three):
    expected = [7, 3, *range(60), 2]
    assert_numbers(list(three.map(worker_makes.numbers, expected)), expected)
    assert_numbers(three.map(worker_makes.numbers, expected), expected)


def test_several_iterators_at_once(three):
    training = three.map(worker_makes.numbers, range(1000))
    for i in range(20):
        assert_numbers([next(training)], [i])
        if i % 5 == 0:
            first = three.map(worker_makes.numbers, range(100, 200))
            assert_numbers([next(first)], [100])
            assert_numbers(three.map(worker_makes.numbers, range(9)), range(9))
            del first  # whose other values are never asked for


def test_memory_is_used_again(three):
    addresses = [v['large'].ctypes.data for v in three.map(worker_makes.numbers, range(300))]
    assert len(set(addresses[30:])) <= 12


def test_arrays_on_devices_keep_the_memory_that_they_share(three):
    """On CPUs JAX takes aligned arrays as they are."""
    mesh = sharding.make_mesh()
    values = three.map(worker_makes.numbers, range(64))
    placed = [sharding.put_batch(value['large'], mesh) for value in values]
    for _ in three.map(worker_makes.numbers, range(64, 164)):
        pass
    assert all((array == number).all() for number, array in enumerate(placed))


def test_small_arrays_do_not_keep_the_memory_of_large_ones(three):
    values = [v['small'] for v in three.map(worker_makes.numbers, range(100))]
    addresses = {v['large'].ctypes.data for v in three.map(worker_makes.numbers, range(100))}
    assert np.concatenate(values).tolist() == list(range(100))
    assert len(addresses) <= 20  # the first ones come through pipes


def test_an_error_is_the_same_in_the_parent_and_ends_one_iterator(three):
    values = three.map(worker_makes.from_five_on_fails, range(9))
    for i in range(5):
        assert_numbers([next(values)], [i])
    with pytest.raises(ValueError, match=r'^number 5 is too large') as caught:
        next(values)
    assert 'worker_makes.py' in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match=r'^NotPickled: one and two'):
        next(three.map(worker_makes.odd_error, range(3)))
    with pytest.raises(ImportError, match='not in a worker'):
        next(three.map(worker_makes.OnlyHere(), range(3)))
    assert_numbers(three.map(worker_makes.numbers, range(3)), range(3))


def test_a_worker_imports_what_it_needs(three):
    imported = next(three.map(worker_makes.modules, range(1)))
    heavy = {'jax', 'flax', 'tensorflow_datasets', 'grain', 'scipy', 'pytest'}
    assert 'worker_makes' in imported and not heavy & set(imported)


@pytest.mark.fault(13, 'a data worker is killed')
def test_a_killed_worker_is_named():
    with Workers(2) as made:
        values = made.map(worker_makes.five_is_killed, range(9))
        message = (
            rf'^data worker 1 \(process {made.pids[1]}\) was killed by SIGKILL, likely because'
        )
        with pytest.raises(WorkerLost, match=message):
            list(values)
    assert_gone(made.pids)


def test_signals_of_a_terminal_or_scheduler_do_not_reach_workers():
    with Workers(1) as made:
        values = made.map(worker_makes.slowly, range(50))
        next(values)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(made.pids[0], number)
        assert_numbers(values, range(1, 50))


def test_workers_end_whatever_they_are_at():
    begun = time.monotonic()
    with Workers(2) as made, pytest.raises(KeyboardInterrupt):
        values = made.map(worker_makes.never, range(9))
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 2.0)
        next(values)
    assert_gone(made.pids)
    assert time.monotonic() - begun < 10


def interrupt(*unused):
    raise KeyboardInterrupt


def assert_gone(pids, seconds=5.0):
    """Raises AssertionError if one of some processes lives on."""
    deadline = time.monotonic() + seconds
    while alive := [pid for pid in pids if lives(pid)]:
        assert time.monotonic() < deadline, f'{alive} live on'
        time.sleep(0.01)


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = pathlib.Path(f'/proc/{pid}/stat')
    return not (stat.exists() and stat.read_text().rpartition(')')[2].split()[0] == 'Z')


def start_parent(*arguments):
    """A process with two workers, at work; and all their process ids."""
    parent = subprocess.Popen(
        [sys.executable, worker_makes.__file__, '2', *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    )
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    return parent, [parent.pid, *pids]


@pytest.mark.fault(14, 'the parent of data workers is killed')
@pytest.mark.parametrize('make', ['slowly', 'never'])
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_survives_its_parent(make, number):
    before = set(pathlib.Path('/dev/shm').glob('*'))
    parent, pids = start_parent(make)
    if make == 'slowly':
        assert parent.stdout.readline() == 'at work\n'
    parent.send_signal(number)
    parent.communicate(timeout=60)
    assert_gone(pids)
    assert set(pathlib.Path('/dev/shm').glob('*')) <= before


@pytest.mark.fault(15, 'no shared memory is left')
def test_without_shared_memory_values_come_through_pipes(caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (worker_makes.SIZE, hard))  # workers inherit it
    try:
        with Workers(2) as made:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))  # the parent has more
            assert_numbers(made.map(worker_makes.numbers, range(40)), range(40))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    [said] = [r.getMessage() for r in caplog.records if 'shared memory' in r.getMessage()]
    assert re.match(r'no shared memory for batches \(.*too large.*\): .* data\.num_workers', said)


def test_where_no_files_are_in_memory_values_come_through_one_on_disk(monkeypatch, tmp_path):
    """As on macOS."""
    monkeypatch.delattr(os, 'memfd_create', raising=False)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    with Workers(1) as made:
        values = made.map(worker_makes.numbers, range(20))
        addresses = {value['large'].ctypes.data for value in values}
        assert len(addresses) <= 10  # the memory of slots
        assert not list(tmp_path.iterdir())
        assert_numbers(made.map(worker_makes.numbers, range(20)), range(20))


def test_threads_make_the_same_values_and_pass_errors_on():
    assert_numbers(workers.threaded(worker_makes.numbers, range(20), 3), range(20))
    values = workers.threaded(worker_makes.from_five_on_fails, range(9), 2)
    assert_numbers([next(values) for _ in range(5)], range(5))
    with pytest.raises(ValueError, match='number 5'):
        next(values)


def test_how_many_workers(monkeypatch):
    started = []
    monkeypatch.setattr(workers, 'Workers', lambda count: started.append(count) or Nothing())
    for cores in (1, 2, 8, 200):
        monkeypatch.setattr(workers, 'num_cores', lambda cores=cores: cores)
        with workers.start_workers():
            pass
    assert started == [1, 1, 7, 16]
    with workers.start_workers(0) as none:
        assert none is None
    with pytest.raises(ValueError, match=r'data\.num_workers=-1: expected at least 0'):
        workers.start_workers(-1).__enter__()


class Nothing:
    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass
