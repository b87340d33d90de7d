"""Batches of persons across frames, of few sizes: each size is compiled once."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from tokenhmr_jax.inference.cameras import Camera
from tokenhmr_jax.inference.fitting import refinement
from tokenhmr_jax.inference.fitting.refinement import RefinementReport
from tokenhmr_jax.inference.inputs.sources import Frame
from tokenhmr_jax.inference.model import Dispatched, Model
from tokenhmr_jax.inference.network_inputs import LookedAt
from tokenhmr_jax.inference.people.persons import Persons
from tokenhmr_jax.inference.samples import SampleSettings
from tokenhmr_jax.types import ImagePrediction

_NO_SAMPLES = SampleSettings()


@dataclasses.dataclass
class FrameJob:
    """A frame, the persons found in it and, one by one, their predictions and refinements.

    looked: the persons as the network is given them; None without any.
    kept: arrays of the frame's file, written by an earlier run; then there is no prediction.
    unread: persons left out, of whom the network can read nothing.
    """

    frame: Frame
    found: Persons
    camera: Camera | None
    looked: LookedAt | None = None
    kept: dict[str, np.ndarray] | None = None
    unread: int = 0
    passed: int = 0  # persons whose batch is done
    persons: list[ImagePrediction] = dataclasses.field(default_factory=list)
    moves: list[RefinementReport] = dataclasses.field(default_factory=list)

    @property
    def prediction(self) -> ImagePrediction | None:
        """All persons' predictions, stacked; None without persons."""
        return jax.tree.map(lambda *rows: np.stack(rows), *self.persons) if self.persons else None

    @property
    def refinement(self) -> RefinementReport | None:
        """All persons' refinements, stacked; None without any."""
        return jax.tree.map(lambda *rows: np.stack(rows), *self.moves) if self.moves else None


class _Batch(NamedTuple):
    """Persons whose bodies the device computes; None where their frames are all kept ones."""

    persons: list[tuple[FrameJob, int]]
    dispatched: Dispatched | None


def predict_batches(
    model: Model,
    jobs: Iterable[FrameJob],
    batch_size: int,
    refine: bool = False,
    samples: SampleSettings = _NO_SAMPLES,
) -> Iterator[FrameJob]:
    """The jobs, in order, with their persons predicted and, if asked for, refined and sampled.

    The device gets a batch before the last one's bodies are fetched, so that it does not wait. A
    batch fills across frames, but waits for few of them: each holds its image in memory. A batch
    that is not full is padded to a power of two, so that few sizes are compiled. Persons of kept
    frames keep their place in the batches: numbers depend, in their last digits, on a batch's size,
    and a run that goes on gives those of an unbroken one.
    """
    open_jobs: collections.deque[FrameJob] = collections.deque()
    waiting: collections.deque[tuple[FrameJob, int]] = collections.deque()
    running: collections.deque[_Batch] = collections.deque()

    def start(count):
        running.append(_start(model, [waiting.popleft() for _ in range(count)]))

    def finish(but=0):
        while len(running) > but:
            _finish(model, running.popleft(), refine, samples)

    for job in jobs:
        open_jobs.append(job)
        waiting.extend((job, row) for row in range(len(job.found.boxes)))
        while len(waiting) >= batch_size:
            start(batch_size)
            finish(but=1)
        if len(open_jobs) > 2 * batch_size:
            if waiting:
                start(len(waiting))
            finish()
        while open_jobs and open_jobs[0].passed == len(open_jobs[0].found.boxes):
            yield open_jobs.popleft()
    if waiting:
        start(len(waiting))
    finish()
    yield from open_jobs


def _start(model: Model, persons: list[tuple[FrameJob, int]]) -> _Batch:
    """Gives a batch to the device."""
    size = 1 << (len(persons) - 1).bit_length()
    asked = [(job, row) for job, row in persons if job.kept is None]
    if not asked:
        return _Batch(persons, None)
    rows = [jax.tree.map(lambda x, row=row: x[row], job.looked) for job, row in asked]
    rows += rows[-1:] * (size - len(rows))
    return _Batch(persons, model.dispatch(jax.tree.map(lambda *x: np.stack(x), *rows)))


def _finish(model: Model, batch: _Batch, refine: bool, samples: SampleSettings) -> None:
    """Waits for a batch, and gives each person to its job."""
    for job, _ in batch.persons:
        job.passed += 1
    if batch.dispatched is None:
        return
    asked = [(job, row) for job, row in batch.persons if job.kept is None]
    prediction, moves = model.fetch(batch.dispatched), None
    if refine:
        size = len(prediction.crop_side)
        points = [job.found.keypoints2d[row] for job, row in asked]
        keypoints2d = np.stack(points + points[-1:] * (size - len(points)))
        bodies = model.keypoint_body, model.body
        given = prediction, keypoints2d, model.prior
        prediction, moves = refinement.refine_prediction(*bodies, *given)
    if samples.count:
        prediction = model.with_samples(prediction, samples)
    for i, (job, _) in enumerate(asked):
        row = lambda x, i=i: x[i]  # noqa: E731
        job.persons.append(jax.tree.map(row, prediction))
        if moves is not None:
            job.moves.append(jax.tree.map(row, moves))
