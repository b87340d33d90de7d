"""Runs that are killed, and runs that end right after a save."""

import random
import signal
import sys
import time

import jax
import numpy as np
import pytest
from conftest import command, train_arguments
from etils import epath
from training_runs import FULL, Run, assert_identical, half_saved, losses, saved_arrays, steps_of

from tokenhmr_jax.checkpoints import checksums
from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.types import TrainState

# In full, long enough for twenty lives, and nearly always saving.
LONG = {'num_steps': 240, 'checkpoint_every': 1, 'eval.every': 120} if FULL else {}


@pytest.mark.slow
@pytest.mark.fault(1, 'SIGKILL during a save')
def test_killed_as_it_saves_a_run_ends_bit_identical(prepared, trained, tmp_path, record_property):
    """At random moments after a save has begun, against the run that never stopped.

    What ends the same to the bit has gone on each time from arrays that were right to the bit.
    """
    unbroken, workdir = trained, tmp_path / 'run'
    if FULL:
        unbroken = tmp_path / 'unbroken'
        command(*train_arguments(prepared, unbroken, **LONG))
    moments, during = random.Random(time.time_ns()), 0
    for kill in range(20 if FULL else 2):
        before = steps_of(workdir)
        run = Run(train_arguments(prepared, workdir, **LONG), tmp_path / f'{kill}.log')
        run.wait_until(lambda before=before: steps_of(workdir) != before)
        if FULL:
            run.wait_until(lambda: half_saved(workdir))
        time.sleep(moments.uniform(0, 0.2 if FULL else 0.5))
        run.send(signal.SIGKILL)
        run.end()
        during += half_saved(workdir)
        checksums.check_checksums(epath.Path(workdir / f'checkpoints/{steps_of(workdir)[-1]}'))
    command(*train_arguments(prepared, workdir, **LONG))
    last = steps_of(unbroken)[-1]
    assert_identical(saved_arrays(workdir, last), saved_arrays(unbroken, last))
    losses(workdir)
    record_property('seen', f'{kill + 1} kills, {during} with a step half saved')


ENDS = {
    'the end': lambda: None,
    'an exception': lambda: 1 / 0,
    'sys.exit': lambda: sys.exit(3),
}


@pytest.mark.fault(8, 'exit right after a save')
@pytest.mark.parametrize('end', ENDS)
def test_a_step_is_committed_however_a_run_ends(tmp_path, end):
    arrays = {'w': np.arange(2**20, dtype=np.float32)}
    state = jax.device_put(TrainState(np.int32(7), arrays, {'s': np.ones(1)}, arrays))
    try:
        with Checkpoints(str(tmp_path), 'mpjpe_mm') as saved:
            saved.save(state, {'next': 8}, {}, None)
            ENDS[end]()
    except (ZeroDivisionError, SystemExit):
        pass
    with Checkpoints(str(tmp_path), create=False) as saved:
        assert saved.newest_good() == 7
        restored, position = saved.restore(7, state)
    assert position == {'next': 8}
    np.testing.assert_array_equal(restored.params['w'], arrays['w'])
