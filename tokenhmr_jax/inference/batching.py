"""Batches of persons across frames, of few sizes: each size is compiled once."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from tokenhmr_jax.inference.cameras import Camera
from tokenhmr_jax.inference.fitting import refinement
from tokenhmr_jax.inference.fitting.refinement import RefinementReport
from tokenhmr_jax.inference.inputs.sources import Frame
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.inference.people.persons import Persons
from tokenhmr_jax.types import ImagePrediction


@dataclasses.dataclass
class FrameJob:
    """A frame, the persons found in it and, one by one, their predictions and refinements.

    kept: arrays of the frame's file, written by an earlier run; then there is no prediction.
    unread: persons left out, of whom the network can read nothing.
    """

    frame: Frame
    found: Persons
    camera: Camera | None
    kept: dict[str, np.ndarray] | None = None
    unread: int = 0
    passed: int = 0  # persons that have been in a batch
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


def predict_batches(
    model: Model, jobs: Iterable[FrameJob], batch_size: int, refine: bool = False
) -> Iterator[FrameJob]:
    """The jobs, in order, with their persons predicted and, if asked for, refined.

    A batch fills across frames, but waits for few of them: each holds its image in memory. A batch
    that is not full is padded to a power of two, so that few sizes are compiled. Persons of kept
    frames keep their place in the batches: numbers depend, in their last digits, on a batch's size,
    and a run that goes on gives those of an unbroken one.
    """
    open_jobs: collections.deque[FrameJob] = collections.deque()
    waiting: collections.deque[tuple[FrameJob, int]] = collections.deque()
    for job in jobs:
        open_jobs.append(job)
        waiting.extend((job, row) for row in range(len(job.found.boxes)))
        while len(waiting) >= batch_size:
            _run(model, [waiting.popleft() for _ in range(batch_size)], refine)
        if waiting and len(open_jobs) > 2 * batch_size:
            _run(model, list(waiting), refine)
            waiting.clear()
        while open_jobs and open_jobs[0].passed == len(open_jobs[0].found.boxes):
            yield open_jobs.popleft()
    if waiting:
        _run(model, list(waiting), refine)
    yield from open_jobs


def _run(model: Model, persons: list[tuple[FrameJob, int]], refine: bool) -> None:
    """Predicts one batch, and gives each person to its job."""
    size = 1 << (len(persons) - 1).bit_length()
    for job, _ in persons:
        job.passed += 1
    persons = [(job, row) for job, row in persons if job.kept is None]
    if not persons:
        return
    padded = persons + persons[-1:] * (size - len(persons))
    keypoints2d = np.stack([job.found.keypoints2d[row] for job, row in padded])
    prediction = model.predict_boxes(
        [job.frame.image for job, _ in padded],
        np.stack([job.found.boxes[row] for job, row in padded]),
        [job.camera.focal_length for job, _ in padded],
        keypoints2d,
    )
    moves = None
    if refine:
        bodies = model.keypoint_body, model.body
        prediction, moves = refinement.refine_prediction(*bodies, prediction, keypoints2d)
    for i, (job, _) in enumerate(persons):
        row = lambda x, i=i: x[i]  # noqa: E731
        job.persons.append(jax.tree.map(row, prediction))
        if moves is not None:
            job.moves.append(jax.tree.map(row, moves))
