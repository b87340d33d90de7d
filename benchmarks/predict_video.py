"""Speed of prediction on a video with given boxes: frames per second, and where the time goes.

    python benchmarks/predict_video.py --checkpoint=runs/quickstart/regressor

The video is a picture that moves, 768 x 576, with people who walk. Without a checkpoint the network
is the quickstart's, and has learned nothing: its bodies fill their boxes all the same. A second
run is measured, when everything is compiled. All files of a result are written.
"""

import argparse
import importlib.util
import pathlib
import tempfile
import time
from collections.abc import Iterator

import cv2
import jax
import numpy as np

from tokenhmr_jax import cli
from tokenhmr_jax.inference.model import Model, load
from tokenhmr_jax.inference.outputs import webm
from tokenhmr_jax.inference.prediction import PredictSettings, predict
from tokenhmr_jax.mannequin import people
from tokenhmr_jax.tasks import make_task

_WIDTH, _HEIGHT, _FPS = 768, 576, 10.0
_BOX = (90, 250)
ROOT = pathlib.Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--checkpoint', help='of a network that reads pictures')
    parser.add_argument('--frames', type=int, default=200)
    parser.add_argument('--persons', type=int, default=5, help='in each frame')
    parser.add_argument('--no-overlays', dest='overlays', action='store_false')
    options = parser.parse_args()
    cli.keep_compiled()
    model = load(options.checkpoint) if options.checkpoint else _unlearned()
    print(f'{model.name} on {jax.devices()[0].device_kind}')
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        boxes = _write_boxes(place / 'boxes.csv', options.frames, options.persons)
        settings = PredictSettings(boxes=str(boxes), overlays=options.overlays)
        for name, frames in (('warm', 32), ('timed', options.frames)):
            film = _write_film(place / f'{name}.webm', frames)
            start = time.perf_counter()
            summary = predict(model, film, place / name, settings)
            seconds = time.perf_counter() - start
    per_frame = 1000 * seconds / options.frames
    print(
        f'{options.frames} frames, {options.persons} people in each: {seconds:.1f} s, '
        f'{per_frame:.0f} ms a frame'
    )
    for stage, spent in summary['seconds'].items():
        if stage != 'all':
            print(f'  {stage}: {1000 * spent / options.frames:.1f} ms a frame')


def _unlearned() -> Model:
    """The quickstart's network with random weights, on the mannequin."""
    spec = importlib.util.spec_from_file_location('regressor', ROOT / 'configs/regressor.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config('variant=quickstart')
    config.model.inputs = ('image',)
    task = make_task(config)
    params, state = task.init(jax.random.key(0))
    # Without stage 1 the codebook is empty, and its poses are no rotations.
    state = state.replace(codes=jax.random.normal(jax.random.key(1), state.codes.shape))
    return Model('unlearned', config, task, params, state, people.studio().body)


def _write_film(path: pathlib.Path, frames: int) -> pathlib.Path:
    """A smooth picture that moves by a pixel a frame."""
    noise = np.random.default_rng(0).integers(0, 256, (_HEIGHT // 16, 64, 3), np.uint8)
    wide = cv2.resize(noise, (2 * _WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)

    def pictures() -> Iterator[tuple[float, np.ndarray]]:
        for t in range(frames):
            left = t % _WIDTH
            yield t / _FPS, wide[:, left : left + _WIDTH]

    webm.write_webm(path, pictures(), _FPS)
    return path


def _write_boxes(path: pathlib.Path, frames: int, persons: int) -> pathlib.Path:
    """People side by side, each of whom sways."""
    width, height = _BOX
    lines = ['image,left,top,right,bottom']
    for t in range(frames):
        for person, left in enumerate(np.linspace(20, _WIDTH - width - 20, persons)):
            x, y = left + 20 * np.sin(t / 20 + person), 150 + 20 * person % 100
            lines.append(f'{t},{x:.1f},{y},{x + width:.1f},{y + height}')
    path.write_text('\n'.join(lines))
    return path


if __name__ == '__main__':
    main()
