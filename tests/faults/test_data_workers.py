"""Runs whose batches come from worker processes: one of them is killed, or their parent is."""

import os
import pathlib
import random
import re
import signal
import time

import pytest
from conftest import command, train_arguments
from training_runs import FULL, Run, assert_identical, losses, saved_arrays, steps_of

from tokenhmr_jax.training import preemption

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not pathlib.Path('/proc').exists(), reason='finds workers by /proc'),
]
# In full, long enough for twenty lives.
LONG = {'num_steps': 240, 'checkpoint_every': 2, 'eval.every': 120} if FULL else {}


def workers_of(run: Run) -> list[int]:
    """Process ids of a run's workers."""
    paths = pathlib.Path(f'/proc/{run.pid}/task').glob('*/children')
    pids = {int(pid) for path in paths for pid in path.read_text().split()}
    return sorted(pid for pid in pids if b'data.worker' in command_of(pid))


def command_of(pid: int) -> bytes:
    try:
        return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    except OSError:
        return b''


def all_end(pids: list[int], seconds: float = 10) -> bool:
    """Whether some processes end in time."""
    deadline = time.monotonic() + seconds
    while any(map(command_of, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(command_of, pids))


def arguments(prepared, workdir, count: int, **settings) -> list[str]:
    return train_arguments(prepared, workdir, **{'data.num_workers': count} | settings)


@pytest.mark.fault(9, 'the same bits with 0, 1, 2, 4 data workers')
@pytest.mark.parametrize('count', [1, 2, 4] if FULL else [2])
def test_parameters_do_not_depend_on_the_number_of_workers(prepared, trained, tmp_path, count):
    command(*arguments(prepared, tmp_path / 'run', count))
    assert_identical(saved_arrays(tmp_path / 'run', 12), saved_arrays(trained, 12))


@pytest.mark.fault(13, 'a data worker is killed')
def test_a_run_whose_worker_is_killed_says_so_and_goes_on(
    prepared, trained, tmp_path, record_property
):
    """At random moments, with other numbers of workers each time; in the end to the same bits."""
    unbroken, workdir = trained, tmp_path / 'run'
    if FULL:
        unbroken = tmp_path / 'unbroken'
        command(*arguments(prepared, unbroken, 0, **LONG))
    moments, told = random.Random(time.time_ns()), 0
    for kill in range(20 if FULL else 1):
        count = 1 + kill % 3
        run = Run(arguments(prepared, workdir, count, **LONG), tmp_path / f'{kill}.log')
        run.wait_until(lambda run=run, count=count: len(workers_of(run)) == count)
        if kill % 2:
            before = steps_of(workdir)
            run.wait_until(lambda before=before: steps_of(workdir) != before)
        time.sleep(moments.uniform(0, 1))
        pids = workers_of(run)
        victim = moments.choice(pids)
        os.kill(victim, signal.SIGKILL)
        assert run.end() == preemption.EXIT_CODE, run.printed
        said = rf'data worker \d \(process {victim}\) was killed by SIGKILL.* to go on'
        assert re.search(said, run.printed), run.printed
        assert all_end(pids)
        told += 1
    command(*arguments(prepared, workdir, 0, **LONG))
    last = steps_of(unbroken)[-1]
    assert_identical(saved_arrays(workdir, last), saved_arrays(unbroken, last))
    losses(workdir)
    record_property('seen', f'{told} kills')


@pytest.mark.fault(14, 'the parent of data workers is killed')
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_survives_a_run(prepared, tmp_path, number):
    """Schedulers and terminals signal the workers, too; these go on until it has saved."""
    shared = set(pathlib.Path('/dev/shm').glob('*'))
    run = Run(arguments(prepared, tmp_path / 'run', 2, num_steps=10_000), tmp_path / 'log')
    run.wait_until(lambda: losses(tmp_path / 'run'))
    pids = workers_of(run)
    assert len(pids) == 2
    for pid in pids if number != signal.SIGKILL else ():
        os.kill(pid, number)
    run.send(number)
    assert run.end() == (-number if number == signal.SIGKILL else preemption.EXIT_CODE), run.printed
    assert all_end(pids)
    assert set(pathlib.Path('/dev/shm').glob('*')) <= shared
