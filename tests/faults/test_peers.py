"""Runs of several processes: one of them dies, or hangs; there are more of them, or fewer."""

import signal
import time

import numpy as np
import pytest
from conftest import command, train_arguments
from training_runs import FULL, Run, losses, saved_arrays, start_pair, steps_of

pytestmark = pytest.mark.skipif(not FULL, reason='several processes each: make faults')

HEARTBEAT = 10  # seconds


@pytest.mark.fault(11, 'a peer hangs or dies')
@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize('what', ['SIGSTOP', 'SIGKILL'])
def test_who_is_left_alone_ends(prepared, tmp_path, what, which, record_property):
    """Within the heartbeat and ten seconds, and not as if it had failed for good."""
    workdir = tmp_path / 'run'
    arguments = train_arguments(prepared, workdir, num_steps=100_000)
    processes = start_pair(arguments, tmp_path, HEARTBEAT)
    processes[0].wait_until(lambda: losses(workdir))
    lost, survivor = processes[which], processes[1 - which]
    lost.send(getattr(signal, what))
    begin = time.monotonic()
    try:
        code = survivor.end(HEARTBEAT + 10)
    finally:
        lost.send(signal.SIGKILL)
    assert code not in (0, 1), survivor.printed
    record_property('seen', f'{what} to {which}: {code} after {time.monotonic() - begin:.0f} s')


EXACT = {'log_every': 1, 'num_steps': 20, 'checkpoint_every': 1}


def part(prepared, workdir, processes: int, fsdp: int = 1, devices: int = 1) -> None:
    """Go on with a run until it has saved another step, then stop it."""
    before = steps_of(workdir)
    arguments = train_arguments(prepared, workdir, **EXACT, **{'mesh.fsdp': fsdp})
    logs = workdir.parent
    if processes == 2:
        runs = start_pair(arguments, logs)
    else:
        log = logs / f'alone{fsdp}{devices}.log'
        runs = [Run(arguments, log, JAX_NUM_CPU_DEVICES=str(devices))]
    runs[0].wait_until(lambda: steps_of(workdir)[-1:] > before[-1:])
    runs[0].send(signal.SIGTERM)
    assert [run.end() for run in runs] == [75] * processes, runs[0].printed


@pytest.mark.fault(9, '1, 2, 1 processes; 8, 2 devices; fsdp 1, 2')
def test_processes_devices_and_sharding_change_and_the_losses_do_not(
    prepared, tmp_path, record_property
):
    whole, workdir = tmp_path / 'whole', tmp_path / 'run'
    command(*train_arguments(prepared, whole, **EXACT))
    part(prepared, workdir, processes=1)
    part(prepared, workdir, processes=2)
    part(prepared, workdir, processes=1, devices=8)
    part(prepared, workdir, processes=1, devices=2, fsdp=2)
    command(*train_arguments(prepared, workdir, **EXACT))
    ours, theirs = losses(workdir), losses(whole)
    assert ours.keys() == theirs.keys()
    error = max(abs(ours[step] / theirs[step] - 1) for step in theirs)
    record_property('seen', f'losses differ by {error:.1e}')
    assert error < 1e-5
    a, b = (saved_arrays(folder, EXACT['num_steps']) for folder in (workdir, whole))
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-4, err_msg=name)
