"""Speed of prediction from files to files: frames and persons per second, by stage, and latency.

    python benchmarks/predict_speed.py --checkpoint=runs/quickstart/regressor

Pictures are JPEGs of noise of 1280 x 720 with the given number of boxes. A second run on other
pictures is measured, when everything is compiled.
"""

import argparse
import os
import pathlib
import tempfile
import time

import cv2
import jax
import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.inference.model import Model, load
from tokenhmr_jax.inference.prediction import PredictSettings, predict

_WIDTH, _HEIGHT = 1280, 720


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--checkpoint', type=os.path.expanduser, required=True)
    parser.add_argument('--images', type=int, default=32)
    parser.add_argument('--persons', type=int, default=4, help='in each image')
    parser.add_argument('--batch_size', type=int, default=16)
    parser.add_argument('--turns', type=int, default=20, help='of one image')
    parser.add_argument('--no-overlays', dest='overlays', action='store_false')
    options = parser.parse_args()
    cli.keep_compiled()
    model = load(options.checkpoint)
    print(f'{model.name} on {jax.devices()[0].device_kind}')
    with tempfile.TemporaryDirectory() as place:
        throughput(model, pathlib.Path(place), options)
    latency(model, options.turns)


def throughput(model: Model, place: pathlib.Path, options: argparse.Namespace) -> None:
    """Predicts on a folder twice, and prints the second run's time by stage."""
    boxes = _boxes(options.persons)
    for turn in ('first', 'second'):
        folder = place / turn
        folder.mkdir()
        lines = ['image,left,top,right,bottom']
        for i in range(options.images):
            _noise(i, folder / f'{i}.jpg')
            lines += [f'{i},{",".join(map(str, box))}' for box in boxes.tolist()]
        (folder / 'boxes.csv').write_text('\n'.join(lines))
        settings = PredictSettings(
            boxes=str(folder / 'boxes.csv'),
            batch_size=options.batch_size,
            overlays=options.overlays,
        )
        summary = predict(model, str(folder), str(place / f'{turn}_result'), settings)
    seconds = summary['seconds']
    total, work = seconds['all'], sum(seconds.values()) - seconds['all']
    print(
        f'{options.images / total:.1f} images/s, {options.images * options.persons / total:.1f} '
        f'persons/s, batch {options.batch_size}'
    )
    for stage in ('decode', 'detect', 'crop', 'network', 'write'):
        print(f'  {stage}: {seconds[stage]:.2f} s, {100 * seconds[stage] / work:.0f}% of the work')


def latency(model: Model, turns: int) -> None:
    """Prints the time of one person in one image in memory, from pixels to a body."""
    image, box = _noise(0), _boxes(1)
    model.predict(image, box)
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        model.predict(image, box)
        times.append(1000 * (time.perf_counter() - start))
    low, middle, high = np.quantile(times, [0.1, 0.5, 0.9])
    print(f'one image, one person: {middle:.1f} ms ({low:.1f} to {high:.1f})')


def _boxes(count: int) -> np.ndarray:
    left = np.linspace(0, _WIDTH - 300, count)
    return np.stack([left, 0 * left + 50, left + 300, 0 * left + 650], axis=1)


def _noise(seed: int, path: pathlib.Path | None = None) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (_HEIGHT // 8, _WIDTH // 8, 3), np.uint8)
    image = cv2.resize(small, (_WIDTH, _HEIGHT))
    if path:
        cv2.imwrite(str(path), image)
    return image


if __name__ == '__main__':
    main()
