"""SIGTERM of a scheduler and Ctrl-C of a user, to a run of one process and of two."""

import re
import signal
import time

import pytest
from conftest import command, train_arguments
from training_runs import (
    FULL,
    Run,
    assert_identical,
    losses,
    read_metrics,
    saved_arrays,
    start_pair,
    steps_of,
)

from tokenhmr_jax.checkpoints.store import interrupts_held
from tokenhmr_jax.training import preemption

# Seconds from the signal to the end. In the suite, other tests take the processor away.
LIMIT = 15 if FULL else 90
# In which part of its life a run is told: what its folder shows then.
PARTS = {
    'warm-up': lambda workdir: (workdir / 'lock').exists(),
    'training': lambda workdir: losses(workdir),
    # The losses of a step are written before it is evaluated.
    'evaluation': lambda workdir: 6 in losses(workdir),
}
ONE_BY_ONE = {'eval.batch_size': 1, 'eval.limit': 150}  # an evaluation that takes its time


def stopped_at(printed: str) -> int:
    """The step that a run says it was stopped at, and how to go on."""
    [step] = re.findall(r'told to stop, saved at step (\d+); run the same command again', printed)
    return int(step)


def evaluated(workdir) -> list[int]:
    """The steps whose evaluations were written."""
    return [line['step'] for line in read_metrics(workdir) if 'eval/mpjpe_mm' in line]


@pytest.mark.slow
@pytest.mark.fault(2, 'SIGTERM, or Ctrl-C, to one process')
@pytest.mark.parametrize(
    ('part', 'number'),
    [*((part, signal.SIGTERM) for part in PARTS if FULL), ('training', signal.SIGINT)],
)
def test_told_to_stop_a_run_saves_and_goes_on_bit_identical(
    trained, prepared, tmp_path, part, number, record_property
):
    """No step is lost, none is done twice."""
    workdir, settings = tmp_path / 'run', ONE_BY_ONE if part == 'evaluation' else {}
    run = Run(train_arguments(prepared, workdir, **settings), tmp_path / 'log')
    run.wait_until(lambda: PARTS[part](workdir))
    run.send(number)
    begin = time.monotonic()
    assert run.end() == preemption.EXIT_CODE, run.printed
    seconds = time.monotonic() - begin
    assert seconds < LIMIT
    last = stopped_at(run.printed)
    assert steps_of(workdir)[-1] == last == read_metrics(workdir)[-1]['step']
    if part == 'evaluation':
        assert last == 6 and not evaluated(workdir)
    assert f'going on from step {last}' in command(*train_arguments(prepared, workdir, **settings))
    assert_identical(saved_arrays(workdir, 12), saved_arrays(trained, 12))
    losses(workdir)
    assert evaluated(workdir) == [6, 12]
    record_property('seen', f'{signal.Signals(number).name} in {part}: {seconds:.1f} s')


@pytest.fixture(scope='module')
def unbroken_pair(prepared, tmp_path_factory):
    """The workdir of a run of two processes that nothing disturbs."""
    folder = tmp_path_factory.mktemp('pair')
    processes = start_pair(train_arguments(prepared, folder / 'run'), folder)
    assert [run.end() for run in processes] == [0, 0], processes[0].printed
    return folder / 'run'


@pytest.mark.slow
@pytest.mark.fault(3, 'SIGTERM to one of two processes')
@pytest.mark.parametrize('told', [0, 1] if FULL else [1])
def test_told_to_stop_one_of_two_stops_both_at_the_same_step(
    request, prepared, tmp_path, told, record_property
):
    workdir = tmp_path / 'run'
    arguments = train_arguments(prepared, workdir)
    processes = start_pair(arguments, tmp_path)
    processes[0].wait_until(lambda: losses(workdir))
    processes[told].send(signal.SIGTERM)
    begin = time.monotonic()
    codes = [run.end() for run in processes]
    seconds = time.monotonic() - begin
    assert codes == 2 * [preemption.EXIT_CODE], processes[0].printed + processes[1].printed
    assert seconds < LIMIT
    last = {stopped_at(run.printed) for run in processes}
    assert last == {steps_of(workdir)[-1]}
    record_property('seen', f'process {told}: {seconds:.1f} s')
    if FULL:
        assert [run.end() for run in start_pair(arguments, tmp_path)] == [0, 0]
        whole = request.getfixturevalue('unbroken_pair')
        assert_identical(saved_arrays(workdir, 12), saved_arrays(whole, 12))
        losses(workdir)


def test_ctrl_c_waits_for_what_must_end():
    done = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts_held():
            signal.raise_signal(signal.SIGINT)
            done.append('all')
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ['all']
