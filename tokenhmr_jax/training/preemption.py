"""Stopping a run on request: SIGTERM from a scheduler, Ctrl-C from a user."""

import signal
from types import FrameType

import jax
from jax.experimental import multihost_utils

# EX_TEMPFAIL of sysexits.h: the same command goes on from where this one stopped.
EXIT_CODE = 75


class Preempted(Exception):
    """A run was told to stop and has saved."""

    def __init__(self, workdir: str, step: int):
        super().__init__(
            f'{workdir}: told to stop, saved at step {step}; run the same command again to go on'
        )


def is_loss_of_process(error: jax.errors.JaxRuntimeError) -> bool:
    """Whether an error of the runtime is likely the loss of another process of the run."""
    # A lack of memory would come again.
    return jax.process_count() > 1 and 'RESOURCE_EXHAUSTED' not in str(error)


class Preemption:
    """A request to save and stop.

    A run of one process catches SIGTERM and Ctrl-C itself; a second Ctrl-C ends it at once. Of
    several processes, JAX's runtime tells all when one gets a SIGTERM: they stop at the same step.
    """

    def __init__(self):
        self._requested, self._asked = False, 0
        self._alone = jax.process_count() == 1

    def __enter__(self) -> 'Preemption':
        # JAX's runtime has a handler of its own, which must stay, among several processes.
        numbers = (signal.SIGTERM, signal.SIGINT) if self._alone else ()
        self._before = {number: signal.signal(number, self._request) for number in numbers}
        return self

    def __exit__(self, *unused) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._requested = True

    def requested(self) -> bool:
        """Whether to save and stop now. All processes must ask equally often."""
        self._asked += 1
        if not self._alone and multihost_utils.reached_preemption_sync_point(self._asked):
            self._requested = True
        return self._requested
