"""Being told to stop: SIGTERM, from a scheduler that takes the machine back."""

import signal
from types import FrameType

import jax
from jax.experimental import multihost_utils

# EX_TEMPFAIL of sysexits.h: the same command goes on from where this one stopped.
EXIT_CODE = 75


class Preempted(Exception):
    """A run was told to stop, has saved, and wants to be run again."""


def is_loss_of_process(error: jax.errors.JaxRuntimeError) -> bool:
    """Whether what failed in one of several processes is likely that another one is gone.

    All that the runtime reports is, but for what would come again: a lack of memory.
    """
    return jax.process_count() > 1 and 'RESOURCE_EXHAUSTED' not in str(error)


class Preemption:
    """Whether a run is to save and stop.

    One process catches SIGTERM itself. Where a run has several, one of which is told, JAX's runtime
    lets all of them know, and stop at the same step.
    """

    def __init__(self):
        self._told = False
        self._asked = 0
        self._alone = jax.process_count() == 1

    def __enter__(self) -> 'Preemption':
        # JAX's runtime has a handler of its own, which must stay, among several processes.
        self._before = signal.signal(signal.SIGTERM, self._tell) if self._alone else None
        return self

    def __exit__(self, *unused) -> None:
        if self._alone:
            signal.signal(signal.SIGTERM, self._before)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self._told = True

    def reached(self) -> bool:
        """Whether to stop now. All processes must ask equally often."""
        self._asked += 1
        if not self._alone and multihost_utils.reached_preemption_sync_point(self._asked):
            self._told = True
        return self._told
