"""Progress bar, TensorBoard, `metrics.jsonl` and pictures of a run."""

import contextlib
import json
import os
import pathlib
import time
from typing import Any

import cv2
import jax
import ml_collections
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jaxtyping import Num, UInt8
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from tokenhmr_jax import cli
from tokenhmr_jax.training.feed import Feed
from tokenhmr_jax.types import Array


class MetricWriter:
    """Writes the scalars and pictures of a run, from the first of its processes.

    Lines of steps after `start`, which an earlier process wrote and did not save, are dropped.
    """

    def __init__(self, workdir: str | os.PathLike, start: int):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        path = pathlib.Path(workdir) / 'metrics.jsonl'
        if path.exists():
            _drop_after(path, start)
        self._file = path.open('a')
        self._pictures = path.parent / 'examples'
        self._tensorboard = EventFileWriter(str(path.parent / 'tensorboard'))

    def __enter__(self) -> 'MetricWriter':
        return self

    def __exit__(self, *unused) -> None:
        if self._writes:
            self._file.close()
            self._tensorboard.close()

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one line of JSON, and one point per scalar."""
        self._line(step, scalars)
        self._event(step, [Summary.Value(tag=n, simple_value=v) for n, v in scalars.items()])

    def write_picture(self, step: int, picture: UInt8[np.ndarray, 'H W 3']) -> None:
        """Writes a picture, RGB, to `examples/STEP.png` and to TensorBoard."""
        png = cv2.imencode('.png', picture[..., ::-1])[1].tobytes()
        self._pictures.mkdir(exist_ok=True)
        (self._pictures / f'{step}.png').write_bytes(png)
        height, width, channels = picture.shape
        size = {'height': height, 'width': width, 'colorspace': channels}
        image = Summary.Image(**size, encoded_image_string=png)
        self._event(step, [Summary.Value(tag='eval/examples', image=image)])

    def write_skipped(self, step: int, keys: list[str]) -> None:
        """Writes one line of JSON with the record keys of a skipped batch."""
        self._line(step, {'skipped_keys': keys})

    def _line(self, step: int, values: dict) -> None:
        if self._writes:
            self._file.write(json.dumps({'step': step} | values) + '\n')
            self._file.flush()

    def _event(self, step: int, values: list[Summary.Value]) -> None:
        if self._writes:
            event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
            self._tensorboard.add_event(event)


def _drop_after(path: pathlib.Path, step: int) -> None:
    """Keeps the lines up to a step, without one that a killed process left half-written."""
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        with contextlib.suppress(ValueError):
            if line.endswith('\n') and json.loads(line)['step'] <= step:
                kept.append(line)
    with cli.whole_file(path) as file:
        file.write_text(''.join(kept))


class Progress:
    """Means of the training metrics over windows of steps, and the progress bar.

    A window of `config.log_every` steps is fetched from the device only after the next step is
    dispatched, so that the device never waits for the host. `start` counts the steps done before.
    `feed` measures the waiting for data; too much of it brings one warning.
    """

    def __init__(
        self, writer: MetricWriter, start: int, config: ml_collections.ConfigDict, feed: Feed
    ):
        self._writer, self._config, self._feed = writer, config, feed
        self._windows, self._warned = 0, False
        self._skipped: list[tuple[int, list[str]]] = []
        self._waiting: list[tuple[int, np.ndarray, dict[str, Array]]] = []
        self._since = time.monotonic()
        first = jax.process_index() == 0
        self._bar = cli.Progress('training', 'step', config.num_steps, start, shown=first)

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(self, *unused) -> None:
        self._bar.close()

    def add(self, step: int, keys: np.ndarray, logs: dict[str, float | Num[Array, '']]) -> None:
        """Takes the metrics of a step, still on the device, and the keys of its records."""
        self._waiting.append((step, keys, logs))
        self._bar.update()
        if len(self._waiting) > self._config.log_every:
            self._report(self._waiting[:-1])
            self._waiting = self._waiting[-1:]

    def flush(self) -> None:
        """Reports all metrics taken so far, and waits for them."""
        if self._waiting:
            self._report(self._waiting)
        self._waiting = []

    def show(
        self, step: int, scores: dict[str, float], picture: UInt8[np.ndarray, 'H W 3'] | None
    ) -> None:
        """Writes an evaluation's scores and its picture, if any; prints the main scores."""
        self._writer.write(step, {f'eval/{name}': value for name, value in scores.items()})
        if picture is not None:
            self._writer.write_picture(step, picture)
        main = {name: value for name, value in scores.items() if '/' not in name}
        numbers = '  '.join(f'{name} {value:.4g}' for name, value in main.items())
        self._bar.say(f'step {step}: {numbers}')
        self._since = time.monotonic()
        self._feed.take_waited()

    def _report(self, window: list[tuple[int, np.ndarray, dict[str, Any]]]) -> None:
        fetched = jax.device_get([logs for _, _, logs in window])
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        speed = self._speed(len(window) / seconds, self._feed.take_waited() / seconds)
        self._since = now
        for (step, keys, _), logs in zip(window, fetched, strict=True):
            self._count_skipped(step, keys, logs['skipped'])
        good = [logs for logs in fetched if not logs['skipped']]
        scalars = {k: _mean([logs[k] for logs in good]) for k in good[0]} if good else {}
        # A metric of a source that no batch of the window holds is not a number.
        scalars = {k: v for k, v in scalars.items() if not np.isnan(v)}
        scalars |= {'skipped': float(len(fetched) - len(good))} | speed
        self._writer.write(window[-1][0], scalars)
        if good:
            self._bar.note(f'loss {scalars["loss"]:.4g}, {_of_speed(speed)}')

    def _speed(self, rate: float, waits: float) -> dict[str, float]:
        """Scalars of the speed, from steps per second and the share of the time spent waiting."""
        size = self._config.batch_size
        speed = {'steps_per_second': rate, 'examples_per_second': rate * size}
        speed['waits_for_data'] = waits
        if self._feed.made is not None:
            speed['examples_made_per_second'] = self._feed.made
        self._windows += 1
        # In the first window programs are compiled and workers start.
        if self._windows > 1 and not self._warned and jax.process_index() == 0:
            said = self._feed.advice(waits)
            self._warned = said is not None
            if said:
                logging.warning('%s', said)
        return speed

    def _count_skipped(self, step: int, keys: np.ndarray, skipped: float | np.ndarray) -> None:
        if not skipped:
            self._skipped = []
            return
        names = _of_all_processes(keys)
        self._skipped.append((step, names))
        self._writer.write_skipped(step, names)
        logging.warning('step %d: loss or gradient not finite, batch skipped: %s', step, names)
        most = self._config.max_skipped_steps
        if len(self._skipped) > most:
            steps = [step for step, _ in self._skipped]
            raise FloatingPointError(
                f'steps {steps[0]} to {steps[-1]}: the loss or its gradient was not finite '
                f'{len(steps)} times in a row (max_skipped_steps={most}). The last '
                f'batch began with the records {self._skipped[-1][1][:4]}'
            )


def _of_speed(speed: dict[str, float]) -> str:
    used, made = speed['examples_per_second'], speed.get('examples_made_per_second')
    rate = f'{used:.0f} examples/s' + (f' of {made:.0f} made' if made else '')
    return f'{rate}, waits for data {speed["waits_for_data"]:.0%}'


def _of_all_processes(keys: np.ndarray) -> list[str]:
    """Keys of the records of all processes, all of which must call it."""
    width = max(multihost_utils.process_allgather(np.array([max(map(len, keys))])).ravel())
    rows = np.array([np.frombuffer(key.ljust(width, b'\0'), np.uint8) for key in keys])
    gathered = multihost_utils.process_allgather(rows, tiled=True)
    return [row.tobytes().rstrip(b'\0').decode() for row in gathered]


def _mean(values: list) -> float:
    """Mean of the values that are numbers; NaN if there is none."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float('nan')
