"""Fixtures of a small regressor that learned nothing, and of a video it has predicted on."""

import cv2
import jax
import numpy as np
import pytest
from conftest import SMALL_REGRESSOR, made_once, quickstart_config


@pytest.fixture(scope='session')
def small_parts(mannequin):
    """Parts of a model: config, task, parameters, state, body."""
    from tokenhmr_jax.tasks import make_task

    config = quickstart_config('regressor', SMALL_REGRESSOR)
    task = make_task(config)
    params, state = task.init(jax.random.key(0))
    # A codebook is empty until it comes from stage 1; its poses would be no rotations.
    state = state.replace(codes=jax.random.normal(jax.random.key(1), state.codes.shape))
    return config, task, params, state, mannequin


@pytest.fixture(scope='session')
def small_model(small_parts):
    from tokenhmr_jax.inference.model import Model

    return Model('tiny', *small_parts)


def picture(height, width, channels=3):
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)


@pytest.fixture(scope='session')
def clip(tmp_path_factory):
    """A folder with a video whose file promises twelve frames and ends after nine, and boxes."""
    return made_once(tmp_path_factory, 'clip', _make_clip)


def _make_clip(place):
    place.mkdir()
    writer = cv2.VideoWriter(
        str(place / 'whole.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 25.0, (96, 64)
    )
    for t in range(12):
        writer.write(np.roll(picture(64, 96), 3 * t, axis=1))
    writer.release()
    content = (place / 'whole.avi').read_bytes()
    (place / 'clip.avi').write_bytes(content[: int(0.75 * len(content))])
    lines = ['image,left,top,right,bottom']
    lines += [f'{t},{5 + 2 * t},5,{35 + 2 * t},60' for t in range(12)]
    lines += [f'{t},{60 - 2 * t},4,{90 - 2 * t},62' for t in range(12)]
    (place / 'boxes.csv').write_text('\n'.join(lines))


@pytest.fixture(scope='session')
def film(small_model, clip, tmp_path_factory):
    """The folder of a prediction on the clip, and its result.json."""
    from tokenhmr_jax.inference.outputs import results
    from tokenhmr_jax.inference.prediction import PredictSettings, predict

    settings = PredictSettings(boxes=str(clip / 'boxes.csv'), batch_size=4)
    make = lambda out: predict(small_model, str(clip / 'clip.avi'), str(out), settings)  # noqa: E731
    out = made_once(tmp_path_factory, 'film', make)
    return out, results.read_json(out / 'result.json')
