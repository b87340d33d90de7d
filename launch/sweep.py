"""Runs a sweep: many runs of one config, with named overrides.

    python launch/sweep.py --sweep=configs/regressor_sweeps.py:tals --seeds=3 --parallel=2 \\
        --workdir=runs/tals --config=configs/regressor.py:variant=release --config.num_steps=50000

--config and its overrides apply to all runs. --only takes some of them, by name. All are checked
before the first starts. The command, run again, resumes. A failed run does not stop the others; its
reason is printed at the end. Tables and plots are in WORKDIR/report (extra `report`). Parallel runs
share the machine's GPUs, or those of CUDA_VISIBLE_DEVICES.

For a cluster, --launcher prints one command for each unfinished run, and runs nothing:

    --launcher='launch/slurm.sh --job-name={name} --nodes=1 --gpus-per-node=8 --ntasks-per-node=8'
    --launcher='launch/tpu_pod.sh --name={name} --zone=us-central1-a --type=v5litepod-32'
    --launcher='launch/gke.sh --name={name} --image=IMAGE --accelerator=... --hosts=8 ...'

Exit codes: 0, all runs are done. 75, stopped: run the same command again. 1, some runs failed.
"""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax

from tokenhmr_jax import cli
from tokenhmr_jax.studies import extras, sweeps
from tokenhmr_jax.training import history, preemption

DONE, STOPPED = 'done', 'stopped'
_POLL_SECONDS = 0.5
_PROGRESS_SECONDS = 10
# Linux kills a run with its sweep, so that the next sweep finds the run's folder free.
_KILLED_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; survives exec
os.execv(sys.argv[1], sys.argv[1:])
"""
# A line of a log that names an error; notes may follow it.
_REASON = re.compile(r'(error: |[\w.]+(Error|Exception|Interrupt)\b)')
_GUARD = [sys.executable, '-c', _KILLED_WITH_PARENT] if sys.platform == 'linux' else []


def is_finished(planned: sweeps.Planned) -> bool:
    """Whether a run's folder holds a finished run."""
    return history.has_begun(planned.workdir) and history.read_run(planned.workdir).finished


class _Running(NamedTuple):
    """A run under way; its log begins at `offset` of a file, after those of earlier starts."""

    planned: sweeps.Planned
    process: subprocess.Popen
    environment: dict[str, str]
    offset: int


class Local:
    """Runs a sweep on this machine, `parallel` runs at a time."""

    def __init__(self, planned: Sequence[sweeps.Planned], parallel: int):
        self._planned = planned
        self._free = _environments(parallel)
        self._running: dict[str, _Running] = {}
        self._stopping = False

    def run(self) -> dict[str, str]:
        """Outcome of each run by name: `DONE`, `STOPPED`, or the reason of a failure."""
        before = {number: signal.signal(number, self._stop) for number in _stop_signals()}
        try:
            return self._run_all()
        finally:
            # Runs save before the sweep ends, also when an error ends it.
            self._stop()
            for each in self._running.values():
                each.process.wait()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run_all(self) -> dict[str, str]:
        outcomes = {each.name: DONE for each in self._planned if is_finished(each)}
        waiting = [each for each in self._planned if each.name not in outcomes]
        with _Progress(self._planned, outcomes) as progress:
            while self._running or (waiting and not self._stopping):
                while waiting and self._free and not self._stopping:
                    self._start(waiting.pop(0))
                time.sleep(_POLL_SECONDS)
                for name in [n for n, r in self._running.items() if r.process.poll() is not None]:
                    outcomes[name] = self._end(name)
                    progress.say(f'{name}: {outcomes[name]}')
                progress.update(len(self._running))
        return {each.name: outcomes.get(each.name, STOPPED) for each in self._planned}

    def _start(self, planned: sweeps.Planned) -> None:
        environment = self._free.pop(0)
        pathlib.Path(planned.workdir).mkdir(parents=True, exist_ok=True)
        with open(_log(planned), 'ab') as log:
            offset = log.tell()
            process = subprocess.Popen(
                [*_GUARD, sys.executable, '-m', 'tokenhmr_jax.train', *planned.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which stops its runs
            )
        self._running[planned.name] = _Running(planned, process, environment, offset)
        if self._stopping:  # the signal came during the start
            process.terminate()

    def _end(self, name: str) -> str:
        """Outcome of a run whose process has ended."""
        planned, process, environment, offset = self._running.pop(name)
        self._free.append(environment)
        code = process.returncode
        if code == 0 and is_finished(planned):
            return DONE
        if code == preemption.EXIT_CODE or (code < 0 and self._stopping):
            return STOPPED
        log = _log(planned).read_bytes()[offset:].decode(errors='replace')
        return f'exit code {code}: {_reason(log)} ({_log(planned)})'

    def _stop(self, *unused) -> None:
        self._stopping = True
        for each in self._running.values():
            each.process.terminate()


def _stop_signals() -> list[signal.Signals]:
    """Signals that stop a sweep; ignored ones, such as SIGHUP under nohup, stay ignored."""
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def _reason(log: str) -> str:
    """The last line of a log that names an error, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if _REASON.match(line)]
    return (errors or lines or ['no output'])[-1]


def _log(planned: sweeps.Planned) -> pathlib.Path:
    return pathlib.Path(planned.workdir) / 'train.log'


def _environments(parallel: int) -> list[dict[str, str]]:
    """Environment variables that share the visible GPUs among parallel runs."""
    devices = _gpus() if parallel > 1 else []
    if not devices:
        return [{} for _ in range(parallel)]
    if len(devices) < parallel:
        raise ValueError(f'parallel={parallel}: expected at most {len(devices)}, one for each GPU')
    return [{'CUDA_VISIBLE_DEVICES': ','.join(devices[i::parallel])} for i in range(parallel)]


def _gpus() -> list[str]:
    """GPUs of CUDA_VISIBLE_DEVICES, else all of the machine."""
    named = os.environ.get('CUDA_VISIBLE_DEVICES')
    if named is None and shutil.which('nvidia-smi'):
        query = ['nvidia-smi', '--query-gpu=index', '--format=csv,noheader']
        named = ','.join(subprocess.run(query, capture_output=True, text=True).stdout.split())
    return [device for device in (named or '').split(',') if device]


class _Progress:
    """A progress bar over the steps of all runs."""

    def __init__(self, planned: Sequence[sweeps.Planned], outcomes: dict[str, str]):
        self._planned, self._outcomes, self._next = planned, outcomes, 0.0
        self._bar = cli.Progress('sweep', 'step', self._total(), self._steps())

    def __enter__(self) -> '_Progress':
        return self

    def __exit__(self, *unused) -> None:
        self.update(0, now=True)
        self._bar.close()

    def say(self, text: str) -> None:
        self._bar.say(text)

    def update(self, running: int, now: bool = False) -> None:
        if time.monotonic() < self._next and not now:
            return
        self._next = time.monotonic() + _PROGRESS_SECONDS
        done = sum(outcome == DONE for outcome in self._outcomes.values())
        failed = len(self._failed())
        self._bar.note(f'{done}/{len(self._planned)} done, {failed} failed, {running} running')
        self._bar.set(self._steps(), self._total())

    def _failed(self) -> list[str]:
        return [name for name, outcome in self._outcomes.items() if outcome not in (DONE, STOPPED)]

    def _steps(self) -> int:
        """Steps done by all runs."""
        return sum(map(_steps_done, self._planned))

    def _total(self) -> int:
        """Steps of all runs; a failed run counts with the steps done."""
        failed = self._failed()
        return sum(
            _steps_done(each) if each.name in failed else each.config.num_steps
            for each in self._planned
        )


def _steps_done(planned: sweeps.Planned) -> int:
    return history.read_run(planned.workdir).step if history.has_begun(planned.workdir) else 0


def commands(planned: Sequence[sweeps.Planned], launcher: str) -> list[str]:
    """A line of shell for each unfinished run.

    Args:
      planned: the runs.
      launcher: the line up to `--`; {name} becomes the job's name: small letters, digits and -.

    Raises:
      ValueError: for a launcher with other fields, or two jobs of one name.
    """
    lines, names = [], {}
    for each in planned:
        name = re.sub('[^a-z0-9]+', '-', each.name.lower()).strip('-')
        if names.setdefault(name, each.name) != each.name:
            raise ValueError(f'{names[name]} and {each.name}: both would be the job {name}')
        try:
            front = launcher.format(name=name)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f'launcher={launcher!r}: expected no field but {{name}}') from error
        if not is_finished(each):
            lines.append(f'{front} -- {shlex.join(each.arguments)}')
    return lines


def summary(outcomes: dict[str, str]) -> str:
    """Number of finished runs, and the outcomes of the others."""
    left = [f'  {name}: {outcome}' for name, outcome in outcomes.items() if outcome != DONE]
    return '\n'.join([f'{len(outcomes) - len(left)} of {len(outcomes)} runs are done', *left])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; `arguments` are the process's own by default."""
    flags = cli.Flags(__doc__, arguments)
    sweep = flags.path('sweep', None, 'FILE:FUNCTION.', required=True)
    workdir = flags.path('workdir', None, 'Folder of the runs and their report.', required=True)
    seeds = flags.integer('seeds', 1, "Seeds per run; 1 keeps the config's.", lower_bound=1)
    parallel = flags.integer('parallel', 1, 'Runs at a time.', lower_bound=1)
    launcher = flags.string('launcher', None, 'Print commands that begin so, and run nothing.')
    only = flags.strings('only', None, "Runs by name or pattern, as 'tals/*'; repeatable.")
    check_inputs = flags.boolean('check_inputs', True, 'Check data, bodies and checkpoints first.')
    # This process uses no accelerator, so that its runs can.
    jax.config.update('jax_platforms', 'cpu')

    def command() -> cli.Done:
        planned = sweeps.plan_sweep(
            flags.rest, sweeps.load_sweep(sweep.value), workdir.value, seeds.value
        )
        planned = sweeps.choose(planned, only.value or ('*',))
        if check_inputs.value:
            sweeps.check_inputs(planned)
        if launcher.value:
            printed = commands(planned, launcher.value)
            print('\n'.join(printed))
            return cli.Done(result=printed)
        outcomes = Local(planned, parallel.value).run()
        _report(planned[: seeds.value], planned, outcomes, workdir.value)
        return _done(outcomes, workdir.value)

    cli.run(flags, command, others=True)


def _done(outcomes: dict[str, str], workdir: str) -> cli.Done:
    """What a sweep wrote, and its exit code."""
    again = 'the same command goes on'
    if STOPPED in outcomes.values():
        return cli.Done(workdir, again, outcomes, preemption.EXIT_CODE)
    if any(outcome != DONE for outcome in outcomes.values()):
        return cli.Done(workdir, f'mend what failed; {again}', outcomes, code=1)
    report = pathlib.Path(workdir) / 'report/report.md'
    look = f'look at {shlex.quote(str(report))}' if report.exists() else ''
    return cli.Done(workdir, look, outcomes)


def _report(
    first: Sequence[sweeps.Planned],
    planned: Sequence[sweeps.Planned],
    outcomes: dict[str, str],
    workdir: str,
) -> None:
    """Reports the runs that have begun against the first of them; prints all outcomes."""
    begun = [each.workdir for each in planned if history.has_begun(each.workdir)]
    baseline = next((each.workdir for each in first if each.workdir in begun), None)
    try:
        if begun:
            extras.need_packages('pandas', 'matplotlib')
            from tokenhmr_jax.studies import comparison

            comparison.report_runs(begun, f'{workdir}/report', baseline, workdir)
    except ImportError as error:
        print(f'no report: {error}')
    finally:
        print(summary(outcomes))


if __name__ == '__main__':
    main()
