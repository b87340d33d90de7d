"""Batches of persons across frames."""

import numpy as np

from tokenhmr_jax.inference import batching, cameras
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.model import Model
from tokenhmr_jax.inference.people.persons import make_persons

FRAME = sources.Frame('000139', 0, np.zeros((60, 80, 3), np.uint8))


class Echo(Model):
    """A network whose prediction is the box."""

    def __init__(self):
        pass

    def dispatch(self, looked):
        return looked

    def fetch(self, dispatched):
        return dispatched


def test_frames_wait_for_few_others():
    """One person, then many frames with nobody, each of which holds its image in memory."""
    some, none, drawn = make_persons([[0, 0, 4, 4]]), make_persons([]), []

    def jobs():
        for i in range(60):
            drawn.append(i)
            found = some if i in (0, 1, 40) else none
            camera = cameras.Camera(1.0, '')
            yield batching.FrameJob(FRAME._replace(index=i), found, camera, found.boxes)

    done = []
    for job in batching.predict_batches(Echo(), jobs(), 4):
        done.append(job)
        assert len(drawn) - len(done) <= 8
    assert [job.frame.index for job in done] == drawn == list(range(60))
    assert [job.frame.index for job in done if job.persons] == [0, 1, 40]
