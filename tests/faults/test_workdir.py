"""A run's folder that another run writes in, or whose disk is full."""

import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT, command, train_arguments
from training_runs import FULL, Run, assert_identical, losses, saved_arrays, steps_of

from tokenhmr_jax.checkpoints.store import Checkpoints
from tokenhmr_jax.training import workdir
from tokenhmr_jax.types import TrainState

HOLD = """
import sys, time
from tokenhmr_jax.training.workdir import lock_workdir
with lock_workdir(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
"""


@pytest.mark.fault(7, 'a lock that is held, and one whose holder died')
def test_a_lock_is_held_by_one_process_until_it_dies(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == 'held\n'
    with (
        pytest.raises(ValueError, match=f'process {holder.pid} on'),
        workdir.lock_workdir(str(tmp_path)),
    ):
        pass
    holder.kill()
    holder.wait()
    with workdir.lock_workdir(str(tmp_path)):
        pass


@pytest.mark.skipif(not FULL, reason='two runs: make faults')
@pytest.mark.fault(7, 'a second trainer on the same workdir')
def test_a_second_trainer_ends_and_the_first_one_does_not_notice(trained, prepared, tmp_path):
    arguments = train_arguments(prepared, tmp_path / 'run')
    first = Run(arguments, tmp_path / 'first.log')
    first.wait_until(lambda: losses(tmp_path / 'run'))
    first.send(signal.SIGSTOP)  # until the second has come and gone
    second = Run(arguments, tmp_path / 'second.log')
    assert second.end() == 1
    assert f'another run is writing here, process {first.pid} on' in second.printed
    first.send(signal.SIGCONT)
    assert first.end() == 0
    assert_identical(saved_arrays(tmp_path / 'run', 12), saved_arrays(trained, 12))


@pytest.fixture
def disk(tmp_path):
    """Makes a folder a disk of so many bytes, where this process may do that."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def mount(size: int):
        options = ['-t', 'tmpfs', '-o', f'size={size}', 'tmpfs']
        if subprocess.run(['mount', *options, folder], capture_output=True).returncode:
            pytest.skip('not allowed to mount a small disk')
        return folder

    yield mount
    subprocess.run(['umount', folder], capture_output=True)


@pytest.mark.fault(6, 'the disk is full, during a save')
def test_a_full_disk_is_named_and_older_steps_are_as_they_were(disk):
    folder = disk(2**22)
    rng = np.random.default_rng(0)

    def state(step, size):
        params = {'w': rng.standard_normal(size)}
        return jax.device_put(TrainState(np.int32(step), params, {}, {'m': np.ones(3)}))

    small = state(1, 1000)
    with Checkpoints(str(folder), 'mpjpe_mm') as saved:
        saved.save(small, {}, {}, None)
    with pytest.raises((OSError, ValueError), match='No space left on device'):  # noqa: SIM117
        with Checkpoints(str(folder), 'mpjpe_mm') as saved:
            saved.save(state(2, 2**21), {}, {}, None)
    with Checkpoints(str(folder), 'mpjpe_mm') as saved:
        assert saved.newest_good() == 1
        restored, _ = saved.restore(1, small)
        np.testing.assert_array_equal(restored.params['w'], small.params['w'])
        saved.save(state(2, 1000), {}, {}, None)
    assert steps_of(folder) == [1, 2]


@pytest.mark.skipif(not FULL, reason='three runs: make faults')
@pytest.mark.fault(6, 'the disk is full, of a trainer')
def test_a_trainer_names_a_full_disk_and_goes_on_when_there_is_room(
    trained, prepared, disk, tmp_path
):
    sizes = [
        path.stat().st_size
        for path in (trained / f'checkpoints/{steps_of(trained)[-1]}').rglob('*')
        if path.is_file()
    ]
    whole_pages = sum(-(-size // 4096) * 4096 for size in sizes)
    folder = disk(int(2.5 * whole_pages))
    arguments = train_arguments(prepared, folder / 'run', **{'eval.every': 12})
    printed = command(*arguments, expect=1)
    assert 'No space left on device' in printed.splitlines()[-1]
    assert steps_of(folder / 'run')
    moved = shutil.copytree(folder / 'run', tmp_path / 'run')  # to a larger disk
    assert 'going on from step' in command(*train_arguments(prepared, moved, **{'eval.every': 12}))
    assert_identical(saved_arrays(moved, 12), saved_arrays(trained, 12))
