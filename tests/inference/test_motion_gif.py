"""A track of a video as a small animated GIF."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageSequence

from tokenhmr_jax.inference import motion_gif
from tokenhmr_jax.inference.inputs import sources
from tokenhmr_jax.inference.prediction import PredictSettings, predict


def test_it_is_short_small_and_as_fast_as_the_video(film_result, small_model, tmp_path):
    """12 frames at 10 a second; the part of 160 x 120 px around boxes, and views half as wide."""
    source = sources.open_source(film_result / 'source.webm')
    assert not motion_gif.write_motion_gif(source, tmp_path, small_model)  # no tracks
    shutil.copytree(film_result / 'tracks', tmp_path / 'tracks')
    assert motion_gif.write_motion_gif(source, tmp_path, small_model)
    path = tmp_path / motion_gif.NAME
    with Image.open(path) as gif:
        frames = [np.asarray(frame.convert('RGB'), int) for frame in ImageSequence.Iterator(gif)]
        times = [frame.info['duration'] for frame in ImageSequence.Iterator(gif)]
        assert gif.size == (66 + 60, 120) and gif.info['loop'] == 0
    assert len(frames) == 12 and sum(times) == 1200
    assert path.stat().st_size < 150_000
    blue = frames[0][..., 2] - frames[0][..., 0] > 30  # the body, also from the side and from above
    assert blue[:60, 66:].any() and blue[60:, 66:].any()
    assert np.abs(frames[6] - frames[0])[:, 66:].max() > 100


def test_pictures_of_a_track_are_evenly_spread_over_its_first_seconds():
    times = 5 + np.arange(300) / 30
    rows = motion_gif.chosen_rows(times)
    np.testing.assert_array_equal(rows, np.arange(0, 181, 3))
    assert sum(motion_gif.durations(times[rows])) == 6100
    changing = np.array([0, 0.04, 0.5, 0.54, 1.5])
    np.testing.assert_array_equal(motion_gif.chosen_rows(changing), [0, 2, 4])
    assert motion_gif.durations(changing[[0, 2, 4]]) == [500, 1000, 750]
    assert motion_gif.chosen_rows(np.zeros(1)).tolist() == [0]
    assert motion_gif.durations(np.zeros(1)) == [100]


def test_pictures_have_no_motion(small_model, tmp_path):
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(tmp_path / 'a.png')
    settings = PredictSettings(boxes='image', gif=True)
    with pytest.raises(ValueError, match='--gif: the input is no video'):
        predict(small_model, tmp_path / 'a.png', tmp_path / 'result', settings)
    assert not (tmp_path / 'result').exists()


def test_a_finished_result_gets_it(film, clip, small_model, tmp_path):
    """Nothing is predicted again; of 8 frames, 25 a second, 3 are shown."""
    out = tmp_path / 'result'
    shutil.copytree(film[0], out)
    settings = PredictSettings(boxes=str(clip / 'boxes.csv'), batch_size=4, gif=True)
    found = predict(small_model, str(clip / 'clip.avi'), str(out), settings)
    assert found == film[1]
    with Image.open(out / motion_gif.NAME) as gif:
        assert gif.n_frames == 3
