"""Speed of a network that reads 2D keypoints: first body after the start, and persons per second.

    python benchmarks/lifting_speed.py

The first body is timed in fresh processes, from the start of Python to a body in memory: once with
an empty cache of compiled programs, then with a filled one. Persons per second are of batches in
one process, by turns: the network alone, with refinement, and the estimate of a camera.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

from tokenhmr_jax.body import keypoint_conventions
from tokenhmr_jax.inference.fitting.field_of_view import estimate_from_people
from tokenhmr_jax.inference.fitting.refinement import refine_prediction
from tokenhmr_jax.inference.model import Model, load

_WIDTH, _HEIGHT = 640, 480
_IN_PICTURE = 3  # people by whom a camera is estimated
# A standing person's keypoints in COCO's order, pixels.
_X = [0, 6, -6, 12, -12, 35, -35, 50, -50, 55, -55, 22, -22, 25, -25, 27, -27]
_Y = [0, -6, -6, -2, -2, 40, 40, 95, 95, 145, 145, 150, 150, 235, 235, 315, 315]
_FIRST = """
import sys
sys.path.insert(0, {folder!r})
import lifting_speed
from tokenhmr_jax import cli
cli.keep_compiled({cache!r})
lifting_speed.first_body({checkpoint!r})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--checkpoint', type=os.path.expanduser, default='bundled')
    parser.add_argument('--batch_size', type=int, default=16)
    parser.add_argument('--turns', type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        for state in ('empty', 'filled'):
            seconds = _time_of_process(options.checkpoint, cache)
            print(f'first body, cache of compiled programs {state}: {seconds:.1f} s', flush=True)
    model = load(options.checkpoint)
    print(f'{model.name} on {jax.devices()[0].device_kind}')
    rates(model, options.batch_size, options.turns)


def first_body(checkpoint: str) -> None:
    """Loads a network and predicts one person with it."""
    image, points = people(1)
    load(checkpoint).predict(image, keypoints=points)


def rates(model: Model, batch_size: int, turns: int) -> None:
    """Prints persons per second of batches, without and with refinement."""
    image, points = people(batch_size)

    def network():
        return model.predict(image, keypoints=points)

    def refined():
        return refine_prediction(model.keypoint_body, model.body, network(), points)

    def camera():
        return estimate_from_people(model, [image], [points[:_IN_PICTURE]])

    ways, times = {'network': network, 'network and refinement': refined}, {}
    ways[f'camera from {_IN_PICTURE} people'] = camera
    for turn in range(turns + 1):  # the first compiles
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if turn:
                times.setdefault(name, []).append(time.perf_counter() - start)
    for name, seconds in times.items():
        count = _IN_PICTURE if name.startswith('camera') else batch_size
        rate = count / statistics.median(seconds)
        print(f'{name}: {rate:.0f} persons/s in batches of {count}')
    alone = times.pop('network')
    for name, seconds in times.items():
        ratio = statistics.median(b / a for a, b in zip(alone, seconds, strict=True))
        print(f"{name}: the network's time times {ratio:.2f}")


def people(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture, and keypoints (N, 44, 3) of people who stand in it at different places."""
    person = np.stack([np.add(_X, _WIDTH / 2), np.add(_Y, 80.0), np.ones(17)], axis=-1)
    points = np.tile(keypoint_conventions.to_44(person.astype(np.float32), 'coco'), (count, 1, 1))
    points[..., 0] += np.linspace(-200, 200, count)[:, None] * (points[..., 2] > 0)
    return np.zeros((_HEIGHT, _WIDTH, 3), np.uint8), points


def _time_of_process(checkpoint: str, cache: str) -> float:
    folder = str(pathlib.Path(__file__).parent)
    program = _FIRST.format(folder=folder, cache=cache, checkpoint=checkpoint)
    start = time.perf_counter()
    subprocess.run([sys.executable, '-c', program], check=True)
    return time.perf_counter() - start


if __name__ == '__main__':
    main()
