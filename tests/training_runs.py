"""Training runs that a test starts, watches and disturbs, and what they leave behind."""

import json
import os
import pathlib
import random
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
from conftest import ROOT

# `make faults` sets it: every fault in full. Without it, in the suite, those that cost little.
FULL = os.environ.get('FAULTS') == 'full'


class Run:
    """A process of a training run. Its output goes to a file: a full pipe would stop it."""

    def __init__(self, arguments, log: pathlib.Path, **environment: str):
        self._log = log
        with open(log, 'w') as output:
            self._process = subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                cwd=ROOT,
                env=os.environ | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid, self.send, self.poll = (
            self._process.pid,
            self._process.send_signal,
            self._process.poll,
        )

    @property
    def printed(self) -> str:
        return self._log.read_text()

    def wait_until(self, condition, seconds: float = 300) -> None:
        """Fails, and leaves no process, if the process ends before or it takes longer."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise AssertionError(f'{self.poll()}: {self.printed}')
            time.sleep(0.01)

    def end(self, seconds: float = 300) -> int:
        """Its exit code, once it has ended."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f'not ended within {seconds} s: {self.printed}') from None


def start_pair(arguments, folder: pathlib.Path, heartbeat: int = 100) -> list[Run]:
    """Two processes of one run, each with a device, as `srun` starts them on one machine."""
    job = str(random.randrange(2**12))  # which JAX derives a port from
    slurm = {'SLURM_JOB_ID': job, 'SLURM_STEP_NODELIST': 'localhost', 'SLURM_NTASKS': '2'}
    arguments = [*arguments, '--distributed', f'--heartbeat={heartbeat}']
    return [
        Run(
            arguments,
            folder / f'process{i}-{time.time_ns()}.log',
            SLURM_PROCID=str(i),
            SLURM_LOCALID=str(i),
            **slurm,
        )
        for i in range(2)
    ]


def read_metrics(workdir: pathlib.Path) -> list[dict]:
    """The whole lines of a run's metrics.jsonl; none if there is no such file yet."""
    path = workdir / 'metrics.jsonl'
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith('\n')]


def losses(workdir: pathlib.Path) -> dict[int, float]:
    """By step; fails if a step was reported twice."""
    lines = [line for line in read_metrics(workdir) if 'loss' in line]
    steps = [line['step'] for line in lines]
    assert steps == sorted(set(steps)), f'a step was reported twice: {steps}'
    return {line['step']: line['loss'] for line in lines}


def steps_of(workdir: pathlib.Path) -> list[int]:
    """The steps that are saved."""
    return sorted(int(p.name) for p in (workdir / 'checkpoints').glob('[0-9]*') if p.name.isdigit())


def half_saved(workdir: pathlib.Path) -> bool:
    """Whether a step is being saved, or was when its run died."""
    return any((workdir / 'checkpoints').glob('*.orbax-checkpoint-tmp*'))


def saved_arrays(workdir: pathlib.Path, step: int) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, by path, as plain NumPy."""
    arrays = {}
    for item in ('model', 'optimizer'):
        folder = workdir / f'checkpoints/{step}/{item}'
        with ocp.StandardCheckpointer() as reader:
            tree = reader.metadata(folder).item_metadata.tree
            like = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), tree)
            tree = reader.restore(folder, like)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            arrays[item + jax.tree_util.keystr(path)] = np.asarray(leaf)
    return arrays


def assert_identical(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Arrays by path, to the bit."""
    assert a.keys() == b.keys()
    assert len(a) > 50
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
